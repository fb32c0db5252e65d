"""Every extension in every message, in both versions and roles, against the table of RFC 9846, section 4.3.

`TABLE` is copied from the text (and for what TLS 1.2 alone has, from the extension's own), not from the code. Where an
extension must not be, or was not asked for, the alert is the one that the text prescribes; what nobody knows is ignored
in requests and refused in answers.
"""

from __future__ import annotations

from typing import Any

import pytest

from resumption.connection import Connection
from resumption.constants import ExtensionType as E
from resumption.constants import HandshakeType as H
from resumption.errors import IllegalParameter, PeerError, UnsupportedExtension
from resumption.wire import extensions as ext
from resumption.wire.messages import CertificateRequest
from tests.handshake.pairs import World, certified
from tests.handshake.scripted12 import Server12
from tests.handshake.scripted13 import Client13, Server13
from tests.handshake.stops import client12_for, client13_for, mutual
from tests.pki import Pki

TABLE: dict[int, str] = {
    E.server_name: "CH EE CR SH12",
    E.max_fragment_length: "CH EE SH12",
    E.status_request: "CH CR CT SH12",
    E.supported_groups: "CH EE SH12",
    E.ec_point_formats: "CH SH12",
    E.signature_algorithms: "CH CR",
    E.application_layer_protocol_negotiation: "CH EE SH12",
    E.signed_certificate_timestamp: "CH CR CT SH12",
    E.client_certificate_type: "CH EE SH12",
    E.server_certificate_type: "CH EE SH12",
    E.padding: "CH",
    E.encrypt_then_mac: "CH SH12",
    E.extended_master_secret: "CH SH12",
    E.compress_certificate: "CH CR",
    E.record_size_limit: "CH EE SH12",
    E.session_ticket: "CH SH12",
    E.pre_shared_key: "CH SH",
    E.early_data: "CH EE NST",
    E.supported_versions: "CH SH HRR",
    E.cookie: "CH HRR",
    E.psk_key_exchange_modes: "CH",
    E.certificate_authorities: "CH CR",
    E.oid_filters: "CR",
    E.post_handshake_auth: "CH",
    E.signature_algorithms_cert: "CH CR",
    E.key_share: "CH SH HRR",
    E.ticket_request: "CH EE",
    E.renegotiation_info: "CH SH12",
}
UNKNOWN = (0x1234, 0x0A0A, 0xFFFE, 9)
BODIES: dict[int, bytes] = {  # well formed as they stand in a ClientHello, if they stand there
    E.server_name: ext.pack_server_name("localhost"),
    E.max_fragment_length: b"\x01",
    E.status_request: b"\x01\x00\x00\x00\x00",
    E.supported_groups: ext.pack_supported_groups((29, 23)),
    E.ec_point_formats: b"\x01\x00",
    E.signature_algorithms: b"\x00\x04\x04\x03\x08\x07",
    E.application_layer_protocol_negotiation: ext.pack_alpn((b"h2",)),
    E.client_certificate_type: b"\x01\x00",
    E.server_certificate_type: b"\x01\x00",
    E.padding: bytes(7),
    E.compress_certificate: b"\x02\x00\x01",
    E.record_size_limit: b"\x40\x00",
    E.supported_versions: b"\x02\x03\x04",
    E.cookie: b"\x00\x01c",
    E.psk_key_exchange_modes: b"\x01\x01",
    E.certificate_authorities: b"\x00\x04\x00\x02\x30\x00",
    E.oid_filters: b"\x00\x00",
    E.signature_algorithms_cert: b"\x00\x02\x04\x03",
    E.ticket_request: b"\x01\x01",
    E.renegotiation_info: b"\x00",
}
RICH = {  # what a client offers when it is asked to
    "alpn": (b"h2",),
    "max_fragment_length": 4096,
    "post_handshake_auth": True,
    "ticket_request": (1, 1),
    "ocsp": "check",
    "certificate_schemes": (0x0403, 0x0807),
    "send_authorities": True,
    "request_scts": True,
}
ANSWERS = ("SH", "HRR", "EE", "CT", "SH12")


def test_the_table_has_every_extension_that_is_known() -> None:
    assert TABLE.keys() == set(E)


def everything() -> list[int]:
    return [*TABLE, *UNKNOWN]


