"""The cache against a simple model under random histories, and under threads: nothing lost, nothing kept too long."""

from __future__ import annotations

import gc
import os
import random
import signal
import sys
import threading
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from resumption.errors import ReferenceCountError, SessionFreedError
from resumption.session.model import Holder, Session
from tests.session.cache_cases import CONNECTION, MAKER, NOW, Clock, Recorder, check, make, server_cache, ticket

IDS = st.integers(1, 12)
TIMEOUTS = st.one_of(st.integers(1, 60), st.sampled_from([15, 16, 17, 3600, 2**62]))
PEERS = st.sampled_from([b"a", b"b", b"c"])


@dataclass(eq=False)
class Entry:
    """The model's idea of a cached session."""

    session: Session
    arrival: int
    peer: bytes | None = None


class CacheMachine(RuleBasedStateMachine):
    """Any sequence of calls leaves the cache, the ledgers and the callbacks as a plain list would have them."""

    @initialize(max_size=st.integers(0, 8), max_peers=st.integers(1, 3), max_per_peer=st.integers(1, 3))
    def start(self, max_size: int, max_peers: int, max_per_peer: int) -> None:
        self.told = Recorder()
        self.clock = Clock()
        self.cache = server_cache(
            max_size=max_size,
            max_peers=max_peers,
            max_per_peer=max_per_peer,
            on_remove=self.told,
            clock=self.clock,
        )
        self.entries: list[Entry] = []
        self.peers_by_use: list[bytes] = []
        self.expected_told: list[Session] = []
        self.expected_full = 0
        self.sessions: list[Session] = []  # all that were ever made; the test holds one reference to each
        self.arrivals = 0

    # The model.

    def ordered(self) -> list[Entry]:
        return sorted(self.entries, key=lambda entry: (entry.session.expires_at, entry.arrival))

    def leave(self, entry: Entry, *, told: bool = True) -> None:
        self.entries.remove(entry)
        if told:
            self.expected_told.append(entry.session)

    def of_peer(self, peer: bytes) -> list[Entry]:
        return [entry for entry in self.entries if entry.peer == peer]

    def entry_of(self, session: Session) -> Entry | None:
        return next((entry for entry in self.entries if entry.session is session), None)

    def model_add(self, session: Session, peer: bytes | None) -> None:
        if peer is None:
            for entry in list(self.entries):
                same = (entry.session.version, entry.session.id) == (session.version, session.id)
                if entry.peer is None and same and entry.session.role == session.role:
                    self.leave(entry, told=False)
        while 0 < self.cache.max_size <= len(self.entries):
            self.leave(self.ordered()[0])
            self.expected_full += 1
        self.arrivals += 1
        new = Entry(session, self.arrivals, peer)
        self.entries.append(new)
        if peer is None:
            return
        self.use(peer)
        mine = [entry for entry in self.of_peer(peer) if entry is not new]
        superseded = [entry for entry in mine if session.version == entry.session.version == 0x0303]
        rest = sorted((one for one in mine if one not in superseded), key=lambda one: one.session.time)
        crowded = rest[: max(0, len(rest) + 1 - self.cache._index.peers.max_per_peer)]
        peers = [key for key in self.peers_by_use if self.of_peer(key)]
        if len(peers) > self.cache._index.peers.max_peers:
            crowded += sorted(self.of_peer(peers[0]), key=lambda one: one.session.time)
        for entry in crowded + superseded:
            self.leave(entry)
        self.expected_full += len(crowded)

    def use(self, peer: bytes) -> None:
        if peer in self.peers_by_use:
            self.peers_by_use.remove(peer)
        self.peers_by_use.append(peer)

    # What happens.

    @rule(number=IDS, timeout=TIMEOUTS, version=st.sampled_from([0x0303, 0x0304]))
    def add_server_session(self, number: int, timeout: int, version: int) -> None:
        session = make(number, timeout=timeout, version=version, time=self.clock.now)
        self.sessions.append(session)
        self.model_add(session, None)
        assert self.cache.add(session)

    @rule(number=IDS, timeout=TIMEOUTS, thirteen=st.booleans(), peer=PEERS, age=st.integers(0, 5))
    def add_client_session(self, number: int, timeout: int, thirteen: bool, peer: bytes, age: int) -> None:
        self.clock.now += 1e-4  # no two tickets of the same moment: their order would be the model's guess
        factory: Callable[..., Session] = ticket if thirteen else make
        session = factory(number, timeout=timeout, role="client", time=self.clock.now - age)
        self.sessions.append(session)
        self.model_add(session, peer)
        assert self.cache.add(session, peer_key=peer)

    @rule(data=st.data())
    def add_again(self, data: st.DataObject) -> None:
        """A session that left may come back; one that is here is refused."""
        if not self.sessions:
            return
        session = data.draw(st.sampled_from(self.sessions))
        here = self.entry_of(session) is not None
        if not here:
            self.model_add(session, None)
        assert self.cache.add(session) == (not here)

    @rule(number=IDS, version=st.sampled_from([0x0303, 0x0304]), take=st.booleans())
    def look_up(self, number: int, version: int, take: bool) -> None:
        session_id = number.to_bytes(32, "big")
        entry = next(
            (
                entry
                for entry in self.entries
                if entry.peer is None
                and entry.session.role == "server"
                and (entry.session.version, entry.session.id) == (version, session_id)
            ),
            None,
        )
        found = (self.cache.take if take else self.cache.lookup)(version, session_id, holder=CONNECTION)
        assert found is (entry.session if entry is not None else None)
        if entry is not None and found is not None:
            assert found.holders[CONNECTION] == 1
            found.release(CONNECTION)
            if take:
                self.leave(entry)

    @rule(peer=PEERS)
    def take_for_peer(self, peer: bytes) -> None:
        expected: Session | None = None
        for entry in sorted(self.of_peer(peer), key=lambda one: one.session.time, reverse=True):
            session = entry.session
            usable = not session.is_expired(self.clock.now) and not session.is_marked_not_resumable
            if usable:
                expected = session
            if not usable or session.version == 0x0304:
                self.leave(entry)
            if usable:
                break
        if self.of_peer(peer):
            self.use(peer)
        found = self.cache.take_for_peer(peer, holder=CONNECTION, now=self.clock.now)
        assert found is expected
        if found is not None:
            found.release(CONNECTION)

    @rule(data=st.data(), condemn=st.booleans())
    def remove_or_discard(self, data: st.DataObject, condemn: bool) -> None:
        if not self.sessions:
            return
        session = data.draw(st.sampled_from(self.sessions))
        entry = self.entry_of(session)
        if not condemn:
            if entry is not None:
                self.leave(entry)
            assert self.cache.discard(session) == (entry is not None)
            return
        if entry is None:  # one with the same key leaves in its place
            key = (session.version, session.id, session.role)
            entry = next(
                (
                    e
                    for e in self.entries
                    if e.peer is None and (e.session.version, e.session.id, e.session.role) == key
                ),
                None,
            )
        if entry is not None:
            self.leave(entry, told=False)
        self.expected_told.append(session)
        assert self.cache.remove(session) == (entry is not None)
        assert not session.is_resumable

    @rule(data=st.data(), timeout=TIMEOUTS)
    def change_lifetime(self, data: st.DataObject, timeout: int) -> None:
        if not self.sessions:
            return
        session = data.draw(st.sampled_from(self.sessions))
        entry = self.entry_of(session)
        session.timeout = timeout
        if entry is not None:
            self.arrivals += 1
            entry.arrival = self.arrivals

    @rule(seconds=st.sampled_from([0, 0.5, 1, 7, 16, 40, 4000]))
    def flush(self, seconds: float) -> None:
        self.clock.now += seconds
        expired = [entry for entry in self.ordered() if entry.session.is_expired(self.clock.now)]
        for entry in expired:
            self.leave(entry)
        assert self.cache.flush() == len(expired)

    @rule()
    def flush_all(self) -> None:
        entries = self.ordered()
        for entry in entries:
            self.leave(entry)
        assert self.cache.flush_all() == len(entries)

    @rule(max_size=st.integers(1, 8))
    def change_limit(self, max_size: int) -> None:
        if len(self.entries) <= max_size:
            self.cache.max_size = max_size

    # What must hold after each step.

    @invariant()
    def agrees_with_the_model(self) -> None:
        if not hasattr(self, "cache"):
            return
        check(self.cache)
        assert set(self.cache) == {entry.session for entry in self.entries}
        assert self.told.told == self.expected_told
        assert self.cache.stats.cache_full == self.expected_full
        here = set(self.cache)
        for session in self.sessions:
            assert session.references == 1 + (session in here)

    def teardown(self) -> None:
        if hasattr(self, "cache"):
            self.cache.close()
            for session in self.sessions:
                session.release(MAKER)
                assert session.is_freed


CacheMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestCacheAgainstAModel = CacheMachine.TestCase


# --- threads ----------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _switch_often() -> object:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield None
    sys.setswitchinterval(before)


def in_threads(number: int, work: Callable[[int], None]) -> None:
    """Run ``work(0)`` ... ``work(number - 1)`` at once; the first error of any is raised."""
    errors: list[BaseException] = []
    gate = threading.Barrier(number)

    def run(which: int) -> None:
        try:
            gate.wait(10)
            work(which)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(which,)) for which in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads), "a thread is stuck"
    if errors:
        raise errors[0]


def test_f70_the_limit_holds_while_others_resume_and_condemn() -> None:
    """CVE-2024-2511: an entry that could not be removed let the cache grow for ever."""
    limit = 50
    cache = server_cache(max_size=limit)
    too_many: list[int] = []

    def work(which: int) -> None:
        mine = random.Random(which)
        holder = Holder("connection", str(which))
        if which < 4:
            for _ in range(10 * limit):
                session = make(os.urandom(32), timeout=mine.randrange(1, 10_000), holder=holder)
                cache.add(session)
                size = len(cache)
                if size > limit:
                    too_many.append(size)
                session.release(holder)
        else:
            for _ in range(1_000):
                for session in list(cache)[: mine.randrange(1, 5)]:
                    try:
                        session.acquire(holder)
                    except SessionFreedError:
                        continue
                    if mine.random() < 0.5:
                        session.mark_not_resumable()
                    else:
                        found = cache.lookup(0x0303, session.id, holder=holder)
                        if found is not None:
                            found.release(holder)
                    session.release(holder)

    in_threads(8, work)
    assert not too_many
    assert len(cache) == limit
    check(cache)
    assert cache.stats.cache_full == 4 * 10 * limit - limit
    assert cache.flush_all() == limit


