"""Which certificate a client shows, what a server says it trusts, and authentication after the handshake (F16)."""

from __future__ import annotations

from typing import Any

import pytest

from resumption import ClientContext, PeerAuthenticated, RequestedCertificate, ServerContext
from resumption.connection import Connection
from resumption.constants import AlertDescription as A
from resumption.constants import ExtensionType, HandshakeType, SignatureScheme
from resumption.crypto.schedule13 import verify_data
from resumption.crypto.signatures import certificate_verify_content, sign
from resumption.crypto.suites import SUITES
from resumption.errors import (
    AlertReceived,
    CertificateRequired,
    ConfigurationError,
    DecryptError,
    IllegalParameter,
    InternalError,
    MissingExtension,
    UnexpectedMessage,
    UnknownCA,
    UsageError,
)
from resumption.handshake.events import DataReceived, SessionIssued
from resumption.handshake.state import State
from resumption.wire import extensions as ext
from resumption.wire.messages import Certificate, CertificateEntry, CertificateRequest, CertificateVerify, Finished
from tests.handshake.pairs import TLS12, VERSIONS, Pair, World, certified, feed
from tests.handshake.samples import SAMPLES
from tests.handshake.stops import LATER
from tests.pki import CLIENT_AUTH, Credential, Pki, issue

both_versions = pytest.mark.parametrize("version", VERSIONS, ids=("1.2", "1.3"))


@pytest.fixture(scope="module")
def other_ca() -> Credential:
    return issue("other clients", ca=True)


@pytest.fixture(scope="module")
def other_client(other_ca: Credential) -> Credential:
    return issue("other.test", issuer=other_ca, names=["other.test"], purposes=[CLIENT_AUTH])


def asking(world: World, *roots: bytes, **changes: Any) -> ServerContext:
    settings: dict[str, Any] = {
        "client_auth": "optional",
        "trust": b"".join(roots) or world.pki.root.cert_pem,
        "session_id_context": b"service",
    }
    return world.server_context(**{**settings, **changes})


def shown(pair: Pair) -> bytes | None:
    chain = pair.check().server.peer_chain
    return chain[0] if chain else None


# Which certificate


@both_versions
def test_the_certificate_of_a_named_authority_is_shown(
    world: World, pki: Pki, version: int, other_ca: Credential, other_client: Credential
) -> None:
    client = world.client_context(
        identity=pki.client, certificates=[certified(other_client)], minimum_version=version, maximum_version=version
    )
    assert shown(world.meet(client, asking(world))) == pki.client.cert_der
    assert shown(world.meet(client, asking(world, other_ca.cert_pem), fresh=True)) == other_client.cert_der
    both = asking(world, pki.root.cert_pem, other_ca.cert_pem)
    assert shown(world.meet(client, both, fresh=True)) == pki.client.cert_der, "the first of ours"


@both_versions
def test_without_a_fitting_authority_the_first_is_shown(
    world: World, pki: Pki, version: int, other_ca: Credential
) -> None:
    """A server may name fewer authorities than it accepts."""
    client = world.client_context(identity=pki.client, minimum_version=version, maximum_version=version)
    pair = world.meet(client, asking(world, other_ca.cert_pem))
    assert isinstance(pair.took.server_error, UnknownCA)
    silent = asking(world, send_authorities=False)
    assert shown(world.meet(client, silent, fresh=True)) == pki.client.cert_der


@both_versions
def test_a_certificate_whose_key_does_not_fit_is_passed_over(world: World, pki: Pki, version: int) -> None:
    rsa = issue("rsa.test", issuer=pki.root, names=["rsa.test"], key=pki.rsa_leaf_key, purposes=[CLIENT_AUTH])
    client = world.client_context(
        certificate=certified(rsa),
        certificates=[certified(pki.client)],
        minimum_version=version,
        maximum_version=version,
    )
    server = asking(world, schemes=(SignatureScheme.ecdsa_secp256r1_sha256, SignatureScheme.ed25519))
    assert shown(world.meet(client, server)) == pki.client.cert_der


