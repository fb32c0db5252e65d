"""Sessions in Redis or Valkey for asyncio: what `resumption.session.stores.redis` says to the server, awaited.

A call that is cancelled, for one by a deadline, gives up its connection: an answer that comes later belongs to nobody.
One store belongs to one event loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.exceptions import RedisError

from resumption.errors import StoreError
from resumption.session.stores.redis_access import RedisAccess, retries, sentinels_of, trouble
from resumption.session.stores.redis_commands import NODES, RedisCommands, Request, Steps
from resumption.session.stores.store import Continuity, Entry, StoredEntry

__all__ = ["AsyncRedisStore"]

T = TypeVar("T")


class AsyncRedisStore:
    """An `resumption.session.stores.store.AsyncSessionStore` on servers."""

    def __init__(
        self, access: RedisAccess | str, *, timeout_s: float = 0.02, clock: Callable[[], float] = time.time
    ) -> None:
        """``access`` may be a URL, and ``timeout_s`` is then for one that names none. Raises `ConfigurationError`."""
        self.access = RedisAccess(access, timeout_s) if isinstance(access, str) else access
        self._commands = RedisCommands(self.access, clock)
        self._client: Any = None  # Redis or RedisCluster
        self._is_closed = False

    async def get(self, key: str, other: str | None = None) -> bytes | None:
        """The value under ``key``, else that under ``other``."""
        return await self._run(self._commands.get(key, other))

    async def take(self, key: str, other: str | None = None) -> bytes | None:
        """As `get`, and both are removed, in one step, if they were put in this life of the server."""
        return await self._run(self._commands.take(key, other))

    async def put(self, key: str, value: bytes, expires_at: float) -> None:
        """Keep ``value`` until ``expires_at``."""
        await self._run(self._commands.put_many(((key, value, expires_at),)))

    async def put_if_absent(self, key: str, value: bytes, expires_at: float) -> bytes:
        """Keep ``value`` unless there is one, in one step; returns the one that is there afterwards."""
        return await self._run(self._commands.put_if_absent(key, value, expires_at))

    async def put_many(self, entries: Sequence[Entry]) -> None:
        """Keep them all, in one exchange."""
        await self._run(self._commands.put_many(entries))

    async def remove(self, key: str, other: str | None = None) -> None:
        """Forget the values under ``key`` and ``other``."""
        await self._run(self._commands.remove(key, other))

    async def add_once(self, key: str, expires_at: float) -> bool:
        """Set a mark; True only if there is none. Raises `StoreError` where the server may drop marks early."""
        return await self._run(self._commands.add_once(key, expires_at))

    async def continuity(self) -> Continuity:
        """Whether the store is still what it was; see `resumption.session.stores.store.Continuity`."""
        return await self._run(self._commands.continuity())

    async def entries(self, prefix: str, limit: int) -> list[StoredEntry]:
        """Some of the values whose keys begin with ``prefix``, ``limit`` at most."""
        return await self._run(self._commands.entries(prefix, limit))

    async def clear(self, prefix: str) -> int:
        """Drop the values whose keys begin with ``prefix``. Returns how many there were."""
        return await self._run(self._commands.clear(prefix))

    async def describe(self) -> dict[str, object]:
        """Facts for operators, of one of the primaries."""
        return await self._run(self._commands.describe())

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

    async def _run(self, steps: Steps[T]) -> T:
        """Make an operation; whatever is wrong with the server or with what it is told leaves as a `StoreError`."""
        if self._is_closed:
            raise StoreError("the store is closed")
        try:
            client = self._client
            if client is None:
                client = self._client = _client(self.access)
            if self.access.kind == "cluster":  # that several calls find the nodes at once costs some their connections
                await client.initialize()
            request = next(steps)
            while True:
                request = steps.send(await self._ask(client, request))
        except StopIteration as end:
            result: T = end.value
            return result
        except (RedisError, OSError, ValueError, KeyError, TypeError) as error:
            raise trouble(error) from error

    async def _ask(self, client: Any, request: Request) -> list[Any]:
        """The answers to what an operation wants to know."""
        if request is NODES:
            return sentinels_of(client, self.access.kind)
        if len(request.commands) == 1:
            where = {} if request.node is None else {"target_nodes": request.node}
            return [await client.execute_command(*request.commands[0], **where)]
        pipeline = client.pipeline(transaction=False)
        for command in request.commands:
            pipeline.execute_command(*command)
        answers: list[Any] = await pipeline.execute()
        return answers


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
