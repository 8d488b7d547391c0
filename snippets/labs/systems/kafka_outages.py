"""Kafka clusters of which several brokers are missing, or one is out of their reach."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from snippets.labs.faults.interface import FaultError, Target
from snippets.labs.faults.link import Outgoing, Way
from snippets.labs.systems.kafka import PATIENCE_S, RunningKafka
from snippets.servers.local.process import Process
from snippets.servers.ready import attempts

# Not a condition to wait for, but how long nobody helps: enough for a controller to
# notice who is missing, and to do what it can.
OUTAGE_S = 12.0


@dataclass
class RunningLastInSync(RunningKafka):
    """The leader was alone during the load; it dies, and who has missed all is back.

    A broker without a replica lives on: kafka-python asks no broker for the others again
    that it didn't know before.

    Attributes:
        behind: The brokers that have missed all.
    """

    behind: list[Target] = field(default_factory=list)

    def prepare(self) -> None:
        """Stop all brokers but the leader, and wait until it alone is in sync."""
        self.behind = self.followers()
        for target in self.behind:
            target.node.stop()
        for _ in attempts(PATIENCE_S):
            if len(self.in_sync()) == 1:
                return
        raise FaultError(f"not the leader alone is in sync, but {self.in_sync()}")

    def bring_back(self) -> str:
        """Start the brokers that have missed all; the other one after an outage."""
        for target in self.behind:
            target.node.start()
        time.sleep(OUTAGE_S)
        return self.start_all()


@dataclass
class RunningWithoutFollowers(RunningKafka):
    """All brokers but the leader die."""

    @property
    def targets(self) -> list[Target]:
        """The followers."""
        return self.followers()

    def bring_back(self) -> str:
        """Start them after an outage."""
        time.sleep(OUTAGE_S)
        return self.start_all()


@dataclass
class RunningDivided(RunningKafka):
    """The leader reaches no other node, and none reaches it; clients reach all.

    Attributes:
        ways: All on which it reached the others, and they it.
    """

    ways: Sequence[Way] = ()

    @property
    def targets(self) -> list[Target]:
        """The leader, with all ways between it and the others."""
        (leader,) = super().targets
        self.ways = self._ways_of(leader.node)
        return [replace(leader, links=self.ways)]

    def _ways_of(self, node: Process) -> Sequence[Way]:
        if self.network:
            return [self.network.around(node.name)]
        return [
            link if listens == node.name else Outgoing(link, node.pid)
            for listens, link in self.links.items()
        ]

    def bring_back(self) -> str:
        """Heal the ways after an outage, and wait until the leader has stepped down."""
        time.sleep(OUTAGE_S)
        for way in self.ways:
            way.heal()
        self.until_it_follows(self.struck)
        return ""
