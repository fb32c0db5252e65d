"""Chains that must be refused, one for each reason, with the answer that each must get.

Shared by the tests of our own verification and by those that ask OpenSSL about the same chains.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from cryptography import x509

from resumption.errors import (
    BadCertificate,
    CertificateError,
    CertificateExpired,
    HostnameMismatch,
    UnknownCA,
    UnsupportedCertificate,
)
from tests.pki import CLIENT_AUTH, LOOPBACK, SERVER_AUTH, Credential, Pki, issue


class Refusal(NamedTuple):
    """A chain that is not good for ``localhost``: how to make it, and the class, verify_code and text of the error."""

    reason: str
    make: Callable[[Pki], Credential]
    kind: type[CertificateError]
    code: int
    text: str


def leaf(issuer: Credential | None, **changes: object) -> Credential:
    make: Callable[..., Credential] = issue
    return make("localhost", **{"issuer": issuer, "names": LOOPBACK, "purposes": [SERVER_AUTH], **changes})


def usage(*, signature: bool = False, cert_sign: bool = False) -> tuple[x509.KeyUsage, bool]:
    return x509.KeyUsage(signature, False, True, False, False, cert_sign, cert_sign, False, False), True


def limited(
    pki: Pki, *, permitted: list[x509.GeneralName] | None = None, excluded: list[x509.GeneralName] | None = None
) -> Credential:
    limits = x509.NameConstraints(permitted_subtrees=permitted, excluded_subtrees=excluded)
    return issue("limited", issuer=pki.root, ca=True, name_constraints=limits)


UNKNOWN_CRITICAL = (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)


def _alone(credential: Credential) -> Credential:
    alone = Credential(credential.certificate, credential.private_key, credential.issuer)
    alone.__dict__["chain"] = (credential.certificate,)
    return alone


def _with_root(credential: Credential) -> Credential:
    full = Credential(credential.certificate, credential.private_key, credential.issuer)
    full.__dict__["chain"] = (*credential.chain, credential.root.certificate)
    return full


def _forged(pki: Pki) -> Credential:
    """Signed by another key under the trusted root's name, without the key identifiers that would tell."""
    return leaf(pki.other_root, key_identifiers=False)


def _damaged(credential: Credential) -> Credential:
    der = bytearray(credential.cert_der)
    der[-1] ^= 1
    return Credential(x509.load_der_x509_certificate(bytes(der)), credential.private_key, credential.issuer)


REFUSALS = [
    Refusal("unknown authority", lambda p: p.untrusted, UnknownCA, 20, "add its root to the trust store"),
    Refusal("intermediate not sent", lambda p: _alone(p.under_intermediate), UnknownCA, 20, "send the intermediate"),
    Refusal("self-signed leaf", lambda p: p.self_signed, UnknownCA, 18, "add the certificate itself"),
    Refusal(
        "unknown root sent", lambda p: _with_root(leaf(issue("stranger", ca=True))), UnknownCA, 19, "add that root"
    ),
    Refusal("leaf as authority", lambda p: p.by_leaf, UnknownCA, 79, "certificate 2 .* no certificate authority"),
    Refusal(
        "no basicConstraints",
        lambda p: leaf(issue("x", issuer=p.root, basic_constraints=False)),
        UnknownCA,
        79,
        "no cer",
    ),
    Refusal(
        "no keyCertSign",
        lambda p: leaf(issue("x", issuer=p.root, ca=True, key_cert_sign=False)),
        UnknownCA,
        79,
        "keyCert",
    ),
    Refusal("path length", lambda p: p.past_path_length, UnknownCA, 25, "allows 0 intermediate .* there are 1"),
    Refusal(
        "authority for clients only",
        lambda p: leaf(issue("x", issuer=p.root, ca=True, purposes=[CLIENT_AUTH])),
        UnsupportedCertificate,
        26,
        "certificate 2 .* may not issue for serverAuth",
    ),
    Refusal("wrong purpose", lambda p: p.wrong_purpose, UnsupportedCertificate, 26, "extended key usage serverAuth"),
    Refusal("client's certificate", lambda p: p.client, UnsupportedCertificate, 26, "not meant for a TLS server"),
    Refusal(
        "no digitalSignature",
        lambda p: leaf(p.root, key_usage=False, extra=[usage()]),
        UnsupportedCertificate,
        26,
        "digitalSignature in its key usage",
    ),
    Refusal("small key", lambda p: p.rsa1024, UnsupportedCertificate, 66, "1024 bits: it needs 2048"),
    Refusal(
        "small key of the authority",
        lambda p: leaf(p.weak_root),
        UnsupportedCertificate,
        67,
        "1024 bits: it needs 2048",
    ),
    Refusal("Ed25519 authority", lambda p: leaf(p.ed25519_root), UnsupportedCertificate, 6, "use RSA, P-256"),
    Refusal("no names", lambda p: p.without_san, HostnameMismatch, 62, "common name is not looked at"),
    Refusal("other names", lambda p: p.example, HostnameMismatch, 62, "not for localhost; it is for example.test, www"),
    Refusal("forged", lambda p: _forged(p), BadCertificate, 7, "not signed by the authority that it names"),
    Refusal("damaged", lambda p: _damaged(p.ecdsa_p256), BadCertificate, 7, "damaged, forged"),
    Refusal(
        "expired", lambda p: p.expired, CertificateExpired, 10, r"server's certificate expired on 20\d\d-.* UTC: renew"
    ),
    Refusal("not yet valid", lambda p: p.not_yet_valid, CertificateExpired, 9, "is not valid before .* clock"),
    Refusal(
        "expired authority", lambda p: p.expired_intermediate, CertificateExpired, 10, "certificate 2 .* expired on"
    ),
    Refusal(
        "unknown critical extension",
        lambda p: leaf(p.root, extra=[UNKNOWN_CRITICAL]),
        UnsupportedCertificate,
        34,
        "crit",
    ),
    Refusal(
        "name not permitted", lambda p: leaf(p.constrained_authority), BadCertificate, 47, "may not issue for one of"
    ),
    Refusal(
        "name excluded",
        lambda p: leaf(limited(p, excluded=[x509.DNSName("localhost")])),
        BadCertificate,
        48,
        "forbidden to issue for one of",
    ),
    Refusal(
        "names of a kind that is not checked",
        lambda p: leaf(limited(p, permitted=[x509.DirectoryName(p.root.certificate.subject)])),
        BadCertificate,
        51,
        "name constraints of a kind",
    ),
]
