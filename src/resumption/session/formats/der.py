"""OpenSSL's SSL_SESSION encoding: DER and PEM, byte for byte.

Sessions go to and come from OpenSSL, tools built on it, and files through this module. It carries what OpenSSL knows
of a session and no more: our own facts (role, partition, lineage) travel in `session.formats.packed`. The encoding
holds the secret: whoever reads it can resume the session and read what it protected.

Reading is stricter than OpenSSL's: DER only, minimal lengths and integers, fields in order, nothing unknown, nothing
left over. It is one pass over the bytes without recursion, and every integer is bounded before it is made. Two things
are looser: any cipher suite number but 0 is accepted, because a session can be inspected and stored without its suite
being spoken; and the peer's certificate only has to be a DER SEQUENCE, because parsing it would cost more than all the
rest and most readers never ask (it is checked when it is used). A hand-written reader and writer, not cryptography's
declarative ASN.1: the reasons and numbers are in docs/adr/0003-session-der.md.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable
from typing import Any, Final, NoReturn

from resumption.constants import MAX_ID_CONTEXT_LENGTH, MAX_SECRET_LENGTH, MAX_SESSION_ID_LENGTH
from resumption.errors import SessionError, SessionFormatError
from resumption.session.facts import DER_DEFAULT_TIMEOUT_S, Draft, SessionData

__all__ = ["PEM_LABEL", "decode", "encode", "from_pem", "to_pem"]

PEM_LABEL: Final = "SSL SESSION PARAMETERS"

_INTEGER, _OCTET_STRING, _SEQUENCE, _KEY_ARG = 0x02, 0x04, 0x30, 0x80
_INT32, _INT64, _UINT8, _UINT32 = 2**31 - 1, 2**63 - 1, 2**8 - 1, 2**32 - 1

# The fields [1] to [20]: what each contains, and for integers the greatest value.
_MOST: Final = {
    1: _INT64,  # time
    2: _INT64,  # timeout
    5: _INT32,  # verify_result
    9: _UINT32,  # ticket lifetime hint
    13: _UINT32,  # flags
    14: _UINT32,  # ticket age_add
    15: _UINT32,  # max_early_data
    17: _UINT8,  # maximum fragment mode
    19: _UINT32,  # group
}
_INNER: Final = bytes(_INTEGER if n in _MOST else _SEQUENCE if n == 3 else _OCTET_STRING for n in range(21))
_LAST_FIELD: Final = len(_INNER) - 1
_from_bytes = int.from_bytes


# --- writing ---------------------------------------------------------------------------------------------------------


def encode(data: SessionData, secret: bytes) -> bytes:
    """The session as OpenSSL's i2d_SSL_SESSION writes it; the secret is inside.

    `SessionError` if a fact does not fit the format, or there is no cipher suite or version yet.
    """
    try:
        return _encode(data, secret)
    except (OverflowError, TypeError, AttributeError, UnicodeEncodeError):
        raise SessionError("a fact of the session has a type or size that SSL_SESSION cannot hold") from None


def _encode(data: SessionData, secret: bytes) -> bytes:
    version, cipher, session_id, id_context = data.version, data.cipher, data.session_id, data.id_context
    if not _is_known_version(version):
        raise SessionError(f"a session with version {version:#06x} cannot be encoded: none was negotiated")
    if not cipher:
        raise SessionError("a session without a cipher suite cannot be encoded: none was negotiated")
    if len(session_id) > MAX_SESSION_ID_LENGTH or len(id_context) > MAX_ID_CONTEXT_LENGTH:
        raise SessionError("a session's id and id context have at most 32 bytes")
    if len(secret) > MAX_SECRET_LENGTH:
        raise SessionError(f"a session's secret has at most {MAX_SECRET_LENGTH} bytes, got {len(secret)}")
    parts = [
        b"\x02\x01\x01\x02\x02" if version < 0x8000 else b"\x02\x01\x01\x02\x03\x00",
        version.to_bytes(2, "big"),
        b"\x04\x02",
        cipher.to_bytes(2, "big"),
        bytes((_OCTET_STRING, len(session_id))),
        session_id,
        _header(_OCTET_STRING, len(secret)),
        secret,
    ]
    add = parts.append
    if not data.time >= 0:  # not a number fails this too
        raise SessionError("a session's time is in seconds since the epoch, not negative")
    made = int(data.time)
    if made:
        add(_number(1, made))
    if data.timeout:
        add(_number(2, data.timeout))
    if data.peer_certificate is not None:
        _check_sequence(data.peer_certificate, 0, len(data.peer_certificate), SessionError)
        add(_header(0xA3, len(data.peer_certificate)))
        add(data.peer_certificate)
    add(bytes((0xA4, len(id_context) + 2, _OCTET_STRING, len(id_context))))
    add(id_context)
    if data.verify_result:
        add(_number(5, data.verify_result))
    if data.hostname is not None:
        add(_octets(6, data.hostname.encode("utf-8", "surrogateescape")))
    if data.psk_identity_hint is not None:
        add(_octets(7, data.psk_identity_hint))
    if data.psk_identity is not None:
        add(_octets(8, data.psk_identity))
    if data.ticket_lifetime_hint:
        add(_number(9, data.ticket_lifetime_hint))
    if data.ticket:
        add(_octets(10, data.ticket))
    if data.compression:
        add(_octets(11, data.compression.to_bytes(1, "big")))
    if data.srp_username is not None:
        add(_octets(12, data.srp_username))
    if data.flags:
        add(_number(13, data.flags))
    if data.ticket_age_add:
        add(_number(14, data.ticket_age_add))
    if data.max_early_data:
        add(_number(15, data.max_early_data))
    if data.alpn is not None:
        add(_octets(16, data.alpn))
    if data.max_fragment_mode:
        add(_number(17, data.max_fragment_mode))
    if data.ticket_appdata:
        add(_octets(18, data.ticket_appdata))
    add(_number(19, data.group))
    if data.peer_public_key is not None:
        _check_sequence(data.peer_public_key, 0, len(data.peer_public_key), SessionError)
        add(_octets(20, data.peer_public_key))
    body = b"".join(parts)
    return _header(_SEQUENCE, len(body)) + body


def _header(tag: int, length: int) -> bytes:
    """A tag and a DER length."""
    if length < 0x80:
        return bytes((tag, length))
    width = (length.bit_length() + 7) >> 3
    return bytes((tag, 0x80 | width)) + length.to_bytes(width, "big")


def _octets(field: int, content: bytes) -> bytes:
    """An explicitly tagged OCTET STRING."""
    length = len(content)
    if length < 0x7E:
        return bytes((0xA0 | field, length + 2, _OCTET_STRING, length)) + content
    inner = _header(_OCTET_STRING, length)
    return _header(0xA0 | field, len(inner) + length) + inner + content


def _number(field: int, value: int) -> bytes:
    """An explicitly tagged INTEGER, not negative, with a leading zero byte where the sign needs it."""
    if not 0 <= value <= _MOST[field]:
        raise SessionError(f"field [{field}] of a session is a number from 0 to {_MOST[field]}")
    width = (value.bit_length() >> 3) + 1
    return bytes((0xA0 | field, width + 2, _INTEGER, width)) + value.to_bytes(width, "big")


# --- reading ---------------------------------------------------------------------------------------------------------


def decode(data: bytes | bytearray | memoryview, now: Callable[[], float]) -> tuple[SessionData, bytes, int]:
    """Read one SSL_SESSION at the start of ``data``: its facts, its secret, and how many bytes it took.

    What follows it is not looked at. A session written without a time was made ``now()`` (seconds since the epoch);
    one without a timeout gets 3 s. Anything else than a well-formed encoding is `SessionFormatError`.
    """
    if not isinstance(data, bytes):
        data = bytes(data)
    try:
        return _decode(data, now)
    except IndexError:
        raise SessionFormatError("the session's encoding is cut short") from None


def _decode(data: bytes, now: Callable[[], float]) -> tuple[SessionData, bytes, int]:
    if data[0] != _SEQUENCE:
        _fail("not a SEQUENCE", 0)
    at, end = (2, 2 + data[1]) if data[1] < 0x80 else _long(data, 1)
    if end > len(data):
        _fail("the SEQUENCE is cut short", 0)

    # Structure version, protocol version, cipher suite: INTEGER 1, INTEGER, two bytes.
    if data[at : at + 3] != b"\x02\x01\x01":
        _fail("not version 1 of the structure", at)
    if data[at + 3 : at + 5] == b"\x02\x02" and 0 < data[at + 5] < 0x80:
        version = data[at + 5] << 8 | data[at + 6]
        at += 7
    elif data[at + 3 : at + 6] == b"\x02\x03\x00" and data[at + 6] >= 0x80:
        version = data[at + 6] << 8 | data[at + 7]
        at += 8
    else:
        _fail("no protocol version", at + 3)
    if not _is_known_version(version):
        _fail("unknown protocol version", at)
    if data[at : at + 2] != b"\x04\x02":
        _fail("the cipher suite is not two bytes", at)
    cipher = data[at + 2] << 8 | data[at + 3]
    if not cipher:
        _fail("no cipher suite", at)
    at += 4

    # Session id and secret: OCTET STRINGs.
    size = data[at + 1]
    if data[at] != _OCTET_STRING or size > MAX_SESSION_ID_LENGTH:
        _fail("the session id is not a string of at most 32 bytes", at)
    session_id = data[at + 2 : at + 2 + size]
    at += 2 + size
    if data[at] != _OCTET_STRING:
        _fail("no secret", at)
    start, stop = (at + 2, at + 2 + data[at + 1]) if data[at + 1] < 0x80 else _long(data, at + 1)
    if stop > end or stop - start > MAX_SECRET_LENGTH:
        _fail("the secret is cut short or longer than 512 bytes", at)
    secret = data[start:stop]
    at = stop

    # [0] IMPLICIT is left over from SSLv2 and means nothing.
    if at < end and data[at] == _KEY_ARG:
        _, at = (at + 2, at + 2 + data[at + 1]) if data[at + 1] < 0x80 else _long(data, at + 1)

    # The rest is [n] EXPLICIT, ascending. A read past `end` shows in `stop`, one past the data is an IndexError.
    found: list[Any] = [None] * (_LAST_FIELD + 1)
    last = 0
    while at < end:
        field = data[at] - 0xA0
        if not last < field <= _LAST_FIELD:
            _fail("a field that is unknown or out of order", at)
        last = field
        size = data[at + 1]
        start, stop = (at + 2, at + 2 + size) if size < 0x80 else _long(data, at + 1)
        if stop > end:
            _fail(f"field [{field}] is cut short", at)
        inner = _INNER[field]
        if data[start] != inner:
            _fail(f"field [{field}] has the wrong type", at)
        size = data[start + 1]
        content, inner_stop = (start + 2, start + 2 + size) if size < 0x80 else _long(data, start + 1)
        if inner_stop != stop:
            _fail(f"field [{field}] does not fill its tag", at)
        if inner == _OCTET_STRING:
            found[field] = data[content:stop]
        elif inner == _INTEGER:
            value = data[content]
            if value >= 0x80 or not 0 < size <= 8 or (not value and size > 1 and data[content + 1] < 0x80):
                _fail(f"field [{field}] is not a minimal integer of at most 64 bits", at)
            if size > 1:
                value = _from_bytes(data[content:stop], "big")
                if value > _MOST[field]:
                    _fail(f"field [{field}] is too large", at)
            found[field] = value
        elif content == stop:
            _fail("the certificate is empty", at)
        else:
            found[field] = data[start:stop]
        at = stop
    if at != end:
        _fail("the fields do not fill the SEQUENCE", at)

    return _facts(version, cipher, session_id, found, now), secret, end


def _facts(version: int, cipher: int, session_id: bytes, found: list[Any], now: Callable[[], float]) -> SessionData:
    """Check what is left to check and put it together."""
    draft: Any = Draft()
    draft.version = version
    draft.cipher = cipher
    draft.session_id = session_id
    (
        _,
        made,
        timeout,
        draft.peer_certificate,
        id_context,
        verify_result,
        hostname,
        hint,
        identity,
        lifetime_hint,
        ticket,
        compression,
        srp_username,
        flags,
        age_add,
        max_early_data,
        draft.alpn,
        max_fragment_mode,
        appdata,
        group,
        public_key,
    ) = found
    if id_context and len(id_context) > MAX_ID_CONTEXT_LENGTH:
        raise SessionFormatError("the id context is longer than 32 bytes")
    if compression is not None and len(compression) != 1:
        raise SessionFormatError("the compression method is not one byte")
    if public_key is not None:
        _check_sequence(public_key, 0, len(public_key), SessionFormatError)
    draft.id_context = id_context or b""
    draft.time = made or now()
    draft.timeout = timeout or DER_DEFAULT_TIMEOUT_S
    draft.peer_chain = ()
    draft.verify_result = verify_result or 0
    # These are C strings to OpenSSL: they stop at the first NUL.
    draft.hostname = None if hostname is None else hostname.partition(b"\0")[0].decode("utf-8", "surrogateescape")
    draft.psk_identity_hint = None if hint is None else hint.partition(b"\0")[0]
    draft.psk_identity = None if identity is None else identity.partition(b"\0")[0]
    draft.srp_username = None if srp_username is None else srp_username.partition(b"\0")[0]
    draft.ticket_lifetime_hint = lifetime_hint or 0
    draft.ticket = ticket or b""
    draft.compression = compression[0] if compression else 0
    draft.flags = flags or 0
    draft.ticket_age_add = age_add or 0
    draft.max_early_data = max_early_data or 0
    draft.max_fragment_mode = max_fragment_mode or 0
    draft.ticket_appdata = appdata or b""
    draft.group = group or 0
    draft.peer_public_key = public_key
    draft.role = ""
    draft.partition = draft.replay_domain = b""
    draft.policy_epoch = 0
    draft.auth_time = draft.deadline = 0.0
    draft.verified_name = None
    draft.__class__ = SessionData
    facts: SessionData = draft
    return facts


def _is_known_version(version: int) -> bool:
    """SSLv3 and TLS (0x03..), DTLS (0xfe..), and the DTLS that came before DTLS (0x0100)."""
    return version >> 8 in (0x03, 0xFE) or version == 0x0100


def _long(data: bytes, at: int) -> tuple[int, int]:
    """Start and end of the content after the long-form length at ``at``."""
    width = data[at] & 0x7F
    if width == 1:
        length = data[at + 1]
        if length >= 0x80:
            return at + 2, at + 2 + length
    elif width == 2:
        length = data[at + 1] << 8 | data[at + 2]
        if length >= 0x100:
            return at + 3, at + 3 + length
    elif width in (3, 4):
        length = _from_bytes(data[at + 1 : at + 1 + width], "big")
        if length >> (width - 1 << 3):
            return at + 1 + width, at + 1 + width + length
    raise SessionFormatError(f"not a session: a length that is not minimal, or not possible (at byte {at})")


def _check_sequence(data: bytes, start: int, stop: int, error: type[SessionError | SessionFormatError]) -> None:
    """Raise ``error`` unless one DER SEQUENCE, with something in it, fills ``data`` from ``start`` to ``stop``."""
    try:
        if stop - start > 2 and data[start] == _SEQUENCE:
            length = data[start + 1]
            filled = start + 2 + length if length < 0x80 else _long(data, start + 1)[1]
            if filled == stop:
                return
    except (SessionFormatError, IndexError):
        pass
    raise error("a certificate or public key is one DER SEQUENCE, and this is not")


def _fail(what: str, at: int) -> NoReturn:
    raise SessionFormatError(f"not a session: {what} (at byte {at})")


# --- PEM -------------------------------------------------------------------------------------------------------------

_BEGIN = f"-----BEGIN {PEM_LABEL}-----".encode()
_END = f"-----END {PEM_LABEL}-----".encode()


def to_pem(der: bytes) -> str:
    """The encoding as PEM: lines of 64 columns between OpenSSL's own markers."""
    lines = [binascii.b2a_base64(der[at : at + 48]).decode("ascii") for at in range(0, len(der), 48)]
    return f"-----BEGIN {PEM_LABEL}-----\n{''.join(lines)}-----END {PEM_LABEL}-----\n"


def from_pem(text: str | bytes) -> bytes:
    """The DER inside the first session block of ``text``. `SessionFormatError` if there is none, or it is damaged.

    Like OpenSSL's reader it passes over other text and other PEM blocks around it, and takes either line ending and
    spaces at the ends of lines; unlike it, it takes no headers and no other character inside the block.
    """
    content = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else bytes(text)
    lines = iter(content.splitlines())
    if not any(line.rstrip() == _BEGIN for line in lines):
        raise SessionFormatError(f'no line "-----BEGIN {PEM_LABEL}-----"')
    body = []
    for line in lines:
        stripped = line.rstrip()
        if stripped == _END:
            break
        body.append(stripped)
    else:
        raise SessionFormatError(f'no line "-----END {PEM_LABEL}-----"')
    try:
        return binascii.a2b_base64(b"".join(body), strict_mode=True)
    except binascii.Error:
        raise SessionFormatError("the session block is not base64") from None
