"""Clients and servers in memory: no socket, no clock of the machine, no randomness but what a seed gives.

`World` makes contexts and connections from one set of certificates, one clock and one random source; `pump` carries
bytes between two connections until both are silent, through a tap that may look at them or change them. Key shares
come from `cryptography` and are random, except under `SameShares`, which makes a handshake the same byte for byte.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, Self
from unittest.mock import patch

from cryptography.hazmat.primitives.asymmetric import x25519

from resumption.client_context import ClientContext
from resumption.config import ClientConfig, ServerConfig
from resumption.connection import Connection
from resumption.constants import ProtocolVersion
from resumption.crypto import groups
from resumption.crypto.certificates import CertifiedKey
from resumption.crypto.trust import TrustStore
from resumption.errors import Error, IllegalParameter, InternalError
from resumption.handshake.events import DataReceived, Event, SessionIssued
from resumption.server_context import ServerContext
from resumption.session.model import Session, SessionData
from resumption.session.tickets.keys import TicketKeys
from tests.pki import Credential, Pki

TLS12 = int(ProtocolVersion.TLSv1_2)
TLS13 = int(ProtocolVersion.TLSv1_3)
VERSIONS = (TLS12, TLS13)
CURVES = tuple(group for group in groups.DEFAULT_GROUPS if group not in groups.HYBRID_GROUPS)  # what `SameShares` knows
Tap = Callable[[bytes], bytes]


class Clock:
    """Stands still until it is told to go on. Starts at the present, for which the certificates are valid."""

    def __init__(self, now: float | None = None) -> None:
        self.now = float(int(time.time())) if now is None else now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class Random:
    """Bytes that look random and are the same for the same seed."""

    def __init__(self, seed: int | str = 0) -> None:
        self._seed = str(seed).encode()
        self._count = 0

    def __call__(self, length: int) -> bytes:
        self._count += 1
        return hashlib.shake_128(b"%s/%d" % (self._seed, self._count)).digest(length)


class SameShares:
    """Key shares of x25519 come from ``seed`` while inside; entered again, they go on from where they were."""

    def __init__(self, seed: int | str = 0) -> None:
        random = Random(f"shares {seed}")

        def generate(exchange: Any) -> tuple[bytes, Callable[[bytes], bytes]]:
            private = x25519.X25519PrivateKey.from_private_bytes(random(32))

            def finish(peer_share: bytes) -> bytes:
                try:
                    return private.exchange(x25519.X25519PublicKey.from_public_bytes(peer_share))
                except ValueError:
                    raise IllegalParameter("not a share") from None

            return private.public_key().public_bytes_raw(), finish

        self._generate = generate
        self._patches: list[Any] = []

    def __enter__(self) -> Self:
        patcher = patch.object(groups._X25519, "generate", self._generate)
        patcher.start()
        self._patches.append(patcher)
        return self

    def __exit__(self, *error: object) -> None:
        self._patches.pop().stop()


@lru_cache
def certified(credential: Credential) -> CertifiedKey:
    """A certificate with its key as a server or client holds it."""
    return CertifiedKey.load(credential.chain_pem, credential.key_pem)


@lru_cache
def trust(*roots: bytes) -> TrustStore:
    return TrustStore.load(b"".join(roots))


class Took(NamedTuple):
    """What `pump` carried: events of each side in order, and the error that each side raised."""

    client: list[Event]
    server: list[Event]
    client_error: Error | None
    server_error: Error | None

    def check(self) -> Took:
        """Nobody failed."""
        for error in (self.client_error, self.server_error):
            if error is not None:
                raise error
        return self


def feed(connection: Connection, data: bytes) -> tuple[list[Event], Error | None]:
    """The events of one call, and its error. An unforeseen exception fails the test, also dressed as InternalError."""
    events: list[Event] = []
    try:
        for event in connection.receive_data(data):
            events.append(event)  # noqa: PERF402 - the generator raises after the last one
    except InternalError as error:
        if error.__cause__ is not None:
            raise error.__cause__ from None
        return events, error
    except Error as error:
        return events, error
    return events, None


def pump(
    client: Connection,
    server: Connection,
    to_server: Tap | None = None,
    to_client: Tap | None = None,
) -> Took:
    """Carry bytes both ways until both are silent. A side that failed still gets its alert out, and hears no more."""
    took: tuple[list[Event], list[Event]] = ([], [])
    errors: list[Error | None] = [None, None]
    sides = ((client, server, to_server, 1), (server, client, to_client, 0))
    while True:
        silent = True
        for sender, receiver, tap, index in sides:
            data = sender.data_to_send()
            if data and tap is not None:
                data = tap(data)
            if not data:
                continue
            silent = False
            if receiver.error is None:
                events, error = feed(receiver, data)
                took[index].extend(events)
                errors[index] = errors[index] or error
        if silent:
            return Took(took[0], took[1], errors[0], errors[1])


class Pair(NamedTuple):
    """A client and a server after their handshake."""

    client: Connection
    server: Connection
    took: Took

    def pump(self, to_server: Tap | None = None, to_client: Tap | None = None) -> Took:
        return pump(self.client, self.server, to_server, to_client)

    def check(self) -> Pair:
        self.took.check()
        assert self.client.handshake_complete
        assert self.server.handshake_complete
        return self

    def talk(self) -> None:
        """Data flows both ways."""
        self.client.send_data(b"ping")
        self.server.send_data(b"pong")
        took = self.pump().check()
        assert received(took.server) == b"ping"
        assert received(took.client) == b"pong"

    def free(self) -> None:
        self.client.free()
        self.server.free()


def received(events: list[Event]) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, DataReceived))


def issued(events: list[Event]) -> list[Session]:
    return [event.session for event in events if isinstance(event, SessionIssued)]


class World:
    """One certificate authority, one clock, one source of randomness: settings for any number of connections."""

    def __init__(self, pki: Pki, *, seed: int | str = 0, leaf: Credential | None = None, grease: bool = True) -> None:
        self.pki = pki
        self.grease = grease  # whether clients offer values that mean nothing
        self.clock = Clock()
        self.random = Random(seed)
        self.leaf = leaf if leaf is not None else pki.ed25519

    @cached_property
    def tickets(self) -> TicketKeys:
        return TicketKeys.generate(random=Random("ticket keys"))

    def server_config(self, **changes: Any) -> ServerConfig:
        settings: dict[str, Any] = {
            "certified_keys": (certified(self.leaf),),
            "tickets": self.tickets,
            "clock": self.clock,
            "random": self.random,
            "groups": CURVES,
        }
        return ServerConfig(**{**settings, **changes})

    def client_config(self, **changes: Any) -> ClientConfig:
        settings: dict[str, Any] = {
            "trust": trust(self.pki.trust_pem),
            "grease": self.grease,
            "clock": self.clock,
            "random": self.random,
            "groups": CURVES,
        }
        return ClientConfig(**{**settings, **changes})

    def server_context(self, **changes: Any) -> ServerContext:
        """A context; ``leaf`` is another certificate than the world's."""
        leaf: Credential = changes.pop("leaf", self.leaf)
        settings: dict[str, Any] = {"clock": self.clock, "random": self.random, "groups": CURVES}
        return ServerContext(leaf.chain_pem, leaf.key_pem, **{**settings, **changes})

    def client_context(self, **changes: Any) -> ClientContext:
        settings: dict[str, Any] = {
            "trust": self.pki.trust_pem,
            "grease": self.grease,
            "clock": self.clock,
            "random": self.random,
            "groups": CURVES,
        }
        identity: Credential | None = changes.pop("identity", None)
        if identity is not None:
            settings.update(certificate=identity.chain_pem, private_key=identity.key_pem)
        return ClientContext(**{**settings, **changes})

    def meet(
        self,
        clients: ClientContext | ClientConfig,
        servers: ServerContext | ServerConfig,
        *,
        session: Session | None = None,
        name: str = "localhost",
        fresh: bool = False,
        to_server: Tap | None = None,
        to_client: Tap | None = None,
    ) -> Pair:
        """One handshake, however it ends."""
        if isinstance(clients, ClientContext):
            client = clients.connection(name, session=session, fresh=fresh)
        else:
            client = Connection(clients, server_name=name)
            if session is not None:
                client.set_session(session)
        server = servers.connection() if isinstance(servers, ServerContext) else Connection(servers)
        return Pair(client, server, pump(client, server, to_server, to_client))

    # Sessions out of nothing, for peers that are scripted.

    def client_session(self, version: int, **changes: Any) -> Session:
        """A session that the client would offer to localhost. The application holds it."""
        facts: dict[str, Any] = {
            "version": version,
            "cipher": 0x1301 if version == TLS13 else 0xC02B,
            "session_id": b"I" * 32,
            "time": self.clock(),
            "timeout": 7_200,
            "verify_result": 0,
            "hostname": "localhost",
            "peer_certificate": self.leaf.chain_der[0],
            "peer_chain": self.leaf.chain_der,
            "role": "client",
            "auth_time": self.clock(),
            "deadline": self.clock() + 86_400,
            "verified_name": "localhost",
        }
        if version == TLS13:
            facts.update(ticket=b"T" * 200, ticket_lifetime_hint=7_200, ticket_age_add=77)
        else:
            facts.update(flags=1)
        secret = changes.pop("secret", self.random(32 if version == TLS13 else 48))
        return Session.create(SessionData(**{**facts, **changes}), secret)

    def server_session(self, config: ServerConfig, version: int, **changes: Any) -> Session:
        """A session that a server with ``config`` would take back for localhost. The application holds it."""
        facts: dict[str, Any] = {
            "version": version,
            "cipher": 0x1301 if version == TLS13 else 0xC02B,
            "session_id": b"S" * 32,
            "id_context": config.id_context,
            "time": self.clock(),
            "timeout": 7_200,
            "verify_result": 0,
            "hostname": "localhost",
            "flags": 0 if version == TLS13 else 1,
            "role": "server",
            "partition": config.partition,
            "policy_epoch": config.policy_epoch,
            "auth_time": self.clock(),
            "deadline": self.clock() + 86_400,
        }
        secret = changes.pop("secret", self.random(32 if version == TLS13 else 48))
        return Session.create(SessionData(**{**facts, **changes}), secret)
