"""The peers against each other: what `tests.peers` promises holds before anything of ours is tested with it."""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest

from tests import peers
from tests.peers import REQUEST, PeerError, Process, resumed
from tests.pki import Pki

pytestmark = pytest.mark.interop

VERSIONS = {
    "TLSv1.2": ("-tls1_2", "NORMAL:-VERS-ALL:+VERS-TLS1.2", ssl.TLSVersion.TLSv1_2),
    "TLSv1.3": ("-tls1_3", "NORMAL:-VERS-ALL:+VERS-TLS1.3", ssl.TLSVersion.TLSv1_3),
}
each_version = pytest.mark.parametrize("version", VERSIONS)


# --- OpenSSL --------------------------------------------------------------------------------------------------------


@each_version
@pytest.mark.parametrize("options", [(), ("-no_ticket",)], ids=["tickets", "no tickets"])
def test_openssl_resumes_at_openssl(pki: Pki, tmp_path: Path, version: str, options: tuple[str, ...]) -> None:
    flag = VERSIONS[version][0]
    file = str(tmp_path / "session.pem")
    with peers.openssl_server(pki.ecdsa_p256, "-www", flag, *options) as server:
        first = peers.openssl_client(server.port, "-sess_out", file, ca=pki.trust_pem)
        again = peers.openssl_client(server.port, "-sess_in", file, ca=pki.trust_pem)
    assert (resumed(first.output), first.status) == ([False, False], 0)
    assert (resumed(again.output), again.status) == ([True, True], 0)
    assert f"Reused, {version}, Cipher is" in again.output


def test_openssl_sends_the_intermediate_once(pki: Pki) -> None:
    with peers.openssl_server(pki.under_intermediate, "-www") as server:
        run = peers.openssl_client(server.port, "-showcerts", ca=pki.trust_pem)
    assert run.output.count("BEGIN CERTIFICATE") == 2
    assert run.status == 0


def test_openssl_client_refuses_a_server_it_cannot_trust(pki: Pki) -> None:
    with peers.openssl_server(pki.untrusted, "-www") as server:
        run = peers.openssl_client(server.port, ca=pki.trust_pem)
    assert run.status != 0
    assert "HTTP/1.0 200" not in run.output


def test_openssl_asks_for_a_client_certificate(pki: Pki) -> None:
    options = ("-www", "-Verify", "1", "-verify_return_error")
    with peers.openssl_server(pki.ecdsa_p256, *options, ca=pki.trust_pem) as server:
        run = peers.openssl_client(server.port, ca=pki.trust_pem, certificate=pki.client)
        assert "HTTP/1.0 200" in run.output
        without = peers.openssl_client(server.port, ca=pki.trust_pem)
    assert "HTTP/1.0 200" not in without.output


def test_a_plain_openssl_server_talks_through_its_input_and_output(pki: Pki) -> None:
    with peers.openssl_server(pki.ecdsa_p256) as server:
        server.send(b"a word from the server\n")
        run = peers.openssl_client(
            server.port, send=b"a word from the client\n", until="a word from the server", ca=pki.trust_pem
        )
        server.wait_for("a word from the client")
    assert run.status == 0


def test_early_data_is_accepted_once(pki: Pki, tmp_path: Path) -> None:
    file, early = str(tmp_path / "session.pem"), tmp_path / "early"
    early.write_bytes(b"early word\n")
    ticket = "Post-Handshake New Session Ticket arrived"
    with peers.openssl_server(pki.ecdsa_p256, "-tls1_3", "-early_data", "-max_early_data", "16384") as server:
        peers.openssl_client(server.port, "-sess_out", file, send=b"", until=ticket)
        offer = ("-sess_in", file, "-early_data", str(early))
        first = peers.openssl_client(server.port, *offer, send=b"", until="Early data was")
        again = peers.openssl_client(server.port, *offer, send=b"", until="Early data was")
        server.wait_for("early word")
    assert "Early data was accepted" in first.output
    assert "Early data was rejected" in again.output


# --- GnuTLS ---------------------------------------------------------------------------------------------------------


@each_version
def test_gnutls_resumes_at_gnutls(pki: Pki, version: str) -> None:
    options = ("-r", "--waitresumption", f"--priority={VERSIONS[version][1]}")
    with peers.gnutls_server(pki.ecdsa_p256, "--http", "--disable-client-cert") as server:
        run = peers.gnutls_client(server.port, *options, ca=pki.trust_pem)
        server.wait_for(r"^\*\*\* This is a resumed session")
    assert (resumed(run.output), run.status) == ([False, True], 0)
    assert resumed(server.output) == [False, True]


