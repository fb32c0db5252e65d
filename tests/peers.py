"""Other TLS implementations to run against: OpenSSL, GnuTLS, curl and Python's own ssl, as servers and as clients.

A server is a context manager that yields a `Peer` once its port accepts; a client is a call that returns what it
printed. Everything is on 127.0.0.1 and on a port that the system chose (gnutls-serv alone listens on all addresses: it
has no switch for one), has a time limit, and is ended by its own process id. Nothing sleeps: waiting means waiting for
a line of output, for a connection, or for the process to end, and running out of time fails with what was printed.

A tool that is missing skips the test, with the reason, or fails it where the suite must be complete: in CI (CI=true) or
with RESUMPTION_REQUIRE_PEERS=1.

Certificates are `tests.pki.Credential` values, or anything with ``chain_pem`` and ``key_pem``. Whether a session was
resumed should be asked at both ends; `resumed` reads the answers from the output of each of these tools.

    with openssl_server(pki.ecdsa_p256, "-www", "-tls1_3") as server:
        first = openssl_client(server.port, "-sess_out", str(path), ca=pki.trust_pem)
        again = openssl_client(server.port, "-sess_in", str(path), ca=pki.trust_pem)
    assert resumed(first.output) == [False, False]      # the client's own word, and the page that the server sent
    assert resumed(again.output) == [True, True]
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.processes import (
    HOST,
    REQUEST,
    TIME_LIMIT,
    Credential,
    PeerError,
    Process,
    environ,
    folder,
    write_file,
)
from tests.stdlib_peers import (
    Served,
    SslPeer,
    SslRun,
    answer_request,
    only_version,
    ssl_client,
    ssl_client_context,
    ssl_server,
)

__all__ = [
    "HOST",
    "REQUEST",
    "TIME_LIMIT",
    "Credential",
    "CurlRun",
    "Peer",
    "PeerError",
    "Process",
    "Run",
    "Served",
    "SslPeer",
    "SslRun",
    "answer_request",
    "curl",
    "free_port",
    "gnutls_client",
    "gnutls_server",
    "only_version",
    "openssl_client",
    "openssl_server",
    "peers_required",
    "require_peer",
    "resumed",
    "ssl_client",
    "ssl_client_context",
    "ssl_server",
    "wait_until_accepts",
    "why_missing",
]

_RESUMED = re.compile(
    r"^(New|Reused), (?!\(NONE\))"  # s_client, s_server -www and ssl_server
    r"|^(\*\*\* This is a resumed session)"  # gnutls-serv and gnutls-cli, after the connection that it is about
    r"|^(?:\* Accepted connection|- Handshake was completed|- Resume Handshake was completed)",
    re.MULTILINE,
)


# --- which peers there are ------------------------------------------------------------------------------------------


def peers_required() -> bool:
    """Whether a missing peer is a failure rather than a reason to skip."""
    return os.environ.get("RESUMPTION_REQUIRE_PEERS", "0") not in ("", "0") or os.environ.get("CI") == "true"


@functools.cache
def _version(path: str, question: str) -> str:
    done = subprocess.run([path, question], capture_output=True, text=True, timeout=TIME_LIMIT, env=environ())
    return done.stdout.partition("\n")[0]


def why_missing(name: str) -> str | None:
    """Why the tests cannot use the tool ``name``; None if they can."""
    path = shutil.which(name)
    if path is None:
        return f"{name} is not installed"
    if name == "openssl" and not re.match(r"OpenSSL ([3-9]|\d\d)\.", version := _version(path, "version")):
        return f"OpenSSL 3 or newer is needed, this is {version!r}"
    if name == "curl" and "OpenSSL" not in (version := _version(path, "--version")):
        return f"a curl that uses OpenSSL is needed, this is {version!r}"
    return None


def require_peer(name: str) -> str:
    """The path of the tool ``name``. Where it is missing: skip the test, or fail it where peers are required."""
    reason = why_missing(name)
    if reason is not None and peers_required():
        pytest.fail(f"{reason}, and this run must not do without it")
    if reason is not None:
        pytest.skip(reason)
    found = shutil.which(name)
    assert found is not None
    return found


# --- what all of them share -------------------------------------------------------------------------------------------


@dataclass
class Peer:
    """A server that accepts connections on ``port``."""

    process: Process
    port: int

    @property
    def address(self) -> tuple[str, int]:
        return HOST, self.port

    @property
    def output(self) -> str:
        return self.process.output

    def wait_for(self, pattern: str, *, count: int = 1, limit: float = TIME_LIMIT) -> re.Match[str]:
        return self.process.wait_for(pattern, count=count, limit=limit)

    def send(self, data: bytes) -> None:
        """Write to the server's standard input (a plain s_server sends it to its client)."""
        self.process.send(data)


