"""Reasons and results: stable values for programs, sentences for people."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest

from resumption.constants import AlertDescription
from resumption.session.verdicts import RESUMABLE, Abort, Declined, Mechanism, Reason, Resumption, duration


def test_every_reason_has_a_stable_value_and_a_sentence_of_its_own() -> None:
    for reason in Reason:
        assert reason.value == reason.name.lower().replace("_", "-")
        assert Reason(reason.value) is reason
        assert str(reason) == reason.value
        assert 10 < len(reason.sentence) < 90
        assert not reason.sentence.endswith(".")
    assert len({reason.sentence for reason in Reason}) == len(Reason)


def test_mechanisms_know_their_version_and_their_words() -> None:
    assert {m.name: (m.version, m.words) for m in Mechanism} == {
        "SESSION_ID": (0x0303, "TLS 1.2 session id"),
        "TICKET_12": (0x0303, "TLS 1.2 ticket"),
        "STATEFUL_13": (0x0304, "TLS 1.3 stateful ticket"),
        "STATELESS_13": (0x0304, "TLS 1.3 ticket"),
    }
    assert Mechanism("ticket-12") is Mechanism.TICKET_12


def test_verdicts_carry_a_reason_unless_all_is_well() -> None:
    assert RESUMABLE.reason is None
    assert Declined(Reason.EXPIRED).reason is Reason.EXPIRED
    assert Abort(Reason.EMS_LOST) == Abort(Reason.EMS_LOST, AlertDescription.handshake_failure)


@pytest.mark.parametrize(
    ("resumption", "text"),
    [
        (
            Resumption(True, mechanism=Mechanism.STATELESS_13, age_s=4.9, tickets_left=1, tickets_before=2),
            "resumed (TLS 1.3 ticket, 4 s old, 1 of 2 left)",
        ),
        (Resumption(True, mechanism=Mechanism.SESSION_ID, age_s=3600), "resumed (TLS 1.2 session id, 60 min old)"),
        (Resumption(True, mechanism=Mechanism.TICKET_12, tickets_left=3), "resumed (TLS 1.2 ticket, 3 left)"),
        (Resumption(True, mechanism=Mechanism.STATEFUL_13, age_s=0), "resumed (TLS 1.3 stateful ticket, 0 s old)"),
        (Resumption(True), "resumed"),
        (Resumption(False), "full handshake"),
        (
            Resumption(False, Reason.NO_SESSION, peer="shop.example"),
            "full handshake: no session for shop.example yet",
        ),
        (Resumption(False, Reason.NO_SESSION), "full handshake: no session for this peer yet"),
        (Resumption(False, Reason.EXPIRED, peer="shop.example"), "full handshake: the session has expired"),
    ],
)
def test_one_line_says_how_it_went(resumption: Resumption, text: str) -> None:
    assert str(resumption) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 s"),
        (0.9, "0 s"),
        (119.9, "119 s"),
        (120, "2 min"),
        (7_199, "119 min"),
        (7_200, "2 h"),
        (172_799, "47 h"),
        (172_800, "2 days"),
        (604_800, "7 days"),
    ],
)
def test_spans_of_time_are_rounded_down(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_resumption_is_frozen_and_survives_copies_and_pickles() -> None:
    one = Resumption(True, mechanism=Mechanism.TICKET_12, age_s=3.0, tickets_before=2, peer="a.example")
    assert [getattr(one, field.name) for field in dataclasses.fields(Resumption)] == [
        *(True, None, Mechanism.TICKET_12, 3.0, None, 2, "a.example")
    ]
    for other in (pickle.loads(pickle.dumps(one)), copy.copy(one), copy.deepcopy(one), dataclasses.replace(one)):
        assert type(other) is Resumption
        assert other == one
        assert hash(other) == hash(one)
    assert dataclasses.replace(one, peer=None) != one
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.peer = "b.example"  # type: ignore[misc]
