#!/usr/bin/env python3
"""One flight with early data, played to many processes that share a store: it must be taken once, and no more.

    python tests/soak/replay.py [--copies N] [--processes N] [--store URL --lost-store URL]

The processes take turns at nothing: all of them start at the same moment and play the same bytes as fast as they can.
After a third of the copies they end, as in a deployment, and others take their place, half of them believing that they
have been there all along, which is the worst that a clock or a configuration can do. For the last third the store is
lost as well: another, empty one is in its place. The clock stands still meanwhile, so that the flight stays fresh. The
exit status is 1 if the early data was taken more than once, or not at all.
"""

from __future__ import annotations

import argparse
import multiprocessing
import secrets
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    ROOT = Path(__file__).resolve().parents[2]
    sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from resumption import EarlyDataReceived, ReplayRegister, ServerContext, TicketKeys, open_store
from resumption.session.early import EarlyState
from tests.handshake.pairs import Clock, World, pump
from tests.pki import Pki

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

    def server(self, clock: Clock) -> ServerContext:
        """A server of the fleet, with a register that is told the time by ``clock``."""
        register = ReplayRegister(open_store(self.store), domain="soak", window_s=WINDOW_S, budget_s=30.0, clock=clock)
        return ServerContext(
            self.chain_pem,
            self.key_pem,
            tickets=TicketKeys.from_secret(self.secret),
            max_early_data=1_000,
            replay=register,
            clock=clock,
        )


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


def played(connection: Any, flight: bytes) -> list[Any]:
    """The events of one copy, the store's answer included."""
    events = list(connection.receive_data(flight))
    for question in [event for event in events if hasattr(event, "fetch")]:
        events += connection.answer(question, question.fetch(None, connection))
    return events


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
    scene = Scene(leaf.chain_pem, leaf.key_pem, secrets.token_hex(32), store, float(int(time.time())))
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
    options = parser.parse_args(words)
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
