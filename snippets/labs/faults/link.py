"""A connection between two nodes that can be slow, silent or cut: a TCP proxy of our own.

What a link models is the way of the bytes, not the packets: nothing is lost or reordered
within a connection. A silent link holds what is sent, as a network does that drops
packets until it is healed, and the sender repeats them. Unlike there, a connection that
is opened meanwhile seems to be accepted; then nothing answers.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Collection, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

import psutil

from snippets.servers.ports import free_port

HOST = "127.0.0.1"
CHUNK = 65_536
PATIENCE_S = 10.0

# Returns the ports of those who are meant, whoever has connected from there; None means
# everybody. It may take its time.
Whose = Callable[[], Collection[int] | None]


def everybody() -> None:
    """Mean every connection."""


def _nobody() -> Collection[int]:
    return ()


def _is_meant(port: int, meant: Collection[int] | None) -> bool:
    return meant is None or port in meant


class Way(Protocol):
    """What can be made to fail between nodes: a link, connections by it, or packets."""

    def silence(self) -> None:
        """Let nothing through from now on, the end of a connection included."""

    def cut(self) -> None:
        """End all connections, forget what is under way, and accept no new ones.

        Raises:
            FaultError: There is no such thing on this way.
        """

    def heal(self) -> None:
        """Let through what was held, and what comes."""


@dataclass(frozen=True, eq=False)
class _Connection:
    """Whoever has connected, and whether something passes."""

    port: int
    passable: asyncio.Event


class Link:
    """Passes on each connection to its port to another port of this machine.

    It works in a thread of its own, for as long as the block lasts.
    """

    def __init__(self, to_port: int, latency_s: float = 0.0) -> None:
        """Take note of the way; nothing listens yet.

        Args:
            to_port: Where connections lead.
            latency_s: How many seconds the bytes are under way, in each direction.
        """
        self.port = free_port()
        self.latency_s = latency_s
        self._to_port = to_port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name=f"link-{self.port}", daemon=True
        )
        self._silent_for: Whose = _nobody
        self._cut_for: Whose = _nobody
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], _Connection] = {}

    def silence(self, whose: Whose = everybody) -> None:
        """Let nothing through from now on; see `Way.silence`.

        Args:
            whose: Which connections are meant.
        """
        # Whoever connects from now on is looked at, and then those who have already.
        self._silent_for = whose
        self._do(self._silence(whose()))

    def cut(self, whose: Whose = everybody) -> None:
        """End connections, forget what is under way, accept no new ones; see `Way.cut`.

        Args:
            whose: Which connections are meant.
        """
        self._cut_for = whose
        self._do(self._drop(whose()))

    def heal(self) -> None:
        """Let through what was held, and what comes; see `Way.heal`."""
        self._do(self._heal())

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, what: Coroutine[Any, Any, None]) -> None:
        done: Future[None] = asyncio.run_coroutine_threadsafe(what, self._loop)
        done.result(PATIENCE_S)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, HOST, self.port)

    async def _silence(self, meant: Collection[int] | None) -> None:
        for connection in self._connections.values():
            if _is_meant(connection.port, meant):
                connection.passable.clear()

    async def _heal(self) -> None:
        self._silent_for = self._cut_for = _nobody
        for connection in self._connections.values():
            connection.passable.set()

    async def _close(self) -> None:
        if self._server:
            self._server.close()
        await self._drop(None)

    async def _drop(self, meant: Collection[int] | None) -> None:
        dropped = [
            task
            for task, connection in self._connections.items()
            if _is_meant(connection.port, meant)
        ]
        for task in dropped:
            task.cancel()
        await asyncio.gather(*dropped, return_exceptions=True)

    async def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        connection = _Connection(writer.get_extra_info("peername")[1], asyncio.Event())
        connection.passable.set()
        # A task of our own: asyncio would report that its own one was cancelled.
        task = asyncio.create_task(self._carry(reader, writer, connection))
        self._connections[task] = connection
        task.add_done_callback(self._connections.pop)

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        connection: _Connection,
    ) -> None:
        ends = [writer]
        passable = connection.passable
        try:
            if _is_meant(connection.port, await asyncio.to_thread(self._cut_for)):
                return
            whose = self._silent_for
            meant = _is_meant(connection.port, await asyncio.to_thread(whose))
            # It may have been healed meanwhile.
            if meant and whose is self._silent_for:
                passable.clear()
            far_reader, far_writer = await asyncio.open_connection(HOST, self._to_port)
            ends.append(far_writer)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass_on(reader, far_writer, passable))
                group.create_task(self._pass_on(far_reader, writer, passable))
            for end in ends:
                end.close()
            for end in ends:
                await end.wait_closed()
        except* OSError:
            pass  # one end is gone, so the other one is to notice
        finally:
            for end in ends:
                end.transport.abort()

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        passable: asyncio.Event,
    ) -> None:
        """Carry one direction; what is under way is queued with its time of arrival."""
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def send() -> None:
            data = b"."
            while data:
                data = b""
                with contextlib.suppress(ConnectionError):
                    data = await reader.read(CHUNK)
                under_way.put_nowait((self._loop.time() + self.latency_s, data))

        async def arrive() -> None:
            while True:
                time, data = await under_way.get()
                await asyncio.sleep(time - self._loop.time())
                await passable.wait()
                if not data:
                    break
                writer.write(data)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()

        async with asyncio.TaskGroup() as group:
            group.create_task(send())
            group.create_task(arrive())


@dataclass(frozen=True)
class Outgoing:
    """The connections of one process by a link that others use too; see `Way`.

    Attributes:
        link: By which they go.
        pid: Whose they are.
    """

    link: Link
    pid: int

    def silence(self) -> None:
        """See `Way.silence`."""
        self.link.silence(self._ports)

    def cut(self) -> None:
        """See `Way.cut`."""
        self.link.cut(self._ports)

    def heal(self) -> None:
        """See `Way.heal`."""
        self.link.heal()

    def _ports(self) -> Collection[int]:
        try:
            sockets = psutil.Process(self.pid).net_connections("tcp")
        except psutil.NoSuchProcess:
            return ()
        return {each.laddr.port for each in sockets}
