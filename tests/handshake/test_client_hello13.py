"""What a TLS 1.3 client makes of ServerHello, HelloRetryRequest and EncryptedExtensions."""

from __future__ import annotations

from typing import Any

import pytest

from resumption.connection import Connection
from resumption.constants import ExtensionType as E
from resumption.constants import HandshakeType as H
from resumption.crypto.groups import GROUPS
from resumption.crypto.schedule13 import EarlySecret
from resumption.crypto.suites import SUITES
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
from resumption.handshake.events import HandshakeCompleted
from resumption.session.verdicts import Mechanism, Reason
from resumption.wire import extensions as ext
from resumption.wire.messages import Certificate, CertificateEntry, ClientHello, EncryptedExtensions
from tests.handshake.pairs import TLS12, TLS13, World, certified
from tests.handshake.scripted13 import P256, P384, X25519, Server13
from tests.handshake.stops import server13_for

UNKNOWN = 0x0A0A  # GREASE


def completed(peer: Server13) -> HandshakeCompleted:
    found = [event for event in peer.events if isinstance(event, HandshakeCompleted)]
    assert len(found) == 1
    return found[0]


# --- ServerHello -----------------------------------------------------------------------------------------------------

REFUSED: list[tuple[str, dict[str, Any], type[PeerError]]] = [
    ("another session id", {"legacy_session_id_echo": b"x" * 32}, IllegalParameter),
    ("no session id", {"legacy_session_id_echo": b""}, IllegalParameter),
    ("a suite that was not offered", {"cipher_suite": 0x1304}, IllegalParameter),
    ("a suite that nobody knows", {"cipher_suite": 0x7A7A}, IllegalParameter),
    ("a TLS 1.2 suite", {"cipher_suite": 0xC02B}, IllegalParameter),
    ("compression", {"legacy_compression_method": 1}, IllegalParameter),
    ("legacy_version 3.2", {"legacy_version": 0x0302}, ProtocolVersionUnsupported),
    ("legacy_version 3.4", {"legacy_version": 0x0304}, ProtocolVersionUnsupported),
    ("version 1.2 by extension", {"add": {43: b"\x03\x03"}}, IllegalParameter),
    ("a version of the future", {"add": {43: b"\x03\x05"}}, IllegalParameter),
    ("half a version", {"add": {43: b"\x03"}}, DecodeError),
    ("no version, and no TLS 1.2 suite", {"drop": (43,)}, IllegalParameter),
    ("no key share", {"drop": (51,)}, MissingExtension),
    ("half a key share", {"add": {51: b"\0\x1d\0"}}, DecodeError),
    ("a share of a group without one", {"add": {51: ext.pack_key_share_server((P256, b"x"))}}, IllegalParameter),
    ("a share of a group not offered", {"add": {51: ext.pack_key_share_server((258, b"x"))}}, IllegalParameter),
    ("a short share", {"add": {51: ext.pack_key_share_server((X25519, b"x" * 31))}}, IllegalParameter),
    ("a share of zero", {"add": {51: ext.pack_key_share_server((X25519, bytes(32)))}}, IllegalParameter),
    ("an answer to nothing", {"add": {UNKNOWN: b""}}, UnsupportedExtension),
    ("a cookie", {"add": {44: b"\0\1x"}}, UnsupportedExtension),
    ("an extension of EncryptedExtensions", {"add": {0: b""}}, IllegalParameter),
    ("an extension of TLS 1.2", {"add": {23: b""}}, IllegalParameter),
    ("psk_key_exchange_modes", {"add": {45: b"\1\1"}}, IllegalParameter),
]


