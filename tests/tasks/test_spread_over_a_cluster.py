"""Spread over a cluster: a key has one place, and what stands together is known."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import Any, NamedTuple

import pytest
from confluent_kafka import Producer
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.errors import UnknownTopicOrPartitionError
from redis import DataError, Redis, RedisCluster
from redis import TimeoutError as RedisTimeoutError
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import (
    ClusterCrossSlotError,
    ClusterDownError,
    MovedError,
    SlotNotCoveredError,
)
from redis.retry import Retry

from snippets import servers
from snippets.kafka import settings, temporary_topic
from snippets.kafka import spread_over_a_cluster as kafka_task
from snippets.redis_streams import spread_over_a_cluster as redis_task
from snippets.servers.ready import attempts
from tests.ledger import claim
from tests.tasks.logs import PATIENCE_S, Event
from tests.tasks.nodes import node_of

OwnRedis = Callable[..., AbstractContextManager[servers.Redis]]
OwnKafka = Callable[..., AbstractContextManager[servers.Kafka]]

SHARDS = 3
CUSTOMERS = ["ann", "bob", "cleo", "dan", "eve", "fay"]


def await_that(condition: Callable[[], bool]) -> None:
    """Wait until something holds."""
    for _ in attempts(PATIENCE_S):
        if condition():
            return
    pytest.fail("it never holds")


def names(stream: str, shards: int = SHARDS) -> list[str]:
    """Name the streams of a log."""
    return [f"{stream}:{{{number}}}" for number in range(shards)]


class Spread(NamedTuple):
    """A log in three shards."""

    append: Callable[[str, Event], tuple[Any, Any]]
    events: Callable[[], list[list[Event]]]


def of_redis(redis: Any, stream: str) -> Spread:
    """Make streams the shards."""

    def entries() -> list[list[Event]]:
        return [[event for _, event in redis.xrange(name)] for name in names(stream)]

    append = partial(redis_task.append_to_shard, redis, stream, shards=SHARDS)
    return Spread(append, entries)


@pytest.fixture(params=["redis_streams", "redis_cluster", "kafka"])
def spread(request: pytest.FixtureRequest) -> Iterator[Spread]:
    """A log in three shards that only this test uses."""
    if request.param == "redis_cluster":
        yield of_redis(request.getfixturevalue("cluster"), "orders")
    elif request.param == "redis_streams":
        redis, stream = (request.getfixturevalue(name) for name in ("redis", "stream"))
        try:
            yield of_redis(redis, stream)
        finally:
            redis.delete(*names(stream))
    else:
        producer = request.getfixturevalue("producer")
        with temporary_topic(partitions=SHARDS) as topic:

            def records() -> list[list[Event]]:
                with KafkaConsumer(
                    topic, auto_offset_reset="earliest", **settings()
                ) as consumer:
                    read = [next(consumer) for _ in range(2 * len(CUSTOMERS))]
                return [
                    [json.loads(each.value) for each in read if each.partition == number]
                    for number in range(SHARDS)
                ]

            yield Spread(partial(kafka_task.append_to_shard, producer, topic), records)


def test_a_key_has_one_place_and_its_order(spread: Spread) -> None:
    places: dict[str, set[Any]] = {}
    for number in ("0", "1"):
        for customer in CUSTOMERS:
            event = {"customer": customer, "number": number}
            shard, _ = spread.append(customer, event)
            places.setdefault(customer, set()).add(shard)
    assert all(len(found) == 1 for found in places.values())
    assert len(set.union(*places.values())) > 1
    shards = spread.events()
    for shard_events in shards:
        for customer in CUSTOMERS:
            found = [e["number"] for e in shard_events if e["customer"] == customer]
            assert found in ([], ["0", "1"])
    assert sum(map(len, shards)) == 2 * len(CUSTOMERS)


def test_an_event_without_fields_is_refused(spread: Spread) -> None:
    with pytest.raises((DataError, ValueError)):
        spread.append("ann", {})


@claim(servers="redis", since="5.0")
def test_redis_cluster_refuses_streams_of_two_slots(cluster: RedisCluster) -> None:
    """A Redis Cluster refuses to read streams of two slots in one command, with
    `CROSSSLOT`, even where one node has both.
    """
    node = node_of(cluster, "orders:{1}")
    assert node is node_of(cluster, "orders:{2}") is node_of(cluster, "payments:{1}")
    for stream in ("orders:{1}", "orders:{2}", "payments:{1}"):
        node.xgroup_create(stream, "billing", mkstream=True)
        node.xadd(stream, {"order": "0"})
    apart: dict[Any, Any] = {"orders:{1}": ">", "orders:{2}": ">"}
    with pytest.raises(ClusterCrossSlotError):
        node.xreadgroup("billing", "worker-1", apart)
    assert node.xpending("orders:{1}", "billing")["pending"] == 0
    together: dict[Any, Any] = {"orders:{1}": ">", "payments:{1}": ">"}
    batch: Any = node.xreadgroup("billing", "worker-1", together)
    assert [name for name, _ in batch] == ["orders:{1}", "payments:{1}"]


@claim(servers="redis", since="5.0")
def test_redis_keeps_a_stream_in_one_slot(cluster: RedisCluster) -> None:
    """A stream is one key in one slot of a Redis Cluster, however many entries it has:
    one master has them all, and the others redirect.
    """
    together: Any = node_of(cluster, "orders").pipeline(transaction=False)
    for number in range(5000):
        together.xadd("orders", {"order": str(number)})
    together.execute()
    sizes: Any = cluster.dbsize(target_nodes=RedisCluster.PRIMARIES)
    assert sizes == 1
    for key in ("orders:{0}", "orders:{1}"):
        other = node_of(cluster, key)
        assert other.dbsize() == 0
        with pytest.raises(MovedError):
            other.xlen("orders")
    assert node_of(cluster, "orders").xlen("orders") == 5000


def test_redis_streams_of_several_tags_spread_over_the_masters(
    cluster: RedisCluster,
) -> None:
    places = {
        redis_task.append_to_shard(cluster, "orders", name, {"is": name}, SHARDS)[0]
        for name in CUSTOMERS
    }
    assert sorted(places) == names("orders")
    nodes = redis_task.locate(cluster, "orders", SHARDS)
    # The page tells this: the second and the third of three masters, but not the first.
    assert nodes["orders:{1}"] == nodes["orders:{2}"] != nodes["orders:{0}"]
    assert len(set(redis_task.locate(cluster, "orders", 4).values())) == 3
    for name, address in nodes.items():
        node = node_of(cluster, name)
        assert node.exists(name)
        assert node.dbsize() == list(nodes.values()).count(address)


def test_redis_hash_tag_alone_decides_the_slot(cluster: RedisCluster) -> None:
    node: Any = node_of(cluster, "orders")

    def slot(key: str) -> int:
        found = int(node.execute_command("CLUSTER KEYSLOT", key))
        assert found == key_slot(key.encode())
        return found

    assert slot("orders:{7}") == slot("payments:{7}:seen") == slot("7")
    assert slot("{7}{8}") == slot("7")
    assert slot("orders:7") != slot("payments:7")
    assert slot("orders:{}7") != slot("payments:{}7")


@claim(servers="redis", since="5.0")
def test_redis_cluster_stops_whole_when_a_master_is_gone(own_redis: OwnRedis) -> None:
    """By default a Redis Cluster that lost a master and has no replica of it serves no
    key (`CLUSTERDOWN`); with `cluster-require-full-coverage no`, all but those it had.
    """
    quick = {"cluster-node-timeout": "500"}
    with (
        own_redis(masters=3, config=quick) as server,
        RedisCluster.from_url(server.url, decode_responses=True) as cluster,
    ):
        places = redis_task.locate(cluster, "orders", 4)
        gone = places["orders:{0}"]
        (node, stream), (other, another) = [
            (node_of(cluster, name), name) for name in ("orders:{1}", "orders:{3}")
        ]
        assert len({gone, places[stream], places[another]}) == 3
        server.nodes[server.urls.index(f"redis://{gone}")].kill()

        def refused(redis: Redis, name: str) -> bool:
            try:
                redis.xadd(name, {"sku": "tea"})
            except ClusterDownError:
                return True
            return False

        await_that(lambda: refused(node, stream) and refused(other, another))
        for survivor in (node, other):
            survivor.config_set("cluster-require-full-coverage", "no")
        await_that(lambda: not refused(node, stream) and not refused(other, another))
        with pytest.raises(MovedError, match=gone):
            redis_task.append_to_shard(node, "orders", "ann", {"sku": "tea"}, 1)
        # A slot may also have no master at all.
        untyped: Any = node
        untyped.execute_command("CLUSTER DELSLOTS", key_slot(b"orders:{0}"))
        with (
            RedisCluster.from_url(
                f"redis://{places[stream]}", require_full_coverage=False
            ) as client,
            pytest.raises(SlotNotCoveredError),
        ):
            redis_task.locate(client, "orders", 4)


@pytest.mark.parametrize(
    ("options", "copies"), [({}, 2), ({"retry": Retry(NoBackoff(), 0)}, 1)]
)
def test_redis_cluster_client_repeats_a_command_unless_told_not_to(
    own_redis: OwnRedis,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    copies: int,
) -> None:
    with (
        own_redis(masters=2) as server,
        RedisCluster.from_url(server.url, socket_timeout=0.2, **options) as client,
    ):
        place = redis_task.locate(client, "orders", 1)["orders:{0}"]
        frozen = server.nodes[server.urls.index(f"redis://{place}")]
        with suppress(RedisTimeoutError), monkeypatch.context() as patch:
            learn_nodes = client.nodes_manager.initialize
            tried_again = False

            def thaw(*args: Any, **kwargs: Any) -> None:
                nonlocal tried_again
                # The client has given up its first try, and is about to try again.
                if not tried_again:
                    frozen.resume()
                tried_again = True
                learn_nodes(*args, **kwargs)

            patch.setattr(client.nodes_manager, "initialize", thaw)
            redis_task.append_to_shard(client, "orders", "ann", {"sku": "milk"}, 1)
            frozen.pause()
            redis_task.append_to_shard(client, "orders", "ann", {"sku": "tea"}, 1)
        if not tried_again:
            frozen.resume()
        await_that(lambda: client.xlen("orders:{0}") == 1 + copies)


@pytest.mark.parametrize(("stream", "shards"), [("orders", 0), ("{orders}", 3)])
def test_redis_refuses_no_shard_and_a_second_tag(
    redis: Redis, stream: str, shards: int
) -> None:
    with pytest.raises(ValueError, match="shards of"):
        redis_task.append_to_shard(redis, stream, "ann", {"sku": "tea"}, shards)


@claim(servers="kafka", since="0.8")
def test_kafka_spreads_leaders_over_the_brokers(own_kafka: OwnKafka) -> None:
    """Kafka spreads the partitions of a new topic over the brokers, one each of three on
    three; when a broker is gone, those of the others take records as before.
    """
    quick = {"broker.session.timeout.ms": "3000", "broker.heartbeat.interval.ms": "500"}
    with (
        own_kafka(brokers=3, config=quick) as server,
        KafkaAdminClient(**server.settings) as admin,
        KafkaProducer(**server.settings) as producer,
    ):
        topic = {"orders": {"num_partitions": 3, "replication_factor": 1}}
        admin.create_topics(topic, wait_for_metadata=True)
        leaders = kafka_task.locate(admin, "orders")
        assert sorted(leaders) == [0, 1, 2]
        assert sorted(leaders.values()) == [1, 2, 3]
        places = {
            kafka_task.append_to_shard(producer, "orders", name, {"customer": name})[0]
            for name in CUSTOMERS
        }
        assert len(places) > 1
        server.brokers[leaders[0] - 1].kill()
        for partition in (1, 2):
            producer.send("orders", b"{}", partition=partition).get(PATIENCE_S)
        expected = {**leaders, 0: -1}
        await_that(lambda: kafka_task.locate(admin, "orders") == expected)


def test_kafka_locates_no_topic_that_is_not_there(
    kafka_environment: None,  # noqa: ARG001
) -> None:
    with (
        KafkaAdminClient(**settings()) as admin,
        pytest.raises(UnknownTopicOrPartitionError),
    ):
        kafka_task.locate(admin, "not-there-either")


@pytest.mark.parametrize(
    ("partitioner", "agrees"), [("consistent_random", False), ("murmur2_random", True)]
)
def test_kafka_clients_agree_on_a_keys_partition_if_they_hash_alike(
    producer: KafkaProducer,
    partitioner: str,
    agrees: bool,  # noqa: FBT001
) -> None:
    ours: dict[str, int] = {}
    theirs: dict[str, int] = {}

    def note(error: object, record: Any) -> None:
        assert error is None
        theirs[record.key().decode()] = record.partition()

    other = Producer(
        {
            "bootstrap.servers": settings()["bootstrap_servers"],
            "partitioner": partitioner,
        }
    )
    with temporary_topic(partitions=8) as topic:
        for customer in CUSTOMERS:
            other.produce(topic, b"{}", key=customer, on_delivery=note)
            event = {"customer": customer}
            ours[customer], _ = kafka_task.append_to_shard(
                producer, topic, customer, event
            )
        assert other.flush() == 0
    assert (ours == theirs) is agrees
