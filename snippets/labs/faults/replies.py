"""Replies that are lost: the server has done what it was told, and nobody hears of it."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from snippets.labs.faults.interface import FaultError

HOST = "127.0.0.1"
CHUNK = 65536

Address = tuple[str, int]

# SOCKS 5, without authentication: the request says where a client wants to go.
SOCKS_HELLO = b"\x05\x00"
SOCKS_GRANTED = b"\x05\x00\x00\x01" + bytes(6)
SOCKS_IP4 = 1


class LossyProxy:
    """A TCP proxy that loses the replies to some requests, and the connection with them.

    It waits for the reply, so that the server has done what was asked.
    """

    def __init__(
        self, is_concerned: Callable[[bytes], bool], upstream: Address | None = None
    ) -> None:
        """Listen; nobody is served before `running`.

        Args:
            is_concerned: Tells whether the reply to a request may be lost.
            upstream: The server; if None, the client says it by SOCKS 5.
        """
        self._is_concerned = is_concerned
        self._upstream = upstream
        self._listener = socket.create_server((HOST, 0))
        self._changed = threading.Condition()
        self._to_lose = 0
        self._closed = False
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    def lose(self, count: int, patience_s: float) -> None:
        """Lose the next replies of the kind, and return when they are lost.

        Args:
            count: How many.
            patience_s: How many seconds to wait at the longest.

        Raises:
            FaultError: Not so many came in time.
        """
        with self._changed:
            self._to_lose = count
            if not self._changed.wait_for(lambda: self._to_lose == 0, patience_s):
                raise FaultError(
                    f"{self._to_lose} of {count} replies did not come within "
                    f"{patience_s:g} s"
                )

    def _is_lost(self) -> bool:
        with self._changed:
            if self._to_lose == 0:
                return False
            self._to_lose -= 1
            self._changed.notify_all()
            return True

    @contextmanager
    def running(self) -> Iterator[None]:
        """Serve for as long as the block lasts."""
        self._start(self._accept)
        try:
            yield
        finally:
            with self._changed:
                self._closed = True
                opened = [*self._open]
            # To close a socket would not wake up who waits for it.
            for each in (self._listener, *opened):
                _shut(each)
            self._listener.close()
            for thread in self._threads:
                thread.join()

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            upstream = self._upstream or _wanted(client)
            with socket.create_connection(upstream) as server:
                if not self._upstream:
                    client.sendall(SOCKS_GRANTED)
                self._relay(client, server)

    def _relay(self, client: socket.socket, server: socket.socket) -> None:
        with self._changed:
            if self._closed:
                return
            self._open |= {client, server}
        last = [b""]

        def send_requests() -> None:
            with contextlib.suppress(OSError):
                while request := client.recv(CHUNK):
                    last[0] = request
                    server.sendall(request)
            _shut(server)

        requests = threading.Thread(target=send_requests, daemon=True)
        requests.start()
        try:
            while reply := server.recv(CHUNK):
                if self._is_concerned(last[0]) and self._is_lost():
                    break
                client.sendall(reply)
        except OSError:  # one of the two is gone; so is the connection
            pass
        finally:
            _shut(client)
            _shut(server)
            requests.join()
            with self._changed:
                self._open -= {client, server}


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the other side was faster
        connection.shutdown(socket.SHUT_RDWR)


def _exactly(client: socket.socket, count: int) -> bytes:
    got = client.recv(count, socket.MSG_WAITALL)
    if len(got) < count:
        raise ConnectionError("the client is gone")
    return got


def _wanted(client: socket.socket) -> Address:
    """Return where a client wants to go, which it says by SOCKS 5."""
    _, methods = _exactly(client, 2)
    _exactly(client, methods)
    client.sendall(SOCKS_HELLO)
    _, _, _, kind = _exactly(client, 4)
    length = 4 if kind == SOCKS_IP4 else _exactly(client, 1)[0]
    host = _exactly(client, length)
    port = int.from_bytes(_exactly(client, 2))
    return socket.inet_ntoa(host) if kind == SOCKS_IP4 else host.decode(), port
