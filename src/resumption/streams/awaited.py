"""Lookups in a shared store from an event loop, which goes on meanwhile.

A store that has a form for asyncio is awaited. For any other one a worker thread makes the call, of which there are as
many as calls may be under way: threads are what blocking libraries cost. Either way the deadline, the breaker and the
bound are those of the store's guard.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from resumption.session.stores.guarded import CONNECTING_S, PROBE_KEY, GuardedStore
from resumption.session.stores.store import AsyncSessionStore

__all__ = ["AwaitedReceipt", "AwaitedStore"]


class AwaitedReceipt:
    """An entry on its way into the store, for a coroutine that waits until it is there."""

    __slots__ = ("_ends_at", "_guard", "_key", "_told")

    def __init__(self, guard: GuardedStore, key: str, told: asyncio.Future[None], ends_at: float) -> None:
        self._guard = guard
        self._key = key
        self._told = told
        self._ends_at = ends_at

    async def wait(self) -> None:
        """Return when the store has it, or failed to take it, or its time is over."""
        try:
            async with asyncio.timeout_at(self._ends_at):
                await self._told
        except TimeoutError:
            self._guard.unfollow(self._key)


class AwaitedStore:
    """The awaited side of a `GuardedStore`. May be used from several loops, each in its own thread."""

    def __init__(self, guard: GuardedStore) -> None:
        self._guard = guard
        self._make: Callable[[], AsyncSessionStore] | None = getattr(guard.store, "asynchronous", None)
        self._stores: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncSessionStore] = WeakKeyDictionary()
        self._under_way = 0

    async def lookup(self, keys: tuple[str, ...], *, take: bool) -> bytes | None:
        """As the store's ``get`` or ``take``. Raises `StoreUnavailable`."""
        guard = self._guard
        found, value = guard.waiting(keys, take=take)
        if found:
            return value
        if guard.is_local:
            return guard.take(*keys) if take else guard.get(*keys)
        guard.admit()
        started = guard.clock()
        try:
            async with asyncio.timeout(guard.limits.timeout_s):
                if self._make is None:
                    value = await self._in_thread(partial(guard.store.take if take else guard.store.get, *keys))
                else:
                    value = await self._awaited(self._make, keys, take)
        except TimeoutError:
            raise guard.timed_out() from None
        except _Busy:
            raise guard.busy() from None
        except Exception as error:  # a store may be anyone's code
            raise guard.failed(error) from error
        guard.answered(started)
        return value

    def receipt(self, key: str) -> AwaitedReceipt | None:
        """As the guard's, for the running loop."""
        guard, loop = self._guard, asyncio.get_running_loop()
        told: asyncio.Future[None] = loop.create_future()

        def done() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(_resolve, told)

        if not guard.follow(key, done):
            return None
        return AwaitedReceipt(guard, key, told, loop.time() + guard.limits.write_wait_s)

    async def connect(self) -> None:
        """As the guard's, for the running loop; and for the thread that writes."""
        guard = self._guard
        if guard.is_local:
            return
        with contextlib.suppress(Exception):  # a store may be anyone's code, and is asked again soon
            async with asyncio.timeout(CONNECTING_S):
                if self._make is not None:
                    await self._awaited(self._make, (PROBE_KEY,), False)
                await self._in_thread(guard.look)

    async def disconnect(self) -> None:
        """Close what this loop has of the store. The next lookup connects again."""
        store = self._stores.pop(asyncio.get_running_loop(), None)
        if store is not None:
            await store.close()

    async def _awaited(self, make: Callable[[], AsyncSessionStore], keys: tuple[str, ...], take: bool) -> bytes | None:
        loop = asyncio.get_running_loop()
        store = self._stores.get(loop)
        if store is None:
            store = self._stores[loop] = make()
        if self._under_way >= self._guard.limits.in_flight:
            raise _Busy
        self._under_way += 1
        try:
            return await (store.take(*keys) if take else store.get(*keys))
        finally:
            self._under_way -= 1

    async def _in_thread(self, call: Callable[[], bytes | None]) -> bytes | None:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()

        def done(job: Any) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(_settle, answer, job)

        if not self._guard.submit(call, done):
            raise _Busy
        job = await answer
        if job.error is not None:
            raise job.error
        result: bytes | None = job.result
        return result


class _Busy(Exception):
    """Too many calls are under way."""


def _settle(answer: asyncio.Future[Any], job: Any) -> None:
    if not answer.done():
        answer.set_result(job)


def _resolve(told: asyncio.Future[None]) -> None:
    if not told.done():
        told.set_result(None)
