"""Model shapes by name: one small model a family, shapes that divide by nothing, and the exact
shapes of well-known models for measuring."""

from dataclasses import dataclass, field

LLAMA_LIKE = ("llama", "mistral")
GEMMA_LIKE = ("gemma2", "gemma3")


@dataclass(frozen=True)
class Preset:
    name: str
    about: str
    arch: str  # llama, mistral, qwen2, qwen3, gemma2, gemma3
    num_layers: int
    hidden_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    ffn_size: int
    vocab_size: int
    tied: bool = False
    rope_base: float = 10000.0
    rope_base_local: float = 10000.0  # sliding layers of gemma3
    rope_scaling: dict = field(default_factory=dict)  # as in config.json
    sliding_window: int = 0  # 0: none
    attention_bias: bool = False  # q, k, v and, in the llama family, o
    mlp_bias: bool = False
    context_length: int = 2048
    norm_eps: float = 1e-5
    attn_softcap: float = 0.0
    final_softcap: float = 0.0
    exact_shape: bool = False  # large: weights are written as random blocks, never quantised

    @property
    def gguf_arch(self) -> str:
        return "llama" if self.arch in LLAMA_LIKE else self.arch

    @property
    def is_gemma(self) -> bool:
        return self.arch in GEMMA_LIKE

    @property
    def has_qk_norm(self) -> bool:
        return self.arch in ("qwen3", "gemma3")

    @property
    def q_size(self) -> int:
        return self.num_heads * self.head_dim

    @property
    def kv_size(self) -> int:
        return self.num_kv_heads * self.head_dim

    def layer_slides(self, layer: int) -> bool:
        """Whether this layer attends to its sliding window only."""
        if self.arch == "gemma2":
            return layer % 2 == 0
        if self.arch == "gemma3":
            return (layer + 1) % 6 != 0
        return self.sliding_window > 0


def _families() -> list[Preset]:
    """Rows of 256 and 512, so that every K-quant applies without falling back."""
    base = dict(num_layers=4, hidden_size=256, num_heads=8, num_kv_heads=4, head_dim=32,
                ffn_size=512, vocab_size=515)
    llama = dict(base, arch="llama")
    rope = dict(llama, num_layers=2, context_length=1024)
    return [
        Preset("llama", "Llama, untied", **llama),
        Preset("llama-tied", "Llama, tied embeddings", **llama, tied=True),
        Preset("mistral", "Mistral with a sliding window of 16 (Hugging Face only; GGUF has none)",
               **dict(base, arch="mistral"), sliding_window=16),
        Preset("qwen2", "Qwen2, biases on q, k and v",
               **dict(base, arch="qwen2", num_kv_heads=2, vocab_size=1003), attention_bias=True,
               rope_base=1e6, norm_eps=1e-6),
        Preset("qwen3", "Qwen3, QK-norm, heads wider than the hidden size, tied",
               **dict(base, arch="qwen3", num_kv_heads=2, head_dim=64), tied=True, rope_base=1e6,
               norm_eps=1e-6),
        Preset("gemma2", "Gemma 2, both softcaps, every other layer slides over 16 tokens",
               **dict(base, arch="gemma2", num_heads=4, num_kv_heads=2, head_dim=64), tied=True,
               sliding_window=16, norm_eps=1e-6, attn_softcap=50.0, final_softcap=30.0),
        Preset("gemma3", "Gemma 3, QK-norm, post norms, 5 of 6 layers slide over 16 tokens",
               **dict(base, arch="gemma3", num_layers=7, num_heads=4, num_kv_heads=1, head_dim=64,
                      vocab_size=1003), tied=True, rope_base=1e6, sliding_window=16,
               norm_eps=1e-6),
        Preset("llama-attn-bias", "Llama with biases on q, k, v and o", **llama,
               attention_bias=True),
        Preset("llama-mlp-bias", "Llama with biases on gate, up and down", **llama, mlp_bias=True),
        Preset("rope-linear", "linear RoPE scaling by 4", **rope,
               rope_scaling={"rope_type": "linear", "factor": 4.0}),
        Preset("rope-llama3", "Llama 3 RoPE scaling", **rope, rope_base=500000.0,
               rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                             "high_freq_factor": 4.0, "original_max_position_embeddings": 128}),
        Preset("rope-yarn", "YaRN RoPE scaling by 4", **rope,
               rope_scaling={"rope_type": "yarn", "factor": 4.0,
                             "original_max_position_embeddings": 256}),
    ]


