#!/usr/bin/env python3
"""Writes the seed corpora of the fuzz targets of files: small files, valid and nasty.

valid-* must be accepted and bad-* refused (tests/checkpoint/corpus_test.cpp). Needs nothing but
Python. Run it again after a change and commit what it writes; found-* files come from the fuzzers
and are left alone.
"""

import json
import struct
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
PACK = {U8: "<B", I8: "<b", U16: "<H", I16: "<h", U32: "<I", I32: "<i", F32: "<f", BOOL: "<B",
        U64: "<Q", I64: "<q", F64: "<d"}
GGML_F32, GGML_F16, Q4_0, Q8_0, Q4_K, Q6_K, MXFP4, BF16 = 0, 1, 2, 8, 12, 14, 39, 30


def text(s):
    data = s if isinstance(s, bytes) else s.encode()
    return struct.pack("<Q", len(data)) + data


def scalar(kind, value):
    return text(value) if kind == STRING else struct.pack(PACK[kind], value)


def value(key, kind, v):
    return text(key) + struct.pack("<I", kind) + scalar(kind, v)


def array(key, kind, values, count=None):
    count = len(values) if count is None else count
    head = text(key) + struct.pack("<IIQ", ARRAY, kind, count)
    return head + b"".join(scalar(kind, v) for v in values)


def tensor(name, ne, kind, offset):
    return (text(name) + struct.pack("<I", len(ne)) + b"".join(struct.pack("<Q", n & (2**64 - 1)) for n in ne)
            + struct.pack("<IQ", kind, offset))


def gguf(values=(), tensors=(), data=b"", *, magic=b"GGUF", version=3, num_tensors=None,
         num_values=None, alignment=32):
    num_tensors = len(tensors) if num_tensors is None else num_tensors
    num_values = len(values) if num_values is None else num_values
    head = magic + struct.pack("<IQQ", version, num_tensors, num_values)
    head += b"".join(values) + b"".join(tensors)
    if tensors:
        head += b"\0" * (-len(head) % alignment)
    return head + data


ARCH = value("general.architecture", STRING, "llama")
ONE = tensor("a", [4], GGML_F32, 0)


def nested(depth):
    """An array of arrays of arrays ..."""
    return text("deep") + struct.pack("<I", ARRAY) + struct.pack("<IQ", ARRAY, 1) * depth


