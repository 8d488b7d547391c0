"""Acknowledge: what is not acknowledged comes again; by entry or by offset differs."""

import json
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer, OffsetAndMetadata, TopicPartition
from redis import Redis, ResponseError

from snippets.kafka import settings
from snippets.kafka.acknowledge import acknowledge as kafka_acknowledge
from snippets.kafka.acknowledge import unacknowledged as kafka_unacknowledged
from snippets.kafka.read_group import join as kafka_join
from snippets.redis_streams.acknowledge import acknowledge as redis_acknowledge
from snippets.redis_streams.acknowledge import unacknowledged as redis_unacknowledged
from snippets.redis_streams.read_group import join as redis_join
from tests.ledger import claim
from tests.tasks.logs import PATIENCE_S, Event, Log
from tests.tasks.workers import killed

EVENTS: list[dict[Any, Any]] = [{"order": str(number)} for number in range(3)]


def test_what_was_taken_and_not_acknowledged_comes_again_to_the_same_member(
    log: Log,
) -> None:
    for event in EVENTS:
        log.append(event)
    crashed = log.consumer("billing", "worker-1")
    crashed.take(3)
    crashed.leave()
    handled: list[Event] = []
    log.consumer("billing", "worker-1").read(handled.append, 10)
    assert handled == EVENTS


def taken(redis: Redis, stream: str) -> list[str]:
    """Append the events and let a worker of a group take them; return their IDs."""
    ids = [str(redis.xadd(stream, event)) for event in EVENTS]
    redis_join(redis, stream, "billing")
    redis.xreadgroup("billing", "worker-1", {stream: ">"})
    return ids


def test_redis_lists_what_is_unacknowledged_with_its_gaps(
    redis: Redis, stream: str
) -> None:
    ids = taken(redis, stream)
    redis_acknowledge(redis, stream, "billing", ids[1])
    assert redis_unacknowledged(redis, stream, "billing") == [ids[0], ids[2]]
    assert redis_unacknowledged(redis, stream, "billing", count=1) == ids[:1]


def test_redis_refuses_what_is_not_pending(redis: Redis, stream: str) -> None:
    ids = taken(redis, stream)
    redis_acknowledge(redis, stream, "billing", ids[0])
    with pytest.raises(LookupError, match="not pending"):
        redis_acknowledge(redis, stream, "billing", ids[0])
    with pytest.raises(LookupError, match="not pending"):
        redis_acknowledge(redis, stream, "no-such-group", ids[1])
    with pytest.raises(ResponseError, match="Invalid stream ID"):
        redis_acknowledge(redis, stream, "billing", "not-an-id")
    with pytest.raises(ResponseError, match="NOGROUP"):
        redis_unacknowledged(redis, stream, "no-such-group")
    assert redis_unacknowledged(redis, stream, "billing") == ids[1:]


@claim(servers="redis", since="5.0")
def test_redis_acknowledging_in_vain_is_no_error(redis: Redis, stream: str) -> None:
    """`XACK` for an entry that isn't pending, for a group or for a stream that isn't
    there returns 0, and no error.
    """
    ids = taken(redis, stream)
    assert redis.xack(stream, "billing", "0-1") == 0
    assert redis.xack(stream, "no-such-group", ids[0]) == 0
    assert redis.xack("no-such-stream", "billing", ids[0]) == 0
    assert redis.xack(stream, "billing", ids[0]) == 1


@claim(servers="redis", since="5.0")
def test_redis_killed_consumer_gets_its_work_again_by_its_name(
    redis: Redis, stream: str, tmp_path: Path
) -> None:
    """A Redis consumer killed between its work and `XACK` gets the entry again when it
    is back under the same name and reads from `0`, and so does the work twice.
    """
    for event in EVENTS:
        redis.xadd(stream, event)
    redis_join(redis, stream, "billing")
    work = tmp_path / "work"
    killed(
        """
        def done(order): open(sys.argv[1], "a").write(order)
        from snippets.redis_streams import connect
        redis = connect()
        batch = redis.xreadgroup("billing", "worker-1", {sys.argv[2]: ">"}, count=2)
        ((_, ((first, event), (_, event_2))),) = batch
        done(event["order"])
        redis.xack(sys.argv[2], "billing", first)
        done(event_2["order"])
        os.kill(os.getpid(), 9)
        """,
        work,
        stream,
    )
    again: Any = redis.xreadgroup("billing", "worker-1", {stream: "0"})
    ((_, entries),) = again
    assert work.read_text() == "01"
    assert [event for _, event in entries] == [EVENTS[1]]


