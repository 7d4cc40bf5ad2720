// An engine without a model, for tests of what stands above it: its tokens are bytes, its template
// writes "role:content\n", and it answers what it was told to answer.
#pragma once

#include <algorithm>
#include <deque>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "engine/engine.h"
#include "engine/packing.h"

namespace weft::engine {

class FakeTokenizer : public text::Tokenizer {
 public:
  int64_t vocab_size() const override { return 256; }
  std::vector<int32_t> encode(std::string_view text, bool add_special, bool) const override {
    std::vector<int32_t> ids;
    if (add_special) ids.push_back(1);  // BOS
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  std::string piece(int32_t id, bool) const override {
    return std::string(1, static_cast<char>(id));
  }
  std::string decode(std::span<const int32_t> ids, bool special) const override {
    std::string text;
    for (const int32_t id : ids) text += piece(id, special);
    return text;
  }
  bool is_special(int32_t id) const override { return id == 1; }
  std::optional<int32_t> find_token(std::string_view) const override { return std::nullopt; }
  std::string description() const override { return "bytes"; }
};

class FakeTemplate : public text::ChatTemplate {
 public:
  std::string render(std::span<const text::Message> messages, bool) const override {
    std::string text;
    for (const auto& message : messages) text += message.role + ":" + message.content + "\n";
    return text;
  }
  std::string render_json(std::string_view messages_json, bool add_generation_prompt,
                          std::string_view) const override {
    std::string text;
    for (const auto& message : nlohmann::json::parse(messages_json))
      text += message["role"].get<std::string>() + ":" + message["content"].get<std::string>() +
              (add_generation_prompt ? "\n" : "");
    if (text.find("refused") != text.npos) throw Error(ErrorKind::kModel, "the template says no");
    return text;
  }
};

// What a test sets before, and reads after.
struct FakeState {
  std::string answer = "Tokyo.", stop_reason;
  bool has_template = true;
  bool throw_usage_on_generate = false;
  int64_t cached_of_prompt = 0;  // by generate
  bool pooled = false;
  int64_t max_model_len = 2048;
  ModelReport model;
  SplitReport split;

  // Of many requests: what is answered, and what happens at the beginning of each step.
  std::function<std::string(const Request&, int choice)> reply;
  std::function<void(int64_t step)> on_step;
  std::string fails_in_a_step;  // prompts that hold this (where it is not empty)
  int64_t max_running = 4;

  std::vector<Request> submitted;
  std::vector<uint64_t> cancelled;
  EngineStats stats;
  size_t most_open = 0;  // requests at once

  EngineOptions loaded_with;
  std::vector<Request> requests;
  std::vector<BatchWorkload> workloads;
  std::vector<PackRequest> packed;
  std::vector<std::string> verified;
  int num_loads = 0, num_cancels = 0, num_windows = 0, num_cache_resets = 0;
  int num_outlines = 0;
  cache::PrefixOutline outline;
  PipelineReport report;
  PipelineTrace trace;
  PipelineCosts costs;
  std::vector<CalibrationRange> calibrations;