def gguf_files():
    blocks = bytes(range(256)) * 8
    valid = {
        "empty": gguf(),
        "v2": gguf([ARCH], [ONE], bytes(16), version=2),
        "scalars": gguf([value("k%d" % k, k, "x" if k == STRING else 1) for k in range(13) if k != ARRAY]),
        "arrays": gguf([array("k%d" % k, k, ["ab", ""] if k == STRING else [1, 0]) for k in range(13)
                        if k != ARRAY] + [array("none", STRING, [])]),
        "types": gguf([ARCH], [
            tensor("f32", [4, 2], GGML_F32, 0), tensor("f16", [4], GGML_F16, 32),
            tensor("bf16", [4], BF16, 64), tensor("q4_0", [32], Q4_0, 96),
            tensor("q8_0", [32], Q8_0, 128), tensor("q4_k", [256], Q4_K, 192),
            tensor("q6_k", [256], Q6_K, 352), tensor("mxfp4", [32, 1, 1, 1], MXFP4, 576),
        ], blocks[:593]),
        "alignment8": gguf([value("general.alignment", U32, 8)], [ONE], bytes(16), alignment=8),
        "alignment64": gguf([value("general.alignment", U32, 64)], [ONE, tensor("b", [1], 0, 64)],
                            bytes(68), alignment=64),
        "backwards": gguf([], [tensor("a", [8], 0, 32), tensor("b", [8], 0, 0)], bytes(64)),
        "split": gguf([value("split.no", U16, 0), value("split.count", U16, 2),
                       value("split.tensors.count", I32, 2)], [ONE], bytes(16)),
        "vocabulary": gguf([ARCH, array("tokenizer.ggml.tokens", STRING, ["<s>", "a", "\u4e2d", "\U0001f600"]),
                            array("tokenizer.ggml.scores", F32, [0.0, -1.0, -2.0, -3.5]),
                            array("tokenizer.ggml.token_type", I32, [3, 1, 1, 6])]),
    }
    bad = {
        "nothing": b"",
        "magic": gguf(magic=b"GGML"),
        "version0": gguf(version=0),
        "version1": gguf(version=1),
        "version4": gguf(version=4),
        "big_endian": b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
        "counts_cut": b"GGUF" + struct.pack("<IQ", 3, 1),
        "tensors_giant": gguf(num_tensors=2**63),
        "tensors_all_bits": gguf(num_tensors=2**64 - 1),
        "values_giant": gguf(num_values=2**62),
        "values_one_more": gguf([ARCH], num_values=2),
        "key_empty": gguf([value("", U8, 1)]),
        "key_giant": gguf([struct.pack("<Q", 2**64 - 1) + b"key"]),
        "key_twice": gguf([ARCH, ARCH]),
        "key_controls": gguf([value(b"a\x1b[31m\n\xff", BOOL, 7)]),
        "string_cut": gguf([text("k") + struct.pack("<IQ", STRING, 100) + b"short"]),
        "type_unknown": gguf([text("k") + struct.pack("<I", 13) + bytes(8)]),
        "bool_2": gguf([value("k", BOOL, 2)]),
        "u64_high": gguf([value("k", U64, 2**63)]),
        "array_giant": gguf([array("k", U8, [], count=2**63)]),
        "array_strings_giant": gguf([array("k", STRING, [], count=2**61)]),
        "array_wraps": gguf([array("k", U64, [1, 2], count=2**61 + 2)]),
        "array_nested": gguf([nested(1)]),
        "array_deep": gguf([nested(300)]),
        "alignment_0": gguf([value("general.alignment", U32, 0)]),
        "alignment_1": gguf([value("general.alignment", U32, 1)]),
        "alignment_48": gguf([value("general.alignment", U32, 48)]),
        "alignment_minus": gguf([value("general.alignment", I32, -32)]),
        "alignment_text": gguf([value("general.alignment", STRING, "32")]),
        "alignment_giant": gguf([value("general.alignment", U64, 2**62)]),
        "alignment_past_end": gguf([value("general.alignment", U32, 2**31)], [ONE], bytes(16)),
        "tensor_twice": gguf([], [ONE, tensor("a", [4], 0, 32)], bytes(64)),
        "overlap": gguf([], [tensor("a", [9], 0, 0), tensor("b", [4], 0, 32)], bytes(64)),
        "overlap_same": gguf([], [ONE, tensor("b", [4], 0, 0)], bytes(64)),
        "offset_odd": gguf([], [tensor("a", [4], 0, 16)], bytes(64)),
        "offset_past_end": gguf([], [tensor("a", [4], 0, 64)], bytes(64)),
        "offset_wraps": gguf([], [tensor("a", [4], 0, 2**64 - 32)], bytes(64)),
        "data_cut": gguf([], [ONE], bytes(15)),
        "data_missing": gguf([], [ONE])[:-3],
        "dims_0": gguf([], [tensor("a", [], 0, 0)], bytes(64)),
        "dims_5": gguf([], [tensor("a", [1] * 5, 0, 0)], bytes(64)),
        "dims_giant": gguf([], [text("a") + struct.pack("<I", 2**32 - 1) + bytes(16)], bytes(64)),
        "size_0": gguf([], [tensor("a", [4, 0], 0, 0)], bytes(64)),
        "size_negative": gguf([], [tensor("a", [-4], 0, 0)], bytes(64)),
        "size_wraps": gguf([], [tensor("a", [2**32, 2**32, 4], 0, 0)], bytes(64)),
        "size_wraps_bytes": gguf([], [tensor("a", [2**62], 0, 0)], bytes(64)),
        "size_wraps_to_64": gguf([], [tensor("a", [2**62 + 16], 0, 0)], bytes(64)),
        "row_of_100": gguf([], [tensor("a", [100, 256], Q4_K, 0)], bytes(6400)),
        "tensor_iq2_xxs": gguf([], [tensor("a", [256], 16, 0)], bytes(96)),
        "tensor_type_99": gguf([], [tensor("a", [256], 99, 0)], bytes(96)),
        "tensor_name_empty": gguf([], [tensor("", [4], 0, 0)], bytes(96)),
        "tensor_cut": gguf([ARCH], [ONE], bytes(16))[:-60],
    }
    return valid, bad


