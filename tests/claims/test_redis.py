"""What Redis does to a stream by default, on memory pressure and on a replica."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from redis import ReadOnlyError, Redis, ResponseError

from snippets import servers
from tests.ledger import claim

OwnRedis = Callable[..., AbstractContextManager[servers.Redis]]

EVENT: dict[Any, Any] = {"sku": "tea"}


@claim(servers="redis", since="7.0")
def test_redis_default_persistence_is_snapshots(own_redis: OwnRedis) -> None:
    """A Redis server without configuration takes snapshots (`save 3600 1 300 100 60
    10000`) and keeps no append-only file (`appendonly no`).
    """
    with (
        own_redis() as server,
        Redis.from_url(server.url, decode_responses=True) as redis,
    ):
        found = redis.config_get("save", "appendonly", "appendfsync")
    assert found == {
        "save": "3600 1 300 100 60 10000",
        "appendonly": "no",
        "appendfsync": "everysec",
    }


@claim(servers="redis", since="5.0")
def test_redis_evicts_a_whole_stream_with_its_groups(own_redis: OwnRedis) -> None:
    """A Redis that reaches `maxmemory` under `allkeys-lru` evicts a stream as one key:
    all its entries go at once, and its groups with them.
    """
    config = {"maxmemory": "4mb", "maxmemory-policy": "allkeys-lru", "save": ""}
    with (
        own_redis(config=config) as server,
        Redis.from_url(server.url, decode_responses=True) as redis,
    ):
        redis.xadd("orders", EVENT)
        redis.xgroup_create("orders", "billing", id="0")
        for number in range(10_000):
            redis.set(f"cache:{number}", "x" * 1000)
            if not redis.exists("orders"):
                break
        assert redis.exists("orders") == 0
        with pytest.raises(ResponseError, match="NOGROUP"):
            redis.xreadgroup("billing", "worker-1", {"orders": ">"})


@claim(servers="redis", since="5.0")
def test_redis_group_read_is_a_write(own_redis: OwnRedis) -> None:
    """Reading through a Redis group is a write: a replica serves `XRANGE` and refuses
    `XREADGROUP`.
    """
    with (
        own_redis(replicas=1) as server,
        Redis.from_url(server.urls[0], decode_responses=True) as primary,
        Redis.from_url(server.urls[1], decode_responses=True) as replica,
    ):
        primary.xadd("orders", EVENT)
        primary.xgroup_create("orders", "billing", id="0")
        assert primary.wait(1, 4000) == 1
        assert [event for _, event in replica.xrange("orders")] == [EVENT]
        with pytest.raises(ReadOnlyError):
            replica.xreadgroup("billing", "worker-1", {"orders": ">"})


@claim(servers="redis", since="5.0")
def test_redis_wait_does_not_undo(redis: Redis, stream: str) -> None:
    """`WAIT` asks and doesn't undo: where no replica has confirmed in time, it returns 0
    and the entry stays.
    """
    assert redis.config_get("replicaof") == {"replicaof": ""}
    redis.xadd(stream, EVENT)
    assert redis.wait(1, 10) == 0
    assert redis.xlen(stream) == 1
