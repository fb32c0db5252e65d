"""Key exchange over the finite fields of RFC 7919: ffdhe2048 and ffdhe3072, in TLS 1.3.

What it does: the exchange as `resumption.crypto.groups` wants it, with shares and secrets as long as the prime
(RFC 9846, sections 4.3.8.1 and 7.4.1). What it leaves to others: everything else about groups. It is a module of its
own because it stands on a part of `cryptography` whose end is announced: where that is gone, `AVAILABLE` is False, and
nothing but these two groups is missing. They are offered only where they are asked for: ten times the work of X25519.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cached_property
from typing import Any

__all__ = ["AVAILABLE", "FiniteField", "prime"]

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the announced end, once, at import: a program can do nothing about it
    try:
        from cryptography.hazmat.primitives.asymmetric import dh

        _parameter_numbers: Any = dh.DHParameterNumbers
        _public_numbers: Any = dh.DHPublicNumbers
    except (ImportError, AttributeError):  # pragma: no cover - a later `cryptography`
        _parameter_numbers = _public_numbers = None

AVAILABLE: bool = _parameter_numbers is not None


def prime(bits: int, offset: int) -> int:
    """``2**b - 2**(b-64) + (floor(2**(b-130) * e) + offset) * 2**64 - 1``. RFC 7919, appendix A."""
    guard = 64
    total, term, divisor = 0, 1 << (bits - 130 + guard), 0
    while term:  # e = 1/0! + 1/1! + 1/2! + ...
        total += term
        divisor += 1
        term //= divisor
    return (1 << bits) - (1 << bits - 64) + ((total >> guard) + offset << 64) - 1


class FiniteField:
    """Diffie-Hellman in the group of squares modulo a safe prime, generator 2. RFC 7919, appendix A.

    ``offset`` is the number that the appendix gives for the prime of that many ``bits``. Bad shares are ValueErrors,
    for which the table of groups answers.
    """

    def __init__(self, bits: int, offset: int) -> None:
        self._bits = bits
        self._offset = offset
        self._length = bits // 8

    @cached_property
    def _prime(self) -> int:
        return prime(self._bits, self._offset)

    @cached_property
    def _numbers(self) -> Any:
        return _parameter_numbers(self._prime, 2)

    @cached_property
    def _parameters(self) -> Any:
        return self._numbers.parameters()

    def generate(self) -> tuple[bytes, Callable[[bytes], bytes]]:
        """Our share, and the step that takes the peer's."""
        private = self._parameters.generate_private_key()
        length = self._length

        def finish(peer_share: bytes) -> bytes:
            peer = self._load(peer_share)
            secret: bytes = private.exchange(peer)
            return secret.rjust(length, b"\0")

        return private.public_key().public_numbers().y.to_bytes(length, "big"), finish

    def respond(self, peer_share: bytes) -> tuple[bytes, bytes]:
        """Our share and the secret that answer the peer's."""
        public, finish = self.generate()
        return public, finish(peer_share)

    def _load(self, share: bytes) -> Any:
        """The peer's public value: of full width, and 1 < Y < p - 1. RFC 9846, section 4.3.8.1."""
        if len(share) != self._length:
            raise ValueError("not as long as the prime")
        value = int.from_bytes(share, "big")
        if not 1 < value < self._prime - 1:
            raise ValueError("outside of 2 to p - 2")
        return _public_numbers(value, self._numbers).public_key()
