#!/usr/bin/env python3
"""The program itself, from outside: exit codes, what it prints where, signals and the terminal.

    WEFT_PROGRAM=build/weft [WEFT_TEST_MODELS=FOLDER] tests/cli/end_to_end_test.py

Without WEFT_TEST_MODELS the tests that need the default model are skipped.
"""

import ctypes
import json
import os
import pty
import select
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

PROGRAM = os.path.abspath(os.environ.get("WEFT_PROGRAM", "build/weft"))
MODEL = Path(os.environ.get("WEFT_TEST_MODELS", "/nonexistent")) / "SmolLM2-135M-Instruct.Q4_1.gguf"
QUESTION = "What is the capital of France?"
TIMEOUT_S = 120  # sanitizer builds are slow


def environment(**variables):
    """This process's variables, but for those that a user may have set for Weft."""
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith("WEFT_") and name != "XDG_CONFIG_HOME"}
    return {**kept, "HOME": "/nonexistent", **variables}


def weft(*arguments, stdin="", **variables):
    return subprocess.run([PROGRAM, *map(str, arguments)], input=stdin, capture_output=True,
                          text=True, timeout=TIMEOUT_S, env=environment(**variables))


def answer(*arguments, **variables):
    """The JSON object of `weft run MODEL ... --json`."""
    run = weft("run", MODEL, "--json", "--quiet", *arguments, **variables)
    if run.returncode != 0:
        raise AssertionError(f"exit code {run.returncode}: {run.stderr}")
    return json.loads(run.stdout)


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
        self.assertEqual(run.returncode, 70)
        self.assertIn("standard output", run.stderr)

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


