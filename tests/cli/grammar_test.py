#!/usr/bin/env python3
"""Answers under grammars, with the default model: the options of `weft run`, and random schemas.

Schemas are nested and bounded in size, answers are drawn at temperature 1, and every one of them
must end by itself and be valid to a validator that shares nothing with Weft (fastjsonschema). 40 of
them; 500 with WEFT_FULL_TESTS=1.
"""

import json
import os
import random
import re
import sys
import tempfile
import unittest
from pathlib import Path

from program import MODEL, PROGRAM, answer, needs_the_model, weft

# The environment of the tests (tools/test_models) lies beside the program.
sys.path += [str(path) for path in Path(PROGRAM).parent.glob("venv/lib/python3*/site-packages")]

COUNT = 500 if os.environ.get("WEFT_FULL_TESTS") == "1" else 40
WORDS = ["name", "size", "kind of thing", "x", "größe", "a/b", "list", "flag"]


def string(draw):
    kind = draw.randrange(4)
    if kind == 0:
        return {"type": "string", "pattern": draw.choice(["^[A-Z][a-z]{1,5}$", "^\\d{2}-\\d{2}$",
                                                          "^(ab|cd){1,3}$"])}
    if kind == 1:
        return {"enum": draw.sample(["red", "dark red", "\"quoted\"", "naïve"], 2)}
    least = draw.randrange(3)
    return {"type": "string", "minLength": least, "maxLength": least + draw.randrange(9)}


def number(draw):
    low = draw.randrange(-50, 50)
    if draw.randrange(2):
        return {"type": "integer", "minimum": low, "maximum": low + draw.randrange(1000)}
    return {"enum": [low, low + 0.5, True, None]}


def schema(draw, depth):
    kind = draw.randrange(7) if depth > 0 else draw.randrange(4)
    if kind == 0:
        return {"type": "boolean"} if draw.randrange(2) else {"const": draw.choice(["c", 7, None])}
    if kind == 1:
        return number(draw)
    if kind in (2, 3):
        return string(draw)
    if kind == 4:
        least = draw.randrange(3)
        return {"type": "array", "items": schema(draw, depth - 1), "minItems": least,
                "maxItems": least + draw.randrange(3)}
    if kind == 5:
        return {"anyOf": [schema(draw, depth - 1) for _ in range(2)]}
    return record(draw, depth)


def record(draw, depth):
    names = draw.sample(WORDS, draw.randrange(1, 5))
    required = [name for name in names if draw.randrange(3)]
    return {"type": "object", "properties": {n: schema(draw, depth - 1) for n in names},
            "required": required, "additionalProperties": False}


def root(seed):
    """A record, some of whose parts are references to definitions."""
    draw = random.Random(seed)
    made = record(draw, 3)
    made["definitions"] = {"part": schema(draw, 1)}
    made["properties"]["ref"] = {"$ref": "#/definitions/part"}
    return made


@needs_the_model
class RandomSchemas(unittest.TestCase):
    def test_every_answer_is_valid_and_ends_by_itself(self):
        import fastjsonschema
        schemas = [root(seed) for seed in range(COUNT)]
        lines = [{"custom_id": str(i), "url": "/v1/chat/completions",
                  "body": {"messages": [{"role": "user", "content": "Make something up."}],
                           "temperature": 1, "seed": i, "max_tokens": 2000,
                           "response_format": {"type": "json_schema",
                                               "json_schema": {"name": "s", "schema": made}}}}
                 for i, made in enumerate(schemas)]
        with tempfile.TemporaryDirectory() as folder:
            prompts, out = Path(folder, "prompts.jsonl"), Path(folder, "answers.jsonl")
            prompts.write_text("".join(json.dumps(line) + "\n" for line in lines))
            run = weft("run", MODEL, "--file", prompts, "--out", out, "--quiet",
                       "--max-num-seqs", 32, "--num-speculative-tokens", 3)
            self.assertEqual(run.returncode, 0, run.stderr)
            found = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
        self.assertEqual(len(found), COUNT)
        for line in found:
            made = schemas[int(line["custom_id"])]
            choice = line["response"]["body"]["choices"][0]
            with self.subTest(schema=json.dumps(made), answer=choice):
                self.assertEqual(choice["finish_reason"], "stop")
                fastjsonschema.validate(made, json.loads(choice["message"]["content"]))


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
