"""A session is good where it was made and nowhere else: failures F01 to F17, over every way to name a session.

Each test first shows that the session resumes where it belongs, then offers it where it does not.
"""

from __future__ import annotations

import copy
import pickle
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from resumption.client_context import ClientContext
from resumption.config import ServerConfig
from resumption.connection import Connection
from resumption.constants import AlertDescription, ExtensionType
from resumption.crypto.trust import TrustStore
from resumption.errors import AlertReceived, InternalError, UnexpectedMessage
from resumption.server_context import ServerContext
from resumption.session.model import Session
from resumption.session.verdicts import Mechanism, Reason
from resumption.wire.extensions import pack_signature_algorithms
from resumption.wire.messages import CertificateRequest, ClientHello, ServerHello
from tests.handshake.pairs import Pair, World
from tests.pki import CLIENT_AUTH, Credential, Pki, issue
from tests.security.paths import PATHS, Stage, declined, disguised, keep, reason_of

only = pytest.mark.parametrize


@pytest.fixture(scope="module")
def other_ca() -> Credential:
    """Another authority for client certificates."""
    return issue("other clients", ca=True)


@pytest.fixture(scope="module")
def other_client(other_ca: Credential) -> Credential:
    return issue("other.test", issuer=other_ca, names=["other.test"], purposes=[CLIENT_AUTH])


@pytest.fixture(scope="module")
def hosts(pki: Pki) -> tuple[Credential, Credential]:
    """Certificates of two virtual hosts."""
    return pki.server("a.test"), pki.server("b.test")


def authenticated(stage: Stage, client_auth: str = "optional", **changes: Any) -> ServerContext:
    settings: dict[str, Any] = {
        "client_auth": client_auth,
        "trust": stage.pki.root.cert_pem,
        "session_id_context": b"service",
    }
    return stage.server(**{**settings, **changes})


def test_f06_contexts_with_one_ring_and_one_partition_share_sessions(stage: Stage) -> None:
    """The control of this whole file: what is equal is shared."""
    client = stage.client()
    pair = stage.resumes(client, stage.server(), stage.session(client, stage.server()))
    pair.talk()


def test_f06_automatic_keys_are_never_shared(stage: Stage) -> None:
    if not stage.path.is_ticket:
        pytest.skip("no ticket holds this session")
    client = stage.client()
    a, b = stage.server(tickets="auto"), stage.server(tickets="auto")
    stage.resumes(client, a, stage.session(client, a))
    declined(stage.meet(client, b, session=stage.session(client, a)), Reason.UNKNOWN)
    assert a.config.partition == b.config.partition, "it was the keys that differed"


def test_f01_f07_cross_vhost_resume_declined(stage: Stage, hosts: tuple[Credential, Credential]) -> None:
    client = stage.client()
    a = stage.server(leaf=hosts[0], host_rule="a")
    b = stage.server(leaf=hosts[1], host_rule="b")
    stage.resumes(client, a, stage.session(client, a, name="a.test"), "a.test")
    stolen = stage.session(client, a, name="a.test")
    moved = disguised(stolen, hostname="b.test", verified_name="b.test")
    declined(stage.meet(client, b, session=moved, name="b.test"), stage.path.foreign, hosts[1])


def test_f01_the_name_alone_tells_hosts_apart(stage: Stage) -> None:
    """One certificate, one partition, two names."""
    client, leaf = stage.client(), stage.pki.wildcard
    server = stage.server(leaf=leaf)
    stage.resumes(client, server, stage.session(client, server, name="a.example.test"), "a.example.test")
    stolen = stage.session(client, server, name="a.example.test")
    moved = disguised(stolen, hostname="b.example.test", verified_name="b.example.test")
    declined(stage.meet(client, server, session=moved, name="b.example.test"), Reason.OTHER_NAME, leaf)


@only("now_named", [True, False])
def test_f01_a_name_and_none_are_two_names(stage: Stage, now_named: bool) -> None:
    client = stage.client()
    server = stage.server()
    was, now = ("127.0.0.1", "localhost") if now_named else ("localhost", "127.0.0.1")
    stage.resumes(client, server, stage.session(client, server, name=was), was)
    stolen = stage.session(client, server, name=was)
    moved = disguised(stolen, hostname=now if now_named else None, verified_name=now)
    declined(stage.meet(client, server, session=moved, name=now), Reason.OTHER_NAME)


