"""Sessions in one SQLite file that all processes of a machine share: the store that needs no server.

Each change is one short transaction of its own, and SQLite's locks make it atomic among processes. The file is in
write-ahead mode without a disk flush per change: after a power failure the newest sessions may be gone, which costs
their owners a full handshake, and the file is intact. A change waits for other writers at most ``busy_timeout_s``, then
raises `StoreError`, as it does for every other trouble with the file.

What an older copy of the file would bring back is not taken again: `resumption.session.stores.sqlite_life` tells it
from the file. It can still be got: what may be used more than once loses nothing.

Where the file lies and how it is shared is `resumption.session.stores.sqlite_file`'s affair.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Self

from resumption.errors import ConfigurationError, StoreError
from resumption.session.stores.addresses import Options, parse_local
from resumption.session.stores.sqlite_file import Layout, SQLiteFile, count
from resumption.session.stores.sqlite_life import LIFE_TABLE, FileLife
from resumption.session.stores.store import Continuity, Entry, StoredEntry

__all__ = ["SQLiteStore"]

_LONGEST_VALUE = 65_536
_SMALLEST_FILE = 1 << 20
_OPTIONS: Options = {"max_entries": int, "max_marks": int, "max_bytes": int, "busy_timeout_s": float}
_LAYOUT = Layout(
    "session store",
    0x52534D50,  # "RSMP"
    4,
    LIFE_TABLE
    + """
