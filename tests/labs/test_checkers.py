"""The checkers find what is wrong with a log, all of it, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snippets.labs import checkers
from snippets.labs.checkers import Step
from snippets.labs.history import GROUP, LOG, Action
from tests.labs.histories import (
    FAIL,
    INVOKE,
    OK,
    UNKNOWN,
    Sound,
    history_of,
    operation,
    sound,
)

WRITE, DELIVER, ACKNOWLEDGE = Action.WRITE, Action.DELIVER, Action.ACKNOWLEDGE
FAULT, REPAIR = Action.FAULT, Action.REPAIR

FIVE = history_of(
    ("w", WRITE, 1, INVOKE),
    ("w", WRITE, 1, OK),
    ("w", WRITE, 2, INVOKE),
    ("w", WRITE, 2, OK),
    ("w", WRITE, 3, INVOKE),
    ("w", WRITE, 3, FAIL),
    ("w", WRITE, 4, INVOKE),
    ("w", WRITE, 4, UNKNOWN),
    ("w", WRITE, 5, INVOKE),
)


def findings(drawn: Sound, left: list[int]) -> dict[str, list[int]]:
    """Return all that is wrong with what is left."""
    found = {
        "lost": checkers.lost(drawn.history, left),
        "duplicated": sorted(checkers.duplicated(left)),
        "reordered": checkers.reordered(drawn.history, left),
        "phantom": checkers.phantom(drawn.history, left),
    }
    return {name: values for name, values in found.items() if values}


@pytest.mark.parametrize("left", [[1, 2], [1, 2, 4], [1, 2, 5], [1, 2, 4, 5]])
def test_what_is_unknown_may_be_there_or_not(left: list[int]) -> None:
    assert checkers.lost(FIVE, left) == []
    assert checkers.phantom(FIVE, left) == []
    assert checkers.unacknowledged(FIVE, left) == left[2:]


def test_what_has_failed_is_not_lost_and_must_not_appear() -> None:
    assert checkers.lost(FIVE, [1, 2]) == []
    assert checkers.phantom(FIVE, [1, 2, 3]) == [3]


def test_a_value_that_failed_once_and_was_tried_again_is_no_phantom() -> None:
    again = [*FIVE, *history_of(("w", WRITE, 3, INVOKE), ("w", WRITE, 3, UNKNOWN))]
    assert checkers.phantom(again, [1, 2, 3]) == []
    assert checkers.phantom(again[:-1], [1, 2, 3]) == []


def test_a_value_counts_as_acknowledged_from_its_first_acknowledgement() -> None:
    twice = [*FIVE, operation("w", WRITE, 1, OK, at_ms=99)]
    assert checkers.acknowledged(twice) == {1: 1_000_000, 2: 3_000_000}


def test_processes_have_no_order_between_them() -> None:
    history = history_of(
        ("a", WRITE, 1, INVOKE),
        ("a", WRITE, 1, OK),
        ("b", WRITE, 2, INVOKE),
        ("b", WRITE, 2, OK),
    )
    assert checkers.reordered(history, [2, 1]) == []


def test_a_value_that_is_written_again_keeps_its_place() -> None:
    history = history_of(
        ("w", WRITE, 1, INVOKE),
        ("w", WRITE, 2, INVOKE),
        ("w", WRITE, 1, INVOKE),
    )
    assert checkers.reordered(history, [1, 2, 1]) == []
    assert checkers.reordered(history, [2, 1]) == [1]


def test_other_logs_and_groups_do_not_count() -> None:
    other = [operation("w", WRITE, 7, OK, key="other")]
    assert checkers.lost(other, []) == []
    assert checkers.lost(other, [], key="other") == [7]
    read = history_of(("c", ACKNOWLEDGE, 1, OK), ("c", DELIVER, 1, OK))
    assert checkers.redelivered(read, key="other") == {}


def test_a_delivery_again_is_one_only_after_the_acknowledgement() -> None:
    unfinished = history_of(
        ("c", DELIVER, 1, OK),
        ("c", ACKNOWLEDGE, 1, INVOKE),
        ("c", ACKNOWLEDGE, 1, UNKNOWN),
        ("c", DELIVER, 1, OK),
    )
    assert checkers.redelivered(unfinished, key=GROUP) == {}


def test_the_age_of_what_is_lost_is_counted_from_the_fault() -> None:
    history = [
        operation("w", WRITE, 1, OK, at_ms=100),
        operation("w", WRITE, 2, OK, at_ms=400),
        operation("f", FAULT, 1, INVOKE, at_ms=1000),
        operation("w", WRITE, 3, OK, at_ms=1500),
    ]
    assert checkers.oldest_lost_ms(history, [2, 3]) == 600
    assert checkers.oldest_lost_ms(history, [3]) == 0
    assert checkers.oldest_lost_ms(history, []) == 0
    assert checkers.oldest_lost_ms(history[:2], [1]) == 0


def test_a_fault_begins_and_is_over() -> None:
    history = history_of(
        ("f", FAULT, 1, INVOKE), ("w", WRITE, 1, OK), ("f", FAULT, 1, OK)
    )
    assert checkers.fault_at(history) == 0
    assert checkers.fault_over_at(history) == 2_000_000
    assert checkers.fault_over_at(history[:2]) is None
    assert checkers.fault_at([]) is None


def test_what_is_acknowledged_between_a_fault_and_its_repair_is_found() -> None:
    divided = history_of(
        ("w", WRITE, 1, OK),
        ("f", FAULT, 1, INVOKE),
        ("w", WRITE, 2, OK),
        ("f", FAULT, 1, OK),
        ("w", WRITE, 3, OK),
        ("o", REPAIR, 1, INVOKE),
        ("w", WRITE, 4, OK),
        ("w", WRITE, 5, UNKNOWN),
        ("o", REPAIR, 1, OK),
        ("w", WRITE, 6, OK),
    )
    assert checkers.acknowledged_meanwhile(divided) == [3, 4]
    assert checkers.acknowledged_meanwhile(divided[:-2]) == []
    assert checkers.acknowledged_meanwhile(FIVE) == []


def test_the_longest_silence_after_the_fault_counts() -> None:
    history = [
        operation("w", WRITE, 1, OK, at_ms=0),
        operation("f", FAULT, 1, INVOKE, at_ms=5000),
        operation("w", WRITE, 2, INVOKE, at_ms=5100),
        operation("w", WRITE, 2, OK, at_ms=5200),
        operation("w", WRITE, 3, INVOKE, at_ms=6000),
        operation("w", WRITE, 3, OK, at_ms=8200),
        operation("w", WRITE, 4, INVOKE, at_ms=8300),
        operation("w", WRITE, 4, OK, at_ms=8301),
    ]
    assert checkers.unavailable_s(history) == 3.0
    # The first answer may be the one that comes late.
    assert checkers.unavailable_s(history[:1] + history[1:2] + history[4:6]) == 3.2
    # It never answered again: the last try shows for how long that is known.
    assert checkers.unavailable_s(history[:5]) == 0.8
    assert checkers.unavailable_s(history[:1]) == 0.0
    assert checkers.unavailable_s(history[:2]) == 0.0


GAP = [
    operation("w", WRITE, 0, INVOKE, at_ms=3999),  # more than a second before
    operation("w", WRITE, 0, OK, at_ms=4000),
    operation("w", WRITE, 1, INVOKE, at_ms=4950),
    operation("f", FAULT, 1, INVOKE, at_ms=5000),
    operation("w", WRITE, 1, OK, at_ms=5010),
    operation("w", WRITE, 2, INVOKE, at_ms=5020),
    operation("w", WRITE, 2, FAIL, at_ms=5030),
    operation("w", WRITE, 3, INVOKE, at_ms=5040),
    operation("w", WRITE, 4, INVOKE, at_ms=5110),
    operation("w", WRITE, 4, UNKNOWN, at_ms=5150),
    operation("w", WRITE, 3, OK, at_ms=5250),
]


WELL, SILENT, UNHEARD = Step(5, 0, 5), Step(5, 0, 0), Step(5, 1, 4)


def test_a_time_line_says_what_became_of_writes_in_each_step() -> None:
    line = checkers.time_line(GAP)
    assert line[0] == Step(attempted=0, unacknowledged=0, acknowledged=1)
    assert line[1:9] == [Step(0, 0, 0)] * 8
    assert line[checkers.STEPS_BEFORE - 1] == Step(1, 0, 0)
    assert line[checkers.STEPS_BEFORE :] == [Step(2, 1, 1), Step(1, 1, 0), Step(0, 0, 1)]


def test_a_time_line_needs_a_fault_and_ends_with_the_last_write() -> None:
    assert checkers.time_line(GAP[:3]) == []
    assert checkers.time_line(GAP[3:4]) == []
    assert checkers.time_line(GAP, key="other") == []
    assert len(checkers.time_line(GAP[:-1])) == checkers.STEPS_BEFORE + 2


@pytest.mark.parametrize(
    ("after", "kept"),
    [
        ([], 0),
        ([WELL] * 50, 20),
        ([WELL, SILENT, WELL, SILENT] + [WELL] * 50, 24),
        ([WELL, UNHEARD] + [WELL] * 50, 22),
        ([SILENT] * 50, 50),
    ],
)
def test_a_time_line_ends_some_time_after_all_is_well(
    after: list[Step], kept: int
) -> None:
    line = [SILENT] * checkers.STEPS_BEFORE + after
    assert checkers.until_settled(line) == line[: checkers.STEPS_BEFORE + kept]


@given(sound(), st.integers(0, 3000))
def test_a_time_line_counts_each_write_once(drawn: Sound, fault_ms: int) -> None:
    fault = operation("f", FAULT, 1, INVOKE, at_ms=fault_ms)
    line = checkers.time_line([*drawn.history, fault])
    first = fault.monotonic_ns - 1_000_000_000
    seen = [each for each in drawn.history if each.monotonic_ns >= first]
    tried = [each.value for each in seen if each.phase is INVOKE]
    assert sum(step.attempted for step in line) == len(tried)
    unheard = set(tried) - {*drawn.acknowledged}
    assert sum(step.unacknowledged for step in line) == len(unheard)
    answers = [each for each in seen if each.phase is OK]
    assert sum(step.acknowledged for step in line) == len(answers)
    assert all(0 <= step.unacknowledged <= step.attempted for step in line)
    before = [each for each in answers if each.monotonic_ns < fault.monotonic_ns]
    early = line[: checkers.STEPS_BEFORE]
    assert sum(step.acknowledged for step in early) == len(before)


@given(sound())
def test_nothing_is_found_where_nothing_is_wrong(drawn: Sound) -> None:
    assert findings(drawn, drawn.left) == {}


@given(sound(), st.data())
def test_every_loss_is_found(drawn: Sound, data: st.DataObject) -> None:
    gone = data.draw(st.sets(st.sampled_from(drawn.acknowledged or [0])))
    left = [value for value in drawn.left if value not in gone]
    expected = sorted(gone & set(drawn.acknowledged))
    assert findings(drawn, left) == ({"lost": expected} if expected else {})


@given(sound(), st.data())
def test_every_duplicate_is_found(drawn: Sound, data: st.DataObject) -> None:
    extra = data.draw(st.lists(st.sampled_from(drawn.left))) if drawn.left else []
    left = list(drawn.left)
    for value in extra:
        first = left.index(value)
        left.insert(data.draw(st.integers(first + 1, len(left))), value)
    assert checkers.duplicated(left) == {each: extra.count(each) for each in extra}
    assert findings(drawn, left) == ({"duplicated": sorted({*extra})} if extra else {})


@given(sound(), st.data())
def test_every_phantom_is_found(drawn: Sound, data: st.DataObject) -> None:
    unwritten = st.integers(10**6 + 1, 10**7)
    failed = st.sampled_from(drawn.failed) if drawn.failed else unwritten
    planted = data.draw(st.sets(unwritten | failed))
    left = list(drawn.left)
    for value in planted - set(drawn.failed):
        left.insert(data.draw(st.integers(0, len(left))), value)
    # A failed write stands where it would have, so that it is nothing but a phantom.
    order = {value: place for place, value in enumerate(drawn.written)}
    for value in planted & set(drawn.failed):
        same = [
            place
            for place, each in enumerate(left)
            if drawn.writer.get(each) == drawn.writer[value]
            and order[each] < order[value]
        ]
        left.insert(max(same, default=-1) + 1, value)
    assert findings(drawn, left) == ({"phantom": sorted(planted)} if planted else {})


@given(sound(min_size=2), st.data())
def test_every_reorder_is_found(drawn: Sound, data: st.DataObject) -> None:
    pairs = [
        (one, later)
        for place, one in enumerate(drawn.left)
        for later in drawn.left[place + 1 :]
        if drawn.writer[one] == drawn.writer[later]
    ]
    if pairs:
        one, later = data.draw(st.sampled_from(pairs))
        left = [value for value in drawn.left if value != one]
        left.insert(left.index(later) + 1, one)
        assert findings(drawn, left) == {"reordered": [one]}


@given(sound(), st.data())
def test_in_any_disorder_exactly_what_was_overtaken_is_found(
    drawn: Sound, data: st.DataObject
) -> None:
    left = data.draw(st.permutations(drawn.left))
    when = {value: place for place, value in enumerate(drawn.written)}
    overtaken = {
        one
        for place, one in enumerate(left)
        for before in left[:place]
        if drawn.writer[before] == drawn.writer[one] and when[before] > when[one]
    }
    found = {"reordered": sorted(overtaken)} if overtaken else {}
    assert findings(drawn, left) == found


@given(st.lists(st.integers(0, 50), unique=True), st.data())
def test_every_redelivery_is_found(values: list[int], data: st.DataObject) -> None:
    done = data.draw(st.sets(st.sampled_from(values))) if values else set()
    again = data.draw(st.lists(st.sampled_from(values))) if values else []
    history = history_of(
        *[("c", DELIVER, value, OK) for value in values],
        *[("c", ACKNOWLEDGE, value, OK) for value in done],
        *[("c", DELIVER, value, OK) for value in again],
    )
    expected = {value: again.count(value) for value in again if value in done}
    assert checkers.redelivered(history, key=GROUP) == expected


@given(sound(), st.data())
def test_every_value_that_was_withheld_is_found(
    drawn: Sound, data: st.DataObject
) -> None:
    missed = data.draw(st.sets(st.sampled_from(drawn.left))) if drawn.left else set()
    got = [("c", DELIVER, each, OK) for each in drawn.left if each not in missed]
    history = [*drawn.history, *history_of(*got)]
    assert checkers.never_delivered(history, drawn.left, key=GROUP) == sorted(missed)


@given(st.lists(st.integers(0, 50), unique=True), st.data())
def test_every_value_that_a_group_had_in_hand_and_lost_is_found(
    values: list[int], data: st.DataObject
) -> None:
    def some() -> set[int]:
        return data.draw(st.sets(st.sampled_from(values))) if values else set()

    done, again, gone = some(), some(), some()
    history = history_of(
        *[("c", DELIVER, value, OK) for value in values],
        *[("c", ACKNOWLEDGE, value, INVOKE) for value in done],
        ("f", FAULT, 1, INVOKE),
        *[("c", DELIVER, value, OK) for value in again],
    )
    left = [value for value in values if value not in gone]
    expected = sorted({*values} - done - again - gone)
    assert checkers.forgotten(history, left, key=GROUP) == expected


@given(sound())
def test_the_order_of_outcomes_does_not_matter(drawn: Sound) -> None:
    """A reply that overtakes another one on its way changes nothing."""
    writes = [each for each in drawn.history if each.phase is INVOKE]
    outcomes = [each for each in drawn.history if each.phase is not INVOKE]
    shuffled = Sound(
        [*writes, *reversed(outcomes)],
        drawn.left,
        drawn.acknowledged,
        drawn.failed,
        drawn.writer,
        drawn.written,
    )
    assert findings(shuffled, drawn.left) == {}
    assert {*checkers.acknowledged(shuffled.history, key=LOG)} == {*drawn.acknowledged}
