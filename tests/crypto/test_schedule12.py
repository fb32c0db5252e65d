"""The TLS 1.2 key schedule against known answers and the plain formulas of RFC 5246, section 5."""

from __future__ import annotations

import hmac
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resumption.crypto.hashes import SHA256, SHA384, HashFacts, HmacKey
from resumption.crypto.schedule12 import MasterSecret12, prf
from resumption.crypto.suites import SUITES, SuiteFacts
from resumption.errors import ConfigurationError, DecodeError, DecryptError

both = pytest.mark.parametrize("facts", [SHA256, SHA384], ids=["sha256", "sha384"])
suites12 = pytest.mark.parametrize(
    "suite", [facts for facts in SUITES.values() if facts.version == 0x0303], ids=lambda facts: facts.name
)


def plain_prf(facts: HashFacts, secret: bytes, label: bytes, seed: bytes, length: int) -> bytes:
    """P_hash as it is written: A(i) from the beginning for every block."""
    output, blocks = b"", 0
    while len(output) < length:
        blocks += 1
        chain = label + seed
        for _ in range(blocks):
            chain = hmac.digest(secret, chain, facts.name)
        output += hmac.digest(secret, chain + label + seed, facts.name)
    return output[:length]


# Known answers that the TLS working group's list published for the TLS 1.2 PRF.
KNOWN = [
    (
        SHA256,
        "9bbe436ba940f017b17652849a71db35",
        "a0ba9f936cda311827a6f796ffd5198c",
        "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a6b301791e90d35c9c9a46b4e14baf9af0fa022f7077def17"
        "abfd3797c0564bab4fbc91666e9def9b97fce34f796789baa48082d122ee42c5a72e5a5110fff70187347b66",
    ),
    (
        SHA384,
        "b80b733d6ceefcdc71566ea48e5567df",
        "cd665cf6a8447dd6ff8b27555edb7465",
        "7b0c18e9ced410ed1804f2cfa34a336a1c14dffb4900bb5fd7942107e81c83cde9ca0faa60be9fe34f82b1233c9146a0e534cb400fed2700"
        "884f9dc236f80edd8bfa961144c9e8d792eca722a7b32fc3d416d473ebc2c5fd4abfdad05d9184259b5bf8cd4d90fa0d31e2dec479e4f1a2"
        "6066f2eea9a69236a3e52655c9e9aee691c8f3a26854308d5eaa3be85e0990703d73e56f",
    ),
]


@pytest.mark.parametrize(("facts", "secret", "seed", "output"), KNOWN, ids=["sha256", "sha384"])
def test_known_answers(facts: HashFacts, secret: str, seed: str, output: str) -> None:
    expected = bytes.fromhex(output)
    key = HmacKey(facts, bytes.fromhex(secret))
    assert prf(key, b"test label" + bytes.fromhex(seed), len(expected)) == expected


@both
@settings(max_examples=60, deadline=None)
@given(secret=st.binary(max_size=200), seed=st.binary(max_size=200), length=st.integers(0, 300))
def test_the_prf_equals_the_formula(facts: HashFacts, secret: bytes, seed: bytes, length: int) -> None:
    assert prf(HmacKey(facts, secret), b"label" + seed, length) == plain_prf(facts, secret, b"label", seed, length)


@both
@pytest.mark.parametrize("off", [-1, 0, 1])
@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_the_prf_at_block_boundaries(facts: HashFacts, blocks: int, off: int) -> None:
    length = blocks * facts.digest_size + off
    assert prf(HmacKey(facts, b"secret"), b"seed", length) == plain_prf(facts, b"secret", b"", b"seed", length)


@both
def test_extended_and_classic_master_secrets(facts: HashFacts) -> None:
    premaster, session_hash, randoms = b"p" * 32, b"h" * facts.digest_size, b"c" * 32 + b"s" * 32
    extended = MasterSecret12.from_premaster(facts, premaster, session_hash=session_hash)
    classic = MasterSecret12.from_premaster(facts, premaster, randoms=randoms)
    assert extended.secret == plain_prf(facts, premaster, b"extended master secret", session_hash, 48)
    assert classic.secret == plain_prf(facts, premaster, b"master secret", randoms, 48)
    assert extended.hash is classic.hash is facts


