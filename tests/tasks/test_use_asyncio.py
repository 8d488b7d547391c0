"""Use asyncio: one loop appends and reads, and a cancelled task has lost nothing."""

import asyncio
import json
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.aio import AIOConsumer, AIOProducer
from redis import DataError, Redis, ResponseError
from redis.asyncio import Redis as AsyncRedis

from snippets.kafka import settings, temporary_topic
from snippets.kafka import use_asyncio as kafka_task
from snippets.redis_streams import use_asyncio as redis_task
from tests.ledger import claim
from tests.tasks.logs import PATIENCE_S, Event

EVENTS: list[Event] = [{"order": str(number)} for number in range(4)]
# Going back waits for the fetch that is under way.
QUICK = {"fetch.wait.max.ms": 20}
Handle = Callable[[Event], Awaitable[None]]


class Log(Protocol):
    """A log and a member of a group, in one loop."""

    async def append(self, events: list[Event]) -> list[Any]:
        """Append events."""

    async def read(self, handle: Handle, count: int, *, wait: bool = False) -> int:
        """Handle so many events, which are there or have to be waited for."""

    async def nothing_is_left(self) -> bool:
        """Tell whether the group has handled all."""


class RedisLog:
    """A stream."""

    def __init__(self, redis: AsyncRedis, stream: str) -> None:
        """Use a client."""
        self._redis, self._stream = redis, stream

    async def append(self, events: list[Event]) -> list[Any]:
        """Append entries."""
        ids: list[Any] = await redis_task.append_all(self._redis, self._stream, events)
        return ids

    async def read(self, handle: Handle, count: int, *, wait: bool = False) -> int:
        """Handle entries."""
        group = (self._redis, self._stream, "billing", "worker-1")
        block_ms = 4000 if wait else 1
        return await redis_task.read_group(*group, handle, count, block_ms)

    async def nothing_is_left(self) -> bool:
        """Look at the group's lag and its pending list."""
        groups: Any = await self._redis.xinfo_groups(self._stream)
        return bool(groups[0]["lag"] == 0 and groups[0]["pending"] == 0)


class KafkaLog:
    """A topic."""

    def __init__(self, producer: AIOProducer, consumer: AIOConsumer, topic: str) -> None:
        """Use a producer and a consumer."""
        self._producer, self._consumer, self._topic = producer, consumer, topic

    async def append(self, events: list[Event]) -> list[Any]:
        """Append records."""
        where: list[Any] = await kafka_task.append_all(
            self._producer, self._topic, events
        )
        return where

    async def read(
        self,
        handle: Handle,
        count: int,
        *,
        wait: bool = False,  # noqa: ARG002
    ) -> int:
        """Handle records; the first read waits for the partitions in any case."""
        return await kafka_task.read_group(self._consumer, handle, count, PATIENCE_S)

    async def nothing_is_left(self) -> bool:
        """Compare what is committed with the end."""
        (partition,) = await self._consumer.committed(await self._consumer.assignment())
        _, end = await self._consumer.get_watermark_offsets(partition)
        return bool(partition.offset == end)


@asynccontextmanager
async def redis_log(stream: str) -> AsyncIterator[Log]:
    """Join a group of a stream."""
    url = os.environ["REDIS_URL"]
    async with AsyncRedis.from_url(url, decode_responses=True) as redis:
        await redis_task.join(redis, stream, "billing")
        yield RedisLog(redis, stream)


@asynccontextmanager
async def kafka_log(topic: str) -> AsyncIterator[Log]:
    """Join a group of a topic."""
    config = {"bootstrap.servers": settings()["bootstrap_servers"]}
    async with (
        AIOProducer(dict(config)) as producer,
        await kafka_task.join(topic, topic, {**QUICK, **config}) as consumer,
    ):
        yield KafkaLog(producer, consumer, topic)


@pytest.fixture(params=["redis_streams", "kafka"])
def joined(
    request: pytest.FixtureRequest,
) -> Callable[[], AbstractAsyncContextManager[Log]]:
    """Join a group of a fresh log."""
    if request.param == "redis_streams":
        stream = request.getfixturevalue("stream")
        return lambda: redis_log(stream)
    topic = request.getfixturevalue("topic")
    return lambda: kafka_log(topic)


