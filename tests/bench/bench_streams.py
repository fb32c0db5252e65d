"""What streams cost over loopback, beside the standard library's: megabytes for each second of processor time.

Run it with ``python tests/bench/bench_streams.py [megabytes]``. The two ends are two new processes, and each counts its
own time, so that a busy machine disturbs less; all contenders use TLS_AES_128_GCM_SHA256 or what OpenSSL prefers, which
costs it nearly the same. The last line of the table is the plainer way to do what the asyncio stream does: a protocol
that is given bytes, instead of filling a shared buffer. Below it stand small messages.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.pki import Pki

from resumption.config import ClientConfig, ServerConfig
from resumption.connection import Connection
from resumption.crypto.certificates import CertifiedKey
from resumption.crypto.trust import TrustStore
from resumption.streams import aio
from resumption.streams.aio import AsyncStream
from resumption.streams.blocking import Stream
from resumption.streams.link import Link

ROUNDS = 3
BLOCK = bytes(1 << 20)
SMALL = bytes(100)

if sys.argv[1:2] == ["side"]:  # one end of a transfer, made by `transfer`
    folder = Path(sys.argv[5])
    chain, key, root = folder / "leaf-chain.pem", folder / "leaf.key", folder / "leaf-root.pem"
else:
    temporary = tempfile.TemporaryDirectory()
    folder = Path(temporary.name)
    chain, key, root = Pki().ecdsa_p256.write(folder)
server_config = ServerConfig(certified_keys=(CertifiedKey.load(chain, key),))
client_config = ClientConfig(trust=TrustStore.load(root))
ssl_server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
ssl_server.load_cert_chain(chain, key)
ssl_client = ssl.create_default_context(cafile=str(root))


def client() -> Connection:
    return Connection(client_config, server_name="localhost")


def server() -> Connection:
    return Connection(server_config)


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        first = socket.create_connection(listening.getsockname())
        second, _ = listening.accept()
    for sock in (first, second):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return first, second


# --- a transfer in one direction: each function returns its megabytes for each second of processor time ---------------


def rate(size: int, since: float) -> float:
    return size / (time.process_time() - since) / 1e6


def send_blocking(sock: socket.socket, size: int) -> float:
    stream = Stream(sock, server())
    stream.do_handshake()
    since = time.process_time()
    for _ in range(size >> 20):
        stream.sendall(BLOCK)
    result = rate(size, since)
    stream.close()
    return result


def receive_blocking(sock: socket.socket, size: int) -> float:
    with Stream(sock, client()) as stream:
        stream.do_handshake()
        since = time.process_time()
        assert sum(map(len, stream)) == size
        return rate(size, since)


def send_ssl(sock: socket.socket, size: int) -> float:
    with ssl_server.wrap_socket(sock, server_side=True) as stream:
        since = time.process_time()
        for _ in range(size >> 20):
            stream.sendall(BLOCK)
        return rate(size, since)


def receive_ssl(sock: socket.socket, size: int) -> float:
    with ssl_client.wrap_socket(sock, server_hostname="localhost") as stream:
        since = time.process_time()
        assert sum(map(len, iter(lambda: stream.recv(1 << 16), b""))) == size
        return rate(size, since)


async def send_asyncio(sock: socket.socket, size: int) -> float:
    stream = AsyncStream(server())
    await asyncio.get_running_loop().create_connection(lambda: stream.link, sock=sock)
    await stream.do_handshake()
    since = time.process_time()
    for _ in range(size >> 20):
        await stream.sendall(BLOCK)
    await stream.close()
    return rate(size, since)


async def receive_asyncio(sock: socket.socket, size: int) -> float:
    stream = AsyncStream(client())
    await asyncio.get_running_loop().create_connection(lambda: stream.link, sock=sock)
    await stream.do_handshake()
    since, received = time.process_time(), 0
    async for data in stream:
        received += len(data)
    assert received == size
    result = rate(size, since)
    await stream.close()
    return result


async def send_asyncio_ssl(sock: socket.socket, size: int) -> float:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await loop.connect_accepted_socket(lambda: protocol, sock, ssl=ssl_server)
    writer = asyncio.StreamWriter(transport, protocol, reader, loop)
    since = time.process_time()
    for _ in range(size >> 20):
        writer.write(BLOCK)
        await writer.drain()
    result = rate(size, since)
    writer.close()
    await writer.wait_closed()
    return result


async def receive_asyncio_ssl(sock: socket.socket, size: int) -> float:
    reader, writer = await asyncio.open_connection(sock=sock, ssl=ssl_client, server_hostname="localhost")
    since, received = time.process_time(), 0
    while data := await reader.read(1 << 16):
        received += len(data)
    assert received == size
    result = rate(size, since)
    writer.close()
    await writer.wait_closed()
    return result


class PlainLink(asyncio.Protocol):
    """What `Link` would be as a plain protocol."""

    def __init__(self, *arguments: object) -> None:
        self.link = Link(*arguments)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> object:
        return getattr(self.link, name)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.link.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.link.connection_lost(exc)

    def eof_received(self) -> bool:
        return self.link.eof_received()

    def data_received(self, data: bytes) -> None:
        self.link.pump.feed(data)
        self.link.advance()


async def receive_plain_asyncio(sock: socket.socket, size: int) -> float:
    aio.Link = PlainLink  # type: ignore[misc,assignment]
    return await receive_asyncio(sock, size)


Side = Callable[[socket.socket, int], "float | Awaitable[float]"]


def run(side: Side, sock: socket.socket, size: int) -> float:
    result = side(sock, size)
    if isinstance(result, float):
        return result

    async def wait() -> float:
        return await result

    return asyncio.run(wait())


SIDES: dict[str, Side] = {
    side.__name__: side
    for side in (
        send_blocking,
        receive_blocking,
        send_ssl,
        receive_ssl,
        send_asyncio,
        receive_asyncio,
        send_asyncio_ssl,
        receive_asyncio_ssl,
        receive_plain_asyncio,
    )
}


def transfer(names: tuple[str, str], size: int) -> list[float]:
    """Rates of the sender and of the receiver, the best of some rounds."""
    best = [0.0, 0.0]
    for _ in range(ROUNDS):
        children = []
        for name, end in zip(names, tcp_pair(), strict=True):
            command = [sys.executable, __file__, "side", name, str(end.fileno()), str(size), str(folder)]
            children.append(subprocess.Popen(command, pass_fds=[end.fileno()], stdout=subprocess.PIPE))
            end.close()
        for index, child in enumerate(children):
            best[index] = max(best[index], float(child.communicate()[0]))
    return best


# --- small messages ---------------------------------------------------------------------------------------------------


def connected(kind: str) -> tuple[Stream | ssl.SSLSocket, Stream | ssl.SSLSocket]:
    first, second = tcp_pair()
    accepted: list[Stream | ssl.SSLSocket] = []

    def accept() -> None:
        if kind == "ssl":
            accepted.append(ssl_server.wrap_socket(second, server_side=True))
        else:
            accepted.append(Stream(second, server()))
            accepted[0].do_handshake()

    thread = threading.Thread(target=accept)
    thread.start()
    if kind == "ssl":
        one: Stream | ssl.SSLSocket = ssl_client.wrap_socket(first, server_hostname="localhost")
    else:
        one = Stream(first, client())
        one.do_handshake()
    thread.join()
    return one, accepted[0]


def messages(one: Stream | ssl.SSLSocket, other: Stream | ssl.SSLSocket, count: int = 200) -> float:
    """Microseconds of processor time for one message of 100 bytes, sent and received."""
    since = time.process_time()
    for _ in range(count):
        one.sendall(SMALL)
        other.recv(200)
        other.sendall(SMALL)
        one.recv(200)
    return (time.process_time() - since) / count / 2 * 1e6


def main() -> None:
    size = int(sys.argv[1] if len(sys.argv) > 1 else 64) << 20
    print(f"{'MB/s of processor time':32} {'sending':>8} {'receiving':>10}")
    contenders = [
        ("blocking", "send_blocking", "receive_blocking"),
        ("blocking, ssl", "send_ssl", "receive_ssl"),
        ("asyncio", "send_asyncio", "receive_asyncio"),
        ("asyncio, ssl", "send_asyncio_ssl", "receive_asyncio_ssl"),
        ("asyncio, given bytes", "send_asyncio", "receive_plain_asyncio"),
    ]
    for title, sender, receiver in contenders:
        sending, receiving = transfer((sender, receiver), size)
        print(f"{title:32} {sending:8.0f} {receiving:10.0f}")
    pairs = {kind: connected(kind) for kind in ("stream", "ssl")}
    print(f"\n{'us for 100 bytes there':32}")
    for kind, (one, other) in pairs.items():
        print(f"{kind:32} {min(messages(one, other) for _ in range(30)):8.1f}")
        one.close()
        other.close()


if __name__ == "__main__":
    if sys.argv[1:2] == ["side"]:
        print(run(SIDES[sys.argv[2]], socket.socket(fileno=int(sys.argv[3])), int(sys.argv[4])))
    else:
        main()
