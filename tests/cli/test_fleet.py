"""Worker processes on one port."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from resumption import ClientContext
from resumption.cli.certificates import Certificates
from resumption.cli.fleet import Fleet, SharedPort, numbered
from resumption.cli.pages import make_request, parse_answer
from resumption.cli.processes import ChildFailed, Deadline, Line
from resumption.cli.worker import WorkerSettings
from resumption.errors import ConfigurationError

LIMIT = 60.0


def settings(certificates: Certificates, workers: int, **changes: object) -> list[WorkerSettings]:
    given: dict[str, Any] = {
        "index": 0,
        "certificate": str(certificates.chain),
        "private_key": str(certificates.key),
        "tickets": bytes(range(32)).hex(),
    }
    return numbered(WorkerSettings(**{**given, **changes}), workers)


def visit(client: ClientContext, fleet: Fleet) -> bytes:
    with client.connect((fleet.host, fleet.port), server_name="localhost", timeout=20) as stream:
        stream.sendall(make_request("/x.json", "localhost"))
        return parse_answer(stream.read_all())[1]


def test_workers_are_processes_of_their_own_that_resume_each_others_clients(
    certificates: Certificates, store_url: str
) -> None:
    events: list[Line] = []
    deadline = Deadline(LIMIT)
    with (
        Fleet(settings(certificates, 2, store=store_url), deadline, events.append) as fleet,
        ClientContext(trust=str(certificates.authority)) as client,
    ):
        assert len({*fleet.pids, os.getpid()}) == 3
        assert fleet.is_whole
        for stateful in (False, True):
            fleet.issue(stateful=stateful, deadline=deadline)
            for _ in range(12):
                visit(client, fleet)
        pids = fleet.pids
        reports = fleet.end(deadline)
    assert [report["references"] for report in reports] == [0, 0]
    assert [event["resumed"] for event in events] == [False] + [True] * 23
    assert {event["mechanism"] for event in events[1:]} == {"stateless-13", "stateful-13"}
    assert {event["worker"] for event in events} == {0, 1}  # by chance not so once in four million runs
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_one_worker_needs_no_shared_port(certificates: Certificates) -> None:
    with Fleet(settings(certificates, 1), Deadline(LIMIT)) as fleet, pytest.raises(OSError, match="in use"):
        socket.create_server(("127.0.0.1", fleet.port))


def test_a_port_that_is_taken_is_refused(certificates: Certificates) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            Fleet(settings(certificates, 2, port=port), Deadline(LIMIT))
        with pytest.raises(ChildFailed, match=r"worker 0: .*in use"):
            Fleet(settings(certificates, 1, port=port), Deadline(LIMIT))


def test_workers_that_cannot_start_take_the_others_with_them(certificates: Certificates, tmp_path: Path) -> None:
    good, bad = settings(certificates, 2)
    bad = WorkerSettings(index=1, certificate=str(tmp_path / "none"), private_key=None, tickets=good.tickets)
    with pytest.raises(ChildFailed, match="worker 1"):
        Fleet([good, bad], Deadline(LIMIT))


def test_a_worker_that_dies_is_noticed(certificates: Certificates) -> None:
    with Fleet(settings(certificates, 2), Deadline(LIMIT)) as fleet:
        os.kill(fleet.pids[1], signal.SIGKILL)
        pause, deadline = threading.Event(), Deadline(LIMIT)
        while fleet.is_whole and deadline.left():
            pause.wait(0.01)
        with pytest.raises(ChildFailed, match="worker 1"):
            fleet.issue(stateful=True, deadline=deadline)


def test_a_shared_port_is_kept_without_listening() -> None:
    port = SharedPort("127.0.0.1", 0)
    try:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port.port), timeout=5)
    finally:
        port.close()


def test_where_sockets_cannot_share_a_port_workers_share_a_socket(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    events: list[Line] = []
    deadline = Deadline(LIMIT)
    with (
        Fleet(settings(certificates, 2), deadline, events.append) as fleet,
        ClientContext(trust=str(certificates.authority)) as client,
    ):
        for _ in range(4):
            visit(client, fleet)
        fleet.end(deadline)
    assert [event["resumed"] for event in events] == [False, True, True, True]


def test_where_they_cannot_share_anything_it_is_said(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(ConfigurationError, match="use one worker"):
        Fleet(settings(certificates, 2), Deadline(LIMIT))
