#!/usr/bin/env python3
"""Writes the goldens of tests/text from the reference implementations. Run by hand:

    pip install llama-cpp-python==0.3.36 gguf transformers==5.23.0 tokenizers jinja2
    WEFT_TEST_MODELS=folder python3 tools/make_text_goldens.py

`folder` holds SmolLM2-135M-Instruct.Q4_1.gguf and gemma-3-270m.Q4_K_M.gguf (issue 3, section 2).
Output, in tests/text/data:

- strings.jsonl: the strings, one JSON value a line: text, or {"base64": …} for bytes that are no
  UTF-8. Generated here from a fixed seed; letters newer than Unicode 14 are left out, because the
  references' tables end at different versions.
- smollm2.jsonl, gemma3.jsonl: ids by llama.cpp (vocab_only). Line 1 is a header, then a line a
  string: the ids without special parsing, or [those, the ids with it] where the two differ.
- byte_level.tokenizer.json, metaspace.tokenizer.json: small tokenizers, trained on the strings
  where the files are not there yet (training breaks ties differently from run to run).
- small_goldens.json: per small tokenizer one hash a string (8 hexadecimal digits each, end to
  end), from transformers for the tokenizer.json itself and from llama.cpp for GGUF files made of
  its vocabulary, once for every kind of pre-tokenizer. Hashes, because the ids would fill
  megabytes; one hash covers the ids without and with special parsing.
- chat_goldens.json: the templates of chat_templates/*.jinja rendered by transformers.

Invalid UTF-8 is defined as: broken parts become U+FFFD first. The goldens of such strings are the
ids of the replaced text; llama.cpp itself has another habit with broken bytes.
"""

import base64
import ctypes
import json
import os
import random
import tempfile
from pathlib import Path

import gguf
import llama_cpp
from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers,
                        pre_tokenizers, processors, trainers)
from transformers import PreTrainedTokenizerFast
from transformers.utils.chat_template_utils import render_jinja_template

from text_golden_strings import make_strings

DATA = Path(__file__).resolve().parent.parent / "tests" / "text" / "data"
MODELS = Path(os.environ.get("WEFT_TEST_MODELS", ""))

# One name for each kind of pre-tokenizer that src/text/rust/src/pre_tokenizer.rs knows.
PRE_TOKENIZERS = ["default", "gpt-2", "smollm", "llama-bpe", "dbrx", "qwen2", "tekken", "gpt-4o"]


# Other shapes of tokenizer.json, as JSON merge patches (RFC 7396) of the small tokenizers.
METASPACE = {"type": "Metaspace", "replacement": "▁", "split": False}
SPACE_DECODERS = [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                  {"type": "ByteFallback"}, {"type": "Fuse"}]
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
JSON_PATCHES = {
    "Llama 3": ("byte_level", {}),
    "Qwen 2": ("byte_level", {
        "normalizer": {"type": "NFC"}, "model": {"ignore_merges": False},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "behavior": "Isolated", "invert": False, "pattern": {"Regex":
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
                r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"}},
            BYTE_LEVEL | {"use_regex": False}]},
        "post_processor": BYTE_LEVEL | {"use_regex": False}}),
    "SmolLM 2": ("byte_level", {
        "model": {"ignore_merges": False}, "post_processor": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Digits", "individual_digits": True}, BYTE_LEVEL | {"use_regex": True}]}}),
    "Llama 2": ("metaspace", {}),
    "Gemma 3": ("metaspace", {
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁",
                       "normalizers": None},
        "pre_tokenizer": {"type": "Split", "pattern": {"String": " "}, "invert": False,
                          "behavior": "MergedWithPrevious"},
        "decoder": {"type": "Sequence", "decoders": SPACE_DECODERS}}),
    "Mistral": ("metaspace", {
        "normalizer": None, "pre_tokenizer": METASPACE | {"prepend_scheme": "first"}}),
    "Metaspace decoder": ("metaspace", {
        "normalizer": None, "pre_tokenizer": METASPACE | {"prepend_scheme": "always"},
        "decoder": METASPACE | {"prepend_scheme": "always", "decoders": None}}),
}


def merge_patch(target, patch):
    if not isinstance(patch, dict):
        return patch
    target = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        else:
            target[key] = merge_patch(target.get(key), value)
    return target


def text_of(string):
    """What the tokenizers see of a string that may be bytes."""
    return string.decode("utf-8", "replace") if isinstance(string, bytes) else string


