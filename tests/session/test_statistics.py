"""The counters: exact under threads, complete, readable."""

from __future__ import annotations

import threading

from resumption.session.statistics import COUNTERS, SessionStats
from resumption.session.verdicts import Mechanism, Reason, Resumption


def test_the_counters_are_openssls_eleven_and_start_at_nothing() -> None:
    stats = SessionStats()
    assert sorted(COUNTERS) == sorted(
        [
            "connect",
            "connect_good",
            "connect_renegotiate",
            "accept",
            "accept_good",
            "accept_renegotiate",
            "hits",
            "cb_hits",
            "misses",
            "timeouts",
            "cache_full",
        ]
    )
    assert stats.snapshot() == {"number": 0, **dict.fromkeys(COUNTERS, 0)}
    assert repr(stats) == "<>"
    assert stats.reasons == {}


def test_counting_returns_what_it_was_before() -> None:
    stats = SessionStats(lambda: 7)
    assert [stats.count("hits"), stats.count("hits", 3), stats.count("hits")] == [0, 1, 4]
    assert (stats.hits, stats.misses, stats.number) == (5, 0, 7)
    assert list(stats.snapshot())[:2] == ["number", "connect"]
    assert repr(stats) == "<number: 7, hits: 5>"


def test_reasons_are_counted_for_connections_that_were_not_resumed() -> None:
    stats = SessionStats()
    stats.record(Resumption(False, Reason.EXPIRED))
    stats.record(Resumption(False, Reason.EXPIRED))
    stats.record(Resumption(False, Reason.OTHER_NAME))
    stats.record(Resumption(False))
    stats.record(Resumption(True, mechanism=Mechanism.SESSION_ID))
    assert stats.reasons == {Reason.EXPIRED: 2, Reason.OTHER_NAME: 1}
    stats.reasons.clear()  # a copy
    assert stats.reasons[Reason.EXPIRED] == 2


def test_counting_is_exact_under_threads() -> None:
    stats = SessionStats()
    befores: list[int] = []

    def work() -> None:
        befores.extend([stats.count("accept") for _ in range(2_000)])
        for _ in range(500):
            stats.record(Resumption(False, Reason.EXPIRED))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stats.accept == 16_000
    assert sorted(befores) == list(range(16_000))
    assert stats.reasons == {Reason.EXPIRED: 4_000}
