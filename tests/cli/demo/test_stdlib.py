"""The standard library's side of the comparison: two workers and the client, as the processes that they are."""

from __future__ import annotations

import ast
import itertools
from pathlib import Path

import pytest

from resumption.cli.certificates import Certificates
from resumption.cli.demo import scenario, stdlib
from resumption.cli.fleet import Fleet, numbered
from resumption.cli.processes import Child, ChildFailed, Deadline
from resumption.cli.worker import WorkerSettings

LIMIT = 60.0


def compare(certificates: Certificates, workers: int, connections: int) -> dict[str, object]:
    settings = WorkerSettings(
        index=0, certificate=str(certificates.chain), private_key=str(certificates.key), tickets=""
    )
    deadline = Deadline(LIMIT)
    with Fleet(numbered(settings, workers), deadline, program=scenario._STDLIB) as fleet:
        child = Child("client", scenario._STDLIB)
        try:
            return child.ask(
                {
                    "role": "client",
                    "host": fleet.host,
                    "port": fleet.port,
                    "authority": str(certificates.authority),
                    "timeout_s": 20,
                    "connections": connections,
                    "full": 2,
                },
                deadline,
            )
        finally:
            child.stop()


def test_one_worker_resumes_everything(certificates: Certificates) -> None:
    answer = compare(certificates, 1, 5)
    reconnections = answer["reconnections"]
    assert isinstance(reconnections, list)
    assert [(each["client"], each["server"], each["worker"]) for each in reconnections] == [(True, True, 0)] * 5
    full, resumed = answer["full_bytes"], answer["resumed_bytes"]
    assert isinstance(full, int)
    assert isinstance(resumed, int)
    assert resumed < full
    assert str(answer["version"]).startswith(("OpenSSL", "LibreSSL", "BoringSSL", "AWS-LC"))


def test_two_workers_do_not_resume_each_others_clients(certificates: Certificates) -> None:
    answer = compare(certificates, 2, 20)
    reconnections = answer["reconnections"]
    assert isinstance(reconnections, list)
    workers = [each["worker"] for each in reconnections]
    assert set(workers) == {0, 1}  # by chance not so once in half a million runs
    for before, after in itertools.pairwise(reconnections):
        assert after["client"] is after["server"] is (before["worker"] == after["worker"])


def test_a_server_that_is_not_there_is_reported(certificates: Certificates) -> None:
    child = Child("client", scenario._STDLIB)
    try:
        child.send({"role": "client", "host": "127.0.0.1", "port": 1, "authority": "/nowhere", "timeout_s": 1})
        with pytest.raises(ChildFailed, match="FileNotFoundError"):
            child.receive(Deadline(LIMIT))
    finally:
        child.stop()


def test_it_imports_nothing_of_ours() -> None:
    tree = ast.parse(Path(stdlib.__file__).read_text())
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "." for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert "ssl" in names
    assert not [name for name in names if name.startswith(("resumption", "."))]
