"""Every error of `resumption.errors` that blames the peer: provoked on the wire, and the alert that the peer hears."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from resumption import errors
from resumption.connection import Connection
from resumption.constants import AlertDescription, AlertLevel
from resumption.constants import HandshakeType as H
from resumption.errors import AlertReceived, ConnectionFailed, Error, InternalError, PeerError
from resumption.wire.messages import Certificate
from tests.handshake.pairs import TLS12, VERSIONS, World, certified
from tests.handshake.samples import DATA, HANDSHAKE, message, record
from tests.handshake.scripted import Peer
from tests.handshake.scripted12 import ECDSA_SUITE, Client12, Server12
from tests.handshake.scripted13 import Client13, Server13
from tests.handshake.stops import client12_for, client13_for, mutual, server13_for
from tests.pki import CLIENT_AUTH, issue


def all_errors(base: type[PeerError] = PeerError) -> set[type[PeerError]]:
    return {base} | {kind for child in base.__subclasses__() for kind in all_errors(child)}


def with_leaf(world: World, leaf: str, name: str = "localhost") -> Peer:
    peer = Server13(world.client_context().connection(name), certified(getattr(world.pki, leaf)))
    return peer.say_hello().say_extensions().say_certificate().say_verify()


def client_with(world: World, leaf: Any) -> Peer:
    peer = Client13(Connection(world.server_config(**mutual(world))), certified(leaf)).say_hello().read_flight()
    return peer.say_certificate()


def flood(peer: Peer) -> Peer:
    for _ in range(33):
        peer.say_data(b"")
    return peer


def overflow(world: World) -> Peer:
    peer = client13_for(world).connect()
    peer.read_tickets()
    return peer.give(b"\x17\x03\x03\x41\x01")


def long_inside(world: World) -> Peer:
    peer = client13_for(world).connect()
    peer.read_tickets()
    encrypt, iv, sequence = peer.sealer._encrypt, peer.sealer._iv, peer.sealer._sequence  # type: ignore[attr-defined]
    inner = bytes(2**14 + 1) + b"\x17"
    header = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2)
    return peer.give(header + encrypt((iv ^ sequence).to_bytes(12), inner, header))


def failing_callback(world: World) -> Peer:
    context = world.server_context()
    context.generate_session_id = lambda connection, most: b""
    return Client12(context.connection()).say_hello()


PROVOKED: list[tuple[type[PeerError], AlertDescription, Callable[[World], Peer]]] = [
    (errors.DecodeError, AlertDescription.decode_error, lambda w: client13_for(w).say(message(H.client_hello, b"x"))),
    (
        errors.BadCertificateStatus,
        AlertDescription.bad_certificate_status_response,
        lambda w: server13_for(w, ocsp="require").say_hello().say_extensions().say_certificate().say_verify(),
    ),
    (errors.UnexpectedMessage, AlertDescription.unexpected_message, lambda w: client13_for(w).say(message(H.finished))),
    (errors.TooManyMessages, AlertDescription.unexpected_message, lambda w: flood(server13_for(w).connect())),
    (
        errors.BadRecordMac,
        AlertDescription.bad_record_mac,
        lambda w: server13_for(w).connect().give(record(DATA, bytes(40))),
    ),
    (errors.RecordOverflow, AlertDescription.record_overflow, overflow),
    (errors.RecordOverflow, AlertDescription.record_overflow, long_inside),
    (
        errors.RecordOverflow,
        AlertDescription.record_overflow,
        lambda w: client13_for(w).give(bytes((HANDSHAKE, 3, 1)) + (2**14 + 1).to_bytes(2)),
    ),
    (
        errors.HandshakeFailure,
        AlertDescription.handshake_failure,
        lambda w: client12_for(w).say_hello(cipher_suites=(0x002F,)),
    ),
    (
        errors.IllegalParameter,
        AlertDescription.illegal_parameter,
        lambda w: server13_for(w).say_hello(legacy_session_id_echo=b"x"),
    ),
    (
        errors.DecryptError,
        AlertDescription.decrypt_error,
        lambda w: client13_for(w).say_hello().read_flight().say_finished(verify_data=bytes(32)),
    ),
    (
        errors.ProtocolVersionUnsupported,
        AlertDescription.protocol_version,
        lambda w: client12_for(w).say_hello(legacy_version=0x0302),
    ),
    (
        errors.ProtocolVersionUnsupported,
        AlertDescription.protocol_version,
        lambda w: client12_for(w).give(b"GET / HTTP/1.1\r\n\r\n"),
    ),
    (
        errors.InappropriateFallback,
        AlertDescription.inappropriate_fallback,
        lambda w: client12_for(w).say_hello(cipher_suites=(ECDSA_SUITE, 0x5600)),
    ),
    (errors.MissingExtension, AlertDescription.missing_extension, lambda w: client13_for(w).say_hello(drop=(13,))),
    (
        errors.UnsupportedExtension,
        AlertDescription.unsupported_extension,
        lambda w: server13_for(w).say_hello(add={0x2A2A: b""}),
    ),
    (
        errors.NoApplicationProtocol,
        AlertDescription.no_application_protocol,
        lambda w: client13_for(w, alpn=(b"h2",)).say_hello(alpn=(b"x",)),
    ),
    (errors.InternalError, AlertDescription.internal_error, failing_callback),
    (
        errors.BadCertificate,
        AlertDescription.bad_certificate,
        lambda w: server13_for(w).say_hello().say_extensions().say_certificate(b"x").say_verify(),
    ),
    (
        errors.UnsupportedCertificate,
        AlertDescription.unsupported_certificate,
        lambda w: with_leaf(w, "wrong_purpose"),
    ),
    (errors.CertificateExpired, AlertDescription.certificate_expired, lambda w: with_leaf(w, "expired")),
    (
        errors.CertificateExpired,
        AlertDescription.certificate_expired,
        lambda w: client_with(w, issue("x", issuer=w.pki.root, purposes=[CLIENT_AUTH], not_before=1e9, not_after=1e9)),
    ),
    (errors.UnknownCA, AlertDescription.unknown_ca, lambda w: with_leaf(w, "untrusted")),
    (errors.UnknownCA, AlertDescription.unknown_ca, lambda w: client_with(w, w.pki.untrusted)),
    (errors.HostnameMismatch, AlertDescription.bad_certificate, lambda w: with_leaf(w, "example")),
    (
        errors.CertificateRequired,
        AlertDescription.certificate_required,
        lambda w: (
            Client13(Connection(w.server_config(**mutual(w)))).say_hello().read_flight().say(Certificate(b"", ()))
        ),
    ),
]

# What nothing in this package finds out by itself: applications raise these from their callbacks.
ONLY_CALLBACKS = {
    PeerError,
    errors.InsufficientSecurity,
    errors.UnrecognizedName,
    errors.CertificateError,
    errors.CertificateRevoked,
}


def test_every_error_has_a_scenario() -> None:
    assert {row[0] for row in PROVOKED} | ONLY_CALLBACKS == all_errors()


@pytest.mark.proves(
    "9846:6.2:2", "9846:6.2:3", "9846:5.1:13", "9846:5.2:2", "9846:5.2:5", "9846:5.4:5", "5246:7.2.2:3", "5246:7.2.2:4"
)
@pytest.mark.parametrize(("kind", "alert", "provoke"), PROVOKED, ids=[row[0].__name__ for row in PROVOKED])
def test_the_peer_is_told_by_the_alert(
    world: World, kind: type[PeerError], alert: AlertDescription, provoke: Callable[[World], Peer]
) -> None:
    peer = provoke(world)
    assert type(peer.error) is kind
    peer.ended(kind, alert)


def raising(error: Exception) -> Callable[..., bool]:
    def callback(*arguments: object) -> bool:
        raise error

    return callback


@pytest.mark.parametrize("kind", sorted(all_errors(), key=lambda kind: kind.__name__))
def test_f12_a_callback_may_raise_any_of_them(world: World, kind: type[PeerError]) -> None:
    context = world.server_context()
    context.not_resumable_callback = raising(kind("refused by the application"))
    peer = Client12(context.connection()).say_hello()
    peer.ended(kind, kind.alert)
    assert type(peer.error) is kind


@pytest.mark.parametrize("version", VERSIONS)
def test_f12_a_callback_that_breaks_is_an_internal_error_and_nothing_of_it_is_told(world: World, version: int) -> None:
    context = world.server_context(stateful=True)
    context.generate_session_id = raising(ZeroDivisionError("a secret"))
    connection = context.connection()
    pair_error: list[Error] = []
    peer: Peer
    if version == TLS12:
        peer = Client12(connection)
        data = peer.seal(peer.hello().pack())
    else:
        peer = Client13(connection).say_hello().read_flight()
        finished = peer.secrets.client_verify_data(peer.digest())
        data = peer.seal(message(H.finished, finished))
    try:
        for _ in connection.receive_data(data):
            pass
    except InternalError as error:
        pair_error.append(error)
    assert isinstance(pair_error[0].__cause__, ZeroDivisionError)
    assert "a secret" not in str(pair_error[0])
    peer.error = pair_error[0]
    peer.listen().ended(InternalError, AlertDescription.internal_error)


def test_a_callback_that_breaks_while_a_failure_is_told_does_not_hide_it(world: World) -> None:
    context = world.server_context()
    peer = Client12(context.connection()).connect()
    context.connection_failed = raising(ZeroDivisionError("x"))  # type: ignore[method-assign]
    peer.say(message(99))
    peer.ended(errors.UnexpectedMessage, AlertDescription.unexpected_message)
    assert peer.error is not None
    assert peer.error.__notes__ == ["telling the context of it failed: ZeroDivisionError"]


def test_a_hello_that_cannot_be_made_fails_the_connection(world: World) -> None:
    def short(length: int) -> bytes:
        return b"x" * (length - 1)

    for random, kind in ((short, Error), (raising(OSError("no entropy")), InternalError)):
        client = Connection(world.client_config(random=random), server_name="localhost")
        with pytest.raises(kind) as caught:
            client.data_to_send()
        assert client.error is caught.value
        assert client.data_to_send() == b""
        with pytest.raises(ConnectionFailed):
            client.receive_data(b"")


def test_alert_received_names_what_is_known_and_numbers_what_is_not(world: World) -> None:
    for number, name in ((40, "handshake_failure"), (47, "illegal_parameter"), (254, "0x00fe"), (1, "0x0001")):
        peer = server13_for(world).say_alert(number)
        assert isinstance(peer.error, AlertReceived)
        assert str(peer.error).endswith(name)
        assert (peer.error.description, peer.error.level) == (number, AlertLevel.fatal)


def test_an_alert_is_sent_under_the_keys_of_the_moment(world: World) -> None:
    peer = server13_for(world)
    peer.say(message(99))
    assert bytes(peer._reader._buffer[peer._reader._at :]) == b"\x15\x03\x03\x00\x02\x02\x0a"
    peer = server13_for(world).say_hello().say(message(99))
    raw = bytes(peer._reader._buffer[peer._reader._at :])
    assert raw.startswith(b"\x14\x03\x03\x00\x01\x01\x17\x03\x03\x00\x13")


@pytest.mark.proves("9846:6.1:2", "9846:6.1:4")
@pytest.mark.parametrize("early", [False, True])
def test_close_before_anything_and_in_the_handshake(world: World, early: bool) -> None:
    client = Connection(world.client_config(), server_name="localhost")
    if not early:
        client.data_to_send()
    client.close()
    client.close()
    sent = client.data_to_send()
    assert sent.endswith(b"\x15\x03\x03\x00\x02\x01\x00") != early
    assert sent.count(b"\x15\x03\x03\x00\x02\x01\x00") == (0 if early else 1)


def test_no_error_text_holds_what_the_peer_sent(world: World) -> None:
    marker = b"MARKER-of-the-peer"
    peers: list[Peer] = [
        client13_for(world).say_hello(add={0: b"\0\x15\0\0\x12" + marker[:17] + b"\n"}),
        client13_for(world, alpn=(b"h2",)).say_hello(alpn=(marker,)),
        server13_for(world).say_hello(legacy_session_id_echo=marker),
        Server12(world.client_context().connection("localhost"), certified(world.leaf)).say_hello(add={0xFF01: marker}),
    ]
    for peer in peers:
        assert peer.error is not None
        assert "MARKER" not in str(peer.error)
