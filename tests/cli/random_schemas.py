#!/usr/bin/env python3
"""Random JSON schemas, answered by a model, and whether every answer is valid.

    build/venv/bin/python tests/cli/random_schemas.py MODEL.gguf [--count 500] [--json result.json]
    build/venv/bin/python tests/cli/random_schemas.py --url http://127.0.0.1:8000 [--count 500]

Schemas are nested, bounded in size and follow from their number alone; answers are drawn at
temperature 1, request i with seed i. An answer has to end by itself (finish reason "stop": "length"
counts as a failure) and to be valid to a validator that shares nothing with Weft (fastjsonschema).
The first form runs `weft run --file`, 32 at a time with guessed tokens; the second asks a running
server of OpenAI's API, as many at a time.
"""

import argparse
import collections
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

AT_A_TIME = 32
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


def root(number):
    """A record, some of whose parts are references to definitions."""
    draw = random.Random(number)
    made = record(draw, 3)
    made["definitions"] = {"part": schema(draw, 1)}
    made["properties"]["ref"] = {"$ref": "#/definitions/part"}
    return made


def request(number):
    return {"messages": [{"role": "user", "content": "Make something up."}], "temperature": 1,
            "seed": number, "max_tokens": 2000,
            "response_format": {"type": "json_schema",
                                "json_schema": {"name": "s", "schema": root(number)}}}


def answers_of_run(weft, model, count):
    """[count] bodies of answers, by `weft run --file`."""
    lines = [{"custom_id": str(i), "url": "/v1/chat/completions", "body": request(i)}
             for i in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        prompts, out = Path(folder, "prompts.jsonl"), Path(folder, "answers.jsonl")
        prompts.write_text("".join(json.dumps(line) + "\n" for line in lines))
        run = subprocess.run([weft, "run", model, "--file", prompts, "--out", out, "--quiet",
                              "--max-num-seqs", str(AT_A_TIME), "--num-speculative-tokens", "3"],
                             capture_output=True, text=True)
        if run.returncode not in (0, 1):
            raise RuntimeError(run.stderr)
        found = {int(line["custom_id"]): line["response"]["body"]
                 for line in map(json.loads, out.read_text(encoding="utf-8").splitlines())}
    return [found.get(i, {}) for i in range(count)]


def answers_of_server(url, key, count):
    def ask(number):
        headers = {"Content-Type": "application/json"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        made = urllib.request.Request(f"{url.rstrip('/').removesuffix('/v1')}/v1/chat/completions",
                                      json.dumps(request(number)).encode(), headers)
        try:
            with urllib.request.urlopen(made, timeout=600) as answer:
                return json.load(answer)
        except OSError as error:
            return {"error": str(error)}
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        return list(pool.map(ask, range(count)))


def failure(number, body):
    """What is wrong with an answer; None: it is valid and ended by itself."""
    import fastjsonschema
    if "choices" not in body:
        return f"no answer: {json.dumps(body)[:300]}"
    choice = body["choices"][0]
    if choice["finish_reason"] != "stop":
        return f"finish reason {choice['finish_reason']}"
    try:
        fastjsonschema.validate(root(number), json.loads(choice["message"]["content"]))
    except (json.JSONDecodeError, fastjsonschema.JsonSchemaException) as error:
        return f"{error}: {choice['message']['content']}"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?")
    parser.add_argument("--url")
    parser.add_argument("--weft", default="build/weft")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--json", type=Path, help="also write what came of it here")
    args = parser.parse_args()
    if (args.model is None) == (args.url is None):
        parser.error("give MODEL or --url")
    begin = time.monotonic()
    if args.url:
        bodies = answers_of_server(args.url, os.environ.get("OPENAI_API_KEY"), args.count)
    else:
        bodies = answers_of_run(args.weft, args.model, args.count)
    failures = {i: wrong for i, body in enumerate(bodies) if (wrong := failure(i, body))}
    for number, wrong in failures.items():
        print(f"schema {number}: {wrong}\n  {json.dumps(root(number))}")
    tokens = [body.get("usage", {}).get("completion_tokens", 0) for body in bodies]
    result = {
        "model": Path(args.model).name if args.model else args.url, "schemas": args.count,
        "valid": args.count - len(failures),
        "finish_reasons": dict(collections.Counter(
            body["choices"][0]["finish_reason"] if "choices" in body else "none"
            for body in bodies)),
        "tokens": {"sum": sum(tokens), "most": max(tokens)},
        "seconds": round(time.monotonic() - begin, 1),
        "failures": {str(number): wrong for number, wrong in failures.items()},
        "weft": subprocess.run([args.weft, "--version"], capture_output=True,
                               text=True).stdout.splitlines()}
    print(f"{result['valid']} of {args.count} answers are valid and ended by themselves, "
          f"{result['tokens']['sum']} tokens, {result['seconds']} s")
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
