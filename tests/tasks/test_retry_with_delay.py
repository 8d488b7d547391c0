"""Try again later: in both a crash between loses nothing and repeats nothing."""

import json
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Protocol

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import CommitFailedError, MessageSizeTooLargeError
from redis import ConnectionError as RedisConnectionError
from redis import Redis, ResponseError

from snippets import servers
from snippets.kafka import settings, temporary_topic
from snippets.kafka.read_group import join as kafka_join
from snippets.kafka.retry_with_delay import move_due as kafka_move_due
from snippets.kafka.retry_with_delay import retry_later as kafka_retry_later
from snippets.redis_streams import connect, temporary_stream
from snippets.redis_streams.retry_with_delay import move_due as redis_move_due
from snippets.redis_streams.retry_with_delay import retry_later as redis_retry_later
from snippets.servers.ready import attempts, until_redis_answers
from tests.ledger import claim
from tests.tasks.logs import PATIENCE_S, Event
from tests.tasks.workers import killed

OwnRedis = Callable[..., AbstractContextManager[servers.Redis]]

EVENTS: list[dict[Any, Any]] = [{"order": str(number)} for number in range(3)]
PATIENCE_MS = int(PATIENCE_S * 1000)
HOUR_MS = 3_600_000


class Waiting(Protocol):
    """A log with one consumer, where failed events wait, and where they go then."""

    def put_off(self, event: Event, delay_ms: int, attempt: str | None = None) -> None:
        """Append an event, read it, and put it off."""

    def move_due(self, count: int = 100, *, wait: bool = True) -> int:
        """Move what is due; wait until something is, or only look."""

    def move_due_and_die(self) -> None:
        """Let a process move what is due that is killed before it learns of it."""

    def arrived(self) -> list[tuple[str, str]]:
        """Read the orders that came back, and their attempts."""

    def unacknowledged(self) -> int:
        """Count what is pending or not committed."""


class RedisWaiting:
    """A stream, a sorted set, and a stream for what comes back."""

    def __init__(self, redis: Redis, stream: str, later: str, target: str) -> None:
        """Create the group."""
        self._redis, self._stream = redis, stream
        self._later, self._target = later, target
        redis.xgroup_create(stream, "billing", id="0", mkstream=True)

    def put_off(self, event: Event, delay_ms: int, attempt: str | None = None) -> None:
        """Append an entry, read it, and put it off."""
        fields: dict[Any, Any] = event | ({"attempt": attempt} if attempt else {})
        self._redis.xadd(self._stream, fields)
        streams: dict[Any, Any] = {self._stream: ">"}
        batch: Any = self._redis.xreadgroup("billing", "worker-1", streams)
        ((_, ((entry_id, read),)),) = batch
        assert redis_retry_later(
            self._redis, self._stream, "billing", entry_id, read, self._later, delay_ms
        )

    def move_due(self, count: int = 100, *, wait: bool = True) -> int:
        """Move what is due; wait until something is, or only look."""
        for _ in attempts(PATIENCE_S):
            moved = redis_move_due(self._redis, self._later, self._target, count)
            if moved or not wait:
                break
        return moved

    def move_due_and_die(self) -> None:
        """Let a process move what is due that is killed before it learns of it."""
        killed(
            """
            from snippets.redis_streams import connect
            from snippets.redis_streams.retry_with_delay import move_due
            redis, (later, target) = connect(), sys.argv[1:]
            while redis.zcard(later):
                move_due(redis, later, target)
            os.kill(os.getpid(), 9)
            """,
            *(self._later, self._target),
        )

    def arrived(self) -> list[tuple[str, str]]:
        """Read the orders that came back, and their attempts."""
        entries: Any = self._redis.xrange(self._target)
        return [(event["order"], event["attempt"]) for _, event in entries]

    def unacknowledged(self) -> int:
        """Count what is pending."""
        return int(self._redis.xpending(self._stream, "billing")["pending"])


