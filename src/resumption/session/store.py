"""What a session store is, and how one is opened by URL.

A store keeps short values under short keys until a moment that the caller names. It knows nothing of sessions or TLS:
values come sealed (`resumption.session.sealing`). Calls block; how long at most is each store's affair.

One thing makes a store fit for sessions: `SessionStore.take` and `SessionStore.add_once` are atomic among all users of
the store, in every thread, process and machine that shares it. That is what spends a ticket exactly once.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from resumption.errors import ConfigurationError

__all__ = ["SessionStore", "open_store"]


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


@dataclass(frozen=True, slots=True)
class _Kind:
    """Which class makes the stores of a scheme (imported when first asked for), and what it takes."""

    module: str
    name: str
    has_path: bool
    options: Mapping[str, Callable[[str], float | int]]


_KINDS = {
    "memory": _Kind("resumption.session.stores.memory", "MemoryStore", False, {"max_entries": int, "max_marks": int}),
    "sqlite": _Kind(
        "resumption.session.stores.sqlite",
        "SQLiteStore",
        True,
        {"max_entries": int, "max_marks": int, "busy_timeout_s": float},
    ),
}
_EXTRAS = {
    "redis": "redis",
    "rediss": "redis",
    "valkey": "redis",
    "valkeys": "redis",
    "memcached": "memcached",
}


def open_store(url: str) -> SessionStore:
    """The store that ``url`` names; the caller closes it.

    ``memory:`` keeps sessions in this process. ``sqlite:///var/lib/app/sessions.db`` keeps them in a file that all
    processes of one machine may share; the path is absolute as in any URL (``sqlite:sessions.db`` is a relative one).
    Options follow a question mark: ``max_entries``, ``max_marks``, and for sqlite ``busy_timeout_s``.

    Raises `ConfigurationError` if the URL or an option is not understood, or an extra has to be installed first, and
    `StoreError` if the store cannot be opened.
    """
    parts = urlsplit(url)
    scheme = parts.scheme
    if scheme in _EXTRAS:
        raise ConfigurationError(
            f"{scheme}:// stores come with an extra that is not installed: pip install 'resumption[{_EXTRAS[scheme]}]'"
        )
    kind = _KINDS.get(scheme)
    if kind is None:
        known = ", ".join(sorted({*_KINDS, *_EXTRAS}))
        raise ConfigurationError(f"a store's URL begins with one of {known}; this one does not")
    path = unquote(parts.path)
    if path.startswith("/"):
        path = "/" + path.lstrip("/")  # sqlite:////var/lib, with a fourth slash, is what some tools write
    if parts.netloc or parts.fragment or bool(path) != kind.has_path:
        shape = f"{scheme}:///path/to/file" if kind.has_path else f"{scheme}:"
        raise ConfigurationError(f"the URL of a {scheme} store is {shape}, with options after a question mark")
    options = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        try:
            options[name] = kind.options[name](value)
        except (KeyError, ValueError):
            raise ConfigurationError(f"{name!r} is no option of a {scheme} store, or its value is no number") from None
    make = cast("Callable[..., SessionStore]", getattr(importlib.import_module(kind.module), kind.name))
    return make(path, **options) if kind.has_path else make(**options)
