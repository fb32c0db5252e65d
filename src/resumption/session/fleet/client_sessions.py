"""A client's sessions on disk, shared by all of its processes: tickets outlive the program that received them.

It is the persistent twin of `resumption.session.peers`: sessions lie under the peer that they were made with, whose key
covers every setting that they depend on. A TLS 1.3 ticket is handed out once, to one caller in all processes, because
it leaves the file in the step that reads it; of TLS 1.2 sessions there is one a peer, and all may use it.

At rest everything is sealed. The file shows when and how often something was stored and how long it is, about; not
with whom, nor what. The key lies beside the file, mode 0600, or comes from the caller. It guards against the file alone
getting about (a backup, a shared folder), not against whoever can read both.

Trouble is a miss: a damaged file, another key, a disk that is full or a lock that is held too long cost a full
handshake. `ClientSessionStore.stats` counts it and `ClientSessionStore.trouble` says what it was.
"""

from __future__ import annotations

import hashlib
import os
import time
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from resumption.constants import MAX_TICKET_LIFETIME_S
from resumption.errors import ConfigurationError, StoreError
from resumption.session.stores.sqlite_file import Layout, SQLiteFile, count
from resumption.session.tickets.derivation import MAXIMUM_SECRET_LENGTH, PreparedHmac, key_material, overwrite
from resumption.session.tickets.secret_files import read_secret_file, write_secret_file

__all__ = ["ClientSessionStore", "ClientStoreStats", "TakenSession"]

_LAYOUT: Final = Layout(
    "client session store",
    0x52534D43,  # "RSMC"
    1,
    """
CREATE TABLE IF NOT EXISTS peers (peer BLOB PRIMARY KEY, used REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS peers_by_use ON peers (used);
CREATE TABLE IF NOT EXISTS sessions (
    id INTEGER PRIMARY KEY AUTOINCREMENT, peer BLOB NOT NULL, single_use INTEGER NOT NULL, made REAL NOT NULL,
    expires_at REAL NOT NULL, sealed BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS sessions_by_peer ON sessions (peer, made);
CREATE INDEX IF NOT EXISTS sessions_by_expiry ON sessions (expires_at);
""",
)
_NEWEST: Final = (
    "SELECT id, single_use, made, expires_at, sealed FROM sessions WHERE peer = ? AND expires_at > ? "
    "ORDER BY made DESC, id DESC LIMIT 1"
)
_TAKE: Final = "DELETE FROM sessions WHERE id = ?"
_COUNT: Final = "SELECT count(*) FROM sessions WHERE peer = ? AND expires_at > ?"
_PUT: Final = "INSERT INTO sessions (peer, single_use, made, expires_at, sealed) VALUES (?, ?, ?, ?, ?)"
_SUPERSEDE: Final = "DELETE FROM sessions WHERE peer = ? AND single_use = 0"
_CROWD: Final = (
    "DELETE FROM sessions WHERE id IN "
    "(SELECT id FROM sessions WHERE peer = ? ORDER BY made DESC, id DESC LIMIT -1 OFFSET ?)"
)
_USE: Final = "INSERT INTO peers (peer, used) VALUES (?, ?) ON CONFLICT (peer) DO UPDATE SET used = excluded.used"
_OLDEST_PEERS: Final = "SELECT peer FROM peers ORDER BY used DESC LIMIT -1 OFFSET ?"
_SWEEP: Final = "DELETE FROM sessions WHERE expires_at <= ?"

_VERSION: Final = b"\x01"
_SALT_LENGTH: Final = 16
_SIZES: Final = (512, 1024, 2048, 4096, 8192, 16_384, 32_768)  # of what is sealed
_LONGEST: Final = _SIZES[-1] - 1
_KEY_LENGTH: Final = 32
_MAX_BYTES: Final = 256 << 20


class TakenSession(NamedTuple):
    """A session, packed, and how many more there are for its peer."""

    packed: bytes
    left: int


@dataclass(slots=True)
class ClientStoreStats:
    """Counts since the start. Kept without a lock: under many threads they may run slightly low."""

    saved: int = 0
    not_saved: int = 0  # too large, expired already, or the file failed
    hits: int = 0
    misses: int = 0
    unopened: int = 0  # sealed with another key, or damaged: dropped
    errors: int = 0  # calls that the file failed


