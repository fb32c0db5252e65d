"""A store in every kind of trouble, and what it may cost."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from resumption.errors import ConfigurationError, StoreError
from resumption.session.stores.breaker import BreakerChange, BreakerState
from resumption.session.stores.guarded import GuardedStore, StoreLimits, StoreUnavailable
from resumption.session.stores.memory import MemoryStore
from resumption.session.stores.workers import Workers
from tests.session.test_forking import in_child
from tests.session.test_store import needs_fork
from tests.store_servers import until

LATER = 1e11
PATIENT = StoreLimits(timeout_s=10.0)


class Remote:
    """A store elsewhere: its calls can be held up, and made to fail."""

    def __init__(self) -> None:
        self.inner = MemoryStore()
        self.free = threading.Event()
        self.free.set()
        self.error: Exception | None = None
        self.calls: list[str] = []
        self.arrived = threading.Semaphore(0)

    def _make(self, name: str, *args: Any) -> Any:
        self.calls.append(name)
        self.arrived.release()
        self.free.wait(20)
        if self.error is not None:
            raise self.error
        return getattr(self.inner, name)(*args)

    def get(self, key: str, other: str | None = None) -> bytes | None:
        return self._make("get", key, other)  # type: ignore[no-any-return]

    def take(self, key: str, other: str | None = None) -> bytes | None:
        return self._make("take", key, other)  # type: ignore[no-any-return]

    def put(self, key: str, value: bytes, expires_at: float) -> None:
        self._make("put", key, value, expires_at)

    def remove(self, key: str, other: str | None = None) -> None:
        self._make("remove", key, other)

    def add_once(self, key: str, expires_at: float) -> bool:
        return self._make("add_once", key, expires_at)  # type: ignore[no-any-return]

    def close(self) -> None:
        pass


@pytest.fixture
def store() -> Iterator[Remote]:
    store = Remote()
    yield store
    store.free.set()


@pytest.fixture
def guard(store: Remote) -> Iterator[Callable[..., GuardedStore]]:
    made: list[GuardedStore] = []

    def guard(limits: StoreLimits = PATIENT, **options: Any) -> GuardedStore:
        made.append(GuardedStore(store, limits, **options))
        return made[-1]

    yield guard
    store.free.set()
    for one in made:
        one.close()


Guard = Callable[..., GuardedStore]


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(StoreUnavailable) as caught:
        call()
    return caught.value.cause


def test_a_store_that_works_is_what_it_was(guard: Guard) -> None:
    guarded = guard()
    guarded.put("k", b"v", LATER)
    assert guarded.flush(10)
    assert guarded.get("k") == b"v"
    assert guarded.get("x", "k") == b"v"
    assert guarded.take("k") == b"v"
    assert guarded.take("k") is None
    guarded.put("k", b"v", LATER)
    guarded.remove("k")
    assert guarded.flush(10)
    assert guarded.get("k") is None
    assert guarded.add_once("m", LATER)
    assert not guarded.add_once("m", LATER)
    stats = guarded.stats.snapshot()
    assert stats["answered"] == 7
    assert stats["queued"] == 3
    assert stats["written"] + stats["dropped"] == 3
    assert sum(guarded.stats.latency) == 7
    assert guarded.stats.latency_sum_s > 0


def test_f74_a_silent_store_costs_the_deadline_and_its_late_answer_is_dropped(store: Remote, guard: Guard) -> None:
    guarded = guard(StoreLimits(timeout_s=0.05))
    store.inner.put("k", b"v", LATER)
    store.free.clear()
    started = time.monotonic()
    assert refused(lambda: guarded.take("k")) == "timed-out"
    assert 0.04 < time.monotonic() - started < 2.0
    store.free.set()
    until(lambda: not guarded.in_flight, "back from the store")
    assert refused_or(lambda: guarded.get("k")) is None, "what was taken for nobody is spent"
    assert guarded.stats.timed_out >= 1


def refused_or(call: Callable[[], Any]) -> Any:
    """The answer, as soon as the store is quick enough."""
    for _ in range(200):
        try:
            return call()
        except StoreUnavailable:
            pass
    raise AssertionError("the store never answered")


def test_f74_after_five_failures_nobody_waits_any_more(store: Remote, guard: Guard) -> None:
    now = [0.0]
    told: list[BreakerChange] = []
    guarded = guard(StoreLimits(timeout_s=0.02), on_change=told.append, clock=lambda: now[0])
    store.free.clear()
    for _ in range(5):
        assert refused(lambda: guarded.get("k")) == "timed-out"
    asked = len(store.calls)
    assert [refused(lambda: guarded.get("k")) for _ in range(1000)] == ["open"] * 1000
    assert len(store.calls) == asked
    assert [change.after for change in told] == [BreakerState.OPEN]
    now[0] += 2.0
    assert refused(lambda: guarded.get("k")) == "open", "the probe is not waited for"
    for _ in range(asked + 1):
        assert store.arrived.acquire(timeout=10)
    assert guarded.stats.probes == 1
    assert store.calls == ["get"] * (asked + 1)
    closed = threading.Event()
    guarded.on_change = lambda change: closed.set() if change.after is BreakerState.CLOSED else None
    store.free.set()
    assert closed.wait(10)
    assert guarded.get("k") is None
    assert guarded.stats.refused_open == 1001


@pytest.mark.parametrize("error", [StoreError("down"), OSError("gone"), RuntimeError("bug")])
def test_f12_whatever_a_store_raises_is_one_error(store: Remote, guard: Guard, error: Exception) -> None:
    guarded = guard()
    store.error = error
    calls: list[Callable[[], object]] = [
        lambda: guarded.get("k"),
        lambda: guarded.take("k"),
        lambda: guarded.add_once("k", LATER),
    ]
    assert [refused(call) for call in calls] == ["failed"] * 3
    assert guarded.stats.failed == 3


def test_no_more_than_the_bound_are_under_way(store: Remote, guard: Guard) -> None:
    guarded = guard(StoreLimits(timeout_s=10.0, in_flight=4))
    store.free.clear()
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(guarded.get, "k") for _ in range(4)]
        for _ in range(4):
            assert store.arrived.acquire(timeout=10)
        assert guarded.in_flight == 4
        assert refused(lambda: guarded.get("k")) == "busy"
        store.free.set()
        assert [one.result(10) for one in waiting] == [None] * 4
    assert guarded.stats.refused_busy == 1
    assert guarded.get("k") is None


# --- writes ----------------------------------------------------------------------------------------------------------


def test_f74_writing_never_waits_and_a_full_queue_drops_the_oldest(store: Remote, guard: Guard) -> None:
    guarded = guard(StoreLimits(timeout_s=10.0, write_queue=10))
    store.free.clear()
    guarded.put("first", b"v", LATER)
    assert store.arrived.acquire(timeout=10)  # the writer has it, and hangs
    started = time.monotonic()
    for number in range(1000):
        guarded.put(f"k{number}", b"v", LATER)
        assert guarded.queue_length <= 10
    assert time.monotonic() - started < 5.0
    assert guarded.stats.dropped == 990
    assert not guarded.flush(0.01)
    store.free.set()
    assert guarded.flush(10)
    assert store.inner.get("first") == b"v"
    assert [store.inner.get(f"k{number}") for number in (0, 989, 990, 999)] == [None, None, b"v", b"v"]
    assert guarded.stats.written == 11


def test_what_waits_in_the_queue_is_found_here_and_taken_once(store: Remote, guard: Guard) -> None:
    guarded = guard()
    store.free.clear()
    guarded.put("first", b"v", LATER)
    assert store.arrived.acquire(timeout=10)
    guarded.put("k", b"one", LATER)
    guarded.put("k", b"two", LATER)
    guarded.put("l", b"gone", LATER)
    guarded.remove("l", "m")
    assert guarded.get("x", "k") == b"two"
    assert guarded.take("k") == b"two"
    assert guarded.get("l") is None
    assert guarded.get("m") is None
    store.free.set()
    assert guarded.take("k") is None, "what was taken is never written"
    assert guarded.flush(10)
    assert store.inner.get("k") is None


def test_while_the_breaker_is_open_writes_wait_and_are_made_up_for(store: Remote, guard: Guard) -> None:
    guarded = guard(StoreLimits(timeout_s=10.0, probe_every_s=0.05))
    store.error = StoreError("down")
    for _ in range(5):
        assert refused(lambda: guarded.get("k")) == "failed"
    assert not guarded.breaker.is_closed
    for number in range(10):
        guarded.put(f"k{number}", b"v", LATER)
    store.error = None
    assert guarded.flush(10), "the writer looks by itself whether the store is back"
    assert guarded.breaker.is_closed
    assert [store.inner.get(f"k{number}") for number in range(10)] == [b"v"] * 10


def test_writes_that_fail_are_counted_and_open_the_breaker(store: Remote, guard: Guard) -> None:
    guarded = guard()
    store.error = StoreError("full")
    for number in range(5):
        guarded.put(f"k{number}", b"v", LATER)
        assert guarded.flush(10)
    assert guarded.stats.write_failures == 5
    assert not guarded.breaker.is_closed


def test_many_writes_are_one_exchange_where_the_store_can(store: Remote, guard: Guard) -> None:
    batches: list[int] = []

    def put_many(entries: list[tuple[str, bytes, float]]) -> None:
        batches.append(len(entries))
        for entry in entries:
            store.inner.put(*entry)

    store.put_many = put_many  # type: ignore[attr-defined]
    guarded = guard()
    store.free.clear()
    guarded.put("first", b"v", LATER)
    assert store.arrived.acquire(timeout=10)
    for number in range(100):
        guarded.put(f"k{number}", b"v", LATER)
    store.free.set()
    assert guarded.flush(10)
    assert batches == [64, 36]
    assert guarded.stats.written == 101


def wait_until_written(guarded: GuardedStore, key: str) -> None:
    receipt = guarded.receipt(key)
    if receipt is not None:
        receipt.wait()


def test_who_waits_for_a_write_waits_for_moments_only(store: Remote, guard: Guard) -> None:
    guarded = guard(StoreLimits(timeout_s=10.0, write_wait_s=0.05))
    guarded.put("k", b"v", LATER)
    wait_until_written(guarded, "k")
    assert guarded.flush(10)
    wait_until_written(guarded, "k")  # it is there already
    store.free.clear()
    guarded.put("l", b"v", LATER)
    started = time.monotonic()
    wait_until_written(guarded, "l")
    assert 0.04 < time.monotonic() - started < 2.0
    assert guarded._followers == {}, "nobody is left behind"
    store.free.set()
    assert guarded.flush(10)


def test_a_slow_write_is_waited_for_once_and_not_by_the_next_ticket_of_the_connection(
    store: Remote, guard: Guard
) -> None:
    guarded = guard(StoreLimits(timeout_s=10.0, write_wait_s=0.01))
    store.free.clear()
    for key in "ab":
        guarded.put(key, b"v", LATER)
    wait_until_written(guarded, "a")
    assert not guarded.follow("b", lambda: None), "the store is behind already"
    store.free.set()
    assert guarded.flush(10)
    store.free.clear()
    guarded.put("c", b"v", LATER)
    assert guarded.follow("c", lambda: None), "it has been heard of again"
    store.free.set()


def test_a_written_entry_ends_the_wait_at_once(store: Remote, guard: Guard) -> None:
    guarded = guard(StoreLimits(timeout_s=10.0, write_wait_s=20.0))
    store.free.clear()
    guarded.put("k", b"v", LATER)
    told = threading.Event()
    assert guarded.follow("k", told.set)
    waiter = threading.Thread(target=wait_until_written, args=(guarded, "k"))
    waiter.start()
    store.free.set()
    assert told.wait(10)
    waiter.join(10)
    assert not waiter.is_alive()
    assert store.inner.get("k") == b"v"


def test_nothing_is_left_to_follow_once_the_followers_were_told(store: Remote, guard: Guard) -> None:
    guarded = guard(StoreLimits(timeout_s=10.0, write_wait_s=20.0))
    store.free.clear()
    guarded.put("k", b"v", LATER)
    late: list[bool] = []
    told = threading.Event()

    def tell() -> None:
        late.append(guarded.follow("k", tell))  # the writer has not come round yet
        told.set()

    assert guarded.follow("k", tell)
    store.free.set()
    assert told.wait(10)
    assert late == [False]


@pytest.mark.parametrize("trouble", ["failed before", "breaker open", "queue is long", "switched off"])
def test_nobody_waits_for_a_store_that_is_not_well(store: Remote, guard: Guard, trouble: str) -> None:
    guarded = guard(StoreLimits(timeout_s=10.0, write_wait_s=0.0 if trouble == "switched off" else 20.0))
    store.error = StoreError("down")
    for _ in range({"failed before": 1, "breaker open": 5}.get(trouble, 0)):
        assert refused(lambda: guarded.get("k")) == "failed"
    store.error = None
    store.free.clear()
    if trouble == "queue is long":
        guarded.put("first", b"v", LATER)
        assert store.arrived.acquire(timeout=10)
        for number in range(70):
            guarded.put(f"k{number}", b"v", LATER)
    guarded.put("k", b"v", LATER)
    started = time.monotonic()
    wait_until_written(guarded, "k")
    assert time.monotonic() - started < 10.0
    assert guarded._followers == {}


def test_closing_writes_what_waits_and_nothing_after(store: Remote, guard: Guard) -> None:
    guarded = guard()
    for number in range(50):
        guarded.put(f"k{number}", b"v", LATER)
    guarded.close()
    assert store.inner.get("k49") == b"v"
    guarded.put("late", b"v", LATER)
    assert guarded.queue_length == 0
    assert refused(lambda: guarded.get("k")) == "busy"
    guarded.close()


def test_closing_does_not_wait_for_a_store_that_hangs(store: Remote, guard: Guard) -> None:
    guarded = guard(StoreLimits(close_wait_s=0.05))
    store.free.clear()
    guarded.put("k", b"v", LATER)
    started = time.monotonic()
    guarded.close()
    assert time.monotonic() - started < 5.0


# --- events ----------------------------------------------------------------------------------------------------------


def test_every_change_is_logged_and_a_callback_that_fails_does_no_harm(
    store: Remote, guard: Guard, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(change: BreakerChange) -> None:
        raise RuntimeError("callback")

    guarded = guard(on_change=fail)
    store.error = StoreError("hunter2")
    with caplog.at_level(logging.INFO, "resumption.store"):
        for _ in range(5):
            assert refused(lambda: guarded.get("k")) == "failed"
    messages = [record.getMessage() for record in caplog.records]
    assert messages[0] == "store breaker: closed -> open (5 failures within 10 s: StoreError)"
    assert messages[1] == "a callback for the breaker failed"
    assert "hunter2" not in messages[0]


# --- local ones, forks, limits ---------------------------------------------------------------------------------------


def test_a_local_store_is_called_on_the_spot() -> None:
    guarded = GuardedStore(MemoryStore())
    before = threading.active_count()
    guarded.put("k", b"v", LATER)
    assert guarded.get("k") == b"v"
    guarded.remove("k")
    assert guarded.take("k") is None
    assert threading.active_count() == before
    assert guarded.stats.written == 2
    guarded.store.close()
    assert refused(lambda: guarded.get("k")) == "failed"
    guarded.close()


@needs_fork
def test_a_child_has_its_own_threads_and_an_empty_queue(store: Remote, guard: Guard) -> None:
    guarded = guard()
    guarded.get("k")
    store.free.clear()
    guarded.put("first", b"v", LATER)
    assert store.arrived.acquire(timeout=10)
    assert store.arrived.acquire(timeout=10)
    guarded.put("k", b"the parent's", LATER)

    def child() -> bytes:
        store.free.set()
        assert guarded.queue_length == 0
        assert guarded.get("k") is None
        guarded.put("l", b"the child's", LATER)
        assert guarded.flush(10)
        return guarded.get("l") or b""

    assert in_child(child) == b"the child's"
    store.free.set()
    assert guarded.flush(10)
    assert guarded.get("k") == b"the parent's"


def test_threads_without_work_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resumption.session.stores.workers._IDLE_S", 0.01)
    workers = Workers(4, "idle test")
    job = workers.submit(lambda: threading.current_thread())
    assert job is not None
    assert job.wait(10)
    thread = job.result
    assert thread is not None
    thread.join(10)
    assert not thread.is_alive()
    again = workers.submit(lambda: 7)
    assert again is not None
    assert again.wait(10)
    assert again.result == 7
    workers.close()


@pytest.mark.parametrize(
    "limits",
    [
        {"timeout_s": 0},
        {"timeout_s": 61},
        {"timeout_s": float("nan")},
        {"in_flight": 0},
        {"write_queue": 0},
        {"failures": 0},
        {"window_s": 0},
        {"probe_every_s": 0},
        {"negative_entries": -1},
        {"negative_s": float("nan")},
        {"close_wait_s": -1},
        {"write_wait_s": -1},
    ],
)
def test_limits_that_make_no_sense_are_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        StoreLimits(**limits)


def test_the_defaults_are_those_that_are_documented() -> None:
    limits = StoreLimits()
    assert (limits.timeout_s, limits.in_flight, limits.write_queue) == (0.02, 64, 1024)
    assert (limits.failures, limits.window_s, limits.probe_every_s) == (5, 10.0, 1.0)


def test_a_store_that_cannot_tell_of_itself_is_unavailable_for_that(store: Remote, guard: Guard) -> None:
    assert refused(guard().continuity) == "silent"
    local = GuardedStore(MemoryStore())
    assert local.continuity().keeps_marks
    local.close()


# --- before the first client -----------------------------------------------------------------------------------------


def test_connecting_is_a_lookup_that_counts_for_nothing(store: Remote, guard: Guard) -> None:
    asked: list[str] = []
    store.get = lambda key, other=None: asked.append(key)  # type: ignore[method-assign, misc, assignment]
    guarded = guard(StoreLimits(timeout_s=0.001))
    threads = threading.active_count()
    guarded.connect()
    assert len(asked) == 1
    assert threading.active_count() == threads, "who forks next is alone"
    assert guarded.stats.answered == guarded.stats.probes == 0


def test_connecting_to_a_store_that_fails_or_is_closed_or_local_does_no_harm(store: Remote, guard: Guard) -> None:
    def fail(key: str, other: str | None = None) -> bytes | None:
        raise StoreError("not there")

    store.get = fail  # type: ignore[method-assign]
    guarded = guard()
    guarded.connect()
    assert guarded.breaker.is_closed
    assert guarded.stats.failed == 0
    guarded.close()
    guarded.connect()
    GuardedStore(MemoryStore()).connect()
