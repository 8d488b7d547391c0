"""What writes and reads while a fault strikes, and notes all of it in a history.

The load is an open loop: a value is due at its time, whatever became of those before it.
"""

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Protocol, Self

from snippets.labs.history import GROUP, Action, Journal, Phase

# Of so many values, a consumer that may leave out one leaves out one.
LEAVES_OUT = 10


# How far a group has come in a log: one is further than another if it is greater.
Position = tuple[int, ...]


class LoadError(Exception):
    """The load did not do what it should: the trial says nothing."""


class ServerGoneError(Exception):
    """A consumer's server does not answer any more."""


class Writer(Protocol):
    """A client that appends values to the log."""

    def write(self, value: int, answer: Callable[[Phase], None]) -> None:
        """Append a value.

        Args:
            value: What to append.
            answer: Called once with the outcome, now or later, from any thread.
        """

    def close(self) -> None:
        """Wait for the outstanding answers, and disconnect."""


class Consumer(Protocol):
    """A client that reads the log as a member of the group."""

    @property
    def selective(self) -> bool:
        """Whether it can leave out a value when it acknowledges."""

    @property
    def position(self) -> Position | None:
        """How far the group is, as far as the server has told this client."""

    def take(self) -> Sequence[int]:
        """Return the next values; none if there are none yet.

        Raises:
            ServerGoneError: The server does not answer.
        """

    def acknowledge(self, values: Sequence[int]) -> None:
        """Tell the server that the group has dealt with values that were taken last.

        Raises:
            ServerGoneError: The server does not answer; it may have heard.
        """

    def at_end(self) -> bool:
        """Tell whether all that the group is to get has been taken.

        Raises:
            ServerGoneError: The server does not answer.
        """

    def close(self) -> None:
        """Disconnect."""


class _Worker:
    """A thread that works until it is stopped, and whose errors are not lost."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._stopped = threading.Event()
        self._changed = threading.Condition()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._guarded, name=name, daemon=True)

    def _work(self) -> None:
        raise NotImplementedError

    def _guarded(self) -> None:
        try:
            self._work()
        except Exception as error:  # noqa: BLE001 - it is raised where somebody waits
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _check(self) -> None:
        if self._error is not None:
            raise LoadError(f"{self.name} failed: {self._error!r}") from self._error

    def stop(self) -> None:
        """Ask the thread to end, and return at once."""
        self._stopped.set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        self._thread.join()
        if error is None:
            self._check()


class Load(_Worker):
    """Writes 1, 2, 3 and so on at a rate, for as long as the block lasts."""

    def __init__(
        self, writer: Writer, journal: Journal, rate: float, *, first: int = 1
    ) -> None:
        """Take note of what to do.

        Args:
            writer: Writes; it is closed at the end of the block.
            journal: Where each write and each outcome is noted.
            rate: How many values are due in a second.
            first: The first value.
        """
        super().__init__("writer-1")
        self._writer = writer
        self._journal = journal
        self._rate = rate
        self._first = first
        self._answered = self._acknowledged = 0
        self._last = self._mark = first - 1
        self._served = 0

    def _work(self) -> None:
        begun = time.monotonic()
        for number in itertools.count(1):
            value = self._first + number - 1
            due = begun + number / self._rate
            if self._stopped.wait(max(0.0, due - time.monotonic())):
                break
            with self._changed:
                self._last = value
            self._journal.note(self.name, Action.WRITE, value, Phase.INVOKE)
            self._writer.write(value, partial(self._answer, value))
        self._writer.close()

    def _answer(self, value: int, phase: Phase) -> None:
        self._journal.note(self.name, Action.WRITE, value, phase)
        with self._changed:
            self._answered += 1
            if phase is Phase.OK:
                self._acknowledged += 1
                self._served += value > self._mark
            self._changed.notify_all()

    def go_on(self, seconds: float) -> None:
        """Let it write for so long.

        Raises:
            LoadError: It has failed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._error is not None, seconds)
            self._check()

    def until_answered(self, count: int, patience_s: float) -> bool:
        """Wait until so many writes have an outcome, whatever it is.

        Args:
            count: How many, from the beginning.
            patience_s: How many seconds to wait at the longest.

        Returns:
            Whether they have.

        Raises:
            LoadError: It has failed.
        """
        with self._changed:
            return self._wait(lambda: self._answered >= count, patience_s)

    def until_acknowledged(self, more: int, patience_s: float) -> bool:
        """Wait until so many more values are acknowledged.

        Args:
            more: How many, from now on.
            patience_s: How many seconds to wait at the longest.

        Returns:
            Whether they are.

        Raises:
            LoadError: It has failed.
        """
        with self._changed:
            enough = self._acknowledged + more
            return self._wait(lambda: self._acknowledged >= enough, patience_s)

    def until_served(self, more: int, patience_s: float) -> bool:
        """Wait until so many values are acknowledged that nobody has tried before.

        An acknowledgement that was on its way shows nothing of what is served now.

        Args:
            more: How many, of those that are tried from now on.
            patience_s: How many seconds to wait at the longest.

        Returns:
            Whether they are.

        Raises:
            LoadError: It has failed.
        """
        with self._changed:
            self._mark, self._served = self._last, 0
            return self._wait(lambda: self._served >= more, patience_s)

    def _wait(self, enough: Callable[[], bool], patience_s: float) -> bool:
        """Wait with the lock held, and say whether it is enough."""
        done = self._changed.wait_for(
            lambda: self._error is not None or enough(), patience_s
        )
        self._check()
        return done


