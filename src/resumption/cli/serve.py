"""``resumption serve``: a small test server, with any number of worker processes on one port.

It answers a GET with a page about the connection: resumed, or why not. Each worker is a process with a context of its
own; what they share is the ticket secret and, if there is one, the store. It is for trying things out, not for serving.
"""

from __future__ import annotations

import os
import secrets
import signal
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from resumption.cli.certificates import make_certificates
from resumption.cli.fleet import Fleet, numbered
from resumption.cli.output import fail, for_people, reports_errors, warn, write_json
from resumption.cli.processes import Deadline, Line
from resumption.cli.worker import WorkerSettings
from resumption.constants import ProtocolVersion

__all__ = ["serve"]

_START_S = 60.0
_END_S = 10.0
_EARLY_DATA = 16_384  # bytes that a connection may send
_LOOK_S = 0.5  # how often it is checked that all workers are there


@reports_errors
def serve(
    cert: Annotated[
        Path | None, typer.Option(help="Certificate chain, leaf first. Without one, a throw-away one is made.")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="Its private key, if that is in another file.")] = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 is any that is free.")] = 0,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Worker processes.")] = 1,
    tickets: Annotated[
        str, typer.Option(metavar="SECRET", help="The ticket secret: 32 or more bytes, or file:PATH, or env:NAME.")
    ] = "",
    store: Annotated[
        str | None, typer.Option(metavar="URL", help="Where stateful sessions are shared, e.g. sqlite:///tmp/s.db")
    ] = None,
    stateful: Annotated[bool, typer.Option("--stateful", help="Issue TLS 1.3 tickets that are looked up.")] = False,
    early_data: Annotated[
        bool, typer.Option("--early-data", help="Take early data, once each; with --store not at once after a start.")
    ] = False,
    alpn: Annotated[list[str] | None, typer.Option(help="An application protocol; may be repeated.")] = None,
    client_ca: Annotated[Path | None, typer.Option(help="Require a client certificate of one of these CAs.")] = None,
    tls1_2: Annotated[bool, typer.Option("--tls1_2", help="TLS 1.2 only.")] = False,
    tls1_3: Annotated[bool, typer.Option("--tls1_3", help="TLS 1.3 only.")] = False,
    www: Annotated[bool, typer.Option("--www/--echo", help="Answer with a page, or with what comes.")] = True,
    json: Annotated[
        bool, typer.Option("--json", help="Print the port, then each connection, as lines of JSON.")
    ] = False,
) -> None:
    """Serve until interrupted; say of each connection whether it was resumed, and if not, why."""
    if tls1_2 and tls1_3:
        raise typer.BadParameter("--tls1_2 and --tls1_3 exclude each other")
    if tickets and tickets.partition(":")[0] not in ("file", "env"):
        warn("a secret on the command line is shown in lists of processes: file:PATH or env:NAME hide it")
    with ExitStack() as held:
        authority = None
        if cert is None:
            folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="resumption-serve-")))
            made = make_certificates(folder)
            cert, key, authority = made.chain, made.key, str(made.authority)
        settings = WorkerSettings(
            index=0,
            certificate=str(cert),
            private_key=None if key is None else str(key),
            tickets=tickets or secrets.token_hex(32),
            host=host,
            port=port,
            store=store,
            stateful=stateful,
            early_data=_EARLY_DATA if early_data else 0,
            alpn=tuple(alpn or ()),
            minimum_version=int(ProtocolVersion.TLSv1_3) if tls1_3 else None,
            maximum_version=int(ProtocolVersion.TLSv1_2) if tls1_2 else None,
            client_ca=None if client_ca is None else str(client_ca),
            echo=not www,
        )
        stopped = _stop_on_signals()
        report = _report_json if json else _report_line
        fleet = held.enter_context(Fleet(numbered(settings, workers), Deadline(_START_S), report))
        if json:
            write_json(
                {"event": "listening", "host": host, "port": fleet.port, "pid": os.getpid(), "workers": fleet.pids}
                | ({} if authority is None else {"ca": authority}),
                indent=None,
            )
        else:
            for_people(f"listening on {host}:{fleet.port} with {workers} worker{'s' if workers > 1 else ''}")
            if authority is not None:
                for_people(f"clients can trust {authority}")
        while fleet.is_whole and not stopped.wait(_LOOK_S):
            pass
        if not stopped.is_set():
            fail("a worker process ended unexpectedly")
        fleet.end(Deadline(_END_S))


def _stop_on_signals() -> threading.Event:
    """An event that SIGINT and SIGTERM set."""
    stopped = threading.Event()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stopped.set())
    return stopped


def _report_json(line: Line) -> None:
    write_json(line, indent=None)


def _report_line(line: Line) -> None:
    if line["event"] == "trouble":
        warn(f"worker {line['worker']}, {line['peer']}: {line['error']}")
        return
    for_people(f"worker {line['worker']}, {line['peer']}: {line['version']}, {line['resumption']}")
