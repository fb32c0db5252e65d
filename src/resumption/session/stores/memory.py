"""Sessions in this process's memory: the plainest store, and the measure for the others.

It is bounded in entries and in bytes; the oldest go first. It is not shared: a forked child starts with an empty store,
because two processes that both believed to hold the only copy of a value would both spend it.
"""

from __future__ import annotations

import itertools
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Self

from resumption.errors import ConfigurationError, StoreError
from resumption.session import forking
from resumption.session.stores.addresses import Options, parse_local
from resumption.session.stores.store import Continuity, StoredEntry

__all__ = ["MemoryStore"]

_LONGEST_VALUE = 65_536
_OPTIONS: Options = {"max_entries": int, "max_marks": int, "max_bytes": int}
_SWEPT_PER_CALL = 4  # entries looked at per insertion: more than come in, so expired ones do not pile up


class MemoryStore(forking.LockedAtFork):
    """A `session.stores.store.SessionStore` in memory. Safe to share between threads; never blocks for long."""

    is_local = True

    def __init__(
        self,
        *,
        max_entries: int = 20_480,
        max_marks: int = 250_000,
        max_bytes: int = 64 << 20,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """At most ``max_entries`` values of ``max_bytes`` bytes together, and ``max_marks`` marks."""
        if max_entries < 1 or max_marks < 1 or max_bytes < _LONGEST_VALUE:
            raise ConfigurationError(f"a store needs room for one entry, one mark and {_LONGEST_VALUE} bytes at least")
        self._max_entries = max_entries
        self._max_marks = max_marks
        self._max_bytes = max_bytes
        self._clock = clock
        self._values: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        self._marks: OrderedDict[str, float] = OrderedDict()
        self._bytes = 0
        self._identity = secrets.token_hex(16)
        self._since = clock()
        self._is_closed = False
        self._lock = threading.Lock()
        forking.watch(self)

    @classmethod
    def from_url(cls, url: str, *, timeout_s: float = 0.0) -> Self:
        """``memory:``, with the keywords of the class as options. Raises `ConfigurationError`."""
        return cls(**parse_local(url, _OPTIONS, has_path=False)[1])

    def get(self, key: str, other: str | None = None) -> bytes | None:
        """The value under ``key``, else that under ``other``."""
        now = self._clock()
        with self._lock:
            self._check_open()
            for name in (key,) if other is None else (key, other):
                entry = self._values.get(name)
                if entry is not None and now < entry[1]:
                    return entry[0]
            return None

    def take(self, key: str, other: str | None = None) -> bytes | None:
        """As `get`, and both are removed, in one step."""
        now = self._clock()
        found = None
        with self._lock:
            self._check_open()
            for name in (key,) if other is None else (key, other):
                entry = self._drop(name)
                if found is None and entry is not None and now < entry[1]:
                    found = entry[0]
            return found

    def put(self, key: str, value: bytes, expires_at: float) -> None:
        """Keep ``value`` until ``expires_at``; the oldest make room for it."""
        if len(value) > _LONGEST_VALUE:
            raise StoreError(f"a value of {len(value)} bytes is over the limit of {_LONGEST_VALUE}")
        now = self._clock()
        with self._lock:
            self._check_open()
            self._insert(key, value, expires_at, now)

    def put_if_absent(self, key: str, value: bytes, expires_at: float) -> bytes:
        """Keep ``value`` unless there is one, in one step; returns the one that is there afterwards."""
        if len(value) > _LONGEST_VALUE:
            raise StoreError(f"a value of {len(value)} bytes is over the limit of {_LONGEST_VALUE}")
        now = self._clock()
        with self._lock:
            self._check_open()
            entry = self._values.get(key)
            if entry is not None and now < entry[1]:
                return entry[0]
            self._insert(key, value, expires_at, now)
            return value

    def remove(self, key: str, other: str | None = None) -> None:
        """Forget the values under ``key`` and ``other``."""
        with self._lock:
            self._check_open()
            self._drop(key)
            if other is not None:
                self._drop(other)

    def add_once(self, key: str, expires_at: float) -> bool:
        """Set a mark; True only if there is none. Raises `StoreError` when all room is taken by live marks."""
        now = self._clock()
        with self._lock:
            self._check_open()
            until = self._marks.get(key)
            if (until is not None and now < until) or not now < expires_at:
                return False
            self._marks.pop(key, None)
            for _ in range(_SWEPT_PER_CALL):
                self._sweep_mark(now)
            if len(self._marks) >= self._max_marks:
                raise StoreError(f"no room for another mark: {self._max_marks} are live")
            self._marks[key] = expires_at
            return True

    def continuity(self) -> Continuity:
        """Whether the store is still what it was: this object, in this process."""
        return Continuity(identity=self._identity, evicted=0, keeps_marks=True, since=self._since)

    def entries(self, prefix: str, limit: int) -> list[StoredEntry]:
        """Some of the values whose keys begin with ``prefix``, ``limit`` at most."""
        now = self._clock()
        with self._lock:
            self._check_open()
            found = (
                StoredEntry(key, len(value), expires_at)
                for key, (value, expires_at) in self._values.items()
                if key.startswith(prefix) and now < expires_at
            )
            return list(itertools.islice(found, limit))

    def clear(self, prefix: str) -> int:
        """Drop the values whose keys begin with ``prefix``. Returns how many there were."""
        with self._lock:
            self._check_open()
            keys = [key for key in self._values if key.startswith(prefix)]
            for key in keys:
                self._drop(key)
            return len(keys)

    def describe(self) -> dict[str, object]:
        """Facts for operators."""
        with self._lock:
            return {"kind": "memory", "values": len(self._values), "marks": len(self._marks), "bytes": self._bytes}

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._clear()
            self._is_closed = True

    def __len__(self) -> int:
        """How many values there are, expired ones included until they are swept."""
        return len(self._values)

    # --- inside; the lock is held ------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._is_closed:
            raise StoreError("the store is closed")

    def _insert(self, key: str, value: bytes, expires_at: float, now: float) -> None:
        self._drop(key)
        if not now < expires_at:
            return
        self._values[key] = (value, expires_at)
        self._bytes += len(value)
        self._sweep(now)
        while len(self._values) > self._max_entries or self._bytes > self._max_bytes:
            self._drop(next(iter(self._values)))

    def _drop(self, key: str) -> tuple[bytes, float] | None:
        entry = self._values.pop(key, None)
        if entry is not None:
            self._bytes -= len(entry[0])
        return entry

    def _sweep(self, now: float) -> None:
        """Drop expired values from the old end, until one is live."""
        for _ in range(_SWEPT_PER_CALL):
            key = next(iter(self._values))
            if now < self._values[key][1]:
                return
            self._drop(key)

    def _sweep_mark(self, now: float) -> None:
        """Look at the oldest mark: drop it if it has expired, else send it to the back of the queue."""
        key = next(iter(self._marks), None)
        if key is None:
            return
        if now < self._marks[key]:
            self._marks.move_to_end(key)
        else:
            del self._marks[key]

    def _clear(self) -> None:
        self._values.clear()
        self._marks.clear()
        self._bytes = 0

    # --- forks -------------------------------------------------------------------------------------------------------

    def _start_over_in_child(self) -> None:
        """Begin empty: what the parent holds is the parent's to spend."""
        self._clear()
        self._identity = secrets.token_hex(16)
        self._since = self._clock()
