// Traces of two stages that work equally long on every step, made by hand.
#pragma once

#include "engine/pipeline_trace.h"

namespace weft::serve {

inline engine::StepRecord step_record(uint64_t id, uint64_t num_needed, int64_t submitted_ns) {
  engine::StepRecord step;
  step.id = id;
  step.num_needed = num_needed;
  step.submitted_ns = submitted_ns;
  step.load = {.num_tokens = 1, .attention_pairs = 0};
  step.num_sequences = 1;
  step.positions = {static_cast<int64_t>(id), static_cast<int64_t>(id) + 1};
  return step;
}

// `in_flight` micro-batches of stages that take `stage_ns`: step k begins at (k / in_flight) rounds
// and k % in_flight stages.
inline engine::PipelineTrace ring_trace(int num_steps, int64_t stage_ns, int in_flight) {
  engine::PipelineTrace trace;
  trace.begin_ns = 1'000'000'000;
  trace.workers.resize(2);
  const int64_t round_ns = 2 * stage_ns;
  for (int k = 0; k < num_steps; ++k) {
    const auto id = static_cast<uint64_t>(k);
    const int64_t begin_ns =
        trace.begin_ns + (k / in_flight) * round_ns + (k % in_flight) * stage_ns;
    trace.steps.push_back(
        step_record(id, k < in_flight ? 0 : static_cast<uint64_t>(k - in_flight + 1), begin_ns));
    for (int row = 0; row < 2; ++row) {
      std::vector<ActivityEvent>& events = trace.workers[static_cast<size_t>(row)].activity.events;
      if (row == 1) events.push_back({begin_ns, Activity::kWaitInput, id});
      events.push_back({begin_ns + row * stage_ns, Activity::kCompute, id});
      if (in_flight == 1 && row == 0)
        events.push_back({begin_ns + stage_ns, Activity::kNothing, ActivityEvent::kNoStep});
    }
  }
  for (int row = 0; row < 2; ++row) {
    engine::WorkerTrace& worker = trace.workers[static_cast<size_t>(row)];
    worker.row = row;
    worker.ranks = {row, row + 1};
    const int64_t last_ns = trace.steps.back().submitted_ns + (row + 1) * stage_ns;
    worker.activity.events.push_back({last_ns, Activity::kNothing, ActivityEvent::kNoStep});
    worker.activity.end_ns = trace.steps.back().submitted_ns + 3 * stage_ns;
  }
  return trace;
}

inline engine::PipelineTrace one_at_a_time(int num_steps, int64_t stage_ns) {
  return ring_trace(num_steps, stage_ns, 1);
}
// The second stage's waits have no length here: each of its steps is there in time.
inline engine::PipelineTrace two_at_a_time(int num_steps, int64_t stage_ns) {
  engine::PipelineTrace trace = ring_trace(num_steps, stage_ns, 2);
  std::vector<ActivityEvent>& events = trace.workers[1].activity.events;
  std::erase_if(events, [&](const ActivityEvent& event) {
    return event.activity == Activity::kWaitInput && event.step > 0;
  });
  return trace;
}

// All that happens from a step on happens so much later; the second stage waits for it meanwhile.
inline void shift_from_step(engine::PipelineTrace& trace, uint64_t first, int64_t by_ns) {
  const int64_t from_ns = trace.steps.at(first).submitted_ns;
  for (engine::StepRecord& step : trace.steps)
    if (step.id >= first) step.submitted_ns += by_ns;
  for (engine::WorkerTrace& worker : trace.workers) {
    for (ActivityEvent& event : worker.activity.events)
      if (event.begin_ns > from_ns || (event.begin_ns == from_ns &&
                                       event.activity == Activity::kCompute && event.step == first))
        event.begin_ns += by_ns;
    worker.activity.end_ns += by_ns;
  }
}

// The last stage waits so long before it works on a step, and everything after that is later.
inline void delay_last_stage(engine::PipelineTrace& trace, uint64_t step, int64_t by_ns) {
  std::vector<ActivityEvent>& events = trace.workers[1].activity.events;
  for (size_t i = 0; i < events.size(); ++i) {
    if (events[i].step != step || events[i].activity != Activity::kCompute) continue;
    const ActivityEvent waiting{events[i].begin_ns, Activity::kWaitInput, step};
    for (size_t j = i; j < events.size(); ++j) events[j].begin_ns += by_ns;
    events.insert(events.begin() + static_cast<int64_t>(i), waiting);
    break;
  }
  trace.workers[1].activity.end_ns += by_ns;
  trace.workers[0].activity.end_ns += by_ns;
}

}  // namespace weft::serve
