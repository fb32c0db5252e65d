"""Client and server contexts: what they freeze, count, keep, and hand to connections; and how they end."""

from __future__ import annotations

import copy
import stat
from pathlib import Path
from typing import Any

import pytest

from resumption.client_context import ClientContext
from resumption.config import ClientConfig, ServerConfig
from resumption.constants import MAX_SESSION_ID_LENGTH
from resumption.context import open_key_log, protocols
from resumption.errors import ConfigurationError, InternalError, UsageError
from resumption.handshake.events import NeedSession
from resumption.server_context import ServerContext
from resumption.session.cache import CacheMode
from resumption.session.stores.memory import MemoryStore
from resumption.session.tickets.keys import TicketKeys
from resumption.session.verdicts import Mechanism, Reason
from tests.handshake.pairs import TLS12, TLS13, VERSIONS, Pair, Took, World, feed, issued, pump
from tests.handshake.scripted12 import Client12
from tests.handshake.scripted13 import Client13
from tests.pki import Pki

both_versions = pytest.mark.parametrize("version", VERSIONS, ids=("1.2", "1.3"))


@pytest.fixture
def world(pki: Pki) -> World:
    return World(pki)


# --- clients resume by themselves ------------------------------------------------------------------------------------


@both_versions
def test_the_second_connection_resumes(world: World, version: int) -> None:
    clients, servers = world.client_context(maximum_version=version), world.server_context()
    first = world.meet(clients, servers).check()
    assert str(first.client.resumption) == "full handshake: no session for localhost yet"
    world.clock.advance(4)
    second = world.meet(clients, servers).check()
    resumption = second.client.resumption
    assert resumption is not None
    assert resumption.resumed
    assert (resumption.age_s, resumption.peer) == (4.0, "localhost")
    if version == TLS13:
        assert (resumption.tickets_before, resumption.tickets_left) == (2, 1)
        assert str(resumption) == "resumed (TLS 1.3 ticket, 4 s old, 1 of 2 left)"
    else:
        assert (resumption.tickets_before, resumption.tickets_left) == (1, None)
        assert str(resumption) == "resumed (TLS 1.2 ticket, 4 s old)"
    first.free()
    second.free()


@both_versions
def test_the_first_of_many_connections_at_once_takes_the_session(world: World, version: int) -> None:
    clients, servers = world.client_context(maximum_version=version), world.server_context()
    world.meet(clients, servers).check().free()
    connections = [clients.connection("localhost") for _ in range(4)]
    hellos = [connection.data_to_send() for connection in connections]
    resumed = []
    for connection, hello in zip(connections, hellos, strict=True):
        server = servers.connection()
        feed(server, hello)
        pump(connection, server).check()
        resumed.append(connection.session_reused)
        connection.free()
        server.free()
    assert resumed == ([True] * 4 if version == TLS12 else [True, True, False, False])


@both_versions
def test_a_fresh_handshake_leaves_the_cache_alone(world: World, version: int) -> None:
    clients, servers = world.client_context(maximum_version=version), world.server_context()
    world.meet(clients, servers).check().free()
    before = set(clients.sessions)
    pair = world.meet(clients, servers, fresh=True).check()
    assert pair.client.resumption is not None
    assert pair.client.resumption.reason is Reason.FRESH_REQUESTED
    if version == TLS13:
        assert before <= set(clients.sessions)
    pair.free()


@both_versions
def test_a_session_given_by_hand_wins_over_the_cache(world: World, version: int) -> None:
    clients, servers = world.client_context(maximum_version=version), world.server_context()
    pair = world.meet(clients, servers).check()
    mine = pair.client.get1_session()
    assert mine is not None
    pair.free()
    world.meet(clients, servers, fresh=True).check().free()
    pair = world.meet(clients, servers, session=mine)
    assert pair.check().client.session_reused
    mine.free()
    pair.free()


@both_versions
def test_f62_a_ticket_given_by_hand_is_not_offered_again_by_the_cache(world: World, version: int) -> None:
    clients, servers = world.client_context(maximum_version=version), world.server_context()
    pair = world.meet(clients, servers).check()
    mine = pair.client.get1_session()
    assert mine is not None
    pair.free()
    assert mine in clients.sessions
    waiting = clients.connection("localhost", session=mine)
    assert mine in clients.sessions  # nothing was said yet
    waiting.data_to_send()
    assert (mine in clients.sessions) == (version == TLS12)
    later = clients.connection("localhost")
    later.data_to_send()
    assert (later.held_session is mine) == (version == TLS12)
    for one in (waiting, later, mine):
        one.free()


