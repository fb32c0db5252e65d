"""The server's gate, by known failure and at its edges: one test for each row of the list that the gate must stop."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from resumption.constants import AlertDescription
from resumption.crypto.suites import SUITES
from resumption.errors import ConfigurationError
from resumption.session.gate import Offer, Policy
from resumption.session.verdicts import RESUMABLE, Abort, Declined, Mechanism, Reason, Verdict
from tests.session.gate_cases import (
    AES_256_12,
    AES_256_13,
    CHACHA_13,
    NOW,
    SECRET,
    Case,
    by_mechanism,
    disable_session_suite,
    good,
    swap_version,
)

# --- the edges of time --------------------------------------------------------------------------------------------


@by_mechanism
@pytest.mark.parametrize(
    ("facts", "verdict"),
    [
        ({"time": NOW - 7200}, RESUMABLE),  # the last moment still counts
        ({"time": NOW - 7200.001}, Declined(Reason.EXPIRED)),
        ({"time": NOW + 60}, RESUMABLE),
        ({"time": NOW + 60.001}, Declined(Reason.FROM_THE_FUTURE)),
        ({"auth_time": NOW + 60}, RESUMABLE),
        ({"auth_time": NOW - 9_999.999}, RESUMABLE),
        ({"auth_time": NOW - 10_000}, Declined(Reason.AUTH_TOO_OLD)),
        ({"auth_time": math.nan}, Declined(Reason.FROM_THE_FUTURE)),
        ({"deadline": NOW + 0.001}, RESUMABLE),
        ({"deadline": NOW}, Declined(Reason.PAST_DEADLINE)),
        ({"timeout": 1, "time": NOW - 1}, RESUMABLE),
        ({"timeout": 2**63}, RESUMABLE),
    ],
    ids=str,
)
def test_times_are_compared_at_their_edges(mechanism: Mechanism, facts: dict[str, Any], verdict: Verdict) -> None:
    case = good(mechanism)
    case.data.update(facts)
    assert case.ask() == verdict


@by_mechanism
def test_f63_a_tls_13_session_ends_after_seven_days_whatever_its_timeout_says(mechanism: Mechanism) -> None:
    case = good(mechanism)
    case.policy["max_auth_age_s"] = math.inf
    case.data.update(timeout=2**40, time=NOW - 604_800)
    assert case.ask() == RESUMABLE
    case.data["time"] -= 0.001
    assert case.ask() == (Declined(Reason.EXPIRED) if case.is_13 else RESUMABLE)


@by_mechanism
def test_f63_a_session_of_no_lifetime_does_not_live_for_its_first_moment(mechanism: Mechanism) -> None:
    case = good(mechanism)
    case.data.update(time=NOW, timeout=0)
    assert case.ask() == Declined(Reason.EXPIRED)
    case.data["timeout"] = 1
    assert case.ask() is RESUMABLE


@by_mechanism
@pytest.mark.parametrize("now", [math.nan, -math.inf, math.inf, 0.0])
def test_f60_a_broken_clock_never_resumes(mechanism: Mechanism, now: float) -> None:
    case = replace(good(mechanism), now=now)
    assert isinstance(case.ask(), Declined)


# --- the known failures, by name ------------------------------------------------------------------------------------


@by_mechanism
def test_f01_cross_vhost_resume_declined(mechanism: Mechanism) -> None:
    """Two hosts share a store and ticket keys: a session of A comes back under the name of B."""
    case = good(mechanism)
    case.policy["partition"] = b"b" * 32
    case.offer["server_name"] = "b.example"
    assert case.ask() == Declined(Reason.OTHER_PARTITION)
    case.data["partition"] = b"b" * 32  # even inside one partition the name is compared
    assert case.ask() == Declined(Reason.OTHER_NAME)


@by_mechanism
def test_f02_f03_another_client_ca_is_another_partition(mechanism: Mechanism) -> None:
    case = good(mechanism, "required")
    case.policy["partition"] = b"c" * 32
    assert case.ask() == Declined(Reason.OTHER_PARTITION)


@by_mechanism
def test_f09_tickets_off_means_ticket_acceptance_off(mechanism: Mechanism) -> None:
    case = good(mechanism)
    case.policy["mechanisms"] = frozenset({Mechanism.SESSION_ID})
    expected = RESUMABLE if mechanism is Mechanism.SESSION_ID else Declined(Reason.MECHANISM_DISABLED)
    assert case.ask() == expected
    case.policy["mechanisms"] = frozenset()
    assert case.ask() == Declined(Reason.MECHANISM_DISABLED)


@by_mechanism
def test_f13_a_host_that_requires_a_certificate_declines_a_session_without_one(mechanism: Mechanism) -> None:
    case = good(mechanism, "required")
    case.data["peer_certificate"] = None
    assert case.ask() == Declined(Reason.NO_CLIENT_CERTIFICATE)
    case.policy["client_auth"] = "optional"
    assert case.ask() == RESUMABLE
    case.policy["reask_client_certificate"] = True
    assert case.ask() == Declined(Reason.NO_CLIENT_CERTIFICATE)
    case.policy["client_auth"] = "none"
    assert case.ask() == RESUMABLE


@by_mechanism
def test_f14_a_chain_of_renewals_ends_at_the_oldest_authentication(mechanism: Mechanism) -> None:
    """Each renewal is young; what they inherit is not."""
    case = good(mechanism, "required")
    for hop in range(1, 12):
        now = NOW + hop * 900
        case.data.update(time=now - 1, auth_time=NOW, deadline=0.0)
        case.now = now
        assert case.ask() == (RESUMABLE if hop * 900 < 10_000 else Declined(Reason.AUTH_TOO_OLD))
    case.now = NOW + 10_000
    assert case.ask() == Declined(Reason.AUTH_TOO_OLD)


@by_mechanism
def test_f15_a_session_ends_with_the_first_certificate_of_its_chain(mechanism: Mechanism) -> None:
    case = good(mechanism, "required")
    case.data["deadline"] = NOW + 10
    assert case.ask() == RESUMABLE
    case.now = NOW + 10
    assert case.ask() == Declined(Reason.PAST_DEADLINE)


@by_mechanism
@pytest.mark.parametrize("label", [b"quic", b"tcp, service b", b"listener 2"])
def test_f11_f17_listener_transport_and_service_are_in_the_partition(mechanism: Mechanism, label: bytes) -> None:
    case = good(mechanism)
    case.data["partition"] = label.ljust(32, b".")
    assert case.ask() == Declined(Reason.OTHER_PARTITION)


@by_mechanism
@pytest.mark.parametrize("secret", [b"", bytes(32), bytes(48), b"\xff" * 32, b"\xff" * 48, b"\x00"])
def test_f35_a_zero_or_empty_secret_never_reaches_a_key_schedule(mechanism: Mechanism, secret: bytes) -> None:
    assert replace(good(mechanism), secret=secret).ask() == Declined(Reason.BAD_SECRET)


def test_f35_the_secret_must_fit_the_hash_and_the_version() -> None:
    case = good(Mechanism.STATELESS_13)
    case.data["cipher"] = case.offer["suite"] = AES_256_13
    assert case.ask() == Declined(Reason.BAD_SECRET)  # 32 bytes, the hash gives 48
    assert replace(case, secret=bytearray(SECRET[:48])).ask() == RESUMABLE
    case = good(Mechanism.SESSION_ID)
    case.data["cipher"] = AES_256_12
    assert case.ask() == RESUMABLE  # a master secret is always 48 bytes
    assert replace(case, secret=SECRET[:32]).ask() == Declined(Reason.BAD_SECRET)


@by_mechanism
def test_f38_a_suite_that_is_disabled_or_not_offered_does_not_resume(mechanism: Mechanism) -> None:
    case = good(mechanism)
    disable_session_suite(case)
    assert case.ask() == Declined(Reason.SUITE_NOT_ENABLED)
    case = good(mechanism)
    case.offer["suites"] = frozenset()
    assert case.ask() == Declined(Reason.SUITE_NOT_OFFERED)


def test_f38_tls_12_needs_the_exact_suite_and_tls_13_the_same_hash() -> None:
    case = good(Mechanism.TICKET_12)
    case.offer["suites"] = frozenset({AES_256_12})
    assert case.ask() == Declined(Reason.SUITE_NOT_OFFERED)
    case = good(Mechanism.STATELESS_13)
    case.offer.update(suite=CHACHA_13, suites=frozenset({CHACHA_13}))
    assert case.ask() == RESUMABLE
    case.offer.update(suite=AES_256_13, suites=frozenset({AES_256_13}))
    assert case.ask() == Declined(Reason.OTHER_HASH)


@by_mechanism
def test_f39_a_session_of_one_version_is_not_used_in_another(mechanism: Mechanism) -> None:
    case = good(mechanism)
    swap_version(case)
    assert case.ask() == Declined(Reason.OTHER_VERSION)
    case = good(mechanism)
    case.offer.update(version=case.data["version"] ^ 7, psk_dhe_ke=True)
    case.data["version"] = case.offer["version"]  # session and hello agree, the way of naming it does not
    assert case.ask() == Declined(Reason.OTHER_VERSION)


EMS_TABLE = [
    # in the session, in the hello, policy demands it -> verdict
    (True, True, False, RESUMABLE),
    (True, True, True, RESUMABLE),
    (True, False, False, Abort(Reason.EMS_LOST, AlertDescription.handshake_failure)),
    (True, False, True, Abort(Reason.EMS_LOST, AlertDescription.handshake_failure)),
    (False, True, False, Declined(Reason.EMS_GAINED)),
    (False, True, True, Declined(Reason.EMS_GAINED)),
    (False, False, False, Declined(Reason.EMS_ABSENT)),
    (False, False, True, Abort(Reason.EMS_REQUIRED, AlertDescription.handshake_failure)),
]


@by_mechanism
@pytest.mark.parametrize(("session", "hello", "demanded", "verdict"), EMS_TABLE)
def test_f40_extended_master_secret_table(
    mechanism: Mechanism, session: bool, hello: bool, demanded: bool, verdict: Verdict
) -> None:
    case = good(mechanism)
    case.data["flags"] = int(session)
    case.offer["extended_master_secret"] = hello
    case.policy["require_ems"] = demanded
    assert case.ask() == (RESUMABLE if case.is_13 else verdict)


@by_mechanism
def test_f42_a_session_flagged_between_lookup_and_use_is_not_resumed(mechanism: Mechanism) -> None:
    assert replace(good(mechanism), resumable=False).ask() == Declined(Reason.NOT_RESUMABLE)


@by_mechanism
def test_f45_a_client_session_is_never_accepted_by_a_server(mechanism: Mechanism) -> None:
    case = good(mechanism)
    case.data["role"] = "client"
    case.policy["accept_unscoped"] = True
    assert case.ask() == Declined(Reason.WRONG_ROLE)
    case.data["partition"] = b""
    assert case.ask() == Declined(Reason.WRONG_ROLE)


def test_f48_a_session_without_key_exchange_is_declined() -> None:
    for mechanism in (Mechanism.STATEFUL_13, Mechanism.STATELESS_13):
        case = good(mechanism)
        case.offer["psk_dhe_ke"] = False
        assert case.ask() == Declined(Reason.NO_PSK_DHE_KE)


# --- sessions without a scope, former scopes, policies ----------------------------------------------------------------


def from_outside(mechanism: Mechanism, auth: str = "none") -> Case:
    """A session as it comes back from OpenSSL's encoding: no role, no partition, no lineage."""
    case = good(mechanism, auth)
    case.data.update(role="", partition=b"", policy_epoch=0, auth_time=0.0, deadline=0.0)
    case.policy["accept_unscoped"] = True
    return case


