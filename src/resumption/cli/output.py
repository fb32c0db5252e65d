"""What the commands print: tables and lines for people, one JSON document for programs, and the exit statuses.

Standard output belongs to the result, standard error to progress, warnings and errors; with ``--json`` standard output
holds JSON and nothing else. What comes from a peer or a file is escaped before it reaches a terminal.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum
from typing import NoReturn, ParamSpec, TypeVar

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from resumption.cli.processes import describe
from resumption.errors import Error, SessionFormatError, UsageError

__all__ = [
    "Status",
    "fail",
    "facts_table",
    "for_people",
    "open_console",
    "printable",
    "reports_errors",
    "show_table",
    "warn",
    "write_json",
]

P = ParamSpec("P")
R = TypeVar("R")

_WIDTH_WITHOUT_TERMINAL = 118  # columns; people will read it in a log or a pager


class Status(IntEnum):
    """What the exit status of every command means."""

    OK = 0
    FAILED = 1  # it was tried, and did not work out: a handshake, a connection, a claim
    USAGE = 2  # it was not tried: wrong options, a file that cannot be read
    NOT_RESUMED = 3  # `connect --expect-resumed`: everything worked, and it was a full handshake


def open_console(*, stderr: bool = False) -> Console:
    """A console on the stream as it is now. Without a terminal: no colour, and wide enough for the tables."""
    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(
            stderr=stderr, highlight=False, markup=False, emoji=False, width=max(console.width, _WIDTH_WITHOUT_TERMINAL)
        )
    return console


def printable(text: str) -> str:
    """``text`` with every control character except the newline escaped: a terminal must not obey a peer."""
    return "".join(
        character if character == "\n" or character.isprintable() else repr(character)[1:-1] for character in text
    )


def for_people(text: str) -> None:
    """Print lines on standard output, as they are except for control characters."""
    sys.stdout.write(printable(text) + "\n")
    sys.stdout.flush()


def warn(message: str) -> None:
    """One line on standard error."""
    sys.stderr.write(f"resumption: {printable(message)}\n")
    sys.stderr.flush()


def fail(message: str, status: Status = Status.FAILED) -> NoReturn:
    """Say why on standard error, and end the command."""
    warn(message)
    raise typer.Exit(int(status))


def write_json(value: object, *, indent: int | None = 2) -> None:
    """One JSON document on standard output; with ``indent`` None on a single line."""
    sys.stdout.write(json.dumps(value, indent=indent) + "\n")
    sys.stdout.flush()


def show_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "", numbers: Iterable[int] = ()
) -> None:
    """A table on standard output; the columns whose positions are in ``numbers`` are aligned to the right."""
    right = set(numbers)
    table = Table(title=title or None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for position, name in enumerate(columns):
        table.add_column(name, justify="right" if position in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    open_console().print(table)


def facts_table(facts: Iterable[tuple[str, str]], *, title: str = "") -> None:
    """Names and values, one pair a line."""
    table = Table(title=title or None, title_justify="left", title_style="bold", box=None, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(Text(name), Text(printable(value)))
    open_console().print(table)


def reports_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Turn the library's errors, and the system's, into one line and an exit status instead of a traceback."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except (UsageError, SessionFormatError) as error:
            fail(str(error), Status.USAGE)
        except (Error, OSError) as error:
            fail(describe(error))

    return wrapped
