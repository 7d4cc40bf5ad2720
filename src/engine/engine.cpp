// The engine of one process: opens and loads the model; a loop moves its requests.
#include "engine/engine.h"

#include <unistd.h>

#include <algorithm>
#include <random>
#include <tuple>

#include "base/clock.h"
#include "base/counted.h"
#include "base/cpu.h"
#include "base/error.h"
#include "cache/block_pools.h"
#include "comm/job.h"
#include "engine/batch_run.h"
#include "engine/draft_model.h"
#include "engine/draft_plan.h"
#include "engine/limits.h"
#include "engine/model_source.h"
#include "engine/numerics.h"
#include "engine/process_agreement.h"
#include "engine/replica.h"
#include "engine/request_loop.h"
#include "engine/split_report.h"
#include "engine/stage_calibration.h"

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
  int64_t kv_cache_tokens() const override { return kv_cache_blocks() * options_.block_size; }
  int64_t kv_cache_blocks() const override { return pools_->full().num_blocks(); }
  int threads_per_rank() const override { return replica_->shape().placement.threads_per_rank; }
  bool pooled() const override { return replica_->shape().placement.pooled; }
  double load_seconds() const override { return load_seconds_; }
  WeightLoading weight_loading() const override;
  std::string_view isa() const override { return replica_->shape().table->name; }

  std::optional<Error> lost() const override {
    if (options_.job == nullptr) return {};
    const std::optional<std::string> reason = options_.job->failure();
    return reason ? std::optional(Error(ErrorKind::kCommunication, *reason)) : std::nullopt;
  }
  bool plans() const override { return options_.job == nullptr || options_.job->process() == 0; }
  void follow() override {
    prepare_this_thread();
    replica_->follow();
  }
  uint64_t submit(Request request) override;
  void cancel(uint64_t request) override { loop_->cancel(request); }
  bool step(const OnEvent& on_event) override;
  EngineStats stats() const override { return loop_->stats(); }
  const RequestState* state(uint64_t request) const override { return loop_->state(request); }
  void reset_prefix_cache() override { loop_->forget_idle_prefixes(); }
  cache::PrefixOutline prefix_outline(const cache::OutlineLimits& limits) const override {
    return loop_->prefix_outline(limits);
  }
  void begin_window() override { window_ = replica_->begin_window(); }
  PipelineReport report_window() const override {
    return report_between(window_, replica_->marks(), replica_->shape().time_rows());
  }
  PipelineTrace trace() const override { return trace_since(window_.at_ns); }
  PipelineTrace trace_since(int64_t begin_ns) const override;
  PipelineCosts calibrate(const CalibrationRange& range, const OnCalibration& on_size) override;
  GenerationResult generate(const Request& request, const OnText& on_text) override;
  BatchTiming run_batch(const BatchWorkload& workload) override;
  void cancel() override { cancelled_.store(true); }

 private:
  void join_processes();
  void place(ReplicaShape& shape);
  void choose_reduce(ReplicaShape& shape);
  void choose_cache(ReplicaShape& shape, const OnOpen& on_open);
  void report_loaded_ranks();
  void start_draft();
  void tell_opened(const OnOpen& on_open) const;
  RequestLimits limits() const;
  void check_workload(const BatchWorkload& workload) const;

  EngineOptions options_;
  std::unique_ptr<comm::Communicator> processes_;  // a member a process; null: there is one
  std::vector<Range> ranks_of_processes_;          // the same
  std::shared_ptr<const ModelSource> source_;      // with the replica, whose ranks may outlive this
  ModelReport model_report_;
  SplitReport split_report_;
  std::unique_ptr<cache::BlockPools> pools_;
  std::shared_ptr<Replica> replica_;
  std::optional<DraftPlan> draft_plan_;
  std::unique_ptr<DraftModel> draft_;  // null without a draft model
  std::unique_ptr<RequestLoop> loop_;
  ClockMarks window_;
  int64_t max_model_len_ = 0;
  int64_t step_weight_bytes_ = 0;  // that a decoding step reads on all ranks
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

void check_simulated(const EngineOptions& options, int num_stages) {
  const std::vector<double>& seconds = options.stage_seconds;
  if (seconds.empty()) return;
  if (static_cast<int>(seconds.size()) != num_stages)
    throw Error(ErrorKind::kUsage,
                fmt::format("{} are simulated, the model is split into {}",
                            counted(static_cast<int64_t>(seconds.size()), "stage"), num_stages),
                "", "give a time for each stage, or another --pp");
  if (options.placement == Placement::kPooled)
    throw Error(ErrorKind::kUsage, "simulated stages cannot share one pool of threads",
                "a pool runs them one after another", "leave --placement out");
}

std::shared_ptr<const std::vector<model::RopeCache>> make_ropes(const model::ModelConfig& config,
                                                                int64_t num_positions) {
  std::vector<model::RopeCache> ropes;
  for (const model::RopeConfig& rope : config.ropes) ropes.emplace_back(rope, num_positions);
  return std::make_shared<const std::vector<model::RopeCache>>(std::move(ropes));
}

