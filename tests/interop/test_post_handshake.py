"""Client certificates during and after the handshake, against OpenSSL as Python's ``ssl`` has it: bytes in memory."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from resumption import ClientContext, Connection, Error, PeerAuthenticated, ServerContext
from tests.pki import Pki

pytestmark = pytest.mark.interop


class Wire:
    """One of our connections and one of OpenSSL's."""

    def __init__(self, ours: Connection, context: ssl.SSLContext, *, server: bool) -> None:
        self.ours = ours
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        name = None if server else "localhost"
        self.theirs = context.wrap_bio(self.incoming, self.outgoing, server_side=server, server_hostname=name)
        self.events: list[Any] = []
        self.read = b""

    def carry(self) -> Wire:
        """Until both are silent."""
        for _ in range(12):
            data = self.ours.data_to_send()
            if data:
                self.incoming.write(data)
            try:
                self.theirs.do_handshake()
                self.read += self.theirs.read(1 << 14)
            except ssl.SSLWantReadError:
                pass
            if self.outgoing.pending:
                self.events += self.ours.receive_data(self.outgoing.read())
        return self


@pytest.fixture
def files(pki: Pki, tmp_path: Path) -> dict[str, str]:
    server, client = pki.ecdsa_p256.write(tmp_path, "server"), pki.client.write(tmp_path, "client")
    return {
        "server": str(server.chain),
        "server_key": str(server.key),
        "client": str(client.chain),
        "client_key": str(client.key),
        "ca": str(pki.write_trust(tmp_path)),
    }


def their_client(files: dict[str, str], *, later: bool, shows: bool = True) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(files["ca"])
    if shows:
        context.load_cert_chain(files["client"], files["client_key"])
    context.post_handshake_auth = later
    return context


def our_server(pki: Pki, **settings: Any) -> ServerContext:
    leaf = pki.ecdsa_p256
    return ServerContext(
        leaf.chain_pem, leaf.key_pem, trust=pki.root.cert_pem, session_id_context=b"service", **settings
    )


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_openssl_shows_its_certificate_in_the_handshake(
    pki: Pki, files: dict[str, str], version: ssl.TLSVersion
) -> None:
    context = their_client(files, later=False)
    context.minimum_version = context.maximum_version = version
    wire = Wire(our_server(pki, client_auth="required").connection(), context, server=False).carry()
    assert wire.ours.peer_chain[0] == pki.client.cert_der, "OpenSSL adds the root"


@pytest.mark.parametrize("shows", [True, False])
def test_openssl_shows_its_certificate_later(pki: Pki, files: dict[str, str], shows: bool) -> None:
    context = their_client(files, later=True, shows=shows)
    wire = Wire(our_server(pki, post_handshake_auth=True).connection(), context, server=False).carry()
    assert wire.ours.handshake_complete
    assert wire.ours.peer_chain == ()
    wire.ours.request_client_certificate()
    wire.carry()
    (event,) = [event for event in wire.events if isinstance(event, PeerAuthenticated)]
    assert event.chain == wire.ours.peer_chain
    assert event.chain[:1] == ((pki.client.cert_der,) if shows else ())
    wire.ours.send_data(b"welcome")
    assert wire.carry().read == b"welcome"


@pytest.mark.parametrize("shows", [True, False])
def test_openssl_asks_for_our_certificate_later(pki: Pki, files: dict[str, str], shows: bool) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files["server"], files["server_key"])
    context.load_verify_locations(files["ca"])
    context.verify_mode = ssl.CERT_OPTIONAL
    context.post_handshake_auth = True
    settings = {"certificate": pki.client.chain_pem, "private_key": pki.client.key_pem} if shows else {}
    client = ClientContext(trust=pki.trust_pem, post_handshake_auth=True, **settings)
    wire = Wire(client.connection("localhost"), context, server=True).carry()
    assert wire.ours.handshake_complete
    assert wire.theirs.getpeercert(True) is None
    wire.theirs._sslobj.verify_client_post_handshake()  # type: ignore[attr-defined]  # SSLObject has no name for it
    wire.theirs.write(b"who are you?")
    wire.carry()
    wire.ours.send_data(b"that is me")
    wire.carry()
    assert wire.theirs.getpeercert(True) == (pki.client.cert_der if shows else None)
    assert wire.read == b"that is me"


def test_openssl_refuses_to_ask_a_client_that_did_not_offer_it(pki: Pki, files: dict[str, str]) -> None:
    context = their_client(files, later=False)
    wire = Wire(our_server(pki, post_handshake_auth=True).connection(), context, server=False).carry()
    with pytest.raises(Error, match="did not offer"):
        wire.ours.request_client_certificate()