def fnv(data):
    """FNV-1a, 64 bits: the test computes the same."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{value:016x}"


def hash_of_string(*parts):
    """32 bits of the hash over the parts: byte strings, or lists of ids (with a length each)."""
    data = b""
    for part in parts:
        if not isinstance(part, bytes):
            part = b"".join(int(i).to_bytes(4, "little") for i in part)
        data += len(part).to_bytes(4, "little") + part
    return fnv(data)[:8]


def write_json(name, value):
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    (DATA / name).write_text(text + "\n", encoding="utf-8")


class LlamaCpp:
    """llama.cpp's tokenizer of a GGUF file."""

    def __init__(self, path):
        self.model = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)

    def encode(self, text, add_special, parse_special):
        return self.model.tokenize(text.encode(), add_bos=add_special, special=parse_special)

    def surroundings(self, texts):
        """What add_special puts around every text; the same for all, or the golden is refused."""
        plain = self.encode("x", False, True)
        full = self.encode("x", True, True)
        at = next(i for i in range(len(full)) if full[i:i + len(plain)] == plain)
        before, after = full[:at], full[at + len(plain):]
        for text in texts[::7]:
            assert self.encode(text, True, True) == before + self.encode(text, False, True) + after
        return before, after

    def pieces_hash(self, special):
        vocab = llama_cpp.llama_model_get_vocab(self.model.model)
        buffer = ctypes.create_string_buffer(4096)
        out = bytearray()
        for token in range(self.model.n_vocab()):
            size = llama_cpp.llama_token_to_piece(vocab, token, buffer, len(buffer), 0, special)
            assert size >= 0
            out += buffer.raw[:size] + b"\xff"
        return fnv(out)


def write_real_model(name, file_name, strings):
    llama = LlamaCpp(MODELS / file_name)
    texts = [text_of(string) for string in strings]
    before, after = llama.surroundings(texts)
    header = {"before": before, "after": after, "pieces": llama.pieces_hash(False),
              "pieces_special": llama.pieces_hash(True)}
    lines = [header]
    for text in texts:
        plain, parsed = (llama.encode(text, False, special) for special in (False, True))
        lines.append(plain if plain == parsed else [plain, parsed])
    text = "\n".join(json.dumps(line, separators=(",", ":")) for line in lines)
    (DATA / name).write_text(text + "\n")


def train(tokenizer, strings, **options):
    trainer = trainers.BpeTrainer(show_progress=False, **options)
    tokenizer.train_from_iterator([text_of(s) for s in strings if len(s) < 400], trainer)


