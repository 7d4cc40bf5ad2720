// What each step of a replica was: enough to replay a run in time (engine/pipeline_forecast.h) and
// to say in a trace what a rank was busy with.
//
// Thread rule: the planner's thread.
#pragma once

#include <cstdint>
#include <vector>

#include "base/range.h"
#include "engine/step.h"
#include "engine/step_times.h"

namespace weft::engine {

// What waited and ran when a step was submitted; zeros where nobody said.
struct StepCounts {
  int64_t num_running = 0, num_waiting = 0, num_used_blocks = 0;
};

struct StepRecord {
  uint64_t id = 0;            // steps are numbered in the order of their submission, from 0
  uint64_t num_answered = 0;  // answers that the planner had when it submitted this step
  int64_t submitted_ns = 0;   // base/clock.h
  StepLoad load;
  int64_t num_sequences = 0;
  Range positions;  // from the first that is computed to the end of the last
  StepCounts counts;
};

// Of a plan; id and times are the caller's to fill in. What guesses ahead counts like a prompt.
StepRecord record_of(const StepPlan& plan);

// The last steps, in a ring whose memory is taken once.
class StepLog {
 public:
  void keep(int64_t count) { ring_.resize(static_cast<size_t>(count)); }
  void add(const StepRecord& record) {
    if (!ring_.empty()) ring_[num_added_ % ring_.size()] = record;
    ++num_added_;
  }
  // Those from number `first` on that are still there, in order.
  std::vector<StepRecord> since(uint64_t first) const;

 private:
  std::vector<StepRecord> ring_;
  uint64_t num_added_ = 0;  // the number of the next step
};

}  // namespace weft::engine
