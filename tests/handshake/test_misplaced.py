"""Every state of both roles and versions against everything that does not belong there, under the right keys."""

from __future__ import annotations

import inspect

import pytest

import resumption.handshake
from resumption.constants import AlertDescription as A
from resumption.constants import AlertLevel, HandshakeType
from resumption.crypto.protection import PlainSealer
from resumption.errors import (
    AlertReceived,
    BadRecordMac,
    DecodeError,
    PeerError,
    TooManyMessages,
    UnexpectedEOF,
    UnexpectedMessage,
)
from resumption.handshake import client, server
from resumption.handshake.established12 import ClientHandshaking12
from resumption.handshake.events import DataReceived, PeerClosed
from resumption.handshake.finish13 import ExpectEndOfEarlyData
from resumption.handshake.state import AwaitingAnswer, State
from tests.handshake.pairs import TLS12, TLS13, World
from tests.handshake.samples import ALERT, CCS, CHANGE_CIPHER_SPEC, DATA, HANDSHAKE, SAMPLES, message, record
from tests.handshake.scripted import Peer
from tests.handshake.stops import ACCEPTS, AWAITING, IGNORES_CHANGE, LATER, OBEYS_CHANGE, STOPS, Stop, server12_for
from tests.pki import Pki

EMPTY = {HandshakeType.hello_request, HandshakeType.server_hello_done, HandshakeType.end_of_early_data}

every_stop = pytest.mark.parametrize("stop", STOPS, ids=str)
handshaking_stop = pytest.mark.parametrize("stop", [stop for stop in STOPS if not stop.is_connected], ids=str)
connected_stop = pytest.mark.parametrize("stop", [stop for stop in STOPS if stop.is_connected], ids=str)


@pytest.fixture(scope="module")
def world(pki: Pki) -> World:
    return World(pki)


def is_protected(peer: Peer) -> bool:
    return not isinstance(peer.sealer, PlainSealer)


def all_states(base: type[State] = State) -> set[type[State]]:
    found = set()
    for kind in base.__subclasses__():
        found |= all_states(kind)
        if not kind.__name__.startswith("_") and not inspect.isabstract(kind):
            found.add(kind)
    return found


def test_every_state_is_visited() -> None:
    package = resumption.handshake.__name__
    states = {kind for kind in all_states() if kind.__module__.startswith(package) and "__slots__" in vars(kind)}
    states = {kind for kind in states if kind.handlers or issubclass(kind, AwaitingAnswer) or kind in ACCEPTS}
    assert states - {AwaitingAnswer, ClientHandshaking12} == ACCEPTS.keys() | AWAITING | LATER.keys()
    assert {stop.state for stop in STOPS} == ACCEPTS.keys()


def test_there_is_a_sample_of_every_message_type() -> None:
    assert set(HandshakeType) <= SAMPLES.keys()


@pytest.mark.proves("9846:4:2", "9846:4.2.2:3", "9846:4.6:3", "9846:4.7.3:1", "5246:7.4:1")
@every_stop
def test_a_message_that_a_state_does_not_await_is_unexpected(world: World, stop: Stop) -> None:
    for kind, raw in SAMPLES.items():
        if kind not in ACCEPTS[stop.state]:
            stop.arrive(world).say(raw).refused(UnexpectedMessage)


@pytest.mark.proves("9846:6:5")
@every_stop
def test_a_body_that_does_not_parse_is_a_decode_error_where_its_message_is_awaited(world: World, stop: Stop) -> None:
    for kind in ACCEPTS[stop.state]:
        if kind == HandshakeType.finished:
            continue  # any body is one
        for body in (b"", b"\xff" * 5 + bytes(60)):
            if body == b"" and kind in EMPTY:
                continue
            stop.arrive(world).say(message(kind, body)).refused(DecodeError)


@every_stop
def test_a_message_of_absurd_length_is_refused_by_its_header(world: World, stop: Stop) -> None:
    for kind in (HandshakeType.certificate, HandshakeType.finished):
        peer = stop.arrive(world)
        peer.say_record(HANDSHAKE, bytes((kind,)) + (131_396 + 1).to_bytes(3))
        peer.refused(DecodeError)


# --- change_cipher_spec ----------------------------------------------------------------------------------------------


@pytest.mark.proves("9846:5:1", "9846:5:3")
@every_stop
def test_change_cipher_spec_is_obeyed_ignored_or_unexpected(world: World, stop: Stop) -> None:
    peer = stop.arrive(world)
    if stop.state in OBEYS_CHANGE:
        peer.say_ccs().accepted()  # type: ignore[attr-defined]
        assert type(peer.subject._state).__name__ == "ExpectFinished"
    elif stop.state in IGNORES_CHANGE:
        before = peer.subject._state
        for _ in range(3):
            peer.give(CHANGE_CIPHER_SPEC).accepted()
        assert type(peer.subject._state) is type(before)
    else:
        peer.give(CHANGE_CIPHER_SPEC).refused(UnexpectedMessage)


