"""Our verdicts on certificate chains beside those of ``openssl verify``, chain by chain and number by number."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from resumption.crypto.certificates import CertifiedKey
from resumption.crypto.names import server_name_of
from resumption.crypto.trust import TrustStore
from resumption.errors import CertificateError, ConfigurationError, HostnameMismatch
from tests.crypto.refusals import REFUSALS, Refusal
from tests.pki import LOOPBACK, Credential, Pki

pytestmark = pytest.mark.interop

NOW = time.time()

# OpenSSL 3.0 at security level 2 is what distributions ship. Where it says something else, on purpose:
ACCEPTED_BY_OPENSSL = {
    "Ed25519 authority": "cryptography's verifier takes no EdDSA authorities",
    "no digitalSignature": "RFC 9846, section 4.5.1.2, demands the bit; OpenSSL is content with keyEncipherment",
    "no names": "the openssl program looks at common names, Python's ssl module does not, nor do we",
}
OTHER_NUMBER = {
    "names of a kind that is not checked": 47,  # OpenSSL does check directory names
}


def openssl_verdict(
    openssl: str, directory: Path, credential: Credential, roots: bytes, *options: str
) -> tuple[int, str]:
    """OpenSSL's verify_code, 0 for a good chain, and all it said."""
    (directory / "roots.pem").write_bytes(roots)
    (directory / "leaf.pem").write_bytes(credential.cert_pem)
    sent = b"".join(c.public_bytes(serialization.Encoding.PEM) for c in credential.chain[1:])
    command = [openssl, "verify", "-auth_level", "2", "-no-CApath", "-no-CAstore", "-CAfile", "roots.pem"]
    if sent:
        (directory / "sent.pem").write_bytes(sent)
        command += ["-untrusted", "sent.pem"]
    result = subprocess.run(
        [*command, *options, "leaf.pem"], cwd=directory, capture_output=True, text=True, timeout=30, check=False
    )
    said = result.stdout + result.stderr
    if result.returncode == 0:
        return 0, said
    found = re.search(r"error (\d+) at", said)
    assert found is not None, said
    return int(found.group(1)), said


def roots_of(pki: Pki) -> bytes:
    return pki.trust_pem + pki.weak_root.cert_pem + pki.ed25519_root.cert_pem


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: str(case.reason))
def test_openssl_refuses_for_the_same_reason(openssl: str, tmp_path: Path, pki: Pki, case: Refusal) -> None:
    credential = case.make(pki)
    code, said = openssl_verdict(
        openssl, tmp_path, credential, roots_of(pki), "-purpose", "sslserver", "-verify_hostname", "localhost"
    )
    if case.reason in ACCEPTED_BY_OPENSSL:
        assert code == 0, said
    else:
        assert code == OTHER_NUMBER.get(case.reason, case.code), said


@pytest.mark.parametrize(
    "kind",
    ["ecdsa_p256", "ecdsa_p384", "ecdsa_p521", "ed25519", "ed448", "rsa2048", "rsa2048_pss_signed"],
)
def test_both_accept_good_chains(openssl: str, tmp_path: Path, pki: Pki, kind: str) -> None:
    credential: Credential = getattr(pki, kind)
    options = ("-purpose", "sslserver", "-verify_hostname", "localhost", "-verify_ip", "::1")
    assert openssl_verdict(openssl, tmp_path, credential, pki.trust_pem, *options)[0] == 0
    assert TrustStore.load(pki.trust_pem).verify_server(credential.chain_der, "localhost", NOW)


@pytest.mark.parametrize("kind", ["client", "client_rsa", "client_without_san", "ecdsa_p256"])
def test_both_judge_clients_alike(openssl: str, tmp_path: Path, pki: Pki, kind: str) -> None:
    credential: Credential = getattr(pki, kind)
    code, said = openssl_verdict(openssl, tmp_path, credential, pki.trust_pem, "-purpose", "sslclient")
    assert code == ours(TrustStore.load(pki.trust_pem), credential, None), said


def ours(store: TrustStore, credential: Credential, name: str | None) -> int:
    """Our own verify_code; without a name, as a client's certificate."""
    try:
        if name is None:
            store.verify_client(credential.chain_der, NOW)
        else:
            store.verify_server(credential.chain_der, name, NOW)
    except CertificateError as error:
        return error.verify_code
    return 0


