"""Whether a broker answers behind a port that an engine publishes.

The engine accepts a connection before the broker listens, and drops it. A client that
takes this for a broker that fails stays away for seconds.
"""

import socket
import ssl
import struct
from collections.abc import Callable, Mapping
from contextlib import ExitStack

from snippets.servers.errors import ServersError
from snippets.servers.ready import PATIENCE_S, attempts

# ApiVersions (key 18), version 0, correlation id 0, no client id: any broker answers it.
REQUEST = struct.pack(">ihhih", 10, 18, 0, 0, -1)


def answers(address: str, tls: ssl.SSLContext | None = None) -> bool:
    """Tell whether a broker answers at `host:port`, with TLS if it speaks that."""
    host, _, port = address.rpartition(":")
    try:
        with ExitStack() as stack:
            broker = socket.create_connection((host, int(port)), timeout=1)
            stack.enter_context(broker)
            if tls:
                broker = tls.wrap_socket(broker, server_hostname=host)
                stack.enter_context(broker)
            broker.sendall(REQUEST)
            return bool(broker.recv(1))
    except OSError:
        return False


def until_brokers_answer(
    settings: Mapping[str, str], *, alive: Callable[[], None]
) -> None:
    """Wait until every broker answers.

    Args:
        settings: The connection settings for kafka-python.
        alive: Raises if waiting has become pointless, as a broker has ended.

    Raises:
        ServersError: They don't answer in time.
    """
    tls = None
    if settings.get("security_protocol", "").endswith("SSL"):
        tls = ssl.create_default_context(cafile=settings.get("ssl_cafile"))
    waiting = settings["bootstrap_servers"].split(",")
    for _ in attempts(PATIENCE_S):
        waiting = [address for address in waiting if not answers(address, tls)]
        if not waiting:
            return
        alive()
    raise ServersError(f"no broker answered at {', '.join(waiting)} in {PATIENCE_S:g} s")
