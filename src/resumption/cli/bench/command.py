"""``resumption bench``: handshakes, bulk data and encodings, all in one interleaved run, as a table or as JSON."""

from __future__ import annotations

import os
import platform
import ssl
from collections.abc import Callable
from typing import Annotated, Any

import cryptography
import typer
from rich.progress import Progress

from resumption.cli.bench.bulk import RECORD_LENGTH, SMALL_LENGTH, our_transfer, standard_transfer
from resumption.cli.bench.caches import cache
from resumption.cli.bench.contenders import Contender, Ours, StandardLibrary
from resumption.cli.bench.floor import Floor
from resumption.cli.bench.material import VERSIONS, Terms, temporary_certificates
from resumption.cli.bench.pyopenssl import PyOpenSSL, pyopenssl_version
from resumption.cli.bench.race import frozen_heap, race
from resumption.cli.bench.stores import store
from resumption.cli.certificates import Certificates
from resumption.cli.output import for_people, open_console, reports_errors, show_table, write_json
from resumption.session.model import Session

__all__ = ["bench"]

OURS, STANDARD, PYOPENSSL, FLOOR = "ours", "ssl", "pyopenssl", "floor"
UNREAD = "ssl_unread"  # the standard library where nobody reads the session, which costs it a copy of it each time

bench = typer.Typer(help="Measure it against the standard library's ssl, and against the bare primitives.")
bench.command("cache")(cache)
bench.command("store")(store)


