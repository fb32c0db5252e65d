from __future__ import annotations

import copy
import json
import os
import pickle
import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resumption.errors import ConfigurationError, UsageError
from resumption.session.tickets.derivation import PreparedHmac
from resumption.session.tickets.epochs import RingTimes
from resumption.session.tickets.ring import KeyRing
from resumption.session.tickets.roots import RatchetRoots, StaticRoots
from tests.session.test_forking import in_child
from tests.session.ticket_cases import DAY, HOUR, NOW, OTHER_SECRET, SECRET

TIMES = RingTimes()


def ring(
    secret: bytes = SECRET, times: RingTimes = TIMES, *, ratchet: bool = False, first_generation: int | None = 20_000
) -> KeyRing:
    return KeyRing.from_material(bytearray(secret), times, ratchet=ratchet, first_generation=first_generation)


def issuing_epoch(keys: KeyRing, now: float) -> int | None:
    key = keys.issuing_key(now)
    return None if key is None else key.epoch


# --- the numbers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"epoch_s": 0}, "at least 1"),
        ({"epoch_s": 3600.0}, "whole number"),
        ({"epoch_s": True}, "whole number"),
        ({"generation_s": 5000}, "multiple of epoch_s"),
        ({"generation_s": 1800}, "multiple of epoch_s"),
        ({"skew_s": -1}, "skew_s"),
        ({"skew_s": 3600}, "skew_s"),
        ({"lifetime_s": 0}, "lifetime_s"),
        ({"lifetime_s": 7 * DAY + 1}, "seven days"),
        ({"lifetime_s": 7 * DAY, "epoch_s": 60, "skew_s": 0}, "2048 times"),
    ],
)
def test_f63_numbers_that_do_not_fit_are_refused(wrong: dict[str, int], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        RingTimes(**wrong)


@pytest.mark.parametrize("now", [float("nan"), float("inf"), -float("inf"), -1.0, -1e-9, 253_402_300_800.0, 1e300])
def test_times_no_clock_shows_belong_to_no_epoch(now: float) -> None:
    assert TIMES.epoch_at(now) == -1


def test_numbers_at_their_limits_are_accepted() -> None:
    assert RingTimes(epoch_s=1, generation_s=1, skew_s=0, lifetime_s=1).epochs_accepted == 1
    assert RingTimes(epoch_s=60, generation_s=120, skew_s=59, lifetime_s=60 * 2048).epochs_accepted == 2048
    assert RingTimes(lifetime_s=7 * DAY).epochs_accepted == 168
    assert RingTimes(lifetime_s=HOUR + 1).epochs_accepted == 2


# --- agreement -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ratchet", [False, True])
def test_two_nodes_derive_the_same_keys_whenever_they_started(ratchet: bool) -> None:
    early, late = ring(ratchet=ratchet), ring(ratchet=ratchet)
    for day in range(5):
        early.issuing_key(NOW + day * DAY)
    now = NOW + 5 * DAY
    assert early.window(now).by_name.keys() == late.window(now).by_name.keys()
    ours, theirs = early.issuing_key(now), late.issuing_key(now)
    assert ours is not None
    assert theirs is not None
    assert ours.mac.digest(b"") == theirs.mac.digest(b"")
    assert early.fingerprint == late.fingerprint


def test_rings_that_differ_in_secret_numbers_or_mode_share_nothing() -> None:
    rings = [
        ring(),
        ring(OTHER_SECRET),
        ring(ratchet=True),
        ring(times=RingTimes(epoch_s=1800)),
        ring(times=RingTimes(generation_s=2 * DAY)),
        ring(ratchet=True, first_generation=20_001),
    ]
    names = [name for keys in rings for name in keys.window(NOW).by_name]
    assert len(names) == len(set(names))
    assert len({keys.fingerprint for keys in rings}) == 5  # the last differs from the third in its start only


def test_lifetime_and_skew_may_differ_between_nodes_that_share_keys() -> None:
    here, there = ring(), ring(times=RingTimes(skew_s=5, lifetime_s=HOUR))
    assert set(there.window(NOW).by_name) < set(here.window(NOW).by_name)


def test_every_key_of_a_ring_is_different() -> None:
    window = ring(times=RingTimes(lifetime_s=7 * DAY)).window(NOW)
    keys = list(window.by_epoch.values())
    assert len(keys) == 7 * 24 + 2
    assert len({key.name for key in keys}) == len(keys)
    assert len({key.mac.digest(b"") for key in keys}) == len(keys)
    records = window.generations.values()
    assert len({mac.digest(b"") for keys in records for mac in (keys.index, keys.record)}) == 4


def test_the_construction_is_the_documented_one() -> None:
    """Written out once more, so that a change which would split a fleet during an upgrade is noticed."""
    secret = PreparedHmac(PreparedHmac(b"resumption ticket ring 1").digest(SECRET))
    numbers = (3600).to_bytes(8, "big") + (86_400).to_bytes(8, "big")
    root = PreparedHmac(secret.expand(b"root static" + numbers))
    generation = PreparedHmac(root.expand(b"generation" + (20_780).to_bytes(8, "big")))
    epoch = int(NOW // HOUR).to_bytes(8, "big")
    key = ring().issuing_key(NOW)
    assert key is not None
    assert key.name == generation.expand(b"name" + epoch)[:16]
    assert key.mac.digest(b"x") == PreparedHmac(generation.expand(b"stek" + epoch)).digest(b"x")

    records = ring().reading_keys(NOW)[0]
    assert records.index.digest(b"x") == PreparedHmac(generation.expand(b"index")).digest(b"x")
    assert records.record.digest(b"x") == PreparedHmac(generation.expand(b"record")).digest(b"x")

    link = PreparedHmac(secret.expand(b"root ratchet" + numbers))
    for _ in range(780):
        link = PreparedHmac(link.expand(b"next"))
    key = ring(ratchet=True).issuing_key(NOW)
    assert key is not None
    assert key.name == link.expand(b"name" + epoch)[:16]


# --- time ------------------------------------------------------------------------------------------------------------


def test_a_new_key_is_issued_with_only_after_the_skew_and_accepted_an_epoch_before() -> None:
    keys = ring()
    start = (int(NOW // HOUR) + 1) * HOUR
    epoch = start // HOUR
    assert issuing_epoch(keys, start - 1) == epoch - 1
    assert epoch in keys.window(start - HOUR).by_epoch
    assert issuing_epoch(keys, start + 59.9) == epoch - 1
    assert issuing_epoch(keys, start + 60) == epoch


@given(now=st.floats(min_value=0, max_value=1e11), behind=st.floats(min_value=0, max_value=60))
def test_a_node_whose_clock_is_behind_by_the_skew_accepts_what_others_issue(now: float, behind: float) -> None:
    key = ring().issuing_key(now)
    assert key is not None
    assert key.name in ring().window(max(0.0, now - behind)).by_name


def test_a_clock_one_epoch_back_goes_on_with_the_latest_key() -> None:
    keys = ring()
    latest = issuing_epoch(keys, NOW)
    assert issuing_epoch(keys, NOW - HOUR) == latest
    assert issuing_epoch(keys, NOW - 2 * HOUR) is None
    assert keys.why_not_issuing(NOW - 2 * HOUR) == "the clock went back by more than one epoch"
    assert issuing_epoch(keys, NOW) == latest


def test_the_latest_epoch_counts_even_if_it_was_only_accepted_in() -> None:
    keys = ring()
    keys.window(NOW)
    assert keys.issuing_key(NOW - 2 * HOUR) is None
    assert keys.writing_keys(NOW - 2 * HOUR) is None
    assert keys.issuing_key(NOW - HOUR) is not None
    assert keys.writing_keys(NOW - HOUR) is not None


def test_a_clock_that_went_back_still_accepts_what_was_accepted() -> None:
    keys = ring()
    names = set(keys.window(NOW).by_name)
    assert set(keys.window(NOW - 100 * DAY).by_name) == names
    assert set(keys.window(float("nan")).by_name) == names


def test_issuing_stops_when_the_next_key_was_in_use_and_the_clock_goes_back() -> None:
    keys = ring()
    assert keys.rotate_now(NOW)
    assert issuing_epoch(keys, NOW) == int(NOW // HOUR) + 1
    assert issuing_epoch(keys, NOW - HOUR) is None  # other nodes at that time would not accept it
    assert keys.why_not_issuing(NOW - HOUR) == "the clock went back by more than one epoch"


def test_the_first_hours_of_1970_are_ordinary() -> None:
    keys = ring(ratchet=True, first_generation=0)
    assert issuing_epoch(keys, 0.0) == 0
    assert issuing_epoch(keys, HOUR + 61) == 1
    assert [found.generation for found in keys.reading_keys(0.0)] == [0]
    assert keys.writing_keys(0.0) is keys.reading_keys(0.0)[0]


def test_records_are_written_with_a_new_generation_once_every_clock_is_in_it() -> None:
    keys = ring()
    begins = (int(NOW) // DAY + 1) * DAY

    def written(now: float) -> bytes:
        writing = keys.writing_keys(now)
        assert writing is not None
        return writing.record.digest(b"")

    before = written(begins - 1)
    assert written(begins + TIMES.skew_s - 1) == before, "a clock that is late does not have the new ones yet"
    after = written(begins + TIMES.skew_s)
    assert after != before
    assert [kept.record.digest(b"") for kept in keys.reading_keys(begins + TIMES.skew_s)] == [after, before]


def test_f60_a_ratchet_is_not_destroyed_by_an_absurd_clock() -> None:
    keys = ring(ratchet=True)
    names = set(keys.window(NOW).by_name)
    absurd = 253_402_300_799.0
    assert keys.issuing_key(absurd) is None
    assert keys.why_not_issuing(absurd) == "the clock is out of range"
    assert keys.writing_keys(absurd) is None
    assert set(keys.window(NOW).by_name) == names
    assert issuing_epoch(keys, NOW) == int(NOW // HOUR)


def test_a_ring_of_its_own_begins_when_it_is_first_used() -> None:
    keys = ring(ratchet=True, first_generation=None)
    midnight = 20_781 * DAY
    assert issuing_epoch(keys, midnight + 10) == midnight // HOUR - 1  # within the skew: the last key of yesterday
    assert issuing_epoch(keys, midnight + 60) == midnight // HOUR
    assert json.loads(keys.to_state(midnight + 60))["generation"] == 20_780


def test_rotation_works_from_the_first_epoch_on() -> None:
    keys = ring()
    assert keys.rotate_now(120.0)
    assert issuing_epoch(keys, 120.0) == 1


def test_a_key_is_accepted_until_the_window_has_moved_past_it() -> None:
    keys = ring()
    key = keys.issuing_key(NOW)
    assert key is not None
    until = keys.accepted_until(key)
    assert until == (key.epoch + 25) * HOUR
    assert key.name in ring().window(until - 0.5).by_name
    assert key.name not in ring().window(until).by_name


def test_the_status_of_a_ring() -> None:
    keys = ring(times=RingTimes(lifetime_s=HOUR), ratchet=True)
    status = keys.status(NOW, {"sealed": 3})
    epoch = int(NOW // HOUR)
    assert [(key.epoch, key.generation) for key in status.keys] == [(epoch + step, 20_780) for step in (-1, 0, 1)]
    assert [key.age_s for key in status.keys] == [5400, 1800, -1800]
    assert [key.accepted_for_s for key in status.keys] == [1800, 5400, 9000]
    assert [key.is_issuing for key in status.keys] == [False, True, False]
    assert status.issuing == status.keys[1].name
    assert status.keys[1].name == list(keys.window(NOW).by_name)[1].hex()
    assert status.mode == "ratchet"
    assert status.forward_secrecy == "forward secrecy after 172800 s"
    assert status.fingerprint == keys.fingerprint
    assert len(keys.fingerprint) == 12
    assert status.not_issuing_because is None
    assert status.counts == {"sealed": 3}
    longer = ring(times=RingTimes(lifetime_s=3 * DAY), ratchet=True).status(NOW, {})
    assert longer.forward_secrecy == "forward secrecy after 345600 s"
    assert (ring().mode, ring().status(NOW, {}).forward_secrecy) == ("static", "no forward secrecy")
    stopped = keys.status(NOW - DAY, {})
    assert stopped.issuing is None
    assert stopped.not_issuing_because == "the clock went back by more than one epoch"


# --- forgetting ------------------------------------------------------------------------------------------------------


def test_f61_a_ratchet_keeps_no_root_older_than_it_needs() -> None:
    keys = ring(ratchet=True)
    keys.issuing_key(NOW)
    root = keys._roots
    assert isinstance(root, RatchetRoots)
    assert root.oldest is not None
    assert root.oldest[0] == 20_779  # yesterday's: its tickets and records live today
    passed = root.oldest[1]
    keys.issuing_key(NOW + DAY)
    assert root.oldest[0] == 20_780
    assert root.oldest[1] != passed
    assert root.between(20_779, 20_779) == {}


def test_records_keep_yesterdays_root_even_when_tickets_are_short_lived() -> None:
    keys = ring(times=RingTimes(lifetime_s=HOUR), ratchet=True)
    assert [found.generation for found in keys.reading_keys(NOW)] == [20_780, 20_779]


@pytest.mark.parametrize("kind", [StaticRoots, lambda root: RatchetRoots(root, 5)])
def test_wiping_overwrites_the_root_in_place(kind: type[StaticRoots]) -> None:
    roots = kind(SECRET)
    held = roots._root
    view = memoryview(held)
    assert bytes(view) == SECRET
    with pytest.raises(BufferError):  # zeroed; only then may the emptying fail, because this test looks on
        roots.wipe()
    assert bytes(view) == bytes(32)
    view.release()
    roots.wipe()
    assert roots.between(5, 6) == {}
    roots.forget_before(7)
    assert roots.between(7, 7) == {}


def test_the_material_that_a_ring_was_made_from_is_overwritten() -> None:
    material = bytearray(SECRET)
    KeyRing.from_material(material, TIMES, ratchet=False, first_generation=0)
    assert material == b""


def test_dropping_a_ring_overwrites_its_root() -> None:
    keys = ring()
    held = keys._roots._root
    del keys
    assert held == b""


def test_f60_a_closed_ring_issues_and_accepts_nothing_for_good() -> None:
    keys = ring()
    assert keys.issuing_key(NOW) is not None
    assert not keys.is_closed
    root = keys._roots._root
    keys.close()
    keys.close()
    assert root == b""
    for now in (NOW, NOW + 10 * DAY, float("nan")):
        assert keys.issuing_key(now) is None
        assert keys.window(now).by_name == {}
        assert keys.reading_keys(now) == []
        assert keys.writing_keys(now) is None
        assert not keys.rotate_now(now)
    assert keys.is_closed
    assert keys.why_not_issuing(NOW) == "the keys were closed"
    assert keys.revoke(generation=20_780) == 0
    with pytest.raises(UsageError):
        keys.to_state(NOW)


# --- rotation and revocation -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", [NOW, int(NOW // HOUR) * HOUR + 30.0])
def test_rotating_moves_to_a_key_that_the_slowest_node_accepts(moment: float) -> None:
    keys = ring()
    before = issuing_epoch(keys, moment)
    assert before is not None
    assert keys.rotate_now(moment)
    after = keys.issuing_key(moment)
    assert after is not None
    assert after.epoch == before + 1
    assert after.name in ring().window(moment - 60).by_name
    assert keys.rotate_now(moment) is False  # the next one again would be ahead of the others
    assert issuing_epoch(keys, moment) == before + 1


def test_rotation_by_hand_is_caught_up_by_time() -> None:
    keys = ring()
    keys.rotate_now(NOW)
    assert issuing_epoch(keys, NOW + HOUR) == int(NOW // HOUR) + 1
    assert issuing_epoch(keys, NOW + 2 * HOUR) == int(NOW // HOUR) + 2


@pytest.mark.parametrize("now", [float("nan"), -5.0, NOW - 3 * HOUR])
def test_rotation_needs_a_working_clock(now: float) -> None:
    keys = ring()
    keys.issuing_key(NOW)
    assert not keys.rotate_now(now)


def test_a_revoked_key_is_replaced_by_the_next() -> None:
    keys = ring()
    key = keys.issuing_key(NOW)
    assert key is not None
    assert keys.revoke(name=key.name) == 1
    assert key.name not in keys.window(NOW).by_name
    assert issuing_epoch(keys, NOW) == key.epoch + 1
    following = keys.issuing_key(NOW)
    assert following is not None
    assert keys.revoke(name=following.name) == 1
    assert keys.issuing_key(NOW) is None
    assert keys.why_not_issuing(NOW) == "the keys for this time were revoked, or lie before the first generation known"
    assert keys.revoke(name=key.name) == 0
    assert keys.issuing_key(NOW - HOUR) is None
    assert keys.why_not_issuing(NOW - HOUR) == keys.why_not_issuing(NOW)


def test_a_key_that_was_rotated_to_and_revoked_is_not_replaced() -> None:
    keys = ring()
    keys.rotate_now(NOW)
    key = keys.issuing_key(NOW)
    assert key is not None
    keys.revoke(name=key.name)
    assert keys.issuing_key(NOW) is None
    assert keys.why_not_issuing(NOW) == "the keys for this time were revoked, or lie before the first generation known"


@pytest.mark.parametrize("ratchet", [False, True])
def test_a_revoked_generation_stays_revoked_and_the_next_is_fresh(ratchet: bool) -> None:
    keys = ring(ratchet=ratchet)
    names = set(keys.window(NOW).by_name)
    gone = keys.revoke(generation=20_780)
    assert gone == 14  # hours 0 to 13 of the day
    assert len(keys.window(NOW).by_name) == len(names) - 14
    assert keys.issuing_key(NOW) is None
    assert [found.generation for found in keys.reading_keys(NOW)] == [20_779]
    assert keys.writing_keys(NOW) is None
    assert [found.generation for found in keys.reading_keys(NOW + HOUR)] == [20_779]  # the window has moved
    tomorrow = 20_781 * DAY + 120.0
    assert issuing_epoch(keys, tomorrow) == 20_781 * 24
    assert all(key.generation != 20_780 for key in keys.window(tomorrow).by_epoch.values())


# --- records ---------------------------------------------------------------------------------------------------------


@given(written=st.floats(min_value=DAY, max_value=1e10), part=st.floats(min_value=0, max_value=0.999999))
def test_a_record_is_looked_for_until_the_time_it_was_promised(written: float, part: float) -> None:
    keys = ring()
    writing = keys.writing_keys(written)
    assert writing is not None
    until = keys.records_accepted_until(writing)
    assert until - written >= DAY - 60
    later = written + (until - written) * part
    assert writing.generation in [found.generation for found in ring().reading_keys(later)]
    assert writing.generation not in [found.generation for found in ring().reading_keys(until)]


# --- stored state ----------------------------------------------------------------------------------------------------


def test_a_restarted_ratchet_goes_forward_and_never_back() -> None:
    first = ring(ratchet=True)
    old = set(first.window(NOW).by_name)
    state = first.to_state(NOW + 3 * DAY)
    again = KeyRing.from_state(state)
    assert again.fingerprint == first.fingerprint
    assert again.times == first.times == TIMES
    assert again.mode == "ratchet"
    assert set(again.window(NOW + 3 * DAY).by_name) == set(first.window(NOW + 3 * DAY).by_name)
    assert again.to_state(NOW + 3 * DAY) == state
    past = KeyRing.from_state(state)
    assert not old & set(past.window(NOW).by_name)
    assert past.issuing_key(NOW) is None
    assert past.why_not_issuing(NOW) == "the keys for this time were revoked, or lie before the first generation known"


def test_a_state_may_begin_with_the_first_generation() -> None:
    keys = ring(ratchet=True, first_generation=0)
    again = KeyRing.from_state(keys.to_state(120.0))
    assert set(again.window(120.0).by_name) == set(keys.window(120.0).by_name) != set()


def test_a_stored_ring_goes_by_the_times_that_it_is_given() -> None:
    state = ring(times=RingTimes(lifetime_s=HOUR), ratchet=True).to_state(NOW)
    again = KeyRing.from_state(state, skew_s=7, lifetime_s=2 * HOUR)
    assert (again.times.skew_s, again.times.lifetime_s) == (7, 2 * HOUR)
    assert state.count("\n") > 5  # one fact a line, for whoever looks at the file


def test_a_static_ring_has_no_state() -> None:
    with pytest.raises(UsageError, match="ratchet mode"):
        ring().to_state(NOW)


def test_a_ring_that_never_knew_the_time_has_no_state() -> None:
    with pytest.raises(UsageError, match="in use"):
        ring(ratchet=True, first_generation=None).to_state(float("nan"))


@pytest.mark.parametrize(
    "change",
    [
        {"format": "resumption ticket ring 1"},
        {"fleet": "00"},
        {"root": "00" * 32},
        {"root": "ab"},
        {"root": "zz" * 32},
        {"root": 7},
        {"generation": -1},
        {"generation": 2.5},
        {"generation": True},
        {"fingerprint": None},
        {"epoch_s": 0},
        {"epoch_s": "3600"},
        {"generation_s": 5},
        {"more": 1},
    ],
)
def test_damaged_state_is_refused(change: dict[str, object]) -> None:
    state = json.loads(ring(ratchet=True).to_state(NOW))
    with pytest.raises(ConfigurationError):
        KeyRing.from_state(json.dumps({**state, **change}))


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null", "[" * 100_000])
def test_other_text_is_no_state(text: str) -> None:
    with pytest.raises(ConfigurationError, match="no stored ticket keys"):
        KeyRing.from_state(text)


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_ring_is_never_pickled_or_copied(duplicate: Callable[[object], object]) -> None:
    with pytest.raises(TypeError, match="same secret"):
        duplicate(ring())


# --- threads and forks -----------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_ring_survives_a_fork_with_its_lock_free_on_both_sides() -> None:
    keys = ring()
    name = in_child(lambda: getattr(keys.issuing_key(NOW), "name", b""))
    key = keys.issuing_key(NOW)
    assert key is not None
    assert key.name == name
    held = threading.Event()

    class Slow:
        """Roots whose owner is in the middle of moving on while another thread forks."""

        def __getattr__(self, name: str) -> object:
            held.set()
            return getattr(roots, name)

    roots = keys._roots
    keys._roots = Slow()  # type: ignore[assignment]
    thread = threading.Thread(target=lambda: [keys.window(NOW + step * HOUR) for step in range(1, 300)])
    thread.start()
    held.wait()
    assert in_child(lambda: getattr(keys.issuing_key(NOW + 1000 * HOUR), "name", b""))
    thread.join()
    assert keys.issuing_key(NOW + 1000 * HOUR) is not None


def test_threads_that_cross_an_epoch_together_agree_on_one_window() -> None:
    keys = ring()
    keys.issuing_key(NOW)
    barrier = threading.Barrier(8)
    seen: list[tuple[int, bytes]] = []

    def cross() -> None:
        barrier.wait()
        for step in range(200):
            key = keys.issuing_key(NOW + step * 600)
            if key is not None:
                seen.append((key.epoch, key.name))

    threads = [threading.Thread(target=cross) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(seen)) == len({epoch for epoch, _ in seen})
    assert max(seen)[0] == int((NOW + 199 * 600 - 60) // HOUR)


# --- the key that is remembered --------------------------------------------------------------------------------------


@given(
    moments=st.lists(st.floats(NOW - 3 * HOUR, NOW + 3 * HOUR), min_size=1, max_size=12),
    skew_s=st.sampled_from([0, 60, 3599]),
    revoked=st.integers(0, 11),
)
def test_a_remembered_key_is_the_one_that_would_be_found(moments: list[float], skew_s: int, revoked: int) -> None:
    times = RingTimes(skew_s=skew_s)
    remembering, forgetful = ring(times=times), ring(times=times)
    for number, now in enumerate(moments):
        forgetful._issuing = None
        found, plain = remembering.issuing_key(now), forgetful.issuing_key(now)
        assert (found and found.name) == (plain and plain.name)
        if number == revoked and plain is not None:
            assert remembering.revoke(name=plain.name) == forgetful.revoke(name=plain.name)


@pytest.mark.parametrize("skew_s", [0, 60])
def test_a_remembered_key_is_forgotten_to_the_second(skew_s: int) -> None:
    keys = ring(times=RingTimes(skew_s=skew_s))
    start = NOW // HOUR * HOUR
    assert issuing_epoch(keys, start + skew_s) == issuing_epoch(keys, start + HOUR + skew_s - 0.001)
    assert issuing_epoch(keys, start + HOUR + skew_s) == start // HOUR + 1


def test_a_rotation_now_is_not_missed_by_what_is_remembered() -> None:
    keys = ring()
    before = issuing_epoch(keys, NOW)
    assert before is not None
    assert issuing_epoch(keys, NOW) == before
    assert keys.rotate_now(NOW)
    assert issuing_epoch(keys, NOW) == before + 1


def test_closed_keys_are_not_remembered() -> None:
    keys = ring()
    assert keys.issuing_key(NOW) is not None
    keys.close()
    assert keys.issuing_key(NOW) is None
