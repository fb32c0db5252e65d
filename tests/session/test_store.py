"""One suite for all stores, then what is particular to each."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from resumption.errors import ConfigurationError, StoreError
from resumption.session.store import SessionStore, open_store
from resumption.session.stores.memory import MemoryStore
from resumption.session.stores.sqlite import SQLiteStore
from tests.session.test_forking import in_child
from tests.session.ticket_cases import NOW, Clock

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

Make = Callable[..., SessionStore]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Make]:
    """Makes stores of each kind, closed at the end. SQLite ones are on one file and wait long for each other."""
    made: list[SessionStore] = []

    def make(**options: int) -> SessionStore:
        if request.param == "memory":
            made.append(MemoryStore(clock=clock, **options))
        else:
            made.append(SQLiteStore(tmp_path / "store.db", clock=clock, busy_timeout_s=10.0, **options))
        return made[-1]

    yield make
    for store in made:
        store.close()


@pytest.fixture
def store(make: Make) -> SessionStore:
    return make()


# --- values ----------------------------------------------------------------------------------------------------------


def test_what_is_put_is_got_as_often_as_wanted(store: SessionStore) -> None:
    store.put("k", b"value\0\xff", NOW + 10)
    assert [store.get("k") for _ in range(3)] == [b"value\0\xff"] * 3
    assert store.get("other") is None


@pytest.mark.parametrize("value", [b"", b"x", bytes(65_536)])
def test_values_come_back_as_they_were(store: SessionStore, value: bytes) -> None:
    store.put("k", value, NOW + 10)
    assert store.get("k") == value
    assert store.take("k") == value


def test_a_value_over_64_kib_is_refused(store: SessionStore) -> None:
    store.put("k", b"before", NOW + 10)
    with pytest.raises(StoreError, match="65537 bytes"):
        store.put("k", bytes(65_537), NOW + 10)
    assert store.get("k") == b"before"


def test_a_second_put_replaces_the_first(store: SessionStore) -> None:
    store.put("k", b"one", NOW + 10)
    store.put("k", b"two", NOW + 20)
    assert store.get("k") == b"two"
    assert store.take("k") == b"two"
    assert store.take("k") is None


def test_taking_removes(store: SessionStore) -> None:
    store.put("k", b"v", NOW + 10)
    assert store.take("k") == b"v"
    assert store.take("k") is None
    assert store.get("k") is None


def test_two_keys_are_looked_up_at_once_and_the_first_goes_first(store: SessionStore) -> None:
    store.put("old", b"1", NOW + 10)
    assert store.get("new", "old") == b"1"
    store.put("new", b"2", NOW + 10)
    assert store.get("new", "old") == b"2"
    assert store.get("old", "new") == b"1"
    assert store.get("neither", "nor") is None
    assert store.get("new", None) == b"2"


def test_taking_two_keys_spends_both(store: SessionStore) -> None:
    store.put("old", b"1", NOW + 10)
    store.put("new", b"2", NOW + 10)
    assert store.take("new", "old") == b"2"
    assert store.get("old") is None
    store.put("old", b"1", NOW + 10)
    assert store.take("new", "old") == b"1"
    assert store.take("new", "old") is None


def test_removing_forgets_and_forgives(store: SessionStore) -> None:
    for key in ("a", "b", "c"):
        store.put(key, key.encode(), NOW + 10)
    store.remove("a")
    store.remove("b", "missing")
    store.remove("missing")
    assert [store.get(key) for key in ("a", "b", "c")] == [None, None, b"c"]
    store.remove("missing", "c")
    assert store.get("c") is None


def test_f63_a_value_is_gone_at_its_time(store: SessionStore, clock: Clock) -> None:
    store.put("k", b"v", NOW + 10)
    store.put("old", b"1", NOW + 5)
    clock.now = NOW + 9.5
    assert store.get("k") == b"v"
    assert store.get("old", "k") == b"v"
    clock.now = NOW + 10
    assert store.get("k") is None
    assert store.take("k", "old") is None
    clock.now = NOW
    assert store.take("old") in (None, b"1")  # an expired one may go at any time; with the clock back it may be there


@pytest.mark.parametrize("expires_at", [NOW, NOW - 1, 0.0, float("nan"), float("-inf")])
def test_a_value_that_has_expired_already_is_not_kept(store: SessionStore, expires_at: float) -> None:
    store.put("k", b"before", NOW + 10)
    store.put("k", b"after", expires_at)
    assert store.get("k") is None


def test_a_value_may_be_kept_without_end(store: SessionStore, clock: Clock) -> None:
    store.put("k", b"v", float("inf"))
    clock.now = NOW * 10
    assert store.get("k") == b"v"


def test_entries_are_bounded_and_a_full_store_still_takes_new_ones(make: Make, clock: Clock) -> None:
    store = make(max_entries=10)
    for number in range(100):
        store.put(f"k{number}", b"v", NOW + 1000 + number)
        assert len(store) <= 10  # type: ignore[arg-type]
        assert store.get(f"k{number}") == b"v"
    assert [store.get(f"k{number}") for number in range(90)] == [None] * 90
    assert [store.get(f"k{number}") for number in range(90, 100)] == [b"v"] * 10


def test_expired_values_are_cleaned_up_as_new_ones_come(store: SessionStore, clock: Clock) -> None:
    for number in range(1000):
        store.put(f"k{number}", b"v", clock.now + 10)
        clock.now += 1
        assert len(store) < 60  # type: ignore[arg-type]


# --- marks -----------------------------------------------------------------------------------------------------------


def test_a_mark_is_set_once(store: SessionStore) -> None:
    assert store.add_once("m", NOW + 10)
    assert not store.add_once("m", NOW + 10)
    assert not store.add_once("m", NOW + 99)
    assert store.add_once("other", NOW + 10)


def test_a_mark_can_be_set_again_after_its_time(store: SessionStore, clock: Clock) -> None:
    assert store.add_once("m", NOW + 10)
    clock.now = NOW + 9.9
    assert not store.add_once("m", NOW + 20)
    clock.now = NOW + 10
    assert store.add_once("m", NOW + 20)
    assert not store.add_once("m", NOW + 20)


@pytest.mark.parametrize("expires_at", [NOW, NOW - 1, float("nan")])
def test_a_mark_whose_time_has_passed_is_never_new(store: SessionStore, expires_at: float) -> None:
    assert not store.add_once("m", expires_at)
    assert store.add_once("m", NOW + 10)


def test_marks_and_values_do_not_meet(store: SessionStore) -> None:
    store.put("k", b"v", NOW + 10)
    assert store.add_once("k", NOW + 10)
    assert store.get("k") == b"v"
    store.remove("k")
    assert not store.add_once("k", NOW + 10)
    assert store.take("k") is None


def test_f85_a_full_store_refuses_marks_and_never_drops_a_live_one(make: Make, clock: Clock) -> None:
    store = make(max_marks=8)
    for number in range(8):
        assert store.add_once(f"m{number}", NOW + 10)
    for number in range(8, 12):
        with pytest.raises(StoreError, match="no room for another mark: 8 are live"):
            store.add_once(f"m{number}", NOW + 10)
    for number in range(200):
        store.put(f"k{number}", b"v", NOW + 10)
    clock.now = NOW + 10
    assert store.add_once("m0", NOW + 20)  # the expired ones make room


def test_live_marks_outlast_the_flood_of_short_ones(make: Make, clock: Clock) -> None:
    store = make(max_marks=100)
    assert store.add_once("long", NOW + 10_000)
    for number in range(2000):
        assert store.add_once(f"m{number}", clock.now + 10)
        clock.now += 1
    assert not store.add_once("long", NOW + 10_000)


# --- closing ---------------------------------------------------------------------------------------------------------


def test_a_closed_store_says_so(store: SessionStore) -> None:
    store.put("k", b"v", NOW + 10)
    store.close()
    store.close()
    calls: list[Callable[[], object]] = [
        lambda: store.get("k"),
        lambda: store.take("k"),
        lambda: store.put("k", b"v", NOW + 10),
        lambda: store.remove("k"),
        lambda: store.add_once("k", NOW + 10),
    ]
    for call in calls:
        with pytest.raises(StoreError, match="closed"):
            call()


# --- at the same time ------------------------------------------------------------------------------------------------


def test_of_many_threads_one_takes_each_value(store: SessionStore) -> None:
    keys = [f"k{number}" for number in range(50)]
    for key in keys:
        store.put(key, key.encode(), NOW + 10)
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: [store.take(key) for key in keys], range(8)))
    assert Counter(value for values in taken for value in values if value) == {key.encode(): 1 for key in keys}


def test_of_many_threads_one_sets_each_mark(store: SessionStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: store.add_once(f"m{number % 50}", NOW + 10), range(400)))
    assert sum(answers) == 50


def test_f75_one_id_put_at_the_same_time_leaves_one_whole_value(store: SessionStore) -> None:
    values = [bytes([number]) * 400 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda value: [store.put("k", value, NOW + 10) for _ in range(25)], values))
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
        store.put(f"k{number}", b"v", NOW + 10)
        sizes.append(len(store))  # type: ignore[arg-type]
    stop.set()
    for thread in threads:
        thread.join()
    assert max(sizes) <= 20


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


# --- memory ----------------------------------------------------------------------------------------------------------


def test_memory_is_bounded_in_bytes(clock: Clock) -> None:
    store = MemoryStore(max_bytes=65_536, clock=clock)
    for number in range(100):
        store.put(f"k{number}", bytes(1000), NOW + 10)
    assert len(store) == 65
    store.put("big", bytes(65_536), NOW + 10)
    assert len(store) == 1
    assert store.get("big") is not None
    store.remove("big")
    store.put("k", bytes(65_536), NOW + 10)  # what was removed counts no more
    assert len(store) == 1


@needs_fork
def test_memory_is_not_shared_a_child_begins_empty(clock: Clock) -> None:
    store = MemoryStore(clock=clock)
    store.put("k", b"v", NOW + 10)
    assert in_child(lambda: b"spent" if store.take("k") else b"nothing") == b"nothing"
    assert store.take("k") == b"v"


@pytest.mark.parametrize("options", [{"max_entries": 0}, {"max_marks": 0}, {"max_bytes": 1000}])
def test_memory_needs_room_for_something(options: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match="room for one entry"):
        MemoryStore(**options)


# --- one file, several users -----------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


def test_two_stores_on_one_file_share_it(path: Path) -> None:
    one, other = SQLiteStore(path), SQLiteStore(path)
    one.put("k", b"v", 1e11)
    assert other.take("k") == b"v"
    assert one.get("k") is None
    assert other.add_once("m", 1e11)
    assert not one.add_once("m", 1e11)
    one.close()
    other.put("k", b"v", 1e11)
    other.close()
    again = SQLiteStore(path)
    assert again.get("k") == b"v"
    again.close()


def test_the_file_and_its_companions_are_private(path: Path) -> None:
    before = os.umask(0)
    try:
        store = SQLiteStore(path)
        store.put("k", b"v", 1e11)
    finally:
        os.umask(before)
    modes = {found.name: found.stat().st_mode & 0o777 for found in path.parent.iterdir()}
    assert modes == dict.fromkeys(("sessions.db", "sessions.db-wal", "sessions.db-shm"), 0o600)
    store.close()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_file_that_others_can_reach_is_refused(path: Path, mode: int) -> None:
    path.touch()
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match=f"mode {mode:04o} and lets others at it"):
        SQLiteStore(path)


def test_a_file_that_is_something_else_is_refused_and_left_alone(path: Path, tmp_path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE precious (data)")
    other.close()
    path.chmod(0o600)
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="no session store of this version"):
        SQLiteStore(path)
    assert path.read_bytes() == before
    path.write_bytes(b"this is text, and not a database; it is long enough to look like a file with a header" * 9)
    with pytest.raises(StoreError, match="cannot be opened: file is not a database"):
        SQLiteStore(path)
    with pytest.raises(ConfigurationError, match="not a regular file"):
        SQLiteStore(tmp_path)
    with pytest.raises(StoreError, match="No such file"):
        SQLiteStore(tmp_path / "missing" / "sessions.db")


def test_an_empty_private_file_becomes_a_store(path: Path) -> None:
    path.touch(mode=0o600)
    store = SQLiteStore(path)
    store.put("k", b"v", 1e11)
    assert store.get("k") == b"v"
    store.close()


def test_no_change_waits_for_the_disk(path: Path) -> None:
    store = SQLiteStore(path)
    assert store._connection is not None
    assert store._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert store._connection.execute("PRAGMA synchronous").fetchone() == (1,)
    store.close()


def test_a_busy_file_is_an_error_in_bounded_time_and_reading_goes_on(path: Path) -> None:
    store = SQLiteStore(path, busy_timeout_s=0.01)
    store.put("k", b"v", 1e11)
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    try:
        for call in (lambda: store.put("k", b"w", 1e11), lambda: store.take("k"), lambda: store.add_once("m", 1e11)):
            with pytest.raises(StoreError, match="locked"):
                call()
        assert store.get("k") == b"v"
        assert store.take("missing") is None
    finally:
        writer.rollback()
        writer.close()
    assert store.take("k") == b"v"
    store.close()


def test_a_thread_that_holds_the_store_too_long_is_not_waited_for(path: Path) -> None:
    store = SQLiteStore(path, busy_timeout_s=0.01)
    release, held = threading.Event(), threading.Event()

    def hold() -> None:
        with store._lock:
            held.set()
            release.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        with pytest.raises(StoreError, match="busy"):
            store.get("k")
    finally:
        release.set()
        thread.join()
    assert store.get("k") is None
    store.close()


def test_damage_to_the_file_is_a_store_error(path: Path) -> None:
    store = SQLiteStore(path)
    store.put("k", b"v", 1e11)
    store.close()
    content = path.read_bytes()
    path.write_bytes(content[:100] + os.urandom(len(content) - 100))
    with pytest.raises(StoreError):
        damaged = SQLiteStore(path)
        damaged.get("k")
    with suppressed_warnings():
        gc.collect()


def suppressed_warnings() -> warnings.catch_warnings[None]:
    return warnings.catch_warnings(action="ignore")


def test_values_of_another_type_in_the_file_are_a_miss(path: Path) -> None:
    store = SQLiteStore(path)
    with sqlite3.connect(path) as other:
        other.execute("INSERT INTO records VALUES ('text', 'text', 1e11), ('late', x'00', 'never')")
    other.close()
    assert store.get("text", "late") is None
    assert store.take("text", "late") is None
    store.close()


def test_a_file_whose_mode_was_loosened_fails_as_a_store_when_it_is_opened_again(path: Path) -> None:
    store = SQLiteStore(path)
    path.chmod(0o644)
    store._disconnect()  # as before a fork
    with pytest.raises(StoreError, match="lets others at it"):
        store.get("k")
    path.chmod(0o600)
    assert store.get("k") is None
    store.close()


def test_an_old_sqlite_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    with pytest.raises(ConfigurationError, match="too old"):
        SQLiteStore(path)


@pytest.mark.parametrize("options", [{"max_entries": 0}, {"max_marks": 0}, {"busy_timeout_s": -1}])
def test_sqlite_needs_room_for_something(path: Path, options: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match="room for one entry"):
        SQLiteStore(path, **options)
    assert not path.exists()


# --- processes -------------------------------------------------------------------------------------------------------


@needs_fork
def test_a_store_made_before_a_fork_works_on_both_sides(path: Path) -> None:
    store = SQLiteStore(path, busy_timeout_s=10.0)
    store.put("k", b"from the parent", 1e11)
    assert in_child(lambda: store.take("k")) == b"from the parent"
    assert store.take("k") is None
    in_child(lambda: store.put("k", b"from the child", 1e11) or b"")
    assert store.take("k") == b"from the child"
    store.close()
    with sqlite3.connect(path) as check:
        assert check.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    check.close()


@needs_fork
def test_no_connection_crosses_a_fork(path: Path) -> None:
    store = SQLiteStore(path)
    assert store._connection is not None
    assert in_child(lambda: repr(store._connection).encode()) == b"None"
    store.close()


@needs_fork
def test_forking_while_other_threads_use_the_store_leaves_no_lock_behind(path: Path) -> None:
    store = SQLiteStore(path, busy_timeout_s=10.0)
    store.put("k", b"v", 1e11)
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            store.put("mine", b"v", 1e11)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            assert in_child(lambda: store.get("k")) == b"v"
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    store.close()


def take_all(path: Path, start: object, answers: object) -> None:
    store = SQLiteStore(path, busy_timeout_s=10.0)
    start.wait()  # type: ignore[attr-defined]
    taken = [key for key in (f"k{number}" for number in range(100)) if store.take(key)]
    marked = [number for number in range(100) if store.add_once(f"m{number}", 1e11)]
    store.close()
    answers.put((taken, marked))  # type: ignore[attr-defined]


@pytest.mark.parametrize("method", ["spawn", pytest.param("fork", marks=needs_fork)])
def test_f85_of_many_processes_one_takes_each_value_and_sets_each_mark(path: Path, method: str) -> None:
    context = multiprocessing.get_context(method)
    store = SQLiteStore(path, busy_timeout_s=10.0)
    for number in range(100):
        store.put(f"k{number}", b"v", 1e11)
    start, answers = context.Barrier(4), context.Queue()
    processes = [context.Process(target=take_all, args=(path, start, answers)) for _ in range(4)]
    for process in processes:
        process.start()
    found = [answers.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert sorted(key for taken, _ in found for key in taken) == sorted(f"k{number}" for number in range(100))
    assert sorted(number for _, marked in found for number in marked) == list(range(100))
    store.close()


def open_and_put(path: Path, start: object, answers: object, number: int) -> None:
    start.wait()  # type: ignore[attr-defined]
    try:
        store = SQLiteStore(path, busy_timeout_s=10.0)
        store.put(f"k{number}", b"v", 1e11)
        store.close()
        answers.put("")  # type: ignore[attr-defined]
    except Exception as error:
        answers.put(repr(error))  # type: ignore[attr-defined]


@needs_fork
def test_processes_that_make_the_file_at_the_same_moment_all_get_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    for attempt in range(8):
        path = tmp_path / f"{attempt}.db"
        start, answers = context.Barrier(6), context.Queue()
        processes = [context.Process(target=open_and_put, args=(path, start, answers, number)) for number in range(6)]
        for process in processes:
            process.start()
        assert [answers.get(timeout=60) for _ in processes] == [""] * 6
        for process in processes:
            process.join()
        store = SQLiteStore(path)
        assert len(store) == 6
        store.close()


WRITER = """
import sys
from resumption.session.stores.sqlite import SQLiteStore
store = SQLiteStore(sys.argv[1], busy_timeout_s=10.0, max_entries=500)
number = 0
while True:
    store.put(f"k{number}", b"v" * 5000, 1e11)
    store.take(f"k{number - 50}")
    store.add_once(f"m{number}", 1e11)
    number += 1
    if number % 20 == 0:
        print(number, flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="processes cannot be killed outright here")
