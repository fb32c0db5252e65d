"""As much HTTP/1.0 as a test server and its clients need: one request, one answer, and the connection ends."""

from __future__ import annotations

from resumption.constants import ProtocolVersion, name_of
from resumption.errors import Error
from resumption.session.early import NO_EARLY_DATA
from resumption.session.model import Session
from resumption.streams.blocking import Stream

__all__ = [
    "NotAnAnswer",
    "connection_facts",
    "make_answer",
    "make_request",
    "parse_answer",
    "read_request",
    "session_facts",
    "version_words",
]

_MOST = 1 << 16  # bytes of a request's head

_VERSION_WORDS = {int(ProtocolVersion.TLSv1_2): "TLSv1.2", int(ProtocolVersion.TLSv1_3): "TLSv1.3"}


class NotAnAnswer(Error):
    """What the server sent is no HTTP answer."""


def make_request(path: str, host: str) -> bytes:
    """A GET that ends the connection. Control characters and spaces cannot get into it."""
    for text in (path, host):
        if not text.isascii() or not text.isprintable() or " " in text:
            raise ValueError("a path or host in a request is printable ASCII without spaces")
    return f"GET {path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode("ascii")


def read_request(stream: Stream) -> str | None:
    """The path that a client asks for; None if it sent no GET, or went away first."""
    head = b""
    while b"\r\n\r\n" not in head and b"\n\n" not in head:
        data = stream.recv()
        head += data
        if not data or len(head) > _MOST:
            return None
    words = head.split(b"\n", 1)[0].split()
    if len(words) < 2 or words[0] not in (b"GET", b"HEAD"):
        return None
    return words[1].decode("ascii", "replace")


def make_answer(content_type: str, body: bytes, *, status: str = "200 OK") -> bytes:
    """An answer with its head."""
    head = (
        f"HTTP/1.0 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("ascii") + body


def parse_answer(answer: bytes) -> tuple[int, bytes]:
    """The status and the body of an answer. Raises `NotAnAnswer`."""
    head, separator, body = answer.partition(b"\r\n\r\n")
    words = head.split(b"\r\n", 1)[0].split(None, 2)
    if not separator or len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        raise NotAnAnswer(f"the server's {len(answer)} bytes are no HTTP answer")
    return int(words[1]), body


# --- what there is to tell -----------------------------------------------------------------------------------------


def version_words(version: int | None) -> str:
    """ "TLSv1.3" for 0x0304."""
    if version is None:
        return "unknown"
    return _VERSION_WORDS.get(version) or name_of(ProtocolVersion, version)


def connection_facts(stream: Stream) -> dict[str, object]:
    """What one end knows of a connection after its handshake, ready for JSON."""
    resumption = stream.resumption
    return {
        "version": version_words(stream.version),
        "cipher": stream.cipher,
        "alpn": stream.alpn.decode("ascii", "replace") if stream.alpn is not None else None,
        "server_name": stream.server_name or None,
        "resumed": stream.session_reused,
        "resumption": str(resumption) if resumption is not None else None,
        "reason": str(resumption.reason) if resumption is not None and resumption.reason is not None else None,
        "mechanism": resumption.mechanism.value
        if resumption is not None and resumption.mechanism is not None
        else None,
        "early_data": None if stream.early_data == NO_EARLY_DATA else str(stream.early_data),
    }


def session_facts(session: Session) -> dict[str, object]:
    """Who holds a session, and until when it may be used, ready for JSON."""
    return {
        "id": session.id.hex(),
        "resumable": session.is_resumable,
        "expires_at": session.expires_at,
        "references": session.references,
        "holders": {str(holder): number for holder, number in session.holders.items()},
    }
