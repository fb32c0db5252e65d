#!/usr/bin/env python3
"""Real stores in real trouble, under load: every handshake completes, and no session is resumed wrongly or twice.

    python tests/soak/stores.py [--handshakes N] [--store NAME] [--trouble NAME] [--processes N] [--json]

For each store and each trouble: a store of its own is started, servers share it while it is well, the trouble begins in
the middle of the load, lasts for so many handshakes, and ends; then the load goes on until all circuit breakers are
closed and sessions are resumed again. Told are the handshakes of the time of trouble, the resumed among them, what half
of them and the slowest hundredth took, beside the same of the time before, and how often breakers opened and closed.
Handshakes of a server without any store go on all the time: by how much their slowest hundredth became slower is the
machine's doing. A healthy store is tried with clients that return to another process at once.

The exit status is 1 if a handshake failed, a session was resumed by another service or client or a second time, a
breaker stayed open, or a client that returned at once was not known; and, from 1000 handshakes on, if the slowest
hundredth took longer by the store's budget and 5 ms, beyond what the machine added.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import secrets
import statistics
import sys
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    ROOT = Path(__file__).resolve().parents[2]
    sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from resumption import ClientContext, StoreLimits
from tests.pki import Pki
from tests.processes import HOST
from tests.store_load import PHASES, Credentials, Load, Offer, Tally, server_of
from tests.store_troubles import REFUSES, STORES, TROUBLES, troubled

THREADS = 2
RETURNS = 40  # clients that return to another process at once
_ALLOWANCE_S = 0.005
_PATIENCE_S = 600.0
_OPENING_S = 20.0
PATIENT = StoreLimits(timeout_s=10.0, write_wait_s=10.0)
_ENOUGH = 1_000  # handshakes of which the slowest hundredth says something


@dataclass
class Report:
    """What one trouble did."""

    store: str
    trouble: str
    handshakes: int  # while it lasted
    completed: int
    resumed: int
    offered: int
    wrong_accepts: int
    double_uses: int
    failed_ever: int  # also before and afterwards
    p50_ms: float
    p50_before_ms: float
    p99_ms: float
    p99_before_ms: float
    control_p99_ms: float  # handshakes of a server without any store, at the same times
    control_p99_before_ms: float
    store_p99_ms: float
    store_p99_before_ms: float
    opened: int
    closed: int
    resumed_before: int
    resumed_after: int
    recovered: bool
    over_sockets: str = ""
    returned_at_once: str = ""
    returned_at_once_within_limits: str = ""  # of default length, which a machine that is overloaded exceeds
    errors: list[str] = field(default_factory=list)

    @property
    def added_p99_ms(self) -> float:
        return self.p99_ms - self.p99_before_ms

    @property
    def slower_machine_ms(self) -> float:
        """By how much the slowest hundredth without any store took longer than before: not the store's doing."""
        return max(0.0, self.control_p99_ms - self.control_p99_before_ms)

    def is_within(self, limits: StoreLimits) -> bool | None:
        """The claim: the trouble adds less than the budget and 5 ms. None if there are too few handshakes to tell."""
        if self.handshakes < _ENOUGH:
            return None
        return self.added_p99_ms - self.slower_machine_ms < (limits.timeout_s + _ALLOWANCE_S) * 1000

    @property
    def added_store_p99_ms(self) -> float:
        return self.store_p99_ms - self.store_p99_before_ms

    @property
    def is_sound(self) -> bool:
        """Whether what must hold on any machine, however slow, does."""
        return (
            self.completed == self.handshakes > 0
            and not self.failed_ever
            and not self.wrong_accepts
            and not self.double_uses
            and self.recovered
            and len(set(self.over_sockets.split("/"))) == 1
            and len(set(self.returned_at_once.split("/"))) == 1
        )


def credentials_of(pki: Pki) -> Credentials:
    leaf, client = pki.ecdsa_p256, pki.client
    return Credentials(
        leaf.chain_pem, leaf.key_pem, client.chain_pem, client.key_pem, pki.trust_pem, secrets.token_hex(32)
    )


