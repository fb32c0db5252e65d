"""Every extension that is read, in every message that may have it: cut short anywhere, or with a byte behind it.

Which extension belongs in which message is the matter of `test_extension_table`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from resumption.connection import Connection
from resumption.constants import ExtensionType as E
from resumption.crypto.groups import generate
from resumption.errors import DecodeError
from resumption.wire import extensions as ext
from tests.handshake.pairs import World, certified
from tests.handshake.scripted import Peer
from tests.handshake.scripted12 import Client12, Server12
from tests.handshake.scripted13 import X25519, Client13, Server13

SCHEMES = ext.pack_signature_algorithms((0x0403, 0x0807))
AUTHORITIES = b"\0\4\0\2\x30\0"
TIMESTAMPS = b"\0\3\0\1s"

BODIES: dict[str, dict[E, bytes]] = {
    "ClientHello 1.3": {
        E.server_name: ext.pack_server_name("localhost"),
        E.max_fragment_length: b"\1",
        E.status_request: b"\1\0\0\0\0",
        E.supported_groups: ext.pack_supported_groups((X25519, 23)),
        E.signature_algorithms: SCHEMES,
        E.application_layer_protocol_negotiation: ext.pack_alpn((b"h2",)),
        E.signed_certificate_timestamp: b"",
        E.compress_certificate: b"\2\0\1",
        E.record_size_limit: b"\1\0",
        E.supported_versions: b"\2\3\4",
        E.psk_key_exchange_modes: b"\1\1",
        E.certificate_authorities: AUTHORITIES,
        E.post_handshake_auth: b"",
        E.signature_algorithms_cert: SCHEMES,
        E.key_share: ext.pack_key_share_client(((X25519, generate(X25519).public),)),
        E.ticket_request: b"\1\1",
    },
    "ClientHello 1.2": {
        E.server_name: ext.pack_server_name("localhost"),
        E.max_fragment_length: b"\1",
        E.status_request: b"\1\0\0\0\0",
        E.supported_groups: ext.pack_supported_groups((X25519, 23)),
        E.ec_point_formats: b"\1\0",
        E.signature_algorithms: SCHEMES,
        E.application_layer_protocol_negotiation: ext.pack_alpn((b"h2",)),
        E.signed_certificate_timestamp: b"",
        E.extended_master_secret: b"",
        E.record_size_limit: b"\1\0",
        E.signature_algorithms_cert: SCHEMES,
        E.renegotiation_info: b"\0",
    },
    "ServerHello 1.3": {
        E.supported_versions: b"\3\4",
        E.key_share: ext.pack_key_share_server((X25519, generate(X25519).public)),
    },
    "HelloRetryRequest": {E.supported_versions: b"\3\4", E.key_share: b"\0\x17", E.cookie: b"\0\1c"},
    "EncryptedExtensions": {
        E.server_name: b"",
        E.max_fragment_length: b"\4",
        E.supported_groups: b"\0\2\0\x1d",
        E.application_layer_protocol_negotiation: ext.pack_alpn((b"h2",)),
        E.record_size_limit: b"\1\0",
        E.ticket_request: b"\1",
    },
    "CertificateRequest": {
        E.signature_algorithms: SCHEMES,
        E.certificate_authorities: AUTHORITIES,
        E.oid_filters: b"\0\0",
        E.signature_algorithms_cert: SCHEMES,
    },
    "Certificate": {E.status_request: b"\1\0\0\1r", E.signed_certificate_timestamp: TIMESTAMPS},
    "NewSessionTicket": {E.early_data: b"\0\0\1\0"},
    "ServerHello 1.2": {
        E.server_name: b"",
        E.max_fragment_length: b"\4",
        E.status_request: b"",
        E.ec_point_formats: b"\1\0",
        E.application_layer_protocol_negotiation: ext.pack_alpn((b"h2",)),
        E.signed_certificate_timestamp: TIMESTAMPS,
        E.extended_master_secret: b"",
        E.record_size_limit: b"\1\0",
        E.session_ticket: b"",
        E.renegotiation_info: b"\0",
    },
}
ROWS = [(place, number) for place, bodies in BODIES.items() for number in bodies]
FEATURES: dict[str, Any] = {"alpn": (b"h2",), "certificate_compression": (1,)}
ASKING: dict[str, Any] = {
    **FEATURES,
    "post_handshake_auth": True,
    "ocsp": "check",
    "request_scts": True,
    "send_authorities": True,
    "ticket_request": (1, 1),
    "trust": None,
    "verify_hostname": False,
}


def server(world: World) -> Connection:
    return Connection(world.server_config(**FEATURES))


def client(world: World, number: int) -> Connection:
    sizes = {E.record_size_limit: {"record_size_limit": 4_000}, E.max_fragment_length: {"max_fragment_length": 4096}}
    return Connection(world.client_config(**ASKING, **sizes.get(E(number), {})), server_name="localhost")


def tell(world: World, place: str, number: int, body: bytes) -> Peer:
    """A handshake up to the message, and for a certificate to the one that has it judged."""
    more = {int(number): body}
    leaf = certified(world.leaf)
    tellers: dict[str, Callable[[], Peer]] = {
        "ClientHello 1.3": lambda: Client13(server(world)).say_hello(add=more),
        "ClientHello 1.2": lambda: Client12(server(world)).say_hello(add=more),
        "ServerHello 1.3": lambda: Server13(client(world, number), leaf).say_hello(add=more),
        "ServerHello 1.2": lambda: Server12(client(world, number), leaf).say_hello(add=more),
    }
    if place in tellers:
        return tellers[place]()
    peer = Server13(client(world, number), leaf)
    if place == "HelloRetryRequest":
        return peer.give(peer.records_of(peer.retry(add=more).pack()))
    if place == "NewSessionTicket":
        return peer.connect().say_ticket(extensions=more)
    peer.say_hello()
    if place == "EncryptedExtensions":
        return peer.say_extensions(more)
    peer.say_extensions()
    if place == "CertificateRequest":
        return peer.say_request(more)
    peer.say_certificate(extensions=more)
    return peer.say_verify() if peer.error is None else peer


@pytest.mark.proves("9846:6:5")
@pytest.mark.parametrize(("place", "number"), ROWS, ids=[f"{place}-{number.name}" for place, number in ROWS])
def test_a_body_that_is_cut_short_or_too_long_is_a_decode_error(world: World, place: str, number: E) -> None:
    body = BODIES[place][number]
    assert not isinstance(tell(world, place, number, body).error, DecodeError)
    tell(world, place, number, body + b"\0").refused(DecodeError)
    for end in range(len(body)):
        tell(world, place, number, body[:end]).refused(DecodeError)


def test_every_extension_that_is_known_has_a_row_or_a_reason() -> None:
    elsewhere = {
        E.pre_shared_key,  # its length decides where the binders begin: see test_server13 and test_client_hello13
        E.padding,  # any bytes are padding
        E.client_certificate_type,  # no features of ours: never offered, and not read
        E.server_certificate_type,
        E.encrypt_then_mac,
    }
    assert {number for bodies in BODIES.values() for number in bodies} | elsewhere == set(E)
