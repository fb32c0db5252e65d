"""What connections report to the cache, and what it does by itself: modes, the automatic store, outside answers."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from resumption.errors import ReferenceCountError, SessionError
from resumption.session.cache import CacheMode, SessionCache
from resumption.session.model import APPLICATION, Session
from tests.session.cache_cases import (
    CONNECTION,
    MAKER,
    NOW,
    Clock,
    Recorder,
    check,
    held,
    make,
    server_cache,
    ticket,
)

PEER = b"peer"


def test_modes_have_openssls_numbers() -> None:
    assert {mode.name: mode.value for mode in CacheMode.__members__.values()} == {
        "OFF": 0,
        "CLIENT": 1,
        "SERVER": 2,
        "BOTH": 3,
        "NO_AUTO_CLEAR": 0x80,
        "NO_INTERNAL_LOOKUP": 0x100,
        "NO_INTERNAL_STORE": 0x200,
        "NO_INTERNAL": 0x300,
        "UPDATE_TIME": 0x400,
    }
    cache = SessionCache()
    assert cache.mode is CacheMode.SERVER
    cache.mode = CacheMode.BOTH | CacheMode.UPDATE_TIME
    assert cache.mode == 0x403
    assert CacheMode.NO_INTERNAL_LOOKUP | CacheMode.NO_INTERNAL_STORE is CacheMode.NO_INTERNAL


# --- the automatic store ----------------------------------------------------------------------------------------------

ROLES = ["client", "server"]
MODES = [CacheMode.OFF, CacheMode.CLIENT, CacheMode.SERVER, CacheMode.BOTH]


@pytest.mark.parametrize(
    ("mode", "role", "version", "resumed", "internal", "stateful", "listening"),
    list(itertools.product(MODES, ROLES, (0x0303, 0x0304), (False, True), (True, False), (False, True), (False, True))),
)
def test_the_decision_to_store_and_to_announce(
    mode: CacheMode, role: str, version: int, resumed: bool, internal: bool, stateful: bool, listening: bool
) -> None:
    """The table of the manual page, written a second time."""
    if not internal:
        mode |= CacheMode.NO_INTERNAL_STORE
    cache = server_cache(mode=mode, on_remove=Recorder() if listening else None)
    session = make(version=version, role=role)
    announced = Recorder()
    stored = cache.publish(
        session,
        client=role == "client",
        resumed=resumed,
        stateful=stateful,
        peer_key=PEER if role == "client" else None,
        announce=announced,
    )
    of_interest = mode in (CacheMode.BOTH, CacheMode.BOTH | CacheMode.NO_INTERNAL_STORE) or bool(
        mode & {"client": CacheMode.CLIENT, "server": CacheMode.SERVER}[role]
    )
    news = of_interest and (version == 0x0304 or not resumed)
    assert bool(announced.told) == news
    needed = role == "client" or version == 0x0303 or stateful or listening
    assert stored == (news and internal and needed)
    assert (session in cache) == stored
    assert session.references == 1 + stored
    check(cache)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("version", [0x0303, 0x0304])
def test_nothing_is_published_without_an_id_or_when_condemned(role: str, version: int) -> None:
    cache = server_cache(mode=CacheMode.BOTH)
    announced = Recorder()
    nameless = make(b"", role=role, version=version)
    condemned = make(role=role, version=version)
    condemned.mark_not_resumable()
    for session in (nameless, condemned):
        assert not cache.publish(session, client=role == "client", stateful=True, peer_key=PEER, announce=announced)
    assert not announced.told
    assert len(cache) == 0


def test_a_server_that_verifies_clients_needs_an_id_context() -> None:
    cache = server_cache(mode=CacheMode.BOTH)
    announced = Recorder()
    assert not cache.publish(make(), client=False, verify_peer=True, announce=announced)
    assert not announced.told
    assert cache.publish(make(id_context=b"shop"), client=False, verify_peer=True, announce=announced)
    assert cache.publish(make(role="client"), client=True, verify_peer=True, peer_key=PEER, announce=announced)
    assert len(announced.told) == 2


def test_a_renewed_tls_12_ticket_takes_the_place_of_the_old_one_without_a_word() -> None:
    cache = server_cache(mode=CacheMode.CLIENT)
    announced = Recorder()
    old, new = make(role="client"), make(role="client")
    assert cache.publish(old, client=True, peer_key=PEER, announce=announced)
    assert cache.publish(new, client=True, resumed=True, renewed=True, peer_key=PEER, announce=announced)
    assert announced.told == [old]
    assert list(cache) == [new]
    assert cache.publish(make(role="server"), client=False, resumed=True, renewed=True) is False
    assert not cache.publish(make(role="client"), client=True, resumed=True, peer_key=PEER)


def test_a_client_may_keep_a_session_without_finding_it_by_itself() -> None:
    cache = server_cache(mode=CacheMode.CLIENT)
    session = ticket()
    assert cache.publish(session, client=True)
    assert session in cache
    assert cache.take_for_peer(PEER, holder=CONNECTION, now=NOW) is None


@pytest.mark.parametrize(("answer", "kept"), [(True, 1), (1, 1), (False, 0), (0, 0), (None, 0), (2, 0), ("kept", 0)])
def test_the_new_session_callback_is_lent_a_reference_and_keeps_it_by_returning_true(answer: Any, kept: int) -> None:
    cache = server_cache()
    seen: list[dict[str, int]] = []

    def announce(session: Session) -> Any:
        seen.append(held(session))
        assert session in cache  # stored first
        return answer

    session = make()
    assert cache.publish(session, client=False, announce=announce)
    assert seen == [{"test": 1, "cache of server": 1, "application (callback)": 1}]
    assert session.holders.get(APPLICATION, 0) == kept
    assert session.references == 2 + kept
    if kept:
        session.free()
    with pytest.raises(ReferenceCountError):
        session.free()


def test_the_new_session_callback_may_take_references_of_its_own() -> None:
    cache = server_cache()
    archive: list[Session] = []
    session = make()
    cache.publish(session, client=False, announce=lambda one: archive.append(one.up_ref()))
    session.release(MAKER)
    cache.flush_all()
    assert held(archive[0]) == {"application": 1}
    assert archive[0].is_resumable
    archive[0].free()
    assert archive[0].is_freed


def test_a_session_lent_to_a_callback_is_not_the_callbacks_to_free() -> None:
    cache = server_cache()
    session = make()
    with pytest.raises(ReferenceCountError):
        cache.publish(session, client=False, announce=lambda one: one.free())
    assert held(session) == {"test": 1, "cache of server": 1}


def test_a_session_of_another_cache_is_not_published() -> None:
    session = make()
    first, second = server_cache(), server_cache()
    first.add(session)
    with pytest.raises(SessionError):
        second.publish(session, client=False)


# --- answers from outside ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("internal", [True, False])
@pytest.mark.parametrize("given", [True, False])
def test_an_answer_from_outside_is_adopted(internal: bool, given: bool) -> None:
    cache = server_cache(mode=CacheMode.SERVER if internal else CacheMode.SERVER | CacheMode.NO_INTERNAL_STORE)
    session = make(holder=APPLICATION)
    assert cache.adopt(session, session.id, holder=CONNECTION, given=given) is session
    expected = {"connection 7": 1}
    if not given:
        expected["application"] = 1
    if internal:
        expected["cache of server"] = 1
    assert held(session) == expected
    assert (session in cache) == internal
    assert cache.stats.cb_hits == 1
    if not given:
        session.free()


@pytest.mark.parametrize("given", [True, False])
def test_an_answer_with_another_id_or_a_condemned_one_is_a_miss(given: bool) -> None:
    cache = server_cache()
    other, condemned = make(holder=APPLICATION), make(holder=APPLICATION)
    condemned.mark_not_resumable()
    assert cache.adopt(other, b"asked for", holder=CONNECTION, given=given) is None
    assert cache.adopt(condemned, condemned.id, holder=CONNECTION, given=given) is None
    for session in (other, condemned):
        assert session.is_freed == given
        if not given:
            assert held(session) == {"application": 1}
            session.free()
    assert cache.stats.cb_hits == 0
    assert len(cache) == 0


def test_a_session_that_is_in_a_cache_already_is_adopted_as_it_is() -> None:
    cache, other = server_cache(), server_cache()
    mine, others = make(), make()
    cache.add(mine)
    other.add(others)
    for session in (mine, others):
        assert cache.adopt(session, session.id, holder=CONNECTION) is session
        assert session.references == 3
    assert list(cache) == [mine]


def test_without_internal_lookup_a_server_looks_only_outside() -> None:
    cache = server_cache(mode=CacheMode.SERVER | CacheMode.NO_INTERNAL_LOOKUP)
    session = make(version=0x0304)
    assert cache.publish(session, client=False, stateful=True)
    assert cache.lookup(0x0304, session.id, holder=CONNECTION) is None
    assert cache.stats.misses == 0
    assert cache.has_id(0x0304, session.id)
    assert cache.take(0x0304, session.id, holder=CONNECTION) is session  # single use works all the same


def test_with_the_cache_off_lookups_and_explicit_adding_still_work() -> None:
    cache = server_cache(mode=CacheMode.OFF)
    session = make()
    assert cache.add(session)
    assert cache.lookup(0x0303, session.id, holder=CONNECTION) is session


# --- hits and UPDATE_TIME ---------------------------------------------------------------------------------------------


def test_a_hit_is_counted_and_changes_nothing_by_default() -> None:
    cache = server_cache(clock=Clock(NOW + 50))
    session = make()
    cache.add(session)
    cache.hit(session)
    assert cache.stats.hits == 1
    assert session.time == NOW


def test_update_time_refreshes_and_sorts_anew_on_adding_and_on_every_hit() -> None:
    clock = Clock(NOW + 50)
    told = Recorder()
    cache = server_cache(clock=clock, mode=CacheMode.SERVER | CacheMode.UPDATE_TIME, max_size=2, on_remove=told)
    first, second = make(timeout=1000), make(timeout=1010)
    cache.add(first)
    assert first.time == NOW + 50
    cache.add(second)
    clock.now = NOW + 100
    cache.hit(first)
    assert first.time == NOW + 100
    check(cache)
    cache.add(make(timeout=5000))
    assert told.told == [second]
    clock.now = NOW + 150
    assert not cache.add(first)  # even though it was here
    assert first.time == NOW + 150
    check(cache)


def test_update_time_touches_only_what_is_in_this_cache() -> None:
    cache = server_cache(clock=Clock(NOW + 50), mode=CacheMode.SERVER | CacheMode.UPDATE_TIME)
    outside = make()
    cache.hit(outside)
    assert outside.time == NOW
    assert cache.stats.hits == 1


def test_the_age_of_a_clients_ticket_is_not_falsified() -> None:
    """The server computes the age itself: a ticket that pretends to be younger would be refused early data."""
    cache = server_cache(clock=Clock(NOW + 50), mode=CacheMode.CLIENT | CacheMode.UPDATE_TIME)
    thirteen, twelve = ticket(), make(role="client")
    cache.add(thirteen, peer_key=PEER)
    cache.add(twelve, peer_key=PEER)
    assert thirteen.time == NOW
    assert twelve.time == NOW + 50
    assert not cache.add(thirteen)
    cache.hit(thirteen)
    assert thirteen.time == NOW
    server_side = make(version=0x0304)
    cache.add(server_side)
    assert server_side.time == NOW + 50
