// What the steps of a stage take on one worker besides weights, cache and logits: a function of
// sizes alone, so that the engine plans it before anything is loaded and the stage allocates the
// same bytes.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/kernels.h"
#include "model/config.h"
#include "model/split.h"
#include "model/weights.h"

namespace weft::model {

struct StepLimits {
  int64_t max_tokens = 512;   // of one batch
  int64_t max_positions = 0;  // of one context
};

class StepMemory {
 public:
  // The largest of each over a shard's layers.
  struct ShardSizes {
    int64_t query = 0, key = 0, value = 0, gate = 0;  // floats a token
    int64_t row_input_bytes = 0;                      // for max_tokens
  };

  // shards: those of the worker. num_members: workers of the stage.
  StepMemory(const ModelConfig& config, const StageSplit& split,
             std::span<const ShardWeights> shards, const kernels::KvLayout& layout,
             StepLimits limits, int num_threads, int num_members);

  const ShardSizes& shard(size_t shard_index) const { return shards_[shard_index]; }
  // Rows of the hidden size: round_up(hidden_size, 16) floats.
  int64_t stride() const { return stride_; }
  // States of every span of one token of the longest context; none for one thread.
  int64_t partials_floats() const { return partials_floats_; }
  // [num_threads, kScratchRows, stride]
  static constexpr int64_t kScratchRows = 2;
  int64_t scratch_floats() const { return num_threads_ * kScratchRows * stride_; }

  int64_t arena_bytes() const;
  int64_t embedding_bytes() const;    // of the rows that are lent to peers; 0 past the first stage
  int64_t partial_sum_bytes() const;  // of parallel::ExactReduce
  int64_t total_bytes() const { return arena_bytes() + embedding_bytes() + partial_sum_bytes(); }

 private:
  std::vector<ShardSizes> shards_;
  StepLimits limits_;
  int64_t num_threads_, stride_, hidden_size_, partials_floats_ = 0;
  int num_members_;
  bool first_stage_;
};

}  // namespace weft::model
