"""Follow new entries: none is missed between two calls; how one misses them differs."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import OffsetOutOfRangeError
from redis import Redis, ResponseError
from redis.backoff import NoBackoff
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from snippets import kafka, redis_streams, servers
from snippets.kafka import tail as kafka_tail
from snippets.kafka.append import append as kafka_append
from snippets.redis_streams import tail as redis_tail
from snippets.redis_streams.append import append as redis_append
from tests.ledger import claim
from tests.tasks.logs import PATIENCE_S, Event

PATIENCE_MS = int(PATIENCE_S * 1000)
TEA, MILK, RICE = {"sku": "tea"}, {"sku": "milk"}, {"sku": "rice"}


class Tail(Protocol):
    """The task's functions for one log, and how to append to it."""

    def append(self, event: Event) -> object:
        """Append an event."""

    def start(self) -> None:
        """Begin to follow."""

    def next(self, wait_ms: int = 4000, count: int = 100) -> list[Event]:
        """Return what is new."""


class RedisTail:
    """The task on a stream."""

    def __init__(self, redis: Redis, stream: str) -> None:
        """Use a client and the stream's key."""
        self._redis, self._stream, self._last = redis, stream, ""

    def append(self, event: Event) -> object:
        """Append an entry."""
        return redis_append(self._redis, self._stream, event)

    def start(self) -> None:
        """Begin after the newest entry."""
        self._last = redis_tail.start(self._redis, self._stream)

    def next(self, wait_ms: int = 4000, count: int = 100) -> list[Event]:
        """Return what is new, and go on after it."""
        events = []
        for last, event in redis_tail.tail(
            self._redis, self._stream, self._last, wait_ms, count
        ):
            self._last = last
            events.append(event)
        return events


class KafkaTail:
    """The task on a topic of one partition."""

    def __init__(self, producer: KafkaProducer, topic: str) -> None:
        """Use a producer and the topic's name."""
        self._producer, self._topic = producer, topic
        self.consumer: KafkaConsumer = None

    def append(self, event: Event) -> object:
        """Append a record."""
        return kafka_append(self._producer, self._topic, event)

    def start(self) -> None:
        """Begin at the end."""
        self.consumer = kafka_tail.start(self._topic, **kafka.settings())

    def next(self, wait_ms: int = PATIENCE_MS, count: int = 100) -> list[Event]:
        """Return what is new."""
        return [event for _, event in kafka_tail.tail(self.consumer, wait_ms, count)]


@pytest.fixture(params=["redis_streams", "kafka"])
def log(
    request: pytest.FixtureRequest,
    redis: Redis,
    kafka_environment: None,  # noqa: ARG001
) -> Iterator[Tail]:
    """The task on a stream, and then on a topic."""
    if request.param == "redis_streams":
        with redis_streams.temporary_stream(redis) as stream:
            yield RedisTail(redis, stream)
    else:
        with (
            kafka.temporary_topic() as topic,
            KafkaProducer(**kafka.settings()) as producer,
        ):
            log = KafkaTail(producer, topic)
            yield log
            log.consumer.close()


def test_nothing_is_missed_between_calls_and_nothing_comes_twice(log: Tail) -> None:
    log.append(TEA)
    log.start()
    log.append(MILK)
    assert log.next() == [MILK]
    log.append(RICE)
    log.append(TEA)
    assert log.next(count=1) == [RICE]
    log.append(MILK)
    followed = log.next()
    while len(followed) < 2:
        followed += log.next()
    assert followed == [TEA, MILK]
    assert log.next(wait_ms=10) == []


def test_an_empty_log_is_followed_from_its_first_event(log: Tail) -> None:
    log.start()
    assert log.next(wait_ms=10) == []
    log.append(TEA)
    assert log.next() == [TEA]


def test_a_reader_that_waits_is_woken(log: Tail) -> None:
    log.start()
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(log.next)
        log.append(TEA)
        assert waiting.result(PATIENCE_S) == [TEA]


def test_to_wait_for_nothing_is_refused(log: Tail) -> None:
    log.start()
    for wait_ms, count in ((0, 1), (-1, 1), (1, 0), (1, -1)):
        with pytest.raises(ValueError, match="can't follow"):
            log.next(wait_ms, count)


def test_redis_refuses_a_place_that_moves_and_what_is_no_id(
    redis: Redis, stream: str
) -> None:
    with pytest.raises(ValueError, match=r"from \$"):
        redis_tail.tail(redis, stream, "$")
    with pytest.raises(ResponseError, match="Invalid stream ID"):
        redis_tail.tail(redis, stream, "now")
    redis.set(stream, "text")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        redis_tail.start(redis, stream)
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        redis_tail.tail(redis, stream, "0-0")


def test_redis_py_gives_up_before_a_longer_block_ends(
    redis_server: servers.Redis, stream: str
) -> None:
    impatient = {"socket_timeout": 0.1, "retry": Retry(NoBackoff(), 0)}
    with (
        Redis.from_url(redis_server.url, decode_responses=True, **impatient) as client,
        pytest.raises(RedisTimeoutError),
    ):
        redis_tail.tail(client, stream, "0-0", block_ms=60_000)


def test_redis_py_waits_five_seconds_and_some_clients_try_ten_times_more() -> None:
    for client, retries in ((Redis(), 10), (Redis.from_url("redis://localhost"), 0)):
        connection: Any = client.connection_pool.make_connection()
        assert connection.socket_timeout == 5
        assert connection.retry.get_retries() == retries


