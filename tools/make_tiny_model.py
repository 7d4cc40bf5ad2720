#!/usr/bin/env python3
"""Writes a model with random weights: the same preset, type and seed give the same bytes.

    tools/make_tiny_model.py --list
    tools/make_tiny_model.py --preset heads15kv5 --type Q4_K --out /path/model.gguf
    tools/make_tiny_model.py --preset gemma3 --format safetensors --type BF16 --out /path/folder

Needs numpy and gguf (tools/requirements.txt). A plain type applies to every matrix; a mix such as
Q4_K_M chooses per tensor as llama.cpp's quantiser does. Rows that a block does not divide fall
back to another type. Norms and biases are always F32 in GGUF.
"""

import argparse
import sys
from pathlib import Path

from tiny_model import gguf_file, hf_folder
from tiny_model.file_types import PLAIN, TYPE_NAMES
from tiny_model.presets import PRESETS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, metavar="NAME", help="see --list")
    parser.add_argument("--list", action="store_true", help="print presets and types")
    parser.add_argument("--type", default="F32", choices=TYPE_NAMES, metavar="TYPE",
                        help="element type or mix (default F32)")
    parser.add_argument("--output-type", choices=PLAIN, metavar="TYPE",
                        help="another type for the head (the embedding where they are tied)")
    parser.add_argument("--format", default="gguf", choices=["gguf", "safetensors"])
    parser.add_argument("--shards", type=int, default=1, metavar="N",
                        help="safetensors files, with an index where N > 1")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="a file (gguf) or a folder (safetensors)")
    args = parser.parse_args()
    if args.list:
        print_presets()
        return 0
    if not args.preset or not args.out:
        parser.error("--preset and --out are needed (or --list)")
    preset = PRESETS[args.preset]
    if args.format == "gguf":
        output_type = PLAIN[args.output_type] if args.output_type else None
        gguf_file.write(preset, args.out, args.type, args.seed, output_type)
    else:
        hf_folder.write(preset, args.out, args.type, args.seed, args.shards)
    return 0


def print_presets():
    print("types:", " ".join(TYPE_NAMES))
    for p in PRESETS.values():
        print(f"{p.name:16} {p.arch:8} layers {p.num_layers:2} hidden {p.hidden_size:4} heads "
              f"{p.num_heads:2}/{p.num_kv_heads} of {p.head_dim:3} ffn {p.ffn_size:5} vocab "
              f"{p.vocab_size:6} {'tied  ' if p.tied else 'untied'}  {p.about}")


if __name__ == "__main__":
    sys.exit(main())
