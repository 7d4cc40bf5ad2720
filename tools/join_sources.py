#!/usr/bin/env python3
"""Groups the source files of a program that can be compiled as one: `GROUP PATH` a line.

    tools/join_sources.py FILE...      what cannot be joined with another is not printed

Most of what compiling a file costs is its headers and the templates that it fills in, which are
those of its neighbours (WEFT_JOIN_SOURCES, cmake/WeftFloor.cmake). Two files are joined only where
neither names anything that the other keeps in a namespace without a name: so no name can clash,
and none can come to mean another thing. What the one merely mentions counts: it is a look at words,
not at C++.
"""

import re
import sys
from pathlib import Path

MOST_FILES = 8  # of a group; more would leave a core idle at the end, and need more memory

END_OF_PRIVATE = "}  // namespace\n"
# Literals and comments.
NO_WORDS = re.compile(r"""R"\((?:.|\n)*?\)"|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])'"""
                      r"""|//[^\n]*|/\*(?:.|\n)*?\*/""")
# What changes the meaning of the files behind it, or of the whole program.
ALONE = re.compile(r"^\s*#\s*(define|undef|pragma)|^void\* operator new|^using namespace", re.MULTILINE)

BEGIN_INSIDE, BEGIN_OUTSIDE = re.compile(r"[\w\[]"), re.compile(r"using \w+ =|const(expr)? [^(]*[={]")
TEST = re.compile(r"TEST(?:_F|_P)?\( *(\w+), *(\w+)")
ALIAS = re.compile(r"using (\w+) = (.*);")
TYPE = re.compile(r"(?:struct|class|enum class|enum|union) (\w+)")
FUNCTION = re.compile(r"[^=({]*?\b(\w+)\(")
VARIABLES = re.compile(r"\b([A-Za-z]\w*)(?:\[[^\]]*\])* ?=")
VARIABLE = re.compile(r"\b([A-Za-z]\w*)(?:\[[^\]]*\])* ?[{;]")


class Source:
    def __init__(self, path):
        self.path = path
        text = path.read_text().replace(END_OF_PRIVATE, "}@\n")
        text = NO_WORDS.sub(" ", text)
        self.is_alone = bool(ALONE.search(text))
        self.words = set(re.findall(r"\w+", text))
        self.names, self.aliases, self.tests = set(), {}, set()
        for statement in private_statements(text):
            self.take(statement)

    def take(self, statement):
        """Keeps what the head of a declaration declares."""
        statement = re.sub(r"^template ?<.*?> (?=\w)|\[\[\w+\]\]", "", statement).strip()
        if test := TEST.match(statement):
            self.tests.add(test.groups())
        elif alias := ALIAS.match(statement):
            self.aliases[alias[1]] = alias[2]
        elif statement.startswith(("using ", "INSTANTIATE_", "static_assert(")):
            pass  # an import means the same everywhere
        elif type_name := TYPE.match(statement):
            self.names.add(type_name[1])
        elif function := FUNCTION.match(statement):
            self.names.add(function[1])
        else:
            self.names.update(VARIABLES.findall(statement) or VARIABLE.findall(statement)[:1])

    def clashes(self, other):
        return bool(self.names & other.words or other.names & self.words
                    or self.tests & other.tests
                    or self.renames(other) or other.renames(self))

    def renames(self, other):
        """Whether an alias of this file would change what the other says."""
        return any(other.aliases.get(name) != meaning and name in other.words
                   for name, meaning in self.aliases.items())


def private_statements(text):
    """What no other file sees: the declarations of namespaces without a name, and constants and
    aliases beside them; each up to its value or body."""
    statement, inside = "", False
    for line in text.splitlines():
        if line.startswith("namespace {"):
            inside = True
        elif line.startswith("}@"):
            inside = False
        elif statement or (BEGIN_INSIDE if inside else BEGIN_OUTSIDE).match(line):
            statement += " " + line.strip()
            if "{" in line or ";" in line:
                yield statement
                statement = ""


def main():
    groups = []
    for source in map(Source, map(Path, sys.argv[1:])):
        if source.is_alone:
            continue
        for group in groups:
            if len(group) < MOST_FILES and not any(source.clashes(other) for other in group):
                group.append(source)
                break
        else:
            groups.append([source])
    for number, group in enumerate(groups):
        for source in group:
            if len(group) > 1:
                print(number, source.path)


if __name__ == "__main__":
    main()
