#!/usr/bin/env python3
"""One flight with early data, played to many processes that share a store: it must be taken once, and no more.

    python tests/soak/replay.py [--copies N] [--processes N] [--store URL --lost-store URL | --restart NAME]

The processes take turns at nothing: all of them start at the same moment and play the same bytes as fast as they can.
After a third of the copies they end, as in a deployment, and others take their place, half of them believing that they
have been there all along, which is the worst that a clock or a configuration can do. For the last third the store is
lost as well: another, empty one is in its place. The clock stands still meanwhile, so that the flight stays fresh. The
exit status is 1 if the early data was taken more than once, or not at all.

With ``--restart`` the store (redis, memcached or sqlite, each started for this) is killed and comes back empty while
the processes play, each once and in an order of its own, as many flights as make up the copies: so the same flight
comes before the end of the store, while it is away, and afterwards. None may be taken twice.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    ROOT = Path(__file__).resolve().parents[2]
    sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from resumption import EarlyDataReceived, ReplayRegister, ServerContext, TicketKeys, open_store
from resumption.errors import StoreError
from resumption.session.early import EarlyState
from resumption.session.stores.guarded import GuardedStore
from tests.handshake.pairs import Clock, World, pump
from tests.pki import Pki
from tests.store_servers import until
from tests.store_troubles import STORES, troubled

REQUEST = b"POST /pay HTTP/1.1\r\n\r\n"
WINDOW_S = 10.0


@dataclass(frozen=True)
class Scene:
    """What every process has to know."""

    chain_pem: bytes
    key_pem: bytes
    secret: str
    store: str
    now: float
    flight: bytes = b""

    @contextlib.contextmanager
    def server(self, clock: Clock) -> Iterator[ServerContext]:
        """A server of the fleet, with a register that is told the time by ``clock``."""
        with contextlib.closing(open_store(self.store)) as store:
            register = ReplayRegister(store, domain="soak", window_s=WINDOW_S, budget_s=30.0, clock=clock)
            with ServerContext(
                self.chain_pem,
                self.key_pem,
                tickets=TicketKeys.from_secret(self.secret),
                max_early_data=1_000,
                replay=register,
                clock=clock,
            ) as context:
                yield context
            register.close()


def play(scene: Scene, copies: int, is_warm: bool, start: Any, answers: Any) -> None:
    """One process: so many copies, each at a connection of its own."""
    kept_s = 2 * WINDOW_S + 10
    clock = Clock(scene.now - (2 * kept_s if is_warm else 0))
    with scene.server(clock) as server:
        if is_warm:
            clock.advance(2 * kept_s)
        start.wait()
        told: Counter[str] = Counter()
        for _ in range(copies):
            connection = server.connection()
            data = [e.data for e in played(connection, scene.flight) if isinstance(e, EarlyDataReceived)]
            status = connection.early_data
            assert (data == [REQUEST]) is (status.state is EarlyState.ACCEPTED)
            told[str(status.reason or status.state)] += 1
            connection.free()
    answers.put(dict(told))


def play_each(scene: Scene, flights: list[bytes], first: int, start: Any, done: Any, back: Any, answers: Any) -> None:
    """One process: every flight once, beginning with the one of number ``first``."""
    kept_s = 2 * WINDOW_S + 10
    clock = Clock(scene.now - 2 * kept_s)
    with scene.server(clock) as server:
        clock.advance(2 * kept_s)
        register = server.config.replay
        assert register is not None
        guard = register._guard
        assert guard is not None
        start.wait()
        told: Counter[str] = Counter()
        taken: list[int] = []
        waits = True
        for number in range(len(flights)):
            if waits and number >= len(flights) * 3 // 4:
                back.wait(600)  # the rest comes when the store is there again
            if waits and back.is_set():
                until(lambda: _answers(guard), "asked again")
                waits = False
            at = (first + number) % len(flights)
            connection = server.connection()
            events = played(connection, flights[at])
            status = connection.early_data
            if any(isinstance(event, EarlyDataReceived) for event in events):
                taken.append(at)
            assert (at in taken) is (status.state is EarlyState.ACCEPTED)
            told[str(status.reason or status.state) + ("" if waits else " afterwards")] += 1
            connection.free()
            done.release()
    answers.put((dict(told), taken))


def _answers(guard: GuardedStore) -> bool:
    try:
        guard.get("anything")
    except StoreError:
        return False
    return True


def restart(copies: int, processes: int, store: str) -> tuple[Counter[str], Counter[int]]:
    """Play flights while the store is killed and started again: the answers; and how often each flight was taken."""
    pki = Pki()
    leaf = pki.ed25519
    context = multiprocessing.get_context("spawn")
    with troubled(store, "stopped" if store == "sqlite" else "killed") as subject:
        url = subject.url + ("?busy_timeout_s=30" if store == "sqlite" else "?timeout_s=30")
        scene = Scene(leaf.chain_pem, leaf.key_pem, secrets.token_hex(32), url, _moment())
        flights = [record(scene, pki) for _ in range(-(-copies // processes))]
        start, done, back, answers = context.Barrier(processes), context.Semaphore(0), context.Event(), context.Queue()
        workers = [
            context.Process(
                target=play_each,
                args=(scene, flights, len(flights) * number // processes, start, done, back, answers),
            )
            for number in range(processes)
        ]
        for worker in workers:
            worker.start()
        total = len(flights) * processes
        for number in range(total * 3 // 5):
            if number == total // 2:
                subject.begin()
            assert done.acquire(timeout=600)
        subject.end()
        back.set()
        told: Counter[str] = Counter()
        taken: Counter[int] = Counter()
        for _ in workers:
            reasons, flights_taken = answers.get(timeout=600)
            told.update(reasons)
            taken.update(flights_taken)
        for worker in workers:
            worker.join()
    return told, taken


def played(connection: Any, flight: bytes) -> list[Any]:
    """The events of one copy, the store's answer included."""
    events = list(connection.receive_data(flight))
    for question in [event for event in events if hasattr(event, "fetch")]:
        events += connection.answer(question, question.fetch(None, connection))
    return events


