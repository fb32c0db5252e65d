"""Extract the traces of RFC 8448 from its text into one JSON file per trace: ``python extract.py rfc8448.txt``.

Each file holds a list of steps in the order of the document: who acts, what is done, what it is the same as (if the
document refers to an earlier step instead of giving values), and the values by name, in hexadecimal.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

FILES = {
    "3": "simple-1rtt",
    "4": "resumed-0rtt",
    "5": "hello-retry-request",
    "6": "client-authentication",
    "7": "compatibility-mode",
}

SECTION = re.compile(r"^(\d)\.  (.+)$")
STEP = re.compile(r"^   \{(client|server)\}  (.+)$")
VALUE = re.compile(r"^      ([A-Za-z ]+?)(?: \((\d+) octets\))?:  (.*)$")
MORE = re.compile(r"^         ((?:[0-9a-f]{2} ?)+)$")
PAGE_BREAK = re.compile(r"^(Thomson  .*|RFC 8448  .*|\f.*)$")


def traces(text: str) -> dict[str, dict[str, Any]]:
    """Every trace of the document by the number of its section."""
    found: dict[str, dict[str, Any]] = {}
    steps: list[dict[str, Any]] = []
    lengths: list[tuple[dict[str, str], str, int]] = []
    inside, in_title, name = False, False, ""
    values: dict[str, str] = {}
    for line in text.splitlines():
        if PAGE_BREAK.match(line) or not line.strip():
            in_title = in_title and bool(PAGE_BREAK.match(line))
            continue
        if section := SECTION.match(line):
            inside = section[1] in FILES
            if inside:
                steps = []
                found[section[1]] = {"section": section[1], "title": section[2], "steps": steps}
        elif not inside:
            continue
        elif step := STEP.match(line):
            values = {}
            steps.append({"actor": step[1], "action": step[2], "values": values})
            in_title = True
        elif in_title and not VALUE.match(line):
            steps[-1]["action"] = f"{steps[-1]['action']} {line.strip()}"
        elif value := VALUE.match(line):
            in_title, name = False, value[1]
            content = value[3].strip()
            plain = content in ("0 (all zero octets)", "(empty)")
            values[name] = "" if plain else content.replace(" ", "")
            lengths.append((values, name, int(value[2] or 0)))
        elif more := MORE.match(line):
            values[name] += more[1].replace(" ", "")
    for trace in found.values():
        for step in trace["steps"]:
            same = re.fullmatch(r"(.+?) \((same as .+)\)", step["action"].rstrip(":"))
            step["action"], step["same_as"] = (same[1], same[2]) if same else (step["action"].rstrip(":"), "")
    for values, name, length in lengths:
        assert len(bytes.fromhex(values[name])) == length, name
    return found


def main() -> None:
    """Write the files next to this script."""
    for number, trace in traces(Path(sys.argv[1]).read_text()).items():
        path = Path(__file__).with_name(f"{FILES[number]}.json")
        path.write_text(json.dumps(trace, indent=1) + "\n")


if __name__ == "__main__":
    main()
