"""Certificates and the keys that go with them: our own (`CertifiedKey`) and what a peer's says (`public_key_of`).

What it does: loads a certificate chain with its private key once, and precomputes all that a handshake asks of it; and
reads the peer's certificates, each distinct one only once (bounded, shared by all threads, immutable results). What it
leaves to others: whether a chain may be trusted (`trust`), which schemes a key can sign with (`signatures`).

Parsed certificates are remembered by their exact bytes because a client meets the same server certificate again and
again: reading key and extensions takes some 45 us, looking them up less than one. Nothing about trust is remembered.
"""

from __future__ import annotations

import binascii
import datetime
import hashlib
import os
import re
from collections.abc import Awaitable, Callable, Container, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import PublicKeyAlgorithmOID

from resumption.crypto.names import Address, ServerName, name_matches
from resumption.crypto.own_chains import check_own_chain
from resumption.crypto.signatures import MIN_RSA_BITS, PrivateKey, PublicKey, schemes_for_key, sign
from resumption.errors import BadCertificate, CertificateError, ConfigurationError, UnsupportedCertificate

__all__ = [
    "CertificateFacts",
    "CertificateSource",
    "CertifiedKey",
    "KeySource",
    "OcspSource",
    "PasswordSource",
    "Signer",
    "der_from",
    "facts_of",
    "is_rsassa_pss",
    "not_after_of",
    "parse_certificate",
    "public_key_of",
    "read_source",
    "timestamp_of",
]

CertificateSource: TypeAlias = "str | os.PathLike[str] | bytes | x509.Certificate | Iterable[CertificateSource]"
KeySource: TypeAlias = "str | os.PathLike[str] | bytes | PrivateKey"
OcspSource: TypeAlias = "bytes | Callable[[], bytes | None] | None"
PasswordSource: TypeAlias = "str | bytes | Callable[[], str | bytes] | None"
Signer: TypeAlias = "Callable[[int, bytes], bytes | Awaitable[bytes]]"
"""Signs with a key that is held elsewhere: (signature scheme, content) -> signature. The content is the whole message,
not its digest. It may block; a coroutine function serves asyncio streams."""

REMEMBERED_CERTIFICATES = 256  # distinct certificates kept parsed
REMEMBERED_SIZE = 8_192  # bytes: a larger certificate is parsed each time, so that peers cannot fill the memory

_PRIVATE_KEY_TYPES = (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey, ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey)
_PUBLIC_KEY_TYPES = (ec.EllipticCurvePublicKey, rsa.RSAPublicKey, ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)
_TLS12, _TLS13 = 0x0303, 0x0304

# --- what a certificate says ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What a certificate says that the handshake and the trust decision need, read once.

    Times are seconds since the epoch. ``purposes`` are the dotted object identifiers of the extended key usage, None
    when there is none; ``signs`` is the digitalSignature bit, None when there is no key usage; ``rsa_bits`` is the size
    of an RSA key, None for other keys.
    """

    certificate: x509.Certificate
    public_key: PublicKey
    rsassa_pss: bool
    not_before: float
    not_after: float
    dns_names: tuple[str, ...]
    addresses: tuple[Address, ...]
    has_names: bool  # whether there is a subjectAltName at all
    purposes: frozenset[str] | None
    signs: bool | None
    rsa_bits: int | None

    def covers(self, name: ServerName) -> bool:
        """Whether one of the subjectAltName entries is for ``name``. The subject's common name is not looked at."""
        if name.address is not None:
            return name.address in self.addresses
        return any(name_matches(pattern, name.text) for pattern in self.dns_names)


def parse_certificate(der: bytes) -> x509.Certificate:
    """The parsed certificate. Raises `BadCertificate` for bytes that are not one."""
    return _remembered_certificate(der) if len(der) <= REMEMBERED_SIZE else _parse(der)


def facts_of(der: bytes) -> CertificateFacts:
    """Everything this package wants to know of a certificate, from its DER encoding.

    Raises `BadCertificate` for bytes that are no certificate or hold a broken extension, and `UnsupportedCertificate`
    for a key of a kind that TLS signatures cannot use here.
    """
    return _remembered_facts(der) if len(der) <= REMEMBERED_SIZE else _read_facts(der)


