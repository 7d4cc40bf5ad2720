// The one-request engine: prompt chunks through the pipeline, then one token a step.
#include "engine/engine.h"

#include <algorithm>

#include "base/clock.h"
#include "base/counted.h"
#include "base/cpu.h"
#include "base/error.h"
#include "cache/block_pool.h"
#include "cache/block_table.h"
#include "engine/batch_run.h"
#include "engine/limits.h"
#include "engine/model_source.h"
#include "engine/replica.h"
#include "engine/split_report.h"

namespace weft::engine {
namespace {

class OneRequestEngine final : public Engine {
 public:
  OneRequestEngine(const EngineOptions& options, const OnLoad& on_load, const OnOpen& on_open);

  const ModelReport& model() const override { return model_report_; }
  const SplitReport& split() const override { return split_report_; }
  const text::Tokenizer& tokenizer() const override { return *source_->tokenizer; }
  const text::ChatTemplate* chat_template() const override { return source_->chat_template.get(); }
  int64_t max_model_len() const override { return max_model_len_; }
  int64_t kv_cache_tokens() const override { return pool_->num_blocks() * options_.block_size; }
  int threads_per_rank() const override { return replica_->shape().placement.threads_per_rank; }
  bool pooled() const override { return replica_->shape().placement.pooled; }
  double load_seconds() const override { return load_seconds_; }
  WeightLoading weight_loading() const override;
  std::string_view isa() const override { return replica_->shape().table->name; }

  GenerationResult generate(const GenerationRequest& request, const OnText& on_text) override;
  BatchTiming run_batch(const BatchWorkload& workload) override;
  void cancel() override { cancelled_.store(true); }

 private:
  struct Answer {
    const GenerationRequest& request;
    GenerationResult& result;
    text::TextStream stream;
    const OnText& on_text;
    size_t prompt_rows_left = 0;  // answers of prompt positions before the first token's
    bool more = true;
  };

  void tell_opened(const OnOpen& on_open) const;
  RequestLimits limits() const;
  void run_prompt(Answer& answer);
  void submit_chunk(const GenerationRequest& request, Range tokens);
  void submit_token(Answer& answer);
  // Reads one step's rows; the last of them may be the next token.
  void take_rows(Answer& answer, const StepAnswer& step);
  void take_token(Answer& answer, const model::RowResult& row);
  void run_answer(Answer& answer);
  void give_up();
  std::vector<RankClock> clocks() const;
  void report_clocks(const std::vector<RankClock>& before, GenerationResult& result) const;

  EngineOptions options_;
  std::shared_ptr<const ModelSource> source_;  // with the replica, whose ranks may outlive this
  ModelReport model_report_;
  SplitReport split_report_;
  std::unique_ptr<cache::BlockPool> pool_;
  std::unique_ptr<cache::BlockTable> table_;
  std::shared_ptr<Replica> replica_;
  int64_t max_model_len_ = 0;
  double load_seconds_ = 0;
  std::atomic<bool> cancelled_{false};
};

OneRequestEngine::OneRequestEngine(const EngineOptions& options, const OnLoad& on_load,
                                   const OnOpen& on_open)
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
  split_report_ = report_split(*source_, shape.topology, shape.splits, shape.kv);
  shape.placement = place_ranks(shape.topology.num_ranks(), options, usable_cpus(),
                                parse_devices(options.devices));
  for (const std::string& warning : shape.placement.warnings)
    split_report_.warnings.push_back(warning);
  max_model_len_ = choose_model_len(split_report_, source_->config.context_length, options);
  if (on_open) tell_opened(on_open);
  shape.num_blocks = options.max_num_seqs * ceil_div(max_model_len_, options.block_size);
  shape.max_batch_tokens =
      std::min(options.max_num_batched_tokens, options.max_num_seqs * max_model_len_);
  pool_ = std::make_unique<cache::BlockPool>(shape.num_blocks, options.block_size);
  table_ = std::make_unique<cache::BlockTable>(*pool_, max_model_len_);
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
  }
  load_seconds_ = seconds_between(begin_ns, now_ns());
}

