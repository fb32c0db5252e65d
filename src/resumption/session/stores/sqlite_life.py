"""The life of a SQLite store: how an older copy of the file is told from the file that it was copied from.

An older copy (a restored backup, or what a power failure has left) holds sessions that were spent since, and lacks
marks. So the file counts what is taken and marked, and a companion of 32 bytes beside it counts along. The companion is
ahead where the file went back, however that came about: moved into place or written over, under running processes or
while there were none. Then, or where the file lies elsewhere than it says, the next *life* begins: a number in the file
that values are put with, and without which they are not taken any more. It begins in the transaction of whoever finds
out, for all.

The companion is written before a taking is committed, as a span from the count before to the count after, and closed to
the latter afterwards. So a process that is killed between the two leaves a span in which both counts are right.

Not found out is a file that goes back together with its companion to inodes of the same numbers while no process runs,
and a whole machine that goes back to a snapshot without starting anew.
"""

from __future__ import annotations

import os
import sqlite3
import struct
from pathlib import Path

from resumption.errors import StoreError

__all__ = ["LIFE_TABLE", "FileLife"]

LIFE_TABLE = """
CREATE TABLE IF NOT EXISTS life
    (number INTEGER NOT NULL, token BLOB NOT NULL, place TEXT NOT NULL, taken INTEGER NOT NULL, since REAL NOT NULL);
INSERT INTO life SELECT 0, zeroblob(16), '', 0, 0 WHERE NOT EXISTS (SELECT 1 FROM life);
"""

_LOOK = "SELECT token, place, taken FROM life"
_COUNT = "UPDATE life SET taken = taken + 1 RETURNING number, token, taken"
_BEGIN = "UPDATE life SET number = number + 1, token = ?, place = ?, taken = 0, since = ?"
_SPAN = struct.Struct(">16sQQ")  # token, takings before, takings after
_TOKEN_LENGTH = 16
_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class FileLife:
    """What a process knows of the life of the file at ``path``. Used with the lock of the store held."""

    def __init__(self, path: Path) -> None:
        self._companion = path.with_name(f"{path.name}-taken")
        self._seen = (b"", 0)  # the life in which this process took last, and the takings by then

    def goes_on(self, connection: sqlite3.Connection, opened: tuple[int, int]) -> bool:
        """Whether the file that is open, with this device and number, is the one that it was."""
        ((token, place, taken),) = connection.execute(_LOOK).fetchall()
        return bool(place == place_of(opened)) and self._agrees(token, taken)

    def begin(self, connection: sqlite3.Connection, opened: tuple[int, int], now: float) -> None:
        """Begin the next life, in the transaction that is open."""
        token = os.urandom(_TOKEN_LENGTH)
        connection.execute(_BEGIN, (token, place_of(opened), now))
        self._write(token, 0, 0)

    def count_taking(self, connection: sqlite3.Connection, opened: tuple[int, int], now: float) -> int | None:
        """Count a taking or a mark in the transaction that is open: the number of the life whose values may be taken.

        None if the file went back: then the next life has begun. `taken` is to be called after the commit.
        """
        ((number, token, taken),) = connection.execute(_COUNT).fetchall()
        if not self._agrees(token, taken - 1):
            self.begin(connection, opened, now)
            self._seen = (b"", 0)
            return None
        self._write(token, taken - 1, taken)
        self._seen = (token, taken)
        return int(number)

    def taken(self) -> None:
        """The taking that was counted last is committed."""
        token, taken = self._seen
        if token and self._read() == (token, taken - 1, taken):  # nobody has gone on from there
            self._write(token, taken, taken)

    def _agrees(self, token: bytes, taken: int) -> bool:
        """Whether neither the companion nor this process has seen more takings than there are."""
        companion, least, _ = self._read()
        return companion == token and taken >= least and not (token == self._seen[0] and taken < self._seen[1])

    def _read(self) -> tuple[bytes, int, int]:
        try:
            descriptor = os.open(self._companion, os.O_RDONLY | _FLAGS)
            try:
                span: tuple[bytes, int, int] = _SPAN.unpack(os.read(descriptor, _SPAN.size))
            finally:
                os.close(descriptor)
        except (FileNotFoundError, struct.error):  # gone, or cut off
            return b"", 0, 0
        except OSError as error:
            raise self._failed(error) from error
        return span

    def _write(self, token: bytes, before: int, after: int) -> None:
        try:
            descriptor = os.open(self._companion, os.O_WRONLY | os.O_CREAT | _FLAGS, 0o600)
            try:
                os.write(descriptor, _SPAN.pack(token, before, after))
            finally:
                os.close(descriptor)
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> StoreError:
        return StoreError(f"the file {self._companion.name} beside the session store failed: {error.strerror}")


def place_of(opened: tuple[int, int]) -> str:
    """Where a file lies that has this device and number. After a power failure everything lies elsewhere: no change
    waits for the disk, so the newest takings may be lost."""
    device, number = opened
    return f"{device}:{number} {_boot_id()}"


def _boot_id() -> str:
    """What tells one start of this machine from another, where the system says so."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except (OSError, ValueError):
        return ""
