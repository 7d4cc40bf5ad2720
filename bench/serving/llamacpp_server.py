#!/usr/bin/env python3
"""`weft serve` and the server of llama-cpp-python on one GGUF file, in turn, under the same clients.

    bench/serving/llamacpp_server.py MODEL.gguf --python VENV/bin/python [--pairs 2]

`llama-cpp-python[server]` (built for this machine, see bench/compare/llamacpp/compare.py) answers one
request at a time: its figures are a lower bound of what llama.cpp's own server, which batches, can
do, and are named so. A path of that one is taken in its place: --llama-server. Both are loaded by
`weft bench serve`: 16 clients, 64 requests of 128 + 128 tokens. Prompts go as text: letters and
digits, which are a token each in a vocabulary of bytes alone (tools/make_tiny_model.py); what Weft says
they are is told."""

import json
import random
import string
import subprocess
import sys
import tempfile
import time
from statistics import median

import measuring

KEYS = ("output_throughput", "median_ttft_ms", "p99_ttft_ms", "median_tpot_ms", "p99_itl_ms",
        "median_e2el_ms", "total_input_tokens", "total_output_tokens", "completed", "failed",
        "client_cpu_share")


def write_prompts(args, path):
    draw = random.Random(1)
    letters = string.ascii_letters + string.digits
    with open(path, "w") as file:
        for _ in range(args.prompts):
            text = "".join(draw.choice(letters) for _ in range(args.input_len))
            file.write(json.dumps({"prompt": text}) + "\n")


def load(args, url, *options):
    with tempfile.TemporaryDirectory() as folder:
        write_prompts(args, f"{folder}/prompts.jsonl")
        command = [args.weft, "bench", "serve", "--base-url", url, "--num-prompts", args.prompts,
                   "--max-concurrency", args.clients, "--dataset-name", "custom", "--dataset-path",
                   f"{folder}/prompts.jsonl", "--custom-output-len", args.output_len,
                   "--ready-check-timeout-sec", 120, "--num-warmups", 1, "--json", *options]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    found = json.loads(done.stdout)
    return {key: found[key] for key in KEYS}


def of_weft(args):
    with measuring.Server(args.weft, args.model, "--tp", args.ranks, "--max-num-seqs", args.clients,
                          "--max-model-len", 2048) as server:
        return load(args, f"http://127.0.0.1:{server.port}", "--ignore-eos")


def of_llama(args):
    port = measuring.free_port()
    if args.llama_server:
        command = [args.llama_server, "-m", args.model, "--port", port, "-t", args.ranks, "-np",
                   args.clients, "-c", args.clients * (args.input_len + args.output_len + 64)]
    else:
        command = [args.python, "-m", "llama_cpp.server", "--model", args.model, "--host",
                   "127.0.0.1", "--port", port, "--n_threads", args.ranks, "--n_threads_batch",
                   args.ranks, "--n_ctx", 2048, "--interrupt_requests", "False"]
    server = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        # llama-cpp-python knows no ignore_eos: whether answers ended early is seen by the tokens.
        return load(args, f"http://127.0.0.1:{port}", "--ignore-eos")
    finally:
        server.terminate()
        server.wait(30)
        time.sleep(1)


def main():
    parser = measuring.arguments(__doc__)
    parser.add_argument("--python", help="of an environment that has llama-cpp-python[server]")
    parser.add_argument("--llama-server", help="llama.cpp's own server, where there is one")
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--input-len", type=int, default=128)
    parser.add_argument("--output-len", type=int, default=128)
    args = parser.parse_args()
    if not args.python and not args.llama_server:
        parser.error("--python or --llama-server says what to compare with")
    runs = {"weft": [], "llama.cpp": []}
    for _ in range(args.pairs):  # A B A B
        runs["weft"].append(of_weft(args))
        print("weft", runs["weft"][-1], file=sys.stderr, flush=True)
        runs["llama.cpp"].append(of_llama(args))
        print("llama.cpp", runs["llama.cpp"][-1], file=sys.stderr, flush=True)
    of = {name: {key: round(median(run[key] for run in each), 3) for key in KEYS}
          for name, each in runs.items()}
    rate = of["weft"]["output_throughput"] / of["llama.cpp"]["output_throughput"]
    first = of["weft"]["median_ttft_ms"] / of["llama.cpp"]["median_ttft_ms"]
    kind = ("llama.cpp's server" if args.llama_server else
            "llama-cpp-python's server, one request at a time: a lower bound of llama.cpp's")
    return measuring.record(
        args, "llamacpp_server", {"compared_with": kind, "medians": of, "runs": runs},
        {"tokens_per_s_ratio": (round(rate, 2), ">=", 2.5),
         "ttft_p50_ratio": (round(first, 4), "<=", 0.25)})


if __name__ == "__main__":
    sys.exit(main())
