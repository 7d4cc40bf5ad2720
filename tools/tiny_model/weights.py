"""Shape -> float tensors, deterministic to the bit.

The numbers come from the raw 64-bit stream of numpy's PCG64 (a stream numpy promises not to
change; its normal distribution carries no such promise). A weight is the centred sum of the four
16-bit parts of one draw, nearly normal, times one FP32 factor.

Magnitudes keep a random model lively: attention looks at few tokens, layers outweigh the
embedding (a tied model would otherwise repeat its input), and logits spread by about 3.
"""

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .presets import Preset

LOGIT_STD = 3.0
SUM_OF_FOUR_STD = 2.0 * 65536.0 / math.sqrt(12.0)
DRAWS_AT_ONCE = 1 << 18  # stays in the second-level cache
PAIR_MASK = np.uint64(0x0000FFFF0000FFFF)


@dataclass(frozen=True)
class Tensor:
    """One tensor in Hugging Face layout, rows first, with what GGUF needs to know of it."""
    hf_name: str
    gguf_name: str
    shape: tuple[int, ...]
    std: float  # of the random part
    mean: float = 0.0  # norms only
    grid: int = 0  # 1-D tensors lie on multiples of 1/grid, exact in BF16
    permute_heads: int = 0  # heads whose rows GGUF interleaves (llama's q and k)
    gguf_adds_one: bool = False  # Gemma's norms multiply by 1 + weight; GGUF stores the sum


def tensors_of(preset: Preset) -> Iterator[Tensor]:
    """All tensors of the model, in file order."""
    residual, step = _residual_scales(preset)
    hidden = preset.hidden_size
    if preset.tied:
        embedding_std = LOGIT_STD / math.sqrt(hidden)
    else:
        embedding_std = residual
    yield Tensor("model.embed_tokens.weight", "token_embd.weight", (preset.vocab_size, hidden),
                 embedding_std)
    for layer in range(preset.num_layers):
        yield from _attention(preset, layer, step)
        yield from _mlp(preset, layer, step)
    yield _norm(preset, "model.norm.weight", "output_norm.weight", hidden)
    if not preset.tied:
        yield Tensor("lm_head.weight", "output.weight", (preset.vocab_size, hidden),
                     LOGIT_STD / math.sqrt(hidden))


def _residual_scales(preset: Preset) -> tuple[float, float]:
    """RMS of the embedded token, and of what each half layer adds to it."""
    if not preset.tied:
        residual, growth = 0.5, 2.0
    elif preset.is_gemma:  # multiplies the embedding by sqrt(hidden)
        residual, growth = LOGIT_STD, 8.0
    else:
        residual, growth = LOGIT_STD / math.sqrt(preset.hidden_size), 8.0
    return residual, growth * residual / math.sqrt(2 * preset.num_layers)


def _norm(preset: Preset, hf_name: str, gguf_name: str, size: int, mean: float = 1.0) -> Tensor:
    if preset.is_gemma:
        return Tensor(hf_name, gguf_name, (size,), 0.2 * mean, round(mean * 16) / 16 - 1.0,
                      grid=16, gguf_adds_one=True)
    return Tensor(hf_name, gguf_name, (size,), 0.15 * mean, mean, grid=64)


def _attention(preset: Preset, layer: int, step: float) -> Iterator[Tensor]:
    hf, gguf = f"model.layers.{layer}.", f"blk.{layer}."
    hidden = preset.hidden_size
    interleaved = preset.gguf_arch == "llama"
    yield _norm(preset, hf + "input_layernorm.weight", gguf + "attn_norm.weight", hidden)
    for part, size, gain, heads in (("q", preset.q_size, 1.2, preset.num_heads),
                                    ("k", preset.kv_size, 1.2, preset.num_kv_heads),
                                    ("v", preset.kv_size, 1.0, 0)):
        names = hf + f"self_attn.{part}_proj.", gguf + f"attn_{part}."
        permute = heads if interleaved else 0
        yield Tensor(names[0] + "weight", names[1] + "weight", (size, hidden),
                     gain / math.sqrt(hidden), permute_heads=permute)
        if preset.attention_bias:
            yield Tensor(names[0] + "bias", names[1] + "bias", (size,), 0.3, grid=64,
                         permute_heads=permute)
    if preset.has_qk_norm:
        for part in "qk":
            yield _norm(preset, hf + f"self_attn.{part}_norm.weight",
                        gguf + f"attn_{part}_norm.weight", preset.head_dim, 1.25)
    yield Tensor(hf + "self_attn.o_proj.weight", gguf + "attn_output.weight",
                 (hidden, preset.q_size), _output_std(preset, step, preset.q_size))
    if preset.attention_bias and interleaved:
        yield Tensor(hf + "self_attn.o_proj.bias", gguf + "attn_output.bias", (hidden,), 0.1,
                     grid=64)
    if preset.is_gemma:
        yield _norm(preset, hf + "post_attention_layernorm.weight",
                    gguf + "post_attention_norm.weight", hidden, step)


