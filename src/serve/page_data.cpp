#include "serve/page_data.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "serve/error_object.h"
#include "serve/timeline.h"

namespace weft::serve {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMostSegments = 20'000;  // of all workers in one answer: some 600 kB
constexpr int64_t kLongestWindow_s = 60;

int64_t us(int64_t ns) { return ns / 1000; }
Json range_json(Range range) { return Json::array({range.begin, range.end}); }

Json engine_json(const fleet::Status& status) {
  Json failure;
  if (status.failure)
    failure = {{"what", status.failure->summary()},
               {"why", status.failure->why()},
               {"mend", status.failure->mend()}};
  return {{"alive", status.alive},
          {"paused", status.paused},
          {"failure", failure},
          {"last_step_us", us(status.last_step_ns)},
          {"in_step_since_us", us(status.in_step_since_ns)},
          {"started_us", us(status.started_ns)}};
}

Json model_json(const fleet::ModelCard& card) {
  const engine::ModelReport& model = card.report;
  return {{"name", card.name},
          {"fingerprint", card.fingerprint},
          {"architecture", model.architecture},
          {"family", model.family},
          {"file_type", model.file_type},
          {"parameters", model.num_parameters},
          {"file_bytes", model.file_bytes},
          {"layers", model.num_layers},
          {"hidden_size", model.hidden_size},
          {"heads", model.num_heads},
          {"kv_heads", model.num_kv_heads},
          {"vocab_size", model.vocab_size},
          {"max_model_len", card.limits.max_model_len},
          {"isa", card.isa}};
}

Json ranks_json(const std::vector<engine::RankShare>& ranks) {
  Json rows = Json::array();
  for (const engine::RankShare& rank : ranks)
    rows.push_back({{"rank", rank.rank},
                    {"stage", rank.stage},
                    {"shard", rank.shard},
                    {"layers", range_json(rank.layers)},
                    {"heads", rank.heads},
                    {"kv_heads", rank.kv_heads},
                    {"ffn", rank.ffn},
                    {"vocab_rows", rank.vocab_rows},
                    {"weight_bytes", rank.weight_bytes},
                    {"kv_bytes", rank.kv_bytes},
                    {"step_bytes", rank.step_bytes + rank.logits_bytes},
                    {"reduce_bytes_per_token", rank.reduce_bytes_per_token}});
  return rows;
}

Json split_json(const engine::SplitReport& split) {
  Json draft;
  if (!split.draft_ranks.empty())
    draft = {{"model", split.draft_model.substr(split.draft_model.rfind('/') + 1)},
             {"ranks", ranks_json(split.draft_ranks)}};
  return {{"topology", split.topology},           {"imbalance", split.imbalance},
          {"ranks", ranks_json(split.ranks)},     {"draft", draft},
          {"asked_and_got", split.asked_and_got}, {"warnings", split.warnings}};
}

Json pipeline_json(const engine::PipelineReport& pipeline) {
  Json stages = Json::array();
  for (const engine::StageTime& stage : pipeline.stages)
    stages.push_back({{"ranks", range_json(stage.ranks)},
                      {"busy_s", stage.busy_s},
                      {"collectives_s", stage.collectives_s},
                      {"input_s", stage.input_s},
                      {"nothing_s", stage.nothing_s},
                      {"sending_s", stage.sending_s},
                      {"scheduler_s", stage.scheduler_s},
                      {"window_s", stage.window_s},
                      {"bubble", stage.bubble()}});
  return {{"pooled", pipeline.pooled},
          {"window_s", pipeline.window_s},
          {"steps", pipeline.num_steps},
          {"stages", stages}};
}

Json block_counts(int64_t blocks, int64_t free, int64_t cached) {
  return {{"blocks", blocks}, {"used", blocks - free - cached}, {"cached", cached}, {"free", free}};
}

Json cache_json(const fleet::ModelCard& card, const engine::EngineStats& stats) {
  Json cache = block_counts(stats.num_blocks, stats.num_free_blocks, stats.num_idle_blocks);
  cache["window"] = nullptr;
  if (stats.num_window_blocks > 0)
    cache["window"] = block_counts(stats.num_window_blocks, stats.num_free_window_blocks,
                                   stats.num_idle_window_blocks);
  cache["dtype"] = card.kv_cache_dtype;
  cache["block_size"] = card.block_size;
  cache["prompt_tokens"] = stats.prompt_tokens;
  cache["cached_prompt_tokens"] = stats.cached_prompt_tokens;
  return cache;
}

Json queue_json(const fleet::Status& status, std::string_view viewer) {
  Json requests = Json::array();
  for (const fleet::HeldRequest& request : status.requests) {
    const bool mine = request.principal == viewer;
    requests.push_back({{"number", request.number},
                        {"mine", mine},
                        {"principal", mine ? Json(request.principal) : Json()},
                        {"running", request.running},
                        {"priority", request.priority},
                        {"choices", request.num_choices},
                        {"prompt_tokens", request.num_prompt_tokens},
                        {"cached_tokens", request.num_cached_tokens},
                        {"generated_tokens", request.num_generated_tokens},
                        {"preemptions", request.num_preemptions},
                        {"arrived_us", us(request.arrived_ns)},
                        {"scheduled_us", us(request.scheduled_ns)},
                        {"first_token_us", us(request.first_token_ns)}});
  }
  return {{"waiting", status.stats.num_waiting},
          {"running", status.stats.num_running},
          {"requests", requests}};
}

// --- timeline -------------------------------------------------------------------------------

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

// What both routes have in common: JSON made of the engine as it is, which nobody may keep.
template <typename Body>
Route route_of(EngineOf engine, Body body) {
  return [engine = std::move(engine), body](std::shared_ptr<Exchange> exchange) {
    const std::shared_ptr<fleet::EngineClient> client = engine();
    if (!client)
      return respond_error(*exchange,
                           {.status = 503, .message = "The model is still being loaded."},
                           retry_headers(1));
    try {
      exchange->respond(200, "application/json", body(*client, exchange->request()),
                        {{"Cache-Control", "no-store"}});
    } catch (const Error& error) {
      respond_error(*exchange, {.status = 400, .message = error.summary()});
    }
  };
}

}  // namespace

