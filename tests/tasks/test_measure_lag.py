"""Measure lag: all that is not acknowledged, and the group doesn't notice."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
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
from snippets.kafka import measure_lag as kafka_task
from snippets.kafka import settings, temporary_topic
from snippets.redis_streams import measure_lag as redis_task
from tests.ledger import claim
from tests.tasks.logs import Event, KafkaLog, Log, RedisLog

EVENTS: list[dict[Any, Any]] = [{"order": str(number)} for number in range(4)]

OwnKafka = Callable[..., AbstractContextManager[servers.Kafka]]


@dataclass(frozen=True)
class Shop:
    """A stream or a topic that holds `EVENTS`, and the name of a group."""

    group: str
    log: Log
    lag: Callable[[str], int]


@pytest.fixture(params=["redis_streams", "kafka"])
def shop(request: pytest.FixtureRequest) -> Iterator[Shop]:
    """What both systems offer."""
    with ExitStack() as stack:
        if request.param == "redis_streams":
            redis = request.getfixturevalue("redis")
            stream = request.getfixturevalue("stream")
            shop = Shop(
                f"billing-{stream}",
                RedisLog(redis, stream),
                lambda group: sum(redis_task.measure_lag(redis, stream, group).values()),
            )
        else:
            topic = request.getfixturevalue("topic")
            admin = request.getfixturevalue("admin")
            shop = Shop(
                f"billing-{topic}",
                KafkaLog(request.getfixturevalue("producer"), topic, stack),
                lambda group: sum(kafka_task.measure_lag(admin, topic, group).values()),
            )
        for event in EVENTS:
            shop.log.append(event)
        yield shop


def test_what_is_not_acknowledged_is_behind(shop: Shop) -> None:
    consumer = shop.log.consumer(shop.group, "worker-1")
    assert consumer.read(print, 3) == 3
    assert shop.lag(shop.group) == 1
    assert consumer.read(print, 3) == 1
    assert shop.lag(shop.group) == 0
    shop.log.append({"order": "4"})
    assert shop.lag(shop.group) == 1


def test_what_was_taken_is_behind_until_it_is_acknowledged(shop: Shop) -> None:
    gone = shop.log.consumer(shop.group, "worker-1")
    assert gone.take(2) == EVENTS[:2]
    assert shop.lag(shop.group) == 4
    gone.leave()
    assert shop.lag(shop.group) == 4


def test_measuring_moves_nothing(shop: Shop) -> None:
    consumer = shop.log.consumer(shop.group, "worker-1")
    handled: list[Event] = []
    while len(handled) < 4:
        consumer.read(handled.append, 1)
        assert shop.lag(shop.group) == 4 - len(handled)
    assert handled == EVENTS


def test_a_group_that_is_not_there_is_refused(shop: Shop) -> None:
    shop.log.consumer(shop.group, "worker-1").read(print, 1)
    with pytest.raises(ValueError, match="no group no-such-group"):
        shop.lag("no-such-group")


@claim(servers="redis", since="7.0")
def test_redis_lag_is_null_when_it_cannot_be_computed(redis: Redis, stream: str) -> None:
    """`XINFO GROUPS` says null for the lag of a group that was created inside the stream
    or has a deleted entry before it, until that group has read all.
    """
    ids = [str(redis.xadd(stream, event)) for event in EVENTS]
    groups = {"all": "0", "between": ids[1], "new": "$"}
    for name, start in groups.items():
        redis.xgroup_create(stream, name, id=start)
    assert lags(redis, stream) == {"all": 4, "between": None, "new": 0}
    redis.xdel(stream, ids[2])
    assert lags(redis, stream) == {"all": None, "between": None, "new": 0}
    for name, unread in (("all", 3), ("between", 1), ("new", 0)):
        measured = redis_task.measure_lag(redis, stream, name)
        assert measured == {"unread": unread, "pending": 0}
        redis.xreadgroup(name, "worker-1", {stream: ">"})
    assert lags(redis, stream) == {"all": 0, "between": 0, "new": 0}


def lags(redis: Redis, stream: str) -> dict[str, int | None]:
    """Return the lag of each group, as the server tells it."""
    groups: Any = redis.xinfo_groups(stream)
    return {each["name"]: each["lag"] for each in groups}


@claim(servers="redis", since="7.0")
def test_redis_lag_leaves_out_what_is_pending(redis: Redis, stream: str) -> None:
    """The lag of a Redis group is 0 when all entries were delivered, though none has
    been acknowledged.
    """
    for event in EVENTS:
        redis.xadd(stream, event)
    redis.xgroup_create(stream, "billing", id="0")
    redis.xreadgroup("billing", "worker-1", {stream: ">"})
    assert lags(redis, stream) == {"billing": 0}
    assert redis_task.measure_lag(redis, stream, "billing") == {"unread": 0, "pending": 4}


def test_redis_counts_more_than_a_page(redis: Redis, stream: str) -> None:
    with redis.pipeline() as pipeline:
        for number in range(2500):
            pipeline.xadd(stream, {"order": str(number)}, id=f"1-{number + 1}")
        pipeline.execute()
    redis.xgroup_create(stream, "billing", id="1-100")
    measured = redis_task.measure_lag(redis, stream, "billing")
    assert measured == {"unread": 2400, "pending": 0}


def test_redis_refuses_a_stream_that_is_not_there(redis: Redis, stream: str) -> None:
    with pytest.raises(ResponseError, match="no such key"):
        redis_task.measure_lag(redis, stream, "billing")


@claim(servers="kafka", since="0.11")
def test_kafka_lag_stays_at_one_behind_a_transaction(
    admin: KafkaAdminClient, topic: str
) -> None:
    """A Kafka group that has committed behind the last record of a transaction is still 1
    short of the end, where the transaction's marker is.
    """
    with KafkaProducer(transactional_id=f"shop-{topic}", **settings()) as producer:
        producer.init_transactions()
        producer.begin_transaction()
        producer.send(topic, b"{}")
        producer.commit_transaction()
    own = {"auto_offset_reset": "earliest", "enable_auto_commit": False}
    name = f"billing-{topic}"
    with KafkaConsumer(topic, group_id=name, **own, **settings()) as consumer:
        record = next(consumer)
        partition = TopicPartition(topic, 0)
        # The marker may be written a moment after the commit has returned.
        while consumer.end_offsets([partition]) != {partition: record.offset + 2}:
            pass
        kafka_commit(consumer, topic, record.offset + 1)
        assert kafka_task.measure_lag(admin, topic, name) == {0: 1}


def kafka_commit(consumer: KafkaConsumer, topic: str, offset: int) -> None:
    """Commit an offset of partition 0."""
    consumer.commit({TopicPartition(topic, 0): OffsetAndMetadata(offset, "", -1)})


@claim(servers="kafka", since="0.10.2")
def test_kafka_group_does_not_notice_who_asks_for_its_offsets(
    admin: KafkaAdminClient, topic: str, producer: KafkaProducer
) -> None:
    """An admin client reads a Kafka group's committed offsets without joining it: members
    and generation stay as they are, and nothing is rebalanced.
    """
    producer.send(topic, b"{}").get()
    own = {"auto_offset_reset": "earliest", "enable_auto_commit": False}
    name = f"billing-{topic}"
    with KafkaConsumer(topic, group_id=name, **own, **settings()) as consumer:
        next(consumer)
        before = consumer.group_metadata()
        for _ in range(3):
            assert kafka_task.measure_lag(admin, topic, name) == {0: 1}
        consumer.poll(timeout_ms=0)
        assert consumer.group_metadata() == before
        assert len(admin.describe_groups([name])[name]["members"]) == 1


def test_kafka_measures_each_partition(admin: KafkaAdminClient) -> None:
    with temporary_topic(partitions=3) as topic:
        with KafkaProducer(**settings()) as producer:
            for number in range(6):
                producer.send(topic, b"{}", partition=number % 2)
        name = f"billing-{topic}"
        with KafkaConsumer(
            group_id=name, enable_auto_commit=False, **settings()
        ) as consumer:
            kafka_commit(consumer, topic, 2)
        assert kafka_task.measure_lag(admin, topic, name) == {0: 1, 1: 3, 2: 0}
        admin.delete_records({TopicPartition(topic, 1): 2})
        assert kafka_task.measure_lag(admin, topic, name) == {0: 1, 1: 1, 2: 0}


def test_kafka_refuses_a_topic_that_is_not_there(admin: KafkaAdminClient) -> None:
    with pytest.raises(UnknownTopicOrPartitionError):
        kafka_task.measure_lag(admin, "no-such-topic", "billing")


def test_kafka_says_that_no_group_has_ever_joined(own_kafka: OwnKafka) -> None:
    with (
        own_kafka() as server,
        KafkaAdminClient(bootstrap_servers=server.bootstrap_servers) as admin,
    ):
        admin.create_topics(["orders"], wait_for_metadata=True)
        with pytest.raises(CoordinatorNotAvailableError):
            kafka_task.measure_lag(admin, "orders", "billing")
