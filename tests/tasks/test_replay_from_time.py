"""Replay from a time: both find the place; whose clock it is differs, and who moves."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import CommitFailedError, OffsetOutOfRangeError
from redis import Redis, ResponseError

from snippets import kafka, redis_streams
from snippets.kafka import fan_out as kafka_fan_out
from snippets.kafka.read_group import join as kafka_join
from snippets.kafka.replay_from_time import move_group as kafka_move_group
from snippets.kafka.replay_from_time import replay_from_time as kafka_replay
from snippets.redis_streams import fan_out as redis_fan_out
from snippets.redis_streams.replay_from_time import move_group as redis_move_group
from snippets.redis_streams.replay_from_time import replay_from_time as redis_replay
from tests.ledger import claim
from tests.tasks.logs import PATIENCE_S, Event
from tests.tasks.topics import SMALL, STARVED

# Not so old that a broker's retention would delete it.
BEGAN = datetime.now(tz=UTC).replace(microsecond=0) - timedelta(hours=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EVENTS: list[dict[Any, Any]] = [{"minute": str(minute)} for minute in (0, 10, 20, 30)]


def at(minute: float) -> datetime:
    """Return the time of a minute."""
    return BEGAN + timedelta(minutes=minute)


def ms(minute: float) -> int:
    """Return the time of a minute in milliseconds."""
    return (at(minute) - EPOCH) // timedelta(milliseconds=1)


def redis_append(redis: Redis, stream: str, event: dict[Any, Any]) -> None:
    """Append an entry of the event's minute."""
    redis.xadd(stream, event, id=f"{ms(int(event['minute']))}-0")


def kafka_append(producer: KafkaProducer, topic: str, event: Event) -> None:
    """Append a record of the event's minute."""
    value = json.dumps(event).encode()
    producer.send(topic, value, timestamp_ms=ms(int(event["minute"]))).get()


def kafka_read_as(topic: str, group: str, partitions: int = 1) -> list[Event]:
    """Read what is new to a group, in its name but without a rebalance; commit it."""
    with KafkaConsumer(
        group_id=group,
        auto_offset_reset="none",
        enable_auto_commit=False,
        **kafka.settings(),
    ) as consumer:
        places = [TopicPartition(topic, number) for number in range(partitions)]
        consumer.assign(places)
        ends = consumer.end_offsets(places)
        events: list[Event] = []
        while any(consumer.position(place) < end for place, end in ends.items()):
            for records in consumer.poll(timeout_ms=100).values():
                events += [json.loads(record.value) for record in records]
        consumer.commit()
    return events


class Replay(NamedTuple):
    """The task's functions for one log, how to append, and a group to read as."""

    group: str
    append: Callable[[Event], None]
    replay: Callable[..., Iterator[Event]]
    move_group: Callable[[str, datetime], None]
    add_group: Callable[..., bool]
    read_as: Callable[..., list[Event]]


@pytest.fixture(params=["redis_streams", "kafka"])
def log(
    request: pytest.FixtureRequest,
    redis: Redis,
    kafka_environment: None,  # noqa: ARG001
) -> Iterator[Replay]:
    """The task on a stream, and then on a topic of one partition."""
    if request.param == "redis_streams":
        with redis_streams.temporary_stream(redis) as stream:
            yield Replay(
                f"billing-{stream}",
                partial(redis_append, redis, stream),
                partial(redis_replay, redis, stream),
                partial(redis_move_group, redis, stream),
                partial(redis_fan_out.add_group, redis, stream),
                partial(redis_fan_out.read_as, redis, stream),
            )
    else:
        client = kafka.settings()
        with kafka.temporary_topic() as topic, KafkaProducer(**client) as producer:
            yield Replay(
                f"billing-{topic}",
                partial(kafka_append, producer, topic),
                partial(kafka_replay, topic, **client),
                partial(kafka_move_group, topic, **client),
                partial(kafka_fan_out.add_group, topic, **client),
                partial(kafka_read_as, topic),
            )


def test_a_replay_begins_at_the_millisecond(log: Replay) -> None:
    for event in EVENTS:
        log.append(event)
    millisecond = timedelta(milliseconds=1)
    for since, left in (
        (EPOCH - millisecond, 4),
        (EPOCH, 4),
        (at(10), 3),
        (at(10) + millisecond / 2, 3),
        (at(10) + millisecond, 2),
        (at(30), 1),
        (at(30) + millisecond, 0),
    ):
        assert list(log.replay(since)) == EVENTS[4 - left :], since


def test_a_replay_ends_although_others_append(log: Replay) -> None:
    for event in EVENTS[:3]:
        log.append(event)
    replayed: list[Event] = []
    for event in log.replay(at(10)):
        if not replayed:
            log.append(EVENTS[3])
        replayed.append(event)
    assert replayed == EVENTS[1:3]


def test_nothing_is_replayed_from_an_empty_log(log: Replay) -> None:
    assert list(log.replay(at(0))) == []


