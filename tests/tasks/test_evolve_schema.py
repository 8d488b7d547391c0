"""Change the schema: both read old versions and leave newer ones; what waits differs."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, Protocol

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from redis import Redis, ResponseError

from snippets.kafka import evolve_schema as kafka_task
from snippets.kafka import settings, temporary_topic
from snippets.kafka.read_group import join as kafka_join
from snippets.redis_streams import evolve_schema as redis_task
from tests.ledger import claim
from tests.tasks.logs import PATIENCE_S, Event, Handle

PATIENCE_MS = int(PATIENCE_S * 1000)
Upgrade = Callable[[Event], Event]


def to_cents(event: Event) -> Event:
    """Make version 2: an amount in cents."""
    rest = {name: text for name, text in event.items() if name != "euros"}
    return {**rest, "cents": event["euros"] + "00"}


def with_currency(event: Event) -> Event:
    """Make version 3: the currency is told."""
    return {**event, "currency": "EUR"}


class Fleet(Protocol):
    """A log, and one reader after the other."""

    def append(self, version: int, event: Event) -> object:
        """Append in a version."""

    def append_raw(self, version: str | None, event: Event) -> object:
        """Append as other programs might, or as before there were versions."""

    def read(self, upgrades: list[Upgrade], handle: Handle) -> list[Any]:
        """Let one reader handle what it can, until there is no more or it refuses."""

    def replace_reader(self) -> None:
        """End the reader, and let another one take over."""

    def unacknowledged(self) -> int:
        """Count what the group has before it."""


class RedisFleet:
    """A stream and a group."""

    def __init__(self, redis: Redis, stream: str) -> None:
        """Create the group."""
        self._redis, self._stream = redis, stream
        self._reader, self._min_idle_ms = 1, 60_000
        redis.xgroup_create(stream, "billing", id="0", mkstream=True)

    def append(self, version: int, event: Event) -> object:
        """Append an entry."""
        return redis_task.append_versioned(self._redis, self._stream, version, event)

    def append_raw(self, version: str | None, event: Event) -> object:
        """Append an entry."""
        fields: dict[Any, Any] = dict(event)
        if version is not None:
            fields["schema_version"] = version
        return self._redis.xadd(self._stream, fields)

    def read(self, upgrades: list[Upgrade], handle: Handle) -> list[Any]:
        """Read one batch."""
        return redis_task.read_versioned(
            *(self._redis, self._stream, "billing", f"worker-{self._reader}", upgrades),
            handle,
            min_idle_ms=self._min_idle_ms,
            block_ms=1,
        )

    def replace_reader(self) -> None:
        """Take the next name, and take over at once."""
        self._reader += 1
        self._min_idle_ms = 0

    def unacknowledged(self) -> int:
        """Add lag and pending."""
        groups: Any = self._redis.xinfo_groups(self._stream)
        return int(groups[0]["lag"] + groups[0]["pending"])


class KafkaFleet:
    """A topic of one partition and a group."""

    def __init__(self, topic: str, stack: ExitStack) -> None:
        """Let the first reader join."""
        self._topic, self._stack = topic, stack
        self._producer = stack.enter_context(KafkaProducer(**settings()))
        self._partition = TopicPartition(topic, 0)
        self._reader = self._join()

    def append(self, version: int, event: Event) -> object:
        """Append a record."""
        return kafka_task.append_versioned(self._producer, self._topic, version, event)

    def append_raw(self, version: str | None, event: Event) -> object:
        """Append a record."""
        headers = [("schema_version", version.encode())] if version is not None else []
        value = json.dumps(event).encode()
        sent = self._producer.send(self._topic, value, headers=headers)
        return sent.get(PATIENCE_S)

    def read(self, upgrades: list[Upgrade], handle: Handle) -> list[Any]:
        """Read until the end or a refusal."""
        unknown: list[Any] = []
        while self.unacknowledged() and not unknown:
            unknown = kafka_task.read_versioned(
                self._reader, upgrades, handle, timeout_ms=PATIENCE_MS
            )
        return unknown

    def replace_reader(self) -> None:
        """Leave the group, and let another join."""
        self._reader.close(autocommit=False)
        self._reader = self._join()

    def unacknowledged(self) -> int:
        """Compare what is committed with the end."""
        end = self._reader.end_offsets([self._partition])[self._partition]
        return int(end - (self._reader.committed(self._partition) or 0))

    def _join(self) -> KafkaConsumer:
        joined = kafka_join(self._topic, self._topic, **settings())
        return self._stack.enter_context(joined)


@pytest.fixture(params=["redis_streams", "kafka"])
def fleet(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """A fleet of each system that only this test uses."""
    if request.param == "redis_streams":
        redis = request.getfixturevalue("redis")
        yield RedisFleet(redis, request.getfixturevalue("stream"))
    else:
        topic = request.getfixturevalue("topic")
        with ExitStack() as stack:
            yield KafkaFleet(topic, stack)


def test_a_new_reader_gets_all_old_versions_in_the_newest(fleet: Fleet) -> None:
    fleet.append_raw(None, {"order": "0", "euros": "5"})
    fleet.append(1, {"order": "1", "euros": "7"})
    fleet.append(2, {"order": "2", "cents": "750"})
    fleet.append(3, {"order": "3", "cents": "9", "currency": "USD"})
    handled: list[Event] = []
    assert fleet.read([to_cents, with_currency], handled.append) == []
    assert handled == [
        {"order": "0", "cents": "500", "currency": "EUR"},
        {"order": "1", "cents": "700", "currency": "EUR"},
        {"order": "2", "cents": "750", "currency": "EUR"},
        {"order": "3", "cents": "9", "currency": "USD"},
    ]
    assert fleet.unacknowledged() == 0


def test_a_reader_gets_fields_that_it_does_not_know(fleet: Fleet) -> None:
    event = {"order": "0", "euros": "5", "gift": "yes"}
    fleet.append(1, event)
    handled: list[Event] = []
    fleet.read([], handled.append)
    assert handled == [event]


def test_a_newer_version_waits_for_a_reader_that_knows_it(fleet: Fleet) -> None:
    fleet.append(1, {"order": "0", "euros": "5"})
    fleet.append(2, {"order": "1", "cents": "750"})
    fleet.append(1, {"order": "2", "euros": "9"})
    handled: list[Event] = []
    assert len(fleet.read([], handled.append)) == 1
    assert {"order": "0", "euros": "5"} in handled
    assert fleet.unacknowledged() >= 1
    fleet.replace_reader()
    assert fleet.read([to_cents], handled.append) == []
    assert sorted(event["order"] for event in handled) == ["0", "1", "2"]
    assert {"order": "1", "cents": "750"} in handled
    assert fleet.unacknowledged() == 0


@pytest.mark.parametrize("version", ["0", "-1", "2.0", "two", ""])
def test_nonsense_for_a_version_is_not_guessed_at(fleet: Fleet, version: str) -> None:
    fleet.append_raw(version, {"order": "0", "euros": "5"})
    handled: list[Event] = []
    assert len(fleet.read([to_cents], handled.append)) == 1
    assert handled == []
    assert fleet.unacknowledged() == 1


def test_what_fails_comes_again(fleet: Fleet) -> None:
    fleet.append(1, {"order": "0", "euros": "5"})
    fleet.append(1, {"order": "1"})
    with pytest.raises(KeyError, match="euros"):
        fleet.read([to_cents], print)
    assert fleet.unacknowledged() == 1
    fleet.replace_reader()
    handled: list[Event] = []
    fleet.read([], handled.append)
    assert handled == [{"order": "1"}]


def test_refuses_to_append_nothing_or_no_version(fleet: Fleet) -> None:
    for version, event in ((1, {}), (0, {"order": "0"})):
        with pytest.raises(ValueError, match="needs fields and a version"):
            fleet.append(version, event)
    assert fleet.unacknowledged() == 0


def test_redis_goes_on_behind_an_unknown_version(redis: Redis, stream: str) -> None:
    redis.xgroup_create(stream, "billing", id="0", mkstream=True)
    refused = redis_task.append_versioned(redis, stream, 2, {"order": "0"})
    redis_task.append_versioned(redis, stream, 1, {"order": "1"})
    handled: list[Event] = []
    group = (redis, stream, "billing", "worker-1")
    assert redis_task.read_versioned(*group, [], handled.append) == [refused]
    assert redis_task.read_versioned(*group, [], handled.append, block_ms=1) == []
    assert handled == [{"order": "1"}]


def test_redis_refuses_what_is_no_stream(redis: Redis, stream: str) -> None:
    redis.set(stream, "text")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        redis_task.append_versioned(redis, stream, 1, {"order": "0"})
    redis.delete(stream)
    with pytest.raises(ResponseError, match="NOGROUP"):
        redis_task.read_versioned(redis, stream, "billing", "worker-1", [], print)


@claim(servers="redis", since="5.0")
def test_redis_stream_takes_entries_of_any_fields(redis: Redis, stream: str) -> None:
    """A Redis stream knows no schema: it takes entries with other fields, in another
    order and with a field twice, and gives each back as it was written.
    """
    written = [
        ["order", "0", "euros", "5"],
        ["cents", "500", "order", "1"],
        ["order", "2", "order", "3"],
    ]
    for fields in written:
        append = "return redis.call('XADD', KEYS[1], '*', unpack(ARGV))"
        redis.eval(append, 1, stream, *fields)
    script = """
        local found = {}
        for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+')) do
            found[#found + 1] = entry[2]
        end
        return found
    """
    found: Any = redis.eval(script, 1, stream)
    assert found == written


@claim(servers="kafka", since="0.11")
def test_kafka_broker_looks_into_no_value(topic: str, producer: KafkaProducer) -> None:
    """A Kafka broker knows no schema: beside JSON it stores bytes that no reader can
    read, under any headers.
    """
    values = [b'{"order": "0"}', b"\xff\x00", b""]
    header = ("schema_version", b"one")
    for value in values:
        producer.send(topic, value, headers=[header]).get(PATIENCE_S)
    with KafkaConsumer(topic, auto_offset_reset="earliest", **settings()) as consumer:
        found = [next(consumer) for _ in values]
    assert [record.value for record in found] == values
    assert all(list(record.headers) == [header] for record in found)


@claim(servers="kafka", since="0.9")
def test_kafka_pause_ends_with_the_consumer(topic: str, producer: KafkaProducer) -> None:
    """Pausing a partition is between a Kafka consumer and itself: when it leaves, the
    next one reads on at the committed offset.
    """
    kafka_task.append_versioned(producer, topic, 1, {"order": "0"})
    kafka_task.append_versioned(producer, topic, 2, {"order": "1"})
    with kafka_join(topic, topic, **settings()) as old:
        unknown: list[tuple[int, int]] = []
        while not unknown:
            unknown = kafka_task.read_versioned(old, [], print, timeout_ms=PATIENCE_MS)
        assert unknown == [(0, 1)]
        assert old.paused() == {TopicPartition(topic, 0)}
    handled: list[Event] = []
    with kafka_join(topic, topic, **settings()) as new:
        assert new.paused() == set()
        kafka_task.read_versioned(new, [dict], handled.append, timeout_ms=PATIENCE_MS)
    assert handled == [{"order": "1"}]


def test_kafka_goes_on_with_other_partitions(
    kafka_environment: None,  # noqa: ARG001
) -> None:
    with (
        temporary_topic(partitions=2) as topic,
        KafkaProducer(**settings()) as producer,
        kafka_join(topic, topic, **settings()) as consumer,
    ):
        header = [("schema_version", b"2")]
        producer.send(topic, b"newer", headers=header, partition=0).get(PATIENCE_S)
        for number in range(3):
            value = json.dumps({"order": str(number)}).encode()
            producer.send(topic, value, partition=1).get(PATIENCE_S)
        handled: list[Event] = []
        unknown: list[tuple[int, int]] = []
        while len(handled) < 3 or not unknown:
            unknown += kafka_task.read_versioned(
                consumer, [], handled.append, count=1, timeout_ms=PATIENCE_MS
            )
        assert [event["order"] for event in handled] == ["0", "1", "2"]
        assert unknown == [(0, 0)]


def test_kafka_names_it_again_after_a_failure(topic: str) -> None:
    with (
        KafkaProducer(**settings()) as producer,
        kafka_join(topic, topic, **settings()) as consumer,
    ):
        kafka_task.append_versioned(producer, topic, 1, {"order": "0"})
        kafka_task.append_versioned(producer, topic, 2, {"order": "1"})

        def fail(event: Event) -> None:
            raise LookupError(event)

        with pytest.raises(LookupError):
            kafka_task.read_versioned(consumer, [], fail, timeout_ms=PATIENCE_MS)
        unknown: list[tuple[int, int]] = []
        while not unknown:
            unknown = kafka_task.read_versioned(
                consumer, [], print, timeout_ms=PATIENCE_MS
            )
    assert unknown == [(0, 1)]
