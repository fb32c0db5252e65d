"""Stapled OCSP responses and certificate timestamps: shown to who asks, and judged by who cares (F24)."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from resumption.constants import AlertDescription as A
from resumption.crypto.certificates import CertifiedKey
from resumption.crypto.status import check_status, demands_status
from resumption.errors import (
    AlertReceived,
    BadCertificateStatus,
    CertificateRevoked,
    ConfigurationError,
    DecodeError,
    InternalError,
    UnexpectedMessage,
)
from resumption.session.verdicts import Reason
from tests.handshake.pairs import VERSIONS, Pair, World, certified
from tests.pki import SERVER_AUTH, Credential, Pki, issue

both_versions = pytest.mark.parametrize("version", VERSIONS, ids=("1.2", "1.3"))
DAY = 86_400.0


def moment(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def response(
    leaf: Credential,
    now: float,
    *,
    status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
    since: float = -60,
    until: float | None = DAY,
    signer: Credential | None = None,
    about: Credential | None = None,
    enclosed: bool = False,
    by_name: bool = False,
    algorithm: Any = None,
) -> bytes:
    """An OCSP response for ``leaf``, whatever is wrong with it."""
    issuer = leaf.issuer or leaf
    signer = signer or issuer
    revoked = status is ocsp.OCSPCertStatus.REVOKED
    builder = ocsp.OCSPResponseBuilder().add_response(
        cert=(about or leaf).certificate,
        issuer=issuer.certificate,
        algorithm=hashes.SHA1(),
        cert_status=status,
        this_update=moment(now + since),
        next_update=moment(now + until) if until is not None else None,
        revocation_time=moment(now - DAY) if revoked else None,
        revocation_reason=None,
    )
    encoding = ocsp.OCSPResponderEncoding.NAME if by_name else ocsp.OCSPResponderEncoding.HASH
    builder = builder.responder_id(encoding, signer.certificate)
    if enclosed:
        builder = builder.certificates([signer.certificate])
    made = builder.sign(signer.private_key, algorithm or hashes.SHA256())
    return made.public_bytes(serialization.Encoding.DER)


@pytest.fixture
def leaf(pki: Pki) -> Credential:
    return pki.ecdsa_p256


def path(leaf: Credential) -> tuple[bytes, ...]:
    return (leaf.cert_der, leaf.root.cert_der)


@pytest.mark.parametrize("by_name", [True, False])
def test_a_good_response_says_until_when(world: World, leaf: Credential, by_name: bool) -> None:
    now = world.clock()
    assert check_status(response(leaf, now, by_name=by_name), path(leaf), now) == now + DAY
    assert check_status(response(leaf, now, until=None), path(leaf), now) == now - 60 + DAY


@pytest.fixture(scope="module")
def responder(pki: Pki) -> Credential:
    return issue("responder", issuer=pki.root, purposes=[ExtendedKeyUsageOID.OCSP_SIGNING])


def test_a_responder_that_the_issuer_named_may_sign(world: World, leaf: Credential, responder: Credential) -> None:
    now = world.clock()
    assert check_status(response(leaf, now, signer=responder, enclosed=True), path(leaf), now) == now + DAY


WRONG: dict[str, Callable[[Credential, float, Pki], bytes]] = {
    "unknown": lambda leaf, now, pki: response(leaf, now, status=ocsp.OCSPCertStatus.UNKNOWN),
    "stale": lambda leaf, now, pki: response(leaf, now, since=-2 * DAY, until=-1),
    "ends now": lambda leaf, now, pki: response(leaf, now, until=0),
    "old and without an end": lambda leaf, now, pki: response(leaf, now, since=-2 * DAY, until=None),
    "from the future": lambda leaf, now, pki: response(leaf, now, since=600),
    "about another": lambda leaf, now, pki: response(leaf, now, about=pki.ecdsa_p384),
    "by a stranger": lambda leaf, now, pki: response(leaf, now, signer=pki.other_root, enclosed=True),
    "by a namesake": lambda leaf, now, pki: response(leaf, now, signer=pki.other_root, by_name=True),
    "by the leaf": lambda leaf, now, pki: response(leaf, now, signer=leaf, enclosed=True),
    "by a server": lambda leaf, now, pki: response(leaf, now, signer=pki.ecdsa_p384, enclosed=True),
    "by a responder that ended": lambda leaf, now, pki: response(
        leaf,
        now,
        enclosed=True,
        signer=issue("x", issuer=pki.root, purposes=[ExtendedKeyUsageOID.OCSP_SIGNING], not_after=now - 10),
    ),
    "cut": lambda leaf, now, pki: response(leaf, now)[:-1],
    "changed": lambda leaf, now, pki: response(leaf, now)[:-1] + b"\x00",
    "no response": lambda leaf, now, pki: b"\x30\x00",
    "a refusal": lambda leaf, now, pki: ocsp.OCSPResponseBuilder.build_unsuccessful(
        ocsp.OCSPResponseStatus.TRY_LATER
    ).public_bytes(serialization.Encoding.DER),
    "too long": lambda leaf, now, pki: bytes(70_000),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_response_that_is_not_to_be_believed(world: World, pki: Pki, leaf: Credential, what: str) -> None:
    now = world.clock()
    with pytest.raises(BadCertificateStatus):
        check_status(WRONG[what](leaf, now, pki), path(leaf), now)


def test_a_revoked_certificate_is_called_that(world: World, leaf: Credential) -> None:
    now = world.clock()
    with pytest.raises(CertificateRevoked):
        check_status(response(leaf, now, status=ocsp.OCSPCertStatus.REVOKED), path(leaf), now)


# Handshakes


def meet(world: World, version: int, status: Any, *, client: dict[str, Any] | None = None, **server: Any) -> Pair:
    settings: dict[str, Any] = {"leaf": world.pki.ecdsa_p256, "ocsp_response": status, **server}
    asked = {"ocsp": "check", "minimum_version": version, "maximum_version": version, **(client or {})}
    return world.meet(world.client_context(**asked), world.server_context(**settings))


@both_versions
def test_a_response_is_shown_to_who_asks(world: World, leaf: Credential, version: int) -> None:
    staple = response(leaf, world.clock())
    assert meet(world, version, staple).check().client.ocsp_response == staple
    assert meet(world, version, lambda: staple).check().client.ocsp_response == staple
    assert meet(world, version, staple, client={"ocsp": "off"}).check().client.ocsp_response is None
    assert meet(world, version, None).check().client.ocsp_response is None
    assert meet(world, version, lambda: None).check().client.ocsp_response is None


@pytest.mark.proves("6066:8:5")
@both_versions
@pytest.mark.parametrize("what", ["stale", "unknown", "by a stranger"])
@pytest.mark.parametrize("policy", ["check", "require"])
def test_f24_a_bad_response_ends_the_connection_and_leaves_no_session(
    world: World, pki: Pki, leaf: Credential, version: int, what: str, policy: str
) -> None:
    client = world.client_context(ocsp=policy, minimum_version=version, maximum_version=version)
    server = world.server_context(leaf=leaf, ocsp_response=WRONG[what](leaf, world.clock(), pki))
    pair = world.meet(client, server)
    assert isinstance(pair.took.client_error, BadCertificateStatus)
    assert isinstance(pair.took.server_error, AlertReceived)
    assert pair.took.server_error.description == A.bad_certificate_status_response
    assert len(client.sessions) == 0
    assert pair.client.session is None


@both_versions
def test_f24_a_revoked_certificate_ends_the_connection(world: World, leaf: Credential, version: int) -> None:
    pair = meet(world, version, response(leaf, world.clock(), status=ocsp.OCSPCertStatus.REVOKED))
    assert isinstance(pair.took.client_error, CertificateRevoked)
    assert isinstance(pair.took.server_error, AlertReceived)
    assert pair.took.server_error.description == A.certificate_revoked


@both_versions
def test_a_missing_response_matters_only_where_it_is_demanded(world: World, pki: Pki, version: int) -> None:
    assert isinstance(meet(world, version, None, client={"ocsp": "require"}).took.client_error, BadCertificateStatus)
    feature = x509.TLSFeature([x509.TLSFeatureType.status_request])
    stapler = issue("localhost", issuer=pki.root, names=["localhost"], purposes=[SERVER_AUTH], extra=[(feature, False)])
    assert demands_status(stapler.cert_der)
    assert not demands_status(pki.ecdsa_p256.cert_der)
    assert isinstance(meet(world, version, None, leaf=stapler).took.client_error, BadCertificateStatus)
    meet(world, version, response(stapler, world.clock()), leaf=stapler).check()
    meet(world, version, None, leaf=stapler, client={"ocsp": "off"}).check()


@both_versions
def test_f24_a_session_is_resumed_no_longer_than_its_status_is_fresh(
    world: World, leaf: Credential, version: int
) -> None:
    client = world.client_context(ocsp="require", minimum_version=version, maximum_version=version)
    server = world.server_context(leaf=leaf, ocsp_response=lambda: response(leaf, world.clock(), until=600))
    world.meet(client, server).check()
    world.clock.advance(500)
    again = world.meet(client, server).check()
    assert again.client.session_reused
    assert again.client.ocsp_response is None, "it is shown in full handshakes"
    world.clock.advance(101)
    late = world.meet(client, server).check()
    assert not late.client.session_reused


@both_versions
def test_f24_a_session_of_another_policy_is_not_resumed_by_a_strict_client(
    world: World, leaf: Credential, version: int
) -> None:
    versions = {"minimum_version": version, "maximum_version": version}
    server = world.server_context(leaf=leaf, ocsp_response=response(leaf, world.clock()))
    lenient, strict = world.client_context(**versions), world.client_context(ocsp="require", **versions)
    assert lenient.config.peer_key("localhost") != strict.config.peer_key("localhost")
    with world.meet(lenient, server).check().client.get1_session() as session:  # type: ignore[union-attr]
        pair = world.meet(strict, server, session=session).check()
    assert not pair.client.session_reused
    assert pair.client.resumption is not None
    assert pair.client.resumption.reason is Reason.STATUS_NOT_FRESH


@both_versions
def test_f12_a_source_of_responses_that_raises_ends_the_connection(world: World, version: int) -> None:
    def fails() -> bytes:
        raise InternalError("the responder is down")

    assert isinstance(meet(world, version, fails).took.server_error, InternalError)


@both_versions
def test_timestamps_are_shown_to_who_asks(world: World, version: int) -> None:
    scts = (b"one timestamp", b"another")
    pair = meet(world, version, None, client={"ocsp": "off", "request_scts": True}, scts=scts).check()
    assert pair.client.scts == scts
    assert meet(world, version, None, scts=scts).check().client.scts == ()


def test_each_chain_has_its_own_response(world: World, pki: Pki, leaf: Credential) -> None:
    staple = response(pki.rsa2048, world.clock())
    other = certified(pki.rsa2048).with_status(staple, [b"sct"])
    server = world.server_context(leaf=leaf, certificates=[other])
    client = world.client_context(ocsp="require", request_scts=True, schemes=(0x0804, 0x0401))
    pair = world.meet(client, server).check()
    assert pair.client.ocsp_response == staple
    assert pair.client.scts == (b"sct",)
    assert isinstance(other, CertifiedKey)


@pytest.mark.parametrize("settings", [{"ocsp": "sometimes"}, {"ocsp": "require", "verify": False}])
def test_policies_that_make_no_sense_are_refused(world: World, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="ocsp"):
        world.client_context(**settings)


def test_a_status_that_was_not_announced_is_unexpected(world: World, leaf: Credential) -> None:
    """TLS 1.2: the message comes although the ServerHello did not say so."""
    from resumption.wire import messages12
    from tests.handshake.stops import server12_for

    peer = server12_for(world, ocsp="check").say_hello().say_certificate()
    peer.say(messages12.CertificateStatus(1, response(leaf, world.clock()))).refused(UnexpectedMessage)


def test_a_promise_with_a_body_is_malformed(world: World) -> None:
    from tests.handshake.stops import server12_for

    server12_for(world, ocsp="check").say_hello(add={5: b"x"}).refused(DecodeError)


@both_versions
def test_a_client_that_verifies_nothing_judges_nothing(world: World, leaf: Credential, version: int) -> None:
    staple = response(leaf, world.clock(), status=ocsp.OCSPCertStatus.REVOKED)
    pair = meet(world, version, staple, client={"verify": False}).check()
    assert pair.client.ocsp_response == staple
