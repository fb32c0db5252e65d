"""`resumption.crypto.diagnosis`: every refused chain gets the right error, OpenSSL's number, and a useful text."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.x509.oid import NameOID

from resumption.constants import AlertDescription
from resumption.crypto import diagnosis
from resumption.crypto.anchors import anchors_from
from resumption.crypto.certificates import facts_of
from resumption.crypto.diagnosis import Purpose, check_leaf, explain
from resumption.crypto.trust import TrustStore
from resumption.errors import (
    BadCertificate,
    CertificateError,
    CertificateExpired,
    HostnameMismatch,
    UnknownCA,
    UnsupportedCertificate,
)
from tests.pki import CLIENT_AUTH, DAY_S, LOOPBACK, SERVER_AUTH, Credential, Pki, issue

NOW = time.time()
SERVER = Purpose("server", SERVER_AUTH.dotted_string, "serverAuth")


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

REFUSALS: list[tuple[str, Callable[[Pki], Credential], type[CertificateError], int, str]] = [
    ("unknown authority", lambda p: p.untrusted, UnknownCA, 20, "add its root to the trust store"),
    ("intermediate not sent", lambda p: _alone(p.under_intermediate), UnknownCA, 20, "send the intermediate"),
    ("self-signed leaf", lambda p: p.self_signed, UnknownCA, 18, "add the certificate itself"),
    ("unknown root sent", lambda p: _with_root(leaf(issue("stranger", ca=True))), UnknownCA, 19, "add that root"),
    ("leaf as authority", lambda p: p.by_leaf, UnknownCA, 79, "certificate 2 .* no certificate authority"),
    (
        "no basicConstraints",
        lambda p: leaf(issue("x", issuer=p.root, basic_constraints=False)),
        UnknownCA,
        79,
        "no cer",
    ),
    (
        "no keyCertSign",
        lambda p: leaf(issue("x", issuer=p.root, ca=True, key_cert_sign=False)),
        UnknownCA,
        32,
        "keyCert",
    ),
    ("path length", lambda p: p.past_path_length, UnknownCA, 25, "allows 0 intermediate .* there are 1"),
    (
        "authority for clients only",
        lambda p: leaf(issue("x", issuer=p.root, ca=True, purposes=[CLIENT_AUTH])),
        UnsupportedCertificate,
        26,
        "certificate 2 .* may not issue for serverAuth",
    ),
    ("wrong purpose", lambda p: p.wrong_purpose, UnsupportedCertificate, 26, "extended key usage serverAuth"),
    ("client's certificate", lambda p: p.client, UnsupportedCertificate, 26, "not meant for a TLS server"),
    (
        "no digitalSignature",
        lambda p: leaf(p.root, key_usage=False, extra=[usage()]),
        UnsupportedCertificate,
        26,
        "digitalSignature in its key usage",
    ),
    ("small key", lambda p: p.rsa1024, UnsupportedCertificate, 66, "1024 bits: it needs 2048"),
    ("small key of the authority", lambda p: leaf(p.weak_root), UnsupportedCertificate, 67, "1024 bits: it needs 2048"),
    ("Ed25519 authority", lambda p: leaf(p.ed25519_root), UnsupportedCertificate, 6, "use RSA, P-256"),
    ("no names", lambda p: p.without_san, HostnameMismatch, 62, "common name is not looked at"),
    ("other names", lambda p: p.example, HostnameMismatch, 62, "not for localhost; it is for example.test, www"),
    ("forged", lambda p: _forged(p), BadCertificate, 7, "not signed by the authority that it names"),
    ("damaged", lambda p: _damaged(p.ecdsa_p256), BadCertificate, 7, "damaged, forged"),
    ("expired", lambda p: p.expired, CertificateExpired, 10, r"server's certificate expired on 20\d\d-.* UTC: renew"),
    ("not yet valid", lambda p: p.not_yet_valid, CertificateExpired, 9, "is not valid before .* clock"),
    ("expired authority", lambda p: p.expired_intermediate, CertificateExpired, 10, "certificate 2 .* expired on"),
    (
        "unknown critical extension",
        lambda p: leaf(p.root, extra=[UNKNOWN_CRITICAL]),
        UnsupportedCertificate,
        34,
        "crit",
    ),
    ("name not permitted", lambda p: leaf(p.constrained_authority), BadCertificate, 47, "may not issue for one of"),
    (
        "name excluded",
        lambda p: leaf(limited(p, excluded=[x509.DNSName("localhost")])),
        BadCertificate,
        48,
        "forbidden to issue for one of",
    ),
    (
        "names of a kind that is not checked",
        lambda p: leaf(limited(p, permitted=[x509.DirectoryName(p.root.certificate.subject)])),
        BadCertificate,
        51,
        "name constraints of a kind",
    ),
]


def _alone(credential: Credential) -> Credential:
    alone = Credential(credential.certificate, credential.private_key, credential.issuer)
    alone.__dict__["chain"] = (credential.certificate,)
    return alone


def _with_root(credential: Credential) -> Credential:
    full = Credential(credential.certificate, credential.private_key, credential.issuer)
    full.__dict__["chain"] = (*credential.chain, credential.root.certificate)
    return full


def store_of(pki: Pki) -> TrustStore:
    return TrustStore.load(pki.trust_pem, pki.weak_root.certificate, pki.ed25519_root.certificate)


def _forged(pki: Pki) -> Credential:
    """Signed by another key under the trusted root's name, without the key identifiers that would tell."""
    return leaf(pki.other_root, key_identifiers=False)


