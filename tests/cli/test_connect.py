"""``resumption connect`` against a server of two workers: verdicts, files, exit statuses."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from resumption import Session
from resumption.cli.certificates import Certificates
from resumption.cli.connect import parse_address
from resumption.cli.output import Status
from tests.cli.commands import Served, Shown, invoke, run


def connect(server: Served, *arguments: object, stdin: str = "") -> Shown:
    return invoke("connect", server.target, "--ca", server.authority, *arguments, stdin=stdin)


def as_json(server: Served, *arguments: object) -> tuple[int, dict[str, Any]]:
    done = connect(server, "--json", *arguments)
    told: dict[str, Any] = json.loads(done.stdout)
    return done.exit_code, told


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("example.test", ("example.test", 443)),
        ("example.test:8443", ("example.test", 8443)),
        ("127.0.0.1:1", ("127.0.0.1", 1)),
        ("::1", ("::1", 443)),
        ("[::1]", ("::1", 443)),
        ("[::1]:4433", ("::1", 4433)),
    ],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text", ["", ":443", "a:", "a:x", "a:0", "a:65536", "[::1", "[::1]443", "[::1]:", "[]:1", "a:٣"]
)
def test_bad_addresses_are_wrong_usage(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_address(text)
    assert invoke("connect", text).exit_code == Status.USAGE


def test_a_full_handshake_in_words(server: Served) -> None:
    done = connect(server, "--get", "--alpn", "other")
    assert done.exit_code == 0
    for words in (
        "TLSv1.3",
        "TLS_AES_128_GCM_SHA256",
        "other",
        "CN=localhost",
        "full handshake: no session for localhost yet",
        "references 3 (connection ",
        "cache of this command: 1, application: 1",
        "full handshake: the client offered no session\n",  # the server's page
    ):
        assert words in done.stdout
    assert done.stderr == ""


def test_reconnections_resume_by_themselves(server: Served) -> None:
    done = connect(server, "--get", "--reconnect", 3, "--expect-resumed", "--path", "/x")
    assert done.exit_code == 0
    lines = [line for line in done.stdout.splitlines() if line.startswith("again ")]
    assert [line.split(":")[0] for line in lines] == ["again 1", "again 2", "again 3"]
    assert all("resumed (TLS 1.3 ticket, " in line and line.endswith(" ms") for line in lines)


@pytest.mark.parametrize("version", ["--tls1_2", "--tls1_3"])
def test_a_saved_session_resumes_in_another_process(server: Served, version: str, tmp_path: Path) -> None:
    path = tmp_path / "session.pem"
    path.touch(0o644)
    done = connect(server, version, "--sess-out", path, "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["saved"] == str(path)
    assert "contains the session's secret" in done.stderr
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = run(
        "connect", server.target, "--ca", server.authority, version, "--sess-in", path, "--expect-resumed", "--json"
    )
    assert (again.returncode, again.stderr) == (0, b"")
    (connection,) = json.loads(again.stdout)["connections"]
    assert (connection["resumed"], connection["reason"]) == (True, None)


def test_a_file_that_cannot_be_written_is_a_failure_that_is_told(server: Served, tmp_path: Path) -> None:
    status, told = as_json(server, "--sess-out", tmp_path / "no" / "such" / "folder")
    assert status == Status.FAILED
    assert told["connections"][0]["resumed"] is False
    assert (told["saved"], told["error"]["kind"]) == (None, "FileNotFoundError")


def test_nothing_is_saved_or_said_to_be_where_there_was_no_handshake(tmp_path: Path) -> None:
    path = tmp_path / "s.pem"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    done = invoke("connect", f"127.0.0.1:{port}", "--sess-out", path, "--json")
    assert (done.exit_code, json.loads(done.stdout)["saved"]) == (Status.FAILED, None)
    assert not path.exists()


@pytest.mark.parametrize("form", ["der", "packed"])
def test_every_form_of_session_file_is_offered(server: Served, form: str, tmp_path: Path) -> None:
    saved, other = tmp_path / "a", tmp_path / "b"
    assert connect(server, "--sess-out", saved, "--json").exit_code == 0
    assert invoke("session", "convert", saved, "--to", form, "--out", other).exit_code == 0
    status, told = as_json(server, "--sess-in", other, "--expect-resumed")
    assert status == 0
    assert told["connections"][0]["mechanism"] == "stateless-13"


def test_a_full_handshake_where_a_resumption_was_expected_has_a_status_of_its_own(server: Served) -> None:
    status, told = as_json(server, "--expect-resumed")
    assert status == Status.NOT_RESUMED
    assert told["error"] is None
    assert told["connections"][0]["reason"] == "no-session"


def test_a_session_that_cannot_be_used_is_expected_to_be_missed(server: Served, tmp_path: Path) -> None:
    path = tmp_path / "other.pem"
    assert connect(server, "--tls1_2", "--sess-out", path, "--json").exit_code == 0
    status, told = as_json(server, "--tls1_3", "--sess-in", path, "--expect-resumed")
    assert status == Status.NOT_RESUMED
    assert told["connections"][0]["reason"] == "other-version"


def test_json_tells_who_holds_the_session(server: Served) -> None:
    status, told = as_json(server, "--get", "--reconnect", 1)
    assert status == 0
    first, second = told["connections"]
    assert (first["resumed"], second["resumed"]) == (False, True)
    session = second["session"]
    assert session["references"] == sum(session["holders"].values()) == 3
    assert session["resumable"] is True
    assert session["holders"]["cache of this command"] == 1
    assert first["received"] > 100
    assert told["saved"] is None


def test_what_is_piped_in_goes_to_the_server(server: Served) -> None:
    done = run("connect", server.target, "--ca", server.authority, "--quiet", stdin=b"GET /piped.json HTTP/1.0\r\n\r\n")
    assert (done.returncode, done.stderr) == (0, b"")
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200 OK")
    assert json.loads(body)["version"] == "TLSv1.3"


def test_in_process_standard_input_is_read_too(server: Served) -> None:
    done = connect(server, "--quiet", stdin="GET /piped.json HTTP/1.0\r\n\r\n")
    assert done.exit_code == 0
    assert '"resumed": false' in done.stdout


def test_a_certificate_that_does_not_verify_fails(server: Served) -> None:
    done = invoke("connect", server.target, "--json")
    assert done.exit_code == Status.FAILED
    assert json.loads(done.stdout)["error"]["kind"] == "UnknownCA"
    assert done.stderr.startswith("resumption: UnknownCA: ")
    wrong = connect(server, "--servername", "example.test")
    assert wrong.exit_code == Status.FAILED
    assert "HostnameMismatch" in wrong.stderr


def test_insecure_accepts_it(server: Served) -> None:
    assert invoke("connect", server.target, "--json", "--insecure", "--servername", "example.test").exit_code == 0


def test_nobody_there_fails() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    done = invoke("connect", f"127.0.0.1:{port}")
    assert (done.exit_code, done.stderr) == (Status.FAILED, "resumption: Connection refused\n")


def test_a_silent_server_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        done = invoke("connect", f"127.0.0.1:{listener.getsockname()[1]}", "--timeout", "0.05", "--json")
    assert done.exit_code == Status.FAILED
    assert json.loads(done.stdout)["error"]["kind"] == "HandshakeTimeout"


def test_a_server_that_speaks_no_tls_fails() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.recv(1 << 16)
                sock.sendall(b"220 ready when you are\r\n")
                sock.recv(1 << 16)

        thread = threading.Thread(target=answer)
        thread.start()
        done = invoke("connect", f"127.0.0.1:{listener.getsockname()[1]}")
        thread.join(20)
    assert done.exit_code == Status.FAILED
    assert "TLS" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--tls1_2", "--tls1_3"],
        ["--sess-in", "/nowhere.pem"],
        ["--ca", "/nowhere.pem"],
        ["--reconnect", "-1"],
        ["--get", "--path", "/a b"],
        ["--cert", "/nowhere.pem"],
        ["--timeout", "0"],
    ],
)
def test_wrong_usage_is_refused_before_anything_is_sent(arguments: list[str]) -> None:
    done = invoke("connect", "127.0.0.1:1", *arguments)
    assert (done.exit_code, done.stdout) == (Status.USAGE, "")
    assert done.stderr


def test_a_session_of_garbage_is_refused(server: Served, tmp_path: Path) -> None:
    path = tmp_path / "garbage"
    path.write_bytes(b"garbage")
    assert connect(server, "--sess-in", path).exit_code == Status.USAGE


@contextlib.contextmanager
def stdlib_server(
    certificates: Certificates, answer: Callable[[ssl.SSLSocket], object], *, tickets: int = 2
) -> Iterator[str]:
    """A server made of the standard library's ssl that treats one client as ``answer`` says; yields its address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.chain, certificates.key)
    context.num_tickets = tickets
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            sock, _ = listener.accept()
            with sock, context.wrap_socket(sock, server_side=True) as stream:
                answer(stream)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"localhost:{listener.getsockname()[1]}"
        thread.join(20)


