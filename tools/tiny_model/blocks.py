"""Values or random bits -> the bytes of one tensor, rows first: uint8 [num_rows, row_bytes].

gguf-py quantises the simple formats. For the others (K-quants, IQ4, MXFP4), and for exact-shape
models where speed counts, blocks are filled with random bits whose scales are then set so that the
weights have the wanted standard deviation: valid, lively, and without a quantiser's search.
"""

import math

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T
from gguf.quants import quantize

UNQUANTIZED = (T.F32, T.F16, T.BF16)
QUANTIZED_BY_GGUF = (T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0)
BLOCK_BYTES_AT_ONCE = 1 << 24  # another value gives other bytes of larger tensors
VALUES_AT_ONCE = 1 << 18


def encode(values: np.ndarray, dtype: T) -> np.ndarray:
    """Values -> bytes, for F32, F16, BF16 and what gguf-py quantises."""
    if dtype == T.F32:
        return values.astype(np.float32).view(np.uint8)
    if dtype == T.F16:
        return values.astype(np.float16).view(np.uint8)
    if dtype == T.BF16:
        return _bf16(values).view(np.uint8)
    return quantize(values, dtype)


def _bf16(values: np.ndarray) -> np.ndarray:
    """Rounds to nearest even, as gguf-py does for finite values, a cacheful at a time."""
    flat = values.reshape(-1).view(np.uint32)
    out = np.empty(flat.size, np.uint16)
    for begin in range(0, flat.size, VALUES_AT_ONCE):
        bits = flat[begin:begin + VALUES_AT_ONCE]
        odd = (bits >> np.uint32(16)) & np.uint32(1)
        out[begin:begin + VALUES_AT_ONCE] = (bits + odd + np.uint32(0x7FFF)) >> np.uint32(16)
    return out.reshape(values.shape)


def random_blocks(stream: np.random.PCG64, dtype: T, shape: tuple[int, ...], std: float):
    """Random valid blocks of a quantised type, weights of mean near 0 and the given deviation."""
    block_elements, block_bytes = GGML_QUANT_SIZES[dtype]
    num_blocks = math.prod(shape) // block_elements
    out = np.empty((num_blocks, block_bytes), np.uint8)
    at_once = BLOCK_BYTES_AT_ONCE // block_bytes
    for begin in range(0, num_blocks, at_once):
        end = min(num_blocks, begin + at_once)
        num_words = (end - begin) * (block_bytes + 8) // 8 + 1
        bits = stream.random_raw(num_words).view(np.uint8)
        blocks = bits[:(end - begin) * block_bytes].reshape(-1, block_bytes)
        jitter = bits[(end - begin) * block_bytes:][:end - begin]
        _SET_SCALES[dtype](blocks, jitter, std)
        out[begin:end] = blocks
    return out.reshape(*shape[:-1], -1)


def _f16_bytes(jitter: np.ndarray, scale: float) -> np.ndarray:
    """Block scales between 0.75 and 1.25 of `scale`, F16, as bytes [num_blocks, 2]."""
    factor = (jitter.astype(np.float32) + np.float32(384.0)) * np.float32(scale / 512.0)
    return factor.astype(np.float16).reshape(-1, 1).view(np.uint8)


def _signed_f16_bytes(blocks, jitter, scale):
    """As _f16_bytes with a random sign, which keeps codes that lean to one side centred."""
    magnitude = _f16_bytes(jitter, scale)
    magnitude[:, 1] |= blocks[:, 1] & np.uint8(128)
    return magnitude


def _q4_0(blocks, jitter, std):
    blocks[:, 0:2] = _signed_f16_bytes(blocks, jitter, std / 4.64)  # codes -8..7


def _q4_1(blocks, jitter, std):
    blocks[:, 0:2] = _f16_bytes(jitter, std / 4.61)
    blocks[:, 2:4] = _f16_bytes(jitter, -7.5 * std / 4.61)


def _q5_0(blocks, jitter, std):
    blocks[:, 0:2] = _signed_f16_bytes(blocks, jitter, std / 9.25)


