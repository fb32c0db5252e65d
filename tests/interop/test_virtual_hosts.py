"""Virtual hosts and chains side by side, seen by OpenSSL's client: by name, by signature scheme, and resumed."""

from __future__ import annotations

from pathlib import Path

import pytest

from resumption import ServerContext
from tests import peers
from tests.interop.ours import our_server
from tests.peers import resumed
from tests.pki import Pki

pytestmark = pytest.mark.interop

FLAGS = ("-tls1_2", "-tls1_3")


@pytest.mark.parametrize("flag", FLAGS)
def test_openssl_client_gets_its_host_and_resumes_only_there(pki: Pki, tmp_path: Path, flag: str) -> None:
    leaves = {name: pki.server(name) for name in ("a.test", "b.test")}
    hosts = {name: ServerContext(leaf.chain_pem, leaf.key_pem) for name, leaf in leaves.items()}
    session = str(tmp_path / "session.pem")
    server = ServerContext(pki.ecdsa_p256.chain_pem, pki.ecdsa_p256.key_pem, hosts=hosts)
    with our_server(server) as serving:
        runs = [
            peers.openssl_client(serving.port, flag, *option, session, ca=pki.trust_pem, name=name)
            for option, name in (
                (["-sess_out"], "a.test"),
                (["-sess_in", session, "-sess_out"], "a.test"),
                (["-sess_in"], "b.test"),
                (["-sess_out"], "localhost"),
            )
        ]
    assert [run.status for run in runs] == [0, 0, 0, 0]
    assert [resumed(run.output)[0] for run in runs] == [False, True, False, False]
    assert ["CN = a.test" in run.output.replace("CN=", "CN = ") for run in runs[:1]] == [True]
    assert "b.test" in runs[2].output
    assert not serving.errors


@pytest.mark.parametrize("flag", FLAGS)
def test_openssl_client_gets_the_chain_that_fits_its_schemes(pki: Pki, flag: str) -> None:
    ecdsa, rsa = pki.ecdsa_p256, pki.rsa2048
    server = ServerContext(ecdsa.chain_pem, ecdsa.key_pem, certificates=[(rsa.chain_pem, rsa.key_pem)])
    with our_server(server) as serving:
        outputs = [
            peers.openssl_client(serving.port, flag, "-sigalgs", schemes, ca=pki.trust_pem).output.lower()
            for schemes in ("ECDSA+SHA256", "RSA-PSS+SHA256:RSA+SHA256", "RSA+SHA256:RSA-PSS+SHA256:ECDSA+SHA256")
        ]
    kinds = ["rsa" if "signature type: rsa" in output else "ecdsa" for output in outputs]
    assert kinds == ["ecdsa", "rsa", "ecdsa"], "the server's order where both would do"
    assert not serving.errors


def test_openssl_client_hears_that_a_name_is_unknown(pki: Pki) -> None:
    leaf = pki.ecdsa_p256
    server = ServerContext(leaf.chain_pem, leaf.key_pem, unknown_host="refuse")
    with our_server(server) as serving:
        run = peers.openssl_client(serving.port, ca=pki.trust_pem, name="nobody.test")
    assert "unrecognized name" in run.output
    assert run.status != 0
