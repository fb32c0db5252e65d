"""Sessions in Redis or Valkey: one server, a cluster, or whatever sentinels say is the primary. For blocking callers.

Each call is one exchange (`resumption.session.stores.redis_commands` says of what), but for those that operators make.

The server must not drop marks: one that may evict to make room refuses them (see `RedisStore.continuity`). Replication
is asynchronous: a failover may bring a mark back that the old primary had not passed on. It shows in the continuity;
``wait_replicas`` has each mark acknowledged by so many replicas before it counts. Spent sessions do not come back.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Self, TypeVar

from redis import Redis
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import RedisError
from redis.retry import Retry
from redis.sentinel import Sentinel

from resumption.errors import StoreError
from resumption.session import forking
from resumption.session.stores.redis_access import RedisAccess, retries, sentinels_of, trouble
from resumption.session.stores.redis_commands import NODES, RedisCommands, Request, Steps
from resumption.session.stores.store import Continuity, Entry, StoredEntry

__all__ = ["RedisStore"]

T = TypeVar("T")


class RedisStore:
    """A `resumption.session.stores.store.SessionStore` on servers. Safe to share between threads and across forks."""

    def __init__(self, url: str, *, timeout_s: float = 0.02, clock: Callable[[], float] = time.time) -> None:
        """``timeout_s``: how long a silent server is waited for, unless the URL says it (``?timeout_s=0.1``).

        Connects when first used, at most ``connect_timeout_s`` (1 s) long. Raises `ConfigurationError`.
        """
        self.access = RedisAccess(url, timeout_s)
        self._clock = clock
        self._commands = RedisCommands(self.access, clock)
        self._client: Any = None  # Redis or RedisCluster
        self._connecting = threading.Lock()
        self._is_closed = False
        forking.watch(self)

    @classmethod
    def from_url(cls, url: str, *, timeout_s: float = 0.02) -> Self:
        """As the class itself."""
        return cls(url, timeout_s=timeout_s)

    def get(self, key: str, other: str | None = None) -> bytes | None:
        """The value under ``key``, else that under ``other``."""
        return self._run(self._commands.get(key, other))

    def take(self, key: str, other: str | None = None) -> bytes | None:
        """As `get`, and both are removed, in one step, if they were put in this life of the server."""
        return self._run(self._commands.take(key, other))

    def put(self, key: str, value: bytes, expires_at: float) -> None:
        """Keep ``value`` until ``expires_at``."""
        self._run(self._commands.put_many(((key, value, expires_at),)))

    def put_if_absent(self, key: str, value: bytes, expires_at: float) -> bytes:
        """Keep ``value`` unless there is one, in one step; returns the one that is there afterwards."""
        return self._run(self._commands.put_if_absent(key, value, expires_at))

    def put_many(self, entries: Sequence[Entry]) -> None:
        """Keep them all, in one exchange."""
        self._run(self._commands.put_many(entries))

    def remove(self, key: str, other: str | None = None) -> None:
        """Forget the values under ``key`` and ``other``."""
        self._run(self._commands.remove(key, other))

    def add_once(self, key: str, expires_at: float) -> bool:
        """Set a mark; True only if there is none. Raises `StoreError` where the server may drop marks early."""
        return self._run(self._commands.add_once(key, expires_at))

    def continuity(self) -> Continuity:
        """Whether the store is still what it was; see `resumption.session.stores.store.Continuity`."""
        return self._run(self._commands.continuity())

    def entries(self, prefix: str, limit: int) -> list[StoredEntry]:
        """Some of the values whose keys begin with ``prefix``, ``limit`` at most."""
        return self._run(self._commands.entries(prefix, limit))

    def clear(self, prefix: str) -> int:
        """Drop the values whose keys begin with ``prefix``. Returns how many there were."""
        return self._run(self._commands.clear(prefix))

    def describe(self) -> dict[str, object]:
        """Facts for operators, of one of the primaries."""
        return self._run(self._commands.describe())

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

    def _run(self, steps: Steps[T]) -> T:
        """Make an operation; whatever is wrong with the server or with what it is told leaves as a `StoreError`."""
        try:
            client = self._client or self._connect()
            request = next(steps)
            while True:
                request = steps.send(self._ask(client, request))
        except StopIteration as end:
            result: T = end.value
            return result
        except (RedisError, OSError, ValueError, KeyError, TypeError) as error:
            raise trouble(error) from error

    def _ask(self, client: Any, request: Request) -> list[Any]:
        """The answers to what an operation wants to know."""
        if request is NODES:
            return sentinels_of(client, self.access.kind)
        if len(request.commands) == 1:
            where = {} if request.node is None else {"target_nodes": request.node}
            return [client.execute_command(*request.commands[0], **where)]
        pipeline = client.pipeline(transaction=False)
        for command in request.commands:
            pipeline.execute_command(*command)
        answers: list[Any] = pipeline.execute()
        return answers

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
