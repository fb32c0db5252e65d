"""Bytes in, events and bytes out: the same whatever pieces the bytes come in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resumption.handshake.events import PeerClosed
from tests.handshake.pairs import World
from tests.handshake.replays import PLANS, TRAILING, Account, Plan, Recording
from tests.pki import Pki

every_plan = pytest.mark.parametrize("plan", PLANS, ids=str)
_recordings: dict[tuple[int, Plan], tuple[Recording, Account]] = {}


@pytest.fixture(scope="module", autouse=True)
def _given_back() -> Iterator[None]:
    yield
    while _recordings:
        _recordings.popitem()[1][0].close()


@pytest.fixture
def recorded(pki: Pki, plan: Plan) -> tuple[Recording, Account]:
    """A recording, and what its side makes of it in as few pieces as can be."""
    key = (id(pki), plan)
    if key not in _recordings:
        recording = Recording(World(pki), plan)
        _recordings[key] = recording, recording.replay(recording.cut())
    return _recordings[key]


@every_plan
def test_a_recording_is_a_whole_conversation(recorded: tuple[Recording, Account], plan: Plan) -> None:
    _, account = recorded
    assert account.error is None
    assert account.trailing == TRAILING
    kinds = [event[0] if isinstance(event, tuple) else event for event in account.told]
    assert kinds[: 1 + plan.retried] == ["HelloRetried", "completed"][not plan.retried :]
    assert kinds[-1] == PeerClosed.__name__
    assert b"".join(event for event in account.told if isinstance(event, bytes)) == b"one" * 7_000 + b"two"
    assert ("issued" in kinds) == (plan.version == 0x0304 or not plan.resumed)


@every_plan
def test_a_replay_repeats_itself(recorded: tuple[Recording, Account]) -> None:
    recording, account = recorded
    assert recording.replay(recording.cut()) == account


@every_plan
def test_one_byte_at_a_time(recorded: tuple[Recording, Account]) -> None:
    recording, account = recorded
    heard = recording.heard
    assert recording.replay(heard[at : at + 1] for at in range(len(heard))) == account


@every_plan
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_cut_gives_the_same_events_and_bytes(recorded: tuple[Recording, Account], data: st.DataObject) -> None:
    recording, account = recorded
    length = len(recording.heard)
    early = st.integers(0, min(length, 2_000))  # the handshake is in front
    points = data.draw(st.lists(early | st.integers(0, length), max_size=12))
    assert recording.replay(recording.cut(points)) == account


@every_plan
def test_empty_pieces_change_nothing(recorded: tuple[Recording, Account]) -> None:
    recording, account = recorded
    pieces = [b"", *recording.cut([10, 500]), b""]
    assert recording.replay(pieces) == account


@every_plan
def test_who_reads_what_is_needed_never_reads_past_a_record(recorded: tuple[Recording, Account]) -> None:
    recording, account = recorded
    careful, read, sizes = recording.replay_as_needed()
    assert (careful.told, careful.said) == (account.told, account.said)
    assert recording.heard[read:] == TRAILING
    assert careful.trailing == b""
    at = 0
    while at < read:
        length = int.from_bytes(recording.heard[at + 3 : at + 5])
        assert sizes[:2] == [5, length]
        sizes, at = sizes[2:], at + 5 + length


@every_plan
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_stream_that_ends_early_ends_early_in_any_pieces(
    recorded: tuple[Recording, Account], data: st.DataObject
) -> None:
    recording, account = recorded
    end = data.draw(st.integers(0, len(recording.heard) - len(TRAILING) - 1))
    heard = recording.heard[:end]
    whole = recording.replay(recording.cut(heard=heard))
    points = data.draw(st.lists(st.integers(0, max(end, 1)), max_size=5))
    assert recording.replay(recording.cut(points, heard)) == whole
    assert account.told[: len(whole.told)] == whole.told
    assert account.said.startswith(whole.said)


@every_plan
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_is_told_of_alike_in_any_pieces(recorded: tuple[Recording, Account], data: st.DataObject) -> None:
    recording, _ = recorded
    heard = bytearray(recording.heard)
    at = data.draw(st.integers(0, min(len(heard) - 1, 3_000)))
    heard[at] ^= data.draw(st.integers(1, 255))
    whole = recording.replay(recording.cut(heard=bytes(heard)))
    points = data.draw(st.lists(st.integers(0, len(heard)), max_size=5))
    pieces = recording.replay(recording.cut(points, bytes(heard)))
    assert (pieces.told, pieces.said, pieces.error) == (whole.told, whole.said, whole.error)
