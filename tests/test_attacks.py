"""docs/attacks.md and the tests agree: rows that claim a test have one, and no test names a row that is not there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "attacks.md"


def claims(page: str) -> dict[str, str]:
    """What each row says of its tests: ``yes`` or ``open``."""
    rows = re.findall(r"^\| (F\d\d) \|.*\| (\w+) \|$", page, re.MULTILINE)
    assert len(dict(rows)) == len(rows), "a row stands twice"
    return dict(rows)


def named_rows(source: str) -> set[str]:
    """The rows that a test file names, in the names of tests (``test_f01_f02_...``) or with ``proves("F01")``."""
    names = re.findall(r"\bdef test_((?:f\d\d_)+)", source)
    marks = re.findall(r"\bproves\(([^)]*)\)", source)
    return {f"F{number}" for text in (*names, *marks) for number in re.findall(r"[fF](\d\d)", text)}


def rows_with_tests() -> set[str]:
    paths = {*(ROOT / "tests").rglob("test_*.py")} - {Path(__file__)}  # this one only has examples
    return {row for path in paths for row in named_rows(path.read_text("utf-8"))}


def test_every_row_that_claims_a_test_has_one() -> None:
    claimed = {row for row, state in claims(PAGE.read_text("utf-8")).items() if state != "open"}
    assert claimed
    assert claimed - rows_with_tests() == set()


def test_every_row_that_a_test_names_is_on_the_page() -> None:
    assert rows_with_tests() - set(claims(PAGE.read_text("utf-8"))) == set()


def test_rows_and_names_are_read_rightly() -> None:
    page = "| id | a | tests |\n|---|---|---|\n| F01 | x | yes |\n| F02 | x | open |\nF03 is not a row\n"
    assert claims(page) == {"F01": "yes", "F02": "open"}
    source = 'def test_f04_f05_two_rows(): ...\n@pytest.mark.proves("F06", "S7.1")\ndef test_of_f99(): ...\n'
    assert named_rows(source) == {"F04", "F05", "F06"}
