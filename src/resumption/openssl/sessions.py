"""SSL_SESSION_*: a session's life, its facts, and how it is written. Each docstring begins with who owns what."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import IO, Any, TypeAlias

from resumption.openssl.convention import null_on_error, succeeds
from resumption.session.model import Session
from resumption.session.slots import new_slot

__all__ = [
    "PEM_read_SSL_SESSION",
    "PEM_read_bio_SSL_SESSION",
    "PEM_write_SSL_SESSION",
    "PEM_write_bio_SSL_SESSION",
    "SSL_SESSION_dup",
    "SSL_SESSION_free",
    "SSL_SESSION_get0_alpn_selected",
    "SSL_SESSION_get0_cipher",
    "SSL_SESSION_get0_hostname",
    "SSL_SESSION_get0_id_context",
    "SSL_SESSION_get0_peer",
    "SSL_SESSION_get0_peer_rpk",
    "SSL_SESSION_get0_ticket",
    "SSL_SESSION_get0_ticket_appdata",
    "SSL_SESSION_get_app_data",
    "SSL_SESSION_get_compress_id",
    "SSL_SESSION_get_ex_data",
    "SSL_SESSION_get_ex_new_index",
    "SSL_SESSION_get_id",
    "SSL_SESSION_get_master_key",
    "SSL_SESSION_get_max_early_data",
    "SSL_SESSION_get_max_fragment_length",
    "SSL_SESSION_get_protocol_version",
    "SSL_SESSION_get_ticket_lifetime_hint",
    "SSL_SESSION_get_time",
    "SSL_SESSION_get_time_ex",
    "SSL_SESSION_get_timeout",
    "SSL_SESSION_has_ticket",
    "SSL_SESSION_is_resumable",
    "SSL_SESSION_new",
    "SSL_SESSION_print",
    "SSL_SESSION_print_fp",
    "SSL_SESSION_print_keylog",
    "SSL_SESSION_set1_alpn_selected",
    "SSL_SESSION_set1_hostname",
    "SSL_SESSION_set1_id",
    "SSL_SESSION_set1_id_context",
    "SSL_SESSION_set1_master_key",
    "SSL_SESSION_set1_ticket_appdata",
    "SSL_SESSION_set_app_data",
    "SSL_SESSION_set_cipher",
    "SSL_SESSION_set_ex_data",
    "SSL_SESSION_set_max_early_data",
    "SSL_SESSION_set_protocol_version",
    "SSL_SESSION_set_time",
    "SSL_SESSION_set_time_ex",
    "SSL_SESSION_set_timeout",
    "SSL_SESSION_up_ref",
    "SSL_get_time",
    "SSL_get_timeout",
    "SSL_set_time",
    "SSL_set_timeout",
    "d2i_SSL_SESSION",
    "d2i_SSL_SESSION_bio",
    "d2i_SSL_SESSION_ex",
    "i2d_SSL_SESSION",
    "i2d_SSL_SESSION_bio",
]

Dup: TypeAlias = Callable[[Any], Any]
Free: TypeAlias = Callable[[Any], object]

# --- life ---


def SSL_SESSION_new() -> Session:
    """+1 caller. An empty session: timeout 304 s, made now, no version, no cipher, no id."""
    return Session()


def SSL_SESSION_dup(session: Session) -> Session:
    """+1 caller, on the copy. A copy with ticket, id and the not-resumable flag; in no cache."""
    return session.dup()


@succeeds
def SSL_SESSION_up_ref(session: Session) -> object:
    """+1 caller. One more reference to give back."""
    return session.up_ref()


def SSL_SESSION_free(session: Session | None) -> None:
    """-1 caller. The last reference of all holders ends the session: its secret is wiped. None is a no-op."""
    if session is not None:
        session.free()


@null_on_error
def d2i_SSL_SESSION(encoding: bytes) -> Session:
    """+1 caller. DER to session; bytes after it are ignored (see `Session.decode` for how many were used)."""
    return Session.decode(encoding)[0]


@null_on_error
def d2i_SSL_SESSION_ex(encoding: bytes, libctx: None = None, propq: str | None = None) -> Session:
    """+1 caller. As `d2i_SSL_SESSION`: there is one library context here, and nothing to query it for."""
    return Session.decode(encoding)[0]


@null_on_error
def i2d_SSL_SESSION(session: Session) -> bytes:
    """Copy. The session's DER, with the secret; None if it has no cipher."""
    return session.to_der()


