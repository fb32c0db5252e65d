"""The TLS 1.3 server awaiting the client's flight: certificate if asked for, Finished, then the first tickets.

RFC 9846, sections 4.5 and 4.7.1, and appendix A.2. The flight that it answers was sent by `server13`.
"""

from __future__ import annotations

from resumption.config import ServerConfig
from resumption.constants import ProtocolVersion
from resumption.crypto.protection import RecordOpener13
from resumption.crypto.schedule13 import HandshakeSecrets, MasterSecrets
from resumption.errors import IllegalParameter
from resumption.frozen import frozen
from resumption.handshake.compressed13 import expanded
from resumption.handshake.early13 import EarlyFlow
from resumption.handshake.established13 import Budget, LaterRequests, Negotiated, ServerConnected, TicketSecrets
from resumption.handshake.identity13 import Identity, check_proof, take_chain
from resumption.handshake.state import Handshaking13, Output, Transcript, on
from resumption.session.model import Session, SessionData
from resumption.session.verdicts import Resumption
from resumption.wire.messages import Certificate, CertificateVerify, CompressedCertificate, EndOfEarlyData, Finished

__all__ = [
    "ExpectCertificate",
    "ExpectCertificateVerify",
    "ExpectEndOfEarlyData",
    "ExpectFinished",
    "Progress",
]

_TLS13 = int(ProtocolVersion.TLSv1_3)


@frozen
class Progress:
    """What the states after the server's flight have in common."""

    negotiated: Negotiated
    transcript: Transcript
    secrets: HandshakeSecrets
    master: MasterSecrets
    resumption: Resumption
    session: Session | None  # what resumes the connection
    psk_dhe_ke: bool
    num_tickets: int  # to send at once
    later: bool  # the client can be asked for its certificate after the handshake

    @property
    def config(self) -> ServerConfig:
        """The server's settings."""
        config = self.negotiated.config
        assert isinstance(config, ServerConfig)
        return config


@frozen
class ExpectCertificate(Handshaking13):
    """Awaiting the client's Certificate, which may be empty. RFC 9846, section 4.5.1 [8446: 4.4.2]."""

    progress: Progress

    @on(Certificate)
    def on_certificate(self, message: Certificate, raw: bytes, out: Output) -> ExpectCertificateVerify | ExpectFinished:
        """An empty chain is an answer too; whether it is acceptable is the policy's affair."""
        return self._take(message, raw)

    def _take(self, message: Certificate, raw: bytes) -> ExpectCertificateVerify | ExpectFinished:
        progress = self.progress
        config = progress.config
        if message.certificate_request_context:
            raise IllegalParameter("the client's Certificate must have the context of the request: empty")
        progress.transcript.add(raw)
        identity = take_chain(config, message, config.request_extensions, config.client_auth == "required")
        if not identity.chain:
            return ExpectFinished(progress, identity)
        return ExpectCertificateVerify(progress, identity)

    @on(CompressedCertificate)
    def on_compressed_certificate(
        self, message: CompressedCertificate, raw: bytes, out: Output
    ) -> ExpectCertificateVerify | ExpectFinished:
        """The same, compressed."""
        return self._take(expanded(self.progress.config, message), raw)


@frozen
class ExpectCertificateVerify(Handshaking13):
    """Awaiting the proof that the client holds its certificate's key. RFC 9846, section 4.5.2 [8446: 4.4.3]."""

    progress: Progress
    identity: Identity

    @on(CertificateVerify)
    def on_certificate_verify(self, message: CertificateVerify, raw: bytes, out: Output) -> ExpectFinished:
        """Verify the signature over the transcript."""
        progress = self.progress
        check_proof(progress.config, self.identity, message, progress.transcript.digest())
        progress.transcript.add(raw)
        return ExpectFinished(progress, self.identity)


@frozen
class ExpectEndOfEarlyData(Handshaking13):
    """Awaiting the end of the early data that this server takes. RFC 9846, section 4.6 [8446: 4.5]."""

    progress: Progress
    identity: Identity
    flow: EarlyFlow

    @on(EndOfEarlyData)
    def on_end_of_early_data(self, message: EndOfEarlyData, raw: bytes, out: Output) -> ExpectFinished:
        """What follows is under the handshake's key."""
        progress = self.progress
        self.flow.is_open = False
        progress.transcript.add(raw)
        suite = progress.negotiated.suite
        out.read_with(RecordOpener13(suite, progress.secrets.client_handshake_traffic_secret))
        return ExpectFinished(progress, self.identity)


@frozen
class ExpectFinished(Handshaking13):
    """Awaiting the client's Finished. RFC 9846, section 4.5.3 [8446: 4.4.4]."""

    progress: Progress
    identity: Identity
    transcript_hash: bytes = b""  # what the Finished is over, if it is known already

    @on(Finished)
    def on_finished(self, message: Finished, raw: bytes, out: Output) -> ServerConnected:
        """Verify it, switch to application keys, and issue the first tickets."""
        progress, identity = self.progress, self.identity
        negotiated, transcript = progress.negotiated, progress.transcript
        progress.secrets.check_client_finished(self.transcript_hash or transcript.digest(), message.verify_data)
        transcript.add(raw)
        config, suite = progress.config, negotiated.suite
        out.read_with(RecordOpener13(suite, progress.master.client_application_traffic_secret))
        data = SessionData(
            version=_TLS13,
            cipher=suite.suite,
            id_context=config.id_context,
            time=config.clock(),
            timeout=config.session_timeout_s,
            peer_certificate=identity.chain[0] if identity.chain else None,
            peer_chain=identity.chain,
            verify_result=identity.verify_result,
            hostname=negotiated.server_name or None,
            alpn=negotiated.alpn,
            max_fragment_mode=negotiated.max_fragment_mode,
            psk_identity=negotiated.psk_identity,
            group=negotiated.group,
            role="server",
            partition=config.partition,
            policy_epoch=config.policy_epoch,
            auth_time=identity.auth_time,
            deadline=identity.deadline,
            ticket_appdata=b"" if progress.session is None else progress.session.data.ticket_appdata,
        )
        if progress.session is not None:
            out.resume(progress.session)
        out.complete(progress.resumption, data)
        connected = ServerConnected(
            config,
            data,
            TicketSecrets(suite, progress.master, transcript.digest()),
            Budget(config),
            progress.psk_dhe_ke and (negotiated.psk_identity is None or config.publish_psk_sessions),
            LaterRequests(transcript) if progress.later else None,
        )
        for _ in range(progress.num_tickets):
            connected.issue_ticket(out)
        return connected
