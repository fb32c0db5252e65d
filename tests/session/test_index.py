"""The bookkeeping under the cache, without lock and references: what is here, what is not, and what it weighs."""

from __future__ import annotations

import pytest

from resumption.errors import ConfigurationError
from resumption.session.facts import SessionData
from resumption.session.index import OVERHEAD_BYTES, SessionIndex, WeakOwner, check_limit, content_length
from resumption.session.ledger import Holder
from resumption.session.model import Session
from resumption.session.peers import PeerIndex
from tests.session.cache_cases import MAKER, NOW, make, ticket


class Owner:
    """Remembers what sessions report."""

    def __init__(self) -> None:
        self.reports: list[str] = []

    def resort(self, session: Session, /) -> None:
        self.reports.append("resort")

    def forget(self, session: Session, data: SessionData, /) -> None:
        self.reports.append("forget")


OWNER = Owner()
CACHE = Holder("cache", "of the test")


def index(max_size: int = 0, max_bytes: int = 0, max_session_bytes: int = 0) -> SessionIndex:
    return SessionIndex(
        OWNER, PeerIndex(4, 4), max_size=max_size, max_bytes=max_bytes, max_session_bytes=max_session_bytes
    )


def put(
    where: SessionIndex, session: Session, peer_key: bytes | None = None
) -> tuple[Session | None, list[Session], int]:
    assert session.link(OWNER, CACHE) is session.data
    return where.insert(session, session.data, content_length(session.data), peer_key)


def test_what_is_put_in_is_found_weighed_and_taken_out() -> None:
    here = index()
    server, client, of_peer = make(1, hostname="host"), make(1, role="client"), ticket(1)
    assert put(here, server) == put(here, client) == put(here, of_peer, b"peer") == (None, [], 0)
    assert list(here) == [server, client, of_peer]
    assert here.size == 3
    assert here.bytes == 3 * OVERHEAD_BYTES + 4 + 64
    assert here.find(0x0303, server.id) is server
    assert here.find(0x0304, of_peer.id) is None
    assert here.like(client.data) is client
    for session in (server, client, of_peer):
        here.detach(session)
        assert not session.is_linked()
    assert (here.size, here.bytes, list(here)) == (0, 0, [])
    assert here.tables == {}


def test_what_is_not_here_is_left_alone() -> None:
    here = index()
    session, same_key, unknown = make(1), make(1), make(2)
    put(here, session)
    for other in (same_key, unknown):
        here.detach(other)
        here.resort(other)
        here.forget(other, other.data)
    assert list(here) == [session]
    assert here.size == 1


def test_the_first_to_expire_makes_room_by_number_and_by_weight() -> None:
    here = index(max_size=2)
    a, b, c = (make(timeout=timeout) for timeout in (30, 10, 20))
    put(here, a)
    put(here, b)
    assert put(here, c) == (None, [b], 1)
    here.max_size = 0
    here.max_bytes = 2 * OVERHEAD_BYTES
    d = make(timeout=5)
    assert put(here, d) == (None, [c], 1)
    here.max_bytes = OVERHEAD_BYTES - 1  # changed by another thread after `admits`: all leave, and it stays
    e = make()
    assert put(here, e) == (None, [d, a], 2)
    assert list(here) == [e]


def test_a_displaced_session_makes_room_itself() -> None:
    here = index(max_size=1)
    first, second = make(1), make(1)
    put(here, first)
    assert put(here, second) == (first, [], 0)


def test_what_is_admitted() -> None:
    assert index().admits(2**40)
    assert index(max_session_bytes=10).admits(10)
    assert not index(max_session_bytes=10).admits(11)
    assert index(max_bytes=OVERHEAD_BYTES + 10).admits(10)
    assert not index(max_bytes=OVERHEAD_BYTES + 10).admits(11)


def test_expired_sessions_leave_in_order_and_by_number() -> None:
    here = index()
    sessions = [make(timeout=timeout) for timeout in (3, 1, 2, 9)]
    for session in sessions:
        put(here, session)
    assert here.pop_expired(NOW + 5, 2) == [sessions[1], sessions[2]]
    sessions[3].timeout = 4
    here.resort(sessions[3])
    assert here.pop_expired(NOW + 5, 9) == [sessions[0], sessions[3]]
    assert OWNER.reports[-1] == "resort"


def test_one_that_ended_in_its_place_is_forgotten_by_whoever_is_told_of_it() -> None:
    """Somebody gave back the cache's reference, and the cache is about to hear of it: a flush passes over it."""
    here = index()
    ended, living = make(1), make(2)
    data = ended.data
    for session in (ended, living):
        put(here, session)
    ended.release(MAKER)
    ended.release(CACHE)
    assert here.pop_expired(None, 9) == [living]
    assert (here.size, list(here)) == (1, [ended])
    here.forget(ended, data)
    here.forget(ended, data)
    assert (here.size, here.bytes, here.tables) == (0, 0, {})


def test_what_is_taken_out_weighs_what_it_weighed() -> None:
    """Also where sessions of several versions and roles leave together."""
    here = index()
    sessions = [make(1, hostname="host"), make(2, version=0x0304), make(3, role="client"), make(4)]
    for session in sessions:
        put(here, session)
    assert here.pop_expired(None, 3) == sessions[:3]
    assert here.bytes == OVERHEAD_BYTES
    assert list(here.tables) == [0x0303]
    sessions[3].timeout = 1
    here.resort(sessions[3])
    assert here.pop_expired(None, 3) == [sessions[3]]
    assert (here.size, here.bytes, here.tables) == (0, 0, {})


def test_a_link_does_not_keep_its_owner_alive() -> None:
    owner = Owner()
    reports = owner.reports
    link = WeakOwner(owner)
    session = make()
    link.resort(session)
    link.forget(session, session.data)
    assert reports == ["resort", "forget"]
    del owner
    link.resort(session)
    link.forget(session, session.data)
    assert reports == ["resort", "forget"]


@pytest.mark.parametrize("value", [-1, 2.0, "3", None])
def test_a_limit_is_a_whole_number_from_nothing_up(value: int) -> None:
    with pytest.raises(ConfigurationError, match="max_size"):
        check_limit("max_size", value)
    assert check_limit("max_size", 0) == 0
