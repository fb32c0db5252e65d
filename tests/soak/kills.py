#!/usr/bin/env python3
"""Processes that write to a SQLite store are killed outright, again and again: the file stays whole, and readers go on.

    python tests/soak/kills.py [--kills N]

Two writers at a time put, take and mark as fast as they can; one of them is killed at a moment that chance picks, and
another takes its place. Meanwhile one process reads. After each kill: what the dead one had reported is there,
this process writes at once (no lock is left behind), and SQLite finds the file whole. The exit status is 1 otherwise.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path

if __package__ in (None, ""):
    ROOT = Path(__file__).resolve().parents[2]
    sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from resumption.session.stores.sqlite import SQLiteStore

LATER = 1e11
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["resumption.session.stores.sqlite"])  # or each writer imports it, for most of its life


def write(path: Path, name: str, reports: Connection) -> None:
    """A writer's life; it reports every fifth round."""
    store = SQLiteStore(path, busy_timeout_s=10.0, max_entries=500)
    for number in itertools.count():
        store.put(f"{name}/{number}", b"v" * 5000, LATER)
        store.take(f"{name}/{number - 50}")
        store.add_once(f"{name}/{number}", LATER)
        if number % 5 == 4:
            reports.send_bytes(number.to_bytes(4, "big"))


class Writer:
    """A process that writes until it is killed."""

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        self.wrote = -1
        self._reports, theirs = _FORKS.Pipe(duplex=False)
        self._process = _FORKS.Process(target=write, args=(path, name, theirs))
        self._process.start()
        theirs.close()

    def goes_on(self, reports: int) -> None:
        """Wait until it has reported so many times."""
        for _ in range(reports):
            self.wrote = int.from_bytes(self._reports.recv_bytes(), "big")

    def kill(self) -> None:
        """In whatever it is doing."""
        self._process.kill()
        with contextlib.suppress(EOFError, OSError):
            while True:
                self.goes_on(1)
        self._process.join()
        assert self._process.exitcode == -signal.SIGKILL
        self._process.close()
        self._reports.close()


def soak(path: Path, kills: int, seed: int = 0) -> int:
    """Kill so many writers; returns how often the reader read meanwhile. Raises what went wrong."""
    chance = random.Random(seed)
    store = SQLiteStore(path, busy_timeout_s=10.0, max_entries=500)
    store.put("read", b"r" * 3000, 2 * LATER)
    over, reads, trouble = threading.Event(), 0, []

    def read() -> None:
        nonlocal reads
        reader = SQLiteStore(path, busy_timeout_s=10.0)
        try:
            while not over.wait(0.001):
                assert reader.get("read") == b"r" * 3000
                reads += 1
        except Exception as error:
            trouble.append(error)
        reader.close()

    thread = threading.Thread(target=read)
    thread.start()
    writers = [Writer(path, f"w{number}") for number in range(2)]
    try:
        for number in range(kills):
            victim = writers.pop(0)
            victim.goes_on(chance.randrange(1, 8))
            pause = threading.Event()
            pause.wait(chance.random() * 0.003)  # where in its work it dies is left to chance
            victim.kill()
            writers.append(Writer(path, f"w{number + 2}"))
            last = f"{victim.name}/{victim.wrote}"
            if store.get(last) is None:
                raise RuntimeError(f"{last} was reported and is not there")
            if store.add_once(last, LATER):
                raise RuntimeError(f"the mark {last} was reported and is not there")
            store.put("ours", b"v", LATER)
            if store.take("ours") != b"v":
                raise RuntimeError("what was put is not there")
            check_file(path)
    finally:
        over.set()
        thread.join()
        for writer in writers:
            writer.kill()
        store.close()
    if trouble:
        raise trouble[0]
    return reads


def check_file(path: Path) -> None:
    """As a new process would find it."""
    fresh = SQLiteStore(path, busy_timeout_s=10.0)
    with fresh._connected() as connection:
        (found,) = connection.execute("PRAGMA integrity_check").fetchone()
    fresh.close()
    if found != "ok":
        raise RuntimeError(f"the file is damaged: {found}")


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--kills", type=int, default=100, help="how many processes (100)")
    options = parser.parse_args(words)
    began = time.monotonic()
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:2])  # the process that forks is not told of ours otherwise
    with tempfile.TemporaryDirectory(prefix="resumption-soak-") as folder:
        try:
            reads = soak(Path(folder) / "sessions.db", options.kills)
        except Exception as error:
            print(f"wrong: {error}")
            return 1
    print(
        f"{options.kills} writers killed in {time.monotonic() - began:.0f} s: the file is whole, {reads} reads went on"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