def public_key_of(der: bytes) -> PublicKey:
    """The public key in a certificate. Raises as `facts_of`; checks nothing else about the certificate."""
    return facts_of(der).public_key


def is_rsassa_pss(der: bytes) -> bool:
    """Whether the certificate's key may be used with RSASSA-PSS only (``rsa_pss_pss_*``). RFC 9846, section 4.3.3."""
    return facts_of(der).rsassa_pss


def not_after_of(chain: Sequence[bytes]) -> float:
    """When the first certificate of ``chain`` (DER) to expire does so, in seconds since the epoch."""
    return min(timestamp_of(parse_certificate(der).not_valid_after_utc) for der in chain)


def timestamp_of(moment: datetime.datetime) -> float:
    """Seconds since the epoch of an aware ``moment``."""
    return moment.timestamp()


def _parse(der: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(der)
    except Exception as error:  # the parser's own errors, and warnings that a test run turned into errors
        raise BadCertificate(f"{len(der)} bytes where a certificate should be are not one", verify_code=1) from error


def _read_facts(der: bytes) -> CertificateFacts:
    certificate = parse_certificate(der)
    try:
        public_key = certificate.public_key()
    except UnsupportedAlgorithm as error:
        raise UnsupportedCertificate("a certificate has a key of an unknown kind", verify_code=6) from error
    except Exception as error:
        raise BadCertificate("a certificate has a public key that cannot be read", verify_code=6) from error
    if not isinstance(public_key, _PUBLIC_KEY_TYPES):
        raise UnsupportedCertificate("a certificate has a key that cannot sign a TLS handshake", verify_code=6)
    try:
        return _facts(certificate, public_key)
    except Exception as error:
        raise BadCertificate("a certificate has an extension that cannot be read", verify_code=41) from error


def _facts(certificate: x509.Certificate, public_key: PublicKey) -> CertificateFacts:
    dns_names: list[str] = []
    addresses: list[Address] = []
    has_names = False
    purposes: frozenset[str] | None = None
    signs: bool | None = None
    for extension in certificate.extensions:
        value = extension.value
        if isinstance(value, x509.SubjectAlternativeName):
            has_names = True
            for entry in value:
                if isinstance(entry, x509.DNSName):
                    dns_names.append(entry.value)
                elif isinstance(entry, x509.IPAddress) and isinstance(entry.value, Address):
                    addresses.append(entry.value)
        elif isinstance(value, x509.ExtendedKeyUsage):
            purposes = frozenset(purpose.dotted_string for purpose in value)
        elif isinstance(value, x509.KeyUsage):
            signs = value.digital_signature
    return CertificateFacts(
        certificate,
        public_key,
        certificate.public_key_algorithm_oid == PublicKeyAlgorithmOID.RSASSA_PSS,
        timestamp_of(certificate.not_valid_before_utc),
        timestamp_of(certificate.not_valid_after_utc),
        tuple(dns_names),
        tuple(addresses),
        has_names,
        purposes,
        signs,
        public_key.key_size if isinstance(public_key, rsa.RSAPublicKey) else None,
    )


_remembered_certificate = lru_cache(REMEMBERED_CERTIFICATES)(_parse)
_remembered_facts = lru_cache(REMEMBERED_CERTIFICATES)(_read_facts)

# --- reading certificates from where users keep them ---------------------------------------------------------------

_PEM_LABELS = (b"CERTIFICATE", b"X509 CERTIFICATE")
_MAX_FILE_SIZE = 16 << 20  # bytes


def read_source(source: str | os.PathLike[str] | bytes, what: str) -> bytes:
    """The bytes of ``source``: a path is read, PEM text is encoded, bytes are themselves.

    Raises `ConfigurationError`, with ``what`` naming the thing wanted, when a file cannot be read.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if isinstance(source, str) and "-----BEGIN" in source:
        return source.encode("utf-8", "replace")
    path = Path(source)
    try:
        if path.stat().st_size > _MAX_FILE_SIZE:
            raise ConfigurationError(f"{path} is too large to be a {what} file")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(f"cannot read the {what} file {path}: {reason}") from error


def der_from(data: bytes) -> list[bytes]:
    """The DER encodings in ``data``: PEM blocks among any other text, or DER certificates one after another.

    Nothing is parsed; an empty list says that there is nothing that looks like a certificate.
    """
    if data.startswith(b"\x30"):
        return _split_der(data)
    found = []
    for part in data.split(b"-----BEGIN ")[1:]:  # ten times as quick as a regular expression
        label, _, rest = part.partition(b"-----")
        block, end, _ = rest.partition(b"-----END " + label + b"-----")
        if label in _PEM_LABELS and end:
            try:
                found.append(binascii.a2b_base64(block))
            except ValueError:
                continue
    return found


def _split_der(data: bytes) -> list[bytes]:
    """Cut ``data`` at the ends of its outermost ASN.1 SEQUENCEs; what does not parse is left out."""
    found = []
    at = 0
    while at + 2 <= len(data) and data[at] == 0x30:
        length, header = data[at + 1], 2
        if length & 0x80:
            size = length & 0x7F
            header += size
            length = int.from_bytes(data[at + 2 : at + 2 + size], "big") if 1 <= size <= 4 else len(data)
        end = at + header + length
        if end > len(data):
            break
        found.append(data[at:end])
        at = end
    return found


# --- our own certificate and key -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class CertifiedKey:
    """A certificate chain and the private key of its leaf, ready to be used by any number of handshakes.

    `load` takes a key that is here. `held_elsewhere` takes one in an HSM, an agent or another machine, which is asked
    for each signature: ``private_key`` is None then.

    ``chain`` is DER, leaf first, as it will be sent. ``schemes13`` and ``schemes12`` are what the key can sign with in
    each version, most preferred first. ``leaf_key_digest`` is the SHA-256 of the leaf's SubjectPublicKeyInfo;
    ``not_after`` is when the first certificate of the chain expires, in seconds since the epoch; ``names`` are the
    leaf's DNS names, lower case, wildcards included. Immutable, and safe to share between threads.
    """

    chain: tuple[bytes, ...] = field(repr=False)
    private_key: PrivateKey | None = field(repr=False)
    public_key: PublicKey = field(repr=False)
    schemes13: tuple[int, ...]
    schemes12: tuple[int, ...]
    leaf_key_digest: bytes = field(repr=False)
    not_after: float
    names: tuple[str, ...]
    rsassa_pss: bool = False
    ocsp_source: OcspSource = field(default=None, repr=False)
    scts: tuple[bytes, ...] = field(default=(), repr=False)  # signed certificate timestamps, serialised
    signer: Signer | None = field(default=None, repr=False)

    def with_status(self, ocsp_response: OcspSource = None, scts: Iterable[bytes] = ()) -> CertifiedKey:
        """The same, with an OCSP response (DER, or a function that returns the present one, or None) and signed
        certificate timestamps to show to clients that ask. The function is called for each such handshake, so it must
        not block; what it raises ends the connection."""
        return replace(self, ocsp_source=ocsp_response, scts=tuple(scts))

    @property
    def ocsp_response(self) -> bytes | None:
        """The OCSP response (DER) to show now; None for none."""
        source = self.ocsp_source
        return source() if callable(source) else source

    @classmethod
    def load(
        cls,
        certificates: CertificateSource,
        private_key: KeySource | None = None,
        password: PasswordSource = None,
    ) -> CertifiedKey:
        """Load a chain, leaf first, and its key.

        ``certificates`` is a path, PEM text, PEM or DER bytes, a certificate of `cryptography`, or several of these.
        ``private_key`` is a path, PEM or DER bytes, or a key object; None looks for the key among ``certificates``, for
        one file that holds both. ``password`` (or the function that returns it) is asked for only if the key is
        encrypted. Raises `ConfigurationError`, which says what to do.
        """
        sources = _flat(certificates)
        chain = _chain_in(sources)
        if private_key is not None:
            key = _load_key(private_key, password)
        else:
            key = _load_key(_key_among(sources), password)
        _check_that_they_match(key, chain)
        return cls._made(chain, key, None)

    @classmethod
    def held_elsewhere(cls, certificates: CertificateSource, signer: Signer) -> CertifiedKey:
        """A chain, leaf first, as for `load`, whose private key only ``signer`` can use.

        ``signer(scheme, content)`` returns the signature of ``content`` under a `SignatureScheme` that fits the leaf's
        key, or an awaitable of it, which only asyncio streams can await. Streams call it outside their locks, asyncio
        streams in an executor unless it is a coroutine function; how long it may take is its own to limit. Where there
        is no stream, it is never called: the connection asks `NeedSignature`. A signature that does not verify, or an
        error, ends the connection with internal_error. Raises `ConfigurationError`.
        """
        if not callable(signer):
            raise ConfigurationError("a signer is a function: (scheme, content) -> signature")
        return cls._made(_chain_in(_flat(certificates)), None, signer)

    @classmethod
    def _made(cls, chain: tuple[bytes, ...], key: PrivateKey | None, signer: Signer | None) -> CertifiedKey:
        leaf = facts_of(chain[0])
        check_own_chain(leaf.signs, map(parse_certificate, chain))
        schemes13 = schemes_for_key(leaf.public_key, _TLS13, rsassa_pss=leaf.rsassa_pss)
        schemes12 = schemes_for_key(leaf.public_key, _TLS12, rsassa_pss=leaf.rsassa_pss)
        if not schemes13:
            raise ConfigurationError(
                f"the private key cannot be used for TLS: make an RSA key of at least {MIN_RSA_BITS} bits, "
                "a P-256, P-384 or P-521 key, or an Ed25519 or Ed448 key"
            )
        return cls(
            chain=chain,
            private_key=key,
            public_key=leaf.public_key,
            schemes13=schemes13,
            schemes12=schemes12,
            leaf_key_digest=_key_digest(leaf.public_key),
            not_after=not_after_of(chain),
            names=tuple(name.lower() for name in leaf.dns_names),
            rsassa_pss=leaf.rsassa_pss,
            signer=signer,
        )

    @classmethod
    def of(
        cls,
        certificates: CertificateSource | CertifiedKey,
        private_key: KeySource | None = None,
        password: PasswordSource = None,
    ) -> CertifiedKey:
        """As `load`, also of one that was loaded already."""
        return certificates if isinstance(certificates, CertifiedKey) else cls.load(certificates, private_key, password)

    @classmethod
    def of_pair(cls, pair: CertifiedKey | tuple[CertificateSource, KeySource | None]) -> CertifiedKey:
        """As `load`, of a chain and its key together, or of one that was loaded already."""
        return pair if isinstance(pair, CertifiedKey) else cls.load(*pair)

    def sign(self, scheme: int, content: bytes, version: int) -> bytes:
        """The signature of ``content`` by a key that is here. Raises `ConfigurationError` for any other."""
        if self.private_key is None:
            raise ConfigurationError("the private key is held elsewhere: its signer has to be asked")
        return sign(self.private_key, scheme, content, version=version, rsassa_pss=self.rsassa_pss)

    def is_issued_under(self, authorities: Container[bytes]) -> bool:
        """Whether one of the chain's certificates was issued by one of ``authorities``, names as DER."""
        return any(parse_certificate(der).issuer.public_bytes() in authorities for der in self.chain)

    def covers(self, name: ServerName) -> bool:
        """Whether the leaf is for ``name``: how a server chooses among several keys. RFC 6066, section 3."""
        return facts_of(self.chain[0]).covers(name)


def _flat(source: CertificateSource) -> list[str | os.PathLike[str] | bytes | x509.Certificate]:
    if isinstance(source, str | bytes | bytearray | os.PathLike | x509.Certificate):
        return [source]
    if isinstance(source, Iterable):
        return [single for part in source for single in _flat(part)]
    raise ConfigurationError(f"a certificate is a path, bytes or a certificate object, not {type(source).__name__}")


def _chain_in(sources: Iterable[str | os.PathLike[str] | bytes | x509.Certificate]) -> tuple[bytes, ...]:
    chain = tuple(der for source in sources for der in _certificates_in(source))
    if not chain:
        raise ConfigurationError("no certificate found: give a PEM or DER file that holds the chain, leaf first")
    try:
        for der in chain:
            parse_certificate(der)
        facts_of(chain[0])
    except CertificateError as error:
        raise ConfigurationError(f"the certificate chain cannot be used: {error}") from error
    return chain


def _certificates_in(source: str | os.PathLike[str] | bytes | x509.Certificate) -> list[bytes]:
    if isinstance(source, x509.Certificate):
        return [source.public_bytes(serialization.Encoding.DER)]
    return der_from(read_source(source, "certificate"))


_PEM_KEY = re.compile(rb"-----BEGIN ((?:[A-Z0-9]+ )*)PRIVATE KEY-----.*?-----END \1PRIVATE KEY-----", re.DOTALL)


def _key_among(sources: Iterable[str | os.PathLike[str] | bytes | x509.Certificate]) -> bytes:
    for source in sources:
        if not isinstance(source, x509.Certificate):
            match = _PEM_KEY.search(read_source(source, "certificate"))
            if match is not None:
                return match.group()
    raise ConfigurationError("no private key given, and none is in the certificate file: pass the key file as well")


def _load_key(source: KeySource, password: PasswordSource) -> PrivateKey:
    if isinstance(source, _PRIVATE_KEY_TYPES):
        return source
    if not isinstance(source, str | bytes | bytearray | os.PathLike):
        raise ConfigurationError(
            f"a private key is a path, bytes, or an RSA, EC or Ed25519/Ed448 key object, not {type(source).__name__}"
        )
    data = read_source(source, "private key")
    load: Callable[[bytes, bytes | None], object]
    if data.startswith(b"\x30"):
        load = serialization.load_der_private_key
    else:
        match = _PEM_KEY.search(data)
        if match is None:
            raise ConfigurationError("no private key found: a PEM file needs a block 'BEGIN PRIVATE KEY'")
        data, load = match.group(), serialization.load_pem_private_key
    try:
        key = _open_key(load, data, password)
    except UnsupportedAlgorithm as error:
        raise ConfigurationError(
            "the private key is of a kind, or encrypted in a way, that is not supported"
        ) from error
    if not isinstance(key, _PRIVATE_KEY_TYPES):
        raise ConfigurationError("the private key is of a kind that cannot sign TLS handshakes: use RSA, EC or Ed25519")
    return key


def _open_key(load: Callable[[bytes, bytes | None], object], data: bytes, password: PasswordSource) -> object:
    try:
        return load(data, None)
    except TypeError:
        pass  # encrypted: this is how `cryptography` asks for a password
    except ValueError as error:
        raise ConfigurationError("the private key cannot be read: it is damaged, or no key of a known form") from error
    secret = password() if callable(password) else password
    if not secret:
        raise ConfigurationError("the private key is encrypted: give its password")
    try:
        return load(data, secret.encode() if isinstance(secret, str) else bytes(secret))
    except (ValueError, TypeError) as error:
        raise ConfigurationError(
            "the private key cannot be decrypted: the password is wrong, or the key is encrypted in an unknown way"
        ) from error


def _check_that_they_match(key: PrivateKey, chain: Sequence[bytes]) -> None:
    wanted = key.public_key()
    if public_key_of(chain[0]) == wanted:
        return
    for place, der in enumerate(chain[1:], start=2):
        if _has_key(der, wanted):
            raise ConfigurationError(f"the private key belongs to certificate {place} of the chain: put that one first")
    raise ConfigurationError("the private key does not belong to the certificate: load the key it was issued for")


def _has_key(der: bytes, key: PublicKey) -> bool:
    try:
        return public_key_of(der) == key
    except CertificateError:
        return False


def _key_digest(public_key: PublicKey) -> bytes:
    encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(public_key.public_bytes(encoding, form)).digest()
