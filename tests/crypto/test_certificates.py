"""`resumption.crypto.certificates`: our own certificate and key, and what a peer's certificate says."""

from __future__ import annotations

import hashlib
import ipaddress
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, x25519
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st

from resumption.constants import SignatureScheme
from resumption.crypto import certificates
from resumption.crypto.certificates import (
    CertifiedKey,
    der_from,
    facts_of,
    is_rsassa_pss,
    not_after_of,
    parse_certificate,
    public_key_of,
    read_source,
)
from resumption.crypto.names import server_name_of
from resumption.errors import BadCertificate, CertificateError, ConfigurationError, UnsupportedCertificate
from tests.pki import LOOPBACK, Credential, Pki, ec_key, issue

PSS = (SignatureScheme.rsa_pss_rsae_sha256, SignatureScheme.rsa_pss_rsae_sha384, SignatureScheme.rsa_pss_rsae_sha512)

# --- what a certificate says ---------------------------------------------------------------------------------------


def test_facts_of_a_server_leaf(pki: Pki) -> None:
    facts = facts_of(pki.ecdsa_p256.cert_der)
    certificate = pki.ecdsa_p256.certificate
    assert facts.certificate == certificate
    assert facts.public_key == certificate.public_key()
    assert facts.dns_names == ("localhost",)
    assert facts.addresses == (ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1"))
    assert facts.has_names
    assert facts.purposes == frozenset({ExtendedKeyUsageOID.SERVER_AUTH.dotted_string})
    assert facts.signs is True
    assert facts.rsa_bits is None
    assert not facts.rsassa_pss
    assert facts.not_before == certificate.not_valid_before_utc.timestamp()
    assert facts.not_after == certificate.not_valid_after_utc.timestamp()


def test_facts_of_a_certificate_that_says_little() -> None:
    bare = issue("bare", basic_constraints=False, key_usage=False, key_identifiers=False)
    facts = facts_of(bare.cert_der)
    assert (facts.dns_names, facts.addresses, facts.has_names) == ((), (), False)
    assert facts.purposes is None
    assert facts.signs is None


def test_rsa_size_is_known(pki: Pki) -> None:
    assert facts_of(pki.rsa2048.cert_der).rsa_bits == 2048
    assert facts_of(pki.rsa1024.cert_der).rsa_bits == 1024


def test_other_kinds_of_names_are_passed_over() -> None:
    names: list[x509.GeneralName] = [
        x509.RFC822Name("a@example.test"),
        x509.UniformResourceIdentifier("https://example.test"),
        x509.DNSName("example.test"),
    ]
    mixed = issue("mixed", extra=[(x509.SubjectAlternativeName(names), False)])
    assert facts_of(mixed.cert_der).dns_names == ("example.test",)
    assert facts_of(mixed.cert_der).has_names


@pytest.mark.parametrize(
    ("name", "covered"),
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("127.0.0.1", True),
        ("[::1]", True),
        ("127.0.0.2", False),
        ("example.test", False),
    ],
)
def test_facts_cover_names_and_addresses(pki: Pki, name: str, covered: bool) -> None:
    assert facts_of(pki.ecdsa_p256.cert_der).covers(server_name_of(name)) is covered


def test_an_address_written_as_a_dns_name_covers_nothing() -> None:
    fraud = issue("127.0.0.1", extra=[(x509.SubjectAlternativeName([x509.DNSName("127.0.0.1")]), False)])
    assert not facts_of(fraud.cert_der).covers(server_name_of("127.0.0.1"))


@pytest.mark.parametrize("data", [b"", b"\x30", b"\x30\x00", b"certificate", bytes(1_000), bytes(10_000)])
def test_rubbish_is_a_bad_certificate(data: bytes) -> None:
    for read in (parse_certificate, facts_of, public_key_of, is_rsassa_pss):
        with pytest.raises(BadCertificate) as caught:
            read(data)
        assert caught.value.verify_code == 1
        assert str(len(data)) in str(caught.value)


