"""The TLS 1.3 server from the ClientHello to its first tickets. RFC 9846, section 4 and appendix A.2.

The order is that of the eligibility checklist: policy first (version, suite, certificate), then the session that the
client offers, which the gate judges, then the binder. An answer from outside (a store) is awaited in `AwaitSession`.
"""

from __future__ import annotations

from hmac import compare_digest
from typing import TypeAlias

from resumption.config import ServerConfig
from resumption.constants import ExtensionType, ProtocolVersion
from resumption.crypto.cookies import RetryFacts
from resumption.crypto.schedule13 import EarlySecret
from resumption.crypto.suites import SUITES, SuiteFacts
from resumption.errors import (
    DecryptError,
    HandshakeFailure,
    IllegalParameter,
    MissingExtension,
    ProtocolVersionUnsupported,
)
from resumption.frozen import frozen
from resumption.handshake.choice13 import (
    MAX_IDENTITIES,
    Accepted,
    Choice,
    admission_of,
    skippable,
    why_not_early,
    with_suite_for,
)
from resumption.handshake.events import HelloRetried, NeedSession, NeedSpending
from resumption.handshake.external13 import suite_before_retry, take_external
from resumption.handshake.flight13 import Answered, answer
from resumption.handshake.hello import ClientHelloFacts
from resumption.handshake.placement import Place, check_request
from resumption.handshake.record_sizes import asked_mode
from resumption.handshake.retry13 import check_psks, check_repeated, pack_retry, requested_share, unchanged_digest
from resumption.handshake.revalidation import still_acceptable
from resumption.handshake.state import AwaitingAnswer, Handshaking13, Output, Transcript, on
from resumption.handshake.tickets import open_session
from resumption.session.early import EarlyData, EarlyReason, EarlyState
from resumption.session.fleet.replay import spent_key
from resumption.session.gate import Offer, eligible
from resumption.session.model import Session
from resumption.session.verdicts import Mechanism, Reason
from resumption.wire import extensions
from resumption.wire.messages import (
    ClientHello,
)

__all__ = [
    "AwaitAdmission",
    "AwaitSession",
    "AwaitSpending",
    "ExpectSecondClientHello",
    "negotiate",
]

_TLS12 = int(ProtocolVersion.TLSv1_2)
_TLS13 = int(ProtocolVersion.TLSv1_3)
_COMPRESS_CERTIFICATE = int(ExtensionType.compress_certificate)
_COOKIE = int(ExtensionType.cookie)
_EARLY_DATA = int(ExtensionType.early_data)
_SUPPORTED_VERSIONS = int(ExtensionType.supported_versions)
_SELECTED_VERSION = extensions.pack_supported_versions_server(_TLS13)
_STATEFUL_LENGTH = 32  # a stateful ticket is a session id of at most 32 bytes; a sealed one is always longer


def negotiate(
    config: ServerConfig, facts: ClientHelloFacts, alpn: bytes | None, raw: bytes, out: Output
) -> ExpectSecondClientHello | Asked | Answered:
    """Answer a first ClientHello in TLS 1.3. RFC 9846, section 4.2 [8446: 4.1.1]."""
    hello = facts.hello
    if hello.legacy_version != _TLS12:
        raise ProtocolVersionUnsupported("legacy_version of a TLS 1.3 ClientHello must be 0x0303")
    check_request(hello.extensions, Place.CH)
    if hello.legacy_compression_methods != b"\x00":
        raise IllegalParameter("a TLS 1.3 ClientHello offers exactly the null compression method")
    if config.certificate_compression and _COMPRESS_CERTIFICATE in hello.extensions:  # elsewhere nobody knows it
        extensions.parse_compress_certificate(hello.extensions[_COMPRESS_CERTIFICATE])
    offered_suites = hello.cipher_suites
    for number in config.suites_13:
        if number in offered_suites:
            suite = SUITES[number]
            break
    else:
        raise HandshakeFailure("the client offers no TLS 1.3 cipher suite that is enabled here")
    groups, shares = facts.groups, facts.key_shares
    if (groups is None) != (shares is None):
        raise MissingExtension("supported_groups and key_share must come together")
    if groups is None or shares is None:
        if facts.psk is None:
            raise MissingExtension("the ClientHello has neither a key_share nor a PSK")
        # psk_ke is not served: every resumption here has its own key exchange (F48).
        raise HandshakeFailure("the client offers a PSK without a key exchange")
    check_shares(groups, shares)
    offered_shares = dict(shares)
    if config.cookies is not None or _COOKIE in hello.extensions:
        return negotiate_statelessly(config, facts, alpn, raw, suite, groups, offered_shares, out)
    wanted = None
    for group in config.groups:
        if group in offered_shares:
            transcript = Transcript(suite.hash)
            choice = Choice(config, facts, raw, transcript, suite, group, offered_shares[group], alpn, False)
            return choose_session(choice, 0, None, out)
        if wanted is None and group in groups:
            wanted = group
    if wanted is None:
        raise HandshakeFailure("the client offers no key exchange group that is enabled here")
    suite = suite_before_retry(config, facts, suite, out)
    return ask_again(config, facts, suite, wanted, True, alpn, raw, None, out)


