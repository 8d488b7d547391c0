"""Append an event: both keep the order; positions and keys differ."""

from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError
from redis import DataError, Redis, ResponseError

from snippets.kafka import settings, temporary_topic
from snippets.kafka.append import append as kafka_append
from snippets.redis_streams.append import append as redis_append
from tests.ledger import claim
from tests.tasks.logs import Log

TEA: dict[Any, Any] = {"sku": "tea"}
MILK = {"sku": "milk"}
JAM = {"sku": "jam"}


def test_events_come_back_in_the_order_of_their_appends(log: Log) -> None:
    for event in (TEA, MILK, JAM):
        log.append(event)
    assert log.events(3) == [TEA, MILK, JAM]


def test_equal_events_are_events_of_their_own(log: Log) -> None:
    assert log.append(TEA) != log.append(TEA)
    assert log.events(2) == [TEA, TEA]


def test_any_text_comes_back_as_it_was(log: Log) -> None:
    event = {"": "", "naïve ключ": "línea\r\n\0 end", "json": '{"a": [1]}'}
    log.append(event)
    assert log.events(1) == [event]


def test_an_event_without_fields_is_refused_and_nothing_is_stored(log: Log) -> None:
    with pytest.raises((ValueError, DataError)):
        log.append({})
    log.append(TEA)
    assert log.events(1) == [TEA]


@claim(servers="redis", since="5.0")
def test_redis_gives_each_entry_an_id_greater_than_all_before(
    redis: Redis, stream: str
) -> None:
    """Redis gives every entry an ID `<ms>-<seq>` that is greater than all before it in
    the stream, and refuses a smaller one that a client chooses.
    """
    ids = [redis_append(redis, stream, TEA) for _ in range(100)]
    pairs = [tuple(map(int, each.split("-"))) for each in ids]
    assert pairs == sorted(set(pairs))
    redis.xadd(stream, TEA, id="99999999999999-5")
    with pytest.raises(ResponseError, match="equal or smaller"):
        redis.xadd(stream, TEA, id="99999999999999-4")
    assert redis_append(redis, stream, TEA) == "99999999999999-6"


def test_redis_refuses_a_key_that_is_no_stream(redis: Redis, stream: str) -> None:
    redis.set(stream, "text")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        redis_append(redis, stream, TEA)


@claim(servers="redis", since="5.0")
def test_redis_stream_grows_until_it_is_trimmed(redis: Redis, stream: str) -> None:
    """A Redis stream has no bound by default: it keeps every entry until something trims
    it or deletes the key.
    """
    with redis.pipeline(transaction=False) as pipeline:
        for number in range(20_000):
            pipeline.xadd(stream, {"number": str(number)})
        pipeline.execute()
    assert redis.xlen(stream) == 20_000
    assert redis.ttl(stream) == -1
    redis.xtrim(stream, maxlen=10, approximate=False)
    assert redis.xlen(stream) == 10


@claim(servers="kafka", since="0.8")
def test_kafka_keeps_order_per_key(kafka_environment: None) -> None:  # noqa: ARG001
    """Kafka puts all records of one key into one partition, in the order in which one
    producer sends them.
    """
    with (
        temporary_topic(partitions=3) as topic,
        KafkaProducer(**settings()) as producer,
        KafkaConsumer(**settings()) as consumer,
    ):
        for number in range(10):
            for key in ("ann", "bob", "cy", "dee"):
                kafka_append(producer, topic, {"number": str(number)}, key=key)
        partitions = [TopicPartition(topic, number) for number in range(3)]
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        found: dict[str, list[tuple[int, int]]] = {}
        for _ in range(40):
            record = next(consumer)
            place = (record.partition, record.offset)
            found.setdefault(record.key.decode(), []).append(place)
    for places in found.values():
        assert len(places) == 10
        assert len({partition for partition, _ in places}) == 1
        assert places == sorted(places)
    assert len({places[0][0] for places in found.values()}) > 1


def test_kafka_refuses_a_record_over_the_limit(
    producer: KafkaProducer, topic: str
) -> None:
    with pytest.raises(KafkaError, match="larger than"):
        kafka_append(producer, topic, {"blob": "x" * 2_000_000})
