"""dev.py: what it reads, when it builds, and that it leaves stdout and the exit status to the command it runs."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"dev_of_{path.parent.name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and NamedTuples look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the files that dev.py reads, and nothing else."""
    for name in ("dev.py", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


@pytest.fixture
def dev(checkout: Path) -> ModuleType:
    return load(checkout / "dev.py")


@pytest.fixture
def built(dev: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The requirements of every environment that is made; making one takes no time and no network."""
    made: list[list[str]] = []

    def build(python: object, folder: Path, requirements: list[str]) -> None:
        made.append(requirements)
        (folder / dev.BIN).mkdir(parents=True, exist_ok=True)
        (folder / dev.BIN / "python").touch()

    monkeypatch.setattr(dev, "build", build)
    return made


def test_groups_are_read_with_the_groups_they_include(dev: ModuleType) -> None:
    project = {"dependency-groups": {"a": ["x>=1", {"include-group": "b"}, "z"], "b": ["y"]}}
    assert dev.group(project, "a") == ["x>=1", "y", "z"]


def test_an_environment_is_made_once(dev: ModuleType, built: list[list[str]], checkout: Path) -> None:
    python = dev.this_interpreter()
    folder = dev.environment(python, ["lint"])
    assert dev.environment(python, ["lint"]) == folder
    (requirements,) = built
    assert requirements[:2] == ["-e", f"{checkout}[all]"]
    assert any(requirement.startswith("ruff") for requirement in requirements)
    assert not any(requirement.startswith("pytest") for requirement in requirements)


def test_an_environment_that_lacks_a_group_is_made_again_with_all_groups(
    dev: ModuleType, built: list[list[str]]
) -> None:
    python = dev.this_interpreter()
    dev.environment(python, [])
    dev.environment(python, ["lint"])
    dev.environment(python, ["bench"])
    dev.environment(python, ["lint"])
    assert [len(requirements) for requirements in built] == [2, 4, 5]


def other_versions(checkout: Path) -> None:
    with open(checkout / "constraints.txt", "a") as file:
        file.write("another==1\n")


def other_dependencies(checkout: Path) -> None:
    path = checkout / "pyproject.toml"
    path.write_text(path.read_text().replace('"cryptography>=50"', '"cryptography>=51"'))


def no_python(checkout: Path) -> None:
    for python in checkout.glob(".dev/*/*/python"):
        python.unlink()


def torn_stamp(checkout: Path) -> None:
    for stamp in checkout.glob(".dev/*/stamp.json"):
        stamp.write_text("{")


@pytest.mark.parametrize("change", [other_versions, other_dependencies, no_python, torn_stamp])
def test_an_environment_that_no_longer_fits_is_made_again(
    dev: ModuleType, built: list[list[str]], checkout: Path, change: Callable[[Path], None]
) -> None:
    dev.environment(dev.this_interpreter(), [])
    change(checkout)
    dev.environment(dev.this_interpreter(), [])
    assert len(built) == 2


def test_settings_of_the_tools_do_not_make_it_again(dev: ModuleType, built: list[list[str]], checkout: Path) -> None:
    dev.environment(dev.this_interpreter(), [])
    path = checkout / "pyproject.toml"
    path.write_text(path.read_text().replace("line-length = 120", "line-length = 100"))
    dev.environment(dev.this_interpreter(), [])
    assert len(built) == 1


def test_the_demo_owns_stdout_and_the_exit_status(dev: ModuleType, built: list[list[str]], checkout: Path) -> None:
    python = dev.this_interpreter()
    script = dev.environment(python, []) / dev.BIN / "resumption"
    script.write_text(f"#!{python.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\nsys.exit(7)\n")
    script.chmod(0o755)
    command = [sys.executable, str(checkout / "dev.py"), "demo", "--json", "--python", "x y"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout) == ["demo", "--json", "--python", "x y"]
    assert (done.returncode, done.stderr) == (7, "")


def test_the_own_interpreter_is_found_by_path_and_by_version(dev: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    own = dev.this_interpreter()
    monkeypatch.setattr(dev, "candidates", lambda version: iter(["/nowhere/python", own.executable]))
    assert dev.find_interpreter(own.executable).version == own.version
    assert dev.find_interpreter(own.version) == dev.find_interpreter(own.executable)
    assert dev.find_interpreter(own.version.rpartition(".")[0]).version == own.version
    assert dev.find_interpreter("3.1") is None  # not a prefix of 3.11
    assert dev.find_interpreter("/nowhere/python") is None


def test_all_checks_run_even_after_one_fails(
    dev: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bin_folder = tmp_path / "environment" / dev.BIN
    bin_folder.mkdir(parents=True)
    (bin_folder / "python").write_text('#!/bin/sh\necho "$@"\ntest "$2" != bad\n')
    (bin_folder / "python").chmod(0o755)
    assert dev.checks(bin_folder.parent, {"first": ["bad"], "second": ["good", "-x"]}) == 1
    printed = capfd.readouterr()
    assert printed.out == "-m bad\n-m good -x\n"
    assert printed.err.endswith("dev.py: FAILED: first\n")
    assert dev.checks(bin_folder.parent, {"second": ["good"]}) == 0


@pytest.mark.parametrize("arguments", [["nonsense"], ["test", "--python"], ["which"], []])
def test_a_wrong_command_is_refused_with_status_2(
    dev: ModuleType, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = dev.main(arguments)
    except SystemExit as refused:
        status = refused.code
    printed = capsys.readouterr()
    assert (status, printed.out) == (2, "")
    assert printed.err


def test_help_is_printed_on_request(dev: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert dev.main(["--help"]) == 0
    assert "python3 dev.py demo" in capsys.readouterr().out


def test_every_command_is_described(dev: ModuleType) -> None:
    assert dev.__doc__ is not None
    assert all(f"python3 dev.py {name}" in dev.__doc__ for name in dev.COMMANDS)


def test_every_tool_that_is_installed_has_a_tested_version() -> None:
    dev = load(ROOT / "dev.py")
    with open(ROOT / "pyproject.toml", "rb") as file:
        project = dev.tomllib.load(file)
    asked = project["project"]["dependencies"] + project["project"]["optional-dependencies"]["cli"]
    asked += [requirement for name in project["dependency-groups"] for requirement in dev.group(project, name)]
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    tested = {line.partition("==")[0] for line in lines if not line.startswith("#")}
    assert {requirement.partition(">=")[0] for requirement in asked} <= tested
    assert all("/" not in line and "==" in line for line in lines if not line.startswith("#"))
