"""Throw-away certificates: good enough for our verifier and for the standard library's."""

from __future__ import annotations

import ssl
import stat
import time
from pathlib import Path

import pytest

from resumption.cli.certificates import make_certificates
from resumption.crypto.certificates import CertifiedKey
from resumption.crypto.trust import TrustStore
from resumption.errors import CertificateExpired, HostnameMismatch


def test_the_chain_is_good_for_loopback_today_and_for_nothing_else(tmp_path: Path) -> None:
    made = make_certificates(tmp_path)
    key = CertifiedKey.load(str(made.chain), str(made.key))
    trust = TrustStore.load(str(made.authority))
    now = time.time()
    for name in ("localhost", "127.0.0.1", "::1"):
        trust.verify_server(key.chain, name, now)
    with pytest.raises(HostnameMismatch):
        trust.verify_server(key.chain, "example.test", now)
    with pytest.raises(CertificateExpired):
        trust.verify_server(key.chain, "localhost", now + 2 * 86_400)


def test_the_standard_library_loads_them_and_the_key_is_private(tmp_path: Path) -> None:
    made = make_certificates(tmp_path)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(made.chain, made.key)
    assert ssl.create_default_context(cafile=str(made.authority)).get_ca_certs()
    assert stat.S_IMODE(made.key.stat().st_mode) == 0o600


def test_no_two_are_alike(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, two = make_certificates(tmp_path / "a"), make_certificates(tmp_path / "b")
    assert one.key.read_bytes() != two.key.read_bytes()
    assert one.chain.read_bytes() != two.chain.read_bytes()