WeightLoading OneRequestEngine::weight_loading() const {
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

void OneRequestEngine::tell_opened(const OnOpen& on_open) const {
  on_open({model_report_, *source_->tokenizer, source_->chat_template.get(), max_model_len_,
           [this](std::span<const int32_t> ids) { check_prompt(ids, limits()); }});
}

RequestLimits OneRequestEngine::limits() const {
  const int64_t context = source_->config.context_length;
  return {source_->config.vocab_size, max_model_len_, context,
          options_.max_model_len == 0 && max_model_len_ < context};
}

GenerationResult OneRequestEngine::generate(const GenerationRequest& request,
                                            const OnText& on_text) {
  check_request(request, limits());
  prepare_this_thread();  // the caller leads worker 0
  cancelled_.store(false);
  GenerationResult result;
  Answer answer{request, result, text::TextStream(*source_->tokenizer, request.stop), on_text};
  const std::vector<RankClock> before = clocks();
  try {
    run_answer(answer);
  } catch (...) {
    give_up();
    throw;
  }
  replica_->settle();
  table_->release();
  report_clocks(before, result);
  return result;
}

BatchTiming OneRequestEngine::run_batch(const BatchWorkload& w) {
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
      w.depth + w.input_len + w.output_len > most || w.batch_size > options_.max_num_seqs)
    throw Error(ErrorKind::kUsage,
                fmt::format("{} of {} + {} + {} tokens do not fit: the cache holds {} of {} tokens",
                            counted(w.batch_size, "sequence"), w.depth, w.input_len, w.output_len,
                            options_.max_num_seqs, most));
  WEFT_CHECK(w.sequences.empty() || static_cast<int64_t>(w.sequences.size()) == w.batch_size);
  prepare_this_thread();  // the caller leads worker 0
  try {
    return BatchRun(*replica_, *pool_, w, source_->config.vocab_size).run();
  } catch (...) {
    give_up();
    throw;
  }
}

void OneRequestEngine::run_answer(Answer& answer) {
  GenerationResult& result = answer.result;
  const int64_t prompt_begin = now_ns();
  run_prompt(answer);
  const int64_t generation_begin = now_ns();
  int64_t num_steps = 0;
  for (; answer.more; ++num_steps) {
    submit_token(answer);
    take_rows(answer, replica_->await());
  }
  result.prompt_s = seconds_between(prompt_begin, generation_begin);
  result.generation_s = seconds_between(generation_begin, now_ns());
  const std::string rest = answer.stream.finish();
  result.text += rest;
  if (!rest.empty() && answer.on_text) answer.on_text(rest);
  for (int w = 0; w < replica_->num_workers(); ++w)
    result.weight_bytes_read += num_steps * replica_->worker(w).step_weight_bytes();
}

// Leaves the engine ready for the next request; where the replica itself has failed, every further
// request says so.
void OneRequestEngine::give_up() {
  try {
    replica_->settle();
  } catch (const Error&) {
  }
  table_->release();
}

// Chunks follow each other through the stages; their answers are read in order.
void OneRequestEngine::run_prompt(Answer& answer) {
  const int64_t length = static_cast<int64_t>(answer.request.prompt_ids.size());
  const int64_t step = replica_->shape().max_batch_tokens;
  if (answer.request.num_prompt_logprobs >= 0) answer.result.prompt_logprobs.emplace_back();
  if (answer.request.num_prompt_logprobs >= 0 || answer.request.full_prompt_logits)
    answer.prompt_rows_left = answer.request.prompt_ids.size() - 1;
  for (int64_t begin = 0; begin < length && !cancelled_.load(); begin += step) {
    if (replica_->in_flight() == replica_->max_in_flight()) take_rows(answer, replica_->await());
    submit_chunk(answer.request, {begin, std::min(length, begin + step)});
  }
  while (replica_->in_flight() > 0) take_rows(answer, replica_->await());
  if (answer.result.token_ids.empty()) {  // cancelled before the first token
    answer.result.finish_reason = FinishReason::kCancelled;
    answer.more = false;
  }
}

void OneRequestEngine::submit_chunk(const GenerationRequest& request, Range tokens) {
  const int64_t length = static_cast<int64_t>(request.prompt_ids.size());
  WEFT_CHECK(table_->grow(tokens.end), "the pool holds a whole context");
  StepPlan& plan = replica_->next_plan();
  plan.clear();
  plan.add(std::span(request.prompt_ids)
               .subspan(static_cast<size_t>(tokens.begin), static_cast<size_t>(tokens.size())),
           tokens.begin, table_->ids());
  const bool all_rows = request.num_prompt_logprobs >= 0 || request.full_prompt_logits;
  if (all_rows) {
    for (int64_t t = tokens.begin; t < std::min(tokens.end, length - 1); ++t)
      plan.rows.push_back({.token = t - tokens.begin,
                           .position = t,
                           .num_logprobs = request.num_prompt_logprobs,
                           .target = request.prompt_ids[static_cast<size_t>(t + 1)],
                           .hash = request.hash_logits && request.num_prompt_logprobs >= 0,
                           .full_logits = request.full_prompt_logits});
  }
  if (tokens.end == length)
    plan.rows.push_back({.token = tokens.size() - 1,
                         .position = length - 1,
                         .num_logprobs = request.num_logprobs,
                         .temperature = request.temperature,
                         .seed = request.seed,
                         .hash = request.hash_logits,
                         .full_logits = request.full_prompt_logits});
  replica_->submit();
}

