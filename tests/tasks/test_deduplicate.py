"""Deduplicate: an event that comes twice has its effect once."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from redis import Redis, ResponseError
from redis.client import Pipeline

from snippets.kafka import settings, temporary_topic
from snippets.kafka.deduplicate import deduplicate as kafka_deduplicate
from snippets.redis_streams import connect, temporary_stream
from snippets.redis_streams.claim_stalled import claim_stalled
from snippets.redis_streams.deduplicate import deduplicate as redis_deduplicate
from tests.ledger import claim
from tests.tasks.logs import PATIENCE_S
from tests.tasks.workers import killed


class Shop(Protocol):
    """A log of orders, one consumer of it, and what it has sold."""

    def append(self, event_id: str) -> None:
        """Append an order."""

    def handle_next(self, *, fail: bool = False) -> bool:
        """Handle the next order; tell whether it had an effect."""

    def die(self, when: str) -> None:
        """Let a process handle the next order that is killed before or after."""

    def sold(self) -> int:
        """Count the effects."""

    def unacknowledged(self) -> int:
        """Count what is pending or not committed."""


class RedisShop:
    """A stream, and a number in the same Redis."""

    def __init__(self, redis: Redis, stream: str, sold: str) -> None:
        """Create the group."""
        self._redis, self._stream, self._sold = redis, stream, sold
        redis.xgroup_create(stream, "billing", id="0", mkstream=True)

    def append(self, event_id: str) -> None:
        """Append an entry."""
        self._redis.xadd(self._stream, {"id": event_id})

    def handle_next(self, *, fail: bool = False) -> bool:
        """Handle what is pending, and then what is new."""
        streams: dict[Any, Any] = {self._stream: ">"}
        batch: Any = self._redis.xreadgroup(
            "billing", "worker-1", streams, count=1, claim_min_idle_time=0
        )
        ((_, ((entry_id, event, *_),)),) = batch

        def sell(together: Pipeline) -> None:
            together.incr(self._sold)
            if fail:
                raise LookupError("no such customer")

        return redis_deduplicate(
            *(self._redis, self._stream, "billing", entry_id, event["id"], sell),
            remember_s=60,
        )

    def die(self, when: str) -> None:
        """Let a process handle the next entry that is killed before or after."""
        killed(
            """
            from redis.client import Pipeline
            from snippets.redis_streams import connect
            from tests.tasks.test_deduplicate import RedisShop
            stream, sold, when = sys.argv[1:]
            shop = RedisShop.__new__(RedisShop)
            shop._redis, shop._stream, shop._sold = connect(), stream, sold
            if when == "before":
                Pipeline.execute = lambda self: os.kill(os.getpid(), 9)
            shop.handle_next()
            os.kill(os.getpid(), 9)
            """,
            *(self._stream, self._sold, when),
        )

    def sold(self) -> int:
        """Count the effects."""
        return int(self._redis.get(self._sold) or 0)

    def unacknowledged(self) -> int:
        """Count what is pending, and what nobody has read."""
        (group,) = self._redis.xinfo_groups(self._stream)
        return int(group["pending"] + group["lag"])


class KafkaShop:
    """A topic, and a table in a database."""

    def __init__(self, topic: str, producer: KafkaProducer, file: Path) -> None:
        """Take the partition without joining, so that nobody waits for the killed."""
        self._topic, self._file, self._producer = topic, file, producer
        self._partition = TopicPartition(topic, 0)
        self._consumer = assigned(topic)
        self._database = opened(file)

    def close(self) -> None:
        """Close what is open."""
        self._consumer.close(autocommit=False)
        self._database.close()

    def append(self, event_id: str) -> None:
        """Append a record."""
        value = json.dumps({"id": event_id}).encode()
        self._producer.send(self._topic, value).get(PATIENCE_S)

    def handle_next(self, *, fail: bool = False) -> bool:
        """Handle the next record."""
        return handle_next(self._consumer, self._database, fail=fail)

    def die(self, when: str) -> None:
        """Let a process handle the next record that is killed before or after."""
        killed(
            """
            from pathlib import Path
            from tests.tasks.test_deduplicate import assigned, handle_next, opened
            topic, file, when = sys.argv[1:]
            consumer = assigned(topic)
            die = lambda *_: os.kill(os.getpid(), 9)
            if when == "after":
                consumer.commit = die
                handle_next(consumer, opened(Path(file)))
            handle_next(consumer, opened(Path(file)), die=die)
            """,
            *(self._topic, str(self._file), when),
        )

    def sold(self) -> int:
        """Count the effects."""
        (count,) = self._database.execute("SELECT count(*) FROM sold").fetchone()
        return int(count)

    def unacknowledged(self) -> int:
        """Count what is not committed."""
        end = self._consumer.end_offsets([self._partition])[self._partition]
        return int(end - (self._consumer.committed(self._partition) or 0))


def handle_next(
    consumer: KafkaConsumer,
    database: sqlite3.Connection,
    *,
    fail: bool = False,
    die: Any = None,
) -> bool:
    """Handle the next record."""
    record = next(consumer)

    def sell(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO sold VALUES (1)")
        if die:
            die()
        if fail:
            raise LookupError("no such customer")

    event_id = json.loads(record.value)["id"]
    return kafka_deduplicate(consumer, record, event_id, database, sell)


def opened(file: Path) -> sqlite3.Connection:
    """Open the database."""
    database = sqlite3.connect(file)
    database.execute("CREATE TABLE IF NOT EXISTS sold (quantity INTEGER)")
    return database


def assigned(topic: str) -> KafkaConsumer:
    """Make a consumer that has the only partition at once, and commits for a group."""
    consumer = KafkaConsumer(
        group_id="billing",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        **settings(),
    )
    consumer.assign([TopicPartition(topic, 0)])
    return consumer


@contextmanager
def redis_shop(_file: Path) -> Iterator[Shop]:
    """Make a stream and a number for a test."""
    with (
        connect() as redis,
        temporary_stream(redis) as stream,
        temporary_stream(redis) as sold,
    ):
        yield RedisShop(redis, stream, sold)
        for key in redis.scan_iter(f"{stream}:*"):
            redis.delete(key)


@contextmanager
def kafka_shop(file: Path) -> Iterator[Shop]:
    """Make a topic and a table for a test."""
    with temporary_topic() as topic, KafkaProducer(**settings()) as producer:
        shop = KafkaShop(topic, producer, file)
        yield shop
        shop.close()


@pytest.fixture(params=[redis_shop, kafka_shop], ids=["redis_streams", "kafka"])
def shop(
    request: pytest.FixtureRequest,
    redis: Redis,  # noqa: ARG001
    kafka_environment: None,  # noqa: ARG001
    tmp_path: Path,
) -> Iterator[Shop]:
    """Both systems, one after the other."""
    with request.param(tmp_path / "shop.db") as shop:
        yield shop


def test_what_a_producer_sent_twice_has_its_effect_once(shop: Shop) -> None:
    for event_id in ("order-7", "order-7", "order-8"):
        shop.append(event_id)
    assert [shop.handle_next() for _ in range(3)] == [True, False, True]
    assert shop.sold() == 2
    assert shop.unacknowledged() == 0


def test_what_is_delivered_again_after_a_kill_has_its_effect_once(shop: Shop) -> None:
    shop.append("order-7")
    shop.die("before")
    assert (shop.sold(), shop.unacknowledged()) == (0, 1)
    assert shop.handle_next()
    assert (shop.sold(), shop.unacknowledged()) == (1, 0)


def test_an_effect_outlives_the_consumer_that_is_killed_after_it(shop: Shop) -> None:
    shop.append("order-7")
    shop.append("order-7")
    shop.die("after")
    assert shop.sold() == 1
    while shop.unacknowledged():
        assert not shop.handle_next()
    shop.append("order-8")
    assert shop.handle_next()
    assert shop.sold() == 2


def test_an_effect_that_fails_is_not_remembered(shop: Shop) -> None:
    shop.append("order-7")
    with pytest.raises(LookupError):
        shop.handle_next(fail=True)
    assert (shop.sold(), shop.unacknowledged()) == (0, 1)
    assert shop.handle_next()
    assert shop.sold() == 1


def test_refuses_an_event_without_an_id(shop: Shop) -> None:
    shop.append("")
    with pytest.raises((ValueError, sqlite3.IntegrityError)):
        shop.handle_next()
    assert (shop.sold(), shop.unacknowledged()) == (0, 1)


def test_redis_refuses_to_remember_for_no_time(redis: Redis, stream: str) -> None:
    with pytest.raises(ValueError, match="no time"):
        redis_deduplicate(redis, stream, "billing", "1-0", "order-7", print, remember_s=0)


@claim(servers="redis", since="5.0")
def test_redis_set_nx_before_the_effect_loses_it(redis: Redis, stream: str) -> None:
    """Marking an event with `SET NX` before its work loses the work when the consumer is
    killed between the two: delivered again, the event counts as done.
    """
    redis.xadd(stream, {"id": "order-7"})
    redis.xgroup_create(stream, "billing", id="0")
    seen = f"{stream}:seen:order-7"
    killed(
        """
        from snippets.redis_streams import connect
        redis, (stream, seen) = connect(), sys.argv[1:]
        redis.xreadgroup("billing", "worker-1", {stream: ">"})
        if redis.set(seen, 1, nx=True, ex=60):
            os.kill(os.getpid(), 9)
        """,
        *(stream, seen),
    )
    done: list[str] = []

    def handle(event: dict[str, str]) -> None:
        if redis.set(seen, 1, nx=True, ex=60):
            done.append(event["id"])

    assert claim_stalled(redis, stream, "billing", "worker-2", 0, handle) == 1
    redis.delete(seen)
    assert done == []


@claim(servers="redis", since="5.0")
def test_redis_exec_does_nothing_when_a_watched_key_changed(
    redis: Redis, stream: str
) -> None:
    """`EXEC` does nothing if a key under `WATCH` was changed since, so that two consumers
    with the same event apply it once.
    """
    first, second = (str(redis.xadd(stream, {"id": "order-7"})) for _ in range(2))
    redis.xgroup_create(stream, "billing", id="0")
    redis.xreadgroup("billing", "worker-1", {stream: ">"})
    sold, other = f"{stream}:sold", connect()

    def sell(together: Pipeline) -> None:
        together.incr(sold)

    def sell_while_another_does(together: Pipeline) -> None:
        sell(together)
        assert redis_deduplicate(
            other, stream, "billing", second, "order-7", sell, remember_s=60
        )

    applied = redis_deduplicate(
        *(redis, stream, "billing", first, "order-7", sell_while_another_does),
        remember_s=60,
    )
    other.close()
    count = redis.get(sold)
    redis.delete(sold, f"{stream}:billing:order-7")
    assert (applied, count) == (False, "1")
    assert redis.xpending(stream, "billing")["pending"] == 0


def test_redis_forgets_an_id_when_its_time_is_over(redis: Redis, stream: str) -> None:
    redis.xadd(stream, {"id": "order-7"})
    redis.xgroup_create(stream, "billing", id="0")
    seen = f"{stream}:billing:order-7"
    args = (redis, stream, "billing", "1-0", "order-7", lambda _: None)
    assert redis_deduplicate(*args, remember_s=60)
    assert 0 < int(redis.ttl(seen)) <= 60
    redis.delete(seen)
    assert redis_deduplicate(*args, remember_s=60)
    redis.delete(seen)


def test_redis_does_not_undo_the_rest_when_a_command_of_the_effect_fails(
    redis: Redis, stream: str
) -> None:
    entry_id = str(redis.xadd(stream, {"id": "order-7"}))
    redis.xgroup_create(stream, "billing", id="0")
    redis.xreadgroup("billing", "worker-1", {stream: ">"})
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        redis_deduplicate(
            *(redis, stream, "billing", entry_id, "order-7"),
            lambda together: together.incr(stream),
            remember_s=60,
        )
    assert redis.delete(f"{stream}:billing:order-7") == 1
    assert redis.xpending(stream, "billing")["pending"] == 0


@claim(servers="kafka", since="0.11")
def test_kafka_idempotence_does_not_cover_a_second_send(
    topic: str, producer: KafkaProducer
) -> None:
    """An idempotent Kafka producer stores an event twice that the program sends twice: it
    recognizes its own retries, not the event.
    """
    assert producer.config["enable_idempotence"]
    for _ in range(2):
        producer.send(topic, b'{"id": "order-7"}').get(PATIENCE_S)
    with assigned(topic) as consumer:
        assert [next(consumer).offset for _ in range(2)] == [0, 1]
