"""Servers that send cookies: everyone comes back, to the same connection or to another one that knows nothing."""

from __future__ import annotations

from typing import Any

import pytest

from resumption.config import ServerConfig
from resumption.connection import Connection
from resumption.constants import ExtensionType as E
from resumption.crypto.cookies import CookieKeys
from resumption.crypto.groups import GROUPS
from resumption.crypto.suites import SUITES
from resumption.errors import (
    DecodeError,
    DecryptError,
    IllegalParameter,
    MissingExtension,
    PeerError,
    UnexpectedMessage,
)
from resumption.handshake.events import HelloRetried
from resumption.wire import extensions as ext
from resumption.wire.messages import ServerHello
from tests.handshake.pairs import TLS12, TLS13, Pair, Random, World, certified, pump
from tests.handshake.samples import CHANGE_CIPHER_SPEC
from tests.handshake.scripted import shares_of
from tests.handshake.scripted13 import P256, X25519, Client13, Server13
from tests.handshake.stops import server13_for
from tests.handshake.test_server13 import sealed

KEYS = CookieKeys.generate(random=Random("cookies"))


class Visitor(Client13):
    """A client that can go from one server to another between its two hellos."""

    def read_cookie(self, group: int | None) -> ServerHello:
        """The HelloRetryRequest, which asks for a share of ``group`` or for none."""
        raw = self.take(2)
        retry = ServerHello.parse(raw[4:])
        assert retry.is_hello_retry_request
        assert set(retry.extensions) == {E.supported_versions, E.cookie} | ({E.key_share} if group else set())
        self.suite = SUITES[retry.cipher_suite]
        self.cookie = retry.extensions[E.cookie]
        self.spoken.pop()
        self.restart_transcript(raw)
        if group is not None:
            assert ext.parse_key_share_retry(retry.extensions[E.key_share]) == group
            self.shares = shares_of((group,))
        return retry

    def come_back(self, **changes: Any) -> Visitor:
        add = {int(E.cookie): self.cookie, **changes.pop("add", {})}
        return self.say_hello(self.second_hello(add=add, **changes))

    def go_to(self, server: Connection) -> Visitor:
        """The connection is forgotten; the next message goes to another one."""
        self.subject.free()
        self.subject = server
        return self


def server(world: World, *, address: bytes = b"", **changes: Any) -> Connection:
    connection = Connection(config_of(world, **changes))
    connection.peer_address = address
    return connection


def config_of(world: World, **changes: Any) -> ServerConfig:
    return world.server_config(**{"cookies": KEYS, **changes})


@pytest.mark.parametrize("stateless", [False, True])
@pytest.mark.parametrize("groups", [(X25519,), (P256,)], ids=["the share is there", "it must be asked for"])
@pytest.mark.parametrize("suite", [0x1301, 0x1302])
def test_a_client_that_comes_back_is_served(world: World, stateless: bool, groups: tuple[int, ...], suite: int) -> None:
    peer = Visitor(server(world, groups=groups), suites=(suite,))
    peer.say_hello(legacy_session_id=b"compatible")
    peer.read_cookie(P256 if groups == (P256,) else None)
    if stateless:
        peer.go_to(server(world, groups=groups))
    peer.give(CHANGE_CIPHER_SPEC)
    peer.come_back().read_flight().say_finished().accepted()
    assert peer.suite.suite == suite


@pytest.mark.parametrize("stateless", [False, True])
def test_a_session_resumes_behind_a_cookie(world: World, stateless: bool) -> None:
    config = config_of(world)
    peer = Visitor(Connection(config), psks=(sealed(world, config, TLS13),))
    peer.say_hello().read_cookie(None)
    if stateless:
        peer.go_to(Connection(config))
    peer.come_back().read_flight().say_finished().accepted()
    assert peer.resumed


