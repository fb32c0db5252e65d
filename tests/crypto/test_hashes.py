"""HMAC with prepared state against RFC 4231 and the standard library's."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resumption.crypto.hashes import SHA256, SHA384, HashFacts, HmacKey, hmac_once, hmac_pair

both = pytest.mark.parametrize("facts", [SHA256, SHA384], ids=["sha256", "sha384"])

# RFC 4231, cases 1, 2 and 6: a short key, a shorter one, and one longer than the block
VECTORS = [
    (
        b"\x0b" * 20,
        b"Hi There",
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
        "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59cfaea9ea9076ede7f4af152e8b2fa9cb6",
    ),
    (
        b"Jefe",
        b"what do ya want for nothing?",
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
    ),
    (
        b"\xaa" * 131,
        b"Test Using Larger Than Block-Size Key - Hash Key First",
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        "4ece084485813e9088d2c63a041bc5b44f9ef1012a2b588f3cd11f05033ac4c60c2ef6ab4030fe8296248df163f44952",
    ),
]


@both
def test_facts(facts: HashFacts) -> None:
    reference = hashlib.new(facts.name)
    assert facts.digest_size == reference.digest_size
    assert facts.block_size == reference.block_size
    assert facts.empty_digest == reference.digest()
    assert facts.digest(b"abc") == hashlib.new(facts.name, b"abc").digest()
    assert facts.new(b"abc").digest() == facts.digest(b"abc")


@pytest.mark.parametrize(("key", "data", "sha256", "sha384"), VECTORS)
def test_vectors_of_rfc_4231(key: bytes, data: bytes, sha256: str, sha384: str) -> None:
    for facts, expected in ((SHA256, sha256), (SHA384, sha384)):
        assert HmacKey(facts, key).digest(data).hex() == expected
        assert hmac_once(facts, key, data).hex() == expected
        assert hmac_pair(facts, key, data, b"other")[0].hex() == expected
        assert hmac_pair(facts, key, b"other", data)[1].hex() == expected


@both
@given(key=st.binary(max_size=300), data=st.lists(st.binary(max_size=300), min_size=1, max_size=4))
def test_equals_the_standard_library(facts: HashFacts, key: bytes, data: list[bytes]) -> None:
    prepared = HmacKey(facts, key)
    assert hmac_pair(facts, key, data[0], data[-1]) == (prepared.digest(data[0]), prepared.digest(data[-1]))
    for message in data:
        expected = hmac.digest(key, message, facts.name)
        assert prepared.digest(message) == expected
        assert hmac_once(facts, key, message) == expected


@both
@pytest.mark.parametrize("around", [-1, 0, 1])
def test_keys_around_the_block_size(facts: HashFacts, around: int) -> None:
    key = bytes(range(1, facts.block_size + around + 1))
    assert HmacKey(facts, key).digest(b"x") == hmac.digest(key, b"x", facts.name)
    assert hmac_once(facts, key, b"x") == hmac.digest(key, b"x", facts.name)
    assert hmac_pair(facts, key, b"x", b"y")[1] == hmac.digest(key, b"y", facts.name)


@both
def test_a_prepared_key_is_not_changed_by_use(facts: HashFacts) -> None:
    prepared = HmacKey(facts, b"key")
    first = prepared.digest(b"one")
    prepared.digest(b"two")
    assert prepared.digest(b"one") == first


def test_a_prepared_key_does_not_hold_or_show_the_key() -> None:
    key = b"a very secret key, thirty-two b."
    prepared = HmacKey(SHA256, key)
    held = [getattr(prepared, name) for name in HmacKey.__slots__]
    assert all(callable(value) for value in held)
    assert "secret" not in repr(prepared)
