"""Append in batches: each event is in its place, and so is each error."""

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing
from typing import Any, Protocol

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.errors import InvalidRecordError, KafkaError, KafkaTimeoutError
from redis import ConnectionError as RedisConnectionError
from redis import OutOfMemoryError, Redis, ResponseError

from snippets import servers
from snippets.kafka import settings
from snippets.kafka.append_in_batches import append_in_batches as kafka_append_in_batches
from snippets.redis_streams.append_in_batches import (
    append_in_batches as redis_append_in_batches,
)
from tests.ledger import claim
from tests.tasks.logs import PATIENCE_S, Event
from tests.tasks.topics import read_topic

OwnRedis = Callable[..., AbstractContextManager[servers.Redis]]
OwnKafka = Callable[..., AbstractContextManager[servers.Kafka]]

EVENTS: list[dict[Any, Any]] = [{"order": str(number)} for number in range(25)]


class Shop(Protocol):
    """A stream or a topic."""

    def append(self, events: Sequence[Event]) -> Sequence[object]:
        """Append events in batches, of ten where they are counted."""

    def events(self) -> list[Event]:
        """Read all that is there."""


class RedisShop:
    """A stream."""

    def __init__(self, redis: Redis, stream: str) -> None:
        """Use the shared server."""
        self._redis, self._stream = redis, stream

    def append(self, events: Sequence[Event]) -> Sequence[object]:
        """Append entries, ten a round trip."""
        return redis_append_in_batches(self._redis, self._stream, events, 10)

    def events(self) -> list[Event]:
        """Read all entries."""
        entries: Any = self._redis.xrange(self._stream)
        return [event for _, event in entries]


class KafkaShop:
    """A topic."""

    def __init__(self, producer: KafkaProducer, topic: str) -> None:
        """Use the shared broker."""
        self._producer, self._topic = producer, topic

    def append(self, events: Sequence[Event]) -> Sequence[object]:
        """Append records."""
        return kafka_append_in_batches(self._producer, self._topic, events, key="ann")

    def events(self) -> list[Event]:
        """Read all records."""
        return read_all(self._topic)


def read_all(topic: str) -> list[Event]:
    """Read the events of a topic."""
    return [json.loads(each.value) for each in read_topic(topic)]


@pytest.fixture(params=["redis_streams", "kafka"])
def shop(request: pytest.FixtureRequest) -> Shop:
    """A stream, and then a topic, that only this test uses."""
    if request.param == "redis_streams":
        return RedisShop(
            request.getfixturevalue("redis"), request.getfixturevalue("stream")
        )
    return KafkaShop(
        request.getfixturevalue("producer"), request.getfixturevalue("topic")
    )


def test_all_events_are_stored_in_order_over_several_batches(shop: Shop) -> None:
    results = shop.append(EVENTS)
    assert len(set(results)) == len(EVENTS)
    assert shop.events() == EVENTS


def test_nothing_is_a_batch_too(shop: Shop) -> None:
    assert list(shop.append([])) == []
    assert shop.events() == []


def test_an_event_without_fields_is_refused_and_nothing_is_stored(shop: Shop) -> None:
    with pytest.raises(ValueError, match="every event needs a field"):
        shop.append([*EVENTS, {}])
    assert shop.events() == []


def test_redis_refuses_batches_of_nothing(redis: Redis, stream: str) -> None:
    with pytest.raises(ValueError, match="every batch an event"):
        redis_append_in_batches(redis, stream, EVENTS, batch_size=0)
    assert redis.xlen(stream) == 0


def test_redis_tells_which_events_had_no_memory_left(own_redis: OwnRedis) -> None:
    config = {"maxmemory": "4mb", "maxmemory-policy": "noeviction", "save": ""}
    events = [{"picture": "x" * 100_000} for _ in range(100)]
    with (
        own_redis(config=config) as server,
        Redis.from_url(server.url, decode_responses=True) as redis,
    ):
        results = redis_append_in_batches(redis, "orders", events, batch_size=30)
        refused = [each for each in results if not isinstance(each, str)]
        assert 0 < len(refused) < len(events)
        assert all(isinstance(each, OutOfMemoryError) for each in refused)
        stored = [each for each in results if isinstance(each, str)]
        assert [entry_id for entry_id, _ in redis.xrange("orders")] == stored


def test_redis_has_an_error_for_each_event_when_the_server_is_gone(
    own_redis: OwnRedis,
) -> None:
    with (
        own_redis() as server,
        Redis.from_url(server.url, decode_responses=True, retry=None) as redis,
    ):
        assert all(redis_append_in_batches(redis, "orders", EVENTS[:3]))
        server.nodes[0].kill()
        results = redis_append_in_batches(redis, "orders", EVENTS, batch_size=10)
    assert len(results) == len(EVENTS)
    assert all(isinstance(each, RedisConnectionError) for each in results)


@claim(servers="redis", since="5.0")
def test_redis_pipeline_goes_on_after_an_error(redis: Redis, stream: str) -> None:
    """In a Redis pipeline, a command that fails stops none after it, and its error comes
    in its place among the replies.
    """
    end = 2**64 - 1
    redis.xadd(stream, EVENTS[0], id=f"{end}-{end - 1}")
    with redis.pipeline(transaction=False) as pipeline:
        for _ in range(2):
            pipeline.xadd(stream, EVENTS[0])
        pipeline.xlen(stream)
        first, second, length = pipeline.execute(raise_on_error=False)
    assert first == f"{end}-{end}"
    assert isinstance(second, ResponseError)
    assert length == 2


