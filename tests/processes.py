"""Running the programs that the tests talk to: output as it comes, time limits, and an end by process id.

Shared by `tests.peers`, which knows the programs, and `tests.stdlib_peers`, which needs no program.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
import termios
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

HOST = "127.0.0.1"
TIME_LIMIT = 20.0  # seconds, for one exchange or one awaited line
REQUEST = b"GET / HTTP/1.0\r\n\r\n"  # what a client sends; the server answers, sends close_notify and closes


class Credential(Protocol):
    """A certificate chain, leaf first, and its key, both PEM."""

    @property
    def chain_pem(self) -> bytes: ...

    @property
    def key_pem(self) -> bytes: ...


class PeerError(AssertionError):
    """A peer did not do in time what the test relies on. The text ends with what it printed."""


def environ() -> dict[str, str]:
    """This process's variables without those that would change what a peer does."""
    unwanted = ("SSLKEYLOGFILE", "OPENSSL_CONF", "GNUTLS_SYSTEM_PRIORITY_FILE")
    return {**{name: value for name, value in os.environ.items() if name not in unwanted}, "LC_ALL": "C"}


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A directory that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="resumption-peer-") as name:
        yield Path(name)


def write_file(directory: Path, name: str, data: bytes) -> str:
    """The path of a new file with these contents."""
    path = directory / name
    path.write_bytes(data)
    return str(path)


class Process:
    """A running tool: its output (stdout and stderr as one text) is collected while it runs.

    The output is a terminal, because into a pipe most programs only write once they have 4096 bytes to say.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.command = list(command)
        self._terminal, theirs = os.openpty()
        attributes = termios.tcgetattr(theirs)
        attributes[1] &= ~termios.OPOST  # newlines stay as they are
        termios.tcsetattr(theirs, termios.TCSANOW, attributes)
        try:
            self._popen = subprocess.Popen(
                self.command, stdin=subprocess.PIPE, stdout=theirs, stderr=theirs, env=environ(), bufsize=0
            )
        except OSError:
            os.close(self._terminal)
            raise
        finally:
            os.close(theirs)
        self._printed = bytearray()
        self._ended = False
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, name=f"output of {self.name}", daemon=True)
        self._reader.start()

    @property
    def name(self) -> str:
        return f"{Path(self.command[0]).name} {self._popen.pid}"

    def _read(self) -> None:
        # EIO is how a terminal says that nobody writes to it any more. Linux looks for bytes first, then for writers:
        # what a program writes last, between the two looks of a reader that was put to sleep there, is only found by
        # reading once more.
        for _ in range(2):
            with contextlib.suppress(OSError):
                while data := os.read(self._terminal, 1 << 16):
                    with self._news:
                        self._printed += data
                        self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    @property
    def output(self) -> str:
        """Everything printed so far."""
        with self._news:
            return self._printed.decode("utf-8", "replace")

    def wait_for(self, pattern: str, *, count: int = 1, limit: float = TIME_LIMIT) -> re.Match[str]:
        """The ``count``-th match of ``pattern`` (MULTILINE) in the output, as soon as it is there."""
        expression = re.compile(pattern, re.MULTILINE)
        deadline = time.monotonic() + limit
        with self._news:
            while True:
                matches = list(expression.finditer(self._printed.decode("utf-8", "replace")))
                if len(matches) >= count:
                    return matches[count - 1]
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    why = "ended" if self._ended else f"was silent for {limit:g} s"
                    raise PeerError(f"{self.name} {why} without printing {pattern!r}; {self._told()}")
                self._news.wait(left)

    def _told(self) -> str:
        return f"{' '.join(self.command)} printed:\n{self._printed.decode('utf-8', 'replace')}"

    def send(self, data: bytes) -> None:
        """Write to its standard input; a process that is already gone is no error, its output tells the story."""
        assert self._popen.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._popen.stdin.write(data)

    def end_input(self) -> None:
        """Close its standard input."""
        assert self._popen.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._popen.stdin.close()

    def finish(self, *, limit: float = TIME_LIMIT) -> int:
        """Wait for its end; returns the exit status. Kills it and raises `PeerError` past ``limit`` seconds."""
        try:
            status = self._popen.wait(limit)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self.stop()
            raise PeerError(f"{self.name} did not end within {limit:g} s; {self._told()}") from None
        self.stop()
        return status

    def stop(self) -> None:
        """End it, at the latest by SIGKILL, and let go of its pipes. May be called again."""
        if self._popen.poll() is None:
            self._popen.terminate()
            try:
                self._popen.wait(5)
            except subprocess.TimeoutExpired:
                self._popen.kill()
                self._popen.wait()
        self._reader.join()
        self.end_input()
        if self._terminal >= 0:
            os.close(self._terminal)
            self._terminal = -1
