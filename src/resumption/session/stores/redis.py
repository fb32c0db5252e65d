"""Sessions in Redis or Valkey: one server, a cluster, or whatever sentinels say is the primary. For blocking callers.

Each call is one exchange: GET or MGET, GETDEL (two in one transaction), SET with PX, and SET NX for marks. In a cluster
two keys may lie on different nodes: then they are asked in one go but not in one step, so of two concurrent takers each
may get one of two values. A session is never written under two keys, so this does not spend one twice.

The server must not drop marks: one that may evict to make room refuses them (see `RedisStore.continuity`). Replication
is asynchronous: a failover may bring a spent session or a mark back that the old primary had not passed on. It shows in
the continuity; ``wait_replicas`` has each mark acknowledged by so many replicas before it counts.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Self

from redis import Redis
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import RedisError
from redis.retry import Retry
from redis.sentinel import Sentinel

from resumption.errors import StoreError
from resumption.session import forking
from resumption.session.stores.entries import first_live, moment_of, pack_entry, unpack_entry
from resumption.session.stores.redis_access import (
    CHECK_EVERY_S,
    MAY_EVICT,
    RedisAccess,
    continuity_of,
    expiry_of,
    literal,
    mark_name,
    retries,
    sentinel_names,
    trouble,
    value_name,
)
from resumption.session.stores.store import Continuity, Entry, StoredEntry

__all__ = ["RedisStore"]


class RedisStore:
    """A `resumption.session.stores.store.SessionStore` on servers. Safe to share between threads and across forks."""

    def __init__(self, url: str, *, timeout_s: float = 0.02, clock: Callable[[], float] = time.time) -> None:
        """``timeout_s``: how long a silent server is waited for, unless the URL says it (``?timeout_s=0.1``).

        Connects when first used, at most ``connect_timeout_s`` (1 s) long. Raises `ConfigurationError`.
        """
        self.access = RedisAccess(url, timeout_s)
        self._clock = clock
        self._client: Any = None  # Redis or RedisCluster
        self._connecting = threading.Lock()
        self._is_closed = False
        self._marks_checked_at: float | None = None
        self._is_cluster = self.access.kind == "cluster"
        forking.watch(self)

    @classmethod
    def from_url(cls, url: str, *, timeout_s: float = 0.02) -> Self:
        """As the class itself."""
        return cls(url, timeout_s=timeout_s)

    def get(self, key: str, other: str | None = None) -> bytes | None:
        """The value under ``key``, else that under ``other``."""
        with self._connected() as client:
            if other is None:
                entries = [client.get(value_name(key))]
            elif self._is_cluster:
                entries = client.pipeline().get(value_name(key)).get(value_name(other)).execute()
            else:
                entries = client.mget(value_name(key), value_name(other))
        return first_live(entries, self._clock())

    def take(self, key: str, other: str | None = None) -> bytes | None:
        """As `get`, and both are removed, in one step."""
        with self._connected() as client:
            if other is None:
                entries = [client.getdel(value_name(key))]
            else:
                pipeline = client.pipeline(transaction=not self._is_cluster)
                entries = pipeline.getdel(value_name(key)).getdel(value_name(other)).execute()
        return first_live(entries, self._clock())

    def put(self, key: str, value: bytes, expires_at: float) -> None:
        """Keep ``value`` until ``expires_at``."""
        self.put_many(((key, value, expires_at),))

    def put_if_absent(self, key: str, value: bytes, expires_at: float) -> bytes:
        """Keep ``value`` unless there is one, in one step; returns the one that is there afterwards."""
        now = self._clock()
        expiry = expiry_of(expires_at, now)
        if expiry is None:
            return value
        with self._connected() as client:
            if client.set(value_name(key), pack_entry(value, expires_at), nx=True, **expiry) is True:
                return value
            found = unpack_entry(client.get(value_name(key)), now)
        if found is None:
            raise StoreError("a value was removed while it was put")
        return found

    def put_many(self, entries: Sequence[Entry]) -> None:
        """Keep them all, in one exchange."""
        now = self._clock()
        packed = [(value_name(key), pack_entry(value, end), expiry_of(end, now)) for key, value, end in entries]
        with self._connected() as client:
            target = client if len(packed) == 1 else client.pipeline(transaction=False)
            for name, entry, expiry in packed:
                if expiry is None:
                    target.delete(name)
                else:
                    target.set(name, entry, **expiry)
            if target is not client:
                target.execute()

    def remove(self, key: str, other: str | None = None) -> None:
        """Forget the values under ``key`` and ``other``."""
        with self._connected() as client:
            if other is None:
                client.delete(value_name(key))
            elif self._is_cluster:
                pipeline = client.pipeline()
                pipeline.delete(value_name(key))  # this one of them returns nothing to go on with
                pipeline.delete(value_name(other))
                pipeline.execute()
            else:
                client.delete(value_name(key), value_name(other))

    def add_once(self, key: str, expires_at: float) -> bool:
        """Set a mark; True only if there is none. Raises `StoreError` where the server may drop marks early."""
        self._check_marks()
        expiry = expiry_of(expires_at, self._clock())
        if expiry is None:
            return False
        with self._connected() as client:
            if not self.access.wait:
                return client.set(mark_name(key), b"1", nx=True, **expiry) is True
            pipeline = client.pipeline(transaction=False).set(mark_name(key), b"1", nx=True, **expiry)
            added, reached = pipeline.wait(self.access.wait, max(1, int(self.access.timeout_s * 500))).execute()
        if added and reached < self.access.wait:
            raise StoreError(f"{reached} of {self.access.wait} replicas acknowledged a mark in time")
        return added is True

    def continuity(self) -> Continuity:
        """Whether the store is still what it was; see `session.stores.store.Continuity`. One exchange per node."""
        with self._connected() as client:
            if self._is_cluster:
                nodes = client.get_primaries()
                names = _one_for_each(nodes, client)
                infos = [client.info(target_nodes=node) for node in nodes]
            else:
                names, infos = sentinel_names(1), []
            pipeline = client.pipeline(transaction=False)
            for name in names:
                pipeline.get(name)
            if not infos:
                pipeline.info()
            answers = pipeline.execute()
            infos, tokens = infos or answers[-1:], answers[: len(names)]
            for number, name in enumerate(names):
                if tokens[number] is None:  # new or emptied; whoever is first gives it another sign of life
                    client.set(name, secrets.token_hex(16), nx=True)
                    tokens[number] = client.get(name)
            return continuity_of(infos, tokens)

    def entries(self, prefix: str, limit: int) -> list[StoredEntry]:
        """Some of the values whose keys begin with ``prefix``, ``limit`` at most."""
        found: list[StoredEntry] = []
        with self._connected() as client:
            for name in client.scan_iter(match=value_name(literal(prefix)) + "*", count=500):
                head, length = client.getrange(name, 0, 7), client.strlen(name)
                if length > len(head) == 8:
                    key = name.decode("ascii", "replace").removeprefix(value_name(""))
                    found.append(StoredEntry(key, length - 8, moment_of(head)))
                if len(found) >= limit:
                    break
        return found

    def clear(self, prefix: str) -> int:
        """Drop the values whose keys begin with ``prefix``. Returns how many there were."""
        dropped = 0
        with self._connected() as client:
            for name in client.scan_iter(match=value_name(literal(prefix)) + "*", count=500):
                dropped += client.delete(name)
        return dropped

    def describe(self) -> dict[str, object]:
        """Facts for operators, of one of the primaries."""
        with self._connected() as client:
            node = {"target_nodes": client.get_primaries()[0]} if self._is_cluster else {}
            info = client.info(**node)
            seconds, microseconds = client.time(**node)
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

    def close(self) -> None:
        """Close the connections."""
        self._is_closed = True
        client, self._client = self._client, None
        if client is not None:
            manager = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
            for one in (client, *(manager.sentinels if manager is not None else ())):
                with suppress(RedisError, OSError):
                    one.close()

    def asynchronous(self) -> Any:
        """The same store for asyncio, with connections of its own; the caller closes it."""
        from resumption.session.stores.redis_asyncio import AsyncRedisStore  # asyncio is slow to import

        return AsyncRedisStore(self.access, clock=self._clock)

    def __repr__(self) -> str:
        return f"<RedisStore {self.access!r}>"

    # --- inside ------------------------------------------------------------------------------------------------------

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        """The client; whatever is wrong with it or with what it is told leaves as a `StoreError`."""
        try:
            yield self._client or self._connect()
        except (RedisError, OSError, ValueError, KeyError, TypeError) as error:
            raise trouble(error) from error

    def _connect(self) -> Any:
        if self._is_closed:
            raise StoreError("the store is closed")
        if not self._connecting.acquire(timeout=self.access.timeout_s):  # somebody else waits for the network already
            raise StoreError("the session store is being connected to")
        try:
            client = self._client
            if client is None:
                client = self._client = _client(self.access)
            return client
        finally:
            self._connecting.release()

    def _check_marks(self) -> None:
        now = time.monotonic()
        if self._marks_checked_at is not None and now < self._marks_checked_at + CHECK_EVERY_S:
            return
        if not self.continuity().keeps_marks:
            raise StoreError(MAY_EVICT)
        self._marks_checked_at = now

    # --- forks -------------------------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Nothing: waiting here could mean waiting for the network."""

    def after_fork_in_parent(self) -> None:
        """Nothing."""

    def after_fork_in_child(self) -> None:
        """A lock that was held is held by nobody here. Connections are left to the library, which makes new ones."""
        self._connecting = threading.Lock()


def _client(access: RedisAccess) -> Any:
    settings = access.settings
    if access.kind == "cluster":
        nodes = [ClusterNode(host, port) for host, port in access.nodes]
        return RedisCluster(startup_nodes=nodes, retry=retries(Retry), **settings)
    settings = {**settings, "retry": retries(Retry), "db": access.db}
    if access.kind == "sentinel":
        sentinels = Sentinel(list(access.nodes), sentinel_kwargs=access.sentinel_settings, **settings)
        return sentinels.master_for(access.service)
    if access.kind == "unix":
        return Redis(unix_socket_path=access.path, **settings)
    ((host, port),) = access.nodes
    return Redis(host=host, port=port, **settings)


def _one_for_each(nodes: Iterable[Any], client: Any) -> list[str]:
    """A key for each node of a cluster, by the slots that it keeps."""
    nodes = list(nodes)
    found: dict[Any, str] = {}
    for name in sentinel_names(max(2, len(nodes))):
        found.setdefault(client.get_node_from_key(name), name)
    return [found[node] for node in nodes if node in found]
