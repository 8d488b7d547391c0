"""What a lab needs of a system, whichever it is."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from snippets.labs.faults.interface import Disk, Medium, Target
from snippets.labs.load import Consumer, Position, Writer
from snippets.servers import Node
from snippets.servers.local.process import Process


class Running(Protocol):
    """A system that runs, with a log to write to and a group that reads it."""

    @property
    def targets(self) -> Sequence[Target]:
        """What a fault is to hit, as things are now."""

    @property
    def everything(self) -> Sequence[Target]:
        """All nodes with their disks."""

    @property
    def versions(self) -> dict[str, str]:
        """The versions of the server and of the client, by name."""

    def writer(self) -> Writer:
        """Connect a client that writes to the log."""

    def consumer(self) -> Consumer:
        """Connect a client of the group; the group is made if it isn't there."""

    def bring_back(self) -> str:
        """Do after a fault what its operator would, until the system can serve again.

        Returns:
            What a server said that would not start on what was left, and had to be
            repaired first; empty if none had to.
        """

    def group_position(self) -> Position | None:
        """Tell how far the group is; None if nothing is known of it."""

    def values(self) -> list[int]:
        """Read what is left in the log, in its order."""


class Configured(Protocol):
    """A system in one configuration, as a record shows it."""

    @property
    def system(self) -> str:
        """`redis` or `kafka`."""

    @property
    def name(self) -> str:
        """The configuration's short name, unique for its system."""

    @property
    def settings(self) -> dict[str, str]:
        """What is not the default, of servers and clients."""

    @property
    def guarantee(self) -> str:
        """What an acknowledgement means in this configuration."""


class System(Configured, Protocol):
    """A system in one configuration, which a lab can run."""

    def run(self, medium: Medium, folder: Path) -> AbstractContextManager[Running]:
        """Run it for as long as the block lasts, with an empty log and a group.

        Args:
            medium: The kind of disk for its data.
            folder: Where the disks are made.
        """


def pair(nodes: Sequence[Node], disks: Sequence[Disk]) -> list[Target]:
    """Return each node with its disk.

    Args:
        nodes: Local processes.
        disks: Their disks, in the same order.

    Raises:
        TypeError: A node is not a local process, so that no fault can hit it.
    """
    targets = []
    for node, disk in zip(nodes, disks, strict=True):
        if not isinstance(node, Process):
            raise TypeError(f"{node.name} is not a local process")
        targets.append(Target(node, disk))
    return targets