@pytest.mark.parametrize("names", [["example.test"], ["*.example.test"], ["w*.example.test"], ["my_service"], ["::1"]])
@pytest.mark.parametrize(
    "asked",
    ["example.test", "EXAMPLE.TEST", "www.example.test", "a.b.example.test", "my_service", "::1", "127.0.0.1"],
)
def test_both_judge_names_alike(openssl: str, tmp_path: Path, pki: Pki, names: list[str], asked: str) -> None:
    credential = pki.server(*names)
    option = "-verify_ip" if server_name_of(asked).is_address else "-verify_hostname"
    code, said = openssl_verdict(openssl, tmp_path, credential, pki.trust_pem, option, asked)
    mine = ours(TrustStore.load(pki.trust_pem), credential, asked)
    if names == ["w*.example.test"] and asked == "www.example.test":
        assert (code, mine) == (0, 62), said  # RFC 9525, section 6.3: a wildcard is a whole label
    else:
        assert code == mine, said


# --- certificates that OpenSSL made --------------------------------------------------------------------------------


def run(openssl: str, directory: Path, *arguments: str) -> None:
    subprocess.run([openssl, *arguments], cwd=directory, check=True, capture_output=True, timeout=60)


def openssl_now() -> float:
    """Certificates made a moment ago begin now: ask a moment later."""
    return time.time() + 2


@pytest.mark.parametrize(
    "key", [("rsa:2048",), ("ec", "-pkeyopt", "ec_paramgen_curve:P-256"), ("ed25519",)], ids=lambda key: str(key[0])
)
def test_what_openssl_req_x509_makes_is_its_own_anchor(openssl: str, tmp_path: Path, key: tuple[str, ...]) -> None:
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    output = ("-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj", "/CN=localhost")
    run(openssl, tmp_path, "req", "-x509", "-newkey", *key, *output, "-addext", names)
    loaded = CertifiedKey.load(tmp_path / "cert.pem", tmp_path / "key.pem")
    store = TrustStore.load(tmp_path / "cert.pem")
    for name in LOOPBACK[:2]:
        assert store.verify_server(loaded.chain, name, openssl_now()) == loaded.chain
    with pytest.raises(HostnameMismatch):
        store.verify_server(loaded.chain, "example.test", openssl_now())


def test_a_small_authority_made_with_openssl_x509(openssl: str, tmp_path: Path, pki: Pki) -> None:
    pki.rsa_root.write(tmp_path, "ca")
    request = ("req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "csr.pem")
    run(openssl, tmp_path, *request, "-subj", "/CN=localhost")
    (tmp_path / "ext").write_text("subjectAltName=DNS:localhost\n")
    sign = ("x509", "-req", "-in", "csr.pem", "-CA", "ca-root.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2")
    store = TrustStore.load(tmp_path / "ca-root.pem")

    run(openssl, tmp_path, *sign, "-extfile", "ext", "-out", "good.pem")
    good = CertifiedKey.load(tmp_path / "good.pem", tmp_path / "key.pem")
    assert store.verify_server(good.chain, "localhost", openssl_now())

    run(openssl, tmp_path, *sign, "-sha1", "-extfile", "ext", "-out", "sha1.pem")
    with pytest.raises(ConfigurationError, match="SHA-1"):
        CertifiedKey.load(tmp_path / "sha1.pem", tmp_path / "key.pem")
    sha1 = x509.load_pem_x509_certificate((tmp_path / "sha1.pem").read_bytes())
    with pytest.raises(CertificateError, match="signed with SHA1") as caught:
        store.verify_server((sha1.public_bytes(serialization.Encoding.DER),), "localhost", openssl_now())
    assert caught.value.verify_code == 68


def test_a_rehashed_directory(openssl: str, tmp_path: Path, pki: Pki) -> None:
    (tmp_path / "root.pem").write_bytes(pki.root.cert_pem)
    (tmp_path / "rsa.pem").write_bytes(pki.rsa_root.cert_pem)
    run(openssl, tmp_path, "rehash", str(tmp_path))
    hashed = [path for path in tmp_path.iterdir() if path.suffix == ".0"]
    assert len(hashed) == 2
    for link in hashed:
        content = link.read_bytes()
        link.unlink()
        link.write_bytes(content)
    for plain in tmp_path.glob("*.pem"):
        plain.unlink()
    store = TrustStore.load(tmp_path)
    assert set(store.certificates) == {pki.root.cert_der, pki.rsa_root.cert_der}
    assert store.verify_server(pki.ecdsa_p256.chain_der, "localhost", NOW)


def test_pem_text_that_openssl_wrote_is_read(openssl: str, tmp_path: Path, pki: Pki) -> None:
    pki.root.write(tmp_path, "ca")
    run(openssl, tmp_path, "x509", "-in", "ca-root.pem", "-text", "-out", "text.pem")
    assert TrustStore.load(tmp_path / "text.pem").certificates == (pki.root.cert_der,)
    assert x509.load_pem_x509_certificate((tmp_path / "text.pem").read_bytes()) == pki.root.certificate