@both_versions
def test_a_hook_decides_what_is_shown(
    world: World, pki: Pki, version: int, other_ca: Credential, other_client: Credential
) -> None:
    seen: list[RequestedCertificate] = []
    answers = [certified(other_client), None]

    def choose(connection: Any, wanted: RequestedCertificate) -> Any:
        assert not connection.is_server
        seen.append(wanted)
        return answers[len(seen) - 1]

    client = world.client_context(choose_certificate=choose, minimum_version=version, maximum_version=version)
    server = asking(world, pki.root.cert_pem, other_ca.cert_pem)
    assert shown(world.meet(client, server)) == other_client.cert_der
    assert shown(world.meet(client, server, fresh=True)) is None
    assert seen[0].version == version
    assert set(seen[0].authorities) == {ca.certificate.subject.public_bytes() for ca in (pki.root, other_ca)}
    assert SignatureScheme.ecdsa_secp256r1_sha256 in seen[0].schemes
    assert seen[0].context == b""


@both_versions
@pytest.mark.parametrize("answer", ["raises", "a string"])
def test_f12_a_hook_that_fails_ends_the_connection(world: World, version: int, answer: str) -> None:
    def choose(connection: Any, wanted: RequestedCertificate) -> Any:
        if answer == "raises":
            raise InternalError("no idea")
        return answer

    client = world.client_context(choose_certificate=choose, minimum_version=version, maximum_version=version)
    connection, end = client.connection("localhost"), asking(world).connection()
    pair = Pair(connection, end, _carry(connection, end))
    assert isinstance(pair.took.client_error, InternalError)
    assert isinstance(pair.took.server_error, AlertReceived)
    assert pair.took.server_error.description == A.internal_error


def _carry(connection: Connection, end: Connection) -> Any:
    """`pump`, for an error whose cause is the point."""
    from tests.handshake import pairs

    errors: list[Any] = [None, None]
    events: tuple[list[Any], list[Any]] = ([], [])
    for _ in range(6):
        for index, (sender, receiver) in enumerate(((connection, end), (end, connection))):
            data = sender.data_to_send()
            if data and receiver.error is None:
                try:
                    events[1 - index].extend(receiver.receive_data(data))
                except Exception as error:
                    errors[1 - index] = error
    return pairs.Took(events[0], events[1], errors[0], errors[1])


def test_hooks_of_different_names_do_not_share_sessions(world: World) -> None:
    def one(connection: Any, wanted: RequestedCertificate) -> None:
        return None

    def two(connection: Any, wanted: RequestedCertificate) -> None:
        return None

    keys = {world.client_context(choose_certificate=hook).config.peer_key("localhost") for hook in (None, one, two)}
    assert len(keys) == 3


# What is said of authorities


def test_a_server_chooses_its_chain_by_what_the_client_trusts(world: World, pki: Pki) -> None:
    server = world.server_context(leaf=pki.ecdsa_p256, certificates=[certified(pki.rsa2048)])
    for root, leaf in ((pki.root, pki.ecdsa_p256), (pki.rsa_root, pki.rsa2048)):
        client = world.client_context(trust=root.cert_pem, send_authorities=True)
        assert world.meet(client, server).check().client.peer_chain == leaf.chain_der
    silent = world.client_context(trust=pki.rsa_root.cert_pem)
    assert ExtensionType.certificate_authorities not in silent.config.hello_extensions
    assert isinstance(world.meet(silent, server).took.client_error, UnknownCA)


def test_too_many_authorities_are_not_named(world: World) -> None:
    many = [issue("x" * 60 + str(number), ca=True).cert_pem for number in range(12)]
    context = asking(world, b"".join(many), world.pki.root.cert_pem)
    assert context.config.authorities
    import resumption.own_certificates as module

    before, module.MOST_AUTHORITIES = module.MOST_AUTHORITIES, 100
    try:
        context = asking(world, b"".join(many), world.pki.root.cert_pem)
        assert context.config.authorities == ()
        assert ExtensionType.certificate_authorities not in context.config.request_extensions
    finally:
        module.MOST_AUTHORITIES = before


# After the handshake


