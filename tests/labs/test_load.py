"""The load goes on whatever happens, and notes what its clients were told."""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from snippets.labs import checkers
from snippets.labs.history import (
    GROUP,
    Action,
    Journal,
    Operation,
    Phase,
    read,
    read_so_far,
)
from snippets.labs.load import (
    Consumption,
    Load,
    LoadError,
    Position,
    ServerGoneError,
    consume,
    drain,
)

RATE = 1000.0


class Answering:
    """A writer whose server answers each write in the same way."""

    def __init__(self, phase: Phase) -> None:
        """Take note of the answer."""
        self._phase = phase
        self.closed = False

    def write(self, value: int, answer: Callable[[Phase], None]) -> None:
        """Answer at once."""
        del value
        answer(self._phase)

    def close(self) -> None:
        """Take note of it."""
        self.closed = True


class Late(Answering):
    """A writer whose answers come in another thread, and all at the end."""

    def __init__(self) -> None:
        """Have no answer outstanding."""
        super().__init__(Phase.OK)
        self._outstanding: list[Callable[[Phase], None]] = []

    def write(self, value: int, answer: Callable[[Phase], None]) -> None:
        """Answer later."""
        del value
        self._outstanding.append(answer)

    def close(self) -> None:
        """Answer now."""

        def answer_all() -> None:
            for answer in self._outstanding:
                answer(Phase.OK)

        thread = threading.Thread(target=answer_all)
        thread.start()
        thread.join()


class Lagging(Late):
    """A writer whose answers come some writes later."""

    def __init__(self, lag: int) -> None:
        """Take note of how many writes later."""
        super().__init__()
        self._lag = lag

    def write(self, value: int, answer: Callable[[Phase], None]) -> None:
        """Answer an earlier write."""
        super().write(value, answer)
        if len(self._outstanding) > self._lag:
            self._outstanding.pop(0)(Phase.OK)


class Hanging(Answering):
    """A writer whose first write takes long."""

    def __init__(self, seconds: float) -> None:
        """Take note of how long."""
        super().__init__(Phase.OK)
        self._seconds = seconds

    def write(self, value: int, answer: Callable[[Phase], None]) -> None:
        """Answer at once, except the first time."""
        time.sleep(self._seconds if value == 1 else 0)
        super().write(value, answer)


class Broken(Answering):
    """A writer that has a fault of its own."""

    def write(self, value: int, answer: Callable[[Phase], None]) -> None:
        """Fail."""
        raise ZeroDivisionError(f"{value} {answer}")


