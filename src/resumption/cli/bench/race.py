"""Measuring several ways of doing one thing in a single interleaved run, so that they share whatever the machine does.

CPU time of the process, not time on the wall: other programs then matter less. Each contender runs for a slice of some
milliseconds, then the next one; that is a round. Of all rounds the quickest slice of each contender counts, because
disturbances only ever add. What is reported besides is the median over the rounds of the ratio within a round: where it
is far from the ratio of the minima, the machine was too busy to be believed.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["MAX_SLICE_S", "MIN_SLICE_S", "Action", "Results", "frozen_heap", "race"]

Action: TypeAlias = Callable[[], object]

MIN_SLICE_S = 0.002  # shorter ones drown in the resolution of the clock,
MAX_SLICE_S = 0.012  # longer ones are seldom left alone by other programs
_SLICE_S = 0.005
_WARM_UP = 8  # calls before anything counts


@dataclass(frozen=True, slots=True)
class Results:
    """What a race found out. Times are CPU seconds for one call of an action."""

    best: dict[str, float]
    rounds: dict[str, list[float]]  # every slice, in order

    def ratio(self, contender: str, reference: str) -> float:
        """The quickest slice of ``contender`` over that of ``reference``."""
        return self.best[contender] / self.best[reference]

    def median_ratio(self, contender: str, reference: str) -> float:
        """The median of the ratios within one round."""
        pairs = zip(self.rounds[contender], self.rounds[reference], strict=True)
        return statistics.median(ours / theirs for ours, theirs in pairs)


@contextmanager
def frozen_heap() -> Iterator[None]:
    """Keep the garbage collector from walking what is there already. It goes on collecting what is new."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def race(
    actions: Mapping[str, Action], rounds: int, tick: Callable[[], object] = lambda: None, *, slice_s: float = _SLICE_S
) -> Results:
    """Run ``actions`` in turn, ``rounds`` times, each for about ``slice_s`` seconds. ``tick`` is called every round.

    Each second round runs backwards, so that no one is always behind the same other.
    """
    repeats = {}
    for name, action in actions.items():
        for _ in range(_WARM_UP):
            action()
        repeats[name] = max(1, round(slice_s / max(_time_of(action, 4), 1e-7)))
    slices: dict[str, list[float]] = {name: [] for name in actions}
    order = list(actions)
    for number in range(rounds):
        for name in order if number % 2 == 0 else reversed(order):
            slices[name].append(_time_of(actions[name], repeats[name]))
        tick()
    return Results({name: min(times) for name, times in slices.items()}, slices)


def _time_of(action: Action, repeats: int) -> float:
    start = time.process_time()
    for _ in range(repeats):
        action()
    return (time.process_time() - start) / repeats