@dataclass(frozen=True)
class Run:
    """What a client did: all it printed, and its exit status."""

    output: str
    status: int


def resumed(output: str) -> list[bool]:
    """One entry for each connection that ``output`` (of any peer) reports: was its session resumed?"""
    answers: list[bool] = []
    for match in _RESUMED.finditer(output):
        if match[2]:
            answers[-1] = True
        else:
            answers.append(match[1] == "Reused")
    return answers


def free_port() -> int:
    """A port that nothing uses now. Only for servers that cannot choose one themselves."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until_accepts(port: int, *, limit: float = TIME_LIMIT) -> None:
    """Return once something accepts connections on ``port``. The try itself is a connection, closed at once."""
    deadline = time.monotonic() + limit
    pause = threading.Event()
    while True:
        try:
            socket.create_connection((HOST, port), timeout=limit).close()
            return
        except ConnectionRefusedError:
            if time.monotonic() >= deadline:
                raise PeerError(f"nothing accepts connections on port {port} after {limit:g} s") from None
            pause.wait(0.01)  # between two tries; no test relies on its length


def _split(chain_pem: bytes) -> tuple[bytes, bytes]:
    """The leaf and the rest of a chain."""
    leaf, end, rest = chain_pem.partition(b"-----END CERTIFICATE-----\n")
    return leaf + end, rest


# --- OpenSSL --------------------------------------------------------------------------------------------------------


def _openssl_files(directory: Path, credential: Credential | None, ca: bytes | None) -> list[str]:
    arguments: list[str] = []
    if credential is not None:
        leaf, rest = _split(credential.chain_pem)
        arguments += [
            "-cert",
            write_file(directory, "leaf.pem", leaf),
            "-key",
            write_file(directory, "leaf.key", credential.key_pem),
        ]
        if rest:
            arguments += ["-cert_chain", write_file(directory, "chain.pem", rest)]
    if ca is not None:
        arguments += ["-CAfile", write_file(directory, "ca.pem", ca)]
    return arguments


@contextlib.contextmanager
def openssl_server(leaf: Credential, *options: str, ca: bytes | None = None) -> Iterator[Peer]:
    """``openssl s_server`` with ``options``; say ``-www``, ``-rev`` or neither, which connects it to `Peer.send`.

    ``ca`` (PEM) is what client certificates are checked against (``-verify``, ``-Verify``). ``-quiet`` cannot be used:
    the port is read from the output. One connection at a time.
    """
    path = require_peer("openssl")
    with folder() as directory:
        process = Process([path, "s_server", "-accept", f"{HOST}:0", *_openssl_files(directory, leaf, ca), *options])
        try:
            yield Peer(process, int(process.wait_for(r"^ACCEPT \S*:(\d+)")[1]))
        finally:
            process.stop()


def openssl_client(
    port: int,
    *options: str,
    send: bytes = REQUEST,
    until: str | None = None,
    ca: bytes | None = None,
    certificate: Credential | None = None,
    name: str = "localhost",
    limit: float = TIME_LIMIT,
) -> Run:
    """``openssl s_client``: connect, send ``send``, and run until the server closes the connection.

    With ``until`` (a pattern) it closes the connection itself, as soon as that is printed. With ``ca`` (PEM) a server
    certificate that does not verify is an error. ``name`` is the server name that it sends.
    """
    path = require_peer("openssl")
    with folder() as directory:
        command = [path, "s_client", "-connect", f"{HOST}:{port}", "-servername", name, "-nocommands"]
        command += _openssl_files(directory, certificate, ca)
        command += ["-verify_return_error"] if ca is not None else []
        return _run_client([*command, *options], send, until, limit)


def _run_client(command: list[str], send: bytes, until: str | None, limit: float, end: bool = False) -> Run:
    process = Process(command)
    try:
        process.send(send)
        if end:
            process.end_input()
        if until is not None:
            process.wait_for(until, limit=limit)
            process.end_input()
        status = process.finish(limit=limit)
    finally:
        process.stop()
    return Run(process.output, status)


# --- GnuTLS ---------------------------------------------------------------------------------------------------------


def _gnutls_files(directory: Path, credential: Credential | None, ca: bytes | None) -> list[str]:
    arguments: list[str] = []
    if credential is not None:
        arguments += [
            f"--x509certfile={write_file(directory, 'chain.pem', credential.chain_pem)}",
            f"--x509keyfile={write_file(directory, 'leaf.key', credential.key_pem)}",
        ]
    if ca is not None:
        arguments.append(f"--x509cafile={write_file(directory, 'ca.pem', ca)}")
    return arguments


@contextlib.contextmanager
def gnutls_server(leaf: Credential, *options: str, ca: bytes | None = None) -> Iterator[Peer]:
    """``gnutls-serv`` with ``options`` (``--http`` or ``--echo``, ...). Without ``-q`` it tells of each connection.

    It asks for a client certificate unless ``--disable-client-cert`` is among the options.
    """
    path = require_peer("gnutls-serv")
    with folder() as directory:
        files = _gnutls_files(directory, leaf, ca)
        for _ in range(10):  # another program may take the port between `free_port` and gnutls-serv
            port = free_port()
            process = Process([path, "-p", str(port), *files, *options])
            try:
                if process.wait_for(r"listening on IPv4 \S+ port \d+\.\.\.(done|.*failed)")[1] == "done":
                    yield Peer(process, port)
                    return
            finally:
                process.stop()
        raise PeerError("gnutls-serv found its port taken ten times")


def gnutls_client(
    port: int,
    *options: str,
    send: bytes = REQUEST,
    until: str | None = None,
    ca: bytes | None = None,
    certificate: Credential | None = None,
    name: str = "localhost",
    limit: float = TIME_LIMIT,
    end: bool = False,
) -> Run:
    """``gnutls-cli``, as `openssl_client`. Without ``ca`` it takes any certificate.

    With ``end`` its input ends behind ``send``: it says close_notify then, and goes on reading.

    ``-r`` makes two connections, the second with the session of the first, and ``send`` goes to the second;
    ``--waitresumption`` with it makes sure that a TLS 1.3 ticket has come (and waits for ever if none does).
    """
    path = require_peer("gnutls-cli")
    with folder() as directory:
        command = [path, *_gnutls_files(directory, certificate, ca), f"--sni-hostname={name}"]
        command += ["--insecure"] if ca is None else [f"--verify-hostname={name}"]
        return _run_client([*command, *options, "-p", str(port), HOST], send, until, limit, end)


# --- curl -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CurlRun(Run):
    """A run of curl: ``output`` is what it said (``-v``), ``bodies`` what the server sent for each path."""

    bodies: tuple[bytes, ...]


def curl(
    port: int,
    *options: str,
    paths: Sequence[str] = ("/", "/"),
    ca: bytes,
    certificate: Credential | None = None,
    name: str = "localhost",
    limit: float = TIME_LIMIT,
) -> CurlRun:
    """``curl -v`` for ``paths``, each on a connection of its own (HTTP/1.0), all in one run with one session cache.

    "re-using session" in the output only says that a session was offered: ask the server whether it was resumed.
    """
    path = require_peer("curl")
    with folder() as directory:
        command = [path, "-q", "-sv", "--http1.0", "--noproxy", "*", "--cacert", write_file(directory, "ca.pem", ca)]
        command += ["--resolve", f"{name}:{port}:{HOST}"]
        if certificate is not None:
            command += ["--cert", write_file(directory, "chain.pem", certificate.chain_pem)]
            command += ["--key", write_file(directory, "leaf.key", certificate.key_pem)]
        files = [directory / f"body-{number}" for number in range(len(paths))]
        for url, file in zip(paths, files, strict=True):
            command += [f"https://{name}:{port}{url}", "-o", str(file)]
        run = _run_client([*command, *options], b"", None, limit)
        bodies = tuple(file.read_bytes() if file.exists() else b"" for file in files)
    return CurlRun(run.output, run.status, bodies)
