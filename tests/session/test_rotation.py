"""Ticket keys that nodes agree on in a store: one outcome, whoever races, and what a store can do to it."""

from __future__ import annotations

import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from resumption.errors import ConfigurationError, InternalError, StoreError
from resumption.session.fleet.rotation import StoredTicketKeys
from resumption.session.stores.memory import MemoryStore
from resumption.session.stores.sqlite import SQLiteStore
from tests.session.ticket_cases import NOW, OTHER_SECRET, PARTITION, SECRET, Clock

DAY = 86_400


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW)


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    return MemoryStore(clock=clock)


def node(store: Any, clock: Clock, key: bytes | None = SECRET, **options: Any) -> StoredTicketKeys:
    return StoredTicketKeys(store, key, trust_store=key is None, clock=clock, **options)


def seal(keys: StoredTicketKeys, now: float) -> bytes | None:
    return keys.seal(b"hello", partition=PARTITION, mechanism="m", now=now, random=os.urandom, lifetime_s=60)


def opens(keys: StoredTicketKeys, ticket: bytes | None, now: float) -> bool:
    assert ticket is not None
    return keys.open(ticket, partition=PARTITION, mechanism="m", now=now) == b"hello"


@pytest.mark.parametrize("key", [SECRET, None], ids=["sealed", "trusted"])
def test_nodes_that_start_at_the_same_moment_have_one_outcome(
    key: bytes | None, store: MemoryStore, clock: Clock
) -> None:
    start = threading.Barrier(8)

    def begin(_: int) -> StoredTicketKeys:
        start.wait()
        return node(store, clock, key)

    with ThreadPoolExecutor(8) as pool:
        nodes = list(pool.map(begin, range(8)))
    tickets = [seal(each, NOW) for each in nodes]
    assert len({ticket[:16] for ticket in tickets if ticket}) == 1
    assert all(opens(each, ticket, NOW) for each in nodes for ticket in tickets)


def test_a_generation_is_agreed_on_before_it_begins_and_old_tickets_stay_good(store: MemoryStore, clock: Clock) -> None:
    first, second = node(store, clock), node(store, clock)
    old = seal(first, NOW)
    later = NOW + DAY / 2  # the next generation is known: it was made a generation ahead
    assert opens(second, seal(first, later), later)
    tomorrow = clock.now = NOW + DAY
    ticket = seal(first, tomorrow)
    assert opens(second, ticket, tomorrow)
    assert opens(second, old, NOW + DAY - 3600)
    assert first.refresh(tomorrow)
    assert second.refresh(tomorrow)
    assert opens(node(store, clock), ticket, tomorrow)  # a node that starts later brings what it needs
    assert opens(node(store, clock), seal(second, tomorrow), tomorrow)


def test_f61_what_the_fleet_forgot_cannot_be_had_from_key_and_store_together(store: MemoryStore, clock: Clock) -> None:
    first = node(store, clock)
    old = seal(first, NOW)
    clock.now = NOW + 5 * DAY
    first.refresh(clock.now)
    assert min(first.ring.known_roots) >= first.ring.times.generation_of(first.ring.times.epoch_at(clock.now)) - 2
    thief = node(store, clock)
    assert not opens(thief, old, NOW)


def test_f64_another_key_opens_nothing_and_overwrites_nothing(store: MemoryStore, clock: Clock) -> None:
    ours = node(store, clock)
    before = dict(store._values)
    theirs = node(store, clock, OTHER_SECRET)
    assert not opens(theirs, seal(ours, NOW), NOW)
    assert all(store._values[name] == entry for name, entry in before.items())


def test_f55_the_store_sees_no_root_unless_it_is_trusted(store: MemoryStore, clock: Clock) -> None:
    sealed = node(store, clock)
    roots = sealed.ring.known_roots.values()
    assert roots
    assert not any(root in value for root in roots for value, _ in store._values.values())
    trusted = node(store, clock, None)
    assert all(any(root in value for value, _ in store._values.values()) for root in trusted.ring.known_roots.values())
    assert "it sees every key" in trusted.status(NOW).forward_secrecy


