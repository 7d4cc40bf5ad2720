#!/usr/bin/env python3
"""weft pack from outside: the folder that it leaves, and that it leaves none when it is stopped.

    WEFT_PROGRAM=build/weft WEFT_TEST_MODELS=FOLDER python3 tests/cli/pack_test.py
"""

import json
import os
import signal
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from program import MODEL, PROGRAM, QUESTION, TIMEOUT_S, answer, environment, needs_the_model, weft


@needs_the_model
class Pack(unittest.TestCase):
    def test_a_packed_model_gives_the_same_bits(self):
        options = ["-p", QUESTION, "-n", 12, "--logits-hash"]
        expected = answer(*options)
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "small.packed"
            packed = weft("pack", MODEL, "--tp", 3, "--pp", 2, "-o", target)
            self.assertEqual((packed.returncode, packed.stdout), (0, f"{target}\n"), packed.stderr)
            run = weft("run", target, "--json", "--quiet", *options)
            self.assertEqual(run.returncode, 0, run.stderr)
            found = json.loads(run.stdout)
            self.assertEqual(found["topology"], "tp=3 pp=17,13")
            for key in ("text", "token_ids", "logits_hash"):
                self.assertEqual(found[key], expected[key], key)
            self.assertIn("tp=3 pp=17,13", weft("inspect", target).stdout)
            verified = weft("pack", target, "--verify")
            self.assertEqual(verified.returncode, 0, verified.stderr)
            self.assertIn("GB/s", verified.stderr)
            panels = target / "rank-0003.panels"
            whole = panels.read_bytes()
            middle = len(whole) // 2
            panels.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1:])
            damaged = weft("pack", target, "--verify")
            self.assertEqual(damaged.returncode, 3, damaged.stderr)
            self.assertIn("rank-0003.panels", damaged.stderr)
            self.assertIn("not those that were packed", damaged.stderr)
            panels.write_bytes(whole)
            other = weft("run", target, "--tp", 2, *options)
            self.assertEqual(other.returncode, 2, other.stderr)
            self.assertIn("was packed for tp=3 pp=17,13, not for tp=2", other.stderr)
            balanced = weft("run", target, "--pp-balance", "prefill", *options)
            self.assertEqual(balanced.returncode, 2, balanced.stderr)
            self.assertIn("not for tp=3 pp=2 pp-balance=prefill", balanced.stderr)
            again = weft("pack", MODEL, "-o", target)
            self.assertEqual(again.returncode, 2, again.stderr)
            self.assertEqual(weft("pack", MODEL, "-o", target, "--force").returncode, 0)
            self.assertIn("tp=1", weft("inspect", target).stdout)
            self.assertEqual(os.listdir(folder), ["small.packed"])

    def test_packing_that_is_stopped_leaves_nothing(self):
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "small.packed"
            pack = subprocess.Popen([PROGRAM, "pack", MODEL, "--tp", "7", "-t", "1", "-o", target],
                                    stderr=subprocess.PIPE, text=True, env=environment())
            deadline = time.monotonic() + TIMEOUT_S
            while not os.listdir(folder) and pack.poll() is None and time.monotonic() < deadline:
                time.sleep(0.001)
            pack.send_signal(signal.SIGINT)
            _, said = pack.communicate(timeout=TIMEOUT_S)
            if pack.returncode == 0:
                self.skipTest("it was done before the signal came")
            self.assertEqual(pack.returncode, 130, said)
            self.assertIn("nothing was left behind", said)
            self.assertEqual(os.listdir(folder), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
