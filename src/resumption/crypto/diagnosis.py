"""Why a chain was refused: the exact error for a verification that failed.

What it does: `cryptography` says no in one vague sentence; this module walks the chain once more, only after a refusal,
and names the first reason that OpenSSL would name, with its X509_V_ERR number and a text that says what to do. What it
leaves to others: the decision. Nothing here can turn a refusal into an acceptance, and `explain` never fails: what it
cannot explain becomes a `BadCertificate` with the verifier's own words.

The order is OpenSSL's: the path, then the extensions and purposes along it, key sizes and digests, the name, and last
signatures and validity from the anchor down to the leaf. The work is bounded: `MAX_SIGNATURE_CHECKS` in all.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from resumption.crypto.anchors import Anchors, name_key
from resumption.crypto.certificates import CertificateFacts, timestamp_of
from resumption.crypto.names import ServerName
from resumption.crypto.signatures import MIN_RSA_BITS
from resumption.errors import (
    BadCertificate,
    CertificateError,
    CertificateExpired,
    HostnameMismatch,
    UnknownCA,
    UnsupportedCertificate,
)

__all__ = ["Purpose", "check_leaf", "explain"]

MAX_SIGNATURE_CHECKS = 32
_MAX_SHOWN_NAMES = 3
_ANY_PURPOSE = "2.5.29.37.0"
_WEAK_DIGESTS = ("md5", "sha1")
_SHOWABLE = re.compile(r"(\*\.)?[A-Za-z0-9._-]{1,253}")
_UNSHOWABLE = re.compile(r"[^ -~]")
_E = TypeVar("_E", bound=x509.ExtensionType)


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a chain is verified for: ``peer`` is the word for its owner, ``oid`` the extended key usage it needs."""

    peer: str
    oid: str
    title: str

    def allowed_by(self, purposes: frozenset[str] | None) -> bool:
        """Whether an extended key usage permits this purpose; None (no such extension) permits all."""
        return purposes is None or self.oid in purposes or _ANY_PURPOSE in purposes


def check_leaf(leaf: CertificateFacts, purpose: Purpose) -> None:
    """What must hold of a leaf besides its path: purpose, key usage, key size.

    RFC 9846, section 4.5.1.2 (8446: 4.4.2.2): digitalSignature must be set where there is a key usage. Raises
    `UnsupportedCertificate`.
    """
    whose = f"the {purpose.peer}'s certificate"
    if not purpose.allowed_by(leaf.purposes):
        raise UnsupportedCertificate(
            f"{whose} is not meant for a TLS {purpose.peer}: issue it with the extended key usage {purpose.title}",
            verify_code=26,
        )
    if leaf.signs is False:
        raise UnsupportedCertificate(
            f"{whose} may not be used for signatures: issue it with digitalSignature in its key usage", verify_code=26
        )
    if leaf.rsa_bits is not None and leaf.rsa_bits < MIN_RSA_BITS:
        raise UnsupportedCertificate(
            f"{whose} has an RSA key of {leaf.rsa_bits} bits: it needs {MIN_RSA_BITS}", verify_code=66
        )


def explain(
    leaf: CertificateFacts,
    others: Sequence[x509.Certificate],
    anchors: Anchors,
    purpose: Purpose,
    name: ServerName | None,
    now: float,
    failure: Exception,
) -> CertificateError:
    """The error that says why ``leaf``, sent with ``others``, was refused with ``failure`` at ``now``. Never raises."""
    try:
        path = _follow(leaf.certificate, others, anchors)
        reason = (
            _reason_in_path(path, purpose)
            or _reason_in_authorities(path, purpose)
            or _reason_in_leaf(leaf, purpose)
            or _reason_in_strength(path)
            or _reason_in_name(leaf, name)
            or _reason_in_signatures_and_times(path, purpose, now)
        )
    except Exception:  # a certificate too odd to be looked at: the verifier's words have to do
        reason = None
    return reason or _in_the_verifiers_words(failure, purpose)


# --- the path ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Path:
    """The likeliest path: ``links`` from the leaf up; ``unsigned`` are the places whose issuer did not sign them."""

    links: list[x509.Certificate]
    unsigned: set[int]
    trusted: bool = False


