"""A proxy on loopback between a store's client and its server, which does to the answers what a test tells it."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from collections.abc import Callable
from enum import StrEnum
from typing import Self

from tests.processes import HOST

__all__ = ["Mischief", "StoreProxy"]


class Mischief(StrEnum):
    """What becomes of each piece that the server answers."""

    NONE = "none"
    SLOW = "slow"  # it comes later
    GARBAGE = "garbage"  # as many bytes, that mean nothing
    CUT = "cut"  # half of it comes, and then the connection ends
    STALE = "stale"  # the answer to the question before comes instead


class StoreProxy:
    """Passes everything on to a port of this machine. ``mischief`` may be changed at any time, for all connections."""

    def __init__(self, port: int, *, delay_s: float = 0.1, seed: int = 0) -> None:
        self.mischief = Mischief.NONE
        self.spoiled = 0  # answers that did not come as they were given
        self.before_mischief: Callable[[], object] | None = None  # called when the server has answered
        self._delay_s = delay_s
        self._chance = random.Random(seed)
        self._target = port
        self._closing = threading.Event()
        self._listener = socket.create_server((HOST, 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = {self._listener}
        self._threads = [threading.Thread(target=self._accept, name="store proxy", daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                ours = self._listener.accept()[0]
                try:
                    theirs = socket.create_connection((HOST, self._target), timeout=5)
                except OSError:  # the server is down, and so are we
                    ours.close()
                    continue
                theirs.settimeout(None)
                with self._lock:
                    self._sockets |= {ours, theirs}
                    self._threads = [thread for thread in self._threads if thread.is_alive()]
                    for call in (self._ask, self._answer):
                        thread = threading.Thread(target=call, args=(ours, theirs), name="store proxy", daemon=True)
                        self._threads.append(thread)
                        thread.start()

    def _ask(self, ours: socket.socket, theirs: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := ours.recv(1 << 16):
                theirs.sendall(data)
        self._end(ours, theirs)

    def _answer(self, ours: socket.socket, theirs: socket.socket) -> None:
        before = b""
        with contextlib.suppress(OSError):
            while data := theirs.recv(1 << 16):
                mischief = self.mischief
                if mischief is not Mischief.NONE:
                    self.spoiled += 1
                    if self.before_mischief is not None:
                        self.before_mischief()
                if mischief is Mischief.SLOW:
                    self._closing.wait(self._delay_s)
                elif mischief is Mischief.GARBAGE:
                    data = self._chance.randbytes(len(data))
                elif mischief is Mischief.STALE:
                    before, data = data, before or data
                elif mischief is Mischief.CUT:
                    ours.sendall(data[: len(data) // 2])
                    break
                ours.sendall(data)
        self._end(ours, theirs)

    def _end(self, *sockets: socket.socket) -> None:
        """Both threads of a connection come here; the second closes."""
        for sock in sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        with self._lock:
            for sock in sockets:
                if sock in self._sockets:
                    self._sockets.discard(sock)
                else:
                    sock.close()

    def close(self) -> None:
        """End every connection."""
        self._closing.set()
        with self._lock:
            threads = list(self._threads)
            for sock in self._sockets:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(10)
        self._listener.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
