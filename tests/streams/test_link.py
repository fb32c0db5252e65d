"""The asyncio protocol: flow control, errands, and what it makes of what its transport says."""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from resumption.connection import Connection
from resumption.errors import AlertReceived, BadRecordMac, ConnectionFailed, UnexpectedEOF, UsageError
from resumption.session.model import Session
from resumption.streams.aio import AsyncStream
from resumption.streams.link import READ_HIGH, RECEIVE_SIZE, Link
from resumption.streams.pump import Pump
from tests.streams.loops import Line, connect, turns
from tests.streams.world import Quiet, Shelf, World

RECORD = 1 << 14
LIMIT_S = 30


async def test_the_handshake_begins_with_the_transport(world: World) -> None:
    line = Line(world.server())
    stream = AsyncStream(world.client())
    assert not stream.link.is_ready
    assert line.wire.events == []
    line.set_protocol(stream.link)
    stream.link.connection_made(line)
    line.deliver()
    assert stream.link.is_ready
    stream.abort()


async def test_any_cut_of_the_bytes_gives_the_same_data(world: World) -> None:
    stream, line = connect(world.client(), world.server())
    for number in range(20):
        line.wire.say(bytes([number]) * 100)
    while line.wire.inbox:
        line.deliver(7)
    assert await stream.recv(1000) == bytes(100)
    assert stream.pending == 1900
    stream.abort()


