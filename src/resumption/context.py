"""What client and server contexts share: settings for many connections, and the sessions that live between them.

A context freezes its settings into a configuration when it is made, owns a `SessionCache`, makes connections, and is
their host: it finds the sessions that clients name, files the sessions that handshakes make, and counts.
`ClientContext` resumes by itself: it files every ticket under the server and the settings that it belongs to, and
spends the newest at the next connection. `ServerContext` owns the ticket keys and, where sessions are shared beyond
the process, the store.

Settings do not change afterwards; make another context. What the manual pages let a program change at any time (the
callbacks, the cache's mode, size and limits) can be changed here at any time too.
"""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from types import TracebackType
from typing import Any, Generic, NoReturn, Self, SupportsIndex, TypeAlias, TypeVar

from resumption.config import Config, ServerConfig
from resumption.constants import MAX_SESSION_ID_LENGTH, ProtocolVersion
from resumption.crypto import groups, signatures, suites
from resumption.crypto.crls import CrlSource, RevocationLists
from resumption.errors import (
    AlertReceived,
    Error,
    InternalError,
    PeerError,
    UsageError,
)
from resumption.handshake.events import NeedSession
from resumption.ownership import GenerateSessionId, NotResumable, SessionOwner
from resumption.session.cache import CacheMode, SessionCache
from resumption.session.early import EarlyData
from resumption.session.model import Session
from resumption.session.statistics import ContextStats, SessionStats
from resumption.session.verdicts import Mechanism, Reason

__all__ = ["Context", "KeyLog", "ends_session", "numbered", "open_key_log", "protocols"]

_TLS12 = int(ProtocolVersion.TLSv1_2)
_TLS13 = int(ProtocolVersion.TLSv1_3)
_ID_ATTEMPTS = 10
_numbers = itertools.count(1)
_log = logging.getLogger("resumption.context")
_handshakes = logging.getLogger("resumption.handshake")  # one record for each, at level INFO

# Settings that may name things instead of numbering them.
_NUMBERS: dict[str, Callable[[str], int]] = {
    "groups": lambda name: groups.by_name(name).group,
    "key_shares": lambda name: groups.by_name(name).group,
    "suites": lambda name: suites.by_name(name).suite,
    "schemes": lambda name: signatures.by_name(name).scheme,
    "certificate_schemes": lambda name: signatures.by_name(name).scheme,
}

C = TypeVar("C", bound=Config)
NewSessionCallback: TypeAlias = Callable[[Any, Session], object]
GetSessionCallback: TypeAlias = Callable[[Any, bytes], "Session | tuple[Session, bool] | None"]
KeyLog: TypeAlias = "str | os.PathLike[str] | Callable[[str], object]"
RemoveSessionCallback: TypeAlias = Callable[[Any, Session], object]


