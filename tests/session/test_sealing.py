from __future__ import annotations

import os
import re
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from resumption.errors import InternalError
from resumption.session.tickets.keys import TicketKeys
from resumption.session.tickets.sealing import LONGEST_PLAINTEXT, RecordSealer, SealedRecord
from tests.session.ticket_cases import DAY, HOUR, NOW, OTHER_PARTITION, OTHER_SECRET, PARTITION, SECRET, stream

SESSION_ID = bytes(range(100, 132))
MIDNIGHT = 20_781.0 * DAY


@pytest.fixture
def sealer() -> RecordSealer:
    return RecordSealer(TicketKeys.from_secret(SECRET))


def seal(
    sealer: RecordSealer,
    plaintext: bytes = b"session",
    *,
    session_id: bytes = SESSION_ID,
    partition: bytes = PARTITION,
    expires_at: float = NOW + 2 * HOUR,
    now: float = NOW,
) -> SealedRecord | None:
    return sealer.seal(
        plaintext, session_id=session_id, partition=partition, expires_at=expires_at, now=now, random=os.urandom
    )


def sealed(
    sealer: RecordSealer, plaintext: bytes = b"session", *, now: float = NOW, expires_at: float = NOW + 2 * HOUR
) -> SealedRecord:
    made = seal(sealer, plaintext, now=now, expires_at=expires_at)
    assert made is not None
    return made


def opened(
    sealer: RecordSealer,
    record: bytes,
    *,
    session_id: bytes = SESSION_ID,
    partition: bytes = PARTITION,
    now: float = NOW,
) -> bytes | None:
    return sealer.open(record, session_id=session_id, partition=partition, now=now)


@given(
    plaintext=st.binary(max_size=600) | st.integers(LONGEST_PLAINTEXT - 2, LONGEST_PLAINTEXT).map(bytes),
    session_id=st.binary(min_size=1, max_size=32),
    partition=st.binary(max_size=40),
)
def test_what_one_node_seals_another_finds_and_opens(plaintext: bytes, session_id: bytes, partition: bytes) -> None:
    here, there = RecordSealer(TicketKeys.from_secret(SECRET)), RecordSealer(TicketKeys.from_secret(SECRET))
    made = seal(here, plaintext, session_id=session_id, partition=partition)
    assert made is not None
    assert made.key in there.store_keys(session_id, partition, NOW)
    assert opened(there, made.record, session_id=session_id, partition=partition) == plaintext


@pytest.mark.parametrize(
    ("plaintext", "record"),
    [
        (0, 512),
        (470, 512),
        (471, 1024),
        (982, 1024),
        (983, 2048),
        (2006, 2048),
        (2007, 4096),
        (4054, 4096),
        (4055, 8192),
        (8150, 8192),
        (8151, 16_426),
    ],
)
def test_a_record_shows_only_the_size_class_of_what_it_holds(sealer: RecordSealer, plaintext: int, record: int) -> None:
    assert len(sealed(sealer, bytes(plaintext)).record) == record


def test_a_store_sees_neither_id_nor_partition_nor_content(sealer: RecordSealer) -> None:
    made = sealed(sealer, b"a master secret of forty-eight bytes")
    for hidden in (SESSION_ID, SESSION_ID[:8], PARTITION[:8], b"master"):
        assert hidden not in made.record
        assert hidden.hex() not in made.key
    assert re.fullmatch(r"resumption:s:\{[0-9a-f]{4}\}[0-9a-f]{64}", made.key)


def test_the_keys_of_both_generations_share_a_tag_which_says_next_to_nothing(sealer: RecordSealer) -> None:
    keys = sealer.store_keys(SESSION_ID, PARTITION, NOW)
    assert len(set(keys)) == 2
    assert len({key[:19] for key in keys}) == 1
    others = {sealer.store_keys(number.to_bytes(32, "big"), PARTITION, NOW)[0][13:19] for number in range(2000)}
    assert 1900 < len(others) < 2000, "they are spread, and several ids have the same"


def test_the_record_is_the_documented_construction(sealer: RecordSealer) -> None:
    keys = TicketKeys.from_secret(SECRET).ring.reading_keys(NOW)[0]
    made = sealed(sealer, b"plaintext")
    named = b"\0\x20" + PARTITION + SESSION_ID
    assert made.key == f"resumption:s:{{{sha256(named).hexdigest()[:4]}}}{keys.index.digest(named).hex()}"
    head, expiry = made.record[:25], int(NOW + 2 * HOUR)
    assert head[:1] == b"\x01"
    assert head[17:] == expiry.to_bytes(8, "big")
    assert made.expires_at == expiry
    secret, nonce = keys.record.expand_key_and_nonce(b"key" + head[1:17] + SESSION_ID)
    associated = head + b"\0\x20" + PARTITION + made.key.encode()
    assert AESGCM(secret).decrypt(nonce, made.record[25:], associated).rstrip(b"\0") == b"plaintext\x80"


