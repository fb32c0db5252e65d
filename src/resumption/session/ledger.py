"""Who holds a thing: a reference count in which every reference has a named owner.

`Counted` is the base of `resumption.session.model.Session`. It keeps the ledger, refuses a reference given back by
someone who does not own one, runs the end exactly once when the count reaches 0, and, while `tracing` is on, writes
down who did what where. It knows nothing of sessions: what the end means is the subclass's `_end`.

A million counted things may live in a cache, so the ledger costs no object of its own: one holder is stored directly
with the count beside it, and only while there are several is there a dict. The locks are shared by stripes. They are
leaves: nothing is called while one is held, except to read or change the ledger itself. They are re-entrant because a
finalizer or a signal handler may give back a reference while this very thread is inside; for that case each change
reads and stores without a call in between, or checks before it stores that what it read is still so.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import count
from threading import RLock
from types import TracebackType
from typing import Self, final
from weakref import WeakValueDictionary

from resumption.errors import DoubleFreeError, ReferenceCountError, SessionFreedError
from resumption.session import forking

__all__ = ["APPLICATION", "Counted", "Holder", "Step", "tracing"]

_STRIPES = 64
_LOCKS = tuple(RLock() for _ in range(_STRIPES))
_next_stripe = count()


class _Stripes:
    """The locks at a fork: a child must not inherit one that another thread of its parent held."""

    def before_fork(self) -> None:
        """Take them all."""
        for lock in _LOCKS:
            lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Release them all."""
        for lock in _LOCKS:
            lock.release()

    after_fork_in_child = after_fork_in_parent


forking.watch_innermost(_Stripes())  # caches count references while they hold their own lock


@final
class Holder:
    """Someone who can own references: a connection, a cache, or the application under a label.

    Holders are compared by identity. ``kind`` is "application", "connection" or "cache"; ``name`` tells holders of a
    kind apart for people. ``str()`` gives "connection 7", "cache of client", "application" or "application (label)".
    """

    __slots__ = ("__weakref__", "kind", "name")

    def __init__(self, kind: str, name: str = "") -> None:
        self.kind = kind
        self.name = name

    def __str__(self) -> str:
        if not self.name:
            return self.kind
        if self.kind == "cache":
            return f"cache of {self.name}"
        return f"application ({self.name})" if self.kind == "application" else f"{self.kind} {self.name}"

    def __repr__(self) -> str:
        return f"<{self}>"


APPLICATION = Holder("application")
_labelled: WeakValueDictionary[str, Holder] = WeakValueDictionary()
_labels_lock = RLock()


def application(label: str) -> Holder:
    """The one holder that stands for the application's references under this label, in all sessions."""
    with _labels_lock:
        holder = _labelled.get(label)
        if holder is None:
            holder = _labelled[label] = Holder("application", label)
        return holder


# --- tracing ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """One line in the life of a session, written while tracing was on."""

    ordinal: int  # grows over all sessions of the process
    time: float  # seconds since the epoch
    event: str  # "made", "taken", "given back", "handed over", "not resumable", "wiped", or a connection's own words
    holder: str  # whose doing; "" if nobody's
    references: int  # the count after it
    place: str  # "app.py:41": the nearest caller outside this library

    def __str__(self) -> str:
        by = f" by {self.holder}" if self.holder else ""
        return f"{self.event}{by} at {self.place}, references: {self.references}"


class _Trace:
    """The life so far of one counted thing."""

    __slots__ = ("given_back", "steps", "taken")

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.taken: dict[Holder, list[str]] = {}  # places of the references that are outstanding
        self.given_back: dict[Holder, str] = {}  # where each holder let go of its last one


_MAX_STEPS = 10_000  # of one life; what comes later is not written down
_trace_on = os.environ.get("RESUMPTION_TRACE", "") not in ("", "0")
_trace_clock: Callable[[], float] = time.time
_next_step = count(1)


@final
class tracing:
    """Switch the tracing of sessions on or off, at once; as a context manager also back at the end of the block.

    While it is on, each session records who took and gave back its references, when and where: messages then name
    places, and `Session.life` tells the story. The environment variable ``RESUMPTION_TRACE=1`` switches it on from
    the start. Off, it costs nothing. ``clock`` gives seconds since the epoch.
    """

    __slots__ = ("_before",)

    def __init__(self, enabled: bool = True, *, clock: Callable[[], float] = time.time) -> None:
        global _trace_on, _trace_clock
        self._before = (_trace_on, _trace_clock)
        _trace_on, _trace_clock = enabled, clock

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _trace_on, _trace_clock
        _trace_on, _trace_clock = self._before


def is_tracing() -> bool:
    """Whether tracing is on."""
    return _trace_on


def _place() -> str:
    """ "file.py:line" of the nearest caller that is not part of this library; its commands count as callers."""
    frame = sys._getframe(1)
    while True:
        module = frame.f_globals.get("__name__", "")
        inside = module == "resumption" or module.startswith("resumption.")
        if not inside or module.startswith("resumption.cli") or frame.f_back is None:
            return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"
        frame = frame.f_back


