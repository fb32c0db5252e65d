"""GREASE (RFC 8701): values that mean nothing are offered everywhere, passed over by servers, and never chosen."""

from __future__ import annotations

from typing import Any

import pytest

from resumption.connection import Connection
from resumption.constants import ExtensionType as E
from resumption.constants import HandshakeType as H
from resumption.errors import IllegalParameter, UnsupportedExtension
from resumption.handshake.hello import ClientHelloFacts
from resumption.wire import extensions as ext
from resumption.wire.grease import GREASE, GREASE_VALUES, grease_for
from resumption.wire.messages import CertificateRequest, ClientHello
from tests.handshake.pairs import TLS12, TLS13, VERSIONS, Random, SameShares, World, certified, pump
from tests.handshake.scripted12 import Client12, Server12
from tests.handshake.scripted13 import P256, X25519, Client13, Server13
from tests.handshake.stops import client12_for, client13_for, mutual, server12_for, server13_for

VALUES = set(GREASE_VALUES)


def hello_of(data: bytes) -> ClientHello:
    at = 5 if data[0] == 22 else 11  # behind a change_cipher_spec
    return ClientHello.parse(data[at + 4 :])


def test_the_values_are_those_of_the_registry() -> None:
    assert len(VALUES) == 16
    assert {0x0A0A, 0x1A1A, 0xEAEA, 0xFAFA} <= VALUES
    assert all(value >> 8 == value & 0xFF and value & 0x0F == 0x0A for value in VALUES)
    assert {one.mode for one in GREASE} == {0x0B + 0x1F * n for n in range(8)}


@pytest.mark.parametrize("seed", range(16))
def test_each_choice_has_values_of_the_registry_and_two_different_extensions(seed: int) -> None:
    chosen = grease_for(bytes(31) + bytes([seed]))
    assert chosen is GREASE[seed]
    assert {
        chosen.suite,
        chosen.group,
        chosen.version,
        chosen.scheme,
        chosen.extension,
        chosen.last_extension,
    } <= VALUES
    assert int.from_bytes(chosen.protocol, "big") in VALUES
    assert chosen.extension != chosen.last_extension
    assert chosen.key_share == ext.pack_key_share_client(((chosen.group, b"\0"),))[2:]


