"""Clients whose sessions are in a file: resumed after a restart, in other processes, blocking and with asyncio."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from resumption import CacheMode, ClientContext, ServerContext
from resumption.constants import ProtocolVersion
from resumption.errors import Error
from resumption.session.fleet.client_sessions import ClientSessionStore
from tests.handshake.pairs import World
from tests.interop.ours import OurServer, our_server, visit
from tests.pki import Pki
from tests.processes import HOST, REQUEST, TIME_LIMIT

V12, V13 = ProtocolVersion.TLSv1_2, ProtocolVersion.TLSv1_3
each_version = pytest.mark.parametrize("version", [V12, V13], ids=["1.2", "1.3"])


@pytest.fixture
def server(pki: Pki) -> Iterator[OurServer]:
    leaf = pki.ecdsa_p256
    with our_server(ServerContext(leaf.chain_pem, leaf.key_pem)) as server:
        yield server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "client.db"


def client(pki: Pki, store: Any, version: ProtocolVersion = V13, **settings: Any) -> ClientContext:
    return ClientContext(
        trust=pki.trust_pem, session_store=store, minimum_version=version, maximum_version=version, **settings
    )


def blocking(context: ClientContext, port: int) -> bool:
    seen = visit(context, port)
    seen.session.free()
    return seen.resumption.resumed


async def asynchronous(context: ClientContext, port: int) -> bool:
    async with context.open((HOST, port), server_name="localhost") as stream:
        await stream.sendall(REQUEST)
        while await stream.recv(4096):
            pass
        return stream.session_reused


def of_either_kind(kind: str, context: ClientContext, port: int) -> bool:
    return blocking(context, port) if kind == "blocking" else asyncio.run(asynchronous(context, port))


@each_version
@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
def test_a_client_that_starts_again_resumes(
    pki: Pki, server: OurServer, path: Path, version: ProtocolVersion, kind: str
) -> None:
    for expected in (False, True, True):
        with client(pki, path, version) as context:
            assert of_either_kind(kind, context, server.port) is expected
            assert len(context.sessions) == 0, "kept in the file instead"
    assert [told.resumed for told in server.resumptions] == [False, True, True]


@each_version
def test_f62_contexts_that_share_a_store_never_offer_a_ticket_twice(
    pki: Pki, server: OurServer, path: Path, version: ProtocolVersion
) -> None:
    with client(pki, path, version) as first, client(pki, path, version) as second:
        assert not blocking(first, server.port)
        stored = ClientSessionStore(path)
        before = len(stored)
        assert before == (1 if version == V12 else 2)
        assert blocking(second, server.port)
        assert blocking(first, server.port)
        assert (len(stored) == 1) is (version == V12)
        stored.close()
    taken = [told.resumed for told in server.resumptions]
    assert taken == [False, True, True]


PROGRAM = """
import sys
from resumption import ClientContext
port, trust, path = int(sys.argv[1]), sys.argv[2], sys.argv[3]
with ClientContext(trust=trust, session_store=path) as client:
    with client.connect(("127.0.0.1", port), server_name="localhost", timeout=20) as stream:
        stream.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
        stream.read_all()
        print(stream.session_reused, flush=True)
        if len(sys.argv) > 4:
            sys.stdin.read()  # until it is killed
