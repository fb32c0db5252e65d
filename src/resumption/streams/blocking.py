"""The blocking stream: one connection over one connected socket.

A thin driver of the engine. It reads exactly the bytes that the engine asks for, so nothing beyond the current record
ever leaves the socket: ``select`` on it tells the truth once `Stream.pending` is 0, and after `Stream.unwrap` the plain
protocol finds its first byte where it belongs. That costs one more system call for each record.

Locks. ``_engine`` is held for engine calls only, never while waiting. Who receives holds ``_reading``, who sends holds
``_sending``; so one thread can read while another writes, and further threads queue. A reader with something to send
(the answer to a KeyUpdate) never waits for a writer: it leaves the bytes to it, or else two peers that both write would
stand still for ever.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from types import EllipsisType, TracebackType
from typing import Any, Self

from resumption.connection import Connection
from resumption.errors import Error, UnexpectedEOF, UsageError
from resumption.streams.face import Face
from resumption.streams.outside import Outside
from resumption.streams.pump import SEND_CHUNK, Pump, as_bytes
from resumption.streams.sockets import Socket, TimedSocket

__all__ = ["CLOSE_WAIT_S", "HARVEST_LIMIT", "Stream"]

#: Seconds that `Stream.close` waits at most for room for its last bytes, on a stream without a timeout.
CLOSE_WAIT_S = 10.0

#: Bytes that are read at most, without waiting, for tickets that arrived before a client closes.
HARVEST_LIMIT = 1 << 14

_RECORD = 1 << 14
_HEADER = 5  # bytes needed where a record begins; less at the end
_ASIDE = 1 << 12  # a writable socket takes this much without waiting


class Stream(Face):
    """A TLS connection over ``sock``, which from now on belongs to the stream.

    ``timeout`` is what each operation may take, in seconds: None for ever, 0 not at all, left out what the socket has.
    The handshake runs at the first use, or when `do_handshake` asks for it. ``outside`` answers what the engine cannot;
    with ``defer_tickets`` a TLS 1.3 server sends its tickets with its first data, which saves a packet and keeps
    clients that look for idle connections from mistaking tickets for data.

    Every operation may raise: `TimeoutError`, after which it can be repeated; `WantRead` or `WantWrite` instead, if the
    stream must not wait; `PeerError`, `AlertReceived` or `UnexpectedEOF` when the connection fails, and
    `ConnectionFailed` each time after that; `OSError` from the socket; `UsageError` once closed. Data that came before
    an error is delivered before it.

    One thread may read while another writes.
    """

    __slots__ = (
        "_engine",
        "_interrupted",
        "_owed",
        "_pump",
        "_reading",
        "_ready",
        "_sending",
        "_shaking_hands",
        "_socket",
        "_unsent",
        "bytes_sent",
    )

    def __init__(
        self,
        sock: Socket,
        connection: Connection,
        outside: Outside | None = None,
        *,
        timeout: float | EllipsisType | None = ...,
        defer_tickets: bool = False,
    ) -> None:
        super().__init__(connection)
        self._socket = TimedSocket(sock, timeout)
        self._pump = Pump(connection, outside, defer_tickets=defer_tickets)
        self._engine = threading.Lock()
        self._shaking_hands = threading.Lock()
        self._reading = threading.Lock()
        self._sending = threading.Lock()
        self._ready = False  # the handshake is complete, and so is everything that belongs to it
        self._unsent: bytes | memoryview = b""  # sealed, and not yet in the socket
        self._owed = False  # a reader left something to be sent
        self._interrupted: tuple[int, bytes] | None = None  # where the chunk began whose records are `_unsent`, and it
        self.bytes_sent = 0  # application data that was sealed

    # --- the handshake -----------------------------------------------------------------------------------------------

    def do_handshake(self, timeout: float | None = None) -> None:
        """Complete the handshake within ``timeout`` seconds altogether; None is the stream's own timeout.

        Raises `HandshakeTimeout`; it may be called again. Does nothing once the handshake is complete.
        """
        if self._ready:
            return
        deadline = self._socket.deadline() if timeout is None else time.monotonic() + timeout
        self._handshake(deadline)

    def _handshake(self, deadline: float | None) -> None:
        """Complete the handshake, or wait until another thread has. Nobody else reads before that."""
        pump = self._pump
        with self._shaking_hands:
            self._check_open()
            try:
                while not self._ready:
                    self._run_errands()
                    if pump.failure is not None:
                        self._send_aside()
                        pump.check()
                    if pump.has_only_tickets:
                        self._send_aside()  # if the client has left already, that is no failure of the handshake
                    else:
                        with self._sending:
                            self._send_queued(deadline, "handshake")
                    if pump.is_complete:
                        self._ready = True
                    else:
                        self._receive(deadline, "handshake")
            finally:
                if deadline is not None and not self._closed:
                    self._socket.restore()

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

    def _await(self, wanted: int | None) -> bool:
        """Read until ``wanted`` bytes (None: all) are buffered; False if the peer closed before.

        Raises what ended the connection, if that came before. With ``_reading`` held.
        """
        pump = self._pump
        self._check_open()
        if wanted is not None and pump.buffered >= wanted:
            return True
        deadline = self._socket.deadline()
        if not self._ready:
            self._handshake(deadline)
        while wanted is None or pump.buffered < wanted:
            if pump.is_at_end:
                pump.check()
                return False
            before = pump.buffered
            self._receive(deadline)
            if pump.buffered == before and (pump.failure is not None or pump.connection.bytes_needed <= _HEADER):
                self._run_errands()  # a record that was no data: it may have changed anything
                self._send_aside()
        return True

    def _receive(self, deadline: float | None, operation: str = "read") -> None:
        """One piece of the record that comes, into the engine."""
        pump = self._pump
        try:
            data = self._socket.receive(pump.connection.bytes_needed, deadline, operation)
        except OSError:
            self._check_open()
            raise
        with self._engine:
            self._check_open()
            pump.feed(data)

    def _run_errands(self) -> None:
        """Do what the engine wants to know or tell. The engine is free meanwhile."""
        pump = self._pump
        while pump.errands:
            with self._engine:
                errand = pump.errands.popleft()
            answer = pump.run(errand)
            with self._engine:
                pump.settle(errand, answer)

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

    def _begin_writing(self) -> float | None:
        self._check_open()
        deadline = self._socket.deadline()
        if not self._ready:
            self._handshake(deadline)
        return deadline

    def _resume(self, view: bytes | memoryview, deadline: float | None) -> int:
        """Finish an interrupted call, and return how far it had come. With ``_sending`` held, like all that follow."""
        if self._interrupted is None:
            return 0
        at, chunk = self._interrupted
        if view[at : at + len(chunk)] != chunk:
            raise UsageError("an earlier call was interrupted while it sent other data: repeat that one first")
        self._send_queued(deadline)
        self._interrupted = None
        return at + len(chunk)

    def _send_chunk(self, view: bytes | memoryview, at: int, deadline: float | None) -> int:
        chunk = view[at : at + SEND_CHUNK] if len(view) > SEND_CHUNK else view
        pump = self._pump
        with self._engine:
            self._check_open()
            pump.connection.send_data(chunk)
        self.bytes_sent += len(chunk)
        try:
            self._send_queued(deadline)
        except (TimeoutError, BlockingIOError):
            self._interrupted = at, bytes(chunk)
            raise
        except (Error, OSError):
            raise
        except BaseException:  # from a signal handler: KeyboardInterrupt, for one
            self._interrupted = at, bytes(chunk)
            raise
        return len(chunk)

    def _send_queued(self, deadline: float | None, operation: str = "write") -> None:
        """Send what was sealed, then what the engine has queued, until there is nothing."""
        pump = self._pump
        while True:
            if not self._unsent:
                with self._engine:
                    self._unsent = pump.take_output()
                if not self._unsent:
                    return
            try:
                sent = self._socket.send(self._unsent, deadline, operation)
            except ConnectionError:
                self._check_open()
                self._look_for_reason(operation == "handshake")
                raise
            except OSError:
                self._check_open()
                raise
            self._unsent = memoryview(self._unsent)[sent:] if sent < len(self._unsent) else b""

    def _look_for_reason(self, is_reader: bool) -> None:
        """The peer is gone. If it said why before, raise that instead of the socket's error."""
        if is_reader:
            self._read_what_is_there()
        elif self._reading.acquire(blocking=False):
            try:
                self._read_what_is_there()
            finally:
                self._reading.release()
        self._pump.check()

    def _settle_debt(self) -> None:
        """Called without ``_sending``: a reader may have come by while it was taken."""
        if self._owed:
            self._send_aside()

    def _send_aside(self) -> None:
        """Send what the engine queued while reading (an answer, an alert), if that can be done without waiting."""
        pump = self._pump
        self._owed = True
        while self._owed and self._sending.acquire(blocking=False):
            try:
                self._owed = False
                if not self._unsent:
                    with self._engine:
                        self._unsent = pump.take_urgent_output()
                while self._unsent and self._socket.is_writable():
                    sent = self._socket.send(memoryview(self._unsent)[:_ASIDE], None)
                    self._unsent = memoryview(self._unsent)[sent:]
            except OSError:
                return  # reading will find out
            finally:
                self._sending.release()

    # --- keys and tickets --------------------------------------------------------------------------------------------

    def update_keys(self, *, request_peer: bool = False) -> None:
        """Change the writing key now, and ask the peer to do the same if ``request_peer``. RFC 9846, section 4.7.3."""
        deadline = self._begin_writing()
        with self._sending:
            with self._engine:
                self._connection.update_keys(request_peer=request_peer)
            self._send_queued(deadline)

    def new_session_ticket(self) -> bool:
        """Server, TLS 1.3: send one more ticket (SSL_new_session_ticket). False if none can be issued."""
        deadline = self._begin_writing()
        with self._sending:
            with self._engine:
                issued = self._connection.new_session_ticket()
                self._pump.collect()
            self._run_errands()
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

    def _close(self, harvest: bool, wait_s: float) -> None:
        with self._engine:
            if self._closed:
                return
            self._closed = True
        sock, locks = self._socket.sock, (self._shaking_hands, self._reading, self._sending)
        free = [lock for lock in locks if lock.acquire(blocking=False)]
        try:
            if self._sending in free and (self._ready or self._pump.failure is not None):
                self._say_goodbye(wait_s)
            if harvest and self._reading in free and self._ready and not self._connection.is_server:
                self._read_what_is_there()
            if len(free) < len(locks):
                sock.shutdown(socket.SHUT_RDWR)  # wakes the threads that wait in it
        except (Error, OSError):
            pass  # the other end is gone, or does not listen
        finally:
            sock.close()
            self._release()
            for lock in free:
                lock.release()

    def _say_goodbye(self, wait_s: float) -> None:
        """close_notify, and FIN behind it: so that bytes which the peer sent and nobody reads do not drop ours."""
        with self._engine:
            self._connection.close()
        try:
            if not wait_s:
                self._socket.settimeout(0.0)
            self._send_queued(time.monotonic() + wait_s if wait_s else None)
            self._socket.sock.shutdown(socket.SHUT_WR)
        except (Error, OSError):
            pass  # it was worth trying

    def _read_what_is_there(self) -> None:
        """Take in whole records without waiting, up to `HARVEST_LIMIT`. With ``_reading`` held."""
        pump, left = self._pump, HARVEST_LIMIT
        try:
            while 0 < pump.connection.bytes_needed <= left:
                data = self._socket.receive_now(pump.connection.bytes_needed)
                if data is None:
                    return
                left -= len(data)
                with self._engine:
                    pump.feed(data)
                self._run_errands()
        except OSError:
            return

    def _release(self) -> None:
        with self._engine:
            self._pump.release()

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("the stream is closed")

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
