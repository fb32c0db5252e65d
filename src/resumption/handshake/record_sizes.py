"""How large a record each side may send: record_size_limit (RFC 8449) and max_fragment_length (RFC 6066, section 4).

A client asks for one of the two if it is configured to; a server grants either, record_size_limit first. Both come down
to a number of content bytes for each direction, which the record layer is told of once. Nothing here runs in a
handshake that negotiates neither.
"""

from __future__ import annotations

from typing import NamedTuple

from resumption.config import FRAGMENT_MODES, Config
from resumption.constants import MAX_PLAINTEXT_LENGTH, ExtensionType, ProtocolVersion
from resumption.errors import IllegalParameter
from resumption.handshake.hello import ClientHelloFacts
from resumption.handshake.offer import Offered
from resumption.wire import extensions

__all__ = ["RecordSizes", "asked_mode", "grant", "granted"]

_MAX_FRAGMENT_LENGTH = int(ExtensionType.max_fragment_length)
_RECORD_SIZE_LIMIT = int(ExtensionType.record_size_limit)
_TLS13 = int(ProtocolVersion.TLSv1_3)
_LENGTHS = {mode: length for length, mode in FRAGMENT_MODES.items()}
_LOWEST_LIMIT = 64  # bytes, RFC 8449, section 4
_NOT_NEGOTIATED = 255  # as a session's max_fragment_mode


class RecordSizes(NamedTuple):
    """What was agreed on, in bytes of content of one record; ``extension`` is the server's answer.

    ``unprotected``: whether records without keys are limited too (RFC 6066), or only protected ones (RFC 8449).
    """

    send: int
    receive: int
    unprotected: bool
    max_fragment_mode: int
    extension: tuple[int, bytes]


def asked_mode(facts: ClientHelloFacts) -> int:
    """The max_fragment_mode that a handshake of this client would have here: 255 if it asks for none."""
    if facts.record_size_limit is not None or facts.max_fragment_length is None:
        return _NOT_NEGOTIATED
    return facts.max_fragment_length


def grant(config: Config, facts: ClientHelloFacts, version: int) -> RecordSizes | None:
    """What a server answers; None if the client asks for nothing.

    Raises `IllegalParameter` for a limit below 64 and for a fragment length that is not one of the four. A client that
    sends both means record_size_limit. RFC 8449, sections 4 and 5; RFC 6066, section 4.
    """
    limit, mode = facts.record_size_limit, facts.max_fragment_length
    if limit is not None:
        _check_limit(limit)
        ours = _our_limit(config, version)
        answer = extensions.pack_record_size_limit(ours)
        return RecordSizes(
            _content(limit, version), _content(ours, version), False, _NOT_NEGOTIATED, (_RECORD_SIZE_LIMIT, answer)
        )
    if mode is None:
        return None
    length = _LENGTHS.get(mode)
    if length is None:
        raise IllegalParameter(f"the client asks for max_fragment_length {mode}, which is not defined")
    return RecordSizes(length, length, True, mode, (_MAX_FRAGMENT_LENGTH, extensions.pack_max_fragment_length(mode)))


def granted(offered: Offered, received: dict[int, bytes], version: int) -> RecordSizes | None:
    """What a server's answer means to the client that asked; None if it says nothing of sizes.

    Raises `IllegalParameter` for a limit below 64 or above what the version allows, for another fragment length than
    the one asked for, and for an answer to both extensions. RFC 8449, sections 4 and 5; RFC 6066, section 4.
    """
    if _RECORD_SIZE_LIMIT in received:
        if _MAX_FRAGMENT_LENGTH in received:
            raise IllegalParameter("the server answers record_size_limit and max_fragment_length together")
        body = received[_RECORD_SIZE_LIMIT]
        limit = extensions.parse_record_size_limit(body)
        _check_limit(limit)
        if limit > _highest(version):
            raise IllegalParameter(f"a record_size_limit of {limit} is above what this version allows")
        ours = _our_limit(offered.config, version)
        return RecordSizes(
            _content(limit, version), _content(ours, version), False, _NOT_NEGOTIATED, (_RECORD_SIZE_LIMIT, body)
        )
    if _MAX_FRAGMENT_LENGTH not in received:
        return None
    body = received[_MAX_FRAGMENT_LENGTH]
    mode = extensions.parse_max_fragment_length(body)
    length = offered.config.max_fragment_length
    if length is None or FRAGMENT_MODES[length] != mode:
        raise IllegalParameter(f"the server answers max_fragment_length {mode}, which was not asked for")
    return RecordSizes(length, length, True, mode, (_MAX_FRAGMENT_LENGTH, body))


def _check_limit(limit: int) -> None:
    if limit < _LOWEST_LIMIT:
        raise IllegalParameter(f"a record_size_limit of {limit} bytes, at least {_LOWEST_LIMIT} are allowed")


def _highest(version: int) -> int:
    """TLS 1.3 counts the byte of the content type. RFC 8449, section 4."""
    return MAX_PLAINTEXT_LENGTH + 1 if version == _TLS13 else MAX_PLAINTEXT_LENGTH


def _our_limit(config: Config, version: int) -> int:
    return min(config.record_size_limit or MAX_PLAINTEXT_LENGTH + 1, _highest(version))


def _content(limit: int, version: int) -> int:
    """Bytes of content in a record of this limit; a peer's limit beyond the protocol's own means nothing more."""
    return min(limit, _highest(version)) - (version == _TLS13)
