"""The client's side of the gate: what may be offered, and which answers may be believed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resumption.constants import AlertDescription
from resumption.session.facts import SessionData
from resumption.session.gate import Answer, ClientPolicy, accepted, mechanism_of, offerable
from resumption.session.verdicts import RESUMABLE, Abort, Declined, Mechanism, Reason, Verdict
from tests.session.gate_cases import AES_128_12, AES_128_13, AES_256_12, AES_256_13, CHACHA_13, ENABLED, NOW, SECRET

KINDS = ["id-12", "ticket-12", "ticket-13"]
by_kind = pytest.mark.parametrize("kind", KINDS)


@dataclass
class Case:
    kind: str
    data: dict[str, Any] = field(default_factory=dict)
    policy: dict[str, Any] = field(default_factory=dict)
    flags: dict[str, Any] = field(default_factory=dict)
    secret: bytes = b""
    now: float = NOW

    @property
    def is_13(self) -> bool:
        return self.kind == "ticket-13"

    @property
    def explicit(self) -> bool:
        return bool(self.flags.get("explicit"))

    def ask(self) -> Verdict:
        return offerable(SessionData(**self.data), self.secret, ClientPolicy(**self.policy), self.now, **self.flags)


def good(kind: str, explicit: bool = False) -> Case:
    """A session of shop.example that may be offered."""
    case = Case(kind)
    case.secret = SECRET[:32] if case.is_13 else SECRET[:48]
    case.data = {
        "version": 0x0304 if case.is_13 else 0x0303,
        "cipher": AES_128_13 if case.is_13 else AES_128_12,
        "session_id": b"i" * 32,
        "ticket": b"" if kind == "id-12" else b"t" * 100,
        "ticket_lifetime_hint": 0 if kind == "id-12" else 3600,
        "time": NOW - 100,
        "timeout": 7200,
        "peer_certificate": b"leaf",
        "verify_result": 0,
        "hostname": "shop.example",
        "verified_name": "shop.example",
        "flags": 0 if case.is_13 else 1,
        "role": "client",
        "auth_time": NOW - 100,
        "deadline": NOW + 5000,
    }
    case.policy = {"suites": ENABLED, "server_name": "shop.example", "verify_name": "shop.example"}
    case.flags = {"resumable": True, "explicit": explicit}
    return case


# --- the table: the same method as for the server ------------------------------------------------------------------

Expect = Callable[[Case], Verdict | None]


class Row(NamedTuple):
    name: str
    line: float
    touches: str
    break_it: Callable[[Case], None]
    expect: Expect


def sets(part: str, **facts: Any) -> Callable[[Case], None]:
    return lambda case: getattr(case, part).update(facts)


def both(first: Callable[[Case], None], second: Callable[[Case], None]) -> Callable[[Case], None]:
    def apply(case: Case) -> None:
        first(case)
        second(case)

    return apply


def always(reason: Reason) -> Expect:
    return lambda case: Declined(reason)


def when(condition: Callable[[Case], bool], reason: Reason) -> Expect:
    return lambda case: Declined(reason) if condition(case) else None


def never(case: Case) -> None:
    return None


def automatic(case: Case) -> bool:
    return not case.explicit


def time_counts(case: Case) -> bool:
    """Decision 17: what the caller installed by hand is offered in TLS 1.2 although our own timeout has passed."""
    return case.is_13 or not case.explicit


def set_secret(value: bytes) -> Callable[[Case], None]:
    def apply(case: Case) -> None:
        case.secret = value

    return apply


def without_suite(case: Case) -> None:
    case.policy["suites"] = {number: facts for number, facts in ENABLED.items() if number != case.data["cipher"]}


def other_family(case: Case) -> None:
    case.data["cipher"] = AES_128_12 if case.is_13 else AES_128_13


def drop_versions(case: Case) -> None:
    case.policy["versions"] = frozenset({0x0303 if case.is_13 else 0x0304})


def no_names(case: Case) -> None:
    case.data.update(ticket=b"", session_id=b"")


def no_ticket(case: Case) -> None:
    case.data["ticket"] = b""


ROWS = [
    Row("fresh", 1, "fresh", sets("policy", fresh=True), always(Reason.FRESH_REQUESTED)),
    Row("server's session", 2, "role", sets("data", role="server"), always(Reason.WRONG_ROLE)),
    Row("odd role", 2, "role", sets("data", role="Client"), always(Reason.WRONG_ROLE)),
    Row("from outside", 2, "role name verified", sets("data", role=""), when(automatic, Reason.UNKNOWN_ORIGIN)),
    Row("flagged", 3, "flag", sets("flags", resumable=False), always(Reason.NOT_RESUMABLE)),
    Row("used", 4, "used", sets("flags", used=True), when(lambda c: c.is_13 and not c.explicit, Reason.ALREADY_USED)),
    Row("version off", 5, "version", drop_versions, always(Reason.OTHER_VERSION)),
    Row("no version", 5, "version suite used", both(sets("data", version=0), sets("policy", versions=frozenset({0}))),
        always(Reason.OTHER_VERSION)),
    Row("nothing to offer", 6, "ticket", no_names, always(Reason.NOTHING_TO_OFFER)),
    Row("no ticket", 6, "ticket", no_ticket, when(lambda c: c.is_13, Reason.NOTHING_TO_OFFER)),
    Row("tickets off", 7, "ticket", sets("policy", tickets_12=False),
        when(lambda c: c.kind == "ticket-12", Reason.MECHANISM_DISABLED)),
    Row("suite off", 8, "suite", without_suite, always(Reason.SUITE_NOT_ENABLED)),
    Row("suite of the other family", 8, "suite", other_family, always(Reason.SUITE_NOT_ENABLED)),
    Row("other id context", 9, "context", sets("data", id_context=b"x"), always(Reason.OTHER_ID_CONTEXT)),
    Row("other server name", 10, "hostname", sets("policy", server_name="b.example"), always(Reason.OTHER_NAME)),
    Row("no server name", 10, "hostname", sets("policy", server_name=None), always(Reason.OTHER_NAME)),
    Row("another fragment length", 10.5, "fragments", sets("data", max_fragment_mode=2),
        always(Reason.OTHER_FRAGMENT_LENGTH)),
    Row("another fragment length asked for", 10.5, "fragments", both(sets("data", max_fragment_mode=2),
        sets("policy", max_fragment_mode=1)), always(Reason.OTHER_FRAGMENT_LENGTH)),
    Row("the same fragment length", 99, "fragments", both(sets("data", max_fragment_mode=2),
        sets("policy", max_fragment_mode=2)), never),
    Row("no fragment length, asked for again", 99, "fragments", sets("policy", max_fragment_mode=2), never),
    Row("name not acknowledged", 99, "hostname", sets("data", hostname=None), never),
    Row("from the future", 11, "time", sets("data", time=NOW + 61), when(time_counts, Reason.FROM_THE_FUTURE)),
    Row("time unknown", 11, "time", sets("data", time=math.nan), when(time_counts, Reason.FROM_THE_FUTURE)),
    Row("expired", 12, "time hint", sets("data", time=NOW - 7201), when(time_counts, Reason.EXPIRED)),
    Row("no lifetime", 12, "timeout", sets("data", timeout=0), when(time_counts, Reason.EXPIRED)),
    Row("past the hint", 12, "hint ticket", sets("data", ticket_lifetime_hint=99),
        when(lambda c: time_counts(c) and c.kind != "id-12", Reason.EXPIRED)),
    Row("hint 0", 12, "hint ticket", sets("data", ticket_lifetime_hint=0), when(lambda c: c.is_13, Reason.EXPIRED)),
    Row("past deadline", 13, "deadline", sets("data", deadline=NOW), always(Reason.PAST_DEADLINE)),
    Row("deadline unknown", 13, "deadline", sets("data", deadline=math.nan), always(Reason.PAST_DEADLINE)),
    Row("no deadline", 99, "deadline", sets("data", deadline=0.0), never),
    Row("not verified", 14, "verify_result", sets("data", verify_result=1), always(Reason.NOT_VERIFIED)),
    Row("another name verified", 15, "name verified", sets("data", verified_name="b.example"),
        always(Reason.OTHER_NAME)),
    Row("no name verified", 15, "name verified", sets("data", verified_name=None), always(Reason.NOT_VERIFIED)),
    Row("outside, unvouched", 15, "role name verified", sets("data", role="", verified_name=None),
        lambda c: Declined(Reason.NAME_NOT_COVERED if c.explicit else Reason.UNKNOWN_ORIGIN)),
    Row("any name will do", 99, "name verified",
        both(sets("data", verified_name=None), sets("policy", verify_name=None)), never),
    Row("status not fresh", 16, "status", sets("policy", fresh_status=True), always(Reason.STATUS_NOT_FRESH)),
    Row("status fresh", 99, "status", both(sets("policy", fresh_status=True), sets("flags", status_fresh=True)), never),
    Row("revoked meanwhile", 16.5, "lists", sets("flags", revalidated=False), always(Reason.REVALIDATION_FAILED)),
    Row("no EMS", 17, "ems", sets("data", flags=0), when(lambda c: not c.is_13, Reason.EMS_ABSENT)),
    Row("EMS not sent", 17, "ems", sets("policy", extended_master_secret=False),
        when(lambda c: not c.is_13, Reason.EMS_LOST)),
    Row("zero secret", 18, "secret", set_secret(bytes(48)), always(Reason.BAD_SECRET)),
    Row("no secret", 18, "secret", set_secret(b""), always(Reason.BAD_SECRET)),
    Row("odd secret", 18, "secret", set_secret(SECRET[:40]), always(Reason.BAD_SECRET)),
]  # fmt: skip
CASES = list(itertools.product(KINDS, (False, True)))
by_case = pytest.mark.parametrize(("kind", "explicit"), CASES)


def combinable(rows: tuple[Row, ...]) -> bool:
    touched = [fact for row in rows for fact in row.touches.split()]
    return len(touched) == len(set(touched))


def judge(kind: str, explicit: bool, rows: tuple[Row, ...]) -> tuple[Verdict, Verdict]:
    case = good(kind, explicit)
    for row in rows:
        row.break_it(case)
    verdicts = []
    for row in rows:
        line = row.line
        verdict = row.expect(case)
        if verdict is not None:
            if verdict.reason is Reason.UNKNOWN_ORIGIN:
                line = 2  # a session from outside is stopped at the door, unless the caller installed it
            verdicts.append((line, verdict))
    return case.ask(), min(verdicts, key=lambda pair: pair[0])[1] if verdicts else RESUMABLE


@by_case
def test_a_session_of_this_server_and_policy_is_offered(kind: str, explicit: bool) -> None:
    assert good(kind, explicit).ask() is RESUMABLE


@by_case
def test_every_single_mismatch_is_found(kind: str, explicit: bool) -> None:
    for row in ROWS:
        got, expected = judge(kind, explicit, (row,))
        assert got == expected, row.name


@by_case
def test_every_pair_of_mismatches_is_decided_by_the_earlier_line(kind: str, explicit: bool) -> None:
    for pair in filter(combinable, itertools.combinations(ROWS, 2)):
        got, expected = judge(kind, explicit, pair)
        assert got == expected, f"{pair[0].name} and {pair[1].name}"


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(CASES), st.lists(st.sampled_from(ROWS), max_size=8, unique_by=lambda row: row.name))
def test_any_handful_of_mismatches_is_decided_by_the_earliest_line(case: tuple[str, bool], rows: list[Row]) -> None:
    chosen: tuple[Row, ...] = ()
    for row in rows:
        if combinable((*chosen, row)):
            chosen = (*chosen, row)
    got, expected = judge(*case, chosen)
    assert got == expected


# --- edges and known failures ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ticket-12", "ticket-13"])
def test_the_last_moment_of_a_ticket_counts(kind: str) -> None:
    case = good(kind)
    case.data["time"] = NOW - 3600
    assert case.ask() is RESUMABLE
    case.data["time"] -= 0.001
    assert case.ask() == Declined(Reason.EXPIRED)


@by_kind
def test_a_little_clock_skew_is_forgiven(kind: str) -> None:
    case = good(kind)
    case.data["time"] = NOW + 60
    assert case.ask() is RESUMABLE
    case.data["time"] += 0.001
    assert case.ask() == Declined(Reason.FROM_THE_FUTURE)


def test_f63_a_ticket_is_never_offered_after_seven_days_whatever_the_server_wrote() -> None:
    case = good("ticket-13", explicit=True)
    case.data.update(timeout=2**40, ticket_lifetime_hint=2**31, time=NOW - 604_800)
    assert case.ask() is RESUMABLE
    case.data["time"] -= 0.001
    assert case.ask() == Declined(Reason.EXPIRED)


def test_f63_a_ticket_of_lifetime_zero_is_discarded_at_once() -> None:
    case = good("ticket-13", explicit=True)
    case.data.update(time=NOW, ticket_lifetime_hint=0)
    assert case.ask() == Declined(Reason.EXPIRED)


def test_an_expired_tls_12_session_is_offered_only_when_installed_by_hand() -> None:
    """OpenSSL offers it: the server keeps its own clock. The lineage's end still counts."""
    case = good("id-12", explicit=True)
    case.data["time"] = 1.0
    assert case.ask() is RESUMABLE
    case.policy["offer_expired"] = False
    assert case.ask() == Declined(Reason.EXPIRED)
    case = good("id-12")
    case.data["time"] = 1.0
    assert case.ask() == Declined(Reason.EXPIRED)


