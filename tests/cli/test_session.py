"""``resumption session``: showing, hiding the secret, and converting there and back."""

from __future__ import annotations

import json
import stat
import subprocess
from pathlib import Path

import pytest

from resumption import Session
from resumption.cli.output import Status
from resumption.cli.session import facts_as_json, text_without_secret
from resumption.session.facts import SessionData
from tests.cli.commands import invoke, run

SECRET = bytes(range(100, 148))
VECTORS = Path(__file__).resolve().parent.parent / "vectors" / "sessions"


def made(**changes: object) -> Session:
    data = SessionData(
        version=0x0303, cipher=0xC02B, session_id=b"\xab" * 32, time=1_800_000_000.0, timeout=7200, flags=1
    )
    return Session.create(data.replaced(**changes), SECRET)


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    path = tmp_path / "session.pem"
    with made() as session:
        path.write_text(session.to_pem())
    return path


def test_it_is_shown_without_its_secret(pem: Path) -> None:
    shown = invoke("session", "show", pem)
    assert shown.exit_code == 0
    assert SECRET.hex().upper() not in shown.stdout.upper()
    assert "    Master-Key: (48 bytes, hidden; --secrets shows them)\n" in shown.stdout
    assert "    Session-ID: " + "AB" * 32 + "\n" in shown.stdout


@pytest.mark.parametrize("path", sorted(VECTORS.glob("*.pem")), ids=lambda path: path.stem)
def test_with_its_secret_it_is_what_openssl_prints(path: Path) -> None:
    shown = invoke("session", "show", path, "--secrets")
    assert shown.exit_code == 0
    assert shown.stdout.rstrip("\n") == path.with_suffix(".txt").read_text().rstrip("\n")


@pytest.mark.parametrize("path", sorted(VECTORS.glob("*.pem")), ids=lambda path: path.stem)
def test_no_form_of_showing_lets_the_secret_out_by_itself(path: Path) -> None:
    with Session.from_pem(path.read_bytes()) as session:
        secret = session.secret.hex()
    assert secret
    for arguments in ([], ["--json"]):
        shown = invoke("session", "show", path, *arguments)
        assert shown.exit_code == 0
        assert secret not in shown.stdout.lower()


def test_json_has_every_fact(pem: Path) -> None:
    facts = json.loads(invoke("session", "show", pem, "--json").stdout)
    assert (facts["form"], facts["version_name"], facts["cipher_name"]) == (
        "pem",
        "TLSv1.2",
        "ECDHE-ECDSA-AES128-GCM-SHA256",
    )
    assert (facts["secret"], facts["secret_length"], facts["resumable"]) == (None, 48, True)
    assert (facts["session_id"], facts["time"], facts["expires_at"]) == ("ab" * 32, 1_800_000_000, 1_800_007_200)
    assert facts["peer_certificate"] is None
    assert json.loads(invoke("session", "show", pem, "--json", "--secrets").stdout)["secret"] == SECRET.hex()


def test_chains_and_ids_are_written_in_hexadecimal() -> None:
    with made(peer_chain=(b"\x01", b"\x02"), alpn=b"h2") as session:
        facts = facts_as_json(session, secrets=False)
    assert (facts["peer_chain"], facts["alpn"]) == (["01", "02"], "6832")
    json.dumps(facts)


def test_a_name_in_the_session_cannot_pose_as_the_secrets_line_or_drive_the_terminal(tmp_path: Path) -> None:
    with made(psk_identity=b"x\n    Master-Key: 00\x1b[2J") as session:
        text = text_without_secret(session)
        assert SECRET.hex().upper() not in text
        path = tmp_path / "odd.pem"
        path.write_text(session.to_pem())
    assert "\x1b" not in invoke("session", "show", path).stdout


@pytest.mark.parametrize("form", ["pem", "der", "packed"])
def test_converting_there_and_back_changes_nothing(form: str, pem: Path, tmp_path: Path) -> None:
    there, back = tmp_path / "there", tmp_path / "back"
    for source, to, out in ((pem, form, there), (there, "pem", back)):
        done = invoke("session", "convert", source, "--to", to, "--out", out)
        assert (done.exit_code, done.stdout) == (0, "")
        assert "contains the session's secret" in done.stderr
        assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert back.read_bytes() == pem.read_bytes()
    assert json.loads(invoke("session", "show", there, "--json").stdout)["form"] == form


def test_a_key_log_line_is_what_openssl_writes(pem: Path, openssl: str) -> None:
    line = invoke("session", "convert", pem, "--to", "nss").stdout
    theirs = subprocess.run([openssl, "sess_id", "-in", str(pem), "-outform", "NSS"], capture_output=True, text=True)
    assert line == theirs.stdout == f"RSA Session-ID:{'AB' * 32} Master-Key:{SECRET.hex().upper()}\n"


def test_a_session_without_id_has_no_key_log_line(tmp_path: Path) -> None:
    path = tmp_path / "s.pem"
    with made(session_id=b"", ticket=b"t") as session:
        path.write_text(session.to_pem())
    done = invoke("session", "convert", path, "--to", "nss")
    assert (done.exit_code, done.stdout) == (Status.USAGE, "")


def test_standard_input_and_output_carry_binary_forms(pem: Path) -> None:
    der = run("session", "convert", "-", "--to", "der", stdin=pem.read_bytes())
    assert (der.returncode, der.stderr) == (0, b"")
    with Session.from_der(der.stdout) as session:
        assert session.secret == SECRET
    assert run("session", "show", "-", stdin=der.stdout).returncode == 0


@pytest.mark.parametrize("command", [["show"], ["convert", "--to", "der"]])
@pytest.mark.parametrize("content", [b"", b"garbage", b"\x30\x80"])
def test_bad_files_are_refused(command: list[str], content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad"
    path.write_bytes(content)
    done = invoke("session", *command, path)
    assert (done.exit_code, done.stdout) == (Status.USAGE, "")
    assert str(path) in done.stderr


def test_a_missing_file_or_form_is_wrong_usage(pem: Path, tmp_path: Path) -> None:
    assert invoke("session", "show", tmp_path / "none").exit_code == Status.USAGE
    assert invoke("session", "convert", pem).exit_code == Status.USAGE
    assert invoke("session", "convert", pem, "--to", "jpeg").exit_code == Status.USAGE
    assert invoke("session", "convert", pem, "--to", "pem", "--out", tmp_path / "no" / "dir").exit_code == Status.FAILED
