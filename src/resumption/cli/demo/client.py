"""The client processes of the demonstration: ``python -m resumption.cli.demo.client``.

Each is started from nothing and knows only what its parent tells it, line by line: where the server is, and which
session files to write or read. Every connection asks the server whether it saw a resumption; a connection counts as
resumed only if both ends say so. When its input ends the process reports how many references to sessions it still
holds, which should be none.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resumption import ClientContext, Connection, Session, SessionFreedError, tracing
from resumption.cli.census import Census
from resumption.cli.files import read_session, write_private
from resumption.cli.pages import NotAnAnswer, make_request, parse_answer
from resumption.cli.processes import Line, describe, line_out, lines_in
from resumption.constants import ProtocolVersion
from resumption.errors import Error
from resumption.streams.blocking import Stream
from resumption.streams.sockets import connect_socket

__all__ = ["Client", "CountingSocket"]

_NAME = "localhost"
_PURPOSE = "demo"  # one service, on however many machines


class CountingSocket:
    """A connected socket that counts the bytes of both directions, for a `Stream` to run over."""

    def __init__(self, address: tuple[str, int], timeout_s: float) -> None:
        self.bytes = 0
        self._sock = connect_socket(address, timeout_s)

    def recv(self, bufsize: int, /) -> bytes:
        """As a socket's."""
        data = self._sock.recv(bufsize)
        self.bytes += len(data)
        return data

    def send(self, data: bytes | memoryview, /) -> int:
        """As a socket's."""
        sent = self._sock.send(data)
        self.bytes += sent
        return sent

    def settimeout(self, value: float | None, /) -> None:
        """As a socket's."""
        self._sock.settimeout(value)

    def gettimeout(self) -> float | None:
        """As a socket's."""
        return self._sock.gettimeout()

    def shutdown(self, how: int, /) -> None:
        """As a socket's."""
        self._sock.shutdown(how)

    def close(self) -> None:
        """As a socket's."""
        self._sock.close()

    def fileno(self) -> int:
        """As a socket's."""
        return self._sock.fileno()

    def getpeername(self) -> Any:
        """As a socket's."""
        return self._sock.getpeername()

    def getsockname(self) -> Any:
        """As a socket's."""
        return self._sock.getsockname()


