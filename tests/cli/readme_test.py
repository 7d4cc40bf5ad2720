#!/usr/bin/env python3
"""The README's table of equal bits is what the program prints: run it again, row by row.

    tests/cli/readme_test.py PROGRAM MODEL            compare; exit code 1 and a line a difference
    tests/cli/readme_test.py PROGRAM MODEL --write    write the table
"""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

README = Path(__file__).resolve().parents[2] / "README.md"
PROMPT = "What is the capital of Japan?"
ROW = re.compile(r"^\| `(?P<split>--[^`]+)` \| (?P<ranks>\d+) \| (?P<rest>.*)\|$")


def run(program: str, model: str, split: str) -> dict:
    command = [program, "run", model, "-p", PROMPT, "--logits-hash", "--json", "--quiet"]
    result = subprocess.run(command + shlex.split(split), capture_output=True, text=True, check=True)
    return json.loads(result.stdout)


def main() -> int:
    program, model = sys.argv[1:3]
    lines = README.read_text(encoding="utf-8").splitlines()
    rows = {i: match for i, line in enumerate(lines) if (match := ROW.match(line))}
    if len(rows) < 8:
        print(f"README.md: {len(rows)} rows of equal bits, 8 or more were expected")
        return 1
    hashes, differences = set(), []
    for i, match in rows.items():
        answer = run(program, model, match["split"])
        hashes.add(answer["logits_hash"])
        line = (f"| `{match['split']}` | {len(answer['ranks'])} | `{answer['logits_hash']}` "
                f"| {answer['text'].strip()} |")
        if line != lines[i]:
            differences.append(f"README.md:{i + 1}: {lines[i]}\n  the program says {line}")
            lines[i] = line
    if len(hashes) != 1:
        print("the bits differ between splits:", hashes)
        return 1
    if "--write" in sys.argv:
        README.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return 0
    print("\n".join(differences) or f"README.md: {len(rows)} rows, one hash")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
