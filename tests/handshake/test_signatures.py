"""Signature schemes in whole handshakes: each of them, in both versions and roles, and what the lists do."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from resumption.config import ClientConfig
from resumption.connection import Connection
from resumption.constants import ExtensionType as E
from resumption.constants import HandshakeType as H
from resumption.constants import SignatureScheme as S
from resumption.crypto.certificates import CertifiedKey
from resumption.crypto.signatures import CERTIFICATE_SCHEMES, SCHEMES
from resumption.errors import (
    AlertReceived,
    DecodeError,
    Error,
    HandshakeFailure,
    IllegalParameter,
    UnsupportedCertificate,
)
from resumption.handshake.hello import ClientHelloFacts
from resumption.wire import extensions as ext
from resumption.wire.messages import CertificateRequest
from tests.handshake.pairs import TLS12, VERSIONS, Pair, World, certified
from tests.handshake.scripted13 import Client13
from tests.handshake.stops import client13_for, mutual, server12_for, server13_for
from tests.handshake.test_key_shares import hello_of
from tests.pki import CLIENT_AUTH, Credential, Pki, issue

both_versions = pytest.mark.parametrize("version", VERSIONS, ids=("1.2", "1.3"))
KEYS = ("ecdsa_p256", "ecdsa_p384", "ecdsa_p521", "ed25519", "ed448", "rsa2048", "pss")


@pytest.fixture(scope="session")
def pss(tmp_path_factory: pytest.TempPathFactory, openssl: str) -> CertifiedKey:
    """A key whose certificate says RSASSA-PSS: `cryptography` cannot write one."""
    folder: Path = tmp_path_factory.mktemp("pss")
    subprocess.run(
        f"{openssl} req -x509 -newkey rsa-pss -pkeyopt rsa_keygen_bits:2048 -nodes -days 2 -subj /CN=localhost "
        f"-addext subjectAltName=DNS:localhost -keyout {folder / 'key'} -out {folder / 'cert'}".split(),
        check=True,
        capture_output=True,
        timeout=30,
    )
    return CertifiedKey.load(folder / "cert", folder / "key")


def key_named(name: str, pki: Pki, request: pytest.FixtureRequest) -> CertifiedKey:
    if name == "pss":
        key: CertifiedKey = request.getfixturevalue("pss")
        return key
    return certified(getattr(pki, name))


def fits(scheme: int, name: str, version: int) -> bool:
    """RFC 9846, section 4.3.3, written out; in TLS 1.2 a curve may sign with any hash (RFC 5246, 7.4.1.4.1)."""
    kind = S(scheme).name
    if kind.startswith("ecdsa"):
        curves = {"ecdsa_p256": "secp256r1", "ecdsa_p384": "secp384r1", "ecdsa_p521": "secp521r1"}
        return name in curves and (version == TLS12 or curves[name] in kind)
    if kind.startswith("ed"):
        return kind == name
    if kind.startswith("rsa_pss_pss"):
        return name == "pss"
    return name == "rsa2048" and (version == TLS12 or kind.startswith("rsa_pss_rsae"))


@pytest.mark.interop
@both_versions
@pytest.mark.parametrize("name", KEYS)
@pytest.mark.proves(
    "9846:4.3.3:1",
    "9846:4.3.3:5",
    "9846:4.3.3:7",
    "9846:4.3.3:15",
    "9846:4.3.3:16",
    "9846:4.3.3:12",
    "8422:5.9:3",
    "8422:5.9:4",
)
def test_a_server_signs_with_every_scheme_that_fits_its_key_and_with_no_other(
    world: World, pki: Pki, version: int, name: str, request: pytest.FixtureRequest
) -> None:
    servers = world.server_config(certified_keys=(key_named(name, pki, request),), maximum_version=version)
    for scheme in SCHEMES:
        pair = world.meet(world.client_config(trust=None, schemes=(scheme,)), servers)
        if fits(scheme, name, version):
            pair.check()
            assert pair.client.version == version
        else:
            assert isinstance(pair.took.server_error, HandshakeFailure), S(scheme).name


@pytest.mark.proves("5246:7.4.8:3", "8422:5.9:3", "8422:5.9:4")
@pytest.mark.interop
@both_versions
@pytest.mark.parametrize("name", KEYS)
def test_a_client_signs_with_every_scheme_that_fits_its_key_and_with_no_other(
    world: World, pki: Pki, version: int, name: str, request: pytest.FixtureRequest
) -> None:
    def client_key() -> CertifiedKey:
        if name == "pss":
            return key_named(name, pki, request)
        leaf: Credential = getattr(pki, name)
        return certified(issue("client.test", issuer=pki.root, key=leaf.private_key, purposes=[CLIENT_AUTH]))

    key = client_key()
    clients = world.client_config(certified_key=key, maximum_version=version)
    settings = {**mutual(world), "client_auth": "optional"}
    for scheme in SCHEMES:
        pair = world.meet(clients, world.server_config(schemes=(scheme,), **settings))
        if name == "pss" and fits(scheme, name, version):
            # it signs; whether a chain with such a key can be trusted is for `cryptography` to say, and it does not
            assert pair.took.server_error is not None
            continue
        pair.check()
        assert pair.server.peer_chain == (key.chain if fits(scheme, name, version) else ())


# --- the lists -------------------------------------------------------------------------------------------------------


def extensions_of(config: ClientConfig) -> dict[int, bytes]:
    return hello_of(Connection(config, server_name="localhost")).hello.extensions


@pytest.mark.parametrize("schemes", [None, CERTIFICATE_SCHEMES])
def test_signature_algorithms_cert_is_not_sent_where_it_would_say_nothing_new(
    world: World, schemes: tuple[int, ...] | None
) -> None:
    assert E.signature_algorithms_cert not in extensions_of(world.client_config(certificate_schemes=schemes))


def test_signature_algorithms_cert_is_sent_where_it_differs(world: World) -> None:
    config = world.client_config(schemes=(0x0403,), certificate_schemes=(0x0403, 0x0401), grease=False)
    bodies = extensions_of(config)
    assert ext.parse_signature_algorithms(bodies[E.signature_algorithms]) == (0x0403,)
    assert ext.parse_signature_algorithms_cert(bodies[E.signature_algorithms_cert]) == (0x0403, 0x0401)


def test_a_certificate_request_says_it_too(world: World) -> None:
    peer = client13_for(world, **mutual(world), certificate_schemes=(0x0403,)).say_hello().read_flight()
    request = CertificateRequest.parse(peer.part(H.certificate_request))
    assert ext.parse_signature_algorithms_cert(request.extensions[E.signature_algorithms_cert]) == (0x0403,)


def test_the_list_for_certificates_is_that_for_signatures_unless_it_is_there(world: World) -> None:
    hello = Client13(Connection(world.server_config())).hello()
    assert ClientHelloFacts(hello).certificate_schemes == CERTIFICATE_SCHEMES
    hello.extensions[int(E.signature_algorithms_cert)] = ext.pack_signature_algorithms_cert((0x0807,))
    assert ClientHelloFacts(hello).certificate_schemes == (0x0807,)
    assert ClientHelloFacts(hello).schemes == CERTIFICATE_SCHEMES


@both_versions
@pytest.mark.proves("9846:4.5.1.2:5", "5246:7.4.2:14")
def test_a_server_shows_the_chain_that_is_signed_as_the_client_asks(world: World, pki: Pki, version: int) -> None:
    first, second = pki.server(issuer=pki.rsa_root), pki.server(issuer=pki.root)  # both with P-256 keys
    servers = world.server_config(certified_keys=(certified(first), certified(second)), maximum_version=version)

    def shown(**settings: Any) -> tuple[bytes, ...]:
        pair = world.meet(world.client_config(trust=None, **settings), servers).check()
        return pair.client.peer_chain

    assert shown() == first.chain_der
    assert shown(certificate_schemes=(S.ecdsa_secp256r1_sha256,)) == second.chain_der
    assert shown(certificate_schemes=(S.rsa_pkcs1_sha256,)) == first.chain_der
    assert shown(schemes=(S.ecdsa_secp256r1_sha256,)) == second.chain_der  # without the other list it is for both


@both_versions
def test_the_name_comes_before_the_signatures_of_the_chain(world: World, pki: Pki, version: int) -> None:
    other = pki.server("other.test", issuer=pki.root)
    named = pki.server("localhost", issuer=pki.rsa_root)
    servers = world.server_config(certified_keys=(certified(other), certified(named)), maximum_version=version)
    clients = world.client_config(trust=None, schemes=(S.ecdsa_secp256r1_sha256,))
    assert world.meet(clients, servers).check().client.peer_chain == named.chain_der


@both_versions
def test_a_server_with_no_such_chain_shows_what_it_has(world: World, pki: Pki, version: int) -> None:
    servers = world.server_config(certified_keys=(certified(pki.ecdsa_p256),), maximum_version=version)
    pair = world.meet(world.client_config(certificate_schemes=(S.ed25519,)), servers)
    assert isinstance(pair.took.client_error, UnsupportedCertificate)  # and a client of ours means what it says
    assert isinstance(pair.took.server_error, AlertReceived)


@pytest.mark.proves("5246:7.4.4:1", "5246:7.4.6:9")
@both_versions
def test_a_server_refuses_a_client_chain_that_is_signed_otherwise(world: World, pki: Pki, version: int) -> None:
    servers = world.server_config(**mutual(world), certificate_schemes=(S.ed25519,), maximum_version=version)
    pair = world.meet(world.client_config(certified_key=certified(pki.client)), servers)
    assert isinstance(pair.took.server_error, UnsupportedCertificate)


@both_versions
def test_chains_that_are_signed_as_wanted_pass(world: World, pki: Pki, version: int) -> None:
    wanted = (int(S.ecdsa_secp256r1_sha256),)
    servers = world.server_config(
        **mutual(world), certificate_schemes=wanted, maximum_version=version, certified_keys=(certified(pki.ed25519),)
    )
    world.meet(world.client_config(certified_key=certified(pki.client), certificate_schemes=wanted), servers).check()


@pytest.mark.parametrize("body", [b"", b"\0\0", b"\0\1\4", b"\0\2\4"])
def test_a_broken_list_is_a_decode_error_on_either_side(world: World, body: bytes) -> None:
    client13_for(world).say_hello(add={int(E.signature_algorithms_cert): body}).refused(DecodeError)
    peer = server13_for(world).say_hello().say_extensions()
    peer.say_request({int(E.signature_algorithms_cert): body}).refused(DecodeError)


# --- TLS 1.2: curves of certificates, and types of keys --------------------------------------------------------------


def meet12(world: World, client: dict[str, Any], server: dict[str, Any]) -> Pair:
    return world.meet(world.client_config(**client), world.server_config(**server, maximum_version=TLS12))


@pytest.mark.proves("5246:7.4.2:13", "8422:5.3:3", "8422:5.1:3")
def test_a_tls12_server_does_not_show_a_key_on_a_curve_that_the_client_did_not_list(world: World, pki: Pki) -> None:
    """RFC 8422, section 5.3."""
    p384, p256 = certified(pki.ecdsa_p384), certified(pki.ecdsa_p256)
    client = {"groups": (29, 23)}
    assert meet12(world, client, {"certified_keys": (p384, p256)}).check().client.peer_chain == p256.chain
    pair = meet12(world, client, {"certified_keys": (p384,)})
    assert isinstance(pair.took.server_error, HandshakeFailure)
    # neither keys of other kinds nor TLS 1.3 have such a rule
    meet12(world, {"groups": (29,)}, {"certified_keys": (certified(pki.ed25519),)}).check()
    meet12(world, {"groups": (29,)}, {"certified_keys": (certified(pki.rsa2048),)}).check()
    world.meet(world.client_config(groups=(29,)), world.server_config(certified_keys=(p384,))).check()


def test_a_tls12_client_refuses_a_key_on_a_curve_that_it_did_not_list(world: World, pki: Pki) -> None:
    peer = server12_for(world, groups=(29, 23)).say_hello()
    peer.say_certificate(*pki.ecdsa_p384.chain_der).refused(IllegalParameter)


@pytest.mark.proves("5246:7.4.4:2", "5246:7.4.6:2", "8422:3.1:1", "8422:5.6:1")
@pytest.mark.parametrize(
    ("types", "leaf", "shows"),
    [
        (b"\x40", "client", True),
        (b"\x01", "client", False),
        (b"\x40", "client_rsa", False),
        (b"\x01", "client_rsa", True),
        (b"\x02\x41", "client", False),
        (b"\x01\x02\x40", "client_rsa", True),
    ],
)
def test_a_tls12_client_shows_only_a_key_of_a_type_that_was_asked_for(
    world: World, pki: Pki, types: bytes, leaf: str, shows: bool
) -> None:
    peer = server12_for(world, certified_key=certified(getattr(pki, leaf))).say_hello().say_certificate()
    peer.say_key_exchange().say_request(types=types).say_done().accepted()
    assert (H.certificate_verify in [raw[0] for raw in peer.flight]) is shows


@pytest.mark.proves("9846:4.3.3:13", "9846:4.3.3:14", "9846:4.3.3:10")
def test_sha1_is_neither_offered_nor_taken(world: World) -> None:
    assert not {0x0201, 0x0203} & SCHEMES.keys()
    for scheme in (0x0201, 0x0203):
        with pytest.raises(Error):
            world.client_config(schemes=(scheme,))
        with pytest.raises(Error):
            world.server_config(certificate_schemes=(scheme,))