async def test_more_than_the_buffer_holds(world: World) -> None:
    stream, line = connect(world.client(), world.server())
    data = bytes(range(256)) * (RECEIVE_SIZE // 128)
    line.wire.say(data)
    reader = asyncio.create_task(stream.read_exactly(len(data)))
    await turns()
    line.deliver()
    assert await reader == data
    stream.abort()


async def test_reading_pauses_when_the_application_does_not_read(world: World) -> None:
    stream, line = connect(world.client(), world.server())
    line.wire.say(bytes(READ_HIGH))
    line.deliver(READ_HIGH)
    assert line.is_reading
    line.deliver()
    assert not line.is_reading
    while stream.pending >= READ_HIGH // 4:
        assert not line.is_reading
        await stream.recv()
    assert line.is_reading
    stream.abort()


async def test_an_exact_read_beyond_the_mark_is_not_paused_before_it_is_there(world: World) -> None:
    stream, line = connect(world.client(), world.server())
    line.say(bytes(READ_HIGH))
    assert not line.is_reading
    reader = asyncio.create_task(stream.read_exactly(3 * READ_HIGH))
    await turns()
    assert line.is_reading
    line.say(bytes(READ_HIGH))
    assert line.is_reading
    line.say(bytes(READ_HIGH + RECORD))
    assert not line.is_reading
    assert len(await reader) == 3 * READ_HIGH
    assert stream.pending == RECORD
    assert line.is_reading
    stream.abort()


async def test_reading_stops_at_the_end(world: World) -> None:
    stream, line = connect(world.client(), world.server())
    line.wire.say(b"last")
    line.wire.hang_up()
    line.deliver()
    assert not line.is_reading, "what follows is not ours"
    assert await stream.recv() == b"last"
    assert await stream.recv() == b""
    assert not line.is_reading
    stream.abort()


async def test_a_failure_is_told_to_the_peer_at_once(world: World) -> None:
    stream, line = connect(world.client(), world.server())
    line.wire.say(b"before")
    line.wire.say(b"broken")
    line.wire.inbox[-1] ^= 1
    line.deliver()
    assert isinstance(line.wire.error, AlertReceived)
    assert not line.is_reading
    assert await stream.recv() == b"before"
    with pytest.raises(BadRecordMac) as first:
        await stream.recv()
    for call in (stream.recv, lambda: stream.sendall(b"x"), stream.close_write):
        with pytest.raises(ConnectionFailed) as later:
            await call()
        assert later.value.__cause__ is first.value
    stream.abort()


async def test_the_end_without_close_notify(world: World) -> None:
    stream, line = connect(world.client(), world.server())
    line.say(b"before")
    line.end()
    assert line.eof_kept_open is False
    assert await stream.recv() == b"before"
    with pytest.raises(UnexpectedEOF):
        await stream.recv()
    stream.abort()


async def test_the_end_after_close_notify_leaves_the_other_direction_open(world: World) -> None:
    stream, line = connect(world.client(), world.server())
    line.wire.hang_up()
    line.deliver()
    line.end()
    assert line.eof_kept_open is True
    assert await stream.recv() == b""
    await stream.sendall(b"last words")
    assert line.wire.data == b"last words"
    stream.abort()


async def test_a_connection_that_breaks_wakes_all_who_wait(world: World) -> None:
    stream, line = connect(world.client(), world.server())
    line.is_stuck = True
    await stream.sendall(b"x")
    waiting = [asyncio.create_task(stream.recv()), asyncio.create_task(stream.sendall(b"more"))]
    await turns()
    assert not any(task.done() for task in waiting)
    line.break_off(ConnectionResetError(104, "reset"))
    results = await asyncio.gather(*waiting, return_exceptions=True)
    kinds = {type(result) for result in results}
    assert kinds == {ConnectionResetError, ConnectionFailed}, "itself once, then as the cause"
    with pytest.raises(ConnectionFailed) as later:
        await stream.recv()
    assert isinstance(later.value.__cause__, ConnectionResetError)
    stream.abort()


async def test_a_transport_that_someone_else_closed(world: World) -> None:
    stream, line = connect(world.client(), world.server())
    reader = asyncio.create_task(stream.recv())
    await turns()
    line.close()
    with pytest.raises(ConnectionAbortedError):
        await reader
    stream.abort()


async def test_what_a_dead_transport_still_brings_is_dropped(world: World) -> None:
    stream, line = connect(world.client(), world.server())
    line.wire.say(b"late")
    stream.abort()
    line.deliver()
    assert stream.pending == 0
    assert line.link.eof_received() is True


# --- errands ---------------------------------------------------------------------------------------------------------


class Slow(Shelf):
    """A shelf that waits for the test before it does anything."""

    def __init__(self) -> None:
        super().__init__()
        self.may_go_on = threading.Event()
        self.threads: set[int] = set()

    def session_issued(self, connection: Connection, session: Session) -> None:
        self.threads.add(threading.get_ident())
        assert self.may_go_on.wait(LIMIT_S)
        super().session_issued(connection, session)

    def find_session(self, connection: Connection, question: object) -> Session | None:
        assert self.may_go_on.wait(LIMIT_S)
        return super().find_session(connection, question)  # type: ignore[arg-type]


async def accept(world: World, shelf: Shelf, session: Session | None = None) -> tuple[AsyncStream, Line]:
    """A stateful server over a line that has brought the client's hello."""
    line = Line(world.client())
    if session is not None:
        line.wire.peer.set_session(session)
    line.wire.inbox += line.wire.peer.data_to_send()
    stream = AsyncStream(world.stateful(), shelf, transport=line)
    line.deliver()
    return stream, line


async def test_nothing_is_sent_before_the_outside_was_told(world: World) -> None:
    shelf = Slow()
    stream, line = await accept(world, shelf)
    line.deliver()
    assert stream.connection.handshake_complete
    assert not stream.link.is_ready
    assert not line.is_reading
    writer = asyncio.create_task(stream.sendall(b"data"))
    await turns()
    assert not writer.done()
    assert line.wire.issued == []
    shelf.may_go_on.set()
    await asyncio.wait_for(writer, LIMIT_S)
    assert len(line.wire.issued) == 2
    assert line.wire.data == b"data"
    assert line.is_reading
    assert threading.get_ident() not in shelf.threads, "the loop was free meanwhile"
    stream.abort()


async def session_of(world: World, shelf: Shelf) -> Session:
    stream, line = await accept(world, shelf)
    line.deliver()
    await stream.sendall(b"x")
    session = line.wire.peer.get1_session()
    assert session is not None
    line.wire.peer.free()
    await stream.close()
    return session


@pytest.mark.parametrize("is_known", [True, False])
async def test_a_question_is_answered_late(world: World, is_known: bool) -> None:
    shelf = Slow()
    shelf.may_go_on.set()
    with await session_of(world, shelf) as session:
        shelf.may_go_on.clear()
        if not is_known:
            shelf.kept.clear()
        stream, line = await accept(world, shelf, session)
        assert stream.link.is_busy
        assert not line.is_reading, "no more is read while a question is open"
        handshake = asyncio.create_task(stream.do_handshake())
        await turns()
        assert not handshake.done()
        shelf.may_go_on.set()
        while not line.is_reading:
            await stream.link.change()
        line.deliver()
        await asyncio.wait_for(handshake, LIMIT_S)
        assert stream.session_reused is is_known
        line.wire.peer.free()
        await stream.close()


async def test_an_answer_that_comes_after_the_end_is_dropped(world: World) -> None:
    shelf = Slow()
    shelf.may_go_on.set()
    with await session_of(world, shelf) as session:
        shelf.may_go_on.clear()
        stream, line = await accept(world, shelf, session)
        await turns()  # the question is on its way
        stream.abort()
        assert stream.link.is_busy
        shelf.may_go_on.set()
        async with asyncio.timeout(LIMIT_S):
            while stream.link.is_busy:
                await stream.link.change()
        assert stream.connection.session_reused is False
        line.wire.peer.free()


async def test_an_executor_of_ones_own(world: World) -> None:
    shelf = Slow()
    shelf.may_go_on.set()
    with ThreadPoolExecutor(1, initializer=lambda: shelf.threads.add(0)) as executor:
        line = Line(world.client())
        line.wire.inbox += line.wire.peer.data_to_send()
        stream = AsyncStream(world.stateful(), shelf, transport=line, executor=executor)
        line.deliver()
        line.deliver()
        await asyncio.wait_for(stream.do_handshake(), LIMIT_S)
        assert 0 in shelf.threads
        stream.abort()


async def test_an_executor_that_takes_no_more_work_is_a_miss(world: World, caplog: pytest.LogCaptureFixture) -> None:
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    line = Line(world.client())
    line.wire.inbox += line.wire.peer.data_to_send()
    shelf = Shelf()
    stream = AsyncStream(world.stateful(), shelf, transport=line, executor=executor)
    with caplog.at_level(logging.WARNING, "resumption.streams"):
        line.deliver()
        line.deliver()
        await asyncio.wait_for(stream.do_handshake(), LIMIT_S)
    assert "takes no more work" in caplog.text
    assert shelf.kept == {}
    stream.abort()


async def test_an_engine_that_cannot_even_begin_does_not_keep_anyone_waiting(world: World) -> None:
    class Closed(Quiet):
        def handshake_started(self, connection: object) -> None:
            raise UsageError("the context is closed")

    line = Line(world.server())
    client = AsyncStream(world.client(host=Closed()), transport=line)
    with pytest.raises(UsageError, match="context"):
        await client.do_handshake()
    assert line.aborted
    client.abort()


async def test_an_engine_that_breaks_on_an_answer_does_not_keep_anyone_waiting(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise ZeroDivisionError

    shelf = Slow()
    shelf.may_go_on.set()
    stream, line = await accept(world, shelf)
    monkeypatch.setattr(Pump, "settle", broken)
    line.deliver()
    with pytest.raises(ZeroDivisionError):
        await stream.do_handshake()
    assert line.aborted
    assert not stream.link.is_busy
    monkeypatch.undo()
    stream.abort()


# --- waiting ---------------------------------------------------------------------------------------------------------


async def test_a_waiter_that_was_cancelled_is_forgotten(world: World) -> None:
    stream, _ = connect(world.client(), world.server())
    link = stream.link
    waiting = [asyncio.create_task(link.change()) for _ in range(3)]
    await turns()
    waiting[1].cancel()
    await turns()
    assert len(link._waiters) == 2
    link.wake()
    assert link._waiters == []
    waiting[0].cancel()  # woken, and cancelled before it ran
    await asyncio.gather(*waiting, return_exceptions=True)
    assert link._waiters == []
    assert isinstance(link, Link)
    stream.abort()