def test_namespaces_are_apart(sealer: RecordSealer) -> None:
    other = RecordSealer(TicketKeys.from_secret(SECRET), namespace="staging")
    assert not set(other.store_keys(SESSION_ID, PARTITION, NOW)) & set(sealer.store_keys(SESSION_ID, PARTITION, NOW))
    assert opened(other, sealed(sealer).record) is None


# --- what does not open ----------------------------------------------------------------------------------------------


def test_a_record_moved_to_another_id_or_partition_does_not_open(sealer: RecordSealer) -> None:
    record = sealed(sealer).record
    assert opened(sealer, record, session_id=SESSION_ID[:-1] + b"\0") is None
    assert opened(sealer, record, session_id=SESSION_ID[:-1]) is None
    assert opened(sealer, record, session_id=b"") is None
    assert opened(sealer, record, partition=OTHER_PARTITION) is None
    assert opened(sealer, record, partition=PARTITION + SESSION_ID[:1], session_id=SESSION_ID[1:]) is None
    assert opened(sealer, record) == b"session"


def test_a_record_of_another_fleet_does_not_open(sealer: RecordSealer) -> None:
    other = RecordSealer(TicketKeys.from_secret(OTHER_SECRET))
    assert opened(other, sealed(sealer).record) is None
    assert not set(other.store_keys(SESSION_ID, PARTITION, NOW)) & set(sealer.store_keys(SESSION_ID, PARTITION, NOW))


def test_a_record_cannot_be_extended_and_ends_at_its_time(sealer: RecordSealer) -> None:
    record = sealed(sealer).record
    assert opened(sealer, record, now=NOW + 2 * HOUR - 1) == b"session"
    assert opened(sealer, record, now=NOW + 2 * HOUR) is None
    later = record[:17] + int(NOW + 3 * HOUR).to_bytes(8, "big") + record[25:]
    assert opened(sealer, later, now=NOW) is None


@pytest.mark.parametrize("cut", [25, 41, 17, 1])
def test_halves_of_two_records_do_not_make_one(sealer: RecordSealer, cut: int) -> None:
    one, other = sealed(sealer, b"one").record, sealed(sealer, b"other").record
    assert opened(sealer, one[:cut] + other[cut:]) in ((None,) if cut > 1 else (b"other",))  # byte 0 is equal in all


def test_f58_corrupt_records_are_misses(sealer: RecordSealer) -> None:
    record = sealed(sealer, bytes(100)).record
    random = stream(b"f58 records")
    cases = []
    for position in range(len(record)):
        for change in range(1, 256, 17):
            changed = bytearray(record)
            changed[position] ^= change
            cases.append(bytes(changed))
    for length in range(len(record)):
        cases += [record[:length], random(length), b"\x01" + random(511)]
    for size in (513, 1024, 16_426, 16_427, 100_000):
        cases += [record + bytes(size - 512), (record * 200)[:size]]
    assert len(cases) > 9000
    assert {opened(sealer, case) for case in cases} == {None}
    assert opened(sealer, record) == bytes(100)


@given(st.binary(max_size=2000) | st.binary(min_size=511, max_size=511).map(lambda rest: b"\x01" + rest))
def test_arbitrary_bytes_are_a_miss(record: bytes) -> None:
    assert opened(RecordSealer(TicketKeys.from_secret(SECRET)), record) is None


@pytest.mark.parametrize("returned", [None, "x" * 512, bytearray(512), memoryview(bytes(512)), 512, [b"x"]])
def test_what_is_not_even_bytes_is_a_miss(sealer: RecordSealer, returned: bytes) -> None:
    assert opened(sealer, returned) is None


def test_a_record_of_another_version_is_a_miss(sealer: RecordSealer) -> None:
    record = sealed(sealer).record
    for version in (0, 2, 255):
        assert opened(sealer, bytes([version]) + record[1:]) is None


# --- limits ----------------------------------------------------------------------------------------------------------


def test_a_session_over_16_kib_is_not_sealed(sealer: RecordSealer) -> None:
    assert opened(sealer, sealed(sealer, bytes(16_384)).record) == bytes(16_384)
    assert seal(sealer, bytes(16_385)) is None


@pytest.mark.parametrize("session_id", [b"", bytes(256)])
def test_an_impossible_id_is_not_sealed(sealer: RecordSealer, session_id: bytes) -> None:
    assert seal(sealer, session_id=session_id) is None
    assert seal(sealer, session_id=session_id[1:] or b"x") is not None


@pytest.mark.parametrize("expires_at", [NOW - 1, NOW, NOW + 0.9, float("nan"), float("-inf"), 0.0])
def test_a_session_with_nothing_left_to_live_is_not_sealed(sealer: RecordSealer, expires_at: float) -> None:
    assert seal(sealer, expires_at=expires_at) is None


def test_a_session_with_a_second_left_is_sealed(sealer: RecordSealer) -> None:
    assert sealed(sealer, expires_at=NOW + 1).expires_at == NOW + 1