@null_on_error
def d2i_SSL_SESSION_bio(stream: IO[bytes]) -> Session:
    """+1 caller. DER from a binary stream, read to its end."""
    return Session.decode(stream.read())[0]


@succeeds
def i2d_SSL_SESSION_bio(stream: IO[bytes], session: Session) -> object:
    """No reference changes. DER into a binary stream."""
    return stream.write(session.to_der())


@null_on_error
def PEM_read_SSL_SESSION(stream: IO[str]) -> Session:
    """+1 caller. The first session in a text stream of PEM."""
    return Session.from_pem(stream.read())


@succeeds
def PEM_write_SSL_SESSION(stream: IO[str], session: Session) -> object:
    """No reference changes. PEM into a text stream, with the secret."""
    return stream.write(session.to_pem())


PEM_read_bio_SSL_SESSION = PEM_read_SSL_SESSION
PEM_write_bio_SSL_SESSION = PEM_write_SSL_SESSION


def SSL_SESSION_get_ex_new_index(
    argl: int = 0, argp: Any = None, new: None = None, dup: Dup | None = None, free: Free | None = None
) -> int:
    """Not owned. A new index; ``dup(value)`` -> the copy's value, ``free(value)`` at the end. No ``new``: -1.

    ``argl`` and ``argp`` are for callbacks in C; in Python a callback remembers by itself.
    """
    return -1 if new is not None else new_slot(dup=dup, free=free)


def SSL_SESSION_set_ex_data(session: Session, index: Hashable, value: Any) -> bool:
    """Not owned. The session refers to the value until its end."""
    session.ex_data[index] = value
    return True


def SSL_SESSION_get_ex_data(session: Session, index: Hashable) -> Any:
    """Not owned. The value; None if it was never set."""
    return session.ex_data.get(index)


def SSL_SESSION_set_app_data(session: Session, value: Any) -> bool:
    """Not owned. The value of slot 0."""
    session.app_data = value
    return True


def SSL_SESSION_get_app_data(session: Session) -> Any:
    """Not owned. The value of slot 0."""
    return session.app_data


# --- facts ---


def SSL_SESSION_get_id(session: Session) -> bytes:
    """Borrow in C; here a value. The id, 0 to 32 bytes."""
    return session.id


@succeeds
def SSL_SESSION_set1_id(session: Session, session_id: bytes) -> None:
    """Copy. False if longer than 32 bytes, and while a cache holds the session (C edits it without re-hashing)."""
    session.id = session_id


def SSL_SESSION_get0_id_context(session: Session) -> bytes:
    """Borrow in C; here a value. The session id context."""
    return session.id_context


@succeeds
def SSL_SESSION_set1_id_context(session: Session, id_context: bytes) -> None:
    """Copy. False if longer than 32 bytes, and while a cache holds the session."""
    session.id_context = id_context


def SSL_SESSION_get_time_ex(session: Session | None) -> int:
    """No reference changes. Creation time, whole seconds since the epoch; 0 for None."""
    return 0 if session is None else int(session.time)


def SSL_SESSION_set_time_ex(session: Session | None, time_s: int) -> int:
    """No reference changes. Sets the creation time, re-sorts the session in its cache, and returns the value set."""
    if session is None:
        return 0
    session.time = time_s
    return time_s


SSL_SESSION_get_time = SSL_get_time = SSL_SESSION_get_time_ex
SSL_SESSION_set_time = SSL_set_time = SSL_SESSION_set_time_ex


def SSL_SESSION_get_timeout(session: Session | None) -> int:
    """No reference changes. Lifetime in seconds; 0 for None."""
    return 0 if session is None else session.timeout


@succeeds
def SSL_SESSION_set_timeout(session: Session | None, timeout_s: int) -> bool:
    """No reference changes. Sets the lifetime and re-sorts the session in its cache. False for None or below 0."""
    if session is not None:
        session.timeout = timeout_s
    return session is not None


SSL_get_timeout = SSL_SESSION_get_timeout
SSL_set_timeout = SSL_SESSION_set_timeout


def SSL_SESSION_get_protocol_version(session: Session) -> int:
    """No reference changes. The version as on the wire: 0x0303 or 0x0304."""
    return session.version


