#!/usr/bin/env python3
"""Faults, one after another, in models that run over hosts of network namespaces. By hand.

    tests/comm/inject_faults.py MODEL.gguf RECORD.jsonl [--count 200] [--weft build/weft]

Each runs `weft run` over two or three hosts (tools/hosts), as tensor or pipeline ranks, and does
one thing to one rank while the model loads, the prompt is read or the answer is generated:

    kill      SIGKILL                        freeze    SIGSTOP
    cut       its host loses the wire        version   it is another commit's program
    file      its host has another file of the model's name: one that breaks off, one whose
              metadata differ, one with a changed byte among the weights (--verify-weights)
    late      it starts seconds later: no fault, the answer has to come
    never     it never starts
    prefill   nothing: a prompt that takes more than ten minutes to read is answered (--only prefill;
              by the portable kernels, and best on one core: taskset -c 1 ... --prompt-tokens 8000)

What has to come of it: within the fault's deadline all of it has ended, with an error that names the
rank, its host and a phase (a version, a file: both hosts; never: how many came), and no process is
left. RECORD has a line a fault; the same command goes on where it ended, and at the end says what
failed.
"""

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Seconds from the fault to the end of all: a silent process is given up after 6, and killed then;
# mpirun needs a second to notice, two to kill. A start may take a minute.
DEADLINES = {"kill": 12, "freeze": 16, "cut": 16, "version": 30, "file": 30, "late": 90, "never": 80,
             "prefill": 5400}
# Out of 40; a prefill is asked for by name.
SHARES = {"kill": 12, "freeze": 9, "cut": 9, "version": 3, "file": 4, "late": 2, "never": 1}
NO_FAULTS = ("late", "prefill")
# mpirun's own where it noticed first: that a rank was killed (137), that a host is gone (1, 205).
EXIT_CODES = {"kill": (5, 137), "freeze": (5,), "cut": (1, 5, 205), "version": (5,), "file": (3,),
              "never": (5,), "late": (0,), "prefill": (0,)}
LONG_PROMPT_S = 600
SPLITS = {2: (["--tp", "2"], ["--pp", "2"]), 3: (["--tp", "3"], ["--pp", "3"])}
PROMPT = "Count to a thousand: " + "one two three four five six seven eight nine ten " * 60


def plan(index, only):
    """The fault of this number, the same in every run."""
    dice = random.Random(index)
    hosts = dice.choice((2, 3))
    kinds = [kind for kind, share in SHARES.items() for _ in range(share)]
    kind = dice.choice(kinds)
    fault = {"index": index, "kind": only or kind, "hosts": hosts,
             "split": dice.choice(SPLITS[hosts]), "rank": dice.randrange(1, hosts),
             "phase": dice.choice(("load", "prompt", "generation")), "wait_s": dice.uniform(0, 1.0)}
    if fault["kind"] == "file":
        fault |= {"phase": "load", "file": dice.choice(("shorter", "other metadata", "other byte"))}
    if fault["kind"] == "prefill":
        fault |= {"phase": "prompt", "hosts": 2, "rank": 1, "split": ["--tp", "2"]}
    return fault


def processes(folder):
    """Process id -> rank of those that belong to these hosts; None: mpirun and its kin."""
    found = {}
    mark = f"HOSTS_FOLDER={folder}".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
            name = (entry / "comm").read_text().strip()
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if mark not in variables or state == "Z":
            continue
        ranks = [value for value in variables if value.startswith(b"OMPI_COMM_WORLD_RANK=")]
        is_rank = name.startswith("weft") and ranks
        found[int(entry.name)] = int(ranks[0].partition(b"=")[2]) if is_rank else None
    return found


def await_that(condition, limit_s, what):
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise RuntimeError(f"{what}: not within {limit_s} s")


