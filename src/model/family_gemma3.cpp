// Gemma 3 (text): Gemma 2 without soft caps, with RMSNorm over query and key heads, five sliding
// layers to one of full attention, and two rotary bases: a local one for sliding layers, a global
// one (perhaps scaled) for the others.
#include <cmath>

#include "base/error.h"
#include "model/family.h"

namespace weft::model {
namespace {

constexpr int64_t kDefaultPattern = 6;  // every sixth layer attends to everything

bool is_sliding(const Keys& keys, int64_t pattern, int64_t layer) {
  const auto types = keys.json().is_object() ? keys.json().find("layer_types") : keys.json().end();
  if (!keys.is_gguf() && types != keys.json().end() && types->is_array() &&
      static_cast<int64_t>(types->size()) > layer &&
      (*types)[static_cast<size_t>(layer)].is_string())
    return (*types)[static_cast<size_t>(layer)].get<std::string>() == "sliding_attention";
  return (layer + 1) % pattern != 0;
}

void read(const Keys& keys, ModelConfig& c) {
  c.rope_layout = kernels::RopeLayout::kHalves;
  c.activation = read_activation(keys, Activation::kGeluTanh);
  c.post_norms = true;
  c.qk_norm = true;
  c.embedding_scale = std::sqrt(static_cast<float>(c.hidden_size));
  c.norm_weight_offset = keys.is_gguf() ? 0.0f : 1.0f;
  c.logit_softcap = static_cast<float>(
      keys.number_or({".final_logit_softcapping", "final_logit_softcapping"}, 0.0, 0.0, 1e6));
  c.attention_softcap = static_cast<float>(
      keys.number_or({".attn_logit_softcapping", "attn_logit_softcapping"}, 0.0, 0.0, 1e6));
  // The 27B model (62 layers) scales by hidden / heads, which GGUF does not store.
  const double per_head = c.num_layers == 62 ? static_cast<double>(c.hidden_size / c.num_heads)
                                             : static_cast<double>(c.head_dim);
  c.attention_scale = static_cast<float>(
      1.0 / std::sqrt(keys.number_or({"", "query_pre_attn_scalar"}, per_head, 1.0, 1e6)));

  RopeConfig global = read_rope(keys, c, "full_attention");
  RopeConfig local;
  local.rotary_dim = global.rotary_dim;
  local.base = keys.number_or({".rope.freq_base_swa", "rope_local_base_freq"}, 10000.0, 1.0, 1e12);
  if (!keys.is_gguf() && keys.json().contains("rope_parameters"))
    local = read_rope(keys, c, "sliding_attention");
  c.ropes = {global, local};

  const int64_t window =
      keys.integer({".attention.sliding_window", "sliding_window"}, 1, int64_t{1} << 31);
  const int64_t pattern = keys.integer_or(
      {".attention.sliding_window_pattern", "sliding_window_pattern"}, kDefaultPattern, 1, 1 << 20);
  for (int64_t layer = 0; layer < c.num_layers; ++layer) {
    const bool sliding = is_sliding(keys, pattern, layer);
    c.layer_window.push_back(sliding ? window : 0);
    c.layer_rope.push_back(sliding ? 1 : 0);
  }
}

}  // namespace

const Family& gemma3_family() {
  static const Family family = {
      "gemma3", {"gemma3"}, {"Gemma3ForCausalLM"}, read, gemma_json_tensor};
  return family;
}

}  // namespace weft::model
