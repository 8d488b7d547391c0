"""Where a run of a lab keeps its disks, and how the next run cleans up what is left.

A run holds a lock for as long as its process lives. Whatever is in a folder whose lock is
free was left by a run that was killed: its servers are ended, its disks unmounted, and
the folder removed. A loop device goes with its mount.
"""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psutil
from filelock import FileLock, Timeout

from snippets.servers.cache import root
from snippets.servers.guard import end_run
from snippets.servers.run import current_run

SERVERS = "servers.json"


@dataclass(frozen=True)
class Workspace:
    """The folder of one run.

    Attributes:
        folder: Where it is; removed when the run is over.
    """

    folder: Path

    def new_folder(self, name: str) -> Path:
        """Make an empty folder."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))

    @contextmanager
    def temporary(self, name: str) -> Iterator[Path]:
        """Have an empty folder for as long as the block lasts."""
        folder = self.new_folder(name)
        try:
            yield folder
        finally:
            shutil.rmtree(folder)


def _all_runs() -> Path:
    folder = root() / "labs"
    folder.mkdir(exist_ok=True)
    return folder


def _lock_of(folder: Path) -> FileLock:
    return FileLock(folder.with_name(f"{folder.name}.lock"), blocking=False)


def _entrance() -> FileLock:
    """Return what is held while runs come or go: no new one is taken for dead."""
    return FileLock(_all_runs() / "entrance.lock")


@contextmanager
def workspace() -> Iterator[Workspace]:
    """Sweep up what killed runs have left, and have a folder for this one.

    Yields:
        The folder, which is removed when the block ends.
    """
    sweep()
    folder = _all_runs() / uuid4().hex
    with _entrance():
        lock = _lock_of(folder)
        lock.acquire()
        folder.mkdir()
    run = current_run()
    servers = {"token": run.token, "folder": str(run.folder)}
    (folder / SERVERS).write_text(json.dumps(servers))
    try:
        yield Workspace(folder)
    finally:
        with _entrance():
            _remove(folder)
            lock.release()
            Path(lock.lock_file).unlink()


def mounts_below(folder: Path) -> list[Path]:
    """Return where something is mounted in a folder, the innermost first."""
    mounts = [Path(each.mountpoint) for each in psutil.disk_partitions(all=True)]
    return sorted((each for each in mounts if folder in each.parents), reverse=True)


def _remove(folder: Path) -> None:
    for mount in mounts_below(folder):
        subprocess.run(["umount", mount], check=True, capture_output=True)
    shutil.rmtree(folder)


def sweep() -> list[Path]:
    """Remove what runs have left that were killed.

    Returns:
        The folders that were removed.

    Raises:
        subprocess.CalledProcessError: A disk is still in use by something else.
    """
    swept = []
    with _entrance():
        for folder in [each for each in _all_runs().iterdir() if each.is_dir()]:
            lock = _lock_of(folder)
            try:
                lock.acquire()
            except Timeout:
                continue
            if (folder / SERVERS).exists():
                servers = json.loads((folder / SERVERS).read_text())
                end_run(servers["token"], servers["folder"])
            _remove(folder)
            lock.release()
            Path(lock.lock_file).unlink()
            swept.append(folder)
    return swept
