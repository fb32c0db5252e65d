"""Sentences of the texts that are about one value each: what is never said, never offered and never first."""

from __future__ import annotations

import pytest

from resumption.connection import Connection
from resumption.constants import ExtensionType as E
from resumption.constants import HandshakeType as H
from resumption.crypto.groups import GROUPS
from resumption.crypto.signatures import CERTIFICATE_SCHEMES
from resumption.errors import DecryptError, PeerError, ProtocolVersionUnsupported
from resumption.handshake.events import SessionIssued
from resumption.wire.messages import Certificate, EncryptedExtensions
from tests.handshake.pairs import World, certified
from tests.handshake.scripted13 import Client13
from tests.handshake.stops import client12_for, client13_for, server12_for, server13_for

OBSOLETE_GROUPS = {*range(0x0001, 0x0017), 0x001A, 0x001B, 0x001C, 0xFF01, 0xFF02}
V2_HELLO = (
    b"\x80\x2e\x01\x03\x03\x00\x15\x00\x00\x00\x10" + b"\x00\xc0\x2b\x00\x13\x01" * 3 + b"\x00\x00\xff" + b"c" * 16
)


def alerts(base: type[PeerError] = PeerError) -> set[int]:
    return {int(base.alert)} | {alert for kind in base.__subclasses__() for alert in alerts(kind)}


@pytest.mark.proves("5246:7.2.2:6", "5246:7.2.2:7", "5246:7.2.2:8", "9846:B:1")
def test_reserved_alerts_are_never_sent() -> None:
    assert not {21, 41, 60} & alerts()  # decryption_failed, no_certificate, export_restriction


@pytest.mark.proves("9846:B.3.1.4:1")
def test_obsolete_groups_are_not_implemented() -> None:
    assert not OBSOLETE_GROUPS & GROUPS.keys()


@pytest.mark.proves("5246:7.4.1.4.1:1", "8422:5.10:4", "8422:5.10:7", "9846:4.3.3:14")
def test_schemes_are_signed_and_their_hashes_are_strong() -> None:
    for scheme in CERTIFICATE_SCHEMES:
        assert scheme & 0xFF, "anonymous"
        assert scheme >> 8 in (4, 5, 6, 8), hex(scheme)
    assert {0x0807, 0x0808} <= set(CERTIFICATE_SCHEMES)


@pytest.mark.proves("9846:E.5:9")
def test_truncated_hmac_is_neither_offered_nor_answered(world: World) -> None:
    assert 4 not in server12_for(world).hello.extensions
    peer = client12_for(world).connect(add={4: b""}).accepted()
    assert 4 not in peer.server_hello.extensions


@pytest.mark.proves("9846:4.5.1.1:2", "9846:4.5.1.1:3")
def test_status_request_v2_changes_nothing(world: World) -> None:
    peer = client13_for(world).connect(add={17: b"\0\7\2\0\4\0\0\0\0"}).accepted()
    assert 17 not in EncryptedExtensions.parse(peer.part(H.encrypted_extensions)).extensions
    assert all(17 not in entry.extensions for entry in Certificate.parse(peer.part(H.certificate)).certificate_list)


@pytest.mark.proves("9846:4.5.1:8", "5246:7.4.2:3", "5246:7.4.2:4")
def test_the_own_certificate_comes_first_and_each_certifies_the_one_before(world: World) -> None:
    leaf = world.pki.under_intermediate
    config = world.server_config(certified_keys=(certified(leaf),))
    new = Client13(Connection(config)).connect().accepted()
    entries = Certificate.parse(new.part(H.certificate)).certificate_list
    assert tuple(entry.cert_data for entry in entries) == leaf.chain_der
    assert leaf.chain_der == (leaf.cert_der, world.pki.intermediate.cert_der)


@pytest.mark.proves("9846:E.5:5")
def test_a_hello_of_ssl_2_is_refused(world: World) -> None:
    for peer in (client12_for(world), client13_for(world)):
        peer.give(V2_HELLO).refused(ProtocolVersionUnsupported)


@pytest.mark.proves("5246:7.4.7:2", "8422:3:1", "5246:7.4.9:4")
def test_without_a_request_the_key_exchange_is_the_clients_first_message(world: World) -> None:
    peer = server12_for(world).connect().accepted()
    assert [(raw[0], len(raw) == 16) for raw in peer.flight] == [(H.client_key_exchange, False), (H.finished, True)]


@pytest.mark.proves("5077:3.3:4")
def test_a_ticket_counts_only_after_the_servers_finished(world: World) -> None:
    peer = server12_for(world).say_hello(ticket=True).say_certificate().say_key_exchange().say_done()
    peer.say_ticket().say_ccs()
    peer.say_finished(verify_data=bytes(12)).refused(DecryptError)
    assert not any(isinstance(event, SessionIssued) for event in peer.events)
    assert peer.subject.session is None


@pytest.mark.proves("9846:F.5:4")
def test_the_application_sees_whether_the_handshake_is_complete(world: World) -> None:
    peer = server13_for(world).say_hello().say_extensions().say_certificate().say_verify()
    assert not peer.subject.handshake_complete
    peer.say_finished().accepted()
    assert peer.subject.handshake_complete


@pytest.mark.proves("9846:F.5:3")
def test_early_data_is_off_unless_it_is_asked_for(world: World) -> None:
    assert E.early_data not in server13_for(world, resumed=True).hello.extensions
    assert world.server_config().max_early_data == 0
