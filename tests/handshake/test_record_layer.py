"""The record layer and the alerts, sentence by sentence: RFC 9846, sections 5 and 6, and what follows a handshake, 4.7.

Single records are tested in `tests.crypto.test_protection` and `tests.wire.test_records`; here is what a whole
connection makes of them.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resumption.connection import Connection
from resumption.constants import AlertDescription, AlertLevel
from resumption.constants import HandshakeType as H
from resumption.crypto.protection import PlainOpener, PlainSealer, RecordSealer13
from resumption.errors import (
    AlertReceived,
    BadRecordMac,
    DecodeError,
    IllegalParameter,
    PeerError,
    RecordOverflow,
    TooManyMessages,
    UnexpectedEOF,
    UnexpectedMessage,
    UsageError,
)
from resumption.handshake.events import DataReceived, HandshakeCompleted, PeerClosed
from resumption.wire.messages import KeyUpdate
from tests.handshake.pairs import TLS12, TLS13, VERSIONS, Pair, World, certified, received
from tests.handshake.samples import ALERT, CHANGE_CIPHER_SPEC, DATA, HANDSHAKE, message, record
from tests.handshake.scripted13 import P256, Client13, Server13
from tests.handshake.stops import client12_for, client13_for, mutual, server12_for, server13_for
from tests.pki import Pki

UNEXPECTED = int(AlertDescription.unexpected_message)


def connected(world: World, version: int = TLS13, **changes: Any) -> Any:
    """A scripted server behind its handshake with our client."""
    if version == TLS13:
        return server13_for(world, **changes).connect().accepted()
    return server12_for(world, **changes).connect().accepted()


def pair_of(world: World, version: int = TLS13, **changes: Any) -> Pair:
    client = world.client_config(maximum_version=version, **changes)
    return world.meet(client, world.server_config(num_tickets=0)).check()


# --- change_cipher_spec -----------------------------------------------------------------------------------------------


@pytest.mark.proves("9846:5:1")
def test_the_single_byte_1_is_dropped_between_the_first_hello_and_finished(world: World) -> None:
    peer = server13_for(world).say_ccs().say_hello().say_ccs().say_extensions().say_ccs()
    peer.say_certificate().say_ccs().say_verify().say_ccs().say_finished().accepted()
    other = client13_for(world).say_hello().read_flight().give(CHANGE_CIPHER_SPEC).say_finished().accepted()
    assert other.subject.handshake_complete


@pytest.mark.proves("9846:5:2")
@pytest.mark.parametrize("body", [b"\0", b"\2", b"\1\1", b"\1\0", b"\xff" * 300])
def test_any_other_value_is_unexpected(world: World, body: bytes) -> None:
    server13_for(world).give(record(20, body)).refused(UnexpectedMessage)
    server13_for(world).say_hello().give(record(20, body)).refused(UnexpectedMessage)
    client13_for(world).say_hello().read_flight().give(record(20, body)).refused(UnexpectedMessage)


@pytest.mark.proves("9846:5:2")
def test_a_protected_change_cipher_spec_is_unexpected(world: World) -> None:
    peer = server13_for(world).say_hello()
    peer.give(peer.sealer.seal(20, b"\1")).refused(UnexpectedMessage)
    peer = connected(world)
    peer.give(peer.sealer.seal(20, b"\1")).refused(UnexpectedMessage)


@pytest.mark.proves("9846:5:3", "9846:5:5")
def test_before_the_first_hello_and_after_finished_it_is_unexpected(world: World) -> None:
    client13_for(world).give(CHANGE_CIPHER_SPEC).refused(UnexpectedMessage)
    connected(world).give(CHANGE_CIPHER_SPEC).refused(UnexpectedMessage)
    client13_for(world).connect().give(CHANGE_CIPHER_SPEC).refused(UnexpectedMessage)


@pytest.mark.proves("9846:5:5")
@pytest.mark.parametrize("kind", [0, 19, 24, 25, 64, 255])
def test_a_record_of_another_type_is_unexpected(world: World, kind: int) -> None:
    server13_for(world).give(record(kind, b"x")).refused(UnexpectedMessage)
    connected(world, TLS12).give(record(kind, b"x")).refused(UnexpectedMessage)
    peer = connected(world)
    if kind:
        peer.give(peer.sealer.seal(kind, b"x")).refused(UnexpectedMessage)


# --- fragmentation ----------------------------------------------------------------------------------------------------


@pytest.mark.proves("9846:5.1:2", "9846:5.1:3")
@pytest.mark.parametrize("between", ["alert", "data", "change"])
def test_nothing_may_come_between_the_parts_of_a_message(world: World, between: str) -> None:
    peer = connected(world)
    ticket = peer.ticket().pack()
    peer.give(peer.sealer.seal(HANDSHAKE, ticket[:30]))
    if between == "alert":
        peer.say_alert(AlertDescription.user_canceled, AlertLevel.warning)
    elif between == "data":
        peer.say_data(b"x")
    else:
        peer.give(CHANGE_CIPHER_SPEC)
    peer.refused(UnexpectedMessage)


@pytest.mark.proves("9846:5.1:4", "9846:5.1:5")
def test_f46_no_message_spans_a_key_change(world: World) -> None:
    """At each of them: ServerHello, Finished, KeyUpdate, and for a server the client's Finished."""
    behind = message(H.new_session_ticket, bytes(40))[:7]
    server13_for(world).say_hello(behind=behind).refused(UnexpectedMessage)
    peer = server13_for(world).say_hello().say_extensions().say_certificate().say_verify()
    peer.say_finished(behind=behind).refused(UnexpectedMessage)
    client13_for(world).say_hello().read_flight().say_finished(behind=behind).refused(UnexpectedMessage)
    for peer in (connected(world), client13_for(world).connect()):
        peer.give(peer.sealer.seal(HANDSHAKE, KeyUpdate(0).pack() + behind)).refused(UnexpectedMessage)


