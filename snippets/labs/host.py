"""What a record says of the machine."""

import os
import platform
from pathlib import Path

import psutil

from snippets.labs.record import Host

# How long the kernel keeps what was written before it writes it out of its own accord.
WRITEBACK = (
    "vm.dirty_background_ratio",
    "vm.dirty_expire_centisecs",
    "vm.dirty_ratio",
    "vm.dirty_writeback_centisecs",
)
GIB = 2**30


def describe() -> Host:
    """Return what of this machine bears on a result."""
    settings = {}
    for name in WRITEBACK:
        path = Path("/proc/sys", *name.split("."))
        if path.exists():
            settings[name] = path.read_text().strip()
    return Host(
        system=f"{platform.system()} {platform.release()}",
        machine=platform.machine(),
        cores=os.cpu_count() or 0,
        memory_gib=round(psutil.virtual_memory().total / GIB, 1),
        settings=settings,
    )
