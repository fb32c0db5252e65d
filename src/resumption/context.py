"""Contexts: settings that many connections share, and the sessions that live between them.

A context freezes its settings into a configuration when it is made, owns a `SessionCache`, makes connections, and is
their host: it finds the sessions that clients name, files the sessions that handshakes make, and counts.
`ClientContext` resumes by itself: it files every ticket under the server and the settings that it belongs to, and
spends the newest at the next connection. `ServerContext` owns the ticket keys and, where sessions are shared beyond
the process, the store.

Settings do not change afterwards; make another context. What the manual pages let a program change at any time (the
callbacks, the cache's mode, size and limits) can be changed here at any time too.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeAlias, TypeVar

from resumption.config import ClientConfig, Config, ServerConfig
from resumption.connection import Connection
from resumption.constants import DEFAULT_SESSION_TIMEOUT_S, MAX_SESSION_ID_LENGTH, ProtocolVersion
from resumption.crypto.anchors import TrustSource
from resumption.crypto.certificates import CertificateSource, CertifiedKey, KeySource, PasswordSource
from resumption.crypto.names import server_name_of
from resumption.crypto.trust import TrustStore
from resumption.errors import (
    AlertReceived,
    ConfigurationError,
    Error,
    InternalError,
    PeerError,
    SessionFormatError,
    UsageError,
)
from resumption.handshake.events import NeedSession
from resumption.ownership import GenerateSessionId, NotResumable, SessionOwner
from resumption.session.cache import CacheMode, SessionCache
from resumption.session.gate import ClientAuth
from resumption.session.model import Session
from resumption.session.shared import SharedSessions
from resumption.session.statistics import SessionStats
from resumption.session.store import SessionStore, open_store
from resumption.session.tickets import TicketKeys, TicketProtection
from resumption.session.verdicts import Mechanism, Reason

__all__ = ["ClientContext", "Context", "ServerContext"]

_TLS12 = int(ProtocolVersion.TLSv1_2)
_TLS13 = int(ProtocolVersion.TLSv1_3)
_ID_ATTEMPTS = 10
_numbers = itertools.count(1)

C = TypeVar("C", bound=Config)
NewSessionCallback: TypeAlias = Callable[[Any, Session], object]
GetSessionCallback: TypeAlias = Callable[[Any, bytes], "Session | tuple[Session, bool] | None"]
RemoveSessionCallback: TypeAlias = Callable[[Any, Session], object]


class Context(Generic[C]):
    """What clients and servers share.

    ``sessions`` is the context's cache. ``on_new_session(connection, session)`` is told of every session that becomes
    available; it keeps a reference of its own by returning True (or by ``session.up_ref()``). ``on_get_session(
    connection, session_id)`` may bring a session from elsewhere: it returns the session, of which the library takes its
    own reference, or ``(session, False)`` to hand its own over. ``on_remove_session(context, session)`` is told of
    every session that leaves the cache. ``generate_session_id(connection, most)`` makes the ids of a server's new
    sessions, and ``not_resumable_callback(connection, is_forward_secure)`` has a TLS 1.2 session not resumed by
    returning something true; a connection's own callbacks of these names win. Callbacks run on the thread that drives the connection, outside all locks.
    """

    config: C
    sessions: SessionCache

    def __init__(self, config: C, *, mode: CacheMode, name: str) -> None:
        self.config = config
        self.name = name
        self.sessions = SessionCache(mode=mode, name=name, clock=config.clock)
        self.on_new_session: NewSessionCallback | None = None
        self.on_get_session: GetSessionCallback | None = None
        self._on_remove_session: RemoveSessionCallback | None = None
        self.generate_session_id: GenerateSessionId | None = None
        self.not_resumable_callback: NotResumable | None = None
        self._closed = False
        self._keylog: Callable[[str], object] | None = None

    @property
    def on_remove_session(self) -> RemoveSessionCallback | None:
        """The remove callback."""
        return self._on_remove_session

    @on_remove_session.setter
    def on_remove_session(self, callback: RemoveSessionCallback | None) -> None:
        self._on_remove_session = callback
        self.sessions.on_remove = None if callback is None else (lambda session: callback(self, session))

    @property
    def session_cache_mode(self) -> CacheMode:
        """What the cache does by itself."""
        return self.sessions.mode

    @session_cache_mode.setter
    def session_cache_mode(self, mode: CacheMode) -> None:
        self.sessions.mode = mode

    @property
    def session_stats(self) -> SessionStats:
        """The counters of this context."""
        return self.sessions.stats

    @property
    def session_timeout(self) -> int:
        """Lifetime in seconds of the sessions made here."""
        return self.config.session_timeout_s

    @property
    def session_id_context(self) -> bytes:
        """The session id context: sessions of another one are not resumed here."""
        return self.config.id_context

    def close(self) -> None:
        """The end of the context: its cache gives back its references, its connections live on. May be repeated."""
        self._closed = True
        self.sessions.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("this context is closed")

    # What connections report (`resumption.ownership.Host`).

    def find_session(self, connection: SessionOwner, question: NeedSession) -> Session | None:
        """From the cache, or from the application's callback. A callback that raises is a miss."""
        session = self.sessions.lookup(question.version, question.session_id, holder=connection.holder)
        if session is not None:
            connection.looked_up = session
            return session
        if self.on_get_session is None:
            return None
        try:
            answer = self.on_get_session(connection, question.session_id)
        except Exception:
            return None
        given = False
        if isinstance(answer, tuple):
            answer, copy = answer
            given = not copy
        if answer is None:
            return None
        return self.sessions.adopt(answer, question.session_id, holder=connection.holder, given=given)

    def must_ask_outside(self, connection: SessionOwner) -> bool:
        """Only where sessions are shared beyond the process."""
        return False

    def new_session_id(self, connection: SessionOwner, version: int) -> bytes:
        """An id unlike any in the cache: from the callback, else 32 random bytes.

        None where neither the cache nor a store keeps sessions. Raises `InternalError` if the callback returns an id
        that cannot be used, and if ten random ones are all taken.
        """
        if not self.sessions.mode & CacheMode.SERVER and not self.must_ask_outside(connection):
            return b""
        callback = connection.generate_session_id or self.generate_session_id
        if callback is not None:
            session_id = callback(connection, MAX_SESSION_ID_LENGTH)
            if not isinstance(session_id, bytes) or not 1 <= len(session_id) <= MAX_SESSION_ID_LENGTH:
                raise InternalError(f"generate_session_id must return 1 to {MAX_SESSION_ID_LENGTH} bytes")
            if self.sessions.has_id(version, session_id):
                raise InternalError("generate_session_id returned an id that another session has")
            return session_id
        for _ in range(_ID_ATTEMPTS):
            session_id = self.config.random(MAX_SESSION_ID_LENGTH)
            if not self.sessions.has_id(version, session_id):
                return session_id
        raise InternalError("the random source repeats itself")

    def allows_resumption(self, connection: SessionOwner) -> bool:
        """What the not-resumable callback says."""
        callback = connection.not_resumable_callback or self.not_resumable_callback
        return callback is None or not callback(connection, True)

    def consume(self, connection: SessionOwner, session: Session) -> bool:
        """A session from the cache is spent by leaving it; one from outside was spent when it was fetched."""
        return self.sessions.discard(session) if connection.looked_up is session else True

    def session_issued(self, connection: SessionOwner, session: Session) -> None:
        """File it and announce it, as far as the mode says so."""
        config = connection.config
        callback = self.on_new_session
        self.sessions.publish(
            session,
            client=not connection.is_server,
            resumed=connection.session_reused,
            renewed=connection.session_reused,
            verify_peer=isinstance(config, ServerConfig) and config.client_auth != "none",
            stateful=isinstance(config, ServerConfig) and config.stateful,
            peer_key=connection.peer_key,
            announce=None if callback is None else (lambda announced: callback(connection, announced)),
        )

    def session_resumed(self, connection: SessionOwner, session: Session) -> None:
        """Count the hit."""
        self.sessions.hit(session)

    def session_declined(self, connection: SessionOwner, session: Session, reason: Reason) -> None:
        """The gate refused a session that was found."""
        if reason is Reason.EXPIRED:
            self.sessions.expire(session)

    def log_secret(self, label: str, client_random: bytes, secret: bytes) -> None:
        """One line in the format of NSS, which Wireshark reads."""
        if self._keylog is not None:
            self._keylog(f"{label} {client_random.hex()} {secret.hex()}")

    def handshake_started(self, connection: SessionOwner) -> None:
        """Count it."""
        self.session_stats.count("accept" if connection.is_server else "connect")

    def handshake_completed(self, connection: SessionOwner) -> None:
        """Count it, and say how it went."""
        if connection.resumption is not None:
            self.session_stats.record(connection.resumption)
        self.sessions.handshake_done(client=not connection.is_server)

    def connection_failed(self, connection: SessionOwner, error: Error) -> None:
        """In TLS 1.2 a fatal alert ends the session too. RFC 5246, section 7.2.2."""
        session = connection.held_session
        if session is not None and isinstance(error, PeerError | AlertReceived) and session.data.version == _TLS12:
            self.sessions.remove(session)


