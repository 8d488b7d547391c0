"""The process beside a run: ends its servers when the run's own process is gone.

`python -m snippets.servers.guard TOKEN FOLDER PID [PID]` watches the processes, the run's
own first. When one of them is gone, by whatever signal, or when the run dismisses the
guard with SIGTERM, it kills what carries the token and removes the folder.
"""

import contextlib
import shutil
import signal
import sys
import threading
from collections.abc import Sequence

import psutil

from snippets.servers.containers import sign_of_engine
from snippets.servers.run import MARK

POLL_S = 0.2


def lives(process: psutil.Process) -> bool:
    """Tell whether a process still runs; one that only waits to be reaped doesn't."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def servers_of(token: str) -> list[psutil.Process]:
    """Find the living processes that carry the token."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == token and lives(process):
                found.append(process)
    return found


def remove_containers(token: str) -> None:
    """Remove the containers and networks that carry the token, if there is an engine."""
    if sign_of_engine():
        from snippets.servers.containers.engine import remove_labelled

        remove_labelled(f"{MARK}={token}")


def end_run(token: str, folder: str) -> None:
    """Kill all servers of a run, and remove its folder."""
    while found := servers_of(token):
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(found, timeout=POLL_S)
    remove_containers(token)
    shutil.rmtree(folder, ignore_errors=True)


def main(token: str, folder: str, pids: Sequence[str]) -> None:
    """Wait for the end of a watched process, then end the run."""
    dismissed = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: dismissed.set())
    watched = [psutil.Process(int(pid)) for pid in pids if psutil.pid_exists(int(pid))]
    while len(watched) == len(pids) and all(map(lives, watched)):
        if dismissed.wait(POLL_S):
            end_run(token, folder)
            return
    # Without the process that started it, ours would go on and start new servers.
    own = next((each for each in watched if each.pid == int(pids[0])), None)
    if own and lives(own):
        own.kill()
    end_run(token, folder)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
