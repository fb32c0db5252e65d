"""What is particular to the stores in memory and in a file, and how stores are opened by URL."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sqlite3
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resumption.errors import ConfigurationError, StoreError
from resumption.session.stores.memory import MemoryStore
from resumption.session.stores.redis import RedisStore
from resumption.session.stores.sqlite import SQLiteStore
from resumption.session.stores.store import SessionStore, open_store
from tests.session.test_forking import in_child
from tests.session.ticket_cases import NOW, Clock
from tests.soak.kills import soak as kill_writers

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

Make = Callable[..., SessionStore]


@pytest.fixture
def clock() -> Clock:
    return Clock()


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
    assert modes == dict.fromkeys(("sessions.db", "sessions.db-wal", "sessions.db-shm", "sessions.db-taken"), 0o600)
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
        other.execute("INSERT INTO records VALUES ('text', 'text', 1e11, 1), ('late', x'00', 'never', 1)")
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


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="processes cannot be killed outright here")
def test_the_file_stays_whole_and_readable_when_writers_are_killed(path: Path) -> None:
    """The short version of `python3 dev.py soak kills`."""
    assert kill_writers(path, 4) > 0


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
        ("redis://", "does not name its servers as it must"),
        ("redis://one,two/0", "does not name its servers as it must"),
        ("redis://host:none/0", "not written host, host:port"),
        ("redis://host:70000", "not written host, host:port"),
        ("redis://[::1/0", "this is no URL"),
        ("redis://host/first", "a Redis database is a number"),
        ("redis://host#x", "write %23 in passwords"),
        ("redis://host?timeout_s=0", "timeout_s must be above 0"),
        ("redis://host?timeout_s=nan", "timeout_s must be above 0"),
        ("redis://host?timeout=1", "'timeout' is no option of a redis store"),
        ("redis://host?max_connections=0", "max_connections is 1 or more"),
        ("redis://host?ca_file=ca.pem", "belong to rediss"),
        ("redis+cluster://host/1", "a cluster has one database"),
        ("redis+cluster://host?wait_replicas=1", "no wait_replicas"),
        ("redis+sentinel://host", "does not say what it must behind the host"),
        ("redis+sentinel://host/service/x", "a Redis database is a number"),
        ("redis+unix://host/path", "does not name its servers as it must"),
        ("redis+unix:", "does not say what it must"),
        ("rediss+unix:///path", "no store of the kind"),
        ("memcached://", "names its servers or a socket"),
        ("memcached://me:secret@host", "and no user"),
        ("memcached://host/path", "names its servers or a socket"),
        ("memcached://host?timeout_s=-1", "timeouts must be above 0"),
        ("memcached://host?max_connections=0", "max_connections is 1 or more"),
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
    for url in (
        "redis://:hunter2@cache/x",
        "redis://:hunter2@cache:x",
        "memcached://x:hunter2@cache",
        "postgres://me:hunter2@host/db",
        "sqlite://me:hunter2@host/x",
    ):
        with pytest.raises(ConfigurationError) as caught:
            open_store(url)
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("redis://host", ("", (("host", 6379),), 0)),
        ("valkey://me:p%40ss@host:7000/3", ("", (("host", 7000),), 3)),
        ("rediss://[::1]:7000?db=2&ca_file=/ca.pem", ("", (("::1", 7000),), 2)),
        ("valkeys+cluster://a,b:7001,[2001:db8::1]", ("cluster", (("a", 6379), ("b", 7001), ("2001:db8::1", 6379)), 0)),
        ("redis+sentinel://a,b/main/4", ("sentinel", (("a", 26_379), ("b", 26_379)), 4)),
        ("redis+unix:///run/redis.sock?db=1", ("unix", (), 1)),
    ],
)
def test_urls_of_redis_say_where_it_is(url: str, where: tuple[str, tuple[tuple[str, int], ...], int]) -> None:
    store = open_store(url, timeout_s=0.5)
    assert isinstance(store, RedisStore)
    access = store.access
    assert (access.kind, access.nodes, access.db) == where
    assert access.settings.get("ssl", False) == url.startswith(("rediss", "valkeys"))
    assert access.settings["socket_timeout"] == 0.5
    assert "p@ss" not in repr(store)
    store.close()


def test_an_extra_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, scheme in (("redis", "redis", "valkey+cluster"), ("pymemcache", "memcached", "memcached")):
        monkeypatch.setitem(sys.modules, f"resumption.session.stores.{name}", None)
        with pytest.raises(ConfigurationError, match=rf"pip install 'resumption\[{name}\]'"):
            open_store(f"{scheme}://host")
        assert module in sys.modules


# --- stores that others bring ----------------------------------------------------------------------------------------

OTHERS = """
class Shelf:
    def __init__(self, url):
        self.url, self.values, self.marks = url, {}, set()
    def get(self, key, other=None):
        return self.values.get(key) or self.values.get(other)
    def take(self, key, other=None):
        first, second = self.values.pop(key, None), self.values.pop(other, None)
        return first or second
    def put(self, key, value, expires_at):
        self.values[key] = value
    def remove(self, key, other=None):
        self.take(key, other)
    def add_once(self, key, expires_at):
        new = key not in self.marks
        self.marks.add(key)
        return new

