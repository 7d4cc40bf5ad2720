#!/usr/bin/env python3
"""What is refused without a model, with which exit code and which words."""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from program import PROGRAM, TIMEOUT_S, weft


class WithoutAModel(unittest.TestCase):
    def test_version_and_help(self):
        self.assertIn("kernels", weft("--version").stdout)
        self.assertIn("weft COMMAND --help", weft("--help").stdout)
        self.assertIn("--tensor-parallel-size, --tp, -tp", weft("run", "--help").stdout)

    def test_usage_errors_end_with_2(self):
        for arguments, part in [((), "usage: weft"),
                                (("rnu",), "did you mean run?"),
                                (("run", "m", "--tensor-paralel-size", "2"),
                                 "did you mean --tensor-parallel-size?"),
                                (("run", "m", "-tp", "nine"), "from 1 to"),
                                (("run",), "MODEL is missing")]:
            run = weft(*arguments)
            self.assertEqual(run.returncode, 2, run.stderr)
            self.assertEqual(run.stdout, "")
            self.assertIn(part, run.stderr)

    def test_an_answer_that_cannot_be_written_is_no_success(self):
        with open("/dev/full", "w") as full:
            run = subprocess.run([PROGRAM, "--help"], stdout=full, stderr=subprocess.PIPE,
                                 text=True, timeout=TIMEOUT_S)
        self.assertEqual(run.returncode, 2)
        self.assertIn("standard output could not be written", run.stderr)

    def test_an_unknown_kernel_table_is_a_usage_error(self):
        run = weft("--version", WEFT_ISA="abacus")
        self.assertEqual(run.returncode, 2, run.stderr)
        self.assertIn("abacus", run.stderr)

    def test_a_folder_is_no_config_file(self):
        with tempfile.TemporaryDirectory() as folder:
            run = weft("run", "m", "--config", folder)
            self.assertEqual(run.returncode, 2, run.stderr)
            self.assertIn("it is a folder", run.stderr)

    def test_a_huge_standard_input_is_refused(self):
        with open("/dev/zero", "rb") as zeros:
            run = subprocess.run([PROGRAM, "run", ".", "-p", "-"], stdin=zeros, timeout=TIMEOUT_S,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertEqual(run.returncode, 2, run.stderr)
        self.assertIn("standard input holds more than", run.stderr)

    def test_models_that_are_none_end_with_3(self):
        with tempfile.TemporaryDirectory() as folder:
            lie = Path(folder) / "lie.gguf"
            lie.write_bytes(b"GGUF" + b"\xff" * 60)
            for command in ("run", "inspect"):
                for model in ("/nonexistent/m.gguf", "smollm2", folder, lie):
                    run = weft(command, model, XDG_CACHE_HOME=folder)
                    self.assertEqual(run.returncode, 3, f"{model}: {run.stderr}")
                    self.assertTrue(run.stderr.startswith("weft: "), run.stderr)

    def test_pull_names_what_it_knows(self):
        run = weft("pull", "smollm3")
        self.assertEqual(run.returncode, 2)
        self.assertIn("did you mean smollm2?", run.stderr)

    def test_pull_without_python(self):
        with tempfile.TemporaryDirectory() as folder:
            run = weft("pull", "smollm2", "--python", "/nonexistent/python3", XDG_CACHE_HOME=folder)
            self.assertEqual(run.returncode, 3)
            self.assertIn("install python3", run.stderr)
            self.assertEqual([path for path in Path(folder).rglob("*")
                              if path.is_file() and path.name != "pull.lock"], [])


if __name__ == "__main__":
    unittest.main(verbosity=2, argv=sys.argv)