class KafkaWaiting:
    """A topic, a topic where records wait, and a topic for what comes back."""

    def __init__(self, topic: str, later: str, target: str, stack: ExitStack) -> None:
        """Take the partitions without joining, so that nobody waits for the killed."""
        self._topic, self._later, self._target = topic, later, target
        self._shop = stack.enter_context(KafkaProducer(**settings()))
        self._stack, self._producer = stack, stack.enter_context(transactional(later))
        self._consumer = stack.enter_context(assigned(topic))
        self._waiting = stack.enter_context(assigned(later))

    def put_off(self, event: Event, delay_ms: int, attempt: str | None = None) -> None:
        """Append a record, read it, and put it off."""
        headers = [("attempt", attempt.encode())] if attempt else []
        value = json.dumps(event).encode()
        self._shop.send(self._topic, value, headers=headers).get(PATIENCE_S)
        record = next(self._consumer)
        kafka_retry_later(self._consumer, self._producer, record, self._later, delay_ms)

    def move_due(self, count: int = 100, *, wait: bool = True) -> int:
        """Move what is due; wait until something is, or only look."""
        timeout_ms = PATIENCE_MS if wait else 300
        args = (self._waiting, self._producer, self._target, count, timeout_ms)
        return kafka_move_due(*args)

    def move_due_and_die(self) -> None:
        """Let a process move what is due that is killed before it commits."""
        killed(
            """
            from snippets.kafka.retry_with_delay import move_due
            from tests.tasks.test_retry_with_delay import assigned, transactional
            later, target = sys.argv[1:]
            producer = transactional(later)
            def die():
                producer.flush()
                os.kill(os.getpid(), 9)
            producer.commit_transaction = die
            move_due(assigned(later), producer, target, timeout_ms=60_000)
            """,
            *(self._later, self._target),
        )
        # The next with this id ends what the dead one has left open.
        self._producer = self._stack.enter_context(transactional(self._later))

    def arrived(self) -> list[tuple[str, str]]:
        """Read the orders that came back, and their attempts."""
        partition = TopicPartition(self._target, 0)
        with assigned(self._target) as consumer:
            end = consumer.end_offsets([partition])[partition]
            records = []
            while consumer.position(partition) < end:
                batch = consumer.poll(timeout_ms=100)
                records += [record for each in batch.values() for record in each]
        return [
            (json.loads(each.value)["order"], dict(each.headers)["attempt"].decode())
            for each in records
        ]

    def unacknowledged(self) -> int:
        """Count what is not committed."""
        partition = TopicPartition(self._topic, 0)
        end = self._consumer.end_offsets([partition])[partition]
        return int(end - self._consumer.committed(partition))


def transactional(name: str) -> KafkaProducer:
    """Make a producer for transactions."""
    producer = KafkaProducer(transactional_id=f"mover of {name}", **settings())
    producer.init_transactions()
    return producer


def assigned(topic: str) -> KafkaConsumer:
    """Make a consumer that has the only partition at once, and commits for a group."""
    consumer = KafkaConsumer(
        group_id=f"billing {topic}",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        isolation_level="read_committed",
        **settings(),
    )
    consumer.assign([TopicPartition(topic, 0)])
    return consumer


@contextmanager
def redis_waiting() -> Iterator[Waiting]:
    """Make three keys for a test."""
    with (
        connect() as redis,
        temporary_stream(redis) as stream,
        temporary_stream(redis) as later,
        temporary_stream(redis) as target,
    ):
        yield RedisWaiting(redis, stream, later, target)


@contextmanager
def kafka_waiting() -> Iterator[Waiting]:
    """Make three topics for a test."""
    with (
        temporary_topic() as topic,
        temporary_topic() as later,
        temporary_topic() as target,
        ExitStack() as stack,
    ):
        yield KafkaWaiting(topic, later, target, stack)


@pytest.fixture(params=[redis_waiting, kafka_waiting], ids=["redis_streams", "kafka"])
def waiting(
    request: pytest.FixtureRequest,
    redis: Redis,  # noqa: ARG001
    kafka_environment: None,  # noqa: ARG001
) -> Iterator[Waiting]:
    """Both systems, one after the other."""
    with request.param() as waiting:
        yield waiting


def test_what_is_put_off_comes_back_once(waiting: Waiting) -> None:
    waiting.put_off(EVENTS[0], 1)
    assert waiting.unacknowledged() == 0
    assert waiting.move_due() == 1
    assert waiting.move_due(wait=False) == 0
    assert waiting.arrived() == [("0", "2")]


def test_what_is_not_due_waits(waiting: Waiting) -> None:
    waiting.put_off(EVENTS[0], 1)
    waiting.put_off(EVENTS[1], HOUR_MS)
    assert waiting.move_due() == 1
    assert waiting.move_due(wait=False) == 0
    assert waiting.arrived() == [("0", "2")]
    assert waiting.unacknowledged() == 0


def test_what_fails_again_counts_its_attempts(waiting: Waiting) -> None:
    waiting.put_off(EVENTS[0], 1, attempt="5")
    waiting.move_due()
    assert waiting.arrived() == [("0", "6")]


