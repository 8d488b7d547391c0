"""Whether a broker answers behind a port that an engine publishes.

The engine accepts a connection before the broker listens, and drops it. A client that
takes this for a broker that fails stays away for seconds.
"""

import socket
import struct
from collections.abc import Callable

from snippets.servers.errors import ServersError
from snippets.servers.ready import PATIENCE_S, attempts

# ApiVersions (key 18), version 0, correlation id 0, no client id: any broker answers it.
REQUEST = struct.pack(">ihhih", 10, 18, 0, 0, -1)


def answers(address: str) -> bool:
    """Tell whether a broker answers at `host:port`."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=1) as broker:
            broker.sendall(REQUEST)
            return bool(broker.recv(1))
    except OSError:
        return False


def until_brokers_answer(addresses: list[str], *, alive: Callable[[], None]) -> None:
    """Wait until every broker answers.

    Args:
        addresses: Where they listen, as `host:port`.
        alive: Raises if waiting has become pointless, as a broker has ended.

    Raises:
        ServersError: They don't answer in time.
    """
    waiting = addresses
    for _ in attempts(PATIENCE_S):
        waiting = [address for address in waiting if not answers(address)]
        if not waiting:
            return
        alive()
    raise ServersError(f"no broker answered at {', '.join(waiting)} in {PATIENCE_S:g} s")
