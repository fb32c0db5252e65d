"""Conversations of odd TLS 1.2 clients with a server, and the alert that each of them must get.

As `test_odd_clients13`: what protocol test suites of other projects try, and other files of this folder do not.
"""

from __future__ import annotations

from typing import Any

import pytest

from resumption.connection import Connection
from resumption.constants import AlertDescription as A
from resumption.constants import ExtensionType as E
from resumption.constants import HandshakeType as H
from resumption.constants import NamedGroup
from resumption.crypto.groups import generate
from resumption.crypto.schedule12 import MasterSecret12
from resumption.errors import (
    AlertReceived,
    BadCertificate,
    BadRecordMac,
    DecodeError,
    DecryptError,
    HandshakeFailure,
    IllegalParameter,
    PeerError,
    ProtocolVersionUnsupported,
    UnexpectedMessage,
)
from resumption.wire import extensions as ext
from resumption.wire.messages import Finished
from tests.handshake.pairs import TLS12, World, certified
from tests.handshake.samples import ALERT, CHANGE_CIPHER_SPEC, DATA, HANDSHAKE, SAMPLES, message, record
from tests.handshake.scripted12 import ECDSA_SUITE, Client12
from tests.handshake.stops import client12_for, mutual, sealed


def flight_read(world: World, **changes: Any) -> Client12:
    return client12_for(world, **changes).say_hello().read_flight()


# --- the hello -------------------------------------------------------------------------------------------------------

HELLOS: list[tuple[str, dict[str, Any], type[PeerError]]] = [
    ("a name with NUL", {"add": {0: b"\0\6\0\0\3a\0b"}}, IllegalParameter),
    ("two names", {"add": {0: b"\0\x08\0\0\1a\0\0\1b"}}, IllegalParameter),
    ("an empty name", {"add": {0: b"\0\3\0\0\0"}}, DecodeError),
    ("bytes behind the names", {"add": {0: b"\0\4\0\0\1ex"}}, DecodeError),
    ("no schemes", {"add": {13: b"\0\0"}}, DecodeError),
    ("half a scheme", {"add": {13: b"\0\3\x08\x07\x08"}}, DecodeError),
    ("MD5 and SHA-1 only", {"add": {13: b"\0\6\1\1\2\1\2\3"}}, HandshakeFailure),
    ("an empty list of groups", {"add": {10: b"\0\0"}}, DecodeError),
    ("an empty list of point formats", {"add": {11: b"\0"}}, DecodeError),
    ("compressed points of characteristic 2 only", {"add": {11: b"\1\2"}}, IllegalParameter),
    ("renegotiation_info without length", {"add": {0xFF01: b""}}, DecodeError),
    ("renegotiation_info with bytes behind", {"add": {0xFF01: b"\0\0"}}, DecodeError),
    ("an empty list of protocols", {"add": {16: b"\0\0"}}, DecodeError),
    ("all compression but none", {"legacy_compression_methods": bytes(range(1, 256))}, IllegalParameter),
    ("suites that do not exist", {"cipher_suites": (0x4001, 0xFFFF)}, HandshakeFailure),
    ("only what signals", {"cipher_suites": (0x00FF,)}, HandshakeFailure),
    ("NULL, export and anonymous suites", {"cipher_suites": (0x0001, 0x0003, 0x0018, 0xC010)}, HandshakeFailure),
    ("version 1.3, that is before SSL 3.0", {"legacy_version": 0x0103}, ProtocolVersionUnsupported),
    ("version 0.0", {"legacy_version": 0}, ProtocolVersionUnsupported),
    ("SSL 3.0", {"legacy_version": 0x0300}, ProtocolVersionUnsupported),
]


@pytest.mark.parametrize(("changes", "error"), [row[1:] for row in HELLOS], ids=[row[0] for row in HELLOS])
def test_a_hello_that_is_wrong_in_one_place_is_refused(
    world: World, changes: dict[str, Any], error: type[PeerError]
) -> None:
    client12_for(world).say_hello(**changes).refused(error)


def cut(body: bytes, at: int, old: int, new: bytes) -> bytes:
    return body[:at] + new + body[at + old :]


