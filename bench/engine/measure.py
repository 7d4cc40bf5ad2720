#!/usr/bin/env python3
"""All figures of the engine of many requests, for one model, in one run.

    bench/engine/measure.py MODEL.gguf [--weft build/weft] [--only batching,long] [--profile full]

peak64     64 sequences of 16 + 48 tokens (`bench batch`): share of the measured peak.
fixed      128 prompts of 220 with 180 answer tokens each, at most 64 at once: output tokens/s,
           beside the aim scaled by the peak of the same run.
batching   A seeded mix of lengths: continuous over rectangular static batches of 64, and at most 16
           at once over static batches that ended answers leave.
prefix     200 requests that share 1,024 tokens: how much of them comes from the cache, and how much
           sooner the first token comes than where nothing is shared.
long       A prompt of 4,096 among 16 answers: the p99 of their gaps over the median before, its own
           first token over that of the same prompt alone; the stall without chunks; how well the
           steps were predicted.
guesses    n-gram guesses (5) on repetitive and on random text, over none; one answer at a time.
pipeline   Two stages on two cores over one rank of two threads, with 64 sequences and with few;
           bubbles beside their prediction.
simulated  Eight stages that sleep, even and uneven: bubbles beside theory and forecast. With
           --engine-test also the longer tests of steady decoding.
scheduler  Microseconds of a plan at 256 sequences.

What is compared takes turns (A B A B), and ratios are of medians. Every `bench throughput` and
`bench batch` probes peaks and bandwidth in its own process. A profile says how much is asked:
`full`, `reduced` (fewer and smaller runs, for models below 900 tokens/s at 64 sequences), `smoke`
(to try this script); `auto` chooses by the first run. The JSON file holds every run and every
command; it and the table (the same name, .txt) are written anew after each part.
"""

import argparse
import datetime
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent.parent
PARTS = ["peak64", "fixed", "batching", "prefix", "long", "guesses", "pipeline", "simulated",
         "scheduler"]
# turns: of each comparison. mix, mix16, prompts, ...: requests of a run; of mix more than there are
# places, so that some come later. stage_ms: the real work of eight stages, which shares the cores
# here, is to be small beside their sleep.
PROFILES = {
    "full": {"peak_runs": 5, "fixed": 128, "fixed_runs": 2, "mix": 128, "mix_turns": 1, "mix16": 64,
             "mix16_turns": 2, "shared": 200, "alone": 40, "long_runs": 3, "long_len": 4096,
             "guess_prompts": 8, "guess_len": 128, "guess_turns": 4, "pipe": 128, "pipe_turns": 2,
             "few": 16, "stage_ms": 100, "seqs": 256},
    "reduced": {"peak_runs": 3, "fixed": 128, "fixed_runs": 1, "mix": 128, "mix_turns": 1,
                "mix16": 32, "mix16_turns": 2, "shared": 200, "alone": 25, "long_runs": 2,
                "long_len": 4096, "guess_prompts": 4, "guess_len": 96, "guess_turns": 3, "pipe": 64,
                "pipe_turns": 2, "few": 8, "stage_ms": 200, "seqs": 256},
    "smoke": {"peak_runs": 1, "fixed": 8, "fixed_runs": 1, "mix": 4, "mix_turns": 1, "mix16": 4,
              "mix16_turns": 1, "shared": 6, "alone": 2, "long_runs": 1, "long_len": 600,
              "guess_prompts": 1, "guess_len": 24, "guess_turns": 1, "pipe": 8, "pipe_turns": 1,
              "few": 2, "stage_ms": 20, "seqs": 32},
}
SLOW_TOKENS_PER_S = 900
# A mode of vLLM on a machine of these peaks gives 234 to 307 (facts of the project): the aims.
FIXED_AIMS = {"int8": (700.0, 934.0), "bf16": (350.0, 466.0)}


