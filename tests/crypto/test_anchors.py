"""`resumption.crypto.anchors`: where trusted roots come from, and the one parsed copy that a process keeps."""

from __future__ import annotations

import os
import sys
import threading
import types
import warnings
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.utils import CryptographyDeprecationWarning

from resumption.crypto import anchors as module
from resumption.crypto.anchors import Anchors, anchors_from, name_key, system_locations
from resumption.crypto.certificates import read_source
from resumption.errors import ConfigurationError
from tests.pki import Pki, issue


def ders(anchors: Anchors) -> set[bytes]:
    return {c.public_bytes(serialization.Encoding.DER) for c in anchors.certificates}


def test_sources_of_every_kind_give_the_same_anchors(pki: Pki, tmp_path: Path) -> None:
    file, directory = tmp_path / "ca.pem", tmp_path / "directory"
    file.write_bytes(pki.root.cert_pem)
    (tmp_path / "ca.der").write_bytes(pki.root.cert_der)
    directory.mkdir()
    (directory / "one.pem").write_bytes(pki.root.cert_pem)
    wanted = anchors_from([file])
    assert ders(wanted) == {pki.root.cert_der}
    sources: list[module.TrustSource] = [
        str(file),
        tmp_path / "ca.der",
        directory,
        pki.root.cert_pem,
        pki.root.cert_pem.decode(),
        pki.root.cert_der,
        pki.root.certificate,
        [pki.root.certificate],
        [[str(file)], pki.root.certificate],
        (part for part in [file, directory]),
    ]
    for source in sources:
        assert anchors_from([source]).digest == wanted.digest


def test_several_sources_together_are_one_set(pki: Pki, tmp_path: Path) -> None:
    file = pki.write_trust(tmp_path)
    both = anchors_from([file, pki.root.certificate, pki.other_root.cert_der])
    assert ders(both) == {pki.root.cert_der, pki.rsa_root.cert_der, pki.other_root.cert_der}
    assert both.count == 3
    assert pki.root.certificate in both
    assert pki.ecdsa_p256.certificate not in both


def test_digest_depends_on_the_set_alone(pki: Pki) -> None:
    one_way = anchors_from([pki.root.certificate, pki.rsa_root.certificate])
    other_way = anchors_from([pki.rsa_root.cert_pem, pki.root.cert_der, pki.root.cert_der])
    assert one_way is not other_way
    assert one_way.digest == other_way.digest
    assert len(one_way.digest) == 32
    assert anchors_from([pki.root.certificate]).digest != one_way.digest
    assert anchors_from([[]]).digest not in (one_way.digest, b"")


def test_a_directory_is_read_by_openssls_hashes_and_by_suffix(pki: Pki, tmp_path: Path) -> None:
    roots = [issue(f"root {number}", ca=True) for number in range(6)]
    names = ["1a2b3c4d.0", "1a2b3c4d.1", "a.pem", "B.CRT", "c.cer", "README.txt"]
    for name, root in zip(names, roots, strict=True):
        (tmp_path / name).write_bytes(root.cert_pem)
    (tmp_path / "deadbeef.0").symlink_to(tmp_path / "a.pem")
    (tmp_path / "00000000.0").symlink_to(tmp_path / "nowhere")
    (tmp_path / "rubbish.pem").write_bytes(b"rubbish")
    (tmp_path / "folder.pem").mkdir()
    anchors = anchors_from([tmp_path])
    assert ders(anchors) == {root.cert_der for root in roots[:5]}


def test_an_empty_directory_or_list_trusts_nobody(tmp_path: Path) -> None:
    for empty in (anchors_from([tmp_path]), anchors_from([[]]), anchors_from([])):
        assert empty.count == 0
        assert empty.builder is None


def test_roots_that_cannot_be_read_are_skipped(pki: Pki) -> None:
    broken = pki.rsa_root.cert_pem.replace(b"MII", b"MIJ", 1)
    bad_extension = issue(
        "bad", ca=True, extra=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), b"\x04"), False)]
    )
    anchors = anchors_from([broken + bad_extension.cert_pem + pki.root.cert_pem])
    assert ders(anchors) == {pki.root.cert_der}


