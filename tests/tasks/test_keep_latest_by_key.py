"""Keep the latest by key: the last value counts, and changes go on without a gap."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from threading import Thread
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import (
    InvalidRecordError,
    MessageSizeTooLargeError,
    UnknownTopicOrPartitionError,
)
from redis import Redis, ResponseError

from snippets import servers
from snippets.kafka import keep_latest_by_key as kafka_task
from snippets.kafka import settings, temporary_topic
from snippets.redis_streams import connect
from snippets.redis_streams import keep_latest_by_key as redis_task
from tests.ledger import claim
from tests.tasks.topics import STARVED, config

Change = tuple[str, str | None]

HOUR_MS = 3_600_000

CHANGES: list[Change] = [("tea", "7"), ("milk", "2"), ("tea", "6"), ("milk", None)]

OwnKafka = Callable[..., AbstractContextManager[servers.Kafka]]


@dataclass(frozen=True)
class Table:
    """Latest values and their changes."""

    put: Callable[[str, str | None], object]
    latest: Callable[[], tuple[dict[str, str], Any]]
    since: Callable[[Any, int], list[Change]]


def kafka_since(position: dict[TopicPartition, int], count: int) -> list[Change]:
    """Read so many changes from a position on."""
    with KafkaConsumer(**settings()) as consumer:
        consumer.assign(list(position))
        for partition, offset in position.items():
            consumer.seek(partition, offset)
        return [
            (record.key.decode(), record.value and record.value.decode())
            for record in (next(consumer) for _ in range(count))
        ]


def changes(
    redis: Redis, stream: str, position: str = "0-0", *, until: str = "+"
) -> list[Change]:
    """Read all changes from a position on, until another one."""
    entries: Any = redis.xrange(stream, min=f"({position}", max=until)
    return [(change["key"], change.get("value")) for _, change in entries]


def fold(values: dict[str, str], changes: list[Change]) -> dict[str, str]:
    """Apply changes."""
    folded: dict[str, str | None] = {**values, **dict(changes)}
    return {key: value for key, value in folded.items() if value is not None}


@pytest.fixture
def stock(redis: Redis, stream: str) -> Iterator[str]:
    """The name of a hash that only this test uses."""
    yield f"{stream}:latest"
    redis.delete(f"{stream}:latest")


@pytest.fixture(params=["redis_streams", "kafka"])
def table(request: pytest.FixtureRequest) -> Table:
    """What both systems offer."""
    if request.param == "redis_streams":
        redis = request.getfixturevalue("redis")
        stream = request.getfixturevalue("stream")
        stock = request.getfixturevalue("stock")
        return Table(
            lambda key, value: redis_task.put(redis, stream, stock, key, value),
            lambda: redis_task.latest(redis, stream, stock),
            lambda position, _: changes(redis, stream, position),
        )
    topic = request.getfixturevalue("topic")
    producer = request.getfixturevalue("producer")
    kafka_task.compact(request.getfixturevalue("admin"), topic, HOUR_MS)
    return Table(
        lambda key, value: kafka_task.put(producer, topic, key, value),
        lambda: kafka_task.latest(topic, **settings()),
        kafka_since,
    )


def test_the_last_value_of_a_key_counts(table: Table) -> None:
    for key, value in CHANGES[:3]:
        table.put(key, value)
    assert table.latest()[0] == {"tea": "6", "milk": "2"}


def test_a_key_that_was_removed_is_gone_and_may_come_back(table: Table) -> None:
    for key, value in CHANGES:
        table.put(key, value)
    assert table.latest()[0] == {"tea": "6"}
    table.put("milk", "")
    assert table.latest()[0] == {"tea": "6", "milk": ""}


def test_removing_what_is_not_there_is_no_error(table: Table) -> None:
    table.put("jam", None)
    assert table.latest()[0] == {}


def test_where_nothing_was_put_there_is_nothing(table: Table) -> None:
    values, position = table.latest()
    assert values == {}
    table.put("tea", "7")
    assert table.since(position, 1) == [("tea", "7")]


def test_changes_go_on_where_the_values_end(table: Table) -> None:
    for key, value in CHANGES[:2]:
        table.put(key, value)
    values, position = table.latest()
    for key, value in CHANGES[2:]:
        table.put(key, value)
    assert table.since(position, 2) == CHANGES[2:]
    assert fold(values, table.since(position, 2)) == table.latest()[0]


def test_a_change_without_key_is_refused(table: Table) -> None:
    with pytest.raises(ValueError, match="needs a key"):
        table.put("", "7")
    assert table.latest()[0] == {}


@claim(servers="redis", since="5.0")
def test_redis_stream_and_hash_agree_after_a_kill(
    redis: Redis, stream: str, stock: str
) -> None:
    """When `XADD` and `HSET` are in one `MULTI`, a client killed at any moment leaves a
    hash that is what the stream's entries add up to.
    """
    script = """
        import sys
        from itertools import count
        from snippets.redis_streams import connect
        from snippets.redis_streams.keep_latest_by_key import put
        _, stream, stock = sys.argv
        with connect() as redis:
            for number in count():
                key, value = str(number % 7), str(number) if number % 3 else None
                put(redis, stream, stock, key, value)
        """
    command = [sys.executable, "-c", textwrap.dedent(script), stream, stock]
    with subprocess.Popen(command) as worker:
        while redis.xlen(stream) < 200:
            assert worker.poll() is None
        os.kill(worker.pid, signal.SIGKILL)
    # What it had sent may still be done after this.
    values, position = redis_task.latest(redis, stream, stock)
    assert values == fold({}, changes(redis, stream, until=position))


@claim(servers="redis", since="5.0")
def test_redis_trimming_knows_no_keys(redis: Redis, stream: str) -> None:
    """A Redis stream has no compaction: trimming takes the oldest entries, even the only
    one of its key, and leaves several of another.
    """
    for sku in ("milk", "tea", "tea"):
        redis.xadd(stream, {"sku": sku})
    redis.xtrim(stream, maxlen=2, approximate=False)
    left: Any = redis.xrange(stream)
    assert [event["sku"] for _, event in left] == ["tea", "tea"]


def test_redis_values_and_position_belong_together(
    redis: Redis, stream: str, stock: str
) -> None:
    def change() -> None:
        with connect() as another:
            for number in range(300):
                redis_task.put(another, stream, stock, str(number % 5), str(number))

    writer = Thread(target=change)
    writer.start()
    seen = []
    while writer.is_alive():
        seen.append(redis_task.latest(redis, stream, stock))
    writer.join()
    for values, position in seen:
        since = changes(redis, stream, position)
        before = changes(redis, stream)[: 300 - len(since)]
        assert values == fold({}, before)


def test_redis_table_outlives_its_changes(redis: Redis, stream: str, stock: str) -> None:
    redis_task.put(redis, stream, stock, "milk", "2")
    for number in range(500):
        position = redis_task.put(redis, stream, stock, "tea", str(number))
    assert redis_task.compact(redis, stream, 1) == 500
    expected = {"milk": "2", "tea": "499"}
    assert redis_task.latest(redis, stream, stock) == (expected, position)


@pytest.mark.parametrize("count", [0, -1])
def test_redis_refuses_to_keep_no_change(
    redis: Redis, stream: str, stock: str, count: int
) -> None:
    redis_task.put(redis, stream, stock, "tea", "7")
    with pytest.raises(ValueError, match="too few"):
        redis_task.compact(redis, stream, count)
    assert redis.xlen(stream) == 1


def test_redis_changes_the_other_when_one_is_of_another_type(
    redis: Redis, stream: str, stock: str
) -> None:
    redis.set(stock, "text")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        redis_task.put(redis, stream, stock, "tea", "7")
    assert redis.xlen(stream) == 1
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        redis_task.latest(redis, stream, stock)


@claim(servers="kafka", since="0.8.1")
def test_kafka_compaction_keeps_the_newest_record_of_each_key(
    own_kafka: OwnKafka,
) -> None:
    """Compaction keeps the newest record of each key in the closed segments, at its
    offset, and leaves the last segment alone: older values of a key are still read.
    """
    segments = {"cleanup.policy": "compact", "segment.ms": "1000"}
    quick = {"log.cleaner.backoff.ms": "50", "log.initial.task.delay.ms": "50"}
    with own_kafka(config=quick) as server:
        client: dict[str, Any] = {"bootstrap_servers": server.bootstrap_servers}
        with KafkaAdminClient(**client) as admin, KafkaProducer(**client) as producer:
            admin.create_topics(
                {
                    "stock": {
                        "num_partitions": 1,
                        "configs": {**segments, "min.cleanable.dirty.ratio": "0"},
                    }
                },
                wait_for_metadata=True,
            )
            # Two seconds after the first record of a segment, the next begins another.
            begin_ms = int(time.time() * 1000) - 60_000
            stamps_ms = [begin_ms, begin_ms, begin_ms + 2000, begin_ms + 2000]
            for value, stamp_ms in zip(("1", "2", "3", "4"), stamps_ms, strict=True):
                producer.send(
                    "stock", value.encode(), key=b"tea", timestamp_ms=stamp_ms
                ).get()
                if value == "1":
                    producer.send("stock", b"1", key=b"milk", timestamp_ms=stamp_ms).get()
            last_segment = [(3, "tea", "3"), (4, "tea", "4")]
            expected = [(1, "milk", "1"), (2, "tea", "2"), *last_segment]
            while (found := records(server.bootstrap_servers)) != expected:
                assert found[0] == (0, "tea", "1")
            values, position = kafka_task.latest("stock", **client)
    assert values == {"milk": "1", "tea": "4"}
    assert list(position.values()) == [5]


def records(bootstrap_servers: str) -> list[tuple[int, str, str]]:
    """Read offsets, keys and values of all that is in partition 0 of `stock`."""
    partition = TopicPartition("stock", 0)
    found = []
    with KafkaConsumer(bootstrap_servers=bootstrap_servers) as consumer:
        consumer.assign([partition])
        consumer.seek_to_beginning(partition)
        end = consumer.end_offsets([partition])[partition]
        while consumer.position(partition) < end:
            for batch in consumer.poll(timeout_ms=500).values():
                found += [(r.offset, r.key.decode(), r.value.decode()) for r in batch]
    return found


@claim(servers="kafka", since="0.9")
def test_kafka_compacted_topic_refuses_a_record_without_key(
    admin: KafkaAdminClient, topic: str
) -> None:
    """A compacted topic refuses a record without a key, and takes one without a value: it
    is the tombstone of its key.
    """
    kafka_task.compact(admin, topic, HOUR_MS)
    for key, value in ((None, b"7"), (b"tea", None)):
        with KafkaProducer(**settings()) as producer:
            sent = producer.send(topic, value, key=key)
            if key is None:
                with pytest.raises(InvalidRecordError):
                    sent.get(timeout=30)
            else:
                assert sent.get(timeout=30).offset == 0


def test_kafka_reads_all_partitions(admin: KafkaAdminClient) -> None:
    with temporary_topic(partitions=3) as topic:
        kafka_task.compact(admin, topic, HOUR_MS)
        with KafkaProducer(**settings()) as producer:
            for number in range(20):
                kafka_task.put(producer, topic, str(number % 10), str(number))
        values, position = kafka_task.latest(topic, **settings())
    assert values == {str(number % 10): str(number) for number in range(10, 20)}
    assert sum(position.values()) == 20


def test_kafka_waits_no_longer_than_it_is_told(
    topic: str, producer: KafkaProducer
) -> None:
    kafka_task.put(producer, topic, "tea", "7")
    with pytest.raises(TimeoutError, match=r"within 0\.2 s"):
        kafka_task.latest(topic, timeout_s=0.2, **STARVED, **settings())


def test_kafka_compacts_no_topic_that_is_not_there(admin: KafkaAdminClient) -> None:
    with pytest.raises(UnknownTopicOrPartitionError):
        kafka_task.compact(admin, "no-such-topic", HOUR_MS)
    with pytest.raises(UnknownTopicOrPartitionError):
        kafka_task.latest("no-such-topic", **settings())


def test_kafka_changes_two_settings_or_none(admin: KafkaAdminClient, topic: str) -> None:
    with pytest.raises(ValueError, match=r"segment\.ms: Value must be at least 1"):
        kafka_task.compact(admin, topic, 0)
    assert config(admin, topic) == {}
    kafka_task.compact(admin, topic, HOUR_MS)
    assert config(admin, topic) == {"cleanup.policy": "compact", "segment.ms": "3600000"}


def test_kafka_refuses_a_value_that_is_too_large(
    topic: str, producer: KafkaProducer
) -> None:
    with pytest.raises(MessageSizeTooLargeError):
        kafka_task.put(producer, topic, "tea", "7" * 2**21)
    assert kafka_task.latest(topic, **settings())[0] == {}
