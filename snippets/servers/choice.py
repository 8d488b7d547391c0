"""Which way to take to a server, and one context manager a system that takes it."""

import importlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Protocol, cast

from snippets.servers.errors import ServersError
from snippets.servers.interface import Custom, Kafka, Redis

ADDRESS = {"redis": "REDIS_URL", "kafka": "KAFKA_BOOTSTRAP_SERVERS"}


class Way(StrEnum):
    """The ways to get a server; each is a module of this package."""

    LOCAL = "local"
    CONTAINERS = "containers"
    EXTERNAL = "external"


class _Opener(Protocol):
    """What the module of each way offers."""

    def redis(
        self, *, version: str | None, masters: int, replicas: int, custom: Custom
    ) -> AbstractContextManager[Redis]: ...

    def kafka(
        self, *, version: str | None, brokers: int, controllers: int, custom: Custom
    ) -> AbstractContextManager[Kafka]: ...


def choose(system: str, environ: Mapping[str, str] = os.environ) -> Way:
    """Return the way by which `redis` or `kafka` is to be had.

    Args:
        system: `redis` or `kafka`.
        environ: Where `SERVERS` and the two addresses are looked up.

    Raises:
        ServersError: `SERVERS` names no way.
    """
    forced = environ.get("SERVERS")
    if forced:
        if forced not in list(Way):
            raise ServersError(
                f"SERVERS={forced} is not a way to get a server. "
                f"Set it to one of {', '.join(Way)}, or leave it out."
            )
        return Way(forced)
    if environ.get(ADDRESS[system]):
        return Way.EXTERNAL
    from snippets.servers.containers import engine_answers

    return Way.CONTAINERS if engine_answers() else Way.LOCAL


def _open(way: Way) -> _Opener:
    # The ways load heavy libraries; a process pays only for the one that it takes.
    return cast("_Opener", importlib.import_module(f"snippets.servers.{way}"))


@contextmanager
def redis(
    *,
    version: str | None = None,
    masters: int = 1,
    replicas: int = 0,
    config: Mapping[str, str] | None = None,
    client: Mapping[str, str] | None = None,
    files: Sequence[Path] = (),
    way: Way | None = None,
) -> Iterator[Redis]:
    """Run a Redis for as long as the block lasts.

    Args:
        version: Which release, as `REDIS_RELEASES` and `OLDER_REDIS` in
            `snippets.servers.versions` have it, such as `8.2.3` or `valkey-9.1.2`; the
            newest if left out.
        masters: How many masters there are; several share the slots of a Redis Cluster,
            which needs Redis 7.0.
        replicas: How many replicas follow each master.
        config: Settings as in `redis.conf`, such as `{"appendonly": "yes"}`.
        client: How it is to be reached: `username`, `password`, and redis-py's `ssl_*`
            settings. With one of these it listens with TLS, and in no other way.
        files: Files of this machine that `config` names, such as a certificate; the
            nodes find them under the same paths.
        way: How to get it; what `choose` says if left out.

    Yields:
        The server, which answers.

    Raises:
        ServersError: It can't be had in this way, or doesn't answer in time.
    """
    opener = _open(way or choose("redis"))
    custom = Custom(config or {}, client or {}, files)
    with opener.redis(
        version=version, masters=masters, replicas=replicas, custom=custom
    ) as server:
        yield server


@contextmanager
def kafka(
    *,
    version: str | None = None,
    brokers: int = 1,
    controllers: int = 0,
    config: Mapping[str, str] | None = None,
    client: Mapping[str, str] | None = None,
    files: Sequence[Path] = (),
    way: Way | None = None,
) -> Iterator[Kafka]:
    """Run a Kafka for as long as the block lasts.

    Args:
        version: Which release of `KAFKA_RELEASES` in `snippets.servers.versions`, such as
            `4.0.2`; the one that the site is about if left out.
        brokers: How many brokers.
        controllers: How many nodes do nothing but control; with 0, every broker
            is a controller too.
        config: Broker settings, such as `{"min.insync.replicas": "2"}`.
        client: How it is to be reached, in kafka-python's settings. The brokers expect
            clients by its `security_protocol`; among themselves they use none.
        files: Files of this machine that `config` names, such as a certificate; the
            nodes find them under the same paths.
        way: How to get it; what `choose` says if left out.

    Yields:
        The cluster, all of whose brokers answer.

    Raises:
        ServersError: It can't be had in this way, or doesn't answer in time.
    """
    opener = _open(way or choose("kafka"))
    custom = Custom(config or {}, client or {}, files)
    with opener.kafka(
        version=version, brokers=brokers, controllers=controllers, custom=custom
    ) as server:
        yield server
