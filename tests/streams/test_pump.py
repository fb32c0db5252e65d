from __future__ import annotations

import logging

import pytest

from resumption.connection import Connection
from resumption.errors import AlertReceived, BadRecordMac, ConnectionFailed, DecryptError, UnexpectedEOF, UsageError
from resumption.handshake.events import Failed, NeedSession
from resumption.session.model import Session
from resumption.session.verdicts import Mechanism
from resumption.streams.pump import Pump, as_bytes, body_length
from tests.streams.world import Quiet, Shelf, World


def exchange(pump: Pump, peer: Connection) -> list[object]:
    """Carry bytes both ways until neither side has more to say, running no errands."""
    said: list[object] = []
    while True:
        out = pump.take_urgent_output()
        if out:
            said.extend(peer.receive_data(out))
        back = peer.data_to_send()
        if back:
            pump.feed(back)
        if not out and not back:
            return said


@pytest.fixture
def server(world: World) -> Connection:
    return world.server()


@pytest.fixture
def pump(world: World, server: Connection) -> Pump:
    pump = Pump(world.client(), None)
    exchange(pump, server)
    assert pump.is_complete
    return pump


def test_data_is_taken_in_order_and_in_any_sizes(pump: Pump, server: Connection) -> None:
    for data in (b"abc", b"defgh", b"i"):
        server.send_data(data)
    pump.feed(server.data_to_send())
    assert pump.buffered == 9
    assert pump.take(2) == b"ab"
    assert pump.take(100) == b"c", "never more than one record at a time"
    assert pump.take(5) == b"defgh"
    assert pump.buffered == 1
    assert pump.take(1) == b"i"
    assert pump.buffered == 0


def test_data_is_gathered_over_records(pump: Pump, server: Connection) -> None:
    for data in (b"abc", b"defgh", b"i"):
        server.send_data(data)
    pump.feed(server.data_to_send())
    assert pump.take_all(4) == b"abcd"
    target = bytearray(3)
    assert pump.take_into(memoryview(target)) == 3
    assert target == b"efg"
    assert pump.take_all(100) == b"hi"
    assert pump.take_all(100) == b""
    assert pump.take_into(memoryview(target)) == 0


def test_a_whole_record_is_handed_over_without_a_copy(pump: Pump, server: Connection) -> None:
    server.send_data(b"x" * 1000)
    pump.feed(server.data_to_send())
    taken = pump.take_all(1000)
    assert taken == b"x" * 1000
    assert pump.buffered == 0


def test_a_failure_is_raised_itself_once_and_then_as_the_cause(pump: Pump, server: Connection) -> None:
    server.send_data(b"before")
    server.send_data(b"broken")
    data = bytearray(server.data_to_send())
    data[-1] ^= 1
    pump.feed(bytes(data))
    assert pump.is_at_end
    assert pump.take(100) == b"before"
    with pytest.raises(AlertReceived):
        list(server.receive_data(pump.take_urgent_output()))
    with pytest.raises(BadRecordMac) as first:
        pump.check()
    for _ in range(2):
        with pytest.raises(ConnectionFailed) as later:
            pump.check()
        assert later.value.__cause__ is first.value


def test_the_end_of_the_stream_is_a_failure_unless_the_peer_closed(pump: Pump, server: Connection) -> None:
    assert not pump.is_at_end
    pump.feed(b"")
    with pytest.raises(UnexpectedEOF):
        pump.check()


def test_the_end_after_close_notify_is_just_the_end(pump: Pump, server: Connection) -> None:
    server.close()
    pump.feed(server.data_to_send())
    pump.feed(b"")
    assert pump.is_at_end
    pump.check()


def test_feeding_a_failed_connection_keeps_the_first_failure(pump: Pump, server: Connection) -> None:
    pump.feed(b"")
    pump.feed(b"\x17\x03\x03\x00\x01\x00")
    assert isinstance(pump.failure, UnexpectedEOF)


def test_feeding_a_freed_connection_is_the_callers_mistake(pump: Pump) -> None:
    pump.release()
    with pytest.raises(UsageError, match="freed"):
        pump.feed(b"\x17")
    assert pump.failure is None


