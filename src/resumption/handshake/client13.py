"""The TLS 1.3 client from the ServerHello to its own Finished. RFC 9846, section 4 and appendix A.1."""

from __future__ import annotations

from resumption.constants import ExtensionType, NamedGroup, ProtocolVersion, name_of
from resumption.crypto.certificates import is_rsassa_pss, not_after_of, public_key_of
from resumption.crypto.chain_schemes import check_chain_schemes
from resumption.crypto.protection import RecordOpener13, RecordSealer13
from resumption.crypto.schedule13 import EarlySecret, HandshakeSecrets, MasterSecrets
from resumption.crypto.signatures import (
    certificate_verify_content,
    verify,
)
from resumption.crypto.suites import SUITES, SuiteFacts
from resumption.errors import (
    DecodeError,
    IllegalParameter,
    MissingExtension,
    PeerError,
    UnexpectedMessage,
)
from resumption.frozen import frozen
from resumption.handshake.authentication13 import Unproven, send_certificate
from resumption.handshake.compressed13 import expanded
from resumption.handshake.credentials import RequestedCertificate, read_request
from resumption.handshake.early13 import EarlyFlow
from resumption.handshake.established13 import (
    Budget,
    ClientConnected,
    Negotiated,
    TicketSecrets,
    log_application_secrets,
)
from resumption.handshake.offer import Offered
from resumption.handshake.placement import Place, check_response
from resumption.handshake.record_sizes import granted
from resumption.handshake.state import AwaitingAnswer, Handshaking13, Output, Transcript, on
from resumption.handshake.status import Shown, judge_status, shown_beside
from resumption.session.early import EarlyReason
from resumption.session.gate import Answer, accepted, mechanism_of
from resumption.session.model import SessionData
from resumption.session.verdicts import Reason, Resumption
from resumption.wire import extensions
from resumption.wire.messages import (
    Certificate,
    CertificateRequest,
    CertificateVerify,
    CompressedCertificate,
    EncryptedExtensions,
    EndOfEarlyData,
    Finished,
    ServerHello,
)

__all__ = [
    "AwaitSignature",
    "ExpectCertificate",
    "ExpectCertificateOrRequest",
    "ExpectCertificateVerify",
    "ExpectEncryptedExtensions",
    "ExpectFinished",
    "on_server_hello",
    "second_retry",
]

_EARLY_DATA = int(ExtensionType.early_data)
_KEY_SHARE = int(ExtensionType.key_share)
_PRE_SHARED_KEY = int(ExtensionType.pre_shared_key)
_SERVER_NAME = int(ExtensionType.server_name)
_SUPPORTED_GROUPS = int(ExtensionType.supported_groups)
_ALPN = int(ExtensionType.application_layer_protocol_negotiation)
_TICKET_REQUEST = int(ExtensionType.ticket_request)
_SIGNATURE_ALGORITHMS_CERT = int(ExtensionType.signature_algorithms_cert)
_TLS13 = int(ProtocolVersion.TLSv1_3)


def second_retry() -> PeerError:
    """The error for a second HelloRetryRequest in one connection. RFC 9846, section 4.2.4."""
    return UnexpectedMessage("a second HelloRetryRequest came")


def on_server_hello(
    offered: Offered, message: ServerHello, transcript: Transcript, out: Output
) -> ExpectEncryptedExtensions:
    """Take the server's key share and its answer to the PSK, and switch both directions to handshake keys."""
    received = message.extensions
    check_response(offered.hello.extensions, received, Place.SH)
    suite = SUITES[message.cipher_suite]
    resumed = _PRE_SHARED_KEY in received
    if resumed:
        psk = offered.psk
        # check_response already refused an answer to a PSK that was not offered (F29).
        verdict = accepted(
            (psk,) if psk is not None else (),
            Answer(
                version=_TLS13,
                suite=message.cipher_suite,
                selected=extensions.parse_pre_shared_key_server(received[_PRE_SHARED_KEY]),
            ),
            offered.policy,
        )
        if verdict.reason is not None:
            raise IllegalParameter(f"the server's choice of PSK is not acceptable: {verdict.reason.sentence}")
    if _KEY_SHARE not in received:
        if resumed:
            raise IllegalParameter("the server resumed without a key exchange, which was not offered (psk_ke)")
        raise MissingExtension("the ServerHello has no key_share")
    group, peer_share = extensions.parse_key_share_server(received[_KEY_SHARE])
    for share in offered.shares:
        if share.group == group:
            break
    else:
        raise IllegalParameter(f"the server's key share is for {name_of(NamedGroup, group)}, which has none of ours")
    shared_secret = share.finish(peer_share)
    early = offered.early if resumed and offered.early is not None else EarlySecret.from_psk(suite.hash, None)
    secrets = early.handshake(shared_secret, transcript.digest())
    config = offered.config
    if config.log_secrets:
        random = offered.hello.random
        out.log_secret("CLIENT_HANDSHAKE_TRAFFIC_SECRET", random, secrets.client_handshake_traffic_secret)
        out.log_secret("SERVER_HANDSHAKE_TRAFFIC_SECRET", random, secrets.server_handshake_traffic_secret)
    flow = offered.flow
    if flow is None:
        if config.middlebox_compatibility and not offered.retried:
            out.send_change_cipher_spec()
    elif flow.is_open and not resumed:
        out.emit(flow.reject(EarlyReason.NOT_RESUMED))
        out.early_data_is(flow)
    out.read_with(RecordOpener13(suite, secrets.server_handshake_traffic_secret))
    if flow is None or not flow.is_open:
        out.write_with(RecordSealer13(suite, secrets.client_handshake_traffic_secret))
    return ExpectEncryptedExtensions(offered, suite, group, transcript, secrets, resumed)


