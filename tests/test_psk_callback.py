"""External PSKs that the application gives connection by connection: what it may return, and what comes of the rest."""

from __future__ import annotations

from typing import Any

import pytest

from resumption import ExternalPsk, PskCallback, Reason, Session
from resumption.constants import AlertDescription
from resumption.errors import AlertReceived, ConfigurationError, ReferenceCountError
from resumption.session.facts import SessionData
from tests.handshake.pairs import TLS12, TLS13, Pair, World, pump
from tests.handshake.scripted13 import P256
from tests.pki import Pki

KEY = bytes(range(1, 33))
NAME = b"sensor 7"


@pytest.fixture
def world(pki: Pki) -> World:
    return World(pki)


def in_session(suite: int = 0x1301, version: int = TLS13, key: bytes = KEY) -> Session:
    return Session.create(SessionData(version=version, cipher=suite), key)


def meet(world: World, key: Any, known: Any = None, **changes: Any) -> Pair:
    """A client that offers NAME with ``key()``, and a server that knows ``known()`` for it."""
    client = world.client_context(psk=PskCallback(lambda connection: (NAME, key())), **changes.pop("client", {}))
    server = world.server_context(psks=PskCallback(lambda connection, identity: (known or key)()), **changes)
    return world.meet(client, server)


def served(pair: Pair) -> Pair:
    pair.check()
    for side in (pair.client, pair.server):
        assert side.resumption is not None
        assert side.resumption.reason is Reason.EXTERNAL_PSK
        assert side.facts is not None
        assert side.facts.psk_identity == NAME
    pair.talk()
    return pair


KEYS = [
    (lambda: KEY, "TLS_AES_128_GCM_SHA256"),
    (lambda: bytearray(KEY), "TLS_AES_128_GCM_SHA256"),
    (lambda: in_session(0x1303), "TLS_AES_128_GCM_SHA256"),
    (lambda: in_session(0x1302), "TLS_AES_256_GCM_SHA384"),
]


@pytest.mark.parametrize(("key", "cipher"), KEYS, ids=["bytes", "bytearray", "session", "session of SHA-384"])
def test_a_key_comes_as_bytes_or_in_a_session(world: World, key: Any, cipher: str) -> None:
    assert served(meet(world, key)).client.cipher == cipher


def test_a_key_comes_as_an_external_psk(world: World) -> None:
    client = world.client_context(psk=PskCallback(lambda connection: ExternalPsk(NAME, KEY, "client", "sha384")))
    server = world.server_context(psks=PskCallback(lambda *_: ExternalPsk(NAME, KEY, "server", "sha384")))
    served(world.meet(client, server))


@pytest.mark.parametrize("hash", [0x1301, 0x1302])
def test_a_server_that_asks_for_another_hello_asks_twice(world: World, hash: int) -> None:
    given: list[Session] = []

    def key() -> Session:
        given.append(in_session(hash))
        return given[-1]

    served(meet(world, key, groups=(P256,), client={"groups": ("x25519", "secp256r1"), "key_shares": 1}))
    assert len(given) == 3  # by the client once: its second hello offers the same
    assert all(session.is_freed for session in given)


def test_a_session_that_is_kept_can_be_given_again(world: World) -> None:
    with in_session() as session:
        for _ in range(2):
            served(meet(world, session.up_ref)).free()
        assert session.references == 1


def test_none_offers_nothing_and_knows_nothing(world: World) -> None:
    certain = world.server_context(psks=PskCallback(lambda *_: None))
    quiet = world.client_context(psk=PskCallback(lambda _: None))
    for client in (quiet, world.client_context(psk=ExternalPsk(NAME, KEY, "client"))):
        pair = world.meet(client, certain).check()
        assert pair.client.peer_chain
    assert world.meet(quiet, world.server_context()).check().client.peer_chain


def test_a_client_of_tls12_is_not_asked(world: World) -> None:
    def fail(connection: object) -> Any:
        raise AssertionError("there is nothing to be offered")

    client = world.client_context(psk=PskCallback(fail), maximum_version=TLS12)
    assert world.meet(client, world.server_context()).check().client.peer_chain


BAD: list[tuple[str, Any]] = [
    ("a session of TLS 1.2", lambda: in_session(0xC02B, TLS12)),
    ("a suite of TLS 1.2", lambda: in_session(0xC02B)),
    ("no suite", lambda: in_session(0)),
    ("a short key", lambda: in_session(key=b"short")),
    ("no key", lambda: in_session(key=b"")),
]


@pytest.mark.parametrize("key", [row[1] for row in BAD], ids=[row[0] for row in BAD])
def test_what_is_no_key_ends_the_connection_and_is_given_back(world: World, key: Any) -> None:
    given: list[Session] = []

    def known() -> Session:
        given.append(key())
        return given[-1]

    took = meet(world, lambda: KEY, known).took
    assert isinstance(took.server_error, ConfigurationError)
    assert isinstance(took.client_error, AlertReceived)
    assert took.client_error.description == AlertDescription.internal_error
    assert all(session.is_freed for session in given)
    with pytest.raises(ConfigurationError):
        meet(world, known)
    assert all(session.is_freed for session in given)


def test_a_borrowed_session_cannot_be_given_away(world: World) -> None:
    pair = world.meet(world.client_context(), world.server_context()).check()
    session = pair.client.session
    assert session is not None
    took = meet(world, lambda: KEY, lambda: session).took
    assert isinstance(took.server_error, ReferenceCountError)
    assert session.holders


def test_a_key_of_a_connection_alone_files_no_sessions_for_others(world: World) -> None:
    server = world.server_context(publish_psk_sessions=True, psks=PskCallback(lambda *_: KEY))
    client = world.client_context(publish_psk_sessions=True)
    connection, accepting = client.connection("localhost"), server.connection()
    assert connection.psk is None
    connection.psk = PskCallback(lambda _: (NAME, KEY))
    assert connection.psk is not client.psk
    pump(connection, accepting).check()
    assert connection.resumption is not None
    assert connection.resumption.reason is Reason.EXTERNAL_PSK
    assert world.meet(client, world.server_context()).client.session_reused is False


def test_a_callback_is_a_function() -> None:
    with pytest.raises(ConfigurationError):
        PskCallback(5)  # type: ignore[arg-type]
    assert repr(PskCallback(len)) == "<PskCallback>"