def test_a_key_that_cannot_sign_a_handshake_is_unsupported() -> None:
    for key in (dsa.generate_private_key(1024), x25519.X25519PrivateKey.generate()):
        der = _certificate_for(key.public_key())
        assert parse_certificate(der)
        with pytest.raises(UnsupportedCertificate, match="cannot sign") as caught:
            public_key_of(der)
        assert caught.value.verify_code == 6


def test_a_key_of_an_unknown_kind_is_unsupported(pki: Pki) -> None:
    der = pki.ecdsa_p256.cert_der
    unknown_curve = der.replace(bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06082a8648ce3d03017f"))
    assert unknown_curve != der
    with pytest.raises(UnsupportedCertificate, match="unknown kind") as caught:
        public_key_of(unknown_curve)
    assert caught.value.verify_code == 6


def test_a_public_key_off_its_curve_is_a_bad_certificate(pki: Pki) -> None:
    credential = pki.ecdsa_p256
    form = serialization.PublicFormat.UncompressedPoint
    point = credential.private_key.public_key().public_bytes(serialization.Encoding.X962, form)
    broken = credential.cert_der.replace(point, b"\x04" + bytes(64))
    with pytest.raises(BadCertificate, match="public key") as caught:
        public_key_of(broken)
    assert caught.value.verify_code == 6


def test_a_broken_extension_is_a_bad_certificate(pki: Pki) -> None:
    broken = issue("x", extra=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), b"\x04\x00"), False)])
    with pytest.raises(BadCertificate, match="extension") as caught:
        facts_of(broken.cert_der)
    assert caught.value.verify_code == 41


def test_certificates_are_parsed_once_and_large_ones_each_time(pki: Pki) -> None:
    der = pki.ecdsa_p256.cert_der
    assert parse_certificate(der) is parse_certificate(bytes(bytearray(der)))
    assert public_key_of(der) is public_key_of(bytes(bytearray(der)))
    names = [x509.DNSName(f"host{number}.example.test") for number in range(600)]
    large = issue("large", extra=[(x509.SubjectAlternativeName(names), False)]).cert_der
    assert len(large) > certificates.REMEMBERED_SIZE
    assert parse_certificate(large) is not parse_certificate(large)
    assert public_key_of(large) == public_key_of(large)
    assert facts_of(large) is not facts_of(large)


def test_the_memory_of_parsed_certificates_is_bounded() -> None:
    key = ec_key()
    for number in range(certificates.REMEMBERED_CERTIFICATES + 20):
        facts_of(issue(f"number {number}", key=key).cert_der)
    assert certificates._remembered_facts.cache_info().currsize <= certificates.REMEMBERED_CERTIFICATES
    assert certificates._remembered_certificate.cache_info().currsize <= certificates.REMEMBERED_CERTIFICATES


def test_many_threads_read_certificates_at_once(pki: Pki) -> None:
    credentials = (pki.ecdsa_p256, pki.ed25519, pki.ecdsa_p384, pki.ecdsa_p521)
    wrong: list[str] = []

    def read() -> None:
        wrong.extend(
            repr(credential)
            for credential in credentials * 200
            if public_key_of(credential.cert_der) != credential.certificate.public_key()
        )

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_not_after_is_that_of_the_first_to_expire(pki: Pki) -> None:
    good, expired = pki.ecdsa_p256, pki.expired
    assert not_after_of([good.cert_der]) == good.certificate.not_valid_after_utc.timestamp()
    assert not_after_of([good.cert_der, expired.cert_der]) == expired.certificate.not_valid_after_utc.timestamp()


@settings(max_examples=150)
@given(data=st.data())
def test_a_damaged_certificate_gives_facts_or_the_documented_error(pki: Pki, data: st.DataObject) -> None:
    der = bytearray(pki.under_intermediate.cert_der)
    for _ in range(data.draw(st.integers(1, 4))):
        der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(der)))
    for mangled in (bytes(der), bytes(der[:cut])):
        with suppress(CertificateError):
            assert facts_of(mangled).certificate.public_bytes(serialization.Encoding.DER) == mangled


# --- reading certificates ------------------------------------------------------------------------------------------


