"""Fixtures of the stream tests."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from resumption.streams.blocking import Stream
from tests.pki import Pki
from tests.streams.world import Wire, World, tcp_pair

Spawn = Callable[..., "Future[Any]"]


@pytest.fixture(scope="session")
def world(pki: Pki) -> World:
    return World.of(pki)


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Run a function in another thread; its result is asked for with a limit, so that a deadlock fails the test."""
    with ThreadPoolExecutor(8) as executor:
        yield executor.submit


@pytest.fixture
def wire(world: World) -> Wire:
    """A wire with a server's engine at its other end."""
    return Wire(world.server())


@pytest.fixture
def client(world: World, wire: Wire) -> Iterator[Stream]:
    """A client over `wire`, connected."""
    stream = Stream(wire, world.client())
    stream.do_handshake()
    wire.asked.clear()
    wire.sent.clear()
    yield stream
    if not stream.is_closed:
        wire.room = None
        stream.settimeout(0)
        stream.close()


@pytest.fixture
def pair(world: World, spawn: Spawn) -> Iterator[Callable[..., tuple[Stream, Stream]]]:
    """Makes two streams that are connected by real sockets, client first."""
    made: list[Stream] = []

    def make(
        sockets: tuple[socket.socket, socket.socket] | None = None, version: int = 0x0304, **options: Any
    ) -> tuple[Stream, Stream]:
        first, second = sockets if sockets is not None else tcp_pair()
        client = Stream(first, world.client(maximum_version=version), **options)
        server = Stream(second, world.server(), **options)
        made.extend((client, server))
        greeting = spawn(server.do_handshake)
        client.do_handshake()
        greeting.result(30)
        return client, server

    yield make
    for stream in made:
        if not stream.is_closed:
            stream.settimeout(0)
            stream.close()
