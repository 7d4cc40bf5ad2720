// What every worker did in a window, event by event, and the steps that it did it for: the material
// of a trace (`--trace`). Kept where EngineOptions::num_kept_events and num_kept_steps say so.
#pragma once

#include <cstdint>
#include <vector>

#include "base/activity.h"
#include "base/range.h"
#include "engine/step_log.h"

namespace weft::engine {

struct WorkerTrace {
  int row = 0;  // of PipelineReport::stages
  Range ranks;
  ActivityClock::Events activity;  // the last ones, some from before the window perhaps
};

struct PipelineTrace {
  int64_t begin_ns = 0;  // of the window (base/clock.h)
  bool pooled = false;
  std::vector<WorkerTrace> workers;
  std::vector<StepRecord> steps;  // of the window; the last ones
  // All moments are by the clock of the process that plans. Those of workers of other processes are
  // off by so much at most.
  int64_t clock_error_ns = 0;
};

}  // namespace weft::engine