def test_gnutls_without_tickets_does_not_resume_in_tls_13(pki: Pki) -> None:
    with peers.gnutls_server(pki.ecdsa_p256, "--http", "--disable-client-cert", "--noticket") as server:
        run = peers.gnutls_client(server.port, "-r", f"--priority={VERSIONS['TLSv1.3'][1]}", ca=pki.trust_pem)
        server.wait_for("Accepted connection", count=2)
    assert (resumed(run.output), run.status) == ([False, False], 0)


@each_version
def test_gnutls_resumes_at_openssl(pki: Pki, version: str) -> None:
    flag, priority, _ = VERSIONS[version]
    with peers.openssl_server(pki.rsa2048, "-www", flag) as server:
        run = peers.gnutls_client(server.port, "-r", "--waitresumption", f"--priority={priority}", ca=pki.trust_pem)
    assert run.status == 0
    assert f"Reused, {version}" in run.output


def test_gnutls_asks_for_a_client_certificate(pki: Pki) -> None:
    with peers.gnutls_server(pki.ecdsa_p256, "--http", "--require-client-cert", ca=pki.trust_pem) as server:
        run = peers.gnutls_client(server.port, ca=pki.trust_pem, certificate=pki.client)
    assert "HTTP/1.0 200 OK" in run.output


@each_version
def test_openssl_resumes_at_gnutls(pki: Pki, tmp_path: Path, version: str) -> None:
    file = str(tmp_path / "session.pem")
    with peers.gnutls_server(pki.ecdsa_p256, "--http", "--disable-client-cert") as server:
        peers.openssl_client(server.port, VERSIONS[version][0], "-sess_out", file, ca=pki.trust_pem)
        again = peers.openssl_client(server.port, VERSIONS[version][0], "-sess_in", file, ca=pki.trust_pem)
        server.wait_for("Accepted connection", count=2)
        server.wait_for(r"^\*\*\* This is a resumed session")
    assert resumed(again.output) == [True]
    assert resumed(server.output) == [False, True]


# --- curl -----------------------------------------------------------------------------------------------------------


@each_version
def test_curl_resumes_at_openssl(pki: Pki, version: str) -> None:
    limits = ("--tlsv1.2", "--tls-max", "1.2") if version == "TLSv1.2" else ("--tlsv1.3",)
    with peers.openssl_server(pki.ecdsa_p256, "-www") as server:
        run = peers.curl(server.port, *limits, ca=pki.trust_pem)
    assert run.status == 0, run.output
    assert [resumed(body.decode()) for body in run.bodies] == [[False], [True]]
    assert f"Reused, {version}".encode() in run.bodies[1]
    assert "re-using session" in run.output


def test_curl_presents_a_client_certificate(pki: Pki) -> None:
    def require(context: ssl.SSLContext) -> None:
        context.verify_mode = ssl.CERT_REQUIRED

    with peers.ssl_server(pki.ecdsa_p256, require, ca=pki.trust_pem) as server:
        run = peers.curl(server.port, paths=["/"], ca=pki.trust_pem, certificate=pki.client)
        served = server.wait_served()
    assert run.status == 0, run.output
    assert served.peer_certificate == pki.client.cert_der
    assert served.received.startswith(b"GET / HTTP/1.0\r\n")


# --- Python's ssl ---------------------------------------------------------------------------------------------------


@each_version
def test_ssl_resumes_at_ssl(pki: Pki, version: str) -> None:
    context = peers.ssl_client_context(pki.trust_pem)
    with peers.ssl_server(pki.ecdsa_p256, peers.only_version(VERSIONS[version][2])) as server:
        first = peers.ssl_client(server.port, context)
        again = peers.ssl_client(server.port, context, session=first.session)
        second = server.wait_served(2)
    assert (first.resumed, again.resumed) == (False, True)
    assert (again.version, second.version) == (version, version)
    assert resumed(again.received.decode()) == [True]
    assert [served.resumed for served in server.served] == [False, True]
    assert (second.error, second.received) == (None, REQUEST)


def test_ssl_reports_a_handshake_that_failed(pki: Pki) -> None:
    with peers.ssl_server(pki.ecdsa_p256, peers.only_version(ssl.TLSVersion.TLSv1_3)) as server:
        run = peers.openssl_client(server.port, "-tls1_2")
        served = server.wait_served()
    assert run.status != 0
    assert served.version is None
    assert served.error is not None
    assert "SSL" in served.error


def test_ssl_tells_of_alpn_and_of_the_client_certificate(pki: Pki) -> None:
    def optional(context: ssl.SSLContext) -> None:
        context.verify_mode = ssl.CERT_OPTIONAL
        context.set_alpn_protocols(["http/1.1"])

    def offer(context: ssl.SSLContext) -> None:
        context.set_alpn_protocols(["h2", "http/1.1"])

    context = peers.ssl_client_context(pki.trust_pem, offer, certificate=pki.client)
    with peers.ssl_server(pki.ecdsa_p256, optional, ca=pki.trust_pem) as server:
        run = peers.ssl_client(server.port, context)
        served = server.wait_served()
    assert (run.alpn, served.alpn) == ("http/1.1", "http/1.1")
    assert served.peer_certificate == pki.client.cert_der


