"""What clients do that their users don't expect: the proofs that no task has."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from typing import Any
from urllib.parse import urlsplit

import pytest
from confluent_kafka import KafkaError, Message, Producer
from kafka import (
    AsyncConsumerRebalanceListener,
    ConsumerRebalanceListener,
    KafkaAdminClient,
    KafkaConsumer,
    KafkaProducer,
    TopicPartition,
)
from kafka.errors import KafkaError as KafkaPythonError
from redis import Redis
from redis import TimeoutError as RedisTimeoutError

from snippets import servers
from snippets.kafka import confluent_settings, settings
from snippets.labs.faults.replies import HOST, LossyProxy
from snippets.labs.systems.redis import connect
from tests.ledger import claim
from tests.tasks.topics import read_topic

OwnRedis = Callable[..., AbstractContextManager[servers.Redis]]

PATIENCE_S = 60.0
HOUR_MS = 60 * 60 * 1000
GROUP = "billing"
RETRIES = 10
EVENTS: list[dict[Any, Any]] = [{"sku": "tea"}, {"sku": "milk"}, {"sku": "rice"}]


def filled(redis: Redis, stream: str, start: str = "0") -> list[str]:
    """Append the events, and make a group that starts where it is told to."""
    ids = [str(redis.xadd(stream, event)) for event in EVENTS]
    redis.xgroup_create(stream, GROUP, id=start)
    return ids


def pending(redis: Redis, stream: str) -> list[str]:
    """Return the IDs that are pending for the group."""
    found: Any = redis.xpending_range(stream, GROUP, "-", "+", 10)
    return [each["message_id"] for each in found]


def ids_of(reply: Any) -> list[str]:
    """Return the IDs in the reply to a read of one stream."""
    return [entry for _, entries in reply for entry, _ in entries]


def connections(redis: Redis) -> int:
    """Return how many connections the server has had."""
    return int(redis.info("stats")["total_connections_received"])


@claim(servers="redis", since="5.0")
def test_redis_client_sends_a_block_beyond_its_timeout_eleven_times(
    own_redis: OwnRedis,
) -> None:
    """A `BLOCK` that is longer than the client's `socket_timeout`, 5 seconds by default,
    is sent eleven times by a `Redis(…)` of redis-py before it raises `TimeoutError`, and
    once by one made `from_url`.
    """
    assert Redis().connection_pool.connection_kwargs["socket_timeout"] == 5
    with own_redis() as server, closing(Redis.from_url(server.url)) as observer:

        def tries(client: Redis) -> int:
            before = connections(observer)
            with closing(client), pytest.raises(RedisTimeoutError):
                client.xread({"orders": "$"}, block=60_000)
            return connections(observer) - before

        where = urlsplit(server.url)
        client = Redis(where.hostname or "", where.port or 0, socket_timeout=0.1)
        assert tries(client) == 1 + RETRIES
        assert tries(Redis.from_url(f"{server.url}?socket_timeout=0.1")) == 1


@claim(servers="redis", since="5.0")
def test_redis_client_that_repeats_a_read_leaves_the_first_batch_pending(
    own_redis: OwnRedis,
) -> None:
    """When the reply to `XREADGROUP` is lost, a `Redis(…)` of redis-py asks again and
    gets the next entries: the first ones stay pending, and `>` never returns them.
    """
    with own_redis() as server, closing(connect(server.url)) as redis:
        first, second, third = filled(redis, "orders")
        where = urlsplit(server.url)
        upstream = (where.hostname or "", where.port or 0)
        proxy = LossyProxy(lambda request: b"XREADGROUP" in request, upstream)
        got: list[str] = []
        with proxy.running():
            loss = threading.Thread(target=proxy.lose, args=(1, PATIENCE_S))
            loss.start()
            with closing(Redis(HOST, proxy.port, decode_responses=True)) as client:
                while third not in got:
                    read: dict[Any, Any] = {"orders": ">"}
                    got += ids_of(client.xreadgroup(GROUP, "worker-1", read, count=1))
            loss.join()
        assert got == [second, third]
        assert pending(redis, "orders") == [first, second, third]


@claim(servers="redis", since="5.0")
def test_redis_deleted_entries_stay_pending(redis: Redis, stream: str) -> None:
    """`XDEL` and `XTRIM` leave the IDs of deleted entries in the pending list: they are
    counted by `XPENDING`, and read again from `0`, without fields.
    """
    ids = filled(redis, stream)
    redis.xreadgroup(GROUP, "worker-1", {stream: ">"})
    redis.xdel(stream, ids[0])
    redis.xtrim(stream, maxlen=0, approximate=False)
    assert redis.xlen(stream) == 0
    assert pending(redis, stream) == ids
    reply: Any = redis.xreadgroup(GROUP, "worker-1", {stream: "0"})
    assert reply[0][1] == [(each, {}) for each in ids]


@claim(servers="redis", since="7.0")
def test_redis_autoclaim_forgets_what_was_deleted(redis: Redis, stream: str) -> None:
    """`XAUTOCLAIM` takes deleted entries off the pending list, and names them in its
    third answer.
    """
    ids = filled(redis, stream)
    redis.xreadgroup(GROUP, "worker-1", {stream: ">"})
    redis.xdel(stream, *ids)
    answer: Any = redis.xautoclaim(stream, GROUP, "worker-2", min_idle_time=0)
    assert answer[1:] == [[], ids]
    assert pending(redis, stream) == []


@claim(servers="redis", since="5.0")
def test_redis_group_from_dollar_never_gets_what_was_there(
    redis: Redis, stream: str
) -> None:
    """A Redis group created at `$` never gets the entries that were in the stream by
    then; one created at `0` gets them all.
    """
    ids = filled(redis, stream, start="$")
    redis.xgroup_create(stream, "audit", id="0")
    latest = str(redis.xadd(stream, {"sku": "salt"}))
    read: dict[Any, Any] = {stream: ">"}
    assert ids_of(redis.xreadgroup(GROUP, "worker-1", read)) == [latest]
    assert ids_of(redis.xreadgroup("audit", "worker-1", read)) == [*ids, latest]


@claim(servers="redis", since="6.2")
def test_redis_claims_an_entry_that_is_being_worked_on(redis: Redis, stream: str) -> None:
    """`XAUTOCLAIM` takes an entry that has been pending for longer than it asks from a
    consumer that lives and is at work on it: Redis knows no work, only the time since the
    delivery.
    """
    ids = filled(redis, stream)
    redis.xreadgroup(GROUP, "worker-1", {stream: ">"})
    _, taken, *_ = redis.xautoclaim(stream, GROUP, "worker-2", min_idle_time=0)
    assert [entry for entry, _ in taken] == ids
    (owner,) = redis.xpending(stream, GROUP)["consumers"]
    assert owner["name"] == "worker-2"


@claim(servers="redis", since="6.2")
def test_redis_consumer_that_claims_its_own_entry_keeps_it(
    redis: Redis, stream: str
) -> None:
    """A consumer at work keeps its entry with `XCLAIM … JUSTID` on it now and then: that
    starts the idle time anew, and counts no delivery.
    """
    (first, *_) = filled(redis, stream)
    redis.xreadgroup(GROUP, "worker-1", {stream: ">"})
    # As if it had worked for an hour.
    redis.xclaim(stream, GROUP, "worker-1", 0, [first], idle=HOUR_MS, justid=True)
    redis.xclaim(stream, GROUP, "worker-1", 0, [first], justid=True)
    _, taken, *_ = redis.xautoclaim(stream, GROUP, "worker-2", HOUR_MS)
    assert taken == []
    (found,) = redis.xpending_range(stream, GROUP, first, first, 1)
    assert (found["consumer"], found["times_delivered"]) == ("worker-1", 1)


@claim(servers="kafka", since="0.9", client="confluent_kafka")
def test_kafka_flush_of_librdkafka_raises_nothing_either(topic: str) -> None:
    """In confluent-kafka, `flush()` returns 0, nothing left to send, although the broker
    has refused a record: only the callback of `produce()` tells.
    """
    name = f"{topic}-of-short-records"
    with KafkaAdminClient(**settings()) as admin:
        options = {"configs": {"max.message.bytes": "500"}}
        admin.create_topics({name: options}, wait_for_metadata=True)
        errors: list[int] = []

        def heard(error: KafkaError | None, _: Message) -> None:
            errors.append(error.code() if error else 0)

        try:
            producer = Producer(confluent_settings())
            producer.produce(name, b"x" * 1000, on_delivery=heard)
            assert producer.flush(PATIENCE_S) == 0
            assert errors == [KafkaError.MSG_SIZE_TOO_LARGE]
            assert read_topic(name) == []
        finally:
            admin.delete_topics([name])


SENDS = """
import json, os, signal, sys
from kafka import KafkaProducer
producer = KafkaProducer(linger_ms=60_000, **json.loads(sys.argv[1]))
producer.send(sys.argv[2], b"tea")
"""
PRODUCES = """
import json, sys
from confluent_kafka import Producer
producer = Producer({"linger.ms": 60_000, **json.loads(sys.argv[1])})
producer.produce(sys.argv[2], b"tea")
"""
IS_KILLED = "os.kill(os.getpid(), signal.SIGKILL)"
FLUSHES = "producer.flush()"


def sent_by(program: str, settings: dict[str, Any], topic: str, ends: int = 0) -> int:
    """Run a program until it ends in this way; return how many records there are then."""
    command = [sys.executable, "-c", program, json.dumps(settings), topic]
    found = subprocess.run(command, check=False, timeout=PATIENCE_S)
    assert found.returncode == ends
    return len(read_topic(topic))


@claim(servers="kafka", since="0.8")
def test_kafka_python_sends_at_the_end_and_not_when_killed(topic: str) -> None:
    """What waits in kafka-python's producer after `send()` is sent when the program comes
    to its end, and is gone when the process is killed.
    """
    assert sent_by(SENDS + IS_KILLED, settings(), topic, -signal.SIGKILL) == 0
    assert sent_by(SENDS, settings(), topic) == 1


@claim(servers="kafka", since="0.8", client="confluent_kafka")
def test_kafka_program_that_ends_after_produce_has_sent_nothing(topic: str) -> None:
    """A program that ends right after confluent-kafka's `produce()`, without `flush()`,
    ends without an error, and what still waited in the producer is not sent.
    """
    assert sent_by(PRODUCES, confluent_settings(), topic) == 0
    assert sent_by(PRODUCES + FLUSHES, confluent_settings(), topic) == 1


class Commits(ConsumerRebalanceListener):  # type: ignore[misc]
    """Commits before the partitions go to another consumer, and waits for it."""

    def __init__(self, consumer: KafkaConsumer) -> None:
        """Take note of who is to commit."""
        self._consumer = consumer

    def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:  # noqa: ARG002
        """Commit."""
        self._consumer.commit()

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Nothing is to be done."""


