"""The demonstration as a whole: what it prints, when it fails, and what it leaves behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from resumption.cli.certificates import Certificates
from resumption.cli.demo import scenario
from resumption.cli.demo.plan import Plan
from resumption.cli.output import Status
from resumption.cli.worker import WorkerSettings
from tests.cli.commands import TIME_LIMIT, command, invoke, run

CONNECTIONS = 20
SMALL = ("--workers", 2, "--connections", CONNECTIONS)


@pytest.fixture(scope="module")
def demonstrated(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[bytes], Path]:
    """One run with ``--json``, and the folder that was its place for temporary files."""
    folder = tmp_path_factory.mktemp("demo")
    return run("demo", "--json", *SMALL, environ={"TMPDIR": str(folder)}), folder


@pytest.fixture
def told(demonstrated: tuple[subprocess.CompletedProcess[bytes], Path]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(demonstrated[0].stdout)
    return document


def test_it_prints_one_object_and_nothing_else(
    demonstrated: tuple[subprocess.CompletedProcess[bytes], Path], told: dict[str, Any]
) -> None:
    done, _ = demonstrated
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"{\n")
    assert done.stdout.endswith(b"}\n")
    assert {"resumed", "of", "stdlib_resumed", "references_final", "openssl"} <= set(told)


def test_everything_resumed_at_both_ends(told: dict[str, Any]) -> None:
    assert (told["resumed"], told["of"], told["ok"], told["error"]) == (CONNECTIONS, CONNECTIONS, True, None)
    assert [row["resumed"] for row in told["rows"]] == [CONNECTIONS] * 3
    for row in told["rows"]:
        assert sum(row["by_worker"]) == CONNECTIONS
        assert 0 < row["crossed"] <= CONNECTIONS
        assert row["resumed_bytes"] < row["full_bytes"]
        assert row["resumed_ms"] > 0
    assert all(claim["held"] for claim in told["claims"])


def test_the_standard_library_did_the_same(told: dict[str, Any]) -> None:
    assert told["stdlib"]["of"] == CONNECTIONS
    assert 0 <= told["stdlib_resumed"] < CONNECTIONS
    assert told["stdlib_resumed"] == told["stdlib"]["resumed"]


def test_openssl_took_part_if_there_is_one(told: dict[str, Any]) -> None:
    expected = ("resumed", "same") if shutil.which("openssl") else ("absent", "absent")
    assert (told["openssl"], told["openssl_reads"]) == expected


def test_the_life_of_a_session_ends_in_nothing(told: dict[str, Any]) -> None:
    assert told["references_final"] == 0
    life = told["life"]
    assert life[0]["event"] == "made"
    assert max(step["references"] for step in life) == 3
    assert (life[-1]["event"], life[-1]["references"], life[-1]["holders"]) == ("wiped", 0, {})


def test_nothing_is_left_behind(demonstrated: tuple[subprocess.CompletedProcess[bytes], Path]) -> None:
    assert list(demonstrated[1].iterdir()) == []


def test_without_openssl_it_says_absent_and_succeeds() -> None:
    done = run("demo", "--json", "--workers", 1, "--connections", 2, environ={"PATH": ""})
    told = json.loads(done.stdout)
    assert (done.returncode, told["ok"], told["openssl"], told["openssl_reads"]) == (0, True, "absent", "absent")
    assert (told["resumed"], told["stdlib_resumed"]) == (2, 2)  # with one worker the standard library resumes too


def test_workers_without_a_common_secret_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = scenario.worker_settings

    def each_its_own(plan: Plan, certificates: Certificates) -> list[WorkerSettings]:
        return [
            replace(settings, tickets=os.urandom(32).hex() if index else settings.tickets)
            for index, settings in enumerate(honest(plan, certificates))
        ]

    monkeypatch.setattr(scenario, "worker_settings", each_its_own)
    done = invoke("demo", *SMALL)
    assert done.exit_code == Status.FAILED
    assert f"{CONNECTIONS}/{CONNECTIONS}" not in done.stdout
    assert "FAILED" in done.stdout
    assert "did not hold: " in done.stderr
    assert "2 worker processes listen on port" in done.stderr  # the progress, for people


def test_a_store_that_is_not_shared_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = scenario.worker_settings
    monkeypatch.setattr(
        scenario,
        "worker_settings",
        lambda plan, certificates: [replace(each, store="memory:") for each in honest(plan, certificates)],
    )
    done = invoke("demo", "--json", *SMALL, "--mechanism", "1.3-stateful")
    told = json.loads(done.stdout)
    assert done.exit_code == Status.FAILED
    assert told["ok"] is False
    assert told["resumed"] < CONNECTIONS
    assert sum(told["rows"][0]["declined"].values()) == CONNECTIONS - told["resumed"]
    assert "unknown" in told["rows"][0]["declined"]
    assert told["references_final"] == 0
    assert done.stderr.startswith("resumption: did not hold: ")


def test_time_that_runs_out_is_a_failure_with_a_report() -> None:
    done = run("demo", "--json", "--timeout", "1", "--connections", "5000")
    told = json.loads(done.stdout)
    assert done.returncode == Status.FAILED
    assert told["error"].startswith("DeadlinePassed: ")
    assert told["ok"] is False


def test_keep_leaves_files_that_openssl_could_read(tmp_path: Path) -> None:
    done = run("demo", "--keep", "--workers", 1, "--connections", 1, environ={"TMPDIR": str(tmp_path)})
    assert done.returncode == 0
    (folder,) = tmp_path.iterdir()
    assert f"everything is kept in {folder}".encode() in done.stderr
    assert folder.stat().st_mode & 0o077 == 0
    names = {path.name for path in folder.iterdir()}
    assert {"authority.pem", "server.pem", "server.key", "sessions.db", "openssl.pem", "session-tickets.pem"} <= names
    assert (folder / "session-tickets.pem").stat().st_mode & 0o077 == 0
    assert b"the life of one session" in done.stdout


def test_a_signal_ends_it_in_order(tmp_path: Path) -> None:
    with subprocess.Popen(
        command("demo", "--connections", 10_000, "--workers", 2),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as process:
        assert process.stderr is not None
        assert b"2 worker processes listen" in process.stderr.readline()
        workers = children_of(process.pid)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=TIME_LIMIT)
    assert process.returncode == 128 + signal.SIGTERM
    assert output == b""
    assert list(tmp_path.iterdir()) == []
    assert len(workers) >= 2
    wait_until_gone(workers)


def test_no_process_outlives_one_that_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        command("demo", "--connections", 10_000, "--workers", 2),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as process:
        assert process.stderr is not None
        process.stderr.readline()
        workers = children_of(process.pid)
        process.kill()
        process.wait(TIME_LIMIT)
    assert len(workers) >= 2
    wait_until_gone(workers)


def wait_until_gone(pids: list[int]) -> None:
    """Fails if one of them is still there after half a minute."""
    pause = threading.Event()
    for _ in range(3_000):
        if not any(is_alive(pid) for pid in pids):
            return
        pause.wait(0.01)
    raise AssertionError("a process was left behind")


def children_of(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(path.parent.name))
    return found


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    "arguments", [["--workers", "0"], ["--connections", "0"], ["--timeout", "0"], ["--store", "nonsense:"]]
)
def test_wrong_usage_is_refused_before_anything_starts(arguments: list[str]) -> None:
    before = set(Path(tempfile.gettempdir()).glob("resumption-demo-*"))
    done = invoke("demo", "--json", *arguments)
    assert (done.exit_code, done.stdout) == (Status.USAGE, "")
    assert set(Path(tempfile.gettempdir()).glob("resumption-demo-*")) <= before


def test_a_store_that_cannot_be_opened_fails_at_once() -> None:
    done = invoke("demo", "--json", "--store", "sqlite:///nowhere/at/all.db")
    assert (done.exit_code, done.stdout) == (Status.FAILED, "")
    assert "StoreError" in done.stderr


def test_the_store_of_the_plan_is_a_url_whatever_the_folder_is_called(tmp_path: Path) -> None:
    folder = tmp_path / "a b?c#d%"
    folder.mkdir()
    from resumption import open_store

    open_store(Plan(folder=folder).store_url).close()
    assert (folder / "sessions.db").exists()
