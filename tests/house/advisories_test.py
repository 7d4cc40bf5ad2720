#!/usr/bin/env python3
"""Every test that docs/advisories.md names exists, every class names one, and every test that is
named after advisories stands in the table."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEST = re.compile(r"^TEST(?:_F|_P)?\(\s*(\w+),\s*(\w+)\)", re.M)
NAMED = re.compile(r"`(\w+\.\w+)`")
# What is promised in words alone, and no test could show.
WORDS = {"advisories that nobody answers"}


def tests_in(folder):
    return {f"{suite}.{name}" for path in folder.rglob("*.cpp")
            for suite, name in TEST.findall(path.read_text())}


def problems(page, tests):
    table = page.split("## Classes")[1].split("## Rules")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ") and " | what broke | " not in line]
    named = set(NAMED.findall("\n".join(row.split("|")[5] for row in rows)))
    found = [f"{name} is in docs/advisories.md and in no test" for name in sorted(named - tests)]
    found += [f"'{row.split('|')[1].strip()}' names no test" for row in rows
              if not NAMED.search(row.split("|")[5]) and row.split("|")[1].strip() not in WORDS]
    found += [f"{name} stands for no advisory" for name in sorted(tests - named)
              if name.startswith("Advisories")]
    if len(rows) < 35:
        found.append(f"the table has {len(rows)} rows")
    return found


def main():
    page = (ROOT / "docs" / "advisories.md").read_text()
    tests = tests_in(ROOT / "tests")
    found = problems(page, tests)
    # The check itself finds what is missing.
    one = next(name for name in sorted(tests) if name.startswith("Advisories."))
    if not problems(page, tests - {one}) or not problems(page.replace(f"`{one}`", ""), tests):
        found.append(f"nobody would miss {one}")
    print("\n".join(found) or "every advisory has its tests")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