def safetensors(header, data=b"", length=None):
    head = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(head) if length is None else length) + head + data


def entry(dtype="F32", shape=(2,), begin=0, end=8):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def raw(body):
    """A header of one tensor 'a', written by hand where json.dumps would not."""
    return safetensors(b'{"a":' + body + b" " * (-(len(body) + 6) % 8) + b"}", bytes(8))


def safetensors_files():
    # Headers of a multiple of 8 bytes, as the reference writer pads them.
    def padded(header, data):
        head = json.dumps(header, separators=(",", ":")).encode()
        return safetensors(head + b" " * (-len(head) % 8), data)

    valid = {
        "no_tensor": safetensors({}),
        "one": padded({"a": entry()}, bytes(8)),
        "three": padded({"__metadata__": {"format": "pt"}, "w": entry("F32", (2, 3), 0, 24),
                         "x": entry("F16", (4,), 24, 32), "y": entry("BF16", (1, 2, 1), 32, 36)}, bytes(36)),
        "scalar": padded({"a": entry("F32", (), 0, 4)}, bytes(4)),
        "order": padded({"b": entry(begin=8, end=16), "a": entry()}, bytes(16)),
        "index": json.dumps({"metadata": {"total_size": 8}, "weight_map": {
            "a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}).encode(),
    }
    good = b'{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'
    bad = {
        "nothing": b"",
        "length_cut": b"\x10\0\0",
        "length_giant": safetensors({}, length=2**64 - 1),
        "length_wraps": safetensors({}, length=2**64 - 8),
        "length_past_end": safetensors({"a": entry()}, bytes(8), length=200),
        "length_101mb": safetensors({}, length=101_000_000),
        "header_empty": safetensors(b""),
        "header_list": safetensors([]),
        "header_number": safetensors(b"12345678"),
        "header_null": safetensors(b"null    "),
        "header_cut": safetensors(b'{"a":{"dtype":'),
        "header_deep": safetensors(b"[" * 2000),
        "header_deep_object": safetensors(b'{"a":' * 500),
        "header_tail": safetensors(b"{}  {}  "),
        "header_utf8": safetensors(b'{"\xff\xfe":1}  '),
        "metadata_number": safetensors({"__metadata__": {"a": 1}}),
        "metadata_deep": safetensors({"__metadata__": {"a": {"b": "c"}}}),
        "tensor_number": safetensors({"a": 1}),
        "tensor_true": safetensors({"a": True}),
        "tensor_null": safetensors({"a": None}),
        "tensor_twice": safetensors(b'{"a":' + good + b',"a":' + good + b"}", bytes(8)),
        "field_twice": raw(b'{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}'),
        "field_unknown": raw(b'{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}'),
        "field_missing": raw(b'{"dtype":"F32","shape":[2]}'),
        "dtype_number": raw(b'{"dtype":1,"shape":[2],"data_offsets":[0,8]}'),
        "dtype_i32": padded({"a": entry("I32")}, bytes(8)),
        "dtype_controls": padded({"a\x1b[31m": entry("\n\x07" * 200)}, bytes(8)),
        "shape_text": raw(b'{"dtype":"F32","shape":"2","data_offsets":[0,8]}'),
        "shape_nested": raw(b'{"dtype":"F32","shape":[[2]],"data_offsets":[0,8]}'),
        "shape_negative": raw(b'{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}'),
        "shape_fraction": raw(b'{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}'),
        "shape_giant": raw(b'{"dtype":"F32","shape":[1e999],"data_offsets":[0,8]}'),
        "shape_64_bits": raw(b'{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,8]}'),
        "shape_zero": padded({"a": entry(shape=(0,), end=0)}, b""),
        "shape_long": padded({"a": entry(shape=(1,) * 9, end=4)}, bytes(4)),
        "shape_wraps": padded({"a": entry(shape=(2**32, 2**32, 2), end=8)}, bytes(8)),
        "offsets_one": raw(b'{"dtype":"F32","shape":[2],"data_offsets":[8]}'),
        "offsets_three": raw(b'{"dtype":"F32","shape":[2],"data_offsets":[0,8,8]}'),
        "offsets_backwards": padded({"a": entry(begin=8, end=0)}, bytes(8)),
        "offsets_past_end": padded({"a": entry(begin=8, end=16)}, bytes(8)),
        "offsets_wrap": padded({"a": entry(begin=2**63 - 8, end=2**63 - 1)}, bytes(8)),
        "size_differs": padded({"a": entry(end=4)}, bytes(8)),
        "overlap": padded({"a": entry(), "b": entry(begin=4, end=12)}, bytes(12)),
        "gap": padded({"a": entry(), "b": entry(begin=12, end=20)}, bytes(20)),
        "data_cut": padded({"a": entry()}, bytes(7)),
        "data_longer": padded({"a": entry()}, bytes(9)),
        "misaligned": padded({"h": entry("F16", (1,), 0, 2), "a": entry(begin=2, end=10)}, bytes(10)),
        "index_empty": b"{}",
        "index_no_tensor": b'{"weight_map":{}}',
        "index_list": b'{"weight_map":["a"]}',
        "index_parent": b'{"weight_map":{"a":"../a.safetensors"}}',
        "index_absolute": b'{"weight_map":{"a":"/etc/a.safetensors"}}',
        "index_other_file": b'{"weight_map":{"a":"passwd"}}',
        "index_number": b'{"weight_map":{"a":1}}',
        "index_zero_byte": b'{"weight_map":{"a":"a\\u0000.safetensors"}}',
        "index_deep": b'{"a":' + b"[" * 2000,
    }
    return valid, bad


def panels(name="a", kind=GGML_F32, rows=(0, 16), inputs=(0, 32), units=1, offset=4096, size=64,
           total="0" * 64):
    return (text(name) + struct.pack("<I", kind) + struct.pack("<QQQQQQQ", *(
        n & (2**64 - 1) for n in (*rows, *inputs, units, offset, size))) + text(total))


def panel_file(entries=(), end=4096, *, magic=b"WEFTPANL", version=1, layout=1, count=None):
    """A rank's file of a packed model that ends at byte `end`."""
    count = len(entries) if count is None else count
    head = magic + struct.pack("<IIQ", version, layout, count) + b"".join(entries)
    return (head + bytes(end))[:end]


def manifest(**changes):
    whole = {"format": "weft packed model", "format_version": 1, "panel_layout_version": 1,
             "model": "m", "source": "m.gguf", "container": "gguf",
             "split": {"tensor_parallel_size": 2, "pipeline_parallel": "", "tp_weights": "",
                       "stages": ""},
             "vectors": {"bytes": 100, "sha256": "0" * 64},
             "matrices": [{"name": "a", "type": "Q4_0", "shape": [16, 32]}],
             "ranks": [{"bytes": 8192, "table_sha256": "a" * 64}] * 2}
    return json.dumps({**whole, **changes}).encode()


def packed_files():
    one, second = panels(), panels("b", Q4_K, (16, 40), (256, 768), 2, 8192, 4096)
    valid = {
        "idle": panel_file(),
        "one": panel_file([one], 8192),
        "two": panel_file([one, second], 12288),
        "manifest": manifest(),
        "manifest_safetensors": manifest(container="safetensors", split={
            "tensor_parallel_size": 0, "pipeline_parallel": "2", "tp_weights": "2,1", "stages": ""}),
    }
    bad = {
        "nothing": b"",
        "magic": panel_file(magic=b"WEFTPANE"),
        "version0": panel_file(version=0),
        "version2": panel_file(version=2),
        "layout2": panel_file(layout=2),
        "count_giant": panel_file(count=2**63),
        "count_more": panel_file([one], 8192, count=2),
        "cut": panel_file([one], 4096),
        "cut_table": panel_file([one], 60),
        "longer": panel_file([one], 12288),
        "name_empty": panel_file([panels("")], 8192),
        "name_controls": panel_file([panels("\x1b[31m\n", kind=99)], 8192),
        "twice": panel_file([one, panels(offset=8192)], 12288),
        "type_99": panel_file([panels(kind=99)], 8192),
        "rows_backwards": panel_file([panels(rows=(16, 0))], 8192),
        "rows_negative": panel_file([panels(rows=(-16, 16))], 8192),
        "inputs_giant": panel_file([panels(inputs=(0, 2**62))], 8192),
        "units_0": panel_file([panels(units=0)], 8192),
        "units_many": panel_file([panels(units=33)], 8192),
        "offset_odd": panel_file([panels(offset=4097)], 8192),
        "offset_table": panel_file([panels(offset=0)], 8192),
        "offset_wraps": panel_file([panels(offset=2**64 - 4096)], 8192),
        "overlap": panel_file([one, panels("b", offset=4096)], 8192),
        "size_0": panel_file([panels(size=0)], 8192),
        "size_wraps": panel_file([panels(size=2**63 - 4096)], 8192),
        "sum_short": panel_file([panels(total="0" * 63)], 8192),
        "sum_controls": panel_file([panels(total="\x1b" * 64)], 8192),
        "manifest_empty": b"{}",
        "manifest_cut": manifest()[:-9],
        "manifest_deep": b'{"a":' + b"[" * 2000,
        "manifest_format": manifest(format="gguf"),
        "manifest_version": manifest(format_version=2),
        "manifest_layout": manifest(panel_layout_version=2**64 - 1),
        "manifest_container": manifest(container="../x\x1b"),
        "manifest_split_text": manifest(split="tp=2"),
        "manifest_split_giant": manifest(split={"tensor_parallel_size": 2**63}),
        "manifest_vectors": manifest(vectors={"bytes": -1, "sha256": "0" * 64}),
        "manifest_sum": manifest(vectors={"bytes": 1, "sha256": "Z" * 64}),
        "manifest_matrices": manifest(matrices=[]),
        "manifest_matrix_number": manifest(matrices=[1]),
        "manifest_type": manifest(matrices=[{"name": "a", "type": "\n", "shape": [32]}]),
        "manifest_shape": manifest(matrices=[{"name": "a", "type": "F32", "shape": [2**40, 2**40]}]),
        "manifest_shape_text": manifest(matrices=[{"name": "a", "type": "F32", "shape": ["4"]}]),
        "manifest_row_of_33": manifest(matrices=[{"name": "a", "type": "Q4_0", "shape": [33]}]),
        "manifest_ranks": manifest(ranks={}),
        "manifest_rank_bytes": manifest(ranks=[{"bytes": 2**62, "table_sha256": "0" * 64}]),
    }
    return valid, bad


def main():
    targets = {"fuzz_gguf": gguf_files(), "fuzz_safetensors": safetensors_files(),
               "fuzz_packed": packed_files()}
    for target, (valid, bad) in targets.items():
        folder = CORPUS / target
        folder.mkdir(parents=True, exist_ok=True)
        for old in [*folder.glob("valid-*"), *folder.glob("bad-*")]:
            old.unlink()
        for kind, files in {"valid": valid, "bad": bad}.items():
            for name, data in files.items():
                (folder / f"{kind}-{name}").write_bytes(data)
        print(f"{target}: {len(valid)} valid, {len(bad)} bad")


if __name__ == "__main__":
    main()
