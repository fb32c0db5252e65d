"""SSL_SESSION DER: OpenSSL's own files byte for byte, every field, every rule, and what is not a session."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from cryptography.hazmat import asn1
from hypothesis import example, given, settings
from hypothesis import strategies as st

from resumption.errors import SessionError, SessionFormatError
from resumption.session.facts import SessionData
from resumption.session.formats import der
from tests.session import vectors

SECRET = bytes(range(1, 49))
SPKI = bytes.fromhex("3005") + b"12345"


def no_clock() -> float:
    pytest.fail("the encoding has a time")


# --- a second implementation, to compare with ------------------------------------------------------------------------


@asn1.sequence
class Oracle:
    """The structure as cryptography's declarative ASN.1 has it. Certificates as opaque SEQUENCEs are not in it."""

    version: int
    ssl_version: int
    cipher: bytes
    session_id: bytes
    secret: bytes
    key_arg: Annotated[bytes | None, asn1.Implicit(0)]
    time: Annotated[int | None, asn1.Explicit(1)]
    timeout: Annotated[int | None, asn1.Explicit(2)]
    id_context: Annotated[bytes | None, asn1.Explicit(4)]
    verify_result: Annotated[int | None, asn1.Explicit(5)]
    hostname: Annotated[bytes | None, asn1.Explicit(6)]
    hint: Annotated[bytes | None, asn1.Explicit(7)]
    identity: Annotated[bytes | None, asn1.Explicit(8)]
    lifetime_hint: Annotated[int | None, asn1.Explicit(9)]
    ticket: Annotated[bytes | None, asn1.Explicit(10)]
    compression: Annotated[bytes | None, asn1.Explicit(11)]
    srp: Annotated[bytes | None, asn1.Explicit(12)]
    flags: Annotated[int | None, asn1.Explicit(13)]
    age_add: Annotated[int | None, asn1.Explicit(14)]
    max_early_data: Annotated[int | None, asn1.Explicit(15)]
    alpn: Annotated[bytes | None, asn1.Explicit(16)]
    max_fragment: Annotated[int | None, asn1.Explicit(17)]
    appdata: Annotated[bytes | None, asn1.Explicit(18)]
    group: Annotated[int | None, asn1.Explicit(19)]
    public_key: Annotated[bytes | None, asn1.Explicit(20)]


def build(**fields: Any) -> bytes:
    """An encoding by the other implementation: minimal but for what is given."""
    everything: dict[str, Any] = dict.fromkeys(field.name for field in dataclasses.fields(Oracle))
    everything |= {"version": 1, "ssl_version": 0x0303, "cipher": b"\xc0\x2f", "session_id": b"", "secret": b""}
    return asn1.encode_der(Oracle(**(everything | fields)))


def decode(encoded: bytes, now: Callable[[], float] = lambda: 77.0) -> SessionData:
    data, _, consumed = der.decode(encoded, now)
    assert consumed == len(encoded)
    return data


# What `build()` means to us.
PLAIN = SessionData(version=0x0303, cipher=0xC02F, time=77.0, timeout=3, verify_result=0, max_fragment_mode=0)


# --- the vectors -----------------------------------------------------------------------------------------------------


def test_all_vectors_are_here() -> None:
    assert len(vectors.NAMES) == 10


@pytest.mark.parametrize("name", vectors.NAMES)
def test_a_vector_is_written_again_byte_for_byte(name: str) -> None:
    encoded = vectors.der(name)
    data, secret, consumed = der.decode(encoded, no_clock)
    assert consumed == len(encoded)
    assert der.encode(data, secret) == encoded
    assert der.to_pem(encoded) == vectors.pem(name)
    assert der.from_pem(vectors.pem(name)) == encoded


def test_the_facts_of_a_tls_1_3_ticket() -> None:
    encoded = vectors.der("tls13-ticket")
    data, secret, _ = der.decode(encoded, no_clock)
    assert secret == encoded[51:99]
    assert data == SessionData(
        version=0x0304,
        cipher=0x1302,
        session_id=encoded[17:49],
        time=0x6B03547F,
        timeout=7200,
        peer_certificate=vectors.certificate(),
        verify_result=0,
        ticket_lifetime_hint=7200,
        ticket=encoded[547:755],
        ticket_age_add=0x29F26274,
        alpn=b"h2",
        max_fragment_mode=0,
        group=0x1D,
    )


