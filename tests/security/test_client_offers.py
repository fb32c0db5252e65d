"""What a client offers, files and takes back: failures F20 to F30 through whole handshakes of contexts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest

from resumption.client_context import ClientContext
from resumption.config import ClientConfig
from resumption.constants import ExtensionType, NamedGroup
from resumption.crypto.external_psk import ExternalPsk
from resumption.crypto.signatures import CERTIFICATE_SCHEMES
from resumption.crypto.suites import DEFAULT_SUITES_12, DEFAULT_SUITES_13
from resumption.crypto.trust import TrustStore
from resumption.errors import CertificateError, UsageError
from resumption.session.model import Session
from resumption.session.verdicts import Mechanism, Reason
from resumption.wire.messages import ClientHello
from tests.handshake.pairs import TLS12, TLS13, Pair, World, certified, trust
from tests.pki import Credential
from tests.security.paths import Stage, disguised, keep

only = pytest.mark.parametrize


def hello_of(clients: ClientContext, session: Session | None, name: str = "localhost") -> ClientHello:
    connection = clients.connection(name, session=session)
    flight = connection.data_to_send()
    connection.free()
    return ClientHello.parse(flight[9:])


def is_offered(hello: ClientHello, session: Session) -> bool:
    """Whether anything in the hello names the session."""
    names = [one for one in (session.data.ticket, session.id) if one]
    return any(name in hello.pack() for name in names)


def not_offered(stage: Stage, clients: ClientContext, session: Session, name: str, reason: Reason) -> Pair:
    assert not is_offered(hello_of(clients, session, name), session)
    pair = stage.meet(clients, stage.servers[-1], session=session, name=name)
    if pair.took.client_error is None:
        pair.check()
        assert pair.client.resumption is not None
        assert pair.client.resumption.reason is reason
        assert not pair.server.session_reused
    return pair


def test_f20_a_session_without_verification_is_not_used_with_it(stage: Stage) -> None:
    careless, careful = stage.client(verify=False), stage.client()
    server = stage.server()
    session = stage.session(careless, server)
    assert is_offered(hello_of(careless, session), session)
    stage.resumes(careless, server, session)
    not_offered(stage, careful, stage.session(careless, server), "localhost", Reason.NOT_VERIFIED)


def test_f20_a_session_without_a_verified_name_is_not_used_where_names_count(stage: Stage) -> None:
    careless, careful = stage.client(verify_hostname=False), stage.client()
    server = stage.server(leaf=stage.pki.example)
    stage.resumes(careless, server, stage.session(careless, server))
    pair = not_offered(stage, careful, stage.session(careless, server), "localhost", Reason.NOT_VERIFIED)
    assert isinstance(pair.took.client_error, CertificateError), "the full handshake found the name wrong"
    assert not pair.client.handshake_complete


def test_f20_without_names_the_chain_must_have_been_verified_all_the_same(stage: Stage) -> None:
    careless, nameless = stage.client(verify=False), stage.client(verify_hostname=False)
    server = stage.server()
    stage.resumes(nameless, server, stage.session(nameless, server))
    not_offered(stage, nameless, stage.session(careless, server), "localhost", Reason.NOT_VERIFIED)


def test_f20_f30_without_verification_names_still_keep_sessions_apart(stage: Stage) -> None:
    careless, server = stage.client(verify=False), stage.server()
    stage.resumes(careless, server, stage.session(careless, server))
    not_offered(stage, careless, stage.session(careless, server), "other.test", Reason.OTHER_NAME)


def test_f20_verification_does_not_lapse_when_the_server_resumes(stage: Stage) -> None:
    """An impostor without the certificate cannot make the client take a session that it does not share."""
    client, server, impostor = stage.client(), stage.server(), stage.server(leaf=stage.pki.untrusted, host_rule="x")
    session = stage.session(client, server)
    pair = stage.meet(client, impostor, session=session)
    assert isinstance(pair.took.client_error, CertificateError)
    assert not pair.server.handshake_complete


@pytest.mark.proves("9846:4.7.1:3")
@only("name", ["www.example.test", "example.test."])
def test_f30_a_session_is_offered_under_exactly_its_name(stage: Stage, name: str) -> None:
    """The certificate is good for both names: that is not enough. A final dot is the same name, though."""
    client, server = stage.client(), stage.server(leaf=stage.pki.example)
    session = stage.session(client, server, name="example.test")
    if name == "example.test.":
        stage.resumes(client, server, session, name)
    else:
        not_offered(stage, client, session, name, Reason.OTHER_NAME)


def test_f30_what_is_filed_under_one_name_is_not_found_under_another(stage: Stage) -> None:
    client, server = stage.client(), stage.server(leaf=stage.pki.example)
    stage.meet(client, server, name="example.test").check()
    other = stage.meet(client, server, name="www.example.test").check()
    assert other.client.resumption is not None
    assert other.client.resumption.reason is Reason.NO_SESSION
    assert stage.meet(client, server, name="Example.TEST.").check().client.session_reused


# F21, F22, F26, F27: the key of the client's cache

OTHER_KEYS: dict[str, Callable[[World], Any]] = {
    "minimum_version": lambda world: TLS13,
    "maximum_version": lambda world: TLS12,
    "suites": lambda world: DEFAULT_SUITES_12 + DEFAULT_SUITES_13,
    "groups": lambda world: (NamedGroup.secp384r1,),
    "schemes": lambda world: CERTIFICATE_SCHEMES[:-1],
    "certificate_schemes": lambda world: (0x0403,),
    "alpn": lambda world: (b"h2",),
    "max_auth_age_s": lambda world: 3_600.0,
    "id_context": lambda world: b"other",
    "policy_epoch": lambda world: 1,
    "trust": lambda world: trust(world.pki.root.cert_pem),
    "verify_hostname": lambda world: False,
    "certified_key": lambda world: certified(world.pki.client),
    "isolation": lambda world: "other",
    "max_fragment_length": lambda world: 512,
    "psk": lambda world: ExternalPsk(b"name", bytes(range(32)), "client"),
    "publish_psk_sessions": lambda world: True,
    "further_keys": lambda world: (certified(world.pki.client),),
    "certificate_hook": lambda world: "another hook",
    "post_handshake_auth": lambda world: True,
    "ocsp": lambda world: "require",
}
# What says nothing about who the peer is or what was agreed with it.
EXEMPT = {
    "session_timeout_s",  # how long the sessions made from now on live: each carries its own
    "middlebox_compatibility",  # the look of the records
    "max_message_length",  # limits of one connection
    "max_post_handshake_messages",
    "max_empty_records",
    "max_key_updates",
    "max_warning_alerts",
    "max_renegotiation_attempts",
    "record_size_limit",
    "record_padding",
    "grease",  # what means nothing
    "ticket_request",
    "log_secrets",
    "certificate_compression",  # the look of a message
    "crls",  # what is held now counts at every offer
    "request_scts",  # shown, and not checked
    "send_authorities",  # a hint
    "key_shares",  # how many of the groups are guessed at
    "clock",
    "random",
}


def test_f22_every_field_of_the_configuration_is_in_the_key_or_exempt(world: World) -> None:
    """A new field breaks this test: decide whether a session depends on it."""
    public = {one.name for one in fields(ClientConfig) if not one.name.startswith("_")}
    assert public == OTHER_KEYS.keys() | EXEMPT
    assert not OTHER_KEYS.keys() & EXEMPT


@only("field", OTHER_KEYS)
def test_f22_each_field_alone_changes_the_key(world: World, field: str) -> None:
    plain = world.client_config()
    changed = world.client_config(**{field: OTHER_KEYS[field](world)})
    assert getattr(plain, field) != getattr(changed, field)
    assert plain.peer_key("localhost") != changed.peer_key("localhost")
    assert plain.peer_key("localhost") == world.client_config().peer_key("localhost"), "and nothing else does"


def test_f22_no_field_can_pass_for_another(world: World) -> None:
    keys = {
        world.client_config(alpn=alpn, id_context=context, isolation=label).peer_key(name, purpose)
        for alpn in ((), (b"a",), (b"a", b"b"), (b"ab",))
        for context in (b"", b"a", b"ab")
        for label in ("", "a", "b")
        for name in ("a", "ab")
        for purpose in ("", "b")
    }
    assert len(keys) == 4 * 3 * 3 * 2 * 2


@only("rules", [{"policy": "strict"}, {"max_certificates": 3}, {"max_chain_size": 10_000}])
def test_f26_the_rules_of_a_trust_store_are_in_the_key(world: World, rules: dict[str, Any]) -> None:
    plain = world.client_config(trust=TrustStore.load(world.pki.trust_pem))
    other = world.client_config(trust=TrustStore.load(world.pki.trust_pem, **rules))
    assert plain.peer_key("localhost") != other.peer_key("localhost")


def identities(stage: Stage) -> list[Credential | None]:
    return [None, stage.pki.client, stage.pki.client_named("second.test")]


def test_f21_a_session_of_one_identity_is_not_used_with_another(stage: Stage) -> None:
    """All contexts share one cache; what they are decides what they find."""
    server = stage.server(client_auth="optional", trust=stage.pki.root.cert_pem, session_id_context=b"service")
    contexts = [stage.client(identity=identity) for identity in identities(stage)]
    for context in contexts:
        context.sessions = contexts[0].sessions
    for context in contexts:
        full = stage.meet(context, server).check()
        assert not full.client.session_reused
        assert full.client.resumption is not None
        assert full.client.resumption.reason is Reason.NO_SESSION
    for context in contexts:
        again = stage.meet(context, server).check()
        assert again.client.session_reused, "its own it finds"
        key = context.config.certified_key
        assert again.server.peer_chain == (key.chain if key is not None else ())


@only("change", ["trust", "verify_hostname", "isolation", "alpn", "verify"])
def test_f26_contexts_with_one_cache_share_only_when_they_are_equal(stage: Stage, change: str) -> None:
    changes: dict[str, Any] = {
        "trust": {"trust": stage.pki.root.cert_pem},
        "verify_hostname": {"verify_hostname": False},
        "isolation": {"isolation": "other"},
        "alpn": {"alpn": ["h2"]},
        "verify": {"verify": False},
    }[change]
    server = stage.server()
    a, b, c = stage.client(), stage.client(), stage.client(**changes)
    b.sessions = c.sessions = a.sessions
    stage.meet(a, server).check()
    assert not stage.meet(c, server).check().client.session_reused
    stage.meet(a, server, fresh=True).check()
    assert stage.meet(b, server).check().client.session_reused


def test_f23_f27_purposes_keep_sessions_apart_whenever_they_arrive(stage: Stage) -> None:
    """A proxy and the origin behind it have one name; the proxy's tickets come late."""
    client, server = stage.client(), stage.server()
    proxy = stage.meet(client, server, purpose="proxy").check()
    origin = stage.meet(client, server, purpose="origin").check()
    assert not origin.client.session_reused
    keys = [client.config.peer_key("localhost", purpose) for purpose in ("proxy", "origin", "")]
    before = [client.sessions.peek_for_peer(key) for key in keys]
    assert before[0] == before[1] > 0
    assert before[2] == 0
    if stage.path.is_tls13:
        assert proxy.server.new_session_ticket()
        list(proxy.client.receive_data(proxy.server.data_to_send()))
        assert [client.sessions.peek_for_peer(key) for key in keys] == [before[0] + 1, before[1], 0]
    assert not stage.meet(client, server, purpose="health check").check().client.session_reused
    assert stage.meet(client, server, purpose="origin").check().client.session_reused


