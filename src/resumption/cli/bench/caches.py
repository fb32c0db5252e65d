"""``resumption bench cache``: our session cache beside OpenSSL's own, with as many sessions as a large server holds.

OpenSSL's cache is called through ctypes on the system's libssl: sessions are made with SSL_SESSION_new and filled with
the same facts, so both sides build real objects and both pay for Python's calls. OpenSSL has no public lookup but a
handshake's; its hash table is asked directly (OPENSSL_LH_retrieve on SSL_CTX_sessions), which is less than what
a server does with it. Memory is what the process grew by, divided by the sessions.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import gc
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer

from resumption.cli.output import for_people, reports_errors, show_table, write_json
from resumption.session.cache import SessionCache
from resumption.session.model import APPLICATION, Session, SessionData

__all__ = ["cache"]

_TLS12 = 0x0303
_SUITE = 0xC02B
_SET_CACHE_SIZE = 42  # SSL_CTRL_SET_SESS_CACHE_SIZE
_SAMPLE = 20_000  # sessions that are looked up and removed for the clock
_SECRET = b"s" * 48


@reports_errors
def cache(
    sessions: Annotated[int, typer.Option(min=1_000, help="How many sessions to hold at once.")] = 1_000_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Fill our session cache and OpenSSL's, and measure memory and operations per second."""
    openssl = _openssl(sessions)
    report: dict[str, Any] = {"sessions": sessions, "ours": _ours(sessions), "openssl": openssl}
    if as_json:
        write_json(report)
        return
    sides = ["ours", *(["openssl"] if openssl is not None else [])]
    rows = [
        [name, *(f"{report[side][key]:,}" for side in sides)]
        for name, key in (
            ("bytes for each session", "bytes_per_session"),
            ("added per second", "add_per_s"),
            ("looked up per second", "lookup_per_s"),
            ("removed per second", "remove_per_s"),
            ("flushed per second", "flush_per_s"),
        )
    ]
    show_table(["", *sides], rows, title=f"{sessions:,} sessions", numbers=range(1, 3))
    if openssl is None:
        for_people("libssl was not found here: nothing to compare with")


def _id_of(number: int) -> bytes:
    return number.to_bytes(8, "little") + b"id of a benchmark session"[:24].ljust(24, b".")


def _progress(text: str) -> None:
    sys.stderr.write(f"resumption: {text}\n")
    sys.stderr.flush()