def test_the_facts_of_a_tls_1_2_psk_session() -> None:
    encoded = vectors.der("tls12-psk")
    data, secret, _ = der.decode(encoded, no_clock)
    assert secret == encoded[50:98]
    assert data == SessionData(
        version=0x0303,
        cipher=0x00A8,
        session_id=encoded[16:48],
        time=1795380595,
        timeout=7200,
        verify_result=0,
        psk_identity_hint=b"myhint",
        psk_identity=b"Client_identity",
        flags=1,
        max_fragment_mode=0,
    )
    assert data.extended_master_secret


def test_the_facts_of_the_other_vectors() -> None:
    known = decode(vectors.der("tls12-known-key-server"))
    assert (known.id_context, known.ticket_appdata, known.timeout) == (b"ctx-A", b"appdata-1", 86400)
    assert (known.session_id, known.ticket) == (b"", b"")
    host = decode(vectors.der("tls12-hostname-maxfrag"))
    assert host.hostname
    assert host.max_fragment_mode == 3
    assert decode(vectors.der("tls13-early-data")).max_early_data == 16384
    assert decode(vectors.der("tls13-known-key-mtls-server")).verify_result == 18


def test_the_smallest_session_that_openssl_writes() -> None:
    fresh = SessionData(version=0x0304, cipher=0x1301, time=0, timeout=0)
    encoded = bytes.fromhex("3023 020101 02020304 04021301 0400 0400 A4020400 A503020101 B1040202 00FF B303020100")
    assert der.encode(fresh, b"") == encoded
    assert decode(encoded) == fresh.replaced(time=77.0, timeout=3)


# --- each field ------------------------------------------------------------------------------------------------------

# Our fact, a value, the other implementation's field, its value.
FIELDS: list[tuple[str, Any, str, Any]] = [
    ("version", 0x0301, "ssl_version", 0x0301),
    ("version", 0xFEFD, "ssl_version", 0xFEFD),
    ("version", 0x0100, "ssl_version", 0x0100),
    ("cipher", 0x0001, "cipher", b"\0\x01"),
    ("cipher", 0xFFFF, "cipher", b"\xff\xff"),
    ("session_id", b"i" * 32, "session_id", b"i" * 32),
    ("time", 1, "time", 1),
    ("time", 2**63 - 1, "time", 2**63 - 1),
    ("timeout", 128, "timeout", 128),
    ("timeout", 2**63 - 1, "timeout", 2**63 - 1),
    ("id_context", b"c" * 32, "id_context", b"c" * 32),
    ("verify_result", 2**31 - 1, "verify_result", 2**31 - 1),
    ("hostname", "shop.example", "hostname", b"shop.example"),
    ("hostname", "", "hostname", b""),
    ("hostname", "bücher", "hostname", "bücher".encode()),
    ("hostname", "\udcff", "hostname", b"\xff"),
    ("psk_identity_hint", b"hint", "hint", b"hint"),
    ("psk_identity_hint", b"", "hint", b""),
    ("psk_identity", b"\xffidentity", "identity", b"\xffidentity"),
    ("ticket_lifetime_hint", 2**32 - 1, "lifetime_hint", 2**32 - 1),
    ("ticket", b"t", "ticket", b"t"),
    ("ticket", b"t" * 125, "ticket", b"t" * 125),
    ("ticket", b"t" * 126, "ticket", b"t" * 126),
    ("ticket", b"t" * 127, "ticket", b"t" * 127),
    ("ticket", b"t" * 128, "ticket", b"t" * 128),
    ("ticket", b"t" * 255, "ticket", b"t" * 255),
    ("ticket", b"t" * 256, "ticket", b"t" * 256),
    ("ticket", b"t" * 65536, "ticket", b"t" * 65536),
    ("ticket", b"t" * 2**24, "ticket", b"t" * 2**24),
    ("compression", 255, "compression", b"\xff"),
    ("srp_username", b"user", "srp", b"user"),
    ("flags", 1, "flags", 1),
    ("flags", 2**32 - 1, "flags", 2**32 - 1),
    ("ticket_age_add", 2**31, "age_add", 2**31),
    ("max_early_data", 2**32 - 1, "max_early_data", 2**32 - 1),
    ("alpn", b"http/1.1", "alpn", b"http/1.1"),
    ("alpn", b"", "alpn", b""),
    ("max_fragment_mode", 255, "max_fragment", 255),
    ("max_fragment_mode", 1, "max_fragment", 1),
    ("ticket_appdata", b"mine", "appdata", b"mine"),
    ("group", 29, "group", 29),
    ("group", 2**32 - 1, "group", 2**32 - 1),
    ("peer_public_key", SPKI, "public_key", SPKI),
]


