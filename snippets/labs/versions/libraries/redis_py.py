"""What a library for Redis offers, asked on the newest server: run, not read about.

redis-py, and the libraries that share its interface, go through the same probes.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from snippets.labs.versions.libraries.features import ABSENT
from snippets.labs.versions.probe import Probes, must

GROUP, WORKER = "billing", "worker-1"
REDIS_PY = "https://redis.readthedocs.io/en/stable/commands.html"


@dataclass(frozen=True)
class Library:
    """One of these libraries.

    Attributes:
        connect: Makes a client.
        connect_async: Makes one for asyncio.
    """

    connect: Callable[[], Any]
    connect_async: Callable[[], Any]


PROBES: Probes[Library] = Probes(ABSENT)


def _delivered(library: Library, key: str) -> Any:
    """Return a client after an entry `1-1` was delivered to a group's worker."""
    redis = library.connect()
    redis.xadd(key, {"order": "1"}, id="1-1")
    redis.xgroup_create(key, GROUP, id="0")
    redis.xreadgroup(GROUP, WORKER, {key: ">"})
    return redis


@PROBES.add("Consumer groups", source=REDIS_PY, baseline=True)
def groups(library: Library, key: str) -> None:
    """An entry is delivered and acknowledged."""
    with _delivered(library, key) as redis:
        must(redis.xack(key, GROUP, "1-1"), 1, "the reply")


@PROBES.add("asyncio", source=REDIS_PY, baseline=True)
def in_a_coroutine(library: Library, key: str) -> None:
    """A coroutine appends."""

    async def append() -> int:
        async with library.connect_async() as redis:
            await redis.xadd(key, {"order": "1"})
            return int(await redis.xlen(key))

    must(asyncio.run(append()), 1, "the length")


@PROBES.add("`xautoclaim`", source=REDIS_PY, baseline=True)
def autoclaim(library: Library, key: str) -> None:
    """What is idle goes to another worker."""
    with _delivered(library, key) as redis:
        found = redis.xautoclaim(key, GROUP, "worker-2", 0)
        must([str(entry[0]) for entry in found[1]], ["1-1"], "what is claimed")


@PROBES.add("`waitaof`", source=REDIS_PY, baseline=True)
def wait_for_disk(library: Library, key: str) -> None:
    """A client waits until its write is on disk."""
    with _delivered(library, key) as redis:
        must(redis.waitaof(0, 0, 0), [0, 0], "the reply")


@PROBES.add("`xackdel`", source=REDIS_PY)
def ack_and_delete(library: Library, key: str) -> None:
    """An entry is acknowledged and deleted in one step."""
    with _delivered(library, key) as redis:
        must(redis.xackdel(key, GROUP, "1-1"), [1], "the reply")


@PROBES.add("`xdelex`", source=REDIS_PY)
def delete_everywhere(library: Library, key: str) -> None:
    """An entry is deleted with what groups know of it."""
    with _delivered(library, key) as redis:
        must(redis.xdelex(key, "1-1", ref_policy="DELREF"), [1], "the reply")


@PROBES.add("`xtrim(ref_policy=…)`", source=REDIS_PY)
def trim_by_policy(library: Library, key: str) -> None:
    """A bound waits for the groups."""
    with _delivered(library, key) as redis:
        found = redis.xtrim(key, maxlen=0, approximate=False, ref_policy="ACKED")
        must(found, 0, "what is deleted")


@PROBES.add("`xreadgroup(claim_min_idle_time=…)`", source=REDIS_PY)
def read_and_claim(library: Library, key: str) -> None:
    """A reader gets what another one left."""
    with _delivered(library, key) as redis:
        redis.xreadgroup(GROUP, "worker-2", {key: ">"}, claim_min_idle_time=0)
        found = redis.xpending_range(key, GROUP, "-", "+", 9, consumername="worker-2")
        must(len(found), 1, "the number of entries in hand")


@PROBES.add("`xadd(idmp=…)`", source=REDIS_PY)
def add_once(library: Library, key: str) -> None:
    """A second append with the same number is the first one."""
    with library.connect() as redis:
        for _ in range(2):
            redis.xadd(key, {"order": "7"}, idmp=("shop", b"order-7"))
        must(redis.xlen(key), 1, "the length")


@PROBES.add("`xcfgset`", source=REDIS_PY)
def configure(library: Library, key: str) -> None:
    """A stream remembers the numbers of appends for as long as it is told."""
    with _delivered(library, key) as redis:
        redis.xcfgset(key, idmp_duration=300)


@PROBES.add("`xnack`", source=REDIS_PY)
def give_back(library: Library, key: str) -> None:
    """A worker gives an entry back at once."""
    with _delivered(library, key) as redis:
        must(redis.xnack(key, GROUP, "FAIL", "1-1"), 1, "the reply")


@PROBES.add("`xread(max_count=…)`", source=REDIS_PY)
def read_bounded(library: Library, key: str) -> None:
    """A bound for all streams of one read together."""
    with _delivered(library, key) as redis:
        redis.xread({key: "0"}, max_count=1)
