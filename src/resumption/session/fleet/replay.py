"""The replay register: it remembers the hellos whose early data was taken, so that none is taken twice.

What is remembered is a code over the binder of the hello, and it is written only once that binder has verified: nobody
fills the register with hellos of his own making (RFC 9846, section 8.2). It need not be remembered for long: a hello is
fresh for twice the window by which a ticket's age may be off, and refused for its age after that. So an entry is kept
for ``2 * window_s + skew_s``, and whoever may have forgotten entries (a process or a store that just started, a store
that was emptied or replaced) refuses early data for as long, and answers rightly from then on.

Two tiers. In memory there is an exact set, which never drops a live entry: when it is full, early data is refused. A
register with a `SessionStore` asks that as well, by one atomic step for all processes that share it, through a guard
that gives up after a time. An answer that is not clearly "new" (an error, none in time, a store that may have dropped
marks) is a refusal.

The *domain* says whose memory counts. It is a label inside each ticket; where another one is in force a ticket resumes
without early data. A register without a store draws a new domain in each process, so that a ticket's early data is
taken nowhere else and never after a restart.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol, cast

from resumption.errors import ConfigurationError, StoreError
from resumption.session import forking
from resumption.session.early import EarlyReason
from resumption.session.stores.guarded import GuardedStore, StoreLimits
from resumption.session.stores.store import SessionStore, open_store
from resumption.session.tickets.derivation import PreparedHmac
from resumption.session.verdicts import Reason

__all__ = ["ReplayRegister", "ReplayStats", "SpentTickets", "replay_key", "spent_key"]

DEFAULT_WINDOW_S = 10.0
LONGEST_WINDOW_S = 60.0
_KEY_LENGTH = 16  # bytes that are kept of each code; two of 250,000 live ones are equal with odds of 1 to 10**28
_BUCKETS = 8  # the set is cut by time into so many parts, and whole parts are forgotten
_SENTINEL_LIFE_S = 3650 * 86_400.0


def replay_key(secret: bytes, partition: bytes, binder: bytes) -> bytes:
    """What the register remembers of a hello: a code over its verified binder, under the session's own secret.

    Every node that can verify the binder has that secret, whatever has become of ticket keys meanwhile, and a store
    that sees the code learns nothing from it. 32 bytes.
    """
    return PreparedHmac(secret).digest(b"resumption replay 1" + len(partition).to_bytes(2, "big") + partition + binder)


def spent_key(secret: bytes, partition: bytes) -> bytes:
    """What marks a stateless ticket as spent: a code that each of its uses has, and no other ticket. 32 bytes."""
    return PreparedHmac(secret).digest(b"resumption spent 1" + len(partition).to_bytes(2, "big") + partition)


@dataclass(slots=True)
class ReplayStats:
    """Counts since the start. Kept without a lock: under many threads they may run slightly low."""

    admitted: int = 0
    seen: int = 0  # replays, in truth or for all that can be said
    refused: int = 0  # for any other reason
    store_errors: int = 0


class _Continuity(Protocol):
    """What a store may tell of itself; `resumption.session.stores.store` says what it means."""

    @property
    def identity(self) -> str: ...
    @property
    def evicted(self) -> int: ...
    @property
    def keeps_marks(self) -> bool: ...


class ReplayRegister(forking.LockedAtFork):
    """Says of each hello whether it is new. Safe to share between threads; a forked child starts with an empty one."""

    def __init__(
        self,
        store: str | SessionStore | None = None,
        *,
        domain: str = "",
        window_s: float = DEFAULT_WINDOW_S,
        skew_s: float = 10.0,
        capacity: int = 250_000,
        budget_s: float = 0.05,
        clock: Callable[[], float] = time.time,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """``store``: an URL or a `SessionStore` that all processes share which have this ``domain``; None for none.

        ``domain`` names the place (a region, say) whose servers share the store; it must be given with one. Without a
        store it may name a server that is one process only, whose tickets are to outlive a restart. ``window_s``: by
        how much the age that a client tells may be off, at most 60. ``skew_s``: by how much the clocks of the domain
        may differ. ``capacity``: hellos remembered in this process. ``budget_s``: how long a store's answer is waited
        for. ``clock`` tells seconds since the epoch. Raises `ConfigurationError`, `StoreError`.
        """
        if not 0 < window_s <= LONGEST_WINDOW_S:
            raise ConfigurationError(f"window_s must be above 0 and at most {LONGEST_WINDOW_S:g} seconds")
        if not 0 <= skew_s <= LONGEST_WINDOW_S:
            raise ConfigurationError(f"skew_s must lie between 0 and {LONGEST_WINDOW_S:g} seconds")
        if capacity < 1:
            raise ConfigurationError("a register needs room for one hello")
        if store is not None and not domain:
            raise ConfigurationError("a register with a store needs domain=: a name for all servers that share it")
        self.window_s = window_s
        self.skew_s = skew_s
        self.stats = ReplayStats()
        self.is_shared = store is not None
        self._own_store = open_store(store) if isinstance(store, str) else None
        limits = StoreLimits(timeout_s=budget_s)
        asked = self._own_store if isinstance(store, str) else store
        self._guard = GuardedStore(asked, limits) if asked is not None else None
        self._label = domain.encode()
        self._capacity = capacity
        self._clock = clock
        self._random = random
        self._prefix = f"replay:{sha256(self._label).hexdigest()[:32]}:"
        self._identity = ""  # of the store, when it was last looked at
        self._buckets: deque[tuple[float, set[bytes]]] = deque()  # when each ends, and what it holds; oldest first
        self._lock = threading.Lock()
        self._start()
        if self._guard is not None:
            guard = self._guard
            with contextlib.suppress(StoreError):  # then the wait begins when it is first reached
                self._identity = guard.call(lambda: self._look_at(guard.store, self._latest))
        forking.watch(self)

    def _start(self) -> None:
        """Remember nothing, and know it."""
        self._domain = self._label or self._random(16)
        self._latest = self._clock()
        # A domain that nobody had before has no tickets either: there is nothing to wait for.
        self._ready_at = self._latest + self.kept_s if self._label else self._latest
        self._buckets.clear()
        self._size = 0

    @property
    def domain(self) -> bytes:
        """The label that goes into tickets, and that they must bring. Another one after a fork, unless it was given."""
        return self._domain

    @property
    def kept_s(self) -> float:
        """For how long a hello is remembered, in seconds; and for how long early data is refused after a start."""
        return 2 * self.window_s + self.skew_s

    def admit(self, key: bytes, now: float) -> EarlyReason | None:
        """Remember the hello with this `replay_key`: None if it is new, else why its early data has to be refused.

        ``now`` is in seconds since the epoch. Asks the store, if there is one, and so may block for as long as that
        lets it. Never raises for a store's sake.
        """
        reason = self._remember(key[:_KEY_LENGTH], now)
        if reason is None and self._guard is not None:
            reason = self._ask(self._guard, key, now)
        if reason is None and now < self._ready_at:  # last, so that what is refused now is no stranger later
            reason = EarlyReason.WARMING_UP
        if reason is None:
            self.stats.admitted += 1
        elif reason is EarlyReason.SEEN:
            self.stats.seen += 1
        else:
            self.stats.refused += 1
        return reason

    def close(self) -> None:
        """Let go of the store, and close it if it was opened by URL. From now on early data is refused."""
        if self._guard is not None:
            self._guard.close()
        if self._own_store is not None:
            self._own_store.close()

    def __len__(self) -> int:
        """How many hellos this process remembers."""
        return self._size

    # --- in memory ---------------------------------------------------------------------------------------------------

    def _remember(self, key: bytes, now: float) -> EarlyReason | None:
        with self._lock:
            if not now >= self._latest - self.skew_s:
                return EarlyReason.CLOCK  # what is fresh again may be forgotten already
            self._latest = latest = max(self._latest, now)
            buckets = self._buckets
            while buckets and buckets[0][0] <= latest - self.kept_s:
                self._size -= len(buckets.popleft()[1])
            if any(key in held for _, held in buckets):
                return EarlyReason.SEEN
            if self._size >= self._capacity:
                return EarlyReason.REGISTER_FULL
            if not buckets or buckets[-1][0] < latest:
                buckets.append((latest + self.kept_s / _BUCKETS, set()))
            buckets[-1][1].add(key)
            self._size += 1
            return None

    # --- in the store ------------------------------------------------------------------------------------------------

    def _ask(self, guard: GuardedStore, key: bytes, now: float) -> EarlyReason | None:
        try:
            is_new, identity = guard.call(lambda: self._mark(guard.store, key, now))
        except StoreError:
            self.stats.store_errors += 1
            return EarlyReason.REGISTER_UNAVAILABLE
        if identity != self._identity:
            self._identity = identity
            self._ready_at = max(self._ready_at, now + self.kept_s)
        return None if is_new else EarlyReason.SEEN

    def _mark(self, store: SessionStore, key: bytes, now: float) -> tuple[bool, str]:
        """Whether the mark is new; and what the store tells of itself afterwards, which vouches for that."""
        is_new = store.add_once(self._prefix + key.hex(), now + self.kept_s)
        return is_new, self._look_at(store, now)

    def _look_at(self, store: SessionStore, now: float) -> str:
        """What tells this life of the store from another. Raises `StoreError` where marks may be dropped."""
        ask = getattr(store, "continuity", None)
        if ask is not None:
            continuity = cast("_Continuity", ask())
            if not continuity.keeps_marks:
                raise StoreError("the store may drop marks to make room: it cannot hold off replays")
            return f"{continuity.identity} {continuity.evicted}"
        sentinel = self._prefix + "sentinel"
        found = store.get(sentinel)
        if found is None:
            store.put(sentinel, self._random(16), now + _SENTINEL_LIFE_S)
            found = store.get(sentinel)  # of several that find none, all go by the last
        if found is None:
            raise StoreError("the store does not keep what it is given")
        return found.hex()

    # --- forks -------------------------------------------------------------------------------------------------------

    def _start_over_in_child(self) -> None:
        """What the parent remembers from now on is not known here."""
        self._start()


class SpentTickets:
    """Makes stateless tickets single-use: each is marked in a store when it resumes, for the rest of its life.

    A stateful ticket is spent by leaving the store, and needs no mark. All processes that can open a ticket must share
    the store. Marks are kept for as long as tickets live, so there must be room for all that are used in that time. A
    store that was emptied, or is an older copy of itself, may have lost marks: where it can tell (``continuity``),
    tickets from before are not trusted to it.
    """

    def __init__(self, store: SessionStore, *, timeout_s: float = 0.02, resume_if_unsure: bool = False) -> None:
        """The store stays the caller's. ``resume_if_unsure``: trouble with it costs the single use, and not (as it does
        otherwise) the resumption. ``timeout_s``: how long it is waited for, if it has no guard yet."""
        self._guard = (
            store if isinstance(store, GuardedStore) else GuardedStore(store, StoreLimits(timeout_s=timeout_s))
        )
        self._resume_if_unsure = resume_if_unsure

    @property
    def is_local(self) -> bool:
        """Whether `spend` never waits for anything outside this process."""
        return self._guard.is_local

    def spend(self, key: bytes, issued_at: float, expires_at: float) -> Reason | None:
        """Mark the ticket with this `spent_key`: None if it may be used now, else why not. May block."""
        guard = self._guard
        try:
            is_new, since = guard.call(lambda: self._mark(guard.store, "spent:" + key.hex(), expires_at))
        except StoreError:
            return self.when_unsure
        if not is_new:
            return Reason.ALREADY_SPENT
        return self.when_unsure if issued_at < since else None

    def _mark(self, store: SessionStore, key: str, expires_at: float) -> tuple[bool, float]:
        """Whether the mark is new; and from when on the store has all marks, which it tells afterwards."""
        is_new = store.add_once(key, expires_at)
        ask = getattr(store, "continuity", None)
        return is_new, float(ask().since) if ask is not None else 0.0

    @property
    def when_unsure(self) -> Reason | None:
        """What counts as the answer when there is none."""
        return None if self._resume_if_unsure else Reason.STORE_UNAVAILABLE
