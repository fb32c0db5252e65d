#!/usr/bin/env python3
"""Handshakes without end in one process: full, resumed, refused, broken off. Memory may not grow, nor sessions leak.

    python tests/soak/handshakes.py [--handshakes N]

Both versions, tickets and ids in turn, over contexts whose caches are small, so that they are full (and evict) before
the first measurement. A tenth of the handshakes warms up, in a short run up to half of them. Afterwards the
interpreter's allocated blocks and the process's resident memory may not grow by more than 1 %, and the sessions that
live are those that the caches hold and those in use, exactly. The exit status is 1 otherwise.
"""

from __future__ import annotations

import argparse
import gc
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

if __package__ in (None, ""):
    ROOT = Path(__file__).resolve().parents[2]
    sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from resumption import ClientContext, Error, ServerContext, Session
from resumption.connection import Connection
from tests.handshake.pairs import VERSIONS
from tests.pki import Pki

MAX_GROWTH = 0.01
_CACHE_SIZE = 64  # sessions
_WARM_UP = 4_000  # handshakes at most: measured, malloc's free lists grow for so long (by 300 KiB), then no more
_STATM = Path("/proc/self/statm")
KINDS = ("full", "resumed", "refused", "broken")


@dataclass(frozen=True)
class Fleet:
    """A client and two servers of one version that know nothing of each other's tickets, and a session of the other."""

    client: ClientContext
    server: ServerContext
    foreign: Session

    def run(self, kind: str, chance: random.Random) -> None:
        """One connection from its first byte to its end. Raises AssertionError if it was not what ``kind`` says."""
        session = self.foreign if kind == "refused" else None
        client = self.client.connection("localhost", fresh=kind == "full", session=session)
        server = self.server.connection()
        if kind == "broken":
            _break(client, server, chance)
        else:
            _meet(client, server)
            assert client.session_reused is server.session_reused is (kind == "resumed"), kind
            client.close()
            server.receive_data(client.data_to_send())
        client.free()
        server.free()


@dataclass(frozen=True)
class Reading:
    """What there is at one moment."""

    blocks: int
    resident: int  # pages; 0 where the system does not tell
    live: int
    accounted: int  # sessions in a cache or in use

    def growth_since(self, earlier: Reading) -> float:
        """The larger of the growths of blocks and pages, as a fraction."""
        pages = self.resident / earlier.resident - 1 if earlier.resident else 0.0
        return max(self.blocks / earlier.blocks - 1, pages)


def _meet(client: Connection, server: Connection) -> None:
    while not (client.handshake_complete and server.handshake_complete):
        server.receive_data(client.data_to_send())
        client.receive_data(server.data_to_send())


def _break(client: Connection, server: Connection, chance: random.Random) -> None:
    """Cut the server's first flight somewhere and spoil a byte of it; the client fails, or waits for the rest."""
    server.receive_data(client.data_to_send())
    flight = bytearray(server.data_to_send())
    flight[chance.randrange(len(flight))] ^= 1 << chance.randrange(8)
    try:
        list(client.receive_data(flight[: chance.randrange(1, len(flight) + 1)]))
        list(server.receive_data(client.data_to_send()))
    except Error:
        pass


def fleets() -> Iterator[Fleet]:
    """Each version with tickets and with ids."""
    pki = Pki()
    leaf = pki.ed25519
    for version in VERSIONS:
        client = ClientContext(trust=pki.trust_pem, maximum_version=version)
        client.sessions.max_size = _CACHE_SIZE
        away = ServerContext(leaf.chain_pem, leaf.key_pem)
        first, second = client.connection("localhost"), away.connection()
        _meet(first, second)
        foreign = first.get1_session()
        assert foreign is not None
        first.free()
        second.free()
        away.close()
        for stateful in (False, True):
            server = ServerContext(leaf.chain_pem, leaf.key_pem, stateful=stateful)
            server.sessions.max_size = _CACHE_SIZE
            yield Fleet(client, server, foreign)


def read(all_fleets: list[Fleet]) -> Reading:
    """Count, after the collector has run."""
    gc.collect()
    live = sum(isinstance(thing, Session) and not thing.is_freed for thing in gc.get_objects())
    known = {fleet.foreign for fleet in all_fleets}
    for fleet in all_fleets:
        known.update(fleet.client.sessions, fleet.server.sessions)
    resident = int(_STATM.read_text().split()[1]) if _STATM.exists() else 0
    return Reading(sys.getallocatedblocks(), resident, live, len(known))


def soak(handshakes: int, seed: int = 0) -> tuple[Counter[str], Reading, Reading]:
    """Run them; how many of each kind, and readings after the warm-up and at the end."""
    chance = random.Random(seed)
    all_fleets = list(fleets())
    for fleet in all_fleets:
        fleet.run("full", chance)
    done: Counter[str] = Counter()
    warm_up = max(handshakes // 10, min(handshakes // 2, _WARM_UP), 1)
    for number in range(warm_up + handshakes):
        if number == warm_up:
            before = read(all_fleets)
            done.clear()
        fleet, kind = all_fleets[number % len(all_fleets)], chance.choice(KINDS)
        if kind == "resumed":  # the client's newest session may be another server's: make one of this server's first
            fleet.run("full", chance)
        fleet.run(kind, chance)
        done[kind] += 1
    after = read(all_fleets)
    for fleet in all_fleets:
        fleet.client.close()
        fleet.server.close()
    for foreign in {fleet.foreign for fleet in all_fleets}:
        foreign.free()
    return done, before, after


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--handshakes", type=int, default=1_000_000, help="after the warm-up of a tenth (1000000)")
    options = parser.parse_args(words)
    began = time.monotonic()
    done, before, after = soak(options.handshakes)
    kinds = ", ".join(f"{kind} {done[kind]}" for kind in KINDS)
    print(f"{done.total()} handshakes in {time.monotonic() - began:.0f} s: {kinds}")
    print(f"blocks {before.blocks} -> {after.blocks}, resident pages {before.resident} -> {after.resident}")
    print(f"sessions: {after.live} live, {after.accounted} cached or in use")
    return 0 if after.growth_since(before) <= MAX_GROWTH and after.live == after.accounted else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
