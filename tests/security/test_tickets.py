"""Tickets and their keys, as whole handshakes meet them: failures F55 to F64."""

from __future__ import annotations

import gc
import math
from typing import Any
from unittest.mock import patch

import pytest

from resumption.constants import MAX_TICKET_LIFETIME_S
from resumption.errors import AlertReceived, ConfigurationError, InternalError
from resumption.handshake import established13, server12
from resumption.server_context import ServerContext
from resumption.session.model import Session
from resumption.session.tickets.keys import TicketKeys
from resumption.session.verdicts import Mechanism, Reason
from tests.handshake.pairs import World
from tests.security.paths import SECRET, Stage, declined, disguised, keep, reason_of
from tests.security.test_wrong_context import insistent

only = pytest.mark.parametrize


def sealed_only(stage: Stage) -> None:
    if not stage.path.is_ticket:
        pytest.skip("no ticket holds this session")


def test_f55_f57_a_server_does_not_start_with_keys_that_are_none(world: World) -> None:
    for secret in (b"", b"short", bytes(32), b"\xff" * 64, b"ab" * 32):
        with pytest.raises(ConfigurationError):
            world.server_context(tickets=TicketKeys.from_secret(secret))


def test_f55_two_servers_with_keys_of_their_own_do_not_open_each_others_tickets(stage: Stage) -> None:
    sealed_only(stage)
    client = stage.client()
    a, b = stage.server(), stage.server(tickets=TicketKeys.from_secret(SECRET[::-1]))
    declined(stage.meet(client, b, session=stage.session(client, a)), Reason.UNKNOWN)


def damaged(ticket: bytes) -> list[bytes]:
    """Every part of a ticket changed, cut or grown."""
    places = [*range(0, 44, 4), *range(44, len(ticket), 97), len(ticket) - 1]
    changed = [ticket[:place] + bytes([ticket[place] ^ 1]) + ticket[place + 1 :] for place in places]
    cut = [ticket[:length] for length in (1, 16, 31, 33, 40, 56, len(ticket) - 1)]
    return [*changed, *cut, ticket + b"\0", b"\0" * len(ticket), ticket * 4]


def test_f58_a_ticket_that_does_not_open_costs_nothing_but_itself(stage: Stage) -> None:
    sealed_only(stage)
    client, server = stage.client(), stage.server()
    session = stage.session(client, server)
    tickets = damaged(session.data.ticket)
    for connection in stage.connections:
        connection.free()
    gc.collect()
    before = sum(isinstance(one, Session) for one in gc.get_objects())
    for ticket in tickets:
        wrong = Session.create(session.data.replaced(ticket=ticket), session.secret)
        pair = stage.meet(client, server, session=wrong).check()
        assert not pair.server.session_reused
        assert reason_of(pair) is Reason.UNKNOWN
        pair.free()
        wrong.free()
    client.sessions.flush_all()
    server.sessions.flush_all()
    stage.connections.clear()
    del pair, wrong
    gc.collect()
    assert sum(isinstance(one, Session) for one in gc.get_objects()) <= before
    stage.resumes(client, server, session)


@pytest.mark.proves("9846:4.7.1:7")
def test_f59_the_mask_of_ages_differs_from_ticket_to_ticket(stage: Stage) -> None:
    if not stage.path.is_tls13:
        pytest.skip("a field of TLS 1.3")
    client, server = stage.client(), stage.server(num_tickets=8)
    for _ in range(16):
        stage.meet(client, server, fresh=True).check()
        if len(client.sessions) >= 8:
            masks = {session.data.ticket_age_add for session in client.sessions}
            assert len(masks) == len(client.sessions)
    assert len(masks) == 8
    assert max(masks) > 2**28, "the upper bits are in use"


def test_f59_a_short_random_read_ends_the_connection(stage: Stage) -> None:
    sealed_only(stage)
    client = stage.client()
    server = stage.server(random=stage.random)
    stage.session(client, server)
    short = stage.server(random=lambda length: stage.random(length)[: length if length != 24 else 23])
    pair = stage.meet(client, short, fresh=True)
    assert isinstance(pair.took.server_error, InternalError)
    assert isinstance(pair.took.client_error, AlertReceived)


