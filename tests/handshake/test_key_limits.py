"""Keys are changed long before they are used up: by who seals, and at the wish of who opens. RFC 9846, section 5.5."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from resumption.constants import KeyUpdateRequest
from resumption.crypto.protection import RecordSealer13
from resumption.crypto.suites import SUITES
from resumption.errors import UsageError
from resumption.handshake.events import KeysUpdated
from tests.handshake.pairs import Pair, World, received
from tests.handshake.stops import client13_for, server13_for

SMALL = 40  # records
SUITES_12 = (0xC02B, 0xC02C, 0xCCA9, 0xC0AC, 0xC0AD, 0xC0AE, 0xC0AF)
SUITES_13 = (0x1301, 0x1302, 0x1303, 0x1304, 0x1305)
WISH = KeyUpdateRequest.update_requested


@pytest.fixture(autouse=True)
def short_lived_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for number, facts in SUITES.items():
        monkeypatch.setitem(SUITES, number, replace(facts, key_limit=SMALL))


def connected(world: World, suite: int) -> Pair:
    version = SUITES[suite].version
    settings: dict[str, Any] = {
        "minimum_version": version,
        "maximum_version": version,
        "suites": (suite,),
        "max_post_handshake_messages": 10_000,
        "max_key_updates": 10_000,
    }
    return world.meet(world.client_config(**settings), world.server_config(**settings)).check()


def test_the_limits_of_this_file_are_small() -> None:
    assert {facts.key_limit for facts in SUITES.values()} == {SMALL}


@pytest.mark.proves("9846:5.5:1")
@pytest.mark.parametrize("suite", SUITES_13)
def test_a_tls13_sender_changes_its_key_by_itself_as_often_as_it_must(world: World, suite: int) -> None:
    pair = connected(world, suite)
    for sender, receiver, is_client in ((pair.client, pair.server, True), (pair.server, pair.client, False)):
        text = bytes(range(256)) * 64 * 5 * SMALL  # 200 full records in one call
        sender.send_data(text)
        for _ in range(3 * SMALL):
            sender.send_data(b"drop")
        took = pair.pump().check()
        events = took.server if is_client else took.client
        assert received(events) == text + b"drop" * 3 * SMALL
        assert sum(isinstance(event, KeysUpdated) for event in events) >= 10
        assert receiver.error is None
        assert sender.error is None
    pair.talk()


def test_no_key_ever_seals_more_than_its_limit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = connected(world, 0x1301)
    longest = 0
    plainly = RecordSealer13.key_update

    def key_update(sealer: RecordSealer13) -> None:
        nonlocal longest
        longest = max(longest, sealer._sequence)
        plainly(sealer)

    monkeypatch.setattr(RecordSealer13, "key_update", key_update)
    for size in (1, 2**14, 2**14 * SMALL, 2**14 * SMALL * 3 + 1, 0, 5):
        pair.client.send_data(bytes(size))
        pair.pump().check()
    assert 0 < longest <= SMALL


@pytest.mark.parametrize("suite", SUITES_12)
def test_a_tls12_sender_ends_before_its_key_is_used_up(world: World, suite: int) -> None:
    """There is no key update, so it is an error, and nothing that was asked for is sent in part."""
    pair = connected(world, suite)
    with pytest.raises(UsageError, match="make another one"):
        pair.client.send_data(b"x")
    assert pair.client.data_to_send() == b""
    pair.client.close()
    took = pair.pump().check()
    assert received(took.server) == b""
    assert pair.server.peer_closed


def test_who_opens_asks_for_another_key_half_way_and_only_once(world: World) -> None:
    """A peer that does not think of it itself is asked; if it does not listen, its records still open."""
    for peer in (client13_for(world).connect(), server13_for(world).connect()):
        while peer.has_message:  # tickets
            peer.take()
        subject = peer.subject
        sealer: Any = peer.sealer
        sealer._limit = 10 * SMALL  # it takes no heed
        for number in range(SMALL // 2):
            peer.say_data(b"%d" % number).accepted()
        peer.say_data(b"the one that is half way").accepted()
        peer.listen().expect_update(WISH)
        for number in range(2 * SMALL):
            peer.say_data(b"%d" % number).accepted()
        assert not peer.has_message
        assert subject.error is None


def test_a_peer_that_listens_is_asked_again_under_its_next_key(world: World) -> None:
    peer = client13_for(world).connect()
    peer.read_tickets()
    for _ in range(3):
        asked = False
        for number in range(SMALL):
            peer.say_data(b"%d" % number).accepted()
            peer.listen()
            if peer.has_message:
                peer.expect_update(WISH)
                asked = True
                break
        assert asked
        peer.update_keys(0)


def test_both_ends_ours_receive_without_sending(world: World) -> None:
    """The one that only receives asks, and the answer changes nothing for the data."""
    pair = connected(world, 0x1301)
    seen: list[bytes] = []
    for number in range(3 * SMALL):
        pair.server.send_data(b"%d " % number)
        seen.append(received(pair.pump().check().client))
    assert b"".join(seen) == b"".join(b"%d " % number for number in range(3 * SMALL))


def test_a_refused_write_after_close_is_not_made_up_for_by_an_update(world: World) -> None:
    """Nothing is said after close_notify, also not a wish for another key."""
    pair = connected(world, 0x1301)
    pair.client.close()
    pair.pump()
    for number in range(2 * SMALL):
        pair.server.send_data(b"%d" % number)
    took = pair.pump().check()
    assert len(took.client) >= 2 * SMALL
    assert pair.client.data_to_send() == b""
