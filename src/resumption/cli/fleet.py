"""Worker processes that accept on one port: how they are started, told apart, and ended.

On Linux each worker has a listening socket of its own on the port (SO_REUSEPORT), and the kernel picks one for each
connection by a hash of its addresses, evenly and without memory. Elsewhere the workers share one socket.
"""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from resumption.cli.processes import Child, Deadline, Line
from resumption.cli.worker import WorkerSettings
from resumption.errors import ConfigurationError

__all__ = ["Fleet", "SharedPort", "numbered"]


class SharedPort:
    """A port that several processes can listen on. Close it when all of them do, or when all of them have ended.

    ``listener`` is the descriptor that they share; None if each makes a socket of its own.
    """

    def __init__(self, host: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.listener: int | None = None
        if sys.platform == "linux":
            # Bound, not listening: it keeps the port for us and never gets a connection.
            self._sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                self._sock.bind((host, port))
            except BaseException:
                self._sock.close()
                raise
        elif sys.platform == "win32":
            raise ConfigurationError("several worker processes cannot share a port on Windows: use one worker")
        else:
            self._sock = socket.create_server((host, port), family=family)
            self.listener = self._sock.fileno()
        self.port: int = self._sock.getsockname()[1]

    def close(self) -> None:
        """Let go of it here."""
        self._sock.close()


class Fleet:
    """A server of as many worker processes as there are ``settings``, each process with its own.

    ``folder`` is their working directory. ``program`` is what follows the interpreter on a worker's command line; the
    settings are its first line of input. ``on_event`` gets what the workers tell of connections, from other threads,
    one at a time. Raises `ChildFailed` if a worker cannot start, `OSError` if the port is taken. Use ``with``; `end`
    before it for the workers' last words.
    """

    def __init__(
        self,
        settings: Sequence[WorkerSettings],
        deadline: Deadline,
        on_event: Callable[[Line], object] | None = None,
        program: Sequence[str] = ("-m", "resumption.cli.worker"),
        folder: Path | None = None,
    ) -> None:
        self._on_event = on_event
        self._telling = threading.Lock()
        self._program = tuple(program)
        self._folder = folder
        self._settings = tuple(settings)
        self._workers: list[Child] = []
        self._shared = SharedPort(settings[0].host, settings[0].port) if len(settings) > 1 else None
        self.host, self.port = settings[0].host, settings[0].port
        try:
            for each in settings:
                self._workers.append(self._start(each))
            for child in self._workers:
                self.port = child.receive(deadline)["port"]
        except BaseException:
            self.close()
            raise

    def _start(self, settings: WorkerSettings) -> Child:
        shared = self._shared
        inherited: tuple[int, ...] = ()
        if shared is not None:
            settings = replace(settings, port=shared.port, listener=shared.listener, share_port=True)
            inherited = () if shared.listener is None else (shared.listener,)
        child = Child(
            f"worker {settings.index}", self._program, inherited=inherited, on_line=self._take, folder=self._folder
        )
        child.send(asdict(settings))
        return child

    def _take(self, line: Line) -> bool:
        if line.get("event") not in ("connection", "trouble"):
            return False
        if self._on_event is not None:
            with self._telling:
                self._on_event(line)
        return True

    @property
    def pids(self) -> list[int]:
        """The process ids of the workers."""
        return [child.pid for child in self._workers]

    def issue(self, *, stateful: bool, deadline: Deadline) -> None:
        """Have all workers issue this kind of session; returns when all of them do."""
        for child in self._workers:
            child.send({"stateful": stateful})
        for child in self._workers:
            child.receive(deadline)

    def rotate(self, deadline: Deadline) -> list[str | None]:
        """Have all workers issue tickets with a new key; the name of each one's."""
        for child in self._workers:
            child.send({"rotate": True})
        return [child.receive(deadline)["key"] for child in self._workers]

    def replace_all(self, deadline: Deadline) -> None:
        """Kill every worker outright (SIGKILL) and start another one in its place, on the same port."""
        for number, child in enumerate(self._workers):
            child.kill()
            self._workers[number] = self._start(replace(self._settings[number], port=self.port))
        for child in self._workers:
            child.receive(deadline)

    def end(self, deadline: Deadline) -> list[Line]:
        """End the workers in order, and return the last report of each."""
        workers, self._workers = self._workers, []
        self._let_port_go()
        for child in workers:
            child.end_input()
        try:
            return [child.finish(deadline) or {} for child in workers]
        finally:
            for child in workers:
                child.stop()

    @property
    def is_whole(self) -> bool:
        """Whether all workers are running."""
        return all(child.is_running for child in self._workers)

    def close(self) -> None:
        """End the workers, whatever they are doing."""
        self._let_port_go()
        workers, self._workers = self._workers, []
        for child in workers:
            child.kill()

    def _let_port_go(self) -> None:
        if self._shared is not None:
            self._shared.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def numbered(settings: WorkerSettings, workers: int) -> list[WorkerSettings]:
    """The same settings for each worker, except for its number."""
    return [replace(settings, index=index) for index in range(workers)]
