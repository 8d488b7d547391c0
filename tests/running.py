"""The servers that run during the tests."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import chain

from snippets.servers import Kafka, Node, Redis, choose, kafka, redis
from snippets.servers.secured import secure_kafka, secure_redis

START: dict[str, Callable[..., AbstractContextManager[Redis | Kafka]]] = {
    "redis": redis,
    "kafka": kafka,
    "secure_redis": secure_redis,
    "secure_kafka": secure_kafka,
}

# The system that each of them is.
SYSTEMS = {kind: kind.removeprefix("secure_") for kind in START}
LOG_TAIL = 15


class Servers:
    """The servers that all tests share, and those that a test has of its own."""

    def __init__(self) -> None:
        """Choose the ways, before any test changes the environment."""
        self.ways = {system: choose(system) for system in {*SYSTEMS.values()}}
        self._stack = ExitStack()
        self._shared: dict[str, Redis | Kafka] = {}
        self.alive: list[Redis | Kafka] = []
        self._last_words: list[tuple[str, str]] = []

    @contextmanager
    def own(self, kind: str, **options: object) -> Iterator[Redis | Kafka]:
        """Run a server for as long as the block lasts; see `snippets.servers`."""
        start = START[kind]
        with start(way=self.ways[SYSTEMS[kind]], **options) as server:
            self.alive.append(server)
            try:
                yield server
            except BaseException:
                self._last_words += _log_ends(server)
                raise
            finally:
                self.alive.remove(server)

    def start(self, kinds: Iterable[str]) -> None:
        """Start the shared servers, side by side."""

        def enter(kind: str) -> None:
            self._shared[kind] = self._stack.enter_context(self.own(kind))

        missing = [each for each in kinds if each not in self._shared]
        with ThreadPoolExecutor() as pool:
            list(pool.map(enter, missing))

    def shared(self, kind: str) -> Redis | Kafka:
        """Return a shared server, started if it isn't yet."""
        self.start([kind])
        return self._shared[kind]

    def close(self) -> None:
        """End the shared servers."""
        self._stack.close()

    def logs(self) -> list[tuple[str, str]]:
        """Return the end of each node's log with a title, of those that failed too."""
        last_words, self._last_words = self._last_words, []
        return last_words + [each for server in self.alive for each in _log_ends(server)]


def _log_ends(server: Redis | Kafka) -> list[tuple[str, str]]:
    nodes: Iterable[Node] = (
        server.nodes
        if isinstance(server, Redis)
        else chain(server.brokers, server.controllers)
    )
    return [
        (f"the end of {node.name}'s log", "\n".join(node.logs().splitlines()[-LOG_TAIL:]))
        for node in nodes
    ]
