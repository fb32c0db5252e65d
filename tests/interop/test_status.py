"""Stapled OCSP responses between OpenSSL and this library, in both roles."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from resumption import ClientContext, ServerContext
from tests import peers
from tests.handshake.test_status import response
from tests.interop.ours import our_server, visit
from tests.pki import Pki

pytestmark = pytest.mark.interop

FLAGS = ("-tls1_2", "-tls1_3")


@pytest.mark.parametrize("flag", FLAGS)
def test_openssl_client_gets_our_response(pki: Pki, flag: str) -> None:
    leaf = pki.ecdsa_p256
    server = ServerContext(leaf.chain_pem, leaf.key_pem, ocsp_response=response(leaf, time.time()))
    with our_server(server) as serving:
        run = peers.openssl_client(serving.port, flag, "-status", ca=pki.trust_pem)
        silent = peers.openssl_client(serving.port, flag, ca=pki.trust_pem)
    assert "OCSP Response Status: successful" in run.output
    assert "Cert Status: good" in run.output
    assert "OCSP Response" not in silent.output
    assert not serving.errors


@pytest.mark.parametrize("flag", FLAGS)
def test_our_client_judges_what_openssl_shows(pki: Pki, tmp_path: Path, flag: str) -> None:
    leaf = pki.ecdsa_p256
    file = tmp_path / "response.der"
    file.write_bytes(response(leaf, time.time()))
    with peers.openssl_server(leaf, flag, "-www", "-status_file", str(file)) as server:
        client = ClientContext(trust=pki.trust_pem, ocsp="require")
        visit(client, server.port).session.free()
