"""An older copy of a SQLite store holds what was spent since: none of it is taken a second time."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from resumption.errors import StoreError
from resumption.session.stores import sqlite_file, sqlite_life
from resumption.session.stores.sqlite import SQLiteStore

LATER = 1e11
KEYS = [f"k{number}" for number in range(8)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture(params=["moved", "written over"])
def restore(request: pytest.FixtureRequest) -> Callable[[Path, Path], None]:
    """What an administrator does with a copy, while nobody has the file open."""
    return {"moved": move_in, "written over": write_over}[request.param]


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    store = SQLiteStore(path, busy_timeout_s=10.0)
    yield store
    store.close()


def copy_of(path: Path, name: str = "copy") -> Path:
    """A copy as a backup program makes it."""
    copy = path.parent / name
    with contextlib.closing(sqlite3.connect(path)) as source, contextlib.closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    copy.chmod(0o600)
    return copy


def move_in(copy: Path, path: Path) -> None:
    """Move a copy to where the file is, without what SQLite keeps beside it."""
    for each in (path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        each.unlink(missing_ok=True)
    shutil.copy2(copy, copy.with_suffix(".kept"))
    copy.with_suffix(".kept").replace(path)


def write_over(copy: Path, path: Path) -> None:
    number = path.stat().st_ino
    path.write_bytes(copy.read_bytes())
    assert path.stat().st_ino == number


def fill(store: SQLiteStore) -> None:
    store.put_many([(key, key.encode(), LATER) for key in KEYS])


def closed(store: SQLiteStore) -> None:
    """As around a fork: the file is closed, and opened again when it is needed."""
    store.before_fork()
    store.after_fork_in_parent()


def test_f85_what_an_older_copy_brings_back_is_not_taken_again_by_anybody(store: SQLiteStore, path: Path) -> None:
    fill(store)
    copy = copy_of(path)
    assert store.take("k0") == b"k0"
    for _ in range(2):  # the same copy, as often as somebody likes
        move_in(copy, path)
        assert store.get("k0") == b"k0", "what may be used more than once is there"
        newcomer = SQLiteStore(path)
        for each in (store, newcomer):
            assert [each.take(key) for key in KEYS] == [None] * 8
            assert each.take("k0", "k1") is None
        store.put("new", b"new", LATER)
        assert newcomer.take("new") == b"new"
        assert store.take("new") is None
        newcomer.put("k0", b"again", LATER)
        assert store.take("k0") == b"again", "an id that is used again is another value"
        newcomer.close()


def test_f85_a_copy_that_is_restored_while_nobody_is_there_is_found_out_all_the_same(
    path: Path, restore: Callable[[Path, Path], None]
) -> None:
    first = SQLiteStore(path)
    fill(first)
    copy = copy_of(path)
    assert first.take("k0") == b"k0"
    first.close()
    restore(copy, path)
    second = SQLiteStore(path)
    assert second.take("k0") is None
    second.put("k0", b"new", LATER)
    second.close()
    third = SQLiteStore(path)
    assert third.take("k0") == b"new", "a file that stayed where it was loses nothing"
    third.close()


def test_f85_of_two_keys_the_one_of_this_life_is_taken(store: SQLiteStore, path: Path) -> None:
    fill(store)
    move_in(copy_of(path), path)
    store.put("k1", b"new", LATER)
    assert store.take("k0", "k1") == b"new"
    assert store.get("k0") is None, "both are gone"


def test_f85_a_file_that_goes_back_under_running_processes_is_found_out(
    store: SQLiteStore, path: Path, restore: Callable[[Path, Path], None]
) -> None:
    fill(store)
    copy = copy_of(path)
    other = SQLiteStore(path)
    assert store.take("k0") == b"k0"
    assert store.take("k1") == b"k1"
    told = store.continuity()
    for each in (store, other):
        closed(each)
    restore(copy, path)
    assert store.take("k0") is None
    assert other.take("k1") is None, "it has been told through the file"
    assert store.continuity() == other.continuity() != told
    other.put("new", b"new", LATER)
    assert store.take("new") == b"new"
    other.close()


def test_f85_a_file_that_goes_back_with_its_companion_is_found_out_by_who_took_from_it(
    store: SQLiteStore, path: Path
) -> None:
    fill(store)
    copy, companion = copy_of(path), path.with_name("sessions.db-taken")
    then = companion.read_bytes()
    assert store.take("k0") == b"k0"
    closed(store)
    write_over(copy, path)
    companion.write_bytes(then)
    assert store.take("k0") is None


def test_f85_without_its_companion_a_file_begins_anew(store: SQLiteStore, path: Path) -> None:
    companion = path.with_name("sessions.db-taken")
    assert companion.stat().st_mode & 0o777 == 0o600
    for spoil in (companion.unlink, lambda: companion.write_bytes(b"short")):
        fill(store)
        told = store.continuity()
        spoil()
        assert store.take("k0") is None
        assert store.continuity() != told
        fill(store)
        assert store.take("k0") == b"k0"


def test_a_companion_that_cannot_be_written_is_a_store_error_and_nothing_is_taken(
    store: SQLiteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store)

    def fails(*words: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(sqlite_life.os, "write", fails)
    with pytest.raises(StoreError, match=r"sessions\.db-taken beside the session store failed: Input/output error"):
        store.take("k0")
    monkeypatch.undo()
    assert store.take("k0") == b"k0"


def test_a_companion_that_cannot_be_read_is_a_store_error(store: SQLiteStore, path: Path) -> None:
    fill(store)
    companion = path.with_name("sessions.db-taken")
    companion.unlink()
    companion.mkdir()
    with pytest.raises(StoreError, match="beside the session store failed"):
        store.take("k0")


@pytest.mark.parametrize("committed", [False, True])
def test_who_dies_while_taking_costs_nobody_else_a_session(path: Path, committed: bool) -> None:
    """The companion stands for a taking that may have been made, or not."""
    doomed, other = SQLiteStore(path), SQLiteStore(path)
    fill(doomed)
    assert doomed.take("k0") == b"k0"
    closed(doomed)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        assert doomed._life.count_taking(connection, doomed._opened, 0.0) is not None
        connection.execute("COMMIT" if committed else "ROLLBACK")
    assert [other.take(key) for key in KEYS[1:3]] == [b"k1", b"k2"]
    doomed._life.taken()  # late: others have gone on
    assert [other.take(key) for key in KEYS[3:5]] == [b"k3", b"k4"]
    for store in (doomed, other):
        store.close()


def test_f85_after_a_power_failure_the_file_may_have_lost_what_was_spent(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boot = tmp_path / "boot_id"
    boot.write_text("first\n")
    monkeypatch.setattr(sqlite_life, "_BOOT_ID", boot)
    store = SQLiteStore(path)
    fill(store)
    told = store.continuity()
    store.close()
    same = SQLiteStore(path)
    assert same.take("k0") == b"k0"
    assert same.continuity() == told
    same.close()
    boot.write_text("second\n")
    again = SQLiteStore(path)
    assert again.take("k1") is None
    assert again.get("k1") == b"k1"
    assert again.continuity() != told
    again.close()


def test_f85_a_file_that_is_replaced_while_it_is_opened_is_opened_again(
    store: SQLiteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the path and the opening: the copy says that it lies where the file before it lay."""
    fill(store)
    copy = copy_of(path)
    assert store.take("k0") == b"k0"
    closed(store)
    connect = sqlite3.connect

    def replaced(*words: object, **options: object) -> sqlite3.Connection:
        monkeypatch.setattr(sqlite_file.sqlite3, "connect", connect)
        move_in(copy, path)
        return connect(*words, **options)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(sqlite_file.sqlite3, "connect", replaced)
    assert store.take("k0") is None


