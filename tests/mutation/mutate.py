"""Mutation testing of the modules that must never be wrong: is there a test for every line that could be?

    python3 dev.py mutate [MODULE ...] [--json]

mutmut changes one thing at a time in a copy of the checkout (.dev/mutation) and runs the tests that `TARGETS` names.
What survives is compared with ``explained.toml``: a change that makes no difference, or one that only words an error
differently, is listed there with the reason. The exit status is 1 if a survivor is not explained, or an explanation
fits no survivor any more.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXPLAINED = Path(__file__).with_name("explained.toml")
TARGETS: dict[str, tuple[str, tuple[str, ...]]] = {
    "gate": (
        "session/gate.py",
        (
            "session/test_gate.py",
            "session/test_gate_failures.py",
            "session/test_gate_client.py",
            "handshake/test_external_psks.py",
        ),
    ),
    "early": ("session/early.py", ("session/test_early.py",)),
    "ring": (
        "session/tickets/ring.py",
        ("session/test_ring.py", "session/test_derivation.py", "session/test_rotation.py"),
    ),
    "sealing": ("session/tickets/sealing.py", ("session/test_sealing.py",)),
    "replay": ("session/fleet/replay.py", ("session/test_replay.py", "security/test_single_use.py")),
}


@dataclass(frozen=True)
class Survivor:
    """A change that no test noticed: what a line was, and what it became."""

    function: str
    was: str
    became: str


def copy_of(name: str) -> Path:
    """A fresh copy of what mutmut needs, with its settings for one module."""
    module, tests = TARGETS[name]
    folder = ROOT / ".dev" / "mutation" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for part in ("src", "tests", "docs"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    settings = (ROOT / "pyproject.toml").read_text("utf-8")
    chosen = [f"tests/{path}" for path in tests if (ROOT / "tests" / path).exists()]
    settings += (
        "\n[tool.mutmut]\n"
        'source_paths = ["src/"]\n'
        f'only_mutate = ["src/resumption/{module}"]\n'
        'also_copy = ["tests", "docs"]\n'
        'pytest_add_cli_args = ["-p", "no:cacheprovider", "-x", "-q"]\n'
        f"pytest_add_cli_args_test_selection = {json.dumps(chosen)}\n"
    )
    (folder / "pyproject.toml").write_text(settings, "utf-8")
    for extra in ("README.md", "LICENSE"):
        shutil.copy(ROOT / extra, folder / extra)
    return folder


def mutmut(folder: Path, *arguments: str) -> str:
    """What mutmut prints; its progress is kept in a file beside."""
    program = str(Path(sys.executable).with_name("mutmut"))
    done = subprocess.run([program, *arguments], cwd=folder, capture_output=True, text=True)
    (folder / f"{arguments[0]}.log").write_text(done.stdout + done.stderr, "utf-8")
    return done.stdout


def survivors(folder: Path) -> tuple[list[Survivor], int]:
    """Every change that survived or met no test, and how many changes there were."""
    found, total = [], 0
    for line in mutmut(folder, "results", "--all", "true").splitlines():
        mutant, colon, status = line.strip().rpartition(": ")
        if not colon:
            continue
        total += 1
        if status in ("survived", "no tests", "suspicious"):
            shown = mutmut(folder, "show", mutant).splitlines()
            was = [text[1:].strip() for text in shown if text.startswith("-") and not text.startswith("---")]
            became = [text[1:].strip() for text in shown if text.startswith("+") and not text.startswith("+++")]
            function = mutant.rpartition("__mutmut_")[0].rpartition(".")[2].removeprefix("x_").lstrip("_")
            found.append(Survivor(function, " / ".join(was), " / ".join(became)))
    return found, total


def explanations(name: str) -> dict[tuple[str, str], str]:
    """The reasons for the survivors of a module, by what a line was and what it became."""
    listed = tomllib.loads(EXPLAINED.read_text("utf-8")).get(name, [])
    return {(entry["was"], entry["became"]): entry["why"] for entry in listed}


def harmless(survivor: Survivor) -> bool:
    """Whether only the wording of an error changed: no test pins those."""
    return "Error(" in survivor.was and survivor.was.startswith("raise ")


def main(arguments: list[str]) -> int:
    """Mutate the modules, and tell what survived."""
    options = argparse.ArgumentParser(prog="dev.py mutate", description=(__doc__ or "").partition("\n")[0])
    options.add_argument("modules", nargs="*", help=", ".join(TARGETS))
    options.add_argument("--json", action="store_true", help="print one JSON document")
    wanted = options.parse_args(arguments)
    if unknown := set(wanted.modules) - TARGETS.keys():
        options.error(f"no such module: {', '.join(sorted(unknown))}")
    report: dict[str, dict[str, object]] = {}
    unexplained_anywhere = False
    for name in wanted.modules or TARGETS:
        print(f"mutating {TARGETS[name][0]}: about a second for each change", file=sys.stderr, flush=True)
        folder = copy_of(name)
        mutmut(folder, "run")
        found, total = survivors(folder)
        reasons = explanations(name)
        met = {(one.was, one.became) for one in found}
        unexplained = [one for one in found if (one.was, one.became) not in reasons and not harmless(one)]
        stale = [key for key in reasons if key not in met]
        unexplained_anywhere |= bool(unexplained or stale or not total)
        report[name] = {
            "changes": total,
            "noticed": total - len(found),
            "only words of an error": sum(map(harmless, found)),
            "explained": len(met & reasons.keys()),
            "unexplained": [vars_of(one) for one in unexplained],
            "stale explanations": [list(key) for key in stale],
        }
        if not wanted.json:
            counts = {key: value for key, value in report[name].items() if isinstance(value, int)}
            print(f"{name}: " + ", ".join(f"{value} {key}" for key, value in counts.items()))
            for one in unexplained:
                print(f"  UNEXPLAINED {one.function}\n    - {one.was}\n    + {one.became}")
            for was, became in stale:
                print(f"  STALE EXPLANATION\n    - {was}\n    + {became}")
    if wanted.json:
        print(json.dumps(report, indent=1))
    return int(unexplained_anywhere)


def vars_of(survivor: Survivor) -> dict[str, str]:
    return {"function": survivor.function, "was": survivor.was, "became": survivor.became}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
