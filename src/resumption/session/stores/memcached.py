"""Sessions in memcached: one server, or several among which keys are divided.

There is no failing over between the servers: keys of one that is down are not to be had, and nothing is set twice
because a client thought so. memcached has no command that reads and removes, so `take` reads a value with its version
and replaces it by nothing, if the version is still that one (``cas``): exactly one taker succeeds. The value and the
sign that it is gone are one entry, which cannot be evicted in part.

A server that evicts refuses marks: start it with ``-M`` to keep them. Values are dropped when memory is short, as they
may be.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self
from urllib.parse import unquote_to_bytes

from pymemcache.client.base import Client, PooledClient
from pymemcache.exceptions import MemcacheError

from resumption.errors import ConfigurationError, StoreError
from resumption.session import forking
from resumption.session.stores.addresses import Options, parse_address
from resumption.session.stores.entries import first_live, moment_of, pack_entry, seconds_left, unpack_entry
from resumption.session.stores.store import Continuity, Entry, StoredEntry

__all__ = ["MemcachedStore"]

_OPTIONS: Options = {"timeout_s": float, "connect_timeout_s": float, "max_connections": int}
_LONGEST_NAME = 250
_LONGEST_RELATIVE_S = 30 * 86_400  # beyond that memcached takes a number of seconds for a date
_CHECK_EVERY_S = 1.0  # seconds between two looks at whether the servers may drop marks
_LONGEST_TIMEOUT_S = 60.0
_SIGN_OF_LIFE = "resumption:alive"
_LISTED_AT_ONCE = 100
_ROUNDS = 4
_PAUSE_S = 0.01  # between two looks at whether a crawler that is busy is done
_SPENT = b""  # what a taker leaves: no entry is that short


class MemcachedStore:
    """A `resumption.session.stores.store.SessionStore` on servers. Safe to share between threads and across forks."""

    def __init__(self, url: str, *, timeout_s: float = 0.02, clock: Callable[[], float] = time.time) -> None:
        """``memcached://host[:port][,host[:port]...]`` or ``memcached:///path/to/socket``.

        ``timeout_s``: how long a silent server is waited for, unless the URL says it. Connects when first used, at most
        ``connect_timeout_s`` (1 s) long, with ``max_connections`` (64) for each server. Raises `ConfigurationError`.
        """
        address = parse_address(url, 11_211, _OPTIONS)
        options = address.options
        if address.username or address.password or bool(address.nodes) == bool(address.path.strip("/")):
            raise ConfigurationError("the URL of a memcached store names its servers or a socket, and no user")
        self._servers: tuple[Any, ...] = address.nodes or (address.path,)
        self._settings = {
            "timeout": float(options.get("timeout_s", timeout_s)),
            "connect_timeout": float(options.get("connect_timeout_s", 1.0)),
            "max_pool_size": int(options.get("max_connections", 64)),
        }
        if not all(0 < value <= _LONGEST_TIMEOUT_S for value in list(self._settings.values())[:2]):
            raise ConfigurationError(f"timeouts must be above 0 and at most {_LONGEST_TIMEOUT_S:g} seconds")
        if self._settings["max_pool_size"] < 1:
            raise ConfigurationError("max_connections is 1 or more")
        self._clock = clock
        self._is_closed = False
        self._marks_checked_at: float | None = None
        self._clients = self._make_clients()
        self._inherited: list[dict[Any, Any]] = []
        forking.watch(self)

    @classmethod
    def from_url(cls, url: str, *, timeout_s: float = 0.02) -> Self:
        """As the class itself."""
        return cls(url, timeout_s=timeout_s)

    def get(self, key: str, other: str | None = None) -> bytes | None:
        """The value under ``key``, else that under ``other``; in one exchange if one server keeps both."""
        names = [_name("v", key)] if other is None else [_name("v", key), _name("v", other)]
        with self._answers():
            found: dict[str, Any] = {}
            for client, part in self._by_server(names):
                found |= client.get_many(part)
        return first_live([found.get(name) for name in names], self._clock())

    def take(self, key: str, other: str | None = None) -> bytes | None:
        """As `get`, and both are removed: of any number of concurrent takers one receives a value."""
        now = self._clock()
        names = [_name("v", key)] if other is None else [_name("v", key), _name("v", other)]
        with self._answers():
            for number, name in enumerate(names):
                client = self._of(name)
                entry, version = client.gets(name)
                value = unpack_entry(entry, now)
                if value is None:
                    continue
                if not version or version == b"0":
                    raise StoreError("this memcached keeps no versions (-C): it cannot give a value to one taker only")
                if client.cas(name, _SPENT, version, expire=1, noreply=False) is not True:
                    return None  # somebody else was first
                for rest in names[number + 1 :]:
                    self._of(rest).delete(rest, noreply=False)
                return value
        return None

    def put(self, key: str, value: bytes, expires_at: float) -> None:
        """Keep ``value`` until ``expires_at``."""
        self.put_many(((key, value, expires_at),))

    def put_if_absent(self, key: str, value: bytes, expires_at: float) -> bytes:
        """Keep ``value`` unless there is one, in one step; returns the one that is there afterwards."""
        now = self._clock()
        expire = _expiry(expires_at, now)
        if expire is None:
            return value
        name = _name("v", key)
        with self._answers():
            if self._of(name).add(name, pack_entry(value, expires_at), expire=expire, noreply=False) is True:
                return value
            found = unpack_entry(self._of(name).get(name), now)
        if found is None:
            raise StoreError("a value was removed while it was put")
        return found

    def put_many(self, entries: Sequence[Entry]) -> None:
        """Keep them all."""
        now = self._clock()
        packed = [(_name("v", key), pack_entry(value, end), _expiry(end, now)) for key, value, end in entries]
        with self._answers():
            for name, entry, expire in packed:
                if expire is None:
                    self._of(name).delete(name, noreply=False)
                elif self._of(name).set(name, entry, expire=expire, noreply=False) is not True:
                    raise StoreError("memcached did not keep a value")

    def remove(self, key: str, other: str | None = None) -> None:
        """Forget the values under ``key`` and ``other``."""
        names = [_name("v", key)] if other is None else [_name("v", key), _name("v", other)]
        with self._answers():
            for name in names:
                self._of(name).delete(name, noreply=False)

    def add_once(self, key: str, expires_at: float) -> bool:
        """Set a mark; True only if there is none. Raises `StoreError` where the servers may drop marks early."""
        self._check_marks()
        expire = _expiry(expires_at, self._clock())
        if expire is None:
            return False
        name = _name("m", key)
        with self._answers():
            return self._of(name).add(name, b"1", expire=expire, noreply=False) is True

    def continuity(self) -> Continuity:
        """Whether the store is still what it was; see `resumption.session.stores.store.Continuity`."""
        identity, evicted, keeps, since = hashlib.sha256(), 0, True, 0.0
        with self._answers():
            for client in self._clients.values():
                facts, settings = client.stats(), client.stats("settings")
                started = int(facts[b"time"]) - int(facts[b"uptime"])
                identity.update(b"%d %d %d|" % (int(facts[b"pid"]), started, int(facts[b"cmd_flush"])))
                evicted += int(facts[b"evictions"]) + int(facts.get(b"slab_reassign_evictions_nomem", 0))
                keeps = keeps and settings.get(b"evictions") in (b"off", False)
                sign = client.get(_SIGN_OF_LIFE)
                if sign is None:  # new or emptied; whoever is first says when
                    client.add(_SIGN_OF_LIFE, repr(self._clock()).encode(), noreply=False)
                    sign = client.get(_SIGN_OF_LIFE)
                since = max(since, float(sign or self._clock()))
        return Continuity(identity=identity.hexdigest(), evicted=evicted, keeps_marks=keeps, since=since)

    def entries(self, prefix: str, limit: int) -> list[StoredEntry]:
        """Some of the values whose keys begin with ``prefix``, ``limit`` at most; not those with the longest keys."""
        now, found = self._clock(), list[StoredEntry]()
        with self._answers():
            for server, client in self._clients.items():
                names = _listed(server, self._settings, _name("v", prefix))
                while len(found) < limit and (part := list(itertools.islice(names, _LISTED_AT_ONCE))):
                    for name, entry in client.get_many(part).items():
                        value = unpack_entry(entry, now)
                        if value is not None:
                            found.append(StoredEntry(name.removeprefix("v:"), len(value), moment_of(entry[:8])))
        return found[:limit]

    def clear(self, prefix: str) -> int:
        """Drop the values whose keys begin with ``prefix``. Returns how many there were, spent ones included that the
        servers had not forgotten yet."""
        dropped = 0
        with self._answers():
            for server, client in self._clients.items():
                for _ in range(_ROUNDS):  # an older server misses some, and others put more meanwhile
                    names = list(_listed(server, self._settings, _name("v", prefix)))
                    for at in range(0, len(names), _LISTED_AT_ONCE):
                        client.delete_many(names[at : at + _LISTED_AT_ONCE], noreply=False)
                    dropped += len(names)
                    if not names:
                        break
        return dropped

    def describe(self) -> dict[str, object]:
        """Facts for operators, of all servers together; the time is the first one's."""
        with self._answers():
            every = [client.stats() for client in self._clients.values()]
        return {
            "kind": "memcached",
            "server": every[0][b"version"].decode("ascii", "replace"),
            "values": sum(int(facts[b"curr_items"]) for facts in every),
            "bytes": sum(int(facts[b"bytes"]) for facts in every),
            "memory limit": sum(int(facts[b"limit_maxbytes"]) for facts in every),
            "evicted": sum(int(facts[b"evictions"]) for facts in every),
            "time": float(int(every[0][b"time"])),
        }

    def close(self) -> None:
        """Close the connections."""
        self._is_closed = True
        for client in self._clients.values():
            client.close()

    def __repr__(self) -> str:
        return f"<MemcachedStore on {len(self._servers)} servers>"

    # --- inside ------------------------------------------------------------------------------------------------------

    def _make_clients(self) -> dict[Any, Any]:
        return {server: PooledClient(server, no_delay=True, **self._settings) for server in self._servers}

    def _of(self, name: str) -> Any:
        """The client of the server that keeps this key: the one whose digest with it is the largest, so that another
        server more moves only the keys that it gets."""
        if len(self._servers) == 1:
            return self._clients[self._servers[0]]
        return self._clients[
            max(self._servers, key=lambda server: hashlib.sha256(f"{server} {name}".encode()).digest())
        ]

    def _by_server(self, names: list[str]) -> list[tuple[Any, list[str]]]:
        if len(self._servers) == 1 or len(names) == 1:
            return [(self._of(names[0]), names)]
        parts: dict[int, tuple[Any, list[str]]] = {}
        for name in names:
            client = self._of(name)
            parts.setdefault(id(client), (client, []))[1].append(name)
        return list(parts.values())

    @contextmanager
    def _answers(self) -> Iterator[None]:
        """Whatever is wrong with a server, or with what is asked of it, leaves as a `StoreError`."""
        if self._is_closed:
            raise StoreError("the store is closed")
        try:
            yield
        except (MemcacheError, OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"the session store failed: {type(error).__name__}") from error

    def _check_marks(self) -> None:
        now = time.monotonic()
        if self._marks_checked_at is not None and now < self._marks_checked_at + _CHECK_EVERY_S:
            return
        if not self.continuity().keeps_marks:
            raise StoreError("the store may evict marks: start memcached with -M")
        self._marks_checked_at = now

    # --- forks -------------------------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Nothing: connections in use are not copied by anybody who could use them."""

    def after_fork_in_parent(self) -> None:
        """Nothing."""

    def after_fork_in_child(self) -> None:
        """Two processes on one connection would read each other's answers: begin with none."""
        self._inherited.append(self._clients)  # closing them could wait for a lock that a lost thread holds
        self._clients = self._make_clients()