@by_mechanism
def test_a_session_from_outside_is_bound_by_its_id_context(mechanism: Mechanism) -> None:
    assert from_outside(mechanism).ask() is RESUMABLE
    case = from_outside(mechanism)
    case.data["id_context"] = b"bank"
    assert case.ask() == Declined(Reason.OTHER_ID_CONTEXT)
    case = from_outside(mechanism)
    case.policy["accept_unscoped"] = False
    assert case.ask() == Declined(Reason.UNKNOWN_ORIGIN)
    case = from_outside(mechanism)
    case.data["partition"] = case.policy["partition"]  # half a scope is none
    assert case.ask() == Declined(Reason.WRONG_ROLE)


@by_mechanism
@pytest.mark.parametrize("auth", ["none", "optional", "required"])
def test_a_session_from_outside_needs_an_id_context_where_clients_are_verified(mechanism: Mechanism, auth: str) -> None:
    case = from_outside(mechanism, auth)
    assert case.ask() is RESUMABLE
    case.data["id_context"] = case.policy["id_context"] = b""
    assert case.ask() == (RESUMABLE if auth == "none" else Declined(Reason.ID_CONTEXT_MISSING))


@by_mechanism
def test_a_session_from_outside_is_as_old_as_its_time_says(mechanism: Mechanism) -> None:
    case = from_outside(mechanism)
    case.data.update(time=NOW - 10_000, timeout=20_000)
    assert case.ask() == Declined(Reason.AUTH_TOO_OLD)
    case.data["time"] = NOW - 9_999
    assert case.ask() is RESUMABLE