@both_versions
def test_the_cache_may_be_off(world: World, version: int) -> None:
    clients = world.client_context(maximum_version=version, session_cache_mode=CacheMode.OFF)
    servers = world.server_context()
    for _ in range(2):
        pair = world.meet(clients, servers).check()
        assert not pair.client.session_reused
        assert len(clients.sessions) == 0
        assert issued(pair.took.client)  # told of all the same
        pair.free()
    clients.session_cache_mode = CacheMode.CLIENT
    assert clients.session_cache_mode is CacheMode.CLIENT
    world.meet(clients, servers).check().free()
    pair = world.meet(clients, servers).check()
    assert pair.client.session_reused
    pair.free()


def test_a_hello_that_is_never_made_spends_nothing(world: World) -> None:
    clients, servers = world.client_context(), world.server_context()
    world.meet(clients, servers).check().free()
    for _ in range(5):
        clients.connection("localhost").free()
    assert len(clients.sessions) == 2


@both_versions
def test_services_on_one_host_keep_their_sessions_apart(world: World, version: int) -> None:
    clients, servers = world.client_context(maximum_version=version), world.server_context()
    for purpose, resumed in (("443", False), ("993", False), ("443", True), ("993", True)):
        client, server = clients.connection("localhost", purpose=purpose), servers.connection()
        pump(client, server).check()
        assert client.session_reused == resumed
        client.free()
        server.free()


@both_versions
def test_a_declined_session_is_a_miss(world: World, version: int) -> None:
    clients = world.client_context(maximum_version=version)
    world.meet(clients, world.server_context()).check().free()
    pair = world.meet(clients, world.server_context()).check()
    assert pair.client.resumption is not None
    assert pair.client.resumption.reason is Reason.SERVER_DECLINED
    assert clients.session_stats.misses == 1
    assert clients.session_stats.hits == 0
    pair.free()


@both_versions
def test_counters_of_quiet_traffic(world: World, version: int) -> None:
    clients, servers = world.client_context(maximum_version=version), world.server_context()
    for _ in range(4):
        world.meet(clients, servers).check().free()
    world.meet(clients, world.server_context(leaf=world.pki.untrusted)).free()
    ours, theirs = clients.session_stats, servers.session_stats
    assert (ours.connect, ours.connect_good, ours.hits) == (5, 4, 3)
    assert (theirs.accept, theirs.accept_good, theirs.hits) == (4, 4, 3)
    assert (ours.accept, theirs.connect) == (0, 0)


def test_a_hit_counts_when_the_handshake_is_complete(world: World) -> None:
    clients, servers = world.client_context(), world.server_context()
    world.meet(clients, servers).check().free()
    client, server = clients.connection("localhost"), servers.connection()
    feed(server, client.data_to_send())
    assert servers.session_stats.hits == 0
    server.free()
    client.free()
    assert servers.session_stats.hits == 0


@pytest.mark.parametrize("name", ["", "a b", "a/b", "x" * 300, "localhost:443", "http://localhost"])
def test_what_is_no_name_is_refused_at_once(world: World, name: str) -> None:
    with pytest.raises(ConfigurationError):
        world.client_context().connection(name)


# --- servers ---------------------------------------------------------------------------------------------------------


def test_ids_are_drawn_again_if_they_are_taken(world: World) -> None:
    servers = world.server_context(tickets=None)
    peer = Client12(servers.connection()).connect().accepted()
    taken = peer.server_hello.legacy_session_id_echo
    peer.subject.free()
    drawn: list[bytes] = []

    def random(length: int) -> bytes:
        if length != MAX_SESSION_ID_LENGTH:
            return world.random(length)
        drawn.append(taken if len(drawn) < 4 else bytes((len(drawn),)) * length)
        return drawn[-1]

    servers.config = ServerConfig(certified_keys=servers.config.certified_keys, clock=world.clock, random=random)
    assert servers.new_session_id(servers.connection(), TLS12) == b"\x04" * 32
    drawn.clear()
    servers.config = ServerConfig(certified_keys=servers.config.certified_keys, random=lambda length: taken)
    with pytest.raises(InternalError):
        servers.new_session_id(servers.connection(), TLS12)


def test_no_ids_where_no_sessions_are_kept(world: World) -> None:
    servers = world.server_context(tickets=None, session_cache_mode=CacheMode.OFF)
    peer = Client12(servers.connection()).connect().accepted()
    assert peer.server_hello.legacy_session_id_echo == b""
    stateful = world.server_context(stateful=True, session_cache_mode=CacheMode.OFF)
    tls13 = Client13(stateful.connection()).connect().accepted()
    assert tls13.read_tickets() == []


