"""The register of replays: exactly once, for long enough, in bounded room, and never more than it can vouch for."""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from resumption.errors import ConfigurationError, StoreError
from resumption.session.early import EarlyReason
from resumption.session.fleet.replay import ReplayRegister, SpentTickets, replay_key, spent_key
from resumption.session.stores.guarded import GuardedStore, StoreLimits
from resumption.session.stores.memory import MemoryStore
from resumption.session.stores.sqlite import SQLiteStore
from resumption.session.stores.store import SessionStore
from resumption.session.verdicts import Reason
from tests.handshake.pairs import Clock, Random

START = 1_800_000_000.0
SEEN, WARMING_UP, UNAVAILABLE = EarlyReason.SEEN, EarlyReason.WARMING_UP, EarlyReason.REGISTER_UNAVAILABLE


@pytest.fixture
def clock() -> Clock:
    return Clock(START)


def key(number: int) -> bytes:
    return replay_key(b"0123456789abcdef" * 2, b"partition", number.to_bytes(32, "big"))


def warm(register: ReplayRegister, clock: Clock) -> ReplayRegister:
    """The register once it may vouch for everything."""
    register.admit(key(10**6), clock())
    clock.advance(register.kept_s)
    return register


# --- keys ------------------------------------------------------------------------------------------------------------


def test_keys_depend_on_secret_partition_and_binder() -> None:
    secret, other = b"0123456789abcdef" * 2, b"fedcba9876543210" * 2
    made = {
        replay_key(secret, b"p", b"binder"),
        replay_key(other, b"p", b"binder"),
        replay_key(secret, b"q", b"binder"),
        replay_key(secret, b"pb", b"inder"),
        replay_key(secret, b"p", b"another"),
        spent_key(secret, b"p"),
        spent_key(other, b"p"),
        spent_key(secret, b"q"),
    }
    assert len(made) == 8
    assert {len(one) for one in made} == {32}


@pytest.mark.parametrize("partition", [b"", b"p", b"p" * 300])
def test_servers_of_any_release_make_the_same_keys(partition: bytes) -> None:
    """While a fleet is upgraded, servers of two releases share one store."""
    secret, length = bytes(range(32)), struct.pack(">H", len(partition))
    replays = hmac.digest(secret, b"resumption replay 1" + length + partition + b"binder", "sha256")
    assert replay_key(secret, partition, b"binder") == replays
    assert spent_key(secret, partition) == hmac.digest(secret, b"resumption spent 1" + length + partition, "sha256")


# --- in memory -------------------------------------------------------------------------------------------------------


def test_a_hello_is_new_once(clock: Clock) -> None:
    register = ReplayRegister(clock=clock)
    assert [register.admit(key(number), clock()) for number in (1, 2, 1, 1, 2, 3)] == [
        None,
        None,
        SEEN,
        SEEN,
        SEEN,
        None,
    ]
    assert (register.stats.admitted, register.stats.seen, register.stats.refused) == (3, 3, 0)


@pytest.mark.parametrize("window_s", [0.5, 10.0, 60.0])
def test_f88_it_is_remembered_for_twice_the_window_and_the_skew(clock: Clock, window_s: float) -> None:
    register = ReplayRegister(clock=clock, window_s=window_s, skew_s=5.0)
    assert register.kept_s == 2 * window_s + 5
    for step in range(200):  # whenever within its part of time it came
        assert register.admit(key(step), clock()) is None
        before = clock()
        clock.now = before + register.kept_s
        assert register.admit(key(step), clock()) is SEEN
        clock.now = before + register.kept_s * 2.2 + step * 0.01
    assert len(register) <= 2


def test_what_is_old_enough_is_forgotten(clock: Clock) -> None:
    register = ReplayRegister(clock=clock)
    for number in range(10_000):
        assert register.admit(key(number), clock()) is None
        clock.advance(0.01)
    assert len(register) <= (register.kept_s * 1.2) / 0.01
    clock.advance(register.kept_s * 2)
    register.admit(key(10_001), clock())
    assert len(register) == 1


def test_a_full_register_refuses_and_forgets_nothing_that_lives(clock: Clock) -> None:
    register = ReplayRegister(clock=clock, capacity=100)
    assert {register.admit(key(number), clock()) for number in range(100)} == {None}
    assert {register.admit(key(number), clock()) for number in range(100, 200)} == {EarlyReason.REGISTER_FULL}
    assert {register.admit(key(number), clock()) for number in range(100)} == {SEEN}
    assert len(register) == 100
    clock.advance(register.kept_s * 1.2)
    assert register.admit(key(300), clock()) is None


