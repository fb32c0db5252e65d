"""Every script in examples/ runs, by itself, without a warning, and says what it shows."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
SCRIPTS = sorted(EXAMPLES.glob("[0-9]*.py"))


def run(script: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run it as a user would. A warning that is raised while an object is collected shows on stderr only."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "RESUMPTION"))}
    return subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", str(script)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environ,
        timeout=100,
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=[script.stem for script in SCRIPTS])
def test_an_example_runs(script: Path, tmp_path: Path) -> None:
    done = run(script, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) >= 2
    if not script.name.startswith("8"):  # which has no session to count
        assert re.search(r"references: [1-9]\d* +\{.+: [1-9]\d*\}$", done.stdout, re.MULTILINE)
        assert ", freed>" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("script", SCRIPTS, ids=[script.stem for script in SCRIPTS])
def test_an_example_is_short_and_proves_what_it_prints(script: Path) -> None:
    source = script.read_text("utf-8")
    assert source.count("\n") <= 90
    assert sum(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(source))) >= 2


def test_there_is_one_for_each_part_of_the_story() -> None:
    assert [script.name[0] for script in SCRIPTS] == list("12345678")
    readme = (EXAMPLES / "README.md").read_text("utf-8")
    assert all(f"]({script.name})" in readme for script in SCRIPTS)


@pytest.mark.parametrize(
    "spoiled",
    [
        "SSL_SESSION_free(SSL_SESSION_new())\nSSL_SESSION_new()",  # a leak
        "SSL_SESSION_free(SSL_SESSION_new())\nassert False",
    ],
)
def test_a_leak_or_a_false_claim_would_be_noticed(spoiled: str, tmp_path: Path) -> None:
    script = tmp_path / "spoiled.py"
    script.write_text(f"from resumption.openssl import *\n{spoiled}\n")
    done = run(script, tmp_path)
    assert (done.returncode, done.stderr) != (0, "")