def shorten(value: object) -> str:
    return repr(value)[:24]


@pytest.mark.parametrize(("name", "value", "field", "encoded"), FIELDS, ids=shorten)
def test_a_field_is_written_and_read_as_another_implementation_does(
    name: str, value: Any, field: str, encoded: Any
) -> None:
    data = PLAIN.replaced(**{name: value})
    if name not in ("time", "timeout"):
        data = data.replaced(time=77, timeout=3)
    written = der.encode(data, b"")
    fields = {"time": 77, "timeout": 3, "id_context": b"", "group": 0, field: encoded}
    assert written == build(**fields)
    assert decode(written, no_clock) == data


def test_what_is_zero_or_absent_is_left_out() -> None:
    bare = SessionData(version=0x0303, cipher=1, timeout=0, verify_result=0, max_fragment_mode=0)
    assert der.encode(bare, b"") == build(cipher=b"\0\x01", id_context=b"", group=0)
    assert decode(build()) == PLAIN


def test_zeros_that_are_written_out_are_read() -> None:
    written_out = dict.fromkeys(("time", "timeout", "verify_result", "lifetime_hint", "flags", "age_add", "group"), 0)
    assert decode(build(**written_out, max_fragment=0, max_early_data=0)) == PLAIN
    assert decode(build(ticket=b"", appdata=b"", id_context=b"", compression=b"\0")) == PLAIN


def test_only_whole_seconds_are_written() -> None:
    assert decode(der.encode(PLAIN.replaced(time=12.75), b"")).time == 12


def test_a_secret_may_be_long() -> None:
    for length in (0, 127, 128, 255, 256, 512):
        assert der.decode(der.encode(PLAIN, b"s" * length), no_clock)[1] == b"s" * length


@pytest.mark.parametrize("length", [1, 125, 126, 127, 253, 254, 255, 256, 65535, 65536])
def test_a_certificate_stays_as_it_is(length: int) -> None:
    header = der._header(0x30, length)
    certificate = header + b"c" * length
    assert decode(der.encode(PLAIN.replaced(peer_certificate=certificate), b"")).peer_certificate == certificate


def test_the_left_over_of_sslv2_is_read_and_forgotten() -> None:
    for key_arg in (b"", b"k" * 8, b"k" * 200):
        assert decode(build(key_arg=key_arg, id_context=b"c")) == PLAIN.replaced(id_context=b"c")


@pytest.mark.parametrize(
    ("field", "name", "expected"),
    [
        ("hostname", "hostname", "good"),
        ("hint", "psk_identity_hint", b"good"),
        ("identity", "psk_identity", b"good"),
        ("srp", "srp_username", b"good"),
    ],
)
def test_the_c_strings_stop_at_nul(field: str, name: str, expected: object) -> None:
    assert getattr(decode(build(**{field: b"good\0.evil"})), name) == expected


# --- what is not a session -------------------------------------------------------------------------------------------


def refused(encoded: bytes) -> str:
    with pytest.raises(SessionFormatError) as caught:
        der.decode(encoded, lambda: 0.0)
    return str(caught.value)


@pytest.mark.parametrize("name", vectors.NAMES)
def test_a_vector_cut_anywhere_is_refused(name: str) -> None:
    encoded = vectors.der(name)
    for length in range(len(encoded)):
        refused(encoded[:length])


