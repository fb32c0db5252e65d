"""Stateless tickets that are good for one connection: marked when they resume, declined ever after."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from resumption.connection import Connection
from resumption.errors import ConfigurationError, StoreError
from resumption.handshake.events import EarlyDataReceived, Failed, NeedSpending
from resumption.handshake.server13 import AwaitSpending
from resumption.session.fleet.replay import ReplayRegister, SpentTickets
from resumption.session.stores.memory import MemoryStore
from resumption.session.tickets.keys import TicketKeys
from resumption.session.verdicts import Mechanism, Reason
from tests.handshake.pairs import TLS12, Pair, World, pump
from tests.pki import Pki

SECRET = "a secret of the whole fleet, long enough to be one"


@pytest.fixture
def world(pki: Pki) -> World:
    return World(pki)


@pytest.fixture
def store(world: World) -> Iterator[MemoryStore]:
    store = MemoryStore(clock=world.clock)
    yield store
    store.close()


def servers(world: World, store: Any, **settings: Any) -> Any:
    keys = TicketKeys.from_secret(SECRET)
    return world.server_context(**{"tickets": keys, "store": store, "single_use_tickets": True, **settings})


def test_a_ticket_resumes_once_at_all_that_share_the_store(world: World, store: MemoryStore) -> None:
    client = world.client_config()
    fleet = [servers(world, store) for _ in range(3)]
    first = world.meet(client, fleet[0]).check()
    with first.client.get1_session() as session:  # type: ignore[union-attr]
        first.free()
        resumed = []
        for server in (*fleet, fleet[0]):
            pair = world.meet(client, server, session=session).check()
            resumed.append(pair.server.resumption)
            pair.talk()
            pair.free()
    assert [one.resumed for one in resumed] == [True, False, False, False]
    assert {one.reason for one in resumed[1:]} == {Reason.ALREADY_SPENT}
    for server in fleet:
        server.close()


def test_each_ticket_counts_by_itself_and_the_mark_ends_with_it(world: World, store: MemoryStore) -> None:
    client, server = world.client_context(), servers(world, store)
    for expected in (False, True, True, True):
        pair = world.meet(client, server).check()
        assert pair.server.session_reused is expected
        pair.free()
    assert len(store._marks) == 3
    (latest,) = set(store._marks.values())
    assert latest == world.clock() + server.config.session_timeout_s
    server.close()
    client.close()


def test_without_it_a_ticket_resumes_as_often_as_it_is_offered(world: World, store: MemoryStore) -> None:
    client, server = world.client_config(), servers(world, store, single_use_tickets=False)
    first = world.meet(client, server).check()
    with first.client.get1_session() as session:  # type: ignore[union-attr]
        first.free()
        for _ in range(2):
            pair = world.meet(client, server, session=session).check()
            assert pair.server.session_reused
            pair.free()
    assert not store._marks
    server.close()


def test_in_tls12_tickets_are_for_any_number_of_uses(world: World, store: MemoryStore) -> None:
    client, server = world.client_config(maximum_version=TLS12), servers(world, store)
    first = world.meet(client, server).check()
    with first.client.get1_session() as session:  # type: ignore[union-attr]
        first.free()
        for _ in range(2):
            pair = world.meet(client, server, session=session).check()
            assert pair.server.resumption is not None
            assert pair.server.resumption.mechanism is Mechanism.TICKET_12
            pair.free()
    server.close()


class Broken(MemoryStore):
    """A store whose marks fail."""

    def add_once(self, key: str, expires_at: float) -> bool:
        raise StoreError("no")


@pytest.mark.parametrize("lenient", [False, True])
def test_a_store_in_trouble_costs_the_resumption_or_the_single_use(world: World, lenient: bool) -> None:
    spent = SpentTickets(Broken(), resume_if_unsure=lenient)
    client, server = world.client_config(), world.server_config(spent_tickets=spent)
    first = world.meet(client, server).check()
    with first.client.get1_session() as session:  # type: ignore[union-attr]
        first.free()
        pair = world.meet(client, server, session=session).check()
        assert pair.server.session_reused is lenient
        assert pair.server.resumption is not None
        assert pair.server.resumption.reason is (None if lenient else Reason.STORE_UNAVAILABLE)
        pair.free()


@pytest.mark.parametrize("lenient", [False, True])
def test_f85_a_store_that_has_lost_marks_is_not_trusted_with_tickets_from_before(world: World, lenient: bool) -> None:
    client, moved = world.client_config(), world.clock()
    before = world.server_config(spent_tickets=SpentTickets(MemoryStore(clock=world.clock)))
    first = world.meet(client, before).check()
    with first.client.get1_session() as session:  # type: ignore[union-attr]
        first.free()
        emptied = MemoryStore(clock=lambda: moved + 1)
        spent = SpentTickets(emptied, resume_if_unsure=lenient)
        pair = world.meet(client, replace(before, spent_tickets=spent), session=session).check()
        assert pair.server.session_reused is lenient
        assert len(emptied._marks) == 1, "it is spent either way"
        pair.free()


class Elsewhere(MemoryStore):
    """A store that has to be asked from outside the engine."""

    is_local = False


@pytest.mark.parametrize("answer", [None, Reason.ALREADY_SPENT, Failed()], ids=str)
def test_a_store_elsewhere_is_a_question_to_the_driver(world: World, answer: Any) -> None:
    spent = SpentTickets(Elsewhere(clock=world.clock))
    client, server = world.client_config(), world.server_config(spent_tickets=spent)
    first = world.meet(client, server).check()
    with first.client.get1_session() as session:  # type: ignore[union-attr]
        first.free()
        asking, asked = Connection(client, server_name="localhost"), Connection(server)
        asking.set_session(session)
    (question,) = asked.receive_data(asking.data_to_send())
    assert isinstance(question, NeedSpending)
    assert isinstance(asked._state, AwaitSpending)
    assert question.fetch(None, asked) is None
    assert question.fetch(None, asked) is Reason.ALREADY_SPENT
    tuple(asked.answer(question, answer))
    Pair(asking, asked, pump(asking, asked)).check().talk()
    assert asked.session_reused is (answer is None)
    for connection in (asking, asked):
        connection.free()


def test_a_spent_ticket_brings_no_early_data(world: World, store: MemoryStore) -> None:
    register = ReplayRegister(clock=world.clock)
    client, server = world.client_config(), servers(world, store, max_early_data=100, replay=register)
    first = world.meet(client, server).check()
    taken = []
    with first.client.get1_session() as session:  # type: ignore[union-attr]
        first.free()
        for _ in range(2):
            asking, asked = Connection(client, server_name="localhost"), server.connection()
            asking.set_session(session)
            asking.send_early_data(b"early")
            took = pump(asking, asked).check()
            taken.append(b"".join(event.data for event in took.server if isinstance(event, EarlyDataReceived)))
            asking.free()
            asked.free()
    assert taken == [b"early", b""]
    assert len(register) == 1
    server.close()


def test_it_needs_a_store(world: World, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="store="):
        world.server_context(single_use_tickets=True)
    server = servers(world, f"sqlite://{tmp_path}/store.db")
    assert server.config.spent_tickets is not None
    server.close()
