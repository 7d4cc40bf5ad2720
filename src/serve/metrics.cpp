// The data model and the text format are prometheus-cpp's. Its own counters and histograms are not
// used: they take a lock an observation, which would be the stepping thread's, and one of them
// cannot have two names.
#include "serve/metrics.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <sstream>
#include <utility>
#include <vector>

#include "base/clock.h"

namespace weft::serve {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

// vLLM's buckets, which its dashboards are drawn for.
constexpr double kFirstTokenSeconds[] = {.001, .005, .01, .02, .04, .06, .08, .1, .25, .5,  .75,
                                         1,    2.5,  5,   7.5, 10,  20,  40,  80, 160, 640, 2560};
constexpr double kTokenSeconds[] = {.01, .025, .05, .075, .1,  .15, .2, .3, .4, .5,
                                    .75, 1,    2.5, 5,    7.5, 10,  20, 40, 80};
constexpr double kRequestSeconds[] = {.3, .5, .8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                                      30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680};
constexpr double kTokens[] = {1,   2,    5,    10,   20,     50,     100,    200,
                              500, 1000, 2000, 5000, 10'000, 20'000, 50'000, 100'000};
constexpr double kChoices[] = {1, 2, 5, 10, 20};

// Clients choose what they send as a method; labels must not grow with it.
std::string known_method(const std::string& method) {
  for (const char* known : {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
    if (method == known) return method;
  return "other";
}

const char* finished_reason(size_t reason) {
  switch (static_cast<engine::FinishReason>(reason)) {
    case engine::FinishReason::kStop:
      return "stop";
    case engine::FinishReason::kLength:
      return "length";
    case engine::FinishReason::kCancelled:
      return "abort";
    case engine::FinishReason::kError:
      return "error";
  }
  return "";
}

ClientMetric with(const Labels& labels, Labels more) {
  ClientMetric metric;
  metric.label = labels;
  metric.label.insert(metric.label.end(), more.begin(), more.end());
  return metric;
}

// Families under Weft's name, and vLLM's where `alias` says so.
class Exposition {
 public:
  explicit Exposition(Labels labels) : labels_(std::move(labels)) {}

  enum class Alias { kNone, kVllm };
  using Values = std::vector<std::pair<Labels, double>>;

  void gauge(const char* name, const char* help, const Values& values, Alias alias = Alias::kVllm) {
    MetricFamily family{name, help, MetricType::Gauge, {}};
    for (const auto& [more, value] : values)
      family.metric.push_back(with(labels_, more)), family.metric.back().gauge.value = value;
    add(std::move(family), alias);
  }
  void counter(const char* name, const char* help, const Values& values,
               Alias alias = Alias::kVllm) {
    MetricFamily family{name, help, MetricType::Counter, {}};
    for (const auto& [more, value] : values)
      family.metric.push_back(with(labels_, more)), family.metric.back().counter.value = value;
    add(std::move(family), alias);
  }
  void histogram(const char* name, const char* help, const Histogram::Snapshot& snapshot) {
    MetricFamily family{name, help, MetricType::Histogram, {with(labels_, {})}};
    ClientMetric::Histogram& histogram = family.metric.front().histogram;
    histogram.sample_sum = snapshot.sum;
    for (size_t i = 0; i < snapshot.counts.size(); ++i) {
      histogram.sample_count += snapshot.counts[i];
      if (i < snapshot.bounds.size())
        histogram.bucket.push_back({histogram.sample_count, snapshot.bounds[i]});
    }
    add(std::move(family), Alias::kVllm);
  }
  // As it is named everywhere, and with our prefix.
  void http(const Values& values) {
    MetricFamily family{"http_requests_total",
                        "Requests over HTTP by route, method and status.",
                        MetricType::Counter,
                        {}};
    for (const auto& [more, value] : values)
      family.metric.push_back(with({}, more)), family.metric.back().counter.value = value;
    families_.push_back(family);
    family.name = "weft_http_requests_total";
    families_.push_back(std::move(family));
  }

  std::string text() const {
    std::ostringstream out;
    prometheus::TextSerializer().Serialize(out, families_);
    return out.str();
  }

 private:
  void add(MetricFamily family, Alias alias) {
    const std::string name = family.name;
    family.name = "weft_" + name;
    families_.push_back(family);
    if (alias == Alias::kNone) return;
    family.name = "vllm:" + name;
    families_.push_back(std::move(family));
  }

  Labels labels_;
  std::vector<MetricFamily> families_;
};

double share_of_cache(const engine::EngineStats& stats) {
  const int64_t used = stats.num_blocks - stats.num_free_blocks - stats.num_idle_blocks;
  return stats.num_blocks == 0 ? 0
                               : static_cast<double>(used) / static_cast<double>(stats.num_blocks);
}

Histogram::Snapshot tokens_of_steps(const engine::EngineStats& stats) {
  static constexpr double kBounds[] = {1,   2,   4,   8,    16,   32,   64,
                                       128, 256, 512, 1024, 2048, 4096, 8192};
  Histogram::Snapshot snapshot{kBounds, {}, static_cast<double>(stats.step_tokens)};
  static_assert(std::size(kBounds) + 1 == std::tuple_size_v<decltype(stats.steps_by_tokens)>);
  for (const int64_t count : stats.steps_by_tokens)
    snapshot.counts.push_back(static_cast<uint64_t>(count));
  return snapshot;
}

void add_engine(const fleet::ModelCard& card, const fleet::Status& status, Exposition& out) {
  const engine::EngineStats& stats = status.stats;
  const auto number = [](int64_t n) { return Exposition::Values{{{}, static_cast<double>(n)}}; };
  out.gauge("num_requests_running", "Answers being generated.", number(stats.num_running));
  out.gauge("num_requests_waiting", "Answers that wait to be let in.", number(stats.num_waiting));
  out.gauge("kv_cache_usage_perc", "Share of the cache's blocks that running answers hold; 1: all.",
            {{{}, share_of_cache(stats)}});
  out.gauge("cache_config_info", "The cache's configuration; always 1.",
            {{{{"block_size", std::to_string(card.block_size)},
               {"num_gpu_blocks", std::to_string(card.num_blocks)},
               {"cache_dtype", card.kv_cache_dtype}},
              1}});
  out.gauge("engine_alive", "0: a rank was lost, and nothing is answered.", number(status.alive),
            Exposition::Alias::kNone);
  out.gauge("engine_paused", "1: an operator has paused it.", number(status.paused),
            Exposition::Alias::kNone);
  out.counter("prompt_tokens_total", "Tokens of prompts that were let in.",
              number(stats.prompt_tokens));
  out.counter("generation_tokens_total", "Tokens generated.", number(stats.generated_tokens));
  out.counter("num_preemptions_total", "Answers sent back for want of cache blocks.",
              number(stats.num_preemptions));
  out.counter("prefix_cache_queries_total", "Prompt tokens looked for in the prefix cache.",
              number(stats.looked_up_prompt_tokens));
  out.counter("prefix_cache_hits_total", "Prompt tokens taken over from the prefix cache.",
              number(stats.cached_prompt_tokens));
  out.counter("steps_total", "Steps of the engine.", number(stats.num_steps),
              Exposition::Alias::kNone);
  out.histogram("iteration_tokens_total", "Tokens of a step.", tokens_of_steps(stats));
  const engine::SpeculationStats& guesses = stats.speculation;
  out.counter("spec_decode_num_drafts_total", "Verifications of guessed tokens.",
              number(guesses.num_verifications));
  out.counter("spec_decode_num_draft_tokens_total", "Tokens guessed.",
              number(guesses.guessed_tokens));
  out.counter("spec_decode_num_accepted_tokens_total", "Guessed tokens that were right.",
              number(guesses.accepted_tokens));
}

// Of the last seconds.
void add_stages(const engine::PipelineReport& report, Exposition& out) {
  Exposition::Values values;
  for (size_t stage = 0; stage < report.stages.size(); ++stage) {
    const engine::StageTime& time = report.stages[stage];
    const std::pair<const char*, double> parts[] = {
        {"busy", time.busy_s},       {"collectives", time.collectives_s},
        {"input", time.input_s},     {"nothing", time.nothing_s},
        {"sending", time.sending_s}, {"scheduler", time.scheduler_s}};
    for (const auto& [part, seconds] : parts)
      values.push_back({{{"stage", std::to_string(stage)}, {"part", part}},
                        time.window_s > 0 ? seconds / time.window_s : 0});
  }
  out.gauge("stage_time_ratio", "Where a stage's time of the last seconds went.", values,
            Exposition::Alias::kNone);
}

}  // namespace

Metrics::Metrics(std::string model_name)
    : model_name_(std::move(model_name)),
      time_to_first_token_(kFirstTokenSeconds),
      inter_token_latency_(kTokenSeconds),
      e2e_(kRequestSeconds),
      queue_(kRequestSeconds),
      prefill_(kRequestSeconds),
      decode_(kRequestSeconds),
      inference_(kRequestSeconds),
      prompt_tokens_(kTokens),
      generation_tokens_(kTokens),
      most_generation_tokens_(kTokens),
      num_choices_(kChoices),
      max_tokens_(kTokens) {}

void Metrics::count_asked(const Asked& asked) {
  prompt_tokens_.observe(static_cast<double>(asked.num_prompt_tokens));
  num_choices_.observe(static_cast<double>(asked.num_choices));
  max_tokens_.observe(static_cast<double>(asked.max_tokens));
}

void Metrics::count_choice(engine::FinishReason reason, int64_t num_tokens) {
  num_finished_[static_cast<size_t>(reason)].fetch_add(1, std::memory_order_relaxed);
  generation_tokens_.observe(static_cast<double>(num_tokens));
}

void Metrics::count_ended(const Times& times, int64_t most_tokens) {
  e2e_.observe(times.whole);
  if (times.queue >= 0) queue_.observe(times.queue);
  if (times.prefill >= 0) prefill_.observe(times.prefill);
  if (times.decode >= 0) decode_.observe(times.decode);
  if (times.inference >= 0) inference_.observe(times.inference);
  most_generation_tokens_.observe(static_cast<double>(most_tokens));
}

void Metrics::count_answered(const AnsweredRequest& answered) {
  std::string handler = answered.pattern.empty() ? "none" : std::string(answered.pattern);
  const std::lock_guard lock(http_mutex_);
  ++num_answered_[{std::move(handler), known_method(answered.method), answered.status}];
}

std::string Metrics::text(const fleet::ModelCard& card, const fleet::Status& status) const {
  Exposition out({{"model_name", model_name_}, {"engine", "0"}});
  add_engine(card, status, out);
  add_stages(status.pipeline, out);
  out.histogram("time_to_first_token_seconds", "From a request's arrival to its first token.",
                time_to_first_token_.snapshot());
  out.histogram("inter_token_latency_seconds", "Between two tokens of an answer.",
                inter_token_latency_.snapshot());
  out.histogram("time_per_output_token_seconds", "The same, by its older name.",
                inter_token_latency_.snapshot());
  out.histogram("e2e_request_latency_seconds", "From a request's arrival to its end.",
                e2e_.snapshot());
  out.histogram("request_queue_time_seconds", "Waiting to be let in.", queue_.snapshot());
  out.histogram("request_prefill_time_seconds", "From there to the first token.",
                prefill_.snapshot());
  out.histogram("request_decode_time_seconds", "From the first token to the end.",
                decode_.snapshot());
  out.histogram("request_inference_time_seconds", "From being let in to the end.",
                inference_.snapshot());
  out.histogram("request_prompt_tokens", "Tokens of a prompt.", prompt_tokens_.snapshot());
  out.histogram("request_generation_tokens", "Tokens of an answer.", generation_tokens_.snapshot());
  out.histogram("request_max_num_generation_tokens", "Of a request's longest answer.",
                most_generation_tokens_.snapshot());
  out.histogram("request_params_n", "Answers asked for.", num_choices_.snapshot());
  out.histogram("request_params_max_tokens", "max_tokens of a request.", max_tokens_.snapshot());
  Exposition::Values finished, answered;
  for (size_t reason = 0; reason < num_finished_.size(); ++reason)
    finished.push_back({{{"finished_reason", finished_reason(reason)}},
                        static_cast<double>(num_finished_[reason].load())});
  out.counter("request_success_total", "Answers that ended, by reason.", finished);
  out.counter("embeddings_total", "Vectors given.",
              {{{}, static_cast<double>(num_embeddings_.load())}}, Exposition::Alias::kNone);
  {
    const std::lock_guard lock(http_mutex_);
    for (const auto& [key, count] : num_answered_)
      answered.push_back({{{"handler", std::get<0>(key)},
                           {"method", std::get<1>(key)},
                           {"status", std::to_string(std::get<2>(key))}},
                          static_cast<double>(count)});
  }
  out.http(answered);
  return out.text();
}

}  // namespace weft::serve
