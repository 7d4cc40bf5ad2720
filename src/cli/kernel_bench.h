// The kernels against the bounds of the machine, measured in one process by the same threads.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/thread_team.h"
#include "kernels/kernels.h"
#include "tensor/dtype.h"

namespace weft::cli {

// A weight type as `weft inspect` names it. Error(kUsage) lists those that there are.
tensor::DType dtype_named(const std::string& name);

// Rates of all threads together.
struct Bounds {
  double read_gb_per_s = 0;                               // of memory that no cache holds
  double int8_gops = 0, bf16_gflops = 0, f32_gflops = 0;  // products in registers
};
Bounds measure_bounds(const kernels::KernelTable& table, ThreadTeam& team);

// The linears of one layer of a model.
struct LayerShape {
  std::string name;
  int64_t hidden = 0, head_dim = 0, num_heads = 0, num_kv_heads = 0, ffn = 0, ffn_unit = 0;
};
const std::vector<LayerShape>& layer_shapes();

// One weight type at one number of tokens: the layer's column-parallel linears (query, key, value,
// gate, up) and its row-parallel ones (attention output, down).
struct LinearRates {
  double column_gops = 0, row_gops = 0;  // two operations a weight and token
  double gb_per_s = 0;                   // of weights, over all
};
LinearRates measure_linears(const kernels::KernelTable& table, ThreadTeam& team,
                            const LayerShape& shape, tensor::DType dtype, int64_t num_tokens);

// Attention of `num_tokens` tokens of one sequence behind `depth` others.
struct AttentionRates {
  double gflops = 0;    // four a query head, position that is seen and value of the head
  double gb_per_s = 0;  // of keys and values, each read once
};
AttentionRates measure_attention(const kernels::KernelTable& table, ThreadTeam& team,
                                 const LayerShape& shape, kernels::KvType type, int64_t num_tokens,
                                 int64_t depth);

}  // namespace weft::cli
