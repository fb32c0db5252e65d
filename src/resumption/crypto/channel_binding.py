"""Channel bindings: bytes that tie an authentication inside a connection to that connection. RFC 9266, RFC 5929."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from resumption.errors import UsageError

__all__ = ["EXPORTER_LABEL", "EXPORTER_LENGTH", "server_end_point"]

EXPORTER_LABEL = b"EXPORTER-Channel-Binding"  # with an empty context. RFC 9266, section 2
EXPORTER_LENGTH = 32  # bytes


def server_end_point(certificate: bytes) -> bytes:
    """The "tls-server-end-point" binding of a server's certificate, DER: its hash. RFC 5929, section 4.1.

    The hash is that of the certificate's signature, SHA-256 in place of MD5 and SHA-1. Raises `UsageError` where the
    signature has no hash of its own, as Ed25519: the binding is not defined then.
    """
    try:
        algorithm = x509.load_der_x509_certificate(certificate).signature_hash_algorithm
    except ValueError:
        raise UsageError("the server's certificate cannot be read: it has no channel binding") from None
    if algorithm is None:
        raise UsageError("tls-server-end-point is not defined for a certificate whose signature has no hash")
    if algorithm.name in ("md5", "sha1"):
        algorithm = hashes.SHA256()
    digest = hashes.Hash(algorithm)
    digest.update(certificate)
    return digest.finalize()
