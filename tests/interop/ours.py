"""This library as a peer: a small HTTP server in a thread, and a client that asks for one page.

The page that the server sends says in its first line whether the session was resumed, in the words of OpenSSL's
``s_server -www``, so that `tests.peers.resumed` reads it like any other peer's.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from resumption import ClientContext, EarlyData, Error, ServerContext, Session
from resumption.session.verdicts import Resumption
from tests.processes import HOST, REQUEST, TIME_LIMIT

__all__ = ["OurServer", "Seen", "Visit", "our_server", "visit"]


@dataclass
class Seen:
    """One connection as our server saw it; ``stage`` is how far it came, ``error`` what ended it there."""

    stage: str = "shaking hands"
    resumption: Resumption | None = None
    leaf: bytes | None = None
    early_data: EarlyData = field(default_factory=EarlyData)
    early: bytes = b""
    error: Exception | None = None

    def __str__(self) -> str:
        """For whoever has to find out what went wrong."""
        told = f"{self.stage}; {self.resumption or 'no handshake'}"
        if self.error is not None:
            told += f"; {_chain_of(self.error)}"
        return told


def _chain_of(error: BaseException) -> str:
    """An error and what caused it, with notes."""
    parts = []
    cause: BaseException | None = error
    while cause is not None:
        parts.append(" ".join([f"{type(cause).__name__}: {cause}", *getattr(cause, "__notes__", ())]))
        cause = cause.__cause__
    return ", because of ".join(parts)


@dataclass
class OurServer:
    """A server of ours on ``port``, and what it saw: one entry a connection, in the order in which clients came."""

    port: int
    context: ServerContext
    seen: list[Seen] = field(default_factory=list)

    @property
    def errors(self) -> list[Exception]:
        """What went wrong."""
        return [entry.error for entry in self.seen if entry.error is not None]

    @property
    def resumptions(self) -> list[Resumption]:
        """How the handshakes went that were completed."""
        return [entry.resumption for entry in self.seen if entry.resumption is not None]

    @property
    def leaves(self) -> list[bytes | None]:
        """The certificates that those clients showed, or had shown."""
        return [entry.leaf for entry in self.seen if entry.resumption is not None]

    @property
    def address(self) -> tuple[str, int]:
        return HOST, self.port


def _serve(server: OurServer, sock: socket.socket, echo: bool, update_keys: bool, entry: Seen) -> None:
    try:
        with server.context.wrap(sock, timeout=TIME_LIMIT) as stream:
            while server.context.config.max_early_data and (chunk := stream.recv_early_data()):
                entry.early += chunk
            stream.do_handshake()
            assert stream.resumption is not None
            entry.early_data = stream.early_data
            entry.leaf = stream.peer_chain[0] if stream.peer_chain else None
            entry.resumption = stream.resumption
            entry.stage = "reading the request"
            request = entry.early
            while not request.endswith(b"\r\n\r\n"):
                chunk = stream.recv()
                if not chunk:
                    entry.stage = f"the client left after {len(request)} bytes of a request"
                    return
                request += chunk
                if echo:
                    stream.sendall(chunk)
            if update_keys:
                entry.stage = "updating keys"
                stream.update_keys(request_peer=True)
            entry.stage = "sending the page"
            word = "Reused" if stream.session_reused else "New"
            stream.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n")
            stream.sendall(f"{word}, page of {stream.cipher}: {stream.resumption}\n".encode())
            entry.stage = "closing"
        entry.stage = "closed after the page"
    except Exception as error:
        entry.error = error
        if not isinstance(error, Error | OSError):
            raise


@contextlib.contextmanager
def our_server(context: ServerContext, *, echo: bool = False, update_keys: bool = False) -> Iterator[OurServer]:
    """Serve until the block ends. Each connection has a thread; all of them have ended then."""
    listener = socket.create_server((HOST, 0))
    server = OurServer(listener.getsockname()[1], context)
    threads: list[threading.Thread] = []
    stopping = threading.Event()

    def accept() -> None:
        while True:
            sock, _ = listener.accept()
            if stopping.is_set():
                sock.close()
                return
            server.seen.append(Seen())
            thread = threading.Thread(target=_serve, args=(server, sock, echo, update_keys, server.seen[-1]))
            threads.append(thread)
            thread.start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield server
    finally:
        stopping.set()
        socket.create_connection(server.address, TIME_LIMIT).close()
        acceptor.join(TIME_LIMIT)
        for thread in threads:
            thread.join(TIME_LIMIT)
        listener.close()
        context.close()


@dataclass(frozen=True)
class Visit:
    """One connection of our client: the page, how the handshake went, and a session (the caller's to free)."""

    page: str
    resumption: Resumption
    cipher: str
    session: Session


def visit(
    client: ClientContext,
    port: int,
    *,
    session: Session | None = None,
    name: str = "localhost",
    request: bytes = REQUEST,
) -> Visit:
    """Ask for one page and read it to the end, tickets and all."""
    with client.connect((HOST, port), server_name=name, session=session, timeout=TIME_LIMIT) as stream:
        stream.sendall(REQUEST)
        page = stream.read_all().decode("utf-8", "replace")
        assert stream.resumption is not None
        assert stream.cipher is not None
        taken = stream.get1_session()
        assert taken is not None
        return Visit(page, stream.resumption, stream.cipher, taken)
