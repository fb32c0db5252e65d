"""One worker process of a server: ``python -m resumption.cli.worker``, started by `resumption.cli.fleet`.

It learns its settings from the first line of its input, makes a `ServerContext` of its own from them, and serves each
connection in a thread. Further lines change what it issues. When its input ends it stops accepting, gives running
connections a moment, closes everything, and reports how many references to sessions are left: that should be none.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from resumption import ReplayRegister, ServerContext
from resumption.cli.census import Census
from resumption.cli.pages import connection_facts, make_answer, read_request
from resumption.cli.processes import Line, describe, line_out, lines_in
from resumption.cli.sources import ticket_keys
from resumption.errors import Error
from resumption.streams.blocking import Stream
from resumption.streams.sockets import send_at_once

__all__ = ["Worker", "WorkerSettings"]

_LINGER_S = 2.0  # for a client that does not close after we did
_END_WAIT_S = 2.0  # for connections that are running at the end
_STORE_WAIT_S = 2.0  # for what the store is still to be told
_MOST_CONNECTIONS = 256  # at a time
_ID_CONTEXT = b"resumption serve"


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """What a worker has to know. Goes to it as JSON, through a pipe.

    ``tickets``: the secret, or where it is (``file:PATH``, ``env:NAME``). ``listener``: a listening descriptor that it
    inherited, None to make one. ``port`` 0 is for any that is free.
    """

    index: int
    certificate: str
    private_key: str | None
    tickets: str
    host: str = "127.0.0.1"
    port: int = 0
    share_port: bool = False
    listener: int | None = None
    store: str | None = None
    stateful: bool = False
    alpn: tuple[str, ...] = ()
    minimum_version: int | None = None
    maximum_version: int | None = None
    client_ca: str | None = None
    early_data: int = 0
    echo: bool = False
    timeout_s: float = 30.0
    clock_skew_s: float = 0.0  # how far this worker's clock is ahead
    store_timeout_s: float | None = None  # None: as a server's


class Worker:
    """A server in this process: one port, and a context for each kind of session that it may be told to issue."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._keys = ticket_keys(settings.tickets)
        self._replay = self._register() if settings.early_data else None
        self._contexts = {stateful: self._context(stateful) for stateful in (False, True)}
        self._issuing = self._contexts[settings.stateful]
        self._sock = self._listen()
        self._free = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        self._running: set[threading.Thread] = set()
        self._closing = False
        self._acceptor = threading.Thread(target=self._accept, name="accept", daemon=True)

    def _register(self) -> ReplayRegister:
        """Early data is taken once: by this process, or by any that has the store."""
        store = self._settings.store
        return ReplayRegister() if store is None else ReplayRegister(store, domain="resumption serve")

    def _context(self, stateful: bool) -> ServerContext:
        settings = self._settings
        versions: dict[str, Any] = {
            name: value
            for name in ("minimum_version", "maximum_version")
            if (value := getattr(settings, name)) is not None
        }
        return ServerContext(
            settings.certificate,
            settings.private_key,
            tickets=self._keys,
            store=settings.store,
            stateful=stateful,
            alpn=settings.alpn,
            client_auth="required" if settings.client_ca else "none",
            trust=settings.client_ca,
            session_id_context=_ID_CONTEXT,
            clock=self._clock,
            store_timeout=settings.store_timeout_s,
            name=f"worker {settings.index}",
            max_early_data=settings.early_data,
            replay=self._replay,
            **versions,
        )

    def _clock(self) -> float:
        return time.time() + self._settings.clock_skew_s

    def rotate(self) -> str | None:
        """Issue tickets with a new key; its name."""
        self._keys.rotate_now(self._clock())
        return self._keys.status(self._clock()).issuing

    def _listen(self) -> socket.socket:
        settings = self._settings
        if settings.listener is not None:
            return socket.socket(fileno=settings.listener)
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        return socket.create_server((settings.host, settings.port), family=family, reuse_port=settings.share_port)

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._sock.getsockname()[1]
        return port

    def issue(self, stateful: bool) -> None:
        """From now on new connections get tickets that are looked up in the store (or stateless ones). Both kinds are
        accepted all the time."""
        self._issuing = self._contexts[stateful]

    def start(self) -> None:
        """Accept connections, in a thread."""
        self._acceptor.start()

    def _accept(self) -> None:
        while True:
            self._free.acquire()
            try:
                sock, address = self._sock.accept()
            except OSError:
                if self._closing:
                    return
                self._free.release()
                continue
            thread = threading.Thread(target=self._serve, args=(sock, address), daemon=True)
            self._running.add(thread)
            thread.start()

    def _serve(self, sock: socket.socket, address: Any) -> None:
        told: Line = {"worker": self._settings.index, "peer": _shown(address)}
        try:
            with contextlib.suppress(OSError):
                send_at_once(sock)
            context = self._issuing
            with context.wrap(sock, timeout=self._settings.timeout_s) as stream:
                stream.do_handshake()
                told |= connection_facts(stream)
                line_out({"event": "connection", **told})
                if self._settings.echo:
                    for data in stream:
                        stream.sendall(data)
                else:
                    # Whoever has read the answer may come back at once, to another worker: it shall be known there.
                    context.flush_store(_STORE_WAIT_S)
                    self._answer(stream, told)
                _part(stream)
        except (Error, OSError) as error:
            line_out({"event": "trouble", **told, "error": describe(error)})
        finally:
            self._running.discard(threading.current_thread())
            self._free.release()

    def _answer(self, stream: Stream, told: Line) -> None:
        path = read_request(stream)
        if path is None:
            return
        if path.partition("?")[0].endswith(".json"):
            stream.sendall(make_answer("application/json", json.dumps(told).encode() + b"\n"))
        else:
            lines = [str(told["resumption"]), ""] + [f"{name}: {value}" for name, value in told.items()]
            stream.sendall(make_answer("text/plain; charset=utf-8", "\n".join(lines).encode() + b"\n"))

    def close(self) -> None:
        """Stop accepting, give running connections a moment, and close everything."""
        self._closing = True
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        if self._acceptor.ident is not None:
            self._acceptor.join(_END_WAIT_S)
        self._sock.close()
        for thread in list(self._running):
            thread.join(_END_WAIT_S)
        for context in self._contexts.values():
            context.close()
        if self._replay is not None:
            self._replay.close()
        self._keys.close()


def _part(stream: Stream) -> None:
    """Close, and wait until the client has too: what it sends into a closed socket could cost it our answer."""
    stream.close_write()
    stream.settimeout(_LINGER_S)
    with contextlib.suppress(Error, OSError):
        stream.read_all(1 << 20)


def _shown(address: Any) -> str:
    if not isinstance(address, tuple):
        return str(address)
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"


def _run(lines: Iterator[Line]) -> int:
    first = next(lines, None)
    if first is None:
        return 0
    with Census() as census:
        try:
            first["alpn"] = tuple(first.get("alpn", ()))
            worker = Worker(WorkerSettings(**first))
        except (Error, OSError) as error:
            line_out({"failed": describe(error)})
            return 1
        worker.start()
        line_out({"event": "ready", "port": worker.port, "pid": os.getpid()})
        for line in lines:
            if "rotate" in line:
                line_out({"event": "rotated", "key": worker.rotate()})
            else:
                worker.issue(bool(line["stateful"]))
                line_out({"event": "issuing", "stateful": bool(line["stateful"])})
        worker.close()
        del worker
        line_out({"event": "ended", "references": census.references(), "leaks": census.leaks()})
    return 0


if __name__ == "__main__":
    sys.exit(_run(lines_in()))
