"""The packed form: every fact there and back, one form per session, and nothing accepted that was not written."""

from __future__ import annotations

import dataclasses
import math
import struct
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from resumption.errors import SessionError, SessionFormatError
from resumption.session.facts import SessionData
from resumption.session.formats import der
from resumption.session.formats.packed import pack, unpack
from tests.session import vectors

SECRET = bytes(range(1, 49))
LEAF, ISSUER = b"leaf certificate", b"issuer's certificate"
FULL = SessionData(
    version=0x0304,
    cipher=0x1302,
    session_id=b"i" * 32,
    id_context=b"c" * 32,
    time=1.7e9 + 0.25,
    timeout=86_400,
    peer_certificate=LEAF,
    peer_chain=(LEAF, ISSUER),
    verify_result=18,
    hostname="shop.example",
    psk_identity_hint=b"hint",
    psk_identity=b"identity",
    ticket_lifetime_hint=7200,
    ticket=b"ticket",
    compression=1,
    srp_username=b"user",
    flags=1,
    ticket_age_add=2**32 - 1,
    max_early_data=16_384,
    alpn=b"h2",
    max_fragment_mode=3,
    ticket_appdata=b"mine",
    group=29,
    peer_public_key=b"key",
    role="server",
    partition=b"p" * 32,
    policy_epoch=2**40,
    auth_time=1.6e9,
    deadline=1.8e9,
    verified_name="shop.example",
    replay_domain=b"eu",
)

text = st.text(max_size=20)
sessions = st.builds(
    SessionData,
    version=st.integers(0, 0xFFFF),
    cipher=st.integers(0, 0xFFFF),
    session_id=st.binary(max_size=32),
    id_context=st.binary(max_size=32),
    time=st.floats(0, 2**62),
    timeout=st.integers(0, 2**63 - 1),
    peer_certificate=st.none() | st.sampled_from([b"", LEAF, ISSUER]),
    peer_chain=st.lists(st.sampled_from([b"", LEAF, ISSUER]), max_size=3).map(tuple),
    verify_result=st.integers(0, 2**31 - 1),
    hostname=st.none() | text,
    psk_identity_hint=st.none() | st.binary(max_size=5),
    psk_identity=st.none() | st.binary(max_size=5),
    ticket_lifetime_hint=st.integers(0, 2**32 - 1),
    ticket=st.binary(max_size=300),
    compression=st.integers(0, 255),
    srp_username=st.none() | st.binary(max_size=5),
    flags=st.integers(0, 2**32 - 1),
    ticket_age_add=st.integers(0, 2**32 - 1),
    max_early_data=st.integers(0, 2**32 - 1),
    alpn=st.none() | st.binary(max_size=5),
    max_fragment_mode=st.integers(0, 255),
    ticket_appdata=st.binary(max_size=5),
    group=st.integers(0, 2**32 - 1),
    peer_public_key=st.none() | st.binary(max_size=5),
    role=st.sampled_from(["", "client", "server"]),
    partition=st.binary(max_size=32),
    policy_epoch=st.integers(0, 2**64 - 1),
    auth_time=st.floats(0),
    deadline=st.floats(0),
    verified_name=st.none() | text,
    replay_domain=st.binary(max_size=5),
)


@given(data=sessions, secret=st.binary(max_size=512), not_resumable=st.booleans())
@example(data=FULL, secret=SECRET, not_resumable=True)
@example(data=SessionData(), secret=b"", not_resumable=False)
@example(data=SessionData(session_id=bytes(32), id_context=bytes(32)), secret=bytes(512), not_resumable=False)
@settings(max_examples=200, deadline=None)
def test_every_session_comes_back_as_it_was(data: SessionData, secret: bytes, not_resumable: bool) -> None:
    packed = pack(data, secret, not_resumable=not_resumable)
    assert unpack(packed) == (data, secret, not_resumable)
    assert pack(*unpack(packed)[:2], not_resumable=not_resumable) == packed


@pytest.mark.parametrize("name", vectors.NAMES)
def test_openssls_sessions_survive(name: str) -> None:
    data, secret, _ = der.decode(vectors.der(name), lambda: 0.0)
    assert unpack(pack(data, secret)) == (data, secret, False)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(SessionData)])