@pytest.mark.parametrize("session", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_a_hello_has_grease_in_every_list(world: World, seed: int, session: bool) -> None:
    client = Connection(world.client_config(alpn=(b"h2",), random=Random(seed)), server_name="localhost")
    if session:
        with world.client_session(TLS13) as offered:
            client.set_session(offered)
    raw = client.data_to_send()
    hello = hello_of(raw)
    facts = ClientHelloFacts(hello)
    chosen = grease_for(hello.random)
    assert hello.cipher_suites[0] == chosen.suite
    assert facts.groups is not None
    assert facts.groups[0] == chosen.group
    assert facts.key_shares is not None
    assert facts.key_shares[0] == (chosen.group, b"\0")
    assert len(facts.key_shares) == 2
    assert chosen.version in facts.versions
    assert facts.schemes is not None
    assert facts.schemes[0] == chosen.scheme
    assert facts.alpn == (chosen.protocol, b"h2")
    assert hello.extensions[E.psk_key_exchange_modes] == bytes((2, chosen.mode, 1))
    assert hello.extensions[chosen.extension] == b""
    assert hello.extensions[chosen.last_extension] == b"\0"
    assert len(VALUES & hello.extensions.keys()) == 2
    assert (list(hello.extensions)[-1] == E.pre_shared_key) is session
    assert raw[5:] == hello.pack()


def test_grease_follows_from_the_random_source_and_varies_with_it(world: World) -> None:
    def first(seed: int) -> bytes:
        with SameShares(1):
            return Connection(world.client_config(random=Random(seed)), server_name="localhost").data_to_send()

    assert first(1) == first(1)
    assert len({hello_of(first(seed)).cipher_suites[0] for seed in range(40)}) > 8


def test_a_client_can_do_without(world: World) -> None:
    for settings in ({}, {"maximum_version": TLS12}):
        hello = hello_of(
            Connection(world.client_config(grease=False, **settings), server_name="localhost").data_to_send()
        )
        facts = ClientHelloFacts(hello)
        assert not VALUES & {*hello.cipher_suites, *hello.extensions, *facts.versions, *(facts.groups or ())}


def test_a_hello_for_tls_1_2_alone_has_grease_too(world: World) -> None:
    peer = server12_for(world, maximum_version=TLS12)
    assert peer.hello.cipher_suites[0] in VALUES
    assert E.supported_versions not in peer.hello.extensions
    assert E.key_share not in peer.hello.extensions
    peer.connect().accepted()


def test_the_second_hello_repeats_the_grease_of_the_first(world: World) -> None:
    peer = server13_for(world, grease=True)
    first = peer.hello
    second = peer.say_retry(P256).hello
    assert second.cipher_suites == first.cipher_suites
    for number, body in first.extensions.items():
        assert number == E.key_share or second.extensions[number] == body
    assert [group for group, _ in ext.parse_key_share_client(second.extensions[E.key_share])] == [P256]
    peer.connect().accepted()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("seed", range(6))
def test_our_server_passes_over_it_and_resumes(world: World, version: int, seed: int) -> None:
    server = world.server_context(alpn=["h2"], grease=True)
    client = world.client_context(alpn=["h2"], maximum_version=version, random=Random(seed))
    for resumed in (False, True):
        pair = world.meet(client, server).check()
        assert pair.client.session_reused is resumed
        assert pair.client.version == version
        assert pair.client.alpn == b"h2"
        pair.talk()
        pair.free()


@pytest.mark.parametrize("value", GREASE_VALUES)
def test_a_server_passes_over_any_value_anywhere(world: World, value: int) -> None:
    two = value.to_bytes(2, "big")
    many = {
        value: b"anything",
        int(E.supported_versions): b"\x04" + two + b"\x03\x04",
        int(E.supported_groups): b"\0\4" + two + b"\0\x1d",
        int(E.psk_key_exchange_modes): b"\x02\x0b\x01",
        int(E.application_layer_protocol_negotiation): b"\0\6\2" + two + b"\2h2",
    }
    peer = Client13(Connection(world.server_config()), suites=(value, 0x1301))
    shares = ext.pack_key_share_client(((value, b"\0"), *((share.group, share.public) for share in peer.shares)))
    peer.connect(add={**many, int(E.key_share): shares}).accepted()
    peer12 = Client12(Connection(world.server_config()), suites=(value, 0xC02B))
    del many[int(E.supported_versions)]
    peer12.connect(add=many).accepted()


# --- a server that chooses what means nothing -------------------------------------------------------------------------


def greased(peer: Server13 | Server12) -> Any:
    return grease_for(peer.hello.random)


def test_grease_that_a_tls_1_3_server_chooses_is_illegal_parameter(world: World) -> None:
    def start() -> Server13:
        return server13_for(world, alpn=(b"h2",))

    def answers(choose: Any) -> None:
        peer = start()
        choose(peer, greased(peer))
        peer.refused(IllegalParameter)

    answers(lambda peer, one: peer.say_hello(cipher_suite=one.suite))
    answers(lambda peer, one: peer.say_hello(add={43: one.version.to_bytes(2, "big")}))
    answers(lambda peer, one: peer.say_hello(add={51: ext.pack_key_share_server((one.group, b"\0"))}))
    answers(lambda peer, one: peer.say_hello(add={one.extension: b""}))
    answers(lambda peer, one: peer.say_retry(one.group))
    answers(lambda peer, one: peer.say_retry(P256, add={one.last_extension: b"\0"}))
    answers(lambda peer, one: peer.say_retry(P256, cipher_suite=one.suite))
    answers(lambda peer, one: peer.say_hello().say_extensions({one.extension: b""}))
    answers(lambda peer, one: peer.say_hello().say_extensions({16: ext.pack_alpn_server(one.protocol)}))
    answers(lambda peer, one: peer.say_hello().say_extensions().say_certificate(extensions={one.last_extension: b"\0"}))
    answers(lambda peer, one: peer.say_hello().say_extensions().say_certificate().say_verify(scheme=one.scheme))


def test_grease_that_a_tls_1_2_server_chooses_is_illegal_parameter(world: World) -> None:
    for choose in (
        lambda peer, one: peer.say_hello(cipher_suite=one.suite),
        lambda peer, one: peer.say_hello(add={one.extension: b""}),
        lambda peer, one: peer.say_hello(add={16: ext.pack_alpn_server(one.protocol)}),
        lambda peer, one: peer.say_hello().say_certificate().say_key_exchange(named_curve=one.group),
        lambda peer, one: peer.say_hello().say_certificate().say_key_exchange(algorithm=one.scheme),
    ):
        peer = server12_for(world, alpn=(b"h2",))
        choose(peer, greased(peer))
        peer.refused(IllegalParameter)


def test_grease_that_was_not_offered_is_an_answer_to_nothing(world: World) -> None:
    peer = server13_for(world, grease=False)
    peer.say_hello().say_extensions({0x3A3A: b""}).refused(UnsupportedExtension)


# --- what servers send ------------------------------------------------------------------------------------------------


def test_a_server_sends_grease_in_requests_and_tickets_if_it_is_told_to(world: World) -> None:
    for grease in (False, True):
        peer = client13_for(world, identity=True, **mutual(world), grease=grease).say_hello().read_flight()
        request = CertificateRequest.parse(peer.part(H.certificate_request))
        assert bool(VALUES & request.extensions.keys()) is grease
        (ticket, *_) = peer.say_certificate().say_verify().say_finished().read_tickets()
        assert bool(VALUES & ticket.extensions.keys()) is grease


def test_a_client_passes_over_grease_in_requests_and_tickets(world: World) -> None:
    peer = server13_for(world).say_hello().say_extensions().say_request({0x4A4A: b"x", 0x5A5A: b""})
    peer.say_certificate().say_verify().say_finished().accepted()
    peer.say_ticket(extensions={0x6A6A: b"", 0x7A7A: b"x"}).accepted()


def test_a_client_does_not_answer_a_request_with_grease(world: World) -> None:
    """RFC 8701, section 4: what a server offers and nobody knows is not echoed by a client's Certificate."""
    client = world.client_config(certified_key=certified(world.pki.client))
    server = world.server_config(**mutual(world), grease=True)
    pair = world.meet(client, server).check()
    assert pair.server.peer_chain
    assert pump(pair.client, pair.server).check()


def test_unknown_extensions_are_ignored_in_hellos(world: World) -> None:
    client13_for(world).connect(add={0x1234: b"x", 0xFFFF: b""}).accepted()
    client12_for(world).connect(add={0x1234: b"x", 0xFFFF: b""}).accepted()
    assert X25519 in {share.group for share in client13_for(world).shares}