def test_pem_is_found_among_other_text(pki: Pki) -> None:
    text = b"# a comment\n" + pki.under_intermediate.chain_pem + pki.under_intermediate.key_pem + b"trailing"
    assert tuple(der_from(text)) == pki.under_intermediate.chain_der
    old = pki.root.cert_pem.replace(b" CERTIFICATE", b" X509 CERTIFICATE")
    assert der_from(old.replace(b"\n", b"\r\n")) == [pki.root.cert_der]


def test_der_certificates_one_after_another(pki: Pki) -> None:
    both = b"".join(pki.under_intermediate.chain_der)
    assert tuple(der_from(both)) == pki.under_intermediate.chain_der
    assert tuple(der_from(both + b"trailing")) == pki.under_intermediate.chain_der
    assert der_from(both[:-1]) == [pki.under_intermediate.chain_der[0]]
    assert der_from(b"\x30") == []
    assert der_from(b"\x30\x80\x00\x00") == []
    assert der_from(b"\x30\x85\x00\x00\x00\x00\x00") == []
    assert der_from(b"\x30\x01\x00") == [b"\x30\x01\x00"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nothing here",
        b"-----BEGIN CERTIFICATE-----",
        b"-----BEGIN CERTIFICATE-----\nAAAA",
        b"-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END PRIVATE KEY-----",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
    ],
)
def test_there_is_no_certificate_in(data: bytes) -> None:
    assert der_from(data) == []


def test_sources_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot read the trust file .*missing\.pem: No such file"):
        read_source(tmp_path / "missing.pem", "trust")
    with pytest.raises(ConfigurationError, match="cannot read"):
        read_source("a\0b", "trust")
    with pytest.raises(ConfigurationError, match="cannot read"):
        read_source(tmp_path, "trust")
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate((16 << 20) + 1)
    with pytest.raises(ConfigurationError, match="too large"):
        read_source(huge, "trust")


# --- CertifiedKey --------------------------------------------------------------------------------------------------


def test_load_from_files_given_as_text_or_path(pki: Pki, tmp_path: Path) -> None:
    credential = pki.under_intermediate
    files = credential.write(tmp_path)
    for loaded in (
        CertifiedKey.load(files.chain, files.key),
        CertifiedKey.load(str(files.chain), str(files.key)),
        CertifiedKey.load(credential.chain_pem, credential.key_pem),
        CertifiedKey.load(credential.chain_pem.decode(), credential.key_pem.decode()),
        CertifiedKey.load(b"".join(credential.chain_der), credential.key_der),
        CertifiedKey.load(list(credential.chain), credential.private_key),
        CertifiedKey.load([credential.cert_pem, pki.intermediate.certificate], credential.private_key),
    ):
        assert loaded.chain == credential.chain_der
        assert loaded.private_key.public_key() == credential.certificate.public_key()


def test_load_from_one_file_with_chain_and_key(pki: Pki, tmp_path: Path) -> None:
    credential = pki.ecdsa_p256
    for number, content in enumerate(
        (credential.chain_pem + credential.key_pem, credential.key_pem + credential.chain_pem)
    ):
        path = tmp_path / f"{number}.pem"
        path.write_bytes(content)
        assert CertifiedKey.load(path).chain == credential.chain_der
    assert CertifiedKey.load(credential.chain_pem + credential.key_pem).chain == credential.chain_der
    separate = CertifiedKey.load([credential.certificate, credential.key_pem])
    assert separate.chain == credential.chain_der


def test_load_other_forms_of_keys(pki: Pki) -> None:
    credential = pki.rsa2048
    traditional = serialization.PrivateFormat.TraditionalOpenSSL
    plain = serialization.NoEncryption()
    for form, key in ((traditional, credential.private_key), (serialization.PrivateFormat.PKCS8, pki.rsa_leaf_key)):
        pem = key.private_bytes(serialization.Encoding.PEM, form, plain)
        assert CertifiedKey.load(credential.chain_pem, pem).chain == credential.chain_der
    key = pki.ecdsa_p256.private_key
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    old_style = parameters + key.private_bytes(serialization.Encoding.PEM, traditional, plain)
    assert CertifiedKey.load(pki.ecdsa_p256.chain_pem, old_style).chain == pki.ecdsa_p256.chain_der


