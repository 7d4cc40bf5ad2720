"""Small and exact-shape models with random weights, the same bytes every time.

presets.py    the shapes, by name
weights.py    shape -> float tensors (deterministic), in Hugging Face layout
blocks.py     float tensors or random bits -> quantised blocks
file_types.py which element type each tensor gets, as llama.cpp's quantiser would choose
tokenizer.py  a byte-level BPE vocabulary of the wanted size
gguf_file.py  writes GGUF
hf_folder.py  writes a Hugging Face folder (config.json, safetensors, tokenizer.json)
"""
