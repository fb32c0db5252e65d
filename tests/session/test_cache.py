"""The server's side of the cache, rule by rule: adding, finding, removing, references, callbacks, the end."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from typing import Any

import pytest

from resumption.errors import ReferenceCountError, SessionError, SessionFreedError
from resumption.session.model import Holder, Session
from tests.session.cache_cases import CONNECTION, MAKER, NOW, Recorder, check, held, make, server_cache

OTHER = Holder("connection", "8")


# --- adding and finding -----------------------------------------------------------------------------------------------


def test_adding_takes_a_reference_and_finding_gives_one() -> None:
    cache = server_cache()
    session = make(1)
    assert cache.add(session)
    assert held(session) == {"test": 1, "cache of server": 1}
    found = cache.lookup(0x0303, session.id, holder=CONNECTION)
    assert found is session
    assert held(session) == {"test": 1, "cache of server": 1, "connection 7": 1}
    assert session in cache
    assert list(cache) == [session]
    assert len(cache) == cache.stats.number == 1
    assert repr(cache) == "<cache of server: 1 sessions>"
    check(cache)


def test_the_key_is_the_version_and_the_id() -> None:
    cache = server_cache()
    twelve, thirteen = make(5), make(5, version=0x0304)
    assert cache.add(twelve)
    assert cache.add(thirteen)
    assert cache.lookup(0x0303, twelve.id, holder=CONNECTION) is twelve
    assert cache.lookup(0x0304, twelve.id, holder=CONNECTION) is thirteen
    assert cache.lookup(0x0302, twelve.id, holder=CONNECTION) is None
    assert cache.lookup(0x0303, twelve.id[:31], holder=CONNECTION) is None
    assert cache.has_id(0x0304, thirteen.id)
    assert not cache.has_id(0x0304, b"")
    assert not cache.has_id(0x0302, thirteen.id)
    check(cache)


def test_an_expired_session_is_found_too() -> None:
    """The gate says so, and counts it; the cache does not decide."""
    cache = server_cache()
    session = make(time=NOW - 9999)
    cache.add(session)
    assert cache.lookup(0x0303, session.id, holder=CONNECTION) is session


def test_the_same_object_is_added_once() -> None:
    cache = server_cache()
    session = make()
    assert cache.add(session)
    assert not cache.add(session)
    assert not cache.add(session, peer_key=b"peer")
    assert held(session)["cache of server"] == 1
    assert len(cache) == 1
    check(cache)


def test_f75_another_object_with_the_same_id_displaces_the_first_silently() -> None:
    told = Recorder()
    cache = server_cache(on_remove=told)
    first, second = make(3), make(3, hostname="b.example")
    cache.add(first)
    assert cache.add(second)
    assert held(first) == {"test": 1}
    assert first.is_resumable
    assert not told.told
    assert cache.stats.cache_full == 0
    assert cache.lookup(0x0303, first.id, holder=CONNECTION) is second
    assert first not in cache
    check(cache)


def test_a_displaced_session_that_nobody_holds_has_ended() -> None:
    cache = server_cache()
    first, second = make(3), make(3)
    cache.add(first)
    first.release(MAKER)
    cache.add(second)
    assert first.is_freed


@pytest.mark.parametrize("peer_key", [None, b"peer"])
def test_a_session_without_id_is_refused(peer_key: bytes | None) -> None:
    cache = server_cache()
    session = make(b"")
    with pytest.raises(SessionError, match="set an id first"):
        cache.add(session, peer_key=peer_key)
    with pytest.raises(ValueError):
        cache.add(session, peer_key=peer_key)
    assert not session.is_linked()
    assert session.references == 1
    session.id = b"now it has one"
    assert cache.add(session)


def test_a_session_belongs_to_one_cache() -> None:
    first, second = server_cache(), server_cache()
    session = make()
    first.add(session)
    with pytest.raises(SessionError, match="another cache"):
        second.add(session)
    assert session in first
    assert session not in second
    assert len(second) == 0
    first.discard(session)
    assert second.add(session)
    assert session.dup(holder=MAKER) not in second


def test_a_freed_session_is_refused() -> None:
    cache = server_cache()
    session = make()
    session.release(MAKER)
    with pytest.raises(SessionFreedError):
        cache.add(session)
    with pytest.raises(SessionFreedError):
        cache.remove(session)
    assert session not in cache
    assert not cache.discard(session)


def test_membership_of_other_things_is_false() -> None:
    assert "session" not in server_cache()


def test_a_miss_is_counted_unless_there_was_nothing_to_look_for() -> None:
    cache = server_cache()
    assert cache.lookup(0x0303, b"unknown", holder=CONNECTION) is None
    assert cache.lookup(0x0303, b"", holder=CONNECTION) is None
    assert cache.take(0x0304, b"unknown", holder=CONNECTION) is None
    assert cache.take(0x0304, b"", holder=CONNECTION) is None
    assert cache.stats.misses == 2


def test_the_application_cannot_free_the_caches_reference() -> None:
    cache = server_cache()
    session = make()
    cache.add(session)
    session.release(MAKER)
    with pytest.raises(ReferenceCountError, match="cache of server"):
        next(iter(cache)).free()
    assert session in cache
    assert not session.is_freed


# --- taking, removing, discarding ----------------------------------------------------------------------------------


def test_taking_hands_over_the_caches_reference() -> None:
    told = Recorder()
    cache = server_cache(on_remove=told)
    session = make(version=0x0304)
    cache.add(session)
    session.release(MAKER)
    assert cache.take(0x0304, session.id, holder=CONNECTION) is session
    assert held(session) == {"connection 7": 1}
    assert session.is_resumable  # spent, not condemned
    assert told.told == [session]
    assert session not in cache
    assert cache.take(0x0304, session.id, holder=CONNECTION) is None
    check(cache)


def test_removing_condemns_and_tells_while_the_cache_still_holds() -> None:
    told = Recorder()
    cache = server_cache(on_remove=told)
    session = make()
    cache.add(session)
    assert cache.remove(session)
    assert held(session) == {"test": 1}
    assert not session.is_resumable
    assert told.told == [session]
    assert told.references == [2]
    assert not cache.remove(session)  # not here, but told of again
    assert told.told == [session, session]
    check(cache)


def test_removing_one_with_the_same_id_removes_the_other_and_condemns_the_one() -> None:
    """Decision 5, as measured: b leaves the cache, a is flagged, the callback gets a."""
    told = Recorder()
    cache = server_cache(on_remove=told)
    a, b = make(9), make(9)
    cache.add(b)
    assert cache.remove(a)
    assert b not in cache
    assert b.is_resumable
    assert held(b) == {"test": 1}
    assert not a.is_resumable
    assert told.told == [a]
    check(cache)


def test_removing_a_session_that_was_never_here_condemns_it_and_tells() -> None:
    told = Recorder()
    cache = server_cache(on_remove=told)
    session = make()
    assert not cache.remove(session)
    assert not session.is_resumable
    assert told.told == [session]


def test_removing_a_session_without_id_does_nothing() -> None:
    told = Recorder()
    cache = server_cache(on_remove=told)
    session = make(b"", ticket=b"ticket")
    assert not cache.remove(session)
    assert session.is_resumable
    assert not told.told


def test_discarding_lets_go_and_no_more() -> None:
    told = Recorder()
    cache = server_cache(on_remove=told)
    session = make()
    cache.add(session)
    assert cache.discard(session)
    assert session.is_resumable
    assert held(session) == {"test": 1}
    assert told.told == [session]
    assert told.references == [2]
    assert not cache.discard(session)
    assert len(told.told) == 1


def test_an_expired_session_that_was_found_is_counted_and_let_go() -> None:
    cache = server_cache()
    session = make(time=NOW - 9999)
    cache.add(session)
    assert cache.expire(session)
    assert session not in cache
    assert session.is_resumable
    assert not cache.expire(session)  # one from a ticket: counted only
    assert cache.stats.timeouts == 2


# --- callbacks and the end --------------------------------------------------------------------------------------------


def test_callbacks_run_outside_the_lock_and_may_use_the_cache() -> None:
    """From another thread too, which would wait for ever for a lock that is held."""
    import threading

    sizes: list[int] = []

    def look(session: Session) -> None:
        def from_elsewhere() -> None:
            cache.lookup(0x0303, session.id, holder=OTHER)
            sizes.append(len(list(cache)))

        thread = threading.Thread(target=from_elsewhere)
        thread.start()
        thread.join(10)
        assert not thread.is_alive()
        cache.flush(at=0)

    cache = server_cache(max_size=1, on_remove=look)
    first, second = make(1), make(2)
    cache.add(first)
    cache.add(second)  # evicts
    cache.remove(second)
    cache.add(first)
    cache.take(0x0303, first.id, holder=CONNECTION)
    cache.add(second)
    cache.discard(second)
    cache.add(first)
    cache.flush_all()
    assert sizes == [1, 0, 0, 0, 0]


def test_a_callback_may_put_the_session_back() -> None:
    cache = server_cache()
    session = make()
    cache.add(session)
    cache.on_remove = cache.add
    assert cache.discard(session)
    assert session in cache
    assert held(session)["cache of server"] == 1
    check(cache)


def test_when_a_callback_raises_the_work_is_finished_first() -> None:
    def refuse(session: Session) -> None:
        raise LookupError(session.time)

    cache = server_cache(max_size=2, on_remove=refuse)
    sessions = [make(time=NOW + number) for number in range(3)]
    cache.add(sessions[0])
    cache.add(sessions[1])
    with pytest.raises(LookupError, match=str(NOW)):
        cache.add(sessions[2])
    assert sessions[2] in cache
    assert held(sessions[0]) == {"test": 1}
    with pytest.raises(LookupError, match=str(NOW + 1)):  # the first of two
        cache.flush_all()
    assert len(cache) == 0
    assert [held(session) for session in sessions] == [{"test": 1}] * 3
    for failing in (cache.remove, cache.discard):
        cache.add(sessions[0])
        with pytest.raises(LookupError):
            failing(sessions[0])
        assert held(sessions[0]) == {"test": 1}
    cache.add(sessions[1])
    with pytest.raises(LookupError):
        cache.take(0x0303, sessions[1].id, holder=CONNECTION)
    assert held(sessions[1]) == {"test": 1}
    check(cache)


def test_a_large_flush_with_a_raising_callback_is_complete() -> None:
    def refuse(session: Session) -> None:
        raise LookupError

    cache = server_cache(on_remove=refuse)
    for _ in range(600):
        cache.add(make(holder=MAKER))
    with pytest.raises(LookupError):
        cache.flush_all()
    assert len(cache) == 0


def test_a_cache_that_is_dropped_lets_go_of_its_sessions_at_once_and_quietly() -> None:
    told = Recorder()
    gc.disable()  # no cycle may need it
    try:
        cache = server_cache(on_remove=told)
        mine, gone = make(), make()
        cache.add(mine)
        cache.add(gone)
        gone.release(MAKER)
        remembered = weakref.ref(cache)
        del cache
        assert remembered() is None
    finally:
        gc.enable()
    assert held(mine) == {"test": 1}
    assert gone.is_freed
    assert not told.told
    assert server_cache().add(mine)


def test_a_session_whose_cache_is_gone_can_still_be_changed() -> None:
    cache = server_cache()
    session = make()
    cache.add(session)
    link = cache._link
    del cache
    session.time = NOW + 1
    link.resort(session)
    link.forget(session, session.data)


def test_a_session_that_ends_while_it_is_linked_leaves_no_trace() -> None:
    cache = server_cache()
    session = make()
    cache.add(session)
    session.release(MAKER)
    session.release(cache.holder)  # nobody may do that, but the cache survives it
    assert session.is_freed
    assert len(cache) == 0
    check(cache)
    cache.forget(make(), make().data)  # one that is not here
    session = make()
    cache.resort(session)
    check(cache)


def test_a_lookup_that_finds_one_at_its_very_end_looks_again() -> None:
    """It reads without the lock: what it found may be freed, and displaced by another one, before it is held."""
    cache = server_cache()
    gone, here = make(1), make(1)
    gone.release(MAKER)
    cache.add(here)
    index, holder = cache._index, Holder("connection", "1")
    found: list[Session | None] = [gone, None]

    class Stale:
        def find(self, version: int, session_id: bytes) -> Session | None:
            return found.pop(0) if found else index.find(version, session_id)

    stale: Any = Stale()
    cache._index = stale
    found[:] = [gone]
    assert cache.lookup(0x0303, here.id, holder=holder) is here
    found[:] = [None]
    assert cache.lookup(0x0303, here.id, holder=holder) is here
    found[:] = [gone, None]
    assert cache.lookup(0x0303, here.id, holder=holder) is None
    found[:] = [gone, gone]
    assert cache.lookup(0x0303, here.id, holder=holder) is None
    cache._index = index
    assert cache.stats.misses == 2
    assert held(here) == {"test": 1, "cache of server": 1, "connection 1": 2}
    here.release(holder)
    here.release(holder)


def test_lookups_among_displacements_always_find_one() -> None:
    """There is always one with this id, another one each time: a lookup beside it never misses."""
    cache = server_cache(max_size=0)
    holder, stop = Holder("connection", "1"), threading.Event()
    problems: list[str] = []
    first = make(1)
    session_id = first.id
    cache.add(first)

    def displace() -> None:
        for _ in range(3_000):
            cache.add(one := make(1))
            one.release(MAKER)
        stop.set()

    def look() -> None:
        while not stop.is_set():
            session = cache.lookup(0x0303, session_id, holder=holder)
            if session is None or session.is_freed:
                problems.append("a miss")
            else:
                session.release(holder)

    threads = [threading.Thread(target=target) for target in (displace, look, look)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert problems == []
    assert cache.stats.misses == 0
    cache.close()