  FakeState();
  // The prompt of a request as text.
  std::string prompt(size_t request) const {
    return FakeTokenizer().decode(requests.at(request).prompt_ids, true);
  }
};

// Two ranks of a small model.
inline FakeState::FakeState() {
  model.path = "/models/tiny.gguf";
  model.name = "Tiny";
  model.architecture = "llama";
  model.file_type = "Q4_1";
  model.tokenizer = "bytes";
  model.num_parameters = 134'515'008;
  model.file_bytes = 98'362'432;
  model.num_layers = 30;
  model.hidden_size = 576;
  model.num_heads = 9;
  model.num_kv_heads = 3;
  model.head_dim = 64;
  model.ffn_size = 1536;
  model.vocab_size = 256;
  model.context_length = 8192;
  model.tied_embeddings = true;
  model.types = {{"Q4_1", 210, 90'000'000}, {"F32", 61, 140'000}};
  model.tensors = {{"token_embd.weight", "Q4_1", "49152 x 576", 17'694'720}};
  split.topology = "tp=2";
  split.kv_groups = {{0, 30, 30'720, 617}};
  split.imbalance = 1.11;
  for (int rank = 0; rank < 2; ++rank) {
    RankShare share;
    share.rank = share.shard = rank;
    share.layers = {0, 30};
    share.heads = rank == 0 ? "5" : "4";
    share.kv_heads = "2";
    share.ffn = "768";
    share.vocab_rows = 128;
    share.weight_bytes = 50'000'000;
    share.kv_bytes = 120'000'000;
    share.kv_bytes_per_token = 15'360;
    share.kv_group_bytes_per_token = {15'360};
    share.logits_bytes = 32'768;
    share.step_bytes = 65'536;
    share.reduce_bytes_per_token = 276'480;
    split.ranks.push_back(share);
  }
}

class FakeEngine : public Engine {
 public:
  explicit FakeEngine(FakeState& state) : state_(state) {}

  const ModelReport& model() const override { return state_.model; }
  const SplitReport& split() const override { return state_.split; }
  const text::Tokenizer& tokenizer() const override { return tokenizer_; }
  const text::ChatTemplate* chat_template() const override {
    return state_.has_template ? &template_ : nullptr;
  }
  int64_t max_model_len() const override { return state_.max_model_len; }
  int64_t kv_cache_tokens() const override { return 9876; }
  int64_t kv_cache_blocks() const override { return 617; }
  int threads_per_rank() const override { return 1; }
  bool pooled() const override { return state_.pooled; }
  double load_seconds() const override { return 0.5; }
  WeightLoading weight_loading() const override { return {0.25, 98'362'432, 100'000'000, false}; }
  std::string_view isa() const override { return "portable"; }

  BatchTiming run_batch(const BatchWorkload& workload) override {
    state_.workloads.push_back(workload);
    BatchTiming timing;
    timing.prompt_s = 0.5;
    timing.step_s.assign(static_cast<size_t>(workload.output_len - 1), 0.01);
    timing.step_weight_bytes = 100'000'000;
    return timing;
  }

  GenerationResult generate(const Request& request, const OnText& on_text) override {
    state_.requests.push_back(request);
    const bool fits = static_cast<int64_t>(request.prompt_ids.size()) <= state_.max_model_len;
    if (state_.throw_usage_on_generate || !fits) {
      throw Error(ErrorKind::kUsage, "the prompt is too long");
    }
    GenerationResult result;
    result.text = state_.answer;
    for (const char c : state_.answer) {
      result.token_ids.push_back(static_cast<unsigned char>(c));
      if (on_text) on_text(std::string(1, c));
    }
    result.stop_reason = state_.stop_reason;
    result.prompt_s = 0.5;
    state_.stats.cached_prompt_tokens += state_.cached_of_prompt;
    result.generation_s = 0.25;
    result.weight_bytes_read = 500'000'000;
    result.logits_hash = 0x0123456789abcdef;
    result.ranks = {{0.2, 0.05, 0.01, 1000}, {0.1, 0.05, 0.11, 900}};
    if (request.sampling.logprobs) {
      for (const int32_t id : result.token_ids) {
        result.logprobs.push_back({{id, -0.25f}, {'z', -2.0f}});
      }
    }
    if (request.sampling.prompt_logprobs) {
      for (const int32_t id : request.prompt_ids) result.prompt_logprobs.push_back({{id, -1.0f}});
      result.prompt_logprobs[0].clear();
    }
    return result;
  }
  void cancel() override { ++state_.num_cancels; }

  uint64_t submit(Request request) override;
  void cancel(uint64_t request) override;
  bool step(const OnEvent& on_event) override;
  EngineStats stats() const override { return state_.stats; }
  const RequestState* state(uint64_t request) const override;
  void reset_prefix_cache() override { ++state_.num_cache_resets; }
  cache::PrefixOutline prefix_outline(const cache::OutlineLimits&) const override {
    ++state_.num_outlines;
    return state_.outline;
  }
  void begin_window() override { ++state_.num_windows; }
  PipelineReport report_window() const override { return state_.report; }
  PipelineTrace trace() const override { return state_.trace; }
  PipelineTrace trace_since(int64_t) const override { return state_.trace; }
  PipelineCosts calibrate(const CalibrationRange& range, const OnCalibration& on_size) override {
    state_.calibrations.push_back(range);
    if (on_size) on_size(1, 1);
    return state_.costs;
  }

 private:
  struct Open {
    Request request;
    RequestState state;
    std::vector<std::string> replies;  // [choice], whole
  };
  void begin(Open& open);
  void advance(Open& open, const OnEvent& on_event);
  void add_token(const Open& open, Choice& choice) const;

  std::deque<Open> open_;  // in order of submission; the first max_running of them run
  std::vector<std::pair<uint64_t, std::vector<int32_t>>> prompts_;  // salts and ids, for the cache
  uint64_t num_requests_ = 0;
  FakeState& state_;
  FakeTokenizer tokenizer_;
  FakeTemplate template_;
};

inline uint64_t FakeEngine::submit(Request request) {
  check_sampling(request.sampling, tokenizer_.vocab_size());
  if (static_cast<int64_t>(request.prompt_ids.size()) > state_.max_model_len)
    throw Error(ErrorKind::kUsage, "the prompt is too long");
  state_.submitted.push_back(request);
  Open open;
  open.state.id = ++num_requests_;
  open.state.arrived_ns = now_ns();
  open.state.num_prompt_tokens = static_cast<int64_t>(request.prompt_ids.size());
  open.state.choices.resize(static_cast<size_t>(request.sampling.num_choices()));
  open.request = std::move(request);
  for (size_t choice = 0; choice < open.state.choices.size(); ++choice)
    open.replies.push_back(state_.reply ? state_.reply(open.request, static_cast<int>(choice))
                                        : state_.answer);
  open_.push_back(std::move(open));
  state_.most_open = std::max(state_.most_open, open_.size());
  return num_requests_;
}

inline void FakeEngine::cancel(uint64_t request) {
  state_.cancelled.push_back(request);
  std::erase_if(open_, [request](const Open& open) { return open.state.id == request; });
}

inline const RequestState* FakeEngine::state(uint64_t request) const {
  for (const Open& open : open_)
    if (open.state.id == request) return &open.state;
  return nullptr;
}

// One token of each choice of those that run.
inline bool FakeEngine::step(const OnEvent& on_event) {
  if (open_.empty()) return false;
  if (state_.on_step) state_.on_step(state_.stats.num_steps);
  ++state_.stats.num_steps;
  std::vector<uint64_t> running;
  for (const Open& open : open_)
    if (static_cast<int64_t>(running.size()) < state_.max_running) running.push_back(open.state.id);
  for (const uint64_t id : running) {
    const auto found = std::find_if(open_.begin(), open_.end(),
                                    [id](const Open& open) { return open.state.id == id; });
    if (found != open_.end()) advance(*found, on_event);  // an earlier event may have cancelled it
  }
  std::erase_if(open_, [](const Open& open) { return open.state.ended; });
  return !open_.empty();
}

// What an earlier prompt of the same salt had at its beginning comes from the cache.
inline void FakeEngine::begin(Open& open) {
  const std::vector<int32_t>& ids = open.request.prompt_ids;
  for (const auto& [salt, earlier] : prompts_) {
    if (salt != open.request.cache_salt) continue;
    const auto mismatch = std::mismatch(ids.begin(), ids.end() - 1, earlier.begin(), earlier.end());
    open.state.num_cached_tokens =
        std::max(open.state.num_cached_tokens, mismatch.first - ids.begin());
  }
  prompts_.emplace_back(open.request.cache_salt, ids);
  open.state.scheduled_ns = open.state.first_token_ns = now_ns();
  state_.stats.prompt_tokens += open.state.num_prompt_tokens;
  state_.stats.looked_up_prompt_tokens += open.state.num_prompt_tokens;
  state_.stats.cached_prompt_tokens += open.state.num_cached_tokens;
  if (open.request.sampling.prompt_logprobs) {
    for (const int32_t id : ids) open.state.prompt_logprobs.push_back({{id, -1.0f}, {'p', -3.0f}});
    open.state.prompt_logprobs[0].clear();
  }
}

inline void FakeEngine::add_token(const Open& open, Choice& choice) const {
  const SamplingParams& sampling = open.request.sampling;
  const size_t index = static_cast<size_t>(&choice - open.state.choices.data());
  const std::string& reply = open.replies[index];
  const size_t length = choice.token_ids.size();
  const char token = reply[length % reply.size()];
  choice.token_ids.push_back(static_cast<unsigned char>(token));
  choice.text += token;
  if (sampling.logprobs) choice.logprobs.push_back({{'z', -0.125f}, {token, -0.25f}});
  if (open.request.hash_logits) choice.logits_hash += length + 1;
  if (static_cast<int64_t>(length) + 1 == sampling.max_tokens) {
    choice.finish = FinishReason::kLength;
  } else if (length + 1 == reply.size() && !sampling.ignore_eos) {
    choice.finish = FinishReason::kStop;
  }
}

inline void FakeEngine::advance(Open& open, const OnEvent& on_event) {
  RequestState& state = open.state;
  if (state.scheduled_ns == 0) begin(open);
  const std::string prompt = tokenizer_.decode(open.request.prompt_ids, true);
  if (!state_.fails_in_a_step.empty() && prompt.find(state_.fails_in_a_step) != prompt.npos) {
    state.error = Error(ErrorKind::kModel, "a sum in layer 3 left the range of exact reduction");
    for (Choice& choice : state.choices) choice.finish = FinishReason::kError;
    state.ended = true;
    return on_event({state, 0, 0, 0});
  }
  for (size_t i = 0; i < state.choices.size(); ++i) {
    Choice& choice = state.choices[i];
    if (choice.finish) continue;
    const size_t tokens = choice.token_ids.size(), text = choice.text.size();
    add_token(open, choice);
    ++state_.stats.generated_tokens;
    state.ended = std::all_of(state.choices.begin(), state.choices.end(),
                              [](const Choice& c) { return c.finish.has_value(); });
    if (state.ended) state.ended_ns = now_ns();
    if (state.ended && open.request.sampling.best_of > open.request.sampling.n)
      state.choices.resize(static_cast<size_t>(open.request.sampling.n));
    on_event({state, i, tokens, text});
  }
}

}  // namespace weft::engine
