"""Inspect: how much is there, who is in the group, and what it has not done."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import pytest
from kafka import (
    KafkaAdminClient,
    KafkaConsumer,
    KafkaProducer,
    OffsetAndMetadata,
    TopicPartition,
)
from kafka.errors import CoordinatorNotAvailableError, UnknownTopicOrPartitionError
from redis import Redis, ResponseError

from snippets import servers
from snippets.kafka import inspect as kafka_task
from snippets.kafka import settings
from snippets.redis_streams import connect
from snippets.redis_streams import inspect as redis_task
from tests.ledger import claim
from tests.tasks.logs import Event

EVENTS: list[dict[Any, Any]] = [{"order": str(number)} for number in range(4)]

OWN = {"auto_offset_reset": "earliest", "enable_auto_commit": False}


@dataclass(frozen=True)
class Shelf:
    """A stream or a topic."""

    append: Callable[[Event], object]
    count: Callable[[], int]


@pytest.fixture(params=["redis_streams", "kafka"])
def shelf(request: pytest.FixtureRequest) -> Shelf:
    """What both systems offer."""
    if request.param == "redis_streams":
        redis = request.getfixturevalue("redis")
        stream = request.getfixturevalue("stream")
        redis.xgroup_create(stream, "billing", mkstream=True)
        return Shelf(
            lambda event: redis.xadd(stream, event),
            lambda: int(redis_task.inspect_log(redis, stream)["entries"]),
        )
    topic, admin = request.getfixturevalue("topic"), request.getfixturevalue("admin")
    producer = request.getfixturevalue("producer")

    def count() -> int:
        partitions = kafka_task.inspect_log(admin, topic).values()
        return sum(each["end"] - each["start"] for each in partitions)

    return Shelf(
        lambda event: producer.send(topic, json.dumps(event).encode()).get(), count
    )


def test_it_tells_how_much_is_there(shelf: Shelf) -> None:
    assert shelf.count() == 0
    for number, event in enumerate(EVENTS):
        shelf.append(event)
        assert shelf.count() == number + 1


def test_redis_tells_what_a_stream_holds(redis: Redis, stream: str) -> None:
    ids = [str(redis.xadd(stream, event)) for event in EVENTS]
    redis.xdel(stream, ids[0])
    assert redis_task.inspect_log(redis, stream) == {
        "entries": 3,
        "first": ids[1],
        "last": ids[3],
        "added": 4,
        "groups": [],
    }
    redis.xtrim(stream, maxlen=0, approximate=False)
    redis.xgroup_create(stream, "billing")
    assert redis_task.inspect_log(redis, stream) == {
        "entries": 0,
        "first": None,
        "last": None,
        "added": 4,
        "groups": ["billing"],
    }


@claim(servers="redis", since="5.0")
def test_redis_lists_a_consumer_whose_connection_is_gone(
    redis: Redis, stream: str
) -> None:
    """`XINFO CONSUMERS` goes on listing a consumer whose connection is gone, with what is
    pending for it: a consumer is a name.
    """
    ids = [str(redis.xadd(stream, event)) for event in EVENTS]
    redis.xgroup_create(stream, "billing", id="0")
    with connect() as worker:
        connection = worker.client_id()
        worker.xreadgroup("billing", "worker-1", {stream: ">"}, count=2)
    while any(each["id"] == str(connection) for each in redis.client_list()):
        pass
    group = redis_task.inspect_group(redis, stream, "billing")
    assert group["members"]["worker-1"]["pending"] == 2
    assert group["oldest"] == {"id": ids[0], "consumer": "worker-1", "deliveries": 1}


@claim(servers="redis", since="7.2")
def test_redis_idle_counts_from_the_last_attempt(redis: Redis, stream: str) -> None:
    """A consumer that asks in vain has a small `idle` and a growing `inactive`, which
    counts from the last entry that it got; it is -1 for one that never got any.
    """
    redis.xadd(stream, EVENTS[0])
    redis.xgroup_create(stream, "billing", id="0")
    redis.xreadgroup("billing", "worker-1", {stream: ">"})
    redis.xreadgroup("billing", "worker-2", {stream: ">"})
    while True:
        redis.xreadgroup("billing", "worker-1", {stream: ">"})
        group = redis_task.inspect_group(redis, stream, "billing")
        found = group["members"]["worker-1"]
        if found["inactive_ms"] >= 100:
            break
    assert found["idle_ms"] < found["inactive_ms"]
    assert group["members"]["worker-2"]["inactive_ms"] == -1


def test_redis_tells_that_nothing_is_pending(redis: Redis, stream: str) -> None:
    redis.xgroup_create(stream, "billing", mkstream=True)
    found = redis_task.inspect_group(redis, stream, "billing")
    assert found == {"members": {}, "oldest": None}


def test_redis_refuses_what_is_not_there(redis: Redis, stream: str) -> None:
    with pytest.raises(ResponseError, match="no such key"):
        redis_task.inspect_log(redis, stream)
    redis.xadd(stream, EVENTS[0])
    with pytest.raises(ResponseError, match="NOGROUP"):
        redis_task.inspect_group(redis, stream, "billing")
    redis.delete(stream)
    redis.set(stream, "text")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        redis_task.inspect_log(redis, stream)


@claim(servers="kafka", since="0.9")
def test_kafka_group_without_members_keeps_its_offsets(
    admin: KafkaAdminClient, topic: str, producer: KafkaProducer
) -> None:
    """A Kafka group whose last consumer has left is `Empty`: it lists no members, and
    still has its committed offsets.
    """
    producer.send(topic, b"{}").get()
    partition, name = TopicPartition(topic, 0), f"billing-{topic}"
    with KafkaConsumer(
        topic, group_id=name, client_id="worker-1", **OWN, **settings()
    ) as consumer:
        next(consumer)
        consumer.commit({partition: OffsetAndMetadata(1, "", -1)})
        group = kafka_task.inspect_group(admin, name)
        assert group["state"] == "Stable"
        (member,) = group["members"]
        assert member["client"] == "worker-1"
        assert member["partitions"] == [partition]
    assert kafka_task.inspect_group(admin, name) == {
        "state": "Empty",
        "members": [],
        "committed": {partition: 1},
    }


@claim(servers="kafka", since="0.9")
def test_kafka_does_not_know_what_a_consumer_has_taken(
    admin: KafkaAdminClient, topic: str, producer: KafkaProducer
) -> None:
    """Kafka shows of a group's work only its commits: while a consumer has taken records
    and committed none, there is no offset at all.
    """
    for event in EVENTS:
        producer.send(topic, json.dumps(event).encode()).get()
    name = f"billing-{topic}"
    with KafkaConsumer(topic, group_id=name, **OWN, **settings()) as consumer:
        for _ in EVENTS:
            next(consumer)
        group = kafka_task.inspect_group(admin, name)
        assert group["state"] == "Stable"
        assert group["committed"] == {}


def test_kafka_tells_where_a_partition_is(
    admin: KafkaAdminClient, topic: str, producer: KafkaProducer
) -> None:
    for event in EVENTS:
        producer.send(topic, json.dumps(event).encode()).get()
    admin.delete_records({TopicPartition(topic, 0): 1})
    (found,) = kafka_task.inspect_log(admin, topic).values()
    assert (found["start"], found["end"]) == (1, 4)
    assert found["replicas"] == found["in_sync"] == [found["leader"]]


def test_kafka_refuses_what_is_not_there(
    admin: KafkaAdminClient, topic: str, producer: KafkaProducer
) -> None:
    producer.send(topic, b"{}").get()
    with KafkaConsumer(
        topic, group_id=f"billing-{topic}", **OWN, **settings()
    ) as consumer:
        next(consumer)
    with pytest.raises(UnknownTopicOrPartitionError):
        kafka_task.inspect_log(admin, "no-such-topic")
    with pytest.raises(ValueError, match="no group no-such-group"):
        kafka_task.inspect_group(admin, "no-such-group")


def test_kafka_says_that_no_group_has_ever_joined(
    own_kafka: Callable[..., AbstractContextManager[servers.Kafka]],
) -> None:
    with (
        own_kafka() as server,
        KafkaAdminClient(bootstrap_servers=server.bootstrap_servers) as admin,
        pytest.raises(CoordinatorNotAvailableError),
    ):
        kafka_task.inspect_group(admin, "billing")
