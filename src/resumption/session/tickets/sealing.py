"""Sealed records: sessions in a store that is trusted to be there, and for nothing else.

A store sees a key that is an HMAC, a record that is encrypted, its size class and when it ends. It never sees ids,
names, secrets or certificates, and cannot move, extend, cut or mix records: whatever it returns that was not sealed for
exactly this session id and partition does not open, and that is None, a miss.

A record is ``version (1) | salt (16) | expiry (8) | AES-256-GCM(session)``. Its key comes from the fleet's secret, the
salt and the session id that the client presents: reading needs both. The keys change with the generations of the same
ring that protects tickets (`session.tickets.ring`), and a record lives for one generation at most, so it is looked
for under the keys of this generation and of the last.

What it does not do: talk to a store (`session.fleet.shared`), or know what a session is. Times are in seconds
since the epoch. A store that brings back an older record is held off by the expiry alone; single use needs `take`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from hashlib import sha256
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from resumption.errors import InternalError
from resumption.session.tickets.keys import TicketKeys
from resumption.session.tickets.ring import GenerationKeys, KeyRing

__all__ = ["LONGEST_PLAINTEXT", "RecordSealer", "SealedRecord"]

LONGEST_PLAINTEXT = 16_384  # bytes

_VERSION = b"\x01"
_SALT_LENGTH = 16
_HEAD_LENGTH = 1 + _SALT_LENGTH + 8
_TAG_LENGTH = 16
_OVERHEAD = _HEAD_LENGTH + _TAG_LENGTH + 1  # the one byte marks where the padding begins
_RECORD_LENGTHS = (512, 1024, 2048, 4096, 8192, LONGEST_PLAINTEXT + _OVERHEAD)
_LENGTHS_ACCEPTED = frozenset(_RECORD_LENGTHS)
_LONGEST_SESSION_ID = 255
_TAG_DIGITS = 4  # hexadecimal: 65,536 tags for the 16,384 slots of a Redis cluster, and nothing to know an id by


class SealedRecord(NamedTuple):
    """What to put in a store: under which key, what, and until when (seconds since the epoch)."""

    key: str
    record: bytes
    expires_at: int


class RecordSealer:
    """Seals and opens the records of one fleet. Safe to share between threads; survives a fork."""

    def __init__(self, keys: TicketKeys, *, namespace: str = "resumption") -> None:
        """``keys``: the ring that also protects tickets, or one of its own. Store keys begin with ``namespace``."""
        self._ring: KeyRing = keys.ring
        self._prefix = f"{namespace}:s:"

    def store_keys(self, session_id: bytes, partition: bytes, now: float) -> tuple[str, ...]:
        """The store keys under which the session may lie, likeliest first; empty if there is no usable key now."""
        return tuple([self._store_key(keys, session_id, partition) for keys in self._ring.reading_keys(now)])

    def seal(
        self,
        plaintext: bytes,
        *,
        session_id: bytes,
        partition: bytes,
        expires_at: float,
        now: float,
        random: Callable[[int], bytes],
    ) -> SealedRecord | None:
        """A record that opens only for ``session_id`` in ``partition``, until ``expires_at``, one generation at most.

        Returns None if it cannot be made: no usable key now, an empty id, nothing left to live, or more than 16 KiB.
        Raises `InternalError` if ``random`` returns too little.
        """
        keys = self._ring.writing_keys(now)
        if keys is None or not 0 < len(session_id) <= _LONGEST_SESSION_ID or len(plaintext) > LONGEST_PLAINTEXT:
            return None
        if not expires_at >= now + 1:  # in this form a NaN fails, too
            return None
        generation_s = self._ring.times.generation_s
        expiry = int(min(expires_at, now + generation_s, self._ring.records_accepted_until(keys)))
        fresh = random(_SALT_LENGTH)
        if len(fresh) != _SALT_LENGTH:
            raise InternalError(f"the random source returned {len(fresh)} bytes where {_SALT_LENGTH} were asked for")
        # Hashing the plaintext in keeps key and nonce unique even where a random source repeats itself.
        salt = keys.record.digest(b"salt" + fresh + session_id + plaintext)[:_SALT_LENGTH]
        length = _RECORD_LENGTHS[bisect_left(_RECORD_LENGTHS, len(plaintext) + _OVERHEAD)]
        padded = (plaintext + b"\x80").ljust(length - _OVERHEAD + 1, b"\0")
        head = _VERSION + salt + expiry.to_bytes(8, "big")
        key = self._store_key(keys, session_id, partition)
        secret, nonce = keys.record.expand_key_and_nonce(b"key" + salt + session_id)
        sealed = AESGCM(secret).encrypt(nonce, padded, _associated_data(head, key, partition))
        return SealedRecord(key, head + sealed, expiry)

    def open(self, record: bytes, *, session_id: bytes, partition: bytes, now: float) -> bytes | None:
        """What was sealed for this id and partition; None for anything else that a store may return."""
        if not isinstance(record, bytes) or len(record) not in _LENGTHS_ACCEPTED or record[:1] != _VERSION:
            return None
        head = record[:_HEAD_LENGTH]
        if not int.from_bytes(head[-8:], "big") > now:
            return None
        for keys in self._ring.reading_keys(now):
            secret, nonce = keys.record.expand_key_and_nonce(b"key" + head[1:-8] + session_id)
            key = self._store_key(keys, session_id, partition)
            try:
                padded = AESGCM(secret).decrypt(nonce, record[_HEAD_LENGTH:], _associated_data(head, key, partition))
            except InvalidTag:
                continue
            return padded.rstrip(b"\0")[:-1]
        return None

    def _store_key(self, keys: GenerationKeys, session_id: bytes, partition: bytes) -> str:
        named = len(partition).to_bytes(2, "big") + partition + session_id
        return f"{self._prefix}{{{sha256(named).hexdigest()[:_TAG_DIGITS]}}}{keys.index.digest(named).hex()}"


def _associated_data(head: bytes, key: str, partition: bytes) -> bytes:
    """Version, salt and expiry (all in the head), the store key, and the partition."""
    return head + len(partition).to_bytes(2, "big") + partition + key.encode()
