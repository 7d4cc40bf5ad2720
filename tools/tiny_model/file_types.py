"""Which element type each tensor of a GGUF file gets.

A plain type ("Q4_K") applies to every matrix; a mix ("Q4_K_M") chooses by tensor and layer as
llama.cpp's quantiser does (src/llama-quant.cpp). Rows that a type's block does not divide fall
back as they do there.
"""

from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T

from .presets import Preset

PLAIN = {name: T[name] for name in ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1",
                                    "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS",
                                    "MXFP4")}

# Mix -> the type of every matrix that no rule names.
MIXES = {"Q4_0_MIX": T.Q4_0, "Q4_1_MIX": T.Q4_1, "Q5_0_MIX": T.Q5_0, "Q5_1_MIX": T.Q5_1,
         "Q2_K_MIX": T.Q2_K, "Q3_K_S": T.Q3_K, "Q3_K_M": T.Q3_K, "Q3_K_L": T.Q3_K,
         "Q4_K_S": T.Q4_K, "Q4_K_M": T.Q4_K, "Q5_K_S": T.Q5_K, "Q5_K_M": T.Q5_K,
         "Q6_K_MIX": T.Q6_K, "IQ4_NL_MIX": T.IQ4_NL, "IQ4_XS_MIX": T.IQ4_XS}

# general.file_type (llama_ftype).
FILE_TYPE_IDS = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9,
                 "Q2_K": 10, "Q3_K": 11, "Q3_K_S": 11, "Q3_K_M": 12, "Q3_K_L": 13, "Q4_K": 14,
                 "Q4_K_S": 14, "Q4_K_M": 15, "Q5_K": 16, "Q5_K_S": 16, "Q5_K_M": 17, "Q6_K": 18,
                 "IQ4_NL": 25, "IQ4_XS": 30, "BF16": 32, "MXFP4": 38}

FALLBACK = {T.Q2_K: T.Q4_0, T.Q3_K: T.Q4_0, T.IQ4_XS: T.IQ4_NL, T.Q4_K: T.Q5_0,
            T.Q5_K: T.Q5_1, T.Q6_K: T.Q8_0}

TYPE_NAMES = list(PLAIN) + list(MIXES)


def file_type_id(type_name: str) -> int:
    return FILE_TYPE_IDS[type_name.removesuffix("_MIX")]


def tensor_type(preset: Preset, type_name: str, gguf_name: str, shape: tuple[int, ...]) -> T:
    if len(shape) < 2:
        return T.F32
    if type_name in PLAIN:
        wanted = PLAIN[type_name]
    else:
        wanted = _type_in_mix(preset, type_name, gguf_name, shape[-1])
    return _type_that_divides(wanted, shape[-1])


def _type_that_divides(wanted: T, row_size: int) -> T:
    if row_size % GGML_QUANT_SIZES[wanted][0]:
        wanted = FALLBACK.get(wanted, T.F16)
    if row_size % GGML_QUANT_SIZES[wanted][0]:
        wanted = T.F16
    return wanted


def _type_in_mix(preset: Preset, mix: str, gguf_name: str, row_size: int) -> T:
    default = MIXES[mix]
    head_name = "token_embd.weight" if preset.tied else "output.weight"
    if gguf_name == head_name:
        divides = row_size % GGML_QUANT_SIZES[default][0] == 0
        return T.Q6_K if divides else T.Q8_0
    if not gguf_name.startswith("blk."):
        return default
    _, layer, part, _ = gguf_name.split(".")
    rule = _RULES.get(part)
    return (rule(preset, mix, int(layer)) if rule else None) or default


def _uses_more_bits(layer: int, num_layers: int) -> bool:
    eighth = num_layers // 8
    return (layer < eighth or layer >= 7 * num_layers // 8 or (layer - eighth) % 3 == 2)


def _attn_v(preset: Preset, mix: str, layer: int) -> T | None:
    queries_per_kv = preset.num_heads // preset.num_kv_heads
    if mix == "Q2_K_MIX":
        return T.Q4_K if queries_per_kv >= 4 else T.Q3_K
    if mix == "Q3_K_M":
        return T.Q5_K if layer < 2 else T.Q4_K
    if mix == "Q3_K_L" or (mix in ("IQ4_NL_MIX", "IQ4_XS_MIX") and queries_per_kv >= 4):
        return T.Q5_K
    if mix in ("Q4_K_M", "Q5_K_M") and _uses_more_bits(layer, preset.num_layers):
        return T.Q6_K
    if mix == "Q4_K_S" and layer < 4:
        return T.Q5_K
    return None


def _ffn_down(preset: Preset, mix: str, layer: int) -> T | None:
    num_layers = preset.num_layers
    if mix == "Q2_K_MIX":
        return T.Q3_K
    if mix == "Q3_K_M":
        return T.Q5_K if layer < num_layers // 16 else T.Q4_K
    if mix == "Q3_K_L":
        return T.Q5_K
    if mix in ("Q4_K_M", "Q5_K_M") and _uses_more_bits(layer, num_layers):
        return T.Q6_K
    if mix in ("Q4_K_S", "IQ4_NL_MIX", "IQ4_XS_MIX") and layer < num_layers // 8:
        return T.Q5_K
    return None


def _attn_output(preset: Preset, mix: str, layer: int) -> T | None:
    return {"Q2_K_MIX": T.Q3_K, "Q3_K_M": T.Q4_K, "Q3_K_L": T.Q5_K}.get(mix)


_RULES = {"attn_v": _attn_v, "ffn_down": _ffn_down, "attn_output": _attn_output}
