"""``resumption session``: show a saved session, and convert it from one form to another.

Reads what any TLS stack saved in OpenSSL's SSL_SESSION encoding (PEM or DER), and our own packed form; the form is
recognised, not asked for. Secrets are shown only where ``--secrets`` says so.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from resumption.cli.files import STANDARD, read_session, write_private
from resumption.cli.output import Status, fail, for_people, reports_errors, warn, write_json
from resumption.cli.pages import version_words
from resumption.session.formats.names import suite_name, verify_message
from resumption.session.model import Session

__all__ = ["Form", "convert", "facts_as_json", "sessions", "show", "text_without_secret"]

sessions = typer.Typer(help="Show and convert saved sessions.", no_args_is_help=True)

_SECRET_LINE = re.compile(r"^(    (?:Master-Key|Resumption PSK): ).*$", re.MULTILINE)

FileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="PEM, DER or packed, whichever it is; - is standard input.")
]


class Form(StrEnum):
    """The forms in which a session can be written."""

    PEM = "pem"
    DER = "der"
    PACKED = "packed"
    NSS = "nss"


@sessions.command()
@reports_errors
def show(
    file: FileArgument,
    secrets: Annotated[bool, typer.Option("--secrets", help="Show the secret too.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print all facts as one JSON object.")] = False,
) -> None:
    """Print a session, as `openssl sess_id -text` does, without its secret."""
    session, form = read_session(file)
    with session:
        if json:
            write_json({"form": form, **facts_as_json(session, secrets=secrets)})
        else:
            for_people((session.to_text() if secrets else text_without_secret(session)).rstrip("\n"))


@sessions.command()
@reports_errors
def convert(
    file: FileArgument,
    to: Annotated[Form, typer.Option("--to", help="nss is a key log line, and cannot be read back.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to; - is standard output.")] = STANDARD,
) -> None:
    """Write a session in another form. What is written contains the session's secret."""
    session, _ = read_session(file)
    with session:
        content = _encode(session, to)
    if out == STANDARD:
        if to in (Form.DER, Form.PACKED) and sys.stdout.isatty():
            fail(f"the {to} form is binary: give --out FILE, or redirect the output", Status.USAGE)
        sys.stdout.buffer.write(content)
        sys.stdout.flush()
    else:
        write_private(out, content)
        warn(f"{out} contains the session's secret: whoever has it can resume the session (its mode is 0600)")


def _encode(session: Session, form: Form) -> bytes:
    if form is Form.PEM:
        return session.to_pem().encode("ascii")
    if form is Form.DER:
        return session.to_der()
    if form is Form.PACKED:
        return session.to_packed()
    return session.to_keylog().encode("ascii")


def text_without_secret(session: Session) -> str:
    """`Session.to_text` with the length of the secret in its place."""
    hidden = f"({len(session.secret)} bytes, hidden; --secrets shows them)"
    return _SECRET_LINE.sub(lambda line: line[1] + hidden, session.to_text(), count=1)


def facts_as_json(session: Session, *, secrets: bool) -> dict[str, Any]:
    """Every fact of a session, ready for JSON: bytes in hexadecimal, times in seconds since the epoch.

    The secret is None unless it was asked for.
    """
    data = session.data
    facts: dict[str, Any] = {
        "version_name": version_words(data.version),
        "cipher_name": suite_name(data.cipher),
        "verify_message": verify_message(data.verify_result),
        "expires_at": session.expires_at,
        "resumable": session.is_resumable,
        "extended_master_secret": data.extended_master_secret,
        "secret": session.secret.hex() if secrets else None,
        "secret_length": len(session.secret),
    }
    for field in dataclasses.fields(data):
        facts[field.name] = _plain(getattr(data, field.name))
    return facts


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value
