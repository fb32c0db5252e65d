"""Blocking streams over real sockets, with a thread on each end or on each direction."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from resumption.connection import Connection
from resumption.errors import UsageError
from resumption.session.model import Session
from resumption.streams.blocking import Stream
from tests.streams.conftest import Spawn
from tests.streams.world import Shelf, Wire, World, tcp_pair

MEGABYTE = 1 << 20
LIMIT_S = 60

Pair = Callable[..., tuple[Stream, Stream]]


def pattern(size: int, seed: int) -> bytes:
    """Bytes without a period that a lost or doubled record could hide in."""
    return hashlib.shake_128(seed.to_bytes(4, "big")).digest(size)


def fetch(stream: Stream, size: int) -> str:
    """The digest of the next ``size`` bytes, read in uneven pieces."""
    digest = hashlib.sha256()
    while size:
        data = stream.recv(min(size, 50_001))
        assert data
        digest.update(data)
        size -= len(data)
    return digest.hexdigest()


@pytest.mark.parametrize("version", [0x0303, 0x0304])
@pytest.mark.parametrize("timeout", [None, 30.0])
def test_both_directions_at_once_through_small_buffers(
    pair: Pair, spawn: Spawn, version: int, timeout: float | None
) -> None:
    client, server = pair(tcp_pair(8192), version=version, timeout=timeout)
    assert client.version == version
    up, down = pattern(10 * MEGABYTE, 1), pattern(10 * MEGABYTE, 2)
    threads = [
        spawn(client.sendall, up),
        spawn(server.sendall, down),
        spawn(fetch, client, len(down)),
        spawn(fetch, server, len(up)),
    ]
    results = [thread.result(LIMIT_S) for thread in threads]
    assert results[2] == hashlib.sha256(down).hexdigest()
    assert results[3] == hashlib.sha256(up).hexdigest()


def test_key_updates_in_the_middle_of_traffic_both_ways(pair: Pair, spawn: Spawn) -> None:
    client, server = pair(tcp_pair(8192))
    data = pattern(MEGABYTE, 3)

    def talk(stream: Stream) -> None:
        for start in range(0, len(data), 1 << 16):
            stream.sendall(data[start : start + (1 << 16)])
            stream.update_keys(request_peer=True)

    threads = [
        spawn(talk, client),
        spawn(talk, server),
        spawn(fetch, client, len(data)),
        spawn(fetch, server, len(data)),
    ]
    results = [thread.result(LIMIT_S) for thread in threads]
    assert results[2] == results[3] == hashlib.sha256(data).hexdigest()


def test_streams_send_small_flights_at_once(world: World) -> None:
    first, second = tcp_pair()
    with second:
        first.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        client = Stream(first, world.client())
        assert first.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        client.close()


def test_writers_and_readers_queue(pair: Pair, spawn: Spawn) -> None:
    client, server = pair()
    writers = [spawn(client.sendall, bytes([number]) * 100_000) for number in range(4)]
    readers = [spawn(server.read_exactly, 200_000) for _ in range(2)]
    for writer in writers:
        writer.result(LIMIT_S)
    received = b"".join(reader.result(LIMIT_S) for reader in readers)
    blocks = [received[start : start + 100_000] for start in range(0, 400_000, 100_000)]
    assert sorted(blocks) == [bytes([number]) * 100_000 for number in range(4)]


def test_the_first_writer_and_the_first_reader_share_the_handshake(world: World, spawn: Spawn) -> None:
    first, second = tcp_pair()
    client, server = Stream(first, world.client()), Stream(second, world.server())
    threads = [
        spawn(client.recv),
        spawn(client.sendall, b"up"),
        spawn(server.recv),
        spawn(server.sendall, b"down"),
    ]
    results = [thread.result(LIMIT_S) for thread in threads]
    assert (results[0], results[2]) == (b"down", b"up")
    client.close()
    server.close()


def test_a_slow_store_holds_up_its_reader_only(world: World, spawn: Spawn) -> None:
    asked, may_go_on = threading.Event(), threading.Event()

    class Slow(Shelf):
        def session_issued(self, connection: Connection, session: Session) -> None:
            asked.set()
            assert may_go_on.wait(LIMIT_S)
            super().session_issued(connection, session)

    first, second = tcp_pair()
    shelf = Slow()
    client, server = Stream(first, world.client(), shelf), Stream(second, world.server())
    greeting = spawn(server.do_handshake)
    client.do_handshake()
    greeting.result(LIMIT_S)
    server.sendall(b"tickets come before this")
    reader = spawn(client.recv)
    assert asked.wait(LIMIT_S)
    client.sendall(b"meanwhile")
    assert server.recv() == b"meanwhile"
    assert not reader.done()
    may_go_on.set()
    assert reader.result(LIMIT_S) == b"tickets come before this"
    assert len(shelf.kept) == 2
    client.close()
    server.close()


def test_a_ticket_is_sent_while_another_thread_reads(pair: Pair, spawn: Spawn) -> None:
    client, server = pair()
    reader = spawn(server.recv)
    assert server.new_session_ticket()
    server.sendall(b"x")
    assert client.recv() == b"x"
    session = client.session
    assert session is not None
    assert session.is_resumable
    client.sendall(b"done")
    assert reader.result(LIMIT_S) == b"done"


class Held(Wire):
    """A wire on which sending waits for an event once it is full."""

    def __init__(self, peer: Connection) -> None:
        super().__init__(peer)
        self.is_held = threading.Event()
        self.may_go_on = threading.Event()

    def _wait(self) -> None:
        if self.timeout == 0:
            raise BlockingIOError
        assert self.room == 0
        self.is_held.set()
        assert self.may_go_on.wait(LIMIT_S)
        self.room = None


def test_a_reader_leaves_its_answer_to_the_writer_that_is_at_it(world: World, spawn: Spawn) -> None:
    wire = Held(world.server())
    client = Stream(wire, world.client())
    client.do_handshake()
    wire.room = 0
    writer = spawn(client.sendall, b"data")
    assert wire.is_held.wait(LIMIT_S)
    wire.peer.update_keys(request_peer=True)
    wire.say(b"read me")
    assert client.recv() == b"read me", "the reader does not wait for the writer"
    wire.may_go_on.set()
    writer.result(LIMIT_S)
    assert wire.data == b"data"
    assert any(type(event).__name__ == "KeysUpdated" for event in wire.events)
    client.sendall(b" and more")
    assert wire.data == b"data and more"
    client.settimeout(0)
    client.close()


@pytest.mark.parametrize("is_connected", [True, False])
def test_closing_while_a_writer_is_at_it(
    world: World, spawn: Spawn, monkeypatch: pytest.MonkeyPatch, is_connected: bool
) -> None:
    def not_connected(how: int) -> None:
        raise OSError(107, "Transport endpoint is not connected")

    wire = Held(world.server())
    if not is_connected:
        monkeypatch.setattr(wire, "shutdown", not_connected)
    client = Stream(wire, world.client())
    client.do_handshake()
    wire.room = 0
    writer = spawn(client.sendall, b"data")
    assert wire.is_held.wait(LIMIT_S)
    client.close()
    assert wire.closed
    wire.may_go_on.set()
    writer.exception(LIMIT_S)  # it had handed over all it could


@pytest.mark.parametrize(
    "wait",
    [
        lambda stream: stream.recv(),
        lambda stream: stream.read_all(),
        lambda stream: stream.unwrap(),
        lambda stream: stream.sendall(bytes(100 * MEGABYTE)),
    ],
)
def test_closing_wakes_the_threads_that_wait(pair: Pair, spawn: Spawn, wait: Callable[[Stream], Any]) -> None:
    client, _ = pair(tcp_pair(8192))
    begun = threading.Event()

    def run() -> Any:
        begun.set()
        return wait(client)

    thread = spawn(run)
    assert begun.wait(LIMIT_S)
    client.close()
    with pytest.raises(UsageError, match="closed"):
        thread.result(LIMIT_S)


def test_a_timeout_in_one_direction_leaves_the_other_alone(pair: Pair, spawn: Spawn) -> None:
    client, server = pair(timeout=0.05)
    server.settimeout(LIMIT_S)
    data = pattern(4 * MEGABYTE, 5)
    writer = spawn(server.sendall, data)
    received = bytearray()
    while len(received) < len(data):
        received += client.recv(100_000)
    with pytest.raises(TimeoutError):
        client.recv()
    writer.result(LIMIT_S)
    assert received == data
    client.sendall(b"still there")
    assert server.recv() == b"still there"
