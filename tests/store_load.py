"""Clients of every kind at servers that share a store, without a pause: what `soak stores` measures.

A `Load` is one process of a fleet: two server contexts of one service and one of another, each with the store behind a
guard of its own, and clients in memory. The servers are driven as blocking streams drive them: by a `Pump`, whose
errands go to the store. Clients return with single-use sessions, each offered twice by whichever threads come first;
with TLS 1.2 sessions; with sessions of the other service; with spent ones; and without any. Now and then one meets a
server that has no store: how long its handshakes take tells how the machine is, and not the store.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from resumption import ClientContext, ServerContext, Session, SessionIssued, StoreLimits, TicketKeys
from resumption.constants import ExtensionType
from resumption.session.stores.breaker import BreakerChange, BreakerState
from resumption.streams.pump import Pump

__all__ = ["PHASES", "Credentials", "Load", "Offer", "Tally", "server_of"]

PHASES = ("well", "trouble", "after")
_TLS12, _TLS13 = 0x0303, 0x0304
_PATIENCE_S = 60.0  # for a breaker to close again
_CONTROLS = 0.25  # handshakes without a store, for each with one
_RETURNING, _TLS12_RETURNING, _FOREIGN, _SPENT = 0.45, 0.6, 0.7, 0.75  # chances, one on top of the other


class Credentials(NamedTuple):
    """What servers and clients need, as PEM, so that it can go to another process."""

    chain_pem: bytes
    key_pem: bytes
    client_chain_pem: bytes
    client_key_pem: bytes
    trust_pem: bytes
    secret: str


class Offer(NamedTuple):
    """A session that a client has, and where it may be resumed: nowhere else, and by nobody else."""

    packed: bytes
    service: str
    version: int
    has_certificate: bool

    @property
    def key(self) -> str:
        return hashlib.sha256(self.packed).hexdigest()[:32]


@dataclass
class Tally:
    """What happened in one phase."""

    completed: int = 0
    failed: int = 0
    resumed: int = 0
    offered: int = 0  # with a session that might have been resumed
    wrong: int = 0  # a session of another service, or of another client
    seconds: list[float] = field(default_factory=list)  # each handshake, both ends, until it is complete
    control: list[float] = field(default_factory=list)  # handshakes meanwhile of a server without any store
    waited: list[float] = field(default_factory=list)  # its share at the store
    errors: list[str] = field(default_factory=list)  # the first of them

    def add(self, other: Tally) -> None:
        for name in ("completed", "failed", "resumed", "offered", "wrong"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.seconds += other.seconds
        self.control += other.control
        self.waited += other.waited
        self.errors = (self.errors + other.errors)[:5]


def server_of(credentials: Credentials, url: str, service: str, limits: StoreLimits, **settings: Any) -> ServerContext:
    """A server of the fleet. Sessions are kept in the store alone."""
    return ServerContext(
        credentials.chain_pem,
        credentials.key_pem,
        tickets=TicketKeys.from_secret(credentials.secret),
        store=url,
        store_limits=limits,
        stateful=True,
        session_cache_mode=0,
        session_id_context=service.encode(),
        client_auth="optional",
        trust=credentials.trust_pem,
        upkeep_interval=3600.0,
        **settings,
    )


class Load:
    """One process's share. ``phase()`` tells the number of the phase now; ``done()`` is told of each handshake."""

    def __init__(
        self,
        credentials: Credentials,
        url: str,
        limits: StoreLimits,
        *,
        phase: Callable[[], int],
        done: Callable[[], object],
        shared: list[Offer] | None = None,
        seed: int = 0,
    ) -> None:
        self.tallies = [Tally() for _ in PHASES]
        self.spent: Counter[str] = Counter()  # resumptions, by single-use session
        self.changes: Counter[str] = Counter()  # of breakers
        self._phase = phase
        self._done = done
        self._seed = seed
        self._lock = threading.Lock()
        self._servers = [
            (service, server_of(credentials, url, service, limits, on_store_change=self._changed))
            for service in ("shop", "shop", "bank")
        ]
        self._control = ServerContext(credentials.chain_pem, credentials.key_pem)
        self._clients = {
            (version, has_certificate): _client(credentials, version, has_certificate)
            for version in (_TLS12, _TLS13)
            for has_certificate in (False, True)
        }
        self._single: deque[Offer] = deque(maxlen=128)
        self._many: deque[Offer] = deque(maxlen=32)
        self._foreign: deque[Offer] = deque(maxlen=64)
        self._old: deque[Offer] = deque(maxlen=64)
        self._shared = deque(shared or ())
        self._has_come_back = False

    def _changed(self, change: BreakerChange) -> None:
        """Counted from closed to closed; probes that fail in between are not."""
        if BreakerState.CLOSED in (change.before, change.after):
            with self._lock:
                self.changes[str(change.after)] += 1

    @property
    def breakers_are_closed(self) -> bool:
        return all(server.outside.sessions.guard.breaker.is_closed for _, server in self._servers)  # type: ignore[union-attr]

    @property
    def has_recovered(self) -> bool:
        """Whether sessions are resumed again after the trouble, and no breaker is open."""
        return self._has_come_back and self.breakers_are_closed

    def run(self, threads: int, after: int) -> None:
        """Go on until so many handshakes were made after the trouble, and the store is in use again."""
        workers = [threading.Thread(target=self._run, args=(number, after)) for number in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    def _run(self, number: int, after: int) -> None:
        chance = random.Random(f"{self._seed}/{number}")
        deadline: float | None = None
        while True:
            phase = self._phase()
            if phase == len(PHASES) - 1:
                deadline = deadline or time.monotonic() + _PATIENCE_S
                made = self.tallies[phase].completed + self.tallies[phase].failed
                if (made >= after and self.has_recovered) or time.monotonic() > deadline:
                    return
            self.step(chance, phase)
            self._done()
            if chance.random() < _CONTROLS:
                self._meet_control(phase)

    def step(self, chance: random.Random, phase: int) -> None:
        """One handshake."""
        offer, service, version, has_certificate = None, "shop", _TLS13, chance.random() < 0.5
        kind = chance.random()
        if kind < _RETURNING:
            offer = _next(self._shared, self._single, chance)
        elif kind < _TLS12_RETURNING:
            version = _TLS12
            offer = chance.choice(list(self._many) or [None])
        elif kind < _FOREIGN:
            offer = _next(self._foreign, self._foreign, chance)
            service = "shop" if offer else "bank"
        elif kind < _SPENT:
            offer = _next(self._old, self._old, chance)
        if offer is not None:
            version, has_certificate = offer.version, offer.has_certificate
        servers = [server for name, server in self._servers if name == service]
        self._meet(chance.choice(servers), service, version, has_certificate, offer, phase)

    def issue(self, count: int) -> list[Offer]:
        """So many single-use sessions of the shop, for several processes to fight over."""
        offers: list[Offer] = []
        while len(offers) < count:
            self._single.clear()
            self._meet(self._servers[0][1], "shop", _TLS13, False, None, 0)
            offers += dict.fromkeys(self._single)
        self._single.clear()
        assert self._servers[0][1].outside.sessions.flush(30)  # type: ignore[union-attr]
        return offers[:count]

    def _meet(
        self,
        context: ServerContext,
        service: str,
        version: int,
        has_certificate: bool,
        offer: Offer | None,
        phase: int,
    ) -> None:
        session = Session.from_packed(offer.packed) if offer else None
        client = self._clients[version, has_certificate].connection("localhost", session=session, fresh=offer is None)
        server = context.connection()
        pump = Pump(server, context.outside)
        issued: list[bytes] = []
        waited, error, started = 0.0, "", time.perf_counter()
        took = 0.0
        try:
            waited, completed_at = _converse(client, pump, issued)
            took = completed_at - started
        except Exception as trouble:
            error = f"{type(trouble).__name__}: {trouble}"
        if not error and not (client.handshake_complete and server.handshake_complete and pump.failure is None):
            error = f"not complete: {pump.failure}"
        with self._lock:
            tally = self.tallies[phase]
            tally.seconds.append(took)
            tally.waited.append(waited)
            if error:
                tally.failed += 1
                tally.errors = [*tally.errors, error][:5]
            else:
                tally.completed += 1
                self._judge(tally, server, service, has_certificate, offer, phase)
                for packed in issued:
                    self._keep(Offer(packed, service, version, has_certificate))
        pump.release()
        client.free()
        if session is not None:
            session.free()

    def _meet_control(self, phase: int) -> None:
        client = self._clients[_TLS13, False].connection("localhost", fresh=True)
        pump = Pump(self._control.connection(), None)
        started = time.perf_counter()
        _, completed_at = _converse(client, pump, [])
        with self._lock:
            self.tallies[phase].control.append(completed_at - started)
        pump.release()
        client.free()

    def _judge(
        self, tally: Tally, server: Any, service: str, has_certificate: bool, offer: Offer | None, phase: int
    ) -> None:
        tally.offered += offer is not None and offer.service == service
        if server.session_reused:
            tally.resumed += 1
            self._has_come_back |= phase == len(PHASES) - 1
            is_right = offer is not None and offer.service == service and offer.has_certificate == has_certificate
            tally.wrong += not is_right or bool(server.peer_chain) is not has_certificate
            if offer is not None and offer.version == _TLS13:
                self.spent[offer.key] += 1
                self._old.append(offer)

    def _keep(self, offer: Offer) -> None:
        if offer.service != "shop":
            self._foreign.append(offer)
        elif offer.version == _TLS12:
            self._many.append(offer)
        else:
            self._single += (offer, offer)

    def close(self) -> None:
        for server in (self._control, *(server for _, server in self._servers)):
            server.close()
        for client in self._clients.values():
            client.close()


def _converse(client: Any, pump: Pump, issued: list[bytes]) -> tuple[float, float]:
    """Until both are silent; returns how long the server's errands took, and when both were through the handshake."""
    waited = completed_at = 0.0
    while True:
        data = client.data_to_send()
        if data:
            pump.feed(data)
        while pump.errands:
            errand = pump.errands.popleft()
            began = time.perf_counter()
            answer = pump.run(errand)
            waited += time.perf_counter() - began
            pump.settle(errand, answer)
        if not completed_at and client.handshake_complete and pump.is_complete:
            completed_at = time.perf_counter()
        while pump.receipts and (pump.has_only_tickets or completed_at):
            pump.receipts.pop().wait()
        answer_bytes = pump.take_output()
        if answer_bytes:
            issued += [
                event.session.to_packed()
                for event in client.receive_data(answer_bytes)
                if isinstance(event, SessionIssued)
            ]
        if not answer_bytes and not data:
            return waited, completed_at or time.perf_counter()


def _next(first: deque[Offer], second: deque[Offer], chance: random.Random) -> Offer | None:
    """From one of the two; other threads take from them, too."""
    for offers in (first, second) if chance.random() < 0.5 else (second, first):
        try:
            return offers.popleft()
        except IndexError:
            continue
    return None


def _client(credentials: Credentials, version: int, has_certificate: bool) -> ClientContext:
    identity: dict[str, Any] = {}
    if has_certificate:
        identity = {"certificate": credentials.client_chain_pem, "private_key": credentials.client_key_pem}
    context = ClientContext(trust=credentials.trust_pem, maximum_version=version, **identity)
    if version == _TLS12:  # without tickets, so that sessions have ids
        context.config.hello_extensions.pop(int(ExtensionType.session_ticket))
    return context
