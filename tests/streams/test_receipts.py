"""A session that others are to find is waited for by whoever writes next, and not by the handshake."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from resumption.connection import Connection
from resumption.constants import ProtocolVersion
from resumption.session.model import Session
from resumption.streams.aio import AsyncStream
from resumption.streams.blocking import Stream
from resumption.streams.sockets import TimedSocket
from tests.streams.loops import Line, turns
from tests.streams.world import Shelf, Wire, World


class Receipt:
    """Says in the diary when it is waited for."""

    def __init__(self, diary: list[str]) -> None:
        self._diary = diary

    def wait(self) -> None:
        self._diary.append("waited")


class Registry(Shelf):
    """An `Outside` that gives receipts."""

    def session_issued(self, connection: Connection, session: Session) -> Any:
        super().session_issued(connection, session)
        return Receipt(self.diary)


@pytest.fixture
def wire(world: World) -> Wire:
    wire = Wire(world.client())
    wire.inbox += wire.peer.data_to_send()
    return wire


@pytest.fixture
def server(world: World, wire: Wire) -> Stream:
    server = Stream(wire, world.stateful(), Registry(wire.log))
    server.do_handshake()
    assert wire.log == ["sent", "told", "told"], "the handshake waits for nothing, and its tickets are held back"
    assert wire.issued == []
    wire.log.clear()
    return server


def test_data_waits_and_takes_the_tickets_along(server: Stream, wire: Wire) -> None:
    server.do_handshake()
    assert wire.log == []
    server.sendall(b"answer")
    assert wire.log == ["waited", "waited", "sent"]
    assert (len(wire.issued), wire.data) == (2, b"answer")
    server.sendall(b"more")
    assert wire.log == ["waited", "waited", "sent", "sent"], "once"


def test_a_reader_for_whom_nothing_has_come_waits_and_sends_the_tickets(server: Stream, wire: Wire) -> None:
    wire.before_wait = lambda: wire.say(b"request")
    assert server.recv() == b"request"
    assert wire.log == ["waited", "waited", "sent"]
    assert len(wire.issued) == 2
    server.sendall(b"answer")
    assert wire.log == ["waited", "waited", "sent", "sent"]


def test_what_has_come_is_read_first(server: Stream, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TimedSocket, "is_readable", lambda self: bool(wire.inbox))
    wire.say(b"request")
    assert server.read_exactly(3) == b"req"
    assert server.read_exactly(4) == b"uest"
    assert wire.log == []
    server.sendall(b"answer")
    assert wire.log == ["waited", "waited", "sent"]


def test_closing_waits_and_sends_the_tickets(server: Stream, wire: Wire) -> None:
    server.close()
    assert wire.log == ["waited", "waited", "sent"]
    assert len(wire.issued) == 2
    assert wire.peer.peer_closed


def test_a_block_that_fails_does_not_wait(server: Stream, wire: Wire) -> None:
    with pytest.raises(ZeroDivisionError), server:
        raise ZeroDivisionError
    assert "waited" not in wire.log
    assert wire.peer.peer_closed


def test_one_more_ticket_is_sent_when_it_is_known(server: Stream, wire: Wire) -> None:
    server.sendall(b"x")
    wire.log.clear()
    assert server.new_session_ticket()
    assert wire.log == ["told", "waited", "sent"]


def test_deferred_tickets_wait_for_data_even_then(world: World, wire: Wire) -> None:
    server = Stream(wire, world.stateful(), Registry(wire.log), defer_tickets=True)
    wire.before_wait = lambda: wire.say(b"request")
    assert server.recv() == b"request"
    assert wire.issued == []
    server.sendall(b"answer")
    assert len(wire.issued) == 2


def test_in_tls12_the_handshake_is_completed_and_data_waits(world: World) -> None:
    wire = Wire(world.client(maximum_version=ProtocolVersion.TLSv1_2))
    wire.inbox += wire.peer.data_to_send()
    wire.before_wait = lambda: wire.inbox.extend(wire.peer.data_to_send())
    server = Stream(wire, world.stateful(), Registry(wire.log))
    server.do_handshake()
    assert wire.log == ["sent", "told", "sent"]
    assert wire.peer.handshake_complete
    server.sendall(b"answer")
    assert wire.log == ["sent", "told", "sent", "waited", "sent"]


# --- asyncio ---------------------------------------------------------------------------------------------------------


class LaterReceipt:
    def __init__(self) -> None:
        self.is_there = asyncio.Event()

    async def wait(self) -> None:
        await self.is_there.wait()


class AwaitedRegistry(Shelf):
    """An `AwaitedOutside` whose receipts the test fulfils."""

    def __init__(self) -> None:
        super().__init__()
        self.receipts: list[LaterReceipt] = []

    async def find_session_awaiting(self, connection: Connection, question: Any) -> None:
        return None

    async def session_issued_awaiting(self, connection: Connection, session: Session) -> LaterReceipt:
        self.session_issued(connection, session)
        self.receipts.append(LaterReceipt())
        return self.receipts[-1]

    async def disconnect(self) -> None:
        """Nothing."""

    async def fulfil(self) -> None:
        for receipt in self.receipts:
            receipt.is_there.set()
        await turns()


async def serving(world: World, **changes: Any) -> tuple[AsyncStream, Line, AwaitedRegistry]:
    line, registry = Line(world.client(**changes)), AwaitedRegistry()
    line.wire.inbox += line.wire.peer.data_to_send()
    server = AsyncStream(world.stateful(), registry, transport=line)
    line.deliver()
    line.wire.inbox += line.wire.peer.data_to_send()
    line.deliver()
    await server.do_handshake()
    assert line.wire.peer.handshake_complete
    return server, line, registry


async def test_an_awaited_handshake_waits_for_nothing_and_data_does(world: World) -> None:
    server, line, registry = await serving(world)
    assert len(registry.receipts) == 2
    assert line.wire.issued == []
    line.wire.say(b"request")
    line.deliver()
    assert await server.recv() == b"request", "reading goes on"
    answering = asyncio.create_task(server.sendall(b"answer"))
    await turns()
    assert line.wire.data == b""
    await registry.fulfil()
    await answering
    assert (len(line.wire.issued), line.wire.data) == (2, b"answer")
    await server.sendall(b"more")
    await server.close()


async def test_tickets_leave_when_they_are_known_even_if_nobody_writes(world: World) -> None:
    server, line, registry = await serving(world)
    await registry.fulfil()
    assert len(line.wire.issued) == 2
    await server.close()


async def test_an_awaited_close_waits_as_well(world: World) -> None:
    server, line, registry = await serving(world)
    closing = asyncio.create_task(server.close())
    await turns()
    assert not closing.done()
    await registry.fulfil()
    await closing
    assert len(line.wire.issued) == 2
    assert line.wire.peer.peer_closed


async def test_an_awaited_tls12_handshake_is_completed_and_data_waits(world: World) -> None:
    server, line, registry = await serving(world, maximum_version=ProtocolVersion.TLSv1_2)
    answering = asyncio.create_task(server.sendall(b"answer"))
    await turns()
    assert line.wire.data == b""
    await registry.fulfil()
    await answering
    assert line.wire.data == b"answer"
    await server.close()
