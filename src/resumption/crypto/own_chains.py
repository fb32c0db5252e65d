"""What a certificate chain of our own must be, before anyone is shown it. RFC 9846, sections 4.3.3 and 4.5.1.2."""

from __future__ import annotations

from collections.abc import Iterable

from cryptography import x509
from cryptography.x509.oid import SignatureAlgorithmOID

from resumption.errors import ConfigurationError

__all__ = ["check_own_chain"]

_BROKEN = (
    SignatureAlgorithmOID.RSA_WITH_MD5,
    SignatureAlgorithmOID.RSA_WITH_SHA1,
    SignatureAlgorithmOID.DSA_WITH_SHA1,
    SignatureAlgorithmOID.ECDSA_WITH_SHA1,
)


def check_own_chain(signs: bool | None, chain: Iterable[x509.Certificate]) -> None:
    """Raise `ConfigurationError` for a leaf whose key usage forbids signatures (``signs`` is that bit, None without a
    key usage), and for a certificate that is signed with SHA-1 or MD5 by another one: it is not even a last resort."""
    if signs is False:
        raise ConfigurationError(
            "the certificate's key usage does not allow digital signatures: TLS needs one that does"
        )
    for certificate in chain:
        if certificate.signature_algorithm_oid in _BROKEN and certificate.issuer != certificate.subject:
            raise ConfigurationError(
                "a certificate of the chain is signed with SHA-1 or MD5, which nobody takes: have it issued anew"
            )
