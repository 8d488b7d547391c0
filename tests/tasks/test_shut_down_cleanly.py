"""Shut down cleanly: what is in hand is finished, and the group doesn't wait."""

import json
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, Protocol

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from redis import Redis, ResponseError

from snippets.kafka import settings, temporary_topic
from snippets.kafka.read_group import join as kafka_join
from snippets.kafka.shut_down_cleanly import leave as kafka_leave
from snippets.kafka.shut_down_cleanly import run as kafka_run
from snippets.redis_streams import connect, temporary_stream
from snippets.redis_streams.shut_down_cleanly import leave as redis_leave
from snippets.redis_streams.shut_down_cleanly import run as redis_run
from tests.ledger import claim
from tests.tasks.logs import PATIENCE_S, Event

EVENTS: list[dict[Any, Any]] = [{"order": str(number)} for number in range(3)]

# Prints what it does; works on order 1 until a line comes.
HANDLE = """
import sys
def handle(event):
    print("begun", event["order"], flush=True)
    if event["order"] == "1":
        sys.stdin.readline()
    print("done", event["order"], flush=True)
"""


class Shift(Protocol):
    """A log, and workers of one group."""

    def append(self, event: Event) -> None:
        """Append an event."""

    def worker(self) -> subprocess.Popen[str]:
        """Start a process that runs until SIGTERM, and then leaves."""

    def members(self) -> int:
        """Count the group's consumers."""

    def rest(self, count: int) -> list[Event]:
        """Read what another consumer gets, up to a count."""

    def unacknowledged(self) -> int:
        """Count what is pending or not read, or not committed."""


def start(code: str, *arguments: str) -> "subprocess.Popen[str]":
    """Start a worker in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", HANDLE + textwrap.dedent(code), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def until(worker: "subprocess.Popen[str]", line: str) -> None:
    """Wait until the worker has printed a line."""
    assert worker.stdout
    for found in worker.stdout:
        if found.strip() == line:
            return
    raise AssertionError(f"{line!r} was not printed")


class RedisShift:
    """A stream."""

    def __init__(self, redis: Redis, stream: str) -> None:
        """Create the group."""
        self._redis, self._stream = redis, stream
        redis.xgroup_create(stream, "billing", id="0", mkstream=True)

    def append(self, event: Event) -> None:
        """Append an entry."""
        fields: dict[Any, Any] = dict(event)
        self._redis.xadd(self._stream, fields)

    def worker(self) -> "subprocess.Popen[str]":
        """Start a process that runs until SIGTERM, and then leaves."""
        return start(
            """
            from snippets.redis_streams import connect
            from snippets.redis_streams.shut_down_cleanly import *
            args = (connect(), sys.argv[1], "billing", "worker-1")
            run(*args, handle, stop_on_sigterm(), block_ms=100)
            sys.exit(not leave(*args))
            """,
            self._stream,
        )

    def members(self) -> int:
        """Count the group's consumers."""
        return len(self._redis.xinfo_consumers(self._stream, "billing"))

    def rest(self, count: int) -> list[Event]:
        """Read what another consumer gets, up to a count."""
        handled: list[Event] = []
        stop = threading.Event()

        def handle(event: Event) -> None:
            handled.append(event)
            if len(handled) == count:
                stop.set()

        redis_run(self._redis, self._stream, "billing", "worker-2", handle, stop, 10)
        return handled

    def unacknowledged(self) -> int:
        """Count what is pending or not read."""
        (group,) = self._redis.xinfo_groups(self._stream)
        return int(group["pending"] + group["lag"])


class KafkaShift:
    """A topic."""

    def __init__(self, topic: str, producer: KafkaProducer) -> None:
        """Use a topic with a group of its own."""
        self._topic, self._producer = topic, producer

    def append(self, event: Event) -> None:
        """Append a record."""
        self._producer.send(self._topic, json.dumps(event).encode()).get(PATIENCE_S)

    def worker(self) -> "subprocess.Popen[str]":
        """Start a process that runs until SIGTERM, and then leaves."""
        return start(
            """
            from snippets.kafka import settings
            from snippets.kafka.read_group import join
            from snippets.kafka.shut_down_cleanly import *
            consumer = join(sys.argv[1], sys.argv[1], **settings())
            run(consumer, handle, stop_on_sigterm(), timeout_ms=100)
            leave(consumer)
            """,
            self._topic,
        )

    def members(self) -> int:
        """Count the group's consumers."""
        return members(self._topic)

    def rest(self, count: int) -> list[Event]:
        """Read what another consumer gets, up to a count."""
        handled: list[Event] = []
        stop = threading.Event()

        def handle(event: Event) -> None:
            handled.append(event)
            if len(handled) == count:
                stop.set()

        consumer = kafka_join(self._topic, self._topic, **settings())
        kafka_run(consumer, handle, stop, 100)
        kafka_leave(consumer)
        return handled

    def unacknowledged(self) -> int:
        """Count what is not committed."""
        partition = TopicPartition(self._topic, 0)
        with KafkaConsumer(group_id=self._topic, **settings()) as looker:
            end = looker.end_offsets([partition])[partition]
            return int(end - (looker.committed(partition) or 0))


