"""After the handshake: tickets, key updates, exporters, key logs, limits and ends."""

from __future__ import annotations

from typing import Any

import pytest

from resumption.connection import Connection
from resumption.constants import MAX_TICKET_LIFETIME_S
from resumption.constants import ExtensionType as E
from resumption.constants import HandshakeType as H
from resumption.crypto.schedule13 import resumption_psk
from resumption.errors import (
    ConfigurationError,
    DecodeError,
    IllegalParameter,
    TooManyMessages,
    UnexpectedMessage,
    UsageError,
)
from resumption.handshake.events import DataReceived, KeysUpdated, SessionIssued
from resumption.session.verdicts import Reason
from resumption.wire import extensions as ext
from resumption.wire.messages import KeyUpdate
from tests.handshake.pairs import TLS12, TLS13, VERSIONS, Random, World, certified, issued, received
from tests.handshake.samples import message
from tests.handshake.scripted13 import Client13, Psk, Server13
from tests.handshake.stops import client12_for, client13_for, sealed, server12_for, server13_for

both_versions = pytest.mark.parametrize("version", VERSIONS, ids=("1.2", "1.3"))

# --- tickets, client -------------------------------------------------------------------------------------------------


def test_each_ticket_is_a_session_of_its_own(world: World) -> None:
    peer = server13_for(world).connect()
    secret = peer.master.resumption_master_secret(peer.digest())
    ids = set()
    for number in range(1, 4):
        peer.say_ticket().accepted()
        session = issued(peer.events)[-1]
        assert session.secret == resumption_psk(peer.suite.hash, secret, bytes((number,)))
        ids.add(session.id)
    assert len(ids) == 3
    sessions = issued(peer.events)
    peer.give(b"")
    assert [session.is_freed for session in sessions] == [True, True, False]
    assert peer.subject.session is sessions[2]


def test_several_tickets_in_one_record_live_until_the_next_call(world: World) -> None:
    peer = server13_for(world).connect()
    peer.events.clear()
    peer.give(peer.sealer.seal(22, peer.ticket().pack() + peer.ticket().pack() + peer.ticket().pack()))
    sessions = issued(peer.events)
    assert [session.references for session in sessions] == [1, 1, 1]
    with sessions[0].up_ref() as kept:
        peer.give(b"")
        assert [session.is_freed for session in sessions] == [False, True, False]
        assert kept.is_resumable
    assert sessions[0].is_freed


def test_the_facts_of_a_ticket(world: World) -> None:
    peer = server13_for(world).connect()
    world.clock.advance(100)
    peer.say_ticket(ticket_lifetime=500, ticket_age_add=0xFFFFFFFF, extensions={42: (1_000).to_bytes(4)}).accepted()
    (session,) = issued(peer.events)
    data = session.data
    assert (data.time, data.ticket_lifetime_hint, data.ticket_age_add) == (world.clock(), 500, 0xFFFFFFFF)
    assert data.max_early_data == 1_000
    assert data.auth_time == world.clock() - 100
    assert data.peer_chain == world.leaf.chain_der
    assert (data.verified_name, data.role, data.version) == ("localhost", "client", TLS13)
    assert session.is_resumable


def test_f63_a_lifetime_of_zero_means_discard(world: World) -> None:
    peer = server13_for(world).connect()
    peer.events.clear()
    peer.say_ticket(ticket_lifetime=0).accepted()
    assert peer.events == []
    assert peer.subject.session is not None
    assert not peer.subject.session.is_resumable


@pytest.mark.proves("9846:4.7.1:6")
@pytest.mark.parametrize("lifetime", [MAX_TICKET_LIFETIME_S + 1, 2**32 - 1])
def test_f63_a_lifetime_is_capped_at_seven_days(world: World, lifetime: int) -> None:
    peer = server13_for(world, session_timeout_s=10**9, max_auth_age_s=1e9).connect()
    peer.say_ticket(ticket_lifetime=lifetime).accepted()
    (session,) = issued(peer.events)
    assert session.data.ticket_lifetime_hint == MAX_TICKET_LIFETIME_S
    for age, offered in ((MAX_TICKET_LIFETIME_S, True), (MAX_TICKET_LIFETIME_S + 1, False)):
        later = World(world.pki)
        later.clock.now = session.time + age
        subject = Connection(later.client_config(), server_name="localhost")
        subject.set_session(session)
        hello = Server13(subject, certified(world.leaf)).hello
        assert (E.pre_shared_key in hello.extensions) == offered


