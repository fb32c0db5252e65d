"""record_size_limit (RFC 8449), max_fragment_length (RFC 6066), padding, and ticket_request (RFC 9149)."""

from __future__ import annotations

from typing import Any

import pytest

from resumption.config import FRAGMENT_MODES
from resumption.connection import Connection
from resumption.constants import ExtensionType as E
from resumption.errors import (
    AlertReceived,
    ConfigurationError,
    DecodeError,
    IllegalParameter,
    InternalError,
    RecordOverflow,
    UnsupportedExtension,
)
from resumption.handshake.events import SessionIssued
from resumption.session.verdicts import Reason
from resumption.wire import extensions as ext
from tests.handshake.pairs import TLS12, TLS13, VERSIONS, Pair, World, certified, received
from tests.handshake.scripted12 import Client12, Server12
from tests.handshake.scripted13 import Client13, Server13
from tests.handshake.stops import client12_for, client13_for, server12_for, server13_for

OVERHEAD = {TLS12: 24, TLS13: 17}  # bytes that protection adds to the content of a record


def lengths(stream: bytes) -> list[tuple[int, int]]:
    """Content type and body length of each record."""
    found = []
    at = 0
    while at < len(stream):
        length = int.from_bytes(stream[at + 3 : at + 5], "big")
        found.append((stream[at], length))
        at += 5 + length
    assert at == len(stream)
    return found


def versions_of(version: int) -> dict[str, Any]:
    suites = {"suites": (0xC02B,)} if version == TLS12 else {}
    return {"minimum_version": version, "maximum_version": version, **suites}


def meet(world: World, version: int, client: dict[str, Any], server: dict[str, Any]) -> tuple[Pair, list[bytes]]:
    """A handshake, and what the server sent in it."""
    sent: list[bytes] = []

    def tap(data: bytes) -> bytes:
        sent.append(data)
        return data

    pair = world.meet(
        world.client_config(**versions_of(version), **client), world.server_config(**server), to_client=tap
    )
    return pair.check(), sent


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("ours", "theirs"), [(64, 64), (100, 700), (16384, 512), (700, None)])
def test_each_side_keeps_to_the_limit_of_the_other(world: World, version: int, ours: int, theirs: int | None) -> None:
    pair, sent = meet(world, version, {"record_size_limit": ours}, {"record_size_limit": theirs})
    highest = 16384 + (version == TLS13)
    limits = {"server": ours, "client": min(theirs or highest, highest)}
    extra = OVERHEAD[version] - (version == TLS13)
    for record_type, length in lengths(b"".join(sent)):
        if record_type == 23:
            assert length <= ours + extra
    for sender, receiver, limit in (
        (pair.server, pair.client, limits["server"]),
        (pair.client, pair.server, limits["client"]),
    ):
        data = bytes(range(256)) * 80
        sender.send_data(data)
        stream = sender.data_to_send()
        assert max(length for _, length in lengths(stream)) == min(limit, 16384 + (version == TLS13)) + extra
        assert received(list(receiver.receive_data(stream))) == data
    pair.talk()
    pair.free()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_record_above_our_limit_is_record_overflow(world: World, version: int) -> None:
    for side in ("client", "server"):
        pair, _ = meet(world, version, {"record_size_limit": 500}, {"record_size_limit": 500})
        sender, receiver = (pair.server, pair.client) if side == "client" else (pair.client, pair.server)
        sender._fragment_length = 16384
        sender.send_data(bytes(500 - (version == TLS13)))
        receiver.receive_data(sender.data_to_send())  # exactly the limit
        sender.send_data(bytes(501 - (version == TLS13)))
        with pytest.raises(RecordOverflow):
            receiver.receive_data(sender.data_to_send())
        pair.free()


def test_the_limit_holds_after_a_key_update(world: World) -> None:
    pair, _ = meet(world, TLS13, {"record_size_limit": 100}, {})
    pair.server.update_keys(request_peer=True)
    pair.pump().check()
    pair.server._fragment_length = 16384
    pair.server.send_data(bytes(100))
    with pytest.raises(RecordOverflow):
        pair.client.receive_data(pair.server.data_to_send())
    pair.free()


