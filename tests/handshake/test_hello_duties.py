"""What hellos of ours hold whatever is configured, and what malformed hellos of others are answered with."""

from __future__ import annotations

from typing import Any

import pytest

from resumption.connection import Connection
from resumption.constants import ExtensionType as E
from resumption.constants import HandshakeType as H
from resumption.crypto.suites import SUITES
from resumption.errors import DecodeError, PeerError
from resumption.wire import extensions as ext
from resumption.wire.messages import EncryptedExtensions
from tests.handshake.pairs import TLS12, TLS13, World, certified
from tests.handshake.samples import message
from tests.handshake.scripted12 import Client12
from tests.handshake.scripted13 import P256, Client13, Server13
from tests.handshake.stops import client12_for, client13_for, mutual, server12_for, server13_for

# --- what a client says ----------------------------------------------------------------------------------------------


@pytest.mark.proves("9846:9.2:2", "9846:9.2:4", "9846:9.2:5", "9846:9.2:6", "9846:9.2:9", "9846:9.2:10", "9846:9.2:11")
@pytest.mark.proves("9846:4.3.3:2", "9846:4.3.7:1", "5246:7.4.1.4.1:2", "9846:E.5:4")
def test_a_client_says_all_that_its_features_need(world: World) -> None:
    bodies = server13_for(world).hello.extensions
    assert {E.supported_versions, E.signature_algorithms, E.supported_groups, E.key_share} <= bodies.keys()
    assert {*ext.parse_signature_algorithms(bodies[E.signature_algorithms])} >= {*world.client_config().schemes}
    groups = ext.parse_supported_groups(bodies[E.supported_groups])
    assert len(groups) == len(set(groups))


@pytest.mark.proves("9846:4.3.9:1", "9846:4.3.9:2", "9846:4.3.11:10", "9846:4.3:6", "9846:9.2:7", "9846:9.2:8")
def test_a_psk_comes_last_and_with_modes(world: World) -> None:
    bodies = server13_for(world, resumed=True).hello.extensions
    assert next(reversed(bodies)) == E.pre_shared_key
    assert {0, 1} & {*bodies[E.psk_key_exchange_modes][1:]} == {1}


@pytest.mark.proves("7627:5.2:1", "7627:5.3:1", "5746:3.4:1", "8422:5.1:1", "8422:5.1.2:3", "5077:3.2:1")
@pytest.mark.parametrize("resumed", [False, True])
def test_a_client_of_tls12_says_what_makes_it_safe(world: World, resumed: bool) -> None:
    hello = server12_for(world, resumed=resumed, maximum_version=TLS12).hello
    assert hello.extensions[E.extended_master_secret] == b""
    assert hello.extensions[E.ec_point_formats] == b"\x01\x00"
    assert hello.extensions[E.session_ticket] == b""
    assert hello.extensions.get(E.renegotiation_info) == b"\x00" or 0x00FF in hello.cipher_suites


@pytest.mark.proves("5246:7.4.1.2:3", "5246:7.4.1.2:4", "5246:7.4.1.2:5")
def test_a_client_that_resumes_offers_the_suite_and_the_compression_of_the_session(world: World) -> None:
    with world.client_session(TLS12) as session:
        subject = Connection(world.client_config(), server_name="localhost")
        subject.set_session(session)
        hello = Server13(subject, certified(world.leaf)).hello
        assert session.data.cipher in hello.cipher_suites
    assert hello.legacy_compression_methods == b"\x00"


@pytest.mark.proves("9846:4.3.2:2")
def test_a_cookie_is_for_one_connection(world: World) -> None:
    context = world.client_context()
    for _ in range(2):
        peer = Server13(context.connection("localhost"), certified(world.leaf))
        assert E.cookie not in peer.hello.extensions
        peer.say_retry(P256, add={int(E.cookie): ext.pack_cookie(b"crumbs")}).connect().accepted()
        peer.subject.free()


