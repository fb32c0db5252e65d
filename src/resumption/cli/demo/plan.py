"""What the demonstration is to show: which ways of resuming, where, and what happens in the middle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote

from resumption.errors import ConfigurationError
from resumption.session.verdicts import Mechanism

__all__ = ["DEFAULT", "Choice", "Kind", "Plan", "kinds_for"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A way of resuming that gets a row."""

    name: str
    label: str  # of its session file
    mechanism: Mechanism
    stateful: bool = False
    tls12: bool = False


class Choice(StrEnum):
    """How a way of resuming is called on the command line."""

    TICKETS = "1.3-stateless"
    STATEFUL = "1.3-stateful"
    TICKETS_12 = "1.2-tickets"
    IDS_12 = "1.2-ids"


_KINDS = {
    Choice.TICKETS: Kind("TLS 1.3 tickets", "tickets", Mechanism.STATELESS_13),
    Choice.STATEFUL: Kind("TLS 1.3 stateful", "stateful", Mechanism.STATEFUL_13, stateful=True),
    Choice.TICKETS_12: Kind("TLS 1.2 tickets", "tickets-12", Mechanism.TICKET_12, tls12=True),
    Choice.IDS_12: Kind("TLS 1.2 session ids", "ids-12", Mechanism.SESSION_ID, stateful=True, tls12=True),
}
DEFAULT = (Choice.TICKETS, Choice.STATEFUL, Choice.TICKETS_12)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be shown, where, and within how many seconds.

    ``machines`` that share nothing but a secret (and the store, if it is a server) have ``workers`` each, a port and a
    directory of their own, and clocks that are ``skew_s`` seconds apart. Halfway through the reconnections of each kind
    all workers are killed and replaced (``kill``), or all keys rotated (``rotate``).
    """

    folder: Path
    workers: int = 4
    connections: int = 40
    store: str | None = None
    timeout_s: float = 120.0
    kinds: tuple[Kind, ...] = tuple(_KINDS[choice] for choice in DEFAULT)
    machines: int = 1
    skew_s: float = 0.0
    kill: bool = False
    rotate: bool = False

    @property
    def store_url(self) -> str:
        """The store: an SQLite file in the folder unless another was asked for."""
        return self.store or f"sqlite://{quote(str((self.folder / 'sessions.db').resolve()))}"

    @property
    def pauses(self) -> bool:
        """Whether something happens halfway."""
        return self.kill or self.rotate


def kinds_for(choices: Sequence[Choice], *, store: str | None, machines: int) -> tuple[Kind, ...]:
    """The ways of resuming that were asked for; where none were, the default ones that can be shared like this.

    Raises `ConfigurationError` for a way that cannot be: sessions that a server keeps need a store that all workers
    reach, which memory is not, and a file is not for several machines.
    """
    scheme = (store or "sqlite").partition(":")[0]
    reaches_all = scheme != "memory" and (machines == 1 or scheme != "sqlite")
    kinds = [_KINDS[choice] for choice in dict.fromkeys(choices or DEFAULT)]
    kept = [kind.name for kind in kinds if kind.stateful]
    if kept and not reaches_all:
        if choices:
            where = "several machines" if machines > 1 else "several processes"
            raise ConfigurationError(f"{', '.join(kept)}: a store of the kind {scheme} is not shared by {where}")
        kinds = [kind for kind in kinds if not kind.stateful]
    return tuple(kinds)
