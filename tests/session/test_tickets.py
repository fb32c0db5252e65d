from __future__ import annotations

import copy
import gc
import hashlib
import hmac
import os
import pickle
import threading
import tracemalloc
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from resumption.errors import ConfigurationError, InternalError, UsageError
from resumption.session.tickets.derivation import PreparedHmac
from resumption.session.tickets.keys import TICKET_LENGTHS, TicketKeys, TicketProtection
from resumption.session.tickets.openssl_tickets import OpenSSLTicketKeys
from resumption.session.tickets.ring import EpochKey
from tests.session.test_forking import in_child
from tests.session.ticket_cases import (
    DAY,
    HOUR,
    NOW,
    OTHER_PARTITION,
    OTHER_SECRET,
    PARTITION,
    SECRET,
    opened,
    seal,
    sealed,
    stream,
)

LONGEST = 8192 - 57  # the longest plaintext of a ticket


@pytest.fixture
def keys() -> TicketKeys:
    return TicketKeys.from_secret(SECRET)


def associated(ticket: bytes) -> bytes:
    """The authenticated data of a ticket made by `sealed`, written out once more."""
    return ticket[:40] + (32).to_bytes(2, "big") + PARTITION + b"tls13"


# --- sealing and opening ---------------------------------------------------------------------------------------------


@given(
    plaintext=st.binary(max_size=600) | st.binary(min_size=LONGEST - 3, max_size=LONGEST),
    partition=st.binary(max_size=40),
    mechanism=st.text(max_size=12),
)
def test_what_is_sealed_opens_on_every_node(plaintext: bytes, partition: bytes, mechanism: str) -> None:
    here, there = TicketKeys.from_secret(SECRET), TicketKeys.from_secret(SECRET.hex())
    ticket = seal(here, plaintext, partition=partition, mechanism=mechanism)
    assert ticket is not None
    assert len(ticket) in TICKET_LENGTHS
    assert opened(there, ticket, partition=partition, mechanism=mechanism) == plaintext


@pytest.mark.parametrize(
    "plaintext", [b"", b"\0", b"\0" * 455, b"\x80", b"\x80\0\0", b"x\x80", b"x" * 455, b"x" * 456, b"x" * LONGEST]
)
def test_padding_is_told_from_content(keys: TicketKeys, plaintext: bytes) -> None:
    assert opened(keys, sealed(keys, plaintext)) == plaintext


@pytest.mark.parametrize(
    ("plaintext", "length"), [(0, 512), (455, 512), (456, 1024), (967, 1024), (968, 2048), (1991, 2048), (1992, 4096)]
)
def test_a_ticket_shows_only_the_size_class_of_what_it_holds(keys: TicketKeys, plaintext: int, length: int) -> None:
    assert len(sealed(keys, bytes(plaintext))) == length


def test_a_session_too_large_gets_no_ticket_and_is_counted(keys: TicketKeys) -> None:
    assert len(sealed(keys, bytes(LONGEST))) == 8192
    assert seal(keys, bytes(LONGEST + 1)) is None
    assert keys.status(NOW).counts["oversize"] == 1


@pytest.mark.proves("5077:5.2:1", "5077:5.7:2")
def test_the_ticket_is_the_documented_construction(keys: TicketKeys) -> None:
    ticket = sealed(keys, b"plaintext")
    key = keys.ring.issuing_key(NOW)
    assert key is not None
    assert ticket[:16] == key.name
    secret, nonce = key.mac.expand_key_and_nonce(b"tkt" + ticket[16:40])
    assert AESGCM(secret).decrypt(nonce, ticket[40:], associated(ticket)) == b"plaintext\x80" + bytes(446)


def test_the_plaintext_is_not_visible(keys: TicketKeys) -> None:
    secret = b"forty-eight bytes of master secret lie in here!!"
    assert secret not in sealed(keys, secret)
    assert secret[:8] not in sealed(keys, secret)


