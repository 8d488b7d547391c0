"""Read as a group: each event is handled once it has been acknowledged."""

import json
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from redis import Redis, ResponseError

from snippets.kafka import settings, temporary_topic
from snippets.kafka.read_group import join as kafka_join
from snippets.kafka.read_group import read_group as kafka_read_group
from snippets.redis_streams.read_group import join as redis_join
from snippets.redis_streams.read_group import read_group as redis_read_group
from tests.ledger import claim
from tests.tasks.logs import PATIENCE_S, Event, Log

EVENTS: list[dict[Any, Any]] = [{"order": str(number)} for number in range(4)]
PATIENCE_MS = int(PATIENCE_S * 1000)


def test_a_group_handles_every_event_once_and_in_order(log: Log) -> None:
    for event in EVENTS:
        log.append(event)
    consumer = log.consumer("billing", "worker-1")
    handled: list[Event] = []
    assert consumer.read(handled.append, 3) == 3
    assert consumer.read(handled.append, 3) == 1
    assert consumer.read(handled.append, 3) == 0
    assert handled == EVENTS


def test_each_group_handles_every_event(log: Log) -> None:
    for event in EVENTS:
        log.append(event)
    for group in ("billing", "shipping"):
        handled: list[Event] = []
        log.consumer(group, "worker-1").read(handled.append, 10)
        assert handled == EVENTS


def test_an_event_whose_work_fails_comes_again_and_none_is_lost(log: Log) -> None:
    for event in EVENTS:
        log.append(event)
    consumer = log.consumer("billing", "worker-1")
    handled: list[Event] = []

    def fail_at_order_1(event: Event) -> None:
        if event == EVENTS[1]:
            raise LookupError(event)
        handled.append(event)

    with pytest.raises(LookupError):
        consumer.read(fail_at_order_1, 10)
    with pytest.raises(LookupError):
        consumer.read(fail_at_order_1, 10)
    while len(handled) < len(EVENTS):
        consumer.read(handled.append, 10)
    assert handled == EVENTS


def test_a_member_that_comes_back_goes_on_where_it_was(log: Log) -> None:
    for event in EVENTS:
        log.append(event)
    handled: list[Event] = []
    first = log.consumer("billing", "worker-1")
    first.read(handled.append, 2)
    first.leave()
    log.consumer("billing", "worker-1").read(handled.append, 10)
    assert handled == EVENTS


def test_redis_starts_a_group_anew_for_nobody(redis: Redis, stream: str) -> None:
    redis.xadd(stream, {"order": "0"})
    redis_join(redis, stream, "billing")
    redis_read_group(redis, stream, "billing", "worker-1", print)
    redis_join(redis, stream, "billing")
    assert redis_read_group(redis, stream, "billing", "worker-1", print, block_ms=1) == 0


def test_redis_refuses_a_group_that_is_not_there(redis: Redis, stream: str) -> None:
    redis.xadd(stream, {"order": "0"})
    with pytest.raises(ResponseError, match="NOGROUP"):
        redis_read_group(redis, stream, "billing", "worker-1", print)


def test_redis_refuses_a_group_on_a_key_that_is_no_stream(
    redis: Redis, stream: str
) -> None:
    redis.set(stream, "text")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        redis_join(redis, stream, "billing")


def test_redis_passes_over_a_pending_entry_that_was_trimmed(
    redis: Redis, stream: str
) -> None:
    redis.xadd(stream, {"order": "0"})
    redis_join(redis, stream, "billing")
    redis.xreadgroup("billing", "worker-1", {stream: ">"})
    redis.xtrim(stream, maxlen=0, approximate=False)
    handled: list[Event] = []
    redis_read_group(redis, stream, "billing", "worker-1", handled.append, block_ms=1)
    assert handled == []
    assert redis.xpending(stream, "billing")["pending"] == 0


@claim(servers="redis", since="5.0")
def test_redis_group_keeps_one_last_delivered_id(redis: Redis, stream: str) -> None:
    """A Redis consumer group keeps one last-delivered ID for the whole stream; a consumer
    has no position of its own, only the entries that are pending for it.
    """
    ids = [str(redis.xadd(stream, event)) for event in EVENTS]
    redis_join(redis, stream, "billing")
    for worker in ("worker-1", "worker-2", "worker-1"):
        redis.xreadgroup("billing", worker, {stream: ">"}, count=1)
    (group,) = redis.xinfo_groups(stream)
    assert group["last-delivered-id"] == ids[2]
    consumers = {each["name"]: each for each in redis.xinfo_consumers(stream, "billing")}
    assert consumers["worker-1"]["pending"] == 2
    assert consumers["worker-2"]["pending"] == 1
    assert all(
        set(each) <= {"name", "pending", "idle", "inactive"}
        for each in consumers.values()
    )


@claim(servers="redis", since="5.0")
def test_redis_acknowledges_one_by_one_in_any_order(redis: Redis, stream: str) -> None:
    """Redis acknowledges entries one by one, in any order: those before and after an
    acknowledged entry stay pending.
    """
    ids = [str(redis.xadd(stream, event)) for event in EVENTS]
    redis_join(redis, stream, "billing")
    redis.xreadgroup("billing", "worker-1", {stream: ">"})
    assert redis.xack(stream, "billing", ids[2]) == 1
    pending = redis.xpending_range(stream, "billing", "-", "+", 10)
    assert [each["message_id"] for each in pending] == [ids[0], ids[1], ids[3]]


