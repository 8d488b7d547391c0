"""Read a range: both end where they must; what is gone is left out, or is an error."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import OffsetOutOfRangeError
from redis import Redis, ResponseError

from snippets import kafka, redis_streams
from snippets.kafka.append import append as kafka_append
from snippets.kafka.read_range import read_latest as kafka_read_latest
from snippets.kafka.read_range import read_range as kafka_read_range
from snippets.redis_streams.append import append as redis_append
from snippets.redis_streams.read_range import read_latest as redis_read_latest
from snippets.redis_streams.read_range import read_range as redis_read_range
from tests.ledger import claim
from tests.tasks.logs import Event
from tests.tasks.topics import SMALL, STARVED

EVENTS: list[dict[Any, Any]] = [{"order": str(number)} for number in range(7)]


class Range(NamedTuple):
    """The task's functions for one log, and how to append to it."""

    append: Callable[[Event], object]
    read: Callable[..., Iterator[tuple[Any, Event]]]
    latest: Callable[..., list[tuple[Any, Event]]]


@pytest.fixture(params=["redis_streams", "kafka"])
def log(
    request: pytest.FixtureRequest,
    redis: Redis,
    kafka_environment: None,  # noqa: ARG001
) -> Iterator[Range]:
    """The task on a stream, and then on a topic of one partition."""
    if request.param == "redis_streams":
        with redis_streams.temporary_stream(redis) as stream:
            yield Range(
                partial(redis_append, redis, stream),
                partial(redis_read_range, redis, stream),
                partial(redis_read_latest, redis, stream),
            )
    else:
        client = kafka.settings()
        with kafka.temporary_topic() as topic, KafkaProducer(**client) as producer:
            yield Range(
                partial(kafka_append, producer, topic),
                partial(kafka_read_range, topic, 0, **client),
                partial(kafka_read_latest, topic, 0, **client),
            )


@pytest.mark.parametrize("page", [1, 3, 100])
def test_pages_of_any_size_give_every_event_once_and_in_order(
    log: Range, page: int
) -> None:
    for event in EVENTS:
        log.append(event)
    assert [event for _, event in log.read(page=page)] == EVENTS


def test_a_range_begins_and_ends_where_it_is_told(log: Range) -> None:
    for event in EVENTS:
        log.append(event)
    places = [place for place, _ in log.read()]
    assert list(log.read(places[2], places[4], page=2)) == [
        (places[number], EVENTS[number]) for number in (2, 3, 4)
    ]
    assert list(log.read(places[6], places[6])) == [(places[6], EVENTS[6])]
    assert list(log.read(places[4], places[2])) == []


def test_a_range_ends_although_others_append_as_fast_as_it_reads(log: Range) -> None:
    for event in EVENTS:
        log.append(event)
    read = []
    for _, event in log.read(page=1):
        log.append({"order": "late"})
        read.append(event)
    assert read == EVENTS


def test_the_latest_come_newest_first(log: Range) -> None:
    for event in EVENTS:
        log.append(event)
    assert [event for _, event in log.latest(3)] == EVENTS[:3:-1]
    assert [event for _, event in log.latest(100)] == EVENTS[::-1]


def test_nothing_is_in_a_log_that_is_empty(log: Range) -> None:
    assert list(log.read()) == []
    assert log.latest(1) == []


def test_a_page_of_none_is_refused(log: Range) -> None:
    log.append(EVENTS[0])
    for size in (0, -1):
        with pytest.raises(ValueError, match="none"):
            list(log.read(page=size))
        with pytest.raises(ValueError, match="none"):
            log.latest(size)


def test_redis_leaves_out_the_first_or_the_last_by_a_bracket(
    redis: Redis, stream: str
) -> None:
    ids = [str(redis.xadd(stream, event)) for event in EVENTS]
    part = redis_read_range(redis, stream, f"({ids[1]}", f"({ids[5]}", page=2)
    assert [entry_id for entry_id, _ in part] == ids[2:5]


def test_redis_refuses_what_is_no_id_and_what_is_no_stream(
    redis: Redis, stream: str
) -> None:
    redis.xadd(stream, EVENTS[0])
    with pytest.raises(ResponseError, match="Invalid stream ID"):
        list(redis_read_range(redis, stream, "yesterday"))
    redis.set(stream, "text")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        list(redis_read_range(redis, stream))
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        redis_read_latest(redis, stream, 1)


@claim(servers="redis", since="6.2")
def test_redis_range_goes_on_after_an_id(redis: Redis, stream: str) -> None:
    """A page of `XRANGE` that begins at `(` and the last ID of the page before repeats no
    entry and misses none, even if that last entry has been deleted meanwhile.
    """
    ids = [str(redis.xadd(stream, event)) for event in EVENTS]
    seen: list[str] = []
    start = "-"
    while True:
        page: Any = redis.xrange(stream, start, count=2)
        if not page:
            break
        seen += [entry_id for entry_id, _ in page]
        redis.xdel(stream, seen[-1])
        start = f"({seen[-1]}"
    assert seen == ids


