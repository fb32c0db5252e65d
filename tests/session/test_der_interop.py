"""What we construct, OpenSSL's command line reads, prints as we do, and writes again byte for byte."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resumption.session.facts import SessionData
from resumption.session.formats import der, text
from resumption.session.formats.names import suite_name
from tests.session import vectors

pytestmark = [pytest.mark.interop, pytest.mark.usefixtures("openssl")]

SECRET = bytes(range(48))
PLAIN = SessionData(version=0x0304, cipher=0x1302, session_id=bytes(32), time=1.7e9, timeout=7200, verify_result=0)


def sess_id(encoded: bytes, *options: str) -> bytes:
    """What ``openssl sess_id`` answers to an encoding."""
    ran = subprocess.run(["openssl", "sess_id", "-inform", "DER", *options], input=encoded, capture_output=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def check(data: SessionData, secret: bytes = SECRET) -> None:
    encoded = der.encode(data, secret)
    assert sess_id(encoded, "-outform", "DER") == encoded
    assert sess_id(encoded, "-outform", "PEM").decode() == der.to_pem(encoded)
    assert sess_id(encoded, "-text", "-noout").decode() == text.to_text(data, secret)
    if data.session_id and secret:
        assert sess_id(encoded, "-outform", "NSS").decode() == text.to_keylog(data, secret)


@pytest.mark.parametrize("name", vectors.NAMES)
def test_openssl_agrees_on_the_vectors(name: str) -> None:
    data, secret, _ = der.decode(vectors.der(name), lambda: 0.0)
    check(data, secret)


CASES: list[dict[str, Any]] = [
    {},
    {"version": 0x0303, "cipher": 0xC030, "flags": 1},
    {"version": 0x0302, "cipher": 0x002F},
    {"version": 0x0301, "cipher": 0x0035},
    {"version": 0xFEFD, "cipher": 0xC02B},
    {"version": 0xFEFF, "cipher": 0x002F},
    {"time": 1, "timeout": 1},
    {"time": 2**62, "timeout": 2**62},
    {"session_id": b""},
    {"id_context": bytes(range(32))},
    {"peer_certificate": "real"},
    {"verify_result": 18},
    {"verify_result": 2**31 - 1},
    {"hostname": "shop.example"},
    {"hostname": ""},
    {"psk_identity": b"me", "psk_identity_hint": b"you", "srp_username": b"them"},
    {"ticket_lifetime_hint": 2**32 - 1},
    {"ticket_age_add": 2**32 - 1, "max_early_data": 2**32 - 1},
    {"alpn": b"h2"},
    {"max_fragment_mode": 4},
    {"max_fragment_mode": 0},
    {"ticket_appdata": bytes(range(200))},
    {"group": 0x11EC},
    *({"ticket": bytes(range(0x18, 0x18 + length))} for length in (1, 7, 8, 9, 15, 16, 17, 32, 100, 126, 200)),
    {"ticket": b"t" * 66_000},
]


@pytest.mark.parametrize("changes", CASES, ids=lambda changes: repr(changes)[:40])
def test_openssl_agrees_on_a_constructed_session(changes: dict[str, Any]) -> None:
    if "peer_certificate" in changes:
        changes = {"peer_certificate": vectors.certificate()}
    check(PLAIN.replaced(**changes))


@pytest.mark.parametrize("length", [0, 1, 32, 127, 128, 256])
def test_openssl_agrees_on_a_secret_of_any_length(length: int) -> None:
    check(PLAIN, b"s" * length)


@pytest.mark.parametrize("name", ["psk_identity", "psk_identity_hint", "srp_username"])
def test_openssl_gives_up_printing_at_an_empty_name_and_we_do_not(name: str) -> None:
    """It takes "nothing was written" for an error. The encoding is agreed on all the same."""
    data = PLAIN.replaced(**{name: b""})
    encoded = der.encode(data, SECRET)
    assert sess_id(encoded, "-outform", "DER") == encoded
    printed, ours = sess_id(encoded, "-text", "-noout").decode(), text.to_text(data, SECRET)
    assert printed != ours
    assert ours.startswith(printed)


def test_openssl_agrees_on_the_name_of_every_suite_it_has() -> None:
    listed = subprocess.run(
        ["openssl", "ciphers", "-V", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"], capture_output=True, text=True, check=True
    )
    rows = [line.split() for line in listed.stdout.splitlines()]
    assert len(rows) > 50
    for number, _, name, *_ in rows:
        high, low = (int(half, 16) for half in number.split(","))
        assert suite_name(high << 8 | low) == name


ascii_words = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=20)


@given(
    data=st.builds(
        SessionData,
        version=st.sampled_from([0x0303, 0x0304]),
        cipher=st.sampled_from([0x1301, 0x1303, 0xC02F, 0xCCA9]),
        session_id=st.binary(max_size=32),
        id_context=st.binary(max_size=32),
        time=st.integers(1, 2**40),
        timeout=st.integers(1, 2**40),
        verify_result=st.integers(0, 94).filter(lambda code: code != 9),  # 4.x words 9 in another way
        hostname=st.none() | ascii_words,
        psk_identity=st.none() | ascii_words.filter(bool).map(str.encode),
        ticket_lifetime_hint=st.integers(0, 2**32 - 1),
        ticket=st.binary(max_size=70),
        flags=st.integers(0, 1),
        ticket_age_add=st.integers(0, 2**32 - 1),
        max_early_data=st.integers(0, 2**32 - 1),
        alpn=st.none() | st.binary(min_size=1, max_size=20),
        max_fragment_mode=st.sampled_from([0, 1, 4, 255]),
        ticket_appdata=st.binary(max_size=20),
        group=st.integers(0, 0xFFFF),
    ),
    secret=st.binary(max_size=64),
)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_openssl_agrees_on_random_sessions(data: SessionData, secret: bytes) -> None:
    if data.version == 0x0303:
        data = data.replaced(cipher=0xC02F)
    check(data, secret)
