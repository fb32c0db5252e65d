"""A session to test with, and a cache as far as a session knows one."""

from __future__ import annotations

from typing import Any

from resumption.session.facts import SessionData
from resumption.session.model import Session

SECRET = bytes(range(1, 49))
ID = bytes.fromhex("3f9c41d2") + bytes(28)


def data(**changes: Any) -> SessionData:
    """Facts of a TLS 1.3 session, made at 1000 s for 300 s."""
    facts: dict[str, Any] = {"version": 0x0304, "cipher": 0x1301, "session_id": ID, "time": 1000.0, "timeout": 300}
    return SessionData(**(facts | changes))


def give_back_all(session: Session) -> None:
    """Empty the ledger."""
    for holder, number in session.holders.items():
        for _ in range(number):
            session.release(holder)


class Cache:
    """What a session needs to know of a cache."""

    def __init__(self) -> None:
        self.resorted: list[tuple[float, int]] = []
        self.forgotten: list[tuple[Session, SessionData]] = []

    def resort(self, session: Session, /) -> None:
        """Write down what the session says now. The session's lock must be free."""
        assert not session._lock._is_owned()  # type: ignore[attr-defined]
        self.resorted.append((session.time, session.timeout))

    def forget(self, session: Session, data: SessionData, /) -> None:
        """Write down what was forgotten."""
        self.forgotten.append((session, data))