@by_mechanism
def test_a_former_partition_counts_for_its_grace_time_while_no_client_certificate_is_about(
    mechanism: Mechanism,
) -> None:
    case = good(mechanism)
    case.data["partition"] = b"f" * 32
    case.policy["former_partitions"] = {b"f" * 32: NOW + 1, b"g" * 32: NOW + 1}
    assert case.ask() is RESUMABLE
    case.now = NOW + 1
    assert case.ask() == Declined(Reason.OTHER_PARTITION)
    case.now = NOW
    case.data["peer_certificate"] = b"leaf"
    assert case.ask() == Declined(Reason.OTHER_PARTITION)
    for auth in ("optional", "required"):
        case = good(mechanism, auth)
        case.data["partition"] = b"f" * 32
        case.policy["former_partitions"] = {b"f" * 32: NOW + 1}
        assert case.ask() == Declined(Reason.OTHER_PARTITION)
        case.data["peer_certificate"] = None
        assert case.ask() == Declined(Reason.OTHER_PARTITION)


@by_mechanism
def test_without_client_authentication_the_certificate_of_a_session_is_not_judged(mechanism: Mechanism) -> None:
    case = good(mechanism)
    case.data.update(peer_certificate=b"leaf", verify_result=18)
    assert case.ask() is RESUMABLE


