"""A sample of the matrix: every value of every column, for each peer, role and version."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests import peers
from tests.interop.cases import Case, cases, sample
from tests.interop.matrix import CaseFailed, Matrix, Story
from tests.interop.report import MOST_UNSTEADY, TRIES, Trouble, exit_status, play, table
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


FAILED = [Story(visit="first", check="failed")] * TRIES
UNSTEADY = FAILED[1:]


def test_the_table_counts_what_failed() -> None:
    rows = table(EVERYTHING, [Trouble(EVERYTHING[0], FAILED), Trouble(EVERYTHING[1], UNSTEADY)])
    assert sum(int(str(row["cases"])) for row in rows) == len(EVERYTHING)
    assert sum(int(str(row["passed"])) for row in rows) == len(EVERYTHING) - 1
    assert sum(int(str(row["unsteady"])) for row in rows) == 1


@pytest.mark.parametrize(
    ("stories", "status"),
    [
        ([], 0),
        ([UNSTEADY] * MOST_UNSTEADY, 0),
        ([UNSTEADY] * (MOST_UNSTEADY + 1), 1),
        ([FAILED], 1),
        ([UNSTEADY, FAILED], 1),
    ],
)
def test_few_unsteady_cases_are_forgiven_and_no_failed_one(stories: list[list[Story]], status: int) -> None:
    assert exit_status([Trouble(EVERYTHING[0], one) for one in stories]) == status


class Moody(Matrix):
    """Cases fail as often as they are told to."""

    def __init__(self, pki: Pki, failures: int) -> None:
        super().__init__(pki)
        self.failures = failures
        self.played = 0

    def _run_client(self, case: Case, story: Story) -> None:
        self.played += 1
        story.visit, story.status, story.output = "second", 7, "a" * 2000 + "the end"
        if self.played <= self.failures:
            raise AssertionError("in a mood")


@pytest.mark.parametrize(("failures", "played"), [(0, 1), (1, 2), (2, 3), (3, 3), (4, 3)])
def test_a_case_that_fails_is_played_again(
    pki: Pki, failures: int, played: int, capsys: pytest.CaptureFixture[str]
) -> None:
    case = next(case for case in EVERYTHING if case.role == "client")
    with Moody(pki, failures) as matrix:
        troubles = play(matrix, [case])
    assert matrix.played == played
    assert [len(trouble.stories) for trouble in troubles] == ([min(failures, 3)] if failures else [])
    assert [trouble.is_unsteady for trouble in troubles] == ([failures < 3] if failures else [])
    told = capsys.readouterr().err
    assert ("UNSTEADY" in told, "FAILED" in told) == (0 < failures < 3, failures >= 3)


def test_a_failure_tells_what_is_known(pki: Pki) -> None:
    case = next(case for case in EVERYTHING if case.role == "client")
    with Moody(pki, 1) as matrix, pytest.raises(CaseFailed) as caught:
        matrix.run(case)
    told = str(caught.value)
    for part in (
        "second visit: AssertionError: in a mood",
        "exit status: 7",
        "the end of what the peer said",
        "athe end",
    ):
        assert part in told
    assert len(told) < 1700
    assert len(Trouble(case, [caught.value.story]).as_json()["stories"][0]["output"]) == 2007


def test_a_failure_tells_what_our_server_met(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    def visits(matrix: Matrix, port: int, case: Case, story: Story) -> list[bool]:
        story.visit = "first"
        with socket.create_connection((peers.HOST, port), peers.TIME_LIMIT) as plain:
            plain.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert plain.recv(100)
        raise AssertionError("no page")

    monkeypatch.setattr(Matrix, "_ssl_visits", visits)
    case = next(case for case in EVERYTHING if case.role == "server" and case.peer == "ssl")
    with Matrix(pki) as matrix, pytest.raises(CaseFailed) as caught:
        matrix.run(case)
    told = str(caught.value)
    assert "first visit: AssertionError: no page" in told
    assert "connection 1 at our server: shaking hands; no handshake; " in told