@unittest.skipUnless(MODEL.exists(), "WEFT_TEST_MODELS names no folder with the default model")
class WithTheModel(unittest.TestCase):
    def test_answers_without_a_terminal(self):
        run = weft("run", MODEL, "--tp", 2)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertEqual(run.stdout, "The capital of France is Paris.\n")
        banner = run.stderr.splitlines()
        self.assertIn("tp=2", run.stderr)
        self.assertLessEqual(len(banner), 27)  # 25, the progress line and the prompt

    def test_reads_the_prompt_from_standard_input(self):
        run = weft("run", MODEL, "-q", "-p", "-", stdin=QUESTION)
        self.assertEqual(run.stdout, "The capital of France is Paris.\n")

    def test_text_on_standard_input_is_the_prompt(self):
        wanted = answer("-p", QUESTION, "-n", 1)["prompt_token_ids"]
        run = weft("run", MODEL, "--json", "-n", 1, stdin=QUESTION + "\n")
        self.assertEqual(json.loads(run.stdout)["prompt_token_ids"], wanted)
        with tempfile.TemporaryFile("w+") as file:
            file.write(QUESTION)
            file.seek(0)
            run = subprocess.run([PROGRAM, "run", MODEL, "--json", "-n", "1"], stdin=file,
                                 capture_output=True, text=True, env=environment())
        self.assertEqual(json.loads(run.stdout)["prompt_token_ids"], wanted)

    def test_standard_input_that_holds_nothing(self):
        command = [PROGRAM, "run", MODEL]
        idle, end = os.pipe()  # nobody ever writes
        self.addCleanup(os.close, idle)
        self.addCleanup(os.close, end)
        for name, options in [("/dev/null", {"stdin": subprocess.DEVNULL}),
                              ("closed", {"preexec_fn": lambda: os.close(0)}),
                              ("idle pipe", {"stdin": idle})]:
            with self.subTest(name):
                run = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S,
                                     env=environment(), **options)
                self.assertEqual(run.stdout, "The capital of France is Paris.\n", run.stderr)
                self.assertEqual("in which nothing came" in run.stderr, name == "idle pipe")

    def test_every_split_gives_the_same_bits(self):
        options = ["-p", QUESTION, "-n", 12, "--logits-hash", "--logprobs", 2, "--prompt-logprobs",
                   1]
        one = answer(*options)
        self.assertRegex(one["logits_hash"], "^[0-9a-f]{16}$")
        for split in (["--tp", 3], ["--tp", 7], ["--pp", "13,13,4"], ["--tp", 3, "--pp", 2],
                      ["--tp-weights", "2,1,1"], ["--stages", "12@1,14@3,4@2"],
                      ["--threads", 2, "--max-num-batched-tokens", 7]):
            other = answer(*options, *split)
            for key in ("text", "token_ids", "logits_hash", "logprobs", "prompt_logprobs"):
                self.assertEqual(one[key], other[key], f"{key} with {split}")

    def test_json_has_its_keys_and_standard_output_nothing_else(self):
        run = weft("run", MODEL, "-p", QUESTION, "--json", "--stats", "--logprobs", 3,
                   "--prompt-logprobs", 3)
        self.assertEqual(run.stdout.count("\n"), 1)
        found = json.loads(run.stdout)
        for key in ("text", "token_ids", "prompt_tokens", "generated_tokens", "logits_hash",
                    "finish_reason", "prompt_tokens_per_s", "generation_tokens_per_s",
                    "read_gb_per_s", "load_s", "topology", "isa", "logprobs", "prompt_logprobs",
                    "ranks", "prompt_token_ids"):
            self.assertIn(key, found)
        self.assertEqual(found["finish_reason"], "stop")
        self.assertEqual(found["prompt_tokens"], len(found["prompt_token_ids"]))
        self.assertEqual(found["generated_tokens"], len(found["token_ids"]))
        self.assertEqual(len(found["logprobs"]), found["generated_tokens"])
        self.assertEqual(len(found["prompt_logprobs"]), found["prompt_tokens"])
        self.assertIsNone(found["prompt_logprobs"][0])
        for position, chosen in zip(found["logprobs"], found["token_ids"]):
            self.assertIn(chosen, [pair["id"] for pair in position])
            values = [pair["logprob"] for pair in position[:3]]
            self.assertEqual(values, sorted(values, reverse=True))
        self.assertIn("all-reduce", run.stderr)

    def test_ids_give_what_their_text_gave(self):
        by_text = answer("-p", QUESTION, "-n", 4, "--logits-hash")
        ids = ",".join(map(str, by_text["prompt_token_ids"]))
        by_ids = answer("--prompt-ids", ids, "-n", 4, "--logits-hash")
        self.assertEqual(by_text["logits_hash"], by_ids["logits_hash"])

    def test_max_tokens_ignore_eos_and_stop(self):
        self.assertEqual(answer("-p", QUESTION, "-n", 3)["finish_reason"], "length")
        long = answer("-p", QUESTION, "-n", 20, "--ignore-eos")
        self.assertEqual((long["generated_tokens"], long["finish_reason"]), (20, "length"))
        stopped = answer("-p", QUESTION, "--stop", " Paris")
        self.assertEqual(stopped["text"], "The capital of France is")
        self.assertEqual(stopped["finish_reason"], "stop")

    def test_the_same_seed_gives_the_same_answer(self):
        options = ["-p", "Tell me a story.", "-n", 24, "--temperature", 1]
        first = answer(*options, "--seed", 7)
        self.assertEqual(first["token_ids"], answer(*options, "--seed", 7, "--tp", 3)["token_ids"])
        others = [answer(*options, "--seed", seed)["token_ids"] for seed in (8, 9)]
        self.assertTrue(any(other != first["token_ids"] for other in others))

    def test_flag_before_environment_before_file(self):
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder) / "weft" / "config.toml"
            config.parent.mkdir()
            config.write_text("tp = 2\n[run]\nmax-tokens = 1\n")
            ask = ["-p", QUESTION]
            by_file = answer(*ask, XDG_CONFIG_HOME=folder)
            self.assertEqual((by_file["topology"], by_file["generated_tokens"]), ("tp=2", 1))
            variables = {"XDG_CONFIG_HOME": folder, "WEFT_TENSOR_PARALLEL_SIZE": "3"}
            self.assertEqual(answer(*ask, **variables)["topology"], "tp=3")
            self.assertEqual(answer(*ask, "-tp", 5, **variables)["topology"], "tp=5")

    def test_splits_that_cannot_be_end_with_2(self):
        for split in (["--pp", "31,1"], ["--pp", 99], ["--tp", 3, "--tp-weights", "1,1"],
                      ["--stages", "30@1", "--tp", 2], ["--stages", "30"], ["--tp-weights", "1,x"]):
            for command in ("run", "inspect"):
                run = weft(command, MODEL, *split)
                self.assertEqual(run.returncode, 2, f"{command} {split}: {run.stderr}")

    def test_more_ranks_than_devices_names_both(self):
        run = weft("run", MODEL, "--tp", 5, "--devices", 0)
        self.assertEqual(run.returncode, 2, run.stderr)
        self.assertRegex(run.stderr, r"\b5\b")
        self.assertRegex(run.stderr, r"\b1\b")

    def test_a_prompt_that_is_too_long_ends_with_2(self):
        run = weft("run", MODEL, "--max-model-len", 8, "-p", QUESTION)
        self.assertEqual(run.returncode, 2, run.stderr)
        self.assertRegex(run.stderr, r"\b8\b")

    def test_a_cache_that_cannot_be_had_ends_with_4(self):
        run = weft("run", MODEL, "--kv-cache-memory-bytes", "10k", "-p", QUESTION)
        self.assertEqual(run.returncode, 4, run.stderr)

    def test_a_cut_off_file_ends_with_3(self):
        with tempfile.TemporaryDirectory() as folder:
            part = Path(folder) / "part.gguf"
            part.write_bytes(MODEL.read_bytes()[:50_000_000])
            run = weft("run", part, "-p", QUESTION)
            self.assertEqual(run.returncode, 3, run.stderr)
            self.assertIn("part.gguf", run.stderr)

    def test_ranks_hold_and_send_what_inspect_says(self):
        for split in (["--tp", 2], ["--tp", 7, "--pp", 3], ["--tp-weights", "2,1,1"]):
            shown = weft("inspect", MODEL, "--json", *split)
            planned = json.loads(shown.stdout)["split"]["ranks"]
            found = answer("-p", QUESTION, "-n", 16, "--ignore-eos", *split)
            self.assertEqual(len(planned), len(found["ranks"]))
            # The last generated token is never put into the model again.
            tokens = found["prompt_tokens"] + found["generated_tokens"] - 1
            for plan, rank in zip(planned, found["ranks"]):
                self.assertAlmostEqual(plan["weight_bytes"], rank["weight_bytes"],
                                       delta=0.02 * plan["weight_bytes"])
                reduced = plan["reduce_bytes_per_token"] * tokens
                self.assertAlmostEqual(reduced, rank["reduce_bytes"], delta=0.02 * reduced)

    def test_inspect_sizes_the_cache_as_run_does(self):
        options = ["--max-model-len", 1000, "--tp", 2, "--kv-cache-dtype", "bf16"]
        shown = json.loads(weft("inspect", MODEL, "--json", *options).stdout)["split"]["ranks"]
        found = answer("-p", QUESTION, "-n", 1, *options)["ranks"]
        self.assertEqual([rank["kv_bytes"] for rank in shown],
                         [rank["kv_bytes"] for rank in found])

    def test_an_empty_prompt_is_one(self):
        empty = answer("-p", "", "-n", 1)
        self.assertLess(empty["prompt_tokens"], answer("-p", QUESTION, "-n", 1)["prompt_tokens"])
        run = weft("run", MODEL, "-p", "", "--no-chat-template")
        self.assertEqual(run.returncode, 2, run.stderr)
        self.assertIn("the prompt is empty", run.stderr)

    def test_a_pool_shows_times_of_no_rank(self):
        found = answer("-p", QUESTION, "-n", 4, "--tp", 3, "--placement", "pooled")
        self.assertGreater(found["pool"]["compute_s"], 0)
        for rank in found["ranks"]:
            self.assertIsNone(rank["compute_s"])
            self.assertGreater(rank["reduce_bytes"], 0)

    def test_inspect_prints_its_table(self):
        run = weft("inspect", MODEL, "--tp", 7, "--pp", 3)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertIn("30 layers, hidden 576, 9 heads and 3 KV heads of 64", run.stdout)
        self.assertIn("weights", run.stdout)
        self.assertNotIn("blk.0.attn_q.weight", run.stdout)
        self.assertIn("blk.0.attn_q.weight", weft("inspect", MODEL, "--tensors").stdout)


