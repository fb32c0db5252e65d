"""The protocol between an asyncio transport and the engine: everything that happens without anyone waiting for it.

`Link` opens records as they come, answers on the spot, and wakes whoever waits. No coroutine owns a step of the engine,
so cancelling one loses nothing and sends nothing twice. What an application sees of it is
`resumption.streams.aio.AsyncStream`.

Unlike the blocking stream it takes in whatever has come, many records at a time: asking the loop for each header and
body apart costs two turns of the loop a record. All links of a thread share one receive buffer, which loops fill and
hand over in one step; the engine copies out of it. Bytes as a plain `asyncio.Protocol` is given them, 256 KiB allocated
for each read, make reading 5 to 30 percent dearer, as the allocator pleases.

Flow control. Reading pauses when `READ_HIGH` bytes wait for the application, while a question is open, and at the end;
a writer is to wait while the transport is full, or while something is told outside that must be known before.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from concurrent.futures import Executor
from typing import Any, cast

from resumption.handshake.events import Failed
from resumption.streams.pump import Pump

__all__ = ["READ_HIGH", "Link"]

#: Bytes of application data that may wait for the application before reading pauses; it goes on at a quarter of it.
READ_HIGH = 1 << 18

#: Bytes that are taken from a socket at a time.
RECEIVE_SIZE = 1 << 18

#: Bytes that are thrown away at most before the transport is closed.
DROP_LIMIT = 1 << 20

_log = logging.getLogger("resumption.streams")


class _Buffer(threading.local):
    """The receive buffer of a thread."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(RECEIVE_SIZE))


_buffer = _Buffer()


