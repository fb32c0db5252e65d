"""The asyncio stream: what an application sees of a connection over a transport.

Each method looks at what the `Link` has, waits for a change, and looks again; the engine is driven by the transport's
callbacks meanwhile. A cancelled method has taken no step back: what came waits for the next one, and what was sealed
was handed to the transport whole.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from types import TracebackType
from typing import Any, Self, cast

from resumption.connection import Connection
from resumption.errors import HandshakeTimeout, UnexpectedEOF, UsageError
from resumption.streams.face import Face
from resumption.streams.link import Link
from resumption.streams.outside import Outside
from resumption.streams.pump import SEND_CHUNK, Pump, as_bytes

__all__ = ["CLOSE_WAIT_S", "AsyncStream"]

#: Seconds that `AsyncStream.close` waits at most for the peer to take what was sent.
CLOSE_WAIT_S = 10.0

_RECORD = 1 << 14
_BREATH = 16  # chunks that a large send hands over before it lets others run


class AsyncStream(Face):
    """A TLS connection over an asyncio transport, which from now on belongs to the stream.

    Made inside a running loop. Either hand it a connected ``transport``, or make it first and give `link` to
    ``loop.create_connection`` as the protocol; the handshake begins as soon as there is a transport. ``outside`` is
    called in ``executor`` (None: the loop's own). ``defer_tickets`` is as for the blocking stream. ``early_data`` goes
    into a client's first flight, if it may: look at the attribute of that name.

    Put ``asyncio.timeout`` around any method: a cancelled one leaves the stream as usable as before. What is raised is
    what the blocking stream raises. One task may read while another writes; further ones queue.
    """

    __slots__ = ("_link", "_pump", "_reading", "_writing", "bytes_sent")

    def __init__(
        self,
        connection: Connection,
        outside: Outside | None = None,
        *,
        transport: asyncio.Transport | None = None,
        executor: Executor | None = None,
        defer_tickets: bool = False,
        early_data: bytes | bytearray | memoryview = b"",
    ) -> None:
        super().__init__(connection)
        self._pump = Pump(connection, outside, defer_tickets=defer_tickets)
        self._link = Link(self._pump, executor)
        self._link.early_data = as_bytes(early_data)
        self._reading = asyncio.Lock()
        self._writing = asyncio.Lock()
        self.bytes_sent = 0  # application data that was sealed and handed to the transport
        if transport is not None:
            transport.set_protocol(self._link)
            self._link.connection_made(transport)
            transport.resume_reading()

    @property
    def link(self) -> Link:
        """The protocol, for a transport that is yet to be made."""
        return self._link

    async def do_handshake(self, timeout: float | None = None, *, until_early_data: bool = False) -> None:
        """Complete the handshake within ``timeout`` seconds. Raises `HandshakeTimeout`; it may be called again.

        A server that took early data knows by then that its client is there (RFC 8470, section 3); with
        ``until_early_data`` it returns as soon as some has come.
        """
        if self._link.is_ready:
            return
        try:
            async with asyncio.timeout(timeout):
                while not (self._link.is_ready or (until_early_data and self._pump.early_buffered)):
                    self._check()
                    await self._link.change()
        except TimeoutError:
            raise HandshakeTimeout("The handshake operation timed out") from None

    # --- early data --------------------------------------------------------------------------------------------------

    async def recv_early_data(self, n: int = _RECORD) -> bytes:
        """Server: early data, at most ``n`` bytes, as soon as there is any; none once the handshake is complete.

        It may be a replay (`data_is_early`): act on it only where that does no harm, or answer `too_early_response`.
        What is not taken this way is read like any other data afterwards, when it cannot be a replay any more.
        """
        if n <= 0:
            raise ValueError("the number of bytes to read must be positive")
        async with self._reading:
            self._check_open()
            await self.do_handshake(until_early_data=True)
            return self._pump.take_early(n) if self._pump.early_buffered else b""

    async def send_early_data(self, data: bytes | bytearray | memoryview) -> int:
        """Client, before the handshake is complete: more early data, all of it or nothing; returns how many bytes.

        The first of it, which decides whether there may be any, is given when the stream is made (``early_data``).
        Server: answer early data before the handshake is complete.
        """
        view, link, connection = as_bytes(data), self._link, self._connection
        async with self._writing:
            self._check()
            while link.must_wait_to_write:
                await link.change()
                self._check()
            sent = len(view)
            if connection.is_server:
                connection.send_data(view)
            else:
                sent = connection.send_early_data(view)
            link.write(self._pump.take_output())
        return sent

    # --- reading -----------------------------------------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """Bytes of application data that were received and can be read without waiting."""
        return self._pump.buffered

    async def recv(self, n: int = _RECORD) -> bytes:
        """At least one and at most ``n`` bytes, as soon as there are any; none when the peer has closed."""
        if n <= 0:
            if n < 0:
                raise ValueError("the number of bytes to read is negative")
            return b""
        if self._pump.buffered and not self._reading.locked() and not self._closed:
            return self._taken(self._pump.take(n))
        async with self._reading:
            return self._taken(self._pump.take(n)) if await self._await(1) else b""

    async def recv_into(self, buffer: bytearray | memoryview, n: int = 0) -> int:
        """Like `recv`, into the first ``n`` bytes of ``buffer`` (0: all of it); returns how many came."""
        size = memoryview(buffer).nbytes
        if not 0 <= n <= size:
            raise ValueError("the number of bytes to read is negative, or larger than the buffer")
        if not size:
            return 0
        async with self._reading:
            if not await self._await(1):
                return 0
            with memoryview(buffer) as view, view.cast("B") as target, target[: n or size] as part:
                count = self._pump.take_into(part)
        self._link.control_reading()
        return count

    async def read_exactly(self, n: int) -> bytes:
        """Exactly ``n`` bytes. Raises `UnexpectedEOF` if the peer closes before; what came remains to be read."""
        if n < 0:
            raise ValueError("the number of bytes to read is negative")
        async with self._reading:
            if not await self._await(n):
                raise UnexpectedEOF(f"the peer closed after {self._pump.buffered} of {n} bytes")
            return self._taken(self._pump.take_all(n))

    async def read_all(self, limit: int | None = None) -> bytes:
        """Everything up to the peer's close_notify, or up to ``limit`` bytes: then there may be more to read.

        Raises `UnexpectedEOF` if the stream is cut off instead; what came remains to be read.
        """
        if limit is not None and limit < 0:
            raise ValueError("the number of bytes to read is negative")
        async with self._reading:
            await self._await(math.inf if limit is None else limit)
            return self._taken(self._pump.take_all(self._pump.buffered if limit is None else limit))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The data as it comes, until the peer closes."""
        while data := await self.recv():
            yield data

    async def _await(self, wanted: float) -> bool:
        """Wait until ``wanted`` bytes are buffered; False if the peer closed before. With ``_reading`` held."""
        pump, link = self._pump, self._link
        try:
            self._check_open()
            while pump.buffered < wanted:
                if pump.connection.peer_closed:
                    return False
                pump.check()
                link.wanted = wanted
                link.control_reading()
                await link.change()
                self._check_open()
        finally:
            link.wanted = 0
        return True

    def _taken(self, data: bytes) -> bytes:
        self._link.control_reading()
        return data

    # --- writing -----------------------------------------------------------------------------------------------------

    async def send(self, data: bytes | bytearray | memoryview) -> int:
        """Send the first part of ``data``, up to 64 KiB, once there is room, and return its length.

        Cancelled, it has sent nothing.
        """
        view = as_bytes(data)
        async with self._writing:
            return await self._send_chunk(view, 0)

    async def sendall(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of ``data``, of any size; what the transport has no room for yet waits in ``data``.

        Cancelled, it has sent a part from the front: the growth of `bytes_sent` tells how much.
        """
        view = as_bytes(data)
        at, total, chunks = 0, len(view), 0
        async with self._writing:
            while at < total:
                at += await self._send_chunk(view, at)
                chunks += 1
                if not chunks % _BREATH and at < total:
                    await asyncio.sleep(0)

    async def _send_chunk(self, view: bytes | memoryview, at: int) -> int:
        chunk = view[at : at + SEND_CHUNK] if len(view) > SEND_CHUNK else view
        await self._room()
        pump = self._pump
        pump.connection.send_data(chunk)
        self.bytes_sent += len(chunk)
        self._link.write(pump.take_output())
        return len(chunk)

    async def _room(self) -> None:
        """Wait until something may be sent. With ``_writing`` held."""
        link = self._link
        if not link.is_ready:
            await self.do_handshake()
        self._check()
        while link.must_wait_to_write:
            await link.change()
            self._check()

    # --- keys and tickets --------------------------------------------------------------------------------------------

    async def update_keys(self, *, request_peer: bool = False) -> None:
        """Change the writing key now, and ask the peer to do the same if ``request_peer``. RFC 9846, section 4.7.3."""
        async with self._writing:
            await self._room()
            self._connection.update_keys(request_peer=request_peer)
            self._link.write(self._pump.take_output())

    async def request_client_certificate(self, *, required: bool = False) -> None:
        """Server, TLS 1.3: ask the client for its certificate; `peer_chain` has it once its answer was read.

        See `Connection.request_client_certificate`.
        """
        async with self._writing:
            await self._room()
            self._connection.request_client_certificate(required=required)
            self._link.write(self._pump.take_output())

    async def new_session_ticket(self) -> bool:
        """Server, TLS 1.3: send one more ticket (SSL_new_session_ticket). False if none can be issued."""
        async with self._writing:
            await self._room()
            issued = self._connection.new_session_ticket()
            self._pump.collect()
            self._pump.has_only_tickets = False
            self._link.advance()
        return issued

    # --- the end -----------------------------------------------------------------------------------------------------

    async def close_write(self) -> None:
        """Say close_notify: nothing more will be sent, and reading goes on. May be repeated. RFC 9846, section 6.1."""
        async with self._writing:
            await self._room()
            self._connection.close()
            self._link.write(self._pump.take_output())

    async def unwrap(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """End TLS and go on beneath it in the clear: the peer must agree.

        Says close_notify and waits for the peer's; what lies behind that is in the reader. Raises `UsageError` if
        application data is still unread: read it first, then repeat the call.
        """
        await self.close_write()
        link, pump = self._link, self._pump
        async with self._reading:
            if await self._await(1):
                raise UsageError(f"{pump.buffered} bytes of application data are unread: read to the end first")
            transport = link.transport
            if transport is None or link.is_lost:
                pump.check()
            self._closed = True
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport = cast(asyncio.Transport, transport)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if link.is_full:
            protocol.pause_writing()
        reader.feed_data(self._connection.trailing_data)
        if link.is_cut:
            reader.feed_eof()
        else:
            transport.resume_reading()
        pump.release()
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    async def close(self, *, harvest: bool = True) -> None:
        """Say close_notify, close the transport and free the connection. May be repeated.

        Waits for nothing from the peer, but up to 10 seconds for it to take what was sent; cancelled, not even that.
        What has already come is taken in before, unless ``harvest`` is False: tickets, for a client. Never raises for
        the peer's sake.
        """
        if self._closed:
            return
        self._closed = True
        link = self._link
        link.wake()
        try:
            async with asyncio.timeout(CLOSE_WAIT_S):
                if harvest and link.is_ready:
                    for _ in range(2):  # the loop looks at its sockets, then calls back what it found
                        await asyncio.sleep(0)
                while link.is_busy or link.is_settling:
                    await link.change()
                self._say_goodbye()
                while not link.is_lost and link.transport is not None:
                    await link.change()
        except TimeoutError:
            pass  # the peer does not listen
        finally:
            self.abort()

    def _say_goodbye(self) -> None:
        pump, transport = self._pump, self._link.transport
        if transport is None:
            return
        if pump.is_complete or pump.connection.error is not None:
            self._connection.close()
            self._link.write(pump.take_output())
        self._link.drop_unread()
        transport.close()

    def abort(self) -> None:
        """Drop the transport with everything that it was still to send, and free the connection. Waits for nothing."""
        self._closed = True
        link = self._link
        if link.transport is not None and not link.is_lost:
            link.transport.abort()
            link.is_lost = True
        link.wake()
        self._pump.release()

    def _leave(self) -> None:
        """Say close_notify and go, without waiting; the transport has some time yet to send what it holds."""
        link = self._link
        if self._closed or link.transport is None or link.is_busy:
            self.abort()
            return
        self._closed = True
        self._say_goodbye()
        asyncio.get_running_loop().call_later(CLOSE_WAIT_S, link.transport.abort)
        link.is_lost = True
        link.wake()
        self._pump.release()

    def _check(self) -> None:
        self._check_open()
        self._pump.check()

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("the stream is closed")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self.close()
        else:
            self._leave()  # what went wrong is not to be made worse by waiting

    # --- as a socket -------------------------------------------------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the transport knows by this name, as of `asyncio.BaseTransport.get_extra_info`."""
        transport = self._link.transport
        return transport.get_extra_info(name, default) if transport is not None else default

    def getpeername(self) -> Any:
        """The address at the other end, or None."""
        return self.get_extra_info("peername")

    def getsockname(self) -> Any:
        """The address at this end, or None."""
        return self.get_extra_info("sockname")

    def fileno(self) -> int:
        """The socket's descriptor; -1 if there is none."""
        sock = self.get_extra_info("socket")
        return int(sock.fileno()) if sock is not None else -1

    def __repr__(self) -> str:
        return f"<AsyncStream {'closed' if self._closed else 'over ' + repr(self._connection)}>"
