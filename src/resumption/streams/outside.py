"""What a stream asks and tells beyond the engine: the contract with whoever made the connection.

A connection's `Host` answers at once, inside the engine. What may take long (a lookup in a shared store, saving a new
session there) goes through `Outside`, called by the stream that drives the connection: by the blocking stream on the
calling thread, by the asyncio stream in an executor, unless it can be awaited (`AwaitedOutside`). The engine and its
lock are free meanwhile.
"""

from __future__ import annotations

from typing import Protocol

from resumption.connection import Connection
from resumption.handshake.events import AnswersOutside, NeedSession
from resumption.session.model import Session

__all__ = ["AwaitedOutside", "AwaitedReceipt", "Outside", "Receipt"]


class Receipt(Protocol):
    """Something on its way to where it will be asked for."""

    def wait(self) -> None:
        """Return when it is there, or will not be, or is not to be waited for any longer. Called once."""


class AwaitedReceipt(Protocol):
    """A `Receipt` for event loops."""

    async def wait(self) -> None:
        """As `Receipt.wait`."""


class Outside(AnswersOutside, Protocol):
    """Answers the questions of connections and keeps their sessions. Both methods may block, and may be called from
    several threads. Whatever `Exception` they raise counts as a miss: a handshake never fails because of a store.
    """

    def session_issued(self, connection: Connection, session: Session) -> Receipt | None:
        """``session`` became available. It is borrowed: `acquire` it, or copy it, to keep it beyond this call.

        On a server the bytes that carry the ticket are sent after this has returned. With a receipt no data is sent
        before it has been waited for, and in TLS 1.3 no ticket; the handshake is complete without.
        """


class AwaitedOutside(Outside, Protocol):
    """What an asyncio stream does not need an executor for."""

    async def find_session_awaiting(self, connection: Connection, question: NeedSession) -> Session | None:
        """As ``find_session``, awaited."""

    async def session_issued_awaiting(self, connection: Connection, session: Session) -> AwaitedReceipt | None:
        """As ``session_issued``, awaited."""

    async def disconnect(self) -> None:
        """Let go of what belongs to the running loop. What is asked afterwards connects again."""
