"""The compact form: every fact of a session, its flag and its secret, in one short byte string.

This is what goes into tickets and stores, always sealed by them: nothing here is encrypted or authenticated. OpenSSL's
encoding (`session.formats.der`) is for interchange; it loses the chain, the role, the partition and the lineage,
which decide where a session may resume, and takes several times as long.

Layout, version 1: one fixed block of numbers, then id, id context and secret, then what is present of the variable
fields in the order of their bits. Each session has exactly one packed form and each accepted byte string is the packed
form of one session. Reading is one pass, bounded by the input's length.
"""

from __future__ import annotations

from struct import Struct
from struct import error as StructError
from typing import Any, Final, NoReturn

from resumption.constants import MAX_ID_CONTEXT_LENGTH, MAX_SECRET_LENGTH, MAX_SESSION_ID_LENGTH
from resumption.errors import SessionError, SessionFormatError
from resumption.session.facts import Draft, SessionData

__all__ = ["pack", "unpack"]

_FORMAT: Final = 1

# format, state, present, version, cipher, time, timeout, auth_time, deadline, policy_epoch, verify_result,
# ticket_lifetime_hint, ticket_age_add, max_early_data, flags, group, compression, max_fragment_mode,
# length of: session_id, id_context, secret
_FIXED: Final = Struct(">BBHHHdQddQIIIIIIBBBBH")
_pack_fixed = _FIXED.pack
_unpack_fixed = _FIXED.unpack_from
_FIXED_SIZE: Final = _FIXED.size

# state: two bits of role, and two flags
_ROLES: Final = {"": 0, "client": 1, "server": 2}
_ROLE_NAMES: Final = ("", "client", "server")
_NOT_RESUMABLE: Final = 4
_CERTIFICATE_IS_FIRST: Final = 8  # of the chain; it is not written twice
_STATE_LIMIT: Final = 16

# present: one bit for each variable field
_HOSTNAME, _HINT, _IDENTITY, _TICKET, _SRP, _ALPN, _APPDATA = 1, 2, 4, 8, 16, 32, 64
_PUBLIC_KEY, _PARTITION, _VERIFIED_NAME, _REPLAY_DOMAIN = 128, 256, 512, 1024
_CERTIFICATE, _CHAIN = 2048, 4096
_PRESENT_LIMIT: Final = 8192

_END_OF_TIME: Final = 2.0**63


def pack(data: SessionData, secret: bytes, *, not_resumable: bool = False) -> bytes:
    """The packed form. The secret is in it, in the clear.

    `SessionError` if a fact is out of its range, which cannot be for one that came from a handshake or a decoder.
    """
    try:
        return _pack(data, secret, not_resumable)
    except (StructError, OverflowError, TypeError, AttributeError, KeyError, UnicodeEncodeError):
        raise SessionError("a fact of the session has a type or size that the packed form cannot hold") from None


def _pack(data: SessionData, secret: bytes, not_resumable: bool) -> bytes:
    session_id, id_context, made = data.session_id, data.id_context, data.time
    if len(session_id) > MAX_SESSION_ID_LENGTH or len(id_context) > MAX_ID_CONTEXT_LENGTH:
        raise SessionError("a session's id and id context have at most 32 bytes")
    if len(secret) > MAX_SECRET_LENGTH:
        raise SessionError(f"a session's secret has at most {MAX_SECRET_LENGTH} bytes, got {len(secret)}")
    if not (0.0 <= made < _END_OF_TIME and float(made) == made and data.auth_time >= 0.0 and data.deadline >= 0.0):
        raise SessionError("a session's times are seconds since the epoch, not negative")
    state = _ROLES[data.role]
    if not_resumable:
        state |= _NOT_RESUMABLE
    present = 0
    parts = [b"", session_id, id_context, secret]
    if data.hostname is not None:
        present |= _HOSTNAME
        _add(parts, data.hostname.encode("utf-8", "surrogateescape"))
    if data.psk_identity_hint is not None:
        present |= _HINT
        _add(parts, data.psk_identity_hint)
    if data.psk_identity is not None:
        present |= _IDENTITY
        _add(parts, data.psk_identity)
    if data.ticket:
        present |= _TICKET
        _add(parts, data.ticket)
    if data.srp_username is not None:
        present |= _SRP
        _add(parts, data.srp_username)
    if data.alpn is not None:
        present |= _ALPN
        _add(parts, data.alpn)
    if data.ticket_appdata:
        present |= _APPDATA
        _add(parts, data.ticket_appdata)
    if data.peer_public_key is not None:
        present |= _PUBLIC_KEY
        _add(parts, data.peer_public_key)
    if data.partition:
        present |= _PARTITION
        _add(parts, data.partition)
    if data.verified_name is not None:
        present |= _VERIFIED_NAME
        _add(parts, data.verified_name.encode("utf-8", "surrogateescape"))
    if data.replay_domain:
        present |= _REPLAY_DOMAIN
        _add(parts, data.replay_domain)
    certificate, chain = data.peer_certificate, data.peer_chain
    if chain and certificate == chain[0]:
        state |= _CERTIFICATE_IS_FIRST
    elif certificate is not None:
        present |= _CERTIFICATE
        _add_long(parts, certificate)
    if chain:
        present |= _CHAIN
        parts.append(len(chain).to_bytes(1, "big"))
        for one in chain:
            _add_long(parts, one)
    parts[0] = _pack_fixed(
        _FORMAT,
        state,
        present,
        data.version,
        data.cipher,
        made,
        data.timeout,
        data.auth_time,
        data.deadline,
        data.policy_epoch,
        data.verify_result,
        data.ticket_lifetime_hint,
        data.ticket_age_add,
        data.max_early_data,
        data.flags,
        data.group,
        data.compression,
        data.max_fragment_mode,
        len(session_id),
        len(id_context),
        len(secret),
    )
    return b"".join(parts)


