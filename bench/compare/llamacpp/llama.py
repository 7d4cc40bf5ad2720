"""llama.cpp through the low-level interface of llama-cpp-python 0.3.36: prompts, single and batched
generation, timed around llama_decode alone."""

import time

import llama_cpp

_silent = llama_cpp.llama_log_callback(lambda *_: None)


class Llama:
    """One model and one context.

    max_tokens: of all sequences together. cache: "f32", "f16" or "bf16".
    """

    CACHE_TYPES = {"f32": 0, "f16": 1, "bf16": 30}  # ggml_type

    def __init__(self, path, threads, max_tokens, max_sequences=1, cache="f16"):
        llama_cpp.llama_log_set(_silent, None)
        llama_cpp.llama_backend_init()
        model_params = llama_cpp.llama_model_default_params()
        self._model = llama_cpp.llama_model_load_from_file(str(path).encode(), model_params)
        if not self._model:
            raise RuntimeError(f"llama.cpp cannot load {path}")
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = max_tokens
        params.n_batch = max(512, max_sequences)
        params.n_ubatch = 512
        params.n_seq_max = max_sequences
        params.n_threads = params.n_threads_batch = threads
        params.type_k = params.type_v = self.CACHE_TYPES[cache]
        params.kv_unified = True
        self._context = llama_cpp.llama_init_from_model(self._model, params)
        if not self._context:
            raise RuntimeError(f"llama.cpp gives no context of {max_tokens} tokens")
        self._batch = llama_cpp.llama_batch_init(params.n_batch, 0, 1)

    def close(self):
        llama_cpp.llama_batch_free(self._batch)
        llama_cpp.llama_free(self._context)
        llama_cpp.llama_model_free(self._model)

    def forget(self):
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), True)

    def _decode(self, rows):
        """rows: (token, position, sequence, wants logits)."""
        batch = self._batch
        batch.n_tokens = len(rows)
        for i, (token, position, sequence, wanted) in enumerate(rows):
            batch.token[i] = token
            batch.pos[i] = position
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = sequence
            batch.logits[i] = wanted
        begin = time.perf_counter()
        status = llama_cpp.llama_decode(self._context, batch)
        llama_cpp.llama_synchronize(self._context)
        seconds = time.perf_counter() - begin
        if status != 0:
            raise RuntimeError(f"llama_decode gives {status}")
        return seconds

    def feed(self, sequence, first, count):
        """Seconds for `count` prompt tokens from position `first` on, in chunks of 512."""
        seconds = 0.0
        for begin in range(first, first + count, 512):
            end = min(first + count, begin + 512)
            seconds += self._decode([(_token(sequence, p), p, sequence, p == first + count - 1)
                                     for p in range(begin, end)])
        return seconds

    def generate(self, sequences, first, steps):
        """Seconds of each step of one token a sequence."""
        return [self._decode([(_token(s, first + i), first + i, s, True) for s in range(sequences)])
                for i in range(steps)]


def _token(sequence, position):
    return 1000 + (position * 131 + sequence * 977) % 20000