def test_f88_a_clock_that_goes_back_further_than_the_skew_is_not_trusted(clock: Clock) -> None:
    register = ReplayRegister(clock=clock, skew_s=10.0)
    assert register.admit(key(1), clock()) is None
    clock.advance(3_600)
    assert register.admit(key(2), clock()) is None  # by now the first is forgotten
    clock.advance(-3_600)
    assert register.admit(key(1), clock()) is EarlyReason.CLOCK
    assert register.admit(key(3), clock()) is EarlyReason.CLOCK
    assert register.admit(key(4), float("nan")) is EarlyReason.CLOCK
    clock.advance(3_590)
    assert register.admit(key(5), clock()) is None


def test_threads_agree_on_who_was_first(clock: Clock) -> None:
    register = ReplayRegister(clock=clock)
    barrier = threading.Barrier(4)
    answers: list[EarlyReason | None] = []

    def ask() -> None:
        barrier.wait()
        answers.extend([register.admit(key(number), clock()) for number in range(500)])

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers.count(None) == 500
    assert answers.count(SEEN) == 1_500


# --- who starts anew -------------------------------------------------------------------------------------------------


def test_f86_without_a_name_each_start_is_a_place_of_its_own(clock: Clock) -> None:
    first, second = ReplayRegister(clock=clock), ReplayRegister(clock=clock)
    assert first.domain != second.domain
    assert len(first.domain) == 16


def test_f86_with_a_name_a_start_is_followed_by_a_wait(clock: Clock) -> None:
    register = ReplayRegister(domain="only one", clock=clock)
    assert register.domain == b"only one"
    assert register.admit(key(1), clock()) is WARMING_UP
    clock.advance(register.kept_s - 0.001)
    assert register.admit(key(2), clock()) is WARMING_UP
    clock.advance(0.001)
    assert register.admit(key(2), clock()) is SEEN  # what was refused is remembered all the same
    assert register.admit(key(3), clock()) is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("name", ["", "a name"])
def test_f86_a_forked_child_remembers_nothing_and_knows_it(clock: Clock, name: str) -> None:
    register = warm(ReplayRegister(domain=name, clock=clock), clock)
    assert register.admit(key(1), clock()) is None
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        answer = register.admit(key(1), clock())
        told = (b"waits" if answer is WARMING_UP else b"new domain") if name or not answer else b"wrong"
        os.write(writing, told + b" " + register.domain.hex().encode())
        os._exit(0)
    os.waitpid(child, 0)
    told, _, domain = os.read(reading, 100).decode().rpartition(" ")
    os.close(reading)
    os.close(writing)
    assert told == ("waits" if name else "new domain")
    assert (bytes.fromhex(domain) == register.domain) is bool(name)
    assert register.admit(key(1), clock()) is SEEN


# --- with a store ----------------------------------------------------------------------------------------------------


class Told(NamedTuple):
    identity: str = "one"
    evicted: int = 0
    keeps_marks: bool = True


class Telling(MemoryStore):
    """A store that tells of itself, and fails when it is told to."""

    told = Told()
    trouble: Exception | None = None
    slow_s = 0.0

    def continuity(self) -> Told:
        return self.told

    def add_once(self, key: str, expires_at: float) -> bool:
        if self.trouble is not None:
            raise self.trouble
        return super().add_once(key, expires_at)


class Plain:
    """A store of the plainest kind, which tells nothing of itself."""

    def __init__(self, clock: Clock) -> None:
        self.inner = MemoryStore(clock=clock)
        self.get = self.inner.get
        self.take = self.inner.take
        self.put = self.inner.put
        self.remove = self.inner.remove
        self.add_once = self.inner.add_once
        self.close = self.inner.close


def shared(store: SessionStore, clock: Clock, domain: str = "region") -> ReplayRegister:
    return ReplayRegister(store, domain=domain, clock=clock)