@pytest.mark.proves("9846:5.1:6")
@pytest.mark.parametrize("version", VERSIONS)
def test_our_messages_before_a_key_change_end_their_records(pki: Pki, version: int) -> None:
    """A receiver that checks what the sentence demands is our own: the handshakes complete, however much is in one."""
    world = World(pki, leaf=pki.ecdsa_p256)
    sizes: tuple[dict[str, Any], ...] = ({}, {"record_size_limit": 64})
    for size, asking in itertools.product(sizes, ({}, mutual(world))):
        client = world.client_config(maximum_version=version, certified_key=certified(pki.client), **size)
        pair = world.meet(client, world.server_config(**asking)).check()
        if version == TLS13:
            pair.client.update_keys(request_peer=True)
            pair.server.update_keys()
        pair.talk()


@pytest.mark.proves("9846:5.1:7", "9846:5.4:2")
@pytest.mark.parametrize("padding", [0, 1, 100])
def test_an_empty_handshake_or_alert_record_is_unexpected(world: World, padding: int) -> None:
    for kind in (HANDSHAKE, ALERT):
        peer = connected(world)
        peer.give(peer.sealer.seal(kind, b"", padding)).refused(UnexpectedMessage)
    if not padding:
        for start in (server13_for, client13_for):
            for kind in (HANDSHAKE, ALERT):
                start(world).give(record(kind, b"")).refused(UnexpectedMessage)


@pytest.mark.proves("9846:5.1:8", "9846:5.1:9")
@pytest.mark.parametrize("content", [b"\1", b"\2", b"\1\0\1", b"\2\x28\2\x28", b"\1\0" * 20])
@pytest.mark.parametrize("version", VERSIONS)
def test_an_alert_record_holds_one_alert(world: World, version: int, content: bytes) -> None:
    """Also in TLS 1.2, which would let them be cut: no peer does, and an attacker may."""
    connected(world, version).say_record(ALERT, content).refused(DecodeError)


