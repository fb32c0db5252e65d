"""The text form and the key log line: OpenSSL's own output, every line that comes and goes, and the words."""

from __future__ import annotations

from typing import Any

import pytest

from resumption.errors import SessionError
from resumption.session.facts import SessionData
from resumption.session.formats import der
from resumption.session.formats.names import suite_name, verify_message, version_name
from resumption.session.formats.text import to_keylog, to_text
from tests.session import vectors

PLAIN = SessionData(version=0x0303, cipher=0xC02F, timeout=0, verify_result=0)
PLAIN_TEXT = """\
SSL-Session:
    Protocol  : TLSv1.2
    Cipher    : ECDHE-RSA-AES128-GCM-SHA256
    Session-ID: 
    Session-ID-ctx: 
    Master-Key: 
    PSK identity: None
    PSK identity hint: None
    SRP username: None
    Verify return code: 0 (ok)
    Extended master secret: no
"""  # noqa: W291


def lines(**changes: Any) -> list[str]:
    """The lines that differ from the plain session's."""
    plain = PLAIN_TEXT.splitlines()
    return [line for line in to_text(PLAIN.replaced(**changes), b"").splitlines() if line not in plain]


@pytest.mark.parametrize("name", vectors.NAMES)
def test_a_vector_is_printed_as_openssl_prints_it(name: str) -> None:
    data, secret, _ = der.decode(vectors.der(name), lambda: 0.0)
    assert to_text(data, secret) == vectors.text(name)


def test_the_lines_that_are_always_there() -> None:
    assert to_text(PLAIN, b"") == PLAIN_TEXT


def test_tls_1_3_has_its_own_words() -> None:
    text = to_text(PLAIN.replaced(version=0x0304, cipher=0x1302, max_early_data=7), b"\xab\xcd")
    assert "    Resumption PSK: ABCD\n" in text
    assert "Master-Key" not in text
    assert text.endswith("    Extended master secret: no\n    Max Early Data: 7\n")


def test_ids_and_secrets_are_upper_case_hexadecimal() -> None:
    text = to_text(PLAIN.replaced(session_id=b"\x0a\xff", id_context=b"\xbe"), b"\xde\xad")
    assert "\n    Session-ID: 0AFF\n    Session-ID-ctx: BE\n    Master-Key: DEAD\n" in text


def test_names_of_the_peer_are_shown() -> None:
    assert lines(psk_identity=b"me", psk_identity_hint=b"", srp_username=b"\xffx") == [
        "    PSK identity: me",
        "    PSK identity hint: ",
        "    SRP username: \\xffx",
    ]


def test_lines_that_are_only_there_for_a_reason() -> None:
    assert lines(ticket_lifetime_hint=5) == ["    TLS session ticket lifetime hint: 5 (seconds)"]
    assert lines(compression=1) == ["    Compression: 1 (zlib compression)"]
    assert lines(compression=9) == ["    Compression: 9"]
    assert lines(time=1.75) == ["    Start Time: 1"]
    assert lines(time=0.75) == []
    assert lines(timeout=3) == ["    Timeout   : 3 (sec)"]
    assert lines(flags=1) == ["    Extended master secret: yes"]
    assert lines(verify_result=18) == ["    Verify return code: 18 (self-signed certificate)"]


def test_nothing_else_is_shown() -> None:
    hidden: dict[str, Any] = {"alpn": b"h2", "hostname": "a", "group": 29, "ticket_age_add": 5, "ticket_appdata": b"x"}
    assert lines(**hidden, max_early_data=3, partition=b"p", role="server", peer_certificate=b"c") == []


@pytest.mark.parametrize(
    ("ticket", "rows"),
    [
        (b"\x00", ["    0000 - 00" + " " * 48 + "."]),
        (b"abcdefg", ["    0000 - 61 62 63 64 65 66 67" + " " * 30 + "abcdefg"]),
        (b"abcdefgh", ["    0000 - 61 62 63 64 65 66 67 68-" + " " * 26 + "abcdefgh"]),
        (b"abcdefghi", ["    0000 - 61 62 63 64 65 66 67 68-69" + " " * 24 + "abcdefghi"]),
        (
            bytes(range(0x1F, 0x2F)) + b"\x7e\x7f",
            [
                "    0000 - 1f 20 21 22 23 24 25 26-27 28 29 2a 2b 2c 2d 2e   . !\"#$%&'()*+,-.",
                "    0010 - 7e 7f" + " " * 45 + "~.",
            ],
        ),
    ],
)
def test_a_ticket_is_dumped_in_rows_of_16(ticket: bytes, rows: list[str]) -> None:
    assert lines(ticket=ticket) == ["    TLS session ticket:", *rows, ""]


def test_offsets_past_64_kib_grow() -> None:
    assert lines(ticket=bytes(0x10010))[-2].startswith("    10000 - 00")


@pytest.mark.parametrize(
    ("version", "name"),
    [
        (0x0300, "SSLv3"),
        (0x0301, "TLSv1"),
        (0x0302, "TLSv1.1"),
        (0x0303, "TLSv1.2"),
        (0x0304, "TLSv1.3"),
        (0x0100, "DTLSv0.9"),
        (0xFEFF, "DTLSv1"),
        (0xFEFD, "DTLSv1.2"),
        (0x0305, "unknown"),
        (0, "unknown"),
    ],
)
def test_versions_have_openssls_names(version: int, name: str) -> None:
    assert version_name(version) == name


def test_suites_have_openssls_names_or_four_digits() -> None:
    assert suite_name(0x1304) == "TLS_AES_128_CCM_SHA256"
    assert suite_name(0x00A8) == "PSK-AES128-GCM-SHA256"
    assert suite_name(0xFAFA) == "FAFA"
    assert suite_name(0x0A) == "000A"


def test_verification_results_have_openssls_words() -> None:
    assert [verify_message(code) for code in (0, 1, 10, 18, 20, 62, 95)] == [
        "ok",
        "unspecified certificate verification error",
        "certificate has expired",
        "self-signed certificate",
        "unable to get local issuer certificate",
        "hostname mismatch",
        "Raw public key untrusted, no trusted keys configured",
    ]
    for code in (-1, 101, 2**31 - 1):
        assert verify_message(code) == "unknown certificate verification error"


def test_a_key_log_line_needs_an_id_and_a_secret() -> None:
    data = PLAIN.replaced(session_id=b"\x0a\xff")
    assert to_keylog(data, b"\xde\xad") == "RSA Session-ID:0AFF Master-Key:DEAD\n"
    for bad, secret in ((PLAIN, b"\xde\xad"), (data, b"")):
        with pytest.raises(SessionError):
            to_keylog(bad, secret)
