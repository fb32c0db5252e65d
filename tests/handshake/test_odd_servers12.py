"""Conversations of odd TLS 1.2 servers with a client, and the alert that each of them must get.

What `test_client12` and `test_misplaced` have is not repeated. After each, nothing is left that could be resumed: a
session ends with the connection that failed (RFC 5246, section 7.2.2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from resumption.client_context import ClientContext
from resumption.constants import HandshakeType as H
from resumption.errors import (
    DecodeError,
    DecryptError,
    HandshakeFailure,
    IllegalParameter,
    PeerError,
    UnexpectedMessage,
    UnsupportedExtension,
)
from resumption.session.model import Session
from resumption.wire.messages12 import pack_server_ecdh_params
from tests.handshake.pairs import TLS12, World, certified
from tests.handshake.samples import CHANGE_CIPHER_SPEC, message
from tests.handshake.scripted import Lie, cut, instead, lengthened, with_body
from tests.handshake.scripted12 import ECDSA_SUITE_384, Server12

FLIGHT = (
    H.server_hello,
    H.certificate,
    H.certificate_status,
    H.server_key_exchange,
    H.certificate_request,
    H.server_hello_done,
    H.new_session_ticket,
    H.finished,
)


class Stage:
    """Odd servers and the context whose clients meet them."""

    def __init__(self, world: World, **settings: Any) -> None:
        self.world = world
        self.clients: ClientContext = world.client_context(**settings)

    def server(self, lies: dict[int, Lie] | None = None, *, session: Session | None = None) -> Server12:
        peer = Server12(self.clients.connection("localhost", session=session), certified(self.world.leaf))
        peer.lies = {int(kind): lie for kind, lie in (lies or {}).items()}
        return peer

    def play(self, lies: dict[int, Lie]) -> Server12:
        """A full handshake with everything in it, up to the first refusal."""
        promise = {5: b""} if H.certificate_status in lies else {}
        peer = self.server(lies)
        steps: tuple[Callable[[], object], ...] = (
            lambda: peer.say_hello(session_id=b"i" * 32, ticket=True, add=promise),
            peer.say_certificate,
            lambda: peer.say(message(H.certificate_status, b"\1\0\0\1r")) if promise else None,
            peer.say_key_exchange,
            peer.say_request,
            peer.say_done,
            peer.say_ticket,
            peer.say_ccs,
            peer.say_finished,
        )
        for step in steps:
            if peer.error is None:
                step()
        return peer

    def refused(self, peer: Server12, error: type[PeerError]) -> None:
        peer.refused(error)
        assert len(self.clients.sessions) == 0
        peer.subject.free()


@pytest.fixture
def stage(world: World) -> Iterator[Stage]:
    made = Stage(world, ocsp="check", verify=False)  # a status may be promised, and is not judged
    with made.clients:
        yield made


# --- the shape of messages -------------------------------------------------------------------------------------------


def test_what_is_said_here_is_a_handshake_if_nobody_lies(stage: Stage) -> None:
    for lies in ({}, {H.certificate_status: instead(b"\1\0\0\1r")}):
        stage.play(lies).accepted()
        assert len(stage.clients.sessions) == 1


@pytest.mark.proves("5246:7.2.2:7")
@pytest.mark.parametrize("kind", FLIGHT)
def test_a_message_that_is_cut_short_anywhere_is_a_decode_error(stage: Stage, kind: int) -> None:
    lengths: list[int] = []

    def keep(raw: bytes) -> bytes:
        lengths.append(len(raw) - 4)
        return raw

    stage.play({kind: keep})
    bare = 2 + 32 + 1 + 32 + 3 if kind == H.server_hello else -1  # without extensions: no secure renegotiation
    for at in range(0, lengths[0], 1 if lengths[0] < 300 else 7):
        peer = stage.play({kind: cut(at)})
        stage.refused(peer, HandshakeFailure if at == bare else DecodeError)


@pytest.mark.parametrize("kind", FLIGHT)
def test_a_message_with_a_byte_behind_it_is_a_decode_error(stage: Stage, kind: int) -> None:
    stage.refused(stage.play({kind: lengthened}), DecodeError)


@pytest.mark.parametrize("number", [0, 23, 0x7777])
def test_an_extension_that_stands_twice_is_illegal(stage: Stage, number: int) -> None:
    def doubled(raw: bytes) -> bytes:
        body = raw[4:]
        at = 2 + 32 + 1 + body[34] + 3
        block = body[at + 2 :] + (number.to_bytes(2) + b"\0\0") * 2
        return with_body(raw, body[:at] + len(block).to_bytes(2) + block)

    stage.refused(stage.play({H.server_hello: doubled}), IllegalParameter)


# --- ServerHello -----------------------------------------------------------------------------------------------------

HELLOS: list[tuple[str, dict[str, Any], type[PeerError]]] = [
    ("a name that is not empty", {"add": {0: b"\0\0"}}, DecodeError),
    ("a status in the hello", {"add": {5: b"\1\0\0\0\0"}}, DecodeError),
    ("an empty list of point formats", {"add": {11: b"\0"}}, DecodeError),
    ("point formats that are longer than they are", {"add": {11: b"\2\0"}}, DecodeError),
    ("bytes behind the point formats", {"add": {11: b"\1\0\0"}}, DecodeError),
    ("compressed points only", {"add": {11: b"\2\1\2"}}, IllegalParameter),
    ("renegotiation_info without a length", {"add": {0xFF01: b""}}, DecodeError),
    ("renegotiation_info with bytes behind it", {"add": {0xFF01: b"\0\0"}}, DecodeError),
    ("renegotiation of 24 bytes", {"add": {0xFF01: b"\x18" + b"v" * 24}}, HandshakeFailure),
    ("an empty protocol", {"add": {16: b"\0\1\0"}}, DecodeError),
    ("no list of protocols", {"add": {16: b""}}, DecodeError),
    ("two protocols", {"add": {16: b"\0\6\2h2\2h2"}}, DecodeError),
    ("a protocol that was not offered", {"add": {16: b"\0\3\2h3"}}, IllegalParameter),
    ("timestamps that nobody asked for", {"add": {18: b"\0\3\0\1x"}}, UnsupportedExtension),
    ("heartbeat", {"add": {15: b"\1"}}, UnsupportedExtension),
    ("encrypt_then_mac", {"add": {22: b""}}, UnsupportedExtension),
    ("next protocol negotiation", {"add": {13172: b""}}, UnsupportedExtension),
    ("channel id", {"add": {30032: b""}}, UnsupportedExtension),
    ("use_srtp", {"add": {14: b"\0\2\0\1\0"}}, UnsupportedExtension),
    ("psk_key_exchange_modes", {"add": {45: b"\1\1"}}, IllegalParameter),
    ("pre_shared_key", {"add": {41: b"\0\0"}}, UnsupportedExtension),
    ("early_data", {"add": {42: b""}}, UnsupportedExtension),
    ("a suite with CBC", {"cipher_suite": 0xC013}, IllegalParameter),
    ("a suite without forward secrecy", {"cipher_suite": 0x009C}, IllegalParameter),
    ("the null suite", {"cipher_suite": 0x0000}, IllegalParameter),
]


@pytest.mark.proves("5246:7.4.1.4:1", "5246:7.4.1.4:2")
@pytest.mark.parametrize(("changes", "error"), [row[1:] for row in HELLOS], ids=[row[0] for row in HELLOS])
def test_a_server_hello_that_is_wrong_in_one_place_is_refused(
    world: World, changes: dict[str, Any], error: type[PeerError]
) -> None:
    stage = Stage(world, alpn=("h2", "http/1.1"), ocsp="check")
    with stage.clients:
        stage.refused(stage.server().say_hello(**changes), error)


def test_the_session_id_that_tls_1_3_made_up_names_no_session(stage: Stage) -> None:
    """A server that knows TLS 1.2 only has never seen it."""
    peer = stage.server()
    assert len(peer.hello.legacy_session_id) == 32
    stage.refused(peer.say_hello(session_id=peer.hello.legacy_session_id), IllegalParameter)


# --- what comes after it ---------------------------------------------------------------------------------------------

POINT = b"\4" + bytes(range(64))
EXCHANGES: list[tuple[str, bytes, type[PeerError]]] = [
    ("a curve that was not offered", b"\3\0\x16\x41" + POINT, IllegalParameter),  # secp256k1
    ("a finite field", b"\3\1\0\x41" + POINT, IllegalParameter),
    ("GREASE as curve", b"\3\x1a\x1a\x41" + POINT, IllegalParameter),
    ("an explicit curve over a prime", b"\1\0\x1d\x20" + bytes(32), DecodeError),
    ("an explicit curve over a binary field", b"\2\0\x1d\x20" + bytes(32), DecodeError),
    ("a curve type that nobody knows", b"\4\0\x1d\x20" + bytes(32), DecodeError),
    ("an empty point", b"\3\0\x1d\0", DecodeError),
]


@pytest.mark.proves("8422:5.4:1")
@pytest.mark.parametrize(("params", "error"), [row[1:] for row in EXCHANGES], ids=[row[0] for row in EXCHANGES])
def test_a_key_exchange_that_is_wrong_in_one_place_is_refused(
    stage: Stage, params: bytes, error: type[PeerError]
) -> None:
    def say(raw: bytes) -> bytes:
        return with_body(raw, params + raw[4 + 36 :])

    stage.refused(stage.play({H.server_key_exchange: say}), error)


@pytest.mark.parametrize(
    ("scheme", "error"),
    [(0x0203, IllegalParameter), (0x0603, IllegalParameter), (0x0804, IllegalParameter), (0, IllegalParameter)],
)
def test_a_scheme_that_does_not_fit_is_illegal(stage: Stage, scheme: int, error: type[PeerError]) -> None:
    def say(raw: bytes) -> bytes:
        return raw[: 4 + 36] + scheme.to_bytes(2) + raw[4 + 38 :]

    stage.refused(stage.play({H.server_key_exchange: say}), error)


@pytest.mark.parametrize("at", [4 + 4, 4 + 35, 4 + 40, -1])
def test_a_signature_or_share_with_one_bit_changed_is_a_decrypt_error(stage: Stage, at: int) -> None:
    def say(raw: bytes) -> bytes:
        changed = bytearray(raw)
        changed[at] ^= 1
        return bytes(changed)

    stage.refused(stage.play({H.server_key_exchange: say}), DecryptError)


def test_a_signature_over_the_randoms_of_another_connection_is_a_decrypt_error(stage: Stage) -> None:
    peer = stage.server().say_hello().say_certificate()
    peer.client_random = bytes(32)
    stage.refused(peer.say_key_exchange(), DecryptError)


def test_params_are_packed_here_as_there() -> None:
    assert pack_server_ecdh_params(29, bytes(32)) == b"\3\0\x1d\x20" + bytes(32)


REQUESTS: list[tuple[str, bytes, type[PeerError]]] = [
    ("no types", b"\0\0\2\4\3\0\0", DecodeError),
    ("no schemes", b"\1\x40\0\0\0\0", DecodeError),
    ("half a scheme", b"\1\x40\0\3\4\3\4\0\0", DecodeError),
    ("the shape of TLS 1.1", b"\1\x40\0\0", DecodeError),
    ("an authority without a name", b"\1\x40\0\2\4\3\0\2\0\0", DecodeError),
    ("an authority that is longer than the list", b"\1\x40\0\2\4\3\0\3\0\5a", DecodeError),
    ("the shape of TLS 1.3", b"\0\0\x08\0\x0d\0\4\0\2\4\3", DecodeError),
]


@pytest.mark.proves("5246:7.4.4:1")
@pytest.mark.parametrize(("body", "error"), [row[1:] for row in REQUESTS], ids=[row[0] for row in REQUESTS])
def test_a_request_that_is_wrong_in_one_place_is_refused(stage: Stage, body: bytes, error: type[PeerError]) -> None:
    stage.refused(stage.play({H.certificate_request: instead(body)}), error)


STATUSES: list[tuple[str, bytes, type[PeerError]]] = [
    ("a type that nobody knows", b"\3\0\0\1x", DecodeError),
    ("several responses", b"\2\0\0\4\0\0\1x", DecodeError),
    ("an empty response", b"\1\0\0\0", DecodeError),
    ("a response that is longer than it is", b"\1\0\0\2x", DecodeError),
]


@pytest.mark.parametrize(("body", "error"), [row[1:] for row in STATUSES], ids=[row[0] for row in STATUSES])
def test_a_status_that_is_wrong_in_one_place_is_refused(stage: Stage, body: bytes, error: type[PeerError]) -> None:
    stage.refused(stage.play({H.certificate_status: instead(body)}), error)


def chain_of(*ders: bytes) -> bytes:
    joined = b"".join(len(der).to_bytes(3) + der for der in ders)
    return len(joined).to_bytes(3) + joined


def test_a_certificate_message_that_is_wrong_in_one_place_is_refused(stage: Stage) -> None:
    leaf = certified(stage.world.leaf).chain[0]
    for body in (
        chain_of(),
        chain_of(b""),
        chain_of(leaf, b""),
        b"\0" + chain_of(leaf),  # the shape of TLS 1.3
        chain_of(leaf)[:-1],
        b"\0\0\1\0",
    ):
        stage.refused(stage.play({H.certificate: instead(body)}), DecodeError)


# --- the end ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", range(0, 12, 3))
def test_a_finished_with_one_bit_changed_is_a_decrypt_error(stage: Stage, at: int) -> None:
    def say(raw: bytes) -> bytes:
        return raw[: 4 + at] + bytes((raw[4 + at] ^ 0x10,)) + raw[5 + at :]

    stage.refused(stage.play({H.finished: say}), DecryptError)


def test_the_clients_own_finished_is_no_answer(stage: Stage) -> None:
    peer = stage.server().say_hello().say_certificate().say_key_exchange().say_done().say_ccs()
    stage.refused(peer.say_finished(verify_data=peer.master.client_verify_data(peer.digest())), DecryptError)


def test_finished_without_change_cipher_spec_and_twice_of_it(stage: Stage) -> None:
    peer = stage.server().say_hello().say_certificate().say_key_exchange().say_done()
    stage.refused(peer.say_finished(), UnexpectedMessage)
    peer = stage.server().say_hello().say_certificate().say_key_exchange().say_done().say_ccs()
    stage.refused(peer.say_record(20, b"\1"), UnexpectedMessage)


@pytest.mark.parametrize("after", ["hello", "certificate", "key exchange", "request"])
def test_change_cipher_spec_before_there_are_keys_is_unexpected(stage: Stage, after: str) -> None:
    """CVE-2014-0224."""
    peer = stage.server().say_hello()
    if after != "hello":
        peer.say_certificate()
    if after in ("key exchange", "request"):
        peer.say_key_exchange()
    if after == "request":
        peer.say_request()
    stage.refused(peer.give(CHANGE_CIPHER_SPEC), UnexpectedMessage)


def test_a_ticket_that_was_not_promised_or_comes_too_late(stage: Stage) -> None:
    peer = stage.server().say_hello().say_certificate().say_key_exchange().say_done()
    stage.refused(peer.say_ticket(), UnexpectedMessage)
    peer = stage.server().say_hello(ticket=True).say_certificate().say_key_exchange().say_done()
    stage.refused(peer.say_ticket().say_ticket(), UnexpectedMessage)
    peer = stage.server().say_hello(ticket=True).say_certificate().say_key_exchange().say_done()
    stage.refused(peer.give(CHANGE_CIPHER_SPEC), UnexpectedMessage)


# --- a session that is resumed ---------------------------------------------------------------------------------------

RESUMED: list[tuple[str, dict[str, Any], dict[int, Lie], type[PeerError]]] = [
    ("another suite", {"cipher_suite": ECDSA_SUITE_384}, {}, IllegalParameter),
    ("a suite that was not offered", {"cipher_suite": 0xC013}, {}, IllegalParameter),
    ("no extended master secret", {"drop": (23,)}, {}, HandshakeFailure),
    ("compression", {"legacy_compression_method": 1}, {}, IllegalParameter),
    ("no secure renegotiation", {"drop": (0xFF01,)}, {}, HandshakeFailure),
    ("a wrong Finished", {}, {H.finished: instead(bytes(12))}, DecryptError),
    ("a ticket with a byte behind it", {"ticket": True}, {H.new_session_ticket: lengthened}, DecodeError),
]


@pytest.mark.proves("5246:7.2.2:7", "7627:5.3:5")
@pytest.mark.parametrize(("changes", "lies", "error"), [row[1:] for row in RESUMED], ids=[row[0] for row in RESUMED])
def test_a_lie_to_a_client_that_resumes_ends_the_session(
    stage: Stage, changes: dict[str, Any], lies: dict[int, Lie], error: type[PeerError]
) -> None:
    first = stage.server().say_hello(session_id=b"i" * 32).say_certificate().say_key_exchange().say_done()
    first.say_ccs().say_finished().accepted()
    first.subject.close()
    first.subject.free()
    assert len(stage.clients.sessions) == 1
    peer = stage.server(lies)
    assert peer.hello.legacy_session_id == b"i" * 32
    peer.say_hello(master=first.master.secret, **changes)
    if changes.get("ticket") and peer.error is None:
        peer.say_ticket()
    if peer.error is None:
        peer.say_ccs().say_finished()
    stage.refused(peer, error)


def test_a_server_that_resumes_shows_no_certificate(stage: Stage) -> None:
    with stage.world.client_session(TLS12, policy_epoch=stage.clients.config.policy_epoch) as session:
        peer = stage.server(session=session)
        peer.say_hello(master=session.secret).say_certificate()
        stage.refused(peer, UnexpectedMessage)


# --- after the handshake ---------------------------------------------------------------------------------------------

LATER: list[tuple[str, bytes]] = [
    ("a ticket", message(H.new_session_ticket, b"\0\0\0\0\0\1t")),
    ("a hello", message(H.server_hello, bytes(38))),
    ("a Finished", message(H.finished, bytes(12))),
    ("a key update", message(H.key_update, b"\0")),
    ("a request for a certificate", message(H.certificate_request, b"\1\x40\0\2\4\3\0\0")),
    ("the end of a flight", message(H.server_hello_done)),
]


@pytest.mark.parametrize("raw", [row[1] for row in LATER], ids=[row[0] for row in LATER])
def test_what_a_server_may_not_say_after_the_handshake(stage: Stage, raw: bytes) -> None:
    """The session ends with its connection."""
    peer = stage.server().say_hello(session_id=b"i" * 32).say_certificate().say_key_exchange().say_done()
    peer.say_ccs().say_finished().accepted()
    assert len(stage.clients.sessions) == 1
    stage.refused(peer.say(raw), UnexpectedMessage)


@pytest.mark.parametrize("body", [b"\0", bytes(100)])
def test_a_hello_request_with_a_body_is_a_decode_error(stage: Stage, body: bytes) -> None:
    peer = stage.server().say_hello(session_id=b"i" * 32).say_certificate().say_key_exchange().say_done()
    peer.say_ccs().say_finished().accepted()
    stage.refused(peer.say(message(H.hello_request, body)), DecodeError)
