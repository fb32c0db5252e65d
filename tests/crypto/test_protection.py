"""Record protection: equal to the plain formulas, back and forth, and nothing altered passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resumption.constants import ContentType
from resumption.crypto.protection import (
    KeyWorn,
    PlainOpener,
    PlainSealer,
    RecordOpener,
    RecordOpener12,
    RecordOpener13,
    RecordSealer,
    RecordSealer12,
    RecordSealer13,
)
from resumption.crypto.schedule13 import expand_label, traffic_keys
from resumption.crypto.suites import SEQUENCE_LIMIT, SUITES, SuiteFacts
from resumption.errors import BadRecordMac, InternalError, RecordOverflow, UnexpectedMessage, UsageError

CCS, ALERT, HANDSHAKE, DATA = (int(value) for value in ContentType)
FULL = 2**14
SUITES13 = [facts for facts in SUITES.values() if facts.version == 0x0304]
SUITES12 = [facts for facts in SUITES.values() if facts.version == 0x0303]

Pair = tuple[RecordSealer, RecordOpener]


def pair13(suite: SuiteFacts = SUITES13[0]) -> tuple[RecordSealer13, RecordOpener13]:
    secret = bytes(range(suite.hash.digest_size))
    return RecordSealer13(suite, secret), RecordOpener13(suite, secret)


def pair12(suite: SuiteFacts = SUITES12[0]) -> tuple[RecordSealer12, RecordOpener12]:
    key, iv = bytes(range(suite.key_length)), bytes(range(100, 100 + suite.iv_length))
    return RecordSealer12(suite, key, iv), RecordOpener12(suite, key, iv)


def pair_of(suite: SuiteFacts) -> Pair:
    return pair13(suite) if suite.version == 0x0304 else pair12(suite)


every_suite = pytest.mark.parametrize("suite", SUITES.values(), ids=lambda suite: suite.name)
every_suite13 = pytest.mark.parametrize("suite", SUITES13, ids=lambda suite: suite.name)
every_suite12 = pytest.mark.parametrize("suite", SUITES12, ids=lambda suite: suite.name)
gcm_and_chacha12 = pytest.mark.parametrize("suite", [SUITES[0xC02F], SUITES[0xCCA8]], ids=lambda suite: suite.name)


def cut(record: bytes) -> tuple[bytes, bytes]:
    return record[:5], record[5:]


def split(stream: bytes) -> list[tuple[bytes, bytes]]:
    records = []
    while stream:
        end = 5 + int.from_bytes(stream[3:5], "big")
        records.append(cut(stream[:end]))
        stream = stream[end:]
    return records


def far_on(sealer: Any, opener: Any, sequence: int) -> None:
    """Both have so many records behind them, and the peer was asked for an update long ago."""
    sealer._sequence = opener._sequence = sequence
    if isinstance(opener, RecordOpener13):
        opener._stop = SEQUENCE_LIMIT


# --- the plain formulas, as the RFCs write them ----------------------------------------------------------------------


def plain_seal13(suite: SuiteFacts, secret: bytes, sequence: int, inner: bytes) -> bytes:
    """RFC 9846, sections 5.2 and 5.3."""
    key, iv = traffic_keys(suite, secret)
    nonce = bytes(one ^ other for one, other in zip(iv, bytes(4) + sequence.to_bytes(8, "big"), strict=True))
    header = b"\x17\x03\x03" + (len(inner) + suite.tag_length).to_bytes(2, "big")
    return header + suite.aead(key).encrypt(nonce, inner, header)


def plain_seal12(suite: SuiteFacts, key: bytes, iv: bytes, sequence: int, content_type: int, data: bytes) -> bytes:
    """RFC 5246, section 6.2.3.3, with RFC 5288, section 3, or RFC 7905, section 2."""
    number = sequence.to_bytes(8, "big")
    if len(iv) == 4:
        nonce, explicit = iv + number, number
    else:
        nonce, explicit = bytes(a ^ b for a, b in zip(iv, bytes(4) + number, strict=True)), b""
    kind = bytes((content_type,)) + b"\x03\x03"
    sealed = explicit + suite.aead(key).encrypt(nonce, data, number + kind + len(data).to_bytes(2, "big"))
    return kind + len(sealed).to_bytes(2, "big") + sealed


LENGTHS = [0, 1, 2, 15, 16, 17, 100, 1023, 1024, 1025, 1026, 4096, FULL - 1, FULL]


@pytest.mark.proves("9846:5.3:1")
@every_suite13
def test_13_seals_as_the_formula(suite: SuiteFacts) -> None:
    sealer, opener = pair13(suite)
    for sequence, length in enumerate(LENGTHS):
        data = bytes(value & 0xFF for value in range(1, length + 1))
        record = sealer.seal(DATA, data)
        assert record == plain_seal13(suite, sealer.secret, sequence, data + b"\x17")
        assert opener.open(*cut(record)) == (DATA, data)


@pytest.mark.proves("5246:6.1:2", "5246:6.1:3", "5246:6.1:1")
@every_suite12
def test_12_seals_as_the_formula(suite: SuiteFacts) -> None:
    key, iv = bytes(range(suite.key_length)), bytes(range(100, 100 + suite.iv_length))
    sealer, opener = pair12(suite)
    for sequence, length in enumerate(LENGTHS):
        data = bytes(value & 0xFF for value in range(1, length + 1))
        record = sealer.seal(DATA, data)
        assert record == plain_seal12(suite, key, iv, sequence, DATA, data)
        assert opener.open(*cut(record)) == (DATA, data)


@every_suite
@settings(max_examples=40, deadline=None)
@given(
    records=st.lists(st.tuples(st.sampled_from([ALERT, HANDSHAKE, DATA]), st.binary(min_size=1, max_size=3000))),
    start=st.sampled_from([0, 1, 255, 2**16, 2**23 - 9]),
)
def test_what_is_sealed_opens(suite: SuiteFacts, records: list[tuple[int, bytes]], start: int) -> None:
    sealer, opener = pair_of(suite)
    far_on(sealer, opener, start)
    for content_type, data in records[:8]:
        assert opener.open(*cut(sealer.seal(content_type, data))) == (content_type, data)


@every_suite
def test_any_bytes_like_data_gives_the_same_record(suite: SuiteFacts) -> None:
    data = b"some content" * 100
    records = {pair_of(suite)[0].seal(DATA, kind(data)) for kind in (bytes, bytearray, memoryview)}
    assert len(records) == 1
    (record,) = records
    header, body = cut(record)
    for kind in (bytes, bytearray, memoryview):
        assert pair_of(suite)[1].open(kind(header), kind(body)) == (DATA, data)
    assert all(type(part) is bytes for part in (record, pair_of(suite)[1].open(header, memoryview(body))[1]))


@every_suite
def test_records_open_only_in_order_and_once(suite: SuiteFacts) -> None:
    sealer, opener = pair_of(suite)
    first, second = sealer.seal(DATA, b"one"), sealer.seal(DATA, b"two")
    if suite.iv_length == 12:  # with an explicit nonce the sequence is in the associated data alone
        assert first[:5] == second[:5]
    with pytest.raises(BadRecordMac):
        opener.open(*cut(second))
    assert opener.open(*cut(first)) == (DATA, b"one")
    with pytest.raises(BadRecordMac):
        opener.open(*cut(first))
    assert opener.open(*cut(second)) == (DATA, b"two")


@every_suite
def test_every_altered_byte_is_noticed_and_nothing_advances(suite: SuiteFacts) -> None:
    sealer, opener = pair_of(suite)
    record = sealer.seal(DATA, b"content that matters")
    for index in range(5, len(record)):
        altered = bytearray(record)
        altered[index] ^= 0x80
        with pytest.raises(BadRecordMac):
            opener.open(*cut(bytes(altered)))
    assert opener.open(*cut(record)) == (DATA, b"content that matters")


@every_suite
def test_every_altered_header_byte_is_noticed(suite: SuiteFacts) -> None:
    sealer, opener = pair_of(suite)
    record = sealer.seal(DATA, b"content that matters")
    # type; and in TLS 1.3 version and length, which are associated data there
    for index in range(5 if suite.version == 0x0304 else 1):
        altered = bytearray(record)
        altered[index] ^= 0x02
        with pytest.raises((BadRecordMac, UnexpectedMessage)):
            opener.open(*cut(bytes(altered)))
    assert opener.open(*cut(record))[1] == b"content that matters"


@every_suite
def test_a_shortened_or_lengthened_record_does_not_open(suite: SuiteFacts) -> None:
    sealer, opener = pair_of(suite)
    header, body = cut(sealer.seal(DATA, b"content"))
    for length in range(len(body)):
        with pytest.raises(BadRecordMac):
            opener.open(header[:3] + length.to_bytes(2, "big"), body[:length])
    with pytest.raises(BadRecordMac):
        opener.open(header[:3] + (len(body) + 1).to_bytes(2, "big"), body + b"\0")


@every_suite
def test_a_record_of_another_key_does_not_open(suite: SuiteFacts) -> None:
    sealer, _ = pair_of(suite)
    if suite.version == 0x0304:
        other: RecordOpener = RecordOpener13(suite, bytes(suite.hash.digest_size))
    else:
        other = RecordOpener12(suite, bytes(suite.key_length), bytes(suite.iv_length))
    with pytest.raises(BadRecordMac):
        other.open(*cut(sealer.seal(DATA, b"content")))


# --- TLS 1.3: inner plaintext ----------------------------------------------------------------------------------------


def seal_inner(sealer: RecordSealer13, inner: bytes) -> tuple[bytes, bytes]:
    """A record with any inner plaintext, also those that our sealer would not make."""
    record = plain_seal13(sealer.suite, sealer.secret, sealer._sequence, inner)
    sealer._sequence += 1
    return cut(record)


@pytest.mark.proves("9846:5.4:1")
@every_suite13
@pytest.mark.parametrize("padding", [0, 1, 2, 255, 1024, FULL - 7])
def test_padding_is_zeros_after_the_type_and_is_removed(suite: SuiteFacts, padding: int) -> None:
    for content_type in (ALERT, HANDSHAKE, DATA):
        sealer, opener = pair13(suite)
        record = sealer.seal(content_type, b"content", padding)
        inner = b"content" + bytes((content_type,)) + bytes(padding)
        assert record == plain_seal13(suite, sealer.secret, 0, inner)
        assert opener.open(*cut(record)) == (content_type, b"content")


def test_zeros_at_the_end_of_content_are_not_padding() -> None:
    sealer, opener = pair13()
    for padding in (0, 3):
        assert opener.open(*cut(sealer.seal(DATA, b"x\0\0\0", padding))) == (DATA, b"x\0\0\0")


def test_padding_alone_is_empty_application_data() -> None:
    sealer, opener = pair13()
    assert opener.open(*cut(sealer.seal(DATA, b"", 100))) == (DATA, b"")


@pytest.mark.proves("9846:5.4:3", "9846:5.4:4")
def test_a_record_without_a_content_type_is_unexpected() -> None:
    sealer, opener = pair13()
    for inner in (b"", b"\0", bytes(100), bytes(FULL + 1)):
        with pytest.raises(UnexpectedMessage, match="without a content type"):
            opener.open(*seal_inner(sealer, inner))


@pytest.mark.parametrize("content_type", [1, CCS, 24, 255])
def test_an_impossible_inner_type_is_unexpected(content_type: int) -> None:
    sealer, opener = pair13()
    with pytest.raises(UnexpectedMessage, match="protected record of type"):
        opener.open(*seal_inner(sealer, b"content" + bytes((content_type,))))


@pytest.mark.proves("9846:5.4:2")
@pytest.mark.parametrize("content_type", [ALERT, HANDSHAKE])
@pytest.mark.parametrize("padding", [0, 9])
def test_an_empty_alert_or_handshake_record_is_unexpected(content_type: int, padding: int) -> None:
    sealer, opener = pair13()
    with pytest.raises(UnexpectedMessage, match="an empty"):
        opener.open(*seal_inner(sealer, bytes((content_type,)) + bytes(padding)))


@pytest.mark.proves("9846:5.4:5")
def test_inner_plaintext_may_have_16385_bytes_and_no_more() -> None:
    sealer, opener = pair13()
    assert opener.open(*seal_inner(sealer, b"x" * FULL + b"\x17")) == (DATA, b"x" * FULL)
    assert opener.open(*seal_inner(sealer, b"x\x17" + bytes(FULL - 1))) == (DATA, b"x")
    for inner in (b"x" * (FULL + 1) + b"\x17", b"x\x17" + bytes(FULL), bytes(FULL + 2)):
        with pytest.raises(RecordOverflow, match="16386 bytes of inner plaintext"):
            opener.open(*seal_inner(sealer, inner))


def test_a_smaller_announced_limit_counts_type_and_padding() -> None:
    """RFC 8449, section 4."""
    sealer, opener = pair13()
    opener.inner_limit = 64
    assert opener.open(*cut(sealer.seal(DATA, b"x" * 63))) == (DATA, b"x" * 63)
    assert opener.open(*cut(sealer.seal(DATA, b"x" * 60, 3))) == (DATA, b"x" * 60)
    for data, padding in ((b"x" * 64, 0), (b"x" * 60, 4)):
        with pytest.raises(RecordOverflow, match="at most 64"):
            opener.open(*cut(sealer.seal(DATA, data, padding)))


@pytest.mark.proves("9846:5.2:1", "9846:5.2:2", "9846:5.2:5")
def test_a_protected_13_record_may_have_16640_bytes_and_no_more() -> None:
    _, opener = pair13()
    with pytest.raises(BadRecordMac):  # not too long, only wrong
        opener.open(b"\x17\x03\x03\x41\x00", bytes(FULL + 256))
    with pytest.raises(RecordOverflow, match="16641"):
        opener.open(b"\x17\x03\x03\x41\x01", bytes(FULL + 257))


@pytest.mark.parametrize("content_type", [CCS, ALERT, HANDSHAKE, 99])
def test_an_unprotected_record_under_13_keys_is_unexpected(content_type: int) -> None:
    sealer, opener = pair13()
    _, body = cut(sealer.seal(HANDSHAKE, b"content"))
    with pytest.raises(UnexpectedMessage, match="unprotected"):
        opener.open(bytes((content_type,)) + b"\x03\x03" + len(body).to_bytes(2, "big"), body)


# --- TLS 1.2 ---------------------------------------------------------------------------------------------------------


@pytest.mark.proves("5246:6.2.1:1")
@gcm_and_chacha12
def test_a_12_record_may_hold_2_to_the_14_bytes_and_no_more(suite: SuiteFacts) -> None:
    key, iv = bytes(range(suite.key_length)), bytes(range(100, 100 + suite.iv_length))
    _, opener = pair12(suite)
    assert opener.open(*cut(plain_seal12(suite, key, iv, 0, DATA, b"x" * FULL))) == (DATA, b"x" * FULL)
    with pytest.raises(RecordOverflow, match="16385 bytes of plaintext"):
        opener.open(*cut(plain_seal12(suite, key, iv, 1, DATA, b"x" * (FULL + 1))))
    with pytest.raises(BadRecordMac):
        opener.open(b"\x17\x03\x03\x48\x00", bytes(FULL + 2048))
    with pytest.raises(RecordOverflow, match="18433"):
        opener.open(b"\x17\x03\x03\x48\x01", bytes(FULL + 2049))


@gcm_and_chacha12
def test_a_smaller_fragment_limit_is_kept(suite: SuiteFacts) -> None:
    sealer, opener = pair12(suite)
    opener.inner_limit = 512
    assert opener.open(*cut(sealer.seal(DATA, b"x" * 512))) == (DATA, b"x" * 512)
    with pytest.raises(RecordOverflow, match="at most 512"):
        opener.open(*cut(sealer.seal(DATA, b"x" * 513)))


@gcm_and_chacha12
def test_only_application_data_may_be_empty_in_12(suite: SuiteFacts) -> None:
    for content_type in (CCS, ALERT, HANDSHAKE):
        sealer, opener = pair12(suite)
        with pytest.raises(UnexpectedMessage, match="an empty"):
            opener.open(*cut(sealer.seal(content_type, b"")))
    sealer, opener = pair12(suite)
    assert opener.open(*cut(sealer.seal(DATA, b""))) == (DATA, b"")


@gcm_and_chacha12
def test_a_12_record_of_another_version_does_not_authenticate(suite: SuiteFacts) -> None:
    key, iv = bytes(range(suite.key_length)), bytes(range(100, 100 + suite.iv_length))
    _, opener = pair12(suite)
    associated_data = bytes(8) + b"\x17\x03\x02\0\7"
    nonce = iv + bytes(8) if len(iv) == 4 else iv
    body = nonce[4:][: 12 - suite.iv_length] + suite.aead(key).encrypt(nonce, b"content", associated_data)
    with pytest.raises(BadRecordMac):
        opener.open(b"\x17\x03\x02" + len(body).to_bytes(2, "big"), body)


def test_an_explicit_nonce_need_not_be_the_sequence_number() -> None:
    """RFC 5288, section 3: the sender chooses it."""
    suite = SUITES[0xC02F]
    _, opener = pair12(suite)
    key, salt = bytes(range(16)), bytes(range(100, 104))
    sealed = suite.aead(key).encrypt(salt + b"anything", b"content", bytes(8) + b"\x17\x03\x03\0\7")
    body = b"anything" + sealed
    assert opener.open(b"\x17\x03\x03" + len(body).to_bytes(2, "big"), body) == (DATA, b"content")


# --- many records at once --------------------------------------------------------------------------------------------


@every_suite
@pytest.mark.parametrize("fragment_length", [FULL, 512, 1000])
@pytest.mark.parametrize("around", [-1, 0, 1, 700])
def test_many_records_are_those_that_one_by_one_would_be(suite: SuiteFacts, fragment_length: int, around: int) -> None:
    data = bytes(range(256)) * 200
    data = data[: 3 * fragment_length + around]
    one_by_one, at_once = pair_of(suite)[0], pair_of(suite)[0]
    expected = b"".join(
        one_by_one.seal(DATA, data[start : start + fragment_length]) for start in range(0, len(data), fragment_length)
    )
    for kind in (bytes, bytearray, memoryview):
        sealer = pair_of(suite)[0]
        assert sealer.seal_many(DATA, kind(data), fragment_length) == expected
    assert at_once.seal_many(DATA, data, fragment_length) + at_once.seal(DATA, b"more") == expected + one_by_one.seal(
        DATA, b"more"
    )
    opener = pair_of(suite)[1]
    assert b"".join(opener.open(header, body)[1] for header, body in split(expected)) == data


@every_suite
def test_little_data_is_one_record_and_none_is_no_record(suite: SuiteFacts) -> None:
    assert pair_of(suite)[0].seal_many(DATA, b"little") == pair_of(suite)[0].seal(DATA, b"little")
    sealer = pair_of(suite)[0]
    assert sealer.seal_many(DATA, b"") == b""
    assert sealer.seal(DATA, b"x") == pair_of(suite)[0].seal(DATA, b"x")


@every_suite
@pytest.mark.parametrize("fragment_length", [0, -1, FULL + 1])
def test_a_fragment_length_that_makes_no_sense_is_our_mistake(suite: SuiteFacts, fragment_length: int) -> None:
    with pytest.raises(UsageError):
        pair_of(suite)[0].seal_many(DATA, bytes(FULL * 2), fragment_length)


# --- what a sealer refuses -------------------------------------------------------------------------------------------


SEALERS: list[Callable[[], RecordSealer]] = [lambda: pair13()[0], lambda: pair12()[0], PlainSealer]


@pytest.mark.parametrize("make", SEALERS, ids=["13", "12", "plain"])
def test_more_than_2_to_the_14_bytes_is_our_mistake_and_changes_nothing(make: Callable[[], RecordSealer]) -> None:
    sealer = make()
    with pytest.raises(UsageError, match="16385"):
        sealer.seal(HANDSHAKE, bytes(FULL + 1))
    assert sealer.seal(HANDSHAKE, b"x") == make().seal(HANDSHAKE, b"x")
    assert sealer.seal(HANDSHAKE, bytes(FULL))


def test_padding_counts_towards_the_limit_and_needs_tls_13() -> None:
    assert pair13()[0].seal(DATA, bytes(FULL - 1), 1)
    with pytest.raises(UsageError):
        pair13()[0].seal(DATA, bytes(FULL), 1)
    for sealer in (pair12()[0], PlainSealer()):
        with pytest.raises(UsageError, match="padded"):
            sealer.seal(HANDSHAKE, b"x", 1)


# --- key limits, sequence numbers, key updates -----------------------------------------------------------------------


@every_suite13
def test_half_way_to_the_limit_the_opener_says_so_once(suite: SuiteFacts) -> None:
    sealer, opener = pair13(suite)
    half = suite.key_limit // 2
    sealer._sequence = opener._sequence = half - 1
    assert opener.open(*cut(sealer.seal(DATA, b"before"))) == (DATA, b"before")
    record = cut(sealer.seal(DATA, b"at"))
    with pytest.raises(KeyWorn):
        opener.open(*record)
    assert opener.open(*record) == (DATA, b"at")
    assert opener.open(*cut(sealer.seal(DATA, b"after"))) == (DATA, b"after")
    sealer.key_update()
    opener.key_update()
    sealer._sequence = opener._sequence = half
    with pytest.raises(KeyWorn):  # the next key is another one
        opener.open(*cut(sealer.seal(DATA, b"again")))


@every_suite
def test_a_key_seals_up_to_its_limit_and_then_only_alerts(suite: SuiteFacts) -> None:
    sealer, opener = pair_of(suite)
    assert sealer.remaining == opener.remaining == suite.key_limit
    sealer.seal(DATA, b"x")
    assert sealer.remaining == suite.key_limit - 1
    assert opener.remaining == suite.key_limit
    far_on(sealer, opener, suite.key_limit - 1)
    assert sealer.remaining == opener.remaining == 1
    assert opener.open(*cut(sealer.seal(DATA, b"last"))) == (DATA, b"last")
    assert sealer.remaining == opener.remaining == 0
    for content_type in (DATA, HANDSHAKE):
        with pytest.raises(InternalError):
            sealer.seal(content_type, b"one too many")
    with pytest.raises(InternalError):
        sealer.seal_many(DATA, b"one too many")
    if suite.key_limit < SEQUENCE_LIMIT:
        assert opener.open(*cut(sealer.seal(ALERT, b"\1\0"))) == (ALERT, b"\1\0")
        assert sealer.remaining == opener.remaining == 0
    else:
        with pytest.raises(InternalError):
            sealer.seal(ALERT, b"\1\0")
        with pytest.raises(UnexpectedMessage, match="sequence"):
            opener.open(b"\x17\x03\x03\x00\x20", bytes(32))


@pytest.mark.proves("9846:5.3:2")
@every_suite
def test_no_sequence_number_is_ever_used_twice(suite: SuiteFacts) -> None:
    sealer, opener = pair_of(suite)
    far_on(sealer, opener, SEQUENCE_LIMIT)
    with pytest.raises(InternalError):
        sealer.seal(ALERT, b"\1\0")
    with pytest.raises(UnexpectedMessage):
        opener.open(b"\x17\x03\x03\x00\x20", bytes(32))


@every_suite
def test_many_records_are_sealed_only_if_all_fit_under_the_limit(suite: SuiteFacts) -> None:
    sealer, opener = pair_of(suite)
    far_on(sealer, opener, suite.key_limit - 3)
    with pytest.raises(InternalError):
        sealer.seal_many(DATA, bytes(31), 10)
    stream = sealer.seal_many(DATA, bytes(30), 10)
    assert [opener.open(*record) for record in split(stream)] == [(DATA, bytes(10))] * 3
    assert sealer.remaining == 0


@every_suite13
def test_what_the_peer_seals_past_the_limit_still_opens(suite: SuiteFacts) -> None:
    """RFC 9846, section 5.5: receivers should not enforce the limits."""
    _, opener = pair13(suite)
    if suite.key_limit < SEQUENCE_LIMIT:
        far_on(opener, opener, suite.key_limit + 5)
        record = plain_seal13(suite, opener.secret, suite.key_limit + 5, b"late\x17")
        assert opener.open(*cut(record)) == (DATA, b"late")


@pytest.mark.proves("9846:4.7.3:2", "9846:5.3:1")
@every_suite13
def test_key_update(suite: SuiteFacts) -> None:
    sealer, opener = pair13(suite)
    secret = sealer.secret
    for _ in range(3):
        opener.open(*cut(sealer.seal(DATA, b"before")))
        secret = expand_label(suite.hash, secret, b"traffic upd", b"", suite.hash.digest_size)
        opener.inner_limit = 500
        sealer.key_update()
        with pytest.raises(BadRecordMac):
            opener.open(*cut(RecordSealer13(suite, secret).seal(DATA, b"after")))
        opener.key_update()
        assert sealer.secret == opener.secret == secret
        assert sealer.remaining == opener.remaining == suite.key_limit
        record = sealer.seal(DATA, b"after")
        assert record == plain_seal13(suite, secret, 0, b"after\x17")
        assert opener.open(*cut(record)) == (DATA, b"after")
        assert opener.inner_limit == 500


# --- before there are keys -------------------------------------------------------------------------------------------


def test_plain_records() -> None:
    assert PlainSealer().seal(HANDSHAKE, b"hello") == b"\x16\x03\x03\0\5hello"
    assert PlainSealer(0x0301).seal(HANDSHAKE, memoryview(b"hello")) == b"\x16\x03\x01\0\5hello"
    for content_type in (CCS, ALERT, HANDSHAKE):
        record = PlainSealer().seal(content_type, b"content")
        assert PlainOpener().open(*cut(record)) == (content_type, b"content")
        _, content = PlainOpener().open(record[:5], memoryview(record)[5:])
        assert type(content) is bytes
    assert PlainSealer().remaining == PlainOpener().remaining == SEQUENCE_LIMIT


def test_plain_records_are_fragmented_too() -> None:
    stream = PlainSealer().seal_many(HANDSHAKE, bytes(FULL + 5))
    assert [len(body) for _, body in split(stream)] == [FULL, 5]
    assert PlainSealer().seal_many(HANDSHAKE, b"") == b""


@pytest.mark.proves("9846:5.1:15")
def test_application_data_is_never_plain() -> None:
    with pytest.raises(UsageError, match="unprotected"):
        PlainSealer().seal(DATA, b"x")
    with pytest.raises(UnexpectedMessage):
        PlainOpener().open(b"\x17\x03\x03\0\1", b"x")


@pytest.mark.parametrize("content_type", [0, 19, 24, 128, 255])
def test_an_unknown_plain_type_is_unexpected(content_type: int) -> None:
    with pytest.raises(UnexpectedMessage):
        PlainOpener().open(bytes((content_type,)) + b"\x03\x03\0\1", b"x")


@pytest.mark.parametrize("content_type", [CCS, ALERT, HANDSHAKE])
def test_an_empty_plain_record_is_unexpected(content_type: int) -> None:
    with pytest.raises(UnexpectedMessage, match="an empty"):
        PlainOpener().open(bytes((content_type,)) + b"\x03\x03\0\0", b"")


def test_a_plain_record_may_hold_2_to_the_14_bytes_and_no_more() -> None:
    opener = PlainOpener()
    assert opener.open(b"\x16\x03\x01\x40\0", bytes(FULL)) == (HANDSHAKE, bytes(FULL))
    with pytest.raises(RecordOverflow, match="16385"):
        opener.open(b"\x16\x03\x01\x40\1", bytes(FULL + 1))
    opener.inner_limit = 100
    with pytest.raises(RecordOverflow, match="at most 100"):
        opener.open(b"\x16\x03\x01\0\x65", bytes(101))


# --- secrets and random input ----------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(header=st.binary(min_size=5, max_size=5), body=st.binary(max_size=400))
def test_random_records_never_open(header: bytes, body: bytes) -> None:
    for opener in (pair13()[1], pair12()[1], pair12(SUITES[0xCCA8])[1]):
        with pytest.raises((BadRecordMac, UnexpectedMessage)):
            opener.open(header, body)


def test_no_secret_is_shown() -> None:
    for half in (*pair13(), *pair12(), PlainSealer(), PlainOpener()):
        assert repr(half).startswith("<resumption.crypto.protection.")
        assert not hasattr(half, "__dict__")
