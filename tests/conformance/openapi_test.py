#!/usr/bin/env python3
"""schemathesis on the document that the server serves: requests that fit it and requests that do
not, no answer of 5xx, no answer that the document does not know. Every operation of the document
has to be tried, as often as was asked where it takes any input.

    openapi_test.py [EXAMPLES]      of an operation; 20 where none are given
"""

import collections
import json
import os
import subprocess
import sys
import tempfile
import threading
import urllib.request
from pathlib import Path

import server

HERE = Path(__file__).parent
TEMPLATE = HERE.parent / "text/data/chat_templates/qwen3.jinja"
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance," \
         "response_schema_conformance,negative_data_rejection"
# What earlier answers said would be put into later requests as they come. hypothesis takes requests
# that change under it for an unsteady generator, and leaves the operation there, without a word.
CONFIG = """
[phases.fuzzing.extra-data-sources]
responses = false
[phases.fuzzing.error-feedback]
enabled = false
"""

# schemathesis leaves an operation, and says it passed, where hypothesis could not make a request
# again as it was (its `_classify_flaky`). Such an operation is tried again by the next seed.
SEEDS = range(1, 6)


def wanted_requests(document, examples):
    """How many requests of each operation have to be made: one where all would be the same."""
    return {f"{method.upper()} {path}":
            examples if "requestBody" in operation or "parameters" in operation else 1
            for path, operations in document["paths"].items()
            for method, operation in operations.items()}


def too_few(wanted, made):
    return [name for name, least in wanted.items() if made[name] < least]


def run_schemathesis(url, document, operations, examples, seed, folder):
    """Its exit code and how many requests of each operation it made."""
    program = Path(sys.executable).with_name("schemathesis")
    counts = Path(folder) / "requests.json"
    counts.unlink(missing_ok=True)
    Path(folder, "schemathesis.toml").write_text(CONFIG)
    # By its URL it would be left out itself.
    Path(folder, "openapi.json").write_text(json.dumps(document))
    # Two workers: one makes requests while the other's is answered. How long making them takes is
    # no fault of the document's.
    run = subprocess.run([program, "run", "openapi.json", "--url", url, "--max-examples", str(examples),
                          "--checks", CHECKS, "--mode", "all", "--phases", "fuzzing",
                          "--workers", "2", "--seed", str(seed), "--request-timeout", "120",
                          "--generation-database", "none", "--suppress-health-check", "all",
                          *(f"--include-name={name}" for name in operations)],
                         cwd=folder,  # where it keeps what it found
                         env={**os.environ, "WEFT_REQUESTS_MADE": str(counts),
                              "PYTHONPATH": str(HERE),
                              "SCHEMATHESIS_HOOKS": str(HERE / "schema_hooks.py")})
    return run.returncode, json.loads(counts.read_text()) if counts.exists() else {}


def main():
    examples = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    # Answers that are soon over, of a model whose words are of no interest.
    url, process = server.start("--chat-template", str(TEMPLATE), model=server.TINY_MODEL,
                                context=128)
    threading.Thread(target=process.stderr.read, daemon=True).start()
    with urllib.request.urlopen(f"{url}/openapi.json", timeout=60) as answer:
        document = json.load(answer)
    wanted = wanted_requests(document, examples)
    made, code = collections.Counter(), 0
    with tempfile.TemporaryDirectory() as folder:
        for seed in SEEDS:
            more_code, more = run_schemathesis(url, document, too_few(wanted, made), examples, seed,
                                               folder)
            code = code or more_code
            made.update(more)
            if process.poll() is not None:
                print(f"weft serve ended with {process.returncode}", file=sys.stderr)
                return 1
            if code != 0 or not too_few(wanted, made):
                break
    short = too_few(wanted, made)
    print(f"{made.total()} requests of {len(made)} of {len(wanted)} operations",
          *(f"{name}: {made[name]} requests were made, {wanted[name]} are wanted" for name in short),
          sep="\n", file=sys.stderr)
    return code or bool(short)


if __name__ == "__main__":
    sys.exit(main())
