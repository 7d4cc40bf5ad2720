// A family: how one line of models names its numbers and tensors and what it does differently.
// One file a family (family_*.cpp); docs/add_a_model.md shows how to write one.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/config.h"
#include "model/keys.h"

namespace weft::model {

// The parts of a model that weights belong to.
enum class Role : uint8_t {
  kTokenEmbedding,
  kOutputNorm,
  kOutput,
  kAttentionNorm,
  kQuery,
  kKey,
  kValue,
  kQueryBias,
  kKeyBias,
  kValueBias,
  kQueryNorm,
  kKeyNorm,
  kAttentionOutput,
  kAttentionOutputBias,
  kPostAttentionNorm,
  kFfnNorm,
  kGate,
  kUp,
  kDown,
  kGateBias,
  kUpBias,
  kDownBias,
  kPostFfnNorm,
};

struct Family {
  std::string_view name;
  std::vector<std::string_view> gguf_architectures;  // general.architecture
  std::vector<std::string_view> json_architectures;  // config.json architectures[0]
  // Fills the whole config; architecture, family and name are set already.
  void (*read)(const Keys& keys, ModelConfig& config);
  // Tensor name of a role in safetensors; "{}" stands for the layer. GGUF names are the same for
  // every family (gguf_tensor_name).
  std::string_view (*json_tensor)(Role role);
};

// All families; an unknown architecture is Error(kModel) that lists them.
std::span<const Family* const> families();
const Family& find_family(const Keys& keys);

const Family& llama_family();
const Family& qwen2_family();
const Family& qwen3_family();
const Family& gemma2_family();
const Family& gemma3_family();

// Reads the family's config and checks it.
ModelConfig read_config(const Keys& keys);

// The file's name of a role's tensor in a layer (layer ignored where the role has none).
std::string tensor_name(const Family& family, bool gguf, Role role, int64_t layer);

// ---- shared by the families

// Layers, sizes, heads, norms, vocabulary, context: the keys that all of them have.
void read_common(const Keys& keys, ModelConfig& config);
// The rotary embedding with its scaling, from GGUF's rope.* or config.json's rope_theta,
// rope_scaling and rope_parameters; layer_type: "full_attention" etc. where nested by layer type.
RopeConfig read_rope(const Keys& keys, const ModelConfig& config, std::string_view layer_type = {});
// config.json's hidden_act or hidden_activation (GGUF has no key: the family's own). One that is
// not run is Error(kModel), not a guess.
Activation read_activation(const Keys& keys, Activation fallback);
// Names used by Llama-like safetensors.
std::string_view llama_json_tensor(Role role);
// The same with the norms before and after that Gemma 2 and 3 have.
std::string_view gemma_json_tensor(Role role);

}  // namespace weft::model