@claim(servers="redis", since="5.0")
def test_redis_acknowledging_frees_no_memory(redis: Redis, stream: str) -> None:
    """`XACK` takes an entry off the group's pending list and leaves it in the stream,
    which keeps its memory until it is trimmed.
    """
    for event in EVENTS:
        redis.xadd(stream, event)
    redis_join(redis, stream, "billing")
    assert redis_read_group(redis, stream, "billing", "worker-1", print) == 4
    assert redis.xpending(stream, "billing")["pending"] == 0
    assert redis.xlen(stream) == 4


@claim(servers="redis", since="5.0")
def test_redis_shares_a_stream_without_regard_to_keys(redis: Redis, stream: str) -> None:
    """Two consumers of a Redis group both get entries of the same key, so that the order
    per key ends where the second consumer begins.
    """
    for number in range(4):
        redis.xadd(stream, {"customer": "ann", "number": str(number)})
    redis_join(redis, stream, "billing")
    for worker in ("worker-1", "worker-2"):
        batch: Any = redis.xreadgroup("billing", worker, {stream: ">"}, count=2)
        ((_, entries),) = batch
        assert [event["customer"] for _, event in entries] == ["ann", "ann"]


@claim(servers="kafka", since="0.9")
def test_kafka_group_keeps_one_offset_per_partition(
    kafka_environment: None,  # noqa: ARG001
) -> None:
    """A Kafka group keeps one committed offset for each partition, whichever of its
    consumers read it.
    """
    with temporary_topic(partitions=2) as topic:
        with KafkaProducer(**settings()) as producer:
            for partition in (0, 1):
                for event in EVENTS:
                    producer.send(topic, json.dumps(event).encode(), partition=partition)
        handled: list[Event] = []
        with kafka_join(topic, "billing", **settings()) as consumer:
            while len(handled) < 8:
                kafka_read_group(consumer, handled.append, timeout_ms=PATIENCE_MS)
        with KafkaConsumer(group_id="billing", **settings()) as another:
            committed = {n: another.committed(TopicPartition(topic, n)) for n in (0, 1)}
    assert committed == {0: 4, 1: 4}


@claim(servers="kafka", since="0.9")
def test_kafka_commit_covers_all_before_it(topic: str, producer: KafkaProducer) -> None:
    """Committing offset N in Kafka gives up every record before N of that partition,
    handled or not: the group never gets them again.
    """
    for event in EVENTS:
        producer.send(topic, json.dumps(event).encode())
    producer.flush()
    with kafka_join(topic, "billing", **settings()) as consumer:
        taken = [next(consumer) for _ in range(3)]
        # The work for the first two has failed; the third is done, and is committed.
        next_offset = OffsetAndMetadata(taken[2].offset + 1, "", -1)
        consumer.commit({TopicPartition(topic, 0): next_offset})
    handled: list[Event] = []
    with kafka_join(topic, "billing", **settings()) as consumer:
        kafka_read_group(consumer, handled.append, timeout_ms=PATIENCE_MS)
    assert handled == EVENTS[3:]


@claim(servers="kafka", since="0.9")
def test_kafka_leaves_consumers_beyond_the_partitions_idle(
    kafka_environment: None,  # noqa: ARG001
) -> None:
    """A Kafka consumer group with more consumers than partitions gives every partition to
    one of them, and nothing to the rest.
    """
    with temporary_topic(partitions=2) as topic:
        group = [kafka_join(topic, "billing", **settings()) for _ in range(3)]
        try:
            # kafka-python 3.0.12 can forget what it was assigned if it learns of the
            # topic while it joins.
            for each in group:
                each.partitions_for_topic(topic)
            while sum(len(each.assignment()) for each in group) != 2 or not all(
                _settled(each) for each in group
            ):
                for each in group:
                    each.poll(timeout_ms=50)
            assert sorted(len(each.assignment()) for each in group) == [0, 1, 1]
        finally:
            for each in group:
                each.close(autocommit=False)


def _settled(consumer: KafkaConsumer) -> bool:
    """Tell whether the consumer knows the generation of a group of three."""
    return bool(consumer.group_metadata().generation_id >= 1)


def test_kafka_rewinds_all_partitions_of_a_batch_that_fails(
    kafka_environment: None,  # noqa: ARG001
) -> None:
    with temporary_topic(partitions=2) as topic:
        with KafkaProducer(**settings()) as producer:
            for number in range(6):
                event = json.dumps({"order": str(number)}).encode()
                producer.send(topic, event, partition=number % 2)
        handled: list[Event] = []

        def fail_once(event: Event) -> None:
            if len(handled) == 1 and not failed:
                failed.append(event)
                raise LookupError(event)
            handled.append(event)

        failed: list[Event] = []
        with kafka_join(topic, "billing", **settings()) as consumer:
            while not failed:
                try:
                    kafka_read_group(consumer, fail_once, timeout_ms=PATIENCE_MS)
                except LookupError:
                    break
            while len(handled) < 6:
                kafka_read_group(consumer, handled.append, timeout_ms=PATIENCE_MS)
    assert sorted(int(event["order"]) for event in handled) == list(range(6))