def test_f02_a_client_that_one_host_knows_is_asked_again_by_another(
    stage: Stage, other_ca: Credential, hosts: tuple[Credential, Credential]
) -> None:
    client, anonymous = stage.client(identity=stage.pki.client), stage.client()
    a = authenticated(stage, "required", leaf=hosts[0])
    b = authenticated(stage, "required", leaf=hosts[1], trust=other_ca.cert_pem)
    pair = stage.resumes(client, a, stage.session(client, a, name="a.test"), "a.test")
    assert pair.server.peer_chain == stage.pki.client.chain_der
    stolen = stage.session(client, a, name="a.test")
    for name in ("b.test", "a.test"):
        moved = disguised(stolen, hostname=name, verified_name=name)
        other = stage.client(verify_hostname=False)
        pair = stage.meet(other if name == "a.test" else anonymous, b, session=moved, name=name)
        assert not pair.server.handshake_complete
        wanted = AlertDescription.certificate_required if stage.path.is_tls13 else AlertDescription.handshake_failure
        assert isinstance(pair.took.client_error, AlertReceived)
        assert pair.took.client_error.description == wanted, "the host wanted a certificate of its own client CA"


def test_f03_another_set_of_client_authorities_declines(stage: Stage, other_ca: Credential) -> None:
    client = stage.client(identity=stage.pki.client)
    a = authenticated(stage)
    b = authenticated(stage, trust=stage.pki.root.cert_pem + other_ca.cert_pem)
    stage.resumes(client, a, stage.session(client, a))
    pair = stage.meet(client, b, session=stage.session(client, a))
    declined(pair, stage.path.foreign)
    assert pair.server.peer_chain == stage.pki.client.chain_der, "it was asked for again"


def _strictly(stage: Stage) -> ServerContext:
    context = authenticated(stage)
    context.config = replace(context.config, trust=TrustStore.load(stage.pki.root.cert_pem, policy="strict"))
    return context


def _with_shorter_chains(stage: Stage) -> ServerContext:
    context = authenticated(stage)
    context.config = replace(context.config, trust=TrustStore.load(stage.pki.root.cert_pem, max_certificates=2))
    return context


ALTERED: dict[str, Callable[[Stage], ServerContext]] = {
    "leaf key": lambda stage: authenticated(stage, leaf=stage.pki.ecdsa_p256),
    "host rule": lambda stage: authenticated(stage, host_rule="other"),
    "listener": lambda stage: authenticated(stage, listener="other"),
    "id context": lambda stage: authenticated(stage, session_id_context=b"other"),
    "verify mode, stricter": lambda stage: authenticated(stage, "required"),
    "verify mode, none": lambda stage: authenticated(stage, "none"),
    "client authorities": lambda stage: authenticated(stage, trust=stage.pki.trust_pem),
    "verification policy": _strictly,
    "verification depth": _with_shorter_chains,
}


@only("what", ALTERED)
def test_f04_every_setting_that_shapes_authentication_isolates(stage: Stage, what: str) -> None:
    client = stage.client(identity=stage.pki.client)
    a, b = authenticated(stage), ALTERED[what](stage)
    assert a.config.partition != b.config.partition
    stage.resumes(client, authenticated(stage), stage.session(client, a))
    pair = stage.meet(client, b, session=stage.session(client, a))
    declined(pair, stage.path.foreign)
    assert bool(pair.server.peer_chain) == (b.config.client_auth != "none"), "the client was asked again"


def test_f04_an_epoch_revokes_everything(stage: Stage) -> None:
    client = stage.client()
    a, b = stage.server(), stage.server(policy_epoch=1)
    declined(stage.meet(client, b, session=stage.session(client, a)), Reason.OTHER_EPOCH)
    stage.resumes(client, b, stage.session(client, b))


