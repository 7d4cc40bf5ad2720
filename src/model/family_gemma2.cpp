// Gemma 2: embeddings scaled by sqrt(hidden), norms before and after each half of a layer, GELU,
// soft caps on scores and logits, a sliding window in every even layer. Safetensors store norm
// weights minus one; GGUF adds it.
#include <cmath>

#include "model/family.h"

namespace weft::model {
namespace {

void read(const Keys& keys, ModelConfig& c) {
  c.rope_layout = kernels::RopeLayout::kHalves;
  c.ropes = {read_rope(keys, c)};
  c.activation = read_activation(keys, Activation::kGeluTanh);
  c.post_norms = true;
  c.embedding_scale = std::sqrt(static_cast<float>(c.hidden_size));
  c.norm_weight_offset = keys.is_gguf() ? 0.0f : 1.0f;
  c.attention_softcap = static_cast<float>(
      keys.number_or({".attn_logit_softcapping", "attn_logit_softcapping"}, 50.0, 0.0, 1e6));
  c.logit_softcap = static_cast<float>(
      keys.number_or({".final_logit_softcapping", "final_logit_softcapping"}, 30.0, 0.0, 1e6));
  // The 27B model (46 layers) scales by hidden / heads, which GGUF does not store.
  const double per_head = c.num_layers == 46 ? static_cast<double>(c.hidden_size / c.num_heads)
                                             : static_cast<double>(c.head_dim);
  c.attention_scale = static_cast<float>(
      1.0 / std::sqrt(keys.number_or({"", "query_pre_attn_scalar"}, per_head, 1.0, 1e6)));
  const int64_t window =
      keys.integer_or({".attention.sliding_window", "sliding_window"}, 4096, 1, int64_t{1} << 31);
  for (int64_t layer = 0; layer < c.num_layers; ++layer)
    c.layer_window.push_back(layer % 2 == 0 ? window : 0);
}

}  // namespace

std::string_view gemma_json_tensor(Role role) {
  switch (role) {
    case Role::kPostAttentionNorm:
      return "model.layers.{}.post_attention_layernorm.weight";
    case Role::kFfnNorm:
      return "model.layers.{}.pre_feedforward_layernorm.weight";
    case Role::kPostFfnNorm:
      return "model.layers.{}.post_feedforward_layernorm.weight";
    default:
      return llama_json_tensor(role);
  }
}

const Family& gemma2_family() {
  static const Family family = {
      "gemma2", {"gemma2"}, {"Gemma2ForCausalLM"}, read, gemma_json_tensor};
  return family;
}

}  // namespace weft::model