@by_kind
def test_f20_a_session_made_without_verification_is_not_used_with_it(kind: str) -> None:
    for explicit in (False, True):
        case = good(kind, explicit)
        case.data.update(verify_result=1, verified_name=None)
        assert case.ask() == Declined(Reason.NOT_VERIFIED)
        case.data["verify_result"] = 0  # the chain was verified, the name was not
        assert case.ask() == Declined(Reason.NOT_VERIFIED)
        case.policy["verify_name"] = None  # now the name does not matter either
        assert case.ask() is RESUMABLE
        case.data["verify_result"] = 1
        case.policy["verify"] = False
        assert case.ask() is RESUMABLE


@by_kind
def test_f20_f30_a_session_of_one_name_is_not_used_for_another(kind: str) -> None:
    for explicit in (False, True):
        case = good(kind, explicit)
        case.data["hostname"] = None
        case.policy.update(server_name="b.example", verify_name="b.example")
        case.flags["name_covered"] = True  # not even when the certificate would cover it
        assert case.ask() == Declined(Reason.OTHER_NAME)


@by_kind
def test_a_session_from_a_file_is_used_when_installed_and_its_certificate_covers_the_name(kind: str) -> None:
    case = good(kind, explicit=True)
    case.data.update(role="", verified_name=None, auth_time=0.0, deadline=0.0)
    assert case.ask() == Declined(Reason.NAME_NOT_COVERED)
    case.flags["name_covered"] = True
    assert case.ask() is RESUMABLE
    case.data["verify_result"] = 20
    assert case.ask() == Declined(Reason.NOT_VERIFIED)
    case.policy["verify"] = False
    assert case.ask() is RESUMABLE
    case.flags["explicit"] = False
    assert case.ask() == Declined(Reason.UNKNOWN_ORIGIN)