def test_the_file_stays_readable_when_writers_are_killed(path: Path) -> None:
    store = SQLiteStore(path, busy_timeout_s=10.0)
    for lines in (1, 7, 12, 20, 3):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        said = [int(writer.stdout.readline()) for _ in range(lines)]
        writer.kill()
        rest = writer.stdout.read().split()
        writer.stdout.close()
        assert writer.wait() == -signal.SIGKILL
        last = int(rest[-1]) if rest else said[-1]
        assert store.get(f"k{last - 1}") == b"v" * 5000  # nothing that was reported is lost
        store.put("ours", b"v", 1e11)
        assert store.take("ours") == b"v"
        fresh = SQLiteStore(path)
        assert fresh._connection is not None
        assert fresh._connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        fresh.close()
    store.close()


# --- by URL ----------------------------------------------------------------------------------------------------------


def test_stores_open_by_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    memory = open_store("memory:")
    assert isinstance(memory, MemoryStore)
    memory.close()
    for url, name in (
        (f"sqlite://{tmp_path}/three.db", "three.db"),
        (f"sqlite:///{tmp_path}/four.db", "four.db"),
        ("sqlite:relative.db", "relative.db"),
        (f"sqlite://{tmp_path}/with%20space%3F.db", "with space?.db"),
    ):
        store = open_store(url)
        assert isinstance(store, SQLiteStore)
        store.put("k", b"v", 1e11)
        assert (tmp_path / name).is_file()
        store.close()