class Half:
    def __init__(self, url):
        pass
    get = put = take = None

def broken(url):
    raise RuntimeError("password in here")
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution with stores, as an installer leaves it."""
    site = tmp_path / "site-packages"
    facts = site / "shelves-1.0.dist-info"
    facts.mkdir(parents=True)
    (site / "shelves.py").write_text(OTHERS)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: shelves\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(
        "[resumption.stores]\nshelf = shelves:Shelf\nhalf = shelves:Half\nbroken = shelves:broken\n"
        "gone = shelves:missing\nmemory = shelves:Shelf\n"
    )
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delitem(sys.modules, "shelves", raising=False)


@pytest.mark.usefixtures("installed")
def test_a_store_of_five_methods_is_found_by_its_entry_point() -> None:
    store: Any = open_store("shelf://top/1?x=y")
    assert store.url == "shelf://top/1?x=y"
    store.put("k", b"v", 1e11)
    assert store.take("k") == b"v"
    assert isinstance(open_store("memory:"), MemoryStore), "the names of our own are taken"


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("scheme", "why"),
    [
        ("half", "lacks get, take, put, remove, add_once"),
        ("broken", "installed for broken: failed: RuntimeError"),
        ("gone", "installed for gone: failed: AttributeError"),
        ("ladder", "begins with one of broken, gone, half, memcached"),
    ],
)
def test_an_installed_store_that_is_none_is_refused(scheme: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why) as caught:
        open_store(f"{scheme}://hunter2")
    assert "hunter2" not in str(caught.value)


# --- the size of the file, and its identity ---------------------------------------------------------------------------


def test_the_file_stays_within_its_bytes_and_goes_on_taking(path: Path, clock: Clock) -> None:
    store = SQLiteStore(path, max_bytes=1 << 20, clock=clock)
    for number in range(200):
        store.put(f"k{number}", bytes(10_000), NOW + 1000 + number)
        assert store.get(f"k{number}") == bytes(10_000)
    store.put_many([(f"m{number}", bytes(10_000), NOW + 5000) for number in range(20)])
    assert store.get("m19") == bytes(10_000)
    assert path.stat().st_size <= 1 << 20
    assert path.with_name("sessions.db-wal").stat().st_size < 24 << 20
    assert 20 < len(store) < 105
    store.close()


def test_many_values_are_put_at_once_or_not_at_all(path: Path, clock: Clock) -> None:
    store = SQLiteStore(path, clock=clock)
    store.put("b", b"0", NOW + 10)
    store.put_many([("a", b"1", NOW + 10), ("b", b"2", NOW - 10), ("c", b"3", NOW + 10)])
    assert [store.get(key) for key in "abc"] == [b"1", None, b"3"]
    with pytest.raises(StoreError, match="65537 bytes"):
        store.put_many([("d", b"4", NOW + 10), ("e", bytes(65_537), NOW + 10)])
    with pytest.raises(TypeError):
        store.put_many([("d", b"4", NOW + 10), ("e", b"5", "soon")])  # type: ignore[list-item]
    assert store.get("d") is None
    store.put("d", b"5", NOW + 10)
    assert store.take("d") == b"5", "no transaction is left open"
    store.close()


def test_f86_a_store_that_begins_anew_has_another_identity(path: Path) -> None:
    store = SQLiteStore(path)
    before = store.continuity()
    assert before.keeps_marks
    store.put("k", b"v", 1e11)
    assert store.add_once("m", 1e11)
    assert store.continuity() == before
    store.close()
    again = SQLiteStore(path)
    assert again.continuity() == before
    again.close()
    for companion in path.parent.iterdir():
        companion.unlink()
    new = SQLiteStore(path)
    assert new.continuity() != before
    new.close()
    memory = MemoryStore()
    assert memory.continuity() == memory.continuity() != MemoryStore().continuity()


def test_f86_a_file_that_is_removed_or_replaced_while_it_is_open_is_another_store(path: Path) -> None:
    """Both processes, the one that was there before and the one that comes later, go by what is at the path."""
    store = SQLiteStore(path)
    assert store.add_once("early", 1e11)
    store.put("k", b"old", 1e11)
    told = [store.continuity()]
    snapshot = path.parent / "snapshot"
    with sqlite3.connect(path) as source, sqlite3.connect(snapshot) as target:
        source.backup(target)
    source.close()
    target.close()
    snapshot.chmod(0o600)
    assert store.add_once("late", 1e11)
    for companion in path.parent.glob(f"{path.name}*"):
        companion.unlink()
    other = SQLiteStore(path)
    told.append(store.continuity())
    assert other.continuity() == told[-1]
    assert store.get("k") is None
    other.put("k", b"new", 1e11)
    assert store.get("k") == b"new"
    for companion in path.parent.glob(f"{path.name}-*"):
        companion.unlink()
    snapshot.rename(path)
    told.append(store.continuity())
    assert other.continuity() == told[-1]
    assert len(set(told)) == 3, "the older copy has the name of the first file, and is not the same"
    assert store.get("k") == other.get("k") == b"old"
    assert store.take("k") is None, "it may have been spent since"
    assert other.take("k") is None
    assert store.add_once("late", 1e11), "what the copy does not know: the register has to wait, and is told so"
    assert not other.add_once("late", 1e11)
    path.unlink()
    assert store.get("k") is None, "a file that is gone is made again"
    assert path.exists()
    for each in (store, other):
        each.close()


def test_f76_a_damaged_file_fails_until_a_good_one_is_put_in_its_place(path: Path) -> None:
    store = SQLiteStore(path)
    store.put("k", b"v" * 3000, 1e11)
    store.close()
    good = path.read_bytes()
    damaged = path.parent / "damaged"
    damaged.write_bytes(good[:100] + b"\xa5" * (len(good) - 100))
    damaged.chmod(0o600)
    store = SQLiteStore(path)
    assert store.get("k") == b"v" * 3000
    damaged.rename(path)
    for _ in range(3):
        with pytest.raises(StoreError):
            store.get("k")
    path.write_bytes(good)  # in place, while nobody has it open
    assert store.get("k") == b"v" * 3000
    store.close()


@needs_fork
def test_f86_a_child_of_a_store_in_memory_has_another_identity() -> None:
    store = MemoryStore()
    assert in_child(lambda: store.continuity().identity.encode()) != store.continuity().identity.encode()
