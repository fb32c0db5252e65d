#!/usr/bin/env python3
"""Handshakes with peers that misbehave, for a given time. Standard library and the package, nothing else.

    python tests/fuzz/fuzz_conversations.py [--seconds N] [--seed S] [--runs N] [CORPUS]

Prints progress, and for each failure the seed that brings it back: ``--seed SEED/NUMBER --runs 1``. The exit status is
1 if there was one. CORPUS is a folder of further inputs, taken up as they are. Options of libFuzzer that make sense
here are understood (``-max_total_time=``, ``-runs=``, ``-seed=``, ``-artifact_prefix=``), the others are passed over.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from pathlib import Path

if __package__ in (None, ""):
    ROOT = Path(__file__).resolve().parents[2]
    sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tests.fuzz.conversations import Fuzzer

MOST_FAILURES = 10
PROGRESS_S = 10.0
LIBFUZZER = {"-max_total_time": "--seconds", "-runs": "--runs", "-seed": "--seed", "-artifact_prefix": "--artifacts"}


def arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to go on (default: 60)")
    parser.add_argument("--runs", type=int, default=0, help="how many runs at most (default: no limit)")
    parser.add_argument("--seed", default="", help="what the runs follow from (default: the time)")
    parser.add_argument("--artifacts", default="", help="where to write what failed: a prefix of file names")
    parser.add_argument("corpus", nargs="*", type=Path, help="folders with further inputs")
    translated = []
    for word in words:
        name, equals, value = word.partition("=")
        if name in LIBFUZZER and equals:
            translated += [f"{LIBFUZZER[name]}={value}"]
        elif not (word.startswith("-") and not word.startswith("--") and equals):
            translated.append(word)
    return parser.parse_args(translated)


def main(words: list[str]) -> int:
    options = arguments(words)
    seed = options.seed or str(int(time.time()))
    fuzzer = Fuzzer()
    for folder in options.corpus:
        fuzzer.corpus.extend(path.read_bytes() for path in sorted(folder.glob("*")) if path.is_file())
    print(f"seed {seed}, {len(fuzzer.corpus)} stored inputs", flush=True)
    started = shown = time.monotonic()
    number = failures = 0
    while failures < MOST_FAILURES and (not options.runs or number < options.runs):
        now = time.monotonic()
        if now - started >= options.seconds:
            break
        if now - shown >= PROGRESS_S:
            shown = now
            print(f"{now - started:.0f} s, {fuzzer.tally}", flush=True)
        number += 1
        name = seed if options.runs == 1 and "/" in seed else f"{seed}/{number}"
        try:
            fuzzer.run(name)
        except Exception:
            failures += 1
            report = traceback.format_exc()
            print(f"FAILED: --seed {name} --runs 1\n{report}", file=sys.stderr, flush=True)
            if options.artifacts:
                Path(f"{options.artifacts}{name.replace('/', '-')}.txt").write_text(f"{name}\n{report}")
    fuzzer.close()
    print(f"{time.monotonic() - started:.0f} s, {fuzzer.tally}, {failures} failures", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
