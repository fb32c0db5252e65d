"""The asyncio stream: reading, writing, cancelling, ending."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from resumption.errors import (
    HandshakeTimeout,
    UnexpectedEOF,
    UsageError,
)
from resumption.handshake.events import PeerClosed
from resumption.streams import aio
from resumption.streams.aio import AsyncStream
from resumption.streams.link import READ_HIGH
from resumption.streams.pump import SEND_CHUNK
from tests.streams.loops import Line, connect, turns
from tests.streams.world import Quiet, Shelf, World, tcp_pair

LIMIT_S = 30
Call = Callable[[AsyncStream], Awaitable[Any]]


def heard_goodbye(line: Line) -> bool:
    return any(isinstance(event, PeerClosed) for event in line.wire.events)


@pytest.fixture
async def ends(world: World) -> Any:
    """A client over a line."""
    stream, line = connect(world.client(), world.server())
    yield stream, line
    stream.abort()


Ends = tuple[AsyncStream, Line]


async def open_pair(world: World, **options: Any) -> tuple[AsyncStream, AsyncStream]:
    """Two streams over real sockets, client first."""
    loop = asyncio.get_running_loop()
    client, server = AsyncStream(world.client(), **options), AsyncStream(world.server())
    first, second = tcp_pair(8192)
    await loop.create_connection(lambda: client.link, sock=first)
    await loop.create_connection(lambda: server.link, sock=second)
    await asyncio.gather(client.do_handshake(LIMIT_S), server.do_handshake(LIMIT_S))
    return client, server


# --- the handshake ---------------------------------------------------------------------------------------------------


async def test_the_handshake_makes_the_facts_known(ends: Ends) -> None:
    client, line = ends
    await client.do_handshake()
    assert client.version == line.wire.peer.version == 0x0304
    assert client.peer_chain


async def test_the_handshake_has_a_deadline_and_goes_on_after_it(world: World) -> None:
    line = Line(world.server())
    client = AsyncStream(world.client(), transport=line)
    for _ in range(2):
        with pytest.raises(HandshakeTimeout, match=r"^The handshake operation timed out$"):
            await client.do_handshake(0.001)
    line.deliver()
    await client.do_handshake(0)
    assert client.version == 0x0304
    client.abort()


@pytest.mark.parametrize(
    "call",
    [
        lambda stream: stream.send(b"x"),
        lambda stream: stream.sendall(b"x"),
        lambda stream: stream.close_write(),
        lambda stream: stream.update_keys(),
    ],
)
async def test_what_comes_first_waits_for_the_handshake(world: World, call: Call) -> None:
    line = Line(world.server())
    client = AsyncStream(world.client(), transport=line)
    task = asyncio.ensure_future(call(client))
    await turns()
    assert not task.done()
    line.deliver()
    await task
    client.abort()


async def test_a_server_can_take_its_time_with_tickets(world: World) -> None:
    line = Line(world.client())
    line.wire.inbox += line.wire.peer.data_to_send()
    server = AsyncStream(world.server(), transport=line, defer_tickets=True)
    line.deliver()
    line.deliver()
    await server.do_handshake()
    assert line.wire.issued == []
    await server.sendall(b"x")
    assert len(line.wire.issued) == 2
    server.abort()


# --- reading ---------------------------------------------------------------------------------------------------------


async def test_data_as_it_comes(ends: Ends) -> None:
    client, line = ends
    reader = asyncio.create_task(client.recv(3))
    await turns()
    assert not reader.done()
    line.say(b"abcdef")
    assert await reader == b"abc"
    assert client.pending == 3
    assert await client.recv() == b"def"
    line.wire.say(b"ghi")
    line.wire.hang_up()
    line.deliver()
    assert [data async for data in client] == [b"ghi"]
    assert await client.recv() == b""


async def test_receiving_into_a_buffer(ends: Ends) -> None:
    client, line = ends
    line.wire.say(b"abcdef")
    line.wire.hang_up()
    line.deliver()
    buffer = bytearray(b"........")
    assert await client.recv_into(buffer, 2) == 2
    assert await client.recv_into(memoryview(buffer)[2:]) == 4
    assert buffer == b"abcdef.."
    assert await client.recv_into(buffer) == 0
    assert await client.recv_into(bytearray()) == 0
    with pytest.raises(ValueError, match="larger"):
        await client.recv_into(buffer, 9)


async def test_an_exact_number_of_bytes(ends: Ends) -> None:
    client, line = ends
    reader = asyncio.create_task(client.read_exactly(5))
    line.say(b"abc")
    await turns()
    assert not reader.done()
    line.say(b"def")
    assert await reader == b"abcde"
    line.wire.hang_up()
    line.deliver()
    with pytest.raises(UnexpectedEOF, match="1 of 2 bytes"):
        await client.read_exactly(2)
    assert await client.recv() == b"f"


async def test_everything_up_to_the_end_or_a_limit(ends: Ends) -> None:
    client, line = ends
    line.say(b"abcdef")
    assert await client.read_all(4) == b"abcd"
    reader = asyncio.create_task(client.read_all())
    await turns()
    line.wire.say(b"ghi")
    line.wire.hang_up()
    line.deliver()
    assert await reader == b"efghi"
    assert await client.read_all() == b""


async def test_a_stream_that_is_cut_is_not_taken_for_complete(ends: Ends) -> None:
    client, line = ends
    line.say(b"abc")
    line.end()
    with pytest.raises(UnexpectedEOF):
        await client.read_all()
    assert await client.recv() == b"abc"


async def test_reading_nothing_and_less(ends: Ends) -> None:
    client, _ = ends
    assert await client.recv(0) == b""
    assert await client.read_exactly(0) == b""
    assert await client.read_all(0) == b""
    for call in (client.recv, client.read_exactly, client.read_all, lambda n: client.recv_into(bytearray(5), n)):
        with pytest.raises(ValueError, match="negative"):
            await call(-1)


async def test_readers_queue(ends: Ends) -> None:
    client, line = ends
    readers = [asyncio.create_task(client.read_exactly(3)) for _ in range(3)]
    await turns()
    late = asyncio.create_task(client.recv(3))
    await turns()
    line.say(b"abcdefghijkl")
    assert await asyncio.gather(*readers, late) == [b"abc", b"def", b"ghi", b"jkl"]


# --- writing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, SEND_CHUNK, SEND_CHUNK + 1, 2_500_000])
async def test_data_of_any_size_arrives(ends: Ends, size: int) -> None:
    client, line = ends
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    await client.sendall(bytearray(data))
    assert line.wire.data == data
    assert client.bytes_sent == size


async def test_sending_a_part_says_how_much(ends: Ends) -> None:
    client, line = ends
    assert await client.send(bytes(SEND_CHUNK + 5)) == SEND_CHUNK
    assert await client.send(b"") == 0
    assert len(line.wire.data) == SEND_CHUNK


async def test_a_full_transport_is_waited_for(ends: Ends) -> None:
    client, line = ends
    line.is_stuck = True
    data = bytes(10 * SEND_CHUNK)
    writer = asyncio.create_task(client.sendall(data))
    await turns(10)
    assert not writer.done()
    assert len(line.held) < SEND_CHUNK + 200, "one chunk was sealed, the rest waits where it is"
    line.unstick()
    await writer
    assert line.wire.data == data


async def test_a_long_send_lets_others_run(ends: Ends) -> None:
    client, _ = ends
    ran = []
    writer = asyncio.create_task(client.sendall(bytes(64 * SEND_CHUNK)))
    while not writer.done():
        await asyncio.sleep(0)
        ran.append(client.bytes_sent)
    assert len(ran) >= 3


async def test_writers_queue(ends: Ends) -> None:
    client, line = ends
    line.is_stuck = True
    writers = [asyncio.create_task(client.sendall(bytes([number]) * 3 * SEND_CHUNK)) for number in range(3)]
    await turns()
    line.unstick()
    await asyncio.gather(*writers)
    assert line.wire.data == b"".join(bytes([number]) * 3 * SEND_CHUNK for number in range(3))


async def test_writing_after_this_side_was_closed(ends: Ends) -> None:
    client, line = ends
    await client.close_write()
    await client.close_write()
    assert heard_goodbye(line)
    with pytest.raises(UsageError, match="closed"):
        await client.sendall(b"x")
    line.wire.say(b"answer")
    line.wire.hang_up()
    line.deliver()
    assert await client.read_all() == b"answer"


async def test_new_keys_and_one_more_ticket(world: World) -> None:
    line = Line(world.client())
    line.wire.inbox += line.wire.peer.data_to_send()
    shelf = Shelf()
    server = AsyncStream(world.server(), shelf, transport=line, defer_tickets=True)
    line.deliver()
    line.deliver()
    await server.update_keys(request_peer=True)
    line.deliver()
    assert await server.new_session_ticket()
    await server.sendall(b"data")
    assert line.wire.data == b"data"
    assert len(line.wire.issued) == 3
    assert len(shelf.kept) == 3
    server.abort()


# --- cancelling ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", [lambda s: s.recv(), lambda s: s.read_exactly(6), lambda s: s.read_all(6)])
@pytest.mark.parametrize("after", range(6))
async def test_a_read_that_is_cancelled_at_any_point_loses_nothing(ends: Ends, call: Call, after: int) -> None:
    client, line = ends
    task = asyncio.ensure_future(call(client))
    received = b""
    for step in range(8):
        if step == after:
            task.cancel()
        if step in (2, 4):
            line.say(b"abc" if step == 2 else b"def")
        await asyncio.sleep(0)
    with_result = await asyncio.gather(task, return_exceptions=True)
    if isinstance(with_result[0], bytes):
        received += with_result[0]
    while len(received) < 6:
        received += await client.recv()
    assert received == b"abcdef"
    assert client.pending == 0
    line.say(b"and on")
    assert await client.recv() == b"and on"


@pytest.mark.parametrize("after", [0, 1, 2, 3, 5, 8, 12, 20, 30, 50])
async def test_a_write_that_is_cancelled_at_any_point_sends_a_front_part_once(world: World, after: int) -> None:
    client, server = await open_pair(world)
    data = b"".join(number.to_bytes(4, "big") for number in range(5 * SEND_CHUNK // 4))
    reader = asyncio.create_task(server.read_all())
    task = asyncio.create_task(client.sendall(data))
    await turns(after)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await client.sendall(data[client.bytes_sent :])
    await client.close_write()
    assert await asyncio.wait_for(reader, LIMIT_S) == data
    await asyncio.gather(client.close(), server.close())


async def test_a_handshake_that_is_cancelled_goes_on(world: World) -> None:
    line = Line(world.server())
    client = AsyncStream(world.client(), transport=line)
    task = asyncio.create_task(client.do_handshake())
    await turns()
    task.cancel()
    await turns()
    line.deliver()
    await client.do_handshake()
    assert client.version == 0x0304
    client.abort()


async def test_a_timeout_around_a_read(ends: Ends) -> None:
    client, line = ends
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await client.recv()
    line.say(b"late")
    assert await client.recv() == b"late"


# --- the end ---------------------------------------------------------------------------------------------------------


async def test_closing_says_goodbye_and_gives_everything_back(ends: Ends) -> None:
    client, line = ends
    session = client.get1_session()
    assert session is not None
    await client.close()
    await client.close()
    assert heard_goodbye(line)
    assert line.closing
    assert client.connection.holder not in session.holders
    session.free()
    assert client.session is None
    assert client.version == 0x0304


@pytest.mark.parametrize(
    "call",
    [
        lambda stream: stream.recv(),
        lambda stream: stream.recv_into(bytearray(1)),
        lambda stream: stream.read_all(),
        lambda stream: stream.read_exactly(2),
        lambda stream: stream.send(b"x"),
        lambda stream: stream.sendall(b"x"),
        lambda stream: stream.close_write(),
        lambda stream: stream.unwrap(),
    ],
)
async def test_nothing_works_after_closing(ends: Ends, call: Call) -> None:
    client, line = ends
    line.say(b"d")
    await client.close()
    with pytest.raises(UsageError, match="closed"):
        await call(client)


async def test_closing_wakes_those_who_wait(ends: Ends) -> None:
    client, line = ends
    line.is_stuck = True
    await client.sendall(b"x")
    waiting = [
        asyncio.create_task(client.recv()),
        asyncio.create_task(client.sendall(b"more")),
    ]
    await turns()
    closing = asyncio.create_task(client.close())
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [UsageError, UsageError]
    line.unstick()
    await closing


async def test_closing_waits_for_room_within_limits(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    client, line = ends
    line.is_stuck = True
    await client.sendall(b"the end")
    closing = asyncio.create_task(client.close())
    await turns()
    assert not closing.done()
    line.unstick()
    await closing
    assert line.wire.data == b"the end"
    assert heard_goodbye(line)
    assert not line.aborted


async def test_closing_gives_up_on_a_peer_that_does_not_listen(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aio, "CLOSE_WAIT_S", 0.001)
    client, line = ends
    line.is_stuck = True
    await client.sendall(b"the end")
    await client.close()
    assert line.aborted


async def test_closing_that_is_cancelled_drops_everything(ends: Ends) -> None:
    client, line = ends
    line.is_stuck = True
    await client.sendall(b"the end")
    closing = asyncio.create_task(client.close())
    await turns()
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert line.aborted


async def test_an_answer_to_an_upload_that_nobody_read_arrives_whole(world: World) -> None:
    """The end of the answer is still in the sender's socket when that is closed: a reset would destroy it."""
    client, server = await open_pair(world)
    sock = server.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 200_000)
    while not server.link.is_paused:
        await client.sendall(b"an upload " * 100)
        await asyncio.sleep(0)
    await client.sendall(b"the end of it")
    answer = bytes(READ_HIGH + 100_000)
    async with asyncio.timeout(LIMIT_S):
        await server.sendall(answer)
        await server.close()
        assert len(await client.read_all()) == len(answer)
    client.abort()


