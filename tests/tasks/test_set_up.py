"""Set up: as often as you like, by several at once, and it changes nothing that is."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier
from typing import Any
from uuid import uuid4

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import (
    InvalidConfigurationError,
    InvalidPartitionsError,
    InvalidReplicationFactorError,
    InvalidTopicError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
)
from redis import Redis, ResponseError

from snippets.kafka import settings
from snippets.kafka.set_up import alter as kafka_alter
from snippets.kafka.set_up import describe as kafka_describe
from snippets.kafka.set_up import set_up as kafka_set_up
from snippets.redis_streams import connect
from snippets.redis_streams.set_up import alter as redis_alter
from snippets.redis_streams.set_up import describe as redis_describe
from snippets.redis_streams.set_up import set_up as redis_set_up
from tests.ledger import claim

HOUR = {"retention.ms": "3600000"}


@pytest.fixture
def new_topic(admin: KafkaAdminClient) -> Iterator[str]:
    """A name that no topic has; what has come to be under it is deleted."""
    name = f"example-{uuid4().hex}"
    yield name
    if admin.describe_topics([name])[0]["error_code"] == 0:
        admin.delete_topics([name])


def until_described(admin: KafkaAdminClient, topic: str, **wanted: Any) -> dict[str, Any]:
    """Wait until the broker shows what the controller has acknowledged."""
    while True:
        found = kafka_describe(admin, topic)
        if all(found[name] == value for name, value in wanted.items()):
            return found


@pytest.fixture(params=["redis_streams", "kafka"])
def once(request: pytest.FixtureRequest) -> tuple[Callable[[], bool], Callable[[], Any]]:
    """Set up with a client of one's own, and describe what there is."""
    if request.param == "redis_streams":
        stream = request.getfixturevalue("stream")

        def set_up() -> bool:
            with connect() as redis:
                return redis_set_up(redis, stream, "billing")

        return set_up, partial(redis_describe, request.getfixturevalue("redis"), stream)
    topic = request.getfixturevalue("new_topic")

    def create() -> bool:
        with KafkaAdminClient(**settings()) as admin:
            return kafka_set_up(admin, topic, partitions=2, replicas=1, config=HOUR)

    return create, partial(kafka_describe, request.getfixturevalue("admin"), topic)


def test_the_second_time_nothing_happens(
    once: tuple[Callable[[], bool], Callable[[], Any]],
) -> None:
    set_up, describe = once
    assert set_up() is True
    first = describe()
    assert set_up() is False
    assert describe() == first


def test_of_several_at_once_one_creates_and_none_fails(
    once: tuple[Callable[[], bool], Callable[[], Any]],
) -> None:
    set_up, _ = once
    together = Barrier(4)

    def process(_: int) -> bool:
        together.wait()
        return set_up()

    with ThreadPoolExecutor(4) as processes:
        made = list(processes.map(process, range(4)))
    assert sorted(made) == [False, False, False, True]


@claim(servers="redis", since="5.0")
def test_redis_creating_a_group_again_moves_nothing(redis: Redis, stream: str) -> None:
    """`XGROUP CREATE` for a group that exists is refused with `BUSYGROUP`, whichever
    start it asks for, and leaves the group's position and what is pending as they were.
    """
    redis_set_up(redis, stream, "billing")
    for number in range(3):
        redis.xadd(stream, {"order": str(number)})
    redis.xreadgroup("billing", "worker-1", {stream: ">"}, count=2)
    before = redis.xinfo_groups(stream), redis.xpending(stream, "billing")
    for start in ("0", "$"):
        with pytest.raises(ResponseError, match="BUSYGROUP"):
            redis.xgroup_create(stream, "billing", id=start, mkstream=True)
        assert redis_set_up(redis, stream, "billing", start) is False
    assert (redis.xinfo_groups(stream), redis.xpending(stream, "billing")) == before


def test_redis_mkstream_makes_an_empty_stream(redis: Redis, stream: str) -> None:
    with pytest.raises(ResponseError, match="requires the key to exist"):
        redis.xgroup_create(stream, "billing", id="$")
    assert redis.exists(stream) == 0
    redis.xgroup_create(stream, "billing", id="$", mkstream=True)
    assert (redis.exists(stream), redis.xlen(stream)) == (1, 0)
    entry_id = redis.xadd(stream, {"order": "0"})
    batch: Any = redis.xreadgroup("billing", "worker-1", {stream: ">"})
    assert batch == [[stream, [(entry_id, {"order": "0"})]]]