@frozen
class ExpectEncryptedExtensions(Handshaking13):
    """Awaiting EncryptedExtensions. RFC 9846, section 4.4.1 [8446: 4.3.1]."""

    offered: Offered
    suite: SuiteFacts
    group: int
    transcript: Transcript
    secrets: HandshakeSecrets
    resumed: bool

    @on(EncryptedExtensions)
    def on_encrypted_extensions(
        self, message: EncryptedExtensions, raw: bytes, out: Output
    ) -> ExpectCertificateOrRequest | ExpectFinished:
        """What the server answers to the hello, now confidential."""
        self.transcript.add(raw)
        offered, received = self.offered, message.extensions
        check_response(offered.hello.extensions, received, Place.EE)
        alpn = None
        if received.get(_SERVER_NAME):
            raise DecodeError("the server's server_name extension is not empty")
        if _SUPPORTED_GROUPS in received:
            extensions.parse_supported_groups(received[_SUPPORTED_GROUPS])
        if _ALPN in received:
            alpn = extensions.parse_alpn_server(received[_ALPN])
            if alpn not in offered.config.alpn:
                raise IllegalParameter("the server chose an application protocol that was not offered")
        if _TICKET_REQUEST in received:
            extensions.parse_ticket_request_server(received[_TICKET_REQUEST])
        sizes = granted(offered, received, _TLS13)
        mode = 255
        if sizes is not None:
            out.limit_records(sizes.send, sizes.receive, False)
            mode = sizes.max_fragment_mode
        if self.resumed:
            offered.check_mode(mode)
        negotiated = Negotiated(
            config=offered.config,
            suite=self.suite,
            group=self.group,
            server_name=offered.server_name,
            acknowledged_name=_SERVER_NAME in received,
            alpn=alpn,
            max_fragment_mode=mode,
            psk_identity=offered.psk_identity if self.resumed else None,
        )
        session = offered.session
        if offered.flow is not None:
            self._settle_early_data(offered.flow, _EARLY_DATA in received, alpn, out)
        if self.resumed and session is not None:
            data = session.data
            return ExpectFinished(
                negotiated,
                self.transcript,
                self.secrets,
                Identity(
                    data.peer_chain or ((data.peer_certificate,) if data.peer_certificate else ()),
                    data.verify_result,
                    *offered.lineage_of(data),
                ),
                offered,
                True,
                None,
            )
        if self.resumed:
            now, config = offered.config.clock(), offered.config
            name = offered.policy.verify_name if config.publish_psk_sessions else None
            identity = Identity((), 0, now, now + config.max_auth_age_s, name)
            return ExpectFinished(negotiated, self.transcript, self.secrets, identity, offered, True, None)
        return ExpectCertificateOrRequest(negotiated, self.transcript, self.secrets, offered)

    def _settle_early_data(self, flow: EarlyFlow, is_accepted: bool, alpn: bytes | None, out: Output) -> None:
        """Now it is known whether the server takes early data. RFC 9846, section 4.3.10."""
        session = self.offered.session
        if is_accepted:
            if session is None or not flow.is_open:
                raise IllegalParameter("the server accepted early data without its session")
            flow.accept(session.data, self.suite, alpn)
            out.early_data_is(flow)
        elif flow.is_open:
            out.emit(flow.reject(EarlyReason.SERVER_REJECTED))
            out.early_data_is(flow)
            out.write_with(RecordSealer13(self.suite, self.secrets.client_handshake_traffic_secret))


@frozen
class Identity:
    """Who the peer is, and how that is known: by a signature just verified, or by the session that was resumed."""

    chain: tuple[bytes, ...]
    verify_result: int
    auth_time: float
    deadline: float
    verified_name: str | None


