"""The rows about virtual hosts (F01 to F08, F10, F12) on real ones: one server that chooses the host from each hello.

All hosts of a test share ticket keys, store and caches, over every way to name a session: what is not resumed was
declined for a reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from resumption.connection import Connection
from resumption.constants import AlertDescription
from resumption.errors import AlertReceived
from resumption.server_context import ServerContext
from resumption.session.verdicts import Reason
from tests.pki import CLIENT_AUTH, Credential, Pki, issue
from tests.security.paths import Stage, declined, disguised, reason_of
from tests.security.test_wrong_context import boom, in_records, outspoken, refused

only = pytest.mark.parametrize


@pytest.fixture(scope="module")
def leaves(pki: Pki) -> dict[str, Credential]:
    return {name: pki.server(name) for name in ("a.test", "b.test")}


@pytest.fixture(scope="module")
def other_ca() -> Credential:
    return issue("other clients", ca=True)


@pytest.fixture(scope="module")
def other_client(other_ca: Credential) -> Credential:
    return issue("other.test", issuer=other_ca, names=["other.test"], purposes=[CLIENT_AUTH])


def house(stage: Stage, a: dict[str, Any], b: dict[str, Any], **settings: Any) -> ServerContext:
    """A server with the hosts a.test and b.test, made with these settings."""
    hosts = {"a.test": stage.server(**a), "b.test": stage.server(**b)}
    return stage.server(hosts=hosts, **settings)


def asking(stage: Stage, trust: bytes | None = None, client_auth: str = "required") -> dict[str, Any]:
    """Settings of a host that wants client certificates."""
    return {
        "client_auth": client_auth,
        "trust": trust or stage.pki.root.cert_pem,
        "session_id_context": b"service",
    }


def test_f01_f07_cross_vhost_resume_declined_on_real_hosts(stage: Stage, leaves: dict[str, Credential]) -> None:
    client = stage.client()
    server = house(stage, {"leaf": leaves["a.test"]}, {"leaf": leaves["b.test"]})
    stage.resumes(client, server, stage.session(client, server, name="a.test"), "a.test")
    stolen = stage.session(client, server, name="a.test")
    moved = disguised(stolen, hostname="b.test", verified_name="b.test")
    declined(stage.meet(client, server, session=moved, name="b.test"), stage.path.foreign, leaves["b.test"])


def test_f01_hosts_with_one_certificate_are_still_two(stage: Stage) -> None:
    """Nothing but the rule tells them apart: a session that lies about its name is of another partition."""
    leaf = stage.pki.wildcard
    hosts = {name: stage.server(leaf=leaf) for name in ("a.example.test", "b.example.test")}
    server, client = stage.server(hosts=hosts), stage.client()
    stage.resumes(client, server, stage.session(client, server, name="a.example.test"), "a.example.test")
    stolen = stage.session(client, server, name="a.example.test")
    moved = disguised(stolen, hostname="b.example.test", verified_name="b.example.test")
    declined(stage.meet(client, server, session=moved, name="b.example.test"), stage.path.foreign, leaf)


def test_f02_a_client_known_to_one_host_is_asked_by_the_other(
    stage: Stage, leaves: dict[str, Credential], other_ca: Credential, other_client: Credential
) -> None:
    server = house(
        stage,
        {"leaf": leaves["a.test"], **asking(stage)},
        {"leaf": leaves["b.test"], **asking(stage, other_ca.cert_pem)},
    )
    client = stage.client(identity=stage.pki.client)
    pair = stage.resumes(client, server, stage.session(client, server, name="a.test"), "a.test")
    assert pair.server.peer_chain == stage.pki.client.chain_der
    moved = disguised(stage.session(client, server, name="a.test"), hostname="b.test", verified_name="b.test")
    pair = stage.meet(stage.client(identity=other_client), server, session=moved, name="b.test")
    declined(pair, stage.path.foreign, leaves["b.test"])
    assert pair.server.peer_chain == other_client.chain_der, "a CertificateRequest was sent"
    moved = disguised(stage.session(client, server, name="a.test"), hostname="b.test", verified_name="b.test")
    pair = stage.meet(stage.client(), server, session=moved, name="b.test")
    assert not pair.server.handshake_complete
    wanted = AlertDescription.certificate_required if stage.path.is_tls13 else AlertDescription.handshake_failure
    assert isinstance(pair.took.client_error, AlertReceived)
    assert pair.took.client_error.description == wanted


def test_f03_hosts_that_differ_in_their_client_authorities_alone(stage: Stage, other_ca: Credential) -> None:
    leaf = stage.pki.wildcard
    both = stage.pki.root.cert_pem + other_ca.cert_pem
    hosts = {
        "a.example.test": stage.server(leaf=leaf, host_rule="same", **asking(stage)),
        "b.example.test": stage.server(leaf=leaf, host_rule="same", **asking(stage, both)),
    }
    server, client = stage.server(hosts=hosts), stage.client(identity=stage.pki.client)
    stage.resumes(client, server, stage.session(client, server, name="a.example.test"), "a.example.test")
    stolen = stage.session(client, server, name="a.example.test")
    moved = disguised(stolen, hostname="b.example.test", verified_name="b.example.test")
    pair = stage.meet(client, server, session=moved, name="b.example.test")
    declined(pair, stage.path.foreign)
    assert pair.server.peer_chain == stage.pki.client.chain_der, "it was asked for again"


@only("kind", ["leaf", "rule", "client_auth", "id context"])
def test_f04_a_host_that_was_replaced_by_another_declines(
    stage: Stage, leaves: dict[str, Credential], kind: str
) -> None:
    """As after a change of configuration: the same name, one setting of its host is another."""
    was: dict[str, Any] = {"leaf": leaves["a.test"], **asking(stage, client_auth="optional")}
    altered: dict[str, dict[str, Any]] = {
        "leaf": {"leaf": stage.pki.server("a.test")},
        "rule": {"host_rule": "another rule"},
        "client_auth": {"client_auth": "required"},
        "id context": {"session_id_context": b"other"},
    }
    plain = {"leaf": leaves["b.test"]}
    client = stage.client(identity=stage.pki.client)
    before, after = house(stage, was, plain), house(stage, {**was, **altered[kind]}, plain)
    stage.resumes(client, house(stage, was, plain), stage.session(client, before, name="a.test"), "a.test")
    pair = stage.meet(client, after, session=stage.session(client, before, name="a.test"), name="a.test")
    declined(pair, stage.path.foreign)


def test_f05_f06_automatic_keys_of_hosts_are_their_own(stage: Stage, leaves: dict[str, Credential]) -> None:
    if not stage.path.is_ticket:
        pytest.skip("no ticket holds this session")
    leaf, client = stage.pki.wildcard, stage.client()
    auto: dict[str, Any] = {"leaf": leaf, "tickets": "auto", "host_rule": "same"}
    names = ("a.example.test", "b.example.test")
    server = stage.server(hosts={name: stage.server(**auto) for name in names}, leaf=leaf, tickets="auto")
    partitions = {host.config.partition for host in server.hosts.values()}
    assert len(partitions) == 1, "it is the keys that differ"
    stage.resumes(client, server, stage.session(client, server, name=names[0]), names[0])
    stolen = stage.session(client, server, name=names[0])
    moved = disguised(stolen, hostname=names[1], verified_name=names[1])
    declined(stage.meet(client, server, session=moved, name=names[1]), Reason.UNKNOWN)


def test_f06_a_chooser_that_makes_contexts_shares_only_what_it_was_told_to(stage: Stage) -> None:
    """A context for each hello: sessions cross only through an explicit ring and an equal partition."""
    shared = {"a.test"}
    leaf = stage.pki.server("a.test", "b.test")

    def choose(connection: Any, hello: Any) -> ServerContext:
        if hello.server_name in shared:
            return stage.server(leaf=leaf, host_rule="shared")
        tickets = stage.keys if stage.path.shared_by == "store" else "auto"
        return stage.server(leaf=leaf, host_rule=f"rule {len(stage.servers)}", tickets=tickets)

    server, client = stage.server(choose_host=choose), stage.client()
    stage.resumes(client, server, stage.session(client, server, name="a.test"), "a.test")
    pair = stage.meet(client, server, session=stage.session(client, server, name="b.test"), name="b.test")
    declined(pair, stage.path.foreign)


def test_f08_a_hook_that_tightens_declines_sessions_of_before(stage: Stage) -> None:
    leaf = stage.pki.server("a.test")
    loose = stage.server(leaf=leaf, session_id_context=b"service")
    tight = stage.server(leaf=leaf, **asking(stage))
    chosen = [loose]
    server = stage.server(choose_host=lambda connection, hello: chosen[0])
    client = stage.client(identity=stage.pki.client)
    stage.resumes(client, server, stage.session(client, server, name="a.test"), "a.test")
    session = stage.session(client, server, name="a.test")
    chosen[0] = tight
    pair = stage.meet(client, server, session=session, name="a.test")
    declined(pair, stage.path.foreign)
    assert pair.server.peer_chain == stage.pki.client.chain_der


@only("written", ["A.TEST", "a.test.", "A.Test."])
def test_f10_a_host_is_found_however_its_name_is_written(
    stage: Stage, leaves: dict[str, Credential], written: str
) -> None:
    server = house(stage, {"leaf": leaves["a.test"], **asking(stage)}, {"leaf": leaves["b.test"]})
    clients = stage.client(verify=False, identity=stage.pki.client)
    session = stage.session(clients, server, name="a.test")
    odd = Connection(clients.config, server_name=written)
    odd.set_session(disguised(session, hostname=written))
    pair = stage.join(odd, server).check()
    assert pair.server.session_reused, pair.server.resumption
    assert pair.server.config.host_rule == "a.test"


@only("name", ["x.example.test", "y.example.test"])
def test_f10_a_wildcard_host_is_one_partition_and_each_name_its_own_session(stage: Stage, name: str) -> None:
    server = stage.server(hosts={"*.example.test": stage.server(leaf=stage.pki.wildcard)})
    client = stage.client()
    stage.resumes(client, server, stage.session(client, server, name=name), name)
    stolen = stage.session(client, server, name=name)
    moved = disguised(stolen, hostname="z.example.test", verified_name="z.example.test")
    declined(stage.meet(client, server, session=moved, name="z.example.test"), Reason.OTHER_NAME)


def test_f10_a_hello_that_is_cut_anywhere_finds_its_host(stage: Stage, leaves: dict[str, Credential]) -> None:
    server = house(stage, {"leaf": leaves["a.test"]}, {"leaf": leaves["b.test"]})
    client = stage.client()
    shapes: list[Callable[[int], list[int]]] = [lambda length: [1] * length]
    shapes += [lambda length, part=part: [length * part // 7, length - length * part // 7] for part in range(1, 7)]  # type: ignore[misc]
    for sizes in shapes:
        first = [True]

        def tap(data: bytes, sizes: Callable[[int], list[int]] = sizes, first: list[bool] = first) -> bytes:
            begins, first[0] = first[0], False
            return in_records(data, sizes) if begins else data

        session = stage.session(client, server, name="b.test")
        pair = stage.meet(client, server, session=session, name="b.test", to_server=tap).check()
        assert pair.server.session_reused
        assert pair.server.config.host_rule == "b.test"


def test_f10_a_name_without_a_host_falls_into_the_default_partition_alone(
    stage: Stage, leaves: dict[str, Credential]
) -> None:
    server = house(stage, {"leaf": leaves["a.test"], **asking(stage)}, {"leaf": leaves["b.test"]})
    client = stage.client(identity=stage.pki.client)
    stage.resumes(client, server, stage.session(client, server, name="localhost"), "localhost")
    stolen = stage.session(client, server, name="localhost")
    moved = disguised(stolen, hostname="a.test", verified_name="a.test")
    pair = stage.meet(client, server, session=moved, name="a.test")
    declined(pair, stage.path.foreign, leaves["a.test"])
    assert pair.server.peer_chain == stage.pki.client.chain_der, "the weaker default did not let it in"
    back = disguised(stage.session(client, server, name="a.test"), hostname="localhost", verified_name="localhost")
    declined(stage.meet(client, server, session=back, name="localhost"), stage.path.foreign)


def test_f12_a_chooser_that_raises_ends_the_connection(stage: Stage) -> None:
    client = stage.client()
    session = stage.session(client, stage.server())
    server = stage.server(choose_host=boom)
    for offered in (None, session):
        refused(outspoken(stage, client, server, offered))
    assert server.session_stats.accept_good == 0


def test_f12_an_early_choice_is_not_made_again_for_the_second_hello(stage: Stage) -> None:
    """After a HelloRetryRequest the name cannot change, so neither can the host."""
    if not stage.path.is_tls13:
        pytest.skip("TLS 1.2 has no HelloRetryRequest")
    calls: list[str] = []
    host = stage.server(groups=(24,))

    def choose(connection: Any, hello: Any) -> ServerContext:
        calls.append(hello.server_name)
        return host

    client, server = stage.client(groups=(29, 24)), stage.server(choose_host=choose)
    pair = stage.meet(client, server, fresh=True).check()
    assert calls == ["localhost"]
    assert pair.server.config is host.config
    assert reason_of(pair) is Reason.NOT_OFFERED
