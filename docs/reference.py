"""Writes docs/reference.md: every public name with its signature and docstring, read from the source.

Public is what `resumption.__all__` lists, plus what those names hand out (`ALSO`) and all errors. Methods by which the
floors talk to each other are left out: those of the protocols in `INNER`, `INNER_NAMES`, and docstrings that say "For
contexts." Like docs/states.py it reads
text and imports nothing, so it needs no environment.

    python3 dev.py docs            write the pages
    python3 dev.py docs --check    exit status 1 if one is out of date
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src"
PAGE = ROOT / "docs" / "reference.md"
PACKAGE = "resumption"
ALSO = {
    "Streams": ["resumption.streams.blocking.Stream", "resumption.streams.aio.AsyncStream"],
    "Stores of clients": [
        "resumption.session.fleet.client_sessions.ClientSessionStore",
        "resumption.session.fleet.client_sessions.ClientStoreStats",
    ],
    "More of sessions": [
        "resumption.session.facts.SessionData",
        "resumption.session.ledger.Holder",
        "resumption.session.statistics.SessionStats",
    ],
}
ERRORS = "resumption.errors"
INNER = {
    "Connection": "resumption.handshake.state.Output",
    "ClientContext": "resumption.ownership.Host",
    "ServerContext": "resumption.ownership.Host",
    "SessionCache": "resumption.session.model.Owner",
}
INNER_NAMES = {
    *(
        "acquire",
        "release",
        "transfer",
        "note",
        "link",
        "unlink",
        "is_linked",
    ),  # of a session, by caches and connections
    *("publish", "adopt", "hit", "expire", "handshake_done"),  # of a cache, by contexts
    *("before_fork", "after_fork_in_parent", "after_fork_in_child"),
}
INNER_WORDS = re.compile(r"\bFor (states|contexts|connections|streams|drivers|caches|adapters)\.")
HEADER = """\
# Reference

Every public name, drawn from the source by docs/reference.py. Times are seconds since the epoch unless a name says
otherwise; where a method of a base class is not overridden, it is listed with the class that users meet.
"""

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


class Found(NamedTuple):
    """A definition, and the module that has it."""

    module: str
    node: Definition


@cache
def parse(module: str) -> ast.Module | None:
    path = SOURCE.joinpath(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return ast.parse(candidate.read_text("utf-8"))
    return None


@cache
def find(module: str, name: str) -> Found | None:
    """The definition behind ``name`` in ``module``, through any number of imports."""
    tree = parse(module)
    if tree is None:
        return None
    for node in tree.body:
        if isinstance(node, Definition) and node.name == name:
            return Found(module, node)
    for statement in ast.walk(tree):
        if isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith(PACKAGE):
            for alias in statement.names:
                if (alias.asname or alias.name) == name:
                    return find(statement.module or "", alias.name)
    return None


def public_names(module: str) -> list[str]:
    tree = parse(module)
    for node in tree.body if tree else []:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__":
            return [str(name) for name in ast.literal_eval(node.value)]
    return []


def docstring(node: Definition) -> str:
    """The docstring as Markdown: RST's double backquotes become single ones."""
    return re.sub(r"``(.+?)``", r"`\1`", ast.get_docstring(node) or "")


def text_of(annotation: ast.expr) -> str:
    """An annotation without the quotes of a forward reference."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return annotation.value
    return ast.unparse(annotation)


def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef, *, bound: bool) -> list[str]:
    """The parameters as one writes them; ``self`` is left out of a method's."""

    def shown(argument: ast.arg, default: ast.expr | None = None, stars: str = "") -> str:
        kind = f": {text_of(argument.annotation)}" if argument.annotation is not None else ""
        value = f"{' = ' if kind else '='}{ast.unparse(default)}" if default is not None else ""
        return f"{stars}{argument.arg}{kind}{value}"

    spec = node.args
    positional = [*spec.posonlyargs, *spec.args]
    defaults = [None] * (len(positional) - len(spec.defaults)) + list(spec.defaults)
    found = [shown(argument, default) for argument, default in zip(positional, defaults, strict=True)]
    if spec.posonlyargs:
        found.insert(len(spec.posonlyargs), "/")
    if bound:
        found = found[2:] if found[1:2] == ["/"] else found[1:]
    if spec.vararg is not None or spec.kwonlyargs:
        found.append(shown(spec.vararg, stars="*") if spec.vararg is not None else "*")
    found += [shown(argument, value) for argument, value in zip(spec.kwonlyargs, spec.kw_defaults, strict=True)]
    return found + ([shown(spec.kwarg, stars="**")] if spec.kwarg is not None else [])


def signature(node: ast.FunctionDef | ast.AsyncFunctionDef, *, bound: bool) -> str:
    returns = f" -> {text_of(node.returns)}" if node.returns is not None else ""
    return f"({', '.join(parameters(node, bound=bound))}){returns}"


def decorators(node: Definition) -> set[str]:
    return {ast.unparse(decorator) for decorator in node.decorator_list}


def bases(found: Found) -> Iterator[Found]:
    """The classes of this package that a class is made of, nearest first."""
    if not isinstance(found.node, ast.ClassDef):
        return
    for expression in found.node.bases:
        if isinstance(expression, ast.Subscript):  # Context[ClientConfig]
            expression = expression.value
        above = find(found.module, expression.id) if isinstance(expression, ast.Name) else None
        if above is not None and isinstance(above.node, ast.ClassDef):
            yield above
            yield from bases(above)


def defined(node: Definition) -> list[str]:
    return [method.name for method in node.body if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef)]


