from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from resumption.connection import Connection
from resumption.errors import HandshakeTimeout, ProtocolVersionUnsupported, UsageError
from resumption.streams import listener as listening
from resumption.streams.blocking import Stream
from resumption.streams.listener import Listener
from resumption.streams.sockets import connect_socket
from tests.streams.conftest import Spawn
from tests.streams.world import Shelf, World

LIMIT_S = 60


@pytest.fixture
def listener(world: World) -> Iterator[Listener]:
    with Listener.bind(("127.0.0.1", 0), world.server, timeout=LIMIT_S) as listener:
        yield listener


def greet(world: World, listener: Listener) -> bytes:
    with Stream(connect_socket(listener.address, LIMIT_S), world.client()) as client:
        client.sendall(b"hello")
        return client.read_all()


def serve_one(listener: Listener) -> None:
    with listener.accept(LIMIT_S) as stream:
        stream.sendall(stream.recv() + b" yourself")


def test_a_connection_is_served(world: World, listener: Listener, spawn: Spawn) -> None:
    client = spawn(greet, world, listener)
    serve_one(listener)
    assert client.result(LIMIT_S) == b"hello yourself"


def test_a_client_that_says_nothing_keeps_nobody_waiting(world: World, listener: Listener, spawn: Spawn) -> None:
    with connect_socket(listener.address, LIMIT_S):
        silent = listener.accept(LIMIT_S)
        client = spawn(greet, world, listener)
        serve_one(listener)
        assert client.result(LIMIT_S) == b"hello yourself"
        with pytest.raises(HandshakeTimeout):
            silent.do_handshake(0.001)
        silent.close()


def test_the_handshake_on_demand(world: World, listener: Listener, spawn: Spawn) -> None:
    client = spawn(greet, world, listener)
    with listener.accept(LIMIT_S, do_handshake=True) as stream:
        assert stream.version == 0x0304
        assert stream.server_name == "localhost"
        assert stream.gettimeout() == LIMIT_S
        stream.recv()
    assert client.result(LIMIT_S) == b""


def test_the_deadline_is_for_the_handshake_too(listener: Listener) -> None:
    with connect_socket(listener.address, LIMIT_S) as sock:
        with pytest.raises(HandshakeTimeout):
            listener.accept(0.01, do_handshake=True)
        assert sock.recv(1) == b"", "the connection is closed"


def test_a_handshake_that_fails_leaves_the_listener_alone(world: World, listener: Listener, spawn: Spawn) -> None:
    with connect_socket(listener.address, LIMIT_S) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(ProtocolVersionUnsupported, match="HTTP"):
            listener.accept(LIMIT_S, do_handshake=True)
        assert sock.recv(1) == b"\x15", "it was told so"
    client = spawn(greet, world, listener)
    serve_one(listener)
    assert client.result(LIMIT_S) == b"hello yourself"


def test_nobody_comes(listener: Listener) -> None:
    with pytest.raises(TimeoutError, match="accept"):
        listener.accept(0.001)
    with pytest.raises(TimeoutError):
        listener.accept(0)


def test_a_factory_that_fails_closes_the_connection(world: World) -> None:
    def broken() -> Connection:
        raise UsageError("the context is closed")

    with Listener.bind(("127.0.0.1", 0), broken) as listener, connect_socket(listener.address, LIMIT_S) as sock:
        with pytest.raises(UsageError, match="context"):
            listener.accept(LIMIT_S)
        assert sock.recv(1) == b""


def test_closing_wakes_the_threads_that_accept(
    listener: Listener, spawn: Spawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = threading.Event()
    wait = listening.wait_until_ready

    def wait_and_tell(fileno: int, timeout: float | None) -> bool:
        waiting.set()
        return wait(fileno, timeout)

    monkeypatch.setattr(listening, "wait_until_ready", wait_and_tell)
    thread = spawn(listener.accept)
    assert waiting.wait(LIMIT_S)
    listener.close()
    listener.close()
    with pytest.raises(UsageError, match="closed"):
        thread.result(LIMIT_S)
    with pytest.raises(UsageError, match="closed"):
        listener.accept()


def test_a_connection_that_came_and_went_is_passed_over(
    world: World, monkeypatch: pytest.MonkeyPatch, spawn: Spawn
) -> None:
    class Shaky(socket.socket):
        shakes = 1

        def accept(self) -> tuple[socket.socket, object]:
            if Shaky.shakes:
                Shaky.shakes -= 1
                raise ConnectionAbortedError
            return super().accept()

    sock = Shaky(socket.AF_INET, socket.SOCK_STREAM)
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    with Listener(sock, world.server) as listener:
        client = spawn(greet, world, listener)
        serve_one(listener)
        assert client.result(LIMIT_S) == b"hello yourself"


def test_another_error_of_the_socket_is_raised(world: World) -> None:
    sock = socket.socket()  # not listening
    with Listener(sock, world.server) as listener, pytest.raises(OSError):
        listener.accept(LIMIT_S)


def test_it_can_be_selected_on(world: World, listener: Listener, spawn: Spawn) -> None:
    client = spawn(greet, world, listener)
    assert select.select([listener], [], [], LIMIT_S)[0] == [listener]
    serve_one(listener)
    assert client.result(LIMIT_S)


def test_a_unix_socket(world: World, tmp_path: Path, spawn: Spawn) -> None:
    path = str(tmp_path / "socket")
    shelf = Shelf()
    with Listener.bind(path, world.stateful, shelf) as listener:
        assert listener.address == path
        client = spawn(greet, world, listener)
        serve_one(listener)
        assert client.result(LIMIT_S) == b"hello yourself"
        assert len(shelf.kept) == 2
        with pytest.raises(OSError):
            Listener.bind(path, world.server)


def test_ipv6(world: World, spawn: Spawn) -> None:
    try:
        listener = Listener.bind(("::1", 0), world.server)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with listener:
        client = spawn(greet, world, listener)
        serve_one(listener)
        assert client.result(LIMIT_S) == b"hello yourself"