def test_no_fact_is_forgotten(field: str) -> None:
    """The full session differs from an empty one in each fact, and each makes a different packed form."""
    default = getattr(SessionData(), field)
    assert getattr(FULL, field) != default
    without = FULL.replaced(**{field: default})
    assert pack(without, SECRET) != pack(FULL, SECRET)
    assert unpack(pack(without, SECRET))[0] == without


def test_a_small_session_is_small() -> None:
    small = SessionData(version=0x0304, cipher=0x1301, session_id=b"i" * 32, time=1.7e9)
    assert len(pack(small, b"s" * 32)) <= 160


def test_the_leaf_is_not_written_twice() -> None:
    assert pack(FULL, SECRET).count(LEAF) == 1
    other = FULL.replaced(peer_certificate=ISSUER)
    assert pack(other, SECRET).count(ISSUER) == 2
    assert unpack(pack(other, SECRET))[0] == other
    data, _, _ = unpack(pack(FULL, SECRET))
    assert data.peer_certificate is data.peer_chain[0]


def test_whole_seconds_may_be_given_as_whole_numbers() -> None:
    assert unpack(pack(SessionData(time=5), b""))[0] == SessionData(time=5.0)


# --- what cannot be packed -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"session_id": bytes(33)},
        {"id_context": bytes(33)},
        {"version": 0x10000},
        {"version": -1},
        {"cipher": 0x10000},
        {"time": -1.0},
        {"time": math.nan},
        {"time": math.inf},
        {"time": 2.0**63},
        {"time": 2**62 + 1},
        {"time": "now"},
        {"auth_time": -1.0},
        {"auth_time": math.nan},
        {"deadline": -1.0},
        {"deadline": math.nan},
        {"timeout": -1},
        {"timeout": 2**64},
        {"timeout": 1.5},
        {"policy_epoch": 2**64},
        {"role": "both"},
        {"hostname": "\ud800"},
        {"hostname": b"bytes"},
        {"alpn": b"a" * 65536},
        {"ticket": b"t" * 65536},
        {"peer_certificate": b"c" * 2**24},
        {"peer_chain": (b"",) * 256},
        {"peer_chain": (None,)},
        {"group": 2**32},
    ],
    ids=lambda changes: repr(changes)[:30],
)
def test_what_does_not_fit_is_not_packed(changes: dict[str, Any]) -> None:
    with pytest.raises(SessionError):
        pack(SessionData(**changes), SECRET)


def test_a_secret_that_is_too_long_is_not_packed() -> None:
    with pytest.raises(SessionError, match="512"):
        pack(FULL, bytes(513))


@pytest.mark.parametrize(
    ("field", "longest"), [("alpn", 65535), ("ticket", 65535), ("peer_certificate", 2**24 - 1), ("hostname", 65535)]
)
def test_the_longest_that_fits_is_packed(field: str, longest: int) -> None:
    value: Any = "h" * longest if field == "hostname" else b"b" * longest
    data = SessionData(**{field: value})
    assert unpack(pack(data, b""))[0] == data


# --- what is not a packed session ------------------------------------------------------------------------------------

PACKED = pack(FULL, SECRET, not_resumable=True)
STATE, PRESENT, TIME, AUTH_TIME, DEADLINE, ID_LENGTH, CONTEXT_LENGTH, SECRET_LENGTH = 1, 2, 8, 24, 32, 74, 75, 76
SIZE = 78


def refused(packed: bytes) -> None:
    with pytest.raises(SessionFormatError):
        unpack(packed)


def patched(at: int, new: bytes, packed: bytes = PACKED) -> bytes:
    return packed[:at] + new + packed[at + len(new) :]


def test_the_offsets_of_these_tests_are_right() -> None:
    assert PACKED[SIZE : SIZE + 32] == FULL.session_id
    assert PACKED[ID_LENGTH] == PACKED[CONTEXT_LENGTH] == 32
    assert PACKED[SECRET_LENGTH : SECRET_LENGTH + 2] == b"\0\x30"
    assert struct.unpack_from(">d", PACKED, TIME)[0] == FULL.time
    assert struct.unpack_from(">d", PACKED, AUTH_TIME)[0] == FULL.auth_time
    assert struct.unpack_from(">d", PACKED, DEADLINE)[0] == FULL.deadline


def test_one_cut_anywhere_is_refused() -> None:
    for packed in (PACKED, pack(SessionData(session_id=b"i"), b"s"), pack(FULL.replaced(peer_chain=()), b"")):
        for length in range(len(packed)):
            refused(packed[:length])


