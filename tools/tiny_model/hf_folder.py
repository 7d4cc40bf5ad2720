"""Writes a preset as a Hugging Face folder: config.json, safetensors, tokenizer files."""

import json
import struct
from pathlib import Path

import numpy as np

from . import blocks, tokenizer, weights
from .file_types import PLAIN
from .presets import Preset

ARCHITECTURES = {"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM",
                 "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM",
                 "gemma2": "Gemma2ForCausalLM", "gemma3": "Gemma3ForCausalLM"}
TORCH_TYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def write(preset: Preset, folder: Path, type_name: str, seed: int, num_shards: int = 1):
    if type_name not in TORCH_TYPES:
        raise ValueError(f"safetensors holds F32, F16 or BF16, not {type_name}")
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "config.json", config_json(preset, type_name))
    _write_json(folder / "generation_config.json",
                {"bos_token_id": tokenizer.BOS_ID, "eos_token_id": tokenizer.EOS_ID,
                 "pad_token_id": tokenizer.PAD_ID})
    vocabulary = tokenizer.build(preset.vocab_size)
    _write_json(folder / "tokenizer.json", tokenizer.tokenizer_json(vocabulary))
    _write_json(folder / "tokenizer_config.json",
                tokenizer.tokenizer_config_json(preset.context_length))
    _write_weights(preset, folder, type_name, seed, num_shards)


def config_json(preset: Preset, type_name: str) -> dict:
    config = {
        "architectures": [ARCHITECTURES[preset.arch]],
        "model_type": "gemma3_text" if preset.arch == "gemma3" else preset.arch,
        "vocab_size": preset.vocab_size, "hidden_size": preset.hidden_size,
        "intermediate_size": preset.ffn_size, "num_hidden_layers": preset.num_layers,
        "num_attention_heads": preset.num_heads, "num_key_value_heads": preset.num_kv_heads,
        "head_dim": preset.head_dim, "max_position_embeddings": preset.context_length,
        "rms_norm_eps": preset.norm_eps, "rope_theta": preset.rope_base,
        "tie_word_embeddings": preset.tied, "torch_dtype": TORCH_TYPES[type_name],
        "bos_token_id": tokenizer.BOS_ID, "eos_token_id": tokenizer.EOS_ID,
        "pad_token_id": tokenizer.PAD_ID, "attention_dropout": 0.0, "use_cache": True,
    }
    if preset.is_gemma:
        config["hidden_activation"] = "gelu_pytorch_tanh"
        config["query_pre_attn_scalar"] = preset.head_dim
        config["attn_logit_softcapping"] = preset.attn_softcap or None
        config["final_logit_softcapping"] = preset.final_softcap or None
    else:
        config["hidden_act"] = "silu"
    if preset.arch == "gemma3":
        config["rope_local_base_freq"] = preset.rope_base_local
        config["sliding_window_pattern"] = 6
    if preset.arch in ("llama", "qwen3"):
        config["attention_bias"] = preset.attention_bias
    if preset.arch == "llama":
        config["mlp_bias"] = preset.mlp_bias
    if preset.sliding_window:
        config["sliding_window"] = preset.sliding_window
    elif preset.arch in ("qwen2", "qwen3"):
        config["use_sliding_window"] = False
    if preset.rope_scaling:
        config["rope_scaling"] = preset.rope_scaling
    return config


def _write_json(path: Path, content: dict):
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_weights(preset: Preset, folder: Path, type_name: str, seed: int, num_shards: int):
    tensors = list(weights.tensors_of(preset))
    if num_shards == 1:
        write_safetensors(folder / "model.safetensors", tensors, type_name, seed)
        return
    weight_map = {}
    for shard in range(num_shards):
        part = tensors[shard * len(tensors) // num_shards:(shard + 1) * len(tensors) // num_shards]
        file_name = f"model-{shard + 1:05}-of-{num_shards:05}.safetensors"
        write_safetensors(folder / file_name, part, type_name, seed)
        weight_map.update({tensor.hf_name: file_name for tensor in part})
    element_bytes = 4 if type_name == "F32" else 2
    total = sum(int(np.prod(tensor.shape)) for tensor in tensors) * element_bytes
    _write_json(folder / "model.safetensors.index.json",
                {"metadata": {"total_size": total}, "weight_map": weight_map})


def write_safetensors(path: Path, tensors: list[weights.Tensor], type_name: str, seed: int):
    """Length of the header (u64), the header (JSON padded to 8 bytes), the tensors."""
    element_bytes = 4 if type_name == "F32" else 2
    header = {"__metadata__": {"format": "pt"}}
    offset = 0
    for tensor in tensors:
        num_bytes = int(np.prod(tensor.shape)) * element_bytes
        header[tensor.hf_name] = {"dtype": type_name, "shape": list(tensor.shape),
                                  "data_offsets": [offset, offset + num_bytes]}
        offset += num_bytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors:
            blocks.encode(weights.values_of(tensor, seed), PLAIN[type_name]).tofile(file)
