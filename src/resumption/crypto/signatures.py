"""Signatures over the handshake: which schemes there are, which a key can make, making and checking them.

What it does: maps TLS SignatureScheme numbers (RFC 9846, section 4.3.3) to `cryptography` calls, with algorithm and
padding objects built once. What it leaves to others: certificates and their chains (`certificates`), and the choice
among the peer's schemes (handshake).

Strict by construction: a scheme the peer names is used only if the key fits it. ECDSA is bound to its curve in TLS 1.3
and free of it in TLS 1.2; RSA PKCS#1 v1.5 signs only TLS 1.2 handshakes; RSA keys below 2048 bits are refused; SHA-1 is
not in the table. `cryptography` reads an RSASSA-PSS key as a plain RSA key, so whether a key is one is told by
whoever read it from its certificate (``rsassa_pss``); for such a key only the ``rsa_pss_pss_*`` schemes fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa

from resumption.constants import NamedGroup, SignatureScheme, name_of
from resumption.errors import ConfigurationError, DecryptError, IllegalParameter

__all__ = [
    "CERTIFICATE_SCHEMES",
    "DEFAULT_SCHEMES_12",
    "DEFAULT_SCHEMES_13",
    "MIN_RSA_BITS",
    "SCHEMES",
    "PrivateKey",
    "PublicKey",
    "SchemeFacts",
    "by_name",
    "certificate_verify_content",
    "curve_group",
    "schemes_for_key",
    "sign",
    "verify",
]

PrivateKey: TypeAlias = (
    ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey
)
PublicKey: TypeAlias = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey | ed448.Ed448PublicKey

MIN_RSA_BITS = 2048
_TLS13 = 0x0304


@dataclass(frozen=True, slots=True, eq=False)
class SchemeFacts:
    """One signature scheme. ``tls13``: may sign a TLS 1.3 handshake. ``curve``: the curve TLS 1.3 binds it to.

    ``key_type`` is "ECDSA", "RSA", "RSA-PSS", "Ed25519" or "Ed448"; ``hash_name`` is None where the scheme has its own.
    """

    scheme: int
    name: str
    key_type: str
    tls13: bool
    curve: str | None
    hash_name: str | None


# What `cryptography` wants to know, built once per scheme.
_ECDSA: dict[int, ec.ECDSA] = {}
_RSA: dict[int, tuple[padding.AsymmetricPadding, hashes.HashAlgorithm]] = {}


def _ecdsa(scheme: SignatureScheme, curve: str, algorithm: hashes.HashAlgorithm) -> SchemeFacts:
    _ECDSA[int(scheme)] = ec.ECDSA(algorithm)
    return SchemeFacts(int(scheme), scheme.name, "ECDSA", True, curve, algorithm.name)


def _pss(scheme: SignatureScheme, algorithm: hashes.HashAlgorithm, key_type: str) -> SchemeFacts:
    # MGF1 over the same digest, salt as long as the digest: section 4.3.3
    _RSA[int(scheme)] = (padding.PSS(padding.MGF1(algorithm), algorithm.digest_size), algorithm)
    return SchemeFacts(int(scheme), scheme.name, key_type, True, None, algorithm.name)


def _pkcs1(scheme: SignatureScheme, algorithm: hashes.HashAlgorithm) -> SchemeFacts:
    _RSA[int(scheme)] = (padding.PKCS1v15(), algorithm)
    return SchemeFacts(int(scheme), scheme.name, "RSA", False, None, algorithm.name)


def _eddsa(scheme: SignatureScheme, key_type: str) -> SchemeFacts:
    return SchemeFacts(int(scheme), scheme.name, key_type, True, None, None)


_S = SignatureScheme
_SHA256, _SHA384, _SHA512 = hashes.SHA256(), hashes.SHA384(), hashes.SHA512()

_ALL = (  # in our order of preference
    _ecdsa(_S.ecdsa_secp256r1_sha256, "secp256r1", _SHA256),
    _eddsa(_S.ed25519, "Ed25519"),
    _pss(_S.rsa_pss_rsae_sha256, _SHA256, "RSA"),
    _ecdsa(_S.ecdsa_secp384r1_sha384, "secp384r1", _SHA384),
    _pss(_S.rsa_pss_rsae_sha384, _SHA384, "RSA"),
    _ecdsa(_S.ecdsa_secp521r1_sha512, "secp521r1", _SHA512),
    _pss(_S.rsa_pss_rsae_sha512, _SHA512, "RSA"),
    _eddsa(_S.ed448, "Ed448"),
    _pss(_S.rsa_pss_pss_sha256, _SHA256, "RSA-PSS"),
    _pss(_S.rsa_pss_pss_sha384, _SHA384, "RSA-PSS"),
    _pss(_S.rsa_pss_pss_sha512, _SHA512, "RSA-PSS"),
    _pkcs1(_S.rsa_pkcs1_sha256, _SHA256),
    _pkcs1(_S.rsa_pkcs1_sha384, _SHA384),
    _pkcs1(_S.rsa_pkcs1_sha512, _SHA512),
)

SCHEMES: dict[int, SchemeFacts] = {facts.scheme: facts for facts in _ALL}
"""Every scheme by its number, in our order of preference."""

DEFAULT_SCHEMES_13: tuple[int, ...] = tuple(facts.scheme for facts in _ALL if facts.tls13)
"""May sign a TLS 1.3 CertificateVerify."""
DEFAULT_SCHEMES_12: tuple[int, ...] = tuple(facts.scheme for facts in _ALL)
"""May sign a TLS 1.2 ServerKeyExchange or CertificateVerify."""
CERTIFICATE_SCHEMES: tuple[int, ...] = DEFAULT_SCHEMES_12
"""May sign a certificate: what a ClientHello offers in ``signature_algorithms``, PKCS#1 last (section 4.3.3)."""

