#include "engine/crew.h"

#include <nlohmann/json.hpp>
#include <span>

#include "base/error.h"
#include "engine/process_agreement.h"

namespace weft::engine {
namespace {

constexpr int64_t kMostBytes = 1 << 20;

// Every field once, for both directions.
template <typename Options, typename Field>
void for_each_field(Options& o, const Field& field) {
  field("model_path", o.model_path);
  field("tensor_parallel_size", o.topology.tensor_parallel_size);
  field("pipeline_parallel", o.topology.pipeline_parallel);
  field("tp_weights", o.topology.tp_weights);
  field("stages", o.topology.stages);
  field("balance", o.topology.balance);
  field("threads_per_rank", o.threads_per_rank);
  field("devices", o.devices);
  field("placement", o.placement);
  field("max_model_len", o.max_model_len);
  field("max_num_batched_tokens", o.max_num_batched_tokens);
  field("max_num_seqs", o.max_num_seqs);
  field("micro_batch_size", o.micro_batch_size);
  field("schedule_policy", o.schedule_policy);
  field("chunked_prefill", o.chunked_prefill);
  field("max_slowdown", o.max_slowdown);
  field("prefix_caching", o.prefix_caching);
  field("num_speculative_tokens", o.num_speculative_tokens);
  field("speculative_model", o.speculative_model);
  field("draft_tensor_parallel_size", o.draft_tensor_parallel_size);
  field("always_speculate", o.always_speculate);
  field("kv_type", o.kv_type);
  field("block_size", o.block_size);
  field("num_blocks", o.num_blocks);
  field("window_groups", o.window_groups);
  field("num_window_blocks", o.num_window_blocks);
  field("kv_cache_bytes", o.kv_cache_bytes);
  field("deadline_ms", o.deadline_ms);
  field("stage_seconds", o.stage_seconds);
  field("ranks_per_process", o.ranks_per_process);
  field("verify_weights", o.verify_weights);
  field("reduce", o.reduce);
  field("num_kept_events", o.num_kept_events);
}

template <typename T>
nlohmann::json json_of(const T& value) {
  return value;
}
template <typename T>
nlohmann::json json_of(const std::optional<T>& value) {
  return value ? nlohmann::json(*value) : nlohmann::json();
}

template <typename T>
void take(const nlohmann::json& json, T& value) {
  json.get_to(value);
}
template <typename T>
void take(const nlohmann::json& json, std::optional<T>& value) {
  if (!json.is_null()) value = json.get<T>();
}

template <typename Choice>
void check_choice(Choice choice, Choice last) {
  if (static_cast<int>(choice) < 0 || choice > last)
    throw Error(ErrorKind::kCommunication, "the first process sent options of another version");
}

void check_choices(const EngineOptions& o) {
  check_choice(o.placement, Placement::kPooled);
  check_choice(o.schedule_policy, SchedulePolicy::kShortest);
  check_choice(o.kv_type, kernels::KvType::kQ8);
  check_choice(o.reduce, comm::SumWire::kQ8);
  if (o.topology.balance) check_choice(*o.topology.balance, parallel::PipelineBalance::kMixed);
}

}  // namespace

std::string options_line(const EngineOptions& options) {
  nlohmann::json json;
  for_each_field(options,
                 [&](const char* name, const auto& value) { json[name] = json_of(value); });
  return json.dump(-1, ' ', true, nlohmann::json::error_handler_t::strict);
}

EngineOptions options_of_line(const std::string& line) {
  try {
    const nlohmann::json json = nlohmann::json::parse(line);
    EngineOptions options;
    for_each_field(options, [&](const char* name, auto& value) { take(json.at(name), value); });
    check_choices(options);
    return options;
  } catch (const nlohmann::json::exception& error) {
    throw Error(ErrorKind::kCommunication, "the first process sent options that cannot be read",
                error.what());
  }
}

Crew::Crew(comm::Job& job)
    : job_(job), processes_(std::move(job.members(1, {kNoDeadline}).front())) {}

std::unique_ptr<Engine> Crew::load(const EngineOptions& options, const OnLoad& on_load,
                                   const OnOpen& on_open) {
  std::string line = options_line(options);
  int64_t size = std::ssize(line);
  processes_->broadcast(std::as_writable_bytes(std::span(&size, 1)), 0, "options of the engine");
  processes_->broadcast(std::as_writable_bytes(std::span(line)), 0, "options of the engine");
  EngineOptions spanning = options;
  spanning.job = &job_;
  is_loading_ = true;
  std::unique_ptr<Engine> engine = Engine::load(spanning, on_load, on_open);
  is_loading_ = false;
  return engine;
}

void Crew::dismiss() {
  int64_t none = 0;
  processes_->broadcast(std::as_writable_bytes(std::span(&none, 1)), 0, "options of the engine");
}

void Crew::follow() {
  while (true) {
    int64_t size = 0;
    processes_->broadcast(std::as_writable_bytes(std::span(&size, 1)), 0, "options of the engine");
    if (size == 0) return;
    if (size < 0 || size > kMostBytes)
      throw Error(ErrorKind::kCommunication,
                  fmt::format("the first process announced options of {} bytes", size));
    std::string line(static_cast<size_t>(size), '\0');
    processes_->broadcast(std::as_writable_bytes(std::span(line)), 0, "options of the engine");
    EngineOptions options = options_of_line(line);
    options.job = &job_;
    Engine::load(options)->follow();
  }
}

}  // namespace weft::engine