@pytest.mark.proves("9846:4.3.11.1:1", "9846:4.7.1:6")
@pytest.mark.parametrize(("lifetime_s", "after_s"), [(100, 101), (2**32 - 1, 604_801)])
def test_a_ticket_is_not_offered_past_its_lifetime(world: World, lifetime_s: int, after_s: int) -> None:
    context = world.client_context()
    peer = Server13(context.connection("localhost"), certified(world.leaf)).connect()
    peer.say_ticket(ticket_lifetime=lifetime_s).accepted()
    peer.subject.free()
    world.clock.advance(after_s)
    assert E.pre_shared_key not in Server13(context.connection("localhost"), certified(world.leaf)).hello.extensions


# --- what a server says ----------------------------------------------------------------------------------------------


@pytest.mark.proves("9846:4.2.3:1", "9846:4.2.3:6", "9846:4.2.3:8", "9846:4.2.3:9", "9846:4.3.1:7", "9846:4.3.1:8")
@pytest.mark.proves("9846:4.3.6:2", "9846:4.3.9:5", "9846:4.3:3", "9846:9.2:3")
@pytest.mark.parametrize("resumed", [False, True])
def test_a_server_hello_holds_what_it_needs(world: World, resumed: bool) -> None:
    peer = client13_for(world, resumed=resumed)
    peer.say_hello(add={int(E.post_handshake_auth): b"", 5: b"\x01\0\0\0\0", 18: b""} if not resumed else {})
    hello = peer.read_flight().server_hello
    assert (hello.legacy_version, hello.legacy_compression_method) == (0x0303, 0)
    assert hello.extensions[E.supported_versions] == b"\x03\x04"
    psk = {E.pre_shared_key} if resumed else set()
    assert hello.extensions.keys() == {E.supported_versions, E.key_share} | psk
    assert not {E.post_handshake_auth, E.psk_key_exchange_modes} & ext_of_flight(peer).keys()


def ext_of_flight(peer: Client13) -> dict[int, bytes]:
    return EncryptedExtensions.parse(peer.part(H.encrypted_extensions)).extensions


@pytest.mark.proves("9846:4.2.3:2", "9846:4.2.3:3", "5246:7.4.1.3:1", "9846:4.3.8:5")
def test_randoms_and_shares_of_a_server_are_its_own_and_new(world: World) -> None:
    seen = set()
    for _ in range(8):
        hello = client13_for(world).say_hello().read_hello().server_hello  # always the same random
        seen |= {hello.random, hello.extensions[E.key_share]}
        seen.add(client12_for(world).say_hello().read_hello().random[:24])
    assert len(seen) == 24


@pytest.mark.proves(
    "9846:4:1", "9846:4.4.1:1", "9846:4.4.2:1", "9846:4.4.2:3", "9846:4.5.2:3", "9846:4.5.1:1", "9846:B:1"
)
def test_the_flight_of_a_server_is_in_order(world: World) -> None:
    peer = client13_for(world, identity=True, **mutual(world)).say_hello().read_flight()
    kinds = [H.encrypted_extensions, H.certificate_request, H.certificate, H.certificate_verify, H.finished]
    assert [raw[0] for raw in peer.flight] == kinds
    assert peer.part(H.certificate_request)[0] == 0


@pytest.mark.proves("9846:4.2.4:8")
def test_a_server_keeps_its_suite_after_a_retry(world: World) -> None:
    subject = Connection(world.server_config(groups=(P256,)))
    peer = Client13(subject, suites=(0x1303, 0x1301, 0x1302)).say_hello()
    retry = peer.read_retry()
    peer.say_hello(peer.second_hello()).read_flight()
    assert peer.server_hello.cipher_suite == retry.cipher_suite


@pytest.mark.proves("9846:4.3.8:6")
def test_a_client_that_uses_its_share_twice_is_served(world: World) -> None:
    config = world.server_config()
    first = Client13(Connection(config)).connect().accepted()
    second = Client13(Connection(config))
    second.shares = first.shares
    second.connect().accepted()


@pytest.mark.proves("8422:5.2:1", "5077:3.3:3", "7627:5.3:4")
def test_a_server_of_tls12_answers_with_uncompressed_points_and_a_late_ticket(world: World) -> None:
    peer = Client12(Connection(world.server_config()), ticket=b"").say_hello().read_flight()
    assert peer.server_hello.extensions[E.ec_point_formats] == b"\x01\x00"
    peer.say_key_exchange().say_ccs()
    assert not peer.has_message  # no ticket before the client's Finished
    peer.say_finished().read_end()
    assert peer.new_ticket is not None
    again = client12_for(world, resumed=True)
    again.resume(again.secret).accepted()
    assert again.server_hello.extensions[E.extended_master_secret] == b""