def test_warnings_about_old_roots_are_kept_from_the_user(pki: Pki) -> None:
    # Serial number 0, as in certificates of the usual bundles.
    serial = b"\x02\x02" + pki.root.certificate.serial_number.to_bytes(2, "big")
    assert serial in pki.root.cert_der
    zero = pki.root.cert_der.replace(serial, b"\x02\x02\xff\x00", 1)
    with pytest.warns(CryptographyDeprecationWarning):
        x509.load_der_x509_certificate(zero)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert anchors_from([zero]).count == 1


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("/nowhere/ca.pem", "cannot read the trust file /nowhere/ca.pem: no such file"),
        ("a\0b", "no such file"),
        (b"", "no certificate in the given bytes"),
        (b"rubbish", "no certificate in the given bytes"),
        ("-----BEGIN RUBBISH-----", "no certificate in the given bytes"),
        (42, "a trust source is a file"),
        ([42], "a trust source is a file"),
    ],
)
def test_a_source_that_makes_no_sense_is_refused_at_once(source: module.TrustSource, text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        anchors_from([source])


def test_a_file_without_certificates_is_refused_at_once(pki: Pki, tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(pki.root.key_pem)
    with pytest.raises(ConfigurationError, match=r"no certificate in .*key\.pem"):
        anchors_from([path])


def test_a_directory_that_cannot_be_listed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object) -> list[str]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(ConfigurationError, match=r"cannot read the trust directory .*Permission denied"):
        anchors_from([tmp_path])


# --- one parsed copy per process -----------------------------------------------------------------------------------


def test_the_same_sources_share_one_parsed_set(pki: Pki, tmp_path: Path) -> None:
    path = pki.write_trust(tmp_path)
    first = anchors_from([path])
    assert anchors_from([str(path)]) is first
    assert anchors_from([path, path]) is not first
    assert anchors_from([bytes(bytearray(pki.trust_pem))]) is anchors_from([pki.trust_pem])


def test_a_changed_file_is_read_again(pki: Pki, tmp_path: Path) -> None:
    path = pki.write_trust(tmp_path)
    before = anchors_from([path])
    path.write_bytes(pki.other_root.cert_pem)
    after = anchors_from([path])
    assert ders(before) == {pki.root.cert_der, pki.rsa_root.cert_der}
    assert ders(after) == {pki.other_root.cert_der}


def test_a_changed_directory_is_read_again(pki: Pki, tmp_path: Path) -> None:
    (tmp_path / "one.pem").write_bytes(pki.root.cert_pem)
    assert anchors_from([tmp_path]).count == 1
    (tmp_path / "two.pem").write_bytes(pki.rsa_root.cert_pem)
    assert anchors_from([tmp_path]).count == 2


def test_the_memory_of_sets_is_bounded(pki: Pki) -> None:
    for number in range(module._REMEMBERED_SETS + 10):
        anchors_from([[pki.root.certificate] * number])
    assert len(module._remembered) == module._REMEMBERED_SETS


def test_parsing_waits_for_the_first_use_and_happens_once(pki: Pki) -> None:
    calls: list[int] = []

    def read() -> list[bytes]:
        calls.append(1)
        return [pki.root.cert_der]

    anchors = Anchors(read)
    assert not calls
    threads = [threading.Thread(target=lambda: anchors.certificates) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert anchors.count == 1
    assert len(calls) == 1


def test_issuers_are_found_by_name(pki: Pki) -> None:
    anchors = anchors_from([pki.trust_pem, pki.other_root.certificate])
    assert set(anchors.issuers_of(pki.ecdsa_p256.certificate)) == {pki.root.certificate, pki.other_root.certificate}
    assert anchors.issuers_of(pki.self_signed.certificate) == []


def test_encodings_of_anchors_and_of_others(pki: Pki) -> None:
    anchors = anchors_from([pki.trust_pem])
    for certificate in (*anchors.certificates, pki.ecdsa_p256.certificate):
        assert anchors.encoding_of(certificate) == certificate.public_bytes(serialization.Encoding.DER)


def test_a_name_that_cannot_be_read_has_an_empty_key(pki: Pki) -> None:
    country = x509.Name([x509.NameAttribute(x509.NameOID.COUNTRY_NAME, "DE")])
    odd = issue("x", ca=True).certificate
    assert name_key(odd, "subject") == odd.subject.public_bytes()
    template = pki.root.certificate
    builder = x509.CertificateBuilder(
        country,
        country,
        pki.root.private_key.public_key(),
        1,
        template.not_valid_before_utc,
        template.not_valid_after_utc,
    )
    der = builder.sign(pki.root.private_key, hashes.SHA256())
    encoded = der.public_bytes(serialization.Encoding.DER)
    assert b"\x13\x02DE" in encoded
    unreadable = x509.load_der_x509_certificate(encoded.replace(b"\x13\x02DE", b"\x0c\x02\xff\xff"))
    assert name_key(unreadable, "subject") == b""


# --- the system's roots --------------------------------------------------------------------------------------------


@pytest.fixture
def bare_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A system without any of the usual places, environment or certifi; returns a folder to put some into."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    monkeypatch.setattr(module, "_SYSTEM_FILES", (str(tmp_path / "bundle-1"), str(tmp_path / "bundle-2")))
    monkeypatch.setattr(module, "_SYSTEM_DIRECTORIES", (str(tmp_path / "certs"),))
    monkeypatch.setitem(sys.modules, "certifi", None)
    return tmp_path


def test_the_first_usual_file_is_the_system(bare_system: Path, pki: Pki) -> None:
    (bare_system / "certs").mkdir()
    assert system_locations() == [bare_system / "certs"]
    (bare_system / "bundle-2").write_bytes(pki.root.cert_pem)
    assert system_locations() == [bare_system / "bundle-2"]
    assert ders(anchors_from([None])) == {pki.root.cert_der}
    (bare_system / "bundle-1").write_bytes(pki.rsa_root.cert_pem)
    assert ders(anchors_from([None])) == {pki.rsa_root.cert_der}


def test_the_environment_comes_first(bare_system: Path, pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    (bare_system / "bundle-1").write_bytes(pki.other_root.cert_pem)
    (bare_system / "mine.pem").write_bytes(pki.root.cert_pem)
    for name in ("one", "two"):
        (bare_system / name).mkdir()
    (bare_system / "two" / "a.pem").write_bytes(pki.rsa_root.cert_pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(bare_system / "mine.pem"))
    assert ders(anchors_from([None])) == {pki.root.cert_der}
    monkeypatch.setenv("SSL_CERT_DIR", os.pathsep.join([str(bare_system / "one"), str(bare_system / "two"), ""]))
    assert ders(anchors_from([None])) == {pki.root.cert_der, pki.rsa_root.cert_der}
    monkeypatch.setenv("SSL_CERT_FILE", str(bare_system / "missing.pem"))
    with pytest.raises(ConfigurationError, match=r"SSL_CERT_FILE or SSL_CERT_DIR names .*missing\.pem"):
        anchors_from([None])


def test_certifi_is_the_last_resort(bare_system: Path, pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="pip install certifi"):
        anchors_from([None])
    (bare_system / "certifi.pem").write_bytes(pki.root.cert_pem)
    fake = types.ModuleType("certifi")
    fake.where = lambda: str(bare_system / "certifi.pem")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "certifi", fake)
    assert ders(anchors_from([None])) == {pki.root.cert_der}


def test_the_systems_roots_are_read_at_the_first_use_only(
    bare_system: Path, pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bare_system / "bundle-1").write_bytes(pki.root.cert_pem)
    reads: list[object] = []

    def read(source: Path, what: str) -> bytes:
        reads.append(source)
        return read_source(source, what)

    monkeypatch.setattr(module, "read_source", read)
    anchors = anchors_from([None])
    assert not reads
    assert anchors.count == 1
    assert reads == [bare_system / "bundle-1"]


def test_the_real_systems_roots_can_be_loaded() -> None:
    try:
        system_locations()
    except ConfigurationError:
        pytest.skip("this machine has no trusted roots")
    assert anchors_from([None]).count > 0
