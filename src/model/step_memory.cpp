#include "model/step_memory.h"

#include <algorithm>

#include "parallel/sequence.h"

namespace weft::model {
namespace {

constexpr int64_t kSmallTakes = 64;  // arena takes of a step, each rounded up to 64 bytes
constexpr int64_t kTakesOfShard = 8;

int64_t row_input_bytes(const parallel::RowLinear& linear, int64_t num_tokens) {
  if (linear.weight.empty()) return 0;
  return kernels::activation_bytes(linear.weight.activation_type(), num_tokens,
                                   linear.weight.layout().inputs);
}

StepMemory::ShardSizes sizes_of(const ShardWeights& shard, int64_t max_tokens) {
  StepMemory::ShardSizes sizes;
  for (const LayerShard& layer : shard.layers) {
    sizes.query = std::max(sizes.query, layer.query.weight.padded_rows());
    sizes.key = std::max(sizes.key, layer.key.weight.padded_rows());
    sizes.value = std::max(sizes.value, layer.value.weight.padded_rows());
    sizes.gate = std::max(sizes.gate, layer.gate.weight.padded_rows());
    for (const parallel::RowLinear* linear : {&layer.output, &layer.down})
      sizes.row_input_bytes = std::max(sizes.row_input_bytes, row_input_bytes(*linear, max_tokens));
  }
  return sizes;
}

}  // namespace

StepMemory::StepMemory(const ModelConfig& config, const StageSplit& split,
                       std::span<const ShardWeights> shards, const kernels::KvLayout& layout,
                       StepLimits limits, int num_threads, int num_members)
    : limits_(limits),
      num_threads_(num_threads),
      stride_(round_up(config.hidden_size, 16)),
      hidden_size_(config.hidden_size),
      num_members_(num_members),
      first_stage_(split.first) {
  const int64_t spans = ceil_div(limits.max_positions, kernels::kAttentionSpan);
  for (const ShardWeights& shard : shards) {
    shards_.push_back(sizes_of(shard, limits.max_tokens));
    if (num_threads > 1)
      partials_floats_ +=
          shards_.back().query / config.head_dim * spans * kernels::partial_floats(layout);
  }
}

int64_t StepMemory::arena_bytes() const {
  const int64_t tokens = limits_.max_tokens;
  int64_t floats = tokens * stride_ + scratch_floats() + partials_floats_;
  int64_t bytes = tokens * 4;  // which layer was the first to fail
  for (const ShardSizes& s : shards_) {
    floats += tokens * (2 * s.query + s.key + s.value + 2 * s.gate);
    bytes += s.row_input_bytes;
  }
  bytes += parallel::GatheredInputs::bytes(tensor::InputMap::whole(hidden_size_), tokens);
  const int64_t takes = kSmallTakes + kTakesOfShard * static_cast<int64_t>(shards_.size());
  return floats * 4 + bytes + takes * 64;
}

int64_t StepMemory::embedding_bytes() const {
  return first_stage_ ? limits_.max_tokens * stride_ * 4 : 0;
}

int64_t StepMemory::partial_sum_bytes() const {
  return parallel::ExactReduce::buffer_bytes(num_members_, limits_.max_tokens, hidden_size_);
}

}  // namespace weft::model