@by_kind
def test_f45_a_server_session_is_never_offered(kind: str) -> None:
    for explicit in (False, True):
        case = good(kind, explicit)
        case.data["role"] = "server"
        assert case.ask() == Declined(Reason.WRONG_ROLE)


def test_f62_a_tls_13_ticket_is_offered_once_unless_the_caller_insists() -> None:
    case = good("ticket-13")
    case.flags["used"] = True
    assert case.ask() == Declined(Reason.ALREADY_USED)
    case.flags["explicit"] = True
    assert case.ask() is RESUMABLE
    case.flags["resumable"] = False
    assert case.ask() == Declined(Reason.NOT_RESUMABLE)


@by_kind
@pytest.mark.parametrize("secret", [b"", bytes(32), bytes(48), b"\x01" * 32, b"\x01" * 48])
def test_f35_a_wiped_secret_is_never_offered(kind: str, secret: bytes) -> None:
    case = good(kind, explicit=True)
    case.secret = secret
    assert case.ask() == Declined(Reason.BAD_SECRET)


@by_kind
@pytest.mark.parametrize("now", [math.nan, math.inf, -math.inf])
def test_a_broken_clock_offers_nothing_by_itself(kind: str, now: float) -> None:
    case = good(kind)
    case.now = now
    assert isinstance(case.ask(), Declined)


