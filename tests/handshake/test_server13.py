"""What a TLS 1.3 server makes of ClientHellos, of the PSKs in them, and of second hellos."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from resumption.config import ServerConfig
from resumption.connection import Connection
from resumption.constants import ExtensionType as E
from resumption.constants import HandshakeType as H
from resumption.crypto.cookies import CookieKeys
from resumption.crypto.suites import SUITES
from resumption.errors import (
    BadRecordMac,
    DecodeError,
    DecryptError,
    HandshakeFailure,
    IllegalParameter,
    MissingExtension,
    NoApplicationProtocol,
    PeerError,
    ProtocolVersionUnsupported,
    UnexpectedMessage,
)
from resumption.handshake.events import HandshakeCompleted
from resumption.session.verdicts import Mechanism, Reason, Resumption
from resumption.wire import extensions as ext
from resumption.wire.messages import EncryptedExtensions
from tests.handshake.pairs import TLS12, TLS13, World, certified
from tests.handshake.samples import CHANGE_CIPHER_SPEC, DATA, message, record
from tests.handshake.scripted13 import P256, P384, X25519, Client13, Psk
from tests.handshake.stops import client13_for, mutual, sealed

UNKNOWN = 0x2A2A  # GREASE


def completed(peer: Client13) -> Resumption:
    found = [event for event in peer.events if isinstance(event, HandshakeCompleted)]
    assert len(found) == 1
    return found[0].resumption


def offering(world: World, *psks: Psk, config: ServerConfig | None = None, **settings: Any) -> Client13:
    return Client13(Connection(config or world.server_config()), psks=psks, **settings)


# --- the first hello -------------------------------------------------------------------------------------------------

HELLOS: list[tuple[str, dict[str, Any], type[PeerError]]] = [
    ("legacy_version 3.2", {"legacy_version": 0x0302}, ProtocolVersionUnsupported),
    ("legacy_version 3.4", {"legacy_version": 0x0304}, ProtocolVersionUnsupported),
    ("SSL 3.0", {"legacy_version": 0x0300, "drop": (43,)}, ProtocolVersionUnsupported),
    ("TLS 1.1", {"legacy_version": 0x0302, "drop": (43,)}, ProtocolVersionUnsupported),
    ("versions of the future only", {"add": {43: b"\x02\x03\x05"}}, ProtocolVersionUnsupported),
    ("no version", {"add": {43: b"\0"}}, DecodeError),
    ("compression", {"legacy_compression_methods": b"\x01\x00"}, IllegalParameter),
    ("no null compression", {"legacy_compression_methods": b"\x01"}, IllegalParameter),
    ("no suite in common", {"cipher_suites": (0x1304, 0xC02B)}, HandshakeFailure),
    ("no extension at all", {"drop": (0, 10, 13, 45, 51)}, MissingExtension),
    ("no supported_groups", {"drop": (10,)}, MissingExtension),
    ("no key_share", {"drop": (51,)}, MissingExtension),
    ("neither of them", {"drop": (10, 51)}, MissingExtension),
    ("no signature_algorithms", {"drop": (13,)}, MissingExtension),
    ("no group in common", {"add": {10: b"\0\4\1\0\1\1", 51: b"\0\0"}}, HandshakeFailure),
    ("no scheme in common", {"add": {13: b"\0\2\4\3"}}, HandshakeFailure),
    ("two shares of one group", {"add": {51: b"\0\x0a" + b"\0\x1d\0\1x" * 2}}, IllegalParameter),
    ("a share of a group not listed", {"add": {51: b"\0\5\0\x18\0\1x"}}, IllegalParameter),
    ("a short share", {"add": {51: b"\0\5\0\x1d\0\1x"}}, IllegalParameter),
    ("a share of zero", {"add": {51: b"\0\x24\0\x1d\0\x20" + bytes(32)}}, IllegalParameter),
    ("an empty share", {"add": {51: b"\0\4\0\x1d\0\0"}}, DecodeError),
    ("oid_filters", {"add": {48: b"\0\0"}}, IllegalParameter),
    ("two names", {"add": {0: b"\0\x08\0\0\1a\0\0\1b"}}, IllegalParameter),
    ("a name with NUL", {"add": {0: b"\0\x06\0\0\3a\0b"}}, IllegalParameter),
    ("an empty alpn", {"add": {16: b"\0\0"}}, DecodeError),
    ("modes without any", {"add": {45: b"\0"}}, DecodeError),
    ("early_data with a body", {"add": {42: b"x"}}, DecodeError),
    ("an ems with a body", {"add": {23: b"x", 43: b"\x04\x03\x04\x03\x03"}}, DecodeError),
    ("PSKs that do not parse", {"add": {41: b"\0"}}, DecodeError),
    ("supported_groups of odd length", {"add": {10: b"\0\3\0\x1d\0"}}, DecodeError),
]


@pytest.mark.proves(
    "9846:2.1:1",
    "9846:4.2.1:1",
    "9846:4.2.1:4",
    "9846:4.2.2:7",
    "9846:4.2.2:12",
    "9846:4.3.3:3",
    "9846:4.3:2",
    "9846:4.3:5",
    "9846:6:5",
    "9846:6:6",
    "9846:7.4.2:2",
    "9846:9.2:10",
    "9846:9.2:11",
    "9846:9.2:12",
    "9846:E.2:1",
    "9846:E.2:3",
    "9846:E.5:3",
    "9846:E.5:7",
    "6066:3:2",
)
@pytest.mark.parametrize(("changes", "error"), [row[1:] for row in HELLOS], ids=[row[0] for row in HELLOS])
def test_a_hello_that_cannot_be_served_is_refused(
    world: World, changes: dict[str, Any], error: type[PeerError]
) -> None:
    client13_for(world).say_hello(**changes).refused(error)


@pytest.mark.proves("9846:4.3.8:3", "9846:4.3.8:4")
def test_shares_that_would_do_are_refused_where_they_do_not_belong(world: World) -> None:
    for groups, shares, text in (
        ((X25519, P256), (X25519, X25519), "two key shares"),
        ((X25519, P256), (P384,), "does not list"),
    ):
        peer = Client13(Connection(world.server_config()), groups=groups, shares=shares)
        peer.say_hello().refused(IllegalParameter, text)


@pytest.mark.proves("9846:4.2.2:10", "9846:4.2.2:14", "9846:4.3.1:4", "9846:9.3:4")
def test_what_nobody_knows_is_ignored(world: World) -> None:
    peer = client13_for(world, alpn=(b"h2",))
    peer.suites = (0x2A2A, 0x1304, 0x1301)
    peer.groups = (0x2A2A, *peer.groups)
    peer.say_hello(
        alpn=(b"\x2a\x2a", b"h2"),
        add={
            UNKNOWN: b"x" * 100,
            43: b"\x06\x2a\x2a\x7f\x1c\x03\x04",
            45: b"\x02\x2a\x01",
            13: b"\0\4\x2a\x2a\x08\x07",
            65037: b"encrypted hello",
        },
    )
    peer.read_flight().say_finished().accepted()
    assert peer.subject.alpn == b"h2"


@pytest.mark.proves("9846:5:1", "9846:E.4:1")
@pytest.mark.parametrize("length", [0, 1, 32])
def test_the_session_id_is_echoed_and_decides_over_change_cipher_spec(world: World, length: int) -> None:
    peer = client13_for(world)
    peer.say_hello(legacy_session_id=b"i" * length).read_flight()
    assert peer.server_hello.legacy_session_id_echo == b"i" * length
    assert peer.changes == (1 if length else 0)
    peer.give(CHANGE_CIPHER_SPEC).say_finished().accepted()


@pytest.mark.proves("9846:2:1", "9846:4.3.8:10", "9846:4.3.8:11")
def test_the_server_follows_its_own_order_of_suites_and_saves_the_round_trip(world: World) -> None:
    config = world.server_config(suites=(0x1303, 0x1301, 0xC02B), groups=(P384, P256, X25519))
    peer = offering(world, config=config, suites=(0x1301, 0x1303), groups=(X25519, P256, P384))
    peer.connect().accepted()
    assert peer.server_hello.cipher_suite == 0x1303
    assert peer.subject.facts is not None
    assert peer.subject.facts.group == X25519  # has a share, although two others come first


@pytest.mark.proves("9846:4.5.1.2:2", "9846:4.5.2:4")
def test_certificates_are_chosen_by_scheme_and_by_name(world: World, pki: Any) -> None:
    keys = tuple(certified(leaf) for leaf in (pki.ed25519, pki.rsa2048, pki.example))
    config = world.server_config(certified_keys=keys)
    for name, schemes, leaf in (
        ("localhost", (0x0807, 0x0804), pki.ed25519),
        ("localhost", (0x0804,), pki.rsa2048),
        ("www.example.test", (0x0403, 0x0807), pki.example),
        ("www.example.test", (0x0804,), pki.rsa2048),
        ("unknown.test", (0x0807,), pki.ed25519),
        ("", (0x0403,), pki.example),
    ):
        peer = offering(world, config=config)
        bodies = {13: ext.pack_signature_algorithms(schemes)}
        if name:
            bodies[0] = ext.pack_server_name(name)
        peer.say_hello(add=bodies, drop=() if name else (0,)).read_flight()
        assert leaf.chain_der[0] in peer.part(H.certificate), (name, schemes)


@pytest.mark.parametrize(
    "name", ["a..b", ".", "-", "x" * 64 + ".test", "x" * 2_000, "a b", "127.0.0.1", "::1", "*.x", "%"]
)
def test_f10_a_name_that_is_none_is_answered_with_the_default_certificate(world: World, pki: Any, name: str) -> None:
    config = world.server_config(certified_keys=(certified(pki.ed25519), certified(pki.example)))
    peer = offering(world, config=config, name=name).connect().accepted()
    assert world.leaf.chain_der[0] in peer.part(H.certificate)
    assert len(peer.read_tickets()) == 2


@pytest.mark.proves("6066:3:4", "6066:3:5", "9846:9.2:13")
def test_the_name_is_acknowledged_if_there_was_one(world: World) -> None:
    peer = client13_for(world)
    peer.say_hello().read_flight()
    assert EncryptedExtensions.parse(peer.part(H.encrypted_extensions)).extensions == {0: b""}
    peer = client13_for(world)
    peer.say_hello(drop=(0,)).read_flight()
    assert EncryptedExtensions.parse(peer.part(H.encrypted_extensions)).extensions == {}


@pytest.mark.proves("7301:3.2:1")
def test_no_protocol_in_common_is_fatal_and_no_list_is_not(world: World) -> None:
    peer = client13_for(world, alpn=(b"h2",))
    peer.say_hello(alpn=(b"spdy/3", b"H2")).refused(NoApplicationProtocol)
    peer = client13_for(world, alpn=(b"h2",)).connect().accepted()
    assert peer.subject.alpn is None
    peer = client13_for(world).connect(alpn=(b"h2",)).accepted()
    assert peer.subject.alpn is None


@pytest.mark.proves("7301:3.1:3")
def test_the_server_chooses_among_protocols_by_its_own_order(world: World) -> None:
    peer = client13_for(world, alpn=(b"h3", b"h2", b"http/1.1")).connect(alpn=(b"http/1.1", b"h2")).accepted()
    assert peer.subject.alpn == b"h2"
    bodies = EncryptedExtensions.parse(peer.part(H.encrypted_extensions)).extensions
    assert bodies[E.application_layer_protocol_negotiation] == ext.pack_alpn((b"h2",))


@pytest.mark.proves("9846:5.1:4", "9846:5.1:5")
@pytest.mark.parametrize("size", [1, 4, 40])
def test_f46_bytes_behind_the_hello_in_its_record_are_unexpected(world: World, size: int) -> None:
    peer = client13_for(world)
    peer.sent = peer.hello()
    data = peer.seal(peer.sent.pack()) + b""
    behind = message(H.finished, bytes(32)) * 2
    content = data[5:] + behind[:size]
    peer.give(record(22, content))
    peer.spoken.pop()
    peer.spoken.append(content[:-size])
    peer.read_hello().refused(UnexpectedMessage)


@pytest.mark.proves("9846:5.1:4", "9846:5.1:5")
def test_f46_bytes_behind_the_finished_in_its_record_are_unexpected(world: World) -> None:
    for behind in (b"\x18", message(H.key_update, b"\0")):
        peer = client13_for(world)
        peer.say_hello().read_flight().say_finished(behind=behind).refused(UnexpectedMessage)


@pytest.mark.proves("9846:4.5.3:1")
@pytest.mark.parametrize("verify_data", [bytes(32), b"", b"x" * 31, b"x" * 33, bytes(12)], ids=len)
def test_a_wrong_finished_is_a_decrypt_error_and_one_of_another_length_a_decode_error(
    world: World, verify_data: bytes
) -> None:
    error = DecryptError if len(verify_data) == 32 else DecodeError
    for resumed in (False, True):
        peer = client13_for(world, resumed=resumed)
        peer.say_hello().read_flight()
        peer.say(message(H.finished, verify_data)).refused(error)


def test_a_client_without_keys_can_still_say_why_it_fails(world: World) -> None:
    peer = client13_for(world).say_hello()
    peer.give(record(21, b"\x02\x2f"))
    assert str(peer.error).endswith("illegal_parameter")
    peer = client13_for(world).say_hello().read_flight()
    peer.give(record(21, b"")).refused(UnexpectedMessage)
    peer = client13_for(world).say_hello().read_flight().say_finished()
    peer.give(record(21, b"\x02\x2f")).refused(UnexpectedMessage)  # now it has keys


# --- PSKs ------------------------------------------------------------------------------------------------------------


def test_a_ticket_resumes_and_the_client_gets_another(world: World) -> None:
    peer = client13_for(world, resumed=True).connect().accepted()
    assert peer.resumed
    assert completed(peer) == Resumption(True, mechanism=Mechanism.STATELESS_13, age_s=0.0)
    assert [raw[0] for raw in peer.flight] == [H.encrypted_extensions, H.finished]
    assert len(peer.read_tickets()) == 1


BINDERS = {
    "wrong": b"w" * 32,
    "zero": bytes(32),
    "long": b"w" * 33,
    "very long": b"w" * 255,
    "of another hash": b"w" * 48,
}


@pytest.mark.proves("9846:4.3.11:4", "9846:4.3.11:5")
@pytest.mark.parametrize("binder", BINDERS.values(), ids=BINDERS)
def test_f37_wrong_binder_aborts(world: World, binder: bytes) -> None:
    config = world.server_config()
    good = sealed(world, config, TLS13)
    offering(world, good._replace(binder=binder), config=config).say_hello().refused(DecryptError)


@pytest.mark.proves("9846:4.3.11:5")
def test_f37_a_wrong_binder_is_not_forgiven_for_a_good_one_behind_it(world: World) -> None:
    config = world.server_config()
    bad, good = (sealed(world, config, TLS13) for _ in range(2))
    offering(world, bad._replace(binder=b"w" * 32), good, config=config).say_hello().refused(DecryptError)


def test_f37_the_binder_of_a_psk_that_is_not_chosen_is_not_looked_at(world: World) -> None:
    config = world.server_config()
    good, other = (sealed(world, config, TLS13) for _ in range(2))
    peer = offering(world, good, other._replace(binder=b"w" * 32), config=config).connect().accepted()
    assert peer.resumed


def psk_body(identities: int, binders: int, size: int = 32) -> bytes:
    one = b"\0\x04name" + bytes(4)
    first = (b"\0\x04name" + bytes(4)) * identities
    second = (bytes((size,)) + bytes(size)) * binders
    assert len(one) == 10
    return len(first).to_bytes(2) + first + len(second).to_bytes(2) + second


@pytest.mark.proves("9846:4.3.11:5")
@pytest.mark.parametrize(
    ("body", "error"),
    [
        (psk_body(1, 2), IllegalParameter),
        (psk_body(2, 1), IllegalParameter),
        (psk_body(1, 0), DecodeError),
        (psk_body(0, 1), DecodeError),
        (psk_body(0, 0), DecodeError),
        (psk_body(1, 1, 31), DecodeError),
        (psk_body(1, 1, 0), DecodeError),
        (psk_body(1, 1) + b"x", DecodeError),
        (psk_body(1, 1)[:-1], DecodeError),
        (b"\0\6\0\0" + bytes(4) + b"\0\x21\x20" + bytes(32), DecodeError),
    ],
)
def test_f37_short_missing_and_extra_binders_have_their_alerts(
    world: World, body: bytes, error: type[PeerError]
) -> None:
    client13_for(world).say_hello(add={int(E.pre_shared_key): body}).refused(error)


@pytest.mark.proves("9846:4.3:6", "9846:4.3.11:11")
def test_f37_psk_not_last_aborts(world: World) -> None:
    peer = client13_for(world)
    peer.say_hello(add={int(E.pre_shared_key): psk_body(1, 1), UNKNOWN: b""}).refused(IllegalParameter)


@pytest.mark.proves("9846:4.3.9:3")
def test_f37_psk_without_modes_aborts(world: World) -> None:
    client13_for(world, resumed=True).say_hello(drop=(int(E.psk_key_exchange_modes),)).refused(MissingExtension)


@pytest.mark.proves("9846:4.2.1:2", "9846:4.3.9:4")
def test_f48_psk_ke_alone_is_declined_and_gets_no_ticket(world: World) -> None:
    peer = client13_for(world, resumed=True).connect(add={int(E.psk_key_exchange_modes): b"\x01\x00"}).accepted()
    assert not peer.resumed
    assert completed(peer).reason is Reason.NO_PSK_DHE_KE
    assert peer.read_tickets() == []
    assert not peer.subject.new_session_ticket()


def test_f48_a_client_without_modes_gets_no_ticket(world: World) -> None:
    peer = client13_for(world).connect(drop=(int(E.psk_key_exchange_modes),)).accepted()
    assert peer.read_tickets() == []


def test_f48_a_psk_without_any_key_share_is_a_handshake_failure(world: World) -> None:
    client13_for(world, resumed=True).say_hello(drop=(10, 51)).refused(HandshakeFailure)


@pytest.mark.proves("9846:9.2:11", "9846:9.2:12")
@pytest.mark.parametrize("number", [10, 51])
def test_groups_and_shares_come_together_also_beside_a_psk(world: World, number: int) -> None:
    client13_for(world, resumed=True).say_hello(drop=(number,)).refused(MissingExtension)


def test_f44_lists_of_psks_in_every_order(world: World) -> None:
    config = world.server_config()
    world.clock.advance(10_000)
    expired = sealed(world, config, TLS13, time=world.clock() - 9_000)
    good = sealed(world, config, TLS13)
    foreign = sealed(world, world.server_config(host_rule="another.host"), TLS13)
    unknown = Psk(b"u" * 512, b"u" * 32)
    for order in permutations((expired, good, foreign, unknown, Psk(b"external", b"e" * 32))):
        peer = offering(world, *order, config=config).connect().accepted()
        assert peer.resumed
        selected = ext.parse_pre_shared_key_server(peer.server_hello.extensions[E.pre_shared_key])
        assert order[selected] is good


def test_f44_a_ticket_of_tls12_and_a_session_of_a_client_do_not_resume(world: World) -> None:
    config = world.server_config()
    old = sealed(world, config, TLS12)
    reflected = sealed(world, config, TLS13, role="client")  # F45
    peer = offering(world, old, reflected, config=config).connect().accepted()
    assert not peer.resumed
    assert completed(peer).reason is Reason.WRONG_ROLE


def test_at_most_eight_identities_are_tried(world: World) -> None:
    config = world.server_config()
    good = sealed(world, config, TLS13)
    unknown = [Psk(b"%d" % number + b"u" * 511, b"u" * 32) for number in range(8)]
    assert not offering(world, *unknown, good, config=config).connect().accepted().resumed
    assert offering(world, *unknown[:7], good, config=config).connect().accepted().resumed


@pytest.mark.proves("9846:4.3.11:3", "9846:4.7.1:2")
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"cipher": 0x1302, "secret": b"0123456789abcdef" * 3}, Reason.OTHER_HASH),
        ({"cipher": 0x1304}, Reason.SUITE_NOT_ENABLED),
        ({"hostname": "other.test"}, Reason.OTHER_NAME),
        ({"hostname": None}, Reason.OTHER_NAME),
        ({"policy_epoch": 7}, Reason.OTHER_EPOCH),
        ({"partition": b"p" * 32}, Reason.OTHER_PARTITION),
        ({"id_context": b"another"}, Reason.OTHER_ID_CONTEXT),
        ({"secret": bytes(32)}, Reason.BAD_SECRET),
        ({"secret": b""}, Reason.BAD_SECRET),
        ({"secret": b"short"}, Reason.BAD_SECRET),
        ({"deadline": 1.0}, Reason.PAST_DEADLINE),
    ],
)
def test_a_session_that_does_not_pass_the_gate_costs_a_full_handshake(
    world: World, changes: dict[str, Any], reason: Reason
) -> None:
    config = world.server_config()
    peer = offering(world, sealed(world, config, TLS13, **changes), config=config).connect().accepted()
    assert not peer.resumed
    assert completed(peer).reason is reason
    assert H.certificate in [raw[0] for raw in peer.flight]


@pytest.mark.proves("9846:4.3.11:3")
def test_f38_a_suite_of_the_same_hash_serves_and_another_one_does_not(world: World) -> None:
    config = world.server_config()
    psk = sealed(world, config, TLS13, cipher=0x1303)
    peer = offering(world, psk, config=config, suites=(0x1301,)).connect().accepted()
    assert peer.resumed
    without = world.server_config(suites=(0x1301, 0xC02B))
    peer = offering(world, sealed(world, without, TLS13, cipher=0x1303), config=without).connect().accepted()
    assert completed(peer).reason is Reason.SUITE_NOT_ENABLED
    strong = sealed(world, config, TLS13, cipher=0x1302, secret=world.random(48))
    peer = offering(world, strong, config=config, psk_hash=0x1302).connect().accepted()
    assert not peer.resumed


@pytest.mark.proves("9846:4.3.11:3")
@pytest.mark.parametrize("first", [0x1301, 0x1302, 0x1303])
@pytest.mark.parametrize("cipher", [0x1301, 0x1302, 0x1303])
@pytest.mark.parametrize("mode", ["", "retry", "cookie"])
def test_f38_the_suite_that_is_chosen_fits_the_session(world: World, first: int, cipher: int, mode: str) -> None:
    rest = tuple(suite for suite in (0x1301, 0x1302, 0x1303) if suite != first)
    cookies = CookieKeys.generate(random=world.random) if mode == "cookie" else None
    config = world.server_config(suites=(first, *rest), groups=(P256,) if mode else (X25519,), cookies=cookies)
    psk = sealed(world, config, TLS13, cipher=cipher, secret=world.random(SUITES[cipher].hash.digest_size))
    offered = (0x1301, 0x1302, 0x1303)
    peer = offering(world, psk, config=config, suites=offered, psk_hash=cipher)
    peer.say_hello()
    if mode:
        cookie = peer.read_retry().extensions.get(E.cookie)
        peer.say_hello(peer.second_hello(add={} if cookie is None else {int(E.cookie): cookie}))
    peer.read_flight().say_finished().accepted()
    assert peer.resumed
    if SUITES[first].hash is SUITES[cipher].hash:
        assert peer.suite.suite == first
    elif not mode:
        assert peer.suite.suite == cipher


def test_f38_a_stateful_session_has_its_say_about_the_suite_too(world: World) -> None:
    context = world.server_context(stateful=True, num_tickets=1)
    first = Client13(context.connection(), suites=(0x1302,)).connect().accepted()
    psk = first.psk_of(first.read_tickets()[0])
    again = Client13(context.connection(), suites=(0x1301, 0x1302), psks=(psk,), psk_hash=0x1302)
    assert again.connect().accepted().resumed
    assert again.suite.suite == 0x1302


def test_f09_with_tickets_off_a_ticket_is_ignored_and_none_is_issued(world: World) -> None:
    psk = sealed(world, world.server_config(), TLS13)
    config = world.server_config(tickets=None)
    peer = offering(world, psk, config=config).connect().accepted()
    assert completed(peer).reason is Reason.MECHANISM_DISABLED
    assert peer.read_tickets() == []


def test_f09_with_lookups_off_an_id_is_not_looked_up(world: World) -> None:
    config = world.server_config(accept_stateful=False)
    good = sealed(world, config, TLS13)
    peer = offering(world, Psk(b"S" * 32, b"s" * 32), config=config).connect().accepted()
    assert completed(peer).reason is Reason.MECHANISM_DISABLED
    assert offering(world, Psk(b"S" * 32, b"s" * 32), good, config=config).connect().accepted().resumed


def test_f02_a_session_without_certificate_is_declined_where_one_is_required(world: World) -> None:
    config = world.server_config(**mutual(world))
    psk = sealed(world, config, TLS13)
    peer = Client13(Connection(config), certified(world.pki.client), psks=(psk,)).connect().accepted()
    assert completed(peer).reason is Reason.NO_CLIENT_CERTIFICATE
    assert H.certificate_request in [raw[0] for raw in peer.flight]


def test_f79_unknown_expired_foreign_and_corrupt_look_the_same(world: World) -> None:
    config = world.server_config()
    world.clock.advance(10_000)
    good = sealed(world, config, TLS13)
    offers = (
        sealed(world, config, TLS13, time=world.clock() - 9_000),
        sealed(world, world.server_config(host_rule="x"), TLS13),
        good._replace(identity=good.identity[:-1] + b"?"),
        Psk(b"u" * len(good.identity), b"u" * 32),
    )
    flights = []
    for psk in offers:
        peer = offering(world, psk, config=config).connect().accepted()
        flights.append([(raw[0], len(raw)) for raw in peer.flight])
    assert all(flight == flights[0] for flight in flights)


# --- the second hello ------------------------------------------------------------------------------------------------


def retried(
    world: World, *, psks: tuple[Psk, ...] = (), config: ServerConfig | None = None, **changes: Any
) -> Client13:
    """A client that was asked for a share of P-256."""
    peer = offering(world, *psks, config=config or world.server_config(groups=(P256,)))
    peer.say_hello(**changes)
    retry = peer.read_retry()
    assert set(retry.extensions) == {E.supported_versions, E.key_share}
    assert retry.legacy_session_id_echo == peer.sent.legacy_session_id
    return peer


@pytest.mark.proves("9846:4.2.1:3")
@pytest.mark.parametrize("shares", [(X25519,), ()], ids=["of another group", "none"])
def test_a_retry_leads_to_a_handshake(world: World, shares: tuple[int, ...]) -> None:
    peer = Client13(Connection(world.server_config(groups=(P256,))), shares=shares)
    peer.say_hello().read_retry()
    peer.say_hello(peer.second_hello()).read_flight().say_finished().accepted()
    assert peer.changes == 0
    peer = Client13(Connection(world.server_config(groups=(P256,))), shares=shares)
    peer.say_hello(legacy_session_id=b"compatible").read_retry()
    peer.give(CHANGE_CIPHER_SPEC)
    peer.say_hello(peer.second_hello()).read_flight().say_finished().accepted()
    assert peer.changes == 1


SECOND: list[tuple[str, dict[str, Any], type[PeerError]]] = [
    ("another random", {"random": b"D" * 32}, IllegalParameter),
    ("another session id", {"legacy_session_id": b"x"}, IllegalParameter),
    ("other suites", {"cipher_suites": (0x1301, 0x1303)}, IllegalParameter),
    ("other compression", {"legacy_compression_methods": b"\0\1"}, IllegalParameter),
    ("another legacy_version", {"legacy_version": 0x0304}, IllegalParameter),
    ("TLS 1.2 after all", {"drop": (43,)}, IllegalParameter),
    ("more versions", {"add": {43: b"\4\3\4\3\3"}}, IllegalParameter),
    ("another name", {"add": {0: ext.pack_server_name("other.test")}}, IllegalParameter),
    ("no name", {"drop": (0,)}, IllegalParameter),
    ("other groups", {"add": {10: ext.pack_supported_groups((P256,))}}, IllegalParameter),
    ("other schemes", {"add": {13: b"\0\2\x08\x07"}}, IllegalParameter),
    ("a protocol", {"add": {16: ext.pack_alpn((b"h2",))}}, IllegalParameter),
    ("other modes", {"add": {45: b"\2\0\1"}}, IllegalParameter),
    ("something new that nobody knows", {"add": {UNKNOWN: b""}}, IllegalParameter),
    ("a cookie that nobody sent", {"add": {44: b"\0\1x"}}, IllegalParameter),
    ("early_data", {"add": {42: b""}}, IllegalParameter),
    ("a PSK that was not there before", {"add": {41: psk_body(1, 1)}}, IllegalParameter),
    ("no share", {"drop": (51,)}, MissingExtension),
    ("an empty list of shares", {"add": {51: b"\0\0"}}, IllegalParameter),
    ("the old share", {"add": {51: b"\0\x24\0\x1d\0\x20" + b"\x09" * 32}}, IllegalParameter),
    ("a share that is none", {"add": {51: b"\0\x45\0\x17\0\x41\x04" + bytes(64)}}, IllegalParameter),
]


@pytest.mark.parametrize(("changes", "error"), [row[1:] for row in SECOND], ids=[row[0] for row in SECOND])
def test_f35_a_second_hello_that_changes_more_than_it_may_aborts(
    world: World, changes: dict[str, Any], error: type[PeerError]
) -> None:
    peer = retried(world)
    peer.say(peer.second_hello(**changes)).refused(error)


def test_a_second_hello_with_two_shares_is_refused(world: World) -> None:
    peer = retried(world)
    ours = peer.second_hello().extensions[E.key_share]
    both = b"\0\x24\0\x1d\0\x20" + b"\x09" * 32
    body = (len(ours) - 2 + len(both) - 2).to_bytes(2) + ours[2:] + both[2:]
    peer.say(peer.second_hello(add={51: body})).refused(IllegalParameter)


def test_padding_may_change_and_early_data_must_go(world: World) -> None:
    peer = retried(world, add={21: bytes(10), 42: b""})
    peer.say_hello(peer.second_hello(add={21: bytes(20)}, drop=(42,))).read_flight().say_finished().accepted()


@pytest.mark.proves("9846:4.2.4:1", "9846:4.2.4:2")
def test_a_psk_resumes_after_a_retry(world: World) -> None:
    config = world.server_config(groups=(P256,))
    psk = sealed(world, config, TLS13)
    peer = retried(world, psks=(psk,), config=config)
    peer.say_hello(peer.second_hello()).read_flight().say_finished().accepted()
    assert peer.resumed


@pytest.mark.proves("9846:4.3.11:4", "9846:4.3.11:5")
def test_f37_a_wrong_binder_after_a_retry_aborts(world: World) -> None:
    config = world.server_config(groups=(P256,))
    psk = sealed(world, config, TLS13)
    peer = retried(world, psks=(psk,), config=config)
    first = peer.sent.extensions[E.pre_shared_key]
    again = peer.second_hello(drop=(41,))
    again.extensions[int(E.pre_shared_key)] = first  # the binder of the first hello does not fit the second
    peer.say(again).refused(DecryptError)


def test_f36_a_second_hello_without_the_psk_is_a_full_handshake(world: World) -> None:
    config = world.server_config(groups=(P256,))
    peer = retried(world, psks=(sealed(world, config, TLS13),), config=config)
    peer.psks = ()
    peer.say_hello(peer.second_hello(drop=(41,))).read_flight().say_finished().accepted()
    assert not peer.resumed
    assert completed(peer).reason is Reason.NOT_OFFERED


def test_f36_the_second_hello_may_leave_some_psks_out(world: World) -> None:
    config = world.server_config(groups=(P256,))
    other, good = Psk(b"u" * 512, b"u" * 32), sealed(world, config, TLS13)
    peer = retried(world, psks=(other, good), config=config)
    peer.psks = (good,)
    peer.say_hello(peer.second_hello()).read_flight().say_finished().accepted()
    assert peer.resumed


def test_f35_the_second_hello_may_not_bring_other_psks_or_another_order(world: World) -> None:
    config = world.server_config(groups=(P256,))
    one, two = (sealed(world, config, TLS13) for _ in range(2))
    for before, after in (((one,), (two,)), ((one, two), (two, one)), ((one,), (one, two)), ((one,), (one, one))):
        peer = retried(world, psks=before, config=config)
        peer.psks = after
        peer.say_hello(peer.second_hello()).refused(IllegalParameter)


def test_f36_duplicate_suites_and_groups_are_harmless(world: World) -> None:
    config = world.server_config(groups=(P256,))
    peer = offering(world, config=config, suites=(0x1301,) * 1_000, groups=(X25519, P256) * 500)
    peer.say_hello().read_retry()
    peer.say_hello(peer.second_hello()).read_flight().say_finished().accepted()
    assert peer.suite is SUITES[0x1301]


# --- early data that is refused --------------------------------------------------------------------------------------


def early_records(size: int, count: int) -> bytes:
    return record(DATA, b"\x99" * size) * count


def test_early_data_that_is_refused_is_skipped(world: World) -> None:
    peer = client13_for(world, resumed=True)
    hello = peer.hello(add={42: b""})
    peer.say_hello(hello).give(CHANGE_CIPHER_SPEC + early_records(1_000, 20)).read_flight()
    assert EncryptedExtensions.parse(peer.part(H.encrypted_extensions)).extensions == {0: b""}
    peer.say_finished().accepted()
    peer.say_data(b"late data").accepted()


def test_early_data_is_skipped_before_a_second_hello(world: World) -> None:
    peer = offering(world, config=world.server_config(groups=(P256,)))
    peer.say_hello(add={42: b""}).give(early_records(1_000, 20)).read_retry()
    peer.say_hello(peer.second_hello(drop=(42,))).read_flight()
    peer.give(early_records(100, 1)).refused(BadRecordMac)


def test_f89_early_data_is_not_skipped_without_end(world: World) -> None:
    peer = client13_for(world).say_hello(add={42: b""})
    peer.give(early_records(2**14, 2)).read_flight().accepted()
    peer.give(early_records(1, 1)).refused(BadRecordMac)
    peer = offering(world, config=world.server_config(groups=(P256,))).say_hello(add={42: b""})
    peer.read_retry()
    peer.give(early_records(2**14, 2)).accepted()
    peer.give(early_records(1, 1)).refused(UnexpectedMessage)


def test_early_data_is_not_skipped_after_the_first_record_that_opens(world: World) -> None:
    peer = client13_for(world, identity=True, **mutual(world))
    peer.say_hello(add={42: b""}).give(early_records(100, 1)).read_flight()
    peer.say_certificate().accepted()
    peer.give(early_records(100, 1)).refused(BadRecordMac)


@pytest.mark.proves("9846:5.2:3")
def test_early_data_that_was_not_announced_is_not_skipped(world: World) -> None:
    peer = client13_for(world).say_hello()
    peer.read_flight().give(early_records(100, 1)).refused(BadRecordMac)
