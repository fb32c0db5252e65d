"""What objects with a lock, or with a file open, do when the process forks.

A fork copies a lock in whatever state it is in, and an open database connection that two processes must never share. An
object that calls `watch` is told before the fork, takes its own lock there, puts its state in order, and lets go of the
lock on both sides. So a child never inherits a lock that nobody will release, and never finds an update half done.

Locks that are taken while another one is held (a cache counts references under its own lock) are `innermost`: they are
taken last, whatever was imported first. Otherwise a thread inside the cache and a fork could wait for each other.

Objects are watched weakly: this keeps nothing alive. Where there is no fork there is nothing to do.
"""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import AbstractContextManager
from typing import Protocol

__all__ = ["ForkSensitive", "LockedAtFork", "watch", "watch_innermost"]


class ForkSensitive(Protocol):
    """The three moments of a fork. None of them may raise."""

    def before_fork(self) -> None:
        """Take the lock, and let go of what must not be copied."""

    def after_fork_in_parent(self) -> None:
        """Release the lock."""

    def after_fork_in_child(self) -> None:
        """Start over with what belongs to one process only, then release the lock."""


class Lock(AbstractContextManager[bool], Protocol):
    """A lock of any kind."""

    def acquire(self) -> bool:
        """Take it, waiting for it."""

    def release(self) -> None:
        """Let go of it."""


class LockedAtFork:
    """What has nothing to put in order before a fork: ``_lock`` is taken, and released on both sides. See `watch`."""

    __slots__ = ()

    _lock: Lock

    def before_fork(self) -> None:
        """Let a change under way finish first, and none begin."""
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """Go on, or start over."""
        self._start_over_in_child()
        self._lock.release()

    def _start_over_in_child(self) -> None:
        """Leave to the parent what is the parent's. Under the lock."""


_watched: weakref.WeakSet[ForkSensitive] = weakref.WeakSet()
_watched_lock = threading.Lock()
_innermost: list[ForkSensitive] = []
_held: list[ForkSensitive] = []  # between the moments: exactly those whose before_fork ran


def watch(subject: ForkSensitive) -> None:
    """Tell ``subject`` about every fork of this process, for as long as it lives."""
    with _watched_lock:
        _watched.add(subject)


def watch_innermost(subject: ForkSensitive) -> None:
    """Tell ``subject``, which lives as long as the process, about every fork: last before it, first after it."""
    with _watched_lock:
        _innermost.append(subject)


def _before() -> None:
    _watched_lock.acquire()
    _held.extend(_watched)
    _held.extend(_innermost)
    for subject in _held:
        subject.before_fork()


def _after_in_parent() -> None:
    for subject in reversed(_held):
        subject.after_fork_in_parent()
    _held.clear()
    _watched_lock.release()


def _after_in_child() -> None:
    for subject in reversed(_held):
        subject.after_fork_in_child()
    _held.clear()
    _watched_lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
