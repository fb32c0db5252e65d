"""Child processes that talk in lines of JSON: the workers of a server, and the clients of the demonstration.

A `Child` is a Python program of ours in a process of its own, started from nothing: it inherits no memory, and learns
what it has to know, secrets included, through its standard input, where no list of processes shows it. It ends when
that input ends, so none outlives its parent, however the parent dies. Everything that waits has a deadline.

The child's side is `lines_in` and `line_out`.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, TypeAlias

from resumption.errors import Error

__all__ = ["Child", "ChildFailed", "Deadline", "DeadlinePassed", "Line", "describe", "line_out", "lines_in"]

Line: TypeAlias = dict[str, Any]

_COMPLAINT = 4_000  # characters of standard error that are kept for the message
_END_WAIT_S = 5.0


class ChildFailed(Error):
    """A child process ended, or said something, that its parent did not expect."""


class DeadlinePassed(Error):
    """The time that was allowed for everything is over."""


def describe(error: Exception) -> str:
    """An error in one line; system errors by their own words."""
    if isinstance(error, Error):
        return f"{type(error).__name__}: {error}"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error) or type(error).__name__


class Deadline:
    """A point in time for a whole undertaking, however many steps it takes."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds until then; raises `DeadlinePassed` when there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise DeadlinePassed(f"the {self.seconds:g} seconds that were allowed are over")
        return left


class Child:
    """A running child. ``on_line`` may take a line (return True), which is then not delivered to `receive`.

    ``arguments`` follow the interpreter: ``("-m", "resumption.cli.worker")``. ``inherited`` are descriptors that it
    gets, ``folder`` its working directory. `stop` must be called; it may be repeated.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        inherited: Sequence[int] = (),
        on_line: Callable[[Line], bool] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.name = name
        self._on_line = on_line
        self._lines: queue.SimpleQueue[Line | None] = queue.SimpleQueue()
        self._complaint = ""
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=tuple(inherited),
            env=_environment(),
            cwd=folder,
            start_new_session=True,  # Ctrl-C is the parent's to handle: it ends its children in order
        )
        self._threads = [
            threading.Thread(target=target, args=(stream,), name=f"{name}: {what}", daemon=True)
            for target, stream, what in (
                (self._read_lines, self._process.stdout, "lines"),
                (self._read_complaint, self._process.stderr, "errors"),
            )
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def send(self, line: Line) -> None:
        """Hand it a line. One that is gone already is found out by `receive`."""
        stdin = self._process.stdin
        if stdin is not None:
            with contextlib.suppress(OSError, ValueError):
                stdin.write(json.dumps(line).encode() + b"\n")
                stdin.flush()

    def receive(self, deadline: Deadline) -> Line:
        """Its next line. Raises `ChildFailed` if it ended or reported a failure, and `DeadlinePassed`."""
        try:
            line = self._lines.get(timeout=deadline.left())
        except queue.Empty:
            deadline.left()
            raise DeadlinePassed(f"{self.name} did not answer in time") from None
        if line is None:
            self._threads[1].join(1.0)
            status = self._process.poll()
            how = "ended" if status is None else f"ended with status {status}"
            raise ChildFailed(f"{self.name} {how} unexpectedly{self._last_words()}")
        if "failed" in line:
            raise ChildFailed(f"{self.name}: {line['failed']}")
        return line

    def ask(self, line: Line, deadline: Deadline) -> Line:
        """`send`, then `receive`."""
        self.send(line)
        return self.receive(deadline)

    def finish(self, deadline: Deadline) -> Line | None:
        """End its input and return its last line, None if there is none; wait until it is gone."""
        self.end_input()
        last = None
        with contextlib.suppress(queue.Empty):
            while True:
                line = self._lines.get(timeout=deadline.left())
                if line is None:
                    break
                last = line
        self.stop()
        return last

    def stop(self) -> None:
        """Make sure that it is gone, at the latest by SIGKILL, and let go of its pipes."""
        self.end_input()
        try:
            self._process.wait(_END_WAIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for thread in self._threads:
            thread.join(1.0)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def kill(self) -> None:
        """End it at once, without a word."""
        self._process.kill()
        self.stop()

    def end_input(self) -> None:
        """Close the pipe to it: that is how it is told to end."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def _read_lines(self, stream: IO[bytes]) -> None:
        with contextlib.suppress(ValueError, OSError):
            for raw in stream:
                try:
                    line = json.loads(raw)
                except ValueError:
                    continue  # not one of ours
                if isinstance(line, dict) and not (self._on_line is not None and self._on_line(line)):
                    self._lines.put(line)
        self._lines.put(None)

    def _read_complaint(self, stream: IO[bytes]) -> None:
        with contextlib.suppress(ValueError, OSError):
            for raw in stream:
                self._complaint = (self._complaint + raw.decode("utf-8", "replace"))[-_COMPLAINT:]

    def _last_words(self) -> str:
        words = self._complaint.strip()
        return f":\n{words}" if words else ""


def _environment() -> dict[str, str]:
    """This process's variables, without those that would add lines to a child's output."""
    return {**os.environ, "PYTHONUNBUFFERED": "1"}


# --- the child's side ----------------------------------------------------------------------------------------------

_writing = threading.Lock()


def lines_in() -> Iterator[Line]:
    """The parent's lines, until it closes the pipe or is gone."""
    for raw in sys.stdin.buffer:
        line = json.loads(raw)
        if isinstance(line, dict):
            yield line


def line_out(line: Line) -> None:
    """Tell the parent. Safe from any thread; nothing happens if the parent is gone."""
    with _writing, contextlib.suppress(OSError):
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