def members(found: Found) -> dict[str, ast.stmt]:
    """Public members by name; an override hides what it overrides."""
    known: dict[str, ast.stmt] = {}
    protocol = find(*INNER.get(found.node.name, ".").rsplit(".", 1))
    protocols = (protocol, *bases(protocol)) if protocol else ()
    inner = INNER_NAMES.union(*(defined(each.node) for each in protocols))
    for owner in (found, *bases(found)):
        assert isinstance(owner.node, ast.ClassDef)
        for node in owner.node.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                name = node.name
                if name in inner or INNER_WORDS.search(ast.get_docstring(node) or ""):
                    continue
            elif isinstance(node, ast.AnnAssign | ast.Assign):
                target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
                name = target.id if isinstance(target, ast.Name) else "_"
            else:
                continue
            if not name.startswith("_") and "ClassVar" not in ast.unparse(node):
                known.setdefault(name, node)
    return known


def described_value(node: ast.Assign | ast.AnnAssign) -> str | None:
    """What a descriptor says of itself: ``time = _Fact("time", "When it was made.")``."""
    value = node.value
    if isinstance(value, ast.Call) and len(value.args) > 1 and isinstance(value.args[1], ast.Constant):
        return str(value.args[1].value)
    return None


def class_lines(found: Found) -> Iterator[str]:
    own = members(found)
    fields = {name: node for name, node in own.items() if isinstance(node, ast.AnnAssign | ast.Assign)}
    methods = {name: node for name, node in own.items() if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert isinstance(found.node, ast.ClassDef)
    is_enum = any("Enum" in ast.unparse(base) or "Flag" in ast.unparse(base) for base in found.node.bases)
    if is_enum:
        yield "Members: " + ", ".join(f"`{name}`" for name, node in fields.items() if isinstance(node, ast.Assign))
        fields = {}
    shown = [line for name, node in fields.items() if (line := field_line(name, node))]
    properties = {name: node for name, node in methods.items() if is_property(node)}
    shown += [f"- `{name}`: {first_paragraph(docstring(node))}" for name, node in properties.items()]
    if shown:
        yield "\n".join(shown)
    for name, node in methods.items():
        if name in properties or any(decorator.endswith(".setter") for decorator in decorators(node)):
            continue
        kind = " (class method)" if "classmethod" in decorators(node) else ""
        bound = "staticmethod" not in decorators(node)
        wait = "await " if isinstance(node, ast.AsyncFunctionDef) else ""
        yield f"#### `{wait}{found.node.name}.{name}{signature(node, bound=bound)}`{kind}"
        yield docstring(node)


def is_property(node: Definition) -> bool:
    return bool(decorators(node) & {"property", "cached_property"})


def first_paragraph(text: str) -> str:
    return " ".join(text.partition("\n\n")[0].split())


def field_line(name: str, node: ast.Assign | ast.AnnAssign) -> str | None:
    if isinstance(node, ast.AnnAssign):
        default = f" = {ast.unparse(node.value)}" if node.value is not None else ""
        return f"- `{name}: {text_of(node.annotation)}{default}`"
    described = described_value(node)
    return f"- `{name}`: {described}" if described else None


def constructor(found: Found) -> str | None:
    """How to make one, from ``__init__``; None where that is nobody's business."""
    for owner in (found, *bases(found)):
        assert isinstance(owner.node, ast.ClassDef)
        for node in owner.node.body:
            if isinstance(node, ast.FunctionDef) and node.name == "__init__":
                shown = parameters(node, bound=True)
                line = f"{found.node.name}({', '.join(shown)})"
                separator = ",\n    "
                return line if len(line) <= 100 else f"{found.node.name}(\n    {separator.join(shown)},\n)"
    return None


def entry(module: str, name: str) -> Iterator[str]:
    found = find(module, name)
    if found is None:
        return
    if isinstance(found.node, ast.ClassDef):
        yield f"### `{name}`"
        if call := constructor(found):
            yield f"```python\n{call}\n```"
        yield docstring(found.node)
        yield from class_lines(found)
    else:
        yield f"### `{name}{signature(found.node, bound=False)}`"
        yield docstring(found.node)


def error_table(names: list[str]) -> Iterator[str]:
    rows = ["| error | kind of | what it means |", "|---|---|---|"]
    for name in names:
        found = find(ERRORS, name)
        if found is not None and isinstance(found.node, ast.ClassDef):
            kinds = ", ".join(f"`{ast.unparse(base)}`" for base in found.node.bases)
            rows.append(f"| `{name}` | {kinds} | {first_paragraph(docstring(found.node))} |")
    yield "\n".join(rows)


def render() -> str:
    errors = public_names(ERRORS)
    lines = [HEADER.rstrip("\n"), f"## `{PACKAGE}`"]
    for name in public_names(PACKAGE):
        if name not in errors:
            lines += entry(PACKAGE, name)
    for title, paths in ALSO.items():
        entries = [line for path in paths for line in entry(*path.rsplit(".", 1))]
        lines += [f"## {title}", *entries] if entries else []
    lines += [f"## Errors: `{ERRORS}`"]
    lines += error_table(errors)
    return "\n\n".join(line for line in lines if line) + "\n"


def main(arguments: list[str]) -> int:
    text = render()
    if "--check" in arguments:
        if PAGE.is_file() and PAGE.read_text("utf-8") == text:
            return 0
        print("docs/reference.md is out of date; run: python3 dev.py docs", file=sys.stderr)
        return 1
    PAGE.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