@pytest.mark.proves("9846:5:2")
@every_stop
@pytest.mark.parametrize("body", [b"", b"\x00", b"\x02", b"\x01\x01", bytes(40)], ids=len)
def test_change_cipher_spec_with_another_body_is_unexpected(world: World, stop: Stop, body: bytes) -> None:
    stop.arrive(world).give(record(CCS, body)).refused(UnexpectedMessage)


@pytest.mark.proves("9846:5:2")
@every_stop
def test_a_protected_change_cipher_spec_is_unexpected(world: World, stop: Stop) -> None:
    peer = stop.arrive(world)
    if is_protected(peer):
        peer.say_record(CCS, b"\x01").refused(UnexpectedMessage)


@pytest.mark.parametrize("stop", [stop for stop in STOPS if stop.state in IGNORES_CHANGE], ids=str)
def test_change_cipher_spec_is_not_ignored_without_end(world: World, stop: Stop) -> None:
    peer = stop.arrive(world)
    peer.give(CHANGE_CIPHER_SPEC * 29).accepted()
    peer.give(CHANGE_CIPHER_SPEC * 8).refused(TooManyMessages)


def test_f41_change_cipher_spec_before_the_server_hello_of_tls12_aborts(world: World) -> None:
    for resumed in (False, True):
        peer = server12_for(world, resumed=resumed)
        peer.give(CHANGE_CIPHER_SPEC).accepted()  # TLS 1.3 could still be chosen
        peer.say_hello(master=peer.secret or None).refused(UnexpectedMessage)


def test_f41_a_client_without_tls13_refuses_an_early_change_cipher_spec(world: World) -> None:
    peer = server12_for(world, maximum_version=TLS12)
    assert type(peer.subject._state) is client.ExpectServerHello
    peer.give(CHANGE_CIPHER_SPEC).refused(UnexpectedMessage)


# --- other records ---------------------------------------------------------------------------------------------------


@pytest.mark.proves("9846:2:2", "5246:7.3:3")
@pytest.mark.parametrize(
    "stop",
    [stop for stop in STOPS if not stop.is_connected and stop.state is not ExpectEndOfEarlyData],
    ids=str,
)
@pytest.mark.parametrize("content", [b"too early", b""], ids=["some", "empty"])
def test_application_data_before_the_end_of_the_handshake_is_unexpected(
    world: World, stop: Stop, content: bytes
) -> None:
    stop.arrive(world).say_data(content).refused(UnexpectedMessage)


@connected_stop
def test_application_data_arrives_once_connected_and_empty_records_are_counted(world: World, stop: Stop) -> None:
    peer = stop.arrive(world)
    peer.events.clear()
    for _ in range(3):
        for _ in range(32):
            peer.say_data(b"").accepted()
        peer.say_data(b"data").accepted()
    assert peer.events == [DataReceived(b"data")] * 3
    for _ in range(32):
        peer.say_data(b"").accepted()
    peer.say_data(b"").refused(TooManyMessages)


@pytest.mark.proves("9846:5.1:7", "9846:5.4:2", "5246:6.2.1:2")
@every_stop
@pytest.mark.parametrize("kind", [HANDSHAKE, ALERT])
def test_an_empty_handshake_or_alert_record_is_unexpected(world: World, stop: Stop, kind: int) -> None:
    stop.arrive(world).say_record(kind, b"").refused(UnexpectedMessage)


@every_stop
def test_an_unprotected_record_is_refused_once_there_are_keys(world: World, stop: Stop) -> None:
    for kind in (HANDSHAKE, DATA):
        peer = stop.arrive(world)
        if is_protected(peer):
            raw = SAMPLES[HandshakeType.finished] if kind == HANDSHAKE else b"data" * 10
            peer.give(record(kind, raw))
            outer_tells = stop.route.version == TLS13 and kind == HANDSHAKE
            peer.refused(UnexpectedMessage if outer_tells else BadRecordMac)


@pytest.mark.proves("9846:5.2:3", "5246:6.2.3.3:3")
@every_stop
def test_a_record_that_was_touched_does_not_open(world: World, stop: Stop) -> None:
    peer = stop.arrive(world)
    if is_protected(peer):
        sealed = bytearray(peer.sealer.seal(HANDSHAKE, SAMPLES[HandshakeType.finished]))
        sealed[-1] ^= 1
        peer.give(bytes(sealed)).refused(BadRecordMac)


@pytest.mark.proves("9846:5.1:2", "9846:5.1:3")
@every_stop
@pytest.mark.parametrize("kind", [CCS, ALERT, DATA])
def test_nothing_may_come_between_the_fragments_of_a_message(world: World, stop: Stop, kind: int) -> None:
    peer = stop.arrive(world)
    peer.say_record(HANDSHAKE, b"\x14\x00").accepted()
    if kind == CCS:
        peer.give(CHANGE_CIPHER_SPEC)
    else:
        peer.say_record(kind, b"\x02\x28")
    peer.refused(UnexpectedMessage)


# --- alerts and ends -------------------------------------------------------------------------------------------------


