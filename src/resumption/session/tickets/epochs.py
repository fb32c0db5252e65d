"""How time is cut up: epochs, each with a ticket key of its own, in generations, each with a root of its own.

Numbers only: which keys belong to them is the business of `session.tickets.ring`. A fleet agrees because all of its
nodes use the same numbers and nearly the same time.
"""

from __future__ import annotations

from dataclasses import dataclass

from resumption.constants import MAX_TICKET_LIFETIME_S
from resumption.errors import ConfigurationError

__all__ = ["RingTimes"]

_LAST_MOMENT = 253_402_300_800.0  # the year 10000: later clocks are wrong
_MOST_EPOCHS_ACCEPTED = 2048


@dataclass(frozen=True, slots=True)
class RingTimes:
    """How time is cut up. All in seconds; the whole fleet must use the same numbers.

    ``epoch_s``: how long one ticket key is issued with. ``generation_s``: how long one root lasts, a multiple of it.
    ``skew_s``: how far clocks may differ; a new key is first used this long after its epoch begins, so that slower
    clocks know it. ``lifetime_s``: how long a ticket is accepted at most; RFC 9846, section 4.7.1 allows seven days.
    Raises `ConfigurationError` if the numbers do not fit together.
    """

    epoch_s: int = 3600
    generation_s: int = 86_400
    skew_s: int = 60
    lifetime_s: int = 86_400

    def __post_init__(self) -> None:
        for name in ("epoch_s", "generation_s", "skew_s", "lifetime_s"):
            if type(getattr(self, name)) is not int:
                raise ConfigurationError(f"{name} must be a whole number of seconds")
        if self.epoch_s < 1:
            raise ConfigurationError("epoch_s must be at least 1")
        if self.generation_s < self.epoch_s or self.generation_s % self.epoch_s:
            raise ConfigurationError(f"generation_s must be a multiple of epoch_s ({self.epoch_s})")
        if not 0 <= self.skew_s < self.epoch_s:
            raise ConfigurationError(f"skew_s must be from 0 to below epoch_s ({self.epoch_s})")
        if not 0 < self.lifetime_s <= MAX_TICKET_LIFETIME_S:
            raise ConfigurationError(f"lifetime_s must be from 1 to {MAX_TICKET_LIFETIME_S}, seven days")
        if self.epochs_accepted > _MOST_EPOCHS_ACCEPTED:
            raise ConfigurationError(f"lifetime_s is more than {_MOST_EPOCHS_ACCEPTED} times epoch_s")

    @property
    def epochs_accepted(self) -> int:
        """For how many epochs after its own a ticket key is still accepted."""
        return -(-self.lifetime_s // self.epoch_s)

    def epoch_at(self, now: float) -> int:
        """The number of the epoch at ``now``, or -1 if that is no time a working clock shows."""
        return int(now // self.epoch_s) if 0.0 <= now < _LAST_MOMENT else -1

    def steady_at(self, now: float) -> tuple[float, float]:
        """From when on and until when, around ``now``, no epoch begins and no key is first issued with."""
        start = float(now // self.epoch_s * self.epoch_s)
        first_use = start + self.skew_s
        return (first_use, start + self.epoch_s) if now >= first_use else (start, first_use)

    def generation_of(self, epoch: int) -> int:
        """The number of the generation that an epoch belongs to."""
        return epoch * self.epoch_s // self.generation_s

    def bound(self, kind: bytes) -> bytes:
        """The numbers that change what keys mean, for use in a derivation."""
        return kind + self.epoch_s.to_bytes(8, "big") + self.generation_s.to_bytes(8, "big")
