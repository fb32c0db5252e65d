"""The public key infrastructure of the test suite: one small world of certificates, made once and shared by all tests.

`Pki` makes each certificate the first time it is asked for, so that a test run pays only for what it uses; nearly all
keys are P-256. Times are real (issued yesterday, valid for a year), because OpenSSL and GnuTLS judge the same files.
Names follow one rule: every server leaf is for ``localhost``, 127.0.0.1 and ::1 unless its name says otherwise.

Nothing here imports the package under test.
"""

from __future__ import annotations

import datetime
import ipaddress
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

SigningKey: TypeAlias = (
    ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey
)
SERVER_AUTH = ExtendedKeyUsageOID.SERVER_AUTH
CLIENT_AUTH = ExtendedKeyUsageOID.CLIENT_AUTH
DAY_S = 86_400
LOOPBACK = ("localhost", "127.0.0.1", "::1")

_serials = itertools.count(0x1000)


class Files(NamedTuple):
    """Where `Credential.write` put things: leaf and intermediates, the key alone, the root that anchors them."""

    chain: Path
    key: Path
    root: Path


@dataclass(frozen=True, eq=False)
class Credential:
    """A certificate with its private key and everything above it. A CA is one too: `issue` signs with it."""

    certificate: x509.Certificate
    private_key: SigningKey = field(repr=False)
    issuer: Credential | None = None

    @cached_property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """What a peer sends: the leaf, then its intermediates; the root is left out unless it is all there is."""
        if self.issuer is None:
            return (self.certificate,)
        above = self.issuer
        return (self.certificate,) if above.issuer is None else (self.certificate, *above.chain)

    @property
    def root(self) -> Credential:
        return self if self.issuer is None else self.issuer.root

    @cached_property
    def chain_der(self) -> tuple[bytes, ...]:
        return tuple(c.public_bytes(serialization.Encoding.DER) for c in self.chain)

    @cached_property
    def chain_pem(self) -> bytes:
        return b"".join(c.public_bytes(serialization.Encoding.PEM) for c in self.chain)

    @cached_property
    def cert_pem(self) -> bytes:
        """This certificate alone."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @cached_property
    def cert_der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @cached_property
    def root_pem(self) -> bytes:
        """The trust anchor of this chain."""
        return self.root.cert_pem

    @cached_property
    def key_pem(self) -> bytes:
        return self.encrypted_key_pem(None)

    @cached_property
    def key_der(self) -> bytes:
        return self.private_key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def encrypted_key_pem(self, password: bytes | None) -> bytes:
        protection: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if password is not None:
            protection = serialization.BestAvailableEncryption(password)
        return self.private_key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)

    def write(self, directory: Path, name: str = "leaf") -> Files:
        """Write ``name-chain.pem``, ``name.key`` and ``name-root.pem`` into ``directory`` and return their paths."""
        files = Files(directory / f"{name}-chain.pem", directory / f"{name}.key", directory / f"{name}-root.pem")
        files.chain.write_bytes(self.chain_pem)
        files.key.write_bytes(self.key_pem)
        files.root.write_bytes(self.root_pem)
        return files


def general_name(text: str) -> x509.GeneralName:
    """An iPAddress for an address literal, otherwise a dNSName (taken as it is, so that tests can write odd ones)."""
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def ec_key(curve: ec.EllipticCurve | None = None) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(curve or ec.SECP256R1())


def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def _moment(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(int(seconds), datetime.UTC)


def _signature_hash(key: SigningKey) -> hashes.SHA256 | None:
    if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey):
        return None
    return hashes.SHA256()


def issue(
    common_name: str | None,
    *,
    issuer: Credential | None = None,
    names: Sequence[str] = (),
    key: SigningKey | None = None,
    ca: bool = False,
    path_length: int | None = None,
    purposes: Sequence[ObjectIdentifier] | None = None,
    not_before: float | None = None,
    not_after: float | None = None,
    basic_constraints: bool = True,
    key_usage: bool = True,
    key_cert_sign: bool | None = None,
    key_identifiers: bool = True,
    critical: bool = False,
    name_constraints: x509.NameConstraints | None = None,
    pss: bool = False,
    extra: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> Credential:
    """Make one certificate, signed by ``issuer`` (by itself when there is none).

    ``purposes`` is the extended key usage, None leaves it out; ``critical`` makes SAN and EKU critical as trustme
    does; times are seconds since the epoch, by default yesterday to a year from now.
    """
    now = time.time()
    own_key = key if key is not None else ec_key()
    signing_key = issuer.private_key if issuer is not None else own_key
    subject = x509.Name([] if common_name is None else [x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer is not None else subject)
        .public_key(own_key.public_key())
        .serial_number(next(_serials))
        .not_valid_before(_moment(now - DAY_S if not_before is None else not_before))
        .not_valid_after(_moment(now + 365 * DAY_S if not_after is None else not_after))
    )
    if basic_constraints:
        builder = builder.add_extension(x509.BasicConstraints(ca, path_length), critical=True)
    if key_usage:
        signs = ca if key_cert_sign is None else key_cert_sign
        usage = x509.KeyUsage(not ca, False, False, False, False, signs, ca, False, False)
        if any((not ca, signs, ca)):
            builder = builder.add_extension(usage, critical=True)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([general_name(n) for n in names]), critical)
    if purposes is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(list(purposes)), critical)
    if name_constraints is not None:
        builder = builder.add_extension(name_constraints, critical=True)
    if key_identifiers:
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(own_key.public_key()), False)
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key())
        builder = builder.add_extension(authority, False)
    for extension, is_critical in extra:
        builder = builder.add_extension(extension, is_critical)
    algorithm = _signature_hash(signing_key)
    if pss:
        scheme = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
        certificate = builder.sign(signing_key, algorithm, rsa_padding=scheme)
    else:
        certificate = builder.sign(signing_key, algorithm)
    return Credential(certificate, own_key, issuer)


class Pki:
    """One root, one intermediate, an RSA root, and a leaf of each kind. Every attribute is made once, on first use."""

    # --- authorities ---------------------------------------------------------------------------------------------

    @cached_property
    def root(self) -> Credential:
        return issue("resumption test root", ca=True)

    @cached_property
    def intermediate(self) -> Credential:
        return issue("resumption test intermediate", issuer=self.root, ca=True, path_length=0)

    @cached_property
    def rsa_root(self) -> Credential:
        return issue("resumption test RSA root", key=self.rsa_root_key, ca=True)

    @cached_property
    def other_root(self) -> Credential:
        """A root that nobody trusts; it has the name of `root` and another key."""
        return issue("resumption test root", ca=True)

    @cached_property
    def weak_root(self) -> Credential:
        """A root with an RSA key of 1024 bits; not part of `trust_pem`."""
        return issue("resumption test weak root", key=self.rsa1024_key, ca=True)

    @cached_property
    def ed25519_root(self) -> Credential:
        """A root with an Ed25519 key; not part of `trust_pem`."""
        return issue("resumption test Ed25519 root", key=ed25519.Ed25519PrivateKey.generate(), ca=True)

    @cached_property
    def trust_pem(self) -> bytes:
        """Both trusted roots, P-256 and RSA."""
        return self.root.cert_pem + self.rsa_root.cert_pem

    def write_trust(self, directory: Path, name: str = "ca.pem") -> Path:
        path = directory / name
        path.write_bytes(self.trust_pem)
        return path

    # --- keys ----------------------------------------------------------------------------------------------------

    @cached_property
    def rsa_root_key(self) -> rsa.RSAPrivateKey:
        return rsa_key()

    @cached_property
    def rsa_leaf_key(self) -> rsa.RSAPrivateKey:
        return rsa_key()

    @cached_property
    def rsa1024_key(self) -> rsa.RSAPrivateKey:
        return rsa_key(1024)

    # --- good server leaves --------------------------------------------------------------------------------------

    def server(
        self,
        *names: str,
        issuer: Credential | None = None,
        key: SigningKey | None = None,
    ) -> Credential:
        """A fresh server leaf for ``names`` (DNS names and address literals) directly under the root."""
        wanted = names or LOOPBACK
        return issue(wanted[0][:64], issuer=issuer or self.root, names=wanted, key=key, purposes=[SERVER_AUTH])

    @cached_property
    def ecdsa_p256(self) -> Credential:
        return self.server()

    @cached_property
    def ecdsa_p384(self) -> Credential:
        return self.server(key=ec_key(ec.SECP384R1()))

    @cached_property
    def ecdsa_p521(self) -> Credential:
        return self.server(key=ec_key(ec.SECP521R1()))

    @cached_property
    def ed25519(self) -> Credential:
        return self.server(key=ed25519.Ed25519PrivateKey.generate())

    @cached_property
    def ed448(self) -> Credential:
        return self.server(key=ed448.Ed448PrivateKey.generate())

    @cached_property
    def rsa2048(self) -> Credential:
        """RSA leaf under the RSA root, signed with PKCS#1 v1.5: a peer with only RSA schemes can take it."""
        return self.server(issuer=self.rsa_root, key=self.rsa_leaf_key)

    @cached_property
    def rsa2048_pss_signed(self) -> Credential:
        """The same kind of leaf, its certificate signed with RSASSA-PSS."""
        return issue(
            "localhost", issuer=self.rsa_root, names=LOOPBACK, key=self.rsa_leaf_key, purposes=[SERVER_AUTH], pss=True
        )

    @cached_property
    def under_intermediate(self) -> Credential:
        """Chain of two: leaf and intermediate."""
        return self.server(issuer=self.intermediate)

    @cached_property
    def wildcard(self) -> Credential:
        return self.server("*.example.test")

    @cached_property
    def example(self) -> Credential:
        """For ``example.test`` and ``www.example.test``, no addresses."""
        return self.server("example.test", "www.example.test")

    @cached_property
    def ip_only(self) -> Credential:
        return self.server("127.0.0.1", "::1")

    @cached_property
    def self_signed(self) -> Credential:
        """What ``openssl req -x509`` makes: CA:TRUE, its own anchor, no extended key usage."""
        return issue("localhost", names=LOOPBACK, ca=True, key_usage=False)

    # --- client leaves -------------------------------------------------------------------------------------------

    def client_named(self, name: str) -> Credential:
        return issue(name, issuer=self.root, names=[name], purposes=[CLIENT_AUTH])

    @cached_property
    def client(self) -> Credential:
        return self.client_named("client.test")

    @cached_property
    def client_rsa(self) -> Credential:
        return issue("client.test", issuer=self.rsa_root, key=self.rsa_leaf_key, purposes=[CLIENT_AUTH])

    @cached_property
    def client_without_san(self) -> Credential:
        return issue("alice", issuer=self.root, purposes=[CLIENT_AUTH])

    # --- leaves that must be refused -----------------------------------------------------------------------------

    def _bad_leaf(self, **changes: object) -> Credential:
        make: Callable[..., Credential] = issue
        settings: dict[str, object] = {"issuer": self.root, "names": LOOPBACK, "purposes": [SERVER_AUTH]}
        return make("localhost", **{**settings, **changes})

    @cached_property
    def expired(self) -> Credential:
        now = time.time()
        return self._bad_leaf(not_before=now - 30 * DAY_S, not_after=now - 3_600)

    @cached_property
    def not_yet_valid(self) -> Credential:
        now = time.time()
        return self._bad_leaf(not_before=now + DAY_S, not_after=now + 30 * DAY_S)

    @cached_property
    def wrong_purpose(self) -> Credential:
        """A server leaf whose only extended key usage is code signing."""
        return self._bad_leaf(purposes=[ExtendedKeyUsageOID.CODE_SIGNING])

    @cached_property
    def without_san(self) -> Credential:
        """Only a common name, which nobody looks at any more. RFC 9525, section 2."""
        return self._bad_leaf(names=())

    @cached_property
    def rsa1024(self) -> Credential:
        return self._bad_leaf(issuer=self.rsa_root, key=self.rsa1024_key)

    @cached_property
    def untrusted(self) -> Credential:
        """Issued by a root with the trusted root's name but another key."""
        return self._bad_leaf(issuer=self.other_root)

    @cached_property
    def by_leaf(self) -> Credential:
        """Issued by another leaf: CA:FALSE in the middle of the chain."""
        return self._bad_leaf(issuer=self.ecdsa_p256)

    @cached_property
    def past_path_length(self) -> Credential:
        """A second intermediate below one whose path length is 0."""
        below = issue("one CA too many", issuer=self.intermediate, ca=True)
        return self._bad_leaf(issuer=below)

    @cached_property
    def expired_intermediate(self) -> Credential:
        now = time.time()
        middle = issue("expired CA", issuer=self.root, ca=True, not_before=now - 30 * DAY_S, not_after=now - 3_600)
        return self._bad_leaf(issuer=middle)

    @cached_property
    def long_chain(self) -> Credential:
        """Leaf under twelve intermediates."""
        authority = self.root
        for number in range(12):
            authority = issue(f"link {number}", issuer=authority, ca=True)
        return self._bad_leaf(issuer=authority)

    @cached_property
    def constrained_authority(self) -> Credential:
        """An intermediate that may issue for ``example.test`` and below only."""
        limits = x509.NameConstraints(permitted_subtrees=[x509.DNSName("example.test")], excluded_subtrees=None)
        return issue("constrained CA", issuer=self.root, ca=True, name_constraints=limits)

    @cached_property
    def name_constrained(self) -> Credential:
        """A leaf for ``outside.invalid`` under `constrained_authority`."""
        return self.server("outside.invalid", issuer=self.constrained_authority)

    @cached_property
    def name_constrained_inside(self) -> Credential:
        """A leaf for ``www.example.test`` under `constrained_authority`: acceptable."""
        return self.server("www.example.test", issuer=self.constrained_authority)