def test_moves_no_more_than_it_is_asked_to(waiting: Waiting) -> None:
    for event in EVENTS:
        waiting.put_off(event, 1)
    moved: list[int] = []
    while sum(moved) < len(EVENTS):
        moved.append(waiting.move_due(count=2))
    assert max(moved) <= 2
    assert waiting.arrived() == [("0", "2"), ("1", "2"), ("2", "2")]


def test_a_mover_that_is_killed_loses_nothing_and_repeats_nothing(
    waiting: Waiting,
) -> None:
    for event in EVENTS:
        waiting.put_off(event, 1)
    waiting.move_due_and_die()
    waiting.move_due(wait=not waiting.arrived())
    assert waiting.arrived() == [("0", "2"), ("1", "2"), ("2", "2")]


def test_refuses_a_delay_and_a_count_below_one(waiting: Waiting) -> None:
    with pytest.raises(ValueError, match="delay_ms must be at least 1, not 0"):
        waiting.put_off(EVENTS[0], 0)
    with pytest.raises(ValueError, match="count must be at least 1, not 0"):
        waiting.move_due(count=0)
    assert waiting.arrived() == []


@claim(servers="redis", since="5.0")
def test_redis_id_in_the_future_delays_nothing(redis: Redis, stream: str) -> None:
    """A Redis entry whose ID lies an hour ahead is read at once, and entries without a
    chosen ID come after it, with IDs an hour ahead too.
    """
    seconds: Any = redis.time()[0]
    ahead = f"{seconds * 1000 + HOUR_MS}-0"
    redis.xadd(stream, EVENTS[0], id=ahead)
    redis.xgroup_create(stream, "billing", id="0")
    batch: Any = redis.xreadgroup("billing", "worker-1", {stream: ">"})
    assert batch == [[stream, [(ahead, EVENTS[0])]]]
    assert redis.xadd(stream, EVENTS[1]) == ahead.replace("-0", "-1")


@claim(servers="redis", since="5.0")
def test_redis_script_is_whole_after_a_kill(own_redis: OwnRedis) -> None:
    """With an append-only file, a script that moves events between two keys is done or
    not done after a kill: each event is in one of them, none in both.
    """
    total = 3000
    with own_redis(config={"appendonly": "yes", "save": ""}) as server:
        with Redis.from_url(server.url, decode_responses=True, retry=None) as redis:
            members = {json.dumps([f"1-{n}", "order", str(n)]): 1 for n in range(total)}
            redis.zadd("later", members)
            mover = textwrap.dedent(
                """
                import sys, redis
                from snippets.redis_streams.retry_with_delay import move_due
                client = redis.Redis.from_url(sys.argv[1], retry=None)
                while move_due(client, "later", "orders", 7):
                    pass
                """
            )
            script = subprocess.Popen(
                [sys.executable, "-c", mover, server.url], stderr=subprocess.DEVNULL
            )
            for _ in attempts(PATIENCE_S):
                if redis.xlen("orders") > 50:
                    break
            server.nodes[0].kill()
            script.wait()
            with pytest.raises(RedisConnectionError):
                redis.ping()
        server.nodes[0].start()
        until_redis_answers(server.url, alive=lambda: None)
        with Redis.from_url(server.url, decode_responses=True) as redis:
            entries: Any = redis.xrange("orders")
            waiting: Any = redis.zrange("later", 0, -1)
    moved = [event["order"] for _, event in entries]
    left = [json.loads(each)[2] for each in waiting]
    assert moved
    assert sorted(map(int, moved + left)) == list(range(total))


def test_redis_puts_nothing_off_that_another_has_acknowledged(
    redis: Redis, stream: str
) -> None:
    entry_id = str(redis.xadd(stream, EVENTS[0]))
    redis.xgroup_create(stream, "billing", id="0")
    redis.xreadgroup("billing", "worker-1", {stream: ">"})
    redis.xack(stream, "billing", entry_id)
    later = f"{stream}-later"
    args = (redis, stream, "billing", entry_id, EVENTS[0], later, 1)
    assert not redis_retry_later(*args)
    assert not redis.exists(later)