@pytest.mark.parametrize("stateless", [False, True])
def test_f37_a_binder_of_the_first_hello_alone_aborts(world: World, stateless: bool) -> None:
    config = config_of(world)
    peer = Visitor(Connection(config), psks=(sealed(world, config, TLS13),))
    peer.say_hello().read_cookie(None)
    first = peer.sent.extensions[E.pre_shared_key]
    if stateless:
        peer.go_to(Connection(config))
    again = peer.second_hello(drop=(41,), add={int(E.cookie): peer.cookie})
    again.extensions[int(E.pre_shared_key)] = first
    peer.say(again).refused(DecryptError)


CHANGED: list[tuple[str, dict[str, Any], type[PeerError]]] = [
    ("another random", {"random": b"D" * 32}, IllegalParameter),
    ("another session id", {"legacy_session_id": b"x"}, IllegalParameter),
    ("other suites", {"cipher_suites": (0x1301, 0x1303)}, IllegalParameter),
    ("the suites in another order", {"cipher_suites": (0x1302, 0x1301)}, IllegalParameter),
    ("another name", {"add": {0: ext.pack_server_name("other.test")}}, IllegalParameter),
    ("no name", {"drop": (0,)}, IllegalParameter),
    ("other groups", {"add": {10: ext.pack_supported_groups((P256,))}}, IllegalParameter),
    ("a protocol", {"add": {16: ext.pack_alpn((b"h2",))}}, IllegalParameter),
    ("something new that nobody knows", {"add": {0x0A0A: b""}}, IllegalParameter),
    ("early_data", {"add": {42: b""}}, IllegalParameter),
    ("no share", {"drop": (51,)}, MissingExtension),
    ("an empty cookie", {"add": {44: b"\0\0"}}, DecodeError),
    ("a made-up cookie", {"add": {44: ext.pack_cookie(b"crumbs")}}, IllegalParameter),
    ("a share of another group", {"add": {51: b"\0\x24\0\x1d\0\x20" + b"\x09" * 32}}, IllegalParameter),
]


@pytest.mark.parametrize("stateless", [False, True])
@pytest.mark.parametrize(("changes", "error"), [row[1:] for row in CHANGED], ids=[row[0] for row in CHANGED])
def test_f35_a_second_hello_that_changes_more_than_it_may_aborts_also_where_nothing_is_remembered(
    world: World, stateless: bool, changes: dict[str, Any], error: type[PeerError]
) -> None:
    peer = Visitor(server(world, groups=(P256,)), suites=(0x1301, 0x1302))
    peer.say_hello().read_cookie(P256)
    if stateless:
        peer.go_to(server(world, groups=(P256,)))
    peer.come_back(**changes).refused(error)


def test_the_shares_may_not_change_when_none_was_asked_for(world: World) -> None:
    peer = Visitor(server(world))
    peer.say_hello().read_cookie(None)
    peer.shares = shares_of((X25519,))
    peer.come_back().refused(IllegalParameter)


def test_a_cookie_that_stays_away_is_a_missing_extension(world: World) -> None:
    peer = Visitor(server(world))
    peer.say_hello().read_cookie(None)
    peer.say_hello(peer.second_hello()).refused(MissingExtension)


def test_a_cookie_of_another_connection_is_refused_where_this_one_is_remembered(world: World) -> None:
    other = Visitor(server(world)).say_hello(random=b"E" * 32)
    assert isinstance(other, Visitor)
    other.read_cookie(None)
    peer = Visitor(server(world))
    peer.say_hello().read_cookie(None)
    peer.cookie = other.cookie
    peer.come_back().refused(IllegalParameter)


def test_a_cookie_is_good_for_one_address_and_a_minute(world: World) -> None:
    def visit(address: bytes, wait_s: float) -> Visitor:
        peer = Visitor(server(world, address=b"192.0.2.1"))
        peer.say_hello().read_cookie(None)
        world.clock.advance(wait_s)
        return peer.go_to(server(world, address=address)).come_back()

    visit(b"192.0.2.1", 30).read_flight().say_finished().accepted()
    visit(b"192.0.2.2", 0).refused(IllegalParameter)
    visit(b"192.0.2.1", 61).refused(IllegalParameter)


