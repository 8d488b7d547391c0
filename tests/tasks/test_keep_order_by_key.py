"""Keep the order of each key: over several workers, failures, and a worker's death."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, Protocol

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import CommitFailedError
from redis import DataError, Redis, ResponseError

from snippets.kafka import keep_order_by_key as kafka_task
from snippets.kafka import settings, temporary_topic
from snippets.redis_streams import keep_order_by_key as redis_task
from tests.ledger import claim
from tests.tasks.logs import PATIENCE_S, Event, Handle
from tests.tasks.workers import killed

SHARDS = 3
PATIENCE_MS = int(PATIENCE_S * 1000)
CUSTOMERS = ["ann", "bob", "cleo", "dan", "eve", "fay"]
EVENTS: list[Event] = [
    {"customer": customer, "number": str(number)}
    for number in range(4)
    for customer in CUSTOMERS
]


class Lanes(Protocol):
    """Three streams, or a topic of three partitions."""

    def append(self, key: str, event: Event) -> object:
        """Append an event."""

    def worker(self, name: str) -> Callable[[Handle], int]:
        """Make a worker, which handles a batch when it is called."""

    def leave(self) -> None:
        """Let the workers be gone, with what they have not acknowledged."""


class RedisLanes:
    """Three streams."""

    def __init__(self, redis: Redis, stream: str) -> None:
        """Create the streams with a group."""
        self._redis = redis
        self.streams = [f"{stream}:{number}" for number in range(SHARDS)]
        for each in self.streams:
            redis.xgroup_create(each, "billing", id="0", mkstream=True)

    def append(self, key: str, event: Event) -> object:
        """Append an entry."""
        return redis_task.append_in_order(self._redis, self.streams, key, event)

    def worker(self, name: str) -> Callable[[Handle], int]:
        """Make a worker, which goes over the streams when it is called."""

        def read(handle: Handle) -> int:
            found = [
                redis_task.read_in_order(
                    self._redis, each, "billing", name, handle, 200, block_ms=1
                )
                for each in self.streams
            ]
            return sum(each or 0 for each in found)

        return read

    def leave(self) -> None:
        """Nothing to do: the lease runs out."""


class KafkaLanes:
    """A topic of three partitions."""

    def __init__(self, producer: KafkaProducer, topic: str, stack: ExitStack) -> None:
        """Use a producer and the topic's name."""
        self._producer, self._topic, self._stack = producer, topic, stack

    def append(self, key: str, event: Event) -> object:
        """Append a record."""
        return kafka_task.append_in_order(self._producer, self._topic, key, event)

    def worker(self, name: str) -> Callable[[Handle], int]:
        """Make a consumer, which polls when it is called."""
        consumer = member(self._topic, client_id=name)
        # To leave while the group waits for another one to poll takes all of the timeout.
        self._stack.callback(consumer.close, autocommit=False, timeout_ms=500)
        return lambda handle: kafka_task.read_in_order(consumer, handle, timeout_ms=100)

    def leave(self) -> None:
        """Close the consumers without a commit."""
        self._stack.close()


def member(topic: str, **client: Any) -> KafkaConsumer:
    """Make a consumer of the group that starts at the beginning."""
    consumer = KafkaConsumer(
        topic,
        group_id=f"{topic}-billing",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        **client,
        **settings(),
    )
    # kafka-python may forget a rebalance that outlasts a `poll`, if it has only just
    # learned of the partitions.
    consumer.partitions_for_topic(topic)
    return consumer


@pytest.fixture(params=["redis_streams", "kafka"])
def lanes(request: pytest.FixtureRequest) -> Iterator[Lanes]:
    """Three streams or partitions that only this test uses."""
    if request.param == "redis_streams":
        redis, stream = (request.getfixturevalue(name) for name in ("redis", "stream"))
        shards = RedisLanes(redis, stream)
        yield shards
        redis.delete(*shards.streams)
        return
    producer = request.getfixturevalue("producer")
    with temporary_topic(partitions=SHARDS) as topic, ExitStack() as stack:
        yield KafkaLanes(producer, topic, stack)


def numbers(handled: list[Event]) -> dict[str, list[str]]:
    """Return what was handled of each customer, in the order of the work."""
    return {
        customer: [each["number"] for each in handled if each["customer"] == customer]
        for customer in CUSTOMERS
    }


IN_ORDER = {customer: ["0", "1", "2", "3"] for customer in CUSTOMERS}


def test_two_workers_keep_the_order_of_each_key(lanes: Lanes) -> None:
    for event in EVENTS:
        lanes.append(event["customer"], event)
    handled: list[Event] = []
    workers = [lanes.worker("worker-1"), lanes.worker("worker-2")]
    while len(handled) < len(EVENTS):
        for worker in workers:
            worker(handled.append)
    assert numbers(handled) == IN_ORDER


