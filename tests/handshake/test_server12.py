"""What a server makes of a TLS 1.2 client: hellos, sessions, tickets, certificates."""

from __future__ import annotations

from typing import Any

import pytest

from resumption.config import ServerConfig
from resumption.connection import Connection
from resumption.constants import AlertDescription as A
from resumption.constants import ExtensionType as E
from resumption.constants import HandshakeType as H
from resumption.errors import (
    DecodeError,
    DecryptError,
    HandshakeFailure,
    IllegalParameter,
    InappropriateFallback,
    NoApplicationProtocol,
    PeerError,
    ProtocolVersionUnsupported,
    TooManyMessages,
    UnexpectedMessage,
)
from resumption.handshake.events import HandshakeCompleted
from resumption.server_context import ServerContext
from resumption.session.verdicts import Mechanism, Reason, Resumption
from resumption.wire import extensions as ext
from resumption.wire import messages12
from tests.handshake.pairs import TLS12, TLS13, World, certified, issued
from tests.handshake.samples import message
from tests.handshake.scripted12 import ECDSA_SUITE, ECDSA_SUITE_384, RSA_SUITE, X25519, Client12
from tests.handshake.scripted13 import Psk
from tests.handshake.stops import client12_for, mutual, sealed


def completed(peer: Client12) -> Resumption:
    found = [event for event in peer.events if isinstance(event, HandshakeCompleted)]
    assert len(found) == 1
    return found[0].resumption


def with_ticket(world: World, config: ServerConfig, psk: Psk, **settings: Any) -> Client12:
    return Client12(Connection(config), ticket=psk.identity, session_id=b"x" * 32, **settings)


# --- the hello -------------------------------------------------------------------------------------------------------

HELLOS: list[tuple[str, dict[str, Any], type[PeerError]]] = [
    ("TLS 1.1", {"legacy_version": 0x0302}, ProtocolVersionUnsupported),
    ("SSL 2.0 in disguise", {"legacy_version": 0x0002}, ProtocolVersionUnsupported),
    ("TLS 1.1 by extension", {"add": {43: b"\x02\x03\x02"}}, ProtocolVersionUnsupported),
    ("no suite in common", {"cipher_suites": (0x002F, 0xC009)}, HandshakeFailure),
    ("a suite without a certificate for it", {"cipher_suites": (RSA_SUITE,)}, HandshakeFailure),
    ("only TLS 1.3 suites", {"cipher_suites": (0x1301,)}, HandshakeFailure),
    ("a fallback", {"cipher_suites": (ECDSA_SUITE, 0x5600)}, InappropriateFallback),
    ("no null compression", {"legacy_compression_methods": b"\x01"}, IllegalParameter),
    ("no compression method", {"add": {}, "legacy_compression_methods": b"\x01\x02"}, IllegalParameter),
    ("renegotiation of something", {"add": {0xFF01: b"\x01x"}}, HandshakeFailure),
    ("no uncompressed points", {"add": {11: b"\1\1"}}, IllegalParameter),
    ("no group in common", {"add": {10: b"\0\2\1\0"}}, HandshakeFailure),
    ("a hybrid group only", {"add": {10: b"\0\2\x11\xec"}}, HandshakeFailure),
    ("SHA-1 signatures", {"drop": (13,)}, HandshakeFailure),
    ("no scheme in common", {"add": {13: b"\0\2\x02\x03"}}, HandshakeFailure),
    ("malformed ems", {"add": {23: b"x"}}, DecodeError),
    ("malformed groups", {"add": {10: b"\0\1"}}, DecodeError),
]


@pytest.mark.proves(
    "5246:E.1:3",
    "5246:7.4.3:3",
    "5246:7.4.1.2:5",
    "9846:E.2:3",
    "9846:E.5:3",
    "8422:4:1",
    "8422:5.1:2",
    "8422:5.1:4",
    "8422:5.1.2:2",
    "8422:5.3:4",
    "5746:3.6:2",
    "5746:3.6:3",
)
@pytest.mark.parametrize(("changes", "error"), [row[1:] for row in HELLOS], ids=[row[0] for row in HELLOS])
def test_a_hello_that_cannot_be_served_is_refused(
    world: World, changes: dict[str, Any], error: type[PeerError]
) -> None:
    client12_for(world).say_hello(**changes).refused(error)