@claim(servers="redis", since="5.0")
def test_redis_group_moved_to_zero_gets_all_again(redis: Redis, stream: str) -> None:
    """After `XGROUP SETID` to 0 a Redis group delivers every entry again as a new one:
    those it has acknowledged, and those that are pending for another consumer.
    """
    ids = [str(redis.xadd(stream, {"order": str(number)})) for number in range(3)]
    redis_set_up(redis, stream, "billing")
    redis.xreadgroup("billing", "worker-1", {stream: ">"})
    redis.xack(stream, "billing", ids[0])
    redis_alter(redis, stream, "billing", "0")
    batch: Any = redis.xreadgroup("billing", "worker-2", {stream: ">"})
    assert [entry_id for entry_id, _ in batch[0][1]] == ids
    pending = redis.xpending_range(stream, "billing", "-", "+", 10)
    owners = {each["message_id"]: each["consumer"] for each in pending}
    assert owners == dict.fromkeys(ids, "worker-2")


def test_redis_begins_where_it_is_told(redis: Redis, stream: str) -> None:
    ids = [str(redis.xadd(stream, {"order": str(number)})) for number in range(3)]
    for start, expected in (("0", ids), (ids[0], ids[1:]), ("$", [])):
        redis_set_up(redis, stream, f"from {start}", start)
        batch: Any = redis.xreadgroup(f"from {start}", "worker-1", {stream: ">"})
        assert [each for _, entries in batch for each, _ in entries] == expected


def test_redis_refuses_a_start_that_is_no_id_and_creates_nothing(
    redis: Redis, stream: str
) -> None:
    with pytest.raises(ResponseError, match="Invalid stream ID"):
        redis_set_up(redis, stream, "billing", "yesterday")
    assert redis.exists(stream) == 0


def test_redis_refuses_a_key_that_is_no_stream(redis: Redis, stream: str) -> None:
    redis.set(stream, "text")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        redis_set_up(redis, stream, "billing")


def test_redis_describes_and_moves_only_what_is_there(redis: Redis, stream: str) -> None:
    with pytest.raises(ResponseError, match="no such key"):
        redis_describe(redis, stream)
    with pytest.raises(ResponseError, match="requires the key to exist"):
        redis_alter(redis, stream, "billing", "0")
    redis_set_up(redis, stream, "billing")
    with pytest.raises(ResponseError, match="NOGROUP"):
        redis_alter(redis, stream, "shipping", "0")
    with pytest.raises(ResponseError, match="Invalid stream ID"):
        redis_alter(redis, stream, "billing", "yesterday")
    assert redis_describe(redis, stream) == {"entries": 0, "groups": {"billing": "0-0"}}


def test_kafka_creating_a_topic_again_changes_nothing(
    admin: KafkaAdminClient, new_topic: str
) -> None:
    kafka_set_up(admin, new_topic, partitions=2, replicas=1, config=HOUR)
    for other in (
        {"num_partitions": 2},
        {"num_partitions": 3},
        {"configs": {"retention.ms": "1"}},
    ):
        with pytest.raises(TopicAlreadyExistsError):
            admin.create_topics({new_topic: other})
    assert kafka_describe(admin, new_topic) == {
        "partitions": 2,
        "replicas": 1,
        "config": HOUR,
    }


@claim(servers="kafka", since="1.0")
def test_kafka_takes_no_partitions_away(admin: KafkaAdminClient, new_topic: str) -> None:
    """Kafka adds partitions to a topic, and refuses to take any away, though all of them
    are empty.
    """
    kafka_set_up(admin, new_topic, partitions=2, replicas=1, config={})
    kafka_alter(admin, new_topic, partitions=3)
    until_described(admin, new_topic, partitions=3)
    for fewer in (1, 2, 3):
        with pytest.raises(InvalidPartitionsError):
            kafka_alter(admin, new_topic, partitions=fewer)
    assert kafka_describe(admin, new_topic)["partitions"] == 3


def test_kafka_refuses_a_topic_that_a_producer_came_upon_first(
    admin: KafkaAdminClient, producer: KafkaProducer, new_topic: str
) -> None:
    producer.send(new_topic, b'{"order": "0"}').get()
    with pytest.raises(ValueError, match="partitions is 1, not 4"):
        kafka_set_up(admin, new_topic, partitions=4, replicas=1, config=HOUR)
    assert kafka_describe(admin, new_topic) == {
        "partitions": 1,
        "replicas": 1,
        "config": {},
    }


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        ({"partitions": 3}, "partitions is 2, not 3"),
        ({"replicas": 2}, "replicas is 1, not 2"),
        ({"config": {"retention.ms": "1"}}, "retention.ms is 3600000, not 1"),
        ({"config": {"retention.days": "1"}}, "retention.days is None, not 1"),
    ],
)
def test_kafka_names_what_is_different(
    admin: KafkaAdminClient, new_topic: str, other: dict[str, Any], difference: str
) -> None:
    wanted: dict[str, Any] = {"partitions": 2, "replicas": 1, "config": HOUR}
    kafka_set_up(admin, new_topic, **wanted)
    with pytest.raises(ValueError, match=difference):
        kafka_set_up(admin, new_topic, **{**wanted, **other})
    assert kafka_describe(admin, new_topic) == wanted


