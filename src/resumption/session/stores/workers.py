"""Threads that make the calls which may take too long, so that nobody else has to wait for them.

A job is handed to `Workers.submit` and waited for as long as its caller can afford. A call that takes longer goes on in
its thread, and what it says in the end is heard by nobody. There are never more threads than calls under way, and never
more of those than the bound: then there is no room, and the caller is told so at once.

The threads are daemons: a call that hangs for ever keeps no process from ending. One that has nothing to do for some
seconds ends. A forked child begins without any.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from resumption.session import forking

__all__ = ["Job", "Workers"]

T = TypeVar("T")

_IDLE_S = 5.0  # seconds after which a thread without work ends


class Job(Generic[T]):
    """One call: ``result``, or the ``error`` that it raised, once `wait` has returned True."""

    __slots__ = ("_call", "_done", "_then", "error", "result")

    def __init__(self, call: Callable[[], T], then: Callable[[Job[T]], object] | None) -> None:
        self._call = call
        self._then = then
        self._done = threading.Lock()
        self._done.acquire()
        self.result: T | None = None
        self.error: Exception | None = None

    def run(self) -> None:
        """Make the call. For workers."""
        try:
            self.result = self._call()
        except Exception as error:
            self.error = error
        self._done.release()
        if self._then is not None:
            self._then(self)

    def wait(self, timeout_s: float) -> bool:
        """Whether the call was over within ``timeout_s`` seconds. Call it once."""
        return self._done.acquire(timeout=timeout_s)


class Workers:
    """At most ``most`` calls at a time. Safe to share between threads and across forks."""

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._start_over()
        forking.watch(self)

    def _start_over(self) -> None:
        self._lock = threading.Lock()
        self._queue: SimpleQueue[Job[object] | None] = SimpleQueue()
        self._under_way = 0
        self._threads = 0
        self._is_closed = False

    @property
    def under_way(self) -> int:
        """How many calls are being made now."""
        return self._under_way

    def submit(self, call: Callable[[], T], then: Callable[[Job[T]], object] | None = None) -> Job[T] | None:
        """Have ``call`` made; ``then`` is called with the job by the thread that made it. None if there is no room."""
        job = Job(call, then)
        with self._lock:
            if self._under_way >= self._most or self._is_closed:
                return None
            self._under_way += 1
            starts = self._threads < self._under_way
            self._threads += starts
        if starts:
            threading.Thread(target=self._work, args=(self._queue,), name=self._name, daemon=True).start()
        self._queue.put(job)  # type: ignore[arg-type]
        return job

    def close(self) -> None:
        """Let the threads go, each when its call is over. Nothing is taken on any more."""
        with self._lock:
            self._is_closed = True
            threads, self._threads = self._threads, 0
        for _ in range(threads):
            self._queue.put(None)

    def _work(self, queue: SimpleQueue[Job[object] | None]) -> None:
        while True:
            try:
                job = queue.get(timeout=_IDLE_S)
            except Empty:
                with self._lock:
                    if self._under_way >= self._threads:
                        continue  # a job is on its way here
                    self._threads -= 1
                    return
            if job is None:
                return
            try:
                job.run()
            finally:
                with self._lock:
                    self._under_way -= 1
            del job  # or its result would live until the next one

    # --- forks -------------------------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Let a change of the counts finish first."""
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """The threads stayed behind."""
        closed = self._is_closed
        self._start_over()
        self._is_closed = closed