@claim(servers="kafka", since="2.3")
def test_kafka_killed_consumer_gets_its_work_again_by_its_instance_id(
    topic: str, producer: KafkaProducer, tmp_path: Path
) -> None:
    """A Kafka consumer killed between its work and its commit gets the record again as
    soon as it is back with the same `group.instance.id`, before its session has ended.
    """
    for event in EVENTS:
        producer.send(topic, json.dumps(event).encode()).get()
    work = tmp_path / "work"
    killed(
        """
        def done(order): open(sys.argv[1], "a").write(order)
        import json
        from snippets.kafka import settings
        from snippets.kafka.acknowledge import acknowledge
        from snippets.kafka.read_group import join
        own = {"group_instance_id": "worker-1", "session_timeout_ms": 300_000}
        consumer = join(sys.argv[2], sys.argv[2], **own, **settings())
        first, second = next(consumer), next(consumer)
        done(json.loads(first.value)["order"])
        acknowledge(consumer, sys.argv[2], 0, first.offset)
        done(json.loads(second.value)["order"])
        os.kill(os.getpid(), 9)
        """,
        work,
        topic,
    )
    # The group is this test's own: a static member leaves only when its session ends.
    own = {"group_instance_id": "worker-1"}
    with kafka_join(topic, topic, **own, **settings()) as consumer:
        batch = consumer.poll(timeout_ms=int(PATIENCE_S * 1000))
    events = [json.loads(each.value) for records in batch.values() for each in records]
    assert work.read_text() == "01"
    assert events[0] == EVENTS[1]


def test_kafka_counts_from_the_beginning_until_something_is_acknowledged(
    topic: str, producer: KafkaProducer
) -> None:
    for event in EVENTS:
        producer.send(topic, json.dumps(event).encode()).get()
    with kafka_join(topic, "billing", **settings()) as consumer:
        assert kafka_unacknowledged(consumer, topic, 0) == range(3)
        records = [next(consumer) for _ in EVENTS]
        kafka_acknowledge(consumer, topic, 0, records[1].offset)
        assert kafka_unacknowledged(consumer, topic, 0) == range(2, 3)


def test_kafka_refuses_to_go_back(topic: str, producer: KafkaProducer) -> None:
    for event in EVENTS:
        producer.send(topic, json.dumps(event).encode()).get()
    with kafka_join(topic, "billing", **settings()) as consumer:
        records = [next(consumer) for _ in EVENTS]
        kafka_acknowledge(consumer, topic, 0, records[2].offset)
        for offset in (records[0].offset, -1):
            with pytest.raises(ValueError, match="acknowledged already: 3 is next"):
                kafka_acknowledge(consumer, topic, 0, offset)
        assert kafka_unacknowledged(consumer, topic, 0) == range(3, 3)


@claim(servers="kafka", since="0.9")
def test_kafka_commit_moves_a_group_back(topic: str, producer: KafkaProducer) -> None:
    """Kafka accepts a commit of a smaller offset than the last one: the group goes back,
    and gets records again that it has acknowledged.
    """
    for event in EVENTS:
        producer.send(topic, json.dumps(event).encode()).get()
    place = TopicPartition(topic, 0)
    with kafka_join(topic, "billing", **settings()) as consumer:
        for _ in EVENTS:
            next(consumer)
        for offset in (3, 1):
            consumer.commit({place: OffsetAndMetadata(offset, "", -1)})
    with kafka_join(topic, "billing", **settings()) as consumer:
        assert json.loads(next(consumer).value) == EVENTS[1]
