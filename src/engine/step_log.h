// What each step of a replica was: enough to replay a run in time (engine/pipeline_forecast.h) and
// to say in a trace what a rank was busy with.
//
// Thread rule: the planner's thread; StepLog::since from any.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "base/range.h"
#include "engine/step.h"
#include "engine/step_times.h"

namespace weft::engine {

// What the planner knows of a step besides its plan; of one who says nothing the plan tells the
// load, and every answer taken before counts as needed.
struct StepContext {
  int64_t num_running = 0, num_waiting = 0, num_used_blocks = 0;
  std::optional<StepLoad> load;
  std::optional<uint64_t> num_needed;
  double predicted_s = 0;  // what the step times said of it (engine/step_times.h); 0: nothing
};

struct StepRecord {
  uint64_t id = 0;  // steps are numbered in the order of their submission, from 0
  // The answers without which it could not have been planned: those that gave its newest tokens,
  // made room for its sequences, or freed its place in the ring. More may have been there.
  uint64_t num_needed = 0;
  int64_t submitted_ns = 0;  // base/clock.h
  StepLoad load;
  int64_t num_sequences = 0;
  Range positions;  // from the first that is computed to the end of the last
  StepContext context;
  int64_t work_ns = 0;  // what its slowest stage worked on it; 0 until it was answered
};

// Of a plan; times and needs are the caller's to fill in. Several tokens of a sequence count as a
// prompt.
StepRecord record_of(const StepPlan& plan);

// The last steps, in a ring whose memory is taken once. A step that is kept takes a lock, which
// nobody else holds but whoever reads a trace: some 20 ns of a step's hundreds of microseconds.
class StepLog {
 public:
  // Before the first `add`.
  void keep(int64_t count) { ring_.resize(static_cast<size_t>(count)); }
  void add(const StepRecord& record);
  // A step was answered.
  void worked(uint64_t id, int64_t work_ns);
  // Those submitted from a moment on (base/clock.h) that are still there, in order.
  std::vector<StepRecord> since(int64_t begin_ns) const;

 private:
  mutable std::mutex mutex_;
  std::vector<StepRecord> ring_;
  uint64_t num_added_ = 0;  // the number of the next step
};

}  // namespace weft::engine
