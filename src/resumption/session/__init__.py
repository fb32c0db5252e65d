"""What a session is: facts, a secret and a count; how it is written, kept, sealed and judged. Stands alone."""

from __future__ import annotations

from resumption.session.cache import CacheMode, SessionCache
from resumption.session.fleet.rotation import StoredTicketKeys
from resumption.session.fleet.shared import SharedSessions
from resumption.session.model import APPLICATION, Holder, Session, SessionData, Step, tracing
from resumption.session.statistics import SessionStats
from resumption.session.stores.store import SessionStore, open_store
from resumption.session.tickets.key_files import TicketKeyFiles
from resumption.session.tickets.keys import TicketKeys, TicketProtection
from resumption.session.verdicts import Mechanism, Reason, Resumption

__all__ = [
    "APPLICATION",
    "CacheMode",
    "Holder",
    "Mechanism",
    "Reason",
    "Resumption",
    "Session",
    "SessionCache",
    "SessionData",
    "SessionStats",
    "SessionStore",
    "SharedSessions",
    "Step",
    "StoredTicketKeys",
    "TicketKeyFiles",
    "TicketKeys",
    "TicketProtection",
    "open_store",
    "tracing",
]
