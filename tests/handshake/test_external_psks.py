"""Keys that both ends were given outside TLS: who may use them, how they are bound, and what is kept of it."""

from __future__ import annotations

from typing import Any

import pytest

from resumption.connection import Connection
from resumption.constants import ExtensionType as E
from resumption.constants import HandshakeType as H
from resumption.crypto.external_psk import ExternalPsk, import_psk
from resumption.crypto.schedule13 import EarlySecret
from resumption.errors import ConfigurationError, DecryptError, IllegalParameter, InternalError
from resumption.handshake.events import SessionIssued
from resumption.session.gate import external_usable
from resumption.session.verdicts import Reason
from resumption.wire import extensions as ext
from tests.handshake.pairs import TLS12, TLS13, Pair, World, issued
from tests.handshake.scripted13 import P256, Client13, Psk, Server13
from tests.handshake.stops import mutual, sealed

KEY = bytes(range(32))
NAME = b"sensor 7"


def ours(key: bytes = KEY, identity: bytes = NAME, hash: str = "sha256") -> ExternalPsk:
    return ExternalPsk(identity, key, "client", hash)


def theirs(*psks: ExternalPsk) -> dict[bytes, ExternalPsk]:
    kept = psks or (ours(),)
    return {psk.identity: ExternalPsk(psk.identity, psk.key, "server", psk.hash, psk.imported) for psk in kept}


def meet(world: World, psk: Any = None, psks: Any = None, **changes: Any) -> Pair:
    client: dict[str, Any] = changes.pop("client", {})
    return world.meet(
        world.client_context(psk=ours() if psk is None else psk, **client),
        world.server_context(psks=theirs() if psks is None else psks, **changes),
    )


def served(pair: Pair, identity: bytes = NAME) -> None:
    """Both ends used the key, and none of them a certificate."""
    pair.check()
    for side in (pair.client, pair.server):
        assert side.resumption is not None
        assert side.resumption.reason is Reason.EXTERNAL_PSK
        assert not side.session_reused
        assert not side.peer_chain
        assert side.facts is not None
        assert side.facts.psk_identity == identity
    pair.talk()


@pytest.mark.proves("9846:F.1:1")
@pytest.mark.parametrize("hash", ["sha256", "sha384"])
@pytest.mark.parametrize("length", [16, 32, 48, 64, 200])
def test_a_key_serves_in_place_of_certificates(world: World, hash: str, length: int) -> None:
    psk = ours(bytes(range(length)), hash=hash)
    served(meet(world, psk, theirs(psk)))


def test_a_callable_finds_the_key_for_a_server_and_for_an_identity(world: World) -> None:
    asked: list[Any] = []

    def find(identity: bytes) -> ExternalPsk | None:
        asked.append(identity)
        return theirs().get(identity)

    served(meet(world, lambda name: asked.append(name) or ours(), find))
    assert asked == ["localhost", NAME]
    pair = meet(world, lambda name: None).check()
    assert pair.client.peer_chain


def test_f12_a_callable_that_raises_ends_the_handshake(world: World) -> None:
    def fail(_: object) -> ExternalPsk | None:
        raise KeyError("no")

    with pytest.raises(KeyError):
        meet(world, None, fail)
    client = world.client_context(psk=fail).connection("localhost")
    with pytest.raises(InternalError):
        client.data_to_send()


def test_an_identity_that_is_not_known_leads_to_certificates(world: World) -> None:
    pair = meet(world, ours(identity=b"nobody")).check()
    assert pair.client.peer_chain
    assert pair.client.resumption is not None
    assert not pair.client.session_reused
    pair.talk()


def test_a_wrong_key_is_decrypt_error(world: World) -> None:
    pair = meet(world, ours(key=KEY[::-1]))
    assert isinstance(pair.took.server_error, DecryptError)


@pytest.mark.parametrize("hash", ["sha256", "sha384"])
def test_a_key_serves_after_a_retry(world: World, hash: str) -> None:
    psk = ours(hash=hash)
    served(meet(world, psk, theirs(psk), groups=(P256,)))