def negotiate_statelessly(
    config: ServerConfig,
    facts: ClientHelloFacts,
    alpn: bytes | None,
    raw: bytes,
    suite: SuiteFacts,
    groups: tuple[int, ...],
    shares: dict[int, bytes],
    out: Output,
) -> ExpectSecondClientHello | Asked | Answered:
    """Every client is sent away with a cookie, and whoever brings one goes on from there, at any server with the key.

    RFC 9846, section 4.3.2 [8446: 4.2.2]. A cookie is only taken by a server that sends them.
    """
    cookies, hello, now = config.cookies, facts.hello, config.clock()
    body = hello.extensions.get(_COOKIE)
    if cookies is None:
        raise IllegalParameter("the ClientHello carries a cookie, and this server sends none")
    if body is None:
        wanted = next((group for group in config.groups if group in shares), None)
        asked = wanted is None
        if wanted is None:
            wanted = next((group for group in config.groups if group in groups), None)
        if wanted is None:
            raise HandshakeFailure("the client offers no key exchange group that is enabled here")
        suite = suite_before_retry(config, facts, suite, out)
        hello_hash = suite.hash.new(raw).digest()
        retry = RetryFacts(suite.suite, wanted, asked, unchanged_digest(hello), hello_hash)
        cookie = cookies.seal(retry, out.peer_address, now)
        return ask_again(config, facts, suite, wanted, asked, alpn, raw, cookie, out)
    cookie = extensions.parse_cookie(body)
    retry = cookies.open(cookie, out.peer_address, now)
    if retry.suite not in config.suites_13 or not compare_digest(retry.unchanged, unchanged_digest(hello)):
        raise IllegalParameter("the second ClientHello differs from the one that the cookie is about")
    suite = SUITES[retry.suite]
    share = requested_share(facts, retry.group, retry.asked)
    sent = pack_retry(hello.legacy_session_id, suite.suite, retry.group if retry.asked else None, cookie)
    transcript = Transcript.after_retry_hash(suite.hash, retry.hello_hash, sent)
    return choose_session(Choice(config, facts, raw, transcript, suite, retry.group, share, alpn, True), 0, None, out)


def ask_again(
    config: ServerConfig,
    facts: ClientHelloFacts,
    suite: SuiteFacts,
    group: int,
    asked: bool,
    alpn: bytes | None,
    raw: bytes,
    cookie: bytes | None,
    out: Output,
) -> ExpectSecondClientHello:
    """Send a HelloRetryRequest: for a share of ``group`` if ``asked``, with a cookie if there is one."""
    hello = facts.hello
    retry = pack_retry(hello.legacy_session_id, suite.suite, group if asked else None, cookie)
    out.send(retry)
    if hello.legacy_session_id:
        out.send_change_cipher_spec()
    if _EARLY_DATA in hello.extensions:
        out.skip_early_data(skippable(config))
        out.early_data_is(EarlyData(EarlyState.REJECTED, EarlyReason.RETRIED))
    out.emit(HelloRetried(group if asked else None, cookie is not None))
    transcript = Transcript.after_retry(suite.hash, raw, retry)
    return ExpectSecondClientHello(config, facts, suite, group, asked, cookie, alpn, transcript)


def check_shares(groups: tuple[int, ...], shares: tuple[tuple[int, bytes], ...]) -> None:
    """Each share is for a group that is listed, in its order, and none twice. RFC 9846, section 4.3.8 [8446: 4.2.8]."""
    seen = set()
    for group, _ in shares:
        if group in seen:
            raise IllegalParameter("two key shares are for one group")
        if group not in groups:
            raise IllegalParameter("a key share is for a group that supported_groups does not list")
        seen.add(group)