class CommitsAsync(AsyncConsumerRebalanceListener):  # type: ignore[misc]
    """Does the same in the thread that sends it."""

    def __init__(self, consumer: KafkaConsumer) -> None:
        """Take note of who is to commit."""
        self._consumer = consumer

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Commit what there is."""
        if revoked:
            await self._consumer.commit_async()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Nothing is to be done."""


@claim(servers="kafka", since="0.9")
def test_kafka_python_listener_that_calls_commit_makes_poll_raise(
    producer: KafkaProducer, topic: str
) -> None:
    """In kafka-python 3, a `ConsumerRebalanceListener` that calls `commit()` makes
    `poll()` raise; an `AsyncConsumerRebalanceListener` that awaits `commit_async()` has
    committed when the partitions are gone.
    """
    producer.send(topic, b"tea").get(PATIENCE_S)
    options = {"auto_offset_reset": "earliest", "enable_auto_commit": False}
    options = {"group_id": topic, **options, **settings()}
    with KafkaConsumer(**options) as consumer:
        consumer.subscribe([topic], listener=Commits(consumer))
        with pytest.raises(KafkaPythonError, match="rebalance callback"):
            consumer.poll(PATIENCE_S * 1000)
    with KafkaConsumer(**options) as consumer:
        consumer.subscribe([topic], listener=CommitsAsync(consumer))
        while not consumer.poll(PATIENCE_S * 1000):
            pass
    with KafkaConsumer(**options) as consumer:
        assert consumer.committed(TopicPartition(topic, 0)) == 1
