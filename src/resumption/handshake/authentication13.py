"""Certificate and CertificateVerify of TLS 1.3, as either side sends them. RFC 9846, section 4.5 [8446: 4.4]."""

from __future__ import annotations

from resumption.config import Config
from resumption.constants import ProtocolVersion
from resumption.crypto.certificates import CertifiedKey
from resumption.crypto.signatures import certificate_verify_content
from resumption.frozen import frozen
from resumption.handshake.compressed13 import compressed_for
from resumption.handshake.credentials import RequestedCertificate
from resumption.handshake.events import NeedSignature
from resumption.handshake.state import Output, Transcript
from resumption.wire.messages import Certificate, CertificateEntry, CertificateVerify

__all__ = ["Unproven", "ask_for_proof", "certificate_message", "send_certificate", "send_certificate_verify"]

_TLS13 = int(ProtocolVersion.TLSv1_3)


@frozen
class Unproven:
    """A Certificate whose proof has to be asked for. ``message`` is in the transcript, and not sent yet: after a
    handshake nothing may come between the two."""

    message: bytes
    question: NeedSignature

    def send(self, signature: bytes, transcript: Transcript, out: Output) -> None:
        """Send both. Raises `InternalError`, having sent nothing, for a signature that is not one."""
        signature = self.question.checked(signature)
        if self.message:
            out.send(self.message)
        _send_proof(self.question.scheme, signature, transcript, out)


def certificate_message(key: CertifiedKey | None, context: bytes = b"") -> bytes:
    """The packed Certificate message for ``key``: empty when there is none."""
    chain = key.chain if key is not None else ()
    return Certificate(context, tuple(CertificateEntry(der, {}) for der in chain)).pack()


def send_certificate(
    wanted: RequestedCertificate, config: Config, transcript: Transcript, out: Output
) -> Unproven | None:
    """Send a client's Certificate and, unless it is empty, CertificateVerify; both enter the transcript.

    The chain is left out when there is none, or its key fits none of the server's schemes: the server then decides what
    that means. Where the key is held elsewhere nothing is sent: what is returned sends both once the question is
    answered, which has been asked.
    """
    key = out.choose_certificate(wanted)
    scheme = wanted.scheme_for(key) if key is not None else None
    message = certificate_message(key if scheme is not None else None, wanted.context)
    if wanted.compression is not None and config.certificate_compression:
        message = compressed_for(config, wanted.compression, message)
    transcript.add(message)
    if key is None or scheme is None:
        out.send(message)
        return None
    if key.signer is not None:
        return ask_for_proof(key, scheme, False, message, transcript, out)
    out.send(message)
    send_certificate_verify(key, scheme, False, transcript, out)
    return None


def ask_for_proof(
    key: CertifiedKey, scheme: int, server: bool, message: bytes, transcript: Transcript, out: Output
) -> Unproven:
    """Ask for the signature of the transcript so far, which ``message`` ends if it is still to be sent."""
    question = NeedSignature(key, scheme, certificate_verify_content(server, transcript.digest()), _TLS13)
    out.ask(question)
    return Unproven(message, question)


def send_certificate_verify(key: CertifiedKey, scheme: int, server: bool, transcript: Transcript, out: Output) -> None:
    """Sign the transcript so far and send the proof. RFC 9846, section 4.5.2 [8446: 4.4.3]."""
    content = certificate_verify_content(server, transcript.digest())
    _send_proof(scheme, key.sign(scheme, content, _TLS13), transcript, out)


def _send_proof(scheme: int, signature: bytes, transcript: Transcript, out: Output) -> None:
    message = CertificateVerify(scheme, signature).pack()
    transcript.add(message)
    out.send(message)
