"""Conversations of odd TLS 1.3 servers with a client, and the alert that each of them must get.

What `test_client_hello13` and `test_misplaced` have is not repeated. After each, nothing is left that could be resumed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from resumption.client_context import ClientContext
from resumption.constants import ExtensionType as E
from resumption.constants import HandshakeType as H
from resumption.errors import (
    DecodeError,
    DecryptError,
    IllegalParameter,
    MissingExtension,
    PeerError,
    ProtocolVersionUnsupported,
    UnexpectedMessage,
    UnsupportedExtension,
)
from resumption.wire import extensions as ext
from tests.handshake.pairs import TLS13, World, certified
from tests.handshake.samples import message
from tests.handshake.scripted import Lie, cut, instead, lengthened, with_body
from tests.handshake.scripted13 import P256, X25519, Server13

FLIGHT = (
    H.server_hello,
    H.encrypted_extensions,
    H.certificate_request,
    H.certificate,
    H.certificate_verify,
    H.finished,
)


class Stage:
    """Odd servers and the context whose clients meet them."""

    def __init__(self, world: World, **settings: Any) -> None:
        self.world = world
        self.clients: ClientContext = world.client_context(**settings)

    def server(self, lies: dict[int, Lie] | None = None) -> Server13:
        peer = Server13(self.clients.connection("localhost"), certified(self.world.leaf))
        peer.lies = {int(kind): lie for kind, lie in (lies or {}).items()}
        return peer

    def play(self, lies: dict[int, Lie], *, asking: bool = True) -> Server13:
        """A full handshake up to the first refusal."""
        peer = self.server(lies)
        steps: list[Callable[[], object]] = [peer.say_hello, peer.say_extensions]
        steps += [peer.say_request] if asking else []
        for step in (*steps, peer.say_certificate, peer.say_verify, peer.say_finished):
            if peer.error is None:
                step()
        return peer

    def refused(self, peer: Server13, error: type[PeerError]) -> None:
        peer.refused(error)
        assert len(self.clients.sessions) == 0
        peer.subject.free()


@pytest.fixture
def stage(world: World) -> Iterator[Stage]:
    made = Stage(world)
    with made.clients:
        yield made


# --- the shape of messages -------------------------------------------------------------------------------------------


def test_what_is_said_here_is_a_handshake_if_nobody_lies(stage: Stage) -> None:
    peer = stage.play({})
    peer.accepted()
    assert peer.subject.handshake_complete


@pytest.mark.proves("9846:6:5")
@pytest.mark.parametrize("kind", FLIGHT)
def test_a_message_that_is_cut_short_anywhere_is_a_decode_error(stage: Stage, kind: int) -> None:
    whole: list[bytes] = []

    def keep(raw: bytes) -> bytes:
        whole.append(raw)
        return raw

    stage.play({kind: keep}).accepted()
    length = len(whole[0]) - 4
    bare = 2 + 32 + 1 + whole[0][4 + 34] + 3 if kind == H.server_hello else -1  # a TLS 1.2 hello without extensions
    for at in range(0, length, 1 if length < 300 else 7):
        stage.refused(stage.play({kind: cut(at)}), IllegalParameter if at == bare else DecodeError)


@pytest.mark.proves("9846:6:5")
@pytest.mark.parametrize("kind", FLIGHT)
def test_a_message_with_a_byte_behind_it_is_a_decode_error(stage: Stage, kind: int) -> None:
    stage.refused(stage.play({kind: lengthened}), DecodeError)


@pytest.mark.proves("9846:6:5", "9846:4.3:7")
@pytest.mark.parametrize("kind", FLIGHT)
@pytest.mark.parametrize("number", [0, 10, 0x0A0A, 0xFFFF])
def test_an_extension_that_stands_twice_is_illegal(stage: Stage, kind: int, number: int) -> None:
    if kind in (H.certificate_verify, H.finished):
        return  # they have none
    one = number.to_bytes(2) + b"\0\0"

    def doubled(raw: bytes) -> bytes:
        """All extension blocks are the end of their message."""
        body = raw[4:]
        if kind == H.server_hello:
            at = 2 + 32 + 1 + body[34] + 3
        elif kind == H.certificate_request:
            at = 1 + body[0]
        else:
            at = 0 if kind == H.encrypted_extensions else len(body) - 2
        block = body[at + 2 :] + one + one
        body = body[:at] + len(block).to_bytes(2) + block
        if kind == H.certificate:
            body = b"\0" + (len(body) - 4).to_bytes(3) + body[4:]
        return with_body(raw, body)

    stage.refused(stage.play({kind: doubled}), IllegalParameter)


# --- hellos ----------------------------------------------------------------------------------------------------------

HELLOS: list[tuple[str, dict[str, Any], type[PeerError]]] = [
    ("bytes behind the version", {"add": {43: b"\3\4\0"}}, DecodeError),
    ("no version in it", {"add": {43: b""}}, DecodeError),
    ("a list of versions", {"add": {43: b"\2\3\4"}}, DecodeError),
    ("version 1.1 by extension", {"add": {43: b"\3\2"}}, IllegalParameter),
    ("version 1.0 by extension", {"add": {43: b"\3\1"}}, IllegalParameter),
    ("a draft of TLS 1.3", {"add": {43: b"\x7f\x1c"}}, IllegalParameter),
    ("GREASE as version", {"add": {43: b"\x0a\x0a"}}, IllegalParameter),
    ("legacy_version 3.0", {"legacy_version": 0x0300}, ProtocolVersionUnsupported),
    ("no share in the extension", {"add": {51: b""}}, DecodeError),
    ("a share of no bytes", {"add": {51: b"\0\x1d\0\0"}}, DecodeError),
    ("a group without a share, as in a retry", {"add": {51: b"\0\x1d"}}, DecodeError),
    ("bytes behind the share", {"add": {51: b"\0\x1d\0\x20" + bytes(33)}}, DecodeError),
    ("a list of shares", {"add": {51: b"\0\x24\0\x1d\0\x20" + b"x" * 32}}, DecodeError),
    ("GREASE as group", {"add": {51: ext.pack_key_share_server((0x1A1A, b"x"))}}, IllegalParameter),
    ("a long share", {"add": {51: ext.pack_key_share_server((X25519, b"x" * 33))}}, IllegalParameter),
    ("pre_shared_key that nobody offered", {"add": {41: b"\0\0"}}, UnsupportedExtension),
    ("early_data", {"add": {42: b""}}, UnsupportedExtension),
    ("signature_algorithms", {"add": {13: b"\0\2\4\3"}}, IllegalParameter),
    ("supported_groups", {"add": {10: b"\0\2\0\x1d"}}, IllegalParameter),
    ("session_ticket", {"add": {35: b""}}, IllegalParameter),
    ("renegotiation_info", {"add": {0xFF01: b"\0"}}, IllegalParameter),
    ("ec_point_formats", {"add": {11: b"\1\0"}}, IllegalParameter),
    ("an SCSV as suite", {"cipher_suite": 0x00FF}, IllegalParameter),
    ("the null suite", {"cipher_suite": 0x0000}, IllegalParameter),
    ("a longer session id", {"legacy_session_id_echo": b"x" * 33}, DecodeError),
]


@pytest.mark.proves("9846:4.2.3:1", "9846:4.2.3:4", "9846:4.3:4", "9846:4.3:5", "9846:6:5", "9846:6:6")
@pytest.mark.parametrize(("changes", "error"), [row[1:] for row in HELLOS], ids=[row[0] for row in HELLOS])
def test_a_server_hello_that_is_wrong_in_one_place_is_refused(
    stage: Stage, changes: dict[str, Any], error: type[PeerError]
) -> None:
    changes = dict(changes)
    echo = changes.pop("legacy_session_id_echo", None)

    def say(raw: bytes) -> bytes:
        if echo is None:
            return raw
        body = raw[4:]
        return with_body(raw, body[:34] + bytes((len(echo),)) + echo + body[35 + body[34] :])

    stage.refused(stage.server({H.server_hello: say}).say_hello(**changes), error)


@pytest.mark.parametrize("last", [b"DOWNGRD\x01", b"DOWNGRD\x00"])
def test_the_random_of_a_server_of_tls_1_3_may_end_as_it_likes(stage: Stage, last: bytes) -> None:
    peer = stage.server().say_hello(random=b"R" * 24 + last).say_extensions().say_certificate().say_verify()
    peer.say_finished().accepted()


RETRIES: list[tuple[str, dict[str, Any], type[PeerError]]] = [
    ("another session id", {"legacy_session_id_echo": b"x" * 32}, IllegalParameter),
    ("compression", {"legacy_compression_method": 1}, IllegalParameter),
    ("a suite that was not offered", {"cipher_suite": 0x1305}, IllegalParameter),
    ("legacy_version 3.4", {"legacy_version": 0x0304}, ProtocolVersionUnsupported),
    ("version 1.2", {"add": {43: b"\3\3"}}, IllegalParameter),
    ("no version", {"drop": (43,)}, MissingExtension),
    ("a share, as in a ServerHello", {"add": {51: ext.pack_key_share_server((P256, b"x" * 65))}}, DecodeError),
    ("half a group", {"add": {51: b"\0"}}, DecodeError),
    ("GREASE as group", {"add": {51: b"\x1a\x1a"}}, IllegalParameter),
    ("an empty cookie", {"add": {44: b"\0\0"}}, DecodeError),
    ("no cookie in the extension", {"add": {44: b""}}, DecodeError),
    ("bytes behind the cookie", {"add": {44: b"\0\1xy"}}, DecodeError),
    ("nothing that changes the hello", {"group": None}, IllegalParameter),
    ("early_data", {"add": {42: b""}}, UnsupportedExtension),
    ("a name", {"add": {0: b""}}, IllegalParameter),
    ("what nobody knows", {"add": {0x7777: b""}}, UnsupportedExtension),
]


@pytest.mark.proves("9846:4.2.4:3", "9846:4.3:4", "9846:4.3:5", "9846:6:5", "9846:6:6")
@pytest.mark.parametrize(("changes", "error"), [row[1:] for row in RETRIES], ids=[row[0] for row in RETRIES])
def test_a_retry_that_is_wrong_in_one_place_is_refused(
    stage: Stage, changes: dict[str, Any], error: type[PeerError]
) -> None:
    peer = stage.server()
    raw = peer.retry(**{"group": P256, **changes}).pack()
    stage.refused(peer.give(peer.sealer.seal_many(22, raw)), error)


# --- encrypted extensions --------------------------------------------------------------------------------------------

EXTENSIONS: list[tuple[str, dict[int, bytes], type[PeerError]]] = [
    ("a name with a body", {0: b"\0"}, DecodeError),
    ("no list of groups", {10: b""}, DecodeError),
    ("an empty list of groups", {10: b"\0\0"}, DecodeError),
    ("half a group", {10: b"\0\3\0\x1d\0"}, DecodeError),
    ("bytes behind the groups", {10: b"\0\2\0\x1d\0"}, DecodeError),
    ("no protocol", {16: b""}, DecodeError),
    ("an empty list of protocols", {16: b"\0\0"}, DecodeError),
    ("an empty protocol", {16: b"\0\1\0"}, DecodeError),
    ("two protocols", {16: ext.pack_alpn((b"h2", b"x"))}, DecodeError),
    ("a protocol that was not offered", {16: ext.pack_alpn((b"h3",))}, IllegalParameter),
    ("bytes behind the protocol", {16: ext.pack_alpn((b"h2",)) + b"\0"}, DecodeError),
    ("early data that nobody sent", {42: b""}, UnsupportedExtension),
    ("a record size below 64", {28: b"\0\x3f"}, IllegalParameter),
    ("half a record size", {28: b"\1"}, DecodeError),
    ("a share", {51: b"\0\x1d"}, IllegalParameter),
    ("versions", {43: b"\3\4"}, IllegalParameter),
    ("modes of PSKs", {45: b"\1\1"}, IllegalParameter),
    ("a ticket of TLS 1.2", {35: b""}, IllegalParameter),
    ("renegotiation_info", {0xFF01: b"\0"}, IllegalParameter),
    ("heartbeat", {15: b"\1"}, UnsupportedExtension),
    ("encrypt_then_mac", {22: b""}, UnsupportedExtension),
    ("next protocol negotiation", {13172: b""}, UnsupportedExtension),
    ("channel id", {30032: b""}, UnsupportedExtension),
    ("quic transport parameters", {57: b""}, UnsupportedExtension),
]


@pytest.mark.proves("9846:4.3:4", "9846:4.3:5", "9846:4.4.1:2", "9846:6:5", "7301:3.1:3")
@pytest.mark.parametrize(("add", "error"), [row[1:] for row in EXTENSIONS], ids=[row[0] for row in EXTENSIONS])
def test_encrypted_extensions_that_are_wrong_in_one_place_are_refused(
    world: World, add: dict[int, bytes], error: type[PeerError]
) -> None:
    stage = Stage(world, alpn=("h2", "http/1.1"), record_size_limit=4_000)
    with stage.clients:
        stage.refused(stage.server().say_hello().say_extensions(add), error)


# --- certificates ----------------------------------------------------------------------------------------------------

REQUESTS: list[tuple[str, bytes, type[PeerError]]] = [
    ("a context", b"\1c\0\x08\0\x0d\0\4\0\2\4\3", IllegalParameter),
    ("no extensions", b"\0\0\0", MissingExtension),
    ("no block of extensions", b"\0", DecodeError),
    ("no list of schemes", b"\0\0\4\0\x0d\0\0", DecodeError),
    ("an empty list of schemes", b"\0\0\6\0\x0d\0\2\0\0", DecodeError),
    ("half a scheme", b"\0\0\7\0\x0d\0\3\0\1\4", DecodeError),
    ("an empty list of schemes for certificates", b"\0\0\x0e\0\x0d\0\4\0\2\4\3\0\x32\0\2\0\0", DecodeError),
    ("an empty list of authorities", b"\0\0\x0e\0\x0d\0\4\0\2\4\3\0\x2f\0\2\0\0", DecodeError),
    ("an authority without a name", b"\0\0\x10\0\x0d\0\4\0\2\4\3\0\x2f\0\4\0\2\0\0", DecodeError),
    ("groups", b"\0\0\x10\0\x0d\0\4\0\2\4\3\0\x0a\0\4\0\2\0\x1d", IllegalParameter),
    ("the shape of TLS 1.2", b"\1\x40\0\2\4\3\0\0", PeerError),
]


@pytest.mark.proves("9846:4.4.2:1", "9846:6:5")
@pytest.mark.parametrize(("body", "error"), [row[1:] for row in REQUESTS], ids=[row[0] for row in REQUESTS])
def test_a_request_that_is_wrong_in_one_place_is_refused(stage: Stage, body: bytes, error: type[PeerError]) -> None:
    peer = stage.play({H.certificate_request: instead(body)})
    assert isinstance(peer.error, error)
    stage.refused(peer, type(peer.error) if error is PeerError else error)


def entry(der: bytes, extensions: bytes = b"\0\0") -> bytes:
    return len(der).to_bytes(3) + der + extensions


def chain_of(*entries: bytes, context: bytes = b"\0") -> bytes:
    joined = b"".join(entries)
    return context + len(joined).to_bytes(3) + joined


def odd_chains(leaf: bytes) -> list[tuple[str, bytes, type[PeerError]]]:
    return [
        ("nothing", chain_of(), DecodeError),
        ("a context", chain_of(entry(leaf), context=b"\1c"), IllegalParameter),
        ("an empty certificate", chain_of(entry(b"")), DecodeError),
        ("an empty certificate behind the leaf", chain_of(entry(leaf), entry(b"")), DecodeError),
        ("the shape of TLS 1.2", chain_of(entry(leaf, b"")), DecodeError),
        ("a status that nobody asked for", chain_of(entry(leaf, b"\0\x09\0\5\0\5\1\0\0\1x")), UnsupportedExtension),
        ("what nobody knows", chain_of(entry(leaf, b"\0\4\x77\x77\0\0")), UnsupportedExtension),
        ("a name", chain_of(entry(leaf, b"\0\4\0\0\0\0")), IllegalParameter),
        ("it behind the leaf", chain_of(entry(leaf), entry(leaf, b"\0\4\0\0\0\0")), IllegalParameter),
    ]


@pytest.mark.proves("9846:4.5.1:3", "9846:4.3:4", "9846:6:5")
def test_a_certificate_message_that_is_wrong_in_one_place_is_refused(stage: Stage) -> None:
    leaf = certified(stage.world.leaf).chain[0]
    for name, body, error in odd_chains(leaf):
        peer = stage.play({H.certificate: instead(body)})
        assert type(peer.error) is error, (name, peer.error)
        stage.refused(peer, error)


@pytest.mark.parametrize("at", [0, 1, 2, 31, 63])
def test_a_signature_with_one_bit_changed_is_a_decrypt_error(stage: Stage, at: int) -> None:
    def change(raw: bytes) -> bytes:
        return raw[: 8 + at] + bytes((raw[8 + at] ^ 1,)) + raw[9 + at :]

    stage.refused(stage.play({H.certificate_verify: change}), DecryptError)


@pytest.mark.proves("9846:4.5.2:7")
@pytest.mark.parametrize(
    ("scheme", "error"),
    [
        (0x0201, IllegalParameter),  # RSA PKCS #1 with SHA-1
        (0x0203, IllegalParameter),  # ECDSA with SHA-1
        (0x0401, IllegalParameter),  # RSA PKCS #1 in TLS 1.3
        (0x0403, IllegalParameter),  # ECDSA, and the key is of Ed25519
        (0x0804, IllegalParameter),
        (0x0808, IllegalParameter),
        (0x0000, IllegalParameter),
        (0x1A1A, IllegalParameter),
    ],
)
def test_a_scheme_that_does_not_fit_is_illegal(stage: Stage, scheme: int, error: type[PeerError]) -> None:
    stage.refused(stage.play({H.certificate_verify: lambda raw: raw[:4] + scheme.to_bytes(2) + raw[6:]}), error)


def test_an_empty_signature_is_a_decrypt_error(stage: Stage) -> None:
    stage.refused(stage.play({H.certificate_verify: instead(b"\x08\x07\0\0")}), DecryptError)


# --- Finished --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", range(0, 32, 5))
def test_a_finished_with_one_bit_changed_is_a_decrypt_error(stage: Stage, at: int) -> None:
    stage.refused(
        stage.play({H.finished: lambda raw: raw[: 4 + at] + bytes((raw[4 + at] ^ 0x80,)) + raw[5 + at :]}),
        DecryptError,
    )


def test_the_clients_own_finished_is_no_answer(stage: Stage) -> None:
    peer = stage.server().say_hello().say_extensions().say_certificate().say_verify()
    stage.refused(peer.say_finished(verify_data=peer.secrets.client_verify_data(peer.digest())), DecryptError)


# --- a session that is resumed ---------------------------------------------------------------------------------------


def test_a_lie_to_a_client_that_resumes_costs_it_the_session(world: World) -> None:
    stage = Stage(world)
    lies: list[tuple[dict[int, Lie], type[PeerError]]] = [
        ({H.server_hello: lengthened}, DecodeError),
        ({H.encrypted_extensions: lengthened}, DecodeError),
        ({H.finished: instead(bytes(32))}, DecryptError),
    ]
    with stage.clients as clients:
        for told, error in lies:
            with world.client_session(TLS13, policy_epoch=clients.config.policy_epoch) as session:
                peer = Server13(
                    clients.connection("localhost", session=session), certified(world.leaf), psk=session.secret
                )
                peer.lies = {int(kind): lie for kind, lie in told.items()}
                assert E.pre_shared_key in peer.hello.extensions
                for step in (peer.say_hello, peer.say_extensions, peer.say_finished):
                    if peer.error is None:
                        step()
                stage.refused(peer, error)


# --- after the handshake ---------------------------------------------------------------------------------------------

LATER: list[tuple[str, bytes, type[PeerError]]] = [
    ("a ticket of no bytes", message(H.new_session_ticket, bytes(8) + b"\1n\0\0\0\0"), DecodeError),
    ("a ticket without extensions", message(H.new_session_ticket, bytes(8) + b"\1n\0\1t"), DecodeError),
    ("a ticket of TLS 1.2", message(H.new_session_ticket, bytes(4) + b"\0\1t"), DecodeError),
    ("bytes behind a ticket", message(H.new_session_ticket, bytes(8) + b"\1n\0\1t\0\0\0"), DecodeError),
    (
        "half an amount of early data",
        message(H.new_session_ticket, bytes(8) + b"\1n\0\1t\0\x07\0\x2a\0\3\0\0\0"),
        DecodeError,
    ),
    (
        "no amount of early data",
        message(H.new_session_ticket, bytes(8) + b"\1n\0\1t\0\4\0\x2a\0\0"),
        DecodeError,
    ),
    (
        "early data twice",
        message(H.new_session_ticket, bytes(8) + b"\1n\0\1t\0\x10" + b"\0\x2a\0\4\0\0\0\1" * 2),
        IllegalParameter,
    ),
    ("a ticket with a name", message(H.new_session_ticket, bytes(8) + b"\1n\0\1t\0\4\0\0\0\0"), IllegalParameter),
    ("a key update that asks for nothing", message(H.key_update), DecodeError),
    ("a key update that asks twice", message(H.key_update, b"\1\1"), DecodeError),
    ("a key update that asks for 2", message(H.key_update, b"\2"), IllegalParameter),
    ("a key update that asks for 255", message(H.key_update, b"\xff"), IllegalParameter),
    ("a request for a certificate", message(H.certificate_request, b"\1c\0\x08\0\x0d\0\4\0\2\4\3"), UnexpectedMessage),
    ("the end of early data", message(H.end_of_early_data), UnexpectedMessage),
    ("a hello request", message(H.hello_request), UnexpectedMessage),
    ("another Finished", message(H.finished, bytes(32)), UnexpectedMessage),
    ("other encrypted extensions", message(H.encrypted_extensions, b"\0\0"), UnexpectedMessage),
]


@pytest.mark.proves("9846:4.7.3:3", "9846:6:5")
@pytest.mark.parametrize(("raw", "error"), [row[1:] for row in LATER], ids=[row[0] for row in LATER])
def test_what_a_server_may_not_say_after_the_handshake(stage: Stage, raw: bytes, error: type[PeerError]) -> None:
    stage.refused(stage.server().connect().say(raw), error)


def test_tickets_that_came_before_a_lie_are_kept(stage: Stage) -> None:
    """TLS 1.3 does not take back what was good: the keys of tickets are not those of the connection."""
    peer = stage.server().connect().say_ticket()
    peer.say(message(H.key_update, b"\2"))
    peer.refused(IllegalParameter)
    assert len(stage.clients.sessions) == 1