@pytest.mark.proves("9846:2.2:1", "9846:4.3.11:2")
def test_a_suite_of_the_key_s_hash_is_chosen(world: World) -> None:
    psk = ours(hash="sha384")
    pair = meet(world, psk, theirs(psk), suites=(0x1301, 0x1302))
    served(pair)
    assert pair.client.cipher == "TLS_AES_256_GCM_SHA384"
    pair = meet(world, psk, theirs(psk), suites=(0x1301,)).check()
    assert pair.server.resumption is not None
    assert pair.server.resumption.reason is Reason.OTHER_HASH


@pytest.mark.proves("9846:F.1:1", "9846:4.4.2:7")
def test_a_server_that_asks_for_client_certificates_takes_no_key(world: World) -> None:
    identity = world.pki.client
    for auth in ("optional", "required"):
        settings = {"client_auth": auth, "trust": world.pki.trust_pem, "session_id_context": b"x"}
        pair = meet(world, client={"identity": identity}, **settings).check()
        assert pair.server.peer_chain
        assert pair.server.resumption is not None
        assert pair.server.resumption.reason is Reason.NO_CLIENT_CERTIFICATE


def test_tls_1_2_knows_no_such_keys(world: World) -> None:
    pair = meet(world, client={"maximum_version": TLS12}).check()
    assert pair.client.peer_chain
    assert pair.client.version == TLS12


def test_a_fresh_handshake_offers_no_key(world: World) -> None:
    pair = world.meet(world.client_context(psk=ours()), world.server_context(psks=theirs()), fresh=True).check()
    assert pair.client.peer_chain


# --- what it is bound to ----------------------------------------------------------------------------------------------


def test_f45_a_key_of_one_role_does_not_serve_in_the_other(world: World) -> None:
    """An end that has the key is not taken in by its own handshake."""
    pair = meet(world, None, {NAME: ours()}).check()
    assert pair.server.resumption is not None
    assert pair.server.resumption.reason is Reason.WRONG_ROLE
    pair = meet(world, theirs()[NAME]).check()
    assert pair.client.peer_chain
    assert pair.server.resumption is not None
    assert pair.server.resumption.reason is Reason.NOT_OFFERED


def test_the_gate_judges_keys(world: World) -> None:
    suite = world.server_config().enabled_suites[0x1301]
    good = ours()
    assert external_usable(good, "client", suite).reason is None
    for reason, psk, changes in (
        (Reason.WRONG_ROLE, theirs()[NAME], {}),
        (Reason.OTHER_HASH, ours(hash="sha384"), {}),
        (Reason.NO_PSK_DHE_KE, good, {"psk_dhe_ke": False}),
        (Reason.FRESH_REQUESTED, good, {"fresh": True}),
        (Reason.NO_CLIENT_CERTIFICATE, good, {"client_auth": "optional"}),
        (Reason.NO_CLIENT_CERTIFICATE, good, {"client_auth": "required"}),
    ):
        assert external_usable(psk, "client", suite, **changes).reason is reason
    assert external_usable(good, "client", None).reason is Reason.SUITE_NOT_ENABLED
    wiped = ours()
    object.__setattr__(wiped, "key", bytes(32))
    assert external_usable(wiped, "client", suite).reason is Reason.BAD_SECRET
    object.__setattr__(wiped, "key", KEY[:15])
    assert external_usable(wiped, "client", suite).reason is Reason.BAD_SECRET


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2), (2, 0, 3, 1)])
def test_f44_external_identities_and_tickets_are_told_apart_in_any_order(world: World, order: tuple[int, ...]) -> None:
    """Unknown, external (of another hash), expired and good identities: each is judged by itself."""
    config = world.server_config(psks=theirs(ours(hash="sha384")), suites=(0x1301,))
    expired = sealed(world, config, TLS13, time=world.clock() - 7_201)
    good = sealed(world, config, TLS13)
    psks = (Psk(b"u" * 100, KEY), Psk(NAME, KEY), expired, good)
    chosen = tuple(psks[index] for index in order)
    peer = Client13(Connection(config), psks=chosen)
    peer.connect().accepted()
    assert ext.parse_pre_shared_key_server(peer.server_hello.extensions[E.pre_shared_key]) == order.index(3)


