"""The cookie of a HelloRetryRequest: what a server knew when it sent one, authenticated. RFC 9846, section 4.3.2.

What it does: seals and opens `RetryFacts` under a key that all servers behind one address share. What it leaves to
others: what goes into them and what is compared (`handshake.retry13`).

A cookie is not secret, so nothing is encrypted: all of it is of the client's own hello or goes back to it in the clear.
It is bound to the hello that it answers, to an address if the driver gives one, and to a time.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable
from typing import NamedTuple

from resumption.errors import ConfigurationError, IllegalParameter

__all__ = ["COOKIE_LIFETIME_S", "CookieKeys", "RetryFacts"]

COOKIE_LIFETIME_S = 60.0
_MIN_SECRET_LENGTH = 32
_VERSION = b"\x01"
_MAC_LENGTH = 32
_HEAD_LENGTH = 1 + 8 + 2 + 2 + 1 + 32  # version, time, suite, group, whether a share was asked for, unchanged


class RetryFacts(NamedTuple):
    """What a HelloRetryRequest was about. ``asked``: it asked for a share of ``group``, which is otherwise there.

    ``unchanged`` is a digest (32 bytes) of what the second hello must repeat, ``hello_hash`` the suite's hash of the
    whole first hello.
    """

    suite: int
    group: int
    asked: bool
    unchanged: bytes
    hello_hash: bytes


class CookieKeys:
    """Seals and opens cookies. Servers that are made from one secret open each other's; safe for any thread."""

    __slots__ = ("_key", "lifetime_s")

    def __init__(self, secret: bytes, *, lifetime_s: float = COOKIE_LIFETIME_S) -> None:
        """``secret`` has 32 bytes or more of randomness. Raises `ConfigurationError` for less."""
        if len(secret) < _MIN_SECRET_LENGTH or len(set(secret)) < 8:
            raise ConfigurationError(f"the secret of cookies must be {_MIN_SECRET_LENGTH} random bytes or more")
        if lifetime_s <= 0:
            raise ConfigurationError("cookies must live for some time")
        self._key = hmac.digest(secret, b"resumption: cookies of HelloRetryRequests", "sha256")
        self.lifetime_s = lifetime_s

    @classmethod
    def from_secret(cls, secret: bytes | str, *, lifetime_s: float = COOKIE_LIFETIME_S) -> CookieKeys:
        """From a secret that several servers share: bytes, or their hexadecimal digits. Raises `ConfigurationError`."""
        if isinstance(secret, str):
            try:
                secret = bytes.fromhex(secret)
            except ValueError:
                raise ConfigurationError("the secret of cookies is not hexadecimal") from None
        return cls(secret, lifetime_s=lifetime_s)

    @classmethod
    def generate(
        cls, *, random: Callable[[int], bytes] = os.urandom, lifetime_s: float = COOKIE_LIFETIME_S
    ) -> CookieKeys:
        """Keys that only this process has."""
        return cls(random(_MIN_SECRET_LENGTH), lifetime_s=lifetime_s)

    def seal(self, facts: RetryFacts, peer_address: bytes, now: float) -> bytes:
        """A cookie for ``peer_address`` (empty for any), good for `lifetime_s` seconds from ``now``."""
        body = b"".join(
            (
                _VERSION,
                int(now * 1000).to_bytes(8, "big"),
                facts.suite.to_bytes(2, "big"),
                facts.group.to_bytes(2, "big"),
                bytes((facts.asked,)),
                facts.unchanged,
                facts.hello_hash,
            )
        )
        return body + self._mac(body, peer_address)

    def open(self, cookie: bytes, peer_address: bytes, now: float) -> RetryFacts:
        """What the cookie says. Raises `IllegalParameter` unless it is one of ours, for this address, and in time."""
        body, mac = cookie[:-_MAC_LENGTH], cookie[-_MAC_LENGTH:]
        if not hmac.compare_digest(self._mac(body, peer_address), mac) or body[:1] != _VERSION:
            raise IllegalParameter(f"the cookie of {len(cookie)} bytes is none of this server's for this client")
        age_s = now - int.from_bytes(body[1:9], "big") / 1000
        if not -self.lifetime_s <= age_s <= self.lifetime_s:  # the clocks of two servers may differ a little
            raise IllegalParameter("the cookie is too old")
        return RetryFacts(
            int.from_bytes(body[9:11], "big"),
            int.from_bytes(body[11:13], "big"),
            bool(body[13]),
            body[14:_HEAD_LENGTH],
            body[_HEAD_LENGTH:],
        )

    def _mac(self, body: bytes, peer_address: bytes) -> bytes:
        address = hashlib.sha256(peer_address).digest()  # of one length, so that no two cookies can be mistaken
        return hmac.digest(self._key, address + body, "sha256")

    def __repr__(self) -> str:
        return f"<CookieKeys for {self.lifetime_s:g} s>"
