"""Reference results made with transformers and torch; see docs/goldens.md.

golden_file.py   the two binary formats
prompts.py       what the real models are asked
real_models.py   top-20 log-probabilities and perplexity of the two real models
tiny_models.py   logits of the small random models
"""