@pytest.mark.parametrize(
    "facts",
    [
        {"partition": b""},
        {"client_auth": "maybe"},
        {"max_auth_age_s": 0},
        {"max_auth_age_s": math.nan},
        {"clock_skew_s": -1},
        {"clock_skew_s": math.inf},
        {"clock_skew_s": math.nan},
    ],
    ids=str,
)
def test_a_policy_that_protects_nothing_is_refused(facts: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Policy(**{"partition": b"p", "suites": {}, **facts})


def test_a_policy_without_more_said_is_safe() -> None:
    policy = Policy(partition=b"p", suites={})
    assert policy.mechanisms == frozenset(Mechanism)
    assert policy.client_auth == "none"
    assert (policy.max_auth_age_s, policy.clock_skew_s) == (604_800.0, 60.0)
    assert not policy.accept_unscoped
    assert not policy.former_partitions
    assert policy.transport == "tcp"
    assert policy.policy_epoch == 0
    offer = Offer(mechanism=Mechanism.SESSION_ID, version=0x0303, suites=frozenset())
    assert (offer.suite, offer.server_name) == (0, None)
    assert not offer.extended_master_secret
    assert not offer.psk_dhe_ke


@by_mechanism
def test_the_suite_table_of_the_crypto_pillar_fits_the_gate(mechanism: Mechanism) -> None:
    case = good(mechanism)
    case.policy["suites"] = SUITES
    assert case.ask() is RESUMABLE
    case.data["cipher"] = 0x1302 if case.is_13 else 0xC02B
    assert case.ask() == (Declined(Reason.OTHER_HASH) if case.is_13 else Declined(Reason.SUITE_NOT_OFFERED))