@pytest.mark.parametrize("name", vectors.NAMES)
def test_a_vector_with_any_byte_changed_is_refused_or_another_session(name: str) -> None:
    encoded = vectors.der(name)
    for at, byte in enumerate(encoded):
        for change in (0x01, 0x02, 0x20, 0x80, 0xFF, byte):
            mutated = encoded[:at] + bytes((byte ^ change,)) + encoded[at + 1 :]
            try:
                data, secret, consumed = der.decode(mutated, lambda: 0.0)
            except SessionFormatError:
                continue
            again = der.encode(data, secret)
            assert der.decode(again, lambda: 0.0) == (data, secret, len(again))
            assert consumed <= len(mutated)


@pytest.mark.parametrize("name", vectors.NAMES)
def test_a_vector_with_a_byte_more_or_less_inside_is_refused_or_another_session(name: str) -> None:
    encoded = vectors.der(name)
    for at in range(len(encoded)):
        for mutated in (encoded[:at] + encoded[at + 1 :], encoded[:at] + b"\0" + encoded[at:]):
            try:
                data, secret, _ = der.decode(mutated, lambda: 0.0)
            except SessionFormatError:
                continue
            assert der.decode(der.encode(data, secret), lambda: 0.0)[:2] == (data, secret)


HEAD = bytes.fromhex("020101 02020303 0402c02f 0400 0400")


def sequence(*fields: str | bytes, head: bytes = HEAD) -> bytes:
    body = head + b"".join(bytes.fromhex(field) if isinstance(field, str) else field for field in fields)
    return der._header(0x30, len(body)) + body


def test_the_head_of_these_tests_is_a_session() -> None:
    assert decode(sequence()) == PLAIN
    assert decode(sequence("a4020400", "b303020100")) == PLAIN


