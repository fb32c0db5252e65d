"""Conversations that can be had again: recorded once, then replayed to one side in any pieces, byte for byte.

Everything that is random comes from seeds: the key shares (`SameShares`), the randoms, and signatures, which Ed25519
makes without randomness. So a side that hears the same bytes must say the same bytes, however they are cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from resumption.connection import Connection
from resumption.constants import NamedGroup
from resumption.errors import Error
from resumption.handshake.events import DataReceived, Event, HandshakeCompleted, SessionIssued
from tests.handshake.pairs import TLS12, TLS13, Clock, Random, SameShares, World, certified
from tests.handshake.stops import mutual
from tests.pki import CLIENT_AUTH, Credential, Pki, issue

TRAILING = b"what follows is not TLS"


@dataclass(frozen=True)
class Plan:
    """What is recorded: who is looked at, and what the handshake is like."""

    side: str
    version: int
    resumed: bool
    mutual: bool = False
    retried: bool = False  # the first hello is answered with a HelloRetryRequest
    small: bool = False  # records are limited in size, and padded in TLS 1.3

    def __str__(self) -> str:
        words = [self.side, "1.3" if self.version == TLS13 else "1.2", "resumed" if self.resumed else "full"]
        words += [word for word in ("mutual", "retried", "small") if getattr(self, word)]
        return "-".join(words)


PLANS = (
    *(
        Plan(side, version, resumed, asking)
        for side in ("client", "server")
        for version in (TLS12, TLS13)
        for resumed, asking in ((False, False), (True, False), (False, True))
    ),
    *(Plan(side, TLS13, resumed, retried=True) for side in ("client", "server") for resumed in (False, True)),
    *(Plan(side, version, False, small=True) for side in ("client", "server") for version in (TLS12, TLS13)),
)


@dataclass(frozen=True)
class Account:
    """What one side told and said. Sessions are told by their facts."""

    told: tuple[object, ...]
    said: bytes
    trailing: bytes
    error: tuple[type[Error], str] | None


def facts(event: Event) -> object:
    if isinstance(event, SessionIssued):
        return ("issued", event.session.data, event.session.secret)
    if isinstance(event, DataReceived):
        return bytes(event.data)
    if isinstance(event, HandshakeCompleted):
        return ("completed", event.resumption)
    return type(event).__name__


class Recording:
    """The bytes that one side heard, and how to make that side anew.

    ``turns`` are the places where the other side had to wait for an answer. The pieces of a replay always end there:
    what is said before the answer to it was asked for can share a record with that answer.
    """

    def __init__(self, world: World, plan: Plan) -> None:
        self.plan = plan
        self._world = world
        self._now = world.clock()
        server = dict(mutual(world)) if plan.mutual else {}
        client: dict[str, Any] = {"maximum_version": plan.version, "alpn": (b"h2",)}
        if plan.retried:  # the first hello has no share at all: only those of x25519 come from a seed
            client |= {"groups": (NamedGroup.x25519,), "key_shares": 0}
        if plan.small:
            for settings in (server, client):
                settings |= {"record_size_limit": 600}
                if plan.version == TLS13:
                    settings["record_padding"] = 64
        # Only these shares can be the same again, also where damage to a hello has another group chosen.
        groups = (NamedGroup.x25519,)
        self._server_config = world.server_config(**server, groups=groups, alpn=(b"h2",))
        if plan.mutual:
            client["certified_key"] = certified(_client_of(world.pki))
        self._client_config = world.client_config(**client)
        self._session = self._earlier_session() if plan.resumed else None
        self.turns: list[int] = []
        self.heard = self._record()

    def _earlier_session(self) -> Any:
        pair = self._world.meet(self._client_config, self._server_config).check()
        session = pair.client.get1_session()
        pair.free()
        return session

    def close(self) -> None:
        """Give back what was recorded with."""
        if self._session is not None:
            self._session.free()

    def _fresh(self, side: str) -> Connection:
        base: Any = self._client_config if side == "client" else self._server_config
        config = replace(base, random=Random(side), clock=Clock(self._now))
        connection = Connection(config, server_name="localhost" if side == "client" else "")
        if side == "client" and self._session is not None:
            connection.set_session(self._session)
        return connection

    def _record(self) -> bytes:
        subject, other = self._fresh(self.plan.side), self._fresh("server" if self.plan.side == "client" else "client")
        heard = bytearray()
        shares = {subject: SameShares("subject"), other: SameShares("other")}

        def turn(who: Connection, action: Callable[[], Any]) -> Any:
            with shares[who]:
                return action()

        def exchange() -> None:
            while True:
                said = turn(other, other.data_to_send)
                heard.extend(said)
                if said:
                    self.turns.append(len(heard))
                if said:
                    turn(subject, lambda said=said: list(subject.receive_data(said)))
                answer = turn(subject, subject.data_to_send)
                if answer:
                    turn(other, lambda answer=answer: list(other.receive_data(answer)))
                if not said and not answer:
                    return

        exchange()
        assert other.handshake_complete
        other.send_data(b"one" * 7_000)
        if self.plan.version == TLS13:
            other.update_keys(request_peer=True)
            if other.is_server:
                other.new_session_ticket()
        other.send_data(b"two")
        exchange()
        other.close()
        exchange()
        subject.free()
        other.free()
        return bytes(heard) + TRAILING

    def cut(self, points: Iterable[int] = (), heard: bytes | None = None) -> list[bytes]:
        """What was heard (or another version of it), in pieces that end at these points and at the turns."""
        data = self.heard if heard is None else heard
        inside = {point for point in (*points, *self.turns) if 0 < point < len(data)}
        return [data[start:end] for start, end in pairwise([0, *sorted(inside), len(data)])]

    def replay(self, pieces: Iterable[bytes]) -> Account:
        """The side that was looked at, again, hearing these pieces."""
        with SameShares("subject"):
            subject = self._fresh(self.plan.side)
            told: list[object] = []
            said = [subject.data_to_send()]
            error: tuple[type[Error], str] | None = None
            for piece in pieces:
                try:
                    told.extend(map(facts, subject.receive_data(piece)))
                except Error as raised:
                    error = (type(raised), str(raised))
                said.append(subject.data_to_send())
                if error is not None:
                    break
            account = Account(tuple(told), b"".join(said), subject.trailing_data, error)
            subject.free()
            return account

    def replay_as_needed(self) -> tuple[Account, int, list[int]]:
        """As a careful driver reads: never more than `bytes_needed`. Also how much was read, and in what pieces."""
        sizes: list[int] = []
        at = 0

        with SameShares("subject"):
            subject = self._fresh(self.plan.side)
            told: list[object] = []
            said = [subject.data_to_send()]
            while (size := subject.bytes_needed) > 0:
                piece = self.heard[at : at + size]
                at += size
                sizes.append(size)
                told += [facts(event) for event in subject.receive_data(piece)]
                said.append(subject.data_to_send())
            account = Account(tuple(told), b"".join(said), subject.trailing_data, None)
            subject.free()
            return account, at, sizes


@lru_cache
def _client_of(pki: Pki) -> Credential:
    return issue("client.test", issuer=pki.root, key=Ed25519PrivateKey.generate(), purposes=[CLIENT_AUTH])
