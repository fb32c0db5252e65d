"""Which groups a client sends key shares for, and what comes of it at the other end."""

from __future__ import annotations

import pytest

from resumption.config import ClientConfig
from resumption.connection import Connection
from resumption.constants import ExtensionType as E
from resumption.constants import NamedGroup as G
from resumption.crypto.groups import DEFAULT_GROUPS, GROUPS
from resumption.errors import ConfigurationError, HandshakeFailure, IllegalParameter
from resumption.handshake.hello import ClientHelloFacts
from resumption.session.model import Session
from resumption.wire.messages import ClientHello
from resumption.wire.records import RecordReader
from tests.handshake.pairs import TLS12, TLS13, VERSIONS, Pair, World, feed
from tests.pki import Pki

HYBRID, X25519, P256 = int(G.X25519MLKEM768), int(G.x25519), int(G.secp256r1)
every_group = pytest.mark.parametrize("group", GROUPS, ids=lambda group: G(group).name)


def hello_of(connection: Connection) -> ClientHelloFacts:
    reader = RecordReader()
    reader.feed(connection.data_to_send())
    record = reader.next_record()
    assert record is not None
    return ClientHelloFacts(ClientHello.parse(record[2][4:]))


@pytest.fixture
def world(pki: Pki) -> World:
    """Without GREASE, so that shares can be counted; `tests.handshake.test_grease` has it."""
    return World(pki, grease=False)


def shares_of(connection: Connection) -> tuple[int, ...]:
    return tuple(group for group, _ in hello_of(connection).key_shares or ())


def shares_with(config: ClientConfig, session: Session) -> tuple[int, ...]:
    client = Connection(config, server_name="localhost")
    client.set_session(session)
    hello = hello_of(client)
    assert hello.psk is not None
    client.free()
    return tuple(group for group, _ in hello.key_shares or ())


def group_of(pair: Pair) -> int:
    client, server = pair.check().client.facts, pair.server.facts
    assert client is not None
    assert server is not None
    assert client.group == server.group
    return client.group


@pytest.mark.proves("9846:4.3.8:1", "9846:4.3.8:3", "9846:4.3.8:4")
def test_a_stranger_gets_the_hybrid_and_its_curve(world: World) -> None:
    hello = hello_of(Connection(world.client_config(groups=DEFAULT_GROUPS), server_name="localhost"))
    assert hello.groups is not None
    assert hello.groups[:2] == (HYBRID, X25519)
    assert hello.key_shares is not None
    assert [(group, len(share)) for group, share in hello.key_shares] == [(HYBRID, 1216), (X25519, 32)]


def test_two_of_ours_agree_on_the_hybrid_by_default_and_resume_with_one_share(world: World) -> None:
    clients = world.client_context(groups=DEFAULT_GROUPS)
    servers = world.server_context(groups=DEFAULT_GROUPS)
    first = world.meet(clients, servers)
    assert group_of(first) == HYBRID
    client = clients.connection("localhost")
    assert shares_of(client) == (HYBRID,)
    again = world.meet(clients, servers)
    assert again.client.session_reused
    assert group_of(again) == HYBRID


def test_a_server_without_hybrids_needs_no_second_hello_and_gets_no_hybrid_share_again(world: World) -> None:
    clients = world.client_context(groups=DEFAULT_GROUPS)
    servers = world.server_context(groups=(X25519, P256))
    sizes: list[int] = []

    def count(data: bytes) -> bytes:
        sizes.append(len(data))
        return data

    assert group_of(world.meet(clients, servers, to_server=count)) == X25519
    assert len(sizes) == 2  # the hello, and the client's Finished
    client = clients.connection("localhost")
    hello = hello_of(client)
    assert [group for group, _ in hello.key_shares or ()] == [X25519]
    assert hello.groups is not None
    assert hello.groups[0] == HYBRID  # it is still what we would like best


def test_a_server_that_resumes_keeps_to_the_share_that_is_there(world: World) -> None:
    """Its order of groups does not cost a second hello."""
    clients = world.client_context(groups=DEFAULT_GROUPS)
    servers = world.server_context(groups=(X25519,))
    group_of(world.meet(clients, servers))
    flights: list[bytes] = []
    other = world.server_context(groups=DEFAULT_GROUPS)
    assert group_of(world.meet(clients, other, to_server=lambda data: flights.append(data) or data)) == X25519
    assert len(flights) == 2