@pytest.mark.parametrize(
    ("at", "old", "new"),
    [
        (34, 1, b"\x21" + b"i" * 33),  # a session id of 33 bytes
        (34, 1, b"\xff"),
        (35, 6, b"\0\0"),  # no suite
        (35, 6, b"\0\3\xc0\x2b\xc0"),  # half a suite
        (35, 2, b"\xff\xfe"),
        (41, 2, b"\0"),  # no compression method
        (41, 1, b"\xff"),
        (43, 2, b"\xff\xff"),
        (43, 2, b"\0\0"),  # extensions behind the end of the extensions
    ],
)
def test_a_length_in_the_hello_that_is_wrong_is_a_decode_error(world: World, at: int, old: int, new: bytes) -> None:
    peer = client12_for(world)
    body = peer.hello(cipher_suites=(ECDSA_SUITE, 0x00FF)).pack()[4:]
    peer.give(record(HANDSHAKE, message(H.client_hello, cut(body, at, old, new)))).refused(DecodeError)


@pytest.mark.parametrize("count", [1, 300, 16_000])
def test_extensions_without_number_are_passed_over(world: World, count: int) -> None:
    client12_for(world).connect(add=dict.fromkeys(range(4096, 4096 + count), b"")).accepted()


@pytest.mark.parametrize("size", [1, 5, 2**14, 65_000])
def test_a_hello_with_padding_is_a_hello(world: World, size: int) -> None:
    client12_for(world).connect(add={int(E.padding): bytes(size)}).accepted()


def test_all_extensions_may_come_in_any_order(world: World) -> None:
    bodies = client12_for(world).hello().extensions
    for turn in range(len(bodies)):
        numbers = [*bodies][turn:] + [*bodies][:turn]
        peer = client12_for(world)
        peer.connect(drop=tuple(bodies), add={number: bodies[number] for number in numbers}).accepted()


def test_a_client_without_supported_groups_gets_a_group_of_ours(world: World) -> None:
    client12_for(world).connect(drop=(10,)).accepted()


@pytest.mark.parametrize("version", [0x0300, 0x0301, 0x0302, 0x0303, 0x0304, 0x03FF])
def test_the_version_of_the_first_record_does_not_matter(world: World, version: int) -> None:
    peer = client12_for(world)
    peer.sent = peer.hello()
    peer.client_random = peer.sent.random
    raw = peer.sent.pack()
    peer.spoken.append(raw)
    peer.give(record(HANDSHAKE, raw, version)).read_flight().accepted()


# --- ClientKeyExchange ------------------------------------------------------------------------------------------------


def odd_points() -> list[tuple[str, bytes]]:
    good = generate(NamedGroup.secp256r1).public
    return [
        ("(0, 1)", b"\4" + bytes(63) + b"\1"),
        ("(0, 0)", b"\4" + bytes(64)),
        ("y is zero", good[:33] + bytes(32)),
        ("not on the curve", good[:-1] + bytes((good[-1] ^ 0xFF,))),
        ("raw", good[1:]),
        ("hybrid", bytes((6 + (good[-1] & 1),)) + good[1:]),
        ("compressed", bytes((2 + (good[-1] & 1),)) + good[1:33]),
        ("infinity", b"\0"),
        ("another curve", generate(NamedGroup.secp384r1).public),
        ("a byte less", good[:-1]),
        ("a byte more", good + b"\0"),
    ]


@pytest.mark.parametrize("public", [row[1] for row in odd_points()], ids=[row[0] for row in odd_points()])
def test_a_point_that_is_none_is_illegal(world: World, public: bytes) -> None:
    peer = client12_for(world, groups=(NamedGroup.secp256r1,)).say_hello().read_flight()
    peer.say_key_exchange(public=public).refused(IllegalParameter)


@pytest.mark.parametrize("change", [-1, 1, 40])
def test_a_key_exchange_of_another_length_is_a_decode_error(world: World, change: int) -> None:
    body = b"\x20" + generate(NamedGroup.x25519).public
    body = body[:change] if change < 0 else body + bytes(change)
    flight_read(world).say(message(H.client_key_exchange, body)).refused(DecodeError)


# --- order ------------------------------------------------------------------------------------------------------------


