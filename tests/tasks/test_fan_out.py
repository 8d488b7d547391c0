"""Fan out: groups don't notice each other; where a new one starts must be said."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import NoOffsetForPartitionError
from redis import Redis, ResponseError

from snippets import kafka, redis_streams
from snippets.kafka import fan_out as kafka_fan_out
from snippets.kafka.append import append as kafka_append
from snippets.kafka.read_group import join as kafka_join
from snippets.redis_streams import fan_out as redis_fan_out
from snippets.redis_streams.append import append as redis_append
from tests.ledger import claim
from tests.tasks.logs import Event

TEA, MILK = {"sku": "tea"}, {"sku": "milk"}


class FanOut(NamedTuple):
    """The task's functions for one log, and how to append to it."""

    append: Callable[[Event], object]
    add_group: Callable[..., bool]
    read_as: Callable[..., list[Event]]


@pytest.fixture(params=["redis_streams", "kafka"])
def fan_out(
    request: pytest.FixtureRequest,
    redis: Redis,
    kafka_environment: None,  # noqa: ARG001
) -> Iterator[FanOut]:
    """The task on a stream, and then on a topic."""
    if request.param == "redis_streams":
        with redis_streams.temporary_stream(redis) as stream:
            yield FanOut(
                partial(redis_append, redis, stream),
                partial(redis_fan_out.add_group, redis, stream),
                partial(redis_fan_out.read_as, redis, stream),
            )
    else:
        client = kafka.settings()
        with kafka.temporary_topic() as topic, KafkaProducer(**client) as producer:
            yield FanOut(
                partial(kafka_append, producer, topic),
                partial(kafka_fan_out.add_group, topic, **client),
                partial(kafka_fan_out.read_as, topic, **client),
            )


def test_each_group_gets_every_event_once(fan_out: FanOut) -> None:
    for group in ("billing", "shipping"):
        assert fan_out.add_group(group, from_beginning=True)
    for event in (TEA, MILK):
        fan_out.append(event)
    for group in ("billing", "shipping"):
        assert fan_out.read_as(group) == [TEA, MILK]
        assert fan_out.read_as(group) == []


def test_a_group_starts_at_the_beginning_or_now(fan_out: FanOut) -> None:
    fan_out.append(TEA)
    fan_out.add_group("billing", from_beginning=True)
    fan_out.add_group("alerts", from_beginning=False)
    fan_out.append(MILK)
    assert fan_out.read_as("billing") == [TEA, MILK]
    assert fan_out.read_as("alerts") == [MILK]


def test_a_group_that_is_there_keeps_its_place(fan_out: FanOut) -> None:
    fan_out.add_group("billing", from_beginning=True)
    fan_out.append(TEA)
    assert fan_out.read_as("billing") == [TEA]
    assert not fan_out.add_group("billing", from_beginning=True)
    assert fan_out.read_as("billing") == []


def test_a_group_reads_no_more_than_it_asks_for(fan_out: FanOut) -> None:
    fan_out.add_group("billing", from_beginning=True)
    for event in (TEA, MILK):
        fan_out.append(event)
    assert fan_out.read_as("billing", count=1) == [TEA]
    assert fan_out.read_as("billing", count=1) == [MILK]


def test_redis_refuses_a_key_that_is_no_stream(redis: Redis, stream: str) -> None:
    redis.set(stream, "text")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        redis_fan_out.add_group(redis, stream, "billing", from_beginning=True)


def test_redis_refuses_to_read_as_a_group_that_is_not_there(
    redis: Redis, stream: str
) -> None:
    redis.xadd(stream, {"sku": "tea"})
    with pytest.raises(ResponseError, match="NOGROUP"):
        redis_fan_out.read_as(redis, stream, "billing")


@claim(servers="redis", since="5.0")
def test_redis_group_must_be_created(redis: Redis, stream: str) -> None:
    """A Redis group must be created, with the ID after which it starts, before it can
    read: until then `XREADGROUP` answers `NOGROUP`.
    """
    entry: Any = {"sku": "tea"}
    first = redis.xadd(stream, entry)
    redis.xadd(stream, entry)
    with pytest.raises(ResponseError, match="NOGROUP"):
        redis.xreadgroup("billing", "worker-1", {stream: ">"})
    redis.xgroup_create(stream, "billing", id=first)
    batch: Any = redis.xreadgroup("billing", "worker-1", {stream: ">"})
    assert len(batch[0][1]) == 1


@pytest.mark.usefixtures("kafka_environment")
def test_kafka_refuses_a_topic_that_is_not_there() -> None:
    with pytest.raises(LookupError, match="no topic no-such-topic"):
        kafka_fan_out.add_group(
            "no-such-topic", "billing", from_beginning=True, **kafka.settings()
        )


def test_kafka_refuses_to_read_as_a_group_without_a_place(topic: str) -> None:
    with pytest.raises(NoOffsetForPartitionError):
        kafka_fan_out.read_as(topic, "billing", **kafka.settings())


def test_kafka_waits_for_a_partition_no_longer_than_it_is_told(topic: str) -> None:
    kafka_fan_out.add_group(topic, topic, from_beginning=True, **kafka.settings())
    with (
        kafka_join(topic, topic, client_id="a", **kafka.settings()) as member,
        ThreadPoolExecutor() as pool,
    ):
        # As in `read_as`: so that the client doesn't forget what it was assigned.
        member.partitions_for_topic(topic)
        while not member.assignment():
            member.poll(timeout_ms=100)
        late = pool.submit(
            partial(kafka_fan_out.read_as, timeout_s=1, client_id="z"),
            topic,
            topic,
            **kafka.settings(),
        )
        # The partition goes to the first by name, which takes part in the rebalance.
        while not late.done():
            member.poll(timeout_ms=100)
        with pytest.raises(TimeoutError, match=f"no partition of {topic}"):
            late.result()


@claim(servers="kafka", since="0.9")
def test_kafka_new_group_passes_over_what_is_there(
    topic: str, producer: KafkaProducer
) -> None:
    """A new Kafka group with the default `auto.offset.reset`, which is `latest`, never
    gets what was in the topic before its first consumer had its partitions.
    """
    producer.send(topic, json.dumps(TEA).encode()).get()
    with KafkaConsumer(topic, group_id="billing", **kafka.settings()) as consumer:
        consumer.partitions_for_topic(topic)
        while not consumer.assignment():
            consumer.poll(timeout_ms=100)
        place = TopicPartition(topic, 0)
        assert consumer.position(place) == 1
        producer.send(topic, json.dumps(MILK).encode()).get()
        assert json.loads(next(consumer).value) == MILK
