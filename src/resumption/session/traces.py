"""What happened to counted things, written down while tracing is on: who took and gave back references, when and where.

`resumption.session.ledger` writes; messages about misuse and leaks then name places, and ``life`` of a session tells
the story. Off, nothing is written, and nothing is kept for it but an empty slot.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from types import TracebackType
from typing import Final, Self, final

__all__ = ["Step", "Trace", "is_tracing", "place_of_caller", "tracing"]

MAX_STEPS: Final = 10_000  # of one life; what comes later is not written down

is_on = os.environ.get("RESUMPTION_TRACE", "") not in ("", "0")  # read by the ledger at each step, set here only
_clock: Callable[[], float] = time.time
_next_step = count(1)


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


class Trace:
    """The life so far of one counted thing. Not locked."""

    __slots__ = ("given_back", "steps", "taken")

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.taken: dict[object, list[str]] = {}  # by holder: places of the references that are outstanding
        self.given_back: dict[object, str] = {}  # where each holder let go of its last one

    def write(self, event: str, holder: object | None, references: int, place: str, change: int) -> None:
        """``holder`` did something at ``place``, after which there are so many references: ``change`` more."""
        if len(self.steps) < MAX_STEPS:
            by = "" if holder is None else str(holder)
            self.steps.append(Step(next(_next_step), _clock(), event, by, references, place))
        if holder is not None and change > 0:
            self.taken.setdefault(holder, []).append(place)
        elif holder is not None and change < 0:
            places = self.taken.get(holder, [])
            if len(places) > 1:
                places.pop()
            else:
                self.taken.pop(holder, None)
            if event == "given back":
                self.given_back[holder] = place


@final
class tracing:
    """Switch the tracing of sessions on or off, at once; as a context manager also back at the end of the block.

    While it is on, each session records who took and gave back its references, when and where: messages then name
    places, and `Session.life` tells the story. The environment variable ``RESUMPTION_TRACE=1`` switches it on from
    the start. Off, it costs nothing. ``clock`` gives seconds since the epoch.
    """

    __slots__ = ("_before",)

    def __init__(self, enabled: bool = True, *, clock: Callable[[], float] = time.time) -> None:
        global is_on, _clock
        self._before = (is_on, _clock)
        is_on, _clock = enabled, clock

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global is_on, _clock
        is_on, _clock = self._before


def is_tracing() -> bool:
    """Whether tracing is on."""
    return is_on


def place_of_caller() -> str:
    """ "file.py:line" of the nearest caller that is not part of this library; its commands count as callers."""
    frame = sys._getframe(1)
    while True:
        module = frame.f_globals.get("__name__", "")
        inside = module == "resumption" or module.startswith("resumption.")
        if not inside or module.startswith("resumption.cli") or frame.f_back is None:
            return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"
        frame = frame.f_back
