#!/usr/bin/env python3
"""The program in several processes, as mpirun starts them: the bits of one, and how it ends."""

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import sessions
from program import MODEL, PROGRAM, QUESTION, TIMEOUT_S, answer, environment, needs_the_model, weft

SKIPPED = 77
HOSTS = Path(__file__).resolve().parents[2] / "tools" / "hosts"
MPIRUN = ["mpirun", "--oversubscribe", "--bind-to", "none"]
LONG_ANSWER = ["-p", QUESTION, "-n", 1500, "--ignore-eos"]


def command(num_processes, *arguments):
    return [*MPIRUN, "-np", str(num_processes), PROGRAM, *map(str, arguments)]


def variables():
    # Containers are root more often than not, and a test starts nothing but itself.
    return environment(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")


def finished(started):
    return subprocess.run(started, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=TIMEOUT_S, env=variables())


def run(num_processes, *arguments):
    return finished(command(num_processes, *arguments))


def ranks_of(session):
    """Rank -> process id; mpirun itself has none."""
    found = {}
    for folder in sessions.folders_of(session):
        try:
            values = (folder / "environ").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        for value in values:
            if value.startswith(b"OMPI_COMM_WORLD_RANK="):
                found[int(value.partition(b"=")[2])] = int(folder.name)
    return found


class Processes:
    """A job in a session of its own, of which nothing is left behind, whatever becomes of a test."""

    def __init__(self, test, *arguments):
        self.test = test
        self.process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        env=variables(), start_new_session=True)
        test.addCleanup(self.kill)

    def kill(self):
        sessions.kill(self.process.pid)
        self.process.communicate()

    def signal_rank(self, rank, sign):
        os.kill(ranks_of(self.process.pid)[rank], sign)

    def ends(self, limit_s):
        """Exit code and standard error of all; within a time that counts from here."""
        begin = time.monotonic()
        _, errors = self.process.communicate(timeout=TIMEOUT_S)
        passed = time.monotonic() - begin
        self.test.assertLess(passed, limit_s, errors.decode())
        self.test.assertEqual(sessions.left(self.process.pid), [])
        return self.process.returncode, errors.decode()


