"""`resumption.crypto.trust`: which chains are good, under which names, within which limits."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st

from resumption.crypto import trust as module
from resumption.crypto.names import name_matches
from resumption.crypto.trust import PolicyName, TrustStore, VerdictCache
from resumption.errors import (
    BadCertificate,
    CertificateError,
    CertificateExpired,
    ConfigurationError,
    HostnameMismatch,
    UnknownCA,
    UnsupportedCertificate,
)
from tests.pki import CLIENT_AUTH, DAY_S, LOOPBACK, SERVER_AUTH, Credential, Pki, issue

NOW = time.time()


@pytest.fixture(scope="module")
def store(pki: Pki) -> TrustStore:
    return TrustStore.load(pki.trust_pem)


@pytest.fixture(scope="module")
def strict(pki: Pki) -> TrustStore:
    return TrustStore.load(pki.trust_pem, policy="strict")


# --- good chains ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [
        "ecdsa_p256",
        "ecdsa_p384",
        "ecdsa_p521",
        "ed25519",
        "ed448",
        "rsa2048",
        "rsa2048_pss_signed",
        "under_intermediate",
    ],
)
@pytest.mark.parametrize("policy", ["default", "strict"])
def test_good_server_chains_of_every_kind(pki: Pki, kind: str, policy: PolicyName) -> None:
    credential: Credential = getattr(pki, kind)
    store = TrustStore.load(pki.trust_pem, policy=policy)
    for name in LOOPBACK:
        verified = store.verify_server(credential.chain_der, name, NOW)
        assert verified == (*credential.chain_der, credential.root.cert_der)
    assert store.verify_server(credential.chain_der, None, NOW) == verified


@pytest.mark.proves("9846:4.5.1:9")
def test_extra_certificates_and_any_order_are_accepted(pki: Pki, store: TrustStore) -> None:
    leaf, intermediate = pki.under_intermediate.chain_der
    for chain in (
        [leaf, pki.root.cert_der, intermediate],
        [leaf, pki.self_signed.cert_der, intermediate, intermediate],
        [leaf, pki.other_root.cert_der, intermediate, pki.root.cert_der],
    ):
        assert store.verify_server(chain, "localhost", NOW) == (leaf, intermediate, pki.root.cert_der)


def test_what_trustme_issues_is_accepted() -> None:
    authority = trustme.CA()
    server = authority.issue_cert("localhost", "127.0.0.1", "*.example.test")
    chain = [
        x509.load_pem_x509_certificate(pem.bytes()).public_bytes(serialization.Encoding.DER)
        for pem in server.cert_chain_pems
    ]
    store = TrustStore.load(authority.cert_pem.bytes())
    for name in ("localhost", "127.0.0.1", "www.example.test"):
        assert store.verify_server(chain, name, NOW)
    assert store.verify_client(chain, NOW)
    with pytest.raises(HostnameMismatch):
        store.verify_server(chain, "example.test", NOW)


def test_a_self_signed_certificate_is_its_own_anchor(pki: Pki) -> None:
    for own in (pki.self_signed, issue("localhost", names=LOOPBACK)):
        store = TrustStore.load(own.certificate)
        assert store.verify_server(own.chain_der, "localhost", NOW) == own.chain_der
        assert store.verify_client(own.chain_der, NOW) == own.chain_der


def test_missing_key_identifiers_and_key_usage_are_accepted() -> None:
    root = issue("bare root", ca=True, key_usage=False, key_identifiers=False)
    leaf = issue("leaf", issuer=root, names=LOOPBACK, key_usage=False, key_identifiers=False)
    assert TrustStore.load(root.certificate).verify_server(leaf.chain_der, "localhost", NOW)


def test_critical_names_and_purposes_are_accepted(pki: Pki, store: TrustStore) -> None:
    leaf = issue("leaf", issuer=pki.root, names=LOOPBACK, purposes=[SERVER_AUTH], critical=True)
    assert store.verify_server(leaf.chain_der, "localhost", NOW)


@pytest.mark.parametrize("purpose", [ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE, None])
def test_any_purpose_or_none_is_good_for_all(pki: Pki, store: TrustStore, purpose: x509.ObjectIdentifier) -> None:
    purposes = None if purpose is None else [purpose]
    authority = issue("authority", issuer=pki.root, ca=True, purposes=purposes)
    leaf = issue("leaf", issuer=authority, names=LOOPBACK, purposes=purposes)
    assert store.verify_server(leaf.chain_der, "localhost", NOW)
    assert store.verify_client(leaf.chain_der, NOW)


def test_any_trusted_certificate_ends_the_path(pki: Pki) -> None:
    leaf = pki.under_intermediate
    middle = TrustStore.load(pki.intermediate.certificate)
    assert middle.verify_server(leaf.chain_der[:1], "localhost", NOW) == leaf.chain_der
    pinned = TrustStore.load(leaf.certificate)
    assert pinned.verify_server(leaf.chain_der[:1], "localhost", NOW) == leaf.chain_der[:1]
    with pytest.raises(HostnameMismatch):
        pinned.verify_server(leaf.chain_der[:1], "example.test", NOW)


# --- clients -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["client", "client_rsa", "client_without_san"])
def test_good_client_chains(pki: Pki, store: TrustStore, kind: str) -> None:
    credential: Credential = getattr(pki, kind)
    assert store.verify_client(credential.chain_der, NOW) == (credential.cert_der, credential.root.cert_der)


@pytest.mark.parametrize("policy", ["default", "strict"])
def test_server_and_client_purposes_are_not_mixed_up(pki: Pki, policy: PolicyName) -> None:
    store = TrustStore.load(pki.trust_pem, policy=policy)
    only_client = issue("authority", issuer=pki.root, ca=True, purposes=[CLIENT_AUTH])
    only_server = issue("authority", issuer=pki.root, ca=True, purposes=[SERVER_AUTH])
    both = [SERVER_AUTH, CLIENT_AUTH]
    wrong_server = [pki.client, issue("localhost", issuer=only_client, names=LOOPBACK, purposes=both)]
    for credential in wrong_server:
        assert store.verify_client(credential.chain_der, NOW)
        for name in ("localhost", "client.test", None):
            with pytest.raises(CertificateError):
                store.verify_server(credential.chain_der, name, NOW)
    for credential in (pki.ecdsa_p256, issue("localhost", issuer=only_server, names=LOOPBACK, purposes=both)):
        assert store.verify_server(credential.chain_der, "localhost", NOW)
        assert store.verify_server(credential.chain_der, None, NOW)
        with pytest.raises(CertificateError):
            store.verify_client(credential.chain_der, NOW)


# --- names ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "asked", "good"),
    [
        (["example.test"], "example.test", True),
        (["example.test"], "EXAMPLE.test.", True),
        (["EXAMPLE.test"], "example.test", True),
        (["example.test"], "www.example.test", False),
        (["*.example.test"], "www.example.test", True),
        (["*.example.test"], "a.b.example.test", False),
        (["*.example.test"], "example.test", False),
        (["w*.example.test"], "www.example.test", False),
        (["*"], "localhost", False),
        (["xn--mnchen-3ya.example"], "münchen.example", True),
        (["xn--mnchen-3ya.example"], "MÜNCHEN.example.", True),
        (["xn--mnchen-3ya.example"], "munchen.example", False),
        (["*.example.test"], "ü.example.test", True),
        (["my_service"], "my_service", True),
        (["my_service"], "MY_SERVICE", True),
        (["*.my_zone.test"], "a.my_zone.test", True),
        (["other_service"], "my_service", False),
        (["end-.example.test"], "end-.example.test", True),
        (["*.example.test"], "-x.example.test", True),
        (["127.0.0.1"], "127.0.0.1", True),
        (["127.0.0.1"], "127.0.0.2", False),
        (["::1"], "[::1]", True),
        (["::1"], "0:0:0:0:0:0:0:1", True),
        (["fe80::1"], "fe80::1%eth0", True),
        (["127.0.0.1"], "::ffff:127.0.0.1", False),
        (["localhost", "127.0.0.1"], "127.0.0.1", True),
        (["localhost"], "127.0.0.1", False),
        (["127.0.0.1"], "localhost", False),
    ],
)
def test_names(pki: Pki, store: TrustStore, names: list[str], asked: str, good: bool) -> None:
    credential = pki.server(*names)
    if good:
        assert store.verify_server(credential.chain_der, asked, NOW)
    else:
        with pytest.raises(HostnameMismatch) as caught:
            store.verify_server(credential.chain_der, asked, NOW)
        assert caught.value.verify_code == (64 if asked[-1].isdigit() else 62)


def test_an_address_as_a_dns_name_or_common_name_is_worth_nothing(pki: Pki, store: TrustStore) -> None:
    as_dns = issue(
        "127.0.0.1", issuer=pki.root, extra=[(x509.SubjectAlternativeName([x509.DNSName("127.0.0.1")]), False)]
    )
    for credential in (as_dns, issue("127.0.0.1", issuer=pki.root)):
        with pytest.raises(HostnameMismatch) as caught:
            store.verify_server(credential.chain_der, "127.0.0.1", NOW)
        assert caught.value.verify_code == 64


def test_text_that_is_no_name_is_our_callers_error(pki: Pki, store: TrustStore) -> None:
    for name in ("", "a b", "localhost:443", "*.example.test"):
        with pytest.raises(ConfigurationError):
            store.verify_server(pki.ecdsa_p256.chain_der, name, NOW)


_LABELS = st.sampled_from(["a", "b", "*", "xn--a", "a-b", "A"])
_NAMES = st.lists(_LABELS, min_size=1, max_size=3).map(".".join)


@settings(max_examples=100)
@given(pattern=_NAMES, name=_NAMES.filter(lambda name: "*" not in name))
def test_the_verifier_and_our_matching_agree(pki: Pki, pattern: str, name: str) -> None:
    certificate = issue("x", names=[pattern], key=pki.ecdsa_p256.private_key)
    try:
        accepted = bool(TrustStore.load(certificate.certificate).verify_server(certificate.chain_der, name, NOW))
    except HostnameMismatch:
        accepted = False
    assert accepted == name_matches(pattern, name.lower())


# --- time ----------------------------------------------------------------------------------------------------------


def test_validity_is_judged_at_the_given_time(pki: Pki, store: TrustStore) -> None:
    credential = pki.ecdsa_p256
    starts = credential.certificate.not_valid_before_utc.timestamp()
    ends = credential.certificate.not_valid_after_utc.timestamp()
    roots_end = pki.root.certificate.not_valid_after_utc.timestamp()
    assert roots_end >= ends - 3600  # both were issued in this run, one after the other
    for good in (pki.root.certificate.not_valid_before_utc.timestamp() + 5, NOW, min(ends, roots_end)):
        if good >= starts:
            assert store.verify_server(credential.chain_der, "localhost", good)
    for bad, code in ((starts - 1, 9), (ends + 1, 10), (0.0, 9), (253402300799.0, 10)):
        with pytest.raises(CertificateExpired) as caught:
            store.verify_server(credential.chain_der, "localhost", bad)
        assert caught.value.verify_code == code


@pytest.mark.parametrize("now", [float("nan"), float("inf"), 1e18, -1e18])
def test_a_time_that_is_none_is_our_callers_error(pki: Pki, store: TrustStore, now: float) -> None:
    with pytest.raises(ConfigurationError, match="present time"):
        store.verify_server(pki.ecdsa_p256.chain_der, "localhost", now)


# --- the strict policy ---------------------------------------------------------------------------------------------


def test_strict_refuses_what_the_default_lets_pass(pki: Pki) -> None:
    bare_root = issue("bare root", ca=True, key_usage=False, key_identifiers=False)
    for credential in (
        pki.self_signed,
        issue("leaf", issuer=pki.root, names=LOOPBACK, purposes=[SERVER_AUTH], critical=True),
        issue("leaf", issuer=pki.root, names=LOOPBACK, key_identifiers=False),
        issue("leaf", issuer=bare_root, names=LOOPBACK),
    ):
        root = credential.root.certificate
        assert TrustStore.load(root).verify_server(credential.chain_der, "localhost", NOW)
        for name in ("localhost", None):
            with pytest.raises(CertificateError, match="not acceptable") as caught:
                TrustStore.load(root, policy="strict").verify_server(credential.chain_der, name, NOW)
            assert caught.value.verify_code == 1


def test_strict_has_the_same_answers_for_names(pki: Pki, strict: TrustStore) -> None:
    underscore = pki.server("my_service")
    assert strict.verify_server(underscore.chain_der, "my_service", NOW)
    with pytest.raises(HostnameMismatch):
        strict.verify_server(underscore.chain_der, "other_service", NOW)
    with pytest.raises(HostnameMismatch):
        strict.verify_server(pki.wildcard.chain_der, "a.b.example.test", NOW)


def test_strict_wants_a_client_to_have_a_name(pki: Pki, strict: TrustStore) -> None:
    assert strict.verify_client(pki.client.chain_der, NOW)
    with pytest.raises(BadCertificate):
        strict.verify_client(pki.client_without_san.chain_der, NOW)


def test_unknown_policies_and_limits_are_refused(pki: Pki) -> None:
    with pytest.raises(ConfigurationError, match="unknown trust policy 'lax'"):
        TrustStore.load(pki.trust_pem, policy="lax")  # type: ignore[arg-type]
    for number in (0, 101):
        with pytest.raises(ConfigurationError, match="max_certificates"):
            TrustStore.load(pki.trust_pem, max_certificates=number)


# --- limits --------------------------------------------------------------------------------------------------------


def test_no_certificate_at_all_is_an_error(store: TrustStore) -> None:
    for verify in (partial(store.verify_server, (), "localhost", NOW), partial(store.verify_client, (), NOW)):
        with pytest.raises(BadCertificate, match="sent no certificate"):
            verify()


def test_too_many_certificates_are_refused_before_any_is_read(pki: Pki) -> None:
    chain = pki.under_intermediate.chain_der
    assert TrustStore.load(pki.trust_pem, max_certificates=2).verify_server(chain, "localhost", NOW)
    with pytest.raises(UnknownCA, match="sent 2 certificates, at most 1") as caught:
        TrustStore.load(pki.trust_pem, max_certificates=1).verify_server(chain, "localhost", NOW)
    assert caught.value.verify_code == 22
    with pytest.raises(UnknownCA, match="sent 11 certificates, at most 10"):
        TrustStore.load(pki.trust_pem).verify_server([b"rubbish"] * 11, "localhost", NOW)


def test_as_many_intermediates_as_certificates_are_possible(pki: Pki) -> None:
    chain = pki.long_chain.chain_der
    assert len(chain) == 13
    assert TrustStore.load(pki.trust_pem, max_certificates=13).verify_server(chain, "localhost", NOW)
    with pytest.raises(UnknownCA, match="sent 13 certificates, at most 12") as caught:
        TrustStore.load(pki.trust_pem, max_certificates=12).verify_server(chain, "localhost", NOW)
    assert caught.value.verify_code == 22


def test_a_maze_of_certificates_is_left_soon(pki: Pki, store: TrustStore) -> None:
    key = pki.intermediate.private_key
    maze = [issue("maze", key=key, ca=True, not_after=NOW + (9 + number) * DAY_S) for number in range(9)]
    leaf = issue("leaf", issuer=maze[0], names=LOOPBACK)
    started = time.process_time()
    with pytest.raises(UnknownCA):
        store.verify_server([leaf.cert_der, *(c.cert_der for c in maze)], "localhost", NOW)
    assert time.process_time() - started < 1  # 128 signatures at most, some 10 ms; 9**9 without a bound


def test_too_many_bytes_are_refused(pki: Pki) -> None:
    chain = pki.under_intermediate.chain_der
    size = sum(map(len, chain))
    assert TrustStore.load(pki.trust_pem, max_chain_size=size).verify_server(chain, "localhost", NOW)
    with pytest.raises(BadCertificate, match=f"has {size} bytes, at most {size - 1}"):
        TrustStore.load(pki.trust_pem, max_chain_size=size - 1).verify_server(chain, "localhost", NOW)


def test_an_empty_store_trusts_nobody(pki: Pki, tmp_path: Path) -> None:
    for empty in (TrustStore.load([]), TrustStore.load(tmp_path), TrustStore.load([], policy="strict")):
        assert empty.count == 0
        for verify in (
            partial(empty.verify_server, pki.ecdsa_p256.chain_der, "localhost", NOW),
            partial(empty.verify_client, pki.client.chain_der, NOW),
        ):
            with pytest.raises(UnknownCA, match="trust store is empty") as caught:
                verify()
            assert caught.value.verify_code == 20


# --- the store itself ----------------------------------------------------------------------------------------------


def test_facts_of_a_store(pki: Pki, tmp_path: Path) -> None:
    path = pki.write_trust(tmp_path)
    store, again = TrustStore.load(path), TrustStore.load(path, policy="strict")
    assert store.digest == again.digest == TrustStore.load([pki.rsa_root.certificate, pki.root.certificate]).digest
    assert store._anchors is again._anchors
    assert set(store.certificates) == {pki.root.cert_der, pki.rsa_root.cert_der}
    assert store.count == 2
    with_twin = TrustStore.load(path, pki.other_root.certificate)
    assert with_twin.count == 3
    assert set(with_twin.subjects) == {c.certificate.subject.public_bytes() for c in (pki.root, pki.rsa_root)}
    assert len(with_twin.subjects) == 2
    assert repr(again) == "<TrustStore policy=strict>"


def test_no_source_is_the_system(pki: Pki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(pki.write_trust(tmp_path)))
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    for store in (TrustStore.load(), TrustStore.load(None)):
        assert store.verify_server(pki.ecdsa_p256.chain_der, "localhost", NOW)
    assert TrustStore.load(None, pki.other_root.certificate).count == 3


def test_of_two_roots_with_one_name_the_right_one_is_found(pki: Pki) -> None:
    for roots in ([pki.other_root, pki.root], [pki.root, pki.other_root]):
        store = TrustStore.load([root.certificate for root in roots])
        for credential in (pki.ecdsa_p256, pki.untrusted):
            bare = issue("leaf", issuer=credential.issuer, names=LOOPBACK, key_identifiers=False)
            for chain in (credential.chain_der, bare.chain_der):
                assert store.verify_server(chain, "localhost", NOW)[-1] == credential.root.cert_der


def test_of_two_paths_the_good_one_is_found(pki: Pki, store: TrustStore) -> None:
    key = pki.intermediate.private_key
    name = "cross-signed"
    bad = issue(name, issuer=pki.root, key=key, ca=True, key_cert_sign=False)
    expired = issue(name, issuer=pki.root, key=key, ca=True, not_before=NOW - 9 * DAY_S, not_after=NOW - DAY_S)
    clients = issue(name, issuer=pki.root, key=key, ca=True, purposes=[CLIENT_AUTH])
    good = issue(name, issuer=pki.root, key=key, ca=True)
    leaf = issue("leaf", issuer=good, names=LOOPBACK)
    for chain in ([bad, expired, clients, good], [good, clients, expired, bad]):
        path = store.verify_server([leaf.cert_der, *(c.cert_der for c in chain)], "localhost", NOW)
        assert path == (leaf.cert_der, good.cert_der, pki.root.cert_der)


# --- the verdict cache ---------------------------------------------------------------------------------------------


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by one with each chain that is really verified."""
    made: list[str] = []
    build = TrustStore._build

    def counting(self: TrustStore, *arguments: object) -> object:
        made.append("built")
        return build(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(TrustStore, "_build", counting)
    return made


def test_without_a_cache_every_chain_is_verified(pki: Pki, store: TrustStore, builds: list[str]) -> None:
    for _ in range(3):
        store.verify_server(pki.ecdsa_p256.chain_der, "localhost", NOW)
    assert len(builds) == 3


def test_a_good_verdict_is_remembered_for_the_same_question_only(pki: Pki, builds: list[str]) -> None:
    verdicts = VerdictCache()
    store = TrustStore.load(pki.trust_pem, verdicts=verdicts)
    chain = pki.ecdsa_p256.chain_der
    first = store.verify_server(chain, "localhost", NOW)
    copies = [bytes(bytearray(der)) for der in chain]
    assert store.verify_server(copies, "LOCALHOST.", NOW + 1) == first
    assert len(builds) == len(verdicts) == 1
    strict = TrustStore.load(pki.trust_pem, verdicts=verdicts, policy="strict")
    shorter = TrustStore.load(pki.trust_pem, verdicts=verdicts, max_certificates=5)
    fewer_roots = TrustStore.load(pki.root.certificate, verdicts=verdicts)
    questions = [
        partial(store.verify_server, chain, "127.0.0.1", NOW),
        partial(store.verify_server, chain, None, NOW),
        partial(store.verify_server, [*chain, pki.root.cert_der], "localhost", NOW),
        partial(strict.verify_server, chain, "localhost", NOW),
        partial(shorter.verify_server, chain, "localhost", NOW),
        partial(fewer_roots.verify_server, chain, "localhost", NOW),
    ]
    for number, ask in enumerate(questions, start=2):
        ask()
        assert len(builds) == len(verdicts) == number
    same_roots = TrustStore.load([pki.rsa_root.certificate, pki.root.certificate], verdicts=verdicts)
    assert same_roots.verify_server(chain, "localhost", NOW) == first
    assert len(builds) == len(questions) + 1


def test_a_verdict_for_a_client_is_none_for_a_server(pki: Pki) -> None:
    store = TrustStore.load(pki.trust_pem, verdicts=VerdictCache())
    assert store.verify_client(pki.client.chain_der, NOW)
    with pytest.raises(UnsupportedCertificate):
        store.verify_server(pki.client.chain_der, None, NOW)


def test_failures_are_not_remembered(pki: Pki, builds: list[str]) -> None:
    verdicts = VerdictCache()
    store = TrustStore.load(pki.trust_pem, verdicts=verdicts)
    for _ in range(2):
        with pytest.raises(CertificateExpired):
            store.verify_server(pki.expired.chain_der, "localhost", NOW)
    assert len(builds) == 2
    assert len(verdicts) == 0


def test_verdicts_end_with_their_age_and_with_the_certificate(pki: Pki, builds: list[str]) -> None:
    verdicts = VerdictCache(max_age_s=60)
    store = TrustStore.load(pki.trust_pem, verdicts=verdicts)
    chain = pki.ecdsa_p256.chain_der
    store.verify_server(chain, "localhost", NOW)
    store.verify_server(chain, "localhost", NOW + 59)
    assert len(builds) == 1
    store.verify_server(chain, "localhost", NOW + 60)
    assert len(builds) == 2
    store.verify_server(chain, "localhost", NOW + 59)  # the clock went back
    assert len(builds) == 3
    soon = issue("soon", issuer=pki.root, names=LOOPBACK, not_after=NOW + 10)
    ends = soon.certificate.not_valid_after_utc.timestamp()
    store.verify_server(soon.chain_der, "localhost", ends - 1)
    with pytest.raises(CertificateExpired):
        store.verify_server(soon.chain_der, "localhost", ends + 1)


def test_the_verdict_cache_is_bounded_and_can_be_cleared(pki: Pki) -> None:
    verdicts = VerdictCache(max_entries=3)
    store = TrustStore.load(pki.trust_pem, verdicts=verdicts)
    for credential in (pki.ecdsa_p256, pki.ed25519, pki.ed448, pki.rsa2048):
        store.verify_server(credential.chain_der, "localhost", NOW)
    assert len(verdicts) == 3
    verdicts.clear()
    assert len(verdicts) == 0
    for make in (partial(VerdictCache, max_entries=0), partial(VerdictCache, max_age_s=0.0)):
        with pytest.raises(ConfigurationError, match="verdict cache needs"):
            make()


# --- arbitrary bytes -----------------------------------------------------------------------------------------------


def judge(store: TrustStore, chain: list[bytes]) -> bool:
    """Whether any way of verifying finds the chain good; what is no documented error escapes."""
    answers = [
        _answer(partial(store.verify_server, chain, "localhost", NOW)),
        _answer(partial(store.verify_server, chain, "my_service", NOW)),
        _answer(partial(store.verify_client, chain, NOW)),
    ]
    for error in answers:
        if error is not None:
            assert isinstance(error.verify_code, int)
            assert str(error).isascii()
            assert str(error).isprintable()
    return None in answers


def _answer(verify: Callable[[], tuple[bytes, ...]]) -> CertificateError | None:
    try:
        verify()
    except CertificateError as error:
        return error
    return None


@settings(max_examples=100)
@given(chain=st.lists(st.binary(max_size=200), max_size=12))
def test_random_bytes_are_never_good(store: TrustStore, chain: list[bytes]) -> None:
    assert not judge(store, chain)


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@settings(max_examples=200)
@given(data=st.data())
def test_a_damaged_chain_is_never_good(pki: Pki, store: TrustStore, data: st.DataObject) -> None:
    chain = [bytearray(der) for der in pki.under_intermediate.chain_der]
    for _ in range(data.draw(st.integers(1, 3))):
        der = chain[data.draw(st.integers(0, 1))]
        der[data.draw(st.integers(0, len(der) - 1))] ^= data.draw(st.integers(1, 255))
    mangled = [bytes(der) for der in chain]
    if mangled != list(pki.under_intermediate.chain_der):
        assert not judge(store, mangled)
    judge(store, mangled[::-1])


_KNOWN_EXTENSIONS = st.sampled_from(
    [f"2.5.29.{number}" for number in (14, 15, 17, 19, 30, 32, 35, 36, 37)]
    + ["1.3.6.1.5.5.7.1.1", "1.3.6.1.4.1.11129.2.4.2", "1.2.3.4"]
)
_DER = st.one_of(
    st.binary(max_size=24),
    st.binary(max_size=20).map(lambda body: b"\x30" + bytes([len(body)]) + body),
    st.sampled_from([b"\x30\x00", b"\x04\x00", b"\x05\x00", b"\x30\x03\x01\x01\xff", b"\x30\x06\x82\x04a\xff.b"]),
)


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@settings(max_examples=150)
@given(
    extensions=st.lists(st.tuples(_KNOWN_EXTENSIONS, _DER, st.booleans()), max_size=3, unique_by=lambda e: e[0]),
    in_authority=st.booleans(),
)
def test_signed_certificates_with_odd_extensions_end_in_a_verdict(
    pki: Pki, store: TrustStore, extensions: list[tuple[str, bytes, bool]], in_authority: bool
) -> None:
    odd = [(x509.UnrecognizedExtension(x509.ObjectIdentifier(o), body), critical) for o, body, critical in extensions]
    key = pki.ecdsa_p256.private_key
    settings_ = {"basic_constraints": False, "key_usage": False, "key_identifiers": False, "key": key}
    authority = issue("odd authority", issuer=pki.root, extra=odd if in_authority else (), **settings_)  # type: ignore[arg-type]
    leaf = issue("odd leaf", issuer=authority, extra=() if in_authority else odd, **settings_)  # type: ignore[arg-type]
    judge(store, list(leaf.chain_der))
    judge(TrustStore.load(pki.root.certificate, policy="strict"), list(leaf.chain_der))


def test_defaults_are_the_documented_ones() -> None:
    assert (module.MAX_CERTIFICATES, module.VERDICT_AGE_S) == (10, 300.0)