class ClientSessionStore(SQLiteFile):
    """Sessions of clients in a file of mode 0600. Safe to share by threads, processes and across forks.

    Give it (or its path) to `ClientContext` as ``session_store``. Several contexts may share one: their sessions mix
    only where every setting agrees.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        key: bytes | bytearray | str | None = None,
        *,
        max_peers: int = 256,
        max_per_peer: int = 8,
        busy_timeout_s: float = 0.02,
        clock: Callable[[], float] = time.time,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Open the file, and make it if there is none.

        ``key``: a secret as for `TicketKeys.from_secret`; without one it is made and kept in ``path`` + ".key".
        ``max_peers`` servers with ``max_per_peer`` sessions each are kept; the server used longest ago, and the oldest
        session, make room. A call waits ``busy_timeout_s`` for other processes, then gives up.

        Raises `ConfigurationError` if others can reach one of the files, or a file is something else.
        """
        if max_peers < 1 or max_per_peer < 1 or not busy_timeout_s >= 0:
            raise ConfigurationError("a client store needs room for one server and one session, and a timeout")
        super().__init__(path, _LAYOUT, max_bytes=_MAX_BYTES, busy_timeout_s=busy_timeout_s)
        self.stats = ClientStoreStats()
        self._trouble: str | None = None
        self._max_peers = max_peers
        self._max_per_peer = max_per_peer
        self._clock = clock
        self._random = random
        material = self._key_beside() if key is None else key_material(key)
        root = PreparedHmac(PreparedHmac(b"resumption client store 1").digest(bytes(material)))
        overwrite(material)
        self._index = PreparedHmac(root.expand(b"peers"))
        self._seal = PreparedHmac(root.expand(b"sessions"))
        try:
            with self._lock:
                self._connect()
        except StoreError as error:  # damaged: every call will be a miss
            self._failed(error)

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self._path

    @property
    def trouble(self) -> str | None:
        """What went wrong last, in words; None if nothing has."""
        return self._trouble

    def take(self, peer_key: bytes) -> TakenSession | None:
        """The newest session for this peer: a TLS 1.3 ticket leaves the file, a TLS 1.2 session stays. None is a miss.

        Of any number of callers, in all processes, one gets a ticket.
        """
        peer, now = self._index.digest(peer_key), self._clock()
        try:
            with self._connected() as connection:
                for _ in range(2 * self._max_per_peer):
                    row = connection.execute(_NEWEST, (peer, now)).fetchone()
                    if row is None:
                        break
                    identifier, single_use, made, expires_at, sealed = row
                    packed = self._open(peer, single_use, made, expires_at, sealed)
                    # Deleting decides who gets it; a session that does not open is nobody's.
                    gone = (single_use or packed is None) and not connection.execute(_TAKE, (identifier,)).rowcount
                    if packed is None:
                        self.stats.unopened += 1
                    elif not gone:
                        (left,) = connection.execute(_COUNT, (peer, now)).fetchone()
                        self.stats.hits += 1
                        return TakenSession(packed, left)
        except StoreError as error:
            self._failed(error)
        self.stats.misses += 1
        return None

    def put(self, peer_key: bytes, packed: bytes, *, single_use: bool, made: float, expires_at: float) -> bool:
        """Keep a session of this peer until ``expires_at``, seven days at most. False if it was not kept.

        A session that is not of single use takes the place of the one before.
        """
        peer, now = self._index.digest(peer_key), self._clock()
        expires_at = float(min(expires_at, now + MAX_TICKET_LIFETIME_S))
        if not now < expires_at or len(packed) > _LONGEST:
            self.stats.not_saved += 1
            return False
        sealed = self._sealed(peer, single_use, float(made), expires_at, packed)
        try:
            with self._connected() as connection:
                connection.execute("BEGIN IMMEDIATE")
                try:
                    if not single_use:
                        connection.execute(_SUPERSEDE, (peer,))
                    connection.execute(_USE, (peer, now))
                    connection.execute(_PUT, (peer, int(single_use), float(made), expires_at, sealed))
                    connection.execute(_CROWD, (peer, self._max_per_peer))
                    connection.execute(_SWEEP, (now,))
                    for (old,) in connection.execute(_OLDEST_PEERS, (self._max_peers,)).fetchall():
                        connection.execute("DELETE FROM sessions WHERE peer = ?", (old,))
                        connection.execute("DELETE FROM peers WHERE peer = ?", (old,))
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise
        except StoreError as error:
            self._failed(error)
            self.stats.not_saved += 1
            return False
        self.stats.saved += 1
        return True

    def forget(self, peer_key: bytes, *, single_use: bool | None = None) -> int:
        """Drop the sessions of a peer, or only those of one kind. Returns how many there were."""
        kind = "" if single_use is None else f" AND single_use = {int(single_use)}"
        return self._change(f"DELETE FROM sessions WHERE peer = ?{kind}", (self._index.digest(peer_key),))  # noqa: S608

    def flush(self, at: float | None = None) -> int:
        """Drop what is expired at ``at`` (default now). Returns how many there were."""
        return self._change(_SWEEP, (self._clock() if at is None else at,))

    def clear(self) -> int:
        """Drop everything. Returns how many sessions there were."""
        dropped = self._change("DELETE FROM sessions", ())
        self._change("DELETE FROM peers", ())
        return dropped

    def count(self, peer_key: bytes) -> int:
        """How many sessions there are for a peer."""
        try:
            with self._connected() as connection:
                (number,) = connection.execute(_COUNT, (self._index.digest(peer_key), self._clock())).fetchone()
                return int(number)
        except StoreError as error:
            self._failed(error)
            return 0

    def __len__(self) -> int:
        """How many sessions there are, expired ones included until they are swept."""
        try:
            with self._connected() as connection:
                return count(connection, "SELECT count(*) FROM sessions")
        except StoreError as error:
            self._failed(error)
            return 0

    def __repr__(self) -> str:
        return f"<ClientSessionStore {self._path.name}>"

    # --- inside ------------------------------------------------------------------------------------------------------

    def _key_beside(self) -> bytearray:
        """The key in the file beside ours, made by whoever is first."""
        path = self._path.with_name(f"{self._path.name}.key")
        if not path.exists():
            try:
                write_secret_file(path, self._random(_KEY_LENGTH).hex().encode() + b"\n", replace=False)
            except OSError as error:
                raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from error
        return key_material(read_secret_file(path, MAXIMUM_SECRET_LENGTH))

    def _failed(self, error: StoreError) -> None:
        self.stats.errors += 1
        self._trouble = str(error)

    def _change(self, statement: str, parameters: tuple[object, ...]) -> int:
        try:
            with self._connected() as connection:
                return connection.execute(statement, parameters).rowcount
        except StoreError as error:
            self._failed(error)
            return 0

    def _sealed(self, peer: bytes, single_use: bool, made: float, expires_at: float, packed: bytes) -> bytes:
        salt = self._seal.digest(b"salt" + self._random(_SALT_LENGTH) + packed)[:_SALT_LENGTH]
        secret, nonce = self._seal.expand_key_and_nonce(b"session" + salt)
        padded = (packed + b"\x80").ljust(_SIZES[bisect_left(_SIZES, len(packed) + 1)], b"\0")
        head = _VERSION + salt
        return head + AESGCM(secret).encrypt(nonce, padded, _associated(head, peer, single_use, made, expires_at))

    def _open(self, peer: bytes, single_use: object, made: object, expires_at: object, sealed: object) -> bytes | None:
        """What was sealed for exactly this row; None for anything else that may be in the file."""
        if not isinstance(sealed, bytes) or sealed[:1] != _VERSION or len(sealed) <= 1 + _SALT_LENGTH + 16:
            return None
        head = sealed[: 1 + _SALT_LENGTH]
        secret, nonce = self._seal.expand_key_and_nonce(b"session" + head[1:])
        try:
            padded = AESGCM(secret).decrypt(
                nonce, sealed[len(head) :], _associated(head, peer, single_use, made, expires_at)
            )
        except InvalidTag:
            return None
        return padded.rstrip(b"\0")[:-1]


def _associated(head: bytes, peer: bytes, single_use: object, made: object, expires_at: object) -> bytes:
    """The whole row: nothing of it can be moved, prolonged or used twice by changing the file."""
    return head + hashlib.sha256(repr((peer, int(bool(single_use)), made, expires_at)).encode()).digest()
