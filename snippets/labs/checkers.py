"""What a history, and what is left in the end, say about a system. Pure functions.

Of an operation that was invoked and has no outcome, or an unknown one, nothing is
claimed: its value may be there or not. Only an acknowledged value can be lost, and only a
value that nobody wrote, or whose every write is known to have failed, can be a phantom.

What is left is a list of values, in the order of the log.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from snippets.labs.history import LOG, Action, Operation, Phase

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000

# A time line has steps of this length, and begins so many of them before the fault.
# It goes on for so many after the last one in which all was not well.
STEP_MS = 100
STEPS_BEFORE = 10
STEPS_AFTER = 20


def _writes(history: Iterable[Operation], key: str) -> list[Operation]:
    return [each for each in history if each.action is Action.WRITE and each.key == key]


def acknowledged(history: Iterable[Operation], *, key: str = LOG) -> dict[int, int]:
    """Return the acknowledged values of a log, and when each was first acknowledged.

    Args:
        history: What happened.
        key: The log.

    Returns:
        Monotonic nanoseconds by value.
    """
    times: dict[int, int] = {}
    for each in _writes(history, key):
        if each.phase is Phase.OK:
            times.setdefault(each.value, each.monotonic_ns)
    return times


def lost(
    history: Iterable[Operation], left: Iterable[int], *, key: str = LOG
) -> list[int]:
    """Return the acknowledged values that are not left, in ascending order."""
    return sorted(acknowledged(history, key=key).keys() - set(left))


def refused(history: Iterable[Operation], *, key: str = LOG) -> list[int]:
    """Return the values of the writes that failed for certain, in ascending order."""
    return sorted(
        each.value for each in _writes(history, key) if each.phase is Phase.FAIL
    )


def unacknowledged(
    history: Iterable[Operation], left: Iterable[int], *, key: str = LOG
) -> list[int]:
    """Return the values that are left though their writer never heard so.

    To write them again would store them twice.
    """
    written = {each.value for each in _writes(history, key)}
    return sorted(written & set(left) - acknowledged(history, key=key).keys())


def duplicated(left: Iterable[int]) -> dict[int, int]:
    """Return the values that are left more than once, and how many are too many."""
    return {value: times - 1 for value, times in Counter(left).items() if times > 1}


def reordered(
    history: Iterable[Operation], left: Iterable[int], *, key: str = LOG
) -> list[int]:
    """Return the values that a later one of the same process has overtaken.

    Values of different processes have no order between them. Of a value that is left more
    than once, the first place counts.
    """
    written: dict[int, tuple[str, int]] = {}
    for place, each in enumerate(_writes(history, key)):
        if each.phase is Phase.INVOKE:
            written.setdefault(each.value, (each.process, place))
    found = []
    last: dict[str, int] = defaultdict(lambda: -1)
    for value in dict.fromkeys(left):
        if value in written:
            process, place = written[value]
            if place < last[process]:
                found.append(value)
            last[process] = max(last[process], place)
    return sorted(found)


def phantom(
    history: Iterable[Operation], left: Iterable[int], *, key: str = LOG
) -> list[int]:
    """Return the values that are left though nobody wrote them, or no write succeeded."""
    not_failed: Counter[int] = Counter()
    for each in _writes(history, key):
        if each.phase is Phase.INVOKE:
            not_failed[each.value] += 1
        elif each.phase is Phase.FAIL:
            not_failed[each.value] -= 1
    return sorted(set(left) - (+not_failed).keys())


def redelivered(history: Iterable[Operation], *, key: str) -> dict[int, int]:
    """Return the values that a group got again after it had acknowledged them.

    Args:
        history: What happened.
        key: The group.

    Returns:
        How many times, by value.
    """
    done: set[int] = set()
    again: Counter[int] = Counter()
    for each in history:
        if each.key == key and each.phase is Phase.OK:
            if each.action is Action.ACKNOWLEDGE:
                done.add(each.value)
            elif each.action is Action.DELIVER and each.value in done:
                again[each.value] += 1
    return dict(again)


def _processed(history: Iterable[Operation], key: str) -> Counter[int]:
    return Counter(
        each.value
        for each in history
        if each.key == key and each.action is Action.PROCESS and each.phase is Phase.OK
    )


def unprocessed(history: Sequence[Operation], *, log: str = LOG, key: str) -> list[int]:
    """Return the acknowledged values whose work a group has never done.

    Args:
        history: What happened, until the group was at its end.
        log: The log.
        key: The group.
    """
    return sorted(acknowledged(history, key=log).keys() - _processed(history, key).keys())


def repeated(history: Iterable[Operation], *, key: str) -> dict[int, int]:
    """Return the values whose work a group has done more than once.

    Args:
        history: What happened.
        key: The group.

    Returns:
        How many times too many, by value.
    """
    done = _processed(history, key)
    return {value: times - 1 for value, times in done.items() if times > 1}


def never_delivered(
    history: Iterable[Operation], left: Iterable[int], *, key: str
) -> list[int]:
    """Return the values that are left, but that a group never got."""
    got = {
        each.value
        for each in history
        if each.key == key and each.action is Action.DELIVER and each.phase is Phase.OK
    }
    return sorted(set(left) - got)


def forgotten(
    history: Sequence[Operation], left: Iterable[int], *, key: str
) -> list[int]:
    """Return the values that a group had in hand at the fault, and never got again.

    They are left, were delivered before the fault, and nobody has acknowledged them: the
    system owes the group another delivery.

    Args:
        history: What happened, with a fault.
        left: What is left in the log.
        key: The group.
    """
    begun = fault_at(history)
    in_hand: set[int] = set()
    settled: set[int] = set()
    for each in history:
        if each.key == key and begun is not None:
            if each.action is Action.ACKNOWLEDGE:
                # Even if the answer never came, it may have been heard.
                settled.add(each.value)
            elif each.action is Action.DELIVER and each.phase is Phase.OK:
                before = each.monotonic_ns < begun
                (in_hand if before else settled).add(each.value)
    return sorted(in_hand & set(left) - settled)


def fault_at(history: Iterable[Operation]) -> int | None:
    """Return when the first fault began, in monotonic nanoseconds."""
    for each in history:
        if each.action is Action.FAULT:
            return each.monotonic_ns
    return None


def fault_over_at(history: Iterable[Operation]) -> int | None:
    """Return when the first fault had happened, in monotonic nanoseconds."""
    for each in history:
        if each.action is Action.FAULT and each.phase is Phase.OK:
            return each.monotonic_ns
    return None


def acknowledged_meanwhile(history: Sequence[Operation], *, key: str = LOG) -> list[int]:
    """Return the values that were acknowledged between a fault and the end of its repair.

    If the network is divided, these are those of whoever serves on the wrong side.

    Args:
        history: What happened, with a fault.
        key: The log.

    Returns:
        The values in ascending order; none if nothing was repaired.
    """
    begun = fault_over_at(history)
    repaired = [
        each.monotonic_ns
        for each in history
        if each.action is Action.REPAIR and each.phase is Phase.OK
    ]
    if begun is None or not repaired:
        return []
    times = acknowledged(history, key=key)
    return sorted(value for value, at in times.items() if begun <= at < repaired[0])


def oldest_lost_ms(
    history: Sequence[Operation], values: Collection[int], *, key: str = LOG
) -> float:
    """Return how long before the fault the oldest lost value was acknowledged.

    Args:
        history: What happened, with a fault.
        values: What is lost.
        key: The log.

    Returns:
        Milliseconds; 0 if nothing is lost, or only what was acknowledged after the fault.
    """
    begun = fault_at(history)
    times = acknowledged(history, key=key)
    oldest = min((times[value] for value in values), default=begun)
    if begun is None or oldest is None:
        return 0.0
    return max(0.0, (begun - oldest) / NS_PER_MS)


def unavailable_s(history: Sequence[Operation], *, key: str = LOG) -> float:
    """Return the longest time without an acknowledgement, from the fault on.

    The load must go on through the fault: where nobody writes, nobody is refused. It is
    counted from the fault, or a later acknowledgement, to the next one, or to the last
    write that was tried.

    Args:
        history: What happened.
        key: The log.

    Returns:
        Seconds; 0 if there was no fault, or no write after it.
    """
    begun = fault_at(history)
    if begun is None:
        return 0.0
    after = [each for each in _writes(history, key) if each.monotonic_ns >= begun]
    answers = [each.monotonic_ns for each in after if each.phase is Phase.OK]
    tries = [each.monotonic_ns for each in after if each.phase is Phase.INVOKE]
    marks = [begun, *answers]
    if tries and tries[-1] > marks[-1]:
        marks.append(tries[-1])
    return max((later - one for one, later in pairwise(marks)), default=0) / NS_PER_S


@dataclass(frozen=True)
class Step:
    """What became of writes in one step of a time line.

    Attributes:
        attempted: How many writes began in it.
        unacknowledged: How many of these were never acknowledged.
        acknowledged: How many values were acknowledged in it, whenever they were tried.
    """

    attempted: int
    unacknowledged: int
    acknowledged: int


def time_line(history: Sequence[Operation], *, key: str = LOG) -> list[Step]:
    """Return how writes fared in each step, from a second before the fault on.

    A client that tries again by itself shows as a gap and then a burst; one that gives up
    shows as attempts that nobody acknowledged.

    Args:
        history: What happened, with a fault.
        key: The log.

    Returns:
        The steps up to the last attempt or acknowledgement, of which the one at
        `STEPS_BEFORE` begins with the fault; none if there was no fault.
    """
    begun = fault_at(history)
    if begun is None:
        return []
    first = begun - STEPS_BEFORE * STEP_MS * NS_PER_MS

    def steps(times: Iterable[int]) -> Counter[int]:
        return Counter(
            (at - first) // (STEP_MS * NS_PER_MS) for at in times if at >= first
        )

    answers = acknowledged(history, key=key)
    tries = [each for each in _writes(history, key) if each.phase is Phase.INVOKE]
    attempted = steps(each.monotonic_ns for each in tries)
    unheard = steps(each.monotonic_ns for each in tries if each.value not in answers)
    acked = steps(answers.values())
    end = max([*attempted, *acked], default=-1)
    return [Step(attempted[at], unheard[at], acked[at]) for at in range(end + 1)]


def until_settled(steps: Sequence[Step]) -> Sequence[Step]:
    """Return the beginning of a time line, until all is well again and some time after.

    All is well in a step in which something is acknowledged, and all that is tried is
    acknowledged in the end.

    Args:
        steps: The time line.
    """
    last = max(
        (
            at
            for at, step in enumerate(steps)
            if at >= STEPS_BEFORE and (step.unacknowledged or not step.acknowledged)
        ),
        default=STEPS_BEFORE - 1,
    )
    return steps[: last + 1 + STEPS_AFTER]