class Consumption(_Worker):
    """Takes and acknowledges values, until it is stopped or its server is gone."""

    def __init__(self, consumer: Consumer, journal: Journal) -> None:
        """Take note of what to do.

        Args:
            consumer: Reads; it is closed at the end of the block.
            journal: Where each delivery and each acknowledgement is noted.
        """
        super().__init__("consumer-1")
        self._consumer = consumer
        self._journal = journal

    def _work(self) -> None:
        try:
            while not self._stopped.is_set():
                consume(self._consumer, self._journal, self.name)
        except ServerGoneError:
            pass
        finally:
            self._consumer.close()


def consume(consumer: Consumer, journal: Journal, process: str) -> None:
    """Take what there is, and acknowledge it, except what may be left out.

    Args:
        consumer: Reads.
        journal: Where each delivery and each acknowledgement is noted.
        process: The consumer's name.

    Raises:
        ServerGoneError: The server does not answer.
    """

    def note(action: Action, values: Sequence[int], phase: Phase) -> None:
        for value in values:
            journal.note(process, action, value, phase, key=GROUP)

    values = consumer.take()
    note(Action.DELIVER, values, Phase.OK)
    done = [value for value in values if value % LEAVES_OUT or not consumer.selective]
    if done:
        note(Action.ACKNOWLEDGE, done, Phase.INVOKE)
        try:
            consumer.acknowledge(done)
        except ServerGoneError:
            note(Action.ACKNOWLEDGE, done, Phase.UNKNOWN)
            raise
        note(Action.ACKNOWLEDGE, done, Phase.OK)


def drain(consumer: Consumer, journal: Journal, patience_s: float) -> None:
    """Consume until there is nothing left for the group.

    Args:
        consumer: Reads; it is closed at the end.
        journal: Where each delivery and each acknowledgement is noted.
        patience_s: How many seconds to go on at the longest.

    Raises:
        LoadError: There is no end, or the server is gone.
    """
    deadline = time.monotonic() + patience_s
    try:
        while not consumer.at_end():
            if time.monotonic() > deadline:
                raise LoadError(f"the group is not at its end after {patience_s:g} s")
            consume(consumer, journal, "consumer-2")
    except ServerGoneError as error:
        raise LoadError(f"the group can't be read to its end: {error}") from error
    finally:
        consumer.close()
