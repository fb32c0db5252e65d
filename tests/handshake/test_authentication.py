"""Certificates in the handshake: both versions, both roles, good ones and refused ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from resumption.constants import HandshakeType as H
from resumption.crypto.signatures import certificate_verify_content, sign
from resumption.errors import (
    BadCertificate,
    CertificateError,
    CertificateExpired,
    CertificateRequired,
    DecodeError,
    DecryptError,
    Error,
    HandshakeFailure,
    HostnameMismatch,
    IllegalParameter,
    UnexpectedMessage,
    UnknownCA,
    UnsupportedCertificate,
    UnsupportedExtension,
)
from resumption.handshake.events import HandshakeCompleted, SessionIssued
from resumption.session.verdicts import Reason
from resumption.wire import extensions as ext
from resumption.wire.messages import Certificate, CertificateEntry, CertificateVerify
from resumption.wire.records import DEFAULT_MESSAGE_LIMIT
from tests.handshake.pairs import TLS12, TLS13, VERSIONS, World, certified, pump, trust
from tests.handshake.samples import message
from tests.handshake.scripted13 import Client13, Server13
from tests.handshake.stops import client12_for, client13_for, mutual, server12_for, server13_for
from tests.pki import CLIENT_AUTH, Credential, Pki, issue

EXPIRED = CertificateExpired
LEAVES = ("ecdsa_p256", "ecdsa_p384", "ecdsa_p521", "ed25519", "ed448", "rsa2048", "rsa2048_pss_signed")
both_versions = pytest.mark.parametrize("version", VERSIONS, ids=("1.2", "1.3"))


@pytest.mark.proves("9846:4.5.1:1", "9846:4.5.2:1", "9846:9.1:2")
@both_versions
@pytest.mark.parametrize("leaf", [*LEAVES, "under_intermediate"])
def test_every_kind_of_certificate_serves(world: World, pki: Pki, version: int, leaf: str) -> None:
    credential: Credential = getattr(pki, leaf)
    server = world.server_config(certified_keys=(certified(credential),))
    pair = world.meet(world.client_config(maximum_version=version), server).check()
    assert pair.client.version == version
    assert pair.client.peer_chain == credential.chain_der
    pair.talk()


REFUSED: list[tuple[str, str, type[CertificateError], int]] = [
    ("expired", "localhost", CertificateExpired, 10),
    ("not_yet_valid", "localhost", CertificateExpired, 9),
    ("untrusted", "localhost", UnknownCA, 20),
    ("self_signed", "localhost", UnknownCA, 18),
    ("example", "localhost", HostnameMismatch, 62),
    ("without_san", "localhost", HostnameMismatch, 62),
    ("ecdsa_p256", "192.0.2.1", HostnameMismatch, 64),
    ("wrong_purpose", "localhost", UnsupportedCertificate, 26),
]


@pytest.mark.proves("9846:4.5.1.2:7", "9846:C.5:1")
@both_versions
@pytest.mark.parametrize(("leaf", "name", "error", "code"), REFUSED, ids=[row[0] for row in REFUSED])
def test_a_server_certificate_that_is_not_good_is_refused_with_its_alert(
    world: World, pki: Pki, version: int, leaf: str, name: str, error: type[CertificateError], code: int
) -> None:
    server = world.server_config(certified_keys=(certified(getattr(pki, leaf)),))
    pair = world.meet(world.client_config(maximum_version=version), server, name=name)
    assert isinstance(pair.took.client_error, error)
    assert pair.took.client_error.verify_code == code
    assert str(pair.took.server_error).endswith(error.alert.name)
    assert pair.client.session is None  # F24
    assert not pair.took.client


@both_versions
def test_f20_without_verification_any_certificate_will_do_and_its_session_says_so(
    world: World, pki: Pki, version: int
) -> None:
    server = world.server_config(certified_keys=(certified(pki.untrusted),))
    pair = world.meet(world.client_config(maximum_version=version, trust=None), server, name="whoever.test").check()
    assert pair.client.facts is not None
    assert (pair.client.facts.verify_result, pair.client.facts.verified_name) == (1, None)
    unnamed = world.client_config(maximum_version=version, verify_hostname=False)
    pair = world.meet(unnamed, world.server_config(), name="whoever.test").check()
    assert pair.client.facts is not None
    assert (pair.client.facts.verify_result, pair.client.facts.verified_name) == (0, None)


@pytest.mark.proves("9846:4.5.1.2:1", "5246:7.4.2:5")
@both_versions
@pytest.mark.parametrize("der", [b"x", b"\x30\x00", b"\x30\x82\xff\xff" + bytes(100)])
def test_bytes_that_are_no_certificate_are_a_bad_certificate(world: World, version: int, der: bytes) -> None:
    for changes in ({}, {"trust": None}):
        if version == TLS13:
            peer: Any = server13_for(world, **changes).say_hello().say_extensions().say_certificate(der)
            peer.say_verify()
        else:
            peer = server12_for(world, **changes).say_hello().say_certificate(der)
        peer.refused(BadCertificate)


@pytest.mark.proves("9846:4.5.1:12", "9846:4.5.1.3:1")
def test_an_empty_certificate_of_a_server_is_a_decode_error(world: World) -> None:
    peer = server13_for(world).say_hello().say_extensions()
    peer.say(Certificate(b"", ())).refused(DecodeError)


@pytest.mark.proves("9846:4.5.1:5")
def test_a_context_in_the_certificate_of_a_server_is_illegal(world: World) -> None:
    peer = server13_for(world).say_hello().say_extensions()
    peer.say_certificate(context=b"x").refused(IllegalParameter)


@pytest.mark.proves("9846:4.5.2:6", "9846:4.5.2:7", "9846:4.5.2:8", "9846:4.5.2:9")
@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"wrong": True}, DecryptError),
        ({"scheme": 0x0403}, IllegalParameter),  # not a scheme of this key
        ({"scheme": 0x0401}, IllegalParameter),  # not for TLS 1.3
        ({"scheme": 0x0201}, IllegalParameter),  # not offered
    ],
)
def test_the_proof_of_a_server_is_checked(world: World, changes: dict[str, Any], error: type[Error]) -> None:
    peer = server13_for(world).say_hello().say_extensions().say_certificate()
    peer.say_verify(**changes)
    peer.refused(error)  # type: ignore[arg-type]


@pytest.mark.proves("9846:4.5.2:4", "9846:4.5.2:5", "5246:7.4.3:2", "5246:7.4.8:2")
def test_a_scheme_that_was_not_offered_is_refused_although_the_key_fits(world: World) -> None:
    """Both versions, both roles: Ed25519 works here, and the configuration leaves it out."""
    schemes = tuple(scheme for scheme in world.client_config().schemes if scheme != 0x0807)
    peer = server13_for(world, schemes=schemes).say_hello().say_extensions().say_certificate()
    peer.say_verify().refused(IllegalParameter, "not offered")
    server12_for(world, schemes=schemes).say_hello().say_certificate().say_key_exchange().refused(
        IllegalParameter, "not offered"
    )
    server = {**mutual(world), "schemes": (0x0807,)}  # the client signs with ECDSA
    asked = client13_for(world, identity=True, **server).say_hello().read_flight().say_certificate()
    asked.say_verify().refused(IllegalParameter, "not offered")
    old = client12_for(world, identity=True, **server).say_hello().read_flight().say_certificate().say_key_exchange()
    old.say_verify().refused(IllegalParameter, "not offered")


def test_the_proof_of_a_client_does_not_pass_for_that_of_a_server(world: World) -> None:
    peer = server13_for(world).say_hello().say_extensions().say_certificate()
    peer.say(peer.certificate_verify(server=False)).refused(DecryptError)


def test_pkcs1_signatures_are_refused_in_tls13_even_if_they_are_right(world: World, pki: Pki) -> None:
    peer = Server13(world.client_context().connection("localhost"), certified(pki.rsa2048))
    peer.say_hello().say_extensions().say_certificate()
    content = certificate_verify_content(True, peer.digest())
    signature = sign(certified(pki.rsa2048).private_key, 0x0401, content, version=TLS12)
    peer.say(CertificateVerify(0x0401, signature)).refused(IllegalParameter)


@pytest.mark.proves("9846:4:2", "9846:4.5.1:1", "9846:4.5.2:3")
def test_a_finished_without_certificate_is_unexpected(world: World) -> None:
    peer = server13_for(world).say_hello().say_extensions()
    peer.say_finished().refused(UnexpectedMessage)
    peer = server13_for(world).say_hello().say_extensions().say_certificate()
    peer.say_finished().refused(UnexpectedMessage)


# --- long chains -----------------------------------------------------------------------------------------------------


def long_chain(pki: Pki, length: int) -> tuple[bytes, ...]:
    return (pki.ed25519.chain_der[0], *[pki.intermediate.cert_der] * length)


@both_versions
def test_a_chain_over_many_records_arrives(world: World, pki: Pki, version: int) -> None:
    """Forty certificates that are of no use: 20 KB of them, over two records; nobody trusts what they would need."""
    chain = long_chain(pki, 40)
    assert sum(map(len, chain)) > 2**14
    settings = {"trust": None, "maximum_version": version}
    if version == TLS13:
        peer: Any = server13_for(world, **settings).say_hello().say_extensions().say_certificate(*chain)
        peer.say_verify().say_finished()
    else:
        peer = server12_for(world, **settings).say_hello().say_certificate(*chain).say_key_exchange().say_done()
        peer.say_ccs().say_finished()
    peer.accepted()
    assert peer.subject.peer_chain == chain


@both_versions
def test_handshake_messages_may_be_cut_into_records_of_one_byte(world: World, version: int) -> None:
    """The records, not the stream: each byte of each message in a record of its own."""
    if version == TLS13:
        peer: Any = server13_for(world).say_hello().say_extensions()
        raw = peer.certificate()
        peer.spoken.append(raw)
        for at in range(len(raw)):
            peer.say_record(22, raw[at : at + 1]).accepted()
        peer.say_verify().say_finished().accepted()
    else:
        peer = server12_for(world)
        hello = peer.server_hello()
        peer.server_random = hello.random
        peer.spoken.append(hello.pack())
        for byte in hello.pack():
            peer.say_record(22, bytes((byte,))).accepted()
        peer.say_certificate().say_key_exchange().say_done().say_ccs().say_finished().accepted()


@both_versions
def test_a_message_beyond_the_limit_is_refused_by_its_header(world: World, version: int) -> None:
    peer: Any = server13_for(world) if version == TLS13 else server12_for(world)
    peer.say_hello()
    if version == TLS13:
        peer.say_extensions()
    peer.say_record(22, b"\x0b" + (DEFAULT_MESSAGE_LIMIT + 1).to_bytes(3)).refused(DecodeError)


# --- client certificates ---------------------------------------------------------------------------------------------


@pytest.mark.proves("9846:4.5.2:2", "9846:4.5.1:2", "5246:7.3:2")
@both_versions
@pytest.mark.parametrize("leaf", ["client", "client_rsa", "client_without_san"])
def test_a_client_proves_who_it_is(world: World, pki: Pki, version: int, leaf: str) -> None:
    identity: Credential = getattr(pki, leaf)
    server = world.server_config(**mutual(world))
    client = world.client_config(maximum_version=version, certified_key=certified(identity))
    pair = world.meet(client, server).check()
    assert pair.server.peer_chain == identity.chain_der
    assert pair.server.facts is not None
    assert pair.server.facts.verify_result == 0
    pair.talk()


@pytest.mark.proves("9846:4.5.1:2", "9846:4.5.1:3", "9846:4.5.1:4", "5246:7.4.6:1")
@both_versions
@pytest.mark.parametrize("auth", ["none", "optional", "required"])
@pytest.mark.parametrize("shows", [False, True])
def test_policy_and_certificate(world: World, pki: Pki, version: int, auth: str, shows: bool) -> None:
    settings = {**mutual(world), "client_auth": auth}
    client = world.client_config(maximum_version=version, certified_key=certified(pki.client) if shows else None)
    pair = world.meet(client, world.server_config(**settings))
    if auth == "required" and not shows:
        refused = CertificateRequired if version == TLS13 else HandshakeFailure
        assert type(pair.took.server_error) is refused
        assert str(pair.took.client_error).endswith(refused.alert.name)
        assert not any(isinstance(event, HandshakeCompleted) for event in pair.took.server)
    else:
        pair.check().talk()
        assert bool(pair.server.peer_chain) == (shows and auth != "none")


@both_versions
@pytest.mark.parametrize(
    ("leaf", "error"),
    [
        (lambda pki: pki.untrusted, UnknownCA),
        (lambda pki: issue("late", issuer=pki.root, purposes=[CLIENT_AUTH], not_before=1e9, not_after=1.1e9), EXPIRED),
        (lambda pki: pki.ecdsa_p256, UnsupportedCertificate),
    ],
    ids=["wrong CA", "expired", "a server's"],
)
@pytest.mark.parametrize("auth", ["optional", "required"])
def test_a_client_certificate_that_is_not_good_is_refused_also_where_none_is_needed(
    world: World, pki: Pki, version: int, leaf: Callable[[Pki], Credential], error: type[CertificateError], auth: str
) -> None:
    server = world.server_config(**{**mutual(world), "client_auth": auth})
    client = world.client_config(maximum_version=version, certified_key=certified(leaf(pki)))
    pair = world.meet(client, server)
    assert isinstance(pair.took.server_error, error)
    assert str(pair.took.client_error).endswith(error.alert.name)
    assert not pair.took.server  # nothing was issued, nothing completed (F78)


@pytest.mark.proves("9846:4.4.2:6")
@both_versions
def test_f13_a_resumed_server_sees_the_same_chain_and_result(world: World, pki: Pki, version: int) -> None:
    servers = world.server_context(client_auth="required", trust=pki.trust_pem, session_id_context=b"tests")
    clients = world.client_context(identity=pki.client, maximum_version=version)
    first = world.meet(clients, servers).check()
    second = world.meet(clients, servers).check()
    assert second.server.session_reused
    assert second.server.peer_chain == first.server.peer_chain == pki.client.chain_der
    assert first.server.facts is not None
    assert second.server.facts is not None
    for fact in ("peer_certificate", "verify_result", "auth_time", "deadline"):
        assert getattr(second.server.facts, fact) == getattr(first.server.facts, fact)
    first.free()
    second.free()


@both_versions
def test_a_session_without_certificate_does_not_get_past_a_policy_that_requires_one(
    world: World, pki: Pki, version: int
) -> None:
    keys = world.tickets
    optional = world.server_context(
        client_auth="optional", trust=pki.trust_pem, session_id_context=b"tests", tickets=keys
    )
    required = world.server_context(
        client_auth="required", trust=pki.trust_pem, session_id_context=b"tests", tickets=keys
    )
    clients = world.client_context(maximum_version=version)
    world.meet(clients, optional).check().free()
    pair = world.meet(clients, required)
    assert type(pair.took.server_error) in (CertificateRequired, HandshakeFailure)
    pair.free()


def asked13(world: World, *, auth: str = "required") -> Client13:
    config = {**mutual(world), "client_auth": auth}
    return client13_for(world, identity=True, **config).say_hello().read_flight()


@pytest.mark.proves("9846:4.5.2:6", "9846:4.5.2:7", "9846:4.5.2:8", "9846:4.5.2:9")
@pytest.mark.parametrize(
    ("changes", "error"),
    [({"wrong": True}, DecryptError), ({"scheme": 0x0807}, IllegalParameter), ({"scheme": 0x0201}, IllegalParameter)],
)
def test_the_proof_of_a_client_is_checked(world: World, changes: dict[str, Any], error: type[Error]) -> None:
    peer = asked13(world).say_certificate()
    peer.say_verify(**changes)
    peer.refused(error)  # type: ignore[arg-type]


@pytest.mark.proves("9846:4.5.2:2", "9846:4.5.2:3")
def test_f16_a_certificate_without_proof_is_not_enough(world: World) -> None:
    asked13(world).say_certificate().say_finished().refused(UnexpectedMessage)


@pytest.mark.proves("9846:4.5.1:2")
def test_no_certificate_message_where_one_was_asked_for_is_unexpected(world: World) -> None:
    asked13(world, auth="optional").say_finished().refused(UnexpectedMessage)


def test_a_proof_without_certificate_is_unexpected(world: World) -> None:
    peer = asked13(world, auth="optional")
    verify = peer.certificate_verify(server=False)
    peer.say(Certificate(b"", ())).accepted()
    peer.say(verify).refused(UnexpectedMessage)


def test_an_empty_certificate_where_one_is_required(world: World) -> None:
    asked13(world).say(Certificate(b"", ())).refused(CertificateRequired)


@pytest.mark.proves("9846:4.5.1:2")
def test_a_client_certificate_that_was_not_asked_for_is_unexpected(world: World) -> None:
    peer = client13_for(world, identity=True).say_hello().read_flight()
    peer.say_certificate().refused(UnexpectedMessage)


def test_the_context_of_the_request_must_come_back(world: World) -> None:
    asked13(world).say_certificate(context=b"x").refused(IllegalParameter)


@pytest.mark.proves("9846:4.3:4", "9846:4.5.1:7")
@pytest.mark.parametrize(
    ("number", "error"),
    [(5, UnsupportedExtension), (0x2A2A, UnsupportedExtension), (13, IllegalParameter), (51, UnsupportedExtension)],
)
def test_a_client_answers_nothing_that_was_not_asked(world: World, number: int, error: type[Error]) -> None:
    entry = CertificateEntry(world.pki.client.chain_der[0], {number: b""})
    asked13(world).say(Certificate(b"", (entry,))).refused(error)  # type: ignore[arg-type]


@pytest.mark.proves("9846:4.5.1:3", "9846:4.5.1:4", "9846:4.5.2:5")
def test_a_client_shows_nothing_if_no_scheme_fits(world: World, pki: Pki) -> None:
    for schemes, kinds in (((0x0403,), 3), ((0x0804, 0x0807), 2)):
        peer = server13_for(world, certified_key=certified(pki.client)).say_hello().say_extensions()
        peer.say_request({13: ext.pack_signature_algorithms(schemes)})
        peer.say_certificate().say_verify().say_finished().accepted()
        assert len(peer.flight) == kinds
        assert [raw[0] for raw in peer.flight][-1] == H.finished


@pytest.mark.proves("9846:4.7.2:5")
def test_requests_after_the_handshake_are_unexpected(world: World) -> None:
    """The client never offers post_handshake_auth."""
    peer = server13_for(world).connect()
    peer.say_request(context=b"x").refused(UnexpectedMessage)


def test_the_deadline_of_a_lineage_is_that_of_the_certificates(world: World, pki: Pki) -> None:
    """F15: never beyond the first certificate that ends, and never beyond the age of the authentication."""
    end = world.clock() + 1_000
    leaf = pki.server("localhost")
    assert certified(leaf).not_after > end
    for max_age, expected in ((500, world.clock() + 500), (10**9, certified(leaf).not_after)):
        client = world.client_config(max_auth_age_s=max_age)
        pair = world.meet(client, world.server_config(certified_keys=(certified(leaf),))).check()
        assert pair.client.facts is not None
        assert pair.client.facts.deadline == expected
        issued = [event.session for event in pair.took.client if isinstance(event, SessionIssued)]
        assert [session.data.deadline for session in issued] == [expected] * 2


def test_tls12_and_tls13_sessions_do_not_mix_with_other_trust(world: World, pki: Pki) -> None:
    """F03: another set of client CAs is another partition."""
    base = mutual(world)
    other = {**base, "trust": trust(pki.trust_pem, pki.ed25519_root.cert_pem)}
    client = world.client_config(certified_key=certified(pki.client))
    first = world.meet(client, world.server_config(**base)).check()
    session = first.client.get1_session()
    assert session is not None
    second = world.meet(client, world.server_config(**other), session=session).check()
    assert not second.client.session_reused
    assert second.server.resumption is not None
    assert second.server.resumption.reason is Reason.UNKNOWN  # it does not even open
    session.free()


def test_certificate_messages_of_the_wrong_version_do_not_parse(world: World) -> None:
    peer = server12_for(world).say_hello()
    peer.say(Certificate(b"", (CertificateEntry(world.leaf.chain_der[0], {}),))).refused(DecodeError)
    peer13 = server13_for(world).say_hello().say_extensions()
    der = world.leaf.chain_der[0]
    body = (len(der) + 3).to_bytes(3) + len(der).to_bytes(3) + der
    peer13.say(message(H.certificate, body))
    assert peer13.error is not None


def test_a_pair_of_tls12_only_and_tls13_only_has_no_version_in_common(world: World) -> None:
    pair = world.meet(world.client_config(maximum_version=TLS12), world.server_config(minimum_version=TLS13))
    assert str(pair.took.client_error).endswith("protocol_version")
    assert pump(pair.client, pair.server).client == []
