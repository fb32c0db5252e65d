"""The finite fields of RFC 7919: the primes, the range of shares, their width, and that nobody is warned about them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from resumption.constants import NamedGroup
from resumption.crypto.finite_field import AVAILABLE, prime
from resumption.crypto.groups import DEFAULT_GROUPS, GROUPS, generate, respond
from resumption.errors import IllegalParameter

FFDHE2048 = prime(2048, 560_316)
FFDHE3072 = prime(3072, 2_625_351)
fields = pytest.mark.parametrize(
    ("group", "modulus"), [(NamedGroup.ffdhe2048, FFDHE2048), (NamedGroup.ffdhe3072, FFDHE3072)]
)

# RFC 7919, appendices A.1 and A.2: what both primes begin with, and how each goes on.
BOTH = """
FFFFFFFF FFFFFFFF ADF85458 A2BB4A9A AFDC5620 273D3CF1 D8B9C583 CE2D3695 A9E13641 146433FB CC939DCE 249B3EF9
7D2FE363 630C75D8 F681B202 AEC4617A D3DF1ED5 D5FD6561 2433F51F 5F066ED0 85636555 3DED1AF3 B557135E 7F57C935
984F0C70 E0E68B77 E2A689DA F3EFE872 1DF158A1 36ADE735 30ACCA4F 483A797A BC0AB182 B324FB61 D108A94B B2C8E3FB
B96ADAB7 60D7F468 1D4F42A3 DE394DF4 AE56EDE7 6372BB19 0B07A7C8 EE0A6D70 9E02FCE1 CDF7E2EC C03404CD 28342F61
9172FE9C E98583FF 8E4F1232 EEF28183 C3FE3B1B 4C6FAD73 3BB5FCBC 2EC22005 C58EF183 7D1683B2 C6F34A26 C1B2EFFA
886B4238 61"""
REST_2048 = "1285C97 FFFFFFFF FFFFFFFF".replace(" ", "")
REST_3072 = """1FCFDC DE355B3B 6519035B BC34F4DE F99C0238 61B46FC9 D6E6C907 7AD91D26 91F7F7EE 598CB0FA
C186D91C AEFE1309 85139270 B4130C93 BC437944 F4FD4452 E2D74DD3 64F2E21E 71F54BFF 5CAE82AB 9C9DF69E E86D2BC5
22363A0D ABC52197 9B0DEADA 1DBF9A42 D5C4484E 0ABCD06B FA53DDEF 3C1B20EE 3FD59D7C 25E41D2B 66C62E37
FFFFFFFF FFFFFFFF"""


def number(text: str) -> int:
    return int("".join(text.split()), 16)


def test_the_primes_are_those_of_the_rfc() -> None:
    assert number(BOTH[: -len("61")] + "6" + REST_2048) == FFDHE2048
    assert number(BOTH[: -len("61")] + "6" + "1" + REST_3072) == FFDHE3072


@fields
@pytest.mark.proves("9846:4.3.8.1:1")
def test_a_share_is_validated(group: int, modulus: int) -> None:
    """1 < Y < p - 1, and as wide as the prime."""
    length = modulus.bit_length() // 8
    share = generate(group)
    for value in (0, 1, modulus - 1, modulus, modulus + 1, 2 ** (8 * length) - 1):
        with pytest.raises(IllegalParameter, match=NamedGroup(group).name):
            respond(group, value.to_bytes(length, "big"))
        with pytest.raises(IllegalParameter):
            share.finish(value.to_bytes(length, "big"))
    for value in (2, 4, modulus - 2):
        assert len(share.finish(value.to_bytes(length, "big"))) == length


@fields
def test_a_share_without_its_leading_zeros_is_refused(group: int, modulus: int) -> None:
    length = modulus.bit_length() // 8
    with pytest.raises(IllegalParameter):
        respond(group, b"\x04")
    with pytest.raises(IllegalParameter):
        generate(group).finish(b"\0" + (4).to_bytes(length, "big"))


def test_shares_and_secrets_keep_their_leading_zeros() -> None:
    """One in 256 begins with a zero byte: the width never tells."""
    for _ in range(6):
        share = generate(NamedGroup.ffdhe2048)
        answer, secret = respond(NamedGroup.ffdhe2048, share.public)
        assert len(share.public) == len(answer) == len(secret) == 256
    assert len(generate(NamedGroup.ffdhe2048).finish((1).to_bytes(255, "big") + b"\x01")) == 256


def test_they_are_there_and_only_for_those_who_ask() -> None:
    assert AVAILABLE
    assert {256, 257} <= GROUPS.keys()
    assert not {256, 257} & set(DEFAULT_GROUPS)
    assert GROUPS[256].tls13_only


def test_no_warning_of_their_announced_end_reaches_the_program() -> None:
    code = "import resumption.crypto.groups as g; s = g.generate(256); s.finish(g.respond(256, s.public)[0])"
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.stderr == ""
    assert result.returncode == 0