def later(world: World, **changes: Any) -> ServerContext:
    return asking(world, **{"client_auth": "none", "post_handshake_auth": True, **changes})


def ready(world: World, server: ServerContext, **changes: Any) -> tuple[ClientContext, Pair]:
    client = world.client_context(post_handshake_auth=True, **changes)
    return client, world.meet(client, server, fresh=True).check()


def sessions(events: list[Any]) -> list[Any]:
    return [event.session for event in events if isinstance(event, SessionIssued)]


def test_f16_a_client_that_is_asked_later_shows_its_certificate(world: World, pki: Pki) -> None:
    server = later(world)
    client, pair = ready(world, server, identity=pki.client)
    assert pair.server.peer_chain == ()
    early = [session.data.peer_chain for session in sessions(pair.took.server)]
    assert early
    assert set(early) == {()}, "tickets of before say nothing of it"
    pair.server.request_client_certificate()
    took = pair.pump().check()
    (event,) = [event for event in took.server if isinstance(event, PeerAuthenticated)]
    assert event.chain == pair.server.peer_chain == pki.client.chain_der
    (ticket,) = sessions(took.server)
    assert ticket.data.peer_chain == pki.client.chain_der
    pair.talk()
    again = world.meet(client, server).check()
    assert again.server.session_reused
    assert again.server.peer_chain == pki.client.chain_der, "the newest ticket carries it"


def test_f16_a_ticket_of_before_lacks_the_identity(world: World, pki: Pki) -> None:
    server = later(world)
    client, pair = ready(world, server, identity=pki.client)
    before = pair.client.get1_session()
    assert before is not None
    pair.server.request_client_certificate()
    pair.pump().check()
    again = world.meet(client, server, session=before).check()
    assert again.server.session_reused
    assert again.server.peer_chain == ()
    before.free()


def test_a_client_without_a_certificate_says_so(world: World) -> None:
    _, pair = ready(world, later(world))
    pair.server.request_client_certificate()
    took = pair.pump().check()
    assert [event.chain for event in took.server if isinstance(event, PeerAuthenticated)] == [()]
    assert pair.server.peer_chain == ()
    pair.talk()


def test_a_required_certificate_that_does_not_come_ends_the_connection(world: World) -> None:
    _, pair = ready(world, later(world))
    pair.server.request_client_certificate(required=True)
    took = pair.pump()
    assert isinstance(took.server_error, CertificateRequired)
    assert isinstance(took.client_error, AlertReceived)
    assert took.client_error.description == A.certificate_required


def test_a_certificate_of_a_stranger_ends_the_connection(world: World, other_client: Credential) -> None:
    _, pair = ready(world, later(world), identity=other_client)
    pair.server.request_client_certificate()
    assert isinstance(pair.pump().server_error, UnknownCA)


@pytest.mark.proves("9846:4.4.2:2", "9846:4.7.2:4")
def test_several_requests_are_each_answered(world: World, pki: Pki) -> None:
    _, pair = ready(world, later(world), identity=pki.client)
    for _ in range(3):
        pair.server.request_client_certificate()
    pair.client.update_keys()
    pair.server.update_keys()
    took = pair.pump().check()
    assert len([event for event in took.server if isinstance(event, PeerAuthenticated)]) == 3
    for _ in range(8):
        pair.server.request_client_certificate()
    with pytest.raises(UsageError, match="without an answer"):
        pair.server.request_client_certificate()


def test_exporters_stay_what_they_were(world: World, pki: Pki) -> None:
    _, pair = ready(world, later(world), identity=pki.client)
    before = pair.server.export_keying_material(b"label", b"", 32)
    pair.server.request_client_certificate()
    pair.pump().check()
    assert pair.server.export_keying_material(b"label", b"", 32) == before
    assert pair.client.export_keying_material(b"label", b"", 32) == before


