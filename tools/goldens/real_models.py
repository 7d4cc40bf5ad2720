"""Top-20 log-probabilities, greedy continuations and perplexity of the real models.

The reference is transformers in float32 on the dequantised weights of the GGUF file, with the ids
of llama.cpp's tokenizer. One of the models is another one with its matrices rounded to BF16.
"""

import ctypes
import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import jinja2
import llama_cpp
import numpy as np
import torch
from transformers import AutoModelForCausalLM

from . import prompts
from .golden_file import ADDED_SPECIAL, PARSED_SPECIAL, PERPLEXITY, TopCase, write_top_file

TOP_K = 20
GREEDY_TOKENS = 32
WINDOW_TOKENS = 1023  # of text, behind the BOS where the model wants one
WINDOWS_WITH_TOP = 2


@dataclass(frozen=True)
class RealModel:
    name: str
    file_name: str
    sha256: str
    rounded_from: "RealModel | None" = None  # whose matrices tools/make_bf16_model.py rounded


SMOLLM2_Q4_1 = RealModel("smollm2-135m-q4_1", "SmolLM2-135M-Instruct.Q4_1.gguf",
                         "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53")

MODELS = [
    SMOLLM2_Q4_1,
    RealModel("smollm2-135m-bf16", "SmolLM2-135M-Instruct.BF16.gguf",
              "163c6acd90e4d8c46c5d1379164e7466b5d3f2d6b7267eacba3786c5536bd119", SMOLLM2_Q4_1),
    RealModel("gemma-3-270m-q4_k_m", "gemma-3-270m.Q4_K_M.gguf",
              "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"),
]


class GgufText:
    """Tokenizer and chat template as the GGUF file carries them, through llama.cpp."""

    def __init__(self, path: Path):
        self._llama = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
        template = self._llama.metadata.get("tokenizer.chat_template", prompts.GEMMA_TEMPLATE)
        environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
        self._template = environment.from_string(template)

    def encode(self, text: str, add_special: bool, parse_special: bool) -> list[int]:
        return self._llama.tokenize(text.encode(), add_bos=add_special, special=parse_special)

    def render(self, messages: list[dict]) -> str:
        return self._template.render(messages=messages, add_generation_prompt=True)


def load(folder: Path, model: RealModel):
    """The network in float32. Rounded weights come from the source's file and torch's own rounding;
    that the model's file says the same, value for value, is checked here."""
    if model.rounded_from is None:
        return load_file(folder, model)
    network = load_file(folder, model.rounded_from)
    round_matrices(network)
    expected, written = network.state_dict(), load_file(folder, model).state_dict()
    assert expected.keys() == written.keys()
    for name, values in expected.items():
        assert torch.equal(values.view(torch.int32), written[name].view(torch.int32)), name
    return network


@torch.no_grad()
def round_matrices(network):
    for values in network.parameters():
        if values.dim() > 1:
            values.copy_(values.bfloat16().float())


def load_file(folder: Path, model: RealModel):
    """from_pretrained dequantises to float32. What could silently be wrong is checked here."""
    path = folder / model.file_name
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != model.sha256:
        raise ValueError(f"{path} has SHA-256 {digest}, not {model.sha256}")
    network = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=model.file_name, dtype=torch.float32, attn_implementation="eager").eval()
    config = network.config
    if config.model_type == "gemma3_text":
        rope = config.rope_parameters
        assert rope["full_attention"]["rope_theta"] == 1000000.0
        assert rope["sliding_attention"]["rope_theta"] == 10000.0
        assert config.sliding_window == 512 and config.query_pre_attn_scalar == config.head_dim
        assert [i for i, kind in enumerate(config.layer_types) if kind == "full_attention"] == [
            5, 11, 17]
        norm = network.model.layers[0].input_layernorm.weight.detach()
        assert float(norm[0]) == 15.0, "the file's norms are stored plus one"
    assert config.tie_word_embeddings
    assert network.dtype == torch.float32
    return network


@torch.no_grad()
def logprobs_of(network, ids: list[int]) -> torch.Tensor:
    """Log-probabilities after each id, float32 [num_tokens, vocab_size]."""
    logits = network(torch.tensor([ids])).logits[0]
    return torch.log_softmax(logits.double(), dim=-1).float()


@torch.no_grad()
def continue_greedily(network, ids: list[int], num_tokens: int) -> list[int]:
    """Ties go to the smaller id; end-of-text does not stop it."""
    out = list(ids)
    step = network(torch.tensor([ids]), use_cache=True)
    for _ in range(num_tokens):
        out.append(int(torch.argmax(step.logits[0, -1])))
        step = network(torch.tensor([out[-1:]]), past_key_values=step.past_key_values)
    return out


def make_case(network, name, text, flags, ids, num_prompt_tokens, with_top=True) -> TopCase:
    logprobs = logprobs_of(network, ids)[:-1]
    following = torch.tensor(ids[1:])
    case = TopCase(name, text, flags, num_prompt_tokens, ids,
                   logprobs.gather(1, following[:, None])[:, 0].numpy())
    if with_top:
        values, indices = torch.topk(logprobs, TOP_K, dim=-1)
        case.top_ids, case.top_logprobs = indices.int().numpy(), values.numpy()
    return case


def prompt_cases(network, tokenizer: GgufText) -> list[TopCase]:
    wanted = [(name, text, ADDED_SPECIAL) for name, text in prompts.PLAIN.items()]
    wanted += [(name, tokenizer.render(chat), ADDED_SPECIAL | PARSED_SPECIAL)
               for name, chat in prompts.CHATS.items()]
    cases = []
    for name, text, flags in wanted:
        ids = tokenizer.encode(text, True, bool(flags & PARSED_SPECIAL))
        longer = continue_greedily(network, ids, GREEDY_TOKENS)
        cases.append(make_case(network, name, text, flags, longer, len(ids)))
    return cases


def text_cases(network, tokenizer: GgufText, text: str) -> list[TopCase]:
    """The text's ids in windows that do not overlap, each behind the BOS if there is one."""
    bos = tokenizer.encode("", True, False)
    ids = tokenizer.encode(text, False, False)
    cases = []
    for begin in range(0, len(ids), WINDOW_TOKENS):
        window = bos + ids[begin:begin + WINDOW_TOKENS]
        if len(window) > 1:
            cases.append(make_case(network, f"text-{len(cases)}", "", PERPLEXITY, window,
                                   len(window), len(cases) < WINDOWS_WITH_TOP))
    return cases


def perplexity_of(cases: list[TopCase]) -> tuple[float, int]:
    logprobs = np.concatenate([c.next_logprobs for c in cases if c.flags & PERPLEXITY])
    return math.exp(-float(logprobs.mean(dtype=np.float64))), logprobs.size


def silence_llama_cpp():
    callback = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(callback, ctypes.c_void_p(0))
    return callback  # must outlive its use


def make(model: RealModel, model_folder: Path, text: str, out_folder: Path) -> dict:
    """Writes the model's golden file; returns its line of summary.json."""
    callback = silence_llama_cpp()
    tokenizer = GgufText(model_folder / model.file_name)
    network = load(model_folder, model)
    cases = prompt_cases(network, tokenizer) + text_cases(network, tokenizer, text)
    write_top_file(out_folder / f"{model.name}.bin", model.file_name, network.config.vocab_size,
                   cases)
    perplexity, num_predicted = perplexity_of(cases)
    del callback
    return {"file": model.file_name, "sha256": model.sha256, "cases": len(cases),
            "positions_with_top_20": sum(len(c.top_ids) for c in cases),
            "perplexity": round(perplexity, 4), "perplexity_tokens": num_predicted}
