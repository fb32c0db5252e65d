from __future__ import annotations

import base64
import copy
import hashlib
import hmac
import pickle
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from hypothesis import given
from hypothesis import strategies as st

from resumption.errors import ConfigurationError, InternalError
from resumption.session.tickets import openssl_tickets
from resumption.session.tickets.openssl_tickets import Layout, OpenSSLTicketKeys
from tests.session.ticket_cases import NOW, OTHER_PARTITION, PARTITION, stream

VECTORS = Path(__file__).resolve().parent.parent / "vectors" / "sessions"
KNOWN_BLOCK = bytes(range(80))
BLOCK = hashlib.shake_256(b"a ticket key block").digest(80)


def der_of(name: str) -> bytes:
    lines = (VECTORS / name).read_text().splitlines()
    return base64.b64decode("".join(line for line in lines if not line.startswith("-")))


def ticket_in(session: bytes) -> bytes:
    """Field [10] of an SSL_SESSION: the ticket."""
    _, content, _ = element(session, 0)
    at = 0
    while at < len(content):
        tag, value, at = element(content, at)
        if tag == 0xAA:
            return element(value, 0)[1]
    raise AssertionError("no ticket in this session")


def element(data: bytes, at: int) -> tuple[int, bytes, int]:
    length, start = data[at + 1], at + 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[at + 2 : start], "big")
    return data[at], data[start : start + length], start + length


def opened(keys: OpenSSLTicketKeys, ticket: bytes, partition: bytes = PARTITION) -> bytes | None:
    return keys.open(ticket, partition=partition, mechanism="tls12", now=NOW)


def sealed(keys: OpenSSLTicketKeys, plaintext: bytes, lifetime_s: float = 7200, seed: bytes = b"iv") -> bytes | None:
    return keys.seal(
        plaintext, partition=PARTITION, mechanism="tls12", now=NOW, random=stream(seed), lifetime_s=lifetime_s
    )


@pytest.fixture
def keys() -> OpenSSLTicketKeys:
    return OpenSSLTicketKeys(BLOCK)


@pytest.mark.parametrize("name", ["tls12-known-key", "tls13-known-key-mtls"])
def test_tickets_that_openssl_sealed_open_and_are_reproduced(name: str) -> None:
    keys = OpenSSLTicketKeys(KNOWN_BLOCK)
    ticket, session = ticket_in(der_of(f"{name}-client.pem")), der_of(f"{name}-server.pem")
    assert opened(keys, ticket) == session
    again = keys.seal(
        session,
        partition=b"",
        mechanism="",
        now=NOW,
        random=lambda length: ticket[16 : 16 + length],
        lifetime_s=1,
    )
    assert again == ticket


@pytest.mark.parametrize("layout", ["nginx", "openssl"])
def test_a_short_block_is_aes_128_in_the_order_of_its_program(layout: Layout) -> None:
    first, second = BLOCK[16:32], BLOCK[32:48]
    cipher_key, mac_key = (first, second) if layout == "nginx" else (second, first)
    keys = OpenSSLTicketKeys(BLOCK[:48], layout=layout)
    ticket = sealed(keys, b"a session")
    assert ticket is not None
    decryptor = Cipher(AES(cipher_key), CBC(ticket[16:32])).decryptor()
    assert decryptor.update(ticket[32:-32]) == b"a session" + b"\7" * 7
    assert hmac.digest(mac_key, ticket[:-32], "sha256") == ticket[-32:]
    assert opened(keys, ticket) == b"a session"


def test_the_layout_must_be_one_that_is_known() -> None:
    with pytest.raises(ConfigurationError, match="nginx"):
        OpenSSLTicketKeys(BLOCK[:48], layout="haproxy")  # type: ignore[arg-type]


