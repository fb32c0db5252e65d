"""Conversations of odd TLS 1.3 clients with a server, and the alert that each of them must get.

What is tried here is what protocol test suites of other projects try: every length, every wrong point, every message
in the wrong shape. What other files of this folder test is not repeated.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from resumption.connection import Connection
from resumption.constants import ExtensionType as E
from resumption.constants import HandshakeType as H
from resumption.constants import NamedGroup
from resumption.crypto.cookies import CookieKeys
from resumption.crypto.groups import generate
from resumption.errors import (
    AlertReceived,
    DecodeError,
    DecryptError,
    HandshakeFailure,
    IllegalParameter,
    PeerError,
    UnexpectedMessage,
)
from resumption.wire import extensions as ext
from tests.handshake.pairs import World, certified
from tests.handshake.samples import ALERT, CCS, DATA, HANDSHAKE, message, record
from tests.handshake.scripted13 import P256, X25519, Client13
from tests.handshake.stops import mutual

KU = int(H.key_update)


def client(world: World, **settings: Any) -> Client13:
    return Client13(Connection(world.server_config()), **settings)


def padded(peer: Client13, content_type: int, content: bytes, padding: int) -> bytes:
    """One protected record with so many zeros behind the content type."""
    return peer.sealer.seal(content_type, content, padding)


# --- the hello -------------------------------------------------------------------------------------------------------

HELLOS: list[tuple[str, dict[int, bytes], type[PeerError]]] = [
    ("a name with BEL", {0: b"\0\6\0\0\3a\7b"}, IllegalParameter),
    ("a name in UTF-8", {0: b"\0\7\0\0\4a\xc4\x85b"}, IllegalParameter),
    ("no list of names", {0: b""}, DecodeError),
    ("an empty list of names", {0: b"\0\0"}, DecodeError),
    ("an empty name", {0: b"\0\3\0\0\0"}, DecodeError),
    ("bytes behind the names", {0: b"\0\4\0\0\1ex"}, DecodeError),
    ("names that are longer than they are", {0: b"\xff\xff\xff\xff"}, DecodeError),
    ("no schemes", {13: b""}, DecodeError),
    ("an empty list of schemes", {13: b"\0\0"}, DecodeError),
    ("half a scheme", {13: b"\0\3\x08\x07\x08"}, DecodeError),
    ("bytes behind the schemes", {13: b"\0\2\x08\x07\0"}, DecodeError),
    ("schemes that are longer than they are", {13: b"\0\4\x08\x07"}, DecodeError),
    ("SHA-1 only", {13: b"\0\4\2\1\2\3"}, HandshakeFailure),
    ("no scheme that exists", {13: b"\0\2\x0a\1"}, HandshakeFailure),
    ("no list of groups", {10: b""}, DecodeError),
    ("an empty list of groups", {10: b"\0\0", 51: b"\0\0"}, DecodeError),
    ("no list of shares", {51: b""}, DecodeError),
    ("no modes", {45: b""}, DecodeError),
    ("bytes behind the modes", {45: b"\1\1\1"}, DecodeError),
    ("no versions", {43: b""}, DecodeError),
    ("half a version", {43: b"\3\3\4\3"}, DecodeError),
    ("bytes behind the versions", {43: b"\2\3\4\0"}, DecodeError),
    ("an empty protocol", {16: b"\0\1\0"}, DecodeError),
    ("bytes behind the protocols", {16: b"\0\2\1xy"}, DecodeError),
    ("an empty cookie", {44: b"\0\0"}, DecodeError),
    ("a cookie that nobody sent", {44: b"\0\1x"}, IllegalParameter),
    ("post_handshake_auth with a body", {49: b"x"}, DecodeError),
    ("a record size below 64", {28: b"\0\x3f"}, IllegalParameter),
    ("a record size of one byte", {28: b"\1"}, DecodeError),
    ("an empty list of authorities", {47: b"\0\0"}, DecodeError),
]


@pytest.mark.proves("9846:6:5", "9846:6:6")
@pytest.mark.parametrize(("add", "error"), [row[1:] for row in HELLOS], ids=[row[0] for row in HELLOS])
def test_a_hello_that_is_wrong_in_one_extension_is_refused(
    world: World, add: dict[int, bytes], error: type[PeerError]
) -> None:
    client(world).say_hello(add=add).refused(error)


def odd_shares() -> list[tuple[str, int, bytes]]:
    rows = []
    for group in (NamedGroup.secp256r1, NamedGroup.secp384r1, NamedGroup.secp521r1, NamedGroup.x25519):
        good = generate(group).public
        other = generate(NamedGroup.secp384r1 if group == NamedGroup.secp256r1 else NamedGroup.secp256r1).public
        rows += [
            (f"{group.name}, a byte more", group, good + b"\0"),
            (f"{group.name}, a byte less", group, good[:-1]),
            (f"{group.name}, of another group", group, other),
            (f"{group.name}, infinity", group, b"\0"),
            (f"{group.name}, zeros", group, bytes(len(good))),
        ]
        if group != NamedGroup.x25519:
            half = len(good) // 2
            rows += [
                (f"{group.name}, not on the curve", group, good[:-1] + bytes((good[-1] ^ 0xFF,))),
                (f"{group.name}, zero point", group, b"\4" + bytes(len(good) - 1)),
                (f"{group.name}, compressed", group, bytes((2 + (good[-1] & 1),)) + good[1 : half + 1]),
                (f"{group.name}, hybrid", group, bytes((6 + (good[-1] & 1),)) + good[1:]),
                (f"{group.name}, above the prime", group, b"\4" + b"\xff" * (len(good) - 1)),
            ]
    for low in (1, 2**255 - 20, 2**255 - 19, 2**255 - 18):  # points of small order, and not in their shortest form
        rows.append((f"x25519, {low & 0xFF}", int(NamedGroup.x25519), low.to_bytes(32, "little")))
    return rows


SHARES = odd_shares()


@pytest.mark.proves("9846:4.3.8.2:1", "9846:7.4.2:2")
@pytest.mark.parametrize(("group", "share"), [row[1:] for row in SHARES], ids=[row[0] for row in SHARES])
def test_a_share_that_is_not_a_point_of_its_group_is_illegal(world: World, group: int, share: bytes) -> None:
    config = world.server_config(groups=(group,))
    peer = Client13(Connection(config), groups=(group,))
    peer.say_hello(add={int(E.key_share): ext.pack_key_share_client(((group, share),))}).refused(IllegalParameter)


@pytest.mark.parametrize("count", [1, 100, 4_000, 16_000])
def test_extensions_without_number_are_passed_over(world: World, count: int) -> None:
    client(world).connect(add=dict.fromkeys(range(4096, 4096 + count), b"")).accepted()


@pytest.mark.parametrize("body", [b"", b"\0", b"\xff" * 40])
def test_what_only_tls12_would_read_is_passed_over_where_it_is_not_offered(world: World, body: bytes) -> None:
    old = dict.fromkeys((11, 23, 35, 0xFF01, 22, 17, 4), body)
    client(world).connect(add=old).accepted()
    client(world).connect(add={**old, 43: b"\x04\x2a\x2a\x03\x04"}).accepted()
    client(world).say_hello(add={**old, 11: b"", 43: b"\x04\x03\x04\x03\x03"}).refused(DecodeError)


@pytest.mark.proves("9846:4.2.2:2")
@pytest.mark.parametrize("cookie", [False, True])
def test_a_second_hello_with_its_extensions_in_another_order_is_illegal(world: World, cookie: bool) -> None:
    cookies = CookieKeys.generate(random=world.random) if cookie else None
    config = world.server_config(groups=(P256,), cookies=cookies)
    for backwards in (False, True):
        peer = Client13(Connection(config)).say_hello(add={0x1234: b""})
        added = {number: body for number, body in peer.read_retry().extensions.items() if number == E.cookie}
        second = peer.second_hello(add=added)
        if backwards:
            peer.say_hello(replace(second, extensions=dict(reversed(second.extensions.items()))))
            peer.refused(IllegalParameter)
        else:
            peer.say_hello(second).read_flight().say_finished().accepted()


@pytest.mark.parametrize("count", [215, 8_132, 32_000])
def test_schemes_without_number_are_passed_over(world: World, count: int) -> None:
    peer = client(world)
    schemes = tuple(0xA000 + number % 4_000 for number in range(count))
    peer.connect(add={13: ext.pack_signature_algorithms((*schemes, 0x0807))}).accepted()


@pytest.mark.parametrize("first", [True, False])
def test_suites_and_groups_without_number_are_passed_over(world: World, first: bool) -> None:
    many = tuple(range(0x4000, 0x4000 + 16_000))
    suites = (*many, 0x1301) if first else (0x1301, *many)
    groups = (*many, X25519) if first else (X25519, *many)
    client(world, suites=suites, groups=groups).connect().accepted()


def test_shares_of_unknown_groups_are_passed_over(world: World) -> None:
    peer = client(world, groups=(0x2A2A, X25519, 0x4A4A))
    bodies = ((0x2A2A, b"x"), (X25519, peer.shares[0].public), (0x4A4A, b"y" * 200))
    peer.connect(add={int(E.key_share): ext.pack_key_share_client(bodies)}).accepted()


def test_the_longest_hello_that_can_be_written_is_read(world: World) -> None:
    peer = client(world)
    suites = (*range(0x4000, 0x4000 + 32_766), 0x1301)
    hello = peer.hello(cipher_suites=suites, legacy_session_id=b"i" * 32, add={0x1234: b""})
    packed = sum(4 + len(body) for body in hello.extensions.values())
    hello.extensions[0x1234] = bytes(65_535 - packed)
    assert len(hello.pack()) - 4 == 131_396 - 254  # TLS 1.3 has one compression method, and no more
    peer.say_hello(hello).read_flight().say_finished().accepted()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_a_hello_in_many_records_is_a_hello(world: World, size: int) -> None:
    peer = client(world)
    peer.sent = peer.hello()
    raw = peer.with_psks(peer.sent)
    peer.spoken.append(raw)
    for at in range(0, len(raw), size):
        peer.give(record(HANDSHAKE, raw[at : at + size]))
    peer.read_flight().say_finished().accepted()


@pytest.mark.proves("9846:5.1:2")
@pytest.mark.parametrize(("content_type", "content"), [(DATA, b""), (DATA, b"x"), (CCS, b"\1"), (ALERT, b"\1\x5a")])
def test_nothing_comes_between_the_records_of_a_hello(world: World, content_type: int, content: bytes) -> None:
    peer = client(world)
    raw = peer.hello().pack()
    peer.give(record(HANDSHAKE, raw[:2])).give(record(content_type, content)).refused(UnexpectedMessage)


@pytest.mark.parametrize("cut", [1, 10, 38, 39, 60])
def test_a_hello_that_ends_early_is_a_decode_error(world: World, cut: int) -> None:
    body = client(world).hello().pack()[4:-cut]
    client(world).give(record(HANDSHAKE, message(H.client_hello, body))).refused(DecodeError)


def test_a_hello_with_bytes_behind_its_extensions_is_a_decode_error(world: World) -> None:
    body = client(world).hello().pack()[4:] + b"\0"
    client(world).give(record(HANDSHAKE, message(H.client_hello, body))).refused(DecodeError)


@pytest.mark.parametrize("length", [33, 64, 255])
def test_a_session_id_above_32_bytes_is_a_decode_error(world: World, length: int) -> None:
    body = client(world).hello().pack()[4:]
    body = body[:34] + bytes((length,)) + b"i" * length + body[35:]
    client(world).give(record(HANDSHAKE, message(H.client_hello, body))).refused(DecodeError)


# --- Finished, and what comes in its place ----------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 12, 31, 33, 48, 64, 4_000])
@pytest.mark.parametrize("suite", [0x1301, 0x1302])
def test_a_finished_of_another_length_is_a_decode_error(world: World, length: int, suite: int) -> None:
    peer = client(world, suites=(suite,)).say_hello().read_flight()
    if length == peer.suite.hash.digest_size:
        length += 1
    peer.say(message(H.finished, b"f" * length)).refused(DecodeError)


@pytest.mark.proves("9846:4.5.3:1")
@pytest.mark.parametrize("bit", [0, 1, 100, 254, 255])
def test_a_finished_with_one_bit_changed_is_a_decrypt_error(world: World, bit: int) -> None:
    peer = client(world).say_hello().read_flight()
    good = bytearray(peer.secrets.client_verify_data(peer.digest()))
    good[bit // 8] ^= 1 << bit % 8
    peer.say(message(H.finished, bytes(good))).refused(DecryptError)


def test_a_plain_finished_is_unexpected(world: World) -> None:
    peer = client(world).say_hello().read_flight()
    raw = message(H.finished, peer.secrets.client_verify_data(peer.digest()))
    peer.give(record(HANDSHAKE, raw)).refused(UnexpectedMessage)


@pytest.mark.parametrize("plain", [True, False])
def test_a_fatal_alert_of_the_client_gets_no_answer(world: World, plain: bool) -> None:
    peer = client(world).say_hello().read_flight()
    peer.give(record(ALERT, b"\2\x30")) if plain else peer.say_alert(0x30)
    peer.ended(AlertReceived, None)


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("padding", [1, 3, 256])
@pytest.mark.parametrize("content_type", [ALERT, HANDSHAKE])
def test_an_empty_protected_record_is_unexpected(world: World, finished: bool, padding: int, content_type: int) -> None:
    peer = client(world).say_hello().read_flight()
    if finished:
        peer.say_finished().drain()
    peer.give(padded(peer, content_type, b"", padding))
    assert isinstance(peer.error, UnexpectedMessage)


@pytest.mark.parametrize("padding", [1, 30, 16_000])
def test_empty_data_is_passed_over_only_after_the_handshake(world: World, padding: int) -> None:
    peer = client(world).say_hello().read_flight()
    peer.say_finished().give(padded(peer, DATA, b"", padding)).say_data(b"GET").accepted()
    early = client(world).say_hello().read_flight()
    early.give(padded(early, DATA, b"", padding)).refused(UnexpectedMessage)


@pytest.mark.parametrize("content_type", [0, 1, 19, 24, 25, 64, 255])
def test_inner_content_types_that_do_not_exist_are_unexpected(world: World, content_type: int) -> None:
    peer = client(world).connect()
    peer.give(padded(peer, content_type, b"x" if content_type else b"", 4))
    assert isinstance(peer.error, UnexpectedMessage)


def test_records_of_any_size_up_to_the_limit(world: World) -> None:
    peer = client(world).connect()
    peer.give(padded(peer, DATA, b"x" * 2**14, 0)).accepted()
    peer.give(padded(peer, DATA, b"x" * 100, 2**14 - 100)).accepted()


# --- KeyUpdate --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "error"),
    [(b"", DecodeError), (b"\0\0", DecodeError), *((bytes((value,)), IllegalParameter) for value in (2, 3, 128, 255))],
)
def test_a_key_update_that_is_none(world: World, body: bytes, error: type[PeerError]) -> None:
    peer = client(world).connect()
    peer.give(peer.sealer.seal(HANDSHAKE, message(KU, body)))
    assert isinstance(peer.error, error)


def test_every_request_for_a_key_update_is_answered(world: World) -> None:
    peer = client(world).connect()
    peer.read_tickets()
    for _ in range(32):
        peer.update_keys(1).expect_update()
    peer.say_data(b"GET").accepted()


def test_a_key_update_in_parts_with_data_between_is_unexpected(world: World) -> None:
    peer = client(world).connect()
    peer.give(peer.sealer.seal(HANDSHAKE, message(KU, b"\0")[:2])).give(peer.sealer.seal(DATA, b"x"))
    assert isinstance(peer.error, UnexpectedMessage)


@pytest.mark.proves("9846:4.7.3:1")
def test_a_key_update_before_finished_is_unexpected(world: World) -> None:
    client(world).say_hello().read_flight().say(message(KU, b"\0")).refused(UnexpectedMessage)


# --- client certificates ----------------------------------------------------------------------------------------------


def asked(world: World, **changes: Any) -> Client13:
    config = world.server_config(**{**mutual(world), **changes})
    return Client13(Connection(config), certified(world.pki.client)).say_hello().read_flight()


CERTIFICATES: list[tuple[str, bytes, type[PeerError]]] = [
    ("nothing", b"", DecodeError),
    ("no list", b"\0", DecodeError),
    ("an empty certificate", b"\0\0\0\5\0\0\0\0\0", DecodeError),
    ("a list that is cut short", b"\0\0\0\7\0\0\1x\0\0", DecodeError),
    ("bytes behind the list", b"\0\0\0\0\0", DecodeError),
    ("a context", b"\1x\0\0\0", IllegalParameter),
]


@pytest.mark.parametrize(("body", "error"), [row[1:] for row in CERTIFICATES], ids=[row[0] for row in CERTIFICATES])
def test_a_certificate_message_that_is_wrong(world: World, body: bytes, error: type[PeerError]) -> None:
    asked(world).say(message(H.certificate, body)).refused(error)


@pytest.mark.parametrize("scheme", [0x0401, 0x0501, 0x0201, 0x0203, 0x0804, 0x0805, 0xFE00])
def test_a_proof_under_a_scheme_that_does_not_fit_is_illegal(world: World, scheme: int) -> None:
    asked(world).say_certificate().say_verify(scheme=scheme).refused(IllegalParameter)


@pytest.mark.parametrize(
    ("body", "error"), [(b"", DecodeError), (b"\x08", DecodeError), (b"\x08\x07\0\1", DecodeError)]
)
def test_a_proof_that_is_cut_short(world: World, body: bytes, error: type[PeerError]) -> None:
    asked(world).say_certificate().say(message(H.certificate_verify, body)).refused(error)


def test_a_proof_with_bytes_behind_it_is_a_decode_error(world: World) -> None:
    peer = asked(world).say_certificate()
    body = peer.certificate_verify(server=False)[4:] + b"\0"
    peer.say(message(H.certificate_verify, body)).refused(DecodeError)


def test_an_empty_signature_is_a_decrypt_error(world: World) -> None:
    peer = asked(world).say_certificate()
    scheme = peer.certificate_verify(server=False)[4:6]
    peer.say(message(H.certificate_verify, scheme + b"\0\0")).refused(DecryptError)


def test_a_certificate_that_nobody_asked_for_is_unexpected(world: World) -> None:
    peer = Client13(Connection(world.server_config()), certified(world.pki.client)).say_hello().read_flight()
    peer.say_certificate().refused(UnexpectedMessage)


def test_messages_of_a_client_in_another_order_are_unexpected(world: World) -> None:
    for kind in (H.client_hello, H.server_hello, H.encrypted_extensions, H.new_session_ticket, H.end_of_early_data):
        client(world).say_hello().read_flight().say(message(kind, b"")).refused(UnexpectedMessage)
        peer = client(world).connect()
        peer.read_tickets()
        peer.give(peer.sealer.seal(HANDSHAKE, message(kind, b"")))
        assert isinstance(peer.error, UnexpectedMessage)


def test_every_full_and_every_resumed_handshake_gets_a_ticket(world: World) -> None:
    config = world.server_config()
    first = Client13(Connection(config)).connect().accepted()
    tickets = first.read_tickets()
    assert tickets
    second = Client13(Connection(config), psks=(first.psk_of(tickets[0]),)).connect().accepted()
    assert second.resumed
    assert second.read_tickets()
