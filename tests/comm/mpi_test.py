"""comm_test over MPI: the contract of every transport in 2 and 3 processes, and what falls.

    python3 -B tests/comm/mpi_test.py build/tests/comm_test

Exit code 77, with the reason, where this machine or this build has no MPI.
"""

import os
import shutil
import subprocess
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import sessions

PROGRAM = ""
SKIPPED = 77
# Containers are root more often than not, and a test starts nothing but itself.
VARIABLES = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


def mpirun(num_processes, test, limit_s):
    """Runs one filter of tests; (exit code, output, seconds). Nothing of it is left behind."""
    command = ["mpirun", "-np", str(num_processes), "--oversubscribe", PROGRAM, "--gtest_brief=1",
               f"--gtest_filter={test}"]
    begin = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, env=VARIABLES,
                               start_new_session=True)
    try:
        output, _ = process.communicate(timeout=limit_s)
    finally:
        left = sessions.left(process.pid)
        sessions.kill(process.pid)
        process.wait()
    if left:
        output += f"\nleft behind: {left}\n"
    return process.returncode, output, time.monotonic() - begin


class OverMpi(unittest.TestCase):
    def test_the_contract_of_every_transport(self):
        for num_processes in (2, 3):
            with self.subTest(processes=num_processes):
                code, output, _ = mpirun(num_processes, "Mpi/Contract.*:Mpi/MpiBits.*", 300)
                self.assertEqual(code, 0, output[-4000:])
                self.assertNotIn("left behind", output)

    def test_a_fault_is_named_by_every_survivor(self):
        faults = {"Sleeping": 5, "Killed": 137, "Frozen": 5, "Quiet": 3, "AnotherVerb": 5,
                  "AnotherSize": 5, "GivenUp": 5, "KilledInTheMaking": 137,
                  "FrozenInTheMaking": 5, "GivenUpInTheMaking": 5}
        for fault, expected in faults.items():
            with self.subTest(fault=fault):
                code, output, seconds = mpirun(
                    3, f"Mpi/MpiFault.IsNamedByEverySurvivor/{fault}", 60)
                self.assertEqual(code, expected, output[-4000:])
                for survivor in (0, 2):
                    self.assertIn(f"\nrank {survivor} after ", output)
                self.assertNotIn("exit code 1:", output)
                self.assertNotIn("left behind", output)
                self.assertLess(seconds, 15)

    def test_another_version_is_refused(self):
        code, output, _ = mpirun(2, "Mpi/MpiStart.*", 60)
        self.assertIn("different versions of weft", output)
        self.assertNotIn("joined", output)
        self.assertNotIn("left behind", output)


def reason_to_skip():
    if shutil.which("mpirun") is None:
        return "no mpirun on this machine (Debian: openmpi-bin)"
    code, output, _ = mpirun(2, "Mpi/MpiStart.*", 60)
    if "was built without MPI" in output:
        return "this build has no MPI (Debian: libopenmpi-dev)"
    return ""


if __name__ == "__main__":
    PROGRAM = os.path.abspath(sys.argv.pop(1))
    reason = reason_to_skip()
    if reason:
        print(f"skipped: {reason}")
        sys.exit(SKIPPED)
    unittest.main(verbosity=2)
