"""The cache's limits and flushes: who leaves, when, and in which order."""

from __future__ import annotations

import math

import pytest

from resumption.errors import ConfigurationError
from resumption.session.cache import CacheMode, SessionCache
from tests.session.cache_cases import CONNECTION, NOW, Clock, Recorder, check, held, make, server_cache

# --- limits ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5])
def test_the_limit_is_reached_exactly(limit: int) -> None:
    cache = server_cache(max_size=limit)
    for number in range(3 * limit):
        cache.add(make(time=NOW + number, holder=CONNECTION))
        assert len(cache) == min(number + 1, limit)
    assert cache.stats.cache_full == 2 * limit
    check(cache)


def test_the_first_to_expire_leaves_first_and_the_newcomer_stays() -> None:
    told = Recorder()
    cache = server_cache(max_size=3, on_remove=told)
    late, early, middle = make(timeout=300), make(timeout=100), make(timeout=200)
    for session in (late, early, middle):
        cache.add(session)
    earliest = make(timeout=1)
    cache.add(earliest)
    assert told.told == [early]
    assert earliest in cache
    cache.add(make(timeout=500))
    assert told.told == [early, earliest]
    assert early.is_resumable  # let go, not condemned
    assert held(early) == {"test": 1}
    check(cache)


def test_of_those_that_expire_together_the_oldest_entry_leaves_first() -> None:
    told = Recorder()
    cache = server_cache(max_size=3, on_remove=told)
    sessions = [make() for _ in range(6)]
    for session in sessions:
        cache.add(session)
    assert told.told == sessions[:3]


def test_setting_time_or_timeout_finds_the_new_place() -> None:
    told = Recorder()
    cache = server_cache(max_size=3, on_remove=told)
    a, b, c = (make(timeout=timeout) for timeout in (100, 200, 300))
    for session in (a, b, c):
        cache.add(session)
    a.timeout = 1000
    b.time = NOW + 900  # 1100
    check(cache)
    for _ in range(3):
        cache.add(make(timeout=9999))
    assert told.told == [c, a, b]


def test_a_larger_limit_takes_effect_at_once_and_a_smaller_one_with_the_next_add() -> None:
    cache = server_cache(max_size=4)
    for number in range(4):
        cache.add(make(time=NOW + number))
    cache.max_size = 2
    assert len(cache) == 4
    cache.add(make(time=NOW + 100))
    assert len(cache) == 2
    cache.max_size = 0
    for _ in range(10):
        cache.add(make())
    assert len(cache) == 12
    assert cache.max_size == 0


def test_bytes_are_bounded_too() -> None:
    cache = server_cache(max_bytes=10_000)
    for number in range(20):
        cache.add(make(time=NOW + number, ticket=b"t" * 1000))
        assert cache.size_bytes <= cache.max_bytes
        check(cache)
    assert len(cache) == 5  # 1880 each
    cache.add(make(time=NOW + 99, ticket=b"t" * 9_000))
    assert len(cache) == 1
    assert not cache.add(make(ticket=b"t" * 9_500))  # would never fit: nothing leaves for it
    assert len(cache) == 1
    cache.max_bytes = 0
    assert cache.add(make(ticket=b"t" * 9_500))


def test_what_counts_as_contents() -> None:
    cache = server_cache()
    facts = {"ticket": 100, "ticket_appdata": 20, "peer_certificate": 30, "psk_identity": 4, "psk_identity_hint": 5,
             "srp_username": 6, "peer_public_key": 7}  # fmt: skip
    cache.add(make(hostname="host", **{name: bytes(length) for name, length in facts.items()}))
    assert cache.size_bytes == 880 + sum(facts.values()) + 4
    cache.flush_all()
    cache.add(make(peer_certificate=bytes(30), peer_chain=(bytes(30), bytes(50))))  # the chain has the certificate
    assert cache.size_bytes == 880 + 80


def test_a_session_that_is_too_large_is_not_kept() -> None:
    cache = server_cache()
    session = make(peer_chain=(bytes(8000), bytes(8385)))
    assert not cache.add(session)
    assert not session.is_linked()
    assert session.references == 1
    assert cache.add(make(peer_chain=(bytes(8000), bytes(8384))))
    assert SessionCache(max_session_bytes=0).add(session)


@pytest.mark.parametrize("name", ["max_size", "max_bytes", "max_session_bytes"])
@pytest.mark.parametrize("value", [-1, 1.5, None])
def test_a_limit_below_zero_is_refused(name: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=name):
        server_cache(**{name: value})
    cache = server_cache()
    if name != "max_session_bytes":
        with pytest.raises(ValueError, match=name):
            setattr(cache, name, value)


