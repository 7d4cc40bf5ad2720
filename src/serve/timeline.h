// The live pipeline as a chart shows it. A trace has an event for every all-reduce of every layer,
// thousands a second; here they are segments: one for what a worker did of one step at a stretch,
// with the collectives' part of it, and one for each reason not to work.
//
// The summary compares what was measured with what the pipeline should give: the bubble of each row
// while steps were in flight (idle for want of requests is none), beside engine/pipeline_forecast.h
// over the same steps, with step times learned from these very steps. What is left between the two
// is waiting that the schedule does not explain: stages that disturb one another, or a busy
// machine.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "engine/pipeline_trace.h"

namespace weft::serve {

enum class TimelineKind : uint8_t {
  kWork,      // kernels and collectives
  kSchedule,  // planning and answering
  kInput,     // waits for the stage before
  kSend,      // waits for room with the stage after
  kIdle,      // no step to run, while others work on one
  kRest       // no step anywhere: want of requests, and no bubble
};
std::string_view name(TimelineKind kind);

struct TimelineSegment {
  int64_t begin_ns = 0, end_ns = 0;  // base/clock.h
  TimelineKind kind = TimelineKind::kIdle;
  uint64_t step = ActivityEvent::kNoStep;
  int64_t collective_ns = 0;  // of kWork
};

// In order, without gaps.
std::vector<TimelineSegment> segments_of(const engine::WorkerTrace& worker);

// Cuts waits of all workers where no step was in flight, and calls those parts kRest. What lies
// before the first known step stays as it is. segments: [trace.workers].
void mark_rests(const engine::PipelineTrace& trace,
                std::vector<std::vector<TimelineSegment>>& segments);

struct TimelineSummary {
  struct Row {
    double measured = 0;  // bubble, as a share of active_s
    std::optional<double> predicted;
  };
  double active_s = 0;    // while steps were in flight
  int64_t num_steps = 0;  // that ended in it
  double mean_in_flight = 0;
  std::vector<Row> rows;
};

// segments: [trace.workers]. Of the last `window_ns` of the trace, as far as all workers' events
// reach back.
TimelineSummary summarize(const engine::PipelineTrace& trace,
                          std::span<const std::vector<TimelineSegment>> segments,
                          int64_t window_ns);

}  // namespace weft::serve
