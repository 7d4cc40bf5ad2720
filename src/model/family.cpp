#include "model/family.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"

namespace weft::model {
namespace {

constexpr int64_t kMaxLayers = 1024, kMaxHidden = 1 << 17, kMaxHeads = 1024, kMaxVocab = 1 << 22;

// GGUF tensor names (gguf-py constants.py); "{}" is the layer.
std::string_view gguf_tensor(Role role) {
  switch (role) {
    case Role::kTokenEmbedding:
      return "token_embd.weight";
    case Role::kOutputNorm:
      return "output_norm.weight";
    case Role::kOutput:
      return "output.weight";
    case Role::kAttentionNorm:
      return "blk.{}.attn_norm.weight";
    case Role::kQuery:
      return "blk.{}.attn_q.weight";
    case Role::kKey:
      return "blk.{}.attn_k.weight";
    case Role::kValue:
      return "blk.{}.attn_v.weight";
    case Role::kQueryBias:
      return "blk.{}.attn_q.bias";
    case Role::kKeyBias:
      return "blk.{}.attn_k.bias";
    case Role::kValueBias:
      return "blk.{}.attn_v.bias";
    case Role::kQueryNorm:
      return "blk.{}.attn_q_norm.weight";
    case Role::kKeyNorm:
      return "blk.{}.attn_k_norm.weight";
    case Role::kAttentionOutput:
      return "blk.{}.attn_output.weight";
    case Role::kAttentionOutputBias:
      return "blk.{}.attn_output.bias";
    case Role::kPostAttentionNorm:
      return "blk.{}.post_attention_norm.weight";
    case Role::kFfnNorm:
      return "blk.{}.ffn_norm.weight";
    case Role::kGate:
      return "blk.{}.ffn_gate.weight";
    case Role::kUp:
      return "blk.{}.ffn_up.weight";
    case Role::kDown:
      return "blk.{}.ffn_down.weight";
    case Role::kGateBias:
      return "blk.{}.ffn_gate.bias";
    case Role::kUpBias:
      return "blk.{}.ffn_up.bias";
    case Role::kDownBias:
      return "blk.{}.ffn_down.bias";
    case Role::kPostFfnNorm:
      return "blk.{}.post_ffw_norm.weight";
  }
  return {};
}

// GGUF states linear and YaRN scaling in keys, llama3's as a tensor of factors.
void read_gguf_rope(const Keys& keys, RopeConfig& rope) {
  const std::string type = keys.find_string({".rope.scaling.type", ""}).value_or("none");
  if (type == "linear" || type == "yarn") {
    rope.scaling = type == "linear" ? RopeScaling::kLinear : RopeScaling::kYarn;
    rope.factor = keys.number({".rope.scaling.factor", ""}, 1e-3, 1e6);
  } else if (type != "none" && type != "llama3") {
    throw Error(ErrorKind::kModel, fmt::format("{}: rope scaling \"{}\" is not known",
                                               keys.checkpoint().path().string(), type));
  }
  if (rope.scaling == RopeScaling::kYarn) {
    rope.original_context =
        keys.integer({".rope.scaling.original_context_length", ""}, 1, int64_t{1} << 31);
    rope.beta_fast = keys.number_or({".rope.scaling.yarn_beta_fast", ""}, 32.0, 1e-3, 1e6);
    rope.beta_slow = keys.number_or({".rope.scaling.yarn_beta_slow", ""}, 1.0, 1e-3, 1e6);
    const double factor = keys.number_or({".rope.scaling.attn_factor", ""}, 1.0, 1e-3, 1e3);
    rope.attention_factor = factor * (0.1 * kernels::log_double(rope.factor) + 1.0);
  }
  if (const tensor::RawTensor* factors = keys.checkpoint().find("rope_freqs.weight")) {
    if (factors->data == nullptr || factors->num_cols() != rope.rotary_dim / 2)
      throw Error(ErrorKind::kModel,
                  fmt::format("rope_freqs.weight holds {} factors for {} rotated pairs",
                              factors->num_cols(), rope.rotary_dim / 2));
    std::vector<float> values(static_cast<size_t>(factors->num_cols()));
    kernels::decode_row(factors->dtype, factors->data, factors->num_cols(), values.data());
    for (const float value : values) {
      if (!(value > 0.0f) || !std::isfinite(value))
        throw Error(ErrorKind::kModel, "rope_freqs.weight holds a factor that is not positive");
    }
    rope.frequency_factors.assign(values.begin(), values.end());
  }
}

double json_number(const nlohmann::json& object, const char* name, double fallback, double low,
                   double high) {
  const auto it = object.find(name);
  if (it == object.end() || it->is_null()) return fallback;
  const double value = it->is_number() ? it->get<double>() : std::nan("");
  if (!(value >= low && value <= high))
    throw Error(ErrorKind::kModel,
                fmt::format("config.json: rope parameter {} is outside {} to {}", name, low, high));
  return value;
}

// transformers 4: rope_theta and rope_scaling; transformers 5: rope_parameters, for some families
// nested by layer type.
void read_json_rope(const Keys& keys, std::string_view layer_type, RopeConfig& rope) {
  const nlohmann::json& root = keys.json();
  nlohmann::json scaling = nlohmann::json::object();
  for (const char* name : {"rope_scaling", "rope_parameters"}) {
    const auto it = root.find(name);
    if (it == root.end() || !it->is_object()) continue;
    scaling = *it;
    const auto nested = layer_type.empty() ? it->end() : it->find(layer_type);
    if (nested != it->end() && nested->is_object()) scaling = *nested;
  }
  rope.base = json_number(scaling, "rope_theta", rope.base, 1.0, 1e12);
  std::string type = "default";
  for (const char* name : {"type", "rope_type"}) {
    const auto it = scaling.find(name);
    if (it == scaling.end() || it->is_null()) continue;
    if (!it->is_string())
      throw Error(ErrorKind::kModel,
                  fmt::format("config.json: rope parameter {} is no string", name));
    type = it->get<std::string>();
  }
  if (type == "default") return;
  rope.factor = json_number(scaling, "factor", 1.0, 1e-3, 1e6);
  const double original = json_number(
      scaling, "original_max_position_embeddings",
      static_cast<double>(keys.integer_or({"", "max_position_embeddings"}, 2048, 1, 1 << 30)), 1,
      1e9);
  rope.original_context = static_cast<int64_t>(original);
  if (type == "linear") {
    rope.scaling = RopeScaling::kLinear;
  } else if (type == "llama3") {
    rope.scaling = RopeScaling::kLlama3;
    rope.low_freq_factor = json_number(scaling, "low_freq_factor", 1.0, 1e-3, 1e6);
    rope.high_freq_factor = json_number(scaling, "high_freq_factor", 4.0, 1e-3, 1e6);
  } else if (type == "yarn") {
    rope.scaling = RopeScaling::kYarn;
    rope.beta_fast = json_number(scaling, "beta_fast", 32.0, 1e-3, 1e6);
    rope.beta_slow = json_number(scaling, "beta_slow", 1.0, 1e-3, 1e6);
    rope.attention_factor = json_number(scaling, "attention_factor", 0.0, 0.0, 1e3);
  } else {
    throw Error(ErrorKind::kModel, fmt::format("config.json: rope_type \"{}\" is not known", type),
                {}, "known: default, linear, llama3, yarn");
  }
}

}  // namespace

std::span<const Family* const> families() {
  static const std::array<const Family*, 5> all = {
      &llama_family(), &qwen2_family(), &qwen3_family(), &gemma2_family(), &gemma3_family()};
  return all;
}

const Family& find_family(const Keys& keys) {
  std::string known;
  for (const Family* family : families()) {
    for (const std::string_view name :
         keys.is_gguf() ? family->gguf_architectures : family->json_architectures) {
      if (name == keys.architecture()) return *family;
      known += (known.empty() ? "" : ", ") + std::string(name);
    }
  }
  throw Error(ErrorKind::kModel,
              fmt::format("{}: the architecture \"{}\" is not known",
                          keys.checkpoint().path().string(), keys.architecture()),
              "known are " + known, "docs/add_a_model.md shows how a family is added");
}

ModelConfig read_config(const Keys& keys) {
  const Family& family = find_family(keys);
  ModelConfig config;
  config.architecture = keys.architecture();
  config.family = family.name;
  config.name = keys.find_string({"general.name", "_name_or_path"}).value_or("");
  try {
    read_common(keys, config);
    family.read(keys, config);
  } catch (const nlohmann::json::exception& e) {
    throw Error(ErrorKind::kModel,
                fmt::format("{}: config.json: {}", keys.checkpoint().path().string(), e.what()));
  }
  const size_t layers = static_cast<size_t>(config.num_layers);
  if (config.layer_rope.empty()) config.layer_rope.assign(layers, 0);
  if (config.layer_window.empty()) config.layer_window.assign(layers, 0);
  if (config.attention_scale == 0.0f)
    config.attention_scale = 1.0f / std::sqrt(static_cast<float>(config.head_dim));
  check(config);
  return config;
}

void read_common(const Keys& keys, ModelConfig& c) {
  c.num_layers = keys.integer({".block_count", "num_hidden_layers"}, 1, kMaxLayers);
  c.hidden_size = keys.integer({".embedding_length", "hidden_size"}, 8, kMaxHidden);
  c.num_heads = keys.uniform_integer({".attention.head_count", "num_attention_heads"}, c.num_layers,
                                     std::nullopt, 1, kMaxHeads);
  c.num_kv_heads = keys.uniform_integer({".attention.head_count_kv", "num_key_value_heads"},
                                        c.num_layers, c.num_heads, 1, kMaxHeads);
  c.ffn_size = keys.uniform_integer({".feed_forward_length", "intermediate_size"}, c.num_layers,
                                    std::nullopt, 8, int64_t{1} << 20);
  c.head_dim =
      keys.integer_or({".attention.key_length", "head_dim"}, c.hidden_size / c.num_heads, 2, 512);
  const int64_t value_dim = keys.integer_or({".attention.value_length", ""}, c.head_dim, 1, 4096);
  if (value_dim != c.head_dim)
    throw Error(ErrorKind::kModel, fmt::format("keys of {} and values of {} dimensions: heads of "
                                               "unequal sizes are not run yet",
                                               c.head_dim, value_dim));
  c.context_length =
      keys.integer({".context_length", "max_position_embeddings"}, 1, int64_t{1} << 31);
  c.norm_eps = static_cast<float>(
      keys.number({".attention.layer_norm_rms_epsilon", "rms_norm_eps"}, 0.0, 1.0));

  const bool gguf = keys.is_gguf();
  const tensor::RawTensor& embedding =
      keys.checkpoint().require(gguf ? "token_embd.weight" : "model.embed_tokens.weight");
  c.vocab_size = embedding.num_rows();
  if (c.vocab_size < 1 || c.vocab_size > kMaxVocab)
    throw Error(ErrorKind::kModel, fmt::format("a vocabulary of {} tokens is outside 1 to {}",
                                               c.vocab_size, kMaxVocab));
  c.tied_embeddings = keys.checkpoint().find(gguf ? "output.weight" : "lm_head.weight") == nullptr;
}

RopeConfig read_rope(const Keys& keys, const ModelConfig& config, std::string_view layer_type) {
  RopeConfig rope;
  rope.base = keys.number_or({".rope.freq_base", "rope_theta"}, 10000.0, 1.0, 1e12);
  rope.rotary_dim =
      keys.integer_or({".rope.dimension_count", ""}, config.head_dim, 2, config.head_dim);
  if (keys.is_gguf()) {
    read_gguf_rope(keys, rope);
  } else {
    read_json_rope(keys, layer_type, rope);
  }
  return rope;
}

Activation read_activation(const Keys& keys, Activation fallback) {
  if (keys.is_gguf()) return fallback;
  auto name = keys.find_string({"", "hidden_activation"});
  if (!name) name = keys.find_string({"", "hidden_act"});
  if (!name) return fallback;
  if (*name == "silu" || *name == "swish") return Activation::kSilu;
  if (*name == "gelu_pytorch_tanh" || *name == "gelu_new") return Activation::kGeluTanh;
  throw Error(ErrorKind::kModel,
              fmt::format("config.json: the activation \"{}\" is not run", *name),
              "known are silu and gelu_pytorch_tanh");
}

std::string tensor_name(const Family& family, bool gguf, Role role, int64_t layer) {
  const std::string_view pattern = gguf ? gguf_tensor(role) : family.json_tensor(role);
  const size_t hole = pattern.find("{}");
  if (hole == std::string_view::npos) return std::string(pattern);
  return fmt::format("{}{}{}", pattern.substr(0, hole), layer, pattern.substr(hole + 2));
}

std::string_view llama_json_tensor(Role role) {
  switch (role) {
    case Role::kTokenEmbedding:
      return "model.embed_tokens.weight";
    case Role::kOutputNorm:
      return "model.norm.weight";
    case Role::kOutput:
      return "lm_head.weight";
    case Role::kAttentionNorm:
      return "model.layers.{}.input_layernorm.weight";
    case Role::kQuery:
      return "model.layers.{}.self_attn.q_proj.weight";
    case Role::kKey:
      return "model.layers.{}.self_attn.k_proj.weight";
    case Role::kValue:
      return "model.layers.{}.self_attn.v_proj.weight";
    case Role::kQueryBias:
      return "model.layers.{}.self_attn.q_proj.bias";
    case Role::kKeyBias:
      return "model.layers.{}.self_attn.k_proj.bias";
    case Role::kValueBias:
      return "model.layers.{}.self_attn.v_proj.bias";
    case Role::kQueryNorm:
      return "model.layers.{}.self_attn.q_norm.weight";
    case Role::kKeyNorm:
      return "model.layers.{}.self_attn.k_norm.weight";
    case Role::kAttentionOutput:
      return "model.layers.{}.self_attn.o_proj.weight";
    case Role::kAttentionOutputBias:
      return "model.layers.{}.self_attn.o_proj.bias";
    case Role::kFfnNorm:
      return "model.layers.{}.post_attention_layernorm.weight";
    case Role::kGate:
      return "model.layers.{}.mlp.gate_proj.weight";
    case Role::kUp:
      return "model.layers.{}.mlp.up_proj.weight";
    case Role::kDown:
      return "model.layers.{}.mlp.down_proj.weight";
    case Role::kGateBias:
      return "model.layers.{}.mlp.gate_proj.bias";
    case Role::kUpBias:
      return "model.layers.{}.mlp.up_proj.bias";
    case Role::kDownBias:
      return "model.layers.{}.mlp.down_proj.bias";
    case Role::kPostAttentionNorm:
    case Role::kPostFfnNorm:
      return {};
  }
  return {};
}

void check(const ModelConfig& c) {
  const auto refuse = [](const std::string& what) { throw Error(ErrorKind::kModel, what); };
  if (c.num_heads % c.num_kv_heads != 0)
    refuse(
        fmt::format("{} query heads do not divide into {} KV heads", c.num_heads, c.num_kv_heads));
  if (c.head_dim % 2 != 0) refuse(fmt::format("a head size of {} is odd", c.head_dim));
  if (c.head_dim % 8 != 0) refuse(fmt::format("a head size of {} is no multiple of 8", c.head_dim));
  if (c.hidden_size % 8 != 0)
    refuse(fmt::format("a hidden size of {} is no multiple of 8", c.hidden_size));
  const size_t layers = static_cast<size_t>(c.num_layers);
  WEFT_CHECK_EQ(c.layer_rope.size(), layers);
  WEFT_CHECK_EQ(c.layer_window.size(), layers);
  for (const RopeConfig& rope : c.ropes) {
    if (rope.rotary_dim % 2 != 0 || rope.rotary_dim > c.head_dim)
      refuse(fmt::format("{} rotated dimensions of a head of {}", rope.rotary_dim, c.head_dim));
  }
}

}  // namespace weft::model
