"""Cookies: what is sealed comes back, for the same address, in time, and unchanged; nothing else does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resumption.crypto.cookies import COOKIE_LIFETIME_S, CookieKeys, RetryFacts
from resumption.errors import ConfigurationError, IllegalParameter

SECRET = bytes(range(32))
NOW = 1_700_000_000.0
FACTS = RetryFacts(0x1302, 29, True, b"u" * 32, b"h" * 48)
KEYS = CookieKeys(SECRET)


@given(
    st.builds(
        RetryFacts,
        st.integers(0, 0xFFFF),
        st.integers(0, 0xFFFF),
        st.booleans(),
        st.binary(min_size=32, max_size=32),
        st.binary(min_size=32, max_size=48),
    ),
    st.binary(max_size=20),
)
def test_what_is_sealed_comes_back(facts: RetryFacts, address: bytes) -> None:
    assert KEYS.open(KEYS.seal(facts, address, NOW), address, NOW + 1) == facts


def test_another_server_with_the_secret_opens_it() -> None:
    cookie = CookieKeys.from_secret(SECRET.hex()).seal(FACTS, b"", NOW)
    assert CookieKeys.from_secret(SECRET).open(cookie, b"", NOW) == FACTS


@pytest.mark.parametrize("keys", [CookieKeys(b"x" + SECRET), CookieKeys.generate()])
def test_another_key_does_not(keys: CookieKeys) -> None:
    with pytest.raises(IllegalParameter):
        keys.open(KEYS.seal(FACTS, b"", NOW), b"", NOW)


def test_every_bit_counts() -> None:
    cookie = KEYS.seal(FACTS, b"", NOW)
    for at in range(len(cookie)):
        changed = cookie[:at] + bytes((cookie[at] ^ 1,)) + cookie[at + 1 :]
        with pytest.raises(IllegalParameter, match="none of this server's"):
            KEYS.open(changed, b"", NOW)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(cookie: bytes) -> None:
    with pytest.raises(IllegalParameter):
        KEYS.open(cookie, b"", NOW)


@pytest.mark.parametrize("address", [b"", b"192.0.2.1", b"192.0.2.10"])
def test_it_is_bound_to_an_address(address: bytes) -> None:
    with pytest.raises(IllegalParameter):
        KEYS.open(KEYS.seal(FACTS, b"192.0.2.2", NOW), address, NOW)


@pytest.mark.parametrize(("later", "good"), [(0, True), (59, True), (-59, True), (61, False), (-61, False)])
def test_it_lives_for_a_minute(later: float, good: bool) -> None:
    assert COOKIE_LIFETIME_S == 60
    cookie = KEYS.seal(FACTS, b"", NOW)
    if good:
        assert KEYS.open(cookie, b"", NOW + later) == FACTS
    else:
        with pytest.raises(IllegalParameter, match="too old"):
            KEYS.open(cookie, b"", NOW + later)


@pytest.mark.parametrize("secret", [b"", b"short", SECRET[:31], bytes(32), b"ab" * 20, "not hex", "00" * 32])
def test_a_weak_secret_is_refused(secret: bytes | str) -> None:
    with pytest.raises(ConfigurationError):
        CookieKeys.from_secret(secret)


def test_a_lifetime_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        CookieKeys(SECRET, lifetime_s=0)


def test_no_secret_is_shown() -> None:
    assert repr(KEYS) == "<CookieKeys for 60 s>"
