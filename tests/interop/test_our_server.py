"""Other clients against our server: full and resumed, both versions, confirmed at both ends."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest

from resumption import CookieKeys, Mechanism, ServerContext, Session
from resumption.constants import NamedGroup, ProtocolVersion
from tests import peers
from tests.interop.ours import OurServer, our_server
from tests.peers import resumed
from tests.pki import Credential, Pki
from tests.processes import HOST, Process

pytestmark = pytest.mark.interop

V12, V13 = ProtocolVersion.TLSv1_2, ProtocolVersion.TLSv1_3
FLAGS = {V12: "-tls1_2", V13: "-tls1_3"}
GNUTLS = {V12: "--priority=NORMAL:-VERS-ALL:+VERS-TLS1.2", V13: "--priority=NORMAL:-VERS-ALL:+VERS-TLS1.3"}
CURL = {V12: ("--tlsv1.2", "--tls-max", "1.2"), V13: ("--tlsv1.3",)}
STDLIB = {V12: ssl.TLSVersion.TLSv1_2, V13: ssl.TLSVersion.TLSv1_3}
each_version = pytest.mark.parametrize("version", [V12, V13], ids=["1.2", "1.3"])
each_kind = pytest.mark.parametrize("kind", ["stateless", "stateful"])
KEYS = ("ecdsa_p256", "ecdsa_p384", "ed25519", "rsa2048", "under_intermediate")


def context(leaf: Credential, kind: str = "stateless", **settings: Any) -> ServerContext:
    if kind == "stateful":
        settings |= {"tickets": None, "stateful": True}
    return ServerContext(leaf.chain_pem, leaf.key_pem, **settings)


def expected(version: ProtocolVersion, kind: str) -> Mechanism:
    if version == V13:
        return Mechanism.STATEFUL_13 if kind == "stateful" else Mechanism.STATELESS_13
    return Mechanism.SESSION_ID if kind == "stateful" else Mechanism.TICKET_12


def check(server: OurServer, answers: list[bool], mechanism: Mechanism) -> None:
    assert not server.errors
    assert [seen.resumed for seen in server.resumptions] == answers
    assert all(seen.mechanism is mechanism for seen in server.resumptions if seen.resumed)
    assert server.context.session_stats.hits == sum(answers)


@each_version
@each_kind
@pytest.mark.parametrize("key", KEYS)
def test_openssl_client_is_resumed(pki: Pki, tmp_path: Path, version: ProtocolVersion, kind: str, key: str) -> None:
    file = str(tmp_path / "session.pem")
    leaf: Credential = getattr(pki, key)
    with our_server(context(leaf, kind)) as server:
        first = peers.openssl_client(server.port, FLAGS[version], "-sess_out", file, ca=pki.trust_pem)
        again = peers.openssl_client(server.port, FLAGS[version], "-sess_in", file, "-sess_out", file, ca=pki.trust_pem)
        third = peers.openssl_client(server.port, FLAGS[version], "-sess_in", file, ca=pki.trust_pem)
    assert [resumed(run.output) for run in (first, again, third)] == [[False] * 2, [True] * 2, [True] * 2]
    assert [run.status for run in (first, again, third)] == [0, 0, 0]
    check(server, [False, True, True], expected(version, kind))


@pytest.mark.parametrize("suite", ["AES_128_GCM_SHA256", "AES_256_GCM_SHA384", "CHACHA20_POLY1305_SHA256"])
@pytest.mark.parametrize("group", ["X25519", "P-256", "P-384"])
def test_openssl_client_every_suite_and_group(pki: Pki, tmp_path: Path, suite: str, group: str) -> None:
    file, options = str(tmp_path / "session.pem"), ("-tls1_3", "-ciphersuites", f"TLS_{suite}", "-groups", group)
    with our_server(context(pki.ecdsa_p256)) as server:
        peers.openssl_client(server.port, *options, "-sess_out", file, ca=pki.trust_pem)
        run = peers.openssl_client(server.port, *options, "-sess_in", file, ca=pki.trust_pem)
    assert resumed(run.output) == [True, True]
    assert f"Cipher is TLS_{suite}" in run.output
    check(server, [False, True], Mechanism.STATELESS_13)


def test_openssl_client_is_asked_for_another_group(pki: Pki, tmp_path: Path) -> None:
    file, options = str(tmp_path / "session.pem"), ("-tls1_3", "-groups", "X25519:P-256")
    with our_server(context(pki.ecdsa_p256, groups=(NamedGroup.secp256r1,))) as server:
        peers.openssl_client(server.port, *options, "-sess_out", file, ca=pki.trust_pem)
        run = peers.openssl_client(server.port, *options, "-sess_in", file, ca=pki.trust_pem)
    assert resumed(run.output) == [True, True]
    check(server, [False, True], Mechanism.STATELESS_13)


@each_version
@each_kind
def test_gnutls_client_is_resumed(pki: Pki, version: ProtocolVersion, kind: str) -> None:
    wait = ("--waitresumption",) if version == V13 else ()
    with our_server(context(pki.ecdsa_p256, kind)) as server:
        run = peers.gnutls_client(server.port, "-r", *wait, GNUTLS[version], ca=pki.trust_pem)
    assert "*** This is a resumed session" in run.output
    assert [seen.resumed for seen in server.resumptions] == [False, True]
    assert server.resumptions[1].mechanism is expected(version, kind)


def test_gnutls_client_sends_a_second_hello(pki: Pki) -> None:
    options = (
        "-r",
        "--waitresumption",
        "--single-key-share",
        GNUTLS[V13] + ":-GROUP-ALL:+GROUP-SECP384R1:+GROUP-X25519",
    )
    with our_server(context(pki.ecdsa_p256, groups=(NamedGroup.x25519,))) as server:
        run = peers.gnutls_client(server.port, *options, ca=pki.trust_pem)
    assert "*** This is a resumed session" in run.output
    check(server, [False, True], Mechanism.STATELESS_13)


@each_version
@each_kind
def test_curl_is_resumed(pki: Pki, version: ProtocolVersion, kind: str) -> None:
    with our_server(context(pki.ecdsa_p256, kind)) as server:
        run = peers.curl(server.port, *CURL[version], ca=pki.trust_pem)
    assert run.status == 0, run.output
    assert [body.split(b",")[0] for body in run.bodies] == [b"New", b"Reused"]
    # curl switches TLS 1.2 tickets off: it always goes by the id then
    check(server, [False, True], expected(version, "stateful" if version == V12 else kind))


@each_version
@each_kind
def test_the_standard_library_is_resumed(pki: Pki, version: ProtocolVersion, kind: str) -> None:
    client = peers.ssl_client_context(pki.trust_pem, peers.only_version(STDLIB[version]))
    with our_server(context(pki.ecdsa_p256, kind)) as server:
        first = peers.ssl_client(server.port, client)
        again = peers.ssl_client(server.port, client, session=first.session)
    assert (first.resumed, again.resumed) == (False, True)
    check(server, [False, True], expected(version, kind))


def test_openssl_client_that_wants_to_renegotiate_is_told_no(pki: Pki) -> None:
    with our_server(context(pki.ecdsa_p256)) as server:
        command = [peers.require_peer("openssl"), "s_client", "-connect", f"{HOST}:{server.port}", "-tls1_2"]
        process = Process(command)
        try:
            process.wait_for("Secure Renegotiation IS supported")
            process.send(b"R\n")
            process.wait_for("RENEGOTIATING")
            process.wait_for("no renegotiation")
        finally:
            process.stop()


@each_version
def test_client_certificates_of_openssl(pki: Pki, tmp_path: Path, version: ProtocolVersion) -> None:
    """Shown once, known again when resumed."""
    file = str(tmp_path / "session.pem")
    settings = {"client_auth": "required", "trust": pki.trust_pem, "session_id_context": b"tests"}
    with our_server(context(pki.ecdsa_p256, **settings)) as server:
        for option in ("-sess_out", "-sess_in"):
            run = peers.openssl_client(
                server.port, FLAGS[version], option, file, ca=pki.trust_pem, certificate=pki.client
            )
            assert run.status == 0
        without = peers.openssl_client(server.port, FLAGS[version], ca=pki.trust_pem)
    assert "HTTP/1.0 200" not in without.output
    assert [seen.resumed for seen in server.resumptions] == [False, True]
    assert server.leaves == [pki.client.cert_der] * 2
    assert len(server.errors) == 1


@each_version
def test_an_openssl_session_file_tells_what_we_negotiated(pki: Pki, tmp_path: Path, version: ProtocolVersion) -> None:
    """OpenSSL's file of a session with our server reads as one of ours, byte for byte."""
    file = tmp_path / "session.pem"
    with our_server(context(pki.ecdsa_p256)) as server:
        peers.openssl_client(server.port, FLAGS[version], "-sess_out", str(file), ca=pki.trust_pem)
    with Session.from_pem(file.read_text()) as session:
        assert session.version == version
        assert session.peer_certificate == pki.ecdsa_p256.cert_der
        assert session.to_pem() == file.read_text()
        assert 0 < session.ticket_lifetime_hint <= 86_400


