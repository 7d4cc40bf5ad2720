"""A byte-level BPE vocabulary of exactly the wanted size.

Ids: 0 <|endoftext|>, 1 <|im_start|>, 2 <|im_end|>, then the 256 bytes, then merges learnt from a
few sentences, then unused tokens. Pre-tokenising is SmolLM2's: digits one by one, then GPT-2's
pattern (tokenizer.ggml.pre = "smollm").
"""

import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
BOS_ID, EOS_ID, UNK_ID, PAD_ID = 1, 2, 0, 2
FIRST_BYTE_ID = len(SPECIALS)
MAX_MERGES = 200

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")

_SAMPLE = """The engine splits one model over any number of ranks and the answer stays the same.
A rank holds its share of the heads and of the layers; the others hold theirs. The weaver passes
the weft over and under the warp, thread after thread, and the cloth grows line by line. What is
the capital of France? The capital of France is Paris. There was a time when the river was as
wide as the sea, and there were ships on it that came and went with the wind and the tide."""


@dataclass(frozen=True)
class Vocabulary:
    tokens: list[str]  # in the byte alphabet of GPT-2
    merges: list[tuple[str, str]]
    num_used: int  # ids from here on are unused

    def gguf_token_types(self) -> list[int]:
        """3 control, 1 normal, 5 unused."""
        return ([3] * len(SPECIALS) + [1] * (self.num_used - len(SPECIALS))
                + [5] * (len(self.tokens) - self.num_used))


def byte_alphabet() -> list[str]:
    """GPT-2's printable character for each byte."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(256, 512))
    return [chr(b) if b in printable else chr(next(others)) for b in range(256)]


@lru_cache
def _learn_merges() -> tuple[tuple[str, str], ...]:
    """Plain BPE over the sample; ties go to the pair that sorts first."""
    alphabet = byte_alphabet()
    words = Counter(re.findall(r" ?[A-Za-z]+", _SAMPLE.replace("\n", " ")))
    pieces = {w: [alphabet[b] for b in w.encode()] for w in words}
    merges = []
    while len(merges) < MAX_MERGES:
        pairs = Counter()
        for word, parts in pieces.items():
            for pair in zip(parts, parts[1:]):
                pairs[pair] += words[word]
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for word, parts in pieces.items():
            pieces[word] = _apply_merge(parts, best)
    return tuple(merges)


def _apply_merge(parts: list[str], pair: tuple[str, str]) -> list[str]:
    out = []
    i = 0
    while i < len(parts):
        if tuple(parts[i:i + 2]) == pair:
            out.append(parts[i] + parts[i + 1])
            i += 2
        else:
            out.append(parts[i])
            i += 1
    return out


def build(vocab_size: int) -> Vocabulary:
    if vocab_size < FIRST_BYTE_ID + 256:
        raise ValueError(f"a vocabulary of {vocab_size} has no room for 3 specials and 256 bytes")
    tokens = SPECIALS + byte_alphabet()
    merges = []
    known = set(tokens)
    for left, right in _learn_merges():
        if len(tokens) == vocab_size:
            break
        merges.append((left, right))
        if left + right not in known:  # two ways to one token are one token
            known.add(left + right)
            tokens.append(left + right)
    num_used = len(tokens)
    tokens += [f"<|unused_{i}|>" for i in range(vocab_size - num_used)]
    return Vocabulary(tokens, merges, num_used)


def tokenizer_json(vocabulary: Vocabulary) -> dict:
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                  "use_regex": True}
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": text, "single_word": False, "lstrip": False,
                          "rstrip": False, "normalized": False, "special": True}
                         for i, text in enumerate(SPECIALS)],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence",
                          "pretokenizers": [{"type": "Digits", "individual_digits": True},
                                            byte_level]},
        "post_processor": None,
        "decoder": dict(byte_level, add_prefix_space=True),
        "model": {"type": "BPE", "dropout": None, "unk_token": None,
                  "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {token: i for i, token in enumerate(vocabulary.tokens)},
                  "merges": [list(pair) for pair in vocabulary.merges]},
    }


def tokenizer_config_json(context_length: int) -> dict:
    return {
        "added_tokens_decoder": {str(i): {"content": text, "lstrip": False, "normalized": False,
                                          "rstrip": False, "single_word": False, "special": True}
                                 for i, text in enumerate(SPECIALS)},
        "add_prefix_space": False, "add_bos_token": False,
        "bos_token": SPECIALS[BOS_ID], "eos_token": SPECIALS[EOS_ID],
        "unk_token": SPECIALS[UNK_ID], "pad_token": SPECIALS[PAD_ID],
        "chat_template": CHAT_TEMPLATE, "clean_up_tokenization_spaces": False,
        "model_max_length": context_length, "tokenizer_class": "GPT2Tokenizer",
    }