def test_the_age_of_a_ticket_is_obfuscated_and_wraps(world: World) -> None:
    peer = server13_for(world).connect().say_ticket(ticket_age_add=0xFFFFFF00).accepted()
    (session,) = issued(peer.events)
    world.clock.advance(1.5)
    subject = Connection(world.client_config(), server_name="localhost")
    subject.set_session(session)
    hello = Server13(subject, certified(world.leaf)).hello
    ((identity, age),) = ext.parse_pre_shared_key_client(hello.extensions[E.pre_shared_key]).identities
    assert identity == session.ticket
    assert age == (0xFFFFFF00 + 1_500) % 2**32


@pytest.mark.parametrize("number", [51, 43, 41, 13, 16, 0, 45, 44])
def test_f47_a_misplaced_extension_in_a_ticket_ends_the_connection(world: World, number: int) -> None:
    peer = server13_for(world).connect()
    peer.events.clear()
    peer.say_ticket(extensions={number: b""}).refused(IllegalParameter)
    assert peer.events == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        bytes(8),
        bytes(11),
        (100).to_bytes(4) + bytes(4) + b"\0" + b"\0\0" + b"\0\0",  # an empty ticket
        (100).to_bytes(4) + bytes(4) + b"\0" + b"\0\1x" + b"\0\1",
        (100).to_bytes(4) + bytes(4) + b"\0" + b"\0\1x" + b"\0\0x",
        (100).to_bytes(4) + bytes(4) + b"\xff" + b"n" * 254,
        (100).to_bytes(4) + bytes(4) + b"\0" + b"\0\1x" + b"\0\6\0\x2a\0\2xx",  # early_data of two bytes
    ],
)
def test_f47_a_malformed_ticket_ends_the_connection_and_nothing_is_stored(world: World, body: bytes) -> None:
    context = world.client_context()
    peer = Server13(context.connection("localhost"), certified(world.leaf)).connect()
    raw = message(H.new_session_ticket, body)
    peer.give(peer.sealer.seal(22, raw)).refused(DecodeError)
    assert len(context.sessions) == 0


@pytest.mark.proves("9846:4.7.1:8", "9846:9.3:5")
def test_f47_what_nobody_knows_in_a_ticket_is_ignored(world: World) -> None:
    server13_for(world).connect().say_ticket(extensions={0x2A2A: b"x"}).accepted()


@pytest.mark.parametrize("length", [2**15 + 1, 2**16 - 1])
def test_a_ticket_that_would_not_fit_a_hello_is_not_kept(world: World, length: int) -> None:
    context = world.client_context()
    peer = Server13(context.connection("localhost"), certified(world.leaf)).connect()
    peer.say_ticket(ticket=b"T" * length).accepted()
    assert len(context.sessions) == 0
    peer.say_ticket(ticket=b"T" * 12_000).accepted()
    assert len(context.sessions) == 1
    again = Server13(context.connection("localhost"), certified(world.leaf))
    assert E.pre_shared_key in again.hello.extensions


@both_versions
def test_a_ticket_from_outside_that_would_not_fit_a_hello_is_not_offered(world: World, version: int) -> None:
    subject = Connection(world.client_config(), server_name="localhost")
    with world.client_session(version, ticket=b"T" * (2**16 - 1)) as session:
        subject.set_session(session)
    peer = Server13(subject, certified(world.leaf)).connect().accepted()
    assert peer.subject.resumption is not None
    assert peer.subject.resumption.reason is Reason.NOTHING_TO_OFFER


