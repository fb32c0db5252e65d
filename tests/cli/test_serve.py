"""``resumption serve``: what it prints, what its workers share, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from resumption.cli.certificates import Certificates
from resumption.cli.output import Status
from tests.cli.commands import TIME_LIMIT, command, invoke, served


def test_workers_resume_each_others_clients_and_it_says_so(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.touch(0o600)
    secret.write_bytes(os.urandom(32))
    with served(
        "--workers", 2, "--tickets", f"file:{secret}", "--store", f"sqlite://{tmp_path}/s.db", "--stateful"
    ) as server:
        assert len(set(server.worker_pids)) == 2
        done = invoke(
            "connect", server.target, "--ca", server.authority, "--get", "--reconnect", 11, "--expect-resumed", "--json"
        )
        assert done.exit_code == 0
        lines = [server.line() for _ in range(12)]
    assert [line["event"] for line in lines] == ["connection"] * 12
    assert [line["resumed"] for line in lines] == [False] + [True] * 11
    assert {line["mechanism"] for line in lines[1:]} == {"stateful-13"}


def test_it_ends_in_order_when_told_to() -> None:
    with served() as server:
        folder = server.authority.parent
        assert folder.is_dir()
        server.process.send_signal(signal.SIGTERM)
        _, errors = server.process.communicate(timeout=TIME_LIMIT)
        assert (server.process.returncode, errors) == (0, b"")
    assert not folder.exists()
    for pid in server.worker_pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_dead_worker_ends_it_with_a_complaint() -> None:
    with served("--workers", 2) as server:
        os.kill(server.worker_pids[0], signal.SIGKILL)
        _, errors = server.process.communicate(timeout=TIME_LIMIT)
        assert server.process.returncode == Status.FAILED
        assert b"a worker process ended unexpectedly" in errors
    with pytest.raises(ProcessLookupError):
        os.kill(server.worker_pids[1], 0)


def test_for_people_it_prints_lines(certificates: Certificates) -> None:
    arguments = ("serve", "--cert", certificates.chain, "--key", certificates.key, "--tls1_2", "--alpn", "h2")
    with subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            first = process.stdout.readline().decode()
            assert first.startswith("listening on 127.0.0.1:")
            assert first.endswith(" with 1 worker\n")
            target = "localhost:" + first.split(":")[1].split()[0]
            assert invoke("connect", target, "--ca", certificates.authority, "--json", "--tls1_2").exit_code == 0
            assert process.stdout.readline().endswith(b": TLSv1.2, full handshake: the client offered no session\n")
            assert invoke("connect", target, "--json").exit_code == Status.FAILED
        finally:
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=TIME_LIMIT)
    assert process.returncode == 0
    assert b"worker 0, 127.0.0.1:" in errors
    assert b"unknown_ca" in errors


def test_an_echo_server() -> None:
    with served("--echo") as server:
        done = invoke("connect", server.target, "--ca", server.authority, "--quiet", stdin="hello there")
    assert (done.exit_code, done.stdout) == (0, "hello there")


def test_a_client_certificate_can_be_required(certificates: Certificates) -> None:
    with served("--client-ca", certificates.authority, "--tls1_2") as server:
        done = invoke("connect", server.target, "--ca", server.authority, "--json")
    assert done.exit_code == Status.FAILED
    assert json.loads(done.stdout)["error"]["kind"] == "AlertReceived"


def test_a_secret_on_the_command_line_is_warned_of() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = invoke("serve", "--tickets", bytes(range(32)).hex(), "--port", port)
    assert done.exit_code == Status.FAILED
    assert "lists of processes" in done.stderr
    assert "in use" in done.stderr
    assert bytes(range(32)).hex() not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--tls1_2", "--tls1_3"], Status.USAGE),
        (["--workers", "0"], Status.USAGE),
        (["--port", "70000"], Status.USAGE),
        (["--cert", "/nowhere.pem"], Status.FAILED),
        (["--tickets", "short"], Status.FAILED),
        (["--store", "nonsense:"], Status.FAILED),
    ],
)
def test_what_cannot_be_served_is_refused(arguments: list[str], status: int) -> None:
    done = invoke("serve", *arguments)
    assert (done.exit_code, done.stdout) == (status, "")
    assert done.stderr
