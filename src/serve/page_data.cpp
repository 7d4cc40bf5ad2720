#include "serve/page_data.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "base/clock.h"
#include "serve/error_object.h"

namespace weft::serve {
namespace {

using Json = nlohmann::ordered_json;

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

std::shared_ptr<fleet::EngineClient> engine_or_refuse(const EngineOf& engine, Exchange& exchange) {
  std::shared_ptr<fleet::EngineClient> client = engine();
  if (!client)
    respond_error(exchange, {.status = 503, .message = "The model is still being loaded."},
                  retry_headers(1));
  return client;
}

void respond_page_json(Exchange& exchange, std::string json) {
  exchange.respond(200, "application/json", std::move(json), {{"Cache-Control", "no-store"}});
}

Route state_route(EngineOf engine) {
  return [engine = std::move(engine)](std::shared_ptr<Exchange> exchange) {
    const std::shared_ptr<fleet::EngineClient> client = engine_or_refuse(engine, *exchange);
    if (!client) return;
    respond_page_json(*exchange, state_json(client->card(), client->status(),
                                            exchange->request().principal.name, now_ns()));
  };
}

}  // namespace weft::serve
