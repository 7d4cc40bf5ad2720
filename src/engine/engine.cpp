// The engine of one process: opens and loads the model; a loop moves its requests.
#include "engine/engine.h"

#include <algorithm>
#include <random>

#include "base/clock.h"
#include "base/counted.h"
#include "base/cpu.h"
#include "base/error.h"
#include "cache/block_pool.h"
#include "engine/batch_run.h"
#include "engine/limits.h"
#include "engine/model_source.h"
#include "engine/replica.h"
#include "engine/request_loop.h"
#include "engine/split_report.h"

namespace weft::engine {
namespace {

class LocalEngine final : public Engine {
 public:
  LocalEngine(const EngineOptions& options, const OnLoad& on_load, const OnOpen& on_open);

  const ModelReport& model() const override { return model_report_; }
  const SplitReport& split() const override { return split_report_; }
  const text::Tokenizer& tokenizer() const override { return *source_->tokenizer; }
  const text::ChatTemplate* chat_template() const override { return source_->chat_template.get(); }
  int64_t max_model_len() const override { return max_model_len_; }
  int64_t kv_cache_tokens() const override { return pool_->num_blocks() * options_.block_size; }
  int64_t kv_cache_blocks() const override { return pool_->num_blocks(); }
  int threads_per_rank() const override { return replica_->shape().placement.threads_per_rank; }
  bool pooled() const override { return replica_->shape().placement.pooled; }
  double load_seconds() const override { return load_seconds_; }
  WeightLoading weight_loading() const override;
  std::string_view isa() const override { return replica_->shape().table->name; }

  uint64_t submit(Request request) override;
  void cancel(uint64_t request) override { loop_->cancel(request); }
  bool step(const OnEvent& on_event) override;
  EngineStats stats() const override { return loop_->stats(); }
  GenerationResult generate(const Request& request, const OnText& on_text) override;
  BatchTiming run_batch(const BatchWorkload& workload) override;
  void cancel() override { cancelled_.store(true); }

 private:
  void tell_opened(const OnOpen& on_open) const;
  RequestLimits limits() const;
  void check_workload(const BatchWorkload& workload) const;
  std::vector<RankClock> clocks() const;
  void report_clocks(const std::vector<RankClock>& before, GenerationResult& result) const;

