#!/usr/bin/env python3
"""Makes the reference results of tests/goldens with transformers and torch (docs/goldens.md).

    tools/make_goldens.py --models FOLDER        everything; FOLDER holds the two GGUF files
    tools/make_goldens.py --only tiny            the small random models alone

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
    parser.add_argument("--only", choices=["real", "tiny"])
    parser.add_argument("--out", type=Path, default=GOLDENS)
    args = parser.parse_args()
    if args.only != "tiny" and not args.models:
        parser.error("--models is needed (or --only tiny)")
    import torch
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    summary_path = args.out / "summary.json"
    summary = json.loads(summary_path.read_text()) if summary_path.exists() else {}
    summary["made_with"] = {name: version(name) for name in ("torch", "transformers", "gguf",
                                                             "llama-cpp-python", "numpy")}
    if args.only != "tiny":
        from goldens import real_models
        text = (GOLDENS / "text" / TEXT).read_text(encoding="utf-8")
        for model in real_models.MODELS:
            summary[model.name] = real_models.make(model, args.models, text, args.out)
            print(model.name, summary[model.name], flush=True)
    if args.only != "real":
        from goldens import tiny_models
        summary["tiny"] = tiny_models.make(args.out)
        print("tiny", summary["tiny"], flush=True)
    summary_path.write_text(json.dumps(summary, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