def _numbers(side: str, count: int) -> Iterator[int]:
    """0 to ``count`` - 1, saying at each tenth how far it is."""
    step = max(1, count // 10)
    for number in range(count):
        if number % step == 0:
            _progress(f"{side}: {number:,} of {count:,} sessions added")
        yield number


def _per_s(count: int, work: Callable[[], object]) -> int:
    start = time.process_time()
    work()
    return round(count / max(time.process_time() - start, 1e-9))


def _resident() -> int:
    """Bytes of memory that the process occupies; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _ours(count: int) -> dict[str, Any]:
    now = time.time()
    gc.collect()
    gc.freeze()
    before = _resident()
    holding = SessionCache(max_size=0, max_bytes=0, name="benchmark")
    data = SessionData(version=_TLS12, cipher=_SUITE, time=now, timeout=7_200, role="server")

    def fill() -> None:
        for number in _numbers("ours", count):
            session = Session.create(data.replaced(session_id=_id_of(number), time=now + number / count), _SECRET)
            holding.add(session)
            session.free()

    added = _per_s(count, fill)
    grown = _resident() - before
    _progress("ours: looking up, removing, flushing")
    ids = [_id_of(number * 7919 % count) for number in range(min(_SAMPLE, count))]

    def look() -> None:
        for session_id in ids:
            found = holding.lookup(_TLS12, session_id, holder=APPLICATION)
            if found is None:
                raise LookupError("a session was lost")
            found.free()

    looked = _per_s(len(ids), look)
    condemned = [holding.lookup(_TLS12, session_id, holder=APPLICATION) for session_id in dict.fromkeys(ids)]

    def remove() -> None:
        for session in condemned:
            if session is not None:
                holding.remove(session)
                session.free()

    removed = _per_s(len(condemned), remove)
    left = len(holding)
    flushed = _per_s(left, lambda: holding.flush(now + 10_000))
    gc.unfreeze()
    return {
        "bytes_per_session": round(grown / count),
        "add_per_s": added,
        "lookup_per_s": looked,
        "remove_per_s": removed,
        "flush_per_s": flushed,
    }


def _library() -> ctypes.CDLL | None:
    """The system's libssl, with the signatures of what is called; None if there is none."""
    name = ctypes.util.find_library("ssl") or "libssl.so.3"
    try:
        library = ctypes.CDLL(name)
        pointer, size, long = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_long
        for function, result, arguments in (
            ("TLS_server_method", pointer, []),
            ("SSL_CTX_new", pointer, [pointer]),
            ("SSL_CTX_free", None, [pointer]),
            ("SSL_CTX_ctrl", long, [pointer, ctypes.c_int, long, pointer]),
            ("SSL_CTX_sessions", pointer, [pointer]),
            ("SSL_CTX_add_session", ctypes.c_int, [pointer, pointer]),
            ("SSL_CTX_remove_session", ctypes.c_int, [pointer, pointer]),
            ("SSL_CTX_flush_sessions", None, [pointer, long]),
            ("SSL_SESSION_new", pointer, []),
            ("SSL_SESSION_free", None, [pointer]),
            ("SSL_SESSION_up_ref", ctypes.c_int, [pointer]),
            ("SSL_SESSION_set1_id", ctypes.c_int, [pointer, ctypes.c_char_p, ctypes.c_uint]),
            ("SSL_SESSION_set1_master_key", ctypes.c_int, [pointer, ctypes.c_char_p, size]),
            ("SSL_SESSION_set_protocol_version", ctypes.c_int, [pointer, ctypes.c_int]),
            ("SSL_SESSION_set_timeout", long, [pointer, long]),
            ("SSL_SESSION_set_time", long, [pointer, long]),
            ("OPENSSL_LH_retrieve", pointer, [pointer, pointer]),
        ):
            called = getattr(library, function)
            called.restype, called.argtypes = result, arguments
    except (OSError, AttributeError):
        return None
    return library


def _openssl(count: int) -> dict[str, Any] | None:
    ssl = _library()
    if ssl is None:
        return None
    before = _resident()
    context = ssl.SSL_CTX_new(ssl.TLS_server_method())
    ssl.SSL_CTX_ctrl(context, _SET_CACHE_SIZE, 0, None)
    now = int(time.time())

    def make(number: int) -> Any:
        session = ssl.SSL_SESSION_new()
        ssl.SSL_SESSION_set_protocol_version(session, _TLS12)
        ssl.SSL_SESSION_set1_id(session, _id_of(number), 32)
        ssl.SSL_SESSION_set1_master_key(session, _SECRET, len(_SECRET))
        ssl.SSL_SESSION_set_time(session, now)
        ssl.SSL_SESSION_set_timeout(session, 7_200)
        return session

    def fill() -> None:
        for number in _numbers("openssl", count):
            session = make(number)
            ssl.SSL_CTX_add_session(context, session)
            ssl.SSL_SESSION_free(session)

    added = _per_s(count, fill)
    grown = _resident() - before
    _progress("openssl: looking up, removing, flushing")
    table = ssl.SSL_CTX_sessions(context)
    templates = [make(number * 7919 % count) for number in range(min(_SAMPLE, count))]
    found: list[Any] = []

    def look() -> None:
        for template in templates:
            session = ssl.OPENSSL_LH_retrieve(table, template)
            ssl.SSL_SESSION_up_ref(session)
            found.append(session)

    looked = _per_s(len(templates), look)

    def remove() -> None:
        for session in found:
            ssl.SSL_CTX_remove_session(context, session)
            ssl.SSL_SESSION_free(session)

    removed = _per_s(len(found), remove)
    left = max(1, count - len(set(found)))
    flushed = _per_s(left, lambda: ssl.SSL_CTX_flush_sessions(context, now + 10_000))
    for template in templates:
        ssl.SSL_SESSION_free(template)
    ssl.SSL_CTX_free(context)
    return {
        "bytes_per_session": round(grown / count),
        "add_per_s": added,
        "lookup_per_s": looked,
        "remove_per_s": removed,
        "flush_per_s": flushed,
    }
