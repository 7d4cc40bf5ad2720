#include "engine/pipeline_forecast.h"

#include <algorithm>

namespace weft::engine {

Forecast forecast(const PipelineCosts& costs, std::span<const StepRecord> steps) {
  const size_t num_stages = costs.stages.size();
  Forecast result;
  result.work_s.assign(num_stages, 0.0);
  if (steps.empty()) return result;
  const uint64_t first = steps.front().id;
  std::vector<double> end(num_stages, 0.0);  // of the step before, on each stage
  std::vector<double> answered;              // [steps so far]
  answered.reserve(steps.size());
  for (const StepRecord& step : steps) {
    const double hop = costs.hop.predict({step.load.num_tokens, 0}).value_or(0.0);
    double ready = 0;
    if (step.num_needed > first) ready = answered[step.num_needed - 1 - first];
    ready += costs.planning_s;
    for (size_t s = 0; s < num_stages; ++s) {
      const double free = s == 0 ? end[0] + costs.planning_s : end[s];
      const double work = costs.stages[s].predict(step.load).value_or(0.0);
      end[s] = std::max(free, ready) + work;
      result.work_s[s] += work;
      ready = end[s] + hop;
    }
    answered.push_back(ready);
  }
  result.window_s = answered.back();
  return result;
}

}  // namespace weft::engine
