"""The client's side of the cache: sessions by peer, spent once in TLS 1.3, shared in TLS 1.2, bounded per peer."""

from __future__ import annotations

import pytest

from resumption.session.cache import CacheMode, SessionCache
from resumption.session.model import Session
from resumption.session.peers import PeerIndex
from tests.session.cache_cases import CONNECTION, MAKER, NOW, Clock, Recorder, check, held, make, ticket

SHOP, BANK = b"shop", b"bank"


def client_cache(**settings: object) -> SessionCache:
    return SessionCache(**{"name": "client", "mode": CacheMode.CLIENT, "clock": Clock(), **settings})  # type: ignore[arg-type]


def twelve(**facts: object) -> Session:
    return make(role="client", **facts)  # type: ignore[arg-type]


def take(cache: SessionCache, peer_key: bytes = SHOP, now: float = NOW) -> Session | None:
    return cache.take_for_peer(peer_key, holder=CONNECTION, now=now)


def test_f62_a_tls_13_ticket_is_spent_once_newest_first() -> None:
    told = Recorder()
    cache = client_cache(on_remove=told)
    old, new = ticket(time=NOW - 10), ticket(time=NOW - 5)
    assert cache.add(new, peer_key=SHOP)
    assert cache.add(old, peer_key=SHOP)
    assert cache.peek_for_peer(SHOP) == 2
    assert take(cache) is new
    assert held(new) == {"test": 1, "connection 7": 1}  # handed over, not copied
    assert new.is_resumable
    assert new not in cache
    assert cache.peek_for_peer(SHOP) == 1
    check(cache)
    assert take(cache) is old
    assert take(cache) is None
    assert told.told == [new, old]
    assert (cache.peek_for_peer(SHOP), len(cache)) == (0, 0)
    check(cache)


def test_a_ticket_that_was_not_sent_can_be_put_back_in_its_place() -> None:
    cache = client_cache()
    old, new = ticket(time=NOW - 10), ticket(time=NOW - 5)
    for session in (old, new):
        cache.add(session, peer_key=SHOP)
    taken = take(cache)
    assert taken is new
    assert take(cache) is old
    assert cache.add(new, peer_key=SHOP)
    assert cache.add(old, peer_key=SHOP)
    assert take(cache) is new


def test_a_tls_12_session_is_shared_and_stays() -> None:
    cache = client_cache()
    session = twelve()
    cache.add(session, peer_key=SHOP)
    assert take(cache) is session
    assert take(cache) is session
    assert held(session) == {"test": 1, "cache of client": 1, "connection 7": 2}
    assert cache.peek_for_peer(SHOP) == 1
    check(cache)


def test_a_newer_tls_12_session_of_a_peer_supersedes_the_older_one() -> None:
    told = Recorder()
    cache = client_cache(on_remove=told)
    first, second, other = twelve(), twelve(), twelve()
    tls_13 = ticket(time=NOW - 1)
    cache.add(first, peer_key=SHOP)
    cache.add(other, peer_key=BANK)
    cache.add(tls_13, peer_key=SHOP)
    cache.add(second, peer_key=SHOP)
    assert told.told == [first]
    assert first.is_resumable
    assert held(first) == {"test": 1}
    assert cache.stats.cache_full == 0  # superseded, not evicted
    assert set(cache) == {second, other, tls_13}
    check(cache)


def test_expired_and_condemned_sessions_that_are_met_are_dropped() -> None:
    told = Recorder()
    cache = client_cache(on_remove=told)
    good = ticket(time=NOW - 40)
    short, bad = ticket(time=NOW - 20, timeout=10), ticket(time=NOW - 10)
    for session in (good, short, bad):
        cache.add(session, peer_key=SHOP)
    bad.mark_not_resumable()
    assert take(cache, now=NOW) is good
    assert told.told == [bad, short, good]
    assert held(short) == held(bad) == {"test": 1}
    assert short.is_resumable
    assert take(cache) is None
    assert len(cache) == 0
    check(cache)


def test_the_last_moment_of_a_session_still_counts() -> None:
    cache = client_cache()
    session = twelve(timeout=10)
    cache.add(session, peer_key=SHOP)
    assert take(cache, now=NOW + 10) is session
    assert take(cache, now=NOW + 10.1) is None
    assert session not in cache


def test_f28_a_server_cannot_overwrite_the_session_of_another_by_choosing_its_id() -> None:
    cache = client_cache()
    mine, hostile = twelve(session_id=7), twelve(session_id=7)
    cache.add(mine, peer_key=SHOP)
    cache.add(hostile, peer_key=BANK)
    assert take(cache, SHOP) is mine
    assert take(cache, BANK) is hostile
    assert len(cache) == 2
    check(cache)


@pytest.mark.parametrize("peer_key", [SHOP, None])
def test_f45_a_servers_lookup_never_finds_a_clients_session_nor_is_one_pushed_out_by_it(
    peer_key: bytes | None,
) -> None:
    cache = client_cache(mode=CacheMode.BOTH)
    server = make(7)
    client = twelve(session_id=7)
    cache.add(server)
    cache.add(client, peer_key=peer_key)
    assert cache.lookup(0x0303, client.id, holder=CONNECTION) is server
    assert cache.take(0x0303, client.id, holder=CONNECTION) is server
    assert cache.lookup(0x0303, client.id, holder=CONNECTION) is None
    assert not cache.has_id(0x0303, client.id)
    assert client in cache
    check(cache)


