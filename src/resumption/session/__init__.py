"""What a session is: facts, a secret and a count; how it is written, kept, sealed and judged. Stands alone."""

from __future__ import annotations

from resumption.session.model import APPLICATION, Holder, Session, SessionData, Step, tracing

__all__ = ["APPLICATION", "Holder", "Session", "SessionData", "Step", "tracing"]
