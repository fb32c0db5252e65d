"""The policy epoch that a fleet publishes: it only goes up, and only those with the keys can raise it."""

from __future__ import annotations

import pytest

from resumption.errors import StoreError
from resumption.session.fleet.revocation import MOST, PublishedEpoch
from resumption.session.stores.memory import MemoryStore
from resumption.session.tickets.keys import TicketKeys
from tests.session.ticket_cases import NOW, OTHER_SECRET, SECRET, Clock


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(clock=Clock(NOW))


def published(store: MemoryStore, secret: bytes = SECRET, **options: object) -> PublishedEpoch:
    return PublishedEpoch(store, TicketKeys.from_secret(secret, **options).ring)  # type: ignore[arg-type]


def test_all_nodes_read_what_one_published(store: MemoryStore) -> None:
    assert published(store).read() == 0
    assert published(store).publish(3) == 3
    assert published(store).read() == 3
    assert published(store, ratchet=True, since=NOW, epoch_s=600).read() == 3  # other numbers, the same fleet


def test_it_never_goes_down(store: MemoryStore) -> None:
    published(store).publish(5)
    assert published(store).publish(4) == 5
    assert published(store).follow(2) == 5
    assert published(store).follow(0) == 5


def test_a_number_that_the_store_lost_or_brought_back_is_published_anew(store: MemoryStore) -> None:
    node = published(store)
    node.publish(1)
    old = store.get(node.key)
    assert old is not None
    node.publish(2)
    store.remove(node.key)
    assert node.follow(2) == 2
    assert node.read() == 2
    store.put(node.key, old, NOW + 60)
    assert node.follow(2) == 2
    assert node.read() == 2


def test_f04_a_store_cannot_forge_or_raise_it(store: MemoryStore) -> None:
    node = published(store)
    node.publish(1)
    record = store.get(node.key)
    assert record is not None
    forged = [b"", record[:-1], record + b"\0", b"\x02" + record[1:], record[:8] + b"\x09" + record[9:], bytes(41)]
    for value in forged:
        store.put(node.key, value, NOW + 60)
        assert node.read() == 0, value
    store.put(node.key, record, NOW + 60)
    assert node.read() == 1


def test_f64_another_fleet_has_a_number_of_its_own(store: MemoryStore) -> None:
    ours, theirs = published(store), published(store, OTHER_SECRET)
    ours.publish(7)
    assert theirs.read() == 0
    record = store.get(ours.key)
    assert record is not None
    store.put(theirs.key, record, NOW + 60)
    assert theirs.read() == 0


def test_there_is_a_last_number(store: MemoryStore) -> None:
    assert published(store).publish(MOST) == MOST
    with pytest.raises(StoreError):
        published(store).publish(MOST + 1)
