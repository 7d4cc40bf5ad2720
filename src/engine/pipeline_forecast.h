// How long steps should take in a pipeline, and how much of it should be bubble: the steps that a
// run made are replayed over stage times that were measured beforehand, one step at a time
// (engine/stage_calibration.h). A pure function: no clock, no model.
//
//   start(k, 0) = max(end(k - 1, 0), answer of the last step that k needed) + planning
//   start(k, s) = max(end(k - 1, s), end(k, s - 1) + hop)
//   answer(k)   = end(k, last stage) + hop
//
// For equal steps this comes to the closed forms, with M micro-batches, P stages of times t_s:
//   a one-shot run:   window = sum t + (M - 1) t_max; equal stages: bubble (P - 1) / (M + P - 1)
//   steady decoding:  cycle = max(M t_max, sum t + hops + feedback);
//                     bubble = max(0, 1 - M t / cycle)
//
// The window is from the planning of the first step to the last answer. Boxes between stages are
// thought boundless: a stage that waits for room with a slower one changes what it is idle for, not
// when the slower one works.
#pragma once

#include <span>
#include <vector>

#include "engine/step_log.h"
#include "engine/step_times.h"

namespace weft::engine {

struct PipelineCosts {
  std::vector<StepTimes> stages;  // what each works on a step
  // From the end of one stage's work to the beginning of the next one's, and of an answer back.
  StepTimes hop;
  double planning_s = 0;  // of a step
};

struct Forecast {
  double window_s = 0;
  std::vector<double> work_s;  // [stages]

  double bubble(size_t stage) const { return window_s > 0 ? 1.0 - work_s[stage] / window_s : 0.0; }
};

// steps: in order, without gaps. What the first ones needed of earlier ones counts as there
// already.
Forecast forecast(const PipelineCosts& costs, std::span<const StepRecord> steps);

}  // namespace weft::engine
