"""What every way gives: a server that answers, made of nodes that can be made to fail."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


class Node(Protocol):
    """One process of a server: what a fault can hit."""

    @property
    def name(self) -> str:
        """The node's name in its cluster, such as `broker-2`."""

    def start(self) -> None:
        """Start the node again, on its old address and its old data; return at once.

        Raises:
            ServersError: The process can't be started.
        """

    def stop(self) -> None:
        """Ask the node to shut down (SIGTERM) and wait until it has."""

    def kill(self) -> None:
        """End the node at once (SIGKILL): it has no time to save anything."""

    def pause(self) -> None:
        """Freeze the node (SIGSTOP): its connections stay open, and nothing answers."""

    def resume(self) -> None:
        """Let a paused node go on."""

    def logs(self) -> str:
        """What the node has printed so far."""


@dataclass(frozen=True)
class Custom:
    """What is asked of a server beyond its defaults; see `snippets.servers.redis`.

    Attributes:
        config: The server's own settings.
        client: The settings by which it is reached.
        files: Files of this machine that `config` names.
    """

    config: Mapping[str, str] = field(default_factory=dict)
    client: Mapping[str, str] = field(default_factory=dict)
    files: Sequence[Path] = ()

    def __bool__(self) -> bool:
        """Whether anything is asked for."""
        return bool(self.config or self.client or self.files)


@dataclass(frozen=True)
class Redis:
    """A running Redis: a master and its replicas, or a cluster of several masters.

    Attributes:
        way: How it was had: `local`, `containers` or `external`.
        version: The version that answered, such as `8.10.2`, or `valkey-9.1.2`.
        urls: One URL a node. Masters come first, then a replica of each, then another.
        nodes: What can be made to fail, in the order of `urls`; empty for yours.
    """

    way: str
    version: str
    urls: Sequence[str]
    nodes: Sequence[Node] = ()

    @property
    def url(self) -> str:
        """The URL of the first master, for `redis.Redis.from_url`.

        A cluster has `redis.RedisCluster.from_url`, which learns of the rest from there.
        """
        return self.urls[0]

    def environment(self) -> dict[str, str]:
        """The variables by which `snippets.redis_streams.connect` finds this server."""
        return {"REDIS_URL": self.url}


@dataclass(frozen=True)
class Kafka:
    """A running Kafka: one broker or several, with their controllers.

    Attributes:
        way: How it was had: `local`, `containers` or `external`.
        version: The version that answered, such as `4.3.1`, or the release line where
            the broker tells no more, such as `4.3`.
        bootstrap_servers: Addresses of the brokers, `host:port`, separated by commas.
        brokers: What can be made to fail, by node id from 1; empty for yours.
        controllers: The nodes that only control, if there are any.
        settings: The connection settings for kafka-python's clients.
    """

    way: str
    version: str
    bootstrap_servers: str
    brokers: Sequence[Node] = ()
    controllers: Sequence[Node] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """The variables by which `snippets.kafka.settings` finds this server."""
        from snippets.kafka import VARIABLES

        return {
            variable: str(self.settings[name])
            for name, variable in VARIABLES.items()
            if name in self.settings
        }