def _shapes_that_hurt() -> list[Preset]:
    def shape(name, about, arch, layers, heads, kv, head_dim, ffn, **more):
        more.setdefault("hidden_size", heads * head_dim)
        more.setdefault("vocab_size", 515)
        return Preset(name, about, arch, num_layers=layers, num_heads=heads, num_kv_heads=kv,
                      head_dim=head_dim, ffn_size=ffn, **more)

    return [
        shape("heads9kv3", "9 heads over 3 KV heads, as SmolLM2-135M", "llama", 3, 9, 3, 64, 1536,
              tied=True),
        shape("heads15kv5", "15 heads over 5 KV heads, as SmolLM2-360M", "llama", 3, 15, 5, 32,
              640, tied=True),
        shape("head40", "head size 40", "llama", 3, 8, 4, 40, 512),
        shape("head80", "head size 80", "llama", 3, 4, 2, 80, 512, vocab_size=1003),
        shape("heads14kv2", "14 heads over 2, as Qwen2.5-0.5B", "qwen2", 3, 14, 2, 32, 608,
              attention_bias=True, tied=True, rope_base=1e6, norm_eps=1e-6),
        shape("heads28kv4", "28 heads over 4, as Qwen2.5-7B", "qwen2", 2, 28, 4, 32, 1184,
              attention_bias=True, rope_base=1e6, norm_eps=1e-6),
        shape("heads25kv5", "25 heads over 5", "llama", 2, 25, 5, 32, 864),
        shape("ffn1000", "an FFN of 1000: rows that no block divides", "llama", 3, 8, 4, 32, 1000),
        shape("ffn4608", "an FFN of 4608: more inputs than a kernel takes at a time", "llama", 2, 8,
              4, 32, 4608),
        shape("layers29", "29 narrow layers", "llama", 29, 2, 1, 32, 128),
        shape("vocab1003", "an odd vocabulary, tied, rows of 96", "llama", 2, 3, 1, 32, 224,
              vocab_size=1003, tied=True),
        shape("heads1", "one head and one KV head, the smallest vocabulary with merges", "llama", 2, 1, 1, 64, 96,
              vocab_size=263),
    ]


def _exact_shapes() -> list[Preset]:
    llama3_scaling = {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0,
                      "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    return [
        Preset("smollm2-135m", "shape of SmolLM2-135M", "llama", 30, 576, 9, 3, 64, 1536, 49152,
               tied=True, rope_base=1e5, context_length=8192, exact_shape=True),
        Preset("qwen2.5-0.5b", "shape of Qwen2.5-0.5B", "qwen2", 24, 896, 14, 2, 64, 4864, 151936,
               tied=True, rope_base=1e6, context_length=32768, norm_eps=1e-6, attention_bias=True,
               exact_shape=True),
        Preset("llama-3.2-1b", "shape of Llama-3.2-1B", "llama", 16, 2048, 32, 8, 64, 8192,
               128256, tied=True, rope_base=5e5, rope_scaling=llama3_scaling,
               context_length=131072, exact_shape=True),
        Preset("qwen2.5-7b", "shape of Qwen2.5-7B", "qwen2", 28, 3584, 28, 4, 128, 18944, 152064,
               rope_base=1e6, context_length=32768, norm_eps=1e-6, attention_bias=True,
               exact_shape=True),
    ]


PRESETS = {p.name: p for p in _families() + _shapes_that_hurt() + _exact_shapes()}
