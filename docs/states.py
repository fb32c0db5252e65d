"""Draws docs/states.md: the handshake's state machines, read from the code that runs them.

A state is a class below `State` in src/resumption/handshake; a method marked `@on(Message)` handles that message, and
its return annotation names the states that may follow. Other public methods that return states (an answer from the
driver, a change_cipher_spec record) are transitions too. States that lead to one another make one picture, whatever
modules they live in. All of it is read from the source text, without importing it, so the page can be drawn while the
package is being rebuilt.

    python3 dev.py docs            write the page
    python3 dev.py docs --check    exit status 1 if it is out of date
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "resumption" / "handshake"
NAME = "resumption.handshake"
PAGE = ROOT / "docs" / "states.md"
HEADER = """\
# The handshake's states

Drawn from src/resumption/handshake by docs/states.py; change the code, then run `python3 dev.py docs`. An arrow is
labelled with the message, or with the method, that makes the transition.
"""

Key = tuple[str, str]  # module, class
BASE: Key = ("state", "State")


class VagueTransition(Exception):
    """A handler's return annotation does not name states of this package."""


@dataclass
class Class:
    """What the source says of one class."""

    key: Key
    summary: str
    bases: list[Key]
    transitions: list[tuple[str, list[Key]]]  # label, targets


@dataclass
class Module:
    """One source file: what its names stand for."""

    name: str
    imported: dict[str, Key] = field(default_factory=dict)
    aliases: dict[str, ast.expr] = field(default_factory=dict)
    classes: dict[str, ast.ClassDef] = field(default_factory=dict)


def read(path: Path) -> Module:
    module = Module(path.stem)
    tree = ast.parse(path.read_text("utf-8"), str(path))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(NAME):
            for alias in node.names:
                module.imported[alias.asname or alias.name] = (node.module.rpartition(".")[2], alias.name)
    for statement in tree.body:
        if isinstance(statement, ast.ClassDef):
            module.classes[statement.name] = statement
        elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            module.aliases[statement.targets[0].id] = statement.value
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value:
            module.aliases[statement.target.id] = statement.value
    return module


class Machine:
    """All states of a package and how one becomes another."""

    def __init__(self, package: Path) -> None:
        paths = sorted(package.glob("*.py")) if package.is_dir() else []
        self.modules = {path.stem: read(path) for path in paths}
        self.states: dict[Key, Class] = {}
        for module in self.modules.values():
            for name in module.classes:
                if self.is_state((module.name, name)):
                    self.states[module.name, name] = Class((module.name, name), "", [], [])
        for key in self.states:
            self.fill(key)

    def resolve(self, module: str, expression: ast.expr) -> Key | None:
        """Where a name that ``module`` uses is defined; None if the expression is no name."""
        if isinstance(expression, ast.Attribute) and isinstance(expression.value, ast.Name):
            package, where = self.modules[module].imported.get(expression.value.id, ("", ""))
            return (where, expression.attr) if package == NAME.rpartition(".")[2] else None
        if not isinstance(expression, ast.Name):
            return None
        return self.modules[module].imported.get(expression.id, (module, expression.id))

    def base_keys(self, key: Key) -> list[Key]:
        module, name = key
        known = self.modules.get(module)
        if known is None or name not in known.classes:
            return []
        expressions = known.classes[name].bases
        names = [each.value if isinstance(each, ast.Subscript) else each for each in expressions]
        return [base for each in names if (base := self.resolve(module, each))]

    def is_state(self, key: Key) -> bool:
        return any(base == BASE or self.is_state(base) for base in self.base_keys(key))

    def targets(self, module: str, annotation: ast.expr | None, own: Key | None) -> Iterator[Key]:
        """The states that an annotation names: unions, strings, aliases and Self are looked through."""
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            yield from self.targets(module, ast.parse(annotation.value, mode="eval").body, own)
        elif isinstance(annotation, ast.BinOp):
            yield from self.targets(module, annotation.left, own)
            yield from self.targets(module, annotation.right, own)
        elif isinstance(annotation, ast.Subscript):  # Union[...], Optional[...], tuple[State, ...]
            yield from self.targets(module, annotation.slice, own)
        elif isinstance(annotation, ast.Tuple):
            for element in annotation.elts:
                yield from self.targets(module, element, own)
        elif isinstance(annotation, ast.Name) and annotation.id == "Self" and own is not None:
            yield own
        elif annotation is not None and (key := self.resolve(module, annotation)):
            where, name = key
            home = self.modules.get(where)
            if key in self.states or (home is None and key != BASE):  # or in a module that is still to be written
                yield key
            elif home is not None and name in home.aliases:
                yield from self.targets(where, home.aliases[name], own)

    def fill(self, key: Key) -> None:
        module, name = key
        node = self.modules[module].classes[name]
        state = self.states[key]
        state.summary = (ast.get_docstring(node) or "").partition("\n")[0]
        state.bases = self.base_keys(key)
        for method in node.body:
            if not isinstance(method, ast.FunctionDef) or method.name.startswith("_"):
                continue
            found = list(dict.fromkeys(self.targets(module, method.returns, key)))
            messages = handled(method)
            if messages and not found:
                raise VagueTransition(f"{module}.{name}.{method.name}: the return annotation names no state")
            labels = messages or ([] if is_constructor(method) else [f"{method.name}()"])
            state.transitions += [(label, found) for label in labels if found]

    def transitions(self, key: Key) -> list[tuple[str, list[Key]]]:
        """A state's own transitions and those it inherits; an override hides what it overrides."""
        state = self.states.get(key)
        if state is None:
            return []
        known = {label for label, _ in state.transitions}
        inherited = [
            (label, [key if target == base else target for target in targets])  # Self is the subclass
            for base in state.bases
            for label, targets in self.transitions(base)
            if label not in known
        ]
        return state.transitions + inherited

    def edges(self) -> dict[tuple[Key, Key], list[str]]:
        """From state to state, with labels, in the order of the source. Bases that only share code are left out."""
        found: dict[tuple[Key, Key], list[str]] = {}
        for source in self.drawn():
            for label, targets in self.transitions(source):
                for target in targets:
                    labels = found.setdefault((source, target), [])
                    labels += [label] if label not in labels else []
        return found

    def drawn(self) -> list[Key]:
        """The states that a handshake can be in."""
        reached = {
            target for key in self.states for _, targets in self.transitions(key) for target in targets if target != key
        }
        bases = {base for state in self.states.values() for base in state.bases}
        return [key for key in self.states if key in reached or key not in bases]


