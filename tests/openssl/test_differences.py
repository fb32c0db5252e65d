"""docs/differences.md: each row that says what is different here is proved by the test with its number."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import resumption
from resumption import openssl as face
from resumption.session.ledger import APPLICATION
from resumption.session.tickets.openssl_tickets import OpenSSLTicketKeys
from tests.handshake.pairs import TLS12, TLS13, Pair, World, pump
from tests.pki import Pki

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "differences.md"


@pytest.fixture
def world(pki: Pki) -> World:
    return World(pki)


class Ends:
    """A client's and a server's context, and their connections, all freed at the end."""

    def __init__(self, world: World, version: int = TLS12, **server: Any) -> None:
        self.world = world
        self.server = world.server_context(**{"tickets": "auto" if version == TLS13 else None, **server})
        self.client = world.client_context(maximum_version=version)
        self._pairs: list[Pair] = []

    def meet(self, **options: Any) -> Pair:
        pair = self.world.meet(self.client, self.server, **options)
        self._pairs.append(pair)
        return pair

    def __enter__(self) -> Ends:
        return self

    def __exit__(self, *failed: object) -> None:
        for pair in self._pairs:
            pair.free()
        self.client.close()
        self.server.close()


@pytest.fixture
def ends(world: World) -> Iterator[Ends]:
    with Ends(world) as made:
        yield made


def numbered(number: int, *, time: float = 1_000.0) -> resumption.Session:
    session = resumption.Session()
    session.id, session.version, session.cipher, session.time = number.to_bytes(32, "big"), TLS12, 0xC02B, time
    return session


def filled(context: resumption.ServerContext, count: int) -> list[resumption.Session]:
    sessions = [numbered(n, time=1_000.0 + n) for n in range(count)]
    for session in sessions:
        face.SSL_CTX_add_session(context, session)
    return sessions


def free(*sessions: resumption.Session) -> None:
    for session in sessions:
        face.SSL_SESSION_free(session)


def test_1_a_wrong_free_changes_nothing(ends: Ends) -> None:
    session = face.SSL_get0_session(ends.meet().server)
    assert session is not None
    before = session.holders
    for _ in range(5):
        with pytest.raises(resumption.ReferenceCountError):
            face.SSL_SESSION_free(session)
    assert session.holders == before


def test_2_use_after_the_end() -> None:
    session = numbered(1)
    free(session)
    with pytest.raises(resumption.SessionFreedError):
        face.SSL_SESSION_get_id(session)


def test_3_leaks_warn() -> None:
    kept = [numbered(1)]
    with pytest.warns(ResourceWarning, match="1 reference of the application outstanding"):
        kept.clear()


def test_4_d2i_makes_a_new_session() -> None:
    with numbered(1) as session:
        encoding = face.i2d_SSL_SESSION(session)
        assert encoding is not None
        one, other = face.d2i_SSL_SESSION(encoding), face.d2i_SSL_SESSION(encoding)
        assert one is not None
        assert other is not None
        assert one is not other
        free(one, other)


def test_5_a_freed_context_keeps_its_connections(ends: Ends) -> None:
    pair = ends.meet().check()
    face.SSL_CTX_free(ends.server)
    assert face.SSL_CTX_sess_number(ends.server) == 0
    pair.talk()
    with pytest.raises(resumption.UsageError):
        ends.server.connection()


@pytest.mark.parametrize(
    "drop",
    [
        lambda ctx: face.SSL_CTX_flush_sessions(ctx, 0),
        lambda ctx: face.SSL_CTX_flush_sessions_ex(ctx, 10_000),
        lambda ctx: (face.SSL_CTX_sess_set_cache_size(ctx, 1), free(*filled(ctx, 3))),
        lambda ctx: face.SSL_CTX_free(ctx),
    ],
    ids=["flush all", "flush expired", "eviction", "end of the context"],
)
def test_6_only_remove_condemns(drop: Callable[[resumption.ServerContext], object], ends: Ends) -> None:
    with numbered(99, time=1.0) as session:
        face.SSL_CTX_add_session(ends.server, session)
        drop(ends.server)
        assert session.holders == {APPLICATION: 1}
        assert face.SSL_SESSION_is_resumable(session)
        face.SSL_CTX_remove_session(ends.server, session)
        assert not face.SSL_SESSION_is_resumable(session)


@pytest.mark.parametrize("end", [face.SSL_free, face.SSL_clear])
@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_7_an_unclean_end_does_not_condemn(
    world: World, version: int, end: Callable[[resumption.Connection], object]
) -> None:
    with Ends(world, version) as ends:
        pair = ends.meet().check()
        session = face.SSL_get1_session(pair.client)
        assert session is not None
        end(pair.client)
        end(pair.server)
        assert face.SSL_SESSION_is_resumable(session)
        assert face.SSL_session_reused(ends.meet(session=session).check().client)
        free(session)


@pytest.mark.parametrize(("version", "survives"), [(TLS12, False), (TLS13, True)])
def test_8_a_fatal_alert_condemns_in_tls12_only(world: World, version: int, survives: bool) -> None:
    with Ends(world, version) as ends:
        pair = ends.meet().check()
        session = face.SSL_get1_session(pair.client)
        assert session is not None
        with pytest.raises(resumption.PeerError):
            list(pair.client.receive_data(b"\x17\x03\x03\x00\x20" + bytes(32)))
        assert face.SSL_SESSION_is_resumable(session) is survives
        free(session)


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_9_the_limit_is_reached_exactly(ends: Ends, limit: int) -> None:
    face.SSL_CTX_sess_set_cache_size(ends.server, limit)
    free(*filled(ends.server, 7))
    assert face.SSL_CTX_sess_number(ends.server) == limit
    assert face.SSL_CTX_sess_cache_full(ends.server) == 7 - limit


def test_10_size_is_bounded_too(ends: Ends) -> None:
    with numbered(1) as session:
        session.ticket_appdata = bytes(17 << 10)
        assert not face.SSL_CTX_add_session(ends.server, session)
        session.ticket_appdata = bytes(8 << 10)
        assert face.SSL_CTX_add_session(ends.server, session)
    assert ends.server.sessions.max_bytes == 64 << 20


def test_11_a_session_without_id_is_refused(ends: Ends) -> None:
    with resumption.Session() as session:
        assert not face.SSL_CTX_add_session(ends.server, session)
        with pytest.raises(resumption.SessionError):
            ends.server.sessions.add(session)
        assert session.holders == {APPLICATION: 1}


def test_12_one_session_one_context(ends: Ends) -> None:
    with numbered(1) as session, session.dup() as copy:
        assert face.SSL_CTX_add_session(ends.server, session)
        assert not face.SSL_CTX_add_session(ends.client, session)
        assert face.SSL_CTX_add_session(ends.client, copy)


def test_13_what_is_cached_is_not_edited(ends: Ends) -> None:
    with numbered(1) as session, numbered(2, time=1_001.0) as other:
        face.SSL_CTX_add_session(ends.server, session)
        face.SSL_CTX_add_session(ends.server, other)
        assert not face.SSL_SESSION_set1_id(session, b"other")
        assert not face.SSL_SESSION_set1_master_key(session, b"other")
        assert face.SSL_SESSION_set_time(session, 5_000) == 5_000
        face.SSL_CTX_flush_sessions(ends.server, 3_000)
        assert list(face.SSL_CTX_sessions(ends.server)) == [session]


def test_14_callbacks_run_outside_the_lock(ends: Ends) -> None:
    lengths: list[int] = []

    def removed(context: resumption.ServerContext, session: resumption.Session) -> None:
        thread = threading.Thread(target=lambda: lengths.append(context.sessions.flush(0.5)))  # takes the lock
        thread.start()
        thread.join(20)

    face.SSL_CTX_sess_set_remove_cb(ends.server, removed)
    free(*filled(ends.server, 3))
    face.SSL_CTX_flush_sessions(ends.server, 0)
    assert lengths == [0, 0, 0]


def test_15_a_hit_makes_a_session_young_again(world: World) -> None:
    with Ends(world) as ends:
        face.SSL_CTX_set_session_cache_mode(ends.server, face.SSL_SESS_CACHE_SERVER | face.SSL_SESS_CACHE_UPDATE_TIME)
        ends.meet().check()
        world.clock.advance(100)
        pair = ends.meet().check()
        assert face.SSL_session_reused(pair.server)
        assert face.SSL_SESSION_get_time_ex(face.SSL_get_session(pair.server)) == world.clock()


def test_16_an_automatic_flush_is_bounded(ends: Ends) -> None:
    free(*filled(ends.server, 1_500))
    for _ in range(256):
        ends.server.sessions.handshake_done(client=False)
    assert face.SSL_CTX_sess_number(ends.server) == 1_500 - 1_024
    ends.server.sessions.handshake_done(client=False)
    assert face.SSL_CTX_sess_number(ends.server) == 0


@pytest.mark.parametrize("answer", ["another id", "an exception"])
def test_17_and_20_a_wrong_answer_of_the_get_callback_is_a_miss(ends: Ends, answer: str) -> None:
    ends.meet().check()
    face.SSL_CTX_flush_sessions(ends.server, 0)
    with numbered(1) as stranger:
        face.SSL_CTX_sess_set_get_cb(ends.server, lambda *asked: stranger if answer == "another id" else asked[9])
        pair = ends.meet().check()
        assert not face.SSL_session_reused(pair.server)
        assert stranger.holders == {APPLICATION: 1}


def test_19_an_index_needs_no_new_callback() -> None:
    assert face.SSL_SESSION_get_ex_new_index(0, None, lambda *of: None, None, None) == -1
    index = face.SSL_SESSION_get_ex_new_index()
    with numbered(1) as session:
        assert face.SSL_SESSION_get_ex_data(session, index) is None


@pytest.mark.parametrize("copy", [True, False])
def test_18_the_get_callback_returns_what_c_writes_into_copy(ends: Ends, copy: bool) -> None:
    ends.meet().check()
    (session,) = ends.server.sessions
    session.up_ref()
    face.SSL_CTX_flush_sessions(ends.server, 0)
    face.SSL_CTX_sess_set_get_cb(ends.server, lambda *asked: session if copy else (session, False))
    assert face.SSL_session_reused(ends.meet().check().server)
    assert (APPLICATION in session.holders) is copy
    if copy:
        free(session)


def test_21_clients_resume_by_themselves_and_use_a_ticket_once(world: World) -> None:
    with Ends(world, TLS13) as ends:
        ends.meet().check()
        assert face.SSL_CTX_sess_number(ends.client) == 2
        assert face.SSL_session_reused(ends.meet().check().client)
        face.SSL_CTX_flush_sessions(ends.client, 0)
        assert not face.SSL_session_reused(ends.meet().check().client)
        face.SSL_CTX_flush_sessions(ends.client, 0)
        face.SSL_CTX_set_session_cache_mode(ends.client, face.SSL_SESS_CACHE_OFF)
        ends.meet().check()
        assert not face.SSL_session_reused(ends.meet().check().client)


def test_22_set_session_is_for_clients_before_the_first_byte(ends: Ends) -> None:
    pair = ends.meet().check()
    with numbered(1) as session:
        assert not face.SSL_set_session(pair.client, session)
        assert not face.SSL_set_session(pair.server, session)


def test_23_client_certificates_need_an_id_context_from_the_start(world: World) -> None:
    with pytest.raises(resumption.UsageError, match="session id context"):
        world.server_context(client_auth="required", trust=world.pki.trust_pem)


def test_24_what_decides_who_may_resume_is_frozen(ends: Ends) -> None:
    assert face.SSL_CTX_set_session_id_context(ends.server, b"one")
    ends.meet().check()
    assert not face.SSL_CTX_set_session_id_context(ends.server, b"two")
    assert not face.SSL_CTX_set_tlsext_ticket_keys(ends.server, bytes(range(80)))


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_25_another_server_name_is_a_full_handshake(world: World, version: int) -> None:
    with Ends(world, version, stateful=True) as ends:
        ends.meet().check()
        for session in ends.server.sessions:
            with session.dup() as elsewhere:
                elsewhere.hostname = "other.example"
                face.SSL_CTX_add_session(ends.server, elsewhere)
        pair = ends.meet().check()
        assert pair.server.resumption is not None
        assert pair.server.resumption.reason is resumption.Reason.OTHER_NAME


def test_26_a_suite_that_is_not_offered_again_is_a_full_handshake(world: World) -> None:
    with Ends(world) as ends:
        ends.client.close()
        ends.client = world.client_context(maximum_version=TLS12, suites=(0xC02B,))
        ends.meet().check()
        (session,) = ends.server.sessions
        with session.dup() as other:
            assert face.SSL_SESSION_set_cipher(other, 0xC02C)
            face.SSL_CTX_add_session(ends.server, other)
            pair = ends.meet().check()
        assert pair.server.resumption is not None
        assert pair.server.resumption.reason is resumption.Reason.SUITE_NOT_OFFERED


def test_27_tls12_resumes_only_with_an_extended_master_secret(world: World) -> None:
    with Ends(world) as ends:
        mine = world.client_session(TLS12, flags=0)
        pair = ends.meet(session=mine).check()
        assert not face.SSL_session_reused(pair.client)
        assert pair.client.resumption is not None
        assert pair.client.resumption.reason is resumption.Reason.EMS_ABSENT
        free(mine)


def test_28_a_lineage_ends(world: World) -> None:
    with Ends(world) as ends:
        ends.meet().check()
        (session,) = ends.server.sessions
        assert session.deadline > session.time
        late = world.server_session(ends.server.config, TLS12, session_id=session.id, deadline=world.clock() - 1)
        face.SSL_CTX_add_session(ends.server, late)
        pair = ends.meet().check()
        assert pair.server.resumption is not None
        assert pair.server.resumption.reason is resumption.Reason.PAST_DEADLINE
        free(late)


def test_29_senseless_limits_are_refused(ends: Ends) -> None:
    assert face.SSL_CTX_set_num_tickets(ends.server, 8)
    assert not face.SSL_CTX_set_num_tickets(ends.server, 9)
    with pytest.raises(ValueError, match="timeout"):
        face.SSL_CTX_set_timeout(ends.server, -1)


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_30_a_ticket_key_callback_chooses_among_keys(world: World, version: int) -> None:
    keys = OpenSSLTicketKeys(bytes(range(80)))
    asked: list[tuple[Any, bytes | None]] = []
    with Ends(world, version) as ends:
        assert face.SSL_CTX_set_tlsext_ticket_key_evp_cb(
            ends.server, lambda *arguments: (asked.append(arguments), (keys, True))[1]
        )
        first = ends.meet().check().server
        assert set(asked) == {(first, None)}
        second = ends.meet().check().server
        assert face.SSL_session_reused(second)
        assert asked[-2:] == [(second, bytes(range(16))), (second, None)]


def test_31_the_generate_callback_edits_what_nobody_else_holds(world: World) -> None:
    lent: list[resumption.Session] = []
    with Ends(world, TLS13) as ends:
        face.SSL_CTX_set_session_ticket_cb(ends.server, lambda connection, session: lent.append(session), None)
        pair = ends.meet().check()
        assert len(lent) == 2
        assert all(session.is_freed for session in lent)
        assert face.SSL_get_session(pair.server) not in lent


def test_32_eap_fast_is_refused() -> None:
    for refused in (
        face.SSL_set_session_secret_cb,
        face.SSL_set_session_ticket_ext,
        face.SSL_set_session_ticket_ext_cb,
    ):
        with pytest.raises(resumption.UsageError, match="EAP-FAST"):
            refused(None, None)


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_33_a_hit_counts_when_the_handshake_is_complete(world: World, version: int) -> None:
    with Ends(world, version) as ends:
        ends.meet().check()
        client, server = ends.client.connection("localhost"), ends.server.connection()
        list(server.receive_data(client.data_to_send()))
        assert face.SSL_CTX_sess_hits(ends.server) == 0
        pump(client, server).check()
        assert face.SSL_CTX_sess_hits(ends.server) == 1
        client.free()
        server.free()


def test_34_what_tickets_allow_is_taken(world: World) -> None:
    register = resumption.ReplayRegister(clock=world.clock, random=world.random)
    with Ends(world, TLS13, replay=register, max_early_data=40_000) as ends:
        assert face.SSL_CTX_get_recv_max_early_data(ends.server) == 40_000
        assert face.SSL_CTX_set_max_early_data(ends.server, 50_000)
        assert face.SSL_CTX_get_recv_max_early_data(ends.server) == 50_000
        assert face.SSL_CTX_set_recv_max_early_data(ends.server, 7)
        assert face.SSL_CTX_get_recv_max_early_data(ends.server) == 7


def psk_session(suite: int) -> resumption.Session:
    session = face.SSL_SESSION_new()
    face.SSL_SESSION_set1_master_key(session, bytes(range(1, 33)))
    face.SSL_SESSION_set_cipher(session, suite)
    face.SSL_SESSION_set_protocol_version(session, TLS13)
    return session


@pytest.mark.parametrize(("suite", "serves"), [(0x1301, True), (0x1302, False)])
def test_35_a_psk_is_asked_for_once(world: World, suite: int, serves: bool) -> None:
    asked: list[Any] = []
    with Ends(world, TLS13, groups=("secp256r1",), suites=("TLS_AES_128_GCM_SHA256",)) as ends:
        ends.client.close()
        ends.client = world.client_context(groups=("x25519", "secp256r1"), key_shares=1)
        face.SSL_CTX_set_psk_use_session_callback(
            ends.client, lambda _, digest: asked.append(digest) or (b"name", psk_session(suite))
        )
        face.SSL_CTX_set_psk_find_session_callback(ends.server, lambda *_: psk_session(suite))
        client = ends.meet().check().client
        assert asked == [None]
        assert client.resumption is not None
        assert (client.resumption.reason is resumption.Reason.EXTERNAL_PSK) is serves
        assert bool(client.peer_chain) is not serves


def test_36_an_external_psk_is_no_session(world: World) -> None:
    register = resumption.ReplayRegister(clock=world.clock, random=world.random)
    with Ends(world, TLS13, replay=register, max_early_data=100) as ends:
        face.SSL_CTX_set_psk_client_callback(ends.client, lambda *_: (b"name", bytes(range(1, 33))))
        face.SSL_CTX_set_psk_server_callback(ends.server, lambda *_: bytes(range(1, 33)))
        client, server = ends.client.connection("localhost"), ends.server.connection()
        assert not face.SSL_write_early_data(client, b"early")
        pump(client, server).check()
        assert not face.SSL_session_reused(client)
        assert not face.SSL_session_reused(server)
        client.free()
        server.free()


@pytest.mark.parametrize("foreign", [False, True])
@pytest.mark.parametrize("version", [TLS12, TLS13])
@pytest.mark.parametrize("form", ["der", "packed"])
def test_37_an_external_cache_keeps_what_says_where_it_belongs(
    world: World, version: int, form: str, foreign: bool
) -> None:
    kept: dict[bytes, bytes] = {}
    read: Callable[[bytes], Any] = resumption.Session.from_packed if form == "packed" else face.d2i_SSL_SESSION

    def keep(connection: Any, session: resumption.Session) -> None:
        kept[session.id] = session.to_packed() if form == "packed" else face.i2d_SSL_SESSION(session) or b""

    with Ends(world, version, tickets=None, stateful=True, accept_foreign_tickets=foreign) as ends:
        mode = face.SSL_SESS_CACHE_SERVER | face.SSL_SESS_CACHE_NO_INTERNAL
        face.SSL_CTX_set_session_cache_mode(ends.server, mode)
        face.SSL_CTX_sess_set_new_cb(ends.server, keep)
        face.SSL_CTX_sess_set_get_cb(ends.server, lambda connection, name: (read(kept[name]), False))
        ends.meet().check()
        server = ends.meet().check().server
        assert server.resumption is not None
        assert server.session_reused is (form == "packed" or foreign)
        assert server.resumption.reason is (None if server.session_reused else resumption.Reason.UNKNOWN_ORIGIN)


def test_every_row_has_its_test_and_every_test_its_row() -> None:
    rows = [int(number) for number in re.findall(r"^\| (\d+) \|", PAGE.read_text("utf-8"), re.MULTILINE)]
    assert rows == list(range(1, len(rows) + 1))
    tested = {int(number) for name in globals() for number in re.findall(r"(?:test|and)_(\d+)_", name)}
    assert tested == set(rows)


# --- the same, though one might think otherwise -----------------------------------------------------------------------


def test_what_is_the_same(ends: Ends) -> None:
    empty = face.SSL_SESSION_new()
    assert face.SSL_SESSION_get_timeout(empty) == 304
    assert face.SSL_CTX_get_timeout(ends.server) == 7_200
    told: list[resumption.Session] = []
    face.SSL_CTX_sess_set_remove_cb(ends.server, lambda ctx, session: told.append(session))
    one, other, third = numbered(1), numbered(1), numbered(1)
    assert face.SSL_CTX_add_session(ends.server, one)
    assert face.SSL_CTX_add_session(ends.server, other)  # displaces, silently
    assert told == []
    assert face.SSL_SESSION_is_resumable(one)
    assert face.SSL_CTX_remove_session(ends.server, third)  # not there, but another with its id
    assert told == [third]
    assert not face.SSL_SESSION_is_resumable(third)
    assert face.SSL_SESSION_is_resumable(other)
    assert face.SSL_CTX_sess_number(ends.server) == 0
    encoding = face.i2d_SSL_SESSION(third)
    assert encoding is not None
    reread = face.d2i_SSL_SESSION(encoding + b"more")
    assert reread is not None
    assert face.SSL_SESSION_is_resumable(reread)
    with pytest.raises(resumption.SessionFormatError):
        resumption.Session.from_der(encoding + b"more")
    face.SSL_CTX_sess_set_new_cb(ends.server, lambda connection, session: False)
    ends.meet().check()
    assert face.SSL_CTX_sess_number(ends.server) == 1
    free(empty, one, other, third, reread)
