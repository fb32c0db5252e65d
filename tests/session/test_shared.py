from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from resumption.errors import InternalError, StoreError
from resumption.session.fleet.shared import SharedSessions, SharedSessionsStats
from resumption.session.stores.guarded import StoreLimits, StoreUnavailable
from resumption.session.stores.memory import MemoryStore
from resumption.session.stores.sqlite import SQLiteStore
from resumption.session.stores.store import SessionStore
from resumption.session.tickets.keys import TicketKeys
from tests.session.ticket_cases import DAY, HOUR, NOW, OTHER_PARTITION, OTHER_SECRET, PARTITION, SECRET, Clock

SESSION_ID = bytes(range(32))
LATER = NOW + HOUR


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    return MemoryStore(clock=clock)


def sessions_in(store: SessionStore, clock: Clock, secret: bytes = SECRET) -> SharedSessions:
    return SharedSessions(store, TicketKeys.from_secret(secret), clock=clock, limits=StoreLimits(timeout_s=10))


@pytest.fixture
def sessions(store: MemoryStore, clock: Clock) -> SharedSessions:
    return sessions_in(store, clock)


def test_what_one_process_saves_another_loads(sessions: SharedSessions, store: MemoryStore, clock: Clock) -> None:
    other = sessions_in(store, clock)
    assert sessions.save(SESSION_ID, PARTITION, b"session", LATER)
    assert other.load(SESSION_ID, PARTITION, False) == b"session"
    assert other.load(SESSION_ID, PARTITION, False) == b"session"
    assert sessions.stats == SharedSessionsStats(saved=1)
    assert other.stats == SharedSessionsStats(hits=2)


def test_a_single_use_session_is_loaded_once(sessions: SharedSessions, store: MemoryStore, clock: Clock) -> None:
    sessions.save(SESSION_ID, PARTITION, b"session", LATER)
    assert sessions_in(store, clock).load(SESSION_ID, PARTITION, True) == b"session"
    assert sessions.load(SESSION_ID, PARTITION, True) is None
    assert sessions.stats.misses == 1


def test_other_ids_and_partitions_find_nothing_and_disturb_nothing(sessions: SharedSessions) -> None:
    sessions.save(SESSION_ID, PARTITION, b"session", LATER)
    assert sessions.load(SESSION_ID[:-1] + b"x", PARTITION, True) is None
    assert sessions.load(b"", PARTITION, True) is None
    assert sessions.load(SESSION_ID, OTHER_PARTITION, True) is None
    assert sessions.stats == SharedSessionsStats(saved=1, misses=3)
    assert sessions.load(SESSION_ID, PARTITION, True) == b"session"


def test_another_fleet_in_the_same_store_finds_nothing(
    sessions: SharedSessions, store: MemoryStore, clock: Clock
) -> None:
    sessions.save(SESSION_ID, PARTITION, b"session", LATER)
    assert sessions_in(store, clock, OTHER_SECRET).load(SESSION_ID, PARTITION, True) is None
    assert sessions.load(SESSION_ID, PARTITION, True) == b"session"


def test_a_removed_session_is_gone(sessions: SharedSessions) -> None:
    sessions.save(SESSION_ID, PARTITION, b"session", LATER)
    sessions.remove(SESSION_ID, PARTITION)
    assert sessions.load(SESSION_ID, PARTITION, False) is None


def test_a_session_is_found_after_midnight_and_renewal_wins(sessions: SharedSessions, clock: Clock) -> None:
    clock.now = 20_781.0 * DAY - 100
    sessions.save(SESSION_ID, PARTITION, b"before midnight", clock.now + HOUR)
    clock.now += 300
    assert sessions.load(SESSION_ID, PARTITION, False) == b"before midnight"
    sessions.save(SESSION_ID, PARTITION, b"after midnight", clock.now + HOUR)
    assert sessions.load(SESSION_ID, PARTITION, False) == b"after midnight"
    assert sessions.load(SESSION_ID, PARTITION, True) == b"after midnight"
    assert sessions.load(SESSION_ID, PARTITION, True) is None  # both were spent


def test_a_session_ends_at_its_time_or_a_little_before(clock: Clock) -> None:
    ends = []
    for _ in range(200):
        seen: list[float] = []

        class Watching(MemoryStore):
            def put(self, key: str, value: bytes, expires_at: float, seen: list[float] = seen) -> None:
                seen.append(expires_at)

        sessions_in(Watching(clock=clock), clock).save(SESSION_ID, PARTITION, b"session", LATER)
        ends += seen
    assert all(LATER - HOUR * 0.05 <= end <= LATER for end in ends)
    assert max(ends) - min(ends) > HOUR * 0.02  # what was stored together does not end together


