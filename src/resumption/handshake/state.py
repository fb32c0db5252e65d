"""What a handshake state is: it declares the messages it accepts, and each handler returns the next state.

A state holds exactly what is known at its point of the handshake, and never the connection. What it wants done goes
out through `Output`. A message that the state does not declare is one `UnexpectedMessage`, raised here and nowhere
else. The return annotations of the handlers are the transitions: ``docs/states.md`` is drawn from them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from resumption.constants import HandshakeType, name_of
from resumption.errors import UnexpectedMessage, UsageError

if TYPE_CHECKING:
    from resumption.config import ServerConfig
    from resumption.constants import AlertDescription
    from resumption.crypto.certificates import CertifiedKey
    from resumption.crypto.hashes import HashFacts
    from resumption.crypto.protection import RecordOpener, RecordSealer
    from resumption.handshake.credentials import RequestedCertificate
    from resumption.handshake.early13 import EarlyFlow
    from resumption.handshake.events import Event, Question
    from resumption.handshake.hello import ClientHelloFacts
    from resumption.session.early import EarlyData
    from resumption.session.model import Holder, Session, SessionData
    from resumption.session.verdicts import Reason, Resumption

__all__ = ["AwaitingAnswer", "Handshaking13", "Output", "State", "Transcript", "on"]

_MESSAGE_HASH = bytes([HandshakeType.message_hash, 0, 0])


class Output(Protocol):
    """What a state may ask of the connection that drives it."""

    holder: Holder
    peer_address: bytes  # what cookies are bound to; empty where the driver gave none
    ticket_renewal: bool | None  # whether the application wants a new ticket; None: it has not said so, the rules apply

    def send(self, message: bytes) -> None:
        """Queue one packed handshake message; a flight shares records until the key changes."""

    def send_change_cipher_spec(self) -> None:
        """Queue a change_cipher_spec record, unprotected in TLS 1.3."""

    def read_with(self, opener: RecordOpener) -> None:
        """Open what follows with ``opener``. Refused while part of a handshake message is buffered."""

    def write_with(self, sealer: RecordSealer) -> None:
        """Seal what follows with ``sealer``; what was queued goes out under the old key."""

    def limit_records(self, send: int, receive: int, unprotected: bool) -> None:
        """Send and accept records of at most so many bytes of content; without ``unprotected``, only protected ones
        are refused."""

    def skip_early_data(self, limit: int) -> None:
        """Pass over the records of early data that was refused: those that do not open, until one does. At most
        ``limit`` bytes of them."""

    def early_data_is(self, early: EarlyData | EarlyFlow) -> None:
        """Early data is in play, or it is known what became of it."""

    def update_read_key(self) -> None:
        """Step the reading key: the peer sent KeyUpdate."""

    def update_write_key(self) -> None:
        """Step the writing key: KeyUpdate was just queued."""

    def choose_host(self, hello: ClientHelloFacts) -> ServerConfig:
        """Let the context choose the virtual host that serves ``hello``, and return that one's settings."""

    def choose_certificate(self, wanted: RequestedCertificate) -> CertifiedKey | None:
        """The client's certificate that answers ``wanted``; None for none."""

    def read_secret(self) -> bytes:
        """The traffic secret under which the peer's records are opened now. TLS 1.3 only."""

    def write_secret(self) -> bytes:
        """The traffic secret under which records are sealed now. TLS 1.3 only."""

    def expect_only_handshake(self, only: bool) -> None:
        """Whether application data would now stand in the middle of messages that belong together."""

    def show(self, ocsp_response: bytes | None, scts: tuple[bytes, ...]) -> None:
        """What the server showed beside its certificate: for the application to look at."""

    def authenticated(self, data: SessionData) -> None:
        """The peer proved after the handshake who it is: ``data`` are the facts of the connection from now on."""

    def emit(self, event: Event) -> None:
        """Tell the driver."""

    def ask(self, question: Question[Any]) -> None:
        """Ask for something that lies outside; the state becomes one that awaits the answer."""

    def issue(self, data: SessionData, secret: bytes) -> Session:
        """Make a new session the connection's own and offer it to the context. The session is borrowed."""

    def new_session_id(self, version: int) -> bytes:
        """An id for a new session; empty where sessions are not kept."""

    def allows_resumption(self) -> bool:
        """Whether the session of this full TLS 1.2 handshake may be resumed: the application's last word."""

    def consume(self, session: Session) -> bool:
        """Spend a single-use session, atomically: False if another connection was first."""

    def hold(self, session: Session) -> None:
        """``session`` is to resume this connection: the reference that ``holder`` holds is the connection's from now
        on, however the handshake ends."""

    def resume(self, session: Session) -> None:
        """``session``, which the connection holds, resumes it: the handshake succeeded."""

    def decline(self, session: Session, reason: Reason) -> None:
        """The gate refused ``session``: give back the reference that ``holder`` holds."""

    def warn(self, description: AlertDescription) -> None:
        """Queue a warning alert; the connection goes on. TLS 1.2 only."""

    def count_renegotiation(self) -> None:
        """The peer asked for a renegotiation: harmless, but not in any number."""

    def log_secret(self, label: str, client_random: bytes, secret: bytes) -> None:
        """Write a secret to the key log. Only called where ``config.log_secrets`` is on."""

    def complete(self, resumption: Resumption, data: SessionData) -> None:
        """The handshake is done: ``data`` are the facts of this connection (also when it was resumed)."""


