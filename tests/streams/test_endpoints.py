"""Asyncio servers and clients over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from resumption.connection import Connection
from resumption.errors import HandshakeTimeout, ProtocolVersionUnsupported, UnknownCA, UsageError
from resumption.streams.aio import AsyncStream
from resumption.streams.endpoints import Server, open_connection, serve
from tests.streams.world import Shelf, World

LIMIT_S = 60
ANYWHERE = ("127.0.0.1", 0)


async def echo(stream: AsyncStream) -> None:
    async for data in stream:
        await stream.sendall(data)


def address_of(server: Server) -> tuple[str, int]:
    host, port = server.sockets[0].getsockname()[:2]
    return host, port


class Reports:
    """What a server reported."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []
        self.peers: list[Any] = []
        self.came = asyncio.Event()

    def __call__(self, error: Exception, peer: Any) -> None:
        self.errors.append(error)
        self.peers.append(peer)
        self.came.set()

    async def wait(self) -> Exception:
        async with asyncio.timeout(LIMIT_S):
            await self.came.wait()
        self.came.clear()
        return self.errors[-1]


async def ask(world: World, server: Server, data: bytes = b"hello") -> bytes:
    async with asyncio.timeout(LIMIT_S):
        async with await open_connection(world.client(), address_of(server)) as client:
            await client.sendall(data)
            await client.close_write()
            return await client.read_all()


async def test_a_connection_is_served(world: World) -> None:
    async with await serve(world.server, echo, ANYWHERE) as server:
        assert await ask(world, server) == b"hello"
        assert await ask(world, server, bytes(1_000_000)) == bytes(1_000_000)


async def test_many_at_once(world: World) -> None:
    async with await serve(world.server, echo, ANYWHERE) as server:
        sizes = range(100, 200_000, 4_000)
        answers = await asyncio.gather(*(ask(world, server, bytes(size)) for size in sizes))
        assert [len(answer) for answer in answers] == list(sizes)
        server.close()
        await server.wait_closed()
        assert server.connections == 0


async def test_the_handler_gets_a_stream_after_its_handshake(world: World) -> None:
    seen = []

    async def look(stream: AsyncStream) -> None:
        seen.append((stream.version, stream.server_name, stream.getpeername()[0]))

    async with await serve(world.server, look, ANYWHERE) as server:
        assert await ask(world, server) == b""
    assert seen == [(0x0304, "localhost", "127.0.0.1")]


async def test_a_client_that_stalls_has_a_deadline_and_keeps_nobody_waiting(world: World) -> None:
    reports = Reports()
    async with await serve(world.server, echo, ANYWHERE, handshake_timeout=0.2, on_error=reports) as server:
        reader, writer = await asyncio.open_connection(*address_of(server))
        writer.write(b"\x16\x03\x01")
        assert await ask(world, server) == b"hello"
        assert isinstance(await reports.wait(), HandshakeTimeout)
        assert reports.peers == [writer.get_extra_info("sockname")]
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


async def test_what_is_no_tls_is_told_so_and_reported(world: World) -> None:
    reports = Reports()
    async with await serve(world.server, echo, ANYWHERE, on_error=reports) as server:
        reader, writer = await asyncio.open_connection(*address_of(server))
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert isinstance(await reports.wait(), ProtocolVersionUnsupported)
        assert await reader.read() == b"\x15\x03\x03\x00\x02\x02\x46"
        writer.close()
        await writer.wait_closed()
        assert await ask(world, server) == b"hello"


async def test_a_handler_that_fails_is_reported_and_the_server_goes_on(world: World) -> None:
    reports = Reports()

    async def fail_once(stream: AsyncStream) -> None:
        if not reports.errors:
            raise ZeroDivisionError
        await echo(stream)

    async with await serve(world.server, fail_once, ANYWHERE, on_error=reports) as server:
        assert await ask(world, server) == b""
        assert isinstance(await reports.wait(), ZeroDivisionError)
        assert await ask(world, server) == b"hello"