def _damaged(credential: Credential) -> Credential:
    der = bytearray(credential.cert_der)
    der[-1] ^= 1
    return Credential(x509.load_der_x509_certificate(bytes(der)), credential.private_key, credential.issuer)


@pytest.mark.parametrize(("make", "kind", "code", "text"), [pytest.param(*rest, id=name) for name, *rest in REFUSALS])
def test_every_reason_for_refusal(
    pki: Pki, make: Callable[[Pki], Credential], kind: type[CertificateError], code: int, text: str
) -> None:
    with pytest.raises(CertificateError, match=text) as caught:
        store_of(pki).verify_server(make(pki).chain_der, "localhost", NOW)
    assert type(caught.value) is kind
    assert caught.value.verify_code == code
    assert caught.value.__cause__ is None
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: str(case[0]))
def test_the_reasons_hold_for_an_address_too(
    pki: Pki, case: tuple[str, Callable[[Pki], Credential], type[CertificateError], int, str]
) -> None:
    _, make, kind, code, _ = case
    with pytest.raises(kind) as caught:
        store_of(pki).verify_server(make(pki).chain_der, "127.0.0.1", NOW)
    assert caught.value.verify_code == (64 if code == 62 else code)


def test_the_alert_of_each_class() -> None:
    assert UnknownCA.alert == AlertDescription.unknown_ca
    assert CertificateExpired.alert == AlertDescription.certificate_expired
    assert HostnameMismatch.alert == BadCertificate.alert == AlertDescription.bad_certificate
    assert UnsupportedCertificate.alert == AlertDescription.unsupported_certificate


# --- order and wording ---------------------------------------------------------------------------------------------


def refusal(pki: Pki, credential: Credential, name: str = "localhost") -> CertificateError:
    with pytest.raises(CertificateError) as caught:
        TrustStore.load(pki.trust_pem).verify_server(credential.chain_der, name, NOW)
    return caught.value


def test_of_several_reasons_openssls_first_is_named(pki: Pki) -> None:
    old = {"not_before": NOW - 9 * DAY_S, "not_after": NOW - DAY_S}
    everything = {**old, "purposes": [CLIENT_AUTH], "names": ["other.test"]}
    assert refusal(pki, leaf(pki.other_root, **everything)).verify_code == 20
    assert refusal(pki, leaf(pki.root, **everything)).verify_code == 26
    assert refusal(pki, leaf(pki.root, **old, names=["other.test"])).verify_code == 62
    assert refusal(pki, leaf(pki.root, **old)).verify_code == 10


def test_the_clients_certificate_is_called_the_clients(pki: Pki) -> None:
    with pytest.raises(UnsupportedCertificate, match="the client's certificate is not meant for a TLS client"):
        TrustStore.load(pki.trust_pem).verify_client(pki.ecdsa_p256.chain_der, NOW)


def test_only_a_few_names_are_shown_and_only_real_ones(pki: Pki) -> None:
    many = refusal(pki, pki.server("a.test", "b.test", "c.test", "d.test", "10.0.0.1"))
    assert str(many).endswith("it is for a.test, b.test, c.test and 2 more")
    assert str(refusal(pki, pki.server("*.a.test"))).endswith("; it is for *.a.test")
    hostile = refusal(pki, pki.server("evil\n[CRITICAL] all is well", "ok.test"))
    assert str(hostile).endswith("; it is for ok.test")
    assert str(refusal(pki, pki.server("\x1b[31m"))).endswith("is not for localhost")