@pytest.mark.parametrize(
    ("session_id", "plaintext", "expires_at"),
    [(b"", b"x", LATER), (SESSION_ID, bytes(16_385), LATER), (SESSION_ID, b"x", NOW), (SESSION_ID, b"x", float("nan"))],
)
def test_what_cannot_be_kept_is_counted(
    sessions: SharedSessions, session_id: bytes, plaintext: bytes, expires_at: float
) -> None:
    assert sessions.save(session_id, PARTITION, plaintext, expires_at) is None
    assert sessions.stats == SharedSessionsStats(not_saved=1)


# --- trouble ---------------------------------------------------------------------------------------------------------


class Broken:
    """A store that fails every call."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def fail(self, *_: object) -> None:
        raise self.error

    get = take = put = remove = add_once = fail

    def close(self) -> None:
        pass


@pytest.mark.parametrize("error", [StoreError("down"), OSError("gone"), RuntimeError("bug"), KeyError("k")])
def test_f12_f74_a_store_that_fails_is_a_miss(error: Exception, clock: Clock) -> None:
    sessions = sessions_in(Broken(error), clock)  # type: ignore[arg-type]
    for single_use in (False, True):
        with pytest.raises(StoreUnavailable, match=f"the store failed: {type(error).__name__}"):
            sessions.load(SESSION_ID, PARTITION, single_use)
    assert sessions.save(SESSION_ID, PARTITION, b"session", LATER)
    assert sessions.flush(10)
    sessions.remove(SESSION_ID, PARTITION)
    assert sessions.flush(10)
    assert sessions.stats == SharedSessionsStats(saved=1, store_errors=2)
    assert sessions.guard.stats.write_failures >= 2
    assert sessions.guard.stats.written == 0
    sessions.close()


@pytest.mark.parametrize("answer", [b"", b"junk", bytes(512), b"\x01" + bytes(511), os.urandom(1024), "text", 7])
@pytest.mark.parametrize("single_use", [False, True])
def test_f47_a_poisoned_record_costs_that_record_only(
    store: MemoryStore, clock: Clock, answer: bytes, single_use: bool
) -> None:
    sessions = sessions_in(store, clock)
    sessions.save(bytes(32), PARTITION, b"another session", LATER)
    sessions.save(SESSION_ID, PARTITION, b"session", LATER)
    (key,) = list(store._values)[1:]
    store._values[key] = (answer, LATER)
    store._bytes = 10**6  # so that poisoning the dictionary does not upset the count of bytes
    if not isinstance(answer, bytes):
        store._drop = lambda name: store._values.pop(name, None)  # type: ignore[method-assign]
    assert sessions.load(SESSION_ID, PARTITION, single_use) is None
    assert sessions.stats.unopened == 1
    assert sessions.stats.misses == 1
    assert key not in store._values
    assert sessions.load(bytes(32), PARTITION, single_use) == b"another session"


def test_a_record_that_the_store_swapped_does_not_open(sessions: SharedSessions, store: MemoryStore) -> None:
    sessions.save(SESSION_ID, PARTITION, b"mine", LATER)
    sessions.save(bytes(32), PARTITION, b"someone else's", LATER)
    mine, theirs = store._values
    store._values[mine], store._values[theirs] = store._values[theirs], store._values[mine]
    assert sessions.load(SESSION_ID, PARTITION, False) is None
    assert sessions.stats.unopened == 1


def test_f60_without_usable_keys_nothing_is_asked_of_the_store(clock: Clock) -> None:
    keys = TicketKeys.from_secret(SECRET)
    keys.close()
    sessions = SharedSessions(Broken(StoreError("asked")), keys, clock=clock)  # type: ignore[arg-type]
    assert sessions.save(SESSION_ID, PARTITION, b"session", LATER) is None
    assert sessions.load(SESSION_ID, PARTITION, True) is None
    sessions.remove(SESSION_ID, PARTITION)
    assert sessions.stats == SharedSessionsStats(not_saved=1, misses=1)


def test_a_random_source_that_fails_is_never_papered_over(store: MemoryStore, clock: Clock) -> None:
    sessions = SharedSessions(store, TicketKeys.from_secret(SECRET), clock=clock, random=lambda _: b"")
    with pytest.raises(InternalError):
        sessions.save(SESSION_ID, PARTITION, b"session", LATER)
    assert len(store) == 0


# --- ids that are not known ------------------------------------------------------------------------------------------


class Counting(MemoryStore):
    """Tells how often it was asked."""

    asked = 0

    def get(self, key: str, other: str | None = None) -> bytes | None:
        self.asked += 1
        return super().get(key, other)

    def take(self, key: str, other: str | None = None) -> bytes | None:
        self.asked += 1
        return super().take(key, other)


def test_an_unknown_id_is_asked_for_once_in_a_while(clock: Clock) -> None:
    store = Counting(clock=clock)
    sessions = sessions_in(store, clock)
    for _ in range(5):
        assert sessions.load(SESSION_ID, PARTITION, False) is None
    assert store.asked == 1
    assert sessions.stats == SharedSessionsStats(misses=5, known_misses=4)
    clock.now += 5
    assert sessions.load(SESSION_ID, PARTITION, False) is None
    assert store.asked == 2


def test_an_id_is_known_as_soon_as_it_is_saved_here_and_soon_elsewhere(clock: Clock) -> None:
    store = Counting(clock=clock)
    sessions, other = sessions_in(store, clock), sessions_in(store, clock)
    assert sessions.load(SESSION_ID, PARTITION, False) is None
    assert other.load(SESSION_ID, PARTITION, False) is None
    sessions.save(SESSION_ID, PARTITION, b"session", LATER)
    assert sessions.load(SESSION_ID, PARTITION, False) == b"session"
    assert other.load(SESSION_ID, PARTITION, False) is None
    clock.now += 5
    assert other.load(SESSION_ID, PARTITION, False) == b"session"


def test_a_spent_session_is_not_asked_for_again(clock: Clock) -> None:
    store = Counting(clock=clock)
    sessions = sessions_in(store, clock)
    sessions.save(SESSION_ID, PARTITION, b"session", LATER)
    assert sessions.load(SESSION_ID, PARTITION, True) == b"session"
    assert sessions.load(SESSION_ID, PARTITION, True) is None
    assert store.asked == 1


def test_f70_unknown_ids_are_remembered_in_bounded_number(clock: Clock) -> None:
    store = Counting(clock=clock)
    sessions = SharedSessions(
        store, TicketKeys.from_secret(SECRET), clock=clock, limits=StoreLimits(negative_entries=10)
    )
    for number in range(1000):
        assert sessions.load(number.to_bytes(32, "big"), PARTITION, False) is None
        assert len(sessions._unknown) <= 10
    assert store.asked == 1000
    sessions.load((999).to_bytes(32, "big"), PARTITION, False)
    assert store.asked == 1000
    sessions.load(bytes(32), PARTITION, False)
    assert store.asked == 1001


def test_trouble_is_not_taken_for_an_answer(clock: Clock) -> None:
    store = Counting(clock=clock)
    sessions = sessions_in(store, clock)
    sessions.save(SESSION_ID, PARTITION, b"session", LATER)
    working, store.get = store.get, Broken(StoreError("down")).fail  # type: ignore[method-assign, assignment]
    with pytest.raises(StoreUnavailable):
        sessions.load(SESSION_ID, PARTITION, False)
    store.get = working  # type: ignore[method-assign]
    assert sessions.load(SESSION_ID, PARTITION, False) == b"session"


# --- processes -------------------------------------------------------------------------------------------------------


def work(path: Path, start: object, answers: object, first: int) -> None:
    """A worker: saves its own sessions, waits for the others, loads everybody's."""
    store = SQLiteStore(path, busy_timeout_s=10.0)
    sessions = SharedSessions(store, TicketKeys.from_secret(SECRET), limits=StoreLimits(timeout_s=10))
    ids = [bytes([number]) * 32 for number in range(30)]
    for session_id in ids[first : first + 10]:
        sessions.save(session_id, PARTITION, session_id[:1] * 100, 4e9)
    assert sessions.flush(30)
    start.wait()  # type: ignore[attr-defined]
    shared = sum(sessions.load(session_id, PARTITION, False) == session_id[:1] * 100 for session_id in ids)
    start.wait()  # type: ignore[attr-defined]
    spent = sum(sessions.load(session_id, PARTITION, True) is not None for session_id in ids)
    answers.put((shared, spent, sessions.stats.store_errors))  # type: ignore[attr-defined]
    sessions.close()
    store.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_every_worker_finds_every_session_and_each_is_spent_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start, answers = context.Barrier(3), context.Queue()
    workers = [context.Process(target=work, args=(tmp_path / "s.db", start, answers, first)) for first in (0, 10, 20)]
    for worker in workers:
        worker.start()
    found = [answers.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    assert [shared for shared, _, _ in found] == [30, 30, 30]
    assert sum(spent for _, spent, _ in found) == 30
    assert sum(errors for _, _, errors in found) == 0