def test_processes_that_share_a_store_admit_a_hello_once(clock: Clock, tmp_path: Path) -> None:
    stores = [SQLiteStore(tmp_path / "store.db", clock=clock) for _ in range(3)]
    registers = [shared(store, clock) for store in stores]
    for register in registers:
        assert register.admit(key(0), clock()) in (WARMING_UP, SEEN)
    clock.advance(registers[0].kept_s)
    answers = [register.admit(key(1), clock()) for register in registers for _ in range(2)]
    assert answers == [None, SEEN, SEEN, SEEN, SEEN, SEEN]
    for store in stores:
        store.close()


def test_two_places_with_one_store_do_not_meet(clock: Clock) -> None:
    store = MemoryStore(clock=clock)
    here, there = shared(store, clock, "here"), shared(store, clock, "there")
    clock.advance(here.kept_s)
    assert here.admit(key(1), clock()) is None
    assert there.admit(key(1), clock()) is None


@pytest.mark.parametrize("telling", [False, True])
def test_f86_a_start_with_a_store_is_followed_by_a_wait(clock: Clock, telling: bool) -> None:
    register = shared(Telling(clock=clock) if telling else Plain(clock), clock)
    assert register.admit(key(1), clock()) is WARMING_UP
    clock.advance(register.kept_s)
    assert register.admit(key(2), clock()) is None


def test_f86_servers_of_any_release_go_by_the_same_note_in_the_store(clock: Clock) -> None:
    store = Plain(clock)
    register = shared(store, clock)
    note = f"replay:{hashlib.sha256(b'region').hexdigest()[:32]}:sentinel"
    written = store.get(note)
    assert written is not None
    assert len(written) == 16
    clock.advance(register.kept_s)
    assert register.admit(key(1), clock()) is None
    store.put(note, b"of another release", clock() + 1000)
    assert register.admit(key(2), clock()) is WARMING_UP


def test_f86_a_store_that_was_emptied_is_noticed(clock: Clock) -> None:
    store = Plain(clock)
    register, other = warm(shared(store, clock), clock), shared(store, clock)
    clock.advance(register.kept_s)
    assert register.admit(key(1), clock()) is None
    assert other.admit(key(1), clock()) is SEEN
    store.inner._clear()
    assert register.admit(key(2), clock()) is WARMING_UP
    assert other.admit(key(1), clock()) is SEEN  # it has seen it itself
    assert other.admit(key(3), clock()) is WARMING_UP
    clock.advance(register.kept_s)
    assert [one.admit(key(4), clock()) for one in (register, other)] == [None, SEEN]


@pytest.mark.parametrize("told", [Told(identity="another primary"), Told(evicted=1)], ids=str)
def test_f86_a_store_that_is_another_or_has_dropped_entries_is_noticed(clock: Clock, told: Told) -> None:
    store = Telling(clock=clock)
    register = warm(shared(store, clock), clock)
    assert register.admit(key(1), clock()) is None
    store.told = told
    assert register.admit(key(2), clock()) is WARMING_UP
    clock.advance(register.kept_s)
    assert register.admit(key(3), clock()) is None


def test_a_store_that_may_drop_marks_is_not_trusted(clock: Clock) -> None:
    store = Telling(clock=clock)
    store.told = Told(keeps_marks=False)
    register = warm(shared(store, clock), clock)
    assert register.admit(key(1), clock()) is UNAVAILABLE
    assert register.stats.store_errors == 2
    assert register.stats.refused == 2


@pytest.mark.parametrize("trouble", [StoreError("it is gone"), RuntimeError("it is anyone's code")], ids=repr)
def test_a_store_that_fails_refuses(clock: Clock, trouble: Exception) -> None:
    store = Telling(clock=clock)
    register = warm(shared(store, clock), clock)
    store.trouble = trouble
    assert register.admit(key(1), clock()) is UNAVAILABLE
    store.trouble = None
    assert register.admit(key(2), clock()) is None


def test_f86_a_store_that_is_first_reached_late_begins_the_wait(clock: Clock) -> None:
    store = Telling(clock=clock)
    store.told = Told(keeps_marks=False)
    register = shared(store, clock)
    clock.advance(10_000)
    store.told = Told()
    assert register.admit(key(1), clock()) is WARMING_UP


