"""What a connection holds of sessions, and whom it tells about them.

`SessionOwner` is the middle part of a connection: its one reference to its session, the references behind the events of
the current call, and what the handshake found out. Every count that ``SSL_SESSION_free`` tells of on the connection's
side changes here and nowhere else. `Host` is the context as a connection sees it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol, TypeAlias, cast

from resumption.channel import Channel
from resumption.config import ClientConfig, ServerConfig
from resumption.crypto.certificates import CertifiedKey
from resumption.crypto.suites import SUITES
from resumption.errors import Error, UsageError
from resumption.handshake.credentials import RequestedCertificate, choose_credential
from resumption.handshake.events import AnswersAtOnce, Event, HandshakeCompleted, HostChosen, SessionIssued
from resumption.handshake.hello import ClientHelloFacts
from resumption.psk_callback import KnownPsks, OfferedPsk
from resumption.session.early import EarlyData
from resumption.session.model import Holder, Session, SessionData
from resumption.session.verdicts import Reason, Resumption

__all__ = ["CredentialHost", "GenerateSessionId", "Host", "NotResumable", "SessionOwner", "VirtualHost"]

_numbers = itertools.count(1)

GenerateSessionId: TypeAlias = Callable[[Any, int], bytes]
"""Makes the id of a new session: (connection, most bytes) -> id."""
NotResumable: TypeAlias = Callable[[Any, bool], object]
"""Has a new TLS 1.2 session not resumed if it returns something true: (connection, is forward secure)."""


class Host(AnswersAtOnce, Protocol):
    """Who made the connection: a context. Called from inside the engine, on the thread that drives it."""

    def new_session_id(self, connection: SessionOwner, version: int) -> bytes:
        """An id for a new session; empty where sessions are not kept."""

    def has_session_id(self, connection: SessionOwner, session_id: bytes) -> bool:
        """Whether a session with this id is in the cache."""

    def allows_resumption(self, connection: SessionOwner) -> bool:
        """Whether the session of this full TLS 1.2 handshake may be resumed later."""

    def consume(self, connection: SessionOwner, session: Session) -> bool:
        """Spend a single-use session; False if another connection was first."""

    def session_issued(self, connection: SessionOwner, session: Session) -> None:
        """``session`` (borrowed) became available."""

    def session_resumed(self, connection: SessionOwner, session: Session) -> None:
        """``session`` (borrowed) resumes the connection."""

    def session_declined(self, connection: SessionOwner, session: Session, reason: Reason) -> None:
        """``session`` (borrowed) was found, and the gate refused it."""

    def log_secret(self, label: str, client_random: bytes, secret: bytes) -> None:
        """Write one line of the key log."""

    def handshake_started(self, connection: SessionOwner) -> None:
        """The handshake begins."""

    def handshake_completed(self, connection: SessionOwner) -> None:
        """The handshake is complete; ``connection.resumption`` says how."""

    def early_data_decided(self, connection: SessionOwner, early: EarlyData) -> None:
        """It is known what becomes of the connection's early data. Not called where there was never a wish for any."""

    def connection_failed(self, connection: SessionOwner, error: Error) -> None:
        """A fatal alert was sent or received, or the stream was cut."""


class CredentialHost(Host, Protocol):
    """A client's context that chooses certificates."""

    def choose_certificate(self, connection: SessionOwner, wanted: RequestedCertificate) -> CertifiedKey | None:
        """Which certificate to show. Asked only where ``config.certificate_hook`` names a hook."""


class VirtualHost(Host, Protocol):
    """A server's context, as far as it chooses among virtual hosts, or is one."""

    config: ServerConfig

    def choose_host(self, connection: SessionOwner, hello: ClientHelloFacts) -> VirtualHost:
        """Who serves ``hello``: this context or another one. Asked only where ``config.chooses_host`` is on."""


