"""How many references to sessions a process still holds: the proof behind "the count was 0".

Counting looks at every object that the garbage collector knows of, not at what a cache or a connection claims to hold.
A session that was collected while the application still owed references is gone by then, and has warned: `Census`
collects those warnings.
"""

from __future__ import annotations

import gc
import warnings
from types import TracebackType
from typing import Self

from resumption.session.model import Session

__all__ = ["Census"]


class Census:
    """Watches one process, for the length of a ``with`` block, for sessions that are leaked."""

    def __init__(self) -> None:
        self._watching = warnings.catch_warnings(record=True)
        self._seen: list[warnings.WarningMessage] = []

    def __enter__(self) -> Self:
        seen = self._watching.__enter__()
        if seen is not None:
            self._seen = seen
        warnings.simplefilter("always", ResourceWarning)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watching.__exit__(kind, error, trace)

    def references(self) -> int:
        """References to sessions that are outstanding in this process now, whoever holds them."""
        gc.collect()
        return sum(session.references for session in gc.get_objects() if type(session) is Session)

    def leaks(self) -> list[str]:
        """What was said about sessions that were collected before they were given back."""
        return [
            str(warning.message)
            for warning in self._seen
            if issubclass(warning.category, ResourceWarning) and isinstance(warning.source, Session)
        ]