@frozen
class ExpectSecondClientHello(Handshaking13):
    """Awaiting the hello that a HelloRetryRequest asked for. RFC 9846, section 4.2.4 [8446: 4.1.4]."""

    config: ServerConfig
    first: ClientHelloFacts
    suite: SuiteFacts
    group: int
    asked: bool  # for a share of it; otherwise it was there
    cookie: bytes | None
    alpn: bytes | None
    transcript: Transcript

    @on(ClientHello)
    def on_client_hello(self, message: ClientHello, raw: bytes, out: Output) -> Asked | Answered:
        """Nothing may have changed but what the request asked for (F35)."""
        facts = ClientHelloFacts(message)
        check_repeated(self.first.hello, message)
        check_psks(self.first, facts)
        body = message.extensions.get(_COOKIE)
        if self.cookie is None:
            if body is not None:
                raise IllegalParameter("the second ClientHello carries a cookie that nobody sent")
        elif body is None:
            raise MissingExtension("the second ClientHello does not bring the cookie back")
        elif not compare_digest(extensions.parse_cookie(body), self.cookie):
            raise IllegalParameter("the second ClientHello brings another cookie")
        share = requested_share(facts, self.group, self.asked)
        if not self.asked and self.first.key_shares != facts.key_shares:
            raise IllegalParameter("the key shares differ between the two ClientHellos")
        choice = Choice(self.config, facts, raw, self.transcript, self.suite, self.group, share, self.alpn, True)
        return choose_session(choice, 0, None, out)


def choose_session(choice: Choice, index: int, reason: Reason | None, out: Output) -> Asked | Answered:
    """Go through the offered identities from ``index`` on until one passes the gate. RFC 9846, section 4.3.11."""
    facts, config = choice.facts, choice.config
    psk = facts.psk
    if psk is None:
        return answer(choice, None, reason or Reason.NOT_OFFERED, out)
    if not facts.has_psk_modes:
        raise MissingExtension("pre_shared_key came without psk_key_exchange_modes")
    if len(psk.binders) != len(psk.identities):
        raise IllegalParameter(f"{len(psk.identities)} PSK identities came with {len(psk.binders)} binders")
    if not facts.psk_dhe_ke:
        return answer(choice, None, Reason.NO_PSK_DHE_KE, out)
    mechanisms = config.mechanisms
    for position in range(index, min(len(psk.identities), MAX_IDENTITIES)):
        identity = psk.identities[position][0]
        external = config.psk_for(identity, out) if config.psks is not None else None
        if external is not None:
            taken = take_external(choice, external, psk, position)
            if not isinstance(taken, Reason):
                return answer(taken[0], taken[1], None, out)
            reason = taken
            continue
        if len(identity) <= _STATEFUL_LENGTH:
            if Mechanism.STATEFUL_13 not in mechanisms:
                reason = Reason.MECHANISM_DISABLED
                continue
            out.ask(NeedSession(identity, _TLS13, Mechanism.STATEFUL_13, config.partition))
            return AwaitSession(choice, position, reason)
        session = open_session(config, identity, Mechanism.STATELESS_13, config.clock(), out)
        if session is None:
            reason = Reason.UNKNOWN if config.tickets is not None else Reason.MECHANISM_DISABLED
            continue
        secret = session.secret
        suited = suit(choice, session)
        verdict = judge(suited, session, secret, Mechanism.STATELESS_13, out)
        if verdict is None:
            return accept(suited, position, session, secret, Mechanism.STATELESS_13, out)
        out.decline(session, verdict)
        reason = verdict
    return answer(choice, None, reason or Reason.UNKNOWN, out)


def suit(choice: Choice, session: Session) -> Choice:
    """``choice`` with a suite that ``session`` can resume with, if there is one."""
    cipher = session.data.cipher
    own = SUITES.get(cipher)
    return choice if own is None else with_suite_for(choice, own.hash, cipher)


def judge(choice: Choice, session: Session, secret: bytes, mechanism: Mechanism, out: Output) -> Reason | None:
    """Ask the gate. None means that the session may resume this connection."""
    facts, config, now = choice.facts, choice.config, choice.config.clock()
    offer = Offer(
        mechanism=mechanism,
        version=_TLS13,
        suites=facts.hello.cipher_suites,
        suite=choice.suite.suite,
        server_name=facts.server_name or None,
        psk_dhe_ke=facts.psk_dhe_ke,
        max_fragment_mode=asked_mode(facts),
    )
    resumable = session.is_resumable
    verdict = eligible(session.data, secret, config.policy, offer, now, resumable=resumable)
    if verdict.reason is None and config.looks_again and not still_acceptable(config, session, now, out):
        verdict = eligible(session.data, secret, config.policy, offer, now, resumable=resumable, revalidated=False)
    return verdict.reason  # never an Abort: those are about the extended master secret, which TLS 1.3 does not have


