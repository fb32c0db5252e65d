"""Values that nobody changes, made quickly: a dataclass that is frozen for mypy and plain while it runs.

``@dataclass(frozen=True, slots=True)`` stores each field of each new object through ``object.__setattr__``: 0.2 us a
field instead of 0.03. A pair of client and server makes about 150 such fields in a handshake, so 20 to 25 us. What is
made on the way of a byte (messages, states, what states hand on) uses `frozen`; what users keep is really frozen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, dataclass_transform, overload

__all__ = ["frozen"]

T = TypeVar("T")


@overload
def frozen(cls: type[T], /) -> type[T]: ...
@overload
def frozen(*, kw_only: bool = False, repr: bool = True) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(frozen_default=True)
def frozen(
    cls: type[T] | None = None, /, *, kw_only: bool = False, repr: bool = True
) -> type[T] | Callable[[type[T]], type[T]]:
    """A dataclass with slots, compared and hashed by its fields, whose fields mypy does not let anyone assign."""

    def make(cls: type[T]) -> type[T]:
        return dataclass(slots=True, unsafe_hash=True, kw_only=kw_only, repr=repr)(cls)

    return make if cls is None else make(cls)
