// A step plan and its answer: the messages between the one who plans and the workers.
#pragma once

#include <cstdint>
#include <vector>

#include "model/batch.h"

namespace weft::engine {

// Plain values, so that a plan can be broadcast as bytes. Workers run plans in order.
struct StepPlan {
  uint64_t id = 0;
  std::vector<int32_t> token_ids;
  int64_t first_position = 0;
  std::vector<int32_t> block_table;  // of the whole context
  std::vector<model::LogitRow> rows;
};

// What the last stage says of a step.
struct StepAnswer {
  std::vector<model::RowResult> rows;  // one a LogitRow, in order
  std::vector<int32_t> bad_layer;      // one a sequence of the step: the first layer where a sum
                                       // of any of its tokens left its range; -1: none
};

// What a rank has spent since it started, for --stats; ranks of one worker share all but the bytes.
struct RankClock {
  int64_t compute_ns = 0;    // in steps, outside reductions, not waiting
  int64_t reduce_ns = 0;     // in reductions with the residual and norm after them, not waiting
  int64_t reduce_bytes = 0;  // payload that the rank added to reductions
};

}  // namespace weft::engine
