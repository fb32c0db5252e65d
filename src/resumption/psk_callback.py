"""External PSKs that the application gives connection by connection: OpenSSL's PSK callbacks, for TLS 1.3.

`PskCallback` stands where a key, or a table of keys, would (``psk`` of clients, ``psks`` of servers). OpenSSL wraps
such a key in an SSL_SESSION, and so may the application here: the secret of the session is the key, its suite says the
hash. What comes of it is an `ExternalPsk`, which the gate judges like any other. RFC 9846, section 4.3.11.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

from resumption.constants import ProtocolVersion
from resumption.crypto.external_psk import ExternalPsk
from resumption.crypto.suites import SUITES
from resumption.errors import ConfigurationError
from resumption.session.model import Session

__all__ = ["KnownPsks", "OfferedPsk", "PskCallback", "PskKey"]

PskKey: TypeAlias = "Session | ExternalPsk | bytes"
"""A key as callbacks give it: in a session of TLS 1.3, as it is, or its bytes, which are for SHA-256 then."""


class PskCallback:
    """Asks the application for the external PSK of each connection.

    A client's ``callback(connection)`` returns ``(identity, key)``, or None to offer none. A server's
    ``callback(connection, identity)`` returns the key, or None for an identity that it does not know; it may be asked
    twice about one where the client is sent away for another hello. A key is bytes (for SHA-256), an `ExternalPsk`, or
    a `Session` of TLS 1.3 whose secret is the key and whose suite says the hash: the caller's reference to it is used
    up, so keep one with ``up_ref()`` to return it again.

    What it raises, and a key that is none, ends the connection with an internal_error alert. It is called on the thread
    that drives the connection, outside all locks, and must not block.
    """

    __slots__ = ("_callback",)

    def __init__(self, callback: Callable[..., Any]) -> None:
        if not callable(callback):
            raise ConfigurationError("PskCallback needs a function: of a connection, and for servers of an identity")
        self._callback = callback

    def offered(self, connection: object) -> ExternalPsk | None:
        """What a client offers on ``connection``."""
        answer: tuple[bytes, PskKey] | ExternalPsk | None = self._callback(connection)
        if answer is None or isinstance(answer, ExternalPsk):
            return answer
        identity, key = answer
        return _psk_of(identity, key, "client")

    def known(self, connection: object, identity: bytes) -> ExternalPsk | None:
        """What a server has under this identity."""
        key: PskKey | None = self._callback(connection, identity)
        return None if key is None else _psk_of(identity, key, "server")

    def __repr__(self) -> str:
        return "<PskCallback>"


OfferedPsk: TypeAlias = ExternalPsk | Callable[[str], ExternalPsk | None] | PskCallback | None
"""A client's external PSK: the key, a function of the server's name, or one of the connection."""
KnownPsks: TypeAlias = Mapping[bytes, ExternalPsk] | Callable[[bytes], ExternalPsk | None] | PskCallback | None
"""A server's: by identity, a function of the identity, or one of connection and identity."""


def _psk_of(identity: bytes, key: PskKey, role: Literal["client", "server"]) -> ExternalPsk:
    """The key under this name. A session's reference, which is the application's, is given back."""
    if isinstance(key, ExternalPsk):
        return key
    if not isinstance(key, Session):
        return ExternalPsk(identity, bytes(key), role)
    with key:
        suite = SUITES.get(key.data.cipher)
        if key.data.version != ProtocolVersion.TLSv1_3 or suite is None or suite.version != ProtocolVersion.TLSv1_3:
            raise ConfigurationError("a session that stands for a PSK is one of TLS 1.3, with a suite of its own")
        return ExternalPsk(identity, key.secret, role, suite.hash.name)
