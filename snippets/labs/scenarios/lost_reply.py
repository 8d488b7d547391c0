"""A reply is lost: the server has appended a value, and its writer never hears of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import redis

from snippets.labs.faults.replies import HOST, LossyProxy
from snippets.labs.history import LOG, Action, Phase
from snippets.labs.load import Load, LoadError, Writer
from snippets.labs.scenarios.interface import PATIENCE_S, Ending, Mishap, OnServer, Stage
from snippets.labs.scenarios.survivor import (
    BROKER,
    KafkaSurvivor,
    RedisSurvivor,
    work_off,
)
from snippets.labs.systems.kafka import KafkaSystem, KafkaWriter
from snippets.labs.systems.redis import FIELD, RedisSystem, connect

# So many replies in a row: whoever repeats a command repeats it three times.
IN_A_ROW = 3
BEFORE, AFTER = 50, 50

LOST_REPLY = Mishap("lost replies")


class RepeatingWriter:
    """Appends with a client that may repeat a command; see `load.Writer`."""

    def __init__(self, client: redis.Redis, more: Callable[[int], Mapping[str, Any]]):
        """Take over a client.

        Args:
            client: A client.
            more: What else `xadd` is told with a value.
        """
        self._client = client
        self._more = more

    def write(self, value: int, answer: Callable[[Phase], None]) -> None:
        """See `load.Writer`."""
        try:
            self._client.xadd(LOG, {FIELD: value}, **self._more(value))
        except redis.RedisError:
            answer(Phase.UNKNOWN)
        else:
            answer(Phase.OK)

    def close(self) -> None:
        """See `load.Writer`."""
        self._client.close()


def _no_more(value: int) -> Mapping[str, Any]:  # noqa: ARG001
    return {}


def _with_id(value: int) -> Mapping[str, Any]:
    return {"idmp": ("writer-1", str(value).encode())}


def _default(port: int) -> redis.Redis:
    return redis.Redis(host=HOST, port=port)


def _from_url(port: int) -> redis.Redis:
    return redis.Redis.from_url(f"redis://{HOST}:{port}")


def _lose(stage: Stage, proxy: LossyProxy, writer: Writer) -> None:
    """Write, and lose replies in the middle."""
    with Load(writer, stage.journal, stage.rate) as load:
        if not load.until_acknowledged(BEFORE, PATIENCE_S):
            raise LoadError(f"{BEFORE} values take more than {PATIENCE_S:g} s")
        stage.journal.note(LOST_REPLY.name, Action.FAULT, 1, Phase.INVOKE)
        proxy.lose(IN_A_ROW, PATIENCE_S)
        stage.journal.note(LOST_REPLY.name, Action.FAULT, 1, Phase.OK)
        if not load.until_acknowledged(AFTER, PATIENCE_S):
            raise LoadError(f"{AFTER} values more take more than {PATIENCE_S:g} s")


@dataclass(frozen=True)
class LostRedisReply(OnServer):
    """Writers on Redis; see `interface.Scenario`.

    Attributes:
        name: The kind of client.
        base: The server.
        client: How it is made.
        connect: Makes it for a port.
        more: What else `xadd` is told with a value.
    """

    name: str
    base: RedisSystem
    client: str
    connect: Callable[[int], redis.Redis]
    more: Callable[[int], Mapping[str, Any]] = _no_more

    @property
    def settings(self) -> dict[str, str]:
        """See `interface.Scenario`."""
        return {
            **self.base.settings,
            "client": self.client,
            "lost replies in a row": str(IN_A_ROW),
        }

    def play(self, stage: Stage) -> Ending:
        """See `interface.Scenario`."""
        with self.base.run(stage.medium, stage.folder) as running:
            server = (HOST, int(urlsplit(running.url).port or 0))
            proxy = LossyProxy(lambda request: b"XADD" in request, server)
            with proxy.running():
                _lose(stage, proxy, RepeatingWriter(self.connect(proxy.port), self.more))
            work_off(RedisSurvivor(connect(running.url), 0), stage.journal)
            return Ending(running.values(), "kept", running.versions)


REDIS = RedisSystem("plain", {"save": ""}, "the primary has the entry in memory")
REDIS_CLIENTS = (
    LostRedisReply("default-client", REDIS, "Redis(...)", _default),
    LostRedisReply("client-from-url", REDIS, "Redis.from_url(...)", _from_url),
    LostRedisReply(
        "default-client-idmp", REDIS, "Redis(...), XADD IDMP", _default, _with_id
    ),
)

# `Produce` is the request with the number 0; its number follows four bytes of length.
PRODUCE = slice(4, 6)


@dataclass(frozen=True)
class LostKafkaReply(OnServer):
    """Producers of Kafka; see `interface.Scenario`.

    Attributes:
        name: The kind of producer.
        base: The server.
        idempotent: Whether the producer numbers its batches.
    """

    name: str
    base: KafkaSystem
    idempotent: bool

    @property
    def settings(self) -> dict[str, str]:
        """See `interface.Scenario`."""
        return {
            **self.base.settings,
            "enable.idempotence": str(self.idempotent).lower(),
            "lost replies in a row": str(IN_A_ROW),
        }

    def play(self, stage: Stage) -> Ending:
        """See `interface.Scenario`."""
        with self.base.run(stage.medium, stage.folder) as running:
            proxy = LossyProxy(lambda request: request[PRODUCE] == b"\0\0")
            with proxy.running():
                through = {"proxy_url": f"socks5://{HOST}:{proxy.port}"}
                settings = {**running.server.settings, **through}
                writer = KafkaWriter(settings, "all", idempotent=self.idempotent)
                _lose(stage, proxy, writer)
            left = running.values()
            work_off(KafkaSurvivor(running.server.settings), stage.journal)
            return Ending(left, "kept", running.versions)


KAFKA = KafkaSystem("plain", BROKER, "the broker has the record in its page cache")
KAFKA_PRODUCERS = (
    LostKafkaReply("idempotence-off", KAFKA, idempotent=False),
    LostKafkaReply("idempotence-on", KAFKA, idempotent=True),
)
