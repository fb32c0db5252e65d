"""Hypothesis strategies for the parts that messages are made of."""

from __future__ import annotations

from hypothesis import strategies as st

uint8s = st.integers(0, 2**8 - 1)
uint16s = st.integers(0, 2**16 - 1)
uint32s = st.integers(0, 2**32 - 1)
extension_maps = st.dictionaries(uint16s, st.binary(max_size=40), max_size=6)


def blobs(floor: int, ceiling: int) -> st.SearchStrategy[bytes]:
    """Byte strings of ``floor`` to ``ceiling`` bytes, mostly short, now and then as long as they may be."""
    short = st.binary(min_size=floor, max_size=min(ceiling, floor + 40))
    return short | st.just(bytes(ceiling)) if ceiling < 2**16 else short


def uint16_lists(ceiling: int) -> st.SearchStrategy[tuple[int, ...]]:
    """One to many numbers whose list takes at most ``ceiling`` bytes."""
    short = st.lists(uint16s, min_size=1, max_size=min(ceiling // 2, 80)).map(tuple)
    return short | st.just((0x1301,) * (ceiling // 2))