@pytest.mark.proves("9846:5.1:10", "9846:5.1:14")
def test_the_version_that_records_of_ours_tell(world: World) -> None:
    sent: list[bytes] = []

    def tap(data: bytes) -> bytes:
        sent.append(data)
        return data

    client = world.client_config()
    pair = world.meet(client, world.server_config(groups=(P256,)), to_server=tap, to_client=tap).check()
    pair.talk()
    stream = b"".join(sent)
    versions, at = [], 0
    while at < len(stream):
        versions.append(stream[at + 1 : at + 3])
        at += 5 + int.from_bytes(stream[at + 3 : at + 5], "big")
    assert versions[0] == b"\x03\x01"
    assert set(versions[1:]) == {b"\x03\x03"}


@pytest.mark.proves("9846:5.1:11")
@pytest.mark.parametrize("version", [b"\x03\x00", b"\x03\x01", b"\x03\x04", b"\x00\x00", b"\x7f\x1c", b"\xff\xff"])
def test_the_version_of_a_record_is_ignored(world: World, version: bytes) -> None:
    """Of a connection's first record it must be one of TLS's, or it is another protocol that is spoken."""
    peer = server13_for(world).say_ccs()
    raw = peer.sealer.seal(HANDSHAKE, peer.retry().pack())
    peer.give(raw[:1] + version + raw[3:])
    assert peer.error is None


@pytest.mark.proves("9846:5.1:12", "9846:5.1:13")
def test_a_plain_record_above_2_to_the_14_is_record_overflow(world: World) -> None:
    server13_for(world).give(b"\x16\x03\x03\x40\x01").refused(RecordOverflow)
    client13_for(world).give(b"\x16\x03\x01\x40\x01").refused(RecordOverflow)
    peer = client13_for(world).give(b"\x16\x03\x01\x40\x00")
    assert peer.error is None


@pytest.mark.proves("9846:5.1:15")
def test_application_data_is_never_sent_unprotected(world: World) -> None:
    fresh = Connection(world.client_config(), server_name="localhost")
    fresh.data_to_send()
    with pytest.raises(UsageError):
        fresh.send_data(b"x")
    with pytest.raises(UsageError):
        PlainSealer().seal(DATA, b"x")
    with pytest.raises(UnexpectedMessage):
        PlainOpener().open(b"\x17\x03\x03\0\1", b"x")
    server13_for(world).give(record(DATA, b"x")).refused(UnexpectedMessage)


@pytest.mark.proves("9846:5.2:1", "9846:5.2:2", "9846:5.2:5", "5246:6.2.3:1")
def test_a_protected_record_above_its_limit_is_record_overflow(world: World) -> None:
    connected(world).give(b"\x17\x03\x03\x41\x01").refused(RecordOverflow)
    assert connected(world).give(b"\x17\x03\x03\x41\x00").error is None
    connected(world, TLS12).give(b"\x17\x03\x03\x48\x01").refused(RecordOverflow)
    assert connected(world, TLS12).give(b"\x17\x03\x03\x48\x00").error is None


@pytest.mark.proves("9846:5.2:3")
@pytest.mark.parametrize("version", VERSIONS)
def test_a_record_that_does_not_decrypt_is_bad_record_mac(world: World, version: int) -> None:
    for size in (0, 1, 16, 17, 100, 16384):
        connected(world, version).give(record(DATA, b"x" * size)).refused(BadRecordMac)


@pytest.mark.proves("9846:5.3:1")
def test_each_key_begins_with_sequence_number_0(world: World) -> None:
    pair = pair_of(world)
    for _ in range(3):
        pair.talk()
        pair.client.update_keys()
        sealer = pair.client._sealer
        assert isinstance(sealer, RecordSealer13)
        assert sealer.remaining == sealer.suite.key_limit
        pair.talk()