@frozen
class ExpectCertificateOrRequest(Handshaking13):
    """Awaiting CertificateRequest or Certificate. RFC 9846, sections 4.4.2 and 4.5.1 [8446: 4.3.2, 4.4.2]."""

    negotiated: Negotiated
    transcript: Transcript
    secrets: HandshakeSecrets
    offered: Offered

    @on(CertificateRequest)
    def on_certificate_request(self, message: CertificateRequest, raw: bytes, out: Output) -> ExpectCertificate:
        """The server asks for our certificate."""
        self.transcript.add(raw)
        if message.certificate_request_context:
            raise IllegalParameter("a CertificateRequest inside the handshake must have an empty context")
        wanted = read_request(message)
        return ExpectCertificate(self.negotiated, self.transcript, self.secrets, self.offered, wanted)

    @on(Certificate)
    def on_certificate(self, message: Certificate, raw: bytes, out: Output) -> ExpectCertificateVerify:
        """The server's chain, with no request before it."""
        return take_certificate(self.negotiated, self.transcript, self.secrets, self.offered, None, message, raw)

    @on(CompressedCertificate)
    def on_compressed_certificate(
        self, message: CompressedCertificate, raw: bytes, out: Output
    ) -> ExpectCertificateVerify:
        """The same, compressed."""
        certificate = expanded(self.offered.config, message)
        return take_certificate(self.negotiated, self.transcript, self.secrets, self.offered, None, certificate, raw)


@frozen
class ExpectCertificate(Handshaking13):
    """Awaiting the server's Certificate, after it asked for ours. RFC 9846, section 4.5.1 [8446: 4.4.2]."""

    negotiated: Negotiated
    transcript: Transcript
    secrets: HandshakeSecrets
    offered: Offered
    requested: RequestedCertificate

    @on(Certificate)
    def on_certificate(self, message: Certificate, raw: bytes, out: Output) -> ExpectCertificateVerify:
        """The server's chain."""
        return take_certificate(
            self.negotiated, self.transcript, self.secrets, self.offered, self.requested, message, raw
        )

    @on(CompressedCertificate)
    def on_compressed_certificate(
        self, message: CompressedCertificate, raw: bytes, out: Output
    ) -> ExpectCertificateVerify:
        """The same, compressed."""
        certificate = expanded(self.offered.config, message)
        return take_certificate(
            self.negotiated, self.transcript, self.secrets, self.offered, self.requested, certificate, raw
        )


def take_certificate(
    negotiated: Negotiated,
    transcript: Transcript,
    secrets: HandshakeSecrets,
    offered: Offered,
    requested: RequestedCertificate | None,
    message: Certificate,
    raw: bytes,
) -> ExpectCertificateVerify:
    """Check the framing of the server's Certificate message and keep its chain. RFC 9846, section 4.5.1."""
    if message.certificate_request_context:
        raise IllegalParameter("the server's Certificate must have an empty context")
    if not message.certificate_list:
        raise DecodeError("the server's Certificate holds no certificate")
    for entry in message.certificate_list:
        check_response(offered.hello.extensions, entry.extensions, Place.CT)
    transcript.add(raw)
    chain = tuple(entry.cert_data for entry in message.certificate_list)
    shown = shown_beside(message.certificate_list[0].extensions)
    return ExpectCertificateVerify(negotiated, transcript, secrets, offered, requested, chain, shown)


@frozen
class ExpectCertificateVerify(Handshaking13):
    """Awaiting the proof that the server holds its certificate's key. RFC 9846, section 4.5.2 [8446: 4.4.3]."""

    negotiated: Negotiated
    transcript: Transcript
    secrets: HandshakeSecrets
    offered: Offered
    requested: RequestedCertificate | None
    chain: tuple[bytes, ...]
    shown: Shown

    @on(CertificateVerify)
    def on_certificate_verify(self, message: CertificateVerify, raw: bytes, out: Output) -> ExpectFinished:
        """Verify the chain, the name and the signature."""
        config = self.offered.config
        if message.algorithm not in config.schemes:
            raise IllegalParameter("the server signed with a scheme that was not offered")
        now = config.clock()
        name = self.offered.server_name
        verified_name = None
        path: tuple[bytes, ...] = ()
        check_chain_schemes(self.chain, config.certificate_schemes)
        if config.trust is not None:
            path = config.trust.verify_server(self.chain, name if config.verify_hostname else None, now)
            verified_name = name if config.verify_hostname else None
            if config.crls is not None:
                config.crls.check(path, config.trust, now)
        until = judge_status(config, path, self.shown, now, out)
        content = certificate_verify_content(True, self.transcript.digest())
        leaf = self.chain[0]
        verify(public_key_of(leaf), message.algorithm, content, message.signature, rsassa_pss=is_rsassa_pss(leaf))
        self.transcript.add(raw)
        identity = Identity(
            self.chain,
            0 if config.trust is not None else 1,
            now,
            min(now + config.max_auth_age_s, not_after_of(self.chain), until),
            verified_name,
        )
        return ExpectFinished(
            self.negotiated, self.transcript, self.secrets, identity, self.offered, False, self.requested
        )


