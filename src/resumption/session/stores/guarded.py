"""A store behind its guard: deadlines, a circuit breaker, a bound on what is under way, and a queue for writes.

Nothing that a store does can hold a handshake up for longer than the deadline. A lookup is made by a worker thread
(`session.stores.workers`) and given up when the time is over; its late answer is dropped. A store that is local
(``is_local``) is called directly: nothing in it can wait. What is to be kept or forgotten in others goes into a queue
that one thread writes out; when the queue is full the oldest entry is dropped. An entry that still waits there is found
by this process all the same.

Every trouble becomes `StoreUnavailable`, at once or at the deadline, and is counted by its kind. The breaker's probes
are lookups of a key that nobody has; no handshake waits for one.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, TypeVar, cast

from resumption.errors import ConfigurationError, StoreError
from resumption.session import forking
from resumption.session.stores.breaker import BreakerChange, BreakerPolicy, BreakerState, CircuitBreaker
from resumption.session.stores.store import Entry, SessionStore
from resumption.session.stores.workers import Workers

__all__ = [
    "CONNECTING_S",
    "LATENCY_BOUNDS_S",
    "PROBE_KEY",
    "GuardedStore",
    "Receipt",
    "StoreLimits",
    "StoreStats",
    "StoreUnavailable",
]

PROBE_KEY = "resumption:probe"
CONNECTING_S = 1.0
LATENCY_BOUNDS_S = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)

_WRITTEN_AT_ONCE = 64
_IDLE_S = 5.0  # seconds after which a writer without work ends
_log = logging.getLogger("resumption.store")

T = TypeVar("T")


class StoreUnavailable(StoreError):
    """The store did not answer, or was not even asked: ``cause`` is a word for statistics."""

    def __init__(self, cause: str, text: str) -> None:
        super().__init__(text)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """How much a store may cost. Times in seconds.

    ``timeout_s``: what a lookup may take, which is also the breaker's budget. ``in_flight``: lookups under way at a
    time. ``write_queue``: entries that wait to be written. ``write_wait_s``: how
    long after a handshake its tickets and the first data are held back at most until the store has the session, so
    that a client which returns at once is known elsewhere; only while the store is well, and 0 for not at all.
    ``failures`` within ``window_s`` open the breaker, which looks again every ``probe_every_s``. ``negative_entries``
    ids that the store did not know are not asked for again for ``negative_s``. ``close_wait_s``: how long closing waits
    for the queue. Raises `ConfigurationError`.
    """

    timeout_s: float = 0.02
    in_flight: int = 64
    write_queue: int = 1024
    write_wait_s: float = 0.05
    failures: int = 5
    window_s: float = 10.0
    probe_every_s: float = 1.0
    negative_entries: int = 4096
    negative_s: float = 5.0
    close_wait_s: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.timeout_s <= 60 or self.in_flight < 1 or self.write_queue < 1:
            raise ConfigurationError(
                "a store's timeout_s is above 0 and at most 60, its in_flight and write_queue 1 or more"
            )
        if self.negative_entries < 0 or not self.negative_s >= 0:
            raise ConfigurationError("negative_entries and negative_s are 0 or more")
        if not (0 <= self.close_wait_s <= 60 and 0 <= self.write_wait_s <= 60):
            raise ConfigurationError("close_wait_s and write_wait_s are from 0 to 60")
        self.breaker_policy()

    def breaker_policy(self) -> BreakerPolicy:
        """The breaker's share of the limits."""
        return BreakerPolicy(self.failures, self.window_s, self.timeout_s, self.probe_every_s)


