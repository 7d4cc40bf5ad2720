#!/usr/bin/env python3
"""Checks the rules of the house that a machine can check; one line a finding, exit code 1.

    tools/check_house.py [--root FOLDER]

floors   A folder under src includes itself and folders of lower lines of src/floors.txt only;
         folders on one line never include each other.
cycles   No folder reaches itself through the includes of its files, and no header itself.
names    No file or folder is called utils, helpers, common or misc.
length   No source file is longer than 600 lines; generated ones (which say "generated" and "do not
         edit" in their first five lines) and .inc data apart. The README has at most 150.
doors    docs/architecture.md names, on a line about src/FOLDER, a header of each folder.
"""

import argparse
import re
import sys
from pathlib import Path

SOURCE_FOLDERS = ["src", "tests", "tools", "bench", "fuzz", "cmake"]
SOURCE_SUFFIXES = {".h", ".cpp", ".py", ".rs", ".sh", ".cmake"}
SKIPPED_FOLDERS = {"target", "__pycache__", "corpus", "data", "goldens", "node_modules"}
MAX_LINES = 600
MAX_README_LINES = 150
BAD_WORDS = {"util", "utils", "helper", "helpers", "common", "misc"}
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


def source_files(root):
    """Every file below the source folders, build outputs and data apart."""
    for folder in SOURCE_FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            inner = path.relative_to(root).parts[:-1]
            if path.is_file() and not SKIPPED_FOLDERS & set(inner):
                yield path


def read(path):
    return path.read_text(encoding="utf-8", errors="replace")


def read_floors(root):
    """Folder name -> line number; lower is nearer to the ground."""
    floors = {}
    for number, line in enumerate(read(root / "src" / "floors.txt").splitlines()):
        for name in line.split("#")[0].split():
            floors[name] = number
    return floors


def read_includes(root):
    """File -> the project's files that it includes, both as paths below src."""
    src = root / "src"
    includes = {}
    for path in source_files(root):
        if path.suffix not in {".h", ".cpp"} or src not in path.parents:
            continue
        name = path.relative_to(src).as_posix()
        found = INCLUDE.findall(read(path))
        includes[name] = [other if "/" in other else f"{Path(name).parent.as_posix()}/{other}"
                          for other in found]
    return includes


def folder_of(name):
    return name.split("/")[0]


def check_floors(root, includes):
    floors = read_floors(root)
    for folder in sorted({folder_of(name) for name in includes} - set(floors)):
        yield f"src/{folder}: is not in src/floors.txt"
    for name, others in includes.items():
        here = folder_of(name)
        for other in others:
            there = folder_of(other)
            if here == there or here not in floors or there not in floors:
                continue
            if floors[there] > floors[here]:
                yield f"src/{name}: includes {other}, which is a higher floor"
            elif floors[there] == floors[here]:
                yield f"src/{name}: includes {other}, which is on the same floor"


def find_cycle(graph):
    """The nodes of one cycle, first = last; empty where there is none."""
    done, path = set(), []

    def visit(node):
        if node in path:
            return path[path.index(node):] + [node]
        if node in done:
            return []
        path.append(node)
        for other in sorted(graph.get(node, ())):
            cycle = visit(other)
            if cycle:
                return cycle
        path.pop()
        done.add(node)
        return []

    for node in sorted(graph):
        cycle = visit(node)
        if cycle:
            return cycle
    return []


def check_cycles(includes):
    folders = {}
    for name, others in includes.items():
        known = {folder_of(other) for other in others if "/" in other}
        folders.setdefault(folder_of(name), set()).update(known - {folder_of(name)})
    for what, graph in (("folders", folders), ("files", includes)):
        cycle = find_cycle(graph)
        if cycle:
            yield f"src: {what} include each other in a ring: {' -> '.join(cycle)}"


def check_names(root):
    seen = set()
    for path in source_files(root):
        inner = path.relative_to(root)
        for part in [inner, *inner.parents]:
            words = set(re.split(r"[^a-z]+", part.name.lower()))
            if words & BAD_WORDS and part not in seen:
                seen.add(part)
                yield f"{part.as_posix()}: a name that says nothing: {min(words & BAD_WORDS)}"


def is_generated(text):
    head = "\n".join(text.splitlines()[:5]).lower()
    return "generated" in head and "do not edit" in head


def check_length(root):
    for path in source_files(root):
        is_source = path.suffix in SOURCE_SUFFIXES or path.name == "CMakeLists.txt"
        if not is_source:
            continue
        text = read(path)
        lines = len(text.splitlines())
        if lines > MAX_LINES and not is_generated(text):
            yield f"{path.relative_to(root).as_posix()}: {lines} lines, more than {MAX_LINES}"
    readme = root / "README.md"
    if not readme.exists():
        yield "README.md: is missing"
    elif len(read(readme).splitlines()) > MAX_README_LINES:
        yield f"README.md: {len(read(readme).splitlines())} lines, more than {MAX_README_LINES}"


def check_doors(root):
    map_file = root / "docs" / "architecture.md"
    lines = read(map_file).splitlines() if map_file.exists() else []
    for folder in sorted(path for path in (root / "src").iterdir() if path.is_dir()):
        about = " ".join(line for line in lines if f"src/{folder.name}" in line)
        named = [name for name in re.findall(r"[\w./]+\.h\b", about)
                 if (folder / name).exists() or (folder.parent / name).exists()]
        if not named:
            yield f"src/{folder.name}: docs/architecture.md names no header of it as its front door"


def check(root):
    includes = read_includes(root)
    return [*check_floors(root, includes), *check_cycles(includes), *check_names(root),
            *check_length(root), *check_doors(root)]


def main():
    parser = argparse.ArgumentParser(description="checks the rules of the house")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    findings = check(parser.parse_args().root.resolve())
    for finding in findings:
        print(finding)
    print(f"check_house: {len(findings)} finding{'' if len(findings) == 1 else 's'}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