class Reader:
    """A consumer of a list, whose server may be gone after some values."""

    selective = True
    position: Position | None = None

    def __init__(self, values: Sequence[int], lives: int = 10**6) -> None:
        """Take note of the values, and of how many calls are answered."""
        self._values = list(values)
        self._lives = lives
        self.acknowledged: list[int] = []
        self.closed = False

    def _live(self) -> None:
        self._lives -= 1
        if self._lives < 0:
            raise ServerGoneError("it is gone")

    def take(self) -> Sequence[int]:
        """Return up to five values."""
        self._live()
        taken, self._values = self._values[:5], self._values[5:]
        return taken

    def acknowledge(self, values: Sequence[int]) -> None:
        """Take note of them."""
        self._live()
        self.acknowledged += values

    def at_end(self) -> bool:
        """Tell whether all is taken."""
        self._live()
        return not self._values

    def close(self) -> None:
        """Take note of it."""
        self.closed = True


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the history is."""
    return tmp_path / "history.jsonl"


def of(history: list[Operation], action: Action, phase: Phase) -> list[int]:
    """Return the values of which something is noted."""
    return [op.value for op in history if op.action is action and op.phase is phase]


@pytest.mark.parametrize("phase", [Phase.OK, Phase.FAIL, Phase.UNKNOWN])
def test_each_outcome_is_noted_as_it_is(path: Path, phase: Phase) -> None:
    writer = Answering(phase)
    with Journal(path) as journal, Load(writer, journal, RATE) as load:
        load.go_on(0.1)
    history = read(path)
    invoked = of(history, Action.WRITE, Phase.INVOKE)
    assert invoked == list(range(1, len(invoked) + 1))
    assert of(history, Action.WRITE, phase) == invoked
    assert writer.closed


def test_no_value_comes_before_it_is_due(path: Path) -> None:
    begun = time.monotonic_ns()
    with Journal(path) as journal, Load(Answering(Phase.OK), journal, 100.0) as load:
        assert load.until_acknowledged(20, patience_s=30)
    times = [op.monotonic_ns for op in read(path) if op.phase is Phase.INVOKE]
    # How late they are is the machine's business.
    due = [begun + number * 1e9 / 100 for number in range(1, len(times) + 1)]
    assert all(at >= early for at, early in zip(times, due, strict=True))


def test_what_came_due_while_a_write_hung_is_made_up_for(path: Path) -> None:
    with Journal(path) as journal, Load(Hanging(1.0), journal, 100.0) as load:
        assert load.until_acknowledged(100, patience_s=30)
    times = [op.monotonic_ns for op in read(path) if op.phase is Phase.INVOKE]
    # One by one, a hundredth of a second apart, they would take as long again.
    assert times[98] - times[1] < 0.97e9


def test_answers_that_come_at_the_end_are_noted(path: Path) -> None:
    with Journal(path) as journal, Load(Late(), journal, RATE) as load:
        load.go_on(0.05)
    history = read(path)
    assert [*checkers.acknowledged(history)] == of(history, Action.WRITE, Phase.INVOKE)


def test_it_waits_for_acknowledgements_and_not_for_ever(path: Path) -> None:
    with Journal(path) as journal:
        with Load(Answering(Phase.OK), journal, RATE) as load:
            assert load.until_acknowledged(20, patience_s=30)
        assert len(checkers.acknowledged(read(path))) >= 20
        with Load(Answering(Phase.UNKNOWN), journal, RATE) as load:
            assert not load.until_acknowledged(1, patience_s=0.1)


def test_what_was_on_its_way_shows_nothing_of_what_is_served_now(path: Path) -> None:
    with Journal(path) as journal, Load(Lagging(20), journal, RATE) as load:
        assert load.until_acknowledged(1, patience_s=30)
        tried = max(of(read_so_far(path), Action.WRITE, Phase.INVOKE))
        assert load.until_served(1, patience_s=30)
        assert max(checkers.acknowledged(read_so_far(path))) > tried


def test_a_writer_that_is_broken_makes_the_trial_fail(path: Path) -> None:
    with (
        pytest.raises(LoadError, match="writer-1 failed: ZeroDivisionError"),
        Journal(path) as journal,
        Load(Broken(Phase.OK), journal, RATE) as load,
    ):
        load.until_acknowledged(1, patience_s=30)


def test_a_selective_consumer_leaves_out_one_of_ten(path: Path) -> None:
    reader = Reader(range(1, 31))
    with Journal(path) as journal:
        drain(reader, journal, patience_s=30)
    history = read(path)
    kept = [value for value in range(1, 31) if value % 10]
    assert of(history, Action.DELIVER, Phase.OK) == list(range(1, 31))
    assert of(history, Action.ACKNOWLEDGE, Phase.OK) == kept == reader.acknowledged
    assert {op.key for op in history} == {GROUP}
    assert reader.closed


def test_an_acknowledgement_without_an_answer_is_unknown(path: Path) -> None:
    with Journal(path) as journal, pytest.raises(ServerGoneError):
        consume(Reader([1, 2], lives=1), journal, "c")
    history = read(path)
    assert of(history, Action.ACKNOWLEDGE, Phase.UNKNOWN) == [1, 2]
    assert of(history, Action.ACKNOWLEDGE, Phase.OK) == []


def test_a_consumption_ends_with_its_server(path: Path) -> None:
    reader = Reader(range(100), lives=4)
    with Journal(path) as journal, Consumption(reader, journal):
        pass
    assert reader.closed


def test_a_drain_that_has_no_end_makes_the_trial_fail(path: Path) -> None:
    with Journal(path) as journal:
        with pytest.raises(LoadError, match="not at its end"):
            drain(Reader(range(100)), journal, patience_s=0)
        with pytest.raises(LoadError, match="it is gone"):
            drain(Reader(range(100), lives=4), journal, patience_s=30)
