"""What was decided where OpenSSL's manual, its code and its versions disagree; who owns what the get callback brings;
and when each of the eleven counters counts. What differs from OpenSSL for it is in test_differences.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import resumption
from resumption import openssl as face
from resumption.session.ledger import APPLICATION
from resumption.session.statistics import COUNTERS
from tests.handshake.pairs import VERSIONS, World, issued, pump
from tests.openssl.test_differences import Ends, free, numbered
from tests.pki import Pki


@pytest.fixture
def world(pki: Pki) -> World:
    return World(pki)


@pytest.fixture
def ends(world: World) -> Iterator[Ends]:
    with Ends(world) as made:
        yield made


def counted(context: face.SSL_CTX) -> dict[str, int]:
    """The counters that are not 0."""
    counts = {name: getattr(face, f"SSL_CTX_sess_{name}")(context) for name in COUNTERS}
    return {name: count for name, count in counts.items() if count}


# --- the decisions ----------------------------------------------------------------------------------------------------


def test_02_der_without_a_timeout_means_three_seconds() -> None:
    with numbered(1) as session:
        face.SSL_SESSION_set_timeout(session, 0)  # not written
        encoding = face.i2d_SSL_SESSION(session)
    assert encoding is not None
    reread = face.d2i_SSL_SESSION(encoding)
    assert reread is not None
    assert face.SSL_SESSION_get_timeout(reread) == 3
    free(reread)


def test_05_removing_by_a_twin_returns_true_and_drops_what_was_there(ends: Ends) -> None:
    cached, twin = numbered(1), numbered(1)
    face.SSL_CTX_add_session(ends.server, cached)
    assert face.SSL_CTX_remove_session(ends.server, twin) is True
    assert cached.holders == {APPLICATION: 1}
    assert face.SSL_CTX_remove_session(ends.server, twin) is False
    free(cached, twin)


@pytest.mark.parametrize("role", ["client", "server"])
def test_10_the_256th_handshake_flushes(ends: Ends, role: str) -> None:
    context = ends.server if role == "server" else ends.client
    with numbered(1, time=1.0) as session:
        face.SSL_CTX_add_session(context, session)
        for _ in range(255):
            context.sessions.handshake_done(client=role == "client")
        assert face.SSL_CTX_sess_number(context) == 1
        context.sessions.handshake_done(client=role == "client")
        assert face.SSL_CTX_sess_number(context) == 0


def test_10_nothing_is_flushed_in_mode_no_auto_clear(ends: Ends) -> None:
    face.SSL_CTX_set_session_cache_mode(ends.server, face.SSL_SESS_CACHE_SERVER | face.SSL_SESS_CACHE_NO_AUTO_CLEAR)
    with numbered(1, time=1.0) as session:
        face.SSL_CTX_add_session(ends.server, session)
        for _ in range(512):
            ends.server.sessions.handshake_done(client=False)
        assert face.SSL_CTX_sess_number(ends.server) == 1


def test_11_the_mark_is_lost_in_der() -> None:
    with numbered(1) as session:
        session.mark_not_resumable()
        encoding = face.i2d_SSL_SESSION(session)
        assert encoding is not None
        reread = face.d2i_SSL_SESSION(encoding)
        assert reread is not None
        assert not face.SSL_SESSION_is_resumable(session)
        assert face.SSL_SESSION_is_resumable(reread)
        free(reread)


def test_17_an_expired_tls12_session_is_offered_when_the_program_installs_it(ends: Ends) -> None:
    pair = ends.meet().check()
    session = face.SSL_get1_session(pair.client)
    assert session is not None
    face.SSL_SESSION_set_timeout(session, 1)
    ends.world.clock.advance(50)
    assert session.is_expired(ends.world.clock())
    assert face.SSL_session_reused(ends.meet(session=session).check().client)
    free(session)


@pytest.mark.parametrize("version", VERSIONS)
def test_19_a_key_callback_that_returns_keys_alone_stops_renewal(world: World, version: int) -> None:
    keys = resumption.TicketKeys.from_openssl_block(bytes(range(80)))
    with Ends(world, version) as ends:
        assert face.SSL_CTX_set_tlsext_ticket_key_evp_cb(ends.server, lambda connection, name: keys)
        assert issued(ends.meet().check().took.client)
        pair = ends.meet().check()
        assert face.SSL_session_reused(pair.client)
        assert not [one for one in issued(pair.took.client) if one.has_ticket]


# --- the get callback -------------------------------------------------------------------------------------------------


def outside(ends: Ends) -> resumption.Session:
    """A session that the server made, held by the application and in no cache any more."""
    ends.meet().check()
    (session,) = ends.server.sessions
    session.up_ref()
    face.SSL_CTX_flush_sessions(ends.server, 0)
    return session


@pytest.mark.parametrize("stores", [True, False])
@pytest.mark.parametrize("mode", [face.SSL_SESS_CACHE_SERVER, face.SSL_SESS_CACHE_OFF])
def test_what_the_get_callback_brings_is_stored_unless_the_mode_forbids(ends: Ends, stores: bool, mode: int) -> None:
    session = outside(ends)
    face.SSL_CTX_set_session_cache_mode(ends.server, mode if stores else mode | face.SSL_SESS_CACHE_NO_INTERNAL_STORE)
    asked: list[bytes] = []
    face.SSL_CTX_sess_set_get_cb(ends.server, lambda connection, name: (asked.append(name), session)[1])
    pair = ends.meet().check()
    assert face.SSL_session_reused(pair.server)
    assert asked == [session.id]
    assert (session in ends.server.sessions) is stores
    assert session.holders[APPLICATION] == 1
    assert session.holders[pair.server.holder] == 1
    ends.meet().check()
    assert len(asked) == (1 if stores else 2)  # not asked for what is in the cache
    free(session)


@pytest.mark.parametrize("copy", [True, False])
def test_a_condemned_session_from_the_get_callback_is_ignored_and_freed_if_it_was_handed_over(
    ends: Ends, copy: bool
) -> None:
    session = outside(ends)
    session.mark_not_resumable()
    face.SSL_CTX_sess_set_get_cb(ends.server, lambda *asked: session if copy else (session, False))
    assert not face.SSL_session_reused(ends.meet().check().server)
    assert face.SSL_CTX_sess_cb_hits(ends.server) == 0
    assert (APPLICATION in session.holders) is copy
    if copy:
        free(session)


# --- the counters -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_connect_and_accept_count_at_the_start_and_good_ones_at_the_end(world: World, version: int) -> None:
    with Ends(world, version) as ends:
        client, server = ends.client.connection("localhost"), ends.server.connection()
        assert counted(ends.client) == {}
        hello = client.data_to_send()
        assert counted(ends.client) == {"connect": 1}
        assert counted(ends.server) == {}
        list(server.receive_data(hello))
        assert counted(ends.server) == {"accept": 1}
        pump(client, server).check()
        assert counted(ends.client) == {"connect": 1, "connect_good": 1}
        assert counted(ends.server) == {"accept": 1, "accept_good": 1}
        client.free()
        server.free()


@pytest.mark.parametrize("version", VERSIONS)
def test_hits_count_on_either_side_of_a_resumption(world: World, version: int) -> None:
    with Ends(world, version) as ends:
        ends.meet().check()
        ends.meet().check()
        assert counted(ends.client) == {"connect": 2, "connect_good": 2, "hits": 1}
        assert counted(ends.server) == {"accept": 2, "accept_good": 2, "hits": 1}


def test_a_miss_counts_also_when_the_get_callback_then_finds_it(ends: Ends) -> None:
    session = outside(ends)
    face.SSL_CTX_sess_set_get_cb(ends.server, lambda *asked: session)
    ends.meet().check()
    assert counted(ends.server) == {"accept": 2, "accept_good": 2, "misses": 1, "cb_hits": 1, "hits": 1}
    assert counted(ends.client) == {"connect": 2, "connect_good": 2, "hits": 1}
    free(session)


def test_a_session_that_was_offered_in_vain_is_a_miss_on_both_sides(ends: Ends) -> None:
    ends.meet().check()
    face.SSL_CTX_flush_sessions(ends.server, 0)
    ends.meet().check()
    assert counted(ends.server) == {"accept": 2, "accept_good": 2, "misses": 1}
    assert counted(ends.client) == {"connect": 2, "connect_good": 2, "misses": 1}


def test_a_session_that_was_found_and_is_expired_counts_and_leaves(ends: Ends) -> None:
    pair = ends.meet().check()
    session = face.SSL_get1_session(pair.client)
    assert session is not None
    (kept,) = ends.server.sessions
    ends.world.clock.advance(7_201)
    assert not face.SSL_session_reused(ends.meet(session=session).check().server)
    assert face.SSL_CTX_sess_timeouts(ends.server) == 1
    assert face.SSL_CTX_sess_misses(ends.server) == 0
    assert kept not in ends.server.sessions
    free(session)


def test_each_eviction_counts_and_flushing_does_not(ends: Ends) -> None:
    face.SSL_CTX_sess_set_cache_size(ends.server, 2)
    sessions = [numbered(n) for n in range(5)]
    for session in sessions:
        face.SSL_CTX_add_session(ends.server, session)
    face.SSL_CTX_flush_sessions(ends.server, 0)
    assert counted(ends.server) == {"cache_full": 3}
    free(*sessions)
