"""`resumption.crypto.diagnosis`: every refused chain gets the right error, OpenSSL's number, and a useful text."""

from __future__ import annotations

import time

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
from tests.crypto.refusals import REFUSALS, Refusal, leaf
from tests.pki import CLIENT_AUTH, DAY_S, LOOPBACK, SERVER_AUTH, Credential, Pki, issue

NOW = time.time()
SERVER = Purpose("server", SERVER_AUTH.dotted_string, "serverAuth")


def store_of(pki: Pki) -> TrustStore:
    return TrustStore.load(pki.trust_pem, pki.weak_root.certificate, pki.ed25519_root.certificate)


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: str(case.reason))
def test_every_reason_for_refusal(pki: Pki, case: Refusal) -> None:
    with pytest.raises(CertificateError, match=case.text) as caught:
        store_of(pki).verify_server(case.make(pki).chain_der, "localhost", NOW)
    assert type(caught.value) is case.kind
    assert caught.value.verify_code == case.code
    assert caught.value.__cause__ is None
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: str(case.reason))
def test_the_reasons_hold_for_an_address_too(pki: Pki, case: Refusal) -> None:
    with pytest.raises(case.kind) as caught:
        store_of(pki).verify_server(case.make(pki).chain_der, "127.0.0.1", NOW)
    assert caught.value.verify_code == (64 if case.code == 62 else case.code)


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


@pytest.mark.proves("9846:4.5.1.3:2", "9846:4.3.3:14")
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
