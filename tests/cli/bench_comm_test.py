#!/usr/bin/env python3
"""weft bench comm over the processes of mpirun: every transport side by side, said once."""

import json
import shutil
import subprocess
import unittest

from program import PROGRAM, TIMEOUT_S, environment


def bench(num_processes, *arguments):
    # Containers are root more often than not, and a test starts nothing but itself.
    return subprocess.run(
        ["mpirun", "-np", str(num_processes), "--oversubscribe", "--bind-to", "none", PROGRAM,
         "bench", "comm", *arguments],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT_S,
        env=environment(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1"))


@unittest.skipUnless(shutil.which("mpirun"), "no mpirun on this machine (Debian: openmpi-bin)")
class BenchComm(unittest.TestCase):
    def bench(self, num_processes, *arguments):
        run = bench(num_processes, *arguments)
        if "was built without MPI" in run.stderr:
            self.skipTest("this build has no MPI (Debian: libopenmpi-dev)")
        self.assertEqual(run.returncode, 0, run.stderr)
        return run

    def test_every_transport_is_measured_beside_mpi_itself(self):
        run = self.bench(2, "--sizes", "8,8192", "--run-ms", "1", "--json")
        found = json.loads(run.stdout)  # of the first process alone
        self.assertEqual(found["transport"], "processes")
        self.assertEqual(len(found["hosts"]), 2)
        group, = found["groups"]
        self.assertEqual(group["ranks"], 2)
        # Threads where process 0 may use two CPUs.
        expected = {"shared memory", "messages", "Open MPI"}
        transports = {row["transport"] for row in group["barriers"]} - {"threads"}
        self.assertEqual(transports, expected)
        self.assertEqual({row["transport"] for row in group["pairs"]} - {"threads"},
                         {"messages", "Open MPI"})
        sums = {(row["transport"], row["algorithm"], row["bytes"]): row["time_us"]
                for row in group["collectives"] if row["verb"] == "all_reduce"}
        for transport in ("shared memory", "messages"):
            for algorithm in ("one shot", "two shots", "as measured"):
                self.assertGreater(sums[transport, algorithm, 8192], 0)
        self.assertGreater(sums["Open MPI", "", 8192], 0)

    def test_threads_inside_processes_are_ranks_too(self):
        run = self.bench(2, "--ranks", "2", "--sizes", "64", "--run-ms", "1")
        self.assertIn("2 processes of one machine", run.stdout)
        self.assertIn("4 ranks", run.stdout)
        self.assertNotIn("Open MPI", run.stdout)  # has one rank a process

    def test_a_mistake_ends_all_processes(self):
        run = bench(2, "--sizes", "12")
        self.assertEqual(run.returncode, 2)
        self.assertIn("multiples of 8", run.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
