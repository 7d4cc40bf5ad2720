#!/usr/bin/env python3
"""What a slow wire costs, and what fewer bytes on it gain: time and bytes of tokens between hosts.

    bench/hosts/wire.py MODEL.gguf [--weft build/weft] [--weft before=OTHER/weft] [--turns 3]
                        [--wires 1gbit/100us,100mbit/100us] [--parts reduce,stages,prompts]

reduce   tp=2 over two hosts of tools/hosts, with each --reduce.
stages   tp=2 x pp=2, two ranks a host: what stages hand over.
prompts  tp=2 over two hosts: rates of prompts of 512 and 2,000 tokens alone, whole sums and BF16.

Each case of the first two prints the time of a generated token (one sequence, and 8 at a time), the
rate of a prompt of 512 tokens, and what the first host sends for each of these: its interface's
bytes of a long run less those of a short one. Programs and kinds of sum take turns. Where the
machine is not quiet, `chrt -r 1` goes before others (as root). The record goes to standard output.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent.parent
PARTS = {"reduce": (["--tp", "2"], ["int64", "f32", "bf16", "q8"]),
         "stages": (["--tp", "2", "--pp", "2"], ["int64"]),
         "prompts": (["--tp", "2"], ["int64", "bf16"])}
PROMPTS = [512, 2000]
SHORT, LONG, PROMPT, BATCH = 8, 40, 512, 8


def bytes_sent(text):
    """Of all interfaces but the loopback, from /proc/net/dev."""
    rows = (line.split(":") for line in text.splitlines() if ":" in line)
    return sum(int(numbers.split()[8]) for name, numbers in rows if name.strip() != "lo")


class Wire:
    def __init__(self, wire):
        rate, delay = wire.split("/")
        self.command = [sys.executable, "-B", str(ROOT / "tools" / "hosts"), "2", "--rate", rate,
                        "--delay", delay, "--"]

    def run(self, *words):
        """What the program says, and the bytes that its first host sent."""
        with tempfile.TemporaryDirectory() as folder:
            counted = ["sh", "-c", f'cat /proc/net/dev > {folder}/before; "$@"; code=$?; '
                                   f"cat /proc/net/dev > {folder}/after; exit $code", "sh"]
            variables = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1",
                         "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
            words = [*self.command, *counted, "mpirun", "-np", "2", *map(str, words)]
            done = subprocess.run(words, capture_output=True, text=True, env=variables, timeout=600)
            if done.returncode != 0:
                sys.exit(f"{' '.join(words)}: exit code {done.returncode}\n{done.stderr}")
            before, after = (bytes_sent((Path(folder) / name).read_text())
                             for name in ("before", "after"))
            return json.loads(done.stdout)["batches"][0], after - before


def measure(part, wire, program, model, reduce):
    def batch(size, prompt, answer):
        return wire.run(program, "bench", "batch", model, *PARTS[part][0], "--threads", 1,
                        "--batch-size", size, "--input-len", prompt, "--output-len", answer,
                        "--repeats", 1, "--no-bounds", "--json",
                        *(["--reduce", reduce] if reduce != "int64" else []))

    if part == "prompts":
        return {f"prompt_{length}_tokens_per_s": batch(1, length, SHORT)[0]["prompt_tokens_per_s"]
                for length in PROMPTS}
    found = {}
    _, few_bytes = batch(1, 16, SHORT)
    one, many_bytes = batch(1, 16, LONG)
    found["token_ms"] = one["step_ms"]
    found["bytes_a_token"] = (many_bytes - few_bytes) / (LONG - SHORT)
    found["batch_step_ms"] = batch(BATCH, 16, LONG)[0]["step_ms"]
    long, long_bytes = batch(1, PROMPT, SHORT)
    found["prompt_tokens_per_s"] = long["prompt_tokens_per_s"]
    # Read twice: a first time to warm up.
    found["bytes_a_prompt_token"] = (long_bytes - few_bytes) / (PROMPT - 16) / 2
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--weft", action="append", help="[NAME=]PROGRAM")
    parser.add_argument("--wires", default="1gbit/100us,100mbit/100us")
    parser.add_argument("--parts", default="reduce,stages")
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    programs = dict(word.rpartition("=")[::2] for word in options.weft or [str(ROOT / "build/weft")])
    record = {"date": datetime.date.today().isoformat(), "model": Path(options.model).name,
              "programs": {name: subprocess.run([path, "--version"], capture_output=True,
                                                text=True).stdout.strip()
                           for name, path in programs.items()},
              "processor": next((line.partition(":")[2].strip()
                                 for line in Path("/proc/cpuinfo").read_text().splitlines()
                                 if line.startswith("model name")), ""),
              "cpus": len(os.sched_getaffinity(0)), "command": " ".join(sys.argv), "rows": []}
    for part in options.parts.split(","):
        kinds = PARTS[part][1]
        for wire in options.wires.split(","):
            runs = {}
            for _ in range(options.turns):
                for name, program in programs.items():
                    for reduce in kinds:
                        runs.setdefault((name, reduce), []).append(
                            measure(part, Wire(wire), program, options.model, reduce))
            for (name, reduce), turns in runs.items():
                record["rows"].append({
                    "part": part, "wire": wire, "program": name, "reduce": reduce,
                    **{key: median(turn[key] for turn in turns) for key in turns[0]},
                    "runs": turns})
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