@pytest.mark.proves("5246:7.4.1.2:6", "9846:4.2.2:15")
def test_a_hello_without_any_extension_parses(world: World) -> None:
    peer = client12_for(world)
    peer.say_hello(peer.hello(drop=tuple(peer.hello().extensions))).refused(HandshakeFailure, "SHA-1")


@pytest.mark.proves("5246:E.1:2", "9846:4.3.1:2", "9846:E.2:2", "5746:3.6:5")
@pytest.mark.parametrize("version", [0x0303, 0x0304, 0x03FF, 0x7F12])
def test_a_client_of_the_future_without_supported_versions_gets_tls12(world: World, version: int) -> None:
    client12_for(world).connect(legacy_version=version).accepted()


@pytest.mark.proves("9846:4.3.1:3", "9846:4.3.1:5", "9846:E.2:1")
def test_supported_versions_decide_and_legacy_version_does_not(world: World) -> None:
    client12_for(world).connect(add={43: b"\x04\x03\x03\x03\x02"}, legacy_version=0x0301).accepted()


def test_a_server_without_tls12_refuses_it(world: World) -> None:
    client12_for(world, minimum_version=TLS13).say_hello().refused(ProtocolVersionUnsupported)


def test_the_fallback_scsv_is_harmless_where_nothing_better_is_spoken(world: World) -> None:
    peer = client12_for(world, maximum_version=TLS12)
    peer.connect(cipher_suites=(ECDSA_SUITE, 0x5600)).accepted()
    assert peer.server_random[24:] != b"DOWNGRD\x01"


@pytest.mark.proves("9846:4.2.3:11", "9846:4.2.3:12")
def test_a_server_that_could_do_tls13_says_so_in_its_random(world: World) -> None:
    assert client12_for(world).connect().server_random[24:] == b"DOWNGRD\x01"
    assert client12_for(world, resumed=True).say_hello().read_hello().random[24:] == b"DOWNGRD\x01"


@pytest.mark.proves("5746:3.6:1", "5746:3.6:4", "5746:3.6:6", "5746:4.3:1")
@pytest.mark.parametrize("scsv", [False, True])
def test_secure_renegotiation_is_confirmed_to_those_who_know_it(world: World, scsv: bool) -> None:
    peer = client12_for(world)
    peer.connect(drop=(0xFF01,), cipher_suites=(ECDSA_SUITE, 0x00FF) if scsv else (ECDSA_SUITE,)).accepted()
    assert (E.renegotiation_info in peer.server_hello.extensions) == scsv


@pytest.mark.proves(
    "5246:7.4.1.4:1",
    "5246:7.4.1.4.1:5",
    "9846:4.3.1:6",
    "9846:4.3:3",
    "5077:3.2:3",
    "5077:3.2:4",
    "7627:5.2:2",
    "7627:5.2:3",
    "7627:5.2:4",
)
def test_only_what_was_offered_is_answered(world: World) -> None:
    peer = client12_for(world, alpn=(b"h2",)).connect(alpn=(b"h2",)).accepted()
    offered = {E.server_name, E.renegotiation_info, E.extended_master_secret, E.ec_point_formats, E.session_ticket, 16}
    assert peer.server_hello.extensions.keys() == offered
    bare = Client12(Connection(world.server_config(alpn=(b"h2",))), extended=False)
    bare.connect(drop=(0, 11, 0xFF01)).accepted()
    assert bare.server_hello.extensions == {}


@pytest.mark.proves("7301:3.2:1")
def test_no_protocol_in_common_is_fatal(world: World) -> None:
    client12_for(world, alpn=(b"h2",)).say_hello(alpn=(b"x",)).refused(NoApplicationProtocol)