def test_f73_tickets_without_end_hit_the_limit_of_the_connection_and_of_the_cache(world: World) -> None:
    context = world.client_context()
    peer = Server13(context.connection("localhost"), certified(world.leaf)).connect()
    for _ in range(100):
        peer.say_ticket().accepted()
    assert len(context.sessions) == 8
    peer.say_ticket().refused(TooManyMessages)
    assert len(context.sessions) == 8


def test_the_limit_counts_messages_of_one_hour_of_any_kind(world: World) -> None:
    peer = server13_for(world).connect()
    for _ in range(50):
        peer.say_ticket().accepted()
        peer.update_keys().accepted()
    world.clock.advance(3_601)
    for _ in range(100):
        peer.update_keys().accepted()
    world.clock.advance(3_599)
    peer.update_keys().refused(TooManyMessages)


# --- tickets, server -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1, 2, 8])
def test_a_full_handshake_issues_as_many_tickets_as_it_should(world: World, number: int) -> None:
    peer = client13_for(world, num_tickets=number).connect().accepted()
    tickets = peer.read_tickets()
    assert len(tickets) == number
    assert len({ticket.ticket_nonce for ticket in tickets}) == number
    assert len({ticket.ticket for ticket in tickets}) == number
    assert len({ticket.ticket_age_add for ticket in tickets}) == number  # F59
    assert all(0 < ticket.ticket_lifetime <= 7_200 for ticket in tickets)


def test_a_ticket_may_be_sent_late(world: World) -> None:
    peer = client13_for(world, num_tickets=1).connect().accepted()
    (first,) = peer.read_tickets()
    peer.tickets.clear()
    world.clock.advance(1_000)
    assert peer.subject.new_session_ticket()
    (late,) = peer.listen().read_tickets()
    assert late.ticket_nonce != first.ticket_nonce
    assert late.ticket_lifetime <= first.ticket_lifetime
    assert len(peer.psk_of(late).secret) == 32
    assert peer.psk_of(late).secret != peer.psk_of(first).secret
    again = Client13(Connection(world.server_config()), psks=(peer.psk_of(late),)).connect().accepted()
    assert again.resumed


def test_sessions_of_late_tickets_can_be_looked_at_when_they_are_told_of(world: World) -> None:
    peer = client13_for(world, num_tickets=0).connect().accepted()
    peer.events.clear()
    assert all(peer.subject.new_session_ticket() for _ in range(3))
    peer.give(b"")
    sessions = issued(peer.events)
    assert [session.is_freed for session in sessions] == [False] * 3
    peer.give(b"")
    assert [session.is_freed for session in sessions] == [True, True, False]
    peer.subject.free()
    assert sessions[2].is_freed


def test_f14_a_chain_of_resumptions_ends_with_its_lineage(world: World) -> None:
    config = world.server_config(max_auth_age_s=10_000, session_timeout_s=4_000)
    start = world.clock()
    peer = Client13(Connection(config)).connect()
    lifetimes = []
    for _ in range(10):
        ticket = peer.read_tickets()[0] if peer.read_tickets() else None
        if ticket is None:
            break
        lifetimes.append(ticket.ticket_lifetime)
        world.clock.advance(ticket.ticket_lifetime)
        peer = Client13(Connection(config), psks=(peer.psk_of(ticket),)).connect().accepted()
        if not peer.resumed:
            break
        assert peer.subject.facts is not None
        assert peer.subject.facts.auth_time == start
        assert peer.subject.facts.deadline == start + 10_000
    assert lifetimes == [4_000, 4_000, 2_000]
    assert peer.subject.resumption is not None
    assert peer.subject.resumption.reason is Reason.AUTH_TOO_OLD


@pytest.mark.proves("9846:4.7.1:5")
def test_f63_a_server_never_promises_more_than_seven_days(world: World) -> None:
    peer = client13_for(world, session_timeout_s=10**8, max_auth_age_s=1e9).connect()
    assert all(ticket.ticket_lifetime <= MAX_TICKET_LIFETIME_S for ticket in peer.read_tickets())


