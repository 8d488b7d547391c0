"""Nodes that others can't reach any more, though they may live on and serve clients."""

import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from snippets.labs.faults.interface import FaultError, Target
from snippets.labs.faults.link import HOST, Link
from snippets.labs.workspace import Workspace

BACKEND = "proxy"

# The controls: how slow their link is, and for how long it must be silent.
LATENCY_S = 0.05
SILENCE_S = 0.2
PATIENCE_S = 5.0


class Partition:
    """The other nodes don't hear the targets any more; clients do, and notice nothing."""

    name = "partition"

    def can_inject(self, workspace: Workspace) -> str | None:  # noqa: ARG002
        """Try a link out; see `interface.Fault`."""
        return _controls()

    def strike(self, targets: Sequence[Target]) -> None:
        """See `interface.Fault`; the nodes live on."""
        _silence(targets)


class MachineLoss:
    """The nodes end, and with them what was under way to the others.

    With SIGKILL alone, the operating system still delivers what a node had handed to it.
    The network goes first: the other way round, what was under way would arrive while
    the node is being stopped. What the node acknowledges in between, some milliseconds,
    is lost too.
    """

    name = "machine loss"

    def can_inject(self, workspace: Workspace) -> str | None:  # noqa: ARG002
        """Try a link out; see `interface.Fault`."""
        return _controls()

    def strike(self, targets: Sequence[Target]) -> None:
        """See `interface.Fault`."""
        _silence(targets)
        for target in targets:
            target.node.kill()
        for target in targets:
            for link in target.links:
                link.cut()


def _silence(targets: Sequence[Target]) -> None:
    ways = [way for target in _linked(targets) for way in target.links]
    # One after the other, nodes would notice the first before the last.
    with ThreadPoolExecutor(len(ways)) as pool:
        list(pool.map(lambda way: way.silence(), ways))


def _linked(targets: Sequence[Target]) -> Sequence[Target]:
    for target in targets:
        if not target.links:
            raise FaultError(f"{target.node.name} reaches the others without a link")
    return targets


@cache
def _controls() -> str | None:
    """Return what of a link does not work here; None if all does."""
    try:
        with socket.create_server((HOST, 0)) as server:
            echo = threading.Thread(target=_echo, args=[server], daemon=True)
            echo.start()
            wrong = _wrong_with(Link(server.getsockname()[1], LATENCY_S))
            echo.join(PATIENCE_S)
    except OSError as error:
        return f"a link does not work: {error}"
    return f"the controls don't hold: {'; '.join(wrong)}" if wrong else None


def _echo(server: socket.socket) -> None:
    """Send back whatever one client sends."""
    connection, _ = server.accept()
    with connection:
        while data := connection.recv(1024):
            connection.sendall(data)


def _wrong_with(link: Link) -> list[str]:
    with link, socket.create_connection((HOST, link.port), PATIENCE_S) as client:
        began = time.monotonic()
        client.sendall(b"1")
        passed = client.recv(1) == b"1"
        quick = time.monotonic() - began < 2 * LATENCY_S
        link.silence()
        client.sendall(b"2")
        client.settimeout(SILENCE_S)
        try:
            silent = not client.recv(1)
        except TimeoutError:
            silent = True
        client.settimeout(PATIENCE_S)
        link.heal()
        held = silent and client.recv(1) == b"2"
        client.sendall(b"3")
        link.cut()
        try:
            ended = not client.recv(1)
        except ConnectionError:
            ended = True
    findings = {
        "nothing passes": not passed,
        "it is faster than it should be": quick,
        "something passes while it is silent": not silent,
        "what was held is lost": not held,
        "something passes after it was cut": not ended,
    }
    return [finding for finding, found in findings.items() if found]
