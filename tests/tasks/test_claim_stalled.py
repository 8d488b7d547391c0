"""Take over from a consumer that is gone: both do; who acts, and on what, differs."""

import json
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.errors import CommitFailedError
from redis import Redis, ResponseError

from snippets.kafka import settings
from snippets.kafka.claim_stalled import claim_stalled as kafka_claim_stalled
from snippets.kafka.read_group import join as kafka_join
from snippets.redis_streams.claim_stalled import claim_stalled as redis_claim_stalled
from snippets.redis_streams.read_group import join as redis_join
from snippets.redis_streams.read_group import read_group as redis_read_group
from tests.ledger import claim
from tests.tasks.logs import PATIENCE_S, Event, Log
from tests.tasks.workers import killed

EVENTS: list[dict[Any, Any]] = [{"order": str(number)} for number in range(4)]


def test_what_a_member_took_and_never_acknowledged_is_handled_by_another(
    log: Log,
) -> None:
    for event in EVENTS:
        log.append(event)
    gone = log.consumer("billing", "worker-1")
    assert gone.read(print, 1) == 1
    assert gone.take(2) == EVENTS[1:3]
    gone.leave()
    handled: list[Event] = []
    heir = log.consumer("billing", "worker-2")
    heir.claim(handled.append)
    heir.read(handled.append, 10)
    assert handled == EVENTS[1:]


def test_what_was_taken_over_is_pending_no_more(log: Log) -> None:
    for event in EVENTS:
        log.append(event)
    gone = log.consumer("billing", "worker-1")
    gone.take(4)
    gone.leave()
    handled: list[Event] = []
    heir = log.consumer("billing", "worker-2")
    heir.claim(handled.append)
    assert heir.read(handled.append, 10) == 0
    assert handled == EVENTS


@claim(servers="redis", since="6.2")
def test_redis_redelivers_nothing_by_itself(redis: Redis, stream: str) -> None:
    """An entry whose consumer was killed stays pending until some consumer claims it;
    reading new entries never returns it.
    """
    for event in EVENTS:
        redis.xadd(stream, event)
    redis_join(redis, stream, "billing")
    killed(
        """
        from snippets.redis_streams import connect
        connect().xreadgroup("billing", "worker-1", {sys.argv[1]: ">"}, count=2)
        os.kill(os.getpid(), 9)
        """,
        stream,
    )
    handled: list[Event] = []
    redis_read_group(redis, stream, "billing", "worker-2", handled.append)
    redis_read_group(redis, stream, "billing", "worker-2", handled.append, block_ms=1)
    assert handled == EVENTS[2:]
    assert redis.xpending(stream, "billing")["pending"] == 2
    assert (
        redis_claim_stalled(redis, stream, "billing", "worker-2", 0, handled.append) == 2
    )
    assert handled == EVENTS[2:] + EVENTS[:2]


@claim(servers="redis", since="6.2")
def test_redis_late_acknowledgement_is_not_refused(redis: Redis, stream: str) -> None:
    """A Redis consumer that wakes up after its entry was claimed and acknowledged by
    another gets 0 from its own `XACK`, and no error: the work was done twice.
    """
    entry_id = redis.xadd(stream, EVENTS[0])
    redis_join(redis, stream, "billing")
    redis.xreadgroup("billing", "worker-1", {stream: ">"})
    assert redis_claim_stalled(redis, stream, "billing", "worker-2", 0, print) == 1
    assert redis.xack(stream, "billing", entry_id) == 0


def test_redis_leaves_alone_what_is_not_idle_for_long_enough(
    redis: Redis, stream: str
) -> None:
    redis.xadd(stream, EVENTS[0])
    redis_join(redis, stream, "billing")
    redis.xreadgroup("billing", "worker-1", {stream: ">"})
    claimed = redis_claim_stalled(redis, stream, "billing", "worker-2", 3_600_000, print)
    assert claimed == 0


