"""What is claimed, and that a claim fails when it should: each of them is spoiled once."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from resumption.cli.demo.openssl import ABSENT, RESUMED, SAME, Guest
from resumption.cli.demo.report import Findings, claims, show, to_json
from tests.cli.demo.findings import good_findings, good_row, reconnection


def failed(found: Findings) -> list[str]:
    return [claim.text for claim in claims(found) if not claim.held]


def test_every_claim_holds_where_all_went_well() -> None:
    assert failed(good_findings()) == []
    assert failed(good_findings(connections=4, workers=1)) == []


def spoil_row(found: Findings, number: int = 7, **changes: Any) -> None:
    reconnections = list(found.rows[0].reconnections)
    reconnections[number] = reconnection(number, found.workers, **changes)
    found.rows[0] = replace(found.rows[0], reconnections=reconnections)


def spoil_first(found: Findings, **changes: Any) -> None:
    found.first = [{**found.first[0], **changes}]


def one_worker_short(found: Findings) -> None:
    found.worker_pids = found.worker_pids[1:]


def one_worker_idle(found: Findings) -> None:
    found.rows = [
        replace(row, reconnections=[{**each, "worker": each["worker"] % 3} for each in row.reconnections])
        for row in found.rows
    ]


def never_elsewhere(found: Findings) -> None:
    found.rows = [
        replace(row, reconnections=[{**each, "issuer": each["worker"]} for each in row.reconnections])
        for row in found.rows
    ]


def not_loaded(found: Findings) -> None:
    found.rows = [replace(found.rows[0], loaded={**reconnection(0, 4), "server": False})]


def one_connection_short(found: Findings) -> None:
    found.rows = [good_row(39)]


def no_stdlib(found: Findings) -> None:
    found.stdlib = None


def short_stdlib(found: Findings) -> None:
    assert found.stdlib is not None
    found.stdlib = replace(found.stdlib, reconnections=found.stdlib.reconnections[1:])


def no_guest(found: Findings) -> None:
    found.guest = None


def guest_refused(found: Findings) -> None:
    found.guest = Guest("OpenSSL 3.0", "not resumed: it says 'New'", SAME)


def guest_misreads(found: Findings) -> None:
    found.guest = Guest("OpenSSL 3.0", RESUMED, "different: Timeout")


def reference_left(found: Findings) -> None:
    found.worker_reports[2] = {"references": 1, "leaks": []}


def session_leaked(found: Findings) -> None:
    found.client_reports[0] = {"references": 0, "leaks": ["a session was collected"]}


def worker_silent(found: Findings) -> None:
    found.worker_reports.pop()


def client_died(found: Findings) -> None:
    found.client_reports[1] = {}


def cut_short(found: Findings) -> None:
    found.error = "DeadlinePassed: too late"


def not_wiped(found: Findings) -> None:
    life = found.first[0]["life"][:-1]
    spoil_first(found, life=life)


def no_rows(found: Findings) -> None:
    found.rows = []


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (one_worker_short, "4 worker processes"),
        (one_worker_idle, "4 worker processes"),
        (never_elsewhere, "0 of them at another worker"),
        (not_loaded, "a second process loaded the file"),
        (one_connection_short, "39 of 40 reconnections"),
        (lambda found: spoil_row(found, client=False), "39 of 40 reconnections"),
        (lambda found: spoil_row(found, server=False), "39 of 40 reconnections"),
        (lambda found: spoil_row(found, mechanism="stateful-13"), "39 of 40 reconnections"),
        (no_stdlib, "the standard library's ssl"),
        (short_stdlib, "the standard library's ssl"),
        (no_guest, "the openssl program was asked"),
        (guest_refused, "openssl s_client resumed"),
        (guest_misreads, "openssl sess_id reads"),
        (reference_left, "nobody holds a reference"),
        (session_leaked, "nobody holds a reference"),
        (worker_silent, "nobody holds a reference"),
        (client_died, "nobody holds a reference"),
        (lambda found: spoil_first(found, client=True), "a client process made full handshakes"),
        (lambda found: spoil_first(found, freed=False), "a client process made full handshakes"),
        (lambda found: spoil_first(found, wiped=False), "the session's life ends"),
        (not_wiped, "the session's life ends"),
        (cut_short, "it went through to the end: DeadlinePassed: too late"),
        (no_rows, "40 reconnections resumed"),
    ],
)
def test_a_claim_that_does_not_hold_is_said_not_to(spoil: Callable[[Findings], None], words: str) -> None:
    found = good_findings()
    spoil(found)
    missed = failed(found)
    assert any(words in text for text in missed), missed
    assert to_json(found)["ok"] is False


def test_nothing_found_is_nothing_held() -> None:
    found = Findings(4, 40)
    assert not any(claim.held for claim in claims(found))
    told = to_json(found)
    assert (told["resumed"], told["references_final"], told["openssl"], told["stdlib_resumed"]) == (0, None, None, None)
    json.dumps(told)


@pytest.mark.parametrize("word", [ABSENT, "unsupported: LibreSSL 3.8"])
def test_openssl_may_be_missing(word: str) -> None:
    found = good_findings()
    found.guest = Guest("", word, word)
    assert failed(found) == []
    assert to_json(found)["openssl"] == word


def test_few_connections_say_nothing_about_how_they_are_spread() -> None:
    found = good_findings(connections=19)
    one_worker_idle(found)
    never_elsewhere(found)
    assert failed(found) == []


def test_the_object_has_what_programs_look_for() -> None:
    told = to_json(good_findings())
    assert (told["resumed"], told["of"], told["stdlib_resumed"]) == (40, 40, 10)
    assert (told["references_final"], told["openssl"], told["ok"]) == (0, "resumed", True)
    (row,) = told["rows"]
    assert row == {
        "name": "TLS 1.3 tickets",
        "resumed": 40,
        "of": 40,
        "declined": {},
        "crossed": 40,
        "by_worker": [10, 10, 10, 10],
        "handshake_ms": 21.5,
        "resumed_ms": 21.5,
        "full_ms": 10.0,
        "resumed_bytes": 700,
        "full_bytes": 1500,
    }
    assert told["stdlib"]["crossed"] is None
    assert told["store"] == "sqlite"  # and not where it is, or with what password


def test_resumed_is_the_worst_row() -> None:
    found = good_findings()
    found.rows.append(good_row(reconnections=[reconnection(n, 4, client=n != 3) for n in range(40)]))
    assert to_json(found)["resumed"] == 39


def test_the_report_for_people_tells_all_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    found = good_findings()
    spoil_row(found, server=False)
    found.seconds = 4.25
    show(found)
    printed = capsys.readouterr().out
    for words in (
        "40 reconnections to 4 worker processes on one port",
        "39/40",
        "10/40",
        "1/1",
        "10 10 10 10",
        "none",
        "the life of one session",
        "made by connection 1",
        "nobody",
        "wiped",
        "FAILED",
        "held",
        "4.2 seconds altogether",
    ):
        assert words in printed


def test_the_report_survives_having_nothing_to_tell(capsys: pytest.CaptureFixture[str]) -> None:
    show(Findings(4, 40))
    assert "FAILED" in capsys.readouterr().out
