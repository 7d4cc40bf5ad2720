#!/usr/bin/env python3
"""What a build that knows MPI costs whoever starts it without mpirun: start-up and tokens/s beside
a build without MPI, in turn.

    cmake -S . -B build-without-mpi -G Ninja -DCMAKE_BUILD_TYPE=Release -DWEFT_MPI=off
    cmake --build build-without-mpi --target weft
    bench/hosts/without_mpi.py MODEL.gguf [--with build/weft] [--without build-without-mpi/weft]

Of each: `weft --version`, `weft run MODEL -p x --max-tokens 1`, `weft bench latency MODEL`. What is
compared are medians; the same of each build's own halves (every second run) says what this machine
can tell apart. Five minutes of two cores, which want to be quiet. The record goes to standard
output.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent.parent
AIM = 0.01


def run(*words):
    done = subprocess.run(list(map(str, words)), stdin=subprocess.DEVNULL, capture_output=True,
                          text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, words))}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout


def timed_ms(*words):
    begin = time.perf_counter()
    run(*words)
    return round((time.perf_counter() - begin) * 1e3, 4)


def token_ms(weft, options):
    """Of one sequence, the median of its gaps."""
    found = json.loads(run(weft, "bench", "latency", options.model, "--batch-size", 1, "--input-len",
                           16, "--output-len", 128, "--num-iters-warmup", 1, "--num-iters", 3,
                           "--no-bounds", "--json", *options.split.split()))
    return found["median_itl_ms"]


def in_turn(builds, count, measure):
    """Name -> values; each turn begins with the other one."""
    values = {name: [] for name in builds}
    for turn in range(count):
        for name in sorted(builds, reverse=turn % 2 == 1):
            values[name].append(measure(builds[name]))
    return values


def compared(values):
    row = {name: {"median_ms": round(median(of), 4), "halves": round(
        median(of[::2]) / median(of[1::2]), 4), "ms": of} for name, of in values.items()}
    row["ratio"] = round(median(values["with"]) / median(values["without"]), 4)
    row["within"] = abs(row["ratio"] - 1) <= AIM
    return row


def links_mpi(weft):
    return "libmpi" in run("ldd", weft)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--with", type=Path, default=ROOT / "build" / "weft", dest="with_mpi")
    parser.add_argument("--without", type=Path, default=ROOT / "build-without-mpi" / "weft")
    parser.add_argument("--turns", type=int, default=12, help="of runs and of benches")
    parser.add_argument("--starts", type=int, default=300, help="of --version")
    parser.add_argument("--split", default="--tp 2 --threads 1")
    options = parser.parse_args()
    builds = {"with": options.with_mpi.resolve(), "without": options.without.resolve()}
    run(builds["with"], "run", options.model, "-p", "x", "--max-tokens", 1)  # the file is in memory
    record = {
        "bench": "without_mpi", "date": datetime.datetime.now(datetime.timezone.utc).isoformat(),
        "machine": run("lscpu").split("Model name:")[1].split("\n")[0].strip(),
        "cores": os.cpu_count(), "model": options.model.name, "split": options.split,
        "versions": {name: run(weft, "--version").splitlines()[0] for name, weft in builds.items()},
        "links_mpi": {name: links_mpi(weft) for name, weft in builds.items()},
        "aim": AIM,
        "version": compared(in_turn(builds, options.starts,
                                    lambda weft: timed_ms(weft, "--version"))),
        "one_token": compared(in_turn(builds, options.turns, lambda weft: timed_ms(
            weft, "run", options.model, "-p", "x", "--max-tokens", 1, *options.split.split()))),
        "token": compared(in_turn(builds, options.turns, lambda weft: token_ms(weft, options))),
    }
    print(json.dumps(record, indent=1))
    for name in ("version", "one_token", "token"):
        row = record[name]
        print(f"{name:10} with {row['with']['median_ms']:.3f} ms, without "
              f"{row['without']['median_ms']:.3f}: {row['ratio']:.4f} (halves of each "
              f"{row['with']['halves']:.4f}, {row['without']['halves']:.4f})", file=sys.stderr)
    return 0 if all(record[name]["within"] for name in ("version", "one_token", "token")) else 1


if __name__ == "__main__":
    sys.exit(main())
