"""The blocking stream: one connection over one connected socket, as an application uses it.

It reads exactly the bytes that the engine asks for, so nothing beyond the current record ever leaves the socket:
``select`` on it tells the truth once `Stream.pending` is 0, and after `Stream.unwrap` the plain protocol finds its
first byte where it belongs. That costs one more system call for each record: 2 us. How the bytes move is in
`resumption.streams.driver`.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from types import EllipsisType, TracebackType
from typing import Any, Self

from resumption.connection import Connection
from resumption.errors import UnexpectedEOF, UsageError
from resumption.streams.driver import Driver
from resumption.streams.outside import Outside
from resumption.streams.pump import Pump, as_bytes
from resumption.streams.sockets import Socket, TimedSocket, send_at_once

__all__ = ["CLOSE_WAIT_S", "Stream"]

#: Seconds that `Stream.close` waits at most for room for its last bytes, on a stream without a timeout.
CLOSE_WAIT_S = 10.0

_RECORD = 1 << 14


class Stream(Driver):
    """A TLS connection over ``sock``, which from now on belongs to the stream.

    ``timeout`` is what each operation may take, in seconds: None for ever, 0 not at all, left out what the socket has.
    The handshake runs at the first use, or when `do_handshake` asks for it. ``outside`` answers what the engine cannot;
    with ``defer_tickets`` a TLS 1.3 server sends its tickets with its first data, which saves a packet and keeps
    clients that look for idle connections from mistaking tickets for data. Nagle's algorithm is turned off.

    Every operation may raise: `TimeoutError`, after which it can be repeated; `WantRead` or `WantWrite` instead, if the
    stream must not wait; `PeerError`, `AlertReceived` or `UnexpectedEOF` when the connection fails, and
    `ConnectionFailed` each time after that; `OSError` from the socket; `UsageError` once closed. Data that came before
    an error is delivered before it.

    One thread may read while another writes.
    """

    __slots__ = ()

    def __init__(
        self,
        sock: Socket,
        connection: Connection,
        outside: Outside | None = None,
        *,
        timeout: float | EllipsisType | None = ...,
        defer_tickets: bool = False,
    ) -> None:
        super().__init__(TimedSocket(sock, timeout), Pump(connection, outside, defer_tickets=defer_tickets))
        if isinstance(sock, socket.socket):
            send_at_once(sock)

    # --- the handshake -----------------------------------------------------------------------------------------------

    def do_handshake(self, timeout: float | None = None, *, until_early_data: bool = False) -> None:
        """Complete the handshake within ``timeout`` seconds altogether; None is the stream's own timeout.

        Raises `HandshakeTimeout`; it may be called again. Does nothing once the handshake is complete. A server that
        took early data knows by then that its client is there (RFC 8470, section 3); with ``until_early_data`` it
        returns as soon as some has come.
        """
        if self._ready:
            return
        deadline = self._socket.deadline() if timeout is None else time.monotonic() + timeout
        self._handshake(deadline, until_early_data)

    # --- early data --------------------------------------------------------------------------------------------------

    def recv_early_data(self, n: int = _RECORD) -> bytes:
        """Server: early data, at most ``n`` bytes, as soon as there is any; none once the handshake is complete.

        It may be a replay (`data_is_early`): act on it only where that does no harm, or answer `too_early_response`.
        What is not taken this way is read like any other data afterwards, when it cannot be a replay any more.
        """
        if n <= 0:
            raise ValueError("the number of bytes to read must be positive")
        if not self._ready:
            self._handshake(self._socket.deadline(), until_early_data=True)
        with self._engine:
            return self._pump.take_early(n) if self._pump.early_buffered else b""

    def send_early_data(self, data: bytes | bytearray | memoryview) -> int:
        """Client, before the handshake: send ``data`` as early data, all of it or nothing; returns how many bytes.

        0 where there may be none, or no more: `early_data` tells why. It may be played again to the server by anyone:
        send what does no harm when it comes twice. Look at `early_data` after the handshake: what was rejected is not
        sent again. Server: answer early data before the handshake is complete. Do not repeat an interrupted call.
        """
        return self._send_early(as_bytes(data))

    # --- reading -----------------------------------------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """Bytes of application data that were received and can be read without touching the socket."""
        return self._pump.buffered

    def recv(self, n: int = _RECORD) -> bytes:
        """At least one and at most ``n`` bytes, as soon as there are any; none when the peer has closed."""
        if n <= 0:
            if n < 0:
                raise ValueError("the number of bytes to read is negative")
            return b""
        with self._reading:
            return self._pump.take(n) if self._await(1) else b""

    def recv_into(self, buffer: bytearray | memoryview, n: int = 0) -> int:
        """Like `recv`, into the first ``n`` bytes of ``buffer`` (0: all of it); returns how many came."""
        with memoryview(buffer) as view, view.cast("B") as target:
            if not 0 <= n <= len(target):
                raise ValueError("the number of bytes to read is negative, or larger than the buffer")
            with target[: n or len(target)] as part, self._reading:
                return self._pump.take_into(part) if len(part) and self._await(1) else 0

    def read_exactly(self, n: int) -> bytes:
        """Exactly ``n`` bytes. Raises `UnexpectedEOF` if the peer closes before; what came remains to be read."""
        if n < 0:
            raise ValueError("the number of bytes to read is negative")
        with self._reading:
            if not self._await(n):
                raise UnexpectedEOF(f"the peer closed after {self._pump.buffered} of {n} bytes")
            return self._pump.take_all(n)

    def read_all(self, limit: int | None = None) -> bytes:
        """Everything up to the peer's close_notify, or up to ``limit`` bytes: then there may be more to read.

        Raises `UnexpectedEOF` if the stream is cut off instead; what came remains to be read.
        """
        if limit is not None and limit < 0:
            raise ValueError("the number of bytes to read is negative")
        pump = self._pump
        with self._reading:
            self._await(limit)
            return pump.take_all(pump.buffered if limit is None else limit)

    def __iter__(self) -> Iterator[bytes]:
        """The data as it comes, until the peer closes."""
        return iter(self.recv, b"")

    # --- writing -----------------------------------------------------------------------------------------------------

    def send(self, data: bytes | bytearray | memoryview) -> int:
        """Send the first part of ``data``, up to 64 KiB, and return its length: it is then all in the socket.

        After a `TimeoutError` or `WantWrite` repeat the call with the same data: nothing is sent twice.
        """
        view = as_bytes(data)
        deadline = self._begin_writing()
        with self._sending:
            sent = self._resume(view, deadline) or self._send_chunk(view, 0, deadline)
        self._settle_debt()
        return sent

    def sendall(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of ``data``, of any size, within the timeout. After an interruption repeat the call, as with `send`.

        `bytes_sent` tells how much of it the peer may get if it is not repeated.
        """
        view = as_bytes(data)
        deadline = self._begin_writing()
        with self._sending:
            at, total = self._resume(view, deadline), len(view)
            while at < total:
                at += self._send_chunk(view, at, deadline)
        self._settle_debt()

    # --- keys and tickets --------------------------------------------------------------------------------------------

    def update_keys(self, *, request_peer: bool = False) -> None:
        """Change the writing key now, and ask the peer to do the same if ``request_peer``. RFC 9846, section 4.7.3."""
        deadline = self._begin_writing()
        with self._sending:
            with self._engine:
                self._connection.update_keys(request_peer=request_peer)
            self._send_queued(deadline)

    def request_client_certificate(self, *, required: bool = False) -> None:
        """Server, TLS 1.3: ask the client for its certificate; `peer_chain` has it once its answer was read.

        See `Connection.request_client_certificate`.
        """
        deadline = self._begin_writing()
        with self._sending:
            with self._engine:
                self._connection.request_client_certificate(required=required)
            self._send_queued(deadline)

    def new_session_ticket(self) -> bool:
        """Server, TLS 1.3: send one more ticket (SSL_new_session_ticket). False if none can be issued."""
        deadline = self._begin_writing()
        with self._sending:
            with self._engine:
                issued = self._connection.new_session_ticket()
                self._pump.collect()
            self._run_errands()
            while self._pump.receipts:
                self._pump.receipts.pop().wait()
            self._send_queued(deadline)
        return issued

    # --- the end -----------------------------------------------------------------------------------------------------

    def close_write(self) -> None:
        """Say close_notify: nothing more will be sent, and reading goes on. May be repeated. RFC 9846, section 6.1."""
        deadline = self._begin_writing()
        with self._sending:
            with self._engine:
                self._connection.close()
            self._send_queued(deadline)

    def shutdown(self, how: int = socket.SHUT_WR) -> None:
        """As a socket's: SHUT_WR is `close_write`; SHUT_RDWR says close_notify, then ends both directions beneath."""
        if how != socket.SHUT_RD:
            self.close_write()
        if how != socket.SHUT_WR:
            self._socket.sock.shutdown(how)

    def unwrap(self) -> Socket:
        """End TLS and give back the socket, for whatever protocol goes on beneath: the peer must agree.

        Says close_notify and waits for the peer's; nothing behind that is read. Raises `UsageError` if application data
        is still unread: read it first, then repeat the call.
        """
        self.close_write()
        with self._reading:
            self._await(1)
            self._check_open()
            if self._pump.buffered:
                raise UsageError(f"{self._pump.buffered} bytes of application data are unread: read to the end first")
            self._closed = True
            self._release()
        self._socket.restore()
        return self._socket.sock

    def close(self, *, harvest: bool = True) -> None:
        """Say close_notify, close the socket and free the connection. May be repeated, and called from any thread.

        Waits for nothing from the peer, but for room for what was sent: at most the stream's timeout, or 10 seconds. A
        client takes up tickets that have already come, unless ``harvest`` is False. Never raises for the peer's sake.
        """
        self._close(harvest, self._socket.timeout if self._socket.timeout is not None else CLOSE_WAIT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._close(harvest=True, wait_s=0.0)  # what went wrong is not to be made worse by waiting

    # --- as a socket -------------------------------------------------------------------------------------------------

    def settimeout(self, timeout: float | None) -> None:
        """What each operation may take, in seconds: None for ever, 0 not at all (see `WantRead` and `WantWrite`)."""
        self._check_open()
        self._socket.settimeout(timeout)

    def gettimeout(self) -> float | None:
        """What each operation may take, in seconds."""
        return self._socket.timeout

    def fileno(self) -> int:
        """The socket's descriptor, for ``select``; look at `pending` first."""
        return self._socket.sock.fileno()

    def getpeername(self) -> Any:
        """The address at the other end."""
        return self._socket.sock.getpeername()

    def getsockname(self) -> Any:
        """The address at this end."""
        return self._socket.sock.getsockname()

    def __repr__(self) -> str:
        return f"<Stream {'closed' if self._closed else 'over ' + repr(self._connection)}>"
