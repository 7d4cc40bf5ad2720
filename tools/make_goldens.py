#!/usr/bin/env python3
"""Makes the reference results of tests/goldens with transformers and torch (docs/goldens.md).

    tools/make_goldens.py --models FOLDER        everything; FOLDER holds the real GGUF files
    tools/make_goldens.py --only tiny            the small random models alone
    tools/make_goldens.py --models FOLDER --only smollm2-135m-bf16     one real model alone

Needs tools/requirements.txt. Runs on one thread, so that one machine always gives one result.
"""

import argparse
import json
import os
import sys
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent
GOLDENS = ROOT / "tests" / "goldens"
TEXT = "newton_opticks_1730.txt"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, help="folder with the real GGUF files")
    parser.add_argument("--only", metavar="WHICH", help="real, tiny, or the name of a real model")
    parser.add_argument("--out", type=Path, default=GOLDENS)
    args = parser.parse_args()
    if args.only != "tiny" and not args.models:
        parser.error("--models is needed (or --only tiny)")
    import torch
    torch.set_num_threads(1)
    from goldens import real_models, tiny_models
    names = [model.name for model in real_models.MODELS]
    if args.only not in (None, "real", "tiny", *names):
        parser.error(f"--only takes real, tiny, {', '.join(names)}")
    args.out.mkdir(parents=True, exist_ok=True)
    summary_path = args.out / "summary.json"
    summary = json.loads(summary_path.read_text()) if summary_path.exists() else {}
    summary["made_with"] = {name: version(name) for name in ("torch", "transformers", "gguf",
                                                             "llama-cpp-python", "numpy")}
    text = (GOLDENS / "text" / TEXT).read_text(encoding="utf-8")
    for model in real_models.MODELS:
        if args.only in (None, "real", model.name):
            summary[model.name] = real_models.make(model, args.models, text, args.out)
            print(model.name, summary[model.name], flush=True)
    if args.only in (None, "tiny"):
        summary["tiny"] = tiny_models.make(args.out)
        print("tiny", summary["tiny"], flush=True)
    # One order, whatever was made anew.
    summary = {name: summary[name] for name in ("made_with", *names, "tiny") if name in summary}
    summary_path.write_text(json.dumps(summary, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
