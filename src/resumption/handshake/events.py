"""What a connection tells its driver, and what it asks.

Events are values: nothing happens when one is ignored, except for a question (`NeedSession`), which holds the
handshake up until it is answered. Sessions inside events are borrowed from the connection, as ``SSL_get0_session``
lends them: take one with ``session.up_ref()`` to keep it beyond the next call into the connection.
"""

from __future__ import annotations

from dataclasses import dataclass

from resumption.session.model import Session
from resumption.session.verdicts import Mechanism, Resumption

__all__ = [
    "DataReceived",
    "Event",
    "HandshakeCompleted",
    "KeysUpdated",
    "NeedSession",
    "PeerClosed",
    "SessionIssued",
]


class Event:
    """Base of all events."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class HandshakeCompleted(Event):
    """The handshake is complete: application data may flow both ways, and the peer is who it says it is."""

    resumption: Resumption


@dataclass(frozen=True, slots=True)
class SessionIssued(Event):
    """A session became available: a ticket arrived (client) or was made (server). ``session`` is borrowed."""

    session: Session


@dataclass(slots=True)
class DataReceived(Event):
    """Application data, in order. ``data`` is never empty."""

    data: bytes


@dataclass(frozen=True, slots=True)
class KeysUpdated(Event):
    """The peer changed its sending keys. RFC 9846, section 4.7.3."""


@dataclass(frozen=True, slots=True)
class PeerClosed(Event):
    """The peer sent close_notify: it will send nothing more, and nothing was cut off. RFC 9846, section 6.1."""


@dataclass(frozen=True, slots=True, eq=False)
class NeedSession(Event):
    """A question: does anyone hold the session ``session_id``? Answer with ``connection.answer(question, session)``.

    Only asked where the lookup may lie outside this process. The answer is a `Session` whose reference passes to the
    connection, or None. Whatever is answered still has to pass the gate.
    """

    session_id: bytes
    version: int
    mechanism: Mechanism
    partition: bytes
