"""The blocking stream over a wire whose other end is in the same thread: handshake, reading, writing, errors."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resumption.connection import Connection
from resumption.errors import (
    AlertReceived,
    BadRecordMac,
    ConnectionFailed,
    HandshakeTimeout,
    PeerError,
    UnexpectedEOF,
    UnknownCA,
    UsageError,
    WantRead,
    WantWrite,
)
from resumption.streams import blocking, sockets
from resumption.streams.blocking import Stream
from resumption.streams.pump import SEND_CHUNK
from tests.streams.world import Quiet, Shelf, Wire, World, records

RECORD = 1 << 14


# --- the handshake ---------------------------------------------------------------------------------------------------


def test_nothing_is_sent_before_it_is_used(world: World, wire: Wire) -> None:
    Stream(wire, world.client())
    assert wire.sent == []


def test_the_handshake_makes_the_facts_known(client: Stream, wire: Wire) -> None:
    assert client.version == wire.peer.version == 0x0304
    assert client.cipher == wire.peer.cipher
    assert client.peer_chain
    client.do_handshake()
    assert wire.sent == [], "once is enough"


@pytest.mark.parametrize("first", ["recv", "recv_into", "read_exactly", "send", "sendall", "close_write"])
def test_the_first_use_makes_the_handshake(world: World, wire: Wire, first: str) -> None:
    client = Stream(wire, world.client())
    wire.before_wait = lambda: wire.say(b"hello")
    calls = {
        "recv": lambda: client.recv(5),
        "recv_into": lambda: client.recv_into(bytearray(5)),
        "read_exactly": lambda: client.read_exactly(5),
        "send": lambda: client.send(b"hello"),
        "sendall": lambda: client.sendall(b"hello"),
        "close_write": client.close_write,
    }
    assert calls[first]() in (b"hello", 5, None)
    assert client.version == 0x0304


def test_the_handshakes_deadline_is_for_all_of_it(world: World, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr(sockets, "time", clock)
    monkeypatch.setattr(blocking, "time", clock)
    client = Stream(wire, world.client(), timeout=30.0)
    wire.piece = 1
    received = wire.recv

    def drip(size: int) -> bytes:
        now[0] += 1
        return received(size)

    monkeypatch.setattr(wire, "recv", drip)
    with pytest.raises(HandshakeTimeout, match=r"^The handshake operation timed out$"):
        client.do_handshake(timeout=10)
    assert now[0] == 10, "each byte came in time, all of them would not"
    assert wire.timeout == 30.0, "the stream's own timeout is back"
    monkeypatch.setattr(wire, "recv", received)
    client.do_handshake()
    assert client.version == 0x0304, "nothing was lost: the handshake goes on where it was"


def test_the_streams_timeout_is_the_handshakes_unless_another_is_given(world: World, wire: Wire) -> None:
    silent = Wire(world.client(), timeout=0.01)
    server = Stream(silent, world.server())
    with pytest.raises(HandshakeTimeout):
        server.do_handshake()
    with pytest.raises(HandshakeTimeout):
        server.recv()
    silent.timeout = 0
    server.settimeout(0)
    with pytest.raises(WantRead):
        server.do_handshake()


def test_a_certificate_that_is_not_trusted_is_told_to_the_peer_before_it_is_raised(world: World, wire: Wire) -> None:
    from resumption.crypto.trust import TrustStore
    from tests.pki import issue

    stranger = TrustStore.load(issue("another root", ca=True).cert_pem)
    client = Stream(wire, world.client(trust=stranger))
    with pytest.raises(UnknownCA) as first:
        client.do_handshake()
    assert isinstance(wire.error, AlertReceived)
    assert "unknown_ca" in str(wire.error)
    for call in (client.do_handshake, client.recv, lambda: client.send(b"x")):
        with pytest.raises(ConnectionFailed) as later:
            call()
        assert later.value.__cause__ is first.value
    client.close()
    assert wire.closed


@pytest.mark.parametrize("greeting", [b"220 mail ready\r\n", b"HTTP/1.1 400 Bad Request\r\n", b"SSH-2.0-x\r\n"])
def test_a_peer_that_speaks_something_else_is_not_waited_for(world: World, wire: Wire, greeting: bytes) -> None:
    wire.hear = lambda data: None  # type: ignore[method-assign]
    wire.inbox += greeting
    with pytest.raises(PeerError):
        Stream(wire, world.client()).do_handshake()


def test_the_end_of_the_stream_in_the_handshake(world: World, wire: Wire) -> None:
    client = Stream(wire, world.client())
    wire.is_ended = True
    wire.hear = lambda data: None  # type: ignore[method-assign]
    with pytest.raises(UnexpectedEOF, match="middle of the handshake"):
        client.do_handshake()


def test_a_server_can_take_its_time_with_tickets(world: World) -> None:
    host = Quiet()
    wire = Wire(world.client(host=host))
    wire.inbox += wire.peer.data_to_send()
    server = Stream(wire, world.server(), defer_tickets=True)
    server.do_handshake()
    assert host.issued == []
    server.sendall(b"x")
    assert len(host.issued) == 2
    assert wire.data == b"x"


def test_a_server_sends_its_tickets_at_once_unless_told_otherwise(world: World) -> None:
    host = Quiet()
    wire = Wire(world.client(host=host))
    wire.inbox += wire.peer.data_to_send()
    server = Stream(wire, world.server())
    server.do_handshake()
    assert len(host.issued) == 2


def test_a_client_that_leaves_before_the_tickets_is_still_heard(world: World) -> None:
    wire = Wire(world.client())
    wire.inbox += wire.peer.data_to_send()
    heard = wire.hear

    def hear_and_leave(data: bytes) -> None:
        heard(data)
        if wire.peer.handshake_complete:
            wire.say(b"fire and forget")
            wire.hang_up()
            wire.gone = BrokenPipeError

    wire.hear = hear_and_leave  # type: ignore[method-assign]
    server = Stream(wire, world.server())
    server.do_handshake()
    assert server.read_all() == b"fire and forget"
    server.close()


# --- reading ---------------------------------------------------------------------------------------------------------


def test_reading_never_goes_past_the_record(client: Stream, wire: Wire) -> None:
    for size in (1, 1000, RECORD):
        wire.say(bytes(size))
    left = records(wire.inbox)[2:]  # behind the two tickets in one record, and the first byte
    for size in (1, 1000, RECORD):
        assert len(client.recv(1 << 20)) == size
        assert records(wire.inbox) == left
        left = left[1:]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(piece=st.integers(1, 40), sizes=st.lists(st.integers(1, 200), min_size=1, max_size=5))
def test_bytes_that_come_in_any_pieces_are_put_together(world: World, piece: int, sizes: list[int]) -> None:
    wire = Wire(world.server())
    wire.piece = piece
    client = Stream(wire, world.client())
    client.do_handshake()
    for number, size in enumerate(sizes):
        wire.say(bytes([number]) * size)
    for number, size in enumerate(sizes):
        assert client.recv() == bytes([number]) * size
    assert not wire.inbox
    client.sendall(b"x" * 500)
    assert wire.data == b"x" * 500


def test_part_of_a_record_leaves_the_rest_pending(client: Stream, wire: Wire) -> None:
    wire.say(b"abcdef")
    assert client.pending == 0
    assert client.recv(2) == b"ab"
    assert client.pending == 4
    asked = len(wire.asked)
    assert client.recv(100) == b"cdef"
    assert len(wire.asked) == asked, "the socket was left alone"
    assert client.pending == 0


def test_reading_nothing(client: Stream, wire: Wire) -> None:
    assert client.recv(0) == b""
    assert client.recv_into(bytearray()) == 0
    assert client.read_exactly(0) == b""
    assert client.read_all(0) == b""
    assert wire.asked == []


def test_a_negative_size_is_refused(client: Stream) -> None:
    for call in (client.recv, client.read_exactly, client.read_all, lambda n: client.recv_into(bytearray(5), n)):
        with pytest.raises(ValueError, match="negative"):
            call(-1)
    with pytest.raises(ValueError, match="larger than the buffer"):
        client.recv_into(bytearray(5), 6)


def test_receiving_into_a_buffer(client: Stream, wire: Wire) -> None:
    wire.say(b"abcdef")
    buffer = bytearray(b"........")
    assert client.recv_into(buffer, 2) == 2
    assert buffer == b"ab......"
    assert client.recv_into(memoryview(buffer)[2:]) == 4
    assert buffer == b"abcdef.."
    wire.hang_up()
    assert client.recv_into(buffer) == 0


def test_an_exact_number_of_bytes_over_records(client: Stream, wire: Wire) -> None:
    for data in (b"abc", b"defgh", b"i"):
        wire.say(data)
    assert client.read_exactly(4) == b"abcd"
    assert client.read_exactly(5) == b"efghi"


def test_too_few_bytes_remain_to_be_read(client: Stream, wire: Wire) -> None:
    wire.say(b"abc")
    wire.hang_up()
    with pytest.raises(UnexpectedEOF, match="3 of 4 bytes"):
        client.read_exactly(4)
    assert client.recv() == b"abc"
    assert client.recv() == b""


def test_everything_up_to_the_end(client: Stream, wire: Wire) -> None:
    for data in (b"abc", b"def"):
        wire.say(data)
    wire.hang_up()
    assert client.read_all() == b"abcdef"
    assert client.read_all() == b""
    assert client.recv() == b""


def test_everything_up_to_a_limit(client: Stream, wire: Wire) -> None:
    for data in (b"abc", b"def"):
        wire.say(data)
    wire.hang_up()
    assert client.read_all(4) == b"abcd"
    assert client.read_all(4) == b"ef"


def test_the_data_as_it_comes(client: Stream, wire: Wire) -> None:
    for data in (b"abc", b"def"):
        wire.say(data)
    wire.hang_up()
    assert list(client) == [b"abc", b"def"]


def test_a_stream_that_is_cut_is_not_taken_for_complete(client: Stream, wire: Wire) -> None:
    wire.say(b"abc")
    wire.is_ended = True
    with pytest.raises(UnexpectedEOF) as first:
        client.read_all()
    assert client.recv() == b"abc", "what came remains to be read"
    with pytest.raises(ConnectionFailed) as later:
        client.recv()
    assert later.value.__cause__ is first.value


def test_a_cut_inside_a_record(client: Stream, wire: Wire) -> None:
    wire.say(b"abc")
    del wire.inbox[-1]
    wire.is_ended = True
    with pytest.raises(UnexpectedEOF):
        client.recv()


def test_a_broken_record_is_told_to_the_peer_and_the_data_before_it_is_delivered(client: Stream, wire: Wire) -> None:
    wire.say(b"before")
    wire.say(b"broken")
    wire.inbox[-1] ^= 1
    assert client.recv() == b"before"
    with pytest.raises(BadRecordMac):
        client.recv()
    assert isinstance(wire.error, AlertReceived)
    assert "bad_record_mac" in str(wire.error)
    with pytest.raises(ConnectionFailed):
        client.recv()
    with pytest.raises(ConnectionFailed):
        client.send(b"x")


def test_a_timeout_while_reading_loses_nothing(client: Stream, wire: Wire) -> None:
    client.settimeout(0.01)
    wire.say(b"abcdef")
    later = bytes(wire.inbox[-3:])
    del wire.inbox[-3:]
    for call in (client.recv, lambda: client.read_exactly(6), client.read_all, client.recv):
        with pytest.raises(TimeoutError, match=r"^The read operation timed out$"):
            call()
    wire.inbox += later
    assert client.recv() == b"abcdef"


def test_a_timeout_in_the_middle_of_an_exact_read_keeps_what_came(client: Stream, wire: Wire) -> None:
    client.settimeout(0.01)
    wire.say(b"abc")
    with pytest.raises(TimeoutError):
        client.read_exactly(6)
    assert client.pending == 3
    wire.say(b"def")
    assert client.read_exactly(6) == b"abcdef"


def test_a_signal_between_a_header_and_its_record_loses_nothing(
    client: Stream, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupt(BaseException):
        pass

    wire.say(b"data")
    received = wire.recv

    def interrupted(size: int) -> bytes:
        if size != 5:
            raise Interrupt
        return received(size)

    monkeypatch.setattr(wire, "recv", interrupted)
    with pytest.raises(Interrupt):
        client.recv()
    monkeypatch.setattr(wire, "recv", received)
    assert client.recv() == b"data"


def test_the_facts_of_the_connection_are_the_streams(world: World) -> None:
    wire = Wire(world.server(alpn=(b"h2",)))
    client = Stream(wire, world.client(alpn=(b"http/1.1", b"h2")))
    client.do_handshake()
    assert client.alpn == b"h2"
    assert client.server_name == "localhost"


def test_an_error_of_the_socket_is_passed_on(client: Stream, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(size: int) -> bytes:
        raise ConnectionResetError(104, "Connection reset by peer")

    monkeypatch.setattr(wire, "recv", broken)
    with pytest.raises(ConnectionResetError):
        client.recv()


# --- writing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("size", [1, RECORD, RECORD + 1, SEND_CHUNK, SEND_CHUNK + 1, 1_000_000])
def test_data_of_any_kind_and_size_arrives(client: Stream, wire: Wire, kind: Any, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    client.sendall(kind(data))
    assert wire.data == data
    assert client.bytes_sent == size
    assert max(wire.sent) <= SEND_CHUNK + 22 * (SEND_CHUNK // RECORD), "no more than a chunk is sealed at a time"


def test_sending_a_part_says_how_much(client: Stream, wire: Wire) -> None:
    data = bytes(SEND_CHUNK + 10)
    assert client.send(data) == SEND_CHUNK
    assert client.send(data[SEND_CHUNK:]) == 10
    assert wire.data == data


def test_sending_nothing_sends_nothing(client: Stream, wire: Wire) -> None:
    assert client.send(b"") == 0
    client.sendall(b"")
    assert wire.sent == []


def test_a_socket_that_takes_little_at_a_time_gets_all_of_it(client: Stream, wire: Wire) -> None:
    wire.piece = 100
    data = bytes(range(250)) * 100
    client.sendall(data)
    assert wire.data == data


def test_a_timeout_while_writing_and_the_same_call_again(client: Stream, wire: Wire) -> None:
    client.settimeout(0.01)
    wire.room = 100
    with pytest.raises(TimeoutError, match=r"^The write operation timed out$"):
        client.sendall(b"x" * 1000)
    assert client.bytes_sent == 1000
    with pytest.raises(TimeoutError):
        client.sendall(b"x" * 1000)
    wire.room = None
    client.sendall(bytearray(b"x" * 1000))
    assert wire.data == b"x" * 1000, "sent once, not twice"
    assert client.bytes_sent == 1000


def test_a_large_send_goes_on_in_the_chunk_where_it_was_interrupted(client: Stream, wire: Wire) -> None:
    client.settimeout(0.01)
    data = b"".join(number.to_bytes(4, "big") for number in range(SEND_CHUNK))  # four chunks
    for room in (10, SEND_CHUNK, SEND_CHUNK, 5, 50_000):
        wire.room = room
        with pytest.raises(TimeoutError):
            client.sendall(data)
    wire.room = None
    client.sendall(memoryview(data))
    assert wire.data == data
    client.sendall(data[:10])
    assert wire.data == data + data[:10], "what follows is new"


def test_other_data_after_an_interruption_is_refused_until_the_first_is_through(client: Stream, wire: Wire) -> None:
    client.settimeout(0.01)
    wire.room = 10
    with pytest.raises(TimeoutError):
        client.send(b"first")
    wire.room = None
    for call in (client.send, client.sendall):
        with pytest.raises(UsageError, match="interrupted"):
            call(b"other")
    assert client.send(b"first and more") == 5, "a longer call finishes the first and says so"
    client.sendall(b"other")
    assert wire.data == b"firstother"


def test_a_signal_in_the_middle_of_a_write_loses_nothing(client: Stream, wire: Wire) -> None:
    class Interrupt(BaseException):
        pass

    def interrupt() -> None:
        raise Interrupt

    wire.room = 10
    wire.before_wait = interrupt
    with pytest.raises(Interrupt):
        client.sendall(b"data")
    wire.room = None
    client.sendall(b"data")
    assert wire.data == b"data"


def test_a_peer_that_is_gone(client: Stream, wire: Wire) -> None:
    wire.gone = BrokenPipeError
    for _ in range(2):
        with pytest.raises(BrokenPipeError):
            client.sendall(b"data")


def test_a_peer_that_is_gone_and_said_why(client: Stream, wire: Wire) -> None:
    wire.peer._send_alert(40)  # type: ignore[arg-type]
    wire._pump()
    wire.gone = BrokenPipeError
    with pytest.raises(AlertReceived, match="handshake_failure"):
        client.sendall(b"data")
    with pytest.raises(ConnectionFailed):
        client.sendall(b"data")


def test_a_peer_that_leaves_during_the_handshake_and_said_why(world: World) -> None:
    wire = Wire(world.server(suites=(0x1302,)))
    client = Stream(wire, world.client(suites=(0x1301,)))
    sent = wire.send

    def send_and_leave(data: bytes) -> int:
        sent(data)
        raise ConnectionResetError

    wire.send = send_and_leave  # type: ignore[method-assign,assignment]
    with pytest.raises(AlertReceived, match="handshake_failure"):
        client.do_handshake()


def test_writing_after_this_side_was_closed(client: Stream, wire: Wire) -> None:
    client.close_write()
    for call in (client.send, client.sendall):
        with pytest.raises(UsageError, match="closed"):
            call(b"x")


# --- without waiting -------------------------------------------------------------------------------------------------


def test_a_handshake_without_waiting(world: World) -> None:
    wire = Wire(world.server(), timeout=0)
    wire.is_shy, wire.piece = True, 50
    client = Stream(wire, world.client())
    wants: list[type[Exception]] = []
    while client.version is None:
        try:
            client.do_handshake()
        except (WantRead, WantWrite) as error:
            wants.append(type(error))
    assert wants.count(WantWrite) >= 3
    assert wants.count(WantRead) >= 10
    wire.is_shy = False
    client.do_handshake()
    client.sendall(b"data")
    assert wire.data == b"data"


def test_a_handshake_that_finds_no_room_is_no_reason_to_send_twice(world: World) -> None:
    wire = Wire(world.server(), timeout=0)
    wire.room = 10
    client = Stream(wire, world.client())
    for call in (client.do_handshake, client.recv, lambda: client.send(b"data")):
        with pytest.raises(WantWrite):
            call()
    wire.room = None
    assert client.send(b"data") == 4
    assert wire.data == b"data"


def test_reading_without_waiting(client: Stream, wire: Wire) -> None:
    client.settimeout(0)
    with pytest.raises(WantRead):
        client.recv()
    wire.say(b"abc")
    later = bytes(wire.inbox[-5:])
    del wire.inbox[-5:]
    with pytest.raises(BlockingIOError):
        client.recv()
    wire.inbox += later
    assert client.recv() == b"abc"


def test_writing_without_waiting(client: Stream, wire: Wire) -> None:
    client.settimeout(0)
    wire.room = 10
    for _ in range(3):
        with pytest.raises(WantWrite):
            client.send(b"x" * 1000)
    sealed = client.bytes_sent
    wire.room = None
    assert client.send(b"x" * 1000) == 1000
    assert client.bytes_sent == sealed == 1000
    assert wire.data == b"x" * 1000


def test_reading_goes_on_while_a_write_is_stuck(client: Stream, wire: Wire) -> None:
    client.settimeout(0)
    wire.room = 10
    with pytest.raises(WantWrite):
        client.send(b"x" * 1000)
    wire.say(b"answer")
    assert client.recv() == b"answer"


# --- what the engine asks and says beside ----------------------------------------------------------------------------


def test_the_outside_is_told_before_the_ticket_is_sent(world: World) -> None:
    wire = Wire(world.client())
    wire.inbox += wire.peer.data_to_send()
    server = Stream(wire, world.stateful(), Shelf(wire.log))
    server.do_handshake()
    assert wire.log == ["sent", "told", "told", "sent"]


def test_the_outside_is_told_of_one_more_ticket_before_it_is_sent(world: World) -> None:
    wire = Wire(world.client())
    wire.inbox += wire.peer.data_to_send()
    shelf = Shelf(wire.log)
    server = Stream(wire, world.stateful(), shelf)
    server.do_handshake()
    wire.log.clear()
    assert server.new_session_ticket()
    assert wire.log == ["told", "sent"]
    assert len(wire.issued) == 3
    assert len(shelf.kept) == 3


def test_no_ticket_where_none_can_be_issued(world: World) -> None:
    wire = Wire(world.client())
    wire.inbox += wire.peer.data_to_send()
    server = Stream(wire, world.server(tickets=None))
    server.do_handshake()
    assert not server.new_session_ticket()


@pytest.mark.parametrize("is_known", [True, False])
def test_a_question_is_answered_from_outside(world: World, is_known: bool) -> None:
    shelf = Shelf()
    first = Wire(world.client())
    first.inbox += first.peer.data_to_send()
    server = Stream(first, world.stateful(), shelf)
    server.sendall(b"x")
    session = first.peer.get1_session()
    assert session is not None
    server.close()
    first.peer.free()
    if not is_known:
        shelf.kept.clear()
    with session:
        second = Wire(world.client())
        second.peer.set_session(session)
        second.inbox += second.peer.data_to_send()
        shelf.diary.clear()
        with Stream(second, world.stateful(), shelf) as server:
            server.do_handshake()
            assert shelf.diary[0] == "asked"
            assert server.session_reused is is_known
        second.peer.free()


def test_a_clients_tickets_are_told_while_it_reads(world: World, wire: Wire) -> None:
    shelf = Shelf()
    client = Stream(wire, world.client(), shelf)
    client.do_handshake()
    assert shelf.diary == []
    wire.say(b"data")
    assert client.recv() == b"data"
    assert shelf.diary == ["told", "told"]
    client.close()


def test_a_request_for_new_keys_is_answered_while_reading(client: Stream, wire: Wire) -> None:
    wire.peer.update_keys(request_peer=True)
    wire.say(b"data")
    assert client.recv() == b"data"
    assert any(type(event).__name__ == "KeysUpdated" for event in wire.events)
    client.sendall(b"still understood")
    assert wire.data == b"still understood"


def test_new_keys_on_demand(client: Stream, wire: Wire) -> None:
    client.update_keys()
    client.sendall(b"data")
    client.update_keys(request_peer=True)
    wire.say(b"answer")
    assert client.recv() == b"answer"
    assert wire.data == b"data"


def test_an_answer_that_finds_no_room_waits_for_the_next_write(
    client: Stream, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets.TimedSocket, "is_writable", lambda self: wire.room != 0)
    wire.room = 0
    wire.peer.update_keys(request_peer=True)
    wire.say(b"data")
    assert client.recv() == b"data", "reading waits for no room to write"
    assert wire.sent == []
    wire.room = None
    client.sendall(b"later")
    assert wire.data == b"later"
    assert any(type(event).__name__ == "KeysUpdated" for event in wire.events)


def test_an_answer_that_cannot_be_sent_does_not_disturb_reading(client: Stream, wire: Wire) -> None:
    wire.gone = BrokenPipeError
    wire.peer.update_keys(request_peer=True)
    wire.say(b"data")
    assert client.recv() == b"data"


# --- as a socket -----------------------------------------------------------------------------------------------------


def test_it_looks_like_a_socket(client: Stream, wire: Wire) -> None:
    client.settimeout(3.0)
    assert client.gettimeout() == wire.timeout == 3.0
    assert client.getpeername() == ("peer", 1)
    assert client.getsockname() == ("here", 2)
    with pytest.raises(OSError):
        client.fileno()
    assert "over <Connection" in repr(client)
    client.close()
    assert "closed" in repr(client)


def test_one_stream_goes_over_another(world: World, wire: Wire) -> None:
    inner_server = world.server()
    outer = Stream(wire, world.client())
    outer.do_handshake()
    inner = Stream(outer, world.client())
    understood = bytearray()

    def relay() -> None:
        """The outer peer hands what it received to the inner one, and its words back."""
        received, wire.data = bytes(wire.data), bytearray()
        if received:
            for event in inner_server.receive_data(received):
                understood.extend(getattr(event, "data", b""))
        answer = inner_server.data_to_send()
        assert answer, "this call would wait for ever"
        wire.say(answer)

    wire.before_wait = relay
    inner.sendall(b"deep down")
    inner_server.receive_data(b"")
    received, wire.data = bytes(wire.data), bytearray()
    for event in inner_server.receive_data(received):
        understood.extend(getattr(event, "data", b""))
    assert understood == b"deep down"
    inner_server.send_data(b"answer")
    assert inner.recv() == b"answer"
    assert isinstance(inner.connection, Connection)
    wire.before_wait = None
    inner.settimeout(0)
    inner.close()
    assert outer.is_closed
    assert wire.closed