def test_f44_the_binder_of_a_ticket_is_not_that_of_an_external_key(world: World) -> None:
    config = world.server_config(psks=theirs())
    Client13(Connection(config), psks=(Psk(NAME, KEY),)).say_hello().refused(DecryptError)
    # a ticket whose secret is known, offered with the label of an external key
    good = sealed(world, config, TLS13)
    peer = Client13(Connection(config), psks=(good,))
    early = EarlySecret.from_psk(peer.psk_facts, good.secret)
    hello = peer.hello()
    raw = peer.with_psks(hello)
    digest = peer.psk_facts.new(raw[:-35]).digest()
    peer.say(raw[:-32] + early.binder(digest, kind="external")).refused(DecryptError)


def test_f44_an_external_identity_that_a_ticket_has_is_never_tried_as_one(world: World) -> None:
    config = world.server_config()
    good = sealed(world, config, TLS13)
    shadowed = world.server_config(psks=theirs(ours(identity=good.identity)), tickets=config.tickets)
    Client13(Connection(shadowed), psks=(good,)).say_hello().refused(DecryptError)


def test_a_server_that_takes_a_key_without_key_exchange_is_refused(world: World) -> None:
    client = Connection(world.client_config(psk=ours()), server_name="localhost")
    peer = Server13(client, world.server_config().certified_keys[0], psk=KEY)
    peer.say_hello(drop=(51,)).refused(IllegalParameter)
    client = Connection(world.client_config(psk=ours()), server_name="localhost")
    peer = Server13(client, world.server_config().certified_keys[0], psk=KEY)
    peer.say_hello(add={41: b"\0\1"}).refused(IllegalParameter)
    client = Connection(world.client_config(psk=ours()), server_name="localhost")
    peer = Server13(client, world.server_config().certified_keys[0], suite=0x1302, psk=KEY)
    peer.say_hello().refused(IllegalParameter)


def test_a_server_with_the_wrong_key_is_refused(world: World) -> None:
    client = Connection(world.client_config(psk=ours()), server_name="localhost")
    peer = Server13(client, world.server_config().certified_keys[0], psk=KEY[::-1])
    peer.say_hello().give(peer.sealer.seal(22, b"\x08\0\0\2\0\0"))
    assert peer.error is not None


def test_the_age_of_an_external_key_is_zero_also_in_a_second_hello(world: World) -> None:
    client = Connection(world.client_config(psk=ours()), server_name="localhost")
    peer = Server13(client, world.server_config().certified_keys[0], psk=KEY)
    for hello in (peer.hello, (world.clock.advance(5), peer.say_retry(P256).hello)[1]):
        offered = ext.parse_pre_shared_key_client(hello.extensions[E.pre_shared_key])
        assert offered.identities == ((NAME, 0),)


# --- what is kept -----------------------------------------------------------------------------------------------------


@pytest.mark.proves("9846:4.7.1:1")
def test_sessions_of_external_keys_are_not_published(world: World) -> None:
    server = world.server_context(psks=theirs())
    client = world.client_context(psk=ours())
    for _ in range(2):
        pair = world.meet(client, server)
        served(pair)
        assert not issued(pair.took.client)
        assert not issued(pair.took.server)
    assert len(client.sessions) == len(server.sessions) == 0
    # also if only the server would have it otherwise
    pair = world.meet(client, world.server_context(psks=theirs(), publish_psk_sessions=True))
    served(pair)
    assert not issued(pair.took.client)
    assert len(client.sessions) == 0


def test_sessions_of_external_keys_are_published_when_asked(world: World) -> None:
    server = world.server_context(psks=theirs(), publish_psk_sessions=True)
    client = world.client_context(psk=ours(), publish_psk_sessions=True)
    first = world.meet(client, server)
    served(first)
    again = world.meet(client, server).check()
    assert again.client.session_reused
    assert again.server.facts is not None
    assert again.server.facts.psk_identity == NAME
    again.talk()
    assert any(isinstance(event, SessionIssued) for event in again.took.client)