@both_versions
def test_update_time_makes_a_session_young_at_each_hit(world: World, version: int) -> None:
    mode = CacheMode.SERVER | CacheMode.UPDATE_TIME
    servers = world.server_context(tickets=None, session_cache_mode=mode)
    peer = Client12(servers.connection()).connect().accepted()
    session_id, master = peer.server_hello.legacy_session_id_echo, peer.master.secret
    for _ in range(3):
        world.clock.advance(5_000)
        again = Client12(servers.connection(), session_id=session_id).resume(master).accepted()
        assert again.subject.session_reused
        again.subject.free()
    peer.subject.free()
    assert version


def answer_from(servers: ServerContext, peer: Any) -> None:
    """Do what a stream does: look into the store, and answer."""
    assert servers.outside is not None
    question = next(event for event in peer.events if isinstance(event, NeedSession))
    peer.events.remove(question)
    found = servers.outside.find_session(peer.subject, question)
    peer.events += peer.subject.answer(question, found)
    peer.listen()


def file_issued(servers: ServerContext, peer: Any) -> None:
    assert servers.outside is not None
    for session in issued(peer.events):
        servers.outside.session_issued(peer.subject, session)


def test_a_store_shares_sessions_between_contexts(world: World) -> None:
    store, keys = MemoryStore(), TicketKeys.from_secret(b"a secret of the whole fleet, 32+ bytes", ratchet=False)
    one, two = (world.server_context(store=store, tickets=keys, stateful=True, num_tickets=1) for _ in range(2))
    peer = Client13(one.connection()).connect()
    file_issued(one, peer)
    psk = peer.psk_of(peer.read_tickets()[0])
    again = Client13(two.connection(), psks=(psk,)).say_hello()
    answer_from(two, again)
    again.read_flight().say_finished().accepted()
    assert again.resumed
    assert two.session_stats.cb_hits == 1
    third = Client13(one.connection(), psks=(psk,)).say_hello()
    answer_from(one, third)
    assert not third.read_flight().resumed  # spent once, wherever
    old = Client12(one.connection()).connect()
    file_issued(one, old)
    session_id, master = old.server_hello.legacy_session_id_echo, old.master
    for _ in range(2):
        young = Client12(two.connection(), session_id=session_id).say_hello()
        if any(isinstance(event, NeedSession) for event in young.events):
            answer_from(two, young)
        young.read_hello()
        young.use_master(master)
        young.read_end().say_ccs().say_finished().accepted()
        assert young.subject.resumption is not None
        assert young.subject.resumption.mechanism is Mechanism.SESSION_ID
        young.subject.free()
    store.close()


def test_what_a_store_holds_is_no_session_of_another_id(world: World) -> None:
    store, keys = MemoryStore(), TicketKeys.from_secret(b"a secret of the whole fleet, 32+ bytes", ratchet=False)
    servers = world.server_context(store=store, tickets=keys, stateful=True)
    assert servers.outside is not None
    with world.server_session(servers.config, TLS13) as session:
        data = session.data
        servers.outside.sessions.save(b"O" * 32, data.partition, session.to_packed(), data.expires_at)
        servers.outside.sessions.save(b"P" * 32, data.partition, b"not packed", data.expires_at)
    connection = servers.connection()
    for session_id in (b"O" * 32, b"P" * 32, b"Q" * 32):
        question = NeedSession(session_id, TLS13, Mechanism.STATEFUL_13, servers.config.partition)
        assert servers.outside.find_session(connection, question) is None
    store.close()


def test_a_store_needs_keys_of_a_secret(world: World) -> None:
    with pytest.raises(ConfigurationError, match="from_secret"):
        world.server_context(store=MemoryStore(), tickets=None)


def test_a_store_by_url_is_closed_with_the_context_that_opened_it(world: World) -> None:
    keys = TicketKeys.from_secret(b"a secret of the whole fleet, 32+ bytes", ratchet=False)
    servers = world.server_context(store="memory:", tickets=keys)
    assert servers.outside is not None
    servers.close()
    servers.close()


# --- settings and ends -----------------------------------------------------------------------------------------------


