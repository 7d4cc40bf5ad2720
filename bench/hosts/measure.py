#!/usr/bin/env python3
"""What processes and hosts cost against threads, in one run.

    bench/hosts/measure.py MODEL.gguf [--weft build/weft] [--parts processes,hosts] [--turns 5]

processes  Two processes of this machine: `weft bench comm` of 8 to 64 KiB against MPI_Allreduce and
           threads; tokens/s of tp=2 as two processes over two threads, at batch 1 and 32, in turn.
hosts      Two network namespaces (tools/hosts) with no, 0.1 and 1 ms of added delay each way: the
           time of a token as tp=2, pp=2 and tp=2 x pp=2 beside compute + messages x their measured
           time; the throughput of pp=2 with many sequences.

Compute is the same split as threads of one process; the time of a message of a token's row is half
a round trip as `weft bench comm` has it over the same wire. About two minutes each on two cores,
which want to be quiet: where they are not, `chrt -r 1 bench/hosts/measure.py ...` goes before
others (as root). The record goes to standard output. MODEL: SmolLM2-135M.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent.parent
AIMS = {"reduce_over_mpi": 1.0, "threads_times": 3.0, "batch1": 0.90, "batch32": 0.97,
        "predicted": 0.20, "pipeline": 0.95}
KIB = 1024
MANY = 96  # sequences in flight
ROW_BYTES = 576 * 8  # of SmolLM2's sums
DELAYS = {"none": None, "0.1 ms": "100us", "1 ms": "1ms"}
SPLITS = {"tp=2": ["--tp", "2"], "pp=2": ["--pp", "2"], "tp=2 x pp=2": ["--tp", "2", "--pp", "2"]}


class Weft:
    def __init__(self, program, model):
        self.program, self.model = program, model
        self.commands = []

    def run(self, *command):
        words = [str(word) for word in command]
        self.commands.append(" ".join(words))
        variables = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1",
                     "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        done = subprocess.run(words, capture_output=True, text=True, env=variables, timeout=250)
        if done.returncode != 0:
            sys.exit(f"{' '.join(words)}: exit code {done.returncode}\n{done.stderr}")
        return json.loads(done.stdout)

    def batch(self, launcher, split, sizes, lengths, repeats=1):
        found = self.run(*launcher, self.program, "bench", "batch", self.model, *split, "--threads",
                         1, "--batch-size", ",".join(map(str, sizes)), "--input-len", lengths[0],
                         "--output-len", lengths[1], "--repeats", repeats, "--no-bounds", "--json")
        return {row["batch_size"]: row for row in found["batches"]}

    def comm(self, launcher, sizes, run_ms):
        return self.run(*launcher, self.program, "bench", "comm", "--sizes",
                        ",".join(map(str, sizes)), "--run-ms", run_ms, "--json")["groups"][0]


def mpirun(*options):
    return ["mpirun", "-np", "2", *options]


def on_hosts(delay, slots=1):
    shaped = ["--delay", delay] if delay else []
    return [sys.executable, "-B", ROOT / "tools" / "hosts", "2", "--slots", slots, *shaped, "--"]


def sums(group):
    """Microseconds of all_reduce by transport and bytes, as each transport chooses."""
    return {(row["transport"], row["bytes"]): row["time_us"] for row in group["collectives"]
            if row["verb"] == "all_reduce" and row["algorithm"] in ("", "as measured")}


def measure_processes(weft, turns):
    times = sums(weft.comm(mpirun("--bind-to", "none"), [8 * KIB, 16 * KIB, 32 * KIB, 64 * KIB], 20))
    reduce = []
    for size in sorted({size for _, size in times}):
        row = {"bytes": size, **{name: times[name, size] for name, at in times if at == size}}
        row["over_mpi"] = row["shared memory"] / row["Open MPI"]
        row["mpi_over_threads"] = row["Open MPI"] / row["threads"] if "threads" in row else None
        reduce.append(row)
    ways = {"threads": [], "processes": mpirun("--bind-to", "none")}
    runs = {(way, size): [] for way in ways for size in (1, 32)}
    for _ in range(turns):
        for way, launcher in ways.items():
            for size, row in weft.batch(launcher, SPLITS["tp=2"], [1, 32], (32, 96)).items():
                runs[way, size].append(row["generation_tokens_per_s"])
    tokens = [{"batch": size,
               **{f"{way}_tokens_per_s": runs[way, size] for way in ways},
               "processes_over_threads":
                   median(runs["processes", size]) / median(runs["threads", size])}
              for size in (1, 32)]
    return {"all_reduce": reduce, "tokens": tokens}


# Messages that a token waits for, one after the other: tp=2 an all_reduce twice a layer and one of
# the embedding, a gather of logits, the plan; pp=2 the rows to the second stage and the token back.
def num_messages(split, layers):
    return 2 * layers + 3 if split == "tp=2" else 2


def message_us(group):
    one = next(row for row in group["pairs"] if row["transport"] == "messages")
    return next(at["time_us"] for at in one["messages"] if at["bytes"] == ROW_BYTES)


def measure_hosts(weft, turns):
    layers, lengths = 30, (16, 48)
    compute = {split: [] for split in SPLITS}
    rows, flows = [], []
    for _ in range(turns):
        for split, options in SPLITS.items():
            compute[split].append(weft.batch([], options, [1], lengths)[1]["step_ms"])
    for name, delay in DELAYS.items():
        one_us = message_us(weft.comm([*on_hosts(delay), *mpirun()], [ROW_BYTES], 20))
        for split, options in SPLITS.items():
            found = weft.batch([*on_hosts(delay), *mpirun()], options, [1], lengths, repeats=turns)
            step_ms, own_ms = found[1]["step_ms"], median(compute[split])
            predicted_ms = own_ms + num_messages(split, layers) * one_us / 1e3
            rows.append({"delay": name, "split": split, "message_us": one_us,
                         "messages": num_messages(split, layers), "step_ms": step_ms,
                         "compute_ms": own_ms, "predicted_ms": predicted_ms,
                         "measured_over_predicted": step_ms / predicted_ms})
        flow = weft.batch([*on_hosts(delay), *mpirun()], SPLITS["pp=2"], [MANY], (16, 32),
                          repeats=turns)
        flows.append({"delay": name, "batch": MANY,
                      "tokens_per_s": flow[MANY]["runs"]["generation_tokens_per_s"]})
    quick = median(flows[0]["tokens_per_s"])
    for flow in flows:
        flow["over_none"] = median(flow["tokens_per_s"]) / quick
    return {"token": rows, "pipeline": flows}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--weft", default=ROOT / "build" / "weft")
    parser.add_argument("--parts", default="processes,hosts")
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    weft = Weft(options.weft, options.model)
    version = subprocess.run([str(options.weft), "--version"], capture_output=True, text=True).stdout
    record = {"date": datetime.date.today().isoformat(), "version": version.strip(),
              "processor": next((line.partition(":")[2].strip()
                                 for line in Path("/proc/cpuinfo").read_text().splitlines()
                                 if line.startswith("model name")), ""),
              "cpus": len(os.sched_getaffinity(0)), "model": Path(options.model).name, "aims": AIMS}
    for part in options.parts.split(","):
        record[part] = {"processes": measure_processes, "hosts": measure_hosts}[part](
            weft, options.turns)
    record["commands"] = weft.commands
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
