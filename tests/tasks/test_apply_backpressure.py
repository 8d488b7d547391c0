"""Bound what waits: both let the producer look first; what lies behind it differs."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import Any, Protocol

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from redis import OutOfMemoryError, Redis, ResponseError

from snippets.kafka import apply_backpressure as kafka_task
from snippets.kafka import settings, temporary_topic
from snippets.kafka.read_group import join as kafka_join
from snippets.redis_streams import apply_backpressure as redis_task
from snippets.redis_streams import connect
from snippets.servers import Kafka
from snippets.servers import Redis as RedisServer
from tests.ledger import claim
from tests.tasks.logs import PATIENCE_S, Event

EVENTS: list[dict[Any, Any]] = [{"order": str(number)} for number in range(6)]
PATIENCE_MS = int(PATIENCE_S * 1000)
Handle = Callable[[Event], None]
OwnRedis = Callable[..., AbstractContextManager[RedisServer]]
OwnKafka = Callable[..., AbstractContextManager[Kafka]]


class Pipe(Protocol):
    """A log between a producer and a group."""

    def append(self, event: Event, limit: int) -> object:
        """Append within a limit."""

    def read(self, handle: Handle, count: int) -> int:
        """Handle what is there."""

    def stored(self) -> int:
        """Count all that was ever appended."""


class RedisPipe:
    """A stream and a group."""

    def __init__(self, redis: Redis, stream: str) -> None:
        """Create the group."""
        self._redis, self._stream = redis, stream
        redis.xgroup_create(stream, "billing", id="0", mkstream=True)

    def append(self, event: Event, limit: int) -> object:
        """Append an entry."""
        return redis_task.append_within(
            self._redis, self._stream, "billing", event, limit
        )

    def read(self, handle: Handle, count: int) -> int:
        """Handle entries, after those that have failed."""
        streams: dict[Any, Any] = {self._stream: "0"}
        failed: Any = self._redis.xreadgroup("billing", "worker-1", streams)
        for entry_id, event in failed[0][1]:
            handle(event)
            self._redis.xack(self._stream, "billing", entry_id)
        return redis_task.read_within(
            *(self._redis, self._stream, "billing", "worker-1", handle, count), block_ms=1
        )

    def stored(self) -> int:
        """Ask for the length."""
        return int(self._redis.xlen(self._stream))


class KafkaPipe:
    """A topic of one partition and a group."""

    def __init__(self, topic: str, stack: ExitStack) -> None:
        """Let the group exist."""
        self._producer = stack.enter_context(KafkaProducer(**settings()))
        self._admin = stack.enter_context(KafkaAdminClient(**settings()))
        self._consumer = stack.enter_context(kafka_join(topic, topic, **settings()))
        self._pool = stack.enter_context(ThreadPoolExecutor(1))
        self._topic = topic
        self._consumer.partitions_for_topic(topic)
        while not self._consumer.assignment():
            self._consumer.poll(timeout_ms=50)

    def append(self, event: Event, limit: int) -> object:
        """Append a record."""
        return kafka_task.append_within(
            self._producer, self._admin, self._topic, self._topic, event, limit
        )

    def read(self, handle: Handle, count: int) -> int:
        """Handle records, which one poll need not bring all."""
        partition = TopicPartition(self._topic, 0)
        handled = 0
        while handled < count and self._consumer.position(partition) < self.stored():
            handled += kafka_task.read_within(
                self._consumer, handle, self._pool, count - handled, PATIENCE_MS
            )
        return handled

    def stored(self) -> int:
        """Ask for the end."""
        partition = TopicPartition(self._topic, 0)
        return int(self._consumer.end_offsets([partition])[partition])


@pytest.fixture(params=["redis_streams", "kafka"])
def pipe(request: pytest.FixtureRequest) -> Iterator[Pipe]:
    """A pipe of each system that only this test uses."""
    if request.param == "redis_streams":
        redis = request.getfixturevalue("redis")
        yield RedisPipe(redis, request.getfixturevalue("stream"))
    else:
        topic = request.getfixturevalue("topic")
        with ExitStack() as stack:
            yield KafkaPipe(topic, stack)


def fill(pipe: Pipe, limit: int) -> int:
    """Append until it is refused."""
    appended = 0
    while pipe.append(EVENTS[appended], limit):
        appended += 1
    return appended


def test_a_producer_is_held_up_until_the_consumer_has_made_room(pipe: Pipe) -> None:
    assert fill(pipe, limit=3) == 3
    assert pipe.stored() == 3
    handled: list[Event] = []
    assert pipe.read(handled.append, 2) == 2
    assert handled == EVENTS[:2]
    assert fill(pipe, limit=3) == 2
    assert pipe.stored() == 5


def test_what_is_in_hand_and_not_done_counts(pipe: Pipe) -> None:
    fill(pipe, limit=2)

    def look(event: Event) -> None:
        assert event in EVENTS[:2]
        assert pipe.append(EVENTS[5], limit=1) is None

    pipe.read(look, 2)
    assert pipe.append(EVENTS[5], limit=1)


def test_what_fails_comes_again(pipe: Pipe) -> None:
    fill(pipe, limit=3)
    handled: list[Event] = []

    def fail_once(event: Event) -> None:
        handled.append(event)
        if len(handled) == 2:
            raise LookupError

    with pytest.raises(LookupError):
        pipe.read(fail_once, 3)
    while pipe.read(handled.append, 3):
        pass
    assert EVENTS[2] in handled
    assert handled.count(EVENTS[1]) == 2


def test_nothing_is_handled_where_nothing_is(pipe: Pipe) -> None:
    assert pipe.read(print, 3) == 0


def test_refuses_an_empty_event_and_a_limit_below_one(pipe: Pipe) -> None:
    with pytest.raises(ValueError, match="at least one field"):
        pipe.append({}, limit=1)
    with pytest.raises(ValueError, match="at least 1, not 0"):
        pipe.append(EVENTS[0], limit=0)
    assert pipe.stored() == 0


def test_redis_never_exceeds_the_limit(redis: Redis, stream: str) -> None:
    redis.xgroup_create(stream, "billing", id="0", mkstream=True)

    def produce(_: int) -> None:
        with connect() as own:
            for event in EVENTS:
                redis_task.append_within(own, stream, "billing", event, limit=10)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(produce, range(8)))
    assert redis.xlen(stream) == 10


def test_redis_counts_where_the_lag_is_unknown(redis: Redis, stream: str) -> None:
    ids = [str(redis.xadd(stream, event)) for event in EVENTS[:5]]
    redis.xgroup_create(stream, "billing", id=ids[1])
    redis.xdel(stream, ids[3])
    (group,) = redis.xinfo_groups(stream)
    assert group["lag"] is None
    assert redis_task.append_within(redis, stream, "billing", EVENTS[5], 2) is None
    assert redis_task.append_within(redis, stream, "billing", EVENTS[5], 3)


def test_redis_refuses_to_append_for_no_group(redis: Redis, stream: str) -> None:
    with pytest.raises(ResponseError, match="no such key"):
        redis_task.append_within(redis, stream, "billing", EVENTS[0], 1)
    redis.xgroup_create(stream, "shipping", id="0", mkstream=True)
    with pytest.raises(ResponseError, match="NOGROUP"):
        redis_task.append_within(redis, stream, "billing", EVENTS[0], 1)
    with pytest.raises(ResponseError, match="NOGROUP"):
        redis_task.read_within(redis, stream, "billing", "worker-1", print)
    assert redis.xlen(stream) == 0


@claim(servers="redis", since="5.0")
def test_redis_with_full_memory_refuses_appends_and_serves_consumers(
    own_redis: OwnRedis,
) -> None:
    """At `maxmemory` with `noeviction` Redis refuses `XADD` with `OOM`, and still serves
    `XREADGROUP`, `XACK` and `XDEL`, so that consumers make room.
    """
    config = {"maxmemory": "4mb", "maxmemory-policy": "noeviction", "save": ""}
    with (
        own_redis(config=config) as server,
        Redis.from_url(server.url, decode_responses=True) as redis,
    ):
        redis.xgroup_create("orders", "billing", id="0", mkstream=True)
        with suppress(OutOfMemoryError):
            while True:
                redis.xadd("orders", {"order": "x" * 10_000})
        stored = redis.xlen("orders")
        with pytest.raises(OutOfMemoryError):
            redis_task.append_within(redis, "orders", "billing", EVENTS[0], 9999)
        assert redis.xlen("orders") == stored
        batch: Any = redis.xreadgroup("billing", "worker-1", {"orders": ">"}, count=50)
        ids = [entry_id for entry_id, _ in batch[0][1]]
        assert redis.xack("orders", "billing", *ids) == 50
        assert redis.xdel("orders", *ids) == 50
        redis.xadd("orders", EVENTS[0])


@claim(servers="kafka", since="0.10.1")
def test_kafka_paused_consumer_that_polls_keeps_its_partitions(topic: str) -> None:
    """A Kafka consumer that pauses its partitions and polls on keeps them for longer than
    `max.poll.interval.ms`; one that doesn't poll has lost its own by then.
    """
    fast = {"max_poll_interval_ms": 1000, "heartbeat_interval_ms": 100}
    with KafkaProducer(**settings()) as producer:
        for event in EVENTS:
            producer.send(topic, json.dumps(event).encode())
    idle = KafkaConsumer(
        topic,
        group_id=f"{topic}-idle",
        auto_offset_reset="earliest",
        **fast,
        **settings(),
    )
    with (
        idle,
        kafka_join(topic, topic, **fast, **settings()) as consumer,
        KafkaAdminClient(**settings()) as admin,
        ThreadPoolExecutor(1) as pool,
    ):
        handled: list[Event] = []

        def members(group: str) -> int:
            return len(admin.describe_groups([group])[group]["members"])

        def outlast_the_idle(event: Event) -> None:
            if not handled:
                next(idle)
                while members(f"{topic}-idle"):
                    pass
            handled.append(event)

        assert kafka_task.read_within(consumer, outlast_the_idle, pool, 3, PATIENCE_MS)
        assert members(topic) == 1
        assert consumer.committed(TopicPartition(topic, 0)) == 3
        kafka_task.read_within(consumer, handled.append, pool, 3, PATIENCE_MS)
    assert handled == EVENTS


def test_kafka_waits_in_vain_where_nothing_is(topic: str) -> None:
    with (
        kafka_join(topic, topic, **settings()) as consumer,
        ThreadPoolExecutor(1) as pool,
    ):
        assert kafka_task.read_within(consumer, print, pool, timeout_ms=1) == 0


class LateConsumer(KafkaConsumer):  # type: ignore[misc]
    """A consumer whose first `pause` is too early, as for a partition yet to come."""

    early = True

    def pause(self, *partitions: TopicPartition) -> None:
        """Pause from the second time on."""
        if not self.early:
            super().pause(*partitions)

    def poll(self, timeout_ms: int = 0, max_records: int | None = None) -> Any:
        """Note when the first poll beside the work has brought something."""
        found = super().poll(timeout_ms=timeout_ms, max_records=max_records)
        if found and max_records is None:
            self.early = False
        return found


def test_kafka_puts_back_what_comes_beside_the_work(topic: str) -> None:
    with KafkaProducer(**settings()) as producer:
        for event in EVENTS:
            producer.send(topic, json.dumps(event).encode())
    with (
        LateConsumer(
            group_id=topic,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            **settings(),
        ) as consumer,
        ThreadPoolExecutor(1) as pool,
    ):
        consumer.assign([TopicPartition(topic, 0)])
        handled: list[Event] = []

        def wait_for_more(event: Event) -> None:
            while consumer.early:
                pass
            handled.append(event)

        kafka_task.read_within(consumer, wait_for_more, pool, 2, PATIENCE_MS)
        kafka_task.read_within(consumer, wait_for_more, pool, 9, PATIENCE_MS)
    assert handled == EVENTS


@claim(servers="kafka", since="0.8")
def test_kafka_python_keeps_all_unsent_records_in_memory(
    own_kafka: OwnKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the broker hangs, kafka-python's `send` takes records beyond the 32 MiB at
    which Java's blocks: it refuses the setting `buffer_memory`, and has no bound.
    """
    with own_kafka() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        with pytest.raises(ValueError, match="buffer_memory"):
            KafkaProducer(buffer_memory=33_554_432, **settings())
        with temporary_topic() as topic, KafkaProducer(**settings()) as producer:
            producer.send(topic, b"first").get(PATIENCE_S)
            server.brokers[0].pause()
            try:
                sent = [producer.send(topic, bytes(500_000)) for _ in range(80)]
                answered = [each for each in sent if each.is_done]
            finally:
                server.brokers[0].resume()
            offsets = [each.get(PATIENCE_S).offset for each in sent]
    assert answered == []
    assert offsets == list(range(1, 81))
