"""Signature schemes: each signs and verifies, each fits only its own keys, and the bytes are those of the standard."""

from __future__ import annotations

from functools import cache

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, padding, rsa, x25519
from hypothesis import given, settings
from hypothesis import strategies as st

from resumption.constants import SignatureScheme
from resumption.crypto.signatures import (
    CERTIFICATE_SCHEMES,
    DEFAULT_SCHEMES_12,
    DEFAULT_SCHEMES_13,
    SCHEMES,
    PrivateKey,
    certificate_verify_content,
    schemes_for_key,
    sign,
    verify,
)
from resumption.errors import ConfigurationError, DecryptError, IllegalParameter
from tests.crypto.traces import Trace

S = SignatureScheme
TLS12, TLS13 = 0x0303, 0x0304
KEYS = ("P-256", "P-384", "P-521", "RSA", "Ed25519", "Ed448")


@cache
def key_of(name: str) -> PrivateKey:
    """One private key of each kind for all tests."""
    curves = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
    if name in curves:
        return ec.generate_private_key(curves[name])
    if name == "RSA":
        return rsa.generate_private_key(65537, 2048)
    return ed25519.Ed25519PrivateKey.generate() if name == "Ed25519" else ed448.Ed448PrivateKey.generate()


FITTING_13 = {
    "P-256": (S.ecdsa_secp256r1_sha256,),
    "P-384": (S.ecdsa_secp384r1_sha384,),
    "P-521": (S.ecdsa_secp521r1_sha512,),
    "RSA": (S.rsa_pss_rsae_sha256, S.rsa_pss_rsae_sha384, S.rsa_pss_rsae_sha512),
    "Ed25519": (S.ed25519,),
    "Ed448": (S.ed448,),
}
FITTING_12 = {
    "P-256": (S.ecdsa_secp256r1_sha256, S.ecdsa_secp384r1_sha384, S.ecdsa_secp521r1_sha512),
    "P-384": (S.ecdsa_secp384r1_sha384, S.ecdsa_secp256r1_sha256, S.ecdsa_secp521r1_sha512),
    "P-521": (S.ecdsa_secp521r1_sha512, S.ecdsa_secp256r1_sha256, S.ecdsa_secp384r1_sha384),
    "RSA": (*FITTING_13["RSA"], S.rsa_pkcs1_sha256, S.rsa_pkcs1_sha384, S.rsa_pkcs1_sha512),
    "Ed25519": (S.ed25519,),
    "Ed448": (S.ed448,),
}
every_key = pytest.mark.parametrize("name", KEYS)
either_version = pytest.mark.parametrize("version", [TLS12, TLS13])


@every_key
def test_schemes_of_a_key(name: str) -> None:
    private = key_of(name)
    for key in (private, private.public_key()):
        assert schemes_for_key(key, TLS13) == FITTING_13[name]
        assert schemes_for_key(key, TLS12) == FITTING_12[name]


@every_key
@either_version
def test_every_pair_of_key_and_scheme_works_or_is_refused(name: str, version: int) -> None:
    private = key_of(name)
    public = private.public_key()
    fitting = (FITTING_13 if version == TLS13 else FITTING_12)[name]
    for scheme in (*SCHEMES, S.rsa_pkcs1_sha1, S.ecdsa_sha1, 0x0840):
        if scheme in fitting:
            signature = sign(private, scheme, b"content", version=version)
            verify(public, scheme, b"content", signature, version=version)
            with pytest.raises(DecryptError, match=SCHEMES[scheme].name):
                verify(public, scheme, b"contents", signature, version=version)
        else:
            with pytest.raises(ConfigurationError):
                sign(private, scheme, b"content", version=version)
            with pytest.raises(IllegalParameter):
                verify(public, scheme, b"content", bytes(64), version=version)


@every_key
def test_tls_13_is_the_default_version(name: str) -> None:
    scheme = FITTING_13[name][0]
    verify(key_of(name).public_key(), scheme, b"content", sign(key_of(name), scheme, b"content"))
    with pytest.raises(IllegalParameter, match="rsa_pkcs1_sha256"):
        verify(key_of(name).public_key(), S.rsa_pkcs1_sha256, b"content", b"")