BAD: dict[str, bytes] = {
    "empty": b"",
    "a SET": b"\x31" + sequence()[1:],
    "nothing in it": b"\x30\x00",
    "indefinite length": b"\x30\x80" + HEAD + b"\0\0",
    "long form for a short length": b"\x30\x81" + sequence()[1:],
    "two bytes for a one byte length": b"\x30\x82\x00\x90" + sequence("aa820081 0482007d" + "00" * 125)[3:],
    "a leading zero in three bytes": b"\x30\x83\x00\x01\x00" + bytes(256),
    "a length of five bytes": b"\x30\x85\x00\x00\x00\x00\x10" + HEAD,
    "a length of 127 bytes": b"\x30\xff" + HEAD,
    "structure version 0": sequence(head=bytes.fromhex("020100") + HEAD[3:]),
    "structure version 2": sequence(head=bytes.fromhex("020102") + HEAD[3:]),
    "structure version 257": sequence(head=bytes.fromhex("02020101") + HEAD[3:]),
    "structure version not minimal": sequence(head=bytes.fromhex("02020001") + HEAD[3:]),
    "no structure version": sequence(head=HEAD[3:]),
    "protocol version 0": sequence(head=bytes.fromhex("020101 020100") + HEAD[7:]),
    "protocol version 2": sequence(head=bytes.fromhex("020101 02020002") + HEAD[7:]),
    "protocol version 0x0200": sequence(head=bytes.fromhex("020101 02020200") + HEAD[7:]),
    "protocol version 0x0101": sequence(head=bytes.fromhex("020101 02020101") + HEAD[7:]),
    "protocol version negative": sequence(head=bytes.fromhex("020101 0202fefd") + HEAD[7:]),
    "protocol version not minimal": sequence(head=bytes.fromhex("020101 0203000303") + HEAD[7:]),
    "protocol version of four bytes": sequence(head=bytes.fromhex("020101 020400000303") + HEAD[7:]),
    "protocol version too large": sequence(head=bytes.fromhex("020101 0203030303") + HEAD[7:]),
    "suite of three bytes": sequence(head=HEAD[:7] + bytes.fromhex("0403020080 0400 0400")),
    "suite of one byte": sequence(head=HEAD[:7] + bytes.fromhex("0401c0 0400 0400")),
    "suite zero": sequence(head=HEAD[:7] + bytes.fromhex("04020000 0400 0400")),
    "suite is an INTEGER": sequence(head=HEAD[:7] + bytes.fromhex("0202402f 0400 0400")),
    "id of 33 bytes": sequence(head=HEAD[:11] + b"\x04\x21" + bytes(33) + b"\x04\x00"),
    "id in long form": sequence(head=HEAD[:11] + bytes.fromhex("04810161 0400")),
    "id is something else": sequence(head=HEAD[:11] + bytes.fromhex("0c00 0400")),
    "secret of 513 bytes": sequence(head=HEAD[:13] + bytes.fromhex("04820201") + bytes(513)),
    "secret is something else": sequence(head=HEAD[:13] + bytes.fromhex("0c00")),
    "no secret": sequence(head=HEAD[:13]),
    "secret past the end": sequence(head=HEAD[:13] + bytes.fromhex("0405 00")),
    "key_arg past the end": sequence("800500"),
    "key_arg constructed": sequence("a0020400"),
    "key_arg after another field": sequence("a4020400", "8000"),
    "an unknown field at the end": sequence("b5020400"),
    "an unknown field of another class": sequence("0400"),
    "an unknown high tag": sequence("bf1f020400"),
    "fields out of order": sequence("a503020101", "a4020400"),
    "a field twice": sequence("a4020400", "a4020400"),
    "a field without content": sequence("a400"),
    "a field with half a header": sequence("a40104"),
    "a field that does not fill its tag": sequence("a403040000"),
    "a field that passes its tag": sequence("a4020401"),
    "two values in one tag": sequence("a40404000400"),
    "the wrong type in a tag": sequence("a4020200"),
    "a constructed string": sequence("a40424020400"),
    "a string where a number belongs": sequence("a103040100"),
    "a primitive tag": sequence("84020400"),
    "a field past the end": sequence("a4060400"),
    "an inner length not minimal": sequence("a6058103040161"),
    "an inner long form for a short string": sequence("a604048101 61"),
    "an empty number": sequence("a1020200"),
    "an empty number with more after the session": sequence("a1020200") + b"\x05",
    "a number not minimal": sequence("a10402020001"),
    "a negative number": sequence("a1030201ff"),
    "the first negative number": sequence("a103020180"),
    "a time of 64 bits and a sign": sequence("a10b0209008000000000000000"),
    "a time of ten bytes": sequence("a10c020a00800000000000000000"),
    "a timeout of 64 bits and a sign": sequence("a20b0209008000000000000000"),
    "a verify result of 32 bits": sequence("a50702050080000000"),
    "a lifetime hint of 33 bits": sequence("a90702050100000000"),
    "flags of 33 bits": sequence("ad0702050100000000"),
    "an age_add of 33 bits": sequence("ae0702050100000000"),
    "early data of 33 bits": sequence("af0702050100000000"),
    "a fragment mode of 9 bits": sequence("b10402020100"),
    "a group of 33 bits": sequence("b30702050100000000"),
    "a huge number": sequence("a1821004 02821000", b"\x7f" * 4096),
    "an id context of 33 bytes": sequence("a423 0421", bytes(33)),
    "no compression method": sequence("ab020400"),
    "two compression methods": sequence("ab0404020000"),
    "a certificate that is a string": sequence("a3020400"),
    "a certificate that is empty": sequence("a3023000"),
    "a certificate that is cut": sequence("a30530040102 03"),
    "a certificate with more after it": sequence("a306300101 020100"),
    "a certificate with a bad length": sequence("a306308300000100"),
    "a certificate in indefinite form": sequence("a306 3080 0500 0000"),
    "a public key that is a string": sequence("b4040402 0400"),
    "a public key that is empty": sequence("b4040402 3000"),
    "a public key that is cut": sequence("b4050403 300501"),
    "a public key with half a length": sequence("b4050403 308201"),
    "a public key with a bad length": sequence("b4070405 3081017f00"),
}


@pytest.mark.parametrize("name", BAD)
def test_it_is_not_a_session(name: str) -> None:
    refused(BAD[name])


def test_reasons_name_the_place_and_no_content() -> None:
    assert refused(sequence("a4020400", "a4020400")) == (
        "not a session: a field that is unknown or out of order (at byte 21)"
    )
    assert refused(vectors.der("tls12-psk")[:-1]) == "not a session: the SEQUENCE is cut short (at byte 0)"