class Link(asyncio.BufferedProtocol):
    """The protocol between a transport and a `Pump`: everything that happens without anyone waiting for it.

    ``is_ready`` says that the handshake is complete, and what belongs to it outside too; ``is_full`` that the transport
    has enough to send; ``is_cut`` that it brings nothing more; ``is_lost`` that it is gone, or given up.
    """

    __slots__ = (
        "_executor",
        "_loop",
        "_paused",
        "_settling",
        "_waiters",
        "_worker",
        "early_data",
        "is_cut",
        "is_full",
        "is_lost",
        "is_ready",
        "pump",
        "transport",
        "wanted",
    )

    def __init__(self, pump: Pump, executor: Executor | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._executor = executor
        self._paused = False  # the transport does not read
        self._waiters: list[asyncio.Future[None]] = []
        self._worker: asyncio.Task[None] | None = None
        self._settling: asyncio.Task[None] | None = None
        self.pump = pump
        self.transport: asyncio.Transport | None = None
        self.early_data: bytes | memoryview = b""  # a client's, for its first flight
        self.wanted = 0.0  # bytes that a reader waits for: reading does not pause before they are there
        self.is_ready = False
        self.is_cut = False
        self.is_full = False
        self.is_lost = False

    # --- called by the transport -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport is there: the handshake begins."""
        self.transport = cast(asyncio.Transport, transport)  # other loops have classes of their own
        try:
            if self.early_data:
                self.pump.connection.send_early_data(self.early_data)
                self.early_data = b""
            self.advance()
        except Exception as error:
            self.fail(error)  # loops only log it, and somebody waits

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to put what has come."""
        return _buffer.view

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes from the peer are in the buffer."""
        if not self.is_lost:
            self.pump.feed(_buffer.view[:nbytes])
            self.advance()

    def eof_received(self) -> bool:
        """The peer will send nothing more. The transport stays open for writing if it said so before."""
        self.is_cut = True
        if not self.is_lost:
            self.pump.feed(b"")
            self.advance()
        return self.pump.failure is None

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone."""
        self.is_lost = True
        if self.pump.failure is None:
            self.pump.failure = exc or ConnectionAbortedError("the transport was closed")
        self.wake()

    def pause_writing(self) -> None:
        """The transport has enough to send."""
        self.is_full = True

    def resume_writing(self) -> None:
        """The transport has room again."""
        self.is_full = False
        self.wake()

    # --- what follows from what happened -----------------------------------------------------------------------------

    def advance(self) -> None:
        """Do what the engine's new state asks for: run errands, send, pause or go on reading, wake."""
        pump = self.pump
        if pump.errands:
            if self._worker is None:
                self._worker = self._loop.create_task(self._run_errands())
        elif self._worker is None:
            if pump.receipts and self._settling is None:
                self._settling = self._loop.create_task(self._settle())
            if self._settling is None or not pump.has_only_tickets:
                output = pump.take_urgent_output()
                if output:
                    self.write(output)
            self.is_ready = pump.is_complete
        self.control_reading()
        self.wake()

    async def _run_errands(self) -> None:
        """Ask and tell outside, awaited or in an executor. Nothing is sent meanwhile, and nothing read."""
        pump = self.pump
        try:
            while pump.errands:
                errand = pump.errands.popleft()
                answer: Any = Failed()
                try:
                    if pump.is_awaited(errand):
                        answer = await pump.run_awaiting(errand)
                    else:
                        answer = await self._loop.run_in_executor(self._executor, pump.run, errand)
                except RuntimeError:
                    _log.warning("the executor takes no more work: a question is left without an answer")
                finally:
                    pump.settle(errand, answer)
            self._worker = None
            self.advance()
        except Exception as error:
            self.fail(error)
        finally:
            self._worker = None

    async def _settle(self) -> None:
        """Wait until the sessions of a handshake are where others find them, for moments at most. Tickets and data are
        held back meanwhile; reading goes on."""
        receipts = self.pump.receipts
        try:
            while receipts:
                await receipts.pop().wait()
        finally:
            self._settling = None
            self.advance()

    def fail(self, error: Exception) -> None:
        """Something is wrong on this side: that is the end."""
        if self.pump.failure is None:
            self.pump.failure = error
        if self.transport is not None:
            self.transport.abort()
        self.wake()

    def write(self, data: bytes) -> None:
        """Hand ``data`` to the transport, if it is still there."""
        if self.transport is not None and not self.is_lost:
            self.transport.write(data)

    def control_reading(self) -> None:
        """Pause while there is enough, while a question is open, and at the end; go on when there is room."""
        pump, transport = self.pump, self.transport
        if transport is None or self.is_lost:
            return
        enough = max(READ_HIGH // 4 if self._paused else READ_HIGH, self.wanted)
        pause = pump.buffered >= enough or self._worker is not None or pump.is_at_end
        if pause is not self._paused and not transport.is_closing():
            self._paused = pause
            if pause:
                transport.pause_reading()
            else:
                transport.resume_reading()

    @property
    def is_paused(self) -> bool:
        """Whether the transport does not read, so that bytes from the peer may wait in the socket."""
        return self._paused

    def drop_unread(self) -> None:
        """Empty the socket, if the transport has paused: closing it with bytes unread would reset the connection, and
        that can destroy what was sent last."""
        sock = self.transport.get_extra_info("socket") if self.transport is not None and self._paused else None
        if sock is None:
            return
        with contextlib.suppress(OSError), socket.fromfd(sock.fileno(), sock.family, sock.type) as copy:
            copy.setblocking(False)
            left = DROP_LIMIT
            while left > 0 and (count := copy.recv_into(_buffer.view)):
                left -= count

    # --- waiting -----------------------------------------------------------------------------------------------------

    @property
    def must_wait_to_write(self) -> bool:
        """Whether a writer has to wait: for room, or for what must be told outside before."""
        return (self.is_full or self._worker is not None or self._settling is not None) and not self.is_lost

    @property
    def is_busy(self) -> bool:
        """Whether something is being asked or told outside."""
        return self._worker is not None

    @property
    def is_settling(self) -> bool:
        """Whether tickets and data are held back until what was told is known."""
        return self._settling is not None

    async def change(self) -> None:
        """Wait until something has happened. Look again afterwards: others were woken too."""
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            if not waiter.done() or waiter.cancelled():
                with contextlib.suppress(ValueError):
                    self._waiters.remove(waiter)

    def wake(self) -> None:
        """Let all who wait look again."""
        if self._waiters:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)