class Running:
    """A program that was started and is talked to; `command` is one that starts it."""

    def __init__(self, *arguments, terminal=False, command=None):
        command = command or [PROGRAM, *map(str, arguments)]
        self.terminal, end = _open_terminal() if terminal else os.pipe()
        stdin = end if terminal else subprocess.DEVNULL
        self.process = subprocess.Popen(command, stdin=stdin, stdout=end, stderr=end if terminal
                                        else subprocess.DEVNULL, start_new_session=terminal,
                                        preexec_fn=_take_terminal if terminal else None,
                                        env=environment(TERM="xterm"))
        os.close(end)
        self.output = ""

    def read_until(self, text):
        """What is printed up to and with `text`."""
        deadline = time.monotonic() + TIMEOUT_S
        while text not in self.output:
            ready, _, _ = select.select([self.terminal], [], [],
                                        max(0.0, deadline - time.monotonic()))
            try:
                data = os.read(self.terminal, 4096) if ready else b""
            except OSError:  # the program has closed the terminal
                data = b""
            if not data:
                raise AssertionError(f"{text!r} never came after {self.output!r}")
            self.output += data.decode(errors="replace")
        head, _, self.output = self.output.partition(text)
        return head + text

    def type(self, text):
        os.write(self.terminal, text.encode())

    def wait(self):
        """The exit code. What is still printed is read, or a full terminal would hold it up."""
        deadline = time.monotonic() + TIMEOUT_S
        while self.process.poll() is None and time.monotonic() < deadline:
            if select.select([self.terminal], [], [], 0.05)[0]:
                try:
                    os.read(self.terminal, 4096)
                except OSError:  # the program has closed the terminal
                    break
        return self.process.wait(10)

    def close(self):
        """Whatever became of the test."""
        self.process.kill()
        self.process.wait()
        os.close(self.terminal)