class ClientContext(Context[ClientConfig]):
    """What client connections share. It resumes by itself.

    ``trust``: a file, a directory, bytes (PEM or DER) or certificates of the CAs to trust; None is the system's store.
    ``verify=False`` accepts any certificate and is for tests only: such sessions are never used where verification is
    on. ``alpn``: protocols in order of preference. Raises `ConfigurationError`, which says what to do.

    Sessions are kept in memory for 256 servers with 8 tickets each, keyed by every setting that they depend on, and
    shared by all connections of this context. `session_cache_mode` OFF turns that off.
    """

    def __init__(
        self,
        *,
        trust: TrustSource = None,
        verify: bool = True,
        verify_hostname: bool = True,
        certificate: CertificateSource | None = None,
        private_key: KeySource | None = None,
        password: PasswordSource = None,
        alpn: Iterable[str | bytes] = (),
        session_cache_mode: CacheMode = CacheMode.CLIENT,
        session_timeout: int = DEFAULT_SESSION_TIMEOUT_S,
        session_id_context: bytes = b"",
        isolation: str = "",
        name: str = "",
        clock: Callable[[], float] = time.time,
        random: Callable[[int], bytes] = os.urandom,
        **settings: Any,
    ) -> None:
        config = ClientConfig(
            trust=TrustStore.load(trust) if verify else None,
            verify_hostname=verify_hostname,
            certified_key=CertifiedKey.load(certificate, private_key, password) if certificate is not None else None,
            alpn=_protocols(alpn),
            session_timeout_s=session_timeout,
            id_context=session_id_context,
            isolation=isolation,
            clock=clock,
            random=random,
            **settings,
        )
        super().__init__(config, mode=session_cache_mode, name=name or f"client {next(_numbers)}")

    def connection(
        self, server_name: str, *, session: Session | None = None, purpose: str = "", fresh: bool = False
    ) -> Connection:
        """A connection without I/O, for a server known by this name or address.

        ``session`` is offered if the gate allows it (the connection takes its own reference); without one, the cache is
        asked when the handshake begins. ``purpose`` keeps the sessions of several services on one host apart (a port,
        a proxy layer). ``fresh`` asks for a full handshake. The caller frees the connection with ``free()``.
        """
        self._check_open()
        name = server_name_of(server_name)
        connection = Connection(
            self.config,
            self,
            server_name=name.text,
            send_server_name=not name.is_address,
            peer_key=self.config.peer_key(name.text, purpose),
        )
        if fresh:
            connection.require_fresh_handshake()
        elif session is not None:
            connection.set_session(session)
        return connection

    def handshake_started(self, connection: SessionOwner) -> None:
        """Spend the newest session for this peer, now that it will really be offered."""
        super().handshake_started(connection)
        if connection.peer_key is None or connection.held_session is not None or connection.wants_fresh_handshake:
            return
        connection.tickets_before = self.sessions.peek_for_peer(connection.peer_key)
        session = self.sessions.take_for_peer(connection.peer_key, holder=connection.holder, now=self.config.clock())
        if session is not None:
            connection.use_cached_session(session)

    def handshake_completed(self, connection: SessionOwner) -> None:
        """Count it, and say how many tickets are left for this server."""
        resumption = connection.resumption
        if resumption is not None and resumption.resumed and connection.peer_key is not None:
            left = self.sessions.peek_for_peer(connection.peer_key) if connection.version == _TLS13 else None
            connection.resumption = replace(
                resumption, tickets_left=left, tickets_before=connection.tickets_before, peer=connection.server_name
            )
        elif resumption is not None and resumption.reason is Reason.SERVER_DECLINED:
            self.session_stats.count("misses")
        super().handshake_completed(connection)


