"""The command as a whole: how it is started, what it says where its extra is missing, and how it refuses."""

from __future__ import annotations

import subprocess
import sys

import pytest

import resumption
from tests.cli.commands import invoke, run


def test_it_runs_as_a_module() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"resumption {resumption.__version__}\n".encode())


@pytest.mark.parametrize("missing", [("typer",), ("rich",), ("typer", "rich")])
def test_without_its_extra_it_says_what_to_install(missing: tuple[str, ...]) -> None:
    program = (
        f"import sys\nfor name in {missing!r}:\n    sys.modules[name] = None\n"
        "import resumption.cli\nresumption.cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install 'resumption[cli]'" in done.stderr
    assert f"needs {' and '.join(missing)}" in done.stderr


def test_help_names_every_command() -> None:
    shown = invoke("--help")
    assert shown.exit_code == 0
    assert all(name in shown.stdout for name in ("demo", "connect", "serve", "session"))


@pytest.mark.parametrize("arguments", [["nonsense"], ["demo", "--nonsense"], ["demo", "--workers", "0"], []])
def test_wrong_usage_has_status_2_and_an_empty_standard_output(arguments: list[str]) -> None:
    refused = invoke(*arguments)
    assert refused.exit_code == 2
    assert refused.stdout == "" or not arguments  # without any argument it is the help that is shown
    assert refused.stdout + refused.stderr


def test_a_traceback_shows_no_local_variables() -> None:
    from resumption.cli.application import application

    assert application.pretty_exceptions_enable is False