def test_f60_a_ring_that_has_no_key_costs_the_tickets_and_nothing_else(world: World) -> None:
    for changes in ({"tickets": None}, {"session_timeout_s": 0}):
        peer = client13_for(world, **changes).connect().accepted()
        assert peer.read_tickets() == []
        assert not peer.subject.new_session_ticket()


def test_f43_each_ticket_records_the_protocol_of_its_own_connection(world: World) -> None:
    config = world.server_config(alpn=(b"a", b"b"))
    peer = Client13(Connection(config)).connect(alpn=(b"a",))
    for protocol in (b"b", None, b"a"):
        psk = peer.psk_of(peer.read_tickets()[0])
        peer = Client13(Connection(config), psks=(psk,)).connect(alpn=(protocol,) if protocol else ()).accepted()
        assert peer.resumed
        assert peer.subject.alpn == protocol
        assert [session.alpn for session in issued(peer.events)] == [protocol]


@both_versions
def test_f43_a_client_records_the_protocol_of_its_own_connection(world: World, version: int) -> None:
    servers = world.server_context(alpn=("a", "b"))
    for protocols in (("a",), ("b",), ()):
        clients = world.client_context(alpn=protocols, maximum_version=version)
        pair = world.meet(clients, servers).check()
        expected = protocols[0].encode() if protocols else None
        assert pair.client.alpn == pair.server.alpn == expected
        assert {session.alpn for session in issued(pair.took.client)} == {expected}
        pair.free()


# --- stateful tickets ------------------------------------------------------------------------------------------------


def test_a_stateful_ticket_is_spent_once(world: World) -> None:
    context = world.server_context(stateful=True, num_tickets=1)
    peer = Client13(context.connection()).connect()
    (ticket,) = peer.read_tickets()
    assert len(ticket.ticket) == 32
    assert len(context.sessions) == 1
    psk = peer.psk_of(ticket)
    first = Client13(context.connection(), psks=(psk,)).connect().accepted()
    assert first.resumed
    again = Client13(context.connection(), psks=(psk,)).connect().accepted()
    assert not again.resumed
    assert again.subject.resumption is not None
    assert again.subject.resumption.reason is Reason.UNKNOWN


def test_a_wrong_binder_does_not_spend_a_stateful_ticket(world: World) -> None:
    context = world.server_context(stateful=True, num_tickets=1)
    peer = Client13(context.connection()).connect()
    psk = peer.psk_of(peer.read_tickets()[0])
    thief = Client13(context.connection(), psks=(psk._replace(secret=b"guess" * 7),)).say_hello()
    assert thief.error is not None
    assert Client13(context.connection(), psks=(psk,)).connect().accepted().resumed


def test_two_connections_that_race_for_one_stateful_ticket(world: World) -> None:
    """Both find the session; the second to spend it goes on with a full handshake."""
    context = world.server_context(stateful=True, num_tickets=1)
    peer = Client13(context.connection()).connect()
    psk = peer.psk_of(peer.read_tickets()[0])
    racer = context.connection()
    consume = context.consume

    def slow(connection: Any, session: Any) -> bool:
        if connection is racer:
            assert Client13(context.connection(), psks=(psk,)).connect().accepted().resumed
        return consume(connection, session)

    context.consume = slow  # type: ignore[method-assign]
    late = Client13(racer, psks=(psk,)).connect().accepted()
    assert not late.resumed
    assert racer.resumption is not None
    assert racer.resumption.reason is Reason.ALREADY_SPENT


def test_a_short_id_of_the_application_serves_as_a_stateful_ticket(world: World) -> None:
    context = world.server_context(stateful=True, num_tickets=1)
    random = Random("ids")
    context.generate_session_id = lambda connection, most: random(16)
    peer = Client13(context.connection()).connect()
    (ticket,) = peer.read_tickets()
    assert len(ticket.ticket) == 16
    assert Client13(context.connection(), psks=(peer.psk_of(ticket),)).connect().accepted().resumed


# --- key updates -----------------------------------------------------------------------------------------------------


def peers13(world: World) -> list[Any]:
    client = client13_for(world).connect().accepted()
    client.read_tickets()
    return [server13_for(world).connect().accepted(), client]