@dataclass
class Client:
    """What one client process does. ``authority`` is the CA to trust; everything has ``timeout_s`` seconds."""

    host: str
    ports: Sequence[int]  # one for each machine; connections go to them in turn
    authority: str
    timeout_s: float
    paused: Callable[[], object] = lambda: None  # called halfway through the reconnections: returns to go on
    _issued_on: dict[bytes, int] = field(default_factory=dict)  # session id -> the connection that brought it
    _answered_by: dict[int, int] = field(default_factory=dict)  # connection -> the worker that served it

    def __post_init__(self) -> None:
        self._turns = itertools.cycle(self.ports)

    @property
    def address(self) -> tuple[str, int]:
        """Where the server is; the next machine each time."""
        return self.host, next(self._turns)

    def _context(self, name: str, tls12: bool) -> ClientContext:
        settings: dict[str, Any] = {"maximum_version": ProtocolVersion.TLSv1_2} if tls12 else {}
        return ClientContext(trust=self.authority, name=name, **settings)

    # --- what it can be told to do -----------------------------------------------------------------------------------

    def first(self, line: Line) -> Line:
        """A full handshake, whose session is saved in a file; then everybody lets go of it.

        The session's life is written down from the handshake to the wiping of its secret.
        """
        with tracing(), self._context("client", line["tls12"]) as context:
            stream = context.connect(self.address, server_name=_NAME, purpose=_PURPOSE, timeout=self.timeout_s)
            told = self._ask(stream)
            session = _wanted(stream.get1_session())
            write_private(Path(line["save"]), session.to_pem().encode("ascii"))
            session.note(f"saved in {Path(line['save']).name}")
            stream.close()
            context.sessions.flush_all()
            session.free()
        return {
            **told,
            "life": _life(session),
            "freed": session.is_freed,
            "wiped": _is_wiped(session),
            "references": session.references,
        }

    def again(self, line: Line) -> Line:
        """Load the session from the file and resume; then reconnect, again and again, without being told how.

        What the 40 are compared with is measured in between: full handshakes, and the bytes of each kind.
        """
        with self._context("second client", line["tls12"]) as context:
            context.on_new_session = self._remember
            loaded, _ = read_session(Path(line["load"]))
            with (
                loaded,
                context.connect(
                    self.address, server_name=_NAME, purpose=_PURPOSE, session=loaded, timeout=self.timeout_s
                ) as stream,
            ):
                resumed = self._ask(stream)
            full_bytes = self._counted(context, fresh=True)
            full = [self._timed(context, fresh=True) for _ in range(line["full"])]
            resumed_bytes = self._counted(context, fresh=False)
            reconnections = []
            for number in range(line["connections"]):
                if number == line["connections"] // 2:
                    self.paused()
                reconnections.append(self._timed(context, fresh=False))
        return {
            "loaded": resumed,
            "full_ms": [each["ms"] for each in full],
            "full_bytes": full_bytes,
            "resumed_bytes": resumed_bytes,
            "reconnections": reconnections,
        }

    def save(self, line: Line) -> Line:
        """Save a session that nobody has spent, for another program to resume."""
        with (
            self._context("client", False) as context,
            context.connect(self.address, server_name=_NAME, purpose=_PURPOSE, timeout=self.timeout_s) as stream,
        ):
            told = self._ask(stream)
            with _wanted(stream.get1_session()) as session:
                write_private(Path(line["save"]), session.to_pem().encode("ascii"))
        return told

    # --- single connections ------------------------------------------------------------------------------------------

    def _ask(self, stream: Stream) -> Line:
        """Ask the server what it saw, and put both views side by side. Tickets come along with the answer."""
        used = stream.session.id if stream.session is not None else b""
        stream.sendall(make_request("/connection.json", _NAME))
        status, body = parse_answer(stream.read_all())
        page = json.loads(body)
        if status != 200 or not isinstance(page, dict):
            raise NotAnAnswer(f"the server answered with status {status}")
        issued_on = self._issued_on.get(used, 0)
        self._answered_by[stream.connection.number] = page["worker"]
        return {
            "worker": page["worker"],
            "issuer": self._answered_by.get(issued_on) if stream.session_reused else None,
            "client": stream.session_reused,
            "server": page["resumed"],
            "mechanism": page["mechanism"],
            "reason": page["reason"],
            "resumption": str(stream.resumption),
        }

    def _remember(self, connection: Connection, session: Session) -> None:
        self._issued_on.setdefault(session.id, connection.number)

    def _timed(self, context: ClientContext, *, fresh: bool) -> Line:
        """One connection, timed from the first packet to the end of the handshake."""
        started = time.perf_counter()
        stream = context.connect(self.address, server_name=_NAME, purpose=_PURPOSE, timeout=self.timeout_s, fresh=fresh)
        took = time.perf_counter() - started
        with stream:
            return {**self._ask(stream), "ms": took * 1000}

    def _counted(self, context: ClientContext, *, fresh: bool) -> int | None:
        """The bytes of a handshake, both directions, up to the client's last; None if it was not of the kind."""
        sock = CountingSocket(self.address, self.timeout_s)
        connection = context.connection(_NAME, purpose=_PURPOSE, fresh=fresh)
        with Stream(sock, connection, timeout=self.timeout_s) as stream:
            stream.do_handshake()
            count = sock.bytes
            self._ask(stream)
            return count if stream.session_reused is not fresh else None


def _wanted(session: Session | None) -> Session:
    if session is None:
        raise NotAnAnswer("there is no session, although the handshake succeeded")
    return session


def _life(session: Session) -> list[Line]:
    """The steps of a session's life as the ledger wrote them down, and who held it after each."""
    steps = session.life
    holders: Counter[str] = Counter()
    told = []
    for step in steps:
        if step.event in ("given back", "handed over"):
            holders[step.holder] -= 1
        elif step.event != "wiped" and step.holder:
            holders[step.holder] += 1
        told.append(
            {
                "ms": round((step.time - steps[0].time) * 1000, 3),
                "event": step.event,
                "holder": step.holder,
                "references": step.references,
                "holders": dict(+holders),
                "place": step.place,
            }
        )
    return told


def _is_wiped(session: Session) -> bool:
    try:
        return not session.secret
    except SessionFreedError:
        return True


def _run(lines: Iterator[Line]) -> int:
    first = next(lines, None)
    if first is None:
        return 0
    with Census() as census:
        client = Client(first["host"], first["ports"], first["authority"], first["timeout_s"])
        if first.get("pauses"):

            def paused() -> None:
                line_out({"paused": True})
                next(lines, None)

            client.paused = paused
        deeds: dict[str, Callable[[Line], Line]] = {"first": client.first, "again": client.again, "save": client.save}
        for line in lines:
            try:
                answer = deeds[line["do"]](line)
            except (Error, OSError, ValueError, KeyError) as error:
                line_out({"failed": describe(error)})
                return 1
            line_out(answer)
        line_out({"references": census.references(), "leaks": census.leaks()})
    return 0


if __name__ == "__main__":
    sys.exit(_run(lines_in()))
