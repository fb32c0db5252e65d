"""docs/conformance.md says what the requirements and the tests say, and what is open can only become less."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
SENTENCES = {"9846": 330, "5246": 126, "5077": 17, "7627": 18, "5746": 32, "6066": 43, "7301": 7, "8422": 40}
# How many sentences of each text have neither proof nor reason. Lower these; never raise one.
MOST_OPEN = {
    "9846": 0,
    "5246": 0,
    "5077": 0,
    "7627": 0,
    "5746": 0,
    "6066": 0,
    "7301": 0,
    "8422": 0,
}


@pytest.fixture(scope="module")
def conformance() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_conformance", ROOT / "docs" / "conformance.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_page_is_current(conformance: ModuleType) -> None:
    assert conformance.PAGE.read_text("utf-8") == conformance.render(), "run: python3 dev.py docs"


def test_every_sentence_of_each_text_is_listed(conformance: ModuleType) -> None:
    counts = dict.fromkeys(SENTENCES, 0)
    for name in conformance.requirements():
        counts[name.partition(":")[0]] += 1
    assert counts == SENTENCES


@pytest.mark.parametrize("number", SENTENCES)
def test_what_is_open_only_becomes_less(conformance: ModuleType, number: str) -> None:
    rows = [row for name, row in conformance.proven().items() if name.startswith(f"{number}:")]
    still_open = [row.id for row in rows if row.status == "open"]
    assert len(still_open) <= MOST_OPEN[number], still_open
    assert [row.id for row in rows if not row.says] == [], "not put into words"


def test_markers_are_read_where_they_stand(conformance: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(
        "import pytest\n"
        "CASES = [pytest.param(1, marks=pytest.mark.proves('7301:3.2:1'))]\n"
        "@pytest.mark.proves('9846:4:2', '9846:4:1')\n"
        "def test_one(): ...\n"
        "@pytest.mark.parametrize('x', [pytest.param(1, marks=[pytest.mark.proves('5246:7.2:1')])])\n"
        "async def test_two(x): ...\n"
    )
    assert sorted(conformance.markers(tmp_path)) == [
        ("5246:7.2:1", "test_some.py::test_two"),
        ("7301:3.2:1", "test_some.py"),
        ("9846:4:1", "test_some.py::test_one"),
        ("9846:4:2", "test_some.py::test_one"),
    ]


def test_a_sentence_is_proven_or_has_its_reason_or_is_open(conformance: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "9846.toml").write_text(
        '"1:1" = { says = "Be." }\n"1:2" = { says = "Do | so.", why = "Nobody can." }\n"1:3" = { says = "Wait." }\n'
    )
    (tmp_path / "test_it.py").write_text("import pytest\n@pytest.mark.proves('9846:1:1', 'F01')\ndef test_it(): ...\n")
    rows = conformance.proven(tmp_path, tmp_path).values()
    assert [row.status for row in rows] == ["proven", "does not apply", "open"]
    page = conformance.render(tmp_path, tmp_path)
    assert "| RFC 9846, TLS 1.3 | 3 | 1 | 1 | 1 |" in page
    assert "| 1:1 | Be. | `test_it.py::test_it` |" in page
    assert "| 1:2 | Do \\| so. | Nobody can. |" in page
    assert "| 1:3 | Wait. | **open** |" in page


def test_a_marker_must_name_a_sentence_that_there_is(conformance: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "9846.toml").write_text('"1:1" = { says = "Be." }\n')
    (tmp_path / "test_it.py").write_text("import pytest\n@pytest.mark.proves('9846:1:9')\ndef test_it(): ...\n")
    with pytest.raises(ValueError, match="9846:1:9"):
        conformance.proven(tmp_path, tmp_path)