def test_one_with_more_after_it_is_refused() -> None:
    refused(PACKED + b"\0")
    refused(pack(SessionData(), b"") + b"\0")


@pytest.mark.parametrize("change", [1, 2, 4, 8, 16, 32, 64, 128, 255])
def test_one_with_any_byte_changed_is_refused_or_another_session_in_its_one_form(change: int) -> None:
    for packed in (PACKED, pack(FULL.replaced(peer_certificate=ISSUER), SECRET), pack(SessionData(), b"")):
        for at, byte in enumerate(packed):
            mutated = patched(at, bytes((byte ^ change,)), packed)
            try:
                data, secret, not_resumable = unpack(mutated)
            except SessionFormatError:
                continue
            assert pack(data, secret, not_resumable=not_resumable) == mutated


@pytest.mark.parametrize("version", [0, 2, 255])
def test_another_version_is_refused(version: int) -> None:
    refused(bytes((version,)) + PACKED[1:])


BARE = pack(SessionData(), b"")


@pytest.mark.parametrize(
    "packed",
    [
        patched(STATE, b"\x10", BARE),
        patched(STATE, b"\x80", BARE),
        patched(STATE, b"\x03", BARE),
        patched(STATE, b"\x08", BARE),
        patched(PRESENT, b"\x20", BARE),
        patched(PRESENT, b"\x80", BARE),
        patched(ID_LENGTH, b"\x21", BARE) + bytes(33),
        patched(CONTEXT_LENGTH, b"\x21", BARE) + bytes(33),
        patched(SECRET_LENGTH, b"\x02\x01", BARE) + bytes(513),
        *(
            patched(at, struct.pack(">d", value), BARE)
            for at in (TIME, AUTH_TIME, DEADLINE)
            for value in (-1.0, math.nan, -math.inf)
        ),
        patched(TIME, struct.pack(">d", 2.0**63), BARE),
        patched(TIME, struct.pack(">d", math.inf), BARE),
        patched(PRESENT, struct.pack(">H", 8), BARE) + b"\0\0",  # a ticket that is empty
        patched(PRESENT, struct.pack(">H", 64), BARE) + b"\0\0",  # appdata
        patched(PRESENT, struct.pack(">H", 256), BARE) + b"\0\0",  # partition
        patched(PRESENT, struct.pack(">H", 1024), BARE) + b"\0\0",  # replay domain
        patched(PRESENT, struct.pack(">H", 4096), BARE) + b"\0",  # a chain of none
        patched(PRESENT, struct.pack(">H", 4096), BARE),  # no chain at all
        patched(PRESENT, struct.pack(">H", 1), BARE) + b"\0",  # half a length
        patched(PRESENT, struct.pack(">H", 1), BARE) + b"\0\x02a",
        patched(PRESENT, struct.pack(">H", 2048), BARE) + b"\0\0",
        patched(PRESENT, struct.pack(">H", 2048), BARE) + b"\xff\xff\xffabc",
        patched(PRESENT, struct.pack(">H", 2048 + 4096), BARE) + b"\0\0\x01a\x01\0\0\x01a",  # the leaf twice
        patched(STATE, b"\x08" + struct.pack(">H", 2048 + 4096), BARE) + b"\0\0\x01a\x01\0\0\x01b",
        patched(STATE, b"\x08" + struct.pack(">H", 2048), BARE) + b"\0\0\x01a",
    ],
)
def test_it_is_not_a_packed_session(packed: bytes) -> None:
    refused(packed)


@given(junk=st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_junk_raises_one_error_only(junk: bytes) -> None:
    for packed in (junk, b"\x01" + junk, BARE[:PRESENT] + junk, PACKED[:SIZE] + junk):
        try:
            unpack(packed)
        except SessionFormatError:
            continue


def test_a_length_that_promises_megabytes_costs_nothing() -> None:
    chain = patched(PRESENT, struct.pack(">H", 4096), BARE) + b"\xff" + b"\xff\xff\xff"
    for _ in range(1000):
        refused(chain)


def test_any_bytes_like_object_is_read() -> None:
    for given_as in (bytearray(PACKED), memoryview(PACKED), memoryview(b"--" + PACKED)[2:]):
        data, secret, _ = unpack(given_as)
        assert (data, secret) == (FULL, SECRET)
        assert type(secret) is bytes
        assert type(data.session_id) is bytes
