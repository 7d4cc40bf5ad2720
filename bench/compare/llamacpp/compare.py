#!/usr/bin/env python3
"""Weft and llama.cpp on the same GGUF files, in turn, with the same threads.

    bench/compare/llamacpp/compare.py MODEL.gguf... [--weft build/weft] [--threads 1,2] [--pairs 7]

Needs llama-cpp-python 0.3.36 built for this machine (about 8 minutes on 2 cores):

    CMAKE_ARGS=-DGGML_NATIVE=ON pip install --no-binary llama-cpp-python llama-cpp-python==0.3.36

A pair is one run of each; the order turns with every pair. Both keep their cache in 16 bits, each
in the type that suits it best (--cache, --weft-cache). Weft is started anew for each run and warms
up by itself (weft bench batch); llama.cpp stays loaded. Printed: medians, the ratio of medians, and
the range of the pairs' ratios.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent))
from llama import Llama  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--weft", type=Path, default=Path("build/weft"))
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--generate", type=int, default=128)
    parser.add_argument("--batches", default="1", help="batch sizes of generation: 1,16,64")
    parser.add_argument("--depth", type=int, default=0, help="tokens in the cache beforehand")
    parser.add_argument("--cache", default="f16", choices=list(Llama.CACHE_TYPES))
    parser.add_argument("--weft-cache", default="bf16", choices=["f32", "f16", "bf16"])
    parser.add_argument("--json", type=Path, help="also write every run here")
    args = parser.parse_args()
    batches = [int(b) for b in args.batches.split(",")]
    rows = []
    print(f"{'model':28} thr  what            weft  llama.cpp  ratio  (range)")
    for model in args.models:
        for threads in (int(t) for t in args.threads.split(",")):
            for row in compare(model, threads, batches, args):
                rows.append(row)
                print_row(row)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


def compare(model, threads, batches, args):
    """A row for the prompt and one for each batch size: tokens/s of each run."""
    most = max(batches)
    room = most * (args.depth + 16 + args.generate) + args.depth + args.prompt
    llama = Llama(model, threads, room, most, args.cache)
    runs = {what: ([], []) for what in ["prompt", *(f"batch {b}" for b in batches)]}
    llama_pair(llama, batches, args, steps=4)  # warms memory
    for pair in range(args.pairs):
        turns = [lambda: weft_pair(model, threads, batches, args),
                 lambda: llama_pair(llama, batches, args, args.generate)]
        results = {}
        for turn in ((0, 1) if pair % 2 == 0 else (1, 0)):
            results[turn] = turns[turn]()
        for what, (ours, theirs) in runs.items():
            ours.append(results[0][what])
            theirs.append(results[1][what])
    llama.close()
    for what, (ours, theirs) in runs.items():
        yield {"model": model.name, "threads": threads, "what": what, "weft": ours,
               "llama.cpp": theirs}


def weft_pair(model, threads, batches, args):
    def bench(*options):
        command = [args.weft, "bench", "batch", model, "--threads", threads, "--json",
                   "--kv-cache-dtype", args.weft_cache, "--depth", args.depth, *options]
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        return json.loads(done.stdout)["batches"]
    rates = {"prompt": bench("--input-len", args.prompt, "--output-len", 1, "--repeats", 1)
             [0]["prompt_tokens_per_s"]}
    for row in bench("--input-len", 16, "--output-len", args.generate + 1, "--repeats", 1,
                     "--batch-size", ",".join(map(str, batches))):
        rates[f"batch {row['batch_size']}"] = row["generation_tokens_per_s"]
    return rates


def llama_pair(llama, batches, args, steps):
    llama.forget()
    if args.depth:
        llama.feed(0, 0, args.depth)
    rates = {"prompt": args.prompt / llama.feed(0, args.depth, args.prompt)}
    for batch in batches:
        llama.forget()
        for sequence in range(batch):
            llama.feed(sequence, 0, args.depth + 16)
        seconds = sum(llama.generate(batch, args.depth + 16, steps))
        rates[f"batch {batch}"] = batch * steps / seconds
    return rates


def print_row(row):
    ours, theirs = row["weft"], row["llama.cpp"]
    ratios = sorted(a / b for a, b in zip(ours, theirs))
    print(f"{row['model']:28} {row['threads']:3}  {row['what']:10} {median(ours):9.1f}  "
          f"{median(theirs):9.1f}  {median(ours) / median(theirs):5.2f}  "
          f"({ratios[0]:.2f} to {ratios[-1]:.2f})", flush=True)


if __name__ == "__main__":
    main()
