#!/usr/bin/env python3
"""Files of prompts with the default model: answers, and runs that are stopped and go on."""

import json
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

from program import MODEL, PROGRAM, TIMEOUT_S, answer, environment, needs_the_model, weft

CITIES = ["Paris", "Rome", "Oslo", "Lima", "Cairo", "Delhi", "Quito", "Seoul", "Tunis", "Riga",
          "Kyiv", "Bern", "Sofia", "Doha"]


def prompts():
    """Lines of every kind; a third of them are sampled."""
    lines = []
    for index, city in enumerate(CITIES * 2):
        length = 12 + 5 * (index % 7)
        if index % 4 == 0:
            lines.append({"custom_id": f"chat {index}", "method": "POST",
                          "url": "/v1/chat/completions",
                          "body": {"messages": [{"role": "user", "content": f"Tell me of {city}."}],
                                   "max_tokens": length, "temperature": 0.8 * (index % 3 == 0),
                                   "n": 1 + (index % 3 == 0)}})
        elif index % 4 == 1:
            lines.append({"custom_id": f"text {index}", "url": "/v1/completions",
                          "body": {"prompt": f"{city} is {index}", "max_tokens": length,
                                   "temperature": 0.7, "ignore_eos": True}})
        else:
            lines.append({"prompt": f"Where is {city}? ({index})", "max_tokens": length})
    return lines


def answers(path):
    """Answers by custom_id, less what the clock and the state of the cache decide."""
    found = {}
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        line = json.loads(line)
        body = line["response"]["body"]
        body.pop("created")
        body["usage"].pop("prompt_tokens_details")
        assert line["custom_id"] not in found, line["custom_id"]
        found[line["custom_id"]] = line
    return found


class WithoutAModel(unittest.TestCase):
    def test_standard_input_through_a_pipe(self):
        model = __file__  # which is none
        run = weft("run", model, "--file", "-", stdin='{"prompt": 7}\n')
        self.assertEqual(run.returncode, 2)
        self.assertIn("standard input: line 1: prompt is 7", run.stderr)
        run = weft("run", model, "--file", "-", stdin='{"prompt": "x"}\n')
        self.assertEqual(run.returncode, 3)  # the lines are right
        run = weft("run", model, "--file", "-", stdin='{"prompt": "x"}\n', TMPDIR="/nowhere")
        self.assertEqual(run.returncode, 2)
        self.assertIn("TMPDIR", run.stderr)


@needs_the_model
class FilesOfPrompts(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.prompts = Path(cls.folder.name, "prompts.jsonl")
        cls.prompts.write_text("".join(json.dumps(line) + "\n" for line in prompts()))
        out = Path(cls.folder.name, "undisturbed.jsonl")
        run = weft("run", MODEL, "--file", cls.prompts, "--out", out)
        assert run.returncode == 0, run.stderr
        cls.undisturbed = answers(out)

    def out(self):
        return Path(self.folder.name, f"{self.id()}.jsonl")

    def start(self, out, *options):
        process = subprocess.Popen([PROGRAM, "run", str(MODEL), "--file", str(self.prompts),
                                    "--out", str(out), "--max-num-seqs", "4", *options],
                                   stderr=subprocess.PIPE, text=True, env=environment())
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.kill)
        return process

    def wait_for_lines(self, out, count):
        deadline = time.monotonic() + TIMEOUT_S
        while not out.exists() or out.read_bytes().count(b"\n") < count:
            self.assertLess(time.monotonic(), deadline, "the answers never came")
            time.sleep(0.002)

    def go_on(self, out):
        """The same command again: what it says."""
        run = weft("run", MODEL, "--file", self.prompts, "--out", out)
        self.assertEqual(run.returncode, 0, run.stderr)
        return run.stderr

    def test_every_line_is_answered(self):
        self.assertEqual(len(self.undisturbed), len(prompts()))
        self.assertTrue(all(line["error"] is None for line in self.undisturbed.values()))

    def test_a_prompt_alone_is_answered_as_by_run(self):
        for number, line in list(enumerate(prompts(), 1))[2:27:8]:
            alone = answer("-p", line["prompt"], "-n", line["max_tokens"])
            choice = self.undisturbed[f"line-{number}"]["response"]["body"]["choices"][0]
            self.assertEqual(choice["message"]["content"], alone["text"])
            self.assertEqual(choice["finish_reason"], alone["finish_reason"])

    def test_a_run_that_was_killed_goes_on(self):
        out = self.out()
        for count in (3, 17):
            process = self.start(out)
            self.wait_for_lines(out, count)
            process.kill()
            process.wait(TIMEOUT_S)
            self.assertLess(out.read_bytes().count(b"\n"), len(prompts()))
        with out.open("ab") as file:  # what a kill in the middle of a line would leave
            file.write(b'{"id":"weft-0123456789abcdef')
        said = self.go_on(out)
        self.assertIn("was torn", said)
        self.assertIn(f"of {len(prompts())} lines are answered", said)
        self.assertEqual(answers(out), self.undisturbed)

    def test_ctrl_c_says_how_to_go_on(self):
        out = self.out()
        process = self.start(out)
        self.wait_for_lines(out, 2)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=TIMEOUT_S)
        self.assertEqual(process.returncode, 130)
        self.assertIn("the same command goes on from there", said)
        self.go_on(out)
        self.assertEqual(answers(out), self.undisturbed)

    def test_two_runs_do_not_write_one_file(self):
        out = self.out()
        process = self.start(out)
        self.wait_for_lines(out, 1)
        second = weft("run", MODEL, "--file", self.prompts, "--out", out)
        self.assertEqual(second.returncode, 2)
        self.assertIn("is being written by another run", second.stderr)
        process.kill()
        process.wait(TIMEOUT_S)

    def test_splits_and_batches_do_not_show(self):
        out = self.out()
        some = Path(self.folder.name, "some.jsonl")
        some.write_text("".join(self.prompts.read_text().splitlines(keepends=True)[:9]))
        run = weft("run", MODEL, "--file", some, "--out", out, "--tp", 3, "--pp", 2,
                   "--max-num-seqs", 3, "--no-prefix-caching")
        self.assertEqual(run.returncode, 0, run.stderr)
        found = answers(out)
        self.assertEqual(len(found), 9)
        self.assertEqual(found, {name: self.undisturbed[name] for name in found})


if __name__ == "__main__":
    unittest.main(verbosity=2, argv=sys.argv)
