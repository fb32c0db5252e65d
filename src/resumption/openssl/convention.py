"""How C's conventions read in Python: what stands for 1 and 0, and what for NULL with an error on the queue."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from resumption.errors import ReferenceCountError, SessionFormatError, SessionFreedError, UsageError

__all__ = ["null_on_error", "succeeds"]

P = ParamSpec("P")
T = TypeVar("T")


def succeeds(function: Callable[P, object]) -> Callable[P, bool]:
    """True for C's 1 once ``function`` returned; False for 0 when it returned False, or refused (`UsageError`).

    What C cannot answer is not an answer here either: counting errors (`ReferenceCountError`, `SessionFreedError`)
    are raised, where C would go on with memory that is no longer its own.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> bool:
        try:
            return function(*args, **kwargs) is not False
        except (ReferenceCountError, SessionFreedError):
            raise
        except UsageError:
            return False

    return call


def null_on_error(function: Callable[P, T]) -> Callable[P, T | None]:
    """None for C's NULL when ``function`` could not read what it was given, or has nothing to write."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T | None:
        try:
            return function(*args, **kwargs)
        except (ReferenceCountError, SessionFreedError):
            raise
        except (SessionFormatError, UsageError):
            return None

    return call
