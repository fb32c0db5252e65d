"""What a session keeps of itself on its way through OpenSSL's encoding."""

from __future__ import annotations

import pytest

from resumption.errors import SessionFormatError
from resumption.session.facts import SessionData
from resumption.session.formats import der
from resumption.session.provenance import with_origin, without_origin
from tests.session.session_cases import data

LEAF = b"\x30\x04leaf"  # a SEQUENCE, which is all that the encoding wants of a certificate
FACTS = data(
    role="server",
    partition=b"p" * 32,
    policy_epoch=3,
    auth_time=1000.5,
    deadline=9000.25,
    replay_domain=b"here",
    ticket_appdata=b"the application's own",
    peer_certificate=LEAF,
    peer_chain=(LEAF, b"\x30\x0cintermediate"),
    ticket=b"",
)


def through_der(facts: SessionData) -> SessionData:
    read, _, _ = der.decode(der.encode(facts, b"s" * 48), lambda: 0.0)
    return read


def test_a_session_comes_back_through_der_with_its_origin() -> None:
    assert through_der(with_origin(FACTS)).session_id == b""  # as OpenSSL seals it
    again = without_origin(through_der(with_origin(FACTS)))
    for name in ("session_id", "role", "partition", "policy_epoch", "auth_time", "deadline", "replay_domain"):
        assert getattr(again, name) == getattr(FACTS, name), name
    assert again.ticket_appdata == FACTS.ticket_appdata
    assert again.peer_chain == FACTS.peer_chain


def test_a_session_of_another_program_has_no_origin() -> None:
    plain = through_der(FACTS)
    assert without_origin(plain) == plain
    assert (plain.role, plain.partition) == ("", b"")


def test_what_another_program_renewed_keeps_its_lineage() -> None:
    renewed = with_origin(FACTS).replaced(time=5000.0, cipher=0x1302)
    again = without_origin(renewed)
    assert (again.time, again.cipher) == (5000.0, 0x1302)
    assert (again.auth_time, again.deadline, again.partition) == (1000.5, 9000.25, b"p" * 32)


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_f76_a_damaged_origin_is_no_session(cut: int) -> None:
    marked = with_origin(FACTS)
    with pytest.raises(SessionFormatError):
        without_origin(marked.replaced(ticket_appdata=marked.ticket_appdata[:-cut]))
    with pytest.raises(SessionFormatError):
        without_origin(marked.replaced(peer_certificate=None))