def _mlp(preset: Preset, layer: int, step: float) -> Iterator[Tensor]:
    hf, gguf = f"model.layers.{layer}.", f"blk.{layer}."
    hidden, ffn = preset.hidden_size, preset.ffn_size
    norm_name = "pre_feedforward_layernorm" if preset.is_gemma else "post_attention_layernorm"
    yield _norm(preset, hf + norm_name + ".weight", gguf + "ffn_norm.weight", hidden)
    for part, shape, std in (("gate", (ffn, hidden), 1.5 / math.sqrt(hidden)),
                             ("up", (ffn, hidden), 1.0 / math.sqrt(hidden)),
                             ("down", (hidden, ffn), _output_std(preset, step, ffn))):
        names = hf + f"mlp.{part}_proj.", gguf + f"ffn_{part}."
        yield Tensor(names[0] + "weight", names[1] + "weight", shape, std)
        if preset.mlp_bias:
            yield Tensor(names[0] + "bias", names[1] + "bias", (shape[0],), 0.1, grid=64)
    if preset.is_gemma:
        yield _norm(preset, hf + "post_feedforward_layernorm.weight",
                    gguf + "post_ffw_norm.weight", hidden, step)


def _output_std(preset: Preset, step: float, num_inputs: int) -> float:
    """Inputs of o and down have an RMS near 0.7; a post norm makes their scale irrelevant."""
    return (1.0 if preset.is_gemma else step) / (0.7 * math.sqrt(num_inputs))


def bit_stream(seed: int, name: str) -> np.random.PCG64:
    """The random bits of one tensor: a function of the seed and the tensor's name alone."""
    return np.random.PCG64(np.random.SeedSequence([seed, zlib.crc32(name.encode())]))


def values_of(tensor: Tensor, seed: int) -> np.ndarray:
    """FP32 values in Hugging Face layout."""
    stream = bit_stream(seed, tensor.hf_name)
    count = math.prod(tensor.shape)
    values = np.empty(count, np.float32)
    factor = np.float32(tensor.std / SUM_OF_FOUR_STD)
    for begin in range(0, count, DRAWS_AT_ONCE):
        end = min(count, begin + DRAWS_AT_ONCE)
        draws = stream.random_raw(end - begin)
        pairs = (draws & PAIR_MASK) + ((draws >> np.uint64(16)) & PAIR_MASK)
        sums = (pairs + (pairs >> np.uint64(32))).astype(np.uint32) & np.uint32(0x3FFFF)
        centred = sums.astype(np.int32) - np.int32(2 * 65535)
        np.multiply(centred, factor, out=values[begin:end], dtype=np.float32,
                    casting="unsafe")
    if tensor.grid:
        values = np.rint((values + np.float32(tensor.mean)) * np.float32(tensor.grid))
        values = values * np.float32(1.0 / tensor.grid)
    return values.reshape(tensor.shape)


def to_gguf_layout(tensor: Tensor, values: np.ndarray) -> np.ndarray:
    """What GGUF stores: q and k rows interleaved for llama's RoPE, Gemma's norms plus one."""
    if tensor.permute_heads:
        rows = values.shape[0]
        split = values.reshape(tensor.permute_heads, 2, rows // tensor.permute_heads // 2,
                               *values.shape[1:])
        values = np.ascontiguousarray(split.swapaxes(1, 2)).reshape(values.shape)
    if tensor.gguf_adds_one:
        values = values + np.float32(1.0)
    return values


def from_gguf_layout(tensor: Tensor, values: np.ndarray) -> np.ndarray:
    """The inverse of to_gguf_layout."""
    if tensor.permute_heads:
        rows = values.shape[0]
        split = values.reshape(tensor.permute_heads, rows // tensor.permute_heads // 2, 2,
                               *values.shape[1:])
        values = np.ascontiguousarray(split.swapaxes(1, 2)).reshape(values.shape)
    if tensor.gguf_adds_one:
        values = values - np.float32(1.0)
    return values


def llama3_frequency_factors(preset: Preset) -> np.ndarray:
    """rope_freqs.weight: what llama3 scaling divides each frequency by, FP32 [head_dim / 2]."""
    scaling = preset.rope_scaling
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    original = scaling["original_max_position_embeddings"]
    factors = []
    for i in range(0, preset.head_dim, 2):
        wavelength = 2 * math.pi * preset.rope_base ** (i / preset.head_dim)
        if wavelength < original / high:
            factors.append(1.0)
        elif wavelength > original / low:
            factors.append(scaling["factor"])
        else:
            smooth = (original / wavelength - low) / (high - low)
            factors.append(1.0 / ((1 - smooth) / scaling["factor"] + smooth))
    return np.array(factors, np.float32)