def expected(number: int, place: str, asked: Any) -> type[PeerError] | None:
    """What the text prescribes for an extension where it does not belong; None where it is welcome, or ignored."""
    if place in ANSWERS and number not in asked and not (number == E.cookie and place == "HRR"):
        return UnsupportedExtension
    if number in UNKNOWN or place in TABLE[number].split():
        return None
    return IllegalParameter


def client(world: World, pki: Pki, offer: dict[str, Any], **changes: Any) -> Connection:
    config = world.client_config(certified_key=certified(pki.client), **{**offer, **changes})
    return Connection(config, server_name="localhost")


@pytest.mark.proves("9846:4.3:2", "9846:4.3:4", "9846:4.3:5", "5246:7.4.1.4:1", "5246:7.4.1.4:2")
@pytest.mark.parametrize("offer", [{}, RICH], ids=["plain", "rich"])
@pytest.mark.parametrize("place", ["SH", "HRR", "EE", "CR", "CT", "NST", "later CR", "SH12"])
def test_a_client_refuses_an_extension_where_it_does_not_belong(
    world: World, pki: Pki, place: str, offer: dict[str, Any]
) -> None:
    seen = set()
    for number in everything():
        body = b"\x03\x03" if (number, place) == (E.supported_versions, "SH12") else BODIES.get(number, b"")
        more = {int(number): body}
        subject = client(world, pki, offer, **({"post_handshake_auth": True} if place == "later CR" else {}))
        peer: Any = (Server12 if place == "SH12" else Server13)(subject, certified(world.leaf))
        error = expected(number, place.split()[-1], peer.hello.extensions)
        if error is None and number not in UNKNOWN:
            continue  # other tests are about what is in it
        seen.add(error)
        if place in ("SH", "SH12"):
            peer.say_hello(add=more)
        elif place == "HRR":
            peer.give(peer.sealer.seal_many(22, peer.retry(add=more).pack()))
        elif place == "EE":
            peer.say_hello().say_extensions(more)
        elif place == "CR":
            peer.say_hello().say_extensions().say_request(more)
        elif place == "CT":
            peer.say_hello().say_extensions().say_certificate(extensions=more)
            if peer.error is None:
                peer.say_verify()
        elif place == "NST":
            peer.connect().say_ticket(extensions=more)
        else:
            peer.connect().say_request(more, context=b"later")
        if error is None:
            peer.accepted() if place != "later CR" else peer.drain()
            assert peer.error is None, name(number)
        else:
            assert type(peer.error) is error, (name(number), peer.error)
            peer.refused(error)
    assert (UnsupportedExtension in seen) is (place in ANSWERS)


@pytest.mark.proves("9846:4.3:5", "9846:4.2.2:14")
def test_a_server_refuses_an_extension_that_belongs_in_no_hello_and_ignores_what_nobody_knows(world: World) -> None:
    for number in everything():
        body = BODIES.get(number, b"")
        error = expected(number, "CH", ())
        if number in (E.pre_shared_key, E.early_data, E.cookie, E.key_share):
            continue  # with the tests of resumption, early data, cookies and shares
        peer = client13_for(world)
        old = client12_for(world)
        if error is not None:
            peer.say_hello(add={int(number): body}).refused(error)
            continue
        peer.say_hello(add={int(number): body}).read_flight().say_finished().accepted()
        if number != E.supported_versions:
            old.connect(add={int(number): body}).accepted()
            if number in UNKNOWN:
                assert number not in old.server_hello.extensions
        if number in UNKNOWN:
            assert number not in ext.parse_extensions(peer.part(H.encrypted_extensions))


@pytest.mark.proves("9846:4.3:2", "9846:4.3:4", "9846:4.3:5")
def test_a_server_refuses_an_extension_in_a_certificate_that_it_did_not_ask_for(world: World, pki: Pki) -> None:
    asked = None
    for number in everything():
        config = world.server_config(**mutual(world))
        peer = Client13(Connection(config), certified(pki.client)).say_hello().read_flight()
        asked = CertificateRequest.parse(peer.part(H.certificate_request)).extensions
        error = expected(number, "CT", asked)
        assert error is not None
        peer.say_certificate(extensions={int(number): BODIES.get(number, b"")})
        assert type(peer.error) is error, (name(number), peer.error)
        peer.refused(error)
    assert asked


def name(number: int) -> str:
    return E(number).name if number in set(E) else hex(number)
