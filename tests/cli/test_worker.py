"""One worker: what it serves, what it says of it, and what it leaves behind."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from resumption import ClientContext
from resumption.cli import worker as worker_module
from resumption.cli.certificates import Certificates
from resumption.cli.pages import make_request, parse_answer
from resumption.cli.sources import ticket_keys
from resumption.cli.worker import Worker, WorkerSettings
from resumption.constants import ProtocolVersion
from resumption.errors import AlertReceived, ConfigurationError
from resumption.streams.blocking import Stream

SECRET = bytes(range(32)).hex()


def settings(certificates: Certificates, **changes: Any) -> WorkerSettings:
    given: dict[str, Any] = {
        "index": 3,
        "certificate": str(certificates.chain),
        "private_key": str(certificates.key),
        "tickets": SECRET,
    }
    return WorkerSettings(**{**given, **changes})


@contextlib.contextmanager
def working(certificates: Certificates, **changes: Any) -> Iterator[Worker]:
    worker = Worker(settings(certificates, **changes))
    worker.start()
    try:
        yield worker
    finally:
        worker.close()


def connect(client: ClientContext, worker: Worker, **how: Any) -> Stream:
    return client.connect(("127.0.0.1", worker.port), server_name="localhost", timeout=20, **how)


def page(stream: Stream, path: str = "/x.json") -> dict[str, Any]:
    with stream:
        stream.sendall(make_request(path, "localhost"))
        told: dict[str, Any] = json.loads(parse_answer(stream.read_all())[1])
        return told


def test_it_tells_the_client_what_it_saw(certificates: Certificates, capsys: pytest.CaptureFixture[str]) -> None:
    with (
        working(certificates, alpn=("a", "b")) as worker,
        ClientContext(trust=str(certificates.authority), alpn=["b"]) as client,
    ):
        first, second = page(connect(client, worker)), page(connect(client, worker))
    assert (first["worker"], first["version"], first["alpn"], first["server_name"]) == (3, "TLSv1.3", "b", "localhost")
    assert (first["resumed"], first["reason"], first["mechanism"]) == (False, "not-offered", None)
    assert (second["resumed"], second["reason"], second["mechanism"]) == (True, None, "stateless-13")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["event"], line["resumed"]) for line in lines] == [("connection", False), ("connection", True)]
    assert lines[0]["peer"].startswith("127.0.0.1:")


def test_the_page_for_people_begins_with_the_verdict(certificates: Certificates) -> None:
    with (
        working(certificates) as worker,
        ClientContext(trust=str(certificates.authority)) as client,
        connect(client, worker) as stream,
    ):
        stream.sendall(make_request("/", "localhost"))
        status, body = parse_answer(stream.read_all())
    assert status == 200
    assert body.startswith(b"full handshake: the client offered no session\n")
    assert b"\nworker: 3\n" in body


def test_what_is_issued_can_be_changed_and_both_kinds_are_accepted(certificates: Certificates, store_url: str) -> None:
    with (
        working(certificates, store=store_url) as worker,
        ClientContext(trust=str(certificates.authority)) as client,
    ):
        page(connect(client, worker))
        worker.issue(stateful=True)
        assert page(connect(client, worker))["mechanism"] == "stateless-13"
        worker.issue(stateful=False)
        assert page(connect(client, worker))["mechanism"] == "stateful-13"
        assert page(connect(client, worker))["mechanism"] == "stateless-13"


def test_an_echo_server_says_what_it_hears(certificates: Certificates) -> None:
    with (
        working(certificates, echo=True) as worker,
        ClientContext(trust=str(certificates.authority)) as client,
        connect(client, worker) as stream,
    ):
        stream.sendall(b"x" * 100_000)
        assert stream.read_exactly(100_000) == b"x" * 100_000
        stream.close_write()
        assert stream.read_all() == b""


def test_versions_can_be_limited(certificates: Certificates) -> None:
    with (
        working(certificates, maximum_version=int(ProtocolVersion.TLSv1_2)) as worker,
        ClientContext(trust=str(certificates.authority)) as client,
    ):
        assert page(connect(client, worker))["version"] == "TLSv1.2"


def test_a_client_without_certificate_is_turned_away(
    certificates: Certificates, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        working(certificates, client_ca=str(certificates.authority)) as worker,
        ClientContext(trust=str(certificates.authority), maximum_version=ProtocolVersion.TLSv1_2) as client,
        pytest.raises(AlertReceived),
    ):
        connect(client, worker)
    (line,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (line["event"], line["worker"]) == ("trouble", 3)
    assert line["error"].startswith("CertificateRequired") or "certificate" in line["error"]


def test_what_is_no_tls_is_reported_and_answered(
    certificates: Certificates, capsys: pytest.CaptureFixture[str]
) -> None:
    with working(certificates) as worker, socket.create_connection(("127.0.0.1", worker.port)) as sock:
        sock.sendall(b"no TLS at all\r\n\r\n")
        assert sock.recv(100)[0] == 21  # an alert
    (line,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert line["event"] == "trouble"
    assert "TLS" in line["error"]


def test_a_client_that_sends_no_request_gets_no_page(certificates: Certificates) -> None:
    with (
        working(certificates) as worker,
        ClientContext(trust=str(certificates.authority)) as client,
        connect(client, worker) as stream,
    ):
        stream.sendall(b"POST / HTTP/1.0\r\n\r\n")
        assert stream.read_all() == b""


def test_an_ipv6_address_is_shown_as_in_urls() -> None:
    assert worker_module._shown(("::1", 80, 0, 0)) == "[::1]:80"
    assert worker_module._shown(("127.0.0.1", 80)) == "127.0.0.1:80"
    assert worker_module._shown("") == ""


def test_a_secret_may_be_given_in_three_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret"
    path.touch(0o600)
    path.write_text(SECRET)
    monkeypatch.setenv("THE_SECRET", SECRET)
    names = []
    for given in (SECRET, f"file:{path}", "env:THE_SECRET"):
        keys = ticket_keys(given)
        names.append(keys.ring.issuing_key(1_800_000_000.0))
        keys.close()
    assert None not in names
    assert len({key.name for key in names if key is not None}) == 1


@pytest.mark.parametrize("given", ["short", "file:/nowhere", "env:RESUMPTION_NO_SUCH_VARIABLE", ""])
def test_a_secret_that_cannot_be_used_is_refused(given: str) -> None:
    with pytest.raises(ConfigurationError):
        ticket_keys(given)


# --- as a process --------------------------------------------------------------------------------------------------


def run(lines: bytes) -> tuple[int, list[dict[str, Any]]]:
    done = subprocess.run([sys.executable, "-m", "resumption.cli.worker"], input=lines, capture_output=True, timeout=60)
    assert done.stderr == b""
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def as_line(**given: Any) -> bytes:
    return json.dumps(given).encode() + b"\n"


def test_its_life_as_a_process(certificates: Certificates) -> None:
    first = as_line(
        index=0,
        certificate=str(certificates.chain),
        private_key=str(certificates.key),
        tickets=SECRET,
        alpn=["h2"],
    )
    status, (ready, issuing, ended) = run(first + as_line(stateful=True))
    assert status == 0
    assert ready["event"] == "ready"
    assert 0 < ready["port"] < 65536
    assert issuing == {"event": "issuing", "stateful": True}
    assert ended == {"event": "ended", "references": 0, "leaks": []}


def test_a_worker_that_cannot_start_says_why(certificates: Certificates) -> None:
    status, (line,) = run(as_line(index=0, certificate="/nowhere.pem", private_key=None, tickets=SECRET))
    assert status == 1
    assert "/nowhere.pem" in line["failed"]


def test_without_settings_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    assert worker_module._run(iter(())) == 0