@pytest.mark.proves(
    "7627:5.1:1", "5246:6.1:2", "5246:6.1:3", "5246:7.1:1", "5246:7.4.9:2", "8422:2.1:2", "5246:7.4.2:1", "5246:7.1:2"
)
@pytest.mark.parametrize("suite", [ECDSA_SUITE, ECDSA_SUITE_384, 0xCCA9])
def test_every_suite_works(world: World, suite: int) -> None:
    peer = Client12(Connection(world.server_config()), suites=(suite,)).connect().accepted()
    peer.say_data(b"hello").accepted()
    peer.subject.send_data(b"answer")
    peer.listen().drain()
    assert peer.data == b"answer"


@pytest.mark.proves("8422:2.2:1", "5246:7.4.1.4.1:6", "9846:4.3.3:16")
def test_an_rsa_certificate_serves_rsa_suites(world: World, pki: Any) -> None:
    for schemes in ((0x0804,), (0x0401,)):
        peer = Client12(Connection(world.server_config(certified_keys=(certified(pki.rsa2048),))))
        peer.connect(add={13: ext.pack_signature_algorithms(schemes)}).accepted()
        assert peer.server_hello.cipher_suite == RSA_SUITE


# --- the client's flight ---------------------------------------------------------------------------------------------


@pytest.mark.proves("8422:5.11:3")
@pytest.mark.parametrize("public", [b"x", bytes(32), b"x" * 33, b"x" * 255])
def test_a_share_that_is_none_is_illegal(world: World, public: bytes) -> None:
    client12_for(world).say_hello().read_flight().say_key_exchange(public=public).refused(IllegalParameter)


def test_an_empty_share_is_a_decode_error(world: World) -> None:
    client12_for(world).say_hello().read_flight().say(message(H.client_key_exchange, b"\0")).refused(DecodeError)


@pytest.mark.proves("5246:7.4.9:1")
@pytest.mark.parametrize("verify_data", [bytes(12), b"", b"x" * 11, b"x" * 13, bytes(32)], ids=len)
def test_a_wrong_finished_is_a_decrypt_error_and_one_of_another_length_a_decode_error(
    world: World, verify_data: bytes
) -> None:
    error = DecryptError if len(verify_data) == 12 else DecodeError
    peer = client12_for(world).say_hello().read_flight().say_key_exchange().say_ccs()
    peer.say(message(H.finished, verify_data)).refused(error)


def test_f46_change_cipher_spec_in_the_middle_of_a_message_is_unexpected(world: World) -> None:
    peer = client12_for(world).say_hello().read_flight().say_key_exchange()
    peer.say_record(22, b"\x14\0")
    peer.say_ccs().refused(UnexpectedMessage)


@pytest.mark.proves("5246:7.4:1")
def test_finished_without_change_cipher_spec_is_unexpected(world: World) -> None:
    client12_for(world).say_hello().read_flight().say_key_exchange().say_finished().refused(UnexpectedMessage)


# --- sessions --------------------------------------------------------------------------------------------------------


@pytest.mark.proves("5077:3.4:1", "5246:7.3:4", "6066:1.1:2", "6066:3:7")
def test_a_ticket_resumes_in_an_abbreviated_handshake(world: World) -> None:
    peer = client12_for(world, resumed=True)
    world.clock.advance(7)
    peer.resume(peer.secret).accepted()
    assert completed(peer) == Resumption(True, mechanism=Mechanism.TICKET_12, age_s=7.0)
    assert peer.server_hello.legacy_session_id_echo == b"x" * 32
    assert peer.new_ticket is None
    assert E.server_name not in peer.server_hello.extensions  # RFC 6066, section 3


