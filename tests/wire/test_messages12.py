"""The messages that only TLS 1.2 sends: layout, bounds from both sides, and what any other bytes do."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resumption.constants import HandshakeType
from resumption.errors import DecodeError, UsageError
from resumption.wire import messages, messages12
from resumption.wire.codec import Message
from resumption.wire.messages12 import (
    MESSAGES,
    NAMED_CURVE,
    Certificate,
    CertificateRequest,
    CertificateStatus,
    ClientKeyExchange,
    HelloRequest,
    NewSessionTicket,
    ServerHelloDone,
    ServerKeyExchange,
    pack_server_ecdh_params,
)
from tests.wire import raw
from tests.wire.raw import is_canonical, mutations, refuses_every_prefix, u, vec
from tests.wire.strategies import blobs, uint16_lists, uint16s, uint32s

SAMPLES: dict[str, tuple[Message, list[bytes]]] = {
    "HelloRequest": (HelloRequest(), []),
    "Certificate": (Certificate((b"leaf", b"ca")), [vec(3, vec(3, b"leaf"), vec(3, b"ca"))]),
    "CertificateStatus": (CertificateStatus(1, b"response"), [b"\x01", vec(3, b"response")]),
    "ServerKeyExchange": (
        ServerKeyExchange(3, 29, b"public", 0x0403, b"signature"),
        [b"\x03", u(2, 29), vec(1, b"public"), u(2, 0x0403), vec(2, b"signature")],
    ),
    "CertificateRequest": (
        CertificateRequest(b"\x01\x40", (0x0403, 0x0804), (b"name one", b"name two")),
        [vec(1, b"\x01\x40"), vec(2, u(2, 0x0403), u(2, 0x0804)), vec(2, vec(2, b"name one"), vec(2, b"name two"))],
    ),
    "ServerHelloDone": (ServerHelloDone(), []),
    "ClientKeyExchange": (ClientKeyExchange(b"public"), [vec(1, b"public")]),
    "NewSessionTicket": (NewSessionTicket(7200, b"ticket"), [u(4, 7200), vec(2, b"ticket")]),
}

names = st.lists(st.binary(min_size=1, max_size=60), max_size=4).map(tuple)

STRATEGIES: dict[str, st.SearchStrategy[Any]] = {
    "Certificate": st.builds(Certificate, st.lists(blobs(1, 2**24 - 1), max_size=4).map(tuple)),
    "CertificateStatus": st.builds(CertificateStatus, st.just(1), blobs(1, 2**24 - 1)),
    "ServerKeyExchange": st.builds(ServerKeyExchange, st.just(3), uint16s, blobs(1, 255), uint16s, blobs(0, 2**16 - 1)),
    "CertificateRequest": st.builds(CertificateRequest, blobs(1, 255), uint16_lists(2**16 - 2), names),
    "ClientKeyExchange": st.builds(ClientKeyExchange, blobs(1, 255)),
    "NewSessionTicket": st.builds(NewSessionTicket, uint32s, blobs(0, 2**16 - 1)),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_a_message_stands_on_the_wire_as_its_rfc_writes_it(name: str) -> None:
    message, parts = SAMPLES[name]
    body = b"".join(parts)
    assert message.pack() == u(1, message.msg_type) + vec(3, body)
    assert type(message).parse(body) == message


@pytest.mark.parametrize("name", SAMPLES)
def test_bytes_left_over_are_refused(name: str) -> None:
    message, parts = SAMPLES[name]
    with pytest.raises(DecodeError, match="left over"):
        type(message).parse(b"".join(parts) + b"\0")


@pytest.mark.parametrize("name", SAMPLES)
def test_a_message_that_is_cut_short_is_refused(name: str) -> None:
    message, parts = SAMPLES[name]
    refuses_every_prefix(type(message).parse, b"".join(parts))


@pytest.mark.parametrize("name", SAMPLES)
def test_any_change_is_parsed_faithfully_or_refused(name: str) -> None:
    message, parts = SAMPLES[name]
    for changed in mutations(b"".join(parts)):
        is_canonical(type(message).parse, type(message).write, changed)


@pytest.mark.parametrize("name", STRATEGIES)
@given(data=st.data())
def test_every_message_survives_the_round_trip(name: str, data: st.DataObject) -> None:
    message = data.draw(STRATEGIES[name])
    packed = message.pack()
    assert packed[0] == message.msg_type
    assert type(message).parse(packed[4:]) == message


@pytest.mark.parametrize("name", SAMPLES)
@given(data=st.binary(max_size=120))
def test_any_bytes_parse_to_what_packs_to_them_or_are_refused(name: str, data: bytes) -> None:
    cls = type(SAMPLES[name][0])
    is_canonical(cls.parse, cls.write, data)


def schemes(length: int) -> tuple[int, ...]:
    return (0,) * (length // 2)


# message, field, its place among the parts, width of its prefix, floor, ceiling, a value of so many bytes
BOUNDS: list[tuple[str, str, int, int, int, int, Callable[[int], Any]]] = [
    ("ServerKeyExchange", "public", 2, 1, 1, 255, bytes),
    ("ServerKeyExchange", "signature", 4, 2, 0, 2**16 - 1, bytes),
    ("ClientKeyExchange", "public", 0, 1, 1, 255, bytes),
    ("CertificateRequest", "certificate_types", 0, 1, 1, 255, bytes),
    ("CertificateRequest", "supported_signature_algorithms", 1, 2, 2, 2**16 - 2, schemes),
    ("NewSessionTicket", "ticket", 1, 2, 0, 2**16 - 1, bytes),
    ("CertificateStatus", "response", 1, 3, 1, 2**24 - 1, bytes),
]


@pytest.mark.parametrize(("name", "field", "place", "width", "floor", "ceiling", "value"), BOUNDS)
def test_vectors_are_accepted_within_their_bounds_only(
    name: str, field: str, place: int, width: int, floor: int, ceiling: int, value: Callable[[int], Any]
) -> None:
    message: Any
    message, parts = SAMPLES[name]
    step = 2 if value is schemes else 1

    def body(length: int) -> bytes:
        return b"".join([*parts[:place], vec(width, bytes(length)), *parts[place + 1 :]])

    for length in (floor, ceiling):
        parsed = type(message).parse(body(length))
        assert parsed == dataclasses.replace(message, **{field: value(length)})
        assert parsed.write() == body(length)
    for length in (floor - step, ceiling + step):
        if 0 <= length < 256**width:
            with pytest.raises(DecodeError, match=field):
                type(message).parse(body(length))
        if length >= 0:
            with pytest.raises(UsageError):
                dataclasses.replace(message, **{field: value(length)}).pack()


def test_lists_may_be_empty_but_their_items_may_not() -> None:
    assert Certificate.parse(vec(3)) == Certificate(())
    types, algorithms = SAMPLES["CertificateRequest"][1][:2]
    assert CertificateRequest.parse(types + algorithms + vec(2)).certificate_authorities == ()
    with pytest.raises(DecodeError, match="certificate_list"):
        Certificate.parse(vec(3, vec(3)))
    with pytest.raises(DecodeError, match="certificate_authorities"):
        CertificateRequest.parse(types + algorithms + vec(2, vec(2)))


@pytest.mark.parametrize("curve_type", [0, 1, 2, 4, 255])
def test_only_named_curves_are_understood(curve_type: int) -> None:
    message: Any
    message, parts = SAMPLES["ServerKeyExchange"]
    with pytest.raises(DecodeError, match="curve_type"):
        ServerKeyExchange.parse(b"".join([u(1, curve_type), *parts[1:]]))
    with pytest.raises(UsageError):
        dataclasses.replace(message, curve_type=curve_type).pack()


@pytest.mark.parametrize("status_type", [0, 2, 255])
def test_only_ocsp_statuses_are_understood(status_type: int) -> None:
    with pytest.raises(DecodeError, match="status_type"):
        CertificateStatus.parse(u(1, status_type) + vec(3, b"response"))


class TestServerECDHParams:
    def test_are_the_part_of_the_message_before_the_signature(self) -> None:
        message: Any
        message, parts = SAMPLES["ServerKeyExchange"]
        assert message.params == b"".join(parts[:3])
        assert message.params == pack_server_ecdh_params(29, b"public")
        assert message.params[0] == NAMED_CURVE

    @given(uint16s, blobs(1, 255))
    def test_are_the_same_before_and_after_the_wire(self, named_curve: int, public: bytes) -> None:
        params = pack_server_ecdh_params(named_curve, public)
        whole = ServerKeyExchange(NAMED_CURVE, named_curve, public, 0x0804, b"signature").pack()
        assert whole[4 : 4 + len(params)] == params
        assert ServerKeyExchange.parse(whole[4:]).params == params

    @pytest.mark.parametrize(("curve", "length"), [(29, 0), (29, 256), (2**16, 32), (-1, 32)])
    def test_must_fit_their_fields(self, curve: int, length: int) -> None:
        with pytest.raises(UsageError):
            pack_server_ecdh_params(curve, bytes(length))


class TestVectors:
    vectors = raw.messages("tls12")

    @pytest.mark.parametrize(("name", "whole"), vectors)
    def test_messages_of_a_real_handshake_parse_and_pack_to_themselves(self, name: str, whole: bytes) -> None:
        message = MESSAGES[whole[0]].parse(whole[4:])
        assert type(message).__name__ == name
        assert message.pack() == whole

    @pytest.mark.parametrize("name", ["ServerHello", "ServerKeyExchange", "CertificateRequest", "NewSessionTicket"])
    def test_they_are_refused_when_cut_short(self, name: str) -> None:
        whole = next(whole for kind, whole in self.vectors if kind == name)
        body = whole[4:]
        but = (2 + 32 + 1 + body[34] + 3,) if name == "ServerHello" else ()  # without its block it is a whole one
        refuses_every_prefix(MESSAGES[whole[0]].parse, body, but=but)

    def test_they_cover_the_handshake(self) -> None:
        assert {name for name, _ in self.vectors} == {cls.__name__ for cls in MESSAGES.values()} - {
            "HelloRequest",
            "CertificateStatus",
            "Finished",
        }


def test_each_type_has_its_class() -> None:
    assert {HandshakeType(number).name: cls.__name__ for number, cls in MESSAGES.items()} == {
        "hello_request": "HelloRequest",
        "client_hello": "ClientHello",
        "server_hello": "ServerHello",
        "new_session_ticket": "NewSessionTicket",
        "certificate": "Certificate",
        "server_key_exchange": "ServerKeyExchange",
        "certificate_request": "CertificateRequest",
        "server_hello_done": "ServerHelloDone",
        "certificate_verify": "CertificateVerify",
        "client_key_exchange": "ClientKeyExchange",
        "finished": "Finished",
        "certificate_status": "CertificateStatus",
    }
    assert all(cls.msg_type == number for number, cls in MESSAGES.items())


def test_both_versions_share_what_is_the_same_and_nothing_else() -> None:
    shared = {cls for cls in MESSAGES.values() if cls in messages.MESSAGES.values()}
    assert shared == {messages.ClientHello, messages.ServerHello, messages.CertificateVerify, messages.Finished}


def test_public_names_are_what_the_module_says() -> None:
    assert all(hasattr(messages12, name) for name in messages12.__all__)