class Measurement:
    """Runs of one model, the figures that follow from them, and the files that keep both."""

    def __init__(self, args):
        self.args = args
        self.began = time.monotonic()
        self.profile = None
        self.parts = {}
        self.header = {"model": args.model.name, "date": datetime.date.today().isoformat(),
                       "cpus": len(os.sched_getaffinity(0))}
        stem = f"{self.header['date']}-engine-{args.model.stem.lower()}"
        self.path = args.json or ROOT / "bench" / "results" / f"{stem}.json"

    # ---- running

    def say(self, text):
        print(f"[{time.monotonic() - self.began:5.0f} s] {text}", file=sys.stderr, flush=True)

    def bench(self, part, label, what, *options, model=True):
        """One `weft bench WHAT MODEL --json`, kept with its command."""
        command = [self.args.weft, "bench", what] + ([self.args.model] if model else [])
        command = [str(c) for c in [*command, "--json", *options]]
        self.say(f"{part}: {label}: {' '.join(map(str, options))}")
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
        result = json.loads(done.stdout)
        self.part(part)["runs"].setdefault(label, []).append(
            {"command": " ".join(["weft", *command[1:]]), "result": result})
        if "bounds" in result:
            self.see(result)
        return result

    def throughput(self, part, label, *options):
        return self.bench(part, label, "throughput", *options)

    def in_turn(self, turns, work):
        """Fills a dictionary with the results of work[name](), whose order turns round."""
        results = {name: [] for name in work}
        order = list(work)
        for _ in range(turns):
            for name in order:
                results[name].append(work[name]())
            order = order[1:] + order[:1]
        return results

    def part(self, name):
        return self.parts.setdefault(name, {"runs": {}, "figures": []})

    def see(self, result):
        """The machine, as each run says it; the bounds of the fastest probe stand in the header."""
        header = self.header
        header["processor"] = result["machine"]["processor"]
        header["commit"] = result["commit"]
        header["isa"] = result["isa"]
        best = header.setdefault("best_bounds", dict(result["bounds"]))
        for key, value in result["bounds"].items():
            best[key] = max(best[key], value)

    # ---- figures

    def figure(self, part, what, value, aim=None, met=None, note=""):
        """value, aim: text, or numbers; met: None where nothing is asked."""
        self.part(part)["figures"].append(
            {"what": what, "value": value, "aim": aim, "met": met, "note": note})
        verdict = {None: "", True: "  met", False: "  NOT MET"}[met]
        asked = f"  (asked: {shown(aim)})" if aim is not None else ""
        self.say(f"{part}: {what}: {shown(value)}{asked}{verdict}{'  ' + note if note else ''}")

    def at_least(self, part, what, value, aim, note=""):
        self.figure(part, what, value, f">= {shown(aim)}", value >= aim, note)

    def at_most(self, part, what, value, aim, note=""):
        self.figure(part, what, value, f"<= {shown(aim)}", value <= aim, note)

    def write(self):
        self.header["seconds"] = round(time.monotonic() - self.began)
        self.header["profile"] = self.profile
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps({"header": self.header, "parts": self.parts}, indent=1)
                             + "\n")
        self.path.with_suffix(".txt").write_text(self.table())

    def table(self):
        header = self.header
        bounds = header.get("best_bounds", {})
        lines = [f"{header['model']}, {header.get('processor', '?')}, {header['cpus']} cores, "
                 f"{header.get('isa', '?')}, commit {header.get('commit', '?')}, {header['date']}",
                 "best probe: " + ", ".join(f"{k} {v:.1f}" for k, v in bounds.items()),
                 f"profile {self.profile}, {header.get('seconds', 0)} s", ""]
        rows = [("part", "what", "figure", "asked", "met", "")]
        for name, part in self.parts.items():
            for f in part["figures"]:
                met = {None: "", True: "yes", False: "NO"}[f["met"]]
                rows.append((name, f["what"], shown(f["value"]), shown(f["aim"] or ""), met,
                             f["note"]))
            if "error" in part:
                rows.append((name, "did not end", "", "", "", part["error"].splitlines()[-1]))
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines += ["  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in rows]
        return "\n".join(lines) + "\n"


def shown(value):
    if isinstance(value, str):
        return value
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def med(results, key):
    return median(r[key] for r in results)


def ratio_of(results, key, over, under):
    """Of medians, and the range of the pairs' own ratios."""
    pairs = [a[key] / b[key] for a, b in zip(results[over], results[under])]
    return med(results[over], key) / med(results[under], key), \
        f"{min(pairs):.2f} to {max(pairs):.2f} of {len(pairs)}"


# ---- the parts

def peak64(m, sizes):
    shares, rates = [], []
    for _ in range(sizes["peak_runs"]):
        run = m.bench("peak64", "batch of 64", "batch", "--batch-size", 64, "--input-len", 16,
                      "--output-len", 48, "--repeats", 3)
        peak = run["bounds"][f"{peak_name(m, run)}"]
        rate = run["batches"][0]["generation_tokens_per_s"]
        used = 2e-9 * (run["layer_parameters"] + run["head_parameters"])
        rates.append(rate)
        shares.append(rate * used / peak)
    m.figure("peak64", "tokens/s, 64 sequences", median(rates))
    m.at_least("peak64", f"share of the {peak_name(m, run)} peak", median(shares), 0.45,
               f"{min(shares):.3f} to {max(shares):.3f} of {len(shares)}")


def peak_name(m, run):
    name = m.header.get("peak")
    if name is None:
        is_bf16 = "BF16" in run["file_type"]
        name = m.header["peak"] = "bf16_gflops" if is_bf16 else "int8_gops"
    return name


def fixed(m, sizes):
    runs = [m.throughput("fixed", "64 at a time", "--num-prompts", sizes["fixed"], "--input-len",
                         220, "--output-len", 180, "--max-num-seqs", 64)
            for _ in range(sizes["fixed_runs"])]
    rates = [run["output_tokens_per_second"] for run in runs]
    m.figure("fixed", "output tokens/s", median(rates), note=f"of {len(rates)}")
    kind = runs[0]["peak"]
    if kind in FIXED_AIMS:
        tokens, peak = FIXED_AIMS[kind]
        key = {"int8": "int8_gops", "bf16": "bf16_gflops"}[kind]
        scaled = [rate / (tokens * run["bounds"][key] / peak) for rate, run in zip(rates, runs)]
        m.at_least("fixed", f"over {tokens:.0f} at {peak:.0f}, scaled by the run's peak",
                   median(scaled), 1.0,
                   "peaks " + ", ".join(f"{run['bounds'][key]:.0f}" for run in runs)
                   + "; the aim is for SmolLM2-135M")
    m.figure("fixed", "share of the peak", med(runs, "share_of_peak"))
    m.figure("fixed", "scheduler, us a step", med(runs, "scheduler_us_per_step"))
    predicted(m, "fixed", runs)


def predicted(m, part, runs):
    """How well the scheduler's step times foretold the steps."""
    for kind in ("decode", "mixed"):
        groups = [g for r in runs for g in r["step_predictions"]["groups"] if g["kind"] == kind]
        steps = sum(g["num_steps"] for g in groups)
        if steps == 0:
            continue
        error = sum(g["median_error"] * g["num_steps"] for g in groups) / steps
        m.figure(part, f"{kind} steps, predicted over measured - 1", error,
                 note=f"{steps} steps; worst p90 {max(g['p90_error_size'] for g in groups):.2f}")


def batching(m, sizes):
    def run(label, how, count, seqs):
        return lambda: m.throughput("batching", label, "--workload", "mix", "--batching", how,
                                    "--num-prompts", count, "--max-num-seqs", seqs)
    key = "output_tokens_per_second"
    found = m.in_turn(sizes["mix_turns"],
                      {"continuous": run("continuous 64", "continuous", sizes["mix"], 64),
                       "static": run("rectangular 64", "static", sizes["mix"], 64)})
    ratio, note = ratio_of(found, key, "continuous", "static")
    m.at_least("batching", f"over rectangular batches of 64, {sizes['mix']} requests", ratio, 3.0,
               note)
    found = m.in_turn(sizes["mix16_turns"],
                      {"continuous": run("continuous 16", "continuous", sizes["mix16"], 16),
                       "drop": run("dropping 16", "static-drop", sizes["mix16"], 16)})
    ratio, note = ratio_of(found, key, "continuous", "drop")
    m.at_least("batching", f"over dropping batches of 16, {sizes['mix16']} requests", ratio, 1.1,
               note)


def prefix(m, sizes):
    run = m.throughput("prefix", "shared", "--workload", "shared-prefix", "--num-prompts",
                       sizes["shared"], "--num-unshared", sizes["alone"], "--prefix-len", 1024,
                       "--input-len", 32, "--output-len", 8)
    m.at_least("prefix", "share of the prefix from the cache", run["prefix_cached_share"], 0.95,
               f"{sizes['shared']} requests")
    m.at_least("prefix", "first token sooner, times", run["ttft_ratio"], 8.0,
               f"beside {sizes['alone']} requests that share nothing")


def long(m, sizes):
    def run(label, *options):
        return m.throughput("long", label, "--workload", "long-prompt", "--long-len",
                            sizes["long_len"], *options)
    runs = [run("chunked") for _ in range(sizes["long_runs"])]
    def spread(key):
        return f"{min(r[key] for r in runs):.2f} to {max(r[key] for r in runs):.2f} of {len(runs)}"
    m.at_most("long", "p99 of gaps over the median before", med(runs, "gap_ratio"), 3.0,
              spread("gap_ratio"))
    m.figure("long", "median of gaps over the median before", med(runs, "median_gap_ratio"),
             note=f"asked of a step: {runs[0]['max_slowdown']} times one without a prompt")
    m.at_most("long", "its first token, times later than alone", med(runs, "ttft_ratio"), 2.0,
              spread("ttft_ratio"))
    predicted(m, "long", runs)
    whole = run("whole", "--no-enable-chunked-prefill")
    m.figure("long", "without chunks: longest gap over the median before",
             whole["max_gap_during_ms"] / whole["median_gap_before_ms"],
             note=f"{whole['max_gap_during_ms']:.0f} ms, beside "
                  f"{median(r['max_gap_during_ms'] for r in runs):.0f} ms with chunks")


def guesses(m, sizes):
    for text, aim in (("repetitive", 1.3), ("random", 0.97)):
        def run(label, count):
            return lambda: m.throughput(
                "guesses", f"{text}, {label}", "--workload", text, "--num-speculative-tokens",
                count, "--max-num-seqs", 1, "--num-prompts", sizes["guess_prompts"], "--input-len",
                64, "--output-len", sizes["guess_len"], "--no-bounds")
        found = m.in_turn(sizes["guess_turns"], {"without": run("without", 0),
                                                 "with": run("with", 5)})
        ratio, note = ratio_of(found, "output_tokens_per_second", "with", "without")
        rate = found["with"][0].get("speculation", {}).get("acceptance_rate")
        accepted = f"; {rate:.2f} accepted" if rate is not None else "; none was made"
        m.at_least("guesses", f"{text} text, times", ratio, aim, note + accepted)


def pipeline(m, sizes):
    def run(label, split, count, seqs, *lengths):
        return lambda: m.throughput("pipeline", label, *split, "--devices", "0,1", "--num-prompts",
                                    count, "--max-num-seqs", seqs, "--input-len", lengths[0],
                                    "--output-len", lengths[1])
    one, two = ["--tp", 1, "--threads", 2], ["--pp", 2, "--threads", 1]
    key = "output_tokens_per_second"
    found = m.in_turn(sizes["pipe_turns"],
                      {"one": run("one rank, 64", one, sizes["pipe"], 64, 220, 180),
                       "two": run("two stages, 64", two, sizes["pipe"], 64, 220, 180)})
    ratio, note = ratio_of(found, key, "two", "one")
    m.at_least("pipeline", "two stages over one rank, 64 sequences", ratio, 0.93, note)
    for turn, result in enumerate(found["two"]):
        bubbles(m, "pipeline", f"run {turn + 1}", result, 0.03)
    few = m.in_turn(2, {"one": run("one rank, 4", one, sizes["few"], 4, 64, 64),
                        "two": run("two stages, 4", two, sizes["few"], 4, 64, 64)})
    ratio, note = ratio_of(few, key, "two", "one")
    m.figure("pipeline", "two stages over one rank, 4 sequences", ratio, note=note)


def bubbles(m, part, label, result, within, theory=None):
    """Measured bubbles, in percent of the window, beside the forecast or one figure for all."""
    stages = result["pipeline"]["stages"]
    measured = [s["bubble"] for s in stages]
    expected = [s["predicted_bubble"] if theory is None else theory for s in stages]
    worst = max(abs(a - b) for a, b in zip(measured, expected))
    def list_of(values):
        return " ".join(f"{100 * v:.1f}" for v in values)
    note = f"bubbles {list_of(measured)}, expected {list_of(expected)} %"
    if theory is None and part == "pipeline":
        work = " ".join(f"{s['busy_s'] + s['collectives_s']:.1f}/{s['predicted_work_s']:.1f}"
                        for s in stages)
        note += (f"; work {work} s, window {result['pipeline']['window_s']:.1f}/"
                 f"{result['pipeline']['predicted_window_s']:.1f} s (measured/predicted)")
    m.at_most(part, f"{label}: points off", 100 * worst, 100 * within, note)


def simulated(m, sizes):
    ms = sizes["stage_ms"]
    even, uneven = [ms] * 8, [ms * f / 2 for f in (1, 3, 2, 0.5, 3, 1.5, 2, 1)]
    def run(label, stages, count, output_len):
        return m.throughput("simulated", label, "--pp", 8, "--simulate-stage-ms",
                            ",".join(f"{s:g}" for s in stages), "--micro-batch-size", 1,
                            "--max-num-seqs", 32, "--num-prompts", count, "--input-len", 16,
                            "--output-len", output_len, "--max-num-batched-tokens", 16,
                            "--no-prefix-caching", "--no-bounds")
    for count in (6, 8, 32):
        result = run(f"even, {count} at once", even, count, 1)
        bubbles(m, "simulated", f"even, M = {count}, theory", result, 0.01,
                theory=7 / (count + 7))
        result = run(f"uneven, {count} at once", uneven, count, 1)
        bubbles(m, "simulated", f"uneven, M = {count}, forecast", result, 0.01)
    for count in (4, 8):
        result = run(f"decoding, ring of {count}", even, count, 12)
        bubbles(m, "simulated", f"decoding, M = {count}, forecast", result, 0.01)
    if m.args.engine_test:
        engine_test(m)


def engine_test(m):
    """The tests of simulated stages at full length: theory of one-shot runs and steady decoding."""
    environment = {**os.environ, "WEFT_FULL_TESTS": "1",
                   "WEFT_TINY_MODELS": str(m.args.tiny_models.resolve())}
    m.say("simulated: engine_test, SimulatedStages.Full*")
    done = subprocess.run([m.args.engine_test, "--gtest_filter=SimulatedStages.Full*"],
                          capture_output=True, text=True, env=environment)
    lines = [line for line in done.stdout.splitlines() if "within" in line or "[  " in line]
    m.part("simulated")["engine_test"] = lines
    passed = len(re.findall(r"\[       OK \] SimulatedStages\.Full", done.stdout))
    m.figure("simulated", "engine_test SimulatedStages.Full*, tests passed", f"{passed} of 2", "2",
             done.returncode == 0 and passed == 2)


def scheduler(m, sizes):
    run = m.throughput("scheduler", f"{sizes['seqs']} sequences", "--num-prompts", sizes["seqs"],
                       "--max-num-seqs", sizes["seqs"], "--input-len", 16, "--output-len", 64,
                       "--no-bounds")
    m.at_most("scheduler", f"us of a plan, {sizes['seqs']} sequences",
              run["schedule_us_per_step"], 50.0,
              f"with filling it {run['scheduler_us_per_step']:.0f}; caches cold after each step")


def choose_profile(m):
    if m.args.profile != "auto":
        return m.args.profile
    run = m.bench("probe", "batch of 64", "batch", "--batch-size", 64, "--input-len", 16,
                  "--output-len", 24, "--repeats", 1)
    rate = run["batches"][0]["generation_tokens_per_s"]
    return "full" if rate >= SLOW_TOKENS_PER_S else "reduced"


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--weft", type=Path, default=ROOT / "build" / "weft")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, by comma")
    parser.add_argument("--profile", default="auto", choices=["auto", *PROFILES])
    parser.add_argument("--engine-test", type=Path, help="build/tests/engine_test")
    parser.add_argument("--tiny-models", type=Path, default=ROOT / "build" / "tiny_models")
    parser.add_argument("--json", type=Path,
                        help="the file (default: bench/results/DATE-engine-MODEL.json)")
    args = parser.parse_args()
    asked = args.only.split(",")
    for part in asked:
        if part not in PARTS:
            parser.error(f"no part {part}; there are {', '.join(PARTS)}")
    m = Measurement(args)
    m.profile = choose_profile(m)
    m.say(f"profile {m.profile}: {PROFILES[m.profile]}")
    failed = False
    for part in asked:
        try:
            globals()[part](m, PROFILES[m.profile])
        except (RuntimeError, KeyError) as error:
            failed = True
            m.part(part)["error"] = f"{type(error).__name__}: {error}"
            m.say(f"{part}: {error}")
        m.write()
    print(m.table(), end="")
    print(f"written: {m.path}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
