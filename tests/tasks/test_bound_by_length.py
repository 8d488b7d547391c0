"""Bound by length: the newest stay, the oldest go, read or not."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import PolicyViolationError, UnknownTopicOrPartitionError
from redis import DataError, Redis, ResponseError

from snippets import servers
from snippets.kafka import bound_by_length as kafka_task
from snippets.kafka import settings, temporary_topic
from snippets.redis_streams import bound_by_length as redis_task
from tests.ledger import claim
from tests.tasks.logs import Event
from tests.tasks.topics import LOOKS, compact, config, starts, values

EVENTS: list[dict[Any, Any]] = [{"order": str(number)} for number in range(6)]

OwnKafka = Callable[..., AbstractContextManager[servers.Kafka]]


@dataclass(frozen=True)
class Shelf:
    """A stream, or a topic of one partition, that holds `EVENTS`."""

    trim: Callable[[int], int]
    events: Callable[[], list[Event]]


@pytest.fixture(params=["redis_streams", "kafka"])
def shelf(request: pytest.FixtureRequest) -> Shelf:
    """What both systems offer."""
    if request.param == "redis_streams":
        redis, stream = (
            request.getfixturevalue("redis"),
            request.getfixturevalue("stream"),
        )
        for event in EVENTS:
            redis.xadd(stream, event)
        return Shelf(
            lambda count: redis_task.trim_to_length(redis, stream, count),
            lambda: [event for _, event in redis.xrange(stream)],
        )
    topic, admin = request.getfixturevalue("topic"), request.getfixturevalue("admin")
    producer = request.getfixturevalue("producer")
    for event in EVENTS:
        producer.send(topic, json.dumps(event).encode()).get()
    return Shelf(
        lambda count: kafka_task.trim_to_length(admin, topic, count),
        lambda: [json.loads(value) for value in values(topic)],
    )


def test_the_newest_stay_in_their_order(shelf: Shelf) -> None:
    assert shelf.trim(2) == 4
    assert shelf.events() == EVENTS[4:]
    assert shelf.trim(2) == 0


@pytest.mark.parametrize("count", [6, 100])
def test_a_bound_that_is_not_reached_takes_nothing(shelf: Shelf, count: int) -> None:
    assert shelf.trim(count) == 0
    assert shelf.events() == EVENTS


@pytest.mark.parametrize("count", [0, -1])
def test_a_bound_that_would_leave_nothing_is_refused(shelf: Shelf, count: int) -> None:
    with pytest.raises(ValueError, match="can't be bounded"):
        shelf.trim(count)
    assert shelf.events() == EVENTS


@claim(servers="redis", since="5.0")
def test_redis_client_bounds_approximately_by_default(redis: Redis, stream: str) -> None:
    """Unless told `approximate=False`, redis-py asks for an approximate bound: a thousand
    small entries appended with `maxlen=10` leave 100, a whole node.
    """
    for number in range(1000):
        redis.xadd(stream, {"order": str(number)}, maxlen=10)
    assert redis.xlen(stream) == 100
    redis.xadd(stream, {"order": "1000"}, maxlen=10, approximate=False)
    assert redis.xlen(stream) == 10


@claim(servers="redis", since="5.0")
def test_redis_bound_takes_unread_and_pending_entries(redis: Redis, stream: str) -> None:
    """`MAXLEN` takes the oldest entries, read or not: a group never gets those it had not
    read, and those that were pending for it come back without fields.
    """
    for event in EVENTS:
        redis.xadd(stream, event)
    redis.xgroup_create(stream, "billing", id="0")
    redis.xreadgroup("billing", "worker-1", {stream: ">"}, count=2)
    redis.xadd(stream, {"order": "6"}, maxlen=2, approximate=False)
    batches: list[Any] = [
        redis.xreadgroup("billing", "worker-1", {stream: start}) for start in ("0", ">")
    ]
    ((_, pending),), ((_, new),) = batches
    assert [event for _, event in pending] == [{}, {}]
    assert [event["order"] for _, event in new] == ["5", "6"]


@pytest.mark.parametrize("count", [0, -1])
def test_redis_refuses_to_append_under_no_bound(
    redis: Redis, stream: str, count: int
) -> None:
    with pytest.raises(ValueError, match="can't be bounded"):
        redis_task.bound_by_length(redis, stream, {"order": "0"}, count)
    assert redis.xlen(stream) == 0


def test_redis_refuses_an_event_without_fields_and_a_key_that_is_no_stream(
    redis: Redis, stream: str
) -> None:
    with pytest.raises(DataError):
        redis_task.bound_by_length(redis, stream, {}, 10)
    redis.set(stream, "text")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        redis_task.bound_by_length(redis, stream, EVENTS[0], 10)


def test_redis_holds_at_most_a_node_more(redis: Redis, stream: str) -> None:
    for number in range(1000):
        redis_task.bound_by_length(redis, stream, {"order": str(number)}, 250)
        assert min(number + 1, 250) <= redis.xlen(stream) <= 250 + 100


def test_redis_trims_nothing_where_there_is_no_stream(redis: Redis, stream: str) -> None:
    assert redis_task.trim_to_length(redis, stream, 10) == 0
    redis.set(stream, "text")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        redis_task.trim_to_length(redis, stream, 10)


@claim(servers="kafka", since="0.8")
def test_kafka_size_bound_leaves_the_last_segment(own_kafka: OwnKafka) -> None:
    """`retention.bytes` deletes whole segments of a partition, and never the one that is
    still written: with a bound of 1 byte, up to `segment.bytes` stay.
    """
    with own_kafka(config=LOOKS) as server:
        client = {"bootstrap_servers": server.bootstrap_servers}
        with KafkaAdminClient(**client) as admin, KafkaProducer(**client) as producer:
            admin.create_topics({"orders": {"num_partitions": 2}}, wait_for_metadata=True)
            kafka_task.bound_by_length(admin, "orders", 1, 2**20)
            # Three records fill a segment; the fourth begins another.
            for partition, count in ((0, 2), (1, 5)):
                for _ in range(count):
                    producer.send("orders", bytes(300_000), partition=partition).get()
            while starts(admin, "orders", 2) != [0, 3]:
                pass
            # Where the broker has looked again, it has left the other partition alone.
            for _ in range(2):
                producer.send("orders", bytes(300_000), partition=1).get()
            while starts(admin, "orders", 2)[1] != 6:
                pass
            assert starts(admin, "orders", 2) == [0, 6]


def test_kafka_refuses_segments_under_a_mebibyte_and_its_client_raises_no_error(
    admin: KafkaAdminClient, topic: str
) -> None:
    small = ConfigResource(ConfigResourceType.TOPIC, topic, {"segment.bytes": "1048575"})
    answer = admin.alter_configs([small])
    assert "Value must be at least 1048576" in answer["topic"][topic]
    with pytest.raises(ValueError, match="must be at least 1048576"):
        kafka_task.bound_by_length(admin, topic, 10, 1_048_575)
    assert config(admin, topic) == {}


@pytest.mark.parametrize("size", [0, -1])
def test_kafka_refuses_a_bound_that_is_not_positive(
    admin: KafkaAdminClient, topic: str, size: int
) -> None:
    with pytest.raises(ValueError, match="can't be bounded"):
        kafka_task.bound_by_length(admin, topic, size, 2**20)
    assert config(admin, topic) == {}


def test_kafka_changes_two_settings_and_no_others(
    admin: KafkaAdminClient, topic: str
) -> None:
    resource = ConfigResource(
        ConfigResourceType.TOPIC, topic, {"retention.ms": "1000000"}
    )
    admin.alter_configs([resource])
    kafka_task.bound_by_length(admin, topic, 2**30, 2**26)
    assert config(admin, topic) == {
        "retention.ms": "1000000",
        "retention.bytes": str(2**30),
        "segment.bytes": str(2**26),
    }


def test_kafka_bounds_no_topic_that_is_not_there(admin: KafkaAdminClient) -> None:
    with pytest.raises(UnknownTopicOrPartitionError):
        kafka_task.bound_by_length(admin, "no-such-topic", 10, 2**20)
    with pytest.raises(UnknownTopicOrPartitionError):
        kafka_task.trim_to_length(admin, "no-such-topic", 10)


def test_kafka_trims_each_partition(admin: KafkaAdminClient) -> None:
    with temporary_topic(partitions=2) as topic:
        with KafkaProducer(**settings()) as producer:
            for partition, count in ((0, 5), (1, 2)):
                for _ in range(count):
                    producer.send(topic, b"{}", partition=partition)
        assert kafka_task.trim_to_length(admin, topic, 3) == 2
        assert starts(admin, topic, 2) == [2, 0]


def test_kafka_trims_no_compacted_topic(
    admin: KafkaAdminClient, topic: str, producer: KafkaProducer
) -> None:
    for number in range(3):
        producer.send(topic, b"{}", key=b"%d" % number).get()
    compact(admin, topic)
    with pytest.raises(PolicyViolationError):
        kafka_task.trim_to_length(admin, topic, 1)
