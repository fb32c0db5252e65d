"""Records and handshake messages out of a stream in any pieces."""

from __future__ import annotations

import sys
import tracemalloc
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resumption.constants import (
    MAX_CIPHERTEXT_LENGTH_12,
    MAX_CIPHERTEXT_LENGTH_13,
    MAX_PLAINTEXT_LENGTH,
    AlertDescription,
)
from resumption.errors import (
    DecodeError,
    ProtocolVersionUnsupported,
    RecordOverflow,
    UnexpectedMessage,
)
from resumption.wire import records
from resumption.wire.records import DEFAULT_MESSAGE_LIMIT, HandshakeBuffer, RecordReader
from tests.wire.raw import HELLOS, u, vec

Record = tuple[int, bytes, bytes]


def record(content_type: int, body: bytes, version: int = 0x0303) -> bytes:
    return u(1, content_type) + u(2, version) + vec(2, body)


def message(msg_type: int, body: bytes) -> bytes:
    return u(1, msg_type) + vec(3, body)


def split(whole: bytes) -> Record:
    return whole[0], whole[:5], whole[5:]


def drain(reader: RecordReader) -> list[Record]:
    found = []
    while (one := reader.next_record()) is not None:
        found.append(one)
    return found


def drain_messages(buffer: HandshakeBuffer) -> list[bytes]:
    found = []
    while (one := buffer.next_message()) is not None:
        found.append(one)
    return found


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cuts), len(data)]
    return [data[start:stop] for start, stop in pairwise(edges)]


# A stream of every type, with empty records and one that fills the limit.
WHOLE = [
    record(22, b"hello", 0x0301),
    record(20, b"\x01"),
    record(23, b""),
    record(21, b"\x02\x28"),
    record(23, b""),
    record(22, b"x" * 20),
]
STREAM = b"".join(WHOLE)
EXPECTED = [split(whole) for whole in WHOLE]


class TestRecords:
    def test_a_record_is_its_type_its_header_and_its_body(self) -> None:
        reader = RecordReader()
        reader.feed(record(23, b"application data"))
        assert reader.next_record() == (23, b"\x17\x03\x03\x00\x10", b"application data")
        assert reader.next_record() is None
        assert reader.is_empty

    def test_many_records_come_out_of_one_feed(self) -> None:
        reader = RecordReader()
        reader.feed(STREAM)
        assert not reader.is_empty
        assert drain(reader) == EXPECTED
        assert reader.is_empty

    def test_a_cut_at_any_offset_makes_no_difference(self) -> None:
        for cut in range(len(STREAM) + 1):
            reader = RecordReader()
            found = []
            for piece in pieces(STREAM, [cut]):
                reader.feed(piece)
                found += drain(reader)
            assert found == EXPECTED

    def test_two_cuts_at_any_offsets_make_no_difference(self) -> None:
        stream = STREAM[:30]
        once = RecordReader()
        once.feed(stream)
        expected = drain(once)
        assert len(expected) == 4
        for first in range(len(stream)):
            for second in range(first, len(stream)):
                reader = RecordReader()
                found = []
                for piece in pieces(stream, [first, second]):
                    reader.feed(piece)
                    found += drain(reader)
                assert found == expected
                assert reader.bytes_needed == once.bytes_needed

    def test_one_byte_at_a_time_makes_no_difference(self) -> None:
        reader = RecordReader()
        found = []
        for byte in STREAM:
            reader.feed(bytes((byte,)))
            found += drain(reader)
        assert found == EXPECTED

    def test_pieces_may_pile_up_before_anyone_asks(self) -> None:
        reader = RecordReader()
        for byte in STREAM:
            reader.feed(bytes((byte,)))
        assert drain(reader) == EXPECTED

    def test_asking_once_per_piece_falls_behind_but_loses_nothing(self) -> None:
        reader = RecordReader()
        found = []
        for piece in pieces(STREAM * 20, list(range(0, len(STREAM) * 20, 11))):
            reader.feed(piece)
            one = reader.next_record()
            found += [one] if one else []
        found += drain(reader)
        assert found == EXPECTED * 20

    @given(
        st.lists(
            st.tuples(st.integers(20, 23), st.binary(max_size=60) | st.just(bytes(2**14)), st.integers(0x0300, 0x03FF)),
            max_size=8,
        ),
        st.data(),
    )
    def test_any_records_in_any_pieces_come_out_whole(self, parts: list[tuple[int, bytes, int]], data: Any) -> None:
        stream = b"".join(record(*part) for part in parts)
        cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=12))
        ask_every_time = data.draw(st.booleans())
        reader = RecordReader()
        found = []
        for piece in pieces(stream, cuts):
            reader.feed(piece)
            if ask_every_time:
                found += drain(reader)
        found += drain(reader)
        assert found == [split(record(*part)) for part in parts]
        assert reader.is_empty

    @pytest.mark.parametrize("kind", [bytearray, memoryview])
    def test_the_caller_may_reuse_its_buffer(self, kind: Any) -> None:
        reader = RecordReader()
        found = []
        for piece in (STREAM[:3], STREAM[3:20], STREAM[20:21], STREAM[21:]):
            loaned = bytearray(piece)
            reader.feed(kind(loaned))
            loaned[:] = bytes(len(loaned))
            found += drain(reader)
        assert found == EXPECTED
        assert {type(part) for _, *parts in found for part in parts} == {bytes}

    def test_an_empty_piece_changes_nothing(self) -> None:
        reader = RecordReader()
        reader.feed(b"")
        assert (reader.next_record(), reader.bytes_needed) == (None, 5)
        reader.feed(STREAM[:7])
        reader.feed(b"")
        assert (reader.next_record(), reader.bytes_needed) == (None, 3)
        reader.feed(STREAM[7:])
        assert drain(reader) == EXPECTED

    @pytest.mark.parametrize("name", HELLOS)
    def test_real_hellos_are_one_record(self, name: str) -> None:
        reader = RecordReader()
        reader.feed(HELLOS[name])
        assert drain(reader) == [split(HELLOS[name])]


