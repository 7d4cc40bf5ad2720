#!/usr/bin/env python3
"""Writes tests/kernels/file_block_vectors.inc: raw blocks of every file type that Weft reads and
the FP32 values that gguf-py (the format's own Python package) gives for them.

    pip install gguf numpy
    python3 tools/make_block_vectors.py > tests/kernels/file_block_vectors.inc
"""
import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T
from gguf.quants import dequantize

COLUMNS = 256
# Byte offsets of f16 fields in a block: random bytes there could be NaN or Inf.
F16_FIELDS = {
    T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0],
    T.Q2_K: [80, 82], T.Q3_K: [108], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208],
    T.IQ4_NL: [0], T.IQ4_XS: [0],
}


def plain_row(rng, kind):
    """Normal, tiny, denormal and signed values."""
    x = rng.standard_normal(COLUMNS).astype(np.float32)
    x[::7] *= np.float32(1e-6)
    x[5], x[6] = 0.0, -0.0
    if kind == T.F32:
        return x.tobytes(), x
    if kind == T.F16:
        half = x.astype(np.float16)
        return half.tobytes(), half.astype(np.float32)
    half = (x.view(np.uint32) >> 16).astype(np.uint16)
    return half.tobytes(), (half.astype(np.uint32) << 16).view(np.float32)


def quantised_row(rng, kind):
    elements, size = GGML_QUANT_SIZES[kind]
    blocks = rng.integers(0, 256, (COLUMNS // elements, size), dtype=np.uint8)
    for offset in F16_FIELDS.get(kind, []):
        field = (rng.standard_normal(len(blocks)) * 0.05).astype(np.float16)
        blocks[:, offset:offset + 2] = field.view(np.uint8).reshape(-1, 2)
    if kind == T.MXFP4:
        blocks[:, 0] = rng.integers(100, 140, len(blocks))
    values = dequantize(blocks, kind).astype(np.float32).reshape(-1)
    return blocks.tobytes(), values


def lines(data):
    text = data.hex()
    return "\n".join(f'     "{text[i:i + 88]}"' for i in range(0, len(text), 88))


def main():
    rng = np.random.default_rng(20240607)
    print("// Made by tools/make_block_vectors.py; do not edit.")
    print("// {type, blocks as hexadecimal bytes, the values as little-endian FP32}")
    for kind in [T.F32, T.F16, T.BF16, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0, T.Q2_K, T.Q3_K,
                 T.Q4_K, T.Q5_K, T.Q6_K, T.IQ4_NL, T.IQ4_XS, T.MXFP4]:
        plain = kind in (T.F32, T.F16, T.BF16)
        raw, values = (plain_row if plain else quantised_row)(rng, kind)
        print(f'    {{"{kind.name}",\n{lines(raw)},\n{lines(values.tobytes())}}},')


if __name__ == "__main__":
    main()