@dataclass(slots=True)
class StoreStats:
    """Counts since the start, exact under any number of threads."""

    answered: int = 0  # lookups and marks that the store answered in time
    failed: int = 0  # ... that it failed
    timed_out: int = 0  # ... that were given up at the deadline
    refused_open: int = 0  # ... that were not made: the breaker was open
    refused_busy: int = 0  # ... that were not made: too many were under way
    queued: int = 0  # entries to be kept or forgotten
    written: int = 0  # ... of which the store has been told
    write_failures: int = 0  # ... which the store failed
    dropped: int = 0  # ... which made room in the queue
    probes: int = 0  # the breaker's
    latency: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BOUNDS_S) + 1))  # answered ones, by bound
    latency_sum_s: float = 0.0

    def snapshot(self) -> dict[str, int]:
        """The counts, by name."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name[:7] != "latency"}


class Receipt:
    """An entry on its way into the store, for one caller who waits until it is there."""

    __slots__ = ("_ends_at", "_guard", "_key", "_told")

    def __init__(self, guard: GuardedStore, key: str, told: threading.Lock) -> None:
        self._guard = guard
        self._key = key
        self._told = told
        self._ends_at = time.monotonic() + guard.limits.write_wait_s

    def wait(self) -> None:
        """Return when the store has it, or failed to take it, or its time is over."""
        if not self._told.acquire(timeout=max(0.0, self._ends_at - time.monotonic())):
            self._guard.unfollow(self._key)


class GuardedStore:
    """A `session.stores.store.SessionStore` that never takes long. Safe to share between threads and across forks.

    ``put`` and ``remove`` return at once, and raise nothing. The store itself belongs to whoever made it.
    """

    def __init__(
        self,
        store: SessionStore,
        limits: StoreLimits | None = None,
        *,
        on_change: Callable[[BreakerChange], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``on_change`` is told of every change of the breaker's state; what it raises is logged."""
        self.store = store
        self.limits = limits or StoreLimits()
        self.stats = StoreStats()
        self.on_change = on_change
        self.breaker = CircuitBreaker(self.limits.breaker_policy(), clock=clock, on_change=self._changed)
        self.is_local = bool(getattr(store, "is_local", False))
        self._put_many = cast("Callable[[list[Entry]], None] | None", getattr(store, "put_many", None))
        self.clock = clock
        self._workers = Workers(self.limits.in_flight, "resumption store")
        self._start_over()
        self._is_closed = False
        forking.watch(self)

    def _start_over(self) -> None:
        self._lock = threading.Lock()
        self._news = threading.Condition(self._lock)
        self._waiting: OrderedDict[str, tuple[bytes, float] | None] = OrderedDict()  # None: to be forgotten
        self._writing: frozenset[str] = frozenset()
        self._writer: threading.Thread | None = None
        self._followers: dict[str, list[Callable[[], object]]] = {}
        self._is_well = True  # the latest that was heard of the store was good

    def _count(self, name: str, by: int = 1) -> None:
        with self._lock:
            setattr(self.stats, name, getattr(self.stats, name) + by)

    # --- lookups -----------------------------------------------------------------------------------------------------

    def get(self, key: str, other: str | None = None) -> bytes | None:
        """As the store's. Raises `StoreUnavailable`."""
        found, value = self.waiting((key, other), take=False)
        return value if found else self.call(lambda: self.store.get(key, other))

    def take(self, key: str, other: str | None = None) -> bytes | None:
        """As the store's. Raises `StoreUnavailable`: the value may then have been taken for nobody."""
        found, value = self.waiting((key, other), take=True)
        return value if found else self.call(lambda: self.store.take(key, other))

    def add_once(self, key: str, expires_at: float) -> bool:
        """As the store's. Raises `StoreUnavailable`: the mark may then have been set."""
        return self.call(lambda: self.store.add_once(key, expires_at))

    def continuity(self) -> Any:
        """As the store's. Raises `StoreUnavailable`, also if the store cannot tell."""
        tell = getattr(self.store, "continuity", None)
        if tell is None:
            raise StoreUnavailable("silent", "this store cannot tell whether it has forgotten anything")
        return self.call(tell)

    def waiting(self, keys: tuple[str | None, ...], *, take: bool) -> tuple[bool, bytes | None]:
        """What the queue says of these keys: whether it decides, and the value. What is taken here is never written."""
        if not self._waiting:  # as a rule
            return False, None
        with self._lock:
            for name in keys:
                if name is not None and name in self._waiting:
                    entry = self._waiting.pop(name) if take else self._waiting[name]
                    return True, entry[0] if entry is not None else None
        return False, None

    def call(self, call: Callable[[], T]) -> T:
        """Make a call to the store within the deadline. Raises `StoreUnavailable`."""
        self.admit()
        started = self.clock()
        if self.is_local:
            try:
                result = call()
            except Exception as error:
                raise self.failed(error) from error
            self.answered(started)
            return result
        job = self._workers.submit(call)
        if job is None:
            raise self.busy()
        if not job.wait(self.limits.timeout_s):
            raise self.timed_out()
        if job.error is not None:
            raise self.failed(job.error) from job.error
        self.answered(started)
        return cast("T", job.result)

    # What a lookup reports, wherever it is made.

    def admit(self) -> None:
        """Raise `StoreUnavailable` if the store may not be asked now; from time to time this sends a probe."""
        if self.breaker.is_closed:
            return
        if self.breaker.begins_probe():
            self._probe()
        self._count("refused_open")
        raise StoreUnavailable("open", "the store is in trouble: its circuit breaker is open")

    def answered(self, started: float) -> None:
        """A call that began at ``started`` came back."""
        took = self.clock() - started
        stats = self.stats
        with self._lock:
            stats.answered += 1
            stats.latency_sum_s += took
            stats.latency[bisect_left(LATENCY_BOUNDS_S, took)] += 1
            self._is_well = True
        self.breaker.succeeded(took)

    def failed(self, error: Exception) -> StoreUnavailable:
        """A call raised ``error``: the exception to raise instead."""
        self._count("failed")
        self._is_well = False
        self.breaker.failed(type(error).__name__)
        return StoreUnavailable("failed", f"the store failed: {type(error).__name__}")

    def timed_out(self) -> StoreUnavailable:
        """A call was given up: the exception to raise."""
        self._count("timed_out")
        self._is_well = False
        self.breaker.failed("no answer in time")
        return StoreUnavailable("timed-out", f"the store did not answer within {self.limits.timeout_s * 1000:g} ms")

    def busy(self) -> StoreUnavailable:
        """A call cannot be made for want of room: the exception to raise."""
        self._count("refused_busy")
        return StoreUnavailable("busy", f"{self.limits.in_flight} calls to the store are under way")

    def submit(self, call: Callable[[], T], then: Callable[[Any], object]) -> bool:
        """Have a worker make ``call`` and hand the job to ``then``; False if there is no room. For event loops."""
        return self._workers.submit(call, then) is not None

    @property
    def in_flight(self) -> int:
        """How many calls the workers are making now."""
        return self._workers.under_way

    def connect(self) -> None:
        """Ask the store something now, so that the first handshakes find it connected. Before there are any: this may
        take a second. Raises and counts nothing."""
        if not self.is_local:
            # In a thread that is gone afterwards: servers fork next, and none should be there then.
            thread = threading.Thread(target=self._look_quietly, name="resumption store connector", daemon=True)
            thread.start()
            thread.join(CONNECTING_S)

    def _look_quietly(self) -> None:
        with contextlib.suppress(Exception):  # a store may be anyone's code, and is asked again soon
            self.look()

    def look(self) -> bytes | None:
        """A lookup of a key that nobody has, by the calling thread."""
        return self.store.get(PROBE_KEY)

    def _probe(self) -> None:
        self._count("probes")
        started = self.clock()

        def probed(job: Any) -> None:
            self.breaker.probed(job.error is None and self.clock() - started <= self.limits.timeout_s)

        if self._workers.submit(self.look, probed) is None:
            self.breaker.probed(False)

    def _changed(self, change: BreakerChange) -> None:
        level = logging.WARNING if change.after is BreakerState.OPEN else logging.INFO
        _log.log(level, "store breaker: %s -> %s (%s)", change.before, change.after, change.cause)
        with self._news:
            self._news.notify_all()  # the writer may go on
        if self.on_change is not None:
            try:
                self.on_change(change)
            except Exception:
                _log.exception("a callback for the breaker failed")

    # --- writes ------------------------------------------------------------------------------------------------------

    def put(self, key: str, value: bytes, expires_at: float) -> None:
        """Have a value kept, soon."""
        self._queue(key, (value, expires_at))

    def remove(self, key: str, other: str | None = None) -> None:
        """Have values forgotten, soon."""
        for name in (key, other):
            if name is not None:
                self._queue(name, None)

    def _queue(self, key: str, entry: tuple[bytes, float] | None) -> None:
        if self.is_local:
            self._count("queued")
            if self.breaker.is_closed:
                self._write([(key, entry)])
            else:
                self._count("dropped")
            return
        with self._news:
            if self._is_closed:
                return
            self.stats.queued += 1
            if self._waiting.pop(key, self) is not self:
                self.stats.dropped += 1  # what came before is not worth writing any more
            elif len(self._waiting) >= self.limits.write_queue:
                self._followers.pop(self._waiting.popitem(last=False)[0], None)  # they have waited long enough
                self.stats.dropped += 1
            self._waiting[key] = entry
            if self._writer is None:
                self._writer = threading.Thread(target=self._write_out, name="resumption store writer", daemon=True)
                self._writer.start()
            self._news.notify_all()

    def follow(self, key: str, done: Callable[[], object]) -> bool:
        """Have ``done`` called as soon as the store was told of ``key``, or failed to take it. False if it never will
        be, since there is nothing to wait for, or no good reason to hope."""
        with self._lock:
            if (
                not self._is_well
                or not self.breaker.is_closed
                or not self.limits.write_wait_s
                or len(self._waiting) > _WRITTEN_AT_ONCE
                or (key not in self._waiting and key not in self._writing)
            ):
                return False
            self._followers.setdefault(key, []).append(done)
            return True

    def unfollow(self, key: str) -> None:
        """``key`` was waited for in vain. Nobody waits for others until the store is heard of again: a connection with
        several tickets is to pay for a slow store once."""
        with self._lock:
            self._followers.pop(key, None)
            self._is_well = False

    def receipt(self, key: str) -> Receipt | None:
        """To wait until the store was told of ``key``, with ``write_wait_s`` from now on; None if nobody has to."""
        told = threading.Lock()
        told.acquire()
        return Receipt(self, key, told) if self.follow(key, told.release) else None

    def _tell_followers(self, keys: list[str]) -> None:
        with self._lock:
            self._writing = frozenset()  # at once: who begins to follow from here on would never be told
            told = [done for key in keys for done in self._followers.pop(key, ())]
        for done in told:
            done()

    @property
    def queue_length(self) -> int:
        """How many entries wait to be written."""
        return len(self._waiting)

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything in the queue was written, or failed. False if that takes longer."""
        deadline = time.monotonic() + timeout_s
        with self._news:
            while self._waiting or self._writing:
                left = deadline - time.monotonic()
                if left <= 0 or self._writer is None:
                    return False
                self._news.wait(left)
            return True

    def _write_out(self) -> None:
        """The writer's life: batches out of the queue, as long as the breaker is closed."""
        while True:
            with self._news:
                self._writing = frozenset()
                self._news.notify_all()
                while not self._waiting and not self._is_closed:
                    if not self._news.wait(_IDLE_S) and not self._waiting:
                        self._writer = None
                        return
                if self._is_closed and (not self._waiting or not self.breaker.is_closed):
                    return
                if not self.breaker.is_closed:
                    self._news.wait(self.limits.probe_every_s / 4)
                    batch = []
                else:
                    count = min(len(self._waiting), _WRITTEN_AT_ONCE)
                    batch = [self._waiting.popitem(last=False) for _ in range(count)]
                    self._writing = frozenset(key for key, _ in batch)
            if batch:
                self._write(batch)
                self._tell_followers([key for key, _ in batch])
            elif self.breaker.begins_probe():
                self._probe()

    def _write(self, batch: list[tuple[str, tuple[bytes, float] | None]]) -> None:
        puts = [(key, *entry) for key, entry in batch if entry is not None]
        gone = [key for key, entry in batch if entry is None]
        calls: list[tuple[int, Callable[[], object]]] = [(1, partial(self.store.remove, key)) for key in gone]
        if self._put_many is not None and len(puts) > 1:
            calls.append((len(puts), partial(self._put_many, puts)))
        else:
            calls += [(1, partial(self.store.put, *entry)) for entry in puts]
        for count, call in calls:
            try:
                call()
            except Exception as error:  # a store may be anyone's code
                self._count("write_failures", count)
                self._is_well = False
                self.breaker.failed(type(error).__name__)
            else:
                self._count("written", count)
                self._is_well = True

    # --- the end, and forks ------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Wait a moment for the queue, then let the threads go. The store stays open."""
        self.flush(self.limits.close_wait_s if self.breaker.is_closed else 0.0)
        with self._news:
            self._is_closed = True
            self._waiting.clear()
            self._news.notify_all()
        self._workers.close()

    def before_fork(self) -> None:
        """Let a change of the queue finish first."""
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """What waits is the parent's to write."""
        self._start_over()
