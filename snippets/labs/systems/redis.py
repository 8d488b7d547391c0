"""Redis as a system under test: one stream, one group, and a replica if need be."""

import importlib.metadata
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import redis

from snippets.labs.faults.interface import Disk, FaultError, Medium, Target
from snippets.labs.faults.link import HOST, Link, Way
from snippets.labs.faults.netns import network
from snippets.labs.history import GROUP, LOG, Phase
from snippets.labs.load import Position, ServerGoneError
from snippets.labs.systems.interface import pair
from snippets.servers import Redis, ServersError, local
from snippets.servers.interface import Custom
from snippets.servers.local.process import Storage, loopback
from snippets.servers.local.redis_programs import programs
from snippets.servers.ready import until_redis_answers, until_replica_follows
from snippets.servers.versions import redis_release

FIELD = "value"
CONSUMER = "consumer"
BATCH = 50
BLOCK_MS = 50
ANSWER_S = 3.0
# How long clients go on with a primary whose replica has been promoted.
DIVIDED_S = 5.0
# Else it serves loopback alone; on a network of the lab's own, nobody else reaches it.
OPEN = {"protected-mode": "no"}
MANIFEST = Path("appendonlydir", "appendonly.aof.manifest")

Connection = redis.Redis


def connect(url: str) -> Connection:
    """Connect to a server, or fail: this client repeats nothing.

    Raises:
        redis.RedisError: It does not answer.
    """
    client = redis.Redis.from_url(
        url,
        retry=None,
        socket_timeout=ANSWER_S,
        socket_connect_timeout=ANSWER_S,
        decode_responses=True,
    )
    client.ping()
    return client


class RedisWriter:
    """Appends values one by one; each waits for the reply to the one before."""

    def __init__(self, url: Callable[[], str], confirm: Sequence[str | int]) -> None:
        """Take note of where to write; see `load.Writer`.

        Args:
            url: Says where the primary is now.
            confirm: A command, such as `WAIT 1 1000`, whose first number must be in its
                reply before a value counts as acknowledged; none if empty.
        """
        self._url = url
        self._confirm = confirm
        self._client: Connection | None = None

    def write(self, value: int, answer: Callable[[Phase], None]) -> None:
        """See `load.Writer`."""
        try:
            self._client = self._client or connect(self._url())
        except redis.RedisError:
            answer(Phase.FAIL)
            return
        answer(self._append(self._client, value))

    def _append(self, client: Connection, value: int) -> Phase:
        try:
            client.xadd(LOG, {FIELD: value})
        except redis.ReadOnlyError:  # the primary is elsewhere by now
            self.close()
            return Phase.FAIL
        except redis.ResponseError:
            return Phase.FAIL
        except redis.RedisError:
            self.close()
            return Phase.UNKNOWN
        try:
            return Phase.OK if self._confirmed(client) else Phase.UNKNOWN
        except redis.RedisError:
            self.close()
            return Phase.UNKNOWN

    def _confirmed(self, client: Connection) -> bool:
        if not self._confirm:
            return True
        reply = client.execute_command(*self._confirm)  # type: ignore[no-untyped-call]
        # `WAITAOF` counts the server itself and its replicas; `WAIT` only replicas.
        counts = reply if isinstance(reply, list) else [reply]
        wanted = self._confirm[1 : 1 + len(counts)]
        return all(
            int(got) >= int(want) for got, want in zip(counts, wanted, strict=True)
        )

    def close(self) -> None:
        """See `load.Writer`."""
        if self._client:
            self._client.close()
            self._client = None


class RedisReader:
    """Takes first what was delivered and not acknowledged, then what is new."""

    selective = True

    def __init__(self, client: Connection) -> None:
        """Take over a connection; see `load.Consumer`."""
        self._client = client
        self._ids: dict[int, str] = {}
        self._after = "0"
        self._at_end = False
        self.position: Position | None = None

    def take(self) -> Sequence[int]:
        """See `load.Consumer`."""
        try:
            reply: Any = self._client.xreadgroup(
                GROUP, CONSUMER, {LOG: self._after}, count=BATCH, block=BLOCK_MS
            )
        except redis.RedisError as error:
            raise ServerGoneError(str(error)) from error
        entries = reply[0][1] if reply else []
        if not entries:
            self._at_end = self._after == ">"
            self._after = ">"
            return []
        if self._after == ">":
            self.position = _place(entries[-1][0])
        else:
            self._after = entries[-1][0]
        # What is pending may have been removed from the stream since.
        self._ids = {int(fields[FIELD]): entry for entry, fields in entries if fields}
        return list(self._ids)

    def acknowledge(self, values: Sequence[int]) -> None:
        """See `load.Consumer`."""
        try:
            self._client.xack(LOG, GROUP, *[self._ids[value] for value in values])
        except redis.RedisError as error:
            raise ServerGoneError(str(error)) from error

    def at_end(self) -> bool:
        """See `load.Consumer`."""
        return self._at_end

    def close(self) -> None:
        """See `load.Consumer`."""
        self._client.close()


