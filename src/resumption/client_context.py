"""The client's context: it connects, files every session under the server that it belongs to, and resumes by itself."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Coroutine, Generator, Iterable
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

from resumption.config import ClientConfig
from resumption.connection import Connection
from resumption.constants import DEFAULT_SESSION_TIMEOUT_S, ProtocolVersion
from resumption.context import Context, KeyLog, numbered, protocols
from resumption.crypto.anchors import TrustSource
from resumption.crypto.certificates import CertificateSource, CertifiedKey, KeySource, PasswordSource
from resumption.crypto.compression import CompressionChoice, algorithms_of
from resumption.crypto.crls import CrlSource, RevocationLists
from resumption.crypto.names import server_name_of
from resumption.crypto.trust import TrustStore
from resumption.errors import Error, InternalError, SessionFormatError
from resumption.handshake.credentials import RequestedCertificate
from resumption.handshake.events import NeedSession
from resumption.ownership import SessionOwner
from resumption.psk_callback import OfferedPsk
from resumption.session.cache import CacheMode
from resumption.session.model import Session
from resumption.session.verdicts import Reason, Resumption
from resumption.streams.blocking import Stream
from resumption.streams.sockets import connect_socket

_TLS12 = int(ProtocolVersion.TLSv1_2)
_TLS13 = int(ProtocolVersion.TLSv1_3)
_numbers = itertools.count(1)


if TYPE_CHECKING:
    from resumption.session.fleet.client_sessions import ClientSessionStore, TakenSession
    from resumption.streams.aio import AsyncStream

__all__ = ["ChooseCertificate", "ClientContext", "KeptSessions", "Opening"]

ChooseCertificate: TypeAlias = Callable[[Any, RequestedCertificate], CertifiedKey | None]
"""Chooses a client's certificate: (connection, what is wanted) -> what to show, or None."""


class Opening:
    """A stream that is being opened: await it, once, or enter it with ``async with``, which closes it at the end."""

    __slots__ = ("_opening", "_stream")

    def __init__(self, opening: Coroutine[Any, Any, AsyncStream]) -> None:
        self._opening = opening
        self._stream: AsyncStream | None = None

    def __await__(self) -> Generator[Any, Any, AsyncStream]:
        return self._opening.__await__()

    async def __aenter__(self) -> AsyncStream:
        self._stream = await self._opening
        return self._stream

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            await self._stream.__aexit__(kind, error, trace)


