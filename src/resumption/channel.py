"""Records in both directions: framing, keys, flights and closing alerts of one connection.

The lower half of `resumption.connection.Connection`. It knows which key is in force and where records and messages
begin and end, but nothing of states, sessions or events. Handshake messages that are sent collect in a flight and
share records until the key changes or the bytes are taken.
"""

from __future__ import annotations

from resumption.constants import (
    MAX_CIPHERTEXT_LENGTH_12,
    MAX_CIPHERTEXT_LENGTH_13,
    MAX_PLAINTEXT_LENGTH,
    AlertDescription,
    AlertLevel,
    ContentType,
)
from resumption.crypto.padding import PaddedSealer13, PaddingPolicy
from resumption.crypto.protection import (
    PlainOpener,
    PlainSealer,
    RecordOpener,
    RecordOpener12,
    RecordOpener13,
    RecordSealer,
    RecordSealer13,
)
from resumption.errors import BadRecordMac, TooManyMessages, UnexpectedMessage
from resumption.wire.records import HandshakeBuffer, RecordReader

__all__ = ["SKIPPED", "Channel"]

_ALERT = int(ContentType.alert)
_HANDSHAKE = int(ContentType.handshake)
_APPLICATION_DATA = int(ContentType.application_data)
SKIPPED = -1  # in place of a content type: there is nothing to do
_CHANGE_CIPHER_SPEC_RECORD = b"\x14\x03\x03\x00\x01\x01"
_CLOSING = (AlertDescription.close_notify, AlertDescription.user_canceled)
_Data = bytes | bytearray | memoryview
_PLAIN_OPENER = PlainOpener()  # they hold nothing of a connection: 0.5 us less for each than a pair of its own
_PLAIN_SEALER = PlainSealer()
_FIRST_SEALER = PlainSealer(0x0301)

# The two bytes of each alert that ends a direction. RFC 9846, section 6.
_ALERTS = {
    description: bytes([AlertLevel.warning if description in _CLOSING else AlertLevel.fatal, description])
    for description in AlertDescription
}


class HandshakeOnly:
    """An opener of records that lets everything pass but application data. RFC 9846, section 4.7.2."""

    __slots__ = ("inner",)

    def __init__(self, inner: RecordOpener) -> None:
        self.inner = inner

    @property
    def remaining(self) -> int:
        """As ``inner`` has it."""
        return self.inner.remaining

    def open(self, header: _Data, body: _Data) -> tuple[int, bytes]:
        """As ``inner`` does."""
        content_type, content = self.inner.open(header, body)
        if content_type == _APPLICATION_DATA:
            raise UnexpectedMessage("application data came between the messages of a client's authentication")
        return content_type, content


