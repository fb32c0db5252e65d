"""Tickets as OpenSSL makes them, for servers that share ticket keys with OpenSSL, nginx or HAProxy.

A ticket is ``key name (16) | IV (16) | AES-CBC(session DER) | HMAC-SHA256 (32)``: RFC 5077, section 4, with the
key sizes of OpenSSL. The keys are one block of 80 bytes (name 16, HMAC key 32, AES-256 key 32), as taken by
SSL_CTX_set_tlsext_ticket_keys, or an older one of 48 (name 16 and two keys of 16, AES-128): nginx and HAProxy write the
AES key first, OpenSSL 1.0 and Apache the HMAC key. They never rotate by themselves, there is no forward secrecy, and
unlike `TicketKeys` the construction cannot bind a partition: the session inside has to say where it belongs
(`resumption.session.provenance`). It is here to interoperate.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import ClassVar, Literal, TypeAlias

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from resumption.constants import MAX_TICKET_LIFETIME_S
from resumption.errors import ConfigurationError, InternalError
from resumption.session.tickets.derivation import PreparedHmac, check_diversity, overwrite
from resumption.session.tickets.ring import TicketKeyStatus, TicketStatus

__all__ = ["BLOCK_LENGTHS", "Layout", "OpenSSLTicketKeys"]

BLOCK_LENGTHS = (48, 80)
Layout: TypeAlias = Literal["nginx", "openssl"]

_NAME_LENGTH = 16
_IV_LENGTH = 16
_MAC_LENGTH = 32
_SHORT_KEY = 16
_CIPHER_BLOCK = 16
_HEAD_LENGTH = _NAME_LENGTH + _IV_LENGTH
_LONGEST_TICKET = 8192


class OpenSSLTicketKeys:
    """One ticket key in OpenSSL's form, behind the same methods as `TicketKeys`. Safe to share between threads.

    What it seals is a session's SSL_SESSION DER, without id and ticket, as OpenSSL puts it there.
    """

    session_format: ClassVar[str] = "der"

    def __init__(self, block: bytes | bytearray, *, layout: Layout = "nginx") -> None:
        """``block``: exactly 80 bytes, or 48; only there ``layout`` matters, which says whose order of keys it has.

        Raises `ConfigurationError` for other sizes, and for keys that are no keys.
        """
        if not isinstance(block, bytes | bytearray) or len(block) not in BLOCK_LENGTHS:
            size = f"{len(block)} bytes" if isinstance(block, bytes | bytearray) else type(block).__name__
            raise ConfigurationError(f"an OpenSSL ticket key block is exactly 80 or 48 bytes, not {size}")
        if layout not in ("nginx", "openssl"):
            raise ConfigurationError('the layout of a ticket key block of 48 bytes is "nginx" or "openssl"')
        self._block = bytearray(block)
        half = (len(block) - _NAME_LENGTH) // 2
        name, mac_key, cipher_key = block[:16], block[16 : 16 + half], block[16 + half :]
        if half == _SHORT_KEY and layout == "nginx":
            mac_key, cipher_key = cipher_key, mac_key
        if half == _SHORT_KEY:  # too short to judge each: of 16 random bytes many can be equal
            check_diversity(mac_key + cipher_key, "the key part of the ticket key block")
        else:
            check_diversity(mac_key, "the HMAC part of the ticket key block")
            check_diversity(cipher_key, "the AES part of the ticket key block")
        if mac_key == cipher_key:
            raise ConfigurationError("the HMAC and the AES part of the ticket key block are the same key")
        self._name = bytes(name)
        self._mac = PreparedHmac(mac_key)
        self._algorithm = AES(bytes(cipher_key))
        self._is_closed = False
        self._sealed = self._opened = self._unknown = self._rejected = self._refused = self._oversize = 0

    def to_block(self) -> bytes:
        """The block again: **key material**. Empty after `close`."""
        return bytes(self._block)

    @property
    def name(self) -> bytes:
        """The 16 bytes at the front of every ticket sealed with this key."""
        return self._name

    def lifetime_left(self, now: float) -> int:
        """Seconds that may be promised for a ticket issued at ``now``: seven days, as the key itself has no end."""
        return 0 if self._is_closed else MAX_TICKET_LIFETIME_S

    def seal(
        self,
        plaintext: bytes,
        *,
        partition: bytes,
        mechanism: str,
        now: float,
        random: Callable[[int], bytes],
        lifetime_s: float,
    ) -> bytes | None:
        """Seal a session's DER. ``partition`` and ``mechanism`` cannot be bound here and are not used.

        Returns None if ``lifetime_s`` leaves nothing to promise, if the ticket would exceed 8 KiB, or after `close`.
        Raises `InternalError` if ``random`` returns too little.
        """
        if self._is_closed or not lifetime_s > 0:
            self._refused += 1
            return None
        padding = _CIPHER_BLOCK - len(plaintext) % _CIPHER_BLOCK
        if _HEAD_LENGTH + len(plaintext) + padding + _MAC_LENGTH > _LONGEST_TICKET:
            self._oversize += 1
            return None
        iv = random(_IV_LENGTH)
        if len(iv) != _IV_LENGTH:
            raise InternalError(f"the random source returned {len(iv)} bytes where {_IV_LENGTH} were asked for")
        encryptor = Cipher(self._algorithm, CBC(iv)).encryptor()
        body = encryptor.update(plaintext + bytes([padding]) * padding) + encryptor.finalize()
        head = self._name + iv + body
        self._sealed += 1
        return head + self._mac.digest(head)

    def open(self, ticket: bytes, *, partition: bytes, mechanism: str, now: float) -> bytes | None:
        """The DER inside ``ticket``, or None if it is not one of ours. ``partition`` and ``mechanism`` are not used.

        The code is compared, in constant time, before anything is decrypted, so padding tells an attacker nothing.
        """
        if self._is_closed or ticket[:_NAME_LENGTH] != self._name:
            self._unknown += 1
            return None
        length = len(ticket) - _HEAD_LENGTH - _MAC_LENGTH
        head, code = ticket[:-_MAC_LENGTH], ticket[-_MAC_LENGTH:]
        if (
            length < _CIPHER_BLOCK
            or length % _CIPHER_BLOCK
            or len(ticket) > _LONGEST_TICKET
            or not hmac.compare_digest(self._mac.digest(head), code)
        ):
            self._rejected += 1
            return None
        decryptor = Cipher(self._algorithm, CBC(head[_NAME_LENGTH:_HEAD_LENGTH])).decryptor()
        padded = decryptor.update(head[_HEAD_LENGTH:]) + decryptor.finalize()
        padding = padded[-1]
        if not 1 <= padding <= _CIPHER_BLOCK or padded[-padding:] != bytes([padding]) * padding:
            self._rejected += 1
            return None
        self._opened += 1
        return padded[:-padding]

    def status(self, now: float) -> TicketStatus:
        """The key's name and the counts. Its age is not known: OpenSSL's blocks carry no date."""
        key = TicketKeyStatus(
            name=self._name.hex(), epoch=0, generation=0, age_s=0.0, accepted_for_s=float("inf"), is_issuing=True
        )
        return TicketStatus(
            mode="openssl",
            forward_secrecy="no forward secrecy",
            fingerprint=self._name.hex()[:12],
            not_issuing_because="the keys were closed" if self._is_closed else None,
            keys=() if self._is_closed else (key,),
            counts={
                "sealed": self._sealed,
                "opened": self._opened,
                "unknown": self._unknown,
                "rejected": self._rejected,
                "refused": self._refused,
                "oversize": self._oversize,
            },
        )

    def close(self) -> None:
        """Overwrite the block. Afterwards nothing is issued and nothing opens."""
        self._is_closed = True
        overwrite(self._block)

    def __repr__(self) -> str:
        return f"<OpenSSLTicketKeys {self._name.hex()[:12]}>"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("ticket keys are not pickled or copied: make them in each process from the same block or file")
