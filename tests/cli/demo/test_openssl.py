"""The guest, and stand-ins for it that do what they should not."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from resumption.cli.demo.openssl import ABSENT, RESUMED, SAME, Guest, invite
from resumption.cli.processes import Deadline, DeadlinePassed
from tests.cli.commands import Served, invoke, served


@pytest.fixture
def saved(server: Served, tmp_path: Path) -> Path:
    path = tmp_path / "saved.pem"
    assert (
        invoke("connect", server.target, "--ca", server.authority, "--sess-out", path, "--json", "--tls1_3").exit_code
        == 0
    )
    return path


def invited(server: Served, saved: Path, seconds: float = 60) -> Guest:
    return invite(saved, "127.0.0.1", server.port, server.authority, Deadline(seconds))


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """An ``openssl`` that says ``OpenSSL 9`` to ``version`` and otherwise runs ``script``."""
    program = folder / "openssl"
    program.write_text(f'#!/bin/sh\nif [ "$1" = version ]; then echo "OpenSSL 9"; exit 0; fi\n{script}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder) + os.pathsep + os.environ["PATH"])


def test_the_real_one_resumes_and_reads(server: Served, saved: Path, openssl: str) -> None:
    guest = invited(server, saved)
    assert (guest.resumed, guest.reads) == (RESUMED, SAME)
    assert guest.version.startswith("OpenSSL ")


def test_the_real_one_says_so_when_the_session_is_not_accepted(saved: Path, openssl: str) -> None:
    with served() as another:
        guest = invited(another, saved)
    assert guest.resumed.startswith("not resumed: it says 'New'; the server says: full handshake")
    assert guest.reads == SAME


def test_the_real_one_cannot_read_garbage(server: Served, openssl: str, tmp_path: Path) -> None:
    path = tmp_path / "garbage"
    path.write_bytes(b"garbage")
    guest = invited(server, path)
    assert guest.resumed.startswith(("no handshake", "not resumed"))
    assert guest.reads.startswith("not read (exit status 1)")


def test_none_is_absent(server: Served, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert invited(server, saved) == Guest("", ABSENT, ABSENT)


@pytest.mark.parametrize("words", ["LibreSSL 3.8.2", ""])
def test_another_program_of_that_name_is_not_taken_for_it(
    server: Served, saved: Path, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "openssl"
    program.write_text(f"#!/bin/sh\necho {words}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path) + os.pathsep + os.environ["PATH"])
    guest = invited(server, saved)
    assert guest.resumed == guest.reads
    assert guest.resumed.startswith("unsupported: ")


@pytest.mark.parametrize(
    ("script", "resumed"),
    [
        ("echo 'connect: refused'; exit 1", "no handshake (exit status 1): connect: refused"),
        ("exit 3", "no handshake (exit status 3): it said nothing"),
        ("echo 'New, TLSv1.3, Cipher is X'", "not resumed: it says 'New'; no answer from the server"),
        (
            "echo 'Reused, TLSv1.3, Cipher is X'; echo '{x'; echo '{\"resumed\": false, \"resumption\": \"why not\"}'",
            "not resumed: it says 'Reused'; the server says: why not",
        ),
        (
            "echo 'New, TLSv1.3, Cipher is X'; echo '{\"resumed\": true}'",
            "not resumed: it says 'New'; the server says: None",
        ),
        ("echo '    Resumption PSK: 00FF'; echo end; exit 1", "no handshake (exit status 1): end"),
    ],
)
def test_its_own_word_and_the_servers_must_agree(
    server: Served, saved: Path, script: str, resumed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, monkeypatch, script)
    assert invited(server, saved).resumed == resumed


def test_a_different_reading_is_told(
    server: Served, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(
        tmp_path, monkeypatch, "echo 'SSL-Session:'; echo '    Protocol  : TLSv1.3'; echo '    Timeout   : 1 (sec)'"
    )
    reads = invited(server, saved).reads
    assert reads.startswith("different: ")
    assert "Timeout" in reads
    assert "Protocol" not in reads


def test_one_that_cannot_be_started_or_hangs_is_told(
    server: Served, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from resumption.cli.demo import openssl

    monkeypatch.setattr(openssl, "_LIMIT_S", 0.2)
    stand_in(tmp_path, monkeypatch, "exec sleep 60")
    guest = invited(server, saved)
    assert guest.resumed == "no handshake (exit status -1): it did not end within 0 seconds"
    (tmp_path / "openssl").write_text("#!/nowhere\n")
    assert invited(server, saved).resumed.startswith("unsupported: it could not be started: No such file")


def test_it_has_no_more_time_than_there_is(server: Served, saved: Path, openssl: str) -> None:
    with pytest.raises(DeadlinePassed):
        invited(server, saved, 0)


def test_what_it_tells_can_be_printed_as_json(server: Served, tmp_path: Path, openssl: str) -> None:
    path = tmp_path / "none"
    path.write_bytes(bytes(range(256)))
    json.dumps(invited(server, path).reads)
