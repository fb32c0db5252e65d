"""Hellos packed ahead: the same bytes as the plain way, whatever is in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resumption.errors import UsageError
from resumption.wire import extensions
from resumption.wire.extensions import OfferedPsks
from resumption.wire.messages import ClientHello, ServerHello
from resumption.wire.templates import (
    ClientHelloTemplate,
    pack_extension,
    pack_one_key_share,
    pack_one_pre_shared_key,
    pack_server_hello,
    pack_share,
)

TICKET = 35
SUITES = (0x1301, 0xC02B)

numbers = st.integers(0, 0xFFFF)
bodies = st.dictionaries(numbers, st.binary(max_size=40), max_size=6)
uint16s = st.integers(0, 0xFFFF)
identities = st.tuples(st.binary(min_size=1, max_size=40), st.integers(0, 2**32 - 1))


def hello(extensions: dict[int, bytes], session_id: bytes = b"", suites: tuple[int, ...] = SUITES) -> ClientHello:
    return ClientHello(0x0303, bytes(range(32)), session_id, suites, b"\0", extensions)


@given(
    constant=bodies, ticket=st.binary(max_size=40), at=st.integers(0, 6), last=bodies, session_id=st.binary(max_size=32)
)
def test_a_template_packs_what_the_hello_packs(
    constant: dict[int, bytes], ticket: bytes, at: int, last: dict[int, bytes], session_id: bytes
) -> None:
    constant.pop(TICKET, None)
    items = list(constant.items())
    constant = dict([*items[:at], (TICKET, b""), *items[at:]])
    template = ClientHelloTemplate(constant, TICKET)
    assert template.extensions == constant
    full = {**constant, TICKET: ticket, **{number: body for number, body in last.items() if number not in constant}}
    message = hello(full, session_id)
    assert template.pack(message) == message.pack()


@given(constant=bodies, last=bodies)
def test_an_extension_that_is_not_sent_does_not_change(constant: dict[int, bytes], last: dict[int, bytes]) -> None:
    constant.pop(TICKET, None)
    constant[0xFF01] = b"\0"  # without any extension the plain way leaves the block out
    last = {number: body for number, body in last.items() if number not in constant and number != TICKET}
    message = hello({**constant, **last})
    assert ClientHelloTemplate(constant, TICKET).pack(message) == message.pack()


def test_other_suites_are_packed_as_they_are() -> None:
    template = ClientHelloTemplate({10: b"\x00\x02\x00\x1d"}, TICKET)
    for suites in (SUITES, SUITES[::-1], (0x1303,)):
        message = hello({10: b"\x00\x02\x00\x1d"}, suites=suites)
        assert template.pack(message) == message.pack()


def test_extensions_that_are_too_long_are_refused() -> None:
    template = ClientHelloTemplate({TICKET: b""}, TICKET)
    longest = bytes(2**16 - 1 - 4)
    assert template.pack(hello({TICKET: longest})) == hello({TICKET: longest}).pack()
    with pytest.raises(UsageError):
        template.pack(hello({TICKET: longest + b"\0"}))
    with pytest.raises(UsageError):
        template.pack(hello({TICKET: b"", 41: bytes(2**16)}))


@given(number=numbers, body=st.binary(max_size=300))
def test_one_extension_is_a_block_of_one(number: int, body: bytes) -> None:
    assert pack_extension(number, body) == extensions.pack_extensions({number: body})[2:]


@given(group=uint16s, share=st.binary(min_size=1, max_size=300))
def test_one_key_share_is_a_list_of_one(group: int, share: bytes) -> None:
    assert pack_one_key_share(group, share) == extensions.pack_key_share_client(((group, share),))
    assert pack_share(group, share) == extensions.pack_key_share_server((group, share))


@given(
    identity=st.binary(min_size=1, max_size=600),
    age=st.integers(0, 2**32 - 1),
    binder=st.binary(min_size=32, max_size=255),
)
def test_one_pre_shared_key_is_a_list_of_one(identity: bytes, age: int, binder: bytes) -> None:
    packed = extensions.pack_pre_shared_key_client(OfferedPsks(((identity, age),), (binder,)))
    assert pack_one_pre_shared_key(identity, age, binder) == packed


@pytest.mark.parametrize(
    ("identity", "binder"), [(b"", bytes(32)), (bytes(2**16), bytes(32)), (b"x", bytes(31)), (b"x", bytes(256))]
)
def test_a_pre_shared_key_that_does_not_fit_is_refused(identity: bytes, binder: bytes) -> None:
    with pytest.raises(UsageError):
        pack_one_pre_shared_key(identity, 0, binder)


@given(random=st.binary(min_size=32, max_size=32), session_id=st.binary(max_size=32), suite=uint16s, answers=bodies)
def test_a_server_hello_is_packed_as_the_message_is(
    random: bytes, session_id: bytes, suite: int, answers: dict[int, bytes]
) -> None:
    block = b"".join(pack_extension(number, body) for number, body in answers.items())
    assert (
        pack_server_hello(random, session_id, suite, block)
        == ServerHello(0x0303, random, session_id, suite, 0, answers).pack()
    )


# --- the short ways of reading -------------------------------------------------------------------------------------


@given(st.binary(max_size=80))
def test_one_key_share_is_read_as_a_list_is(body: bytes) -> None:
    assert outcome(extensions.parse_key_share_client, body) == outcome(extensions._parse_key_shares, body)


@given(st.lists(st.tuples(uint16s, st.binary(min_size=1, max_size=40)), max_size=3))
def test_key_shares_come_back(shares: list[tuple[int, bytes]]) -> None:
    assert extensions.parse_key_share_client(extensions.pack_key_share_client(tuple(shares))) == tuple(shares)


@given(
    identities=st.lists(
        st.tuples(st.binary(min_size=1, max_size=40), st.integers(0, 2**32 - 1)), min_size=1, max_size=2
    ),
    binders=st.lists(st.binary(min_size=32, max_size=60), min_size=1, max_size=2),
    edit=st.tuples(st.integers(0, 200), st.integers(0, 255)),
)
def test_one_pre_shared_key_is_read_as_a_list_is(
    identities: list[tuple[bytes, int]], binders: list[bytes], edit: tuple[int, int]
) -> None:
    body = bytearray(extensions.pack_pre_shared_key_client(OfferedPsks(tuple(identities), tuple(binders))))
    assert extensions.parse_pre_shared_key_client(bytes(body)) == OfferedPsks(tuple(identities), tuple(binders))
    body[edit[0] % len(body)] = edit[1]  # often in one of the lengths
    broken = bytes(body)
    assert outcome(extensions.parse_pre_shared_key_client, broken) == outcome(extensions._parse_pre_shared_keys, broken)


def outcome(parse: object, body: bytes) -> object:
    """What ``parse`` makes of ``body``: a value, or the text of its error."""
    assert callable(parse)
    try:
        return parse(body)
    except extensions.DecodeError as error:
        return str(error)
