"""``resumption keys``: made, shown, rotated and revoked, without a key ever being shown."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from resumption import TicketKeyFiles, TicketKeys
from resumption.session.fleet.revocation import PublishedEpoch
from resumption.session.stores.sqlite import SQLiteStore
from tests.cli.commands import invoke


def made(path: Path, *options: object) -> Path:
    assert invoke("keys", "new", "--out", path, *options).exit_code == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    return path


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    return made(tmp_path / "secret")


def test_a_new_secret_is_accepted_by_the_library(secret: Path) -> None:
    TicketKeys.from_file(secret).close()
    shown = invoke("keys", "new")
    TicketKeys.from_secret(shown.stdout).close()
    assert shown.stdout != invoke("keys", "new").stdout


def test_an_existing_secret_is_not_overwritten(secret: Path) -> None:
    before = secret.read_bytes()
    shown = invoke("keys", "new", "--out", secret)
    assert shown.exit_code == 2
    assert "exists" in shown.stderr
    assert secret.read_bytes() == before


@pytest.mark.parametrize("options", [["--openssl", 64, "--out", "x"], ["--openssl", 80], ["--ratchet"]])
def test_what_cannot_be_made_is_said(options: list[object]) -> None:
    assert invoke("keys", "new", *options).exit_code == 2


def test_status_shows_names_and_ages_and_no_key(secret: Path) -> None:
    shown = invoke("keys", "status", f"file:{secret}", "--json")
    facts = json.loads(shown.stdout)
    assert shown.exit_code == 0
    assert facts["mode"] == "static"
    assert facts["issuing"] in {key["name"] for key in facts["keys"] if key["is_issuing"]}
    table = invoke("keys", "status", f"file:{secret}")
    assert facts["issuing"] in table.stdout
    assert secret.read_text().strip() not in shown.stdout + table.stdout


def test_status_of_keys_that_are_none(tmp_path: Path) -> None:
    shown = invoke("keys", "status", "short")
    assert shown.exit_code == 2
    assert "32 or more" in shown.stderr
    assert invoke("keys", "status", f"file:{tmp_path / 'missing'}").exit_code == 2


def test_openssl_files_rotate_and_the_earlier_key_still_opens(tmp_path: Path) -> None:
    files = [made(tmp_path / name, "--openssl", length) for name, length in (("a", 80), ("b", 48))]
    first = files[0].read_bytes()
    assert invoke("keys", "rotate", *files).exit_code == 0
    assert files[1].read_bytes() == first
    assert files[0].read_bytes() not in (first, b"")
    TicketKeyFiles(*files).close()
    facts = json.loads(invoke("keys", "status", f"files:{files[0]},{files[1]}", "--json").stdout)
    assert facts["issuing"] == files[0].read_bytes()[:16].hex()
    assert facts["keys"][0]["accepted_for_s"] is None


def test_one_openssl_key_can_be_revoked(tmp_path: Path) -> None:
    files = [made(tmp_path / name, "--openssl", 80) for name in "ab"]
    blocks = [path.read_bytes() for path in files]
    source = f"files:{files[0]},{files[1]}"
    assert invoke("keys", "revoke", source, "--name", blocks[1][:16].hex()).exit_code == 0
    assert files[0].read_bytes() == blocks[0]
    assert files[1].read_bytes() != blocks[1]
    assert invoke("keys", "revoke", source, "--name", "00" * 16).exit_code == 1


def test_a_ring_is_moved_on_in_its_file(tmp_path: Path) -> None:
    ring = made(tmp_path / "ring", "--ratchet")
    assert invoke("keys", "rotate", ring).exit_code == 0
    assert json.loads(invoke("keys", "status", f"file:{ring}", "--json").stdout)["mode"] == "ratchet"


def test_a_secret_is_not_rotated_by_hand(secret: Path) -> None:
    shown = invoke("keys", "rotate", secret)
    assert shown.exit_code == 2
    assert "by themselves" in shown.stderr


def test_revoke_all_publishes_a_higher_epoch(secret: Path, tmp_path: Path, store_url: str) -> None:
    for expected in (1, 2):
        shown = invoke("keys", "revoke", f"file:{secret}", "--all", "--store", store_url, "--json")
        assert json.loads(shown.stdout) == {"policy_epoch": expected}
    store = SQLiteStore(tmp_path / "sessions.db")
    assert PublishedEpoch(store, TicketKeys.from_file(secret).ring).read() == 2
    store.close()


@pytest.mark.parametrize("options", [[], ["--all"], ["--all", "--name", "00"], ["--name", "00" * 16]])
def test_revoke_says_what_it_needs(secret: Path, options: list[str]) -> None:
    assert invoke("keys", "revoke", f"file:{secret}", *options).exit_code == 2


def test_keys_in_a_store_are_shown(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert invoke("keys", "status", f"store:{store_url}").exit_code == 2
    monkeypatch.setenv("TICKET_STORE_KEY", invoke("keys", "new").stdout.strip())
    facts = json.loads(invoke("keys", "status", f"store:{store_url}", "--json").stdout)
    assert (facts["mode"], facts["trouble"]) == ("stored", None)
    assert facts["issuing"]
