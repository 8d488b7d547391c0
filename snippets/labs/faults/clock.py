"""A wall clock that steps back, as after a correction by hand or a bad time server.

A preloaded library, libfaketime, tells a server another time. The monotonic clock, which
no correction touches, stays as it is.
"""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from snippets.labs.faults.interface import Medium, Target
from snippets.labs.faults.plain import Plain, PlainDisk
from snippets.labs.workspace import Workspace

FAKETIME_FILE = "FAKETIME_TIMESTAMP_FILE"
HOUR_S = 3600
NOW, BACK = "+0", f"-{HOUR_S}"
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108
PLACES = ("*/faketime/libfaketime.so.1", "faketime/libfaketime.so.1")


def library() -> Path | None:
    """Return where the library is installed."""
    lib = Path("/usr/lib")
    return next((found for place in PLACES for found in lib.glob(place)), None)


def forget_the_dead() -> None:
    """Remove what the library has shared with processes that were killed.

    A process that ends by itself removes its own.
    """
    for shared in SHARED_MEMORY.glob("faketime_shm_*"):
        pid = shared.name.rpartition("_")[2]
        if not Path("/proc", pid).exists():
            with contextlib.suppress(PermissionError):
                shared.unlink(missing_ok=True)
                (SHARED_MEMORY / f"sem.faketime_sem_{pid}").unlink(missing_ok=True)


@dataclass(frozen=True)
class FakeClock:
    """Plain folders, for nodes whose clock can be set; see `interface.Medium`."""

    plain: Plain
    name = "libfaketime"

    @property
    def file_system(self) -> str:
        """See `interface.Medium`."""
        return self.plain.file_system

    def obstacle(self) -> str | None:
        """See `interface.Medium`."""
        if sys.platform != "linux":
            return "the preloaded library is for Linux"
        if library() is None:
            return (
                "libfaketime is not installed (Debian and Ubuntu: "
                "`apt-get install libfaketime`)"
            )
        return None

    @contextlib.contextmanager
    def disk(self, name: str, folder: Path) -> Iterator[PlainDisk]:
        """See `interface.Medium`."""
        clock = folder / f"{name}.clock"
        clock.write_text(NOW)
        with contextlib.ExitStack() as stack:
            stack.callback(forget_the_dead)
            disk = stack.enter_context(self.plain.disk(name, folder))
            environment = {
                "LD_PRELOAD": str(library()),
                FAKETIME_FILE: str(clock),
                "FAKETIME_NO_CACHE": "1",
                "DONT_FAKE_MONOTONIC": "1",
            }
            yield PlainDisk(replace(disk.storage, environment=environment))


@dataclass(frozen=True)
class ClockStepsBack:
    """The clocks of the nodes step back by an hour, and the nodes start again.

    Attributes:
        medium: Folders with such a clock.
    """

    medium: FakeClock
    name = "clock back 1 h"

    def can_inject(self, workspace: Workspace) -> str | None:
        """Tell a program another time; see `interface.Fault`."""
        return self.medium.obstacle() or _controls(self.medium, workspace)

    def strike(self, targets: Sequence[Target]) -> None:
        """See `interface.Fault`."""
        for target in targets:
            Path(target.disk.storage.environment[FAKETIME_FILE]).write_text(BACK)
        for target in targets:
            target.node.kill()


@cache
def _controls(medium: Medium, workspace: Workspace) -> str | None:
    folder = workspace.new_folder("controls")
    with medium.disk("probe", folder) as disk:
        environment = dict(disk.storage.environment)
        tell = [sys.executable, "-c", "import time; print(time.time())"]
        Path(environment[FAKETIME_FILE]).write_text(BACK)
        done = subprocess.run(
            tell, env=environment, capture_output=True, text=True, check=False
        )
    if done.returncode:
        return f"the preloaded library does not work: {' '.join(done.stderr.split())}"
    told = float(done.stdout)
    return None if time.time() - told >= HOUR_S else "the clock can't be set back"
