"""Revocation lists: what they revoke, which count, and what cannot be read."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from resumption.crypto.crls import RevocationLists
from resumption.crypto.trust import TrustStore
from resumption.errors import CertificateError, CertificateRevoked, ConfigurationError
from tests.crls import DAY_S, crl
from tests.pki import Credential, Pki, issue

NO_LIST, EXPIRED_LIST = 3, 12


@pytest.fixture(scope="module")
def trust(pki: Pki) -> TrustStore:
    return TrustStore.load(pki.trust_pem)


def path_of(credential: Credential) -> tuple[bytes, ...]:
    return (*credential.chain_der, credential.root.cert_der)


def verdict(lists: RevocationLists, credential: Credential, trust: TrustStore, now: float | None = None) -> int:
    """0, or OpenSSL's number for what is wrong."""
    try:
        lists.check(path_of(credential), trust, time.time() if now is None else now)
    except CertificateRevoked:
        return 23
    except CertificateError as error:
        return error.verify_code
    return 0


def test_what_a_list_names_is_revoked_and_nothing_else(pki: Pki, trust: TrustStore) -> None:
    lists = RevocationLists.load(crl(pki.root, pki.client))
    assert verdict(lists, pki.client, trust) == 23
    assert verdict(lists, pki.ecdsa_p256, trust) == 0
    assert verdict(lists, pki.under_intermediate, trust) == 0
    assert lists.allow(path_of(pki.ecdsa_p256), trust, time.time())
    assert not lists.allow(path_of(pki.client), trust, time.time())


def test_an_authority_can_be_revoked(pki: Pki, trust: TrustStore) -> None:
    assert verdict(RevocationLists.load(crl(pki.root, pki.intermediate)), pki.under_intermediate, trust) == 23
    under = RevocationLists.load(crl(pki.intermediate, pki.under_intermediate))
    assert verdict(under, pki.under_intermediate, trust) == 23


def test_what_is_trusted_by_name_no_list_revokes(pki: Pki, trust: TrustStore) -> None:
    assert verdict(RevocationLists.load(crl(pki.root, pki.root)), pki.client, trust) == 0


def test_a_list_that_is_out_of_date_still_revokes_and_no_longer_covers(pki: Pki, trust: TrustStore) -> None:
    source = crl(pki.root, pki.client)
    later = time.time() + 2 * DAY_S
    for strict in (False, True):
        lists = RevocationLists.load(source, strict=strict)
        assert verdict(lists, pki.client, trust, later) == 23
        assert verdict(lists, pki.ecdsa_p256, trust, later) == (EXPIRED_LIST if strict else 0)
        assert verdict(lists, pki.ecdsa_p256, trust, time.time() - DAY_S) == (EXPIRED_LIST if strict else 0)


def test_strict_demands_a_list_for_every_certificate_below_the_trusted_one(pki: Pki, trust: TrustStore) -> None:
    of_root, of_intermediate = crl(pki.root), crl(pki.intermediate)
    assert verdict(RevocationLists.load(of_root, strict=True), pki.client, trust) == 0
    assert verdict(RevocationLists.load(of_root, strict=True), pki.under_intermediate, trust) == NO_LIST
    assert verdict(RevocationLists.load(of_intermediate, strict=True), pki.under_intermediate, trust) == NO_LIST
    assert verdict(RevocationLists.load([of_root, of_intermediate], strict=True), pki.under_intermediate, trust) == 0
    assert verdict(RevocationLists.load(crl(pki.other_root), strict=True), pki.client, trust) == NO_LIST


def test_a_list_that_another_key_signed_counts_for_nothing(pki: Pki, trust: TrustStore) -> None:
    forged = crl(pki.root, pki.client, signer=pki.other_root)
    assert verdict(RevocationLists.load(forged), pki.client, trust) == 0
    assert (
        verdict(RevocationLists.load(crl(pki.root, signer=pki.other_root), strict=True), pki.client, trust) == NO_LIST
    )


def test_a_certificate_in_the_chain_that_borrows_the_authoritys_name_takes_no_list_away(
    pki: Pki, trust: TrustStore
) -> None:
    name = pki.root.certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value
    assert isinstance(name, str)
    double = issue(name, ca=True)
    lists = RevocationLists.load(crl(pki.root, pki.client))
    with pytest.raises(CertificateRevoked):
        lists.check((*pki.client.chain_der, double.cert_der), trust, time.time())


