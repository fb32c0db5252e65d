"""What a session store is, and how one is opened by URL.

A store keeps short values under short keys until a moment that the caller names. It knows nothing of sessions or TLS:
values come sealed (`resumption.session.tickets.sealing`). Calls block; how long at most is each store's affair.

What a store may offer beyond the protocol, and users of stores look for:

- ``put_many(entries)`` keeps several values in one exchange.
- ``put_if_absent(key, value, expires_at)`` lets several nodes agree on a value (`resumption.session.fleet.rotation`).
- ``asynchronous()`` makes an `AsyncSessionStore` on the same data. Without it asyncio programs use threads.
- ``continuity()`` tells whether marks may have been lost (`Continuity`).
- ``entries(prefix, limit)`` lists values (`StoredEntry`), ``clear(prefix)`` drops them, ``describe()`` returns a dict
  of facts about the store: for operators, not for handshakes.
- ``is_local``, if true, says that no call ever waits for another process.

One thing makes a store fit for sessions: `SessionStore.take` and `SessionStore.add_once` are atomic among all users of
the store, in every thread, process and machine that shares it. That is what spends a ticket exactly once.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias, cast

from resumption.errors import ConfigurationError, Error
from resumption.session.stores.addresses import split_url

__all__ = ["AsyncSessionStore", "Continuity", "Entry", "SessionStore", "StoredEntry", "open_store"]

Entry: TypeAlias = "tuple[str, bytes, float]"
"""What `SessionStore.put` takes: key, value, and the end in seconds since the epoch."""


class StoredEntry(NamedTuple):
    """What a store shows of a value to whoever looks after it: never the value."""

    key: str
    length: int  # bytes, as sealed
    expires_at: float


class SessionStore(Protocol):
    """Values under keys, each until its time. Every method may raise `StoreError`, and nothing else.

    Keys are ASCII text of 1 to 250 characters, without spaces; values are at most 64 KiB. ``expires_at`` is in seconds
    since the epoch; from that moment on the entry is gone. Stores may drop values early, marks (`add_once`) never.
    Keys of values and of marks are separate.
    """

    def get(self, key: str, other: str | None = None) -> bytes | None:
        """The value under ``key``, else that under ``other``, in one exchange with the store."""

    def take(self, key: str, other: str | None = None) -> bytes | None:
        """As `get`, and both are removed, in one step: of any number of concurrent takers one receives a value."""

    def put(self, key: str, value: bytes, expires_at: float) -> None:
        """Keep ``value``, in place of what was there. With an ``expires_at`` that has passed, nothing is kept."""

    def remove(self, key: str, other: str | None = None) -> None:
        """Forget the values under ``key`` and ``other``. Not an error if there are none."""

    def add_once(self, key: str, expires_at: float) -> bool:
        """Set a mark. True for exactly one caller until ``expires_at``, False for every other.

        A mark is never dropped early: a store without room raises `StoreError` instead. One whose time has passed
        already cannot be set: False.
        """

    def close(self) -> None:
        """Let go of files and connections. Later calls raise `StoreError`; closing again does nothing."""


class AsyncSessionStore(Protocol):
    """A `SessionStore` for asyncio. A call may be cancelled: what it was about is then not known."""

    async def get(self, key: str, other: str | None = None) -> bytes | None:
        """As `SessionStore.get`."""

    async def take(self, key: str, other: str | None = None) -> bytes | None:
        """As `SessionStore.take`."""

    async def put(self, key: str, value: bytes, expires_at: float) -> None:
        """As `SessionStore.put`."""

    async def remove(self, key: str, other: str | None = None) -> None:
        """As `SessionStore.remove`."""

    async def add_once(self, key: str, expires_at: float) -> bool:
        """As `SessionStore.add_once`."""

    async def close(self) -> None:
        """As `SessionStore.close`."""


@dataclass(frozen=True, slots=True)
class Continuity:
    """What shows whether a store may have forgotten marks between two looks: it has not, if both are equal.

    ``identity`` changes when the store starts anew, is emptied, or another server takes its place; ``evicted`` counts
    the entries that it dropped to make room; ``keeps_marks`` is False if its settings allow it to drop marks at all.
    ``since`` is from when on it has been what it is, seconds since the epoch: marks from before may be gone. 0 where a
    store cannot tell.
    """

    identity: str
    evicted: int
    keeps_marks: bool
    since: float = 0.0


class _Kind(NamedTuple):
    """Which class makes the stores of a scheme (imported when first asked for), and the extra that it needs."""

    module: str
    name: str
    extra: str = ""


_REDIS = _Kind("redis", "RedisStore", "redis")
_KINDS = {
    "memory": _Kind("memory", "MemoryStore"),
    "sqlite": _Kind("sqlite", "SQLiteStore"),
    "memcached": _Kind("memcached", "MemcachedStore", "memcached"),
    **dict.fromkeys(
        [
            f"{scheme}{kind}"
            for scheme in ("redis", "rediss", "valkey", "valkeys")
            for kind in ("", "+cluster", "+sentinel", "+unix")
        ],
        _REDIS,
    ),
}
_GROUP = "resumption.stores"
_METHODS = ("get", "take", "put", "remove", "add_once")


def open_store(url: str, *, timeout_s: float = 0.02) -> SessionStore:
    """The store that ``url`` names; the caller closes it.

    ``memory:`` keeps sessions in this process. ``sqlite:///var/lib/app/sessions.db`` keeps them in a file that all
    processes of one machine may share; the path is absolute as in any URL (``sqlite:sessions.db`` is a relative one).
    ``redis://user:password@host:6379/0`` is Redis or Valkey, ``rediss://`` with TLS, ``redis+cluster://host,host`` and
    ``redis+sentinel://host,host/service`` are what they say; ``memcached://host,host`` needs no more than that. Options
    follow a question mark: ``max_entries``, ``max_marks`` for the first two, ``busy_timeout_s`` and ``max_bytes`` for
    sqlite, ``timeout_s``, ``connect_timeout_s`` and ``max_connections`` for servers; the classes in
    `resumption.session.stores` describe them. ``timeout_s`` is for URLs that do not say how long one exchange may take.

    Other schemes are looked for among the entry points of the group ``resumption.stores``: the name is the scheme, and
    the object is called with the URL.

    Raises `ConfigurationError` if the URL or an option is not understood, or an extra has to be installed first, and
    `StoreError` if the store cannot be opened. A server is first connected to when it is needed.
    """
    scheme = split_url(url).scheme
    kind = _KINDS.get(scheme)
    if kind is None:
        return _open_installed(scheme, url)
    try:
        module = importlib.import_module(f"resumption.session.stores.{kind.module}")
    except ImportError as error:
        raise ConfigurationError(
            f"{scheme}:// stores come with an extra that is not installed: pip install 'resumption[{kind.extra}]'"
        ) from error
    make = getattr(module, kind.name)
    return cast("SessionStore", make.from_url(url, timeout_s=timeout_s))


def _open_installed(scheme: str, url: str) -> SessionStore:
    """A store that another distribution brings."""
    entries = tuple(importlib.metadata.entry_points(group=_GROUP, name=scheme)) if scheme else ()
    if not entries:
        known = sorted({*_KINDS, *importlib.metadata.entry_points(group=_GROUP).names})
        raise ConfigurationError(f"a store's URL begins with one of {', '.join(known)}; this one does not")
    if len(entries) > 1:
        raise ConfigurationError(f"more than one installed package brings stores for {scheme}:")
    try:
        make = cast("Callable[[str], SessionStore]", entries[0].load())
        store = make(url)
    except Error:
        raise
    except Exception as error:  # anyone's code
        raise ConfigurationError(f"the store that is installed for {scheme}: failed: {type(error).__name__}") from error
    missing = [name for name in _METHODS if not callable(getattr(store, name, None))]
    if missing:
        raise ConfigurationError(f"the store that is installed for {scheme}: lacks {', '.join(missing)}")
    return store