def _add(parts: list[bytes], content: bytes) -> None:
    parts.append(len(content).to_bytes(2, "big"))
    parts.append(content)


def _add_long(parts: list[bytes], content: bytes) -> None:
    parts.append(len(content).to_bytes(3, "big"))
    parts.append(content)


def unpack(packed: bytes | bytearray | memoryview) -> tuple[SessionData, bytes, bool]:
    """The facts, the secret, and whether the session was marked not resumable.

    Anything that `pack` did not write is `SessionFormatError`. Nothing says who wrote it: authenticate before.
    """
    if not isinstance(packed, bytes):
        packed = bytes(packed)
    if not packed or packed[0] != _FORMAT:
        raise SessionFormatError(f"not a packed session of version {_FORMAT}")
    draft: Any = Draft()
    try:
        (
            _,
            state,
            present,
            draft.version,
            draft.cipher,
            made,
            draft.timeout,
            auth_time,
            deadline,
            draft.policy_epoch,
            draft.verify_result,
            draft.ticket_lifetime_hint,
            draft.ticket_age_add,
            draft.max_early_data,
            draft.flags,
            draft.group,
            draft.compression,
            draft.max_fragment_mode,
            id_length,
            context_length,
            secret_length,
        ) = _unpack_fixed(packed)
    except StructError:
        raise SessionFormatError("a packed session is cut short") from None
    if state >= _STATE_LIMIT or present >= _PRESENT_LIMIT or state & 3 == 3:
        _fail("unknown flags")
    if id_length > MAX_SESSION_ID_LENGTH or context_length > MAX_ID_CONTEXT_LENGTH or secret_length > MAX_SECRET_LENGTH:
        _fail("the id, id context or secret is too long")
    if not (0.0 <= made < _END_OF_TIME and auth_time >= 0.0 and deadline >= 0.0):
        _fail("a time is out of range")
    draft.time, draft.auth_time, draft.deadline = made, auth_time, deadline
    draft.role = _ROLE_NAMES[state & 3]
    after_id = _FIXED_SIZE + id_length
    after_context = after_id + context_length
    at = after_context + secret_length
    draft.session_id = packed[_FIXED_SIZE:after_id]
    draft.id_context = packed[after_id:after_context]
    secret = packed[after_context:at]
    draft.hostname = draft.psk_identity_hint = draft.psk_identity = draft.srp_username = draft.alpn = None
    draft.peer_public_key = draft.verified_name = draft.peer_certificate = None
    draft.ticket = draft.ticket_appdata = draft.partition = draft.replay_domain = b""
    draft.peer_chain = ()
    if present:
        at = _unpack_variable(packed, at, present, draft)
    if at != len(packed):
        _fail("its length is not what it says")
    if state & _CERTIFICATE_IS_FIRST:
        if not present & _CHAIN or present & _CERTIFICATE:
            _fail("the certificate is said to be where it is not")
        draft.peer_certificate = draft.peer_chain[0]
    elif present & _CHAIN and draft.peer_certificate == draft.peer_chain[0]:
        _fail("the certificate is written twice")
    draft.__class__ = SessionData
    return draft, secret, bool(state & _NOT_RESUMABLE)


def _unpack_variable(packed: bytes, at: int, present: int, draft: Any) -> int:
    """Read the variable fields into ``draft``; where they end."""
    if present & _HOSTNAME:
        content, at = _take(packed, at)
        draft.hostname = content.decode("utf-8", "surrogateescape")
    if present & _HINT:
        draft.psk_identity_hint, at = _take(packed, at)
    if present & _IDENTITY:
        draft.psk_identity, at = _take(packed, at)
    if present & _TICKET:
        draft.ticket, at = _take_some(packed, at)
    if present & _SRP:
        draft.srp_username, at = _take(packed, at)
    if present & _ALPN:
        draft.alpn, at = _take(packed, at)
    if present & _APPDATA:
        draft.ticket_appdata, at = _take_some(packed, at)
    if present & _PUBLIC_KEY:
        draft.peer_public_key, at = _take(packed, at)
    if present & _PARTITION:
        draft.partition, at = _take_some(packed, at)
    if present & _VERIFIED_NAME:
        content, at = _take(packed, at)
        draft.verified_name = content.decode("utf-8", "surrogateescape")
    if present & _REPLAY_DOMAIN:
        draft.replay_domain, at = _take_some(packed, at)
    if present & _CERTIFICATE:
        draft.peer_certificate, at = _take_long(packed, at)
    if present & _CHAIN:
        number = packed[at] if at < len(packed) else 0
        if not number:
            _fail("an empty chain")
        at += 1
        chain = []
        for _ in range(number):
            one, at = _take_long(packed, at)
            chain.append(one)
        draft.peer_chain = tuple(chain)
    return at


def _take(packed: bytes, at: int) -> tuple[bytes, int]:
    """One field and where it ends. An end past the end of the input shows when all lengths are added up."""
    start = at + 2
    if start > len(packed):
        _fail("a field is cut short")
    stop = start + (packed[at] << 8 | packed[at + 1])
    return packed[start:stop], stop


def _take_some(packed: bytes, at: int) -> tuple[bytes, int]:
    content, stop = _take(packed, at)
    if not content:
        _fail("an empty field is written out")
    return content, stop


def _take_long(packed: bytes, at: int) -> tuple[bytes, int]:
    start = at + 3
    stop = start + int.from_bytes(packed[at:start], "big")
    return packed[start:stop], stop


def _fail(what: str) -> NoReturn:
    raise SessionFormatError(f"not a packed session: {what}")
