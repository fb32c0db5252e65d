"""What a client makes of a TLS 1.2 server: hellos, key exchange, resumption, tickets."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from resumption.connection import Connection
from resumption.constants import MAX_TICKET_LIFETIME_S
from resumption.constants import AlertDescription as A
from resumption.constants import ExtensionType as E
from resumption.constants import HandshakeType as H
from resumption.crypto.suites import SUITES
from resumption.errors import (
    DecodeError,
    DecryptError,
    HandshakeFailure,
    IllegalParameter,
    PeerError,
    ProtocolVersionUnsupported,
    TooManyMessages,
    UnexpectedMessage,
    UnsupportedExtension,
    UsageError,
)
from resumption.handshake.events import HandshakeCompleted, SessionIssued
from resumption.session.verdicts import Mechanism, Reason, Resumption
from resumption.wire import extensions as ext
from resumption.wire import messages12
from resumption.wire.messages import HELLO_RETRY_REQUEST_RANDOM
from tests.handshake.pairs import TLS12, TLS13, World, certified, issued
from tests.handshake.samples import message
from tests.handshake.scripted12 import ECDSA_SUITE, ECDSA_SUITE_384, RSA_SUITE, Server12
from tests.handshake.scripted13 import Server13
from tests.handshake.stops import server12_for


def completed(peer: Server12) -> Resumption:
    found = [event for event in peer.events if isinstance(event, HandshakeCompleted)]
    assert len(found) == 1
    return found[0].resumption


# --- ServerHello -----------------------------------------------------------------------------------------------------

REFUSED: list[tuple[str, dict[str, Any], type[PeerError]]] = [
    ("TLS 1.1", {"legacy_version": 0x0302}, ProtocolVersionUnsupported),
    ("SSL 3.0", {"legacy_version": 0x0300}, ProtocolVersionUnsupported),
    ("0x0304 without the extension", {"legacy_version": 0x0304}, ProtocolVersionUnsupported),
    ("a suite that was not offered", {"cipher_suite": 0xC009}, IllegalParameter),
    ("a TLS 1.3 suite", {"cipher_suite": 0x1301}, IllegalParameter),
    ("an SCSV", {"cipher_suite": 0x00FF}, IllegalParameter),
    ("compression", {"legacy_compression_method": 1}, IllegalParameter),
    ("a downgrade from TLS 1.3", {"random": b"R" * 24 + b"DOWNGRD\x01"}, IllegalParameter),
    ("a downgrade to TLS 1.1", {"random": b"R" * 24 + b"DOWNGRD\x00"}, IllegalParameter),
    ("a retry request", {"random": HELLO_RETRY_REQUEST_RANDOM}, PeerError),
    ("no secure renegotiation", {"drop": (0xFF01,)}, HandshakeFailure),
    ("renegotiation of something", {"add": {0xFF01: b"\x01x"}}, HandshakeFailure),
    ("malformed renegotiation_info", {"add": {0xFF01: b""}}, DecodeError),
    ("an answer to nothing", {"add": {0x2A2A: b""}}, UnsupportedExtension),
    ("encrypt_then_mac", {"add": {22: b""}}, UnsupportedExtension),
    ("alpn that was not offered", {"add": {16: ext.pack_alpn((b"h2",))}}, UnsupportedExtension),
    ("key_share", {"add": {51: b"\0\x1d\0\1x"}}, IllegalParameter),
    ("signature_algorithms", {"add": {13: b"\0\2\4\3"}}, IllegalParameter),
    ("an ems with a body", {"add": {23: b"x"}}, DecodeError),
    ("a ticket in the hello", {"add": {35: b"ticket"}}, DecodeError),
    ("a name with a body", {"add": {0: b"\0"}}, DecodeError),
    ("no uncompressed points", {"add": {11: b"\1\1"}}, IllegalParameter),
    ("no point formats", {"add": {11: b"\0"}}, DecodeError),
]


@pytest.mark.proves(
    "9846:4.2.3:14",
    "9846:4.2.3:15",
    "9846:E.1:1",
    "9846:E.5:3",
    "5246:E.1:1",
    "5246:7.4.1.4:2",
    "5746:3.4:2",
    "5746:3.4:3",
    "5746:4.1:1",
    "8422:5.2:1",
)
@pytest.mark.parametrize(("changes", "error"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_server_hello_that_picks_what_was_not_offered_is_refused(
    world: World, changes: dict[str, Any], error: type[PeerError]
) -> None:
    peer = server12_for(world).say_hello(**changes)
    assert isinstance(peer.error, error)
    peer.refused(type(peer.error))


@pytest.mark.proves("6066:1.1:1")
def test_what_may_be_answered_is_accepted(world: World) -> None:
    peer = server12_for(world, alpn=(b"h2",))
    peer.connect(add={0: b"", 11: b"\2\1\0", 16: ext.pack_alpn((b"h2",)), 10: ext.pack_supported_groups((23,))})
    peer.accepted()
    assert peer.subject.alpn == b"h2"
    assert peer.subject.facts is not None
    assert peer.subject.facts.hostname == "localhost"


@pytest.mark.proves("7301:3.1:3")
@pytest.mark.parametrize("body", [ext.pack_alpn((b"x",)), ext.pack_alpn((b"h2", b"x")), b"\0\0"])
def test_one_protocol_of_those_offered(world: World, body: bytes) -> None:
    peer = server12_for(world, alpn=(b"h2",)).say_hello(add={16: body})
    assert isinstance(peer.error, IllegalParameter | DecodeError)


def test_a_client_without_tls13_is_not_moved_by_the_sentinel_and_offers_no_tls13(world: World) -> None:
    peer = server12_for(world, maximum_version=TLS12)
    assert not {E.supported_versions, E.key_share, E.psk_key_exchange_modes} & peer.hello.extensions.keys()
    assert peer.hello.legacy_session_id == b""
    peer.connect(random=b"R" * 24 + b"DOWNGRD\x01").accepted()


def test_a_client_without_tls13_refuses_supported_versions(world: World) -> None:
    peer = server12_for(world, maximum_version=TLS12)
    peer.say_hello(add={43: b"\3\4"}).refused(UnsupportedExtension)


@pytest.mark.proves("9846:E.1:1", "5246:E.1:1")
def test_a_client_without_tls12_refuses_it(world: World) -> None:
    server12_for(world, minimum_version=TLS13).say_hello().refused(ProtocolVersionUnsupported)


@pytest.mark.proves("7627:5.1:1", "5246:6.1:2", "5246:6.1:3", "5246:7.1:1", "5246:7.4.9:2", "8422:2.1:2", "5246:7.1:2")
@pytest.mark.parametrize("suite", [ECDSA_SUITE, ECDSA_SUITE_384, 0xCCA9])
def test_every_suite_works(world: World, suite: int) -> None:
    peer = Server12(Connection(world.client_config(), server_name="localhost"), certified(world.leaf), suite=suite)
    peer.connect().accepted()
    assert peer.subject.cipher == SUITES[suite].name
    peer.say_data(b"hello").accepted()
    peer.subject.send_data(b"answer")
    peer.listen().drain()
    assert peer.data == b"answer"


# --- certificates and key exchange -----------------------------------------------------------------------------------


@pytest.mark.proves("5246:7.4.3:2", "5246:7.4.3:4")
@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"wrong": True}, DecryptError),
        ({"signature": b""}, DecryptError),
        ({"signature": bytes(64)}, DecryptError),
        ({"named_curve": 23}, DecryptError),
        ({"named_curve": 26}, IllegalParameter),
        ({"named_curve": 0x11EC}, IllegalParameter),
        ({"algorithm": 0x0201}, IllegalParameter),
        ({"algorithm": 0x0403}, IllegalParameter),
        ({"algorithm": 0x0804}, IllegalParameter),
        ({"public": b"x" * 32}, DecryptError),
    ],
)
def test_a_key_exchange_that_does_not_fit_is_refused(
    world: World, changes: dict[str, Any], error: type[PeerError]
) -> None:
    server12_for(world).say_hello().say_certificate().say_key_exchange(**changes).refused(error)


@pytest.mark.proves("8422:5.10:2", "8422:5.11:3")
def test_a_share_that_is_none_is_refused_although_it_is_signed(world: World) -> None:
    peer = server12_for(world).say_hello().say_certificate()
    for public in (bytes(32), b"x"):
        peer = server12_for(world).say_hello().say_certificate()
        peer.share.public = public
        peer.say_key_exchange().accepted()
        peer.say_done().refused(IllegalParameter)


def test_only_named_curves_are_defined(world: World) -> None:
    peer = server12_for(world).say_hello().say_certificate()
    raw = peer.key_exchange().pack()
    peer.say(raw[:4] + b"\x01" + raw[5:]).refused(DecodeError)


@pytest.mark.proves(
    "5246:7.4.2:2", "5246:7.4.2:6", "5246:7.4.2:8", "5246:7.4.2:12", "8422:2.1:1", "8422:2.2:1", "8422:5.3:2"
)
def test_the_suite_and_the_certificate_must_be_of_one_kind(world: World, pki: Any) -> None:
    for leaf, suite in ((pki.rsa2048, ECDSA_SUITE), (pki.ed25519, RSA_SUITE), (pki.ecdsa_p256, RSA_SUITE)):
        subject = Connection(world.client_config(), server_name="localhost")
        peer = Server12(subject, certified(leaf), suite=suite)
        peer.say_hello().say_certificate().say_key_exchange().refused(IllegalParameter)


def test_an_empty_certificate_message_is_a_decode_error(world: World) -> None:
    server12_for(world).say_hello().say_certificate(empty=True).refused(DecodeError)


@pytest.mark.proves("5246:7.4.9:1")
@pytest.mark.parametrize("verify_data", [bytes(12), b"", b"x" * 11, b"x" * 13, bytes(32)], ids=len)
def test_a_wrong_finished_is_a_decrypt_error_and_one_of_another_length_a_decode_error(
    world: World, verify_data: bytes
) -> None:
    error = DecryptError if len(verify_data) == 12 else DecodeError
    peer = server12_for(world).say_hello().say_certificate().say_key_exchange().say_done().say_ccs()
    peer.say(message(H.finished, verify_data)).refused(error)
    peer = server12_for(world, resumed=True)
    peer.say_hello(master=peer.secret).say_ccs()
    peer.say(message(H.finished, verify_data)).refused(error)


def test_f46_change_cipher_spec_in_the_middle_of_a_message_is_unexpected(world: World) -> None:
    peer = server12_for(world).say_hello().say_certificate().say_key_exchange().say_done()
    peer.say_record(22, b"\x14")
    peer.say_ccs().refused(UnexpectedMessage)


@pytest.mark.proves("5246:7.4:1")
def test_finished_before_change_cipher_spec_is_unexpected(world: World) -> None:
    peer = server12_for(world).say_hello().say_certificate().say_key_exchange().say_done()
    peer.say_finished().refused(UnexpectedMessage)
    peer = server12_for(world, resumed=True)
    peer.say_hello(master=peer.secret).say_finished().refused(UnexpectedMessage)


# --- resumption ------------------------------------------------------------------------------------------------------


@pytest.mark.proves("5246:7.3:4")
def test_a_session_is_resumed_by_its_id(world: World) -> None:
    peer = server12_for(world, resumed=True)
    assert peer.hello.legacy_session_id == b"I" * 32
    assert peer.hello.extensions[E.session_ticket] == b""
    world.clock.advance(5)
    peer.resume(peer.secret).accepted()
    assert completed(peer) == Resumption(True, mechanism=Mechanism.SESSION_ID, age_s=5.0)
    assert peer.subject.peer_chain == world.leaf.chain_der
    assert peer.subject.session is not None
    assert peer.subject.session.id == b"I" * 32


def test_a_session_is_resumed_by_its_ticket(world: World) -> None:
    subject = Connection(world.client_config(), server_name="localhost")
    with world.client_session(TLS12, ticket=b"T" * 99) as session:
        subject.set_session(session)
        peer = Server12(subject, certified(world.leaf))
        assert peer.hello.extensions[E.session_ticket] == b"T" * 99
        peer.resume(session.secret).accepted()
    assert completed(peer).mechanism is Mechanism.TICKET_12


def test_an_echo_of_an_id_that_names_no_session_is_refused(world: World) -> None:
    peer = server12_for(world)
    assert len(peer.hello.legacy_session_id) == 32  # compatibility mode: it means nothing
    peer.say_hello(session_id=peer.hello.legacy_session_id).refused(IllegalParameter)


def test_f39_a_session_of_tls13_cannot_be_resumed_in_tls12(world: World) -> None:
    subject = Connection(world.client_config(), server_name="localhost")
    with world.client_session(TLS13) as session:
        subject.set_session(session)
    peer = Server12(subject, certified(world.leaf))
    peer.say_hello(session_id=peer.hello.legacy_session_id).refused(IllegalParameter)


def test_f39_a_session_of_tls12_cannot_be_resumed_in_tls13(world: World) -> None:
    subject = Connection(world.client_config(), server_name="localhost")
    with world.client_session(TLS12) as session:
        subject.set_session(session)
        peer = Server13(subject, certified(world.leaf))
        assert E.pre_shared_key not in peer.hello.extensions
        peer.connect().accepted()
    assert subject.resumption is not None
    assert subject.resumption.reason is Reason.SERVER_DECLINED


def test_f38_the_server_must_keep_the_suite_of_the_session(world: World) -> None:
    peer = server12_for(world, resumed=True)
    peer.say_hello(master=peer.secret, cipher_suite=0xCCA9).refused(IllegalParameter)


@pytest.mark.proves("7627:5.3:6")
def test_f40_a_server_that_loses_the_extended_master_secret_is_refused(world: World) -> None:
    peer = server12_for(world, resumed=True)
    peer.say_hello(master=peer.secret, drop=(23,)).refused(HandshakeFailure)


@pytest.mark.proves("7627:5.3:5", "7627:5.4:5", "7627:5.2:4")
def test_f40_a_session_without_extended_master_secret_is_not_offered(world: World) -> None:
    peer = server12_for(world).connect(drop=(23,), session_id=b"s" * 32).accepted()
    (session,) = issued(peer.events)
    assert not session.data.extended_master_secret
    subject = Connection(world.client_config(maximum_version=TLS12), server_name="localhost")
    subject.set_session(session)
    again = Server12(subject, certified(world.leaf))
    assert again.hello.legacy_session_id == b""
    again.connect().accepted()
    assert completed(again).reason is Reason.EMS_ABSENT


@pytest.mark.proves("7627:5.4:1", "7627:5.4:2")
def test_f50_without_extended_master_secret_nothing_is_exported(world: World) -> None:
    peer = server12_for(world).connect(drop=(23,)).accepted()
    with pytest.raises(UsageError):
        peer.subject.export_keying_material(b"label", None, 32)
    assert peer.subject.error is None


@pytest.mark.proves("5246:7.4.1.3:2")
@pytest.mark.parametrize("session_id", [b"", b"another id", b"x" * 32])
def test_a_declined_session_leads_to_a_full_handshake(world: World, session_id: bytes) -> None:
    peer = server12_for(world, resumed=True).connect(session_id=session_id).accepted()
    assert completed(peer).reason is Reason.SERVER_DECLINED
    assert peer.subject.session is not None
    assert peer.subject.session.id == session_id


def test_a_session_id_is_at_most_32_bytes(world: World) -> None:
    peer = server12_for(world)
    raw = peer.server_hello().pack()
    body = raw[4:38] + b"\x21" + bytes(33) + raw[39:]
    peer.say(message(H.server_hello, body)).refused(DecodeError)


# --- tickets ---------------------------------------------------------------------------------------------------------


def test_a_ticket_makes_a_session_named_by_its_digest(world: World) -> None:
    peer = server12_for(world).connect(ticket=True).accepted()
    (session,) = issued(peer.events)
    assert session.ticket == b"a ticket" * 20
    assert session.id == hashlib.sha256(session.ticket).digest()
    assert session.data.ticket_lifetime_hint == 7_200
    assert session.is_resumable


def test_an_empty_ticket_changes_nothing(world: World) -> None:
    peer = server12_for(world).say_hello(ticket=True, session_id=b"s").say_certificate().say_key_exchange().say_done()
    peer.say_ticket(b"", 0).say_ccs().say_finished().accepted()
    (session,) = issued(peer.events)
    assert (session.ticket, session.id) == (b"", b"s")


@pytest.mark.proves("5077:3.3:1", "5077:3.3:2")
def test_a_promised_ticket_must_come_and_no_other(world: World) -> None:
    peer = server12_for(world).say_hello(ticket=True).say_certificate().say_key_exchange().say_done()
    peer.say_ccs().refused(UnexpectedMessage)
    peer = server12_for(world).say_hello().say_certificate().say_key_exchange().say_done()
    peer.say_ticket().refused(UnexpectedMessage)


def test_f14_a_renewed_ticket_never_prolongs_the_lineage(world: World) -> None:
    subject = Connection(world.client_config(), server_name="localhost")
    deadline = world.clock() + 5_000
    with world.client_session(TLS12, ticket=b"T" * 99, deadline=deadline, auth_time=world.clock() - 50) as session:
        subject.set_session(session)
        peer = Server12(subject, certified(world.leaf))
        world.clock.advance(1_000)
        peer.resume(session.secret, ticket=True).accepted()
        (renewed,) = issued(peer.events)
        assert renewed is not session
        assert renewed.ticket == b"a ticket" * 20
        assert renewed.secret == session.secret
        assert renewed.time == world.clock()
        assert (renewed.data.deadline, renewed.data.auth_time) == (deadline, session.data.auth_time)
        assert session.ticket == b"T" * 99  # the one before is not touched


@pytest.mark.parametrize("length", [2**15 + 1, 2**16 - 1])
def test_a_ticket_that_would_not_fit_a_hello_is_not_kept(world: World, length: int) -> None:
    peer = server12_for(world).say_hello(ticket=True).say_certificate().say_key_exchange().say_done()
    peer.say_ticket(b"T" * length).say_ccs().say_finished().accepted()
    (session,) = issued(peer.events)
    assert session.ticket == b""
    assert not session.is_resumable


def test_a_ticket_lifetime_hint_is_taken_as_it_comes(world: World) -> None:
    peer = server12_for(world).say_hello(ticket=True).say_certificate().say_key_exchange().say_done()
    peer.say_ticket(hint=2**32 - 1).say_ccs().say_finished().accepted()
    (session,) = issued(peer.events)
    assert session.expires_at <= world.clock() + MAX_TICKET_LIFETIME_S


# --- client certificates ---------------------------------------------------------------------------------------------


@pytest.mark.proves("5246:7.3:2", "5246:7.4.6:1", "5246:7.4.7:1", "8422:3:1")
def test_a_client_without_certificate_says_so(world: World) -> None:
    peer = server12_for(world).say_hello().say_certificate().say_key_exchange().say_request().say_done()
    assert [raw[0] for raw in peer.flight] == [H.certificate, H.client_key_exchange, H.finished]
    assert messages12.Certificate.parse(peer.flight[0][4:]).certificate_list == ()


@pytest.mark.proves("5246:7.4.4:3", "5246:7.4.8:1", "5246:7.4.8:2")
@pytest.mark.parametrize("schemes", [(0x0403,), (0x0503, 0x0403), (0x0401,)])
def test_a_client_signs_with_a_scheme_that_was_asked_for_or_shows_nothing(
    world: World, pki: Any, schemes: tuple[int, ...]
) -> None:
    peer = server12_for(world, certified_key=certified(pki.client))
    peer.say_hello().say_certificate().say_key_exchange().say_request(schemes).say_done()
    kinds = [raw[0] for raw in peer.flight]
    if 0x0403 in schemes:
        assert kinds == [H.certificate, H.client_key_exchange, H.certificate_verify, H.finished]
    else:
        assert kinds == [H.certificate, H.client_key_exchange, H.finished]
    peer.say_ccs().say_finished().accepted()


# --- afterwards ------------------------------------------------------------------------------------------------------


@pytest.mark.proves("5746:4.2:1")
def test_f41_a_hello_request_is_refused_with_a_warning_every_time(world: World) -> None:
    peer = server12_for(world).connect().accepted()
    for _ in range(3):
        peer.say(messages12.HelloRequest()).warned(A.no_renegotiation)
    peer.say_data(b"goes on").accepted()
    for _ in range(29):
        peer.say(messages12.HelloRequest()).warned(A.no_renegotiation)
    peer.say(messages12.HelloRequest()).refused(TooManyMessages)


def test_f78_a_failed_handshake_publishes_nothing(world: World) -> None:
    peer = server12_for(world).say_hello(session_id=b"s").say_certificate().say_key_exchange().say_done().say_ccs()
    peer.say_finished(verify_data=bytes(12)).refused(DecryptError)
    assert not any(isinstance(event, SessionIssued | HandshakeCompleted) for event in peer.events)
    assert peer.subject.session is None