def _open_terminal():
    """Both ends of a terminal that erases whole characters, as every terminal emulator's does."""
    import termios
    end_of_user, end = pty.openpty()
    attributes = termios.tcgetattr(end)
    attributes[0] |= 0o40000  # IUTF8, which termios names from Python 3.13 on
    termios.tcsetattr(end, termios.TCSANOW, attributes)
    return end_of_user, end


def _take_terminal():
    """Makes standard input the controlling terminal of the new session, so that ^C is a signal."""
    import fcntl
    import termios
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@unittest.skipUnless(MODEL.exists(), "WEFT_TEST_MODELS names no folder with the default model")
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


@unittest.skipUnless(MODEL.exists(), "WEFT_TEST_MODELS names no folder with the default model")
class LostRank(unittest.TestCase):
    def threads(self, process):
        return {int(name) for name in os.listdir(f"/proc/{process.pid}/task")}

    def busy_ticks(self, process, thread):
        fields = Path(f"/proc/{process.pid}/task/{thread}/stat").read_text().rpartition(")")[2]
        return sum(map(int, fields.split()[11:13]))  # user and system time

    def test_a_rank_that_stands_still_ends_the_run_with_5(self):
        running = Running("run", MODEL, "-q", "-p", "Tell me a long story.", "--ignore-eos", "-n",
                          8000, "--tp", 2, "--threads", 1, "--placement", "dedicated",
                          "--distributed-timeout-seconds", 10)  # a busy machine loads slowly
        self.addCleanup(running.close)
        running.read_until(" ")
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
        self.assertEqual(running.wait(), 5)


