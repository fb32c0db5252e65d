#!/usr/bin/env python3
"""Coverage-guided fuzzing with atheris: inputs that reach new lines of the package are kept and changed further.

    python tests/fuzz/fuzz_guided.py TARGET [LIBFUZZER_OPTIONS] [CORPUS ...]

``tests/fuzz/targets.py`` has the targets. What breaks one is written to a file (``-artifact_prefix=``); giving that
file as CORPUS plays it again.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import atheris  # noqa: E402

with atheris.instrument_imports(include=["resumption"]):
    from tests.fuzz.targets import CORPORA, TARGETS


def main(words: list[str]) -> None:
    """Never returns: libFuzzer ends the process, with a status other than 0 if it found something."""
    if words[1:] == ["--list"]:
        print("\n".join(TARGETS))
        sys.exit()
    names = [word for word in words[1:2] if word in TARGETS]
    if not names:
        sys.exit(f"usage: fuzz_guided.py TARGET [OPTIONS]; targets: {', '.join(TARGETS)}")
    stored = CORPORA / names[0]
    atheris.Setup([words[0], *words[2:], *([str(stored)] if stored.is_dir() else [])], TARGETS[names[0]])
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
