"""Slots in `Session.ex_data` whose values have a life of their own (SSL_SESSION_get_ex_new_index).

Any hashable key is a slot already; its value is shared by copies of the session and dropped at the end. A slot made
here can do more: its ``dup`` says what a copy of the session gets, its ``free`` is told of each value when the session
that has it is freed. A session that is merely collected was never freed, and nothing is told, as in C.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, NamedTuple

__all__ = ["copied", "let_go", "new_slot"]


class Slot(NamedTuple):
    """What to do with the values of one index."""

    dup: Callable[[Any], Any] | None
    free: Callable[[Any], object] | None


_numbers = itertools.count(1)  # 0 is the application's one value, `Session.app_data`
_lock = Lock()
_slots: dict[Hashable, Slot] = {}  # replaced, never changed: read without the lock


def new_slot(*, dup: Callable[[Any], Any] | None = None, free: Callable[[Any], object] | None = None) -> int:
    """A key for `Session.ex_data` that no other part of the program uses.

    ``dup(value)`` returns the value for a copy of the session; without it the copy shares the value. ``free(value)`` is
    called, outside all locks, when the last holder of a session has let go; what it raises becomes a `RuntimeWarning`.
    """
    global _slots
    index = next(_numbers)
    if dup is not None or free is not None:
        with _lock:
            _slots = {**_slots, index: Slot(dup, free)}
    return index


def copied(values: dict[Hashable, Any]) -> dict[Hashable, Any]:
    """The values for a copy of the session that has ``values``. If a ``dup`` raises, what was made so far is freed."""
    slots = _slots
    own = [(key, slot.dup) for key, slot in slots.items() if key in values and slot.dup is not None]
    made: dict[Hashable, Any] = {}
    try:
        for key, dup in own:
            made[key] = dup(values[key])
    except BaseException:
        let_go(made)
        raise
    return {**values, **made}


def let_go(values: dict[Hashable, Any]) -> None:
    """The session that had ``values`` was freed."""
    for key, slot in _slots.items():
        if slot.free is not None and key in values:
            try:
                slot.free(values[key])
            except Exception as error:
                warnings.warn(f"freeing slot {key} of a session: {error!r}", RuntimeWarning, stacklevel=2)
