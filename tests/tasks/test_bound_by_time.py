"""Bound by time: the young stay, the old go, by the IDs or by the timestamps."""

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.errors import (
    InvalidTimestampError,
    PolicyViolationError,
    UnknownTopicOrPartitionError,
)
from redis import DataError, Redis, ResponseError

from snippets import servers
from snippets.kafka import bound_by_time as kafka_task
from snippets.kafka import settings, temporary_topic
from snippets.redis_streams import bound_by_time as redis_task
from tests.ledger import claim
from tests.tasks.logs import Event
from tests.tasks.topics import LOOKS, compact, config, starts, values

EVENTS: list[dict[Any, Any]] = [{"order": str(number)} for number in range(6)]
HOUR_MS = 3_600_000
# One event a second, from a minute ago on.
BASE_MS = int(time.time() * 1000) - 60_000
TIMES_MS = [BASE_MS + 1000 * number for number in range(6)]

OwnKafka = Callable[..., AbstractContextManager[servers.Kafka]]


@dataclass(frozen=True)
class Shelf:
    """A stream, or a topic of one partition, that holds `EVENTS` of `TIMES_MS`."""

    delete_before: Callable[[int], int]
    events: Callable[[], list[Event]]


@pytest.fixture(params=["redis_streams", "kafka"])
def shelf(request: pytest.FixtureRequest) -> Shelf:
    """What both systems offer."""
    if request.param == "redis_streams":
        redis = request.getfixturevalue("redis")
        stream = request.getfixturevalue("stream")
        for event, time_ms in zip(EVENTS, TIMES_MS, strict=True):
            redis.xadd(stream, event, id=f"{time_ms}-0")
        return Shelf(
            lambda moment_ms: redis_task.delete_before(redis, stream, moment_ms),
            lambda: [event for _, event in redis.xrange(stream)],
        )
    topic, admin = request.getfixturevalue("topic"), request.getfixturevalue("admin")
    producer = request.getfixturevalue("producer")
    for event, time_ms in zip(EVENTS, TIMES_MS, strict=True):
        producer.send(topic, json.dumps(event).encode(), timestamp_ms=time_ms).get()
    return Shelf(
        lambda moment_ms: kafka_task.delete_before(admin, topic, moment_ms),
        lambda: [json.loads(value) for value in values(topic)],
    )


def test_what_is_from_before_a_moment_goes(shelf: Shelf) -> None:
    assert shelf.delete_before(TIMES_MS[2] + 1) == 3
    assert shelf.events() == EVENTS[3:]
    assert shelf.delete_before(TIMES_MS[2] + 1) == 0


def test_what_is_of_the_moment_stays(shelf: Shelf) -> None:
    assert shelf.delete_before(TIMES_MS[2]) == 2
    assert shelf.events() == EVENTS[2:]


def test_a_moment_before_all_takes_nothing(shelf: Shelf) -> None:
    assert shelf.delete_before(0) == 0
    assert shelf.events() == EVENTS


def test_a_moment_after_all_takes_all(shelf: Shelf) -> None:
    assert shelf.delete_before(TIMES_MS[5] + 1) == 6
    assert shelf.events() == []


def test_a_negative_moment_is_refused(shelf: Shelf) -> None:
    with pytest.raises(ValueError, match="no moment"):
        shelf.delete_before(-1)
    assert shelf.events() == EVENTS


@claim(servers="redis", since="6.2")
def test_redis_minid_above_the_new_entry_deletes_it(redis: Redis, stream: str) -> None:
    """`XADD` with a `MINID` above the new entry's own ID, as a clock that is ahead makes
    it, answers with an ID and keeps no entry.
    """
    seconds, _ = redis.time()
    ahead_ms = (seconds + 7200) * 1000
    entry_id = redis.xadd(stream, EVENTS[0], minid=ahead_ms, approximate=False)
    assert entry_id
    assert redis.xlen(stream) == 0


@claim(servers="redis", since="5.0")
def test_redis_expire_takes_the_stream_with_its_groups(redis: Redis, stream: str) -> None:
    """`EXPIRE` on a stream takes the key as a whole: its youngest entry, appended after
    the command, and its groups go with the oldest.
    """
    redis.xadd(stream, EVENTS[0])
    redis.xgroup_create(stream, "billing", id="0")
    redis.pexpire(stream, 200)
    redis.xadd(stream, EVENTS[1])
    while redis.exists(stream):
        pass
    redis.xadd(stream, EVENTS[2])
    assert redis.xlen(stream) == 1
    with pytest.raises(ResponseError, match="NOGROUP"):
        redis.xreadgroup("billing", "worker-1", {stream: ">"})


def test_redis_lets_go_of_whole_nodes_of_old_entries(redis: Redis, stream: str) -> None:
    for number in range(250):
        redis.xadd(stream, {"order": str(number)}, id=f"1700000000000-{number + 1}")
    entry_id = redis_task.bound_by_time(redis, stream, {"order": "250"}, HOUR_MS)
    left: Any = redis.xrange(stream)
    assert len(left) == 51
    assert left[-1] == (entry_id, {"order": "250"})


def test_redis_keeps_what_is_young_enough(redis: Redis, stream: str) -> None:
    for number in range(250):
        redis_task.bound_by_time(redis, stream, {"order": str(number)}, HOUR_MS)
    assert redis.xlen(stream) == 250


def test_redis_takes_an_id_that_is_less_than_the_age(redis: Redis, stream: str) -> None:
    redis.xadd(stream, EVENTS[0], id="0-1")
    redis_task.bound_by_time(redis, stream, EVENTS[1], 10**15)
    assert redis.xlen(stream) == 2