def unusable(stage: Stage, what: str) -> TicketKeys:
    """Keys of which none can be used now."""
    keys = TicketKeys.from_secret(SECRET)
    now = stage.clock()
    if what == "closed":
        keys.close()
    elif what == "clock jumped back":
        keys.lifetime_left(now + 100 * 86_400)
    return keys


@only("what", ["closed", "clock jumped back"])
def test_f60_without_a_usable_key_handshakes_go_on_without_tickets(stage: Stage, what: str) -> None:
    if stage.path.mechanism is Mechanism.SESSION_ID and not stage.path.is_sealed:
        pytest.skip("no keys are involved")
    client, good = stage.client(), stage.server()
    session = stage.session(client, good)
    keys = unusable(stage, what)
    server = stage.server(tickets=keys)
    before = len(client.sessions)
    pair = stage.meet(client, server, fresh=True).check()
    pair.talk()
    made = pair.client.session
    assert made is not None
    if stage.path.is_ticket:
        assert not made.has_ticket
        assert not made.data.ticket
        assert len(client.sessions) == before
    if what == "closed" and stage.path.is_sealed:
        declined(stage.meet(client, server, session=session), Reason.UNKNOWN)
    if stage.path.mechanism is Mechanism.TICKET_12:
        assert not made.is_resumable


@only("now", [math.nan, -1.0, 1e300])
def test_f60_a_clock_that_is_broken_resumes_nothing_and_fails_nothing(stage: Stage, now: float) -> None:
    client, good = stage.client(verify=False), stage.server()
    session = stage.session(client, good)
    server = stage.server(clock=lambda: now)
    pair = stage.meet(client, server, session=session).check()
    assert not pair.server.session_reused


def test_f61_tickets_end_with_the_window_of_their_keys(stage: Stage) -> None:
    """Whatever lifetime was agreed on for the session, what sealed it is gone."""
    if not stage.path.is_sealed:
        pytest.skip("nothing is sealed")
    client, server = stage.client(), stage.server(session_timeout=MAX_TICKET_LIFETIME_S)
    session = stage.session(client, server)
    stage.clock.advance(20 * 3_600)
    again = insistent(session, stage.clock())
    if stage.path.is_ticket:
        stage.resumes(client, server, again)
    stage.clock.advance(9 * 3_600 if stage.path.is_ticket else 60 * 3_600)
    server.sessions.flush_all()
    pair = stage.meet(client, server, session=insistent(session, stage.clock())).check()
    assert reason_of(pair) is Reason.UNKNOWN


def test_f62_a_ticket_of_tls13_is_offered_once(stage: Stage) -> None:
    if not stage.path.is_tls13:
        pytest.skip("TLS 1.2 sessions are used again by design")
    client, server = stage.client(), stage.server(num_tickets=3)
    stage.meet(client, server).check()
    server.num_tickets = 0
    names: list[bytes] = []
    for left in (2, 1, 0):
        connection = client.connection("localhost")
        connection.data_to_send()
        held = connection.held_session
        assert held is not None
        names.append(held.data.ticket)
        connection.free()  # the handshake never ends: the ticket was shown all the same
        assert client.sessions.peek_for_peer(client.config.peer_key("localhost")) == left
    assert len(set(names)) == 3
    assert not stage.meet(client, server).check().client.session_reused


def test_f62_a_stateful_ticket_is_accepted_once(stage: Stage) -> None:
    if stage.path.mechanism is not Mechanism.STATEFUL_13:
        pytest.skip("only these are spent")
    client, server = stage.client(), stage.server()
    server.on_get_session = None
    session = stage.session(client, server)
    stage.resumes(client, server, session)
    if stage.path.shared_by == "callback":
        declined(stage.meet(client, server, session=session), Reason.UNKNOWN)


