"""Whole conversations with peers that misbehave, and what must hold however they do.

Each run is told by its seed alone: role, version, full or resumed, the changes and the cuts all follow from it, and
with an Ed25519 certificate and x25519 the bytes do too. A run puts one honest side, the subject, against

- noise: bytes at random, or a stored hello that was changed;
- a stream: an honest peer whose records are changed on the way;
- a liar: an honest peer whose handshake messages are changed, dropped, doubled or joined by others before they are
  sealed, so that they come under the right keys.

In TLS 1.3 clients with a session may send early data, which some servers take, some refuse, and one answers at once.

What must hold: only errors of the protocol leave the engine, and no unforeseen exception is behind them; the subject
has nothing to say after it failed; its output stays in proportion; no session outlives its holders.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any

from resumption.client_context import ClientContext
from resumption.connection import Connection
from resumption.errors import AlertReceived, ConnectionFailed, Error, InternalError, PeerError, UnexpectedEOF
from resumption.handshake.events import EarlyDataReceived, SessionIssued
from resumption.server_context import ServerContext
from resumption.session.early import EarlyReason
from resumption.session.fleet.replay import ReplayRegister
from resumption.session.model import Session
from tests.fuzz.mutations import change_bytes, change_stream, twist
from tests.handshake.pairs import TLS12, TLS13, SameShares, World
from tests.handshake.samples import SAMPLES
from tests.pki import Pki

CORPUS = Path(__file__).parent / "corpus"
KINDS = ("noise", "stream", "stream", "liar", "liar", "liar")
SLOW_S = 5.0  # one run takes some milliseconds; machines that run this are shared
MOST_OUTPUT = 200_000  # bytes
MOST_EARLY_DATA = 2_000  # bytes


class Broken(AssertionError):
    """Something that must hold does not."""


@dataclass
class Tally:
    """How the runs ended, by what the subject raised."""

    runs: int = 0
    endings: dict[str, int] = field(default_factory=dict)

    def count(self, ending: str) -> None:
        self.runs += 1
        self.endings[ending] = self.endings.get(ending, 0) + 1

    def __str__(self) -> str:
        parts = sorted(self.endings.items(), key=lambda item: -item[1])
        return f"{self.runs} runs: " + ", ".join(f"{name} {count}" for name, count in parts)


class Liar(Connection):
    """An honest connection whose messages are changed before they are sealed."""

    __slots__ = ("_rng", "_since")
    _rng: Random
    _since: int

    def lie(self, rng: Random) -> None:
        self._rng = rng
        self._since = rng.choice((0, 0, 1, 1, 2, 2, 3, 4, 5, 6, 8))  # messages that stay as they are

    def send(self, message: bytes) -> None:
        for raw in self._changed(message):
            super().send(raw)

    def _changed(self, message: bytes) -> list[bytes]:
        rng = self._rng
        self._since -= 1
        if self._since >= 0 or rng.random() < 0.3:
            return [message]
        choice = rng.randrange(20)
        if choice == 0:
            return []
        if choice == 1:
            return [message, message]
        if choice == 2:
            return [rng.choice(list(SAMPLES.values())), message]
        if choice == 3:
            return [message, rng.choice(list(SAMPLES.values()))]
        changed = [twist(rng, one) for one in split_messages(message)]
        return [b"".join(changed)]

    def send_change_cipher_spec(self) -> None:
        if self._since >= 0 or self._rng.random() < 0.9:
            super().send_change_cipher_spec()


def split_messages(flight: bytes) -> list[bytes]:
    messages = []
    while flight:
        length = 4 + int.from_bytes(flight[1:4])
        messages.append(flight[:length])
        flight = flight[length:]
    return messages


class Forgetful(ReplayRegister):
    """Remembers nothing, and calls some hellos replays: which, follows from them."""

    def admit(self, key: bytes, now: float) -> EarlyReason | None:
        return EarlyReason.SEEN if key[0] < 50 else None


class Fuzzer:
    """Contexts for all kinds of runs, made once: what a run leaves behind in them is looked at too."""

    def __init__(self, pki: Pki | None = None) -> None:
        self.world = World(pki or Pki())
        self.tally = Tally()
        self.early_data = 0  # bytes that were taken in all runs
        self._servers: dict[tuple[Any, ...], ServerContext] = {}
        self._clients: dict[int, ClientContext] = {}
        self._sessions: dict[tuple[int, bool], Session] = {}

    @cached_property
    def corpus(self) -> list[bytes]:
        return [path.read_bytes() for path in sorted(CORPUS.glob("*.bin"))]

    @cached_property
    def register(self) -> Forgetful:
        return Forgetful(clock=self.world.clock, random=self.world.random)

    def server(self, stateful: bool, asking: bool, retrying: bool, early: bool) -> ServerContext:
        key = (stateful, asking, retrying, early)
        if key not in self._servers:
            pki, settings = self.world.pki, {}
            if asking:
                settings = {"client_auth": "optional", "trust": pki.trust_pem, "session_id_context": b"fuzz"}
            if retrying:
                settings["groups"] = (23,)
            if early:
                settings |= {"max_early_data": MOST_EARLY_DATA, "replay": self.register}
            self._servers[key] = self.world.server_context(
                stateful=stateful, alpn=("h2",), tickets=self.world.tickets, **settings
            )
        return self._servers[key]

    def client(self, version: int) -> ClientContext:
        if version not in self._clients:
            self._clients[version] = self.world.client_context(
                maximum_version=version, alpn=("h2", "x"), identity=self.world.pki.client
            )
        return self._clients[version]

    def session(self, version: int, stateful: bool) -> Session:
        """A session that the client may offer, many times over: those of stateful servers are known only once."""
        key = (version, stateful)
        if key not in self._sessions:
            pair = self.world.meet(self.client(version), self.server(stateful, False, False, True), fresh=True).check()
            session = pair.client.get1_session()
            assert session is not None
            self._sessions[key] = session
            pair.free()
        return self._sessions[key]

    # One run.

    def run(self, seed: str) -> None:
        """Everything that follows from ``seed``. Raises `Broken`."""
        self.play(seed, Random(seed))

    def play(self, seed: str, rng: Random) -> None:
        """One run: ``seed`` makes the key shares, ``rng`` decides everything else. Raises `Broken`."""
        started = time.perf_counter()
        kind = rng.choice(KINDS)
        role = rng.choice(("client", "server"))
        version = rng.choice((TLS12, TLS13))
        stateful, asking = rng.random() < 0.3, rng.random() < 0.3
        retrying = version == TLS13 and rng.random() < 0.3
        early = version == TLS13 and rng.random() < 0.7
        servers, clients = self.server(stateful, asking, retrying, early), self.client(version)
        with SameShares(seed):
            server = self._made(Liar if kind == "liar" and role == "client" else Connection, servers)
            client = self._made(Liar if kind == "liar" and role == "server" else Connection, clients)
            subject, other = (client, server) if role == "client" else (server, client)
            if isinstance(other, Liar):
                other.lie(rng)
            try:
                if rng.random() < 0.5:
                    client.set_session(self.session(version, stateful))
                    if version == TLS13 and rng.random() < 0.6:
                        client.send_early_data(
                            rng.randbytes(rng.choice((1, 100, MOST_EARLY_DATA, MOST_EARLY_DATA + 1)))
                        )
                ending = self._talk(rng, kind, subject, other)
            finally:
                client.free()
                server.free()
        took = time.perf_counter() - started
        if took > SLOW_S:
            raise Broken(f"a run took {took:.1f} s")
        self._look_around(servers, clients)
        self.tally.count(ending)

    def _made(self, kind: type[Connection], context: Any) -> Connection:
        config = context.config
        if isinstance(context, ClientContext):
            return kind(config, context, server_name="localhost", peer_key=config.peer_key("localhost"))
        return kind(config, context)

    def _talk(self, rng: Random, kind: str, subject: Connection, other: Connection) -> str:
        said = bytearray(subject.data_to_send())
        spare: list[bytes] = []
        acted = False
        if kind == "noise":
            data = rng.choice(self.corpus) if self.corpus and rng.random() < 0.7 else rng.randbytes(rng.randint(1, 600))
            if rng.random() < 0.9:
                data = change_bytes(rng, data)
            ending = self._give(rng, subject, data)
            said += subject.data_to_send()
            return self._end(subject, bytes(said), ending)
        to_other = bytes(said)
        for _ in range(40):
            if to_other and other.error is None:
                try:
                    for event in other.receive_data(to_other):
                        self._touch(event, other)
                except Error:
                    pass
            if other.handshake_complete and not acted:
                acted = True
                self._act(rng, other)
            data = other.data_to_send()
            if not data:
                break
            if kind == "stream" and rng.random() < 0.4:
                spare.append(data)
                data = change_stream(rng, data, spare)
            ending = self._give(rng, subject, data)
            to_other = subject.data_to_send()
            said += to_other
            if ending is not None:
                return self._end(subject, bytes(said), ending)
        return self._end(subject, bytes(said), None)

    def _act(self, rng: Random, other: Connection) -> None:
        """Something that a peer might do once it is connected."""
        for _ in range(rng.randint(0, 4)):
            choice = rng.randrange(5)
            if choice == 0:
                other.send_data(rng.randbytes(rng.choice((0, 1, 100, 20_000))))
            elif choice == 1 and other.version == TLS13:
                other.update_keys(request_peer=rng.random() < 0.5)
            elif choice == 2 and other.is_server and other.version == TLS13:
                other.new_session_ticket()
            elif choice == 3 and isinstance(other, Liar):
                other.send(rng.choice(list(SAMPLES.values())))
            elif choice == 4:
                other._out.append(
                    other._sealer.seal(21, rng.choice((b"\1\0", b"\1\x5a", b"\1\x64", b"\2\x28", b"\0\0")))
                )

    def _give(self, rng: Random, subject: Connection, data: bytes) -> Error | None:
        """The bytes to the subject, in pieces. Returns the error it ended with."""
        for piece in self._pieces(rng, data):
            try:
                for event in subject.receive_data(piece):
                    self._touch(event, subject)
            except InternalError as error:
                raise Broken(f"an unforeseen exception: {error.__cause__!r}") from error
            except (PeerError, AlertReceived, UnexpectedEOF) as error:
                return error
            except Error as error:
                raise Broken(f"{type(error).__name__} is no answer to bytes of the peer: {error}") from error
            except Exception as error:
                raise Broken(f"{type(error).__name__} left the engine: {error}") from error
        return None

    def _pieces(self, rng: Random, data: bytes) -> list[bytes]:
        choice = rng.random()
        if choice < 0.6:
            return [data]
        if choice < 0.7 and len(data) < 3_000:
            return [data[at : at + 1] for at in range(len(data))]
        points = sorted(rng.randint(0, len(data)) for _ in range(rng.randint(1, 5)))
        return [data[start:end] for start, end in zip([0, *points], [*points, len(data)], strict=True)]

    def _touch(self, event: Any, connection: Connection) -> None:
        """Look at what an event shows: it must be alive. Early data is answered, if it begins as it should."""
        if isinstance(event, SessionIssued):
            assert not event.session.is_freed
            assert event.session.data.version in (TLS12, TLS13)
        if isinstance(event, EarlyDataReceived):
            self.early_data += len(event.data)
            if connection.error is None and event.data[0] < 128:
                connection.send_data(b"an early answer")

    def _end(self, subject: Connection, said: bytes, error: Error | None) -> str:
        if len(said) > MOST_OUTPUT:
            raise Broken(f"the subject said {len(said)} bytes")
        if error is None:
            if subject.error is not None:
                raise Broken("a failed subject without an error that was raised")
            return "waiting" if not subject.handshake_complete else "connected"
        if subject.error is not error:
            raise Broken("the subject keeps another error than it raised")
        try:
            subject.receive_data(b"more")
        except ConnectionFailed:
            pass
        else:
            raise Broken("a failed subject takes more bytes")
        if subject.data_to_send():
            raise Broken("a failed subject has more to say")
        return type(error).__name__

    def _look_around(self, servers: ServerContext, clients: ClientContext) -> None:
        """Every session that is left is held by its cache alone."""
        for context in (servers, clients):
            for session in context.sessions:
                holders = {holder.kind for holder in session.holders}
                if not holders <= {"cache", "application"}:
                    raise Broken(f"a cached session is still held by {session.holders}")
            if len(context.sessions) > 200:
                context.sessions.flush_all()
        for session in self._sessions.values():
            holders = {holder.kind for holder in session.holders}
            if not holders <= {"cache", "application"}:
                raise Broken(f"a session that was offered is still held by {session.holders}")

    def close(self) -> None:
        for session in self._sessions.values():
            session.free()
        for context in (*self._servers.values(), *self._clients.values()):
            context.close()
