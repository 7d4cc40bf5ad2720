// What one step computes: tokens of one or more sequences, any mix of prompt chunks and single
// decode tokens, and the positions whose logits are wanted. Built once a step, read by all shards.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "base/range.h"
#include "cache/group_layout.h"
#include "kernels/kernels.h"

namespace weft::model {

// A sequence's blocks in one cache group: ids of those from first_block on; nothing that the
// chunk's tokens see there lies before it.
struct BlockRun {
  std::span<const int32_t> ids;
  int64_t first_block = 0;
};

// A sequence's tokens in the batch: consecutive, in order of position.
struct SequenceChunk {
  Range tokens;                // of the batch
  int64_t first_position = 0;  // of the first of them
  std::array<BlockRun, cache::kMostGroups> blocks;
};

using kernels::TokenAdjustment;

// LogitRow::num_logprobs for all ids of the vocabulary.
inline constexpr int32_t kAllLogprobs = std::numeric_limits<int32_t>::max();

// A token whose logits are wanted, and what for. It carries all that its choice depends on, so that
// a step can be run again anywhere.
//
// The choice: logits are adjusted, ids outside the mask are forbidden; the best is taken
// (temperature 0), or one is drawn among those that are kept. Kept are, one filter after another:
// logits of at least min_p times the largest probability; of these the top_k first; of these the
// fewest first whose mass reaches top_p of what is left; of these the fewest most typical (those
// nearest to the mean of the log-probabilities) whose mass reaches typical_p. "First" is the order
// of kernels::better, ties going to the smaller id; every filter keeps one at least. Logprobs,
// hashes and full logits are of the raw distribution.
struct LogitRow {
  int64_t token = 0;          // of the batch
  int64_t position = 0;       // of that token; its logits choose position + 1
  int32_t num_logprobs = -1;  // < 0: no logprobs; kAllLogprobs: of every id
  int32_t target = -1;        // >= 0: report its logprob, choose nothing (prompt logprobs)
  float temperature = 0.0f;   // 0: greedy
  uint64_t seed = 0;
  uint32_t choice = 0;  // the stream of random numbers: which of a request's answers
  int32_t top_k = 0;    // < 1: off
  float top_p = 1.0f;   // 1: off, as for typical_p
  float min_p = 0.0f;   // 0: off
  float typical_p = 1.0f;
  float repetition_penalty = 1.0f;  // of adjustments that are `repeated`
  Range adjustments;                // of the batch's
  Range mask;                       // of the batch's masks: bit i % 32 of word i / 32 allows id i;
                                    // empty: all are allowed
  bool hash = false;
  bool full_logits = false;  // gather the whole row
};

struct Batch {
  std::vector<int32_t> token_ids;     // [num_tokens]
  std::vector<SequenceChunk> chunks;  // tile token_ids
  std::vector<LogitRow> rows;         // ascending by token
  std::span<const int64_t> states;    // tokens whose final hidden state is wanted (the plan's)
  // The plan's, valid as long as it is.
  std::span<const TokenAdjustment> adjustments;
  std::span<const uint32_t> masks;

  int64_t num_tokens() const { return static_cast<int64_t>(token_ids.size()); }
};

// What the head says of one LogitRow.
struct RowResult {
  int32_t id = -1;       // the choice, or the target
  float logprob = 0.0f;  // of it; only where logprobs were asked for
  // Of a target with logprobs: its place among all ids, from 1, in the order of kernels::better by
  // raw logits. 0 elsewhere, and where all logprobs are listed.
  int64_t rank = 0;
  std::vector<kernels::Candidate> top;  // .logit holds the logprob; best first
  std::vector<float> logits;            // [vocab_size] raw; only where asked for
  uint64_t hash = 0;
  bool bad_logits = false;  // a logit was NaN, or the best of them not finite
  bool no_choice = false;   // every id was forbidden: id is -1
};

}  // namespace weft::model