class ClientContext(Context[ClientConfig]):
    """What client connections share. It resumes by itself.

    ``trust``: a file, a directory, bytes (PEM or DER) or certificates of the CAs to trust; None is the system's store.
    ``keylog`` is a file for the secrets of every connection, in the format of NSS, or a function that takes the lines.
    ``verify=False`` accepts any certificate and is for tests only: such sessions are never used where verification is
    on. ``alpn``: protocols in order of preference.

    ``certificate`` and ``private_key`` (or a `CertifiedKey`) authenticate this client when a server asks, or one of
    ``certificates``: the first that the server can check and that was issued under one of the authorities it names,
    else the first that it can check. ``choose_certificate(connection, wanted)`` decides instead: it gets a
    `RequestedCertificate` and returns a `CertifiedKey`, or None to show none; what it raises is an internal_error
    alert. With ``post_handshake_auth=True`` the server may ask later too. Raises `ConfigurationError`, which says what
    to do.

    ``ocsp="check"`` asks for a stapled OCSP response, which must be good if it comes (it must come if the certificate
    says so), and ``"require"`` demands one; sessions are then resumed no longer than it is fresh. ``request_scts`` asks
    for certificate timestamps. ``connection.ocsp_response`` and ``connection.scts`` have what was shown.

    ``crls`` are revocation lists (files, PEM, DER, or `RevocationLists`, which can be strict) that the servers'
    certificates are held against, also those of sessions before they are offered; ``context.crls`` replaces them.

    ``certificate_compression=True`` (or names: "zlib", "brotli", "zstd") lets TLS 1.3 servers compress their chains
    (RFC 8879). Nobody's is decompressed to more than ``max_message_length``.

    Further ``settings`` are those of `ClientConfig`; ``groups``, ``key_shares``, ``suites``, ``schemes`` and
    ``certificate_schemes`` may hold names (``"X25519MLKEM768"``, ``"ECDHE-RSA-AES128-GCM-SHA256"``, ``"ed25519"``).

    Sessions are kept in memory for 256 servers with 8 tickets each, keyed by every setting that they depend on, and
    shared by all connections of this context. `session_cache_mode` OFF turns that off. ``session_store``: a
    `ClientSessionStore`, or the path of one, in which they are kept instead, sealed, for all processes that use it and
    for the next start of this one. With a path the context closes it.
    """

    def __init__(
        self,
        *,
        trust: TrustSource = None,
        verify: bool = True,
        verify_hostname: bool = True,
        crls: RevocationLists | CrlSource | None = None,
        certificate_compression: CompressionChoice = False,
        certificate: CertificateSource | CertifiedKey | None = None,
        private_key: KeySource | None = None,
        password: PasswordSource = None,
        certificates: Iterable[CertifiedKey | tuple[CertificateSource, KeySource | None]] = (),
        choose_certificate: ChooseCertificate | None = None,
        alpn: Iterable[str | bytes] = (),
        session_cache_mode: CacheMode = CacheMode.CLIENT,
        session_timeout: int = DEFAULT_SESSION_TIMEOUT_S,
        session_id_context: bytes = b"",
        isolation: str = "",
        name: str = "",
        clock: Callable[[], float] = time.time,
        random: Callable[[int], bytes] = os.urandom,
        keylog: KeyLog | None = None,
        session_store: str | os.PathLike[str] | ClientSessionStore | None = None,
        **settings: Any,
    ) -> None:
        config = ClientConfig(
            trust=TrustStore.load(trust) if verify else None,
            verify_hostname=verify_hostname,
            crls=RevocationLists.of(crls),
            certificate_compression=algorithms_of(certificate_compression),
            certified_key=CertifiedKey.of(certificate, private_key, password) if certificate is not None else None,
            further_keys=tuple(map(CertifiedKey.of_pair, certificates)),
            certificate_hook=_name_of(choose_certificate) if choose_certificate is not None else "",
            alpn=protocols(alpn),
            session_timeout_s=session_timeout,
            id_context=session_id_context,
            isolation=isolation,
            clock=clock,
            random=random,
            log_secrets=keylog is not None,
            **numbered(settings),
        )
        self._choose_certificate = choose_certificate
        super().__init__(config, mode=session_cache_mode, name=name or f"client {next(_numbers)}", keylog=keylog)
        self._owns_store = isinstance(session_store, str | os.PathLike)
        if isinstance(session_store, str | os.PathLike):
            from resumption.session.fleet.client_sessions import ClientSessionStore  # only who uses it needs SQLite

            session_store = ClientSessionStore(session_store, clock=clock, random=random)
        self.session_store: ClientSessionStore | None = session_store
        self._kept = KeptSessions(session_store, self) if session_store is not None else None
        self._keeps_in_memory = session_store is None

    @property
    def outside(self) -> KeptSessions | None:
        """What streams tell of new sessions, so that they are stored off the event loop; None without a store.

        Whoever drives connections without our streams calls its ``session_issued`` for each `SessionIssued`.
        """
        return self._kept

    @property
    def psk(self) -> OfferedPsk:
        """The external PSK that is offered where there is no session. Settable at any time, for connections made
        afterwards."""
        return self.config.psk

    @psk.setter
    def psk(self, psk: OfferedPsk) -> None:
        self.config = replace(self.config, psk=psk)

    def close(self) -> None:
        """As for every context; a store that was opened for this one is closed too."""
        super().close()
        if self._owns_store and self.session_store is not None:
            self.session_store.close()

    def connection(
        self, server_name: str, *, session: Session | None = None, purpose: str = "", fresh: bool = False
    ) -> Connection:
        """A connection without I/O, for a server known by this name or address.

        ``session`` is offered if the gate allows it (the connection takes its own reference); without one, the cache is
        asked when the handshake begins. ``purpose`` keeps the sessions of several services on one host apart (a port,
        a proxy layer). ``fresh`` asks for a full handshake. The caller frees the connection with ``free()``.
        """
        self._freeze()
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

    def connect(
        self,
        address: tuple[str, int],
        *,
        server_name: str | None = None,
        session: Session | None = None,
        timeout: float | None = None,
        purpose: str | None = None,
        fresh: bool = False,
        early_data: bytes | bytearray | memoryview = b"",
    ) -> Stream:
        """Connect to a host and port, complete the handshake, and return the stream: close it, or use ``with``.

        ``server_name`` is who must answer, if not the host of ``address``. ``timeout`` is for connecting, for the
        handshake, and then for each operation, in seconds. ``purpose`` is the port unless given; the rest is as for
        `connection`. Raises `OSError`, `TimeoutError`, `CertificateError` and its kin; then nothing is left open.

        ``early_data`` is sent with the first flight if a session allows it. It may be played again to the server by
        anyone: send what does no harm when it comes twice. If ``stream.early_data.accepted`` is False afterwards it
        has had no effect, and is not sent again.
        """
        connection = self.connection(
            server_name or address[0],
            session=session,
            purpose=str(address[1]) if purpose is None else purpose,
            fresh=fresh,
        )
        try:
            stream = Stream(connect_socket(address, timeout), connection, self._kept, timeout=timeout)
        except BaseException:
            connection.free()
            raise
        try:
            if early_data:
                stream.send_early_data(early_data)
            stream.do_handshake()
        except BaseException:
            stream.close(harvest=False)
            raise
        return stream

    def open(
        self,
        address: tuple[str, int],
        *,
        server_name: str | None = None,
        session: Session | None = None,
        purpose: str | None = None,
        fresh: bool = False,
        early_data: bytes | bytearray | memoryview = b"",
    ) -> Opening:
        """The asyncio twin of `connect`: await it for the stream, or use ``async with client.open(...) as stream``.

        Put ``asyncio.timeout`` around it for a deadline. Raises what `connect` raises; then nothing is left open.
        """
        connection = self.connection(
            server_name or address[0],
            session=session,
            purpose=str(address[1]) if purpose is None else purpose,
            fresh=fresh,
        )
        return Opening(self._open(connection, address, early_data))

    async def _open(
        self, connection: Connection, address: tuple[str, int], early_data: bytes | bytearray | memoryview
    ) -> AsyncStream:
        from resumption.streams.endpoints import open_connection  # asyncio is slow to import: only who uses it pays

        kept = self._kept
        if kept is None or not kept.is_wanted(connection):
            return await open_connection(connection, address, kept, early_data=early_data)
        try:
            taken = await kept.fetch_off_loop(connection)
        except BaseException:
            connection.free()
            raise
        kept.lend(connection, taken)
        try:
            return await open_connection(connection, address, kept, early_data=early_data)
        except BaseException:
            if taken is not None and not connection.has_begun:  # no byte was sent: the ticket is as good as new
                kept.put_back(connection, taken)
            raise

    def choose_certificate(self, connection: SessionOwner, wanted: RequestedCertificate) -> CertifiedKey | None:
        """What the hook says. What it raises ends the connection."""
        hook = self._choose_certificate
        try:
            chosen = hook(connection, wanted) if hook is not None else None
        except Exception as error:
            raise InternalError("choose_certificate failed") from error
        if chosen is not None and not isinstance(chosen, CertifiedKey):
            raise InternalError("choose_certificate must return a CertifiedKey or None")
        return chosen

    def handshake_started(self, connection: SessionOwner) -> None:
        """Spend the newest session for this peer, now that it will really be offered.

        A TLS 1.3 ticket that was given by hand leaves the cache too, so that it is not offered a second time.
        """
        super().handshake_started(connection)
        held = connection.held_session
        if held is not None and held.version == _TLS13:
            self.sessions.discard(held)
        if connection.peer_key is None or held is not None or connection.wants_fresh_handshake:
            return
        if self._kept is not None:
            self._kept.lend(connection, self._kept.fetch(connection))
            return
        connection.tickets_before = self.sessions.peek_for_peer(connection.peer_key)
        session = self.sessions.take_for_peer(connection.peer_key, holder=connection.holder, now=self.config.clock())
        if session is not None:
            connection.use_cached_session(session)

    def handshake_completed(self, connection: SessionOwner) -> None:
        """Count it, and say how many tickets are left for this server."""
        resumption = connection.resumption
        if resumption is not None and resumption.resumed and connection.peer_key is not None:
            left = self._tickets_left(connection, connection.peer_key) if connection.version == _TLS13 else None
            connection.resumption = Resumption(
                True,
                mechanism=resumption.mechanism,
                age_s=resumption.age_s,
                tickets_left=left,
                tickets_before=connection.tickets_before,
                peer=connection.server_name,
            )
        elif resumption is not None and resumption.reason is Reason.SERVER_DECLINED:
            self.session_stats.count("misses")
        super().handshake_completed(connection)

    def connection_failed(self, connection: SessionOwner, error: Error) -> None:
        """As for every context; a TLS 1.2 session that ended by an alert leaves the store as well."""
        super().connection_failed(connection, error)
        held = connection.held_session
        if self._kept is not None and held is not None and held.is_marked_not_resumable:
            self._kept.drop(connection)

    def _tickets_left(self, connection: SessionOwner, peer_key: bytes) -> int | None:
        if self._kept is None:
            return self.sessions.peek_for_peer(peer_key)
        return None if connection.tickets_before is None else connection.tickets_before - 1