@pytest.mark.parametrize(
    ("partition", "mechanism"),
    [
        (OTHER_PARTITION, "tls13"),
        (b"", "tls13"),
        (PARTITION, "tls12"),
        (PARTITION, ""),
        (PARTITION + b"t", "ls13"),  # the same bytes, divided elsewhere
        (PARTITION[:-1], PARTITION[-1:].decode("latin-1") + "tls13"),
    ],
)
def test_f64_a_ticket_does_not_open_in_another_partition_or_for_another_mechanism(
    keys: TicketKeys, partition: bytes, mechanism: str
) -> None:
    ticket = sealed(keys)
    assert opened(keys, ticket, partition=partition, mechanism=mechanism) is None
    assert keys.status(NOW).counts["rejected"] == 1
    assert opened(keys, ticket) == b"session"


def test_f64_fleets_with_other_secrets_do_not_open_each_others_tickets(keys: TicketKeys) -> None:
    other = TicketKeys.from_secret(OTHER_SECRET)
    assert opened(other, sealed(keys)) is None
    assert other.status(NOW).counts["unknown"] == 1


# --- keys and nonces -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ratchet", [False, True])
def test_f55_tickets_never_open_with_zero_constant_root_or_label_only_keys(ratchet: bool) -> None:
    keys = TicketKeys.from_secret(SECRET, ratchet=ratchet)
    guesses = [
        bytes(32),
        b"\xff" * 32,
        b"\x00\x01" * 16,
        SECRET,
        hashlib.sha256(SECRET).digest(),
        hashlib.sha256(b"").digest(),
        bytes(keys.ring._roots._root),
        PreparedHmac(b"resumption ticket ring 1").digest(SECRET),
    ]
    guesses += [
        PreparedHmac(root).expand(label)
        for root in (b"", bytes(32))
        for label in (b"", b"tkt", b"stek", b"name", b"stek" + int(NOW // HOUR).to_bytes(8, "big"))
    ]

    def opens_with(ticket: bytes, secret: bytes, nonce: bytes) -> bool:
        try:
            AESGCM(secret).decrypt(nonce, ticket[40:], associated(ticket))
        except InvalidTag:
            return False
        return True

    start = (int(NOW // HOUR) + 1) * HOUR
    midnight = 20_781 * DAY
    for moment in (NOW, start - 1, start, start + 59, start + 60, midnight - 1, midnight + 60, midnight + 5 * DAY):
        ticket = sealed(keys, now=moment)
        salt = ticket[16:40]
        for guess in guesses:
            assert not opens_with(ticket, guess, salt[:12])
            assert not opens_with(ticket, guess, bytes(12))
            assert not opens_with(ticket, *PreparedHmac(guess).expand_key_and_nonce(b"tkt" + salt))
        key = keys.ring.issuing_key(moment)
        assert key is not None
        assert opens_with(ticket, *key.mac.expand_key_and_nonce(b"tkt" + salt))  # so the guesses were well made


def test_f55_keys_of_two_contexts_differ() -> None:
    first, second = TicketKeys.generate(), TicketKeys.generate()
    assert not set(first.ring.window(NOW).by_name) & set(second.ring.window(NOW).by_name)
    assert opened(second, sealed(first)) is None


def test_f56_no_key_and_nonce_repeat_even_when_the_random_source_does(keys: TicketKeys) -> None:
    key = keys.ring.issuing_key(NOW)
    assert key is not None
    seen = set()
    for number in range(10_000):
        ticket = seal(keys, number.to_bytes(4, "big"), random=bytes)  # bytes(24): always zeros
        assert ticket is not None
        seen.add(key.mac.expand_key_and_nonce(b"tkt" + ticket[16:40]))
    assert len(seen) == 10_000


def test_f56_no_key_and_nonce_repeat_for_the_same_session(keys: TicketKeys) -> None:
    key = keys.ring.issuing_key(NOW)
    assert key is not None
    random = stream(b"f56")
    pairs = set()
    for _ in range(100_000):
        secret, nonce = key.mac.expand_key_and_nonce(b"tkt" + random(24))
        pairs.add(hash(secret + nonce))  # the hash, to save memory: a repeated pair would repeat it
    assert len(pairs) >= 100_000 - 1


def test_f56_the_difference_of_two_tickets_of_one_session_has_no_structure(keys: TicketKeys) -> None:
    random = stream(b"difference")
    first, second = (seal(keys, bytes(400), random=random) for _ in range(2))
    assert first is not None
    assert second is not None
    difference = bytes(one ^ other for one, other in zip(first[16:], second[16:], strict=True))
    ones = int.from_bytes(difference, "big").bit_count()
    assert abs(ones - len(difference) * 4) < 200  # 6.4 standard deviations
    blocks = [first[at : at + 8] for at in range(40, 512)] + [second[at : at + 8] for at in range(40, 512)]
    assert len(set(blocks)) == len(blocks)


def test_f59_salts_are_distinct_and_every_bit_of_them_varies(keys: TicketKeys) -> None:
    salts = [int.from_bytes(sealed(keys)[16:40], "big") for _ in range(10_000)]
    assert len(set(salts)) == len(salts)
    for bit in range(192):
        assert 4000 < sum(salt >> bit & 1 for salt in salts) < 6000


@pytest.mark.parametrize("length", [0, 1, 23, 25])
def test_f59_a_random_source_that_returns_the_wrong_length_is_an_error(keys: TicketKeys, length: int) -> None:
    with pytest.raises(InternalError, match=f"returned {length} bytes where 24"):
        seal(keys, random=lambda _: bytes(length))


# --- what does not open ----------------------------------------------------------------------------------------------


@pytest.mark.proves("5077:5.7:2")
def test_f58_corrupt_tickets_are_misses_and_leave_nothing_behind(keys: TicketKeys) -> None:
    ticket = sealed(keys, bytes(200))
    random = stream(b"f58")

    def corrupt() -> list[bytes]:
        tickets = []
        for position in range(len(ticket)):  # every byte, changed in several ways
            for change in (1, 0x80, 0xFF, 1 + random(1)[0] % 254):
                changed = bytearray(ticket)
                changed[position] ^= change
                tickets.append(bytes(changed))
        for length in range(len(ticket)):  # every shorter one, from either end
            tickets += [ticket[:length], ticket[length + 1 :], random(length)]
        for length in range(65):
            tickets += [ticket[:length], bytes(length), ticket + bytes(length + 1), ticket[:16] + random(length)]
        for size in TICKET_LENGTHS:  # the right length, and a name that is known
            tickets += [ticket[:16] + random(size - 16) for _ in range(1300)]
            tickets += [(ticket * 16)[:size]] * (size != 512)
        for size in (8193, 16_384, 65_535):
            tickets += [random(size), ticket + bytes(size)]
        return tickets

    cases = corrupt()
    assert len(cases) >= 10_000
    assert opened(keys, cases[0]) is None  # whatever is made once is made now
    tracemalloc.start()
    try:
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        answers = {opened(keys, case) for case in cases}
        gc.collect()
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert answers == {None}
    assert after - before < 5000  # bytes: one leaked object in three corrupt tickets would be ten times that
    counts = keys.status(NOW).counts
    assert counts["opened"] == 0
    assert counts["unknown"] + counts["rejected"] == len(cases) + 1
    assert counts["rejected"] > 5000  # so they were not all stopped by their length or name
    assert opened(keys, ticket) == bytes(200)


@given(st.binary(max_size=9000))
def test_f58_arbitrary_bytes_are_a_miss(ticket: bytes) -> None:
    assert opened(TicketKeys.from_secret(SECRET), ticket) is None


# --- no key, no ticket; and no failure -------------------------------------------------------------------------------


def closed() -> TicketKeys:
    keys = TicketKeys.from_secret(SECRET)
    keys.close()
    return keys


def revoked() -> TicketKeys:
    keys = TicketKeys.from_secret(SECRET)
    keys.revoke(generation=20_780)
    return keys


def used_tomorrow() -> TicketKeys:
    keys = TicketKeys.from_secret(SECRET)
    keys.lifetime_left(NOW + DAY)
    return keys


def begun_tomorrow() -> TicketKeys:
    keys = TicketKeys.from_secret(SECRET, ratchet=True, since=NOW + DAY)
    assert keys.lifetime_left(NOW + 2 * DAY)
    return TicketKeys.from_secret(SECRET, ratchet=True, since=NOW + DAY)


@pytest.mark.parametrize(
    ("make", "now"),
    [
        (closed, NOW),
        (revoked, NOW),
        (used_tomorrow, NOW),
        (begun_tomorrow, NOW),
        (TicketKeys.generate, float("nan")),
        (TicketKeys.generate, float("inf")),
        (TicketKeys.generate, -1.0),
        (TicketKeys.generate, 1e300),
    ],
)
def test_f60_without_a_usable_key_there_is_no_ticket_and_no_error(make: object, now: float) -> None:
    assert callable(make)
    keys = make()
    ticket = sealed(TicketKeys.from_secret(SECRET))
    assert seal(keys, now=now) is None
    assert keys.lifetime_left(now) == 0
    assert opened(keys, ticket, now=now) is None or make is used_tomorrow
    status = keys.status(now)
    assert status.counts["refused"] == 1
    assert status.not_issuing_because
    assert status.issuing is None


def test_f60_tickets_come_back_when_the_clock_does(keys: TicketKeys) -> None:
    ticket = sealed(keys)
    assert seal(keys, now=NOW - 5 * HOUR) is None
    assert opened(keys, ticket, now=NOW - 5 * HOUR) == b"session"
    assert seal(keys, now=float("nan")) is None
    assert seal(keys, now=NOW + 1) is not None
    assert keys.status(NOW).not_issuing_because is None


@pytest.mark.parametrize("lifetime_s", [0, -1, float("nan"), float("-inf")])
def test_f63_nothing_is_sealed_when_no_lifetime_is_left(keys: TicketKeys, lifetime_s: float) -> None:
    assert seal(keys, lifetime_s=lifetime_s) is None
    assert keys.status(NOW).counts["refused"] == 1


# --- lifetimes -------------------------------------------------------------------------------------------------------


@given(
    now=st.floats(min_value=0, max_value=1e11),
    lifetime_s=st.integers(min_value=1, max_value=604_800),
    ratchet=st.booleans(),
    rotate=st.booleans(),
)
def test_f63_what_is_promised_is_kept_and_never_more_than_seven_days(
    now: float, lifetime_s: int, ratchet: bool, rotate: bool
) -> None:
    keys = TicketKeys.from_secret(SECRET, lifetime_s=lifetime_s, ratchet=ratchet, since=max(0.0, now - 2 * DAY))
    if rotate:
        keys.rotate_now(now)
    promised = keys.lifetime_left(now)
    assert min(lifetime_s, 604_800) - 61 <= promised <= 604_800
    ticket = seal(keys, now=now, lifetime_s=promised)
    assert ticket is not None
    assert opened(keys, ticket, now=now + promised - 0.01) == b"session"
    assert opened(keys, ticket, now=now + promised + 3 * HOUR + 61) in (None, b"session")
    assert opened(keys, ticket, now=now + lifetime_s + 4 * HOUR) is None


def test_f63_at_seven_days_the_promise_is_capped() -> None:
    keys = TicketKeys.from_secret(SECRET, lifetime_s=604_800)
    assert keys.lifetime_left(NOW) == 604_800
    assert seal(keys, lifetime_s=604_800) is not None
    with pytest.raises(ConfigurationError, match="seven days"):
        TicketKeys.from_secret(SECRET, lifetime_s=604_801)


def test_the_promise_ends_exactly_when_the_key_does(keys: TicketKeys) -> None:
    moment = (int(NOW // HOUR) + 1) * HOUR + 59.0  # within the skew: the key of the hour before, near its end
    ticket = sealed(keys, now=moment)
    left = keys.lifetime_left(moment)
    assert left == DAY - 59
    assert opened(keys, ticket, now=moment + left - 0.5) == b"session"
    assert opened(keys, ticket, now=moment + left) is None


# --- forward secrecy -------------------------------------------------------------------------------------------------


def test_f61_after_the_window_no_retained_object_opens_an_old_ticket(tmp_path: Path) -> None:
    keys = TicketKeys.from_secret(SECRET, ratchet=True, since=NOW - 3 * DAY)
    ticket = sealed(keys)
    keys.save(tmp_path / "then", NOW)
    later = NOW + 3 * DAY
    assert opened(keys, ticket, now=later) is None
    keys.save(tmp_path / "later", later)

    assert opened(keys, ticket, now=NOW) is None  # with the clock set back, too
    assert opened(TicketKeys.from_file(tmp_path / "later"), ticket, now=NOW) is None
    retained = [found for found in gc.get_objects() if isinstance(found, EpochKey) and found.name == ticket[:16]]
    assert retained == []
    then = TicketKeys.from_file(tmp_path / "then")
    assert opened(then, ticket, now=NOW) == b"session"  # so the ticket was good
    retained = [found for found in gc.get_objects() if isinstance(found, EpochKey) and found.name == ticket[:16]]
    assert len(retained) == 1  # and a key that is there would have been found


def test_f61_a_static_ring_says_that_it_has_no_forward_secrecy(keys: TicketKeys) -> None:
    assert keys.status(NOW).forward_secrecy == "no forward secrecy"
    assert keys.status(NOW).mode == "static"
    ratchet = TicketKeys.generate().status(NOW)
    assert ratchet.forward_secrecy == "forward secrecy after 172800 s"
    assert ratchet.mode == "ratchet"


def test_f61_tickets_end_with_the_window_in_static_mode(keys: TicketKeys) -> None:
    ticket = sealed(keys)
    assert opened(keys, ticket, now=NOW + 26 * HOUR) is None
    assert keys.status(NOW + 26 * HOUR).counts["unknown"] == 1


# --- where keys come from --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("since", [-1.0, float("nan"), float("inf")])
def test_the_start_of_a_ratchet_must_be_a_time(since: float) -> None:
    with pytest.raises(ConfigurationError, match="since"):
        TicketKeys.from_secret(SECRET, ratchet=True, since=since)


def test_f56_generated_keys_need_a_random_source() -> None:
    with pytest.raises(ConfigurationError, match="0 bytes of key material"):
        TicketKeys.generate(random=lambda length: b"")
    with pytest.raises(ConfigurationError, match="pattern"):
        TicketKeys.generate(random=bytes)


def test_the_environment_holds_the_secret() -> None:
    keys = TicketKeys.from_environment("MY_SECRET", environ={"MY_SECRET": SECRET.hex()}, ratchet=True)
    assert keys.ring.fingerprint == TicketKeys.from_secret(SECRET, ratchet=True).ring.fingerprint
    for environ in ({}, {"TICKET_SECRET": ""}):
        with pytest.raises(ConfigurationError, match="TICKET_SECRET is not set"):
            TicketKeys.from_environment(environ=environ)


def write(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("content", [SECRET, SECRET.hex().encode(), SECRET.hex().encode() + b"\n"])
def test_a_file_holds_the_secret_as_bytes_or_text(tmp_path: Path, content: bytes, keys: TicketKeys) -> None:
    path = write(tmp_path / "secret", content, 0o400)
    assert TicketKeys.from_file(path).ring.fingerprint == keys.ring.fingerprint


@pytest.mark.parametrize("length", [48, 80, 100])
def test_f57_every_byte_of_a_file_counts(tmp_path: Path, length: int) -> None:
    content = hashlib.shake_256(b"file").digest(length)
    fingerprints = {TicketKeys.from_file(write(tmp_path / "whole", content)).ring.fingerprint}
    for position in range(length):
        changed = bytearray(content)
        changed[position] ^= 1
        fingerprints.add(TicketKeys.from_file(write(tmp_path / "changed", bytes(changed))).ring.fingerprint)
    fingerprints.add(TicketKeys.from_file(write(tmp_path / "longer", content + b"\0")).ring.fingerprint)
    fingerprints.add(TicketKeys.from_file(write(tmp_path / "shorter", content[:-1])).ring.fingerprint)
    assert len(fingerprints) == length + 3


@pytest.mark.parametrize(
    "content", [b"", SECRET[:31], SECRET[:16] + bytes(16), SECRET * 200, b'{"format": 1}', b"{\xff"]
)
def test_f57_files_that_hold_no_secret_are_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ConfigurationError):
        TicketKeys.from_file(write(tmp_path / "secret", content))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610, 0o644])
def test_a_file_that_others_can_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "secret", SECRET, mode)
    with pytest.raises(ConfigurationError, match=f"its mode {mode:04o} lets others at it: run chmod 600"):
        TicketKeys.from_file(path)
    assert TicketKeys.from_file(path, check_mode=False).lifetime_left(NOW)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        TicketKeys.from_file(tmp_path / "missing")
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
        TicketKeys.from_file(tmp_path)
    with pytest.raises(ConfigurationError, match="not a regular file"):
        TicketKeys.from_file("/dev/null")


def test_a_saved_ring_is_private_complete_and_replaces_the_one_before(tmp_path: Path) -> None:
    keys = TicketKeys.generate()
    ticket = sealed(keys)
    path = tmp_path / "ring"
    keys.save(path, NOW)
    write(tmp_path / f".ring.{os.getpid()}.new", b"left behind by a crash", 0o644)
    keys.save(path, NOW + 60)
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]
    again = TicketKeys.from_file(path, lifetime_s=HOUR)
    assert opened(again, ticket, now=NOW + 60) == b"session"
    assert again.ring.times.lifetime_s == HOUR


def test_a_ring_that_cannot_be_saved_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "ring").mkdir()
    (tmp_path / "ring" / "full").touch()
    with pytest.raises(OSError, match="directory"):
        TicketKeys.generate().save(tmp_path / "ring", NOW)
    assert [path.name for path in tmp_path.iterdir()] == ["ring"]
    with pytest.raises(UsageError):
        TicketKeys.from_secret(SECRET).save(tmp_path / "static", NOW)
    assert [path.name for path in tmp_path.iterdir()] == ["ring"]


def test_openssl_blocks_make_the_other_kind() -> None:
    kinds: list[TicketProtection] = [
        TicketKeys.from_openssl_block(hashlib.shake_256(b"block").digest(80)),
        TicketKeys.from_secret(SECRET),
    ]
    assert isinstance(kinds[0], OpenSSLTicketKeys)
    assert [kind.session_format for kind in kinds] == ["der", "packed"]


# --- operation -------------------------------------------------------------------------------------------------------


def test_rotating_now_changes_the_key_and_keeps_the_tickets(keys: TicketKeys) -> None:
    before = sealed(keys)
    assert keys.rotate_now(NOW)
    after = sealed(keys)
    assert before[:16] != after[:16]
    assert opened(keys, before) == opened(keys, after) == b"session"
    assert opened(TicketKeys.from_secret(SECRET), after) == b"session"
    assert not keys.rotate_now(NOW)


def test_a_revoked_key_opens_nothing_more(keys: TicketKeys) -> None:
    before = sealed(keys)
    name = keys.status(NOW).issuing
    assert name == before[:16].hex()
    assert keys.revoke(name=name) == 1
    assert opened(keys, before) is None
    assert opened(keys, sealed(keys)) == b"session"


def test_a_revoked_generation_opens_nothing_more(keys: TicketKeys) -> None:
    yesterday, today = sealed(keys, now=NOW - DAY + 3 * HOUR), sealed(keys)
    assert keys.revoke(generation=20_780) == 14
    assert opened(keys, today) is None
    assert opened(keys, yesterday) == b"session"


def test_what_was_revoked_stays_so_over_a_restart_when_the_configuration_says_so(tmp_path: Path) -> None:
    ring = TicketKeys.from_secret(SECRET, ratchet=True)
    today, yesterday = sealed(ring), sealed(TicketKeys.from_secret(SECRET, ratchet=True), now=NOW - DAY + 3 * HOUR)
    name = yesterday[:16].hex()
    ring.save(tmp_path / "ring", NOW)
    for again in (
        TicketKeys.from_secret(SECRET, ratchet=True, revoked=[20_780, name]),
        TicketKeys.from_environment("S", environ={"S": SECRET.hex()}, ratchet=True, revoked=(name, 20_780)),
        TicketKeys.from_file(tmp_path / "ring", revoked={name, 20_780}),
    ):
        assert opened(again, today) is None
        assert opened(again, yesterday) is None
        assert seal(again) is None
        assert len(again.status(NOW).keys) == 11
    with pytest.raises(ConfigurationError, match="hexadecimal"):
        TicketKeys.from_secret(SECRET, revoked=["today"])


@pytest.mark.parametrize(
    "what", [{}, {"generation": 1, "name": "00" * 16}, {"name": "00" * 15}, {"name": "zz" * 16}, {"name": ""}]
)
def test_revoking_says_what_it_needs(keys: TicketKeys, what: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        keys.revoke(**what)


def test_the_status_tells_names_and_ages_and_no_keys(keys: TicketKeys) -> None:
    sealed(keys)
    status = keys.status(NOW)
    assert len(status.keys) == 26
    assert [key.age_s for key in status.keys] == [1800.0 + HOUR * (24 - index) for index in range(26)]
    assert [key.accepted_for_s for key in status.keys] == [1800.0 + HOUR * index for index in range(26)]
    assert [key.is_issuing for key in status.keys] == [index == 24 for index in range(26)]
    assert status.issuing == status.keys[24].name
    assert status.counts == {"sealed": 1, "opened": 0, "unknown": 0, "rejected": 0, "refused": 0, "oversize": 0}
    text = repr(status)
    assert SECRET.hex() not in text
    assert bytes(keys.ring._roots._root).hex() not in text


def test_nodes_can_compare_their_fingerprints(keys: TicketKeys) -> None:
    assert repr(keys) == f"<TicketKeys static {keys.status(NOW).fingerprint}>"
    assert "ratchet" in repr(TicketKeys.generate())
    assert keys.status(NOW).fingerprint == TicketKeys.from_secret(SECRET).status(NOW).fingerprint
    assert keys.status(NOW).fingerprint not in SECRET.hex()


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_f05_keys_are_never_pickled_or_copied(keys: TicketKeys, duplicate: object) -> None:
    assert callable(duplicate)
    for subject in (keys, keys.ring):
        with pytest.raises(TypeError, match="same secret"):
            duplicate(subject)


# --- processes and threads -------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_parent_and_child_open_each_others_tickets_after_a_fork() -> None:
    keys = TicketKeys.generate()
    ticket = sealed(keys)
    assert in_child(lambda: opened(keys, ticket)) == b"session"
    theirs = in_child(lambda: sealed(keys, b"from the child"))
    assert opened(keys, theirs) == b"from the child"
    assert in_child(lambda: sealed(keys))[16:40] != in_child(lambda: sealed(keys))[16:40]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_fork_while_another_thread_turns_the_ring_leaves_no_lock_behind() -> None:
    keys = TicketKeys.from_secret(SECRET)
    stop = threading.Event()

    def turn() -> None:
        now = NOW
        while not stop.is_set():
            now += HOUR
            keys.lifetime_left(now)

    thread = threading.Thread(target=turn)
    thread.start()
    try:
        for _ in range(10):
            far = NOW + 1e9
            assert in_child(lambda far=far: opened(keys, sealed(keys, now=far), now=far)) == b"session"
    finally:
        stop.set()
        thread.join()


def test_threads_share_one_ring_across_epochs(keys: TicketKeys) -> None:
    keys.lifetime_left(NOW)
    barrier = threading.Barrier(8)
    failures: list[object] = []

    def work(number: int) -> None:
        barrier.wait()
        for step in range(100):
            now = NOW + step * 120
            content = bytes([number, step])
            ticket = seal(keys, content, now=now)
            if ticket is None or opened(keys, ticket, now=now) != content:
                failures.append((number, step, keys.status(now).not_issuing_because))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # A thread that the others have left behind by more than an epoch gets no ticket: that is the clock rule at work.
    assert all(reason == "the clock went back by more than one epoch" for _, _, reason in failures)
    assert len(failures) < 700


def test_comparing_secrets_is_left_to_the_aead() -> None:
    """The name is public, and the tag is compared inside AES-GCM: nothing else in a ticket is compared."""
    keys = TicketKeys.from_secret(SECRET)
    key = keys.ring.issuing_key(NOW)
    assert key is not None
    secret, nonce = key.mac.expand_key_and_nonce(b"tkt" + bytes(24))
    forged = key.name + bytes(24) + AESGCM(secret).encrypt(nonce, b"x\x80" + bytes(454), b"")
    assert opened(keys, forged) is None
    assert hmac.compare_digest(sealed(keys)[:16], key.name)