@pytest.mark.parametrize("expires_at", [NOW + 10 * DAY, float("inf")])
def test_a_record_lives_one_generation_at_most_and_its_keys_as_long(sealer: RecordSealer, expires_at: float) -> None:
    made = sealed(sealer, expires_at=expires_at)
    assert made.expires_at == NOW + DAY
    assert made.key in sealer.store_keys(SESSION_ID, PARTITION, made.expires_at - 1)
    assert opened(sealer, made.record, now=made.expires_at - 1) == b"session"
    assert opened(sealer, made.record, now=made.expires_at) is None
    assert made.key not in sealer.store_keys(SESSION_ID, PARTITION, (20_780 + 2) * DAY)


@pytest.mark.parametrize("length", [0, 15, 17])
def test_f59_a_random_source_that_returns_the_wrong_length_is_an_error(sealer: RecordSealer, length: int) -> None:
    with pytest.raises(InternalError, match=f"returned {length} bytes where 16"):
        sealer.seal(
            b"x",
            session_id=SESSION_ID,
            partition=PARTITION,
            expires_at=NOW + 60,
            now=NOW,
            random=lambda _: bytes(length),
        )


def test_f56_no_key_and_nonce_repeat_even_when_the_random_source_does(sealer: RecordSealer) -> None:
    salts = set()
    for number in range(2000):
        made = sealer.seal(
            number.to_bytes(2, "big"),
            session_id=SESSION_ID,
            partition=PARTITION,
            expires_at=NOW + 60,
            now=NOW,
            random=bytes,
        )
        assert made is not None
        salts.add(made.record[1:17])
    assert len(salts) == 2000


# --- generations -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ratchet", [False, True])
def test_a_record_is_found_across_midnight(ratchet: bool) -> None:
    sealer = RecordSealer(TicketKeys.from_secret(SECRET, ratchet=ratchet))
    made = sealed(sealer, now=MIDNIGHT - 10, expires_at=MIDNIGHT + HOUR)
    today, yesterday = sealer.store_keys(SESSION_ID, PARTITION, MIDNIGHT + 600)
    assert made.key == yesterday != today
    assert opened(sealer, made.record, now=MIDNIGHT + 600) == b"session"
    renewed = sealed(sealer, b"renewed", now=MIDNIGHT + 600, expires_at=MIDNIGHT + HOUR)
    assert renewed.key == today


def test_just_after_midnight_records_are_written_where_slower_clocks_look(sealer: RecordSealer) -> None:
    made = sealed(sealer, now=MIDNIGHT + 59, expires_at=MIDNIGHT + HOUR)
    slower = RecordSealer(TicketKeys.from_secret(SECRET))
    assert made.key in slower.store_keys(SESSION_ID, PARTITION, MIDNIGHT - 1)
    assert opened(slower, made.record, now=MIDNIGHT - 1) == b"session"


def test_a_record_does_not_outlive_the_keys_that_it_is_looked_for_with(sealer: RecordSealer) -> None:
    """Just after midnight it is written under the generation before, whose time is up within a day."""
    made = sealed(sealer, now=MIDNIGHT + 59, expires_at=MIDNIGHT + 10 * DAY)
    assert made.expires_at == MIDNIGHT + DAY
    assert made.key in sealer.store_keys(SESSION_ID, PARTITION, made.expires_at - 1)
    assert made.key not in sealer.store_keys(SESSION_ID, PARTITION, made.expires_at)


def test_f61_a_record_two_generations_old_is_out_of_reach() -> None:
    keys = TicketKeys.from_secret(SECRET, ratchet=True)
    sealer = RecordSealer(keys)
    made = sealed(sealer)
    later = NOW + 2 * DAY
    sealer.store_keys(SESSION_ID, PARTITION, later)
    assert opened(sealer, made.record, now=later) is None
    assert sealer.store_keys(SESSION_ID, PARTITION, NOW) == ()  # the clock set back: those keys are gone
    assert opened(sealer, made.record, now=NOW) is None


def test_revoking_a_generation_revokes_its_records() -> None:
    keys = TicketKeys.from_secret(SECRET)
    sealer = RecordSealer(keys)
    made = sealed(sealer)
    keys.revoke(generation=20_780)
    assert opened(sealer, made.record) is None
    assert seal(sealer) is None


@pytest.mark.parametrize("now", [float("nan"), -1.0, 1e300])
def test_f60_without_a_clock_nothing_is_sealed_and_nothing_found(now: float) -> None:
    sealer = RecordSealer(TicketKeys.generate())
    assert seal(sealer, now=now, expires_at=2e300) is None
    assert sealer.store_keys(SESSION_ID, PARTITION, now) == ()
    assert opened(sealer, bytes([1]) + bytes([255]) * 511, now=now) is None


def test_f60_a_clock_that_jumped_back_seals_nothing(sealer: RecordSealer) -> None:
    sealed(sealer)
    assert seal(sealer, now=NOW - 3 * HOUR) is None


def test_f60_a_closed_ring_seals_and_opens_nothing() -> None:
    keys = TicketKeys.from_secret(SECRET)
    sealer = RecordSealer(keys)
    record = sealed(sealer).record
    keys.close()
    assert seal(sealer) is None
    assert opened(sealer, record) is None
    assert sealer.store_keys(SESSION_ID, PARTITION, NOW) == ()
