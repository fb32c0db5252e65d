"""``resumption cache URL``: look into a session store, empty it, and find out what is wrong with it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from resumption.cli.doctor import Finding, examine
from resumption.cli.output import Status, facts_table, fail, for_people, reports_errors, show_table, write_json
from resumption.cli.sources import SOURCES
from resumption.session.stores.store import SessionStore, StoredEntry, open_store
from resumption.session.verdicts import duration

__all__ = ["cache", "doctor", "flush", "list_entries", "stats"]

cache = typer.Typer(help="Look into a session store, empty it, examine it.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Namespace = Annotated[str, typer.Option("--namespace", help="What the keys in the store begin with.")]
_TIMEOUT_S = 2.0  # patience of a person, not of a handshake
_KINDS = {"s": "session", "k": "root of ticket keys", "e": "policy epoch"}


@cache.callback()
def _url(
    context: typer.Context,
    url: Annotated[str, typer.Argument(metavar="URL", help="sqlite:///path, redis://host, memcached://host ...")],
) -> None:
    context.obj = url


@cache.command()
@reports_errors
def stats(context: typer.Context, json: Json = False) -> None:
    """What the store says of itself."""
    with _opened(context) as store:
        facts = _describe(store)
        continuity = getattr(store, "continuity", None)
        if continuity is not None:
            seen = continuity()
            facts |= {"keeps marks": seen.keeps_marks, "identity": seen.identity[:16]}
    if json:
        write_json({name.replace(" ", "_"): value for name, value in facts.items()})
    else:
        facts_table([(name, str(value)) for name, value in facts.items()])


@cache.command("list")
@reports_errors
def list_entries(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 50,
    namespace: Namespace = "resumption",
    json: Json = False,
) -> None:
    """What lies in it. Everything is sealed: there are keys, lengths and times, and no names."""
    with _opened(context) as store:
        entries = _operation(store, "entries", "listing")(f"{namespace}:", limit)
    now = time.time()
    if json:
        write_json([{"kind": _kind(entry, namespace), **entry._asdict()} for entry in entries])
        return
    show_table(
        ["key", "what", "bytes", "ends in"],
        [
            [
                entry.key,
                _kind(entry, namespace),
                str(entry.length),
                "never" if entry.expires_at - now > 1e9 else duration(entry.expires_at - now),
            ]
            for entry in entries
        ],
        title=f"{len(entries)} values" + (" (there may be more: --limit)" if len(entries) == limit else ""),
        numbers=(2, 3),
    )


@cache.command()
@reports_errors
def flush(
    context: typer.Context,
    namespace: Namespace = "resumption",
    everything: Annotated[
        bool, typer.Option("--all", help="Also roots of ticket keys and the policy epoch, not only sessions.")
    ] = False,
    json: Json = False,
) -> None:
    """Drop all sessions: their clients make full handshakes once. Marks of what was seen stay: they stop replays."""
    with _opened(context) as store:
        dropped = _operation(store, "clear", "emptying")(f"{namespace}:" if everything else f"{namespace}:s:")
    if json:
        write_json({"dropped": dropped})
    else:
        for_people(f"{dropped} dropped")


@cache.command()
@reports_errors
def doctor(
    context: typer.Context,
    tickets: Annotated[
        str | None, typer.Option("--tickets", metavar="KEYS", help=f"Also try the fleet's keys: {SOURCES}")
    ] = None,
    namespace: Namespace = "resumption",
    json: Json = False,
) -> None:
    """Examine a store as servers would use it: reach it, write, read, take once, mark once, and its settings.

    Exit status: 0 if nothing failed (warnings are no failures), else 1.
    """
    findings = examine(context.obj, tickets=tickets, namespace=namespace, timeout_s=_TIMEOUT_S)
    if json:
        write_json({"ok": not _failed(findings), "findings": [finding._asdict() for finding in findings]})
    else:
        show_table(["", "what", "found"], [[each.result, each.what, each.detail] for each in findings])
    if _failed(findings):
        raise typer.Exit(int(Status.FAILED))


def _failed(findings: list[Finding]) -> bool:
    return any(finding.result == "FAILED" for finding in findings)


@contextlib.contextmanager
def _opened(context: typer.Context) -> Iterator[SessionStore]:
    with contextlib.closing(open_store(context.obj, timeout_s=_TIMEOUT_S)) as store:
        yield store


def _describe(store: SessionStore) -> dict[str, Any]:
    describe = getattr(store, "describe", None)
    return dict(describe()) if describe is not None else {"kind": type(store).__name__}


def _operation(store: SessionStore, name: str, words: str) -> Any:
    operation = getattr(store, name, None)
    if operation is None:
        fail(f"{words} is nothing that a store of this kind can do", Status.USAGE)
    return operation


def _kind(entry: StoredEntry, namespace: str) -> str:
    return _KINDS.get(entry.key.removeprefix(f"{namespace}:").partition(":")[0], "unknown")
