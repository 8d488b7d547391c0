"""A folder like any other: for faults that leave the operating system alive."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from snippets.labs.faults.interface import FaultError
from snippets.servers.local.process import Storage


@dataclass(frozen=True)
class PlainDisk:
    """A folder of this machine's own file system; see `interface.Disk`."""

    storage: Storage

    def sync(self) -> None:
        """Do nothing: no cut will come."""

    def cut(self) -> None:
        """Refuse; see `interface.Disk`."""
        raise FaultError("a plain folder can't lose power without all of the machine")

    def recover(self) -> None:
        """Refuse; see `interface.Disk`."""
        raise FaultError("a plain folder can't lose power without all of the machine")


@dataclass(frozen=True)
class Plain:
    """See `interface.Medium`."""

    folder: Path
    name = "plain"

    @property
    def file_system(self) -> str:
        """The type of the file system on which the folder is."""
        above = {self.folder, *self.folder.parents}
        holders = [
            each
            for each in psutil.disk_partitions(all=True)
            if Path(each.mountpoint) in above
        ]
        return str(max(holders, key=lambda each: len(each.mountpoint)).fstype)

    def obstacle(self) -> str | None:
        """See `interface.Medium`."""
        return None

    @contextmanager
    def disk(self, name: str, folder: Path) -> Iterator[PlainDisk]:
        """See `interface.Medium`."""
        made = folder / name
        made.mkdir()
        yield PlainDisk(Storage(made))
