"""The sessions that a context keeps: found by id for servers, by peer for clients, bounded, and flushed as they expire.

`SessionCache` is the internal cache of OpenSSL's SSL_CTX. It owns one reference to each session in it, and a session is
in one cache only. Three differences to OpenSSL are deliberate. Eviction, flush, expiry and `close` give back the
cache's reference and do no more: whoever holds such a session keeps it, resumable; only `remove` condemns. The limit is
reached exactly, not missed by one. And callbacks run when no lock is held, so they may use the cache.

Whether a session may resume a connection is not asked here: `resumption.session.gate` decides about what was found.
Sessions of clients are kept apart from those of servers: a client never finds a session by its id, a server never finds
a client's. The order of expiry, not of use, decides who leaves first. All operations cost the same at a thousand
sessions and at a million; ids are looked up in a dict, whose hash is keyed per process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from enum import IntFlag
from threading import RLock
from typing import Final

from resumption.errors import SessionError, SessionFreedError
from resumption.session import forking
from resumption.session.facts import SessionData
from resumption.session.index import SessionIndex, WeakOwner, check_limit, content_length
from resumption.session.ledger import APPLICATION, Holder, release_each
from resumption.session.model import Session
from resumption.session.peers import PeerIndex
from resumption.session.statistics import SessionStats
from resumption.session.verdicts import TLS_13

__all__ = ["CacheMode", "SessionCache"]

DEFAULT_MAX_SIZE: Final = 20_480  # sessions
DEFAULT_MAX_BYTES: Final = 64 << 20
DEFAULT_MAX_SESSION_BYTES: Final = 16 << 10  # of one session's contents; a larger one is not cached
_BATCH: Final = 256  # sessions dropped for one taking of the lock
_AUTOMATIC: Final = 4 * _BATCH  # sessions dropped by an automatic flush; the rest waits for the next handshake
_FLUSH_MASK: Final = 0xFF  # an automatic flush completes each 256th handshake
_CLIENT, _SERVER, _NO_AUTO_CLEAR = 0x0001, 0x0002, 0x0080  # the bits of `CacheMode` as plain numbers: 20 times faster
_NO_INTERNAL_LOOKUP, _NO_INTERNAL_STORE, _UPDATE_TIME = 0x0100, 0x0200, 0x0400


class CacheMode(IntFlag):
    """What a cache does by itself (SSL_SESS_CACHE_*). Explicit calls work in every mode."""

    OFF = 0x0000
    CLIENT = 0x0001  # clients' sessions are stored and announced
    SERVER = 0x0002  # servers' sessions are
    BOTH = 0x0003
    NO_AUTO_CLEAR = 0x0080  # no flush at every 256th handshake
    NO_INTERNAL_LOOKUP = 0x0100  # servers look only outside
    NO_INTERNAL_STORE = 0x0200  # sessions are announced, not stored
    NO_INTERNAL = 0x0300
    UPDATE_TIME = 0x0400  # adding and resuming make a session young again


class SessionCache(forking.LockedAtFork):
    """A bounded collection of sessions with one reference to each; "cache of NAME" is its holder in their ledgers.

    ``max_size`` (sessions) and ``max_bytes`` bound it, 0 is without limit; ``max_peers`` and ``max_per_peer`` bound
    what clients keep. ``on_remove(session)`` is told of every session that leaves, borrowed for the call, except of
    one that is displaced by another with the same id; if it raises, the work at hand is finished first. All methods
    may be called from any thread, and from callbacks. `ConfigurationError` (a `ValueError`) for senseless limits.
    """

    __slots__ = (
        "__weakref__",
        "_behind",
        "_clock",
        "_closed",
        "_index",
        "_lent",
        "_link",
        "_lock",
        "_mode",
        "holder",
        "on_remove",
        "stats",
    )

    def __init__(
        self,
        *,
        mode: CacheMode = CacheMode.SERVER,
        max_size: int = DEFAULT_MAX_SIZE,
        max_bytes: int = DEFAULT_MAX_BYTES,
        max_session_bytes: int = DEFAULT_MAX_SESSION_BYTES,
        max_peers: int = 256,
        max_per_peer: int = 8,
        name: str = "",
        clock: Callable[[], float] = time.time,
        on_remove: Callable[[Session], object] | None = None,
    ) -> None:
        self._closed = True  # nothing to do for the finalizer if a limit is refused
        self._link = WeakOwner(self)
        self._index = SessionIndex(
            self._link,
            PeerIndex(max_peers, max_per_peer),
            max_size=check_limit("max_size", max_size),
            max_bytes=check_limit("max_bytes", max_bytes),
            max_session_bytes=check_limit("max_session_bytes", max_session_bytes),
        )
        self._lock = RLock()
        self._clock = clock
        self._behind = False  # an automatic flush left some for later
        self._lent = Holder("application", "callback")
        self.holder = Holder("cache", name)
        self._mode = int(mode)
        self.on_remove = on_remove
        index = self._index
        self.stats = SessionStats(lambda: index.size, self._lock)
        self._closed = False
        forking.watch(self)

    def __del__(self) -> None:
        if self._closed:
            return
        self._closed = True
        for session in self._index:  # quietly: whoever still holds a session must not see a reference of nobody's
            if not session.is_freed:  # collected together with us, and before us
                session.unlink(self._link)
                session.release(self.holder)

    # What there is.

    def __len__(self) -> int:
        return self._index.size

    def __iter__(self) -> Iterator[Session]:
        """The sessions of this moment, borrowed: one may be freed meanwhile. Take `up_ref` of what you keep."""
        with self._lock:
            return iter(list(self._index))

    def __contains__(self, session: object) -> bool:
        """Whether this very object is in the cache."""
        return isinstance(session, Session) and session.is_linked(self._link)

    def __repr__(self) -> str:
        return f"<{self.holder}: {len(self)} sessions>"

    def has_id(self, version: int, session_id: bytes) -> bool:
        """Whether a server's lookup would find this id (SSL_has_matching_session_id). Counts nothing."""
        return self._index.find(version, session_id) is not None

    @property
    def mode(self) -> CacheMode:
        """What the cache does by itself (SSL_CTX_set_session_cache_mode). May be changed at any time."""
        return CacheMode(self._mode)

    @mode.setter
    def mode(self, mode: CacheMode) -> None:
        self._mode = int(mode)

    @property
    def size_bytes(self) -> int:
        """About how much memory the cached sessions take."""
        return self._index.bytes

    @property
    def max_size(self) -> int:
        """How many sessions there may be; 0 is without limit. A smaller value takes effect at the next `add`."""
        return self._index.max_size

    @max_size.setter
    def max_size(self, max_size: int) -> None:
        self._index.max_size = check_limit("max_size", max_size)

    @property
    def max_bytes(self) -> int:
        """How much memory they may take, about; 0 is without limit. A smaller value takes effect at the next `add`."""
        return self._index.max_bytes

    @max_bytes.setter
    def max_bytes(self, max_bytes: int) -> None:
        self._index.max_bytes = check_limit("max_bytes", max_bytes)

    # Putting in and taking out.

    def add(self, session: Session, *, peer_key: bytes | None = None) -> bool:
        """Put ``session`` in, in any mode (SSL_CTX_add_session): the cache takes a reference of its own.

        True if it is new here, also when it displaced another object with the same id: that one leaves silently,
        unharmed. False if it was here already, if its contents are too large, or if the cache is closed. When the
        cache is full those leave that expire first, never the newcomer. With ``peer_key`` it becomes a client's
        session, for `take_for_peer` to find, and by no other way.

        `SessionError` if it has no id or is in another cache, `SessionFreedError` after its end.
        """
        refused = False
        with self._lock:
            data = session.link(self._link, self.holder)
            if data is not None:
                length = content_length(data)
                if self._closed or not data.session_id or not self._index.admits(length):
                    refused = session.unlink(self._link)
                else:
                    displaced, leaving, evicted = self._index.insert(session, data, length, peer_key)
        if refused:
            session.release(self.holder)
            if data is not None and data.session_id:
                return False
            raise SessionError("a session without id cannot be found in a cache: set an id first")
        if self._mode & _UPDATE_TIME:
            self._refresh(session)
        if data is None:
            return False
        if displaced is not None:
            displaced.release(self.holder)
        if leaving:
            self.stats.count("cache_full", evicted)
            _raise(self._let_go(leaving))
        return True

    def lookup(self, version: int, session_id: bytes, *, holder: Holder) -> Session | None:
        """What a server looks up: the session, with a reference for ``holder``; it stays here. Expired ones too.

        None, and a miss counted, if there is none. None and no miss for an empty id or in mode NO_INTERNAL_LOOKUP.
        """
        if not session_id or self._mode & _NO_INTERNAL_LOOKUP:
            return None
        session = self._index.find(version, session_id)  # without the lock: a hit needs none, if it is alive
        if session is not None:
            try:
                return session.acquire(holder)
            except SessionFreedError:  # it has just left; another one may have its id by now
                pass
        with self._lock:
            session = self._index.find(version, session_id)
            if session is not None and not session.is_freed:
                return session.acquire(holder)
        self.stats.count("misses")
        return None

    def take(self, version: int, session_id: bytes, *, holder: Holder) -> Session | None:
        """Remove a session and hand the cache's reference over to ``holder``, as one step: only one caller gets it.

        The session is not condemned. None, and a miss counted, if there is none. Works in every mode.
        """
        if not session_id:
            return None
        with self._lock:
            session = self._index.find(version, session_id)
            if session is not None:
                self._index.detach(session)
                session.transfer(self.holder, holder)
        if session is None:
            self.stats.count("misses")
            return None
        return self._handed_over(session, holder, self._tell([session]))

    def take_for_peer(self, peer_key: bytes, *, holder: Holder, now: float) -> Session | None:
        """The session that a client should offer to this peer at ``now``; ``holder`` gets a reference.

        In TLS 1.3 the newest ticket, which leaves the cache: a ticket is used once. In TLS 1.2 the one session of the
        peer, which stays. Expired and condemned ones that are met are dropped. None if there is none.
        """
        dropped: list[Session] = []
        taken: list[Session] = []
        peers = self._index.peers
        with self._lock:
            while (session := peers.newest(peer_key)) is not None:
                data = session.data
                if data.is_expired(now) or session.is_marked_not_resumable:
                    self._index.detach(session)
                    dropped.append(session)
                elif data.version == TLS_13:
                    self._index.detach(session)
                    session.transfer(self.holder, holder)
                    taken.append(session)
                    break
                else:
                    session.acquire(holder)
                    break
            peers.touch(peer_key)
        error = self._tell(dropped + taken)
        release_each(dropped, self.holder)
        return self._handed_over(session, holder, error)

    def peek_for_peer(self, peer_key: bytes) -> int:
        """How many sessions there are for this peer, expired ones included."""
        with self._lock:
            return self._index.peers.count(peer_key)

    def remove(self, session: Session) -> bool:
        """Remove ``session`` and condemn it, for all its holders (SSL_CTX_remove_session). True if one was here.

        As in OpenSSL it need not be here itself: another one with its id leaves in its place, uncondemned, while
        ``session`` is condemned and ``on_remove`` told of it. Nothing happens to a session without id.
        """
        data = session.data
        if not data.session_id:
            return False
        with self._lock:
            found = session if session.is_linked(self._link) else self._index.like(data)
            if found is not None:
                self._index.detach(found)
        session.mark_not_resumable("removed from the cache")
        try:
            if self.on_remove is not None:
                self.on_remove(session)
        finally:
            if found is not None:
                found.release(self.holder)
        return found is not None

    def discard(self, session: Session) -> bool:
        """Let go of ``session`` without condemning it: whoever holds it may go on using it. False if not here."""
        with self._lock:
            if not session.is_linked(self._link):
                return False
            self._index.detach(session)
        _raise(self._let_go([session]))
        return True

    def flush(self, at: float | None = None) -> int:
        """Drop the sessions that are expired at ``at`` (seconds since the epoch, default now), first to expire first.

        Returns how many there were. Costs time in proportion to that number, whatever the size of the cache.
        """
        return self._flush(self._clock() if at is None else at, len(self))

    def flush_all(self) -> int:
        """Drop all sessions (SSL_CTX_flush_sessions at time 0). Returns how many there were."""
        return self._flush(None, len(self))

    def close(self) -> None:
        """Drop all sessions and take no more (the cache's part of SSL_CTX_free). May be called again."""
        with self._lock:
            self._closed = True
        self.flush_all()

    # What connections report.

    def publish(
        self,
        session: Session,
        *,
        client: bool,
        resumed: bool = False,
        renewed: bool = False,
        verify_peer: bool = False,
        stateful: bool = False,
        peer_key: bytes | None = None,
        keep: bool = True,
        announce: Callable[[Session], object] | None = None,
    ) -> bool:
        """A session became available on a connection: store and announce it, as far as the mode says so.

        To be called once the peer is verified: in TLS 1.2 at the end of the handshake, in TLS 1.3 for each ticket.
        ``resumed``: the handshake was a resumption; in TLS 1.2 there is nothing new then, unless a client's ticket was
        ``renewed``, which is stored without a word. ``verify_peer``: the server asks for certificates, so an id
        context is needed. ``stateful``: a TLS 1.3 server's ticket is a key to this cache. ``peer_key``: where a client
        will look for it, None if it must not find it by itself. ``keep`` False: it is kept elsewhere.
        ``announce(session)`` is called last and lent a reference, which becomes the application's if it returns True.

        Returns whether the cache took it. `SessionError` if the session is in another cache.
        """
        data = session.data
        if not self._serves(client) or not data.session_id or session.is_marked_not_resumable:
            return False
        if not client and verify_peer and not data.id_context:
            return False
        again = resumed and data.version != TLS_13
        if again and not (client and renewed):
            return False
        # A stateless ticket of TLS 1.3 needs no memory of ours, unless someone wants to hear of its end.
        needed = client or data.version != TLS_13 or stateful or self.on_remove is not None
        stored = False
        if needed and keep and not self._mode & _NO_INTERNAL_STORE:
            stored = self.add(session, peer_key=peer_key if client else None)
        if announce is not None and not again:
            self._announce(session, announce)
        return stored

    def adopt(self, session: Session, session_id: bytes, *, holder: Holder, given: bool = False) -> Session | None:
        """Take the answer from outside (a callback or a store) to the question for ``session_id``.

        Returns it with a reference for ``holder``, after storing it unless the mode forbids; None if it has another id
        or is condemned. With ``given``, a reference of the application's is used up in either case.
        """
        if session.id != session_id or session.is_marked_not_resumable:
            if given:
                session.release(APPLICATION)
            return None
        self.stats.count("cb_hits")
        if not self._mode & _NO_INTERNAL_STORE and not session.is_linked():
            self.add(session)
        if given:
            session.transfer(APPLICATION, holder)
            return session
        return session.acquire(holder)

    def hit(self, session: Session) -> None:
        """``session`` resumes a connection: count it, and make it young again if the mode says so."""
        self.stats.count("hits")
        if self._mode & _UPDATE_TIME:
            self._refresh(session)

    def expire(self, session: Session) -> bool:
        """``session`` was found, but is expired: count it, and let go of it. False if it was not here."""
        self.stats.count("timeouts")
        return self.discard(session)

    def handshake_done(self, *, client: bool) -> None:
        """A handshake is finished: count it, and at each 256th drop what is expired, unless the mode forbids."""
        before = self.stats.count("connect_good" if client else "accept_good")
        due = self._behind or before & _FLUSH_MASK == _FLUSH_MASK
        if due and self._serves(client) and not self._mode & _NO_AUTO_CLEAR:
            self._behind = self._flush(self._clock(), _AUTOMATIC) >= _AUTOMATIC

    # What sessions report, and what happens at a fork. Not for applications.

    def resort(self, session: Session, /) -> None:
        """The time or timeout of ``session`` was changed."""
        with self._lock:
            if session.is_linked(self._link):
                self._index.resort(session)

    def forget(self, session: Session, data: SessionData, /) -> None:
        """``session`` ended, because somebody gave back the cache's reference."""
        with self._lock:
            self._index.forget(session, data)

    # Behind all that.

    def _serves(self, client: bool) -> bool:
        return bool(self._mode & (_CLIENT if client else _SERVER))

    def _refresh(self, session: Session) -> None:
        """Make it young again. Not a client's TLS 1.3 ticket, though: the server knows its true age."""
        if session.is_linked(self._link) and (session.version != TLS_13 or session not in self._index.peers):
            session.time = self._clock()

    def _flush(self, at: float | None, limit: int) -> int:
        dropped = 0
        error: BaseException | None = None
        while dropped < limit:
            with self._lock:
                sessions = self._index.pop_expired(at, min(_BATCH, limit - dropped))
            if not sessions:
                break
            dropped += len(sessions)
            error = self._let_go(sessions) or error
        _raise(error)
        return dropped

    def _tell(self, sessions: list[Session]) -> BaseException | None:
        """Tell the callback of each session. Returns the first error, when all were told."""
        error: BaseException | None = None
        callback = self.on_remove
        if callback is None:
            return None
        for session in sessions:
            try:
                callback(session)
            except BaseException as raised:
                error = error or raised
        return error

    def _let_go(self, sessions: list[Session]) -> BaseException | None:
        """Tell of each session, and give back its reference. Returns the callback's first error."""
        error = self._tell(sessions)
        release_each(sessions, self.holder)
        return error

    def _handed_over(self, session: Session | None, holder: Holder, error: BaseException | None) -> Session | None:
        """``session``, unless the callback failed: then ``holder`` does not get it after all."""
        if error is None:
            return session
        if session is not None:
            session.release(holder)
        raise error

    def _announce(self, session: Session, announce: Callable[[Session], object]) -> None:
        session.acquire(self._lent)
        kept = False
        try:
            answer = announce(session)
            kept = isinstance(answer, int) and answer == 1
        finally:
            if kept:
                session.transfer(self._lent, APPLICATION)
            else:
                session.release(self._lent)


def _raise(error: BaseException | None) -> None:
    if error is not None:
        raise error