void OneRequestEngine::submit_token(Answer& answer) {
  const GenerationRequest& request = answer.request;
  const int64_t position =
      static_cast<int64_t>(request.prompt_ids.size() + answer.result.token_ids.size()) - 1;
  WEFT_CHECK(table_->grow(position + 1), "the pool holds a whole context");
  StepPlan& plan = replica_->next_plan();
  plan.clear();
  plan.rows.push_back(
      {.token = plan.add(std::span(&answer.result.token_ids.back(), 1), position, table_->ids()),
       .position = position,
       .num_logprobs = request.num_logprobs,
       .temperature = request.temperature,
       .seed = request.seed,
       .hash = request.hash_logits});
  replica_->submit();
}

std::vector<TokenLogprob> logprob_list(const model::RowResult& row) {
  std::vector<TokenLogprob> list;
  bool chosen = false;
  for (const kernels::Candidate& c : row.top) {
    list.push_back({c.id, c.logit});
    chosen = chosen || c.id == row.id;
  }
  if (!chosen) list.push_back({row.id, row.logprob});
  return list;
}

void OneRequestEngine::take_rows(Answer& answer, const StepAnswer& step) {
  GenerationResult& result = answer.result;
  for (const int32_t layer : step.bad_layer) {
    if (layer >= 0)
      throw Error(ErrorKind::kModel,
                  fmt::format("a sum in layer {} left the range of exact reduction", layer),
                  "weights or activations of this prompt are not finite, or extreme");
  }
  for (const model::RowResult& row : step.rows) {
    if (row.bad_logits)
      throw Error(ErrorKind::kModel, "the logits are not finite",
                  "weights or activations of this prompt are not finite, or extreme");
    result.logits_hash += row.hash;
    if (!row.logits.empty()) result.prompt_logits.push_back(row.logits);
    if (!answer.prompt_rows_left) {
      take_token(answer, row);
    } else if (--answer.prompt_rows_left; answer.request.num_prompt_logprobs >= 0) {
      result.prompt_logprobs.push_back(logprob_list(row));
    }
  }
}

void OneRequestEngine::take_token(Answer& answer, const model::RowResult& row) {
  GenerationResult& result = answer.result;
  const GenerationRequest& request = answer.request;
  result.token_ids.push_back(row.id);
  if (request.num_logprobs >= 0) result.logprobs.push_back(logprob_list(row));
  const auto finish = [&](FinishReason reason) {
    result.finish_reason = reason;
    answer.more = false;
  };
  const bool ends = std::binary_search(source_->end_ids.begin(), source_->end_ids.end(), row.id);
  if (ends && !request.ignore_eos) return finish(FinishReason::kStop);
  const std::string piece = answer.stream.push(row.id);
  result.text += piece;
  if (!piece.empty() && answer.on_text && !answer.on_text(piece)) cancelled_.store(true);
  const int64_t length = static_cast<int64_t>(request.prompt_ids.size() + result.token_ids.size());
  if (answer.stream.stopped()) return finish(FinishReason::kStop);
  if (static_cast<int64_t>(result.token_ids.size()) >= request.max_tokens ||
      length > max_model_len_)
    return finish(FinishReason::kLength);
  if (cancelled_.load()) finish(FinishReason::kCancelled);
}

std::vector<RankClock> OneRequestEngine::clocks() const {
  std::vector<RankClock> clocks;
  for (int r = 0; r < replica_->shape().topology.num_ranks(); ++r)
    clocks.push_back(replica_->worker_of(r).clock(r));
  return clocks;
}

void OneRequestEngine::report_clocks(const std::vector<RankClock>& before,
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

const char* name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kCancelled:
      return "cancelled";
  }
  return "";
}

std::unique_ptr<Engine> Engine::load(const EngineOptions& options, const OnLoad& on_load,
                                     const OnOpen& on_open) {
  return std::make_unique<OneRequestEngine>(options, on_load, on_open);
}

}  // namespace weft::engine
