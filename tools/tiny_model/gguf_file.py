"""Writes a preset as GGUF with the keys that llama.cpp wants for its architecture."""

import math
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T, GGUFWriter, RopeScalingType

from . import blocks, tokenizer, weights
from .file_types import file_type_id, tensor_type
from .presets import Preset

ROPE_FREQS = "rope_freqs.weight"


def write(preset: Preset, path: Path, type_name: str, seed: int, output_type: T | None = None):
    """Tensors are made and written one at a time: memory stays near the largest of them."""
    writer = GGUFWriter(path, preset.gguf_arch)
    _add_model_keys(writer, preset, type_name)
    _add_tokenizer_keys(writer, preset)
    planned = []
    head_name = "token_embd.weight" if preset.tied else "output.weight"
    for tensor in weights.tensors_of(preset):
        dtype = tensor_type(preset, type_name, tensor.gguf_name, tensor.shape)
        if output_type is not None and tensor.gguf_name == head_name:
            dtype = output_type
        planned.append((tensor, dtype))
        _add_info(writer, tensor.gguf_name, tensor.shape, dtype)
    if preset.rope_scaling.get("rope_type") == "llama3":
        _add_info(writer, ROPE_FREQS, (preset.head_dim // 2,), T.F32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor, dtype in planned:
        writer.write_tensor_data(_tensor_bytes(preset, tensor, dtype, seed))
    if preset.rope_scaling.get("rope_type") == "llama3":
        writer.write_tensor_data(weights.llama3_frequency_factors(preset))
    writer.close()


def _add_info(writer: GGUFWriter, name: str, shape: tuple[int, ...], dtype: T):
    block_elements, block_bytes = GGML_QUANT_SIZES[dtype]
    num_bytes = math.prod(shape) // block_elements * block_bytes
    writer.add_tensor_info(name, shape, np.dtype(np.float32), num_bytes, dtype)


def _tensor_bytes(preset: Preset, tensor: weights.Tensor, dtype: T, seed: int) -> np.ndarray:
    quantizable = dtype in blocks.UNQUANTIZED or (dtype in blocks.QUANTIZED_BY_GGUF
                                                  and not preset.exact_shape)
    if not quantizable:
        stream = weights.bit_stream(seed, tensor.hf_name)
        return blocks.random_blocks(stream, dtype, tensor.shape, tensor.std)
    values = weights.to_gguf_layout(tensor, weights.values_of(tensor, seed))
    return blocks.encode(values, dtype)


def _add_model_keys(writer: GGUFWriter, preset: Preset, type_name: str):
    writer.add_type("model")
    writer.add_name(f"random {preset.name}")
    writer.add_context_length(preset.context_length)
    writer.add_embedding_length(preset.hidden_size)
    writer.add_block_count(preset.num_layers)
    writer.add_feed_forward_length(preset.ffn_size)
    writer.add_head_count(preset.num_heads)
    writer.add_head_count_kv(preset.num_kv_heads)
    writer.add_layer_norm_rms_eps(preset.norm_eps)
    writer.add_rope_freq_base(preset.rope_base)
    writer.add_file_type(file_type_id(type_name))
    writer.add_quantization_version(2)
    if preset.gguf_arch == "llama":
        writer.add_vocab_size(preset.vocab_size)
        writer.add_rope_dimension_count(preset.head_dim)
    if preset.arch == "qwen3" or preset.is_gemma or preset.q_size != preset.hidden_size:
        writer.add_key_length(preset.head_dim)
        writer.add_value_length(preset.head_dim)
    if preset.is_gemma:
        writer.add_sliding_window(preset.sliding_window)
    if preset.attn_softcap:
        writer.add_attn_logit_softcapping(preset.attn_softcap)
        writer.add_final_logit_softcapping(preset.final_softcap)
    _add_rope_scaling_keys(writer, preset)


def _add_rope_scaling_keys(writer: GGUFWriter, preset: Preset):
    """llama3 scaling has no keys: its factors are the tensor rope_freqs.weight."""
    scaling = preset.rope_scaling
    if scaling.get("rope_type") == "linear":
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(scaling["factor"])
    elif scaling.get("rope_type") == "yarn":
        writer.add_rope_scaling_type(RopeScalingType.YARN)
        writer.add_rope_scaling_factor(scaling["factor"])
        writer.add_rope_scaling_orig_ctx_len(scaling["original_max_position_embeddings"])


def _add_tokenizer_keys(writer: GGUFWriter, preset: Preset):
    vocabulary = tokenizer.build(preset.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.gguf_token_types())
    writer.add_token_merges([" ".join(pair) for pair in vocabulary.merges])
    writer.add_bos_token_id(tokenizer.BOS_ID)
    writer.add_eos_token_id(tokenizer.EOS_ID)
    writer.add_unk_token_id(tokenizer.UNK_ID)
    writer.add_pad_token_id(tokenizer.PAD_ID)
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(tokenizer.CHAT_TEMPLATE)