def test_a_group_gets_again_what_it_has_acknowledged(log: Replay) -> None:
    for event in EVENTS:
        log.append(event)
    another = f"{log.group}-another"
    for group in (log.group, another):
        log.add_group(group, from_beginning=True)
    assert log.read_as(log.group) == EVENTS
    for since, left in ((at(20), 2), (EPOCH, 4), (at(40), 0)):
        log.move_group(log.group, since)
        assert log.read_as(log.group) == EVENTS[4 - left :]
    assert log.read_as(another) == EVENTS


def test_a_group_skips_to_a_time(log: Replay) -> None:
    for event in EVENTS:
        log.append(event)
    log.add_group(log.group, from_beginning=True)
    log.move_group(log.group, at(30))
    assert log.read_as(log.group) == EVENTS[3:]


def test_a_time_without_a_zone_is_refused(log: Replay) -> None:
    for event in EVENTS:
        log.append(event)
    log.add_group(log.group, from_beginning=False)
    somewhere = at(0).replace(tzinfo=None)
    with pytest.raises(TypeError, match="offset-naive"):
        list(log.replay(somewhere))
    with pytest.raises(TypeError, match="offset-naive"):
        log.move_group(log.group, somewhere)
    assert log.read_as(log.group) == []


def test_redis_replays_in_pages_of_any_size_but_none(redis: Redis, stream: str) -> None:
    for event in EVENTS:
        redis_append(redis, stream, event)
    for page in (1, 2, 3):
        assert list(redis_replay(redis, stream, at(0), page)) == EVENTS
    with pytest.raises(ValueError, match="a page of 0 entries"):
        list(redis_replay(redis, stream, at(0), 0))


def test_redis_refuses_what_is_not_there(redis: Redis, stream: str) -> None:
    with pytest.raises(ResponseError, match="requires the key to exist"):
        redis_move_group(redis, stream, "billing", at(0))
    redis_append(redis, stream, EVENTS[0])
    with pytest.raises(ResponseError, match="NOGROUP"):
        redis_move_group(redis, stream, "billing", at(0))
    redis.set(stream, "text")
    for use in (redis_replay, partial(redis_move_group, group="billing")):
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            list(use(redis, stream, since=at(0)) or ())


@claim(servers="redis", since="5.0")
def test_redis_setid_counts_its_id_as_delivered(redis: Redis, stream: str) -> None:
    """`XGROUP SETID` to a bare millisecond makes a group miss the first entry of that
    millisecond, since the ID given counts as delivered; `XRANGE` from it begins there.
    """
    for number in range(2):
        redis.xadd(stream, {"number": str(number)}, id=f"{ms(0)}-{number}")
    redis.xgroup_create(stream, "billing", id="0")
    redis.xgroup_setid(stream, "billing", str(ms(0)))
    assert redis_fan_out.read_as(redis, stream, "billing") == [{"number": "1"}]
    entries: Any = redis.xrange(stream, str(ms(0)))
    assert [event["number"] for _, event in entries] == ["0", "1"]
    redis_move_group(redis, stream, "billing", at(0))
    assert len(redis_fan_out.read_as(redis, stream, "billing")) == 2


@claim(servers="redis", since="5.0")
def test_redis_setid_leaves_the_pending_list_alone(redis: Redis, stream: str) -> None:
    """`XGROUP SETID` moves a group while its consumers run, and leaves its pending list
    as it is: what was pending before a move forward is still pending after it.
    """
    for event in EVENTS:
        redis_append(redis, stream, event)
    redis.xgroup_create(stream, "billing", id="0")
    redis.xreadgroup("billing", "worker-1", {stream: ">"}, count=1)
    redis_move_group(redis, stream, "billing", at(30))
    batch: Any = redis.xreadgroup("billing", "worker-1", {stream: ">"})
    assert [event for _, event in batch[0][1]] == EVENTS[3:]
    again: Any = redis.xreadgroup("billing", "worker-1", {stream: "0"})
    assert [event for _, event in again[0][1]] == [EVENTS[0], EVENTS[3]]


def test_redis_hands_a_pending_entry_over_when_the_group_moves_back(
    redis: Redis, stream: str
) -> None:
    redis_append(redis, stream, EVENTS[0])
    redis.xgroup_create(stream, "billing", id="0")
    redis.xreadgroup("billing", "worker-1", {stream: ">"})
    redis_move_group(redis, stream, "billing", at(0))
    redis.xreadgroup("billing", "worker-2", {stream: ">"})
    (pending,) = redis.xpending_range(stream, "billing", "-", "+", 10)
    assert pending["consumer"] == "worker-2"