def test_padding_counts_towards_the_limit(world: World) -> None:
    pair, _ = meet(world, TLS13, {"record_size_limit": 100}, {"record_padding": 4096})
    pair.server.send_data(b"x")
    stream = pair.server.data_to_send()
    assert lengths(stream) == [(23, 100 + 16)]
    assert received(list(pair.client.receive_data(stream))) == b"x"
    pair.free()


LIMIT, FRAGMENT, REQUEST = int(E.record_size_limit), int(E.max_fragment_length), int(E.ticket_request)


@pytest.mark.parametrize("body", [b"\x00\x3f", b"\x00\x00"])
def test_a_limit_below_64_is_illegal_parameter(world: World, body: bytes) -> None:
    client13_for(world).say_hello(add={LIMIT: body}).refused(IllegalParameter)
    client12_for(world).say_hello(add={LIMIT: body}).refused(IllegalParameter)
    server13_for(world, record_size_limit=64).say_hello().say_extensions({LIMIT: body}).refused(IllegalParameter)
    server12_for(world, record_size_limit=64).say_hello(add={LIMIT: body}).refused(IllegalParameter)


@pytest.mark.parametrize("body", [b"", b"\x01", b"\0\x40\0"])
def test_a_limit_that_does_not_parse_is_decode_error(world: World, body: bytes) -> None:
    client13_for(world).say_hello(add={LIMIT: body}).refused(DecodeError)
    server13_for(world, record_size_limit=64).say_hello().say_extensions({LIMIT: body}).refused(DecodeError)


def test_a_limit_beyond_the_protocol_is_taken_from_a_client_and_refused_from_a_server(world: World) -> None:
    client = client13_for(world).say_hello(add={LIMIT: b"\xff\xff"}).read_flight()
    assert ext.parse_extensions(client.part(8))[LIMIT] == b"\x40\x01"
    client = client12_for(world)
    client.say_hello(add={LIMIT: b"\xff\xff"})
    assert client.read_hello().extensions[LIMIT] == b"\x40\x00"
    server13_for(world, record_size_limit=64).say_hello().say_extensions({LIMIT: b"\x40\x02"}).refused(IllegalParameter)
    server12_for(world, record_size_limit=64).say_hello(add={LIMIT: b"\x40\x01"}).refused(IllegalParameter)


def test_an_answer_to_no_limit_is_unsupported_extension(world: World) -> None:
    for number, body in ((LIMIT, b"\0\x80"), (FRAGMENT, b"\1"), (REQUEST, b"\1")):
        server13_for(world).say_hello().say_extensions({number: body}).refused(UnsupportedExtension)
        server12_for(world).say_hello(add={number: body}).refused(UnsupportedExtension)


def test_a_client_that_asks_for_both_means_the_limit(world: World) -> None:
    peer = client13_for(world).say_hello(add={LIMIT: b"\0\x80", FRAGMENT: b"\1"}).read_flight()
    assert FRAGMENT not in ext.parse_extensions(peer.part(8))
    peer12 = client12_for(world)
    peer12.say_hello(add={LIMIT: b"\0\x80", FRAGMENT: b"\1"})
    assert FRAGMENT not in peer12.read_hello().extensions


