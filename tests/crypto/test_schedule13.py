"""The TLS 1.3 key schedule against the plain formulas of RFC 9846, section 7, over HKDF of `cryptography`."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from hypothesis import given, settings
from hypothesis import strategies as st

from resumption.crypto.hashes import SHA256, SHA384, HashFacts
from resumption.crypto.schedule13 import (
    EarlySecret,
    HandshakeSecrets,
    MasterSecrets,
    expand_label,
    next_traffic_secret,
    resumption_psk,
    traffic_keys,
    verify_data,
)
from resumption.crypto.suites import SUITES, SuiteFacts
from resumption.errors import ConfigurationError, DecodeError, DecryptError

both = pytest.mark.parametrize("facts", [SHA256, SHA384], ids=["sha256", "sha384"])
suites13 = pytest.mark.parametrize(
    "suite", [facts for facts in SUITES.values() if facts.version == 0x0304], ids=lambda facts: facts.name
)


def plain_expand_label(facts: HashFacts, secret: bytes, label: bytes, context: bytes, length: int) -> bytes:
    """HKDF-Expand-Label as it is written, nothing prepared."""
    full = b"tls13 " + label
    info = length.to_bytes(2, "big") + bytes((len(full),)) + full + bytes((len(context),)) + context
    algorithm = hashes.SHA256() if facts is SHA256 else hashes.SHA384()
    return HKDFExpand(algorithm, length, info).derive(secret)


class Plain:
    """The whole diagram of section 7.1, with every arrow drawn each time."""

    def __init__(self, facts: HashFacts, psk: bytes | None, shared: bytes) -> None:
        self.facts = facts
        self.zero = bytes(facts.digest_size)
        self.early = self.extract(self.zero, self.zero if psk is None else psk)
        self.handshake = self.extract(self.derive(self.early, b"derived", b""), shared)
        self.master = self.extract(self.derive(self.handshake, b"derived", b""), self.zero)

    def extract(self, salt: bytes, material: bytes) -> bytes:
        return hmac.digest(salt, material, self.facts.name)

    def derive(self, secret: bytes, label: bytes, messages: bytes) -> bytes:
        transcript_hash = hashlib.new(self.facts.name, messages).digest()
        return plain_expand_label(self.facts, secret, label, transcript_hash, self.facts.digest_size)

    def finished(self, base: bytes, messages: bytes) -> bytes:
        key = plain_expand_label(self.facts, base, b"finished", b"", self.facts.digest_size)
        return hmac.digest(key, hashlib.new(self.facts.name, messages).digest(), self.facts.name)


@both
@settings(max_examples=30, deadline=None)
@given(psk=st.none() | st.binary(max_size=200), shared=st.binary(min_size=1, max_size=100), messages=st.binary())
def test_every_secret_is_the_one_of_the_diagram(
    facts: HashFacts, psk: bytes | None, shared: bytes, messages: bytes
) -> None:
    plain = Plain(facts, psk, shared)
    hello = hashlib.new(facts.name, messages).digest()
    early = EarlySecret.from_psk(facts, psk)
    assert early.hash is facts
    assert early.client_early_traffic_secret(hello) == plain.derive(plain.early, b"c e traffic", messages)
    assert early.early_exporter_master_secret(hello) == plain.derive(plain.early, b"e exp master", messages)
    assert early.binder(hello) == plain.finished(plain.derive(plain.early, b"res binder", b""), messages)
    external = plain.finished(plain.derive(plain.early, b"ext binder", b""), messages)
    assert early.binder(hello, kind="external") == external

    handshake = early.handshake(shared, hello)
    client, server = (plain.derive(plain.handshake, label, messages) for label in (b"c hs traffic", b"s hs traffic"))
    assert handshake.client_handshake_traffic_secret == client
    assert handshake.server_handshake_traffic_secret == server
    assert handshake.client_verify_data(hello) == plain.finished(client, messages)
    assert handshake.server_verify_data(hello) == plain.finished(server, messages)

    master = handshake.into_master(hello)
    assert master.client_application_traffic_secret == plain.derive(plain.master, b"c ap traffic", messages)
    assert master.server_application_traffic_secret == plain.derive(plain.master, b"s ap traffic", messages)
    exporter_secret = plain.derive(plain.master, b"exp master", messages)
    assert master.exporter_master_secret == exporter_secret
    assert master.exporter_master_secret is master.exporter_master_secret
    assert master.resumption_master_secret(hello) == plain.derive(plain.master, b"res master", messages)
    expected = plain_expand_label(
        facts,
        plain.derive(exporter_secret, b"EXPORTER-test", b""),
        b"exporter",
        hashlib.new(facts.name, b"context").digest(),
        100,
    )
    assert master.exporter(b"EXPORTER-test", b"context", 100) == expected


@both
@settings(max_examples=60, deadline=None)
@given(
    secret=st.binary(max_size=200),
    label=st.binary(max_size=249),
    context=st.binary(max_size=255),
    length=st.integers(1, 700),
)
def test_expand_label_equals_the_formula(
    facts: HashFacts, secret: bytes, label: bytes, context: bytes, length: int
) -> None:
    expected = plain_expand_label(facts, secret, label, context, length)
    assert expand_label(facts, secret, label, context, length) == expected


@both
def test_expand_label_up_to_the_limits_of_hkdf(facts: HashFacts) -> None:
    longest = 255 * facts.digest_size
    assert expand_label(facts, b"s", b"l", b"", longest) == plain_expand_label(facts, b"s", b"l", b"", longest)
    assert expand_label(facts, b"s", b"l", b"", 0) == b""
    for label, length in ((b"l", longest + 1), (b"l", -1), (b"l" * 250, 1)):
        with pytest.raises(ConfigurationError):
            expand_label(facts, b"s", label, b"", length)


@suites13
def test_traffic_keys_equal_the_formula(suite: SuiteFacts) -> None:
    secret = bytes(range(suite.hash.digest_size))
    key, iv = traffic_keys(suite, secret)
    assert key == plain_expand_label(suite.hash, secret, b"key", b"", suite.key_length)
    assert iv == plain_expand_label(suite.hash, secret, b"iv", b"", 12)


@both
def test_updates_and_tickets_equal_the_formula(facts: HashFacts) -> None:
    secret = bytes(range(facts.digest_size))
    size = facts.digest_size
    assert next_traffic_secret(facts, secret) == plain_expand_label(facts, secret, b"traffic upd", b"", size)
    for nonce in (b"", b"\0\0", bytes(255)):
        assert resumption_psk(facts, secret, nonce) == plain_expand_label(facts, secret, b"resumption", nonce, size)
    assert verify_data(facts, secret, b"h" * size) == hmac.digest(
        plain_expand_label(facts, secret, b"finished", b"", size), b"h" * size, facts.name
    )


@both
def test_no_psk_and_a_psk_of_zeros_are_the_same(facts: HashFacts) -> None:
    """RFC 9846, section 7.1: an absent secret is a hash length of zeros. The prepared constants must agree."""
    hello = bytes(facts.digest_size)
    absent = EarlySecret.from_psk(facts, None).handshake(b"shared", hello)
    zeros = EarlySecret.from_psk(facts, bytes(facts.digest_size)).handshake(b"shared", hello)
    assert absent.client_handshake_traffic_secret == zeros.client_handshake_traffic_secret
    assert absent.into_master(hello).exporter(b"l", b"", 9) == zeros.into_master(hello).exporter(b"l", b"", 9)


def stages(facts: HashFacts = SHA256) -> tuple[EarlySecret, HandshakeSecrets, MasterSecrets, bytes]:
    hello = b"h" * facts.digest_size
    early = EarlySecret.from_psk(facts, b"psk")
    handshake = early.handshake(b"shared", hello)
    return early, handshake, handshake.into_master(hello), hello


@both
def test_checks_accept_only_the_exact_value(facts: HashFacts) -> None:
    early, handshake, _, hello = stages(facts)
    checks = [
        (early.verify_binder, early.binder(hello), "binder"),
        (handshake.check_client_finished, handshake.client_verify_data(hello), "client's Finished"),
        (handshake.check_server_finished, handshake.server_verify_data(hello), "server's Finished"),
    ]
    for check, good, name in checks:
        check(hello, good)
        for bad in (b"", good[:-1], good + b"\0", bytes(len(good)), good[:-1] + bytes((good[-1] ^ 1,))):
            is_parsed = name == "binder" or len(bad) == len(good)
            with pytest.raises(DecryptError if is_parsed else DecodeError, match=name):
                check(hello, bad)
        with pytest.raises(DecryptError):
            check(b"x" * facts.digest_size, good)
    assert len({good for _, good, _ in checks}) == 3


def test_an_external_binder_is_not_a_resumption_binder() -> None:
    early, _, _, hello = stages()
    early.verify_binder(hello, early.binder(hello, kind="external"), kind="external")
    with pytest.raises(DecryptError):
        early.verify_binder(hello, early.binder(hello), kind="external")
    with pytest.raises(DecryptError):
        early.verify_binder(hello, early.binder(hello, kind="external"))


def test_each_stage_offers_only_what_may_be_derived_there() -> None:
    early, handshake, master, _ = stages()
    public = [{name for name in dir(stage) if not name.startswith("_")} for stage in (early, handshake, master)]
    assert "binder" in public[0]
    assert "into_master" in public[1]
    assert "exporter" in public[2]
    for one, other in ((0, 1), (1, 2), (0, 2)):
        assert public[one] & public[other] == {"hash"}


def test_no_stage_shows_or_keeps_attributes_beyond_its_slots() -> None:
    for stage in stages()[:3]:
        assert not hasattr(stage, "__dict__")
        assert repr(stage).startswith("<resumption.crypto.schedule13.")


def test_the_exporter_secret_is_derived_only_when_asked_for() -> None:
    _, _, master, _ = stages()
    assert master._exporter_master_secret is None
    master.exporter(b"label", b"", 1)
    assert master._exporter_master_secret is not None


def test_exporters_differ_by_label_context_and_length() -> None:
    _, _, master, _ = stages()
    outputs = [
        master.exporter(b"label", b"", 32),
        master.exporter(b"other", b"", 32),
        master.exporter(b"label", b"context", 32),
        master.exporter(b"label", b"", 33)[:32],
    ]
    assert len(set(outputs)) == 4
    with pytest.raises(ConfigurationError):
        master.exporter(b"x" * 250, b"", 32)
    with pytest.raises(ConfigurationError):
        master.exporter(b"label", b"", 255 * 32 + 1)
