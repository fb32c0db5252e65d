"""The same server and the same client with the standard library's ``ssl``, for comparison.

Run as a script, in isolated mode, as worker or as client, by `resumption.cli.demo.scenario`: it imports nothing of
resumption. Both ends do what the documentation of ``ssl`` has to offer: each worker process has its context, as every
multi-process server gives it; the client has one context, and hands each connection the session of the last, read after
the data, when the tickets have come.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import sys
import threading
import time
from typing import Any

__all__ = ["client", "worker"]

_NAME = "localhost"
_REQUEST = b"GET / HTTP/1.0\r\n\r\n"
_TRIES = 24  # connections in search of one that resumes, to count its bytes


def _say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


# --- the server's side ---------------------------------------------------------------------------------------------


def worker(settings: dict[str, Any]) -> None:
    """Accept connections until standard input ends."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(settings["certificate"], settings["private_key"])
    if settings["listener"] is not None:
        listener = socket.socket(fileno=settings["listener"])
    else:
        listener = socket.create_server((settings["host"], settings["port"]), reuse_port=settings["share_port"])

    def accept() -> None:
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=_serve, args=(sock, context, settings), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    _say({"event": "ready", "port": listener.getsockname()[1]})
    sys.stdin.read()


def _serve(sock: socket.socket, context: ssl.SSLContext, settings: dict[str, Any]) -> None:
    sock.settimeout(settings["timeout_s"])
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with contextlib.suppress(OSError), sock, context.wrap_socket(sock, server_side=True) as stream:
        received = b""
        while b"\r\n\r\n" not in received and (data := stream.recv(4096)):
            received += data
        page = json.dumps({"worker": settings["index"], "resumed": stream.session_reused}).encode()
        stream.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + page)
        stream.unwrap()


# --- the client's side ---------------------------------------------------------------------------------------------


def client(settings: dict[str, Any]) -> dict[str, Any]:
    """Full handshakes, the bytes of each kind, and then the reconnections; the same as our own client does."""
    context = ssl.create_default_context(cafile=settings["authority"])
    address = settings["host"], settings["port"]
    timeout_s = settings["timeout_s"]
    session: ssl.SSLSession | None = None

    def connect(offered: ssl.SSLSession | None) -> tuple[dict[str, Any], ssl.SSLSession | None]:
        started = time.perf_counter()
        sock = socket.create_connection(address, timeout_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with sock, context.wrap_socket(sock, server_hostname=_NAME, session=offered) as stream:
            took = time.perf_counter() - started
            stream.sendall(_REQUEST)
            received = b""
            while data := stream.recv(4096):
                received += data
            page = json.loads(received.partition(b"\r\n\r\n")[2])
            told = {
                "worker": page["worker"],
                "client": bool(stream.session_reused),
                "server": page["resumed"],
                "ms": took * 1000,
            }
            return told, stream.session

    full = []
    for _ in range(settings["full"]):
        told, session = connect(None)
        full.append(told["ms"])
    full_bytes, _ = _count(context, address, timeout_s, None)
    resumed_bytes = None
    for _ in range(_TRIES):
        count, resumed = _count(context, address, timeout_s, session)
        if resumed:
            resumed_bytes = count
            break
    reconnections = []
    for _ in range(settings["connections"]):
        told, session = connect(session)
        reconnections.append(told)
    return {
        "full_ms": full,
        "full_bytes": full_bytes,
        "resumed_bytes": resumed_bytes,
        "reconnections": reconnections,
        "version": ssl.OPENSSL_VERSION,
    }


def _count(
    context: ssl.SSLContext, address: tuple[str, int], timeout_s: float, session: ssl.SSLSession | None
) -> tuple[int, bool]:
    """The bytes of one handshake, up to the client's last, and whether it was resumed."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    stream = context.wrap_bio(incoming, outgoing, server_hostname=_NAME, session=session)
    count = 0
    with socket.create_connection(address, timeout_s) as sock:
        while True:
            try:
                stream.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                done = False
            data = outgoing.read()
            sock.sendall(data)
            count += len(data)
            if done:
                break
            data = sock.recv(1 << 16)
            if not data:
                raise ConnectionError("the server ended the connection in the middle of the handshake")
            incoming.write(data)
            count += len(data)
        return count, bool(stream.session_reused)


def _run() -> None:
    settings = json.loads(sys.stdin.readline() or "{}")
    if settings.get("role") == "client":
        try:
            _say(client(settings))
        except (OSError, ValueError) as error:
            _say({"failed": f"{type(error).__name__}: {error}"})
    elif settings:
        worker(settings)


if __name__ == "__main__":
    _run()
