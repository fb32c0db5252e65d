"""Names of servers: the one canonical form of a name, and whether a certificate's name covers it. RFC 9525.

What it does: turns what a user typed (``Example.COM.``, ``münchen.example``, ``[::1]``) into a `ServerName`, the form
in which names are compared, sent as SNI and used as keys; and decides if a dNSName of a certificate matches. What it
leaves to others: reading names from certificates (`certificates`), building paths (`trust`).

Internationalised labels go through the standard library's ``idna`` codec on purpose. `socket` resolves a host name with
that very codec, so the name that is verified is always the name that was connected to; a second IDNA table (2008, with
or without mappings) would make the two differ for a handful of characters. A caller who wants IDNA 2008 passes the
A-label (``xn--...``), which goes through unchanged.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from resumption.errors import ConfigurationError

__all__ = ["Address", "ServerName", "name_matches", "server_name_of"]

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_NAME_LENGTH = 253  # characters, without the final dot: RFC 1035, section 2.3.4
_MAX_INPUT_LENGTH = 1_000  # U-labels shrink when they are encoded, but the codec's cost grows with the square
_LABEL = re.compile(r"[a-z0-9_-]{1,63}")


@dataclass(frozen=True, slots=True)
class ServerName:
    """A server's name in canonical form: a lower-case A-label name without final dot, or an address.

    ``text`` is what to print, compare and use in keys. ``address`` is set for an address literal: such a name is never
    sent as SNI (RFC 6066, section 3) and matches only iPAddress names (RFC 9525, section 6.2).
    """

    text: str
    address: Address | None = None

    @property
    def is_address(self) -> bool:
        """Whether the name is an address literal."""
        return self.address is not None

    def __str__(self) -> str:
        return self.text


@lru_cache(maxsize=1024)
def server_name_of(server_name: str) -> ServerName:
    """The canonical form of ``server_name``.

    Accepts DNS names in any case, with or without a final dot, with underscores, with U-labels, and address literals
    (IPv6 with or without brackets; a zone such as ``%eth0`` is dropped, for no certificate names one). Raises
    `ConfigurationError` for text that can be no server's name. RFC 9525, section 6.2; RFC 6066, section 3.
    """
    name = server_name
    if not name.isascii():
        if len(name) > _MAX_INPUT_LENGTH:
            raise _refusal(f"it has {len(name)} characters")
        try:
            name = name.encode("idna").decode("ascii")
        except UnicodeError:
            raise _refusal("it has an international label that cannot be encoded") from None
    name = name.lower().removesuffix(".")
    address = _address_of(name)  # only now: the codec turns full-width digits and dots into an address
    if address is not None:
        return ServerName(_text_of(address), address)
    if not name:
        raise _refusal("it is empty")
    if len(name) > MAX_NAME_LENGTH:
        raise _refusal(f"it has {len(name)} characters, at most {MAX_NAME_LENGTH} are possible")
    if not all(map(_LABEL.fullmatch, name.split("."))):
        raise _refusal("each label needs 1 to 63 letters, digits, hyphens or underscores")
    return ServerName(name)


def _refusal(why: str) -> ConfigurationError:
    return ConfigurationError(f"this is not a server name: {why}; give a host name or an IP address, without a port")


def _address_of(text: str) -> Address | None:
    """``text`` as an address, or None. Only literals that `ipaddress` reads: no octal, hexadecimal or short forms."""
    if ":" not in text:
        try:
            return ipaddress.IPv4Address(text)
        except ValueError:
            return None
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return ipaddress.IPv6Address(inner.partition("%")[0])
    except ValueError:
        return None


def _text_of(address: Address) -> str:
    """The one text form of ``address``; Python before 3.13 writes mapped ones in hexadecimal. RFC 5952, section 5."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return f"::ffff:{mapped}" if mapped is not None else str(address)


def name_matches(pattern: str, name: str) -> bool:
    """Whether the dNSName ``pattern`` of a certificate covers ``name``, a canonical DNS name. RFC 9525, section 6.3.

    A wildcard is the whole first label and stands for exactly one label. A pattern that breaks these rules matches
    nothing. Never call this with an address: those match iPAddress names only.
    """
    pattern = pattern.lower()
    if pattern == name:
        return "*" not in pattern
    if not pattern.startswith("*."):
        return False
    first, dot, parent = name.partition(".")
    return bool(first and dot) and parent == pattern[2:] and "*" not in parent
