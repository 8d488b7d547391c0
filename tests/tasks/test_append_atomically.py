"""Append atomically: all events of a step are read, or none."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import IllegalStateError, KafkaError, ProducerFencedError
from redis import OutOfMemoryError, Redis, RedisCluster, ResponseError

from snippets import servers
from snippets.kafka import settings, temporary_topic
from snippets.kafka.append_atomically import append_atomically as kafka_append_atomically
from snippets.redis_streams import connect, temporary_stream
from snippets.redis_streams.append_atomically import (
    append_atomically as redis_append_atomically,
)
from snippets.servers.ready import attempts
from tests.ledger import claim
from tests.tasks.logs import PATIENCE_S, Event
from tests.tasks.nodes import node_of
from tests.tasks.topics import read_topic, transactional
from tests.tasks.workers import killed

OwnRedis = Callable[..., AbstractContextManager[servers.Redis]]

TEA: dict[Any, Any] = {"sku": "tea"}
LESS: dict[Any, Any] = {"tea": "-1"}


class Shop(Protocol):
    """Two logs, for orders and for the stock."""

    names: tuple[str, str]

    def append(self, events: Sequence[tuple[str, Event]]) -> Sequence[object]:
        """Append events in one step."""

    def spoil_stock(self) -> Event:
        """Make the stock refuse an event, which is returned."""

    def die(self) -> None:
        """Let a process begin, append to both, and be killed before the end."""

    def events(self) -> tuple[list[Event], list[Event]]:
        """Read all orders and all of the stock."""


def begin_and_be_killed(orders: str, stock: str) -> None:
    """Send `MULTI` and two `XADD` to Redis, and be killed before `EXEC`."""
    killed(
        """
        from snippets.redis_streams import connect
        connection = connect().connection_pool.get_connection()
        for command in (["MULTI"], *(["XADD", k, "*", "a", "b"] for k in sys.argv[1:])):
            connection.send_command(*command)
            connection.read_response()
        os.kill(os.getpid(), 9)
        """,
        *(orders, stock),
    )


class RedisShop:
    """Two streams."""

    def __init__(self, redis: Redis, orders: str, stock: str) -> None:
        """Use the shared server."""
        self._redis, self.names = redis, (orders, stock)

    def append(self, events: Sequence[tuple[str, Event]]) -> Sequence[object]:
        """Append entries in one transaction."""
        return redis_append_atomically(self._redis, events)

    def spoil_stock(self) -> Event:
        """Put a text where the stream would be."""
        self._redis.set(self.names[1], "text")
        return LESS

    def die(self) -> None:
        """Let a process begin, append to both, and be killed before the end."""
        begin_and_be_killed(*self.names)

    def events(self) -> tuple[list[Event], list[Event]]:
        """Read both streams, if they are."""
        orders, stock = (
            [] if self._redis.type(name) != "stream" else self._entries(name)
            for name in self.names
        )
        return orders, stock

    def _entries(self, name: str) -> list[Event]:
        entries: Any = self._redis.xrange(name)
        return [event for _, event in entries]


class KafkaShop:
    """Two topics."""

    def __init__(self, producer: KafkaProducer, orders: str, stock: str) -> None:
        """Use a producer for transactions."""
        self._producer, self.names = producer, (orders, stock)

    def append(self, events: Sequence[tuple[str, Event]]) -> Sequence[object]:
        """Append records in one transaction."""
        return kafka_append_atomically(self._producer, events)

    def spoil_stock(self) -> Event:
        """Let the topic take short records only."""
        limit_records(self.names[1])
        return {"blob": "x" * 1000}

    def die(self) -> None:
        """Let a process begin, append to both, and be killed; start its successor."""
        killed(
            """
            from tests.tasks.topics import transactional
            producer = transactional(sys.argv[1])
            producer.begin_transaction()
            for topic in sys.argv[1:]:
                producer.send(topic, b'{"a": "b"}').get()
            os.kill(os.getpid(), 9)
            """,
            *self.names,
        )
        assert [len(read(name, "read_uncommitted")) for name in self.names] == [1, 1]
        self._producer = transactional(self.names[0])

    def events(self) -> tuple[list[Event], list[Event]]:
        """Read what is committed in both topics."""
        orders, stock = (read(name, "read_committed") for name in self.names)
        return orders, stock


def limit_records(topic: str) -> None:
    """Let the broker refuse records of more than 500 bytes."""
    resource = ConfigResource(
        ConfigResourceType.TOPIC, topic, configs={"max.message.bytes": "500"}
    )
    with KafkaAdminClient(**settings()) as admin:
        admin.alter_configs([resource])


def read(topic: str, isolation_level: str) -> list[Event]:
    """Read the events that are there for a reader of this level."""
    return [json.loads(each.value) for each in read_topic(topic, isolation_level)]


@contextmanager
def redis_shop() -> Iterator[Shop]:
    """Make two streams for a test."""
    with (
        connect() as redis,
        temporary_stream(redis) as orders,
        temporary_stream(redis) as stock,
    ):
        yield RedisShop(redis, orders, stock)


@contextmanager
def kafka_shop() -> Iterator[Shop]:
    """Make two topics for a test."""
    with (
        temporary_topic() as orders,
        temporary_topic() as stock,
        transactional(orders) as producer,
    ):
        yield KafkaShop(producer, orders, stock)


@pytest.fixture(params=[redis_shop, kafka_shop], ids=["redis_streams", "kafka"])
def shop(
    request: pytest.FixtureRequest,
    redis: Redis,  # noqa: ARG001
    kafka_environment: None,  # noqa: ARG001
) -> Iterator[Shop]:
    """Two streams, and then two topics, that only this test uses."""
    with request.param() as shop:
        yield shop


def test_all_events_are_there(shop: Shop) -> None:
    orders, stock = shop.names
    assert len(shop.append([(orders, TEA), (stock, LESS), (orders, TEA)])) == 3
    shop.append([(orders, LESS)])
    assert shop.events() == ([TEA, TEA, LESS], [LESS])


def test_none_is_there_when_one_is_refused(shop: Shop) -> None:
    orders, stock = shop.names
    refused = shop.spoil_stock()
    with pytest.raises((TypeError, KafkaError)):
        shop.append([(orders, TEA), (stock, refused)])
    assert shop.events() == ([], [])
    shop.append([(orders, TEA)])
    assert shop.events() == ([TEA], [])


def test_none_is_there_when_the_process_is_killed_before_the_end(shop: Shop) -> None:
    shop.die()
    assert shop.events() == ([], [])
    shop.append([(shop.names[0], TEA)])
    assert shop.events() == ([TEA], [])


def test_nonsense_is_refused_and_nothing_is_stored(shop: Shop) -> None:
    orders, stock = shop.names
    nothings: list[list[tuple[str, Event]]] = [[], [(orders, TEA), (stock, {})]]
    for nothing in nothings:
        with pytest.raises(ValueError, match="must be an event"):
            shop.append(nothing)
    assert shop.events() == ([], [])


@claim(servers="redis", since="5.0")
def test_redis_does_nothing_without_exec(redis: Redis, stream: str) -> None:
    """A client that is killed between `MULTI` and `EXEC` has appended nothing, and keeps
    nobody from appending meanwhile.
    """
    with temporary_stream(redis) as another:
        connection: Any = redis.connection_pool.get_connection()
        for command in (["MULTI"], ["XADD", stream, "*", "sku", "tea"]):
            connection.send_command(*command)
            connection.read_response()
        redis.xadd(another, TEA)
        connection.disconnect()
        redis.connection_pool.release(connection)
        begin_and_be_killed(stream, another)
        assert (redis.xlen(stream), redis.xlen(another)) == (0, 1)


@claim(servers="redis", since="5.0")
def test_redis_refused_command_keeps_exec_from_all(own_redis: OwnRedis) -> None:
    """A command that Redis refuses to queue, such as `XADD` when memory is full, makes
    `EXEC` do nothing: the commands before it are not done either.
    """
    with own_redis() as server, Redis.from_url(server.url) as redis:
        redis.xadd("orders", TEA)
        redis.config_set("maxmemory", 1)
        with redis.pipeline(transaction=True) as transaction:
            transaction.delete("orders")
            transaction.xadd("stock", LESS)
            with pytest.raises(OutOfMemoryError):
                transaction.execute()
        assert (redis.xlen("orders"), redis.exists("stock")) == (1, 0)


@claim(servers="redis", since="5.0")
def test_redis_cluster_refuses_a_transaction_over_two_slots(
    cluster: RedisCluster,
) -> None:
    """A Redis Cluster refuses a transaction over two slots (`CROSSSLOT`) as a whole, and
    takes it when both keys have the same hash tag.
    """
    node = node_of(cluster, "orders")
    assert node is node_of(cluster, "stock")
    with pytest.raises(ResponseError, match="same slot"):
        redis_append_atomically(node, [("orders", TEA), ("stock", LESS)])
    assert node.exists("orders") == node.exists("stock") == 0
    tagged = [("{shop}:orders", TEA), ("{shop}:stock", LESS)]
    client: Any = cluster
    assert len(redis_append_atomically(client, tagged)) == 2


def test_redis_drops_copies_inside_of_a_transaction(redis: Redis, stream: str) -> None:
    for _ in range(2):
        with redis.pipeline(transaction=True) as transaction:
            transaction.xadd(stream, TEA, idmp=("shop", b"order-7"))
            transaction.execute()
    assert redis.xlen(stream) == 1


@claim(servers="kafka", since="0.11")
def test_kafka_open_transaction_holds_readers_back(
    topic: str, producer: KafkaProducer
) -> None:
    """A `read_committed` consumer stops at the first record of an open transaction: it
    gets no later record of that partition, of other producers neither.
    """
    with transactional(topic) as slow:
        producer.send(topic, b'{"order": "before"}').get()
        slow.begin_transaction()
        slow.send(topic, b'{"order": "open"}').get()
        producer.send(topic, b'{"order": "after"}').get()

        def orders(level: str) -> list[str]:
            return [event["order"] for event in read(topic, level)]

        assert orders("read_committed") == ["before"]
        assert orders("read_uncommitted") == ["before", "open", "after"]
        slow.abort_transaction()
        for _ in attempts(PATIENCE_S):
            if len(orders("read_committed")) > 1:
                break
        assert orders("read_committed") == ["before", "after"]


def test_kafka_refused_record_keeps_the_transaction_from_being_committed(
    topic: str,
) -> None:
    with temporary_topic() as strict, transactional(topic) as producer:
        limit_records(strict)
        producer.begin_transaction()
        producer.send(topic, json.dumps(TEA).encode()).get()
        refused = producer.send(strict, b"x" * 1000)
        producer.flush()
        assert refused.failed()
        with pytest.raises(KafkaError):
            producer.commit_transaction()
        producer.abort_transaction()
        assert read(topic, "read_uncommitted") == [TEA]
        assert read(topic, "read_committed") == []


def test_kafka_refuses_a_producer_without_transactions(
    topic: str, producer: KafkaProducer
) -> None:
    with pytest.raises(IllegalStateError):
        kafka_append_atomically(producer, [(topic, TEA)])
    assert read(topic, "read_uncommitted") == []


@pytest.mark.usefixtures("kafka_environment")
def test_kafka_raises_when_another_producer_has_the_same_id(topic: str) -> None:
    older = transactional(topic)
    kafka_append_atomically(older, [(topic, TEA)])
    with transactional(topic) as newer:
        with pytest.raises(ProducerFencedError):
            kafka_append_atomically(older, [(topic, LESS)])
        kafka_append_atomically(newer, [(topic, TEA)])
    older.close()
    assert read(topic, "read_committed") == [TEA, TEA]