def _q5_1(blocks, jitter, std):
    blocks[:, 0:2] = _f16_bytes(jitter, std / 9.23)
    blocks[:, 2:4] = _f16_bytes(jitter, -15.5 * std / 9.23)


def _q8_0(blocks, jitter, std):
    blocks[:, 0:2] = _f16_bytes(jitter, std / 73.9)


def _q2_k(blocks, jitter, std):
    """Scales 8..15 in the low halves, and minimums within one of them in the high halves."""
    scales = blocks[:, 0:16]
    low = (scales & np.uint8(7)) | np.uint8(8)
    blocks[:, 0:16] = low | ((low ^ (scales >> np.uint8(7))) << np.uint8(4))
    scale = std / (11.7 * 1.118)
    blocks[:, 80:82] = _f16_bytes(jitter, scale)
    blocks[:, 82:84] = _f16_bytes(jitter, 1.5 * scale)


def _q3_k(blocks, jitter, std):
    blocks[:, 108:110] = _f16_bytes(jitter, std / (18.5 * 2.35))


def _set_k_scales(packed):
    """The 12 bytes of 6-bit scales and minimums of Q4_K and Q5_K: scales 32..63, each minimum
    within 7 of its scale, so that dmin = mean code * d centres the weights."""
    scales = (packed[:, 0:8] & np.uint8(31)) | np.uint8(32)
    minimums = scales ^ (packed[:, 0:8] >> np.uint8(5))
    packed[:, 0:4] = scales[:, 0:4] | ((scales[:, 4:8] >> np.uint8(4)) << np.uint8(6))
    packed[:, 4:8] = minimums[:, 0:4] | ((minimums[:, 4:8] >> np.uint8(4)) << np.uint8(6))
    packed[:, 8:12] = ((scales[:, 4:8] & np.uint8(15))
                       | ((minimums[:, 4:8] & np.uint8(15)) << np.uint8(4)))


def _q4_k(blocks, jitter, std):
    _set_k_scales(blocks[:, 4:16])
    scale = std / (48.4 * 4.61)
    blocks[:, 0:2] = _f16_bytes(jitter, scale)
    blocks[:, 2:4] = _f16_bytes(jitter, 7.5 * scale)


def _q5_k(blocks, jitter, std):
    _set_k_scales(blocks[:, 4:16])
    scale = std / (48.4 * 9.23)
    blocks[:, 0:2] = _f16_bytes(jitter, scale)
    blocks[:, 2:4] = _f16_bytes(jitter, 15.5 * scale)


def _q6_k(blocks, jitter, std):
    """Signed scales of 64..127 or -128..-65: the sign bit stays random."""
    scales = blocks[:, 192:208]
    negative = (scales >> np.uint8(7)).astype(bool)
    size = (scales & np.uint8(63)) | np.uint8(64)
    blocks[:, 192:208] = np.where(negative, ~size, size)
    blocks[:, 208:210] = _f16_bytes(jitter, std / (97.3 * 18.5))


def _iq4_nl(blocks, jitter, std):
    blocks[:, 0:2] = _signed_f16_bytes(blocks, jitter, std / 70.0)


def _iq4_xs(blocks, jitter, std):
    blocks[:, 0:2] = _f16_bytes(jitter, std / (18.5 * 70.0))


def _mxfp4(blocks, jitter, std):
    """Scales are powers of two: the two around the wanted one, mixed to its variance."""
    wanted = math.log2(std / 2.926)  # 2.926: deviation of the 16 codes
    exponent = math.floor(wanted)
    share_of_larger = (4.0 ** (wanted - exponent) - 1.0) / 3.0
    blocks[:, 0] = 127 + exponent + (jitter < 256.0 * share_of_larger)


_SET_SCALES = {T.Q4_0: _q4_0, T.Q4_1: _q4_1, T.Q5_0: _q5_0, T.Q5_1: _q5_1, T.Q8_0: _q8_0,
               T.Q2_K: _q2_k, T.Q3_K: _q3_k, T.Q4_K: _q4_k, T.Q5_K: _q5_k, T.Q6_K: _q6_k,
               T.IQ4_NL: _iq4_nl, T.IQ4_XS: _iq4_xs, T.MXFP4: _mxfp4}