@given(st.binary(max_size=700))
def test_what_is_sealed_opens(plaintext: bytes) -> None:
    keys = OpenSSLTicketKeys(BLOCK)
    ticket = sealed(keys, plaintext)
    assert ticket is not None
    assert len(ticket) == 64 + 16 * (len(plaintext) // 16 + 1)
    assert opened(OpenSSLTicketKeys(bytearray(BLOCK)), ticket) == plaintext
    assert opened(keys, ticket, OTHER_PARTITION) == plaintext  # not bound: the session inside must say it


@pytest.mark.parametrize("length", [length for length in range(161) if length not in (48, 80)])
def test_f57_a_block_of_any_other_size_is_refused(length: int) -> None:
    with pytest.raises(ConfigurationError, match=f"exactly 80 or 48 bytes, not {length} bytes"):
        OpenSSLTicketKeys((BLOCK * 2)[:length])


@pytest.mark.parametrize(
    ("block", "why"),
    [
        (bytes(80), "HMAC part"),
        (BLOCK[:16] + bytes(32) + BLOCK[48:], "HMAC part"),
        (BLOCK[:48] + bytes(32), "AES part"),
        (BLOCK[:48] + BLOCK[48:64] + bytes(16), "AES part"),  # a 48-byte file read as an 80-byte one
        (BLOCK[:48] + BLOCK[48:64] * 2, "AES part"),
        (BLOCK[:48] + BLOCK[16:48], "the same key"),
        (BLOCK.hex(), "not str"),
        (bytes(48), "key part"),
        (BLOCK[:32] + bytes(16), "key part"),
        (BLOCK[:32] + BLOCK[16:32], "key part"),
    ],
)
def test_f55_f56_f57_keys_that_are_none_are_refused(block: bytes, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        OpenSSLTicketKeys(block)


def test_the_code_is_checked_before_anything_is_decrypted(
    keys: OpenSSLTicketKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket = sealed(keys, bytes(100))
    assert ticket is not None

    def decrypted(*_: object) -> None:
        raise AssertionError("decrypted before it was authentic")

    monkeypatch.setattr(openssl_tickets, "Cipher", decrypted)
    for position in range(16, len(ticket)):
        changed = bytearray(ticket)
        changed[position] ^= 1
        assert opened(keys, bytes(changed)) is None
    with pytest.raises(AssertionError):
        opened(keys, ticket)


def test_the_code_is_compared_in_constant_time(keys: OpenSSLTicketKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def compare_digest(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", compare_digest)
    ticket = sealed(keys, bytes(10))
    assert ticket is not None
    assert opened(keys, ticket) == bytes(10)
    assert compared == [(hmac.digest(BLOCK[16:48], ticket[:-32], "sha256"), ticket[-32:])]


def test_f58_corrupt_tickets_are_misses(keys: OpenSSLTicketKeys) -> None:
    ticket = sealed(keys, bytes(200))
    assert ticket is not None
    random = stream(b"f58")
    cases = []
    for position in range(len(ticket)):
        for change in range(1, 256, 7):
            changed = bytearray(ticket)
            changed[position] ^= change
            cases.append(bytes(changed))
    for length in range(len(ticket)):
        cases += [ticket[:length], ticket[:16] + random(length), random(length)]
    cases += [ticket + random(length) for length in (1, 16, 8192)]
    assert len(cases) >= 10_000
    for case in cases:
        assert opened(keys, case) is None
    counts = keys.status(NOW).counts
    assert counts["opened"] == 0
    assert counts["unknown"] + counts["rejected"] == len(cases)
    assert opened(keys, ticket) == bytes(200)


@pytest.mark.parametrize(
    "body", [b"", bytes(15), bytes(17), bytes(16), bytes(15) + b"\x11", bytes(14) + b"\x01\x02", b"\xff" * 32]
)
def test_an_authentic_ticket_with_a_bad_body_is_a_miss(keys: OpenSSLTicketKeys, body: bytes) -> None:
    """Whoever has the MAC key alone gets nothing but a miss either: lengths and padding are strict."""
    if len(body) % 16 == 0 and body:
        encryptor = openssl_tickets.Cipher(keys._algorithm, openssl_tickets.CBC(bytes(16))).encryptor()
        body = encryptor.update(body) + encryptor.finalize()
    head = BLOCK[:16] + bytes(16) + body
    assert opened(keys, head + hmac.digest(BLOCK[16:48], head, "sha256")) is None


def test_a_session_too_large_gets_no_ticket(keys: OpenSSLTicketKeys) -> None:
    longest = 8192 - 64 - 1
    ticket = sealed(keys, bytes(longest))
    assert ticket is not None
    assert len(ticket) == 8192
    assert opened(keys, ticket) == bytes(longest)
    assert sealed(keys, bytes(longest + 1)) is None
    assert keys.status(NOW).counts["oversize"] == 1


def test_f63_seven_days_are_promised_and_nothing_is_sealed_for_no_lifetime(keys: OpenSSLTicketKeys) -> None:
    assert keys.lifetime_left(NOW) == 604_800
    for lifetime_s in (0, -1, float("nan")):
        assert sealed(keys, b"x", lifetime_s) is None
    assert keys.status(NOW).counts["refused"] == 3


def test_f59_a_short_random_read_is_an_error(keys: OpenSSLTicketKeys) -> None:
    with pytest.raises(InternalError, match="returned 15 bytes where 16"):
        keys.seal(b"x", partition=b"", mechanism="", now=NOW, random=lambda length: bytes(length - 1), lifetime_s=60)


def test_tickets_of_one_session_differ(keys: OpenSSLTicketKeys) -> None:
    assert sealed(keys, bytes(100), seed=b"1") != sealed(keys, bytes(100), seed=b"2")


def test_f60_closed_keys_issue_and_open_nothing(keys: OpenSSLTicketKeys) -> None:
    ticket = sealed(keys, b"session")
    assert ticket is not None
    held = keys._block
    assert keys.to_block() == BLOCK
    keys.close()
    keys.close()
    assert held == b""
    assert keys.to_block() == b""
    assert keys.lifetime_left(NOW) == 0
    assert sealed(keys, b"session") is None
    assert opened(keys, ticket) is None
    status = keys.status(NOW)
    assert status.keys == ()
    assert status.issuing is None
    assert status.not_issuing_because == "the keys were closed"


def test_the_status_tells_the_name_and_no_key(keys: OpenSSLTicketKeys) -> None:
    ticket = sealed(keys, b"session")
    assert ticket is not None
    opened(keys, ticket)
    status = keys.status(NOW)
    assert status.mode == "openssl"
    assert status.forward_secrecy == "no forward secrecy"
    assert status.issuing == BLOCK[:16].hex()
    assert status.not_issuing_because is None
    assert status.counts == {"sealed": 1, "opened": 1, "unknown": 0, "rejected": 0, "refused": 0, "oversize": 0}
    for text in (repr(status), repr(keys)):
        assert BLOCK[16:48].hex() not in text
        assert BLOCK[48:].hex() not in text
    assert repr(keys) == f"<OpenSSLTicketKeys {BLOCK.hex()[:12]}>"


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_f05_keys_are_never_pickled_or_copied(keys: OpenSSLTicketKeys, duplicate: object) -> None:
    assert callable(duplicate)
    with pytest.raises(TypeError, match="same block"):
        duplicate(keys)