@pytest.mark.parametrize("password", [b"secret", "secret", lambda: "secret", lambda: b"secret"])
def test_load_an_encrypted_key(pki: Pki, password: certificates.PasswordSource) -> None:
    credential = pki.ecdsa_p256
    loaded = CertifiedKey.load(credential.chain_pem, credential.encrypted_key_pem(b"secret"), password)
    assert loaded.private_key.public_key() == credential.certificate.public_key()
    both = credential.chain_pem + credential.encrypted_key_pem(b"secret")
    assert CertifiedKey.load(both, password=password).chain == credential.chain_der


def test_load_an_encrypted_der_key(pki: Pki) -> None:
    credential = pki.ecdsa_p256
    der = credential.private_key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    )
    assert CertifiedKey.load(credential.chain_pem, der, "secret").chain == credential.chain_der
    with pytest.raises(ConfigurationError, match="give its password"):
        CertifiedKey.load(credential.chain_pem, der)


def test_a_password_is_not_asked_for_when_the_key_is_not_encrypted(pki: Pki) -> None:
    def never() -> str:
        raise AssertionError("asked for a password")

    credential = pki.ecdsa_p256
    assert CertifiedKey.load(credential.chain_pem, credential.key_pem, never).chain == credential.chain_der
    assert CertifiedKey.load(credential.chain_pem, credential.key_pem, "unused").chain == credential.chain_der


@pytest.mark.parametrize(
    ("kind", "schemes13"),
    [
        ("ecdsa_p256", (SignatureScheme.ecdsa_secp256r1_sha256,)),
        ("ecdsa_p384", (SignatureScheme.ecdsa_secp384r1_sha384,)),
        ("ecdsa_p521", (SignatureScheme.ecdsa_secp521r1_sha512,)),
        ("ed25519", (SignatureScheme.ed25519,)),
        ("ed448", (SignatureScheme.ed448,)),
        ("rsa2048", PSS),
    ],
)
def test_what_is_precomputed(pki: Pki, kind: str, schemes13: tuple[int, ...]) -> None:
    credential: Credential = getattr(pki, kind)
    loaded = CertifiedKey.load(credential.chain_pem, credential.key_pem)
    assert loaded.schemes13 == schemes13
    assert set(schemes13) <= set(loaded.schemes12)
    spki = credential.certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert loaded.leaf_key_digest == hashlib.sha256(spki).digest()
    assert loaded.public_key == credential.certificate.public_key()
    assert loaded.not_after == not_after_of(credential.chain_der)
    assert loaded.names == ("localhost",)
    assert not loaded.rsassa_pss


def test_sni_selection_by_name(pki: Pki) -> None:
    wildcard = CertifiedKey.load(pki.wildcard.chain_pem, pki.wildcard.key_pem)
    assert wildcard.names == ("*.example.test",)
    assert wildcard.covers(server_name_of("www.example.test"))
    assert wildcard.covers(server_name_of("WWW.Example.Test."))
    assert not wildcard.covers(server_name_of("example.test"))
    assert not wildcard.covers(server_name_of("a.b.example.test"))
    upper = pki.server("WWW.Example.TEST")
    assert CertifiedKey.load(upper.chain_pem, upper.key_pem).names == ("www.example.test",)


def test_a_certified_key_shows_no_secret(pki: Pki) -> None:
    credential = pki.ecdsa_p256
    loaded = CertifiedKey.load(credential.chain_pem, credential.key_pem)
    assert "key=" not in repr(loaded)
    assert "localhost" in repr(loaded)