def until_due(redis: Redis, later: str) -> None:
    """Wait until the server's clock has passed what waits."""
    for _ in attempts(PATIENCE_S):
        seconds, microseconds = redis.time()
        if redis.zcount(later, 0, seconds * 1000 + microseconds // 1000):
            break


def test_redis_keeps_what_it_cannot_move(redis: Redis, stream: str) -> None:
    entry_id = str(redis.xadd(stream, EVENTS[0]))
    redis.xgroup_create(stream, "billing", id="0")
    redis.xreadgroup("billing", "worker-1", {stream: ">"})
    with temporary_stream(redis) as later, temporary_stream(redis) as other:
        redis.set(other, "text")
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            redis_retry_later(redis, stream, "billing", entry_id, EVENTS[0], other, 1)
        with pytest.raises(ResponseError, match="NOGROUP"):
            redis_retry_later(redis, stream, "b", entry_id, EVENTS[0], later, 1)
        assert redis.xpending(stream, "billing")["pending"] == 1
        redis_retry_later(redis, stream, "billing", entry_id, EVENTS[0], later, 1)
        until_due(redis, later)
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            redis_move_due(redis, later, other)
        assert redis.zcard(later) == 1


def test_redis_keeps_the_text_and_the_order_of_the_fields(
    redis: Redis, stream: str
) -> None:
    event: dict[Any, Any] = {"z": "Käse 🧀", "a": '"\\', "m": ""}
    entry_id = str(redis.xadd(stream, event))
    redis.xgroup_create(stream, "billing", id="0")
    redis.xreadgroup("billing", "worker-1", {stream: ">"})
    with temporary_stream(redis) as later, temporary_stream(redis) as target:
        redis_retry_later(redis, stream, "billing", entry_id, event, later, 1)
        until_due(redis, later)
        assert redis_move_due(redis, later, target) == 1
        entries: Any = redis.xrange(target)
    ((_, moved),) = entries
    assert list(moved.items()) == [*event.items(), ("attempt", "2")]


@claim(servers="kafka", since="0.10")
def test_kafka_timestamp_in_the_future_delays_nothing(
    topic: str, producer: KafkaProducer
) -> None:
    """Kafka has no delayed delivery: a record whose timestamp lies half an hour ahead is
    read at once.
    """
    ahead = int(time.time() * 1000) + HOUR_MS // 2
    producer.send(topic, b"{}", timestamp_ms=ahead).get(PATIENCE_S)
    with assigned(topic) as consumer:
        assert next(consumer).timestamp == ahead


def test_kafka_record_that_waits_holds_up_those_behind_it(
    kafka_environment: None,  # noqa: ARG001
) -> None:
    with kafka_waiting() as waiting:
        waiting.put_off(EVENTS[0], HOUR_MS)
        waiting.put_off(EVENTS[1], 1)
        assert waiting.move_due(wait=False) == 0
        assert waiting.arrived() == []


def test_kafka_moves_all_or_nothing(topic: str, producer: KafkaProducer) -> None:
    large = json.dumps({"text": "x" * 300}).encode()
    narrow = KafkaProducer(transactional_id=topic, max_request_size=300, **settings())
    with (
        temporary_topic() as later,
        assigned(topic) as consumer,
        assigned(later) as waiting,
    ):
        with narrow:
            narrow.init_transactions()
            producer.send(topic, large).get(PATIENCE_S)
            record = next(consumer)
            with pytest.raises(MessageSizeTooLargeError):
                kafka_retry_later(consumer, narrow, record, later, 1)
            assert consumer.committed(TopicPartition(topic, 0)) is None
            assert next(consumer).value == large
            producer.send(later, large).get(PATIENCE_S)
            with pytest.raises(MessageSizeTooLargeError):
                kafka_move_due(waiting, narrow, topic, timeout_ms=PATIENCE_MS)
            assert waiting.committed(TopicPartition(later, 0)) is None
        with transactional(topic) as wide:
            assert kafka_move_due(waiting, wide, topic, timeout_ms=PATIENCE_MS) == 1
        assert next(consumer).value == large


def test_kafka_refuses_a_consumer_that_the_group_has_given_up(
    topic: str, producer: KafkaProducer
) -> None:
    producer.send(topic, json.dumps(EVENTS[0]).encode()).get(PATIENCE_S)
    fast = {"max_poll_interval_ms": 1000, "heartbeat_interval_ms": 300}
    with (
        temporary_topic() as later,
        transactional(later) as writer,
        kafka_join(topic, "billing", **fast, **settings()) as stalled,
    ):
        record = next(stalled)
        for _ in attempts(PATIENCE_S):
            if stalled.group_metadata().generation_id < 0:
                break
        with pytest.raises(CommitFailedError, match="given this consumer up"):
            kafka_retry_later(stalled, writer, record, later, 1)
        assert stalled.end_offsets([TopicPartition(later, 0)]) == {
            TopicPartition(later, 0): 0
        }