@pytest.mark.proves("6066:4:5", "6066:4:6")
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("length", FRAGMENT_MODES)
def test_a_fragment_length_holds_in_both_directions_and_for_the_session(
    world: World, version: int, length: int
) -> None:
    server = world.server_context()
    client = world.client_context(max_fragment_length=length, **versions_of(version))
    sent: list[bytes] = []
    pair = world.meet(client, server, to_client=lambda data: sent.append(data) or data).check()
    assert max(size for kind, size in lengths(b"".join(sent)) if kind != 20) <= length + OVERHEAD[version]
    for sender in (pair.client, pair.server):
        sender.send_data(bytes(5000))
        assert max(size for _, size in lengths(sender.data_to_send())) == length + OVERHEAD[version]
    assert pair.client.facts is not None
    assert pair.server.facts is not None
    assert pair.client.facts.max_fragment_mode == pair.server.facts.max_fragment_mode == FRAGMENT_MODES[length]
    again = world.meet(client, server).check()
    assert again.client.session_reused
    assert again.server.session_reused
    again.server._fragment_length = 16384
    again.server.send_data(bytes(length + 1))
    with pytest.raises(RecordOverflow):
        again.client.receive_data(again.server.data_to_send())


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_is_not_resumed_under_another_fragment_length(world: World, version: int) -> None:
    server = world.server_context()
    client = world.client_context(max_fragment_length=512, **versions_of(version))
    other = world.client_context(max_fragment_length=1024, **versions_of(version))
    plain = world.client_context(**versions_of(version))
    first = world.meet(client, server).check()
    session = first.client.get1_session()
    assert session is not None
    for context in (other, plain):
        pair = world.meet(context, server, session=session).check()
        assert pair.client.resumption is not None
        assert pair.client.resumption.reason is Reason.OTHER_FRAGMENT_LENGTH
    # the server judges by itself: what its client asks for now is not what it asked for then
    peer: Client12 | Client13
    if version == TLS13:
        peer = client13_for(world, resumed=True).say_hello(add={FRAGMENT: b"\1"}).read_flight()
        assert not peer.resumed
    else:
        peer = client12_for(world, resumed=True)
        peer.say_hello(add={FRAGMENT: b"\1"})
        assert peer.read_hello().legacy_session_id_echo != peer.session_id
    session.free()


@pytest.mark.parametrize("answer", [None, b"\2"])
def test_a_server_that_changes_the_fragment_length_of_a_session_is_refused(world: World, answer: bytes | None) -> None:
    session = world.client_session(TLS13, max_fragment_mode=1)
    subject = Connection(world.client_config(max_fragment_length=512), server_name="localhost")
    subject.set_session(session)
    peer = Server13(subject, certified(world.leaf), psk=session.secret).say_hello()
    peer.say_extensions({} if answer is None else {FRAGMENT: answer}).refused(IllegalParameter)
    with world.client_session(TLS12, max_fragment_mode=1) as session12:
        subject = Connection(world.client_config(max_fragment_length=512), server_name="localhost")
        subject.set_session(session12)
    peer12 = Server12(subject, certified(world.leaf))
    echo = peer12.hello.legacy_session_id
    peer12.say_hello(session_id=echo, add={} if answer is None else {FRAGMENT: answer}).refused(IllegalParameter)
    session.free()


@pytest.mark.proves("6066:4:3")
@pytest.mark.parametrize("body", [b"\0", b"\5", b"\xff"])
def test_a_fragment_length_that_is_not_defined_is_illegal_parameter(world: World, body: bytes) -> None:
    client13_for(world).say_hello(add={FRAGMENT: body}).refused(IllegalParameter)
    client12_for(world).say_hello(add={FRAGMENT: body}).refused(IllegalParameter)
    server13_for(world, max_fragment_length=512).say_hello().say_extensions({FRAGMENT: body}).refused(IllegalParameter)
    server12_for(world, max_fragment_length=512).say_hello(add={FRAGMENT: body}).refused(IllegalParameter)


def test_settings_that_make_no_sense_are_refused(world: World) -> None:
    for settings in (
        {"record_size_limit": 63},
        {"record_size_limit": 16386},
        {"max_fragment_length": 600},
        {"max_fragment_length": 512, "record_size_limit": 512},
        {"record_padding": 0},
        {"record_padding": 20000},
        {"ticket_request": (1,)},
        {"ticket_request": (1, 256)},
    ):
        with pytest.raises(ConfigurationError):
            world.client_config(**settings)


# --- padding ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 254, 255, 256, 16383, 16384, 40000])
def test_a_block_size_hides_the_length(world: World, length: int) -> None:
    pair, sent = meet(world, TLS13, {}, {"record_padding": 256})
    pair.server.send_data(bytes(length))
    stream = pair.server.data_to_send()
    for _, size in (*lengths(stream), *(one for one in lengths(b"".join(sent)) if one[0] == 23)):
        assert (size - 16) % 256 == 0 or size == 16384 + 17
    assert received(list(pair.client.receive_data(stream))) == bytes(length)
    pair.talk()


