"""Draws docs/conformance.md: every normative sentence of the protocol's texts, and the tests that prove it.

docs/requirements/NUMBER.toml has a line for each MUST, MUST NOT, SHALL and REQUIRED of RFC NUMBER, under the id
``section:ordinal``: ``says`` is what it asks, in our words; ``why``, if it is there, is the reason why no test here can
or need prove it (a feature refused on purpose, a duty of the application or of the peer alone). Tests name what they
prove with ``@pytest.mark.proves("9846:4.2.3:4")``. Both are read from the source text, without importing it.

    python3 dev.py docs            write the page
    python3 dev.py docs --check    exit status 1 if it is out of date
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "docs" / "requirements"
TESTS = ROOT / "tests"
PAGE = ROOT / "docs" / "conformance.md"
TITLES = {
    "9846": "TLS 1.3",
    "5246": "TLS 1.2",
    "5077": "session tickets without server-side state",
    "7627": "extended master secret",
    "5746": "renegotiation indication",
    "6066": "extensions",
    "7301": "application-layer protocol negotiation",
    "8422": "elliptic curves in TLS 1.2",
}
HEADER = """\
# Conformance

Drawn by docs/conformance.py from docs/requirements and the tests; change those, then run `python3 dev.py docs`. Each
row is a normative sentence (MUST, MUST NOT, SHALL, REQUIRED) in our own words, under its section and its place among
the normative sentences there. Beside it stand the tests that fail if it is broken, or the reason why there is none.
**open** means that neither is there yet.

`python3 dev.py test -k NAME` runs a test by its name.
"""


@dataclass
class Requirement:
    """One normative sentence. ``why`` is the reason for having no test; ``tests`` are the names of those there are."""

    id: str
    says: str
    why: str = ""
    tests: list[str] = field(default_factory=list)

    @property
    def status(self) -> str:
        """proven, does not apply, or open."""
        if self.tests:
            return "proven"
        return "does not apply" if self.why else "open"


def requirements(data: Path = DATA) -> dict[str, Requirement]:
    """Every requirement by its id (``9846:4.2.3:4``), in the order of the texts."""
    found: dict[str, Requirement] = {}
    for number in TITLES:
        path = data / f"{number}.toml"
        if not path.is_file():
            continue
        for place, entry in tomllib.loads(path.read_text("utf-8")).items():
            name = f"{number}:{place}"
            found[name] = Requirement(name, entry.get("says", ""), entry.get("why", ""))
    return found


def markers(tests: Path = TESTS) -> Iterator[tuple[str, str]]:
    """Every (id, test) that a ``proves`` marker names; a test is told by its file and function."""
    for path in sorted(tests.rglob("test_*.py")):
        text = path.read_text("utf-8")
        if "proves" not in text:
            continue
        tree = ast.parse(text)
        place = path.relative_to(tests).as_posix()
        inside: set[int] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                for decorator in node.decorator_list:
                    for call in ast.walk(decorator):
                        if is_marker(call):
                            inside.add(id(call))
                            yield from ((name, f"{place}::{node.name}") for name in ids_of(call))
        for node in ast.walk(tree):  # those of a whole file, or of a table of cases
            if is_marker(node) and id(node) not in inside:
                yield from ((name, place) for name in ids_of(node))


def is_marker(node: ast.AST) -> bool:
    """Whether this is a call ``pytest.mark.proves(...)``."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "proves"


def ids_of(node: ast.AST) -> list[str]:
    """The ids that a marker names; what is not plain text (a variable) is not one."""
    assert isinstance(node, ast.Call)
    return [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]


def proven(data: Path = DATA, tests: Path = TESTS) -> dict[str, Requirement]:
    """The requirements with the tests that prove them. Markers for other texts and for failure rows are passed over.

    Raises ValueError if a marker names a sentence that there is not.
    """
    found = requirements(data)
    for name, test in markers(tests):
        requirement = found.get(name)
        if requirement is not None:
            if test not in requirement.tests:
                requirement.tests.append(test)
        elif name.partition(":")[0] in TITLES:
            raise ValueError(f"{test} proves {name}, which docs/requirements does not have")
    return found


def render(data: Path = DATA, tests: Path = TESTS) -> str:
    """The page."""
    found = proven(data, tests)
    parts = [HEADER, "| text | sentences | proven | does not apply | open |\n|---|---|---|---|---|"]
    sections = []
    for number, title in TITLES.items():
        rows = [requirement for name, requirement in found.items() if name.startswith(f"{number}:")]
        if not rows:
            continue
        counts = [sum(row.status == status for row in rows) for status in ("proven", "does not apply", "open")]
        parts.append(f"| RFC {number}, {title} | {len(rows)} | " + " | ".join(map(str, counts)) + " |")
        sections.append(f"\n## RFC {number}: {title}\n\n| id | what it asks | proof |\n|---|---|---|")
        sections += [f"| {row.id.partition(':')[2]} | {cell(row.says)} | {proof(row)} |" for row in rows]
    return "\n".join([*parts, *sections]) + "\n"


def proof(row: Requirement) -> str:
    """The last column."""
    tests = ", ".join(f"`{test}`" for test in row.tests)
    return ". ".join(part for part in (tests, cell(row.why)) if part) or "**open**"


def cell(text: str) -> str:
    """Text that does not end a cell."""
    return text.replace("|", "\\|").replace("\n", " ")


def main(arguments: list[str]) -> int:
    """Write the page, or with ``--check`` compare it."""
    try:
        page = render()
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    if "--check" in arguments:
        current = PAGE.read_text("utf-8") if PAGE.exists() else ""
        if current != page:
            print(f"{PAGE.relative_to(ROOT)} is out of date; run: python3 dev.py docs", file=sys.stderr)
        return int(current != page)
    PAGE.write_text(page, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
