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
from threading import RLock
from typing import Literal, get_args

from resumption.session.verdicts import Reason, Resumption

__all__ = ["COUNTERS", "CounterName", "SessionStats"]

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

    __slots__ = (*COUNTERS, "_lock", "_number", "_reasons")

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

    def record(self, resumption: Resumption) -> None:
        """Count how one handshake went: the reason, if it was not resumed."""
        reason = resumption.reason
        if not resumption.resumed and reason is not None:
            with self._lock:
                self._reasons[reason] = self._reasons.get(reason, 0) + 1

    def snapshot(self) -> dict[str, int]:
        """All counters of one moment, ``number`` first. For tables, metrics and JSON."""
        number = self._number()
        with self._lock:
            return {"number": number, **{name: getattr(self, name) for name in COUNTERS}}

    def __repr__(self) -> str:
        return f"<{', '.join(f'{name}: {value}' for name, value in self.snapshot().items() if value)}>"
