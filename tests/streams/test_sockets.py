from __future__ import annotations

import os
import select
import socket
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from resumption.errors import HandshakeTimeout, WantRead, WantWrite
from resumption.streams import sockets
from resumption.streams.sockets import TimedSocket, connect_socket, send_at_once, wait_until_ready


class Clock:
    """Seconds that pass only when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Scripted:
    """A socket that does what a list says: an exception to raise, or bytes or a count to return."""

    def __init__(self, clock: Clock, *steps: Any, timeout: float | None = None) -> None:
        self.clock = clock
        self.steps = list(steps)
        self.timeout = timeout
        self.set: list[float | None] = []

    def settimeout(self, value: float | None) -> None:
        self.timeout = value
        self.set.append(value)

    def gettimeout(self) -> float | None:
        return self.timeout

    def _step(self) -> Any:
        step = self.steps.pop(0)
        if isinstance(step, float):  # the call waits that long in vain
            self.clock.now += step
            raise TimeoutError
        if isinstance(step, BaseException):
            raise step
        return step

    def recv(self, size: int) -> bytes:
        return self._step()[:size]

    def send(self, data: bytes) -> int:
        return self._step()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(sockets, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


def timed(sock: Any, *timeout: float | None) -> TimedSocket:
    return TimedSocket(sock, *timeout)


def test_the_sockets_own_timeout_is_taken_over_unless_one_is_given(clock: Clock) -> None:
    assert timed(Scripted(clock, timeout=7.0)).timeout == 7.0
    sock = Scripted(clock, timeout=7.0)
    assert timed(sock, None).timeout is None
    assert sock.timeout is None


def test_a_deadline_counts_from_now(clock: Clock) -> None:
    assert timed(Scripted(clock), 5.0).deadline() == 1005.0
    assert timed(Scripted(clock), None).deadline() is None
    assert timed(Scripted(clock), 0.0).deadline() is None, "a socket that does not wait needs none"


def test_a_negative_timeout_is_refused(clock: Clock) -> None:
    with pytest.raises(ValueError, match="at least 0"):
        timed(Scripted(clock)).settimeout(-1)


def test_an_operation_that_begins_now_sets_no_timeout(clock: Clock) -> None:
    sock = Scripted(clock, b"abc", b"def", timeout=5.0)
    line = timed(sock)
    sock.set.clear()
    deadline = line.deadline()
    assert line.receive(2, deadline) == b"ab"
    assert line.receive(3, deadline) == b"def"
    assert sock.set == []


def test_the_time_that_passed_is_taken_off(clock: Clock) -> None:
    sock = Scripted(clock, b"a", b"b", timeout=5.0)
    line = timed(sock)
    deadline = line.deadline()
    clock.now += 2
    line.receive(1, deadline)
    assert sock.timeout == 3.0
    line.restore()
    assert sock.timeout == 5.0


@pytest.mark.parametrize(
    ("operation", "text", "kind"),
    [
        ("read", "The read operation timed out", TimeoutError),
        ("handshake", "The handshake operation timed out", HandshakeTimeout),
    ],
)
def test_the_deadline_is_named(clock: Clock, operation: str, text: str, kind: type[Exception]) -> None:
    line = timed(Scripted(clock, 5.0), 5.0)
    with pytest.raises(kind, match=f"^{text}$") as caught:
        line.receive(1, line.deadline(), operation)
    assert type(caught.value) is kind


def test_sending_times_out_in_its_own_words(clock: Clock) -> None:
    line = timed(Scripted(clock, 5.0), 5.0)
    with pytest.raises(TimeoutError, match=r"^The write operation timed out$"):
        line.send(b"x", line.deadline())


def test_a_deadline_that_has_passed_is_not_waited_for(clock: Clock) -> None:
    line = timed(Scripted(clock), 5.0)
    with pytest.raises(TimeoutError):
        line.receive(1, 999.0)


def test_being_woken_too_early_by_another_threads_timeout_changes_nothing(clock: Clock) -> None:
    line = timed(Scripted(clock, 1.0, 1.0, b"x"), 5.0)
    assert line.receive(1, line.deadline()) == b"x"
    line = timed(Scripted(clock, 1.0, 7), 5.0)
    assert line.send(b"1234567", line.deadline()) == 7


def test_a_timeout_without_a_deadline_is_named_too(clock: Clock) -> None:
    line = timed(Scripted(clock, 1.0, 1.0), None)
    with pytest.raises(TimeoutError, match=r"^The read operation timed out$"):
        line.receive(1, None)
    with pytest.raises(TimeoutError, match=r"^The write operation timed out$"):
        line.send(b"x", None)


def test_not_now_says_what_for(clock: Clock) -> None:
    line = timed(Scripted(clock, BlockingIOError(), BlockingIOError()), 0.0)
    with pytest.raises(WantRead) as read:
        line.receive(1, None)
    with pytest.raises(WantWrite) as write:
        line.send(b"x", None)
    for error in (read.value, write.value):
        assert isinstance(error, BlockingIOError)
        assert error.errno == 11


def test_other_errors_pass(clock: Clock) -> None:
    line = timed(Scripted(clock, ConnectionResetError(), BrokenPipeError()))
    with pytest.raises(ConnectionResetError):
        line.receive(1, None)
    with pytest.raises(BrokenPipeError):
        line.send(b"x", None)


def test_receiving_now_does_not_wait_and_restores_the_timeout(clock: Clock) -> None:
    sock = Scripted(clock, b"abc", BlockingIOError(), ConnectionResetError(), timeout=5.0)
    line = timed(sock)
    sock.set.clear()
    assert line.receive_now(2) == b"ab"
    assert sock.set == [0.0, 5.0]
    assert line.receive_now(2) is None
    with pytest.raises(ConnectionResetError):
        line.receive_now(2)
    assert sock.timeout == 5.0


def test_a_socket_is_writable_until_it_is_full() -> None:
    first, second = socket.socketpair()
    with first, second:
        line = TimedSocket(first, 0.0)
        assert line.is_writable()
        with pytest.raises(WantWrite):
            while True:
                line.send(bytes(1 << 16), None)
        assert not line.is_writable()


def test_what_has_no_descriptor_counts_as_writable() -> None:
    first, second = socket.socketpair()
    second.close()
    line = TimedSocket(first)
    first.close()
    assert line.is_writable()


@pytest.mark.parametrize("has_poll", [True, False])
def test_waiting_for_a_descriptor(monkeypatch: pytest.MonkeyPatch, has_poll: bool) -> None:
    if not has_poll:
        monkeypatch.delattr(select, "poll")
    first, second = socket.socketpair()
    with first, second:
        assert not wait_until_ready(first.fileno(), 0.0)
        assert wait_until_ready(first.fileno(), 0.0, writing=True)
        second.send(b"x")
        assert wait_until_ready(first.fileno(), None)
        assert wait_until_ready(first.fileno(), 10.0)


def test_a_wait_is_never_rounded_down_to_none(monkeypatch: pytest.MonkeyPatch) -> None:
    waited = []

    class Poll:
        def register(self, fileno: int, events: int) -> None: ...

        def poll(self, timeout: float | None) -> list[int]:
            waited.append(timeout)
            return []

    monkeypatch.setattr(select, "poll", Poll)
    assert not wait_until_ready(0, 0.0001)
    assert not wait_until_ready(0, None)
    assert waited == [1, None]


def test_connecting_over_tcp_sends_small_flights_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, connect_socket(listening.getsockname(), 20.0) as sock:
        assert sock.gettimeout() == 20.0
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getpeername() == listening.getsockname()


def test_connecting_over_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        with connect_socket(path, 20.0) as sock:
            assert sock.family == socket.AF_UNIX
            assert sock.gettimeout() == 20.0
            assert stat.S_ISSOCK(os.fstat(sock.fileno()).st_mode)


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        connect_socket(str(tmp_path / "nothing"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = listening.getsockname()
    with pytest.raises(ConnectionRefusedError):
        connect_socket(address, 20.0)


def test_what_is_not_tcp_is_left_alone() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        send_at_once(sock)


def test_unix_sockets_know_nothing_of_nagle() -> None:
    first, second = socket.socketpair()
    with first, second:
        send_at_once(first)