@pytest.mark.proves("9846:5.4:1", "9846:5.4:3", "9846:5.4:4")
def test_padding_is_zeros_and_content_without_a_type_is_unexpected(world: World) -> None:
    pair = pair_of(world, record_padding=100)
    pair.client.send_data(b"x")
    stream = pair.client.data_to_send()
    opener: Any = pair.server._opener
    inner = opener._decrypt(opener._iv.__xor__(opener._sequence).to_bytes(12, "big"), stream[5:], stream[:5])
    assert inner == b"x\x17" + bytes(98)
    peer = connected(world)
    peer.give(peer.sealer.seal(0, b"")).refused(UnexpectedMessage)
    peer = connected(world)
    peer.give(peer.sealer.seal(0, bytes(50))).refused(UnexpectedMessage)


@pytest.mark.proves("9846:5.4:5")
def test_padding_does_not_make_a_record_longer_than_allowed(world: World) -> None:
    peer = connected(world)
    peer.give(peer.sealer.seal(DATA, b"x", 16383))
    assert received(peer.events) == b"x"
    peer.sealer._limit = 10
    inner = b"x\x17" + bytes(16384)
    sealer = peer.sealer
    header = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2, "big")
    sealed = sealer._encrypt((sealer._iv ^ sealer._sequence).to_bytes(12, "big"), inner, header)
    peer.give(header + sealed).refused(RecordOverflow)


@pytest.mark.proves("9846:5.5:1")
def test_a_key_is_changed_before_it_is_used_up(world: World) -> None:
    pair = pair_of(world)
    sealer = pair.client._sealer
    assert isinstance(sealer, RecordSealer13)
    first = sealer.secret
    sealer._sequence = sealer.suite.key_limit - 5
    opener: Any = pair.server._opener
    opener._sequence = sealer._sequence
    pair.talk()
    assert sealer.secret != first


# What one call may bring an established connection, and what becomes of it in each version. The engine has a shortcut
# for exactly one whole record (`Engine.receive_data`): cut in two, it goes the plain way.
SINGLES: dict[str, tuple[int, bytes, type[Exception] | None]] = {
    "one byte": (DATA, b"x", None),
    "large": (DATA, bytes(range(256)) * 64, None),
    "empty": (DATA, b"", None),
    "close_notify": (ALERT, bytes((1, 0)), None),
    "error alert": (ALERT, bytes((2, 40)), AlertReceived),
    "cut alert": (ALERT, b"\1", DecodeError),
    "empty alert": (ALERT, b"", UnexpectedMessage),
    "empty handshake": (HANDSHAKE, b"", UnexpectedMessage),
    "part of a message": (HANDSHAKE, b"\x18\0", None),
    "strange message": (HANDSHAKE, b"\x7f\0\0\0", UnexpectedMessage),
}


@pytest.mark.parametrize("worn", [False, True])
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("what", SINGLES)
def test_a_record_that_comes_by_itself_is_treated_as_one_that_comes_in_parts(
    world: World, what: str, version: int, worn: bool
) -> None:
    content_type, content, error = SINGLES[what]
    outcomes = []
    for cut in (0, 3, 7):
        peer = connected(world, version)
        opener: Any = peer.subject._opener
        if worn and version == TLS13:
            opener._stop = opener._sequence
        stream = peer.sealer.seal(content_type, content)
        if cut:
            peer.give(stream[:cut])
        peer.give(stream[cut:])
        if not worn:  # otherwise what it sends comes under another key
            peer.drain()
        subject = peer.subject
        told = [(type(event), getattr(event, "data", None)) for event in peer.events[-1:]]
        outcomes.append(
            (
                *(told, type(peer.error), str(peer.error), peer.alerts, subject._idle, subject.peer_closed),
                *(subject._handshake.left, subject._reader.left, subject._update_asked, subject.handshake_complete),
            )
        )
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert outcomes[0][1] is (error or type(None))
    assert outcomes[0][8] is (worn and version == TLS13)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_record_by_itself_is_refused_as_one_in_parts_where_its_header_is_wrong(world: World, version: int) -> None:
    for change in (b"\x17\x03\x03\xff\xff", b"\x18\x03\x03", b"\x00\x03\x03", b"\x16\x03\x03", b"\x15\x03\x03"):
        outcomes = []
        for cut in (0, 6):
            peer = connected(world, version)
            stream = peer.sealer.seal(DATA, b"content")
            stream = change + stream[len(change) :]
            if cut:
                peer.give(stream[:cut])
            peer.give(stream[cut:]).drain()
            outcomes.append((type(peer.error), str(peer.error), peer.alerts))
            assert isinstance(peer.error, PeerError)
        assert outcomes[0] == outcomes[1]


