"""What is made once and kept in the user's cache directory."""

import shutil
from collections.abc import Callable
from pathlib import Path

import platformdirs
from filelock import FileLock


def root() -> Path:
    """Return the folder that holds all that this project keeps outside its checkout."""
    return platformdirs.user_cache_path("redis-streams-vs-kafka", ensure_exists=True)


def is_cached(name: str) -> bool:
    """Tell whether a folder has been made."""
    return (root() / name).is_dir()


def cached(name: str, make: Callable[[Path], None]) -> Path:
    """Return a cached folder, made at the first call.

    A folder is whole or absent: it is made under another name, by one process at a time,
    and what an interrupted run left of it is removed by the next.

    Args:
        name: The folder's name; it says all that its content depends on.
        make: Fills an empty folder.
    """
    folder = root() / name
    if not folder.is_dir():
        with FileLock(root() / f"{name}.lock"):
            if not folder.is_dir():
                partial = root() / f"{name}.partial"
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir()
                make(partial)
                partial.rename(folder)
    return folder
