"""``resumption bench store``: what a shared store costs, beside the bare client library and the handshake it saves.

Each store is filled with sealed records, then get, take and put are timed one by one, by the clock on the wall:
directly, and through the guard that servers put in front (a worker thread and a deadline for lookups, a queue for
writes). The floor is the same library called with nothing around it: one SELECT, one GET, one dictionary access.
"""

from __future__ import annotations

import importlib
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

import typer

from resumption.cli.bench.contenders import Ours
from resumption.cli.bench.material import VERSIONS, temporary_certificates
from resumption.cli.output import for_people, reports_errors, show_table, write_json
from resumption.session.stores.guarded import GuardedStore, StoreLimits
from resumption.session.stores.store import SessionStore, open_store

__all__ = ["store"]

_RECORD = 1024  # bytes: a sealed session with a chain of one certificate
_DIGITS = 48  # of a key's number
_BATCH = 500
_LIFETIME_S = 3600.0
_HANDSHAKES = 20

Call = Callable[[str], object]


@reports_errors
def store(
    url: Annotated[list[str] | None, typer.Option(metavar="URL", help="A store to measure; may be repeated.")] = None,
    sessions: Annotated[int, typer.Option(min=100, help="How many sessions each store holds.")] = 20_000,
    calls: Annotated[int, typer.Option(min=10, help="How many calls of each kind are timed.")] = 2_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure stores of sessions: by default one in memory and one in a SQLite file."""
    with tempfile.TemporaryDirectory(prefix="resumption-bench-") as folder:
        room = f"max_entries={2 * sessions}&max_bytes={max(1 << 26, 4 * _RECORD * sessions)}"
        urls = url or [f"memory:?{room}", f"sqlite://{quote(folder)}/sessions.db?{room}"]
        report = {
            "sessions": sessions,
            "calls": calls,
            "handshake_us": _handshakes(),
            "stores": [_measure(one, sessions, min(calls, sessions // 4), Path(folder)) for one in urls],
        }
    if as_json:
        write_json(report)
    else:
        _show(report)


def _measure(url: str, sessions: int, calls: int, folder: Path) -> dict[str, Any]:
    """One store: filled, then timed in its three forms."""
    opened = open_store(url, timeout_s=5.0)
    guarded = GuardedStore(opened, StoreLimits(timeout_s=5.0, write_queue=max(1024, calls)))
    run = os.urandom(8).hex()
    try:
        fill_s = _fill(opened, run, sessions)
        facts: dict[str, Any] = {
            "store": urlsplit(url).scheme,
            "filled_per_s": round(sessions / fill_s),
            "direct": _timed(_store_calls(opened), run, calls, 0),
            "guarded": _timed(_store_calls(guarded), run, calls, calls),
        }
        guarded.flush(60)
        with _Floor(url, folder, run, calls) as floor:
            facts["floor"] = _timed(floor, run, calls, 0) if floor is not None else None
    finally:
        if urlsplit(url).scheme not in ("memory", "sqlite"):  # they end with this process
            _empty(opened, run, sessions)
        guarded.close()
        opened.close()
    return facts


def _key(run: str, number: int) -> str:
    return f"resumption:s:{run}{number:0{_DIGITS}x}"


def _fill(opened: SessionStore, run: str, sessions: int) -> float:
    """Put all sessions in, many at a time where the store can; seconds."""
    record, ends = os.urandom(_RECORD), time.time() + _LIFETIME_S
    put_many = getattr(opened, "put_many", None)
    started = time.perf_counter()
    for first in range(0, sessions, _BATCH):
        entries = [(_key(run, number), record, ends) for number in range(first, min(first + _BATCH, sessions))]
        if put_many is not None:
            put_many(entries)
        else:
            for entry in entries:
                opened.put(*entry)
    return time.perf_counter() - started


def _empty(opened: SessionStore, run: str, sessions: int) -> None:
    """Leave nothing behind."""
    clear = getattr(opened, "clear", None)
    if clear is not None:
        clear(_key(run, 0)[:-_DIGITS])
        return
    for number in range(sessions):
        opened.remove(_key(run, number))


def _store_calls(opened: SessionStore) -> dict[str, Call]:
    record, ends = os.urandom(_RECORD), time.time() + _LIFETIME_S
    return {"get": opened.get, "take": opened.take, "put": lambda key: opened.put(key, record, ends)}


def _timed(calls: dict[str, Call], run: str, count: int, first: int) -> dict[str, dict[str, float]]:
    """Each kind of call, on keys that are there; what was taken is put back by the puts."""
    keys = [_key(run, first + number) for number in range(count)]
    return {name: _percentiles(call, keys) for name, call in calls.items()}


def _percentiles(call: Call, keys: Sequence[str]) -> dict[str, float]:
    took = []
    clock = time.perf_counter
    for key in keys:
        started = clock()
        call(key)
        took.append(clock() - started)
    took.sort()
    return {
        "per_s": round(len(took) / sum(took)),
        "p50_us": round(took[len(took) // 2] * 1e6, 1),
        "p99_us": round(took[len(took) * 99 // 100] * 1e6, 1),
    }


class _Floor:
    """The bare library behind a URL, with as many records as are timed; None where there is no single server."""

    def __init__(self, url: str, folder: Path, run: str, count: int) -> None:
        self._parts = urlsplit(url)
        self._folder = folder
        self._keys = [_key(run, number) for number in range(count)]
        self._closing: Callable[[], object] = int

    def __enter__(self) -> dict[str, Call] | None:
        scheme, host, port = self._parts.scheme, self._parts.hostname or "", self._parts.port
        record = os.urandom(_RECORD)
        calls: dict[str, Call]
        if scheme == "memory":
            table = dict.fromkeys(self._keys, record)
            return {"get": table.get, "take": table.pop, "put": lambda key: table.__setitem__(key, record)}
        if scheme == "sqlite":
            connection = sqlite3.connect(self._folder / "floor.db", isolation_level=None)
            self._closing = connection.close
            connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;")
            connection.execute("CREATE TABLE t (k TEXT PRIMARY KEY, v BLOB)")
            run = connection.execute
            calls = {
                "get": lambda key: run("SELECT v FROM t WHERE k = ?", (key,)).fetchone(),
                "take": lambda key: run("DELETE FROM t WHERE k = ? RETURNING v", (key,)).fetchone(),
                "put": lambda key: run("INSERT OR REPLACE INTO t VALUES (?, ?)", (key, record)),
            }
        elif scheme in ("redis", "valkey") and "," not in self._parts.netloc:
            client = importlib.import_module("redis").Redis(host=host, port=port or 6379)
            self._closing = client.close
            floor = "resumption:bench:"
            calls = {
                "get": lambda key: client.get(floor + key),
                "take": lambda key: client.getdel(floor + key),
                "put": lambda key: client.set(floor + key, record, px=60_000),
            }
        elif scheme == "memcached" and "," not in self._parts.netloc and host:
            cache = importlib.import_module("pymemcache.client.base").Client((host, port or 11_211), no_delay=True)
            self._closing = cache.close
            calls = {
                "get": lambda key: cache.get("b" + key),
                "take": lambda key: cache.cas("b" + key, b"", cache.gets("b" + key)[1], expire=1, noreply=False),
                "put": lambda key: cache.set("b" + key, record, expire=60, noreply=False),
            }
        else:
            return None
        for key in self._keys:
            calls["put"](key)
        return calls

    def __exit__(self, *error: object) -> None:
        self._closing()


def _handshakes() -> dict[str, float]:
    """A full and a resumed TLS 1.3 handshake of one client and server pair: the best of a few, in microseconds."""
    with temporary_certificates() as certificates:
        ours = Ours(VERSIONS[0], certificates)
        return {name: round(min(_took(run) for _ in range(_HANDSHAKES)) * 1e6) for name, run in _pairs(ours)}


def _pairs(ours: Ours) -> Iterator[tuple[str, Callable[[], object]]]:
    yield "full", ours.full
    yield "resumed", ours.resumed


def _took(run: Callable[[], object]) -> float:
    started = time.process_time()
    run()
    return time.process_time() - started


def _show(report: dict[str, Any]) -> None:
    rows = [
        [facts["store"], form, call, f"{row['per_s']:,}", f"{row['p50_us']:,}", f"{row['p99_us']:,}"]
        for facts in report["stores"]
        for form in ("floor", "direct", "guarded")
        if facts[form] is not None
        for call, row in facts[form].items()
    ]
    show_table(
        ["store", "form", "call", "per second", "p50 us", "p99 us"],
        rows,
        title=f"{report['sessions']:,} sessions of {_RECORD} bytes, {report['calls']:,} calls each",
        numbers=range(3, 6),
    )
    full, resumed = report["handshake_us"]["full"], report["handshake_us"]["resumed"]
    for_people(f"a full handshake costs {full - resumed:,.0f} us more than a resumed one ({full:,.0f}, {resumed:,.0f})")
