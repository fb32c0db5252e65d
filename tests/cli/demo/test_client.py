"""The demonstration's client, against a worker in this process: what it reports is what happened."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from resumption import Session
from resumption.cli.certificates import Certificates
from resumption.cli.demo.client import Client
from resumption.cli.pages import NotAnAnswer
from resumption.cli.worker import Worker, WorkerSettings

KINDS = pytest.mark.parametrize(
    ("stateful", "tls12", "mechanism"),
    [(False, False, "stateless-13"), (True, False, "stateful-13"), (False, True, "ticket-12")],
)


@pytest.fixture
def worker(certificates: Certificates, store_url: str) -> Iterator[Worker]:
    settings = WorkerSettings(
        index=5,
        certificate=str(certificates.chain),
        private_key=str(certificates.key),
        tickets=bytes(range(32)).hex(),
        store=store_url,
    )
    made = Worker(settings)
    made.start()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def client(worker: Worker, certificates: Certificates) -> Client:
    return Client("127.0.0.1", [worker.port], str(certificates.authority), 20.0)


@KINDS
def test_first_and_again(
    worker: Worker,
    client: Client,
    certificates: Certificates,
    tmp_path: Path,
    stateful: bool,
    tls12: bool,
    mechanism: str,
) -> None:
    worker.issue(stateful)
    path = str(tmp_path / "s.pem")
    first = client.first({"tls12": tls12, "save": path})
    assert (first["client"], first["server"], first["worker"]) == (False, False, 5)
    assert (first["freed"], first["wiped"], first["references"]) == (True, True, 0)

    other = Client("127.0.0.1", [worker.port], str(certificates.authority), 20.0)
    again = other.again({"tls12": tls12, "load": path, "connections": 3, "full": 2})
    for each in (again["loaded"], *again["reconnections"]):
        assert (each["client"], each["server"], each["mechanism"], each["worker"]) == (True, True, mechanism, 5)
    assert [each["issuer"] for each in again["reconnections"]] == [5, 5, 5]
    assert len(again["full_ms"]) == 2
    assert all(ms > 0 for ms in again["full_ms"])
    assert again["resumed_bytes"] > 300
    assert again["full_bytes"] > 700


def test_the_life_is_the_ledgers_own(client: Client, tmp_path: Path) -> None:
    life = client.first({"tls12": False, "save": str(tmp_path / "s.pem")})["life"]
    connection = life[0]["holder"]
    assert connection.startswith("connection ")
    cache, application = "cache of client", "application"
    assert [(step["event"], step["holder"], step["references"]) for step in life] == [
        ("made", connection, 1),
        ("taken", cache, 2),
        ("taken", application, 3),
        ("saved in s.pem", "", 3),
        ("given back", connection, 2),
        ("given back", cache, 1),
        ("given back", application, 0),
        ("wiped", "", 0),
    ]
    assert [sum(step["holders"].values()) for step in life] == [step["references"] for step in life]
    assert life[3]["holders"] == {connection: 1, cache: 1, application: 1}
    assert [step["ms"] for step in life] == sorted(step["ms"] for step in life)
    assert all(step["place"].startswith("client.py:") for step in life)


def test_a_full_handshake_is_never_counted_as_a_resumption(worker: Worker, client: Client, tmp_path: Path) -> None:
    path = tmp_path / "s.pem"
    client.first({"tls12": False, "save": str(path)})
    with (
        Session.from_pem(path.read_bytes()) as session,
        Session.create(session.data.replaced(ticket=b"no ticket of anyone"), session.secret) as spoiled,
    ):
        path.write_text(spoiled.to_pem())
    again = client.again({"tls12": False, "load": str(path), "connections": 1, "full": 0})
    assert (again["loaded"]["client"], again["loaded"]["server"]) == (False, False)
    assert again["reconnections"][0]["client"] is True


def test_a_saved_session_is_fresh(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "s.pem"
    told = client.save({"save": str(path)})
    assert told["client"] is False
    with Session.from_pem(path.read_bytes()) as session:
        assert session.is_resumable


def test_a_server_that_gives_no_json_is_refused(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch, worker: Worker, client: Client, tmp_path: Path
) -> None:
    monkeypatch.setattr("resumption.cli.demo.client.parse_answer", lambda answer: (404, b"{}"))
    with pytest.raises(NotAnAnswer, match="404"):
        client.save({"save": str(tmp_path / "s.pem")})


# --- as a process --------------------------------------------------------------------------------------------------


def run(*lines: dict[str, Any]) -> tuple[int, list[dict[str, Any]]]:
    done = subprocess.run(
        [sys.executable, "-m", "resumption.cli.demo.client"],
        input=b"".join(json.dumps(line).encode() + b"\n" for line in lines),
        capture_output=True,
        timeout=60,
    )
    assert done.stderr == b""
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def test_its_life_as_a_process(worker: Worker, certificates: Certificates, tmp_path: Path) -> None:
    settings = {"host": "127.0.0.1", "ports": [worker.port], "authority": str(certificates.authority), "timeout_s": 20}
    deed = {"do": "first", "tls12": False, "save": str(tmp_path / "s.pem")}
    status, (answer, last) = run(settings, deed)
    assert status == 0
    assert answer["freed"] is True
    assert last == {"references": 0, "leaks": []}


def test_what_goes_wrong_is_reported(worker: Worker, certificates: Certificates, tmp_path: Path) -> None:
    settings = {"host": "127.0.0.1", "ports": [worker.port], "authority": str(certificates.authority), "timeout_s": 20}
    status, (line,) = run(settings, {"do": "again", "tls12": False, "load": str(tmp_path / "none")})
    assert status == 1
    assert "No such file" in line["failed"]
    assert run() == (0, [])
