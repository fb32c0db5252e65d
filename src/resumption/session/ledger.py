"""Who holds a thing: a reference count in which every reference has a named owner.

`Counted` is the base of `resumption.session.model.Session`. It keeps the ledger, refuses a reference given back by
someone who does not own one, runs the end exactly once when the count reaches 0, and, while tracing is on, writes down
who did what where (`resumption.session.traces`). It knows nothing of sessions: what the end means is the subclass's
`_end`.

A million counted things may live in a cache, so the ledger costs no object of its own: one holder, and a second one
that has one reference, are stored directly with the count of both beside them. That is all that a session in a cache
and in the hands of one connection needs; only beyond that is there a dict. The locks are shared by stripes. They are
leaves: nothing is called while one is held, except to read or change the ledger itself. They are re-entrant because a
finalizer or a signal handler may give back a reference while this very thread is inside; for that case each change
reads and stores without a call in between, or checks before it stores that what it read is still so.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from itertools import count
from threading import RLock
from types import TracebackType
from typing import Self, final
from weakref import WeakValueDictionary

from resumption.errors import DoubleFreeError, ReferenceCountError, SessionFreedError
from resumption.session import forking, traces
from resumption.session.traces import Step, Trace, place_of_caller

__all__ = ["APPLICATION", "Counted", "Holder", "release_each"]

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

    __repr__ = __str__  # so that `Session.holders` reads like a sentence


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


# --- the ledger -----------------------------------------------------------------------------------------------------


_FREED_BEFORE = 1  # the application, unlabelled, once gave back all it had
_HAD_SEVERAL = 2  # and once had more than one
FIRST_FREE_BIT = 4  # of `_state`, for the subclass


class Counted:
    """A thing with named holders, which ends when the last of them lets go. Subclasses say what ends, in `_end`."""

    __slots__ = ("__weakref__", "_count", "_ended", "_lock", "_only", "_second", "_several", "_state", "_trace")

    _lock: AbstractContextManager[bool]
    _count: int  # references, all holders together; 0 is the end
    _only: Holder | None  # the one holder, or the first of two
    _second: Holder | None  # the second of two, with one reference
    _several: dict[Holder, int] | None  # references by holder, in place of these, wherever they do not say it all
    _state: int  # bits, see above
    _trace: Trace | None
    _ended: tuple[bytes, Holder, str] | None  # after the end: its tag, the last holder, the place of the last free

    def _begin(self, holder: Holder, event: str = "made") -> None:
        """Start with one reference, of ``holder``. To be called when the subclass has filled its own slots."""
        self._lock = _LOCKS[next(_next_stripe) % _STRIPES]
        self._only = holder
        self._second = self._several = self._trace = self._ended = None
        self._state = 0
        self._count = 1
        if traces.is_on:
            self._write(event, holder, place_of_caller(), 1)

    def _tag(self) -> bytes:
        """A few bytes that tell it from others of its kind. Must not fail while it lives."""
        return b""

    def _name(self, tag: bytes) -> str:
        """What messages call the one with this tag."""
        return "the object"

    def _describe(self) -> str:
        """What messages call it, also after its end: until there is a message, the tag is all that is kept (1 us)."""
        return self._name(self._tag() if self._ended is None else self._ended[0])

    def _end(self) -> tuple[bytes, Callable[[], None] | None]:
        """The last holder let go: wipe. Called once, under the lock. Returns the tag, and what to do after the lock."""
        return self._tag(), None

    # Reading.

    @property
    def references(self) -> int:
        """How many references there are, of all holders together; 0 after the end."""
        return self._count

    @property
    def holders(self) -> dict[Holder, int]:
        """Who holds it, and how many references each. A copy, oldest holder first; empty after the end."""
        with self._lock:
            only, second = self._only, self._second
            if self._several is not None:
                return dict(self._several)
            if only is None:
                return {}
            return {only: self._count} if second is None else {only: self._count - 1, second: 1}

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
        place = place_of_caller() if traces.is_on else ""
        with self._lock:
            only = self._only
            if only is not None and only is not holder and self._second is None:  # mostly: 0.2 us less than `_take`
                self._second = holder
                self._count += 1
            else:
                self._take(holder)
            if place:
                self._write("taken", holder, place, 1)
        return self

    def _take(self, holder: Holder) -> None:
        """Count one more reference of ``holder``. Under the lock."""
        while True:
            only, second, count = self._only, self._second, self._count
            if only is holder:
                self._count = count + 1
                if holder is APPLICATION:
                    self._state |= _HAD_SEVERAL
                return
            several = self._several
            if several is not None:
                if holder in several:
                    several[holder] += 1
                    if holder is APPLICATION:
                        self._state |= _HAD_SEVERAL
                else:
                    several[holder] = 1
                self._count += 1
                return
            if only is None:
                raise self._freed_error()
            if second is None:
                self._second = holder
                self._count = count + 1
                return
            several = {only: count - 1, second: 1}  # may collect garbage, hence the second look
            several[holder] = several.get(holder, 0) + 1
            if self._only is only and self._second is second and self._count == count:
                self._several = several
                self._only = self._second = None
                self._count = count + 1
                if second is holder is APPLICATION:
                    self._state |= _HAD_SEVERAL
                return

    def release(self, holder: Holder) -> None:
        """Give back one reference of ``holder``; the last one of all is the end.

        `ReferenceCountError` if ``holder`` has none: nothing is changed then. After the end the error is
        `DoubleFreeError`, which is a `SessionFreedError` too.
        """
        place = place_of_caller() if traces.is_on else ""
        after = None
        with self._lock:
            second, several = self._second, self._several
            if second is holder:
                self._second = None
                self._count -= 1
                if holder is APPLICATION:
                    self._state |= _FREED_BEFORE
            elif self._only is holder:
                if second is None or self._count > 2:
                    self._count -= 1
                else:
                    self._only = second
                    self._second = None
                    self._count = 1
                    if holder is APPLICATION:
                        self._state |= _FREED_BEFORE
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
        place = place_of_caller() if traces.is_on else ""
        with self._lock:
            while True:
                only, second, several, count = self._only, self._second, self._several, self._count
                if only is old and count == 1:
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
                if only is None or (only is not old and second is not old):
                    raise self._not_held_error(old)
                if new is old:
                    break
                several = {only: count} if second is None else {only: count - 1, second: 1}
                if new not in several:
                    several[new] = 0
                several[old] -= 1
                several[new] += 1
                if not several[old]:
                    del several[old]
                if self._only is only and self._second is second and self._count == count:
                    self._several = several
                    self._only = self._second = None
                    self._collapse(several)
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
        self._only = self._second = self._several = None
        tag, after = self._end()
        self._ended = (tag, holder, place)
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
        self._only = self._second = self._several = None
        self._end()
        if message:
            _warn(message, ResourceWarning, source=self)

    # Words.

    def _write(self, event: str, holder: Holder | None, place: str, change: int) -> None:
        if self._trace is None:
            self._trace = Trace()
        self._trace.write(event, holder, self._count, place, change)

    def note(self, event: str, holder: Holder | None = None) -> None:
        """Add a line to `life`, if tracing is on: something that happened to it other than to its count."""
        if traces.is_on:
            place = place_of_caller()
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


def release_each(things: Iterable[Counted], holder: Holder) -> None:
    """`Counted.release` each of ``things``: what a flush does with many that hardly anybody else holds, quicker.

    All are given back; the first error is raised afterwards.
    """
    error: BaseException | None = None
    for thing in things:
        after = None
        with thing._lock:
            is_last = thing._only is holder and thing._count == 1 and not traces.is_on
            if is_last:
                thing._count = 0
                thing._only = None
                tag, after = thing._end()
                thing._ended = (tag, holder, "")
        try:
            if not is_last:
                thing.release(holder)
            elif after is not None:
                after()
        except BaseException as raised:
            error = error or raised
    if error is not None:
        raise error


_HINT = "switch on resumption.tracing() or RESUMPTION_TRACE=1 to see where"