Joined = Callable[[], AbstractAsyncContextManager[Log]]


def test_what_is_appended_while_a_task_waits_is_handled_in_order(joined: Joined) -> None:
    handled: list[Event] = []

    async def note(event: Event) -> None:
        handled.append(event)

    async def story() -> None:
        async with joined() as log:
            worker = asyncio.create_task(log.read(note, 4, wait=True))
            await asyncio.sleep(0)
            assert len(set(await log.append(EVENTS))) == 4
            assert await worker == 4
            assert await log.nothing_is_left()

    asyncio.run(story())
    assert handled == EVENTS


def test_an_event_whose_work_fails_comes_again(joined: Joined) -> None:
    handled: list[Event] = []

    async def fail_at_order_1(event: Event) -> None:
        if event == EVENTS[1]:
            raise LookupError(event)
        handled.append(event)

    async def note(event: Event) -> None:
        handled.append(event)

    async def story() -> None:
        async with joined() as log:
            await log.append(EVENTS)
            for _ in range(2):
                with pytest.raises(LookupError):
                    await log.read(fail_at_order_1, 4 - len(handled))
            while len(handled) < 4:
                await log.read(note, 4 - len(handled))
            assert await log.nothing_is_left()

    asyncio.run(story())
    assert handled == EVENTS


def test_a_task_that_is_cancelled_in_its_work_has_lost_nothing(joined: Joined) -> None:
    handled: list[Event] = []

    async def note(event: Event) -> None:
        handled.append(event)

    async def story() -> None:
        at_work = asyncio.Event()

        async def never_end(_: Event) -> None:
            at_work.set()
            await asyncio.Event().wait()

        async with joined() as log:
            await log.append(EVENTS)
            worker = asyncio.create_task(log.read(never_end, 4))
            await at_work.wait()
            worker.cancel()
            with pytest.raises(asyncio.CancelledError):
                await worker
            await log.read(note, 4)
            assert await log.nothing_is_left()

    asyncio.run(story())
    assert handled == EVENTS


def test_an_event_without_fields_is_refused_and_nothing_is_appended(
    joined: Joined,
) -> None:
    handled: list[Event] = []

    async def note(event: Event) -> None:
        handled.append(event)

    async def story() -> None:
        async with joined() as log:
            with pytest.raises((DataError, ValueError), match="at least one field"):
                await log.append([EVENTS[0], {}, EVENTS[1]])
            await log.append(EVENTS[2:3])
            await log.read(note, 1)
            assert await log.nothing_is_left()

    asyncio.run(story())
    assert handled == EVENTS[2:3]


def blocked(redis: Redis) -> int:
    """Count the clients that wait in a command."""
    info: Any = redis.info("clients")
    return int(info["blocked_clients"])


def test_redis_loses_nothing_when_a_waiting_task_is_cancelled(
    redis: Redis, stream: str
) -> None:
    handled: list[Event] = []

    async def note(event: Event) -> None:
        handled.append(event)

    async def story() -> None:
        before = blocked(redis)
        async with redis_log(stream) as log:
            worker = asyncio.create_task(log.read(note, 4, wait=True))
            while blocked(redis) == before:
                await asyncio.sleep(0)
            # Until Python 3.12 a cancellation is lost that comes just when a command has
            # been sent.
            while not worker.done():
                worker.cancel()
                await asyncio.sleep(0)
            with pytest.raises(asyncio.CancelledError):
                await worker
            await log.append(EVENTS)
            assert await log.read(note, 4) == 4
            assert await log.nothing_is_left()

    asyncio.run(story())
    assert handled == EVENTS


def test_redis_begins_with_what_was_delivered_to_nobody_who_lives(
    redis: Redis, stream: str
) -> None:
    handled: list[Event] = []

    async def note(event: Event) -> None:
        handled.append(event)

    async def story() -> None:
        async with redis_log(stream) as log:
            first, *_ = await log.append(EVENTS)
            # As if the reply had come for a task that was cancelled just then.
            redis.xreadgroup("billing", "worker-1", {stream: ">"}, count=2)
            redis.xdel(stream, first)
            await log.read(note, 4)
            assert await log.nothing_is_left()

    asyncio.run(story())
    assert handled == EVENTS[1:]