@pytest.mark.proves("7627:5.3:2", "6066:3:6")
@pytest.mark.parametrize(
    ("changes", "settings", "reason"),
    [
        ({"cipher": ECDSA_SUITE_384}, {}, Reason.SUITE_NOT_OFFERED),  # F38
        ({"cipher": 0xC009}, {}, Reason.SUITE_NOT_ENABLED),
        ({"cipher": 0x1301}, {}, Reason.SUITE_NOT_ENABLED),
        ({"hostname": "other.test"}, {}, Reason.OTHER_NAME),
        ({"partition": b"p" * 32}, {}, Reason.OTHER_PARTITION),
        ({"id_context": b"x"}, {}, Reason.OTHER_ID_CONTEXT),
        ({"policy_epoch": 3}, {}, Reason.OTHER_EPOCH),
        ({"role": "client"}, {}, Reason.WRONG_ROLE),
        ({"flags": 0}, {}, Reason.EMS_GAINED),
        ({"flags": 0}, {"extended": False}, Reason.EMS_ABSENT),
        ({"secret": bytes(48)}, {}, Reason.BAD_SECRET),
        ({"secret": b""}, {}, Reason.BAD_SECRET),
    ],
)
def test_a_session_that_does_not_pass_the_gate_costs_a_full_handshake(
    world: World, changes: dict[str, Any], settings: dict[str, Any], reason: Reason
) -> None:
    config = world.server_config()
    peer = with_ticket(world, config, sealed(world, config, TLS12, **changes), **settings).connect().accepted()
    assert completed(peer).reason is reason
    assert peer.server_hello.legacy_session_id_echo == b""


@pytest.mark.proves("7627:5.3:3")
def test_f40_a_hello_that_loses_the_extended_master_secret_aborts(world: World) -> None:
    config = world.server_config()
    peer = with_ticket(world, config, sealed(world, config, TLS12), extended=False)
    peer.say_hello().refused(HandshakeFailure)


def test_f39_a_session_of_tls13_does_not_resume_tls12(world: World) -> None:
    config = world.server_config()
    peer = with_ticket(world, config, sealed(world, config, TLS13)).connect().accepted()
    assert completed(peer).reason is Reason.UNKNOWN


@pytest.mark.parametrize("ticket", [b"x", b"x" * 16, b"x" * 512, b"x" * 4_000])
def test_f58_a_ticket_that_does_not_open_is_a_miss_and_gets_a_new_one(world: World, ticket: bytes) -> None:
    peer = Client12(Connection(world.server_config()), ticket=ticket, session_id=b"i" * 32).connect().accepted()
    assert completed(peer).reason is Reason.UNKNOWN
    assert peer.new_ticket is not None
    assert peer.new_ticket.ticket


def context_and_session(world: World, **settings: Any) -> tuple[ServerContext, bytes, bytes]:
    """A server with one session in its cache: the context, the id, the master secret."""
    context = world.server_context(**settings)
    peer = Client12(context.connection()).connect().accepted()
    session_id = peer.server_hello.legacy_session_id_echo
    assert len(session_id) == 32
    peer.subject.free()
    return context, session_id, peer.master.secret


def test_a_session_id_resumes_again_and_again(world: World) -> None:
    context, session_id, master = context_and_session(world)
    for _ in range(3):
        peer = Client12(context.connection(), session_id=session_id).resume(master).accepted()
        assert completed(peer).mechanism is Mechanism.SESSION_ID
        peer.subject.free()


def test_f09_with_lookups_off_an_id_is_not_looked_up_and_none_is_given(world: World) -> None:
    config = world.server_config(accept_stateful=False, tickets=None)
    peer = Client12(Connection(config), session_id=b"I" * 32).connect().accepted()
    assert completed(peer).reason is Reason.MECHANISM_DISABLED
    assert peer.server_hello.legacy_session_id_echo == b""


def test_a_client_that_names_nothing_offers_nothing(world: World) -> None:
    for ticket in (None, b""):
        peer = Client12(Connection(world.server_config()), ticket=ticket).connect().accepted()
        assert completed(peer).reason is Reason.NOT_OFFERED


@pytest.mark.proves("5077:3.4:3")
def test_a_ticket_that_fails_does_not_fall_back_to_the_id(world: World) -> None:
    context, session_id, _ = context_and_session(world)
    peer = Client12(context.connection(), session_id=session_id, ticket=b"broken" * 90).connect().accepted()
    assert completed(peer).reason is Reason.UNKNOWN
    assert peer.server_hello.legacy_session_id_echo != session_id


