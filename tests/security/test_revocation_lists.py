"""Sessions of certificates that were revoked since, and the application's own look at them."""

from __future__ import annotations

from typing import Any

import pytest

from resumption.constants import AlertDescription as A
from resumption.crypto.crls import RevocationLists
from resumption.errors import AlertReceived, CertificateRevoked, ConfigurationError, InternalError
from resumption.handshake.events import PeerAuthenticated
from resumption.server_context import ServerContext
from resumption.session.verdicts import Reason
from tests.crls import crl
from tests.handshake.pairs import TLS13, VERSIONS, World
from tests.pki import Pki
from tests.security.paths import Stage, declined

both_versions = pytest.mark.parametrize("version", VERSIONS, ids=("1.2", "1.3"))


def authenticated(stage: Stage, **changes: Any) -> ServerContext:
    settings = {"client_auth": "optional", "trust": stage.pki.trust_pem, "session_id_context": b"lists"}
    return stage.server(**{**settings, **changes})


def test_f04_a_list_that_names_the_client_declines_its_sessions(stage: Stage) -> None:
    anonymous, client = stage.client(), stage.client(identity=stage.pki.client)
    server = authenticated(stage, crls=crl(stage.pki.root))
    sessions = [stage.session(client, server) for _ in range(3)]
    pair = stage.resumes(client, server, sessions[0])
    assert pair.server.peer_chain == stage.pki.client.chain_der
    server.crls = crl(stage.pki.root, stage.pki.client)
    pair = stage.meet(anonymous, server, session=sessions[1])
    declined(pair, Reason.REVALIDATION_FAILED)
    assert pair.server.peer_chain == ()
    server.crls = None
    stage.resumes(client, server, sessions[2])


def test_f15_a_strict_list_that_runs_out_ends_the_sessions(stage: Stage) -> None:
    client = stage.client(identity=stage.pki.client)
    server = authenticated(stage)
    session = stage.session(client, server)
    now = stage.clock()
    server.crls = RevocationLists.load(crl(stage.pki.root, since=now - 10, until=now + 10), strict=True)
    stage.resumes(client, server, stage.session(client, server))
    stage.clock.advance(10)
    declined(stage.meet(stage.client(), server, session=session), Reason.REVALIDATION_FAILED)


def test_f15_a_client_on_a_list_is_told_certificate_revoked(stage: Stage) -> None:
    client = stage.client(identity=stage.pki.client)
    server = authenticated(stage, crls=crl(stage.pki.root, stage.pki.client))
    pair = stage.meet(client, server)
    assert isinstance(pair.took.server_error, CertificateRevoked)
    assert isinstance(pair.took.client_error, AlertReceived)
    assert pair.took.client_error.description == A.certificate_revoked
    stage.meet(stage.client(identity=stage.pki.client_rsa, trust=stage.pki.trust_pem), server).check()


def test_f15_the_application_looks_at_the_client_of_every_session(stage: Stage) -> None:
    chains: list[tuple[bytes, ...]] = []
    answers: list[object] = [True, 0]

    def revalidate(chain: tuple[bytes, ...]) -> object:
        chains.append(chain)
        return answers.pop(0)

    anonymous, client = stage.client(), stage.client(identity=stage.pki.client)
    server = authenticated(stage, revalidate=revalidate)
    nobodys = stage.session(anonymous, server)
    sessions = [stage.session(client, server) for _ in range(2)]
    assert chains == []  # only sessions are looked at
    stage.resumes(anonymous, server, nobodys)
    assert chains == []  # there is nobody to look at
    stage.resumes(client, server, sessions[0])
    declined(stage.meet(anonymous, server, session=sessions[1]), Reason.REVALIDATION_FAILED)
    assert chains == [stage.pki.client.chain_der] * 2


def test_f12_a_revalidation_that_raises_ends_the_handshake(stage: Stage) -> None:
    def revalidate(chain: tuple[bytes, ...]) -> object:
        raise OSError("the directory is down")

    client = stage.client(identity=stage.pki.client)
    server = authenticated(stage, revalidate=revalidate)
    session = stage.session(client, server)
    connection = client.connection("localhost", session=session)
    with pytest.raises((OSError, InternalError)):  # the tests' pump raises what an internal error was caused by
        stage.join(connection, server)
    server_side = stage.connections[-1]
    assert isinstance(server_side.error, InternalError)
    assert server_side.data_to_send()[-1] == A.internal_error
    assert not connection.handshake_complete


@both_versions
def test_f15_a_client_does_not_offer_the_session_of_a_server_that_was_revoked(
    world: World, pki: Pki, version: int
) -> None:
    client = world.client_context(maximum_version=version, crls=crl(pki.root))
    server = world.server_context()
    world.meet(client, server).check()
    assert world.meet(client, server).check().client.session_reused
    client.crls = crl(pki.root, world.leaf)
    pair = world.meet(client, server)
    assert isinstance(pair.took.client_error, CertificateRevoked)
    assert pair.client.error is pair.took.client_error
    assert isinstance(pair.took.server_error, AlertReceived)
    assert pair.took.server_error.description == A.certificate_revoked
    assert not pair.server.handshake_complete
    client.crls = None
    world.meet(client, server).check()


def test_f15_a_later_authentication_is_held_against_the_lists_too(world: World, pki: Pki) -> None:
    server = world.server_context(
        post_handshake_auth=True, trust=pki.trust_pem, session_id_context=b"lists", crls=crl(pki.root)
    )
    client = world.client_context(identity=pki.client, post_handshake_auth=True)
    for lists, refused in ((crl(pki.root), False), (crl(pki.root, pki.client), True)):
        server.crls = lists
        pair = world.meet(client, server, fresh=True).check()
        assert pair.server.version == TLS13
        pair.server.request_client_certificate()
        took = pair.pump()
        assert isinstance(took.server_error, CertificateRevoked) is refused
        assert bool([event for event in took.server if isinstance(event, PeerAuthenticated)]) is not refused


def test_lists_without_anybody_to_hold_against_them_are_a_mistake(world: World, pki: Pki) -> None:
    with pytest.raises(ConfigurationError, match="crls needs trust"):
        world.server_context(crls=crl(pki.root))
    with pytest.raises(ConfigurationError, match="crls needs trust"):
        world.client_context(verify=False, crls=crl(pki.root))
