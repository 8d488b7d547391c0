"""The log is bounded, its consumers stay away for too long, and it forgets meanwhile."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kafka import KafkaConsumer

from snippets.labs.faults.interface import FaultError
from snippets.labs.history import Action, Phase
from snippets.labs.load import Consumer
from snippets.labs.scenarios.interface import PATIENCE_S, Ending, Mishap, OnServer, Stage
from snippets.labs.scenarios.lost_reply import REDIS, RepeatingWriter
from snippets.labs.scenarios.survivor import (
    BROKER,
    KafkaSurvivor,
    RedisSurvivor,
    work_off,
)
from snippets.labs.systems.kafka import PARTITION, KafkaSystem, RunningKafka
from snippets.labs.systems.redis import RedisSystem, connect
from snippets.servers.ready import attempts

OUTAGE = Mishap("consumer outage")

BEFORE, DURING = 50, 300
BOUND = 100
RETENTION_MS = 2000


def _attend(consumer: Consumer, stage: Stage) -> None:
    """Do the work for all there is, and stay away from then on."""
    work_off(consumer, stage.journal, "consumer-1")
    stage.journal.note(OUTAGE.name, Action.FAULT, 1, Phase.INVOKE)


def _return(stage: Stage) -> None:
    stage.journal.note(OUTAGE.name, Action.FAULT, 1, Phase.OK)


@dataclass(frozen=True)
class TrimmedStream(OnServer):
    """A stream that its writers bound; see `interface.Scenario`.

    Attributes:
        name: How it is bounded.
        shown: How a record shows it.
        more: What `xadd` is told.
        base: The server.
    """

    name: str
    shown: str
    more: Mapping[str, Any]
    base: RedisSystem = REDIS

    @property
    def settings(self) -> dict[str, str]:
        """See `interface.Scenario`."""
        return {**self.base.settings, "XADD": self.shown, **_counts()}

    def play(self, stage: Stage) -> Ending:
        """See `interface.Scenario`."""
        with self.base.run(stage.medium, stage.folder) as running:

            def write(first: int, count: int) -> None:
                client = connect(running.url)
                writer = RepeatingWriter(client, lambda _: self.more)
                stage.write(writer, count, first=first)

            write(1, BEFORE)
            _attend(RedisSurvivor(connect(running.url), 0), stage)
            write(FIRST_DURING, DURING)
            _return(stage)
            work_off(RedisSurvivor(connect(running.url), 0), stage.journal)
            return Ending(running.values(), "kept", running.versions)


STREAMS = (
    TrimmedStream("unbounded", "without a bound", {}),
    TrimmedStream("maxlen", f"MAXLEN = {BOUND}", {"maxlen": BOUND, "approximate": False}),
    TrimmedStream(
        "maxlen-acked",
        f"MAXLEN = {BOUND} ACKED",
        {"maxlen": BOUND, "approximate": False, "ref_policy": "ACKED"},
    ),
)

# The values before the outage have lower numbers, however many were written.
FIRST_DURING = 10_001


def _counts() -> dict[str, str]:
    return {"written during the outage": f"{DURING} or a few more"}


@dataclass(frozen=True)
class ExpiredTopic(OnServer):
    """A topic whose records expire; see `interface.Scenario`.

    Attributes:
        name: How it is bounded.
        base: The server.
        expires: Whether records are to expire during the outage.
    """

    name: str
    base: KafkaSystem
    expires: bool

    @property
    def settings(self) -> dict[str, str]:
        """See `interface.Scenario`."""
        return {**self.base.settings, "auto.offset.reset": "earliest", **_counts()}

    def play(self, stage: Stage) -> Ending:
        """See `interface.Scenario`."""
        with self.base.run(stage.medium, stage.folder) as running:
            stage.write(running.writer(), BEFORE)
            _attend(KafkaSurvivor(running.server.settings), stage)
            stage.write(running.writer(), DURING, first=FIRST_DURING)
            if self.expires:
                _until_expired(running)
            _return(stage)
            work_off(KafkaSurvivor(running.server.settings), stage.journal)
            return Ending(running.values(), "kept", running.versions)


def _until_expired(running: RunningKafka) -> None:
    with KafkaConsumer(**running.server.settings) as consumer:
        for _ in attempts(PATIENCE_S):
            begin = consumer.beginning_offsets([PARTITION])[PARTITION]
            if begin >= consumer.end_offsets([PARTITION])[PARTITION]:
                return
    raise FaultError(f"the records have not expired within {PATIENCE_S:g} s")


# The broker looks for what has expired every five minutes, first after half a minute.
LOOKS = {"log.retention.check.interval.ms": "100", "log.initial.task.delay.ms": "100"}
KEPT = KafkaSystem("plain", BROKER, "the broker has the record in its page cache")
EXPIRING = KafkaSystem(
    "plain",
    {**BROKER, **LOOKS},
    KEPT.guarantee,
    topic={"retention.ms": str(RETENTION_MS)},
)
TOPICS = (
    ExpiredTopic("unbounded", KEPT, expires=False),
    ExpiredTopic("retention-ms", EXPIRING, expires=True),
)
