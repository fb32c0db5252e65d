"""What the cache's tests build on: sessions that are cheap to make, a clock that is set by hand, a recorder."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from resumption.session.cache import SessionCache
from resumption.session.facts import SessionData
from resumption.session.model import Holder, Session

NOW = 1_800_000_000.0
SECRET = bytes(range(48))
MAKER = Holder("test")  # not the application: what it forgets to give back is no leak
CONNECTION = Holder("connection", "7")
_numbers = itertools.count(1)


def make(
    session_id: bytes | int | None = None,
    *,
    version: int = 0x0303,
    time: float = NOW,
    timeout: int = 7200,
    holder: Holder = MAKER,
    **facts: Any,
) -> Session:
    """A session of a server, held once, by the test."""
    if session_id is None:
        session_id = next(_numbers) + 2**64
    if isinstance(session_id, int):
        session_id = session_id.to_bytes(32, "big")
    facts = {"role": "server", "cipher": 0xC02F, "verify_result": 0, **facts}
    data = SessionData(version=version, session_id=session_id, time=time, timeout=timeout, **facts)
    return Session.create(data, SECRET, holder=holder)


def ticket(session_id: bytes | int | None = None, **facts: Any) -> Session:
    """A client's TLS 1.3 session with a ticket."""
    return make(session_id, **{"version": 0x0304, "role": "client", "ticket": b"t" * 64, **facts})


class Clock:
    """The time, set by hand."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Recorder:
    """A remove callback that remembers what it was told, and in which state it was."""

    def __init__(self, then: Callable[[Session], object] | None = None) -> None:
        self.told: list[Session] = []
        self.references: list[int] = []
        self.then = then

    def __call__(self, session: Session) -> None:
        self.told.append(session)
        self.references.append(session.references)
        if self.then is not None:
            self.then(session)


def held(session: Session) -> dict[str, int]:
    """Who holds it, in words."""
    return {str(holder): number for holder, number in session.holders.items()}


def check(cache: SessionCache) -> None:
    """The cache's four ways of finding a session agree with each other, with its size, and with the sessions."""
    index = cache._index
    listed = list(cache)
    assert len(listed) == len(cache) == len(set(listed))
    in_tables = [session._place for table in index.tables.values() for session in table.values()]
    in_peers = [session._place for session in index.peers.entries]
    live = [slot for bucket in index._order._buckets.values() for slot in bucket.slots if slot.item is not None]
    assert sorted(map(id, in_tables + in_peers)) == sorted(map(id, live))
    assert {slot.item for slot in live} == set(listed)
    assert sorted(map(id, index.peers)) == sorted(id(one) for mine in index.peers._peers.values() for one in mine)
    for session in listed:
        assert session in cache
        assert session.holders[cache.holder] == 1
        slot = session._place
        assert slot.item is session
        assert slot.expires_at == session.expires_at
    assert cache.size_bytes == sum(880 + len(s.ticket) + len(s.hostname or "") for s in listed)
    assert all(len(mine) <= index.peers.max_per_peer for mine in index.peers._peers.values())
    assert len(index.peers._peers) <= index.peers.max_peers
    if cache.max_size:
        assert len(cache) <= cache.max_size


def server_cache(**settings: Any) -> SessionCache:
    """A server's cache whose clock is set by hand."""
    return SessionCache(**{"name": "server", "clock": Clock(), **settings})
