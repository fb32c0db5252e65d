"""Session files, read in whichever form they are, and files that only their owner may read."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from resumption.errors import ConfigurationError, SessionFormatError
from resumption.session.model import Session

__all__ = ["STANDARD", "decode_session", "read_session", "write_private"]

STANDARD = Path("-")  # standard input or output

_PEM_MARK = b"-----BEGIN SSL SESSION PARAMETERS-----"
_DER_SEQUENCE = 0x30
_MOST = 1 << 20  # bytes; no session is that large


def read_session(path: Path) -> tuple[Session, str]:
    """The session in a file ("-": standard input), and its form: "pem", "der" or "packed". The application holds it.

    Raises `ConfigurationError` if the file cannot be read, and `SessionFormatError` if it is none of them.
    """
    if path == STANDARD:
        content = sys.stdin.buffer.read(_MOST + 1)
    else:
        try:
            with open(path, "rb") as file:
                content = file.read(_MOST + 1)
        except OSError as error:
            raise ConfigurationError(f"{path}: {error.strerror}") from None
    try:
        return decode_session(content)
    except SessionFormatError as error:
        raise SessionFormatError(f"{'standard input' if path == STANDARD else path}: {error}") from None


def decode_session(content: bytes) -> tuple[Session, str]:
    """The session that ``content`` is, and its form, as for `read_session`."""
    if len(content) > _MOST:
        raise SessionFormatError(f"more than {_MOST} bytes: this is no session")
    if _PEM_MARK in content:
        return Session.from_pem(content), "pem"
    if not content:
        raise SessionFormatError("empty: a session in PEM, DER or our packed form was expected")
    if content[0] == _DER_SEQUENCE:
        return Session.from_der(content), "der"
    try:
        return Session.from_packed(content), "packed"
    except SessionFormatError:
        raise SessionFormatError("neither a session in PEM, nor in DER, nor in our packed form") from None


def write_private(path: Path, content: bytes) -> None:
    """Write a file that nobody but its owner may read (mode 0600), also where it existed with another mode."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "wb") as file:
        if hasattr(os, "fchmod"):
            os.fchmod(descriptor, 0o600)
        file.write(content)
