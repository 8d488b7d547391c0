"""The sizing model only grows where it must, agrees with sums, and refuses nonsense."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snippets.labs import sizing
from snippets.labs.memory import record
from snippets.labs.report.sizing import CALLS
from snippets.labs.sizing import Load

CONSTANTS = record.constants()
DAY_S = 86_400

rates = st.floats(0, 1e7)
positive = st.floats(1e-3, 1e7)
loads = st.builds(
    Load,
    per_second=rates,
    value_bytes=st.integers(0, 10_000),
    fields=st.integers(1, 20),
    name_bytes=st.integers(1, 40),
)


@given(loads, st.floats(0, 1e7), st.floats(0, 1e7))
def test_longer_retention_never_takes_less(load: Load, one: float, other: float) -> None:
    short, long = sorted((one, other))
    less, more = (
        sizing.redis_stream_bytes(CONSTANTS, load, kept) for kept in (short, long)
    )
    assert less <= more


@given(loads, st.integers(0, 9), st.integers(1, 500))
def test_each_group_adds_the_same_to_the_log(load: Load, groups: int, count: int) -> None:
    none, one, many = (
        sizing.redis_log_bytes_per_s(CONSTANTS, load, number, count)
        for number in (0, 1, groups)
    )
    assert many == pytest.approx(none + groups * (one - none), rel=1e-6, abs=1e-6)


@given(loads, st.integers(1, 500))
def test_reading_more_at_once_never_writes_more(load: Load, count: int) -> None:
    few, more = (
        sizing.redis_log_bytes_per_s(CONSTANTS, load, 1, number)
        for number in (count, count + 1)
    )
    assert more <= few


@given(st.floats(0, 1e9), st.integers(0, 9))
def test_pending_entries_of_more_groups_take_more(pending: float, groups: int) -> None:
    less, more = (
        sizing.redis_pending_bytes(CONSTANTS, pending, number)
        for number in (groups, groups + 1)
    )
    assert less <= more


@given(loads, st.integers(1, 1000))
def test_larger_batches_never_take_more(load: Load, records: int) -> None:
    alone = sizing.kafka_record_bytes(CONSTANTS, load, 1)
    assert sizing.kafka_record_bytes(CONSTANTS, load, records) <= alone


def test_estimates_that_others_have_published_are_checked() -> None:
    week = 7 * DAY_S
    assert sizing.kafka_disk_bytes(1_000, 30_000, week, 3, fill=1) == 54.432e12
    assert sizing.kafka_disk_bytes(1_000, 1e6, week, 3, fill=1) == 1.8144e15


def test_slow_work_needs_a_partition_for_each_worker() -> None:
    # 20 ms a record are 50 records a second and partition; 500 a second need ten.
    assert sizing.partitions(500, 10_000, 1 / 0.02, headroom=1) == 10
    assert sizing.consumers(500, 0.02, busy=1) == 10


@given(positive, positive, st.integers(1, 100), st.floats(0.01, 1))
def test_consumers_keep_up(
    per_second: float, processing_s: float, concurrency: int, busy: float
) -> None:
    number = sizing.consumers(per_second, processing_s, concurrency, busy)
    work = per_second * processing_s
    assert number * concurrency * busy >= work * (1 - 1e-9)
    assert number == 1 or (number - 1) * concurrency * busy <= work * (1 + 1e-9)


@given(positive, positive, st.floats(1.01, 100))
def test_a_backlog_is_gone_when_consumers_have_caught_up(
    outage_s: float, per_second: float, faster: float
) -> None:
    capacity = per_second * faster
    took = sizing.catch_up_s(outage_s, per_second, capacity)
    waiting = sizing.longest_backlog(outage_s, per_second)
    assert took * capacity == pytest.approx(waiting + took * per_second, rel=1e-6)


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1e6))
def test_both_cost_the_same_at_the_break_even(
    redis_fixed: float, redis_per_s: float, kafka_fixed: float, kafka_per_s: float
) -> None:
    kept = sizing.break_even_s(redis_fixed, redis_per_s, kafka_fixed, kafka_per_s)
    if 0 < kept < math.inf:
        redis, kafka = redis_fixed + kept * redis_per_s, kafka_fixed + kept * kafka_per_s
        assert redis == pytest.approx(kafka, rel=1e-6)
    later = 1e12
    dearer = redis_fixed + later * redis_per_s > kafka_fixed + later * kafka_per_s
    if kept < later:
        assert dearer or redis_per_s <= kafka_per_s or kept == pytest.approx(later)


@given(st.floats(0, 1e9), st.integers(0, 5), st.floats(1, 2), st.floats(0, 1))
def test_memory_to_buy_is_never_less_than_the_data(
    data: float, replicas: int, fragmentation: float, copied: float
) -> None:
    bought = sizing.redis_memory_to_buy_bytes(data, replicas, fragmentation, copied)
    assert bought >= data * (1 + replicas) * (1 - 1e-9)


@given(rates, st.integers(0, 9), st.integers(1, 5))
def test_every_group_and_every_follower_is_sent_all(
    carried: float, groups: int, replication: int
) -> None:
    sent = sizing.kafka_egress_bytes_per_s(carried, groups, replication)
    assert sent == carried * (groups + replication - 1)
    assert sizing.redis_egress_bytes_per_s(carried, 0, groups, 0) == carried * groups


NONSENSE: list[tuple[Callable[[], object], str]] = [
    (lambda: Load(-1, 100), "per_second must be a number, 0 or more, and is -1"),
    (lambda: Load(math.nan, 100), "per_second must be a number, 0 or more, and is nan"),
    (lambda: Load(1, 100, fields=0), "fields must be a whole number, 1 or more"),
    (lambda: sizing.consumers(1, 1, busy=0), "busy must be above 0 and at most 1"),
    (lambda: sizing.consumers(1, math.inf), "processing_s must be a number, 0 or more"),
    (lambda: sizing.partitions(1, 0, 1), "producer_bytes_per_s must be a number above"),
    (lambda: sizing.catch_up_s(1, 5, 5), "consumers never catch up: 5 a second can be"),
    (lambda: sizing.kafka_disk_bytes(1, 1, 1, 0), "replication must be a whole number"),
    (lambda: sizing.kafka_disk_bytes(1, 1, 1, 1, 1.5), "fill must be above 0 and at"),
    (lambda: sizing.redis_memory_to_buy_bytes(1, 0, 0.9), "fragmentation must be a"),
    (
        lambda: sizing.redis_log_bytes_per_s(CONSTANTS, Load(1, 1), 1, 1, "acks"),
        "mode must be XACK, XACKDEL or NOACK, and is 'acks'",
    ),
]


@pytest.mark.parametrize(("call", "said"), NONSENSE)
def test_nonsense_is_refused(call: Callable[[], object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()


def test_every_function_has_a_vector() -> None:
    called = {name for name, _ in CALLS}
    public = {
        name
        for name, each in vars(sizing).items()
        if callable(each) and each.__module__ == sizing.__name__ and name[0] != "_"
    }
    assert called == public - {"Load"}