@dataclass
class Told:
    """What one process tells at its end."""

    tallies: list[Tally]
    spent: Counter[str]
    changes: Counter[str]
    recovered: bool


@dataclass
class Phase:
    """What processes share as a number in memory, for threads."""

    value: int = 0


def _told(load: Load) -> Told:
    return Told(load.tallies, load.spent, load.changes, load.has_recovered)


def _work(
    credentials: Credentials,
    url: str,
    limits: StoreLimits,
    seed: int,
    shared: list[Offer],
    phase: Any,
    done: Any,
    answers: Any,
    after: int,
) -> None:
    """A process of its own."""
    load = Load(credentials, url, limits, phase=lambda: int(phase.value), done=done.release, shared=shared, seed=seed)
    load.run(THREADS, after)
    told = _told(load)
    load.close()
    answers.put(told)


class Fleet:
    """The load: in so many processes, or in threads of this one if there are none."""

    def __init__(
        self, credentials: Credentials, url: str, limits: StoreLimits, *, processes: int, shared: int, after: int
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self.phase: Any = context.Value("i", 0) if processes else Phase()
        self._done: Any = context.Semaphore(0) if processes else threading.Semaphore(0)
        self._answers: Any = context.Queue()
        self._processes = []
        self._here: Load | None = None
        if not processes:
            self._here = Load(credentials, url, limits, phase=lambda: int(self.phase.value), done=self._done.release)
            self._thread = threading.Thread(target=self._here.run, args=(THREADS, after))
            self._thread.start()
            return
        maker = Load(credentials, url, StoreLimits(timeout_s=5.0), phase=lambda: 0, done=lambda: None)
        offers = maker.issue(shared)
        maker.close()
        common = (offers, self.phase, self._done, self._answers, after)
        self._processes = [
            context.Process(target=_work, args=(credentials, url, limits, number, *common))
            for number in range(processes)
        ]
        for process in self._processes:
            process.start()

    def goes_on(self, count: int) -> None:
        """Wait for so many handshakes from now on."""
        while self._done.acquire(False):
            pass
        for _ in range(count):
            if not self._done.acquire(timeout=_PATIENCE_S):
                raise RuntimeError("no handshake was made for ten minutes")

    def goes_on_until_a_breaker_opens(self) -> None:
        """Only for threads."""
        assert self._here is not None
        deadline = time.monotonic() + _OPENING_S
        while not self._here.changes["open"] and time.monotonic() < deadline:
            self.goes_on(1)

    def end(self) -> list[Told]:
        """The last phase; and what everybody tells."""
        self.phase.value = len(PHASES) - 1
        if self._here is None:
            return [self._answers.get(timeout=_PATIENCE_S) for _ in self._processes]
        self._thread.join(_PATIENCE_S)
        return [_told(self._here)]

    def close(self) -> None:
        """Let everybody go, also if something went wrong."""
        self.phase.value = len(PHASES) - 1
        for process in self._processes:
            process.join(_PATIENCE_S)
        if self._here is not None:
            self._thread.join(_PATIENCE_S)
            self._here.close()


def soak(
    store: str,
    trouble: str,
    handshakes: int,
    *,
    credentials: Credentials,
    processes: int = 0,
    limits: StoreLimits | None = None,
    sockets: int = 0,
    until_open: bool = False,
) -> Report:
    """One store, one trouble; ``processes`` 0 is threads of this one. ``until_open``: it lasts that long at least."""
    limits = limits or StoreLimits()
    before = max(handshakes // 4, 10)
    known = returned = hasty = ""
    with troubled(store, trouble, delay_s=5 * limits.timeout_s) as subject:
        if sockets and trouble == "none":
            known, hasty = over_sockets(credentials, subject.url, limits, RETURNS + 1)
            returned = over_sockets(credentials, subject.url, PATIENT, RETURNS + 1)[1]
        with contextlib.closing(
            Fleet(credentials, subject.url, limits, processes=processes, shared=max(handshakes // 10, 8), after=before)
        ) as fleet:
            fleet.goes_on(before)
            subject.prepare()
            fleet.goes_on(before)
            fleet.phase.value = 1
            subject.begin()
            try:
                fleet.goes_on(handshakes)
                if until_open:
                    fleet.goes_on_until_a_breaker_opens()
                if sockets and trouble != "none" and (store, trouble) != REFUSES:
                    known = over_sockets(credentials, subject.url, limits, sockets)[0]
            finally:
                subject.end()
            told = fleet.end()
    tallies = [Tally() for _ in PHASES]
    spent: Counter[str] = Counter()
    changes: Counter[str] = Counter()
    for each in told:
        for total, tally in zip(tallies, each.tallies, strict=True):
            total.add(tally)
        spent += each.spent
        changes += each.changes
    well, bad, after = tallies
    return Report(
        store=store,
        trouble=trouble,
        handshakes=bad.completed + bad.failed,
        completed=bad.completed,
        resumed=bad.resumed,
        offered=bad.offered,
        wrong_accepts=sum(tally.wrong for tally in tallies),
        double_uses=sum(count - 1 for count in spent.values()),
        failed_ever=sum(tally.failed for tally in tallies),
        p50_ms=_p50_ms(bad.seconds),
        p50_before_ms=_p50_ms(well.seconds),
        p99_ms=_p99_ms(bad.seconds),
        p99_before_ms=_p99_ms(well.seconds),
        control_p99_ms=_p99_ms(bad.control),
        control_p99_before_ms=_p99_ms(well.control),
        store_p99_ms=_p99_ms(bad.waited),
        store_p99_before_ms=_p99_ms(well.waited),
        opened=changes["open"],
        closed=changes["closed"],
        resumed_before=well.resumed,
        resumed_after=after.resumed,
        recovered=all(each.recovered for each in told),
        over_sockets=known,
        returned_at_once=returned,
        returned_at_once_within_limits=hasty,
        errors=[error for tally in tallies for error in tally.errors][:5],
    )


def _p99_ms(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=100)[-1] * 1000 if len(seconds) > 1 else 0.0


def _p50_ms(seconds: list[float]) -> float:
    return statistics.median(seconds) * 1000 if seconds else 0.0


# --- over sockets ----------------------------------------------------------------------------------------------------


def _listen(credentials: Credentials, url: str, limits: StoreLimits, is_async: bool, ports: Any, over: Any) -> None:
    """A server process: blocking, until it is told to end; or asyncio."""
    context = server_of(credentials, url, "shop", limits)
    if is_async:
        import asyncio

        async def echo(stream: Any) -> None:
            await stream.sendall(await stream.recv())

        async def serve() -> None:
            async with await context.serve(echo, (HOST, 0)) as server:
                ports.put((is_async, server.sockets[0].getsockname()[1]))
                await asyncio.to_thread(over.wait)

        asyncio.run(serve())
    else:
        with context.listen((HOST, 0), timeout=60) as listener:
            ports.put((is_async, listener.address[1]))
            data = b""
            while data != b"end":
                with listener.accept() as stream:
                    data = stream.recv()
                    stream.sendall(data)
    context.close()


def over_sockets(credentials: Credentials, url: str, limits: StoreLimits, count: int) -> tuple[str, str]:
    """Connections to two processes in turn, one blocking and one on asyncio, each at once and with the newest ticket.

    How many of them were completed, and how many of the returns resumed, as "12/12" and "11/11".
    """
    context = multiprocessing.get_context("spawn")
    ports, over = context.Queue(), context.Event()
    workers = [
        context.Process(target=_listen, args=(credentials, url, limits, is_async, ports, over))
        for is_async in (False, True)
    ]
    for worker in workers:
        worker.start()
    completed = resumed = 0
    try:
        found = dict(ports.get(timeout=60) for _ in workers)
        with ClientContext(trust=credentials.trust_pem) as client:

            def meet(is_async: bool, data: bytes) -> bytes:
                nonlocal completed, resumed
                with client.connect((HOST, found[is_async]), server_name="localhost", purpose="", timeout=60) as stream:
                    stream.sendall(data)
                    answer = stream.recv()
                    completed += answer == data
                    resumed += stream.connection.session_reused
                    return answer

            for number in range(count):
                meet(bool(number % 2), b"x")
            told = f"{completed}/{count}", f"{resumed}/{count - 1}"
            meet(False, b"end")
    finally:
        over.set()
        for worker in workers:
            worker.join(60)
    return told


# --- the command -----------------------------------------------------------------------------------------------------


COLUMNS = (
    f"{'store':9} {'trouble':20} {'completed':>13} {'resumed':>11} wrong twice {'p50 ms':>13} {'p99 ms':>13} "
    f"{'added':>7} {'machine':>7} {'budget':>6} {'breakers':>8}"
)


def line_of(report: Report, limits: StoreLimits) -> str:
    """One row of the table; behind the first number of each pair is the one of the time before the trouble."""
    verdict = {True: "kept", False: "BROKEN", None: "-"}[report.is_within(limits)]
    line = (
        f"{report.store:9} {report.trouble:20} {report.completed:>6}/{report.handshakes:<6} "
        f"{report.resumed:>5}/{report.offered:<5} {report.wrong_accepts:>5} {report.double_uses:>5} "
        f"{report.p50_ms:>6.1f}/{report.p50_before_ms:<6.1f} {report.p99_ms:>6.1f}/{report.p99_before_ms:<6.1f} "
        f"{report.added_p99_ms:>+7.1f} {report.slower_machine_ms:>+7.1f} {verdict:>6} "
        f"{report.opened:>4}/{report.closed}"
    )
    if report.over_sockets:
        line += f"  over sockets {report.over_sockets}"
    if report.returned_at_once:
        line += f", returned at once {report.returned_at_once} ({report.returned_at_once_within_limits} within limits)"
    return line


def facts_of(report: Report, limits: StoreLimits) -> dict[str, object]:
    """What ``--json`` tells of a trouble."""
    return {
        **asdict(report),
        "added_p99_ms": report.added_p99_ms,
        "slower_machine_ms": report.slower_machine_ms,
        "budget_ms": (limits.timeout_s + _ALLOWANCE_S) * 1000,
        "checks": {"sound": report.is_sound, "added_p99_below_budget": report.is_within(limits)},
    }


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--handshakes", type=int, default=400, help="while each trouble lasts (400)")
    parser.add_argument("--store", choices=STORES, help="only this one")
    parser.add_argument("--trouble", help="only this one")
    parser.add_argument("--processes", type=int, default=2, help="of servers; 0: threads of this one (2)")
    parser.add_argument("--sockets", type=int, default=10, help="connections over sockets as well, each time (10)")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of lines")
    options = parser.parse_args(words)
    stores = [options.store] if options.store else STORES
    plan = [(store, trouble) for store in stores for trouble in TROUBLES[store] if options.trouble in (None, trouble)]
    if not plan:
        known = ", ".join(sorted({trouble for store in stores for trouble in TROUBLES[store]}))
        parser.error(f"no such trouble for this store; there are {known}")
    credentials = credentials_of(Pki())
    limits = StoreLimits()
    reports, bad, began = [], [], time.monotonic()
    if not options.json:
        print(COLUMNS)
    for store, trouble in plan:
        report = soak(
            store,
            trouble,
            options.handshakes,
            credentials=credentials,
            processes=options.processes,
            limits=limits,
            sockets=options.sockets,
        )
        reports.append(report)
        bad += [
            f"{store}: {trouble} ({what})"
            for what, is_bad in (("unsound", not report.is_sound), ("slow", report.is_within(limits) is False))
            if is_bad
        ]
        if not options.json:
            print(line_of(report, limits), *report.errors, sep="\n  ", flush=True)
    if options.json:
        print(json.dumps([facts_of(each, limits) for each in reports], indent=1))
    else:
        print(f"{len(reports)} troubles in {time.monotonic() - began:.0f} s; wrong: {', '.join(bad) or 'none'}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
