"""The circuit breaker in front of a store: when it is in trouble, nobody waits for it.

Closed, calls go through, and each reports how it went. After ``failures`` failures within ``window_s``, or when more
than one call in twenty took longer than the budget, the breaker opens: calls are refused at once. About once a second,
with some jitter so that a fleet does not knock in step, it is half open for one probe, which no handshake waits for; an
answer closes it.

It does no I/O and starts no threads: who calls the store asks here first. Time is monotonic, in seconds.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from resumption.errors import ConfigurationError

__all__ = ["BreakerChange", "BreakerPolicy", "BreakerState", "CircuitBreaker"]

_LEAST_SAMPLES = 20  # fewer say nothing about the slowest twentieth
_MOST_SAMPLES = 512


class BreakerState(StrEnum):
    """What becomes of a call: it is made; refused; refused, while one probe is under way."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class BreakerChange(NamedTuple):
    """An event: the breaker went from one state to another, and why."""

    before: BreakerState
    after: BreakerState
    cause: str


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When to open, and when to look again. All in seconds but for ``failures``; ``jitter`` is a share of the wait."""

    failures: int = 5
    window_s: float = 10.0
    budget_s: float = 0.02
    probe_every_s: float = 1.0
    jitter: float = 0.25

    def __post_init__(self) -> None:
        if self.failures < 1 or not (self.window_s > 0 and self.budget_s > 0 and self.probe_every_s > 0):
            raise ConfigurationError("a circuit breaker needs one failure or more, and times above 0")
        if not 0 <= self.jitter < 1:
            raise ConfigurationError("a circuit breaker's jitter is a share from 0 to below 1")


class CircuitBreaker:
    """One store's breaker. Safe to share between threads; its lock is held for bookkeeping only."""

    def __init__(
        self,
        policy: BreakerPolicy | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[int], bytes] = os.urandom,
        on_change: Callable[[BreakerChange], object] | None = None,
    ) -> None:
        """``on_change`` is called after each change of state, outside the lock, by the thread that caused it."""
        self.policy = policy or BreakerPolicy()
        self.on_change = on_change
        self.is_closed = True  # an attribute: every call reads it
        self.opened = 0  # how often it has opened
        self._state = BreakerState.CLOSED
        self._clock = clock
        self._random = random
        self._lock = threading.Lock()
        self._probe_at = 0.0
        self._failures: deque[float] = deque(maxlen=self.policy.failures)
        self._calls: deque[tuple[float, bool]] = deque()  # when each ended, and whether it was slow
        self._slow = 0

    @property
    def state(self) -> BreakerState:
        """The state now."""
        return self._state

    def succeeded(self, took_s: float) -> None:
        """A call was answered after ``took_s`` seconds."""
        self._count_call(took_s > self.policy.budget_s)

    def failed(self, cause: str = "failures") -> None:
        """A call failed, or was given up."""
        now = self._clock()
        change = None
        with self._lock:
            failures = self._failures
            failures.append(now)
            if self.is_closed and len(failures) == self.policy.failures and now - failures[0] <= self.policy.window_s:
                change = self._open(now, f"{len(failures)} failures within {self.policy.window_s:g} s: {cause}")
        self._tell(change)

    def begins_probe(self) -> bool:
        """True for one caller, when it is time to look again: it makes one call and reports by `probed`."""
        if self.is_closed or self._clock() < self._probe_at:
            return False
        now = self._clock()
        with self._lock:
            if self.is_closed or now < self._probe_at:
                return False
            self._probe_at = now + self._wait()  # also if this probe is never heard of again
            change = self._change(BreakerState.HALF_OPEN, "time to look again") if self._is_open else None
        self._tell(change)
        return True

    def probed(self, answered: bool) -> None:
        """The probe came back."""
        now = self._clock()
        change = None
        with self._lock:
            if self.is_closed:
                return
            if answered:
                self._failures.clear()
                self._calls.clear()
                self._slow = 0
                self.is_closed = True
                change = self._change(BreakerState.CLOSED, "a probe was answered in time")
            else:
                self._probe_at = now + self._wait()
                if self._state is BreakerState.HALF_OPEN:
                    change = self._change(BreakerState.OPEN, "a probe was not answered in time")
        self._tell(change)

    # --- inside; the lock is held but for the last -------------------------------------------------------------------

    def _count_call(self, slow: bool) -> None:
        now = self._clock()
        change = None
        with self._lock:
            calls = self._calls
            calls.append((now, slow))
            self._slow += slow
            earliest = now - self.policy.window_s
            while calls[0][0] < earliest or len(calls) > _MOST_SAMPLES:
                self._slow -= calls.popleft()[1]
            if slow and self.is_closed and len(calls) >= _LEAST_SAMPLES and self._slow * 20 > len(calls):
                change = self._open(
                    now, f"{self._slow} of {len(calls)} calls took over {self.policy.budget_s * 1000:g} ms"
                )
        self._tell(change)

    @property
    def _is_open(self) -> bool:
        return self._state is BreakerState.OPEN

    def _open(self, now: float, cause: str) -> BreakerChange:
        self.is_closed = False
        self.opened += 1
        self._probe_at = now + self._wait()
        return self._change(BreakerState.OPEN, cause)

    def _wait(self) -> float:
        share = int.from_bytes(self._random(2), "big") / 32_768 - 1.0
        return self.policy.probe_every_s * (1.0 + share * self.policy.jitter)

    def _change(self, after: BreakerState, cause: str) -> BreakerChange:
        change = BreakerChange(self._state, after, cause)
        self._state = after
        return change

    def _tell(self, change: BreakerChange | None) -> None:
        if change is not None and self.on_change is not None:
            self.on_change(change)