def test_a_file_that_never_stays_is_a_store_error(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_is_on_path", lambda: False)
    monkeypatch.setattr(sqlite_file, "_OPENING_TIMEOUT_S", 0.0)
    with pytest.raises(StoreError, match="replaced again and again"):
        store.get("k")
    monkeypatch.undo()
    assert store.get("k") is None


def test_a_life_that_cannot_begin_is_a_store_error_until_it_can(path: Path) -> None:
    first = SQLiteStore(path)
    fill(first)
    first.close()
    move_in(copy_of(path), path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="cannot begin its next life"):
            SQLiteStore(path, busy_timeout_s=0.01)
        holder.execute("ROLLBACK")
    store = SQLiteStore(path, busy_timeout_s=0.01)
    assert store.take("k0") is None
    store.close()


def test_f85_a_copy_that_has_lost_marks_is_another_life_which_says_since_when(
    path: Path, restore: Callable[[Path, Path], None]
) -> None:
    now = [1000.0]
    store = SQLiteStore(path, clock=lambda: now[0])
    assert store.continuity().since == 1000.0
    assert store.add_once("early", LATER)
    copy = copy_of(path)
    now[0] = 2000.0
    assert store.add_once("late", LATER)
    assert not store.add_once("late", LATER)
    assert store.continuity().since == 1000.0
    closed(store)
    restore(copy, path)
    now[0] = 3000.0
    assert store.add_once("late", LATER), "the mark is lost"
    assert store.continuity().since == 3000.0, "and nobody trusts it"
    assert not store.add_once("early", LATER)
    store.close()


def test_f85_while_a_copy_is_put_in_place_again_and_again_nothing_is_taken_twice(path: Path) -> None:
    makers = [SQLiteStore(path, busy_timeout_s=10.0) for _ in range(3)]
    taken: Counter[str] = Counter()
    lock, over = threading.Lock(), threading.Event()
    names: list[str] = []

    def use(number: int) -> None:
        store = makers[number]
        for count in range(10_000):
            if over.is_set():
                return
            name = f"{number}/{count}"
            with contextlib.suppress(StoreError):
                store.put(name, b"v", LATER)
                names.append(name)
                for wanted in names[-6:]:
                    if store.take(wanted) is not None:
                        with lock:
                            taken[wanted] += 1

    threads = [threading.Thread(target=use, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        for number in range(6):
            while len(names) < 40 * (number + 1):
                over.wait(0.001)
            copy = copy_of(path)
            reached = len(names)
            while len(names) < reached + 20:
                over.wait(0.001)
            move_in(copy, path)
    finally:
        over.set()
        for thread in threads:
            thread.join()
        for store in makers:
            store.close()
    assert set(taken.values()) == {1}
