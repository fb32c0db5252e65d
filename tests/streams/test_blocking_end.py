"""How blocking streams end: closing, half-closing, unwrapping, and what is still taken up before."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from resumption.errors import AlertReceived, ConnectionFailed, PeerError, UnexpectedEOF, UsageError, WantRead, WantWrite
from resumption.handshake.events import PeerClosed
from resumption.streams.blocking import Stream
from resumption.streams.driver import DROP_LIMIT, HARVEST_LIMIT
from tests.streams.conftest import Spawn
from tests.streams.world import Quiet, Shelf, Wire, World, records


def heard_goodbye(wire: Wire) -> bool:
    return any(isinstance(event, PeerClosed) for event in wire.events)


# --- close -----------------------------------------------------------------------------------------------------------


def test_closing_says_goodbye_and_gives_everything_back(client: Stream, wire: Wire) -> None:
    session = client.get1_session()
    assert session is not None
    holder = client.connection.holder
    assert holder in session.holders
    client.close()
    assert heard_goodbye(wire)
    assert wire.closed
    assert client.is_closed
    assert holder not in session.holders
    session.free()


def test_the_facts_stay_and_the_session_goes(client: Stream, wire: Wire) -> None:
    client.close()
    assert client.version == 0x0304
    assert client.resumption is not None
    assert not client.session_reused
    assert client.session is None
    assert client.get1_session() is None


def test_closing_twice_is_closing_once(client: Stream, wire: Wire) -> None:
    client.close()
    client.close()
    assert len(wire.sent) == 1


@pytest.mark.parametrize(
    "call",
    [
        lambda stream: stream.recv(),
        lambda stream: stream.recv_into(bytearray(1)),
        lambda stream: stream.read_all(),
        lambda stream: stream.read_exactly(1),
        lambda stream: stream.send(b"x"),
        lambda stream: stream.sendall(b"x"),
        lambda stream: stream.close_write(),
        lambda stream: stream.unwrap(),
        lambda stream: stream.update_keys(),
        lambda stream: stream.new_session_ticket(),
        lambda stream: stream.settimeout(1),
    ],
)
def test_nothing_works_after_closing(client: Stream, wire: Wire, call: Callable[[Stream], Any]) -> None:
    wire.say(b"data")
    assert client.recv(1) == b"d"
    client.close()
    with pytest.raises(UsageError, match="closed"):
        call(client)


def test_closing_before_the_handshake_says_nothing(world: World, wire: Wire) -> None:
    client = Stream(wire, world.client())
    client.close()
    assert wire.sent == []
    assert wire.closed
    with pytest.raises(UsageError, match="closed"):
        client.do_handshake()


def test_closing_in_the_middle_of_the_handshake(world: World, wire: Wire) -> None:
    wire.hear = lambda data: None  # type: ignore[method-assign]
    client = Stream(wire, world.client(), timeout=0.01)
    with pytest.raises(TimeoutError):
        client.do_handshake()
    wire.sent.clear()
    client.close()
    assert wire.sent == []
    assert wire.closed


def test_closing_waits_for_room_for_what_was_sent(client: Stream, wire: Wire) -> None:
    client.sendall(b"the end")
    wire.room = 3
    waited = []

    def make_room() -> None:
        waited.append(wire.timeout)
        wire.room = None

    wire.before_wait = make_room
    client.close()
    assert heard_goodbye(wire)
    assert waited == [pytest.approx(10, abs=0.5)], "within limits"


def test_closing_waits_no_longer_than_the_timeout(client: Stream, wire: Wire) -> None:
    client.settimeout(0.01)
    wire.room = 3
    client.close()
    assert wire.closed
    assert not heard_goodbye(wire)


def test_closing_does_not_wait_when_something_went_wrong(client: Stream, wire: Wire) -> None:
    wire.room = 3  # waiting would fail the test
    with pytest.raises(ZeroDivisionError), client:
        raise ZeroDivisionError
    assert wire.closed


def test_leaving_the_block_closes(client: Stream, wire: Wire) -> None:
    with client as same:
        assert same is client
    assert wire.closed
    assert heard_goodbye(wire)


def test_a_write_that_was_interrupted_is_finished_before_the_goodbye(client: Stream, wire: Wire) -> None:
    client.settimeout(0.01)
    wire.room = 3
    with pytest.raises(TimeoutError):
        client.sendall(b"data")
    wire.room = None
    client.close()
    assert wire.data == b"data"
    assert heard_goodbye(wire)


@pytest.mark.parametrize("error", [BrokenPipeError, ConnectionResetError])
def test_closing_never_raises_for_the_peers_sake(client: Stream, wire: Wire, error: type[OSError]) -> None:
    wire.gone = error
    client.close()
    assert wire.closed


def test_closing_after_a_failure_sends_the_alert_that_found_no_room(
    client: Stream, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    from resumption.streams.sockets import TimedSocket

    monkeypatch.setattr(TimedSocket, "is_writable", lambda self: False)
    wire.say(b"broken")
    wire.inbox[-1] ^= 1
    with pytest.raises(Exception, match="does not authenticate"):
        client.recv()
    assert wire.error is None
    client.close()
    assert isinstance(wire.error, AlertReceived)


# --- what a client takes up before -----------------------------------------------------------------------------------


def test_a_client_takes_up_tickets_that_have_come(world: World, wire: Wire) -> None:
    host, shelf = Quiet(), Shelf()
    client = Stream(wire, world.client(host=host), shelf)
    client.do_handshake()
    assert host.issued == []
    client.close()
    assert len(host.issued) == 2
    assert shelf.diary == ["told", "told"]
    assert host.failures == [], "an end in silence is no failure of the session"


def test_unless_it_is_told_not_to(world: World, wire: Wire) -> None:
    host = Quiet()
    client = Stream(wire, world.client(host=host))
    client.do_handshake()
    client.close(harvest=False)
    assert host.issued == []
    assert not wire.inbox


def test_a_record_that_is_cut_short_is_not_waited_for(world: World, wire: Wire) -> None:
    host = Quiet()
    client = Stream(wire, world.client(host=host))
    client.do_handshake()
    assert len(records(wire.inbox)) == 1
    del wire.inbox[-1]
    client.close()
    assert host.issued == []
    assert wire.closed


def test_no_more_is_read_than_the_limit(client: Stream, wire: Wire) -> None:
    for _ in range(10):
        wire.say(bytes(4000))
    before = len(wire.inbox)
    client.close()
    assert 0 < before - len(wire.inbox) <= HARVEST_LIMIT


def test_a_socket_that_breaks_meanwhile_is_no_matter(
    client: Stream, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(size: int) -> bytes:
        raise ConnectionResetError

    monkeypatch.setattr(wire, "recv", broken)
    client.close()
    assert wire.closed
    assert heard_goodbye(wire)


def test_a_server_empties_the_socket_so_that_closing_resets_nothing(world: World) -> None:
    wire = Wire(world.client())
    wire.inbox += wire.peer.data_to_send()
    server = Stream(wire, world.server())
    server.do_handshake()
    wire.say(b"unread")
    server.close()
    assert not wire.inbox
    assert server.pending == 0
    assert len(wire.issued) == 2, "its tickets go out with the goodbye"
    assert heard_goodbye(wire)


@pytest.mark.parametrize("size", [HARVEST_LIMIT * 3, DROP_LIMIT * 2])
def test_a_server_drops_so_much_and_no_more(world: World, size: int) -> None:
    wire = Wire(world.client())
    wire.inbox += wire.peer.data_to_send()
    server = Stream(wire, world.server())
    server.do_handshake()
    wire.inbox += bytes(size)
    server.close()
    assert len(wire.inbox) == max(0, size - DROP_LIMIT)


def test_what_follows_a_hello_that_is_refused_does_not_destroy_the_alert(world: World) -> None:
    wire = Wire(world.client())
    wire.inbox += b"GET / HTTP/1.1\r\n" + bytes(1000)
    server = Stream(wire, world.server())
    with pytest.raises(PeerError):
        server.do_handshake()
    assert wire.inbox
    server.close()
    assert not wire.inbox


def test_what_follows_a_broken_record_does_not_destroy_the_alert(client: Stream, wire: Wire) -> None:
    wire.inbox += b"\x17\3\3\0\x20" + bytes(32) + b"and more of it"
    with pytest.raises(PeerError):
        client.recv()
    assert wire.inbox
    client.close()
    assert not wire.inbox


# --- one direction ---------------------------------------------------------------------------------------------------


def test_one_direction_is_closed_and_the_other_goes_on(client: Stream, wire: Wire) -> None:
    client.sendall(b"question")
    client.close_write()
    assert heard_goodbye(wire)
    assert wire.data == b"question"
    wire.say(b"answer")
    wire.hang_up()
    assert client.read_all() == b"answer"
    client.close_write()
    client.close()
    assert wire.half_closed == [socket.SHUT_WR]


def test_writing_goes_on_after_the_peer_closed_its_direction(client: Stream, wire: Wire) -> None:
    wire.hang_up()
    assert client.recv() == b""
    client.sendall(b"last words")
    assert wire.data == b"last words"


def test_the_end_of_the_stream_after_close_notify_is_no_news(client: Stream, wire: Wire) -> None:
    wire.hang_up()
    wire.is_ended = True
    assert client.recv() == b""
    assert client.read_all() == b""


def test_shutting_down_as_a_socket_does(client: Stream, wire: Wire) -> None:
    client.shutdown(socket.SHUT_RD)
    assert wire.half_closed == [socket.SHUT_RD]
    assert not heard_goodbye(wire)
    client.shutdown()
    assert heard_goodbye(wire)
    assert wire.half_closed == [socket.SHUT_RD]
    client.shutdown(socket.SHUT_RDWR)
    assert wire.half_closed == [socket.SHUT_RD, socket.SHUT_RDWR]


# --- back to plain text ----------------------------------------------------------------------------------------------


def test_unwrapping_leaves_what_follows_where_it_is(client: Stream, wire: Wire) -> None:
    wire.hang_up()
    wire.inbox += b"220 plain text\r\n"
    assert client.unwrap() is wire
    assert wire.inbox == b"220 plain text\r\n"
    assert heard_goodbye(wire)
    assert not wire.closed
    assert wire.half_closed == []
    assert client.is_closed
    assert client.session is None
    client.close()
    assert not wire.closed, "the socket is no longer the stream's"


def test_unwrapping_waits_for_the_peer(client: Stream, wire: Wire) -> None:
    client.settimeout(0.01)
    with pytest.raises(TimeoutError, match="read operation"):
        client.unwrap()
    assert heard_goodbye(wire)
    client.settimeout(0)
    with pytest.raises(WantRead):
        client.unwrap()
    wire.hang_up()
    assert client.unwrap() is wire


def test_unwrapping_with_unread_data_is_refused_and_loses_nothing(client: Stream, wire: Wire) -> None:
    wire.say(b"data")
    wire.hang_up()
    with pytest.raises(UsageError, match="4 bytes"):
        client.unwrap()
    assert client.recv() == b"data"
    assert client.recv() == b""
    assert client.unwrap() is wire


def test_unwrapping_a_stream_that_is_cut(client: Stream, wire: Wire) -> None:
    wire.is_ended = True
    with pytest.raises(UnexpectedEOF):
        client.unwrap()
    with pytest.raises(ConnectionFailed):
        client.unwrap()


def test_plain_text_in_the_same_segment_over_real_sockets(
    pair: Callable[..., tuple[Stream, Stream]], spawn: Spawn
) -> None:
    client, server = pair(socket.socketpair())
    connection = server.connection
    raw = server._socket.sock
    connection.close()
    raw.send(connection.data_to_send() + b"in the clear")
    plain = client.unwrap()
    plain.settimeout(20)
    assert plain.recv(100) == b"in the clear"
    assert server.unwrap() is raw
    raw.send(b"too")
    assert plain.recv(100) == b"too"
    plain.close()
    raw.close()


def test_closing_with_bytes_unread_does_not_destroy_what_was_sent_last(
    pair: Callable[..., tuple[Stream, Stream]], spawn: Spawn
) -> None:
    client, server = pair()
    client.sendall(b"question")
    client.close_write()
    assert server.recv() == b"question"
    server.sendall(b"answer")
    server.close()  # with the client's close_notify unread
    assert client.read_all() == b"answer"


def test_an_answer_to_an_upload_that_nobody_read_arrives_whole(pair: Callable[..., tuple[Stream, Stream]]) -> None:
    """The end of the answer is still in the sender's socket when that is closed: a reset would destroy it."""
    client, server = pair()
    client.sendall(b"an upload " * 20_000)
    assert server.recv()
    server.settimeout(0)
    sent = 0
    with contextlib.suppress(WantWrite):
        while True:
            server.sendall(bytes(4000))
            sent += 4000
    server.settimeout(30)
    receiver = threading.Thread(target=lambda: answers.append(client.read_all()))
    answers: list[bytes] = []
    receiver.start()
    server.sendall(bytes(4000))  # what was interrupted
    server.close()
    receiver.join(30)
    assert [len(answer) for answer in answers] == [sent + 4000]


def test_two_streams_unwrap_each_other(pair: Callable[..., tuple[Stream, Stream]], spawn: Spawn) -> None:
    client, server = pair()
    client.sendall(b"AUTH")
    assert server.recv() == b"AUTH"
    other = spawn(server.unwrap)
    first, second = client.unwrap(), other.result(30)
    first.send(b"CCC")
    assert second.recv(3) == b"CCC"
    first.close()
    second.close()
