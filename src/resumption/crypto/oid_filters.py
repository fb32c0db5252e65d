"""Which certificates answer a server's ``oid_filters``. RFC 9846, section 4.3.5 [8446: 4.2.5].

A filter names a certificate extension and values that it must hold, both DER. Key usage and extended key usage have a
rule of matching; any other extension is not recognised, and its filter is passed over.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from cryptography import x509

from resumption.crypto.certificates import parse_certificate
from resumption.errors import DecodeError, IllegalParameter

__all__ = ["OidFilters", "check_filters", "matches"]

OidFilters: TypeAlias = tuple[tuple[bytes, bytes], ...]
"""Pairs of an extension's object identifier and its values, both DER; the values are empty for any."""

_KEY_USAGE: Final = bytes.fromhex("0603551d0f")
_EXTENDED_KEY_USAGE: Final = bytes.fromhex("0603551d25")
_ANY_PURPOSE: Final = bytes.fromhex("0604551d2500")
_BIT_STRING, _OBJECT_IDENTIFIER, _SEQUENCE = 0x03, 0x06, 0x30


def check_filters(filters: OidFilters) -> None:
    """Raise `IllegalParameter` for an extension that is named twice and for anyExtendedKeyUsage, `DecodeError` for
    values of a recognised extension that do not parse."""
    if len({oid for oid, _ in filters}) != len(filters):
        raise IllegalParameter("oid_filters names an extension twice")
    for oid, values in filters:
        if oid == _KEY_USAGE and values:
            _bits(values)
        elif oid == _EXTENDED_KEY_USAGE and values and _ANY_PURPOSE in _purposes(values):
            raise IllegalParameter("oid_filters asks for anyExtendedKeyUsage")


def matches(der: bytes, filters: OidFilters) -> bool:
    """Whether a certificate (DER) has every recognised extension that is named, with all the values it must have."""
    for oid, values in filters:
        if oid == _KEY_USAGE:
            usage = _extension(der, x509.KeyUsage)
            if usage is None or (values and _bits(values) & ~_bits(usage)):
                return False
        elif oid == _EXTENDED_KEY_USAGE:
            purposes = _extension(der, x509.ExtendedKeyUsage)
            if purposes is None or (values and not _purposes(values) <= _purposes(purposes)):
                return False
    return True


def _extension(der: bytes, kind: type[x509.KeyUsage] | type[x509.ExtendedKeyUsage]) -> bytes | None:
    """The DER of one extension of a certificate."""
    for extension in parse_certificate(der).extensions:
        if isinstance(extension.value, kind):
            return extension.value.public_bytes()
    return None


def _bits(der: bytes) -> int:
    """The asserted bits of a BIT STRING; the first is the highest of 16, as key usage has nine."""
    content = _content(der, _BIT_STRING)
    if not 1 <= len(content) <= 3 or content[0] > 7:
        raise DecodeError("oid_filters has a key usage that does not parse")
    unused, bits = content[0], content[1:]
    return (int.from_bytes(bits, "big") >> unused << unused) << 8 * (2 - len(bits))


def _purposes(der: bytes) -> frozenset[bytes]:
    """The object identifiers (DER) in a SEQUENCE of them."""
    rest = _content(der, _SEQUENCE)
    found = []
    while rest:
        oid, rest = _split(rest)
        _content(oid, _OBJECT_IDENTIFIER)
        found.append(oid)
    return frozenset(found)


def _content(der: bytes, tag: int) -> bytes:
    whole, rest = _split(der)
    if rest or whole[0] != tag:
        raise DecodeError("oid_filters has values that do not parse")
    return whole[2:] if whole[1] < 0x80 else whole[2 + (whole[1] & 0x7F) :]


def _split(der: bytes) -> tuple[bytes, bytes]:
    """The first element (DER) and what follows it."""
    start, length = 2, der[1] if len(der) > 1 else -1
    if length >= 0x80:
        start += length & 0x7F
        length = int.from_bytes(der[2:start], "big") if 0x80 < der[1] <= 0x82 and len(der) >= start else -1
    if length < 0 or start + length > len(der):
        raise DecodeError("oid_filters has values that do not parse")
    return der[: start + length], der[start + length :]
