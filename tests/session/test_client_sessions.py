"""A client's sessions in a file: taken once among processes, bounded, sealed, and never in anybody's way."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from resumption.errors import ConfigurationError
from resumption.session.fleet.client_sessions import ClientSessionStore
from resumption.session.stores.sqlite import SQLiteStore
from tests.session.test_forking import in_child
from tests.session.ticket_cases import NOW, OTHER_SECRET, SECRET, Clock

PEER, OTHER = b"p" * 32, b"q" * 32
WEEK = 604_800


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "client.db"


@pytest.fixture
def store(path: Path, clock: Clock) -> Iterator[ClientSessionStore]:
    store = ClientSessionStore(path, clock=clock, busy_timeout_s=10.0)
    yield store
    store.close()


def put(store: ClientSessionStore, what: bytes, peer: bytes = PEER, **options: Any) -> bool:
    return store.put(peer, what, **{"single_use": True, "made": NOW, "expires_at": NOW + 3600, **options})


def take(store: ClientSessionStore, peer: bytes = PEER) -> bytes | None:
    taken = store.take(peer)
    return None if taken is None else taken.packed


# --- what it does ----------------------------------------------------------------------------------------------------


def test_f62_a_ticket_is_handed_out_once_the_newest_first(store: ClientSessionStore) -> None:
    for number in (2, 1, 3):
        assert put(store, b"ticket %d" % number, made=NOW + number)
    assert store.count(PEER) == 3
    taken = [store.take(PEER) for _ in range(4)]
    assert [each and each.packed for each in taken] == [b"ticket 3", b"ticket 2", b"ticket 1", None]
    assert [each and each.left for each in taken] == [2, 1, 0, None]
    assert (store.stats.hits, store.stats.misses, store.stats.saved) == (3, 1, 3)


def test_a_session_of_tls_12_is_shared_and_there_is_one(store: ClientSessionStore) -> None:
    put(store, b"first", single_use=False)
    put(store, b"second", single_use=False)
    assert [take(store), take(store)] == [b"second", b"second"]
    assert store.count(PEER) == 1
    assert store.forget(PEER, single_use=False) == 1
    assert take(store) is None


def test_peers_are_apart(store: ClientSessionStore) -> None:
    put(store, b"mine")
    assert take(store, OTHER) is None
    assert store.forget(OTHER) == 0
    assert take(store) == b"mine"


def test_sessions_outlive_the_process_that_kept_them(path: Path, clock: Clock) -> None:
    first = ClientSessionStore(path, clock=clock)
    put(first, b"kept")
    first.close()
    again = ClientSessionStore(path, clock=clock)
    assert take(again) == b"kept"
    again.close()


# --- bounds ----------------------------------------------------------------------------------------------------------


def test_f73_a_peer_has_eight_sessions_and_the_oldest_make_room(store: ClientSessionStore) -> None:
    for number in range(20):
        put(store, b"%d" % number, made=NOW + number)
    assert len(store) == 8
    assert [take(store) for _ in range(9)] == [*(b"%d" % number for number in range(19, 11, -1)), None]


def test_f73_the_server_used_longest_ago_makes_room(path: Path, clock: Clock) -> None:
    store = ClientSessionStore(path, clock=clock, max_peers=3)
    for number in range(5):
        clock.now = NOW + number
        put(store, b"x", peer=bytes([number]) * 32)
    assert [store.count(bytes([number]) * 32) for number in range(5)] == [0, 0, 1, 1, 1]
    assert len(store) == 3
    store.close()


def test_what_has_expired_is_never_handed_out_and_is_swept(store: ClientSessionStore, clock: Clock) -> None:
    put(store, b"short", expires_at=NOW + 10)
    assert not put(store, b"late", expires_at=NOW)
    clock.now = NOW + 10
    assert take(store) is None
    put(store, b"fresh", expires_at=NOW + 100)
    assert len(store) == 1
    clock.now = NOW + 100
    assert store.flush() == 1


def test_f63_seven_days_are_the_most(store: ClientSessionStore, clock: Clock) -> None:
    put(store, b"for ever", expires_at=float("inf"))
    clock.now = NOW + WEEK
    assert take(store) is None


def test_a_session_too_large_is_not_kept_and_the_largest_is(store: ClientSessionStore) -> None:
    assert not put(store, b"x" * 32_768)
    assert put(store, b"y" * 32_767)
    assert take(store) == b"y" * 32_767
    assert store.stats.not_saved == 1


def test_f62_clear_empties_everything(store: ClientSessionStore) -> None:
    put(store, b"a")
    put(store, b"b", peer=OTHER)
    assert store.clear() == 2
    assert len(store) == 0


@pytest.mark.parametrize("options", [{"max_peers": 0}, {"max_per_peer": 0}, {"busy_timeout_s": -1.0}])
def test_room_is_needed_for_something(path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        ClientSessionStore(path, **options)


# --- at rest ---------------------------------------------------------------------------------------------------------


def test_f76_the_file_shows_neither_session_nor_peer(store: ClientSessionStore, path: Path) -> None:
    put(store, b"the secret of this session")
    content = b"".join(file.read_bytes() for file in path.parent.iterdir() if not file.name.endswith(".key"))
    assert b"the secret" not in content
    assert PEER not in content
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_another_key_is_a_miss(path: Path, clock: Clock) -> None:
    ours = ClientSessionStore(path, SECRET, clock=clock)
    put(ours, b"ours")
    theirs = ClientSessionStore(path, OTHER_SECRET, clock=clock)
    assert take(theirs) is None
    assert take(ours) == b"ours"
    assert not path.with_name("client.db.key").exists()
    for store in (ours, theirs):
        store.close()


@pytest.mark.parametrize(
    "change",
    [
        "expires_at = expires_at + 1",
        "made = made + 1",
        "single_use = 0",
        "peer = (SELECT peer FROM peers ORDER BY used DESC LIMIT 1)",
        "sealed = substr(sealed, 1, length(sealed) - 1)",
        "sealed = zeroblob(600)",
        "sealed = x'01'",
        "sealed = 'text'",
        "sealed = 7",
    ],
)
def test_f76_a_row_that_was_changed_is_dropped_and_the_next_one_is_used(
    store: ClientSessionStore, path: Path, clock: Clock, change: str
) -> None:
    put(store, b"good", made=NOW - 1)
    put(store, b"changed", made=NOW + 1)
    clock.now = NOW + 1
    put(store, b"other", peer=OTHER, made=NOW - 2)
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE sessions SET {change} WHERE id = 2")
    connection.close()
    found = {take(store), take(store, OTHER), take(store, OTHER)}
    assert b"changed" not in found
    assert {b"good", b"other"} <= found
    assert store.stats.unopened == 1
    assert len(store) == 0


@pytest.mark.parametrize("mode", [0o640, 0o604])
@pytest.mark.parametrize("name", ["client.db", "client.db.key"])
def test_files_that_others_can_reach_are_refused(path: Path, name: str, mode: int) -> None:
    ClientSessionStore(path).close()
    path.with_name(name).chmod(mode)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        ClientSessionStore(path)


def test_a_file_of_something_else_is_refused_and_left_alone(path: Path) -> None:
    SQLiteStore(path).close()
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="no client session store"):
        ClientSessionStore(path)
    assert path.read_bytes() == before


def test_f60_a_damaged_file_is_a_miss_from_the_start(path: Path) -> None:
    path.write_bytes(b"this was a database once" * 100)
    path.chmod(0o600)
    store = ClientSessionStore(path)
    assert take(store) is None
    assert not put(store, b"x")
    assert (len(store), store.count(PEER), store.flush(), store.clear(), store.forget(PEER)) == (0, 0, 0, 0, 0)
    assert store.stats.errors > 0
    assert "client session store" in str(store.trouble)
    store.close()


def test_f60_a_file_that_is_damaged_meanwhile_is_a_miss(store: ClientSessionStore, path: Path) -> None:
    for number in range(8):
        put(store, bytes(4000), peer=bytes([number]) * 32)
    store._disconnect()
    with path.open("r+b") as file:
        file.seek(100)
        file.write(os.urandom(path.stat().st_size - 100))
    assert take(store) is None
    assert store.trouble is not None
    store._connection = None


def test_f60_a_disk_that_is_full_or_a_folder_that_is_gone_is_a_miss(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be written"):
        ClientSessionStore(tmp_path / "missing" / "client.db")
    store = ClientSessionStore(tmp_path / "missing" / "client.db", SECRET)
    assert take(store) is None
    store.close()


def test_a_lock_that_is_held_too_long_is_a_miss_in_bounded_time(path: Path, clock: Clock) -> None:
    store = ClientSessionStore(path, clock=clock, busy_timeout_s=0.01)
    put(store, b"x")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert take(store) is None
    assert not put(store, b"y")
    other.execute("ROLLBACK")
    other.close()
    assert take(store) == b"x"
    store.close()


def test_a_closed_store_misses(store: ClientSessionStore) -> None:
    put(store, b"x")
    store.close()
    assert take(store) is None


# --- threads, forks, processes ---------------------------------------------------------------------------------------


def test_threads_take_each_ticket_once(path: Path, clock: Clock) -> None:
    store = ClientSessionStore(path, clock=clock, max_per_peer=40, busy_timeout_s=10.0)
    for number in range(40):
        put(store, b"%d" % number)
    taken: list[bytes] = []

    def work() -> None:
        while (found := take(store)) is not None:
            taken.append(found)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(b"%d" % number for number in range(40))
    store.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_parent_and_child_share_the_file_after_a_fork(store: ClientSessionStore) -> None:
    put(store, b"x")
    assert in_child(lambda: take(store)) == b"x"
    assert take(store) is None


def take_all(path: Path, start: Any, answers: Any) -> None:
    store = ClientSessionStore(path, clock=Clock(NOW), max_per_peer=60, busy_timeout_s=10.0)
    answers.put(None)
    start.wait()
    taken = []
    while (found := take(store)) is not None:
        taken.append(found)
    answers.put(taken)


def test_processes_share_one_key_and_take_each_ticket_once(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start, answers = context.Event(), context.Queue()
    processes = [context.Process(target=take_all, args=(path, start, answers)) for _ in range(3)]
    for process in processes:  # they make the file and its key at the same moment
        process.start()
    for _ in processes:
        answers.get(timeout=60)
    store = ClientSessionStore(path, clock=Clock(NOW), max_per_peer=60, busy_timeout_s=10.0)
    for number in range(60):
        assert put(store, b"%d" % number)
    start.set()
    taken = [ticket for _ in processes for ticket in answers.get(timeout=60)]
    for process in processes:
        process.join(60)
    assert sorted(taken) == sorted(b"%d" % number for number in range(60))
    assert take(store) is None
    store.close()


def take_and_put(path: Path, busy: Any) -> None:
    store = ClientSessionStore(path, SECRET, clock=Clock(NOW), busy_timeout_s=10.0)
    for number in range(1_000_000):
        put(store, b"%d" % number)
        take(store)
        if number == 20:
            busy.release()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="processes cannot be killed outright here")
def test_processes_that_are_killed_leave_a_sound_file(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ClientSessionStore(path, SECRET).close()
    busy = context.Semaphore(0)
    processes = [context.Process(target=take_and_put, args=(path, busy)) for _ in range(2)]
    for process in processes:
        process.start()
    for _ in processes:
        assert busy.acquire(timeout=60)
    for process in processes:
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join(60)
    store = ClientSessionStore(path, SECRET, clock=Clock(NOW), busy_timeout_s=10.0)
    store.take(PEER)
    assert store.clear() <= 8
    assert put(store, b"after")
    assert take(store) == b"after"
    assert store.trouble is None
    assert store._connection is not None
    assert store._connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    store.close()