def _name(kind: str, key: str) -> str:
    """The name of an entry; a key that would be too long for memcached stands there as its digest."""
    name = f"{kind}:{key}"
    return name if len(name) <= _LONGEST_NAME else f"{kind}#{hashlib.sha256(key.encode()).hexdigest()}"


def _expiry(expires_at: float, now: float) -> int | None:
    """memcached's share of an entry's end: in whole seconds, and never before the moment. None if it has passed."""
    left = seconds_left(expires_at, now)
    if left is None:
        return 0
    if not left:
        return None
    whole = math.ceil(left) + 1  # its clock ticks once a second
    return whole if whole <= _LONGEST_RELATIVE_S else math.ceil(expires_at) + 1


def _listed(server: Any, settings: dict[str, Any], prefix: str) -> Iterator[str]:
    """The names of a server's entries that begin so, as its crawler finds them. Raises `StoreError` without one.

    On a connection of its own, which is closed when the caller has enough: there is no other way to stop a crawler.
    Its work is done for one client at a time.
    """
    deadline, said, walk = time.monotonic() + settings["connect_timeout"], b"BUSY", b"hash"
    while said.startswith((b"BUSY", b"BADCLASS")) and time.monotonic() < deadline:
        if said.startswith(b"BADCLASS"):  # an older server: by its lists, in which entries move about meanwhile
            walk = b"all"
        client = Client(server, timeout=settings["connect_timeout"], connect_timeout=settings["connect_timeout"])
        try:
            client.version()  # connects
            client.sock.sendall(b"lru_crawler metadump %s\r\n" % walk)
            with client.sock.makefile("rb") as lines:
                for said in lines:
                    if said == b"END\r\n":
                        return
                    if not said.startswith(b"key="):
                        break
                    name = unquote_to_bytes(said[4:].split(b" ", 1)[0]).decode("ascii", "replace")
                    if name.startswith(prefix):
                        yield name
        finally:
            client.close()
        time.sleep(_PAUSE_S)
    raise StoreError(f"memcached does not list its entries: {said[:40].decode('ascii', 'replace').strip()}")
