"""Imports point down: the floors of the house, enforced on the source text.

Every import counts, wherever it stands: at the top, inside a function, under ``TYPE_CHECKING``, or by name through
importlib. docs/adr/0001-floors.md says what the floors are and why.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "src" / "resumption"

# A room may import from its own floor only itself: that is what keeps the three pillars apart.
FLOORS: dict[str, float] = {
    "frozen": 0.5,  # how values are made
    "constants": 1,
    "errors": 2,
    "session": 3,
    "wire": 3,
    "crypto": 3,
    "own_certificates": 3.9,  # what each side shows and asks for: a part of its configuration
    "psk_callback": 3.9,  # external PSKs that the application gives one by one: another part of it
    "config": 4,
    "handshake": 5,
    "channel": 5.7,  # a connection's records, keys and flights
    "ownership": 5.8,  # what a connection holds of sessions
    "early": 5.85,  # a connection's early data
    "engine": 5.9,  # states, questions and alerts
    "connection": 6,
    "streams": 6.5,
    "context": 7,
    "client_context": 7.2,  # the two kinds of context do not know each other
    "virtual_hosts": 7.1,  # which server context serves a name
    "server_context": 7.2,
    "": 7.5,  # the package itself: the front door
    "adapters": 8,
    "openssl": 8,
    "ssl": 8,
    "cli": 9,
    "__main__": 9.5,
}

# Within `session`: what each of its rooms may import from the others. They all stand on the modules beside them.
SESSION_ROOMS: dict[str, tuple[str, ...]] = {
    "formats": (),
    "tickets": ("formats",),
    "stores": ("formats",),
    "fleet": ("tickets", "stores"),
}

CONTEXTS = ("context", "client_context", "server_context")
SOCKETS_AND_LOOPS = ("streams", *CONTEXTS, "", "adapters", "openssl", "ssl", "cli", "__main__")
EVERYWHERE_BUT_BYTES_AND_STATES = ("session", "crypto", "config", *SOCKETS_AND_LOOPS)

# What comes from outside the package, and the rooms (or modules) that may use it. What is not named here is free if it
# is in the standard library, and forbidden if it is not.
OUTSIDE: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("asyncio", "select", "selectors", "socket", "socketserver"), SOCKETS_AND_LOOPS),
    **dict.fromkeys(("http", "urllib.request", "ftplib", "smtplib"), ("adapters", "cli")),
    "ssl": ("adapters", "ssl", "cli.bench", "cli.demo.stdlib"),
    "sqlite3": ("session.stores", "session.fleet.client_sessions", "cli.bench"),
    "cryptography": EVERYWHERE_BUT_BYTES_AND_STATES,
    "redis": ("session.stores", "cli.bench"),
    "pymemcache": ("session.stores", "cli.bench"),
    **dict.fromkeys(("certifi", "brotli", "zstandard"), ("crypto",)),
    "prometheus_client": ("adapters", "cli"),
    "OpenSSL": ("cli.bench",),
    **dict.fromkeys(("typer", "rich", "platformdirs"), ("cli",)),
    **dict.fromkeys(("urllib3", "requests", "httpx", "httpcore", "anyio", "trio"), ("adapters",)),
    # Never: they run code found in data, or make numbers that can be guessed.
    **dict.fromkeys(("pickle", "marshal", "shelve", "random"), ()),
}


class Import(NamedTuple):
    """One imported name, absolute: ``resumption.session.model.Session``."""

    importer: str
    line: int
    name: str


def module_name(path: Path, package: Path) -> str:
    parts = (package.name, *path.relative_to(package).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(source: str, importer: str, *, is_package: bool) -> Iterator[Import]:
    """Every import in ``source``, relative ones made absolute."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(importer, node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = importer.split(".")
                kept = parts[: len(parts) - node.level + is_package]
                base = ".".join((*kept, base) if base else kept)
            for alias in node.names:
                yield Import(importer, node.lineno, f"{base}.{alias.name}")
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield Import(importer, node.lineno, node.args[0].value)