# --- the ledger -----------------------------------------------------------------------------------------------------


_FREED_BEFORE = 1  # the application, unlabelled, once gave back all it had
_HAD_SEVERAL = 2  # and once had more than one
FIRST_FREE_BIT = 4  # of `_state`, for the subclass


class Counted:
    """A thing with named holders, which ends when the last of them lets go. Subclasses say what ends, in `_end`."""

    __slots__ = ("__weakref__", "_count", "_ended", "_lock", "_only", "_several", "_state", "_trace")

    _lock: AbstractContextManager[bool]
    _count: int  # references, all holders together; 0 is the end
    _only: Holder | None  # the holder, while there is one
    _several: dict[Holder, int] | None  # references by holder, while there are several
    _state: int  # bits, see above
    _trace: _Trace | None
    _ended: tuple[bytes, Holder, str] | None  # after the end: its tag, the last holder, the place of the last free

    def _begin(self, holder: Holder, event: str = "made") -> None:
        """Start with one reference, of ``holder``. To be called when the subclass has filled its own slots."""
        self._lock = _LOCKS[next(_next_stripe) % _STRIPES]
        self._only = holder
        self._several = None
        self._state = 0
        self._trace = None
        self._ended = None
        self._count = 1
        if _trace_on:
            self._write(event, holder, _place(), 1)

    def _tag(self) -> bytes:
        """A few bytes that tell it from others of its kind. Must not fail while it lives."""
        return b""

    def _name(self, tag: bytes) -> str:
        """What messages call the one with this tag."""
        return "the object"

    def _describe(self) -> str:
        """What messages call it, also after its end: until there is a message, the tag is all that is kept (1 us)."""
        return self._name(self._tag() if self._ended is None else self._ended[0])

    def _end(self) -> Callable[[], None] | None:
        """The last holder let go: wipe. Called once, under the lock. What it returns is called after the lock."""
        return None

    # Reading.

    @property
    def references(self) -> int:
        """How many references there are, of all holders together; 0 after the end."""
        return self._count

    @property
    def holders(self) -> dict[Holder, int]:
        """Who holds it, and how many references each. A copy, oldest holder first; empty after the end."""
        with self._lock:
            if self._several is not None:
                return dict(self._several)
            return {} if self._only is None else {self._only: self._count}

    @property
    def is_freed(self) -> bool:
        """Whether the last holder has let go."""
        return not self._count

    @property
    def life(self) -> tuple[Step, ...]:
        """What happened to it, in order, as far as `tracing` was on. Can be read after the end too."""
        with self._lock:
            return () if self._trace is None else tuple(self._trace.steps)

    # Taking and giving back.

    def acquire(self, holder: Holder) -> Self:
        """Take a reference for ``holder``. `SessionFreedError` after the end."""
        place = _place() if _trace_on else ""
        with self._lock:
            while True:
                only = self._only
                if only is holder:
                    self._count += 1
                    if holder is APPLICATION:
                        self._state |= _HAD_SEVERAL
                    break
                several = self._several
                if several is not None:
                    if holder in several:
                        several[holder] += 1
                        if holder is APPLICATION:
                            self._state |= _HAD_SEVERAL
                    else:
                        several[holder] = 1
                    self._count += 1
                    break
                if only is None:
                    raise self._freed_error()
                several = {only: self._count, holder: 1}  # may collect garbage, hence the second look
                if self._only is only and self._count == several[only]:
                    self._several = several
                    self._only = None
                    self._count += 1
                    break
            if place:
                self._write("taken", holder, place, 1)
        return self

    def release(self, holder: Holder) -> None:
        """Give back one reference of ``holder``; the last one of all is the end.

        `ReferenceCountError` if ``holder`` has none: nothing is changed then. After the end the error is
        `DoubleFreeError`, which is a `SessionFreedError` too.
        """
        place = _place() if _trace_on else ""
        after = None
        with self._lock:
            several = self._several
            if self._only is holder:
                self._count -= 1
            elif several is not None and holder in several:
                self._count -= 1
                if several[holder] > 1:
                    several[holder] -= 1
                else:
                    del several[holder]
                    if holder is APPLICATION:
                        self._state |= _FREED_BEFORE
                    self._collapse(several)
            else:
                raise self._not_held_error(holder)
            if place:
                self._write("given back", holder, place, -1)
            if not self._count:
                after = self._finish(holder, place)
        if after is not None:
            after()

    def transfer(self, old: Holder, new: Holder) -> None:
        """Make one reference of ``old`` one of ``new``, at once. `ReferenceCountError` if ``old`` has none."""
        place = _place() if _trace_on else ""
        with self._lock:
            while True:
                several = self._several
                if self._only is old and self._count == 1:
                    self._only = new
                    break
                if several is not None and old in several:
                    if several[old] > 1:
                        several[old] -= 1
                    else:
                        del several[old]
                    if new in several:
                        several[new] += 1
                    else:
                        several[new] = 1
                    self._collapse(several)
                    break
                if self._only is not old:
                    raise self._not_held_error(old)
                if new is old:
                    break
                several = {old: self._count - 1, new: 1}
                if self._only is old and self._count == several[old] + 1:
                    self._several = several
                    self._only = None
                    break
            if place:
                self._write("handed over", old, place, -1)
                self._write("taken over", new, place, 1)

    def up_ref(self, holder: str | None = None) -> Self:
        """Take a reference for the application (SSL_SESSION_up_ref). `free` it when done, or use ``with``.

        ``holder`` is a label under which the application keeps this reference apart from its others. Returns the same
        object. `SessionFreedError` after the end.
        """
        return self.acquire(APPLICATION if holder is None else application(holder))

    def free(self, holder: str | None = None) -> None:
        """Give back a reference of the application (SSL_SESSION_free), the one with the label ``holder`` if given.

        At the last reference of all holders the secrets are wiped and the object is closed. `ReferenceCountError` if
        the application holds none (a session that was borrowed, or freed before): everyone else is unharmed.
        """
        self.release(APPLICATION if holder is None else application(holder))

    def __enter__(self) -> Self:
        if not self._count:
            raise self._freed_error()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release(APPLICATION)

    def _collapse(self, several: dict[Holder, int]) -> None:
        """Back to the compact form if one holder is left."""
        for last in several:
            if several[last] == self._count and self._several is several:
                self._only = last
                self._several = None
            break

    # The end.

    def _finish(self, holder: Holder, place: str) -> Callable[[], None] | None:
        self._only = None
        self._several = None
        self._ended = (self._tag(), holder, place)
        after = self._end()
        if place:
            self._write("wiped", None, place, 0)
        return after

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        try:
            if not self._count:
                return
        except AttributeError:  # it was never begun
            return
        message = self._leak_message()
        self._count = 0
        self._only = None
        self._several = None
        self._end()
        if message:
            _warn(message, ResourceWarning, source=self)

    # Words.

    def _write(self, event: str, holder: Holder | None, place: str, change: int) -> None:
        trace = self._trace
        if trace is None:
            trace = self._trace = _Trace()
        if len(trace.steps) < _MAX_STEPS:
            by = "" if holder is None else str(holder)
            trace.steps.append(Step(next(_next_step), _trace_clock(), event, by, self._count, place))
        if holder is not None and change > 0:
            trace.taken.setdefault(holder, []).append(place)
        elif holder is not None and change < 0:
            places = trace.taken.get(holder, [])
            if len(places) > 1:
                places.pop()
            else:
                trace.taken.pop(holder, None)
            if event == "given back":
                trace.given_back[holder] = place

    def note(self, event: str, holder: Holder | None = None) -> None:
        """Add a line to `life`, if tracing is on: something that happened to it other than to its count."""
        if _trace_on:
            place = _place()
            with self._lock:
                self._write(event, holder, place, 0)

    def _freed_error(self) -> SessionFreedError:
        return SessionFreedError(self._epitaph())

    def _epitaph(self) -> str:
        name = self._describe()
        holder, place = (str(self._ended[1]), self._ended[2]) if self._ended is not None else ("", "")
        last = f"{holder}, {place}" if place else holder
        hint = "" if place else f" ({_HINT})"
        return f"{name} was freed when its last holder{last and f' ({last})'} let go; its secrets are gone{hint}."

    def _not_held_error(self, holder: Holder) -> ReferenceCountError:
        ended, is_application = self._ended, holder.kind == "application"
        name = self._describe()
        who = f"the {holder}" if is_application else str(holder)
        place = self._trace.given_back.get(holder, "") if self._trace is not None else ""
        was_last = ended is not None and str(ended[1]) == str(holder)
        if place or was_last or (holder is APPLICATION and self._state & _FREED_BEFORE):
            which = "only" if holder is APPLICATION and not self._state & _HAD_SEVERAL else "last"
            words = f"{who} already freed its {which} reference to {name} ({f'at {place}' if place else _HINT})."
        elif ended is not None:
            words = f"{who} holds no reference: {self._epitaph()}"
        else:
            words = f"{who} holds no reference to {name}; held by: {', '.join(map(str, self.holders))}."
            if is_application:
                words += " Take one with get1_session() or up_ref() before you free it."
        return ReferenceCountError(words) if ended is None else DoubleFreeError(words)

    def _leak_message(self) -> str:
        """What to warn about when it is collected; "" if the application holds nothing."""
        leaked = {holder: number for holder, number in self.holders.items() if holder.kind == "application"}
        if not leaked:
            return ""
        number = sum(leaked.values())
        places = [place for holder in leaked for place in (self._trace.taken.get(holder, ()) if self._trace else ())]
        where = f"taken at {', '.join(places)}" if places else _HINT
        return (
            f"{self._describe()} was collected with {number} reference{'s' if number > 1 else ''} of the application "
            f"outstanding ({where}). Give each back with free(), or use `with`."
        )


_HINT = "switch on resumption.tracing() or RESUMPTION_TRACE=1 to see where"