def test_a_message_that_is_said_twice_or_left_out_is_unexpected(world: World) -> None:
    flight_read(world).say(SAMPLES[H.client_hello]).refused(UnexpectedMessage)
    flight_read(world).say_key_exchange().say(SAMPLES[H.client_key_exchange]).refused(UnexpectedMessage)
    peer = flight_read(world).say_key_exchange().say_ccs()
    peer.give(CHANGE_CIPHER_SPEC).refused(UnexpectedMessage)
    flight_read(world).give(CHANGE_CIPHER_SPEC).refused(UnexpectedMessage)
    flight_read(world).say(Finished(bytes(12))).refused(UnexpectedMessage)
    flight_read(world).say(SAMPLES[H.certificate_verify]).refused(UnexpectedMessage)
    flight_read(world).say(SAMPLES[H.certificate]).refused(UnexpectedMessage)
    peer = flight_read(world).say_key_exchange()
    peer.say(SAMPLES[H.certificate_verify]).refused(UnexpectedMessage)


@pytest.mark.parametrize("kind", [H.hello_request, H.server_hello, H.finished, H.new_session_ticket, H.key_update])
def test_after_the_handshake_a_client_says_nothing_but_a_hello(world: World, kind: int) -> None:
    peer = client12_for(world).connect()
    peer.say(SAMPLES[kind])
    assert isinstance(peer.error, UnexpectedMessage)


@pytest.mark.parametrize("content", [b"", b"GET"])
def test_application_data_before_finished_is_unexpected(world: World, content: bytes) -> None:
    flight_read(world).give(record(DATA, content)).refused(UnexpectedMessage)
    peer = flight_read(world).say_key_exchange().say_ccs()
    peer.say_data(content).refused(UnexpectedMessage)
    peer = client12_for(world)
    peer.give(record(HANDSHAKE, peer.hello().pack()[:9])).give(record(DATA, content)).refused(UnexpectedMessage)


@pytest.mark.parametrize("step", [0, 1, 2])
@pytest.mark.parametrize("content_type", [0, 19, 24, 25, 64, 255])
def test_content_types_that_do_not_exist_are_unexpected(world: World, step: int, content_type: int) -> None:
    peer = flight_read(world)
    if step > 0:
        peer.say_key_exchange()
    if step > 1:
        peer.say_ccs()
    peer.give(record(content_type, b"hello")).refused(UnexpectedMessage)


def test_heartbeats_are_not_answered(world: World) -> None:
    peer = client12_for(world).connect(add={15: b"\1"}).accepted()
    assert 15 not in peer.server_hello.extensions
    peer.give(record(24, b"\1\0\3abc" + bytes(16)))
    assert isinstance(peer.error, UnexpectedMessage)


def test_data_that_was_sealed_under_another_master_secret_does_not_open(world: World) -> None:
    peer = client12_for(world)
    peer.say_hello(drop=(int(E.extended_master_secret),)).read_flight()
    peer.extended = True  # against what was agreed
    peer.say_key_exchange().say_ccs().say_finished().refused(BadRecordMac)


