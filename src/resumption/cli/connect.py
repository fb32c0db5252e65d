"""``resumption connect``: one client connection, or several that resume each other, and what became of each.

The handshake's result goes to standard output, then what the server says; with ``--json`` one object instead. Without
``--get`` what is typed (or piped in) goes to the server, as in ``openssl s_client``.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from cryptography import x509

from resumption import ClientContext, Session
from resumption.cli.files import read_session, write_private
from resumption.cli.output import Status, facts_table, fail, for_people, reports_errors, warn, write_json
from resumption.cli.pages import NotAnAnswer, connection_facts, make_request, parse_answer, session_facts
from resumption.cli.processes import describe
from resumption.constants import ProtocolVersion
from resumption.errors import Error, UnexpectedEOF, UsageError
from resumption.streams.blocking import Stream

__all__ = ["connect", "parse_address"]

_HTTPS = 443
_CLOSE_WAIT_S = 1.0  # for the server to close too, and for tickets that are on their way
_ANSWER_LIMIT = 1 << 26  # bytes of an answer that are kept


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of ``HOST``, ``HOST:PORT``, ``[::1]`` or ``[::1]:PORT``; the port is 443 unless given."""
    host, port = text, ""
    if text.startswith("["):
        host, closing, rest = text[1:].partition("]")
        if not closing or (rest and not rest.startswith(":")):
            raise typer.BadParameter(f"{text!r} is not HOST:PORT")
        port = rest[1:]
        if rest and not port:
            raise typer.BadParameter(f"{text!r} has no port after its colon")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
        if not port:
            raise typer.BadParameter(f"{text!r} has no port after its colon")
    if not host:
        raise typer.BadParameter(f"{text!r} names no host")
    if not port:
        return host, _HTTPS
    if not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise typer.BadParameter(f"{port!r} is not a port number")
    return host, int(port)


