"""Disks for anyone: a preloaded library keeps apart what a server has synchronised.

It takes no privilege, only Linux, a C compiler and servers that are linked dynamically.
Its model is stricter than a file system: what was not synchronised is lost, however old
it is. See `shim.c` for its rules and limits.
"""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from snippets.labs.faults.interface import FaultError
from snippets.labs.faults.plain import Plain
from snippets.servers.cache import cached, root
from snippets.servers.local.process import Storage

SOURCE = Path(__file__).with_name("shim.c")
LIBRARY = "shim.so"


def library() -> Path:
    """Return the library, built at the first call.

    Raises:
        FaultError: The compiler refuses.
    """
    key = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]
    return cached(f"power-shim-{key}", _build) / LIBRARY


def _build(folder: Path) -> None:
    command = ["cc", "-O2", "-Wall", "-shared", "-fPIC", "-pthread"]
    done = subprocess.run(
        [*command, "-o", folder / LIBRARY, SOURCE, "-ldl"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise FaultError(f"{SOURCE.name} can't be built:\n{done.stderr}")


@dataclass(frozen=True)
class ShimDisk:
    """A folder, and beside it what of it is durable; see `interface.Disk`.

    Attributes:
        live: What the server sees.
        durable: What a loss of power leaves.
        preload: The library.
    """

    live: Path
    durable: Path
    preload: Path

    @property
    def storage(self) -> Storage:
        """The live folder, and the variables by which the library knows it."""
        return Storage(
            self.live,
            {
                "LD_PRELOAD": str(self.preload),
                "SHIM_LIVE": str(self.live),
                "SHIM_DURABLE": str(self.durable),
            },
        )

    def sync(self) -> None:
        """See `interface.Disk`."""
        shutil.rmtree(self.durable)
        shutil.copytree(self.live, self.durable, symlinks=True)

    def cut(self) -> None:
        """Do nothing: who is frozen makes nothing durable any more."""

    def recover(self) -> None:
        """See `interface.Disk`."""
        shutil.rmtree(self.live)
        shutil.copytree(self.durable, self.live, symlinks=True)


@dataclass(frozen=True)
class Shim:
    """A medium of folders under the preloaded library; see `interface.Medium`."""

    name = "shim"

    @property
    def file_system(self) -> str:
        """What the folders are on; what survives is decided by the library."""
        return Plain(root()).file_system

    def obstacle(self) -> str | None:
        """See `interface.Medium`."""
        return _obstacle()

    @contextmanager
    def disk(self, name: str, folder: Path) -> Iterator[ShimDisk]:
        """See `interface.Medium`."""
        # The kernel names open files by their real paths.
        made = (folder / name).resolve()
        disk = ShimDisk(made / "live", made / "durable", library())
        disk.live.mkdir(parents=True)
        disk.durable.mkdir()
        yield disk


def _obstacle() -> str | None:
    if sys.platform != "linux":
        return "the preloaded library is for Linux"
    if shutil.which("cc") is None:
        return "cc is not installed (Debian and Ubuntu: `apt-get install gcc libc6-dev`)"
    return None