@bench.callback(invoke_without_command=True)
@reports_errors
def measure(
    context: typer.Context,
    rounds: Annotated[int, typer.Option(min=1, help="How many interleaved rounds; the quickest slice counts.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """CPU time for one pair of client and server: full and resumed handshakes, bulk data, and session encodings."""
    if context.invoked_subcommand is not None:
        return
    report: dict[str, Any] = {"rounds": rounds, "machine": _machine(), "handshakes": {}, "bulk": {}, "encodings": {}}
    with (
        temporary_certificates() as certificates,
        frozen_heap(),
        Progress(console=open_console(stderr=True), disable=as_json, transient=True) as progress,
    ):
        for terms in VERSIONS:
            for resumed in (False, True):
                name = f"{terms.name}_{'resumed' if resumed else 'full'}"
                tick = _ticker(progress, f"{terms.words}, {'resumed' if resumed else 'full'}", rounds)
                report["handshakes"][name] = _handshakes(terms, certificates, rounds, tick, resumed=resumed)
            tick = _ticker(progress, f"{terms.words}, data", rounds)
            report["bulk"][terms.name] = _bulk(terms, certificates, rounds, tick)
        report["encodings"] = _encodings(certificates, rounds, _ticker(progress, "encodings", rounds))
    if as_json:
        write_json(report)
    else:
        _show(report)


def _ticker(progress: Progress, words: str, rounds: int) -> Callable[[], object]:
    task = progress.add_task(words, total=rounds)
    return lambda: progress.advance(task)


def _machine() -> dict[str, Any]:
    """What the figures depend on, and how busy the machine was when they were taken."""
    return {
        "python": platform.python_version(),
        "cryptography": cryptography.__version__,
        "openssl": ssl.OPENSSL_VERSION,
        "pyopenssl": pyopenssl_version(),
        "processors": os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def _handshakes(
    terms: Terms, certificates: Certificates, rounds: int, tick: Callable[[], object], *, resumed: bool
) -> dict[str, Any]:
    """One race of complete connections. Microseconds of CPU time for a pair."""
    contenders: dict[str, Contender] = {
        OURS: Ours(terms, certificates),
        STANDARD: StandardLibrary(terms, certificates),
        UNREAD: StandardLibrary(terms, certificates, keeps_sessions=False),
    }
    if pyopenssl_version() is not None:
        contenders[PYOPENSSL] = PyOpenSSL(terms, certificates)
    actions = {name: one.resumed if resumed else one.full for name, one in contenders.items()}
    results = race({**actions, FLOOR: Floor(terms, certificates, resumed=resumed).run}, rounds, tick)
    return {
        "suite": terms.openssl_suite,
        "us": {name: round(seconds * 1e6, 1) for name, seconds in results.best.items()},
        "ratio": round(results.ratio(OURS, STANDARD), 3),
        "unread_ratio": round(results.ratio(OURS, UNREAD), 3),
        "median_ratio": round(results.median_ratio(OURS, STANDARD), 3),
        "floor_ratio": round(results.ratio(OURS, FLOOR), 3),
        "checked": {name: one.handshakes for name, one in contenders.items()},
    }


def _bulk(terms: Terms, certificates: Certificates, rounds: int, tick: Callable[[], object]) -> dict[str, Any]:
    """Data there and back. ``ratio`` is of speed: above 1.0 ours is faster."""
    large = race(
        {
            OURS: our_transfer(terms, certificates, RECORD_LENGTH),
            STANDARD: standard_transfer(terms, certificates, RECORD_LENGTH),
        },
        rounds,
        tick,
    )
    small = race(
        {
            OURS: our_transfer(terms, certificates, SMALL_LENGTH),
            STANDARD: standard_transfer(terms, certificates, SMALL_LENGTH),
        },
        rounds,
    )
    return {
        "mb_per_s": {name: round(2 * RECORD_LENGTH / seconds / 1e6, 1) for name, seconds in large.best.items()},
        "ratio": round(large.ratio(STANDARD, OURS), 3),
        "small_us": {name: round(seconds / 2 * 1e6, 2) for name, seconds in small.best.items()},
        "small_ratio": round(small.ratio(STANDARD, OURS), 3),
    }


def _encodings(certificates: Certificates, rounds: int, tick: Callable[[], object]) -> dict[str, Any]:
    """A TLS 1.3 client session with a ticket, to and from OpenSSL's DER and our packed form. Operations per second."""
    contender = Ours(VERSIONS[0], certificates)
    client, server = contender.connect(fresh=True)
    session = client.get1_session()
    if session is None:
        raise RuntimeError("a connected client has a session")
    encoded, packed = session.to_der(), session.to_packed()
    with session:
        results = race(
            {
                "der_encode": session.to_der,
                "der_decode": lambda: Session.from_der(encoded).free(),
                "packed_encode": session.to_packed,
                "packed_decode": lambda: Session.from_packed(packed).free(),
            },
            rounds,
            tick,
        )
    contender.close(client, server)
    return {
        "bytes": {"der": len(encoded), "packed": len(packed)},
        "per_s": {name: round(1 / seconds) for name, seconds in results.best.items()},
    }


def _show(report: dict[str, Any]) -> None:
    machine = report["machine"]
    names = [OURS, STANDARD, UNREAD, *([PYOPENSSL] if machine["pyopenssl"] else []), FLOOR]
    show_table(
        ["handshake", *(name.replace("_", ", ") for name in names), "ours / ssl", "unread", "median", "ours / floor"],
        [
            [
                name.replace("_", " "),
                *(f"{row['us'][one]:.0f}" for one in names),
                f"{row['ratio']:.2f}",
                f"{row['unread_ratio']:.2f}",
                f"{row['median_ratio']:.2f}",
                f"{row['floor_ratio']:.2f}",
            ]
            for name, row in report["handshakes"].items()
        ],
        title="CPU time of one client and server pair, microseconds",
        numbers=range(1, 11),
    )
    show_table(
        ["version", "MB/s", "ssl", "ours / ssl", "us", "ssl", "ours / ssl"],
        [
            [
                name,
                f"{row['mb_per_s'][OURS]:.0f}",
                f"{row['mb_per_s'][STANDARD]:.0f}",
                f"{row['ratio']:.2f}",
                f"{row['small_us'][OURS]:.1f}",
                f"{row['small_us'][STANDARD]:.1f}",
                f"{row['small_ratio']:.2f}",
            ]
            for name, row in report["bulk"].items()
        ],
        title="data in memory, there and back: 16 KiB records (speed), 100 bytes (one write and read)",
        numbers=range(1, 7),
    )
    per_s = report["encodings"]["per_s"]
    show_table(
        ["form", "bytes", "encoded per second", "decoded per second"],
        [
            [
                form,
                str(report["encodings"]["bytes"][form]),
                f"{per_s[form + '_encode']:,}",
                f"{per_s[form + '_decode']:,}",
            ]
            for form in ("der", "packed")
        ],
        title="one session with a ticket and a certificate",
        numbers=range(1, 4),
    )
    load = f"load {machine['load']:.1f}, " if machine["load"] is not None else ""
    for_people(
        f"Python {machine['python']}, cryptography {machine['cryptography']}, {machine['openssl']}; "
        f"{report['rounds']} rounds; {load}{machine['processors']} processors"
    )
