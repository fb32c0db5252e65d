"""Compression of certificates: the algorithms of RFC 8879, over plain bytes.

What it does: compresses, and decompresses a peer's bytes to a length that is known before, never to more. What it
leaves to others: who offers what (configuration, handshake), and what the bytes mean.

zlib is always there; brotli and zstd where their libraries are (the extra ``compression``), imported when first used.
"""

from __future__ import annotations

import importlib
import importlib.util
import zlib
from collections.abc import Iterable
from functools import cache
from typing import Any, TypeAlias

from resumption.errors import ConfigurationError

__all__ = ["CompressionChoice", "algorithms_of", "compress", "decompress"]

CompressionChoice: TypeAlias = bool | Iterable[str]
_ZLIB, _BROTLI, _ZSTD = 1, 2, 3  # CertificateCompressionAlgorithm, RFC 8879, section 7.3
_NUMBERS = {"brotli": _BROTLI, "zstd": _ZSTD, "zlib": _ZLIB}  # in our order of preference
_BEST_ZLIB, _BEST_BROTLI, _BEST_ZSTD = 9, 11, 19  # once per chain


def algorithms_of(choice: CompressionChoice) -> tuple[int, ...]:
    """The numbers of "zlib", "brotli" and "zstd" as chosen; True is all that are here, False none.

    Raises `ConfigurationError` for a name that is unknown, or whose library is missing or too old.
    """
    if isinstance(choice, bool):
        return tuple(number for number in _NUMBERS.values() if choice and _is_here(number))
    names = (choice,) if isinstance(choice, str) else tuple(choice)
    for name in names:
        if name not in _NUMBERS:
            raise ConfigurationError(f"unknown certificate compression {name!r}: there are zlib, brotli and zstd")
        if not _is_here(_NUMBERS[name]):
            raise ConfigurationError(
                f"the library for {name} is missing, or older than brotli 1.2: install resumption[compression]"
            )
    return tuple(_NUMBERS[name] for name in names)


def compress(algorithm: int, data: bytes) -> bytes:
    """``data``, as small as the algorithm makes it; some ms of work for a chain."""
    if algorithm == _BROTLI:
        return bytes(_brotli().compress(data, quality=_BEST_BROTLI))
    if algorithm == _ZSTD:
        import zstandard

        return zstandard.ZstdCompressor(level=_BEST_ZSTD).compress(data)
    return zlib.compress(data, _BEST_ZLIB)


def decompress(algorithm: int, data: bytes, length: int) -> bytes | None:
    """The ``length`` bytes (at least one) that all of ``data`` decompresses to; None if that is not so.

    Takes memory for little more than ``length`` bytes, whatever ``data`` is. Raises the library's errors.
    """
    body = (_unbrotli if algorithm == _BROTLI else _unzstd if algorithm == _ZSTD else _inflate)(data, length)
    return body if body is not None and len(body) == length else None


@cache
def _is_here(algorithm: int) -> bool:
    if algorithm == _BROTLI:
        if importlib.util.find_spec("brotli") is None:
            return False
        return hasattr(_brotli().Decompressor, "can_accept_more_data")  # from 1.2 on its output can be bounded
    return algorithm == _ZLIB or importlib.util.find_spec("zstandard") is not None


def _brotli() -> Any:
    return importlib.import_module("brotli")  # it has no types


def _inflate(data: bytes, length: int) -> bytes | None:
    stream = zlib.decompressobj()
    body = stream.decompress(data, length + 1)
    return body if stream.eof and not stream.unused_data else None


def _unbrotli(data: bytes, length: int) -> bytes | None:
    stream = _brotli().Decompressor()
    body: bytes = stream.process(data, output_buffer_limit=length + 1)
    while len(body) <= length and not stream.can_accept_more_data():
        more = stream.process(b"", output_buffer_limit=length + 1)
        if not more:
            break
        body += more
    return body if stream.is_finished() else None


def _unzstd(data: bytes, length: int) -> bytes | None:
    import zstandard

    if zstandard.frame_content_size(data) not in (length, -1):  # what a frame says of itself would be allocated
        return None
    return zstandard.ZstdDecompressor().decompress(data, max_output_size=length, allow_extra_data=False)