def blocked(redis: Redis, stream: str) -> list[int]:
    """Return the clients named after the stream that wait for an entry."""
    listed: Any = redis.client_list()
    return [
        int(each["id"])
        for each in listed
        if each["name"] == stream and "b" in each["flags"]
    ]


def served(redis: Redis, stream: str, read: Callable[[Redis, str], Any]) -> list[Any]:
    """Let three clients wait, append one entry, and return what each of them got."""

    def wait(name: str) -> Any:
        with redis_streams.connect() as client:
            client.client_setname(stream)
            return read(client, name)

    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(wait, f"worker-{number}") for number in range(3)]
        while len(blocked(redis, stream)) < 3:
            assert not any(each.done() for each in waiting)
        redis_append(redis, stream, TEA)
        # Whom the entry is for has it by now; the others needn't wait any longer.
        for client_id in blocked(redis, stream):
            redis.client_unblock(client_id)
        return [each.result(PATIENCE_S) for each in waiting]


@claim(servers="redis", since="5.0")
def test_redis_wakes_every_reader_but_one_consumer_of_a_group(
    redis: Redis, stream: str
) -> None:
    """One new entry goes to every client that is blocked in `XREAD` on its stream, but to
    only one of a group's consumers that are blocked in `XREADGROUP`.
    """
    got = served(redis, stream, lambda client, _: client.xread({stream: "$"}, block=4000))
    assert [event for ((_, ((_, event),)),) in got] == [TEA] * 3
    redis.xgroup_create(stream, "billing", id="$")
    got = served(
        redis,
        stream,
        lambda client, name: client.xreadgroup(
            "billing", name, {stream: ">"}, block=4000
        ),
    )
    assert sorted(map(len, got)) == [0, 0, 1]


@claim(servers="redis", since="5.0")
def test_redis_dollar_misses_what_comes_between_two_reads(
    redis: Redis, stream: str
) -> None:
    """`XREAD` from `$` returns only what is appended while it waits: what arrives between
    two such reads is in neither; from the last ID seen, it is in the second.
    """
    last = redis_append(redis, stream, TEA)
    assert redis.xread({stream: "$"}, block=1) == []
    redis_append(redis, stream, MILK)
    assert redis.xread({stream: "$"}, block=1) == []
    assert [event for _, event in redis_tail.tail(redis, stream, last)] == [MILK]


def test_redis_follows_on_silently_when_the_next_entry_was_trimmed(
    redis: Redis, stream: str
) -> None:
    last = redis_append(redis, stream, TEA)
    for event in (MILK, RICE):
        redis_append(redis, stream, event)
    redis.xtrim(stream, maxlen=1, approximate=False)
    assert [event for _, event in redis_tail.tail(redis, stream, last)] == [RICE]


@pytest.mark.usefixtures("kafka_environment")
def test_kafka_refuses_a_topic_that_is_not_there() -> None:
    with pytest.raises(LookupError, match="no topic no-such-topic"):
        kafka_tail.start("no-such-topic", **kafka.settings())


def test_kafka_tells_when_retention_has_overtaken_the_reader(
    topic: str, producer: KafkaProducer
) -> None:
    with kafka_tail.start(topic, **kafka.settings()) as consumer:
        for event in (TEA, MILK):
            kafka_append(producer, topic, event)
        with KafkaAdminClient(**kafka.settings()) as admin:
            admin.delete_records({TopicPartition(topic, 0): 1})
        with pytest.raises(OffsetOutOfRangeError):
            kafka_tail.tail(consumer, PATIENCE_MS)


@pytest.mark.usefixtures("kafka_environment")
def test_kafka_follows_every_partition(producer: KafkaProducer) -> None:
    with (
        kafka.temporary_topic(partitions=3) as topic,
        kafka_tail.start(topic, **kafka.settings()) as consumer,
    ):
        for partition in range(3):
            producer.send(topic, b'{"sku": "tea"}', partition=partition).get()
        followed: list[tuple[Any, Event]] = []
        while len(followed) < 3:
            followed += kafka_tail.tail(consumer, PATIENCE_MS)
    assert sorted(followed) == [((partition, 0), TEA) for partition in range(3)]


@claim(servers="kafka", since="0.9")
def test_kafka_seek_to_end_takes_effect_at_the_next_poll(
    topic: str, producer: KafkaProducer
) -> None:
    """A Kafka consumer looks for the end only at the first `poll` or `position` after
    `seek_to_end`: what is appended in between is passed over.
    """
    place = TopicPartition(topic, 0)
    with KafkaConsumer(**kafka.settings()) as consumer:
        consumer.assign([place])
        consumer.seek_to_end(place)
        kafka_append(producer, topic, TEA)
        assert consumer.position(place) == 1
        consumer.seek_to_end(place)
        assert consumer.position(place) == 1
        kafka_append(producer, topic, MILK)
        assert consumer.position(place) == 1
        ((_, records),) = consumer.poll(timeout_ms=PATIENCE_MS).items()
        assert [record.offset for record in records] == [1]


@claim(servers="kafka", since="0.9")
def test_kafka_readers_without_a_group_get_every_record(
    topic: str, producer: KafkaProducer
) -> None:
    """Kafka consumers that assign themselves a partition, without a group, each get every
    record, and the broker keeps no place for them.
    """
    client = kafka.settings()
    with (
        KafkaAdminClient(**client) as admin,
        kafka_tail.start(topic, **client) as one,
        kafka_tail.start(topic, **client) as another,
    ):
        before = admin.list_groups()
        kafka_append(producer, topic, TEA)
        for consumer in (one, another):
            assert kafka_tail.tail(consumer, PATIENCE_MS) == [((0, 0), TEA)]
        assert admin.list_groups() == before