def test_redis_takes_a_pipeline_with_few_reads(own_redis: OwnRedis) -> None:
    with own_redis() as server, Redis.from_url(server.url) as redis:

        def reads() -> int:
            return int(redis.info("stats")["total_reads_processed"])

        before = reads()
        for event in EVENTS * 4:
            redis.xadd("orders", event)
        between = reads()
        redis_append_in_batches(redis, "orders", EVENTS * 4)
        after = reads()
        assert between - before >= 100
        assert after - between < 10


def test_kafka_tells_which_event_the_producer_refuses(
    producer: KafkaProducer, topic: str
) -> None:
    events = [EVENTS[0], {"picture": "x" * 2_000_000}, EVENTS[2]]
    first, second, third = kafka_append_in_batches(producer, topic, events)
    assert (first, third) == ((0, 0), (0, 1))
    assert isinstance(second, KafkaError)
    assert read_all(topic) == [EVENTS[0], EVENTS[2]]


def test_kafka_has_an_error_for_each_event_when_the_broker_is_gone(
    own_kafka: OwnKafka,
) -> None:
    hurry = {"delivery_timeout_ms": 500, "request_timeout_ms": 400}
    with own_kafka() as server:
        producer = KafkaProducer(**hurry, **server.settings)
        assert kafka_append_in_batches(producer, "orders", EVENTS[:1]) == [(0, 0)]
        server.brokers[0].kill()
        results = kafka_append_in_batches(producer, "orders", EVENTS)
        producer.close(timeout=0)
    assert len(results) == len(EVENTS)
    assert all(isinstance(each, KafkaTimeoutError) for each in results)


def test_kafka_raises_when_there_is_no_topic_to_be_had(
    producer: KafkaProducer,
) -> None:
    with pytest.raises(ValueError, match="Topic name"):
        kafka_append_in_batches(producer, "no such name", EVENTS)
    with (
        closing(KafkaProducer(**settings() | {"max_block_ms": 1})) as hasty,
        pytest.raises(KafkaTimeoutError),
    ):
        kafka_append_in_batches(hasty, "example-unknown", EVENTS)


@claim(servers="kafka", since="2.4")
def test_kafka_invalid_record_fails_its_whole_batch(
    kafka_environment: None,  # noqa: ARG001
    topic: str,
) -> None:
    """A record that a Kafka broker finds invalid, such as one without a key for a
    compacted topic, fails its whole batch: the valid records beside it are not stored.
    """
    with KafkaAdminClient(**settings()) as admin:
        name = f"{topic}-compacted"
        options = {"configs": {"cleanup.policy": "compact"}}
        admin.create_topics({name: options}, wait_for_metadata=True)
        try:
            with KafkaProducer(linger_ms=60_000, **settings()) as producer:
                keys = (b"ann", None, b"bob")
                futures = [producer.send(name, b"{}", key=key) for key in keys]
                producer.flush()
                assert all(each.failed() for each in futures)
                # The producer tells which one it was.
                guilty = [type(each.exception) is InvalidRecordError for each in futures]
                assert guilty == [False, True, False]
            assert read_all(name) == []
        finally:
            admin.delete_topics([name])


def test_kafka_producer_is_done_after_a_refused_record(
    kafka_environment: None,  # noqa: ARG001
    topic: str,
) -> None:
    with KafkaAdminClient(**settings()) as admin:
        name = f"{topic}-compacted"
        options = {"configs": {"cleanup.policy": "compact"}}
        admin.create_topics({name: options}, wait_for_metadata=True)
        try:
            with KafkaProducer(**settings()) as producer:
                (refused,) = kafka_append_in_batches(producer, name, EVENTS[:1])
                assert isinstance(refused, InvalidRecordError)
                for results in (
                    kafka_append_in_batches(producer, name, EVENTS[:2], key="ann"),
                    kafka_append_in_batches(producer, topic, EVENTS[:2]),
                ):
                    assert all(isinstance(each, InvalidRecordError) for each in results)
            with KafkaProducer(**settings()) as another:
                assert kafka_append_in_batches(another, name, EVENTS[:1], key="ann") == [
                    (0, 0)
                ]
            assert read_all(name) == EVENTS[:1]
        finally:
            admin.delete_topics([name])


@claim(servers="kafka", since="0.8")
def test_kafka_flush_raises_nothing_for_a_refused_record(
    kafka_environment: None,  # noqa: ARG001
    topic: str,
) -> None:
    """In kafka-python, `flush()` returns without an error although the broker has refused
    a record: only the future that `send()` returned tells.
    """
    with KafkaAdminClient(**settings()) as admin:
        name = f"{topic}-of-short-records"
        options = {"configs": {"max.message.bytes": "500"}}
        admin.create_topics({name: options}, wait_for_metadata=True)
        try:
            with KafkaProducer(**settings()) as producer:
                future = producer.send(name, b"x" * 1000)
                producer.flush()
            assert future.failed()
            with pytest.raises(KafkaError, match="TooLarge"):
                future.get(PATIENCE_S)
            assert read_all(name) == []
        finally:
            admin.delete_topics([name])


@claim(servers="kafka", since="0.8")
def test_kafka_waiting_for_each_record_sends_it_alone(topic: str) -> None:
    """A Kafka producer that waits for each acknowledgment sends one record a request;
    a hundred sent before the first wait, with time to linger, share one request.
    """
    patient = {"linger_ms": 60_000}
    for options, per_request in (({}, 1), (patient, 100)):
        with KafkaProducer(**options, **settings()) as producer:
            if options:
                kafka_append_in_batches(producer, topic, EVENTS * 4)
            else:
                for event in EVENTS * 4:
                    producer.send(topic, json.dumps(event).encode()).get(PATIENCE_S)
            metrics = producer.metrics()["producer-metrics"]
            assert metrics["records-per-request-avg"] == per_request
