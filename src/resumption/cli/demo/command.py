"""The sub-command ``resumption demo``: options in, report out, and an exit status: 0 only if every claim held."""

from __future__ import annotations

import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from resumption.cli.demo.plan import DEFAULT, Choice, Plan, kinds_for
from resumption.cli.demo.report import claims, show, to_json
from resumption.cli.demo.scenario import run
from resumption.cli.output import Status, open_console, reports_errors, warn, write_json
from resumption.errors import ConfigurationError
from resumption.session.stores.store import open_store

__all__ = ["demo"]

_MOST_SKEW_S = 60.0


@reports_errors
def demo(
    workers: Annotated[int, typer.Option(min=1, max=64, help="Worker processes of the server.")] = 4,
    connections: Annotated[int, typer.Option(min=1, max=10_000, help="Reconnections of each kind.")] = 40,
    store: Annotated[
        str | None, typer.Option(metavar="URL", help="Where stateful sessions are shared; an SQLite file by default.")
    ] = None,
    mechanism: Annotated[
        list[Choice] | None,
        typer.Option(help=f"A way of resuming; may be repeated. By default {', '.join(DEFAULT)}, where they can be."),
    ] = None,
    machines: Annotated[int, typer.Option(min=1, max=8, help="Simulated machines, with so many workers each.")] = 1,
    skew: Annotated[
        float,
        typer.Option(min=0.0, max=59.0, help="How far the clock of each machine is ahead of the one before, in s."),
    ] = 0.0,
    kill: Annotated[
        bool, typer.Option("--kill", help="Kill all workers (SIGKILL) halfway, and start others in their place.")
    ] = False,
    rotate: Annotated[bool, typer.Option("--rotate", help="Rotate the ticket keys halfway.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the certificates, the sessions and the store.")] = False,
    timeout: Annotated[float, typer.Option(min=1.0, help="Seconds for everything together.")] = 120.0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object, and nothing else.")] = False,
) -> None:
    """Show resumption across processes, measured while it happens, beside the standard library's.

    Exit status: 0 if every claim held, else 1.
    """
    kinds = kinds_for(mechanism or (), store=store, machines=machines)
    if skew * (machines - 1) > _MOST_SKEW_S:
        raise ConfigurationError(
            f"the clocks of a fleet may be {_MOST_SKEW_S:g} s apart, not {skew * (machines - 1):g}"
        )
    if store is not None:
        open_store(store).close()  # whatever is wrong with it is better said before the story begins
    with _ends_in_order(), _folder(keep) as folder:
        plan = Plan(
            folder=folder,
            workers=workers,
            connections=connections,
            store=store,
            timeout_s=timeout,
            kinds=kinds,
            machines=machines,
            skew_s=skew,
            kill=kill,
            rotate=rotate,
        )
        found = run(plan, _Progress(quiet=json))
        if json:
            write_json(to_json(found))
        else:
            show(found)
        if keep:
            warn(f"everything is kept in {folder}; the session files contain secrets")
    failed = [claim.text for claim in claims(found) if not claim.held]
    if failed:
        warn("did not hold: " + "; ".join(failed))
        raise typer.Exit(int(Status.FAILED))


class _Progress:
    """What happens, for people, on standard error."""

    def __init__(self, *, quiet: bool) -> None:
        self._console = None if quiet else open_console(stderr=True)
        self._started = time.monotonic()

    def __call__(self, news: str) -> None:
        if self._console is not None:
            self._console.print(f"{time.monotonic() - self._started:5.1f} s  {news}", style="dim")


@contextmanager
def _folder(keep: bool) -> Iterator[Path]:
    """A directory for everything that is made; gone afterwards unless it is to be kept. Only its owner has access."""
    folder = Path(tempfile.mkdtemp(prefix="resumption-demo-"))
    try:
        yield folder
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _ends_in_order() -> Iterator[None]:
    """Have SIGTERM unwind like Ctrl-C does, so that processes are ended and files removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def unwind(*_: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, unwind)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
