"""The algorithms of certificate compression: there and back, exactly, and never to more than was agreed."""

from __future__ import annotations

import os
import tracemalloc
import zlib
from typing import Any

import pytest

from resumption.crypto import compression
from resumption.crypto.compression import algorithms_of, compress, decompress
from resumption.errors import ConfigurationError

ZLIB, BROTLI, ZSTD = 1, 2, 3
NAMES = {"zlib": ZLIB, "brotli": BROTLI, "zstd": ZSTD}
every_algorithm = pytest.mark.parametrize("number", NAMES.values(), ids=list(NAMES))


def undone(number: int, data: bytes, length: int) -> bytes | None:
    """None for anything that is no success, libraries' errors among it."""
    try:
        return decompress(number, data, length)
    except Exception:
        return None


@every_algorithm
def test_there_and_back(number: int) -> None:
    for data in (b"x", b"abc" * 1_000, os.urandom(40_000), bytes(131_072)):
        assert decompress(number, compress(number, data), len(data)) == data


@every_algorithm
def test_only_the_exact_length_will_do(number: int) -> None:
    for data in (b"abc" * 500, os.urandom(40_000), bytes(100_000)):
        made = compress(number, data)
        for length in (1, len(data) - 1, len(data) + 1, 2 * len(data)):
            assert undone(number, made, length) is None


@every_algorithm
def test_what_is_cut_or_followed_by_more_is_nothing(number: int) -> None:
    data = os.urandom(300)
    made = compress(number, data)
    for end in range(len(made)):
        assert undone(number, made[:end], len(data)) is None
    assert undone(number, made + b"\0", len(data)) is None
    assert undone(number, made + made, len(data)) is None


@every_algorithm
def test_damage_never_gives_another_length(number: int) -> None:
    data = b"certificate " * 40
    made = compress(number, data)
    for at in range(len(made)):
        for bit in (1, 16, 128):
            broken = bytearray(made)
            broken[at] ^= bit
            answer = undone(number, bytes(broken), len(data))
            assert answer is None or len(answer) == len(data)


def bombs(number: int) -> list[bytes]:
    """Many MB of zeros in a few KB, or less."""
    size = 1 << 26
    if number == ZLIB:
        return [zlib.compress(bytes(size), 9)]
    if number == BROTLI:
        import brotli

        return [brotli.compress(bytes(size), quality=5)]
    import zstandard

    plain = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(size))
    return [plain, zstandard.ZstdCompressor(write_content_size=True).compress(bytes(size))]


@every_algorithm
def test_a_bomb_takes_no_memory(number: int) -> None:
    for bomb in bombs(number):
        tracemalloc.start()
        try:
            assert undone(number, bomb, 5_000) is None
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 1 << 20


def test_the_choice_is_of_names() -> None:
    assert algorithms_of(False) == ()
    assert algorithms_of(True) == (BROTLI, ZSTD, ZLIB)
    assert algorithms_of("zlib") == (ZLIB,)
    assert algorithms_of(["zlib", "zstd"]) == (ZLIB, ZSTD)
    with pytest.raises(ConfigurationError, match="unknown certificate compression"):
        algorithms_of(["gzip"])


def test_without_the_libraries_there_is_zlib(monkeypatch: pytest.MonkeyPatch) -> None:
    compression._is_here.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    try:
        assert algorithms_of(True) == (ZLIB,)
        with pytest.raises(ConfigurationError, match="resumption\\[compression\\]"):
            algorithms_of(["brotli"])
    finally:
        compression._is_here.cache_clear()


def test_a_brotli_that_cannot_be_bounded_counts_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Old:
        Decompressor: Any = object

    compression._is_here.cache_clear()
    monkeypatch.setattr(compression, "_brotli", lambda: Old)
    try:
        assert algorithms_of(True) == (ZSTD, ZLIB)
    finally:
        compression._is_here.cache_clear()
