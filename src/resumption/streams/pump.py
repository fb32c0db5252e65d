"""The half of a driver that does no I/O: engine calls in, plaintext and questions out.

A `Pump` stands between one `Connection` and one stream, blocking or asyncio. It sorts events into application data
(kept until it is taken), errands (what has to be asked or told outside, in order), and the failure that ended the
connection, which is raised only after the data that came before it. It knows nothing of sockets, loops or locks: the
stream serialises the calls, and may leave the errands to another thread while the engine rests.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from typing import Any, cast

from resumption.connection import Connection
from resumption.constants import MAX_CIPHERTEXT_LENGTH_12, ContentType, ProtocolVersion
from resumption.errors import ConnectionFailed, Error, StoreError
from resumption.handshake.events import (
    DataReceived,
    EarlyDataReceived,
    Event,
    Failed,
    HandshakeCompleted,
    HostChosen,
    NeedSession,
    NeedSignature,
    Question,
    SessionIssued,
)
from resumption.streams.outside import AwaitedOutside, Outside
from resumption.wire.records import RECORD_HEADER_LENGTH

__all__ = ["SEND_CHUNK", "Errand", "Pump", "as_bytes", "body_length"]

#: Bytes of application data sealed at a time, which is what a large send holds in memory beside the caller's data.
#: Measured: 256 KiB are no faster than 64, and cost twice the page faults.
SEND_CHUNK = 1 << 16

Errand = Question[Any] | SessionIssued

_log = logging.getLogger("resumption.streams")
_TLS13 = int(ProtocolVersion.TLSv1_3)
_FIRST_TYPE = int(ContentType.change_cipher_spec)  # the four types are consecutive
_LAST_TYPE = int(ContentType.application_data)


class Pump:
    """Turns what the engine says into data to take, errands to run and bytes to send. Not safe for concurrent calls.

    ``buffered`` is the number of bytes that wait to be taken, ``early_buffered`` that of early data (a server's, until
    its handshake is complete), ``failure`` what ended the connection,
    ``errands`` what has to be done outside: take the first away, `run` it, and hand its result to `settle`.
    ``has_only_tickets`` is set when a TLS 1.3 server has completed its handshake: what it has to send by then is no
    part of that any more. With ``defer_tickets`` it waits for the first write. ``receipts`` are to be waited for before
    that is sent, and before any data is.
    """

    __slots__ = (
        "_at",
        "_chunks",
        "_defer_tickets",
        "_early",
        "_outside",
        "_reported",
        "buffered",
        "connection",
        "early_buffered",
        "errands",
        "failure",
        "has_only_tickets",
        "is_complete",
        "receipts",
    )

    def __init__(self, connection: Connection, outside: Outside | None, *, defer_tickets: bool = False) -> None:
        self.connection = connection
        self.errands: deque[Errand] = deque()
        self.receipts: list[Any] = []  # of the kind that the stream waits for
        self.buffered = 0
        self.failure: Exception | None = None
        self.is_complete = connection.handshake_complete
        self.has_only_tickets = False
        self._outside = outside
        self._defer_tickets = defer_tickets
        self._chunks: deque[bytes] = deque()
        self._early: deque[bytes] = deque()
        self.early_buffered = 0
        self._at = 0  # how much of the first chunk was taken
        self._reported = False

    # --- in ----------------------------------------------------------------------------------------------------------

    def feed(self, data: bytes | memoryview) -> None:
        """Bytes from the peer; none means the end of the stream. What goes wrong becomes `failure`."""
        connection = self.connection
        try:
            self._sort(connection.receive_data(data) if data else connection.receive_eof())
        except Error as error:
            self._fail(error)

    def collect(self) -> None:
        """Take up events of calls that were made into the connection directly."""
        try:
            self._sort(self.connection.receive_data(b""))
        except Error as error:
            self._fail(error)

    def _sort(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, DataReceived):
                data = event.data
                self._chunks.append(data)
                self.buffered += len(data)
            elif isinstance(event, SessionIssued):
                if self._outside is not None:
                    event.session.acquire(self.connection.holder)  # it is lent for this call only
                    self.errands.append(event)
            elif isinstance(event, Question):
                if self._outside is not None or not event.needs_outside:
                    self.errands.append(event)
                else:
                    self._sort(self.connection.answer(event, Failed()))
            elif isinstance(event, HostChosen):
                self._outside = event.context.outside
            elif isinstance(event, EarlyDataReceived):
                self._early.append(event.data)
                self.early_buffered += len(event.data)
            elif isinstance(event, HandshakeCompleted):
                if self._early:
                    self._confirm()
                connection = self.connection
                self.is_complete = True
                self.has_only_tickets = connection.is_server and connection.version == _TLS13

    def _confirm(self) -> None:
        """The handshake is complete: early data that nobody took is data like any other from here on."""
        self._chunks.extendleft(reversed(self._early))
        self.buffered += self.early_buffered
        self._early.clear()
        self.early_buffered = 0

    def _fail(self, error: Error) -> None:
        cause = self.connection.error
        if cause is None:
            raise error  # our caller's mistake: the connection is as it was
        self.has_only_tickets = False
        if self.failure is None:
            self.failure = cause

    @property
    def is_at_end(self) -> bool:
        """Whether nothing more will come: closed by the peer, or failed."""
        return self.failure is not None or self.connection.peer_closed

    @property
    def is_between_records(self) -> bool:
        """Whether no record is begun; so also at the end."""
        return self.failure is not None or self.connection.bytes_needed in (0, RECORD_HEADER_LENGTH)

    def check(self) -> None:
        """Raise what ended the connection: itself the first time, then `ConnectionFailed` with it as its cause."""
        failure = self.failure
        if failure is None:
            return
        if not self._reported:
            self._reported = True
            raise failure
        raise ConnectionFailed(f"the connection failed earlier: {failure}") from failure

    # --- application data --------------------------------------------------------------------------------------------

    def take(self, limit: int) -> bytes:
        """At least one and at most ``limit`` bytes, from one record; only while something is `buffered`."""
        chunks, at = self._chunks, self._at
        chunk = chunks[0]
        left = len(chunk) - at
        if left > limit:
            self._at = at + limit
            self.buffered -= limit
            return chunk[at : at + limit]
        chunks.popleft()
        self.buffered -= left
        if not at:
            return chunk
        self._at = 0
        return chunk[at:]

    def take_early(self, limit: int) -> bytes:
        """At least one and at most ``limit`` bytes of early data; only while some is `early_buffered`."""
        early = self._early
        chunk = early.popleft()
        if len(chunk) > limit:
            early.appendleft(chunk[limit:])
            chunk = chunk[:limit]
        self.early_buffered -= len(chunk)
        return chunk

    def take_all(self, limit: int) -> bytes:
        """As many of the first ``limit`` bytes as are there."""
        parts = []
        while limit and self.buffered:
            part = self.take(limit)
            limit -= len(part)
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def take_into(self, target: memoryview) -> int:
        """Fill ``target`` from the front with what is there, and return how many bytes that were."""
        at, end = 0, len(target)
        while at < end and self.buffered:
            part = self.take(end - at)
            target[at : at + len(part)] = part
            at += len(part)
        return at

    # --- errands -----------------------------------------------------------------------------------------------------

    def run(self, errand: Errand) -> Any:
        """Ask or tell outside, and return the answer. May block; does not touch the engine, so any thread may do it
        meanwhile. A question that nobody could answer has `Failed`; news may have a receipt, or nothing."""
        outside, connection = self._outside, self.connection
        try:
            if isinstance(errand, Question):
                return errand.fetch(outside, connection)
            if outside is not None:
                return outside.session_issued(connection, errand.session)
        except Exception as error:
            return _failed(errand, error)
        return None

    def is_awaited(self, errand: Errand) -> bool:
        """Whether `run_awaiting` can do it without a thread."""
        if isinstance(errand, NeedSignature):
            return errand.is_awaited
        return isinstance(errand, NeedSession | SessionIssued) and hasattr(self._outside, "find_session_awaiting")

    async def run_awaiting(self, errand: Errand) -> Any:
        """As `run`, for what `is_awaited`."""
        outside = cast("AwaitedOutside", self._outside)
        try:
            if isinstance(errand, NeedSignature):
                return await errand.fetch_awaiting()
            if isinstance(errand, NeedSession):
                return await outside.find_session_awaiting(self.connection, errand)
            if isinstance(errand, SessionIssued):
                return await outside.session_issued_awaiting(self.connection, errand.session)
            return None
        except Exception as error:
            return _failed(errand, error)

    def settle(self, errand: Errand, answer: Any) -> None:
        """An errand is done: tell the engine, which goes on with what it had set aside. Harmless after `release`."""
        if isinstance(errand, SessionIssued):
            errand.session.release(self.connection.holder)
            if answer is not None and not isinstance(answer, Failed):
                self.receipts.append(answer)
            return
        try:
            self._sort(self.connection.answer(errand, answer))
        except Error as error:
            self._fail(error)

    # --- out ---------------------------------------------------------------------------------------------------------

    def take_output(self) -> bytes:
        """Everything that the engine wants sent, once."""
        self.has_only_tickets = False
        return self.connection.data_to_send()

    def take_urgent_output(self) -> bytes:
        """What must be sent before more is read: everything, but for tickets that may wait."""
        if self.has_only_tickets and self._defer_tickets:
            return b""
        return self.take_output()

    def release(self) -> None:
        """The end: the connection gives back its sessions, and errands that nobody ran are dropped."""
        while self.errands:
            errand = self.errands.popleft()
            if isinstance(errand, SessionIssued):
                errand.session.release(self.connection.holder)
        self.connection.free()


def _failed(errand: Errand, error: Exception) -> Failed:
    """No answer. A store's troubles are counted, and told when they begin and end, where the store is kept."""
    if not isinstance(error, StoreError):
        _log.warning("what lies outside failed with %s: %s", type(error).__name__, type(errand).__name__)
    return Failed(error)


def body_length(header: bytes) -> int:
    """How many bytes follow ``header`` in its record; 0 if it is cut short or strange, for the engine to judge."""
    if len(header) == RECORD_HEADER_LENGTH and header[1] == 3 and _FIRST_TYPE <= header[0] <= _LAST_TYPE:
        length = header[3] << 8 | header[4]
        return length if length <= MAX_CIPHERTEXT_LENGTH_12 else 0
    return 0


def as_bytes(data: bytes | bytearray | memoryview, whole: int = SEND_CHUNK) -> bytes | memoryview:
    """``data`` as something that can be cut into chunks without copying; bytes up to ``whole`` stay as they are.

    Raises `TypeError` for what is no contiguous buffer.
    """
    if type(data) is bytes and len(data) <= whole:
        return data
    return memoryview(data).cast("B")
