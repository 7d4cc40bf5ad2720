#!/usr/bin/env python3
"""Writes a GGUF model again with every matrix in BF16: real weights of that type for the tests.

    tools/make_bf16_model.py FROM.gguf TO.gguf

Matrices are dequantised and rounded to the nearest BF16 value, ties to even; tensors of one
dimension (norms, biases) become F32, as llama.cpp's converter leaves them. All metadata is copied
but the file type. The same FROM gives the same bytes.
"""

import argparse
import math
import sys
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T, GGUFValueType, LlamaFileType, quants

FILE_TYPE = "general.file_type"


def copy_metadata(reader: gguf.GGUFReader, writer: gguf.GGUFWriter):
    """The writer itself adds the version, the counts and the architecture."""
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        if field.name == FILE_TYPE:
            writer.add_file_type(LlamaFileType.MOSTLY_BF16)
            continue
        kind = field.types[0]
        element = field.types[-1] if kind == GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, element)


def shape_of(tensor: gguf.ReaderTensor) -> tuple[int, ...]:
    """Rows first; the file has it the other way round."""
    return tuple(int(size) for size in reversed(tensor.shape))


def type_of(tensor: gguf.ReaderTensor) -> T:
    return T.F32 if len(tensor.shape) == 1 else T.BF16


def encode(tensor: gguf.ReaderTensor) -> np.ndarray:
    values = quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=False)
    return np.ascontiguousarray(quants.quantize(values.reshape(shape_of(tensor)), type_of(tensor)))


def write(source: Path, path: Path):
    """Tensors are converted and written one at a time, in the order of the source."""
    reader = gguf.GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(path, architecture)
    copy_metadata(reader, writer)
    for tensor in reader.tensors:
        shape, dtype = shape_of(tensor), type_of(tensor)
        num_bytes = math.prod(shape) * (4 if dtype == T.F32 else 2)
        writer.add_tensor_info(tensor.name, shape, np.dtype(np.float32), num_bytes, dtype)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in reader.tensors:
        writer.write_tensor_data(encode(tensor))
    writer.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="FROM.gguf")
    parser.add_argument("path", type=Path, metavar="TO.gguf")
    args = parser.parse_args()
    # Under another name first: an interrupted run leaves nothing that looks whole.
    half = args.path.with_name(args.path.name + ".half")
    write(args.source, half)
    half.rename(args.path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
