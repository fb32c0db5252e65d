"""What the commands print, and how errors become one line and a status."""

from __future__ import annotations

import errno
import io
import json
import sys

import pytest
import typer

from resumption.cli import output
from resumption.errors import ConfigurationError, SessionFormatError, StoreError


def test_control_characters_are_escaped_and_newlines_kept() -> None:
    assert output.printable("a\x1b[31mb\nc\r\x07\u202e") == "a\\x1b[31mb\nc\\r\\x07\\u202e"
    assert output.printable("Zürich 東京") == "Zürich 東京"


def test_lines_for_people_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    output.for_people("a\x1bb")
    output.warn("c\x1bd")
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("a\\x1bb\n", "resumption: c\\x1bd\n")


def test_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    output.write_json({"a": [1, None]})
    output.write_json({"b": 2}, indent=None)
    document, _, line = capsys.readouterr().out.rpartition('{"b"')
    assert json.loads(document) == {"a": [1, None]}
    assert line == ": 2}\n"


def test_a_table_without_a_terminal_is_not_cut_at_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    output.show_table(["name", "count"], [["x" * 90, "7"]], title="a table", numbers=(1,))
    printed = capsys.readouterr().out
    assert "x" * 90 in printed
    assert printed.startswith("a table")
    assert "\x1b" not in printed


def test_tables_print_what_looks_like_markup_and_escape_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    output.facts_table([("[bold]name", "[red]value\x1b[0m")], title="facts")
    output.show_table(["c"], [["[link=x]y"]])
    printed = capsys.readouterr().out
    assert "[bold]name" in printed
    assert "[red]value\\x1b[0m" in printed
    assert "[link=x]y" in printed


def test_tables_survive_an_ascii_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    output.show_table(["a"], [["b"]], title="t")
    sys.stdout.flush()
    assert b"b" in raw.getvalue()


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (ConfigurationError("that cannot be"), 2, "that cannot be"),
        (SessionFormatError("no session"), 2, "no session"),
        (StoreError("gone"), 1, "StoreError: gone"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), 1, "Connection refused"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "x.pem"), 1, "No such file or directory: x.pem"),
        (TimeoutError("timed out"), 1, "timed out"),
        (OSError(), 1, "OSError"),
    ],
)
def test_errors_become_one_line_and_a_status(
    error: Exception, status: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    @output.reports_errors
    def command() -> None:
        raise error

    with pytest.raises(typer.Exit) as ended:
        command()
    assert ended.value.exit_code == status
    assert capsys.readouterr().err == f"resumption: {words}\n"


def test_other_exceptions_are_not_hidden_and_results_pass() -> None:
    @output.reports_errors
    def command(number: int) -> float:
        """What it does."""
        return 1 / number

    assert command(2) == 0.5
    assert command.__doc__ == "What it does."
    with pytest.raises(ZeroDivisionError):
        command(0)