@pytest.mark.proves("9846:4.7.3:3")
def test_a_key_update_changes_one_direction(world: World) -> None:
    for peer in peers13(world):
        peer.events.clear()
        for _ in range(3):
            peer.update_keys().say_data(b"x").accepted()
        assert peer.events == [KeysUpdated(), DataReceived(b"x")] * 3
        peer.subject.send_data(b"under the old key")
        peer.listen().drain()
        assert peer.data == b"under the old key"


@pytest.mark.proves("9846:4.7.3:5")
def test_a_key_update_that_asks_for_one_is_answered_before_the_next_data(world: World) -> None:
    for peer in peers13(world):
        peer.update_keys(1)
        peer.expect_update()
        peer.subject.send_data(b"under the new key")
        peer.listen().drain()
        assert peer.data == b"under the new key"


@pytest.mark.proves("9846:4.7.3:2", "9846:4.7.3:7")
def test_key_updates_of_ours(world: World) -> None:
    for peer in peers13(world):
        for _ in range(3):
            peer.subject.update_keys()
            peer.listen().expect_update(0)
        peer.subject.send_data(b"x")
        peer.listen().drain()
        assert peer.data == b"x"


@pytest.mark.proves("9846:4.7.3:6")
def test_the_peer_is_not_asked_again_before_it_answered(world: World) -> None:
    """RFC 9846, section 4.7.3."""
    for peer in peers13(world):
        peer.subject.update_keys(request_peer=True)
        peer.listen().expect_update(1)
        for _ in range(2):
            peer.subject.update_keys(request_peer=True)
            peer.listen().expect_update(0)
        peer.update_keys().accepted()
        peer.subject.update_keys(request_peer=True)
        peer.listen().expect_update(1)


def test_crossing_requests_move_both_sides_by_two(world: World) -> None:
    pair = world.meet(world.client_config(), world.server_config()).check()
    pair.client.update_keys(request_peer=True)
    pair.server.update_keys(request_peer=True)
    pair.pump().check()
    pair.talk()


@pytest.mark.proves("9846:4.7.3:4")
@pytest.mark.parametrize("value", [2, 255])
def test_a_key_update_of_another_value_is_illegal(world: World, value: int) -> None:
    for peer in peers13(world):
        peer.say(message(H.key_update, bytes((value,)))).refused(IllegalParameter)


@pytest.mark.proves("9846:5.1:5")
def test_messages_behind_a_key_update_in_its_record_are_unexpected(world: World) -> None:
    for peer in peers13(world):
        raw = KeyUpdate(0).pack()
        peer.give(peer.sealer.seal(22, raw + raw[:1])).refused(UnexpectedMessage)


def test_the_limit_of_key_updates(world: World) -> None:
    for peer in peers13(world):
        for _ in range(100):
            peer.update_keys(1).expect_update()
        peer.update_keys(1).refused(TooManyMessages)


def test_keys_are_changed_unasked_before_they_are_used_up(world: World) -> None:
    for peer in peers13(world):
        peer.subject._sealer._sequence = peer.suite.key_limit - 1_000
        peer.opener._sequence = peer.suite.key_limit - 1_000
        peer.opener._stop = peer.suite.key_limit
        peer.subject.send_data(b"x")
        peer.listen().expect_update(0)
        peer.drain()
        assert peer.data == b"x"


def test_a_tls12_connection_ends_with_its_key(world: World) -> None:
    pair = world.meet(world.client_config(maximum_version=TLS12), world.server_config()).check()
    sealer: Any = pair.client._sealer
    sealer._sequence = sealer.suite.key_limit - 100
    with pytest.raises(UsageError, match="make another one"):
        pair.client.send_data(b"x")
    pair.client.close()
    assert len(pair.client.data_to_send()) > 20
    assert pair.client.error is None


def test_tls12_has_no_key_updates(world: World) -> None:
    for peer in (server12_for(world).connect(), client12_for(world).connect()):
        with pytest.raises(UsageError):
            peer.subject.update_keys()
        with pytest.raises(UsageError):
            peer.subject.new_session_ticket()
        peer.say(KeyUpdate(0)).refused(UnexpectedMessage)


