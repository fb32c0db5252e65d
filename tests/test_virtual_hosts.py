"""Names and wildcards, the host that serves a hello, and which of a server's chains a client gets."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resumption import HostChosen, ServerContext, UnrecognizedName
from resumption.constants import AlertDescription, SignatureScheme
from resumption.crypto.certificates import CertifiedKey
from resumption.errors import AlertReceived, ConfigurationError, InternalError, MissingExtension, UsageError
from resumption.handshake.hello import ClientHelloFacts
from resumption.session.stores.memory import MemoryStore
from resumption.session.tickets.keys import TicketKeys
from resumption.virtual_hosts import HostRules, canonical_rule
from tests.handshake.pairs import TLS12, TLS13, VERSIONS, Pair, World, certified
from tests.pki import Credential, Pki

both_versions = pytest.mark.parametrize("version", VERSIONS, ids=("1.2", "1.3"))


@pytest.fixture
def world(pki: Pki) -> Iterator[World]:
    made = World(pki)
    yield made
    made.tickets.close()


@pytest.fixture(scope="module")
def leaves(pki: Pki) -> dict[str, Credential]:
    return {name: pki.server(name) for name in ("a.test", "b.test", "*.c.test", "x.c.test")}


# Rules


@pytest.mark.parametrize(
    ("rule", "canonical"),
    [("A.Test.", "a.test"), ("*.B.test", "*.b.test"), ("münchen.test", "xn--mnchen-3ya.test"), ("*.test", "*.test")],
)
def test_a_rule_has_one_form(rule: str, canonical: str) -> None:
    assert canonical_rule(rule) == canonical


@pytest.mark.parametrize("rule", ["", "*", "*.", "127.0.0.1", "[::1]", "a b", "*.*.test", "a*.test", "x.*.test"])
def test_what_no_client_can_ask_for_is_no_rule(rule: str) -> None:
    with pytest.raises(ConfigurationError):
        canonical_rule(rule)


def test_two_rules_may_not_mean_the_same() -> None:
    with pytest.raises(ConfigurationError, match="mean the same"):
        HostRules({"a.test": 1, "A.TEST.": 2})


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a.test", 1),
        ("x.test", 2),
        ("x.y.test", 3),
        ("test", None),
        ("z.x.y.test", None),
        (".test", None),
        ("", None),
        ("*.test", 2),
        ("a.test.", None),
    ],
)
def test_a_name_wins_over_a_wildcard_and_a_wildcard_is_one_label(name: str, found: int | None) -> None:
    assert HostRules({"a.test": 1, "*.test": 2, "x.y.test": 3}).find(name) == found


@given(st.text(max_size=30))
def test_any_name_can_be_looked_up(name: str) -> None:
    assert HostRules({"*.test": 1}).find(name) in (None, 1)


# Hosts


def named(world: World, leaves: dict[str, Credential], **settings: Any) -> ServerContext:
    """A server with a default host and one host for each leaf."""
    hosts = {rule: world.server_context(leaf=leaf) for rule, leaf in leaves.items()}
    return world.server_context(hosts=hosts, **settings)


def leaf_of(pair: Pair) -> bytes:
    return pair.client.peer_chain[0]


@both_versions
def test_each_name_gets_its_host(world: World, leaves: dict[str, Credential], version: int) -> None:
    server = named(world, leaves)
    client = world.client_context(minimum_version=version, maximum_version=version)
    for name, rule in (
        ("a.test", "a.test"),
        ("b.test", "b.test"),
        ("y.c.test", "*.c.test"),
        ("x.c.test", "x.c.test"),
        ("localhost", None),
    ):
        pair = world.meet(client, server, name=name).check()
        wanted = leaves[rule] if rule else world.leaf
        assert leaf_of(pair) == wanted.cert_der
        (told,) = [event.context for event in pair.took.server if isinstance(event, HostChosen)] or [server]
        assert told is (server.hosts[rule] if rule else server)
        assert pair.server.config.host_rule == (rule or "")
        assert told.session_stats.accept == 1, "the host counts, not who chose it"
        assert told.session_stats.accept_good == 1
        pair.talk()


def test_rules_are_told_in_one_form_and_cannot_be_changed(world: World) -> None:
    host = world.server_context()
    server = world.server_context(hosts={"A.Test.": host, "*.B.test": host})
    assert dict(server.hosts) == {"a.test": host, "*.b.test": host}
    assert host.config.host_rule == "*.b.test a.test"
    with pytest.raises(TypeError):
        server.hosts["c.test"] = host  # type: ignore[index]


def test_a_host_keeps_the_rule_it_was_given(world: World) -> None:
    host = world.server_context(host_rule="mine")
    world.server_context(hosts={"a.test": host})
    assert host.config.host_rule == "mine"


def test_a_host_that_has_served_already_cannot_be_given_a_rule(world: World) -> None:
    host = world.server_context()
    host.connection().free()
    with pytest.raises(UsageError, match="frozen"):
        world.server_context(hosts={"a.test": host})


def test_a_host_is_frozen_once_it_serves(world: World, leaves: dict[str, Credential]) -> None:
    server = named(world, leaves)
    world.meet(world.client_context(), server, name="a.test").check()
    assert server.hosts["a.test"].is_frozen
    assert not server.hosts["b.test"].is_frozen


@both_versions
def test_unknown_names_are_refused_where_that_is_wanted(
    world: World, leaves: dict[str, Credential], version: int
) -> None:
    server = named(world, leaves, unknown_host="refuse")
    client = world.client_context(minimum_version=version, maximum_version=version)
    pair = world.meet(client, server, name="localhost")
    assert isinstance(pair.took.server_error, UnrecognizedName)
    assert isinstance(pair.took.client_error, AlertReceived)
    assert pair.took.client_error.description == AlertDescription.unrecognized_name
    pair = world.meet(client, server, name="127.0.0.1")
    assert isinstance(pair.took.server_error, MissingExtension)
    world.meet(client, server, name="a.test").check()


def test_unknown_host_has_two_values(world: World) -> None:
    with pytest.raises(ConfigurationError, match="unknown_host"):
        world.server_context(unknown_host="ignore")


@both_versions
def test_a_hook_sees_the_hello_and_chooses(world: World, leaves: dict[str, Credential], version: int) -> None:
    special = world.server_context(leaf=leaves["a.test"], alpn=["h2"])
    seen: list[ClientHelloFacts] = []

    def choose(connection: Any, hello: ClientHelloFacts) -> ServerContext | None:
        assert connection.is_server
        seen.append(hello)
        return special if b"h2" in hello.alpn else None

    server = world.server_context(leaf=leaves["a.test"], choose_host=choose, alpn=["http/1.1"])
    for protocol, host in (("h2", special), ("http/1.1", server)):
        client = world.client_context(alpn=[protocol], minimum_version=version, maximum_version=version)
        pair = world.meet(client, server, name="a.test").check()
        assert pair.server.config is host.config
        assert pair.server.alpn == protocol.encode(), "the host's own protocols"
    assert [hello.server_name for hello in seen] == ["a.test", "a.test"]
    assert version in seen[0].versions


def test_a_hook_that_does_not_know_leaves_it_to_the_rules(world: World, leaves: dict[str, Credential]) -> None:
    server = named(world, leaves, choose_host=lambda connection, hello: None)
    assert leaf_of(world.meet(world.client_context(), server, name="a.test").check()) == leaves["a.test"].cert_der


def test_a_hook_may_refuse_a_name(world: World) -> None:
    def refuse(connection: Any, hello: ClientHelloFacts) -> ServerContext | None:
        raise UnrecognizedName("not here")

    pair = world.meet(world.client_context(), world.server_context(choose_host=refuse))
    assert isinstance(pair.took.server_error, UnrecognizedName)


@pytest.mark.parametrize("answer", ["a string", 7, object()])
def test_a_hook_that_returns_no_context_ends_the_connection(world: World, answer: Any) -> None:
    pair = world.meet(world.client_context(), world.server_context(choose_host=lambda connection, hello: answer))
    assert isinstance(pair.took.server_error, InternalError)


def test_a_closed_host_serves_nobody(world: World, leaves: dict[str, Credential]) -> None:
    server = named(world, leaves)
    server.hosts["a.test"].close()
    pair = world.meet(world.client_context(), server, name="a.test")
    assert isinstance(pair.took.server_error, UsageError)
    assert isinstance(pair.took.client_error, AlertReceived)
    assert pair.took.client_error.description == AlertDescription.internal_error


def test_a_host_decides_about_versions(world: World, leaves: dict[str, Credential]) -> None:
    modern = world.server_context(leaf=leaves["a.test"], minimum_version=TLS13)
    old = world.server_context(leaf=leaves["b.test"], maximum_version=TLS12)
    server = world.server_context(hosts={"a.test": modern, "b.test": old})
    client = world.client_context()
    assert world.meet(client, server, name="a.test").check().client.version == TLS13
    pair = world.meet(client, server, name="b.test").check()
    assert pair.client.version == TLS12


def test_the_store_of_the_host_is_asked_by_the_stream(world: World, leaves: dict[str, Credential]) -> None:
    """Over sockets, blocking: the default context has no store at all."""
    keys = TicketKeys.from_secret(bytes(range(64)))
    store = MemoryStore()
    host = ServerContext(leaves["a.test"].chain_pem, leaves["a.test"].key_pem, tickets=keys, store=store, stateful=True)
    server = ServerContext(world.leaf.chain_pem, world.leaf.key_pem, hosts={"a.test": host})
    client = world.client_context()
    with server.listen(("127.0.0.1", 0), timeout=10) as listener:

        def serve() -> None:
            with listener.accept() as stream:
                stream.sendall(stream.recv(4))

        for resumed in (False, True):
            thread = threading.Thread(target=serve)
            thread.start()
            with client.connect(tuple(listener.address), server_name="a.test", timeout=10) as stream:  # type: ignore[arg-type]
                stream.sendall(b"ping")
                assert stream.recv() == b"ping"
                assert stream.session_reused is resumed
            thread.join()
    keys.close()


# Chains


def test_a_client_gets_a_chain_that_it_can_check(world: World, pki: Pki) -> None:
    server = world.server_context(
        leaf=pki.ecdsa_p256,
        certificates=[
            (pki.rsa2048.chain_pem, pki.rsa2048.key_pem),
            CertifiedKey.load(pki.ed25519.chain_pem, pki.ed25519.key_pem),
        ],
    )
    cases: dict[SignatureScheme, Credential] = {
        SignatureScheme.ecdsa_secp256r1_sha256: pki.ecdsa_p256,
        SignatureScheme.rsa_pss_rsae_sha256: pki.rsa2048,
        SignatureScheme.ed25519: pki.ed25519,
    }
    for version in VERSIONS:
        for scheme, leaf in cases.items():
            client = world.client_context(
                minimum_version=version,
                maximum_version=version,
                schemes=(scheme, SignatureScheme.rsa_pkcs1_sha256)
                if scheme == SignatureScheme.rsa_pss_rsae_sha256
                else (scheme,),
            )
            assert leaf_of(world.meet(client, server).check()) == leaf.cert_der


def test_the_name_decides_before_the_order_and_a_name_before_a_wildcard(world: World, pki: Pki) -> None:
    wild, exact = pki.wildcard, pki.server("a.example.test")
    server = world.server_context(certificates=[certified(wild), certified(exact)])
    client = world.client_context()
    assert leaf_of(world.meet(client, server, name="a.example.test").check()) == exact.cert_der
    assert leaf_of(world.meet(client, server, name="b.example.test").check()) == wild.cert_der
    assert leaf_of(world.meet(client, server, name="localhost").check()) == world.leaf.cert_der


def test_asyncio_streams_follow_the_host_too(world: World, leaves: dict[str, Credential]) -> None:
    keys = TicketKeys.from_secret(bytes(range(64)))
    host = ServerContext(
        leaves["a.test"].chain_pem, leaves["a.test"].key_pem, tickets=keys, store=MemoryStore(), stateful=True
    )
    server = ServerContext(world.leaf.chain_pem, world.leaf.key_pem, hosts={"a.test": host})
    client = world.client_context()

    async def handler(stream: Any) -> None:
        await stream.sendall(await stream.recv(4))

    async def run() -> list[bool]:
        seen = []
        async with await server.serve(handler, ("127.0.0.1", 0)) as serving:
            for _ in range(2):
                address = serving.sockets[0].getsockname()
                async with client.open(address, server_name="a.test") as stream:
                    await stream.sendall(b"ping")
                    assert await stream.recv() == b"ping"
                    seen.append(stream.session_reused)
        return seen

    assert asyncio.run(run()) == [False, True]
    keys.close()
