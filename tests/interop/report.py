"""The whole matrix as a program: `python3 dev.py matrix`. Plays the cases and prints how they went, as a table or JSON.

A case that fails is played again, up to twice. If it passes then it is *unsteady*: the table counts it, and its first
story is told in full. Few of them are forgiven, since other stacks and the machine have their moods; none is hidden.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from tests.interop.cases import PEERS, Case, cases, sample
from tests.interop.matrix import CaseFailed, Matrix, Story
from tests.pki import Pki

TRIES = 3  # how often a case is played before it has failed
MOST_UNSTEADY = 3  # cases of one run that may fail and then pass


@dataclass(frozen=True, slots=True)
class Trouble:
    """A case that did not go as it should: the story of each time that it failed."""

    case: Case
    stories: list[Story]

    @property
    def is_unsteady(self) -> bool:
        """Whether it passed in the end."""
        return len(self.stories) < TRIES

    def as_json(self) -> dict[str, Any]:
        """All that is known, output in full."""
        return {
            "case": str(self.case),
            "stories": [
                {
                    "visit": story.visit,
                    "check": story.check,
                    "client status": story.status,
                    "our server": story.connections,
                    "output": story.output,
                }
                for story in self.stories
            ],
        }


def play(matrix: Matrix, chosen: list[Case]) -> list[Trouble]:
    """Play the cases one after the other, with progress on stderr."""
    troubles = []
    started = told = time.monotonic()
    for number, case in enumerate(chosen, 1):
        stories = _stories(matrix, case)
        if stories:
            troubles.append(Trouble(case, stories))
            word = "UNSTEADY" if troubles[-1].is_unsteady else "FAILED"
            print(f"{word} {case}: {stories[0].told(0)}", file=sys.stderr, flush=True)
        if time.monotonic() - told > 5 or number == len(chosen):
            told = time.monotonic()
            print(f"{number} of {len(chosen)} cases, {told - started:.0f} s", file=sys.stderr, flush=True)
    return troubles


def _stories(matrix: Matrix, case: Case) -> list[Story]:
    """How the case failed, each time until it passed; none if it passed at once."""
    stories: list[Story] = []
    while len(stories) < TRIES:
        try:
            matrix.run(case)
        except CaseFailed as failure:
            stories.append(failure.story)
            matrix.forget(case)
        else:
            break
    return stories


@dataclass
class Row:
    """Cases of one peer, role, version and scenario: how many different values they cover, and how they went."""

    suites: set[int] = field(default_factory=set)
    groups: set[int] = field(default_factory=set)
    certificates: set[str] = field(default_factory=set)
    cases: int = 0
    passed: int = 0
    unsteady: int = 0


def table(chosen: list[Case], troubles: list[Trouble]) -> list[dict[str, object]]:
    """What was played and how it went, a row for each peer, role, version and scenario. Unsteady cases passed, too."""
    failed = {trouble.case for trouble in troubles if not trouble.is_unsteady}
    unsteady = {trouble.case for trouble in troubles if trouble.is_unsteady}
    rows: dict[tuple[str, str, int, str], Row] = {}
    for case in chosen:
        row = rows.setdefault((case.peer, case.role, case.version, case.scenario), Row())
        row.suites.add(case.suite)
        row.groups.add(case.group)
        row.certificates.add(case.certificate)
        row.cases += 1
        row.passed += case not in failed
        row.unsteady += case in unsteady
    return [
        {
            "peer": peer,
            "we are": role,
            "version": f"TLS 1.{version - 0x0301}",
            "scenario": scenario,
            "suites": len(row.suites),
            "groups": len(row.groups),
            "certificates": len(row.certificates),
            "cases": row.cases,
            "passed": row.passed,
            "unsteady": row.unsteady,
        }
        for (peer, role, version, scenario), row in rows.items()
    ]


def exit_status(troubles: list[Trouble]) -> int:
    """1 if a case failed every time, or if more were unsteady than chance explains."""
    unsteady = sum(trouble.is_unsteady for trouble in troubles)
    return 1 if unsteady < len(troubles) or unsteady > MOST_UNSTEADY else 0


def main(arguments: list[str]) -> int:
    """Play the matrix and print its table."""
    options = argparse.ArgumentParser(prog="dev.py matrix", description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--json", action="store_true", help="print one JSON document instead of a table")
    options.add_argument("--peer", choices=PEERS, action="append", help="only this peer (may be given again)")
    options.add_argument("--sample", action="store_true", help="only the sample that the test suite plays")
    options.add_argument("--scenario", help="only this scenario")
    options.add_argument("--part", default="1/1", metavar="K/N", help="only every N-th case, from the K-th on")
    wanted = options.parse_args(arguments)
    part, parts = map(int, wanted.part.split("/"))
    chosen = [
        case
        for case in cases()
        if (wanted.peer is None or case.peer in wanted.peer) and wanted.scenario in (None, case.scenario)
    ]
    chosen = (sample(chosen) if wanted.sample else chosen)[part - 1 :: parts]
    with Matrix(Pki()) as matrix:
        troubles = play(matrix, chosen)
    rows = table(chosen, troubles)
    failed = [trouble for trouble in troubles if not trouble.is_unsteady]
    unsteady = [trouble for trouble in troubles if trouble.is_unsteady]
    if wanted.json:
        document = {
            "cases": len(chosen),
            "failed": [trouble.as_json() for trouble in failed],
            "unsteady": [trouble.as_json() for trouble in unsteady],
            "table": rows,
        }
        print(json.dumps(document, indent=1))
    else:
        widths = {name: max(len(name), *(len(str(row[name])) for row in rows)) for name in rows[0]} if rows else {}
        print("  ".join(name.ljust(width) for name, width in widths.items()))
        for row in rows:
            print("  ".join(str(row[name]).ljust(width) for name, width in widths.items()))
        for trouble in troubles:
            word = "unsteady, passed when played again" if trouble.is_unsteady else f"failed {TRIES} times"
            print(f"\n{trouble.case}: {word}\n{trouble.stories[0].told()}\n")
        print(f"{len(chosen) - len(failed)} of {len(chosen)} cases went well, {len(unsteady)} of them not at once")
    return exit_status(troubles)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
