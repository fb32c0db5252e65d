"""Record protection: one record in, one record out. RFC 9846, section 5; RFC 5246, section 6.2.3.3; RFC 5288; RFC 7905.

What it does: seals content into complete records and opens them again, for TLS 1.3, for TLS 1.2 AEAD suites, and
without protection for the first flights. What it leaves to others: cutting the byte stream into records
(`wire.records`), what may come when, and alerts (connection). A sealer or opener belongs to one direction of one
connection; it is not locked, and two threads must never seal with one at the same time.

All sealers share the methods of `RecordSealer`, all openers those of `RecordOpener`. An opener that raises has not
advanced past the record if the record did not authenticate, so records of refused 0-RTT can be tried and skipped.

Fast by being plain. Bound AEAD methods in slots, the nonce by integer xor, the header from a table for records up to
1 KiB, the content type read before any padding is looked for. ``encrypt_into`` with a reused buffer was measured and
not taken: with `cryptography` 50 it loses at every size, by 0.25 us at 100 bytes and 0.1 us at 16 KiB, because
``encrypt`` already writes into the bytes that it returns.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import NoReturn, Protocol, TypeAlias

from cryptography.exceptions import InvalidTag

from resumption.constants import (
    MAX_CIPHERTEXT_LENGTH_12,
    MAX_CIPHERTEXT_LENGTH_13,
    MAX_PLAINTEXT_LENGTH,
    ContentType,
    name_of,
)
from resumption.crypto.schedule13 import next_traffic_secret, traffic_keys
from resumption.crypto.suites import SEQUENCE_LIMIT, TAG_LENGTH, SuiteFacts
from resumption.errors import BadRecordMac, InternalError, RecordOverflow, UnexpectedMessage, UsageError

__all__ = [
    "KeyWorn",
    "PlainOpener",
    "PlainSealer",
    "RecordOpener",
    "RecordOpener12",
    "RecordOpener13",
    "RecordSealer",
    "RecordSealer12",
    "RecordSealer13",
]

_Data: TypeAlias = bytes | bytearray | memoryview
_Cipher: TypeAlias = Callable[[_Data, _Data, _Data], bytes]

_CHANGE_CIPHER_SPEC = int(ContentType.change_cipher_spec)
_ALERT = int(ContentType.alert)
_HANDSHAKE = int(ContentType.handshake)
_APPLICATION_DATA = int(ContentType.application_data)

_TYPE_BYTES = tuple(bytes((value,)) for value in range(256))
_PREFIX_13 = b"\x17\x03\x03"
_TABLED = 1024 + 1 + TAG_LENGTH + 1  # the content type is encrypted too
_MAX_INNER_LENGTH = MAX_PLAINTEXT_LENGTH + 1
_HEADERS_13 = tuple(_PREFIX_13 + length.to_bytes(2, "big") for length in range(_TABLED))  # saves 0.06 us a record

_EXPLICIT_NONCE_LENGTH = 8  # TLS 1.2 AES-GCM: RFC 5288, section 3
_pack_header = Struct(">BHH").pack  # type, version, length
_pack_header_and_nonce = Struct(">BHHQ").pack
_pack_associated_data_12 = Struct(">QBHH").pack  # sequence, type, version, plaintext length


class KeyWorn(Exception):
    """Not an error: the peer's key has half of its records behind it, and it is time to ask for another one."""


class RecordSealer(Protocol):
    """What every sealer offers."""

    @property
    def remaining(self) -> int:
        """How many records this key may still seal. The connection changes keys, or ends, before it is 0."""

    def seal(self, content_type: int, data: _Data, padding: int = 0) -> bytes:
        """One complete record of ``data`` (at most 2**14 bytes with its ``padding``), header included."""

    def seal_many(self, content_type: int, data: _Data, fragment_length: int = MAX_PLAINTEXT_LENGTH) -> bytes:
        """All of ``data`` in records of at most ``fragment_length`` bytes of content; no data, no record."""


class RecordOpener(Protocol):
    """What every opener offers."""

    @property
    def remaining(self) -> int:
        """How many records the peer should still seal under this key."""

    def open(self, header: _Data, body: _Data) -> tuple[int, bytes]:
        """The content type and the content of one record, given its 5 header bytes and its body."""


def _sealing_refused(content_type: int, sequence: int) -> None:
    """Called past the key limit. Only an alert may still go out, so that the connection can say goodbye."""
    if content_type != _ALERT or sequence >= SEQUENCE_LIMIT:
        raise InternalError("no more records may be sealed under this key")


