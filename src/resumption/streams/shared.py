"""The sessions that processes share, as streams see them: lookups that wait, blocking or awaited, and news that do not.

Between the store and the handshakes stands this process's own cache, too: a TLS 1.2 session that was fetched is filed
there, so that the client's next connection here is spared the store. Single-use sessions are not: the store alone
decides who spends them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from resumption.constants import ProtocolVersion
from resumption.errors import SessionFormatError
from resumption.handshake.events import NeedSession
from resumption.ownership import SessionOwner
from resumption.session.cache import CacheMode, SessionCache
from resumption.session.fleet.shared import SharedSessions
from resumption.session.model import Session
from resumption.session.stores.guarded import StoreUnavailable
from resumption.session.verdicts import Mechanism

if TYPE_CHECKING:
    from resumption.session.stores.guarded import Receipt
    from resumption.streams.awaited import AwaitedReceipt, AwaitedStore

__all__ = ["SharedStore"]

_TLS12 = int(ProtocolVersion.TLSv1_2)


class SharedStore:
    """The store of one server context (`resumption.streams.outside.AwaitedOutside`)."""

    def __init__(self, sessions: SharedSessions, cache: Callable[[], SessionCache], *, stateful: bool) -> None:
        """``cache`` gives the context's own cache. ``stateful``: TLS 1.3 tickets are ids, too."""
        self.sessions = sessions
        self._cache = cache
        self._stateful = stateful
        self._awaited: AwaitedStore | None = None

    def find_session(self, connection: SessionOwner, question: NeedSession) -> Session | None:
        """Fetch a session; its reference is held by ``connection.holder``. Raises `StoreUnavailable`."""
        single_use = question.mechanism is Mechanism.STATEFUL_13
        packed = self.sessions.load(question.key, question.partition, single_use)
        return self._revived(connection, question, packed)

    async def find_session_awaiting(self, connection: SessionOwner, question: NeedSession) -> Session | None:
        """As `find_session`, in an event loop."""
        sessions = self.sessions
        lookup = sessions.lookup(question.key, question.partition, question.mechanism is Mechanism.STATEFUL_13)
        record = None
        if lookup.keys:
            try:
                record = await self._awaiting().lookup(lookup.keys, take=lookup.single_use)
            except StoreUnavailable:
                sessions.unanswered()
                raise
        return self._revived(connection, question, sessions.opened(lookup, record))

    def session_issued(self, connection: SessionOwner, session: Session) -> Receipt | None:
        """Have a session saved that clients will name by its id. Failures are counted, never raised.

        The receipt is for who waits until the store has it, if that is a matter of moments (`resumption.StoreLimits`).
        """
        key = self._saved(session)
        return self.sessions.guard.receipt(key) if key is not None else None

    async def session_issued_awaiting(self, connection: SessionOwner, session: Session) -> AwaitedReceipt | None:
        """As `session_issued`, in an event loop."""
        key = self._saved(session)
        return self._awaiting().receipt(key) if key is not None else None

    def _saved(self, session: Session) -> str | None:
        data = session.data
        if not data.session_id or not (self._stateful or data.version == _TLS12):
            return None
        return self.sessions.save(data.session_id, data.partition, session.to_packed(), data.expires_at)

    def forget(self, session: Session) -> None:
        """Have a session forgotten that no process shall resume any more."""
        self.sessions.remove(session.data.session_id, session.data.partition)

    def connect(self) -> None:
        """Reach the store before the first client comes, which would not wait so long. Takes a second at most."""
        self.sessions.guard.connect()

    async def connect_awaiting(self) -> None:
        """As `connect`, in an event loop."""
        await self._awaiting().connect()

    async def disconnect(self) -> None:
        """Close what this event loop has of the store. The next lookup connects again."""
        if self._awaited is not None:
            await self._awaited.disconnect()

    def _awaiting(self) -> AwaitedStore:
        if self._awaited is None:
            from resumption.streams.awaited import AwaitedStore  # asyncio is slow to import: only who uses it pays

            self._awaited = AwaitedStore(self.sessions.guard)
        return self._awaited

    def _revived(self, connection: SessionOwner, question: NeedSession, packed: bytes | None) -> Session | None:
        if packed is None:
            return None
        with contextlib.suppress(SessionFormatError):
            session = Session.from_packed(packed, holder=connection.holder)
            cache = self._cache()
            if session.id == question.key:
                cache.stats.count("cb_hits")
                if question.mechanism is Mechanism.SESSION_ID and cache.mode & CacheMode.SERVER:
                    cache.add(session)
                return session
            session.release(connection.holder)
        return None