class TestRest:
    def test_is_what_no_record_was_made_of(self) -> None:
        reader = RecordReader()
        assert reader.rest() == b""
        reader.feed(WHOLE[0] + WHOLE[1] + b"not TLS any more")
        reader.next_record()
        assert reader.rest() == WHOLE[1] + b"not TLS any more"
        reader.next_record()
        assert reader.rest() == b"not TLS any more"

    def test_is_bytes_in_any_pieces_and_takes_nothing_away(self) -> None:
        reader = RecordReader()
        for at in range(len(STREAM) - 1):
            reader.feed(STREAM[at : at + 1])
            assert (type(reader.rest()), reader.rest()) == (bytes, STREAM[: at + 1])
        reader.feed(STREAM[-1:])
        assert drain(reader) == EXPECTED
        assert reader.rest() == b""


class TestBytesNeeded:
    def test_counts_down_to_the_header_then_to_the_end(self) -> None:
        reader = RecordReader()
        stream = record(23, b"twelve bytes")
        needed = []
        for byte in stream:
            needed.append(reader.bytes_needed)
            reader.feed(bytes((byte,)))
            if len(needed) < len(stream):
                assert reader.next_record() is None
        assert needed == [5, 4, 3, 2, 1, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1]
        assert reader.bytes_needed == 0
        assert reader.next_record() == split(stream)
        assert reader.bytes_needed == 5

    def test_who_obeys_it_never_reads_past_a_record(self) -> None:
        reader = RecordReader()
        at = 0
        for whole in WHOLE:
            start = at
            while (one := reader.next_record()) is None:
                count = reader.bytes_needed
                assert count > 0
                reader.feed(STREAM[at : at + count])
                at += count
            assert one == split(whole)
            assert at == start + len(whole)
            assert reader.is_empty

    def test_is_zero_while_records_are_ready(self) -> None:
        reader = RecordReader()
        reader.feed(STREAM + b"\x17\x03")
        for _ in WHOLE:
            assert reader.bytes_needed == 0
            assert reader.next_record() is not None
        assert reader.bytes_needed == 3


