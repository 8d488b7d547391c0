"""A link is as slow, as silent and as cut as it should be, and else lets all through."""

import contextlib
import os
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from snippets.labs.faults.interface import FaultError, Target
from snippets.labs.faults.link import HOST, Link, Outgoing
from snippets.labs.faults.network import MachineLoss, Partition
from snippets.labs.faults.plain import Plain
from snippets.labs.workspace import Workspace
from snippets.servers.local.process import Process


class Echo(socketserver.StreamRequestHandler):
    """Sends everything back."""

    def handle(self) -> None:
        """Send it back until the end."""
        with contextlib.suppress(ConnectionError):
            while data := self.request.recv(1024):
                self.request.sendall(data)


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends everything back."""
    with socketserver.ThreadingTCPServer((HOST, 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def connect(link: Link) -> socket.socket:
    """Open a connection that waits for five seconds at the longest."""
    return socket.create_connection((HOST, link.port), timeout=5)


def receive(client: socket.socket, count: int) -> bytes:
    """Receive so many bytes, or all until the end."""
    got = b""
    while len(got) < count and (more := client.recv(65_536)):
        got += more
    return got


def silent(client: socket.socket) -> bool:
    """Tell whether nothing comes for a fifth of a second."""
    before = client.gettimeout()
    client.settimeout(0.2)
    try:
        client.recv(1)
    except TimeoutError:
        return True
    finally:
        client.settimeout(before)
    return False


def ended(client: socket.socket) -> bool:
    """Tell whether the connection ends, and nothing comes before."""
    try:
        return not client.recv(1)
    except ConnectionError:
        return True


def test_all_arrives_in_order_and_then_the_end(echo: int) -> None:
    sent = bytes(range(256)) * 4000
    with Link(echo) as link, connect(link) as client:
        sender = threading.Thread(target=client.sendall, args=[sent])
        sender.start()
        assert receive(client, len(sent)) == sent
        sender.join()
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""


def test_each_direction_takes_its_time_and_order_stays(echo: int) -> None:
    with Link(echo, latency_s=0.1) as link, connect(link) as client:
        began = time.monotonic()
        for number in range(10):
            client.sendall(bytes([number]))
        assert receive(client, 10) == bytes(range(10))
        # All were under way together.
        assert 0.2 <= time.monotonic() - began < 1.0


def test_a_silent_link_holds_all_until_it_is_healed(echo: int) -> None:
    with Link(echo) as link, connect(link) as client:
        client.sendall(b"1")
        assert receive(client, 1) == b"1"
        link.silence()
        client.sendall(b"23")
        client.shutdown(socket.SHUT_WR)
        assert silent(client)
        with connect(link) as late:
            assert silent(late)
        link.heal()
        assert receive(client, 3) == b"23"


def test_a_cut_link_forgets_what_is_under_way(echo: int) -> None:
    with Link(echo, latency_s=0.1) as link:
        with connect(link) as client:
            client.sendall(b"1")
            link.cut()
            assert ended(client)
        with connect(link) as refused:
            assert ended(refused)
        link.heal()
        with connect(link) as again:
            again.sendall(b"2")
            assert receive(again, 1) == b"2"


def test_the_connections_of_one_process_can_fail_alone(echo: int) -> None:
    program = "import socket, sys; socket.create_connection(('127.0.0.1', {})).recv(1)"
    with Link(echo) as link, connect(link) as client:
        other = subprocess.Popen([sys.executable, "-c", program.format(link.port)])
        try:
            for fails in (Outgoing.silence, Outgoing.cut):
                fails(Outgoing(link, other.pid))
                client.sendall(b"1")
                assert receive(client, 1) == b"1"
                with connect(link) as late:
                    late.sendall(b"2")
                    assert receive(late, 1) == b"2"
            # The other one is cut off as soon as it has connected, if not before.
            assert other.wait(10) in {0, 1}
        finally:
            other.kill()
        link.heal()
        mine = Outgoing(link, os.getpid())
        mine.silence()
        client.sendall(b"3")
        assert silent(client)
        with connect(link) as late:
            late.sendall(b"4")
            assert silent(late)
            mine.heal()
            assert receive(late, 1) == b"4"
        assert receive(client, 1) == b"3"
        mine.cut()
        assert ended(client)


def test_where_nobody_listens_the_connection_ends() -> None:
    with socket.create_server((HOST, 0)) as closed:
        port = closed.getsockname()[1]
    with Link(port) as link, connect(link) as client:
        assert ended(client)


def test_the_controls_hold(workspace: Workspace) -> None:
    assert Partition().can_inject(workspace) is None
    assert MachineLoss().can_inject(workspace) is None


@pytest.mark.parametrize("fault", [Partition(), MachineLoss()])
def test_without_a_link_there_is_no_fault(
    fault: Partition | MachineLoss, workspace: Workspace
) -> None:
    folder = workspace.new_folder("node")
    node = Process("node", ["true"], folder)
    with (
        Plain(folder).disk("node", folder) as disk,
        pytest.raises(FaultError, match="node reaches the others without a link"),
    ):
        fault.strike([Target(node, disk)])
