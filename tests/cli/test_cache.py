"""``resumption cache``: what a store holds, and what may be wrong with it."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from resumption.cli import doctor
from resumption.errors import StoreError
from resumption.session.stores.memory import MemoryStore
from resumption.session.stores.store import open_store
from resumption.session.tickets.keys import TicketKeys
from resumption.session.tickets.sealing import RecordSealer
from tests.cli.commands import invoke
from tests.session.ticket_cases import SECRET
from tests.store_servers import memcached_server, redis_server


@pytest.fixture(scope="module", params=["sqlite", "redis", "memcached"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite://{tmp_path_factory.mktemp('store')}/s.db"
        return
    with (redis_server if request.param == "redis" else memcached_server)() as server:
        yield server.url


def save(url: str, number: int) -> None:
    store = open_store(url, timeout_s=5.0)
    sealer = RecordSealer(TicketKeys.from_secret(SECRET))
    now = time.time()
    for each in range(number):
        sealed = sealer.seal(
            b"a session",
            session_id=bytes([each]) * 32,
            partition=b"partition",
            expires_at=now + 600,
            now=now,
            random=secrets.token_bytes,
        )
        assert sealed is not None
        store.put(*sealed)
    store.put("another-program", b"x", time.time() + 600)
    store.close()


def test_a_sound_store_is_found_sound_and_left_as_it_was(url: str) -> None:
    shown = invoke("cache", url, "doctor", "--tickets", SECRET.hex(), "--json")
    report = json.loads(shown.stdout)
    assert (shown.exit_code, report["ok"]) == (0, True), report
    seen = {each["what"]: each["result"] for each in report["findings"]}
    assert {"reached", "value kept", "expiry", "taken once", "marks", "agreement", "other keys"} <= seen.keys()
    assert seen["sealed session"] == "ok"
    assert json.loads(invoke("cache", url, "list", "--json").stdout) == []
    assert "policy epoch" in invoke("cache", url, "doctor", "--tickets", SECRET.hex()).stdout


def test_stats_are_facts(url: str) -> None:
    facts = json.loads(invoke("cache", url, "stats", "--json").stdout)
    assert facts["kind"] in url
    assert isinstance(facts["bytes"], int)
    assert facts["keeps_marks"] is True
    assert "keeps marks" in invoke("cache", url, "stats").stdout


def test_sessions_are_listed_and_flushed_and_nothing_else(url: str) -> None:
    save(url, 3)
    shown = invoke("cache", url, "list", "--json")
    entries = json.loads(shown.stdout)
    assert [entry["kind"] for entry in entries] == ["session"] * 3
    assert all(entry["length"] == 512 for entry in entries)
    assert all(0 < entry["expires_at"] - time.time() <= 600 for entry in entries)
    assert "2 values (there may be more" in invoke("cache", url, "list", "--limit", 2).stdout
    invoke("keys", "revoke", SECRET.hex(), "--all", "--store", url)
    assert json.loads(invoke("cache", url, "flush", "--json").stdout) == {"dropped": 3}
    assert [entry["kind"] for entry in json.loads(invoke("cache", url, "list", "--json").stdout)] == ["policy epoch"]
    assert invoke("cache", url, "flush", "--all").stdout == "1 dropped\n"
    store = open_store(url, timeout_s=5.0)
    assert store.get("another-program") == b"x"
    store.close()


def test_a_store_that_is_not_there_fails_and_says_so() -> None:
    shown = invoke("cache", "redis://127.0.0.1:1", "doctor")
    assert shown.exit_code == 1
    assert "ConnectionError" in shown.stdout
    assert invoke("cache", "redis://127.0.0.1:1", "stats").exit_code == 1


def test_a_url_that_is_none_is_wrong_usage() -> None:
    assert invoke("cache", "ftp://x", "doctor").exit_code == 2
    assert invoke("cache", "memory:", "doctor", "--tickets", "short").exit_code == 2


def test_a_file_that_others_can_reach_fails(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    path.write_bytes(b"")
    path.chmod(0o644)
    shown = invoke("cache", f"sqlite://{path}", "doctor")
    assert shown.exit_code == 1
    assert "permissions" in shown.stdout


class Sick(MemoryStore):
    """A store with one illness."""

    def __init__(self, illness: str) -> None:
        super().__init__()
        self.illness = illness

    def get(self, key: str, other: str | None = None) -> bytes | None:
        if self.illness == "down":
            raise StoreError("it is down")
        return b"other bytes" if self.illness == "lies" else super().get(key, other)

    def take(self, key: str, other: str | None = None) -> bytes | None:
        return super().get(key, other) if self.illness == "gives twice" else super().take(key, other)

    def add_once(self, key: str, expires_at: float) -> bool:
        if self.illness == "no marks":
            raise StoreError("no room")
        return True if self.illness == "marks twice" else super().add_once(key, expires_at)

    def put_if_absent(self, key: str, value: bytes, expires_at: float) -> bytes:
        return value if self.illness == "disagrees" else super().put_if_absent(key, value, expires_at)

    def describe(self) -> dict[str, Any]:
        return {
            "wrong clock": {"time": time.time() - 3600},
            "evicts": {"policy": "allkeys-lru", "memory limit": 1000},
            "damaged": {"check": "row missing"},
            "rollback journal": {"journal": "delete"},
            "replicated": {"replicas": 2},
        }.get(self.illness, {})


@pytest.mark.parametrize(
    ("illness", "result", "what"),
    [
        ("down", "FAILED", "reach"),
        ("lies", "FAILED", "value kept"),
        ("gives twice", "FAILED", "taken once"),
        ("gives twice", "FAILED", "sealed session"),
        ("no marks", "warning", "marks"),
        ("marks twice", "FAILED", "marks"),
        ("disagrees", "FAILED", "agreement"),
        ("wrong clock", "FAILED", "clock"),
        ("evicts", "warning", "eviction"),
        ("damaged", "FAILED", "integrity"),
        ("rollback journal", "FAILED", "journal"),
        ("replicated", "warning", "replicas"),
    ],
)
def test_each_illness_is_found(monkeypatch: pytest.MonkeyPatch, illness: str, result: str, what: str) -> None:
    monkeypatch.setattr(doctor, "open_store", lambda url, timeout_s: Sick(illness))
    findings = doctor.examine("sick:", tickets=SECRET.hex(), namespace="resumption", timeout_s=1.0)
    assert (result, what) in {(each.result, each.what) for each in findings}
