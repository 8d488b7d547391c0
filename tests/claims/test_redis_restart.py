"""What is left of a stream when its server has ended, and starts again."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from redis import Redis

from snippets import servers
from snippets.redis_streams.append import append
from snippets.servers.ready import until_redis_answers
from tests.ledger import claim

OwnRedis = Callable[..., AbstractContextManager[servers.Redis]]

ACKNOWLEDGED = 500


def append_all(server: servers.Redis) -> list[str]:
    """Append one entry after the other; return the IDs that were acknowledged."""
    with Redis.from_url(server.url, decode_responses=True) as redis:
        return [append(redis, "orders", {"n": str(n)}) for n in range(ACKNOWLEDGED)]


def ids_after_restart(server: servers.Redis) -> list[str]:
    """Start the ended server again; return the IDs that it has."""
    server.nodes[0].start()
    until_redis_answers(server.url, alive=lambda: None)
    with Redis.from_url(server.url, decode_responses=True) as redis:
        return [entry_id for entry_id, _ in redis.xrange("orders")]


@claim(servers="redis", since="5.0")
def test_redis_without_persistence_loses_everything(own_redis: OwnRedis) -> None:
    """Without snapshots and without append-only file, a Redis that restarts has lost
    every entry, even if it was shut down in good order.
    """
    with own_redis(config={"save": ""}) as server:
        append_all(server)
        server.nodes[0].stop()
        assert ids_after_restart(server) == []


@claim(servers="redis", since="5.0")
def test_redis_shutdown_saves_everything(own_redis: OwnRedis) -> None:
    """With the default persistence, a Redis that is asked to end (`SIGTERM`) takes a last
    snapshot, and loses no entry.
    """
    with own_redis() as server:
        acknowledged = append_all(server)
        server.nodes[0].stop()
        assert ids_after_restart(server) == acknowledged


@claim(servers="redis", since="5.0")
def test_redis_snapshots_lose_what_came_after_when_killed(own_redis: OwnRedis) -> None:
    """With the default persistence, a Redis that is killed (`SIGKILL`) loses every entry
    since its last snapshot.
    """
    with own_redis() as server:
        with Redis.from_url(server.url) as redis:
            before = append_all(server)
            redis.save()
            append_all(server)
        server.nodes[0].kill()
        assert ids_after_restart(server) == before


@claim(servers="redis", since="5.0")
def test_redis_everysec_loses_nothing_when_the_process_is_killed(
    own_redis: OwnRedis,
) -> None:
    """With `appendfsync everysec` and a disk that keeps up, killing the Redis process
    loses no acknowledged entry: each was handed to the operating system before its reply.
    """
    with own_redis(config={"appendonly": "yes", "appendfsync": "everysec"}) as server:
        acknowledged = append_all(server)
        server.nodes[0].kill()
        assert ids_after_restart(server) == acknowledged
