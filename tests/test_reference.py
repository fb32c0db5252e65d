"""docs/reference.md says what the code says, and docs/reference.py reads the code rightly."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent

SOURCES = {
    "__init__": '"""Front."""\nfrom resumption.inner import Thing, Colour, make\n'
    '__all__ = ["Colour", "Thing", "make"]\n',
    "errors": '__all__ = ["Error", "Worse"]\nclass Error(Exception):\n    """The root."""\n'
    'class Worse(Error, ValueError):\n    """``It`` got\n    worse.\n\n    Much."""\n',
    "ownership": "class Host:\n    def inner_call(self): ...\n",
    "inner": '''
from enum import Enum
from resumption.base import Base

class Colour(Enum):
    """A colour."""
    RED = 1

class Thing(Base[int]):
    """A thing with ``width``."""

    limit: ClassVar[int] = 1
    size: int = 2
    fact = Fact("fact", "What is so.")
    plain = 3

    def __init__(self, first: "Other | None", /, second=b"x", *rest: int, third: str = "t", **more: Any) -> None: ...

    @property
    def width(self) -> int:
        """Metres across,
        at most."""

    async def wait(self, /, limit: float) -> bytes:
        """Wait."""

    def inner_call(self):
        """Hidden: a protocol between floors has it."""

    def also_hidden(self):
        """Do it. For contexts."""

    def acquire(self):
        """Hidden: caches call it."""

    def _private(self): ...

def make(what: str, *, quickly: bool = False) -> Thing:
    """Make one."""
''',
    "base": '''
class Base:
    """Base."""
    def wait(self): "Not this one."
    @classmethod
    def load(cls, path: "Path") -> Self:
        """Load it."""
    @staticmethod
    def free(of: int) -> None: "No self."
''',
}


@pytest.fixture
def reference(tmp_path: Path) -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("docs_reference", ROOT / "docs" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture
def page(reference: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "resumption").mkdir()
    for name, text in SOURCES.items():
        (tmp_path / "resumption" / f"{name}.py").write_text(text)
    monkeypatch.setattr(reference, "SOURCE", tmp_path)
    monkeypatch.setitem(reference.INNER, "Thing", "resumption.ownership.Host")
    return str(reference.render())


def test_the_page_is_up_to_date(reference: ModuleType) -> None:
    assert reference.PAGE.read_text("utf-8") == reference.render(), "run: python3 dev.py docs"


def test_names_are_followed_through_imports_in_the_order_of_all(page: str) -> None:
    headings = [line for line in page.splitlines() if line.startswith("### ")]
    assert headings == ["### `Colour`", "### `Thing`", "### `make(what: str, *, quickly: bool = False) -> Thing`"]


def test_signatures_are_written_as_one_calls(page: str) -> None:
    assert "Thing(first: Other | None, /, second=b'x', *rest: int, third: str = 't', **more: Any)" in page
    assert "#### `await Thing.wait(limit: float) -> bytes`" in page
    assert "#### `Thing.load(path: Path) -> Self` (class method)" in page
    assert "#### `Thing.free(of: int) -> None`" in page


def test_fields_facts_and_properties_are_listed(page: str) -> None:
    assert "A thing with `width`." in page
    assert "- `size: int = 2`\n- `fact`: What is so.\n- `width`: Metres across, at most." in page
    assert "Members: `RED`" in page
    assert "plain" not in page
    assert "limit: ClassVar" not in page


def test_what_the_floors_say_to_each_other_is_left_out(page: str) -> None:
    assert "inner_call" not in page
    assert "also_hidden" not in page
    assert "_private" not in page
    assert "acquire" not in page
    assert "Not this one" not in page


def test_errors_are_a_table(page: str) -> None:
    assert "| `Error` | `Exception` | The root. |\n| `Worse` | `Error`, `ValueError` | `It` got worse. |" in page