def test_redis_refuses_what_is_no_stream_or_no_group(redis: Redis, stream: str) -> None:
    async def story() -> None:
        url = os.environ["REDIS_URL"]
        async with AsyncRedis.from_url(url, decode_responses=True) as client:
            redis.set(stream, "text")
            with pytest.raises(ResponseError, match="WRONGTYPE"):
                await redis_task.join(client, stream, "billing")
            with pytest.raises(ResponseError, match="WRONGTYPE"):
                await redis_task.append_all(client, stream, EVENTS)
            redis.delete(stream)
            await redis_task.join(client, stream, "billing")
            await redis_task.join(client, stream, "billing")
            with pytest.raises(ResponseError, match="NOGROUP"):
                await redis_task.read_group(
                    client, stream, "shipping", "worker-1", _nothing
                )

    asyncio.run(story())


async def _nothing(_: Event) -> None:
    """Handle an event by doing nothing."""


@claim(servers="redis", since="5.0")
def test_redis_blocked_connection_answers_nothing_else(redis: Redis, stream: str) -> None:
    """A Redis connection that waits in `XREAD` with `BLOCK` gets no answer to a command
    sent after it until an entry has come; other connections are served meanwhile.
    """
    before = blocked(redis)
    waiting: Any = redis.connection_pool.get_connection()
    try:
        waiting.send_command("XREAD", "BLOCK", "0", "STREAMS", stream, "$")
        waiting.send_command("PING")
        while blocked(redis) == before:
            assert redis.ping()
        assert not waiting.can_read(timeout=0.1)
        redis.xadd(stream, {"order": "0"})
        assert stream in str(waiting.read_response())
        assert waiting.read_response() == "PONG"
    finally:
        redis.connection_pool.release(waiting)


@claim(servers="redis", since="5.0")
def test_redis_closed_connection_takes_no_entry(redis: Redis, stream: str) -> None:
    """When a connection closes while it waits in `XREADGROUP` with `BLOCK`, its consumer
    gets nothing: an entry appended after that goes to the next one that reads.
    """
    redis.xgroup_create(stream, "billing", mkstream=True)
    before = blocked(redis)
    waiting: Any = redis.connection_pool.get_connection()
    waiting.send_command(
        *("XREADGROUP", "GROUP", "billing", "worker-1"),
        *("BLOCK", "0", "STREAMS", stream, ">"),
    )
    while blocked(redis) == before:
        assert redis.ping()
    waiting.disconnect()
    redis.connection_pool.release(waiting)
    while blocked(redis) > before:
        assert redis.ping()
    entry_id = redis.xadd(stream, {"order": "0"})
    assert redis.xpending(stream, "billing")["pending"] == 0
    batch: Any = redis.xreadgroup("billing", "worker-2", {stream: ">"})
    assert batch == [[stream, [(entry_id, {"order": "0"})]]]


