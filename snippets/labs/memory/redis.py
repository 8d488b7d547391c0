"""Measure what entries cost in a Redis: its memory, its append-only file, its replica."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from snippets.labs.memory.shapes import (
    AppendShape,
    EntryShape,
    GroupShape,
    PendingShape,
    ReadShape,
    SnapshotShape,
)
from snippets.labs.systems.redis import Connection, connect
from snippets.servers import ServersError, local
from snippets.servers.interface import Custom
from snippets.servers.ready import attempts

# What a server takes by itself comes and goes by some thousand bytes.
ENOUGH_BYTES = 8_000_000
FEWEST, MOST = 2_000, 50_000
FIRST_MS = 1_700_000_000_000
PENDING = 10_000
NAMED = 20_000
LOGGED = 1_000
PATIENCE_S = 60.0
ALLOCATOR = "jemalloc"
# All keys of a snapshot take so long together that the work is done before its end.
KEYS, KEY_DELAY_US = 75, 20_000

# The server appends by itself: so no buffer of a client is in its memory.
FILL = """
local name = string.rep('n', tonumber(ARGV[4]))
local value = string.rep('v', tonumber(ARGV[5]))
for i = 0, tonumber(ARGV[1]) - 1 do
  local id = string.format('%d-%d', ARGV[7] + i * ARGV[2], ARGV[2] == '0' and i + 1 or 0)
  local pairs = {}
  for field = 1, tonumber(ARGV[3]) do
    local own = ARGV[6] == '1' and field or i .. '.' .. field
    table.insert(pairs, string.sub(name .. own, -#name))
    table.insert(pairs, value)
  end
  redis.call('XADD', KEYS[1], id, unpack(pairs))
end
"""

CREATE = """
local function name(number)
  return string.sub(string.rep('n', tonumber(ARGV[3])) .. number, -ARGV[3])
end
for group = 1, tonumber(ARGV[1]) do
  redis.call('XGROUP', 'CREATE', KEYS[1], name(group), '0', 'MKSTREAM')
  for consumer = 1, tonumber(ARGV[2]) do
    redis.call('XGROUP', 'CREATECONSUMER', KEYS[1], name(group), name(consumer))
  end
end
"""


def _name(length: int, number: int = 0) -> str:
    """Return a name of a length, with a number at its end."""
    digits = f"{number:04d}"
    return f"{'n' * length}{digits}"[-length:]


class Measured:
    """A Redis that is asked how many bytes it takes."""

    def __init__(self, client: Connection) -> None:
        """Take over a connection, and let the server allocate what it allocates once."""
        self._client = client
        self._fill = client.register_script(FILL)
        self.fill("warm-up", 10, EntryShape(1, 5, 5))
        for _ in range(3):
            self._memory()

    def _memory(self) -> int:
        return int(self._client.info("memory")["used_memory"])

    def fill(self, stream: str, entries: int, shape: EntryShape) -> None:
        """Append entries of a shape."""
        names = "1" if shape.same_names else "0"
        sizes = [shape.apart_ms, shape.fields, shape.name_bytes, shape.value_bytes]
        self._fill(keys=[stream], args=[entries, *sizes, names, FIRST_MS])

    def _grown(self, work: Callable[[], object]) -> int:
        before = self._memory()
        work()
        return self._memory() - before

    def entry(self, shape: EntryShape) -> float:
        """Return the bytes of an entry: the memory of many, divided by their number."""
        client = self._client
        client.flushall()
        client.config_set("stream-node-max-bytes", shape.node_max_bytes)
        client.config_set("stream-node-max-entries", shape.node_max_entries)
        entries = min(MOST, max(FEWEST, ENOUGH_BYTES // (shape.payload_bytes + 16)))
        return self._grown(lambda: self.fill("s", entries, shape)) / entries

    def pending(self, shape: PendingShape) -> float:
        """Return the bytes of a pending entry, in each group."""
        client = self._client
        client.flushall()
        self.fill("s", PENDING, EntryShape(1, 5, 10, apart_ms=shape.apart_ms))
        groups = [_name(8, number) for number in range(shape.groups)]
        for group in groups:
            client.xgroup_create("s", group, id="0")
            client.xgroup_createconsumer("s", group, "consumer")

        def deliver() -> None:
            for group in groups:
                while client.xreadgroup(group, "consumer", {"s": ">"}, count=100):
                    pass

        return self._grown(deliver) / (PENDING * shape.groups)

    def group(self, shape: GroupShape) -> float:
        """Return the bytes of a group with its consumers."""
        client = self._client
        client.flushall()
        client.xadd("s", {"a": "b"})

        groups = NAMED // (1 + shape.consumers)
        sizes = [groups, shape.consumers, shape.name_bytes]
        create = self._client.register_script(CREATE)
        create(keys=["warm-up"], args=[1, 1, 5])
        return self._grown(lambda: create(keys=["s"], args=sizes)) / groups

    def snapshot(self, shape: SnapshotShape) -> float:
        """Return the bytes that a snapshot makes the kernel copy, a changed entry."""
        client = self._client
        client.flushall()
        self.fill("s", shape.pending, EntryShape(1, 5, shape.value_bytes))
        client.xgroup_create("s", "group", id="0")
        ids: list[str] = []
        while got := _read(client, "s", "group", 1000):
            ids += got
        for number in range(KEYS):
            client.set(f"key:{number}", "x")
        client.config_set("rdb-key-save-delay", KEY_DELAY_US)
        idle = self._copied(lambda: None)
        # In one go, as the snapshot must outlast it.
        changes = client.pipeline(transaction=False)
        if shape.work == "append":
            fields: Any = {"field": "v" * shape.value_bytes}
            for number in range(shape.entries):
                changes.xadd("s", fields, id=f"{FIRST_MS + shape.pending + number}-0")
        else:
            for entry in ids[:: len(ids) // shape.entries][: shape.entries]:
                changes.xack("s", "group", entry)
        return max(0.0, self._copied(changes.execute) - idle) / shape.entries

    def _copied(self, work: Callable[[], object]) -> float:
        """Write a snapshot, change something before its end, return what was copied."""
        client = self._client
        client.bgsave()
        work()
        if not client.info("persistence")["rdb_bgsave_in_progress"]:
            raise ServersError("the snapshot was over before the work was")
        for _ in attempts(PATIENCE_S):
            state = client.info("persistence")
            if not state["rdb_bgsave_in_progress"]:
                return float(state["rdb_last_cow_size"])
        raise ServersError(f"a snapshot is not written after {PATIENCE_S:g} s")


@contextmanager
def memory() -> Iterator[Measured]:
    """Run a Redis whose memory can be measured.

    Raises:
        ServersError: It was built with another allocator than the official image.
    """
    custom = Custom({"save": "", "appendonly": "no"})
    with local.redis(replicas=0, custom=custom) as server:
        client = connect(server.url)
        with closing(client):
            allocator = str(client.info("memory")["mem_allocator"])
            if not allocator.startswith(ALLOCATOR):
                raise ServersError(
                    f"this Redis has {allocator} as its allocator, and the official "
                    f"image {ALLOCATOR}: what an entry takes would differ. Build it "
                    f"with MALLOC={ALLOCATOR}."
                )
            yield Measured(client)


class Logged:
    """A Redis with an append-only file and a replica, whose bytes are counted."""

    def __init__(self, client: Connection) -> None:
        """Take over a connection."""
        self._client = client
        client.set("warm-up", "1")

    def _grown(self, work: Callable[[], object]) -> float:
        """Return by how much the file and the replication stream have grown.

        Raises:
            ServersError: They have grown by different amounts.
        """
        before = self._sizes()
        work()
        file, stream = (b - a for a, b in zip(before, self._sizes(), strict=True))
        if file != stream:
            raise ServersError(f"the file grew by {file} bytes, replication by {stream}")
        return float(file)

    def _sizes(self) -> tuple[int, int]:
        file = int(self._client.info("persistence")["aof_current_size"])
        return file, int(self._client.info("replication")["master_repl_offset"])

    def append(self, shape: AppendShape) -> float:
        """Return the bytes of an `XADD`."""
        fields: Any = {
            _name(shape.name_bytes, number): "v" * shape.value_bytes
            for number in range(shape.fields)
        }
        key = _name(shape.key_bytes)
        self._client.delete(key)

        def write() -> None:
            for _ in range(LOGGED):
                self._client.xadd(key, fields)

        return self._grown(write) / LOGGED

    def read(self, shape: ReadShape) -> float:
        """Return the bytes of an entry that is read through a group and acknowledged."""
        client = self._client
        key, group = _name(shape.key_bytes), _name(shape.group_bytes)
        consumer = _name(shape.consumer_bytes)
        entries = LOGGED // shape.count * shape.count
        client.delete(key)
        for _ in range(entries):
            client.xadd(key, {"field": "value"})
        client.xgroup_create(key, group, id="0")
        client.xgroup_createconsumer(key, group, consumer)

        def consume() -> None:
            while ids := _read(client, key, group, shape.count, shape.mode, consumer):
                if shape.mode == "XACK":
                    client.xack(key, group, *ids)
                elif shape.mode == "XACKDEL":
                    client.xackdel(key, group, *ids)

        return self._grown(consume) / entries


def _read(
    client: Connection,
    key: str,
    group: str,
    count: int,
    mode: str = "XACK",
    consumer: str = "consumer",
) -> Sequence[str]:
    """Read what is new, and return its IDs."""
    noack = mode == "NOACK"
    reply: Any = client.xreadgroup(group, consumer, {key: ">"}, count=count, noack=noack)
    return [entry for entry, _ in reply[0][1]] if reply else []


@contextmanager
def logged() -> Iterator[Logged]:
    """Run a Redis with an append-only file and a replica."""
    config = {
        "save": "",
        "appendonly": "yes",
        # Else a write may wait while a synchronisation lasts, up to two seconds.
        "appendfsync": "no",
        # Otherwise a `PING` for the replica is in what is counted, now and then.
        "repl-ping-replica-period": "3600",
        "auto-aof-rewrite-percentage": "0",
    }
    with (
        local.redis(replicas=1, custom=Custom(config)) as server,
        closing(connect(server.url)) as client,
    ):
        yield Logged(client)