class Context(Generic[C]):
    """What clients and servers share.

    ``sessions`` is the context's cache. ``on_new_session(connection, session)`` is told of every session that becomes
    available; it keeps a reference of its own by returning True (or by ``session.up_ref()``). ``on_get_session(
    connection, session_id)`` may bring a session from elsewhere: it returns the session, of which the library takes its
    own reference, or ``(session, False)`` to hand its own over. ``on_remove_session(context, session)`` is told of
    every session that leaves the cache. ``generate_session_id(connection, most)`` makes the ids of a server's new
    sessions, and ``not_resumable_callback(connection, is_forward_secure)`` has a TLS 1.2 session not resumed by
    returning something true; a connection's own callbacks of these names win. Callbacks run on the thread that drives
    the connection, outside all locks.

    An exception in one of the first three is logged and does no harm to the connection: what was asked for is not
    found, what was told is not kept. One in the last two ends the connection with an internal_error alert.
    """

    config: C
    sessions: SessionCache

    def __init__(self, config: C, *, mode: CacheMode, name: str, keylog: KeyLog | None = None) -> None:
        self.config = config
        self.name = name
        self.sessions = SessionCache(mode=mode, name=name, clock=config.clock)
        self.on_new_session: NewSessionCallback | None = None
        self.on_get_session: GetSessionCallback | None = None
        self._on_remove_session: RemoveSessionCallback | None = None
        self.generate_session_id: GenerateSessionId | None = None
        self.not_resumable_callback: NotResumable | None = None
        self._closed = False
        self._frozen = False
        self._keeps_in_memory = True
        self._keylog = open_key_log(keylog)

    @property
    def on_remove_session(self) -> RemoveSessionCallback | None:
        """The remove callback."""
        return self._on_remove_session

    @on_remove_session.setter
    def on_remove_session(self, callback: RemoveSessionCallback | None) -> None:
        self._on_remove_session = callback
        self.sessions.on_remove = None if callback is None else (lambda session: _tell(callback, self, session))

    @property
    def session_cache_mode(self) -> CacheMode:
        """What the cache does by itself."""
        return self.sessions.mode

    @session_cache_mode.setter
    def session_cache_mode(self, mode: CacheMode) -> None:
        self.sessions.mode = mode

    @property
    def session_stats(self) -> SessionStats:
        """The counters of this context."""
        return self.sessions.stats

    def stats(self) -> ContextStats:
        """Everything that is counted here, of about one moment."""
        counts = self.session_stats
        return ContextStats(
            name=self.name,
            role="server" if isinstance(self.config, ServerConfig) else "client",
            counters=counts.snapshot(),
            resumed={
                "unknown" if mechanism is None else mechanism.label: number
                for mechanism, number in counts.resumed.items()
            },
            full=counts.full,
            reasons={str(reason): number for reason, number in counts.reasons.items()},
            early={str(what): number for what, number in counts.early.items()},
        )

    @property
    def session_timeout(self) -> int:
        """Lifetime in seconds of the sessions made from now on. Settable at any time; existing ones keep theirs."""
        return self.config.session_timeout_s

    @session_timeout.setter
    def session_timeout(self, timeout_s: int) -> None:
        self.config = replace(self.config, session_timeout_s=timeout_s)

    @property
    def session_id_context(self) -> bytes:
        """The session id context: sessions of another one are not resumed here. Settable until it is frozen."""
        return self.config.id_context

    @session_id_context.setter
    def session_id_context(self, id_context: bytes) -> None:
        self._check_not_frozen()
        self.config = replace(self.config, id_context=id_context)

    @property
    def crls(self) -> RevocationLists | None:
        """The revocation lists that peers' certificates are held against, at full handshakes and again when sessions
        resume. Settable at any time, to anything that ``crls=`` takes, for connections made afterwards."""
        return self.config.crls

    @crls.setter
    def crls(self, lists: RevocationLists | CrlSource | None) -> None:
        self.config = replace(self.config, crls=RevocationLists.of(lists))

    @property
    def is_frozen(self) -> bool:
        """Whether a connection was made: who may resume what can no longer be changed then."""
        return self._frozen

    def close(self) -> None:
        """The end of the context: its cache gives back its references, its connections live on. May be repeated."""
        self._closed = True
        self.sessions.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """Contexts are not copied: a copy with other settings would accept what the original's keys sealed."""
        raise TypeError("a context cannot be copied or pickled: make another one")

    def _freeze(self) -> None:
        if self._closed:
            raise UsageError("this context is closed")
        self._frozen = True

    def _check_not_frozen(self) -> None:
        if self._frozen:
            raise UsageError("this context has made connections: what they depend on is frozen; make another context")

    # What connections report (`resumption.ownership.Host`).

    def find_session(self, connection: SessionOwner, question: NeedSession) -> Session | None:
        """From the cache, or from the application's callback. A callback that raises is a miss."""
        if self.keeps(question.mechanism):
            session = self.sessions.lookup(question.version, question.key, holder=connection.holder)
            if session is not None:
                connection.looked_up = session
                return session
        if self.on_get_session is None:
            return None
        try:
            answer = self.on_get_session(connection, question.key)
        except Exception:
            _log.warning("a session callback failed: counted as a miss", exc_info=True)
            return None
        given = False
        if isinstance(answer, tuple):
            answer, copy = answer
            given = not copy
        if answer is None:
            return None
        return self.sessions.adopt(answer, question.key, holder=connection.holder, given=given)

    def keeps(self, mechanism: Mechanism) -> bool:
        """Whether sessions of this kind are kept in the cache."""
        return True

    def must_ask_outside(self, connection: SessionOwner) -> bool:
        """Only where sessions are shared beyond the process."""
        return False

    def new_session_id(self, connection: SessionOwner, version: int) -> bytes:
        """An id unlike any in the cache: from the callback, else 32 random bytes.

        None where neither the cache nor a store keeps sessions. Raises `InternalError` if the callback returns an id
        that cannot be used, and if ten random ones are all taken.
        """
        if not self.sessions.mode & CacheMode.SERVER and not self.must_ask_outside(connection):
            return b""
        callback = connection.generate_session_id or self.generate_session_id
        if callback is not None:
            session_id = callback(connection, MAX_SESSION_ID_LENGTH)
            if not isinstance(session_id, bytes) or not 1 <= len(session_id) <= MAX_SESSION_ID_LENGTH:
                raise InternalError(f"generate_session_id must return 1 to {MAX_SESSION_ID_LENGTH} bytes")
            if self.sessions.has_id(version, session_id):
                raise InternalError("generate_session_id returned an id that another session has")
            return session_id
        for _ in range(_ID_ATTEMPTS):
            session_id = self.config.random(MAX_SESSION_ID_LENGTH)
            if not self.sessions.has_id(version, session_id):
                return session_id
        raise InternalError("the random source repeats itself")

    def has_session_id(self, connection: SessionOwner, session_id: bytes) -> bool:
        """Whether the cache holds it, for the connection's version if that is known."""
        versions = (connection.version,) if connection.version is not None else (_TLS12, _TLS13)
        return any(self.sessions.has_id(version, session_id) for version in versions)

    def allows_resumption(self, connection: SessionOwner) -> bool:
        """What the not-resumable callback says."""
        callback = connection.not_resumable_callback or self.not_resumable_callback
        return callback is None or not callback(connection, True)

    def consume(self, connection: SessionOwner, session: Session) -> bool:
        """A session from the cache is spent by leaving it; one from outside was spent when it was fetched.

        What a callback brought may have been stored on the way: then it leaves again.
        """
        return self.sessions.discard(session) or connection.looked_up is not session

    def session_issued(self, connection: SessionOwner, session: Session) -> None:
        """File it and announce it, as far as the mode says so."""
        config = connection.config
        callback = self.on_new_session
        self.sessions.publish(
            session,
            client=not connection.is_server,
            resumed=connection.session_reused,
            renewed=connection.session_reused,
            verify_peer=isinstance(config, ServerConfig) and config.client_auth != "none",
            stateful=isinstance(config, ServerConfig) and config.stateful and self.keeps(Mechanism.STATEFUL_13),
            peer_key=connection.peer_key,
            keep=self._keeps_in_memory,
            announce=None if callback is None else (lambda announced: _tell(callback, connection, announced)),
        )

    def session_resumed(self, connection: SessionOwner, session: Session) -> None:
        """Count the hit."""
        self.sessions.hit(session)

    def session_declined(self, connection: SessionOwner, session: Session, reason: Reason) -> None:
        """The gate refused a session that was found."""
        if reason is Reason.EXPIRED:
            self.sessions.expire(session)

    def log_secret(self, label: str, client_random: bytes, secret: bytes) -> None:
        """One line in the format of NSS, which Wireshark reads."""
        if self._keylog is not None:
            self._keylog(f"{label} {client_random.hex()} {secret.hex()}")

    def handshake_started(self, connection: SessionOwner) -> None:
        """Count it."""
        self.session_stats.count("accept" if connection.is_server else "connect")

    def handshake_completed(self, connection: SessionOwner) -> None:
        """Count it, and say how it went."""
        resumption = connection.resumption
        if resumption is not None:
            self.session_stats.record(resumption)
            if _handshakes.isEnabledFor(logging.INFO):
                _handshakes.info(
                    "%s: connection %d: %s",
                    self.name,
                    connection.number,
                    resumption,
                    extra={
                        "context": self.name,
                        "resumed": resumption.resumed,
                        "reason": None if resumption.reason is None else str(resumption.reason),
                        "mechanism": None if resumption.mechanism is None else resumption.mechanism.label,
                    },
                )
        self.sessions.handshake_done(client=not connection.is_server)

    def early_data_decided(self, connection: SessionOwner, early: EarlyData) -> None:
        """Count it."""
        self.session_stats.record_early(early)

    def connection_failed(self, connection: SessionOwner, error: Error) -> None:
        """In TLS 1.2 a fatal alert ends the session too. RFC 5246, section 7.2.2."""
        session = connection.held_session
        if session is not None and ends_session(session, error):
            self.sessions.remove(session)