def _certificate_for(public_key: object) -> bytes:
    """A certificate for a key that cannot sign one itself."""
    signer = ec_key()
    name = issue("signer", key=signer).certificate.subject
    template = issue("other", key=signer).certificate
    assert isinstance(public_key, dsa.DSAPublicKey | x25519.X25519PublicKey | ec.EllipticCurvePublicKey)
    builder = x509.CertificateBuilder(
        name, template.subject, public_key, 1, template.not_valid_before_utc, template.not_valid_after_utc
    )
    return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def test_load_errors_say_what_to_do(pki: Pki, tmp_path: Path) -> None:
    good, other = pki.under_intermediate, pki.ecdsa_p384
    secp256k1 = ec.generate_private_key(ec.SECP256K1())
    koblitz = _certificate_for(secp256k1.public_key())
    ed = pki.ed25519.key_pem
    cases: list[tuple[str, tuple[object, ...]]] = [
        ("cannot read the certificate file .*missing", (tmp_path / "missing.pem", good.key_pem)),
        ("cannot read the private key file .*missing", (good.chain_pem, tmp_path / "missing.key")),
        ("no certificate found", (good.key_pem, good.key_pem)),
        ("no certificate found", ([], good.key_pem)),
        ("a certificate is a path", (42, good.key_pem)),
        ("chain cannot be used: 5 bytes", (b"\x30\x03abc", good.key_pem)),
        ("no private key given", (good.chain_pem,)),
        ("no private key given", (good.certificate,)),
        ("no private key found", (good.chain_pem, good.chain_pem)),
        ("a private key is a path", (good.chain_pem, 42)),
        ("a private key is a path", (good.chain_pem, good.certificate)),
        ("is damaged", (good.chain_pem, b"\x30\x03abc")),
        ("is damaged", (good.chain_pem, b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----")),
        ("cannot sign TLS", (good.chain_pem, _pem(x25519.X25519PrivateKey.generate()))),
        ("give its password", (good.chain_pem, good.encrypted_key_pem(b"secret"))),
        ("give its password", (good.chain_pem, good.encrypted_key_pem(b"secret"), "")),
        ("the password is wrong", (good.chain_pem, good.encrypted_key_pem(b"secret"), "wrong")),
        ("does not belong", (good.chain_pem, other.key_pem)),
        ("does not belong", (good.chain_pem, ed)),
        ("certificate 2 of the chain: put that one first", ([pki.intermediate.cert_pem, good.cert_pem], good.key_pem)),
        ("cannot be used for TLS: make an RSA key of at least 2048", (pki.rsa1024.chain_pem, pki.rsa1024.key_pem)),
        ("cannot be used for TLS", (koblitz, secp256k1)),
    ]
    for text, arguments in cases:
        with pytest.raises(ConfigurationError, match=text) as caught:
            CertifiedKey.load(*arguments)  # type: ignore[arg-type]
        assert "secret" not in str(caught.value)


def _pem(key: x25519.X25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def test_an_unusable_certificate_further_up_does_not_hide_the_mismatch(pki: Pki) -> None:
    odd = _certificate_for(x25519.X25519PrivateKey.generate().public_key())
    with pytest.raises(ConfigurationError, match="does not belong"):
        CertifiedKey.load([pki.ecdsa_p256.certificate, odd], pki.ecdsa_p384.private_key)


def test_a_key_on_an_unknown_curve_is_refused_clearly(pki: Pki) -> None:
    der = pki.ecdsa_p256.key_der.replace(bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06082a8648ce3d03017f"))
    with pytest.raises(ConfigurationError, match="not supported"):
        CertifiedKey.load(pki.ecdsa_p256.chain_pem, der)


@pytest.mark.interop
def test_rsassa_pss_keys_are_known_by_their_certificate(tmp_path: Path, openssl: str) -> None:
    key, cert = tmp_path / "pss.key", tmp_path / "pss.pem"
    subprocess.run(
        f"{openssl} req -x509 -newkey rsa-pss -pkeyopt rsa_keygen_bits:2048 -nodes -days 2 -subj /CN=localhost "
        f"-keyout {key} -out {cert}".split(),
        check=True,
        capture_output=True,
        timeout=30,
    )
    loaded = CertifiedKey.load(cert, key)
    assert loaded.rsassa_pss
    assert is_rsassa_pss(loaded.chain[0])
    assert set(loaded.schemes13) == {
        SignatureScheme.rsa_pss_pss_sha256,
        SignatureScheme.rsa_pss_pss_sha384,
        SignatureScheme.rsa_pss_pss_sha512,
    }


def test_loopback_leaves_are_for_loopback(pki: Pki) -> None:
    assert all(facts_of(pki.rsa2048.cert_der).covers(server_name_of(name)) for name in LOOPBACK)
