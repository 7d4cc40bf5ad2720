// What a model is, in the words of the architecture: filled by a family (family.h) from GGUF keys
// or config.json, checked once, constant ever after.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/kernels.h"

namespace weft::model {

enum class Activation : uint8_t { kSilu, kGeluTanh };

// Scaling of rotary frequencies for contexts beyond training.
enum class RopeScaling : uint8_t {
  kNone,
  kLinear,  // positions / factor (kaiokendev; HF "linear")
  kLlama3,  // per-frequency factors (Llama 3.1; GGUF stores them as rope_freqs.weight)
  kYarn,    // arXiv 2309.00071, as transformers and llama.cpp compute it
};

struct RopeConfig {
  double base = 10000.0;
  int64_t rotary_dim = 0;  // of the head's dimensions, from the front
  RopeScaling scaling = RopeScaling::kNone;
  double factor = 1.0;
  double low_freq_factor = 1.0, high_freq_factor = 4.0;  // llama3
  int64_t original_context = 0;                          // llama3, YaRN
  double beta_fast = 32.0, beta_slow = 1.0;              // YaRN
  double attention_factor = 0.0;                         // YaRN; 0: 0.1 ln(factor) + 1
  std::vector<double> frequency_factors;                 // [rotary_dim / 2]; divides inv_freq
};

struct ModelConfig {
  std::string architecture;  // as the file names it: "llama", "Qwen2ForCausalLM"
  std::string family;        // "llama"
  std::string name;

  int64_t num_layers = 0;
  int64_t hidden_size = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
  int64_t ffn_size = 0;
  int64_t vocab_size = 0;
  int64_t context_length = 0;

  float norm_eps = 1e-5f;
  float norm_weight_offset = 0.0f;  // added to norm weights at load (Gemma's safetensors: 1)
  float embedding_scale = 1.0f;
  float attention_scale = 0.0f;    // of the scores; usually 1 / sqrt(head_dim)
  float attention_softcap = 0.0f;  // 0: none
  float logit_softcap = 0.0f;
  Activation activation = Activation::kSilu;
  bool qk_norm = false;     // RMSNorm over each query and key head before RoPE
  bool post_norms = false;  // norms after attention and FFN, before the residual add
  bool tied_embeddings = false;

  kernels::RopeLayout rope_layout = kernels::RopeLayout::kHalves;
  std::vector<RopeConfig> ropes;      // usually one; Gemma 3: global, local
  std::vector<int> layer_rope;        // [num_layers] index into ropes
  std::vector<int64_t> layer_window;  // [num_layers]; 0: full attention

  std::vector<int32_t> eos_ids;  // end an answer (from generation_config.json; GGUF: empty)
};

// Every number within the limits of the kernels and of sense; throws Error(kModel).
void check(const ModelConfig& config);

}  // namespace weft::model
