"""The short version of `python3 dev.py soak replay`."""

from __future__ import annotations

from pathlib import Path

from tests.peers import require_peer
from tests.soak.replay import restart, soak


def test_f85_one_flight_is_taken_once_by_processes_that_share_a_store_and_are_restarted(tmp_path: Path) -> None:
    file = f"sqlite://{tmp_path}/%s.db?busy_timeout_s=30"
    first, restarted, lost = soak(180, 2, file % "register", file % "empty")
    assert first == {"accepted": 1, "seen": 59}
    assert restarted == {"seen": 60}
    assert lost == {"warming-up": 1, "seen": 59}


def test_f86_no_flight_is_taken_twice_by_processes_whose_store_is_killed_and_comes_back_empty() -> None:
    require_peer("memcached")
    told, taken = restart(40, 2, "memcached")
    assert told.total() == 40
    assert taken
    assert max(taken.values()) == 1
    assert told["accepted afterwards"] == 0, "the clock stands still: the wait is never over"
    assert told["warming-up afterwards"] > 0
