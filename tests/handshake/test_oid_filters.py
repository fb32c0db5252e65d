"""Servers that ask for client certificates with certain extensions: the client shows one that has them, or none."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID as P

from resumption.config import ClientConfig
from resumption.connection import Connection
from resumption.constants import ExtensionType as E
from resumption.constants import HandshakeType as H
from resumption.crypto.certificates import CertifiedKey
from resumption.errors import ConfigurationError, DecodeError, Error, IllegalParameter, UnsupportedExtension
from resumption.wire import extensions as ext
from resumption.wire.messages import Certificate
from tests.handshake.pairs import World, certified
from tests.handshake.scripted13 import Server13
from tests.handshake.stops import server13_for
from tests.pki import Pki, issue

KEY_USAGE = bytes.fromhex("0603551d0f")
EXTENDED = bytes.fromhex("0603551d25")
SUBJECT_NAMES = bytes.fromhex("0603551d11")
NOBODY_KNOWS = bytes.fromhex("06032a0304")
FILTERS = int(E.oid_filters)


def usage(**bits: bool) -> bytes:
    names = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{name: bits.get(name, False) for name in names}).public_bytes()


def purposes(*oids: x509.ObjectIdentifier) -> bytes:
    return x509.ExtendedKeyUsage(oids).public_bytes()


def asked(world: World, filters: tuple[tuple[bytes, bytes], ...], *keys: CertifiedKey, later: bool = False) -> Server13:
    """A server that asks a client with these certificates, within the handshake or after it."""
    config: ClientConfig = world.client_config(certified_key=keys[0], further_keys=keys[1:], post_handshake_auth=later)
    peer = Server13(Connection(config, server_name="localhost"), certified(world.leaf))
    bodies = {FILTERS: ext.pack_oid_filters(filters)}
    if later:
        return peer.connect().say_request(bodies, context=b"later")
    return peer.say_hello().say_extensions().say_request(bodies)


def shown(peer: Server13) -> bytes | None:
    """The leaf in the client's flight."""
    peer.say_certificate().say_verify().say_finished().accepted()
    entries = Certificate.parse(peer.flight[0][4:]).certificate_list
    assert [raw[0] for raw in peer.flight[1:]] == ([H.certificate_verify] if entries else []) + [H.finished]
    return entries[0].cert_data if entries else None


@pytest.mark.proves("9846:4.3.5:2", "9846:4.3.5:3", "9846:4.3.5:4", "9846:4.5.1.2:4")
@pytest.mark.parametrize(
    ("filters", "shows"),
    [
        ((), True),
        (((KEY_USAGE, b""),), True),
        (((KEY_USAGE, usage(digital_signature=True)),), True),
        (((KEY_USAGE, bytes.fromhex("030100")),), True),
        (((KEY_USAGE, usage(digital_signature=True, key_agreement=True)),), False),
        (((KEY_USAGE, usage(key_agreement=True, decipher_only=True)),), False),
        (((EXTENDED, b""),), True),
        (((EXTENDED, purposes(P.CLIENT_AUTH)),), True),
        (((EXTENDED, purposes(P.CODE_SIGNING)),), False),
        (((EXTENDED, purposes(P.CLIENT_AUTH, P.CODE_SIGNING)),), False),
        (((KEY_USAGE, usage(digital_signature=True)), (EXTENDED, purposes(P.CODE_SIGNING))), False),
        (((NOBODY_KNOWS, b"whatever"), (SUBJECT_NAMES, b"\x30\x00")), True),
        (((NOBODY_KNOWS, b"whatever"), (EXTENDED, purposes(P.CODE_SIGNING))), False),
    ],
    ids=str,
)
def test_a_certificate_that_lacks_what_the_server_asks_for_is_not_shown(
    world: World, pki: Pki, filters: tuple[tuple[bytes, bytes], ...], shows: bool
) -> None:
    own = certified(issue("client.test", issuer=pki.root, purposes=[P.CLIENT_AUTH, P.EMAIL_PROTECTION]))
    assert shown(asked(world, filters, own)) == (own.chain[0] if shows else None)


