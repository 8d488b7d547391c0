"""A consumer that is a process of its own, and so can be killed, frozen or sent away.

`python -m snippets.labs.scenarios.worker ARGUMENTS`, a list in JSON, works until it is
killed. Asked to end (`SIGTERM`), it leaves at once, in the middle of its batch.
"""

import json
import queue
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from snippets.labs.history import GROUP, Action, Journal, Phase
from snippets.labs.scenarios.clients import Client, Member, NotAcknowledged, kind_of

NAME = "consumer-1"
# The work for one value; half a batch is much longer than the interval of auto-commit.
WORK_S = 0.03


class Work:
    """Takes batches, and does their work value by value."""

    def __init__(self, taker: Client, journal: Journal, name: str = NAME) -> None:
        """Take note of what to do."""
        self._taker = taker
        self._journal = journal
        self._name = name
        # What is taken and not acknowledged, in the order of taking.
        self._owed: list[int] = []
        self._done: set[int] = set()
        taker.when_revoked = self.settling

    def _note(self, action: Action, phase: Phase, values: Sequence[int]) -> None:
        for value in values:
            self._journal.note(self._name, action, value, phase, key=GROUP)

    def _do(self, value: int) -> None:
        threading.Event().wait(WORK_S)
        self._note(Action.PROCESS, Phase.OK, [value])
        self._done.add(value)

    @contextmanager
    def settling(self) -> Iterator[Sequence[int]]:
        """Give what is done, or all that is taken if the client can't tell them apart.

        It is acknowledged by the end of the block, unless that raises `NotAcknowledged`.
        """
        exact = self._taker.exact and not self._taker.acknowledges_first
        values = [each for each in self._owed if each in self._done or not exact]
        self._owed = [each for each in self._owed if each not in values]
        self._note(Action.ACKNOWLEDGE, Phase.INVOKE, values)
        try:
            yield values
        except NotAcknowledged:
            self._note(Action.ACKNOWLEDGE, Phase.UNKNOWN, values)
        else:
            self._note(Action.ACKNOWLEDGE, Phase.OK, values)

    def settle(self) -> None:
        """Acknowledge it."""
        with self.settling() as values:
            if values:
                self._taker.acknowledge(values)

    def _take(self) -> Sequence[int]:
        values = self._taker.take()
        self._note(Action.DELIVER, Phase.OK, values)
        # After a rebalance it may get again what it has not acknowledged.
        self._owed = list(dict.fromkeys([*self._owed, *values]))
        self._done -= set(values)
        if self._taker.acknowledges_first:
            self.settle()
        return values

    def step(self) -> None:
        """Take a batch and do its work; acknowledge it when it is time to."""
        values = self._take()
        for value in values:
            self._do(value)
        # Whoever finds nothing to do has time to acknowledge.
        if len(self._owed) >= self._taker.owes or not values:
            self.settle()


class HandingOff(Work):
    """Takes batch after batch, and leaves the work to a thread."""

    def __init__(self, taker: Client, journal: Journal, name: str = NAME) -> None:
        """Start the thread."""
        super().__init__(taker, journal, name)
        self._handed_off: queue.SimpleQueue[int] = queue.SimpleQueue()
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        while True:
            self._do(self._handed_off.get())

    def step(self) -> None:
        """Take a batch, and hand it off; acknowledge what the thread has done."""
        for value in self._take():
            self._handed_off.put(value)
        self.settle()


def _leave(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    raise SystemExit


def main() -> None:
    """Work for ever."""
    kind, history, address, name, partitions = json.loads(sys.argv[1])
    chosen = kind_of(kind)
    taker = chosen.connect(Member(address, name, partitions))
    with Journal(Path(history)) as journal:
        working = HandingOff if chosen.hands_off else Work
        work = working(taker, journal, name)
        signal.signal(signal.SIGTERM, _leave)
        try:
            while True:
                work.step()
        finally:
            taker.close()


if __name__ == "__main__":
    main()
