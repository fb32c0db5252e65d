"""The TLS 1.2 server from the ClientHello on: full and abbreviated handshakes. RFC 5246, 5077, 5746, 7627, 8422.

The order is that of the eligibility checklist, as in `server13`: policy first, then the session that the client names
by a ticket or an id, which the gate judges. A ticket that fails does not fall back to the id.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

from resumption.config import ServerConfig
from resumption.constants import CertificateStatusType, ExtensionType, ProtocolVersion
from resumption.crypto.certificates import CertifiedKey
from resumption.crypto.groups import generate
from resumption.crypto.schedule12 import MasterSecret12
from resumption.crypto.suites import SUITES, SuiteFacts
from resumption.errors import (
    HandshakeFailure,
    IllegalParameter,
    InappropriateFallback,
)
from resumption.frozen import frozen
from resumption.handshake.established12 import Keys, RecordedTranscript
from resumption.handshake.events import NeedSession, NeedSignature
from resumption.handshake.finish12 import (
    Choice,
    ExpectCertificate,
    ExpectChangeCipherSpec,
    ExpectKeyExchange,
    Opening,
    Progress,
)
from resumption.handshake.hello import ClientHelloFacts
from resumption.handshake.record_sizes import asked_mode, grant
from resumption.handshake.revalidation import still_acceptable
from resumption.handshake.selection12 import choose_group, choose_suite
from resumption.handshake.state import AwaitingAnswer, Output, Transcript
from resumption.handshake.tickets import open_session, tell_no_ticket
from resumption.session.gate import Offer, eligible
from resumption.session.model import Session
from resumption.session.verdicts import Abort, Mechanism, Reason
from resumption.wire import extensions, messages12
from resumption.wire.templates import pack_extension, pack_server_hello

__all__ = [
    "AwaitSession",
    "AwaitSignature",
    "negotiate",
]

_TLS12 = int(ProtocolVersion.TLSv1_2)
_TLS13 = int(ProtocolVersion.TLSv1_3)
_ALPN = int(ExtensionType.application_layer_protocol_negotiation)
_EMS = int(ExtensionType.extended_master_secret)
_RENEGOTIATION_INFO = int(ExtensionType.renegotiation_info)
_SESSION_TICKET = int(ExtensionType.session_ticket)
_SERVER_NAME = int(ExtensionType.server_name)
_STATUS_REQUEST = int(ExtensionType.status_request)
_TIMESTAMPS = int(ExtensionType.signed_certificate_timestamp)
_POINT_FORMATS = int(ExtensionType.ec_point_formats)
_RENEGOTIATION_SCSV = 0x00FF
_FALLBACK_SCSV = 0x5600
_UNCOMPRESSED = b"\x01\x00"
_EMPTY_RENEGOTIATION_INFO = b"\x00"
_DOWNGRADED = b"DOWNGRD\x01"  # the last bytes of a random when this server could have done TLS 1.3
_CERTIFICATE_TYPES = b"\x40\x01"  # ecdsa_sign, rsa_sign

Next: TypeAlias = "AwaitSession | AwaitSignature | ExpectCertificate | ExpectKeyExchange | ExpectChangeCipherSpec"


def negotiate(config: ServerConfig, facts: ClientHelloFacts, alpn: bytes | None, raw: bytes, out: Output) -> Next:
    """Answer a ClientHello in TLS 1.2. RFC 5246, section 7.4.1.2."""
    hello = facts.hello
    suites = hello.cipher_suites
    if b"\x00"[0] not in hello.legacy_compression_methods:
        raise IllegalParameter("the client does not offer the null compression method")
    if _FALLBACK_SCSV in suites and config.maximum_version > _TLS12:
        raise InappropriateFallback("the client fell back to TLS 1.2, and both sides could do better")
    if facts.renegotiation_info:
        raise HandshakeFailure("renegotiation_info of a first handshake must be empty")
    if facts.point_formats is not None and 0 not in facts.point_formats:
        raise IllegalParameter("the client does not support uncompressed points")
    sizes = grant(config, facts, _TLS12)
    if sizes is not None:
        out.limit_records(sizes.send, sizes.receive, sizes.unprotected)
    return _find_session(Choice(config, facts, raw, alpn, facts.extended_master_secret, sizes), out)


def _find_session(choice: Choice, out: Output) -> Next:
    """The session that the client names: by its ticket, or else by its id. RFC 5077, section 3.4."""
    config, facts = choice.config, choice.facts
    mechanisms = config.mechanisms
    ticket = facts.session_ticket
    if ticket and Mechanism.TICKET_12 in mechanisms:
        session = open_session(config, ticket, Mechanism.TICKET_12, config.clock(), out)
        if session is not None:
            return _judge(choice, session, Mechanism.TICKET_12, out)
        if out.ticket_renewal is None:  # otherwise the application had it ignored: then the id counts
            return _answer_full(choice, Reason.UNKNOWN, out)
    elif choice.wants_ticket:
        tell_no_ticket(config, out)
    session_id = facts.hello.legacy_session_id
    if not session_id:
        return _answer_full(choice, Reason.NOT_OFFERED, out)
    if Mechanism.SESSION_ID not in mechanisms:
        return _answer_full(choice, Reason.MECHANISM_DISABLED, out)
    out.ask(NeedSession(session_id, _TLS12, Mechanism.SESSION_ID, config.partition))
    return AwaitSession(choice)


@frozen
class AwaitSession(AwaitingAnswer["Session | Reason | None"]):
    """Awaiting an answer to the question who holds the session with the client's id."""

    choice: Choice

    def on_answer(self, answer: Session | Reason | None, out: Output) -> Next:
        """Go on with the session, whose reference the connection now holds, or with a full handshake."""
        if not isinstance(answer, Session):
            return _answer_full(self.choice, answer or Reason.UNKNOWN, out)
        return _judge(self.choice, answer, Mechanism.SESSION_ID, out)


