#!/usr/bin/env python3
"""The program in several processes, as mpirun starts them: the bits of one, and how it ends."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path

from program import MODEL, PROGRAM, QUESTION, TIMEOUT_S, answer, environment, needs_the_model

SKIPPED = 77


def command(num_processes, *arguments):
    return ["mpirun", "-np", str(num_processes), "--oversubscribe", "--bind-to", "none", PROGRAM,
            *map(str, arguments)]


def variables():
    # Containers are root more often than not, and a test starts nothing but itself.
    return environment(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")


def run(num_processes, *arguments):
    return subprocess.run(command(num_processes, *arguments), stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=TIMEOUT_S, env=variables())


def processes_of_session(session):
    """Process id -> rank, of those that still run; mpirun itself has none."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(state[3]) != session or state[0] == "Z":
                continue
            values = (folder / "environ").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        ranks = [value for value in values if value.startswith(b"OMPI_COMM_WORLD_RANK=")]
        found[int(folder.name)] = int(ranks[0].partition(b"=")[2]) if ranks else None
    return found


@needs_the_model
class OverProcesses(unittest.TestCase):
    def test_the_bits_of_one_process(self):
        options = ["-q", "--json", "-p", QUESTION, "-n", 12, "--logits-hash"]
        alone = answer("-p", QUESTION, "-n", 12, "--logits-hash")
        for count, split in [(2, ["--tp", 2]), (2, ["--pp", 2]), (3, ["--tp", 2, "--pp", 2]),
                             (2, ["--stages", "12@1,14@2,4@1"])]:
            with self.subTest(processes=count, split=split):
                spanning = run(count, "run", MODEL, *options, *split)
                self.assertEqual(spanning.returncode, 0, spanning.stderr)
                found = json.loads(spanning.stdout)
                for key in ("text", "token_ids", "logits_hash"):
                    self.assertEqual(found[key], alone[key])

    def test_the_first_process_alone_speaks(self):
        spanning = run(2, "run", MODEL, "-p", QUESTION, "--tp", 2)
        self.assertEqual(spanning.returncode, 0, spanning.stderr)
        self.assertEqual(spanning.stdout, "The capital of Japan is Tokyo.\n")
        self.assertEqual(spanning.stderr.count("tp=2"), 1, spanning.stderr)
        self.assertEqual(run(2, "--version").stdout.count("weft "), 1)

    def test_mistakes_are_told_once_and_end_all(self):
        spanning = run(2, "run", MODEL, "--no-such-option")
        self.assertEqual(spanning.returncode, 2)
        self.assertEqual(spanning.stderr.count("weft: unknown option"), 1, spanning.stderr)
        spanning = run(2, "run", MODEL, "-p", QUESTION)
        self.assertIn("2 processes were started for a model split over 1 rank", spanning.stderr)
        self.assertEqual(spanning.returncode, 2)

    def answering(self):
        """A long answer under way: (the process, its ranks by process id)."""
        process = subprocess.Popen(
            command(2, "run", MODEL, "-p", QUESTION, "--tp", 2, "-n", 1500, "--ignore-eos"),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=variables(), start_new_session=True)
        self.addCleanup(self.end, process)
        self.assertTrue(process.stdout.read(4))
        return process, processes_of_session(process.pid)

    @staticmethod
    def end(process):
        for pid in processes_of_session(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.communicate()

    def ends(self, process, limit_s):
        begin = time.monotonic()
        _, errors = process.communicate(timeout=limit_s + 20)
        self.assertLess(time.monotonic() - begin, limit_s)
        # mpirun may end before the last one that it killed.
        give_up = time.monotonic() + 5
        while (left := processes_of_session(process.pid)) and time.monotonic() < give_up:
            time.sleep(0.05)
        self.assertEqual(left, {})
        return errors.decode()

    def test_a_killed_rank_is_named(self):
        process, ranks = self.answering()
        os.kill(next(pid for pid, rank in ranks.items() if rank == 1), signal.SIGKILL)
        errors = self.ends(process, 10)
        self.assertRegex(errors, r"weft: rank 1 \(.*\) ended without a word")
        self.assertNotEqual(process.returncode, 0)

    def test_a_frozen_rank_is_named_and_ended(self):
        process, ranks = self.answering()
        os.kill(next(pid for pid, rank in ranks.items() if rank == 1), signal.SIGSTOP)
        errors = self.ends(process, 12)
        self.assertRegex(errors, r"weft: rank 1 \(.*\) gave no sign of life")
        self.assertEqual(process.returncode, 5, errors)

    def test_an_interrupt_ends_all(self):
        process, _ = self.answering()
        os.kill(process.pid, signal.SIGINT)
        self.ends(process, 10)


if __name__ == "__main__":
    reason = ""
    if shutil.which("mpirun") is None:
        reason = "no mpirun on this machine (Debian: openmpi-bin)"
    elif "was built without MPI" in run(2, "--version").stderr:
        reason = "this build has no MPI (Debian: libopenmpi-dev)"
    if reason:
        print(f"skipped: {reason}")
        sys.exit(SKIPPED)
    unittest.main()
