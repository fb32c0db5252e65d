"""What a session is: facts, a secret and a count; how it is written, kept, sealed and judged. Stands alone."""

from __future__ import annotations

from resumption.session.model import APPLICATION, Holder, Session, SessionData, Step, tracing
from resumption.session.shared import SharedSessions
from resumption.session.store import SessionStore, open_store
from resumption.session.tickets import TicketKeys, TicketProtection

__all__ = [
    "APPLICATION",
    "Holder",
    "Session",
    "SessionData",
    "SessionStore",
    "SharedSessions",
    "Step",
    "TicketKeys",
    "TicketProtection",
    "open_store",
    "tracing",
]
