"""Certificate and CertificateVerify of TLS 1.3, as either side sends them. RFC 9846, section 4.5 [8446: 4.4]."""

from __future__ import annotations

from resumption.crypto.certificates import CertifiedKey
from resumption.crypto.signatures import certificate_verify_content, sign
from resumption.handshake.credentials import RequestedCertificate
from resumption.handshake.state import Output, Transcript
from resumption.wire.messages import Certificate, CertificateEntry, CertificateVerify

__all__ = ["certificate_message", "send_certificate", "send_certificate_verify"]


def certificate_message(key: CertifiedKey | None, context: bytes = b"") -> bytes:
    """The packed Certificate message for ``key``: empty when there is none."""
    chain = key.chain if key is not None else ()
    return Certificate(context, tuple(CertificateEntry(der, {}) for der in chain)).pack()


def send_certificate(wanted: RequestedCertificate, transcript: Transcript, out: Output) -> None:
    """Send a client's Certificate and, unless it is empty, CertificateVerify; both enter the transcript.

    The chain is left out when there is none, or its key fits none of the server's schemes: the server then decides what
    that means.
    """
    key = out.choose_certificate(wanted)
    scheme = wanted.scheme_for(key) if key is not None else None
    message = certificate_message(key if scheme is not None else None, wanted.context)
    transcript.add(message)
    out.send(message)
    if key is not None and scheme is not None:
        send_certificate_verify(key, scheme, False, transcript, out)


def send_certificate_verify(key: CertifiedKey, scheme: int, server: bool, transcript: Transcript, out: Output) -> None:
    """Sign the transcript so far and send the proof. RFC 9846, section 4.5.2 [8446: 4.4.3]."""
    content = certificate_verify_content(server, transcript.digest())
    message = CertificateVerify(scheme, sign(key.private_key, scheme, content, rsassa_pss=key.rsassa_pss)).pack()
    transcript.add(message)
    out.send(message)