def test_redis_wakes_no_consumer_that_waits_when_its_group_moves_back(
    redis: Redis, stream: str
) -> None:
    redis_append(redis, stream, EVENTS[0])
    redis.xgroup_create(stream, "billing", id="$")

    def wait() -> Any:
        with redis_streams.connect() as client:
            client.client_setname(stream)
            return client.xreadgroup("billing", "worker-1", {stream: ">"}, block=300)

    def waits() -> bool:
        clients: Any = redis.client_list()
        return any(each["name"] == stream and "b" in each["flags"] for each in clients)

    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(wait)
        while not waits():
            assert not waiting.done()
        redis_move_group(redis, stream, "billing", at(0))
        assert waiting.result(PATIENCE_S) == []
    assert redis_fan_out.read_as(redis, stream, "billing") == EVENTS[:1]


def test_redis_knows_no_lag_after_a_move_until_the_group_has_caught_up(
    redis: Redis, stream: str
) -> None:
    for event in EVENTS:
        redis_append(redis, stream, event)
    redis.xgroup_create(stream, "billing", id="0")
    redis_move_group(redis, stream, "billing", at(20))
    assert redis.xinfo_groups(stream)[0]["lag"] is None
    redis_fan_out.read_as(redis, stream, "billing")
    assert redis.xinfo_groups(stream)[0]["lag"] == 0


@pytest.mark.usefixtures("kafka_environment")
def test_kafka_refuses_what_is_not_there(topic: str) -> None:
    client = kafka.settings()
    with pytest.raises(LookupError, match="no topic no-such-topic"):
        list(kafka_replay("no-such-topic", at(0), **client))
    for name in (topic, "no-such-topic"):
        with pytest.raises(LookupError, match=f"no place in a topic {name}"):
            kafka_move_group(name, "no-such-group", at(0), **client)


@pytest.mark.usefixtures("kafka_environment")
def test_kafka_replays_every_partition_in_its_order(producer: KafkaProducer) -> None:
    with kafka.temporary_topic(partitions=2) as topic:
        for minute in (0, 10, 20):
            for partition in (0, 1):
                value = json.dumps({"minute": f"{minute}", "in": f"{partition}"}).encode()
                time = ms(minute + partition * 100 - 100)
                producer.send(topic, value, partition=partition, timestamp_ms=time).get()
        client = kafka.settings()
        replayed = list(kafka_replay(topic, at(10), max_poll_records=1, **client))
        kafka_fan_out.add_group(topic, topic, from_beginning=True, **client)
        kafka_move_group(topic, topic, at(10), **client)
        read = kafka_read_as(topic, topic, partitions=2)
    assert replayed == [{"minute": minute, "in": "1"} for minute in ("10", "20")]
    assert read == replayed


def test_kafka_tells_when_the_next_record_is_deleted_meanwhile(
    topic: str, producer: KafkaProducer
) -> None:
    for _ in range(20):
        kafka_append(producer, topic, EVENTS[0])
    replay = kafka_replay(topic, at(0), max_poll_records=1, **SMALL, **kafka.settings())
    next(replay)
    with KafkaAdminClient(**kafka.settings()) as admin:
        admin.delete_records({TopicPartition(topic, 0): 19})
    with pytest.raises(OffsetOutOfRangeError):
        list(replay)


def test_kafka_waits_no_longer_than_it_is_told(
    topic: str, producer: KafkaProducer
) -> None:
    kafka_append(producer, topic, EVENTS[0])
    client = {**STARVED, **kafka.settings()}
    with pytest.raises(TimeoutError, match=rf"nothing from {topic} within 0\.2 s"):
        list(kafka_replay(topic, at(0), timeout_s=0.2, **client))


@claim(servers="kafka", since="0.10.1")
def test_kafka_looks_up_a_time_by_the_producers_clock(
    topic: str, producer: KafkaProducer
) -> None:
    """Kafka finds the first record that is not older than a given time, and by default
    the producer says how old it is: older records may follow.
    """
    late, early = {"minute": "30"}, {"minute": "10"}
    for event in (EVENTS[0], late, early):
        kafka_append(producer, topic, event)
    client = kafka.settings()
    kafka_fan_out.add_group(topic, topic, from_beginning=True, **client)
    kafka_move_group(topic, topic, at(20), **client)
    assert kafka_read_as(topic, topic) == [late, early]
    assert list(kafka_replay(topic, at(20), **client)) == [late]
    assert list(kafka_replay(topic, at(10), **client)) == [late, early]


@claim(servers="kafka", since="0.9")
def test_kafka_moves_no_group_that_has_members(
    topic: str, producer: KafkaProducer
) -> None:
    """Kafka refuses to move the offsets of a group from outside while one of its
    consumers is in the group; once the last has left, it accepts.
    """
    for event in EVENTS:
        kafka_append(producer, topic, event)
    client = kafka.settings()
    place = TopicPartition(topic, 0)
    with kafka_join(topic, topic, **client) as member:
        taken = member.poll(timeout_ms=int(PATIENCE_S * 1000))
        assert place in taken
        member.commit()
        before = member.committed(place)
        with pytest.raises(CommitFailedError):
            kafka_move_group(topic, topic, at(20), **client)
        assert member.committed(place) == before
    kafka_move_group(topic, topic, at(20), **client)
    assert kafka_read_as(topic, topic) == EVENTS[2:]
