"""What the demonstration found, and what is made of it: claims that held or did not, a table, one JSON object.

Every number in here was reported by the process that saw it; nothing is assumed. A connection counts as resumed if the
client and the worker that served it both say so.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from resumption.cli.demo.openssl import ABSENT, RESUMED, SAME, Guest
from resumption.cli.output import facts_table, for_people, show_table
from resumption.cli.processes import Line

__all__ = ["Claim", "Findings", "Row", "claims", "show", "to_json"]

_UNSUPPORTED = "unsupported"
_ENOUGH = 20  # connections, at the least, to say anything about how they were spread
_ENOUGH_PER_WORKER = 5


@dataclass(frozen=True, slots=True)
class Row:
    """One way of resuming: the reconnections, and what they are compared with. Times in milliseconds."""

    name: str
    mechanism: str  # what both ends must call it; "" for a server that does not say
    reconnections: Sequence[Line]
    full_ms: Sequence[float]
    full_bytes: int | None
    resumed_bytes: int | None
    loaded: Line | None = None  # the connection that resumed the session of another process, from its file

    @property
    def resumed(self) -> int:
        """How many of the reconnections were resumed, by the word of both ends, in the way that the row is about."""
        return sum(self._is_resumed(each) for each in self.reconnections)

    @property
    def of(self) -> int:
        """How many reconnections there were."""
        return len(self.reconnections)

    @property
    def crossed(self) -> int:
        """How many were resumed by another worker than the one that had issued the session."""
        return sum(
            self._is_resumed(each) and each.get("issuer") not in (None, each["worker"]) for each in self.reconnections
        )

    @property
    def by_worker(self) -> dict[int, int]:
        """How many connections each worker got."""
        return dict(sorted(Counter(each["worker"] for each in self.reconnections).items()))

    @property
    def was_loaded(self) -> bool:
        """Whether the second process resumed what the first had saved."""
        return self.loaded is not None and self._is_resumed(self.loaded)

    def _is_resumed(self, connection: Line) -> bool:
        both = bool(connection["client"] and connection["server"])
        return both and (not self.mechanism or connection["mechanism"] == self.mechanism)

    def to_json(self) -> dict[str, Any]:
        """The row as data."""
        resumed = [each["ms"] for each in self.reconnections if self._is_resumed(each)]
        return {
            "name": self.name,
            "resumed": self.resumed,
            "of": self.of,
            "declined": dict(Counter(each.get("reason") for each in self.reconnections if not self._is_resumed(each))),
            "crossed": self.crossed if self.mechanism else None,
            "by_worker": list(self.by_worker.values()),
            "handshake_ms": _median([each["ms"] for each in self.reconnections]),
            "resumed_ms": _median(resumed),
            "full_ms": _median(self.full_ms),
            "resumed_bytes": self.resumed_bytes,
            "full_bytes": self.full_bytes,
        }


@dataclass(frozen=True, slots=True)
class Claim:
    """Something that the demonstration says, and whether it was so."""

    text: str
    held: bool


@dataclass
class Findings:
    """Everything that was found so far; a demonstration that is cut short leaves the rest as it is here."""

    workers: int
    connections: int
    store: str = ""
    machines: int = 1
    worker_pids: Sequence[int] = ()
    first: Sequence[Line] = ()  # what the first client process said of each full handshake
    rows: list[Row] = field(default_factory=list)
    happened: list[Claim] = field(default_factory=list)  # what was done halfway, and whether it was done
    stdlib: Row | None = None
    stdlib_version: str = ""
    guest: Guest | None = None
    client_reports: list[Line] = field(default_factory=list)  # the last words of each client process
    worker_reports: list[Line] = field(default_factory=list)
    seconds: float = 0.0
    error: str | None = None

    @property
    def life(self) -> Sequence[Line]:
        """The life of the first session, step by step."""
        life: Sequence[Line] = self.first[0]["life"] if self.first else ()
        return life

    @property
    def references_final(self) -> int | None:
        """References to sessions that any process held at its end; None if not all of them reported."""
        reports = [*self.client_reports, *self.worker_reports]
        if len(self.worker_reports) != self.workers or not self.client_reports:
            return None
        if any("references" not in report for report in reports):
            return None
        return sum(int(report["references"]) + len(report["leaks"]) for report in reports)

    @property
    def resumed(self) -> int:
        """The worst of our rows."""
        return min((row.resumed for row in self.rows), default=0)


def claims(found: Findings) -> list[Claim]:
    """What has to hold for the demonstration to have succeeded."""
    n, of = found.workers, found.connections
    where = "one port" if found.machines == 1 else f"the ports of {found.machines} machines"
    enough = of >= _ENOUGH and of >= _ENOUGH_PER_WORKER * n  # else chance alone may leave a worker out
    made = [
        Claim(
            f"{n} worker processes, each with its own context, {'all answered' if enough else 'listened'} on {where}",
            len(set(found.worker_pids)) == n and (_all_answered(found) or not enough),
        ),
        Claim("a client process made full handshakes, saved its sessions, let go of them and ended", _began(found)),
    ]
    for row in found.rows:
        made.append(Claim(f"{row.name}: a second process loaded the file and resumed", row.was_loaded))
        made.append(
            Claim(
                f"{row.name}: {row.resumed} of {of} reconnections resumed, said both ends", row.resumed == row.of == of
            )
        )
        if n > 1 and enough:
            spread = len(row.by_worker) > 1 and row.crossed > 0
            made.append(Claim(f"{row.name}: {row.crossed} of them at another worker than issued the session", spread))
    made += found.happened
    if not found.rows:
        made.append(Claim(f"{of} reconnections resumed", False))
    done = found.stdlib is not None and found.stdlib.of == of
    made.append(Claim(f"the standard library's ssl did the same {of} reconnections", done))
    if found.guest is None:
        made.append(Claim("the openssl program was asked", False))
    elif found.guest.resumed != ABSENT and not found.guest.resumed.startswith(_UNSUPPORTED):
        made.append(Claim("openssl s_client resumed a session that our client saved", found.guest.resumed == RESUMED))
        made.append(Claim("openssl sess_id reads the saved session as we do", found.guest.reads == SAME))
    made.append(
        Claim("in the end nobody holds a reference to any session, in any process", found.references_final == 0)
    )
    made.append(Claim("the session's life ends at 0 references, with its secret wiped", _is_told(found)))
    if found.error is not None:
        made.append(Claim(f"it went through to the end: {found.error}", False))
    return made


def _all_answered(found: Findings) -> bool:
    return {worker for row in found.rows for worker in row.by_worker} == set(range(found.workers))


def _began(found: Findings) -> bool:
    full = [not each["client"] and not each["server"] and each["freed"] for each in found.first]
    return bool(full) and all(full)


def _is_told(found: Findings) -> bool:
    life = found.life
    return bool(life) and life[-1]["references"] == 0 and life[-1]["event"] == "wiped" and found.first[0]["wiped"]


def _median(values: Sequence[float]) -> float | None:
    return round(statistics.median(values), 3) if values else None


# --- for programs --------------------------------------------------------------------------------------------------


def to_json(found: Findings) -> dict[str, Any]:
    """The one object that ``--json`` prints."""
    made = claims(found)
    guest = found.guest
    return {
        "resumed": found.resumed,
        "of": found.connections,
        "stdlib_resumed": found.stdlib.resumed if found.stdlib is not None else None,
        "references_final": found.references_final,
        "openssl": guest.resumed if guest is not None else None,
        "openssl_reads": guest.reads if guest is not None else None,
        "ok": all(claim.held for claim in made),
        "workers": found.workers,
        "machines": found.machines,
        "store": found.store.partition(":")[0],
        "rows": [row.to_json() for row in found.rows],
        "stdlib": found.stdlib.to_json() if found.stdlib is not None else None,
        "claims": [{"claim": claim.text, "held": claim.held} for claim in made],
        "life": list(found.life),
        "versions": {"openssl": guest.version if guest is not None else "", "stdlib": found.stdlib_version},
        "seconds": round(found.seconds, 3),
        "error": found.error,
    }


# --- for people ----------------------------------------------------------------------------------------------------


def show(found: Findings) -> None:
    """The table, the life of a session, and the claims, on standard output."""
    rows = [*found.rows, *([found.stdlib] if found.stdlib is not None else [])]
    columns = ["", "resumed", "elsewhere", "by worker", "ms", "full\nms", "bytes", "full\nbytes"]
    show_table(
        columns,
        [_cells(row) for row in rows] + _guest_cells(found),
        title=f"{found.connections} reconnections to {found.workers} worker processes"
        + (" on one port" if found.machines == 1 else f" of {found.machines} machines"),
        numbers=(1, 2, 4, 5, 6, 7),
    )
    for_people(
        "resumed: by the word of both ends; elsewhere: by another worker than issued the session\n"
        "ms: from the first packet to the end of the handshake, median of all reconnections (and of full handshakes)\n"
        "bytes: of one resumed handshake (and of a full one), both directions\n"
    )
    if found.life:
        show_table(
            ["ms", "what happened", "references", "held by", "where"],
            [_life_cells(step) for step in found.life],
            title="the life of one session, in the first client process",
            numbers=(0, 2),
        )
    facts_table([("held" if claim.held else "FAILED", claim.text) for claim in claims(found)], title="claims")
    for_people(f"\n{found.seconds:.1f} seconds altogether")


def _cells(row: Row) -> list[str]:
    facts = row.to_json()
    return [
        row.name,
        f"{row.resumed}/{row.of}",
        "" if facts["crossed"] is None else str(facts["crossed"]),
        " ".join(str(count) for count in facts["by_worker"]),
        _number(facts["handshake_ms"], 2),
        _number(facts["full_ms"], 2),
        _number(row.resumed_bytes, 0),
        _number(row.full_bytes, 0),
    ]


def _life_cells(step: Line) -> list[str]:
    event = f"{step['event']} by {step['holder']}" if step["holder"] else step["event"]
    holders = ", ".join(f"{holder} ({number})" if number > 1 else holder for holder, number in step["holders"].items())
    return [f"{step['ms']:.2f}", event, str(step["references"]), holders or "nobody", step["place"]]


def _guest_cells(found: Findings) -> list[list[str]]:
    guest = found.guest
    if guest is None:
        return []
    resumed = {RESUMED: "1/1", ABSENT: ABSENT}.get(guest.resumed, "0/1")
    return [["openssl, our session", resumed, "", "", "", "", "", ""]]


def _number(value: float | None, digits: int) -> str:
    return "none" if value is None else f"{value:.{digits}f}"