def test_a_session_of_an_external_key_is_not_offered_where_certificates_are_expected(world: World) -> None:
    server = world.server_context(psks=theirs(), publish_psk_sessions=True)
    client = world.client_context(psk=ours(), publish_psk_sessions=True)
    strict = world.client_context()
    strict.sessions = client.sessions
    world.meet(client, server).check()
    assert client.config.peer_key("localhost") != strict.config.peer_key("localhost")
    pair = world.meet(strict, server).check()
    assert not pair.client.session_reused
    assert pair.client.peer_chain


# --- the importer -----------------------------------------------------------------------------------------------------


def test_imported_keys_serve_when_both_ends_import_alike(world: World) -> None:
    for target in ("sha256", "sha384"):
        settings: dict[str, Any] = {"context": b"client=sensor 7; server=hub", "target": target}
        client = import_psk(NAME, KEY, "client", **settings)
        server = import_psk(NAME, KEY, "server", **settings)
        assert client.identity == server.identity
        served(meet(world, client, {server.identity: server}), client.identity)
        other = import_psk(NAME, KEY, "server", context=b"client=hub; server=sensor 7", target=target)
        assert meet(world, client, {other.identity: other}).check().client.resumption is not None
        # as the plain key that it is not
        plain = ExternalPsk(client.identity, client.key, "server", target)
        assert isinstance(meet(world, client, {client.identity: plain}).took.server_error, DecryptError)


def test_an_imported_identity_is_the_struct_of_the_rfc() -> None:
    psk = import_psk(b"ab", KEY, "client", context=b"c", target="sha384")
    assert psk.identity == b"\0\2ab\0\1c\x03\x04\0\2"
    assert len(psk.key) == 48
    assert psk.imported
    names = {("sha256", b""), ("sha384", b""), ("sha256", b"x")}
    assert len({import_psk(NAME, KEY, "client", context=context, target=target).key for target, context in names}) == 3
    assert import_psk(NAME, KEY, "client").key != import_psk(NAME, KEY, "client", key_hash="sha384").key


def test_the_importer_follows_the_formula_of_the_rfc() -> None:
    """RFC 9258, section 5.1, with HKDF from `cryptography`."""
    from cryptography.hazmat.primitives import hashes, hmac
    from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

    psk = import_psk(b"id", KEY, "client", context=b"ctx")
    extract = hmac.HMAC(bytes(32), hashes.SHA256())
    extract.update(KEY)
    digest = hashes.Hash(hashes.SHA256())
    digest.update(psk.identity)
    label = b"tls13 derived psk"
    info = b"\0\x20" + bytes([len(label)]) + label + b"\x20" + digest.finalize()
    assert psk.key == HKDFExpand(hashes.SHA256(), 32, info).derive(extract.finalize())


@pytest.mark.parametrize(
    "make",
    [
        lambda: ExternalPsk(b"", KEY, "client"),
        lambda: ExternalPsk(b"x" * (2**15 + 1), KEY, "client"),
        lambda: ExternalPsk(b"x", KEY[:15], "client"),
        lambda: ExternalPsk(b"x", bytes(32), "client"),
        lambda: ExternalPsk(b"x", KEY, "client", "md5"),
        lambda: ExternalPsk(b"x", KEY, "both"),  # type: ignore[arg-type]
        lambda: import_psk(b"", KEY, "client"),
        lambda: import_psk(b"x", KEY[:15], "client"),
        lambda: import_psk(b"x", KEY, "client", target="sha512"),
        lambda: import_psk(b"x", KEY, "client", context=b"x" * 2**15),
    ],
)
def test_keys_that_could_not_protect_anything_are_refused(make: Any) -> None:
    with pytest.raises(ConfigurationError):
        make()


def test_no_key_is_in_a_repr() -> None:
    assert KEY.hex() not in repr(ours())
    assert "key" not in repr(ours())


def test_certificates_are_asked_for_by_a_mutual_server(world: World) -> None:
    peer = Client13(Connection(world.server_config(psks=theirs(), **mutual(world))), psks=())
    peer.say_hello().read_flight()
    assert peer.part(H.certificate_request)