def ends_session(session: Session, error: Error) -> bool:
    """Whether a connection's ``error`` is the end of its session, too."""
    return isinstance(error, PeerError | AlertReceived) and session.data.version == _TLS12


def _tell(callback: Callable[[Any, Session], object], subject: object, session: Session) -> object:
    """What the callback says to this news of a session; None if it fails, which is no concern of the connection's."""
    try:
        return callback(subject, session)
    except Exception:
        _log.warning("a session callback failed", exc_info=True)
        return None


def numbered(settings: dict[str, Any]) -> dict[str, Any]:
    """``settings`` with numbers in place of IANA's or OpenSSL's names of groups, suites and signature schemes.

    Raises `ConfigurationError` for a name that we do not speak.
    """
    found = dict(settings)
    for setting, number in _NUMBERS.items():
        names = found.get(setting)
        if names is not None and not isinstance(names, int):
            found[setting] = tuple(number(name) if isinstance(name, str) else name for name in names)
    return found


def protocols(names: Iterable[str | bytes]) -> tuple[bytes, ...]:
    """ALPN names as bytes."""
    return tuple(name.encode("ascii") if isinstance(name, str) else bytes(name) for name in names)


def open_key_log(target: KeyLog | None) -> Callable[[str], object] | None:
    """A function that takes the lines of a key log; a file gets them appended, and is made with mode 0600."""
    if target is None or callable(target):
        return target
    path = os.fspath(target)

    def append(line: str) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, line.encode("ascii") + b"\n")
        finally:
            os.close(descriptor)

    return append
