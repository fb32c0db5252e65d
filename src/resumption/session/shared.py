"""Sessions that several server processes share: a store and the seals, as one thing a server can use.

`SharedSessions` saves a session under the id that its client will present, and loads it for whichever process meets
that client next. It seals what it saves and opens what it loads, and turns every trouble with the store into a miss
that is counted: a handshake that cannot resume is completed in full, never failed. What the bytes mean, and whether a
session may resume, is decided by the caller. Calls block for as long as the store lets them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from resumption.session.sealing import RecordSealer
from resumption.session.store import SessionStore
from resumption.session.tickets import TicketKeys

__all__ = ["SharedSessions", "SharedSessionsStats"]

_MOST_JITTER = 0.05  # of the time left, so that what was stored together does not end together


@dataclass(slots=True)
class SharedSessionsStats:
    """Counts since the start. Kept without a lock: under many threads they may run slightly low."""

    saved: int = 0
    not_saved: int = 0  # too large, nothing left to live, or no usable key
    hits: int = 0
    misses: int = 0  # includes what did not open and what the store failed to answer
    unopened: int = 0  # records that the store returned and that did not open
    store_errors: int = 0  # calls, of any kind, that the store failed


class SharedSessions:
    """A `SessionStore` behind seals. Safe to share between threads and across forks if the store is."""

    def __init__(
        self,
        store: SessionStore,
        keys: TicketKeys,
        *,
        namespace: str = "resumption",
        clock: Callable[[], float] = time.time,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """The caller keeps ``store`` and ``keys`` and closes them. ``clock`` tells seconds since the epoch."""
        self.store = store
        self.keys = keys
        self.stats = SharedSessionsStats()
        self._sealer = RecordSealer(keys, namespace=namespace)
        self._clock = clock
        self._random = random

    def save(self, session_id: bytes, partition: bytes, plaintext: bytes, expires_at: float) -> bool:
        """Keep a session until ``expires_at``, one generation of the keys (a day) at most. False if it was not kept.

        Raises `InternalError` if the random source fails, and nothing else.
        """
        now = self._clock()
        sealed = self._sealer.seal(
            plaintext,
            session_id=session_id,
            partition=partition,
            expires_at=expires_at,
            now=now,
            random=self._random,
        )
        if sealed is None:
            self.stats.not_saved += 1
            return False
        jitter = int.from_bytes(self._random(2), "big") / 65_536 * _MOST_JITTER
        try:
            self.store.put(sealed.key, sealed.record, sealed.expires_at - (sealed.expires_at - now) * jitter)
        except Exception:  # a store may be anyone's code, and no store may fail a handshake
            self.stats.store_errors += 1
            return False
        self.stats.saved += 1
        return True

    def load(self, session_id: bytes, partition: bytes, single_use: bool) -> bytes | None:
        """The session saved under this id in this partition, or None. With ``single_use`` nobody gets it again."""
        now = self._clock()
        keys = self._sealer.store_keys(session_id, partition, now)
        record = None
        if keys:
            try:
                record = self.store.take(*keys) if single_use else self.store.get(*keys)
            except Exception:  # as above
                self.stats.store_errors += 1
        if record is None:
            self.stats.misses += 1
            return None
        plaintext = self._sealer.open(record, session_id=session_id, partition=partition, now=now)
        if plaintext is None:
            self.stats.misses += 1
            self.stats.unopened += 1
            if not single_use:
                self._remove(keys)
            return None
        self.stats.hits += 1
        return plaintext

    def remove(self, session_id: bytes, partition: bytes) -> None:
        """Forget a session, as far as the store can be reached."""
        self._remove(self._sealer.store_keys(session_id, partition, self._clock()))

    def _remove(self, keys: tuple[str, ...]) -> None:
        if not keys:
            return
        try:
            self.store.remove(*keys)
        except Exception:  # as above
            self.stats.store_errors += 1
