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

from resumption import ClientContext, Error, ServerContext, Session
from resumption.session.verdicts import Resumption
from tests.processes import HOST, REQUEST, TIME_LIMIT

__all__ = ["OurServer", "Visit", "our_server", "visit"]


@dataclass
class OurServer:
    """A server of ours on ``port``, and what it saw: one entry a connection, in order."""

    port: int
    context: ServerContext
    seen: list[list[tuple[Resumption, bytes | None]]] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)

    @property
    def resumptions(self) -> list[Resumption]:
        """How the handshakes went that were completed, in the order in which the clients came."""
        return [resumption for entry in self.seen for resumption, _ in entry]

    @property
    def leaves(self) -> list[bytes | None]:
        """The certificates that those clients showed, or had shown."""
        return [leaf for entry in self.seen for _, leaf in entry]

    @property
    def address(self) -> tuple[str, int]:
        return HOST, self.port


def _serve(
    server: OurServer, sock: socket.socket, echo: bool, update_keys: bool, entry: list[tuple[Resumption, bytes | None]]
) -> None:
    try:
        with server.context.wrap(sock, timeout=TIME_LIMIT) as stream:
            stream.do_handshake()
            assert stream.resumption is not None
            entry.append((stream.resumption, stream.peer_chain[0] if stream.peer_chain else None))
            request = b""
            while not request.endswith(b"\r\n\r\n"):
                chunk = stream.recv()
                if not chunk:
                    return
                request += chunk
                if echo:
                    stream.sendall(chunk)
            if update_keys:
                stream.update_keys(request_peer=True)
            word = "Reused" if stream.session_reused else "New"
            stream.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n")
            stream.sendall(f"{word}, page of {stream.cipher}: {stream.resumption}\n".encode())
    except (Error, OSError) as error:
        server.errors.append(error)


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
            server.seen.append([])
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
