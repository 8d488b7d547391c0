"""Set aside dead letters each time: both do; who counts, and what waits, differs."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any, Protocol

import pytest
from kafka import KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.errors import MessageSizeTooLargeError
from redis import Redis, ResponseError

from snippets.kafka import settings, temporary_topic
from snippets.kafka.dead_letter import dead_letter as kafka_dead_letter
from snippets.redis_streams import connect, temporary_stream
from snippets.redis_streams.dead_letter import dead_letter as redis_dead_letter
from snippets.redis_streams.dead_letter import set_aside as redis_set_aside
from tests.ledger import claim
from tests.tasks.logs import PATIENCE_S, Event
from tests.tasks.workers import killed

EVENTS: list[dict[Any, Any]] = [{"order": str(number)} for number in range(3)]
PATIENCE_MS = int(PATIENCE_S * 1000)


class Shelf(Protocol):
    """A log, one consumer of it, and the place for what fails."""

    def append(self, event: Event) -> None:
        """Append an event."""

    def handle_next(
        self, handle: Callable[[Event], object], max_deliveries: int = 3
    ) -> bool:
        """Handle the next event, or set it aside."""

    def die(self, max_deliveries: int) -> None:
        """Let a process handle the next event that is killed by it."""

    def dead(self, count: int) -> list[tuple[str, str]]:
        """Read the orders that were set aside, and why."""

    def unacknowledged(self) -> int:
        """Count what is pending or not committed."""


class RedisShelf:
    """A stream and its dead-letter stream."""

    def __init__(self, redis: Redis, stream: str, dead: str) -> None:
        """Create the group."""
        self._redis, self._stream, self._dead = redis, stream, dead
        redis.xgroup_create(stream, "billing", id="0", mkstream=True)

    def append(self, event: Event) -> None:
        """Append an entry."""
        fields: dict[Any, Any] = dict(event)
        self._redis.xadd(self._stream, fields)

    def handle_next(
        self, handle: Callable[[Event], object], max_deliveries: int = 3
    ) -> bool:
        """Handle the next entry, or set it aside."""
        return redis_dead_letter(
            *(self._redis, self._stream, "billing", "worker-1", self._dead, handle),
            max_deliveries=max_deliveries,
            min_idle_ms=0,
            block_ms=1,
        )

    def die(self, max_deliveries: int) -> None:
        """Let a process handle the next entry that is killed by it."""
        killed(
            """
            from snippets.redis_streams import connect
            from snippets.redis_streams.dead_letter import dead_letter
            stream, dead, most = sys.argv[1:]
            dead_letter(
                *(connect(), stream, "billing", "worker-0", dead),
                lambda event: os.kill(os.getpid(), 9),
                max_deliveries=int(most),
                min_idle_ms=0,
            )
            """,
            *(self._stream, self._dead, str(max_deliveries)),
        )

    def dead(self, count: int) -> list[tuple[str, str]]:
        """Read the orders that were set aside, and why."""
        letters: Any = self._redis.xrange(self._dead, count=count)
        assert [event["dead_source"].split()[0] for _, event in letters] == [
            self._stream
        ] * count
        return [(event["order"], event["dead_reason"]) for _, event in letters]

    def unacknowledged(self) -> int:
        """Count what is pending."""
        return int(self._redis.xpending(self._stream, "billing")["pending"])


class KafkaShelf:
    """A topic and its dead-letter topic."""

    def __init__(self, topic: str, dead: str) -> None:
        """Take the partition without joining, so that nobody waits for the killed."""
        self._topic, self._dead = topic, dead
        self._partition = TopicPartition(topic, 0)
        self._producer = KafkaProducer(**settings())
        self._consumer = assigned(topic)

    def close(self) -> None:
        """Close the clients."""
        self._producer.close()
        self._consumer.close(autocommit=False)

    def append(self, event: Event) -> None:
        """Append a record."""
        self._producer.send(self._topic, json.dumps(event).encode()).get(PATIENCE_S)

    def handle_next(
        self, handle: Callable[[Event], object], max_deliveries: int = 3
    ) -> bool:
        """Handle the next record, or set it aside."""
        end = self._consumer.end_offsets([self._partition])[self._partition]
        there = self._consumer.position(self._partition) < end
        return kafka_dead_letter(
            *(self._consumer, self._producer, self._dead, handle),
            max_deliveries=max_deliveries,
            timeout_ms=PATIENCE_MS if there else 1,
        )

    def die(self, max_deliveries: int) -> None:
        """Let a process handle the next record that is killed by it."""
        killed(
            """
            from kafka import KafkaProducer
            from snippets.kafka import settings
            from snippets.kafka.dead_letter import dead_letter
            from tests.tasks.test_dead_letter import assigned
            topic, dead, most = sys.argv[1:]
            dead_letter(
                *(assigned(topic), KafkaProducer(**settings()), dead),
                lambda event: os.kill(os.getpid(), 9),
                max_deliveries=int(most),
                timeout_ms=60_000,
            )
            """,
            *(self._topic, self._dead, str(max_deliveries)),
        )

    def dead(self, count: int) -> list[tuple[str, str]]:
        """Read the orders that were set aside, and why."""
        with KafkaConsumer(
            self._dead, auto_offset_reset="earliest", **settings()
        ) as consumer:
            letters = list(islice(consumer, count))
        headers = [dict(each.headers) for each in letters]
        assert [each["dead_source"].split()[0] for each in headers] == [
            self._topic.encode()
        ] * count
        return [
            (json.loads(letter.value)["order"], each["dead_reason"].decode())
            for letter, each in zip(letters, headers, strict=True)
        ]

    def unacknowledged(self) -> int:
        """Count what is not committed."""
        end = self._consumer.end_offsets([self._partition])[self._partition]
        return int(end - self._consumer.committed(self._partition))


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
def redis_shelf() -> Iterator[Shelf]:
    """Make two streams for a test."""
    with (
        connect() as redis,
        temporary_stream(redis) as stream,
        temporary_stream(redis) as dead,
    ):
        yield RedisShelf(redis, stream, dead)


@contextmanager
def kafka_shelf() -> Iterator[Shelf]:
    """Make two topics for a test."""
    with temporary_topic() as topic, temporary_topic() as dead:
        shelf = KafkaShelf(topic, dead)
        yield shelf
        shelf.close()


@pytest.fixture(params=[redis_shelf, kafka_shelf], ids=["redis_streams", "kafka"])
def shelf(
    request: pytest.FixtureRequest,
    redis: Redis,  # noqa: ARG001
    kafka_environment: None,  # noqa: ARG001
) -> Iterator[Shelf]:
    """Both systems, one after the other."""
    with request.param() as shelf:
        yield shelf


def fail_at_order_1(event: Event) -> None:
    """Bear every order but one."""
    if event["order"] == "1":
        raise LookupError("no such customer")


def go_on(step: Callable[[], bool]) -> None:
    """Go on until there is nothing left, whatever fails."""
    left = True
    while left:
        with suppress(LookupError):
            left = step()


def test_what_fails_each_time_is_set_aside_and_the_rest_is_handled(shelf: Shelf) -> None:
    for event in EVENTS:
        shelf.append(event)
    handled: list[Event] = []

    def handle(event: Event) -> None:
        fail_at_order_1(event)
        handled.append(event)

    go_on(lambda: shelf.handle_next(handle))
    assert handled == [EVENTS[0], EVENTS[2]]
    assert shelf.dead(1) == [("1", "LookupError('no such customer')")]
    assert shelf.unacknowledged() == 0


def test_what_fails_is_tried_as_often_as_it_may_be(shelf: Shelf) -> None:
    shelf.append(EVENTS[1])
    tried: list[Event] = []

    def handle(event: Event) -> None:
        tried.append(event)
        raise LookupError

    go_on(lambda: shelf.handle_next(handle, max_deliveries=4))
    assert tried == [EVENTS[1]] * 4


def test_what_fails_once_is_not_set_aside(shelf: Shelf) -> None:
    shelf.append(EVENTS[1])
    with pytest.raises(LookupError, match="no such customer"):
        shelf.handle_next(fail_at_order_1)
    assert shelf.unacknowledged() == 1
    handled: list[Event] = []
    assert shelf.handle_next(handled.append)
    assert handled == [EVENTS[1]]
    assert shelf.unacknowledged() == 0


def test_what_kills_its_consumer_is_set_aside_unseen(shelf: Shelf) -> None:
    for event in EVENTS:
        shelf.append(event)
    shelf.die(max_deliveries=2)
    shelf.die(max_deliveries=2)
    handled: list[Event] = []
    while shelf.handle_next(handled.append, max_deliveries=2):
        pass
    assert handled == EVENTS[1:]
    ((order, reason),) = shelf.dead(1)
    assert order == "0"
    assert "2 times and never" in reason
    assert shelf.unacknowledged() == 0


def test_refuses_to_try_less_than_once(shelf: Shelf) -> None:
    shelf.append(EVENTS[0])
    with pytest.raises(ValueError, match="at least 1, not 0"):
        shelf.handle_next(print, max_deliveries=0)
    handled: list[Event] = []
    shelf.handle_next(handled.append)
    assert handled == EVENTS[:1]


@claim(servers="redis", since="5.0")
def test_redis_counts_a_delivery_for_the_whole_batch(redis: Redis, stream: str) -> None:
    """Redis counts a delivery for every entry of a batch, also for those which the
    consumer had not begun when it was killed.
    """
    for event in EVENTS:
        redis.xadd(stream, event)
    redis.xgroup_create(stream, "billing", id="0")
    for start in (">", "0"):
        killed(
            """
            from snippets.redis_streams import connect
            _, stream, start = sys.argv
            ((_, entries),) = connect().xreadgroup("billing", "worker-1", {stream: start})
            for entry in entries:
                os.kill(os.getpid(), 9)
            """,
            *(stream, start),
        )
    pending = redis.xpending_range(stream, "billing", "-", "+", 10)
    assert [each["times_delivered"] for each in pending] == [2, 2, 2]


@claim(servers="redis", since="5.0")
def test_redis_transaction_goes_on_after_an_error(redis: Redis, stream: str) -> None:
    """An error inside `MULTI` stops and undoes nothing: where `XADD` fails because the
    key holds no stream, the `XACK` beside it is still done.
    """
    entry_id = redis.xadd(stream, EVENTS[0])
    redis.xgroup_create(stream, "billing", id="0")
    redis.xreadgroup("billing", "worker-1", {stream: ">"})
    with temporary_stream(redis) as dead, redis.pipeline(transaction=True) as both:
        redis.set(dead, "text")
        both.xadd(dead, EVENTS[0])
        both.xack(stream, "billing", entry_id)
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            both.execute()
    assert redis.xpending(stream, "billing")["pending"] == 0


@claim(servers="redis", since="8.8")
def test_redis_hands_a_refused_entry_on_at_once(redis: Redis, stream: str) -> None:
    """`XNACK` with `FAIL` gives an entry back and keeps its count: the next `XREADGROUP`
    with `CLAIM` gets it, however long it should have been idle.
    """
    entry_id = redis.xadd(stream, EVENTS[0])
    redis.xgroup_create(stream, "billing", id="0")
    redis.xreadgroup("billing", "worker-1", {stream: ">"})
    claiming: dict[str, Any] = {"count": 1, "claim_min_idle_time": 3_600_000}
    assert not redis.xreadgroup("billing", "worker-2", {stream: ">"}, **claiming)
    redis.xnack(stream, "billing", "FAIL", entry_id)
    batch: Any = redis.xreadgroup("billing", "worker-2", {stream: ">"}, **claiming)
    ((_, ((claimed_id, event, _, deliveries),)),) = batch
    assert (claimed_id, event, deliveries) == (entry_id, EVENTS[0], 1)


def test_redis_handles_others_while_a_failed_entry_is_not_yet_idle(
    redis: Redis, stream: str
) -> None:
    for event in EVENTS:
        redis.xadd(stream, event)
    redis.xgroup_create(stream, "billing", id="0")
    handled: list[Event] = []

    def handle(event: Event) -> None:
        handled.append(event)
        fail_at_order_1(event)

    dead = f"{stream}-dead"
    go_on(
        lambda: redis_dead_letter(
            redis, stream, "billing", "worker-1", dead, handle, block_ms=1
        )
    )
    assert handled == EVENTS
    assert redis.xpending(stream, "billing")["pending"] == 1


def test_redis_keeps_an_entry_that_it_cannot_set_aside(redis: Redis, stream: str) -> None:
    redis.xadd(stream, EVENTS[1])
    redis.xgroup_create(stream, "billing", id="0")
    with temporary_stream(redis) as dead:
        redis.set(dead, "text")
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            redis_dead_letter(
                *(redis, stream, "billing", "worker-1", dead, fail_at_order_1),
                max_deliveries=1,
            )
    assert redis.xpending(stream, "billing")["pending"] == 1


def test_redis_sets_nothing_aside_that_another_has_acknowledged(
    redis: Redis, stream: str
) -> None:
    entry_id = str(redis.xadd(stream, EVENTS[1]))
    redis.xgroup_create(stream, "billing", id="0")
    redis.xreadgroup("billing", "worker-1", {stream: ">"})
    redis.xack(stream, "billing", entry_id)
    with temporary_stream(redis) as dead:
        moved = redis_set_aside(
            redis, stream, "billing", entry_id, EVENTS[1], dead, "late"
        )
        assert not moved
        assert redis.xlen(dead) == 0


def test_redis_refuses_a_group_that_is_not_there(redis: Redis, stream: str) -> None:
    entry_id = str(redis.xadd(stream, EVENTS[0]))
    dead = f"{stream}-dead"
    with pytest.raises(ResponseError, match="NOGROUP"):
        redis_dead_letter(redis, stream, "billing", "worker-1", dead, print)
    with pytest.raises(ResponseError, match="NOGROUP"):
        redis_set_aside(redis, stream, "billing", entry_id, EVENTS[0], dead, "late")
    assert not redis.exists(dead)


@claim(servers="kafka", since="0.9")
def test_kafka_keeps_a_note_with_a_committed_offset(topic: str) -> None:
    """A Kafka commit may carry a text, which whoever gets the partition next finds beside
    the committed offset, even if the consumer was killed.
    """
    killed(
        """
        from kafka import OffsetAndMetadata, TopicPartition
        from tests.tasks.test_dead_letter import assigned
        note = OffsetAndMetadata(0, "second try", -1)
        assigned(sys.argv[1]).commit({TopicPartition(sys.argv[1], 0): note})
        os.kill(os.getpid(), 9)
        """,
        topic,
    )
    with assigned(topic) as another:
        found = another.committed(TopicPartition(topic, 0), metadata=True)
    assert (found.offset, found.metadata) == (0, "second try")


def test_kafka_holds_up_a_partition_and_not_the_others(
    kafka_environment: None,  # noqa: ARG001
) -> None:
    with (
        temporary_topic(partitions=2) as topic,
        KafkaProducer(**settings()) as producer,
        assigned(topic) as consumer,
    ):
        consumer.assign([TopicPartition(topic, 0), TopicPartition(topic, 1)])
        for partition, order in ((0, "1"), (0, "2"), (1, "3"), (1, "4")):
            value = json.dumps({"order": order}).encode()
            producer.send(topic, value, partition=partition)
        producer.flush()
        handled: list[str] = []

        def handle(event: Event) -> None:
            fail_at_order_1(event)
            handled.append(event["order"])

        while len(handled) < 2:
            with suppress(LookupError):
                kafka_dead_letter(consumer, producer, topic, handle, 99_999, PATIENCE_MS)
    assert handled == ["3", "4"]


def test_kafka_keeps_a_record_that_it_cannot_set_aside(
    topic: str, producer: KafkaProducer
) -> None:
    producer.send(topic, json.dumps(EVENTS[1]).encode()).get(PATIENCE_S)
    handled: list[Event] = []
    with (
        KafkaProducer(max_request_size=100, **settings()) as narrow,
        assigned(topic) as consumer,
    ):
        with pytest.raises(MessageSizeTooLargeError):
            kafka_dead_letter(consumer, narrow, topic, fail_at_order_1, 1, PATIENCE_MS)
        assert consumer.committed(TopicPartition(topic, 0)) == 0
        kafka_dead_letter(consumer, narrow, topic, handled.append, 2, PATIENCE_MS)
    assert handled == [EVENTS[1]]


def test_kafka_sets_aside_what_is_no_json(topic: str, producer: KafkaProducer) -> None:
    producer.send(topic, b"{").get(PATIENCE_S)
    with temporary_topic() as dead, assigned(topic) as consumer:
        kafka_dead_letter(consumer, producer, dead, print, 1, PATIENCE_MS)
        with KafkaConsumer(dead, auto_offset_reset="earliest", **settings()) as looker:
            assert next(looker).value == b"{"


def test_kafka_takes_a_note_of_others_for_no_count(
    topic: str, producer: KafkaProducer
) -> None:
    producer.send(topic, json.dumps(EVENTS[0]).encode()).get(PATIENCE_S)
    handled: list[Event] = []
    with assigned(topic) as consumer:
        consumer.commit({TopicPartition(topic, 0): OffsetAndMetadata(0, "a note", -1)})
        kafka_dead_letter(consumer, producer, topic, handled.append, 1, PATIENCE_MS)
    assert handled == EVENTS[:1]


def test_kafka_sets_aside_twice_when_killed_before_its_commit(
    topic: str, producer: KafkaProducer
) -> None:
    producer.send(topic, json.dumps(EVENTS[1]).encode()).get(PATIENCE_S)
    with temporary_topic() as dead, assigned(topic) as consumer:
        killed(
            """
            from kafka import KafkaProducer
            from snippets.kafka import settings
            from snippets.kafka.dead_letter import set_aside
            from tests.tasks.test_dead_letter import assigned
            topic, dead = sys.argv[1:]
            record = next(assigned(topic))
            set_aside(KafkaProducer(**settings()), record, dead, "first")
            os.kill(os.getpid(), 9)
            """,
            *(topic, dead),
        )
        kafka_dead_letter(consumer, producer, dead, fail_at_order_1, 1, PATIENCE_MS)
        with KafkaConsumer(dead, auto_offset_reset="earliest", **settings()) as looker:
            letters = list(islice(looker, 2))
    assert [json.loads(each.value) for each in letters] == [EVENTS[1]] * 2