def members(group: str) -> int:
    """Count the members of a Kafka group."""
    with KafkaAdminClient(**settings()) as admin:
        return len(admin.describe_groups([group])[group]["members"])


@contextmanager
def redis_shift() -> Iterator[Shift]:
    """Make a stream for a test."""
    with connect() as redis, temporary_stream(redis) as stream:
        yield RedisShift(redis, stream)


@contextmanager
def kafka_shift() -> Iterator[Shift]:
    """Make a topic for a test."""
    with temporary_topic() as topic, KafkaProducer(**settings()) as producer:
        yield KafkaShift(topic, producer)


@pytest.fixture(params=[redis_shift, kafka_shift], ids=["redis_streams", "kafka"])
def shift(
    request: pytest.FixtureRequest,
    redis: Redis,  # noqa: ARG001
    kafka_environment: None,  # noqa: ARG001
) -> Iterator[Shift]:
    """Both systems, one after the other."""
    with request.param() as shift:
        yield shift


def test_a_worker_that_is_asked_to_end_finishes_what_it_has_begun(shift: Shift) -> None:
    for event in EVENTS:
        shift.append(event)
    with shift.worker() as worker:
        until(worker, "begun 1")
        worker.send_signal(signal.SIGTERM)
        worker.communicate("go on\n", timeout=PATIENCE_S)
    assert worker.returncode == 0
    assert shift.members() == 0
    assert shift.unacknowledged() == 1
    assert shift.rest(1) == EVENTS[2:]
    assert shift.unacknowledged() == 0


def test_a_worker_that_has_nothing_to_do_ends_as_well(shift: Shift) -> None:
    shift.append(EVENTS[0])
    with shift.worker() as worker:
        until(worker, "done 0")
        worker.send_signal(signal.SIGTERM)
        worker.communicate(timeout=PATIENCE_S)
    assert worker.returncode == 0
    assert (shift.members(), shift.unacknowledged()) == (0, 0)


def test_redis_goes_on_with_what_an_earlier_process_has_left(
    redis: Redis, stream: str
) -> None:
    for event in EVENTS:
        redis.xadd(stream, event)
    redis.xgroup_create(stream, "billing", id="0")
    redis.xreadgroup("billing", "worker-1", {stream: ">"}, count=2)
    redis.xtrim(stream, maxlen=2, approximate=False)
    stop, handled = threading.Event(), []

    def handle(event: Event) -> None:
        handled.append(event)
        if event == EVENTS[2]:
            stop.set()

    assert redis_run(redis, stream, "billing", "worker-1", handle, stop, 1) == 2
    assert handled == EVENTS[1:]
    assert redis_leave(redis, stream, "billing", "worker-1")


@pytest.mark.parametrize("system", ["redis_streams", "kafka"])
def test_work_that_fails_is_not_acknowledged(
    system: str,
    redis: Redis,  # noqa: ARG001
    kafka_environment: None,  # noqa: ARG001
) -> None:
    def fail(event: Event) -> None:
        raise LookupError(event)

    stop = threading.Event()
    if system == "redis_streams":
        with connect() as client, temporary_stream(client) as stream:
            client.xadd(stream, EVENTS[0])
            client.xgroup_create(stream, "billing", id="0")
            with pytest.raises(LookupError):
                redis_run(client, stream, "billing", "worker-1", fail, stop)
            assert not redis_leave(client, stream, "billing", "worker-1")
            assert client.xpending(stream, "billing")["pending"] == 1
            with pytest.raises(ResponseError, match="NOGROUP"):
                redis_leave(client, stream, "shipping", "worker-1")
            with pytest.raises(ResponseError, match="NOGROUP"):
                redis_run(client, stream, "shipping", "worker-1", fail, stop)
    else:
        with temporary_topic() as topic, KafkaProducer(**settings()) as producer:
            producer.send(topic, json.dumps(EVENTS[0]).encode()).get(PATIENCE_S)
            consumer = kafka_join(topic, topic, **settings())
            with pytest.raises(LookupError):
                kafka_run(consumer, fail, stop)
            kafka_leave(consumer)
            with closing(kafka_join(topic, topic, **settings())) as another:
                assert json.loads(next(another).value) == EVENTS[0]


