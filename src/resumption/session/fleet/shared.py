"""Sessions that several server processes share: a store behind its guard and the seals, as one thing a server can use.

`SharedSessions` saves a session under the id that its client will present, and loads it for whichever process meets
that client next. It seals what it saves and opens what it loads, and turns every trouble with the store into a miss
that is counted: a handshake that cannot resume is completed in full, never failed. What the bytes mean, and whether a
session may resume, is decided by the caller. How long a call may take is the guard's affair
(`resumption.session.stores.guarded`).

Ids that the store did not know are remembered for some seconds, as are single-use ones that were spent: whoever repeats
one does not trouble the store again. An id is never known later that was unknown before, but for one that is still on
its way into the store.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from itertools import accumulate
from typing import NamedTuple

from resumption.session import forking
from resumption.session.statistics import StoreReport
from resumption.session.stores.breaker import BreakerChange
from resumption.session.stores.guarded import LATENCY_BOUNDS_S, GuardedStore, StoreLimits, StoreUnavailable
from resumption.session.stores.store import SessionStore
from resumption.session.tickets.keys import TicketKeys
from resumption.session.tickets.sealing import RecordSealer

__all__ = ["Lookup", "SharedSessions", "SharedSessionsStats"]

_MOST_JITTER = 0.05  # of the time left, so that what was stored together does not end together


@dataclass(slots=True)
class SharedSessionsStats:
    """Counts since the start, exact under any number of threads. Each lookup is a hit, a miss, or a store error."""

    saved: int = 0  # given to the store, or to the queue in front of it
    not_saved: int = 0  # too large, nothing left to live, or no usable key
    hits: int = 0
    misses: int = 0  # includes what did not open
    known_misses: int = 0  # misses for which the store was not asked: it had not known the id a moment ago
    unopened: int = 0  # records that the store returned and that did not open
    store_errors: int = 0  # lookups that the store failed, or for which it could not be asked

    def snapshot(self) -> dict[str, int]:
        """The counts, by name."""
        return {item.name: getattr(self, item.name) for item in fields(self)}


class Lookup(NamedTuple):
    """A question to the store. Without ``keys`` the answer is known: nothing."""

    session_id: bytes
    partition: bytes
    single_use: bool
    now: float
    keys: tuple[str, ...]


class SharedSessions(forking.LockedAtFork):
    """A `SessionStore` behind its guard and seals. Safe to share between threads and across forks if the store is."""

    def __init__(
        self,
        store: SessionStore,
        keys: TicketKeys,
        *,
        namespace: str = "resumption",
        limits: StoreLimits | None = None,
        on_change: Callable[[BreakerChange], object] | None = None,
        clock: Callable[[], float] = time.time,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """The caller keeps ``store`` and ``keys`` and closes them. ``clock`` tells seconds since the epoch."""
        self.store = store
        self.keys = keys
        self.guard = GuardedStore(store, limits, on_change=on_change)
        self.stats = SharedSessionsStats()
        self._sealer = RecordSealer(keys, namespace=namespace)
        self._clock = clock
        self._random = random
        self._unknown: OrderedDict[str, float] = OrderedDict()  # until when
        self._lock = threading.Lock()
        forking.watch(self)

    def save(self, session_id: bytes, partition: bytes, plaintext: bytes, expires_at: float) -> str | None:
        """Keep a session until ``expires_at``, one generation of the keys (a day) at most. None if it was not kept.

        Returns before the store has it: the key under which the guard can be asked when it does. Raises
        `InternalError` if the random source fails, and nothing else.
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
            self._count("not_saved")
            return None
        jitter = int.from_bytes(self._random(2), "big") / 65_536 * _MOST_JITTER
        with self._lock:
            self.stats.saved += 1
            self._unknown.pop(sealed.key, None)
        self.guard.put(sealed.key, sealed.record, sealed.expires_at - (sealed.expires_at - now) * jitter)
        return sealed.key

    def load(self, session_id: bytes, partition: bytes, single_use: bool) -> bytes | None:
        """The session saved under this id in this partition, or None. With ``single_use`` nobody gets it again.

        Raises `StoreUnavailable` if the store cannot tell.
        """
        lookup = self.lookup(session_id, partition, single_use)
        record = None
        if lookup.keys:
            try:
                record = self.guard.take(*lookup.keys) if single_use else self.guard.get(*lookup.keys)
            except StoreUnavailable:
                self.unanswered()
                raise
        return self.opened(lookup, record)

    def lookup(self, session_id: bytes, partition: bytes, single_use: bool) -> Lookup:
        """What to ask the store. The answer goes to `opened`; if there is none call `unanswered`."""
        now = self._clock()
        keys = self._sealer.store_keys(session_id, partition, now)
        if keys and self._unknown:
            with self._lock:
                if now < self._unknown.get(keys[0], 0.0):
                    self.stats.known_misses += 1
                    keys = ()
        return Lookup(session_id, partition, single_use, now, keys)

    def opened(self, lookup: Lookup, record: bytes | None) -> bytes | None:
        """The session in the ``record`` that the store returned, or None."""
        keys = lookup.keys
        if record is None:
            self._count("misses")
            self._remember_unknown(lookup)
            return None
        plaintext = self._sealer.open(record, session_id=lookup.session_id, partition=lookup.partition, now=lookup.now)
        if lookup.single_use:
            self._remember_unknown(lookup)
        if plaintext is None:
            with self._lock:
                self.stats.misses += 1
                self.stats.unopened += 1
            if not lookup.single_use:
                self.guard.remove(*keys)
            return None
        self._count("hits")
        return plaintext

    def unanswered(self) -> None:
        """The store could not answer a lookup."""
        self._count("store_errors")

    def remove(self, session_id: bytes, partition: bytes) -> None:
        """Forget a session, as far as the store can be reached."""
        keys = self._sealer.store_keys(session_id, partition, self._clock())
        if keys:
            self.guard.remove(*keys)

    def report(self) -> StoreReport:
        """Everything that is counted here and at the guard."""
        guard = self.guard
        bounds = (*LATENCY_BOUNDS_S, float("inf"))
        return StoreReport(
            sessions=self.stats.snapshot(),
            calls=guard.stats.snapshot(),
            latency=tuple(zip(bounds, accumulate(guard.stats.latency), strict=True)),
            latency_sum_s=guard.stats.latency_sum_s,
            breaker=str(guard.breaker.state),
            opened=guard.breaker.opened,
            queue_length=guard.queue_length,
            in_flight=guard.in_flight,
            limits=asdict(guard.limits),
        )

    def flush(self, timeout_s: float) -> bool:
        """Wait until the store has been told everything. False if that takes longer than ``timeout_s`` seconds."""
        return self.guard.flush(timeout_s)

    def close(self) -> None:
        """Let the queue and the threads go. Keys and store stay open."""
        self.guard.close()

    def _count(self, name: str) -> None:
        with self._lock:
            setattr(self.stats, name, getattr(self.stats, name) + 1)

    def _remember_unknown(self, lookup: Lookup) -> None:
        limits = self.guard.limits
        if not lookup.keys or not limits.negative_entries or not limits.negative_s:
            return
        with self._lock:
            unknown = self._unknown
            unknown.pop(lookup.keys[0], None)
            while len(unknown) >= limits.negative_entries:
                unknown.popitem(last=False)
            unknown[lookup.keys[0]] = lookup.now + limits.negative_s

    # --- forks -------------------------------------------------------------------------------------------------------