def _follow(leaf: x509.Certificate, others: Sequence[x509.Certificate], anchors: Anchors) -> _Path:
    path = _Path([leaf], set())
    checks = MAX_SIGNATURE_CHECKS
    while True:
        current = path.links[-1]
        if current in anchors:
            path.trusted = True
            return path
        issuer_name = name_key(current, "issuer")
        candidates = [c for c in anchors.issuers_of(current) if _key_ids_agree(current, c)]
        candidates += [
            c
            for c in others
            if c not in path.links and name_key(c, "subject") == issuer_name and _key_ids_agree(current, c)
        ]
        if not candidates:
            return path
        chosen = None
        for candidate in candidates[:checks]:
            checks -= 1
            if _may_have_signed(candidate, current):
                chosen = candidate
                break
        if chosen is None:
            chosen = candidates[0]
            if checks > 0:  # otherwise it is not known who signed it, and nobody is accused
                path.unsigned.add(len(path.links) - 1)
        path.links.append(chosen)


def _key_ids_agree(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    wanted = _extension(certificate, x509.AuthorityKeyIdentifier)
    found = _extension(issuer, x509.SubjectKeyIdentifier)
    if wanted is None or wanted.key_identifier is None or found is None:
        return True
    return wanted.key_identifier == found.digest


def _may_have_signed(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    """False for a wrong signature; a signature that cannot be checked (SHA-1, unknown key) is judged elsewhere."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except InvalidSignature:
        return False
    except Exception:
        return True
    return True


def _extension(certificate: x509.Certificate, kind: type[_E]) -> _E | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _reason_in_path(path: _Path, purpose: Purpose) -> CertificateError | None:
    if path.trusted:
        return None
    whose = f"the {purpose.peer}'s certificate"
    last = path.links[-1]
    if name_key(last, "issuer") != name_key(last, "subject"):
        return UnknownCA(
            f"{whose} comes from a certificate authority that is not trusted here: add its root to the trust store, "
            f"or let the {purpose.peer} send the intermediate certificates it was issued through",
            verify_code=20,
        )
    if len(path.links) == 1:
        return UnknownCA(
            f"{whose} is self-signed and not trusted here: add the certificate itself to the trust store",
            verify_code=18,
        )
    return UnknownCA(
        f"{whose} leads to a self-signed root that is not trusted here: add that root to the trust store",
        verify_code=19,
    )


# --- what the certificates say -------------------------------------------------------------------------------------


def _reason_in_authorities(path: _Path, purpose: Purpose) -> CertificateError | None:
    for depth, authority in enumerate(path.links[1:], start=1):
        where = f"certificate {depth + 1} of the {purpose.peer}'s chain"
        if authority.version is not x509.Version.v3:
            return UnknownCA(f"{where} is not X.509 version 3: issue it anew with CA extensions", verify_code=79)
        constraints = _extension(authority, x509.BasicConstraints)
        if constraints is None or not constraints.ca:
            return UnknownCA(f"{where} issued another one but is no certificate authority", verify_code=79)
        usage = _extension(authority, x509.KeyUsage)
        if usage is not None and not usage.key_cert_sign:
            return UnknownCA(f"{where} may not sign certificates: its key usage lacks keyCertSign", verify_code=79)
        if constraints.path_length is not None and depth - 1 > constraints.path_length:
            return UnknownCA(
                f"{where} allows {constraints.path_length} intermediate certificates below it, there are {depth - 1}",
                verify_code=25,
            )
        extended = _extension(authority, x509.ExtendedKeyUsage)
        if extended is not None and not purpose.allowed_by(frozenset(oid.dotted_string for oid in extended)):
            return UnsupportedCertificate(
                f"{where} is an authority that may not issue for {purpose.title}", verify_code=26
            )
    return None


def _reason_in_leaf(leaf: CertificateFacts, purpose: Purpose) -> CertificateError | None:
    if leaf.certificate.version is not x509.Version.v3:
        return UnsupportedCertificate(
            f"the {purpose.peer}'s certificate is X.509 version 1: issue it anew with extensions (version 3)",
            verify_code=1,
        )
    try:
        check_leaf(leaf, purpose)
    except UnsupportedCertificate as error:
        return error
    return None


def _reason_in_strength(path: _Path) -> CertificateError | None:
    for depth, certificate in enumerate(path.links):
        if depth:
            key = certificate.public_key()
            if isinstance(key, rsa.RSAPublicKey):
                if key.key_size < MIN_RSA_BITS:
                    return UnsupportedCertificate(
                        f"a certificate authority's RSA key has {key.key_size} bits: it needs {MIN_RSA_BITS}",
                        verify_code=67,
                    )
            elif not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _AUTHORITY_CURVES:
                return UnsupportedCertificate(
                    "a certificate authority's key is of a kind that is not accepted for signing certificates: "
                    "use RSA, P-256, P-384 or P-521",
                    verify_code=6,
                )
        digest = certificate.signature_hash_algorithm if depth < len(path.links) - 1 else None
        if digest is not None and digest.name in _WEAK_DIGESTS:
            # Bad, not unsupported: RFC 9846, section 4.5.1.3 (8446: 4.4.2.4).
            return BadCertificate(
                f"a certificate is signed with {digest.name.upper()}: issue it anew with SHA-256", verify_code=68
            )
    return None


_AUTHORITY_CURVES = ("secp256r1", "secp384r1", "secp521r1")


def _reason_in_name(leaf: CertificateFacts, name: ServerName | None) -> CertificateError | None:
    if name is None or leaf.covers(name):
        return None
    code = 64 if name.is_address else 62
    if not leaf.has_names:
        return HostnameMismatch(
            f"the certificate names no server, so it cannot be for {name}: issue it with a subjectAltName "
            "(a common name is not looked at)",
            verify_code=code,
        )
    return HostnameMismatch(f"the certificate is not for {name}{_shown(leaf)}", verify_code=code)


def _shown(leaf: CertificateFacts) -> str:
    """The names of a certificate as far as they look like names: nothing else of a peer's reaches a message."""
    names = [n for n in leaf.dns_names if _SHOWABLE.fullmatch(n)] + [str(address) for address in leaf.addresses]
    if not names:
        return ""
    more = len(names) - _MAX_SHOWN_NAMES
    return "; it is for " + ", ".join(names[:_MAX_SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")


def _reason_in_signatures_and_times(path: _Path, purpose: Purpose, now: float) -> CertificateError | None:
    for depth in range(len(path.links) - 1, -1, -1):
        certificate = path.links[depth]
        where = (
            f"certificate {depth + 1} of the {purpose.peer}'s chain" if depth else (f"the {purpose.peer}'s certificate")
        )
        if depth in path.unsigned:
            return BadCertificate(
                f"{where} was not signed by the authority that it names: it is damaged, forged, or the trust store "
                "holds another authority of the same name",
                verify_code=7,
            )
        starts, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if now < timestamp_of(starts):
            return CertificateExpired(
                f"{where} is not valid before {_day(starts)}: check this machine's clock", verify_code=9
            )
        if now > timestamp_of(ends):
            return CertificateExpired(
                f"{where} expired on {_day(ends)}: renew it, or check this machine's clock", verify_code=10
            )
    return None


def _day(moment: datetime.datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


# --- when nothing else explains it ---------------------------------------------------------------------------------

# Parts of the verifier's sentences, and what they mean. Its own words may quote the certificate: ours do not.
_SENTENCES: tuple[tuple[str, type[CertificateError], int, str], ...] = (
    ("excluded name constraint", BadCertificate, 48, "an authority in it is forbidden to issue for one of its names"),
    ("unsupported", BadCertificate, 51, "an authority in it has name constraints of a kind that cannot be checked"),
    ("name constraint", BadCertificate, 47, "an authority in it may not issue for one of its names"),
    ("critical extensions", UnsupportedCertificate, 34, "it has a critical extension that is not understood"),
)


def _in_the_verifiers_words(failure: Exception, purpose: Purpose) -> CertificateError:
    words = str(failure).partition(" (encountered processing")[0].removeprefix("validation failed: ")
    text = f"the {purpose.peer}'s certificate chain is not acceptable: "
    for part, kind, code, meaning in _SENTENCES:
        if part in words:
            return kind(text + meaning, verify_code=code)
    return BadCertificate(text + (_UNSHOWABLE.sub("?", words)[:160] or type(failure).__name__), verify_code=1)