# F24: a failed verification leaves nothing


def test_f24_a_connection_that_fails_verification_leaves_no_session(stage: Stage) -> None:
    heard: list[Session] = []
    for leaf in (stage.pki.untrusted, stage.pki.expired, stage.pki.example):
        client, server = stage.client(), stage.server(leaf=leaf)
        client.on_new_session = lambda connection, session: heard.append(session)
        pair = stage.meet(client, server)
        assert isinstance(pair.took.client_error, CertificateError)
        assert pair.client.session is None
        assert len(client.sessions) == 0
        assert len(server.sessions) == 0
    assert heard == []


def test_f24_a_client_that_fails_verification_leaves_no_session(stage: Stage) -> None:
    server = stage.server(client_auth="required", trust=stage.pki.rsa_root.cert_pem, session_id_context=b"service")
    for identity in (stage.pki.client, None):
        client = stage.client(identity=identity)
        pair = stage.meet(client, server)
        assert pair.took.server_error is not None
        assert pair.server.session is None
        assert len(server.sessions) == 0
        assert len(client.sessions) == 0


def test_f24_a_finished_that_is_damaged_leaves_no_session(stage: Stage) -> None:
    """The last message of the client, changed on its way: the server keeps nothing of it."""
    client, server = stage.client(), stage.server()
    flights = [0]

    def damage(data: bytes) -> bytes:
        flights[0] += 1
        return data if flights[0] == 1 else data[:-1] + bytes([data[-1] ^ 1])

    pair = stage.meet(client, server, to_server=damage)
    assert pair.took.server_error is not None
    assert pair.server.session is None
    assert len(server.sessions) == 0
    assert not stage.store._values