@claim(servers="redis", since="5.0")
def test_redis_range_is_silent_about_what_was_trimmed(redis: Redis, stream: str) -> None:
    """`XRANGE` from an ID that has been trimmed begins with the oldest entry that is
    left, and no error says that entries are missing.
    """
    ids = [str(redis.xadd(stream, event)) for event in EVENTS]
    redis.xtrim(stream, maxlen=2, approximate=False)
    entries: Any = redis.xrange(stream, min=ids[0])
    assert [entry_id for entry_id, _ in entries] == ids[-2:]
    assert [event for _, event in redis_read_range(redis, stream, ids[0])] == EVENTS[-2:]


def test_kafka_refuses_what_is_no_offset(topic: str) -> None:
    for first, last in ((-1, None), (0, -1)):
        with pytest.raises(ValueError, match="none"):
            list(kafka_read_range(topic, 0, first, last, **kafka.settings()))


@pytest.mark.usefixtures("kafka_environment")
def test_kafka_refuses_a_partition_that_is_not_there(topic: str) -> None:
    for name, partition in ((topic, 1), ("no-such-topic", 0)):
        match = f"no partition {partition} of topic {name}"
        with pytest.raises(LookupError, match=match):
            list(kafka_read_range(name, partition, **kafka.settings()))
        with pytest.raises(LookupError, match=match):
            kafka_read_latest(name, partition, 1, **kafka.settings())


def delete_before(topic: str, offset: int) -> None:
    """Delete the records before an offset, as retention does."""
    with KafkaAdminClient(**kafka.settings()) as admin:
        admin.delete_records({TopicPartition(topic, 0): offset})


def test_kafka_begins_with_the_oldest_record_that_is_left(
    topic: str, producer: KafkaProducer
) -> None:
    for event in EVENTS:
        kafka_append(producer, topic, event)
    delete_before(topic, 5)
    left = [(5, EVENTS[5]), (6, EVENTS[6])]
    assert list(kafka_read_range(topic, 0, **kafka.settings())) == left
    assert kafka_read_latest(topic, 0, 7, **kafka.settings()) == left[::-1]


def test_kafka_tells_when_the_next_record_is_deleted_meanwhile(
    topic: str, producer: KafkaProducer
) -> None:
    for number in range(20):
        kafka_append(producer, topic, {"order": str(number)})
    part = kafka_read_range(topic, 0, page=1, **SMALL, **kafka.settings())
    assert next(part) == (0, {"order": "0"})
    delete_before(topic, 19)
    with pytest.raises(OffsetOutOfRangeError):
        list(part)


def test_kafka_waits_no_longer_than_it_is_told(
    topic: str, producer: KafkaProducer
) -> None:
    kafka_append(producer, topic, EVENTS[0])
    client = {**STARVED, **kafka.settings()}
    with pytest.raises(TimeoutError, match=rf"nothing from {topic} within 0\.2 s"):
        list(kafka_read_range(topic, 0, timeout_s=0.2, **client))


@claim(servers="kafka", since="0.11")
def test_kafka_skips_to_the_end_when_the_next_record_is_gone(
    topic: str, producer: KafkaProducer
) -> None:
    """A Kafka consumer with the default `auto.offset.reset` whose next record has been
    deleted goes on at the end of the partition, past all the records that are left.
    """
    for event in EVENTS:
        kafka_append(producer, topic, event)
    place = TopicPartition(topic, 0)
    delete_before(topic, 2)
    with KafkaConsumer(**kafka.settings()) as consumer:
        consumer.assign([place])
        consumer.seek(place, 0)
        while consumer.position(place) == 0:
            assert consumer.poll(timeout_ms=100) == {}
        assert consumer.position(place) == 7
    left = kafka_read_range(topic, 0, **kafka.settings())
    assert [event for _, event in left] == EVENTS[2:]


@claim(servers="kafka", since="0.11")
def test_kafka_offsets_have_gaps_behind_transactions(topic: str) -> None:
    """The end of a Kafka transaction takes an offset of its own and is no record, so that
    a range holds fewer records than offsets, and its last offset may never come.
    """
    with KafkaProducer(transactional_id=topic, **kafka.settings()) as producer:
        producer.init_transactions()
        for event in EVENTS[:3]:
            producer.begin_transaction()
            producer.send(topic, json.dumps(event).encode())
            producer.commit_transaction()
    place = TopicPartition(topic, 0)
    with KafkaConsumer(**kafka.settings()) as consumer:
        assert consumer.end_offsets([place]) == {place: 6}
    records = [(0, EVENTS[0]), (2, EVENTS[1]), (4, EVENTS[2])]
    for page in (1, 100):
        part = kafka_read_range(topic, 0, page=page, **kafka.settings())
        assert list(part) == records
    assert kafka_read_latest(topic, 0, 2, **kafka.settings()) == records[:0:-1]


def test_kafka_leaves_out_what_was_aborted_only_if_told(topic: str) -> None:
    with KafkaProducer(transactional_id=topic, **kafka.settings()) as producer:
        producer.init_transactions()
        for event, end in zip(
            EVENTS,
            (producer.commit_transaction, producer.abort_transaction),
            strict=False,
        ):
            producer.begin_transaction()
            producer.send(topic, json.dumps(event).encode()).get()
            end()
    for level, count in (("read_uncommitted", 2), ("read_committed", 1)):
        part = kafka_read_range(topic, 0, isolation_level=level, **kafka.settings())
        assert [event for _, event in part] == EVENTS[:count]