async def test_closing_before_and_in_the_handshake_says_nothing(world: World) -> None:
    client = AsyncStream(world.client())
    await client.close()
    line = Line(world.server())
    client = AsyncStream(world.client(), transport=line)
    sent = len(line.wire.events)
    await client.close()
    assert len(line.wire.events) == sent
    assert line.closing


async def test_closing_waits_for_what_is_told_outside(world: World) -> None:
    line = Line(world.client())
    line.wire.inbox += line.wire.peer.data_to_send()
    shelf = Shelf()
    server = AsyncStream(world.stateful(), shelf, transport=line)
    line.deliver()
    line.deliver()
    await server.close()
    assert len(shelf.kept) == 2
    assert len(line.wire.issued) == 2
    assert heard_goodbye(line)


async def test_a_block_closes_at_its_end(ends: Ends) -> None:
    client, line = ends
    async with client as same:
        assert same is client
    assert heard_goodbye(line)
    assert client.is_closed


async def test_a_block_that_fails_closes_without_waiting(ends: Ends) -> None:
    client, line = ends
    line.is_stuck = True
    with pytest.raises(ZeroDivisionError):
        async with client:
            await client.sendall(b"x")
            raise ZeroDivisionError
    assert client.is_closed
    assert line.closing
    assert not line.aborted, "it has some time yet to send what it holds"
    line.unstick()
    assert line.wire.data == b"x"
    assert heard_goodbye(line)
    await turns()


