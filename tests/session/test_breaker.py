from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from resumption.errors import ConfigurationError
from resumption.session.stores.breaker import BreakerChange, BreakerPolicy, BreakerState, CircuitBreaker

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


class Stage:
    """A breaker, its clock, and what it told."""

    def __init__(self, *, draw: bytes = b"\x80\x00", **policy: float) -> None:
        self.now = 1000.0
        self.told: list[BreakerChange] = []
        self.breaker = CircuitBreaker(
            BreakerPolicy(**policy),  # type: ignore[arg-type]
            clock=lambda: self.now,
            random=lambda length: draw[:length],
            on_change=self.told.append,
        )

    def fail(self, times: int, every_s: float = 0.0) -> None:
        for _ in range(times):
            self.breaker.failed("test")
            self.now += every_s

    @property
    def states(self) -> list[BreakerState]:
        return [change.after for change in self.told]


def test_it_is_closed_and_stays_so_while_calls_succeed() -> None:
    stage = Stage()
    for _ in range(1000):
        stage.breaker.succeeded(0.001)
        stage.now += 0.01
    assert stage.breaker.is_closed
    assert stage.breaker.state is CLOSED
    assert stage.told == []


def test_the_fifth_failure_in_ten_seconds_opens_it() -> None:
    stage = Stage()
    stage.fail(4)
    assert stage.breaker.is_closed
    stage.now += 10.0
    stage.breaker.failed("TimeoutError")
    assert not stage.breaker.is_closed
    (change,) = stage.told
    assert change == (CLOSED, OPEN, "5 failures within 10 s: TimeoutError")
    assert stage.breaker.opened == 1


def test_failures_that_lie_far_apart_do_not_open_it() -> None:
    stage = Stage()
    stage.fail(100, every_s=2.6)  # the fifth is always more than ten seconds after the first
    assert stage.breaker.is_closed


def test_when_more_than_one_call_in_twenty_is_over_the_budget_it_opens() -> None:
    stage = Stage(budget_s=0.02)
    for _ in range(95):
        stage.breaker.succeeded(0.02)
    for _ in range(5):
        stage.breaker.succeeded(0.021)
        assert stage.breaker.is_closed  # five of a hundred
    stage.breaker.succeeded(0.021)
    assert not stage.breaker.is_closed
    assert stage.told[0].cause == "6 of 101 calls took over 20 ms"


def test_a_few_slow_calls_alone_say_nothing_yet() -> None:
    stage = Stage()
    for _ in range(19):
        stage.breaker.succeeded(1.0)
    assert stage.breaker.is_closed
    stage.breaker.succeeded(1.0)
    assert not stage.breaker.is_closed


def test_slow_calls_are_forgotten_with_their_time() -> None:
    stage = Stage()
    for _ in range(15):
        stage.breaker.succeeded(1.0)
    stage.now += 10.1
    for _ in range(100):
        stage.breaker.succeeded(0.001)
    stage.breaker.succeeded(1.0)
    assert stage.breaker.is_closed
    assert len(stage.breaker._calls) == 101


def test_what_is_remembered_is_bounded() -> None:
    stage = Stage()
    for _ in range(5000):
        stage.breaker.succeeded(0.001)
    assert len(stage.breaker._calls) == 512


def test_about_once_a_second_one_caller_may_probe() -> None:
    stage = Stage()
    stage.fail(5)
    assert not stage.breaker.begins_probe()
    stage.now += 0.99
    assert not stage.breaker.begins_probe()
    stage.now += 0.01
    assert [stage.breaker.begins_probe() for _ in range(5)] == [True, False, False, False, False]
    assert stage.breaker.state is HALF_OPEN
    assert not stage.breaker.is_closed
    stage.breaker.probed(False)
    assert stage.breaker.state is OPEN
    stage.now += 1.0
    assert stage.breaker.begins_probe()
    stage.breaker.probed(True)
    assert stage.breaker.is_closed
    assert stage.states == [OPEN, HALF_OPEN, OPEN, HALF_OPEN, CLOSED]
    assert [change.before for change in stage.told] == [CLOSED, OPEN, HALF_OPEN, OPEN, HALF_OPEN]


def test_a_closed_one_is_not_probed() -> None:
    stage = Stage()
    assert not stage.breaker.begins_probe()
    stage.breaker.probed(False)
    assert stage.breaker.is_closed
    assert stage.told == []


def test_a_probe_that_is_never_heard_of_again_is_followed_by_another() -> None:
    stage = Stage()
    stage.fail(5)
    stage.now += 1.0
    assert stage.breaker.begins_probe()
    stage.now += 1.0
    assert stage.breaker.begins_probe()
    assert stage.states == [OPEN, HALF_OPEN]


@pytest.mark.parametrize(("draw", "wait"), [(b"\x00\x00", 0.75), (b"\x80\x00", 1.0), (b"\xff\xff", 1.2499)])
def test_the_wait_has_jitter(draw: bytes, wait: float) -> None:
    stage = Stage(draw=draw)
    stage.fail(5)
    stage.now += wait - 0.001
    assert not stage.breaker.begins_probe()
    stage.now += 0.002
    assert stage.breaker.begins_probe()


def test_after_closing_old_failures_count_no_more() -> None:
    stage = Stage()
    stage.fail(5)
    stage.now += 1.0
    stage.breaker.begins_probe()
    stage.breaker.probed(True)
    stage.fail(4)
    assert stage.breaker.is_closed
    stage.fail(1)
    assert not stage.breaker.is_closed
    assert stage.breaker.opened == 2


def test_calls_that_come_back_while_it_is_open_change_nothing() -> None:
    stage = Stage()
    stage.fail(5)
    stage.fail(10)
    for _ in range(30):
        stage.breaker.succeeded(1.0)
    assert stage.states == [OPEN]


def test_of_many_threads_one_probes() -> None:
    stage = Stage()
    stage.fail(5)
    stage.now += 2.0
    answers: list[bool] = []
    start = threading.Barrier(8)

    def ask() -> None:
        start.wait()
        answers.append(stage.breaker.begins_probe())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers.count(True) == 1


def test_the_callback_may_ask_the_breaker() -> None:
    seen: list[BreakerState] = []
    breaker = CircuitBreaker(BreakerPolicy(failures=1))
    tell: Callable[[BreakerChange], object] = lambda change: seen.append(breaker.state)  # noqa: E731
    breaker.on_change = tell
    breaker.failed()
    assert seen == [OPEN]


@pytest.mark.parametrize(
    "policy",
    [{"failures": 0}, {"window_s": 0.0}, {"budget_s": -1.0}, {"probe_every_s": float("nan")}, {"jitter": 1.0}],
)
def test_policies_that_make_no_sense_are_refused(policy: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        BreakerPolicy(**policy)  # type: ignore[arg-type]
