"""Servers that share sessions through real stores: any of them resumes, and none is harmed by the store's troubles."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from resumption import ClientContext, Reason, ServerContext, Session, StoreLimits, TicketKeys
from resumption.adapters.metrics import SessionCollector
from resumption.constants import ExtensionType
from resumption.session.stores.breaker import BreakerChange, BreakerState
from resumption.session.verdicts import Mechanism, Resumption
from resumption.streams.aio import AsyncStream
from tests.pki import Pki
from tests.processes import HOST
from tests.store_servers import Server, memcached_server, redis_cluster, redis_server, until

SECRET = bytes(range(3, 67))
TLS12, TLS13 = 0x0303, 0x0304
SERVERS: dict[str, Callable[[], Any]] = {
    "redis": redis_server,
    "cluster": redis_cluster,
    "memcached": memcached_server,
}
PATIENT = StoreLimits(timeout_s=10.0)
MECHANISMS = (Mechanism.SESSION_ID, Mechanism.STATEFUL_13)

each_mechanism = pytest.mark.parametrize("mechanism", MECHANISMS, ids=lambda mechanism: mechanism.label)


@pytest.fixture(scope="module")
def running() -> Iterator[dict[str, Server]]:
    """One server of each kind, for all tests that do not harm it."""
    with contextlib.ExitStack() as stack:
        yield {kind: stack.enter_context(make()) for kind, make in SERVERS.items()}


@pytest.fixture(params=["sqlite", *SERVERS])
def url(request: pytest.FixtureRequest, running: dict[str, Server], tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite://{tmp_path}/sessions.db"
    running[request.param].flush()
    return running[request.param].url


class Fleet:
    """Contexts of servers and clients, closed at the end."""

    def __init__(self, pki: Pki) -> None:
        self.pki = pki
        self.contexts: list[ServerContext | ClientContext] = []
        self.streams: list[Any] = []

    def server(self, url: str, mechanism: Mechanism, **settings: Any) -> ServerContext:
        versions: dict[str, Any] = (
            {"minimum_version": TLS13, "stateful": True}
            if mechanism is Mechanism.STATEFUL_13
            else {"maximum_version": TLS12}
        )
        leaf = self.pki.ecdsa_p256
        context = ServerContext(
            leaf.chain_pem,
            leaf.key_pem,
            tickets=TicketKeys.from_secret(SECRET),
            store=url,
            **{"store_limits": PATIENT, **versions, **settings},
        )
        self.contexts.append(context)
        return context

    def client(self, mechanism: Mechanism) -> ClientContext:
        context = ClientContext(trust=self.pki.trust_pem)
        if mechanism is Mechanism.SESSION_ID:  # a client without RFC 5077
            context.config.hello_extensions.pop(int(ExtensionType.session_ticket))
        self.contexts.append(context)
        return context

    def meet(self, client: ClientContext, server: ServerContext, session: Session | None = None) -> Resumption:
        """One connection over a socket, and a byte each way; what the server says of it."""
        ours, theirs = socket.socketpair()
        told: list[Any] = []

        def serve() -> None:
            with server.wrap(theirs, timeout=20) as stream:
                stream.sendall(stream.recv())
                told.append(stream.connection.resumption)

        thread = threading.Thread(target=serve)
        thread.start()
        from resumption.streams.blocking import Stream

        with Stream(ours, client.connection("localhost", session=session), timeout=20) as stream:
            stream.sendall(b"x")
            assert stream.recv() == b"x"
        thread.join(20)
        (resumption,) = told
        assert isinstance(resumption, Resumption)
        return resumption

    def settle(self) -> None:
        for context in self.contexts:
            if isinstance(context, ServerContext) and context.outside is not None:
                assert context.outside.sessions.flush(10)


@pytest.fixture
def fleet(pki: Pki) -> Iterator[Fleet]:
    fleet = Fleet(pki)
    yield fleet
    for context in fleet.contexts:
        context.close()


# --- resumption ------------------------------------------------------------------------------------------------------


@each_mechanism
def test_f77_any_server_resumes_what_another_one_made(fleet: Fleet, url: str, mechanism: Mechanism) -> None:
    servers = [fleet.server(url, mechanism) for _ in range(3)]
    client = fleet.client(mechanism)
    results = []
    for number in range(9):
        results.append(fleet.meet(client, servers[number % 3]))
        fleet.settle()
    assert [result.resumed for result in results] == [False] + [True] * 8
    assert {result.mechanism for result in results[1:]} == {mechanism}
    totals = [server.stats() for server in servers]
    assert sum(stats.full for stats in totals) == 1
    assert sum(stats.resumed.get(mechanism.label, 0) for stats in totals) == 8


@each_mechanism
def test_f77_a_client_that_returns_at_once_is_known_elsewhere(fleet: Fleet, url: str, mechanism: Mechanism) -> None:
    """Nobody waits for the queue here but the servers themselves."""
    limits = StoreLimits(timeout_s=10.0, write_wait_s=10.0)
    servers = [fleet.server(url, mechanism, store_limits=limits) for _ in range(2)]
    client = fleet.client(mechanism)
    results = [fleet.meet(client, servers[number % 2]).resumed for number in range(12)]
    assert results == [False] + [True] * 11


def test_f85_of_servers_that_are_asked_at_once_one_spends_a_ticket(fleet: Fleet, url: str) -> None:
    mechanism = Mechanism.STATEFUL_13
    servers = [fleet.server(url, mechanism) for _ in range(4)]
    client = fleet.client(mechanism)
    fleet.meet(client, servers[0])
    fleet.settle()
    (session, *_) = list(client.sessions)
    copies = [Session.from_packed(session.to_packed()) for _ in servers]
    clients = [fleet.client(mechanism) for _ in servers]
    results: list[Resumption] = []
    threads = [
        threading.Thread(target=lambda one=one: results.append(fleet.meet(*one)))  # type: ignore[misc]
        for one in zip(clients, servers, copies, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(results) == 4
    assert sum(result.resumed for result in results) == 1
    assert [result.reason for result in results if not result.resumed] == [Reason.UNKNOWN] * 3
    for copy in copies:
        copy.free()


def test_a_fetched_tls12_session_is_kept_here_too_and_the_store_is_spared(fleet: Fleet, url: str) -> None:
    one, two = fleet.server(url, Mechanism.SESSION_ID), fleet.server(url, Mechanism.SESSION_ID)
    client = fleet.client(Mechanism.SESSION_ID)
    fleet.meet(client, one)
    fleet.settle()
    for _ in range(4):
        assert fleet.meet(client, two).resumed
    report = two.stats().store
    assert report is not None
    assert report.sessions["hits"] == 1
    assert two.stats().counters["cb_hits"] == 1
    assert two.stats().counters["hits"] == 4


WORKER = """
import socket, sys
from resumption import ServerContext, TicketKeys, StoreLimits
url, certificate, key, mechanism = sys.argv[1:]
versions = {"minimum_version": 0x0304, "stateful": True} if mechanism == "stateful-13" else {"maximum_version": 0x0303}
context = ServerContext(certificate, key, tickets=TicketKeys.from_secret(bytes(range(3, 67))), store=url,
                        store_limits=StoreLimits(timeout_s=10.0), **versions)
