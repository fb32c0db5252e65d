"""What `frozen` makes: a dataclass with slots, equal and hashed by its fields, with every field given."""

from __future__ import annotations

import dataclasses

import pytest

from resumption.frozen import frozen


@frozen
class Point:
    """Two numbers."""

    x: int
    y: int = 0


@frozen(kw_only=True, repr=False)
class Named:
    """A name."""

    name: str


def test_values_are_equal_and_hashed_by_their_fields() -> None:
    assert Point(1) == Point(1, 0) != Point(1, 2)
    assert hash(Point(1)) == hash(Point(1, 0))
    assert len({Point(1), Point(1), Point(2)}) == 2


def test_there_is_room_for_the_fields_and_for_nothing_else() -> None:
    assert not hasattr(Point(1), "__dict__")
    with pytest.raises(AttributeError):
        Point(1).z = 3  # type: ignore[attr-defined]


def test_fields_are_shown_unless_said_otherwise() -> None:
    assert repr(Point(1)) == "Point(x=1, y=0)"
    assert "secret" not in repr(Named(name="secret"))


def test_fields_by_keyword_only() -> None:
    assert Named(name="a").name == "a"
    with pytest.raises(TypeError):
        Named("a")  # type: ignore[misc]


def test_a_changed_copy_is_made_with_replace() -> None:
    assert dataclasses.replace(Point(1, 2), x=3) == Point(3, 2)
