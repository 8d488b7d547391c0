"""Append durably: a number of copies is confirmed, or the append is an error."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from typing import Any, Protocol

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.errors import (
    KafkaError,
    KafkaTimeoutError,
    UnknownTopicOrPartitionError,
)
from redis import ConnectionError as RedisConnectionError
from redis import DataError, Redis, ResponseError

from snippets import servers
from snippets.kafka import append_durably as kafka_task
from snippets.kafka import settings
from snippets.redis_streams import append_durably as redis_task
from tests.ledger import claim
from tests.replicas import create_topic, until_in_sync
from tests.tasks.logs import Event
from tests.tasks.topics import read_topic

OwnRedis = Callable[..., AbstractContextManager[servers.Redis]]
OwnKafka = Callable[..., AbstractContextManager[servers.Kafka]]

TEA: dict[Any, Any] = {"sku": "tea"}
MILK: dict[Any, Any] = {"sku": "milk"}

# Every write is on disk before its reply, so that nobody waits for the next second.
ALWAYS = {"appendonly": "yes", "appendfsync": "always"}

# A producer that gives a record up after half a second, not after two minutes.
HURRY = {"delivery_timeout_ms": 500, "request_timeout_ms": 400}


class Shop(Protocol):
    """A stream or a topic on one server with default settings."""

    def append(self, event: Event) -> object:
        """Append an event durably, as far as this server goes."""

    def require(self, copies: int) -> None:
        """Ask for so many copies."""

    def events(self) -> list[Event]:
        """Read all that is there."""


class RedisShop:
    """A stream."""

    def __init__(self, redis: Redis, stream: str) -> None:
        """Use the shared server."""
        self._redis, self._stream = redis, stream

    def append(self, event: Event) -> object:
        """Append an entry that one server has in memory."""
        return redis_task.append_durably(
            self._redis, self._stream, event, copies=1, on_disk=False
        )

    def require(self, copies: int) -> None:
        """Ask for so many copies in memory."""
        redis_task.require_copies(self._redis, copies, on_disk=False)

    def events(self) -> list[Event]:
        """Read all entries."""
        entries: Any = self._redis.xrange(self._stream)
        return [event for _, event in entries]


class KafkaShop:
    """A topic."""

    def __init__(self, producer: KafkaProducer, topic: str) -> None:
        """Use the shared broker."""
        self._producer, self._topic = producer, topic

    def append(self, event: Event) -> object:
        """Append a record."""
        return kafka_task.append_durably(self._producer, self._topic, event, key="ann")

    def require(self, copies: int) -> None:
        """Ask for so many copies."""
        with KafkaAdminClient(**settings()) as admin:
            kafka_task.require_copies(admin, self._topic, copies)

    def events(self) -> list[Event]:
        """Read all records."""
        return [json.loads(each.value) for each in read_topic(self._topic)]


@pytest.fixture(params=["redis_streams", "kafka"])
def shop(request: pytest.FixtureRequest) -> Shop:
    """A stream, and then a topic, that only this test uses."""
    if request.param == "redis_streams":
        return RedisShop(
            request.getfixturevalue("redis"), request.getfixturevalue("stream")
        )
    return KafkaShop(
        request.getfixturevalue("producer"), request.getfixturevalue("topic")
    )


def test_what_is_confirmed_is_there_and_in_order(shop: Shop) -> None:
    shop.require(1)
    assert shop.append(TEA) != shop.append(MILK)
    assert shop.events() == [TEA, MILK]


def test_an_event_without_fields_is_refused_and_nothing_is_stored(shop: Shop) -> None:
    with pytest.raises((ValueError, DataError)):
        shop.append({})
    assert shop.events() == []


def test_more_copies_than_the_server_gives_are_refused(shop: Shop) -> None:
    with pytest.raises(RuntimeError, match="2 copies need more"):
        shop.require(2)


def test_no_copy_is_no_copy(shop: Shop) -> None:
    with pytest.raises(ValueError, match="none"):
        shop.require(0)


@pytest.mark.parametrize("numbers", [{"copies": 0}, {"timeout_ms": 0}])
def test_redis_refuses_nonsense_and_stores_nothing(
    redis: Redis, stream: str, numbers: Any
) -> None:
    with pytest.raises(ValueError, match="is 0"):
        redis_task.append_durably(redis, stream, TEA, **numbers)
    assert redis.xlen(stream) == 0


def test_redis_tells_that_there_is_no_append_only_file(redis: Redis, stream: str) -> None:
    with pytest.raises(RuntimeError, match="append-only file"):
        redis_task.require_copies(redis, 1)
    with pytest.raises(ResponseError, match="WAITAOF cannot be used"):
        redis_task.append_durably(redis, stream, TEA, copies=1)
    assert redis.xlen(stream) == 1


def test_redis_refuses_a_key_that_is_no_stream(redis: Redis, stream: str) -> None:
    redis.set(stream, "text")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        redis_task.append_durably(redis, stream, TEA, copies=1, on_disk=False)


def test_redis_outlives_its_primary_with_what_a_replica_confirmed(
    own_redis: OwnRedis,
) -> None:
    with (
        own_redis(replicas=1, config=ALWAYS) as server,
        Redis.from_url(server.urls[0], decode_responses=True, retry=None) as primary,
        Redis.from_url(server.urls[1], decode_responses=True) as replica,
    ):
        redis_task.require_copies(primary, 2)
        entry_id = redis_task.append_durably(primary, "orders", TEA)
        in_memory = redis_task.append_durably(primary, "orders", MILK, on_disk=False)
        server.nodes[0].kill()
        with pytest.raises(RedisConnectionError):
            redis_task.append_durably(primary, "orders", TEA)
        replica.replicaof("NO", "ONE")
        assert replica.xrange("orders") == [(entry_id, TEA), (in_memory, MILK)]


def test_redis_raises_when_a_replica_does_not_answer(own_redis: OwnRedis) -> None:
    with (
        own_redis(replicas=1, config=ALWAYS) as server,
        Redis.from_url(server.url, decode_responses=True) as redis,
    ):
        server.nodes[1].pause()
        for on_disk in (True, False):
            with pytest.raises(TimeoutError, match=r"is stored, but 1 of 2 servers"):
                redis_task.append_durably(
                    redis, "orders", TEA, 2, timeout_ms=20, on_disk=on_disk
                )
        assert redis.xlen("orders") == 2
        server.nodes[1].resume()
        redis_task.append_durably(redis, "orders", TEA)


@claim(servers="redis", since="7.2")
def test_redis_wait_counts_for_its_own_connection(own_redis: OwnRedis) -> None:
    """`WAIT` and `WAITAOF` count for the writes of their own connection: sent over
    another one, they confirm at once what no replica has yet.
    """
    with (
        own_redis(replicas=1, config=ALWAYS) as server,
        Redis.from_url(server.url) as writer,
        Redis.from_url(server.url) as another,
    ):
        writer.xadd("orders", TEA)
        assert writer.wait(1, 4000) == 1
        server.nodes[1].pause()
        writer.xadd("orders", MILK)
        assert (another.wait(1, 20), another.waitaof(1, 1, 20)) == (1, [1, 1])
        assert (writer.wait(1, 20), writer.waitaof(1, 1, 20)) == (0, [1, 0])


def test_redis_wait_in_a_transaction_does_not_wait(own_redis: OwnRedis) -> None:
    with (
        own_redis(replicas=1) as server,
        Redis.from_url(server.url) as redis,
        redis.pipeline(transaction=True) as transaction,
    ):
        redis.xadd("orders", TEA)
        assert redis.wait(1, 4000) == 1
        server.nodes[1].pause()
        transaction.xadd("orders", MILK)
        transaction.wait(1, 4000)
        _, confirmed = transaction.execute()
        assert (confirmed, redis.wait(1, 20)) == (1, 0)


def test_redis_min_replicas_to_write_refuses_before_it_stores(
    own_redis: OwnRedis,
) -> None:
    with (
        own_redis(config={"min-replicas-to-write": "1"}) as server,
        Redis.from_url(server.url) as redis,
    ):
        with pytest.raises(ResponseError, match="NOREPLICAS"):
            redis.xadd("orders", TEA)
        assert redis.xlen("orders") == 0


@claim(servers="kafka", since="4.0")
def test_kafka_min_insync_replicas_ends_at_the_replicas(
    producer: KafkaProducer, topic: str
) -> None:
    """Kafka counts `min.insync.replicas` only up to the replicas that a topic has: with
    one replica and `min.insync.replicas=2`, it acknowledges `acks=all` all the same.
    """
    with KafkaAdminClient(**settings()) as admin:
        name = f"{topic}-of-one"
        options = {"replication_factor": 1, "configs": {"min.insync.replicas": "2"}}
        admin.create_topics({name: options}, wait_for_metadata=True)
        try:
            assert kafka_task.append_durably(producer, name, TEA) == (0, 0)
            with pytest.raises(RuntimeError, match="replicas: 1"):
                kafka_task.require_copies(admin, name, 2)
        finally:
            admin.delete_topics([name])


@claim(servers="kafka", since="0.8")
def test_kafka_acks_zero_reports_success_for_what_is_refused(
    kafka_environment: None,  # noqa: ARG001
    topic: str,
) -> None:
    """With `acks=0` a Kafka producer reports success although the broker refuses the
    record; with `acks=all` it raises.
    """
    with KafkaAdminClient(**settings()) as admin:
        name = f"{topic}-of-short-records"
        options = {"configs": {"max.message.bytes": "500"}}
        admin.create_topics({name: options}, wait_for_metadata=True)
        try:
            blind = {"acks": 0, "enable_idempotence": False}
            with KafkaProducer(**blind, **settings()) as producer:
                assert producer.send(name, b"x" * 1000).get() is not None
                with pytest.raises(ValueError, match="acks is 0"):
                    kafka_task.append_durably(producer, name, TEA)
            with (
                KafkaProducer(**settings()) as producer,
                pytest.raises(KafkaError, match="TooLarge"),
            ):
                kafka_task.append_durably(producer, name, {"blob": "x" * 1000})
            assert read_topic(name) == []
        finally:
            admin.delete_topics([name])


@pytest.mark.usefixtures("kafka_environment")
def test_kafka_asks_only_a_topic_that_is_there() -> None:
    with (
        KafkaAdminClient(**settings()) as admin,
        pytest.raises(UnknownTopicOrPartitionError),
    ):
        kafka_task.require_copies(admin, "example-nothing", 1)


@claim(servers="kafka", since="0.8")
def test_kafka_acks_one_ignores_min_insync_replicas(own_kafka: OwnKafka) -> None:
    """With `acks=1` Kafka acknowledges a record although fewer replicas are in sync than
    `min.insync.replicas`; with `acks=all` it doesn't.
    """
    with own_kafka(brokers=2, controllers=1) as server:
        create_topic(server, replicas=2, min_insync=2)
        with KafkaAdminClient(**server.settings) as admin:
            kafka_task.require_copies(admin, "orders", 2)
        with KafkaProducer(**server.settings) as producer:
            assert kafka_task.append_durably(producer, "orders", TEA) == (0, 0)
        # A broker that shuts down in good order is out of sync at once.
        server.brokers[1].stop()
        until_in_sync(server, 1)
        careless = {"acks": 1, "enable_idempotence": False}
        with closing(KafkaProducer(**careless, **server.settings)) as producer:
            assert producer.send("orders", b"{}").get().offset == 1
        with (
            closing(KafkaProducer(**HURRY, **server.settings)) as producer,
            pytest.raises(KafkaTimeoutError),
        ):
            kafka_task.append_durably(producer, "orders", MILK)
