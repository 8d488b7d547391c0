"""Nodes that others can't reach any more, as packets between them are dropped.

It is the partition of `network`, with connections as the operating system has them: what
is dropped is sent again, new ones time out, and either side may give up.
"""

import socket
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache

from snippets.labs.faults.interface import FaultError
from snippets.labs.faults.netns import NEEDED, Namespace, Network, network, obstacle
from snippets.labs.faults.network import Partition
from snippets.labs.workspace import Workspace

BACKEND = "netns"

# The controls: for how long nothing may come, and within what time all must.
SILENCE_S = 0.2
PATIENCE_S = 10.0
# A busy bridge may lose the first packet of a new host, which is sent again after 1 s.
CONNECT_S = 10.0


class PacketPartition(Partition):
    """The same, of nodes that are each on a host of their own."""

    def can_inject(self, workspace: Workspace) -> str | None:  # noqa: ARG002
        """Drop the packets of a connection; see `interface.Fault`."""
        return obstacle() or _controls()


@cache
def _controls() -> str | None:
    """Return what of a network does not work here; None if all does."""
    try:
        with network() as made:
            wrong = wrong_with(made)
    except (FaultError, OSError) as error:
        return f"no such network works here (it takes {NEEDED}): {error}"
    return f"the controls don't hold: {'; '.join(wrong)}" if wrong else None


@dataclass(frozen=True)
class _Ends:
    """The two ends of a connection."""

    one: socket.socket
    other: socket.socket

    def arrives(self, patience_s: float) -> list[bool]:
        """Send a byte each way, and tell of each whether it arrives."""
        ways = ((self.one, self.other), (self.other, self.one))
        for sender, _ in ways:
            sender.sendall(b".")
        return [_gets(receiver, patience_s) for _, receiver in ways]


def _gets(receiver: socket.socket, patience_s: float) -> bool:
    """Tell whether a byte comes in time."""
    receiver.settimeout(patience_s)
    try:
        return bool(receiver.recv(1))
    except OSError:
        return False


def wrong_with(made: Network) -> list[str]:
    """Return in what a network is not as it must be.

    Args:
        made: The network, still without hosts.
    """
    with ExitStack() as stack:
        return _findings(made, stack)


def _findings(made: Network, stack: ExitStack) -> list[str]:
    names = ("one", "other")
    listeners: dict[str, socket.socket] = {}
    for name in names:
        address = made.host(name).address
        with made.hosts[name][1].entered():
            listeners[name] = stack.enter_context(socket.create_server((address, 0)))

    def connect(here: Namespace, there: str, patience_s: float) -> socket.socket:
        with here.entered():
            address = listeners[there].getsockname()
            return stack.enter_context(socket.create_connection(address, patience_s))

    def connected(here: Namespace, there: str) -> _Ends:
        near = connect(here, there, CONNECT_S)
        far, _ = listeners[there].accept()
        return _Ends(near, stack.enter_context(far))

    def connects(here: str, there: str) -> bool:
        try:
            connect(made.hosts[here][1], there, SILENCE_S)
        except OSError:
            return False
        return True

    between = connected(made.hosts["other"][1], "one")
    clients = [connected(made.bridge, name) for name in names]
    way = made.around("one")
    passed = all(between.arrives(PATIENCE_S))
    way.silence()
    silent = not any(between.arrives(SILENCE_S))
    apart = not any([connects("one", "other"), connects("other", "one")])
    reached = all(all(each.arrives(PATIENCE_S)) for each in clients)
    way.heal()
    ends = (between.one, between.other)
    held = not silent or all(_gets(each, PATIENCE_S) for each in ends)
    again = all(between.arrives(PATIENCE_S))
    findings = {
        "nothing passes": not passed,
        "something passes between nodes that are apart": not silent,
        "nodes that are apart can connect": not apart,
        "clients do not reach a node that is apart": not reached,
        "what was sent meanwhile does not arrive after": not held,
        "nothing passes after it was healed": not again,
    }
    return [finding for finding, found in findings.items() if found]