def test_f72_references_end_at_nothing_exactly_once() -> None:
    cache = server_cache()
    session = make()
    cache.add(session)

    def work(which: int) -> None:
        holder = Holder("connection", str(which))
        for _ in range(2_000):
            found = cache.lookup(0x0303, session.id, holder=holder)
            assert found is session
            found.release(holder)
        with pytest.raises(ReferenceCountError):
            session.release(holder)

    in_threads(8, work)
    assert session.references == 2
    cache.discard(session)
    session.release(MAKER)
    assert session.is_freed
    with pytest.raises(SessionFreedError):
        session.release(MAKER)


def test_f72_finding_and_giving_back_leaves_memory_flat() -> None:
    cache = server_cache()
    sessions = [make(number, holder=CONNECTION) for number in range(1, 101)]
    for session in sessions:
        cache.add(session)
        session.release(CONNECTION)
    ids = [session.id for session in sessions]
    del sessions, session

    def cycles(number: int) -> None:
        for turn in range(number):
            found = cache.lookup(0x0303, ids[turn % 100], holder=CONNECTION)
            assert found is not None
            found.release(CONNECTION)

    cycles(1_000)
    gc.collect()
    tracemalloc.start()
    try:
        cycles(1_000)
        before = tracemalloc.get_traced_memory()[0]
        cycles(20_000)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 2_000
    assert all(session.references == 1 for session in cache)


def test_f75_the_same_id_inserted_at_once_by_many_has_one_winner() -> None:
    cache = server_cache()
    rounds = 100
    made: list[list[Session]] = [[] for _ in range(8)]

    def work(which: int) -> None:
        holder = Holder("connection", str(which))
        for number in range(1, rounds + 1):
            session = make(number, hostname=f"host-{which}", holder=holder)
            made[which].append(session)
            cache.add(session)

    in_threads(8, work)
    assert len(cache) == rounds
    check(cache)
    for number in range(rounds):
        same = [mine[number] for mine in made]
        winners = [session for session in same if session in cache]
        assert len(winners) == 1
        assert cache.lookup(0x0303, same[0].id, holder=CONNECTION) is winners[0]
        assert sorted(session.references for session in same) == [1] * 7 + [3]


