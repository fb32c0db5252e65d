"""Writes docs/openssl.md: each C name with what it calls, who owns what, and since when, read from the source.

What a function calls is taken from its body, who owns what from the first sentence of its docstring, its age and what
is missing from resumption/openssl/history.py: none of it can differ from what the code says. Like docs/states.py it
reads text and imports nothing, so it needs no environment.

    python3 dev.py docs            write the pages
    python3 dev.py docs --check    exit status 1 if one is out of date
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

ROOT = Path(__file__).resolve().parent.parent
FACE = ROOT / "src" / "resumption" / "openssl"
PAGE = ROOT / "docs" / "openssl.md"
MODULES = {
    "sessions": "Sessions",
    "contexts": "Contexts: the cache, its callbacks and limits",
    "connections": "Connections",
}
ROOTS = {
    "Session": "session",
    "Connection": "connection",
    "Stream": "stream",
    "Connection | Stream": "connection",
    "ClientContext": "context",
    "ServerContext": "context",
    "SSL_CTX": "context",
}
PLUMBING = {"succeeds", "null_on_error"}  # conventions, not what a function is about
HEADER = """\
# OpenSSL's names, and ours

Drawn from src/resumption/openssl by docs/openssl.py; change the code, then run `python3 dev.py docs`.

`from resumption.openssl import *` brings the functions of OpenSSL's session manual pages under their own names. Each is
one or two lines over the Pythonic face, which the second column shows. Booleans stand for 1 and 0, None for NULL, bytes
for a pointer with a length. What C leaves to chance is raised: `ReferenceCountError` for freeing what one does not
hold, `SessionFreedError` for using what is gone. Where the behaviour is different on purpose,
[differences.md](differences.md) says how and why; [examples/](../examples/README.md) shows the ownership rules at work.

