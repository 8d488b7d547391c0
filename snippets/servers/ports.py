"""Ports of the loopback interface that are ours for as long as this process lives."""

import random
import socket
from functools import cache

from filelock import FileLock, Timeout

from snippets.servers.cache import root
from snippets.servers.errors import ServersError

# Below what Linux (32768) and macOS (49152) hand out to outgoing connections: a node that
# is down for a while finds its port free when it starts again.
PORTS = range(20_000, 32_000)
TRIES = 200


@cache
def _locks() -> list[FileLock]:
    return []


def free_port() -> int:
    """Return a port that nothing listens on, and that no other run of ours will take.

    Raises:
        ServersError: There is none to be found.
    """
    folder = root() / "ports"
    folder.mkdir(exist_ok=True)
    for port in random.sample(PORTS, TRIES):
        lock = FileLock(folder / str(port), blocking=False)
        try:
            lock.acquire()
        except Timeout:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                lock.release()
                continue
        _locks().append(lock)
        return port
    raise ServersError(f"no free port among {TRIES} of {PORTS.start} to {PORTS.stop - 1}")
