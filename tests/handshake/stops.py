"""Every state of every handshake, and how to get there.

A `Route` is a handshake of one subject with a scripted peer, told step by step; a `Stop` is a place on a route where
the subject waits for a message. `ACCEPTS` says which messages each state may accept: it is written from RFC 9846,
appendix A, and RFC 5246, section 7.3, not from the code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from resumption.connection import Connection
from resumption.constants import MAX_TICKET_LIFETIME_S
from resumption.constants import HandshakeType as H
from resumption.handshake import (
    client,
    client12,
    client13,
    client_flight12,
    established12,
    established13,
    finish12,
    finish13,
    flight13,
    server,
    server12,
    server13,
)
from resumption.handshake.state import State
from resumption.handshake.tickets import seal_session
from resumption.session.fleet.replay import ReplayRegister
from resumption.session.verdicts import Mechanism
from tests.handshake.pairs import TLS12, TLS13, World, certified
from tests.handshake.scripted import Peer
from tests.handshake.scripted12 import Client12, Server12
from tests.handshake.scripted13 import Client13, Psk, Server13

Step = Callable[[Any], object]

ACCEPTS: dict[type[State], set[int]] = {
    client.ExpectServerHello: {H.server_hello, H.hello_request},
    client.ExpectSecondServerHello: {H.server_hello},
    client13.ExpectEncryptedExtensions: {H.encrypted_extensions},
    client13.ExpectCertificateOrRequest: {H.certificate, H.certificate_request},
    client13.ExpectCertificate: {H.certificate},
    client13.ExpectCertificateVerify: {H.certificate_verify},
    client13.ExpectFinished: {H.finished},
    established13.ClientConnected: {H.new_session_ticket, H.key_update},
    client12.ExpectCertificate: {H.certificate, H.hello_request},
    client12.ExpectKeyExchange: {H.server_key_exchange, H.hello_request},
    client12.ExpectRequestOrDone: {H.certificate_request, H.server_hello_done, H.hello_request},
    client12.ExpectServerHelloDone: {H.server_hello_done, H.hello_request},
    client_flight12.ExpectTicket: {H.new_session_ticket, H.hello_request},
    client_flight12.ExpectChangeCipherSpec: {H.hello_request},
    client_flight12.ExpectFinished: {H.finished, H.hello_request},
    established12.ClientConnected: {H.hello_request},
    server.ExpectClientHello: {H.client_hello},
    server13.ExpectSecondClientHello: {H.client_hello},
    finish13.ExpectCertificate: {H.certificate},
    finish13.ExpectCertificateVerify: {H.certificate_verify},
    finish13.ExpectEndOfEarlyData: {H.end_of_early_data},
    finish13.ExpectFinished: {H.finished},
    established13.ServerConnected: {H.key_update},
    finish12.ExpectCertificate: {H.certificate},
    finish12.ExpectKeyExchange: {H.client_key_exchange},
    finish12.ExpectCertificateVerify: {H.certificate_verify},
    finish12.ExpectChangeCipherSpec: set(),
    finish12.ExpectFinished: {H.finished},
    established12.ServerConnected: {H.client_hello},
}
AWAITING = {
    server13.AwaitSession,
    server12.AwaitSession,
    server13.AwaitAdmission,
    server13.AwaitSpending,
    client13.AwaitSignature,
    client_flight12.AwaitSignature,
    established13.AwaitLaterSignature,
    flight13.AwaitSignature,
    server12.AwaitSignature,
}  # see test_questions.py and test_signers.py
LATER = {
    established13.ExpectLaterCertificateVerify: {H.certificate_verify},
    established13.ExpectLaterFinished: {H.finished},
}  # see test_post_handshake.py
CONNECTED = {
    established12.ClientConnected,
    established12.ServerConnected,
    established13.ClientConnected,
    established13.ServerConnected,
}
OBEYS_CHANGE = {client_flight12.ExpectChangeCipherSpec, finish12.ExpectChangeCipherSpec}
# Once a hello was sent or received, and before the peer's Finished. RFC 9846, section 5.
IGNORES_CHANGE = {
    client.ExpectServerHello,
    client.ExpectSecondServerHello,
    client13.ExpectEncryptedExtensions,
    client13.ExpectCertificateOrRequest,
    client13.ExpectCertificate,
    client13.ExpectCertificateVerify,
    client13.ExpectFinished,
    server13.ExpectSecondClientHello,
    finish13.ExpectCertificate,
    finish13.ExpectCertificateVerify,
    finish13.ExpectEndOfEarlyData,
    finish13.ExpectFinished,
}


@dataclass(frozen=True)
class Route:
    """One handshake. ``steps`` lead from state to state; ``states`` has one more entry than there are steps."""

    name: str
    version: int
    start: Callable[[World], Peer]
    states: tuple[type[State], ...]
    steps: tuple[Step, ...]

    def stops(self) -> list[Stop]:
        return [Stop(self, index) for index in range(len(self.states))]


@dataclass(frozen=True)
class Stop:
    """A place on a route."""

    route: Route
    index: int

    @property
    def state(self) -> type[State]:
        return self.route.states[self.index]

    @property
    def is_connected(self) -> bool:
        return self.state in CONNECTED

    def __str__(self) -> str:
        return f"{self.route.name}-{self.index}-{self.state.__name__}"

    def arrive(self, world: World) -> Peer:
        """A fresh handshake that has come to this place."""
        peer = self.route.start(world).give(b"")  # a server begins with the first call
        for step in self.route.steps[: self.index]:
            step(peer)
        peer.accepted()
        assert type(peer.subject._state) is self.state
        return peer


def _client(world: World, session: bool = False, version: int = TLS13, **changes: Any) -> tuple[Connection, bytes]:
    subject = Connection(world.client_config(**changes), server_name="localhost")
    secret = b""
    if session:
        with world.client_session(version) as offered:
            secret = offered.secret
            subject.set_session(offered)
    return subject, secret


def server13_for(world: World, *, resumed: bool = False, **changes: Any) -> Server13:
    subject, secret = _client(world, resumed, **changes)
    return Server13(subject, certified(world.leaf), psk=secret or None)


class Resuming12(Server12):
    """A scripted server that knows the master secret of the session that is offered to it."""

    secret: bytes


def server12_for(world: World, *, resumed: bool = False, **changes: Any) -> Resuming12:
    subject, secret = _client(world, resumed, TLS12, **changes)
    peer = Resuming12(subject, certified(world.leaf))
    peer.secret = secret
    return peer


def mutual(world: World) -> dict[str, Any]:
    """Settings of a server that requires client certificates."""
    return {"client_auth": "required", "trust": world.client_config().trust, "id_context": b"tests"}


def sealed(world: World, config: Any, version: int, **changes: Any) -> Psk:
    """A ticket of this server and its secret."""
    mechanism = Mechanism.STATELESS_13 if version == TLS13 else Mechanism.TICKET_12
    with world.server_session(config, version, **changes) as session:
        ticket = seal_session(
            config, session.data, session.secret, mechanism, min(session.timeout, MAX_TICKET_LIFETIME_S), world.clock()
        )
        assert ticket is not None
        return Psk(ticket, session.secret)


def client13_for(world: World, *, resumed: bool = False, identity: bool = False, **changes: Any) -> Client13:
    config = world.server_config(**changes)
    key = certified(world.pki.client) if identity else None
    psks = (sealed(world, config, TLS13),) if resumed else ()
    return Client13(Connection(config), key, psks=psks)


def early_client13_for(world: World) -> Client13:
    """A client with a ticket that allows early data, before its hello."""
    register = ReplayRegister(clock=world.clock, random=world.random)
    config = world.server_config(max_early_data=1_000, replay=register)
    psk = sealed(world, config, TLS13, max_early_data=1_000, replay_domain=register.domain)
    return Client13(Connection(config), psks=(psk,))


class Resuming12Client(Client12):
    """A scripted client with a ticket."""

    secret: bytes


def client12_for(world: World, *, resumed: bool = False, identity: bool = False, **changes: Any) -> Resuming12Client:
    config = world.server_config(**changes)
    key = certified(world.pki.client) if identity else None
    psk = sealed(world, config, TLS12) if resumed else Psk(b"", b"")
    peer = Resuming12Client(Connection(config), key, ticket=psk.identity, session_id=b"x" * 32 if resumed else b"")
    peer.secret = psk.secret
    return peer


def _resume_here(peer: Resuming12Client) -> None:
    peer.say_hello().read_hello()
    peer.use_master(messages_master(peer))
    peer.read_end()


def messages_master(peer: Resuming12Client) -> Any:
    from resumption.crypto.schedule12 import MasterSecret12

    return MasterSecret12(peer.suite.hash, peer.secret)


ROUTES = (
    Route(
        "client13-full",
        TLS13,
        server13_for,
        (
            client.ExpectServerHello,
            client13.ExpectEncryptedExtensions,
            client13.ExpectCertificateOrRequest,
            client13.ExpectCertificateVerify,
            client13.ExpectFinished,
            established13.ClientConnected,
        ),
        (
            Server13.say_hello,
            Server13.say_extensions,
            Server13.say_certificate,
            Server13.say_verify,
            Server13.say_finished,
        ),
    ),
    Route(
        "client13-asked",
        TLS13,
        server13_for,
        (
            client.ExpectServerHello,
            client13.ExpectEncryptedExtensions,
            client13.ExpectCertificateOrRequest,
            client13.ExpectCertificate,
            client13.ExpectCertificateVerify,
            client13.ExpectFinished,
            established13.ClientConnected,
        ),
        (
            Server13.say_hello,
            Server13.say_extensions,
            Server13.say_request,
            Server13.say_certificate,
            Server13.say_verify,
            Server13.say_finished,
        ),
    ),
    Route(
        "client13-retried",
        TLS13,
        server13_for,
        (
            client.ExpectServerHello,
            client.ExpectSecondServerHello,
            client13.ExpectEncryptedExtensions,
        ),
        (Server13.say_retry, Server13.say_hello),
    ),
    Route(
        "client13-resumed",
        TLS13,
        lambda world: server13_for(world, resumed=True),
        (
            client.ExpectServerHello,
            client13.ExpectEncryptedExtensions,
            client13.ExpectFinished,
            established13.ClientConnected,
        ),
        (Server13.say_hello, Server13.say_extensions, Server13.say_finished),
    ),
    Route(
        "client12-full",
        TLS12,
        server12_for,
        (
            client.ExpectServerHello,
            client12.ExpectCertificate,
            client12.ExpectKeyExchange,
            client12.ExpectRequestOrDone,
            client_flight12.ExpectChangeCipherSpec,
            client_flight12.ExpectFinished,
            established12.ClientConnected,
        ),
        (
            Server12.say_hello,
            Server12.say_certificate,
            Server12.say_key_exchange,
            Server12.say_done,
            Server12.say_ccs,
            Server12.say_finished,
        ),
    ),
    Route(
        "client12-asked-ticket",
        TLS12,
        server12_for,
        (
            client.ExpectServerHello,
            client12.ExpectCertificate,
            client12.ExpectKeyExchange,
            client12.ExpectRequestOrDone,
            client12.ExpectServerHelloDone,
            client_flight12.ExpectTicket,
            client_flight12.ExpectChangeCipherSpec,
            client_flight12.ExpectFinished,
            established12.ClientConnected,
        ),
        (
            lambda peer: peer.say_hello(ticket=True),
            Server12.say_certificate,
            Server12.say_key_exchange,
            Server12.say_request,
            Server12.say_done,
            Server12.say_ticket,
            Server12.say_ccs,
            Server12.say_finished,
        ),
    ),
    Route(
        "client12-resumed",
        TLS12,
        lambda world: server12_for(world, resumed=True),
        (
            client.ExpectServerHello,
            client_flight12.ExpectChangeCipherSpec,
            client_flight12.ExpectFinished,
            established12.ClientConnected,
        ),
        (
            lambda peer: peer.say_hello(master=peer.secret),
            Server12.say_ccs,
            lambda peer: peer.say_finished().read_finished(),
        ),
    ),
    Route(
        "client12-renewed",
        TLS12,
        lambda world: server12_for(world, resumed=True),
        (
            client.ExpectServerHello,
            client_flight12.ExpectTicket,
            client_flight12.ExpectChangeCipherSpec,
            client_flight12.ExpectFinished,
            established12.ClientConnected,
        ),
        (
            lambda peer: peer.say_hello(master=peer.secret, ticket=True),
            Server12.say_ticket,
            Server12.say_ccs,
            lambda peer: peer.say_finished().read_finished(),
        ),
    ),
    Route(
        "server13-full",
        TLS13,
        client13_for,
        (server.ExpectClientHello, finish13.ExpectFinished, established13.ServerConnected),
        (lambda peer: peer.say_hello().read_flight(), lambda peer: (peer.say_finished(), peer.read_tickets())),
    ),
    Route(
        "server13-asking",
        TLS13,
        lambda world: client13_for(world, identity=True, **mutual(world)),
        (
            server.ExpectClientHello,
            finish13.ExpectCertificate,
            finish13.ExpectCertificateVerify,
            finish13.ExpectFinished,
            established13.ServerConnected,
        ),
        (
            lambda peer: peer.say_hello().read_flight(),
            Client13.say_certificate,
            Client13.say_verify,
            lambda peer: (peer.say_finished(), peer.read_tickets()),
        ),
    ),
    Route(
        "server13-retrying",
        TLS13,
        lambda world: client13_for(world, groups=(23,)),
        (server.ExpectClientHello, server13.ExpectSecondClientHello, finish13.ExpectFinished),
        (
            lambda peer: peer.say_hello().read_retry(),
            lambda peer: peer.say_hello(peer.second_hello()).read_flight(),
        ),
    ),
    Route(
        "server13-resumed",
        TLS13,
        lambda world: client13_for(world, resumed=True),
        (server.ExpectClientHello, finish13.ExpectFinished, established13.ServerConnected),
        (lambda peer: peer.say_hello().read_flight(), lambda peer: (peer.say_finished(), peer.read_tickets())),
    ),
    Route(
        "server13-early",
        TLS13,
        early_client13_for,
        (
            server.ExpectClientHello,
            finish13.ExpectEndOfEarlyData,
            finish13.ExpectFinished,
            established13.ServerConnected,
        ),
        (
            Client13.say_early_hello,
            Client13.say_end_of_early_data,
            lambda peer: (peer.say_finished(), peer.read_tickets()),
        ),
    ),
    Route(
        "server12-full",
        TLS12,
        client12_for,
        (
            server.ExpectClientHello,
            finish12.ExpectKeyExchange,
            finish12.ExpectChangeCipherSpec,
            finish12.ExpectFinished,
            established12.ServerConnected,
        ),
        (
            lambda peer: peer.say_hello().read_flight(),
            Client12.say_key_exchange,
            Client12.say_ccs,
            lambda peer: peer.say_finished().read_end(),
        ),
    ),
    Route(
        "server12-asking",
        TLS12,
        lambda world: client12_for(world, identity=True, **mutual(world)),
        (
            server.ExpectClientHello,
            finish12.ExpectCertificate,
            finish12.ExpectKeyExchange,
            finish12.ExpectCertificateVerify,
            finish12.ExpectChangeCipherSpec,
            finish12.ExpectFinished,
            established12.ServerConnected,
        ),
        (
            lambda peer: peer.say_hello().read_flight(),
            Client12.say_certificate,
            Client12.say_key_exchange,
            Client12.say_verify,
            Client12.say_ccs,
            lambda peer: peer.say_finished().read_end(),
        ),
    ),
    Route(
        "server12-resumed",
        TLS12,
        lambda world: client12_for(world, resumed=True),
        (
            server.ExpectClientHello,
            finish12.ExpectChangeCipherSpec,
            finish12.ExpectFinished,
            established12.ServerConnected,
        ),
        (_resume_here, Client12.say_ccs, Client12.say_finished),
    ),
)


def _distinct() -> tuple[Stop, ...]:
    """Every state, in full and in resumed handshakes, but none twice in the same situation."""
    found: dict[tuple[type[State], bool], Stop] = {}
    for route in ROUTES:
        for stop in route.stops():
            resumed = route.name.endswith(("resumed", "renewed")) and stop.index > 0
            found.setdefault((stop.state, resumed), stop)
    return tuple(found.values())


STOPS = _distinct()