"""


def test_processes_resume_what_others_stored_even_those_that_were_killed(
    pki: Pki, server: OurServer, path: Path, tmp_path: Path
) -> None:
    trust = tmp_path / "trust.pem"
    trust.write_bytes(pki.trust_pem)
    arguments = [sys.executable, "-c", PROGRAM, str(server.port), str(trust), str(path)]
    with subprocess.Popen([*arguments, "wait"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == b"False\n"
        killed.kill()  # the connection is open, the context was never closed: what came is stored already
    done = subprocess.run(arguments, capture_output=True, timeout=TIME_LIMIT, check=True)
    assert done.stdout == b"True\n"
    assert [told.resumed for told in server.resumptions] == [False, True]


def test_f22_other_settings_find_nothing_in_the_same_file(pki: Pki, server: OurServer, path: Path) -> None:
    with client(pki, path) as one, client(pki, path, isolation="another tenant") as other:
        assert not blocking(one, server.port)
        assert not blocking(other, server.port)
        assert blocking(one, server.port)


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
def test_f60_a_damaged_store_costs_a_full_handshake_and_nothing_else(
    pki: Pki, server: OurServer, path: Path, kind: str
) -> None:
    path.write_bytes(b"damaged" * 1000)
    path.chmod(0o600)
    with client(pki, path) as context:
        for _ in range(2):
            assert of_either_kind(kind, context, server.port) is False
        assert context.session_store is not None
        assert context.session_store.stats.errors > 0


def test_f60_what_is_in_the_store_but_no_session_is_a_miss(pki: Pki, server: OurServer, path: Path) -> None:
    with client(pki, path) as context:
        assert context.session_store is not None
        key = context.config.peer_key("localhost", str(server.port))
        context.session_store.put(key, b"no session", single_use=True, made=0.0, expires_at=1e11)
        assert blocking(context, server.port) is False


def test_mode_off_keeps_nothing(pki: Pki, server: OurServer, path: Path) -> None:
    with client(pki, path, session_cache_mode=CacheMode.OFF) as context:
        blocking(context, server.port)
        assert context.session_store is not None
        assert len(context.session_store) == 0


def test_a_store_of_the_callers_stays_open(pki: Pki, server: OurServer, path: Path) -> None:
    store = ClientSessionStore(path)
    with client(pki, store) as context:
        blocking(context, server.port)
        assert context.session_store is store
    assert len(store) == 2
    store.close()


def test_the_connection_tells_how_many_tickets_are_left(pki: Pki, server: OurServer, path: Path) -> None:
    with client(pki, path) as context:
        blocking(context, server.port)
        with context.connect((HOST, server.port), server_name="localhost", timeout=TIME_LIMIT) as stream:
            assert stream.resumption is not None
            assert (stream.resumption.tickets_before, stream.resumption.tickets_left) == (2, 1)


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
def test_a_ticket_is_not_lost_when_nobody_answers(pki: Pki, server: OurServer, path: Path, kind: str) -> None:
    with client(pki, path) as context:
        blocking(context, server.port)
        store = context.session_store
        assert store is not None
        key = context.config.peer_key("localhost", str(server.port))
        before = store.count(key)

        async def fail() -> None:
            await context.open((HOST, 1), server_name="localhost", purpose=str(server.port))

        with pytest.raises(OSError, match=r"111|refused|61"):
            if kind == "blocking":
                context.connect((HOST, 1), server_name="localhost", purpose=str(server.port), timeout=5)
            else:
                asyncio.run(fail())
        assert store.count(key) == before
        assert blocking(context, server.port)


def test_the_event_loop_goes_on_while_the_file_is_locked(pki: Pki, server: OurServer, path: Path) -> None:
    """Another process that holds the file keeps a connection from resuming, not the loop from turning."""
    store = ClientSessionStore(path, busy_timeout_s=2.0)
    with client(pki, store) as context:
        blocking(context, server.port)
        threads: set[int] = set()
        plain = store.take

        def watched(peer_key: bytes) -> Any:
            threads.add(threading.get_ident())
            return plain(peer_key)

        store.take = watched  # type: ignore[method-assign]

        async def both() -> tuple[bool, int]:
            return await asynchronous(context, server.port), threading.get_ident()

        resumed, loop_thread = asyncio.run(both())
        assert resumed
        assert threads
        assert loop_thread not in threads
    store.close()


def test_f78_a_fatal_alert_in_tls_12_takes_the_session_out_of_the_file(pki: Pki, path: Path) -> None:
    world = World(pki)
    with world.client_context(session_store=path, maximum_version=V12) as context, world.server_context() as server:
        pair = world.meet(context, server).check()
        assert context.outside is not None
        assert pair.client.session is not None
        context.outside.session_issued(pair.client, pair.client.session)
        assert context.session_store is not None
        assert len(context.session_store) == 1
        with pytest.raises(Error):
            list(pair.client.receive_data(b"\x15\x03\x03\x00\x02\x02\x28" * 40))
        assert len(context.session_store) == 0
        pair.free()
