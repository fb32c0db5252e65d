"""Slots of `Session.ex_data`: their values are copied and freed by callbacks, outside locks, whatever these do."""

from __future__ import annotations

import pytest

from resumption.session.ledger import APPLICATION
from resumption.session.model import Session
from resumption.session.slots import new_slot


def test_each_slot_is_new_and_none_is_that_of_app_data() -> None:
    indices = [new_slot(), new_slot(dup=str), new_slot(free=print)]
    assert len({0, *indices}) == 4
    assert indices == sorted(indices)


def test_dup_makes_the_value_of_the_copy_and_free_gets_each_value_once() -> None:
    freed: list[list[int]] = []
    index = new_slot(dup=list, free=freed.append)
    value = [1]
    with Session() as session:
        session.ex_data[index] = value
        with session.dup() as copy:
            assert copy.ex_data[index] == value
            assert copy.ex_data[index] is not value
            copy.ex_data[index].append(2)
        assert freed == [[1, 2]]
        with session.up_ref():
            pass
        assert freed == [[1, 2]]
    assert freed == [[1, 2], [1]]


def test_without_dup_the_copy_shares_the_value_and_other_keys_are_left_alone() -> None:
    freed: list[object] = []
    index, value = new_slot(free=freed.append), object()
    with Session() as session:
        session.ex_data.update({index: value, "name": value})
        with session.dup() as copy:
            assert copy.ex_data == {index: value, "name": value}
    assert freed == [value, value]  # once for each session


def test_a_slot_that_a_session_does_not_use_is_not_called() -> None:
    def never(value: object) -> object:
        raise AssertionError("there is no value")

    index = new_slot(dup=never, free=never)
    with Session() as session:
        session.ex_data["name"] = 1
        with session.dup() as copy:
            assert index not in copy.ex_data


def test_free_may_use_other_sessions_and_sees_the_end_of_its_own() -> None:
    other = Session()
    seen: list[bool] = []
    index = new_slot(free=lambda session: (seen.append(session.is_freed), other.up_ref().free()))
    session = Session()
    session.ex_data[index] = session
    session.free()
    assert seen == [True]
    other.free()


def test_a_dup_that_fails_leaves_no_copy_behind() -> None:
    freed: list[str] = []

    def fail(value: object) -> object:
        raise ZeroDivisionError

    first = new_slot(dup=lambda value: f"copy of {value}", free=freed.append)
    second = new_slot(dup=fail)
    with Session() as session:
        session.ex_data.update({first: "a", second: "b"})
        with pytest.raises(ZeroDivisionError):
            session.dup()
        assert freed == ["copy of a"]
        assert session.holders == {APPLICATION: 1}
        assert session.ex_data == {first: "a", second: "b"}
    assert freed == ["copy of a", "a"]


def test_a_free_that_fails_is_warned_of_and_stops_nothing() -> None:
    freed: list[str] = []

    def fail(value: object) -> object:
        raise ZeroDivisionError("no")

    first, second = new_slot(free=fail), new_slot(free=freed.append)
    session = Session()
    session.ex_data.update({first: "a", second: "b"})
    with pytest.warns(RuntimeWarning, match=rf"slot {first} of a session: ZeroDivisionError\('no'\)"):
        session.free()
    assert session.is_freed
    assert freed == ["b"]