def test_configurations_that_make_no_sense_are_refused(world: World) -> None:
    for settings in (
        {"minimum_version": TLS13, "maximum_version": TLS12},
        {"suites": ()},
        {"suites": (0x002F,)},
        {"groups": ()},
        {"groups": (258,)},
        {"groups": (256, 0x11EC), "maximum_version": TLS12},
        {"schemes": (0x0201,)},
        {"alpn": ("",)},
        {"alpn": ("x" * 256,)},
        {"session_timeout": -1},
        {"session_id_context": b"x" * 33},
    ):
        with pytest.raises(ConfigurationError):
            world.client_context(**settings)
        with pytest.raises(ConfigurationError):
            world.server_context(**settings)
    for settings in (
        {"num_tickets": -1},
        {"num_tickets": 9},
        {"client_auth": "sometimes", "trust": world.pki.trust_pem},
        {"client_auth": "required", "trust": world.pki.trust_pem},  # without a session id context
    ):
        with pytest.raises(ConfigurationError):
            world.server_context(**settings)
    with pytest.raises(ConfigurationError):
        ServerConfig()
    with pytest.raises(ConfigurationError):
        ServerConfig(certified_keys=world.server_config().certified_keys, client_auth="optional", id_context=b"x")


def test_protocols_may_be_text_or_bytes() -> None:
    assert protocols(["h2", b"http/1.1", bytearray(b"x")]) == (b"h2", b"http/1.1", b"x")  # type: ignore[list-item]


def test_a_context_ends_once_and_for_all(world: World) -> None:
    with world.client_context() as clients, world.server_context() as servers:
        pair = world.meet(clients, servers).check()
    for context in (clients, servers):
        context.close()
        assert len(context.sessions) == 0
    with pytest.raises(UsageError):
        clients.connection("localhost")
    with pytest.raises(UsageError):
        servers.connection()
    pair.talk()
    pair.free()


def test_names_tell_caches_apart(world: World) -> None:
    assert str(world.client_context(name="shop").sessions.holder) == "cache of shop"
    first, second = (world.server_context() for _ in range(2))
    assert first.name != second.name
    assert isinstance(world.client_context().config, ClientConfig)


def test_a_key_log_file_is_appended_to_and_private(world: World, tmp_path: Path) -> None:
    path = tmp_path / "keys.log"
    for _ in range(2):
        clients = world.client_context(keylog=path)
        world.meet(clients, world.server_context()).check().free()
    lines = path.read_text("ascii").splitlines()
    assert len(lines) == 10
    assert all(len(line.split()) == 3 for line in lines)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert open_key_log(None) is None
    assert not world.client_context().config.log_secrets
    assert clients.config.log_secrets


def test_without_a_key_log_nothing_is_logged(world: World) -> None:
    clients = world.client_context()
    clients.log_secret("LABEL", b"random", b"secret")
    connection = clients.connection("localhost")
    connection.log_secret("LABEL", b"random", b"secret")
    connection.free()


