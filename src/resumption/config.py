"""Frozen settings of one side, checked once when they are built.

A `Config` is what handshake states read. It is immutable, so a context can hand the same one to every connection, and
everything that never changes between connections (packed extensions, the resumption policy, the partition) is computed
here. Time and randomness come in through it, so that a test can replay a handshake byte for byte.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

from resumption.constants import (
    DEFAULT_SESSION_TIMEOUT_S,
    MAX_ID_CONTEXT_LENGTH,
    MAX_PLAINTEXT_LENGTH,
    MAX_TICKET_LIFETIME_S,
    ExtensionType,
    ProtocolVersion,
)
from resumption.crypto.certificates import CertifiedKey
from resumption.crypto.cookies import CookieKeys
from resumption.crypto.crls import RevocationLists
from resumption.crypto.external_psk import ExternalPsk
from resumption.crypto.groups import DEFAULT_GROUPS, GROUPS, chosen_shares
from resumption.crypto.padding import PaddingPolicy
from resumption.crypto.signatures import CERTIFICATE_SCHEMES, SCHEMES
from resumption.crypto.suites import DEFAULT_SUITES_12, DEFAULT_SUITES_13, SUITES, SuiteFacts
from resumption.crypto.trust import TrustStore
from resumption.errors import ConfigurationError
from resumption.own_certificates import ClientCertificates, OcspPolicy, ServerCertificates, remember
from resumption.psk_callback import KnownPsks, OfferedPsk, PskCallback
from resumption.session.fleet.replay import ReplayRegister, SpentTickets
from resumption.session.gate import ClientAuth, ClientPolicy, Policy
from resumption.session.model import Session
from resumption.session.tickets.callbacks import TicketHooks
from resumption.session.tickets.keys import TicketProtection
from resumption.session.verdicts import Mechanism
from resumption.wire import extensions
from resumption.wire.grease import Grease
from resumption.wire.records import DEFAULT_MESSAGE_LIMIT
from resumption.wire.templates import ClientHelloTemplate, constant_extensions

__all__ = ["FRAGMENT_MODES", "AllowEarlyData", "ClientConfig", "Config", "ServerConfig"]

AllowEarlyData: TypeAlias = Callable[[Any, Session], object]
"""Refuses early data, which would otherwise be taken, by returning something false: (connection, its session)."""

#: The values of max_fragment_length, by bytes. RFC 6066, section 4.
FRAGMENT_MODES = {512: 1, 1024: 2, 2048: 3, 4096: 4}

MAX_TICKETS = 8  # per connection, whoever asks (RFC 9149 lets a client ask for up to 255)


@dataclass(frozen=True, kw_only=True)
class Config:
    """What both roles share.

    ``schemes``: how the peer may sign the handshake, and its certificates too, unless ``certificate_schemes`` says
    otherwise: a chain that is signed in another way is then refused.
    ``alpn``: protocols in order of preference. ``session_timeout_s``: lifetime of the sessions made from now on, in
    seconds. ``max_auth_age_s``: how long after a full handshake its lineage may still be resumed, in seconds.
    ``clock`` returns seconds since the epoch; ``random`` returns that many random bytes.
    Raises `ConfigurationError` where a combination makes no sense.
    """

    minimum_version: int = ProtocolVersion.TLSv1_2
    maximum_version: int = ProtocolVersion.TLSv1_3
    suites: tuple[int, ...] = DEFAULT_SUITES_13 + DEFAULT_SUITES_12
    groups: tuple[int, ...] = DEFAULT_GROUPS
    schemes: tuple[int, ...] = CERTIFICATE_SCHEMES
    certificate_schemes: tuple[int, ...] | None = None
    alpn: tuple[bytes, ...] = ()
    session_timeout_s: int = DEFAULT_SESSION_TIMEOUT_S
    max_auth_age_s: float = MAX_TICKET_LIFETIME_S
    id_context: bytes = b""
    policy_epoch: int = 0
    middlebox_compatibility: bool = True
    max_message_length: int = DEFAULT_MESSAGE_LIMIT  # bytes of one handshake message
    max_post_handshake_messages: int = 100  # per connection and hour
    max_key_updates: int = 100  # of the peer's, per connection and hour
    max_empty_records: int = 32  # in a row, change_cipher_spec records among them
    max_warning_alerts: int = 32  # per connection
    max_renegotiation_attempts: int = 32  # per connection, each refused
    record_size_limit: int | None = None  # bytes, RFC 8449: a client asks if it is set, a server answers in any case
    record_padding: PaddingPolicy | None = None  # TLS 1.3: a multiple, or (content type, length) -> bytes of padding
    certificate_compression: tuple[int, ...] = ()  # TLS 1.3: algorithms offered and used, RFC 8879
    crls: RevocationLists | None = None  # what the peer's certificates are held against, also those of sessions
    publish_psk_sessions: bool = False  # sessions of handshakes with an external PSK are issued, and kept
    log_secrets: bool = False  # for a context with a key log
    clock: Callable[[], float] = field(default=time.time, repr=False)
    random: Callable[[int], bytes] = field(default=os.urandom, repr=False)

    trust: TrustStore | None = None  # whom the peer's certificates must chain to

    def __post_init__(self) -> None:
        if self.crls is not None and self.trust is None:
            raise ConfigurationError("crls needs trust, and a peer whose certificate is verified")
        if self.minimum_version > self.maximum_version:
            raise ConfigurationError("minimum_version is above maximum_version")
        for kind, values, table in (
            ("suites", self.suites, SUITES),
            ("groups", self.groups, GROUPS),
            ("schemes", self.schemes, SCHEMES),
            (
                "certificate_schemes",
                self.schemes if self.certificate_schemes is None else self.certificate_schemes,
                SCHEMES,
            ),
        ):
            if not values:
                raise ConfigurationError(f"{kind} is empty: no handshake could succeed")
            for value in values:
                if value not in table:
                    raise ConfigurationError(f"{kind} names 0x{value:04x}, which is not supported here")
        if self.maximum_version < ProtocolVersion.TLSv1_3 and not self.groups_12:
            raise ConfigurationError("groups names none that TLS 1.2 can use: no handshake could succeed")
        for protocol in self.alpn:
            if not 1 <= len(protocol) <= 255:
                raise ConfigurationError("an ALPN protocol name must have 1 to 255 bytes")
        if self.session_timeout_s < 0:
            raise ConfigurationError("session_timeout_s is negative")
        limit, padding = self.record_size_limit, self.record_padding
        if limit is not None and not 64 <= limit <= MAX_PLAINTEXT_LENGTH + 1:
            raise ConfigurationError(f"record_size_limit must lie between 64 and {MAX_PLAINTEXT_LENGTH + 1}")
        if isinstance(padding, int) and not 0 < padding <= MAX_PLAINTEXT_LENGTH + 1:
            raise ConfigurationError(f"record_padding must be a multiple from 1 to {MAX_PLAINTEXT_LENGTH + 1}")
        if len(self.id_context) > MAX_ID_CONTEXT_LENGTH:
            raise ConfigurationError(f"the session id context is longer than {MAX_ID_CONTEXT_LENGTH} bytes")

    @cached_property
    def suites_13(self) -> tuple[int, ...]:
        """The TLS 1.3 suites, in order of preference."""
        return tuple(suite for suite in self.suites if SUITES[suite].version == ProtocolVersion.TLSv1_3)

    @cached_property
    def groups_12(self) -> tuple[int, ...]:
        """The groups that TLS 1.2 can use: those of its ECDHE suites."""
        return tuple(group for group in self.groups if not GROUPS[group].tls13_only)

    @cached_property
    def suites_12(self) -> tuple[int, ...]:
        """The TLS 1.2 suites, in order of preference."""
        return tuple(suite for suite in self.suites if SUITES[suite].version == ProtocolVersion.TLSv1_2)

    def suites_for(self, session_suite: int) -> tuple[int, ...]:
        """The suites in the order to offer with a session of this one: those that can resume it first.

        A server that goes by the client's order would otherwise choose a suite of another hash, and decline.
        """
        order = self._suite_orders.get(session_suite)
        if order is not None:
            return order
        wanted = SUITES[session_suite]

        def differs(suite: int) -> bool:
            return SUITES[suite].version != wanted.version or SUITES[suite].hash is not wanted.hash

        return remember(self._suite_orders, session_suite, tuple(sorted(self.suites, key=differs)))

    @cached_property
    def _suite_orders(self) -> dict[int, tuple[int, ...]]:
        return {}

    @cached_property
    def enabled_suites(self) -> dict[int, SuiteFacts]:
        """The enabled suites by number, as the gate wants them."""
        return {suite: SUITES[suite] for suite in self.suites}


@dataclass(frozen=True, kw_only=True)
class ClientConfig(ClientCertificates, Config):
    """Settings of a client.

    ``trust`` None means that the peer is not verified at all; ``verify_hostname`` False that its name is not.
    ``key_shares`` says which groups get a key share in the first hello: so many of ``groups``, from the first, or those
    named, in the order of ``groups``. None leaves it to us: with a session the group that the server took then, else
    the first of ``groups``, and when that is a hybrid also its curve. ``certified_key`` authenticates this client when
    a server asks.
    """

    verify_hostname: bool = True
    key_shares: int | tuple[int, ...] | None = None
    certified_key: CertifiedKey | None = None
    further_keys: tuple[CertifiedKey, ...] = ()  # other certificates that may answer a server's request
    certificate_hook: str = ""  # the name of the context's hook that chooses among certificates; part of the cache key
    post_handshake_auth: bool = False  # TLS 1.3: the server may ask for our certificate after the handshake
    send_authorities: bool = False  # TLS 1.3: tell the server which CAs are trusted
    ocsp: OcspPolicy = "off"  # "check": a stapled response must be good; "require": there must be one
    request_scts: bool = False  # ask for signed certificate timestamps
    isolation: str = ""  # part of every cache key: sessions of two labels never mix
    max_fragment_length: int | None = None  # bytes, RFC 6066: 512, 1024, 2048 or 4096; record_size_limit replaces it
    psk: OfferedPsk = None  # where there is no session
    grease: bool = True  # RFC 8701: offer values that mean nothing, in every list of the hello
    ticket_request: tuple[int, int] | None = None  # RFC 9149: tickets wanted after a full handshake, and a resumed one

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_fragment_length is not None:
            if self.max_fragment_length not in FRAGMENT_MODES:
                raise ConfigurationError("max_fragment_length must be 512, 1024, 2048 or 4096")
            if self.record_size_limit is not None:
                raise ConfigurationError("max_fragment_length and record_size_limit exclude each other (RFC 8449)")
        if self.ocsp not in ("off", "check", "require"):
            raise ConfigurationError('ocsp must be "off", "check" or "require"')
        if self.ocsp == "require" and self.trust is None:
            raise ConfigurationError("ocsp needs trust: a response is worth what the issuer is worth")
        if self.ticket_request is not None:
            counts = tuple(self.ticket_request)
            if len(counts) != 2 or not all(0 <= count <= 255 for count in counts):
                raise ConfigurationError("ticket_request must be two numbers from 0 to 255")
        chosen_shares(self.groups, self.key_shares)  # raises for what makes no sense

    @cached_property
    def share_groups(self) -> tuple[int, ...]:
        """The groups of the key shares for a server that is not known."""
        return chosen_shares(self.groups, self.key_shares)

    def policy(self, server_name: str, send_server_name: bool, fresh: bool = False) -> ClientPolicy:
        """What the gate needs to know to decide whether a session may be offered to ``server_name``."""
        key = (server_name, send_server_name, fresh)
        policy = self._policies.get(key)
        if policy is not None:
            return policy
        policy = ClientPolicy(
            suites=self.enabled_suites,
            versions=frozenset((self.minimum_version, self.maximum_version)),
            server_name=server_name if send_server_name else None,
            verify=self.trust is not None,
            verify_name=server_name if self.trust is not None and self.verify_hostname else None,
            id_context=self.id_context,
            fresh=fresh,
            fresh_status=self.ocsp == "require",
            max_fragment_mode=FRAGMENT_MODES[self.max_fragment_length] if self.max_fragment_length else 255,
        )
        return remember(self._policies, key, policy)

    def hello_template(self, server_name: str, grease: Grease | None = None) -> ClientHelloTemplate:
        """The constant part of every ClientHello that asks for ``server_name``; empty asks for none."""
        key = (server_name, grease)
        template = self._templates.get(key)
        if template is not None:
            return template
        bodies: dict[int, bytes] = {}
        if server_name:
            bodies[int(ExtensionType.server_name)] = extensions.pack_server_name(server_name)
        bodies.update(self.hello_extensions if grease is None else grease.extensions(self.hello_extensions))
        template = ClientHelloTemplate(bodies, int(ExtensionType.session_ticket))
        return remember(self._templates, key, template)

    # What was computed for the servers that this configuration was used with: 0.1 us to look up; making anew takes 4 us
    # for a policy, 10 us for a template and 2 us for a key.

    @cached_property
    def _policies(self) -> dict[tuple[str, bool, bool], ClientPolicy]:
        return {}

    @cached_property
    def _templates(self) -> dict[tuple[str, Grease | None], ClientHelloTemplate]:
        return {}

    @cached_property
    def _peer_keys(self) -> dict[tuple[str, str], bytes]:
        return {}

    @cached_property
    def hello_extensions(self) -> dict[int, bytes]:
        """The bodies of the ClientHello extensions that are the same for every connection, in the order sent."""
        return constant_extensions(
            versions=tuple(range(self.maximum_version, self.minimum_version - 1, -1)),
            groups=self.groups if self.maximum_version >= ProtocolVersion.TLSv1_3 else self.groups_12,
            schemes=self.schemes,
            certificate_schemes=self.certificate_schemes,
            alpn=self.alpn,
            record_size_limit=self.record_size_limit,
            max_fragment_mode=FRAGMENT_MODES[self.max_fragment_length] if self.max_fragment_length else None,
            ticket_request=self.ticket_request,
            certificates=self.certificate_extensions,
        )

    def peer_key(self, server_name: str, purpose: str = "") -> bytes:
        """The client cache's key for sessions with ``server_name``: every setting that a session must agree with.

        ``purpose`` tells apart services on one host (a port, a proxy layer, a transport). 32 bytes.
        """
        key = self._peer_keys.get((server_name, purpose))
        if key is not None:
            return key
        digest = hashlib.sha256(
            self._cache_scope + _fields(server_name.encode("utf-8", "surrogateescape"), purpose.encode())
        ).digest()
        return remember(self._peer_keys, (server_name, purpose), digest)

    @property
    def _rare_scope(self) -> tuple[bytes, ...]:
        """The part of the scope that few configurations have, with a label for each setting."""
        scope = []
        if self.max_fragment_length is not None:
            scope.append(b"fragments %d" % self.max_fragment_length)
        if self.psk is not None:
            scope.append(b"psk " + (self.psk.identity if isinstance(self.psk, ExternalPsk) else b""))
        if self.publish_psk_sessions:
            scope.append(b"publishes")
        return tuple(scope)

    @cached_property
    def _cache_scope(self) -> bytes:
        """Digest of everything in this configuration that a cached session depends on."""
        credentials = [_fields(*key.chain, key.leaf_key_digest) for key in self.credentials]
        return hashlib.sha256(
            _fields(
                b"client cache 1",
                b"%d %d" % (self.minimum_version, self.maximum_version),
                b"".join(suite.to_bytes(2, "big") for suite in self.suites),
                b"".join(group.to_bytes(2, "big") for group in self.groups),
                b"".join(scheme.to_bytes(2, "big") for scheme in self.schemes),
                b"".join(scheme.to_bytes(2, "big") for scheme in self.certificate_schemes or ()),
                _fields(*self.alpn),
                self.trust.scope if self.trust is not None else b"unverified",
                b"names" if self.verify_hostname else b"no names",
                b"".join(credentials) or b"none",
                self.certificate_hook.encode(),
                b"%d" % self.post_handshake_auth,
                self.ocsp.encode(),
                self.id_context,
                b"%d" % self.policy_epoch,
                repr(float(self.max_auth_age_s)).encode(),
                self.isolation.encode(),
                *self._rare_scope,
            )
        ).digest()


@dataclass(frozen=True, kw_only=True)
class ServerConfig(ServerCertificates, Config):
    """Settings of a server.

    ``certified_keys``: the chains it can prove, the first is the default. ``tickets`` protects stateless tickets; None
    means that none are issued or accepted. ``stateful`` says that TLS 1.3 tickets are ids into the session cache and
    ``accept_stateful`` that such ids are looked up. ``num_tickets``: TLS 1.3 tickets after a full handshake.
    ``client_auth``: "none", "optional" or "required"; the latter two need ``trust`` and ``id_context``. ``cookies``:
    every TLS 1.3 client is first sent away with a cookie, and nothing need be remembered until it comes back with it.
    (GnuTLS 3.7 cannot: its clients take a cookie only with a wish for another key share.)
    ``max_early_data``: bytes of early data that a connection may send, 0 for none; more needs ``replay``, the register
    that holds off replays. ``recv_max_early_data``: bytes that are taken at most, whatever the ticket allows; None for
    what it allows; a client that sends more is cut off. ``on_allow_early_data(connection, session)`` is asked last, of
    early data that would be taken: something false refuses it; ``session`` is borrowed.
    ``max_skipped_early_data``: bytes of refused early data that are passed over at least.
    ``spent_tickets`` makes stateless TLS 1.3 tickets single-use. ``revalidate(chain)`` is asked whether the client
    certificates (DER, leaf first) of a session that could resume are still acceptable; it must not block.
    """

    certified_keys: tuple[CertifiedKey, ...] = ()
    tickets: TicketProtection | None = None
    stateful: bool = False
    accept_stateful: bool = True
    num_tickets: int = 2
    client_auth: ClientAuth = "none"
    post_handshake_auth: bool = False  # clients may be asked for their certificate later; needs what client_auth needs
    send_authorities: bool = True  # a CertificateRequest names the CAs of ``trust``
    chooses_host: bool = False  # the context is asked which virtual host serves a hello
    host_rule: str = ""  # name of the virtual host rule, part of the partition
    listener: str = ""  # label of the listener, part of the partition
    clock_skew_s: float = 60.0
    psks: KnownPsks = None  # by identity
    grease: bool = False  # RFC 8701: extensions that mean nothing in CertificateRequest and NewSessionTicket
    cookies: CookieKeys | None = None
    accept_foreign_tickets: bool = False  # made by another program under the same OpenSSL keys: they name no partition
    max_early_data: int = 0
    recv_max_early_data: int | None = None
    on_allow_early_data: AllowEarlyData | None = None
    max_skipped_early_data: int = 2**15
    replay: ReplayRegister | None = None
    spent_tickets: SpentTickets | None = None
    ticket_hooks: TicketHooks | None = None  # the application's say about each ticket
    revalidate: Callable[[tuple[bytes, ...]], object] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_early_data()
        if not self.certified_keys:
            raise ConfigurationError("a server needs a certificate and its private key")
        if not 0 <= self.num_tickets <= MAX_TICKETS:
            raise ConfigurationError(f"num_tickets must lie between 0 and {MAX_TICKETS}")
        if self.client_auth not in ("none", "optional", "required"):
            raise ConfigurationError('client_auth must be "none", "optional" or "required"')
        if self.client_auth != "none" or self.post_handshake_auth:
            if self.trust is None:
                raise ConfigurationError("client_auth needs trust: the CA certificates that clients must chain to")
            if not self.id_context:
                raise ConfigurationError(
                    "client_auth needs a session id context: without one, sessions of different services could mix"
                )

    def _check_early_data(self) -> None:
        if not 0 <= self.max_early_data < 2**32 or self.max_skipped_early_data < 0:
            raise ConfigurationError("max_early_data is a number of bytes from 0 to 2**32 - 1")
        if self.recv_max_early_data is not None and not 0 <= self.recv_max_early_data < 2**32:
            raise ConfigurationError("recv_max_early_data is a number of bytes from 0 to 2**32 - 1, or None")
        if not self.max_early_data:
            return
        if self.replay is None:  # F85
            raise ConfigurationError(
                "early data can be replayed: it needs replay=ReplayRegister(...), which remembers what was taken"
            )
        if self.tickets is not None and self.tickets.session_format != "packed" and not self.stateful:
            raise ConfigurationError(
                "early data needs tickets=TicketKeys: tickets in OpenSSL's form do not say where hellos are remembered"
            )

    @property
    def taken_early_data(self) -> int:
        """Bytes of early data that are taken at most."""
        return self.max_early_data if self.recv_max_early_data is None else self.recv_max_early_data

    def psk_for(self, identity: bytes, connection: object) -> ExternalPsk | None:
        """The external PSK with this identity. What a callable raises ends the handshake."""
        psks = self.psks
        if isinstance(psks, PskCallback):
            return psks.known(connection, identity)
        return psks.get(identity) if isinstance(psks, Mapping) else psks(identity) if psks is not None else None

    @cached_property
    def partition(self) -> bytes:
        """The security scope that sessions made here belong to: configuration text and digests only, so that all
        nodes of a fleet agree. 32 bytes."""
        return hashlib.sha256(
            _fields(
                b"partition 1",
                self.id_context,
                self.host_rule.encode(),
                self.listener.encode(),
                b"tcp",
                *sorted(key.leaf_key_digest for key in self.certified_keys),
                self.client_auth.encode() + (b" or later" if self.post_handshake_auth else b""),
                self.trust.scope if self.trust is not None else b"",
            )
        ).digest()

    @cached_property
    def looks_again(self) -> bool:
        """Whether client certificates are looked at again when their sessions resume."""
        return self.crls is not None or self.revalidate is not None

    @cached_property
    def mechanisms(self) -> frozenset[Mechanism]:
        """The ways of resuming that are enabled."""
        enabled = set()
        if self.tickets is not None:
            enabled |= {Mechanism.STATELESS_13, Mechanism.TICKET_12}
        if self.accept_stateful:
            enabled |= {Mechanism.STATEFUL_13, Mechanism.SESSION_ID}
        return frozenset(enabled)

    @cached_property
    def policy(self) -> Policy:
        """What the gate needs to know to decide whether a session may be resumed here."""
        return Policy(
            partition=self.partition,
            policy_epoch=self.policy_epoch,
            id_context=self.id_context,
            suites=self.enabled_suites,
            client_auth=self.client_auth,
            mechanisms=self.mechanisms,
            max_auth_age_s=self.max_auth_age_s,
            clock_skew_s=self.clock_skew_s,
            accept_unscoped=self.accept_foreign_tickets,
        )


def _fields(*values: bytes) -> bytes:
    """Length-prefixed concatenation: no two different lists give the same bytes."""
    return b"".join(len(value).to_bytes(4, "big") + value for value in values)