class KeptSessions:
    """The store of one client context, as its connections and streams see it (`resumption.streams.outside.Outside`).

    A session is fetched when the handshake begins, by asyncio streams before they connect and in another thread.
    """

    def __init__(self, store: ClientSessionStore, context: ClientContext) -> None:
        self._store = store
        self._sessions = context.sessions

    def is_wanted(self, connection: SessionOwner) -> bool:
        """Whether ``connection`` is to offer a session that it has not got yet."""
        return (
            connection.peer_key is not None and connection.held_session is None and not connection.wants_fresh_handshake
        )

    def fetch(self, connection: SessionOwner) -> TakenSession | None:
        """What the store has for this connection's peer."""
        return self._store.take(connection.peer_key) if connection.peer_key is not None else None

    async def fetch_off_loop(self, connection: SessionOwner) -> TakenSession | None:
        """As `fetch`, in a thread."""
        import asyncio  # slow to import: only who uses it pays

        return await asyncio.get_running_loop().run_in_executor(None, self.fetch, connection)

    def lend(self, connection: SessionOwner, taken: TakenSession | None) -> None:
        """Have ``connection`` offer what was taken; the gate still judges it. What is no session is a miss."""
        if taken is None:
            connection.tickets_before = 0
            return
        with contextlib.suppress(SessionFormatError):
            session = Session.from_packed(taken.packed, holder=connection.holder)
            connection.tickets_before = taken.left + (session.version == _TLS13)
            connection.use_cached_session(session)

    def put_back(self, connection: SessionOwner, taken: TakenSession) -> None:
        """``connection`` did not come to use what was taken for it."""
        with contextlib.suppress(SessionFormatError), Session.from_packed(taken.packed) as session:
            if session.version == _TLS13:
                self._save(connection, session)

    def drop(self, connection: SessionOwner) -> None:
        """The TLS 1.2 session of this connection's peer must not be used again."""
        if connection.peer_key is not None:
            self._store.forget(connection.peer_key, single_use=False)

    def find_session(self, connection: SessionOwner, question: NeedSession) -> Session | None:
        """Clients ask nothing."""
        return None

    def session_issued(self, connection: SessionOwner, session: Session) -> None:
        """Save a new session, if the cache's mode has sessions of clients kept. Failures are counted, never raised."""
        mode = self._sessions.mode
        if mode & CacheMode.CLIENT and not mode & CacheMode.NO_INTERNAL_STORE and not session.is_marked_not_resumable:
            self._save(connection, session)

    def _save(self, connection: SessionOwner, session: Session) -> None:
        data = session.data
        if connection.peer_key is not None and (data.session_id or data.ticket):
            self._store.put(
                connection.peer_key,
                session.to_packed(),
                single_use=data.version == _TLS13,
                made=data.time,
                expires_at=data.expires_at,
            )


def _name_of(hook: Callable[..., object]) -> str:
    """What stands for ``hook`` in cache keys: sessions of contexts that choose in different ways do not mix."""
    return f"{getattr(hook, '__module__', '')}.{getattr(hook, '__qualname__', type(hook).__qualname__)}"