_BY_NAME = {facts.name.upper(): facts for facts in _ALL}


def by_name(name: str) -> SchemeFacts:
    """The scheme with this IANA name, in any case. Raises `ConfigurationError` for a name we do not speak."""
    facts = _BY_NAME.get(name.upper())
    if facts is None:
        raise ConfigurationError(f"unknown signature scheme {name!r}")
    return facts


_CURVE_GROUPS = {group.name: int(group) for group in (NamedGroup.secp256r1, NamedGroup.secp384r1, NamedGroup.secp521r1)}
_PSS_RSAE_SCHEMES = tuple(facts.scheme for facts in _ALL if facts.key_type == "RSA" and facts.tls13)
_PSS_PSS_SCHEMES = tuple(facts.scheme for facts in _ALL if facts.key_type == "RSA-PSS")
_RSA_SCHEMES_12 = tuple(facts.scheme for facts in _ALL if facts.key_type == "RSA")
_ECDSA_SCHEMES = tuple(_ECDSA)
_ECDSA_BY_CURVE = {facts.curve: facts.scheme for facts in _ALL if facts.curve is not None}


def curve_group(key: object) -> int | None:
    """The group number of an ECDSA key's curve (0 for one without), in which TLS 1.2 lists the curves of certificates
    too; None for other keys. RFC 8422, section 5.3."""
    if not isinstance(key, (ec.EllipticCurvePrivateKey, ec.EllipticCurvePublicKey)):
        return None
    return _CURVE_GROUPS.get(key.curve.name, 0)


def schemes_for_key(key: object, version: int, *, rsassa_pss: bool = False) -> tuple[int, ...]:
    """The schemes that ``key`` (private or public) can sign with in this ``version``, most preferred first.

    ``rsassa_pss`` says that the key's certificate carries the RSASSA-PSS identifier. The tuple is empty for a key that
    is not accepted at all: of an unknown kind, on an unknown curve, or an RSA key shorter than `MIN_RSA_BITS`.
    RFC 9846, section 4.3.3; TLS 1.2: RFC 5246, section 7.4.1.4.1, and RFC 8422, section 5.1.3.
    """
    if isinstance(key, (ec.EllipticCurvePrivateKey, ec.EllipticCurvePublicKey)):
        own = _ECDSA_BY_CURVE.get(key.curve.name)
        if own is None:
            return ()
        if version >= _TLS13:
            return (own,)
        return (own, *(scheme for scheme in _ECDSA_SCHEMES if scheme != own))
    if isinstance(key, (rsa.RSAPrivateKey, rsa.RSAPublicKey)):
        if key.key_size < MIN_RSA_BITS:
            return ()
        if rsassa_pss:
            return _PSS_PSS_SCHEMES
        return _PSS_RSAE_SCHEMES if version >= _TLS13 else _RSA_SCHEMES_12
    if isinstance(key, (ed25519.Ed25519PrivateKey, ed25519.Ed25519PublicKey)):
        return (int(_S.ed25519),)
    if isinstance(key, (ed448.Ed448PrivateKey, ed448.Ed448PublicKey)):
        return (int(_S.ed448),)
    return ()


def sign(key: PrivateKey, scheme: int, content: bytes, *, version: int = _TLS13, rsassa_pss: bool = False) -> bytes:
    """The signature of ``content`` under ``scheme``. RFC 9846, section 4.3.3.

    ``content`` is the whole message to sign, not its digest. Raises `ConfigurationError` when the key cannot make such
    a signature in this ``version``: a scheme is chosen from `schemes_for_key`, so a misfit is ours, never the peer's.
    """
    if scheme not in schemes_for_key(key, version, rsassa_pss=rsassa_pss):
        raise ConfigurationError(f"this key cannot sign with {name_of(SignatureScheme, scheme)}")
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(content, _ECDSA[scheme])
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(content, *_RSA[scheme])
    return key.sign(content)


def verify(
    public_key: PublicKey,
    scheme: int,
    content: bytes,
    signature: bytes,
    *,
    version: int = _TLS13,
    rsassa_pss: bool = False,
) -> None:
    """Check the peer's ``signature`` over ``content``; returning means that it is good. RFC 9846, section 4.5.2.

    Raises `IllegalParameter` when the key and the scheme do not fit each other in this ``version``, and `DecryptError`
    when the signature is wrong. Whether ``scheme`` was offered is the caller's to check.
    """
    if scheme not in schemes_for_key(public_key, version, rsassa_pss=rsassa_pss):
        raise IllegalParameter(f"the peer's key cannot have signed with {name_of(SignatureScheme, scheme)}")
    try:
        if isinstance(public_key, ec.EllipticCurvePublicKey):
            public_key.verify(signature, content, _ECDSA[scheme])
        elif isinstance(public_key, rsa.RSAPublicKey):
            public_key.verify(signature, content, *_RSA[scheme])
        else:
            public_key.verify(signature, content)
    except InvalidSignature:
        raise DecryptError(f"the peer's {SCHEMES[scheme].name} signature does not verify") from None


_SERVER_CONTEXT = b" " * 64 + b"TLS 1.3, server CertificateVerify\0"
_CLIENT_CONTEXT = b" " * 64 + b"TLS 1.3, client CertificateVerify\0"


def certificate_verify_content(server: bool, transcript_hash: bytes) -> bytes:
    """What the CertificateVerify of the server, or else the client, signs. RFC 9846, section 4.5.2 (8446: 4.4.3)."""
    return (_SERVER_CONTEXT if server else _CLIENT_CONTEXT) + transcript_hash
