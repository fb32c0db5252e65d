"""What is said to Redis and Valkey, and what the answers mean: once for blocking callers and for asyncio.

Each operation is a generator: it yields a `Request`, is sent the list of answers, and returns its result. How requests
travel is the stores' affair (`resumption.session.stores.redis`, `resumption.session.stores.redis_asyncio`).

An older copy of a server's data, restored or brought back by a failover, holds sessions that were spent since. A server
calls a history of its data by a replication id, which is another one after each start and each promotion. So a script
writes a value together with the id that is in force (its *life*), and takes it only while that is still so: in one step
on the server, whichever it is. What may be used more than once is got all the same.

Two keys are taken in one step as well. In a cluster they must lie in one slot for that, which keys with a common
``{tag}`` do (`resumption.session.tickets.sealing` gives them one); others are taken from two nodes in one go.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

from redis.crc import key_slot

from resumption.errors import StoreError
from resumption.session.stores.entries import first_live, moment_of, pack_entry
from resumption.session.stores.redis_access import (
    CHECK_EVERY_S,
    MAY_EVICT,
    RedisAccess,
    continuity_of,
    expiry_of,
    literal,
    mark_name,
    value_name,
)
from resumption.session.stores.store import Continuity, Entry, StoredEntry

__all__ = ["NODES", "RedisCommands", "Request", "Steps"]

_LIFE = "local life = string.sub(string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)'), 1, 16)\n"
_PUT = _LIFE + "return redis.call('SET', KEYS[1], life .. ARGV[1], unpack(ARGV, 2))"
_TAKE = (
    _LIFE
    + """local found = {}