class SessionOwner(Channel):
    """A connection as a holder of sessions, and what its handshake found out."""

    __slots__ = (
        "_begun",
        "_config",
        "_data",
        "_events",
        "_explicit",
        "_freed",
        "_fresh",
        "_host",
        "_lent",
        "_ocsp_response",
        "_scts",
        "_session",
        "_shown",
        "generate_session_id",
        "holder",
        "is_server",
        "looked_up",
        "not_resumable_callback",
        "number",
        "peer_address",
        "peer_key",
        "resumption",
        "server_name",
        "ticket_renewal",
        "tickets_before",
    )

    def __init__(
        self, config: ClientConfig | ServerConfig, host: Host | None, server_name: str, peer_key: bytes | None
    ) -> None:
        super().__init__(config.max_message_length, config.max_empty_records, config.record_padding)
        self.is_server = isinstance(config, ServerConfig)
        self._begun = False
        self._freed = False
        self.number = next(_numbers)
        self.holder = Holder("connection", str(self.number))
        self.server_name = server_name
        self.peer_key = peer_key
        self.peer_address = b""  # server: what cookies are bound to
        self.resumption: Resumption | None = None
        self._config = config
        self._host = host
        self._events: list[Event] = []
        self._data: SessionData | None = None
        self._explicit = False
        self._fresh = False
        self.generate_session_id: GenerateSessionId | None = None  # server: wins over the context's
        self.not_resumable_callback: NotResumable | None = None  # server: wins over the context's
        self.ticket_renewal: bool | None = None  # server: what the application said of a new ticket
        self.tickets_before: int | None = None  # client: what the cache held for this server
        self.looked_up: Session | None = None  # what the context found in its own cache; borrowed
        self._session: Session | None = None
        self._ocsp_response: bytes | None = None
        self._scts: tuple[bytes, ...] = ()
        self._lent: list[Session] = []  # sessions that events still to be delivered show
        self._shown: list[Session] = []  # sessions that the events of the latest call show

    @property
    def config(self) -> ClientConfig | ServerConfig:
        """The frozen settings."""
        return self._config

    # What the handshake found out.

    @property
    def facts(self) -> SessionData | None:
        """The facts of this connection, in the form of a session's; None before the handshake is complete."""
        return self._data

    @property
    def version(self) -> int | None:
        """The negotiated version as on the wire (0x0304), or None before the handshake is complete."""
        return self._data.version if self._data is not None else None

    @property
    def cipher(self) -> str | None:
        """IANA name of the suite, or None before the handshake is complete."""
        return SUITES[self._data.cipher].name if self._data is not None else None

    @property
    def alpn(self) -> bytes | None:
        """The application protocol agreed on, or None."""
        return self._data.alpn if self._data is not None else None

    @property
    def peer_chain(self) -> tuple[bytes, ...]:
        """The peer's certificates, leaf first, DER; on a resumed connection those of the original handshake."""
        return self._data.peer_chain if self._data is not None else ()

    @property
    def ocsp_response(self) -> bytes | None:
        """Client: the OCSP response (DER) that the server showed in a full handshake; None for none."""
        return self._ocsp_response

    @property
    def scts(self) -> tuple[bytes, ...]:
        """Client: the signed certificate timestamps that the server showed in a full handshake. Nobody checks them."""
        return self._scts

    @property
    def session_reused(self) -> bool:
        """Whether this connection was resumed (SSL_session_reused)."""
        return self.resumption is not None and self.resumption.resumed

    # Whose session it is.

    @property
    def session(self) -> Session | None:
        """The connection's session, borrowed (SSL_get0_session). None before there is one.

        After a full TLS 1.3 handshake this is not resumable until a ticket has come. On a server there is none before
        the client has proved, by its Finished, that the session is its own.
        """
        if self._data is None and self.is_server:
            return None
        if self._session is None and self._data is not None and not self._freed:
            self._session = Session.create(self._data, b"", holder=self.holder)
        return self._session

    def get1_session(self) -> Session | None:
        """The connection's session with a reference for the application: give it back with ``free()``."""
        session = self.session
        return session.up_ref() if session is not None else None

    @property
    def held_session(self) -> Session | None:
        """What `session` says, except that none is made for the asking."""
        return self._session

    @property
    def wants_fresh_handshake(self) -> bool:
        """Whether the caller asked for a full handshake."""
        return self._fresh

    def set_session(self, session: Session | None) -> None:
        """Install a session to be offered; the connection takes a reference of its own (SSL_set_session).

        None clears it. Raises `UsageError` on a server or once the handshake has begun.
        """
        self._check_not_begun()
        self._install(session)

    def copy_session_from(self, other: SessionOwner) -> None:
        """Offer what ``other`` has: its session and its session id context (SSL_copy_session_id)."""
        self._check_not_begun()
        self._install(other.held_session)
        self.session_id_context = other.session_id_context

    @property
    def session_id_context(self) -> bytes:
        """The session id context: the context's, unless it was set here before the handshake."""
        return self._config.id_context

    @session_id_context.setter
    def session_id_context(self, id_context: bytes) -> None:
        self._check_not_begun()
        if id_context != self._config.id_context:
            self._reconfigure(id_context=id_context)

    @property
    def num_tickets(self) -> int:
        """Server: how many TLS 1.3 tickets a full handshake issues; the context's, unless it was set here before."""
        return self._config.num_tickets if isinstance(self._config, ServerConfig) else 0

    @num_tickets.setter
    def num_tickets(self, number: int) -> None:
        self._check_not_begun()
        if not isinstance(self._config, ServerConfig):
            raise UsageError("only servers issue tickets")
        self._reconfigure(num_tickets=number)

    @property
    def psk(self) -> OfferedPsk:
        """Client: the external PSK to offer where there is no session; the context's, unless it was set here before.

        Sessions of a connection with one of its own are not filed under its server: others would resume them.
        """
        return self._config.psk if isinstance(self._config, ClientConfig) else None

    @psk.setter
    def psk(self, psk: OfferedPsk) -> None:
        self._check_not_begun()
        if not isinstance(self._config, ClientConfig):
            raise UsageError("a server knows external PSKs by their identities: set psks")
        self._reconfigure(psk=psk)
        self.peer_key = None

    @property
    def psks(self) -> KnownPsks:
        """Server: the external PSKs that it knows; the context's, unless they were set here before."""
        return self._config.psks if isinstance(self._config, ServerConfig) else None

    @psks.setter
    def psks(self, psks: KnownPsks) -> None:
        self._check_not_begun()
        if not isinstance(self._config, ServerConfig):
            raise UsageError("a client offers one external PSK: set psk")
        self._reconfigure(psks=psks)

    def _reconfigure(self, **changes: Any) -> None:
        """Settings of this connection alone."""
        self._config = replace(self._config, **changes)

    def _check_not_begun(self) -> None:
        if self._begun:
            raise UsageError("the handshake has begun: this can only be set before the first byte")

    @property
    def has_begun(self) -> bool:
        """Whether the handshake has begun, so that bytes may have been sent. For contexts."""
        return self._begun

    def require_fresh_handshake(self) -> None:
        """Ask for a full handshake, whatever session there is."""
        self._fresh = True

    def use_cached_session(self, session: Session) -> None:
        """Offer ``session``, taken from a cache: ``holder`` holds a reference of it already. For contexts."""
        self._session = session

    def _install(self, session: Session | None) -> None:
        if self.is_server:
            raise UsageError("only a client can offer a session: on a server the client chooses")
        if session is not None:
            session.acquire(self.holder)
        self._drop_session()
        self._session = session
        self._explicit = session is not None

    def has_matching_session_id(self, session_id: bytes) -> bool:
        """Whether the context's cache holds a session with this id and this connection's version.

        For callbacks that make ids (SSL_has_matching_session_id). Before the version is known: any version.
        """
        return self._host is not None and self._host.has_session_id(self, session_id)

    def _forget_handshake(self) -> None:
        """Be as new, but for the session."""
        self._drop_lent()
        config = self._config
        Channel.__init__(self, config.max_message_length, config.max_empty_records, config.record_padding)
        self.resumption = None
        self.looked_up = None
        self.tickets_before = None
        self.ticket_renewal = None
        self._ocsp_response, self._scts = None, ()
        self._events = []
        self._data = None

    def _drop_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.release(self.holder)

    def _drop_lent(self) -> None:
        if self._lent:
            lent, self._lent = self._lent, []
            for session in lent:
                session.release(self.holder)
        if self._shown:
            self._drop_shown()

    def _drop_shown(self) -> None:
        shown, self._shown = self._shown, []
        for session in shown:
            session.release(self.holder)

    def _deliver(self) -> list[Event]:
        """The events so far. The sessions that they show live until the next call."""
        events, self._events = self._events, []
        if self._lent:
            self._shown += self._lent
            self._lent = []
        return events

    # What states ask for, as `resumption.handshake.state.Output` has it.

    def choose_host(self, hello: ClientHelloFacts) -> ServerConfig:
        """Hand the connection over to the virtual host that the context chooses for ``hello``."""
        host = cast(VirtualHost, self._host)  # only a server's context makes a configuration that has it chosen
        chosen = host.choose_host(self, hello)
        if chosen is not host:
            self._host, self._config = chosen, chosen.config
            self._events.append(HostChosen(chosen))
        chosen.handshake_started(self)
        return cast(ServerConfig, self._config)

    def choose_certificate(self, wanted: RequestedCertificate) -> CertifiedKey | None:
        """The client's certificate for this request: the context's hook decides where there is one."""
        config = self._config
        assert isinstance(config, ClientConfig)
        if config.certificate_hook and self._host is not None:
            return cast(CredentialHost, self._host).choose_certificate(self, wanted)
        return choose_credential(config.credentials, wanted)

    def show(self, ocsp_response: bytes | None, scts: tuple[bytes, ...]) -> None:
        """Keep what the server showed beside its certificate."""
        self._ocsp_response, self._scts = ocsp_response, scts

    def authenticated(self, data: SessionData) -> None:
        """What the connection is from now on. Its session stays what it was: another ticket may follow."""
        self._data = data

    def emit(self, event: Event) -> None:
        """Tell the driver."""
        self._events.append(event)

    def issue(self, data: SessionData, secret: bytes) -> Session:
        """Make a new session this connection's own. The one before it lives on for the events of this call."""
        session = Session.create(data, secret, holder=self.holder)
        if self._session is not None:
            self._lent.append(self._session)
        self._session = session
        if self._host is not None:
            self._host.session_issued(self, session)
        self._events.append(SessionIssued(session))
        return session

    def new_session_id(self, version: int) -> bytes:
        """An id for a new session; empty where sessions are not kept."""
        return self._host.new_session_id(self, version) if self._host is not None else self._config.random(32)

    def allows_resumption(self) -> bool:
        """Whether the session of this full TLS 1.2 handshake may be resumed later."""
        return self._host is None or self._host.allows_resumption(self)

    def consume(self, session: Session) -> bool:
        """Spend a single-use session; False if another connection was first."""
        return self._host.consume(self, session) if self._host is not None else True

    def hold(self, session: Session) -> None:
        """``session``, of which ``holder`` holds a reference, is to resume this connection: that reference is the
        connection's, however the handshake ends."""
        if self._session is not session:
            self._drop_session()
            self._session = session

    def resume(self, session: Session) -> None:
        """``session``, which the connection holds, resumes it."""
        if self._host is not None:
            self._host.session_resumed(self, session)

    def decline(self, session: Session, reason: Reason) -> None:
        """The gate refused ``session``: its reference, held by ``holder``, is given back."""
        self.ticket_renewal = None  # whatever was said of it
        if self._session is session:
            self._session = None
        try:
            if self._host is not None:
                self._host.session_declined(self, session, reason)
        finally:
            session.release(self.holder)

    def log_secret(self, label: str, client_random: bytes, secret: bytes) -> None:
        """Write one line of the key log."""
        if self._host is not None:
            self._host.log_secret(label, client_random, secret)

    def complete(self, resumption: Resumption, data: SessionData) -> None:
        """The handshake is complete. What was offered in vain is let go: whoever else holds it can offer it again."""
        if not resumption.resumed and self._session is not None:
            self._drop_session()
        self._data = data
        self._idle = 0
        self.resumption = resumption
        if self._host is not None:
            self._host.handshake_completed(self)
        self._events.append(HandshakeCompleted(self.resumption))
