"""A socket with deadlines: the lower half of the blocking stream, and how sockets are connected for it.

`TimedSocket` gives each operation a point in time by which it must be done, however many calls it takes, on top of the
one timeout that a socket object has. It names the operation in the error, and turns "not now" into `WantRead` and
`WantWrite`. It knows nothing of TLS.

The socket's own timeout is used, and not ``select`` before each call, because it works with anything that has the
methods of `Socket`, another TLS stream included.
"""

from __future__ import annotations

import contextlib
import errno
import math
import select
import socket
import threading
import time
from types import EllipsisType
from typing import Any, Protocol

from resumption.errors import HandshakeTimeout, WantRead, WantWrite

__all__ = ["Address", "Socket", "TimedSocket", "connect_socket", "send_at_once", "wait_until_ready"]

Address = tuple[str, int] | str

_SLACK_S = 0.001  # how far a socket's timeout may be off before it is set again


class Socket(Protocol):
    """What a blocking stream needs of a connected socket; `socket.socket` has it, and so has the stream itself."""

    def recv(self, bufsize: int, /) -> bytes:
        """At most that many bytes; none at the end of the stream."""

    def send(self, data: bytes | memoryview, /) -> int:
        """Send some of ``data`` and return how much."""

    def settimeout(self, value: float | None, /) -> None:
        """Seconds that a call may wait: None for ever, 0 not at all."""

    def gettimeout(self) -> float | None:
        """What `settimeout` set."""

    def shutdown(self, how: int, /) -> None:
        """End one direction or both."""

    def close(self) -> None:
        """Release it."""

    def fileno(self) -> int:
        """Its descriptor, for ``select``."""

    def getpeername(self) -> Any:
        """The address at the other end."""

    def getsockname(self) -> Any:
        """The address at this end."""


class TimedSocket:
    """``sock`` with deadlines. A deadline is a point of `time.monotonic`; None leaves waiting to the socket's timeout.

    One thread may receive while another sends, each with a deadline of its own: whoever is woken by the other's shorter
    timeout goes on waiting.
    """

    __slots__ = ("_lock", "_set", "sock", "timeout")

    def __init__(self, sock: Socket, timeout: float | EllipsisType | None = ...) -> None:
        self.sock = sock
        self._lock = threading.Lock()
        if isinstance(timeout, EllipsisType):
            timeout = sock.gettimeout()
        self.timeout = timeout
        self._set = math.nan  # what the socket's timeout is, as far as is known
        self.restore()

    def settimeout(self, timeout: float | None) -> None:
        """What each operation may take, in seconds: None for ever, 0 not at all. Raises `ValueError` below 0."""
        if timeout is not None and timeout < 0:
            raise ValueError("a timeout is None or at least 0 seconds")
        self.timeout = timeout
        self.restore()

    def deadline(self) -> float | None:
        """By when an operation that begins now must be done."""
        timeout = self.timeout
        return time.monotonic() + timeout if timeout else None

    def restore(self) -> None:
        """Give the socket the timeout that it has outside of operations."""
        with self._lock:
            self._set_timeout(self.timeout)

    def _set_timeout(self, timeout: float | None) -> None:
        value = math.inf if timeout is None else timeout
        if value != self._set:
            self.sock.settimeout(timeout)
            self._set = value

    def _arm(self, deadline: float, operation: str) -> None:
        """Make the socket's next call end at ``deadline``, or raise if that has passed."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise _timed_out(operation)
        if not -_SLACK_S < left - self._set < _SLACK_S:
            with self._lock:
                self._set_timeout(left)

    def receive(self, limit: int, deadline: float | None, operation: str = "read") -> bytes:
        """At most ``limit`` bytes, none at the end of the stream.

        Raises `TimeoutError` (`HandshakeTimeout` if that is the ``operation``), `WantRead` on a socket that does not
        wait, and whatever else the socket raises.
        """
        while True:
            if deadline is not None:
                self._arm(deadline, operation)
            try:
                return self.sock.recv(limit)
            except TimeoutError:
                if deadline is None:
                    raise _timed_out(operation) from None
            except BlockingIOError:
                raise WantRead(errno.EAGAIN, "the operation did not complete (read)") from None

    def receive_now(self, limit: int) -> bytes | None:
        """What is there, at most ``limit`` bytes; None if that is nothing. For when no other thread uses the socket."""
        with self._lock:
            self._set_timeout(0.0)
        try:
            return self.sock.recv(limit)
        except BlockingIOError:
            return None
        finally:
            self.restore()

    def send(self, data: bytes | memoryview, deadline: float | None, operation: str = "write") -> int:
        """Send some of ``data`` and return how much. Raises as `receive` does, and `WantWrite`."""
        while True:
            if deadline is not None:
                self._arm(deadline, operation)
            try:
                return self.sock.send(data)
            except TimeoutError:
                if deadline is None:
                    raise _timed_out(operation) from None
            except BlockingIOError:
                raise WantWrite(errno.EAGAIN, "the operation did not complete (write)") from None

    def is_writable(self) -> bool:
        """Whether a little can be sent without waiting; True also where that cannot be found out."""
        try:
            return wait_until_ready(self.sock.fileno(), 0.0, writing=True)
        except (OSError, ValueError):
            return True

    def is_readable(self) -> bool:
        """Whether something has come, or the end; False also where that cannot be found out."""
        try:
            return wait_until_ready(self.sock.fileno(), 0.0)
        except (OSError, ValueError):
            return False


def wait_until_ready(fileno: int, timeout: float | None, *, writing: bool = False) -> bool:
    """Wait up to ``timeout`` seconds (None: for ever) until the descriptor can be read or written; False if not."""
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(fileno, select.POLLOUT if writing else select.POLLIN)
        return bool(poll.poll(None if timeout is None else math.ceil(timeout * 1000)))
    watched = [fileno]
    return any(select.select([] if writing else watched, watched if writing else [], [], timeout))


def _timed_out(operation: str) -> TimeoutError:
    text = f"The {operation} operation timed out"
    return HandshakeTimeout(text) if operation == "handshake" else TimeoutError(text)


def connect_socket(address: Address, timeout: float | None = None) -> socket.socket:
    """A socket connected to ``(host, port)``, or to a Unix socket's path, within ``timeout`` seconds per address tried.

    The socket keeps the timeout. Raises `OSError`, `TimeoutError` among them.
    """
    if isinstance(address, str):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(timeout)
            sock.connect(address)
        except BaseException:
            sock.close()
            raise
        return sock
    sock = socket.create_connection(address, timeout)
    send_at_once(sock)
    return sock


def send_at_once(sock: socket.socket) -> None:
    """Turn Nagle's algorithm off: an answer behind tickets would wait for the peer's delayed acknowledgement."""
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):  # not TCP, or not connected any more
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