def test_what_came_first_counts_before_a_record_that_comes_by_itself(world: World) -> None:
    peer = connected(world)
    peer.give(peer.sealer.seal(HANDSHAKE, b"\x18\0"))
    peer.give(peer.sealer.seal(DATA, b"x")).refused(UnexpectedMessage)
    peer = connected(world)
    peer.give(peer.sealer.seal(ALERT, bytes((1, 0))))
    peer.give(peer.sealer.seal(DATA, b"x"))
    assert peer.error is None
    assert received(peer.events) == b""
    second = connected(world)
    both = [second.sealer.seal(DATA, b"one"), second.sealer.seal(DATA, b"two")]
    second.give(both[0][:9]).give(both[0][9:] + both[1])
    assert received(second.events) == b"onetwo"


# --- alerts -----------------------------------------------------------------------------------------------------------

FATAL = [alert for alert in AlertDescription if alert not in (0, 90)]


@pytest.mark.proves("9846:6:1", "9846:6:3", "9846:6.2:1", "9846:6.2:2")
@pytest.mark.parametrize("level", [0, 1, 2, 255])
def test_an_error_alert_of_any_level_ends_a_tls_1_3_connection(world: World, level: int) -> None:
    for description in FATAL:
        peer = connected(world).say_alert(description, level)
        assert isinstance(peer.error, AlertReceived)
        assert peer.error.description == description
        peer.ended(AlertReceived, None)


@pytest.mark.proves("9846:6:4")
@pytest.mark.parametrize("description", [1, 2, 99, 122, 200, 255])
def test_an_unknown_alert_is_an_error(world: World, description: int) -> None:
    for level in (1, 2):
        connected(world).say_alert(description, level).ended(AlertReceived, None)
    connected(world, TLS12).say_alert(description, 2).ended(AlertReceived, None)


@pytest.mark.proves("9846:6:2")
@pytest.mark.parametrize("version", VERSIONS)
def test_a_failed_connection_forgets_its_keys(world: World, version: int) -> None:
    for end in ("alert received", "alert sent", "end of stream"):
        peer = connected(world, version)
        subject = peer.subject
        if end == "alert received":
            peer.say_alert(AlertDescription.internal_error)
        elif end == "alert sent":
            peer.give(record(DATA, b"x" * 50))
        else:
            with pytest.raises(UnexpectedEOF):
                subject.receive_eof()
        assert isinstance(subject._sealer, PlainSealer)
        assert isinstance(subject._opener, PlainOpener)
        assert subject._state is None
        assert subject.data_to_send() == b""


def test_what_was_queued_is_not_sent_in_the_clear_after_a_failure(world: World) -> None:
    pair = pair_of(world)
    pair.client.send(KeyUpdate(0).pack())
    with pytest.raises(UnexpectedEOF):
        pair.client.receive_eof()
    assert pair.client.data_to_send() == b""


