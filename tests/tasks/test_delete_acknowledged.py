"""Delete what is acknowledged: nothing goes that any group may still need."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import MemberToRemove
from kafka.errors import (
    CommitFailedError,
    CoordinatorNotAvailableError,
    PolicyViolationError,
    UnknownTopicOrPartitionError,
)
from redis import DataError, Redis, ResponseError

from snippets import servers
from snippets.kafka import delete_acknowledged as kafka_task
from snippets.kafka import settings, temporary_topic
from snippets.redis_streams import delete_acknowledged as redis_task
from tests.ledger import claim
from tests.tasks.logs import Event, KafkaLog, Log, RedisLog
from tests.tasks.topics import compact, starts, values

EVENTS: list[dict[Any, Any]] = [{"order": str(number)} for number in range(4)]

OwnKafka = Callable[..., AbstractContextManager[servers.Kafka]]


@dataclass(frozen=True)
class Shop:
    """A stream or a topic that holds `EVENTS`, and the names of its two groups."""

    billing: str
    shipping: str
    log: Log
    delete: Callable[[], int]
    delete_without_groups: Callable[[], int]
    left: Callable[[], int]


@pytest.fixture(params=["redis_streams", "kafka"])
def shop(request: pytest.FixtureRequest) -> Iterator[Shop]:
    """What both systems offer."""
    with ExitStack() as stack:
        if request.param == "redis_streams":
            redis = request.getfixturevalue("redis")
            stream = request.getfixturevalue("stream")
            shop = Shop(
                "billing",
                "shipping",
                RedisLog(redis, stream),
                lambda: redis_task.delete_acknowledged(redis, stream),
                lambda: redis_task.delete_acknowledged(redis, stream),
                lambda: redis.xlen(stream),
            )
        else:
            topic = request.getfixturevalue("topic")
            admin = request.getfixturevalue("admin")
            producer = request.getfixturevalue("producer")
            groups = [f"billing-{topic}", f"shipping-{topic}"]
            shop = Shop(
                groups[0],
                groups[1],
                KafkaLog(producer, topic, stack),
                lambda: kafka_task.delete_acknowledged(admin, topic, groups),
                lambda: kafka_task.delete_acknowledged(admin, topic, []),
                lambda: len(values(topic)),
            )
        for event in EVENTS:
            shop.log.append(event)
        yield shop


def test_an_event_goes_when_the_last_group_has_acknowledged_it(shop: Shop) -> None:
    billing = shop.log.consumer(shop.billing, "worker-1")
    shipping = shop.log.consumer(shop.shipping, "worker-1")
    assert billing.read(print, 4) == 4
    assert shop.delete() == 0
    assert shipping.read(print, 3) == 3
    assert shop.delete() == 3
    assert shop.left() == 1
    assert shipping.read(print, 3) == 1
    assert shop.delete() == 1
    assert shop.delete() == 0


def test_what_was_taken_and_never_acknowledged_stays(shop: Shop) -> None:
    assert shop.log.consumer(shop.shipping, "worker-1").read(print, 4) == 4
    gone = shop.log.consumer(shop.billing, "worker-1")
    assert gone.take(2) == EVENTS[:2]
    gone.leave()
    assert shop.delete() == 0
    handled: list[Event] = []
    heir = shop.log.consumer(shop.billing, "worker-2")
    heir.claim(handled.append)
    heir.read(handled.append, 10)
    assert handled == EVENTS
    assert shop.delete() == 4


def test_where_nobody_acknowledges_nothing_is_deleted(shop: Shop) -> None:
    with pytest.raises(ValueError, match="nobody acknowledges"):
        shop.delete_without_groups()
    assert shop.left() == 4


def filled(redis: Redis, stream: str, *groups: str) -> list[str]:
    """Append `EVENTS`, create the groups, and return the entries' IDs."""
    ids = [str(redis.xadd(stream, event)) for event in EVENTS]
    for name in groups:
        redis.xgroup_create(stream, name, id="0")
    return ids