A = TypeVar("A")
S = TypeVar("S", bound="State")
Handler = Callable[[Any, Any, bytes, Output], "State"]


def on(message: type[Any]) -> Callable[[Handler], Handler]:
    """Declare a method as the handler of ``message``: ``(self, message, raw, out) -> next state``."""

    def mark(handler: Handler) -> Handler:
        handler._handles = message  # type: ignore[attr-defined]
        return handler

    return mark


class State:
    """One point of a handshake. Subclasses are `frozen`; their handlers are marked with `on`."""

    __slots__ = ()

    handlers: ClassVar[dict[int, tuple[Callable[[bytes], Any], Handler]]] = {}
    handshaking: ClassVar[bool] = True  # False once application data may flow
    is_tls13: ClassVar[bool] = False  # True once nothing but TLS 1.3 can come of it

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        handlers = dict(cls.handlers)
        for attribute in vars(cls).values():
            message = getattr(attribute, "_handles", None)
            if message is not None:
                handlers[message.msg_type] = (message.parse, attribute)
        cls.handlers = handlers

    def receive(self, raw: bytes, out: Output) -> State:
        """Handle one whole handshake message, header included, and return the next state."""
        handler = self.handlers.get(raw[0])
        if handler is None:
            raise UnexpectedMessage(
                f"{name_of(HandshakeType, raw[0])} came while {type(self).__name__} awaited {self.awaited()}"
            )
        parse, method = handler
        return method(self, parse(raw[4:]), raw, out)

    def export(self, label: bytes, context: bytes | None, length: int) -> bytes:
        """Exported keying material of an established connection. RFC 9846, section 7.5; RFC 5705."""
        raise UsageError("keying material can be exported once the handshake is complete")

    def change_cipher_spec(self, out: Output) -> State:
        """Handle a change_cipher_spec record. TLS 1.3 states ignore one while they handshake."""
        raise UnexpectedMessage(f"change_cipher_spec came while {type(self).__name__} awaited {self.awaited()}")

    @classmethod
    def awaited(cls) -> str:
        """The messages this state accepts, for error texts."""
        return " or ".join(name_of(HandshakeType, number) for number in cls.handlers) or "an answer from its driver"


class Handshaking13(State):
    """A state of a TLS 1.3 handshake: the peer's compatibility change_cipher_spec is ignored. RFC 9846, section 5."""

    __slots__ = ()

    is_tls13: ClassVar[bool] = True

    def change_cipher_spec(self, out: Output) -> State:
        """Ignored."""
        return self


class AwaitingAnswer(State, Generic[A]):
    """A state that waits for the answer to a ``Question[A]`` that it asked: no message may come meanwhile."""

    __slots__ = ()

    def on_answer(self, answer: A, out: Output) -> State:
        """Go on. What ``answer`` holds (a reference of ``out.holder``) is the state's to keep or to give back."""
        raise UnexpectedMessage(f"{type(self).__name__} cannot be answered")


class Transcript:
    """The running hash of the handshake messages. RFC 9846, section 4.4.1."""

    __slots__ = ("_hash",)

    def __init__(self, facts: HashFacts, *messages: bytes) -> None:
        self._hash = facts.new(b"".join(messages))

    def add(self, raw: bytes) -> None:
        """Take in one whole message."""
        self._hash.update(raw)

    def forked(self, raw: bytes) -> Transcript:
        """A transcript of its own: this one, and then ``raw``."""
        fork = Transcript.__new__(Transcript)
        fork._hash = self._hash.copy()
        fork._hash.update(raw)
        return fork

    def digest(self) -> bytes:
        """The hash of everything so far."""
        return self._hash.digest()

    def digest_with(self, raw: bytes) -> bytes:
        """The hash as it would be with ``raw`` added: for binders over a truncated ClientHello."""
        forked = self._hash.copy()
        forked.update(raw)
        return forked.digest()

    @classmethod
    def after_retry(cls, facts: HashFacts, client_hello: bytes, retry: bytes) -> Transcript:
        """The transcript that a HelloRetryRequest restarts: message_hash, then the request itself."""
        return cls.after_retry_hash(facts, facts.new(client_hello).digest(), retry)

    @classmethod
    def after_retry_hash(cls, facts: HashFacts, hello_hash: bytes, retry: bytes) -> Transcript:
        """The same, where no more is left of the first hello than its hash."""
        return cls(facts, _MESSAGE_HASH, bytes([len(hello_hash)]), hello_hash, retry)