@pytest.mark.proves("9846:6:5", "9846:6:6")
def test_what_does_not_parse_and_what_makes_no_sense_are_told_apart(world: World) -> None:
    peer = connected(world)
    peer.give(peer.sealer.seal(HANDSHAKE, message(H.key_update, b""))).refused(DecodeError)
    peer = connected(world)
    peer.give(peer.sealer.seal(HANDSHAKE, message(H.key_update, b"\2"))).refused(IllegalParameter)


@pytest.mark.proves("9846:6.1:1")
@pytest.mark.parametrize("version", VERSIONS)
def test_what_comes_after_close_notify_is_ignored(world: World, version: int) -> None:
    peer = connected(world, version).say_alert(0, 1)
    assert any(isinstance(event, PeerClosed) for event in peer.events)
    before = len(peer.events)
    peer.say_data(b"late").give(b"not TLS at all").accepted()
    assert len(peer.events) == before
    assert peer.subject.trailing_data.endswith(b"not TLS at all")
    assert peer.subject.bytes_needed == 0
    assert peer.subject.receive_eof() == ()


@pytest.mark.proves("9846:6.1:2", "9846:6.1:4")
def test_close_notify_is_a_warning_and_is_not_sent_after_an_error_alert(world: World) -> None:
    peer = connected(world)
    peer.subject.close()
    peer.listen().drain()
    assert peer.alerts == [b"\1\0"]
    peer = connected(world).give(record(DATA, b"x" * 50))
    peer.refused(BadRecordMac)
    peer.subject.close()
    assert peer.subject.data_to_send() == b""


@pytest.mark.proves("9846:6.1:5")
@pytest.mark.parametrize("version", VERSIONS)
def test_an_end_without_close_notify_is_told_apart(world: World, version: int) -> None:
    peer = connected(world, version).say_data(b"whole")
    with pytest.raises(UnexpectedEOF, match="cut short"):
        peer.subject.receive_eof()


# --- floods -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [0, 3, 16])
def test_warnings_are_counted_over_the_whole_connection(world: World, limit: int) -> None:
    peer = connected(world, TLS12, max_warning_alerts=limit)
    for _ in range(limit):
        peer.say_alert(AlertDescription.no_renegotiation, 1).say_data(b"x").accepted()
    peer.say_alert(AlertDescription.user_canceled, 1).refused(TooManyMessages)
    peer = connected(world, TLS13, max_warning_alerts=limit)
    for _ in range(limit):
        peer.say_alert(AlertDescription.user_canceled, 1).accepted()
    peer.say_alert(AlertDescription.user_canceled, 1).refused(TooManyMessages)


@pytest.mark.parametrize("limit", [0, 2])
def test_renegotiation_is_refused_and_attempts_are_counted(world: World, limit: int) -> None:
    peer = connected(world, TLS12, max_renegotiation_attempts=limit)
    for _ in range(limit):
        peer.give(peer.sealer.seal(HANDSHAKE, message(H.hello_request, b""))).warned(100)
        peer.say_data(b"x")
    peer.give(peer.sealer.seal(HANDSHAKE, message(H.hello_request, b""))).refused(TooManyMessages)
    other = client12_for(world, max_renegotiation_attempts=limit).connect()
    for _ in range(limit):
        other.give(other.sealer.seal(HANDSHAKE, other.hello().pack())).warned(100)
    other.give(other.sealer.seal(HANDSHAKE, other.hello().pack())).refused(TooManyMessages)


def test_empty_records_are_counted_in_a_row(world: World) -> None:
    for version in VERSIONS:
        peer = connected(world, version, max_empty_records=4)
        for _ in range(3):
            for _ in range(4):
                peer.say_data(b"").accepted()
            peer.say_data(b"x").accepted()
        for _ in range(4):
            peer.say_data(b"")
        peer.say_data(b"").refused(TooManyMessages)