std::string state_json(const fleet::ModelCard& card, const fleet::Status& status,
                       std::string_view viewer, int64_t now_ns) {
  const engine::EngineStats& stats = status.stats;
  const Json state = {{"now_us", us(now_ns)},
                      {"engine", engine_json(status)},
                      {"model", model_json(card)},
                      {"split", split_json(card.split)},
                      {"pipeline", pipeline_json(status.pipeline)},
                      {"cache", cache_json(card, stats)},
                      {"work",
                       {{"prompt_tokens", stats.prompt_tokens},
                        {"generated_tokens", stats.generated_tokens},
                        {"steps", stats.num_steps},
                        {"preemptions", stats.num_preemptions},
                        {"scheduler_s", stats.scheduler_s},
                        {"guessed_tokens", stats.speculation.guessed_tokens},
                        {"accepted_tokens", stats.speculation.accepted_tokens}}},
                      {"limits",
                       {{"max_num_seqs", card.max_num_seqs},
                        {"max_num_batched_tokens", card.max_num_batched_tokens}}},
                      {"queue", queue_json(status, viewer)}};
  // Names come from files: what is no UTF-8 in them is replaced.
  return state.dump(-1, ' ', false, Json::error_handler_t::replace);
}

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

std::string timeline_json(const fleet::ModelCard& card, const engine::PipelineTrace& trace,
                          const TimelineQuery& query, int64_t now_ns) {
  std::vector<std::vector<TimelineSegment>> segments;
  for (const engine::WorkerTrace& worker : trace.workers) segments.push_back(segments_of(worker));
  const TimelineSummary summary = summarize(trace, segments, query.window_ns);
  mark_rests(trace, segments);
  const size_t most = kMostSegments / std::max<size_t>(1, segments.size());
  Json workers = Json::array();
  for (size_t w = 0; w < segments.size(); ++w) {
    Json worker = worker_json(card, trace.workers[w]);
    worker["segments"] = segments_json(segments[w], query.since_ns, most);
    workers.push_back(std::move(worker));
  }
  const Json timeline = {{"now_us", us(now_ns)},
                         {"begin_us", us(trace.begin_ns)},
                         {"pooled", trace.pooled},
                         {"workers", workers},
                         {"steps", steps_json(trace.steps, query.since_ns, most)},
                         {"summary", summary_json(summary)}};
  return timeline.dump();
}

Route state_route(EngineOf engine) {
  return route_of(std::move(engine), [](fleet::EngineClient& client, const HttpRequest& request) {
    return state_json(client.card(), client.status(), request.principal.name, now_ns());
  });
}

Route timeline_route(EngineOf engine) {
  return route_of(std::move(engine), [](fleet::EngineClient& client, const HttpRequest& request) {
    const TimelineQuery query = parse_timeline_query(request.query);
    // A shorter window is the summary's: what the chart shows goes on.
    const int64_t window_ns = std::max(query.window_ns, TimelineQuery{}.window_ns);
    return timeline_json(client.card(), client.trace(window_ns), query, now_ns());
  });
}

}  // namespace weft::serve