def _judge(choice: Choice, session: Session, mechanism: Mechanism, out: Output) -> Next:
    """Ask the gate, and resume or not."""
    facts, config, secret = choice.facts, choice.config, session.secret
    offer = Offer(
        mechanism=mechanism,
        version=_TLS12,
        suites=facts.hello.cipher_suites,
        server_name=facts.server_name or None,
        extended_master_secret=choice.extended_master_secret,
        max_fragment_mode=asked_mode(facts),
    )
    now, resumable = config.clock(), mechanism is Mechanism.TICKET_12 or session.is_resumable
    verdict = eligible(session.data, secret, config.policy, offer, now, resumable=resumable)
    if verdict.reason is None and config.looks_again and not still_acceptable(config, session, now, out):
        verdict = eligible(session.data, secret, config.policy, offer, now, resumable=resumable, revalidated=False)
    if isinstance(verdict, Abort):
        out.decline(session, verdict.reason)
        raise HandshakeFailure(f"the offered session cannot be resumed: {verdict.reason.sentence}")
    if verdict.reason is not None:
        out.decline(session, verdict.reason)
        return _answer_full(choice, verdict.reason, out)
    return _answer_resumed(choice, session, secret, mechanism, out)


def _server_hello(
    choice: Choice, suite: SuiteFacts, session_id: bytes, ticket: bool, resumed: bool = False, beside: bytes = b""
) -> tuple[bytes, bytes]:
    """The packed ServerHello, and the random in it. RFC 5246, section 7.4.1.3."""
    config, facts = choice.config, choice.facts
    random = config.random(32)
    if config.maximum_version >= _TLS13:
        random = random[:24] + _DOWNGRADED
    block = _answers(
        bool(facts.server_name) and not resumed,  # not when a session is resumed: RFC 6066, section 3
        facts.renegotiation_info is not None or _RENEGOTIATION_SCSV in facts.hello.cipher_suites,
        facts.point_formats is not None,
        choice.extended_master_secret,
        ticket,
        choice.alpn,
    )
    if choice.sizes is not None:
        block += pack_extension(*choice.sizes.extension)
    block += beside
    return pack_server_hello(random, session_id, suite.suite, block), random


@lru_cache(64)
def _answers(
    named: bool, renegotiation: bool, point_formats: bool, master_secret: bool, ticket: bool, alpn: bytes | None
) -> bytes:
    """The extensions of a ServerHello, packed: only what the client offered is answered."""
    bodies: dict[int, bytes] = {}
    if named:
        bodies[_SERVER_NAME] = b""
    if renegotiation:
        bodies[_RENEGOTIATION_INFO] = _EMPTY_RENEGOTIATION_INFO
    if point_formats:
        bodies[_POINT_FORMATS] = _UNCOMPRESSED
    if master_secret:
        bodies[_EMS] = b""
    if ticket:
        bodies[_SESSION_TICKET] = b""
    if alpn is not None:
        bodies[_ALPN] = extensions.pack_alpn_server(alpn)
    return b"".join([pack_extension(number, body) for number, body in bodies.items()])


