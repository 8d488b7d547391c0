"""Hosts of their own for nodes, on a network where packets between some can be dropped.

Each node is in a network namespace with an address of its own. A pair of virtual network
interfaces leads from there to a bridge, which is in one more namespace; the lab's clients
are there too, so that they reach all nodes, whatever is cut between these.

No namespace has a name. It lives as long as a process is in it or has its file open, and
its interfaces with it, so that nothing is left of a run that is killed, and nothing of
the machine's own network is changed.

Sources: https://man7.org/linux/man-pages/man7/network_namespaces.7.html,
https://man7.org/linux/man-pages/man4/veth.4.html
"""

import ctypes
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from snippets.labs.faults.interface import FaultError
from snippets.labs.faults.tools import missing, run
from snippets.servers.local.process import Host

NEEDED = "CAP_SYS_ADMIN and CAP_NET_ADMIN"
PACKAGES = {
    "ip": "iproute2",
    "iptables-restore": "iptables",
    "nsenter": "util-linux",
}

# Of <linux/sched.h>; Python has the two calls from 3.12 on.
CLONE_NEWNET = 0x4000_0000
# The namespace of this thread, not of the first one.
OWN = "/proc/thread-self/ns/net"

# Nobody outside sees these names and addresses.
BRIDGE, INTERFACE, PORT = "lab-bridge", "lab-node", "lab-port-"
SUBNET, CLIENTS = "10.99.0", 254


def _call(name: str, *arguments: int) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments):
        raise FaultError(f"`{name}` failed: {os.strerror(ctypes.get_errno())}")


@dataclass(frozen=True)
class Namespace:
    """A network namespace.

    Attributes:
        file: The descriptor that keeps it alive.
    """

    file: int

    @property
    def path(self) -> str:
        """Where other processes find it."""
        return f"/proc/{os.getpid()}/fd/{self.file}"

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Have this thread in it, and what it starts, for as long as the block lasts.

        Sockets stay in the namespace in which they were made.
        """
        before = os.open(OWN, os.O_RDONLY)
        try:
            _call("setns", self.file, CLONE_NEWNET)
            try:
                yield
            finally:
                _call("setns", before, CLONE_NEWNET)
        finally:
            os.close(before)


@contextmanager
def _namespace() -> Iterator[Namespace]:
    """Make an empty namespace, and keep it for as long as the block lasts."""
    before = Namespace(os.open(OWN, os.O_RDONLY))
    try:
        with before.entered():  # and back again
            _call("unshare", CLONE_NEWNET)
            made = Namespace(os.open(OWN, os.O_RDONLY))
    finally:
        os.close(before.file)
    try:
        yield made
    finally:
        os.close(made.file)


@dataclass(frozen=True)
class Packets:
    """The packets between a node and some others; see `link.Way`.

    Both sides send again what is dropped, until they give up or the way is healed.

    Attributes:
        node: Where the node is.
        others: The addresses of the others.
    """

    node: Namespace
    others: Sequence[str]

    def silence(self) -> None:
        """See `link.Way`."""
        # Not with a reply that says so: a network that has failed says nothing.
        self._filter("-j DROP")

    def cut(self) -> None:
        """Refuse; see `link.Way`."""
        raise FaultError("no connection ends by packets that are dropped")

    def heal(self) -> None:
        """See `link.Way`."""
        self._filter()

    def _filter(self, *verdicts: str) -> None:
        others = ",".join(self.others)
        rules = [
            f"-A {chain} {which} {others} {verdict}"
            for verdict in verdicts
            if others
            for chain, which in (("INPUT", "-s"), ("OUTPUT", "-d"))
        ]
        # It replaces what was there, both directions at the same instant.
        with self.node.entered():
            run(
                "iptables-restore",
                "--wait",
                told="\n".join(["*filter", *rules, "COMMIT", ""]),
            )


@dataclass
class Network:
    """Hosts on one bridge; see `network`."""

    bridge: Namespace
    stack: ExitStack
    hosts: dict[str, tuple[Host, Namespace]] = field(default_factory=dict)

    def host(self, name: str) -> Host:
        """Add a host for a node.

        Args:
            name: The name of the node.

        Raises:
            FaultError: It can't be made.
        """
        number = len(self.hosts) + 1
        made = self.stack.enter_context(_namespace())
        address, port = f"{SUBNET}.{number}", f"{PORT}{number}"
        peer = ("peer", "name", port, "netns", self.bridge.path)
        with made.entered():
            run("ip", "link", "set", "lo", "up")
            run("ip", "link", "add", INTERFACE, "type", "veth", *peer)
            run("ip", "address", "add", f"{address}/24", "dev", INTERFACE)
            run("ip", "link", "set", INTERFACE, "up")
        with self.bridge.entered():
            run("ip", "link", "set", port, "master", BRIDGE, "up")
        # `ip netns exec` would give it mounts of its own too, which hold a dead disk.
        host = Host(address, ("nsenter", f"--net={made.path}"))
        self.hosts[name] = (host, made)
        return host

    def around(self, name: str) -> Packets:
        """Return the packets between a node and all other nodes; clients' are others."""
        others = [host.address for each, (host, _) in self.hosts.items() if each != name]
        return Packets(self.hosts[name][1], others)


@contextmanager
def network() -> Iterator[Network]:
    """Have a network without hosts for as long as the block lasts.

    This thread is in it meanwhile, with those that it starts: they are the clients.

    Raises:
        FaultError: It can't be made.
    """
    with ExitStack() as stack:
        bridge = stack.enter_context(_namespace())
        stack.enter_context(bridge.entered())
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", BRIDGE, "type", "bridge")
        run("ip", "address", "add", f"{SUBNET}.{CLIENTS}/24", "dev", BRIDGE)
        run("ip", "link", "set", BRIDGE, "up")
        yield Network(bridge, stack)


def obstacle() -> str | None:
    """Return what is missing here for a network; None if nothing is."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    if reason := missing(PACKAGES):
        return reason
    if os.geteuid() != 0:
        return (
            f"to make a network namespace takes root ({NEEDED}): run the lab with `sudo`"
        )
    return None