def all_imports(package: Path) -> list[Import]:
    return [
        found
        for path in sorted(package.rglob("*.py"))
        for found in imports_of(
            path.read_text("utf-8"), module_name(path, package), is_package=path.name == "__init__.py"
        )
    ]


def within(name: str, places: Iterable[str]) -> bool:
    """Whether the module ``name`` (package name left out) is one of ``places`` or inside one."""
    return any(name == place or (place and name.startswith(f"{place}.")) for place in places)


def problem(found: Import, package: str) -> str | None:
    """Why this import may not stand, or None."""
    importer = found.importer.partition(".")[2]
    room = importer.partition(".")[0]
    if room not in FLOORS:
        return f"no floor is known for {room!r}: add it to FLOORS, and to the ADR"
    head, _, rest = found.name.partition(".")
    if head != package:
        return outside_problem(found.name, importer)
    target = rest.partition(".")[0]
    if target not in FLOORS:
        target = ""  # a name that the front door defines
    if target != room and FLOORS[target] >= FLOORS[room]:
        kind = "beside" if FLOORS[target] == FLOORS[room] else "above"
        return f"{target or 'the front door'} stands {kind} {room or 'the front door'}"
    return None


def outside_problem(name: str, importer: str) -> str | None:
    known = next((key for key in OUTSIDE if name == key or name.startswith(f"{key}.")), None)
    if known is not None:
        return (
            None if within(importer, OUTSIDE[known]) else f"{known} has no business in {importer or 'the front door'}"
        )
    if name.partition(".")[0] in (*sys.stdlib_module_names, "__future__"):
        return None
    return f"{name} is a dependency that no room has declared"


def violations(package: Path) -> list[str]:
    return [
        f"{found.importer}:{found.line} imports {found.name}: {why}"
        for found in all_imports(package)
        if (why := problem(found, package.name))
    ]