@pytest.mark.proves("9846:6:1", "9846:6:4", "9846:6.2:1")
@every_stop
@pytest.mark.parametrize("description", [A.handshake_failure, A.internal_error, A.general_error, 7, 254])
def test_a_fatal_alert_ends_the_connection_without_an_answer(world: World, stop: Stop, description: int) -> None:
    peer = stop.arrive(world).say_alert(description)
    peer.ended(AlertReceived, None)
    assert isinstance(peer.error, AlertReceived)
    assert (peer.error.description, peer.error.level) == (description, AlertLevel.fatal)


@pytest.mark.proves("9846:6:3", "9846:6:4")
@every_stop
@pytest.mark.parametrize("description", [A.unrecognized_name, A.no_renegotiation, 7])
def test_a_warning_ends_tls13_and_is_passed_over_elsewhere(world: World, stop: Stop, description: int) -> None:
    peer = stop.arrive(world)
    if stop.route.version == TLS13 and stop.state not in (client.ExpectServerHello, server.ExpectClientHello):
        peer.say_alert(description, AlertLevel.warning).ended(AlertReceived, None)
        assert isinstance(peer.error, AlertReceived)
        assert peer.error.level == AlertLevel.warning
    else:
        for _ in range(30):
            peer.say_alert(description, AlertLevel.warning).accepted()
        for _ in range(3):
            peer.say_alert(description, AlertLevel.warning)
        peer.refused(TooManyMessages)


@every_stop
def test_an_alert_of_an_unknown_level_is_fatal(world: World, stop: Stop) -> None:
    stop.arrive(world).say_alert(A.unrecognized_name, 3).ended(AlertReceived, None)


@pytest.mark.proves("9846:5.1:8", "9846:5.1:9")
@every_stop
@pytest.mark.parametrize("content", [b"\x02", b"\x02\x28\x02\x28"], ids=["half", "two"])
def test_an_alert_record_holds_exactly_one_alert(world: World, stop: Stop, content: bytes) -> None:
    stop.arrive(world).say_record(ALERT, content).refused(DecodeError)


@every_stop
def test_user_canceled_is_passed_over_but_not_without_end(world: World, stop: Stop) -> None:
    peer = stop.arrive(world)
    for _ in range(30):
        peer.say_alert(A.user_canceled, AlertLevel.warning).accepted()
    for _ in range(3):
        peer.say_alert(A.user_canceled, AlertLevel.warning)
    peer.refused(TooManyMessages)


@handshaking_stop
@pytest.mark.parametrize("canceled", [False, True])
def test_close_notify_within_the_handshake_is_an_end_that_came_too_early(
    world: World, stop: Stop, canceled: bool
) -> None:
    peer = stop.arrive(world)
    if canceled:
        peer.say_alert(A.user_canceled, AlertLevel.warning)
    peer.say_alert(A.close_notify, AlertLevel.warning)
    assert peer.events[-1:] == [PeerClosed()]
    peer.ended(UnexpectedEOF, A.close_notify)


@pytest.mark.proves("9846:6.1:1", "9846:6.1:2")
@connected_stop
def test_close_notify_ends_reading_and_what_follows_is_not_read(world: World, stop: Stop) -> None:
    peer = stop.arrive(world)
    peer.events.clear()
    peer.say_data(b"last")
    peer.say_alert(A.close_notify, AlertLevel.warning).accepted()
    assert peer.events == [DataReceived(b"last"), PeerClosed()]
    assert peer.subject.peer_closed
    assert peer.subject.bytes_needed == 0
    assert list(peer.subject.receive_data(b"GET / HTTP/1.1")) == []
    assert peer.subject.trailing_data == b"GET / HTTP/1.1"
    assert list(peer.subject.receive_eof()) == []
    peer.subject.send_data(b"still writing")
    peer.listen().drain()
    assert peer.data == b"still writing"
    peer.subject.close()
    peer.listen().drain()
    assert peer.alerts == [b"\x01\x00"]


@pytest.mark.proves("9846:6.1:5")
@every_stop
def test_the_end_of_the_stream_without_close_notify_is_an_error(world: World, stop: Stop) -> None:
    peer = stop.arrive(world)
    with pytest.raises(UnexpectedEOF) as caught:
        peer.subject.receive_eof()
    peer.error = caught.value
    peer.listen().ended(UnexpectedEOF, None)


@every_stop
def test_a_refusal_after_earlier_events_yields_them_first(world: World, stop: Stop) -> None:
    peer = stop.arrive(world)
    if stop.is_connected:
        peer.events.clear()
        good = peer.sealer.seal(DATA, b"good")
        peer.give(good + peer.sealer.seal(HANDSHAKE, message(99)))
        assert peer.events == [DataReceived(b"good")]
        peer.refused(UnexpectedMessage)


@pytest.mark.proves("9846:6.2:2")
@pytest.mark.parametrize("error", [UnexpectedMessage])
def test_after_a_failure_bytes_of_the_peer_change_nothing(world: World, error: type[PeerError]) -> None:
    peer = STOPS[0].arrive(world).say(message(99))
    before = peer.error
    peer.give(record(HANDSHAKE, message(99)))
    peer.error = before
    peer.refused(error)
