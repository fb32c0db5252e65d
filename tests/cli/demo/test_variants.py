"""The demonstration in other places and with something happening halfway: the same rate of resumption everywhere."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from resumption.cli.demo import scenario
from resumption.cli.demo.plan import Choice, Plan, kinds_for
from resumption.cli.demo.report import Findings, claims
from resumption.cli.output import Status
from resumption.errors import ConfigurationError
from resumption.session.verdicts import Mechanism
from tests.cli.commands import invoke
from tests.store_servers import memcached_server, redis_server

EVERY = tuple(Choice)
CONNECTIONS = 8


def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Findings:
    """The story, without the part about the standard library and the guest, which do not depend on the options."""
    monkeypatch.setattr(scenario._Story, "_standard_library", lambda *_: None)
    monkeypatch.setattr(scenario.openssl, "invite", lambda *_: scenario.openssl.Guest("", "absent", "absent"))
    store, machines = options.get("store"), options.get("machines", 1)
    options["kinds"] = kinds_for(options.pop("choices", ()), store=store, machines=machines)
    plan = Plan(**{"folder": tmp_path, "workers": 2, "connections": CONNECTIONS, **options})
    found = scenario.run(plan, lambda news: None)
    failed = [claim.text for claim in claims(found) if not claim.held and "standard library" not in claim.text]
    assert failed == []
    assert [row.resumed for row in found.rows] == [CONNECTIONS] * len(plan.kinds)
    assert found.references_final == 0
    return found


@pytest.mark.parametrize("server", [redis_server, memcached_server], ids=["redis", "memcached"])
def test_all_ways_resume_through_a_store_that_is_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Callable[[], AbstractContextManager[Any]]
) -> None:
    with server() as running:
        found = told(tmp_path, monkeypatch, store=running.url, choices=EVERY)
    assert [row.mechanism for row in found.rows] == [
        Mechanism.STATELESS_13.value,
        Mechanism.STATEFUL_13.value,
        Mechanism.TICKET_12.value,
        Mechanism.SESSION_ID.value,
    ]


@pytest.mark.skipif(sys.platform == "win32" or not hasattr(signal, "SIGKILL"), reason="nobody can be killed outright")
def test_they_resume_while_workers_are_killed_and_keys_rotated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = told(tmp_path, monkeypatch, choices=(Choice.TICKETS, Choice.IDS_12), kill=True, rotate=True)
    assert [claim.held for claim in found.happened] == [True] * 4
    assert "2 workers were killed" in found.happened[1].text


def test_two_machines_whose_clocks_differ_resume_each_others_clients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = told(tmp_path, monkeypatch, store="memory:", machines=2, skew_s=30.0, workers=1)
    assert [row.mechanism for row in found.rows] == [Mechanism.STATELESS_13.value, Mechanism.TICKET_12.value]
    assert [row.by_worker for row in found.rows] == [{0: CONNECTIONS // 2, 1: CONNECTIONS // 2}] * 2
    assert all(row.crossed for row in found.rows)
    assert sorted(folder.name for folder in tmp_path.glob("machine-*")) == ["machine-1", "machine-2"]


def test_what_cannot_be_shared_is_not_asked_for() -> None:
    stateful = {Choice.STATEFUL, Choice.IDS_12}
    assert {kind.label for kind in kinds_for((), store="memory:", machines=1)} == {"tickets", "tickets-12"}
    assert {kind.label for kind in kinds_for((), store=None, machines=2)} == {"tickets", "tickets-12"}
    assert len(kinds_for(EVERY, store="redis://x", machines=2)) == 4
    for choice in stateful:
        with pytest.raises(ConfigurationError, match="several processes"):
            kinds_for([choice], store="memory:", machines=1)
        with pytest.raises(ConfigurationError, match="several machines"):
            kinds_for([choice], store="sqlite:///x", machines=2)


@pytest.mark.parametrize(
    "options",
    [
        ["--store", "memory:", "--mechanism", "1.3-stateful"],
        ["--machines", "2", "--mechanism", "1.2-ids"],
        ["--machines", "3", "--skew", "31"],
        ["--mechanism", "1.1"],
    ],
)
def test_what_makes_no_sense_is_wrong_usage(options: list[str]) -> None:
    assert invoke("demo", *options).exit_code == Status.USAGE