def test_sessions_are_announced_as_errands(world: World, server: Connection) -> None:
    shelf = Shelf()
    pump = Pump(world.client(), shelf)
    exchange(pump, server)
    assert len(pump.errands) == 2
    sessions = []
    while pump.errands:
        errand = pump.errands.popleft()
        assert not isinstance(errand, NeedSession)
        sessions.append(errand.session)
        assert errand.session.holders[pump.connection.holder] >= 1
        pump.settle(errand, pump.run(errand))
    assert shelf.diary == ["told", "told"]
    pump.release()
    assert all(session.is_freed for session in sessions)


def test_errands_that_nobody_ran_leave_no_reference_behind(world: World, server: Connection) -> None:
    pump = Pump(world.client(), Shelf())
    exchange(pump, server)
    sessions = [errand.session for errand in pump.errands if not isinstance(errand, NeedSession)]
    assert len(sessions) == 2
    pump.release()
    assert not pump.errands
    assert all(session.is_freed for session in sessions)


def earlier_session(world: World, shelf: Shelf) -> Session:
    """A session that a client has from a stateful server whose sessions lie on ``shelf``; the application holds it."""
    pump, client = Pump(world.stateful(), shelf), world.client()
    exchange(pump, client)
    while pump.errands:
        errand = pump.errands.popleft()
        pump.settle(errand, pump.run(errand))
    list(client.receive_data(pump.take_output()))
    session = client.get1_session()
    assert session is not None
    client.free()
    pump.release()
    return session


@pytest.mark.parametrize("is_known", [True, False])
def test_a_question_holds_the_handshake_up_until_it_is_settled(world: World, is_known: bool) -> None:
    shelf = Shelf()
    with earlier_session(world, shelf) as session:
        pump, client = Pump(world.stateful(), shelf), world.client()
        client.set_session(session)
        exchange(pump, client)
        (question,) = pump.errands
        assert isinstance(question, NeedSession)
        assert not pump.is_complete
        if not is_known:
            shelf.kept.clear()
        pump.errands.popleft()
        pump.settle(question, pump.run(question))
        exchange(pump, client)
    assert pump.is_complete
    assert client.session_reused is is_known
    assert pump.connection.session_reused is is_known
    pump.release()
    client.free()


def test_an_answer_after_the_end_is_given_back(world: World) -> None:
    shelf = Shelf()
    with earlier_session(world, shelf) as session:
        pump, client = Pump(world.stateful(), shelf), world.client()
        client.set_session(session)
        exchange(pump, client)
        question = pump.errands.popleft()
        answer = pump.run(question)
        assert answer is not None
        pump.release()
        pump.settle(question, answer)
        assert answer.is_freed
        client.free()


def test_without_anyone_outside_a_question_is_answered_with_no(world: World) -> None:
    with earlier_session(world, Shelf()) as session:
        pump, client = Pump(world.stateful(), None), world.client()
        client.set_session(session)
        exchange(pump, client)
        assert pump.is_complete
        assert not client.session_reused
        assert not pump.errands
        assert pump.run(NeedSession(b"id", 0x0304, Mechanism.STATEFUL_13, b"")) is None
        pump.release()
        client.free()


def test_a_store_that_fails_is_a_miss_and_its_words_stay_inside(world: World, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Shelf):
        def find_session(self, connection: Connection, question: NeedSession) -> Session | None:
            raise OSError("redis://user:password@host is down")

        def session_issued(self, connection: Connection, session: Session) -> None:
            raise OSError("redis://user:password@host is down")

    with earlier_session(world, Shelf()) as session:
        pump, client = Pump(world.stateful(), Broken()), world.client()
        client.set_session(session)
        with caplog.at_level(logging.WARNING, "resumption.streams"):
            exchange(pump, client)
            while pump.errands:
                errand = pump.errands.popleft()
                answer = pump.run(errand)
                assert isinstance(answer, Failed)
                pump.settle(errand, answer)
                exchange(pump, client)
        assert pump.is_complete
        assert "OSError" in caplog.text
        assert "password" not in caplog.text
        pump.release()
        client.free()