@pytest.mark.proves("5077:3.4:2")
def test_a_ticket_with_an_empty_id_resumes_and_the_id_stays_empty(world: World) -> None:
    """RFC 5077, section 3.4: the client sees it by what comes next."""
    config = world.server_config()
    psk = sealed(world, config, TLS12)
    peer = Client12(Connection(config), ticket=psk.identity).resume(psk.secret).accepted()
    assert completed(peer).resumed
    assert peer.server_hello.legacy_session_id_echo == b""


def test_a_ticket_is_ignored_and_the_id_counts_where_tickets_are_off(world: World) -> None:
    context, session_id, master = context_and_session(world, tickets=None)
    peer = Client12(context.connection(), session_id=session_id, ticket=b"foreign").resume(master).accepted()
    assert completed(peer).mechanism is Mechanism.SESSION_ID
    assert E.session_ticket not in peer.server_hello.extensions


def test_f42_a_session_condemned_meanwhile_gets_a_full_handshake_and_a_fresh_id(world: World) -> None:
    context, session_id, _ = context_and_session(world)
    (session,) = context.sessions
    session.mark_not_resumable()
    peer = Client12(context.connection(), session_id=session_id).connect().accepted()
    assert completed(peer).reason is Reason.NOT_RESUMABLE
    assert len(peer.server_hello.legacy_session_id_echo) == 32
    assert peer.server_hello.legacy_session_id_echo != session_id


def test_an_expired_session_leaves_the_cache(world: World) -> None:
    context, session_id, _ = context_and_session(world)
    world.clock.advance(10_000)
    peer = Client12(context.connection(), session_id=session_id).connect().accepted()
    assert completed(peer).reason is Reason.EXPIRED
    assert [session.id for session in context.sessions] == [peer.server_hello.legacy_session_id_echo]


@pytest.mark.proves("5246:7.4.1.2:1")
def test_f79_ids_are_32_random_bytes(world: World) -> None:
    context = world.server_context()
    ids = set()
    for _ in range(20):
        peer = Client12(context.connection()).connect()
        ids.add(peer.server_hello.legacy_session_id_echo)
        peer.subject.free()
    assert len(ids) == 20
    assert {len(one) for one in ids} == {32}


@pytest.mark.parametrize("after_s", [3_000, 4_000])
def test_a_ticket_is_renewed_past_half_of_its_life_and_never_prolonged(world: World, after_s: int) -> None:
    config = world.server_config()
    start = world.clock()
    psk = sealed(world, config, TLS12, time=start, timeout=7_200, auth_time=start - 100)
    world.clock.advance(after_s)
    peer = with_ticket(world, config, psk).resume(psk.secret).accepted()
    if after_s < 3_600:
        assert peer.new_ticket is None
        return
    assert peer.new_ticket is not None
    assert peer.new_ticket.ticket_lifetime_hint == 7_200 - after_s
    again = with_ticket(world, config, Psk(peer.new_ticket.ticket, psk.secret)).resume(psk.secret).accepted()
    assert completed(again).resumed
    assert again.new_ticket is None  # young again
    world.clock.advance(7_200 - after_s + 1)
    late = with_ticket(world, config, Psk(peer.new_ticket.ticket, psk.secret)).connect().accepted()
    assert completed(late).reason in (Reason.EXPIRED, Reason.UNKNOWN)


@pytest.mark.proves("5077:3.3:1")
def test_f60_without_a_usable_key_the_handshake_succeeds_without_a_ticket(world: World) -> None:
    peer = Client12(Connection(world.server_config(session_timeout_s=0)), ticket=b"").connect().accepted()
    assert peer.new_ticket is not None
    assert (peer.new_ticket.ticket, peer.new_ticket.ticket_lifetime_hint) == (b"", 0)