async def test_a_report_that_fails_is_logged_and_the_server_goes_on(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(error: Exception, peer: Any) -> None:
        raise RuntimeError("the report is broken")

    async def fail(stream: AsyncStream) -> None:
        raise ZeroDivisionError

    with caplog.at_level(logging.WARNING, "resumption.streams"):
        async with await serve(world.server, fail, ANYWHERE, on_error=broken) as server:
            for _ in range(2):
                assert await ask(world, server) == b""
            server.close()
            await server.wait_closed()
    assert "on_error failed" in caplog.text


async def test_without_a_callback_errors_go_to_the_log(world: World, caplog: pytest.LogCaptureFixture) -> None:
    async def fail(stream: AsyncStream) -> None:
        raise ZeroDivisionError("oh")

    with caplog.at_level(logging.WARNING, "resumption.streams"):
        async with await serve(world.server, fail, ANYWHERE) as server:
            assert await ask(world, server) == b""
            server.close()
            await server.wait_closed()
    assert "ZeroDivisionError" in caplog.text


async def test_a_factory_that_fails_is_reported_and_the_connection_closed(world: World) -> None:
    reports = Reports()

    def broken() -> Connection:
        raise UsageError("the context is closed")

    async with await serve(broken, echo, ANYWHERE, on_error=reports) as server:
        reader, writer = await asyncio.open_connection(*address_of(server))
        assert isinstance(await reports.wait(), UsageError)
        with contextlib.suppress(ConnectionResetError):  # either is an end
            assert await reader.read() == b""
        writer.close()


async def test_closing_serves_to_the_end_what_is_there(world: World) -> None:
    async with await serve(world.server, echo, ANYWHERE) as server:
        client = await open_connection(world.client(), address_of(server))
        await client.sendall(b"before")
        assert await client.recv() == b"before"
        address = address_of(server)
        server.close()
        assert server.sockets == ()
        with pytest.raises(OSError):
            await open_connection(world.client(), address)
        assert server.connections == 1
        await client.sendall(b"after")
        assert await client.recv() == b"after"
        await client.close()
        async with asyncio.timeout(LIMIT_S):
            await server.wait_closed()


async def test_leaving_the_block_ends_what_is_still_served(world: World) -> None:
    async with await serve(world.server, echo, ANYWHERE) as server:
        client = await open_connection(world.client(), address_of(server))
        await client.sendall(b"x")
        assert await client.recv() == b"x"
    assert server.connections == 0
    async with asyncio.timeout(LIMIT_S):
        assert await client.read_all() == b"", "it was told so"
    await client.close()


async def test_tickets_resume_from_a_store_outside(world: World) -> None:
    shelf = Shelf()
    with ThreadPoolExecutor(1) as executor:
        async with await serve(world.stateful, echo, ANYWHERE, shelf, executor=executor) as server:
            first = await open_connection(world.client(), address_of(server))
            await first.sendall(b"x")
            assert await first.recv() == b"x"
            session = first.get1_session()
            assert session is not None
            await first.close()
            with session:
                connection = world.client()
                connection.set_session(session)
                async with await open_connection(connection, address_of(server)) as second:
                    assert second.session_reused
            assert "asked" in shelf.diary


async def test_a_unix_socket(world: World, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    async with await serve(world.server, echo, path), await open_connection(world.client(), path) as client:
        await client.sendall(b"x")
        assert await client.recv() == b"x"


async def test_sockets_that_are_there_already(world: World) -> None:
    listening = socket.create_server(ANYWHERE)
    async with await serve(world.server, echo, sock=listening) as server:
        connected = socket.create_connection(address_of(server))
        async with await open_connection(world.client(), sock=connected) as client:
            await client.sendall(b"x")
            assert await client.recv() == b"x"


@pytest.mark.parametrize("call", [lambda w: open_connection(w.client()), lambda w: serve(w.server, echo)])
async def test_neither_address_nor_socket(world: World, call: Callable[[World], Any]) -> None:
    with pytest.raises(UsageError, match="address"):
        await call(world)


async def test_a_client_that_refuses_the_server_leaves_nothing_open(world: World) -> None:
    from resumption.crypto.trust import TrustStore
    from tests.pki import issue

    reports = Reports()
    stranger = TrustStore.load(issue("another root", ca=True).cert_pem)
    async with await serve(world.server, echo, ANYWHERE, on_error=reports) as server:
        with pytest.raises(UnknownCA):
            await open_connection(world.client(trust=stranger), address_of(server))
        assert "unknown_ca" in str(await reports.wait())
        await server.wait_closed()


async def test_opening_can_be_cancelled(world: World) -> None:
    silent = socket.create_server(ANYWHERE)
    with silent, pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await open_connection(world.client(), silent.getsockname())


async def test_opening_without_the_handshake(world: World) -> None:
    async with await serve(world.server, echo, ANYWHERE) as server:
        client = await open_connection(world.client(), address_of(server), do_handshake=False)
        assert client.version is None
        await client.do_handshake(LIMIT_S)
        assert client.version == 0x0304
        await client.close()
