"""Nodes fail and come back as they are told to, whichever way the servers are had."""

import itertools
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import urlsplit

import pytest
from kafka import KafkaConsumer, KafkaProducer
from redis import ConnectionError as RedisConnectionError
from redis import Redis, RedisCluster
from redis import TimeoutError as RedisTimeoutError

from snippets import servers
from snippets.kafka.append import append
from snippets.servers.ready import (
    PATIENCE_S,
    attempts,
    until_kafka_answers,
    until_redis_answers,
)
from snippets.servers.versions import REDIS_RELEASES

OwnRedis = Callable[..., AbstractContextManager[servers.Redis]]
OwnKafka = Callable[..., AbstractContextManager[servers.Kafka]]


def await_that(condition: Callable[[], bool]) -> None:
    """Wait until something holds."""
    for _ in attempts(PATIENCE_S):
        if condition():
            return
    pytest.fail("it never holds")


def cluster_state(node: Any) -> str:
    """Tell what a node of a Redis Cluster thinks of it."""
    return str(node.execute_command("CLUSTER INFO")["cluster_state"])


QUICK = {"broker.session.timeout.ms": "3000", "broker.heartbeat.interval.ms": "500"}


def test_redis_primary_and_replicas_are_told_apart(own_redis: OwnRedis) -> None:
    with own_redis(replicas=2) as server:
        roles = []
        for url in server.urls:
            with Redis.from_url(url, decode_responses=True) as redis:
                roles.append(redis.info("replication")["role"])
        assert roles == ["master", "slave", "slave"]
        assert [node.name for node in server.nodes] == ["redis-1", "redis-2", "redis-3"]


@pytest.mark.parametrize("version", REDIS_RELEASES)
def test_redis_of_every_release_answers(own_redis: OwnRedis, version: str) -> None:
    with own_redis(version=version, replicas=1) as server:
        assert server.version == version


def test_redis_cluster_is_known_whole_by_every_node(own_redis: OwnRedis) -> None:
    with own_redis(masters=3) as server:
        assert [node.name for node in server.nodes] == ["redis-1", "redis-2", "redis-3"]
        for url in server.urls:
            with RedisCluster.from_url(url) as cluster:
                known = {f"redis://{node.name}" for node in cluster.get_primaries()}
                assert known == set(server.urls)
                for number in range(20):
                    assert cluster.incr(f"{url}:{number}") == 1
        for url in server.urls:
            with Redis.from_url(url) as node:
                assert 0 < node.dbsize() < 60


def test_redis_cluster_node_comes_back_to_its_slots(own_redis: OwnRedis) -> None:
    with own_redis(masters=3, config={"appendonly": "yes"}) as server:
        with RedisCluster.from_url(server.url) as cluster:
            cluster.set("key", "value")
            owner = cluster.get_node_from_key("key")
            assert owner
        number = server.urls.index(f"redis://{owner.name}")
        server.nodes[number].kill()
        server.nodes[number].start()
        until_redis_answers(server.urls[number], alive=lambda: None)
        with Redis.from_url(server.urls[number], decode_responses=True) as node:
            # A master that starts holds back for 2 s, lest another has taken its slots.
            await_that(lambda: cluster_state(node) == "ok")
            assert node.get("key") == "value"


def test_redis_cluster_replica_takes_over(own_redis: OwnRedis) -> None:
    quick = {"cluster-node-timeout": "500"}
    with own_redis(masters=3, replicas=1, config=quick) as server:
        follows = []
        for url in server.urls:
            with Redis.from_url(url, decode_responses=True) as node:
                follows.append(node.info("replication").get("master_port"))
        assert follows == [*[None] * 3, *(urlsplit(url).port for url in server.urls[:3])]
        server.nodes[0].kill()
        with RedisCluster.from_url(server.urls[1]) as cluster:

            def masters() -> set[str]:
                cluster.nodes_manager.initialize()
                return {f"redis://{node.name}" for node in cluster.get_primaries()}

            await_that(lambda: masters() == set(server.urls[1:4]))


def test_redis_node_is_killed_and_comes_back_on_its_port(own_redis: OwnRedis) -> None:
    config = {"appendonly": "yes"}
    with own_redis(config=config) as server:
        (node,) = server.nodes
        with Redis.from_url(server.url, retry=None) as redis:
            redis.set("key", "value")
            node.kill()
            with pytest.raises(RedisConnectionError):
                redis.get("key")
            node.start()
            until_redis_answers(server.url, alive=lambda: None)
            assert redis.get("key") == b"value"
        assert "Ready to accept connections" in node.logs()


def test_redis_node_is_paused_and_resumed(own_redis: OwnRedis) -> None:
    with own_redis() as server:
        (node,) = server.nodes
        with Redis.from_url(server.url, retry=None, socket_timeout=0.2) as redis:
            node.pause()
            with pytest.raises(RedisTimeoutError):
                redis.ping()
            node.resume()
        with Redis.from_url(server.url) as redis:
            assert redis.ping()


def test_kafka_cluster_has_brokers_and_controllers(own_kafka: OwnKafka) -> None:
    with own_kafka(brokers=2, controllers=1, config=QUICK) as server:
        assert [node.name for node in server.brokers] == ["broker-1", "broker-2"]
        assert [node.name for node in server.controllers] == ["controller-101"]
        assert len(server.bootstrap_servers.split(",")) == 2


def test_kafka_broker_is_stopped_and_comes_back_with_its_records(
    own_kafka: OwnKafka,
) -> None:
    with own_kafka(config=QUICK) as server:
        with KafkaProducer(**server.settings) as producer:
            append(producer, "orders", {"n": "1"})
        (broker,) = server.brokers
        broker.stop()
        broker.start()
        until_kafka_answers(server.settings, brokers=1, alive=lambda: None)
        with KafkaConsumer(
            "orders", auto_offset_reset="earliest", **server.settings
        ) as consumer:
            (record,) = itertools.islice(consumer, 1)
        assert json.loads(record.value) == {"n": "1"}


def test_a_frozen_node_ends_with_its_block(own_redis: OwnRedis) -> None:
    with own_redis() as server:
        server.nodes[0].pause()
    with pytest.raises(servers.ServersError, match="no Redis answered"):
        until_redis_answers(server.url, patience_s=0.1, alive=lambda: None)


def test_a_server_that_cannot_start_says_why(own_redis: OwnRedis) -> None:
    with (
        pytest.raises(servers.ServersError, match="no-such-option"),
        own_redis(config={"no-such-option": "1"}),
    ):
        pytest.fail("it has started")
