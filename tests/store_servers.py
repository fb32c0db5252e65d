"""Real store servers to run against: Redis alone, as a cluster and behind a sentinel, and memcached.

Each is a context manager that yields once its server answers; everything listens on 127.0.0.1 only, on ports that the
system chose, keeps nothing on disk, and is ended by its own process id. A missing program skips the test, with the
reason, or fails it where the suite must be complete (see `tests.peers`).

Time: a test moves a `ServedClock`, and every entry of the servers that watch it grows older by as much. So expiry is
tested on the real servers, and nobody waits.
"""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

import redis
from pymemcache.client.base import Client

from tests.peers import free_port, require_peer, wait_until_accepts
from tests.processes import HOST, TIME_LIMIT, PeerError, Process, folder

__all__ = [
    "Server",
    "ServedClock",
    "memcached_server",
    "redis_cluster",
    "redis_sentinel",
    "redis_server",
    "until",
]

Age = Callable[[float], None]


@dataclass
class Server:
    """Something that stores: its URL, how to empty it, and how to make its entries older by some seconds."""

    url: str
    port: int
    processes: tuple[Process, ...]
    flush: Callable[[], object]
    age: Age = field(repr=False)


class ServedClock:
    """A clock that a test sets; entries of the servers grow older with it."""

    def __init__(self, now: float) -> None:
        self._now = now
        self.ages: list[Age] = []

    def __call__(self) -> float:
        return self._now

    @property
    def now(self) -> float:
        return self._now

    @now.setter
    def now(self, now: float) -> None:
        passed, self._now = now - self._now, now
        for age in self.ages:
            age(passed)


def until(condition: Callable[[], bool], what: str, *, limit: float = TIME_LIMIT) -> None:
    """Return once ``condition`` holds; what raises does not hold yet."""
    deadline = time.monotonic() + limit
    pause = threading.Event()
    while True:
        with contextlib.suppress(redis.RedisError, OSError, KeyError):
            if condition():
                return
        if time.monotonic() > deadline:
            raise PeerError(f"after {limit:g} s still not {what}")
        pause.wait(0.01)


@contextlib.contextmanager
def redis_process(*options: str, sentinel: bool = False, tls: bool = False) -> Iterator[tuple[int, Process]]:
    """A Redis server on some port, told nothing but these options (``--name value``)."""
    program = require_peer("redis-server")
    with folder() as directory:
        port = free_port()
        where = ["--port", "0", "--tls-port", str(port)] if tls else ["--port", str(port)]
        command = [program]
        if sentinel:
            configuration = directory / "sentinel.conf"  # sentinels write down what they find out
            configuration.touch()
            command += [str(configuration), "--sentinel"]
        else:
            command += ["--save", "", "--appendonly", "no"]
        process = Process([*command, *where, "--bind", HOST, "--dir", str(directory), *options])
        try:
            process.wait_for(r"[Rr]eady to accept|Sentinel ID is")
            yield port, process
        finally:
            process.stop()


@contextlib.contextmanager
def redis_server(*options: str, tls: bool = False, scheme: str = "redis", query: str = "") -> Iterator[Server]:
    """One Redis server."""
    with redis_process(*options, tls=tls) as (port, process):
        admin = None if tls else redis.Redis(HOST, port)
        yield Server(
            f"{scheme}://{HOST}:{port}{query}",
            port,
            (process,),
            admin.flushall if admin else lambda: None,
            lambda seconds: _age_redis([admin], seconds) if admin else None,
        )
        if admin is not None:
            admin.close()