class ServerContext(Context[ServerConfig]):
    """What server connections share.

    ``certificate``, ``private_key``: the chain (leaf first) and its key, as paths, bytes or objects. ``tickets``: keys
    for stateless tickets; "auto" makes keys that only this context has, None turns such tickets off. Give the same
    `TicketKeys` (made from one secret) to every worker and machine, and all of them resume each other's clients.
    ``store``: an URL or a `SessionStore` for sessions that the server keeps, shared by processes; its records are
    sealed with ``tickets``. ``stateful``: TLS 1.3 tickets are ids into the cache and the store, used once, instead of
    sealed sessions. ``client_auth``: "none", "optional" or "required", with ``trust`` and ``session_id_context``.
    Raises `ConfigurationError`, which says what to do.
    """

    def __init__(
        self,
        certificate: CertificateSource,
        private_key: KeySource | None = None,
        *,
        password: PasswordSource = None,
        tickets: TicketProtection | Literal["auto"] | None = "auto",
        store: str | SessionStore | None = None,
        stateful: bool = False,
        client_auth: ClientAuth = "none",
        trust: TrustSource = None,
        alpn: Iterable[str | bytes] = (),
        session_cache_mode: CacheMode = CacheMode.SERVER,
        session_timeout: int = DEFAULT_SESSION_TIMEOUT_S,
        session_id_context: bytes = b"",
        num_tickets: int = 2,
        name: str = "",
        clock: Callable[[], float] = time.time,
        random: Callable[[int], bytes] = os.urandom,
        **settings: Any,
    ) -> None:
        self._own_keys = TicketKeys.generate(random=random) if tickets == "auto" else None
        keys = self._own_keys if tickets == "auto" else tickets
        self._own_store = open_store(store) if isinstance(store, str) else None
        self._shared: SharedSessions | None = None
        if store is not None:
            if not isinstance(keys, TicketKeys):
                raise ConfigurationError(
                    "a store needs tickets=TicketKeys.from_secret(...): records are sealed with keys of that secret"
                )
            opened = self._own_store if self._own_store is not None else store
            if isinstance(opened, str):
                raise ConfigurationError("the store could not be opened")
            self._shared = SharedSessions(opened, keys, clock=clock, random=random)
        config = ServerConfig(
            certified_keys=(CertifiedKey.load(certificate, private_key, password),),
            tickets=keys,
            stateful=stateful,
            client_auth=client_auth,
            trust=TrustStore.load(trust) if client_auth != "none" else None,
            alpn=_protocols(alpn),
            session_timeout_s=session_timeout,
            id_context=session_id_context,
            num_tickets=num_tickets,
            clock=clock,
            random=random,
            **settings,
        )
        super().__init__(config, mode=session_cache_mode, name=name or f"server {next(_numbers)}")

    def connection(self) -> Connection:
        """A connection without I/O. The caller frees it with ``free()``."""
        self._check_open()
        return Connection(self.config, self)

    def close(self) -> None:
        """As for every context; keys and a store that were made for this one are closed too."""
        super().close()
        if self._own_store is not None:
            self._own_store.close()
        if self._own_keys is not None:
            self._own_keys.close()

    def must_ask_outside(self, connection: SessionOwner) -> bool:
        """Whether there is a store."""
        return self._shared is not None

    # What drivers ask (`resumption.streams.outside.Outside`): these may wait for a store.

    def load_session(self, connection: SessionOwner, question: NeedSession) -> Session | None:
        """Fetch a session from the store; its reference is held by ``connection.holder``. Anything amiss is a miss."""
        if self._shared is None:
            return None
        packed = self._shared.load(
            question.session_id, question.partition, single_use=question.mechanism is Mechanism.STATEFUL_13
        )
        if packed is None:
            return None
        with contextlib.suppress(SessionFormatError):
            session = Session.from_packed(packed, holder=connection.holder)
            if session.id == question.session_id:
                self.session_stats.count("cb_hits")
                return session
            session.release(connection.holder)
        return None

    def save_session(self, connection: SessionOwner, session: Session) -> None:
        """Put a session that clients will name by its id into the store. Failures are counted, never raised."""
        data = session.data
        if self._shared is None or not data.session_id or not (self.config.stateful or data.version == _TLS12):
            return
        self._shared.save(data.session_id, data.partition, session.to_packed(), data.expires_at)


def _protocols(names: Iterable[str | bytes]) -> tuple[bytes, ...]:
    return tuple(name.encode("ascii") if isinstance(name, str) else bytes(name) for name in names)
