"""Python's own ssl as a peer: a server in a thread, and a client. See `tests.peers`, which offers these names too."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from tests.processes import HOST, REQUEST, TIME_LIMIT, Credential, PeerError, folder, write_file

Setup = Callable[[ssl.SSLContext], object]


@dataclass(frozen=True)
class Served:
    """One connection as an `ssl_server` saw it; ``error`` is None if it went well to the end."""

    resumed: bool | None = None
    version: str | None = None
    cipher: str | None = None
    alpn: str | None = None
    peer_certificate: bytes | None = None  # DER
    received: bytes = b""
    error: str | None = None


Answer = Callable[[ssl.SSLSocket], bytes]  # reads what it wants, answers, returns what it read


def answer_request(connection: ssl.SSLSocket) -> bytes:
    """Read one request and answer with a page like that of ``s_server -www``: ``New, TLSv1.3, Cipher is ...``."""
    received = b""
    while b"\r\n\r\n" not in received and (data := connection.recv(4096)):
        received += data
    cipher = connection.cipher()
    word = "Reused" if connection.session_reused else "New"
    line = f"{word}, {connection.version()}, Cipher is {cipher[0] if cipher else 'none'}\n"
    connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n" + line.encode())
    return received


@dataclass
class SslPeer:
    """A server in a thread of this process, one connection at a time; ``served`` tells of each."""

    port: int
    context: ssl.SSLContext
    served: list[Served] = field(default_factory=list)
    news: threading.Condition = field(default_factory=threading.Condition)

    @property
    def address(self) -> tuple[str, int]:
        return HOST, self.port

    def wait_served(self, count: int = 1, *, limit: float = TIME_LIMIT) -> Served:
        """The ``count``-th connection, once it has ended."""
        with self.news:
            if not self.news.wait_for(lambda: len(self.served) >= count, limit):
                raise PeerError(f"{len(self.served)} of {count} connections ended within {limit:g} s: {self.served}")
            return self.served[count - 1]


@contextlib.contextmanager
def ssl_server(
    leaf: Credential,
    setup: Setup | None = None,
    *,
    ca: bytes | None = None,
    answer: Answer = answer_request,
) -> Iterator[SslPeer]:
    """A server made of Python's ssl. ``setup`` may change its context before the first connection.

    ``ca`` (PEM) is loaded for client certificates; ask for them in ``setup`` (``verify_mode``).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with folder() as directory:
        context.load_cert_chain(
            write_file(directory, "chain.pem", leaf.chain_pem), write_file(directory, "leaf.key", leaf.key_pem)
        )
    if ca is not None:
        context.load_verify_locations(cadata=ca.decode("ascii"))
    if setup is not None:
        setup(context)
    with socket.create_server((HOST, 0)) as listener:
        peer = SslPeer(listener.getsockname()[1], context)
        over = threading.Event()
        thread = threading.Thread(target=_serve, args=(listener, peer, answer, over), name="ssl_server", daemon=True)
        thread.start()
        try:
            yield peer
        finally:
            over.set()
            with contextlib.suppress(OSError):  # wakes accept
                socket.create_connection(peer.address, timeout=1).close()
            thread.join(TIME_LIMIT)


def _serve(listener: socket.socket, peer: SslPeer, answer: Answer, over: threading.Event) -> None:
    while True:
        plain, _ = listener.accept()
        if over.is_set():
            plain.close()
            return
        plain.settimeout(TIME_LIMIT)
        served = _serve_one(plain, peer.context, answer)
        with peer.news:
            peer.served.append(served)
            peer.news.notify_all()


def _serve_one(plain: socket.socket, context: ssl.SSLContext, answer: Answer) -> Served:
    served = Served()
    with plain:
        try:
            with context.wrap_socket(plain, server_side=True) as connection:
                cipher = connection.cipher()
                served = Served(
                    resumed=connection.session_reused,
                    version=connection.version(),
                    cipher=cipher[0] if cipher else None,
                    alpn=connection.selected_alpn_protocol(),
                    peer_certificate=connection.getpeercert(binary_form=True),
                )
                served = replace(served, received=answer(connection))
                with contextlib.suppress(OSError):  # a client may close without waiting for close_notify
                    connection.unwrap().close()
        except OSError as error:  # ssl.SSLError is one
            served = replace(served, error=f"{type(error).__name__}: {error}")
    return served


def ssl_client_context(ca: bytes, setup: Setup | None = None, certificate: Credential | None = None) -> ssl.SSLContext:
    """A verifying client context; sessions only resume on the context that they were made with."""
    context = ssl.create_default_context(cadata=ca.decode("ascii"))
    if certificate is not None:
        with folder() as directory:
            context.load_cert_chain(
                write_file(directory, "chain.pem", certificate.chain_pem),
                write_file(directory, "leaf.key", certificate.key_pem),
            )
    if setup is not None:
        setup(context)
    return context


@dataclass(frozen=True)
class SslRun:
    """One connection of `ssl_client`. ``session`` was read after the data, when a TLS 1.3 ticket has come."""

    resumed: bool | None
    version: str | None
    cipher: str | None
    alpn: str | None
    session: ssl.SSLSession | None
    received: bytes


def ssl_client(
    port: int,
    context: ssl.SSLContext,
    *,
    session: ssl.SSLSession | None = None,
    send: bytes = REQUEST,
    name: str = "localhost",
    limit: float = TIME_LIMIT,
) -> SslRun:
    """Python's ssl as a client: send ``send`` and read until close_notify."""
    received = b""
    with (
        socket.create_connection((HOST, port), timeout=limit) as plain,
        context.wrap_socket(plain, server_hostname=name, session=session) as connection,
    ):
        connection.sendall(send)
        while data := connection.recv(1 << 16):
            received += data
        cipher = connection.cipher()
        return SslRun(
            connection.session_reused,
            connection.version(),
            cipher[0] if cipher else None,
            connection.selected_alpn_protocol(),
            connection.session,
            received,
        )


def only_version(version: ssl.TLSVersion) -> Setup:
    """A ``setup`` for one protocol version."""

    def setup(context: ssl.SSLContext) -> None:
        context.minimum_version = context.maximum_version = version

    return setup