void report_loaded(const Replica& replica, std::vector<RankShare>& ranks) {
  for (RankShare& rank : ranks) {
    if (!replica.runs(rank.rank)) continue;
    const Worker::RankBytes bytes = replica.worker_of(rank.rank).loaded_bytes(rank.rank);
    rank.weight_bytes = bytes.weights;
    rank.kv_bytes = bytes.kv;
    rank.logits_bytes = bytes.logits;
    rank.step_bytes = bytes.step;
  }
}

LocalEngine::LocalEngine(const EngineOptions& options, const OnLoad& on_load, const OnOpen& on_open)
    : options_(options) {
  const int64_t begin_ns = now_ns();
  prepare_this_thread();
  check_options(options);
  join_processes();
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
  place(shape);
  split_report_ = report_split(*source_, shape.topology, shape.splits, shape.placement, options);
  for (const std::string& warning : shape.placement.warnings)
    split_report_.warnings.push_back(warning);
  check_simulated(options, shape.topology.num_stages());
  shape.stage_seconds = options.stage_seconds;
  shape.num_kept_events = options.num_kept_events;
  shape.num_kept_steps = options.num_kept_steps;
  choose_reduce(shape);
  if (!options.speculative_model.empty() && plans()) {
    draft_plan_ = plan_draft(options, *source_, shape);
    report_draft(*draft_plan_, split_report_);
  }
  choose_cache(shape, on_open);
  shape.ropes = make_ropes(source_->config, max_model_len_);
  replica_ = Replica::start(std::move(shape), options.deadline_ms, on_load, options.job);
  report_loaded_ranks();
  if (draft_plan_) start_draft();
  loop_ = std::make_unique<RequestLoop>(*replica_, *source_, *pools_, options_, max_model_len_,
                                        draft_.get());
  load_seconds_ = seconds_between(begin_ns, now_ns());
  begin_window();
}

// First of all, and without a deadline: from here on a process waits for those that read slowly.
void LocalEngine::join_processes() {
  if (options_.job == nullptr) return;
  options_.job->enter("load");
  processes_ = std::move(options_.job->members(1, {kNoDeadline}).front());
}

void LocalEngine::place(ReplicaShape& shape) {
  const int num_ranks = shape.topology.num_ranks();
  const std::vector<std::vector<int>> devices = parse_devices(options_.devices);
  const std::vector<int> cpus = usable_cpus();
  if (options_.job == nullptr) {
    shape.placement = place_ranks(num_ranks, options_, cpus, devices);
    return;
  }
  const comm::Job& job = *options_.job;
  ranks_of_processes_ = share_ranks(num_ranks, options_.ranks_per_process, job.num_processes());
  check_same_model(job, *processes_, options_.model_path, options_.verify_weights);
  shape.placement =
      place_over_processes(ranks_of_processes_, options_, share_cpus(job, *processes_, cpus),
                           share_devices(job, ranks_of_processes_, devices), job.process());
  const auto num_online = static_cast<size_t>(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN)));
  if (const auto warning = binding_warning(job, cpus.size(), num_online))
    shape.placement.warnings.push_back(*warning);
}

// What gives up the promise of bits is said, and so is what was asked for in vain.
void LocalEngine::choose_reduce(ReplicaShape& shape) {
  if (options_.reduce == comm::SumWire::kInt64) return;
  shape.reduce = options_.reduce;
  if (sums_id(options_.reduce, shape.splits, ranks_of_processes_) != kExactSums) {
    split_report_.rounded_sums = comm::name(options_.reduce);
    return;
  }
  split_report_.warnings.push_back(
      fmt::format("--reduce {} rounds nothing here: no stage has its ranks in several processes",
                  comm::name(options_.reduce)));
}

// Where processes share the ranks out, the least that any host's memory allows.
void LocalEngine::choose_cache(ReplicaShape& shape, const OnOpen& on_open) {
  SplitReport here = split_report_;
  EngineOptions options = options_;
  if (processes_)
    std::tie(here, options) =
        part_of_host(*options_.job, ranks_of_processes_, split_report_, options_);
  const auto agree = [this](std::span<int64_t> numbers, const char* phase) {
    if (processes_) take_least(*processes_, numbers, phase);
  };
  max_model_len_ = choose_model_len(here, source_->config.context_length, options);
  agree({&max_model_len_, 1}, "length of a context");
  if (on_open) tell_opened(on_open);
  shape.groups = layer_groups(source_->config, options_);
  std::vector<int64_t> num_blocks = choose_num_blocks(here, max_model_len_, options);
  agree(num_blocks, "blocks of the cache");
  for (size_t g = 0; g < num_blocks.size(); ++g)
    split_report_.kv_groups[g].num_blocks = num_blocks[g];
  shape.num_blocks = num_blocks.front();
  shape.window_blocks.assign(num_blocks.begin() + 1, num_blocks.end());
  shape.max_batch_tokens = step_limits(options_, max_model_len_).max_tokens;
  pools_ =
      std::make_unique<cache::BlockPools>(shape.groups.windows, num_blocks, options_.block_size);
}

