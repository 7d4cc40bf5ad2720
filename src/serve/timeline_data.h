// What the page at / shows of the pipeline's time, as JSON (serve/timeline.h).
//
// A trace has up to 50,000 events of each worker, some of them on other hosts, and up to 5,000
// steps: to join them and sum them up takes milliseconds a worker. So it is done once for whoever
// asks within a tenth of a second, and where it was costly for longer; each is then told only what
// is new to him.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/pipeline_trace.h"
#include "serve/page_data.h"
#include "serve/timeline.h"

namespace weft::serve {

// Segments that end after `since_ns` are told; the summary is of the last `window_ns` of the trace.
struct TimelineQuery {
  int64_t since_ns = 0;
  int64_t window_ns = 10'000'000'000;
};
// "since_us=12&window_s=5". Error(kUsage) for what is no number, or none of its range.
TimelineQuery parse_timeline_query(std::string_view query);

struct Timeline {
  int64_t made_ns = 0;                                 // base/clock.h
  engine::PipelineTrace trace;                         // without its events
  std::vector<std::vector<TimelineSegment>> segments;  // [trace.workers], rests marked
};
Timeline timeline_of(engine::PipelineTrace trace, int64_t made_ns);

// GET /weft/timeline: what every worker did (serve/timeline.h), the latest kMostSegments of it.
//
//   {now_us, begin_us, pooled,
//    workers: [{row, ranks: [b, e], stage, layers: [b, e], dropped,
//               segments: [[begin_us, duration_us, kind, step, collective_us], …]}],
//    steps: [[id, submitted_us, tokens, sequences, has_prompt, first_position, end_position,
//             running, waiting, used_blocks], …],
//    summary: {active_s, steps, in_flight, rows: [{measured, predicted}]}}
//
// kind is the name of a TimelineKind; step is -1 where there is none. summary: of the query's
// window.
std::string timeline_json(const fleet::ModelCard& card, const Timeline& timeline,
                          const TimelineSummary& summary, const TimelineQuery& query,
                          int64_t now_ns);

// The timeline that was made last, and its summary. Thread rule: one thread.
class TimelineWatch {
 public:
  static constexpr int64_t kYoungNs = 100'000'000;
  static constexpr int64_t kShare = 10;  // of that thread's time: new ones take a tenth at most

  std::string json(const fleet::EngineClient& client, const TimelineQuery& query);

 private:
  const TimelineSummary& summary(int64_t window_ns);

  std::optional<Timeline> last_;
  int64_t window_ns_ = 0;  // that its trace was asked for
  int64_t young_until_ns_ = 0;
  std::optional<TimelineSummary> summary_;  // of last_, for summary_window_ns_
  int64_t summary_window_ns_ = 0;
};

// To be run by one thread alone, and not by one of the network's; 503 while the engine is not there
// yet (null).
Route timeline_route(EngineOf engine);

}  // namespace weft::serve