@frozen
class ExpectFinished(Handshaking13):
    """Awaiting the server's Finished; nobody gets here without a verified or resumed identity. RFC 9846, 4.5.3."""

    negotiated: Negotiated
    transcript: Transcript
    secrets: HandshakeSecrets
    identity: Identity
    offered: Offered
    resumed: bool
    requested: RequestedCertificate | None

    @on(Finished)
    def on_finished(self, message: Finished, raw: bytes, out: Output) -> ClientConnected | AwaitSignature:
        """Verify it, send our own flight, and switch to application keys."""
        secrets, transcript, negotiated = self.secrets, self.transcript, self.negotiated
        secrets.check_server_finished(transcript.digest(), message.verify_data)
        transcript.add(raw)
        finished_hash = transcript.digest()
        master = secrets.into_master(finished_hash)
        suite = negotiated.suite
        out.read_with(RecordOpener13(suite, master.server_application_traffic_secret))
        flow = self.offered.flow
        if flow is not None and flow.is_open:  # RFC 9846, section 4.6: the last thing under the early keys
            flow.is_open = False
            end = EndOfEarlyData().pack()
            transcript.add(end)
            out.send(end)
            out.write_with(RecordSealer13(suite, secrets.client_handshake_traffic_secret))
            finished_hash = transcript.digest()
        if self.requested is not None:
            unproven = send_certificate(self.requested, self.offered.config, transcript, out)
            if unproven is not None:
                return AwaitSignature(self, master, unproven)
            finished_hash = transcript.digest()
        return self._finish(master, finished_hash, out)

    def _finish(self, master: MasterSecrets, finished_hash: bytes, out: Output) -> ClientConnected:
        """Send our Finished, over messages with this hash."""
        secrets, transcript, negotiated = self.secrets, self.transcript, self.negotiated
        suite = negotiated.suite
        finished = Finished(secrets.client_verify_data(finished_hash)).pack()
        out.send(finished)
        transcript.add(finished)
        out.write_with(RecordSealer13(suite, master.client_application_traffic_secret))
        config = self.offered.config
        if config.log_secrets:
            log_application_secrets(out, self.offered.hello.random, master)
        now = config.clock()
        identity = self.identity
        data = SessionData(
            version=_TLS13,
            cipher=suite.suite,
            id_context=config.id_context,
            time=now,
            timeout=config.session_timeout_s,
            peer_certificate=identity.chain[0] if identity.chain else None,
            peer_chain=identity.chain,
            verify_result=identity.verify_result,
            hostname=negotiated.server_name if negotiated.acknowledged_name else None,
            alpn=negotiated.alpn,
            max_fragment_mode=negotiated.max_fragment_mode,
            psk_identity=negotiated.psk_identity,
            group=negotiated.group,
            role="client",
            policy_epoch=config.policy_epoch,
            auth_time=identity.auth_time,
            deadline=identity.deadline,
            verified_name=identity.verified_name,
        )
        offered_session = self.offered.session
        if self.resumed and offered_session is not None:
            before = offered_session.data
            resumption = Resumption(True, mechanism=mechanism_of(before), age_s=max(0.0, now - before.time))
            out.resume(offered_session)
        else:
            reason = Reason.EXTERNAL_PSK if self.resumed else self.offered.reason or Reason.SERVER_DECLINED
            resumption = Resumption(False, reason, peer=negotiated.server_name)
        out.complete(resumption, data)
        later = transcript if config.post_handshake_auth and data.psk_identity is None else None  # RFC 9846, F.1
        tickets = TicketSecrets(suite, master, transcript.digest())
        return ClientConnected(config, data, tickets, Budget(config), later)


@frozen
class AwaitSignature(AwaitingAnswer[bytes]):
    """Awaiting our CertificateVerify's signature, which the holder of the key makes. No message may come meanwhile."""

    expected: ExpectFinished
    master: MasterSecrets
    unproven: Unproven

    def on_answer(self, answer: bytes, out: Output) -> ClientConnected:
        """Go on with it."""
        transcript = self.expected.transcript
        self.unproven.send(answer, transcript, out)
        return self.expected._finish(self.master, transcript.digest(), out)
