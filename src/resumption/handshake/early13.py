"""Early data of one connection while it is in play: its keys, how much there was, and what became of it.

RFC 9846, sections 2.3, 4.3.10 and 4.6. Both roles use `EarlyFlow`; who may make one is decided by the two functions of
`resumption.session.early`. The connection carries the records: see `resumption.early`.
"""

from __future__ import annotations

from resumption.crypto.protection import RecordOpener13, RecordSealer13
from resumption.crypto.schedule13 import EarlySecret
from resumption.crypto.suites import SuiteFacts
from resumption.errors import IllegalParameter, UnexpectedMessage
from resumption.handshake.events import EarlyDataRejected
from resumption.session.early import EarlyData, EarlyReason, EarlyState
from resumption.session.facts import SessionData

__all__ = ["EarlyFlow"]


class EarlyFlow:
    """``is_open``: more of it may be sent (client) or come (server). ``size``: bytes so far, at most ``limit``."""

    __slots__ = ("_early", "_hello_hash", "_suite", "is_open", "limit", "reason", "size", "state")

    def __init__(self, early: EarlySecret, hello_hash: bytes, suite: SuiteFacts, limit: int, state: EarlyState) -> None:
        """``hello_hash``: that of the ClientHello. ``suite``: the session's. ``limit``: in bytes."""
        self._early = early
        self._hello_hash = hello_hash
        self._suite = suite
        self.limit = limit
        self.state = state
        self.reason: EarlyReason | None = None
        self.size = 0
        self.is_open = True

    @property
    def status(self) -> EarlyData:
        """What became of it, so far."""
        return EarlyData(self.state, self.reason, self.size)

    @property
    def traffic_secret(self) -> bytes:
        """The client_early_traffic_secret. RFC 9846, section 7.1."""
        return self._early.client_early_traffic_secret(self._hello_hash)

    @property
    def secrets(self) -> dict[str, bytes]:
        """For a key log, by the labels of NSS."""
        return {
            "CLIENT_EARLY_TRAFFIC_SECRET": self.traffic_secret,
            "EARLY_EXPORTER_SECRET": self._early.early_exporter_master_secret(self._hello_hash),
        }

    def sealer(self) -> RecordSealer13:
        """Seals a client's early data."""
        return RecordSealer13(self._suite, self.traffic_secret)

    def opener(self) -> RecordOpener13:
        """Opens it on the server."""
        return RecordOpener13(self._suite, self.traffic_secret)

    def export(self, label: bytes, context: bytes, length: int) -> bytes:
        """Early exported keying material: the same for every replay of the hello. RFC 9846, section 7.5."""
        return self._early.early_exporter(self._hello_hash, label, context, length)

    def count(self, length: int) -> None:
        """That many bytes came. Raises `UnexpectedMessage` past what the ticket allows. RFC 9846, section 4.7.1."""
        if not self.is_open:
            raise UnexpectedMessage("application data came before the handshake was complete")
        self.size += length
        if self.size > self.limit:
            raise UnexpectedMessage(f"the client sent more than {self.limit} bytes of early data")

    def reject(self, reason: EarlyReason) -> EarlyDataRejected:
        """Client: what was sent is lost. Whoever sent it is to be told, and may send it again; nothing here does."""
        self.is_open = False
        self.state = EarlyState.REJECTED
        self.reason = reason
        return EarlyDataRejected(self.size, reason)

    def accept(self, session: SessionData, suite: SuiteFacts, alpn: bytes | None) -> None:
        """Client: the server says that it takes it. Raises `IllegalParameter` if it must not. RFC 9846, 4.3.10."""
        if suite.suite != session.cipher or alpn != session.alpn:
            raise IllegalParameter("the server accepted early data under another suite or protocol than the session's")
        self.state = EarlyState.ACCEPTED
