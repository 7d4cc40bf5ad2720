// Qwen3 (dense): Llama without biases, RMSNorm over each query and key head before rotation in
// halves, and a head size of its own (head_dim need not be hidden / heads).
#include "model/family.h"

namespace weft::model {
namespace {

void read(const Keys& keys, ModelConfig& c) {
  c.rope_layout = kernels::RopeLayout::kHalves;
  c.ropes = {read_rope(keys, c)};
  c.activation = read_activation(keys, Activation::kSilu);
  c.qk_norm = true;
}

}  // namespace

const Family& qwen3_family() {
  static const Family family = {"qwen3", {"qwen3"}, {"Qwen3ForCausalLM"}, read, llama_json_tensor};
  return family;
}

}  // namespace weft::model
