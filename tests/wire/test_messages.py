"""Every message of TLS 1.3: its layout, its bounds from both sides, and what any other bytes do."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resumption.constants import ExtensionType, HandshakeType
from resumption.errors import DecodeError, IllegalParameter, UsageError
from resumption.wire import messages
from resumption.wire.codec import Message
from resumption.wire.messages import (
    HELLO_RETRY_REQUEST_RANDOM,
    MESSAGES,
    Certificate,
    CertificateEntry,
    CertificateRequest,
    CertificateVerify,
    ClientHello,
    CompressedCertificate,
    EncryptedExtensions,
    EndOfEarlyData,
    Finished,
    KeyUpdate,
    NewSessionTicket,
    ServerHello,
)
from tests.wire import raw
from tests.wire.raw import HELLOS, ext, is_canonical, mutations, refuses_every_prefix, u, vec
from tests.wire.strategies import blobs, extension_maps, uint8s, uint16_lists, uint16s, uint32s

RANDOM = bytes(range(32))
BLOCK = vec(2, ext(43, b"\x03\x04"), ext(0xABCD))
INDEX = {43: b"\x03\x04", 0xABCD: b""}

# One value of each message, and the parts of its body as they must stand on the wire.
SAMPLES: dict[str, tuple[Message, list[bytes]]] = {
    "ClientHello": (
        ClientHello(0x0303, RANDOM, b"session", (0x1301, 0x00FF), b"\0", INDEX),
        [u(2, 0x0303), RANDOM, vec(1, b"session"), vec(2, u(2, 0x1301), u(2, 0x00FF)), vec(1, b"\0"), BLOCK],
    ),
    "ServerHello": (
        ServerHello(0x0303, RANDOM, b"session", 0x1302, 0, INDEX),
        [u(2, 0x0303), RANDOM, vec(1, b"session"), u(2, 0x1302), b"\0", BLOCK],
    ),
    "EncryptedExtensions": (EncryptedExtensions(INDEX), [BLOCK]),
    "CertificateRequest": (CertificateRequest(b"context", INDEX), [vec(1, b"context"), BLOCK]),
    "Certificate": (
        Certificate(b"context", (CertificateEntry(b"leaf", INDEX), CertificateEntry(b"ca", {}))),
        [vec(1, b"context"), vec(3, vec(3, b"leaf"), BLOCK, vec(3, b"ca"), vec(2))],
    ),
    "CompressedCertificate": (
        CompressedCertificate(2, 1000, b"squeezed"),
        [u(2, 2), u(3, 1000), vec(3, b"squeezed")],
    ),
    "CertificateVerify": (CertificateVerify(0x0804, b"signature"), [u(2, 0x0804), vec(2, b"signature")]),
    "Finished": (Finished(bytes(32)), [bytes(32)]),
    "EndOfEarlyData": (EndOfEarlyData(), []),
    "NewSessionTicket": (
        NewSessionTicket(604_800, 2**32 - 1, b"\0\x01", b"ticket", INDEX),
        [u(4, 604_800), u(4, 2**32 - 1), vec(1, b"\0\x01"), vec(2, b"ticket"), BLOCK],
    ),
    "KeyUpdate": (KeyUpdate(1), [b"\x01"]),
}

STRATEGIES: dict[str, st.SearchStrategy[Any]] = {
    "ClientHello": st.builds(
        ClientHello,
        uint16s,
        st.binary(min_size=32, max_size=32),
        blobs(0, 32),
        uint16_lists(2**16 - 2),
        blobs(1, 255),
        extension_maps,
    ),
    "ServerHello": st.builds(
        ServerHello, uint16s, st.binary(min_size=32, max_size=32), blobs(0, 32), uint16s, uint8s, extension_maps
    ),
    "EncryptedExtensions": st.builds(EncryptedExtensions, extension_maps),
    "CertificateRequest": st.builds(CertificateRequest, blobs(0, 255), extension_maps),
    "Certificate": st.builds(
        Certificate,
        blobs(0, 255),
        st.lists(st.builds(CertificateEntry, blobs(1, 2**24 - 1), extension_maps), max_size=4).map(tuple),
    ),
    "CompressedCertificate": st.builds(CompressedCertificate, uint16s, st.integers(0, 2**24 - 1), blobs(1, 400)),
    "CertificateVerify": st.builds(CertificateVerify, uint16s, blobs(0, 2**16 - 1)),
    "Finished": st.builds(Finished, st.binary(max_size=64)),
    "EndOfEarlyData": st.just(EndOfEarlyData()),
    "NewSessionTicket": st.builds(
        NewSessionTicket, uint32s, uint32s, blobs(0, 255), blobs(1, 2**16 - 1), extension_maps
    ),
    "KeyUpdate": st.builds(KeyUpdate, uint8s),
}

# Cuts that give another valid message: Finished is all remainder, and a hello may end before its extension block.
VALID_CUTS = {
    "Finished": tuple(range(32)),
    "ClientHello": (sum(map(len, SAMPLES["ClientHello"][1][:-1])),),
    "ServerHello": (sum(map(len, SAMPLES["ServerHello"][1][:-1])),),
}

VECTORS = raw.messages("rfc8448")


@pytest.mark.parametrize("name", SAMPLES)
def test_a_message_stands_on_the_wire_as_its_rfc_writes_it(name: str) -> None:
    message, parts = SAMPLES[name]
    body = b"".join(parts)
    assert message.pack() == u(1, HandshakeType[snake(name)]) + vec(3, body)
    assert type(message).parse(body) == message


@pytest.mark.parametrize("name", SAMPLES)
def test_bytes_left_over_are_refused(name: str) -> None:
    message, parts = SAMPLES[name]
    if name != "Finished":
        with pytest.raises(DecodeError):
            type(message).parse(b"".join(parts) + b"\0")


@pytest.mark.parametrize("name", SAMPLES)
def test_a_message_that_is_cut_short_is_refused(name: str) -> None:
    message, parts = SAMPLES[name]
    refuses_every_prefix(type(message).parse, b"".join(parts), but=VALID_CUTS.get(name, ()))


@pytest.mark.parametrize("name", SAMPLES)
def test_any_change_is_parsed_faithfully_or_refused(name: str) -> None:
    message, parts = SAMPLES[name]
    body = b"".join(parts)
    outcomes = [is_canonical(type(message).parse, type(message).write, changed) for changed in mutations(body)]
    assert len(outcomes) >= 6 * len(body)


@pytest.mark.parametrize("name", STRATEGIES)
@given(data=st.data())
def test_every_message_survives_the_round_trip(name: str, data: st.DataObject) -> None:
    message = data.draw(STRATEGIES[name])
    packed = message.pack()
    assert packed[0] == message.msg_type
    assert len(packed) == 4 + int.from_bytes(packed[1:4], "big")
    again = type(message).parse(packed[4:])
    assert again == message
    if "extensions" in type(message).__slots__:
        assert list(again.extensions) == list(message.extensions)


@pytest.mark.parametrize("name", SAMPLES)
@given(data=st.binary(max_size=200))
def test_any_bytes_parse_to_what_packs_to_them_or_are_refused(name: str, data: bytes) -> None:
    cls = type(SAMPLES[name][0])
    if not (name in VALID_CUTS and data.endswith(b"\0\0")):  # an empty block parses like a missing one
        is_canonical(cls.parse, cls.write, data)


# message, field, its place among the parts, width of its prefix, floor, ceiling
BOUNDS = [
    ("ClientHello", "legacy_session_id", 2, 1, 0, 32),
    ("ClientHello", "cipher_suites", 3, 2, 2, 2**16 - 2),
    ("ClientHello", "legacy_compression_methods", 4, 1, 1, 255),
    ("ServerHello", "legacy_session_id_echo", 2, 1, 0, 32),
    ("CertificateRequest", "certificate_request_context", 0, 1, 0, 255),
    ("Certificate", "certificate_request_context", 0, 1, 0, 255),
    ("CertificateVerify", "signature", 1, 2, 0, 2**16 - 1),
    ("NewSessionTicket", "ticket_nonce", 2, 1, 0, 255),
    ("NewSessionTicket", "ticket", 3, 2, 1, 2**16 - 1),
]


@pytest.mark.parametrize(("name", "field", "place", "width", "floor", "ceiling"), BOUNDS)
def test_vectors_are_accepted_within_their_bounds_only(
    name: str, field: str, place: int, width: int, floor: int, ceiling: int
) -> None:
    message: Any
    message, parts = SAMPLES[name]
    numbers = field == "cipher_suites"
    step = 2 if numbers else 1

    def value(length: int) -> Any:
        return (0,) * (length // 2) if numbers else bytes(length)

    def body(length: int) -> bytes:
        return b"".join([*parts[:place], vec(width, bytes(length)), *parts[place + 1 :]])

    for length in (floor, ceiling):
        parsed = type(message).parse(body(length))
        assert parsed == dataclasses.replace(message, **{field: value(length)})
        assert parsed.pack()[4:] == body(length)
    for length in (floor - step, ceiling + step):
        if 0 <= length < 256**width:
            with pytest.raises(DecodeError, match=field):
                type(message).parse(body(length))
        if length >= 0:
            with pytest.raises(UsageError):
                dataclasses.replace(message, **{field: value(length)}).pack()


def test_an_odd_list_of_cipher_suites_is_refused() -> None:
    _, parts = SAMPLES["ClientHello"]
    with pytest.raises(DecodeError, match="cipher_suites"):
        ClientHello.parse(b"".join([*parts[:3], vec(2, b"\x13\x01\x13"), *parts[4:]]))


def test_an_empty_certificate_is_refused_but_an_empty_list_is_not() -> None:
    assert Certificate.parse(vec(1) + vec(3)) == Certificate(b"", ())
    with pytest.raises(DecodeError, match="cert_data"):
        Certificate.parse(vec(1) + vec(3, vec(3), vec(2)))
    with pytest.raises(UsageError):
        Certificate(b"", (CertificateEntry(b"", {}),)).pack()


@pytest.mark.parametrize("length", [31, 33])
@pytest.mark.parametrize("name", ["ClientHello", "ServerHello"])
def test_a_random_has_32_bytes(name: str, length: int) -> None:
    message: Any = SAMPLES[name][0]
    with pytest.raises(UsageError):
        dataclasses.replace(message, random=bytes(length)).pack()


@pytest.mark.parametrize(
    ("name", "field", "bits"),
    [
        ("ClientHello", "legacy_version", 16),
        ("ServerHello", "cipher_suite", 16),
        ("ServerHello", "legacy_compression_method", 8),
        ("CompressedCertificate", "algorithm", 16),
        ("CompressedCertificate", "uncompressed_length", 24),
        ("CertificateVerify", "algorithm", 16),
        ("NewSessionTicket", "ticket_lifetime", 32),
        ("NewSessionTicket", "ticket_age_add", 32),
        ("KeyUpdate", "request_update", 8),
    ],
)
def test_numbers_that_do_not_fit_are_usage_errors(name: str, field: str, bits: int) -> None:
    message: Any = SAMPLES[name][0]
    dataclasses.replace(message, **{field: 2**bits - 1}).pack()
    for value in (2**bits, -1):
        with pytest.raises(UsageError):
            dataclasses.replace(message, **{field: value}).pack()


@pytest.mark.parametrize("name", [name for name, (message, _) in SAMPLES.items() if hasattr(message, "extensions")])
def test_a_repeated_extension_is_illegal(name: str) -> None:
    message, parts = SAMPLES[name]
    with pytest.raises(IllegalParameter, match="extension 43 appears twice"):
        type(message).parse(b"".join(parts[:-1]) + vec(2, ext(43), ext(43)))


def test_a_repeated_extension_of_a_certificate_is_illegal() -> None:
    with pytest.raises(IllegalParameter, match=r"Certificate.certificate_list: CertificateEntry.extensions"):
        Certificate.parse(vec(1) + vec(3, vec(3, b"leaf"), vec(2, ext(5), ext(5))))


class TestHellosWithoutExtensions:
    @pytest.mark.parametrize("name", ["ClientHello", "ServerHello"])
    def test_may_end_before_the_block(self, name: str) -> None:
        message: Any
        message, parts = SAMPLES[name]
        bare = type(message).parse(b"".join(parts[:-1]))
        assert bare == dataclasses.replace(message, extensions={})
        assert bare.pack()[4:] == b"".join(parts[:-1])

    @pytest.mark.parametrize("name", ["ClientHello", "ServerHello"])
    def test_may_have_an_empty_block(self, name: str) -> None:
        message: Any
        message, parts = SAMPLES[name]
        assert type(message).parse(b"".join(parts[:-1]) + vec(2)) == dataclasses.replace(message, extensions={})

    @pytest.mark.proves("9846:4.2.2:15", "9846:4.2.2:16", "5246:7.4.1.2:6")
    @pytest.mark.parametrize("tail", [b"\0", b"\0\x01", b"\0\0\0", vec(2) + BLOCK, b"\0\x04\0\x01\0"])
    def test_may_not_end_in_anything_else(self, tail: bytes) -> None:
        _, parts = SAMPLES["ClientHello"]
        with pytest.raises(DecodeError):
            ClientHello.parse(b"".join(parts[:-1]) + tail)


class TestHelloRetryRequest:
    def test_its_random_is_a_hash_of_its_name(self) -> None:
        assert hashlib.sha256(b"HelloRetryRequest").digest() == HELLO_RETRY_REQUEST_RANDOM

    def test_is_told_by_its_random(self) -> None:
        hello: Any = SAMPLES["ServerHello"][0]
        assert not hello.is_hello_retry_request
        assert dataclasses.replace(hello, random=HELLO_RETRY_REQUEST_RANDOM).is_hello_retry_request

    def test_the_one_of_rfc_8448_is_recognised(self) -> None:
        hellos = [ServerHello.parse(whole[4:]) for name, whole in VECTORS if name == "ServerHello"]
        retries = [hello for hello in hellos if hello.is_hello_retry_request]
        assert len(retries) == 1
        assert len(hellos) > 3
        assert ExtensionType.cookie in retries[0].extensions


class TestVectors:
    @pytest.mark.parametrize(("name", "whole"), VECTORS)
    def test_messages_of_rfc_8448_parse_and_pack_to_themselves(self, name: str, whole: bytes) -> None:
        message = MESSAGES[whole[0]].parse(whole[4:])
        assert type(message).__name__ == name
        assert message.pack() == whole

    def test_a_ticket_of_rfc_8448_says_what_the_text_says(self) -> None:
        ticket = NewSessionTicket.parse(next(whole for name, whole in VECTORS if name == "NewSessionTicket")[4:])
        assert (ticket.ticket_lifetime, ticket.ticket_age_add, ticket.ticket_nonce) == (30, 0xFAD6AAC5, b"\0\0")
        assert len(ticket.ticket) == 178
        assert ticket.extensions == {ExtensionType.early_data: u(4, 1024)}

    @pytest.mark.parametrize("name", HELLOS)
    def test_real_client_hellos_parse_and_pack_to_themselves(self, name: str) -> None:
        record = HELLOS[name]
        assert record[:2] == b"\x16\x03"
        whole = record[5:]
        hello = ClientHello.parse(whole[4:])
        assert hello.pack() == whole
        assert hello.legacy_version == 0x0303
        assert hello.legacy_compression_methods == b"\0"
        assert len(hello.extensions) >= 5

    @pytest.mark.parametrize("name", ["openssl-resume13-stateless", "gnutls-default", "java"])
    def test_real_client_hellos_with_any_byte_changed_are_parsed_faithfully_or_refused(self, name: str) -> None:
        for changed in mutations(HELLOS[name][9:]):
            is_canonical(ClientHello.parse, ClientHello.write, changed)

    def test_real_client_hellos_that_are_cut_short_are_refused(self) -> None:
        body = HELLOS["openssl-default"][9:]
        block = sum(len(ext(0, content)) for content in ClientHello.parse(body).extensions.values()) + 2
        refuses_every_prefix(ClientHello.parse, body, but=(len(body) - block,))


def test_each_type_has_its_class() -> None:
    assert {number: cls.__name__ for number, cls in MESSAGES.items()} == {
        HandshakeType[snake(name)]: name for name in SAMPLES
    }
    assert all(cls.msg_type == number for number, cls in MESSAGES.items())
    assert {type(number) for number in MESSAGES} == {int}


def test_public_names_are_what_the_module_says() -> None:
    assert all(hasattr(messages, name) for name in messages.__all__)


def snake(name: str) -> str:
    """The HandshakeType of a class: "ServerHello" is server_hello."""
    return "".join("_" + letter.lower() if letter.isupper() else letter for letter in name).strip("_")


# --- the short ways -------------------------------------------------------------------------------------------------


def outcome(parse: Callable[[bytes], Message], body: bytes) -> object:
    """The value that ``parse`` gives, or its error."""
    try:
        return parse(body)
    except (DecodeError, IllegalParameter) as error:
        return type(error), str(error)


@pytest.mark.parametrize("name", ["ClientHello", "ServerHello", "Finished", "NewSessionTicket"])
def test_the_short_way_says_what_the_plain_way_says(name: str) -> None:
    message, parts = SAMPLES[name]
    kind = type(message)
    bare = dataclasses.replace(message, extensions={}) if hasattr(message, "extensions") else message
    for body in (b"".join(parts), bare.pack()[4:]):
        assert outcome(kind.parse, body) == outcome(kind.parse_fields, body)
        for end in range(len(body)):
            assert outcome(kind.parse, body[:end]) == outcome(kind.parse_fields, body[:end])
        for mutated in mutations(body):
            assert outcome(kind.parse, mutated) == outcome(kind.parse_fields, mutated)


@given(st.binary(max_size=120))
def test_the_short_ways_agree_on_any_bytes(body: bytes) -> None:
    for kind in (ClientHello, ServerHello, Finished, NewSessionTicket):
        assert outcome(kind.parse, body) == outcome(kind.parse_fields, body)


@given(st.binary(max_size=300))
def test_a_ticket_without_extensions_is_packed_as_every_message_is(content: bytes) -> None:
    message = NewSessionTicket(7, 9, content[:255], content + b"x", {})
    assert message.pack() == Message.pack(message)


@given(st.binary(max_size=100))
def test_a_finished_is_packed_as_every_message_is(verify_data: bytes) -> None:
    message = Finished(verify_data)
    assert message.pack() == Message.pack(message)