@pytest.mark.proves("9846:4.2.2:13", "5246:7.4.1.2:5", "5246:7.4.1.2:2")
def test_a_client_of_tls12_may_offer_other_compression_and_suites_beside(world: World) -> None:
    peer = client12_for(world)
    peer.connect(legacy_compression_methods=b"\x01\x40\x00", cipher_suites=(0x2A2A, 0x0005, *peer.suites)).accepted()
    assert peer.server_hello.legacy_compression_method == 0


@pytest.mark.proves("9846:E.5:1", "9846:E.5:2", "5246:A.5:1", "5246:A.5:2", "5246:6.2.3.3:2", "9846:5.2:4")
def test_there_is_no_weak_suite() -> None:
    for suite in SUITES.values():
        assert not {"NULL", "RC4", "DES", "3DES", "anon", "EXPORT", "CBC"} & set(suite.name.split("_")), suite.name
        assert any(part in suite.name for part in ("AES_128", "AES_256", "CHACHA20", "AES128", "AES256")), suite.name
    assert {0x1301, 0x1302, 0x1303} <= SUITES.keys()


# --- hellos that are malformed ---------------------------------------------------------------------------------------


def rebuilt(raw: bytes, *, session_id: bytes, suites: bytes, compression: bytes, block: bytes) -> bytes:
    body = raw[4:38] + bytes((len(session_id),)) + session_id
    body += len(suites).to_bytes(2) + suites + bytes((len(compression),)) + compression + block
    return message(H.client_hello, body)


def parts(peer: Any) -> dict[str, bytes]:
    hello = peer.hello()
    raw = hello.pack()
    at = 4 + 34 + 1 + len(hello.legacy_session_id) + 2 + 2 * len(hello.cipher_suites) + 2
    suites = b"".join(suite.to_bytes(2) for suite in hello.cipher_suites)
    return {"raw": raw, "session_id": b"", "suites": suites, "compression": b"\0", "block": raw[at:]}


def lengthened(block: bytes, more: bytes) -> bytes:
    return (len(block) - 2 + len(more)).to_bytes(2) + block[2:] + more


MALFORMED: list[tuple[str, Any]] = [
    ("a session id of 33 bytes", lambda p: {"session_id": bytes(33)}),
    ("a session id of 255 bytes", lambda p: {"session_id": bytes(255)}),
    ("no suites", lambda p: {"suites": b""}),
    ("half a suite", lambda p: {"suites": p["suites"] + b"\x13"}),
    ("no compression", lambda p: {"compression": b""}),
    ("a byte behind the block", lambda p: {"block": p["block"] + b"\0"}),
    ("half a length of the block", lambda p: {"block": p["block"][:1]}),
    ("a block that is cut", lambda p: {"block": p["block"][:-1]}),
    ("a block that says too little", lambda p: {"block": (len(p["block"]) - 3).to_bytes(2) + p["block"][2:]}),
    ("half an extension header", lambda p: {"block": lengthened(p["block"], b"\x2a\x2a\0")}),
    ("an extension beyond the block", lambda p: {"block": lengthened(p["block"], b"\x2a\x2a\0\1")}),
]
BODIES: list[tuple[str, dict[int, bytes]]] = [
    ("server_name without a list", {0: b""}),
    ("server_name with an empty list", {0: b"\0\0"}),
    ("server_name with an empty name", {0: b"\0\3\0\0\0"}),
    ("server_name that is cut", {0: b"\0\5\0\0\5ab"}),
    ("server_name with more behind", {0: b"\0\4\0\0\1ax"}),
    ("supported_groups that is empty", {10: b""}),
    ("supported_groups without groups", {10: b"\0\0"}),
    ("supported_groups with more behind", {10: b"\0\2\0\x1d\0"}),
    ("signature_algorithms that is empty", {13: b""}),
    ("signature_algorithms without schemes", {13: b"\0\0"}),
    ("signature_algorithms of odd length", {13: b"\0\3\x08\x07\x08"}),
    ("signature_algorithms with more behind", {13: b"\0\2\x08\x07\0"}),
    ("alpn that is empty", {16: b""}),
    ("alpn with an empty name", {16: b"\0\1\0"}),
    ("alpn with an empty name behind another", {16: b"\0\4\2h2\0"}),
    ("alpn that is cut", {16: b"\0\3\5h2"}),
    ("alpn with more behind", {16: b"\0\3\2h2x"}),
    ("extended_master_secret with a body", {23: b"\0"}),
    ("renegotiation_info that is empty", {0xFF01: b""}),
    ("renegotiation_info with more behind", {0xFF01: b"\0\0"}),
    ("ec_point_formats without formats", {11: b"\0"}),
    ("supported_versions of odd length", {43: b"\3\3\4\3"}),
    ("supported_versions with more behind", {43: b"\2\3\4\0"}),
]
BODIES13: list[tuple[str, dict[int, bytes]]] = [
    ("key_share that is empty", {51: b""}),
    ("key_share that is cut", {51: b"\0\x24\0\x1d\0\x20" + bytes(31)}),
    ("key_share with more behind", {51: b"\0\0\0"}),
    ("psk_key_exchange_modes with more behind", {45: b"\1\1\1"}),
    ("a cookie that is empty", {44: b"\0\0"}),
    ("post_handshake_auth with a body", {49: b"\0"}),
]


