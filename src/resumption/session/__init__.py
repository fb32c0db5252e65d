"""What a session is: facts, a secret and a count; how it is written, kept, sealed and judged. Knows nothing of TLS I/O."""

from __future__ import annotations

from resumption.session.model import APPLICATION, Holder, Session, SessionData, Step, tracing

__all__ = ["APPLICATION", "Holder", "Session", "SessionData", "Step", "tracing"]
