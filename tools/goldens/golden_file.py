"""The two file formats of tests/goldens, little-endian, unaligned, read front to back.

A string is u32 length and UTF-8 bytes. Arrays are rows first.

top-k file (WEFTTOP1): magic[8], u32 num_cases, u32 vocab_size, str model, then each case:
    str name, str text, u32 flags, u32 num_tokens, u32 num_prompt_tokens, i32 ids[num_tokens],
    f32 next_logprobs[num_tokens - 1]           log p(ids[p + 1] | ids[0..p])
    u32 num_positions, u32 k,                   num_positions = num_tokens - 1, or 0
    i32 top_ids[num_positions, k], f32 top_logprobs[num_positions, k]   best first

logits file (WEFTLOG1): magic[8], u32 num_cases, then each case:
    str preset, str type, str format, u32 num_tokens, i32 ids[num_tokens],
    u32 num_positions, u32 vocab_size, f32 logits[num_positions, vocab_size]   the last positions
"""

import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

TOP_MAGIC = b"WEFTTOP1"
LOGITS_MAGIC = b"WEFTLOG1"

ADDED_SPECIAL = 1  # ids = encode(text) with the BOS the model asks for
PARSED_SPECIAL = 2  # "<|im_start|>" in the text is one token
PERPLEXITY = 4  # every next_logprob of this case counts towards the perplexity


@dataclass
class TopCase:
    name: str
    text: str
    flags: int
    num_prompt_tokens: int
    ids: list[int]
    next_logprobs: np.ndarray
    top_ids: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.int32))
    top_logprobs: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))


@dataclass
class LogitsCase:
    preset: str
    type_name: str
    file_format: str
    ids: list[int]
    logits: np.ndarray


def _text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<I", len(raw)) + raw


def write_top_file(path: Path, model: str, vocab_size: int, cases: list[TopCase]):
    out = [TOP_MAGIC, struct.pack("<II", len(cases), vocab_size), _text(model)]
    for case in cases:
        out += [_text(case.name), _text(case.text),
                struct.pack("<III", case.flags, len(case.ids), case.num_prompt_tokens),
                np.asarray(case.ids, "<i4").tobytes(),
                np.asarray(case.next_logprobs, "<f4").tobytes(),
                struct.pack("<II", *case.top_ids.shape),
                np.asarray(case.top_ids, "<i4").tobytes(),
                np.asarray(case.top_logprobs, "<f4").tobytes()]
    path.write_bytes(b"".join(out))


def write_logits_file(path: Path, cases: list[LogitsCase]):
    out = [LOGITS_MAGIC, struct.pack("<I", len(cases))]
    for case in cases:
        out += [_text(case.preset), _text(case.type_name), _text(case.file_format),
                struct.pack("<I", len(case.ids)), np.asarray(case.ids, "<i4").tobytes(),
                struct.pack("<II", *case.logits.shape),
                np.asarray(case.logits, "<f4").tobytes()]
    path.write_bytes(b"".join(out))
