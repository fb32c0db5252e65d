"""With which signature schemes the certificates of a chain are signed. RFC 9846, sections 4.3.3 and 4.5.1.

What it does: answers whether a chain is signed only in ways that a peer's ``signature_algorithms_cert`` (or, without
one, its ``signature_algorithms``) lists, and puts a server's chains in order by it. What it leaves to others: whether
the signatures are right (`trust`), and which of the chains has a key that fits (configuration).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.x509.oid import SignatureAlgorithmOID

from resumption.constants import SignatureScheme
from resumption.crypto.certificates import REMEMBERED_SIZE, CertifiedKey, parse_certificate
from resumption.crypto.names import ServerName
from resumption.errors import UnsupportedCertificate

__all__ = ["by_preference", "check_chain_schemes", "schemes_of", "signed_within"]

_S = SignatureScheme
# An ECDSA scheme names a hash and, in TLS 1.3, a curve; of a certificate the hash is what counts, as in TLS 1.2: the
# issuer's curve is known only to those who have the issuer. RSASSA-PSS is told by its hash alike, whatever the issuer's
# key says of itself.
_BY_OID = {
    SignatureAlgorithmOID.ECDSA_WITH_SHA256: (_S.ecdsa_secp256r1_sha256,),
    SignatureAlgorithmOID.ECDSA_WITH_SHA384: (_S.ecdsa_secp384r1_sha384,),
    SignatureAlgorithmOID.ECDSA_WITH_SHA512: (_S.ecdsa_secp521r1_sha512,),
    SignatureAlgorithmOID.RSA_WITH_SHA256: (_S.rsa_pkcs1_sha256,),
    SignatureAlgorithmOID.RSA_WITH_SHA384: (_S.rsa_pkcs1_sha384,),
    SignatureAlgorithmOID.RSA_WITH_SHA512: (_S.rsa_pkcs1_sha512,),
    SignatureAlgorithmOID.ED25519: (_S.ed25519,),
    SignatureAlgorithmOID.ED448: (_S.ed448,),
}
_PSS = {
    hashes.SHA256.name: (_S.rsa_pss_rsae_sha256, _S.rsa_pss_pss_sha256),
    hashes.SHA384.name: (_S.rsa_pss_rsae_sha384, _S.rsa_pss_pss_sha384),
    hashes.SHA512.name: (_S.rsa_pss_rsae_sha512, _S.rsa_pss_pss_sha512),
}


def schemes_of(der: bytes) -> frozenset[int] | None:
    """The schemes that a certificate's signature may be counted as; empty for those that are not in TLS, or SHA-1.

    None for a certificate that is its own issuer: nobody checks that signature. Raises `BadCertificate`.
    """
    return _remembered(der) if len(der) <= REMEMBERED_SIZE else _schemes_of(der)


def signed_within(chain: Sequence[bytes], schemes: Collection[int]) -> bool:
    """Whether every signature in ``chain`` (DER) that is checked is one of ``schemes``. Raises `BadCertificate`."""
    return all(own is None or not own.isdisjoint(schemes) for own in map(schemes_of, chain))


def check_chain_schemes(chain: Sequence[bytes], schemes: Collection[int] | None) -> None:
    """Raise `UnsupportedCertificate` for a peer's chain signed otherwise than with ``schemes``; None allows any."""
    if schemes is not None and not signed_within(chain, schemes):
        raise UnsupportedCertificate("a certificate of the chain is signed with a scheme that is not enabled here")


def by_preference(
    keys: tuple[CertifiedKey, ...], server_name: str | None, schemes: Collection[int]
) -> tuple[CertifiedKey, ...]:
    """Chains in the order to show them in: first those that have this very name, then those with a wildcard for it; of
    equals those signed with the peer's ``schemes``. None is left out: the last resort is any. RFC 9846, section 4.5.1.
    """
    if len(keys) == 1:
        return keys
    name = ServerName(server_name) if server_name is not None else None

    def rank(key: CertifiedKey) -> tuple[int, bool]:
        distance = 0 if name is None or name.text in key.names else 1 if key.covers(name) else 2
        return distance, not signed_within(key.chain, schemes)

    return tuple(sorted(keys, key=rank))


def _schemes_of(der: bytes) -> frozenset[int] | None:
    certificate = parse_certificate(der)
    try:
        if certificate.issuer.public_bytes() == certificate.subject.public_bytes():
            return None
        found: tuple[int, ...] = _BY_OID.get(certificate.signature_algorithm_oid, ())
        if certificate.signature_algorithm_oid == SignatureAlgorithmOID.RSASSA_PSS:
            digest = certificate.signature_hash_algorithm
            if isinstance(certificate.signature_algorithm_parameters, padding.PSS) and digest is not None:
                found = _PSS.get(digest.name, ())
    except Exception:  # names or parameters that do not parse: counted as a signature that nobody lists
        return frozenset()
    return frozenset(int(scheme) for scheme in found)


_remembered = lru_cache(256)(_schemes_of)