async def test_a_block_that_fails_before_there_is_a_transport(world: World) -> None:
    with pytest.raises(ZeroDivisionError):
        async with AsyncStream(world.client()) as client:
            raise ZeroDivisionError
    assert client.is_closed


@pytest.mark.parametrize("harvest", [True, False])
async def test_a_client_takes_up_tickets_that_have_come(world: World, harvest: bool) -> None:
    host = Quiet()
    client, server = AsyncStream(world.client(host=host)), AsyncStream(world.server(), defer_tickets=True)
    loop = asyncio.get_running_loop()
    first, second = socket.socketpair()
    await loop.create_connection(lambda: client.link, sock=first)
    await loop.create_connection(lambda: server.link, sock=second)
    await asyncio.gather(client.do_handshake(LIMIT_S), server.do_handshake(LIMIT_S))
    await server.sendall(b"now they are in the socket")
    await client.close(harvest=harvest)
    assert len(host.issued) == (2 if harvest else 0)
    assert host.failures == []
    await server.close()


# --- back to plain text ----------------------------------------------------------------------------------------------


async def test_unwrapping_hands_on_what_follows(world: World) -> None:
    client, server = await open_pair(world)
    transport = server.link.transport
    assert transport is not None
    server.connection.close()
    transport.write(server.connection.data_to_send() + b"in the same segment, ")
    reader, writer = await client.unwrap()
    transport.write(b"and behind it\n")
    assert await asyncio.wait_for(reader.readline(), LIMIT_S) == b"in the same segment, and behind it\n"
    assert client.is_closed
    other_reader, other_writer = await server.unwrap()
    writer.write(b"in the clear\n")
    await writer.drain()
    assert await asyncio.wait_for(other_reader.readline(), LIMIT_S) == b"in the clear\n"
    writer.close()
    await writer.wait_closed()
    assert await other_reader.read() == b""
    other_writer.close()
    await other_writer.wait_closed()


