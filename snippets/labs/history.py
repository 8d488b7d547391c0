"""What the processes of a trial did, in the order in which it was noted.

A history is a list of operations, as Jepsen keeps it. Each write, delivery,
acknowledgement and fault is noted twice: when it is invoked, and when its outcome is
known. The file has one JSON object a line.
"""

import threading
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

LOG = "log"
GROUP = "group"


class Action(StrEnum):
    """What a process wants to do."""

    WRITE = "write"
    """Append a value to a log."""

    DELIVER = "deliver"
    """Get a value for a group of consumers."""

    PROCESS = "process"
    """Do the work for a value, on behalf of a group."""

    ACKNOWLEDGE = "acknowledge"
    """Say that a group has dealt with a value."""

    FAULT = "fault"
    """Make something fail; the value counts the faults."""

    REPAIR = "repair"
    """Do what an operator does after a fault; the value is the fault's."""


class Phase(StrEnum):
    """How far an operation has come."""

    INVOKE = "invoke"
    OK = "ok"
    """The server has said that it is done."""

    FAIL = "fail"
    """It is certain that it was not done."""

    UNKNOWN = "unknown"
    """It may or may not have been done, or may yet be."""


class Operation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of a history.

    Attributes:
        process: Who did it. A process has a name of its own.
        action: What it wants to do.
        key: Which log it writes, or for which group it reads.
        value: The number that the entry or record carries; written once, as a rule.
        phase: How far it has come.
        monotonic_ns: When that was, by the clock that never steps back.
        wall: When that was in Unix time, for whoever compares it with a server's log.
    """

    process: str
    action: Action
    key: str
    value: int
    phase: Phase
    monotonic_ns: int
    wall: float


class HistoryError(Exception):
    """A file is not a history: says where, and what is wrong there."""


class Journal:
    """A history while it is written, by several threads at once.

    A line is handed to the operating system whole. So a run that is killed leaves whole
    lines, with at most one broken line at the end.
    """

    def __init__(self, path: Path) -> None:
        """Open the file; lines go to its end."""
        self._file = path.open("ab", buffering=0)
        self._encoder = msgspec.json.Encoder()
        self._lock = threading.Lock()

    def note(
        self, process: str, action: Action, value: int, phase: Phase, *, key: str = LOG
    ) -> None:
        """Note what happens now; see `Operation`."""
        # The time is taken under the lock, so that the lines are in the order of time.
        with self._lock:
            now, wall = time.monotonic_ns(), time.time()
            line = Operation(process, action, key, value, phase, now, wall)
            self._file.write(self._encoder.encode(line) + b"\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def read(path: Path) -> list[Operation]:
    """Return a recorded history.

    Args:
        path: The file, as a `Journal` has written it.

    Raises:
        HistoryError: A line is not an operation.
    """
    return list(_operations(path))


def read_so_far(path: Path) -> list[Operation]:
    """Return the whole lines of a history that others are still writing.

    Args:
        path: The file.
    """
    # Of a line that is being written, a part may be seen.
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    return msgspec.json.decode(
        b"[" + whole.replace(b"\n", b",") + b"]", type=list[Operation]
    )


def _operations(path: Path) -> Iterator[Operation]:
    decoder = msgspec.json.Decoder(Operation)
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            where = f"{path}:{number}"
            if not line.endswith(b"\n"):
                raise HistoryError(
                    f"{where}: the line is cut off. Whoever wrote it was killed: remove "
                    "the line, or the whole history, and run the trial again."
                )
            try:
                yield decoder.decode(line)
            except msgspec.DecodeError as error:
                raise HistoryError(f"{where}: not an operation: {error}") from error
