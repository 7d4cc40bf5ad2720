"""Logits of the small random models, which tests write again with tools/make_tiny_model.py.

tiny_logits.bin     F32 of every preset, F16 and BF16 of the families: the raw logits of the last
                    positions, from the Hugging Face folder.
tiny_bf16.bin       BF16 weights, float32 arithmetic: top 20 at every position.
tiny_quantized.bin  quantised GGUF files, dequantised by gguf-py, float32 arithmetic: the same.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from transformers import AutoConfig, AutoModelForCausalLM
from tiny_model import gguf_file, hf_folder, weights
from tiny_model.file_types import PLAIN
from tiny_model.presets import PRESETS, Preset

from .golden_file import LogitsCase, TopCase, write_logits_file, write_top_file
from .real_models import make_case

SEED = 1
NUM_TOKENS = 48
NUM_POSITIONS = 4
TOP_NUM_TOKENS = 96
FAMILIES = ["llama", "llama-tied", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "rope-llama3"]
SMALL = [name for name, preset in PRESETS.items() if not preset.exact_shape]
QUANTIZED = ([("llama", name) for name in PLAIN if name not in ("F32", "F16", "BF16")]
             + [(family, name) for family in ("qwen2", "qwen3", "gemma2", "gemma3")
                for name in ("Q8_0", "Q4_0", "Q4_1", "Q4_K", "Q6_K", "Q4_K_M")]
             + [("heads15kv5", "Q4_K_M"), ("heads9kv3", "Q4_1"), ("head40", "Q4_K_M"),
                ("head80", "Q8_0"), ("ffn1000", "Q4_0"), ("ffn1000", "Q6_K"),
                ("heads25kv5", "Q5_K"), ("heads28kv4", "Q3_K"), ("layers29", "Q8_0")])


def prompt_ids(preset: Preset, num_tokens: int) -> list[int]:
    """Any ids but the three specials."""
    draws = weights.bit_stream(SEED, f"prompt of {preset.name}").random_raw(num_tokens)
    return [3 + int(draw % (preset.vocab_size - 3)) for draw in draws]


def load_folder(preset: Preset, type_name: str, folder: Path):
    hf_folder.write(preset, folder, type_name, SEED)
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32,
                                                   attn_implementation="eager")
    return network.eval()


def load_quantized(preset: Preset, type_name: str, folder: Path):
    """The folder's config with the GGUF file's dequantised weights: transformers' own GGUF loader
    ignores head sizes, softcaps and RoPE scaling of small models."""
    path = folder / "model.gguf"
    gguf_file.write(preset, path, type_name, SEED)
    hf_folder.write(preset, folder, "F32", SEED)
    stored = {tensor.name: tensor for tensor in GGUFReader(path).tensors}
    network = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder),
                                               attn_implementation="eager").eval()
    state = {}
    for tensor in weights.tensors_of(preset):
        raw = stored[tensor.gguf_name]
        values = dequantize(raw.data, raw.tensor_type).reshape(tensor.shape)
        values = weights.from_gguf_layout(tensor, values.astype(np.float32))
        state[tensor.hf_name] = torch.from_numpy(values.copy())
    missing, unexpected = network.load_state_dict(state, strict=False)
    assert not unexpected and set(missing) <= ({"lm_head.weight"} if preset.tied else set())
    network.tie_weights()
    return network.float()


@torch.no_grad()
def logits_case(preset: Preset, type_name: str, folder: Path) -> LogitsCase:
    network = load_folder(preset, type_name, folder)
    ids = prompt_ids(preset, NUM_TOKENS)
    logits = network(torch.tensor([ids])).logits[0, -NUM_POSITIONS:]
    return LogitsCase(preset.name, type_name, "safetensors", ids, logits.numpy())


def top_case(preset: Preset, type_name: str, network) -> TopCase:
    ids = prompt_ids(preset, TOP_NUM_TOKENS)
    return make_case(network, f"{preset.name}/{type_name}", "", 0, ids, len(ids))


def make(out_folder: Path) -> dict:
    """Writes the three files; returns their line of summary.json."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        exact = [logits_case(PRESETS[p], "F32", folder) for p in SMALL]
        exact += [logits_case(PRESETS[p], t, folder) for t in ("F16", "BF16") for p in FAMILIES]
        bf16 = [top_case(PRESETS[p], "BF16", load_folder(PRESETS[p], "BF16", folder))
                for p in FAMILIES]
        quantized = [top_case(PRESETS[p], t, load_quantized(PRESETS[p], t, folder))
                     for p, t in QUANTIZED]
    write_logits_file(out_folder / "tiny_logits.bin", exact)
    write_top_file(out_folder / "tiny_bf16.bin", "tiny", 0, bf16)
    write_top_file(out_folder / "tiny_quantized.bin", "tiny", 0, quantized)
    return {"seed": SEED, "logits_cases": len(exact), "bf16_cases": len(bf16),
            "quantized_cases": len(quantized),
            "positions_with_top_20": sum(len(c.top_ids) for c in bf16 + quantized)}
