"""The small world of the stream tests: engines of both roles, a host that only listens, a store that may be slow, and
`Wire`, a socket whose other end is an engine in the same thread, so that what happens when is up to the test."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from resumption.config import ClientConfig, ServerConfig
from resumption.connection import Connection
from resumption.crypto.certificates import CertifiedKey
from resumption.crypto.trust import TrustStore
from resumption.errors import Error
from resumption.handshake.events import DataReceived, Event, NeedSession, SessionIssued
from resumption.session.model import Session
from resumption.session.tickets.keys import TicketKeys
from tests.pki import Pki


class Quiet:
    """A host that knows nothing and forbids nothing."""

    def __init__(self, *, asks_outside: bool = False) -> None:
        self.asks_outside = asks_outside
        self.issued: list[bytes] = []  # session ids
        self.failures: list[Error] = []

    def find_session(self, connection: Any, question: NeedSession) -> Session | None:
        return None

    def must_ask_outside(self, connection: Any) -> bool:
        return self.asks_outside

    def new_session_id(self, connection: Any, version: int) -> bytes:
        return os.urandom(32)

    def allows_resumption(self, connection: Any) -> bool:
        return True

    def consume(self, connection: Any, session: Session) -> bool:
        return True

    def session_issued(self, connection: Any, session: Session) -> None:
        self.issued.append(session.id)

    def connection_failed(self, connection: Any, error: Error) -> None:
        self.failures.append(error)

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: None


class Shelf:
    """An `Outside` that keeps sessions by id, and a diary of what it was asked and told."""

    def __init__(self, diary: list[str] | None = None) -> None:
        self.diary = diary if diary is not None else []
        self.kept: dict[bytes, bytes] = {}

    def find_session(self, connection: Connection, question: NeedSession) -> Session | None:
        self.diary.append("asked")
        packed = self.kept.get(question.key)
        return Session.from_packed(packed, holder=connection.holder) if packed is not None else None

    def session_issued(self, connection: Connection, session: Session) -> None:
        self.diary.append("told")
        self.kept[session.id] = session.to_packed()


@dataclass
class World:
    """Configurations of both sides, and engines made from them."""

    client_config: ClientConfig
    server_config: ServerConfig
    hosts: list[Quiet] = field(default_factory=list)

    @classmethod
    def of(cls, pki: Pki) -> World:
        leaf = pki.ecdsa_p256
        return cls(
            ClientConfig(trust=TrustStore.load(pki.trust_pem)),
            ServerConfig(
                certified_keys=(CertifiedKey.load(leaf.chain_pem, leaf.key_pem),), tickets=TicketKeys.generate()
            ),
        )

    def client(self, name: str = "localhost", *, host: Quiet | None = None, **changes: Any) -> Connection:
        return Connection(replace(self.client_config, **changes), host, server_name=name)

    def server(self, *, host: Quiet | None = None, **changes: Any) -> Connection:
        return Connection(replace(self.server_config, **changes), host)

    def stateful(self, *, asks_outside: bool = True) -> Connection:
        """A server whose tickets are ids of sessions that lie outside."""
        return self.server(host=Quiet(asks_outside=asks_outside), tickets=None, stateful=True)


class Wire:
    """One end of a connected socket; at the other end is ``peer``, which reads whatever is sent at once.

    ``inbox`` is what the peer sent and nobody received yet. ``room`` is how many bytes can be sent before the wire is
    full (None: any number), ``piece`` how many are moved by one call at most. A call that would have to wait fails the
    test if there is no timeout, and times out at once if there is one.
    """

    def __init__(self, peer: Connection, *, timeout: float | None = None) -> None:
        self.peer = peer
        self.timeout = timeout
        self.inbox = bytearray()
        self.room: int | None = None
        self.piece: int | None = None
        self.is_ended = False  # the peer ended the stream
        self.gone: type[OSError] | None = None  # what sending raises
        self.is_shy = False  # every other call says "not now"
        self._hesitated = False
        self.closed = False
        self.half_closed: list[int] = []
        self.asked: list[int] = []  # sizes that recv() was asked for
        self.sent: list[int] = []  # sizes that send() was given
        self.events: list[Event] = []
        self.data = bytearray()  # application data that the peer received
        self.error: Error | None = None
        self.log: list[str] = []
        self.before_wait: Callable[[], None] | None = None

    # the stream's end

    def recv(self, size: int) -> bytes:
        assert not self.closed
        self.asked.append(size)
        self._hesitate()
        self._pump()
        while not self.inbox:
            if self.is_ended:
                return b""
            self._wait()
        size = min(size, self.piece or size)
        taken = bytes(self.inbox[:size])
        del self.inbox[:size]
        return taken

    def send(self, data: bytes | memoryview) -> int:
        assert not self.closed
        self.sent.append(len(data))
        self._hesitate()
        if self.gone is not None:
            raise self.gone()
        while self.room == 0:
            self._wait()
        size = min(len(data), self.piece or len(data), self.room if self.room is not None else len(data))
        if self.room is not None:
            self.room -= size
        self.log.append("sent")
        self.hear(bytes(data[:size]))
        return size

    def _hesitate(self) -> None:
        self._hesitated = self.is_shy and not self._hesitated
        if self._hesitated:
            raise BlockingIOError(11, "not now")

    def _wait(self) -> None:
        if self.timeout == 0:
            raise BlockingIOError(11, "not now")
        if self.before_wait is not None:
            self.before_wait()
        elif self.timeout is None:
            raise AssertionError("this call would wait for ever")
        else:
            raise TimeoutError("timed out")

    def settimeout(self, value: float | None) -> None:
        assert not self.closed
        assert value is None or value >= 0
        self.timeout = value

    def gettimeout(self) -> float | None:
        return self.timeout

    def shutdown(self, how: int) -> None:
        self.half_closed.append(how)

    def close(self) -> None:
        self.closed = True

    def fileno(self) -> int:
        raise OSError("no descriptor")

    def getpeername(self) -> Any:
        return ("peer", 1)

    def getsockname(self) -> Any:
        return ("here", 2)

    # the peer's end

    def hear(self, data: bytes) -> None:
        """The peer receives ``data``."""
        if self.peer.error is not None:
            return
        try:
            for event in self.peer.receive_data(data):
                self.events.append(event)
                if isinstance(event, DataReceived):
                    self.data += event.data
        except Error as error:
            self.error = error
        self._pump()

    def _pump(self) -> None:
        if self.peer.is_server or self.peer.error is not None or self.peer.handshake_complete:
            self.inbox += self.peer.data_to_send()

    def say(self, data: bytes) -> None:
        """Have the peer send ``data``."""
        self.peer.send_data(data)
        self._pump()

    def hang_up(self) -> None:
        """Have the peer say close_notify."""
        self.peer.close()
        self._pump()

    @property
    def issued(self) -> list[SessionIssued]:
        return [event for event in self.events if isinstance(event, SessionIssued)]


def records(data: bytes | bytearray) -> list[int]:
    """The sizes, headers included, of the records in ``data``; fails if the last one is cut short."""
    sizes, at = [], 0
    while at < len(data):
        size = 5 + int.from_bytes(data[at + 3 : at + 5], "big")
        sizes.append(size)
        at += size
    assert at == len(data), "the data ends in the middle of a record"
    return sizes


def tcp_pair(buffers: int | None = None) -> tuple[socket.socket, socket.socket]:
    """Two connected TCP sockets, with kernel buffers of about that many bytes."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        if buffers is not None:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffers)
        first = socket.socket()
        if buffers is not None:
            first.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffers)
        first.connect(listening.getsockname())
        second, _ = listening.accept()
    for sock in (first, second):
        if buffers is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffers)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return first, second
