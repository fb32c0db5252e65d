"""How the certificates of a chain are signed, as TLS counts it."""

from __future__ import annotations

import pytest

from resumption.constants import SignatureScheme as S
from resumption.crypto.chain_schemes import schemes_of, signed_within
from resumption.errors import BadCertificate
from tests.pki import Pki, issue, rsa_key


def test_a_signature_is_counted_by_its_issuer(pki: Pki) -> None:
    assert schemes_of(pki.ecdsa_p384.cert_der) == {S.ecdsa_secp256r1_sha256}  # the root's key and hash, not the leaf's
    assert schemes_of(pki.rsa2048.cert_der) == {S.rsa_pkcs1_sha256}
    assert schemes_of(pki.rsa2048_pss_signed.cert_der) == {S.rsa_pss_rsae_sha256, S.rsa_pss_pss_sha256}
    assert schemes_of(pki.server(issuer=pki.ed25519_root).cert_der) == {S.ed25519}


def test_a_signature_that_nobody_checks_does_not_count(pki: Pki) -> None:
    assert schemes_of(pki.root.cert_der) is None
    assert signed_within((pki.ecdsa_p256.cert_der, pki.root.cert_der), (S.ecdsa_secp256r1_sha256,))
    assert signed_within((pki.rsa_root.cert_der,), ())


def test_every_certificate_of_a_chain_counts(pki: Pki) -> None:
    middle = issue("middle", issuer=pki.rsa_root, ca=True)
    leaf = pki.server(issuer=middle)
    assert len(leaf.chain_der) == 2
    assert signed_within(leaf.chain_der, (S.ecdsa_secp256r1_sha256, S.rsa_pkcs1_sha256))
    assert not signed_within(leaf.chain_der, (S.ecdsa_secp256r1_sha256,))
    assert not signed_within(leaf.chain_der, (S.rsa_pkcs1_sha256,))


def test_what_tls_does_not_name_is_in_no_list(pki: Pki) -> None:
    """ecdsa-with-SHA256 (1.2.840.10045.4.3.2) becomes ecdsa-with-SHA224 (...4.3.1), and ecdsa-with-SHA1 (...4.1)."""
    der = pki.ecdsa_p256.cert_der
    sha224 = der.replace(bytes.fromhex("06082a8648ce3d040302"), bytes.fromhex("06082a8648ce3d040301"))
    assert sha224 != der
    assert schemes_of(sha224) == frozenset()
    assert not signed_within((sha224,), tuple(S))


def test_bytes_that_are_no_certificate_are_a_bad_certificate() -> None:
    with pytest.raises(BadCertificate):
        signed_within((b"x",), (0x0403,))


def test_a_large_certificate_is_read_each_time(pki: Pki) -> None:
    large = issue("l" * 60, issuer=pki.root, names=[f"host{n}.test" for n in range(900)], key=rsa_key())
    assert len(large.cert_der) > 8_192
    assert schemes_of(large.cert_der) == {S.ecdsa_secp256r1_sha256}
