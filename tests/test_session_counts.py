"""Connections, contexts and sessions together: who holds what at each step, and what each callback may do.

The engine's own rules are tested in tests/handshake; here are the manual pages' promises about counts, callbacks, dup,
clear, shutdown and the end of a context, in both versions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from resumption import CacheMode, Connection, Mechanism, NeedSession, Session, SessionIssued
from resumption.constants import AlertDescription
from resumption.errors import ConfigurationError, InternalError, ReferenceCountError, UsageError
from resumption.session.model import APPLICATION
from tests.handshake.pairs import TLS12, TLS13, VERSIONS, Pair, World, pump
from tests.pki import Pki
from tests.processes import TIME_LIMIT

both = pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])


@pytest.fixture
def world(pki: Pki) -> World:
    return World(pki)


def clients_of(world: World, version: int, **settings: Any) -> Any:
    return world.client_context(minimum_version=version, maximum_version=version, name="shop", **settings)


def named(session: Session) -> dict[str, int]:
    """Holders by kind: connections, caches, the application."""
    counts: dict[str, int] = {}
    for holder, count in session.holders.items():
        counts[holder.kind] = counts.get(holder.kind, 0) + count
    return counts


def join(client: Connection, server: Connection) -> Pair:
    """The handshake of two connections that were made by hand."""
    return Pair(client, server, pump(client, server))


def close(pair: Pair) -> None:
    pair.client.close()
    pair.server.close()
    pair.pump()


# --- counts --------------------------------------------------------------------------------------------------------


@both
def test_the_story_of_one_session(world: World, version: int) -> None:
    with world.server_context() as servers, clients_of(world, version) as clients:
        pair = world.meet(clients, servers).check()
        session = pair.client.session
        assert session is not None
        assert named(session) == {"connection": 1, "cache": 1}
        taken = pair.client.get1_session()
        assert taken is session
        assert named(session) == {"connection": 1, "cache": 1, "application": 1}
        pair.free()
        assert named(session) == {"cache": 1, "application": 1}
        clients.sessions.flush_all()
        assert named(session) == {"application": 1}
        assert session.is_resumable  # nobody can pull it from under its holder
        session.free()
        assert session.is_freed


@both
def test_two_connections_share_a_session_while_the_cache_is_flushed_and_the_context_closed(
    world: World, version: int
) -> None:
    servers, clients = world.server_context(), clients_of(world, version)
    first = world.meet(clients, servers).check()
    session = first.client.get1_session()
    assert session is not None
    first.free()
    a, b = (clients.connection("localhost", session=session) for _ in range(2))
    assert named(session) == {"connection": 2, "cache": 1, "application": 1}
    clients.sessions.flush_all()
    assert named(session) == {"connection": 2, "application": 1}
    clients.close()
    pairs = []
    for client in (a, b):
        server = servers.connection()
        pair = join(client, server).check()
        assert client.session_reused
        pair.talk()
        pairs.append(pair)
    for pair in pairs:
        pair.free()
    assert named(session) == {"application": 1}
    session.free()
    servers.close()


@both
def test_what_is_borrowed_cannot_be_freed(world: World, version: int) -> None:
    with world.server_context() as servers, clients_of(world, version) as clients:
        pair = world.meet(clients, servers).check()
        session = pair.client.session
        assert session is not None
        with pytest.raises(ReferenceCountError, match=r"held by: .*connection .*cache of shop"):
            session.free()
        assert named(session) == {"connection": 1, "cache": 1}
        pair.talk()
        pair.free()


@both
def test_a_declined_offer_is_given_back_unharmed(world: World, version: int) -> None:
    with world.server_context() as servers, world.server_context() as strangers, clients_of(world, version) as clients:
        pair = world.meet(clients, servers).check()
        session = pair.client.get1_session()
        assert session is not None
        pair.free()
        again = world.meet(clients, strangers, session=session).check()
        assert not again.client.session_reused
        assert "connection" not in named(session)
        assert session.is_resumable
        again.free()
        third = world.meet(clients, servers, session=session).check()
        assert third.client.session_reused
        third.free()
        session.free()


@both
def test_a_closed_context_lets_go_and_makes_no_more_connections(world: World, version: int) -> None:
    servers, clients = world.server_context(), clients_of(world, version)
    pair = world.meet(clients, servers).check()
    session = pair.client.session
    assert session is not None
    clients.close()
    clients.close()
    assert named(session) == {"connection": 1}
    pair.talk()
    with pytest.raises(UsageError):
        clients.connection("localhost")
    pair.free()
    assert session.is_freed
    servers.close()


def test_a_fatal_alert_ends_a_session_of_tls_12_and_leaves_one_of_tls_13(world: World) -> None:
    for version in VERSIONS:
        with world.server_context(tickets=None, stateful=True) as servers, clients_of(world, version) as clients:
            pair = world.meet(clients, servers).check()
            session = pair.client.get1_session()
            assert session is not None
            kept = len(servers.sessions)
            pair.client._send_alert(AlertDescription.internal_error)
            pair.pump()
            assert pair.server.error is not None
            assert len(servers.sessions) == (kept - 1 if version == TLS12 else kept)
            pair.free()
            session.free()


@both
def test_an_unclean_end_leaves_the_session_alone(world: World, version: int) -> None:
    with world.server_context() as servers, clients_of(world, version) as clients:
        pair = world.meet(clients, servers).check()
        held = len(clients.sessions)
        pair.free()  # no close_notify either way
        assert len(clients.sessions) == held
        assert world.meet(clients, servers).check().client.session_reused


# --- the connection's own calls ------------------------------------------------------------------------------------


@both
def test_clear_after_a_clean_end_resumes_with_the_same_session(world: World, version: int) -> None:
    with world.server_context() as servers, clients_of(world, version) as clients:
        pair = world.meet(clients, servers).check()
        close(pair)
        pair.server.free()
        session = pair.client.session
        pair.client.clear()
        assert pair.client.session is session
        server = servers.connection()
        again = join(pair.client, server).check()
        assert again.client.session_reused
        again.talk()
        again.free()


@both
def test_clear_after_an_unclean_end_starts_afresh(world: World, version: int) -> None:
    with world.server_context() as servers, clients_of(world, version, session_cache_mode=CacheMode.OFF) as clients:
        pair = world.meet(clients, servers).check()
        pair.client.clear()
        pair.server.free()
        assert pair.client.session is None
        server = servers.connection()
        again = join(pair.client, server).check()
        assert not again.client.session_reused
        again.free()


@both
def test_shutdown_is_complete_once_both_have_closed(world: World, version: int) -> None:
    with world.server_context() as servers, clients_of(world, version) as clients:
        pair = world.meet(clients, servers).check()
        assert not pair.client.shutdown()
        pair.pump()
        assert pair.server.peer_closed
        assert pair.server.shutdown()
        pair.pump()
        assert pair.client.shutdown()
        pair.free()


def test_a_quiet_shutdown_tells_the_peer_nothing(world: World) -> None:
    with world.server_context() as servers, clients_of(world, TLS13) as clients:
        pair = world.meet(clients, servers).check()
        assert not pair.client.shutdown(quiet=True)
        assert pair.client.data_to_send() == b""
        with pytest.raises(UsageError):
            pair.client.send_data(b"late")
        pair.free()


@both
def test_dup_and_copy_share_the_session(world: World, version: int) -> None:
    with world.server_context() as servers, clients_of(world, version) as clients:
        pair = world.meet(clients, servers).check()
        session = pair.client.get1_session()
        assert session is not None
        pair.free()
        waiting = clients.connection("localhost", session=session)
        twin = waiting.dup()
        assert twin is not waiting
        copy = clients.connection("localhost")
        copy.copy_session_from(twin)
        assert named(session)["connection"] == 3
        server = servers.connection()
        begun = join(twin, server).check()
        assert begun.client.session_reused
        assert twin.dup() is twin
        twin.free()
        begun.talk()
        for connection in (twin, waiting, copy, server):
            connection.free()
        assert "connection" not in named(session)
        session.free()


def test_what_was_begun_cannot_be_set(world: World) -> None:
    with world.server_context() as servers, clients_of(world, TLS13) as clients:
        pair = world.meet(clients, servers).check()
        for action in (
            lambda: pair.client.set_session(None),
            lambda: pair.client.copy_session_from(pair.client),
            lambda: setattr(pair.client, "session_id_context", b"x"),
            lambda: setattr(pair.server, "num_tickets", 1),
        ):
            with pytest.raises(UsageError):
                action()
        with pytest.raises(UsageError):
            servers.connection().set_session(None)
        with pytest.raises(UsageError):
            clients.connection("localhost").num_tickets = 1
        pair.free()


def test_settings_of_one_connection(world: World) -> None:
    with world.server_context() as servers, clients_of(world, TLS13) as clients:
        client, server = clients.connection("localhost"), servers.connection()
        server.num_tickets = 5
        server.session_id_context = b"this one"
        pair = join(client, server).check()
        assert len(clients.sessions) == 5
        assert server.session_id_context == b"this one"
        assert servers.session_id_context == b""
        pair.free()
        # made under another id context: not for the others
        assert not world.meet(clients, servers).check().client.session_reused


# --- contexts ------------------------------------------------------------------------------------------------------


def test_a_context_freezes_with_its_first_connection(world: World) -> None:
    with world.server_context() as servers:
        servers.session_id_context = b"before"
        assert not servers.is_frozen
        servers.connection().free()
        assert servers.is_frozen
        with pytest.raises(UsageError):
            servers.session_id_context = b"after"
        with pytest.raises(UsageError):
            servers.ticket_keys = None
        servers.session_timeout = 60
        servers.num_tickets = 1
        with pytest.raises(ConfigurationError):
            servers.num_tickets = 9
        with pytest.raises(ConfigurationError):
            servers.session_timeout = -1
        assert servers.session_timeout == 60


@both
def test_a_timeout_counts_for_sessions_made_later(world: World, version: int) -> None:
    with world.server_context(tickets=None, stateful=True) as servers, clients_of(world, version) as clients:
        world.meet(clients, servers).check().free()
        servers.session_timeout = 10
        world.meet(clients, servers, fresh=True).check().free()
        assert sorted({session.timeout for session in servers.sessions}) == [10, 7_200]
        world.clock.advance(11)
        assert servers.sessions.flush() > 0
        assert {session.timeout for session in servers.sessions} == {7_200}


# --- callbacks -----------------------------------------------------------------------------------------------------


@both
def test_the_new_callback_keeps_a_reference_by_returning_true(world: World, version: int) -> None:
    kept: list[Session] = []
    with world.server_context() as servers, clients_of(world, version) as clients:
        clients.on_new_session = lambda connection, session: kept.append(session) or True
        pair = world.meet(clients, servers).check()
        assert len(kept) == (1 if version == TLS12 else 2)
        assert all(session.holders[APPLICATION] == 1 for session in kept)
        pair.free()
    for session in kept:
        assert named(session) == {"application": 1}
        session.free()
        assert session.is_freed


@both
def test_the_new_callback_keeps_nothing_by_returning_false(world: World, version: int) -> None:
    seen: list[Session] = []
    with world.server_context() as servers, clients_of(world, version) as clients:
        clients.on_new_session = lambda connection, session: seen.append(session)
        world.meet(clients, servers).check().free()
        assert all(named(session) == {"cache": 1} for session in seen)
    assert seen
    assert all(session.is_freed for session in seen)


@both
def test_sessions_from_the_get_callback(world: World, version: int) -> None:
    """An external cache in place of the internal one: NO_INTERNAL, new and get callbacks."""
    outside: dict[bytes, Session] = {}

    def keep(connection: Any, session: Session) -> bool:
        outside[session.id] = session
        return True

    with (
        world.server_context(tickets=None, stateful=True) as servers,
        clients_of(world, version) as clients,
    ):
        servers.session_cache_mode = CacheMode.SERVER | CacheMode.NO_INTERNAL
        servers.on_new_session = keep
        servers.on_get_session = lambda connection, session_id: outside.get(session_id)
        world.meet(clients, servers).check().free()
        assert len(servers.sessions) == 0
        again = world.meet(clients, servers).check()
        assert again.server.session_reused
        assert servers.session_stats.cb_hits == 1
        again.free()
        assert servers.session_stats.misses == 0  # the internal lookup was off
    for session in outside.values():
        assert named(session) == {"application": 1}
        session.free()


@both
def test_the_get_callback_may_hand_its_reference_over(world: World, version: int) -> None:
    made: list[Session] = []
    with world.server_context(tickets=None, stateful=True) as servers, clients_of(world, version) as clients:
        servers.session_cache_mode = CacheMode.SERVER | CacheMode.NO_INTERNAL
        packed: dict[bytes, bytes] = {}
        servers.on_new_session = lambda connection, session: packed.update({session.id: session.to_packed()})

        def load(connection: Any, session_id: bytes) -> tuple[Session, bool] | None:
            if session_id not in packed:
                return None
            made.append(Session.from_packed(packed[session_id]))
            return made[-1], False

        servers.on_get_session = load
        world.meet(clients, servers).check().free()
        again = world.meet(clients, servers).check()
        assert again.server.session_reused
        assert "application" not in named(made[0]) if not made[0].is_freed else True
        again.free()
    assert made[0].is_freed


@both
def test_a_get_callback_that_raises_or_lies_is_a_miss(world: World, version: int) -> None:
    def fail(connection: Any, session_id: bytes) -> Session:
        raise RuntimeError("the cache is on fire")

    other = Session()
    other.id = b"another id"
    with world.server_context(tickets=None, stateful=True) as servers, clients_of(world, version) as clients:
        servers.session_cache_mode = CacheMode.SERVER | CacheMode.NO_INTERNAL
        world.meet(clients, servers).check().free()
        for callback in (fail, lambda connection, session_id: other):
            servers.on_get_session = callback
            pair = world.meet(clients, servers).check()
            assert not pair.server.session_reused
            pair.free()
    assert named(other) == {"application": 1}
    other.free()


@both
def test_the_remove_callback_is_told_with_the_context(world: World, version: int) -> None:
    told: list[tuple[Any, Session]] = []
    with world.server_context(tickets=None, stateful=True) as servers, clients_of(world, version) as clients:
        servers.on_remove_session = lambda context, session: told.append((context, session))
        world.meet(clients, servers).check().free()
        count = len(servers.sessions)
        world.clock.advance(servers.session_timeout + 1)
        servers.sessions.flush()
        assert len(told) == count > 0
        assert all(context is servers for context, _ in told)


@both
def test_ids_made_by_a_callback(world: World, version: int) -> None:
    made: list[bytes] = []

    def make(connection: Any, most: int) -> bytes:
        made.append(b"worker-7 " + len(made).to_bytes(23, "big"))
        assert len(made[-1]) == most == 32
        assert not connection.has_matching_session_id(made[-1])
        return made[-1]

    with world.server_context(tickets=None, stateful=True) as servers, clients_of(world, version) as clients:
        servers.generate_session_id = make
        pair = world.meet(clients, servers).check()
        assert {session.id for session in servers.sessions} == set(made)
        assert pair.server.has_matching_session_id(made[0])
        pair.free()
        assert world.meet(clients, servers).check().client.session_reused


@both
@pytest.mark.parametrize("bad", [b"", b"x" * 33, "text", None])
def test_an_id_callback_that_makes_no_id_ends_the_handshake(world: World, version: int, bad: Any) -> None:
    with world.server_context(tickets=None, stateful=True) as servers, clients_of(world, version) as clients:
        server = servers.connection()
        server.generate_session_id = lambda connection, most: bad  # the connection's wins over the context's
        servers.generate_session_id = lambda connection, most: b"good"
        client = clients.connection("localhost")
        took = pump(client, server)
        assert isinstance(took.server_error, InternalError)
        client.free()
        server.free()


@both
def test_an_id_that_another_session_has_ends_the_handshake(world: World, version: int) -> None:
    with (
        world.server_context(tickets=None, stateful=True, num_tickets=1) as servers,
        clients_of(world, version) as clients,
    ):
        servers.generate_session_id = lambda connection, most: b"always the same"
        world.meet(clients, servers).check().free()
        pair = world.meet(clients, servers, fresh=True)
        assert isinstance(pair.took.server_error, InternalError)
        pair.free()


@pytest.mark.parametrize("stateful", [False, True], ids=["tickets", "ids"])
def test_the_not_resumable_callback(world: World, stateful: bool) -> None:
    settings: dict[str, Any] = {"tickets": None} if stateful else {}
    asked: list[bool] = []
    with world.server_context(**settings) as servers, clients_of(world, TLS12) as clients:
        servers.not_resumable_callback = lambda connection, forward_secure: asked.append(forward_secure) or True
        pair = world.meet(clients, servers).check()
        assert asked == [True]
        assert pair.client.session is not None
        assert not pair.client.session.is_resumable
        pair.free()
        assert len(servers.sessions) == len(clients.sessions) == 0
        assert not world.meet(clients, servers).check().client.session_reused


# --- counters ------------------------------------------------------------------------------------------------------


@both
def test_the_counters_of_both_sides(world: World, version: int) -> None:
    with world.server_context(tickets=None, stateful=True) as servers, clients_of(world, version) as clients:
        for _ in range(3):
            world.meet(clients, servers).check().free()
        world.meet(clients, servers, fresh=True).check().free()
        client, server = clients.session_stats, servers.session_stats
        assert (client.connect, client.connect_good, client.hits) == (4, 4, 2)
        assert (server.accept, server.accept_good, server.hits) == (4, 4, 2)
        assert client.accept == server.connect == 0
        assert server.timeouts == 0
        servers.sessions.flush_all()
        world.meet(clients, servers).check().free()
        assert server.misses >= 1
        assert client.misses == 1


@both
def test_an_expired_session_is_a_timeout(world: World, version: int) -> None:
    settings: dict[str, Any] = {"tickets": None, "stateful": True, "session_timeout": 10}
    with world.server_context(**settings) as servers, clients_of(world, version) as clients:
        pair = world.meet(clients, servers).check()
        session = pair.client.get1_session()
        assert session is not None
        pair.free()
        for kept in list(servers.sessions):
            kept.timeout = 1  # only the server thinks so
        world.clock.advance(2)
        again = world.meet(clients, servers, session=session).check()
        assert not again.server.session_reused
        assert servers.session_stats.timeouts == 1
        again.free()
        session.free()


# --- what the store and the file change -----------------------------------------------------------------------------


def test_with_a_store_a_single_use_session_is_spent_once_wherever(world: World, tmp_path: Path) -> None:
    """Also at the server that issued it, which does not keep a copy of its own."""
    url = f"sqlite://{tmp_path}/sessions.db"
    settings: dict[str, Any] = {"tickets": world.tickets, "store": url, "stateful": True, "store_timeout": TIME_LIMIT}
    with (
        world.server_context(**settings) as issuer,
        world.server_context(**settings) as other,
        clients_of(world, TLS13) as clients,
    ):
        pair = answered(world, clients, issuer)
        session = pair.client.get1_session()
        assert session is not None
        pair.free()
        assert issuer.flush_store(TIME_LIMIT)
        assert len(issuer.sessions) == 0
        reused = []
        for servers in (other, issuer, other):
            again = answered(world, clients, servers, session)
            reused.append(again.server.session_reused)
            again.free()
        assert reused == [True, False, False]
        session.free()


def answered(world: World, clients: Any, servers: Any, session: Session | None = None) -> Pair:
    """A handshake whose questions are answered from the store, as a stream does."""
    client, server = clients.connection("localhost", session=session), servers.connection()
    while True:
        took = pump(client, server).check()
        for event in took.server:
            if isinstance(event, SessionIssued):
                servers.outside.session_issued(server, event.session)
        servers.outside.sessions.flush(10)
        questions = [event for event in took.server if isinstance(event, NeedSession)]
        if not questions:
            return Pair(client, server, took).check()
        for question in questions:
            for event in server.answer(question, servers.outside.find_session(server, question)):
                assert not isinstance(event, NeedSession)


@both
def test_stateful_servers_issue_no_tickets_in_either_version(world: World, version: int) -> None:
    with world.server_context(stateful=True) as servers, clients_of(world, version) as clients:
        world.meet(clients, servers).check().free()
        again = world.meet(clients, servers).check()
        assert again.server.resumption is not None
        assert again.server.resumption.mechanism in (Mechanism.SESSION_ID, Mechanism.STATEFUL_13)
        again.free()


@both
def test_a_lineage_from_a_file_goes_on(world: World, version: int) -> None:
    """OpenSSL's encoding does not tell for whom a session was verified; what is issued after it does again."""
    with world.server_context() as servers, clients_of(world, version) as first, clients_of(world, version) as second:
        pair = world.meet(first, servers).check()
        assert pair.client.session is not None
        pem = pair.client.session.to_pem()
        pair.free()
        with Session.from_pem(pem, now=world.clock) as session:
            pair = world.meet(second, servers, session=session).check()
            assert pair.client.session_reused
            facts = pair.client.facts
            assert facts is not None
            assert facts.verified_name == "localhost"
            assert world.clock() < facts.deadline <= world.clock() + 604_800
            pair.free()
        if version == TLS13:
            assert world.meet(second, servers).check().client.session_reused


def test_what_a_callback_brought_is_spent_too(world: World) -> None:
    """Stored on its way in, as the mode says, it must not resume a second time from there."""
    outside: dict[bytes, bytes] = {}
    with world.server_context(tickets=None, stateful=True) as servers, clients_of(world, TLS13) as clients:
        servers.on_new_session = lambda connection, session: outside.update({session.id: session.to_packed()})
        pair = world.meet(clients, servers).check()
        session = pair.client.get1_session()
        assert session is not None
        pair.free()
        servers.sessions.flush_all()
        servers.on_new_session = None
        servers.on_get_session = lambda connection, session_id: (
            (Session.from_packed(outside.pop(session_id)), False) if session_id in outside else None
        )
        reused = []
        for _ in range(3):
            again = world.meet(clients, servers, session=session).check()
            reused.append(again.server.session_reused)
            again.free()
        assert reused == [True, False, False]
        session.free()
