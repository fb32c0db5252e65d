"""What a connection tells its driver, and what it asks.

Events are values: nothing happens when one is ignored, except for a `Question`, which holds the handshake up until it
is answered. Each kind of question is one class that knows the type of its answer, who may give it at once, how to fetch
it from outside, and what is safe to assume when nobody can tell: the engine and the drivers treat all kinds alike.

Sessions inside events are borrowed from the connection, as ``SSL_get0_session`` lends them: take one with
``session.up_ref()`` to keep it beyond the next call into the connection.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar, Final, Generic, Literal, Protocol, TypeAlias, TypeVar, cast

from resumption.crypto.certificates import CertifiedKey
from resumption.crypto.signatures import verify
from resumption.errors import InternalError, PeerError, UsageError
from resumption.session.early import EarlyReason
from resumption.session.fleet.replay import ReplayRegister, SpentTickets
from resumption.session.model import Holder, Session
from resumption.session.verdicts import Mechanism, Reason, Resumption

__all__ = [
    "PENDING",
    "AnswersAtOnce",
    "AnswersOutside",
    "DataReceived",
    "EarlyDataReceived",
    "EarlyDataRejected",
    "Event",
    "Failed",
    "HandshakeCompleted",
    "HelloRetried",
    "HostChosen",
    "KeysUpdated",
    "NeedAdmission",
    "NeedSession",
    "NeedSignature",
    "NeedSpending",
    "PeerAuthenticated",
    "PeerClosed",
    "Pending",
    "Question",
    "SessionIssued",
]


A = TypeVar("A")


class Event:
    """Base of all events."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class HandshakeCompleted(Event):
    """The handshake is complete: application data may flow both ways, and the peer is who it says it is."""

    resumption: Resumption


@dataclass(frozen=True, slots=True, eq=False)
class HostChosen(Event):
    """A server's hello goes to a virtual host: ``context`` (a `ServerContext`) serves the connection from here on."""

    context: Any


@dataclass(frozen=True, slots=True)
class HelloRetried(Event):
    """A HelloRetryRequest was sent (server) or came (client): one more round trip. RFC 9846, section 4.2.4.

    ``group`` is the key exchange group that it asks for, or None. With a ``cookie`` a server may forget this connection
    and take the second hello on a new one, here or in another process that has the same `CookieKeys`.
    """

    group: int | None
    cookie: bool


@dataclass(frozen=True, slots=True)
class SessionIssued(Event):
    """A session became available: a ticket arrived (client) or was made (server). ``session`` is borrowed."""

    session: Session


@dataclass(slots=True)
class DataReceived(Event):
    """Application data, in order. ``data`` is never empty."""

    data: bytes


@dataclass(slots=True)
class EarlyDataReceived(Event):
    """Server: early data, in order. ``data`` is never empty.

    Until the handshake is complete nothing proves that whoever sent it is there now, or that it does not go to other
    servers too: act on it only where doing so twice does no harm. RFC 9846, section 8; RFC 8470.
    """

    data: bytes


@dataclass(frozen=True, slots=True)
class EarlyDataRejected(Event):
    """Client: the server did not take the early data. ``size`` bytes were sent in vain; nothing sends them again."""

    size: int
    reason: EarlyReason


@dataclass(frozen=True, slots=True)
class KeysUpdated(Event):
    """The peer changed its sending keys. RFC 9846, section 4.7.3."""


@dataclass(frozen=True, slots=True)
class PeerAuthenticated(Event):
    """A client answered a request that came after the handshake: ``chain`` (DER, leaf first) is its verified
    certificate, empty if it would show none. RFC 9846, section 4.7.2."""

    chain: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class PeerClosed(Event):
    """The peer sent close_notify: it will send nothing more, and nothing was cut off. RFC 9846, section 6.1."""


class _Pending(Enum):
    PENDING = "pending"


