"""The order of expiry against a sorted list, and its promises about cost and size."""

from __future__ import annotations

import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from resumption.session.expiry import ExpiryOrder, Slot

MOMENTS = st.one_of(
    st.integers(0, 100).map(float),
    st.floats(0, 200, allow_nan=False),
    st.sampled_from([15.999, 16.0, 16.001, 1e9, 2.0**61, 2.0**62, 2.0**70, math.inf]),
)


class OrderMachine(RuleBasedStateMachine):
    """Whatever is put in, taken out and handed over: the same as with a list that is sorted each time."""

    def __init__(self) -> None:
        super().__init__()
        self.order: ExpiryOrder[int] = ExpiryOrder()
        self.model: list[tuple[float, int]] = []  # arrival numbers grow, so sorting keeps ties in order
        self.slots: dict[int, Slot[int]] = {}
        self.arrivals = 0

    @rule(moments=st.lists(MOMENTS, min_size=1, max_size=40))
    def add(self, moments: list[float]) -> None:
        for moment in moments:
            self.arrivals += 1
            self.slots[self.arrivals] = self.order.add(self.arrivals, moment)
            self.model.append((moment, self.arrivals))
        self.model.sort()

    @rule(data=st.data(), share=st.integers(1, 3))
    def discard(self, data: st.DataObject, share: int) -> None:
        if not self.model:
            return
        many = max(1, len(self.model) // share)
        for entry in data.draw(st.permutations(self.model))[:many]:
            self.order.discard(self.slots[entry[1]])
            assert self.slots[entry[1]].item is None
            self.order.discard(self.slots[entry[1]])  # again: nothing
            self.model.remove(entry)

    @rule(now=st.one_of(st.none(), MOMENTS), limit=st.integers(0, 30))
    def pop_expired(self, now: float | None, limit: int) -> None:
        expected = [entry for entry in self.model if now is None or entry[0] < now][:limit]
        assert self.order.pop_expired(now, limit) == [arrival for _, arrival in expected]
        self.model = self.model[len(expected) :]

    @rule()
    def pop_first(self) -> None:
        expected = self.model.pop(0)[1] if self.model else None
        assert self.order.pop_first() == expected

    @invariant()
    def holes_are_bounded(self) -> None:
        held = sum(len(bucket.slots) for bucket in self.order._buckets.values())
        assert held <= 2 * len(self.model) + 33 * (len(self.order._buckets) - self.order._empty)
        assert self.order._empty == sum(not bucket.live for bucket in self.order._buckets.values())
        assert sorted(self.order._numbers) == sorted(self.order._buckets)


OrderMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestOrder = OrderMachine.TestCase


def test_equal_moments_leave_in_the_order_of_arrival_even_after_the_bucket_was_opened() -> None:
    order: ExpiryOrder[str] = ExpiryOrder()
    for name, moment in (("late", 9), ("a", 5), ("first", 1), ("b", 5)):
        order.add(name, moment)
    assert order.pop_first() == "first"
    order.add("c", 5)
    order.add("d", 4)
    assert order.pop_expired(None, 10) == ["d", "a", "b", "c", "late"]
    assert order.pop_first() is None


def test_what_expires_at_the_moment_itself_stays() -> None:
    order: ExpiryOrder[str] = ExpiryOrder()
    order.add("a", 16)
    order.add("never", math.inf)
    assert order.pop_expired(16, 10) == []
    assert order.pop_expired(math.nextafter(16, 17), 10) == ["a"]
    assert order.pop_expired(math.inf, 10) == []
    assert order.pop_expired(None, 10) == ["never"]


@pytest.mark.parametrize("moment", [100.0, math.inf])
def test_coming_and_going_leaves_nothing_behind(moment: float) -> None:
    order: ExpiryOrder[int] = ExpiryOrder()
    kept = order.add(0, moment)
    for number in range(10_000):
        order.discard(order.add(number, moment))
    for number in range(10_000):  # and in ten thousand different buckets
        order.discard(order.add(number, 1000.0 + 16 * number))
    assert sum(len(bucket.slots) for bucket in order._buckets.values()) < 50
    assert len(order._buckets) < 100
    assert kept.item == 0
    assert order.pop_first() == 0


def test_handing_over_does_not_touch_what_stays() -> None:
    """Counted, not timed: a flush of nothing looks at one slot of one bucket."""
    looked_at = 0

    class Counting(Slot[int]):
        @property
        def expires_at(self) -> float:  # type: ignore[override]
            nonlocal looked_at
            looked_at += 1
            return self.moment

        @expires_at.setter
        def expires_at(self, moment: float) -> None:
            self.moment = moment

    order: ExpiryOrder[int] = ExpiryOrder()
    for number in range(5_000):
        order.add(number, 100 + number / 10)
    for bucket in order._buckets.values():
        counting = [Counting() for _ in bucket.slots]
        for one, slot in zip(counting, bucket.slots, strict=True):
            one.expires_at, one.item = slot.expires_at, slot.item
        bucket.slots = list(counting)
    assert order.pop_expired(50, 256) == []
    assert looked_at == 0
    assert order.pop_expired(100.05, 256) == [0]
    assert looked_at == 2
