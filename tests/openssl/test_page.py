"""docs/openssl.md says what the code says, and docs/openssl.py reads the code rightly."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import resumption
from resumption import openssl as face
from resumption.openssl import history
from resumption.streams.blocking import Stream

ROOT = Path(__file__).resolve().parent.parent.parent

SOURCE = '''
from resumption.constants import LIMIT
from resumption.openssl.convention import succeeds
from resumption.session.model import Session

__all__ = ["A", "NUMBER", "SSL_first", "SSL_second", "SSL_alias", "SSL_other"]
HIDDEN = 6
A = Session | Other
NUMBER = 5

@succeeds
def SSL_first(session: Session | None, how: int) -> object:
    """+1 caller. It does ``this`` | that.

    More words."""
    return session.facts[how].copy(session.id) or len(session.all)

def SSL_second(ctx: SSL_CTX) -> int:
    """Borrow."""
    ctx.mode = LIMIT
    return ctx.mode.value

SSL_alias = SSL_other = SSL_second

def _private(): "Not shown."
'''


@pytest.fixture(scope="module")
def page() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("docs_openssl", ROOT / "docs" / "openssl.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_the_page_is_up_to_date(page: ModuleType) -> None:
    assert page.PAGE.read_text("utf-8") == page.render(), "run: python3 dev.py docs"


def test_every_name_has_a_row_that_says_who_owns_what(page: ModuleType) -> None:
    rows = re.findall(r"^\| `(\w+)(\(.*?\))?` \| (.*?) \|( (.+?) \|)?", page.render(), re.MULTILINE)
    assert sorted(row[0] for row in rows if row[0] in face.__all__) == sorted(face.__all__)
    for name, call, ours, _, owns in rows:
        assert ours, name
        assert not call or owns, name


def test_what_is_missing_or_deprecated_is_marked(page: ModuleType) -> None:
    text = page.render()
    assert all(f"`{name}`" in text.partition("## Refused")[2] for name in history.REFUSED)
    for name, (version, instead) in history.DEPRECATED.items():
        assert re.search(rf"`{name}\(.*\*\*deprecated\*\* {version}: `{instead}`", text)


def test_ours_exists(page: ModuleType) -> None:
    """Every chain that begins at a session, a context or a connection names what that class has."""
    classes = {
        "session": (resumption.Session,),
        "context": (resumption.ServerContext, resumption.ClientContext),
        "connection": (resumption.Connection,),
        "stream": (Stream,),
    }
    found = re.findall(r"`(session|context|connection|stream)\.(\w+)", page.render())
    assert len(found) > 80
    for root, name in found:
        assert any(hasattr(one, name) for one in classes[root]) or name in _attributes(root), (root, name)


def _attributes(root: str) -> set[str]:
    """What contexts have from their constructor on."""
    context = resumption.ClientContext(verify=False)
    names = set(vars(context)) if root == "context" else set()
    context.close()
    return names


def test_rows_are_read_from_the_source(page: ModuleType) -> None:
    first, second, alias, other = page.entries(SOURCE)
    assert first == (
        "SSL_first",
        "session, how",
        "`session.facts.copy()`, `session.id`, `len(session.all)`",
        "+1 caller",
        "It does ``this`` | that. More words.",
    )
    assert second == ("SSL_second", "ctx", "`LIMIT`, `context.mode.value`", "Borrow", "")
    assert [alias.name, other.name] == ["SSL_alias", "SSL_other"]
    assert alias[1:] == other[1:] == second[1:]
    assert page.cell(first.does) == r"It does `this` \| that. More words."
    assert list(page.constants(SOURCE, {"SSL_alias"})) == ["| `A` | `Session`, `Other` |", "| `NUMBER` | `5` |"]


def test_the_check_tells_a_page_that_is_out_of_date(
    page: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(page, "PAGE", tmp_path / "openssl.md")
    assert page.main(["--check"]) == 1
    assert "out of date" in capsys.readouterr().err
    assert page.main([]) == 0
    assert page.main(["--check"]) == 0
    page.PAGE.write_text("old")
    assert page.main(["--check"]) == 1
