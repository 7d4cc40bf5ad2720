// Steps as bytes, for a replica that spans processes: the plan on its way from the process that
// plans, what the last stage says of it on its way back.
//
// The processes run one version on one kind of machine (comm/job.h compares them), so values travel
// as they lie in memory. All the same, nothing that came is used before it was checked: sizes,
// ranges, ids, flags. What does not fit is Error(kCommunication).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "cache/group_layout.h"
#include "engine/step.h"

namespace weft::engine {

// What a plan may name.
struct PlanLimits {
  int64_t max_tokens = 0;     // of a step
  int64_t max_positions = 0;  // of a sequence
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  std::vector<int64_t> num_blocks;  // of each cache group
  std::vector<int64_t> windows;     // the same (cache/group_layout.h)
  int64_t block_size = 0;
};

// Both empty `bytes` first.
void write_plan(const StepPlan& plan, std::vector<std::byte>& bytes);
// work_ns: of the row of ReplicaShape::time_rows() that the sender leads.
void write_answer(const StepAnswer& answer, int64_t work_ns, std::vector<std::byte>& bytes);

void read_plan(std::span<const std::byte> bytes, const PlanLimits& limits, StepPlan& plan);
// Of that plan; answer is null where the sender is not of the last stage, and only tells its time.
void read_answer(std::span<const std::byte> bytes, const PlanLimits& limits, const StepPlan& plan,
                 StepAnswer* answer, int64_t& work_ns);

}  // namespace weft::engine
