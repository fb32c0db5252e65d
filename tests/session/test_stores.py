"""One suite for all stores, each against its real server, blocking and from asyncio."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from resumption.errors import StoreError
from resumption.session.stores.memcached import MemcachedStore
from resumption.session.stores.memory import MemoryStore
from resumption.session.stores.redis import RedisStore
from resumption.session.stores.sqlite import SQLiteStore
from resumption.session.stores.store import AsyncSessionStore, SessionStore, StoredEntry
from tests.session.ticket_cases import NOW, Clock
from tests.store_servers import (
    ServedClock,
    Server,
    memcached_server,
    redis_cluster,
    redis_sentinel,
    redis_server,
)

Make = Callable[..., SessionStore]

LOCAL = ("memory", "sqlite")
SERVERS: dict[str, Callable[[], Any]] = {
    "redis": redis_server,
    "cluster": redis_cluster,
    "sentinel": redis_sentinel,
    "memcached": memcached_server,
}
KINDS = (*LOCAL, *SERVERS, "redis asyncio", "cluster asyncio", "sentinel asyncio")


class Awaited:
    """An asynchronous store, called by blocking tests: its calls run on a loop in a thread of its own."""

    def __init__(self, make: Callable[[], AsyncSessionStore]) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._store = make()
        self._ended = False

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._store, name)
        return lambda *args: asyncio.run_coroutine_threadsafe(method(*args), self._loop).result(20)

    def __repr__(self) -> str:
        return repr(self._store)

    def end(self) -> None:
        asyncio.run_coroutine_threadsafe(self._store.close(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture(scope="module")
def servers() -> Iterator[Callable[[str], Server]]:
    """The server of each kind, started when first asked for."""
    running: dict[str, Server] = {}
    with ExitStack() as stack:

        def server(kind: str) -> Server:
            if kind not in running:
                running[kind] = stack.enter_context(SERVERS[kind]())
            return running[kind]

        yield server


@pytest.fixture
def clock() -> ServedClock:
    return ServedClock(NOW)


@pytest.fixture(params=KINDS)
def make(
    request: pytest.FixtureRequest, tmp_path: Path, clock: ServedClock, servers: Callable[[str], Server]
) -> Iterator[Make]:
    """Makes stores of each kind, closed at the end. SQLite ones are on one file and wait long for each other."""
    made: list[Any] = []
    kind, _, asynchronous = request.param.partition(" ")
    server = servers(kind) if kind in SERVERS else None
    if server is not None:
        server.flush()
        clock.ages.append(server.age)

    def make(**options: int) -> Any:
        if server is not None and options:
            pytest.skip("how much a server keeps is the server's own affair")
        if kind == "memory":
            made.append(MemoryStore(clock=clock, **options))
        elif kind == "sqlite":
            made.append(SQLiteStore(tmp_path / "store.db", clock=clock, busy_timeout_s=10.0, **options))
        else:
            assert server is not None
            store_class = MemcachedStore if kind == "memcached" else RedisStore
            store = store_class(server.url, timeout_s=10.0, clock=clock)
            made.append(Awaited(store.asynchronous) if asynchronous and isinstance(store, RedisStore) else store)
        return made[-1]

    yield make
    for store in made:
        if isinstance(store, Awaited):
            store.end()
        else:
            store.close()


@pytest.fixture
def store(make: Make) -> SessionStore:
    return make()


def local(store: SessionStore) -> None:
    if not hasattr(store, "__len__"):
        pytest.skip("a server is not counted by its clients")


# --- values ----------------------------------------------------------------------------------------------------------


def test_what_is_put_is_got_as_often_as_wanted(store: SessionStore) -> None:
    store.put("k", b"value\0\xff", NOW + 500)
    assert [store.get("k") for _ in range(3)] == [b"value\0\xff"] * 3
    assert store.get("other") is None


@pytest.mark.parametrize("value", [b"", b"x", bytes(65_536)])
def test_values_come_back_as_they_were(store: SessionStore, value: bytes) -> None:
    store.put("k", value, NOW + 500)
    assert store.get("k") == value
    assert store.take("k") == value


def test_a_value_over_64_kib_is_refused(store: SessionStore) -> None:
    store.put("k", b"before", NOW + 500)
    with pytest.raises(StoreError, match="65537 bytes"):
        store.put("k", bytes(65_537), NOW + 500)
    assert store.get("k") == b"before"


def test_a_second_put_replaces_the_first(store: SessionStore) -> None:
    store.put("k", b"one", NOW + 500)
    store.put("k", b"two", NOW + 20)
    assert store.get("k") == b"two"
    assert store.take("k") == b"two"
    assert store.take("k") is None


def test_taking_removes(store: SessionStore) -> None:
    store.put("k", b"v", NOW + 500)
    assert store.take("k") == b"v"
    assert store.take("k") is None
    assert store.get("k") is None


def test_two_keys_are_looked_up_at_once_and_the_first_goes_first(store: SessionStore) -> None:
    store.put("old", b"1", NOW + 500)
    assert store.get("new", "old") == b"1"
    store.put("new", b"2", NOW + 500)
    assert store.get("new", "old") == b"2"
    assert store.get("old", "new") == b"1"
    assert store.get("neither", "nor") is None
    assert store.get("new", None) == b"2"


def test_taking_two_keys_spends_both(store: SessionStore) -> None:
    store.put("old", b"1", NOW + 500)
    store.put("new", b"2", NOW + 500)
    assert store.take("new", "old") == b"2"
    assert store.get("old") is None
    store.put("old", b"1", NOW + 500)
    assert store.take("new", "old") == b"1"
    assert store.take("new", "old") is None


def test_removing_forgets_and_forgives(store: SessionStore) -> None:
    for key in ("a", "b", "c"):
        store.put(key, key.encode(), NOW + 500)
    store.remove("a")
    store.remove("b", "missing")
    store.remove("missing")
    assert [store.get(key) for key in ("a", "b", "c")] == [None, None, b"c"]
    store.remove("missing", "c")
    assert store.get("c") is None


def test_f63_a_value_is_gone_at_its_time(store: SessionStore, clock: ServedClock) -> None:
    store.put("k", b"v", NOW + 1000)
    store.put("old", b"1", NOW + 500)
    clock.now = NOW + 950
    assert store.get("k") == b"v"
    assert store.get("old", "k") == b"v"
    clock.now = NOW + 1000
    assert store.get("k") is None
    assert store.take("k", "old") is None
    clock.now = NOW
    assert store.take("old") in (None, b"1")  # an expired one may go at any time; with the clock back it may be there


@pytest.mark.parametrize("expires_at", [NOW, NOW - 1, 0.0, float("nan"), float("-inf")])
def test_a_value_that_has_expired_already_is_not_kept(store: SessionStore, expires_at: float) -> None:
    store.put("k", b"before", NOW + 500)
    store.put("k", b"after", expires_at)
    assert store.get("k") is None


def test_a_value_may_be_kept_without_end(store: SessionStore, clock: ServedClock) -> None:
    store.put("k", b"v", float("inf"))
    clock.now = NOW * 10
    assert store.get("k") == b"v"


def test_entries_are_bounded_and_a_full_store_still_takes_new_ones(make: Make, clock: ServedClock) -> None:
    store = make(max_entries=10)
    for number in range(100):
        store.put(f"k{number}", b"v", NOW + 1000 + number)
        assert len(store) <= 10  # type: ignore[arg-type]
        assert store.get(f"k{number}") == b"v"
    assert [store.get(f"k{number}") for number in range(90)] == [None] * 90
    assert [store.get(f"k{number}") for number in range(90, 100)] == [b"v"] * 10


def test_expired_values_are_cleaned_up_as_new_ones_come(store: SessionStore, clock: ServedClock) -> None:
    local(store)
    for number in range(1000):
        store.put(f"k{number}", b"v", clock.now + 10)
        clock.now += 1
        assert len(store) < 60  # type: ignore[arg-type]


# --- marks -----------------------------------------------------------------------------------------------------------


def test_a_mark_is_set_once(store: SessionStore) -> None:
    assert store.add_once("m", NOW + 500)
    assert not store.add_once("m", NOW + 500)
    assert not store.add_once("m", NOW + 99)
    assert store.add_once("other", NOW + 500)


def test_a_mark_can_be_set_again_after_its_time(store: SessionStore, clock: ServedClock) -> None:
    assert store.add_once("m", NOW + 1000)
    clock.now = NOW + 990
    assert not store.add_once("m", NOW + 2000)
    clock.now = NOW + 1000
    assert store.add_once("m", NOW + 2000)
    assert not store.add_once("m", NOW + 2000)


@pytest.mark.parametrize("expires_at", [NOW, NOW - 1, float("nan")])
def test_a_mark_whose_time_has_passed_is_never_new(store: SessionStore, expires_at: float) -> None:
    assert not store.add_once("m", expires_at)
    assert store.add_once("m", NOW + 500)


def test_marks_and_values_do_not_meet(store: SessionStore) -> None:
    store.put("k", b"v", NOW + 500)
    assert store.add_once("k", NOW + 500)
    assert store.get("k") == b"v"
    store.remove("k")
    assert not store.add_once("k", NOW + 500)
    assert store.take("k") is None


def test_f85_a_full_store_refuses_marks_and_never_drops_a_live_one(make: Make, clock: ServedClock) -> None:
    store = make(max_marks=8)
    for number in range(8):
        assert store.add_once(f"m{number}", NOW + 500)
    for number in range(8, 12):
        with pytest.raises(StoreError, match="no room for another mark: 8 are live"):
            store.add_once(f"m{number}", NOW + 500)
    for number in range(200):
        store.put(f"k{number}", b"v", NOW + 500)
    clock.now = NOW + 500
    assert store.add_once("m0", NOW + 1000)  # the expired ones make room


def test_live_marks_outlast_the_flood_of_short_ones(make: Make, clock: ServedClock) -> None:
    store = make(max_marks=100)
    assert store.add_once("long", NOW + 10_000)
    for number in range(2000):
        assert store.add_once(f"m{number}", clock.now + 10)
        clock.now += 1
    assert not store.add_once("long", NOW + 10_000)


# --- closing ---------------------------------------------------------------------------------------------------------


def test_a_closed_store_says_so(store: SessionStore) -> None:
    store.put("k", b"v", NOW + 500)
    store.close()
    store.close()
    calls: list[Callable[[], object]] = [
        lambda: store.get("k"),
        lambda: store.take("k"),
        lambda: store.put("k", b"v", NOW + 500),
        lambda: store.remove("k"),
        lambda: store.add_once("k", NOW + 500),
    ]
    for call in calls:
        with pytest.raises(StoreError, match="closed"):
            call()


# --- at the same time ------------------------------------------------------------------------------------------------


def test_of_many_threads_one_takes_each_value(store: SessionStore) -> None:
    keys = [f"k{number}" for number in range(50)]
    for key in keys:
        store.put(key, key.encode(), NOW + 500)
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: [store.take(key) for key in keys], range(8)))
    assert Counter(value for values in taken for value in values if value) == {key.encode(): 1 for key in keys}


def test_of_many_threads_one_sets_each_mark(store: SessionStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: store.add_once(f"m{number % 50}", NOW + 500), range(400)))
    assert sum(answers) == 50


def test_f75_one_id_put_at_the_same_time_leaves_one_whole_value(store: SessionStore) -> None:
    values = [bytes([number]) * 400 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda value: [store.put("k", value, NOW + 500) for _ in range(25)], values))
    assert store.take("k") in values
    assert store.take("k") is None


def test_f70_the_bound_holds_while_other_threads_take_and_remove(make: Make) -> None:
    store = make(max_entries=20)
    stop = threading.Event()
    sizes: list[int] = []

    def disturb() -> None:
        while not stop.is_set():
            for number in range(0, 200, 3):
                store.take(f"k{number}")
                store.remove(f"k{number + 1}")

    threads = [threading.Thread(target=disturb) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(200):
        store.put(f"k{number}", b"v", NOW + 500)
        sizes.append(len(store))  # type: ignore[arg-type]
    stop.set()
    for thread in threads:
        thread.join()
    assert max(sizes) <= 20


@pytest.mark.parametrize("tag", ["{0f3a}", "{}"])
def test_f85_of_many_that_take_two_values_at_once_one_receives_one_of_them(store: SessionStore, tag: str) -> None:
    """In a cluster: if their keys have a tag in common, as those of sessions have."""
    if isinstance(store, MemcachedStore) or (tag == "{}" and is_cluster(store)):
        pytest.skip("no two keys are taken in one step here")
    pairs = [(f"s:{tag}{number}/new", f"s:{tag}{number}/old") for number in range(40)]
    for pair in pairs:
        for key in pair:
            store.put(key, key.encode(), NOW + 500)
    start = threading.Barrier(8)

    def take(_: int) -> list[bytes | None]:
        start.wait()
        return [store.take(*pair) for pair in pairs]

    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(take, range(8)))
    assert Counter(value for values in taken for value in values if value) == {new.encode(): 1 for new, _ in pairs}


def is_cluster(store: object) -> bool:
    return isinstance(store, Awaited | RedisStore) and "cluster" in repr(store)


# --- for operators ---------------------------------------------------------------------------------------------------


def test_values_are_listed_and_dropped_by_prefix(store: Any) -> None:
    for number in range(30):
        store.put(f"mine*:{number}", bytes(number), NOW + 500 + number)
        store.put(f"mine:{number}", b"other", NOW + 500)
    assert store.add_once("mine*:mark", NOW + 500)
    assert sorted(store.entries("mine*:", 100)) == sorted(
        StoredEntry(f"mine*:{number}", number, NOW + 500 + number) for number in range(30)
    )
    assert len(store.entries("mine*:", 7)) == 7
    assert store.entries("nobody's", 100) == []
    assert store.clear("mine*:") == 30
    assert store.entries("mine*:", 100) == []
    assert store.get("mine*:3") is None
    assert store.get("mine:3") == b"other"
    assert not store.add_once("mine*:mark", NOW + 500)
    assert store.clear("mine*:") == 0


def test_a_store_tells_facts_about_itself_and_whether_it_is_still_what_it_was(store: Any) -> None:
    store.put("k", b"v", NOW + 500)
    told = store.continuity()
    assert told.identity
    assert told.keeps_marks
    assert store.add_once("m", NOW + 500)
    assert store.continuity() == told
    facts = store.describe()
    assert facts["kind"] in ("memory", "sqlite", "redis", "memcached")
    assert facts["bytes"] > 0


# --- against a model -------------------------------------------------------------------------------------------------


class Model(RuleBasedStateMachine):
    """A store behaves as a dictionary with expiry, whatever the order of calls."""

    keys = st.sampled_from("abcd")
    lifetimes = st.integers(-1, 20)

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.store: SessionStore = self.make_store()
        self.values: dict[str, tuple[bytes, float]] = {}
        self.marks: dict[str, float] = {}

    def make_store(self) -> SessionStore:
        return MemoryStore(clock=self.clock)

    def live(self, key: str) -> bytes | None:
        value, expires_at = self.values.get(key, (b"", 0.0))
        return value if self.clock.now < expires_at else None

    @rule(key=keys, value=st.binary(max_size=8), lifetime=lifetimes)
    def put(self, key: str, value: bytes, lifetime: int) -> None:
        self.store.put(key, value, self.clock.now + lifetime)
        self.values[key] = (value, self.clock.now + lifetime)

    @rule(key=keys, other=keys)
    def take(self, key: str, other: str) -> None:
        expected = self.live(key) if self.live(key) is not None else self.live(other)
        assert self.store.take(key, other) == expected
        if expected is not None:  # expired ones may stay
            self.values.pop(key, None)
            self.values.pop(other, None)

    @rule(key=keys)
    def remove(self, key: str) -> None:
        self.store.remove(key)
        self.values.pop(key, None)

    @rule(key=keys, lifetime=lifetimes)
    def mark(self, key: str, lifetime: int) -> None:
        free = not self.clock.now < self.marks.get(key, 0.0)
        assert self.store.add_once(key, self.clock.now + lifetime) == (free and lifetime > 0)
        if free and lifetime > 0:
            self.marks[key] = self.clock.now + lifetime

    @rule(seconds=st.integers(0, 10))
    def wait(self, seconds: int) -> None:
        self.clock.now += seconds

    @invariant()
    def values_are_those_of_the_model(self) -> None:
        for key in "abcd":
            assert self.store.get(key) == self.live(key)

    def teardown(self) -> None:
        self.store.close()


class SQLiteModel(Model):
    def make_store(self) -> SessionStore:
        self.folder = Path(os.environ["TEST_STORE_FOLDER"])
        for path in self.folder.iterdir():
            path.unlink()
        return SQLiteStore(self.folder / "store.db", clock=self.clock)


def test_memory_behaves_as_the_model() -> None:
    Model.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
    Model.TestCase().runTest()


def test_sqlite_behaves_as_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_STORE_FOLDER", str(tmp_path))
    SQLiteModel.TestCase.settings = settings(max_examples=20, stateful_step_count=30, deadline=None)
    SQLiteModel.TestCase().runTest()


# --- agreeing ------------------------------------------------------------------------------------------------------


def test_of_many_that_put_if_absent_all_get_the_same(make: Make) -> None:
    store: Any = make()
    start = threading.Barrier(8)

    def put(number: int) -> bytes:
        start.wait()
        found: bytes = store.put_if_absent("root", b"root %d" % number, NOW + 60)
        return found

    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(put, range(8)))
    assert len(found) == 1
    assert store.get("root") in found


def test_put_if_absent_replaces_what_has_expired_and_nothing_else(make: Make, clock: ServedClock) -> None:
    store: Any = make()
    assert store.put_if_absent("k", b"one", NOW + 60) == b"one"
    assert store.put_if_absent("k", b"two", NOW + 600) == b"one"
    clock.now = NOW + 61
    assert store.put_if_absent("k", b"three", NOW + 600) == b"three"
    assert store.get("k") == b"three"
