#!/usr/bin/env python3
"""Answers under grammars, with the default model: the options of `weft run`, and random schemas
(random_schemas.py): 40 of them; 500 with WEFT_FULL_TESTS=1.
"""

import json
import os
import re
import sys
import tempfile
import unittest
from pathlib import Path

import random_schemas
from program import MODEL, PROGRAM, answer, needs_the_model, weft

# The environment of the tests (tools/test_models) lies beside the program.
sys.path += [str(path) for path in Path(PROGRAM).parent.glob("venv/lib/python3*/site-packages")]

COUNT = 500 if os.environ.get("WEFT_FULL_TESTS") == "1" else 40


@needs_the_model
class RandomSchemas(unittest.TestCase):
    def test_every_answer_is_valid_and_ends_by_itself(self):
        for number, body in enumerate(random_schemas.answers_of_run(PROGRAM, MODEL, COUNT)):
            with self.subTest(schema=json.dumps(random_schemas.root(number)), answer=body):
                self.assertIsNone(random_schemas.failure(number, body))

    def test_a_failure_is_seen(self):
        made = random_schemas.root(0)
        def body(content, reason="stop"):
            return {"choices": [{"message": {"content": content}, "finish_reason": reason}]}
        self.assertIn("type", json.dumps(made))
        for wrong in (body("[]"), body("{"), body('{"unknown": 1}'), body("{}", "length"), {}):
            self.assertIsNotNone(random_schemas.failure(0, wrong))


@needs_the_model
class Options(unittest.TestCase):
    def test_a_schema_from_a_file_or_as_text(self):
        text = '{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"],' \
               '"additionalProperties":false}'
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            file.write(text)
            file.flush()
            told = [answer("-p", "Say a number.", "--json-schema", source)["text"]
                    for source in (text, file.name)]
        self.assertEqual(told[0], told[1])
        self.assertIsInstance(json.loads(told[0])["n"], int)

    def test_the_other_kinds(self):
        self.assertIn(answer("-p", "Yes?", "--choice", "yes", "--choice", "no")["text"],
                      ("yes", "no"))
        self.assertRegex(answer("-p", "When?", "--regex", "[0-9]{4}")["text"], r"\A[0-9]{4}\Z")
        for grammar in ('root ::= "(" [a-c]{2} ")"', 'start: "(" /[a-c]{2}/ ")"'):
            self.assertTrue(re.fullmatch(r"\([a-c]{2}\)",
                                         answer("-p", "x", "--grammar", grammar)["text"]))

    def test_what_is_wrong_is_said_before_the_model_is_loaded(self):
        for flag, source, words in (("--regex", "(", "grammar"),
                                    ("--json-schema", '{"uniqueItems": true}', "uniqueItems"),
                                    ("--json-schema", "/no/such/file", "cannot read"),
                                    ("--grammar", "root ::= x", "no rule named x")):
            run = weft("run", MODEL, "-p", "x", flag, source)
            self.assertEqual(run.returncode, 2, run.stderr)
            self.assertIn(words, run.stderr)
            self.assertEqual(run.stdout, "")


if __name__ == "__main__":
    unittest.main()
