"""The ``resumption`` command: its sub-commands, one module each, under one name."""

from __future__ import annotations

from typing import Annotated

import typer

from resumption import __version__
from resumption.cli.bench.command import bench
from resumption.cli.cache import cache
from resumption.cli.connect import connect
from resumption.cli.demo.command import demo
from resumption.cli.keys import keys
from resumption.cli.output import for_people
from resumption.cli.serve import serve
from resumption.cli.session import sessions

__all__ = ["application", "run"]

application = typer.Typer(
    name="resumption",
    help="TLS in which a session is a real thing: held, counted, saved, shared and resumed.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # they would print local variables, which may hold secrets
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        for_people(f"resumption {__version__}")
        raise typer.Exit


@application.callback()
def _resumption(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


application.command()(demo)
application.command()(connect)
application.command()(serve)
application.add_typer(sessions, name="session")
application.add_typer(cache, name="cache")
application.add_typer(keys, name="keys")
application.add_typer(bench, name="bench")


def run() -> None:
    """Run the command in ``sys.argv``, and exit with its status."""
    application(prog_name="resumption")
