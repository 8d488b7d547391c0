"""Make Redis nodes one cluster, whose slots its masters share evenly.

Source: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import redis

from snippets.servers.errors import ServersError
from snippets.servers.ready import PATIENCE_S, attempts

SLOTS = 16_384

# What every node is told. A cluster shows a replica once it has received a byte; that may
# be the first ping of its master: by default after 10 s.
SETTINGS = {"cluster-enabled": "yes", "repl-ping-replica-period": "1"}


@dataclass(frozen=True)
class Peer:
    """A node that is to be in the cluster.

    Attributes:
        url: Where clients find it.
        host: Where the other nodes find it: an address, as they take no name.
        bus_port: Where it listens for the other nodes.
    """

    url: str
    host: str
    bus_port: int

    @property
    def port(self) -> int:
        """Where it listens for commands, for clients and for replicas alike."""
        return urlsplit(self.url).port or 0


def ranges(masters: int) -> list[tuple[int, int]]:
    """Return the first and the last slot of each master, as `redis-cli` shares them."""
    bounds = [round(number * SLOTS / masters) for number in range(masters + 1)]
    return [(first, end - 1) for first, end in pairwise(bounds)]


def form(peers: Sequence[Peer], *, masters: int, alive: Callable[[], None]) -> None:
    """Join empty nodes that answer, and wait until each of them serves the cluster.

    Args:
        peers: The nodes: first the masters, then the replicas of each in turn.
        masters: How many of them are masters.
        alive: Raises if waiting has become pointless, as a process has ended.

    Raises:
        ServersError: They don't come together in time.
    """
    shares = ranges(masters)
    expected = {
        share: {urlsplit(peer.url).netloc for peer in peers[number::masters]}
        for number, share in enumerate(shares)
    }
    with ExitStack() as stack:
        nodes: list[Any] = [
            stack.enter_context(redis.Redis.from_url(peer.url, decode_responses=True))
            for peer in peers
        ]
        for epoch, node in enumerate(nodes, start=1):
            # Nodes that all have epoch 0 would have to settle first whose word counts.
            node.execute_command("CLUSTER SET-CONFIG-EPOCH", epoch)
        for node, share in zip(nodes, shares, strict=False):
            node.execute_command("CLUSTER ADDSLOTSRANGE", *share)
        for peer in peers[1:]:
            meet = ("CLUSTER MEET", peer.host, peer.port, peer.bus_port)
            nodes[0].execute_command(*meet)
        ids = [node.execute_command("CLUSTER MYID") for node in nodes]
        for number, node in enumerate(nodes):
            _wait(partial(_knows, node, set(ids)), alive, peers[number])
        for number, node in enumerate(nodes[masters:]):
            node.execute_command("CLUSTER REPLICATE", ids[number % masters])
        for number, node in enumerate(nodes):
            _wait(partial(_serves, node, expected), alive, peers[number])


def _wait(condition: Callable[[], bool], alive: Callable[[], None], peer: Peer) -> None:
    for _ in attempts(PATIENCE_S):
        alive()
        if condition():
            return
    raise ServersError(
        f"the Redis at {peer.url} is in no complete cluster after {PATIENCE_S:g} s"
    )


def _knows(node: Any, ids: set[str]) -> bool:
    known = node.execute_command("CLUSTER NODES").values()
    return ids <= {each["node_id"] for each in known}


def _serves(node: Any, expected: Mapping[tuple[int, int], set[str]]) -> bool:
    """Tell whether a node takes commands, and knows where clients find the others."""
    shown = {
        (first, last): {f"{host}:{port}" for host, port, *_ in holders}
        for first, last, *holders in node.execute_command("CLUSTER SLOTS")
    }
    state = node.execute_command("CLUSTER INFO")["cluster_state"]
    return shown == expected and state == "ok"
