"""A consumer dies or stalls in the middle of a batch, and another one takes over."""

import importlib.metadata
import json
import random
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import astuple, dataclass

from snippets.labs import history
from snippets.labs.faults.interface import FaultError
from snippets.labs.history import Action, Phase
from snippets.labs.load import Consumer
from snippets.labs.record import ROOT
from snippets.labs.scenarios.clients import AUTO_COMMIT_MS, BATCH, Member, kind_of
from snippets.labs.scenarios.interface import PATIENCE_S, Ending, Mishap, OnServer, Stage
from snippets.labs.scenarios.survivor import (
    KafkaSurvivor,
    RedisSurvivor,
    work_off,
)
from snippets.labs.scenarios.worker import NAME
from snippets.labs.systems.kafka import KafkaSystem, RunningKafka
from snippets.labs.systems.redis import RedisSystem, RunningRedis, connect
from snippets.servers.local.process import Process
from snippets.servers.ready import attempts

VALUES = 200
# A batch in whose middle it happens is none of the first or last.
AFTER = (25, 75)

KILLED = Mishap("consumer SIGKILL")
STALLED = Mishap("consumer stalls")


class Worker(Process):
    """A consumer that is a process, and what it has said in the history."""

    def __init__(self, kind: str, member: Member, stage: Stage) -> None:
        """Take note of what to run."""
        folder = stage.folder / member.name
        folder.mkdir()
        self._history = stage.history.resolve()
        arguments = json.dumps([kind, str(self._history), *astuple(member)])
        command = [sys.executable, "-m", "snippets.labs.scenarios.worker", arguments]
        super().__init__(member.name, command, folder, {"PYTHONPATH": str(ROOT)})

    def counts(self) -> tuple[int, int]:
        """Return how many values it has taken, and for how many it has done the work."""
        done = Counter(
            each.action
            for each in history.read_so_far(self._history)
            if each.process == self.name and each.phase is Phase.OK
        )
        return done[Action.DELIVER], done[Action.PROCESS]

    def processed(self) -> list[int]:
        """Return the values for which it has done the work."""
        return [
            each.value
            for each in history.read_so_far(self._history)
            if each.process == self.name and each.action is Action.PROCESS
        ]

    def until(self, reached: Callable[[int, int], bool], what: str) -> None:
        """Wait until its counts fulfil a condition."""
        for _ in attempts(PATIENCE_S):
            self.check_alive()
            if reached(*self.counts()):
                return
        raise FaultError(f"{self.name} has not {what} within {PATIENCE_S:g} s")


@dataclass(frozen=True)
class Consumers(OnServer):
    """A worker of one kind, and what befalls it; see `interface.Scenario`.

    Attributes:
        kind: The kind of worker.
        base: The servers.
        mishap: What befalls it: `KILLED` or `STALLED`.
    """

    kind: str
    base: RedisSystem | KafkaSystem
    mishap: Mishap

    @property
    def name(self) -> str:
        """The kind of worker."""
        return self.kind

    @property
    def settings(self) -> dict[str, str]:
        """See `interface.Scenario`."""
        return {**self.base.settings, **settings_of(self.kind)}

    def play(self, stage: Stage) -> Ending:
        """See `interface.Scenario`."""
        with self._run(stage) as running:
            stage.write(running.writer(), VALUES)
            worker = Worker(self.kind, Member(address_of(running), NAME), stage)
            worker.start()
            try:
                self._strike(worker, stage)
                work_off(_survivor(running), stage.journal)
                if self.mishap is STALLED:
                    in_hand, _ = worker.counts()
                    worker.resume()
                    worker.until(
                        lambda _, done: done >= in_hand, "done what it had in hand"
                    )
            finally:
                worker.end()
            group = "gone" if running.group_position() is None else "kept"
            return Ending(running.values(), group, running.versions)

    def _run(
        self, stage: Stage
    ) -> AbstractContextManager[RunningRedis] | AbstractContextManager[RunningKafka]:
        return self.base.run(stage.medium, stage.folder)

    def _strike(self, worker: Worker, stage: Stage) -> None:
        after = random.Random(stage.seed).randint(*AFTER)  # noqa: S311

        hands_off = kind_of(self.kind).hands_off

        # The second half of a batch: auto-commit has had its time, and work is left.
        def in_the_middle(taken: int, done: int) -> bool:
            left = taken - done
            return done >= after and (
                left > BATCH if hands_off else 0 < left <= BATCH // 2
            )

        worker.until(in_the_middle, "come to the middle of a batch")
        stage.journal.note(self.mishap.name, Action.FAULT, 1, Phase.INVOKE)
        if self.mishap is STALLED:
            worker.pause()
        else:
            worker.kill()
        stage.journal.note(self.mishap.name, Action.FAULT, 1, Phase.OK)


def address_of(running: RunningRedis | RunningKafka) -> str:
    """Return where a client connects."""
    if isinstance(running, RunningRedis):
        return running.url
    return running.server.bootstrap_servers


def settings_of(kind: str) -> dict[str, str]:
    """Return what a record shows of a kind of consumer."""
    settings = {
        "acknowledged by": kind_of(kind).acknowledged_by,
        "batch": str(BATCH),
    }
    if kind.startswith("auto"):
        settings["auto.commit.interval.ms"] = str(AUTO_COMMIT_MS)
    if kind.endswith(("librdkafka", "kip-848")):
        version = importlib.metadata.version("confluent-kafka")
        settings["client"] = f"confluent-kafka {version}"
    if kind.endswith("kip-848"):
        settings["group.protocol"] = "consumer"
    return settings


def _survivor(running: RunningRedis | RunningKafka) -> Consumer:
    if isinstance(running, RunningRedis):
        return RedisSurvivor(connect(running.url), 0)
    return KafkaSurvivor(running.server.settings)