@contextlib.contextmanager
def redis_cluster(nodes: int = 3) -> Iterator[Server]:
    """A cluster of primaries that divide the slots among themselves."""
    with contextlib.ExitStack() as stack:
        started = [
            stack.enter_context(
                redis_process(
                    "--cluster-enabled", "yes", "--cluster-port", str(free_port()), "--cluster-node-timeout", "5000"
                )
            )
            for _ in range(nodes)
        ]
        admins = [redis.Redis(HOST, port) for port, _ in started]
        for number, admin in enumerate(admins):
            stack.callback(admin.close)
            admin.execute_command("CLUSTER ADDSLOTSRANGE", 16_384 * number // nodes, 16_384 * (number + 1) // nodes - 1)
            admin.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
        for port, _ in started[1:]:
            bus = redis.Redis(HOST, port)
            stack.callback(bus.close)
            number = int(bus.config_get("cluster-port")["cluster-port"])
            admins[0].execute_command("CLUSTER MEET", HOST, port, number)
        for admin in admins:
            until(lambda admin=admin: admin.cluster("info")["cluster_state"] == "ok", "a cluster")  # type: ignore[misc]
        url = "redis+cluster://" + ",".join(f"{HOST}:{port}" for port, _ in started[:2])
        yield Server(
            url,
            started[0][0],
            tuple(process for _, process in started),
            lambda: [admin.flushall() for admin in admins],
            lambda seconds: _age_redis(admins, seconds),
        )


@contextlib.contextmanager
def redis_sentinel(replicas: int = 0) -> Iterator[Server]:
    """A primary, its replicas, and one sentinel that knows the service "sessions"; the first process is the primary."""
    with contextlib.ExitStack() as stack:
        port, primary = stack.enter_context(redis_process("--repl-diskless-sync-delay", "0"))
        others = [stack.enter_context(redis_process("--replicaof", f"{HOST} {port}")) for _ in range(replicas)]
        at, sentinel = stack.enter_context(redis_process(sentinel=True))
        guard = redis.Redis(HOST, at)
        stack.callback(guard.close)
        guard.execute_command("SENTINEL MONITOR", "sessions", HOST, port, 1)
        guard.execute_command("SENTINEL SET", "sessions", "down-after-milliseconds", "500")
        guard.execute_command("SENTINEL SET", "sessions", "failover-timeout", "2000")
        admin = redis.Redis(HOST, port)
        stack.callback(admin.close)
        if replicas:
            states = [f"slave{number}" for number in range(replicas)]
            until(lambda: all(admin.info()[name]["state"] == "online" for name in states), "replicated")
            until(lambda: len(guard.sentinel_slaves("sessions")) == replicas, "known to the sentinel")
        yield Server(
            f"redis+sentinel://{HOST}:{at}/sessions",
            port,
            (primary, sentinel, *(process for _, process in others)),
            admin.flushall,
            lambda seconds: _age_redis([admin], seconds),
        )


def _age_redis(admins: list[redis.Redis], seconds: float) -> None:
    for admin in admins:
        for name in list(admin.scan_iter()):
            left = admin.pttl(name)
            if left > 0:
                admin.pexpire(name, max(0, left - 1 - round(seconds * 1000)))


@contextlib.contextmanager
def memcached_server(*options: str) -> Iterator[Server]:
    """One memcached, which evicts nothing."""
    program = require_peer("memcached")
    port = free_port()
    process = Process([program, "-l", HOST, "-p", str(port), "-U", "0", "-u", "nobody", *(options or ("-M",))])
    try:
        wait_until_accepts(port)
        admin = Client((HOST, port), default_noreply=False)
        left: dict[str, float] = {}

        def age(seconds: float) -> None:
            now = _facts(admin)["time"]
            for name, ends in _listed(admin):
                left[name] = left.get(name, ends - now - 1) - seconds
                if left[name] <= 0:
                    admin.delete(name)
                    del left[name]
                else:
                    admin.touch(name, math.ceil(left[name]) + 1)

        def empty() -> None:
            left.clear()
            for name, _ in _listed(admin, endless=True):
                admin.delete(name)

        yield Server(f"memcached://{HOST}:{port}", port, (process,), empty, age)
        admin.close()
    finally:
        process._popen.kill()  # a polite end takes it a second
        process.stop()


def _facts(admin: Client) -> Mapping[str, int]:
    return {name.decode(): int(value) for name, value in admin.stats().items() if name in (b"time", b"uptime")}


def _listed(admin: Client, *, endless: bool = False) -> list[tuple[str, int]]:
    """Every entry with the second at which it ends (-1: never), as the server itself tells."""
    found = []
    for line in _dump(admin.server).decode().splitlines():
        fields = dict(part.partition("=")[::2] for part in line.split())
        if "key" in fields and (endless or int(fields["exp"]) > 0):
            found.append((unquote(fields["key"]), int(fields["exp"])))
    return found


def _dump(address: tuple[str, int]) -> bytes:
    """What memcached lists. On a socket of its own: a pool that waits for the end misses it where a packet ends in it,
    and a crawler that is still busy answers with one line."""
    pause = threading.Event()
    for _ in range(1_000):
        said = b""
        with socket.create_connection(address, TIME_LIMIT) as plain:
            plain.sendall(b"lru_crawler metadump all\r\n")
            while not said.endswith(b"END\r\n") and not (said.startswith(b"BUSY") and said.endswith(b"\r\n")):
                chunk = plain.recv(1 << 16)
                if not chunk:
                    break
                said += chunk
        if said.endswith(b"END\r\n"):
            return said
        pause.wait(0.01)  # between two tries; no test relies on its length
    raise AssertionError("memcached does not list what it holds")