@pytest.mark.proves("9846:4.3.6:1")
def test_asking_needs_an_offer_and_a_configuration(world: World) -> None:
    pair = world.meet(world.client_context(), later(world)).check()
    with pytest.raises(UsageError, match="did not offer"):
        pair.server.request_client_certificate()
    pair = world.meet(world.client_context(post_handshake_auth=True), world.server_context()).check()
    with pytest.raises(UsageError, match="was not made for it"):
        pair.server.request_client_certificate()
    with pytest.raises(UsageError, match="only an established"):
        pair.client.request_client_certificate()
    old = world.client_context(post_handshake_auth=True, maximum_version=TLS12)
    with pytest.raises(UsageError, match="only an established"):
        world.meet(old, later(world)).check().server.request_client_certificate()
    for missing in ({"trust": None}, {"session_id_context": b""}):
        with pytest.raises(ConfigurationError):
            settings: dict[str, Any] = {"trust": world.pki.root.cert_pem, "session_id_context": b"x", **missing}
            if settings["trust"] is None:
                world.server_config(post_handshake_auth=True, id_context=b"x")
            world.server_context(post_handshake_auth=True, **settings)


@pytest.mark.proves("9846:4.7.2:1")
def test_a_request_that_was_not_offered_is_unexpected(world: World) -> None:
    pair = world.meet(world.client_context(), world.server_context()).check()
    pair.server.send(CertificateRequest(b"x", {13: ext.pack_signature_algorithms((0x0403,))}).pack())
    took = pair.pump()
    assert isinstance(took.client_error, UnexpectedMessage)


@pytest.mark.parametrize(
    ("context", "bodies", "error"),
    [
        (b"", {13: ext.pack_signature_algorithms((0x0403,))}, IllegalParameter),
        (b"x", {}, MissingExtension),
        (b"x", {13: ext.pack_signature_algorithms((0x0403,)), 51: b""}, IllegalParameter),
    ],
)
def test_a_malformed_request_ends_the_connection(
    world: World, context: bytes, bodies: dict[int, bytes], error: type[Exception]
) -> None:
    _, pair = ready(world, later(world))
    pair.server.send(CertificateRequest(context, bodies).pack())
    assert isinstance(pair.pump().client_error, error)


class Forger:
    """A client that was asked for its certificate, and answers by hand."""

    def __init__(self, world: World, pki: Pki) -> None:
        _, self.pair = ready(world, later(world), identity=pki.client)
        self.key = certified(pki.client)
        self.pair.server.request_client_certificate()
        self.pair.server.data_to_send()  # is lost on the way
        state: Any = self.pair.server._state
        ((self.context, (request, _)),) = state.later._open.items()
        own: Any = self.pair.client._state
        self.transcript = own.later.forked(request)

    def say(self, *messages: bytes) -> None:
        for raw in messages:
            self.transcript.add(raw)
            self.pair.client.send(raw)

    def certificate(self, *, context: bytes | None = None, empty: bool = False) -> bytes:
        chain = () if empty else self.key.chain
        entries = tuple(CertificateEntry(der, {}) for der in chain)
        return Certificate(self.context if context is None else context, entries).pack()

    def proof(self, *, wrong: bool = False, server: bool = False) -> bytes:
        content = certificate_verify_content(server, bytes(32) if wrong else self.transcript.digest())
        return CertificateVerify(0x0403, sign(self.key.private_key, 0x0403, content)).pack()

    def finished(self, *, wrong: bool = False) -> bytes:
        secret = bytes(32) if wrong else self.pair.client.write_secret()
        return Finished(verify_data(SUITES[0x1301].hash, secret, self.transcript.digest())).pack()

    def heard(self) -> tuple[list[Any], Exception | None]:
        return feed(self.pair.server, self.pair.client.data_to_send())


@pytest.fixture
def forger(world: World, pki: Pki) -> Forger:
    forger = Forger(world, pki)
    assert forger.pair.client.facts is not None
    assert forger.pair.client.facts.cipher == 0x1301
    return forger


def test_the_forger_can_answer_as_it_should(forger: Forger) -> None:
    """The control of the tests below."""
    forger.say(forger.certificate())
    forger.say(forger.proof())
    forger.say(forger.finished())
    events, error = forger.heard()
    assert error is None
    assert forger.pair.server.peer_chain == forger.key.chain
    assert any(isinstance(event, PeerAuthenticated) for event in events)


