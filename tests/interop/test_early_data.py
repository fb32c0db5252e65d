"""Early data with OpenSSL and GnuTLS, in both roles: accepted, rejected, and offered twice."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from resumption import (
    ClientContext,
    EarlyData,
    EarlyReason,
    EarlyState,
    Error,
    ReplayRegister,
    ServerContext,
    Session,
    TicketKeys,
)
from resumption import openssl as face
from resumption.constants import ProtocolVersion
from resumption.streams.blocking import Stream
from resumption.streams.listener import Listener
from tests import peers
from tests.peers import HOST, REQUEST, TIME_LIMIT
from tests.pki import Pki

pytestmark = pytest.mark.interop

V13 = ProtocolVersion.TLSv1_3
ACCEPTED, REJECTED, NONE = EarlyState.ACCEPTED, EarlyState.REJECTED, EarlyState.NONE
TLS13_ONLY = "--priority=NORMAL:-VERS-ALL:+VERS-TLS1.3"


@dataclass
class Seen:
    """One connection at our server."""

    early: bytes = b""
    late: bytes = b""
    status: EarlyData = field(default_factory=EarlyData)
    resumed: bool = False


def _serve(stream: Stream, seen: Seen) -> None:
    with contextlib.suppress(OSError, Error), stream:
        while True:
            status, chunk = face.SSL_read_early_data(stream, 4)
            if status == face.SSL_READ_EARLY_DATA_FINISH:
                break
            seen.early += chunk
            face.SSL_write_early_data(stream, b"early answer\n")
        seen.status, seen.resumed = stream.early_data, stream.session_reused
        while not (seen.early + seen.late).endswith(b"\r\n\r\n"):
            chunk = stream.recv()
            if not chunk:
                return
            seen.late += chunk
        stream.sendall(b"HTTP/1.0 200 OK\r\n\r\nlate answer\n")


@contextlib.contextmanager
def our_server(pki: Pki, **settings: Any) -> Iterator[tuple[int, list[Seen]]]:
    """A server of ours that takes early data; its port, and what it saw."""
    register = ReplayRegister()
    settings = {"max_early_data": 16_384, "replay": register, "minimum_version": V13, **settings}
    context = ServerContext(pki.ecdsa_p256.chain_pem, pki.ecdsa_p256.key_pem, **settings)
    listener = Listener.bind((HOST, 0), context.connection, timeout=TIME_LIMIT)
    seen: list[Seen] = []
    threads = []

    def accept() -> None:
        with contextlib.suppress(Error, OSError):
            while True:
                stream = listener.accept()
                seen.append(Seen())
                threads.append(threading.Thread(target=_serve, args=(stream, seen[-1])))
                threads[-1].start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield int(listener.address[1]), seen
    finally:
        listener.close()
        acceptor.join(TIME_LIMIT)
        for thread in threads:
            thread.join(TIME_LIMIT)
        context.close()


def openssl(port: int, tmp_path: Path, pki: Pki, *options: str, send: bytes = b"") -> str:
    """``s_client`` with the session of the run before, until the server closes."""
    file = tmp_path / "session.pem"
    known = ("-sess_in", str(file)) if file.exists() else ()
    run = peers.openssl_client(port, "-tls1_3", *known, "-sess_out", str(file), *options, send=send, ca=pki.trust_pem)
    return run.output


def request_file(tmp_path: Path) -> str:
    file = tmp_path / "early data"
    file.write_bytes(REQUEST)
    return str(file)


def test_openssl_client_to_us(pki: Pki, tmp_path: Path) -> None:
    early = ("-early_data", request_file(tmp_path))
    with our_server(pki) as (port, seen):
        assert "Max Early Data: 16384" in openssl(port, tmp_path, pki, send=REQUEST)
        told = openssl(port, tmp_path, pki, *early)
    assert "Early data was accepted" in told
    assert "early answer" in told
    assert "late answer" in told
    assert seen[1] == Seen(REQUEST, b"", EarlyData(ACCEPTED, None, len(REQUEST)), True)


def test_openssl_client_to_us_with_another_protocol(pki: Pki, tmp_path: Path) -> None:
    with our_server(pki, alpn=("b", "a")) as (port, seen):
        openssl(port, tmp_path, pki, "-alpn", "a", send=REQUEST)
        told = openssl(port, tmp_path, pki, "-alpn", "a,b", "-early_data", request_file(tmp_path), send=REQUEST)
    assert "Early data was rejected" in told
    assert "Reused, TLSv1.3" in told
    assert seen[1] == Seen(b"", REQUEST, EarlyData(REJECTED, EarlyReason.OTHER_ALPN), True)


def test_openssl_client_to_us_where_it_is_off(pki: Pki, tmp_path: Path) -> None:
    keys = TicketKeys.generate()
    with our_server(pki, tickets=keys) as (port, _):
        openssl(port, tmp_path, pki, send=REQUEST)
    with our_server(pki, tickets=keys, max_early_data=0, replay=None) as (port, seen):
        told = openssl(port, tmp_path, pki, "-early_data", request_file(tmp_path), send=REQUEST)
    assert "Early data was rejected" in told
    assert seen[0] == Seen(b"", REQUEST, EarlyData(REJECTED, EarlyReason.OFF), True)


def test_openssl_client_to_us_where_the_application_refuses(pki: Pki, tmp_path: Path) -> None:
    names: list[str | None] = []
    refuse = {"on_allow_early_data": lambda connection, session: names.append(session.hostname)}
    with our_server(pki, **refuse) as (port, seen):
        openssl(port, tmp_path, pki, "-servername", "localhost", send=REQUEST)
        early = ("-early_data", request_file(tmp_path))
        told = openssl(port, tmp_path, pki, "-servername", "localhost", *early, send=REQUEST)
    assert "Early data was rejected" in told
    assert seen[1] == Seen(b"", REQUEST, EarlyData(REJECTED, EarlyReason.VETOED), True)
    assert names == ["localhost"]


def test_openssl_client_to_us_that_says_more_than_we_take(pki: Pki, tmp_path: Path) -> None:
    with our_server(pki, recv_max_early_data=len(REQUEST) - 1) as (port, seen):
        openssl(port, tmp_path, pki, send=REQUEST)
        told = openssl(port, tmp_path, pki, "-early_data", request_file(tmp_path), send=REQUEST)
    assert "alert unexpected message" in told
    assert seen[1].late == b""


def test_openssl_client_to_us_that_is_asked_for_another_hello(pki: Pki, tmp_path: Path) -> None:
    with our_server(pki, groups=(24,)) as (port, seen):
        openssl(port, tmp_path, pki, send=REQUEST)
        told = openssl(port, tmp_path, pki, "-early_data", request_file(tmp_path), send=REQUEST)
    assert "Early data was rejected" in told
    assert seen[1] == Seen(b"", REQUEST, EarlyData(REJECTED, EarlyReason.RETRIED), True)


def test_openssl_client_to_us_twice_with_a_ticket_that_is_spent_once(pki: Pki, tmp_path: Path) -> None:
    with our_server(pki, stateful=True) as (port, seen):
        openssl(port, tmp_path, pki, send=REQUEST)
        kept = (tmp_path / "session.pem").read_bytes()
        told = []
        for _ in range(2):
            (tmp_path / "session.pem").write_bytes(kept)
            told.append(openssl(port, tmp_path, pki, "-early_data", request_file(tmp_path), send=REQUEST))
    assert "Early data was accepted" in told[0]
    assert "Early data was rejected" in told[1]
    assert [one.resumed for one in seen] == [False, True, False]
    assert seen[2].status == EarlyData(REJECTED, EarlyReason.NOT_RESUMED)


def test_gnutls_client_to_us(pki: Pki, tmp_path: Path) -> None:
    with our_server(pki) as (port, seen):
        peers.gnutls_client(
            port,
            "-r",
            "--waitresumption",
            f"--earlydata={request_file(tmp_path)}",
            TLS13_ONLY,
            send=b"",
            ca=pki.trust_pem,
        )
    assert seen[-1].status == EarlyData(ACCEPTED, None, len(REQUEST))
    assert seen[-1].early == REQUEST
    assert seen[-1].resumed


# --- our client ------------------------------------------------------------------------------------------------------


def visit(
    client: ClientContext, port: int, *, session: Session | None = None, early: bytes = b""
) -> tuple[EarlyData, bool]:
    """Connect with early data; what became of it, and whether the session was resumed."""
    with client.connect(
        (HOST, port), server_name="localhost", session=session, timeout=TIME_LIMIT, early_data=early
    ) as s:
        return s.early_data, s.session_reused


@contextlib.contextmanager
def openssl_early(pki: Pki, *options: str) -> Iterator[peers.Peer]:
    with peers.openssl_server(
        pki.ecdsa_p256, "-tls1_3", "-early_data", "-max_early_data", "16384", "-alpn", "a", *options
    ) as server:
        yield server


def ticket(client: ClientContext, server: peers.Peer) -> Session:
    """One connection to ``s_server``, until it has said something: then its tickets are here too."""
    with client.connect((HOST, server.port), server_name="localhost", timeout=TIME_LIMIT) as stream:
        server.send(b"hello\n")
        assert stream.recv()
        session = stream.get1_session()
        assert session is not None
        assert session.max_early_data == 16_384
    return session


def test_our_client_to_openssl_and_again_with_the_same_ticket(pki: Pki) -> None:
    with openssl_early(pki) as server, ClientContext(trust=pki.trust_pem, alpn=("a",)) as client:
        session = ticket(client, server)
        status = visit(client, server.port, session=session, early=b"our early words\n")
        assert status == (EarlyData(ACCEPTED, None, 16), True)
        server.wait_for(r"^Early data received:")
        server.wait_for(r"^our early words")
        status = visit(client, server.port, session=session, early=b"our early words\n")
        assert status == (EarlyData(REJECTED, EarlyReason.NOT_RESUMED, 16), False)
        session.free()
        assert server.output.count("our early words") == 1


def test_our_client_to_openssl_that_remembers_nothing(pki: Pki) -> None:
    with openssl_early(pki, "-no_anti_replay") as server, ClientContext(trust=pki.trust_pem, alpn=("a",)) as client:
        session = ticket(client, server)
        for _ in range(2):
            status = visit(client, server.port, session=session, early=b"words\n")
            assert status == (EarlyData(ACCEPTED, None, 6), True)
        session.free()


def test_our_client_to_openssl_with_more_than_the_ticket_allows(pki: Pki) -> None:
    with openssl_early(pki) as server, ClientContext(trust=pki.trust_pem, alpn=("a",)) as client:
        ticket(client, server).free()
        status = visit(client, server.port, early=b"x" * 16_385)
    assert status == (EarlyData(NONE, EarlyReason.NOT_ALLOWED), True)


def test_our_client_to_gnutls(pki: Pki) -> None:
    options = ("--http", "--disable-client-cert", "--earlydata", "--maxearlydata=16384", TLS13_ONLY)
    with peers.gnutls_server(pki.ecdsa_p256, *options) as server, ClientContext(trust=pki.trust_pem) as client:
        with client.connect((HOST, server.port), server_name="localhost", timeout=TIME_LIMIT) as stream:
            stream.sendall(REQUEST)
            assert stream.recv()
            session = stream.get1_session()
        assert session is not None
        assert session.max_early_data == 16_384
        accepted = []
        for _ in range(2):
            with client.connect(
                (HOST, server.port),
                server_name="localhost",
                session=session,
                timeout=TIME_LIMIT,
                early_data=b"words before anything\n",
            ) as stream:
                stream.sendall(REQUEST)
                assert b"200" in stream.recv()
                accepted.append(stream.early_data)
        session.free()
    assert accepted[0] == EarlyData(ACCEPTED, None, 22)
    assert accepted[1].size == 22
