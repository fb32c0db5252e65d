#!/usr/bin/env python3
"""Set up and run everything in this checkout; nothing but CPython 3.11 or newer and pip is needed.

    python3 dev.py demo [ARGS]         the demonstration: `resumption demo ARGS`
    python3 dev.py test                ruff, mypy --strict and every test
    python3 dev.py test PYTEST_ARGS    only pytest, with these arguments
    python3 dev.py lint                ruff and mypy --strict
    python3 dev.py bench [ARGS]        the measurements: `resumption bench ARGS`
    python3 dev.py fuzz [TARGET ...] [-OPTION ...]  the fuzz targets, a minute each
    python3 dev.py matrix [ARGS]       every combination against OpenSSL, GnuTLS and Python's ssl, as a table
    python3 dev.py soak NAME [ARGS]    what takes too long for the tests: a program of tests/soak
    python3 dev.py mutate [MODULE ...] mutation testing of the gate, the key ring, the seals and the replay register
    python3 dev.py docs [--check]      draw the generated pages of docs/ again (or only compare)
    python3 dev.py which VERSION       where this machine has that Python; exit status 1 if nowhere

`--python VERSION_OR_PATH` straight after a command runs it on another interpreter.

Each interpreter gets an environment of its own under `.dev/`, made on first use and made again when the dependencies in
pyproject.toml or constraints.txt change; otherwise a command starts at once. `uv` is used where there is one. Progress
goes to stderr: stdout belongs to the command that is run, and so does the exit status.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

if sys.version_info < (3, 11):  # noqa: UP036 - this file is the one that meets older interpreters
    sys.exit(
        f"dev.py: resumption needs CPython 3.11 or newer; this is {sys.version.split()[0]} ({sys.executable}).\n"
        "        Run it with a newer one, for example: python3.11 dev.py " + " ".join(sys.argv[1:])
    )

import tomllib

ROOT = Path(__file__).resolve().parent
DEV = ROOT / ".dev"
BIN = "Scripts" if os.name == "nt" else "bin"
FUZZ_SECONDS = 60


class Interpreter(NamedTuple):
    """A Python that environments can be made from."""

    executable: str
    version: str


def say(message: str) -> None:
    print(f"dev.py: {message}", file=sys.stderr, flush=True)


def fail(message: str, status: int = 1) -> NoReturn:
    say(message)
    raise SystemExit(status)


# --- which Python ---------------------------------------------------------------------------------------------------


def this_interpreter() -> Interpreter:
    # The base interpreter: an environment made from inside another one must not depend on it.
    executable = getattr(sys, "_base_executable", None) or sys.executable
    return Interpreter(str(executable), ".".join(map(str, sys.version_info[:3])))


def probe(executable: str) -> Interpreter | None:
    """What answers under this name, or None. A name on PATH proves nothing: version managers leave shims behind."""
    question = "import sys; print('.'.join(map(str, sys.version_info[:3]))); print(sys._base_executable)"
    try:
        answer = subprocess.run([executable, "-Ic", question], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = answer.stdout.splitlines()
    return Interpreter(lines[1], lines[0]) if answer.returncode == 0 and len(lines) == 2 else None


def candidates(version: str) -> Iterator[str]:
    """Where Python ``version`` may be: on PATH, or kept by pyenv or uv."""
    if found := shutil.which(f"python{version}"):
        yield found
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for folder in sorted(pyenv.glob(f"versions/{version}*"), reverse=True):
        yield str(folder / "bin" / "python3")
    if uv := shutil.which("uv"):
        found = subprocess.run([uv, "python", "find", version], capture_output=True, text=True).stdout.strip()
        if found:
            yield found


def find_interpreter(wanted: str) -> Interpreter | None:
    """The Python at this path or of this version (``3.12``, ``3.12.1``), or None."""
    if os.sep in wanted or (os.altsep and os.altsep in wanted):
        return probe(wanted)
    for candidate in candidates(wanted):
        found = probe(candidate)
        if found and (found.version == wanted or found.version.startswith(f"{wanted}.")):
            return found
    return None


def choose_interpreter(wanted: str | None) -> Interpreter:
    if wanted is None:
        return this_interpreter()
    found = find_interpreter(wanted)
    if found is None:
        fail(f"no Python {wanted} on this machine")
    if tuple(map(int, found.version.split(".")[:2])) < (3, 11):
        fail(f"resumption needs CPython 3.11 or newer; {found.executable} is {found.version}")
    return found


# --- the environment ------------------------------------------------------------------------------------------------


def group(project: dict[str, object], name: str) -> list[str]:
    """The requirements of one dependency group. Read here because pip before 25.1 does not know `--group`."""
    groups = project["dependency-groups"]
    assert isinstance(groups, dict)
    found: list[str] = []
    for entry in groups[name]:
        found += group(project, entry["include-group"]) if isinstance(entry, dict) else [entry]
    return found


def fingerprint(project: dict[str, object], python: Interpreter) -> str:
    """Changes when the environment would have to: other dependencies, another interpreter, a moved checkout."""
    parts = {name: project.get(name) for name in ("build-system", "project", "dependency-groups")}
    text = json.dumps([parts, (ROOT / "constraints.txt").read_text("utf-8"), python, str(ROOT)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """One dev.py builds at a time; the others wait for it and find its work done."""
    DEV.mkdir(exist_ok=True)
    try:
        import fcntl
    except ImportError:  # Windows: two first runs at once are the user's to avoid
        yield
        return
    with open(DEV / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def environment(python: Interpreter, groups: Sequence[str], kind: str = "") -> Path:
    """The folder of an environment that has the project with all its extras and ``groups``; made if need be.

    ``kind`` tells apart environments that should not share what is installed.
    """
    folder = DEV / f"py{python.version}{kind}"
    stamp = folder / "stamp.json"
    with open(ROOT / "pyproject.toml", "rb") as file:
        project = tomllib.load(file)
    wanted = fingerprint(project, python)

    def installed() -> set[str]:
        try:
            known = json.loads(stamp.read_text("utf-8"))
        except (OSError, ValueError):
            return set()
        usable = known["fingerprint"] == wanted and (folder / BIN / "python").exists()
        return set(known["groups"]) if usable else set()

    needed = {"", *groups}  # "" stands for the project itself
    if needed <= installed():
        return folder
    with locked():
        present = installed()
        if needed <= present:
            return folder
        names = sorted(needed | present)
        requirements = [requirement for name in names if name for requirement in group(project, name)]
        build(python, folder, ["-e", f"{ROOT}[all]", *requirements])
        stamp.write_text(json.dumps({"fingerprint": wanted, "groups": names}), "utf-8")
    return folder


def build(python: Interpreter, folder: Path, requirements: list[str]) -> None:
    """Make ``folder`` anew and install into it, with uv or else with pip."""
    say(f"setting up {folder.relative_to(ROOT)} with Python {python.version}; this happens once and takes a minute")
    started = time.monotonic()
    attempts: list[Callable[[Interpreter, Path, list[str]], bool]] = [with_pip]
    if shutil.which("uv"):
        attempts.insert(0, with_uv)
    for attempt in attempts:
        shutil.rmtree(folder, ignore_errors=True)
        if attempt(python, folder, requirements):
            say(f"ready after {time.monotonic() - started:.0f} s")
            return
    shutil.rmtree(folder, ignore_errors=True)
    fail("the environment could not be made: see above")


def with_uv(python: Interpreter, folder: Path, requirements: list[str]) -> bool:
    installer = ["uv", "pip", "install", "-q", "--python", str(folder / BIN / "python")]
    made = run_quietly(["uv", "venv", "-q", "--no-project", "--python", python.executable, str(folder)])
    if made and run_quietly([*installer, "-c", str(ROOT / "constraints.txt"), *requirements]):
        return True
    say("uv could not do it; trying pip")
    return False


def with_pip(python: Interpreter, folder: Path, requirements: list[str]) -> bool:
    inside = str(folder / BIN / "python")
    # Debian takes ensurepip out of Python; there the machine's own pip can install into an environment that has none.
    if run_quietly([python.executable, "-c", "import ensurepip, venv; ensurepip.version()"], report=False):
        made = run_quietly([python.executable, "-m", "venv", str(folder)])
        pip = [inside, "-m", "pip"]
    else:
        made = run_quietly([python.executable, "-m", "venv", "--without-pip", str(folder)], report=False)
        pip = [python.executable, "-m", "pip", "--python", inside]
        made = made and run_quietly([*pip, "--version"], report=False)
        if not made:
            say(f"{python.executable} can neither make an environment (module venv) nor use pip from outside one;")
            say("install what is missing (on Debian and Ubuntu: apt install python3-venv python3-pip), or install uv")
    install = [*pip, "install", "-q", "--disable-pip-version-check", "--no-input"]
    return made and run_quietly([*install, "-c", str(ROOT / "constraints.txt"), *requirements])


def clean_environ() -> dict[str, str]:
    """This process's variables without those that would reach past the environment."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "PYTHONPATH")}
    return {**kept, "PIP_USER": "0"}