def test_an_authority_that_may_not_sign_lists_signs_none(pki: Pki) -> None:
    usage = dict.fromkeys(
        (
            "digital_signature",
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    root = issue("no lists", ca=True, key_usage=False, extra=[(x509.KeyUsage(key_cert_sign=True, **usage), True)])
    leaf = issue("leaf", issuer=root)
    trust = TrustStore.load(root.cert_pem)
    assert verdict(RevocationLists.load(crl(root, leaf)), leaf, trust) == 0


def scope(**changes: Any) -> tuple[x509.ExtensionType, bool]:
    fields: dict[str, Any] = {
        "full_name": None,
        "relative_name": None,
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "only_some_reasons": None,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
    }
    return x509.IssuingDistributionPoint(**{**fields, **changes}), True


POINT = [x509.UniformResourceIdentifier("http://crl.example/1")]


def test_a_list_speaks_of_its_scope_alone(pki: Pki, trust: TrustStore) -> None:
    users = crl(pki.root, pki.client, extra=[scope(only_contains_user_certs=True)])
    authorities = crl(pki.root, pki.client, pki.intermediate, extra=[scope(only_contains_ca_certs=True)])
    assert verdict(RevocationLists.load(users, strict=True), pki.client, trust) == 23
    assert verdict(RevocationLists.load(users, strict=True), pki.ecdsa_p256, trust) == 0
    assert verdict(RevocationLists.load(users, strict=True), pki.under_intermediate, trust) == NO_LIST
    assert verdict(RevocationLists.load(authorities), pki.client, trust) == 0
    assert verdict(RevocationLists.load(authorities), pki.under_intermediate, trust) == 23
    assert verdict(RevocationLists.load(authorities, strict=True), pki.client, trust) == NO_LIST
    some = crl(pki.root, pki.client, extra=[scope(only_some_reasons=frozenset([x509.ReasonFlags.key_compromise]))])
    assert verdict(RevocationLists.load(some, strict=True), pki.client, trust) == 23
    assert verdict(RevocationLists.load(some, strict=True), pki.ecdsa_p256, trust) == NO_LIST


def test_a_list_of_one_distribution_point_covers_the_certificates_that_name_it(pki: Pki, trust: TrustStore) -> None:
    point = x509.CRLDistributionPoints([x509.DistributionPoint(POINT, None, None, None)])
    named = issue("named", issuer=pki.root, extra=[(point, False)])
    lists = RevocationLists.load(crl(pki.root, extra=[scope(full_name=POINT)]), strict=True)
    assert verdict(lists, named, trust) == 0
    assert verdict(lists, pki.client, trust) == NO_LIST


def test_lists_come_as_files_text_bytes_and_objects(pki: Pki, trust: TrustStore, tmp_path: Path) -> None:
    pem = crl(pki.root, pki.client)
    parsed = x509.load_pem_x509_crl(pem)
    der = parsed.public_bytes(Encoding.DER)
    file = tmp_path / "crl.pem"
    file.write_bytes(b"a comment\n" + pem + crl(pki.intermediate))
    (tmp_path / "crl.der").write_bytes(der)
    for source in (pem, pem.decode(), der, parsed, str(tmp_path / "crl.der"), [pem, [der]]):
        assert verdict(RevocationLists.load(source), pki.client, trust) == 23
    assert RevocationLists.load(file).count == 2
    assert repr(RevocationLists.load(file, strict=True)) == "<RevocationLists 2 strict>"
    assert RevocationLists.of(None) is None


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (b"", "no revocation list found"),
        (b"\x30\x03\x02\x01\x00", "damaged"),
        (b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----", "damaged"),
        ("/nowhere/crl.pem", "cannot read"),
        (7, "is a path"),
    ],
)
def test_what_is_no_list_is_a_configuration_error(source: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        RevocationLists.load(source)


@pytest.mark.parametrize("kind", ["delta", "indirect", "unknown"])
def test_a_list_that_would_be_misread_is_refused(pki: Pki, kind: str) -> None:
    extra: dict[str, tuple[x509.ExtensionType, bool]] = {
        "delta": (x509.DeltaCRLIndicator(1), True),
        "indirect": scope(indirect_crl=True),
        "unknown": (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True),
    }
    with pytest.raises(ConfigurationError, match=r"supported|understood"):
        RevocationLists.load(crl(pki.root, extra=[extra[kind]]))


def test_ten_thousand_entries_are_looked_up_and_not_searched(pki: Pki, trust: TrustStore) -> None:
    parsed = x509.load_pem_x509_crl(crl(pki.root, *[pki.client] * 10_000))
    (read,) = RevocationLists([parsed])._by_issuer[pki.root.certificate.subject.public_bytes()]
    assert read.serials == {pki.client.certificate.serial_number}
