"""The client up to the choice of a version: the ClientHello, HelloRetryRequest, and the ServerHello that decides.

RFC 9846, sections 4.1 and 4.2 (8446: 4.1). What follows the ServerHello lives in `client13`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

from resumption.config import ClientConfig
from resumption.constants import ExtensionType, ProtocolVersion
from resumption.crypto.certificates import facts_of
from resumption.crypto.external_psk import ExternalPsk
from resumption.crypto.groups import KeyShare, generate
from resumption.crypto.names import server_name_of
from resumption.crypto.protection import PlainSealer
from resumption.crypto.schedule13 import BinderKind, EarlySecret
from resumption.crypto.suites import SUITES, SuiteFacts
from resumption.errors import (
    Error,
    IllegalParameter,
    MissingExtension,
    ProtocolVersionUnsupported,
    UnexpectedMessage,
    UnsupportedExtension,
)
from resumption.frozen import frozen
from resumption.handshake import client12, client13
from resumption.handshake.early13 import EarlyFlow
from resumption.handshake.events import HelloRetried
from resumption.handshake.offer import Offered, facts_of_external, suite_for
from resumption.handshake.placement import Place, check_response
from resumption.handshake.revalidation import is_revoked
from resumption.handshake.state import Handshaking13, Output, State, Transcript, on
from resumption.handshake.tickets import MAX_OFFERED_LENGTH
from resumption.psk_callback import PskCallback
from resumption.session.early import EarlyData, EarlyReason, EarlyState, early_offerable
from resumption.session.gate import external_usable, offerable
from resumption.session.model import Session, SessionData
from resumption.session.verdicts import Reason
from resumption.wire import extensions
from resumption.wire.grease import grease_for
from resumption.wire.messages import ClientHello, ServerHello
from resumption.wire.messages12 import HelloRequest
from resumption.wire.templates import pack_one_key_share, pack_one_pre_shared_key

__all__ = ["ExpectSecondServerHello", "ExpectServerHello", "start_client"]

_TLS12 = int(ProtocolVersion.TLSv1_2)
_TLS13 = int(ProtocolVersion.TLSv1_3)
_KEY_SHARE = int(ExtensionType.key_share)
_SESSION_TICKET = int(ExtensionType.session_ticket)
_COOKIE = int(ExtensionType.cookie)
_EARLY_DATA = int(ExtensionType.early_data)
_PRE_SHARED_KEY = int(ExtensionType.pre_shared_key)
_SUPPORTED_VERSIONS = int(ExtensionType.supported_versions)

_MAX_COOKIE_LENGTH = 2**14  # bytes; with the longest ticket it still fits into the block of extensions

_DOWNGRADE_SENTINELS = (b"DOWNGRD\x01", b"DOWNGRD\x00")


def start_client(
    config: ClientConfig,
    server_name: str,
    session: Session | None,
    out: Output,
    *,
    explicit: bool = False,
    fresh: bool = False,
    send_server_name: bool = True,
    early_size: int = 0,
) -> State:
    """Send the ClientHello and return the state that awaits the answer.

    ``server_name``: the reference identity, canonical; sent as SNI unless ``send_server_name`` is False (an address).
    ``session``: offered if the gate allows it, by hand if ``explicit``. Its reference stays the caller's (the
    connection's). ``fresh`` asks for a full handshake. ``early_size``: bytes of early data to announce, if they may be
    sent.
    """
    now = config.clock()
    policy = config.policy(server_name, send_server_name, fresh)
    reason: Reason | None = Reason.FRESH_REQUESTED if fresh else Reason.NO_SESSION
    secret = b""
    if session is not None:
        data, secret = session.data, session.secret
        verdict = offerable(
            data,
            secret,
            policy,
            now,
            resumable=session.is_resumable,
            explicit=explicit,
            name_covered=not data.role and _covers(data.peer_certificate, server_name),
            revalidated=config.crls is None or not is_revoked(config, data, now),
            status_fresh=not explicit,  # the cache's key has the policy, and the deadline ends with the status
        )
        reason = verdict.reason
        if reason is None and len(data.ticket) > MAX_OFFERED_LENGTH:
            reason = Reason.NOTHING_TO_OFFER
        if reason is not None:
            session = None
    external = _external_psk(config, server_name, fresh, out) if session is None and config.psk is not None else None
    session_id = b""
    if config.maximum_version >= _TLS13 and config.middlebox_compatibility:
        session_id = config.random(32)
    random = config.random(32)
    grease = grease_for(random) if config.grease else None
    template = config.hello_template(server_name if send_server_name else "", grease)
    bodies = dict(template.extensions)
    shares: tuple[KeyShare, ...] = ()
    if config.maximum_version >= _TLS13:
        groups = config.share_groups
        if session is not None and config.key_shares is None and data.version == _TLS13 and data.group in config.groups:
            groups = (data.group,)  # what the server took then it takes now
        shares = tuple([generate(group) for group in groups])
        if len(shares) == 1:
            before = grease.key_share if grease is not None else b""
            bodies[_KEY_SHARE] = pack_one_key_share(shares[0].group, shares[0].public, before)
        else:
            pairs = tuple([(share.group, share.public) for share in shares])
            if grease is not None and pairs:
                pairs = ((grease.group, b"\0"), *pairs)
            bodies[_KEY_SHARE] = extensions.pack_key_share_client(pairs)
    version = data.version if session is not None else 0
    is_early = False
    if early_size:
        refusal: EarlyReason | None = EarlyReason.NO_SESSION
        if session is not None:
            refusal = early_offerable(
                data,
                early_size,
                alpn=config.alpn,
                server_name=policy.server_name,
                verify=policy.verify,
                now=now,
            )
        is_early = refusal is None
        if is_early:
            bodies[_EARLY_DATA] = b""
        else:
            out.early_data_is(EarlyData(reason=refusal))
    if version == _TLS12:
        session_id = data.session_id
        if _SESSION_TICKET in bodies:
            bodies[_SESSION_TICKET] = data.ticket
    suites = config.suites if session is None else config.suites_for(data.cipher)
    if external is not None:
        suites = config.suites_for(facts_of_external(config, external).cipher)
    hello = ClientHello(
        legacy_version=_TLS12,
        random=random,
        legacy_session_id=session_id,
        cipher_suites=suites if grease is None else (grease.suite, *suites),
        legacy_compression_methods=b"\x00",
        extensions=bodies,
    )
    early = None
    if version == _TLS13:
        facts = SUITES[data.cipher].hash
        early = EarlySecret.from_psk(facts, secret)
        raw = _pack_with_binder(hello, data, early, Transcript(facts), now, template.pack)
    elif external is not None:
        early = EarlySecret.from_psk(external.hash_facts, external.key)
        data = facts_of_external(config, external)
        transcript = Transcript(external.hash_facts)
        raw = _pack_with_binder(hello, data, early, transcript, now, template.pack, external.binder_kind)
    else:
        raw = template.pack(hello)
    out.send(raw)
    flow = None
    if is_early and early is not None:
        suite = SUITES[data.cipher]
        flow = EarlyFlow(early, suite.hash.digest(raw), suite, data.max_early_data, EarlyState.OFFERED)
        _begin_early_data(flow, config, hello, out)
    offered = Offered(config, server_name, hello, shares, policy, session, early, reason, flow=flow, external=external)
    return ExpectServerHello(offered, raw)


def _begin_early_data(flow: EarlyFlow, config: ClientConfig, hello: ClientHello, out: Output) -> None:
    """From here on early data may be sent. RFC 9846, sections 2.3 and D.4."""
    if config.middlebox_compatibility:
        out.send_change_cipher_spec()
    out.write_with(flow.sealer())
    if config.log_secrets:
        for label, secret in flow.secrets.items():
            out.log_secret(label, hello.random, secret)
    out.early_data_is(flow)


def _external_psk(config: ClientConfig, server_name: str, fresh: bool, out: Output) -> ExternalPsk | None:
    """The external PSK for this server, if the gate lets it be offered. What a callable raises ends the handshake."""
    if config.maximum_version < _TLS13:
        return None
    psk = config.psk
    if isinstance(psk, PskCallback):
        psk = psk.offered(out)
    elif psk is not None and not isinstance(psk, ExternalPsk):
        psk = psk(server_name)
    if psk is None:
        return None
    return psk if external_usable(psk, "client", suite_for(config, psk), fresh=fresh).reason is None else None


def _covers(certificate: bytes | None, server_name: str) -> bool:
    """Whether the certificate in a session from outside is for this name."""
    if certificate is None:
        return False
    try:
        return facts_of(certificate).covers(server_name_of(server_name))
    except Error:
        return False


def _pack_with_binder(
    hello: ClientHello,
    data: SessionData,
    early: EarlySecret,
    transcript: Transcript,
    now: float,
    pack: Callable[[ClientHello], bytes] = ClientHello.pack,
    kind: BinderKind = "resumption",
) -> bytes:
    """The ClientHello with the session ``data`` as its only PSK, and the binder over it. RFC 9846, section 4.3.11.2.

    ``transcript`` holds what came before this hello (nothing, or the first hello and a HelloRetryRequest).
    """
    age_ms = max(0, int((now - data.time) * 1000)) if kind == "resumption" else 0
    placeholder = bytes(SUITES[data.cipher].hash.digest_size)
    hello.extensions[_PRE_SHARED_KEY] = pack_one_pre_shared_key(
        data.ticket, (age_ms + data.ticket_age_add) & 0xFFFFFFFF, placeholder
    )
    raw = pack(hello)
    truncated = raw[: -(len(placeholder) + 3)]  # up to the binders: a two-byte and a one-byte length precede them
    binder = early.binder(transcript.digest_with(truncated), kind=kind)
    return raw[: -len(binder)] + binder


@frozen
class ExpectServerHello(State):
    """Awaiting the answer to the first ClientHello. RFC 9846, sections 4.2.3 and A.1."""

    offered: Offered
    hello_raw: bytes
    changed: bool = False  # a change_cipher_spec came, and was ignored

    @on(ServerHello)
    def on_server_hello(
        self, message: ServerHello, raw: bytes, out: Output
    ) -> ExpectSecondServerHello | client13.ExpectEncryptedExtensions | client12.AfterServerHello:
        """A ServerHello decides the version; a HelloRetryRequest asks for another hello."""
        if check_version(self.offered, message) == _TLS12:
            if self.offered.flow is not None:  # RFC 9846, section D.3: an attacker may want it to be sent in vain
                raise ProtocolVersionUnsupported("the server chose TLS 1.2 although early data was sent")
            if self.changed:  # CVE-2014-0224: in TLS 1.2 it would have had a meaning
                raise UnexpectedMessage("change_cipher_spec came before the ServerHello")
            return client12.on_server_hello(self.offered, message, self.hello_raw, raw, out)
        facts = check_echo(self.offered, message)
        if message.is_hello_retry_request:
            return self._retry(message, raw, out)
        transcript = Transcript(facts.hash, self.hello_raw, raw)
        return client13.on_server_hello(self.offered, message, transcript, out)

    @on(HelloRequest)
    def on_hello_request(self, message: HelloRequest, raw: bytes, out: Output) -> ExpectServerHello:
        """Ignored where the server may be one of TLS 1.2, which may say it at any time. RFC 5246, section 7.4.1.1."""
        if self.offered.config.minimum_version > _TLS12:
            raise UnexpectedMessage("hello_request came in a TLS 1.3 handshake")
        out.count_renegotiation()
        return self

    def _retry(self, message: ServerHello, raw: bytes, out: Output) -> ExpectSecondServerHello:
        """Answer a HelloRetryRequest with a second hello. RFC 9846, section 4.2.4 [8446: 4.1.4]."""
        offered = self.offered
        config = offered.config
        hello = offered.hello
        check_response(hello.extensions, message.extensions, Place.HRR)
        bodies = dict(hello.extensions)
        shares = offered.shares
        group = None
        if _KEY_SHARE in message.extensions:
            group = extensions.parse_key_share_retry(message.extensions[_KEY_SHARE])
            if group not in config.groups:
                raise IllegalParameter("the HelloRetryRequest asks for a group that was not offered")
            if any(share.group == group for share in shares):
                raise IllegalParameter("the HelloRetryRequest asks for a key share that was already sent")
            shares = (generate(group),)
            bodies[_KEY_SHARE] = extensions.pack_key_share_client(((group, shares[0].public),))
        elif _COOKIE not in message.extensions:
            raise IllegalParameter("the HelloRetryRequest would not change the ClientHello")
        bodies.pop(_PRE_SHARED_KEY, None)
        if offered.flow is not None:
            bodies.pop(_EARLY_DATA, None)
            out.emit(offered.flow.reject(EarlyReason.RETRIED))
            out.early_data_is(offered.flow)
            out.write_with(PlainSealer())
        if _COOKIE in message.extensions:
            cookie = extensions.parse_cookie(message.extensions[_COOKIE])
            if len(cookie) > _MAX_COOKIE_LENGTH:
                raise IllegalParameter(f"a cookie of {len(cookie)} bytes leaves no room for a hello around it")
            bodies[_COOKIE] = extensions.pack_cookie(cookie)
        second = replace(hello, extensions=bodies)
        hash_facts = SUITES[message.cipher_suite].hash
        transcript = Transcript.after_retry(hash_facts, self.hello_raw, raw)
        session, early, reason, external = offered.session, offered.early, offered.reason, offered.external
        psk = offered.psk
        if psk is not None and early is not None and SUITES[psk.cipher].hash is hash_facts:
            kind: BinderKind = external.binder_kind if external is not None else "resumption"
            second_raw = _pack_with_binder(second, psk, early, transcript, config.clock(), kind=kind)
        else:
            if early is not None:
                reason = Reason.OTHER_HASH
            session, early, external = None, None, None
            second_raw = second.pack()
        transcript.add(second_raw)
        if config.middlebox_compatibility and offered.flow is None:
            out.send_change_cipher_spec()
        out.send(second_raw)
        out.emit(HelloRetried(group, _COOKIE in bodies))
        retried = replace(
            offered,
            hello=second,
            shares=shares,
            session=session,
            early=early,
            reason=reason,
            retried=True,
            external=external,
        )
        return ExpectSecondServerHello(retried, transcript, message.cipher_suite)

    def change_cipher_spec(self, out: Output) -> State:
        """Ignored as long as the server may choose TLS 1.3. RFC 9846, section 5."""
        if self.offered.config.maximum_version < _TLS13:
            return State.change_cipher_spec(self, out)
        return replace(self, changed=True)


@frozen
class ExpectSecondServerHello(Handshaking13):
    """Awaiting the ServerHello after a HelloRetryRequest. RFC 9846, section 4.2.4 [8446: 4.1.4]."""

    is_tls13: ClassVar[bool] = True

    offered: Offered
    transcript: Transcript
    suite: int

    @on(ServerHello)
    def on_server_hello(self, message: ServerHello, raw: bytes, out: Output) -> client13.ExpectEncryptedExtensions:
        """The same suite and group as the request named, and no second request."""
        if message.is_hello_retry_request:
            raise client13.second_retry()
        if check_version(self.offered, message) != _TLS13:
            raise IllegalParameter("the server asked for a second TLS 1.3 hello and chose another version then")
        check_echo(self.offered, message)
        if message.cipher_suite != self.suite:
            raise IllegalParameter("the ServerHello names another suite than the HelloRetryRequest before it")
        self.transcript.add(raw)
        return client13.on_server_hello(self.offered, message, self.transcript, out)


def check_version(offered: Offered, message: ServerHello) -> int:
    """The version the server chose: one that was offered, and no downgrade. RFC 9846, section 4.2.3."""
    config = offered.config
    body = message.extensions.get(_SUPPORTED_VERSIONS)
    if body is not None:
        if _SUPPORTED_VERSIONS not in offered.hello.extensions:
            raise UnsupportedExtension("the ServerHello answers supported_versions, which was not offered")
        version = extensions.parse_supported_versions_server(body)
        if message.legacy_version != _TLS12:
            raise ProtocolVersionUnsupported("legacy_version of a TLS 1.3 ServerHello must be 0x0303")
        if version != _TLS13 or not config.minimum_version <= version <= config.maximum_version:
            raise IllegalParameter(f"the server chose version 0x{version:04x}, which was not offered this way")
        return version
    if message.is_hello_retry_request:
        raise MissingExtension("the HelloRetryRequest has no supported_versions extension")
    version = message.legacy_version
    if version != _TLS12 or not config.minimum_version <= version <= config.maximum_version:
        raise ProtocolVersionUnsupported(f"the server chose version 0x{version:04x}, which is not accepted here")
    if config.maximum_version >= _TLS13 and message.random[24:] in _DOWNGRADE_SENTINELS:
        raise IllegalParameter("the server could speak TLS 1.3 and chose less: someone is tampering")
    return version


def check_echo(offered: Offered, message: ServerHello) -> SuiteFacts:
    """What a TLS 1.3 ServerHello echoes or picks from the hello. RFC 9846, section 4.2.3. Returns the suite's facts."""
    if message.legacy_session_id_echo != offered.hello.legacy_session_id:
        raise IllegalParameter("the ServerHello does not echo legacy_session_id")
    if message.cipher_suite not in offered.hello.cipher_suites:
        raise IllegalParameter(f"the server chose suite 0x{message.cipher_suite:04x}, which was not offered")
    facts = SUITES.get(message.cipher_suite)
    if facts is None or facts.version != _TLS13:
        raise IllegalParameter(f"the server chose suite 0x{message.cipher_suite:04x}, which is not a TLS 1.3 suite")
    if message.legacy_compression_method != 0:
        raise IllegalParameter("the server chose a compression method")
    return facts