# --- what the server answered -----------------------------------------------------------------------------------------


def ask(offered: list[SessionData], **answer: Any) -> Verdict:
    return accepted(offered, Answer(**answer), ClientPolicy(suites=ENABLED))


def session(**facts: Any) -> SessionData:
    return SessionData(**{**good("ticket-13").data, **facts})


T13 = session()
T13_384 = session(cipher=AES_256_13)
T12 = SessionData(**good("ticket-12").data)
T12_PLAIN = T12.replaced(flags=0)
ILLEGAL = AlertDescription.illegal_parameter


@pytest.mark.parametrize(
    ("offered", "answer", "verdict"),
    [
        ([T13], {"version": 0x0304, "suite": AES_128_13, "selected": 0}, RESUMABLE),
        ([T13], {"version": 0x0304, "suite": CHACHA_13, "selected": 0}, RESUMABLE),
        ([T13, T13_384], {"version": 0x0304, "suite": AES_256_13, "selected": 1}, RESUMABLE),
        ([T13, T13_384], {"version": 0x0304, "suite": AES_128_13, "selected": 1}, Abort(Reason.OTHER_HASH, ILLEGAL)),
        ([T13], {"version": 0x0304, "suite": AES_256_13, "selected": 0}, Abort(Reason.OTHER_HASH, ILLEGAL)),
        ([T13], {"version": 0x0304, "suite": 0x1305, "selected": 0}, Abort(Reason.SUITE_NOT_OFFERED, ILLEGAL)),
        ([T13], {"version": 0x0304, "suite": AES_128_12, "selected": 0}, Abort(Reason.SUITE_NOT_OFFERED, ILLEGAL)),
        ([T13], {"version": 0x0304, "suite": AES_128_13, "selected": 1}, Abort(Reason.BAD_INDEX, ILLEGAL)),
        ([T13], {"version": 0x0304, "suite": AES_128_13, "selected": -1}, Abort(Reason.BAD_INDEX, ILLEGAL)),
        ([T13], {"version": 0x0304, "suite": AES_128_13, "selected": None}, Declined(Reason.SERVER_DECLINED)),
        ([], {"version": 0x0304, "suite": AES_128_13, "selected": None}, Declined(Reason.SERVER_DECLINED)),
        (
            [],
            {"version": 0x0304, "suite": AES_128_13, "selected": 0},
            Abort(Reason.UNSOLICITED, AlertDescription.unsupported_extension),
        ),
        (
            [session(cipher=0x1305)],
            {"version": 0x0304, "suite": AES_128_13, "selected": 0},
            Abort(Reason.OTHER_HASH, ILLEGAL),
        ),
        (
            [T13],
            {"version": 0x0303, "suite": AES_128_12, "selected": 0, "extended_master_secret": True},
            Abort(Reason.OTHER_VERSION, AlertDescription.protocol_version),
        ),
        (
            [T12],
            {"version": 0x0304, "suite": AES_128_13, "selected": 0},
            Abort(Reason.OTHER_VERSION, AlertDescription.protocol_version),
        ),
        ([T12], {"version": 0x0303, "suite": AES_128_12, "selected": 0, "extended_master_secret": True}, RESUMABLE),
        (
            [T12],
            {"version": 0x0303, "suite": AES_256_12, "selected": 0, "extended_master_secret": True},
            Abort(Reason.OTHER_SUITE, ILLEGAL),
        ),
        (
            [T12],
            {"version": 0x0303, "suite": 0xC0FF, "selected": 0, "extended_master_secret": True},
            Abort(Reason.SUITE_NOT_OFFERED, ILLEGAL),
        ),
        ([T12], {"version": 0x0303, "suite": AES_128_12, "selected": 0}, Abort(Reason.EMS_LOST)),
        (
            [T12_PLAIN],
            {"version": 0x0303, "suite": AES_128_12, "selected": 0, "extended_master_secret": True},
            Abort(Reason.EMS_GAINED),
        ),
    ],
)
def test_f29_f38_f39_f40_the_answer_must_fit_the_offered_session(
    offered: list[SessionData], answer: dict[str, Any], verdict: Verdict
) -> None:
    assert ask(offered, **answer) == verdict
    if isinstance(verdict, Abort) and verdict.reason in (Reason.EMS_LOST, Reason.EMS_GAINED):
        assert verdict.alert is AlertDescription.handshake_failure


def test_how_a_client_names_a_session() -> None:
    assert mechanism_of(T13) is Mechanism.STATELESS_13
    assert mechanism_of(session(ticket=b"k" * 32)) is Mechanism.STATEFUL_13
    assert mechanism_of(T12) is Mechanism.TICKET_12
    assert mechanism_of(T12.replaced(ticket=b"")) is Mechanism.SESSION_ID


@by_kind
def test_without_more_said_a_session_is_not_taken_for_one_that_the_caller_installed(kind: str) -> None:
    case = good(kind)
    del case.flags["explicit"]
    assert case.ask() is RESUMABLE
    case.data.update(role="")
    assert case.ask() == Declined(Reason.UNKNOWN_ORIGIN)
    case.data.update(role="client", verified_name=None)
    assert case.ask() == Declined(Reason.NOT_VERIFIED)
    case.policy["verify"] = False
    case.policy["fresh_status"] = True
    assert case.ask() == Declined(Reason.STATUS_NOT_FRESH)


def test_a_client_policy_without_more_said_verifies_and_speaks_both_versions() -> None:
    policy = ClientPolicy(suites={})
    assert policy.verify
    assert policy.versions == {0x0303, 0x0304}
    assert policy.clock_skew_s == 60