@dataclass
class RunningRedis:
    """See `interface.Running`.

    Attributes:
        server: The server.
        disks: The disks of its nodes, in the order of the nodes.
        confirm: See `RedisWriter`.
        primary: The number of the node to which clients write.
        links: On the way between the primary and its replicas; nothing fails there if
            there are none.
    """

    server: Redis
    disks: Sequence[Disk]
    confirm: Sequence[str | int]
    primary: int = 0
    links: Sequence[Way] = ()

    @property
    def url(self) -> str:
        """Where clients write."""
        return self.server.urls[self.primary]

    @property
    def everything(self) -> list[Target]:
        """See `interface.Running`."""
        return pair(self.server.nodes, self.disks)

    @property
    def targets(self) -> list[Target]:
        """The primary."""
        return [replace(self.everything[self.primary], links=self.links)]

    @property
    def versions(self) -> dict[str, str]:
        """See `interface.Running`."""
        return {
            "Redis": self.server.version,
            "redis-py": importlib.metadata.version("redis"),
        }

    def make_group(self) -> None:
        """Make the stream and the group, unless they are there."""
        with connect(self.url) as client:
            try:
                client.xgroup_create(LOG, GROUP, id="0", mkstream=True)
            except redis.ResponseError as error:
                if "BUSYGROUP" not in str(error):
                    raise

    def writer(self) -> RedisWriter:
        """See `interface.Running`."""
        return RedisWriter(lambda: self.url, self.confirm)

    def consumer(self) -> RedisReader:
        """See `interface.Running`."""
        self.make_group()
        return RedisReader(connect(self.url))

    def bring_back(self) -> str:
        """Start the node again; repair its append-only file if it refuses to start."""
        return self.restart(self.primary)

    def restart(self, number: int) -> str:
        """Start a node again, repaired if need be; see `interface.Running.bring_back`."""
        refused = self._start(number)
        if refused:
            repair(self.disks[number].storage.folder)
            if again := self._start(number):
                raise FaultError(f"Redis does not start even after a repair: {again}")
        return refused

    def _start(self, number: int) -> str:
        node = self.everything[number].node
        if not node.runs():
            node.start()
        try:
            until_redis_answers(self.server.urls[number], alive=node.check_alive)
        except ServersError:
            if node.runs():
                raise
            return last_words(node.logs())
        return ""

    def follow(self, number: int, url: str) -> None:
        """Make a node a replica of another one, and wait until it has its data."""
        address = urlsplit(url)
        with connect(self.server.urls[number]) as client:
            client.replicaof(str(address.hostname), str(address.port))
        alive = self.everything[number].node.check_alive
        until_replica_follows(self.server.urls[number], alive=alive)

    def group_position(self) -> Position | None:
        """See `interface.Running`."""
        with connect(self.url) as client:
            try:
                groups: Any = client.xinfo_groups(LOG)
            except redis.ResponseError:  # there is no stream
                return None
            return _place(groups[0]["last-delivered-id"]) if groups else None

    def values(self) -> list[int]:
        """See `interface.Running`."""
        with connect(self.url) as client:
            return [int(fields[FIELD]) for _, fields in client.xrange(LOG)]


@dataclass
class RunningPair(RunningRedis):
    """A primary with a replica; after a fault they change places."""

    def bring_back(self) -> str:
        """Promote the replica, and let the old primary come back as a replica.

        If the old primary lives on, nobody tells its clients for some time; then the link
        is healed, and they are moved when their primary is a replica of the new one.
        """
        old, new = self.primary, 1 - self.primary
        with connect(self.server.urls[new]) as client:
            client.replicaof("NO", "ONE")
        if self.everything[old].node.runs():
            refused = ""
            # Not a condition to wait for, but how long the network is divided.
            time.sleep(DIVIDED_S)
            for link in self.links:
                link.heal()
        else:
            self.primary = new
            refused = self.restart(old)
        self.follow(old, self.server.urls[new])
        self.primary = new
        return refused