# --- after close_notify ----------------------------------------------------------------------------------------------


def test_nothing_is_said_after_close_notify(world: World) -> None:
    for peer in peers13(world):
        peer.subject.close()
        peer.listen().drain()
        assert peer.alerts.pop() == b"\x01\x00"
        peer.update_keys(1).say_data(b"still heard").accepted()
        assert received(peer.events).endswith(b"still heard")
        for call in (peer.subject.update_keys, lambda peer=peer: peer.subject.send_data(b"x")):
            with pytest.raises(UsageError):
                call()
        assert peer.subject.data_to_send() == b""
        assert peer.subject.error is None


def test_a_server_that_closed_sends_no_ticket(world: World) -> None:
    peer = client13_for(world).connect().accepted()
    peer.read_tickets()
    peer.subject.close()
    with pytest.raises(UsageError):
        peer.subject.new_session_ticket()


def test_a_client_that_closed_does_not_answer_a_hello_request(world: World) -> None:
    peer = server12_for(world).connect().accepted()
    peer.subject.close()
    peer.listen().drain()
    peer.alerts.clear()
    peer.say(message(H.hello_request)).accepted()


# --- exporters and key logs ------------------------------------------------------------------------------------------


@both_versions
def test_f50_exports_are_equal_at_both_ends_and_differ_between_connections(world: World, version: int) -> None:
    servers = world.server_context()
    clients = world.client_context(maximum_version=version)
    seen = set()
    for _ in range(3):  # full, then resumed twice
        pair = world.meet(clients, servers).check()
        for label, context, length in (
            (b"EXPERIMENTAL one", None, 32),
            (b"EXPERIMENTAL one", b"context", 32),
            (b"EXPERIMENTAL two", b"context", 32),
            (b"EXPERIMENTAL 3", b"context", 100),
        ):
            ours = pair.client.export_keying_material(label, context, length)
            assert ours == pair.server.export_keying_material(label, context, length)
            assert len(ours) == length
            assert ours[:32] not in seen
            seen.add(ours[:32])
        pair.free()
    assert len(seen) == 12


def test_an_absent_context_is_an_empty_one_in_tls13_only(world: World) -> None:
    for version in VERSIONS:
        pair = world.meet(world.client_config(maximum_version=version), world.server_config()).check()
        none, empty = (pair.client.export_keying_material(b"label", context, 32) for context in (None, b""))
        assert (none == empty) == (version == TLS13)
        pair.free()


@both_versions
def test_exports_that_cannot_be_are_the_callers_mistake(world: World, version: int) -> None:
    early = Connection(world.client_config(), server_name="localhost")
    with pytest.raises(UsageError):
        early.export_keying_material(b"label", None, 32)
    early.data_to_send()
    with pytest.raises(UsageError):
        early.export_keying_material(b"label", None, 32)
    pair = world.meet(world.client_config(maximum_version=version), world.server_config()).check()
    with pytest.raises(ConfigurationError):
        pair.client.export_keying_material(b"label", None, 10**6 if version == TLS13 else -1)
    assert pair.client.error is None
    pair.talk()


@both_versions
def test_both_ends_log_the_same_secrets(world: World, version: int) -> None:
    logs: tuple[list[str], list[str]] = ([], [])
    servers = world.server_context(keylog=logs[1].append)
    clients = world.client_context(maximum_version=version, keylog=logs[0].append)
    world.meet(clients, servers).check().free()
    resumed = world.meet(clients, servers).check()
    assert resumed.client.session_reused
    resumed.free()
    assert sorted(logs[0]) == sorted(logs[1])
    labels = [line.split()[0] for line in logs[0]]
    if version == TLS12:
        assert labels == ["CLIENT_RANDOM"] * 2
        assert all(len(line.split()[2]) == 96 for line in logs[0])
    else:
        once = [
            "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
            "SERVER_HANDSHAKE_TRAFFIC_SECRET",
            "CLIENT_TRAFFIC_SECRET_0",
            "SERVER_TRAFFIC_SECRET_0",
            "EXPORTER_SECRET",
        ]
        assert labels == once * 2
        assert all(len(line.split()[2]) == 64 for line in logs[0])
    assert len({line.split()[1] for line in logs[0]}) == 2
    assert all(len(line.split()[1]) == 64 for line in logs[0])