@pytest.mark.parametrize("role", ["server", "client"])
def test_f72_a_session_that_is_taken_is_taken_once(role: str) -> None:
    cache = server_cache(max_per_peer=1000)
    sessions = [
        make(number, version=0x0304, role=role, time=NOW + number / 1000, holder=MAKER) for number in range(1, 401)
    ]
    for session in sessions:
        cache.add(session, peer_key=b"peer" if role == "client" else None)
        session.release(MAKER)
    taken: list[list[Session]] = [[] for _ in range(8)]

    def work(which: int) -> None:
        holder = Holder("connection", str(which))
        for session_id in [number.to_bytes(32, "big") for number in range(1, 401)]:
            if role == "client":
                found = cache.take_for_peer(b"peer", holder=holder, now=NOW)
            else:
                found = cache.take(0x0304, session_id, holder=holder)
            if found is not None:
                assert found.holders == {holder: 1}
                taken[which].append(found)

    in_threads(8, work)
    everything = [session for mine in taken for session in mine]
    assert len(everything) == len(set(everything)) == 400
    assert len(cache) == 0


def test_mixed_work_of_eight_threads_leaves_exact_counts_and_no_session_behind() -> None:
    """100,000 operations. Live objects are those cached and those held, exactly; every counter adds up."""
    gc.collect()
    before = sum(isinstance(thing, Session) and not thing.is_freed for thing in gc.get_objects())
    gone = 0
    lock = threading.Lock()

    def on_remove(session: Session) -> None:
        nonlocal gone
        assert session.references >= 1
        with lock:
            gone += 1

    clock = Clock()
    cache = server_cache(max_size=64, max_peers=4, max_per_peer=4, on_remove=on_remove, clock=clock)
    counts = [{"missed": 0, "handshakes": 0} for _ in range(8)]
    held_back: list[tuple[Session, Holder]] = []

    def work(which: int) -> None:
        mine = random.Random(which)
        holder = Holder("connection", str(which))
        count = counts[which]
        for step in range(12_500):
            dice = mine.random()
            if dice < 0.35:
                session = make(mine.randrange(1, 200), timeout=mine.randrange(1, 500), holder=holder)
                cache.add(session)
                session.release(holder)
            elif dice < 0.5:
                session = ticket(os.urandom(8), time=NOW + step / 1000, timeout=400, holder=holder)
                cache.add(session, peer_key=b"peer %d" % mine.randrange(6))
                session.release(holder)
            elif dice < 0.7:
                call = cache.lookup if dice < 0.6 else cache.take
                found = call(0x0303, mine.randrange(1, 200).to_bytes(32, "big"), holder=holder)
                if found is None:
                    count["missed"] += 1
                else:
                    assert found.holders[holder] == 1
                    if mine.random() < 0.2:
                        cache.remove(found)
                    elif mine.random() < 0.2:
                        found.timeout = mine.randrange(1, 500)
                    found.release(holder)
            elif dice < 0.85:
                found = cache.take_for_peer(b"peer %d" % mine.randrange(6), holder=holder, now=NOW)
                if found is not None:
                    found.release(holder)
            elif dice < 0.9:
                cache.flush(at=NOW + mine.randrange(100))
            elif dice < 0.95:
                assert len(cache) <= 64
                assert len(list(cache)) <= 64
            else:
                cache.handshake_done(client=False)
                count["handshakes"] += 1
        session = make(holder=holder)
        cache.add(session)
        with lock:
            held_back.append((session, holder))

    in_threads(8, work)
    del work
    check(cache)
    assert cache.stats.misses == sum(count["missed"] for count in counts)
    assert cache.stats.accept_good == sum(count["handshakes"] for count in counts)
    gc.collect()
    live = [thing for thing in gc.get_objects() if isinstance(thing, Session) and not thing.is_freed]
    assert len(live) - before == len({*cache, *(session for session, _ in held_back)})
    cached = len(cache)
    told = gone
    assert cache.flush_all() == cached
    assert gone == told + cached
    for session, holder in held_back:
        assert session.holders == {holder: 1}
        session.release(holder)
        assert session.is_freed


def test_a_fork_finds_the_cache_usable() -> None:
    """Another thread is inside the cache all the time; the child can use its copy."""
    cache = server_cache()
    stop = threading.Event()

    def busy() -> None:
        while not stop.is_set():
            session = make(5)
            cache.add(session)
            cache.stats.count("hits")

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        for _ in range(20):
            child = os.fork()
            if child == 0:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(20)  # a child that hangs fails the test, and is not left behind
                try:
                    session = make(6)
                    cache.add(session)
                    check(cache)
                    os._exit(0 if session in cache else 3)
                finally:
                    os._exit(4)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        thread.join(10)
    check(cache)
