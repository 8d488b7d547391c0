"""What every fault offers, and the disks on which servers keep their data meanwhile."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from snippets.labs.faults.link import Way
from snippets.labs.workspace import Workspace
from snippets.servers.local.process import Process, Storage


class FaultError(Exception):
    """A fault could not be injected or undone: the trial says nothing."""


class Disk(Protocol):
    """Where one node keeps its data."""

    @property
    def storage(self) -> Storage:
        """The node's folder, and what the node needs to work on it."""

    def sync(self) -> None:
        """Make all that is written survive a cut. The node must not write meanwhile."""

    def cut(self) -> None:
        """Forget at once what was not made to survive. The node must be frozen.

        Raises:
            FaultError: It can't be done.
        """

    def recover(self) -> None:
        """Make the disk usable again, as after power came back. The node must be dead.

        Raises:
            FaultError: It can't be done.
        """


class Medium(Protocol):
    """A kind of disk: what a record calls the back end of a power cut."""

    def __hash__(self) -> int:
        """Media that make the same disks are the same."""

    @property
    def name(self) -> str:
        """The short name of this kind."""

    @property
    def file_system(self) -> str:
        """On what file system the data are."""

    def obstacle(self) -> str | None:
        """What is missing here for disks of this kind; None if nothing is."""

    def disk(self, name: str, folder: Path) -> AbstractContextManager[Disk]:
        """Make an empty disk for as long as the block lasts.

        Args:
            name: The name of the node it is for.
            folder: Where everything of it is kept; removed if the run is killed.

        Raises:
            FaultError: It can't be made.
        """


@dataclass(frozen=True)
class Target:
    """What a fault hits.

    Attributes:
        node: The process.
        disk: Where it keeps its data.
        links: By which other nodes reach it, and it them, if these can be made to fail.
    """

    node: Process
    disk: Disk
    links: Sequence[Way] = ()


class Injectable(Protocol):
    """What fails, as a record shows it."""

    @property
    def name(self) -> str:
        """What a record calls it."""

    def can_inject(self, workspace: Workspace) -> str | None:
        """Try it out, and say why it can't be injected here; None if it can."""


class Fault(Injectable, Protocol):
    """Something that fails in nodes."""

    def strike(self, targets: Sequence[Target]) -> None:
        """Let it happen to all targets at the same instant.

        Afterwards the nodes are down, and can be started again on what is left, unless
        it is the network that fails, or the fault is a passing one.

        Raises:
            FaultError: It could not be injected.
        """


@runtime_checkable
class Passing(Fault, Protocol):
    """A fault that goes by itself, and leaves the nodes running."""

    def lift(self, targets: Sequence[Target]) -> None:
        """Wait until it is over, and end it."""
