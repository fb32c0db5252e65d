"""The short version of `python3 dev.py soak handshakes`."""

from __future__ import annotations

from tests.soak.handshakes import KINDS, MAX_GROWTH, soak


def test_f49_handshakes_of_every_kind_leave_nothing_behind_but_what_the_caches_hold() -> None:
    elsewhere = soak(1)[2]  # what other tests hold, and what a first use builds
    done, before, after = soak(500)
    assert set(done) == set(KINDS)
    assert after.live - after.accounted == elsewhere.live - elsewhere.accounted
    assert after.blocks / before.blocks - 1 < MAX_GROWTH