def test_servers_with_other_keys_or_none_refuse_a_cookie(world: World) -> None:
    for cookies in (CookieKeys.generate(), None):
        peer = Visitor(server(world))
        peer.say_hello().read_cookie(None)
        peer.go_to(server(world, cookies=cookies)).come_back().refused(IllegalParameter)


def test_a_server_whose_suites_changed_meanwhile_refuses_the_cookie(world: World) -> None:
    peer = Visitor(server(world), suites=(0x1301, 0x1302))
    peer.say_hello().read_cookie(None)
    peer.go_to(server(world, suites=(0x1302,))).come_back().refused(IllegalParameter)


def test_change_cipher_spec_comes_first_only_before_a_hello_with_a_cookie(world: World) -> None:
    peer = Visitor(server(world))
    peer.give(CHANGE_CIPHER_SPEC).say_hello().refused(UnexpectedMessage)
    peer = Visitor(server(world, cookies=None))
    peer.give(CHANGE_CIPHER_SPEC).refused(UnexpectedMessage)


def test_a_second_hello_is_never_sent_away_again(world: World) -> None:
    """The answer to a hello with a cookie is a ServerHello or an alert."""
    peer = Visitor(server(world))
    peer.say_hello().read_cookie(None)
    peer.go_to(server(world, groups=(P256,)))  # would have asked for another share
    peer.come_back().read_flight().say_finished().accepted()


# --- both ends ours --------------------------------------------------------------------------------------------------


def retries(pair: Pair) -> tuple[list[HelloRetried], list[HelloRetried]]:
    client, server = (
        [event for event in events if isinstance(event, HelloRetried)]
        for events in (pair.took.client, pair.took.server)
    )
    return client, server


@pytest.mark.parametrize("group", [None, P256])
def test_contexts_meet_over_a_cookie_and_resume_over_one(world: World, group: int | None) -> None:
    clients = world.client_context(key_shares=(X25519,))
    servers = world.server_context(cookies=KEYS, groups=(group or X25519,))
    for resumed in (False, True):
        pair = world.meet(clients, servers).check()
        assert pair.client.session_reused is resumed
        assert retries(pair) == ([HelloRetried(group, True)], [HelloRetried(group, True)])
        pair.talk()


def test_no_retry_no_event(world: World) -> None:
    assert retries(world.meet(world.client_context(), world.server_context())) == ([], [])


def test_a_client_of_ours_is_served_by_a_connection_that_knows_nothing(world: World) -> None:
    servers = world.server_context(cookies=KEYS)
    client = world.client_context().connection("localhost")
    first = servers.connection(peer_address=b"192.0.2.1")
    events = list(first.receive_data(client.data_to_send()))
    assert events == [HelloRetried(None, True)]
    client.receive_data(first.data_to_send())
    first.free()
    pair = Pair(client, second := servers.connection(peer_address=b"192.0.2.1"), pump(client, second)).check()
    pair.talk()


def test_tls12_has_no_cookies(world: World) -> None:
    pair = world.meet(world.client_context(maximum_version=TLS12), world.server_context(cookies=KEYS)).check()
    assert pair.client.version == TLS12


def test_a_cookie_that_leaves_no_room_is_illegal(world: World) -> None:
    server13_for(world).say_retry(None, add={44: ext.pack_cookie(b"c" * (2**14 + 1))}).refused(IllegalParameter)
    server13_for(world).say_retry(None, add={44: ext.pack_cookie(b"c" * 2**14)}).connect().accepted()


def test_the_longest_cookie_and_the_longest_ticket_fit_one_hello(world: World) -> None:
    with world.client_session(TLS13, ticket=b"T" * 2**15, group=X25519) as session:
        client = Connection(world.client_config(groups=tuple(GROUPS), key_shares=(X25519,)), server_name="localhost")
        client.set_session(session)
        peer = Server13(client, certified(world.leaf), group=4588)
        peer.say_retry(4588, add={44: ext.pack_cookie(b"c" * 2**14)}).connect().accepted()
        client.free()