@pytest.mark.parametrize("group", [NamedGroup.x25519, NamedGroup.secp384r1], ids=lambda group: group.name)
def test_clients_bring_our_cookie_back(pki: Pki, tmp_path: Path, group: NamedGroup) -> None:
    """With and without a wish for another share; the second time with a PSK. GnuTLS 3.7 takes no cookie that comes
    without a wish (it answers illegal_parameter to itself)."""
    cookies = CookieKeys.generate()
    file, options = str(tmp_path / "session.pem"), ("-tls1_3", "-groups", "X25519:P-384")
    with our_server(context(pki.ecdsa_p256, groups=(group,), cookies=cookies)) as server:
        peers.openssl_client(server.port, *options, "-sess_out", file, ca=pki.trust_pem)
        peers.openssl_client(server.port, *options, "-sess_in", file, ca=pki.trust_pem)
    check(server, [False, True], Mechanism.STATELESS_13)
    if group == NamedGroup.x25519:
        return
    with our_server(context(pki.ecdsa_p256, groups=(group,), cookies=cookies)) as server:
        priority = GNUTLS[V13] + ":-GROUP-ALL:+GROUP-X25519:+GROUP-SECP384R1"
        run = peers.gnutls_client(
            server.port, "-r", "--waitresumption", "--single-key-share", priority, ca=pki.trust_pem
        )
    assert "*** This is a resumed session" in run.output
    check(server, [False, True], Mechanism.STATELESS_13)


@each_version
def test_a_client_that_has_closed_its_direction_gets_the_whole_answer(pki: Pki, version: ProtocolVersion) -> None:
    """gnutls-cli says close_notify when its input ends. The server here answers only after that."""
    answer = b"a line of the answer\n" * 10_000

    def serve(listener: socket.socket, heard: list[bytes]) -> None:
        sock, _ = listener.accept()
        with context(pki.ecdsa_p256).wrap(sock, timeout=peers.TIME_LIMIT) as stream:
            heard.append(stream.read_all())
            stream.sendall(answer)

    with socket.create_server((peers.HOST, 0)) as listener:
        heard: list[bytes] = []
        thread = threading.Thread(target=serve, args=(listener, heard))
        thread.start()
        port = listener.getsockname()[1]
        run = peers.gnutls_client(port, GNUTLS[version], send=b"ask\n", ca=pki.trust_pem, end=True)
        thread.join(peers.TIME_LIMIT)
    assert heard == [b"ask\n"]
    assert answer.decode() in run.output
