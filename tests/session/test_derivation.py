from __future__ import annotations

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from hypothesis import given
from hypothesis import strategies as st

from resumption.errors import ConfigurationError
from resumption.session.tickets.derivation import PreparedHmac, check_diversity, key_material, overwrite

SECRET = hashlib.sha256(b"a secret for tests").digest()


@given(key=st.binary(max_size=200), message=st.binary(max_size=300))
def test_the_prepared_hmac_is_hmac(key: bytes, message: bytes) -> None:
    prepared = PreparedHmac(key)
    assert prepared.digest(message) == hmac.digest(key, message, "sha256")
    assert prepared.digest(message) == hmac.digest(key, message, "sha256")  # states are not used up


@given(key=st.binary(min_size=32, max_size=64), info=st.binary(max_size=100))
def test_expansion_is_hkdf_expand(key: bytes, info: bytes) -> None:
    prepared = PreparedHmac(bytearray(key))
    assert prepared.expand(info) == HKDFExpand(SHA256(), 32, info).derive(key)
    secret, nonce = prepared.expand_key_and_nonce(info)
    assert (len(secret), len(nonce)) == (32, 12)
    assert secret + nonce == HKDFExpand(SHA256(), 44, info).derive(key)


def test_expansion_reproduces_rfc_5869_case_1() -> None:
    prk = bytes.fromhex("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5")
    secret, nonce = PreparedHmac(prk).expand_key_and_nonce(bytes.fromhex("f0f1f2f3f4f5f6f7f8f9"))
    assert (secret + nonce[:10]).hex() == (
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    )


@pytest.mark.parametrize(
    "secret",
    [
        SECRET,
        bytearray(SECRET),
        SECRET.hex(),
        SECRET.hex().upper(),
        SECRET.hex() + "\n",
        SECRET.hex().encode() + b"\r\n",
    ],
)
def test_the_same_secret_may_come_as_bytes_or_hexadecimal_text(secret: bytes | bytearray | str) -> None:
    assert key_material(secret) == SECRET


def test_other_text_counts_as_its_own_bytes() -> None:
    text = "Not hexadecimal, but long and varied enough."
    assert key_material(text) == text.encode()
    assert key_material(text + "\n") == text.encode()
    assert key_material(text.encode()) == text.encode()
    assert key_material("ünïcödé, and long and varied enough") == "ünïcödé, and long and varied enough".encode()


def test_raw_bytes_keep_what_looks_like_a_line_end() -> None:
    raw = SECRET + b"\xff\r\n"
    assert key_material(raw) == raw


def test_the_caller_owns_what_it_is_given() -> None:
    mine = bytearray(SECRET)
    material = key_material(mine)
    overwrite(material)
    assert material == b""
    assert mine == SECRET


@pytest.mark.parametrize("length", range(32))
def test_f56_f57_short_secrets_are_refused_and_never_padded(length: int) -> None:
    with pytest.raises(ConfigurationError, match=f"holds {length} bytes of key material"):
        key_material(SECRET[:length])
    with pytest.raises(ConfigurationError, match=f"holds {length} bytes of key material"):
        key_material(SECRET[:length].hex())


@pytest.mark.parametrize(
    ("secret", "why"),
    [
        (bytes(32), "pattern of 1 bytes"),
        (b"\xff" * 64, "pattern of 1 bytes"),
        ("00" * 32, "pattern of 1 bytes"),
        (b"\x01\x02\x03\xf4" * 8, "pattern of 4 bytes"),
        (SECRET[:16] * 2, "pattern of 16 bytes"),
        (SECRET[:16] * 2 + SECRET[:5], "pattern of 16 bytes"),  # does not end with a whole one
        (SECRET * 2, "pattern of 32 bytes"),
        (SECRET[:16] + bytes(16), "more than a quarter"),  # half a key, and zeros
        (SECRET[:24] + bytes(9), "more than a quarter"),
        (hashlib.sha256(b"").digest().translate(bytes(value % 8 for value in range(256))), "only 8 different"),
        ("x" * 40, "pattern of 1 bytes"),
        (SECRET.hex()[:-1], "an odd number"),
        (SECRET * 129, "the limit is 4096"),
        ("\ud800" * 40, "not text"),
        (None, "not NoneType"),
    ],
)
def test_f56_f57_weak_secrets_are_refused(secret: bytes | str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        key_material(secret)


def varied(distinct: int, length: int) -> bytes:
    """Bytes of which ``distinct`` are different, each about as often as the others, without a period."""
    digits = hashlib.shake_256(b"varied").digest(length)
    return bytes(range(distinct)) + bytes(digit % distinct for digit in digits[distinct:])


def test_the_limits_themselves_are_accepted() -> None:
    assert len(key_material(SECRET * 2 + varied(200, 4096 - 64))) == 4096
    with pytest.raises(ConfigurationError, match="4097 bytes long"):
        key_material(SECRET * 2 + varied(200, 4097 - 64))
    check_diversity(varied(12, 64), "it")
    with pytest.raises(ConfigurationError, match="only 11 different"):
        check_diversity(varied(11, 64), "it")
    check_diversity(bytes(8) + SECRET[:24], "it")
    with pytest.raises(ConfigurationError, match="more than a quarter"):
        check_diversity(bytes(9) + SECRET[:23], "it")


def test_no_message_repeats_the_secret() -> None:
    secret = "5ecre7" * 8
    with pytest.raises(ConfigurationError) as caught:
        key_material(secret)
    assert "5ecre7" not in str(caught.value)


@given(st.binary(min_size=32, max_size=32))
def test_hashes_are_never_called_weak(seed: bytes) -> None:
    check_diversity(hashlib.sha256(seed).digest(), "it")
    check_diversity(hashlib.sha512(seed).digest(), "it")