def test_a_policy_is_asked_for_each_record(world: World) -> None:
    asked: list[tuple[int, int]] = []

    def policy(content_type: int, length: int) -> int:
        asked.append((content_type, length))
        return 10**9 if length == 7 else -5 if length == 8 else 3

    pair, _ = meet(world, TLS13, {"record_padding": policy}, {})
    asked.clear()
    for length in (6, 7, 8):
        pair.client.send_data(bytes(length))
    pair.client.close()
    stream = pair.client.data_to_send()
    assert asked == [(23, 6), (23, 7), (23, 8), (21, 2)]
    assert [size - 17 for _, size in lengths(stream)] == [9, 16384, 8, 5]
    assert received(list(pair.server.receive_data(stream))) == bytes(21)


def test_a_policy_that_fails_ends_the_connection(world: World) -> None:
    broken = False

    def policy(content_type: int, length: int) -> int:
        if broken:
            raise ValueError("no")
        return 0

    for act in ("data", "keys", "ticket"):
        broken = False
        pair, _ = meet(world, TLS13, {}, {"record_padding": policy})
        broken = True
        alert = b""
        with pytest.raises(InternalError):
            if act == "data":
                pair.server.send_data(b"x")
            elif act == "keys":
                pair.server.update_keys()
            else:
                pair.server.new_session_ticket()
                alert = pair.server.data_to_send()
                raise pair.server.error or AssertionError("nothing failed")
        with pytest.raises(AlertReceived, match="internal_error"):
            pair.client.receive_data(alert or pair.server.data_to_send())


def test_tls_1_2_records_are_not_padded(world: World) -> None:
    pair, _ = meet(world, TLS12, {"record_padding": 512}, {"record_padding": 512})
    pair.client.send_data(b"x")
    assert [size for _, size in lengths(pair.client.data_to_send())] == [1 + 24]


# --- tickets ---------------------------------------------------------------------------------------------------------


def tickets(pair: Pair) -> int:
    return sum(isinstance(event, SessionIssued) for event in pair.took.client)


@pytest.mark.parametrize("stateful", [False, True])
@pytest.mark.parametrize(
    ("wanted", "full", "resumed"), [((0, 3), 0, 3), ((5, 0), 5, 0), ((200, 9), 8, 8), (None, 2, 1)]
)
def test_a_client_gets_as_many_tickets_as_it_asks_for(
    world: World, stateful: bool, wanted: tuple[int, int] | None, full: int, resumed: int
) -> None:
    server = world.server_context(stateful=stateful)
    client = world.client_context(ticket_request=wanted)
    assert tickets(world.meet(client, server).check()) == full
    other = world.client_context()
    session = world.meet(other, server).check().client.get1_session()
    again = world.meet(client, server, session=session).check()
    assert again.client.session_reused
    assert tickets(again) == resumed
    assert session is not None
    session.free()


def test_the_server_says_how_many_tickets_will_come(world: World) -> None:
    for settings, count in (({}, 3), ({"num_tickets": 0}, 0), ({"tickets": None}, 0)):
        peer = client13_for(world, **settings).say_hello(add={REQUEST: b"\3\1"}).read_flight()
        assert ext.parse_extensions(peer.part(8))[REQUEST] == bytes((count,))
        assert len(peer.say_finished().read_tickets()) == count
    peer = client13_for(world).say_hello(add={REQUEST: b"\3\1"}, drop=(int(E.psk_key_exchange_modes),)).read_flight()
    assert ext.parse_extensions(peer.part(8))[REQUEST] == b"\0"


def test_a_ticket_request_that_is_wrong_is_refused(world: World) -> None:
    client13_for(world).say_hello(add={REQUEST: b"\3"}).refused(DecodeError)
    wanting = {"ticket_request": (1, 1)}
    server13_for(world, **wanting).say_hello().say_extensions({REQUEST: b""}).refused(DecodeError)
    server13_for(world, **wanting).say_hello(add={REQUEST: b"\1"}).refused(IllegalParameter)
    server13_for(world, **wanting).say_retry(add={REQUEST: b"\1"}).refused(IllegalParameter)