def test_kafka_takes_an_inherited_value_for_what_it_is(
    admin: KafkaAdminClient, topic: str
) -> None:
    week = {"retention.ms": "604800000"}
    assert kafka_set_up(admin, topic, partitions=1, replicas=1, config=week) is False


@pytest.mark.parametrize(
    ("other", "error"),
    [
        ({"partitions": 0}, InvalidPartitionsError),
        ({"replicas": 9}, InvalidReplicationFactorError),
        ({"config": {"retention.days": "1"}}, InvalidConfigurationError),
        ({"config": {"retention.ms": "a week"}}, InvalidConfigurationError),
        ({"topic": "my orders"}, InvalidTopicError),
    ],
)
def test_kafka_refuses_nonsense_and_creates_nothing(
    admin: KafkaAdminClient, new_topic: str, other: dict[str, Any], error: type[Exception]
) -> None:
    wanted: dict[str, Any] = {"partitions": 2, "replicas": 1, "config": HOUR}
    with pytest.raises(error):
        kafka_set_up(admin, **{"topic": new_topic, **wanted, **other})
    with pytest.raises(UnknownTopicOrPartitionError):
        kafka_describe(admin, new_topic)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"partitions": 1, "config": {"retention.ms": "1"}}, InvalidPartitionsError),
        ({"partitions": 3, "config": {"retention.ms": "x"}}, InvalidConfigurationError),
        ({"partitions": 3, "config": {"retention.days": "1"}}, ValueError),
    ],
)
def test_kafka_alters_all_or_nothing(
    admin: KafkaAdminClient,
    new_topic: str,
    change: dict[str, Any],
    error: type[Exception],
) -> None:
    kafka_set_up(admin, new_topic, partitions=2, replicas=1, config=HOUR)
    with pytest.raises(error):
        kafka_alter(admin, new_topic, **change)
    assert kafka_describe(admin, new_topic) == {
        "partitions": 2,
        "replicas": 1,
        "config": HOUR,
    }


def test_kafka_alters_settings_and_leaves_the_others(
    admin: KafkaAdminClient, new_topic: str
) -> None:
    config = {**HOUR, "cleanup.policy": "delete"}
    kafka_set_up(admin, new_topic, partitions=1, replicas=1, config=config)
    kafka_alter(admin, new_topic, config={"retention.ms": "7200000"})
    changed = {**config, "retention.ms": "7200000"}
    until_described(admin, new_topic, config=changed, partitions=1)


def test_kafka_alters_no_topic_that_is_not_there(
    admin: KafkaAdminClient, new_topic: str
) -> None:
    with pytest.raises(UnknownTopicOrPartitionError):
        kafka_alter(admin, new_topic, partitions=2)
    with pytest.raises(ValueError, match=r"retention\.ms"):
        kafka_alter(admin, new_topic, config=HOUR)


def test_kafka_python_returns_a_refused_setting_as_a_text(
    admin: KafkaAdminClient, new_topic: str
) -> None:
    kafka_set_up(admin, new_topic, partitions=1, replicas=1, config={})
    wrong = {"retention.ms": "a week"}
    resource = ConfigResource(ConfigResourceType.TOPIC, new_topic, wrong)
    answer = admin.alter_configs([resource])["topic"][new_topic]
    assert "InvalidConfigurationError" in answer


@claim(servers="kafka", since="1.0")
def test_kafka_leaves_records_where_they_are_when_partitions_are_added(
    admin: KafkaAdminClient, producer: KafkaProducer, new_topic: str
) -> None:
    """When partitions are added to a Kafka topic, its records stay where they are, and
    new ones of a key may go elsewhere: no partition has the key's order any more.
    """
    kafka_set_up(admin, new_topic, partitions=1, replicas=1, config={})
    keys = [str(number) for number in range(16)]

    def send_all(client: KafkaProducer) -> set[tuple[str, int]]:
        sent = {key: client.send(new_topic, b"{}", key=key.encode()) for key in keys}
        return {(key, future.get().partition) for key, future in sent.items()}

    before = send_all(producer)
    kafka_alter(admin, new_topic, partitions=4)
    until_described(admin, new_topic, partitions=4)
    with KafkaProducer(**settings()) as another:
        after = send_all(another)
    assert {partition for _, partition in before} == {0}
    assert {partition for _, partition in after} > {0}
    with KafkaConsumer(new_topic, auto_offset_reset="earliest", **settings()) as consumer:
        read = [next(consumer) for _ in range(32)]
    assert {(each.key.decode(), each.partition) for each in read} == before | after


def test_kafka_alters_nothing_when_nothing_is_asked(
    admin: KafkaAdminClient, topic: str
) -> None:
    before = kafka_describe(admin, topic)
    kafka_alter(admin, topic)
    assert kafka_describe(admin, topic) == before