@dataclass
class RunningRestarted(RunningRedis):
    """A primary with a replica that is never promoted: the primary is just restarted."""

    def bring_back(self) -> str:
        """Start the primary again, as a supervisor does, and let the replica follow."""
        refused = super().bring_back()
        alive = self.everything[1].node.check_alive
        until_replica_follows(self.server.urls[1], alive=alive)
        return refused

    def values(self) -> list[int]:
        """Read what either node has; see `interface.Running`."""
        here = super().values()
        with connect(self.server.urls[1]) as replica:
            there = [int(fields[FIELD]) for _, fields in replica.xrange(LOG)]
        return [*sorted(set(there) - set(here)), *here]


def _place(entry_id: str) -> Position:
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number)


def last_words(log: str) -> str:
    """Return what a server said last, without its time and process number."""
    last = log.strip().splitlines()[-1]
    # Some are indented in the middle, as if they were several lines.
    return " ".join((last.partition(" # ")[2] or last).split())


def repair(folder: Path) -> None:
    """Cut off, with Redis's own tool, what can't be read of the append-only file.

    Raises:
        FaultError: The tool refuses.
    """
    # The tool is the server itself, under another name.
    done = subprocess.run(
        ["redis-check-aof", "--fix", folder / MANIFEST],
        executable=programs(redis_release()) / "redis-server",
        input="y\n",
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise FaultError(f"redis-check-aof failed: {last_words(done.stdout)}")


@dataclass(frozen=True)
class RedisSystem:
    """Redis in one configuration; see `interface.System`.

    Attributes:
        name: The configuration's short name.
        config: Settings as in `redis.conf`.
        guarantee: What an acknowledgement means.
        confirm: See `RedisWriter`.
        replicas: How many replicas follow the primary.
        replica_config: Settings that only the replicas have.
        latency_ms: How long bytes are under way from the primary to the replica, and
            back; the replica follows without a link if None.
        restarts: Whether the primary is restarted at once, and no replica promoted.
        apart: Whether each node is on a host of its own.
    """

    name: str
    config: Mapping[str, str]
    guarantee: str
    confirm: tuple[str | int, ...] = ()
    replicas: int = 0
    replica_config: Mapping[str, str] = field(default_factory=dict)
    latency_ms: int | None = None
    restarts: bool = False
    apart: bool = False
    system: str = field(default="redis", init=False)

    @property
    def settings(self) -> dict[str, str]:
        """See `interface.System`."""
        shown = dict(self.config)
        if self.replicas:
            shown["replicas"] = str(self.replicas)
        shown |= {f"replica: {key}": value for key, value in self.replica_config.items()}
        if self.latency_ms is not None:
            shown["latency of the link"] = f"{self.latency_ms} ms each way"
        if self.confirm:
            shown["after each XADD"] = " ".join(map(str, self.confirm))
        return shown

    @contextmanager
    def run(self, medium: Medium, folder: Path) -> Iterator[RunningRedis]:
        """See `interface.System`."""
        with ExitStack() as stack:
            disks: list[Disk] = []

            def storage(name: str) -> Storage:
                disks.append(stack.enter_context(medium.disk(name, folder)))
                return disks[-1].storage

            net = stack.enter_context(network()) if self.apart else None
            config = {**self.config, **OPEN} if net else self.config
            server = stack.enter_context(
                local.redis(
                    replicas=self.replicas,
                    custom=Custom(config),
                    storage=storage,
                    host=net.host if net else loopback,
                )
            )
            running = self._kind()(server, disks, self.confirm)
            if net:
                running.links = [net.around(server.nodes[0].name)]
            if self.latency_ms is not None and isinstance(running, RunningPair):
                port = urlsplit(running.url).port or 0
                link = stack.enter_context(Link(port, self.latency_ms / 1000))
                running.links = [link]
                running.follow(1, f"redis://{HOST}:{link.port}")
            for url in server.urls[1:]:
                with connect(url) as client:
                    for name, value in self.replica_config.items():
                        client.config_set(name, value)
            running.make_group()
            yield running

    def _kind(self) -> type[RunningRedis]:
        if not self.replicas:
            return RunningRedis
        return RunningRestarted if self.restarts else RunningPair