class Announcing(ThreadPoolExecutor):
    """Tells when it has begun with something."""

    def __init__(self) -> None:
        """Begin with nothing."""
        super().__init__(4)
        self.begun = threading.Event()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Do something, and tell when it begins."""

        def announced() -> Any:
            self.begun.set()
            return fn(*args, **kwargs)

        return super().submit(announced)


async def position(consumer: AIOConsumer) -> int:
    """Tell which offset of a topic of one partition is the next."""
    (partition,) = await consumer.position(await consumer.assignment())
    return int(partition.offset)


@pytest.mark.parametrize("shielded", [True, False])
def test_kafka_loses_nothing_when_a_waiting_task_is_cancelled(
    topic: str,
    shielded: bool,  # noqa: FBT001
) -> None:
    handled: list[Event] = []

    async def note(event: Event) -> None:
        handled.append(event)

    async def story() -> None:
        config = {"bootstrap.servers": settings()["bootstrap_servers"]}
        threads = Announcing()
        async with (
            AIOProducer(dict(config)) as producer,
            AIOConsumer(
                {"group.id": topic, "auto.offset.reset": "earliest", **config},
                executor=threads,
            ) as consumer,
        ):
            await consumer.subscribe([topic])
            await kafka_task.append_all(producer, topic, EVENTS[:1])
            assert await kafka_task.read_group(consumer, note, 1, PATIENCE_S) == 1
            threads.begun.clear()
            # It waits for two, and only one will come.
            wait_for_two = (
                kafka_task.read_group(consumer, note, 2, 0.5)
                if shielded
                else consumer.consume(2, 0.5)
            )
            worker = asyncio.ensure_future(wait_for_two)
            await asyncio.get_running_loop().run_in_executor(None, threads.begun.wait)
            worker.cancel()
            await kafka_task.append_all(producer, topic, EVENTS[1:2])
            with pytest.raises(asyncio.CancelledError):
                await worker
            while not shielded and await position(consumer) < 2:
                pass
            await kafka_task.append_all(producer, topic, EVENTS[2:3])
            await kafka_task.read_group(consumer, note, 1, PATIENCE_S)
        threads.shutdown()

    asyncio.run(story())
    # Without the shield, order 1 was fetched by a thread that nobody listened to.
    assert handled == (EVENTS[:2] if shielded else [EVENTS[0], EVENTS[2]])


def test_kafka_goes_back_in_every_partition(
    kafka_environment: None,  # noqa: ARG001
) -> None:
    handled: list[Event] = []

    async def fail(event: Event) -> None:
        raise LookupError(event)

    async def note(event: Event) -> None:
        handled.append(event)

    async def story(topic: str) -> None:
        config = {"bootstrap.servers": settings()["bootstrap_servers"]}
        async with (
            AIOProducer(dict(config)) as producer,
            await kafka_task.join(topic, topic, {**QUICK, **config}) as consumer,
        ):
            for number, event in enumerate(EVENTS):
                value = json.dumps(event).encode()
                await producer.produce(topic, value=value, partition=number % 2)
            await producer.flush()
            for _ in range(2):
                with pytest.raises(LookupError):
                    await kafka_task.read_group(consumer, fail, 4, PATIENCE_S)
            await kafka_task.read_group(consumer, note, 4, PATIENCE_S)

    with temporary_topic(partitions=2) as topic:
        asyncio.run(story(topic))
    assert sorted(event["order"] for event in handled) == ["0", "1", "2", "3"]


def test_kafka_refuses_a_topic_that_is_not_there_and_a_setting_that_is_none(
    kafka_environment: None,  # noqa: ARG001
) -> None:
    async def story() -> None:
        config = {"bootstrap.servers": settings()["bootstrap_servers"]}
        async with await kafka_task.join("not-there", "not-there", config) as consumer:
            with pytest.raises(KafkaException, match="Unknown topic"):
                await kafka_task.read_group(consumer, _nothing, 1, PATIENCE_S)
        with pytest.raises(KafkaException, match="No such configuration property"):
            await kafka_task.join("orders", "billing", {"bootstrap_servers": "x"})

    asyncio.run(story())


def test_kafka_says_which_record_was_refused(topic: str) -> None:
    async def story() -> None:
        config = {"bootstrap.servers": settings()["bootstrap_servers"]}
        more = {"message.max.bytes": 10_000_000, "log.connection.close": False}
        async with AIOProducer({**more, **config}) as producer:
            large = {"picture": "x" * 2_000_000}
            with pytest.raises(KafkaException, match="MSG_SIZE_TOO_LARGE"):
                await kafka_task.append_all(producer, topic, [EVENTS[0], large])

    asyncio.run(story())


def test_kafka_takes_no_headers_from_asyncio(topic: str) -> None:
    async def story() -> None:
        config = {"bootstrap.servers": settings()["bootstrap_servers"]}
        async with AIOProducer(dict(config)) as producer:
            with pytest.raises(NotImplementedError, match="Headers"):
                await producer.produce(topic, value=b"{}", headers=[("event_id", b"1")])

    asyncio.run(story())
