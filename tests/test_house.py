"""The habits of the house that a program can check: sizes, names, docstrings, and what must never be written down."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "resumption"
LIMIT = 500  # lines; past that a file usually holds two ideas
OVERSIZED: frozenset[str] = frozenset()  # paths below src/resumption that may be longer, each with a reason beside it
FORBIDDEN_NAMES = re.compile(r"(^|_)(util|utils|helper|helpers|manager|managers|misc|common)(_|$)")
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b")
# Written in pieces, so that this file does not contain what it looks for.
MACHINE_PATHS = re.compile(
    "|".join(["/" + "work/", "/" + "root/", "/" + "farm/", r"\.\./" + "shared", "[.]" + "library/"])
)

MODULES = sorted(SOURCE.rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


each_module = pytest.mark.parametrize("path", MODULES, ids=[relative(path) for path in MODULES])


def committed_files(root: Path) -> list[Path]:
    """What git tracks; in a copy without git, everything outside folders whose names begin with a dot."""
    listed = subprocess.run(["git", "-C", str(root), "ls-files", "-z"], capture_output=True)
    if listed.returncode == 0 and listed.stdout:
        return [path for name in listed.stdout.decode().split("\0") if name and (path := root / name).is_file()]
    return [
        path
        for path in root.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts[:-1])
    ]


def printing_calls(tree: ast.AST) -> list[int]:
    """Lines that write to the terminal behind the caller's back."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("print", "breakpoint")
    ]


def defined_names(tree: ast.Module) -> set[str]:
    """The names that a module's top level binds, also those below an ``if`` or ``try``."""
    names: set[str] = set()
    for node in top_level(tree.body):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    return names


def top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        yield node
        for inner in ("body", "orelse", "finalbody"):
            if isinstance(node, ast.If | ast.Try | ast.With):
                yield from top_level(getattr(node, inner, []))
        if isinstance(node, ast.Try):
            for handler in node.handlers:
                yield from top_level(handler.body)


def declared_all(tree: ast.Module) -> list[str] | None:
    """What ``__all__`` lists, or None; only a plain list or tuple of strings counts."""
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and target.id == "__all__":
            assert isinstance(node, ast.Assign | ast.AnnAssign)
            assert node.value is not None
            value: object = ast.literal_eval(node.value)
            assert isinstance(value, list | tuple)
            return [str(name) for name in value]
    return None


def public_definitions(tree: ast.Module) -> set[str]:
    return {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_")
    }


def undocumented(names: list[str], reference: str) -> list[str]:
    """The names that no heading or code span of the reference has."""
    documented = set(re.findall(r"`([A-Za-z_][\w.]*)", reference))
    return [name for name in names if not {name, f"resumption.{name}"} & documented]


@each_module
def test_a_source_file_is_no_longer_than_500_lines(path: Path) -> None:
    lines = path.read_text("utf-8").count("\n")
    assert lines <= LIMIT or relative(path) in OVERSIZED, f"{lines} lines: look for the second idea"


@each_module
def test_a_module_says_what_it_is(path: Path) -> None:
    documented = ast.get_docstring(ast.parse(path.read_text("utf-8")))
    assert documented, "no module docstring"
    assert len(documented) > 20


@each_module
def test_a_module_is_named_for_what_it_knows(path: Path) -> None:
    for part in path.relative_to(SOURCE).with_suffix("").parts:
        assert not FORBIDDEN_NAMES.search(part), f"{part} says nothing about its contents"


@each_module
def test_library_code_does_not_print(path: Path) -> None:
    if not relative(path).startswith(("cli/", "__main__")):
        assert printing_calls(ast.parse(path.read_text("utf-8"))) == []


@each_module
def test_a_module_lists_its_public_names(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    listed = declared_all(tree)
    if listed is None:
        assert not public_definitions(tree), "public definitions but no __all__"
        return
    assert len(set(listed)) == len(listed), "a name is listed twice"
    assert set(listed) <= defined_names(tree), "a listed name is not defined here"


@each_module
def test_nothing_is_left_unfinished(path: Path) -> None:
    assert not UNFINISHED.search(path.read_text("utf-8"))


def test_no_file_tells_of_the_machine_it_was_written_on() -> None:
    told = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in committed_files(ROOT)
        if (match := MACHINE_PATHS.search(path.read_bytes().decode("utf-8", "replace")))
    ]
    assert told == []


def test_every_public_name_is_in_the_reference() -> None:
    front_door = declared_all(ast.parse((SOURCE / "__init__.py").read_text("utf-8"))) or []
    reference = ROOT / "docs" / "reference.md"
    assert undocumented(front_door, reference.read_text("utf-8") if reference.is_file() else "") == []


def test_every_link_between_pages_leads_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    broken = [
        f"{page.relative_to(ROOT)} -> {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text("utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert pages
    assert broken == []


def test_changelog_fragments_are_named_topic_and_kind() -> None:
    fragments = [path.name for path in (ROOT / "changelog.d").glob("*") if path.name != "README.md"]
    pattern = re.compile(r"[a-z0-9-]+\.(added|changed|fixed|removed|security)\.md")
    assert [name for name in fragments if not pattern.fullmatch(name)] == []


# --- the checks themselves ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["utils", "tls_utils", "session_manager", "helper", "common_types"])
def test_an_empty_name_is_caught(name: str) -> None:
    assert FORBIDDEN_NAMES.search(name)


@pytest.mark.parametrize("name", ["codec", "utility_curves", "messages12", "managed", "commonmark"])
def test_an_honest_name_passes(name: str) -> None:
    assert not FORBIDDEN_NAMES.search(name)


def test_printing_is_caught_wherever_it_stands() -> None:
    source = "def f():\n    print('x')\n\nclass A:\n    breakpoint()\n\nlog.print('fine')\n"
    assert printing_calls(ast.parse(source)) == [2, 5]


def test_names_are_found_in_every_kind_of_top_level_statement() -> None:
    source = (
        "import os.path\nfrom x import y as z\nA, (B, C) = 1, (2, 3)\nD: int = 4\n"
        "if A:\n    def e(): pass\nelse:\n    class F: pass\ntry:\n    G = 1\nexcept ImportError:\n    H = 2\n"
        "def outer():\n    inner = 1\n"
    )
    assert defined_names(ast.parse(source)) == {"os", "z", "A", "B", "C", "D", "e", "F", "G", "H", "outer"}


def test_all_is_read_from_lists_and_tuples() -> None:
    assert declared_all(ast.parse("__all__ = ['a', 'b']")) == ["a", "b"]
    assert declared_all(ast.parse("__all__: tuple[str, ...] = ('a',)")) == ["a"]
    assert declared_all(ast.parse("x = 1")) is None


def test_a_public_name_without_reference_is_caught() -> None:
    reference = "### `Session`\n\n`ClientContext(verify=True)` and `resumption.tracing`\n"
    assert undocumented(["Session", "ClientContext", "tracing", "Forgotten"], reference) == ["Forgotten"]


@pytest.mark.parametrize("text", ["/" + "work/main", "see ../" + "shared/x", "/" + "root/.pyenv", "." + "library/x"])
def test_a_path_of_this_machine_is_caught(text: str) -> None:
    assert MACHINE_PATHS.search(text)