def make_byte_level(strings):
    """In the manner of Llama 3: byte-level BPE, BOS by a post-processor, ignore_merges."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    pattern = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
               r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    # A few bytes are missing on purpose, as they are in SmolLM2.
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    missing = {"Ā", "ā", "ö", "÷"}
    train(tokenizer, strings, vocab_size=1500,
          initial_alphabet=[letter for letter in alphabet if letter not in missing],
          special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    # Tokens that no merge makes: only ignore_merges finds them.
    document = json.loads(tokenizer.to_str())
    del document["model"]["merges"][6::7]
    tokenizer = Tokenizer.from_str(json.dumps(document))
    tokenizer.add_tokens([AddedToken("<tool>", normalized=False)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)])
    return tokenizer


def make_metaspace(strings):
    """In the manner of Llama 2: U+2581 for spaces, byte tokens, no words."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("▁"), "merged_with_next")
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    train(tokenizer, strings, vocab_size=1900, limit_alphabet=300,
          special_tokens=["<unk>", "<s>", "</s>"] + byte_tokens)
    document = json.loads(tokenizer.to_str())
    document["added_tokens"] = [t for t in document["added_tokens"] if t["id"] < 3]
    document["normalizer"] = {"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "▁"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}
    document["pre_tokenizer"] = None
    tokenizer = Tokenizer.from_str(json.dumps(document))
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(),
                                           decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.add_tokens([AddedToken("<tool>", normalized=False)])
    return tokenizer


def json_goldens(base, patch, strings):
    """transformers on a tokenizer.json."""
    document = json.loads((DATA / f"{base}.tokenizer.json").read_text("utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        path.write_text(json.dumps(merge_patch(document, patch)), encoding="utf-8")
        reference = PreTrainedTokenizerFast(tokenizer_file=str(path))
    out = {"base": base, "patch": patch, "ids": "", "text": ""}
    for string in strings:
        text = text_of(string)
        plain = reference.encode(text, add_special_tokens=False, split_special_tokens=True)
        parsed = reference.encode(text, add_special_tokens=True)
        out["ids"] += hash_of_string(plain, parsed)
        out["text"] += hash_of_string(reference.decode(parsed, skip_special_tokens=True).encode(),
                                      reference.decode(parsed, skip_special_tokens=False).encode())
    return out


def write_gguf(path, vocab):
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(64)
    writer.add_tokenizer_model(vocab["model"])
    writer.add_tokenizer_pre(vocab["pre"])
    writer.add_token_list(vocab["tokens"])
    writer.add_token_types(vocab["token_types"])
    if vocab.get("scores"):
        writer.add_token_scores(vocab["scores"])
    if vocab.get("merges"):
        writer.add_token_merges(vocab["merges"])
    for key in ("bos_id", "eos_id", "unk_id"):
        if key in vocab:
            getattr(writer, f"add_{key.replace('_id', '_token_id')}")(vocab[key])
    for key, method in (("add_bos", writer.add_add_bos_token), ("add_eos", writer.add_add_eos_token),
                        ("add_space_prefix", writer.add_add_space_prefix)):
        if key in vocab:
            method(vocab[key])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def gguf_goldens(vocab, strings):
    """llama.cpp on a GGUF file made of this vocabulary."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocab.gguf"
        write_gguf(path, vocab)
        llama = LlamaCpp(path)
    texts = [text_of(string) for string in strings]
    before, after = llama.surroundings(texts)
    return {"before": before, "after": after,
            "pieces": llama.pieces_hash(False), "pieces_special": llama.pieces_hash(True),
            "ids": "".join(hash_of_string(llama.encode(text, False, False),
                                          llama.encode(text, False, True)) for text in texts)}


def vocabulary(tokenizer):
    """Tokens and merges of a tokenizer.json. The test rebuilds the GGUF fields from these two."""
    document = json.loads(tokenizer.to_str())
    ids = dict(document["model"]["vocab"])
    ids.update({token["content"]: token["id"] for token in document["added_tokens"]})
    tokens = [token for token, _ in sorted(ids.items(), key=lambda item: item[1])]
    merges = [" ".join(pair) for pair in document["model"]["merges"]]
    return tokens, merges


def kept(name, make, strings):
    """The committed tokenizer, or a new one."""
    path = DATA / f"{name}.tokenizer.json"
    if not path.exists():
        path.write_text(make(strings).to_str(pretty=False) + "\n", encoding="utf-8")
    return Tokenizer.from_file(str(path))


def small_goldens(byte_level, metaspace, strings):
    out = {"json": {}, "gguf": []}
    for name, (base, patch) in JSON_PATCHES.items():
        out["json"][name] = json_goldens(base, patch, strings)

    tokens, merges = vocabulary(byte_level)
    for pre in PRE_TOKENIZERS:
        settings = {"model": "gpt2", "pre": pre, "bos_id": 1, "eos_id": 2}
        if pre == "qwen2":
            settings["add_eos"] = True
        types = [3 if i < 3 else 4 if text == "<tool>" else 1 for i, text in enumerate(tokens)]
        golden = gguf_goldens(settings | {"tokens": tokens, "merges": merges,
                                          "token_types": types}, strings)
        out["gguf"].append({"vocabulary": "byte_level", "settings": settings} | golden)

    tokens, _ = vocabulary(metaspace)
    types = [2 if i == 0 else 3 if i < 3 else 6 if i < 259 else 4 if text == "<tool>" else 1
             for i, text in enumerate(tokens)]
    # Distinct scores as converted models have them; then ties, which the leftmost pair wins.
    for tie, prefix in ((1, None), (16, False), (16, True)):
        settings = {"model": "llama", "pre": "default", "score_step": tie}
        if prefix is not None:
            settings |= {"add_space_prefix": prefix, "add_bos": False, "add_eos": True,
                         "bos_id": 1, "eos_id": 2, "unk_id": 0}
        scores = [-float(i // tie) for i in range(len(tokens))]
        golden = gguf_goldens(settings | {"tokens": tokens, "scores": scores,
                                          "token_types": types}, strings)
        out["gguf"].append({"vocabulary": "metaspace", "settings": settings} | golden)
    return out


def chat_goldens():
    """Every template with every conversation: the text, or null where the template refuses."""
    cases = json.loads((DATA / "chat_templates" / "conversations.json").read_text("utf-8"))
    out = []
    for path in sorted((DATA / "chat_templates").glob("*.jinja")):
        for name, case in cases.items():
            for generation in (False, True):
                extra = {"bos_token": "<s>", "eos_token": "</s>"} | case.get("extra", {})
                try:
                    texts, _ = render_jinja_template(
                        [case["messages"]], tools=case.get("tools"),
                        chat_template=path.read_text("utf-8"),
                        add_generation_prompt=generation, **extra)
                    text = texts[0]
                except Exception as error:  # whatever the template or Jinja raises
                    print(f"{path.name} refuses {name}: {error}")
                    text = None
                out.append({"template": path.stem, "conversation": name,
                            "add_generation_prompt": generation, "text": text})
    return out


def main():
    strings = make_strings(random.Random(20240317))
    DATA.mkdir(parents=True, exist_ok=True)
    with open(DATA / "strings.jsonl", "w", encoding="utf-8") as file:
        for string in strings:
            value = string if isinstance(string, str) else {
                "base64": base64.b64encode(string).decode()}
            file.write(json.dumps(value, ensure_ascii=True) + "\n")
    print(f"{len(strings)} strings")
    write_real_model("smollm2.jsonl", "SmolLM2-135M-Instruct.Q4_1.gguf", strings)
    write_real_model("gemma3.jsonl", "gemma-3-270m.Q4_K_M.gguf", strings)
    write_json("small_goldens.json",
               small_goldens(kept("byte_level", make_byte_level, strings),
                             kept("metaspace", make_metaspace, strings), strings))
    write_json("chat_goldens.json", chat_goldens())


if __name__ == "__main__":
    main()
