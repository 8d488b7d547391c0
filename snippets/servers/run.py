"""What one process of ours has running, marked so that nothing of it outlives us."""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from uuid import uuid4

# Every server process of a run carries this variable, every container of it this label.
MARK = "SERVERS_RUN"

# A process that starts this one, as nox does, names itself here: no run outlives it.
OWNER = "SERVERS_OWNER"


@dataclass(frozen=True)
class Run:
    """One process of ours that starts servers.

    Attributes:
        token: What marks its servers.
        folder: Where their data and logs are.
    """

    token: str
    folder: Path

    def environment(self) -> dict[str, str]:
        """The environment for a server process of this run."""
        return {**os.environ, MARK: self.token}

    def new_folder(self, name: str) -> Path:
        """Make an empty folder for a node."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))

    def forget(self, folder: Path) -> None:
        """Remove a node's folder."""
        shutil.rmtree(folder)


@cache
def current_run() -> Run:
    """Return the run of this process, and set a guard beside it at the first call.

    The guard is a process that ends all servers of the run and removes its folder as soon
    as this process is gone, or the one that started it, even if killed.
    """
    run = Run(uuid4().hex, Path(tempfile.mkdtemp(prefix="servers-")))
    watched = [str(os.getpid()), *filter(None, [os.environ.get(OWNER)])]
    guard = subprocess.Popen(
        [
            *(sys.executable, "-m", "snippets.servers.guard"),
            *(run.token, str(run.folder), *watched),
        ],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    atexit.register(_dismiss, guard)
    return run


def _dismiss(guard: subprocess.Popen[bytes]) -> None:
    """Let the guard remove what is left, and wait for it."""
    guard.terminate()
    guard.wait()
