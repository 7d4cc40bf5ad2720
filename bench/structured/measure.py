#!/usr/bin/env python3
"""What masks of grammars cost a step, with and without them in turn.

    bench/structured/measure.py MODEL.gguf [--weft build/weft] [--batch 16] [--turns 9]

Three grammars: an array of nested records (records.json), an array of any JSON (anything.json), and
a regular expression. For each, `weft bench throughput` answers the same --batch requests of random
prompts with the grammar and without it, --turns times each, to the same length; what is compared is
the mean step in which all of them decode. --splits lists the splits to do it under.

Printed: medians of the ratio within a turn, and their range; the first turn besides, whose grammar
nobody has used yet (docs/structured_output.md, What a mask costs). --json keeps every turn with
machine and commit. mask_time.cpp beside this file times masks away from an engine.
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
GRAMMARS = {
    "records": ["--json-schema", HERE / "records.json"],
    "anything": ["--json-schema", HERE / "anything.json"],
    "regex": ["--regex", "([A-Z][a-z]{1,11}( [a-z]{1,12}){3,9}[.?!] ){100}"],
}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--weft", type=Path, default=Path("build/weft"))
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--output-len", type=int, default=192)
    parser.add_argument("--splits", default="tp=1,tp=2",
                        help="tp=1 has a thread a core, tp=N one rank a core or a pool of them")
    parser.add_argument("--only", default=",".join(GRAMMARS))
    parser.add_argument("--json", type=Path, help="also write every turn here")
    args = parser.parse_args()
    results = {"machine": processor(), "weft": run(args.weft, "--version").strip()}
    for split in args.splits.split(","):
        for name in args.only.split(","):
            results[f"{name}, {split}"] = measured = bench(args, split, GRAMMARS[name])
            found = measured["structured_output"]
            print(f"{name}, {split}, batch {args.batch}: {found['step_ratio']:.3f} times a step "
                  f"without masks ({found['least_step_ratio']:.3f} to "
                  f"{found['most_step_ratio']:.3f}; the first turn "
                  f"{found['turns'][0]['ratio']:.3f}); of {median(found, 'step_ms'):.3f} ms, masks "
                  f"take {median(found, 'mask_ms'):.3f} ms of all threads together", flush=True)
            if args.json:
                args.json.write_text(json.dumps(results, indent=1) + "\n")


def median(found, key):
    return statistics.median(turn["with"][key] for turn in found["turns"])


def bench(args, split, grammar):
    command = [args.weft, "bench", "throughput", args.model, *grammar, "--num-prompts", args.batch,
               "--input-len", 32, "--output-len", args.output_len, "--turns", args.turns, "--tp",
               split.removeprefix("tp="), "--no-bounds", "--json"]
    return json.loads(run(*command))


def run(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return done.stdout


def processor():
    names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {"processor": names[0] if names else platform.machine(), "cpus": os.cpu_count()}


if __name__ == "__main__":
    main()
