#!/usr/bin/env python3
"""What `make run` and `make chat` do with the model that is named, and that a first build talks."""

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from program import PROGRAM, TIMEOUT_S

ROOT = Path(__file__).parents[2]
BUILD = Path(PROGRAM).parent


class Makefile(unittest.TestCase):
    def commands(self, goal, *variables):
        """What make calls the program with, a line a call, where nothing is to be built."""
        with tempfile.TemporaryDirectory() as folder:
            said, program = Path(folder, "said"), Path(folder, "weft")
            program.write_text(f'#!/bin/sh\necho "$@" >> {said}\n')
            program.chmod(0o755)
            Path(folder, "setup.mk").touch()
            run = subprocess.run(
                ["make", "-C", str(ROOT), "-o", "build", goal, f"BUILD={folder}",
                 f"WEFT={program}", *variables],
                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT_S,
                env={**os.environ, "MAKEFLAGS": "", "MAKELEVEL": ""})
            self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
            return said.read_text().splitlines()

    def test_a_name_is_fetched(self):
        self.assertEqual(self.commands("run"),
                         ["pull smollm2", "serve smollm2 --tp 2 --port 8000"])
        self.assertEqual(self.commands("chat", "MODEL=user/repo:Q4_K_M", "RANKS=3"),
                         ["pull user/repo:Q4_K_M", "run user/repo:Q4_K_M --tp 3"])

    def test_a_path_is_taken_as_it_is(self):
        with tempfile.TemporaryDirectory(prefix="my models ") as folder:
            for path in (f"{folder}/a.gguf", folder, "./a.gguf", "docs", "missing.gguf"):
                self.assertEqual(self.commands("run", f"MODEL={path}", "PORT=1"),
                                 [f"serve {path} --tp 2 --port 1"])
                self.assertEqual(self.commands("chat", f"MODEL={path}"), [f"run {path} --tp 2"])

    def test_a_build_has_one_line_and_not_one_a_file(self):
        steps = "".join(f"echo '[{i}/400] Building CXX object a{i}.o'; " for i in range(1, 401))
        for script, code, shown in (
                ("echo '[0/2] Re-checking globbed directories...'; echo 'ninja: no work to do.'",
                 0, ""),
                (steps + "echo '   Compiling libc' >&2; echo 'a.cpp:1: error: no'; exit 3", 3,
                 "   Compiling libc\na.cpp:1: error: no\n")):
            run = subprocess.run([ROOT / "tools/build_progress", "sh", "-c", script],
                                 stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                 timeout=TIMEOUT_S)
            self.assertEqual((run.returncode, run.stderr), (code, ""))
            told = [line for line in run.stdout.splitlines(True)
                    if not line.startswith("building: ")]  # on a slow machine
            self.assertEqual("".join(told), shown)

    def test_a_first_build_shows_its_steps_while_cargo_runs(self):
        """Ninja holds its own lines back while a command is in the console's pool."""
        steps = (BUILD / "build.ninja").read_text().split("\n\n")
        crate = [step for step in steps if "build --release --locked" in step]
        self.assertEqual(len(crate), 1)
        self.assertNotIn("pool = console", crate[0])
        self.assertNotIn("--quiet", crate[0])


if __name__ == "__main__":
    unittest.main(verbosity=2, argv=sys.argv)
