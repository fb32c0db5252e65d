"""Findings of a demonstration that went well, to be spoiled by the tests."""

from __future__ import annotations

from typing import Any

from resumption.cli.demo.openssl import RESUMED, SAME, Guest
from resumption.cli.demo.report import Findings, Row


def reconnection(number: int, workers: int, **changes: Any) -> dict[str, Any]:
    worker = number % workers
    good = {
        "worker": worker,
        "issuer": (worker - 1) % workers,
        "client": True,
        "server": True,
        "mechanism": "stateless-13",
        "ms": 2.0 + number,
    }
    return {**good, **changes}


def good_row(connections: int = 40, workers: int = 4, **changes: Any) -> Row:
    made: dict[str, Any] = {
        "name": "TLS 1.3 tickets",
        "mechanism": "stateless-13",
        "reconnections": [reconnection(number, workers) for number in range(connections)],
        "full_ms": [9.0, 11.0],
        "full_bytes": 1500,
        "resumed_bytes": 700,
        "loaded": reconnection(0, workers),
    }
    return Row(**{**made, **changes})


def good_findings(connections: int = 40, workers: int = 4) -> Findings:
    life = [
        {
            "ms": 0.0,
            "event": "made",
            "holder": "connection 1",
            "references": 1,
            "holders": {"connection 1": 1},
            "place": "a.py:1",
        },
        {"ms": 1.0, "event": "given back", "holder": "connection 1", "references": 0, "holders": {}, "place": "a.py:2"},
        {"ms": 1.0, "event": "wiped", "holder": "", "references": 0, "holders": {}, "place": "a.py:2"},
    ]
    stdlib = [
        {"worker": number % workers, "client": not number % 4, "server": not number % 4, "ms": 3.0}
        for number in range(connections)
    ]
    return Findings(
        workers,
        connections,
        store="sqlite:///a/b",
        worker_pids=list(range(100, 100 + workers)),
        first=[{"client": False, "server": False, "freed": True, "wiped": True, "references": 0, "life": life}],
        rows=[good_row(connections, workers)],
        stdlib=Row("the standard library's ssl", "", stdlib, [9.0], 1500, None),
        guest=Guest("OpenSSL 3.0", RESUMED, SAME),
        client_reports=[{"references": 0, "leaks": []}] * 2,
        worker_reports=[{"references": 0, "leaks": []}] * workers,
    )