@pytest.mark.parametrize("defers", [True, False])
def test_a_servers_tickets_wait_for_its_first_write(world: World, defers: bool) -> None:
    host = Quiet()
    pump, client = Pump(world.server(), None, defer_tickets=defers), world.client(host=host)
    exchange(pump, client)
    assert len(host.issued) == (0 if defers else 2)
    assert pump.has_only_tickets is defers
    pump.connection.send_data(b"hello")
    list(client.receive_data(pump.take_output()))
    assert len(host.issued) == 2
    assert not pump.has_only_tickets


def test_a_client_holds_nothing_back(pump: Pump) -> None:
    assert not pump.has_only_tickets


def test_an_alert_does_not_wait_behind_tickets(world: World) -> None:
    pump, client = Pump(world.server(), None, defer_tickets=True), world.client()
    exchange(pump, client)
    assert pump.has_only_tickets
    pump.feed(b"\x17\x03\x03\x00\x20" + bytes(32))
    assert isinstance(pump.failure, BadRecordMac)
    assert pump.take_urgent_output()


def test_events_of_direct_calls_are_collected(world: World) -> None:
    shelf = Shelf()
    pump, client = Pump(world.server(), shelf), world.client()
    exchange(pump, client)
    pump.errands.clear()
    assert pump.connection.new_session_ticket()
    pump.collect()
    assert len(pump.errands) == 1


def test_events_of_a_connection_that_has_failed_are_its_failure(pump: Pump) -> None:
    with pytest.raises(UnexpectedEOF):
        pump.connection.receive_eof()
    pump.collect()
    assert isinstance(pump.failure, UnexpectedEOF)


def test_an_answer_that_makes_the_handshake_fail_is_a_failure(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf()
    with earlier_session(world, shelf) as session:
        pump, client = Pump(world.stateful(), shelf), world.client()
        client.set_session(session)
        hello = bytearray(client.data_to_send())
        hello[-1] ^= 1  # the binder
        pump.feed(bytes(hello))
        question = pump.errands.popleft()
        pump.settle(question, pump.run(question))
        with pytest.raises(DecryptError):
            pump.check()
        pump.release()
        client.free()


@pytest.mark.parametrize(
    ("header", "length"),
    [
        (b"\x17\x03\x03\x00\x14", 20),
        (b"\x14\x03\x03\x00\x01", 1),
        (b"\x16\x03\x01\x40\x00", 1 << 14),
        (b"\x17\x03\x03\x48\x00", (1 << 14) + 2048),
        (b"\x17\x03\x03\x00\x00", 0),
        (b"\x17\x03\x03\x48\x01", 0),
        (b"\x13\x03\x03\x00\x14", 0),
        (b"\x18\x03\x03\x00\x14", 0),
        (b"\x17\x02\x03\x00\x14", 0),
        (b"220 s", 0),
        (b"HTTP/", 0),
        (b"\x17\x03\x03\x00", 0),
        (b"", 0),
    ],
)
def test_the_body_behind_a_header(header: bytes, length: int) -> None:
    assert body_length(header) == length


@pytest.mark.parametrize("data", [b"abc", bytearray(b"abc"), memoryview(b"abc"), memoryview(bytearray(b"aabc"))[1:]])
def test_any_contiguous_buffer_can_be_cut(data: bytes | bytearray | memoryview) -> None:
    assert as_bytes(data)[:2] == b"ab"


def test_small_bytes_stay_what_they_are_and_large_ones_become_a_view() -> None:
    small = bytes(10)
    assert as_bytes(small, 10) is small
    assert isinstance(as_bytes(small, 9), memoryview)


def test_wider_items_are_cut_as_bytes() -> None:
    assert len(as_bytes(memoryview(bytes(8)).cast("I"))) == 8


def test_a_buffer_with_gaps_is_refused() -> None:
    with pytest.raises(TypeError):
        as_bytes(memoryview(bytes(8))[::2])