@every_key
@settings(max_examples=40, deadline=None)
@given(signature=st.binary(max_size=300))
def test_no_bytes_verify_by_chance_or_break_the_check(name: str, signature: bytes) -> None:
    with pytest.raises(DecryptError):
        verify(key_of(name).public_key(), FITTING_13[name][0], b"content", signature)


@every_key
@either_version
def test_a_changed_signature_is_noticed_wherever_it_changed(name: str, version: int) -> None:
    private = key_of(name)
    scheme = FITTING_13[name][0]
    signature = sign(private, scheme, b"content", version=version)
    for index in range(0, len(signature), 5):
        changed = signature[:index] + bytes((signature[index] ^ 0x01,)) + signature[index + 1 :]
        with pytest.raises(DecryptError):
            verify(private.public_key(), scheme, b"content", changed, version=version)


# --- the signatures are those of the standard, checked with parameters written out here ------------------------------


@pytest.mark.proves("9846:4.3.3:4", "9846:4.3.3:6")
@pytest.mark.parametrize(
    ("scheme", "algorithm"),
    [
        (S.rsa_pss_rsae_sha256, hashes.SHA256()),
        (S.rsa_pss_rsae_sha384, hashes.SHA384()),
        (S.rsa_pss_rsae_sha512, hashes.SHA512()),
    ],
)
def test_pss_salt_is_as_long_as_the_digest(scheme: int, algorithm: hashes.HashAlgorithm) -> None:
    private = key_of("RSA")
    assert isinstance(private, rsa.RSAPrivateKey)
    exact = padding.PSS(padding.MGF1(algorithm), algorithm.digest_size)
    private.public_key().verify(sign(private, scheme, b"content"), b"content", exact, algorithm)
    verify(private.public_key(), scheme, b"content", private.sign(b"content", exact, algorithm))
    for salt_length in (0, 20, padding.PSS.MAX_LENGTH):
        other = private.sign(b"content", padding.PSS(padding.MGF1(algorithm), salt_length), algorithm)
        with pytest.raises(DecryptError):
            verify(private.public_key(), scheme, b"content", other)


def test_pkcs1_is_pkcs1() -> None:
    private = key_of("RSA")
    assert isinstance(private, rsa.RSAPrivateKey)
    expected = private.sign(b"content", padding.PKCS1v15(), hashes.SHA384())
    assert sign(private, S.rsa_pkcs1_sha384, b"content", version=TLS12) == expected


def test_ecdsa_hash_is_the_one_of_the_scheme() -> None:
    private = key_of("P-384")
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    signature = sign(private, S.ecdsa_secp256r1_sha256, b"content", version=TLS12)
    private.public_key().verify(signature, b"content", ec.ECDSA(hashes.SHA256()))


# --- keys that are not accepted --------------------------------------------------------------------------------------


def test_rsa_keys_under_2048_bits_are_refused() -> None:
    # 1024 bits are what RFC 8448's server has; its CertificateVerify is otherwise good
    weak = rsa.generate_private_key(65537, 1024)
    signature = weak.sign(
        b"content", padding.PSS(padding.MGF1(hashes.SHA256()), hashes.SHA256.digest_size), hashes.SHA256()
    )
    assert schemes_for_key(weak, TLS13) == schemes_for_key(weak.public_key(), TLS12) == ()
    with pytest.raises(IllegalParameter):
        verify(weak.public_key(), S.rsa_pss_rsae_sha256, b"content", signature)
    with pytest.raises(ConfigurationError):
        sign(weak, S.rsa_pss_rsae_sha256, b"content")


def test_other_kinds_of_keys_sign_nothing() -> None:
    for key in (
        ec.generate_private_key(ec.SECP256K1()),
        x25519.X25519PrivateKey.generate(),
        dsa.generate_private_key(1024),
        None,
    ):
        assert schemes_for_key(key, TLS13) == schemes_for_key(key, TLS12) == ()


