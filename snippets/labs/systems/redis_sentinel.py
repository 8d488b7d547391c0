"""Redis with replicas and Sentinels, which promote one when the primary is gone."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.sentinel import MasterNotFoundError, Sentinel

from snippets.labs.faults.interface import FaultError, Medium, Target
from snippets.labs.faults.link import HOST, Link
from snippets.labs.systems.redis import (
    ANSWER_S,
    DIVIDED_S,
    RedisSystem,
    RunningRedis,
    connect,
)
from snippets.servers.local.process import Process
from snippets.servers.local.redis_programs import programs
from snippets.servers.ports import free_port
from snippets.servers.ready import attempts, until_redis_answers, until_replica_follows
from snippets.servers.run import current_run
from snippets.servers.versions import redis_release

SENTINELS = 3
QUORUM = 2
NAME = "primary"
PATIENCE_S = 60.0


def _configuration(port: int, primary: int, down_after_ms: int) -> str:
    return f"""\
bind {HOST}
port {port}
set-proc-title no
sentinel monitor {NAME} {HOST} {primary} {QUORUM}
sentinel down-after-milliseconds {NAME} {down_after_ms}
"""


@contextmanager
def _sentinel(number: int, port: int, configuration: str) -> Iterator[Process]:
    """Run one Sentinel; it is a Redis server that rewrites its own configuration."""
    folder = current_run().new_folder(f"sentinel-{number}")
    (folder / "sentinel.conf").write_text(configuration)
    release = redis_release()
    command = [str(programs(release) / release.program), "sentinel.conf", "--sentinel"]
    node = Process(f"sentinel-{number}", command, folder)
    try:
        node.start()
        until_redis_answers(f"redis://{HOST}:{port}", alive=node.check_alive)
        yield node
    finally:
        node.end()
        current_run().forget(folder)


@dataclass
class RunningSentinels(RunningRedis):
    """A primary with its replicas, of which nobody but the Sentinels takes care.

    Attributes:
        sentinels: The client that asks them; None until they run.
        struck: The number of the node that was the primary when the fault was to strike.
        linked: The URL of the first primary by the port of the link to it, if any.
    """

    sentinels: Sentinel | None = None
    struck: int = 0
    linked: Mapping[int, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Where clients write, by what the Sentinels say."""
        if self.sentinels is None:
            return super().url
        host, port = self.sentinels.discover_master(NAME)  # type: ignore[no-untyped-call]
        # Clients have a way of their own to a primary that the others reach by a link.
        return self.linked.get(port, f"redis://{host}:{port}")

    @property
    def targets(self) -> list[Target]:
        """The primary, by what the Sentinels say."""
        self.struck = self._number()
        return [replace(self.everything[self.struck], links=self.links)]

    def _number(self) -> int:
        port = urlsplit(self.url).port
        return [urlsplit(url).port for url in self.server.urls].index(port)

    def until_watched(self) -> None:
        """Wait until each Sentinel knows all replicas and all other Sentinels.

        Raises:
            FaultError: They don't in time.
        """
        wanted = (len(self.server.urls) - 1, SENTINELS - 1)
        for _ in attempts(PATIENCE_S):
            if self._known() == [wanted] * SENTINELS:
                return
        raise FaultError(f"replicas and others that each Sentinel knows: {self._known()}")

    def _known(self) -> list[tuple[int, int]]:
        clients: Any = self.sentinels.sentinels if self.sentinels else []
        return [
            (len(each.sentinel_slaves(NAME)), len(each.sentinel_sentinels(NAME)))
            for each in clients
        ]

    def bring_back(self) -> str:
        """Start the old primary when there is a new one, and let the Sentinels go on.

        If it lives on, the links to it are healed some time after; nobody tells its
        clients before.
        """
        old = self.struck
        for _ in attempts(PATIENCE_S):
            # While they know that it is gone, and have no other one yet, they name none.
            with contextlib.suppress(MasterNotFoundError):
                if self._number() != old:
                    break
        refused = ""
        if self.links:
            time.sleep(DIVIDED_S)
            for link in self.links:
                link.heal()
        elif not self.everything[old].node.runs():
            refused = self.restart(old)
        url = self.server.urls[old]
        for _ in attempts(PATIENCE_S):
            if _is_replica(url):
                alive = self.everything[old].node.check_alive
                until_replica_follows(url, alive=alive)
                return refused
        raise FaultError(
            "the Sentinels have promoted no replica, or left the old primary"
        )


def _is_replica(url: str) -> bool:
    # A Sentinel that makes a replica of a server ends the connections of its clients.
    with contextlib.suppress(RedisConnectionError), connect(url) as client:
        return bool(client.info("replication")["role"] == "slave")
    return False


@dataclass(frozen=True)
class SentinelSystem(RedisSystem):
    """Redis with Sentinels; see `interface.System`.

    Attributes:
        down_after_ms: For how long a primary must be silent to be given up.
        divided: Whether replicas and Sentinels reach the first primary by a link.
    """

    down_after_ms: int = field(default=30_000, kw_only=True)
    divided: bool = field(default=False, kw_only=True)

    @property
    def settings(self) -> dict[str, str]:
        """See `interface.System`."""
        own = {
            "Sentinels": str(SENTINELS),
            "Sentinel: quorum": str(QUORUM),
            "Sentinel: down-after-milliseconds": str(self.down_after_ms),
        }
        return {**super().settings, **own}

    def _kind(self) -> type[RunningRedis]:
        return RunningSentinels

    @contextmanager
    def run(self, medium: Medium, folder: Path) -> Iterator[RunningRedis]:
        """See `interface.System`."""
        with super().run(medium, folder) as running, ExitStack() as stack:
            direct = running.url
            primary = urlsplit(direct).port or 0
            if isinstance(running, RunningSentinels) and self.divided:
                link = stack.enter_context(Link(primary))
                for number in range(1, len(running.server.urls)):
                    running.follow(number, f"redis://{HOST}:{link.port}")
                running.links = [link]
                running.linked = {link.port: direct}
                primary = link.port
            ports = [free_port() for _ in range(SENTINELS)]
            for number, port in enumerate(ports, start=1):
                configuration = _configuration(port, primary, self.down_after_ms)
                stack.enter_context(_sentinel(number, port, configuration))
            asked = Sentinel(  # type: ignore[no-untyped-call]
                [(HOST, port) for port in ports],
                sentinel_kwargs={"socket_timeout": ANSWER_S, "decode_responses": True},
            )
            for client in asked.sentinels:
                stack.callback(client.close)
            if isinstance(running, RunningSentinels):
                running.sentinels = asked
                running.until_watched()
            yield running
