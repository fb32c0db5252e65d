"""The whole flight that a TLS 1.3 server answers a ClientHello with. RFC 9846, sections 4.2.3, 4.4 and 4.5.

What it answers, and with which session or key, was chosen before: see `server13`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

from resumption.constants import MAX_PLAINTEXT_LENGTH, ExtensionType, ProtocolVersion
from resumption.crypto.certificates import CertifiedKey
from resumption.crypto.groups import respond
from resumption.crypto.protection import RecordOpener13, RecordSealer13
from resumption.crypto.schedule13 import EarlySecret, HandshakeSecrets
from resumption.errors import HandshakeFailure, MissingExtension
from resumption.frozen import frozen
from resumption.handshake.authentication13 import Unproven, ask_for_proof, send_certificate_verify
from resumption.handshake.choice13 import (
    Accepted,
    Choice,
    open_early_data,
    skippable,
)
from resumption.handshake.compressed13 import compressed_for
from resumption.handshake.early13 import EarlyFlow
from resumption.handshake.established13 import Negotiated, log_application_secrets
from resumption.handshake.external13 import External
from resumption.handshake.finish13 import ExpectCertificate, ExpectEndOfEarlyData, ExpectFinished, Progress
from resumption.handshake.identity13 import Identity
from resumption.handshake.record_sizes import grant
from resumption.handshake.state import AwaitingAnswer, Output
from resumption.handshake.tickets import answer_ticket_request
from resumption.session.early import EarlyReason
from resumption.session.verdicts import Reason, Resumption
from resumption.wire import extensions
from resumption.wire.grease import grease_for
from resumption.wire.messages import (
    CertificateRequest,
    EncryptedExtensions,
    Finished,
)
from resumption.wire.templates import pack_extension, pack_server_hello, pack_share

__all__ = ["Answered", "AwaitSignature", "answer", "encrypted_extensions"]

_TLS13 = int(ProtocolVersion.TLSv1_3)
_SERVER_NAME = int(ExtensionType.server_name)
_ALPN = int(ExtensionType.application_layer_protocol_negotiation)
_KEY_SHARE = int(ExtensionType.key_share)
_COMPRESS_CERTIFICATE = int(ExtensionType.compress_certificate)
_EARLY_DATA = int(ExtensionType.early_data)
_PRE_SHARED_KEY = int(ExtensionType.pre_shared_key)
_SUPPORTED_VERSIONS = int(ExtensionType.supported_versions)
_SELECTED_VERSION = extensions.pack_supported_versions_server(_TLS13)
_VERSION_EXTENSION = pack_extension(_SUPPORTED_VERSIONS, _SELECTED_VERSION)

Concluded: TypeAlias = ExpectCertificate | ExpectEndOfEarlyData | ExpectFinished
Answered: TypeAlias = "Concluded | AwaitSignature"


@lru_cache(64)
def encrypted_extensions(named: bool, alpn: bytes | None, more: tuple[tuple[int, bytes], ...]) -> bytes:
    """The EncryptedExtensions message: it acknowledges the name, says the protocol, and ``more`` that few clients ask
    for. RFC 9846, section 4.4.1."""
    bodies = dict(more)
    if named:
        bodies[_SERVER_NAME] = b""
    if alpn is not None:
        bodies[_ALPN] = extensions.pack_alpn_server(alpn)
    return EncryptedExtensions(bodies).pack()


def answer(
    choice: Choice,
    accepted: Accepted | External | None,
    reason: Reason | None,
    out: Output,
    refusal: EarlyReason | None = EarlyReason.NOT_RESUMED,
) -> Answered:
    """Send the server's whole flight. RFC 9846, sections 4.2.3 and 4.4 [8446: 4.1.3, 4.3, 4.4].

    ``refusal``: why early data is not taken, if there is any; None: it is.
    """
    config, facts, suite, transcript = choice.config, choice.facts, choice.suite, choice.transcript
    hello = facts.hello
    sizes = grant(config, facts, _TLS13)
    selected: tuple[CertifiedKey, int] | None = None
    if accepted is None:
        schemes = facts.schemes
        if schemes is None:
            raise MissingExtension("the ClientHello has no signature_algorithms")
        selected = config.select_certificate(
            facts.server_name or None, schemes, facts.certificate_schemes, facts.authorities
        )
        if selected is None:
            raise HandshakeFailure("the client can check none of this server's certificates")
    transcript.add(choice.raw)
    flow: EarlyFlow | None = None
    is_early = _EARLY_DATA in hello.extensions
    if is_early:
        flow = open_early_data(choice, accepted if isinstance(accepted, Accepted) else None, refusal, out)
    our_share, shared_secret = respond(choice.group, choice.share)
    block = _VERSION_EXTENSION + pack_extension(_KEY_SHARE, pack_share(choice.group, our_share))
    if accepted is not None:
        block += pack_extension(_PRE_SHARED_KEY, extensions.pack_pre_shared_key_server(accepted.position))
    server_hello = pack_server_hello(config.random(32), hello.legacy_session_id, suite.suite, block)
    transcript.add(server_hello)
    out.send(server_hello)
    if hello.legacy_session_id and not choice.retried:
        out.send_change_cipher_spec()
    early = accepted.early if accepted is not None else EarlySecret.from_psk(suite.hash, None)
    secrets = early.handshake(shared_secret, transcript.digest())
    out.write_with(RecordSealer13(suite, secrets.server_handshake_traffic_secret))
    early_opener: RecordOpener13 | None = None
    if flow is not None:
        early_opener = flow.opener()
        out.read_with(early_opener)
    else:
        out.read_with(RecordOpener13(suite, secrets.client_handshake_traffic_secret))
        if is_early:
            out.skip_early_data(skippable(config))
    more: tuple[tuple[int, bytes], ...] = () if flow is None else ((_EARLY_DATA, b""),)
    mode = 255
    if sizes is not None:
        out.limit_records(sizes.send, sizes.receive, False)
        more, mode = (*more, sizes.extension), sizes.max_fragment_mode
        if early_opener is not None:
            early_opener.inner_limit = MAX_PLAINTEXT_LENGTH + 1  # when the client sealed those, it knew of no other
    psk_identity = None
    if accepted is not None:
        psk_identity = accepted.psk.identity if isinstance(accepted, External) else accepted.session.data.psk_identity
    withheld = out.ticket_renewal is False or (psk_identity is not None and not config.publish_psk_sessions)
    num_tickets = min(config.num_tickets, 1) if accepted is not None else config.num_tickets
    if withheld:
        num_tickets = 0
    if facts.ticket_request is not None:
        num_tickets = 0 if withheld else facts.ticket_request[isinstance(accepted, Accepted)]
        num_tickets, answer_body = answer_ticket_request(config, facts, num_tickets)
        more += (answer_body,)
    named = bool(facts.server_name)
    negotiated = Negotiated(config, suite, choice.group, facts.server_name, named, choice.alpn, mode, psk_identity)
    flight = encrypted_extensions(named, choice.alpn, more)
    asked = False
    if selected is not None:
        if config.client_auth != "none":
            asked = True
            wishes = config.request_extensions
            if config.grease:
                wishes = {**wishes, grease_for(hello.random).extension: b""}
            flight += CertificateRequest(b"", wishes).pack()
        key, scheme = selected
        status = key.ocsp_response if facts.wants_status else None
        if status is not None or (facts.wants_scts and key.scts):
            certificate = config.certificate_message(key, status, facts.wants_scts and bool(key.scts))
        else:
            certificate = config.certificate_messages[key]
        if config.certificate_compression and _COMPRESS_CERTIFICATE in hello.extensions:
            certificate = compressed_for(config, hello.extensions[_COMPRESS_CERTIFICATE], certificate)
        flight += certificate
        transcript.add(flight)
        out.send(flight)
        if key.signer is not None:
            unproven = ask_for_proof(key, scheme, True, b"", transcript, out)
            return AwaitSignature(choice, reason, negotiated, secrets, num_tickets, asked, unproven)
        send_certificate_verify(key, scheme, True, transcript, out)
    else:
        transcript.add(flight)
        out.send(flight)
    return _conclude(choice, accepted, reason, negotiated, secrets, num_tickets, asked, flow, out)


@frozen
class AwaitSignature(AwaitingAnswer[bytes]):
    """Awaiting our CertificateVerify's signature, which the holder of the key makes. No message may come meanwhile."""

    choice: Choice
    reason: Reason | None
    negotiated: Negotiated
    secrets: HandshakeSecrets
    num_tickets: int
    asked: bool
    unproven: Unproven

    def on_answer(self, answer: bytes, out: Output) -> Concluded:
        """Send the rest of the flight."""
        choice = self.choice
        self.unproven.send(answer, choice.transcript, out)
        return _conclude(
            choice, None, self.reason, self.negotiated, self.secrets, self.num_tickets, self.asked, None, out
        )


