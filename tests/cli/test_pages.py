"""HTTP/1.0 as far as a test server needs it."""

from __future__ import annotations

from typing import cast

import pytest

from resumption.cli.pages import NotAnAnswer, make_answer, make_request, parse_answer, read_request, version_words
from resumption.streams.blocking import Stream


class Pieces:
    """A stream that delivers these pieces, then its end."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)

    def recv(self) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""


def request_of(*pieces: bytes) -> str | None:
    return read_request(cast("Stream", Pieces(*pieces)))


@pytest.mark.parametrize(
    ("pieces", "path"),
    [
        ((make_request("/a?b=c", "localhost"),), "/a?b=c"),
        ((b"GET / HTTP/1.0\r\n\r", b"\n"), "/"),
        ((b"GET /x\n\n",), "/x"),
        ((b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n",), "/"),
        ((b"POST / HTTP/1.1\r\n\r\n",), None),
        ((b"GET\r\n\r\n",), None),
        ((b"\r\n\r\n",), None),
        ((b"GET / HTTP/1.0\r\n",), None),
        ((), None),
        ((b"x" * 40_000, b"x" * 40_000, b"\r\n\r\n"), None),
    ],
)
def test_the_path_of_a_request(pieces: tuple[bytes, ...], path: str | None) -> None:
    assert request_of(*pieces) == path


def test_an_answer_is_read_as_it_was_made() -> None:
    assert parse_answer(make_answer("text/plain", b"a\r\n\r\nb")) == (200, b"a\r\n\r\nb")
    assert parse_answer(make_answer("text/plain", b"", status="404 Not Found")) == (404, b"")


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.0 200 OK\r\n", b"SSH-2.0\r\n\r\n", b"HTTP/1.0 x\r\n\r\n", b"HTTP/1.0\r\n\r\n"]
)
def test_what_is_no_answer_is_refused(answer: bytes) -> None:
    with pytest.raises(NotAnAnswer, match="no HTTP answer"):
        parse_answer(answer)


@pytest.mark.parametrize(("path", "host"), [("/a b", "h"), ("/", "h\r\nX: y"), ("/\n", "h"), ("/ü", "h")])
def test_nothing_can_be_smuggled_into_a_request(path: str, host: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII"):
        make_request(path, host)


def test_versions_have_the_names_that_openssl_gives_them() -> None:
    assert [version_words(version) for version in (0x0303, 0x0304, None)] == ["TLSv1.2", "TLSv1.3", "unknown"]
    assert version_words(0x7F1C)