with context.listen(("127.0.0.1", 0), timeout=20) as listener:
    print(listener.address[1], flush=True)
    while sys.stdin.readline():
        with listener.accept() as stream:
            stream.sendall(stream.recv())
        context.outside.sessions.flush(10)
        print(stream.connection.session_reused, flush=True)
context.close()
"""


@pytest.mark.parametrize(
    ("url", "mechanism"), [("sqlite", Mechanism.STATEFUL_13), ("redis", Mechanism.SESSION_ID)], indirect=["url"]
)
def test_processes_share_sessions(fleet: Fleet, url: str, mechanism: Mechanism, tmp_path: Path) -> None:
    leaf = fleet.pki.ecdsa_p256
    (tmp_path / "chain.pem").write_bytes(leaf.chain_pem)
    (tmp_path / "key.pem").write_bytes(leaf.key_pem)
    command = [sys.executable, "-c", WORKER, url, str(tmp_path / "chain.pem"), str(tmp_path / "key.pem")]
    workers = [
        subprocess.Popen([*command, mechanism.label], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    client = fleet.client(mechanism)
    try:
        ports = [int(worker.stdout.readline()) for worker in workers if worker.stdout]
        said = []
        for number in range(6):
            worker, port = workers[number % 2], ports[number % 2]
            assert worker.stdin is not None
            assert worker.stdout is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
            with client.connect((HOST, port), server_name="localhost", purpose="", timeout=20) as stream:
                stream.sendall(b"x")
                assert stream.recv() == b"x"
            said.append(worker.stdout.readline().strip())
        assert said == ["False"] + ["True"] * 5
    finally:
        for worker in workers:
            worker.communicate(timeout=20)


# --- asyncio ---------------------------------------------------------------------------------------------------------


async def echo(stream: AsyncStream) -> None:
    await stream.sendall(await stream.recv())


async def meet_async(client: ClientContext, port: int) -> bool:
    async with client.open((HOST, port), server_name="localhost", purpose="") as stream:
        await stream.sendall(b"x")
        assert await stream.recv() == b"x"
        return stream.connection.session_reused


@each_mechanism
async def test_asyncio_servers_await_the_store(fleet: Fleet, url: str, mechanism: Mechanism) -> None:
    limits = StoreLimits(timeout_s=10.0, write_wait_s=10.0)
    servers = [fleet.server(url, mechanism, store_limits=limits) for _ in range(2)]
    client = fleet.client(mechanism)
    async with await servers[0].serve(echo, (HOST, 0)) as one, await servers[1].serve(echo, (HOST, 0)) as two:
        ports = [server.sockets[0].getsockname()[1] for server in (one, two)]
        said = [await meet_async(client, ports[number % 2]) for number in range(6)]
    assert said == [False] + [True] * 5


async def test_a_store_that_hangs_does_not_stop_the_loop(fleet: Fleet) -> None:
    with redis_server() as running:
        server = fleet.server(running.url, Mechanism.STATEFUL_13, store_limits=StoreLimits(timeout_s=0.2))
        client = fleet.client(Mechanism.STATEFUL_13)
        async with await server.serve(echo, (HOST, 0)) as served:
            port = served.sockets[0].getsockname()[1]
            await meet_async(client, port)
            await asyncio.to_thread(fleet.settle)
            pid = running.processes[0]._popen.pid
            os.kill(pid, signal.SIGSTOP)
            try:
                waiting = asyncio.ensure_future(meet_async(client, port))
                gaps, last = [], time.monotonic()
                while not waiting.done():
                    await asyncio.sleep(0)
                    gaps.append(time.monotonic() - last)
                    last = time.monotonic()
                assert waiting.result() is False
            finally:
                os.kill(pid, signal.SIGCONT)
            assert max(gaps) < 0.15, "the loop stood still"
    assert server.stats().reasons == {"not-offered": 1, "store-unavailable": 1} or server.stats().reasons == {
        "store-unavailable": 1
    }


# --- trouble ---------------------------------------------------------------------------------------------------------


@each_mechanism
def test_f74_a_frozen_store_costs_the_budget_then_nothing_and_recovers(fleet: Fleet, mechanism: Mechanism) -> None:
    """Five handshakes pay the deadline; then the breaker is open, and later it closes by itself."""
    changes: list[BreakerChange] = []
    with redis_server() as running:
        server = fleet.server(
            running.url,
            mechanism,
            store_limits=StoreLimits(timeout_s=0.1, probe_every_s=0.3, negative_s=0.0),
            on_store_change=changes.append,
            session_cache_mode=0,
        )
        client = fleet.client(mechanism)
        fleet.meet(client, server)
        fleet.settle()
        pid = running.processes[0]._popen.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            session = next(iter(client.sessions)).up_ref()
            reasons, spared = [], []
            for _ in range(30):
                opened = bool(changes)
                started = time.monotonic()
                reasons.append(fleet.meet(client, server, session).reason)
                if opened:
                    spared.append(time.monotonic() - started)
            session.free()
        finally:
            os.kill(pid, signal.SIGCONT)
        assert set(reasons) == {Reason.STORE_UNAVAILABLE}
        assert sorted(spared)[len(spared) // 2] < 0.1, "nobody waits any more"
        report = server.stats().store
        assert report is not None
        assert report.calls["timed_out"] <= 5
        assert report.calls["refused_open"] >= 25
        assert changes[0].after is BreakerState.OPEN

        def closes() -> bool:
            fleet.meet(client, server)
            return changes[-1].after is BreakerState.CLOSED

        until(closes, "closed again")
        fleet.settle()
        fleet.meet(client, server)
        fleet.settle()
        assert fleet.meet(client, server).resumed


@pytest.mark.parametrize("trouble", ["down from the start", "killed", "wrong password", "not a store"])
def test_f74_whatever_the_store_does_every_handshake_succeeds(fleet: Fleet, trouble: str) -> None:
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(redis_server())
        url = running.url
        if trouble == "wrong password":
            url = url.replace("://", "://nobody:secret@")
        elif trouble == "not a store":
            silent = stack.enter_context(socket.create_server((HOST, 0)))
            url = f"redis://{HOST}:{silent.getsockname()[1]}"
        elif trouble == "down from the start":
            running.processes[0].stop()
        server = fleet.server(url, Mechanism.STATEFUL_13, store_limits=StoreLimits(timeout_s=0.05))
        client = fleet.client(Mechanism.STATEFUL_13)
        fleet.meet(client, server)
        if trouble == "killed":
            running.processes[0].stop()
        for _ in range(12):
            fleet.meet(client, server)
        stranger = fleet.client(Mechanism.STATEFUL_13)
        assert fleet.meet(stranger, server).reason is Reason.NOT_OFFERED
        stats = server.stats()
        assert stats.full + stats.resumed.get("stateful-13", 0) == 14
        assert stats.store is not None
        assert stats.store.queue_length + stats.store.calls["write_failures"] > 0


def test_f78_a_fatal_alert_in_tls12_ends_the_session_in_the_store_too(fleet: Fleet, url: str) -> None:
    one, two = fleet.server(url, Mechanism.SESSION_ID), fleet.server(url, Mechanism.SESSION_ID)
    client = fleet.client(Mechanism.SESSION_ID)
    fleet.meet(client, one)
    fleet.settle()
    session = next(iter(client.sessions)).up_ref()
    connection = one.connection()
    end = client.connection("localhost", session=session)
    while not (end.handshake_complete and connection.handshake_complete):
        list(connection.receive_data(end.data_to_send()))
        list(end.receive_data(connection.data_to_send()))
    end.send_data(b"x")
    data = end.data_to_send()
    with pytest.raises(Exception, match="record"):
        list(connection.receive_data(data[:-1] + bytes([data[-1] ^ 1])))
    fleet.settle()
    copy = Session.from_packed(session.to_packed())
    again = fleet.meet(fleet.client(Mechanism.SESSION_ID), two, copy)
    assert not again.resumed
    assert again.reason is Reason.UNKNOWN
    copy.free()
    session.free()
    connection.free()
    end.free()


# --- what is told ----------------------------------------------------------------------------------------------------


def metrics_of(*contexts: ServerContext | ClientContext) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(SessionCollector(*contexts))
    lines = generate_latest(registry).decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def test_statistics_logs_metrics_and_connections_agree(
    fleet: Fleet, running: dict[str, Server], caplog: pytest.LogCaptureFixture
) -> None:
    """After a mixed workload: full, resumed, expired, unknown, foreign, fresh, and a store that is down for a while."""
    running["redis"].flush()
    url = running["redis"].url
    server = fleet.server(url, Mechanism.STATEFUL_13, name="mixed", store_limits=PATIENT)
    other = fleet.server(url, Mechanism.STATEFUL_13, name="other", host_rule="another")
    client = fleet.client(Mechanism.STATEFUL_13)
    seen: list[Resumption] = []
    with caplog.at_level(logging.INFO, "resumption"):
        for _ in range(4):
            seen.append(fleet.meet(client, server))
            fleet.settle()
        seen.append(fleet.meet(fleet.client(Mechanism.STATEFUL_13), server))
        foreign = fleet.client(Mechanism.STATEFUL_13)
        fleet.meet(foreign, other)
        fleet.settle()
        seen.append(fleet.meet(foreign, server))
        session = next(iter(client.sessions))
        copies = [Session.from_packed(session.to_packed()) for _ in range(2)]
        seen += [fleet.meet(fleet.client(Mechanism.STATEFUL_13), server, copy) for copy in copies]
        guard = server.outside.sessions.guard  # type: ignore[union-attr]
        for _ in range(5):
            guard.breaker.failed("test")
        seen.append(fleet.meet(client, server))
        for copy in copies:
            copy.free()
    resumed = sum(one.resumed for one in seen)
    reasons: dict[str, int] = {}
    for one in seen:
        if one.reason is not None:
            reasons[str(one.reason)] = reasons.get(str(one.reason), 0) + 1
    assert resumed == 4
    assert reasons["unknown"] == 2
    assert reasons["store-unavailable"] == 1
    stats = server.stats()
    assert stats.resumed == {"stateful-13": resumed}
    assert stats.full == len(seen) - resumed
    assert stats.reasons == reasons
    assert stats.counters["accept_good"] == len(seen)

    mine = [record for record in caplog.records if getattr(record, "context", None) == "mixed"]
    assert [record.resumed for record in mine] == [one.resumed for one in seen]  # type: ignore[attr-defined]
    assert [record.reason for record in mine] == [None if one.reason is None else str(one.reason) for one in seen]  # type: ignore[attr-defined]
    assert [str(one) in record.getMessage() for one, record in zip(seen, mine, strict=True)] == [True] * len(seen)
    assert [record.name for record in caplog.records if "breaker" in record.getMessage()] == ["resumption.store"]

    told = metrics_of(server, other, client)
    labels = 'context="mixed",'
    at = 'context="mixed",role="server"'
    assert told[f'resumption_handshakes_resumed_total{{{labels}mechanism="stateful-13",role="server"}}'] == resumed
    assert told[f"resumption_handshakes_full_total{{{at}}}"] == len(seen) - resumed
    for reason, number in reasons.items():
        assert told[f'resumption_handshakes_declined_total{{{labels}reason="{reason}",role="server"}}'] == number
    for name, number in stats.counters.items():
        if name != "number":
            assert told[f'resumption_session_events_total{{{labels}event="{name}",role="server"}}'] == number
    report = stats.store
    assert report is not None
    for event, number in report.sessions.items():
        assert told[f'resumption_store_sessions_total{{context="mixed",event="{event}"}}'] == number
    for result in ("answered", "failed", "timed_out", "refused_open", "refused_busy"):
        assert told[f'resumption_store_lookups_total{{context="mixed",result="{result}"}}'] == report.calls[result]
    assert told['resumption_store_breaker{context="mixed",state="open"}'] == 1
    assert told['resumption_store_breaker{context="mixed",state="closed"}'] == 0
    assert told['resumption_store_breaker_opened_total{context="mixed"}'] == 1
    assert told['resumption_store_lookup_seconds_count{context="mixed"}'] == report.calls["answered"]
    assert told['resumption_store_limit{context="mixed",limit="in_flight"}'] == 64
    assert report.sessions["hits"] + report.sessions["misses"] + report.sessions["store_errors"] == 7
    assert report.sessions["saved"] == report.calls["queued"]


def test_logging_is_silent_unless_it_is_asked_for(tmp_path: Path) -> None:
    program = (
        "import resumption, logging\n"
        "logging.getLogger('resumption.store').warning('loud')\n"
        "print(resumption.__name__)\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert (ran.stdout, ran.stderr) == ("resumption\n", "")


# --- what the store sees ---------------------------------------------------------------------------------------------


class Recorder:
    """A proxy that remembers every byte that went through it."""

    def __init__(self, port: int) -> None:
        self.seen = bytearray()
        self._target = port
        self._listener = socket.create_server((HOST, 0))
        self.port = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = [self._listener]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                ours = self._listener.accept()[0]
                theirs = socket.create_connection((HOST, self._target))
                self._sockets += (ours, theirs)
                for pair in ((ours, theirs), (theirs, ours)):
                    self._threads.append(threading.Thread(target=self._copy, args=pair))
                    self._threads[-1].start()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                self.seen += data
                target.sendall(data)

    def close(self) -> None:
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for sock in self._sockets:
            sock.close()


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data) - size + 1, size)]


@pytest.mark.parametrize("kind", ["sqlite", "redis", "memcached"])
@each_mechanism
def test_f76_a_store_sees_no_id_no_secret_no_name_and_no_certificate(
    pki: Pki, fleet: Fleet, running: dict[str, Server], kind: str, mechanism: Mechanism, tmp_path: Path
) -> None:
    """With client certificates, so that the sessions hold a chain."""
    recorder = None
    if kind == "sqlite":
        url = f"sqlite://{tmp_path}/sessions.db"
    else:
        running[kind].flush()
        recorder = Recorder(running[kind].port)
        url = f"{kind}://{HOST}:{recorder.port}"
    leaf, identity = pki.ecdsa_p256, pki.client
    server = fleet.server(
        url, mechanism, client_auth="required", trust=pki.trust_pem, session_id_context=b"context-of-the-service"
    )
    client = ClientContext(trust=pki.trust_pem, certificate=identity.chain_pem, private_key=identity.key_pem)
    fleet.contexts.append(client)
    if mechanism is Mechanism.SESSION_ID:
        client.config.hello_extensions.pop(int(ExtensionType.session_ticket))
    issued: list[tuple[bytes, bytes]] = []
    server.on_new_session = lambda connection, session: issued.append((session.id, session.secret))
    for _ in range(3):
        fleet.meet(client, server)
        fleet.settle()
    assert client.stats().counters["hits"] == 2
    assert issued
    if recorder is None:
        seen = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.name.startswith("sessions.db"))
    else:
        seen = bytes(recorder.seen)
    assert b"resumption:s:" in seen, "the control: this is what the store saw"
    told = seen.lower()
    for session_id, secret in issued:
        for part in (*pieces(session_id, 8), *pieces(secret, 8)):
            assert part not in seen
            assert part.hex().encode() not in told
    for text in (b"localhost", b"client.test", b"context-of-the-service", b"CERTIFICATE"):
        assert text.lower() not in told
    for certificate in (*leaf.chain_der, *identity.chain_der):
        for part in pieces(certificate, 12):
            assert part not in seen or len(set(part)) < 6  # zeros are everywhere
    if recorder is not None:
        server.close()
        recorder.close()
