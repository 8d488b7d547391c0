"""Others fill the memory of the Redis in which a stream is."""

from dataclasses import dataclass

import redis

from snippets.labs.faults.interface import FaultError
from snippets.labs.history import LOG, Action, Phase
from snippets.labs.load import Load
from snippets.labs.scenarios.interface import PATIENCE_S, Ending, Mishap, OnServer, Stage
from snippets.labs.scenarios.survivor import RedisSurvivor, take_and_work, work_off
from snippets.labs.systems.redis import Connection, RedisSystem, connect
from snippets.servers.ready import attempts

FULL = Mishap("memory full")

VALUES = 300
FIRST_AFTER = 10_001
AFTER = 100
MEMORY = 16 * 2**20
# Together, the big ones are three times the memory; the small ones fill the gaps.
FILLERS, SIZES = 480, (100_000, 1_000, 10)
# By the clock of LRU, which ticks once a second, the stream is older than the rest.
IDLE_S = 2


@dataclass(frozen=True)
class FullMemory(OnServer):
    """A stream under one policy of eviction; see `interface.Scenario`.

    Attributes:
        policy: `maxmemory-policy`.
    """

    policy: str

    @property
    def base(self) -> RedisSystem:
        """The server."""
        config = {
            "save": "",
            "maxmemory": str(MEMORY),
            "maxmemory-policy": self.policy,
        }
        return RedisSystem(self.policy, config, "the primary has the entry in memory")

    @property
    def name(self) -> str:
        """The policy."""
        return self.policy

    @property
    def settings(self) -> dict[str, str]:
        """See `interface.Scenario`."""
        return self.base.settings

    def play(self, stage: Stage) -> Ending:
        """See `interface.Scenario`."""
        with self.base.run(stage.medium, stage.folder) as running:
            stage.write(running.writer(), VALUES)
            reader = RedisSurvivor(connect(running.url), 0)
            while not take_and_work(reader, stage.journal, "consumer-1"):
                pass
            reader.close()
            with connect(running.url) as neighbour:
                _until_idle(neighbour)
                stage.journal.note(FULL.name, Action.FAULT, 1, Phase.INVOKE)
                keys = _fill(neighbour)
                stage.journal.note(FULL.name, Action.FAULT, 1, Phase.OK)
                group = "kept" if running.group_position() else "gone"
                again = Load(
                    running.writer(), stage.journal, stage.rate, first=FIRST_AFTER
                )
                with again as load:
                    if not load.until_answered(AFTER, PATIENCE_S):
                        raise FaultError(f"{AFTER} writes have no outcome")
                neighbour.unlink(*keys)
            # Its operator makes a group anew that is gone.
            running.make_group()
            work_off(RedisSurvivor(connect(running.url), 0), stage.journal)
            return Ending(running.values(), group, running.versions)


def _until_idle(client: Connection) -> None:
    """Wait until nobody has used the stream for a while."""
    for _ in attempts(PATIENCE_S):
        if client.object("IDLETIME", LOG) >= IDLE_S:
            return
    raise FaultError(f"the stream is still in use after {PATIENCE_S:g} s")


def _fill(neighbour: Connection) -> list[str]:
    """Write more than fits, or until it is refused; return the keys."""
    keys = []
    for size in SIZES:
        for number in range(FILLERS):
            keys.append(f"neighbour:{size}:{number}")
            try:
                neighbour.set(keys[-1], b"x" * size)
            except redis.OutOfMemoryError:
                break
    return keys


POLICIES = tuple(map(FullMemory, ("noeviction", "volatile-lru", "allkeys-lru")))