@pytest.mark.proves("9846:4.7.2:4")
def test_the_forger_may_take_its_time_but_not_speak_of_other_things(forger: Forger) -> None:
    forger.say(forger.certificate())
    assert forger.heard()[1] is None
    forger.say(forger.proof())
    assert forger.heard()[1] is None
    assert forger.pair.server.peer_chain == (), "not before the Finished"
    forger.pair.client.send_data(b"meanwhile")
    assert isinstance(forger.heard()[1], UnexpectedMessage)


@pytest.mark.parametrize("state", LATER, ids=lambda state: state.__name__)
@pytest.mark.parametrize("kind", sorted(SAMPLES))
def test_between_its_messages_nothing_else_is_awaited(forger: Forger, state: type[State], kind: int) -> None:
    forger.say(forger.certificate())
    if LATER[state] == {HandshakeType.finished}:
        forger.say(forger.proof())
    assert forger.heard()[1] is None
    assert type(forger.pair.server._state) is state
    if kind not in LATER[state]:
        forger.say(SAMPLES[kind])
        assert isinstance(forger.heard()[1], UnexpectedMessage)


def test_f16_a_finished_without_certificate_or_proof_aborts(forger: Forger) -> None:
    forger.say(forger.certificate())
    forger.say(forger.finished())
    assert isinstance(forger.heard()[1], UnexpectedMessage)
    assert forger.pair.server.peer_chain == ()


def test_f16_a_finished_alone_aborts(forger: Forger) -> None:
    forger.say(forger.finished())
    assert isinstance(forger.heard()[1], UnexpectedMessage)


def test_f16_a_proof_alone_aborts(forger: Forger) -> None:
    forger.say(forger.proof())
    assert isinstance(forger.heard()[1], UnexpectedMessage)


@pytest.mark.parametrize("server", [False, True])
def test_f16_a_wrong_proof_aborts(forger: Forger, server: bool) -> None:
    forger.say(forger.certificate())
    forger.say(forger.proof(wrong=not server, server=server))
    assert isinstance(forger.heard()[1], DecryptError)


def test_f16_a_wrong_finished_aborts(forger: Forger) -> None:
    forger.say(forger.certificate())
    forger.say(forger.proof())
    forger.say(forger.finished(wrong=True))
    assert isinstance(forger.heard()[1], DecryptError)
    assert forger.pair.server.peer_chain == ()


def test_f16_no_certificate_needs_no_proof(forger: Forger) -> None:
    forger.say(forger.certificate(empty=True))
    forger.say(forger.proof())
    assert isinstance(forger.heard()[1], UnexpectedMessage)


@pytest.mark.parametrize("context", [b"", b"another context of mine"])
def test_an_answer_to_another_request_aborts(forger: Forger, context: bytes) -> None:
    forger.say(forger.certificate(context=context))
    assert isinstance(forger.heard()[1], IllegalParameter)


def test_a_second_answer_to_one_request_aborts(forger: Forger) -> None:
    forger.say(forger.certificate(empty=True))
    forger.say(forger.finished())
    forger.say(forger.certificate(empty=True))
    assert isinstance(forger.heard()[1], UnexpectedMessage)


def test_a_certificate_that_nobody_asked_for_aborts(world: World, pki: Pki) -> None:
    for server in (later(world), world.server_context()):
        _, pair = ready(world, server, identity=pki.client)
        pair.client.send(Certificate(b"", ()).pack())
        assert isinstance(pair.pump().server_error, UnexpectedMessage)


def test_data_flows_again_after_the_answer(forger: Forger) -> None:
    forger.say(forger.certificate())
    forger.say(forger.proof())
    forger.say(forger.finished())
    forger.pair.client.send_data(b"and on")
    events, error = forger.heard()
    assert error is None
    assert [event.data for event in events if isinstance(event, DataReceived)] == [b"and on"]
    forger.pair.client.update_keys()
    forger.pair.client.send_data(b"and on")
    assert forger.heard()[1] is None