@both_versions
def test_a_callback_of_the_connection_wins_over_the_contexts(world: World, version: int) -> None:
    servers = world.server_context(tickets=None, stateful=True)
    servers.generate_session_id = lambda connection, most: b"context" + bytes(most - 7)
    server = servers.connection()
    server.generate_session_id = lambda connection, most: bytes((7, len(servers.sessions))) * (most // 2)
    client = world.client_context(maximum_version=version).connection("localhost")
    took: Took = pump(client, server).check()
    assert {session.id[:1] for session in issued(took.server)} == {b"\x07"}
    assert server.has_matching_session_id(issued(took.server)[-1].id)
    assert not server.has_matching_session_id(b"another")
    Pair(client, server, took).free()


def test_a_client_has_no_ids_to_make(world: World) -> None:
    clients = ClientContext(trust=world.pki.trust_pem)
    connection = clients.connection("localhost")
    assert clients.new_session_id(connection, TLS12) == b""
    connection.free()


# --- what may change, and when ---------------------------------------------------------------------------------------


def test_who_may_resume_what_is_frozen_by_the_first_connection(world: World) -> None:
    keys = TicketKeys.generate(random=world.random)
    for context in (world.client_context(), world.server_context()):
        assert not context.is_frozen
        context.session_id_context = b"before"
        assert context.session_id_context == b"before"
        if isinstance(context, ServerContext):
            context.ticket_keys = keys
            assert context.ticket_keys is keys
            context.connection().free()
        else:
            context.connection("localhost").free()
        assert context.is_frozen
        with pytest.raises(UsageError):
            context.session_id_context = b"after"
        if isinstance(context, ServerContext):
            with pytest.raises(UsageError):
                context.ticket_keys = None
        context.session_timeout = 77
        assert context.session_timeout == context.config.session_timeout_s == 77
        with pytest.raises(TypeError):
            copy.copy(context)


def test_the_keys_of_a_store_cannot_be_changed(world: World) -> None:
    keys = TicketKeys.from_secret(b"a secret of the whole fleet, 32+ bytes", ratchet=False)
    servers = world.server_context(store=MemoryStore(), tickets=keys)
    with pytest.raises(UsageError, match="store"):
        servers.ticket_keys = None


def test_the_number_of_tickets_counts_for_later_connections(world: World) -> None:
    servers = world.server_context()
    early = servers.connection()
    servers.num_tickets = 5
    assert (early.num_tickets, servers.num_tickets) == (2, 5)
    late = servers.connection()
    late.num_tickets = 1
    for connection, number in ((early, 2), (servers.connection(), 5), (late, 1)):
        assert len(Client13(connection).connect().accepted().read_tickets()) == number
        connection.free()


# --- callbacks -------------------------------------------------------------------------------------------------------


def broken(*arguments: object) -> Any:
    raise ZeroDivisionError("of the application")


@both_versions
def test_news_of_sessions_cannot_harm_a_connection(
    world: World, version: int, caplog: pytest.LogCaptureFixture
) -> None:
    clients, servers = world.client_context(maximum_version=version), world.server_context(stateful=True)
    for context in (clients, servers):
        context.on_new_session = broken
        context.on_remove_session = broken
        context.on_get_session = broken
        assert context.on_remove_session is broken
    pair = world.meet(clients, servers).check()
    pair.talk()
    pair.free()
    servers.sessions.flush_all()
    pair = world.meet(clients, servers).check()  # what is offered is not known any more: the get callback is asked
    assert not pair.client.session_reused
    pair.free()
    clients.close()
    servers.close()
    assert "ZeroDivisionError" in caplog.text


@both_versions
def test_a_session_may_come_from_the_application(world: World, version: int) -> None:
    clients, servers = world.client_context(maximum_version=version), world.server_context(stateful=True, tickets=None)
    pair = world.meet(clients, servers).check()
    kept = {session.id: session.dup() for session in servers.sessions}
    pair.free()
    servers.sessions.flush_all()
    asked: list[bytes] = []

    def find(connection: Any, session_id: bytes) -> Any:
        asked.append(session_id)
        return kept.get(session_id)

    servers.on_get_session = find
    pair = world.meet(clients, servers).check()
    assert pair.server.session_reused
    assert servers.session_stats.cb_hits == 1
    pair.free()
    servers.sessions.flush_all()
    servers.on_get_session = lambda connection, session_id: (
        (kept.pop(session_id), False) if session_id in kept else None
    )
    world.meet(clients, servers).check().free()
    servers.on_get_session = lambda connection, session_id: None
    servers.sessions.flush_all()
    pair = world.meet(clients, servers).check()
    assert not pair.server.session_reused
    pair.free()
    for session in kept.values():
        session.free()
    clients.close()
    servers.close()


@pytest.mark.parametrize("made", [b"", b"x" * 33, "text", None, bytearray(b"x")])
def test_an_id_that_is_none_ends_the_handshake(world: World, made: Any) -> None:
    servers = world.server_context(tickets=None)
    servers.generate_session_id = lambda connection, most: made
    peer = Client12(servers.connection()).say_hello()
    peer.ended(InternalError, InternalError.alert)


def test_an_id_that_is_taken_ends_the_handshake(world: World) -> None:
    servers = world.server_context(tickets=None)
    servers.generate_session_id = lambda connection, most: b"the same"
    Client12(servers.connection()).connect().accepted()
    Client12(servers.connection()).say_hello().ended(InternalError, InternalError.alert)


def test_a_configuration_remembers_a_bounded_number_of_servers(world: World) -> None:
    config = world.client_config()
    for number in range(3_000):
        config.peer_key(f"host{number}.test")
    assert len(config._peer_keys) <= 1_024
    assert config.peer_key("host0.test") == world.client_config().peer_key("host0.test")


def test_groups_suites_and_schemes_may_be_named(world: World) -> None:
    clients = world.client_context(
        groups=("X25519MLKEM768", "x25519", "prime256v1"),
        key_shares=("X25519", "P-256"),
        suites=("TLS_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"),
        schemes=("ed25519", 0x0403),
        certificate_schemes=("ecdsa_secp256r1_sha256",),
    )
    config = clients.config
    assert config.groups == (0x11EC, 29, 23)
    assert config.key_shares == (29, 23)
    assert config.suites == (0x1301, 0xC02B)
    assert config.schemes == (0x0807, 0x0403)
    assert config.certificate_schemes == (0x0403,)
    assert world.server_context(groups=["P-384"]).config.groups == (24,)
    for setting in ("groups", "key_shares", "suites", "schemes", "certificate_schemes"):
        with pytest.raises(ConfigurationError, match="unknown"):
            world.client_context(**{setting: ("rot13",)})
