"""Sessions in Redis or Valkey for asyncio: the same commands as `resumption.session.stores.redis`, awaited.

A call that is cancelled, for one by a deadline, gives up its connection: an answer that comes later belongs to nobody.
One store belongs to one event loop.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.exceptions import RedisError

from resumption.errors import StoreError
from resumption.session.stores.entries import first_live, pack_entry
from resumption.session.stores.redis_access import (
    CHECK_EVERY_S,
    MAY_EVICT,
    RedisAccess,
    expiry_of,
    keeps_marks,
    mark_name,
    retries,
    trouble,
    value_name,
)
from resumption.session.stores.store import Entry

__all__ = ["AsyncRedisStore"]


class AsyncRedisStore:
    """An `resumption.session.stores.store.AsyncSessionStore` on servers."""

    def __init__(
        self, access: RedisAccess | str, *, timeout_s: float = 0.02, clock: Callable[[], float] = time.time
    ) -> None:
        """``access`` may be a URL, and ``timeout_s`` is then for one that names none. Raises `ConfigurationError`."""
        self.access = RedisAccess(access, timeout_s) if isinstance(access, str) else access
        self._clock = clock
        self._client: Any = None  # Redis or RedisCluster
        self._is_closed = False
        self._marks_checked_at: float | None = None
        self._is_cluster = self.access.kind == "cluster"

    async def get(self, key: str, other: str | None = None) -> bytes | None:
        """The value under ``key``, else that under ``other``."""
        async with self._connected() as client:
            if other is None:
                entries = [await client.get(value_name(key))]
            elif self._is_cluster:
                entries = await client.pipeline().get(value_name(key)).get(value_name(other)).execute()
            else:
                entries = await client.mget(value_name(key), value_name(other))
        return first_live(entries, self._clock())

    async def take(self, key: str, other: str | None = None) -> bytes | None:
        """As `get`, and both are removed, in one step (in a cluster: in one go)."""
        async with self._connected() as client:
            if other is None:
                entries = [await client.getdel(value_name(key))]
            else:
                pipeline = client.pipeline(transaction=not self._is_cluster)
                entries = await pipeline.getdel(value_name(key)).getdel(value_name(other)).execute()
        return first_live(entries, self._clock())

    async def put(self, key: str, value: bytes, expires_at: float) -> None:
        """Keep ``value`` until ``expires_at``."""
        await self.put_many(((key, value, expires_at),))

    async def put_many(self, entries: Sequence[Entry]) -> None:
        """Keep them all, in one exchange."""
        now = self._clock()
        packed = [(value_name(key), pack_entry(value, end), expiry_of(end, now)) for key, value, end in entries]
        async with self._connected() as client:
            pipeline = client.pipeline(transaction=False)
            for name, entry, expiry in packed:
                if expiry is None:
                    pipeline.delete(name)
                else:
                    pipeline.set(name, entry, **expiry)
            await pipeline.execute()

    async def remove(self, key: str, other: str | None = None) -> None:
        """Forget the values under ``key`` and ``other``."""
        async with self._connected() as client:
            pipeline = client.pipeline(transaction=False)
            pipeline.delete(value_name(key))
            if other is not None:
                pipeline.delete(value_name(other))
            await pipeline.execute()

    async def add_once(self, key: str, expires_at: float) -> bool:
        """Set a mark; True only if there is none. Raises `StoreError` where the server may drop marks early."""
        expiry = expiry_of(expires_at, self._clock())
        if expiry is None:
            return False
        async with self._connected() as client:
            await self._check_marks(client)
            if not self.access.wait:
                return await client.set(mark_name(key), b"1", nx=True, **expiry) is True
            pipeline = client.pipeline(transaction=False).set(mark_name(key), b"1", nx=True, **expiry)
            added, reached = await pipeline.wait(self.access.wait, max(1, int(self.access.timeout_s * 500))).execute()
        if added and reached < self.access.wait:
            raise StoreError(f"{reached} of {self.access.wait} replicas acknowledged a mark in time")
        return added is True

    async def close(self) -> None:
        """Close the connections."""
        self._is_closed = True
        client, self._client = self._client, None
        if client is not None:
            manager = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
            for one in (client, *(manager.sentinels if manager is not None else ())):
                with suppress(RedisError, OSError):
                    await one.aclose()

    def __repr__(self) -> str:
        return f"<AsyncRedisStore {self.access!r}>"

    # --- inside ------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Any]:
        """The client; whatever is wrong with it or with what it is told leaves as a `StoreError`."""
        if self._is_closed:
            raise StoreError("the store is closed")
        try:
            if self._client is None:
                self._client = _client(self.access)
            yield self._client
        except (RedisError, OSError, ValueError, KeyError, TypeError) as error:
            raise trouble(error) from error

    async def _check_marks(self, client: Any) -> None:
        now = time.monotonic()
        if self._marks_checked_at is not None and now < self._marks_checked_at + CHECK_EVERY_S:
            return
        if self._is_cluster:
            answer = await client.info("memory", target_nodes=RedisCluster.PRIMARIES)
            infos = list(answer.values()) if all(isinstance(value, dict) for value in answer.values()) else [answer]
        else:
            infos = [await client.info("memory")]
        if not keeps_marks(infos):
            raise StoreError(MAY_EVICT)
        self._marks_checked_at = now


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