@pytest.mark.proves(
    "9846:4.2.3:1",
    "9846:4.2.3:4",
    "9846:4.2.3:5",
    "9846:4.2.3:7",
    "9846:4.2.3:8",
    "9846:4.3:4",
    "9846:4.3:5",
    "9846:4.3.1:11",
    "9846:4.3.8:10",
    "9846:4.3.8:11",
    "9846:4.3.9:5",
    "9846:6:6",
    "9846:7.4.2:2",
    "9846:E.5:7",
)
@pytest.mark.parametrize(("changes", "error"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_server_hello_that_picks_what_was_not_offered_is_refused(
    world: World, changes: dict[str, Any], error: type[PeerError]
) -> None:
    server13_for(world).say_hello(**changes).refused(error)


@pytest.mark.proves("9846:6:5")
def test_trailing_bytes_in_a_server_hello_are_a_decode_error(world: World) -> None:
    peer = server13_for(world)
    raw = peer.server_hello(share=bytes(32)).pack()
    longer = raw[:1] + (len(raw) - 4 + 1).to_bytes(3) + raw[4:] + b"\0"
    peer.say(longer).refused(DecodeError)


@pytest.mark.proves("9846:4.3:7")
def test_the_same_extension_twice_is_illegal(world: World) -> None:
    peer = server13_for(world)
    raw = peer.server_hello().pack()
    body = raw[4:]
    start = 2 + 32 + 1 + len(peer.hello.legacy_session_id) + 3
    block = body[start + 2 :] + body[start + 2 : start + 8]
    body = body[:start] + len(block).to_bytes(2) + block
    peer.say(bytes((H.server_hello,)) + len(body).to_bytes(3) + body).refused(IllegalParameter)


@pytest.mark.proves("9846:5.1:4", "9846:5.1:5")
@pytest.mark.parametrize("size", [1, 16, 100])
def test_f46_messages_behind_the_server_hello_in_its_record_are_unexpected(world: World, size: int) -> None:
    behind = EncryptedExtensions({}).pack() * 20
    server13_for(world).say_hello(behind=behind[:size]).refused(UnexpectedMessage)


@pytest.mark.proves("9846:5.1:4", "9846:5.1:5")
def test_f46_messages_behind_the_finished_in_its_record_are_unexpected(world: World) -> None:
    peer = server13_for(world).say_hello().say_extensions().say_certificate().say_verify()
    peer.say_finished(behind=peer.ticket().pack()).refused(UnexpectedMessage)


@pytest.mark.proves("9846:4.3.1:10", "9846:9.1:1", "9846:9.1:3", "9846:9.3:3", "9846:4.5.3:2")
@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("suite", [0x1301, 0x1302, 0x1303])
def test_any_offered_suite_and_group_may_be_chosen(world: World, suite: int, group: int) -> None:
    config = world.client_config(groups=tuple(GROUPS), key_shares=(group,))
    subject = Connection(config, server_name="localhost")
    peer = Server13(subject, certified(world.leaf), suite=suite, group=group)
    peer.connect().accepted()
    assert subject.facts is not None
    assert (subject.facts.group, subject.facts.cipher) == (group, suite)
    assert subject.cipher == SUITES[suite].name


# --- resumption ------------------------------------------------------------------------------------------------------


@pytest.mark.proves("9846:4.3:4")
def test_f29_an_unoffered_psk_is_an_unsupported_extension(world: World) -> None:
    peer = server13_for(world)
    peer.say_hello(add={int(E.pre_shared_key): b"\0\0"}).refused(UnsupportedExtension)


@pytest.mark.proves("9846:4.3.11:6", "9846:4.3.11:7")
@pytest.mark.parametrize("index", [1, 2, 0xFFFF])
def test_f29_an_index_out_of_range_is_illegal(world: World, index: int) -> None:
    peer = server13_for(world, resumed=True)
    peer.say_hello(add={int(E.pre_shared_key): index.to_bytes(2)}).refused(IllegalParameter)


@pytest.mark.proves("9846:4.3.11:6", "9846:4.3.11:7", "9846:4.7.1:2")
def test_f29_a_psk_with_a_suite_of_another_hash_is_illegal(world: World) -> None:
    peer = server13_for(world, resumed=True)
    peer.suite = SUITES[0x1302]
    peer.say_hello().refused(IllegalParameter)


@pytest.mark.proves("9846:4.3:2", "9846:6:5")
def test_f29_a_malformed_index_is_a_decode_error(world: World) -> None:
    for body in (b"", b"\0", b"\0\0\0"):
        server13_for(world, resumed=True).say_hello(add={int(E.pre_shared_key): body}).refused(DecodeError)


@pytest.mark.proves("9846:4.3.11:6", "9846:4.3.11:7", "9846:4.3.9:7")
def test_f48_a_psk_without_key_exchange_is_refused(world: World) -> None:
    server13_for(world, resumed=True).say_hello(drop=(51,)).refused(IllegalParameter)


def test_a_client_offers_psk_dhe_ke_and_nothing_else(world: World) -> None:
    assert server13_for(world, grease=False).hello.extensions[E.psk_key_exchange_modes] == b"\x01\x01"
    assert 0 not in server13_for(world).hello.extensions[E.psk_key_exchange_modes][1:]


@pytest.mark.parametrize("suite", [0x1301, 0x1303])
def test_a_psk_resumes_with_any_suite_of_its_hash(world: World, suite: int) -> None:
    peer = server13_for(world, resumed=True)
    peer.suite = SUITES[suite]
    peer.connect().accepted()
    resumption = completed(peer).resumption
    assert resumption.resumed
    assert resumption.mechanism is Mechanism.STATELESS_13
    assert peer.subject.session_reused
    assert peer.subject.peer_chain == world.leaf.chain_der  # who the peer is comes from the session (F13)


def test_an_offered_psk_may_be_declined(world: World) -> None:
    peer = server13_for(world, resumed=True)
    peer.psk = None
    peer.connect().accepted()
    assert completed(peer).resumption.reason is Reason.SERVER_DECLINED


@pytest.mark.proves("9846:4.4.2:6")
def test_a_resumed_server_may_not_send_certificates(world: World) -> None:
    for said in (Certificate(b"", ()).pack(), b"\x0d\0\0\x03\0\0\0"):
        peer = server13_for(world, resumed=True).say_hello().say_extensions()
        peer.say(said).refused(UnexpectedMessage)


def test_a_server_without_the_psk_cannot_finish(world: World) -> None:
    subject = Connection(world.client_config(), server_name="localhost")
    with world.client_session(TLS13) as session:
        subject.set_session(session)
    peer = Server13(subject, certified(world.leaf), psk=b"w" * 32).say_hello()
    peer.give(peer.sealer.seal(22, EncryptedExtensions({}).pack()))
    assert isinstance(peer.error, PeerError)
    assert peer.error.alert == 20  # bad_record_mac: the keys differ


@pytest.mark.proves("9846:4.5.3:1")
@pytest.mark.parametrize("verify_data", [bytes(32), b"", b"x" * 31, b"x" * 33, bytes(12)], ids=len)
def test_a_wrong_finished_is_a_decrypt_error_and_one_of_another_length_a_decode_error(
    world: World, verify_data: bytes
) -> None:
    error = DecryptError if len(verify_data) == 32 else DecodeError
    for resumed in (False, True):
        peer = server13_for(world, resumed=resumed).say_hello().say_extensions()
        if not resumed:
            peer.say_certificate().say_verify()
        peer.say(b"\x14" + len(verify_data).to_bytes(3) + verify_data).refused(error)


# --- EncryptedExtensions ---------------------------------------------------------------------------------------------

EXTENSIONS: list[tuple[str, dict[int, bytes], type[PeerError]]] = [
    ("an answer to nothing", {UNKNOWN: b""}, UnsupportedExtension),
    ("early_data", {42: b""}, UnsupportedExtension),
    ("alpn that was not offered", {16: ext.pack_alpn((b"h2",))}, UnsupportedExtension),
    ("key_share", {51: b"\0\x1d\0\1x"}, IllegalParameter),
    ("supported_versions", {43: b"\3\4"}, IllegalParameter),
    ("signature_algorithms", {13: b"\0\2\4\3"}, IllegalParameter),
    ("extended_master_secret", {23: b""}, IllegalParameter),
    ("session_ticket", {35: b""}, IllegalParameter),
    ("renegotiation_info", {0xFF01: b"\0"}, IllegalParameter),
    ("ec_point_formats", {11: b"\1\0"}, IllegalParameter),
    ("a server_name that is not empty", {0: b"x"}, DecodeError),
    ("malformed supported_groups", {10: b"\0\3\0\x1d\0"}, DecodeError),
]


@pytest.mark.proves("9846:4.3:2", "9846:4.3:4", "9846:4.3:5", "9846:4.4.1:2")
@pytest.mark.parametrize(("bodies", "error"), [row[1:] for row in EXTENSIONS], ids=[row[0] for row in EXTENSIONS])
def test_encrypted_extensions_hold_only_what_belongs_there(
    world: World, bodies: dict[int, bytes], error: type[PeerError]
) -> None:
    server13_for(world).say_hello().say_extensions(bodies).refused(error)


@pytest.mark.proves("7301:3.2:2")
def test_what_belongs_into_encrypted_extensions_is_accepted(world: World) -> None:
    peer = server13_for(world, alpn=(b"h2", b"http/1.1")).say_hello()
    peer.say_extensions({0: b"", 10: ext.pack_supported_groups((P384,)), 16: ext.pack_alpn((b"http/1.1",))})
    peer.say_certificate().say_verify().say_finished().accepted()
    assert peer.subject.alpn == b"http/1.1"
    assert peer.subject.facts is not None
    assert peer.subject.facts.hostname == "localhost"


@pytest.mark.proves("7301:3.1:3")
@pytest.mark.parametrize(
    ("body", "error"),
    [
        (ext.pack_alpn((b"spdy/3",)), IllegalParameter),
        (ext.pack_alpn((b"h2", b"http/1.1")), DecodeError),
        (b"", DecodeError),
        (b"\0\0", DecodeError),
        (b"\0\1\0", DecodeError),
    ],
)
def test_a_server_selects_exactly_one_protocol_of_those_offered(
    world: World, body: bytes, error: type[PeerError]
) -> None:
    peer = server13_for(world, alpn=(b"h2", b"http/1.1")).say_hello()
    peer.say_extensions({16: body}).refused(error)


# --- CertificateRequest and Certificate: extensions ------------------------------------------------------------------


@pytest.mark.proves("9846:4.3:5")
@pytest.mark.parametrize("number", [51, 43, 41, 10, 16, 23, 35, 44, 45, 42])
def test_a_certificate_request_with_a_misplaced_extension_is_illegal(world: World, number: int) -> None:
    peer = server13_for(world).say_hello().say_extensions()
    peer.say_request({number: b""}).refused(IllegalParameter)


@pytest.mark.proves("9846:4.4.2:5", "9846:9.3:5")
def test_a_certificate_request_may_hold_what_nobody_knows(world: World) -> None:
    peer = server13_for(world).say_hello().say_extensions()
    peer.say_request({UNKNOWN: b"x", 47: b"\0\3\0\1x", 50: b"\0\2\4\3", 48: b"\0\0"}).accepted()


@pytest.mark.proves("9846:4.4.2:3", "9846:4.4.2:4")
def test_a_certificate_request_names_schemes_and_has_no_context(world: World) -> None:
    server13_for(world).say_hello().say_extensions().say_request(drop=(13,)).refused(MissingExtension)
    server13_for(world).say_hello().say_extensions().say_request(context=b"x").refused(IllegalParameter)
    server13_for(world).say_hello().say_extensions().say_request({13: b"\0\1\0"}).refused(DecodeError)


@pytest.mark.proves("9846:4.3:4", "9846:4.5.1:6")
@pytest.mark.parametrize(
    ("number", "error"),
    [(5, UnsupportedExtension), (18, UnsupportedExtension), (UNKNOWN, UnsupportedExtension), (51, IllegalParameter)],
)
def test_a_certificate_entry_answers_only_what_was_asked(world: World, number: int, error: type[PeerError]) -> None:
    peer = server13_for(world).say_hello().say_extensions()
    entry = CertificateEntry(world.leaf.chain_der[0], {number: b""})
    peer.say(Certificate(b"", (entry,))).refused(error)


# --- HelloRetryRequest -----------------------------------------------------------------------------------------------


def same_but_for(first: ClientHello, second: ClientHello, *numbers: int) -> bool:
    """Whether the hellos differ in these extensions at most."""
    bodies = [{n: b for n, b in hello.extensions.items() if n not in numbers} for hello in (first, second)]
    fields = [
        (h.legacy_version, h.random, h.legacy_session_id, h.cipher_suites, h.legacy_compression_methods)
        for h in (first, second)
    ]
    return bodies[0] == bodies[1] and fields[0] == fields[1]


@pytest.mark.proves("9846:4.2.2:2", "9846:4.2.4:6", "9846:4.3.8:9")
@pytest.mark.parametrize("group", [P256, P384])
def test_a_retry_brings_one_share_of_the_group_asked_for_and_changes_nothing_else(world: World, group: int) -> None:
    peer = server13_for(world)
    first = peer.hello
    peer.say_retry(group)
    shares = ext.parse_key_share_client(peer.hello.extensions[E.key_share])
    assert [share[0] for share in shares] == [group]
    assert same_but_for(first, peer.hello, E.key_share)
    peer.connect().accepted()
    assert peer.changes == 1  # one change_cipher_spec, before the second hello


@pytest.mark.proves("9846:4.2.2:2", "9846:4.2.4:6", "9846:4.3.2:1")
def test_a_retry_for_a_cookie_keeps_the_share_and_returns_the_cookie(world: World) -> None:
    peer = server13_for(world)
    first = peer.hello
    peer.say_retry(None, add={int(E.cookie): ext.pack_cookie(b"crumbs")})
    assert peer.hello.extensions[E.cookie] == ext.pack_cookie(b"crumbs")
    assert same_but_for(first, peer.hello, E.cookie)
    peer.connect().accepted()
    assert peer.changes == 1


def test_a_retry_may_ask_for_both(world: World) -> None:
    peer = server13_for(world)
    peer.say_retry(P256, add={int(E.cookie): ext.pack_cookie(b"c" * 3000)}).connect().accepted()


@pytest.mark.proves("9846:4.2.2:2", "9846:4.3.11:10")
def test_a_psk_gets_a_new_age_and_binder_in_the_second_hello(world: World) -> None:
    peer = server13_for(world, resumed=True)
    world.clock.advance(3)
    peer.say_retry()
    offered = ext.parse_pre_shared_key_client(peer.hello.extensions[E.pre_shared_key])
    assert next(reversed(peer.hello.extensions)) == E.pre_shared_key
    assert offered.identities == ((b"T" * 200, 3_077),)
    before, hello = peer.spoken[:-1], peer.spoken[-1]
    digest = peer.suite.hash.new(b"".join(before) + hello[: -offered.binders_length]).digest()
    assert peer.psk is not None
    assert offered.binders == (EarlySecret.from_psk(peer.suite.hash, peer.psk).binder(digest),)
    peer.connect().accepted()
    assert completed(peer).resumption.resumed


@pytest.mark.proves("9846:4.7.1:2")
def test_a_psk_of_another_hash_is_left_out_of_the_second_hello(world: World) -> None:
    peer = server13_for(world, resumed=True)
    peer.suite, peer.psk = SUITES[0x1302], None
    peer.say_retry()
    assert E.pre_shared_key not in peer.hello.extensions
    peer.connect().accepted()
    assert completed(peer).resumption.reason is Reason.OTHER_HASH


def test_f29_a_psk_that_was_left_out_of_the_second_hello_cannot_be_chosen(world: World) -> None:
    peer = server13_for(world, resumed=True)
    peer.suite = SUITES[0x1302]
    peer.say_retry().say_hello().refused(UnsupportedExtension)


RETRIES: list[tuple[str, dict[str, Any], type[PeerError]]] = [
    ("no change at all", {"group": None}, IllegalParameter),
    ("a share that was sent", {"group": X25519}, IllegalParameter),
    ("a group that was not offered", {"group": 256}, IllegalParameter),
    ("a group that nobody knows", {"group": 0x2A2A}, IllegalParameter),
    ("another session id", {"legacy_session_id_echo": b""}, IllegalParameter),
    ("a suite that was not offered", {"cipher_suite": 0x1304}, IllegalParameter),
    ("compression", {"legacy_compression_method": 1}, IllegalParameter),
    ("legacy_version 3.2", {"legacy_version": 0x0302}, ProtocolVersionUnsupported),
    ("no version", {"drop": (43,)}, MissingExtension),
    ("another version", {"add": {43: b"\x03\x03"}}, IllegalParameter),
    ("an answer to nothing", {"add": {UNKNOWN: b""}}, UnsupportedExtension),
    ("server_name", {"add": {0: b""}}, IllegalParameter),
    ("pre_shared_key that was not offered", {"add": {41: b"\0\0"}}, UnsupportedExtension),
    ("an empty cookie", {"add": {44: b"\0\0"}}, DecodeError),
    ("a key share as in a ServerHello", {"add": {51: b"\0\x17\0\1x"}}, DecodeError),
]


@pytest.mark.proves(
    "9846:4.2.4:1",
    "9846:4.2.4:2",
    "9846:4.2.4:3",
    "9846:4.2.4:4",
    "9846:4.2.4:7",
    "9846:4.3.8:7",
    "9846:4.3.8:8",
    "9846:4.2.3:10",
)
@pytest.mark.parametrize(("changes", "error"), [row[1:] for row in RETRIES], ids=[row[0] for row in RETRIES])
def test_a_retry_that_asks_for_what_it_may_not_is_refused(
    world: World, changes: dict[str, Any], error: type[PeerError]
) -> None:
    server13_for(world).say_retry(**changes).refused(error)


def test_a_retry_cannot_answer_the_psk(world: World) -> None:
    server13_for(world, resumed=True).say_retry(add={41: b"\0\0"}).refused(IllegalParameter)


@pytest.mark.proves("9846:4.2.4:5")
@pytest.mark.parametrize("group", [P256, P384, X25519])
def test_a_second_retry_is_unexpected(world: World, group: int) -> None:
    server13_for(world).say_retry().say_retry(group).refused(UnexpectedMessage)


@pytest.mark.proves("9846:4.2.4:9", "9846:4.2.4:10", "9846:4.3.8:12", "9846:4.3.8:13")
def test_the_server_hello_after_a_retry_keeps_suite_group_and_version(world: World) -> None:
    peer = server13_for(world).say_retry()
    peer.say_hello(cipher_suite=0x1303).refused(IllegalParameter)
    peer = server13_for(world).say_retry()
    peer.say_hello(add={51: ext.pack_key_share_server((X25519, b"\x09" * 32))}).refused(IllegalParameter)
    peer = server13_for(world).say_retry()
    peer.say_hello(drop=(43, 51), cipher_suite=0xC02B).refused(IllegalParameter)
    peer = server13_for(world).say_retry()
    peer.say_hello(drop=(43, 51), cipher_suite=0xC02B, random=b"R" * 24 + b"DOWNGRD\x01").refused(IllegalParameter)


def test_messages_behind_a_retry_wait_for_nobody(world: World) -> None:
    """There is no key change behind a HelloRetryRequest: a ServerHello in its record is read, and does not fit."""
    peer = server13_for(world)
    retry = peer.retry().pack()
    peer.give(peer.sealer.seal_many(22, retry + peer.server_hello(share=bytes(32)).pack())).refused(IllegalParameter)


# --- the hello itself ------------------------------------------------------------------------------------------------


@pytest.mark.proves("9846:4.2.2:6", "9846:4.2.2:8", "9846:4.2.2:11", "9846:4.3.1:1", "9846:E.5:6")
def test_a_client_hello_says_what_the_configuration_says(world: World) -> None:
    subject = Connection(world.client_config(alpn=(b"h2",), grease=False), server_name="localhost")
    hello = Server13(subject, certified(world.leaf)).hello
    bodies = hello.extensions
    assert hello.legacy_version == 0x0303
    assert len(hello.legacy_session_id) == 32
    assert hello.legacy_compression_methods == b"\0"
    assert ext.parse_server_name(bodies[E.server_name]) == "localhost"
    assert ext.parse_supported_versions_client(bodies[E.supported_versions]) == (TLS13, TLS12)
    assert ext.parse_alpn(bodies[E.application_layer_protocol_negotiation]) == (b"h2",)
    assert [share[0] for share in ext.parse_key_share_client(bodies[E.key_share])] == [X25519]
    assert ext.parse_supported_groups(bodies[E.supported_groups])[0] == X25519
    assert {E.extended_master_secret, E.session_ticket, E.renegotiation_info} <= bodies.keys()
    assert not {E.pre_shared_key, E.early_data, E.cookie, E.encrypt_then_mac} & bodies.keys()


@pytest.mark.proves("9846:5.1:10", "9846:5.1:14", "9846:E.5:8")
@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_only_the_record_of_the_first_hello_says_3_1(world: World, version: int) -> None:
    """RFC 9846, section 5.1: for servers and middleboxes of old."""
    client = Connection(world.client_config(maximum_version=version), server_name="localhost")
    assert client.data_to_send()[:3] == b"\x16\x03\x01"
    peer = server13_for(world)
    peer.give(peer.sealer.seal_many(22, peer.retry().pack()))
    sent = bytes(peer._reader._buffer[peer._reader._at :])
    assert sent.startswith(b"\x14\x03\x03\x00\x01\x01\x16\x03\x03")


def test_a_client_for_tls13_alone_says_nothing_of_tls12(world: World) -> None:
    hello = server13_for(world, minimum_version=TLS13, grease=False).hello
    assert ext.parse_supported_versions_client(hello.extensions[E.supported_versions]) == (TLS13,)
    assert not {E.extended_master_secret, E.session_ticket, E.renegotiation_info} & hello.extensions.keys()


@pytest.mark.proves("9846:4.2.2:9")
def test_middlebox_compatibility_can_be_off(world: World) -> None:
    peer = server13_for(world, middlebox_compatibility=False)
    assert peer.hello.legacy_session_id == b""
    peer.connect().accepted()
    assert peer.changes == 0


def test_middlebox_compatibility_sends_one_change_cipher_spec_before_the_flight(world: World) -> None:
    peer = server13_for(world).connect().accepted()
    assert peer.changes == 1


@pytest.mark.proves("9846:4.2.2:8", "9846:4.3.8:5")
def test_two_hellos_share_no_random_no_session_id_and_no_key(world: World) -> None:
    first, second = server13_for(world).hello, server13_for(world).hello
    assert first.random != second.random
    assert first.legacy_session_id != second.legacy_session_id
    assert first.extensions[E.key_share] != second.extensions[E.key_share]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_an_address_is_verified_but_never_sent(world: World, address: str) -> None:
    context = world.client_context()
    peer = Server13(context.connection(address), certified(world.leaf))
    assert E.server_name not in peer.hello.extensions
    peer.say_hello().say_extensions({0: b""}).refused(UnsupportedExtension)
    peer = Server13(context.connection(address), certified(world.leaf)).connect().accepted()
    assert peer.subject.facts is not None
    assert peer.subject.facts.verified_name == address
    assert peer.subject.facts.hostname is None


@pytest.mark.proves("6066:3:1", "9846:9.2:13")
@pytest.mark.parametrize(
    ("written", "sent"),
    [("LocalHost", "localhost"), ("localhost.", "localhost"), ("BÜCHER.example", "xn--bcher-kva.example")],
)
def test_f10_names_are_sent_in_their_canonical_form(world: World, written: str, sent: str) -> None:
    peer = Server13(world.client_context().connection(written), certified(world.leaf))
    assert ext.parse_server_name(peer.hello.extensions[E.server_name]) == sent
