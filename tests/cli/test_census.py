"""Counting what a process still holds, and hearing of what was collected before it was given back."""

from __future__ import annotations

import gc
import warnings

from resumption import Session
from resumption.cli.census import Census


def test_references_are_counted_whoever_holds_them() -> None:
    with Census() as census:
        before = census.references()
        one, two = Session(), Session()
        one.up_ref("a label")
        assert census.references() - before == 3
        one.free()
        two.free()
        assert census.references() - before == 1
        one.free("a label")
        assert census.references() - before == 0
        assert one.is_freed
        assert census.leaks() == []


def test_a_session_that_was_lost_is_not_forgotten() -> None:
    with Census() as census:
        Session()
        gc.collect()
        (leak,) = census.leaks()
    assert "1 reference of the application outstanding" in leak


def test_other_warnings_are_no_leaks_and_the_filters_come_back() -> None:
    filters = list(warnings.filters)
    with Census() as census:
        warnings.warn("a file was not closed", ResourceWarning, source=object(), stacklevel=1)
        assert census.leaks() == []
    assert list(warnings.filters) == filters