def test_a_session_that_may_not_be_resumed_gets_no_id_and_no_ticket(world: World) -> None:
    context = world.server_context()
    asked = []
    context.not_resumable_callback = lambda connection, forward_secure: asked.append(forward_secure) or True
    peer = Client12(context.connection(), ticket=b"").connect().accepted()
    assert peer.server_hello.legacy_session_id_echo == b""
    assert E.session_ticket not in peer.server_hello.extensions
    assert asked == [True]
    assert len(context.sessions) == 0


# --- client certificates ---------------------------------------------------------------------------------------------


def test_a_client_certificate_is_asked_for_verified_and_kept(world: World) -> None:
    config = world.server_config(**mutual(world))
    peer = Client12(Connection(config), certified(world.pki.client)).connect().accepted()
    request = messages12.CertificateRequest.parse(peer.part(H.certificate_request))
    assert request.certificate_types == b"\x40\x01"
    assert request.supported_signature_algorithms == config.schemes
    assert request.certificate_authorities
    assert peer.subject.peer_chain == world.pki.client.chain_der
    (session,) = issued(peer.events)
    assert (session.peer_chain, session.verify_result) == (world.pki.client.chain_der, 0)


@pytest.mark.proves("5246:7.4.6:1")
def test_no_client_certificate_where_one_is_required_is_a_handshake_failure(world: World) -> None:
    peer = Client12(Connection(world.server_config(**mutual(world)))).say_hello().read_flight()
    peer.say_certificate(empty=True).refused(HandshakeFailure)


def test_an_optional_certificate_may_be_missing(world: World) -> None:
    config = world.server_config(**{**mutual(world), "client_auth": "optional"})
    peer = Client12(Connection(config)).connect().accepted()
    assert peer.subject.peer_chain == ()


@pytest.mark.proves("5246:7.4.8:2")
def test_the_proof_of_the_client_is_checked(world: World) -> None:
    config = world.server_config(**mutual(world))
    for changes, error in (({"wrong": True}, DecryptError), ({"scheme": 0x0201}, IllegalParameter)):
        peer = Client12(Connection(config), certified(world.pki.client)).say_hello().read_flight()
        peer.say_certificate().say_key_exchange().say_verify(**changes).refused(error)


@pytest.mark.proves("5246:7.4.8:1")
def test_f16_a_certificate_without_proof_is_not_enough(world: World) -> None:
    config = world.server_config(**mutual(world))
    peer = Client12(Connection(config), certified(world.pki.client)).say_hello().read_flight()
    peer.say_certificate().say_key_exchange().say_ccs().refused(UnexpectedMessage)


@pytest.mark.proves("8422:3:1")
def test_a_proof_without_certificate_is_unexpected(world: World) -> None:
    config = world.server_config(**{**mutual(world), "client_auth": "optional"})
    peer = Client12(Connection(config), certified(world.pki.client)).say_hello().read_flight()
    peer.say_certificate(empty=True).say_key_exchange().say_verify().refused(UnexpectedMessage)


# --- afterwards ------------------------------------------------------------------------------------------------------


@pytest.mark.proves("9846:4.2.2:4", "9846:4.2.2:5", "7627:5.4:4")
def test_f41_renegotiation_is_refused_with_a_warning_every_time(world: World) -> None:
    peer = client12_for(world).connect().accepted()
    for _ in range(3):
        peer.say(peer.hello()).warned(A.no_renegotiation)
    peer.say_data(b"goes on").accepted()
    for _ in range(29):
        peer.say(peer.hello()).warned(A.no_renegotiation)
    peer.say(peer.hello()).refused(TooManyMessages)


def test_a_bad_hello_in_a_renegotiation_is_still_a_decode_error(world: World) -> None:
    client12_for(world).connect().say(message(H.client_hello, b"\x03\x03")).refused(DecodeError)


def test_the_group_that_comes_first_here_is_used(world: World) -> None:
    peer = client12_for(world, groups=(23, X25519)).say_hello().read_flight()
    assert messages12.ServerKeyExchange.parse(peer.part(H.server_key_exchange)).named_curve == 23
    peer = client12_for(world)
    peer.say_hello(drop=(10,)).read_flight()
    assert messages12.ServerKeyExchange.parse(peer.part(H.server_key_exchange)).named_curve == 23
