#!/usr/bin/env python3
"""What HTTP costs: `weft bench serve` against `weft serve`, and `weft bench throughput`, in turn, on
the same lengths.

    bench/serving/overhead.py MODEL [--pairs 5] [--concurrency 16,64]

The server and its client share the cores; the engine alone has them to itself. Output tokens a
second of each run, and the ratio of the medians."""

import json
import subprocess
import sys
from statistics import median

import measuring


def weft(args, *options):
    done = subprocess.run([str(args.weft), *map(str, options)], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)


def alone(args, concurrency):
    found = weft(args, "bench", "throughput", args.model, "--tp", args.ranks, "--workload", "fixed",
                 "--num-prompts", args.prompts, "--input-len", args.input_len, "--output-len",
                 args.output_len, "--max-num-seqs", concurrency, "--max-concurrency", concurrency,
                 "--no-bounds", "--json")
    return found["total_output_tokens"] / found["elapsed_time"], {}


def through_http(args, concurrency):
    with measuring.Server(args.weft, args.model, "--tp", args.ranks, "--max-num-seqs", concurrency,
                          "--max-model-len", args.input_len + args.output_len) as server:
        found = weft(args, "bench", "serve", "--base-url", f"http://127.0.0.1:{server.port}",
                     "--num-prompts", args.prompts, "--random-input-len", args.input_len,
                     "--random-output-len", args.output_len, "--ignore-eos", "--max-concurrency",
                     concurrency, "--num-warmups", concurrency, "--json")
    if found["failed"]:
        raise RuntimeError(str(found["errors_by_reason"]))
    return found["output_throughput"], {key: round(found[key], 3) for key in (
        "median_ttft_ms", "median_tpot_ms", "p99_itl_ms", "client_cpu_share")}


def main():
    parser = measuring.arguments(__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--concurrency", default="16,64")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--input-len", type=int, default=128)
    parser.add_argument("--output-len", type=int, default=128)
    args = parser.parse_args()
    rows, aims = [], {}
    for concurrency in map(int, args.concurrency.split(",")):
        row = {"concurrency": concurrency, "engine": [], "http": [], "http_details": []}
        for pair in range(args.pairs):
            for measure in (alone, through_http) if pair % 2 == 0 else (through_http, alone):
                rate, details = measure(args, concurrency)
                row["engine" if measure is alone else "http"].append(round(rate, 1))
                if details:
                    row["http_details"].append(details)
        row["ratio"] = round(median(row["http"]) / median(row["engine"]), 3)
        aims[f"ratio_{concurrency}"] = (row["ratio"], ">=", 0.95)
        rows.append(row)
        print(row, file=sys.stderr, flush=True)
    return measuring.record(args, "overhead", {"rows": rows}, aims)


if __name__ == "__main__":
    sys.exit(main())