@only("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_f05_contexts_are_not_copied(world: World, duplicate: Callable[[object], object]) -> None:
    for context in (world.server_context(), world.client_context()):
        with pytest.raises(TypeError, match="copied"):
            duplicate(context)


def test_f05_a_copied_configuration_with_other_authorities_declines(stage: Stage, other_ca: Credential) -> None:
    """What went wrong in Go: the copy has the very keys of the original, and other client CAs."""
    client = stage.client(identity=stage.pki.client)
    a = authenticated(stage, tickets=stage.keys if stage.path.shared_by == "store" else "auto")
    b = authenticated(stage)
    both = TrustStore.load(stage.pki.root.cert_pem, other_ca.cert_pem)
    b.config = replace(a.config, trust=both)
    assert b.config.tickets is a.config.tickets
    declined(stage.meet(client, b, session=stage.session(client, a)), stage.path.foreign)


def test_f08_a_policy_that_was_tightened_declines_sessions_of_before(stage: Stage) -> None:
    """As a chooser by server name would do it: another context serves this hello."""
    client = stage.client(identity=stage.pki.client)
    before, after = stage.server(session_id_context=b"service"), authenticated(stage, "required")
    pair = stage.meet(client, after, session=stage.session(client, before))
    declined(pair, stage.path.foreign)
    assert pair.server.peer_chain == stage.pki.client.chain_der


def test_f09_what_is_switched_off_is_neither_accepted_nor_issued(stage: Stage) -> None:
    client = stage.client()
    a = stage.server()
    stage.resumes(client, a, stage.session(client, a))
    session = stage.session(client, a)
    if stage.path.is_ticket:
        b = stage.server(tickets=None, session_cache_mode=0)
    else:
        b = stage.server(accept_stateful=False)
    seen: list[bytes] = []

    def look(data: bytes) -> bytes:
        seen.append(data)
        return data

    pair = stage.meet(client, b, session=session, to_client=look)
    pair.check()
    assert not pair.server.session_reused
    assert reason_of(pair) in (Reason.MECHANISM_DISABLED, Reason.UNKNOWN)
    if stage.path.mechanism is not Mechanism.TICKET_12:
        assert reason_of(pair) is Reason.MECHANISM_DISABLED
    if stage.path.is_ticket:
        assert pair.client.session is not None
        assert not pair.client.session.has_ticket, "none was issued"
        assert ExtensionType.session_ticket not in hello_in(seen[0]).extensions
    pair.talk()


def hello_in(flight: bytes) -> ServerHello:
    """The ServerHello at the start of a server's flight."""
    assert flight[0] == 22
    length = int.from_bytes(flight[6:9], "big")
    return ServerHello.parse(flight[9 : 9 + length])


def speller(stage: Stage, written: str) -> Connection:
    """A client that writes the server's name as it likes."""
    context = stage.client(verify=False)
    return Connection(context.config, server_name=written)


@only("written", ["LOCALHOST", "localhost.", "LocalHost."])
def test_f10_a_name_is_the_same_however_it_is_written(stage: Stage, written: str) -> None:
    server = stage.server()
    session = stage.session(stage.client(verify=False), server)
    odd = speller(stage, written)
    odd.set_session(disguised(session, hostname=written))
    pair = stage.join(odd, server).check()
    assert pair.server.session_reused, pair.server.resumption
    first = stage.join(speller(stage, written), server).check()
    made = keep(first.client.get1_session())
    stage.resumes(stage.client(verify=False), server, disguised(made, hostname="localhost"))


def in_records(hello: bytes, sizes: Callable[[int], list[int]]) -> bytes:
    """The same ClientHello, in records of other sizes."""
    header, body = hello[:3], hello[5:]
    assert int.from_bytes(hello[3:5], "big") == len(body)
    out = b""
    for size in sizes(len(body)):
        out += header + size.to_bytes(2, "big") + body[:size]
        body = body[size:]
    assert not body
    return out


def test_f10_a_hello_is_judged_whole_wherever_it_is_cut(stage: Stage) -> None:
    """Under another host's name it is declined, under its own accepted, in records cut at any place."""
    client, server = stage.client(), stage.server(leaf=stage.pki.wildcard)
    first = [True]

    def cut(sizes: Callable[[int], list[int]]) -> Callable[[bytes], bytes]:
        first[0] = True

        def tap(data: bytes) -> bytes:
            begins, first[0] = first[0], False
            return in_records(data, sizes) if begins else data

        return tap

    shapes: list[Callable[[int], list[int]]] = [lambda length: [1] * length]
    shapes += [lambda length, part=part: [length * part // 9, length - length * part // 9] for part in range(1, 9)]  # type: ignore[misc]
    for sizes in shapes:
        session = stage.session(client, server, name="a.example.test")
        pair = stage.meet(client, server, session=session, name="a.example.test", to_server=cut(sizes)).check()
        assert pair.server.session_reused
        session = stage.session(client, server, name="a.example.test")
        moved = disguised(session, hostname="b.example.test", verified_name="b.example.test")
        pair = stage.meet(client, server, session=moved, name="b.example.test", to_server=cut(sizes)).check()
        assert reason_of(pair) is Reason.OTHER_NAME


def test_f10_a_hello_that_arrives_byte_by_byte(stage: Stage) -> None:
    client, server = stage.client(), stage.server()
    session = stage.session(client, server)
    connection = client.connection("localhost", session=session)
    hello = connection.data_to_send()
    end = server.connection()
    outside = server.outside
    for position in range(len(hello)):
        for event in end.receive_data(hello[position : position + 1]):
            assert outside is not None
            list(end.answer(event, outside.find_session(end, event)))  # type: ignore[arg-type]
    list(connection.receive_data(end.data_to_send()))
    list(end.receive_data(connection.data_to_send()))
    assert end.session_reused


@only("label", ["listener", "host_rule", "session_id_context"])
def test_f11_f17_labels_keep_services_and_addresses_apart(stage: Stage, label: str) -> None:
    one, two = (b"one", b"two") if label == "session_id_context" else ("one", "two")
    client = stage.client()
    a, b = stage.server(**{label: one}), stage.server(**{label: two})
    stage.resumes(client, stage.server(**{label: one}), stage.session(client, a))
    declined(stage.meet(client, b, session=stage.session(client, a)), stage.path.foreign)


# F12: callbacks


class Boom(Exception):
    pass


def boom(*args: object) -> Any:
    raise Boom("a callback failed")


def refused(pair: Pair) -> None:
    """The connection ended with internal_error, and no side thinks that it can speak."""
    assert isinstance(pair.server.error, InternalError)
    assert isinstance(pair.took.client_error, AlertReceived)
    assert pair.took.client_error.description == AlertDescription.internal_error
    assert not pair.client.handshake_complete
    assert not pair.server.handshake_complete


def outspoken(stage: Stage, client: ClientContext, server: ServerContext, session: Session | None = None) -> Pair:
    """`Stage.meet` for errors that the helpers of the suite would show as they are: an unforeseen one is the point."""
    connection, end = client.connection("localhost", session=session, fresh=session is None), server.connection()
    errors: list[Any] = [None, None]
    for _ in range(8):
        for index, (sender, receiver) in enumerate(((connection, end), (end, connection))):
            data = sender.data_to_send()
            if data and receiver.error is None:
                try:
                    for event in receiver.receive_data(data):
                        if index == 0 and server.outside is not None and type(event).__name__ == "NeedSession":
                            list(end.answer(event, server.outside.find_session(end, event)))  # type: ignore[arg-type]
                except Exception as error:
                    errors[1 - index] = error
    return Pair(connection, end, stage.join(connection, server).took._replace(client_error=errors[0]))


@only("callback", ["generate_session_id", "not_resumable_callback", "random"])
def test_f12_a_security_callback_that_raises_ends_the_handshake(stage: Stage, callback: str) -> None:
    client, server = stage.client(), stage.server()
    stage.session(client, server)
    if callback == "random":
        server.config = replace(server.config, random=boom)
    else:
        if callback == "not_resumable_callback" and stage.path.is_tls13:
            pytest.skip("asked in TLS 1.2 only")
        if callback == "generate_session_id" and stage.path.is_ticket:
            pytest.skip("a sealed session has no id that was made for it")
        setattr(server, callback, boom)
    if callback == "generate_session_id" and stage.path.is_tls13:
        # The handshake is over for the client when tickets are made; the connection ends all the same.
        connection, end = client.connection("localhost", fresh=True), server.connection()
        list(end.receive_data(connection.data_to_send()))
        list(connection.receive_data(end.data_to_send()))
        with pytest.raises(InternalError):
            list(end.receive_data(connection.data_to_send()))
        with pytest.raises(AlertReceived):
            list(connection.receive_data(end.data_to_send()))
        return
    refused(outspoken(stage, client, server))


def test_f12_a_clock_that_raises_ends_the_handshake(stage: Stage) -> None:
    client, server = stage.client(), stage.server()
    server.config = replace(server.config, clock=boom)
    refused(outspoken(stage, client, server))


def test_f12_a_lookup_callback_that_raises_is_a_miss(stage: Stage) -> None:
    if stage.path.shared_by != "callback":
        pytest.skip("no callback is asked")
    client, a, b = stage.client(), stage.server(), stage.server()
    session = stage.session(client, a)
    b.on_get_session = boom
    declined(stage.meet(client, b, session=session), Reason.UNKNOWN)


def test_f12_callbacks_that_hear_of_sessions_cannot_harm_the_connection(stage: Stage) -> None:
    client, server = stage.client(), stage.server()
    for context in (client, server):
        context.on_new_session = boom
        context.on_remove_session = boom
    pair = stage.meet(client, server).check()
    pair.talk()
    session = keep(pair.client.get1_session())
    pair = stage.meet(client, server, session=session).check()
    assert pair.server.session_reused
    pair.talk()


# F13: what a resumed connection shows


def test_f13_a_resumed_connection_shows_the_same_chain_and_result(stage: Stage) -> None:
    leaf = stage.pki.under_intermediate
    client = stage.client(identity=stage.pki.client)
    server = authenticated(stage, "required", leaf=leaf)
    full = stage.meet(client, server, fresh=True).check()
    session = keep(full.client.get1_session())
    again = stage.resumes(client, server, session)
    for before, after in ((full.client, again.client), (full.server, again.server)):
        assert after.peer_chain == before.peer_chain
        assert after.facts is not None
        assert before.facts is not None
        for fact in ("peer_certificate", "peer_chain", "verify_result", "auth_time", "deadline", "verified_name"):
            assert getattr(after.facts, fact) == getattr(before.facts, fact), fact
    assert again.client.peer_chain == leaf.chain_der
    assert again.server.peer_chain == stage.pki.client.chain_der
    assert again.server.facts is not None
    assert again.server.facts.verify_result == 0


def same_partition(context: ServerContext, other: ServerContext) -> None:
    """As if the partition were blind for what tells these two apart: the next line of defence must hold alone."""
    config: ServerConfig = context.config
    config.__dict__["partition"] = other.config.partition
    config.__dict__.pop("policy", None)


def test_f13_a_host_that_requires_a_certificate_declines_a_session_without(stage: Stage) -> None:
    anonymous, client = stage.client(), stage.client(identity=stage.pki.client)
    a, b = authenticated(stage), authenticated(stage, "required")
    same_partition(b, a)
    stage.resumes(client, b, stage.session(client, a))
    declined(stage.meet(client, b, session=stage.session(anonymous, a)), Reason.NO_CLIENT_CERTIFICATE)
    refused_one = stage.meet(anonymous, b, session=stage.session(anonymous, a))
    assert not refused_one.server.handshake_complete


# F14, F15: when a lineage ends


def insistent(session: Session, now: float) -> Session:
    """A client that takes no notice of any lifetime."""
    return disguised(session, time=now, timeout=604_800, ticket_lifetime_hint=604_800, deadline=now + 604_800)


def test_f14_a_chain_of_resumptions_ends_where_the_first_one_said(stage: Stage) -> None:
    client = stage.client()
    server = stage.server(session_timeout=4_000, max_auth_age_s=5_000.0)
    born = stage.clock()
    session = stage.session(client, server)
    ends: list[float] = []
    hops = 0
    while stage.clock() < born + 12_000:
        stage.clock.advance(900)
        pair = stage.meet(client, server, session=insistent(session, stage.clock())).check()
        if not pair.server.session_reused:
            break
        hops += 1
        assert pair.server.facts is not None
        assert pair.server.facts.auth_time == born
        assert pair.server.facts.deadline == born + 5_000
        renewed = keep(pair.client.get1_session())
        session = renewed
        hint = session.data.ticket_lifetime_hint
        if hint and hint != 604_800:
            ends.append(stage.clock() + hint)
    assert hops >= 4
    assert stage.clock() == born + (5_400 if stage.path.is_tls13 else 4_500), "5000 s of lineage, 4000 s of session"
    assert reason_of(pair) in (Reason.EXPIRED, Reason.AUTH_TOO_OLD, Reason.PAST_DEADLINE, Reason.UNKNOWN)
    limit = born + (5_000 if stage.path.is_tls13 else 4_000)
    assert all(end <= limit for end in ends), "a renewed ticket promised more than was left"
    if stage.path.is_ticket:
        assert ends


def test_f14_a_timeout_beyond_the_age_of_authentication_does_not_help(stage: Stage) -> None:
    client, server = stage.client(), stage.server(session_timeout=40_000, max_auth_age_s=5_000.0)
    session = stage.session(client, server)
    stage.clock.advance(5_000)
    pair = stage.meet(client, server, session=insistent(session, stage.clock()))
    pair.check()
    assert reason_of(pair) in (Reason.AUTH_TOO_OLD, Reason.PAST_DEADLINE, Reason.EXPIRED, Reason.UNKNOWN)
    assert not pair.server.session_reused


def test_f14_a_shorter_age_counts_for_the_sessions_of_before(stage: Stage) -> None:
    """The age is no part of the partition: what is asked for now is what counts."""
    client, before, now = stage.client(), stage.server(session_timeout=7_200), stage.server(max_auth_age_s=1_000.0)
    sessions = [stage.session(client, before) for _ in range(2)]
    stage.clock.advance(999)
    stage.resumes(client, now, sessions[0])
    stage.clock.advance(1)
    declined(stage.meet(client, now, session=sessions[1]), Reason.AUTH_TOO_OLD)


@only("which", ["leaf", "intermediate"])
def test_f15_a_session_ends_with_the_first_certificate_of_the_clients_chain(stage: Stage, which: str) -> None:
    soon = float(int(time.time()) + 1_000)
    above = issue("clients", issuer=stage.pki.root, ca=True, not_after=soon if which == "intermediate" else None)
    short = issue(
        "short.test",
        issuer=above,
        names=["short.test"],
        purposes=[CLIENT_AUTH],
        not_after=soon if which == "leaf" else None,
    )
    anonymous, client = stage.client(), stage.client(identity=short)
    server = authenticated(stage, session_timeout=7_200)
    pair = stage.resumes(client, server, stage.session(client, server))
    assert pair.server.facts is not None
    assert pair.server.facts.deadline == soon
    session = stage.session(client, server)
    stage.clock.now = soon
    pair = stage.meet(anonymous, server, session=insistent(session, stage.clock())).check()
    assert reason_of(pair) in (Reason.PAST_DEADLINE, Reason.EXPIRED, Reason.UNKNOWN)
    assert pair.server.peer_chain == (), "what has expired is not shown"


def test_f15_a_client_does_not_offer_beyond_the_servers_certificate(stage: Stage) -> None:
    soon = float(int(time.time()) + 1_000)
    leaf = issue("localhost", issuer=stage.pki.root, names=["localhost"], not_after=soon)
    client, server = stage.client(), stage.server(leaf=leaf, session_timeout=7_200)
    session = stage.session(client, server)
    assert session.data.deadline == soon
    stage.clock.now = soon - 1
    stage.resumes(client, server, session)
    session = stage.session(client, server)
    stage.clock.now = soon
    pair = stage.meet(stage.client(verify=False), server, session=session).check()
    assert pair.client.resumption is not None
    assert pair.client.resumption.reason is Reason.PAST_DEADLINE
    assert reason_of(pair) is not Reason.OTHER_PARTITION
    stage.clock.advance(1)
    failed = stage.meet(client, server, session=session)
    assert not failed.client.handshake_complete, "the full handshake finds the certificate expired"


def test_f10_f17_no_two_lists_of_labels_give_one_partition(world: World) -> None:
    """Fields are length-prefixed: text cannot move from one to the next."""
    scopes = {
        world.server_config(host_rule=rule, listener=listener, id_context=context).partition
        for rule in ("", "a", "ab")
        for listener in ("", "a", "b", "ba")
        for context in (b"", b"a", b"ab")
    }
    assert len(scopes) == 3 * 4 * 3


def test_f07_every_way_is_on_stage() -> None:
    assert {path.mechanism for path in PATHS} == set(Mechanism)


def test_f16_post_handshake_authentication_is_neither_offered_nor_answered(stage: Stage) -> None:
    """There is no Finished without certificate to be taken, as there is no such authentication."""
    if not stage.path.is_tls13:
        pytest.skip("TLS 1.2 has none")
    client, server = stage.client(identity=stage.pki.client), authenticated(stage, "none")
    connection = client.connection("localhost")
    stage.connections.append(connection)
    hello = ClientHello.parse(connection.data_to_send()[9:])
    assert int(ExtensionType.post_handshake_auth) not in hello.extensions
    pair = stage.meet(client, server).check()
    schemes = pack_signature_algorithms(client.config.schemes)
    pair.server.send(CertificateRequest(b"now", {int(ExtensionType.signature_algorithms): schemes}).pack())
    took = pair.pump()
    assert isinstance(took.client_error, UnexpectedMessage)
    assert pair.server.peer_chain == ()
