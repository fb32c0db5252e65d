"""What can befall a store, done to real ones: Redis, memcached and a SQLite file, each with a switch.

`troubled` starts a store for one trouble. `Subject.prepare` is called while it is well, `Subject.begin` brings the
trouble about and `Subject.end` lifts it, all while the store is in use. Servers listen on loopback and are ended by
their own process ids.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import redis
from pymemcache.client.base import Client

from tests.peers import free_port, require_peer, wait_until_accepts
from tests.processes import HOST, Process, folder
from tests.store_proxy import Mischief, StoreProxy
from tests.store_servers import redis_process

__all__ = ["OPENS", "REFUSES", "STORES", "TROUBLES", "Subject", "troubled"]

REDIS_POLICIES = (
    "noeviction",
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-random",
    "volatile-lru",
    "volatile-lfu",
    "volatile-random",
    "volatile-ttl",
)
_MISCHIEF = ("slow", "garbage", "cut", "stale")
_COMMON = ("none", "stopped", "frozen", "killed", "flushed")

TROUBLES: dict[str, tuple[str, ...]] = {
    "redis": (*_COMMON, *(f"full-{policy}" for policy in REDIS_POLICIES), *_MISCHIEF, "rolled-back"),
    "memcached": (*_COMMON, "full-noeviction", "full-evicting", *_MISCHIEF),
    "sqlite": ("none", "stopped", "frozen", "flushed", "full", "slow", "garbage", "rolled-back"),
}
STORES = tuple(TROUBLES)
OPENS = {  # troubles that no breaker can overlook
    "redis": ("stopped", "frozen", "killed", "slow", "garbage", "cut"),
    "memcached": ("stopped", "frozen", "killed", "slow", "garbage", "cut"),
    "sqlite": ("frozen", "slow", "garbage"),
}
REFUSES = ("sqlite", "garbage")  # a server that starts on a file which is no database says so, and ends

_JUNK = 20_000  # bytes, of each entry that fills a store
_ROOM = 300_000  # bytes, that a full Redis has left beyond what it holds


@dataclass(frozen=True)
class Subject:
    """A store in use, by its URL, and its trouble."""

    url: str
    begin: Callable[[], object]
    end: Callable[[], object]
    prepare: Callable[[], object] = lambda: None


@contextlib.contextmanager
def troubled(store: str, trouble: str, *, delay_s: float = 0.1) -> Iterator[Subject]:
    """A store that is well until its trouble begins. ``delay_s``: how late the answers of a slow one are."""
    if trouble not in TROUBLES[store]:
        raise ValueError(f"a {store} store is not tried for {trouble}")
    make = {"redis": _redis, "memcached": _memcached, "sqlite": _sqlite}[store]
    with make(trouble, delay_s) as subject:
        yield subject


class _Restartable:
    """A server that comes back at the port where it was."""

    def __init__(self, start: Callable[[], contextlib.AbstractContextManager[Process]]) -> None:
        self._start = start
        self._running = contextlib.ExitStack()
        self.pid = 0
        self.start()

    def start(self) -> None:
        self.pid = self._running.enter_context(self._start())._popen.pid

    def stop(self) -> None:
        self._running.close()

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self.stop()

    def signal(self, number: int) -> Callable[[], None]:
        return lambda: os.kill(self.pid, number)


def _of_process(server: _Restartable, trouble: str) -> tuple[Callable[[], object], Callable[[], object]] | None:
    """What is done to any server in the same way."""
    if trouble == "stopped":
        return server.stop, server.start
    if trouble == "killed":
        return server.kill, server.start
    if trouble == "frozen":
        return server.signal(signal.SIGSTOP), server.signal(signal.SIGCONT)
    return (_nothing, _nothing) if trouble == "none" else None


def _nothing() -> None:
    """For stores that are well."""


@contextlib.contextmanager
def _running(server: _Restartable) -> Iterator[None]:
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):  # one that is frozen would not hear that it is to end
            os.kill(server.pid, signal.SIGCONT)
        server.stop()


@contextlib.contextmanager
def _behind_proxy(
    port: int, trouble: str, delay_s: float
) -> Iterator[tuple[int, Callable[[], None], Callable[[], None]]]:
    with StoreProxy(port, delay_s=delay_s) as proxy:

        def switch(mischief: Mischief) -> Callable[[], None]:
            return lambda: setattr(proxy, "mischief", mischief)

        yield proxy.port, switch(Mischief(trouble)), switch(Mischief.NONE)


# --- Redis -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _redis(trouble: str, delay_s: float) -> Iterator[Subject]:
    port = free_port()
    with folder() as directory, contextlib.ExitStack() as stack:

        @contextlib.contextmanager
        def start() -> Iterator[Process]:
            with redis_process("--port", str(port), "--dir", str(directory)) as (_, process):
                yield process

        server = _Restartable(start)
        stack.enter_context(_running(server))
        admin = redis.Redis(HOST, port)
        stack.callback(admin.close)
        url = f"redis://{HOST}:{port}"
        if trouble in _MISCHIEF:
            at, begin, end = stack.enter_context(_behind_proxy(port, trouble, delay_s))
            yield Subject(f"redis://{HOST}:{at}", begin, end)
        elif trouble == "flushed":
            yield Subject(url, admin.flushall, _nothing)
        elif trouble.startswith("full-"):
            yield Subject(url, lambda: _fill_redis(admin, trouble.removeprefix("full-")), lambda: _empty_redis(admin))
        elif trouble == "rolled-back":
            kept = directory / "kept.rdb"

            def roll_back() -> None:
                server.stop()
                shutil.copy(kept, directory / "dump.rdb")
                server.start()

            def keep() -> None:
                admin.save()
                shutil.copy(directory / "dump.rdb", kept)

            yield Subject(url, roll_back, _nothing, prepare=keep)
        else:
            switches = _of_process(server, trouble)
            assert switches is not None
            yield Subject(url, *switches)


def _fill_redis(admin: redis.Redis, policy: str) -> None:
    """Half of what there is room for is somebody else's, and without an end."""
    limit = int(admin.info("memory")["used_memory"]) + _ROOM
    admin.config_set("maxmemory-policy", policy)
    admin.config_set("maxmemory", limit)
    for number in range(_ROOM // _JUNK):
        try:
            admin.set(f"junk:{number}", bytes(_JUNK))
        except redis.ResponseError:  # OOM: that is what was wanted
            return


def _empty_redis(admin: redis.Redis) -> None:
    admin.config_set("maxmemory", 0)
    for name in list(admin.scan_iter("junk:*")):
        admin.delete(name)


# --- memcached -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _memcached(trouble: str, delay_s: float) -> Iterator[Subject]:
    program = require_peer("memcached")
    port = free_port()
    options = {"full-noeviction": ["-M", "-m", "2"], "full-evicting": ["-m", "2"]}.get(trouble, ["-M"])

    @contextlib.contextmanager
    def start() -> Iterator[Process]:
        process = Process([program, "-l", HOST, "-p", str(port), "-U", "0", "-u", "nobody", *options])
        try:
            wait_until_accepts(port)
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process._popen.pid, signal.SIGKILL)  # a polite end takes it a second
            process.stop()

    with contextlib.ExitStack() as stack:
        server = _Restartable(start)
        stack.enter_context(_running(server))
        admin = Client((HOST, port), default_noreply=False)
        stack.callback(admin.close)
        url = f"memcached://{HOST}:{port}"
        if trouble in _MISCHIEF:
            at, begin, end = stack.enter_context(_behind_proxy(port, trouble, delay_s))
            yield Subject(f"memcached://{HOST}:{at}", begin, end)
        elif trouble == "flushed":
            yield Subject(url, admin.flush_all, _nothing)
        elif trouble.startswith("full-"):
            yield Subject(url, lambda: _fill_memcached(admin), admin.flush_all)
        else:
            switches = _of_process(server, trouble)
            assert switches is not None
            yield Subject(url, *switches)