def test_a_logged_secret_is_the_secret(world: World) -> None:
    log: list[str] = []
    context = world.client_context(keylog=log.append)
    peer = Server13(context.connection("localhost"), certified(world.leaf)).connect()
    secrets = {line.split()[0]: line.split()[2] for line in log}
    assert secrets["CLIENT_TRAFFIC_SECRET_0"] == peer.master.client_application_traffic_secret.hex()
    assert secrets["SERVER_HANDSHAKE_TRAFFIC_SECRET"] == peer.secrets.server_handshake_traffic_secret.hex()
    assert secrets["EXPORTER_SECRET"] == peer.master.exporter_master_secret.hex()


# --- data ------------------------------------------------------------------------------------------------------------


@pytest.mark.proves("5246:6.2.1:3")
@both_versions
@pytest.mark.parametrize("size", [1, 2**14, 2**14 + 1, 100_000])
def test_data_of_any_size_arrives_whole(world: World, version: int, size: int) -> None:
    pair = world.meet(world.client_config(maximum_version=version), world.server_config()).check()
    data = bytes(range(256)) * (size // 256 + 1)
    for kind in (bytes, bytearray, memoryview):
        pair.client.send_data(kind(data[:size]))
        assert received(pair.pump().check().server) == data[:size]
    pair.client.send_data(b"")
    assert pair.client.data_to_send() == b""


@pytest.mark.proves("9846:2:2", "5246:7.3:3")
@both_versions
def test_data_before_the_handshake_is_complete_is_the_callers_mistake(world: World, version: int) -> None:
    client = Connection(world.client_config(maximum_version=version), server_name="localhost")
    server = Connection(world.server_config())
    for connection in (client, server):
        with pytest.raises(UsageError):
            connection.send_data(b"x")
    list(server.receive_data(client.data_to_send()))
    for connection in (client, server):
        with pytest.raises(UsageError):
            connection.send_data(b"x")
    list(client.receive_data(server.data_to_send()))
    if version == TLS13:
        client.send_data(b"with the Finished")  # the client is done, the server is not
        assert received(list(server.receive_data(client.data_to_send()))) == b"with the Finished"


def test_tickets_and_data_share_a_packet_in_their_order(world: World) -> None:
    peer = client13_for(world).connect().accepted()
    peer.read_tickets()
    peer.subject.new_session_ticket()
    peer.subject.send_data(b"behind the ticket")
    peer.subject.new_session_ticket()
    peer.listen().drain()
    assert peer.data == b"behind the ticket"
    assert len(peer.read_tickets()) == 4


def test_a_ticket_of_another_server_with_the_same_keys_resumes_there(world: World) -> None:
    """F77: with a ring in common every worker resumes every client."""
    configs = [world.server_config() for _ in range(4)]
    psk = sealed(world, configs[0], TLS13)
    for config in configs:
        assert Client13(Connection(config), psks=(psk,)).connect().accepted().resumed


def test_f55_a_ticket_does_not_open_under_other_keys(world: World) -> None:
    contexts = [world.server_context() for _ in range(2)]
    peer = Client13(contexts[0].connection()).connect()
    psk: Psk = peer.psk_of(peer.read_tickets()[0])
    assert Client13(contexts[0].connection(), psks=(psk,)).connect().accepted().resumed
    assert not Client13(contexts[1].connection(), psks=(psk,)).connect().accepted().resumed


def test_events_of_sessions_are_told_in_order(world: World) -> None:
    pair = world.meet(world.client_context(), world.server_context()).check()
    kinds = [type(event).__name__ for event in pair.took.client]
    assert kinds == ["HandshakeCompleted", "SessionIssued", "SessionIssued"]
    assert all(isinstance(event, SessionIssued) for event in pair.took.server[1:])
    pair.free()