@pytest.mark.parametrize("age_ms", [0, -1])
def test_redis_refuses_an_age_that_is_not_positive(
    redis: Redis, stream: str, age_ms: int
) -> None:
    with pytest.raises(ValueError, match="can't be bounded"):
        redis_task.bound_by_time(redis, stream, EVENTS[0], age_ms)
    assert redis.xlen(stream) == 0


def test_redis_refuses_an_event_without_fields_and_a_key_that_is_no_stream(
    redis: Redis, stream: str
) -> None:
    with pytest.raises(DataError):
        redis_task.bound_by_time(redis, stream, {}, HOUR_MS)
    redis.set(stream, "text")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        redis_task.bound_by_time(redis, stream, EVENTS[0], HOUR_MS)


def test_redis_deletes_nothing_where_there_is_no_stream(
    redis: Redis, stream: str
) -> None:
    assert redis_task.delete_before(redis, stream, BASE_MS) == 0
    redis.set(stream, "text")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        redis_task.delete_before(redis, stream, BASE_MS)


@claim(servers="kafka", since="0.10.1")
def test_kafka_time_bound_goes_by_the_newest_record_of_a_segment(
    own_kafka: OwnKafka,
) -> None:
    """`retention.ms` deletes a segment, even the last one, once its newest record is too
    old by its timestamp; an older record stays as long as a younger one is beside it.
    """
    old_ms = BASE_MS - 2 * HOUR_MS
    with own_kafka(config=LOOKS) as server:
        client = {"bootstrap_servers": server.bootstrap_servers}
        with KafkaAdminClient(**client) as admin, KafkaProducer(**client) as producer:
            admin.create_topics({"orders": {"num_partitions": 2}}, wait_for_metadata=True)
            kafka_task.bound_by_time(admin, "orders", HOUR_MS, HOUR_MS)
            # The young one comes first: the old one is never alone in the segment.
            for stamp_ms in (BASE_MS, old_ms):
                producer.send("orders", b"{}", partition=0, timestamp_ms=stamp_ms).get()
            # Twice, so that the broker has looked at the other partition in between.
            for start in (1, 2):
                producer.send("orders", b"{}", partition=1, timestamp_ms=old_ms).get()
                while starts(admin, "orders", 2)[1] != start:
                    pass
            assert starts(admin, "orders", 2) == [0, 2]


@claim(servers="kafka", since="4.0")
def test_kafka_refuses_a_timestamp_more_than_an_hour_ahead(topic: str) -> None:
    """Kafka refuses a record whose timestamp lies more than an hour ahead, and so one in
    microseconds instead of milliseconds.
    """
    for stamp_ms in (BASE_MS + 2 * HOUR_MS, BASE_MS * 1000):
        with KafkaProducer(**settings()) as producer:
            sent = producer.send(topic, b"{}", timestamp_ms=stamp_ms)
            with pytest.raises(InvalidTimestampError):
                sent.get(timeout=30)
    assert values(topic) == []


@pytest.mark.parametrize("age_ms", [0, -1])
def test_kafka_refuses_an_age_that_is_not_positive(
    admin: KafkaAdminClient, topic: str, age_ms: int
) -> None:
    with pytest.raises(ValueError, match="can't be bounded"):
        kafka_task.bound_by_time(admin, topic, age_ms, HOUR_MS)
    assert config(admin, topic) == {}


def test_kafka_tells_that_the_broker_refuses_a_setting(
    admin: KafkaAdminClient, topic: str
) -> None:
    with pytest.raises(ValueError, match=r"segment\.ms: Value must be at least 1"):
        kafka_task.bound_by_time(admin, topic, HOUR_MS, 0)
    assert config(admin, topic) == {}


def test_kafka_changes_two_settings(admin: KafkaAdminClient, topic: str) -> None:
    kafka_task.bound_by_time(admin, topic, HOUR_MS, 600_000)
    assert config(admin, topic) == {"retention.ms": str(HOUR_MS), "segment.ms": "600000"}


def test_kafka_bounds_no_topic_that_is_not_there(admin: KafkaAdminClient) -> None:
    with pytest.raises(UnknownTopicOrPartitionError):
        kafka_task.bound_by_time(admin, "no-such-topic", HOUR_MS, HOUR_MS)
    with pytest.raises(UnknownTopicOrPartitionError):
        kafka_task.delete_before(admin, "no-such-topic", BASE_MS)


def test_kafka_deletes_from_each_partition(admin: KafkaAdminClient) -> None:
    with temporary_topic(partitions=2) as topic:
        with KafkaProducer(**settings()) as producer:
            for number, time_ms in enumerate(TIMES_MS):
                partition = 0 if number < 4 else 1
                producer.send(topic, b"{}", partition=partition, timestamp_ms=time_ms)
        assert kafka_task.delete_before(admin, topic, TIMES_MS[3]) == 3
        assert starts(admin, topic, 2) == [3, 0]


def test_kafka_leaves_an_older_record_behind_a_younger_one(
    admin: KafkaAdminClient, topic: str, producer: KafkaProducer
) -> None:
    for number in (0, 2, 1):
        producer.send(topic, b"%d" % number, timestamp_ms=TIMES_MS[number]).get()
    assert kafka_task.delete_before(admin, topic, TIMES_MS[2]) == 1
    assert values(topic) == [b"2", b"1"]


def test_kafka_deletes_from_no_compacted_topic(
    admin: KafkaAdminClient, topic: str, producer: KafkaProducer
) -> None:
    producer.send(topic, b"{}", key=b"0", timestamp_ms=BASE_MS).get()
    compact(admin, topic)
    with pytest.raises(PolicyViolationError):
        kafka_task.delete_before(admin, topic, BASE_MS + 1)