def cycles(package: Path) -> list[list[str]]:
    """Groups of modules that import one another, whatever the kind of import."""
    modules = {module_name(path, package) for path in package.rglob("*.py")}
    graph: dict[str, set[str]] = {module: set() for module in modules}
    for found in all_imports(package):
        target = found.name if found.name in modules else found.name.rpartition(".")[0]
        if target in modules and target != found.importer:
            graph[found.importer].add(target)

    def reach(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            for following in graph[waiting.pop()] - seen:
                seen.add(following)
                waiting.append(following)
        return seen

    reached = {module: reach(module) for module in modules}
    groups = {
        frozenset(other for other in reached[module] if module in reached[other])
        for module in modules
        if module in reached[module]
    }
    return sorted(sorted(group) for group in groups)


def test_imports_point_down() -> None:
    assert violations(PACKAGE) == []


def session_room_violations(package: Path) -> list[str]:
    def room(name: str) -> str | None:
        parts = name.split(".")
        return parts[2] if parts[:2] == [package.name, "session"] and parts[2:3] and parts[2] in SESSION_ROOMS else None

    return [
        f"{found.importer}:{found.line} imports {found.name}"
        for found in all_imports(package)
        if (here := room(found.importer)) and (there := room(found.name))
        if there != here and there not in SESSION_ROOMS[here]
    ]


def test_the_rooms_of_the_session_stand_on_one_another_as_said() -> None:
    assert session_room_violations(PACKAGE) == []


def test_no_two_modules_import_each_other() -> None:
    assert cycles(PACKAGE) == []


# --- the checks themselves ------------------------------------------------------------------------------------------


def house(folder: Path, sources: dict[str, str]) -> Path:
    """A package ``house`` with these modules, by path."""
    package = folder / "house"
    for name, source in sources.items():
        path = package / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return package


@pytest.mark.parametrize(
    ("name", "source", "reason"),
    [
        ("wire/codec", "from house.handshake import state", "handshake stands above wire"),
        ("wire/codec", "import house.session.model", "session stands beside wire"),
        ("crypto/suites", "from house.wire.codec import Struct", "wire stands beside crypto"),
        ("session/gate", "from ..crypto import hashes", "crypto stands beside session"),
        ("session/gate", "from house import crypto", "crypto stands beside session"),
        ("constants", "from house.errors import Error", "errors stands above constants"),
        ("config", "def f():\n    from house.context import ClientContext", "context stands above config"),
        (
            "connection",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house.context import ClientContext",
            "context stands above connection",
        ),
        (
            "handshake/client",
            "import importlib\nimportlib.import_module('house.connection')",
            "connection stands above",
        ),
        ("connection", "__import__('house.streams')", "streams stands above connection"),
        ("streams/blocking", "from house.context import ClientContext", "context stands above streams"),
        ("context", "from house import connect", "the front door stands above context"),
        ("openssl", "from house.adapters import ssl_compat", "adapters stands beside openssl"),
        ("context", "from house.adapters import ssl_compat", "adapters stands above context"),
        ("connection", "import socket", "socket has no business in connection"),
        ("session/stores/redis", "import asyncio", "asyncio has no business in session.stores.redis"),
        ("streams/blocking", "import ssl", "ssl has no business in streams.blocking"),
        ("cli/serve", "from ssl import SSLContext", "ssl has no business in cli.serve"),
        ("wire/codec", "from cryptography import x509", "cryptography has no business in wire.codec"),
        ("context", "import redis.asyncio", "redis has no business in context"),
        ("session/model", "import pickle", "pickle has no business in session.model"),
        ("session/model", "import attrs", "attrs is a dependency that no room has declared"),
        ("sundry", "import os", "no floor is known for 'sundry'"),
    ],
)
def test_a_forbidden_import_is_caught(tmp_path: Path, name: str, source: str, reason: str) -> None:
    (found,) = violations(house(tmp_path, {name: source})) or [""]
    assert reason in found


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("session/cache", "from house.session.model import Session\nfrom .gate import eligible\nfrom . import der"),
        ("session/stores/sqlite", "import sqlite3\nfrom house.session.store import SessionStore"),
        ("session/stores/redis", "def connect():\n    import redis"),
        ("handshake/client", "from house.wire import messages\nfrom house import config\nfrom ..crypto import hashes"),
        ("streams/aio", "import asyncio\nimport socket\nfrom house.connection import Connection"),
        ("__init__", "from house.context import ClientContext\nfrom house import errors"),
        ("adapters/ssl_compat", "import ssl\nfrom house import ClientContext"),
        ("cli/bench", "import ssl\nimport OpenSSL.SSL\nimport rich.table\nfrom house.adapters import ssl_compat"),
        ("errors", "from __future__ import annotations\nfrom house.constants import AlertDescription\nimport os.path"),
    ],
)
def test_a_permitted_import_passes(tmp_path: Path, name: str, source: str) -> None:
    assert violations(house(tmp_path, {name: source})) == []


def test_a_circle_of_imports_is_caught_even_inside_functions(tmp_path: Path) -> None:
    package = house(
        tmp_path,
        {
            "session/__init__": "from house.session.a import A",
            "session/a": "from house.session import b",
            "session/b": "def f():\n    from house.session.c import C",
            "session/c": "from .a import A\nfrom house.errors import Error",
            "errors": "",
        },
    )
    assert cycles(package) == [["house.session.a", "house.session.b", "house.session.c"]]


def test_the_floors_that_are_checked_are_those_of_the_real_package() -> None:
    assert {"errors", "constants"} <= {path.stem for path in PACKAGE.glob("*.py")}
    assert len(all_imports(PACKAGE)) > 5


def test_a_room_of_the_session_that_reaches_across_is_found(tmp_path: Path) -> None:
    package = house(
        tmp_path,
        {
            "session/stores/redis": "from house.session.tickets.ring import KeyRing",
            "session/fleet/shared": "from house.session.tickets.ring import KeyRing\nfrom house.session import facts",
        },
    )
    assert session_room_violations(package) == [
        "house.session.stores.redis:1 imports house.session.tickets.ring.KeyRing"
    ]