# --- RSASSA-PSS keys: what the certificate says of an RSA key --------------------------------------------------------


@either_version
def test_an_rsassa_pss_key_fits_only_its_own_schemes(version: int) -> None:
    private = key_of("RSA")
    own = (S.rsa_pss_pss_sha256, S.rsa_pss_pss_sha384, S.rsa_pss_pss_sha512)
    assert schemes_for_key(private, version, rsassa_pss=True) == own
    for scheme in own:
        signature = sign(private, scheme, b"content", version=version, rsassa_pss=True)
        verify(private.public_key(), scheme, b"content", signature, version=version, rsassa_pss=True)
        with pytest.raises(IllegalParameter):
            verify(private.public_key(), scheme, b"content", signature, version=version)
    signature = sign(private, S.rsa_pss_rsae_sha256, b"content", version=version)
    with pytest.raises(IllegalParameter):
        verify(private.public_key(), S.rsa_pss_rsae_sha256, b"content", signature, version=version, rsassa_pss=True)


# --- the table, and what is signed -----------------------------------------------------------------------------------


def test_scheme_facts_are_what_their_names_say() -> None:
    for scheme, facts in SCHEMES.items():
        assert facts.scheme == scheme
        assert facts.name == SignatureScheme(scheme).name
        assert facts.tls13 is not facts.name.startswith("rsa_pkcs1")
        assert facts.hash_name is None or facts.name.endswith(facts.hash_name)
        assert (facts.curve is not None) is facts.name.startswith("ecdsa")
    assert {facts.key_type for facts in SCHEMES.values()} == {"ECDSA", "RSA", "RSA-PSS", "Ed25519", "Ed448"}


def test_defaults() -> None:
    assert set(DEFAULT_SCHEMES_13) < set(DEFAULT_SCHEMES_12) == set(SCHEMES)
    assert CERTIFICATE_SCHEMES == DEFAULT_SCHEMES_12
    assert not {S.rsa_pkcs1_sha1, S.ecdsa_sha1} & set(SCHEMES)
    assert [scheme for scheme in DEFAULT_SCHEMES_12 if scheme not in DEFAULT_SCHEMES_13] == [
        S.rsa_pkcs1_sha256,
        S.rsa_pkcs1_sha384,
        S.rsa_pkcs1_sha512,
    ]


def test_what_a_certificate_verify_signs() -> None:
    """The example of RFC 9846, section 4.5.2."""
    expected = (
        "2020202020202020202020202020202020202020202020202020202020202020"
        "2020202020202020202020202020202020202020202020202020202020202020"
        "544c5320312e332c207365727665722043657274696669636174655665726966"
        "79"
        "00"
        "0101010101010101010101010101010101010101010101010101010101010101"
    )
    assert certificate_verify_content(True, b"\x01" * 32).hex() == expected
    assert certificate_verify_content(False, b"\x01" * 32) == bytes.fromhex(expected).replace(b"server", b"client")


@pytest.mark.parametrize("name", ["simple-1rtt", "hello-retry-request", "compatibility-mode"])
def test_the_certificate_verify_of_rfc_8448(name: str) -> None:
    """The key has 1024 bits, so it is checked with the primitive, over the content that we compute."""
    trace = Trace.load(name)
    message = trace.one("construct a CertificateVerify handshake message")["CertificateVerify"]
    certificate = trace.one("construct a Certificate handshake message")["Certificate"]
    modulus_at = certificate.index(bytes.fromhex("02818100")) + 4  # INTEGER of 129 bytes, the first one zero
    modulus = int.from_bytes(certificate[modulus_at : modulus_at + 128], "big")
    public = rsa.RSAPublicNumbers(65537, modulus).public_key()
    assert int.from_bytes(message[4:6], "big") == S.rsa_pss_rsae_sha256
    content = certificate_verify_content(True, trace.hashes()["server Certificate"])
    public.verify(message[8:], content, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
