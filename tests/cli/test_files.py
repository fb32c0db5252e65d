"""Session files in every form, and files that only their owner may read."""

from __future__ import annotations

import io
import os
import stat
import sys
from pathlib import Path

import pytest

from resumption import Session
from resumption.cli.files import STANDARD, decode_session, read_session, write_private
from resumption.errors import ConfigurationError, SessionFormatError
from resumption.session.facts import SessionData

SECRET = bytes(range(100, 132))


def made() -> Session:
    return Session.create(SessionData(version=0x0304, cipher=0x1301, session_id=b"i" * 32, ticket=b"t" * 9), SECRET)


@pytest.fixture
def forms() -> dict[str, bytes]:
    with made() as session:
        pem = session.to_pem().encode()
        return {"pem": b"a comment before\n" + pem, "der": session.to_der(), "packed": session.to_packed()}


@pytest.mark.parametrize("form", ["pem", "der", "packed"])
def test_the_form_is_recognised(form: str, forms: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "session"
    path.write_bytes(forms[form])
    session, found = read_session(path)
    with session:
        assert found == form
        assert (session.secret, session.ticket, session.references) == (SECRET, b"t" * 9, 1)


def test_a_dash_is_standard_input(forms: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(forms["der"])))
    session, form = read_session(STANDARD)
    with session:
        assert (form, session.secret) == ("der", SECRET)


def test_a_bad_file_on_standard_input_is_named_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"?")))
    with pytest.raises(SessionFormatError, match=r"^standard input: neither"):
        read_session(STANDARD)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"garbage", "neither a session in PEM"),
        (b"\x30\x03\x02\x01\x01", "session"),
        (b"-----BEGIN SSL SESSION PARAMETERS-----\n!\n-----END SSL SESSION PARAMETERS-----\n", "PEM|base64"),
        (b"\x01" * 40, "neither"),
        (bytes((1 << 20) + 1), "more than"),
    ],
)
def test_what_is_no_session_is_refused(content: bytes, words: str) -> None:
    with pytest.raises(SessionFormatError, match=words):
        decode_session(content)


@pytest.mark.parametrize("form", ["der", "packed"])
def test_a_cut_file_is_refused(form: str, forms: dict[str, bytes]) -> None:
    with pytest.raises(SessionFormatError):
        decode_session(forms[form][:-1])


def test_a_file_that_cannot_be_read_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="missing: No such file"):
        read_session(tmp_path / "missing")
    with pytest.raises(ConfigurationError):
        read_session(tmp_path)


def test_a_private_file_is_private_even_where_a_public_one_was(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"something longer than what comes")
    path.chmod(0o644)
    before = os.umask(0)
    try:
        write_private(path, b"new")
        write_private(tmp_path / "fresh", b"new")
    finally:
        os.umask(before)
    for each in (path, tmp_path / "fresh"):
        assert each.read_bytes() == b"new"
        assert stat.S_IMODE(each.stat().st_mode) == 0o600
