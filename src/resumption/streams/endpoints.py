"""Asyncio: opening a connection, and serving many.

`serve` gives each client a task of its own, which makes the handshake within a deadline and calls the handler. Nothing
that one connection does ends the server: what goes wrong is reported, and the connection closed.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from types import TracebackType
from typing import Any, Self, cast

from resumption.connection import Connection
from resumption.errors import UsageError
from resumption.streams.aio import AsyncStream
from resumption.streams.outside import Outside
from resumption.streams.sockets import Address

__all__ = ["HANDSHAKE_TIMEOUT_S", "Server", "open_connection", "serve"]

#: Seconds that a client of `serve` has for its handshake.
HANDSHAKE_TIMEOUT_S = 30.0

Handler = Callable[[AsyncStream], Awaitable[None]]
Report = Callable[[Exception, Any], None]

_log = logging.getLogger("resumption.streams")


async def open_connection(
    connection: Connection,
    address: Address | None = None,
    outside: Outside | None = None,
    *,
    sock: socket.socket | None = None,
    do_handshake: bool = True,
    executor: Executor | None = None,
    early_data: bytes | bytearray | memoryview = b"",
) -> AsyncStream:
    """Connect to ``(host, port)`` or a Unix socket's path, or take the connected ``sock``, and make the handshake.

    Put ``asyncio.timeout`` around it for a deadline. Raises `OSError`, and what the handshake raises: nothing is left
    open then. `UsageError` if there is neither address nor socket. ``early_data``: as for `AsyncStream`.
    """
    stream = AsyncStream(connection, outside, executor=executor, early_data=early_data)
    loop = asyncio.get_running_loop()
    try:
        if isinstance(address, str):
            await loop.create_unix_connection(lambda: stream.link, address)
        elif address is not None:
            await loop.create_connection(lambda: stream.link, *address)
        elif sock is not None:
            await loop.create_connection(lambda: stream.link, sock=sock)
        else:
            raise UsageError("open_connection() needs an address or a connected socket")
        if do_handshake:
            await stream.do_handshake()
    except BaseException:
        stream.abort()
        raise
    return stream


class Server:
    """What `serve` returns: a listening server. ``async with`` closes it, and ends what it still serves."""

    def __init__(
        self,
        factory: Callable[[], Connection],
        handler: Handler,
        outside: Outside | None,
        *,
        handshake_timeout: float | None,
        on_error: Report | None,
        executor: Executor | None,
        defer_tickets: bool,
        early_data: bool,
        on_closed: Callable[[], Awaitable[None]] | None,
    ) -> None:
        self._on_closed = on_closed
        self._factory = factory
        self._handler = handler
        self._outside = outside
        self._handshake_timeout = handshake_timeout
        self._on_error = on_error
        self._executor = executor
        self._defer_tickets = defer_tickets
        self._early_data = early_data
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening: list[asyncio.Server] = []

    @property
    def sockets(self) -> tuple[Any, ...]:
        """The listening sockets; none once closed."""
        return tuple(sock for server in self._listening for sock in server.sockets)

    @property
    def connections(self) -> int:
        """How many connections are being served, handshakes included."""
        return len(self._tasks)

    def close(self) -> None:
        """Stop listening. Connections that are there are served to their end."""
        for server in self._listening:
            server.close()

    async def wait_closed(self) -> None:
        """Wait until no connection is being served. Call `close` first."""
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))
        if self._on_closed is not None:
            await self._on_closed()

    async def abort(self) -> None:
        """Stop listening, cancel the handlers, and wait until they are gone."""
        self.close()
        for task in tuple(self._tasks):
            task.cancel()
        await self.wait_closed()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.abort()

    def _welcome(self, transport: asyncio.Transport) -> None:
        """A client has connected."""
        try:
            stream = AsyncStream(
                self._factory(),
                self._outside,
                transport=transport,
                executor=self._executor,
                defer_tickets=self._defer_tickets,
            )
        except Exception as error:
            self._report(error, transport.get_extra_info("peername"))
            transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._serve(stream))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, stream: AsyncStream) -> None:
        peer = stream.getpeername()
        try:
            async with stream:
                await stream.do_handshake(self._handshake_timeout, until_early_data=self._early_data)
                await self._handler(stream)
        except Exception as error:
            self._report(error, peer)

    def _report(self, error: Exception, peer: Any) -> None:
        if self._on_error is None:
            _log.warning("a connection ended with %s: %s", type(error).__name__, error)
            return
        try:
            self._on_error(error, peer)
        except Exception:
            _log.exception("on_error failed")


class _Doorman(asyncio.Protocol):
    """The protocol of a connection that was just accepted, until it has a stream."""

    __slots__ = ("_welcome",)

    def __init__(self, welcome: Callable[[asyncio.Transport], None]) -> None:
        self._welcome = welcome

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._welcome(cast(asyncio.Transport, transport))


async def serve(
    factory: Callable[[], Connection],
    handler: Handler,
    address: Address | None = None,
    outside: Outside | None = None,
    *,
    sock: socket.socket | None = None,
    backlog: int = 128,
    reuse_port: bool | None = None,
    handshake_timeout: float | None = HANDSHAKE_TIMEOUT_S,
    on_error: Report | None = None,
    executor: Executor | None = None,
    defer_tickets: bool = False,
    early_data: bool = False,
    on_closed: Callable[[], Awaitable[None]] | None = None,
) -> Server:
    """Listen on ``(host, port)``, a Unix socket's path, or ``sock``, and call ``handler`` for each connection.

    ``factory`` makes the engine of a connection. The handler gets the stream after the handshake, for which a client
    has ``handshake_timeout`` seconds; when it returns the stream is closed. What a connection or the handler raises
    goes to ``on_error`` with the peer's address, or else to the log of ``resumption.streams``. With ``early_data`` the
    handler is called as soon as early data has come (`AsyncStream.recv_early_data`), before the handshake is complete.
    Raises `OSError` if the address cannot be used, `UsageError` if there is none.
    """
    server = Server(
        factory,
        handler,
        outside,
        handshake_timeout=handshake_timeout,
        on_error=on_error,
        executor=executor,
        defer_tickets=defer_tickets,
        early_data=early_data,
        on_closed=on_closed,
    )
    loop = asyncio.get_running_loop()

    def doorman() -> _Doorman:
        return _Doorman(server._welcome)

    if isinstance(address, str):
        listening = await loop.create_unix_server(doorman, address, backlog=backlog)
    elif address is not None:
        listening = await loop.create_server(doorman, *address, backlog=backlog, reuse_port=reuse_port)
    elif sock is not None:
        listening = await loop.create_server(doorman, sock=sock, backlog=backlog)
    else:
        raise UsageError("serve() needs an address or a socket to listen on")
    server._listening.append(listening)
    return server
