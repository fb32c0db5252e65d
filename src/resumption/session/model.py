"""The session: immutable facts, a secret, and a count of who holds it.

`Session` is OpenSSL's SSL_SESSION. `resumption.session.facts` has the facts, `resumption.session.ledger` the counting;
this module joins them with the secret, and wipes it when the last holder lets go. What a session is for (may it resume
here?) is decided in the gate, where it is kept in the cache, how it is written in the codecs.

Facts never change in place: a setter replaces the whole frozen `SessionData`, so a thread that read `data` has one
consistent state. While a cache holds the session, it is published, and only its time and timeout may still be set; the
cache is told, to keep its order. OpenSSL edits such sessions under the feet of other threads (CVE-2010-3864 and its
kin); here that cannot be written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, MutableMapping
from typing import Any, Generic, NoReturn, Protocol, TypeVar, final, overload

from resumption.constants import MAX_ID_CONTEXT_LENGTH, MAX_SECRET_LENGTH, MAX_SESSION_ID_LENGTH
from resumption.errors import SessionError, SessionFormatError
from resumption.session import slots, traces
from resumption.session.facts import SessionData
from resumption.session.formats import der, packed, text
from resumption.session.ledger import APPLICATION, FIRST_FREE_BIT, Counted, Holder
from resumption.session.traces import Step, place_of_caller, tracing

__all__ = ["APPLICATION", "Holder", "Owner", "Session", "SessionData", "Step", "tracing"]

T = TypeVar("T")

_NOT_RESUMABLE = FIRST_FREE_BIT
_USUAL_LENGTH = 48  # bytes of a secret: of all in TLS 1.2, and of those with SHA-384
_ZEROS = bytes(_USUAL_LENGTH)


class Owner(Protocol):
    """A cache, as far as a session that is linked into it is concerned. Called without any lock of the session."""

    def resort(self, session: Session, /) -> None:
        """The time or timeout of ``session`` was changed: find its place again."""

    def forget(self, session: Session, data: SessionData, /) -> None:
        """``session``, whose facts were ``data``, has ended while linked: remove it. Never happens unless the cache
        gave back its reference and kept the link."""


# --- facts as properties ---------------------------------------------------------------------------------------------


def _as_bytes(name: str, value: Any) -> bytes:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise SessionError(f"a session's {name} is bytes, got {type(value).__name__}")
    return bytes(value)


def _at_most(limit: int) -> Callable[[str, Any], bytes]:
    def check(name: str, value: Any) -> bytes:
        content = _as_bytes(name, value)
        if len(content) > limit:
            raise SessionError(f"a session's {name} has at most {limit} bytes, got {len(content)}")
        return content

    return check


def _unsigned(bits: int) -> Callable[[str, Any], int]:
    def check(name: str, value: Any) -> int:
        if not isinstance(value, int) or not 0 <= value < 1 << bits:
            raise SessionError(f"a session's {name} is a whole number from 0 to 2**{bits} - 1")
        return int(value)

    return check


def _moment(name: str, value: Any) -> float:
    if not isinstance(value, int | float) or not 0 <= value < 2**63:
        raise SessionError(f"a session's {name} is in seconds since the epoch, from 0 to 2**63 - 1")
    return value


def _host(name: str, value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or "\0" in value:
        raise SessionError(f"a session's {name} is text without NUL, or None")
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise SessionError(f"a session's {name} is text that UTF-8 can write, or None") from None
    return str(value)


def _protocol(name: str, value: Any) -> bytes | None:
    return (value if value is None else _at_most(255)(name, value)) or None


def _appdata(name: str, value: Any) -> bytes:
    return b"" if value is None else _at_most(2**16 - 1)(name, value)


@final
class _Fact(Generic[T]):
    """A property of `Session` that reads one fact and, given a check, replaces it."""

    def __init__(self, name: str, doc: str, check: Callable[[str, Any], T] | None = None) -> None:
        self._fact = name
        self._check = check
        self.__doc__ = doc

    @overload
    def __get__(self, session: None, owner: type[Session]) -> _Fact[T]: ...
    @overload
    def __get__(self, session: Session, owner: type[Session]) -> T: ...
    def __get__(self, session: Session | None, owner: type[Session]) -> T | _Fact[T]:
        if session is None:
            return self
        value: T = getattr(session.data, self._fact)
        return value

    def __set__(self, session: Session, value: T) -> None:
        if self._check is None:
            raise AttributeError(f"a session's {self._fact} is not settable")
        session._replace(self._fact, self._check(self._fact, value))


@final
class Session(Counted):
    """A TLS session that can be held, counted, inspected, saved and resumed.

    ``Session()`` is empty (SSL_SESSION_new); sessions come from connections, caches and `from_der`, `from_pem`. The
    one who made it holds one reference: give it back with `free`, or use ``with``. After the last reference of all
    holders is gone, every use raises `SessionFreedError`. All methods may be called from any thread.
    """

    __slots__ = ("_data", "_ex_data", "_owner", "_place", "_secret")

    _data: SessionData | None
    _secret: bytearray
    _ex_data: dict[Hashable, Any] | None
    _owner: Owner | None
    _place: Any  # where its owner has it: the owner's own, and nothing while there is no owner

    def __init__(self, *, now: Callable[[], float] = time.time) -> None:
        """An empty session: made now, timeout 304 s, nothing verified, no id. The application holds it."""
        self._data = SessionData(time=now())
        self._secret = bytearray()
        self._ex_data = None
        self._owner = self._place = None
        self._begin(APPLICATION)

    @classmethod
    def create(cls, data: SessionData, secret: bytes, *, holder: Holder = APPLICATION, event: str = "made") -> Session:
        """A session with these facts and this secret (at most 512 bytes, copied), held by ``holder``.

        `SessionError` if the secret is too long. ``event`` is the first word of its `life`.
        """
        if len(secret) > MAX_SECRET_LENGTH:
            raise SessionError(f"a session's secret has at most {MAX_SECRET_LENGTH} bytes, got {len(secret)}")
        self: Session = cls.__new__(cls)
        self._data = data
        self._secret = bytearray(secret)
        self._ex_data = None
        self._owner = self._place = None
        self._begin(holder, event)
        return self

    def dup(self, *, holder: Holder = APPLICATION) -> Session:
        """A copy (SSL_SESSION_dup): same facts, secret, flag and a copy of `ex_data`; in no cache, held once."""
        data = self.data
        with self._lock:
            copy = Session.create(data, self.secret, holder=holder, event="copied")
            copy._state |= self._state & _NOT_RESUMABLE
            values = dict(self._ex_data) if self._ex_data else None
        if values is not None:
            try:
                copy._ex_data = slots.copied(values)
            except BaseException:
                copy.release(holder)
                raise
        return copy

    # Writing and reading it.

    @classmethod
    def decode(
        cls, encoded: bytes | bytearray | memoryview, *, now: Callable[[], float] = time.time
    ) -> tuple[Session, int]:
        """Read one SSL_SESSION at the start of ``encoded`` (d2i_SSL_SESSION); also how many bytes it took.

        The application holds the session. One that was written without a time was made ``now()``. What follows it is
        not looked at. `SessionFormatError` for anything but well-formed DER. A mark that it is not resumable is not
        part of this format: OpenSSL loses it too.
        """
        data, secret, consumed = der.decode(encoded, now)
        return cls.create(data, secret, event="read from DER"), consumed

    @classmethod
    def from_der(cls, encoded: bytes | bytearray | memoryview, *, now: Callable[[], float] = time.time) -> Session:
        """The session that ``encoded`` is, as `decode`; with anything after it, `SessionFormatError`."""
        data, secret, consumed = der.decode(encoded, now)
        if consumed != len(encoded):
            raise SessionFormatError(f"{len(encoded) - consumed} bytes follow the session")
        return cls.create(data, secret, event="read from DER")

    @classmethod
    def from_pem(cls, content: str | bytes, *, now: Callable[[], float] = time.time) -> Session:
        """The session in the first ``SSL SESSION PARAMETERS`` block of ``content``, as `from_der`."""
        return cls.from_der(der.from_pem(content), now=now)

    @classmethod
    def from_packed(cls, content: bytes | bytearray | memoryview, *, holder: Holder = APPLICATION) -> Session:
        """The session that `to_packed` wrote, held by ``holder``. `SessionFormatError` for anything else."""
        data, secret, not_resumable = packed.unpack(content)
        session = cls.create(data, secret, holder=holder, event="read")
        if not_resumable:
            session._state |= _NOT_RESUMABLE
        return session

    def to_der(self) -> bytes:
        """OpenSSL's encoding (i2d_SSL_SESSION). It contains the secret.

        `SessionError` if there is no version or cipher suite yet. Our own facts (`peer_chain`, `role`, `partition`,
        `policy_epoch`, `auth_time`, `deadline`, `verified_name`, `replay_domain`), the fraction of the time, the mark
        of `mark_not_resumable` and `ex_data` are not in it.
        """
        return der.encode(self.data, self.secret)

    def to_pem(self) -> str:
        """`to_der` in PEM (PEM_write_SSL_SESSION). It contains the secret."""
        return der.to_pem(self.to_der())

    def to_packed(self) -> bytes:
        """All facts, the mark of `mark_not_resumable` and the secret, compact and in the clear. See `from_packed`."""
        return packed.pack(self.data, self.secret, not_resumable=self.is_marked_not_resumable)

    def to_text(self) -> str:
        """A description over several lines (SSL_SESSION_print). It contains the secret."""
        return text.to_text(self.data, self.secret)

    def to_keylog(self) -> str:
        """The NSS key log line (SSL_SESSION_print_keylog), with the secret. `SessionError` without id or secret."""
        return text.to_keylog(self.data, self.secret)

    def __reduce__(self) -> tuple[Callable[[bytes], Session], tuple[bytes]]:
        return Session.from_packed, (self.to_packed(),)

    # What it is.

    @property
    def data(self) -> SessionData:
        """All facts as one frozen value. `SessionFreedError` after the end."""
        data = self._data
        if data is None:
            raise self._freed_error()
        return data

    @property
    def secret(self) -> bytes:
        """A copy of the master secret or resumption PSK; b"" if none is set. Settable while in no cache."""
        while True:  # without the lock; so that no one ever reads half-wiped bytes, they count if nothing has changed
            kept = self._secret
            secret = bytes(kept)
            if self._data is None:
                raise self._freed_error()
            if kept is self._secret:
                return secret

    @secret.setter
    def secret(self, secret: bytes) -> None:
        if len(_as_bytes("secret", secret)) > MAX_SECRET_LENGTH:
            raise SessionError(f"a session's secret has at most {MAX_SECRET_LENGTH} bytes, got {len(secret)}")
        fresh = bytearray(secret)
        with self._lock:
            self._check_settable("secret")
            old, self._secret = self._secret, fresh
            _wipe(old)

    @property
    def has_secret(self) -> bool:
        """Whether a secret is set."""
        return self.data is not None and len(self._secret) > 0

    @property
    def is_resumable(self) -> bool:
        """Whether it may be offered or accepted again: it has an id or a ticket, and nobody marked it otherwise.

        Says nothing about time: see `is_expired`.
        """
        data = self.data
        return not self._state & _NOT_RESUMABLE and bool(data.session_id or data.ticket)

    def mark_not_resumable(self, reason: str = "not resumable") -> None:
        """Condemn it, for all holders and for good. ``reason`` goes into `life`, nowhere else."""
        if self._data is None:
            raise self._freed_error()
        with self._lock:
            self._state |= _NOT_RESUMABLE
        if traces.is_on:
            self.note(reason)

    @property
    def is_marked_not_resumable(self) -> bool:
        """Whether `mark_not_resumable` was called on it, or on what it was copied from."""
        return bool(self._state & _NOT_RESUMABLE)

    @property
    def expires_at(self) -> float:
        """The last moment of validity, seconds since the epoch; infinite when the sum passes 64 bits."""
        return self.data.expires_at

    def is_expired(self, now: float) -> bool:
        """Whether ``now`` (seconds since the epoch) is past the end. The end itself is still valid."""
        return self.data.is_expired(now)

    @property
    def has_ticket(self) -> bool:
        """Whether the server gave a ticket for it."""
        return bool(self.data.ticket)

    # What the application hangs on it.

    @property
    def ex_data(self) -> MutableMapping[Hashable, Any]:
        """The application's own values, by key. Copied by `dup`, not written by any codec, dropped at the end.

        Any hashable key will do; `resumption.session.slots` makes some whose values are told of both.
        """
        with self._lock:
            if self._data is None:
                raise self._freed_error()
            if self._ex_data is None:
                self._ex_data = {}
            return self._ex_data

    @property
    def app_data(self) -> Any:
        """The application's one value (slot 0 of `ex_data`), None if never set."""
        return self.ex_data.get(0)

    @app_data.setter
    def app_data(self, value: object) -> None:
        self.ex_data[0] = value

    # Where it is kept.

    def link(self, owner: Owner, holder: Holder) -> SessionData | None:
        """Record that ``owner`` keeps it, with a reference for ``holder``; None if it did already.

        Returns its facts, which from now on do not change, but for time and timeout. `SessionError` if another cache
        keeps it. For caches: `unlink` comes before the reference is given back.
        """
        with self._lock:
            data, before = self._data, self._owner
            if data is None:
                raise self._freed_error()
            if before is owner:
                return None
            if before is not None:
                raise SessionError(f"{self._describe()} is in another cache already; use dup() to have it in two")
            self._owner = owner
            self._take(holder)
            if traces.is_on:
                self._write("taken", holder, place_of_caller(), 1)
            return data

    def unlink(self, owner: Owner) -> bool:
        """Record that ``owner`` keeps it no more; False if it did not. Called under a lock of the owner's."""
        if self._owner is not owner:  # nobody but the owner undoes its link, so this needs no lock of the session
            return False
        self._place = None
        self._owner = None
        return True

    def is_linked(self, owner: Owner | None = None) -> bool:
        """Whether a cache keeps it; with ``owner``, whether that one does."""
        return self._owner is not None if owner is None else self._owner is owner

    # The end, and words.

    def _tag(self) -> bytes:
        return self._data.session_id[:4] if self._data is not None else b""

    def _name(self, tag: bytes) -> str:
        return f"session {tag.hex()}.." if tag else "a session without id"

    def _end(self) -> tuple[bytes, Callable[[], None] | None]:
        data, ex_data, owner = self._data, self._ex_data, self._owner
        self._data = self._ex_data = self._owner = None  # first: whoever copies the secret looks at it afterwards
        secret = self._secret
        secret[:] = _ZEROS if len(secret) == _USUAL_LENGTH else bytes(len(secret))
        tag = data.session_id[:4] if data is not None else b""
        if ex_data is None and (owner is None or data is None):
            return tag, None

        def after() -> None:
            nonlocal ex_data
            if ex_data:
                slots.let_go(ex_data)
            ex_data = None  # what hung on it may run code of its own as it goes
            if owner is not None and data is not None:
                owner.forget(self, data)

        return tag, after

    def __repr__(self) -> str:
        data = self._data
        if data is None:
            return f"<{self._describe()}, freed>"
        return f"<{self._describe()}, {data.version:#06x}, {data.cipher:#06x}, references: {self._count}>"

    def __copy__(self) -> NoReturn:
        raise TypeError("a session is not copied by accident: up_ref() takes a reference, dup() makes a second session")

    def __deepcopy__(self, memo: object) -> NoReturn:
        self.__copy__()

    # The facts.

    def _check_settable(self, name: str) -> None:
        if self._data is None:
            raise self._freed_error()
        if self._owner is not None and name not in ("time", "timeout"):
            raise SessionError(
                f"{self._describe()} is in a cache, where others may be using it: its {name} cannot change any more. "
                "Set it before add(), or on a dup()."
            )

    def _replace(self, name: str, value: object) -> None:
        with self._lock:
            self._check_settable(name)
            self._data = self.data.replaced(**{name: value})
            owner = self._owner
        if owner is not None:
            owner.resort(self)

    id = _Fact("session_id", "The session id, at most 32 bytes. Settable.", _at_most(MAX_SESSION_ID_LENGTH))
    id_context = _Fact(
        "id_context",
        "The application's name for where it is valid, at most 32 bytes. Settable.",
        _at_most(MAX_ID_CONTEXT_LENGTH),
    )
    time = _Fact("time", "When it was made, seconds since the epoch. Settable, in a cache too.", _moment)
    timeout = _Fact("timeout", "Seconds it may be used for after `time`. Settable, in a cache too.", _unsigned(63))
    version = _Fact("version", "The protocol version: 0x0303, 0x0304. Settable.", _unsigned(16))
    cipher = _Fact("cipher", "The cipher suite's number. Settable.", _unsigned(16))
    hostname = _Fact("hostname", "The server name that the server acknowledged, or None. Settable.", _host)
    alpn = _Fact("alpn", "The selected application protocol, or None. Settable; empty clears.", _protocol)
    max_early_data = _Fact("max_early_data", "Bytes of early data allowed with it. Settable.", _unsigned(32))
    ticket_appdata = _Fact("ticket_appdata", "The application's bytes inside the ticket. Settable.", _appdata)
    peer_certificate = _Fact[bytes | None]("peer_certificate", "The peer's own certificate, DER, or None.")
    peer_chain = _Fact[tuple[bytes, ...]]("peer_chain", "The certificates that the peer sent, DER, its own first.")
    peer_public_key = _Fact[bytes | None]("peer_public_key", "The peer's raw public key, DER, or None.")
    verify_result = _Fact[int]("verify_result", "The X509_V_* code of the peer's verification; 0 is good.")
    psk_identity_hint = _Fact[bytes | None]("psk_identity_hint", "The PSK identity hint, or None. RFC 4279.")
    psk_identity = _Fact[bytes | None]("psk_identity", "The external PSK's identity, or None. RFC 4279.")
    ticket = _Fact[bytes]("ticket", 'The ticket as the server sent it; b"" if none.')
    ticket_lifetime_hint = _Fact[int]("ticket_lifetime_hint", "The ticket's lifetime as the server sent it, seconds.")
    ticket_age_add = _Fact[int]("ticket_age_add", "What hides the ticket's age, milliseconds. RFC 9846, section 4.7.1.")
    compression = _Fact[int]("compression", "The compression method; 0 is none.")
    srp_username = _Fact[bytes | None]("srp_username", "The SRP user name, or None. RFC 5054.")
    flags = _Fact[int]("flags", "Bit 0: the master secret is an extended one.")
    extended_master_secret = _Fact[bool]("extended_master_secret", "Whether RFC 7627 was used.")
    max_fragment_mode = _Fact[int]("max_fragment_mode", "RFC 6066's maximum fragment length code; 255 not negotiated.")
    group = _Fact[int]("group", "The key exchange group's number, 0 if unknown.")
    role = _Fact[str]("role", '"client", "server", or "" when it came from outside.')
    partition = _Fact[bytes]("partition", "The server's security scope that it belongs to.")
    policy_epoch = _Fact[int]("policy_epoch", "The server's policy epoch when it was made.")
    auth_time = _Fact[float]("auth_time", "When the peer last proved its key online, seconds since the epoch.")
    deadline = _Fact[float]("deadline", "When its lineage ends, seconds since the epoch; 0.0 is never.")
    verified_name = _Fact[str | None]("verified_name", "The name that the server was verified under, or None.")
    replay_domain = _Fact[bytes]("replay_domain", "Where early data with it may be accepted.")


def _wipe(secret: bytearray) -> None:
    secret[:] = bytes(len(secret))