  EngineOptions options_;
  std::shared_ptr<const ModelSource> source_;  // with the replica, whose ranks may outlive this
  ModelReport model_report_;
  SplitReport split_report_;
  std::unique_ptr<cache::BlockPool> pool_;
  std::shared_ptr<Replica> replica_;
  std::unique_ptr<RequestLoop> loop_;
  int64_t max_model_len_ = 0;
  double load_seconds_ = 0;
  std::atomic<bool> cancelled_{false};
};

GenerationResult result_of(const RequestState& state) {
  const Choice& choice = state.choices.front();
  GenerationResult result;
  result.token_ids = choice.token_ids;
  result.text = choice.text;
  result.finish_reason = choice.finish.value();
  result.stop_reason = choice.stop_reason;
  result.logprobs = choice.logprobs;
  result.prompt_logprobs = state.prompt_logprobs;
  result.prompt_logits = state.prompt_logits;
  result.logits_hash = state.prompt_hash + choice.logits_hash;
  const int64_t first_ns = state.first_token_ns != 0 ? state.first_token_ns : state.ended_ns;
  result.prompt_s = seconds_between(state.arrived_ns, first_ns);
  result.generation_s = seconds_between(first_ns, state.ended_ns);
  return result;
}

LocalEngine::LocalEngine(const EngineOptions& options, const OnLoad& on_load, const OnOpen& on_open)
    : options_(options) {
  const int64_t begin_ns = now_ns();
  prepare_this_thread();
  check_options(options);
  source_ = std::make_shared<const ModelSource>(open_model(options.model_path));
  model_report_ = report_model(*source_);
  ReplicaShape shape;
  shape.source = source_;
  shape.table = options.isa ? kernels::table_for(*options.isa) : &kernels::choose_table();
  if (shape.table == nullptr)
    throw Error(ErrorKind::kUsage, "this processor cannot run the kernel table asked for");
  shape.topology = resolve_topology(*source_, options);
  shape.splits = model::split_model(source_->config, shape.topology);
  shape.kv = kv_layout(source_->config, options);
  shape.placement = place_ranks(shape.topology.num_ranks(), options, usable_cpus(),
                                parse_devices(options.devices));
  split_report_ = report_split(*source_, shape.topology, shape.splits, shape.placement, options);
  for (const std::string& warning : shape.placement.warnings)
    split_report_.warnings.push_back(warning);
  max_model_len_ = choose_model_len(split_report_, source_->config.context_length, options);
  if (on_open) tell_opened(on_open);
  shape.num_blocks = choose_num_blocks(split_report_, max_model_len_, options);
  shape.max_batch_tokens = step_limits(options, max_model_len_).max_tokens;
  pool_ = std::make_unique<cache::BlockPool>(shape.num_blocks, options.block_size);
  std::vector<model::RopeCache> ropes;
  for (const model::RopeConfig& rope : source_->config.ropes)
    ropes.emplace_back(rope, max_model_len_);
  shape.ropes = std::make_shared<const std::vector<model::RopeCache>>(std::move(ropes));
  replica_ = Replica::start(std::move(shape), options.deadline_ms, on_load);
  for (RankShare& rank : split_report_.ranks) {
    const Worker::RankBytes bytes = replica_->worker_of(rank.rank).loaded_bytes(rank.rank);
    rank.weight_bytes = bytes.weights;
    rank.kv_bytes = bytes.kv;
    rank.logits_bytes = bytes.logits;
    rank.step_bytes = bytes.step;
  }
  loop_ = std::make_unique<RequestLoop>(*replica_, *source_, *pool_, options_, max_model_len_);
  load_seconds_ = seconds_between(begin_ns, now_ns());
}

WeightLoading LocalEngine::weight_loading() const {
  WeightLoading loading;
  loading.mapped = source_->checkpoint->packed() != nullptr;
  for (int w = 0; w < replica_->num_workers(); ++w) {
    const Worker& worker = replica_->worker(w);
    loading.seconds = std::max(loading.seconds, seconds_between(0, worker.load_ns()));
    loading.source_bytes += worker.file_bytes();
  }
  for (const RankShare& rank : split_report_.ranks) loading.weight_bytes += rank.weight_bytes;
  return loading;
}

void LocalEngine::tell_opened(const OnOpen& on_open) const {
  on_open({model_report_, *source_->tokenizer, source_->chat_template.get(), max_model_len_,
           [this](std::span<const int32_t> ids) { check_prompt(ids, limits()); }});
}

RequestLimits LocalEngine::limits() const {
  const int64_t context = source_->config.context_length;
  return {source_->config.vocab_size, max_model_len_, context,
          options_.max_model_len == 0 && max_model_len_ < context};
}

uint64_t LocalEngine::submit(Request request) {
  check_request(request, limits());
  if (!request.sampling.seed) request.sampling.seed = std::random_device{}();
  return loop_->submit(std::move(request));
}

bool LocalEngine::step(const OnEvent& on_event) {
  prepare_this_thread();  // the caller leads worker 0
  return loop_->step(on_event);
}

GenerationResult LocalEngine::generate(const Request& request, const OnText& on_text) {
  if (request.sampling.n != 1)
    throw Error(ErrorKind::kUsage,
                fmt::format("n is {}, where one answer is made", request.sampling.n), "",
                "leave n out; best_of returns the best of several");
  cancelled_.store(false);
  const bool is_alone = replica_->in_flight() == 0;  // otherwise the clocks run on
  if (is_alone) replica_->settle();
  const std::vector<RankClock> before = is_alone ? clocks() : std::vector<RankClock>();
  const uint64_t id = submit(request);
  std::optional<GenerationResult> result;
  std::optional<Error> error;
  const OnEvent on_event = [&](const RequestEvent& event) {
    const RequestState& state = event.request;
    if (state.id != id) return;
    const std::string& text = state.choices.front().text;
    const bool has_text = event.first_new_text < text.size();
    if (has_text && on_text && !on_text(text.substr(event.first_new_text))) cancelled_.store(true);
    if (!state.ended) return;
    error = state.error;
    result = result_of(state);
  };
  while (!result) {
    if (cancelled_.load()) loop_->cancel(id);
    try {
      step(on_event);
    } catch (...) {  // of on_text: nobody waits for the answer any more
      loop_->cancel(id);
      throw;
    }
  }
  if (error) throw *error;
  const auto num_steps = static_cast<int64_t>(result->token_ids.size()) - 1;
  for (int w = 0; w < replica_->num_workers(); ++w)
    result->weight_bytes_read +=
        std::max<int64_t>(0, num_steps) * replica_->worker(w).step_weight_bytes();
  if (is_alone && replica_->in_flight() == 0) {
    replica_->settle();
    report_clocks(before, *result);
  }
  return std::move(*result);
}

void LocalEngine::check_workload(const BatchWorkload& w) const {
  const auto at_least = [](const char* what, int64_t value, int64_t low) {
    if (value < low)
      throw Error(ErrorKind::kUsage, fmt::format("{} is {}, below {}", what, value, low));
  };
  at_least("the batch size", w.batch_size, 1);
  at_least("the depth", w.depth, 0);
  at_least("the input length", w.input_len, 1);
  at_least("the output length", w.output_len, 1);
  const int64_t most = max_model_len_;  // each is compared by itself first: sums may not wrap
  if (w.depth > most || w.input_len > most || w.output_len > most ||
      w.depth + w.input_len + w.output_len > most || w.batch_size > options_.max_num_seqs ||
      w.batch_size * pool_->blocks_for(w.depth + w.input_len + w.output_len) > pool_->num_blocks())
    throw Error(
        ErrorKind::kUsage,
        fmt::format("{} of {} + {} + {} tokens do not fit: the cache holds {} tokens, {} in "
                    "each of {}",
                    counted(w.batch_size, "sequence"), w.depth, w.input_len, w.output_len,
                    kv_cache_tokens(), most, options_.max_num_seqs));
  WEFT_CHECK(w.sequences.empty() || static_cast<int64_t>(w.sequences.size()) == w.batch_size);
}

BatchTiming LocalEngine::run_batch(const BatchWorkload& workload) {
  check_workload(workload);
  prepare_this_thread();  // the caller leads worker 0
  loop_->clear_cache();
  try {
    return BatchRun(*replica_, *pool_, workload, source_->config.vocab_size).run();
  } catch (...) {
    try {
      replica_->settle();  // ready for what comes next; a replica that failed says so then
    } catch (const Error&) {
    }
    throw;
  }
}

std::vector<RankClock> LocalEngine::clocks() const {
  std::vector<RankClock> clocks;
  for (int r = 0; r < replica_->shape().topology.num_ranks(); ++r)
    clocks.push_back(replica_->worker_of(r).clock(r));
  return clocks;
}

void LocalEngine::report_clocks(const std::vector<RankClock>& before,
                                GenerationResult& result) const {
  const std::vector<RankClock> after = clocks();
  for (size_t r = 0; r < after.size(); ++r) {
    const RankClock &a = before[r], &b = after[r];
    RankTimes t;
    t.compute_s = seconds_between(a.compute_ns, b.compute_ns);
    t.all_reduce_s = seconds_between(a.reduce_ns, b.reduce_ns);
    t.wait_s = std::max(0.0, result.prompt_s + result.generation_s - t.compute_s - t.all_reduce_s);
    t.reduce_bytes = b.reduce_bytes - a.reduce_bytes;
    result.ranks.push_back(t);
  }
}

}  // namespace

std::unique_ptr<Engine> Engine::load(const EngineOptions& options, const OnLoad& on_load,
                                     const OnOpen& on_open) {
  return std::make_unique<LocalEngine>(options, on_load, on_open);
}

}  // namespace weft::engine
