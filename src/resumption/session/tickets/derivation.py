"""Key material for tickets and records: what is accepted as a secret, and how keys are derived from it.

It vets a secret that a person or a deployment tool supplied, and derives from it with HKDF over SHA-256 (RFC 5869).
What keys are for, and when they change, is the business of `resumption.session.tickets.ring`.

HKDF is written out here because one ticket needs two short expansions: with the HMAC state of the key prepared once,
each costs 0.8 us instead of 2.9 us through a fresh HKDF object, and the results are the same (the tests compare them).
"""

from __future__ import annotations

import string
from hashlib import sha256

from resumption.errors import ConfigurationError

__all__ = [
    "MAXIMUM_SECRET_LENGTH",
    "MINIMUM_SECRET_LENGTH",
    "PreparedHmac",
    "check_diversity",
    "key_material",
    "overwrite",
]

MINIMUM_SECRET_LENGTH = 32  # bytes of key material
MAXIMUM_SECRET_LENGTH = 4096  # bytes; more is some other file

_BLOCK_LENGTH = 64
_INNER_PAD = bytes(byte ^ 0x36 for byte in range(256))
_OUTER_PAD = bytes(byte ^ 0x5C for byte in range(256))
_HEXADECIMAL = frozenset(string.hexdigits)
_FEWEST_DISTINCT_BYTES = 12  # 32 random bytes hold about 30 different values; fewer than 12 never happens
_HOW_TO_MAKE_ONE = 'make one with: python -c "import secrets; print(secrets.token_hex(32))"'


class PreparedHmac:
    """HMAC-SHA256 under one key whose inner and outer states are computed once. RFC 2104.

    Safe to use from several threads: the prepared states are only ever copied. They are equivalent to the key, and
    OpenSSL clears them when the object is collected.
    """

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes | bytearray) -> None:
        block = (key if len(key) <= _BLOCK_LENGTH else sha256(key).digest()).ljust(_BLOCK_LENGTH, b"\0")
        self._inner = sha256(block.translate(_INNER_PAD))
        self._outer = sha256(block.translate(_OUTER_PAD))

    def digest(self, message: bytes) -> bytes:
        """The 32-byte authentication code of ``message``."""
        inner = self._inner.copy()
        inner.update(message)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.digest()

    def expand(self, info: bytes) -> bytes:
        """HKDF-Expand of this key to 32 bytes. RFC 5869, section 2.3."""
        return self.digest(info + b"\x01")

    def expand_key_and_nonce(self, info: bytes) -> tuple[bytes, bytes]:
        """HKDF-Expand of this key to 44 bytes, as an AES-256 key and a 12-byte nonce. RFC 5869, section 2.3."""
        first = self.digest(info + b"\x01")
        return first, self.digest(first + info + b"\x02")[:12]


def key_material(secret: bytes | bytearray | str) -> bytearray:
    """The key material that ``secret`` holds, vetted; the caller owns the bytearray and overwrites it after use.

    Text (a ``str``, or bytes that are all printable ASCII) loses the line end that files and shells add; if it is
    hexadecimal it is decoded, any other text counts as its own bytes. Nothing is ever padded or cut. Raises
    `ConfigurationError` if the material is shorter than 32 bytes, longer than 4096, constant, a repeated pattern, or
    made of very few different bytes: such keys are mistakes, and a ticket under them can be read by anyone.
    """
    material = _decoded(secret)
    if len(material) < MINIMUM_SECRET_LENGTH:
        raise ConfigurationError(
            f"the secret holds {len(material)} bytes of key material, {MINIMUM_SECRET_LENGTH} or more are needed; "
            + _HOW_TO_MAKE_ONE
        )
    if len(material) > MAXIMUM_SECRET_LENGTH:
        raise ConfigurationError(f"the secret is {len(material)} bytes long, the limit is {MAXIMUM_SECRET_LENGTH}")
    check_diversity(material, "the secret")
    return material


def check_diversity(material: bytes | bytearray, what: str) -> None:
    """Raise `ConfigurationError` naming ``what`` if ``material`` cannot have come from a random source.

    Refused are one byte repeated, any pattern that occurs at least twice end to end, a byte that fills more than a
    quarter of the whole (a key that is half zeros), and fewer than 12 different bytes.
    """
    length = len(material)
    period = next((step for step in range(1, length // 2 + 1) if material[step:] == material[:-step]), None)
    if period is not None:
        raise ConfigurationError(f"{what} is a pattern of {period} bytes, repeated; {_HOW_TO_MAKE_ONE}")
    values = set(material)
    if len(values) < _FEWEST_DISTINCT_BYTES:
        raise ConfigurationError(f"{what} is made of only {len(values)} different bytes; {_HOW_TO_MAKE_ONE}")
    if max(material.count(value) for value in values) > length // 4:
        raise ConfigurationError(f"one byte fills more than a quarter of {what}; {_HOW_TO_MAKE_ONE}")


def overwrite(secret: bytearray) -> None:
    """Zero a secret in place and empty it. Copies may exist elsewhere: nothing in Python can promise erasure."""
    for index in range(len(secret)):
        secret[index] = 0
    secret.clear()


def _decoded(secret: bytes | bytearray | str) -> bytearray:
    if isinstance(secret, str):
        text = secret
    elif isinstance(secret, bytes | bytearray):
        if not (secret.isascii() and secret.rstrip(b"\r\n").decode("ascii").isprintable()):
            return bytearray(secret)
        text = secret.decode("ascii")
    else:
        raise ConfigurationError(f"a secret is bytes or str, not {type(secret).__name__}")
    text = text.rstrip("\r\n")
    if not text or not _HEXADECIMAL.issuperset(text):
        try:
            return bytearray(text, "utf-8")
        except UnicodeEncodeError:
            raise ConfigurationError("the secret holds characters that are not text") from None
    if len(text) % 2:
        raise ConfigurationError(f"the secret has {len(text)} hexadecimal digits, an odd number: was it cut?")
    return bytearray.fromhex(text)