def test_an_answer_that_does_not_come_in_time_refuses(clock: Clock) -> None:
    may_answer = threading.Event()

    class Slow(Telling):
        is_local = False

        def add_once(self, key: str, expires_at: float) -> bool:
            may_answer.wait(30)
            return super().add_once(key, expires_at)

    register = ReplayRegister(Slow(clock=clock), domain="region", clock=clock, budget_s=0.01)
    clock.advance(register.kept_s)
    assert register.admit(key(1), clock()) is UNAVAILABLE
    may_answer.set()
    register.close()


def test_an_answer_that_comes_late_but_in_time_counts(clock: Clock) -> None:
    class Slow(Telling):
        is_local = False

        def add_once(self, key: str, expires_at: float) -> bool:
            time.sleep(0.2)  # which the budget allows, and what a store is given by itself does not
            return super().add_once(key, expires_at)

    register = ReplayRegister(Slow(clock=clock), domain="region", clock=clock, budget_s=20.0)
    clock.advance(register.kept_s)
    assert [register.admit(key(1), clock()) for _ in range(2)] == [None, SEEN]
    register.close()


def test_a_store_that_keeps_nothing_refuses(clock: Clock) -> None:
    store = Plain(clock)
    store.get = lambda key, other=None: None
    register = warm(shared(store, clock), clock)
    assert register.admit(key(1), clock()) is UNAVAILABLE


def test_a_store_opened_by_url_is_closed_with_the_register(tmp_path: Path) -> None:
    clock = Clock(time.time())  # which is what a store opened by URL goes by
    register = ReplayRegister(f"sqlite://{tmp_path}/store.db", domain="region", clock=clock, budget_s=10.0)
    assert register.is_shared
    clock.advance(register.kept_s)
    store = SQLiteStore(tmp_path / "store.db", clock=clock)
    other = ReplayRegister(store, domain="region", clock=clock, budget_s=10.0)
    clock.advance(register.kept_s)
    assert [one.admit(key(2), clock()) for one in (register, other)] == [None, SEEN]
    store.close()
    register.close()
    assert register.admit(key(1), clock()) is UNAVAILABLE
    ReplayRegister(clock=clock).close()


@pytest.mark.parametrize(
    "settings",
    [
        {"window_s": 0},
        {"window_s": 60.1},
        {"window_s": float("nan")},
        {"skew_s": -1},
        {"skew_s": 61},
        {"capacity": 0},
        {"budget_s": 0},
        {"store": "memory:"},
        {"store": MemoryStore()},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_settings_that_could_not_hold_anything_off_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        ReplayRegister(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("settings", [{"skew_s": 0.0}, {"skew_s": 60.0}, {"window_s": 60.0}, {"capacity": 1}], ids=repr)
def test_settings_at_their_limits_are_taken(clock: Clock, settings: dict[str, Any]) -> None:
    register = ReplayRegister(clock=clock, **settings)
    assert [register.admit(key(1), clock()) for _ in range(2)] == [None, SEEN]


def test_domains_come_from_the_random_source(clock: Clock) -> None:
    assert ReplayRegister(clock=clock, random=Random(1)).domain == ReplayRegister(clock=clock, random=Random(1)).domain


# --- stateless tickets that are used once ----------------------------------------------------------------------------


def test_a_store_of_the_plainest_kind_marks_tickets_as_spent(clock: Clock) -> None:
    store = Plain(clock)
    tickets, code = SpentTickets(store), spent_key(b"0123456789abcdef" * 2, b"partition")
    assert [tickets.spend(code, 0.0, clock() + 100) for _ in range(2)] == [None, Reason.ALREADY_SPENT]
    assert not store.add_once("spent:" + code.hex(), clock() + 100)  # the name by which any release knows it


@pytest.mark.parametrize("guarded", [False, True])
def test_a_mark_that_comes_late_but_in_time_counts(clock: Clock, guarded: bool) -> None:
    class Slow(Plain):
        is_local = False

        def __init__(self, clock: Clock) -> None:
            super().__init__(clock)
            self.add_once = self.slowly

        def slowly(self, key: str, expires_at: float) -> bool:
            time.sleep(0.2)  # which the limit allows, and what a store is given by itself does not
            return self.inner.add_once(key, expires_at)

    store = Slow(clock)
    if guarded:
        tickets = SpentTickets(GuardedStore(store, StoreLimits(timeout_s=20.0)))
    else:
        tickets = SpentTickets(store, timeout_s=20.0)
    assert [tickets.spend(key(1), START, clock() + 100) for _ in range(2)] == [None, Reason.ALREADY_SPENT]
