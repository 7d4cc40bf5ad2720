#!/usr/bin/env python3
"""What the always-kept trace of a server costs: `weft bench throughput` with as many events kept as
`weft serve` keeps, and with none, in turn.

    bench/serving/trace_cost.py MODEL [--pairs 7]"""

import json
import subprocess
import sys
import tempfile
from statistics import median

import measuring


def rate(args, trace):
    with tempfile.TemporaryDirectory() as folder:
        kept = ["--trace", f"{folder}/trace.json", "--trace-events", args.events] if trace else []
        command = [args.weft, "bench", "throughput", args.model, "--tp", args.ranks, "--workload",
                   "fixed", "--num-prompts", args.prompts, "--input-len", 64, "--output-len", 128,
                   "--max-num-seqs", args.running, "--no-bounds", "--json", *kept]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
    found = json.loads(done.stdout)
    return round(found["total_output_tokens"] / found["elapsed_time"], 1)


def main():
    parser = measuring.arguments(__doc__)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--running", default="1,16")
    parser.add_argument("--events", type=int, default=50_000, help="as `weft serve` keeps")
    args = parser.parse_args()
    rows, aims = [], {}
    for running in map(int, args.running.split(",")):
        args.running = running
        prompts, args.prompts = args.prompts, min(args.prompts, 8 * running)
        row = {"running": running, "without": [], "with": []}
        for pair in range(args.pairs):
            for trace in (False, True) if pair % 2 == 0 else (True, False):
                row["with" if trace else "without"].append(rate(args, trace))
        args.prompts = prompts
        row["ratio"] = round(median(row["with"]) / median(row["without"]), 4)
        aims[f"ratio_{running}"] = (row["ratio"], ">=", 0.99)
        rows.append(row)
        print(row, file=sys.stderr, flush=True)
    return measuring.record(args, "trace_cost", {"rows": rows}, aims)


if __name__ == "__main__":
    sys.exit(main())