def cut_off(words: bytes) -> Callable[[ssl.SSLSocket], object]:
    """Say this and hang up, without close_notify."""

    def answer(stream: ssl.SSLSocket) -> None:
        stream.recv(1000)
        stream.sendall(words)
        stream.shutdown(socket.SHUT_WR)
        while stream.recv(1000):  # closing with bytes unread would reset the connection, and destroy the words
            pass

    return answer


def test_no_session_worth_saving_is_said(tmp_path: Path, certificates: Certificates) -> None:
    path = tmp_path / "none.pem"
    with stdlib_server(certificates, lambda stream: stream.recv(100), tickets=0) as target:
        done = invoke("connect", target, "--ca", certificates.authority, "--sess-out", path, "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["saved"] is None
    assert "nothing was saved" in done.stderr
    assert not path.exists()


@pytest.mark.parametrize("how", [["--get"], []])
def test_an_answer_that_is_cut_off_is_shown_with_a_warning(certificates: Certificates, how: list[str]) -> None:
    with stdlib_server(certificates, cut_off(b"HTTP/1.0 200 OK\r\n\r\nhalf a pa")) as target:
        done = invoke("connect", target, "--ca", certificates.authority, "--quiet", *how, stdin="GET /\r\n\r\n")
    assert done.exit_code == 0
    assert done.stdout.endswith("half a pa")
    assert "without close_notify" in done.stderr or "Connection reset" in done.stderr


def test_what_is_no_http_is_shown_as_it_is(certificates: Certificates) -> None:
    with stdlib_server(certificates, cut_off(b"250 hello")) as target:
        done = invoke("connect", target, "--ca", certificates.authority, "--quiet", "--get")
    assert (done.exit_code, done.stdout) == (0, "250 hello")


def test_a_server_that_does_not_close_is_left_after_the_timeout(certificates: Certificates) -> None:
    left = threading.Event()

    def hold(stream: ssl.SSLSocket) -> None:
        stream.sendall(b"wait")
        left.wait(20)

    with stdlib_server(certificates, hold) as target:
        done = run("connect", target, "--ca", certificates.authority, "--quiet", "--timeout", "1.5", stdin=b"anything")
        left.set()
    assert (done.returncode, done.stdout) == (0, b"wait")


def test_a_saved_file_is_a_session_that_openssl_would_read(server: Served, tmp_path: Path) -> None:
    path = tmp_path / "s.pem"
    connect(server, "--sess-out", path, "--json")
    with Session.from_pem(path.read_bytes()) as session:
        assert (session.version, session.hostname, session.is_resumable) == (0x0304, "localhost", True)
