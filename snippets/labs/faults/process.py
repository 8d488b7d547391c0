"""Processes that end, politely or not, and processes that are held still."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from snippets.labs.faults.interface import Target
from snippets.labs.workspace import Workspace
from snippets.servers.local.process import Process


class Terminate:
    """Ask the nodes to shut down, with SIGTERM, and wait until they have."""

    name = "SIGTERM"

    def can_inject(self, workspace: Workspace) -> str | None:  # noqa: ARG002
        """See `interface.Fault`."""
        return None

    def strike(self, targets: Sequence[Target]) -> None:
        """See `interface.Fault`."""
        # Each may wait for another one, so all are asked at once.
        with ThreadPoolExecutor(len(targets)) as pool:
            list(pool.map(lambda target: target.node.stop(), targets))


class Kill:
    """End the nodes at once, with SIGKILL. The operating system keeps what they wrote."""

    name = "SIGKILL"

    def can_inject(self, workspace: Workspace) -> str | None:  # noqa: ARG002
        """See `interface.Fault`."""
        return None

    def strike(self, targets: Sequence[Target]) -> None:
        """See `interface.Fault`."""
        for target in targets:
            target.node.kill()


@dataclass(frozen=True)
class Pause:
    """Hold the nodes still with SIGSTOP, as a long stop of a virtual machine does.

    Their connections stay open, and what clients send meanwhile waits for them.

    Attributes:
        seconds: For how long.
    """

    seconds: float

    @property
    def name(self) -> str:
        """See `interface.Fault`."""
        return f"pause of {self.seconds:g} s"

    def can_inject(self, workspace: Workspace) -> str | None:  # noqa: ARG002
        """See `interface.Fault`."""
        return None

    def strike(self, targets: Sequence[Target]) -> None:
        """See `interface.Fault`."""
        for target in targets:
            target.node.pause()

    def lift(self, targets: Sequence[Target]) -> None:
        """See `interface.Passing`."""
        # Not a condition to wait for, but how long the nodes are held.
        time.sleep(self.seconds)
        for target in targets:
            target.node.resume()


@contextmanager
def frozen(nodes: Sequence[Process]) -> Iterator[None]:
    """Keep nodes still for as long as the block lasts.

    Raises:
        FaultError: One of them can't be stopped.
    """
    try:
        for node in nodes:
            node.pause()
        yield
    finally:
        for node in nodes:
            node.resume()