def test_an_event_whose_work_fails_is_not_overtaken(lanes: Lanes) -> None:
    for event in EVENTS:
        lanes.append(event["customer"], event)
    handled: list[Event] = []
    fails = 3

    def fail_at_the_second_of_dan(event: Event) -> None:
        nonlocal fails
        if event == {"customer": "dan", "number": "1"} and fails:
            fails -= 1
            raise LookupError(event)
        handled.append(event)

    worker = lanes.worker("worker-1")
    while fails or len(handled) < len(EVENTS):
        try:
            worker(fail_at_the_second_of_dan)
        except LookupError:
            assert numbers(handled)["dan"] == ["0"]
    assert numbers(handled) == IN_ORDER


def test_a_successor_goes_on_in_order(lanes: Lanes) -> None:
    for event in EVENTS:
        lanes.append(event["customer"], event)
    handled: list[Event] = []

    def stop_after_five(event: Event) -> None:
        if len(handled) == 5:
            raise KeyboardInterrupt
        handled.append(event)

    first = lanes.worker("worker-1")
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            first(stop_after_five)
    lanes.leave()
    second = lanes.worker("worker-2")
    while len(handled) < len(EVENTS):
        second(handled.append)
    assert numbers(handled) == IN_ORDER


def test_an_event_without_key_or_fields_is_refused(lanes: Lanes) -> None:
    with pytest.raises(ValueError, match="key ''"):
        lanes.append("", {"number": "0"})
    with pytest.raises((DataError, ValueError)):
        lanes.append("ann", {})
    assert lanes.worker("worker-1")(print) == 0


def test_redis_chooses_the_same_stream_in_every_process(
    redis: Redis, stream: str
) -> None:
    code = """if True:
        import sys
        from snippets.redis_streams import connect
        from snippets.redis_streams.keep_order_by_key import append_in_order
        streams = [f"{sys.argv[1]}:{number}" for number in range(16)]
        for key in ("ann", "bob", "cleo"):
            append_in_order(connect(), streams, key, {"key": key})
    """
    for seed in ("1", "2"):
        subprocess.run(
            [sys.executable, "-c", code, stream],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
        )
    names = [f"{stream}:{number}" for number in range(16)]
    try:
        used = [length for length in map(redis.xlen, names) if length]
        assert used == [2, 2, 2]
    finally:
        redis.delete(*names)


def test_redis_refuses_to_append_to_no_stream(redis: Redis) -> None:
    with pytest.raises(ValueError, match="0 streams"):
        redis_task.append_in_order(redis, [], "ann", {"number": "0"})


def test_redis_refuses_a_lease_that_ends_before_the_wait(
    redis: Redis, stream: str
) -> None:
    with pytest.raises(ValueError, match="lease of 100 ms"):
        redis_task.read_in_order(redis, stream, "billing", "worker-1", print, 100)


def test_redis_refuses_a_group_that_is_not_there(redis: Redis, stream: str) -> None:
    redis.xadd(stream, {"number": "0"})
    with pytest.raises(ResponseError, match="NOGROUP"):
        redis_task.read_in_order(redis, stream, "billing", "worker-1", print)


def test_redis_lets_nobody_else_work_under_a_lease(redis: Redis, stream: str) -> None:
    redis.xadd(stream, {"number": "0"})
    redis.xadd(stream, {"number": "1"})
    redis.xgroup_create(stream, "billing", id="0")
    found = []

    def let_another_try(_: Event) -> None:
        found.append(
            redis_task.read_in_order(redis, stream, "billing", "worker-2", print)
        )

    assert (
        redis_task.read_in_order(redis, stream, "billing", "worker-1", let_another_try)
        == 2
    )
    assert found == [None, None]


def test_redis_worker_that_lost_its_lease_begins_nothing_more(
    redis: Redis, stream: str
) -> None:
    for number in range(4):
        redis.xadd(stream, {"number": str(number)})
    redis.xgroup_create(stream, "billing", id="0")
    handled: list[tuple[str, str]] = []

    def stall_at_1(event: Event) -> None:
        handled.append(("worker-1", event["number"]))
        if event["number"] == "1":
            while not redis_task.read_in_order(
                redis, stream, "billing", "worker-2", of_the_heir
            ):
                continue

    def of_the_heir(event: Event) -> None:
        handled.append(("worker-2", event["number"]))

    done = redis_task.read_in_order(
        redis, stream, "billing", "worker-1", stall_at_1, lease_ms=50, block_ms=1
    )
    assert done == 2
    assert handled == [
        ("worker-1", "0"),
        ("worker-1", "1"),
        ("worker-2", "1"),
        ("worker-2", "2"),
        ("worker-2", "3"),
    ]


def test_redis_passes_over_a_pending_entry_that_was_trimmed(
    redis: Redis, stream: str
) -> None:
    redis.xadd(stream, {"number": "0"})
    redis.xgroup_create(stream, "billing", id="0")
    redis.xreadgroup("billing", "ordered", {stream: ">"})
    redis.xtrim(stream, maxlen=0, approximate=False)
    redis.xadd(stream, {"number": "1"})
    handled: list[Event] = []
    for _ in range(2):
        redis_task.read_in_order(redis, stream, "billing", "worker-1", handled.append)
    assert handled == [{"number": "1"}]
    assert redis.xpending(stream, "billing")["pending"] == 0


