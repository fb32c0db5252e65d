"""Every extension body: layout, bounds from both sides, round trips, and what any other bytes do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resumption.constants import ExtensionType
from resumption.errors import DecodeError, IllegalParameter, UsageError
from resumption.wire import extensions as e
from resumption.wire.extensions import OfferedPsks
from resumption.wire.messages import ClientHello
from tests.wire.raw import HELLOS, ext, is_canonical, mutations, refuses_every_prefix, u, vec
from tests.wire.strategies import blobs, extension_maps, uint8s, uint16_lists, uint16s, uint32s

IDENTITIES = ((b"ticket one", 0), (b"t2", 2**32 - 1))
BINDERS = (bytes(32), b"\x11" * 48)

# name of the pair, a value, its body by hand
SAMPLES: list[tuple[str, Any, bytes]] = [
    ("alpn", (b"h2", b"http/1.1"), vec(2, vec(1, b"h2"), vec(1, b"http/1.1"))),
    ("alpn_server", b"h2", vec(2, vec(1, b"h2"))),
    ("certificate_authorities", (b"one", b"two!"), vec(2, vec(2, b"one"), vec(2, b"two!"))),
    ("compress_certificate", (2, 1), vec(1, u(2, 2), u(2, 1))),
    ("cookie", b"biscuit", vec(2, b"biscuit")),
    ("early_data_ticket", 16384, u(4, 16384)),
    ("ec_point_formats", b"\0\x01", vec(1, b"\0\x01")),
    ("key_share_client", ((29, b"X" * 32), (23, b"P")), vec(2, u(2, 29), vec(2, b"X" * 32), u(2, 23), vec(2, b"P"))),
    ("key_share_client", (), vec(2)),
    ("key_share_retry", 24, u(2, 24)),
    ("key_share_server", (29, b"X" * 32), u(2, 29) + vec(2, b"X" * 32)),
    ("max_fragment_length", 4, b"\x04"),
    ("oid_filters", ((b"oid", b"value"), (b"o", b"")), vec(2, vec(1, b"oid"), vec(2, b"value"), vec(1, b"o"), vec(2))),
    ("pre_shared_key_server", 1, u(2, 1)),
    ("psk_key_exchange_modes", b"\x01\0", vec(1, b"\x01\0")),
    ("record_size_limit", 0x4001, u(2, 0x4001)),
    ("renegotiation_info", b"", vec(1)),
    ("renegotiation_info", b"verify data", vec(1, b"verify data")),
    ("server_name", "shop.example", vec(2, b"\0" + vec(2, b"shop.example"))),
    ("signature_algorithms", (0x0403, 0x0A0A), vec(2, u(2, 0x0403), u(2, 0x0A0A))),
    ("signature_algorithms_cert", (0x0401,), vec(2, u(2, 0x0401))),
    ("signed_certificate_timestamp_server", (b"log one", b"log two"), vec(2, vec(2, b"log one"), vec(2, b"log two"))),
    ("status_request_certificate", b"response", b"\x01" + vec(3, b"response")),
    ("supported_groups", (0x1A1A, 29, 23), vec(2, u(2, 0x1A1A), u(2, 29), u(2, 23))),
    ("supported_versions_client", (0x0304, 0x0303), vec(1, u(2, 0x0304), u(2, 0x0303))),
    ("supported_versions_server", 0x0304, u(2, 0x0304)),
    ("ticket_request_client", (2, 1), b"\x02\x01"),
    ("ticket_request_server", 2, b"\x02"),
    (
        "pre_shared_key_client",
        OfferedPsks(IDENTITIES, BINDERS),
        vec(2, vec(2, b"ticket one"), u(4, 0), vec(2, b"t2"), u(4, 2**32 - 1)) + vec(2, *(vec(1, b) for b in BINDERS)),
    ),
]  # fmt: skip

EMPTY = [
    "early_data",
    "extended_master_secret",
    "post_handshake_auth",
    "server_name_server",
    "signed_certificate_timestamp",
    "status_request",
]

key_shares = st.tuples(uint16s, st.binary(min_size=1, max_size=140))
short = st.binary(min_size=1, max_size=40)

STRATEGIES: dict[str, st.SearchStrategy[Any]] = {
    "alpn": st.lists(blobs(1, 255), min_size=1, max_size=5).map(tuple),
    "alpn_server": blobs(1, 255),
    "certificate_authorities": st.lists(short, min_size=1, max_size=5).map(tuple),
    "compress_certificate": st.lists(uint16s, min_size=1, max_size=9).map(tuple),
    "cookie": short,
    "early_data_ticket": uint32s,
    "ec_point_formats": blobs(1, 255),
    "key_share_client": st.lists(key_shares, max_size=4).map(tuple),
    "key_share_retry": uint16s,
    "key_share_server": key_shares,
    "max_fragment_length": uint8s,
    "oid_filters": st.lists(st.tuples(blobs(1, 255), st.binary(max_size=40)), max_size=4).map(tuple),
    "pre_shared_key_client": st.builds(
        OfferedPsks,
        st.lists(st.tuples(short, uint32s), min_size=1, max_size=4).map(tuple),
        st.lists(blobs(32, 255), min_size=1, max_size=4).map(tuple),
    ),
    "pre_shared_key_server": uint16s,
    "psk_key_exchange_modes": blobs(1, 255),
    "record_size_limit": uint16s,
    "renegotiation_info": blobs(0, 255),
    "server_name": st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=300),
    "session_ticket": st.binary(max_size=300),
    "signature_algorithms": uint16_lists(2**16 - 2),
    "signature_algorithms_cert": uint16_lists(2**16 - 2),
    "signed_certificate_timestamp_server": st.lists(short, min_size=1, max_size=4).map(tuple),
    "status_request_certificate": short,
    "supported_groups": uint16_lists(2**16 - 2),
    "supported_versions_client": uint16_lists(254),
    "supported_versions_server": uint16s,
    "ticket_request_client": st.tuples(uint8s, uint8s),
    "ticket_request_server": uint8s,
}


def functions(name: str) -> tuple[Callable[[Any], Any], Callable[[Any], bytes]]:
    return getattr(e, f"parse_{name}"), getattr(e, f"pack_{name}")


@pytest.mark.parametrize(("name", "value", "body"), SAMPLES)
def test_a_body_stands_on_the_wire_as_its_rfc_writes_it(name: str, value: Any, body: bytes) -> None:
    parse, pack = functions(name)
    assert pack(value) == body
    assert parse(body) == value
    assert parse(bytearray(body)) == parse(memoryview(body)) == value


@pytest.mark.parametrize(("name", "value", "body"), SAMPLES)
def test_a_body_that_is_too_short_or_too_long_is_refused(name: str, value: Any, body: bytes) -> None:
    parse, _ = functions(name)
    refuses_every_prefix(parse, body)
    for tail in (b"\0", body):
        with pytest.raises(DecodeError):
            parse(body + tail)


@pytest.mark.parametrize(("name", "value", "body"), SAMPLES)
def test_any_change_is_parsed_faithfully_or_refused(name: str, value: Any, body: bytes) -> None:
    parse, pack = functions(name)
    for changed in mutations(body):
        if name != "server_name" or changed[2:3] == b"\0":  # other types of name are skipped, see below
            is_canonical(parse, pack, changed)


@pytest.mark.parametrize("name", STRATEGIES)
@given(data=st.data())
def test_every_value_survives_the_round_trip(name: str, data: st.DataObject) -> None:
    parse, pack = functions(name)
    value = data.draw(STRATEGIES[name])
    assert parse(pack(value)) == value


@pytest.mark.parametrize("name", [name for name in STRATEGIES if name != "server_name"])
@given(body=st.binary(max_size=120))
def test_any_bytes_parse_to_what_packs_to_them_or_are_refused(name: str, body: bytes) -> None:
    is_canonical(*functions(name), body)


@pytest.mark.parametrize("name", EMPTY)
def test_an_empty_body_says_all_there_is_to_say(name: str) -> None:
    parse, pack = functions(name)
    assert pack() == b""  # type: ignore[call-arg]
    assert parse(b"") is None
    for body in (b"\0", b"\0\0", b"text"):
        with pytest.raises(DecodeError, match=f"{len(body)} bytes where none belong"):
            parse(body)


def numbers(length: int) -> tuple[int, ...]:
    return (0,) * (length // 2)


# name, width of the prefix, floor, ceiling, size of an item, a value of so many bytes
BOUNDS: list[tuple[str, int, int, int, int, Callable[[int], Any]]] = [
    ("cookie", 2, 1, 2**16 - 1, 1, bytes),
    ("ec_point_formats", 1, 1, 255, 1, bytes),
    ("psk_key_exchange_modes", 1, 1, 255, 1, bytes),
    ("renegotiation_info", 1, 0, 255, 1, bytes),
    ("signature_algorithms", 2, 2, 2**16 - 2, 2, numbers),
    ("signature_algorithms_cert", 2, 2, 2**16 - 2, 2, numbers),
    ("supported_groups", 2, 2, 2**16 - 2, 2, numbers),
    ("supported_versions_client", 1, 2, 254, 2, numbers),
]


@pytest.mark.parametrize(("name", "width", "floor", "ceiling", "step", "value"), BOUNDS)
def test_vectors_are_accepted_within_their_bounds_only(
    name: str, width: int, floor: int, ceiling: int, step: int, value: Callable[[int], Any]
) -> None:
    parse, pack = functions(name)
    for length in (floor, ceiling):
        assert parse(vec(width, bytes(length))) == value(length)
        assert pack(value(length)) == vec(width, bytes(length))
    for length in (floor - step, ceiling + step):
        if 0 <= length < 256**width:
            with pytest.raises(DecodeError, match=name.removesuffix("_client")):
                parse(vec(width, bytes(length)))
        if length >= 0:
            with pytest.raises(UsageError):
                pack(value(length))
    if step == 2:
        with pytest.raises(DecodeError, match="even"):
            parse(vec(width, bytes(3)))


# name, a body just outside the bounds of an item or of the list
OUTSIDE = [
    ("alpn", vec(2)),
    ("alpn", vec(2, vec(1))),
    ("alpn", vec(2, vec(1, b"h2"), vec(1))),
    ("alpn_server", vec(2)),
    ("alpn_server", vec(2, vec(1))),
    ("alpn_server", vec(2, vec(1, b"h2"), vec(1, b"h3"))),
    ("compress_certificate", vec(1)),
    ("compress_certificate", vec(1, b"\0")),
    ("certificate_authorities", vec(2)),
    ("certificate_authorities", vec(2, vec(2))),
    ("key_share_client", vec(2, u(2, 29), vec(2))),
    ("key_share_server", u(2, 29) + vec(2)),
    ("oid_filters", vec(2, vec(1), vec(2, b"value"))),
    ("pre_shared_key_client", vec(2) + vec(2, vec(1, bytes(32)))),
    ("pre_shared_key_client", vec(2, vec(2), u(4, 0), b"") + vec(2, vec(1, bytes(32)))),
    ("pre_shared_key_client", vec(2, vec(2, b"t"), u(4, 0)) + vec(2)),
    ("pre_shared_key_client", vec(2, vec(2, b"t"), u(4, 0)) + vec(2, vec(1, bytes(31)))),
    ("signed_certificate_timestamp_server", vec(2)),
    ("signed_certificate_timestamp_server", vec(2, vec(2))),
    ("status_request_certificate", b"\x01" + vec(3)),
    ("status_request_certificate", b"\x02" + vec(3, b"response")),
    ("status_request_client", b"\x01" + vec(2, vec(2)) + vec(2)),
]


@pytest.mark.proves("7301:3.1:2")
@pytest.mark.parametrize(("name", "body"), OUTSIDE)
def test_items_out_of_their_bounds_are_refused(name: str, body: bytes) -> None:
    with pytest.raises(DecodeError):
        getattr(e, f"parse_{name}")(body)


# The least that is allowed, next to what is refused above.
INSIDE = [
    ("alpn", vec(2, vec(1, b"x"))),
    ("certificate_authorities", vec(2, vec(2, b"x"))),
    ("key_share_client", vec(2, u(2, 29), vec(2, b"x"))),
    ("oid_filters", vec(2, vec(1, b"x"), vec(2))),
    ("pre_shared_key_client", vec(2, vec(2, b"t"), u(4, 0)) + vec(2, vec(1, bytes(32)))),
    ("pre_shared_key_client", vec(2, vec(2, b"t"), u(4, 0)) + vec(2, vec(1, bytes(255)))),
    ("signed_certificate_timestamp_server", vec(2, vec(2, b"x"))),
    ("status_request_certificate", b"\x01" + vec(3, b"x")),
]


@pytest.mark.parametrize(("name", "body"), INSIDE)
def test_the_smallest_and_largest_items_are_accepted(name: str, body: bytes) -> None:
    assert is_canonical(*functions(name), body)


# name, a value that cannot be packed
UNPACKABLE = [
    ("alpn", ()),
    ("alpn", (b"",)),
    ("alpn", (bytes(256),)),
    ("alpn_server", b""),
    ("certificate_authorities", ()),
    ("cookie", b""),
    ("early_data_ticket", 2**32),
    ("key_share_client", ((29, b""),)),
    ("key_share_client", ((29, bytes(40_000)), (23, bytes(40_000)))),
    ("key_share_retry", 2**16),
    ("key_share_server", (2**16, b"x")),
    ("max_fragment_length", 256),
    ("pre_shared_key_client", OfferedPsks((), BINDERS)),
    ("pre_shared_key_client", OfferedPsks(((b"t", 2**32),), BINDERS)),
    ("pre_shared_key_client", OfferedPsks(IDENTITIES, (bytes(31),))),
    ("pre_shared_key_client", OfferedPsks(IDENTITIES, (bytes(256),))),
    ("pre_shared_key_server", -1),
    ("record_size_limit", 2**16),
    ("server_name", ""),
    ("server_name", "sh\0p.example"),
    ("server_name", "bücher.example"),
    ("server_name", "x" * 2**16),
    ("supported_groups", (2**16,)),
    ("ticket_request_client", (256, 0)),
]


@pytest.mark.parametrize(("name", "value"), UNPACKABLE)
def test_values_that_do_not_fit_are_usage_errors(name: str, value: Any) -> None:
    with pytest.raises(UsageError):
        functions(name)[1](value)


def test_errors_name_the_extension() -> None:
    with pytest.raises(DecodeError, match=r"^key_share: a vector of 0 bytes"):
        e.parse_key_share_server(u(2, 29) + vec(2))
    with pytest.raises(DecodeError, match=r"^supported_versions: 1 bytes left over"):
        e.parse_supported_versions_server(b"\x03\x04\0")


class TestServerName:
    @pytest.mark.parametrize("name", [b"", b"a\0b", b"caf\xc3\xa9", b"caf\xe9", b"line\nbreak", b"\x7f", b"\x1b[2J"])
    def test_a_host_name_is_printable_ascii(self, name: bytes) -> None:
        with pytest.raises(IllegalParameter if name else DecodeError, match="server_name"):
            e.parse_server_name(vec(2, b"\0" + vec(2, name)))

    @pytest.mark.parametrize(
        "name", ["a", "Shop.Example", "trailing.dot.", "10.0.0.1", "xn--bcher-kva.example", "_dmarc"]
    )
    def test_judging_a_name_is_left_to_others(self, name: str) -> None:
        assert e.parse_server_name(e.pack_server_name(name)) == name

    @pytest.mark.proves("6066:3:2")
    def test_there_is_at_most_one_host_name(self) -> None:
        host = b"\0" + vec(2, b"shop.example")
        with pytest.raises(IllegalParameter, match="2 host names"):
            e.parse_server_name(vec(2, host, host))

    def test_other_types_of_name_are_skipped(self) -> None:
        other = b"\x07" + vec(2, b"\xff\0")
        assert e.parse_server_name(vec(2, other)) is None
        assert e.parse_server_name(vec(2, other, b"\0" + vec(2, b"shop.example"), other)) == "shop.example"
        with pytest.raises(DecodeError):
            e.parse_server_name(vec(2, b"\x07\0\x05ab"))

    def test_a_list_is_not_empty(self) -> None:
        for body in (b"", vec(2)):
            with pytest.raises(DecodeError):
                e.parse_server_name(body)

    @given(st.binary(max_size=80))
    def test_any_bytes_are_a_name_or_refused(self, body: bytes) -> None:
        try:
            name = e.parse_server_name(vec(2, body))
        except DecodeError:
            return
        assert name is None or (name.isascii() and name.isprintable() and name.encode() in body)


class TestStatusRequest:
    def test_the_usual_request_is_five_bytes(self) -> None:
        assert e.pack_status_request_client() == b"\x01\0\0\0\0"
        assert e.parse_status_request_client(b"\x01\0\0\0\0") == ((), b"")

    def test_responders_and_extensions_come_through(self) -> None:
        body = e.pack_status_request_client((b"id one", b"id two"), b"extensions")
        assert body == b"\x01" + vec(2, vec(2, b"id one"), vec(2, b"id two")) + vec(2, b"extensions")
        assert e.parse_status_request_client(body) == ((b"id one", b"id two"), b"extensions")
        refuses_every_prefix(e.parse_status_request_client, body)

    def test_other_types_are_not_looked_into(self) -> None:
        assert e.parse_status_request_client(b"\x02anything") is None

    @pytest.mark.parametrize("body", [b"", b"\x01", b"\x01\0\0\0", b"\x01\0\0\0\0\0"])
    def test_a_malformed_request_is_refused(self, body: bytes) -> None:
        with pytest.raises(DecodeError, match="status_request"):
            e.parse_status_request_client(body)

    @given(st.binary(max_size=60))
    def test_any_bytes_parse_to_what_packs_to_them_or_are_refused(self, body: bytes) -> None:
        is_canonical(e.parse_status_request_client, lambda value: e.pack_status_request_client(*value), b"\x01" + body)


class TestSessionTicket:
    def test_is_the_whole_body(self) -> None:
        for ticket in (b"", b"\0", bytes(1000)):
            assert e.parse_session_ticket(ticket) == ticket
            assert e.pack_session_ticket(ticket) == ticket


class TestOfferedPsks:
    @given(STRATEGIES["pre_shared_key_client"])
    def test_the_binders_length_is_what_truncation_removes(self, offered: OfferedPsks) -> None:
        packed = offered.pack()
        binders = packed[-offered.binders_length :]
        assert binders == vec(2, *(vec(1, binder) for binder in offered.binders))

    def test_counts_are_not_compared_here(self) -> None:
        offered = OfferedPsks(IDENTITIES, BINDERS[:1])
        assert e.parse_pre_shared_key_client(offered.pack()) == offered

    def test_repr_shows_no_ticket(self) -> None:
        assert repr(OfferedPsks(IDENTITIES[:1], BINDERS[:1])) == (
            "OfferedPsks(identities=((<10 bytes>, 0)), binders=(<32 bytes>))"
        )

    @pytest.mark.parametrize("name", ["openssl-resume13-stateless", "openssl-resume13-stateful", "openssl-psk"])
    def test_a_real_hello_is_truncated_before_its_binders(self, name: str) -> None:
        whole = HELLOS[name][5:]
        hello = ClientHello.parse(whole[4:])
        assert next(reversed(hello.extensions)) == ExtensionType.pre_shared_key
        offered = e.parse_pre_shared_key_client(hello.extensions[ExtensionType.pre_shared_key])
        assert len(offered.identities) == len(offered.binders) == 1
        digest_size = len(offered.binders[0])
        assert offered.binders_length == 2 + 1 + digest_size
        assert whole[-offered.binders_length :] == vec(2, vec(1, offered.binders[0]))


class TestBlock:
    def test_takes_a_mapping_or_pairs(self) -> None:
        block = vec(2, ext(43, b"\x03\x04"), ext(0))
        assert e.pack_extensions({43: b"\x03\x04", 0: b""}) == block
        assert e.pack_extensions((number, body) for number, body in [(43, b"\x03\x04"), (0, b"")]) == block
        assert e.parse_extensions(block) == {43: b"\x03\x04", 0: b""}

    def test_one_type_twice_is_an_error_on_both_ways(self) -> None:
        with pytest.raises(IllegalParameter):
            e.parse_extensions(vec(2, ext(5), ext(5)))
        with pytest.raises(UsageError, match="twice"):
            e.pack_extensions([(5, b""), (5, b"x")])

    def test_bytes_left_over_and_missing_are_decode_errors(self) -> None:
        block = vec(2, ext(43, b"\x03\x04"), ext(0))
        refuses_every_prefix(e.parse_extensions, block)
        with pytest.raises(DecodeError, match="left over"):
            e.parse_extensions(block + b"\0")

    @given(extension_maps)
    def test_survives_the_round_trip(self, extensions: dict[int, bytes]) -> None:
        parsed = e.parse_extensions(e.pack_extensions(extensions))
        assert list(parsed.items()) == list(extensions.items())

    @given(st.binary(max_size=60))
    def test_any_bytes_parse_to_what_packs_to_them_or_are_refused(self, data: bytes) -> None:
        is_canonical(e.parse_extensions, e.pack_extensions, data)


# What each known extension of a ClientHello is parsed with.
CLIENT_HELLO = {
    ExtensionType.server_name: "server_name",
    ExtensionType.max_fragment_length: "max_fragment_length",
    ExtensionType.status_request: "status_request_client",
    ExtensionType.supported_groups: "supported_groups",
    ExtensionType.ec_point_formats: "ec_point_formats",
    ExtensionType.signature_algorithms: "signature_algorithms",
    ExtensionType.application_layer_protocol_negotiation: "alpn",
    ExtensionType.extended_master_secret: "extended_master_secret",
    ExtensionType.record_size_limit: "record_size_limit",
    ExtensionType.session_ticket: "session_ticket",
    ExtensionType.pre_shared_key: "pre_shared_key_client",
    ExtensionType.early_data: "early_data",
    ExtensionType.supported_versions: "supported_versions_client",
    ExtensionType.psk_key_exchange_modes: "psk_key_exchange_modes",
    ExtensionType.post_handshake_auth: "post_handshake_auth",
    ExtensionType.signature_algorithms_cert: "signature_algorithms_cert",
    ExtensionType.key_share: "key_share_client",
    ExtensionType.renegotiation_info: "renegotiation_info",
}


class TestRealHellos:
    @pytest.mark.parametrize("name", HELLOS)
    def test_every_known_body_parses_and_packs_to_itself(self, name: str) -> None:
        hello = ClientHello.parse(HELLOS[name][9:])
        for number, body in hello.extensions.items():
            pair = CLIENT_HELLO.get(number)  # type: ignore[call-overload]
            if pair == "status_request_client":
                assert e.pack_status_request_client(*e.parse_status_request_client(body) or ()) == body
            elif pair is not None:
                parse, pack = functions(pair)
                value = parse(body)
                assert (pack() if value is None else pack(value)) == body  # type: ignore[call-arg]

    def test_all_of_them_occur(self) -> None:
        seen = {number for record in HELLOS.values() for number in ClientHello.parse(record[9:]).extensions}
        assert set(CLIENT_HELLO) <= seen

    def test_values_are_what_the_clients_were_told_to_send(self) -> None:
        def body(name: str, number: int) -> bytes:
            return ClientHello.parse(HELLOS[name][9:]).extensions[number]

        assert e.parse_server_name(body("openssl-default", ExtensionType.server_name)) == "shop.example"
        alpn = ExtensionType.application_layer_protocol_negotiation
        assert e.parse_alpn(body("openssl-alpn-status", alpn)) == (b"h2", b"http/1.1")
        assert e.parse_status_request_client(body("openssl-alpn-status", ExtensionType.status_request)) == ((), b"")
        two = "openssl-tls13-two-groups"
        assert e.parse_supported_groups(body(two, ExtensionType.supported_groups)) == (24, 29)
        assert [group for group, _ in e.parse_key_share_client(body(two, ExtensionType.key_share))] == [24]
        assert e.parse_signature_algorithms(body(two, ExtensionType.signature_algorithms)) == (0x0403, 0x0805)
        assert e.parse_supported_versions_client(body(two, ExtensionType.supported_versions)) == (0x0304,)
        small = body("openssl-tls12-small", ExtensionType.max_fragment_length)
        assert e.parse_max_fragment_length(small) == 1
        shares = e.parse_key_share_client(body("openssl4-hybrid", ExtensionType.key_share))
        assert (shares[0][0], len(shares[0][1])) == (0x11EC, 1216)


def test_every_function_is_tested_in_a_pair() -> None:
    tested = {name for name, _, _ in SAMPLES} | set(EMPTY) | {"session_ticket", "status_request_client", "extensions"}
    for verb in ("parse_", "pack_"):
        assert {name.removeprefix(verb) for name in vars(e) if name.startswith(verb)} == tested
