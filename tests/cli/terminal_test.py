#!/usr/bin/env python3
"""A chat in a terminal, and what `make run` and `make chat` add to the program."""

import os
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from program import MODEL, PROGRAM, QUESTION, TIMEOUT_S, Running, environment, needs_the_model


class MakeRun(unittest.TestCase):
    """What make says besides the program, in whose place a script stands."""

    def command(self, target):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        (Path(folder.name) / "setup.mk").touch()
        program = Path(folder.name) / "weft"
        program.write_text("#!/bin/sh\necho weft \"$@\"\n")
        program.chmod(0o755)
        return ["make", "-C", str(Path(__file__).resolve().parents[2]), "-o", "build",
                f"BUILD={folder.name}", target]

    def test_run_serves(self):
        run = subprocess.run([*self.command("run"), "RANKS=3", "PORT=8001"],
                             stdin=subprocess.DEVNULL, capture_output=True, text=True,
                             timeout=TIMEOUT_S, env=environment())
        self.assertIn("weft serve smollm2 --tp 3 --port 8001\n", run.stdout)

    def test_the_hint_of_a_chat_is_for_a_terminal(self):
        run = subprocess.run(self.command("chat"), stdin=subprocess.DEVNULL, capture_output=True,
                             text=True, timeout=TIMEOUT_S, env=environment())
        self.assertIn("weft run smollm2 --tp 2\n", run.stdout)
        self.assertNotIn("/help", run.stdout)
        running = Running(command=self.command("chat"), terminal=True)
        self.addCleanup(running.close)
        running.read_until("Type a question; /help")
        self.assertEqual(running.wait(), 0)


@needs_the_model
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
        running.read_until("Tokyo.")
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

    def test_ctrl_d_during_an_answer_ends_after_it(self):
        running = self.start("--ignore-eos", "-n", 60, "--stats")
        running.type("Tell me a long story.\n")
        running.read_until("story.")
        running.read_until(" ")  # the answer's first
        running.type("\x04")
        running.read_until("59 tokens after the first")
        self.assertEqual(running.wait(), 0)

    def test_what_is_typed_during_an_answer_is_obeyed_in_its_order(self):
        running = self.start("--ignore-eos", "-n", 60)
        running.type("Tell me a long story.\n")
        running.read_until("story.")
        running.read_until(" ")  # the answer's first
        running.type("/reset\n/stats\n\x04")
        for part in ("forgotten", "figures are on"):
            running.read_until(part)
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
        self.ask_for_a_long_answer(running)
        self.stop_the_answer_and_quit(running)
        self.assertEqual(running.wait(), 0)

    def makefile(self):
        """One that runs a chat of endless answers, by the name of its folder."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        (Path(folder.name) / "Makefile").write_text(
            f"run:\n\t@{PROGRAM} run {MODEL} --ignore-eos -n 8000\n")
        return folder.name

    def stop_the_answer_and_quit(self, running):
        running.type("\x03")
        running.read_until("> ")
        running.type("/quit\n")

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
        self.stop_the_answer_and_quit(running)
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
        self.stop_the_answer_and_quit(running)
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
