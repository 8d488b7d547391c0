"""A disk that is full, and a disk that is lost."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from snippets.labs.faults.interface import FaultError, Target
from snippets.labs.faults.loop import Loop
from snippets.labs.workspace import Workspace
from snippets.servers.ready import attempts

PATIENCE_S = 60.0
# Both servers print what the operating system says; Redis may get the half of a command
# onto the disk first, and prints only that then.
COMPLAINTS = (os.strerror(errno.ENOSPC), "Short write")

BLOCK = 4096


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Leave no block free on a disk for as long as the block lasts.

    Args:
        folder: A folder of the disk.
    """
    filler = folder / "filler"
    try:
        with filler.open("wb") as file:
            free = os.statvfs(folder)
            _fill(file.fileno(), free.f_bfree * free.f_frsize)
        yield
    finally:
        filler.unlink()


def _fill(file: int, chunk: int) -> None:
    end = 0
    while chunk >= BLOCK:
        try:
            os.posix_fallocate(file, end, chunk)
            end += chunk
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            # What was got of a chunk that is too big is kept, and asked for again.
            chunk //= 2


@dataclass(frozen=True)
class FullDisk:
    """Others fill the disks, the nodes complain and are killed, and there is room again.

    Attributes:
        medium: What the disks of the targets are: small ones, and not the machine's own.
    """

    medium: Loop
    name = "disk full"

    def can_inject(self, workspace: Workspace) -> str | None:
        """Fill a disk; see `interface.Fault`."""
        return self.medium.obstacle() or _can_fill(self.medium, workspace)

    def strike(self, targets: Sequence[Target]) -> None:
        """See `interface.Fault`."""
        with contextlib.ExitStack() as stack:
            for target in targets:
                stack.enter_context(filled(target.disk.storage.folder))
            for target in targets:
                _until_it_complains(target)
            for target in targets:
                target.node.end()


def _until_it_complains(target: Target) -> None:
    for _ in attempts(PATIENCE_S):
        logs = target.node.logs()
        if not target.node.runs() or any(each in logs for each in COMPLAINTS):
            return
    raise FaultError(
        f"{target.node.name} has not noticed a full disk within {PATIENCE_S:g} s"
    )


@cache
def _can_fill(medium: Loop, workspace: Workspace) -> str | None:
    folder = workspace.new_folder("controls")
    try:
        with medium.disk("probe", folder) as disk:
            probe = disk.storage.folder / "probe"
            with filled(disk.storage.folder):
                try:
                    probe.write_bytes(b"x" * BLOCK * 2)
                except OSError:
                    return None
            return "the control does not hold: a full disk takes more"
    except FaultError as error:
        return str(error)


# By these files a node of Kafka knows who it is; `kafka-storage format` writes them.
IDENTITY = ("data/meta.properties", "data/bootstrap.checkpoint")


@dataclass(frozen=True)
class DiskLoss:
    """The disks are gone with the nodes; new ones come, formatted for the same nodes."""

    name = "disk loss"

    def can_inject(self, workspace: Workspace) -> str | None:  # noqa: ARG002
        """See `interface.Fault`."""
        return None

    def strike(self, targets: Sequence[Target]) -> None:
        """See `interface.Fault`."""
        for target in targets:
            target.node.kill()
        for target in targets:
            replace(target.disk.storage.folder)


def replace(folder: Path) -> None:
    """Empty a node's folder, except for what formatting writes."""
    kept = {name: _bytes(folder / name) for name in IDENTITY}
    shutil.rmtree(folder)
    folder.mkdir()
    for name, text in kept.items():
        if text is not None:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(text)


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None