def run_quietly(command: list[str], *, report: bool = True) -> bool:
    """Run it; its words are shown, on stderr, only if it fails."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=clean_environ()
        )
    except OSError as error:
        if report:
            say(f"{command[0]}: {error.strerror}")
        return False
    if done.returncode and report:
        say("failed: " + " ".join(command))
        sys.stderr.write(done.stdout.decode(errors="replace"))
    return done.returncode == 0


# --- the commands ---------------------------------------------------------------------------------------------------


def hand_over(command: list[str]) -> int:
    """Become ``command``, so that signals, stdout and the exit status are its own."""
    sys.stdout.flush()
    if os.name != "nt":
        os.execve(command[0], command, clean_environ())
    return subprocess.call(command, env=clean_environ())


def command_line(python: Interpreter, groups: Sequence[str], arguments: list[str]) -> int:
    folder = environment(python, groups)
    return hand_over([str(folder / BIN / "resumption"), *arguments])


def demo(python: Interpreter, arguments: list[str]) -> int:
    return command_line(python, [], ["demo", *arguments])


def bench(python: Interpreter, arguments: list[str]) -> int:
    return command_line(python, ["bench"], ["bench", *arguments])


def checks(folder: Path, commands: dict[str, list[str]]) -> int:
    """Run all of them, also after one fails, and say at the end which did."""
    failed = []
    for name, command in commands.items():
        say(name)
        if subprocess.call([str(folder / BIN / "python"), "-m", *command], cwd=ROOT, env=clean_environ()):
            failed.append(name)
    if failed:
        say("FAILED: " + ", ".join(failed))
    return 1 if failed else 0


LINTS = {
    "ruff check": ["ruff", "check"],
    "ruff format --check": ["ruff", "format", "--check"],
    "mypy --strict": ["mypy", "--strict"],
}


def lint(python: Interpreter, arguments: list[str]) -> int:
    return checks(environment(python, ["lint", "test"]), LINTS)


def test(python: Interpreter, arguments: list[str]) -> int:
    folder = environment(python, ["lint", "test"])
    pytest = {"pytest": ["pytest", *(arguments or ["-n", str(max(1, min(os.cpu_count() or 1, 4)))])]}
    return checks(folder, pytest if arguments else {**LINTS, **pytest})


def fuzz(python: Interpreter, arguments: list[str]) -> int:
    """Run each target for a time. What is found stays in .dev/fuzz; options that begin with a hyphen are libFuzzer's.

    ``conversations`` follows seeds and needs nothing more; the others are guided by coverage.
    """
    options = [argument for argument in arguments if argument.startswith("-")] or [f"-max_total_time={FUZZ_SECONDS}"]
    names = [argument for argument in arguments if not argument.startswith("-")]
    program = str(environment(python, ["fuzz", "test"], "-fuzz") / BIN / "python")
    guided = [program, str(ROOT / "tests" / "fuzz" / "fuzz_guided.py")]
    listed = subprocess.run([*guided, "--list"], capture_output=True, text=True, env=clean_environ())
    if listed.returncode:
        fail(f"the fuzz targets cannot be loaded:\n{listed.stderr}")
    commands = {"conversations": [program, str(ROOT / "tests" / "fuzz" / "fuzz_conversations.py")]}
    commands |= {name: [*guided, name] for name in listed.stdout.split()}
    if unknown := set(names) - commands.keys():
        fail(f"no such fuzz target: {', '.join(sorted(unknown))}; there are {', '.join(commands)}", 2)
    failed = []
    for name in names or commands:
        corpus = DEV / "fuzz" / name
        corpus.mkdir(parents=True, exist_ok=True)
        say(f"fuzz {name}; what is found goes to {corpus.relative_to(ROOT)}")
        command = [*commands[name], *options, f"-artifact_prefix={corpus}-", str(corpus)]
        if subprocess.call(command, cwd=ROOT, env=clean_environ()):
            failed.append(name)
    if failed:
        say("FAILED: " + ", ".join(failed))
    return 1 if failed else 0


def matrix(python: Interpreter, arguments: list[str]) -> int:
    folder = environment(python, ["lint", "test"])
    command = [str(folder / BIN / "python"), "-m", "tests.interop.report", *arguments]
    return subprocess.call(command, cwd=ROOT, env=clean_environ())


def soak(python: Interpreter, arguments: list[str]) -> int:
    programs = {path.stem: path for path in sorted((ROOT / "tests" / "soak").glob("*.py")) if path.stem[:1].isalpha()}
    programs = {name: path for name, path in programs.items() if not name.startswith("test_")}
    if not arguments or arguments[0] not in programs:
        fail(f"soak: one of {', '.join(programs)}, and its arguments", 2)
    folder = environment(python, ["lint", "test"])
    return hand_over([str(folder / BIN / "python"), str(programs[arguments[0]]), *arguments[1:]])


def mutate(python: Interpreter, arguments: list[str]) -> int:
    folder = environment(python, ["mutation", "test"], "-mutation")
    command = [str(folder / BIN / "python"), str(ROOT / "tests" / "mutation" / "mutate.py"), *arguments]
    return subprocess.call(command, cwd=ROOT, env=clean_environ())


def docs(python: Interpreter, arguments: list[str]) -> int:
    pages = [ROOT / "docs" / f"{page}.py" for page in ("states", "reference", "openssl", "conformance")]
    return max(subprocess.call([python.executable, str(page), *arguments]) for page in pages)


def which(python: Interpreter, arguments: list[str]) -> int:
    if len(arguments) != 1:
        fail("which: one version, for example 3.12", 2)
    found = find_interpreter(arguments[0])
    if found:
        print(found.executable)
    return 0 if found else 1


COMMANDS: dict[str, Callable[[Interpreter, list[str]], int]] = {
    "demo": demo,
    "test": test,
    "lint": lint,
    "bench": bench,
    "fuzz": fuzz,
    "soak": soak,
    "matrix": matrix,
    "mutate": mutate,
    "docs": docs,
    "which": which,
}


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print((__doc__ or "").strip(), file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    name, *rest = arguments
    if name not in COMMANDS:
        fail(f"no command {name!r}; there are {', '.join(COMMANDS)}", 2)
    wanted = None
    if rest and rest[0] == "--python":
        if len(rest) < 2:
            fail("--python needs a version or a path", 2)
        wanted, rest = rest[1], rest[2:]
    elif rest and rest[0].startswith("--python="):
        wanted, rest = rest[0].partition("=")[2], rest[1:]
    try:
        return COMMANDS[name](choose_interpreter(wanted), rest)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