def test_options_come_with_the_url(tmp_path: Path) -> None:
    memory = open_store("memory:?max_entries=2&max_marks=1")
    for key in "abc":
        memory.put(key, b"v", 1e11)
    assert memory.get("a") is None
    assert memory.add_once("a", 1e11)
    with pytest.raises(StoreError):
        memory.add_once("b", 1e11)
    store = open_store(f"sqlite://{tmp_path}/s.db?busy_timeout_s=0.5&max_entries=7&max_marks=9")
    assert isinstance(store, SQLiteStore)
    assert (store._busy_timeout_s, store._max_entries, store._max_marks) == (0.5, 7, 9)
    store.close()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "begins with one of"),
        ("/var/lib/sessions.db", "begins with one of"),
        ("postgres://host/db", "begins with one of memcached, memory, redis"),
        ("redis://cache.internal/0", r"pip install 'resumption\[redis\]'"),
        ("rediss://cache.internal/0", r"pip install 'resumption\[redis\]'"),
        ("valkey://cache.internal", r"pip install 'resumption\[redis\]'"),
        ("memcached://cache.internal", r"pip install 'resumption\[memcached\]'"),
        ("memory:/path", "the URL of a memory store is memory:,"),
        ("memory://host", "the URL of a memory store is memory:,"),
        ("memory:#x", "the URL of a memory store is memory:,"),
        ("memory:?max_entries=many", "'max_entries' is no option of a memory store, or its value is no number"),
        ("memory:?max_entries=", "'max_entries'"),
        ("memory:?busy_timeout_s=1", "'busy_timeout_s' is no option of a memory store"),
        ("memory:?max_entries=0", "room for one entry"),
        ("sqlite:", "sqlite:///path/to/file"),
        ("sqlite://", "sqlite:///path/to/file"),
        ("sqlite://host/path.db", "sqlite:///path/to/file"),
        ("sqlite:///x.db?busy_timeout_s=nan", "room for one entry"),
    ],
)
def test_urls_that_name_no_store_are_refused(url: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        open_store(url)


def test_a_password_in_a_url_is_not_repeated() -> None:
    for url in ("redis://:hunter2@cache/0", "postgres://me:hunter2@host/db", "sqlite://me:hunter2@host/x"):
        with pytest.raises(ConfigurationError) as caught:
            open_store(url)
        assert "hunter2" not in str(caught.value)