@pytest.mark.parametrize("limit", [0, 5])
def test_key_updates_have_a_limit_of_their_own(world: World, limit: int) -> None:
    for peer in (connected(world, max_key_updates=limit), client13_for(world, max_key_updates=limit).connect()):
        for _ in range(limit):
            peer.update_keys().accepted()
        peer.update_keys().refused(TooManyMessages)
    peer = connected(world, max_key_updates=5)
    for _ in range(5):
        peer.update_keys()
    world.clock.advance(3_601)
    for _ in range(4):
        peer.update_keys().accepted()


# --- after the handshake ----------------------------------------------------------------------------------------------


@pytest.mark.proves("9846:4.7.3:1")
def test_a_key_update_before_finished_is_unexpected(world: World) -> None:
    peer = server13_for(world).say_hello()
    peer.give(peer.sealer.seal(HANDSHAKE, KeyUpdate(0).pack())).refused(UnexpectedMessage)
    other = client13_for(world).say_hello().read_flight()
    other.give(other.sealer.seal(HANDSHAKE, KeyUpdate(0).pack())).refused(UnexpectedMessage)


@pytest.mark.proves("9846:4.7.3:2", "9846:4.7.3:3", "9846:4.7.3:5", "9846:4.7.3:7")
def test_keys_change_with_the_update_and_a_request_is_answered_first(world: World) -> None:
    for peer in (connected(world), client13_for(world, num_tickets=0).connect()):
        peer.update_keys(1).say_data(b"under the next key").accepted()
        peer.expect_update(0)
        assert received(peer.events).endswith(b"under the next key")
        peer.subject.send_data(b"after the answer")
        peer.listen().drain()
        assert peer.data == b"after the answer"


@pytest.mark.proves("9846:4.7.3:4")
@pytest.mark.parametrize("value", [2, 3, 127, 255])
def test_another_request_update_is_illegal_parameter(world: World, value: int) -> None:
    connected(world).update_keys(value).refused(IllegalParameter)
    client13_for(world).connect().update_keys(value).refused(IllegalParameter)


@pytest.mark.proves("9846:4.7.3:6")
def test_the_peer_is_asked_once_until_it_answers(world: World) -> None:
    peer: Server13 | Client13
    for peer in (connected(world), client13_for(world, num_tickets=0).connect()):
        peer.subject.update_keys(request_peer=True)
        peer.subject.update_keys(request_peer=True)
        peer.listen()
        peer.expect_update(1)
        peer.expect_update(0)
        peer.update_keys()
        peer.subject.update_keys(request_peer=True)
        peer.listen().expect_update(1)


@pytest.mark.proves("9846:4.7.3:8")
def test_a_record_under_the_next_key_before_the_update_does_not_open(world: World) -> None:
    peer = connected(world)
    peer.sealer.key_update()
    peer.say_data(b"x").refused(BadRecordMac)


# --- what no call may do ----------------------------------------------------------------------------------------------


@given(data=st.data())
@settings(max_examples=40)
def test_any_bytes_at_any_time_raise_our_errors_only_and_failure_is_for_good(pki: Pki, data: st.DataObject) -> None:
    world = World(pki, seed=data.draw(st.integers(0, 9)))
    version = data.draw(st.sampled_from(VERSIONS))
    pair = pair_of(world, version) if data.draw(st.booleans()) else None
    subject = pair.client if pair is not None else Connection(world.server_config())
    kind = data.draw(st.integers(18, 26))
    body = data.draw(st.binary(max_size=60))
    try:
        for event in subject.receive_data(record(kind, body)):
            assert isinstance(event, DataReceived | HandshakeCompleted | PeerClosed)
    except (PeerError, AlertReceived, UnexpectedEOF):
        assert subject.error is not None
        assert subject.bytes_needed == 0
        with pytest.raises(UsageError):
            subject.receive_data(b"more")
        subject.data_to_send()
        assert subject.data_to_send() == b""
    else:
        assert subject.error is None
        assert subject.bytes_needed > 0 or subject.peer_closed