@pytest.mark.parametrize("limits", [{"max_peers": 0}, {"max_per_peer": 0}])
def test_a_cache_without_room_for_a_peer_is_refused(limits: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match="at least 1 peer"):
        server_cache(**limits)


# --- flushing --------------------------------------------------------------------------------------------------------


def test_flush_drops_what_is_expired_first_to_expire_first() -> None:
    told = Recorder()
    clock = Clock()
    cache = server_cache(clock=clock, on_remove=told)
    sessions = [make(timeout=timeout) for timeout in (30, 10, 40, 20, 10)]
    for session in sessions:
        cache.add(session)
    assert cache.flush(at=NOW + 10) == 0  # the last moment still counts
    assert cache.flush(at=NOW + 10.5) == 2
    assert told.told == [sessions[1], sessions[4]]
    clock.now = NOW + 31
    assert cache.flush() == 2
    assert told.told[2:] == [sessions[3], sessions[0]]
    assert list(cache) == [sessions[2]]
    assert all(session.is_resumable for session in sessions)
    assert held(sessions[0]) == {"test": 1}
    assert cache.stats.timeouts == cache.stats.cache_full == 0
    check(cache)


def test_flush_at_time_zero_is_just_a_time() -> None:
    cache = server_cache()
    cache.add(make())
    assert cache.flush(at=0) == 0
    assert cache.flush_all() == 1


def test_a_session_that_never_expires_leaves_with_all_only() -> None:
    cache = server_cache(max_size=2)
    never = make(timeout=2**63 - 1)
    cache.add(never)
    assert never.expires_at == math.inf
    assert cache.flush(at=2.0**63) == 0
    cache.add(make())
    cache.add(make())
    assert never in cache  # it sorts as the latest
    assert cache.flush_all() == 2
    assert len(cache) == 0


def test_a_large_flush_is_complete() -> None:
    cache = server_cache(max_size=0)
    for number in range(1_000):
        cache.add(make(timeout=number % 100, holder=CONNECTION))
    assert cache.flush(at=NOW + 49.5) == 500
    assert len(cache) == 500
    check(cache)
    assert cache.flush_all() == 500


def test_closing_drops_all_and_takes_no_more() -> None:
    told = Recorder()
    cache = server_cache(on_remove=told)
    session = make()
    cache.add(session)
    cache.close()
    assert told.told == [session]
    assert session.is_resumable
    assert held(session) == {"test": 1}
    assert not cache.add(session)
    assert not session.is_linked()
    assert cache.lookup(0x0303, session.id, holder=CONNECTION) is None
    cache.close()
    assert len(told.told) == 1


def test_automatic_flush_completes_every_256th_handshake() -> None:
    clock = Clock()
    cache = server_cache(clock=clock, mode=CacheMode.BOTH)
    cache.add(make(timeout=1))
    clock.now = NOW + 10
    flushed_at = []
    for number in range(1, 1025):
        if not len(cache):
            cache.add(make(time=NOW, timeout=1))
        cache.handshake_done(client=False)
        if not len(cache):
            flushed_at.append(number)
    assert flushed_at == [256, 512, 768, 1024]
    assert cache.stats.accept_good == 1024
    for _ in range(255):
        cache.handshake_done(client=True)
    cache.add(make(timeout=1))
    cache.handshake_done(client=True)
    assert len(cache) == 0
    assert cache.stats.connect_good == 256


@pytest.mark.parametrize("mode", [CacheMode.OFF, CacheMode.CLIENT, CacheMode.SERVER | CacheMode.NO_AUTO_CLEAR])
def test_no_automatic_flush_without_the_role_or_against_the_mode(mode: CacheMode) -> None:
    cache = server_cache(clock=Clock(NOW + 10), mode=mode)
    cache.add(make(timeout=1))
    for _ in range(512):
        cache.handshake_done(client=False)
    assert len(cache) == 1
    assert cache.stats.accept_good == 512


def test_an_automatic_flush_is_bounded_and_goes_on_with_the_next_handshake() -> None:
    cache = server_cache(clock=Clock(NOW + 10), max_size=0)
    for _ in range(2_500):
        cache.add(make(timeout=1, holder=CONNECTION))
    for _ in range(256):
        cache.handshake_done(client=False)
    sizes = [len(cache)]
    for _ in range(4):
        cache.handshake_done(client=False)
        sizes.append(len(cache))
    assert sizes == [1476, 452, 0, 0, 0]
    cache.add(make(timeout=1))
    cache.handshake_done(client=False)  # no more behind: waits for the 512th
    assert len(cache) == 1
