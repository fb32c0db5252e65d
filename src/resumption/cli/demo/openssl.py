"""The ``openssl`` program as a guest: it resumes a session that our client saved, and reads the file.

Nothing is assumed about its version. Where it is missing, that is said; where it cannot do what is asked, its own words
are.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from resumption.cli.files import read_session
from resumption.cli.processes import Deadline

__all__ = ["ABSENT", "RESUMED", "SAME", "Guest", "invite"]

ABSENT = "absent"
RESUMED = "resumed"
SAME = "same"

_LIMIT_S = 20.0
_WORDS = 300  # characters of its complaint that are kept
_COMPARED = ("Protocol", "Cipher", "Session-ID", "Resumption PSK", "Master-Key", "Start Time", "Timeout")
_SECRET = re.compile(r"Master-Key|PSK")
_LINE = re.compile(r"^ +([A-Za-z -]+?) *: ?(.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Guest:
    """What became of it: "resumed" and "same", "absent", or what went wrong."""

    version: str
    resumed: str
    reads: str


def invite(session_file: Path, host: str, port: int, authority: Path, deadline: Deadline) -> Guest:
    """Have it resume the session at the server, and read the file; both compared with what we know."""
    program = shutil.which("openssl")
    if program is None:
        return Guest("", ABSENT, ABSENT)
    version = _run([program, "version"], deadline)[1].strip()
    if not version.startswith("OpenSSL "):
        unsupported = f"unsupported: {version or 'it does not say which version it is'}"
        return Guest(version, unsupported, unsupported)
    reads = _reads(program, session_file, deadline)
    return Guest(version, _resumes(program, session_file, host, port, authority, deadline), reads)


def _resumes(program: str, session_file: Path, host: str, port: int, authority: Path, deadline: Deadline) -> str:
    command = [program, "s_client", "-connect", f"{host}:{port}", "-servername", "localhost", "-tls1_3", "-ign_eof"]
    command += ["-CAfile", str(authority), "-verify_return_error", "-sess_in", str(session_file)]
    status, output = _run(command, deadline, b"GET /openssl.json HTTP/1.0\r\n\r\n")
    own_word = re.search(r"^(New|Reused), TLSv", output, re.MULTILINE)
    if own_word is None:
        return f"no handshake (exit status {status}): {_last_words(output)}"
    page = _page(output)
    if own_word[1] == "Reused" and page is not None and page.get("resumed") is True:
        return RESUMED
    why = "no answer from the server" if page is None else f"the server says: {page.get('resumption')}"
    return f"not resumed: it says {own_word[1]!r}; {why}"


def _page(output: str) -> dict[str, object] | None:
    for line in output.splitlines():
        if line.startswith("{"):
            try:
                page = json.loads(line)
            except ValueError:
                continue
            if isinstance(page, dict):
                return page
    return None


def _reads(program: str, session_file: Path, deadline: Deadline) -> str:
    status, output = _run([program, "sess_id", "-in", str(session_file), "-noout", "-text"], deadline)
    if status != 0:
        return f"not read (exit status {status}): {_last_words(output)}"
    session, _ = read_session(session_file)
    with session:
        ours = _lines(session.to_text())
    theirs = _lines(output)
    different = [name for name in _COMPARED if ours.get(name) != theirs.get(name)]
    return f"different: {', '.join(different)}" if different else SAME


def _lines(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for match in _LINE.finditer(text):
        found.setdefault(match[1], match[2].strip())
    return found


def _run(command: list[str], deadline: Deadline, data: bytes = b"") -> tuple[int, str]:
    """Its exit status and all that it printed; it has no longer than the deadline, and 20 seconds."""
    limit_s = min(_LIMIT_S, deadline.left())
    try:
        done = subprocess.run(
            command,
            input=data,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=limit_s,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired:
        return -1, f"it did not end within {limit_s:.0f} seconds"
    except OSError as error:
        return -1, f"it could not be started: {error.strerror}"
    return done.returncode, done.stdout.decode("utf-8", "replace")


def _last_words(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip() and not _SECRET.search(line)]
    return " / ".join(lines[-3:])[-_WORDS:] or "it said nothing"
