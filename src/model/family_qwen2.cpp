// Qwen2 and Qwen2.5: Llama with biases on the query, key and value projections (found by their
// tensors), rotation in halves.
#include "model/family.h"

namespace weft::model {
namespace {

void read(const Keys& keys, ModelConfig& c) {
  c.rope_layout = kernels::RopeLayout::kHalves;
  c.ropes = {read_rope(keys, c)};
  c.activation = read_activation(keys, Activation::kSilu);
  // Windows are used from max_window_layers on, and only where config.json switches them on.
  if (keys.find_bool({"", "use_sliding_window"}).value_or(false)) {
    const int64_t window = keys.integer({"", "sliding_window"}, 1, int64_t{1} << 31);
    const int64_t first = keys.integer_or({"", "max_window_layers"}, 0, 0, 1 << 20);
    c.layer_window.assign(static_cast<size_t>(c.num_layers), 0);
    for (int64_t layer = first; layer < c.num_layers; ++layer)
      c.layer_window[static_cast<size_t>(layer)] = window;
  }
}

}  // namespace

const Family& qwen2_family() {
  static const Family family = {"qwen2", {"qwen2"}, {"Qwen2ForCausalLM"}, read, llama_json_tensor};
  return family;
}

}  // namespace weft::model