@frozen
class AwaitSession(AwaitingAnswer["Session | Reason | None"]):
    """Awaiting an answer to the question who holds a session. No message may come meanwhile."""

    choice: Choice
    position: int
    reason: Reason | None

    def on_answer(self, answer: Session | Reason | None, out: Output) -> Asked | Answered:
        """Go on with the session, whose reference the connection now holds, or with the next identity."""
        session = answer
        if not isinstance(session, Session):
            return choose_session(self.choice, self.position + 1, session or Reason.UNKNOWN, out)
        secret = session.secret
        suited = suit(self.choice, session)
        verdict = judge(suited, session, secret, Mechanism.STATEFUL_13, out)
        if verdict is None:
            return accept(suited, self.position, session, secret, Mechanism.STATEFUL_13, out)
        out.decline(session, verdict)
        return choose_session(self.choice, self.position + 1, verdict, out)


def accept(
    choice: Choice, position: int, session: Session, secret: bytes, mechanism: Mechanism, out: Output
) -> Asked | Answered:
    """The gate let ``session`` pass: now the binder must verify. A wrong one aborts. RFC 9846, section 4.3.11.2."""
    psk = choice.facts.psk
    if psk is None:
        raise MissingExtension("no PSK was offered")
    early = EarlySecret.from_psk(choice.suite.hash, secret)
    truncated = choice.raw[: -psk.binders_length]
    try:
        early.verify_binder(choice.transcript.digest_with(truncated), psk.binders[position])
    except DecryptError:
        session.release(out.holder)
        raise
    out.hold(session)
    if mechanism is Mechanism.STATEFUL_13 and not out.consume(session):
        out.decline(session, Reason.ALREADY_SPENT)
        return choose_session(choice, position + 1, Reason.ALREADY_SPENT, out)
    accepted = Accepted(session, early, position, mechanism)
    spent = choice.config.spent_tickets
    if spent is not None and mechanism is Mechanism.STATELESS_13:
        data = session.data
        out.ask(NeedSpending(spent, spent_key(secret, choice.config.partition), data.time, data.expires_at))
        return AwaitSpending(choice, psk, accepted)
    return resume(choice, psk, accepted, out)


def resume(choice: Choice, psk: extensions.OfferedPsks, accepted: Accepted, out: Output) -> AwaitAdmission | Answered:
    """The session resumes this connection; whether its early data is taken has to be seen."""
    if _EARLY_DATA not in choice.facts.hello.extensions:
        return answer(choice, accepted, None, out)
    refusal = why_not_early(choice, psk, accepted)
    if refusal is not None:
        return answer(choice, accepted, None, out, refusal)
    out.ask(admission_of(choice, psk, accepted))
    return AwaitAdmission(choice, accepted)


@frozen
class AwaitSpending(AwaitingAnswer["Reason | None"]):
    """Awaiting an answer to the question whether a ticket was spent before. No message may come meanwhile."""

    choice: Choice
    psk: extensions.OfferedPsks
    accepted: Accepted

    def on_answer(self, reason: Reason | None, out: Output) -> Asked | Answered:
        """Go on with the session, or with the next identity."""
        accepted = self.accepted
        if reason is None:
            return resume(self.choice, self.psk, accepted, out)
        out.decline(accepted.session, reason)
        return choose_session(self.choice, accepted.position + 1, reason, out)


@frozen
class AwaitAdmission(AwaitingAnswer["EarlyReason | None"]):
    """Awaiting an answer to the question whether a hello with early data is new. No message may come meanwhile."""

    choice: Choice
    accepted: Accepted

    def on_answer(self, refusal: EarlyReason | None, out: Output) -> Answered:
        """Take the early data if there is no ``refusal``; the session resumes in any case."""
        allow = self.choice.config.on_allow_early_data
        if refusal is None and allow is not None and not allow(out, self.accepted.session):
            refusal = EarlyReason.VETOED
        return answer(self.choice, self.accepted, None, out, refusal)


Asked: TypeAlias = AwaitSession | AwaitSpending | AwaitAdmission
