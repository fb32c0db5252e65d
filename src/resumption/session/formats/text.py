"""A session as text for people: OpenSSL's ``sess_id -text`` form, and the NSS key log line.

Both contain the secret. Nothing is read back from either; the tables of words are in `session.formats.names`.
"""

from __future__ import annotations

from resumption.errors import SessionError
from resumption.session.facts import SessionData
from resumption.session.formats.names import suite_name, verify_message, version_name

__all__ = ["to_keylog", "to_text"]

_TLS_1_3 = 0x0304


def to_text(data: SessionData, secret: bytes) -> str:
    """What SSL_SESSION_print prints, byte for byte (in UTF-8). The secret is in it.

    Two differences, where OpenSSL's output is no use: it stops in the middle at a PSK identity, hint or SRP user name
    that is present and empty, and it writes those raw where they are not UTF-8; here such bytes are escaped.
    """
    is_tls13 = data.version == _TLS_1_3
    lines = [
        "SSL-Session:",
        f"    Protocol  : {version_name(data.version)}",
        f"    Cipher    : {suite_name(data.cipher)}",
        f"    Session-ID: {_hex(data.session_id)}",
        f"    Session-ID-ctx: {_hex(data.id_context)}",
        f"    {'Resumption PSK' if is_tls13 else 'Master-Key'}: {_hex(secret)}",
        f"    PSK identity: {_words(data.psk_identity)}",
        f"    PSK identity hint: {_words(data.psk_identity_hint)}",
        f"    SRP username: {_words(data.srp_username)}",
    ]
    if data.ticket_lifetime_hint:
        lines.append(f"    TLS session ticket lifetime hint: {data.ticket_lifetime_hint} (seconds)")
    if data.ticket:
        lines.append("    TLS session ticket:")
        lines += _dump(data.ticket)
        lines.append("")
    if data.compression:
        name = " (zlib compression)" if data.compression == 1 else ""
        lines.append(f"    Compression: {data.compression}{name}")
    if int(data.time):
        lines.append(f"    Start Time: {int(data.time)}")
    if data.timeout:
        lines.append(f"    Timeout   : {data.timeout} (sec)")
    lines.append(f"    Verify return code: {data.verify_result} ({verify_message(data.verify_result)})")
    lines.append(f"    Extended master secret: {'yes' if data.extended_master_secret else 'no'}")
    if is_tls13:
        lines.append(f"    Max Early Data: {data.max_early_data}")
    lines.append("")
    return "\n".join(lines)


def to_keylog(data: SessionData, secret: bytes) -> str:
    """The NSS key log line that lets a capture tool decrypt a TLS 1.2 connection of this session, with its newline.

    `SessionError` if the session has no id or no secret.
    """
    if not data.session_id or not secret:
        raise SessionError("a key log line needs a session id and a secret")
    return f"RSA Session-ID:{_hex(data.session_id)} Master-Key:{_hex(secret)}\n"


def _hex(content: bytes) -> str:
    return content.hex().upper()


def _words(content: bytes | None) -> str:
    return "None" if content is None else content.decode("utf-8", "backslashreplace")


def _dump(content: bytes) -> list[str]:
    rows = []
    for at in range(0, len(content), 16):
        row = content[at : at + 16]
        digits = row[:8].hex(" ")
        if len(row) >= 8:
            digits += "-" + row[8:].hex(" ")
        shown = "".join(chr(byte) if 0x20 <= byte <= 0x7E else "." for byte in row)
        rows.append(f"    {at:04x} - {digits:47}   {shown}")
    return rows
