"""A sample of the matrix: every value of every column, for each peer, role and version."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interop.matrix import Case, Failure, Matrix, cases, sample, table
from tests.pki import Pki

EVERYTHING = list(cases())
SAMPLE = sample(EVERYTHING)


@pytest.fixture(scope="module")
def matrix(pki: Pki) -> Iterator[Matrix]:
    with Matrix(pki) as servers:
        yield servers


@pytest.mark.interop
@pytest.mark.parametrize("case", SAMPLE, ids=str)
def test_full_and_resumed_as_the_case_says(matrix: Matrix, case: Case) -> None:
    try:
        matrix.run(case)
    except BaseException:
        matrix.forget(case)
        raise


def test_the_sample_meets_every_value_of_every_column() -> None:
    def values(some: list[Case]) -> set[tuple[object, ...]]:
        return {(c.peer, c.role, c.version, at, value) for c in some for at, value in enumerate(c.columns)}

    assert values(SAMPLE) == values(EVERYTHING)
    assert len(SAMPLE) < len(EVERYTHING) / 10


def test_the_table_counts_what_failed() -> None:
    rows = table(EVERYTHING, [Failure(EVERYTHING[0], "why")])
    assert sum(int(str(row["cases"])) for row in rows) == len(EVERYTHING)
    assert sum(int(str(row["passed"])) for row in rows) == len(EVERYTHING) - 1
