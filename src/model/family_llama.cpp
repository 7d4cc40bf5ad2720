// Llama 2 and 3, SmolLM2, Mistral: the plain decoder that the others vary.
//
// GGUF files of the "llama" architecture hold query and key rows permuted for interleaved
// rotation; safetensors keep them for rotation in halves. Mistral 0.1 slides a window in every
// layer.
#include "model/family.h"

namespace weft::model {
namespace {

void read(const Keys& keys, ModelConfig& c) {
  c.rope_layout = keys.is_gguf() ? kernels::RopeLayout::kInterleaved : kernels::RopeLayout::kHalves;
  c.ropes = {read_rope(keys, c)};
  c.activation = read_activation(keys, Activation::kSilu);
  const int64_t window =
      keys.integer_or({".attention.sliding_window", "sliding_window"}, 0, 0, int64_t{1} << 31);
  c.layer_window.assign(static_cast<size_t>(c.num_layers), window);
}

}  // namespace

const Family& llama_family() {
  static const Family family = {
      "llama", {"llama"}, {"LlamaForCausalLM", "MistralForCausalLM"}, read, llama_json_tensor};
  return family;
}

}  // namespace weft::model
