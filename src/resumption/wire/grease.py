"""GREASE: values that mean nothing, offered so that peers keep ignoring what they do not know. RFC 8701.

A client puts one into each list of its hello. They are chosen by the hello's own random, so a hello and the one that
follows a HelloRetryRequest have the same ones, and a source of randomness that repeats itself repeats the hello. There
are 16 choices, one for each `Grease` in `GREASE`, so that a client can keep its packed hellos: 0.3 us for a hello that
has been packed ahead. An extension of the block has two bytes of type, a list two bytes for each entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from resumption.constants import ExtensionType

__all__ = ["GREASE", "GREASE_VALUES", "Grease", "grease_for"]

#: Suites, groups, versions, extensions and signature schemes that are reserved for this. RFC 8701, section 2.
GREASE_VALUES: Final = tuple(0x0A0A + 0x1010 * n for n in range(16))
_MODES: Final = (0x0B, 0x2A, 0x49, 0x68, 0x87, 0xA6, 0xC5, 0xE4)

_ALPN: Final = int(ExtensionType.application_layer_protocol_negotiation)
_PSK_MODES: Final = int(ExtensionType.psk_key_exchange_modes)
_SUPPORTED_GROUPS: Final = int(ExtensionType.supported_groups)
_SUPPORTED_VERSIONS: Final = int(ExtensionType.supported_versions)
_SIGNATURE_ALGORITHMS: Final = int(ExtensionType.signature_algorithms)


class Grease:
    """The values of one hello. ``key_share`` is a packed entry for ``group``: one byte. RFC 8701, section 3.1."""

    __slots__ = ("extension", "group", "key_share", "last_extension", "mode", "protocol", "scheme", "suite", "version")

    def __init__(self, seed: int) -> None:
        def value(step: int) -> int:
            return GREASE_VALUES[(seed + step) & 15]

        self.suite = value(0)
        self.group = value(3)
        self.version = value(6)
        self.extension = value(9)
        self.last_extension = value(11)
        self.scheme = value(13)
        self.protocol = value(14).to_bytes(2, "big")
        self.mode = _MODES[seed & 7]
        self.key_share = self.group.to_bytes(2, "big") + b"\x00\x01\x00"

    def extensions(self, bodies: Mapping[int, bytes]) -> dict[int, bytes]:
        """The extensions of a hello, one in front and one behind them, and an entry first in each list."""
        greased = {self.extension: b"", **bodies, self.last_extension: b"\0"}
        for number, entry in (
            (_SUPPORTED_GROUPS, self.group.to_bytes(2, "big")),
            (_SIGNATURE_ALGORITHMS, self.scheme.to_bytes(2, "big")),
            (_ALPN, b"\x02" + self.protocol),
        ):
            if number in bodies:
                greased[number] = _with_first(bodies[number], 2, entry)
        for number, entry in (
            (_SUPPORTED_VERSIONS, self.version.to_bytes(2, "big")),
            (_PSK_MODES, bytes([self.mode])),
        ):
            if number in bodies:
                greased[number] = _with_first(bodies[number], 1, entry)
        return greased


def _with_first(body: bytes, width: int, entry: bytes) -> bytes:
    """A list with one more entry in front; ``width`` bytes in front of all tell its length."""
    length = int.from_bytes(body[:width], "big") + len(entry)
    return length.to_bytes(width, "big") + entry + body[width:]


GREASE: Final = tuple(Grease(seed) for seed in range(16))


def grease_for(random: bytes) -> Grease:
    """The values for the hello with this random."""
    return GREASE[random[-1] & 15 if random else 0]
