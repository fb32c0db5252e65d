"""The blocking server's side: a listening socket that hands out streams.

`Listener.accept` leaves the handshake to whoever gets the stream, normally a thread of its own: a client that connects
and says nothing would otherwise keep all others waiting.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from resumption.connection import Connection
from resumption.errors import UsageError
from resumption.streams.blocking import Stream
from resumption.streams.outside import Outside
from resumption.streams.sockets import Address, wait_until_ready

__all__ = ["Listener"]


class Listener:
    """Accepts connections on ``sock``, which is bound and listening, and from now on belongs to the listener.

    ``factory`` makes the engine of each connection; ``timeout`` is what the streams get, in seconds (None: no limit).
    ``outside`` and ``defer_tickets`` are handed on to the streams. Threads may share one listener.
    """

    __slots__ = ("_closed", "_defer_tickets", "_factory", "_outside", "_sock", "_timeout")

    def __init__(
        self,
        sock: socket.socket,
        factory: Callable[[], Connection],
        outside: Outside | None = None,
        *,
        timeout: float | None = None,
        defer_tickets: bool = False,
    ) -> None:
        sock.setblocking(False)  # each thread that accepts waits by itself
        self._sock = sock
        self._factory = factory
        self._outside = outside
        self._timeout = timeout
        self._defer_tickets = defer_tickets
        self._closed = False

    @classmethod
    def bind(
        cls,
        address: Address,
        factory: Callable[[], Connection],
        outside: Outside | None = None,
        *,
        backlog: int = 128,
        reuse_port: bool = False,
        timeout: float | None = None,
        defer_tickets: bool = False,
    ) -> Self:
        """Listen on ``(host, port)``, port 0 for any that is free, or on a Unix socket's path. Raises `OSError`."""
        if isinstance(address, str):
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                sock.bind(address)
                sock.listen(backlog)
            except BaseException:
                sock.close()
                raise
        else:
            family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
            sock = socket.create_server(address, family=family, backlog=backlog, reuse_port=reuse_port)
        return cls(sock, factory, outside, timeout=timeout, defer_tickets=defer_tickets)

    @property
    def address(self) -> Address:
        """Where it listens: host and port, or a Unix socket's path."""
        name = self._sock.getsockname()
        return name if isinstance(name, str) else (name[0], name[1])

    def accept(self, timeout: float | None = None, *, do_handshake: bool = False) -> Stream:
        """The next connection, within ``timeout`` seconds (None: no limit) including, if asked for, its handshake.

        Without ``do_handshake`` the stream makes it at its first use. Raises `TimeoutError`, and what the handshake
        raises: the connection is then closed, and the listener goes on. `UsageError` once closed.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        sock = self._accept(deadline)
        try:
            stream = Stream(
                sock, self._factory(), self._outside, timeout=self._timeout, defer_tickets=self._defer_tickets
            )
        except BaseException:
            sock.close()
            raise
        if do_handshake:
            try:
                stream.do_handshake(None if deadline is None else max(0.0, deadline - time.monotonic()))
            except BaseException:
                stream.close(harvest=False)
                raise
        return stream

    def _accept(self, deadline: float | None) -> socket.socket:
        while True:
            try:
                return self._sock.accept()[0]
            except BlockingIOError:
                pass
            except ConnectionError:
                continue  # it came and went
            except OSError:
                self._check_open()
                raise
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError("The accept operation timed out")
            self._check_open()
            wait_until_ready(self._sock.fileno(), left)

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("the listener is closed")

    def fileno(self) -> int:
        """The listening socket's descriptor, for ``select``."""
        return self._sock.fileno()

    def close(self) -> None:
        """Stop listening; the streams that were handed out are unharmed. May be repeated."""
        self._closed = True
        with contextlib.suppress(OSError):  # not every system does that
            self._sock.shutdown(socket.SHUT_RDWR)  # wakes the threads that wait in accept()
        self._sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
