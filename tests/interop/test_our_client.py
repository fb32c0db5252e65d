"""Our client against other servers: full and resumed, both versions, confirmed at both ends."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from resumption import AlertReceived, CacheMode, ClientContext, Mechanism, Session
from resumption.constants import CipherSuite, NamedGroup, ProtocolVersion
from tests import peers
from tests.interop.ours import visit
from tests.peers import resumed
from tests.pki import Credential, Pki
from tests.processes import HOST, TIME_LIMIT

pytestmark = pytest.mark.interop

V12, V13 = ProtocolVersion.TLSv1_2, ProtocolVersion.TLSv1_3
each_version = pytest.mark.parametrize("version", [V12, V13], ids=["1.2", "1.3"])
KEYS = ("ecdsa_p256", "ecdsa_p384", "ed25519", "rsa2048", "under_intermediate")


def context(pki: Pki, version: ProtocolVersion, **settings: Any) -> ClientContext:
    return ClientContext(trust=pki.trust_pem, minimum_version=version, maximum_version=version, **settings)


def visit_thrice(client: ClientContext, port: int) -> list[bool]:
    """Three visits: what our end says of each, and the page, which must agree."""
    answers = []
    for _ in range(3):
        seen = visit(client, port)
        seen.session.free()
        assert resumed(seen.page) == [seen.resumption.resumed], seen.page
        answers.append(seen.resumption.resumed)
    return answers


@each_version
@pytest.mark.parametrize("key", KEYS)
def test_openssl_server_resumes_us(pki: Pki, version: ProtocolVersion, key: str) -> None:
    leaf: Credential = getattr(pki, key)
    with peers.openssl_server(leaf, "-www") as server, context(pki, version) as client:
        assert visit_thrice(client, server.port) == [False, True, True]


@each_version
def test_openssl_server_resumes_us_from_its_cache(pki: Pki, version: ProtocolVersion) -> None:
    with peers.openssl_server(pki.ecdsa_p256, "-www", "-no_ticket") as server, context(pki, version) as client:
        assert visit_thrice(client, server.port) == [False, True, True]
        seen = visit(client, server.port)
        seen.session.free()
    assert seen.resumption.mechanism is (Mechanism.STATEFUL_13 if version == V13 else Mechanism.SESSION_ID)


@pytest.mark.parametrize(
    "suite",
    [CipherSuite.TLS_AES_128_GCM_SHA256, CipherSuite.TLS_AES_256_GCM_SHA384, CipherSuite.TLS_CHACHA20_POLY1305_SHA256],
    ids=lambda suite: suite.name,
)
@pytest.mark.parametrize("group", [NamedGroup.x25519, NamedGroup.secp256r1], ids=lambda group: group.name)
def test_openssl_server_every_suite_and_group(pki: Pki, suite: CipherSuite, group: NamedGroup) -> None:
    client = context(pki, V13, suites=(suite,), groups=(group,))
    with peers.openssl_server(pki.ecdsa_p256, "-www", "-ciphersuites", suite.name) as server, client:
        assert visit_thrice(client, server.port) == [False, True, True]
        seen = visit(client, server.port)
        seen.session.free()
    assert seen.cipher == suite.name


@pytest.mark.parametrize(
    "suite",
    [
        CipherSuite.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        CipherSuite.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        CipherSuite.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        CipherSuite.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        CipherSuite.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        CipherSuite.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ],
    ids=lambda suite: suite.name,
)
def test_openssl_server_every_suite_of_tls_12(pki: Pki, suite: CipherSuite) -> None:
    leaf = pki.rsa2048 if "RSA_WITH" in suite.name and "ECDSA" not in suite.name else pki.ecdsa_p256
    with peers.openssl_server(leaf, "-www") as server, context(pki, V12, suites=(suite,)) as client:
        assert visit_thrice(client, server.port) == [False, True, True]
        seen = visit(client, server.port)
        seen.session.free()
    assert seen.cipher == suite.name


def test_openssl_server_asks_for_another_group(pki: Pki) -> None:
    """HelloRetryRequest, also with a ticket in the first hello."""
    client = context(pki, V13, groups=(NamedGroup.x25519, NamedGroup.secp256r1))
    with peers.openssl_server(pki.ecdsa_p256, "-www", "-groups", "P-256") as server, client:
        assert visit_thrice(client, server.port) == [False, True, True]


def test_openssl_server_without_compatibility_mode(pki: Pki) -> None:
    client = context(pki, V13, middlebox_compatibility=False)
    with peers.openssl_server(pki.ecdsa_p256, "-www", "-no_middlebox") as server, client:
        assert visit_thrice(client, server.port) == [False, True, True]


def test_the_higher_version_is_taken(pki: Pki) -> None:
    with ClientContext(trust=pki.trust_pem) as client:
        for flag, version in (("-tls1_2", V12), ("-tls1_3", V13)):
            with peers.openssl_server(pki.ecdsa_p256, "-www", flag) as server:
                seen = visit(client, server.port)
                assert seen.session.version == version
                seen.session.free()


@each_version
def test_gnutls_server_resumes_us(pki: Pki, version: ProtocolVersion) -> None:
    with (
        peers.gnutls_server(pki.ecdsa_p256, "--http", "--disable-client-cert") as server,
        context(pki, version) as client,
    ):
        ours = []
        for _ in range(3):
            seen = visit(client, server.port)
            seen.session.free()
            ours.append(seen.resumption.resumed)
        server.wait_for(r"\* Accepted connection", count=3)
        server.wait_for(r"\*\*\* This is a resumed session", count=2)
    assert ours == [False, True, True]


def test_gnutls_server_resumes_us_by_id(pki: Pki) -> None:
    options = ("--http", "--disable-client-cert", "--noticket")
    with peers.gnutls_server(pki.ecdsa_p256, *options) as server, context(pki, V12) as client:
        assert [_visited(client, server.port) for _ in range(3)] == [False, True, True]


def _visited(client: ClientContext, port: int) -> bool:
    seen = visit(client, port)
    seen.session.free()
    return seen.resumption.resumed


@each_version
def test_the_standard_library_resumes_us(pki: Pki, version: ProtocolVersion) -> None:
    only = ssl.TLSVersion.TLSv1_3 if version == V13 else ssl.TLSVersion.TLSv1_2
    with peers.ssl_server(pki.ecdsa_p256, peers.only_version(only)) as server, context(pki, version) as client:
        assert visit_thrice(client, server.port) == [False, True, True]


def test_the_standard_library_resumes_us_by_id(pki: Pki) -> None:
    def configure(context: ssl.SSLContext) -> None:
        peers.only_version(ssl.TLSVersion.TLSv1_2)(context)
        context.options |= ssl.OP_NO_TICKET

    with peers.ssl_server(pki.ecdsa_p256, configure) as server, context(pki, V12) as client:
        assert visit_thrice(client, server.port) == [False, True, True]
        assert all(session.id and not session.has_ticket for session in client.sessions)
        assert len(client.sessions) == 1


def test_openssl_server_that_wants_to_renegotiate_is_told_no(pki: Pki) -> None:
    with (
        peers.openssl_server(pki.ecdsa_p256, "-tls1_2") as server,
        context(pki, V12) as client,
        client.connect((HOST, server.port), server_name="localhost", timeout=TIME_LIMIT) as stream,
    ):
        server.wait_for("Secure Renegotiation IS supported")
        server.send(b"R\n")
        with pytest.raises(AlertReceived):  # it does not take no for an answer, and ends the connection
            stream.recv()
        server.wait_for("no renegotiation")


# --- client certificates ----------------------------------------------------------------------------------------------


@each_version
@pytest.mark.parametrize("key", ["client", "client_rsa"])
def test_openssl_server_wants_our_certificate(pki: Pki, version: ProtocolVersion, key: str) -> None:
    own: Credential = getattr(pki, key)
    client = context(pki, version, certificate=own.chain_pem, private_key=own.key_pem)
    options = ("-www", "-Verify", "1", "-verify_return_error")
    with peers.openssl_server(pki.ecdsa_p256, *options, ca=pki.trust_pem) as server, client:
        assert visit_thrice(client, server.port) == [False, True, True]


@each_version
def test_gnutls_server_asks_for_a_certificate_that_we_do_not_have(pki: Pki, version: ProtocolVersion) -> None:
    with peers.gnutls_server(pki.ecdsa_p256, "--http") as server, context(pki, version) as client:
        assert not _visited(client, server.port)


# --- files ------------------------------------------------------------------------------------------------------------


@each_version
def test_a_session_of_openssl_resumes_our_client(pki: Pki, tmp_path: Path, version: ProtocolVersion) -> None:
    file = tmp_path / "session.pem"
    flag = "-tls1_2" if version == V12 else "-tls1_3"
    with peers.openssl_server(pki.ecdsa_p256, "-www") as server, context(pki, version) as client:
        peers.openssl_client(server.port, flag, "-sess_out", str(file), ca=pki.trust_pem)
        with Session.from_pem(file.read_text()) as session:
            seen = visit(client, server.port, session=session)
            seen.session.free()
    assert seen.resumption.resumed
    assert resumed(seen.page) == [True]


@each_version
def test_our_session_resumes_openssl_client(pki: Pki, tmp_path: Path, version: ProtocolVersion) -> None:
    file = tmp_path / "session.pem"
    with peers.openssl_server(pki.ecdsa_p256, "-www") as server, context(pki, version) as client:
        seen = visit(client, server.port)
        with seen.session as session:
            file.write_text(session.to_pem())
        # s_client would offer a suite with another hash first, and the server go by that
        options = ("-tls1_2",) if version == V12 else ("-tls1_3", "-ciphersuites", seen.cipher)
        run = peers.openssl_client(server.port, *options, "-sess_in", str(file), ca=pki.trust_pem)
    assert resumed(run.output) == [True, True]


@each_version
def test_our_session_outlives_its_context(pki: Pki, version: ProtocolVersion) -> None:
    """Saved by one client context, loaded by another that never connected there."""
    with peers.openssl_server(pki.ecdsa_p256, "-www") as server:
        with context(pki, version) as client:
            seen = visit(client, server.port)
            pem = seen.session.to_pem()
            seen.session.free()
        with context(pki, version, session_cache_mode=CacheMode.OFF) as other, Session.from_pem(pem) as session:
            again = visit(other, server.port, session=session)
            again.session.free()
    assert again.resumption.resumed


@pytest.mark.parametrize("groups", [(NamedGroup.x25519,), (NamedGroup.x25519, NamedGroup.secp384r1)], ids=["", "P-384"])
def test_openssl_server_without_state_gets_its_cookie_back(pki: Pki, groups: tuple[int, ...]) -> None:
    """``-stateless`` sends every client away with a cookie, and with -groups for another share at once."""
    asked = ("-groups", "P-384") if len(groups) == 2 else ("-groups", "X25519")
    client = context(pki, V13, groups=groups, key_shares=1)
    with peers.openssl_server(pki.ecdsa_p256, "-www", "-stateless", *asked) as server, client:
        assert visit_thrice(client, server.port) == [False, True, True]
