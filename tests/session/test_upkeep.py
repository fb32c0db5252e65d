"""Looking at things now and then, without a thread that waits and without anybody waiting for it."""

from __future__ import annotations

import os
import threading

import pytest

from resumption.errors import StoreError
from resumption.session.fleet.upkeep import Upkeep
from tests.session.test_forking import in_child
from tests.session.ticket_cases import Clock


def test_a_round_starts_when_it_is_time_and_not_before() -> None:
    clock, done = Clock(0.0), []
    upkeep = Upkeep([lambda: done.append(clock.now)], interval_s=5.0, monotonic=clock)
    clock.now = 4.9
    assert upkeep.remind() is None
    clock.now = 5.0
    thread = upkeep.remind()
    assert thread is not None
    thread.join()
    assert upkeep.remind() is None
    assert done == [5.0]
    upkeep.run()
    assert done == [5.0, 5.0]


def test_a_round_that_hangs_is_not_joined_by_another() -> None:
    clock, go, begun, rounds = Clock(0.0), threading.Event(), threading.Event(), []

    def hang() -> None:
        rounds.append(clock.now)
        begun.set()
        go.wait(10)

    upkeep = Upkeep([hang], interval_s=1.0, monotonic=clock)
    clock.now = 1.0
    first = upkeep.remind()
    assert first is not None
    assert begun.wait(10)
    clock.now = 2.0
    second = upkeep.remind()
    assert second is not None
    second.join()
    go.set()
    first.join()
    assert rounds == [1.0]


def test_a_job_that_fails_is_logged_and_the_next_is_done(caplog: pytest.LogCaptureFixture) -> None:
    done = []

    def fail() -> None:
        raise StoreError("the store is down")

    Upkeep([fail, lambda: done.append(1)], interval_s=1.0, monotonic=Clock(0.0)).run()
    assert done == [1]
    assert "the store is down" in caplog.text


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_that_was_forked_during_a_round_does_its_own() -> None:
    go, begun = threading.Event(), threading.Event()
    parent = os.getpid()

    def job() -> None:
        if os.getpid() == parent:
            begun.set()
            go.wait(10)

    upkeep = Upkeep([job], interval_s=0.0, monotonic=Clock(0.0))
    thread = upkeep.remind()
    assert thread is not None
    assert begun.wait(10)

    def run() -> bytes:
        upkeep.run()
        return b"done"

    assert in_child(run) == b"done"
    go.set()
    thread.join()
