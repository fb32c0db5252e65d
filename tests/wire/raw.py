"""Bytes written by hand, and the vectors: what the tests compare the codecs with, sharing no code with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resumption.errors import DecodeError, IllegalParameter

VECTORS = Path(__file__).parents[1] / "vectors"

HELLOS = {path.stem: path.read_bytes() for path in sorted((VECTORS / "hellos").glob("*.bin"))}


def messages(name: str) -> list[tuple[str, bytes]]:
    """The messages of one vector file: class name and whole message."""
    lines = (VECTORS / "messages" / f"{name}.txt").read_text().splitlines()
    pairs = [line.split() for line in lines if not line.startswith("#")]
    return [(kind, bytes.fromhex(text)) for kind, text in pairs]


def u(width: int, value: int) -> bytes:
    """A number of ``width`` bytes."""
    return value.to_bytes(width, "big")


def vec(width: int, *content: bytes) -> bytes:
    """A vector with a prefix of ``width`` bytes."""
    joined = b"".join(content)
    return u(width, len(joined)) + joined


def ext(extension_type: int, body: bytes = b"") -> bytes:
    """One extension."""
    return u(2, extension_type) + vec(2, body)


def is_canonical(parse: Callable[[bytes], Any], pack: Callable[[Any], bytes], data: bytes) -> bool:
    """True if ``data`` parses; then it must also pack to itself. Only documented errors may come instead."""
    try:
        value = parse(data)
    except (DecodeError, IllegalParameter):
        return False
    assert pack(value) == data
    return True


def mutations(data: bytes) -> list[bytes]:
    """``data`` with each byte in turn changed in some telling ways, and with one byte more or less in each place."""
    changed = []
    for at, byte in enumerate(data):
        changed += [
            data[:at] + bytes((new,)) + data[at + 1 :] for new in {0, 0xFF, byte ^ 1, byte ^ 0x80, (byte + 1) % 256}
        ]
        changed += [data[:at] + data[at + 1 :], data[:at] + b"\0" + data[at:]]
    return changed


def refuses_every_prefix(parse: Callable[[bytes], Any], data: bytes, *, but: tuple[int, ...] = ()) -> None:
    """Every cut of ``data`` is a `DecodeError`, but for cuts at the lengths in ``but``."""
    parse(data)
    for length in range(len(data)):
        if length not in but:
            with pytest.raises(DecodeError):
                parse(data[:length])