@claim(servers="redis", since="6.2")
def test_redis_deleting_a_consumer_drops_what_is_pending(
    redis: Redis, stream: str
) -> None:
    """`XGROUP DELCONSUMER` drops what was pending for the consumer: neither `XREADGROUP`
    nor `XAUTOCLAIM` returns those entries to the group again.
    """
    for event in EVENTS:
        redis.xadd(stream, event)
    redis.xgroup_create(stream, "billing", id="0")
    redis.xreadgroup("billing", "worker-1", {stream: ">"}, count=2)
    assert redis.xgroup_delconsumer(stream, "billing", "worker-1") == 2
    for name in ("worker-1", "worker-2"):
        assert redis.xautoclaim(stream, "billing", name, 0)[1] == []
    batch: Any = redis.xreadgroup("billing", "worker-1", {stream: ">"})
    ((_, entries),) = batch
    assert [event for _, event in entries] == EVENTS[2:]


@claim(servers="redis", since="8.8")
def test_redis_takes_back_an_entry_as_if_never_delivered(
    redis: Redis, stream: str
) -> None:
    """`XNACK` with `SILENT` takes an entry back and its delivery off the count, so that a
    consumer which ends can hand on at once what it has not begun.
    """
    entry_id = redis.xadd(stream, EVENTS[0])
    redis.xgroup_create(stream, "billing", id="0")
    redis.xreadgroup("billing", "worker-1", {stream: ">"})
    redis.xnack(stream, "billing", "SILENT", entry_id)
    assert redis_leave(redis, stream, "billing", "worker-1")
    streams: dict[Any, Any] = {stream: ">"}
    batch: Any = redis.xreadgroup(
        "billing", "worker-2", streams, claim_min_idle_time=3_600_000
    )
    ((_, ((claimed_id, event, _, deliveries),)),) = batch
    assert (claimed_id, event, deliveries) == (entry_id, EVENTS[0], 0)


@claim(servers="kafka", since="0.9")
def test_kafka_closing_a_consumer_leaves_the_group_at_once(
    topic: str, producer: KafkaProducer
) -> None:
    """A Kafka consumer has left its group when `close` returns; one whose process was
    killed is still a member.
    """
    producer.send(topic, b"{}").get(PATIENCE_S)
    shift = KafkaShift(topic, producer)
    shift.append(EVENTS[0])
    for end, left in ((signal.SIGTERM, 0), (signal.SIGKILL, 1)):
        shift.append(EVENTS[2])
        with start(
            """
            from snippets.kafka import settings
            from snippets.kafka.read_group import join
            from snippets.kafka.shut_down_cleanly import *
            consumer = join(sys.argv[1], sys.argv[1], **settings())
            print("joined", next(consumer).offset >= 0, flush=True)
            stop_on_sigterm().wait()
            leave(consumer)
            """,
            topic,
        ) as worker:
            until(worker, "joined True")
            assert members(topic) == 1
            worker.send_signal(end)
            worker.communicate(timeout=PATIENCE_S)
        assert members(topic) == left


def test_kafka_consumer_that_closes_while_it_joins_stays_a_member(topic: str) -> None:
    present, joining = (kafka_join(topic, topic, **settings()) for _ in range(2))
    try:
        present.partitions_for_topic(topic)
        while not present.assignment():
            present.poll(timeout_ms=100)
        # The group waits until the present one polls, and the leave behind that.
        while members(topic) < 2:
            joining.poll(timeout_ms=100)
        kafka_leave(joining, timeout_ms=100)
        assert members(topic) == 2
    finally:
        present.close(autocommit=False)


@claim(servers="kafka", since="0.9")
def test_kafka_closing_with_auto_commit_gives_up_what_was_not_done(
    topic: str, producer: KafkaProducer
) -> None:
    """A Kafka consumer with auto-commit, the default, commits its position when it
    closes: records that it was handed and had not handled are skipped.
    """
    for event in EVENTS:
        producer.send(topic, json.dumps(event).encode())
    producer.flush()
    consumer = KafkaConsumer(
        topic, group_id=topic, auto_offset_reset="earliest", **settings()
    )
    assert consumer.config["enable_auto_commit"]
    handed = 0
    while handed < 3:
        batch = consumer.poll(timeout_ms=1000)
        handed += sum(map(len, batch.values()))
    consumer.close()
    with KafkaConsumer(group_id=topic, **settings()) as another:
        assert another.committed(TopicPartition(topic, 0)) == 3