def _too_long(length: int) -> UsageError:
    return UsageError(f"a record holds at most {MAX_PLAINTEXT_LENGTH} bytes of content and padding, not {length}")


def _check_fragments(total: int, fragment_length: int, remaining: int) -> None:
    """Before the first of many records is sealed: all can be."""
    if not 0 < fragment_length <= MAX_PLAINTEXT_LENGTH:
        raise _too_long(fragment_length)
    if -(-total // fragment_length) > remaining:
        raise InternalError("no more records may be sealed under this key")


class RecordSealer13:
    """Seals TLS 1.3 records under one traffic secret. RFC 9846, section 5.2.

    ``secret`` is the current traffic secret. Sealing past the suite's key limit raises `InternalError` (section 5.5),
    but for alerts.
    """

    __slots__ = ("_encrypt", "_iv", "_limit", "_sequence", "_tag_length", "secret", "suite")

    def __init__(self, suite: SuiteFacts, secret: bytes) -> None:
        key, iv = traffic_keys(suite, secret)
        self.suite: SuiteFacts = suite
        self.secret: bytes = secret
        self._limit: int = suite.key_limit
        self._tag_length: int = suite.tag_length
        self._encrypt: _Cipher = suite.aead(key).encrypt
        self._iv: int = int.from_bytes(iv, "big")
        self._sequence: int = 0

    @property
    def remaining(self) -> int:
        """How many records this key may still seal; change it with `key_update` before this is 0."""
        left = self._limit - self._sequence
        return left if left > 0 else 0  # asked for each write: max() is 0.1 us more

    def seal(self, content_type: int, data: _Data, padding: int = 0) -> bytes:
        """One complete record. RFC 9846, section 5.2.

        ``padding`` is the number of zero bytes to add (section 5.4). Raises `UsageError` when ``data`` and padding
        are more than 2**14 bytes, `InternalError` when the key is used up.
        """
        sequence = self._sequence
        if sequence >= self._limit:
            _sealing_refused(content_type, sequence)
        if type(data) is bytes:
            inner = data + _TYPE_BYTES[content_type]
        else:
            inner = b"".join((data, _TYPE_BYTES[content_type]))
        if padding:
            inner += bytes(padding)
        length = len(inner) + self._tag_length
        if length < _TABLED:
            header = _HEADERS_13[length]
        elif len(inner) <= _MAX_INNER_LENGTH:
            header = _PREFIX_13 + length.to_bytes(2, "big")
        else:
            raise _too_long(len(inner) - 1)
        self._sequence = sequence + 1  # before the key is used: a nonce is never used twice
        return header + self._encrypt((self._iv ^ sequence).to_bytes(12, "big"), inner, header)

    def seal_many(self, content_type: int, data: _Data, fragment_length: int = MAX_PLAINTEXT_LENGTH) -> bytes:
        """All of ``data`` in as few records as may be; each byte is copied twice. RFC 9846, section 5.1.

        ``fragment_length`` is at most 2**14 bytes. Raises as `seal` does; if it raises, nothing of ``data`` is sealed.
        """
        total = len(data)
        if total <= fragment_length:
            return self.seal(content_type, data) if total else b""
        _check_fragments(total, fragment_length, self.remaining)
        sequence = self._sequence
        encrypt, iv, type_byte = self._encrypt, self._iv, _TYPE_BYTES[content_type]
        tag_length = self._tag_length
        header = _PREFIX_13 + (fragment_length + 1 + tag_length).to_bytes(2, "big")
        view = memoryview(data)
        parts: list[bytes] = []
        for start in range(0, total, fragment_length):
            inner = b"".join((view[start : start + fragment_length], type_byte))
            if len(inner) <= fragment_length:  # the last one
                header = _PREFIX_13 + (len(inner) + tag_length).to_bytes(2, "big")
            self._sequence = sequence + 1
            parts.append(header)
            parts.append(encrypt((iv ^ sequence).to_bytes(12, "big"), inner, header))
            sequence += 1
        return b"".join(parts)

    def key_update(self) -> None:
        """Go on under the next traffic secret, sequence number 0. RFC 9846, section 7.2."""
        RecordSealer13.__init__(self, self.suite, next_traffic_secret(self.suite.hash, self.secret))


class RecordOpener13:
    """Opens TLS 1.3 records under one traffic secret. RFC 9846, section 5.2.

    ``secret`` is the current traffic secret. ``inner_limit`` is the most bytes that content, type and padding may have
    together: 2**14 + 1, or less when this side announced a record_size_limit (RFC 8449, section 4). The key limit is
    not enforced on what is received (section 5.5): half way to it `open` raises `KeyWorn`, once, so that the peer can
    be asked for an update, and opens that very record when it is called again.
    """

    __slots__ = ("_decrypt", "_iv", "_sequence", "_stop", "inner_limit", "secret", "suite")

    def __init__(self, suite: SuiteFacts, secret: bytes) -> None:
        self.inner_limit: int = MAX_PLAINTEXT_LENGTH + 1
        key, iv = traffic_keys(suite, secret)
        self.suite: SuiteFacts = suite
        self.secret: bytes = secret
        self._decrypt: _Cipher = suite.aead(key).decrypt
        self._iv: int = int.from_bytes(iv, "big")
        self._sequence: int = 0
        self._stop: int = suite.key_limit // 2  # where to stop and think: first of an update, then of the end

    @property
    def remaining(self) -> int:
        """How many records the peer should still seal under this key; 0 once it sealed more."""
        return max(0, self.suite.key_limit - self._sequence)

    def open(self, header: _Data, body: _Data) -> tuple[int, bytes]:
        """The content type and the content of one record. RFC 9846, sections 5.2 to 5.4.

        Raises `BadRecordMac` when the record does not authenticate, `RecordOverflow` when it or its plaintext is too
        long, `UnexpectedMessage` when it is not a protected record, has no content type or an impossible one, or is an
        empty alert or handshake record.
        """
        sequence = self._sequence
        if header[0] != _APPLICATION_DATA or len(body) > MAX_CIPHERTEXT_LENGTH_13 or sequence >= self._stop:
            self._refuse(header, body)
        try:
            inner = self._decrypt((self._iv ^ sequence).to_bytes(12, "big"), body, header)
        except InvalidTag:
            raise BadRecordMac(f"a record of {len(body)} bytes does not authenticate") from None
        self._sequence = sequence + 1
        if len(inner) > self.inner_limit:
            raise RecordOverflow(f"{len(inner)} bytes of inner plaintext, at most {self.inner_limit} are allowed")
        # the last byte is the content type unless there is padding; nearly every record ends here
        if inner:
            content_type = inner[-1]
            if content_type == _APPLICATION_DATA or (content_type == _HANDSHAKE and len(inner) > 1):
                return content_type, inner[:-1]
        return self._take_apart(inner)

    def _take_apart(self, inner: bytes) -> tuple[int, bytes]:
        inner = inner.rstrip(b"\0")
        if not inner:
            raise UnexpectedMessage("a protected record without a content type")
        content_type = inner[-1]
        if content_type != _APPLICATION_DATA:
            if content_type not in (_HANDSHAKE, _ALERT):
                raise UnexpectedMessage(f"a protected record of type {name_of(ContentType, content_type)}")
            if len(inner) == 1:
                raise UnexpectedMessage(f"an empty {name_of(ContentType, content_type)} record")
        return content_type, inner[:-1]

    def _refuse(self, header: _Data, body: _Data) -> NoReturn:
        if header[0] != _APPLICATION_DATA:
            raise UnexpectedMessage(f"an unprotected {name_of(ContentType, header[0])} record where none may come")
        if len(body) > MAX_CIPHERTEXT_LENGTH_13:
            raise RecordOverflow(f"a record of {len(body)} bytes, at most {MAX_CIPHERTEXT_LENGTH_13} are allowed")
        if self._sequence < SEQUENCE_LIMIT:
            self._stop = SEQUENCE_LIMIT
            raise KeyWorn
        raise UnexpectedMessage("the peer did not change its key before the sequence numbers ended")

    def key_update(self) -> None:
        """Go on under the next traffic secret, sequence number 0. RFC 9846, section 7.2."""
        inner_limit = self.inner_limit
        RecordOpener13.__init__(self, self.suite, next_traffic_secret(self.suite.hash, self.secret))
        self.inner_limit = inner_limit


class RecordSealer12:
    """Seals TLS 1.2 records of an AEAD suite. RFC 5246, section 6.2.3.3; nonces: RFC 5288 and RFC 7905.

    ``key`` and ``iv`` are this direction's part of the key block: an IV of 4 bytes is the salt of AES-GCM, whose other
    8 nonce bytes are the sequence number and travel in the record; one of 12 bytes is xored with it (ChaCha20).
    """

    __slots__ = ("_encrypt", "_iv", "_limit", "_salt", "_sequence", "_tag_length", "suite")

    def __init__(self, suite: SuiteFacts, key: bytes, iv: bytes) -> None:
        self.suite: SuiteFacts = suite
        self._encrypt: _Cipher = suite.aead(key).encrypt
        self._salt: bytes = iv if suite.iv_length == 4 else b""
        self._iv: int = int.from_bytes(iv, "big")
        self._limit: int = suite.key_limit
        self._tag_length: int = suite.tag_length
        self._sequence: int = 0

    @property
    def remaining(self) -> int:
        """How many records this key may still seal. TLS 1.2 cannot change it: the connection has to end."""
        left = self._limit - self._sequence
        return left if left > 0 else 0  # asked for each write: max() is 0.1 us more

    def seal(self, content_type: int, data: _Data, padding: int = 0) -> bytes:
        """One complete record. RFC 5246, section 6.2.3.3.

        Raises `UsageError` when ``data`` is more than 2**14 bytes, or when ``padding`` is asked for, which TLS 1.2 does
        not have; `InternalError` when the key is used up.
        """
        sequence = self._sequence
        if sequence >= self._limit:
            _sealing_refused(content_type, sequence)
        length = len(data)
        if length > MAX_PLAINTEXT_LENGTH:
            raise _too_long(length)
        if padding:
            raise UsageError("TLS 1.2 AEAD records cannot be padded")
        associated_data = _pack_associated_data_12(sequence, content_type, 0x0303, length)
        self._sequence = sequence + 1  # before the key is used: a nonce is never used twice
        if self._salt:
            nonce = self._salt + sequence.to_bytes(8, "big")
            head = _pack_header_and_nonce(
                content_type, 0x0303, _EXPLICIT_NONCE_LENGTH + length + self._tag_length, sequence
            )
        else:
            nonce = (self._iv ^ sequence).to_bytes(12, "big")
            head = _pack_header(content_type, 0x0303, length + self._tag_length)
        return head + self._encrypt(nonce, data, associated_data)

    def seal_many(self, content_type: int, data: _Data, fragment_length: int = MAX_PLAINTEXT_LENGTH) -> bytes:
        """All of ``data`` in as few records as may be; each byte is copied once. Raises as `seal` does."""
        total = len(data)
        if total <= fragment_length:
            return self.seal(content_type, data) if total else b""
        _check_fragments(total, fragment_length, self.remaining)
        encrypt, iv, salt, tag_length = self._encrypt, self._iv, self._salt, self._tag_length
        view = memoryview(data)
        parts: list[bytes] = []
        for start in range(0, total, fragment_length):
            fragment = view[start : start + fragment_length]
            length = len(fragment)
            sequence = self._sequence
            associated_data = _pack_associated_data_12(sequence, content_type, 0x0303, length)
            self._sequence = sequence + 1
            if salt:
                nonce = salt + sequence.to_bytes(8, "big")
                size = _EXPLICIT_NONCE_LENGTH + length + tag_length
                parts.append(_pack_header_and_nonce(content_type, 0x0303, size, sequence))
            else:
                nonce = (iv ^ sequence).to_bytes(12, "big")
                parts.append(_pack_header(content_type, 0x0303, length + tag_length))
            parts.append(encrypt(nonce, fragment, associated_data))
        return b"".join(parts)


class RecordOpener12:
    """Opens TLS 1.2 records of an AEAD suite. RFC 5246, section 6.2.3.3; nonces: RFC 5288 and RFC 7905.

    ``key`` and ``iv`` as for `RecordSealer12`. ``inner_limit`` is the most bytes of plaintext: 2**14, or less when this
    side announced a max_fragment_length or record_size_limit.
    """

    __slots__ = ("_decrypt", "_iv", "_salt", "_sequence", "_tag_length", "inner_limit", "suite")

    def __init__(self, suite: SuiteFacts, key: bytes, iv: bytes) -> None:
        self.suite: SuiteFacts = suite
        self.inner_limit: int = MAX_PLAINTEXT_LENGTH
        self._decrypt: _Cipher = suite.aead(key).decrypt
        self._salt: bytes = iv if suite.iv_length == 4 else b""
        self._iv: int = int.from_bytes(iv, "big")
        self._sequence: int = 0
        self._tag_length: int = suite.tag_length

    @property
    def remaining(self) -> int:
        """How many records the peer should still seal under this key; 0 once it sealed more."""
        return max(0, self.suite.key_limit - self._sequence)

    def open(self, header: _Data, body: _Data) -> tuple[int, bytes]:
        """The content type and the content of one record. RFC 5246, section 6.2.3.3.

        Raises `BadRecordMac` when the record does not authenticate, `RecordOverflow` when it or its plaintext is too
        long, `UnexpectedMessage` when it is empty and not application data (section 6.2.1).
        """
        sequence = self._sequence
        size = len(body)
        if size > MAX_CIPHERTEXT_LENGTH_12:
            raise RecordOverflow(f"a record of {size} bytes, at most {MAX_CIPHERTEXT_LENGTH_12} are allowed")
        if sequence >= SEQUENCE_LIMIT:
            raise UnexpectedMessage("the peer did not change its key before the sequence numbers ended")
        length = size - self._tag_length
        if self._salt:
            length -= _EXPLICIT_NONCE_LENGTH
            nonce = self._salt + body[:_EXPLICIT_NONCE_LENGTH]
            # a large record is not copied for the 8 bytes in front of it; below 4 KiB a copy is 0.1 us quicker
            body = body[_EXPLICIT_NONCE_LENGTH:] if size < 4096 else memoryview(body)[_EXPLICIT_NONCE_LENGTH:]
        else:
            nonce = (self._iv ^ sequence).to_bytes(12, "big")
        if length < 0:
            raise BadRecordMac(f"a record of {size} bytes is too short to authenticate")
        content_type = header[0]
        try:
            content = self._decrypt(nonce, body, _pack_associated_data_12(sequence, content_type, 0x0303, length))
        except InvalidTag:
            raise BadRecordMac(f"a record of {size} bytes does not authenticate") from None
        self._sequence = sequence + 1
        if length > self.inner_limit:
            raise RecordOverflow(f"{length} bytes of plaintext, at most {self.inner_limit} are allowed")
        if not content and content_type != _APPLICATION_DATA:
            raise UnexpectedMessage(f"an empty {name_of(ContentType, content_type)} record")
        return content_type, content


class PlainSealer:
    """Frames records before there are keys. RFC 9846, section 5.1.

    ``version`` is the legacy_record_version to write; 0x0301 for a first ClientHello, else 0x0303.
    """

    __slots__ = ("version",)

    def __init__(self, version: int = 0x0303) -> None:
        self.version: int = version

    @property
    def remaining(self) -> int:
        """Without a key there is no limit but that of a sequence number."""
        return SEQUENCE_LIMIT

    def seal(self, content_type: int, data: _Data, padding: int = 0) -> bytes:
        """One complete record of at most 2**14 bytes of ``data``.

        Raises `UsageError` when it is more, when ``padding`` is asked for, and for application data, which is never
        sent unprotected.
        """
        if len(data) > MAX_PLAINTEXT_LENGTH:
            raise _too_long(len(data))
        if padding:
            raise UsageError("an unprotected record cannot be padded")
        if content_type == _APPLICATION_DATA:
            raise UsageError("application data is never sent unprotected")
        return _pack_header(content_type, self.version, len(data)) + data

    def seal_many(self, content_type: int, data: _Data, fragment_length: int = MAX_PLAINTEXT_LENGTH) -> bytes:
        """All of ``data`` in as few records as may be. Raises as `seal` does."""
        _check_fragments(len(data), fragment_length, self.remaining)
        view = memoryview(data)
        return b"".join(
            [
                self.seal(content_type, view[start : start + fragment_length])
                for start in range(0, len(data), fragment_length)
            ]
        )


class PlainOpener:
    """Takes records apart before there are keys. RFC 9846, section 5.1."""

    __slots__ = ("inner_limit",)

    def __init__(self, inner_limit: int = MAX_PLAINTEXT_LENGTH) -> None:
        self.inner_limit: int = inner_limit

    @property
    def remaining(self) -> int:
        """Without a key there is no limit but that of a sequence number."""
        return SEQUENCE_LIMIT

    def open(self, header: _Data, body: _Data) -> tuple[int, bytes]:
        """The content type and the content of one record. RFC 9846, section 5.1.

        Raises `RecordOverflow` when the content is longer than 2**14 bytes, `UnexpectedMessage` for application data,
        for an unknown type, and for an empty record.
        """
        if len(body) > self.inner_limit:
            raise RecordOverflow(f"a record of {len(body)} bytes, at most {self.inner_limit} are allowed")
        content_type = header[0]
        if content_type not in (_HANDSHAKE, _ALERT, _CHANGE_CIPHER_SPEC):
            raise UnexpectedMessage(f"an unprotected record of type {name_of(ContentType, content_type)}")
        if not body:
            raise UnexpectedMessage(f"an empty {name_of(ContentType, content_type)} record")
        return content_type, bytes(body)
