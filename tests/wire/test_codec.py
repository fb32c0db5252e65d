"""The codecs alone: bounds from both sides, cut input, and what a struct makes of its annotations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass
from typing import Annotated, Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resumption.errors import DecodeError, IllegalParameter, UsageError
from resumption.wire.codec import (
    Codec,
    Message,
    Struct,
    constant,
    extension_block,
    fixed,
    opaque,
    optional_extension_block,
    pair,
    remainder,
    uint8,
    uint16,
    uint16_list,
    uint32,
    vector,
)
from tests.wire.raw import ext, is_canonical, u, vec


@dataclass(frozen=True, slots=True, repr=False)
class Point(Struct):
    """A struct without a header."""

    x: Annotated[int, uint16]
    label: Annotated[bytes, opaque(0, 10)]


@dataclass(frozen=True, slots=True, repr=False)
class Path(Message):
    """A message that holds structs, numbers and an index."""

    msg_type: ClassVar[int] = 99

    secret: Annotated[bytes, fixed(2)]
    points: Annotated[tuple[Point, ...], vector(Codec(Point.read, Point.write), 0, 100)]
    extensions: Annotated[dict[int, bytes], optional_extension_block]


@dataclass(frozen=True, slots=True, repr=False)
class Nothing(Message):
    """A message without a body."""

    msg_type: ClassVar[int] = 7


@dataclass(frozen=True, slots=True, repr=False)
class Blob(Message):
    """A message of any bytes."""

    msg_type: ClassVar[int] = 1

    content: Annotated[bytes, remainder]


def read_all(codec: Codec[Any], data: bytes) -> Any:
    value, at = codec.read(data, 0, len(data))
    assert at == len(data)
    return value


NUMBERS = [(uint8, 1), (uint16, 2), (uint32, 4)]


@pytest.mark.parametrize(("codec", "width"), NUMBERS)
def test_numbers_are_big_endian_and_of_their_width(codec: Codec[int], width: int) -> None:
    for value in (0, 1, 0x5A, 256**width - 1):
        assert codec.write(value) == u(width, value)
        assert codec.read(b"..." + u(width, value) + b"...", 3, 3 + width) == (value, 3 + width)
    for value in (-1, 256**width):
        with pytest.raises(UsageError, match=f"does not fit {width} bytes"):
            codec.write(value)


# Every codec with a value that it reads from all of the bytes: cutting the bytes must never go unnoticed.
SAMPLES: list[tuple[Codec[Any], bytes, Any]] = [
    (uint8, b"\x07", 7),
    (uint16, b"\x01\x02", 0x0102),
    (uint32, b"\x01\x02\x03\x04", 0x01020304),
    (constant(uint16, 3), b"\0\x03", 3),
    (fixed(3), b"abc", b"abc"),
    (opaque(0, 255), b"\x03abc", b"abc"),
    (opaque(1, 2**16 - 1), b"\0\x03abc", b"abc"),
    (opaque(1, 2**24 - 1), b"\0\0\x03abc", b"abc"),
    (uint16_list(2, 254), b"\x04\0\x01\0\x02", (1, 2)),
    (uint16_list(2, 2**16 - 2), b"\0\x04\0\x01\0\x02", (1, 2)),
    (uint16_list(0, 2**16 - 2), vec(2, bytes(2 * 300)), (0,) * 300),
    (vector(opaque(1, 255), 2, 2**16 - 1), b"\0\x05\x01a\x02bc", (b"a", b"bc")),
    (vector(uint32, 0, 255), b"\x08\0\0\0\x01\0\0\0\x02", (1, 2)),
    (pair(uint8, uint16), b"\x01\0\x02", (1, 2)),
    (extension_block, vec(2, ext(5, b"ab"), ext(1)), {5: b"ab", 1: b""}),
]


@pytest.mark.parametrize(("codec", "data", "value"), SAMPLES)
def test_values_are_read_between_two_offsets_and_written_back(codec: Codec[Any], data: bytes, value: Any) -> None:
    assert read_all(codec, data) == value
    assert codec.write(value) == data
    around = b"\xff\xff" + data + b"\xff\xff"
    assert codec.read(around, 2, len(around)) == (value, 2 + len(data))


@pytest.mark.parametrize(("codec", "data", "value"), SAMPLES)
def test_nothing_is_read_from_the_end_on(codec: Codec[Any], data: bytes, value: Any) -> None:
    for end in range(len(data)):
        with pytest.raises(DecodeError):
            codec.read(data[:end], 0, end)
        with pytest.raises(DecodeError):
            codec.read(data + data, 0, end)  # the missing bytes are there, but belong to someone else


def numbers(length: int) -> tuple[int, ...]:
    return (0,) * (length // 2)


def items(length: int) -> tuple[int, ...]:
    return (0,) * length


# codec, floor, ceiling, width of the prefix, size of an item, a value of so many bytes
BOUNDED: list[tuple[Codec[Any], int, int, int, int, Callable[[int], Any]]] = [
    (opaque(0, 32), 0, 32, 1, 1, bytes),
    (opaque(32, 255), 32, 255, 1, 1, bytes),
    (opaque(1, 2**16 - 1), 1, 2**16 - 1, 2, 1, bytes),
    (opaque(300, 400), 300, 400, 2, 1, bytes),
    (opaque(1, 2**24 - 1), 1, 2**24 - 1, 3, 1, bytes),
    (uint16_list(2, 254), 2, 254, 1, 2, numbers),
    (uint16_list(2, 2**16 - 2), 2, 2**16 - 2, 2, 2, numbers),
    (vector(uint8, 3, 10), 3, 10, 1, 1, items),
    (vector(uint8, 7, 2**16 - 1), 7, 2**16 - 1, 2, 1, items),
]


@pytest.mark.parametrize(("codec", "floor", "ceiling", "width", "step", "of_length"), BOUNDED)
def test_lengths_are_accepted_up_to_their_bounds_and_no_further(
    codec: Codec[Any], floor: int, ceiling: int, width: int, step: int, of_length: Callable[[int], Any]
) -> None:
    for length in (floor, ceiling):
        assert read_all(codec, vec(width, bytes(length))) == of_length(length)
        assert codec.write(of_length(length)) == vec(width, bytes(length))
    for length in (floor - step, ceiling + step):
        if 0 <= length < 256**width:
            with pytest.raises(DecodeError):
                read_all(codec, vec(width, bytes(length)))
        if length >= 0:
            with pytest.raises(UsageError):
                codec.write(of_length(length))


def test_a_list_of_numbers_must_be_even() -> None:
    with pytest.raises(DecodeError, match="even"):
        read_all(uint16_list(2, 254), b"\x03\0\x01\0")


@pytest.mark.parametrize("count", [1, 63, 64, 65, 66, 1000])
def test_lists_of_numbers_of_any_length_are_read_alike(count: int) -> None:
    values = tuple(range(1, count + 1))
    data = vec(2, b"".join(u(2, value) for value in values))
    assert read_all(uint16_list(2, 2**16 - 2), data) == values
    assert uint16_list(2, 2**16 - 2).write(values) == data


@pytest.mark.parametrize("values", [(2**16,), (-1,)])
def test_a_number_too_large_for_a_list_is_a_usage_error(values: tuple[int, ...]) -> None:
    with pytest.raises(UsageError):
        uint16_list(2, 254).write(values)


def test_fixed_fields_take_exactly_their_length() -> None:
    for wrong in (b"ab", b"abcd"):
        with pytest.raises(UsageError, match="exactly 3"):
            fixed(3).write(wrong)


def test_constants_take_one_value() -> None:
    with pytest.raises(DecodeError, match="4 where only 3"):
        read_all(constant(uint8, 3), b"\x04")
    with pytest.raises(UsageError, match="4 where only 3"):
        constant(uint8, 3).write(4)


def test_the_remainder_is_everything() -> None:
    assert remainder.read(b"abcdef", 2, 5) == (b"cde", 5)
    assert remainder.read(b"abc", 3, 3) == (b"", 3)
    assert remainder.write(b"abc") == b"abc"


def test_an_item_may_not_reach_beyond_its_vector() -> None:
    with pytest.raises(DecodeError):
        read_all(vector(opaque(1, 255), 0, 255), b"\x02\x02a" + b"b")


class TestExtensionBlock:
    def test_keeps_the_order_of_arrival(self) -> None:
        block = vec(2, ext(51, b"k"), ext(0, b"n"), ext(0xFF01), ext(41, b"p"))
        extensions = read_all(extension_block, block)
        assert list(extensions) == [51, 0, 0xFF01, 41]
        assert extension_block.write(extensions) == block

    @pytest.mark.proves("9846:4.3:7", "5246:7.4.1.4:3")
    def test_a_type_that_comes_twice_is_illegal(self) -> None:
        with pytest.raises(IllegalParameter, match="extension 10 appears twice"):
            read_all(extension_block, vec(2, ext(10), ext(11), ext(10, b"x")))

    @pytest.mark.parametrize(
        "content",
        [b"\0", b"\0\x0a", b"\0\x0a\0", b"\0\x0a\0\x01", ext(10)[:-1], ext(10) + b"\0", ext(10, b"ab")[:-1]],
    )
    def test_framing_errors_are_decode_errors(self, content: bytes) -> None:
        with pytest.raises(DecodeError):
            read_all(extension_block, vec(2, content))
        with pytest.raises(DecodeError):  # also when the missing bytes stand behind the block
            extension_block.read(vec(2, content) + bytes(8), 0, len(content) + 10)

    def test_is_as_long_as_its_prefix_can_say(self) -> None:
        full = {1: bytes(2**16 - 1 - 4)}
        assert read_all(extension_block, extension_block.write(full)) == full
        for extensions in ({1: bytes(2**16 - 4)}, {1: bytes(2**16)}, {2**16: b""}, {1: bytes(40000), 2: bytes(40000)}):
            with pytest.raises(UsageError):
                extension_block.write(extensions)

    def test_may_be_missing_where_that_is_allowed(self) -> None:
        assert read_all(extension_block, b"\0\0") == {}
        assert extension_block.write({}) == b"\0\0"
        assert read_all(optional_extension_block, b"") == {}
        assert optional_extension_block.write({}) == b""
        block = vec(2, ext(1, b"x"))
        assert read_all(optional_extension_block, block) == {1: b"x"}
        assert optional_extension_block.write({1: b"x"}) == block

    @given(st.binary(max_size=60))
    def test_any_bytes_parse_to_what_packs_to_them_or_are_refused(self, content: bytes) -> None:
        is_canonical(lambda data: read_all(extension_block, data), extension_block.write, vec(2, content))


class TestStruct:
    path = Path(b"\xaa\xbb", (Point(1, b"a"), Point(2, b"")), {5: b"five"})
    body = b"\xaa\xbb" + vec(1, u(2, 1), vec(1, b"a"), u(2, 2), vec(1)) + vec(2, ext(5, b"five"))

    def test_fields_go_in_the_order_of_their_annotations(self) -> None:
        assert self.path.write() == self.body
        assert self.path.pack() == u(1, 99) + vec(3, self.body)
        assert Path.parse(self.body) == self.path

    def test_a_struct_packs_without_a_header(self) -> None:
        assert Point(1, b"a").pack() == b"\0\x01\x01a"
        assert Point.read(b"..\0\x01\x01a..", 2, 8) == (Point(1, b"a"), 6)

    def test_a_message_may_be_empty(self) -> None:
        assert Nothing.parse(b"") == Nothing()
        assert Nothing().pack() == b"\x07\0\0\0"
        assert repr(Nothing()) == "Nothing()"
        with pytest.raises(DecodeError, match="Nothing: 1 bytes left over"):
            Nothing.parse(b"x")

    @pytest.mark.parametrize("kind", [bytearray, memoryview])
    def test_other_buffers_give_bytes(self, kind: Any) -> None:
        parsed = Path.parse(kind(bytearray(self.body)))
        assert parsed == self.path
        assert type(parsed.secret) is bytes
        assert type(parsed.extensions[5]) is bytes

    def test_parsed_and_constructed_values_are_alike(self) -> None:
        parsed = Path.parse(self.body)
        assert (parsed.secret, parsed.points, parsed.extensions) == (
            self.path.secret,
            self.path.points,
            self.path.extensions,
        )
        with pytest.raises(FrozenInstanceError):
            parsed.secret = b"cc"  # type: ignore[misc]
        assert not hasattr(parsed, "__dict__")

    def test_errors_name_the_field_that_is_wrong(self) -> None:
        with pytest.raises(DecodeError, match=r"Path\.secret: 2 bytes expected, 1 left"):
            Path.parse(b"a")
        with pytest.raises(DecodeError, match=r"Path\.points: Point\.label: a vector of 11 bytes, expected <0..10>"):
            Path.parse(b"ab" + vec(1, u(2, 1), vec(1, bytes(11))))
        with pytest.raises(IllegalParameter, match=r"Path\.extensions: extension 5 appears twice"):
            Path.parse(b"ab" + vec(1) + vec(2, ext(5), ext(5)))

    def test_bytes_left_over_are_refused(self) -> None:
        with pytest.raises(DecodeError, match="Path: 1 bytes left over"):
            Path.parse(self.body + b"\0")

    def test_repr_shows_lengths_not_contents(self) -> None:
        shown = "Path(secret=<2 bytes>, points=(Point(x=1, label=<1 bytes>), Point(x=2, label=<0 bytes>)), "
        assert repr(self.path) == shown + "extensions={5: <4 bytes>})"

    def test_a_message_longer_than_its_header_can_say_is_refused(self) -> None:
        assert Blob(bytes(2**24 - 1)).pack()[:4] == b"\x01\xff\xff\xff"
        with pytest.raises(UsageError, match="do not fit a handshake message"):
            Blob(bytes(2**24)).pack()

    @given(st.binary(max_size=80))
    def test_any_bytes_parse_to_what_packs_to_them_or_are_refused(self, data: bytes) -> None:
        if not data.endswith(b"\0\0"):  # an empty block parses like a missing one
            is_canonical(Path.parse, Path.write, data)
