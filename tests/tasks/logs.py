"""The two systems behind one interface, for what both promise.

The methods call the snippets as a reader would. What differs between the systems stays
out of here: it is tested by name.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import Any, Protocol

from kafka import KafkaConsumer, KafkaProducer
from redis import Redis

from snippets.kafka import settings, temporary_topic
from snippets.kafka.append import append as kafka_append
from snippets.kafka.claim_stalled import claim_stalled as kafka_claim_stalled
from snippets.kafka.read_group import join as kafka_join
from snippets.kafka.read_group import read_group as kafka_read_group
from snippets.redis_streams import connect, temporary_stream
from snippets.redis_streams.append import append as redis_append
from snippets.redis_streams.claim_stalled import claim_stalled as redis_claim_stalled
from snippets.redis_streams.read_group import join as redis_join
from snippets.redis_streams.read_group import read_group as redis_read_group

Event = dict[str, str]
Handle = Callable[[Event], None]

# A new consumer waits this long for its partitions, on a busy machine.
PATIENCE_S = 60.0


class Consumer(Protocol):
    """A member of a group."""

    def read(self, handle: Handle, count: int) -> int:
        """Handle and acknowledge a batch."""

    def take(self, count: int) -> list[Event]:
        """Take a batch, and acknowledge nothing."""

    def claim(self, handle: Handle) -> int:
        """Handle what a member that is gone has left."""

    def leave(self) -> None:
        """Be gone without having acknowledged what was taken."""


class Log(Protocol):
    """A stream or a topic of one partition."""

    def append(self, event: Event) -> object:
        """Append an event and return its position."""

    def events(self, count: int) -> list[Event]:
        """Read the first events."""

    def consumer(self, group: str, name: str) -> Consumer:
        """Make a member of a group."""


class RedisConsumer:
    """A consumer of a Redis group."""

    def __init__(self, redis: Redis, stream: str, group: str, name: str) -> None:
        """Create the group if there is none."""
        redis_join(redis, stream, group)
        self._redis, self._stream, self._group, self._name = redis, stream, group, name

    def read(self, handle: Handle, count: int) -> int:
        """Handle and acknowledge a batch."""
        return redis_read_group(
            self._redis, self._stream, self._group, self._name, handle, count, block_ms=1
        )

    def take(self, count: int) -> list[Event]:
        """Take a batch, and acknowledge nothing."""
        streams: dict[Any, Any] = {self._stream: ">"}
        batch: Any = self._redis.xreadgroup(self._group, self._name, streams, count=count)
        return [event for _, entries in batch for _, event in entries]

    def claim(self, handle: Handle) -> int:
        """Handle what a member that is gone has left."""
        return redis_claim_stalled(
            self._redis, self._stream, self._group, self._name, 0, handle
        )

    def leave(self) -> None:
        """Be gone: for Redis, a consumer is a name that commands carry."""


class RedisLog:
    """A stream."""

    def __init__(self, redis: Redis, stream: str) -> None:
        """Use a client and the stream's key."""
        self._redis, self._stream = redis, stream

    def append(self, event: Event) -> object:
        """Append an entry and return its ID."""
        return redis_append(self._redis, self._stream, event)

    def events(self, count: int) -> list[Event]:
        """Read the first entries."""
        entries: Any = self._redis.xrange(self._stream, count=count)
        return [event for _, event in entries]

    def consumer(self, group: str, name: str) -> RedisConsumer:
        """Make a consumer of a group."""
        return RedisConsumer(self._redis, self._stream, group, name)


class KafkaGroupConsumer:
    """A consumer of a Kafka group."""

    def __init__(self, consumer: KafkaConsumer) -> None:
        """Use a consumer that has joined."""
        self._consumer = consumer

    def read(self, handle: Handle, count: int) -> int:
        """Handle and acknowledge a batch."""
        if not self._consumer.assignment():
            timeout_ms = int(PATIENCE_S * 1000)
            return kafka_read_group(self._consumer, handle, count, timeout_ms)
        return kafka_read_group(self._consumer, handle, count, timeout_ms=1000)

    def take(self, count: int) -> list[Event]:
        """Take a batch, and acknowledge nothing."""
        return [json.loads(each.value) for each in islice(self._consumer, count)]

    def claim(self, handle: Handle) -> int:
        """Handle what a member that is gone has left."""
        return kafka_claim_stalled(self._consumer, handle, PATIENCE_S)

    def leave(self) -> None:
        """Close without a commit, so that the group needn't wait for a timeout."""
        self._consumer.close(autocommit=False)


class KafkaLog:
    """A topic of one partition."""

    def __init__(self, producer: KafkaProducer, topic: str, stack: ExitStack) -> None:
        """Use a producer and the topic's name; consumers are closed with the stack."""
        self._producer, self._topic, self._stack = producer, topic, stack

    def append(self, event: Event) -> object:
        """Append a record and return its partition and offset."""
        return kafka_append(self._producer, self._topic, event)

    def events(self, count: int) -> list[Event]:
        """Read the first records."""
        with KafkaConsumer(
            self._topic, auto_offset_reset="earliest", **settings()
        ) as consumer:
            return [json.loads(each.value) for each in islice(consumer, count)]

    def consumer(self, group: str, name: str) -> KafkaGroupConsumer:
        """Make a consumer of a group."""
        joined = kafka_join(self._topic, group, client_id=name, **settings())
        return KafkaGroupConsumer(self._stack.enter_context(joined))


@contextmanager
def redis_log() -> Iterator[Log]:
    """Make a stream for a test."""
    with connect() as redis, temporary_stream(redis) as stream:
        yield RedisLog(redis, stream)


@contextmanager
def kafka_log() -> Iterator[Log]:
    """Make a topic for a test."""
    with (
        temporary_topic() as topic,
        KafkaProducer(**settings()) as producer,
        ExitStack() as stack,
    ):
        yield KafkaLog(producer, topic, stack)