@reports_errors
def connect(
    target: Annotated[str, typer.Argument(metavar="HOST[:PORT]", help="The server; the port is 443 unless given.")],
    ca: Annotated[Path | None, typer.Option(help="CA certificates to trust, in place of the system's.")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Accept any certificate. For tests.")] = False,
    servername: Annotated[str, typer.Option(help="The name that the server must have, if not HOST.")] = "",
    alpn: Annotated[list[str] | None, typer.Option(help="An application protocol; may be repeated.")] = None,
    cert: Annotated[Path | None, typer.Option(help="Our own certificate chain, if the server asks.")] = None,
    key: Annotated[Path | None, typer.Option(help="Its private key, if that is in another file.")] = None,
    sess_in: Annotated[Path | None, typer.Option(help="Offer the session in this file (PEM, DER or packed).")] = None,
    sess_out: Annotated[Path | None, typer.Option(help="Save the last session here, in PEM, mode 0600.")] = None,
    reconnect: Annotated[int, typer.Option(min=0, help="Connect as many times more.")] = 0,
    early_data: Annotated[
        Path | None, typer.Option(help="Send this file as early data wherever a session allows it. It may be replayed.")
    ] = None,
    expect_resumed: Annotated[
        bool, typer.Option("--expect-resumed", help="Exit with 3 if a connection that could resume did not.")
    ] = False,
    get: Annotated[bool, typer.Option("--get", help="Send a GET in place of standard input.")] = False,
    path: Annotated[str, typer.Option(help="What to GET.")] = "/",
    tls1_2: Annotated[bool, typer.Option("--tls1_2", help="TLS 1.2 only.")] = False,
    tls1_3: Annotated[bool, typer.Option("--tls1_3", help="TLS 1.3 only.")] = False,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds for connecting, and for each answer.")] = 10.0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print what the server says, and no more.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Connect to a server; say what was negotiated, whether it was resumed, and if not, why.

    Exit status: 0 all handshakes succeeded, 1 one failed, 2 wrong usage, 3 not resumed although --expect-resumed.
    """
    address = parse_address(target)
    if tls1_2 and tls1_3:
        raise typer.BadParameter("--tls1_2 and --tls1_3 exclude each other")
    request = _request(path, servername or address[0]) if get else None
    versions: dict[str, Any] = {}
    if tls1_2:
        versions["maximum_version"] = ProtocolVersion.TLSv1_2
    if tls1_3:
        versions["minimum_version"] = ProtocolVersion.TLSv1_3
    with ExitStack() as held:
        offered = held.enter_context(read_session(sess_in)[0]) if sess_in is not None else None
        client = held.enter_context(
            ClientContext(
                trust=ca,
                verify=not insecure,
                alpn=alpn or (),
                certificate=cert,
                private_key=key,
                name="this command",
                **versions,
            )
        )
        early = early_data.read_bytes() if early_data is not None else b""
        run = _Run(
            client, address, servername or None, timeout, request, early=early, relay=not json, quiet=quiet or json
        )
        held.callback(run.close)
        error = run.all(offered, reconnect)
        saved = False
        if sess_out is not None and run.newest is not None:
            try:
                saved = run.save(sess_out)
            except OSError as trouble:
                error = error or trouble
    expected = run.reports[1:] if offered is None and reconnect else run.reports
    missed = expect_resumed and not all(report["resumed"] for report in expected)
    if json:
        write_json(
            {
                "connections": run.reports,
                "saved": str(sess_out) if saved else None,
                "error": None if error is None else {"kind": type(error).__name__, "message": str(error)},
            }
        )
    if error is not None:
        fail(describe(error))
    if missed:
        fail("a connection was not resumed", Status.NOT_RESUMED)


def _request(path: str, host: str) -> bytes:
    try:
        return make_request(path, host)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


@dataclass
class _Run:
    """The connections of one command, one after the other."""

    client: ClientContext
    address: tuple[str, int]
    server_name: str | None
    timeout_s: float
    request: bytes | None
    early: bytes
    relay: bool
    quiet: bool
    reports: list[dict[str, Any]] = field(default_factory=list)
    newest: Session | None = None  # the application's reference

    def all(self, offered: Session | None, reconnect: int) -> Error | OSError | None:
        """Make them; returns the error that ended it."""
        try:
            for number in range(1 + reconnect):
                self._one(offered if not number else None, number)
        except UsageError:
            raise
        except (Error, OSError) as error:
            return error
        return None

    def _one(self, offered: Session | None, number: int) -> None:
        started = time.perf_counter()
        with self.client.connect(
            self.address,
            server_name=self.server_name,
            session=offered,
            timeout=self.timeout_s,
            early_data=self.early,
        ) as stream:
            took_ms = (time.perf_counter() - started) * 1000
            report: dict[str, Any] = {
                **connection_facts(stream),
                "handshake_ms": round(took_ms, 3),
                "peer": _peer(stream),
            }
            self.reports.append(report)
            if not self.quiet:
                self._show(report, number)
            report["received"] = self._exchange(stream, is_first=not number)
            self._keep(stream, report)
        if not self.quiet and not number:
            _show_session(report["session"])

    def _show(self, report: dict[str, Any], number: int) -> None:
        took = f"{report['handshake_ms']:.1f} ms"
        if number:
            early = f", {report['early_data']}" if report["early_data"] else ""
            for_people(f"again {number}: {report['resumption']}, {took}{early}")
            return
        facts = [
            ("version", report["version"]),
            ("cipher", report["cipher"]),
            ("alpn", report["alpn"] or "none"),
            ("server", report["peer"] or "no certificate"),
            ("resumption", report["resumption"]),
            *([("early data", report["early_data"])] if report["early_data"] else []),
            ("handshake", took),
        ]
        facts_table(facts, title=f"{self.address[0]}:{self.address[1]}")

    def _exchange(self, stream: Stream, *, is_first: bool) -> int:
        """Say what there is to say, and read until the server closes; returns how many bytes it said."""
        if self.request is not None:
            stream.sendall(self.request)
            answer = _read_answer(stream)
            if self.relay and is_first:
                _show_answer(answer)
            return len(answer)
        if self.relay and is_first:
            return _relay(stream)
        stream.close_write()
        stream.settimeout(min(_CLOSE_WAIT_S, self.timeout_s))
        try:
            return len(stream.read_all(_ANSWER_LIMIT))
        except (TimeoutError, UnexpectedEOF, ConnectionError):
            return stream.pending

    def _keep(self, stream: Stream, report: dict[str, Any]) -> None:
        self.close()
        self.newest = stream.get1_session()
        report["session"] = session_facts(self.newest) if self.newest is not None else None

    def save(self, path: Path) -> bool:
        """Write the newest session, if it is one that can be offered later."""
        if self.newest is None or not self.newest.is_resumable:
            warn(f"nothing was saved in {path}: the server gave no session that could be resumed")
            return False
        write_private(path, self.newest.to_pem().encode("ascii"))
        warn(f"{path} contains the session's secret: whoever has it can resume the session (its mode is 0600)")
        return True

    def close(self) -> None:
        """Give the kept session back."""
        newest, self.newest = self.newest, None
        if newest is not None:
            newest.free()


def _peer(stream: Stream) -> str | None:
    """The subject of the server's certificate."""
    if not stream.peer_chain:
        return None
    try:
        return x509.load_der_x509_certificate(stream.peer_chain[0]).subject.rfc4514_string()
    except ValueError:
        return None  # it was good enough for the handshake, and says nothing that can be shown


def _show_session(session: dict[str, Any] | None) -> None:
    if session is None:
        return
    holders = ", ".join(f"{holder}: {number}" for holder, number in session["holders"].items())
    kind = "resumable" if session["resumable"] else "not resumable"
    for_people(f"session {session['id'][:16] or 'without id'}, {kind}; references {session['references']} ({holders})")


def _read_answer(stream: Stream) -> bytes:
    """All that the server says, also if it is cut off, with a warning: many servers end that way."""
    try:
        return stream.read_all(_ANSWER_LIMIT)
    except (UnexpectedEOF, ConnectionError) as error:
        warn(describe(error))
        return stream.read_exactly(stream.pending)


def _show_answer(answer: bytes) -> None:
    try:
        body = parse_answer(answer)[1]
    except NotAnAnswer:
        body = answer
    _write(body)


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _relay(stream: Stream) -> int:
    """Standard input to the server and the server's words to standard output, until the server closes.

    A server that goes on saying nothing once our input has ended is left after the timeout.
    """
    ended = threading.Event()

    def send() -> None:
        try:
            for data in _input_chunks():
                stream.sendall(data)
            stream.close_write()
        except (Error, OSError):
            pass  # reading finds out why
        finally:
            ended.set()

    threading.Thread(target=send, name="standard input", daemon=True).start()
    received = 0
    while True:
        try:
            data = stream.recv()
        except TimeoutError:
            if ended.is_set():
                return received
            continue
        except (UnexpectedEOF, ConnectionError) as error:
            warn(describe(error))
            return received
        if not data:
            return received
        received += len(data)
        _write(data)


def _input_chunks() -> Iterator[bytes]:
    """What comes on standard input, as it comes. Read beneath Python's buffer: a thread that waits in there would keep
    the process from ending."""
    try:
        descriptor = sys.stdin.fileno()
    except (OSError, ValueError):
        yield sys.stdin.buffer.read()
        return
    yield from iter(lambda: os.read(descriptor, 1 << 16), b"")