class MakeRun(unittest.TestCase):
    """What `make run` says besides the program, in whose place a script stands."""

    def command(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        (Path(folder.name) / "setup.mk").touch()
        program = Path(folder.name) / "weft"
        program.write_text("#!/bin/sh\necho weft \"$@\"\n")
        program.chmod(0o755)
        return ["make", "-C", str(Path(__file__).resolve().parents[2]), "-o", "build",
                f"BUILD={folder.name}", "run"]

    def test_the_hint_of_a_chat_is_for_a_terminal(self):
        run = subprocess.run(self.command(), stdin=subprocess.DEVNULL, capture_output=True,
                             text=True, timeout=TIMEOUT_S, env=environment())
        self.assertIn("weft run smollm2 --tp 2\n", run.stdout)
        self.assertNotIn("/help", run.stdout)
        running = Running(command=self.command(), terminal=True)
        self.addCleanup(running.close)
        running.read_until("Type a question; /help")
        self.assertEqual(running.wait(), 0)


@unittest.skipUnless(MODEL.exists(), "WEFT_TEST_MODELS names no folder with the default model")
class ChatInATerminal(unittest.TestCase):
    def start(self, *arguments, command=None):
        running = Running("run", MODEL, *arguments, terminal=True, command=command)
        self.addCleanup(running.close)
        running.read_until("loaded ")  # the progress bar has a ">" of its own
        running.read_until("> ")
        return running

    def test_a_conversation(self):
        running = self.start("--tp", 2)
        running.type(QUESTION + "\n")
        running.read_until("Paris.")
        running.read_until("> ")
        running.type("/reset\n")
        running.read_until("forgotten")
        running.read_until("> ")
        running.type("/quit\n")
        self.assertEqual(running.wait(), 0)

    def test_ctrl_d_ends(self):
        running = self.start()
        running.type("\x04")
        self.assertEqual(running.wait(), 0)

    def test_ctrl_c_at_the_prompt(self):
        running = self.start()
        running.type("half a line\x03")
        running.read_until("Ctrl-C again")
        running.read_until("> ")
        running.type("\x03")
        self.assertEqual(running.wait(), 130)

    def test_ctrl_c_stops_an_answer_and_the_chat_goes_on(self):
        running = self.start("--ignore-eos", "-n", 8000)
        running.type("Tell me a long story.\n")
        running.read_until("story.")
        running.read_until(" the ")
        running.type("\x03")
        running.read_until("> ")
        running.type("/quit\n")
        self.assertEqual(running.wait(), 0)

    def makefile(self):
        """One that runs a chat of endless answers, by the name of its folder."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        (Path(folder.name) / "Makefile").write_text(
            f"run:\n\t@{PROGRAM} run {MODEL} --ignore-eos -n 8000\n")
        return folder.name

    def ask_for_a_long_answer(self, running):
        running.type("Tell me a long story.\n")
        running.read_until("story.")
        running.read_until(" the ")

    def test_ctrl_c_during_an_answer_does_not_end_make(self):
        running = self.start(command=["make", "-C", self.makefile(), "run"])
        for _ in range(2):
            self.ask_for_a_long_answer(running)
            running.type("\x03")
            running.read_until("> ")
        running.type("/quit\n")
        self.assertEqual(running.wait(), 0)

    def test_ctrl_c_twice_during_an_answer_gives_the_terminal_back(self):
        running = self.start(command=["sh", "-c", f"make -C {self.makefile()} run; read LINE; "
                                      "echo GOT $LINE"])
        self.ask_for_a_long_answer(running)
        chat = os.tcgetpgrp(running.terminal)  # it leads the group in front
        os.kill(chat, signal.SIGSTOP)  # both signals come before the first is obeyed
        os.kill(chat, signal.SIGTERM)
        os.kill(chat, signal.SIGINT)
        os.kill(chat, signal.SIGCONT)
        running.read_until("Error 130")
        running.type("a line\n")
        running.read_until("GOT a line")
        self.assertEqual(running.wait(), 0)

    def test_ctrl_z_during_an_answer_stops_make_as_well(self):
        running = self.start(command=["sh", "-mc", f"make -C {self.makefile()} run; echo STATE $?; "
                                      "fg %1; echo STATE $?"])
        self.ask_for_a_long_answer(running)
        running.type("\x1a")
        running.read_until("STATE 148")
        running.read_until(" the ")
        running.type("\x03")
        running.read_until("> ")
        running.type("/quit\n")
        running.read_until("STATE 0")
        self.assertEqual(running.wait(), 0)

    def shell(self, script, *arguments):
        """A shell with job control that runs weft, then `script`."""
        command = " ".join([PROGRAM, "run", str(MODEL), *map(str, arguments)])
        return self.start(command=["sh", "-mc", f"{command}; echo STATE $?; {script}"])

    def test_ctrl_z_at_the_prompt_stops_and_fg_shows_the_line_again(self):
        running = self.shell("fg %1; echo STATE $?; fg %1; echo STATE $?")
        running.type("/sta")
        for _ in range(2):
            running.type("\x1a")
            running.read_until("STATE 148")  # 128 + SIGTSTP
            running.read_until("> /sta")
        running.type("ts\n")
        running.read_until("figures are on")
        running.type("/quit\n")
        running.read_until("STATE 0")
        self.assertEqual(running.wait(), 0)

    def test_ctrl_z_during_an_answer_stops_it_and_fg_continues(self):
        running = self.shell("fg %1; echo STATE $?", "--ignore-eos", "-n", 8000)
        self.ask_for_a_long_answer(running)
        running.type("\x1a")
        running.read_until("STATE 148")
        running.read_until(" the ")
        running.type("\x03")
        running.read_until("> ")
        running.type("/quit\n")
        running.read_until("STATE 0")
        self.assertEqual(running.wait(), 0)

    def test_umlauts_can_be_typed_and_erased(self):
        running = self.start("-n", 1)
        running.type("/grüß\n")
        running.read_until("unknown command /grüß")
        running.read_until("> ")
        running.type("/gü\x7f\x7ftt\n")
        running.read_until("unknown command /tt")
        running.type("/quit\n")
        self.assertEqual(running.wait(), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2, argv=sys.argv)