@pytest.mark.proves("9846:4.3.5:2", "9846:4.5.1.2:4")
def test_the_certificate_that_has_it_is_shown(world: World, pki: Pki) -> None:
    plain = certified(issue("client.test", issuer=pki.root, purposes=[P.CLIENT_AUTH]))
    signer = certified(issue("client.test", issuer=pki.root, purposes=[P.CLIENT_AUTH, P.CODE_SIGNING]))
    bare = certified(issue("client.test", issuer=pki.root, key_usage=False))
    assert shown(asked(world, ((EXTENDED, purposes(P.CODE_SIGNING)),), plain, signer)) == signer.chain[0]
    assert shown(asked(world, ((EXTENDED, b""),), bare, plain)) == plain.chain[0]
    assert shown(asked(world, ((KEY_USAGE, b""),), bare)) is None


@pytest.mark.proves("9846:4.3.5:2", "9846:4.7.2:2", "9846:4.7.2:3", "9846:4.7.2:4")
def test_requests_after_the_handshake_filter_too(world: World, pki: Pki) -> None:
    own = certified(issue("client.test", issuer=pki.root, purposes=[P.CLIENT_AUTH]))
    for wanted, kinds in (
        (P.CLIENT_AUTH, [H.certificate, H.certificate_verify, H.finished]),
        (P.CODE_SIGNING, [H.certificate, H.finished]),
    ):
        peer = asked(world, ((EXTENDED, purposes(wanted)),), own, later=True).accepted()
        assert [peer.take()[0] for _ in kinds] == kinds
        assert not peer.has_message


@pytest.mark.proves("9846:4.3.5:5")
@pytest.mark.parametrize(
    ("filters", "error"),
    [
        (((KEY_USAGE, b""), (KEY_USAGE, b"")), IllegalParameter),
        (((NOBODY_KNOWS, b"a"), (KEY_USAGE, b""), (NOBODY_KNOWS, b"b")), IllegalParameter),
        (((EXTENDED, purposes(P.CLIENT_AUTH, P.ANY_EXTENDED_KEY_USAGE)),), IllegalParameter),
        (((KEY_USAGE, b"\x03\x02"),), DecodeError),
        (((KEY_USAGE, b"\x03\x00"),), DecodeError),
        (((KEY_USAGE, b"\x03\x02\x08\x80"),), DecodeError),
        (((KEY_USAGE, b"\x04\x02\x00\x80"),), DecodeError),
        (((KEY_USAGE, b"\x03\x02\x00\x80\x00"),), DecodeError),
        (((KEY_USAGE, b"\x03"),), DecodeError),
        (((KEY_USAGE, b"\x03\x80"),), DecodeError),
        (((EXTENDED, b"\x30\x03\x04\x01a"),), DecodeError),
        (((EXTENDED, b"\x30\x82\x01"),), DecodeError),
        (((EXTENDED, b"\x30\x02\x06\x09"),), DecodeError),
        (((EXTENDED, b"no DER"),), DecodeError),
    ],
    ids=str,
)
def test_filters_that_are_wrong_end_the_handshake(
    world: World, pki: Pki, filters: tuple[tuple[bytes, bytes], ...], error: type[Error]
) -> None:
    asked(world, filters, certified(pki.client)).refused(error)  # type: ignore[arg-type]


@pytest.mark.proves("9846:4.3.5:1")
def test_filters_belong_in_a_request_only(world: World) -> None:
    body = ext.pack_oid_filters(())
    server13_for(world).say_hello(add={FILTERS: body}).refused(UnsupportedExtension)
    server13_for(world).say_hello().say_extensions({FILTERS: body}).refused(UnsupportedExtension)
    peer = server13_for(world).say_hello().say_extensions()
    peer.say_certificate(extensions={FILTERS: body}).refused(UnsupportedExtension)
    server13_for(world).connect().say_ticket(extensions={FILTERS: body}).refused(IllegalParameter)


@pytest.mark.proves("9846:4.5.1.2:3", "5246:7.4.2:8", "5246:7.4.2:12", "5246:7.4.6:4", "5246:7.4.6:6")
def test_a_certificate_that_may_not_sign_is_not_taken_as_our_own(pki: Pki) -> None:
    for key in (pki.client.private_key, pki.client_rsa.private_key):
        encipher = x509.KeyUsage(False, False, True, False, False, False, False, False, False)
        leaf = issue("client.test", issuer=pki.root, key=key, key_usage=False, extra=[(encipher, True)])
        with pytest.raises(ConfigurationError, match="does not allow digital signatures"):
            CertifiedKey.load(leaf.chain_pem, leaf.key_pem)
