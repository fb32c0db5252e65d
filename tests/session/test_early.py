"""The two functions that decide about early data, rule by rule, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from resumption.session.early import (
    NO_EARLY_DATA,
    EarlyData,
    EarlyOffer,
    EarlyPolicy,
    EarlyReason,
    EarlyState,
    early_eligible,
    early_offerable,
    too_early_response,
)
from resumption.session.facts import SessionData

NOW = 1_800_000_000.0
ADD = 4_000_000_000  # so that the age that is sent wraps around
DATA = SessionData(
    version=0x0304,
    cipher=0x1301,
    time=NOW - 500,
    timeout=7_200,
    verify_result=0,
    hostname="example.org",
    alpn=b"h2",
    ticket_age_add=ADD,
    ticket_lifetime_hint=7_200,
    max_early_data=1_000,
    role="server",
    replay_domain=b"here",
)
POLICY = EarlyPolicy(max_early_data=1_000, domain=b"here", window_s=10.0)
OFFER = EarlyOffer(
    position=0,
    retried=False,
    version=0x0304,
    suite=0x1301,
    alpn=b"h2",
    server_name="example.org",
    obfuscated_age_ms=(500_000 + ADD) % 2**32,
)


def aged(claimed_ms: int, seen_s: float = 500.0) -> EarlyReason | None:
    """What becomes of a hello by the age that the client tells and the one that the server sees."""
    offer = replace(OFFER, obfuscated_age_ms=(claimed_ms + ADD) % 2**32)
    return early_eligible(DATA.replaced(time=NOW - seen_s), POLICY, offer, NOW)


def test_what_fits_in_every_respect_is_left_to_the_register() -> None:
    assert early_eligible(DATA, POLICY, OFFER, NOW) is None


REFUSALS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any], EarlyReason]] = {
    "off": ({}, {"max_early_data": 0}, {}, EarlyReason.OFF),
    "after a retry": ({}, {}, {"retried": True}, EarlyReason.RETRIED),
    "not the first": ({}, {}, {"position": 1}, EarlyReason.NOT_FIRST),
    "other suite": ({}, {}, {"suite": 0x1303}, EarlyReason.OTHER_SUITE),
    "other protocol": ({}, {}, {"alpn": b"http/1.1"}, EarlyReason.OTHER_ALPN),
    "no protocol now": ({}, {}, {"alpn": None}, EarlyReason.OTHER_ALPN),
    "no protocol then": ({"alpn": None}, {}, {}, EarlyReason.OTHER_ALPN),
    "an empty protocol is not none": ({"alpn": None}, {}, {"alpn": b""}, EarlyReason.OTHER_ALPN),
    "other name": ({}, {}, {"server_name": "example.com"}, EarlyReason.OTHER_NAME),
    "no name now": ({}, {}, {"server_name": None}, EarlyReason.OTHER_NAME),
    "no name then": ({"hostname": None}, {}, {}, EarlyReason.OTHER_NAME),
    "other version now": ({}, {}, {"version": 0x0303}, EarlyReason.OTHER_VERSION),
    "other version then": ({"version": 0x0303}, {}, {}, EarlyReason.OTHER_VERSION),
    "neither is TLS 1.3": ({"version": 0x0303}, {}, {"version": 0x0303}, EarlyReason.OTHER_VERSION),
    "not allowed": ({"max_early_data": 0}, {}, {}, EarlyReason.NOT_ALLOWED),
    "more was allowed than now": ({"max_early_data": 1_001}, {}, {}, EarlyReason.NOT_ALLOWED),
    "another place": ({"replay_domain": b"there"}, {}, {}, EarlyReason.OTHER_DOMAIN),
    "no place": ({"replay_domain": b""}, {}, {}, EarlyReason.OTHER_DOMAIN),
    "no place here either": ({"replay_domain": b""}, {"domain": b""}, {}, EarlyReason.OTHER_DOMAIN),
    "a clock without time": ({"time": float("nan")}, {}, {}, EarlyReason.FROM_THE_FUTURE),
    "a window without end": ({}, {"window_s": float("nan")}, {}, EarlyReason.STALE),
}


@pytest.mark.proves("9846:4.3.10:6", "9846:4.3.10:7", "9846:4.3.10:9")
@pytest.mark.parametrize(("data", "policy", "offer", "reason"), REFUSALS.values(), ids=REFUSALS)
def test_f89_each_condition_alone_refuses(
    data: dict[str, Any], policy: dict[str, Any], offer: dict[str, Any], reason: EarlyReason
) -> None:
    assert early_eligible(DATA.replaced(**data), replace(POLICY, **policy), replace(OFFER, **offer), NOW) is reason


def test_a_single_byte_may_be_allowed() -> None:
    assert early_eligible(DATA.replaced(max_early_data=1), replace(POLICY, max_early_data=1), OFFER, NOW) is None


STALE = EarlyReason.STALE
FUTURE = EarlyReason.FROM_THE_FUTURE

# The age that the client tells in milliseconds, the one that the server sees in seconds, and what becomes of it.
SKEWS: list[tuple[int, float, EarlyReason | None]] = [
    (500_000, 500.0, None),
    (510_000, 500.0, None),
    (510_001, 500.0, STALE),
    (490_000, 500.0, None),
    (489_999, 500.0, STALE),
    (500_000, 510.0, None),
    (500_000, 510.001, STALE),
    (500_000, 490.0, None),
    (500_000, 489.999, STALE),
    (0, 0.0, None),
    (10_000, 0.0, None),
    (0, 10.0, None),
    (0, 10.001, STALE),
    (2**32 - 1, 0.0, STALE),  # a millisecond before it was issued, by the client's clock
    (2**32 - 1, 5.0, STALE),
    (2**32 - 500_000, 500.0, STALE),
    (604_800_000, 604_800.0, None),
    (500_000, 500.0 + 2**32 / 1000, STALE),  # once around
    (0, -0.001, FUTURE),  # the server's clock went back, or another's that issued it is ahead
    (0, -3_600.0, FUTURE),
    (500_000, -500.0, FUTURE),
]


@pytest.mark.proves("9846:4.3.10:3")
@pytest.mark.parametrize(("claimed_ms", "seen_s", "reason"), SKEWS)
def test_f88_the_age_of_the_ticket_decides_around_the_window(
    claimed_ms: int, seen_s: float, reason: EarlyReason | None
) -> None:
    assert aged(claimed_ms, seen_s) is reason


@pytest.mark.parametrize("add", [0, 1, 2**31, 2**32 - 500_000, 2**32 - 1])
def test_f88_the_age_is_hidden_modulo_two_to_the_32(add: int) -> None:
    offer = replace(OFFER, obfuscated_age_ms=(500_000 + add) % 2**32)
    assert early_eligible(DATA.replaced(ticket_age_add=add), POLICY, offer, NOW) is None
    offer = replace(OFFER, obfuscated_age_ms=(520_000 + add) % 2**32)
    assert early_eligible(DATA.replaced(ticket_age_add=add), POLICY, offer, NOW) is STALE


# --- the client ------------------------------------------------------------------------------------------------------

OURS = DATA.replaced(role="client", replay_domain=b"", verified_name="example.org")


def offerable(data: SessionData = OURS, size: int = 10, **changes: Any) -> EarlyReason | None:
    settings: dict[str, Any] = {"alpn": (b"h2",), "server_name": "example.org", "verify": True, "now": NOW}
    return early_offerable(data, size, **{**settings, **changes})


@pytest.mark.parametrize("change", [{}, {"alpn": None}, {"hostname": None}], ids=str)
def test_a_client_may_send_what_the_session_allows(change: dict[str, Any]) -> None:
    assert offerable(OURS.replaced(**change)) is None


LIMITS: dict[str, Callable[[], EarlyReason | None]] = {
    "a single byte": lambda: offerable(size=1),
    "all that is allowed": lambda: offerable(size=1_000),
    "as soon as the ticket is there": lambda: offerable(OURS.replaced(time=NOW)),
    "at the end of the timeout": lambda: offerable(OURS.replaced(timeout=500)),
    "at the end of the ticket's lifetime": lambda: offerable(OURS.replaced(ticket_lifetime_hint=500)),
    "after seven days": lambda: offerable(OURS.replaced(time=NOW - 604_800, timeout=10**9, ticket_lifetime_hint=10**9)),
}


@pytest.mark.parametrize("ask", LIMITS.values(), ids=LIMITS)
def test_a_client_may_go_to_the_limit(ask: Callable[[], EarlyReason | None]) -> None:
    assert ask() is None


CLIENT_REFUSALS: dict[str, tuple[Callable[[], EarlyReason | None], EarlyReason]] = {
    "nothing allowed": (lambda: offerable(OURS.replaced(max_early_data=0)), EarlyReason.NOT_ALLOWED),
    "too much": (lambda: offerable(size=1_001), EarlyReason.NOT_ALLOWED),
    "nothing to send": (lambda: offerable(size=0), EarlyReason.NOT_ALLOWED),
    "TLS 1.2": (lambda: offerable(OURS.replaced(version=0x0303)), EarlyReason.OTHER_VERSION),
    "protocol not offered": (lambda: offerable(alpn=(b"http/1.1",)), EarlyReason.OTHER_ALPN),
    "no protocol offered": (lambda: offerable(alpn=()), EarlyReason.OTHER_ALPN),
    "other name": (lambda: offerable(server_name="example.com"), EarlyReason.OTHER_NAME),
    "no name": (lambda: offerable(server_name=None), EarlyReason.OTHER_NAME),
    "not verified": (lambda: offerable(OURS.replaced(verify_result=1)), EarlyReason.NOT_VERIFIED),
    "past the timeout": (lambda: offerable(OURS.replaced(timeout=499)), EarlyReason.EXPIRED),
    "past the ticket's lifetime": (lambda: offerable(OURS.replaced(ticket_lifetime_hint=499)), EarlyReason.EXPIRED),
    "seven days": (
        lambda: offerable(OURS.replaced(time=NOW - 604_801, timeout=10**9, ticket_lifetime_hint=10**9)),
        EarlyReason.EXPIRED,
    ),
    "future": (lambda: offerable(OURS.replaced(time=NOW + 1)), EarlyReason.FROM_THE_FUTURE),
    "no time at all": (lambda: offerable(now=float("nan")), EarlyReason.FROM_THE_FUTURE),
}


@pytest.mark.parametrize(("ask", "reason"), CLIENT_REFUSALS.values(), ids=CLIENT_REFUSALS)
def test_f25_a_client_checks_before_it_sends(ask: Callable[[], EarlyReason | None], reason: EarlyReason) -> None:
    assert ask() is reason


# --- what is said ----------------------------------------------------------------------------------------------------


def test_early_data_tells_its_story_in_one_line() -> None:
    assert str(NO_EARLY_DATA) == "no early data"
    refused = EarlyData(reason=EarlyReason.NO_SESSION)
    assert str(refused) == "no early data: there is no session that can be offered"
    assert str(EarlyData(EarlyState.ACCEPTED, size=7)) == "7 bytes of early data accepted"
    rejected = EarlyData(EarlyState.REJECTED, EarlyReason.SEEN, 7)
    assert str(rejected) == "7 bytes of early data rejected: the hello was seen before: it is a replay"
    assert [value.accepted for value in (NO_EARLY_DATA, rejected, EarlyData(EarlyState.OFFERED))] == [False] * 3


def test_reasons_are_text_for_programs_with_a_sentence_for_people() -> None:
    assert EarlyReason("seen") is EarlyReason.SEEN
    assert len({reason.sentence for reason in EarlyReason}) == len(EarlyReason)
    assert all(reason.value == reason and " " not in reason for reason in EarlyReason)


def test_f87_too_early_is_an_answer_of_http() -> None:
    assert too_early_response() == b"HTTP/1.1 425 Too Early\r\nContent-Length: 0\r\n\r\n"
    assert too_early_response("HTTP/1.0").startswith(b"HTTP/1.0 425 ")
