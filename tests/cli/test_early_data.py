"""Early data on the command line, at both ends."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.commands import invoke, served


def test_early_data_is_sent_with_a_session_and_taken(tmp_path: Path) -> None:
    file = tmp_path / "early"
    file.write_bytes(b"X-Early: yes\r\n")
    with served("--early-data", "--echo") as server:
        done = invoke(
            "connect", server.target, "--ca", server.authority, "--early-data", file, "--reconnect", 2, "--json"
        )
        lines = [server.line() for _ in range(3)]
    told = [one["early_data"] for one in json.loads(done.stdout)["connections"]]
    first = "no early data: there is no session that can be offered"
    assert told == [first, "14 bytes of early data accepted", "14 bytes of early data accepted"]
    assert [line["early_data"] for line in lines] == [None, *told[1:]]
    assert [one["received"] for one in json.loads(done.stdout)["connections"]] == [0, 14, 14]


def test_a_server_without_it_says_nothing_and_takes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "early"
    file.write_bytes(b"X")
    with served() as server:
        done = invoke(
            "connect", server.target, "--ca", server.authority, "--early-data", file, "--reconnect", 1, "--get"
        )
    assert "no early data" in done.stderr + done.stdout