@succeeds
def SSL_SESSION_set_protocol_version(session: Session, version: int) -> None:
    """No reference changes. Sets the version, unchecked. False while a cache holds the session."""
    session.version = version


def SSL_SESSION_get0_cipher(session: Session) -> int | None:
    """Borrow in C; here a value. The suite's number; None if there is none."""
    return session.cipher or None


@succeeds
def SSL_SESSION_set_cipher(session: Session, suite: int) -> None:
    """No reference changes. Sets the suite's number, unchecked. False while a cache holds the session."""
    session.cipher = suite


def SSL_SESSION_get0_hostname(session: Session) -> str | None:
    """Borrow in C; here a value. The server name that the server acknowledged."""
    return session.hostname


@succeeds
def SSL_SESSION_set1_hostname(session: Session, hostname: str | None) -> None:
    """Copy; None clears. False while a cache holds the session."""
    session.hostname = hostname


def SSL_SESSION_get0_alpn_selected(session: Session) -> bytes | None:
    """Borrow in C; here a value. The protocol, without length prefix."""
    return session.alpn


@succeeds
def SSL_SESSION_set1_alpn_selected(session: Session, alpn: bytes | None) -> None:
    """Copy; None or empty clears. False while a cache holds the session."""
    session.alpn = alpn


def SSL_SESSION_has_ticket(session: Session) -> bool:
    """No reference changes. Whether there is a ticket."""
    return session.has_ticket


def SSL_SESSION_get_ticket_lifetime_hint(session: Session) -> int:
    """No reference changes. The server's hint in seconds, 0 if none."""
    return session.ticket_lifetime_hint


def SSL_SESSION_get0_ticket(session: Session) -> bytes:
    """Borrow in C; here a value. The ticket, empty if there is none."""
    return session.ticket


def SSL_SESSION_get_max_early_data(session: Session) -> int:
    """No reference changes. The early data limit of the session, in bytes."""
    return session.max_early_data


@succeeds
def SSL_SESSION_set_max_early_data(session: Session, max_early_data: int) -> None:
    """No reference changes. False while a cache holds the session."""
    session.max_early_data = max_early_data


def SSL_SESSION_get0_peer(session: Session) -> bytes | None:
    """Borrow in C; here a value. The DER of the peer's own certificate; None if there is none."""
    return session.peer_certificate


def SSL_SESSION_get0_peer_rpk(session: Session) -> bytes | None:
    """Borrow in C; here a value. The DER of the peer's raw public key; None if there is none."""
    return session.peer_public_key


def SSL_SESSION_get_compress_id(session: Session) -> int:
    """No reference changes. The compression method; 0 is none."""
    return session.compression


def SSL_SESSION_get_master_key(session: Session, length: int | None = None) -> bytes:
    """Copy out. The secret, or its first ``length`` bytes."""
    return session.secret[:length]


@succeeds
def SSL_SESSION_set1_master_key(session: Session, secret: bytes) -> None:
    """Copy. False if longer than 512 bytes, and while a cache holds the session."""
    session.secret = secret


def SSL_SESSION_get_max_fragment_length(session: Session) -> int:
    """No reference changes. The mode byte: 0 off, 1 to 4 for 512 to 4096 bytes, 255 not negotiated."""
    return session.max_fragment_mode


def SSL_SESSION_is_resumable(session: Session) -> bool:
    """No reference changes. It has an id or a ticket and is not flagged; says nothing about time."""
    return session.is_resumable


@succeeds
def SSL_SESSION_set1_ticket_appdata(session: Session, appdata: bytes) -> None:
    """Copy; empty clears. False while a cache holds the session."""
    session.ticket_appdata = appdata


def SSL_SESSION_get0_ticket_appdata(session: Session) -> bytes:
    """Borrow in C; here a value. The application's bytes in the ticket."""
    return session.ticket_appdata


@succeeds
def SSL_SESSION_print(stream: IO[str], session: Session) -> object:
    """No reference changes. The text of ``openssl sess_id -text``, with the secret, into a text stream."""
    return stream.write(session.to_text())


SSL_SESSION_print_fp = SSL_SESSION_print


@succeeds
def SSL_SESSION_print_keylog(stream: IO[str], session: Session) -> object:
    """No reference changes. One line for a key log; False if the id or the secret is empty."""
    return stream.write(session.to_keylog())
