#!/usr/bin/env python3
"""Writes the small random models that the tests name, as far as they are not there yet.

    tools/write_tiny_models.py --out FOLDER [LIST...]

LIST files (by default tests/*/tiny_models.txt) have a model a line: "PRESET TYPE: ...", or "PRESET
TYPE safetensors: ..."; what follows the colon is the tests' business, '#' begins a comment. A GGUF
model becomes FOLDER/PRESET.TYPE.gguf, a safetensors one the folder FOLDER/PRESET.TYPE. All have
seed 1, so the same list gives the same bytes. When the programs that write them change, all are
written again.
"""

import argparse
import hashlib
import shutil
import sys
from pathlib import Path

from tiny_model import gguf_file, hf_folder
from tiny_model.presets import PRESETS

TOOLS = Path(__file__).resolve().parent
SEED = 1


def wanted_models(lists):
    """(preset, type, format) in order, each once."""
    models = {}
    for path in lists:
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            words = line.split("#")[0].split(":")[0].split()
            if not words:
                continue
            if len(words) not in (2, 3) or words[0] not in PRESETS or words[2:] not in (
                    [], ["safetensors"]):
                sys.exit(f"{path}, line {number}: not 'PRESET TYPE[ safetensors]: ...'")
            models[words[0], words[1], "safetensors" if words[2:] else "gguf"] = None
    return list(models)


def writers_hash():
    digest = hashlib.sha256()
    for path in sorted((TOOLS / "tiny_model").glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def write_model(preset, type_name, model_format, path):
    """Under another name first: an interrupted run leaves nothing that looks whole."""
    half = path.with_name(path.name + ".half")
    remove(half)
    if model_format == "gguf":
        gguf_file.write(PRESETS[preset], half, type_name, SEED)
    else:
        hf_folder.write(PRESETS[preset], half, type_name, SEED)
    half.rename(path)


def remove(path):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def main():
    parser = argparse.ArgumentParser(description="writes the small random models of the tests")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("lists", nargs="*", type=Path, metavar="LIST")
    args = parser.parse_args()
    lists = args.lists or sorted(TOOLS.parent.glob("tests/*/tiny_models.txt"))
    args.out.mkdir(parents=True, exist_ok=True)
    stamp, current = args.out / "writers.sha256", writers_hash()
    if not stamp.exists() or stamp.read_text() != current:
        for path in args.out.iterdir():
            remove(path)
        stamp.write_text(current)

    written = 0
    models = wanted_models(lists)
    for preset, type_name, model_format in models:
        suffix = ".gguf" if model_format == "gguf" else ""
        path = args.out / f"{preset}.{type_name}{suffix}"
        if not path.exists():
            write_model(preset, type_name, model_format, path)
            written += 1
    print(f"write_tiny_models: {len(models)} models in {args.out}, {written} written now",
          file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
