"""The server's gate against an oracle of its own: a table of everything that can be wrong, in checklist order.

Every row says what it breaks, for whom that matters, and what must come of it. Single rows, all pairs and random
handfuls are tried over the four mechanisms and the three kinds of client authentication; the earliest row that matters
decides. The oracle knows nothing of the gate's code: it is the checklist, written as data.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from resumption.constants import AlertDescription
from resumption.session.verdicts import RESUMABLE, Abort, Declined, Mechanism, Reason, Verdict
from tests.session.gate_cases import (
    AES_128_12,
    AES_128_13,
    AES_256_13,
    CASES,
    CHACHA_13,
    ENABLED,
    NOW,
    Case,
    by_case,
    disable_session_suite,
    good,
    swap_version,
)

# --- the table ---------------------------------------------------------------------------------------------------

Expect = Callable[[Case], Verdict | None]  # None: this row does not matter in that case


class Row(NamedTuple):
    name: str
    line: float  # its place in the checklist, section by section
    touches: str  # rows that write the same fact cannot be combined
    break_it: Callable[[Case], None]
    expect: Expect


def declined(reason: Reason) -> Expect:
    return lambda case: Declined(reason)


def only_13(reason: Reason) -> Expect:
    return lambda case: Declined(reason) if case.is_13 else None


def only_12(verdict: Verdict) -> Expect:
    return lambda case: None if case.is_13 else verdict


def with_client_auth(reason: Reason) -> Expect:
    return lambda case: None if case.auth == "none" else Declined(reason)


def sets(part: str, **facts: Any) -> Callable[[Case], None]:
    return lambda case: getattr(case, part).update(facts)


def swap_suite(case: Case, thirteen: int, twelve: int) -> None:
    case.data["cipher"] = thirteen if case.is_13 else twelve


def stop_offering(case: Case) -> None:
    case.offer["suites"] = frozenset(ENABLED) - {case.offer["suite"] or AES_128_12}


def negotiate(suite: int) -> Callable[[Case], None]:
    return lambda case: case.offer.update(suite=suite) if case.is_13 else None


def constant_secret(value: int) -> Callable[[Case], None]:
    def apply(case: Case) -> None:
        case.secret = bytes([value]) * len(case.secret)

    return apply


def cut_secret(length: int | None) -> Callable[[Case], None]:
    def apply(case: Case) -> None:
        case.secret = case.secret[: length if length is not None else len(case.secret) - 1]

    return apply


def lengthen_secret(case: Case) -> None:
    case.secret += b"\x01"


def flag(case: Case) -> None:
    case.resumable = False


def revoke(case: Case) -> None:
    case.revalidated = False


def mechanism_off(case: Case) -> None:
    case.policy["mechanisms"] = frozenset(Mechanism) - {case.mechanism}


def absent_certificate(case: Case) -> Verdict | None:
    return Declined(Reason.NO_CLIENT_CERTIFICATE) if case.auth == "required" else None


def unknown_suite(case: Case) -> None:
    case.data["cipher"] = 0x9999


def other_family_suite(case: Case) -> None:
    swap_suite(case, AES_128_12, AES_128_13)


ROWS = [
    Row("mechanism off", 2, "mechanisms", mechanism_off, declined(Reason.MECHANISM_DISABLED)),
    Row("no psk_dhe_ke", 3, "modes", sets("offer", psk_dhe_ke=False), only_13(Reason.NO_PSK_DHE_KE)),
    Row("client's session", 5, "role", sets("data", role="client"), declined(Reason.WRONG_ROLE)),
    Row("odd role", 5, "role", sets("data", role="Server"), declined(Reason.WRONG_ROLE)),
    Row("no role", 5, "role partition", sets("data", role=""), declined(Reason.WRONG_ROLE)),
    Row("from outside", 5, "role partition", sets("data", role="", partition=b""), declined(Reason.UNKNOWN_ORIGIN)),
    Row("flagged", 5.1, "flag", flag, declined(Reason.NOT_RESUMABLE)),
    Row("other version", 6, "version", swap_version, declined(Reason.OTHER_VERSION)),
    Row("version 0", 6, "version", sets("data", version=0), declined(Reason.OTHER_VERSION)),
    Row("suite disabled", 6.1, "suites cipher", disable_session_suite, declined(Reason.SUITE_NOT_ENABLED)),
    Row("suite unknown", 6.1, "cipher", unknown_suite, declined(Reason.SUITE_NOT_ENABLED)),
    Row("suite of the other family", 6.1, "cipher", other_family_suite, declined(Reason.SUITE_NOT_ENABLED)),
    Row("chosen suite not enabled", 6.2, "chosen offered", negotiate(0x1305), only_13(Reason.SUITE_NOT_ENABLED)),
    Row("chosen 1.2 suite", 6.2, "chosen offered", negotiate(AES_128_12), only_13(Reason.SUITE_NOT_ENABLED)),
    Row("suite not offered", 6.3, "offered cipher", stop_offering, declined(Reason.SUITE_NOT_OFFERED)),
    Row("other hash", 6.4, "chosen offered cipher", negotiate(AES_256_13), only_13(Reason.OTHER_HASH)),
    Row("same hash", 99, "chosen offered cipher", negotiate(CHACHA_13), lambda case: None),
    Row("other partition", 7, "partition", sets("data", partition=b"q" * 32), declined(Reason.OTHER_PARTITION)),
    Row("partition cut", 7, "partition", sets("data", partition=b"p" * 31), declined(Reason.OTHER_PARTITION)),
    Row("no partition", 7, "partition", sets("data", partition=b""), declined(Reason.OTHER_PARTITION)),
    Row("older epoch", 7.1, "epoch", sets("data", policy_epoch=2), declined(Reason.OTHER_EPOCH)),
    Row("newer epoch", 7.1, "epoch", sets("data", policy_epoch=4), declined(Reason.OTHER_EPOCH)),
    Row("other id context", 7.2, "context", sets("data", id_context=b"shoq"), declined(Reason.OTHER_ID_CONTEXT)),
    Row("no id context", 7.2, "context", sets("data", id_context=b""), declined(Reason.OTHER_ID_CONTEXT)),
    Row("other name", 7.3, "name", sets("offer", server_name="bank.example"), declined(Reason.OTHER_NAME)),
    Row("name gone", 7.3, "name", sets("offer", server_name=None), declined(Reason.OTHER_NAME)),
    Row("name new", 7.3, "name", sets("data", hostname=None), declined(Reason.OTHER_NAME)),
    Row("a fragment length asked for", 7.4, "fragments", sets("offer", max_fragment_mode=1),
        declined(Reason.OTHER_FRAGMENT_LENGTH)),
    Row("another fragment length", 7.4, "fragments", lambda c: (sets("data", max_fragment_mode=2)(c),
        sets("offer", max_fragment_mode=1)(c))[0], declined(Reason.OTHER_FRAGMENT_LENGTH)),
    Row("a fragment length gone", 7.4, "fragments", sets("data", max_fragment_mode=4),
        declined(Reason.OTHER_FRAGMENT_LENGTH)),
    Row("an impossible fragment length", 7.4, "fragments", sets("data", max_fragment_mode=5),
        declined(Reason.OTHER_FRAGMENT_LENGTH)),
    Row("the same fragment length", 99, "fragments", lambda c: (sets("data", max_fragment_mode=1)(c),
        sets("offer", max_fragment_mode=1)(c))[0], lambda case: None),
    Row("fragment lengths off", 99, "fragments", sets("data", max_fragment_mode=0), lambda case: None),
    Row("both nameless", 99, "name", lambda c: (sets("data", hostname=None)(c), sets("offer", server_name=None)(c))[0],
        lambda case: None),
    Row("made in the future", 8, "time", sets("data", time=NOW + 61), declined(Reason.FROM_THE_FUTURE)),
    Row("time unknown", 8, "time", sets("data", time=math.nan), declined(Reason.FROM_THE_FUTURE)),
    Row("future authentication", 8, "auth_time", sets("data", auth_time=NOW + 61), declined(Reason.FROM_THE_FUTURE)),
    Row("expired", 8.1, "time timeout", sets("data", time=NOW - 7201), declined(Reason.EXPIRED)),
    Row("no lifetime", 8.1, "timeout", sets("data", timeout=0), declined(Reason.EXPIRED)),
    Row("negative lifetime", 8.1, "timeout", sets("data", timeout=-5), declined(Reason.EXPIRED)),
    Row("over seven days", 8.1, "time timeout", sets("data", time=NOW - 604_801, timeout=10**6),
        only_13(Reason.EXPIRED)),
    Row("authenticated long ago", 8.2, "auth_time", sets("data", auth_time=NOW - 10_001),
        declined(Reason.AUTH_TOO_OLD)),
    Row("never authenticated", 8.2, "auth_time", sets("data", auth_time=0.0), declined(Reason.AUTH_TOO_OLD)),
    Row("past deadline", 8.3, "deadline", sets("data", deadline=NOW - 1), declined(Reason.PAST_DEADLINE)),
    Row("deadline unknown", 8.3, "deadline", sets("data", deadline=math.nan), declined(Reason.PAST_DEADLINE)),
    Row("no deadline", 99, "deadline", sets("data", deadline=0.0), lambda case: None),
    Row("no certificate", 9, "certificate", sets("data", peer_certificate=None), absent_certificate),
    Row("empty certificate", 9, "certificate", sets("data", peer_certificate=b""), absent_certificate),
    Row("no certificate, ask again", 9, "certificate",
        lambda c: (sets("data", peer_certificate=None)(c), sets("policy", reask_client_certificate=True)(c))[0],
        with_client_auth(Reason.NO_CLIENT_CERTIFICATE)),
    Row("certificate not verified", 9, "certificate", sets("data", verify_result=18),
        with_client_auth(Reason.CLIENT_NOT_VERIFIED)),
    Row("revoked meanwhile", 9.5, "lists", revoke, declined(Reason.REVALIDATION_FAILED)),
    Row("hello without EMS", 10, "ems", sets("offer", extended_master_secret=False),
        only_12(Abort(Reason.EMS_LOST, AlertDescription.handshake_failure))),
    Row("session without EMS", 10, "ems", sets("data", flags=0), only_12(Declined(Reason.EMS_GAINED))),
    Row("no EMS at all", 10, "ems",
        lambda c: (sets("data", flags=0)(c), sets("offer", extended_master_secret=False)(c))[0],
        only_12(Declined(Reason.EMS_ABSENT))),
    Row("EMS demanded", 10, "ems",
        lambda c: (sets("data", flags=0)(c), sets("offer", extended_master_secret=False)(c),
                   sets("policy", require_ems=True)(c))[0],
        only_12(Abort(Reason.EMS_REQUIRED, AlertDescription.handshake_failure))),
    Row("zero secret", 10.1, "secret", constant_secret(0), declined(Reason.BAD_SECRET)),
    Row("constant secret", 10.1, "secret", constant_secret(0xAA), declined(Reason.BAD_SECRET)),
    Row("empty secret", 10.1, "secret", cut_secret(0), declined(Reason.BAD_SECRET)),
    Row("one byte", 10.1, "secret", cut_secret(1), declined(Reason.BAD_SECRET)),
    Row("short secret", 10.1, "secret", cut_secret(None), declined(Reason.BAD_SECRET)),
    Row("long secret", 10.1, "secret", lengthen_secret, declined(Reason.BAD_SECRET)),
]  # fmt: skip


def combinable(rows: tuple[Row, ...]) -> bool:
    touched = [fact for row in rows for fact in row.touches.split()]
    return len(touched) == len(set(touched))


def oracle(case: Case, rows: tuple[Row, ...]) -> Verdict:
    """What the checklist says: the earliest row that matters in this case decides."""
    verdicts = [(row.line, verdict) for row in rows if (verdict := row.expect(case)) is not None]
    return min(verdicts, key=lambda pair: pair[0])[1] if verdicts else RESUMABLE


def judge(mechanism: Mechanism, auth: str, rows: tuple[Row, ...]) -> tuple[Verdict, Verdict]:
    case = good(mechanism, auth)
    for row in rows:
        row.break_it(case)
    return case.ask(), oracle(case, rows)


@by_case
def test_a_session_of_this_host_and_policy_resumes(mechanism: Mechanism, auth: str) -> None:
    assert good(mechanism, auth).ask() is RESUMABLE


@by_case
def test_f07_every_single_mismatch_is_found_on_every_path(mechanism: Mechanism, auth: str) -> None:
    for row in ROWS:
        got, expected = judge(mechanism, auth, (row,))
        assert got == expected, row.name


@by_case
def test_f07_every_pair_of_mismatches_is_decided_by_the_earlier_line(mechanism: Mechanism, auth: str) -> None:
    for pair in filter(combinable, itertools.combinations(ROWS, 2)):
        got, expected = judge(mechanism, auth, pair)
        assert got == expected, f"{pair[0].name} and {pair[1].name}"


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(CASES), st.lists(st.sampled_from(ROWS), max_size=8, unique_by=lambda row: row.name))
def test_any_handful_of_mismatches_is_decided_by_the_earliest_line(
    case: tuple[Mechanism, str], rows: list[Row]
) -> None:
    chosen: tuple[Row, ...] = ()
    for row in rows:
        if combinable((*chosen, row)):
            chosen = (*chosen, row)
    got, expected = judge(*case, chosen)
    assert got == expected


def test_the_table_covers_every_reason_that_the_server_gate_can_give() -> None:
    given_by_rows = set()
    for (mechanism, auth), row in itertools.product(CASES, ROWS):
        verdict = row.expect(good(mechanism, auth))
        if verdict is not None:
            given_by_rows.add(verdict.reason)
    elsewhere = {Reason.ID_CONTEXT_MISSING}  # sessions without a scope, below
    client_only = {"NOTHING_TO_OFFER", "NOT_VERIFIED", "NAME_NOT_COVERED", "STATUS_NOT_FRESH", "ALREADY_USED",
                   "SERVER_DECLINED", "UNSOLICITED", "BAD_INDEX", "OTHER_SUITE", "FRESH_REQUESTED"}  # fmt: skip
    around = {"NO_SESSION", "NOT_OFFERED", "UNKNOWN", "STORE_UNAVAILABLE", "RESUMPTION_OFF", "ALREADY_SPENT",
              "EXTERNAL_PSK"}  # fmt: skip
    assert given_by_rows | elsewhere == {r for r in Reason if r.name not in client_only | around}