def _fill_memcached(admin: Client) -> None:
    """In the sizes that sessions have, since memory is divided by size."""
    for length in (600, 1_200, 2_300, 4_500):
        admin.set_many(
            {f"junk:{length}:{number}": bytes(length) for number in range(3_000_000 // length)}, noreply=True
        )
    admin.version()  # what was not answered is done now


# --- SQLite ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _sqlite(trouble: str, delay_s: float) -> Iterator[Subject]:
    with folder() as directory, contextlib.ExitStack() as stack:
        path = directory / "sessions.db"
        query = "?max_bytes=1048576" if trouble == "full" else ""
        locked = _Lock(path)
        stack.callback(locked.let_go)
        damaged, kept = directory / "damaged.db", directory / "kept.db"
        switches: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
            "none": (_nothing, _nothing),
            "stopped": (lambda: _remove(path), _nothing),
            "frozen": (locked.hold, locked.let_go),
            "slow": (lambda: locked.hold_now_and_then(delay_s), locked.let_go),
            "flushed": (lambda: _execute(path, "DELETE FROM records"), _nothing),
            "full": (lambda: _fill_sqlite(path), lambda: _execute(path, "DELETE FROM records WHERE key LIKE 'junk%'")),
            "garbage": (lambda: _put_in_place(_written(damaged), path), lambda: _remove(path)),
            "rolled-back": (lambda: _put_in_place(kept, path), _nothing),
        }
        prepare = (lambda: _copy(path, kept)) if trouble == "rolled-back" else _nothing
        yield Subject(f"sqlite://{path}{query}", *switches[trouble], prepare=prepare)


def _execute(path: Path, statement: str, values: list[tuple[object, ...]] | None = None) -> None:
    with contextlib.closing(sqlite3.connect(path, timeout=10, isolation_level=None)) as connection:
        if values is None:
            connection.execute(statement)
        else:
            connection.executemany(statement, values)


def _remove(path: Path) -> None:
    for each in path.parent.glob(f"{path.name}*"):
        each.unlink(missing_ok=True)


def _copy(path: Path, copy: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as source, contextlib.closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    copy.chmod(0o600)


def _written(path: Path) -> Path:
    path.write_bytes(b"\xa5" * 65_536)
    path.chmod(0o600)
    return path


def _put_in_place(new: Path, path: Path) -> None:
    """As a restoring administrator should: the old one's companions go, too."""
    for each in path.parent.glob(f"{path.name}-*"):
        each.unlink(missing_ok=True)
    new.replace(path)


def _fill_sqlite(path: Path) -> None:
    with contextlib.suppress(sqlite3.OperationalError):
        _execute(path, "PRAGMA journal_mode = WAL")
    rows: list[tuple[object, ...]] = [(f"junk{number}", bytes(_JUNK), 1e12) for number in range(40)]
    _execute(path, "INSERT INTO records (key, value, expires_at) VALUES (?, ?, ?)", rows)


class _Lock:
    """Another program that holds SQLite's lock for writers."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def hold(self) -> None:
        self.hold_now_and_then(float("inf"))

    def hold_now_and_then(self, seconds: float) -> None:
        """Hold it for so long at a time, with short breaks."""
        held = threading.Event()

        def run() -> None:
            with contextlib.closing(
                sqlite3.connect(self._path, timeout=10, isolation_level=None, check_same_thread=False)
            ) as connection:
                while not self._over.is_set():
                    connection.execute("BEGIN IMMEDIATE")
                    held.set()
                    self._over.wait(min(seconds, 600))
                    connection.execute("ROLLBACK")
                    self._over.wait(0.002)

        self._over.clear()
        self._thread = threading.Thread(target=run, name="holder of a lock", daemon=True)
        self._thread.start()
        assert held.wait(20)

    def let_go(self) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join(20)