def test_a_length_that_promises_gigabytes_costs_nothing() -> None:
    begin = time.process_time()
    for header in ("3084ffffffff", "3083ffffff", "3084ffffffff 020101 02020303 0402c02f 0400 0484ffffffff"):
        for _ in range(100):
            refused(bytes.fromhex(header))
    assert time.process_time() - begin < 1.0


def test_a_million_nested_sequences_are_one_opaque_certificate() -> None:
    nested = b"\x30\x80" * 500_000
    certificate = der._header(0x30, len(nested)) + nested
    encoded = der.encode(PLAIN.replaced(peer_certificate=certificate), b"")
    assert decode(encoded).peer_certificate == certificate


def test_what_follows_is_left_alone() -> None:
    encoded = vectors.der("tls12-psk")
    for tail in (b"\0", b"\xa4\x02\x04\x00", encoded):
        data, secret, consumed = der.decode(encoded + tail, no_clock)
        assert consumed == len(encoded)
        assert der.encode(data, secret) == encoded


def test_a_field_may_not_reach_into_what_follows() -> None:
    encoded = sequence("a40404020000")
    cut = b"\x30" + bytes((encoded[1] - 1,)) + encoded[2:]
    refused(cut)
    refused(b"\x30" + bytes((len(HEAD) - 1,)) + HEAD + bytes(40))


def test_any_bytes_like_object_is_read() -> None:
    encoded = vectors.der("tls12-psk")
    for given_as in (bytearray(encoded), memoryview(encoded), memoryview(bytes(2) + encoded)[2:]):
        assert der.decode(given_as, no_clock) == der.decode(encoded, no_clock)


# --- what cannot be written ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 0},
        {"version": 0x0200},
        {"version": -1},
        {"version": 0x10303},
        {"cipher": 0},
        {"cipher": 0x10000},
        {"cipher": -1},
        {"session_id": bytes(33)},
        {"session_id": "text"},
        {"id_context": bytes(33)},
        {"time": -1},
        {"time": 2**63},
        {"time": float("nan")},
        {"time": float("inf")},
        {"timeout": -1},
        {"timeout": 2**63},
        {"timeout": 1.5},
        {"peer_certificate": b""},
        {"peer_certificate": b"certificate"},
        {"peer_certificate": b"\x30\x01"},
        {"peer_certificate": b"\x30\x82\x01"},
        {"peer_public_key": b"key"},
        {"verify_result": 2**31},
        {"verify_result": -1},
        {"hostname": "\ud800"},
        {"hostname": b"bytes"},
        {"psk_identity": "text"},
        {"ticket_lifetime_hint": 2**32},
        {"compression": 256},
        {"flags": 2**32},
        {"ticket_age_add": 2**32},
        {"max_early_data": 2**32},
        {"max_fragment_mode": 256},
        {"group": 2**32},
    ],
    ids=shorten,
)
def test_what_the_format_cannot_hold_is_not_written(changes: dict[str, Any]) -> None:
    with pytest.raises(SessionError):
        der.encode(PLAIN.replaced(**changes), SECRET)


def test_a_secret_that_is_too_long_is_not_written() -> None:
    with pytest.raises(SessionError, match="512"):
        der.encode(PLAIN, bytes(513))


# --- any session, any bytes ------------------------------------------------------------------------------------------

strings = st.binary(max_size=300)
c_strings = strings.map(lambda content: content.replace(b"\0", b"."))
uint32 = st.integers(0, 2**32 - 1)
sequences = st.binary(min_size=1, max_size=300).map(lambda content: der._header(0x30, len(content)) + content)
sessions = st.builds(
    SessionData,
    version=st.sampled_from([0x0300, 0x0303, 0x0304, 0xFEFD, 0x0100]),
    cipher=st.integers(1, 0xFFFF),
    session_id=st.binary(max_size=32),
    id_context=st.binary(max_size=32),
    time=st.integers(1, 2**63 - 1),
    timeout=st.integers(1, 2**63 - 1),
    peer_certificate=st.none() | sequences,
    verify_result=st.integers(0, 2**31 - 1),
    hostname=st.none() | c_strings.map(lambda content: content.decode("utf-8", "surrogateescape")),
    psk_identity_hint=st.none() | c_strings,
    psk_identity=st.none() | c_strings,
    ticket_lifetime_hint=uint32,
    ticket=st.binary(max_size=2000),
    compression=st.integers(0, 255),
    srp_username=st.none() | c_strings,
    flags=uint32,
    ticket_age_add=uint32,
    max_early_data=uint32,
    alpn=st.none() | strings,
    max_fragment_mode=st.integers(0, 255),
    ticket_appdata=strings,
    group=uint32,
    peer_public_key=st.none() | sequences,
)


