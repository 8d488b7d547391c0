"""Disks that are files: real ext4 and xfs, whose caches can be made to forget.

Linux has an ioctl that shuts a file system down without writing out its journal, by which
its developers test recovery. Together with a freeze of the servers it is a loss of power:
the page cache and the open transaction are gone, and what went to the device stays. The
rules are the file system's own: a commit of the journal every five seconds, sizes that
are written before the data, and a kernel that writes dirty pages out after half a minute.
"""

import ctypes
import fcntl
import os
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from snippets.labs.faults.interface import FaultError
from snippets.labs.faults.tools import missing, run
from snippets.labs.workspace import mounts_below
from snippets.servers.local.process import Storage

# _IOR('X', 125, __u32): EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN are the same number.
IOC_SHUTDOWN = (2 << 30) | (4 << 16) | (ord("X") << 8) | 125
# Forget the dirty pages and the transaction that is not committed yet.
NO_LOG_FLUSH = 2

# The file is sparse; xfs wants 300 MB at the least.
SIZE = 512 * 2**20
MAKE = {
    "ext4": ("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"),
    "xfs": ("mkfs.xfs", "-q", "-f"),
}
PACKAGE = {"ext4": "e2fsprogs", "xfs": "xfsprogs"}


@dataclass(frozen=True)
class LoopDisk:
    """A mounted image; see `interface.Disk`.

    Attributes:
        image: The file that holds the file system.
        mount: Where it is mounted.
    """

    image: Path
    mount: Path

    @property
    def storage(self) -> Storage:
        """The folder for a node, beside which the file system keeps its own."""
        return Storage(self.mount / "node")

    def attach(self) -> None:
        """Mount the image; the journal is replayed if need be."""
        run("mount", "-o", "loop,noatime", self.image, self.mount)

    def sync(self) -> None:
        """See `interface.Disk`."""
        folder = os.open(self.mount, os.O_RDONLY)
        try:
            if ctypes.CDLL(None, use_errno=True).syncfs(folder):
                raise FaultError(f"syncfs failed: {os.strerror(ctypes.get_errno())}")
        finally:
            os.close(folder)

    def cut(self) -> None:
        """See `interface.Disk`."""
        folder = os.open(self.mount, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        except OSError as error:
            raise FaultError(
                f"the file system does not shut down: {error.strerror}"
            ) from error
        finally:
            os.close(folder)

    def recover(self) -> None:
        """Mount a copy of the image.

        Another mount namespace, such as a container's, may hold the dead file system; to
        mount the same image would revive that one, which answers with errors for ever.
        """
        run("umount", self.mount)
        copy = self.image.with_suffix(".copy")
        run("cp", "--sparse=always", self.image, copy)
        copy.rename(self.image)
        self.attach()


@dataclass(frozen=True)
class Loop:
    """A medium of loop-mounted images; see `interface.Medium`.

    Attributes:
        file_system: `ext4` or `xfs`.
    """

    file_system: str

    @property
    def name(self) -> str:
        """The file system, as the medium is one in reality."""
        return self.file_system

    def obstacle(self) -> str | None:
        """See `interface.Medium`."""
        return _obstacle(self.file_system)

    @contextmanager
    def disk(self, name: str, folder: Path) -> Iterator[LoopDisk]:
        """See `interface.Medium`."""
        disk = LoopDisk(folder / f"{name}.img", folder / f"{name}.mount")
        disk.mount.mkdir()
        with disk.image.open("wb") as image:
            image.truncate(SIZE)
        run(*MAKE[self.file_system], disk.image)
        try:
            disk.attach()
            disk.storage.folder.mkdir()
            disk.sync()
            yield disk
        finally:
            if disk.mount in mounts_below(folder):
                run("umount", disk.mount)
            disk.image.unlink()
            disk.mount.rmdir()


def _obstacle(file_system: str) -> str | None:
    if sys.platform != "linux":
        return "loop-mounted disks are Linux's"
    if reason := missing({MAKE[file_system][0]: PACKAGE[file_system]}):
        return reason
    if os.geteuid() != 0:
        return "to mount a disk takes root (CAP_SYS_ADMIN): run the lab with `sudo`"
    if not Path("/dev/loop-control").exists():
        return "there are no loop devices (/dev/loop-control is missing)"
    return None