def test_f62_a_days_lifetime_at_most_and_caches_can_be_emptied_and_kept_apart(stage: Stage) -> None:
    client, other, server = stage.client(), stage.client(isolation="other"), stage.server()
    other.sessions = client.sessions
    session = stage.session(client, server)
    assert session.timeout <= 86_400
    assert session.data.ticket_lifetime_hint <= 86_400
    assert not stage.meet(other, server).check().client.session_reused
    client.sessions.flush_all()
    assert len(client.sessions) == 0
    assert not stage.meet(client, server).check().client.session_reused


def hint_of(stage: Stage, server: ServerContext) -> int | None:
    """The lifetime that a client notes for the ticket it gets; None if it keeps none."""
    pair = stage.meet(stage.client(), server, fresh=True).check()
    session = pair.client.session
    assert session is not None
    return session.data.ticket_lifetime_hint if session.has_ticket else None


def test_f63_a_server_never_promises_more_than_seven_days(stage: Stage) -> None:
    if stage.path.mechanism is Mechanism.SESSION_ID:
        pytest.skip("ids come without a promise")
    keys = TicketKeys.from_secret(SECRET, lifetime_s=MAX_TICKET_LIFETIME_S)
    changes: dict[str, Any] = {"session_timeout": 10**8, "max_auth_age_s": 1e9}
    seen = hint_of(stage, stage.server(tickets=keys, **changes))
    assert seen is not None
    assert 86_400 < seen <= MAX_TICKET_LIFETIME_S
    assert hint_of(stage, stage.server(session_timeout=100)) == 100
    if stage.path.is_tls13:  # clients cap it too: what the server itself notes tells what it sent
        pair = stage.meet(stage.client(), stage.server(tickets=keys, **changes)).check()
        assert pair.server.session is not None
        assert pair.server.session.timeout <= MAX_TICKET_LIFETIME_S


@only("promised", [0, MAX_TICKET_LIFETIME_S, MAX_TICKET_LIFETIME_S + 1, 2**32 - 1])
def test_f63_a_client_caps_what_it_is_promised(stage: Stage, promised: int) -> None:
    if not stage.path.is_tls13:
        pytest.skip("a rule of TLS 1.3")
    with patch.object(established13, "lifetime_of", lambda *args: promised or 1):
        if promised:
            assert hint_of(stage, stage.server()) == MAX_TICKET_LIFETIME_S
            return
    pack = established13.NewSessionTicket

    def none_left(lifetime: int, *rest: Any) -> Any:
        return pack(0, *rest)

    client, server = stage.client(), stage.server()
    pair = stage.meet(client, server, fresh=True)
    client.sessions.flush_all()
    with patch.object(established13, "NewSessionTicket", none_left):
        assert pair.server.new_session_ticket()
    list(pair.client.receive_data(pair.server.data_to_send()))
    assert len(client.sessions) == 0, "a lifetime of zero: discarded at once"


@pytest.mark.proves("9846:4.7.1:6")
def test_f63_no_session_outlives_seven_days_whatever_was_written_into_it(stage: Stage) -> None:
    if not stage.path.is_tls13:
        pytest.skip("a rule of TLS 1.3")
    client, server = stage.client(), stage.server()
    session = stage.session(client, server)
    endless = disguised(session, timeout=2**31, ticket_lifetime_hint=2**31, deadline=0.0)
    loaded = keep(Session.from_packed(endless.to_packed()))
    stage.clock.advance(MAX_TICKET_LIFETIME_S + 1)
    pair = stage.meet(client, server, session=loaded).check()
    assert pair.client.resumption is not None
    assert pair.client.resumption.reason is Reason.EXPIRED
    assert reason_of(pair) is Reason.NOT_OFFERED or not stage.path.is_tls13


def test_f64_another_partition_cannot_even_open_what_was_sealed(stage: Stage) -> None:
    if not stage.path.is_sealed:
        pytest.skip("nothing is sealed")
    client, a, b = stage.client(), stage.server(), stage.server(host_rule="other")
    session = stage.session(client, a)
    opened: list[object] = []
    with (
        patch.object(Session, "from_packed", side_effect=opened.append),
        patch.object(server12, "eligible", side_effect=opened.append),
    ):
        declined(stage.meet(client, b, session=session), Reason.UNKNOWN)
    assert opened == [], "nothing of it was ever parsed"
    stage.resumes(client, a, session)
