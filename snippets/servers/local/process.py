"""A node that is a process of this machine."""

import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from snippets.servers.errors import ServersError
from snippets.servers.ready import attempts
from snippets.servers.run import current_run

STOP_S = 30.0
FREEZE_S = 5.0
LOG_TAIL = 30
LOG_NAME = "log.txt"


@dataclass(frozen=True)
class Storage:
    """Where a node keeps its data, apart from its log.

    Attributes:
        folder: An empty folder; whoever made it removes it.
        environment: Variables that the node needs to work on it.
    """

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)


# Gives a node its storage, by the node's name.
NewStorage = Callable[[str], Storage]


@dataclass(frozen=True)
class Host:
    """Where a node is on the network.

    Attributes:
        address: Where it listens, and where clients and other nodes find it.
        enter: The command that runs a program there; empty if it needs none.
    """

    address: str = "127.0.0.1"
    enter: Sequence[str] = ()


# Gives a node its place on the network, by the node's name.
NewHost = Callable[[str], Host]


def loopback(name: str) -> Host:  # noqa: ARG001
    """Let a node be where all are by default."""
    return Host()


class Process:
    """A server process, with a folder for its data and its log.

    It leads a session of its own, so that Ctrl-C reaches our process and not the server.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        folder: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Take note of what to run; nothing starts yet.

        Args:
            name: What the node is called in messages.
            command: The program and its arguments.
            folder: Where it runs and keeps its log, and its data if it has no storage.
            environment: Variables that it needs beyond those of our own process.
        """
        self.name = name
        self.folder = folder
        self._environment = dict(environment or {})
        self._command = list(command)
        self._log = folder / LOG_NAME
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of the node as last started."""
        return self._running().pid

    def start(self) -> None:
        """Start the process and return at once."""
        with self._log.open("ab") as log:
            self._popen = subprocess.Popen(
                self._command,
                cwd=self.folder,
                env={**current_run().environment(), **self._environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def stop(self) -> None:
        """Ask the process to shut down and wait until it has.

        Raises:
            ServersError: It doesn't within half a minute; it is killed then.
        """
        popen = self._running()
        popen.terminate()
        try:
            popen.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServersError(
                f"{self.name} did not stop within {STOP_S:g} s\n{self.log_tail()}"
            ) from None

    def kill(self) -> None:
        """End the process at once."""
        popen = self._running()
        popen.kill()
        popen.wait()

    def pause(self) -> None:
        """Freeze the process; on return, none of its threads runs.

        Raises:
            ServersError: One of them still runs after some seconds.
        """
        self._running().send_signal(signal.SIGSTOP)
        # The signal takes effect thread by thread, some time later.
        for _ in attempts(FREEZE_S):
            if _stands_still(self.pid):
                return
        raise ServersError(f"{self.name} still runs {FREEZE_S:g} s after SIGSTOP")

    def resume(self) -> None:
        """Let the frozen process go on."""
        self._running().send_signal(signal.SIGCONT)

    def logs(self) -> str:
        """Return what the process has printed since it was first started."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def log_tail(self) -> str:
        """Return the last lines that the process has printed."""
        lines = self.logs().splitlines()[-LOG_TAIL:]
        return "\n".join([f"the end of {self.name}'s log:", *lines])

    def check_alive(self) -> None:
        """Raise if the process has ended.

        Raises:
            ServersError: It has; the message holds the end of its log.
        """
        code = self._running().poll()
        if code is not None:
            raise ServersError(f"{self.name} ended with status {code}\n{self.log_tail()}")

    def runs(self) -> bool:
        """Tell whether the process runs, frozen or not."""
        return self._popen is not None and self._popen.poll() is None

    def end(self) -> None:
        """Kill the process if it runs, frozen or not."""
        if self.runs():
            self.kill()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._popen is None:
            raise ServersError(f"{self.name} was never started")
        return self._popen


def _stands_still(pid: int) -> bool:
    threads = Path("/proc", str(pid), "task")
    if not threads.is_dir():
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    try:
        states = [
            # The name of the program, in brackets, may hold anything.
            (thread / "stat").read_text().rpartition(")")[2].split()[0]
            for thread in threads.iterdir()
        ]
    except OSError:  # a thread ended while we looked
        return False
    return set(states) == {"T"}