def test_a_clients_session_that_belongs_to_no_peer_is_kept_but_not_found() -> None:
    cache = client_cache()
    session = ticket()
    cache.add(session)
    assert list(cache) == [session]
    assert take(cache) is None
    assert cache.remove(session.dup(holder=MAKER))
    assert len(cache) == 0
    check(cache)


def test_f73_endless_tickets_of_one_server_stay_within_its_own_limit() -> None:
    told = Recorder()
    cache = client_cache(on_remove=told)
    other = ticket(time=NOW - 1000)
    cache.add(other, peer_key=BANK)
    sessions = [ticket(time=NOW + number / 1000, holder=CONNECTION) for number in range(5_000)]
    for session in sessions:
        cache.add(session, peer_key=SHOP)
        session.release(CONNECTION)
        assert len(cache) <= 9
    assert cache.peek_for_peer(SHOP) == 8
    assert cache.peek_for_peer(BANK) == 1
    assert told.told == sessions[:-8]  # the oldest left first
    assert all(session.is_freed for session in sessions[:-8])
    assert cache.stats.cache_full == 4_992
    check(cache)


def test_f73_endless_peers_stay_within_the_limit_of_peers() -> None:
    cache = client_cache(max_peers=16, max_per_peer=4)
    for number in range(2_000):
        for _ in range(6):
            cache.add(ticket(holder=CONNECTION), peer_key=b"peer %d" % number)
        assert len(cache) <= 64
    check(cache)
    assert cache.peek_for_peer(b"peer 1984") == 4
    assert cache.peek_for_peer(b"peer 1983") == 0


def test_the_peer_that_was_used_longest_ago_leaves_first() -> None:
    told = Recorder()
    cache = client_cache(max_peers=3, on_remove=told)
    sessions = {key: [ticket(), ticket()] for key in (b"a", b"b", b"c", b"d")}
    for key in (b"a", b"b", b"c"):
        for session in sessions[key]:
            cache.add(session, peer_key=key)
    take(cache, b"a")
    told.told.clear()
    cache.add(sessions[b"d"][0], peer_key=b"d")
    assert told.told == sessions[b"b"]
    assert cache.stats.cache_full == 2
    assert [cache.peek_for_peer(key) for key in (b"a", b"b", b"c", b"d")] == [1, 0, 2, 1]
    check(cache)


def test_a_newcomer_stays_even_if_it_is_the_oldest() -> None:
    cache = client_cache(max_per_peer=2)
    a, b, oldest = ticket(time=NOW), ticket(time=NOW + 1), ticket(time=NOW - 1)
    for session in (a, b, oldest):
        cache.add(session, peer_key=SHOP)
    assert set(cache) == {b, oldest}
    check(cache)


def test_the_limit_of_the_cache_holds_for_clients_too() -> None:
    cache = client_cache(max_size=3)
    sessions = [ticket(timeout=timeout) for timeout in (400, 100, 300, 200)]
    for session in sessions:
        cache.add(session, peer_key=SHOP)
    assert sessions[1] not in cache
    assert len(cache) == 3
    cache.add(make())
    assert sessions[3] not in cache
    check(cache)


def test_removing_flushing_and_discarding_reach_clients_sessions() -> None:
    cache = client_cache()
    removed, discarded, short, rest = ticket(), ticket(), ticket(timeout=5), ticket()
    for session in (removed, discarded, short, rest):
        cache.add(session, peer_key=SHOP)
    assert cache.remove(removed)
    assert not removed.is_resumable
    assert cache.discard(discarded)
    assert cache.flush(at=NOW + 6) == 1
    assert list(cache) == [rest]
    rest.timeout = 1
    check(cache)
    assert cache.flush(at=NOW + 2) == 1
    assert cache.peek_for_peer(SHOP) == 0
    check(cache)


def test_clearing_empties_all() -> None:
    cache = client_cache()
    for key in (SHOP, BANK):
        cache.add(ticket(), peer_key=key)
    assert cache.flush_all() == 2
    assert take(cache) is None
    assert cache._index.peers._peers == {}


def test_when_a_callback_raises_nobody_is_left_with_a_reference_he_does_not_know_of() -> None:
    def refuse(session: Session) -> None:
        raise LookupError

    cache = client_cache(on_remove=refuse)
    good, short = ticket(time=NOW - 10), ticket(timeout=1, time=NOW - 5)
    for session in (good, short):
        cache.add(session, peer_key=SHOP)
    with pytest.raises(LookupError):
        take(cache)
    assert held(good) == held(short) == {"test": 1}
    with pytest.raises(LookupError):
        cache.add(short, peer_key=SHOP)
        take(cache)
    assert held(short) == {"test": 1}
    check(cache)


def test_the_index_of_peers_alone() -> None:
    peers = PeerIndex(2, 2)
    assert peers.newest(SHOP) is None
    peers.touch(SHOP)  # unknown: nothing
    assert list(peers) == []
    assert ticket() not in peers