def _moment() -> float:
    """When all of it happens. Stores go by real time: however long it takes, no mark ends before it is over."""
    return float(int(time.time()) + 86_400)


def record(scene: Scene, pki: Pki) -> bytes:
    """A client's first flight with early data, for a ticket of this fleet."""
    world = World(pki)
    world.clock.now = scene.now - 5
    with scene.server(world.clock) as server, world.client_context() as clients:
        first, second = clients.connection("localhost"), server.connection()
        pump(first, second).check()
        world.clock.advance(5)
        client = clients.connection("localhost")
        assert client.send_early_data(REQUEST) == len(REQUEST)
        flight = client.data_to_send()
        for connection in (first, second, client):
            connection.free()
    return flight


def soak(copies: int, processes: int, store: str, lost_store: str) -> list[Counter[str]]:
    """Play it; how often each answer was given, by each generation of processes."""
    pki = Pki()
    leaf = pki.ed25519
    scene = Scene(leaf.chain_pem, leaf.key_pem, secrets.token_hex(32), store, _moment())
    scene = replace(scene, flight=record(scene, pki))
    share = -(-copies // (3 * processes))
    context = multiprocessing.get_context("spawn")
    totals = []
    for generation in range(3):
        start, answers = context.Barrier(processes), context.Queue()
        stage = scene if generation < 2 else replace(scene, store=lost_store)
        warm = [generation == 0 or (generation == 1 and number % 2 == 0) for number in range(processes)]
        workers = [context.Process(target=play, args=(stage, share, each, start, answers)) for each in warm]
        for worker in workers:
            worker.start()
        total: Counter[str] = Counter()
        for _ in workers:
            total.update(answers.get(timeout=600))
        for worker in workers:
            worker.join()
        totals.append(total)
    return totals


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--copies", type=int, default=10_000, help="of the flight, over all processes (10000)")
    parser.add_argument("--processes", type=int, default=8, help="at a time (8)")
    parser.add_argument("--store", default="", help="URL of the store that they share (a new SQLite file)")
    parser.add_argument("--lost-store", default="", help="URL of the empty one that takes its place (another file)")
    parser.add_argument("--restart", choices=STORES, help="play to such a store, and restart it meanwhile")
    options = parser.parse_args(words)
    if options.restart:
        began = time.monotonic()
        told, taken = restart(options.copies, options.processes, options.restart)
        reasons = ", ".join(f"{reason} {count}" for reason, count in told.most_common())
        print(f"{told.total()} copies in {time.monotonic() - began:.1f} s: {reasons}")
        print(f"{len(taken)} flights taken, {sum(count > 1 for count in taken.values())} of them more than once")
        return 0 if taken and max(taken.values()) == 1 else 1
    with tempfile.TemporaryDirectory(prefix="resumption-soak-") as folder:
        file = f"sqlite://{folder}/%s.db?busy_timeout_s=30"
        began = time.monotonic()
        totals = soak(
            options.copies, options.processes, options.store or file % "register", options.lost_store or file % "empty"
        )
    total = sum(totals, Counter())
    accepted = total.pop("accepted", 0)
    told = ", ".join(f"{reason} {count}" for reason, count in total.most_common())
    print(f"{sum(total.values()) + accepted} copies in {time.monotonic() - began:.1f} s: accepted {accepted}, {told}")
    return 0 if accepted == 1 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