class Channel:
    """Both directions of a connection below its handshake. Not safe for concurrent calls."""

    __slots__ = (
        "_flight",
        "_fragment_length",
        "_handshake",
        "_idle",
        "_idle_limit",
        "_opener",
        "_out",
        "_padding",
        "_reader",
        "_receive_length",
        "_renegotiations",
        "_sealer",
        "_sent_close",
        "_skippable",
        "_unsettled",
        "_update_asked",
        "_warnings",
    )

    def __init__(self, max_message_length: int, idle_limit: int, padding: PaddingPolicy | None = None) -> None:
        self._reader = RecordReader()
        self._handshake = HandshakeBuffer(max_message_length)
        self._opener: RecordOpener = _PLAIN_OPENER
        self._sealer: RecordSealer = _PLAIN_SEALER
        self._flight: list[bytes] = []
        self._out: list[bytes] = []
        self._idle = 0
        self._idle_limit = idle_limit
        self._warnings = 0  # alerts that end nothing, so far
        self._renegotiations = 0  # attempts of the peer
        self._sent_close = False  # an alert that ends this direction was queued
        self._unsettled = False  # the peer may not have the keys in force yet: it has proved nothing
        self._skippable = 0  # bytes of refused early data that may still come
        self._update_asked = False  # the peer was asked for a KeyUpdate, and none came yet
        self._fragment_length = MAX_PLAINTEXT_LENGTH  # bytes of content in a record that is sent
        self._receive_length = MAX_PLAINTEXT_LENGTH  # and in one that is received
        self._padding = padding

    # What states ask for, as `resumption.handshake.state.Output` has it.

    def send(self, message: bytes) -> None:
        """Queue a packed handshake message; after close_notify nothing is said any more. RFC 9846, section 6.1."""
        if not self._sent_close:
            self._flight.append(message)

    def send_change_cipher_spec(self) -> None:
        """Queue a change_cipher_spec record, which is never protected in TLS 1.3."""
        if self._flight:
            self._flush()
        self._out.append(_CHANGE_CIPHER_SPEC_RECORD)

    def read_with(self, opener: RecordOpener) -> None:
        """Open what follows with ``opener``. RFC 9846, section 5.1: messages must not span key changes."""
        if self._handshake.left:
            self._check_boundary()
        self._opener = opener
        if self._receive_length != MAX_PLAINTEXT_LENGTH:
            self._limit_opener(opener)
        self._reader.limit = (
            MAX_CIPHERTEXT_LENGTH_13 if isinstance(opener, RecordOpener13) else MAX_CIPHERTEXT_LENGTH_12
        )

    def write_with(self, sealer: RecordSealer) -> None:
        """Seal what follows with ``sealer``; what was queued still goes out under the key before."""
        if self._flight:
            self._flush()
        if self._padding is not None and isinstance(sealer, RecordSealer13):
            sealer = PaddedSealer13(sealer, self._padding, self._fragment_length)
        self._sealer = sealer

    def limit_records(self, send: int, receive: int, unprotected: bool) -> None:
        """Send records of at most ``send`` bytes of content, and refuse those with more than ``receive``, from now on.

        Without ``unprotected`` that holds for what comes under a key. RFC 8449, section 4; RFC 6066, section 4.
        """
        if self._flight:
            self._flush()
        self._fragment_length = send
        self._receive_length = receive
        if isinstance(self._sealer, PaddedSealer13):
            self._sealer.room = send
        if not isinstance(self._opener, PlainOpener):
            self._limit_opener(self._opener)
        elif unprotected:
            self._opener = PlainOpener(receive)

    def _limit_opener(self, opener: RecordOpener) -> None:
        if isinstance(opener, RecordOpener13):
            opener.inner_limit = self._receive_length + 1  # with the content type, and whatever padding there is
        elif isinstance(opener, RecordOpener12):
            opener.inner_limit = self._receive_length

    def skip_early_data(self, limit: int) -> None:
        """Pass over at most ``limit`` bytes of records that do not open, until one does. RFC 9846, section 4.3.10."""
        self._skippable = limit
        self._unsettled = True

    def update_read_key(self) -> None:
        """Step the reading key. RFC 9846, section 7.2."""
        self._check_boundary()
        self._update_asked = False
        if isinstance(self._opener, RecordOpener13):
            self._opener.key_update()

    def update_write_key(self) -> None:
        """Step the writing key. RFC 9846, section 7.2."""
        if self._flight:
            self._flush()
        if isinstance(self._sealer, RecordSealer13):
            self._sealer.key_update()

    def read_secret(self) -> bytes:
        """The traffic secret under which the peer's records are opened now."""
        opener = self._opener.inner if isinstance(self._opener, HandshakeOnly) else self._opener
        assert isinstance(opener, RecordOpener13)
        return opener.secret

    def write_secret(self) -> bytes:
        """The traffic secret under which records are sealed now."""
        assert isinstance(self._sealer, RecordSealer13)
        return self._sealer.secret

    def expect_only_handshake(self, only: bool) -> None:
        """Refuse application data until told otherwise. Costs nothing while it is not asked for."""
        if isinstance(self._opener, HandshakeOnly):
            self._opener = self._opener.inner
        if only:
            self._opener = HandshakeOnly(self._opener)

    # What the connection itself uses.

    def _open_unsettled(self, content_type: int, header: bytes, body: bytes) -> tuple[int, bytes]:
        """Open a record of a client that has not proved yet that it has our keys."""
        if content_type == _ALERT:
            return _PLAIN_OPENER.open(header, body)  # without them it cannot be protected
        try:
            opened = self._opener.open(header, body)
        except (BadRecordMac, UnexpectedMessage):
            if content_type != _APPLICATION_DATA or not 0 < len(body) <= self._skippable:
                raise
            self._skippable -= len(body)  # early data that was refused
            return SKIPPED, b""
        self._unsettled = False
        self._skippable = 0
        return opened

    def _take_output(self) -> bytes:
        """Everything queued, once."""
        if self._flight:
            self._flush()
        out, self._out = self._out, []
        return out[0] if len(out) == 1 else b"".join(out)

    def _flush(self) -> None:
        """Put the queued handshake messages into as few records as they fit in."""
        flight = self._flight
        data = flight[0] if len(flight) == 1 else b"".join(flight)
        flight.clear()
        if len(data) <= self._fragment_length:
            self._out.append(self._sealer.seal(_HANDSHAKE, data))
        else:
            self._out.append(self._sealer.seal_many(_HANDSHAKE, data, self._fragment_length))

    def _expect_first(self) -> None:
        """A client's first hello comes now: the version of its record is 3.1. RFC 9846, section 5.1."""
        self._sealer = _FIRST_SEALER

    def _flush_first(self) -> None:
        """Put the first hello into its record, unless early data has already come behind it."""
        if self._sealer is _FIRST_SEALER:
            self._flush()
            self._sealer = _PLAIN_SEALER

    def _send_alert(self, description: AlertDescription) -> None:
        """Queue one alert as the last thing that this direction says. RFC 9846, section 6."""
        if self._sent_close:
            return
        if self._flight:
            self._flush()
        self._out.append(self._sealer.seal(_ALERT, _ALERTS[description]))
        self._sent_close = True

    def _send_warning(self, description: AlertDescription) -> None:
        """Queue a warning alert, which ends nothing. Only TLS 1.2 has those. RFC 5246, section 7.2."""
        if self._sent_close:
            return
        if self._flight:
            self._flush()
        self._out.append(self._sealer.seal(_ALERT, bytes([AlertLevel.warning, description])))

    def _forget_keys(self) -> None:
        """Let go of the keys of a failed connection, and of what was to be sent under them. RFC 9846, section 6."""
        self._flight.clear()
        self._opener = _PLAIN_OPENER
        self._sealer = _PLAIN_SEALER
        self._sent_close = True

    def _check_boundary(self) -> None:
        if self._handshake.left:
            raise UnexpectedMessage("handshake messages go on behind one that changes the key")

    def _count_idle(self, what: str) -> None:
        """Count a record that brings nothing: harmless, but not in any number."""
        self._idle += 1
        if self._idle > self._idle_limit:
            raise TooManyMessages(f"the peer sent more than {self._idle_limit} {what} in a row")