PENDING: Final = _Pending.PENDING
Pending: TypeAlias = Literal[_Pending.PENDING]
"""In place of an answer: it is not known here, and the driver has to fetch it."""


@dataclass(frozen=True, slots=True)
class Failed:
    """In place of an answer: there is none to be had. ``error`` is why; None if there was nobody to ask."""

    error: Exception | None = None


class Holds(Protocol):
    """Whoever a question belongs to: a connection."""

    holder: Holder


class AnswersAtOnce(Protocol):
    """What a context answers from inside the engine. `resumption.ownership.Host` is all of it."""

    def find_session(self, connection: Any, question: NeedSession) -> Session | None:
        """The session that ``question`` names, with a reference held by ``connection.holder``; None if not known."""

    def must_ask_outside(self, connection: Any) -> bool:
        """Whether a session that `find_session` does not know may be known outside."""


class AnswersOutside(Protocol):
    """What may block while it answers. `resumption.streams.outside.Outside` is all of it."""

    def find_session(self, connection: Any, question: NeedSession) -> Session | None:
        """The session that ``question`` names, with a reference held by ``connection.holder``; None if not known."""


class Question(Event, Generic[A]):
    """Base of all questions, each of which holds the handshake up. ``A`` is the type of the answer.

    The context is asked first (`at_once`). If it leaves the question pending, it becomes an event: answer it by
    ``connection.answer(question, question.fetch(outside, connection))``, or in any other way, or with `Failed`.
    """

    __slots__ = ()

    needs_outside: ClassVar[bool] = True  # whether `fetch` has nobody to ask when there is no outside

    def at_once(self, host: AnswersAtOnce | None, connection: Any) -> A | Pending:
        """The context's answer, from inside the engine; it must not wait for anything."""
        return PENDING

    def fetch(self, outside: AnswersOutside | None, connection: Any) -> A:
        """The answer from outside. May block, on any thread, and raise anything, which makes the answer `Failed`."""
        raise InternalError(f"a {type(self).__name__} has nobody to ask")

    def fallback(self, error: Exception | None) -> A:
        """What is safe to go on with when there is no answer. What it raises ends the connection instead."""
        raise InternalError(f"a {type(self).__name__} was not answered") from error

    def discard(self, answer: A, connection: Holds) -> None:
        """Give back what an answer holds that came too late."""


@dataclass(frozen=True, slots=True, eq=False)
class NeedSession(Question["Session | Reason | None"]):
    """Does anyone hold the session ``key``? That is its id, which in TLS 1.3 is the ticket that the client brought. The
    answer is a `Session` whose reference passes to the connection, None, or the reason why it could not be found out.

    Only asked where the lookup may lie outside this process. Whatever is answered still has to pass the gate. A lookup
    that fails is a miss.
    """

    key: bytes
    version: int
    mechanism: Mechanism
    partition: bytes

    def at_once(self, host: AnswersAtOnce | None, connection: Any) -> Session | Pending | None:
        """From the context's own cache, or from the application's callback."""
        if host is None:
            return None
        session = host.find_session(connection, self)
        if session is None and host.must_ask_outside(connection):
            return PENDING
        return session

    def fetch(self, outside: AnswersOutside | None, connection: Any) -> Session | None:
        """From the store."""
        return outside.find_session(connection, self) if outside is not None else None

    def fallback(self, error: Exception | None) -> Session | Reason | None:
        """A miss, with its reason if there was anybody to ask."""
        return Reason.STORE_UNAVAILABLE if error is not None else None

    def discard(self, answer: Session | Reason | None, connection: Holds) -> None:
        """Its reference is the connection's."""
        if isinstance(answer, Session):
            answer.release(connection.holder)