def test_f25_no_early_data_whatever_a_ticket_allows(stage: Stage) -> None:
    client, server = stage.client(), stage.server()
    generous = disguised(stage.session(client, server), max_early_data=2**14)
    hello = hello_of(client, generous)
    assert is_offered(hello, generous)
    assert int(ExtensionType.early_data) not in hello.extensions
    connection = client.connection("localhost", session=generous)
    with pytest.raises(UsageError):
        connection.send_data(b"early")
    connection.free()


def test_f28_servers_that_choose_one_id_do_not_meet_in_the_clients_cache(stage: Stage) -> None:
    if stage.path.mechanism is not Mechanism.SESSION_ID:
        pytest.skip("only here does the server choose the id of the client's session")
    client = stage.client()
    servers = {name: stage.server(leaf=stage.pki.server(name)) for name in ("a.test", "b.test")}
    for name, server in servers.items():
        server.on_get_session = None
        server.generate_session_id = lambda connection, most: b"the same for all"
        pair = stage.meet(client, server, name=name).check()
        keep(pair.client.get1_session())
    kept = {session.hostname: session.secret for session in client.sessions}
    assert kept.keys() == servers.keys()
    assert kept["a.test"] != kept["b.test"]
    if stage.path.shared_by == "callback":
        for name, server in servers.items():
            pair = stage.meet(client, server, name=name).check()
            assert pair.client.session_reused
            assert pair.client.peer_chain == servers[name].config.certified_keys[0].chain