CREATE TABLE IF NOT EXISTS records
    (key TEXT PRIMARY KEY, value BLOB NOT NULL, expires_at REAL NOT NULL, life INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS records_by_expiry ON records (expires_at);
CREATE TABLE IF NOT EXISTS marks (key TEXT PRIMARY KEY, expires_at REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS marks_by_expiry ON marks (expires_at);
""",
)
_PAUSE_S = 0.0001  # between two looks at whether another writer is done
_SWEEP_EVERY = 32  # insertions between two sweeps
_SWEPT_AT_ONCE = 128  # expired entries per sweep: more than came in since the last, so they do not pile up

_GET = "SELECT key, value, expires_at FROM records WHERE key IN (?, ?) AND expires_at > ?"
_MAY_BE_TAKEN = (
    "SELECT 1 FROM records WHERE key IN (?, ?) AND expires_at > ? AND life = (SELECT number FROM life) LIMIT 1"
)
_TAKE = "DELETE FROM records WHERE key IN (?, ?) RETURNING key, value, expires_at, life"
_PUT = (
    "INSERT INTO records (key, value, expires_at, life) SELECT ?, ?, ?, number FROM life WHERE true "
    "ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at, life = excluded.life"
)
_PUT_IF_ABSENT = f"{_PUT} WHERE records.expires_at <= ?"
_REMOVE = "DELETE FROM records WHERE key IN (?, ?)"
_MARK = (
    "INSERT INTO marks (key, expires_at) VALUES (?, ?) "
    "ON CONFLICT (key) DO UPDATE SET expires_at = excluded.expires_at WHERE expires_at <= ?"
)
_SWEEP_RECORDS = (
    "DELETE FROM records WHERE rowid IN (SELECT rowid FROM records WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)"
)
_SWEEP_MARKS = (
    "DELETE FROM marks WHERE key IN (SELECT key FROM marks WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)"
)
_EVICT = "DELETE FROM records WHERE rowid IN (SELECT rowid FROM records ORDER BY expires_at LIMIT ?)"
_LIST = (
    "SELECT key, length(value), expires_at FROM records WHERE substr(key, 1, length(?)) = ? AND expires_at > ? "
    "ORDER BY expires_at LIMIT ?"
)
_CLEAR = "DELETE FROM records WHERE substr(key, 1, length(?)) = ?"
_COUNT_RECORDS = "SELECT count(*) FROM records"
_COUNT_MARKS = "SELECT count(*) FROM marks"


class SQLiteStore(SQLiteFile):
    """A `session.stores.store.SessionStore` in a file of mode 0600. Safe to share by threads and across forks."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_entries: int = 100_000,
        max_marks: int = 250_000,
        max_bytes: int = 1 << 30,
        busy_timeout_s: float = 0.02,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open the file, and make it if there is none.

        When there are more than ``max_entries`` values, those that expire first go; each process counts now and then,
        so the file may hold 1/64 more per process for a while. They also make room where the file would grow beyond
        ``max_bytes``; what leaves is used again, and the file does not shrink. Raises `ConfigurationError` if others
        may access the file or it is something else, and `StoreError` if it cannot be opened.
        """
        if max_entries < 1 or max_marks < 1 or max_bytes < _SMALLEST_FILE or not busy_timeout_s >= 0:
            raise ConfigurationError(
                "a store needs room for one entry, one mark and 1 MiB at least, and a timeout of 0 or more"
            )
        super().__init__(path, _LAYOUT, max_bytes=max_bytes, busy_timeout_s=busy_timeout_s)
        self._max_entries = max_entries
        self._max_marks = max_marks
        self._clock = clock
        self._until_count = 1  # insertions of this process until it counts the values
        self._mark_room = 0  # marks that this process may set until it counts them
        self._until_sweep = _SWEEP_EVERY
        self._life = FileLife(self._path)
        with self._lock:
            self._connect()

    @classmethod
    def from_url(cls, url: str, *, timeout_s: float = 0.02) -> Self:
        """``sqlite:///path``, with the keywords of the class as options. ``timeout_s`` is the ``busy_timeout_s``."""
        path, options = parse_local(url, _OPTIONS, has_path=True)
        return cls(path, **{"busy_timeout_s": timeout_s, **options})

    # --- the store ---------------------------------------------------------------------------------------------------

    def get(self, key: str, other: str | None = None) -> bytes | None:
        """The value under ``key``, else that under ``other``. Waits for no writer: it sees the last committed state."""
        now = self._clock()
        with self._connected() as connection:
            rows = self._run(connection, _GET, (key, other, now)).fetchall()
        return _pick(rows, key, now)

    def take(self, key: str, other: str | None = None) -> bytes | None:
        """As `get`, and both are removed, in one step, if they were put in this life of the file. Keys that are not
        there cost no write lock."""
        now = self._clock()
        with self._connected() as connection:
            if not self._run(connection, _MAY_BE_TAKEN, (key, other, now)).fetchall():
                return None
            with self._transaction(connection):
                rows = connection.execute(_TAKE, (key, other)).fetchall()
                life = self._life.count_taking(connection, self._opened, now)
            self._life.taken()
        return _pick([row[:3] for row in rows if row[3] == life], key, now)

    def put(self, key: str, value: bytes, expires_at: float) -> None:
        """Keep ``value`` until ``expires_at``. Now and then this also sweeps out a batch of what has expired."""
        _check_length(value)
        now = self._clock()
        with self._connected() as connection:
            self._insert(connection, key, value, expires_at, now)
            self._sweep(connection, now)
            self._bound(connection, 1)

    def put_if_absent(self, key: str, value: bytes, expires_at: float) -> bytes:
        """Keep ``value`` unless there is one, in one step; returns the one that is there afterwards."""
        _check_length(value)
        now = self._clock()
        with self._connected() as connection:
            if not now < expires_at:
                return value
            self._run(connection, _PUT_IF_ABSENT, (key, value, expires_at, now))
            found = _pick(self._run(connection, _GET, (key, None, now)).fetchall(), key, now)
        if found is None:
            raise StoreError("a value was removed while it was put")
        return found

    def put_many(self, entries: Sequence[Entry]) -> None:
        """Keep them all, in one transaction: one wait for other writers instead of many."""
        for _, value, _ in entries:
            _check_length(value)
        now = self._clock()
        with self._connected() as connection, self._transaction(connection):
            for key, value, expires_at in entries:
                self._insert(connection, key, value, expires_at, now)
            self._sweep(connection, now)
            self._bound(connection, len(entries))

    def remove(self, key: str, other: str | None = None) -> None:
        """Forget the values under ``key`` and ``other``."""
        with self._connected() as connection:
            self._run(connection, _REMOVE, (key, other))

    def add_once(self, key: str, expires_at: float) -> bool:
        """Set a mark; True only if there is none. Raises `StoreError` when all room is taken by live marks."""
        now = self._clock()
        with self._connected() as connection:
            self._sweep(connection, now)
            if self._mark_room <= 0:
                self._run(connection, _SWEEP_MARKS, (now, _SWEPT_AT_ONCE))
                room = self._max_marks - count(connection, _COUNT_MARKS)
                if room <= 0:
                    raise StoreError(f"no room for another mark: {self._max_marks} are live")
                self._mark_room = min(room, max(1, self._max_marks // 64))
            self._mark_room -= 1
            if not now < expires_at:
                return False
            with self._transaction(connection):
                is_new = connection.execute(_MARK, (key, expires_at, now)).rowcount == 1
                if is_new:
                    self._life.count_taking(connection, self._opened, now)
            if is_new:
                self._life.taken()
            return is_new

    def continuity(self) -> Continuity:
        """Whether the store is still what it was: this file and no copy of it, on a machine that has not gone down
        (which may have cost the newest marks: no change waits for the disk)."""
        with self._connected() as connection:
            self._go_on(connection)
            ((token, since),) = connection.execute("SELECT token, since FROM life").fetchall()
        return Continuity(identity=token.hex(), evicted=0, keeps_marks=True, since=since)

    def entries(self, prefix: str, limit: int) -> list[StoredEntry]:
        """Some of the values whose keys begin with ``prefix``, ``limit`` at most, those that end first."""
        with self._connected() as connection:
            rows = self._run(connection, _LIST, (prefix, prefix, self._clock(), limit)).fetchall()
        return [StoredEntry(*row) for row in rows]

    def clear(self, prefix: str) -> int:
        """Drop the values whose keys begin with ``prefix``. Returns how many there were."""
        with self._connected() as connection:
            return self._run(connection, _CLEAR, (prefix, prefix)).rowcount

    def describe(self) -> dict[str, object]:
        """Facts for operators."""
        with self._connected() as connection:
            pages = count(connection, "PRAGMA page_count") * count(connection, "PRAGMA page_size")
            (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
            (check,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            return {
                "kind": "sqlite",
                "values": count(connection, _COUNT_RECORDS),
                "marks": count(connection, _COUNT_MARKS),
                "bytes": pages,
                "file": str(self._path),
                "mode": f"{stat.S_IMODE(self._path.stat().st_mode):04o}",
                "journal": mode,
                "check": check,
                "version": sqlite3.sqlite_version,
            }

    def __len__(self) -> int:
        """How many values there are, expired ones included until they are swept."""
        with self._connected() as connection:
            return count(connection, _COUNT_RECORDS)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _connect(self) -> sqlite3.Connection:
        """Open the file, and begin its next life if it is not what it was."""
        connection = super()._connect()
        try:
            self._go_on(connection)
            connection.execute("PRAGMA busy_timeout = 0")  # from here on this waits, not SQLite
        except sqlite3.Error as error:
            self._disconnect()  # or the next call would go on with a life that is over
            raise StoreError(f"the session store {self._path.name} cannot begin its next life: {error}") from error
        except BaseException:
            self._disconnect()
            raise
        return connection

    def _go_on(self, connection: sqlite3.Connection) -> None:
        if not self._life.goes_on(connection, self._opened):
            with self._transaction(connection):
                if not self._life.goes_on(connection, self._opened):  # nobody was quicker
                    self._life.begin(connection, self._opened, self._clock())

    @contextmanager
    def _transaction(self, connection: sqlite3.Connection) -> Iterator[None]:
        self._run(connection, "BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _run(self, connection: sqlite3.Connection, statement: str, values: tuple[object, ...] = ()) -> sqlite3.Cursor:
        """Run a statement; wait for other writers, each of whom needs some tens of microseconds.

        SQLite's own way of waiting begins with whole milliseconds, in which a client is back before its session is, and
        goes on with tenths of a second, in which others have the file to themselves.
        """
        deadline = 0.0
        while True:
            try:
                return connection.execute(statement, values)
            except sqlite3.OperationalError as error:
                now = time.monotonic()
                deadline = deadline or now + self._busy_timeout_s
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or now >= deadline:
                    raise
            time.sleep(_PAUSE_S)

    def _insert(self, connection: sqlite3.Connection, key: str, value: bytes, expires_at: float, now: float) -> None:
        if not now < expires_at:
            self._run(connection, _REMOVE, (key, None))
            return
        try:
            self._run(connection, _PUT, (key, value, expires_at))
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                raise
            self._run(connection, _SWEEP_RECORDS, (now, _SWEPT_AT_ONCE))
            self._run(connection, _EVICT, (max(_SWEPT_AT_ONCE, count(connection, _COUNT_RECORDS) // 64),))
            self._run(connection, _PUT, (key, value, expires_at))

    def _bound(self, connection: sqlite3.Connection, inserted: int) -> None:
        """Keep the number of values within its limit, looking now and then."""
        self._until_count -= inserted
        if self._until_count <= 0:
            self._until_count = max(1, self._max_entries // 64)
            excess = count(connection, _COUNT_RECORDS) - self._max_entries
            if excess > 0:
                self._run(connection, _EVICT, (excess,))

    def _sweep(self, connection: sqlite3.Connection, now: float) -> None:
        self._until_sweep -= 1
        if self._until_sweep <= 0:
            self._until_sweep = _SWEEP_EVERY
            self._run(connection, _SWEEP_RECORDS, (now, _SWEPT_AT_ONCE))
            self._run(connection, _SWEEP_MARKS, (now, _SWEPT_AT_ONCE))


def _check_length(value: bytes) -> None:
    if len(value) > _LONGEST_VALUE:
        raise StoreError(f"a value of {len(value)} bytes is over the limit of {_LONGEST_VALUE}")


def _pick(rows: list[tuple[object, ...]], key: str, now: float) -> bytes | None:
    """The live value of ``key`` if it is among the rows (key, value, expiry), else the other one."""
    found = None
    for name, value, expires_at in rows:
        if isinstance(value, bytes) and isinstance(expires_at, float) and now < expires_at:
            if name == key:
                return value
            found = value
    return found
