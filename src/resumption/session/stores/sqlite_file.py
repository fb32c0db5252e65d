"""One SQLite file that several processes share: private, in write-ahead mode, and never carried across a fork.

`SQLiteFile` is what the stores in files have in common: it makes the file with mode 0600 and a layout, refuses one that
others can reach or that is something else, opens it anew where a connection was left behind, waits for other writers
only so long, and turns every trouble into a `StoreError`. What is in the tables is its subclasses' affair.

Each call looks whether the path still leads to the file that is open. One that was removed, or replaced by another (an
older copy, say), is left for what is there now, as processes that start later would find it. A file must not be
overwritten in place while it is in use: SQLite does not survive that, and no look at the path shows it.

It is not for network file systems, where SQLite's locks cannot be relied on.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from resumption.errors import ConfigurationError, StoreError
from resumption.session import forking

__all__ = ["Layout", "SQLiteFile", "count"]

_JOURNAL_SIZE = 16 << 20  # bytes that the write-ahead file keeps when it begins anew
_OPENING_TIMEOUT_S = 2.0  # the first processes to open a new file wait for the one that sets it up

_BEYOND_REPAIR = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)

_making = threading.Lock()


class Layout(NamedTuple):
    """What a file holds: how it is called in errors, its two numbers, and the statements that make its tables."""

    what: str
    application_id: int
    version: int
    tables: str

    @property
    def script(self) -> str:
        """The statements that make the whole file, in one transaction."""
        return (
            f"PRAGMA journal_mode = WAL; BEGIN IMMEDIATE; {self.tables} "
            f"PRAGMA application_id = {self.application_id}; PRAGMA user_version = {self.version}; COMMIT;"
        )


class SQLiteFile:
    """A file with a layout, opened when first needed. Safe to share by threads and across forks."""

    def __init__(self, path: str | os.PathLike[str], layout: Layout, *, max_bytes: int, busy_timeout_s: float) -> None:
        if sqlite3.sqlite_version_info < (3, 35):
            raise ConfigurationError(f"SQLite {sqlite3.sqlite_version} is too old: 3.35 or newer is needed")
        self._path = Path(path).absolute()
        self._layout = layout
        self._max_bytes = max_bytes
        self._busy_timeout_s = busy_timeout_s
        self._connection: sqlite3.Connection | None = None
        self._opened = (0, 0)  # device and number of the file that the connection is on
        self._is_closed = False
        self._lock = threading.RLock()
        forking.watch(self)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._is_closed = True
            self._disconnect()

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """This process's connection, with the lock held; every trouble with it leaves as a `StoreError`."""
        if not self._lock.acquire(timeout=self._busy_timeout_s):
            raise StoreError(f"the {self._layout.what} {self._path.name} is busy")
        try:
            if self._is_closed:
                raise StoreError("the store is closed")
            yield self._on_path()
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _BEYOND_REPAIR:
                self._disconnect()  # whoever puts the file right finds it opened anew
            raise StoreError(f"the {self._layout.what} {self._path.name} failed: {error}") from error
        except ConfigurationError as error:  # the file was changed since it was first opened
            raise StoreError(str(error)) from error
        finally:
            self._lock.release()

    def _on_path(self) -> sqlite3.Connection:
        """The connection to the file that is at the path now."""
        connection = self._connection
        if connection is not None:
            if self._is_on_path():
                return connection
            self._disconnect()
        return self._connect()

    def _is_on_path(self) -> bool:
        try:
            facts = self._path.stat()
        except FileNotFoundError:
            return False
        return (facts.st_dev, facts.st_ino) == self._opened

    def _connect(self) -> sqlite3.Connection:
        """Open the file for this process, trying again while other processes are busy setting it up."""
        deadline = time.monotonic() + _OPENING_TIMEOUT_S
        while True:
            try:
                self._connection, self._opened = _open_file(
                    self._path, self._layout, self._busy_timeout_s, self._max_bytes
                )
                if self._is_on_path():
                    return self._connection
                self._disconnect()  # replaced just now: nobody knows which of the two this is
                if time.monotonic() > deadline:
                    raise StoreError(f"the {self._layout.what} {self._path.name} is replaced again and again")
            except (sqlite3.Error, OSError) as error:
                code = getattr(error, "sqlite_errorcode", 0) & 0xFF
                if code != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise StoreError(f"the {self._layout.what} {self._path} cannot be opened: {error}") from error
                time.sleep(0.005)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    # --- forks -------------------------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Let a call under way finish, and close the file: SQLite forbids to take a connection across a fork."""
        self._lock.acquire()
        self._disconnect()

    def after_fork_in_parent(self) -> None:
        """Go on; the next call opens the file again."""
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """Go on; the next call opens the file again."""
        self._lock.release()


def _open_file(
    path: Path, layout: Layout, busy_timeout_s: float, max_bytes: int
) -> tuple[sqlite3.Connection, tuple[int, int]]:
    """A connection to a store file that is private, ours, and set up; and the file's device and number.

    If the file is replaced just now, these may be those of the one before: look again.
    """
    with _making:  # closing a file while another thread has SQLite open on it would drop SQLite's locks
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            raise ConfigurationError(f"{path} is not a regular file")
        if os.name == "posix" and facts.st_mode & 0o077:
            mode = f"{stat.S_IMODE(facts.st_mode):04o}"
            raise ConfigurationError(f"the {layout.what} {path} has mode {mode} and lets others at it: chmod 600")
        connection = sqlite3.connect(
            f"{path.as_uri()}?mode=rw",
            uri=True,
            timeout=_OPENING_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
        )
    try:
        # Tables first: another process that is making the file commits both at once, so tables imply a version.
        tables = count(connection, "SELECT count(*) FROM sqlite_master")
        version = count(connection, "PRAGMA user_version")
        if version == 0 and tables == 0:
            connection.executescript(layout.script)
        elif version != layout.version or count(connection, "PRAGMA application_id") != layout.application_id:
            raise ConfigurationError(f"{path} is a database, but no {layout.what} of this version")
        if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            raise StoreError(f"the file system of {path} does not support SQLite's write-ahead mode")
        connection.execute("PRAGMA synchronous = NORMAL")
        page_size = count(connection, "PRAGMA page_size")
        connection.execute(f"PRAGMA max_page_count = {max_bytes // page_size}")
        connection.execute(f"PRAGMA journal_size_limit = {_JOURNAL_SIZE}")
        connection.execute(f"PRAGMA busy_timeout = {int(busy_timeout_s * 1000)}")
    except BaseException:
        connection.close()
        raise
    return connection, (facts.st_dev, facts.st_ino)


def count(connection: sqlite3.Connection, query: str) -> int:
    """The one number that a query returns."""
    (number,) = connection.execute(query).fetchone()
    return int(number)
