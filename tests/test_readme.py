"""README's examples run, in order and in one namespace, and print and raise what their comments say.

``print(...)  # text`` must print text; a statement followed by ``# SomeError: text`` must raise it. Numbers and session
names may differ, and `` ...`` stands for more words. ``shop.example`` is a server on this machine.
"""

from __future__ import annotations

import ast
import contextlib
import io
import re
import secrets
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests import peers
from tests.pki import Pki

README = Path(__file__).resolve().parent.parent / "README.md"


class Step(NamedTuple):
    """One statement of an example, with what its comments promise."""

    line: int
    code: str
    prints: str | None
    raises: str | None


def steps(block: str, first_line: int) -> Iterator[Step]:
    lines = block.split("\n")
    for statement in ast.parse(block).body:
        assert statement.end_lineno is not None
        last = lines[statement.end_lineno - 1]
        follows = lines[statement.end_lineno] if statement.end_lineno < len(lines) else ""
        promised = re.search(r"\S\s+# (.*)$", last) if is_print(statement) else None
        error = re.match(r"# (\w+Error: .*)$", follows)
        code = "\n".join(lines[statement.lineno - 1 : statement.end_lineno])
        yield Step(
            first_line + statement.lineno - 1, code, promised[1] if promised else None, error[1] if error else None
        )


def is_print(statement: ast.stmt) -> bool:
    """Whether it is a call of print, or ends with one (the body of a ``with``)."""
    while isinstance(statement, ast.With):
        statement = statement.body[-1]
    call = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "print"


def examples() -> list[Step]:
    text = README.read_text("utf-8")
    found: list[Step] = []
    for match in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        found += steps(match[1], text.count("\n", 0, match.start(1)) + 1)
    return found


def comparable(text: str) -> str:
    text = re.sub(r"session [0-9a-f]{8}\.\.", "session ID..", text)
    return re.sub(r"\d+", "N", text).strip()


def agrees(happened: str, promised: str) -> bool:
    pattern = ".*".join(map(re.escape, comparable(promised).split(" ...")))
    return re.fullmatch(pattern, comparable(happened), re.DOTALL) is not None


def play(step: Step, namespace: dict[str, Any]) -> None:
    printed = io.StringIO()
    raised: str | None = None
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile("\n" * (step.line - 1) + step.code, str(README), "exec"), namespace)
    except Exception as error:
        if step.raises is None:
            raise
        raised = f"{type(error).__name__}: {error}"
    if step.raises is not None:
        assert raised is not None, f"README line {step.line} raised nothing"
        assert agrees(raised, step.raises), f"README line {step.line} raised {raised}"
    if step.prints is not None:
        assert agrees(printed.getvalue(), step.prints), f"README line {step.line} printed {printed.getvalue()!r}"


@pytest.fixture
def shop(pki: Pki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[peers.SslPeer]:
    """A server that answers for shop.example, trusted by the system, and files in the current directory."""
    leaf = pki.server("shop.example", "localhost")
    (tmp_path / "chain.pem").write_bytes(leaf.chain_pem)
    (tmp_path / "key.pem").write_bytes(leaf.key_pem)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(pki.write_trust(tmp_path)))
    monkeypatch.setenv("TICKET_SECRET", secrets.token_hex(32))
    resolve = socket.getaddrinfo
    with peers.ssl_server(leaf) as server:

        def redirected(host: Any, port: Any, *rest: Any, **options: Any) -> Any:
            if host == "shop.example":
                host, port = server.address
            return resolve(host, port, *rest, **options)

        monkeypatch.setattr(socket, "getaddrinfo", redirected)
        yield server


def test_the_examples_do_what_they_say(shop: peers.SslPeer) -> None:
    namespace: dict[str, Any] = {}
    for step in examples():
        play(step, namespace)

    # The two functions that the examples define.
    for _ in range(2):
        with socket.create_connection(shop.address, timeout=20) as sock:
            how, tickets, page = namespace["fetch"](sock)
    assert how.resumed
    assert tickets >= 1
    assert page.startswith(b"HTTP/1.0 200 OK")

    with socket.create_server((peers.HOST, 0)) as listener:
        thread = threading.Thread(target=namespace["answer"], args=(listener,), daemon=True)
        thread.start()
        address = (peers.HOST, listener.getsockname()[1])
        with namespace["client"].connect(address, server_name="shop.example", timeout=20) as conn:
            conn.sendall(b"hello")
            assert conn.read_all() == b"you are welcome; full handshake: the client offered no session"
        thread.join(20)
    namespace["client"].close()
    namespace["server"].close()


def test_examples_have_promises_to_keep() -> None:
    found = examples()
    assert sum(step.prints is not None for step in found) >= 3
    assert sum(step.raises is not None for step in found) >= 3


def test_a_broken_promise_is_caught() -> None:
    (wrong_print, right_print) = steps("print(6 * 7)  # a word\nprint('a word more')   # a ...", 1)
    (wrong_error, no_error) = steps("int('x')\n# KeyError: x\nint('1')\n# ValueError: x", 1)
    play(right_print, {})
    for step in (wrong_print, wrong_error, no_error):
        with pytest.raises(AssertionError):
            play(step, {})
