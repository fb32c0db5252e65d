"""How bytes move in a blocking stream: which thread may do what, and what becomes of a call that is interrupted.

Locks. ``_engine`` is held for engine calls only, never while waiting. Who receives holds ``_reading``, who sends holds
``_sending``; so one thread can read while another writes, and further threads queue. The handshake has a lock of its
own, and nobody reads before it is complete. A reader with something to send (the answer to a KeyUpdate) never waits for
a writer: it leaves the bytes to it, or else two peers that both write would stand still for ever.

Interruptions. What was sealed must be sent, or the peer could never read on. So a write that ran out of time keeps its
records in ``_unsent`` and remembers the data in them: the same call, repeated, sends the rest and seals nothing again.
Everything else can be repeated as it is.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time

from resumption.errors import Error, UsageError
from resumption.streams.face import Face
from resumption.streams.pump import SEND_CHUNK, Pump, body_length
from resumption.streams.sockets import TimedSocket
from resumption.wire.records import RECORD_HEADER_LENGTH

__all__ = ["DROP_LIMIT", "HARVEST_LIMIT", "Driver"]

#: Bytes that are read at most, without waiting, before the socket is closed: tickets may be among them.
HARVEST_LIMIT = 1 << 14

#: Bytes that are thrown away at most, without waiting, before the socket is closed.
DROP_LIMIT = 1 << 20

_ASIDE = 1 << 12  # a writable socket takes this much without waiting


class Driver(Face):
    """Moves bytes between ``sock`` and ``pump``. Deadlines are points of `time.monotonic`, None means no limit."""

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

    def __init__(self, sock: TimedSocket, pump: Pump) -> None:
        super().__init__(pump.connection)
        self._socket = sock
        self._pump = pump
        self._engine = threading.Lock()
        self._shaking_hands = threading.Lock()
        self._reading = threading.Lock()
        self._sending = threading.Lock()
        self._ready = False  # the handshake is complete, and nothing of it is held back
        self._unsent: bytes | memoryview = b""  # sealed, and not yet in the socket
        self._owed = False  # a reader left something to be sent
        self._interrupted: tuple[int, bytes] | None = None  # where the chunk began whose records are `_unsent`, and it
        self.bytes_sent = 0  # application data that was sealed

    def _handshake(self, deadline: float | None, until_early_data: bool = False) -> None:
        """Complete the handshake, or wait until another thread has. Nobody else reads before that.

        With ``until_early_data`` it goes on no further once early data waits to be taken.
        """
        pump = self._pump
        with self._shaking_hands:
            self._check_open()
            try:
                while not (self._ready or (pump.is_complete and pump.receipts)):
                    self._run_errands()
                    if pump.failure is not None:
                        self._send_aside()
                        pump.check()
                    if pump.has_only_tickets:
                        if not pump.receipts:
                            self._send_aside()  # if the client has left already, that is no failure of the handshake
                    else:
                        with self._sending:
                            self._send_queued(deadline, "handshake")
                    if pump.is_complete:
                        self._ready = not pump.receipts
                    elif until_early_data and pump.early_buffered:
                        return
                    else:
                        self._receive(deadline, "handshake")
            finally:
                if deadline is not None and not self._closed:
                    self._socket.restore()

    def _settle(self) -> None:
        """Wait until the sessions of a handshake are where others find them, for moments at most.

        Only who has nothing else to do waits: a writer, whose data may send the client away to come back elsewhere, and
        a reader for whom nothing has come. What was held back leaves with what is sent next.
        """
        with self._shaking_hands:
            receipts = self._pump.receipts
            while receipts:
                receipts.pop().wait()
            self._ready = True

    # --- reading -----------------------------------------------------------------------------------------------------

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
            if not self._ready and not self._socket.is_readable():
                self._settle()
                self._send_aside()
            before = pump.buffered
            self._receive(deadline)
            if pump.buffered == before and pump.is_between_records:
                self._run_errands()  # a record that was no data: it may have changed anything
                self._send_aside()
        return True

    def _receive(self, deadline: float | None, operation: str = "read") -> None:
        """The record that comes, or the piece of it that is there, into the engine: one call of it for both parts."""
        receive, needed, header = self._socket.receive, self._pump.connection.bytes_needed, b""
        try:
            data = header = receive(needed, deadline, operation)
            if needed == RECORD_HEADER_LENGTH and (length := body_length(header)):
                data = header + receive(length, deadline, operation)
        except BaseException as error:
            if isinstance(error, OSError):
                self._check_open()
            if header:
                self._feed(header)
            raise
        self._feed(data)

    def _feed(self, data: bytes) -> None:
        with self._engine:
            self._check_open()
            self._pump.feed(data)

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

    def _begin_writing(self) -> float | None:
        self._check_open()
        deadline = self._socket.deadline()
        if not self._ready:
            self._handshake(deadline)
            self._settle()
        return deadline

    def _send_early(self, view: bytes | memoryview) -> int:
        """Send ``view`` before the handshake is complete, if that may be done; the bytes that are on their way then."""
        deadline, connection = self._socket.deadline(), self._connection
        with self._sending:
            with self._engine:
                self._check_open()
                if connection.is_server:
                    connection.send_data(view)
                    sent = len(view)
                else:
                    sent = connection.send_early_data(view)
                output = self._pump.take_output()
                self._unsent = b"".join((self._unsent, output)) if self._unsent else output
            self._drain(deadline, "handshake")
        self._settle_debt()
        return sent

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
        if self._unsent:
            self._drain(deadline)
        with self._engine:
            self._check_open()
            pump.connection.send_data(chunk)
            self._unsent = pump.take_output()
        self.bytes_sent += len(chunk)
        try:
            self._drain(deadline)
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
        """Send what was sealed, then what the engine has queued."""
        self._drain(deadline, operation)
        with self._engine:
            self._unsent = self._pump.take_output()
        self._drain(deadline, operation)

    def _drain(self, deadline: float | None, operation: str = "write") -> None:
        """Send what was sealed."""
        while self._unsent:
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

    # --- the end -----------------------------------------------------------------------------------------------------

    def _close(self, harvest: bool, wait_s: float) -> None:
        with self._engine:
            if self._closed:
                return
            self._closed = True
        sock, locks = self._socket.sock, (self._shaking_hands, self._reading, self._sending)
        free = [lock for lock in locks if lock.acquire(blocking=False)]
        try:
            if self._sending in free and (self._pump.is_complete or self._pump.failure is not None):
                if wait_s and self._shaking_hands in free:
                    for receipt in self._pump.receipts:
                        receipt.wait()
                self._say_goodbye(wait_s)
            if self._reading in free:
                failed = self._pump.failure is not None
                if self._pump.is_complete and harvest and not failed and not self._connection.is_server:
                    self._read_what_is_there()
                elif self._pump.is_complete or failed:
                    self._drop_what_is_there()
            if len(free) < len(locks):
                with contextlib.suppress(OSError):  # the other end is gone already
                    sock.shutdown(socket.SHUT_RDWR)  # wakes the threads that wait in it
        finally:
            sock.close()
            self._release()
            for lock in free:
                lock.release()

    def _say_goodbye(self, wait_s: float) -> None:
        """close_notify, and FIN behind it: so that bytes which the peer sent and nobody reads do not drop ours."""
        with self._engine:
            self._connection.close()
        with contextlib.suppress(Error, OSError):  # the other end is gone, or does not listen
            if not wait_s:
                self._socket.settimeout(0.0)
            self._send_queued(time.monotonic() + wait_s if wait_s else None)
            self._socket.sock.shutdown(socket.SHUT_WR)

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

    def _drop_what_is_there(self) -> None:
        """Empty the socket, as far as the limit goes: closing it with bytes unread would reset the connection, and that
        can destroy what was sent last, be it the end of an answer or an alert."""
        left = DROP_LIMIT
        with contextlib.suppress(OSError):
            while left > 0 and (data := self._socket.receive_now(HARVEST_LIMIT)):
                left -= len(data)

    def _release(self) -> None:
        with self._engine:
            self._pump.release()

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("the stream is closed")
