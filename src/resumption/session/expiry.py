"""Things in the order in which they expire, exactly, without paying for a sorted structure.

A cache asks three things of it: put this in, take that out, and hand over what expires first. Lifetimes are mixed and
change, so insertion order will not do; a heap costs several microseconds a touch at a million entries. Here moments
fall into buckets of 16 seconds. A bucket is a list that is only appended to, and sorted (which is nearly free when it
came in order) once its time to be emptied has come; a small heap holds the buckets' numbers. So adding and taking out
cost the same however many there are, and handing over costs in proportion to what is handed over.

Taking out leaves a hole in the list; a list with more holes than entries is written anew, so holes never cost more
than what filled them. Ties go out in the order in which they came in. Not locked: that is the owner's business.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from operator import attrgetter
from typing import Final, Generic, TypeVar

__all__ = ["ExpiryOrder", "Slot"]

T = TypeVar("T")

_BUCKET_BITS: Final = 4  # 16 seconds; about 2200 entries when a million live for two hours
_FAR: Final = 2.0**62  # seconds; what lies beyond is one bucket,
_LAST: Final = 2**63  # the last
_SLACK: Final = 32  # holes that are not worth a thought

_moment = attrgetter("expires_at")


class Slot(Generic[T]):
    """The place of one item, None once it was taken out. ``weight`` is whatever the owner wants to remember."""

    __slots__ = ("expires_at", "item", "weight")

    expires_at: float
    item: T | None
    weight: int


_new_slot = Slot.__new__


class _Bucket(Generic[T]):
    __slots__ = ("head", "in_order", "live", "opened", "slots")

    def __init__(self) -> None:
        self.slots: list[Slot[T]] = []
        self.head = 0  # slots before this one were handed over
        self.live = 0
        self.in_order = True
        self.opened = False  # once emptying has begun, it is kept in order

    def add(self, slot: Slot[T]) -> None:
        """Put in one that comes before the last."""
        self.live += 1
        slots = self.slots
        if self.opened and self.in_order:
            slots.insert(bisect_right(slots, slot.expires_at, self.head, key=_moment), slot)
        else:
            slots.append(slot)
            self.in_order = False

    def close_gaps(self) -> None:
        """Write the list anew."""
        self.slots = [slot for slot in self.slots[self.head :] if slot.item is not None]
        self.head = 0

    def open(self) -> None:
        """Put in order what has to be handed over from the front."""
        if not self.in_order:
            self.slots = [slot for slot in self.slots[self.head :] if slot.item is not None]
            self.slots.sort(key=_moment)
            self.head = 0
            self.in_order = True
        self.opened = True


class ExpiryOrder(Generic[T]):
    """A collection whose items leave in the order of their expiry; equal moments in the order of their arrival."""

    __slots__ = ("_buckets", "_empty", "_numbers")

    def __init__(self) -> None:
        self._buckets: dict[int, _Bucket[T]] = {}  # its keys are the numbers in the heap
        self._numbers: list[int] = []
        self._empty = 0  # buckets with nothing in them

    def add(self, item: T, expires_at: float, weight: int = 0) -> Slot[T]:
        """Put ``item`` in. Keep the slot: `discard` wants it. ``expires_at`` may be infinite, not NaN."""
        slot: Slot[T] = _new_slot(Slot)  # 0.1 us less than with an __init__
        slot.expires_at = expires_at
        slot.item = item
        slot.weight = weight
        number = int(expires_at) >> _BUCKET_BITS if expires_at < _FAR else _LAST
        bucket = self._buckets.get(number)
        if bucket is None:
            bucket = self._buckets[number] = _Bucket()
            heapq.heappush(self._numbers, number)
        elif not bucket.live:
            self._empty -= 1
        slots = bucket.slots
        if not slots or expires_at >= slots[-1].expires_at:  # the usual case: it came in order
            slots.append(slot)
            bucket.live += 1
        else:
            bucket.add(slot)
        return slot

    def discard(self, slot: Slot[T]) -> None:
        """Take out the item in ``slot``; nothing happens if it has left already."""
        if slot.item is None:
            return
        slot.item = None
        expires_at = slot.expires_at
        bucket = self._buckets[int(expires_at) >> _BUCKET_BITS if expires_at < _FAR else _LAST]
        bucket.live = live = bucket.live - 1
        if live:
            if len(bucket.slots) > 2 * live + _SLACK:
                bucket.close_gaps()
        else:
            self._emptied(bucket)

    def pop_first(self) -> T | None:
        """Hand over the item that expires first; None when there is none."""
        items = self.pop_expired(None, 1)
        return items[0] if items else None

    def pop_expired(self, now: float | None, limit: int) -> list[T]:
        """Hand over, in order, at most ``limit`` items whose moment lies before ``now``; with None, of any moment."""
        items: list[T] = []
        while self._numbers:
            number = self._numbers[0]
            bucket = self._buckets[number]
            if not bucket.live:
                heapq.heappop(self._numbers)
                del self._buckets[number]
                self._empty -= 1
                continue
            if len(items) >= limit or (now is not None and number > _bucket_of(now)):
                break
            bucket.open()
            if not self._pop_from(bucket, now, limit, items):
                break
        return items

    def _pop_from(self, bucket: _Bucket[T], now: float | None, limit: int, items: list[T]) -> bool:
        """Move items from the front of ``bucket`` to ``items``; True if that emptied it."""
        slots, at = bucket.slots, bucket.head
        while bucket.live and len(items) < limit:
            slot = slots[at]
            item = slot.item
            if item is not None:
                if now is not None and not slot.expires_at < now:
                    break
                slot.item = None
                bucket.live -= 1
                items.append(item)
            at += 1
        bucket.head = at
        if bucket.live:
            if len(slots) > 2 * bucket.live + _SLACK:
                bucket.close_gaps()
            return False
        self._emptied(bucket)
        return True

    def _emptied(self, bucket: _Bucket[T]) -> None:
        bucket.slots = []
        bucket.head = 0
        bucket.in_order = True
        bucket.opened = False
        self._empty += 1
        if self._empty > len(self._buckets) // 2 + _SLACK:
            self._buckets = {number: bucket for number, bucket in self._buckets.items() if bucket.live}
            self._numbers = sorted(self._buckets)  # a sorted list is a heap
            self._empty = 0


def _bucket_of(moment: float) -> int:
    return int(moment) >> _BUCKET_BITS if moment < _FAR else _LAST
