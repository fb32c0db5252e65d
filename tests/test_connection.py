"""A connection from its first call to its last: what it holds, what it says of itself, and that nothing of it stays."""

from __future__ import annotations

import gc
import tracemalloc
import weakref
from typing import Any

import pytest

from resumption.channel import Channel
from resumption.connection import Connection
from resumption.errors import (
    ConnectionFailed,
    InternalError,
    ReferenceCountError,
    UnexpectedEOF,
    UnexpectedMessage,
    UsageError,
)
from resumption.handshake.events import HandshakeCompleted, SessionIssued
from resumption.handshake.state import State
from resumption.session.model import Session
from resumption.session.verdicts import Reason
from tests.handshake.pairs import TLS12, TLS13, VERSIONS, Pair, World, feed, issued, pump
from tests.handshake.samples import message, record
from tests.handshake.scripted13 import Client13, Psk
from tests.pki import Pki

both_versions = pytest.mark.parametrize("version", VERSIONS, ids=("1.2", "1.3"))


@pytest.fixture
def world(pki: Pki) -> World:
    return World(pki)


def kinds(session: Session) -> dict[str, int]:
    """Who holds how many references, by kind of holder."""
    counts: dict[str, int] = {}
    for holder, count in session.holders.items():
        counts[holder.kind] = counts.get(holder.kind, 0) + count
    return counts


def live_sessions() -> set[int]:
    gc.collect()
    return {id(one) for one in gc.get_objects() if type(one) is Session and not one.is_freed}


# --- counts, step by step --------------------------------------------------------------------------------------------


@both_versions
def test_references_at_each_step_of_a_full_handshake(world: World, version: int) -> None:
    clients, servers = world.client_context(maximum_version=version), world.server_context(tickets=None, stateful=True)
    client, server = clients.connection("localhost"), servers.connection()
    assert (client.session, server.session) == (None, None)
    server_flight, _ = feed(server, client.data_to_send())
    assert server_flight == []
    assert (client.session, server.session) == (None, None)
    took = pump(client, server).check()
    for side, events, context in ((client, took.client, clients), (server, took.server, servers)):
        sessions = issued(events)
        assert len(sessions) == (1 if version == TLS12 else 2)
        assert side.session is sessions[-1]
        assert len(context.sessions) == len(sessions)
        assert all(kinds(session) == {"connection": 1, "cache": 1} for session in sessions)
    last = issued(took.client)[-1]
    kept = client.get1_session()
    assert kept is last
    assert kinds(last) == {"connection": 1, "cache": 1, "application": 1}
    client.free()
    assert kinds(last) == {"cache": 1, "application": 1}
    clients.sessions.flush_all()
    assert kinds(last) == {"application": 1}
    last.free()
    assert last.is_freed
    server.free()
    assert all(kinds(session) == {"cache": 1} for session in servers.sessions)
    sessions = list(servers.sessions)
    servers.close()
    assert all(session.is_freed for session in sessions)


@both_versions
def test_references_at_each_step_of_a_resumption(world: World, version: int) -> None:
    clients, servers = world.client_context(maximum_version=version), world.server_context()
    world.meet(clients, servers).check().free()
    (session, *_) = sorted(clients.sessions, key=lambda one: one.time)
    before = len(clients.sessions)
    client, server = clients.connection("localhost"), servers.connection()
    assert kinds(session) == {"cache": 1}  # nothing is spent before the hello is made
    hello = client.data_to_send()
    offered = client.held_session
    assert offered is not None
    if version == TLS13:
        assert kinds(offered) == {"connection": 1}  # handed over: a ticket is offered once
        assert len(clients.sessions) == before - 1
    else:
        assert kinds(offered) == {"connection": 1, "cache": 1}
    feed(server, hello)
    assert server.session is None
    took = pump(client, server).check()
    assert client.session_reused
    assert server.session_reused
    if version == TLS12:
        assert client.session is offered
        assert kinds(offered) == {"connection": 1, "cache": 1}
    else:
        assert client.session is issued(took.client)[-1]
        assert kinds(offered) == {"connection": 1}  # the event of this call still shows what was resumed
        feed(client, b"")
        assert offered.is_freed
    client.free()
    server.free()
    clients.close()
    servers.close()
    assert offered.is_freed


@both_versions
def test_two_connections_share_one_session_given_by_hand(world: World, version: int) -> None:
    clients, servers = world.client_context(maximum_version=version), world.server_context()
    first = world.meet(clients, servers).check()
    session = first.client.get1_session()
    assert session is not None
    first.free()
    clients.sessions.flush_all()
    pairs = [world.meet(clients, servers, session=session) for _ in range(3)]
    assert all(pair.client.session_reused for pair in pairs)
    expected = {"application": 1, "connection": 3} if version == TLS12 else {"application": 1}
    for pair in pairs:
        feed(pair.client, b"")
    assert kinds(session) == expected
    for pair in pairs:
        pair.talk()
        pair.free()
    assert kinds(session) == {"application": 1}
    assert session.is_resumable
    session.free()