// Every process knows what all ranks hold.
void LocalEngine::report_loaded_ranks() {
  report_loaded(*replica_, split_report_.ranks);
  for (int w = 0; w < replica_->num_workers(); ++w)
    step_weight_bytes_ += replica_->worker(w).step_weight_bytes();
  if (!processes_) return;
  for (size_t process = 0; process < ranks_of_processes_.size(); ++process) {
    const comm::Peer& peer = options_.job->peer(static_cast<int>(process));
    split_report_.processes.push_back(
        {peer.host, peer.said.instruction_set, ranks_of_processes_[process]});
  }
  std::vector<int64_t> bytes{step_weight_bytes_};
  for (const RankShare& rank : split_report_.ranks) {
    const bool is_here = replica_->runs(rank.rank);
    for (const int64_t part :
         {rank.weight_bytes, rank.kv_bytes, rank.logits_bytes, rank.step_bytes})
      bytes.push_back(is_here ? part : 0);
  }
  processes_->all_reduce(bytes, "bytes of all ranks");
  auto part = bytes.begin();
  step_weight_bytes_ = *part++;
  for (RankShare& rank : split_report_.ranks) {
    rank.weight_bytes = *part++;
    rank.kv_bytes = *part++;
    rank.logits_bytes = *part++;
    rank.step_bytes = *part++;
  }
}

// The draft model has the replica's block ids, and as much of a context as its own one holds.
void LocalEngine::start_draft() {
  ReplicaShape shape = std::move(draft_plan_->shape);
  shape.num_blocks = pools_->full().num_blocks();
  shape.max_batch_tokens = replica_->shape().max_batch_tokens;
  shape.ropes = make_ropes(shape.source->config,
                           std::min(max_model_len_, shape.source->config.context_length));
  const std::shared_ptr<Replica> replica =
      Replica::start(std::move(shape), options_.deadline_ms, {});
  report_loaded(*replica, split_report_.draft_ranks);
  draft_ = std::make_unique<DraftModel>(replica, source_->config.vocab_size);
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

PipelineTrace LocalEngine::trace_since(int64_t begin_ns) const {
  PipelineTrace trace;
  trace.begin_ns = begin_ns;
  trace.pooled = pooled();
  trace.steps = replica_->steps_since(begin_ns);
  std::vector<ActivityClock::Events> events =
      replica_->events_since(begin_ns, trace.clock_error_ns);
  const std::vector<TimeRow> rows = replica_->shape().time_rows();
  for (size_t row = 0; row < rows.size(); ++row) {
    const Range workers = rows[row].workers;
    for (int64_t w = workers.begin; w < workers.end; ++w)
      trace.workers.push_back({static_cast<int>(row),
                               replica_->shape().placement.workers.at(static_cast<size_t>(w)).ranks,
                               std::move(events[static_cast<size_t>(w)])});
  }
  return trace;
}

PipelineCosts LocalEngine::calibrate(const CalibrationRange& range, const OnCalibration& on_size) {
  CalibrationRange served = range;
  served.num_decodes = std::min(range.num_decodes, options_.max_num_seqs);
  served.chunk_tokens = std::min(range.chunk_tokens, replica_->shape().max_batch_tokens);
  served.context = std::min(range.context, max_model_len_);
  prepare_this_thread();
  loop_->clear_cache();
  return calibrate_stages(*replica_, *pools_, source_->config.vocab_size, served, on_size);
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
  const bool is_alone = loop_->is_idle();  // otherwise its ranks work for others too
  const ClockMarks before = replica_->marks();
  const SpeculationStats guessed_before = stats().speculation;
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
  result->speculation = stats().speculation.since(guessed_before);
  // A step gives its token and the guesses that were right.
  const auto num_steps =
      static_cast<int64_t>(result->token_ids.size()) - 1 - result->speculation.accepted_tokens;
  result->weight_bytes_read = std::max<int64_t>(0, num_steps) * step_weight_bytes_;
  if (is_alone && loop_->is_idle())
    result->ranks = report_between(before, replica_->marks(), replica_->shape().time_rows()).ranks;
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
      !blocks_for_all(split_report_, w.batch_size, w.depth + w.input_len + w.output_len, options_))
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
    BatchTiming timing = BatchRun(*replica_, *pools_, workload, source_->config.vocab_size).run();
    // A batch above the tokens of one plan reads the weights once a plan.
    const int64_t plans = ceil_div(workload.batch_size, replica_->shape().max_batch_tokens);
    timing.step_weight_bytes = plans * step_weight_bytes_;
    return timing;
  } catch (...) {
    try {
      replica_->settle();  // ready for what comes next; a replica that failed says so then
    } catch (const Error&) {
    }
    throw;
  }
}

}  // namespace

std::unique_ptr<Engine> Engine::load(const EngineOptions& options, const OnLoad& on_load,
                                     const OnOpen& on_open) {
  return std::make_unique<LocalEngine>(options, on_load, on_open);
}

}  // namespace weft::engine
