"""Records whose length says less: padding of TLS 1.3. RFC 9846, section 5.4.

Only a connection with a padding policy has a `PaddedSealer13`: without one, no record pays anything for this.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from resumption.constants import MAX_PLAINTEXT_LENGTH, ContentType
from resumption.crypto.protection import RecordSealer13
from resumption.errors import InternalError

__all__ = ["PaddedSealer13", "PaddingPolicy"]

_ALERT = int(ContentType.alert)
PaddingPolicy: TypeAlias = int | Callable[[int, int], int]
"""A block size in bytes, or (content type, bytes of content) -> bytes of padding."""


class PaddedSealer13(RecordSealer13):
    """Seals TLS 1.3 records and pads each one as its policy says.

    An ``int`` policy fills content and content type up to a multiple of so many bytes (as OpenSSL's block padding). A
    callable is asked for the number of zero bytes; what it says is cut to what the record has room for. ``room`` is the
    most bytes of content and padding that a record may have. RFC 9846, section 5.4.

    A callable that raises, or says something that is not a number, makes the call raise `InternalError`, and with it
    the connection ends: nothing goes out with a length that was to be hidden. Only an alert does, without padding.
    """

    __slots__ = ("_policy", "room")

    def __init__(self, sealer: RecordSealer13, policy: PaddingPolicy, room: int) -> None:
        """Go on from ``sealer``, which must not be used any more."""
        for name in RecordSealer13.__slots__:
            setattr(self, name, getattr(sealer, name))
        self._policy = policy
        self.room = room

    def seal(self, content_type: int, data: bytes | bytearray | memoryview, padding: int = 0) -> bytes:
        """As `RecordSealer13.seal`; ``padding`` is the least."""
        length = len(data)
        return super().seal(content_type, data, max(padding, self._padding(content_type, length)))

    def seal_many(
        self,
        content_type: int,
        data: bytes | bytearray | memoryview,
        fragment_length: int = MAX_PLAINTEXT_LENGTH,
    ) -> bytes:
        """As `RecordSealer13.seal_many`, record by record."""
        total = len(data)
        if total <= fragment_length:
            return self.seal(content_type, data) if total else b""
        view = memoryview(data)
        return b"".join(
            [
                self.seal(content_type, view[start : start + fragment_length])
                for start in range(0, total, fragment_length)
            ]
        )

    def _padding(self, content_type: int, length: int) -> int:
        policy = self._policy
        if isinstance(policy, int):
            wanted = -(length + 1) % policy
        else:
            try:
                wanted = int(policy(content_type, length))
            except Exception as error:
                if content_type == _ALERT:
                    return 0
                raise InternalError(f"the padding policy failed with {type(error).__name__}") from error
        return max(0, min(wanted, self.room - length))
