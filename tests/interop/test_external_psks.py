"""External PSKs of TLS 1.3, and exported keying material, against OpenSSL and GnuTLS in both roles."""

from __future__ import annotations

import queue
import re
import threading
from pathlib import Path

import pytest

from resumption import ClientContext, ExternalPsk, PskCallback, Reason, ServerContext, Session
from resumption.constants import ProtocolVersion
from resumption.session.facts import SessionData
from tests import peers
from tests.interop.ours import our_server
from tests.pki import Pki
from tests.processes import HOST, REQUEST, TIME_LIMIT

pytestmark = pytest.mark.interop

KEY = bytes(range(1, 33))
NAME = "sensor-7"
V12, V13 = ProtocolVersion.TLSv1_2, ProtocolVersion.TLSv1_3
GNUTLS = "NORMAL:-VERS-ALL:+VERS-TLS1.3:-KX-ALL:+ECDHE-PSK:+PSK"


def in_session() -> Session:
    """The key as OpenSSL's callbacks have it."""
    return Session.create(SessionData(version=V13, cipher=0x1301), KEY)


def client_of(pki: Pki, asked: bool = False) -> ClientContext:
    if asked:
        return ClientContext(trust=pki.trust_pem, psk=PskCallback(lambda connection: (NAME.encode(), in_session())))
    return ClientContext(trust=pki.trust_pem, psk=ExternalPsk(NAME.encode(), KEY, "client"))


def server_of(pki: Pki, asked: bool = False) -> ServerContext:
    leaf = pki.ecdsa_p256
    if asked:
        find = PskCallback(lambda connection, identity: in_session() if identity == NAME.encode() else None)
        return ServerContext(leaf.chain_pem, leaf.key_pem, psks=find)
    key = ExternalPsk(NAME.encode(), KEY, "server")
    return ServerContext(leaf.chain_pem, leaf.key_pem, psks={key.identity: key})


def page_from(client: ClientContext, port: int) -> str:
    """A page that came over a connection which the key served."""
    with client, client.connect((HOST, port), server_name="localhost", timeout=TIME_LIMIT) as stream:
        assert stream.resumption is not None
        assert stream.resumption.reason is Reason.EXTERNAL_PSK
        assert not stream.peer_chain
        stream.sendall(REQUEST)
        return stream.read_all().decode("utf-8", "replace")


@pytest.mark.parametrize("asked", [False, True])
def test_our_client_with_a_key_of_openssl(pki: Pki, asked: bool) -> None:
    options = ("-www", "-tls1_3", "-psk", KEY.hex(), "-psk_identity", NAME)
    with peers.openssl_server(pki.ecdsa_p256, *options) as server:
        page = page_from(client_of(pki, asked), server.port)
    assert "TLSv1.3" in page


def test_our_client_with_a_key_of_gnutls(pki: Pki, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"{NAME}:{KEY.hex()}\n")
    options = ("--http", "--disable-client-cert", f"--pskpasswd={keys}", f"--priority={GNUTLS}")
    with peers.gnutls_server(pki.ecdsa_p256, *options) as server:
        page = page_from(client_of(pki), server.port)
    assert page.startswith("HTTP/1.0 200")


@pytest.mark.parametrize("asked", [False, True])
def test_our_server_with_a_key_of_openssl(pki: Pki, asked: bool) -> None:
    with our_server(server_of(pki, asked)) as server:
        run = peers.openssl_client(server.port, "-tls1_3", "-psk", KEY.hex(), "-psk_identity", NAME)
        assert run.status == 0
        assert "page of TLS_AES_128_GCM_SHA256" in run.output
        wrong = peers.openssl_client(server.port, "-tls1_3", "-psk", KEY[::-1].hex(), "-psk_identity", NAME)
        assert wrong.status != 0
    assert [seen.reason for seen in server.resumptions] == [Reason.EXTERNAL_PSK]


def test_our_server_with_a_key_of_gnutls(pki: Pki) -> None:
    options = (f"--pskusername={NAME}", f"--pskkey={KEY.hex()}", f"--priority={GNUTLS}")
    with our_server(server_of(pki)) as server:
        run = peers.gnutls_client(server.port, *options)
        assert "page of" in run.output
    assert [seen.reason for seen in server.resumptions] == [Reason.EXTERNAL_PSK]


@pytest.mark.parametrize("version", [V12, V13], ids=["1.2", "1.3"])
@pytest.mark.proves("9846:7.5:1")
def test_openssl_exports_what_we_export(pki: Pki, version: ProtocolVersion) -> None:
    options = ("-keymatexport", "EXPORTER-test", "-keymatexportlen", "40")
    client = ClientContext(trust=pki.trust_pem, minimum_version=version, maximum_version=version)
    with (
        peers.openssl_server(pki.ecdsa_p256, *options) as server,
        client,
        client.connect((HOST, server.port), server_name="localhost", timeout=TIME_LIMIT) as stream,
    ):
        ours = stream.export_keying_material(b"EXPORTER-test", None, 40)
        theirs = server.wait_for(r"Keying material: ([0-9A-F]+)")[1]
    assert bytes.fromhex(theirs) == ours


@pytest.mark.parametrize("version", [V12, V13], ids=["1.2", "1.3"])
def test_gnutls_has_our_channel_bindings(pki: Pki, version: ProtocolVersion) -> None:
    leaf = pki.ecdsa_p256
    context = ServerContext(leaf.chain_pem, leaf.key_pem, minimum_version=version, maximum_version=version)
    found: list[bytes] = []

    def serve() -> None:
        with context.listen((HOST, 0), timeout=TIME_LIMIT) as listener:
            ports.put(listener.address[1])
            with listener.accept() as stream:
                stream.do_handshake()
                found.extend(map(stream.channel_binding, ("tls-server-end-point", "tls-exporter")))
                stream.recv()

    ports: queue.Queue[int] = queue.Queue()
    thread = threading.Thread(target=serve)
    thread.start()
    run = peers.gnutls_client(ports.get(timeout=TIME_LIMIT), "--verbose")
    thread.join(TIME_LIMIT)
    theirs = re.findall(r"'tls-(?:server-end-point|exporter)': ([0-9a-f]+)", run.output)
    assert [bytes.fromhex(one) for one in theirs] == found