def another_version(weft, folder):
    """The same program, said to be of another commit."""
    version = subprocess.run([weft, "--version"], capture_output=True, text=True).stdout
    commit = re.search(r"\((\w+)\)", version)[1]
    other = ("0" if commit[0] != "0" else "1") + commit[1:]
    path = Path(folder) / "weft-of-another-commit"
    path.write_bytes(Path(weft).read_bytes().replace(commit.encode(), other.encode()))
    path.chmod(0o755)
    return path


def another_file(fault, model, folder):
    """What this host has in the model's place."""
    content = bytearray(model.read_bytes())
    if fault["file"] == "shorter":
        del content[len(content) * 2 // 3:]
    elif fault["file"] == "other metadata":
        content[content.index(b"general.name")] ^= 0x20
    else:
        content[len(content) * 4 // 5 + 1] ^= 0x10  # far from metadata
    path = Path(folder) / "another-file.gguf"
    path.write_bytes(content)
    return path


def before(fault, weft, model, folder):
    """What the shell of the rank does first, or in place of the program."""
    if fault["kind"] == "prefill":
        return "export WEFT_ISA=portable;"
    action = {"late": "sleep 6", "never": "exec sleep 1000"}.get(fault["kind"])
    if fault["kind"] == "version":
        action = f'exec {another_version(weft, folder)} "$@"'
    if fault["kind"] == "file":
        path = another_file(fault, model, folder)
        action = (f"exec unshare --mount sh -c 'mount --bind {path} {model} && exec {weft} \"$@\"'"
                  ' weft "$@"')
    return f'[ "$OMPI_COMM_WORLD_RANK" = {fault["rank"]} ] && {action};' if action else ""


def script(fault, weft, model, folder):
    """What each process runs, as a shell reads it; and the answer where one has to come."""
    tokens = 40 if fault["kind"] in NO_FAULTS else 4000
    words = ["run", model, "--ignore-eos", "-n", tokens, "--threads", 1]
    prompt = Path(folder) / "prompt"
    if fault["kind"] == "prefill":
        prompt.write_text("one " * fault["prompt_tokens"])
    else:
        prompt.write_text(PROMPT)
        words += ["--ctx-size", 8192]
    if fault.get("file") == "other byte":
        words.append("--verify-weights")
    words = list(map(str, words))
    if fault["kind"] in NO_FAULTS:
        fault["expected"] = subprocess.run([weft, *words, "-p", "-"], text=True, check=True,
                                           input=prompt.read_text(), capture_output=True).stdout
    return ["sh", "-c", f'{before(fault, weft, model, folder)} exec {weft} "$@" -p - < {prompt}',
            "weft", *words, *fault["split"]]


def strike(fault, folder):
    """Does it; when."""
    pid = await_that(lambda: next((pid for pid, rank in processes(folder).items()
                                   if rank == fault["rank"]), None), 30, "the rank's start")
    if fault["phase"] == "load":
        # It has joined once the model is mapped.
        model = fault["model"].encode()
        await_that(lambda: model in Path(f"/proc/{pid}/maps").read_bytes(), 30, "its load")
    elif fault["phase"] == "prompt":
        await_that(lambda: b"loaded" in fault["output"].read_bytes(), 60, "the end of the load")
    else:
        await_that(lambda: fault["answer"].stat().st_size > 0, 90, "the answer's beginning")
        time.sleep(fault["wait_s"])
    if fault["kind"] == "cut":
        (Path(folder) / "control").write_text(f"cut h{fault['rank'] + 1}\n")
    else:
        os.kill(pid, signal.SIGKILL if fault["kind"] == "kill" else signal.SIGSTOP)
    return time.monotonic()


def expected_words(fault):
    """What some line has to say; of a lost rank also in what it was seen last."""
    rank, host = fault["rank"], f"h{fault['rank'] + 1}"
    seen = r"(start|load|prompt|generation) \("
    return {"version": rf"different versions of weft(.*\n)*.*\({host}\)",
            "file": rf"different models under (.*\n)*.*\({host}\)|process {rank} \({host}\): .*gguf",
            "never": "not all processes that mpirun starts came"}.get(
                fault["kind"], rf"(?m)^(weft: )+(rank|process) {rank} \({host}\).*last seen in {seen}")


def judge(fault, code, said, seconds, answered):
    """What is wrong with how it ended; empty where nothing is."""
    kind = fault["kind"]
    if code not in EXIT_CODES[kind]:
        return f"exit code {code}"
    if kind not in NO_FAULTS:
        expected = expected_words(fault)
        return "" if re.search(expected, said) else f"no error says '{expected}'"
    if kind == "prefill" and seconds < LONG_PROMPT_S:
        return f"it took less than {LONG_PROMPT_S} s: more --prompt-tokens, fewer cores"
    return "" if answered == fault["expected"] else "another answer than one process gives"


def run_fault(fault, weft, model):
    with tempfile.TemporaryDirectory() as folder:
        fault = {**fault, "model": str(model), "output": Path(folder) / "err",
                 "answer": Path(folder) / "out"}
        command = [sys.executable, "-B", ROOT / "tools" / "hosts", str(fault["hosts"]), "--", "sh",
                   "-c", f"echo $HOSTS_FOLDER > {folder}/hosts; exec \"$@\"", "sh", "mpirun", "-np",
                   str(fault["hosts"]), *script(fault, weft, model, folder)]
        with open(fault["output"], "wb") as output, open(fault["answer"], "wb") as answer:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=answer,
                                       stderr=output)
        hosts_file = Path(folder) / "hosts"
        hosts = await_that(lambda: hosts_file.exists() and hosts_file.read_text().strip(), 30,
                           "the hosts' start")
        began = time.monotonic()
        problem = ""
        try:
            if fault["kind"] in ("kill", "freeze", "cut"):
                began = strike(fault, hosts)
            code = process.wait(timeout=DEADLINES[fault["kind"]])
        except (OSError, RuntimeError, subprocess.TimeoutExpired) as failure:
            is_late = isinstance(failure, subprocess.TimeoutExpired)
            problem = f"not over after {failure.timeout} s" if is_late else str(failure)
            process.terminate()
            code = process.wait(timeout=30)
        seconds = time.monotonic() - began
        said = fault["output"].read_text(errors="replace")
        problem = problem or judge(fault, code, said, seconds, fault["answer"].read_text())
        try:
            await_that(lambda: not processes(hosts), 5, "the end of all processes")
        except RuntimeError as failure:
            problem = problem or str(failure)
        words = [line for line in said.splitlines() if line.startswith("weft: ")]
        return {"exit_code": code, "seconds": round(seconds, 2), "problem": problem,
                "said": words[:3], **({"output": said[-3000:]} if problem else {})}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("record", type=Path)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--only", choices=DEADLINES, help="this kind")
    parser.add_argument("--prompt-tokens", type=int, default=8000, help="of a prefill")
    parser.add_argument("--weft", default=ROOT / "build" / "weft", type=Path)
    options = parser.parse_args()
    done = {}
    if options.record.exists():
        for line in options.record.read_text().splitlines():
            found = json.loads(line)
            done[found["index"]] = found
    for index in range(options.first, options.first + options.count):
        if index in done:
            continue
        fault = plan(index, options.only)
        if fault["kind"] == "prefill":
            fault["prompt_tokens"] = options.prompt_tokens
        done[index] = {**fault, **run_fault(fault, options.weft.resolve(), options.model.resolve())}
        with open(options.record, "a", encoding="utf-8") as record:
            record.write(json.dumps(done[index]) + "\n")
        print(index, fault["kind"], fault["phase"], done[index]["seconds"],
              done[index]["problem"] or "ok", flush=True)
    for kind in DEADLINES:
        rows = [row for row in done.values() if row["kind"] == kind]
        failed = [row["index"] for row in rows if row["problem"]]
        longest = max((row["seconds"] for row in rows), default=0)
        print(f"{kind:8} {len(rows):4} faults, {len(failed)} failed {failed or ''}, longest "
              f"{longest:.1f} s")
    return 1 if any(row["problem"] for row in done.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