def test_the_group_of_a_session_that_is_no_longer_enabled_gets_no_share(world: World) -> None:
    session = world.client_session(TLS13, group=P256)
    with session:
        assert shares_with(world.client_config(groups=(X25519, 24)), session) == (X25519,)


@pytest.mark.parametrize(
    ("wanted", "sent"),
    [
        (0, ()),
        (1, (HYBRID,)),
        (3, (HYBRID, X25519, P256)),
        ((), ()),
        ((P256,), (P256,)),
        ((X25519, P256), (X25519, P256)),
        (99, (HYBRID, X25519, P256)),
    ],
)
def test_the_choice_of_shares_is_obeyed(world: World, wanted: int | tuple[int, ...], sent: tuple[int, ...]) -> None:
    config = world.client_config(groups=(HYBRID, X25519, P256), key_shares=wanted)
    assert shares_of(Connection(config, server_name="localhost")) == sent
    with world.client_session(TLS13, group=X25519) as session:
        assert shares_with(config, session) == sent
    assert group_of(world.meet(config, world.server_config(groups=(P256,)))) == P256


@pytest.mark.parametrize("wanted", [-1, (P256, X25519), (24,), (X25519, X25519)])
def test_a_choice_that_makes_no_sense_is_refused(wanted: int | tuple[int, ...]) -> None:
    with pytest.raises(ConfigurationError, match="key_shares"):
        ClientConfig(groups=(X25519, P256), key_shares=wanted)


@every_group
def test_every_group_works_with_and_without_a_second_hello(world: World, group: int) -> None:
    servers = world.server_config(groups=(group,))
    straight = world.client_config(groups=(group,), minimum_version=TLS13)
    assert group_of(world.meet(straight, servers)) == group
    other = P256 if group != P256 else X25519
    retried = world.client_config(groups=(other, group), key_shares=1)
    assert group_of(world.meet(retried, servers)) == group


@every_group
def test_every_group_of_tls12_works_there_and_no_other_does(world: World, group: int) -> None:
    servers = world.server_config(groups=(group, P256), maximum_version=TLS12)
    clients = world.client_config(groups=(group, P256), maximum_version=TLS12)
    assert group_of(world.meet(clients, servers)) == (P256 if GROUPS[group].tls13_only else group)
    groups = hello_of(Connection(clients, server_name="localhost")).groups
    assert groups is not None
    assert (group in groups) is not GROUPS[group].tls13_only


@pytest.mark.parametrize("version", VERSIONS)
def test_no_group_in_common_is_a_handshake_failure(world: World, version: int) -> None:
    settings = {"minimum_version": version, "maximum_version": version}
    pair = world.meet(
        world.client_config(groups=(X25519,), **settings), world.server_config(groups=(P256,), **settings)
    )
    assert isinstance(pair.took.server_error, HandshakeFailure)


@every_group
def test_a_bad_share_is_an_illegal_parameter_for_either_side(world: World, group: int) -> None:
    """The last byte of a share is missing: every group notices its length."""
    settings = {"groups": (group,), "minimum_version": TLS13}

    def cut(data: bytes) -> bytes:
        reader = RecordReader()
        reader.feed(data)
        record = reader.next_record()
        assert record is not None
        raw = record[2]
        facts = ClientHello.parse(raw[4:])
        body = facts.extensions[int(E.key_share)]
        short = (len(body) - 3).to_bytes(2) + body[2:4] + (len(body) - 7).to_bytes(2) + body[6:-1]
        hello = ClientHello(
            facts.legacy_version,
            facts.random,
            facts.legacy_session_id,
            facts.cipher_suites,
            facts.legacy_compression_methods,
            {**facts.extensions, int(E.key_share): short},
        ).pack()
        return b"\x16\x03\x01" + len(hello).to_bytes(2) + hello

    server = Connection(world.server_config(**settings))
    client = Connection(world.client_config(**settings), server_name="localhost")
    _, error = feed(server, cut(client.data_to_send()))
    assert isinstance(error, IllegalParameter)
    assert server.data_to_send()[-2:] == b"\x02\x2f"  # fatal, illegal_parameter
