"""What a stream tells about the connection that it drives: the same for blocking and asyncio streams."""

from __future__ import annotations

from resumption.connection import Connection
from resumption.session.early import EarlyData
from resumption.session.model import Session
from resumption.session.verdicts import Resumption

__all__ = ["Face"]


class Face:
    """The connection's facts, as attributes of its stream. They stay after the stream is closed; sessions do not."""

    __slots__ = ("__weakref__", "_closed", "_connection")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._closed = False

    @property
    def connection(self) -> Connection:
        """The engine. The stream drives it: call nothing on it that moves bytes."""
        return self._connection

    @property
    def is_closed(self) -> bool:
        """Whether this stream was closed, or gave its socket back."""
        return self._closed

    @property
    def session(self) -> Session | None:
        """The connection's session, borrowed (SSL_get0_session); None before there is one and after close."""
        return None if self._closed else self._connection.session

    def get1_session(self) -> Session | None:
        """The connection's session with a reference for the application: give it back with ``free()``."""
        return None if self._closed else self._connection.get1_session()

    @property
    def session_reused(self) -> bool:
        """Whether this connection was resumed (SSL_session_reused)."""
        return self._connection.session_reused

    @property
    def resumption(self) -> Resumption | None:
        """How the handshake went, resumed or why not; None before it is complete."""
        return self._connection.resumption

    def channel_binding(self, kind: str = "tls-exporter") -> bytes:
        """As `resumption.connection.Connection.channel_binding`: RFC 9266 and RFC 5929."""
        return self._connection.channel_binding(kind)

    def export_keying_material(self, label: bytes, context: bytes | None, length: int) -> bytes:
        """As `resumption.connection.Connection.export_keying_material`: RFC 9846, section 7.5; RFC 5705."""
        return self._connection.export_keying_material(label, context, length)

    @property
    def early_data(self) -> EarlyData:
        """What became of early data: none, offered, accepted or rejected, why, and how many bytes there were."""
        return self._connection.early_data

    @property
    def data_is_early(self) -> bool:
        """Server: whether what was received so far may be a replay. False once the handshake is complete."""
        return self._connection.data_is_early

    @property
    def version(self) -> int | None:
        """The negotiated version as on the wire (0x0304), or None before the handshake is complete."""
        return self._connection.version

    @property
    def cipher(self) -> str | None:
        """IANA name of the suite, or None before the handshake is complete."""
        return self._connection.cipher

    @property
    def alpn(self) -> bytes | None:
        """The application protocol agreed on, or None."""
        return self._connection.alpn

    @property
    def peer_chain(self) -> tuple[bytes, ...]:
        """The peer's certificates, leaf first, DER; on a resumed connection those of the original handshake."""
        return self._connection.peer_chain

    @property
    def server_name(self) -> str:
        """The name that the client asked for, once a server knows it; empty if there was none."""
        connection = self._connection
        if not connection.is_server:
            return connection.server_name
        facts = connection.facts
        return (facts.hostname or "") if facts is not None else ""
