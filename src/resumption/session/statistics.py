"""What a context counts: OpenSSL's eleven session counters, and every reason for which a connection was not resumed.

A context's cache owns one `SessionStats`. The cache counts what it sees itself (misses, evictions, expired sessions,
finished handshakes); the connection reports the rest. Counting is exact under any number of threads. Reading is a
plain look at an attribute, so two counters read one after the other may belong to slightly different moments;
`SessionStats.snapshot` has them together.

The numbers are OpenSSL's, so that they can be compared. Two of them surprise people: ``misses`` counts lookups in the
internal cache that found nothing, even if a store outside has the session, and even if the client only sent an id for
compatibility; and on a server ``hits`` counts when an offered session passed the gate, before the peer's Finished.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from threading import RLock
from typing import Any, Literal, get_args

from resumption.session.early import EarlyData, EarlyReason, EarlyState
from resumption.session.verdicts import Mechanism, Reason, Resumption

__all__ = ["COUNTERS", "ContextStats", "CounterName", "SessionStats", "StoreReport"]

CounterName = Literal[
    "connect",
    "connect_renegotiate",
    "connect_good",
    "accept",
    "accept_renegotiate",
    "accept_good",
    "hits",
    "misses",
    "timeouts",
    "cb_hits",
    "cache_full",
]
COUNTERS: tuple[CounterName, ...] = get_args(CounterName)  # in the order in which OpenSSL's s_server prints them


class SessionStats:
    """The counters of one context (SSL_CTX_sess_*). They only ever grow; only `number` is a state."""

    __slots__ = (*COUNTERS, "_early", "_full", "_lock", "_number", "_reasons", "_resumed")

    connect: int  # clients: handshakes begun
    connect_renegotiate: int  # always 0: there is no renegotiation here
    connect_good: int  # clients: handshakes finished
    accept: int  # servers: handshakes begun
    accept_renegotiate: int  # always 0
    accept_good: int  # servers: handshakes finished
    hits: int  # sessions that resumed: seen from the server, passed the gate
    misses: int  # server: lookups that found nothing here; client: offered sessions that did not resume
    timeouts: int  # server: sessions found, but expired
    cb_hits: int  # sessions that came from outside: a callback, or a store
    cache_full: int  # sessions evicted to make room

    def __init__(self, number: Callable[[], int] = int, lock: AbstractContextManager[bool] | None = None) -> None:
        """``number`` tells how many sessions there are; a cache lends its own lock, so that a fork finds it free."""
        self._lock = RLock() if lock is None else lock
        self._number = number
        self._reasons: dict[Reason, int] = {}
        self._resumed: dict[Mechanism | None, int] = {}
        self._early: dict[EarlyState | EarlyReason, int] = {}
        self._full = 0
        for name in COUNTERS:
            setattr(self, name, 0)

    @property
    def number(self) -> int:
        """How many sessions the cache holds now."""
        return self._number()

    @property
    def reasons(self) -> dict[Reason, int]:
        """How often each reason kept a connection from being resumed. A copy."""
        with self._lock:
            return dict(self._reasons)

    def count(self, name: CounterName, by: int = 1) -> int:
        """Add to one counter, and return what it was before."""
        with self._lock:
            before: int = getattr(self, name)
            setattr(self, name, before + by)
            return before

    @property
    def resumed(self) -> dict[Mechanism | None, int]:
        """How many handshakes were resumed, by each mechanism. A copy."""
        with self._lock:
            return dict(self._resumed)

    @property
    def full(self) -> int:
        """How many handshakes were completed without a session, for a reason or for none."""
        return self._full

    def record(self, resumption: Resumption) -> None:
        """Count how one handshake went: by what it was resumed, or the reason why not."""
        reason, mechanism = resumption.reason, resumption.mechanism
        with self._lock:
            if resumption.resumed:
                self._resumed[mechanism] = self._resumed.get(mechanism, 0) + 1
                return
            self._full += 1
            if reason is not None:
                self._reasons[reason] = self._reasons.get(reason, 0) + 1

    @property
    def early(self) -> dict[EarlyState | EarlyReason, int]:
        """How often early data was accepted, and each reason for which it was not sent or was rejected. A copy."""
        with self._lock:
            return dict(self._early)

    def record_early(self, early: EarlyData) -> None:
        """Count what became of the early data of one connection that was to have some."""
        what = early.state if early.reason is None else early.reason
        with self._lock:
            self._early[what] = self._early.get(what, 0) + 1

    def snapshot(self) -> dict[str, int]:
        """All counters of one moment, ``number`` first. For tables, metrics and JSON."""
        number = self._number()
        with self._lock:
            return {"number": number, **{name: getattr(self, name) for name in COUNTERS}}

    def __repr__(self) -> str:
        return f"<{', '.join(f'{name}: {value}' for name, value in self.snapshot().items() if value)}>"


@dataclass(frozen=True, slots=True)
class StoreReport:
    """What became of the sessions that a server shares, and how its store does.

    ``sessions`` counts saves and lookups of sessions, ``calls`` what the store was asked and told, by result;
    ``latency`` holds pairs of an upper bound in seconds and the number of answers that took no longer, the last bound
    infinite; ``latency_sum_s`` is their sum. ``breaker`` is the circuit breaker's state; it ``opened`` so often.
    """

    sessions: dict[str, int]
    calls: dict[str, int]
    latency: tuple[tuple[float, int], ...]
    latency_sum_s: float
    breaker: str
    opened: int
    queue_length: int
    in_flight: int
    limits: dict[str, float]


@dataclass(frozen=True, slots=True)
class ContextStats:
    """Everything that a context counts, of about one moment. Keys are the stable words of counters and reasons."""

    name: str
    role: str  # "client" or "server"
    counters: dict[str, int]  # OpenSSL's, with ``number``: how many sessions the cache holds
    resumed: dict[str, int]  # by mechanism
    full: int
    reasons: dict[str, int]  # of the full ones that have one
    early: dict[str, int] = field(default_factory=dict)  # early data: "accepted", or the reason why not
    tickets: dict[str, int] = field(default_factory=dict)  # what the ticket keys sealed and opened
    store: StoreReport | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON; an infinite bound is written as text."""
        facts = asdict(self)
        if self.store is not None:
            facts["store"]["latency"] = [
                ["+Inf" if bound == float("inf") else bound, count] for bound, count in self.store.latency
            ]
        return facts