@pytest.mark.parametrize("damage", [b"", b"\x01", b"\x01" + bytes(80), b"\x02" + bytes(32), bytes(81)])
def test_f60_f76_a_record_that_is_none_means_no_tickets_and_a_word_about_it(
    damage: bytes, store: MemoryStore, clock: Clock
) -> None:
    node(store, clock)
    for name in list(store._values):
        store.put(name, damage, NOW + 30 * DAY)
    late = node(store, clock)
    assert seal(late, NOW) is None
    assert "not made with this key" in str(late.status(NOW).trouble)
    assert late.status(NOW).not_issuing_because == late.trouble


class Down:
    """A store that can be switched off."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.is_down = True

    def __getattr__(self, name: str) -> Any:
        if self.is_down:
            raise StoreError("the store is down")
        return getattr(self.store, name)

    def put_if_absent(self, *arguments: Any) -> bytes:
        return self.__getattr__("put_if_absent")(*arguments)  # type: ignore[no-any-return]


def test_f60_a_store_that_is_down_costs_tickets_and_nothing_else(store: MemoryStore, clock: Clock) -> None:
    down = Down(store)
    keys = node(down, clock)
    assert seal(keys, NOW) is None
    assert keys.lifetime_left(NOW) == 0
    assert keys.status(NOW).not_issuing_because == "the store is down"
    down.is_down = False
    assert keys.refresh(NOW)
    ticket = seal(keys, NOW)
    down.is_down = True
    assert not keys.refresh(NOW)
    assert opens(keys, ticket, NOW)
    assert keys.trouble == "the store is down"


def test_a_root_that_the_store_lost_is_put_back_by_who_has_it(store: MemoryStore, clock: Clock) -> None:
    first = node(store, clock)
    ticket = seal(first, NOW)
    for name in list(store._values):
        store.remove(name)
    first.refresh(NOW)
    assert opens(node(store, clock), ticket, NOW)


def test_nodes_that_disagree_after_a_loss_agree_again(store: MemoryStore, clock: Clock) -> None:
    first = node(store, clock)
    for name in list(store._values):
        store.remove(name)
    second = node(store, clock)
    assert not opens(second, seal(first, NOW), NOW)
    assert first.refresh(NOW)
    assert opens(second, seal(first, NOW), NOW)


def test_processes_on_one_file_agree(tmp_path: Path, clock: Clock) -> None:
    stores = [SQLiteStore(tmp_path / "s.db", clock=clock, busy_timeout_s=5.0) for _ in range(4)]
    nodes = [node(store, clock) for store in stores]
    assert all(opens(nodes[-1], seal(each, NOW), NOW) for each in nodes)
    for store in stores:
        store.close()


def test_what_is_needed_is_asked_for(store: MemoryStore) -> None:
    with pytest.raises(ConfigurationError, match="trust_store=True"):
        StoredTicketKeys(store)
    with pytest.raises(ConfigurationError, match="trust_store=True"):
        StoredTicketKeys(store, SECRET, trust_store=True)
    with pytest.raises(ConfigurationError, match="put_if_absent"):
        StoredTicketKeys(object(), SECRET)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="32 or more"):
        StoredTicketKeys(store, b"short")


def test_f56_a_random_source_that_fails_makes_no_root(store: MemoryStore, clock: Clock) -> None:
    with pytest.raises(InternalError):
        node(store, clock, random=lambda length: b"")
    with pytest.raises(ConfigurationError):
        node(store, clock, random=bytes)


def test_f05_they_are_not_pickled(store: MemoryStore, clock: Clock) -> None:
    with pytest.raises(TypeError, match="same secret"):
        pickle.dumps(node(store, clock))


def test_a_store_opened_by_url_is_closed_with_the_keys(tmp_path: Path) -> None:
    keys = StoredTicketKeys(f"sqlite://{tmp_path / 'k.db'}?busy_timeout_s=5", SECRET)
    assert keys.status(keys.ring.times.generation_s * 1.0).mode == "stored"
    keys.close()
    assert not keys.refresh(NOW)
    with pytest.raises(StoreError):
        keys._store.get("x")
