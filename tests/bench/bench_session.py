"""What holding, counting and writing sessions costs: ``python -m tests.bench.bench_session [rounds]``.

Microseconds of CPU time, all cases of a group in turn, the least of each; then bytes per session and operations a
second with many sessions held. The declared ASN.1 of cryptography, a plain frozen dataclass and a bare object with a
lock stand beside ours. Trust ratios within a group more than digits.
"""

from __future__ import annotations

import dataclasses
import gc
import sys
import time
import tracemalloc
from collections.abc import Callable
from threading import Lock
from typing import Any

from cryptography.hazmat import asn1
from tests.session import vectors
from tests.session.test_der import Oracle, build

from resumption.session.facts import FACT_NAMES, SessionData
from resumption.session.formats import der, packed
from resumption.session.model import APPLICATION, Holder, Session, tracing

Action = Callable[[], object]
ROUNDS = 100
REPEATS = 50
MANY = 100_000

CACHE, CONNECTION = Holder("cache", "bench"), Holder("connection", "1")
SMALL = SessionData(version=0x0304, cipher=0x1301, session_id=b"i" * 32, time=1.7e9, timeout=7200)
SECRET = b"s" * 32

PlainData: Any = dataclasses.make_dataclass(
    "PlainData",
    [(field.name, Any, dataclasses.field(default=field.default)) for field in dataclasses.fields(SessionData)],
    frozen=True,
    slots=True,
    kw_only=True,
)


class BareCount:
    """The least that counts under a lock: what naming the holders costs is the difference to this."""

    __slots__ = ("count", "lock")

    def __init__(self) -> None:
        self.count = 1
        self.lock = Lock()

    def up_ref(self) -> None:
        """One more."""
        with self.lock:
            self.count += 1

    def free(self) -> None:
        """One less."""
        with self.lock:
            self.count -= 1


def race(title: str, actions: dict[str, Action], rounds: int) -> None:
    """Measure a group in turn and print it; ratios are to the first."""
    best = dict.fromkeys(actions, float("inf"))
    for _ in range(rounds):
        for name, action in actions.items():
            start = time.process_time()
            for _ in range(REPEATS):
                action()
            best[name] = min(best[name], (time.process_time() - start) / REPEATS * 1e6)
    reference = next(iter(best.values()))
    print(f"\n{title}")
    for name, micros in best.items():
        print(f"  {name:<44} {micros:8.2f} us   {micros / reference:5.2f}")


def counting(session: Session) -> dict[str, Action]:
    """References taken and given back."""
    bare = BareCount()

    def pair(take: Action, give: Action) -> Action:
        def both() -> None:
            take()
            give()

        return both

    def whole_life() -> None:
        one = Session.create(SMALL, SECRET, holder=CONNECTION)
        one.acquire(CACHE)
        one.release(CONNECTION)
        one.release(CACHE)

    def traced() -> None:
        with tracing():
            session.up_ref().free()

    return {
        "bare count and lock, up and down": pair(bare.up_ref, bare.free),
        "up_ref and free": pair(session.up_ref, session.free),
        "acquire and release by a second holder": pair(
            lambda: session.acquire(CONNECTION), lambda: session.release(CONNECTION)
        ),
        "handed over and back": pair(
            lambda: session.transfer(CACHE, CONNECTION), lambda: session.transfer(CONNECTION, CACHE)
        ),
        "made, cached, connection closed, evicted": whole_life,
        "up_ref and free while tracing": traced,
        "read all facts": lambda: session.data,
        "copy the secret": lambda: session.secret,
    }


def codecs(name: str) -> dict[str, Action]:
    """One vector there and back in each form."""
    encoded = vectors.der(name)
    data, secret, _ = der.decode(encoded, time.time)
    compact = packed.pack(data, secret)
    without = build(session_id=data.session_id, secret=secret, time=1, timeout=1, id_context=b"", ticket=data.ticket)
    oracle = asn1.decode_der(Oracle, without)
    return {
        "read DER": lambda: der.decode(encoded, time.time),
        "write DER": lambda: der.encode(data, secret),
        "read declared DER (fewer fields, no certificate)": lambda: asn1.decode_der(Oracle, without),
        "write declared DER": lambda: asn1.encode_der(oracle),
        f"read packed ({len(compact)} bytes)": lambda: packed.unpack(compact),
        "write packed": lambda: packed.pack(data, secret),
    }


def many() -> None:
    """Bytes and operations a second with many sessions in the hands of a cache."""
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    start = time.process_time()
    held = [
        Session.create(SMALL.replaced(session_id=number.to_bytes(32, "big")), number.to_bytes(32, "big"), holder=CACHE)
        for number in range(MANY)
    ]
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    print(f"\n{MANY} sessions held by a cache: {used / MANY:.0f} bytes each, of which")
    print(f"  Session with its ledger {sys.getsizeof(held[0])}, facts {sys.getsizeof(held[0].data)}, ", end="")
    print(
        f"secret {sys.getsizeof(bytearray(32))}, id {sys.getsizeof(bytes(32))}, a packed one {len(held[0].to_packed())}"
    )
    start = time.process_time()
    for session in held:
        session.acquire(CONNECTION).release(CONNECTION)
    print(f"  taken and given back: {MANY / (time.process_time() - start):,.0f} a second")
    start = time.process_time()
    for session in held:
        session.release(CACHE)
    print(f"  ended and wiped:      {MANY / (time.process_time() - start):,.0f} a second")


def main() -> None:
    """Run everything."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    gc.freeze()
    session = Session.create(SMALL, SECRET, holder=CACHE)
    session.up_ref()
    race("Counting", counting(session), rounds)
    session.release(APPLICATION)
    values = {name: getattr(SMALL, name) for name in FACT_NAMES}
    small = packed.pack(SMALL, SECRET)
    race(
        "Facts",
        {
            "SessionData, five given": lambda: SessionData(version=1, cipher=2, session_id=b"", time=1.0, timeout=7),
            "a plain frozen dataclass": lambda: PlainData(version=1, cipher=2, session_id=b"", time=1.0, timeout=7),
            "SessionData, all given": lambda: SessionData(**values),
            "one changed": lambda: SMALL.replaced(timeout=5),
            f"read packed, small ({len(small)} bytes)": lambda: packed.unpack(small),
            "write packed, small": lambda: packed.pack(SMALL, SECRET),
        },
        rounds,
    )
    for name in ("tls12-session-id", "tls13-ticket"):
        race(name, codecs(name), rounds)
    many()
    session.release(CACHE)


if __name__ == "__main__":
    main()
