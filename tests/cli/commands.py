"""Running the commands: in this process through typer's runner, or as a user does, in a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from resumption.cli.application import application

TIME_LIMIT = 100.0


@dataclass(frozen=True)
class Shown:
    """What a command in this process printed, and its exit status."""

    exit_code: int
    stdout: str
    stderr: str
    stdout_bytes: bytes


def invoke(*arguments: object, stdin: str | bytes | None = None) -> Shown:
    """The command in this process. What it raises instead of exiting is raised here."""
    done = CliRunner().invoke(application, [str(argument) for argument in arguments], input=stdin)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Shown(done.exit_code, done.stdout, done.stderr, done.stdout_bytes)


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "resumption", *map(str, arguments)]


def run(
    *arguments: object, stdin: bytes = b"", environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """The command in a process of its own."""
    return subprocess.run(
        command(*arguments),
        input=stdin,
        capture_output=True,
        timeout=TIME_LIMIT,
        env={**os.environ, **(environ or {})},
    )


@dataclass
class Served:
    """A running ``resumption serve --json``: where it is, and what it says of each connection."""

    process: subprocess.Popen[bytes]
    port: int
    authority: Path
    worker_pids: Sequence[int]

    @property
    def target(self) -> str:
        return f"localhost:{self.port}"

    def line(self) -> dict[str, Any]:
        """What it says next."""
        assert self.process.stdout is not None
        line: dict[str, Any] = json.loads(self.process.stdout.readline())
        return line


@contextmanager
def served(*arguments: object) -> Iterator[Served]:
    """A server with certificates of its own making, ended by its process id."""
    with subprocess.Popen(
        command("serve", "--json", *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            first = json.loads(process.stdout.readline())
            yield Served(process, first["port"], Path(first["ca"]), first["workers"])
        finally:
            process.terminate()
            process.wait(20)