@dataclass(frozen=True, slots=True, eq=False)
class NeedAdmission(Question["EarlyReason | None"]):
    """Is a hello that brings early data new? The answer is None if it is, or the reason to refuse the early data.

    Only a register of replays with a store is asked outside. No answer refuses: early data fails closed.
    """

    needs_outside: ClassVar[bool] = False

    register: ReplayRegister
    key: bytes
    now: float

    def at_once(self, host: AnswersAtOnce | None, connection: Any) -> EarlyReason | Pending | None:
        """A register in memory answers in the same call."""
        return PENDING if self.register.is_shared else self.register.admit(self.key, self.now)

    def fetch(self, outside: AnswersOutside | None, connection: Any) -> EarlyReason | None:
        """From the store."""
        return self.register.admit(self.key, self.now)

    def fallback(self, error: Exception | None) -> EarlyReason | None:
        """A refusal."""
        return EarlyReason.REGISTER_UNAVAILABLE


@dataclass(frozen=True, slots=True, eq=False)
class NeedSpending(Question["Reason | None"]):
    """May this stateless ticket be used, once and now? The answer is None, or the reason to decline its session."""

    needs_outside: ClassVar[bool] = False

    tickets: SpentTickets
    key: bytes
    issued_at: float
    expires_at: float

    def at_once(self, host: AnswersAtOnce | None, connection: Any) -> Reason | Pending | None:
        """A store in memory answers in the same call."""
        return self._spent() if self.tickets.is_local else PENDING

    def _spent(self) -> Reason | None:
        return self.tickets.spend(self.key, self.issued_at, self.expires_at)

    def fetch(self, outside: AnswersOutside | None, connection: Any) -> Reason | None:
        """From the store."""
        return self._spent()

    def fallback(self, error: Exception | None) -> Reason | None:
        """As for a store that does not answer."""
        return self.tickets.when_unsure


@dataclass(frozen=True, slots=True, eq=False)
class NeedSignature(Question[bytes]):
    """What does the holder of ``key``'s private key sign ``content`` with, under the signature scheme ``scheme``?

    Asked where a key is held elsewhere (`CertifiedKey.held_elsewhere`). ``content`` is the whole message to sign, not
    its digest; ``version`` is the connection's. Without an answer, or with a signature that is not the key's, the
    connection ends. RFC 9846, section 4.5.2; RFC 5246, sections 7.4.3 and 7.4.8.
    """

    needs_outside: ClassVar[bool] = False

    key: CertifiedKey
    scheme: int
    content: bytes
    version: int

    @property
    def is_awaited(self) -> bool:
        """Whether the signer is a coroutine function: `fetch_awaiting` calls it."""
        signer = self.key.signer
        if signer is None:
            return False
        return inspect.iscoroutinefunction(signer) or inspect.iscoroutinefunction(type(signer).__call__)

    def fetch(self, outside: AnswersOutside | None, connection: Any) -> bytes:
        """From the key's signer."""
        if self.is_awaited:
            raise UsageError("a signer that is a coroutine function serves asyncio streams only")
        return cast("bytes", self._ask())

    async def fetch_awaiting(self) -> bytes:
        """As `fetch`, awaited."""
        return await cast("Awaitable[bytes]", self._ask())

    def _ask(self) -> bytes | Awaitable[bytes]:
        signer = self.key.signer
        if signer is None:
            raise InternalError("a key that is here needs no signer")
        return signer(self.scheme, self.content)

    def fallback(self, error: Exception | None) -> bytes:
        """There is nothing to go on with."""
        raise InternalError("the holder of the private key gave no signature") from error

    def checked(self, signature: bytes) -> bytes:
        """``signature``, if it is one: a wrong one can tell the key, and is never sent. Raises `InternalError`."""
        key = self.key
        if not isinstance(signature, bytes):
            raise InternalError(f"a signer returns bytes, not {type(signature).__name__}")
        try:
            verify(
                key.public_key, self.scheme, self.content, signature, version=self.version, rsassa_pss=key.rsassa_pss
            )
        except PeerError:
            raise InternalError("the signature by the holder of the private key does not verify") from None
        return signature
