"""The cipher suites that this implementation speaks, as one table of facts.

What it does: says for each suite its names, version, hash, AEAD, key and IV lengths, and how many records one key may
protect. What it leaves to others: choosing one (configuration and handshake) and using one (`schedule13`, `schedule12`,
`protection`). Only AEAD suites with forward secrecy are here; everything else is refused by not being in the table.

Key limits count records sealed under one key. AES-GCM in TLS 1.3: 2**24.5 full-size records (RFC 9846, section 5.5).
AES-CCM: 2**23, the value of RFC 9147, section 4.5.3. ChaCha20-Poly1305: the sequence number ends first. TLS 1.2 has no
key update and its RFCs set no limit, so a hard stop at 2**24.5 records would end a long transfer near 400 GB for no
attack; AES-GCM stops there at 2**32 records (70 TB), where the distinguishing advantage is still under 2**-44, and
AES-CCM, which loses four times as much, at 2**28 (4 TB). How many forgeries an AEAD withstands does not matter here:
the first one ends the connection. That, too, is why a tag of 8 bytes is bearable (RFC 6655, section 6.1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305

from resumption.constants import CipherSuite
from resumption.crypto.hashes import SHA256, SHA384, HashFacts
from resumption.errors import ConfigurationError

__all__ = [
    "DEFAULT_SUITES_12",
    "DEFAULT_SUITES_13",
    "SEQUENCE_LIMIT",
    "SUITES",
    "TAG_LENGTH",
    "Aead",
    "SuiteFacts",
    "by_name",
]

TAG_LENGTH = 16
SEQUENCE_LIMIT = 2**64 - 1  # the 64-bit sequence number must not wrap: RFC 9846, section 5.3; RFC 5246, section 6.1
GCM_LIMIT_13 = int(2**24.5)
GCM_LIMIT_12 = 2**32
CCM_LIMIT_13 = 2**23
CCM_LIMIT_12 = 2**28
SHORT_TAG_LENGTH = 8  # of the suites whose names end in CCM_8

_Buffer: TypeAlias = bytes | bytearray | memoryview


class Aead(Protocol):
    """An AEAD under one key, in the shape of `cryptography`. Opening raises ``cryptography.exceptions.InvalidTag``."""

    def encrypt(self, nonce: _Buffer, data: _Buffer, associated_data: _Buffer | None) -> bytes:
        """The ciphertext of ``data`` with its tag."""

    def decrypt(self, nonce: _Buffer, data: _Buffer, associated_data: _Buffer | None) -> bytes:
        """The plaintext of ``data``, tag checked and removed."""

    def encrypt_into(self, nonce: _Buffer, data: _Buffer, associated_data: _Buffer | None, buf: _Buffer) -> int:
        """Encrypt into ``buf`` (which may be the memory of ``data``); returns the bytes written."""

    def decrypt_into(self, nonce: _Buffer, data: _Buffer, associated_data: _Buffer | None, buf: _Buffer) -> int:
        """Decrypt into ``buf`` (which may be the memory of ``data``); returns the bytes written."""


@dataclass(frozen=True, slots=True, eq=False)
class SuiteFacts:
    """One cipher suite. Lengths are in bytes, ``key_limit`` in records sealed under one key.

    ``iv_length`` is what the key schedule derives: 12, or 4 for TLS 1.2 AES-GCM, whose records carry the other 8 bytes
    of the nonce (RFC 5288). ``authentication`` is "ECDSA" or "RSA" where the suite fixes it (TLS 1.2), else None.
    """

    suite: int
    name: str
    openssl_name: str
    version: int
    hash: HashFacts
    key_length: int
    iv_length: int
    tag_length: int
    aead: Callable[[bytes], Aead]
    authentication: str | None
    key_limit: int


def _suite(
    suite: CipherSuite,
    openssl_name: str,
    hash_facts: HashFacts,
    key_length: int,
    aead: Callable[[bytes], Aead],
    key_limit: int,
    *,
    iv_length: int = 12,
    authentication: str | None = None,
    tag_length: int = TAG_LENGTH,
) -> SuiteFacts:
    version = 0x0304 if authentication is None else 0x0303
    return SuiteFacts(
        int(suite),
        suite.name,
        openssl_name or suite.name,
        version,
        hash_facts,
        key_length,
        iv_length,
        tag_length,
        aead,
        authentication,
        key_limit,
    )


def _ccm_8(key: bytes) -> Aead:
    return AESCCM(key, tag_length=SHORT_TAG_LENGTH)


def _ccm_12(suite: CipherSuite, openssl_name: str, key_length: int, tag_length: int) -> SuiteFacts:
    """RFC 7251: all of them with SHA-256, and nonces like those of AES-GCM (RFC 6655, section 3)."""
    return _suite(
        suite,
        openssl_name,
        SHA256,
        key_length,
        AESCCM if tag_length == TAG_LENGTH else _ccm_8,
        CCM_LIMIT_12,
        iv_length=4,
        authentication="ECDSA",
        tag_length=tag_length,
    )


_ALL = (
    _suite(CipherSuite.TLS_AES_128_GCM_SHA256, "", SHA256, 16, AESGCM, GCM_LIMIT_13),
    _suite(CipherSuite.TLS_AES_256_GCM_SHA384, "", SHA384, 32, AESGCM, GCM_LIMIT_13),
    _suite(CipherSuite.TLS_CHACHA20_POLY1305_SHA256, "", SHA256, 32, ChaCha20Poly1305, SEQUENCE_LIMIT),
    _suite(CipherSuite.TLS_AES_128_CCM_SHA256, "", SHA256, 16, AESCCM, CCM_LIMIT_13),
    _suite(CipherSuite.TLS_AES_128_CCM_8_SHA256, "", SHA256, 16, _ccm_8, CCM_LIMIT_13, tag_length=SHORT_TAG_LENGTH),
    _suite(
        CipherSuite.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        SHA256,
        16,
        AESGCM,
        GCM_LIMIT_12,
        iv_length=4,
        authentication="ECDSA",
    ),
    _suite(
        CipherSuite.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        "ECDHE-RSA-AES128-GCM-SHA256",
        SHA256,
        16,
        AESGCM,
        GCM_LIMIT_12,
        iv_length=4,
        authentication="RSA",
    ),
    _suite(
        CipherSuite.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        SHA384,
        32,
        AESGCM,
        GCM_LIMIT_12,
        iv_length=4,
        authentication="ECDSA",
    ),
    _suite(
        CipherSuite.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        "ECDHE-RSA-AES256-GCM-SHA384",
        SHA384,
        32,
        AESGCM,
        GCM_LIMIT_12,
        iv_length=4,
        authentication="RSA",
    ),
    _suite(
        CipherSuite.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        SHA256,
        32,
        ChaCha20Poly1305,
        SEQUENCE_LIMIT,
        authentication="ECDSA",
    ),
    _suite(
        CipherSuite.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        "ECDHE-RSA-CHACHA20-POLY1305",
        SHA256,
        32,
        ChaCha20Poly1305,
        SEQUENCE_LIMIT,
        authentication="RSA",
    ),
    _ccm_12(CipherSuite.TLS_ECDHE_ECDSA_WITH_AES_128_CCM, "ECDHE-ECDSA-AES128-CCM", 16, TAG_LENGTH),
    _ccm_12(CipherSuite.TLS_ECDHE_ECDSA_WITH_AES_256_CCM, "ECDHE-ECDSA-AES256-CCM", 32, TAG_LENGTH),
    _ccm_12(CipherSuite.TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8, "ECDHE-ECDSA-AES128-CCM8", 16, SHORT_TAG_LENGTH),
    _ccm_12(CipherSuite.TLS_ECDHE_ECDSA_WITH_AES_256_CCM_8, "ECDHE-ECDSA-AES256-CCM8", 32, SHORT_TAG_LENGTH),
)

SUITES: dict[int, SuiteFacts] = {facts.suite: facts for facts in _ALL}
"""Every suite by its number."""

# Preference orders. Not in a default: AES-CCM, which is slower and no safer than the others; it must be asked for.
DEFAULT_SUITES_13: tuple[int, ...] = (0x1301, 0x1302, 0x1303)
DEFAULT_SUITES_12: tuple[int, ...] = tuple(
    facts.suite for facts in _ALL if facts.version == 0x0303 and facts.key_limit != CCM_LIMIT_12
)

_BY_NAME = {name.upper(): facts for facts in _ALL for name in (facts.name, facts.openssl_name)}


def by_name(name: str) -> SuiteFacts:
    """The suite with this IANA or OpenSSL name, in any case. Raises `ConfigurationError` for a name we do not speak."""
    facts = _BY_NAME.get(name.upper())
    if facts is None:
        raise ConfigurationError(f"unknown cipher suite {name!r}")
    return facts