for number, key in ipairs(KEYS) do
  local entry = redis.call('GETDEL', key)
  if entry and string.sub(entry, 1, 16) == life then found[#found + 1] = string.sub(entry, 17) end
end
return found"""
)
_ALIVE = (
    _LIFE
    + """local said = redis.call('GET', KEYS[1])
if not said or string.sub(said, 1, 16) ~= life then
  said = life .. ARGV[1]
  redis.call('SET', KEYS[1], said)
end
return said"""
)
_LIFE_LENGTH = 16
_HEAD_LENGTH = _LIFE_LENGTH + 8
_SCANNED_AT_ONCE = 500

T = TypeVar("T")


class Request(NamedTuple):
    """Commands to send in one exchange, each to the node that keeps its key, or all of them to ``node``."""

    commands: tuple[tuple[Any, ...], ...]
    node: Any = None


NODES = Request(())
"""Asks for the primaries instead: of each the node, and the name of a key there for `RedisCommands.continuity`."""

Steps: TypeAlias = Generator[Request, list[Any], T]


class RedisCommands:
    """The operations of a store on Redis. Safe to share between threads."""

    def __init__(self, access: RedisAccess, clock: Callable[[], float]) -> None:
        self._access = access
        self._clock = clock
        self._is_cluster = access.kind == "cluster"
        self._marks_checked_at: float | None = None

    def get(self, key: str, other: str | None) -> Steps[bytes | None]:
        """The value under ``key``, else that under ``other``."""
        names = _names(key, other)
        if len(names) == 1 or self._is_cluster:
            entries = yield Request(tuple(("GET", name) for name in names))
        else:
            (entries,) = yield Request((("MGET", *names),))
        return first_live((_without_life(entry) for entry in entries), self._clock())

    def take(self, key: str, other: str | None) -> Steps[bytes | None]:
        """As `get`, and both are removed, in one step, if they were put in this life of the server."""
        names = _names(key, other)
        if len(names) == 1 or not self._is_cluster or key_slot(names[0].encode()) == key_slot(names[1].encode()):
            commands: tuple[tuple[Any, ...], ...] = (("EVAL", _TAKE, len(names), *names),)
        else:
            commands = tuple(("EVAL", _TAKE, 1, name) for name in names)
        answers = yield Request(commands)
        return first_live((entry for found in answers for entry in found), self._clock())

    def put_many(self, entries: Sequence[Entry]) -> Steps[None]:
        """Keep them all, in one exchange."""
        now = self._clock()
        commands = tuple(self._put(key, value, expires_at, now) for key, value, expires_at in entries)
        if commands:
            yield Request(commands)

    def _put(self, key: str, value: bytes, expires_at: float, now: float, *more: str) -> tuple[Any, ...]:
        name, entry, expiry = value_name(key), pack_entry(value, expires_at), expiry_of(expires_at, now)
        if expiry is None:
            return ("DEL", name)
        return ("EVAL", _PUT, 1, name, entry, *expiry, *more)

    def put_if_absent(self, key: str, value: bytes, expires_at: float) -> Steps[bytes]:
        """Keep ``value`` unless there is one, in one step; returns the one that is there afterwards."""
        now = self._clock()
        if expiry_of(expires_at, now) is None:
            return value
        (added,) = yield Request((self._put(key, value, expires_at, now, "NX"),))
        if added is not None:
            return value
        (entry,) = yield Request((("GET", value_name(key)),))
        found = first_live((_without_life(entry),), now)
        if found is None:
            raise StoreError("a value was removed while it was put")
        return found

    def remove(self, key: str, other: str | None) -> Steps[None]:
        """Forget the values under ``key`` and ``other``."""
        yield from self._delete(_names(key, other))

    def _delete(self, names: Sequence[str | bytes]) -> Steps[int]:
        """How many of them there were."""
        if not names:
            return 0
        if self._is_cluster:
            return sum((yield Request(tuple(("DEL", name) for name in names))))
        (dropped,) = yield Request((("DEL", *names),))
        return int(dropped)

    def add_once(self, key: str, expires_at: float) -> Steps[bool]:
        """Set a mark; True only if there is none. Raises `StoreError` where the server may drop marks early."""
        yield from self._check_marks()
        expiry = expiry_of(expires_at, self._clock())
        if expiry is None:
            return False
        command = ("SET", mark_name(key), b"1", "NX", *expiry)
        wait = self._access.wait
        if not wait:
            (added,) = yield Request((command,))
            return added is not None
        half_ms = max(1, int(self._access.timeout_s * 500))
        added, reached = yield Request((command, ("WAIT", wait, half_ms)))
        if added and reached < wait:
            raise StoreError(f"{reached} of {wait} replicas acknowledged a mark in time")
        return added is not None

    def _check_marks(self) -> Steps[None]:
        now = time.monotonic()
        if self._marks_checked_at is not None and now < self._marks_checked_at + CHECK_EVERY_S:
            return
        if not (yield from self.continuity()).keeps_marks:
            raise StoreError(MAY_EVICT)
        self._marks_checked_at = now

    def continuity(self) -> Steps[Continuity]:
        """Whether the store is still what it was. One exchange per node."""
        infos, signs = [], []
        for node, name in (yield NODES):
            # New, emptied or gone back: whoever is first gives it another sign of life, with the time.
            ask = ("EVAL", _ALIVE, 1, name, f"{secrets.token_hex(16)} {self._clock()!r}")
            if node is None:
                sign, info = yield Request((ask, ("INFO",)))
            else:
                (info,) = yield Request((("INFO",),), node)
                (sign,) = yield Request((ask,))
            infos.append(info)
            signs.append(sign)
        return continuity_of(infos, signs)

    def entries(self, prefix: str, limit: int) -> Steps[list[StoredEntry]]:
        """Some of the values whose keys begin with ``prefix``, ``limit`` at most."""
        found: list[StoredEntry] = []
        for node, _ in (yield NODES):
            cursor = 0
            while len(found) < limit:
                cursor, names = yield from self._scan(prefix, cursor, node)
                if names:
                    looks = [(("GETRANGE", name, 0, _HEAD_LENGTH - 1), ("STRLEN", name)) for name in names]
                    answers = yield Request(tuple(look for pair in looks for look in pair))
                    for name, head, length in zip(names, answers[::2], answers[1::2], strict=True):
                        if len(head) == _HEAD_LENGTH:
                            key = name.decode("ascii", "replace").removeprefix(value_name(""))
                            moment = moment_of(head[_LIFE_LENGTH:])
                            found.append(StoredEntry(key, length - _HEAD_LENGTH, moment))
                if not cursor:
                    break
        return found[:limit]

    def clear(self, prefix: str) -> Steps[int]:
        """Drop the values whose keys begin with ``prefix``. Returns how many there were."""
        dropped = 0
        for node, _ in (yield NODES):
            cursor, names = yield from self._scan(prefix, 0, node)
            dropped += yield from self._delete(names)
            while cursor:
                cursor, names = yield from self._scan(prefix, cursor, node)
                dropped += yield from self._delete(names)
        return dropped

    def _scan(self, prefix: str, cursor: int, node: Any) -> Steps[tuple[int, list[bytes]]]:
        pattern = value_name(literal(prefix)) + "*"
        ((reached, names),) = yield Request((("SCAN", cursor, "MATCH", pattern, "COUNT", _SCANNED_AT_ONCE),), node)
        if isinstance(reached, dict):  # of a cluster: by node
            (reached,) = reached.values()
        return int(reached), names

    def describe(self) -> Steps[dict[str, object]]:
        """Facts for operators, of one of the primaries."""
        node = (yield NODES)[0][0]
        (info,) = yield Request((("INFO",),), node)
        ((seconds, microseconds),) = yield Request((("TIME",),), node)
        return {
            "kind": "redis",
            "server": info.get("valkey_version", info["redis_version"]),
            "bytes": info["used_memory"],
            "policy": info["maxmemory_policy"],
            "memory limit": info["maxmemory"],
            "evicted": info["evicted_keys"],
            "replicas": info.get("connected_slaves", 0),
            "time": seconds + microseconds / 1e6,
        }


def _names(key: str, other: str | None) -> tuple[str, ...]:
    return (value_name(key),) if other is None else (value_name(key), value_name(other))


def _without_life(entry: object) -> object:
    return entry[_LIFE_LENGTH:] if isinstance(entry, bytes) else entry