Who owns what: `+1 caller` is a reference that you give back with `SSL_SESSION_free`; `+1` and `-1` with another name
are references of that holder; `Borrow` is somebody else's; `Copy` is a value of its own; `Not owned` is not counted.
Nothing under "since" is older than OpenSSL 1.1.0.
"""


class Entry(NamedTuple):
    """One C name."""

    name: str
    arguments: str
    ours: str
    owns: str
    does: str


def history(name: str) -> dict[str, Any]:
    """A table of history.py. Its values are literals, or names of literals."""
    literals: dict[str, Any] = {}
    for node in ast.parse((FACE / "history.py").read_text("utf-8")).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(target, ast.Name) and node.value is not None:
            literals[target.id] = value_of(node.value, literals)
    table: dict[str, Any] = literals[name]
    return table


def value_of(node: ast.expr, known: dict[str, Any]) -> Any:
    if isinstance(node, ast.Dict):
        return {value_of(k, known): value_of(v, known) for k, v in zip(node.keys, node.values, strict=True) if k}
    return known[node.id] if isinstance(node, ast.Name) else ast.literal_eval(node)


def entries(source: str) -> Iterator[Entry]:
    """The functions of one module and their aliases, in the order of the source."""
    tree = ast.parse(source)
    imported = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("resumption.")
        for alias in node.names
    } - PLUMBING
    found: dict[str, Entry] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            found[node.name] = entry(node, imported)
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Name) and node.value.id in found:
            for target in node.targets:
                if isinstance(target, ast.Name):
                    found[target.id] = found[node.value.id]._replace(name=target.id)
    yield from found.values()


def entry(node: ast.FunctionDef, imported: set[str]) -> Entry:
    parameters = [*node.args.posonlyargs, *node.args.args]
    kinds = {parameter.arg: kind(parameter.annotation) for parameter in parameters}
    roots = {name: ROOTS[of] for name, of in kinds.items() if of in ROOTS}
    body = [statement for statement in node.body if not is_docstring(statement)]
    every = dict.fromkeys(text for statement in body for text in expressions(statement, roots, imported))
    used = [text for text in every if not any(other.startswith((f"{text}.", f"len({text})")) for other in every)]
    first, _, rest = " ".join((ast.get_docstring(node) or "").split()).partition(". ")
    arguments = ", ".join(parameter.arg for parameter in parameters)
    return Entry(node.name, arguments, ", ".join(f"`{text}`" for text in used), first.rstrip("."), rest)


def kind(annotation: ast.expr | None) -> str:
    """``Session`` of ``Session | None``."""
    return ast.unparse(annotation).removesuffix(" | None") if annotation is not None else ""


def is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def expressions(node: ast.AST, roots: dict[str, str], imported: set[str]) -> Iterator[str]:
    """What is used of our own classes below ``node``: each whole chain, such as ``session.ex_data.get()``."""
    text = chain(node, roots, imported)
    if text is None or ("." not in text and "(" not in text and text in roots.values()):
        for child in ast.iter_child_nodes(node):
            yield from expressions(child, roots, imported)
        return
    yield text
    while isinstance(node, ast.Attribute | ast.Call | ast.Subscript):
        for argument in getattr(node, "args", []):
            yield from expressions(argument, roots, imported)
        node = node.func if isinstance(node, ast.Call) else node.value


def chain(node: ast.AST, roots: dict[str, str], imported: set[str]) -> str | None:
    if isinstance(node, ast.Name):
        return roots.get(node.id) or (node.id if node.id in imported else None)
    if isinstance(node, ast.Attribute):
        inner = chain(node.value, roots, imported)
        return inner and f"{inner}.{node.attr}"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "len":
        return f"len({chain(node.args[0], roots, imported)})"
    if isinstance(node, ast.Call):
        inner = chain(node.func, roots, imported)
        return inner and f"{inner}()"
    return chain(node.value, roots, imported) if isinstance(node, ast.Subscript) else None


def constants(source: str, functions: set[str]) -> Iterator[str]:
    """A row for each public name that is no function. A bar inside a code span would end its cell."""
    tree = ast.parse(source)
    listed = {name for node in tree.body if is_all(node) for name in ast.literal_eval(node.value)}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name not in functions and name in listed:
                yield f"| `{name}` | {', '.join(f'`{part}`' for part in ast.unparse(node.value).split(' | '))} |"


def is_all(node: ast.stmt) -> TypeGuard[ast.Assign]:
    return isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__"


def age(name: str) -> str:
    deprecated = history("DEPRECATED").get(name)
    since = history("SINCE").get(name, "")
    return f"**deprecated** {deprecated[0]}: `{deprecated[1]}`" if deprecated else since


def render() -> str:
    blocks = [HEADER.rstrip("\n")]
    plain: list[str] = []
    for module, title in MODULES.items():
        source = (FACE / f"{module}.py").read_text("utf-8")
        found = list(entries(source))
        rows = [f"## {title}\n", "| C name | ours | who owns what | what it does | since |", "|---|---|---|---|---|"]
        rows += [
            f"| `{one.name}({one.arguments})` | {one.ours} | {cell(one.owns)} | {cell(one.does)} | {age(one.name)} |"
            for one in found
        ]
        blocks.append("\n".join(rows))
        plain += constants(source, {one.name for one in found})
    blocks.append("\n".join(["## Constants and types\n", "| C name | ours |", "|---|---|", *plain]))
    blocks.append("\n".join(missing()))
    return "\n\n".join(blocks) + "\n"


def cell(text: str) -> str:
    """Text inside a table: RST's double backquotes become single ones, bars are escaped."""
    return re.sub(r"``(.+?)``", r"`\1`", text).replace("|", r"\|")


def missing() -> Iterator[str]:
    yield "## Refused\n"
    yield "Calling one of these raises `UsageError` with the reason. A name above does what it says.\n"
    yield "| C name | why not |\n|---|---|"
    for name, reason in history("REFUSED").items():
        yield f"| `{name}` | {reason} |"


def main(arguments: list[str]) -> int:
    text = render()
    if "--check" in arguments:
        if PAGE.is_file() and PAGE.read_text("utf-8") == text:
            return 0
        print("docs/openssl.md is out of date; run: python3 dev.py docs", file=sys.stderr)
        return 1
    PAGE.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
