"""The server's context: certificates, ticket keys, and the store that shares sessions with other processes."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from types import EllipsisType, MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from resumption.config import AllowEarlyData, ServerConfig
from resumption.connection import Connection
from resumption.constants import DEFAULT_SESSION_TIMEOUT_S
from resumption.context import Context, KeyLog, ends_session, numbered, protocols
from resumption.crypto.anchors import TrustSource
from resumption.crypto.certificates import CertificateSource, CertifiedKey, KeySource, OcspSource, PasswordSource
from resumption.crypto.compression import CompressionChoice, algorithms_of
from resumption.crypto.crls import CrlSource, RevocationLists
from resumption.crypto.trust import TrustStore
from resumption.errors import (
    ConfigurationError,
    Error,
    InternalError,
    MissingExtension,
    UnrecognizedName,
    UsageError,
)
from resumption.handshake.hello import ClientHelloFacts
from resumption.ownership import SessionOwner
from resumption.psk_callback import KnownPsks
from resumption.session.cache import CacheMode
from resumption.session.fleet.replay import ReplayRegister, SpentTickets
from resumption.session.fleet.revocation import PublishedEpoch
from resumption.session.fleet.rotation import StoredTicketKeys
from resumption.session.fleet.shared import SharedSessions
from resumption.session.fleet.upkeep import Upkeep
from resumption.session.gate import ClientAuth
from resumption.session.model import Session
from resumption.session.statistics import ContextStats
from resumption.session.stores.breaker import BreakerChange
from resumption.session.stores.guarded import StoreLimits
from resumption.session.stores.store import SessionStore, open_store
from resumption.session.tickets.callbacks import DecryptHook, GenerateHook, TicketHooks
from resumption.session.tickets.key_files import TicketKeyFiles
from resumption.session.tickets.keys import TicketKeys, TicketProtection
from resumption.session.verdicts import Mechanism, Reason
from resumption.streams.blocking import Stream
from resumption.streams.listener import Listener
from resumption.streams.shared import SharedStore
from resumption.streams.sockets import Socket
from resumption.virtual_hosts import HostRules

_numbers = itertools.count(1)


if TYPE_CHECKING:
    from resumption.streams.aio import AsyncStream
    from resumption.streams.endpoints import Server

__all__ = ["ChooseHost", "ServerContext"]

ChooseHost: TypeAlias = "Callable[[Any, ClientHelloFacts], ServerContext | None]"
"""Chooses the virtual host for a hello: (connection, hello) -> context, or None to go by the rules."""


class ServerContext(Context[ServerConfig]):
    """What server connections share.

    ``certificate``, ``private_key``: the chain (leaf first) and its key, as paths, bytes or objects, or a
    `CertifiedKey`. ``certificates``: further ones, as `CertifiedKey` or as pairs of chain and key. A client gets the
    one that is for the name it asks for and that it can check: an RSA chain may stand beside an ECDSA one.
    ``ocsp_response`` (DER, or a function that returns the present one) and ``scts`` are shown to clients that ask; of
    further chains, `CertifiedKey.with_status` has them.

    ``tickets``: keys for stateless tickets; "auto" makes keys that only this context has, None turns such tickets off.
    Give the same `TicketKeys` (made from one secret) to every worker and machine, and all of them resume each other's
    clients. ``store``: an URL or a `SessionStore` for sessions that the server keeps, shared by processes; its records
    are sealed with ``tickets``. A lookup there may take ``store_timeout`` seconds (0.02) before the handshake goes on
    without; `StoreLimits` has the rest, and ``on_store_change(change)`` is told when the store is given up for a while
    and taken up again. ``stateful``: TLS 1.3 tickets are ids into the cache and the store, used once, instead of sealed
    sessions. ``client_auth``: "none", "optional" or "required", with ``trust`` and ``session_id_context``;
    ``post_handshake_auth`` lets ``request_client_certificate()`` ask later, with the same two.
    ``crls`` are revocation lists (files, PEM, DER, or `RevocationLists`, which can be strict) that clients'
    certificates are held against, at full handshakes and at each resumption; set ``context.crls`` when there are newer
    ones. ``revalidate(chain)`` is asked at each resumption of a client with a certificate (DER, leaf first): something
    false declines the session, an exception is an internal_error alert; it must not block.
    ``certificate_compression=True`` (or names: "zlib", "brotli", "zstd") sends the chain compressed to TLS 1.3 clients
    that ask for it, where that is smaller, and takes theirs so (RFC 8879).
    ``keylog`` as for clients. ``upkeep_interval`` is how often, in seconds and at most, key files and the store are
    looked at for news (see `refresh`). ``accept_foreign_tickets`` resumes what nginx or another OpenSSL program sealed
    with the same `TicketKeyFiles`, for the same name, session id context and suites: such tickets tell nothing of the
    partition, so leave it off where keys are shared by servers that differ in what they allow.

    ``single_use_tickets``: a stateless TLS 1.3 ticket resumes once; which ones did is marked in ``store``, and while
    that is in trouble none does. ``max_early_data``: bytes of early data that a connection may send; 0, as it is unless
    given, for none. It needs ``replay``: a `ReplayRegister`, which stays the caller's to close.

    Raises `ConfigurationError`, which says what to do.

    Virtual hosts. ``hosts`` are contexts by name (``"a.example"``) or wildcard (``"*.b.example"``, one label); one
    whose ``host_rule`` is empty gets its names as its rule, and so a partition of its own. ``choose_host(connection,
    hello)`` is asked first: it returns the `ServerContext` that serves this `ClientHelloFacts`, or None to go by
    ``hosts``. It may raise `UnrecognizedName`; anything else that it raises is an internal_error alert. The host is
    chosen before any session is looked up, and all that follows is by its settings. Where nothing matches, this context
    itself serves, or with ``unknown_host="refuse"`` the client gets unrecognized_name (missing_extension if it sent no
    name).
    """

    def __init__(
        self,
        certificate: CertificateSource | CertifiedKey,
        private_key: KeySource | None = None,
        *,
        password: PasswordSource = None,
        ocsp_response: OcspSource = None,
        scts: Iterable[bytes] = (),
        certificates: Iterable[CertifiedKey | tuple[CertificateSource, KeySource | None]] = (),
        hosts: Mapping[str, ServerContext] | None = None,
        choose_host: ChooseHost | None = None,
        unknown_host: Literal["default", "refuse"] = "default",
        tickets: TicketProtection | Literal["auto"] | None = "auto",
        store: str | SessionStore | None = None,
        store_timeout: float | None = None,
        store_limits: StoreLimits | None = None,
        on_store_change: Callable[[BreakerChange], object] | None = None,
        stateful: bool = False,
        client_auth: ClientAuth = "none",
        post_handshake_auth: bool = False,
        trust: TrustSource = None,
        crls: RevocationLists | CrlSource | None = None,
        certificate_compression: CompressionChoice = False,
        revalidate: Callable[[tuple[bytes, ...]], object] | None = None,
        alpn: Iterable[str | bytes] = (),
        session_cache_mode: CacheMode = CacheMode.SERVER,
        session_timeout: int = DEFAULT_SESSION_TIMEOUT_S,
        session_id_context: bytes = b"",
        num_tickets: int = 2,
        name: str = "",
        clock: Callable[[], float] = time.time,
        random: Callable[[int], bytes] = os.urandom,
        keylog: KeyLog | None = None,
        upkeep_interval: float = 5.0,
        max_early_data: int = 0,
        replay: ReplayRegister | None = None,
        single_use_tickets: bool = False,
        **settings: Any,
    ) -> None:
        self._own_keys = TicketKeys.generate(random=random) if tickets == "auto" else None
        keys = self._own_keys if tickets == "auto" else tickets
        limits = store_limits or StoreLimits()
        if store_timeout is not None:
            limits = replace(limits, timeout_s=store_timeout)
        patience_s = max(limits.timeout_s, limits.write_wait_s)  # lookups are given up earlier, by the guard
        self._own_store = open_store(store, timeout_s=patience_s) if isinstance(store, str) else None
        shared: SharedSessions | None = None
        if store is not None:
            if not isinstance(keys, TicketKeys):
                raise ConfigurationError(
                    "a store needs tickets=TicketKeys.from_secret(...): records are sealed with keys of that secret"
                )
            opened = self._own_store if self._own_store is not None else store
            if isinstance(opened, str):
                raise ConfigurationError("the store could not be opened")
            shared = SharedSessions(opened, keys, limits=limits, on_change=on_store_change, clock=clock, random=random)
        if single_use_tickets and shared is None:
            raise ConfigurationError("single_use_tickets needs store=: somewhere it has to be kept which were used")
        if unknown_host not in ("default", "refuse"):
            raise ConfigurationError('unknown_host is "default" or "refuse"')
        self._hosts = HostRules(hosts or {})
        self._choose_host = choose_host
        self._refuses_unknown = unknown_host == "refuse"
        _name_hosts(self._hosts)
        config = ServerConfig(
            certified_keys=(
                _with_status(CertifiedKey.of(certificate, private_key, password), ocsp_response, tuple(scts)),
                *map(CertifiedKey.of_pair, certificates),
            ),
            chooses_host=bool(self._hosts.hosts or choose_host is not None or self._refuses_unknown),
            tickets=keys,
            stateful=stateful,
            client_auth=client_auth,
            trust=TrustStore.load(trust) if client_auth != "none" or post_handshake_auth else None,
            post_handshake_auth=post_handshake_auth,
            crls=RevocationLists.of(crls),
            certificate_compression=algorithms_of(certificate_compression),
            revalidate=revalidate,
            alpn=protocols(alpn),
            session_timeout_s=session_timeout,
            id_context=session_id_context,
            num_tickets=num_tickets,
            clock=clock,
            random=random,
            log_secrets=keylog is not None,
            max_early_data=max_early_data,
            replay=replay,
            spent_tickets=SpentTickets(shared.guard) if single_use_tickets and shared is not None else None,
            **numbered(settings),
        )
        super().__init__(config, mode=session_cache_mode, name=name or f"server {next(_numbers)}", keylog=keylog)
        self._shared = SharedStore(shared, lambda: self.sessions, stateful=stateful) if shared is not None else None
        self._published = None if shared is None or keys is None else PublishedEpoch(shared.store, shared.keys.ring)
        jobs: list[Callable[[], object]] = []
        if isinstance(keys, TicketKeyFiles | StoredTicketKeys):
            jobs.append(lambda: keys.refresh(clock()))
        if self._published is not None:
            jobs.append(self._follow)
        self._upkeep = Upkeep(jobs, interval_s=upkeep_interval) if jobs else None

    def connection(self, *, peer_address: bytes = b"") -> Connection:
        """A connection without I/O. The caller frees it with ``free()``.

        ``peer_address`` is what the cookies of a HelloRetryRequest are bound to, where the configuration has
        ``cookies``: for transports on which an address can be forged.
        """
        self._freeze()
        if self._upkeep is not None:
            self._upkeep.remind()
        connection = Connection(self.config, self)
        connection.peer_address = peer_address
        return connection

    def refresh(self) -> None:
        """Look for news now: changed key files, roots of the next generation, a policy epoch that was raised elsewhere.

        Connections do this by themselves, in the background. May block as long as the store does; never raises for it.
        """
        if self._upkeep is not None:
            self._upkeep.run()

    def revoke_all(self) -> int:
        """Resume no session that was made before, in whichever form, here and on all servers that share the store.

        Raises the policy epoch by one and publishes it, signed with the ticket keys; the others see it when they look
        next (``upkeep_interval``), or when a client brings them a ticket of the new epoch. Returns the new epoch: where
        servers share no store, or one that may lose it, write it into their configuration (``policy_epoch``). Raises
        `StoreError` if it could not be published; it is in force here all the same.
        """
        published = self._published
        self._adopt(self.config.policy_epoch + 1)
        if published is not None:
            while True:
                present = published.publish(self.config.policy_epoch)
                if present == self.config.policy_epoch:
                    break
                self._adopt(present + 1)  # somebody else was ahead: what was made until now counts as before, too
        return self.config.policy_epoch

    def _follow(self) -> None:
        if self._published is not None:
            self._adopt(self._published.follow(self.config.policy_epoch))

    def _adopt(self, epoch: int) -> None:
        """Go on with a policy epoch, if it is higher. Connections under way end with the one that they began with."""
        if epoch > self.config.policy_epoch:
            self.config = replace(self.config, policy_epoch=epoch)

    def session_declined(self, connection: SessionOwner, session: Session, reason: Reason) -> None:
        """A session of a later epoch, made by a server with our keys for our partition, is news of that epoch."""
        if reason is Reason.OTHER_EPOCH:
            self._adopt(session.data.policy_epoch)
        super().session_declined(connection, session, reason)

    def close(self) -> None:
        """As for every context; keys and a store that were made for this one are closed too."""
        super().close()
        if self._shared is not None:
            self._shared.sessions.close()
        if self._own_store is not None:
            self._own_store.close()
        if self._own_keys is not None:
            self._own_keys.close()

    def flush_store(self, timeout_s: float) -> bool:
        """Wait until the store has all sessions that were issued so far: before a worker is replaced, say.

        False if that takes longer than ``timeout_s`` seconds. Without a store there is nothing to wait for.
        """
        return self._shared is None or self._shared.sessions.flush(timeout_s)

    def stats(self) -> ContextStats:
        """Everything that is counted here, with the ticket keys and the store."""
        keys = self.config.tickets
        return replace(
            super().stats(),
            tickets={} if keys is None else dict(keys.status(self.config.clock()).counts),
            store=None if self._shared is None else self._shared.sessions.report(),
        )

    async def aclose(self) -> None:
        """As `close`, from an event loop in which connections were served: what it has of the store is closed, too."""
        await self._disconnect()
        self.close()

    async def _disconnect(self) -> None:
        for context in (self, *self._hosts.hosts.values()):
            if context._shared is not None:
                await context._shared.disconnect()

    def connection_failed(self, connection: SessionOwner, error: Error) -> None:
        """As for every context; a session that ends with a TLS 1.2 connection ends in the store, too."""
        session = connection.held_session
        if self._shared is not None and session is not None and ends_session(session, error):
            self._shared.forget(session)
        super().connection_failed(connection, error)

    @property
    def hosts(self) -> Mapping[str, ServerContext]:
        """The virtual hosts by their rules, in canonical form."""
        return MappingProxyType(self._hosts.hosts)

    def choose_host(self, connection: SessionOwner, hello: ClientHelloFacts) -> ServerContext:
        """The hook's choice, else the host whose rule fits best, else this context."""
        chosen: ServerContext | None = None
        if self._choose_host is not None:
            try:
                chosen = self._choose_host(connection, hello)
            except UnrecognizedName:
                raise
            except Exception as error:
                raise InternalError("choose_host failed") from error
            if chosen is not None and not isinstance(chosen, ServerContext):
                raise InternalError("choose_host must return a ServerContext or None")
        if chosen is None:
            chosen = self._hosts.find(hello.server_name)
        if chosen is None:
            if self._refuses_unknown:
                if not hello.server_name:
                    raise MissingExtension("this server serves named hosts only, and the client names none")
                raise UnrecognizedName("no virtual host has the name that the client asks for")
            return self
        chosen._freeze()
        return chosen

    def keeps(self, mechanism: Mechanism) -> bool:
        """A single-use session of several processes is in the store alone: one place decides who spends it."""
        return self._shared is None or mechanism is not Mechanism.STATEFUL_13

    def must_ask_outside(self, connection: SessionOwner) -> bool:
        """Whether there is a store."""
        return self._shared is not None

    @property
    def num_tickets(self) -> int:
        """How many TLS 1.3 tickets a full handshake issues. Settable at any time, for connections made afterwards."""
        return self.config.num_tickets

    @num_tickets.setter
    def num_tickets(self, number: int) -> None:
        self.config = replace(self.config, num_tickets=number)

    @property
    def max_early_data(self) -> int:
        """Bytes of early data that a connection may send; 0 for none. Settable at any time, for connections made
        afterwards; more than 0 needs ``replay``, or is a `ConfigurationError`."""
        return self.config.max_early_data

    @max_early_data.setter
    def max_early_data(self, size: int) -> None:
        self.config = replace(self.config, max_early_data=size)

    @property
    def recv_max_early_data(self) -> int:
        """Bytes of early data that are taken at most, whatever a ticket allows: what `max_early_data` says, unless it
        is set. Settable at any time, for connections made afterwards; None goes back to that."""
        return self.config.taken_early_data

    @recv_max_early_data.setter
    def recv_max_early_data(self, size: int | None) -> None:
        self.config = replace(self.config, recv_max_early_data=size)

    @property
    def on_allow_early_data(self) -> AllowEarlyData | None:
        """``callback(connection, session)``, asked last whether early data is taken: something false refuses it, and
        the handshake goes on without. Settable at any time, for connections made afterwards."""
        return self.config.on_allow_early_data

    @on_allow_early_data.setter
    def on_allow_early_data(self, callback: AllowEarlyData | None) -> None:
        self.config = replace(self.config, on_allow_early_data=callback)

    @property
    def psks(self) -> KnownPsks:
        """The external PSKs that are known here. Settable at any time, for connections made afterwards."""
        return self.config.psks

    @psks.setter
    def psks(self, psks: KnownPsks) -> None:
        self.config = replace(self.config, psks=psks)

    def set_ticket_callbacks(self, generate: GenerateHook | None, decrypt: DecryptHook | None = None) -> None:
        """Have the application look at each ticket (SSL_CTX_set_session_ticket_cb): see `TicketHooks`. None for none.

        Can be called at any time, for connections made afterwards.
        """
        hooks = TicketHooks(generate, decrypt) if generate is not None or decrypt is not None else None
        self.config = replace(self.config, ticket_hooks=hooks)

    @property
    def ticket_keys(self) -> TicketProtection | None:
        """What seals stateless tickets; None for none. Settable until the context is frozen."""
        return self.config.tickets

    @ticket_keys.setter
    def ticket_keys(self, keys: TicketProtection | None) -> None:
        self._check_not_frozen()
        if self._shared is not None:
            raise UsageError("the store's records are sealed with the ticket keys: give both to a new context")
        self.config = replace(self.config, tickets=keys)

    @property
    def outside(self) -> SharedStore | None:
        """What streams ask when a lookup lies outside the process; None without a store."""
        return self._shared

    def wrap(self, sock: Socket, *, timeout: float | EllipsisType | None = ..., defer_tickets: bool = False) -> Stream:
        """The server's side of an accepted socket, which from now on belongs to the stream.

        ``timeout`` is for each operation, in seconds; left out it is what the socket has. The handshake runs at the
        first use, or when ``do_handshake()`` asks for it. ``defer_tickets`` sends TLS 1.3 tickets with the first data
        instead of at once: for clients whose pools take a readable connection for a dead one, where every client waits
        for data before it leaves.
        """
        return Stream(sock, self.connection(), self._shared, timeout=timeout, defer_tickets=defer_tickets)

    def listen(
        self, address: tuple[str, int], *, backlog: int = 128, timeout: float | None = None, reuse_port: bool = False
    ) -> Listener:
        """A blocking listener on a host and port (0: any that is free); its ``accept()`` gives streams.

        ``timeout`` is what each operation of those streams may take, in seconds. A store is connected to before this
        returns, if that takes less than a second. Raises `OSError`.
        """
        listener = Listener.bind(
            address, self.connection, self._shared, backlog=backlog, reuse_port=reuse_port, timeout=timeout
        )
        if self._shared is not None:
            self._shared.connect()
        return listener

    async def serve(
        self,
        handler: Callable[[AsyncStream], Awaitable[None]],
        address: tuple[str, int],
        *,
        reuse_port: bool | None = None,
        on_error: Callable[[Exception, Any], None] | None = None,
        early_data: bool = False,
    ) -> Server:
        """Serve with asyncio: ``handler(stream)`` is awaited for each connection once its handshake is complete.

        An error of one connection never ends the server: ``on_error(error, peer address)`` is told of it, or the log.
        ``async with await server.serve(...)`` closes it at the end. With ``early_data`` the handler is called as soon
        as early data has come, before the handshake is complete. A store is connected to before, if that takes less
        than a second. Raises `OSError`.
        """
        from resumption.streams.endpoints import serve  # asyncio is slow to import: only who uses it pays

        if self._shared is not None:
            await self._shared.connect_awaiting()
        return await serve(
            self.connection,
            handler,
            address,
            self._shared,
            reuse_port=reuse_port,
            on_error=on_error,
            early_data=early_data,
            on_closed=self._disconnect,
        )


def _with_status(key: CertifiedKey, ocsp_response: OcspSource, scts: tuple[bytes, ...]) -> CertifiedKey:
    return key if ocsp_response is None and not scts else key.with_status(ocsp_response, scts)


def _name_hosts(rules: HostRules[ServerContext]) -> None:
    """Give each host that has no rule of its own its names as one: it is part of the partition of its sessions."""
    names: dict[ServerContext, list[str]] = {}
    for rule, host in rules.hosts.items():
        names.setdefault(host, []).append(rule)
    for host, own in names.items():
        if not host.config.host_rule:
            host._check_not_frozen()
            host.config = replace(host.config, host_rule=" ".join(sorted(own)))
