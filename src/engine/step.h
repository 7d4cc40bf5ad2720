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

// What a rank has spent since it started, for --stats; ranks of one worker share all but the bytes.
struct RankClock {
  int64_t total_ns = 0;    // inside run()
  int64_t compute_ns = 0;  // inside the tiles of phases
  int64_t reduce_ns = 0;   // inside reductions, waiting for peers included
  int64_t wait_ns = 0;     // waiting for peers and for the stage before
  int64_t reduce_bytes = 0;  // payload that the rank added to reductions
};

}  // namespace weft::engine