def last(expression: ast.expr) -> str | None:
    """``Finished`` of ``messages12.Finished``."""
    if isinstance(expression, ast.Attribute):
        return expression.attr
    return expression.id if isinstance(expression, ast.Name) else None


def handled(method: ast.FunctionDef) -> list[str]:
    """The messages that ``@on(...)`` declares."""
    calls = [d for d in method.decorator_list if isinstance(d, ast.Call) and last(d.func) == "on"]
    return [name for call in calls for argument in call.args if (name := last(argument))]


def is_constructor(method: ast.FunctionDef) -> bool:
    return any(last(decorator) in ("classmethod", "staticmethod") for decorator in method.decorator_list)


def components(keys: list[Key], edges: dict[tuple[Key, Key], list[str]]) -> list[list[Key]]:
    """The states in groups: those that some path joins are in one."""
    home = {key: {key} for key in (*keys, *(key for pair in edges for key in pair))}
    for source, target in edges:
        joined = home[source] | home[target]
        home.update(dict.fromkeys(joined, joined))
    entered = {target for source, target in edges if source != target}
    order = [key for key in home if key not in entered]  # from the entry onward, then what no path from it reaches
    for key in order:
        order += [target for source, target in edges if source == key and target not in order]
    order += [key for key in home if key not in order]
    groups = {id(home[key]): home[key] for key in order}
    return [sorted(group, key=order.index) for group in groups.values()]


def version_of(key: Key) -> str:
    """``1.2`` or ``1.3`` for a state of a module that is about one version only, as its name says; else nothing."""
    return {"12": "1.2", "13": "1.3"}.get(key[0][-2:], "")


def section(machine: Machine, keys: list[Key], edges: dict[tuple[Key, Key], list[str]]) -> Iterator[str]:
    """The states of one component: a picture for each protocol version, then a line for each state."""
    yield f"\n## {keys[0][0]}"
    for version in sorted({version_of(key) for key in keys} - {""}, reverse=True) or [""]:
        if version:
            yield f"\n### TLS {version}"
        drawn = [key for key in keys if version_of(key) in ("", version)]
        while lost := {key for key in drawn if not version_of(key) and version and leads_nowhere(key, drawn, edges)}:
            drawn = [key for key in drawn if key not in lost]
        yield from picture(drawn, edges)
    yield "\n| state | in | what it is |\n|---|---|---|"
    for key in keys:
        summary = machine.states[key].summary if key in machine.states else ""
        yield f"| `{key[1]}` | {key[0]} | {summary} |"


def leads_nowhere(key: Key, keys: list[Key], edges: dict[tuple[Key, Key], list[str]]) -> bool:
    return not any(source == key and target in keys and target != key for source, target in edges)


def picture(keys: list[Key], edges: dict[tuple[Key, Key], list[str]]) -> Iterator[str]:
    """One drawing of these states."""
    names = Counter(name for _, name in keys)
    shown = {key: key[1] if names[key[1]] == 1 else f"{key[0]}.{key[1]}" for key in keys}
    node = {key: text.replace(".", "_") for key, text in shown.items()}
    entered = {target for source, target in edges if source != target}
    yield "\n```mermaid\nstateDiagram-v2"
    for key in keys:
        if node[key] != shown[key]:
            yield f'    state "{shown[key]}" as {node[key]}'
    for key in keys:
        if key not in entered:
            yield f"    [*] --> {node[key]}"
    for key in keys:
        for (source, target), labels in edges.items():
            if source == key and target in node:
                yield f"    {node[source]} --> {node[target]} : {', '.join(labels)}"
    yield "```"


def render(package: Path) -> str:
    machine = Machine(package)
    edges = machine.edges()
    groups = components(machine.drawn(), edges)
    lines = [HEADER.rstrip("\n")]
    if not groups:
        lines.append("\nThere are no states yet.")
    for keys in groups:
        lines += section(machine, keys, edges)
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    text = render(PACKAGE)
    if "--check" in arguments:
        if PAGE.is_file() and PAGE.read_text("utf-8") == text:
            return 0
        print("docs/states.md is out of date; run: python3 dev.py docs", file=sys.stderr)
        return 1
    PAGE.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