@both_versions
def test_a_cache_that_is_flushed_during_a_handshake_takes_nothing_away(world: World, version: int) -> None:
    clients = world.client_context(maximum_version=version)
    servers = world.server_context(tickets=None, stateful=True)
    world.meet(clients, servers).check().free()
    client, server = clients.connection("localhost"), servers.connection()
    feed(server, client.data_to_send())
    clients.sessions.flush_all()
    servers.sessions.flush_all()
    pump(client, server).check()
    assert client.session_reused
    Pair(client, server, pump(client, server)).talk()
    client.free()
    server.free()


@both_versions
def test_contexts_may_be_closed_while_their_connections_live(world: World, version: int) -> None:
    clients, servers = world.client_context(maximum_version=version), world.server_context()
    world.meet(clients, servers).check().free()
    client, server = clients.connection("localhost"), servers.connection()
    hello = client.data_to_send()
    clients.close()
    feed(server, hello)
    took = pump(client, server).check()
    assert client.session_reused
    Pair(client, server, took).talk()
    assert len(clients.sessions) == 0
    client.free()
    server.free()
    servers.close()


@both_versions
def test_a_declined_offer_is_given_back(world: World, version: int) -> None:
    clients = world.client_context(maximum_version=version)
    first, other = world.server_context(), world.server_context()
    pair = world.meet(clients, first).check()
    session = pair.client.get1_session()
    assert session is not None
    pair.free()
    pair = world.meet(clients, other, session=session).check()
    assert pair.client.resumption is not None
    assert pair.client.resumption.reason is Reason.SERVER_DECLINED
    assert pair.client.session is not session
    assert kinds(session) == ({"application": 1} if session not in clients.sessions else {"application": 1, "cache": 1})
    clients.sessions.discard(session)
    assert kinds(session) == {"application": 1}
    assert session.is_resumable
    session.free()
    pair.free()


@pytest.mark.proves("5246:7.2:1", "5246:7.2.2:1", "5246:7.2.2:2")
@both_versions
@pytest.mark.parametrize("role", ["client", "server"])
def test_f78_a_fatal_alert_in_tls12_ends_the_session_and_nothing_else_does(
    world: World, version: int, role: str
) -> None:
    for end in ("alert sent", "alert received", "eof", "close"):
        clients = world.client_context(maximum_version=version)
        servers = world.server_context(tickets=None, stateful=True)
        pair = world.meet(clients, servers).check()
        subject, context = (pair.client, clients) if role == "client" else (pair.server, servers)
        session = subject.get1_session()
        assert session is not None
        if end == "alert sent":
            feed(subject, record(22, message(99)))
        elif end == "alert received":
            other = pair.server if role == "client" else pair.client
            other._out.append(other._sealer.seal(21, b"\x02\x50"))
            feed(subject, other.data_to_send())
        elif end == "eof":
            with pytest.raises(UnexpectedEOF):
                subject.receive_eof()
        else:
            subject.close()
        assert (session in context.sessions) == (version == TLS13 or end in ("eof", "close"))
        assert session.is_resumable == (session in context.sessions)
        pair.free()
        assert kinds(session) == ({"application": 1, "cache": 1} if session in context.sessions else {"application": 1})
        session.free()
        clients.close()
        servers.close()


@both_versions
def test_f78_a_failed_handshake_publishes_nothing(world: World, version: int) -> None:
    """The last byte of each record that the client, or the server, sends is damaged, one record after the other."""
    for damaged_side in range(2):
        for number in range(20):
            clients, servers = world.client_context(maximum_version=version), world.server_context(stateful=True)
            seen = -1

            def damage(data: bytes, number: int = number) -> bytes:
                nonlocal seen
                out, at = bytearray(data), 0
                while at < len(data):
                    at += 5 + int.from_bytes(data[at + 3 : at + 5])
                    seen += 1
                    if seen == number:
                        out[at - 1] ^= 1
                return bytes(out)

            taps: dict[str, Any] = {"to_server" if damaged_side else "to_client": damage}
            pair = world.meet(clients, servers, **taps)
            if seen < number:
                pair.check().free()
                break
            for one, events, context in (
                (pair.client, pair.took.client, clients),
                (pair.server, pair.took.server, servers),
            ):
                told = [type(event) for event in events]
                assert SessionIssued not in told or HandshakeCompleted in told
                ended = version == TLS12 and one.error is not None  # what was published is taken back
                assert len(context.sessions) == (0 if ended else told.count(SessionIssued))
            pair.free()
            clients.close()
            servers.close()
        else:
            pytest.fail("the handshake had more records than were damaged")