class TestLimits:
    @pytest.mark.parametrize("limit", [MAX_PLAINTEXT_LENGTH, MAX_CIPHERTEXT_LENGTH_13, MAX_CIPHERTEXT_LENGTH_12, 64, 0])
    def test_a_record_may_be_as_long_as_the_limit_and_no_longer(self, limit: int) -> None:
        reader = RecordReader(limit)
        full = record(23, bytes(limit))
        reader.feed(full)
        assert reader.next_record() == split(full)
        reader.feed(record(23, bytes(limit + 1)))
        with pytest.raises(RecordOverflow, match=f"{limit + 1} bytes, at most {limit}"):
            reader.next_record()

    def test_the_plaintext_limit_holds_from_the_start(self) -> None:
        assert RecordReader().limit == MAX_PLAINTEXT_LENGTH == 2**14

    def test_a_record_is_refused_by_its_header(self) -> None:
        reader = RecordReader()
        reader.feed(b"\x17\x03\x03\x40\x01")
        with pytest.raises(RecordOverflow):
            reader.next_record()

    def test_a_new_limit_holds_for_the_next_record(self) -> None:
        long = record(23, bytes(2**14 + 256))
        reader = RecordReader()
        reader.feed(record(22, b"hello") + long + record(23, bytes(65)))
        assert reader.next_record() == split(record(22, b"hello"))
        reader.limit = MAX_CIPHERTEXT_LENGTH_13
        assert reader.next_record() == split(long)
        reader.limit = 64
        with pytest.raises(RecordOverflow):
            reader.next_record()

    def test_an_error_is_final(self) -> None:
        reader = RecordReader()
        reader.feed(record(22, b"hello") + b"\x17\x03\x03\xff\xff")
        reader.next_record()
        for _ in range(2):
            with pytest.raises(RecordOverflow):
                reader.next_record()
            reader.feed(record(22, b"hello"))


class TestHeaders:
    @pytest.mark.proves("9846:5:5", "5246:6:2")
    @pytest.mark.parametrize("content_type", sorted(set(range(256)) - {20, 21, 22, 23}))
    def test_unknown_types_are_unexpected(self, content_type: int) -> None:
        reader = RecordReader()
        reader.feed(record(22, b"hello") + record(content_type, b"body"))
        reader.next_record()
        with pytest.raises(UnexpectedMessage, match=rf"of type {content_type}, expected 20\.\.23$") as caught:
            reader.next_record()
        assert caught.value.alert == AlertDescription.unexpected_message

    @pytest.mark.proves("9846:5.1:11", "9846:E:1", "9846:E.2:4", "5246:E.1:4")
    @pytest.mark.parametrize("minor", [0, 1, 2, 3, 4, 5, 0x7F, 255])
    def test_the_minor_version_is_ignored(self, minor: int) -> None:
        reader = RecordReader()
        whole = record(23, b"data", 0x0300 | minor)
        reader.feed(whole)
        assert reader.next_record() == split(whole)

    @pytest.mark.parametrize("version", [0x0000, 0x0002, 0x0200, 0x02FF, 0x0400, 0xFEFD, 0xFFFF])
    def test_another_major_version_of_the_first_record_is_not_supported(self, version: int) -> None:
        reader = RecordReader()
        reader.feed(record(22, b"body", version))
        with pytest.raises(
            ProtocolVersionUnsupported, match=rf"version {version >> 8}\.{version & 255}, expected 3"
        ) as caught:
            reader.next_record()
        assert caught.value.alert == AlertDescription.protocol_version
        later = RecordReader()
        later.feed(record(22, b"hello") + record(22, b"body", version))
        later.next_record()
        assert later.next_record() == split(record(22, b"body", version))


