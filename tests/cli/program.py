"""The program itself, from outside: what its tests share.

    WEFT_PROGRAM=build/weft [WEFT_TEST_MODELS=FOLDER] python3 tests/cli/usage_test.py

Without WEFT_TEST_MODELS the tests that need the default model are skipped.
"""

import json
import os
import pty
import select
import subprocess
import time
import unittest
from pathlib import Path

PROGRAM = os.path.abspath(os.environ.get("WEFT_PROGRAM", "build/weft"))
MODEL = Path(os.environ.get("WEFT_TEST_MODELS", "/nonexistent")) / "SmolLM2-135M-Instruct.Q4_1.gguf"
QUESTION = "What is the capital of Japan?"
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


needs_the_model = unittest.skipUnless(
    MODEL.exists(), "WEFT_TEST_MODELS names no folder with the default model")


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