@pytest.mark.parametrize("arguments", [{}, {"session_hash": b"h", "randoms": b"r"}])
def test_a_master_secret_is_made_in_exactly_one_way(arguments: dict[str, bytes]) -> None:
    with pytest.raises(ConfigurationError):
        MasterSecret12.from_premaster(SHA256, b"premaster", **arguments)


@suites12
def test_the_key_block_is_cut_in_the_order_of_the_rfc(suite: SuiteFacts) -> None:
    """RFC 5246, section 6.3: keys before IVs, the client's before the server's, the server's random first."""
    master = MasterSecret12(suite.hash, b"m" * 48)
    block = master.key_block(suite, b"c" * 32, b"s" * 32)
    assert [len(part) for part in block] == [suite.key_length] * 2 + [suite.iv_length] * 2
    assert b"".join(block) == plain_prf(
        suite.hash, b"m" * 48, b"key expansion", b"s" * 32 + b"c" * 32, 2 * (suite.key_length + suite.iv_length)
    )
    assert block.client_key + block.server_key + block.client_iv + block.server_iv == b"".join(block)


@both
def test_finished(facts: HashFacts) -> None:
    master = MasterSecret12(facts, b"m" * 48)
    transcript_hash = b"h" * facts.digest_size
    client = plain_prf(facts, b"m" * 48, b"client finished", transcript_hash, 12)
    server = plain_prf(facts, b"m" * 48, b"server finished", transcript_hash, 12)
    assert master.client_verify_data(transcript_hash) == client
    assert master.server_verify_data(transcript_hash) == server
    checks: list[tuple[Callable[[bytes, bytes], None], bytes, str]] = [
        (master.check_client_finished, client, "client's Finished"),
        (master.check_server_finished, server, "server's Finished"),
    ]
    for check, good, name in checks:
        check(transcript_hash, good)
        for bad in (b"", good[:-1], good + b"\0", bytes(12), good[:-1] + bytes((good[-1] ^ 1,))):
            with pytest.raises(DecryptError if len(bad) == len(good) else DecodeError, match=name):
                check(transcript_hash, bad)


@both
def test_exporters(facts: HashFacts) -> None:
    master = MasterSecret12(facts, b"m" * 48)
    randoms = b"c" * 32 + b"s" * 32

    def plain(seed: bytes, length: int) -> bytes:
        return plain_prf(facts, b"m" * 48, b"EXPORTER-label", seed, length)

    def ours(context: bytes | None, length: int) -> bytes:
        return master.exporter(b"EXPORTER-label", b"c" * 32, b"s" * 32, context, length)

    assert ours(None, 64) == plain(randoms, 64)
    assert ours(b"", 20) == plain(randoms + b"\0\0", 20)
    assert ours(b"context", 200) == plain(randoms + b"\0\7context", 200)
    assert ours(bytes(0xFFFF), 7) == plain(randoms + b"\xff\xff" + bytes(0xFFFF), 7)
    assert ours(None, 0) == b""
    assert ours(None, 64) != ours(b"", 64)  # RFC 5705, section 4: no context is not an empty one


@pytest.mark.parametrize(
    "label", [b"client finished", b"server finished", b"master secret", b"extended master secret", b"key expansion"]
)
def test_labels_of_the_protocol_are_not_exported(label: bytes) -> None:
    with pytest.raises(ConfigurationError, match="protocol"):
        MasterSecret12(SHA256, b"m" * 48).exporter(label, b"c" * 32, b"s" * 32, None, 48)


def test_exporter_limits() -> None:
    master = MasterSecret12(SHA256, b"m" * 48)
    with pytest.raises(ConfigurationError, match="65535"):
        master.exporter(b"EXPORTER", b"", b"", bytes(0x10000), 1)
    with pytest.raises(ConfigurationError, match="-1"):
        master.exporter(b"EXPORTER", b"", b"", None, -1)


def test_a_master_secret_does_not_show_itself() -> None:
    master = MasterSecret12(SHA256, b"m" * 48)
    assert "mmm" not in repr(master)
    assert not hasattr(master, "__dict__")
