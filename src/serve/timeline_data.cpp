#include "serve/timeline_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "serve/error_object.h"

namespace weft::serve {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMostSegments = 20'000;  // of all workers in one answer: some 600 kB
constexpr int64_t kLongestWindow_s = 60;

int64_t us(int64_t ns) { return ns / 1000; }
// A shorter window is the summary's: what the chart shows goes on.
int64_t traced_ns(const TimelineQuery& query) {
  return std::max(query.window_ns, TimelineQuery{}.window_ns);
}

Json range_json(Range range) { return Json::array({range.begin, range.end}); }

Json segment_json(const TimelineSegment& segment) {
  const bool has_step = segment.step != ActivityEvent::kNoStep;
  return Json::array({us(segment.begin_ns), us(segment.end_ns) - us(segment.begin_ns),
                      name(segment.kind), has_step ? static_cast<int64_t>(segment.step) : -1,
                      us(segment.collective_ns)});
}

// The latest segments that end after `since_ns`, at most `most` of them.
Json segments_json(const std::vector<TimelineSegment>& segments, int64_t since_ns, size_t most) {
  auto first = std::ranges::upper_bound(segments, since_ns, {}, &TimelineSegment::end_ns);
  if (static_cast<size_t>(segments.end() - first) > most)
    first = segments.end() - static_cast<int64_t>(most);
  Json rows = Json::array();
  for (auto at = first; at != segments.end(); ++at) rows.push_back(segment_json(*at));
  return rows;
}

Json worker_json(const fleet::ModelCard& card, const engine::WorkerTrace& worker) {
  const std::vector<engine::RankShare>& ranks = card.split.ranks;
  const size_t first = static_cast<size_t>(worker.ranks.begin);
  const engine::RankShare share = first < ranks.size() ? ranks[first] : engine::RankShare{};
  return {{"row", worker.row},
          {"ranks", range_json(worker.ranks)},
          {"stage", share.stage},
          {"layers", range_json(share.layers)},
          {"dropped", worker.activity.num_dropped}};
}

Json steps_json(const std::vector<engine::StepRecord>& steps, int64_t since_ns, size_t most) {
  Json rows = Json::array();
  auto first = std::ranges::upper_bound(steps, since_ns, {}, &engine::StepRecord::submitted_ns);
  if (static_cast<size_t>(steps.end() - first) > most)
    first = steps.end() - static_cast<int64_t>(most);
  for (auto at = first; at != steps.end(); ++at)
    rows.push_back(Json::array({at->id, us(at->submitted_ns), at->load.num_tokens,
                                at->num_sequences, at->load.has_prompt ? 1 : 0, at->positions.begin,
                                at->positions.end, at->context.num_running, at->context.num_waiting,
                                at->context.num_used_blocks}));
  return rows;
}

double rounded(double share) { return std::round(share * 1e6) / 1e6; }

Json summary_json(const TimelineSummary& summary) {
  Json rows = Json::array();
  for (const TimelineSummary::Row& row : summary.rows)
    rows.push_back({{"measured", rounded(row.measured)},
                    {"predicted", row.predicted ? Json(rounded(*row.predicted)) : Json()}});
  return {{"active_s", rounded(summary.active_s)},
          {"steps", summary.num_steps},
          {"in_flight", rounded(summary.mean_in_flight)},
          {"rows", rows}};
}

int64_t number_of(std::string_view name, std::string_view value, int64_t most) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (error != std::errc{} || end != value.data() + value.size() || number < 0 || number > most)
    throw Error(ErrorKind::kUsage,
                fmt::format("{} must be a whole number from 0 to {}", name, most));
  return number;
}

}  // namespace

TimelineQuery parse_timeline_query(std::string_view query) {
  TimelineQuery asked;
  while (!query.empty()) {
    const size_t end = std::min(query.find('&'), query.size());
    const std::string_view field = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    const size_t equals = std::min(field.find('='), field.size());
    const std::string_view key = field.substr(0, equals);
    const std::string_view value = field.substr(std::min(equals + 1, field.size()));
    if (key == "since_us") asked.since_ns = number_of(key, value, INT64_MAX / 1000) * 1000;
    if (key == "window_s")
      asked.window_ns = number_of(key, value, kLongestWindow_s) * 1'000'000'000;
  }
  return asked;
}

Timeline timeline_of(engine::PipelineTrace trace, int64_t made_ns) {
  Timeline timeline;
  timeline.made_ns = made_ns;
  for (engine::WorkerTrace& worker : trace.workers) {
    timeline.segments.push_back(segments_of(worker));
    worker.activity.events = {};
  }
  mark_rests(trace, timeline.segments);
  timeline.trace = std::move(trace);
  return timeline;
}

std::string timeline_json(const fleet::ModelCard& card, const Timeline& timeline,
                          const TimelineSummary& summary, const TimelineQuery& query,
                          int64_t now_ns) {
  const engine::PipelineTrace& trace = timeline.trace;
  const int64_t begin_ns = std::max(trace.begin_ns, timeline.made_ns - traced_ns(query));
  const size_t most = kMostSegments / std::max<size_t>(1, timeline.segments.size());
  Json workers = Json::array();
  for (size_t w = 0; w < timeline.segments.size(); ++w) {
    Json worker = worker_json(card, trace.workers[w]);
    worker["segments"] = segments_json(timeline.segments[w], query.since_ns, most);
    workers.push_back(std::move(worker));
  }
  const int64_t steps_since_ns = std::max(query.since_ns, begin_ns - 1);
  const Json json = {{"now_us", us(now_ns)},
                     {"begin_us", us(begin_ns)},
                     {"pooled", trace.pooled},
                     {"workers", workers},
                     {"steps", steps_json(trace.steps, steps_since_ns, most)},
                     {"summary", summary_json(summary)}};
  return json.dump();
}

std::string TimelineWatch::json(const fleet::EngineClient& client, const TimelineQuery& query) {
  const int64_t begin_ns = now_ns(), window_ns = traced_ns(query);
  const bool is_new = begin_ns >= young_until_ns_ || window_ns > window_ns_;
  if (is_new) {
    last_ = timeline_of(client.trace(window_ns), begin_ns);
    window_ns_ = window_ns;
    summary_.reset();
  }
  const TimelineSummary& of_window = summary(query.window_ns);  // which costs most
  if (is_new) young_until_ns_ = begin_ns + std::max(kYoungNs, kShare * (now_ns() - begin_ns));
  return timeline_json(client.card(), *last_, of_window, query, now_ns());
}

const TimelineSummary& TimelineWatch::summary(int64_t window_ns) {
  if (!summary_ || summary_window_ns_ != window_ns) {
    summary_ = summarize(last_->trace, last_->segments, window_ns);
    summary_window_ns_ = window_ns;
  }
  return *summary_;
}

Route timeline_route(EngineOf engine) {
  return [engine = std::move(engine),
          watch = std::make_shared<TimelineWatch>()](std::shared_ptr<Exchange> exchange) {
    const std::shared_ptr<fleet::EngineClient> client = engine_or_refuse(engine, *exchange);
    if (!client || exchange->is_gone()) return;
    TimelineQuery query;
    try {
      query = parse_timeline_query(exchange->request().query);
    } catch (const Error& error) {
      return respond_error(*exchange, {.status = 400, .message = error.summary()});
    }
    respond_page_json(*exchange, watch->json(*client, query));
  };
}

}  // namespace weft::serve