@needs_the_model
class OverProcesses(unittest.TestCase):
    def check_same(self, spanning, alone):
        self.assertEqual(spanning.returncode, 0, spanning.stderr)
        found = json.loads(spanning.stdout)
        for key in ("text", "token_ids", "logits_hash"):
            self.assertEqual(found[key], alone[key])

    def test_the_bits_of_one_process(self):
        asked = ["-p", QUESTION, "-n", 12, "--logits-hash"]
        alone = answer(*asked)
        for count, split in [(2, ["--tp", 2]), (3, ["--tp", 2, "--pp", 2]),
                             (2, ["--stages", "12@1,14@2,4@1", "--ranks-per-process", "1,3"]),
                             (2, ["--tp-weights", "2,1", "--verify-weights"])]:
            with self.subTest(processes=count, split=split):
                self.check_same(run(count, "run", MODEL, "-q", "--json", *asked, *split), alone)
        with self.subTest("hosts of different instruction sets"):
            arguments = [PROGRAM, "run", str(MODEL), "-q", "--json", *map(str, asked), "--tp", "2"]
            self.check_same(finished([*MPIRUN, "-np", "1", *arguments, ":", "-np", "1", "env",
                                      "WEFT_ISA=portable", *arguments]), alone)

    def test_the_first_process_alone_speaks(self):
        spanning = run(2, "run", MODEL, "-p", QUESTION, "--tp", 2)
        self.assertEqual(spanning.returncode, 0, spanning.stderr)
        self.assertEqual(spanning.stdout, "The capital of Japan is Tokyo.\n")
        self.assertEqual(spanning.stderr.count("tp=2"), 1, spanning.stderr)
        self.assertRegex(spanning.stderr, r"hosts +\S+: rank 0, \w+\n +\S+: rank 1, \w+\n")
        self.assertEqual(run(2, "--version").stdout.count("weft "), 1)

    def test_rounded_sums_are_said(self):
        asked = ["run", MODEL, "-p", QUESTION, "--tp", 2, "-n", 12, "--logits-hash"]
        exact, rounded = run(2, *asked), run(2, *asked, "--reduce", "q8")
        self.assertEqual(rounded.returncode, 0, rounded.stderr)
        self.assertIn("sums     rounded to q8 between processes: which ranks they run shows in the "
                      "bits (--reduce int64: it does not)", rounded.stderr)
        self.assertNotIn("rounded", exact.stderr)
        self.assertNotEqual(rounded.stdout.split()[-1], exact.stdout.split()[-1])
        alone = weft(*asked, "--reduce", "q8")
        self.assertEqual(alone.stdout, exact.stdout)
        self.assertIn("--reduce q8 rounds nothing here", alone.stderr)

    def test_a_trace_has_the_ranks_of_all_hosts_on_one_clock(self):
        with tempfile.TemporaryDirectory() as folder:
            trace = Path(folder) / "trace.json"
            asked = ["run", MODEL, "-p", QUESTION, "-n", 20, "--ignore-eos", "--tp", 2,
                     "--threads", 1, "--trace", trace]
            for on_hosts in ([], [sys.executable, "-B", HOSTS, "2", "--clock", "5000s", "--"]):
                done = finished([*on_hosts, *command(2, *asked)])
                if on_hosts and done.returncode == SKIPPED:
                    self.skipTest(done.stderr.strip())
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertIn("moments of other processes are right to within", done.stderr)
                self.check_one_clock(json.loads(trace.read_text()),
                                     ["h1", "h2"] if on_hosts else None)

    # Ranks of one stage meet in each of its layers, so that they are in a step at the same time.
    def check_one_clock(self, trace, hosts):
        error_us = trace["otherData"]["clock_error_us"]
        self.assertLess(error_us, 100_000)
        names = [event["args"]["name"] for event in trace["traceEvents"]
                 if event["name"] == "thread_name"]
        self.assertEqual(len(names), 2)
        for name, host in zip(names, hosts or ["", ""]):
            self.assertRegex(name, rf"^rank \d \({host or '.+'}\)$")
        steps = {0: {}, 1: {}}
        for event in trace["traceEvents"]:
            if event.get("cat") == "work" and "step" in event["args"]:
                begin, end = event["ts"], event["ts"] + event["dur"]
                known = steps[event["tid"]].get(event["args"]["step"], (begin, end))
                steps[event["tid"]][event["args"]["step"]] = (min(begin, known[0]),
                                                              max(end, known[1]))
        self.assertGreater(len(steps[0]), 10)
        self.assertEqual(set(steps[0]), set(steps[1]))
        for step, (begin, end) in steps[0].items():
            other_begin, other_end = steps[1][step]
            self.assertLess(begin, other_end + error_us)
            self.assertLess(other_begin, end + error_us)

    def test_a_file_of_prompts_and_benches(self):
        with tempfile.TemporaryDirectory() as folder:
            lines = [{"prompt": f"{number} and {number} make", "max_tokens": 6, "temperature": 0}
                     for number in ("Two", "Three", "Four")]
            file = Path(folder) / "in.jsonl"
            file.write_text("".join(json.dumps(line) + "\n" for line in lines))
            alone = weft("run", MODEL, "--file", file, "-q")
            spanning = run(2, "run", MODEL, "--file", file, "-q", "--pp", 2)
            self.assertEqual(alone.returncode, 0, alone.stderr)
            self.assertEqual(spanning.returncode, 0, spanning.stderr)
            texts, expected = ([json.loads(line)["response"]["body"]["choices"]
                                for line in done.stdout.splitlines()] for done in (spanning, alone))
            self.assertEqual(len(texts), 3)
            self.assertEqual(texts, expected)
        for bench in (["throughput", "--num-prompts", 3], ["latency", "--num-iters", 1,
                                                           "--num-iters-warmup", 0]):
            measured = run(2, "bench", *bench[:1], MODEL, "--pp", 2, "--input-len", 16,
                           "--output-len", 4, "--no-bounds", *bench[1:])
            self.assertEqual(measured.returncode, 0, measured.stderr)
            self.assertIn("/s" if bench[0] == "throughput" else "ms", measured.stdout)

    def test_mistakes_are_told_once_and_end_all(self):
        spanning = run(2, "run", MODEL, "--no-such-option")
        self.assertEqual(spanning.returncode, 2)
        self.assertEqual(spanning.stderr.count("weft: unknown option"), 1, spanning.stderr)
        spanning = run(2, "run", MODEL, "-p", QUESTION)
        self.assertEqual(spanning.stderr.count("2 processes were started for a model split over 1"),
                         1, spanning.stderr)
        self.assertEqual(spanning.returncode, 2)

    def test_models_that_differ_are_named(self):
        with tempfile.TemporaryDirectory() as folder:
            for host in ("a", "b"):
                (Path(folder) / host).mkdir()
                shutil.copy(MODEL, Path(folder) / host / "m.gguf")
            with open(Path(folder) / "b" / "m.gguf", "r+b") as file:
                file.seek(-1, os.SEEK_END)
                last = file.read(1)[0]
                file.seek(-1, os.SEEK_END)
                file.write(bytes([last ^ 1]))
            arguments = [PROGRAM, "run", "m.gguf", "-p", QUESTION, "--tp", "2"]
            started = [*MPIRUN, "-np", "1", "-wdir", f"{folder}/a", *arguments, ":",
                       "-np", "1", "-wdir", f"{folder}/b", *arguments]
            spanning = finished(started)
            self.assertEqual(spanning.returncode, 3, spanning.stderr)
            self.assertRegex(spanning.stderr, r"different models under m\.gguf")
            self.assertRegex(spanning.stderr, r"process 0 \(.*\) has 1 file of .* process 1 \(.*\)")
            (Path(folder) / "b" / "m.gguf").unlink()
            spanning = finished(started)
            self.assertRegex(spanning.stderr, r"process 1 \(.*\): .*m\.gguf")

    def answering(self):
        """A long answer under way."""
        job = Processes(self, *command(2, "run", MODEL, *LONG_ANSWER, "--tp", 2))
        self.assertTrue(job.process.stdout.read(4))
        return job

    def test_a_killed_rank_is_named(self):
        job = self.answering()
        job.signal_rank(1, signal.SIGKILL)
        code, errors = job.ends(30)
        self.assertRegex(errors, r"weft: rank 1 \(.*\) ended without a word .* last seen in "
                                 r"(start|load|prompt|generation) \('")
        self.assertNotEqual(code, 0)

    def test_a_frozen_rank_is_named_and_ended(self):
        job = self.answering()
        job.signal_rank(1, signal.SIGSTOP)
        code, errors = job.ends(40)
        self.assertRegex(errors, r"weft: rank 1 \(.*\) gave no sign of life")
        self.assertEqual(code, 5, errors)

    def test_an_interrupt_ends_all(self):
        job = self.answering()
        os.kill(job.process.pid, signal.SIGINT)
        code, errors = job.ends(40)
        self.assertNotEqual(code, 0)  # mpirun's own
        self.assertNotIn("weft: ", errors)  # nobody takes anybody for lost

    def serving(self):
        """A server of two processes that has answered; (the job, its first process)."""
        job = Processes(self, *command(2, "serve", MODEL, "--port", 0, "--pp", 2,
                                       "--max-model-len", 512))
        words = b""
        while b"\ntry " not in words:
            line = job.process.stderr.readline()
            self.assertTrue(line, words.decode())
            words += line
        port, pid = map(int, re.search(r":(\d+)/v1, process (\d+)", words.decode()).groups())
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
        self.addCleanup(connection.close)
        connection.request("POST", "/v1/chat/completions", json.dumps({
            "messages": [{"role": "user", "content": QUESTION}], "max_tokens": 12,
            "temperature": 0}), {"Content-Type": "application/json"})
        reply = json.loads(connection.getresponse().read())
        self.assertEqual(reply["choices"][0]["message"]["content"],
                         "The capital of Japan is Tokyo.")
        return job, pid

    def test_a_server_ends_in_order(self):
        job, pid = self.serving()
        os.kill(pid, signal.SIGTERM)
        code, errors = job.ends(60)
        self.assertEqual(code, 0, errors)
        self.assertIn("drained: every answer was given whole", errors)

    def test_sigterm_ends_what_does_not_listen_yet(self):
        with tempfile.TemporaryDirectory() as folder:
            keys = Path(folder, "keys")
            os.mkfifo(keys)  # of which the server reads until its writer ends
            job = Processes(self, *command(2, "serve", MODEL, "--port", 0, "--pp", 2,
                                           "--api-key-file", keys))
            with open(keys, "wb"):  # waits for the reader
                job.signal_rank(0, signal.SIGTERM)
                code, errors = job.ends(20)
        self.assertEqual(code, 143, errors)
        self.assertIn("told to end (SIGTERM) before the command listened to it", errors)

    def test_an_idle_server_ends_where_a_rank_is_lost(self):
        job, _ = self.serving()
        job.signal_rank(1, signal.SIGKILL)
        code, errors = job.ends(30)
        self.assertRegex(errors, r"weft: rank 1 \(.*\) ended without a word")
        self.assertNotEqual(code, 0)


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
