#!/usr/bin/env python3
"""Weft and llama.cpp on the same GGUF files, in turn, with the same threads.

    bench/compare/llamacpp/compare.py MODEL.gguf... [--weft build/weft] [--threads 1,2] [--pairs 7]

Needs llama-cpp-python 0.3.36 built for this machine (about 8 minutes on 2 cores):

    CMAKE_ARGS=-DGGML_NATIVE=ON pip install --no-binary llama-cpp-python llama-cpp-python==0.3.36

A pair is one run of each; the order turns with every pair. Both keep their cache in 16 bits, each
in the type that suits it best (--cache, --weft-cache). Weft is started anew for each run and warms
up by itself (weft bench batch); llama.cpp stays loaded. Each run of Weft first probes the machine
with its own threads. Printed: medians, the ratio of medians, the range of the pairs' ratios, and
the median share of what the same run probed: of prompts the layers' products (2 a parameter and
token, the head left out) over the int8 and the BF16 peak, of batches the weights that they read a
second over the read bandwidth. The file of --json holds every run, and what the machine is.
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
    rows, machine = [], {}
    print(f"{'model':28} thr  what            weft  llama.cpp  ratio  (range)         share")
    for model in args.models:
        for threads in (int(t) for t in args.threads.split(",")):
            for row in compare(model, threads, batches, args, machine):
                rows.append(row)
                print_row(row)
            if args.json:
                asked = {name: getattr(args, name) for name in
                         ("pairs", "prompt", "generate", "depth", "cache", "weft_cache")}
                args.json.write_text(
                    json.dumps({**machine, "asked": asked, "rows": rows}, indent=1) + "\n")


def compare(model, threads, batches, args, machine):
    """A row for the prompt and one for each batch size: tokens/s and shares of each run."""
    most = max(batches)
    room = most * (args.depth + 16 + args.generate) + args.depth + args.prompt
    llama = Llama(model, threads, room, most, args.cache)
    names = ["prompt", *(f"batch {b}" for b in batches)]
    rows = {what: {"model": model.name, "threads": threads, "what": what, "weft": [],
                   "llama.cpp": []} for what in names}
    llama_pair(llama, batches, args, steps=4)  # warms memory
    for pair in range(args.pairs):
        turns = [lambda: weft_pair(model, threads, batches, args, machine),
                 lambda: llama_pair(llama, batches, args, args.generate)]
        results = {}
        for turn in ((0, 1) if pair % 2 == 0 else (1, 0)):
            results[turn] = turns[turn]()
        for what, row in rows.items():
            for key, value in results[0][what].items():
                row.setdefault(key, []).append(value)
            row["llama.cpp"].append(results[1][what])
    llama.close()
    yield from rows.values()


def weft_pair(model, threads, batches, args, machine):
    def bench(*options):
        command = [args.weft, "bench", "batch", model, "--threads", threads, "--json",
                   "--kv-cache-dtype", args.weft_cache, "--depth", args.depth, "--repeats", 1,
                   *options]
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        found = json.loads(done.stdout)
        machine.update({key: found[key] for key in ("machine", "version", "commit", "isa")})
        return found
    prompt = bench("--input-len", args.prompt, "--output-len", 1)
    rate, bounds = prompt["batches"][0]["prompt_tokens_per_s"], prompt["bounds"]
    products = 2e-9 * prompt["layer_parameters"] * rate
    rows = {"prompt": {"weft": rate, "of_int8_peak": products / bounds["int8_gops"],
                       "of_bf16_peak": products / bounds["bf16_gflops"], "bounds": bounds}}
    generation = bench("--input-len", 16, "--output-len", args.generate + 1, "--batch-size",
                       ",".join(map(str, batches)))
    for row in generation["batches"]:
        rows[f"batch {row['batch_size']}"] = {
            "weft": row["generation_tokens_per_s"], "bounds": generation["bounds"],
            "of_read_rate": row["weights_gb_per_s"] / generation["bounds"]["read_gb_per_s"]}
    return rows


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
    if row["what"] == "prompt":
        share = (f"{median(row['of_int8_peak']):.2f} of int8, {median(row['of_bf16_peak']):.2f} of "
                 "BF16 peak")
    else:
        share = f"{median(row['of_read_rate']):.2f} of reads"
    print(f"{row['model']:28} {row['threads']:3}  {row['what']:10} {median(ours):9.1f}  "
          f"{median(theirs):9.1f}  {median(ours) / median(theirs):5.2f}  "
          f"({ratios[0]:.2f} to {ratios[-1]:.2f})  {share}", flush=True)


if __name__ == "__main__":
    main()
