"""Ticket keys in files that other programs write: which seals, which open, and what becomes of a change."""

from __future__ import annotations

import hashlib
import logging
import pickle
from pathlib import Path

import pytest

from resumption.errors import ConfigurationError
from resumption.session.tickets.key_files import TicketKeyFiles
from tests.session.ticket_cases import NOW, PARTITION, stream


def block(name: str, length: int = 80) -> bytes:
    return hashlib.shake_256(name.encode()).digest(length)


def put(path: Path, content: bytes, mode: int = 0o600) -> Path:
    """Replace a file as a careful program does."""
    fresh = path.with_suffix(".new")
    fresh.write_bytes(content)
    fresh.chmod(mode)
    fresh.replace(path)
    return path


def sealed(keys: TicketKeyFiles) -> bytes:
    ticket = keys.seal(
        b"a session", partition=PARTITION, mechanism="ticket-12", now=NOW, random=stream(b"iv"), lifetime_s=60
    )
    assert ticket is not None
    return ticket


def opens(keys: TicketKeyFiles, ticket: bytes) -> bool:
    return keys.open(ticket, partition=PARTITION, mechanism="ticket-12", now=NOW) == b"a session"


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    return [put(tmp_path / "now.key", block("now")), put(tmp_path / "before.key", block("before", 48))]


def test_the_first_file_seals_and_all_of_them_open(paths: list[Path]) -> None:
    keys = TicketKeyFiles(*paths)
    assert sealed(keys)[:16] == block("now")[:16]
    assert all(opens(keys, sealed(TicketKeyFiles(path))) for path in paths)
    assert not opens(keys, block("no ticket", 200))
    status = keys.status(NOW)
    assert status.issuing == block("now")[:16].hex()
    assert [key.name for key in status.keys] == [block("now")[:16].hex(), block("before")[:16].hex()]
    assert (status.counts["opened"], status.counts["unknown"], status.counts["sealed"]) == (2, 1, 1)


def test_a_rotation_by_rename_is_taken_in_and_old_tickets_stay_good(paths: list[Path]) -> None:
    keys = TicketKeyFiles(*paths)
    old = sealed(keys)
    assert not keys.refresh(NOW)
    put(paths[1], block("now"))
    put(paths[0], block("next"))
    assert keys.refresh(NOW)
    assert not keys.refresh(NOW)
    assert sealed(keys)[:16] == block("next")[:16]
    assert opens(keys, old)
    assert keys.status(NOW).counts["reloads"] == 1


def test_f61_a_key_that_left_the_files_opens_nothing_more(paths: list[Path]) -> None:
    keys = TicketKeyFiles(*paths)
    gone = sealed(TicketKeyFiles(paths[1]))
    put(paths[1], block("another"))
    leaving = keys._keys[1]
    assert keys.refresh(NOW)
    assert not opens(keys, gone)
    assert leaving.to_block() == b""


@pytest.mark.parametrize(
    ("content", "mode", "why"),
    [
        (block("short", 79), 0o600, "exactly 80 or 48 bytes, not 79"),
        (block("long", 81), 0o600, "longer than 80 bytes"),
        (bytes(80), 0o600, "HMAC part"),
        (b"", 0o600, "not 0 bytes"),
        (block("next"), 0o644, "chmod 600"),
        (block("before", 48), 0o600, "same name"),
    ],
)
def test_f57_f60_a_bad_file_leaves_the_keys_as_they_were_and_is_told_once(
    paths: list[Path], content: bytes, mode: int, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    keys = TicketKeyFiles(*paths)
    old = sealed(keys)
    put(paths[0], content, mode)
    with caplog.at_level(logging.WARNING, "resumption.tickets"):
        assert not keys.refresh(NOW)
        assert not keys.refresh(NOW)
    assert len(caplog.records) == 1
    assert why in caplog.text
    assert why in str(keys.status(NOW).trouble)
    assert opens(keys, old)
    assert sealed(keys)[:16] == block("now")[:16]
    put(paths[0], block("next"))
    assert keys.refresh(NOW)
    assert keys.status(NOW).trouble is None
    with pytest.raises(ConfigurationError, match=why):
        TicketKeyFiles(put(paths[0], content, mode), paths[1])


def test_f60_a_file_that_vanished_is_trouble_and_its_return_is_none(paths: list[Path]) -> None:
    keys = TicketKeyFiles(*paths)
    paths[0].unlink()
    assert not keys.refresh(NOW)
    assert "now.key" in str(keys.trouble)
    assert opens(keys, sealed(keys))
    put(paths[0], block("now"))
    keys.refresh(NOW)
    assert keys.trouble is None


def test_a_file_that_is_touched_is_no_change(paths: list[Path]) -> None:
    keys = TicketKeyFiles(*paths)
    put(paths[0], block("now"))
    assert not keys.refresh(NOW)
    assert keys.status(NOW).counts["reloads"] == 0


def test_f05_a_pickle_names_the_files(paths: list[Path]) -> None:
    pickled = pickle.dumps(TicketKeyFiles(*paths))
    assert block("now")[16:48] not in pickled
    put(paths[0], block("next"))
    assert sealed(pickle.loads(pickled))[:16] == block("next")[:16]


def test_closed_keys_are_gone_and_stay_so(paths: list[Path]) -> None:
    keys = TicketKeyFiles(*paths)
    ticket = sealed(keys)
    keys.close()
    put(paths[0], block("next"))
    assert not keys.refresh(NOW)
    assert not opens(keys, ticket)
    assert keys.lifetime_left(NOW) == 0


def test_one_file_is_needed() -> None:
    with pytest.raises(ConfigurationError, match="one file"):
        TicketKeyFiles()