async def test_unwrapping_waits_for_the_peer_and_can_be_cancelled(ends: Ends) -> None:
    client, line = ends
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await client.unwrap()
    assert heard_goodbye(line)
    line.wire.hang_up()
    line.deliver()
    reader, _writer = await client.unwrap()
    line.link.eof_received()
    assert await reader.read() == b""
    line.close()
    await turns()


async def test_unwrapping_with_unread_data_is_refused_and_loses_nothing(ends: Ends) -> None:
    client, line = ends
    line.wire.say(b"data")
    line.wire.hang_up()
    line.deliver()
    with pytest.raises(UsageError, match="4 bytes"):
        await client.unwrap()
    assert await client.recv() == b"data"
    _, writer = await client.unwrap()
    writer.close()
    await writer.wait_closed()


async def test_unwrapping_a_full_transport_that_has_come_to_its_end(ends: Ends) -> None:
    client, line = ends
    line.is_stuck = True
    line.wire.hang_up()
    line.deliver()
    line.end()
    reader, writer = await client.unwrap()
    assert await reader.read() == b""
    draining = asyncio.create_task(writer.drain())
    await turns()
    assert not draining.done()
    line.unstick()
    await draining
    writer.close()
    await writer.wait_closed()


async def test_unwrapping_what_is_gone(ends: Ends) -> None:
    client, line = ends
    line.wire.hang_up()
    line.deliver()
    await client.close_write()
    line.break_off(ConnectionResetError())
    with pytest.raises(ConnectionResetError):
        await client.unwrap()


async def test_unwrapping_what_is_gone_with_the_peers_last_word(ends: Ends) -> None:
    client, line = ends
    unwrapping = asyncio.create_task(client.unwrap())
    await turns()
    line.wire.hang_up()
    line.deliver()
    line.break_off(ConnectionResetError())
    with pytest.raises(ConnectionResetError):
        await unwrapping


# --- as a socket -----------------------------------------------------------------------------------------------------


async def test_it_knows_its_addresses(ends: Ends) -> None:
    client, _ = ends
    assert client.getpeername() == ("peer", 1)
    assert client.getsockname() == ("here", 2)
    assert client.fileno() == -1
    assert "over <Connection" in repr(client)
    client.abort()
    assert "closed" in repr(client)


async def test_without_a_transport_it_knows_nothing(world: World) -> None:
    client = AsyncStream(world.client())
    assert client.getpeername() is None
    assert client.get_extra_info("socket", 7) == 7
    client.abort()


async def test_a_real_transport_has_a_descriptor(world: World) -> None:
    client, server = await open_pair(world)
    assert client.fileno() >= 0
    await asyncio.gather(client.close(), server.close())