def test_a_connection_that_never_ends_is_reported(pki: Pki) -> None:
    with peers.ssl_server(pki.ecdsa_p256) as server, pytest.raises(PeerError, match="0 of 1 connections"):
        server.wait_served(limit=0.01)


# --- waiting, ending, missing ---------------------------------------------------------------------------------------


def shell(script: str) -> Process:
    return Process(["/bin/sh", "-c", script])


def test_a_line_that_never_comes_fails_with_what_was_printed() -> None:
    process = shell("echo something else; read line")
    try:
        process.wait_for("something else")
        with pytest.raises(PeerError, match=r"silent for 0\.05 s(.|\n)*something else"):
            process.wait_for("the word", limit=0.05)
    finally:
        process.stop()


def test_a_process_that_ends_too_early_fails_at_once() -> None:
    process = shell("echo no; exit 3")
    started = time.monotonic()
    with pytest.raises(PeerError, match=r"ended without printing 'yes'(.|\n)*no"):
        process.wait_for("yes", limit=60)
    assert time.monotonic() - started < 30
    assert process.finish() == 3


def test_a_process_that_does_not_end_is_ended() -> None:
    process = shell("echo ready; exec sleep 60")
    process.wait_for("ready")
    with pytest.raises(PeerError, match=r"did not end within 0\.05 s"):
        process.finish(limit=0.05)
    assert process.finish() == -9


def test_a_program_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        Process(["/nowhere/openssl"])


def test_what_a_program_wrote_last_is_read_although_the_terminal_said_that_nobody_writes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As when the reader is put to sleep between the kernel's look for bytes and its look for writers."""
    read = os.read
    refused: list[int] = []

    def at_a_bad_moment(descriptor: int, size: int) -> bytes:
        if not refused and threading.current_thread().name.startswith("output of"):
            refused.append(descriptor)
            raise OSError(errno.EIO, "nobody writes")
        return read(descriptor, size)

    monkeypatch.setattr(os, "read", at_a_bad_moment)
    process = shell("echo the last words")
    try:
        assert process.finish() == 0
        assert "the last words" in process.output
    finally:
        process.stop()


def test_the_output_of_the_last_line_is_not_lost() -> None:
    process = shell('read line; echo "got $line" >&2')
    process.send(b"word\n")
    assert process.finish() == 0
    assert process.output == "got word\n"


def test_writing_to_a_process_that_is_gone_is_no_error() -> None:
    process = shell("exec <&-; echo closed; exec sleep 60")
    try:
        process.wait_for("closed")
        process.send(b"x" * 100_000)
    finally:
        process.stop()


def test_stopping_twice_is_no_error() -> None:
    process = shell("read line")
    process.stop()
    process.stop()


def test_a_port_that_accepts_is_found_and_one_that_does_not_is_reported() -> None:
    with socket.create_server((peers.HOST, 0)) as listener:
        peers.wait_until_accepts(listener.getsockname()[1])
    with pytest.raises(PeerError, match="nothing accepts"):
        peers.wait_until_accepts(peers.free_port(), limit=0.05)


def test_a_missing_peer_skips_the_test_unless_peers_are_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("RESUMPTION_REQUIRE_PEERS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="gnutls-cli is not installed"):
        peers.require_peer("gnutls-cli")
    monkeypatch.setenv("RESUMPTION_REQUIRE_PEERS", "1")
    with pytest.raises(pytest.fail.Exception, match="gnutls-cli is not installed"):
        peers.require_peer("gnutls-cli")
    monkeypatch.setenv("RESUMPTION_REQUIRE_PEERS", "0")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception):
        peers.require_peer("gnutls-cli")


@pytest.mark.parametrize(
    ("name", "printed", "reason"),
    [
        ("openssl", "LibreSSL 3.3.6", "OpenSSL 3 or newer is needed, this is 'LibreSSL 3.3.6'"),
        ("openssl", "OpenSSL 1.1.1w  11 Sep 2023", "OpenSSL 3 or newer"),
        ("openssl", "OpenSSL 3.0.17 1 Jul 2025", None),
        ("openssl", "OpenSSL 10.1.0 1 Jul 2035", None),
        ("curl", "curl 8.7.1 libcurl/8.7.1 SecureTransport", "a curl that uses OpenSSL is needed"),
        ("curl", "curl 7.88.1 libcurl/7.88.1 OpenSSL/3.0.17", None),
    ],
)
def test_a_tool_of_the_wrong_kind_counts_as_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, printed: str, reason: str | None
) -> None:
    tool = tmp_path / name
    tool.write_text(f"#!/bin/sh\necho '{printed}'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = peers.why_missing(name)
    assert found == reason or (reason is not None and re.match(reason, found or ""))