def test_sha1_and_md5_are_bad_certificates(pki: Pki) -> None:
    """RFC 9846, section 4.5.1.3. `cryptography` no longer signs with them: the algorithm is put in by hand."""
    good = issue("localhost", issuer=pki.rsa_root, names=LOOPBACK)
    sha256, sha1 = bytes.fromhex("06092a864886f70d01010b"), bytes.fromhex("06092a864886f70d010105")
    md5 = bytes.fromhex("06092a864886f70d010104")
    for digest, name in ((sha1, "SHA1"), (md5, "MD5")):
        der = good.cert_der.replace(sha256, digest)
        with pytest.raises(BadCertificate, match=f"signed with {name}") as caught:
            TrustStore.load(pki.trust_pem).verify_server([der], "localhost", NOW)
        assert caught.value.verify_code == 68
    assert hashes.SHA1.name == "sha1"


def test_a_version_1_certificate_says_what_is_missing(pki: Pki) -> None:
    old = Credential(x509.load_der_x509_certificate(_version_1(pki)), pki.ecdsa_p256.private_key, pki.rsa_root)
    with pytest.raises(UnsupportedCertificate, match="version 1: issue it anew with extensions"):
        TrustStore.load(pki.trust_pem).verify_client(old.chain_der, NOW)
    below = leaf(old)
    error = refusal(pki, below)
    assert isinstance(error, UnknownCA)
    assert error.verify_code == 79
    assert "not X.509 version 3" in str(error)


def _version_1(pki: Pki) -> bytes:
    """The certificate of `ecdsa_p256`'s key without version and extensions, signed by the RSA root: built by hand."""

    def tlv(tag: int, body: bytes) -> bytes:
        size = len(body)
        length = bytes([size]) if size < 128 else b"\x82" + size.to_bytes(2, "big")
        length = b"\x81" + bytes([size]) if 128 <= size < 256 else length
        return bytes([tag]) + length + body

    algorithm = bytes.fromhex("300d06092a864886f70d01010b0500")
    validity = b"".join(tlv(0x17, moment) for moment in (b"260101000000Z", b"490101000000Z"))
    spki = pki.ecdsa_p256.private_key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "old")]).public_bytes()
    issuer = pki.rsa_root.certificate.subject.public_bytes()
    body = tlv(0x30, tlv(2, b"\x05") + algorithm + issuer + tlv(0x30, validity) + subject + spki)
    signature = pki.rsa_root_key.sign(body, padding.PKCS1v15(), hashes.SHA256())
    return tlv(0x30, body + algorithm + tlv(3, b"\0" + signature))


# --- the walk itself -----------------------------------------------------------------------------------------------


def test_what_cannot_be_explained_is_told_in_the_verifiers_words(pki: Pki) -> None:
    facts = facts_of(pki.ecdsa_p256.cert_der)
    anchors = anchors_from([pki.trust_pem])
    said = ValueError("validation failed: a riddle\x1b\u2028 (encountered processing <Certificate(CN=evil)>)")
    error = explain(facts, [], anchors, SERVER, None, NOW, said)
    assert type(error) is BadCertificate
    assert error.verify_code == 1
    assert str(error) == "the server's certificate chain is not acceptable: a riddle??"
    assert str(explain(facts, [], anchors, SERVER, None, NOW, KeyError())).endswith("KeyError")
    assert len(str(explain(facts, [], anchors, SERVER, None, NOW, ValueError("x" * 999)))) < 230


def test_explaining_never_raises(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("too odd")

    monkeypatch.setattr(diagnosis, "_follow", fail)
    facts = facts_of(pki.expired.cert_der)
    error = explain(facts, [], anchors_from([pki.trust_pem]), SERVER, None, NOW, ValueError("no"))
    assert str(error) == "the server's certificate chain is not acceptable: no"


def test_signature_checks_are_bounded_and_nobody_is_accused_unchecked(
    pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[int] = []

    def wrong(*_: object) -> bool:
        checked.append(1)
        return False

    monkeypatch.setattr(diagnosis, "_may_have_signed", wrong)
    name = pki.root.certificate.subject
    twins = [issue(name.rfc4514_string().removeprefix("CN="), ca=True, key_identifiers=False) for _ in range(40)]
    anchors = anchors_from([[twin.certificate for twin in twins]])
    bare = leaf(pki.root, key_identifiers=False)
    error = explain(facts_of(bare.cert_der), [], anchors, SERVER, None, NOW, ValueError("no"))
    assert len(checked) == diagnosis.MAX_SIGNATURE_CHECKS
    assert error.verify_code == 1


def test_check_leaf_accepts_what_has_no_restrictions(pki: Pki) -> None:
    check_leaf(facts_of(issue("x", key_usage=False).cert_der), SERVER)
    check_leaf(facts_of(pki.rsa2048.cert_der), SERVER)
    assert SERVER.allowed_by(None)
    assert SERVER.allowed_by(frozenset({"2.5.29.37.0"}))
    assert not SERVER.allowed_by(frozenset())
