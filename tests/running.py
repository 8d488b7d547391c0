"""The servers that run during the tests."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import chain

from snippets.servers import Kafka, Node, Redis, choose, kafka, redis

START: dict[str, Callable[..., AbstractContextManager[Redis | Kafka]]] = {
    "redis": redis,
    "kafka": kafka,
}
LOG_TAIL = 15


class Servers:
    """The servers that all tests share, and those that a test has of its own."""

    def __init__(self) -> None:
        """Choose the ways, before any test changes the environment."""
        self.ways = {system: choose(system) for system in START}
        self._stack = ExitStack()
        self._shared: dict[str, Redis | Kafka] = {}
        self.alive: list[Redis | Kafka] = []
        self._last_words: list[tuple[str, str]] = []

    @contextmanager
    def own(self, system: str, **options: object) -> Iterator[Redis | Kafka]:
        """Run a server for as long as the block lasts; see `snippets.servers`."""
        start = START[system]
        with start(way=self.ways[system], **options) as server:
            self.alive.append(server)
            try:
                yield server
            except BaseException:
                self._last_words += _log_ends(server)
                raise
            finally:
                self.alive.remove(server)

    def start(self, systems: Iterable[str]) -> None:
        """Start the shared servers, side by side."""

        def enter(system: str) -> None:
            self._shared[system] = self._stack.enter_context(self.own(system))

        missing = [each for each in systems if each not in self._shared]
        with ThreadPoolExecutor() as pool:
            list(pool.map(enter, missing))

    def shared(self, system: str) -> Redis | Kafka:
        """Return a shared server, started if it isn't yet."""
        self.start([system])
        return self._shared[system]

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