@pytest.mark.parametrize("bit", [0, 47, 95])
def test_a_finished_with_one_bit_changed_is_a_decrypt_error(world: World, bit: int) -> None:
    peer = flight_read(world).say_key_exchange().say_ccs()
    data = bytearray(peer.master.client_verify_data(peer.digest()))
    data[bit // 8] ^= 1 << bit % 8
    peer.say_finished(verify_data=bytes(data)).refused(DecryptError)


@pytest.mark.parametrize("size", [1, 7, 16])
def test_messages_in_many_records_are_put_together(world: World, size: int) -> None:
    peer = client12_for(world)
    peer.sent = peer.hello()
    peer.client_random = peer.sent.random
    raw = peer.sent.pack()
    peer.spoken.append(raw)
    for at in range(0, len(raw), size):
        peer.give(record(HANDSHAKE, raw[at : at + size]))
    peer.read_flight().say_key_exchange().say_ccs()
    finished = Finished(peer.master.client_verify_data(peer.digest())).pack()
    peer.spoken.append(finished)
    for at in range(0, len(finished), size):
        peer.give(peer.sealer.seal(HANDSHAKE, finished[at : at + size]))
    peer.read_end().accepted()


@pytest.mark.parametrize("split", [b"\2", b""])
def test_an_alert_in_parts_or_empty_is_refused(world: World, split: bytes) -> None:
    peer = flight_read(world).give(record(ALERT, split))
    assert isinstance(peer.error, DecodeError | UnexpectedMessage)


def test_a_fatal_alert_ends_the_handshake_without_an_answer(world: World) -> None:
    flight_read(world).say_alert(A.bad_certificate).ended(AlertReceived, None)


def test_a_warning_is_passed_over_and_the_handshake_goes_on(world: World) -> None:
    peer = client12_for(world).say_hello().read_flight()
    peer.say_alert(A.certificate_unobtainable, 1)
    peer.say_key_exchange().say_ccs().say_finished().read_end().accepted()


# --- sessions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("session_id", [b"", b"x", b"x" * 16, b"x" * 32], ids=len)
def test_a_ticket_resumes_beside_a_session_id_of_any_length(world: World, session_id: bytes) -> None:
    """The id only says how the client will know that it was resumed, if it says anything. RFC 5077, section 3.4."""
    peer = client12_for(world, resumed=True)
    peer.session_id = session_id
    peer.resume(peer.secret).accepted()
    assert peer.server_hello.legacy_session_id_echo == session_id
    assert peer.subject.session_reused


@pytest.mark.parametrize("length", [1, 15, 16, 48, 200, 60_000])
def test_a_ticket_of_garbage_costs_a_full_handshake_and_brings_a_new_one(world: World, length: int) -> None:
    peer = Client12(Connection(world.server_config()), ticket=b"g" * length, session_id=b"i" * 32).connect().accepted()
    assert peer.new_ticket is not None
    assert peer.new_ticket.ticket


def test_a_ticket_that_is_changed_anywhere_is_none(world: World) -> None:
    config = world.server_config()
    ticket = sealed(world, config, TLS12).identity
    for at in range(0, len(ticket), 9):
        other = ticket[:at] + bytes((ticket[at] ^ 1,)) + ticket[at + 1 :]
        peer = Client12(Connection(config), ticket=other, session_id=b"i" * 32)
        peer.say_hello()
        assert peer.read_hello().legacy_session_id_echo != b"i" * 32


def test_a_wrong_finished_in_an_abbreviated_handshake_is_a_decrypt_error(world: World) -> None:
    peer = client12_for(world, resumed=True)
    peer.say_hello().read_hello()
    peer.use_master(MasterSecret12(peer.suite.hash, peer.secret))
    peer.read_end().say_ccs().say_finished(verify_data=b"f" * 12).refused(DecryptError)


# --- client certificates ----------------------------------------------------------------------------------------------

CERTIFICATES: list[tuple[str, bytes, type[PeerError]]] = [
    ("nothing", b"", DecodeError),
    ("half a length", b"\0\0", DecodeError),
    ("a list that is longer than it is", b"\0\0\3", DecodeError),
    ("bytes behind the list", b"\0\0\0\0", DecodeError),
    ("an empty certificate", b"\0\0\3\0\0\0", DecodeError),
    ("a certificate that is longer than it is", b"\0\0\4\0\0\2x", DecodeError),
    ("a certificate of zeros", b"\0\0\x08\0\0\5" + bytes(5), BadCertificate),
]


@pytest.mark.parametrize(("body", "error"), [row[1:] for row in CERTIFICATES], ids=[row[0] for row in CERTIFICATES])
def test_a_certificate_message_that_is_wrong(world: World, body: bytes, error: type[PeerError]) -> None:
    flight_read(world, **mutual(world)).say(message(H.certificate, body)).refused(error)


def proving(world: World) -> Client12:
    peer = Client12(Connection(world.server_config(**mutual(world))), certified(world.pki.client))
    return peer.say_hello().read_flight().say_certificate().say_key_exchange()


@pytest.mark.parametrize("scheme", [0x0101, 0x0201, 0x0203, 0x0401, 0x0501, 0x0804, 0xFE00])
def test_a_proof_under_a_scheme_that_does_not_fit_is_illegal(world: World, scheme: int) -> None:
    proving(world).say_verify(scheme=scheme).refused(IllegalParameter)


@pytest.mark.parametrize("body", [b"", b"\4", b"\4\3", b"\4\3\0\5abcd", b"\4\3\0\1ab"])
def test_a_proof_of_wrong_length_is_a_decode_error(world: World, body: bytes) -> None:
    proving(world).say(message(H.certificate_verify, body)).refused(DecodeError)


def test_a_proof_of_something_else_is_a_decrypt_error(world: World) -> None:
    proving(world).say_verify(wrong=True).refused(DecryptError)


def test_a_protocol_of_ours_is_chosen_whatever_else_is_offered(world: World) -> None:
    many = tuple(b"x" * 255 for _ in range(200))
    peer = client12_for(world, alpn=(b"http/1.1",))
    peer.connect(alpn=(*many, b"http/1.1")).accepted()
    assert peer.server_hello.extensions[16] == ext.pack_alpn((b"http/1.1",))
