"""Early data on one connection: both roles, each against a scripted peer and against each other. RFC 9846, 4.3.10."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest

from resumption.adapters.metrics import SessionCollector
from resumption.config import ServerConfig
from resumption.connection import Connection
from resumption.constants import ExtensionType as E
from resumption.constants import HandshakeType as H
from resumption.constants import NamedGroup
from resumption.crypto.protection import PlainOpener, PlainSealer, RecordOpener13, RecordSealer13
from resumption.crypto.schedule13 import EarlySecret
from resumption.crypto.suites import SUITES
from resumption.errors import (
    BadRecordMac,
    CertificateError,
    ConfigurationError,
    ConnectionFailed,
    DecryptError,
    IllegalParameter,
    ProtocolVersionUnsupported,
    TooManyMessages,
    UnexpectedMessage,
    UnsupportedExtension,
    UsageError,
)
from resumption.handshake.choice13 import skippable
from resumption.handshake.events import (
    DataReceived,
    EarlyDataReceived,
    EarlyDataRejected,
    Failed,
    HandshakeCompleted,
    NeedAdmission,
)
from resumption.server_context import ServerContext
from resumption.session.early import EarlyData, EarlyReason, EarlyState
from resumption.session.fleet.replay import ReplayRegister
from resumption.session.model import Session
from resumption.session.stores.memory import MemoryStore
from resumption.session.tickets.keys import TicketKeys
from resumption.wire import extensions as ext
from resumption.wire.messages import EncryptedExtensions, KeyUpdate
from tests.handshake.pairs import TLS12, TLS13, World, certified, pump, received
from tests.handshake.samples import CHANGE_CIPHER_SPEC, DATA, HANDSHAKE
from tests.handshake.scripted13 import P256, Client13, Psk, Server13
from tests.handshake.stops import sealed
from tests.pki import Pki

REQUEST = b"GET /early HTTP/1.1\r\n\r\n"
EARLY = {int(E.early_data): b""}


def early(events: list[Any]) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, EarlyDataReceived))


class Stage:
    """A server that takes early data, and what it takes to come back to it."""

    held: ClassVar[list[Session]] = []  # freed after each test

    def __init__(self, world: World, **changes: Any) -> None:
        self.world = world
        self.register = ReplayRegister(clock=world.clock, random=world.random)
        self.server = world.server_config(
            **{"max_early_data": 1_000, "replay": self.register, "alpn": (b"h2", b"x"), **changes}
        )
        self.client = world.client_config(alpn=(b"h2",))

    def ticket(self) -> Session:
        """A session of ours, held by the test."""
        pair = self.world.meet(self.client, self.server).check()
        session = pair.client.get1_session()
        assert session is not None
        self.held.append(session)
        pair.free()
        self.world.clock.advance(3)
        return session

    def back(self, session: Session, client: Any = None) -> Connection:
        """A client that offers ``session``, and has not begun."""
        connection = Connection(client or self.client, server_name="localhost")
        connection.set_session(session)
        return connection

    def scripted(self, *, config: ServerConfig | None = None, **changes: Any) -> Client13:
        """A scripted client with a ticket of this server; ``changes`` are its facts."""
        config = config or self.server
        facts = {"max_early_data": 1_000, "replay_domain": self.register.domain, **changes}
        return Client13(Connection(config), psks=(sealed(self.world, config, TLS13, **facts),))


@pytest.fixture(autouse=True)
def freed() -> Iterator[None]:
    yield
    while Stage.held:
        Stage.held.pop().free()


@pytest.fixture
def stage(world: World) -> Stage:
    return Stage(world)


# --- both together ---------------------------------------------------------------------------------------------------


@pytest.mark.proves("9846:4.3.11.3:1")
def test_early_data_comes_before_everything_else_and_apart_from_it(stage: Stage) -> None:
    client, server = stage.back(stage.ticket()), Connection(stage.server)
    assert client.early_data == EarlyData()
    assert client.send_early_data(REQUEST) == len(REQUEST)
    assert client.early_data == EarlyData(EarlyState.OFFERED, None, len(REQUEST))
    events = list(server.receive_data(client.data_to_send()))
    assert [type(event) for event in events] == [EarlyDataReceived]
    assert early(events) == REQUEST
    assert server.data_is_early
    assert not server.handshake_complete
    server.send_data(b"the answer")  # before the client's Finished
    took = pump(client, server).check()
    assert received(took.client) == b"the answer"
    assert not server.data_is_early
    for side in (client, server):
        assert side.session_reused
        assert side.early_data == EarlyData(EarlyState.ACCEPTED, None, len(REQUEST))
        assert side.early_data.accepted
    client.send_data(b"more")
    assert received(pump(client, server).check().server) == b"more"


def test_more_early_data_may_follow_until_the_server_has_finished(stage: Stage) -> None:
    client, server = stage.back(stage.ticket()), Connection(stage.server)
    sent = [client.send_early_data(b"a" * 400), client.send_early_data(b"b" * 400)]
    events = list(server.receive_data(client.data_to_send()))
    sent += [client.send_early_data(b"c" * 201), client.send_early_data(b"d" * 200), client.send_early_data(b"")]
    assert sent == [400, 400, 0, 200, 0]
    took = pump(client, server).check()
    assert early(events) + early(took.server) == b"a" * 400 + b"b" * 400 + b"d" * 200
    assert client.early_data == server.early_data == EarlyData(EarlyState.ACCEPTED, None, 1_000)
    assert client.send_early_data(b"e") == 0


def test_early_exporters_agree_and_the_ordinary_ones_differ(stage: Stage) -> None:
    client, server = stage.back(stage.ticket()), Connection(stage.server)
    with pytest.raises(UsageError):
        client.export_early_keying_material(b"label", None, 32)
    client.send_early_data(REQUEST)
    ours = client.export_early_keying_material(b"label", b"context", 40)
    server.receive_data(client.data_to_send())
    assert server.export_early_keying_material(b"label", b"context", 40) == ours
    assert server.export_early_keying_material(b"other", b"context", 40) != ours
    pump(client, server).check()
    assert client.export_keying_material(b"label", b"context", 40) != ours
    assert client.export_early_keying_material(b"label", None, 8) == server.export_early_keying_material(
        b"label", b"", 8
    )


def test_each_ticket_says_how_much_and_where(stage: Stage) -> None:
    session = stage.ticket()
    assert session.max_early_data == 1_000
    assert session.data.replay_domain == b""  # the client is not told
    plain = stage.world.meet(stage.client, stage.world.server_config()).check().client.session
    assert plain is not None
    assert plain.max_early_data == 0


@pytest.mark.parametrize("stateful", [False, True])
def test_stateful_and_stateless_tickets_allow_it(world: World, stateful: bool) -> None:
    register = ReplayRegister(clock=world.clock)
    servers = world.server_context(stateful=stateful, max_early_data=1_000, replay=register)
    clients = world.client_context()
    world.meet(clients, servers).check().free()
    client, server = clients.connection("localhost"), servers.connection()
    assert client.send_early_data(REQUEST) == len(REQUEST)
    took = pump(client, server).check()
    assert early(took.server) == REQUEST
    assert client.early_data.accepted


def test_secrets_of_early_data_go_to_the_key_log(world: World) -> None:
    lines: tuple[list[str], list[str]] = ([], [])
    register = ReplayRegister(clock=world.clock)
    servers = world.server_context(max_early_data=1_000, replay=register, keylog=lines[0].append)
    clients = world.client_context(keylog=lines[1].append)
    world.meet(clients, servers).check().free()
    client, server = clients.connection("localhost"), servers.connection()
    client.send_early_data(REQUEST)
    pump(client, server).check()
    for told in lines:
        labels = [line.split()[0] for line in told]
        assert labels.count("CLIENT_EARLY_TRAFFIC_SECRET") == labels.count("EARLY_EXPORTER_SECRET") == 1
    assert set(lines[0]) == set(lines[1])


# --- F85, F86: who may take it at all --------------------------------------------------------------------------------


def test_f85_it_cannot_be_switched_on_without_a_register(world: World) -> None:
    with pytest.raises(ConfigurationError, match="replay="):
        world.server_config(max_early_data=1)
    with pytest.raises(ConfigurationError, match="replay="):
        world.server_context(max_early_data=1)
    with pytest.raises(ConfigurationError, match="bytes"):
        world.server_config(max_early_data=-1)
    with pytest.raises(ConfigurationError, match="OpenSSL"):
        world.server_config(
            max_early_data=1,
            replay=ReplayRegister(),
            tickets=TicketKeys.from_openssl_block(bytes(range(80))),
        )
    assert world.server_config(replay=ReplayRegister()).max_early_data == 0  # off unless it is asked for


@pytest.mark.proves("9846:8:2")
def test_f85_the_same_flight_is_taken_once(stage: Stage) -> None:
    client = stage.back(stage.ticket())
    client.send_early_data(REQUEST)
    flight = client.data_to_send()
    servers = [Connection(stage.server) for _ in range(20)]
    taken = [early(list(server.receive_data(flight))) for server in servers]
    assert taken == [REQUEST] + [b""] * 19
    assert [server.early_data.reason for server in servers[1:]] == [EarlyReason.SEEN] * 19


@pytest.mark.proves("9846:8.2:1")
def test_a_replay_is_no_reason_to_end_the_handshake(stage: Stage) -> None:
    client = stage.back(stage.ticket())
    client.send_early_data(REQUEST)
    flight = client.data_to_send()
    Connection(stage.server).receive_data(flight)
    server = Connection(stage.server)
    server.receive_data(flight)
    took = pump(client, server).check()
    assert client.session_reused
    assert server.session_reused
    assert [event for event in took.client if isinstance(event, EarlyDataRejected)]
    assert client.early_data == EarlyData(EarlyState.REJECTED, EarlyReason.SERVER_REJECTED, len(REQUEST))
    client.send_data(b"on it goes")
    assert received(pump(client, server).check().server) == b"on it goes"


def test_f86_a_server_that_just_started_refuses(world: World) -> None:
    stage = Stage(world, replay=(register := ReplayRegister(domain="here", clock=world.clock)))
    stage.register = register
    session = stage.ticket()
    for expected in (EarlyReason.WARMING_UP, None):
        client, server = stage.back(session), Connection(stage.server)
        client.send_early_data(REQUEST)
        took = pump(client, server).check()
        assert server.early_data.reason is expected
        assert early(took.server) == (b"" if expected else REQUEST)
        assert server.session_reused
        world.clock.advance(register.kept_s)


# --- F87: what it is until the handshake ends ------------------------------------------------------------------------


def test_f87_bytes_are_early_until_the_client_has_proved_that_it_is_there(stage: Stage) -> None:
    peer = stage.scripted().say_early_hello()
    server = peer.subject
    peer.say_data(REQUEST).accepted()
    assert server.data_is_early
    peer.say_end_of_early_data().accepted()
    assert server.data_is_early  # anyone may have recorded that, too
    peer.say_finished().accepted()
    assert not server.data_is_early
    kinds = [type(event) for event in peer.events]
    assert kinds.index(EarlyDataReceived) < kinds.index(HandshakeCompleted)
    assert DataReceived not in kinds


def test_f87_a_replay_gets_its_answer_and_never_completes(stage: Stage) -> None:
    """What an attacker who recorded a flight can do: have it taken by nobody, and never end a handshake."""
    client = stage.back(stage.ticket())
    client.send_early_data(REQUEST)
    server = Connection(stage.server)
    server.receive_data(client.data_to_send())
    assert server.data_is_early
    with pytest.raises(BadRecordMac):
        server.receive_data(b"\x17\x03\x03\x00\x30" + bytes(48))
    assert not server.handshake_complete
    assert server.data_is_early


# --- F88, F89: each condition alone ----------------------------------------------------------------------------------


def refused(peer: Client13, reason: EarlyReason, resumed: bool = True) -> None:
    """The early data is refused for this reason, skipped, and the handshake goes on."""
    server = peer.subject
    sealer = peer.sealer
    peer.say_data(REQUEST).accepted()
    peer.sealer = RecordSealer13(peer.suite, peer.secrets.client_handshake_traffic_secret)
    assert isinstance(sealer, RecordSealer13)
    assert EncryptedExtensions.parse(peer.part(H.encrypted_extensions)).extensions.keys().isdisjoint(EARLY)
    peer.say_finished().accepted()
    assert server.early_data == EarlyData(EarlyState.REJECTED, reason)
    assert server.session_reused is resumed
    peer.say_data(b"late").accepted()
    assert early(peer.events) == b""
    assert received(peer.events) == b"late"


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], EarlyReason]] = {
    "off": ({"max_early_data": 0}, {}, EarlyReason.OFF),
    "not allowed": ({}, {"max_early_data": 0}, EarlyReason.NOT_ALLOWED),
    "more than is allowed now": ({}, {"max_early_data": 1_001}, EarlyReason.NOT_ALLOWED),
    "another place": ({}, {"replay_domain": b"elsewhere"}, EarlyReason.OTHER_DOMAIN),
    "other suite": ({}, {"cipher": 0x1303}, EarlyReason.OTHER_SUITE),
    "other protocol": ({}, {"alpn": b"h2"}, EarlyReason.OTHER_ALPN),
}


@pytest.mark.proves("9846:4.3.10:4", "9846:4.3.10:7", "9846:4.3.10:9")
@pytest.mark.parametrize(("server", "session", "reason"), REFUSED.values(), ids=REFUSED)
def test_f89_each_condition_alone_refuses_and_the_session_resumes(
    world: World, server: dict[str, Any], session: dict[str, Any], reason: EarlyReason
) -> None:
    refused(Stage(world, **server).scripted(**session).say_early_hello(), reason)


def test_f89_the_protocol_must_be_the_same_and_none_is_one_too(stage: Stage) -> None:
    refused(stage.scripted().say_early_hello(alpn=(b"x",)), EarlyReason.OTHER_ALPN)
    peer = stage.scripted(alpn=b"x").say_early_hello(alpn=(b"x",))
    peer.say_data(REQUEST).accepted()
    assert early(peer.events) == REQUEST


@pytest.mark.proves("9846:4.3.10:2", "9846:4.3.10:6")
def test_f89_only_the_first_identity_counts(stage: Stage) -> None:
    peer = stage.scripted()
    peer.psks = (Psk(b"unknown" * 10, b"0123456789abcdef" * 2), *peer.psks)
    refused(peer.say_early_hello(), EarlyReason.NOT_FIRST)


@pytest.mark.proves("9846:E.3:1")
def test_f89_another_version_has_no_early_data(stage: Stage) -> None:
    server = Connection(stage.world.server_config(maximum_version=TLS12))
    client = stage.back(stage.ticket())
    client.send_early_data(REQUEST)
    took = pump(client, server)
    assert isinstance(took.client_error, ProtocolVersionUnsupported)
    assert client.early_data.size == len(REQUEST)


@pytest.mark.parametrize(
    ("off_s", "reason"), [(9.9, None), (10.1, EarlyReason.STALE), (-9.9, None), (-10.1, EarlyReason.STALE)]
)
def test_f88_a_hello_that_is_late_or_early_is_refused(stage: Stage, off_s: float, reason: EarlyReason | None) -> None:
    world = stage.world
    peer = stage.scripted(time=world.clock() - 100, ticket_age_add=2**32 - 7)
    peer.psks = (peer.psks[0]._replace(obfuscated_age=(int((100 - off_s) * 1_000) + 2**32 - 7) % 2**32),)
    peer.say_early_hello()
    if reason is not None:
        refused(peer, reason)
        return
    peer.say_data(REQUEST).accepted()
    assert early(peer.events) == REQUEST


def test_f88_a_ticket_from_the_future_is_refused(stage: Stage) -> None:
    refused(stage.scripted(time=stage.world.clock() + 5).say_early_hello(), EarlyReason.FROM_THE_FUTURE)


def test_f89_without_a_session_there_is_none(stage: Stage) -> None:
    peer = stage.scripted(partition=b"another").say_early_hello()
    refused(peer, EarlyReason.NOT_RESUMED, resumed=False)


@pytest.mark.proves("9846:4.3.10:5")
def test_f89_after_a_retry_it_is_refused_and_skipped(world: World) -> None:
    stage = Stage(world, groups=(P256,))
    peer = stage.scripted()
    peer.say_early_hello(read=False)
    peer.say_data(REQUEST).accepted()
    peer.sealer = PlainSealer()
    peer.read_retry()
    peer.say_hello(peer.second_hello(drop=(42,))).read_flight().say_finished().accepted()
    assert peer.subject.early_data == EarlyData(EarlyState.REJECTED, EarlyReason.RETRIED)
    assert peer.subject.session_reused


def test_f89_a_byte_over_the_limit_ends_the_connection(stage: Stage) -> None:
    peer = stage.scripted().say_early_hello()
    peer.say_data(b"x" * 1_000).accepted()
    peer.say_data(b"y").refused(UnexpectedMessage, "1000 bytes")


@pytest.mark.parametrize(("limit", "taken"), [(5, 5), (0, 0), (2_000, 1_000)])
def test_no_more_is_taken_than_the_server_wants_and_the_ticket_allows(world: World, limit: int, taken: int) -> None:
    peer = Stage(world, recv_max_early_data=limit).scripted().say_early_hello()
    peer.say_data(b"x" * taken).accepted()
    peer.say_data(b"y").refused(UnexpectedMessage, f"{taken} bytes")


@pytest.mark.parametrize("limit", [-1, 2**32])
def test_what_is_taken_is_a_number_of_bytes(stage: Stage, limit: int) -> None:
    with pytest.raises(ConfigurationError, match="recv_max_early_data"):
        stage.world.server_config(recv_max_early_data=limit)


def test_the_application_is_asked_last_and_may_refuse(world: World) -> None:
    asked: list[Any] = []
    stage = Stage(world, on_allow_early_data=lambda connection, session: asked.append(session.alpn))
    refused(stage.scripted(max_early_data=0).say_early_hello(), EarlyReason.NOT_ALLOWED)
    assert asked == []
    refused(stage.scripted(alpn=b"x").say_early_hello(alpn=(b"x",)), EarlyReason.VETOED)
    assert asked == [b"x"]


def test_an_application_that_fails_to_answer_ends_the_connection(world: World) -> None:
    def fail(connection: Any, session: Session) -> bool:
        raise KeyError("the table is not there")

    peer = Stage(world, on_allow_early_data=fail).scripted()
    with pytest.raises(KeyError):
        peer.say_early_hello()
    assert peer.subject.early_data == EarlyData()


def test_f89_refused_early_data_is_skipped_up_to_a_bound(world: World) -> None:
    stage = Stage(world, max_skipped_early_data=3_000)
    peer = stage.scripted(max_early_data=0).say_early_hello()
    sealer = peer.sealer
    assert isinstance(sealer, RecordSealer13)
    for _ in range(2):
        peer.give(sealer.seal(DATA, b"z" * 1_400)).accepted()
    peer.give(sealer.seal(DATA, b"z" * 200)).refused(BadRecordMac)
    assert skippable(Stage(world, max_early_data=100_000).server) == 200_000
    assert skippable(Stage(world, recv_max_early_data=100_000).server) == 200_000


def test_empty_early_records_are_bounded(stage: Stage) -> None:
    peer = stage.scripted().say_early_hello()
    for _ in range(32):
        peer.say_data(b"").accepted()
    peer.say_data(b"").refused(TooManyMessages)


@pytest.mark.proves("9846:4.3.10:10", "9846:4.3.10:11")
@pytest.mark.parametrize("after", [0, 1])
def test_early_data_that_does_not_open_ends_the_connection(stage: Stage, after: int) -> None:
    peer = stage.scripted().say_early_hello()
    for _ in range(after):
        peer.say_data(b"good").accepted()
    assert isinstance(peer.sealer, RecordSealer13)
    record = bytearray(peer.sealer.seal(DATA, b"bad"))
    record[-1] ^= 1
    peer.give(bytes(record)).refused(BadRecordMac)


def test_nothing_but_data_and_its_end_comes_under_early_keys(stage: Stage) -> None:
    stage.scripted().say_early_hello().say(KeyUpdate(0)).refused(UnexpectedMessage)
    peer = stage.scripted().say_early_hello()
    peer.say_record(HANDSHAKE, b"\x05\x00").say_data(b"between").refused(UnexpectedMessage)
    peer = stage.scripted().say_early_hello()
    peer.say_record(HANDSHAKE, b"\x05\x00\x00\x00\x14").refused(UnexpectedMessage, "key")
    peer = stage.scripted().say_early_hello().say_end_of_early_data()
    peer.say_data(REQUEST).refused(UnexpectedMessage)
    peer = stage.scripted().say_early_hello()
    peer.give(CHANGE_CIPHER_SPEC).say_data(REQUEST).accepted()


# --- F90: after the binder -------------------------------------------------------------------------------------------


@pytest.mark.proves("9846:8.2:2")
def test_f90_wrong_binders_leave_the_register_empty(stage: Stage) -> None:
    for number in range(50):
        peer = stage.scripted()
        peer.psks = (peer.psks[0]._replace(binder=number.to_bytes(32, "big")),)
        peer.say_early_hello(read=False).refused(DecryptError)
    assert len(stage.register) == 0
    stage.scripted().say_early_hello().accepted()
    assert len(stage.register) == 1


def test_f90_hellos_without_early_data_leave_it_empty_too(stage: Stage) -> None:
    session = stage.ticket()
    for _ in range(5):
        stage.world.meet(stage.client, stage.server, session=session).check().free()
    assert len(stage.register) == 0


# --- a register that has to be asked ---------------------------------------------------------------------------------


def asking(world: World) -> Stage:
    """A server whose register has a store, and may vouch for everything."""
    register = ReplayRegister(MemoryStore(clock=world.clock), domain="region", clock=world.clock)
    world.clock.advance(register.kept_s)
    stage = Stage(world, replay=register)
    stage.register = register
    return stage


def question_of(peer: Client13) -> NeedAdmission:
    question = peer.events.pop()
    assert isinstance(question, NeedAdmission)
    assert peer.subject.bytes_needed == 0
    return question


def test_a_register_with_a_store_is_a_question_to_the_driver(world: World) -> None:
    stage = asking(world)
    peer = stage.scripted().say_early_hello(read=False)
    peer.say_data(REQUEST).accepted()  # it waits with the question
    assert early(peer.events) == b""
    question = question_of(peer)
    peer.events += peer.subject.answer(question, question.fetch(None, peer.subject))
    peer.listen()
    assert early(peer.events) == REQUEST
    assert question.fetch(None, peer.subject) is EarlyReason.SEEN
    assert tuple(peer.subject.answer(question, None)) == ()  # a late answer


@pytest.mark.parametrize("answer", [EarlyReason.SEEN, Failed(), Failed(OSError("the store is gone"))], ids=str)
def test_a_refusal_and_no_answer_both_refuse(world: World, answer: EarlyReason | Failed) -> None:
    peer = asking(world).scripted().say_early_hello(read=False)
    early_sealer = peer.sealer
    peer.events += peer.subject.answer(question_of(peer), answer)
    peer.listen().read_flight()
    peer.sealer = early_sealer
    refused(peer, answer if isinstance(answer, EarlyReason) else EarlyReason.REGISTER_UNAVAILABLE)


# --- the client ------------------------------------------------------------------------------------------------------


def test_f25_a_client_sends_none_unless_it_is_told_to(stage: Stage) -> None:
    client = stage.back(stage.ticket())
    server = Connection(stage.server)
    pump(client, server).check()
    assert client.early_data == server.early_data == EarlyData()
    assert client.session_reused


def test_f25_a_client_without_a_session_sends_none_and_says_why(stage: Stage) -> None:
    client, server = Connection(stage.client, server_name="localhost"), Connection(stage.server)
    assert client.send_early_data(REQUEST) == 0
    assert client.early_data == EarlyData(reason=EarlyReason.NO_SESSION)
    pump(client, server).check()
    assert client.send_early_data(REQUEST) == 0


NOT_SENT: dict[str, tuple[dict[str, Any], dict[str, Any], EarlyReason]] = {
    "other protocols": ({"alpn": (b"x",)}, {}, EarlyReason.OTHER_ALPN),
    "not allowed": ({}, {"max_early_data": 0}, EarlyReason.NOT_ALLOWED),
    "not so much": ({}, {"max_early_data": len(REQUEST) - 1}, EarlyReason.NOT_ALLOWED),
    "not verified": ({}, {"verify_result": 1}, EarlyReason.NO_SESSION),
    "another name": ({}, {"hostname": "example.org"}, EarlyReason.NO_SESSION),
    "verified for another name": ({}, {"verified_name": "example.org"}, EarlyReason.NO_SESSION),
    "expired": ({}, {"time": 1.0}, EarlyReason.NO_SESSION),
}


@pytest.mark.parametrize(("config", "facts", "reason"), NOT_SENT.values(), ids=NOT_SENT)
def test_f25_only_with_a_session_that_fits_and_was_verified(
    world: World, config: dict[str, Any], facts: dict[str, Any], reason: EarlyReason
) -> None:
    client = Connection(world.client_config(**{"alpn": (b"h2",), **config}), server_name="localhost")
    with world.client_session(TLS13, **{"max_early_data": 1_000, "alpn": b"h2", **facts}) as session:
        client.set_session(session)
    assert client.send_early_data(REQUEST) == 0
    assert client.early_data == EarlyData(reason=reason)
    hello = Server13(client, certified(world.leaf)).hello
    assert EARLY.keys().isdisjoint(hello.extensions)


def offering(world: World, **changes: Any) -> tuple[Server13, bytes]:
    """A scripted server, and what the client sent it so early."""
    client = Connection(world.client_config(alpn=(b"h2",)), server_name="localhost")
    with world.client_session(TLS13, **{"max_early_data": 1_000, "alpn": b"h2", **changes}) as session:
        secret = session.secret
        client.set_session(session)
    assert client.send_early_data(REQUEST) == len(REQUEST)
    peer = Server13(client, certified(world.leaf), psk=secret)
    assert peer.hello.extensions[E.early_data] == b""
    assert list(peer.hello.extensions)[-1] == E.pre_shared_key
    facts = SUITES[0x1301].hash
    traffic = EarlySecret.from_psk(facts, secret).client_early_traffic_secret(peer.digest())
    peer.opener = RecordOpener13(SUITES[0x1301], traffic)
    return peer, peer.drain().data


def accept(peer: Server13, alpn: bytes | None = b"h2", **changes: Any) -> Server13:
    """ServerHello and EncryptedExtensions that take the early data."""
    opener = peer.opener
    peer.say_hello(**changes)
    handshake, peer.opener = peer.opener, opener
    bodies = dict(EARLY)
    if alpn is not None:
        bodies[int(E.application_layer_protocol_negotiation)] = ext.pack_alpn_server(alpn)
    peer.say_extensions(bodies)
    peer.handshake_opener = handshake  # type: ignore[attr-defined]
    return peer


@pytest.mark.proves("9846:4.3.10:1", "9846:4.6:1")
def test_the_client_ends_its_early_data_after_the_servers_finished(world: World) -> None:
    peer, sent = offering(world)
    assert sent == REQUEST
    assert peer.changes == 1  # behind the hello, and not again
    accept(peer).accepted()
    assert peer.subject.early_data.accepted
    assert peer.subject.send_early_data(b"more") == 4
    peer.listen().drain()
    assert peer.data.endswith(b"more")

    def read_flight() -> None:
        assert peer.take(H.end_of_early_data) == b"\x05\0\0\0"
        peer.opener = peer.handshake_opener  # type: ignore[attr-defined]
        before = peer.digest()
        assert peer.take(H.finished)[4:] == peer.secrets.client_verify_data(before)

    peer.read_flight = read_flight  # type: ignore[method-assign]
    peer.say_finished().accepted()
    assert peer.changes == 1
    assert peer.subject.handshake_complete
    peer.say_data(b"answer").accepted()


@pytest.mark.proves("9846:4.6:2")
def test_a_client_whose_early_data_was_refused_says_nothing_of_its_end(world: World) -> None:
    peer, _ = offering(world)
    peer.say_hello()
    handshake = peer.opener
    assert peer.subject.early_data.state is EarlyState.OFFERED
    peer.say_extensions({int(E.application_layer_protocol_negotiation): ext.pack_alpn_server(b"h2")}).accepted()
    assert peer.subject.send_early_data(b"more") == 0
    peer.opener = handshake
    peer.say_finished().accepted()
    assert EarlyDataRejected(len(REQUEST), EarlyReason.SERVER_REJECTED) in peer.events
    assert peer.data == REQUEST  # and never again


@pytest.mark.proves("9846:4.6:3")
def test_a_server_does_not_say_end_of_early_data(world: World) -> None:
    peer, _ = offering(world)
    accept(peer).say(bytes((H.end_of_early_data, 0, 0, 0)))
    assert isinstance(peer.error, UnexpectedMessage)


@pytest.mark.parametrize(
    "change",
    [lambda peer: accept(peer, alpn=None), lambda peer: setattr(peer, "suite", SUITES[0x1303]) or accept(peer)],
    ids=["without the protocol", "with another suite"],
)
def test_a_server_cannot_take_early_data_under_other_terms(world: World, change: Callable[[Server13], object]) -> None:
    peer, _ = offering(world)
    change(peer)
    assert isinstance(peer.error, IllegalParameter)
    assert not peer.subject.early_data.accepted
    assert peer.subject.early_data.size == len(REQUEST)


def test_a_server_cannot_take_early_data_with_a_full_handshake(world: World) -> None:
    peer, _ = offering(world)
    peer.psk = None
    peer.say_hello()
    assert peer.subject.early_data == EarlyData(EarlyState.REJECTED, EarlyReason.NOT_RESUMED, len(REQUEST))
    peer.say_extensions({**EARLY}).listen()
    assert peer.subject.early_data.state is EarlyState.REJECTED
    assert isinstance(peer.error, IllegalParameter)


def test_a_server_cannot_take_what_was_not_offered(world: World) -> None:
    client = Connection(world.client_config(), server_name="localhost")
    Server13(client, certified(world.leaf)).say_hello().say_extensions(dict(EARLY)).refused(UnsupportedExtension)


def test_a_retry_rejects_early_data_and_the_second_hello_is_in_the_clear(world: World) -> None:
    peer, _ = offering(world)
    peer.opener = PlainOpener()
    peer.say_retry(P256).accepted()
    assert peer.subject.early_data == EarlyData(EarlyState.REJECTED, EarlyReason.RETRIED, len(REQUEST))
    assert EARLY.keys().isdisjoint(peer.hello.extensions)
    assert E.pre_shared_key in peer.hello.extensions
    assert peer.changes == 1
    peer.say_hello().say_extensions().say_finished().accepted()
    assert peer.subject.session_reused
    assert peer.data == REQUEST


def test_f25_a_bad_certificate_after_a_rejected_session_aborts_and_the_data_counts_as_sent(
    world: World, pki: Pki
) -> None:
    peer, _ = offering(world)
    stranger = Pki().ed25519
    peer.psk = None
    peer.key = certified(stranger)
    peer.say_hello().say_extensions().say_certificate()
    peer.say_verify()
    assert isinstance(peer.error, CertificateError)
    assert not peer.subject.handshake_complete
    assert peer.subject.early_data == EarlyData(EarlyState.REJECTED, EarlyReason.NOT_RESUMED, len(REQUEST))
    assert EarlyDataRejected(len(REQUEST), EarlyReason.NOT_RESUMED) in peer.events
    with pytest.raises(ConnectionFailed):
        peer.subject.send_early_data(b"again")


@pytest.mark.proves("9846:4.3.10:12")
def test_f25_rejected_early_data_is_never_sent_again(stage: Stage) -> None:
    client = stage.back(stage.ticket())
    server = Connection(stage.world.server_config(alpn=(b"h2",)))
    client.send_early_data(REQUEST)
    took = pump(client, server).check()
    assert early(took.server) == received(took.server) == b""
    assert EarlyDataRejected(len(REQUEST), EarlyReason.SERVER_REJECTED) in took.client
    assert client.early_data == EarlyData(EarlyState.REJECTED, EarlyReason.SERVER_REJECTED, len(REQUEST))
    assert server.early_data.reason is EarlyReason.OFF


def test_misuse_is_told_and_changes_nothing(stage: Stage) -> None:
    server = Connection(stage.server)
    with pytest.raises(UsageError, match="send_data"):
        server.send_early_data(b"x")
    with pytest.raises(UsageError, match="not complete"):
        server.send_data(b"x")
    client = stage.back(stage.ticket())
    client.send_early_data(REQUEST)
    with pytest.raises(UsageError, match="not complete"):
        client.send_data(b"x")
    client.close()
    with pytest.raises(UsageError, match="closed"):
        client.send_early_data(b"x")


def test_a_cleared_connection_knows_of_no_early_data(stage: Stage) -> None:
    client, server = stage.back(stage.ticket()), Connection(stage.server)
    client.send_early_data(REQUEST)
    pump(client, server).check()
    client.close()
    client.clear()
    assert client.early_data == EarlyData()


# --- counted ---------------------------------------------------------------------------------------------------------


def test_both_contexts_count_what_became_of_early_data(world: World) -> None:
    stage = Stage(world)
    shared: dict[str, Any] = {"alpn": ("h2",), "tickets": world.tickets}
    servers = {
        groups: world.server_context(max_early_data=1_000, replay=stage.register, groups=groups, **shared)
        for groups in ((int(NamedGroup.x25519), P256), (P256,))
    }
    taking, retrying = servers.values()
    refusing = world.server_context(**shared)
    clients = world.client_context(alpn=("h2",))

    def visit(server: ServerContext, *, fresh: bool = False) -> bytes:
        """One connection, all the way; returns its first flight."""
        client, serving = clients.connection("localhost", fresh=fresh), server.connection()
        client.send_early_data(REQUEST)
        flight = client.data_to_send()
        serving.receive_data(flight)
        pump(client, serving).check()
        client.free()
        serving.free()
        world.clock.advance(1)
        return flight

    visit(taking)
    assert clients.stats().early == {"no-session": 1}
    flight = visit(taking)
    assert clients.stats().early == {"no-session": 1, "accepted": 1}
    assert taking.stats().early == {"accepted": 1}
    copy = taking.connection()
    copy.receive_data(flight)
    copy.free()
    assert taking.stats().early == {"accepted": 1, "seen": 1}
    visit(retrying)
    assert retrying.stats().early == {"retried": 1}
    assert clients.stats().early == {"no-session": 1, "accepted": 1, "retried": 1}
    visit(refusing)  # resumes, as all of them have the same ticket keys
    assert refusing.stats().early == {"off": 1}
    assert clients.stats().early == {"no-session": 1, "accepted": 1, "retried": 1, "server-rejected": 1}
    other = world.server_context(alpn=("h2",))
    client, serving = clients.connection("localhost"), other.connection()
    visited = clients.connection("localhost", fresh=True)  # for the next ticket
    pump(visited, visited_server := taking.connection()).check()
    client.send_early_data(REQUEST)
    serving.receive_data(client.data_to_send())
    pump(client, serving).check()
    for one in (client, serving, visited, visited_server):
        one.free()
    assert clients.stats().early["not-resumed"] == 1
    collected = {
        (sample.labels["context"], sample.labels["outcome"]): sample.value
        for family in SessionCollector(refusing).collect()
        for sample in family.samples
        if sample.name == "resumption_early_data_total"
    }
    assert collected == {(refusing.name, "off"): 1}
    for context in (*servers.values(), refusing, other, clients):
        context.close()
