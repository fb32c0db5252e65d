"""Where the sessions of a cache are: by id, by peer, and in the order in which they expire; and what they weigh.

The bookkeeping under `resumption.session.cache`, which owns the lock and the references: nothing here locks, counts or
calls back. Servers' sessions are found by protocol version and id, clients' by peer (`resumption.session.peers`), and a
client's session that belongs to no peer by nothing: ids are chosen by servers, so they must not lead a server to a
client's session, nor push one of its own out. Facts of a linked session do not change, except its time and timeout, so
where it is can always be told from what it is.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from math import inf
from types import MappingProxyType
from typing import Final

from resumption.errors import ConfigurationError
from resumption.session.expiry import ExpiryOrder
from resumption.session.facts import NEVER, SessionData
from resumption.session.model import Owner, Session
from resumption.session.peers import PeerIndex

__all__ = ["OVERHEAD_BYTES", "SessionIndex", "WeakOwner", "check_limit", "content_length"]

OVERHEAD_BYTES: Final = 880  # what a cached session costs besides its longer contents; measured
_CLIENTS: Final = 1 << 16  # added to the version: the tables of clients' sessions
_NOTHING: Mapping[bytes, Session] = MappingProxyType({})


class WeakOwner:
    """What a session knows of its cache: enough to reach it, too little to keep it alive.

    So neither a cache nor its sessions need the garbage collector to be freed.
    """

    __slots__ = ("_owner",)

    def __init__(self, owner: Owner) -> None:
        self._owner = weakref.ref(owner)

    def resort(self, session: Session, /) -> None:
        """Pass it on."""
        owner = self._owner()
        if owner is not None:
            owner.resort(session)

    def forget(self, session: Session, data: SessionData, /) -> None:
        """Pass it on."""
        owner = self._owner()
        if owner is not None:
            owner.forget(session, data)


class SessionIndex:
    """Sessions that are linked to ``owner``, found in four ways, within the limits of a cache. Not locked.

    ``max_size`` (sessions), ``max_bytes`` and ``max_session_bytes`` (of one session's contents) may be changed at any
    time; 0 is without limit.
    """

    __slots__ = ("_order", "_owner", "bytes", "max_bytes", "max_session_bytes", "max_size", "peers", "size", "tables")

    def __init__(
        self, owner: Owner, peers: PeerIndex, *, max_size: int, max_bytes: int, max_session_bytes: int
    ) -> None:
        self._owner = owner
        self._order: ExpiryOrder[Session] = ExpiryOrder()
        self.tables: dict[int, dict[bytes, Session]] = {}  # by version, then by id. To be read
        self.peers = peers
        self.max_size = max_size
        self.max_bytes = max_bytes
        self.max_session_bytes = max_session_bytes
        self.size = 0
        self.bytes = 0

    def __iter__(self) -> Iterator[Session]:
        for table in self.tables.values():
            yield from table.values()
        yield from self.peers

    def find(self, version: int, session_id: bytes) -> Session | None:
        """The server's session with this id."""
        return self.tables.get(version, _NOTHING).get(session_id)

    def like(self, data: SessionData) -> Session | None:
        """The session under the same key as ``data``, belonging to no peer."""
        return self.tables.get(_table_of(data), _NOTHING).get(data.session_id)

    def admits(self, length: int) -> bool:
        """Whether a session with contents of this length may be kept at all."""
        return not (0 < self.max_session_bytes < length or 0 < self.max_bytes < OVERHEAD_BYTES + length)

    def insert(
        self, session: Session, data: SessionData, length: int, peer_key: bytes | None
    ) -> tuple[Session | None, list[Session], int]:
        """Make room for ``session`` and put it in. It was linked a moment ago, so its facts are final.

        ``data`` are those, ``length`` is their `content_length`, which `admits` let pass. Returns whom it displaced,
        who else had to leave, and how many of those for lack of room. They are unlinked and gone from here.
        """
        displaced: Session | None = None
        number = data.version + _CLIENTS if data.role == "client" else data.version
        if peer_key is None:
            table = self.tables.get(number)
            displaced = table.get(data.session_id) if table is not None else None
            if displaced is not None:
                self.detach(displaced)
        weight = OVERHEAD_BYTES + length
        leaving: list[Session] = []
        while (0 < self.max_size <= self.size or 0 < self.max_bytes < self.bytes + weight) and (
            first := self._order.pop_first()
        ) is not None:
            if self._unindex(first, first._data):
                leaving.append(first)
        self.size += 1
        self.bytes += weight
        end = data.time + data.timeout
        session._place = self._order.add(session, end if end < NEVER else inf, length)
        if peer_key is None:
            table = self.tables.get(number)  # once more: it may have gone with whom it held
            if table is None:
                table = self.tables[number] = {}
            table[data.session_id] = session
            return displaced, leaving, len(leaving)
        superseded, crowded = self.peers.add(peer_key, session)
        leaving += crowded
        for other in (*superseded, *crowded):
            self.detach(other)
        return None, leaving + superseded, len(leaving)

    def detach(self, session: Session) -> None:
        """Take out a session that is here, and unlink it."""
        self.forget(session, session.data)

    def pop_expired(self, at: float | None, limit: int) -> list[Session]:
        """Take out at most ``limit`` sessions that are expired at ``at``, all if None; the first to expire first."""
        sessions = self._order.pop_expired(at, limit)
        if self.peers.entries:
            return [session for session in sessions if self._unindex(session, session._data)]
        left: list[Session] = []
        table: dict[bytes, Session] = {}
        number, lengths = -1, 0
        for session in sessions:  # `_unindex` written out, for all: a fifth of the time of a flush
            data = session._data
            if data is None:
                continue
            where = data.version + _CLIENTS if data.role == "client" else data.version
            if where != number:
                number, table = where, self.tables[where]
            del table[data.session_id]
            if not table:
                del self.tables[where]
                number = -1
            lengths += session._place.weight
            session._place = session._owner = None
            left.append(session)
        self.size -= len(left)
        self.bytes -= OVERHEAD_BYTES * len(left) + lengths
        return left

    def resort(self, session: Session) -> None:
        """Find the place of a session again whose time or timeout has changed."""
        place = session._place
        if place is not None and place.item is session:
            self._order.discard(place)
            session._place = self._order.add(session, session.data.expires_at, place.weight)

    def forget(self, session: Session, data: SessionData) -> None:
        """Take out a session that has ended; ``data`` is what it was."""
        place = session._place
        if place is not None:
            self._order.discard(place)
            self._unindex(session, data)

    def _unindex(self, session: Session, data: SessionData | None) -> bool:
        """The rest of taking out, for one that has left the order of expiry.

        False, and nothing is done, for one that has ended meanwhile: it is about to be forgotten.
        """
        if data is None:
            return False
        if session in self.peers.entries:
            self.peers.remove(session)
        else:
            number = data.version + _CLIENTS if data.role == "client" else data.version
            table = self.tables[number]
            del table[data.session_id]
            if not table:
                del self.tables[number]  # its memory goes with it
        self.size -= 1
        self.bytes -= OVERHEAD_BYTES + session._place.weight
        session._place = session._owner = None
        return True


def content_length(data: SessionData) -> int:
    """How many bytes a session's longer facts have: what decides whether it is too large to keep."""
    length = len(data.ticket) + len(data.ticket_appdata)
    if data.peer_chain:
        length += sum(map(len, data.peer_chain))
    elif data.peer_certificate:
        length += len(data.peer_certificate)
    if data.hostname:
        length += len(data.hostname)
    if data.psk_identity or data.psk_identity_hint or data.srp_username or data.peer_public_key:  # hardly ever
        for fact in (data.psk_identity, data.psk_identity_hint, data.srp_username, data.peer_public_key):
            if fact:
                length += len(fact)
    return length


def check_limit(name: str, value: int) -> int:
    """``value``, if it is a limit: a whole number from 0 up. `ConfigurationError` otherwise."""
    if not isinstance(value, int) or value < 0:
        raise ConfigurationError(f"{name} is a whole number from 0 (without limit) up, not {value!r}")
    return value


def _table_of(data: SessionData) -> int:
    return data.version + _CLIENTS if data.role == "client" else data.version
