"""Histories that no server has made: written by hand, or drawn by hypothesis."""

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from snippets.labs.history import GROUP, LOG, Action, Operation, Phase

INVOKE, OK, FAIL, UNKNOWN = Phase

Line = tuple[str, Action, int, Phase]


def operation(
    process: str,
    action: Action,
    value: int,
    phase: Phase,
    *,
    at_ms: float = 0,
    key: str | None = None,
) -> Operation:
    """Write one line of a history; the action says whether it is of a log or a group."""
    of_group = action in {Action.DELIVER, Action.ACKNOWLEDGE}
    key = key or (GROUP if of_group else LOG)
    at_ns = int(at_ms * 1_000_000)
    return Operation(process, action, key, value, phase, at_ns, at_ms / 1000)


def history_of(*lines: Line) -> list[Operation]:
    """Write a history with one line a millisecond."""
    return [operation(*line, at_ms=number) for number, line in enumerate(lines)]


@dataclass(frozen=True)
class Sound:
    """A history, and what a log that keeps every promise has left of it.

    Attributes:
        history: Writes of several processes, with every kind of outcome.
        left: Values in the order of the log.
        acknowledged: The values of which the writers know that they are there.
        failed: The values of which the writers know that they are not.
        writer: Which process wrote each value.
        written: The values in the order of their writes.
    """

    history: list[Operation]
    left: list[int]
    acknowledged: list[int]
    failed: list[int]
    writer: dict[int, str]
    written: list[int]


# A write whose outcome never arrived stands in the history with its invocation alone.
Outcome = Phase | None
OUTCOMES: Sequence[Outcome] = (OK, OK, OK, FAIL, UNKNOWN, None)


@st.composite
def sound(draw: st.DrawFn, min_size: int = 0) -> Sound:
    """Draw a history with overlapping writes, and a log that fits it."""
    written = draw(st.lists(st.integers(0, 10**6), unique=True, min_size=min_size))
    size = len(written)

    def each_of(choices: Sequence[Outcome]) -> list[Outcome]:
        return draw(st.lists(st.sampled_from(choices), min_size=size, max_size=size))

    outcomes = each_of(OUTCOMES)
    writers = draw(
        st.lists(st.sampled_from(["w1", "w2", "w3"]), min_size=size, max_size=size)
    )
    takes = draw(st.lists(st.integers(1, 99), min_size=size, max_size=size))
    lines = []
    for number, (value, writer, outcome) in enumerate(
        zip(written, writers, outcomes, strict=True)
    ):
        begun = number * 10
        lines.append(operation(writer, Action.WRITE, value, INVOKE, at_ms=begun))
        if outcome:
            ended = begun + takes[number]
            lines.append(operation(writer, Action.WRITE, value, outcome, at_ms=ended))
    lines.sort(key=lambda line: line.monotonic_ns)
    there = [
        (writer, value)
        for value, writer, outcome in zip(written, writers, outcomes, strict=True)
        if outcome is OK or (outcome is not FAIL and draw(st.booleans()))
    ]
    # The log has each writer's values in order, and the writers in any order.
    turns = draw(st.permutations([writer for writer, _ in there]))
    queues = {
        writer: iter([value for by, value in there if by == writer]) for writer in turns
    }
    return Sound(
        history=lines,
        left=[next(queues[writer]) for writer in turns],
        acknowledged=[v for v, o in zip(written, outcomes, strict=True) if o is OK],
        failed=[v for v, o in zip(written, outcomes, strict=True) if o is FAIL],
        writer=dict(zip(written, writers, strict=True)),
        written=written,
    )