@claim(servers="redis", since="8.2")
def test_redis_idle_group_keeps_what_others_have_acknowledged(
    redis: Redis, stream: str
) -> None:
    """A group that nobody reads keeps every entry from being deleted with `ACKED`, by
    `XACKDEL`, `XDELEX` and `XTRIM` alike, until it is destroyed.
    """
    ids = filled(redis, stream, "billing", "idle")
    redis.xreadgroup("billing", "worker-1", {stream: ">"})
    answers: list[Any] = [
        redis.xackdel(stream, "billing", *ids, ref_policy="ACKED"),
        redis.xdelex(stream, *ids, ref_policy="ACKED"),
        redis.xtrim(stream, maxlen=0, approximate=False, ref_policy="ACKED"),
    ]
    assert answers == [[2, 2, 2, 2], [2, 2, 2, 2], 0]
    assert redis.xlen(stream) == 4
    redis.xgroup_destroy(stream, "idle")
    assert redis_task.delete_acknowledged(redis, stream) == 4


@claim(servers="redis", since="8.2")
def test_redis_acked_deletes_all_where_there_is_no_group(
    redis: Redis, stream: str
) -> None:
    """Where a stream has no group, `XTRIM` to length 0 with `ACKED` deletes every entry,
    though nobody has read any.
    """
    filled(redis, stream)
    assert redis.xtrim(stream, maxlen=0, approximate=False, ref_policy="ACKED") == 4
    assert redis.xlen(stream) == 0


@claim(servers="redis", since="8.2")
def test_redis_deletes_around_an_entry_that_is_pending(redis: Redis, stream: str) -> None:
    """`XTRIM` with `ACKED` deletes acknowledged entries on both sides of one that is
    still pending, and leaves that one.
    """
    ids = filled(redis, stream, "billing")
    redis.xreadgroup("billing", "worker-1", {stream: ">"})
    redis.xack(stream, "billing", ids[0], ids[2], ids[3])
    assert redis_task.delete_acknowledged(redis, stream) == 3
    left: Any = redis.xrange(stream)
    assert left == [(ids[1], EVENTS[1])]