def _conclude(
    choice: Choice,
    accepted: Accepted | External | None,
    reason: Reason | None,
    negotiated: Negotiated,
    secrets: HandshakeSecrets,
    num_tickets: int,
    asked: bool,
    flow: EarlyFlow | None,
    out: Output,
) -> Concluded:
    """Send our Finished, and know what is awaited then."""
    config, facts, transcript, suite = choice.config, choice.facts, choice.transcript, choice.suite
    finished = Finished(secrets.server_verify_data(transcript.digest())).pack()
    transcript.add(finished)
    out.send(finished)
    finished_hash = transcript.digest()
    master = secrets.into_master(finished_hash)
    if config.log_secrets:
        random = facts.hello.random
        out.log_secret("CLIENT_HANDSHAKE_TRAFFIC_SECRET", random, secrets.client_handshake_traffic_secret)
        out.log_secret("SERVER_HANDSHAKE_TRAFFIC_SECRET", random, secrets.server_handshake_traffic_secret)
        log_application_secrets(out, random, master)
    out.write_with(RecordSealer13(suite, master.server_application_traffic_secret))
    now = config.clock()
    session = None
    if isinstance(accepted, Accepted):
        session = accepted.session
        before = accepted.session.data
        identity = Identity(before.peer_chain, before.verify_result, before.auth_time, before.deadline)
        resumption = Resumption(True, mechanism=accepted.mechanism, age_s=max(0.0, now - before.time))
    else:
        identity = Identity((), 0, now, now + config.max_auth_age_s)
        resumption = Resumption(False, Reason.EXTERNAL_PSK if accepted is not None else reason or Reason.NOT_OFFERED)
    later = config.post_handshake_auth and facts.post_handshake_auth and negotiated.psk_identity is None
    progress = Progress(
        negotiated, transcript, secrets, master, resumption, session, facts.psk_dhe_ke, num_tickets, later
    )
    if flow is not None:
        return ExpectEndOfEarlyData(progress, identity, flow)
    return ExpectCertificate(progress) if asked else ExpectFinished(progress, identity, finished_hash)