def test_redis_claims_all_in_several_rounds(redis: Redis, stream: str) -> None:
    for number in range(25):
        redis.xadd(stream, {"order": str(number)})
    redis_join(redis, stream, "billing")
    redis.xreadgroup("billing", "worker-1", {stream: ">"})
    handled: list[Event] = []
    redis_claim_stalled(redis, stream, "billing", "worker-2", 0, handled.append, count=10)
    assert [event["order"] for event in handled] == [str(n) for n in range(25)]


def test_redis_drops_pending_entries_that_were_trimmed(redis: Redis, stream: str) -> None:
    for event in EVENTS:
        redis.xadd(stream, event)
    redis_join(redis, stream, "billing")
    redis.xreadgroup("billing", "worker-1", {stream: ">"})
    redis.xtrim(stream, maxlen=1, approximate=False)
    handled: list[Event] = []
    redis_claim_stalled(redis, stream, "billing", "worker-2", 0, handled.append)
    assert handled == EVENTS[3:]
    assert redis.xpending(stream, "billing")["pending"] == 0


def test_redis_refuses_a_claim_from_a_group_that_is_not_there(
    redis: Redis, stream: str
) -> None:
    redis.xadd(stream, EVENTS[0])
    with pytest.raises(ResponseError, match="NOGROUP"):
        redis_claim_stalled(redis, stream, "billing", "worker-2", 0, print)


@claim(servers="kafka", since="0.9")
def test_kafka_hands_a_dead_consumers_partitions_to_the_group(
    topic: str, producer: KafkaProducer
) -> None:
    """When a Kafka consumer is killed, its group gives its partitions to another member
    after `session.timeout.ms`, which starts at the committed offset.
    """
    for event in EVENTS:
        producer.send(topic, json.dumps(event).encode())
    producer.flush()
    # 6 s is the shortest session that a broker with default settings takes.
    killed(
        """
        from kafka import OffsetAndMetadata, TopicPartition
        from snippets.kafka import settings
        from snippets.kafka.read_group import join
        consumer = join(sys.argv[1], "billing", session_timeout_ms=6000, **settings())
        taken = [next(consumer) for _ in range(3)]
        consumer.commit({TopicPartition(sys.argv[1], 0): OffsetAndMetadata(1, "", -1)})
        os.kill(os.getpid(), 9)
        """,
        topic,
    )
    handled: list[Event] = []
    with kafka_join(topic, "billing", **settings()) as heir:
        kafka_claim_stalled(heir, handled.append, PATIENCE_S)
    assert handled == EVENTS[1:]


@claim(servers="kafka", since="0.10.1")
def test_kafka_refuses_a_stalled_consumers_commit(
    topic: str, producer: KafkaProducer
) -> None:
    """A Kafka consumer that didn't poll for `max.poll.interval.ms` has lost its
    partitions, and its late commit is refused with `CommitFailedError`.
    """
    for event in EVENTS:
        producer.send(topic, json.dumps(event).encode())
    producer.flush()
    fast = {"max_poll_interval_ms": 1000, "heartbeat_interval_ms": 300}
    handled: list[Event] = []
    with (
        kafka_join(topic, "billing", **fast, **settings()) as stalled,
        kafka_join(topic, "billing", **settings()) as heir,
    ):
        next(stalled)
        kafka_claim_stalled(heir, handled.append, PATIENCE_S)
        with pytest.raises(CommitFailedError):
            stalled.commit({TopicPartition(topic, 0): OffsetAndMetadata(1, "", -1)})
    assert handled == EVENTS


def test_kafka_has_nothing_to_hand_over_when_all_is_committed(
    topic: str, producer: KafkaProducer
) -> None:
    producer.send(topic, b'{"order": "0"}').get()
    with kafka_join(topic, "billing", **settings()) as consumer:
        assert kafka_claim_stalled(consumer, print, PATIENCE_S) == 1
        assert kafka_claim_stalled(consumer, print, patience_s=1) == 0
    with KafkaConsumer(group_id="billing", **settings()) as another:
        assert another.committed(TopicPartition(topic, 0)) == 1