def test_redis_keeps_what_is_unread_when_the_last_group_goes_meanwhile(
    redis: Redis, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(redis, stream, "billing")
    redis.xadd(stream, {"order": "later"}, id=f"{2**63}-0")
    redis.xreadgroup("billing", "worker-1", {stream: ">"}, count=4)
    trim = redis.xtrim

    def trim_late(*arguments: Any, **options: Any) -> Any:
        redis.xgroup_destroy(stream, "billing")
        return trim(*arguments, **options)

    monkeypatch.setattr(redis, "xtrim", trim_late)
    redis_task.delete_acknowledged(redis, stream)
    left: Any = redis.xrange(stream)
    assert [event for _, event in left] == [{"order": "later"}]


def test_redis_deletes_up_to_where_a_group_was_moved(redis: Redis, stream: str) -> None:
    last_of_its_millisecond = redis.xadd(stream, EVENTS[0], id=f"5-{2**64 - 1}")
    redis.xgroup_create(stream, "billing", id=last_of_its_millisecond)
    assert redis_task.delete_acknowledged(redis, stream) == 1


def test_redis_acknowledges_and_deletes_at_the_last_group(
    redis: Redis, stream: str
) -> None:
    ids = filled(redis, stream, "billing", "shipping")
    for name, gone in (("billing", 0), ("shipping", 2)):
        redis.xreadgroup(name, "worker-1", {stream: ">"})
        deleted = redis_task.acknowledge_and_delete(redis, stream, name, ids[:2])
        assert deleted == gone
        assert redis.xpending(stream, name)["pending"] == 2
    assert redis.xlen(stream) == 2


def test_redis_acknowledges_no_half_of_the_ids(redis: Redis, stream: str) -> None:
    ids = filled(redis, stream, "billing")
    redis.xreadgroup("billing", "worker-1", {stream: ">"})
    with pytest.raises(ResponseError, match="Invalid stream ID"):
        redis_task.acknowledge_and_delete(redis, stream, "billing", [ids[0], "no ID"])
    with pytest.raises(DataError):
        redis_task.acknowledge_and_delete(redis, stream, "billing", [])
    assert redis.xpending(stream, "billing")["pending"] == 4
    assert redis.xlen(stream) == 4


def test_redis_deletes_nothing_for_a_group_that_is_not_there(
    redis: Redis, stream: str
) -> None:
    ids = filled(redis, stream, "billing")
    assert redis_task.acknowledge_and_delete(redis, stream, "biling", ids) == 0
    assert redis.xlen(stream) == 4


def test_redis_refuses_a_stream_that_is_not_there(redis: Redis, stream: str) -> None:
    with pytest.raises(ResponseError, match="no such key"):
        redis_task.delete_acknowledged(redis, stream)


@claim(servers="kafka", since="0.11")
def test_kafka_deletes_records_that_a_group_has_not_read(
    admin: KafkaAdminClient, topic: str, producer: KafkaProducer
) -> None:
    """`delete_records` asks no group: it deletes what a group has not committed, and the
    committed offset stays where it was, before the start.
    """
    for _ in range(4):
        producer.send(topic, b"{}").get()
    partition, name = TopicPartition(topic, 0), f"billing-{topic}"
    with KafkaConsumer(group_id=name, enable_auto_commit=False, **settings()) as consumer:
        kafka_task.acknowledge_and_delete(consumer, admin, {partition: 1}, [name])
    admin.delete_records({partition: 3})
    assert starts(admin, topic, 1) == [3]
    assert admin.list_group_offsets({name: [partition]})[name][partition].offset == 1


def test_kafka_deletes_per_partition(admin: KafkaAdminClient) -> None:
    with temporary_topic(partitions=2) as topic:
        with KafkaProducer(**settings()) as producer:
            for number in range(6):
                producer.send(topic, b"{}", partition=number % 2)
        own = {"enable_auto_commit": False}
        names = [f"{name}-{topic}" for name in ("billing", "shipping")]
        offsets = [{0: 3, 1: 3}, {0: 2}]
        deleted = []
        for name, next_offsets in zip(names, offsets, strict=True):
            with KafkaConsumer(group_id=name, **own, **settings()) as consumer:
                done = {TopicPartition(topic, n): next_offsets[n] for n in next_offsets}
                deleted.append(
                    kafka_task.acknowledge_and_delete(consumer, admin, done, names)
                )
        assert deleted == [0, 2]
        assert starts(admin, topic, 2) == [2, 0]


def test_kafka_commits_nothing_where_no_group_is_named(
    admin: KafkaAdminClient, topic: str, producer: KafkaProducer
) -> None:
    producer.send(topic, b"{}").get()
    partition, name = TopicPartition(topic, 0), f"billing-{topic}"
    with KafkaConsumer(group_id=name, enable_auto_commit=False, **settings()) as consumer:
        with pytest.raises(ValueError, match="nobody acknowledges"):
            kafka_task.acknowledge_and_delete(consumer, admin, {partition: 1}, [])
        assert consumer.committed(partition) is None


def test_kafka_says_that_no_group_has_ever_joined(own_kafka: OwnKafka) -> None:
    with own_kafka() as server:
        client = {"bootstrap_servers": server.bootstrap_servers}
        with KafkaAdminClient(**client) as admin:
            admin.create_topics(["orders"], wait_for_metadata=True)
            with pytest.raises(CoordinatorNotAvailableError):
                kafka_task.delete_acknowledged(admin, "orders", ["billing"])


def test_kafka_refuses_a_topic_that_is_not_there(admin: KafkaAdminClient) -> None:
    with pytest.raises(UnknownTopicOrPartitionError):
        kafka_task.delete_acknowledged(admin, "no-such-topic", ["billing"])


def test_kafka_deletes_from_no_compacted_topic(
    admin: KafkaAdminClient, topic: str, producer: KafkaProducer
) -> None:
    producer.send(topic, b"{}", key=b"0").get()
    compact(admin, topic)
    name = f"billing-{topic}"
    partition = TopicPartition(topic, 0)
    with (
        KafkaConsumer(group_id=name, enable_auto_commit=False, **settings()) as consumer,
        pytest.raises(PolicyViolationError),
    ):
        kafka_task.acknowledge_and_delete(consumer, admin, {partition: 1}, [name])


def test_kafka_deletes_nothing_that_it_could_not_commit(
    admin: KafkaAdminClient, topic: str, producer: KafkaProducer
) -> None:
    for _ in range(2):
        producer.send(topic, b"{}").get()
    partition, name = TopicPartition(topic, 0), f"billing-{topic}"
    own = {"auto_offset_reset": "earliest", "enable_auto_commit": False}
    with KafkaConsumer(topic, group_id=name, **own, **settings()) as consumer:
        next(consumer)
        (member,) = admin.describe_groups([name])[name]["members"]
        gone = MemberToRemove(member_id=member["member_id"])
        admin.remove_group_members(name, [gone])
        with pytest.raises(CommitFailedError):
            kafka_task.acknowledge_and_delete(consumer, admin, {partition: 1}, [name])
    assert starts(admin, topic, 1) == [0]
