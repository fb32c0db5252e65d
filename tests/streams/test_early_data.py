"""Early data through both kinds of streams: taken early, taken late, answered early, refused, and never sent twice."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from resumption import (
    ClientContext,
    EarlyData,
    EarlyReason,
    EarlyState,
    ReplayRegister,
    ServerContext,
    UsageError,
    too_early_response,
)
from resumption.errors import ConnectionFailed
from resumption.handshake.events import NeedAdmission
from resumption.session.stores.memory import MemoryStore
from resumption.streams.aio import AsyncStream
from resumption.streams.blocking import Stream
from resumption.streams.listener import Listener
from tests.handshake.pairs import Clock
from tests.pki import Pki
from tests.streams.conftest import Spawn
from tests.streams.world import tcp_pair

HOST = "127.0.0.1"
LIMIT_S = 30.0
REQUEST = b"GET /early HTTP/1.1\r\n\r\n"


class Place:
    """A server context that takes early data, a client context that trusts it, and a clock for both."""

    def __init__(self, pki: Pki, **settings: Any) -> None:
        self.clock = Clock()
        settings = {"max_early_data": 1_000, "replay": ReplayRegister(clock=self.clock), **settings}
        self.server = ServerContext(pki.ecdsa_p256.chain_pem, pki.ecdsa_p256.key_pem, clock=self.clock, **settings)
        self.client = ClientContext(trust=pki.trust_pem, clock=self.clock)

    def streams(self) -> tuple[Stream, Stream]:
        """A client's and a server's, connected; nothing was said."""
        first, second = tcp_pair()
        client = Stream(first, self.client.connection("localhost"), timeout=LIMIT_S)
        return client, self.server.wrap(second, timeout=LIMIT_S)

    def visit(self, spawn: Spawn) -> None:
        """Have the client get tickets."""
        client, server = self.streams()
        told = spawn(server.sendall, b"x")
        assert client.recv() == b"x"
        told.result(LIMIT_S)
        client.close()
        server.close()


@pytest.fixture
def place(pki: Pki, spawn: Spawn) -> Iterator[Place]:
    place = Place(pki)
    place.visit(spawn)
    yield place
    place.client.close()
    place.server.close()


# --- blocking --------------------------------------------------------------------------------------------------------


def test_a_server_reads_and_answers_early_data_before_the_handshake_is_complete(place: Place, spawn: Spawn) -> None:
    client, server = place.streams()
    with client, server:
        assert client.send_early_data(REQUEST) == len(REQUEST)
        assert server.recv_early_data(5) == REQUEST[:5]  # no thread of the client's has done anything more
        assert server.data_is_early
        assert server.recv_early_data() == REQUEST[5:]
        assert server.send_early_data(b"early answer") == 12
        reading = spawn(server.recv_early_data)
        assert client.recv() == b"early answer"
        assert reading.result(LIMIT_S) == b""
        assert not server.data_is_early
        for stream in (client, server):
            assert stream.early_data == EarlyData(EarlyState.ACCEPTED, None, len(REQUEST))
            assert stream.session_reused
        client.sendall(b"late")
        assert server.recv() == b"late"


def test_f87_what_is_read_the_ordinary_way_is_confirmed_first(place: Place, spawn: Spawn) -> None:
    client, server = place.streams()
    with client, server:
        client.send_early_data(REQUEST)
        reading = spawn(server.read_exactly, len(REQUEST) + 4)
        client.sendall(b"late")
        assert reading.result(LIMIT_S) == REQUEST + b"late"
        assert not server.data_is_early
        assert server.early_data.accepted


def test_f87_do_handshake_waits_for_the_client_to_prove_that_it_is_there(place: Place, spawn: Spawn) -> None:
    client, server = place.streams()
    with client, server:
        client.send_early_data(REQUEST)
        server.do_handshake(until_early_data=True)
        assert server.data_is_early
        waiting = spawn(server.do_handshake)
        assert not waiting.done()
        client.do_handshake()
        waiting.result(LIMIT_S)
        assert not server.data_is_early
        assert server.recv_early_data() == b""
        assert server.recv() == REQUEST


def test_f87_a_server_may_ask_for_the_request_again(place: Place, spawn: Spawn) -> None:
    client, server = place.streams()
    with client, server:
        client.send_early_data(REQUEST)
        assert server.recv_early_data() == REQUEST
        server.send_early_data(too_early_response())
        reading = spawn(server.recv_early_data)
        assert client.recv().startswith(b"HTTP/1.1 425 ")
        reading.result(LIMIT_S)
        client.sendall(REQUEST)
        assert server.recv() == REQUEST


def test_connect_takes_early_data(place: Place, spawn: Spawn) -> None:
    with Listener.bind((HOST, 0), place.server.connection, timeout=LIMIT_S) as listener:
        address: Any = listener.address

        def serve() -> tuple[bytes, EarlyData]:
            with listener.accept() as stream:
                early = stream.recv_early_data()
                stream.sendall(b"answer")
                return early, stream.early_data

        serving = spawn(serve)
        with place.client.connect(
            address, server_name="localhost", timeout=LIMIT_S, early_data=REQUEST, purpose=""
        ) as s:
            assert s.recv() == b"answer"
            assert s.early_data.accepted
        assert serving.result(LIMIT_S) == (REQUEST, EarlyData(EarlyState.ACCEPTED, None, len(REQUEST)))


def test_without_a_session_nothing_is_sent_early(pki: Pki, spawn: Spawn) -> None:
    place = Place(pki)
    client, server = place.streams()
    with client, server:
        assert client.send_early_data(REQUEST) == 0
        reading = spawn(server.recv_early_data)
        client.do_handshake()
        assert reading.result(LIMIT_S) == b""
        assert client.early_data == EarlyData(reason=EarlyReason.NO_SESSION)


def test_a_register_with_a_store_is_asked_by_the_stream(pki: Pki, spawn: Spawn) -> None:
    clock = Clock()
    register = ReplayRegister(MemoryStore(clock=clock), domain="here", clock=clock)
    place = Place(pki, replay=register)
    place.visit(spawn)
    place.clock.advance(register.kept_s)
    clock.advance(register.kept_s)
    client, server = place.streams()
    with client, server:
        client.send_early_data(REQUEST)
        assert server.recv_early_data() == REQUEST
        assert register.stats.admitted == 1
        spawn(server.do_handshake)
        client.do_handshake()


def test_early_data_is_for_where_it_makes_sense(place: Place) -> None:
    client, server = place.streams()
    with client, server:
        for stream in (client, server):
            with pytest.raises(ValueError, match="positive"):
                stream.recv_early_data(0)
        with pytest.raises(UsageError):
            server.send_early_data(b"before anything was heard")
    with pytest.raises(UsageError):
        client.send_early_data(b"closed")


# --- asyncio ---------------------------------------------------------------------------------------------------------


def served(place: Place, handler: Callable[[AsyncStream], Any], *, early_data: bool = True) -> Any:
    return place.server.serve(handler, (HOST, 0), early_data=early_data)


async def test_an_asyncio_server_is_called_with_the_early_data(place: Place) -> None:
    told: list[Any] = []

    async def handler(stream: AsyncStream) -> None:
        told.append(stream.data_is_early)
        told.append(await stream.recv_early_data())
        await stream.send_early_data(b"early answer")
        told.append(await stream.recv_early_data())
        told.append(stream.data_is_early)
        told.append(await stream.recv())
        await stream.sendall(b"late answer")

    async with await served(place, handler) as server:
        address = server.sockets[0].getsockname()
        async with place.client.open(address, server_name="localhost", early_data=REQUEST, purpose="") as stream:
            assert await stream.read_exactly(12) == b"early answer"
            assert stream.early_data == EarlyData(EarlyState.ACCEPTED, None, len(REQUEST))
            await stream.sendall(b"late")
            assert await stream.read_exactly(11) == b"late answer"
    assert told == [True, REQUEST, b"", False, b"late"]


async def test_an_asyncio_server_that_waits_gets_it_with_the_rest(place: Place) -> None:
    told: list[Any] = []

    async def handler(stream: AsyncStream) -> None:
        told.append(stream.data_is_early)
        told.append(await stream.read_exactly(len(REQUEST) + 4))
        told.append(stream.early_data.accepted)
        await stream.sendall(b"x")

    async with await served(place, handler, early_data=False) as server:
        address = server.sockets[0].getsockname()
        async with place.client.open(address, server_name="localhost", early_data=REQUEST, purpose="") as stream:
            await stream.sendall(b"late")
            assert await stream.recv() == b"x"
    assert told == [False, REQUEST + b"late", True]


class Slow(ReplayRegister):
    """A register whose store takes its time."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(MemoryStore(clock=clock), domain="here", clock=clock)
        self.may_answer = threading.Event()
        self.threads: list[int] = []

    def admit(self, key: bytes, now: float) -> EarlyReason | None:
        self.threads.append(threading.get_ident())
        assert self.may_answer.wait(LIMIT_S)
        return super().admit(key, now)


