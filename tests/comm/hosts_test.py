"""comm_test over hosts: the contract of every transport between network namespaces, and what falls.

    python3 -B tests/comm/hosts_test.py build/tests/comm_test

Exit code 77, with the reason, where this machine gives no namespaces or this build has no MPI.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

HOSTS = Path(__file__).resolve().parents[2] / "tools" / "hosts"
PROGRAM = ""
SKIPPED = 77
SLEEPER = "sleep 86423"  # which nobody else calls


def sleepers():
    found = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    return [line for line in found.splitlines() if line.startswith(SLEEPER)]


def on_hosts(count, *command, options=()):
    """(exit code, output) of a command on the first of so many hosts."""
    done = subprocess.run([sys.executable, "-B", HOSTS, str(count), *options, "--", *command],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=300)
    return done.returncode, done.stdout


def comm_test(count, test, options=()):
    return on_hosts(count, "mpirun", "-np", str(count), PROGRAM, "--gtest_brief=1",
                    f"--gtest_filter={test}", options=options)


class OverHosts(unittest.TestCase):
    def test_the_contract_of_every_transport(self):
        for count, test in ((2, "Mpi/Contract.*:Mpi/MpiBits.*"), (3, "Mpi/Contract.*")):
            with self.subTest(hosts=count):
                code, output = comm_test(count, test)
                self.assertEqual(code, 0, output[-4000:])

    def test_sums_over_a_wire_that_delays_and_loses(self):
        code, output = comm_test(2, "Mpi/Contract.AllReduce*:Mpi/Contract.RingOfMessages*",
                                 ("--delay", "500us", "--no-netem", "--loss", "0.5%"))
        self.assertEqual(code, 0, output[-4000:])

    def test_a_fault_is_named_by_every_survivor(self):
        for fault, expected in {"Killed": 137, "Frozen": 5, "FrozenInTheMaking": 5}.items():
            with self.subTest(fault=fault):
                code, output = comm_test(3, f"Mpi/MpiFault.IsNamedByEverySurvivor/{fault}")
                self.assertEqual(code, expected, output[-4000:])
                for survivor in (0, 2):
                    self.assertRegex(
                        output, f"rank {survivor} after .*exit code 5.*rank 1 \\(h2\\)")

    def test_nothing_is_left(self):
        code, output = on_hosts(2, "sh", "-c", f"echo $HOSTS_FOLDER; {SLEEPER} & exit 3")
        self.assertEqual(code, 3)
        self.assertFalse(Path(output.strip()).exists())
        self.assertFalse(sleepers())

    # Of one that is killed its folder is.
    def test_nothing_is_left_of_what_is_interrupted_or_killed(self):
        for number in (signal.SIGTERM, signal.SIGKILL):
            with self.subTest(signal=number), tempfile.TemporaryDirectory() as folder:
                process = subprocess.Popen(
                    [sys.executable, "-B", HOSTS, "2", "--", "sh", "-c",
                     f"$(dirname {HOSTS})/hosts_agent h2 {SLEEPER} & echo ready; {SLEEPER}"],
                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                    env={**os.environ, "TMPDIR": folder})
                self.assertEqual(process.stdout.readline(), "ready\n")
                process.send_signal(number)
                process.wait(timeout=60)
                process.stdout.close()
                end = time.monotonic() + 60
                while sleepers() and time.monotonic() < end:
                    time.sleep(0.1)
                self.assertFalse(sleepers())


def reason_to_skip():
    if shutil.which("mpirun") is None:
        return "no mpirun on this machine (Debian: openmpi-bin)"
    code, output = comm_test(2, "Mpi/MpiStart.*")
    if code == SKIPPED:
        return output.strip()
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