def test_redis_goes_on_with_what_a_killed_worker_had(redis: Redis, stream: str) -> None:
    for number in range(4):
        redis.xadd(stream, {"number": str(number)})
    redis.xgroup_create(stream, "billing", id="0")
    killed(
        """
        from snippets.redis_streams import connect
        from snippets.redis_streams.keep_order_by_key import read_in_order
        def handle(event):
            if event["number"] == "1":
                os.kill(os.getpid(), 9)
        read_in_order(
            connect(), sys.argv[1], "billing", "worker-1", handle, 200, 3, block_ms=1
        )
        """,
        stream,
    )
    left: Any = redis.xreadgroup("billing", "ordered", {stream: "0"})
    assert [event["number"] for _, event in left[0][1]] == ["1", "2"]
    handled: list[Event] = []
    while len(handled) < 3:
        redis_task.read_in_order(redis, stream, "billing", "worker-2", handled.append)
    assert [event["number"] for event in handled] == ["1", "2", "3"]


@claim(servers="redis", since="5.0")
def test_redis_pending_entries_are_read_in_the_order_of_their_ids(
    redis: Redis, stream: str
) -> None:
    """`XREADGROUP` from 0 returns a consumer's pending entries in the order of their IDs,
    whenever and in whichever order they came to this consumer.
    """
    ids = [str(redis.xadd(stream, {"number": str(n)})) for n in range(4)]
    redis.xgroup_create(stream, "billing", id="0")
    redis.xreadgroup("billing", "worker-1", {stream: ">"}, count=3)
    redis.xreadgroup("billing", "worker-2", {stream: ">"})
    for entry_id in (ids[1], ids[2], ids[0]):
        redis.xclaim(stream, "billing", "worker-2", 0, [entry_id])
    pending: Any = redis.xreadgroup("billing", "worker-2", {stream: "0"})
    assert [entry_id for entry_id, _ in pending[0][1]] == ids


def test_kafka_consumer_that_lost_its_partition_begins_nothing_more(
    topic: str, producer: KafkaProducer
) -> None:
    for number in range(3):
        kafka_task.append_in_order(producer, topic, "ann", {"number": str(number)})
    handled: list[tuple[str, str]] = []
    fast = {"max_poll_interval_ms": 500, "heartbeat_interval_ms": 100}
    stalled, heir = member(topic, **fast), member(topic)

    def stall(event: Event) -> None:
        handled.append(("worker-1", event["number"]))
        while len(handled) < 4:
            kafka_task.read_in_order(heir, of_the_heir, timeout_ms=100)

    def of_the_heir(event: Event) -> None:
        handled.append(("worker-2", event["number"]))

    try:
        with pytest.raises(CommitFailedError):
            kafka_task.read_in_order(stalled, stall, timeout_ms=PATIENCE_MS)
    finally:
        heir.close(autocommit=False)
        stalled.close(autocommit=False)
    assert handled == [("worker-1", "0")] + [("worker-2", str(n)) for n in range(3)]


def test_kafka_handles_a_key_out_of_order_when_partitions_are_added(
    topic: str, producer: KafkaProducer
) -> None:
    kafka_task.append_in_order(producer, topic, "cleo", {"number": "0"})
    with KafkaAdminClient(**settings()) as admin:
        admin.create_partitions({topic: 2})
        while len(admin.describe_topics([topic])[0]["partitions"]) < 2:
            continue
    with KafkaProducer(**settings()) as another:
        event = {"number": "1"}
        assert kafka_task.append_in_order(another, topic, "cleo", event) == (1, 0)
    group = {"group_id": topic, "auto_offset_reset": "earliest", **settings()}
    with KafkaConsumer(**group) as ahead, KafkaConsumer(**group) as behind:
        ahead.assign([TopicPartition(topic, 1)])
        behind.assign([TopicPartition(topic, 0)])
        first = json.loads(next(ahead).value)
        assert behind.committed(TopicPartition(topic, 0)) is None
        second = json.loads(next(behind).value)
    assert (first, second) == ({"number": "1"}, {"number": "0"})


@claim(servers="kafka", since="0.8")
def test_kafka_records_without_a_key_have_no_common_order(
    kafka_environment: None,  # noqa: ARG001
) -> None:
    """A Kafka producer spreads records without a key over the topic's partitions, so that
    no offset tells which of two records was sent first.
    """
    with (
        temporary_topic(partitions=SHARDS) as topic,
        KafkaProducer(**settings()) as producer,
    ):
        sent = [producer.send(topic, str(n).encode()).get() for n in range(40)]
    assert len({each.partition for each in sent}) > 1
    offsets = [each.offset for each in sent]
    assert offsets != sorted(offsets)
