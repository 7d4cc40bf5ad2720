// What one step computes: tokens of one or more sequences, any mix of prompt chunks and single
// decode tokens, and the positions whose logits are wanted. Built once a step, read by all shards.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/range.h"
#include "kernels/kernels.h"

namespace weft::model {

// A sequence's tokens in the batch: consecutive, in order of position.
struct SequenceChunk {
  Range tokens;                          // of the batch
  int64_t first_position = 0;            // of the first of them
  std::span<const int32_t> block_table;  // block ids of the whole context
};

// A token whose logits are wanted, and what for.
struct LogitRow {
  int64_t token = 0;         // of the batch
  int64_t position = 0;      // of that token; its logits choose position + 1
  int num_logprobs = -1;     // < 0: no logprobs
  int32_t target = -1;       // >= 0: report its logprob, choose nothing (prompt logprobs)
  float temperature = 0.0f;  // 0: greedy
  uint64_t seed = 0;
  bool hash = false;
  bool full_logits = false;  // gather the whole row
};

struct Batch {
  std::vector<int32_t> token_ids;     // [num_tokens]
  std::vector<SequenceChunk> chunks;  // tile token_ids
  std::vector<LogitRow> rows;         // ascending by token

  int64_t num_tokens() const { return static_cast<int64_t>(token_ids.size()); }
};

// What the head says of one LogitRow.
struct RowResult {
  int32_t id = -1;                      // the choice, or the target
  float logprob = 0.0f;                 // of it; only where logprobs were asked for
  std::vector<kernels::Candidate> top;  // .logit holds the logprob; best first
  std::vector<float> logits;            // [vocab_size] raw; only where asked for
  uint64_t hash = 0;
  bool bad_logits = false;  // a logit was NaN, or the best of them not finite
};

}  // namespace weft::model