def _answer_resumed(
    choice: Choice, session: Session, secret: bytes, mechanism: Mechanism, out: Output
) -> ExpectChangeCipherSpec:
    """The abbreviated handshake: the server finishes first. RFC 5246, section 7.3; RFC 5077, section 3.4."""
    config, facts = choice.config, choice.facts
    hello = facts.hello
    out.hold(session)
    before = session.data
    now = config.clock()
    suite = SUITES[before.cipher]
    renew = choice.wants_ticket and (
        now - before.time > before.timeout / 2 if out.ticket_renewal is None else out.ticket_renewal
    )
    raw, random = _server_hello(choice, suite, hello.legacy_session_id, renew, resumed=True)
    transcript = Transcript(suite.hash, choice.raw, raw)
    out.send(raw)
    master = MasterSecret12(suite.hash, secret)
    keys = Keys.derive(suite, master, hello.random, random)
    data = before if before.alpn == choice.alpn else before.replaced(alpn=choice.alpn)
    progress = Progress(config, choice, suite, transcript, keys, random, data, session, mechanism, None, False)
    if renew:
        # The new ticket says when the old lineage began and ends: renewing never prolongs it (F14).
        left_s = int(before.expires_at - now)
        progress.send_ticket(data.replaced(session_id=b"", time=now, timeout=left_s), master, out)
    progress.finish(master, out)
    return ExpectChangeCipherSpec(progress, master)


def _answer_full(choice: Choice, reason: Reason, out: Output) -> ExpectCertificate | ExpectKeyExchange | AwaitSignature:
    """The server's whole flight of a full handshake. RFC 5246, section 7.3."""
    config, facts = choice.config, choice.facts
    hello = facts.hello
    schemes = facts.schemes
    if schemes is None:
        raise HandshakeFailure("the client has no signature_algorithms, which means SHA-1: not accepted here")
    group = choose_group(config, facts)
    suite, key, scheme = choose_suite(config, facts, schemes)
    keeps_ids = Mechanism.SESSION_ID in config.mechanisms
    resumable = out.allows_resumption()
    ticket = choice.wants_ticket and resumable and out.ticket_renewal is not False
    session_id = b"" if ticket or not keeps_ids or not resumable else out.new_session_id(_TLS12)
    status = key.ocsp_response if facts.wants_status else None
    beside = b"" if status is None else pack_extension(_STATUS_REQUEST, b"")
    if facts.wants_scts and key.scts:
        beside += pack_extension(_TIMESTAMPS, extensions.pack_signed_certificate_timestamp_server(key.scts))
    raw, random = _server_hello(choice, suite, session_id, ticket, beside=beside)
    share = generate(group)
    params = messages12.pack_server_ecdh_params(group, share.public)
    content = hello.random + random + params
    opening = Opening(choice, suite, random, session_id, ticket, share, RecordedTranscript(suite.hash), reason)
    if key.signer is not None:
        question = NeedSignature(key, scheme, content, _TLS12)
        out.ask(question)
        return AwaitSignature(opening, raw, status, question)
    return _send_flight(opening, raw, status, key, scheme, key.sign(scheme, content, _TLS12), out)


@frozen
class AwaitSignature(AwaitingAnswer[bytes]):
    """Awaiting our ServerKeyExchange's signature, which the holder of the key makes. No message may come meanwhile."""

    opening: Opening
    server_hello: bytes
    status: bytes | None
    question: NeedSignature

    def on_answer(self, answer: bytes, out: Output) -> ExpectCertificate | ExpectKeyExchange:
        """Send the flight."""
        question = self.question
        signature = question.checked(answer)
        return _send_flight(self.opening, self.server_hello, self.status, question.key, question.scheme, signature, out)


def _send_flight(
    opening: Opening,
    server_hello: bytes,
    status: bytes | None,
    key: CertifiedKey,
    scheme: int,
    signature: bytes,
    out: Output,
) -> ExpectCertificate | ExpectKeyExchange:
    choice, share = opening.choice, opening.share
    config = choice.config
    flight = [
        server_hello,
        config.certificate_messages_12[key],
        messages12.ServerKeyExchange(messages12.NAMED_CURVE, share.group, share.public, scheme, signature).pack(),
    ]
    if status is not None:
        flight.insert(2, messages12.CertificateStatus(int(CertificateStatusType.ocsp), status).pack())
    asked = config.client_auth != "none"
    if asked:
        flight.append(messages12.CertificateRequest(_CERTIFICATE_TYPES, config.schemes, config.authorities).pack())
    flight.append(messages12.ServerHelloDone().pack())
    opening.transcript.add(choice.raw + b"".join(flight))
    for message in flight:
        out.send(message)
    return ExpectCertificate(opening) if asked else ExpectKeyExchange(opening, ())
