"""Process exactly once: each event has one result, whatever crashes in between."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Protocol

import pytest
from kafka import KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.errors import CommitFailedError, KafkaError
from redis import Redis, RedisCluster, ResponseError

from snippets import servers
from snippets.kafka import settings, temporary_topic
from snippets.kafka.process_exactly_once import (
    process_exactly_once as kafka_process_exactly_once,
)
from snippets.kafka.read_group import join as kafka_join
from snippets.redis_streams import connect, temporary_stream
from snippets.redis_streams.process_exactly_once import (
    process_exactly_once as redis_process_exactly_once,
)
from snippets.servers.ready import attempts
from tests.ledger import claim
from tests.tasks.logs import PATIENCE_S, Event
from tests.tasks.nodes import node_of
from tests.tasks.topics import read_topic, transactional
from tests.tasks.workers import killed

OwnRedis = Callable[..., AbstractContextManager[servers.Redis]]

EVENTS: list[dict[Any, Any]] = [{"order": str(number)} for number in range(3)]
PATIENCE_MS = int(PATIENCE_S * 1000)


class Mill(Protocol):
    """A log, one consumer of it, and a log for the results."""

    def append(self, event: Event) -> None:
        """Append an event."""

    def process(self, transform: Callable[[Event], Event]) -> int:
        """Process a batch."""

    def die(self, where: str) -> None:
        """Let a process begin that is killed in its second event, or after its first."""

    def results(self) -> list[str]:
        """Read which orders have a result."""

    def unacknowledged(self) -> int:
        """Count what is pending or not read, or not committed."""


def invoice(event: Event) -> Event:
    """Make a result."""
    return {"invoice": event["order"]}


class RedisMill:
    """Two streams."""

    def __init__(self, redis: Redis, stream: str, target: str) -> None:
        """Create the group."""
        self._redis, self._stream, self._target = redis, stream, target
        redis.xgroup_create(stream, "billing", id="0", mkstream=True)

    def append(self, event: Event) -> None:
        """Append an entry."""
        fields: dict[Any, Any] = dict(event)
        self._redis.xadd(self._stream, fields)

    def process(self, transform: Callable[[Event], Event]) -> int:
        """Process a batch."""
        return redis_process_exactly_once(
            *(self._redis, self._stream, "billing", "worker-1", self._target, transform),
            block_ms=1,
        )

    def die(self, where: str) -> None:
        """Let a process begin that is killed in its second event, or after its first."""
        killed(
            """
            from snippets.redis_streams import connect
            from snippets.redis_streams.process_exactly_once import process_exactly_once
            from tests.tasks.test_process_exactly_once import invoice
            stream, target, where = sys.argv[1:]
            redis, eval = connect(), connect().eval
            die = lambda: os.kill(os.getpid(), 9)
            if where == "after the first":
                redis.eval = lambda *args: (eval(*args), die())
            transform = lambda event: die() if event["order"] == "1" else invoice(event)
            process_exactly_once(redis, stream, "billing", "worker-1", target, transform)
            """,
            *(self._stream, self._target, where),
        )

    def results(self) -> list[str]:
        """Read which orders have a result."""
        entries: Any = self._redis.xrange(self._target)
        return [result["invoice"] for _, result in entries]

    def unacknowledged(self) -> int:
        """Count what is pending or not read."""
        (group,) = self._redis.xinfo_groups(self._stream)
        return int(group["pending"] + group["lag"])


class KafkaMill:
    """Two topics."""

    def __init__(self, topic: str, target: str, stack: ExitStack) -> None:
        """Take the partition without joining, so that nobody waits for the killed."""
        self._topic, self._target, self._stack = topic, target, stack
        self._partition = TopicPartition(topic, 0)
        self._shop = stack.enter_context(KafkaProducer(**settings()))
        self._consumer = stack.enter_context(assigned(topic))
        self._producer = stack.enter_context(transactional(topic))

    def append(self, event: Event) -> None:
        """Append a record."""
        self._shop.send(self._topic, json.dumps(event).encode()).get(PATIENCE_S)

    def process(self, transform: Callable[[Event], Event]) -> int:
        """Process a batch."""
        end = self._consumer.end_offsets([self._partition])[self._partition]
        there = self._consumer.position(self._partition) < end
        return kafka_process_exactly_once(
            *(self._consumer, self._producer, self._target, transform),
            timeout_ms=PATIENCE_MS if there else 1,
        )

    def die(self, where: str) -> None:
        """Let a process begin that is killed in its second event, or at its commit."""
        killed(
            """
            from snippets.kafka.process_exactly_once import process_exactly_once
            from tests.tasks.test_process_exactly_once import *
            topic, target, where = sys.argv[1:]
            producer = transactional(topic)
            def die(event):
                producer.flush()
                os.kill(os.getpid(), 9)
            def transform(event):
                return die(event) if event["order"] == "1" else invoice(event)
            if where == "after the first":
                producer.commit_transaction = lambda: die(None)
                transform = invoice
            args = (assigned(topic), producer, target, transform)
            process_exactly_once(*args, timeout_ms=60_000)
            """,
            *(self._topic, self._target, where),
        )
        assert len(read(self._target, "read_uncommitted")) > 0
        self._producer = self._stack.enter_context(transactional(self._topic))

    def results(self) -> list[str]:
        """Read which orders have a result."""
        return read(self._target, "read_committed")

    def unacknowledged(self) -> int:
        """Count what is not committed."""
        end = self._consumer.end_offsets([self._partition])[self._partition]
        return int(end - (self._consumer.committed(self._partition) or 0))


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


def read(topic: str, isolation_level: str) -> list[str]:
    """Read the results that are there for a reader of this level."""
    records = read_topic(topic, isolation_level)
    return [json.loads(each.value)["invoice"] for each in records]


@contextmanager
def redis_mill() -> Iterator[Mill]:
    """Make two streams for a test."""
    with (
        connect() as redis,
        temporary_stream(redis) as stream,
        temporary_stream(redis) as target,
    ):
        yield RedisMill(redis, stream, target)


@contextmanager
def kafka_mill() -> Iterator[Mill]:
    """Make two topics for a test."""
    with temporary_topic() as topic, temporary_topic() as target, ExitStack() as stack:
        yield KafkaMill(topic, target, stack)


@pytest.fixture(params=[redis_mill, kafka_mill], ids=["redis_streams", "kafka"])
def mill(
    request: pytest.FixtureRequest,
    redis: Redis,  # noqa: ARG001
    kafka_environment: None,  # noqa: ARG001
) -> Iterator[Mill]:
    """Both systems, one after the other."""
    with request.param() as mill:
        yield mill


def test_each_event_has_one_result(mill: Mill) -> None:
    for event in EVENTS:
        mill.append(event)
    processed = 0
    while mill.unacknowledged():
        processed += mill.process(invoice)
    assert processed == len(EVENTS)
    assert mill.process(invoice) == 0
    assert mill.results() == ["0", "1", "2"]


@pytest.mark.parametrize("where", ["in the second", "after the first"])
def test_each_event_has_one_result_although_its_consumer_was_killed(
    mill: Mill, where: str
) -> None:
    for event in EVENTS:
        mill.append(event)
    mill.die(where)
    assert mill.unacknowledged() > 0
    while mill.unacknowledged():
        mill.process(invoice)
    assert mill.results() == ["0", "1", "2"]


def test_each_event_has_one_result_although_its_work_failed(mill: Mill) -> None:
    for event in EVENTS:
        mill.append(event)

    def fail(event: Event) -> Event:
        if event["order"] == "1":
            raise LookupError("no such customer")
        return invoice(event)

    failures = 0
    while not failures:
        try:
            mill.process(fail)
        except LookupError:
            failures += 1
    while mill.unacknowledged():
        mill.process(invoice)
    assert mill.results() == ["0", "1", "2"]


def test_redis_adds_no_result_for_an_entry_that_was_claimed(
    redis: Redis, stream: str
) -> None:
    entry_id = redis.xadd(stream, EVENTS[0])
    redis.xgroup_create(stream, "billing", id="0")
    with temporary_stream(redis) as target:

        def lose_it(event: Event) -> Event:
            redis.xclaim(stream, "billing", "worker-2", 0, [entry_id])
            return invoice(event)

        args = (redis, stream, "billing")
        assert redis_process_exactly_once(*args, "worker-1", target, lose_it) == 0
        assert redis.xlen(target) == 0
        assert redis_process_exactly_once(*args, "worker-2", target, invoice, 10, 1) == 1
        assert redis.xlen(target) == 1


def test_redis_passes_over_a_pending_entry_that_was_trimmed(
    redis: Redis, stream: str
) -> None:
    redis.xadd(stream, EVENTS[0])
    redis.xgroup_create(stream, "billing", id="0")
    redis.xreadgroup("billing", "worker-1", {stream: ">"})
    redis.xtrim(stream, maxlen=0, approximate=False)
    target = f"{stream}-target"
    args = (redis, stream, "billing", "worker-1", target, invoice)
    assert redis_process_exactly_once(*args, block_ms=1) == 0
    assert redis.xpending(stream, "billing")["pending"] == 0


def test_redis_keeps_an_entry_whose_result_it_cannot_append(
    redis: Redis, stream: str
) -> None:
    redis.xadd(stream, EVENTS[0])
    redis.xgroup_create(stream, "billing", id="0")
    with temporary_stream(redis) as target:
        args = (redis, stream, "billing", "worker-1", target)
        with pytest.raises(ResponseError, match="number of arg"):
            redis_process_exactly_once(*args, lambda _: {})
        redis.set(target, "text")
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            redis_process_exactly_once(*args, invoice)
        with pytest.raises(ResponseError, match="NOGROUP"):
            redis_process_exactly_once(redis, stream, "b", "w", target, invoice)
    assert redis.xpending(stream, "billing")["pending"] == 1


@claim(servers="redis", since="5.0")
def test_redis_transaction_appends_for_an_entry_already_acknowledged(
    redis: Redis, stream: str
) -> None:
    """`XADD` and `XACK` in one `MULTI` give a slow consumer's entry a second result: the
    `XACK` finds nothing pending and returns 0, and the `XADD` is done.
    """
    entry_id = redis.xadd(stream, EVENTS[0])
    redis.xgroup_create(stream, "billing", id="0")
    redis.xreadgroup("billing", "worker-1", {stream: ">"})
    redis.xclaim(stream, "billing", "worker-2", 0, [entry_id])
    with temporary_stream(redis) as target:
        replies = []
        for _ in ("worker-2", "worker-1"):
            with redis.pipeline(transaction=True) as both:
                both.xack(stream, "billing", entry_id)
                both.xadd(target, EVENTS[0])
                replies.append(both.execute()[0])
        assert replies == [1, 0]
        assert redis.xlen(target) == 2


def test_redis_cluster_refuses_a_script_over_two_slots(cluster: RedisCluster) -> None:
    cluster.xadd("{orders}", EVENTS[0])
    cluster.xgroup_create("{orders}", "billing", id="0")
    node = node_of(cluster, "{orders}")
    args = ("{orders}", "billing", "worker-1")
    with pytest.raises(ResponseError, match="same slot"):
        redis_process_exactly_once(node, *args, "invoices", invoice)
    assert cluster.xpending("{orders}", "billing")["pending"] == 1
    client: Any = cluster
    assert (
        redis_process_exactly_once(client, *args, "{orders}:invoices", invoice, 1, 1) == 1
    )


@claim(servers="kafka", since="0.11")
def test_kafka_default_reader_sees_aborted_records(topic: str) -> None:
    """A Kafka consumer with the default isolation level reads the records of aborted
    transactions; with `read_committed` it doesn't.
    """
    with transactional(topic) as producer:
        for order, end in (
            ("0", producer.abort_transaction),
            ("1", producer.commit_transaction),
        ):
            producer.begin_transaction()
            producer.send(topic, json.dumps({"invoice": order}).encode())
            producer.flush()
            end()
    assert KafkaConsumer.DEFAULT_CONFIG["isolation_level"] == "read_uncommitted"
    assert read(topic, "read_uncommitted") == ["0", "1"]
    assert read(topic, "read_committed") == ["1"]


@claim(servers="kafka", since="0.11")
def test_kafka_fences_an_older_producer_with_the_same_id(topic: str) -> None:
    """When a second Kafka producer starts with the same `transactional.id`, the open
    transaction of the first is aborted and its commit is refused.
    """
    with temporary_topic() as target, assigned(topic) as consumer:
        with KafkaProducer(**settings()) as shop:
            shop.send(topic, json.dumps(EVENTS[0]).encode()).get(PATIENCE_S)
        older, newer = transactional(topic), None

        def be_replaced(event: Event) -> Event:
            nonlocal newer
            older.send(target, json.dumps(invoice(event)).encode())
            older.flush()
            newer = transactional(topic)
            return invoice(event)

        with pytest.raises(KafkaError, match=r"(?i)fenced|epoch"):
            kafka_process_exactly_once(
                *(consumer, older, target, be_replaced), timeout_ms=PATIENCE_MS
            )
        assert newer is not None
        assert read(target, "read_committed") == []
        sent = kafka_process_exactly_once(
            *(consumer, newer, target, invoice), timeout_ms=PATIENCE_MS
        )
        older.close()
        newer.close()
        assert sent == 1
        assert read(target, "read_committed") == ["0"]


@claim(servers="kafka", since="2.5")
def test_kafka_transaction_checks_only_a_generation_that_is_named(topic: str) -> None:
    """When a Kafka consumer has lost its partitions, a transaction with its offsets is
    refused if it names the generation of its membership, and committed if it names none.
    """
    group, level = f"billing {topic}", {"isolation_level": "read_committed"}
    fast = {"max_poll_interval_ms": 1000, "heartbeat_interval_ms": 300}
    with (
        temporary_topic() as target,
        KafkaProducer(**settings()) as shop,
        kafka_join(topic, group, **fast, **level, **settings()) as stalled,
        kafka_join(topic, group, **level, **settings()) as heir,
        transactional(f"{topic} 1") as stalled_producer,
        transactional(f"{topic} 2") as heirs_producer,
    ):
        shop.send(topic, json.dumps(EVENTS[0]).encode()).get(PATIENCE_S)

        def stall(event: Event) -> Event:
            kafka_process_exactly_once(
                *(heir, heirs_producer, target, invoice), timeout_ms=PATIENCE_MS
            )
            return invoice(event)

        with pytest.raises(CommitFailedError):
            kafka_process_exactly_once(
                *(stalled, stalled_producer, target, stall), timeout_ms=PATIENCE_MS
            )
        assert read(target, "read_committed") == ["0"]
        nameless = stalled.group_metadata()
        assert nameless.generation_id == -1
        stalled_producer.begin_transaction()
        stalled_producer.send(target, json.dumps(invoice(EVENTS[0])).encode())
        done = {TopicPartition(topic, 0): OffsetAndMetadata(1, "", -1)}
        stalled_producer.send_offsets_to_transaction(done, nameless)
        stalled_producer.commit_transaction()
        assert read(target, "read_committed") == ["0", "0"]


def test_kafka_refuses_a_consumer_that_the_group_has_given_up(
    topic: str, producer: KafkaProducer
) -> None:
    producer.send(topic, json.dumps(EVENTS[0]).encode()).get(PATIENCE_S)
    fast = {"max_poll_interval_ms": 300, "heartbeat_interval_ms": 100}
    with (
        transactional(topic) as writer,
        kafka_join(topic, f"billing {topic}", **fast, **settings()) as stalled,
    ):
        poll = stalled.poll

        def poll_and_stall(**options: Any) -> Any:
            batch = poll(**options)
            for _ in attempts(PATIENCE_S):
                if stalled.group_metadata().generation_id < 0:
                    break
            return batch

        stalled.poll = poll_and_stall
        with pytest.raises(CommitFailedError, match="given this consumer up"):
            kafka_process_exactly_once(
                *(stalled, writer, topic, invoice), timeout_ms=PATIENCE_MS
            )
    assert len(read_topic(topic)) == 1
