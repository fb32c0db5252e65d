"""The suite table against the registry's names and the facts that the names tell."""

from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305

from resumption.constants import CipherSuite
from resumption.crypto.hashes import SHA256, SHA384
from resumption.crypto.suites import (
    DEFAULT_SUITES_12,
    DEFAULT_SUITES_13,
    SEQUENCE_LIMIT,
    SUITES,
    SuiteFacts,
    by_name,
)
from resumption.errors import ConfigurationError

every_suite = pytest.mark.parametrize("facts", SUITES.values(), ids=lambda facts: facts.name)


@every_suite
def test_a_suite_is_what_its_name_says(facts: SuiteFacts) -> None:
    assert facts.name == CipherSuite(facts.suite).name
    assert SUITES[facts.suite] is facts
    assert facts.hash is (SHA384 if facts.name.endswith("SHA384") else SHA256)
    assert facts.key_length == (16 if "AES_128" in facts.name else 32)
    assert facts.tag_length == (8 if "CCM_8" in facts.name else 16)
    aead = facts.aead(bytes(facts.key_length))
    assert len(aead.encrypt(bytes(12), b"four", b"")) == 4 + facts.tag_length
    kind = AESGCM if "GCM" in facts.name else AESCCM if "CCM" in facts.name else ChaCha20Poly1305
    assert isinstance(facts.aead(bytes(facts.key_length)), kind)
    if "_WITH_" in facts.name:
        assert facts.version == 0x0303
        assert facts.authentication == facts.name.split("_")[2]
        assert facts.iv_length == (12 if "CHACHA20" in facts.name else 4)
        assert facts.openssl_name != facts.name
    else:
        assert facts.version == 0x0304
        assert facts.authentication is None
        assert facts.iv_length == 12
        assert facts.openssl_name == facts.name


@every_suite
def test_the_aead_checks_its_tag(facts: SuiteFacts) -> None:
    aead = facts.aead(bytes(facts.key_length))
    sealed = aead.encrypt(bytes(12), b"content", b"header")
    assert len(sealed) == len(b"content") + facts.tag_length
    assert aead.decrypt(bytes(12), sealed, b"header") == b"content"
    with pytest.raises(InvalidTag):
        aead.decrypt(bytes(12), sealed, b"headed")


def test_key_limits() -> None:
    assert SUITES[0x1301].key_limit == SUITES[0x1302].key_limit == 23726566  # 2**24.5, RFC 9846, section 5.5
    assert SUITES[0x1303].key_limit == SEQUENCE_LIMIT == 2**64 - 1
    assert SUITES[0x1304].key_limit == 2**23
    assert SUITES[0x1305].key_limit == 2**23
    assert SUITES[0xC02F].key_limit == 2**32
    assert SUITES[0xC0AC].key_limit == SUITES[0xC0AF].key_limit == 2**28
    assert SUITES[0xCCA8].key_limit == SEQUENCE_LIMIT


def test_defaults_are_known_of_their_version_and_forward_secret() -> None:
    assert DEFAULT_SUITES_13 == (0x1301, 0x1302, 0x1303)
    assert {SUITES[suite].version for suite in DEFAULT_SUITES_13} == {0x0304}
    assert {SUITES[suite].version for suite in DEFAULT_SUITES_12} == {0x0303}
    assert all(SUITES[suite].name.startswith("TLS_ECDHE_") for suite in DEFAULT_SUITES_12)
    assert len(set(DEFAULT_SUITES_12)) == len(DEFAULT_SUITES_12) == 6


def test_openssl_knows_our_names() -> None:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("ALL")
    known = {cipher["name"]: cipher["id"] & 0xFFFF for cipher in context.get_ciphers()}
    ours = {facts.openssl_name: facts.suite for facts in SUITES.values() if "CCM" not in facts.name}
    assert ours.items() <= known.items()


def test_a_suite_is_found_by_either_name_in_any_case() -> None:
    assert by_name("ECDHE-RSA-AES128-GCM-SHA256") is SUITES[0xC02F]
    assert by_name("tls_ecdhe_rsa_with_aes_128_gcm_sha256") is SUITES[0xC02F]
    assert by_name("TLS_AES_128_GCM_SHA256") is SUITES[0x1301]
    with pytest.raises(ConfigurationError, match="RC4-MD5"):
        by_name("RC4-MD5")
