"""The command line: ``resumption`` and ``python -m resumption``.

This package decides nothing about TLS: each sub-command, one module each, is a small program over the library's public
face. It needs the extra ``cli`` (typer and rich), which a server that only wants the library can do without; so nothing
here is imported by the rest, and `main` says what to install where the extra is missing.
"""

from __future__ import annotations

import importlib.util
import sys

__all__ = ["main"]

_NEEDED = ("typer", "rich")


def main() -> None:
    """Run the command in ``sys.argv``; the exit status is the process's."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f"resumption: the command line needs {' and '.join(missing)}, which the library alone does not install.\n"
            "Install it with:  pip install 'resumption[cli]'",
            file=sys.stderr,
        )
        raise SystemExit(2)
    from resumption.cli.application import run

    run()