@pytest.mark.proves("9846:6:5", "9846:4.2.2:16", "5246:7.4.1.2:6", "6066:11.1:2")
@pytest.mark.parametrize("version", [TLS12, TLS13])
@pytest.mark.parametrize("change", [row[1] for row in MALFORMED], ids=[row[0] for row in MALFORMED])
def test_a_hello_that_cannot_be_parsed_is_a_decode_error(world: World, version: int, change: Any) -> None:
    peer: Any = client12_for(world) if version == TLS12 else client13_for(world)
    whole = parts(peer)
    assert peer.say(rebuilt(**whole)).error is None  # what is changed below was good
    peer = client12_for(world) if version == TLS12 else client13_for(world)
    peer.say(rebuilt(**{**whole, **change(whole)})).refused(DecodeError)


@pytest.mark.proves("9846:4.3:1", "9846:4.3:2", "9846:6:5", "6066:3:1", "7301:3.1:1", "7301:3.1:2")
@pytest.mark.parametrize("bodies", [row[1] for row in BODIES], ids=[row[0] for row in BODIES])
@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_an_extension_that_cannot_be_parsed_is_a_decode_error(
    world: World, version: int, bodies: dict[int, bytes]
) -> None:
    peer: Any = (client12_for if version == TLS12 else client13_for)(world, alpn=(b"h2",))
    if version == TLS13:  # of what TLS 1.2 would read: only where the hello offers that too
        bodies = {43: b"\4\3\4\3\3", **bodies}
    peer.say_hello(add=bodies).refused(DecodeError)


@pytest.mark.proves("9846:4.3:2", "9846:6:5")
@pytest.mark.parametrize("bodies", [row[1] for row in BODIES13], ids=[row[0] for row in BODIES13])
def test_an_extension_of_tls13_that_cannot_be_parsed_is_a_decode_error(world: World, bodies: dict[int, bytes]) -> None:
    client13_for(world).say_hello(add=bodies).refused(DecodeError)


@pytest.mark.proves("9846:4.3:7", "5246:7.4.1.4:3")
@pytest.mark.parametrize("number", [0, 10, 13, 0x2A2A])
@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_an_extension_that_stands_twice_is_refused(world: World, version: int, number: int) -> None:
    peer: Any = client12_for(world) if version == TLS12 else client13_for(world)
    whole = parts(peer)
    body = peer.hello().extensions.get(number, b"")
    once = number.to_bytes(2) + len(body).to_bytes(2) + body
    block = lengthened(whole["block"], once if number in peer.hello().extensions else once * 2)
    peer.say(rebuilt(**{**whole, "block": block}))
    assert isinstance(peer.error, PeerError)
    assert peer.error.alert in (47, 50)
    peer.refused(type(peer.error))
