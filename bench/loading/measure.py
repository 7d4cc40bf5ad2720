#!/usr/bin/env python3
"""How fast weights come into memory: repacked and mapped, against plain copying, in turn.

    bench/loading/measure.py MODEL.gguf... [--weft build/weft] [--threads 1,2] [--turns 7]

A turn is, for each model and number of threads: the same threads copy the mapped file into fresh
huge-page memory; weft loads the model; weft loads the folder that `weft pack` made of it (in
--scratch, before the first turn). The order turns round with every turn, and the page cache is warm
(every file is read once before). Rates count the bytes of the model's file that are read.

Printed: medians; Weft's rate over the copy's, of the medians and of each side's best turn (on a
virtual machine a turn can meet memory that its host has yet to find: then either side falls to a
tenth); the peak of
anonymous memory (RssAnon of /proc, asked for every millisecond, of a run with a context of 64
tokens) over the packed weights; the packed weights over the file's; the time of the mapped load
over that of the unpacked one, for the weights alone and for all of the start.
"""

import argparse
import ctypes
import json
import mmap
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

COPY_TILE = 1 << 20  # bytes of one memmove; from 256 KiB to 4 MiB nothing changes
HUGE_PAGE = 2 << 20


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--weft", type=Path, default=Path("build/weft"))
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--scratch", type=Path, help="a folder with room for the packed models")
    parser.add_argument("--json", type=Path, help="also write every run here")
    args = parser.parse_args()
    rows = []
    print(f"{'model':20} thr  copy GB/s  repack GB/s  ratio  of bests  anon/packed  "
          "packed/file  mapped/repacked: weights  start")
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        for model in args.models:
            packed = Path(scratch) / f"{model.stem}.packed"
            subprocess.run([args.weft, "pack", model, "-q", "-o", packed], check=True,
                           stdout=subprocess.DEVNULL)
            for threads in (int(t) for t in args.threads.split(",")):
                rows.append(measure(model, packed, threads, args))
                print_row(rows[-1])
            subprocess.run(["rm", "-r", packed], check=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


def measure(model, packed, threads, args):
    runs = {"copy": [], "unpacked": [], "packed": []}
    work = {"copy": lambda: copy(model, threads),
            "unpacked": lambda: load(args.weft, model, threads),
            "packed": lambda: load(args.weft, packed, threads)}
    for run in work.values():
        run()  # warms the page cache
    order = list(work)
    for _ in range(args.turns):
        for what in order:
            runs[what].append(work[what]())
        order = order[1:] + order[:1]
    return {"model": model.name, "threads": threads, **runs}


def copy(path, threads):
    """Seconds and bytes of copying a freshly mapped file into fresh huge-page memory."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        source = mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ | mmap.PROT_WRITE,
                           flags=mmap.MAP_PRIVATE)  # nothing is written; ctypes wants it so
        target = mmap.mmap(-1, size + HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    target.madvise(mmap.MADV_HUGEPAGE)
    from_ = ctypes.addressof(ctypes.c_char.from_buffer(source))
    to = -(-ctypes.addressof(ctypes.c_char.from_buffer(target)) // HUGE_PAGE) * HUGE_PAGE
    tiles = iter(range(0, size, COPY_TILE))
    lock = threading.Lock()
    ready = threading.Barrier(threads + 1)

    def run():
        ready.wait()
        while True:
            with lock:
                begin = next(tiles, None)
            if begin is None:
                return
            ctypes.memmove(to + begin, from_ + begin, min(COPY_TILE, size - begin))

    team = [threading.Thread(target=run) for _ in range(threads)]
    for thread in team:
        thread.start()
    ready.wait()
    begin = time.perf_counter()
    for thread in team:
        thread.join()
    return {"seconds": time.perf_counter() - begin, "bytes": size}


def load(weft, model, threads):
    """What `weft run --json` says of its loading, and the peak of its anonymous memory."""
    command = [str(weft), "run", str(model), "--prompt-ids", "1", "-n", "1", "--json", "--quiet",
               "--max-model-len", "64", "--max-num-batched-tokens", "16", "--threads", str(threads)]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    peak = 0
    while run.poll() is None:
        peak = max(peak, anonymous_bytes(run.pid))
        time.sleep(0.001)
    out, err = run.communicate()
    if run.returncode != 0:
        sys.exit(err)
    answer = json.loads(out)
    return {**answer["load"], "start_s": answer["load_s"], "peak_anonymous_bytes": peak}


def anonymous_bytes(pid):
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return 1024 * int(line.split()[1])
    except OSError:  # it has just ended
        pass
    return 0


def print_row(row):
    def rate(run):
        return run["bytes"] / run["seconds"] / 1e9
    unpacked, packed = row["unpacked"], row["packed"]
    copied, repacked = list(map(rate, row["copy"])), list(map(rate, unpacked))
    weights = unpacked[0]["weight_bytes"]
    print(f"{row['model']:20} {row['threads']:3}  {median(copied):9.2f}  {median(repacked):11.2f}  "
          f"{median(repacked) / median(copied):5.2f}  {max(repacked) / max(copied):8.2f}  "
          f"{max(u['peak_anonymous_bytes'] for u in unpacked) / weights:11.3f}  "
          f"{weights / unpacked[0]['bytes']:11.3f}  "
          f"{median(p['seconds'] for p in packed) / median(u['seconds'] for u in unpacked):24.3f}  "
          f"{median(p['start_s'] for p in packed) / median(u['start_s'] for u in unpacked):.3f}  "
          f"(packed run: {max(p['peak_anonymous_bytes'] for p in packed) / 1e6:.0f} MB anonymous)",
          flush=True)


if __name__ == "__main__":
    main()
