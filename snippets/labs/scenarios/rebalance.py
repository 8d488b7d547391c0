"""A second consumer joins a group, or leaves it, while the first works on its batch."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import ClassVar

from kafka import KafkaConsumer, TopicPartition

from snippets.labs import checkers, history
from snippets.labs.faults.interface import FaultError
from snippets.labs.history import GROUP, LOG, Action, Phase
from snippets.labs.scenarios.clients import BATCH, FETCH_BYTES, Member
from snippets.labs.scenarios.consumers import Consumers, Worker, address_of
from snippets.labs.scenarios.interface import PATIENCE_S, Ending, Mishap, Stage
from snippets.labs.scenarios.survivor import BROKER, RedisSurvivor, work_off
from snippets.labs.systems.kafka import KafkaSystem, RunningKafka
from snippets.labs.systems.redis import RunningRedis, connect
from snippets.servers.ready import attempts

JOINS = Mishap("consumer joins")
LEAVES = Mishap("consumer leaves")

FIRST, SECOND = "consumer-1", "consumer-2"
VALUES = 320
# A worker has done so many before anything happens to it: it is none of the first batch.
AFTER = 25


class RunningShared(RunningKafka):
    """A topic of two partitions, so that there is something to share."""

    partitions: ClassVar[Sequence[TopicPartition]] = (
        TopicPartition(LOG, 0),
        TopicPartition(LOG, 1),
    )


# Else the broker waits three seconds for more members before the first has anything, and
# hears from the members of the new protocol every five seconds.
PROMPT = {
    "group.initial.rebalance.delay.ms": "0",
    "group.consumer.heartbeat.interval.ms": "500",
    "group.consumer.min.heartbeat.interval.ms": "500",
}
SHARED = KafkaSystem(
    "plain",
    {**BROKER, **PROMPT},
    "the broker has the record in its page cache",
    kind=RunningShared,
)


def _in_the_middle(taken: int, done: int) -> bool:
    # Not so near the end that the batch may be over when it is heard.
    return BATCH // 4 < taken - done <= BATCH // 2


def _committed(running: RunningKafka) -> bool:
    """Tell whether the group has committed all there is."""
    with KafkaConsumer(group_id=GROUP, **running.server.settings) as consumer:
        ends: Mapping[TopicPartition, int] = consumer.end_offsets(running.partitions)
        return all(consumer.committed(each) == end for each, end in ends.items())


def _at_rest(
    running: RunningRedis | RunningKafka, stays: Sequence[Worker], stage: Stage
) -> bool:
    """Tell whether all was delivered, and nobody has work in hand."""
    happened = history.read_so_far(stage.history)
    if checkers.never_delivered(happened, checkers.acknowledged(happened), key=GROUP):
        return False
    counts = [each.counts() for each in stays]
    if any(done < taken for taken, done in counts):
        return False
    return isinstance(running, RunningRedis) or _committed(running)


def _until_at_rest(
    running: RunningRedis | RunningKafka, stays: Sequence[Worker], stage: Stage
) -> None:
    for _ in attempts(PATIENCE_S):
        for each in stays:
            each.check_alive()
        if _at_rest(running, stays, stage):
            return
    raise FaultError(f"the group is not at its end after {PATIENCE_S:g} s")


class Rebalance(Consumers):
    """Two workers of one kind, of which one joins or leaves; see `Consumers`."""

    @property
    def settings(self) -> dict[str, str]:
        """See `interface.Scenario`."""
        settings = super().settings
        if isinstance(self.base, KafkaSystem):
            settings["topic: partitions"] = str(len(RunningShared.partitions))
            settings["max.partition.fetch.bytes"] = str(FETCH_BYTES)
        return settings

    def play(self, stage: Stage) -> Ending:
        """See `interface.Scenario`."""
        with self.base.run(stage.medium, stage.folder) as running, ExitStack() as stack:
            stage.write(running.writer(), VALUES)

            shared = 1 if isinstance(running, RunningRedis) else len(running.partitions)

            def begin(name: str) -> Worker:
                member = Member(address_of(running), name, shared)
                worker = Worker(self.kind, member, stage)
                worker.start()
                stack.callback(worker.end)
                return worker

            first = begin(FIRST)

            # Whatever is taken from it, it has done a part of that.
            def well_begun(_: int, done: int) -> bool:
                parts = {value % shared for value in first.processed()}
                return done >= AFTER and len(parts) == shared

            first.until(well_begun, f"worked on {AFTER} values of all partitions")
            stage.journal.note(self.mishap.name, Action.FAULT, 1, Phase.INVOKE)
            second = begin(SECOND)
            second.until(_in_the_middle, "come to the middle of a batch")
            if self.mishap is LEAVES:
                second.stop()
            stage.journal.note(self.mishap.name, Action.FAULT, 1, Phase.OK)
            stays = [first, second] if self.mishap is JOINS else [first]
            _until_at_rest(running, stays, stage)
            for each in stays:
                each.stop()
            if isinstance(running, RunningRedis):
                # What is pending for the one who left goes to nobody by itself.
                work_off(
                    RedisSurvivor(connect(running.url), 0), stage.journal, "survivor"
                )
            group = "gone" if running.group_position() is None else "kept"
            return Ending(running.values(), group, running.versions)