async def test_a_slow_register_does_not_hold_up_the_loop(pki: Pki, spawn: Spawn) -> None:
    clock = Clock()
    register = Slow(clock)
    place = Place(pki, replay=register)
    place.clock.advance(register.kept_s)
    for _ in range(2):
        await asyncio.to_thread(place.visit, spawn)
    told: list[bytes] = []

    async def handler(stream: AsyncStream) -> None:
        told.append(await stream.recv_early_data())
        await stream.sendall(b"x")
        await stream.recv()

    async with await served(place, handler) as server:
        address = server.sockets[0].getsockname()
        opening = asyncio.create_task(asyncio.wait_for(_open(place.client, address, REQUEST), LIMIT_S), name="held up")
        while not register.threads:
            await asyncio.sleep(0)
        async with place.client.open(address, server_name="localhost", purpose="") as other:  # goes on meanwhile
            assert await other.recv() == b"x"
        assert not opening.done()
        register.may_answer.set()
        early_data, answer = await opening
        assert answer == b"x"
        assert early_data.accepted
    assert REQUEST in told
    assert threading.get_ident() not in register.threads


async def _open(client: ClientContext, address: Any, early_data: bytes) -> tuple[EarlyData, bytes]:
    async with client.open(address, server_name="localhost", early_data=early_data, purpose="") as stream:
        return stream.early_data, await stream.recv()


async def test_more_early_data_may_follow_in_asyncio_and_misuse_is_told(place: Place) -> None:
    async def handler(stream: AsyncStream) -> None:
        with pytest.raises(ValueError, match="positive"):
            await stream.recv_early_data(0)
        await stream.do_handshake()
        await stream.sendall(b"x")
        await stream.recv()

    async with await served(place, handler) as server:
        address = server.sockets[0].getsockname()
        async with place.client.open(address, server_name="localhost", early_data=REQUEST, purpose="") as stream:
            assert await stream.send_early_data(b"too late for that") == 0
            assert await stream.recv() == b"x"
        with pytest.raises((UsageError, ConnectionFailed)):
            await stream.send_early_data(b"closed")


def test_a_question_that_nobody_can_answer_refuses(place: Place) -> None:
    register = ReplayRegister(MemoryStore(), domain="here")
    question = NeedAdmission(register, b"key", 0.0)
    assert question.fallback(None) is EarlyReason.REGISTER_UNAVAILABLE
    with contextlib.closing(register):
        assert question.needs_outside is False
