"""What a server has to look at now and then: files of keys, roots in a store, the fleet's policy epoch.

There is no thread that waits. Whoever uses the server asks, at each connection, whether it is time (one comparison),
and then one short-lived thread does the looking; the connection goes on with what is known. So an idle server does
nothing, an event loop never waits for a file or a store, and a fork has nothing to inherit.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from resumption.errors import Error
from resumption.session import forking

__all__ = ["Upkeep"]

_log = logging.getLogger("resumption.upkeep")


class Upkeep:
    """Jobs to run at most every ``interval_s`` seconds, one round at a time. Safe to share by threads and forks."""

    def __init__(
        self,
        jobs: Sequence[Callable[[], object]],
        *,
        interval_s: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._jobs = tuple(jobs)
        self._interval_s = interval_s
        self._monotonic = monotonic
        self._next = monotonic() + interval_s
        self._running = threading.Lock()
        forking.watch(self)

    def remind(self) -> threading.Thread | None:
        """Start a round in a thread of its own if it is time; the thread, or None."""
        now = self._monotonic()
        if now < self._next:
            return None
        self._next = now + self._interval_s
        thread = threading.Thread(target=self._run_alone, name="resumption upkeep", daemon=True)
        thread.start()
        return thread

    def run(self) -> None:
        """Do a round here and now. What a job raises is logged, and the others are done."""
        with self._running:
            self._do_all()

    def _run_alone(self) -> None:
        if self._running.acquire(blocking=False):  # else the one before is not through: a store is slow
            try:
                self._do_all()
            finally:
                self._running.release()

    def _do_all(self) -> None:
        for job in self._jobs:
            try:
                job()
            except (Error, OSError) as error:
                _log.warning("upkeep: %s", error)

    def before_fork(self) -> None:
        """Nothing: a round that is under way goes on in the parent."""

    def after_fork_in_parent(self) -> None:
        """Nothing."""

    def after_fork_in_child(self) -> None:
        """Nobody is running a round here."""
        self._running = threading.Lock()
