// Where the time of a pipeline went: for each stage over a window, six times that add up to it.
//
//   busy         inside kernels
//   collectives  adding what its ranks computed, and waiting for one another in that
//   input        waiting for the stage before, and taking its hidden state over
//   nothing      no step to run: no request, or (first stage) all micro-batches wait for answers
//   sending      handing the hidden state over, and waiting for room with the next stage
//   scheduler    planning, filling batches, taking answers and telling them
//
// A stage that runs on several ranks has the mean of their times. The bubble of a stage is the
// share of the window in which it works on no step: 1 - (busy + collectives) / window. Collectives
// are a cost of tensor parallelism inside a stage, so they are shown apart and are no bubble of the
// pipeline. Fill is the time before a stage's first work, drain that after its last: a bubble that
// remains between the two is one of the schedule or of uneven stages.
//
// Ranks that one pool runs (engine/placement.h) share its threads phase by phase: the pool is one
// row, and stages pass nothing on.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/activity.h"
#include "base/range.h"

namespace weft::engine {

// Of a rank, in a window; ranks of one pool share the pool's.
struct RankTimes {
  double compute_s = 0;
  double all_reduce_s = 0;  // with the residual and norm that follow in the same pass
  double wait_s = 0;        // the rest: for peers, other stages, the next step, the scheduler
  int64_t reduce_bytes = 0;
};

// Of a stage, or of the pool.
struct StageTime {
  Range ranks;
  double busy_s = 0, collectives_s = 0, input_s = 0, nothing_s = 0, sending_s = 0, scheduler_s = 0;
  double window_s = 0;
  double fill_s = 0, drain_s = 0;  // with no work at all: the window, and 0

  double work_s() const { return busy_s + collectives_s; }
  double sum_s() const { return work_s() + input_s + nothing_s + sending_s + scheduler_s; }
  double bubble() const { return share_left(window_s); }
  // Between its first work and its last.
  double inner_bubble() const { return share_left(window_s - fill_s - drain_s); }

 private:
  double share_left(double of_s) const { return of_s > 0 ? 1.0 - work_s() / of_s : 0.0; }
};

struct PipelineReport {
  bool pooled = false;  // one row, of all ranks
  double window_s = 0;
  int64_t num_steps = 0;  // submitted in it
  std::vector<StageTime> stages;
  std::vector<RankTimes> ranks;
};

// The workers that run one row of the report, and the ranks on them: one each, or all on one.
struct TimeRow {
  Range workers, ranks;
};

// What the clocks show at a moment.
struct ClockMarks {
  std::vector<ActivityTotals> workers;
  std::vector<int64_t> reduce_bytes;  // [ranks]
  int64_t num_steps = 0;
  int64_t at_ns = 0;
};

// `begin.at_ns` is when the clocks' windows began.
PipelineReport report_between(const ClockMarks& begin, const ClockMarks& end,
                              std::span<const TimeRow> rows);

}  // namespace weft::engine
