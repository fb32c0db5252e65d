"""How values lie in a store that is a server of its own: each with the moment at which it ends.

Such servers expire entries by clocks and in steps of their own. The moment that the caller named stands in front of the
value, eight bytes, and decides when it is read; what the server is told only has it cleaned up, never too early.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable

from resumption.errors import StoreError

__all__ = ["LONGEST_VALUE", "first_live", "moment_of", "pack_entry", "seconds_left", "unpack_entry"]

LONGEST_VALUE = 65_536  # bytes

_MOMENT = struct.Struct(">d")
_LONGEST_WAIT_S = 10 * 366 * 86_400.0  # later than that is never


def pack_entry(value: bytes, expires_at: float) -> bytes:
    """What to keep. Raises `StoreError` if the value is over 64 KiB."""
    if len(value) > LONGEST_VALUE:
        raise StoreError(f"a value of {len(value)} bytes is over the limit of {LONGEST_VALUE}")
    return _MOMENT.pack(expires_at) + value


def unpack_entry(entry: object, now: float) -> bytes | None:
    """The value, if this is an entry whose time has not come."""
    if not isinstance(entry, bytes) or len(entry) < _MOMENT.size or not now < _MOMENT.unpack_from(entry)[0]:
        return None
    return entry[_MOMENT.size :]


def moment_of(head: bytes) -> float:
    """When an entry ends, from its first eight bytes; seconds since the epoch."""
    moment: float = _MOMENT.unpack(head)[0]
    return moment


def first_live(entries: Iterable[object], now: float) -> bytes | None:
    """The first value among the entries that is still to be had."""
    for entry in entries:
        value = unpack_entry(entry, now)
        if value is not None:
            return value
    return None


def seconds_left(expires_at: float, now: float) -> float | None:
    """How long to keep an entry; None without end, 0 if its time has passed already (or is no time)."""
    left = expires_at - now
    if not left > 0:
        return 0.0
    return None if left > _LONGEST_WAIT_S or math.isinf(left) else left
