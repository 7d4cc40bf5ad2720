#!/usr/bin/env python3
"""Weft against itself: long contexts, batches of all sizes, splits over ranks; each in turn.

    bench/batches/measure.py MODEL.gguf... [--weft build/weft] [--turns 7] [--only depth,splits]

depth   One sequence: prompt tokens/s of 512 after nothing and after --depth positions, generated
        tokens/s after 128 positions and after that deep prompt; BF16 cache; 1 thread and all.
sizes   Batches of 1 to 64, on all threads, each size once in each of --turns runs: tokens/s, and
        where one falls below the best of the smaller ones.
splits  tp = 2, 3, 4 and 8 ranks over all cores against one rank of as many threads: prompts of 512
        and 64 generated tokens.

Every run probes the machine first. Printed: medians, and ratios within a turn (median and range).
The file of --json holds every run and grows with each part.
"""

import argparse
import json
import os
import subprocess
from pathlib import Path
from statistics import median

SIZES = [1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 48, 64]
RANKS = [2, 3, 4, 8]
NUM_CPUS = len(os.sched_getaffinity(0))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--weft", type=Path, default=Path("build/weft"))
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--depth", type=int, default=8192)
    parser.add_argument("--only", default="depth,sizes,splits")
    parser.add_argument("--json", type=Path, help="also write every run here")
    args = parser.parse_args()
    parts = {"depth": depth, "sizes": sizes, "splits": splits}
    results = {}
    for model in args.models:
        for part in args.only.split(","):
            parts[part](model, args, results.setdefault(model.name, {}).setdefault(part, {}))
            if args.json:
                args.json.write_text(json.dumps(results, indent=1) + "\n")


def bench(args, model, *options):
    """One `weft bench batch`, as JSON."""
    command = [args.weft, "bench", "batch", model, "--json", "--repeats", 1, *options]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)


def in_turn(work, turns, runs):
    """Fills runs[name] with the results of work[name](), whose order turns round."""
    order = list(work)
    for name in order:
        runs[name] = []
    for _ in range(turns):
        for name in order:
            runs[name].append(work[name]())
        order = order[1:] + order[:1]


def rate(run, what):
    return run["batches"][0][f"{what}_tokens_per_s"]


def compared(runs, name, base, what):
    """What `name` gives, over what `base` gives in the same turn."""
    ratios = sorted(rate(a, what) / rate(b, what) for a, b in zip(runs[name], runs[base]))
    return (f"{median(rate(r, what) for r in runs[name]):.1f} of "
            f"{median(rate(r, what) for r in runs[base]):.1f} tokens/s, {median(ratios):.2f} "
            f"({ratios[0]:.2f} to {ratios[-1]:.2f})")


def depth(model, args, runs):
    for threads in sorted({1, NUM_CPUS}):
        def at(positions, input_len, output_len):
            return lambda: bench(args, model, "--threads", threads, "--kv-cache-dtype", "bf16",
                                 "--depth", positions, "--input-len", input_len, "--output-len",
                                 output_len)
        found = runs[f"{threads} threads"] = {}
        in_turn({"short": at(112, 16, 65), "prompt": at(0, 512, 1),
                 "deep": at(args.depth, 512, 65)}, args.turns, found)
        print(f"{model.name}, {threads} threads: generation after {args.depth} positions "
              f"{compared(found, 'deep', 'short', 'generation')}; prompt of 512 after them "
              f"{compared(found, 'deep', 'prompt', 'prompt')}", flush=True)


def sizes(model, args, runs):
    found = runs["runs"] = [bench(args, model, "--input-len", 16, "--output-len", 33,
                                  "--batch-size", ",".join(map(str, SIZES)))
                            for _ in range(args.turns)]
    rates = {size: [run["batches"][i]["generation_tokens_per_s"] for run in found]
             for i, size in enumerate(SIZES)}
    print(f"{model.name}, tokens/s: " + ", ".join(f"{s}: {median(rates[s]):.0f}" for s in SIZES))
    for i, size in enumerate(SIZES[1:], 1):
        best = max(SIZES[:i], key=lambda smaller: median(rates[smaller]))
        ratios = [b / a for a, b in zip(rates[best], rates[size])]
        if median(ratios) < 1:
            print(f"{model.name}: {size} over {best}: {median(ratios):.3f} "
                  f"({min(ratios):.2f} to {max(ratios):.2f})", flush=True)


def splits(model, args, runs):
    def split(ranks):
        options = (["--tp", ranks] if ranks > 1 else ["--threads", NUM_CPUS])
        return lambda: bench(args, model, *options, "--input-len", 512, "--output-len", 65)
    in_turn({f"tp={ranks}": split(ranks) for ranks in [1, *RANKS]}, args.turns, runs)
    for ranks in RANKS:
        prompt, generation = (compared(runs, f"tp={ranks}", "tp=1", what)
                              for what in ("prompt", "generation"))
        print(f"{model.name}, tp={ranks}: prompt {prompt}; generation {generation}", flush=True)


if __name__ == "__main__":
    main()