@given(data=sessions, secret=st.binary(max_size=512), tail=st.binary(max_size=4))
@settings(max_examples=200, deadline=None)
def test_what_is_written_is_read_back(data: SessionData, secret: bytes, tail: bytes) -> None:
    encoded = der.encode(data, secret)
    assert der.decode(encoded + tail, no_clock) == (data, secret, len(encoded))
    assert der.from_pem(der.to_pem(encoded)) == encoded


@given(junk=st.binary(max_size=200))
@example(junk=b"\x30\x80\x00\x00")
@settings(max_examples=200, deadline=None)
def test_junk_raises_one_error_only(junk: bytes) -> None:
    for encoded in (junk, sequence(junk), HEAD + junk):
        try:
            der.decode(encoded, lambda: 0.0)
        except SessionFormatError:
            continue


# --- PEM -------------------------------------------------------------------------------------------------------------

PEM = vectors.pem("tls12-psk")
DER = vectors.der("tls12-psk")


@pytest.mark.parametrize(
    "text",
    [
        PEM,
        PEM.encode(),
        PEM.rstrip(),
        PEM.replace("\n", "\r\n"),
        PEM.replace("\n", "  \t\n"),
        "SSL-Session:\n    Protocol  : TLSv1.3\n" + PEM + "read:errno=0\n",
        "Gr\u00fc\u00dfe, \ud800\n" + PEM,
        b"\xff\xfe\n" + PEM.encode(),
        PEM.replace("SSL SESSION PARAMETERS", "CERTIFICATE") + PEM,
        PEM + PEM.replace("M", "N"),
        " -----BEGIN SSL SESSION PARAMETERS-----\n" + PEM,
    ],
)
def test_the_first_session_block_of_a_text_is_found(text: str | bytes) -> None:
    assert der.from_pem(text) == DER


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-----BEGIN SSL SESSION PARAMETERS-----",
        PEM.partition("-----END")[0],
        PEM.replace("-----END SSL SESSION PARAMETERS-----", "-----END CERTIFICATE-----"),
        PEM.replace("SSL SESSION PARAMETERS", "CERTIFICATE"),
        PEM.replace("-----BEGIN", "----BEGIN"),
        PEM.replace("-----\n", "-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n", 1),
        PEM.replace("M", "*"),
        PEM.replace("M", "\u00e9"),
        PEM[:60] + "=" + PEM[60:],
        PEM.replace("\n-----END", "A\n-----END"),
        " " + PEM,
    ],
)
def test_a_damaged_block_is_refused(text: str) -> None:
    with pytest.raises(SessionFormatError):
        der.from_pem(text)


def test_the_reason_says_which_line_is_missing() -> None:
    with pytest.raises(SessionFormatError, match="BEGIN"):
        der.from_pem("")
    with pytest.raises(SessionFormatError, match="END"):
        der.from_pem(PEM.partition("-----END")[0])


def test_an_empty_block_is_no_session() -> None:
    empty = "-----BEGIN SSL SESSION PARAMETERS-----\n-----END SSL SESSION PARAMETERS-----\n"
    refused(der.from_pem(empty))


@pytest.mark.parametrize("length", [0, 1, 47, 48, 49, 96])
def test_lines_have_64_columns(length: int) -> None:
    lines = der.to_pem(bytes(length)).splitlines()
    assert lines[0] == f"-----BEGIN {der.PEM_LABEL}-----"
    assert lines[-1] == f"-----END {der.PEM_LABEL}-----"
    assert all(len(line) == 64 for line in lines[1:-2])
    assert all(0 < len(line) <= 64 for line in lines[1:-1])