# --- nothing is left -------------------------------------------------------------------------------------------------


@both_versions
@pytest.mark.parametrize("stateful", [False, True])
def test_no_object_is_left_when_all_is_freed(world: World, version: int, stateful: bool) -> None:
    before = live_sessions()
    clients, servers = world.client_context(maximum_version=version), world.server_context(stateful=stateful)
    connections = []
    for _ in range(3):
        pair = world.meet(clients, servers).check()
        pair.talk()
        connections += [weakref.ref(pair.client), weakref.ref(pair.server)]
        pair.free()
    del pair
    clients.close()
    servers.close()
    assert live_sessions() <= before
    assert [one() for one in connections] == [None] * 6


@both_versions
def test_a_connection_that_is_dropped_without_free_is_collected_all_the_same(world: World, version: int) -> None:
    pair = world.meet(world.client_config(maximum_version=version), world.server_config()).check()
    gone = weakref.ref(pair.client)
    del pair
    gc.collect()
    assert gone() is None


@both_versions
def test_f49_a_thousand_refused_resumptions_do_not_grow(world: World, version: int) -> None:
    """Tickets and ids that other keys made: each is declined, a full handshake follows, and nothing piles up."""
    clients = world.client_config(maximum_version=version)
    home, away = world.server_context(), world.server_context(stateful=True)
    pair = world.meet(clients, home).check()
    session = pair.client.get1_session()
    assert session is not None
    pair.free()
    before = live_sessions()
    number = 500 if version == TLS12 else 1_000
    tracemalloc.start()
    sizes = []
    for count in range(number + 1):
        client = Connection(clients, server_name="localhost")
        client.set_session(session)
        server = away.connection()
        feed(server, client.data_to_send())  # the server's part: open, decline, answer in full
        if count % 50 == 0:
            feed(client, server.data_to_send())
            pump(client, server).check()
            assert server.resumption is not None
            assert server.resumption.reason is Reason.UNKNOWN
            assert server.peer_chain == ()
        client.free()
        server.free()
        away.sessions.flush_all()
        if count in (number // 2, number):
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert kinds(session) == {"application": 1}
    assert live_sessions() == before
    assert sizes[1] - sizes[0] < 100_000
    session.free()


def test_refused_psks_leave_no_session_behind(world: World) -> None:
    context = world.server_context(stateful=True, num_tickets=1)
    peer = Client13(context.connection()).connect()
    psk = peer.psk_of(peer.read_tickets()[0])
    peer.subject.free()
    (session,) = context.sessions
    for wrong in (psk._replace(binder=b"w" * 32), psk._replace(secret=b"w" * 32)):
        thief = Client13(context.connection(), psks=(wrong,)).say_hello()
        assert kinds(session) == {"cache": 1}
        thief.subject.free()
    other = Client13(context.connection(), psks=(Psk(b"u" * 32, b"u" * 32), psk), name="other.test").connect()
    assert not other.resumed
    assert kinds(session) == {"cache": 1}
    other.subject.free()
    context.close()
    assert session.is_freed


# --- what it says of itself ------------------------------------------------------------------------------------------


@both_versions
def test_what_a_connection_knows(world: World, version: int) -> None:
    client = Connection(world.client_config(maximum_version=version), server_name="localhost")
    server = Connection(world.server_config())
    for one in (client, server):
        assert not one.handshake_complete
        assert (one.version, one.cipher, one.alpn, one.peer_chain, one.facts) == (None, None, None, (), None)
        assert (one.resumption, one.session_reused, one.error, one.peer_closed) == (None, False, None, False)
    assert (client.is_server, server.is_server) == (False, True)
    assert repr(client) == f"<Connection {client.number} client NoneType>"
    pump(client, server).check()
    assert repr(server) == f"<Connection {server.number} server ServerConnected>"
    for one in (client, server):
        assert one.handshake_complete
        assert one.version == version
        assert one.facts is not None
        assert one.resumption is not None
    assert client.peer_chain == world.leaf.chain_der
    feed(server, record(22, message(99)))
    assert repr(server).endswith("failed>")
    assert not server.handshake_complete


def test_a_connection_after_free(world: World) -> None:
    for begun in (False, True):
        client = Connection(world.client_config(), server_name="localhost")
        if begun:
            client.data_to_send()
        client.free()
        client.free()
        assert client.data_to_send() == b""
        assert client.session is None
        for call in (lambda one=client: one.receive_data(b""), client.receive_eof, client.update_keys):
            with pytest.raises(UsageError, match="freed"):
                call()
        client.close()


@both_versions
def test_a_session_after_free_of_its_connection_is_the_holders(world: World, version: int) -> None:
    pair = world.meet(world.client_config(maximum_version=version), world.server_config()).check()
    session = pair.client.session
    assert session is not None
    with pytest.raises(ReferenceCountError):
        session.free()  # borrowed
    with session.up_ref():
        pair.free()
        assert not session.is_freed
    assert session.is_freed


def test_a_full_tls13_handshake_without_tickets_has_a_session_that_cannot_be_resumed(world: World) -> None:
    pair = world.meet(world.client_config(), world.server_config(num_tickets=0)).check()
    session = pair.client.session
    assert session is not None
    assert session is pair.client.session
    assert not session.is_resumable
    assert kinds(session) == {"connection": 1}
    pair.free()
    assert session.is_freed
    assert pair.client.session is None


def test_calls_that_do_not_fit_change_nothing(world: World) -> None:
    server = Connection(world.server_config())
    with world.client_session(TLS13) as session:
        with pytest.raises(UsageError):
            server.set_session(session)
        assert kinds(session) == {"application": 1}
        client = Connection(world.client_config(), server_name="localhost")
        client.data_to_send()
        with pytest.raises(UsageError):
            client.set_session(session)
        assert kinds(session) == {"application": 1}
    for one in (client, server):
        with pytest.raises(UsageError):
            one.update_keys()
        with pytest.raises(UsageError):
            one.new_session_ticket()
        assert one.error is None
    pump(client, server).check()


def test_bytes_after_the_end_of_a_failed_connection_are_refused_for_ever(world: World) -> None:
    client = Connection(world.client_config(), server_name="localhost")
    client.data_to_send()
    with pytest.raises(UnexpectedMessage) as caught:
        client.receive_data(record(22, message(99)))
    for _ in range(3):
        with pytest.raises(ConnectionFailed) as again:
            client.receive_data(b"x")
        assert again.value.__cause__ is caught.value


def test_the_events_of_one_call_are_not_those_of_the_next(world: World) -> None:
    client = Connection(world.client_config(), server_name="localhost")
    server = Connection(world.server_config())
    first = server.receive_data(client.data_to_send())
    second = list(client.receive_data(server.data_to_send()))
    third = list(server.receive_data(client.data_to_send()))
    assert list(first) == []
    assert [type(event) for event in second] == [HandshakeCompleted]
    assert type(third[0]) is HandshakeCompleted


def test_an_event_is_not_lost_when_a_later_message_of_the_same_bytes_is_refused(world: World) -> None:
    peer = Client13(Connection(world.server_config())).say_hello().read_flight()
    finished = peer.secrets.client_verify_data(peer.digest())
    data = peer.seal(message(20, finished)) + record(23, bytes(40))
    events, error = feed(peer.subject, data)
    assert [type(event) for event in events] == [HandshakeCompleted, SessionIssued, SessionIssued]
    assert all(not session.is_freed for session in issued(events))
    assert error is not None
    peer.subject.free()


@pytest.mark.proves("9846:5.1:12", "5246:6.2.1:1")
def test_a_flight_longer_than_a_record_is_cut_into_records() -> None:
    channel = Channel(2**17, 32)
    channel.send(b"\x0b" * 20_000)
    channel.send(b"\x0c" * 20_000)
    sent = channel._take_output()
    lengths = []
    while sent:
        length = int.from_bytes(sent[3:5])
        lengths.append(length)
        sent = sent[5 + length :]
    assert lengths == [2**14, 2**14, 40_000 - 2**15]
    assert channel._take_output() == b""


def test_a_channel_that_closed_says_nothing_more() -> None:
    channel = Channel(2**17, 32)
    channel.send(b"message")
    channel._send_alert(0)  # type: ignore[arg-type]
    channel._send_alert(40)  # type: ignore[arg-type]
    channel._send_warning(100)  # type: ignore[arg-type]
    channel.send(b"more")
    assert channel._take_output() == record(22, b"message") + b"\x15\x03\x03\x00\x02\x01\x00"


@both_versions
def test_a_dup_after_the_handshake_is_the_connection_itself(world: World, version: int) -> None:
    pair = world.meet(world.client_config(maximum_version=version), world.server_config()).check()
    twin = pair.client.dup()
    assert twin is pair.client
    twin.free()
    pair.talk()
    pair.free()
    with pytest.raises(UsageError):
        pair.client.send_data(b"x")


def test_an_internal_error_of_the_engine_names_no_detail(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Connection(world.server_config())
    client = Connection(world.client_config(), server_name="localhost")

    def broken(self: Any, raw: bytes, out: Any) -> None:
        raise RuntimeError("with a secret in it")

    monkeypatch.setattr(State, "receive", broken)
    with pytest.raises(InternalError) as caught:
        server.receive_data(client.data_to_send())
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert "secret" not in str(caught.value)
    assert server.data_to_send() == b"\x15\x03\x03\x00\x02\x02\x50"
