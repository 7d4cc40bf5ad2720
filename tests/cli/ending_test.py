#!/usr/bin/env python3
"""Answers that do not come to their end: signals, and ranks that stand still."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path

from program import MODEL, PROGRAM, TIMEOUT_S, Running, environment, needs_the_model


@needs_the_model
class Signals(unittest.TestCase):
    LONG = ["-p", "Tell me a long story.", "--ignore-eos", "-n", 8000]

    def test_ctrl_c_stops_the_answer(self):
        running = Running("run", MODEL, "-q", *self.LONG)
        self.addCleanup(running.close)
        running.read_until(" ")
        running.process.send_signal(signal.SIGINT)
        self.assertEqual(running.wait(), 130)

    def test_ctrl_c_still_gives_the_json(self):
        process = subprocess.Popen([PROGRAM, "run", str(MODEL), "--json", *map(str, self.LONG)],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   env=environment())
        self.addCleanup(process.kill)
        for line in process.stderr:
            if line.startswith("loaded "):
                break
        time.sleep(1)  # the answer has begun and is far from its end
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=TIMEOUT_S)
        self.assertEqual(process.returncode, 130)
        self.assertEqual(json.loads(out)["finish_reason"], "cancelled")


class Ptrace:
    """Stops and continues one thread of a child process, the others of which go on."""
    CONT, DETACH, SEIZE, INTERRUPT = 7, 17, 0x4206, 0x4207
    WALL = 0x40000000  # waits for threads as well

    def __init__(self):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        self.libc.ptrace.restype = ctypes.c_long

    def stop(self, thread):
        for request in (self.SEIZE, self.INTERRUPT):
            if self.libc.ptrace(request, thread, None, None) != 0:
                raise OSError(ctypes.get_errno(), "ptrace")
        os.waitpid(thread, self.WALL)


@needs_the_model
class LostRank(unittest.TestCase):
    def threads(self, process):
        return {int(name) for name in os.listdir(f"/proc/{process.pid}/task")}

    def busy_ticks(self, process, thread):
        fields = Path(f"/proc/{process.pid}/task/{thread}/stat").read_text().rpartition(")")[2]
        return sum(map(int, fields.split()[11:13]))  # user and system time

    def stop_rank_one(self, running):
        """Stops the thread of rank 1 for good, and waits until the program has ended around it."""
        # Rank 0 is the main thread; the busiest of the others is rank 1.
        others = self.threads(running.process) - {running.process.pid}
        rank = max(others, key=lambda thread: self.busy_ticks(running.process, thread))
        try:
            Ptrace().stop(rank)
        except OSError as error:
            self.skipTest(f"threads cannot be stopped here: {error}")
        deadline = time.monotonic() + TIMEOUT_S
        while rank in self.threads(running.process) and time.monotonic() < deadline:
            time.sleep(0.05)
            try:
                os.waitpid(rank, Ptrace.WALL | os.WNOHANG)  # its end waits to be taken notice of
            except ChildProcessError:
                break

    TWO_RANKS = ["--tp", 2, "--threads", 1, "--placement", "dedicated",
                 "--distributed-timeout-seconds", 10]  # a busy machine loads slowly

    def test_a_rank_that_stands_still_ends_the_run_with_5(self):
        running = Running("run", MODEL, "-q", "-p", "Tell me a long story.", "--ignore-eos", "-n",
                          8000, *self.TWO_RANKS)
        self.addCleanup(running.close)
        running.read_until(" ")
        self.stop_rank_one(running)
        self.assertEqual(running.wait(), 5)

    def test_a_rank_that_stands_still_ends_the_bench_with_5(self):
        running = Running("bench", "batch", MODEL, "--input-len", 8, "--output-len", 8000,
                          *self.TWO_RANKS, terminal=True)
        self.addCleanup(running.close)
        running.read_until("loaded ")
        self.stop_rank_one(running)
        self.assertEqual(running.wait(), 5)


if __name__ == "__main__":
    unittest.main(verbosity=2, argv=sys.argv)