class TestPeersThatDoNotSpeakTls:
    @pytest.mark.parametrize(
        ("opening", "text"),
        [
            (b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n", "HTTP, not TLS"),
            (b"HEAD / HTTP/1.1\r\n", "HTTP, not TLS"),
            (b"POST /pay HTTP/1.1\r\n", "HTTP, not TLS"),
            (b"PUT /pay HTTP/1.1\r\n", "HTTP, not TLS"),
            (b"PATCH /pay HTTP/1.1\r\n", "HTTP, not TLS"),
            (b"DELETE /pay HTTP/1.1\r\n", "HTTP, not TLS"),
            (b"OPTIONS * HTTP/1.1\r\n", "HTTP, not TLS"),
            (b"TRACE / HTTP/1.1\r\n", "HTTP, not TLS"),
            (b"HTTP/1.1 400 Bad Request\r\n", "HTTP, not TLS"),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/2, not TLS"),
            (b"CONNECT shop.example:443 HTTP/1.1\r\n", "HTTP proxy requests, not TLS"),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", "the PROXY protocol, not TLS"),
            (b"\r\n\r\n\0\r\nQUIT\n", "the PROXY protocol, not TLS"),
            (b"SSH-2.0-OpenSSH_9.2\r\n", "SSH, not TLS"),
            (b"EHLO client\r\n", "SMTP, not TLS"),
            (b"HELO client\r\n", "SMTP, not TLS"),
            (b"220 mail.example ESMTP\r\n", "SMTP or FTP, not TLS"),
            (b"220-welcome\r\n", "SMTP or FTP, not TLS"),
            (b"+OK POP3 ready\r\n", "POP3, not TLS"),
            (b"* OK IMAP4rev1 ready\r\n", "IMAP, not TLS"),
            (b"<?xml version='1.0'?>", "XMPP, not TLS"),
            (b"<stream:stream>", "XMPP, not TLS"),
            (b"\x80\x2e\x01\x03\x01\x00\x15", "SSL 2.0"),
            (b"\x80\x2e\x01\x00\x02\x00\x15", "SSL 2.0"),
        ],
    )
    def test_are_told_what_they_seem_to_speak(self, opening: bytes, text: str) -> None:
        reader = RecordReader()
        reader.feed(opening[:4])
        assert reader.next_record() is None
        reader.feed(opening[4:])
        with pytest.raises(ProtocolVersionUnsupported, match=text):
            reader.next_record()

    def test_are_known_by_their_first_bytes_only(self) -> None:
        reader = RecordReader()
        reader.feed(record(22, b"hello") + b"GET / HTTP/1.1\r\n")
        reader.next_record()
        with pytest.raises(UnexpectedMessage, match="type 71"):
            reader.next_record()

    @pytest.mark.parametrize(
        "garbage", [b"\0\0\0\0\0", b"hello, world", b"\xff" * 5, b"\x80\x2e\x02\x03\x01", b"\x80\x2e\x01\x09\x01"]
    )
    def test_are_not_given_a_name_by_guessing(self, garbage: bytes) -> None:
        reader = RecordReader()
        reader.feed(garbage)
        with pytest.raises(UnexpectedMessage, match="does not seem to speak TLS"):
            reader.next_record()

    def test_their_words_do_not_reach_the_error(self) -> None:
        reader = RecordReader()
        reader.feed(b"POST /pay?card=4111111111111111 HTTP/1.1\r\n")
        with pytest.raises(ProtocolVersionUnsupported) as caught:
            reader.next_record()
        assert str(caught.value) == "the peer speaks HTTP, not TLS"


class TestCost:
    def test_a_large_feed_is_walked_without_being_copied(self) -> None:
        data = record(23, bytes(1000)) * 4000
        reader = RecordReader()
        tracemalloc.start()
        try:
            reader.feed(data)
            while reader.next_record():
                pass
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 20_000  # of 4 MB

    def test_a_consumed_feed_is_let_go(self) -> None:
        data = record(23, bytes(1000)) * 10 + b"\x17\x03"
        before = sys.getrefcount(data)
        reader = RecordReader()
        reader.feed(data)
        assert len(drain(reader)) == 10
        assert sys.getrefcount(data) == before
        assert reader.bytes_needed == 3

    def test_a_record_in_small_pieces_takes_its_own_size(self) -> None:
        whole = record(23, bytes(2**14))
        reader = RecordReader()
        tracemalloc.start()
        try:
            for at in range(0, len(whole) - 1, 2):
                reader.feed(whole[at : at + 2])
                reader.next_record()
            current, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert current < 1.5 * 2**14
        reader.feed(whole[-1:])
        assert drain(reader) == [split(whole)]

    @pytest.mark.parametrize("behind", [1, 7])
    def test_falling_behind_does_not_hoard_what_is_consumed(self, behind: int) -> None:
        one = record(23, bytes(100))
        reader = RecordReader()
        reader.feed(one * behind + one[:50])
        tracemalloc.start()
        try:
            for _ in range(10_000):
                assert reader.next_record() == split(one)
                reader.feed(one[50:] + one[:50])  # there is always half a record more than was asked for
            current, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert current < 10_000

    @pytest.mark.timeout(60)
    def test_tiny_records_take_time_in_proportion_to_their_number(self) -> None:
        reader = RecordReader()
        reader.feed(record(23, b"") * 200_000)  # copying the rest for each would move 100 GB
        assert len(drain(reader)) == 200_000

    @pytest.mark.timeout(60)
    def test_tiny_fragments_take_time_in_proportion_to_their_number(self) -> None:
        buffer = HandshakeBuffer(2**23)
        whole = message(11, bytes(2**23))
        for at in range(0, len(whole), 16):  # copying what is there for each would move 2 TB
            buffer.feed(whole[at : at + 16])
            if at + 16 < len(whole):
                assert buffer.next_message() is None
        assert buffer.next_message() == whole


MESSAGES = [message(1, b"client hello"), message(14, b""), message(20, bytes(12)), message(8, b"\0\0")]
HANDSHAKE = b"".join(MESSAGES)


class TestHandshakeBuffer:
    def test_a_message_keeps_its_header(self) -> None:
        buffer = HandshakeBuffer()
        assert buffer.is_empty
        buffer.feed(message(20, b"verify data"))
        assert not buffer.is_empty
        assert buffer.next_message() == b"\x14\0\0\x0bverify data"
        assert buffer.next_message() is None
        assert buffer.is_empty

    def test_a_cut_at_any_offset_makes_no_difference(self) -> None:
        for cut in range(1, len(HANDSHAKE)):
            buffer = HandshakeBuffer()
            buffer.feed(HANDSHAKE[:cut])
            found = drain_messages(buffer)
            assert buffer.is_empty == (b"".join(found) == HANDSHAKE[:cut])
            buffer.feed(HANDSHAKE[cut:])
            assert found + drain_messages(buffer) == MESSAGES
            assert buffer.is_empty

    def test_one_byte_at_a_time_makes_no_difference(self) -> None:
        buffer = HandshakeBuffer()
        found = []
        for byte in HANDSHAKE:
            buffer.feed(bytes((byte,)))
            found += drain_messages(buffer)
        assert found == MESSAGES

    @given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=300)), min_size=1, max_size=6), st.data())
    def test_any_messages_in_any_fragments_come_out_whole(self, parts: list[tuple[int, bytes]], data: Any) -> None:
        stream = b"".join(message(*part) for part in parts)
        cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=10))
        buffer = HandshakeBuffer()
        found = []
        for piece in filter(None, pieces(stream, cuts)):
            buffer.feed(piece)
            found += drain_messages(buffer)
        assert found == [message(*part) for part in parts]
        assert buffer.is_empty

    @pytest.mark.parametrize("kind", [bytearray, memoryview])
    def test_the_caller_may_reuse_its_buffer(self, kind: Any) -> None:
        buffer = HandshakeBuffer()
        found = []
        for piece in (HANDSHAKE[:3], HANDSHAKE[3:5], HANDSHAKE[5:]):
            loaned = bytearray(piece)
            buffer.feed(kind(loaned))
            loaned[:] = bytes(len(loaned))
            found += drain_messages(buffer)
        assert found == MESSAGES
        assert {type(one) for one in found} == {bytes}

    def test_a_fragment_has_content(self) -> None:
        for empty in (b"", bytearray(), memoryview(b"")):
            with pytest.raises(UnexpectedMessage, match="without content"):
                HandshakeBuffer().feed(empty)

    @pytest.mark.parametrize("limit", [0, 1, 1000, DEFAULT_MESSAGE_LIMIT, 2**24 - 1])
    def test_a_message_may_be_as_long_as_the_limit_and_no_longer(self, limit: int) -> None:
        buffer = HandshakeBuffer(limit)
        whole = message(11, bytes(limit))
        buffer.feed(whole)
        assert buffer.next_message() == whole
        if limit < 2**24 - 1:
            buffer.feed(b"\x0b" + u(3, limit + 1))
            with pytest.raises(DecodeError, match=f"{limit + 1} bytes, at most {limit}"):
                buffer.next_message()

    def test_the_usual_limit_lets_the_longest_hello_pass(self) -> None:
        assert HandshakeBuffer().limit == DEFAULT_MESSAGE_LIMIT == 131_396

    def test_a_message_is_refused_by_its_header(self) -> None:
        buffer = HandshakeBuffer(100)
        buffer.feed(message(20, bytes(12)) + b"\x0b\xff\xff\xff")
        assert buffer.next_message() == message(20, bytes(12))
        for _ in range(2):
            with pytest.raises(DecodeError):
                buffer.next_message()

    def test_a_new_limit_holds_for_the_next_message(self) -> None:
        buffer = HandshakeBuffer(100)
        whole = message(11, bytes(101))
        buffer.feed(whole)
        with pytest.raises(DecodeError):
            buffer.next_message()
        buffer.limit = 101
        assert buffer.next_message() == whole


def test_public_names_are_what_the_module_says() -> None:
    assert all(hasattr(records, name) for name in records.__all__)
