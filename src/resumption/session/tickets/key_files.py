"""Ticket keys in files, as nginx, Apache and OpenSSL programs share them: the first seals, all of them open.

Each file is one block of 80 or 48 bytes (`session.tickets.openssl_tickets`). Such keys are rotated by whoever writes
the files: a new key is put first, the one before stays for as long as its tickets live. Files are expected to be
replaced atomically (written beside, then renamed), and `TicketKeyFiles.refresh` takes in what changed, all of it or
nothing: one bad file, and the keys stay as they were, the trouble being told in `TicketKeyFiles.status` and to the log.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, NamedTuple

from resumption.errors import ConfigurationError
from resumption.session import forking
from resumption.session.tickets.openssl_tickets import BLOCK_LENGTHS, Layout, OpenSSLTicketKeys
from resumption.session.tickets.ring import TicketStatus
from resumption.session.tickets.secret_files import read_secret_file

__all__ = ["TicketKeyFiles"]

_log = logging.getLogger("resumption.tickets")


class _Stamp(NamedTuple):
    """What changes when a file is written or replaced."""

    device: int
    inode: int
    size: int
    changed_ns: int
    status_ns: int


class TicketKeyFiles(forking.LockedAtFork):
    """The keys in one or more files, behind the same methods as `TicketKeys`. Safe to share between threads and forks.

    A server context calls `refresh` now and then by itself (`ServerContext.refresh`). Pickled it is a list of names.
    Tickets are OpenSSL's: with the same files, nginx and our servers resume each other's clients if the rest of their
    settings agrees; see ``accept_foreign_tickets`` of `ServerContext`.
    """

    session_format: ClassVar[str] = "der"

    def __init__(self, *paths: str | os.PathLike[str], layout: Layout = "nginx", check_mode: bool = True) -> None:
        """Read the files, in this order: tickets are sealed with the key in the first one.

        Nobody but the owner may have access to them (mode 0600 or less), unless ``check_mode=False`` says so.
        ``layout`` is for files of 48 bytes, see `OpenSSLTicketKeys`. Raises `ConfigurationError`.
        """
        if not paths:
            raise ConfigurationError("ticket keys from files need one file at least")
        self._paths = tuple(Path(path).absolute() for path in paths)
        self._layout: Layout = layout
        self._check_mode = check_mode
        self._lock = threading.Lock()
        self._stamps: tuple[_Stamp | None, ...] = ()
        self._trouble: str | None = None
        self._unknown = self._reloads = self._failures = 0
        self._keys, self._stamps = self._read()
        self._by_name = {key.name: key for key in self._keys}
        self._is_closed = False
        forking.watch(self)

    @property
    def trouble(self) -> str | None:
        """Why the files as they are now could not be taken in; None if they were."""
        return self._trouble

    def refresh(self, now: float) -> bool:
        """Look at the files, and take in what changed. True if the keys are others now. Never raises for bad files."""
        with self._lock:
            if self._is_closed:
                return False
            stamps = tuple(_stamp(path) for path in self._paths)
            if stamps == self._stamps and None not in stamps:
                return False
            try:
                keys, self._stamps = self._read()
            except ConfigurationError as error:
                self._stamps = stamps
                if str(error) != self._trouble:
                    _log.warning("ticket keys stay as they are: %s", error)
                    self._failures += 1
                self._trouble = str(error)
                return False
            self._trouble = None
            before = self._keys
            if [key.to_block() for key in before] == [key.to_block() for key in keys]:
                return False
            self._reloads += 1
            known = {key.to_block(): key for key in before}
            # What stays is the same object, so that its counts go on, and a thread that seals with it is not disturbed.
            self._keys = tuple(known.get(key.to_block(), key) for key in keys)
            self._by_name = {key.name: key for key in self._keys}
            for key in before:
                if key not in self._keys:
                    key.close()
            return True

    def lifetime_left(self, now: float) -> int:
        """As `OpenSSLTicketKeys.lifetime_left`: these keys have no end of their own."""
        return self._keys[0].lifetime_left(now)

    def seal(
        self,
        plaintext: bytes,
        *,
        partition: bytes,
        mechanism: str,
        now: float,
        random: Callable[[int], bytes],
        lifetime_s: float,
    ) -> bytes | None:
        """A ticket under the first key. See `OpenSSLTicketKeys.seal`."""
        return self._keys[0].seal(
            plaintext, partition=partition, mechanism=mechanism, now=now, random=random, lifetime_s=lifetime_s
        )

    def open(self, ticket: bytes, *, partition: bytes, mechanism: str, now: float) -> bytes | None:
        """What was sealed, under whichever of the keys. See `OpenSSLTicketKeys.open`."""
        key = self._by_name.get(ticket[:16])
        if key is None:
            self._unknown += 1
            return None
        return key.open(ticket, partition=partition, mechanism=mechanism, now=now)

    def status(self, now: float) -> TicketStatus:
        """The names of all keys, the one that seals first, what they did, and what is wrong with the files, if so."""
        each = [key.status(now) for key in self._keys]
        counts = {name: sum(status.counts[name] for status in each) for name in each[0].counts}
        counts["unknown"] += self._unknown
        keys = tuple(
            replace(key, is_issuing=key.is_issuing and at == 0) for at, status in enumerate(each) for key in status.keys
        )
        return replace(
            each[0],
            keys=keys,
            counts={**counts, "reloads": self._reloads, "failed reloads": self._failures},
            trouble=self._trouble,
        )

    def close(self) -> None:
        """Overwrite the keys. Afterwards nothing is issued and nothing opens."""
        with self._lock:
            self._is_closed = True
            for key in self._keys:
                key.close()

    def __repr__(self) -> str:
        return f"<TicketKeyFiles {', '.join(path.name for path in self._paths)}>"

    def __reduce__(self) -> tuple[Callable[..., TicketKeyFiles], tuple[Sequence[str], Layout, bool]]:
        return _from_files, ([str(path) for path in self._paths], self._layout, self._check_mode)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _read(self) -> tuple[tuple[OpenSSLTicketKeys, ...], tuple[_Stamp | None, ...]]:
        """All files. The stamps are taken before: a file that is replaced meanwhile is read again next time."""
        stamps = tuple(_stamp(path) for path in self._paths)
        keys: list[OpenSSLTicketKeys] = []
        for path in self._paths:
            block = read_secret_file(path, max(BLOCK_LENGTHS), check_mode=self._check_mode)
            try:
                key = OpenSSLTicketKeys(block, layout=self._layout)
            except ConfigurationError as error:
                raise ConfigurationError(f"{path}: {error}") from None
            if any(other.name == key.name for other in keys):
                raise ConfigurationError(f"{path}: another of the files has a key of the same name")
            keys.append(key)
        return tuple(keys), stamps


def _stamp(path: Path) -> _Stamp | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return _Stamp(facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


def _from_files(paths: Sequence[str], layout: Layout, check_mode: bool) -> TicketKeyFiles:
    return TicketKeyFiles(*paths, layout=layout, check_mode=check_mode)
