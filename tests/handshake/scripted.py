"""Peers that say whatever a test wants, at any moment, under the right keys.

A `Peer` talks to one `Connection`, the subject. It has a transcript, record keys and a vocabulary of handshake
messages; nothing in it refuses anything, and each message can be changed before it is said. `scripted13` and
`scripted12` have the peers of each version and role. They are a second, independent implementation of the handshake
over the same wire and crypto rooms: its states share no code with `resumption.handshake`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

import pytest

from resumption.connection import Connection
from resumption.constants import MAX_CIPHERTEXT_LENGTH_12, AlertDescription, AlertLevel
from resumption.crypto.groups import KeyShare, generate
from resumption.crypto.protection import PlainOpener, PlainSealer, RecordOpener, RecordOpener13, RecordSealer
from resumption.errors import ConnectionFailed, Error, PeerError
from resumption.handshake.events import Event
from resumption.wire.messages import Message
from resumption.wire.records import HandshakeBuffer, RecordReader
from tests.handshake.pairs import feed
from tests.handshake.samples import ALERT, CCS, DATA, HANDSHAKE, message, record

Lie = Callable[[bytes], bytes]  # what is said instead of a message: from the whole of it, header and all


class Peer:
    """What all scripted peers share. ``error`` is what the subject raised at last, ``events`` all that it told."""

    def __init__(self, subject: Connection) -> None:
        self.subject = subject
        self.events: list[Event] = []
        self.error: Error | None = None
        self.spoken: list[bytes] = []  # the transcript: messages of both sides
        self.alerts: list[bytes] = []
        self.data = b""
        self.changes = 0  # change_cipher_spec records that came
        self.sealer: RecordSealer = PlainSealer()
        self.opener: RecordOpener = PlainOpener()
        self.next_opener: RecordOpener | None = None  # TLS 1.2: what the next change_cipher_spec brings
        self.lies: dict[int, Lie] = {}  # what is said instead of a message, by its type
        self._reader = RecordReader(MAX_CIPHERTEXT_LENGTH_12)
        self._handshake = HandshakeBuffer()

    # Saying.

    def give(self, data: bytes) -> Self:
        """Hand bytes to the subject, as they are, and hear what it has to say."""
        if self.subject.error is None:
            events, self.error = feed(self.subject, data)
            self.events += events
        return self.listen()

    def listen(self) -> Self:
        """Take what the subject wants to send."""
        self._reader.feed(self.subject.data_to_send())
        return self

    def seal(self, *messages: bytes) -> bytes:
        """Records of these handshake messages under the current key; the transcript takes them in."""
        self.spoken += messages
        return self.records_of(*messages)

    def records_of(self, *messages: bytes, behind: bytes = b"") -> bytes:
        """Records of these messages, or of what is said instead, and of ``behind``. The transcript is left alone."""
        said = (self.lies[raw[0]](raw) if raw[0] in self.lies else raw for raw in messages)
        return self.sealer.seal_many(HANDSHAKE, b"".join((*said, behind)))

    def say(self, *messages: bytes | Message) -> Self:
        """Send handshake messages in one record."""
        return self.give(self.seal(*(raw if isinstance(raw, bytes) else raw.pack() for raw in messages)))

    def say_record(self, content_type: int, content: bytes) -> Self:
        """Send one record under the current key; if there is none yet, even what may not be sent like that."""
        if isinstance(self.sealer, PlainSealer):
            return self.give(record(content_type, content))
        return self.give(self.sealer.seal(content_type, content))

    def say_alert(self, description: int, level: int = AlertLevel.fatal) -> Self:
        return self.say_record(ALERT, bytes((level, description)))

    def say_data(self, data: bytes) -> Self:
        return self.say_record(DATA, data)

    # Hearing.

    def take(self, kind: int | None = None) -> bytes:
        """The next handshake message of the subject, header included; it enters the transcript."""
        while (raw := self._handshake.next_message()) is None:
            assert self._step(), "the subject said nothing more"
        if kind is not None:
            assert raw[0] == kind
        self.spoken.append(raw)
        return raw

    def _step(self) -> bool:
        """Read one record. False if there is none."""
        found = self._reader.next_record()
        if found is None:
            return False
        content_type, header, body = found
        if content_type == CCS:
            assert body == b"\x01"
            self.changes += 1
            if self.next_opener is not None:
                self.opener, self.next_opener = self.next_opener, None
            return True
        if content_type == ALERT and isinstance(self.opener, RecordOpener13):
            content = body  # from a client that has no keys yet
        else:
            content_type, content = self.opener.open(header, body)
        if content_type == HANDSHAKE:
            self._handshake.feed(content)
        elif content_type == ALERT:
            self.alerts.append(content)
        else:
            self.data += content
        return True

    def drain(self) -> Self:
        """Read all records that are there. Messages stay for `take`."""
        while self._step():
            pass
        return self

    @property
    def has_message(self) -> bool:
        self.drain()
        return not self._handshake.is_empty

    # Judging.

    def refused(self, kind: type[PeerError], match: str | None = None) -> None:
        """The subject refused what it was given last: by this error, and by its alert as the last thing it said."""
        self.ended(kind, kind.alert, match)

    def ended(self, kind: type[Error], alert: int | None, match: str | None = None) -> None:
        """The subject has failed with this error and told so by this alert (None: by silence)."""
        assert isinstance(self.error, kind), repr(self.error)
        if match is not None:
            assert match in str(self.error)
        self.drain()
        if alert is None:
            assert self.alerts == []
        else:
            level = AlertLevel.warning if alert == AlertDescription.close_notify else AlertLevel.fatal
            assert self.alerts == [bytes((level, alert))], [tuple(sent) for sent in self.alerts]
        assert self.subject.error is self.error
        assert not self.subject.handshake_complete
        assert self.subject.bytes_needed == 0
        for call in (
            lambda: self.subject.receive_data(b""),
            self.subject.receive_eof,
            lambda: self.subject.send_data(b"x"),
            lambda: self.subject.export_keying_material(b"x", None, 8),
            self.subject.update_keys,
            self.subject.new_session_ticket,
        ):
            with pytest.raises(ConnectionFailed) as caught:
                call()
            assert caught.value.__cause__ is self.error
        self.subject.close()
        assert self.subject.data_to_send() == b""

    def warned(self, description: int) -> None:
        """The subject sent exactly this warning and goes on."""
        assert self.error is None, repr(self.error)
        self.drain()
        assert self.alerts.pop() == bytes((AlertLevel.warning, description))
        assert self.alerts == []

    def accepted(self) -> Self:
        """The subject has nothing to complain of."""
        assert self.error is None, repr(self.error)
        self.drain()
        assert self.alerts == []
        return self


def changed(value: Message, **changes: Any) -> Message:
    """The message with some fields replaced."""
    return replace(value, **changes)


def edited(
    extensions: dict[int, bytes],
    add: dict[int, bytes] | None = None,
    drop: tuple[int, ...] = (),
) -> dict[int, bytes]:
    """An extension block with changes; what is replaced keeps its place."""
    return {**{number: body for number, body in extensions.items() if number not in drop}, **(add or {})}


def shares_of(groups: tuple[int, ...]) -> tuple[KeyShare, ...]:
    return tuple(generate(group) for group in groups)


def with_body(raw: bytes, body: bytes) -> bytes:
    """The message with another body, and the header that belongs to it."""
    return message(raw[0], body)


def cut(at: int) -> Lie:
    """The first bytes of the body, as if that was all."""
    return lambda raw: with_body(raw, raw[4 : 4 + at])


def lengthened(raw: bytes) -> bytes:
    """A byte more than there should be."""
    return with_body(raw, raw[4:] + b"\0")


def instead(body: bytes) -> Lie:
    """Another body altogether."""
    return lambda raw: with_body(raw, body)
