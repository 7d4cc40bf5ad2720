#include "fleet/local_engine.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "base/clock.h"
#include "base/log.h"
#include "fleet/fingerprint.h"

namespace weft::fleet {
namespace {

// A view that looks on 20 times a second sees each of its looks renewed.
constexpr int64_t kPublishNs = 5'000'000;
constexpr int64_t kListNs = 50'000'000;
constexpr int64_t kReportNs = 500'000'000;
// A report is of at least so much; the window begins anew when it is as long as the other.
constexpr double kShortestWindowS = 2.0, kLongestWindowS = 6.0;
// An idle engine shows its report ageing.
constexpr int64_t kIdleNs = 1'000'000'000;
// Of 16 bytes each, for each worker: a step of a model of 32 layers enters some 200 activities with
// tensor parallelism, so this is the last 80 steps at the least. 256 KiB a worker.
constexpr int64_t kKeptEvents = 16'384;
// Of some 150 bytes each: ten seconds of steps of 2 ms. 0.6 MiB.
constexpr int64_t kKeptSteps = 4'096;

// Nobody can name a request that is not his own.
uint64_t draw_number() {
  std::random_device device;
  uint64_t number = 0;
  while (number == 0) number = uint64_t{device()} << 32 | device();
  return number;
}

engine::Request request_of(Generate& asked) {
  engine::Request request;
  request.prompt_ids = std::move(asked.prompt_ids);
  request.sampling = std::move(asked.sampling);
  if (!request.sampling.seed) request.sampling.seed = draw_number();
  request.priority = asked.priority;
  request.cache_salt = asked.cache_salt;
  return request;
}

engine::Request request_of(Embed& asked) {
  engine::Request request;
  request.prompt_ids = std::move(asked.prompt_ids);
  request.pooling =
      asked.pooling == Embed::Pooling::kMean ? engine::Pooling::kMean : engine::Pooling::kLast;
  request.sampling.seed = 0;
  request.priority = asked.priority;
  request.cache_salt = asked.cache_salt;
  return request;
}

// In double and in order, so that equal vectors stay equal. A vector of zeros stays one.
void normalize(std::vector<float>& values) {
  double sum = 0;
  for (const float x : values) sum += static_cast<double>(x) * static_cast<double>(x);
  if (sum == 0) return;
  const double length = std::sqrt(sum);
  for (float& x : values) x = static_cast<float>(static_cast<double>(x) / length);
}

// Of the request as a whole, as far as it is known.
void fill_numbers(const engine::RequestState& state, const HeldRequest& row, Event& event) {
  event.num_prompt_tokens = state.num_prompt_tokens;
  event.num_cached_tokens = state.num_cached_tokens;
  event.num_preemptions = state.num_preemptions;
  event.arrived_ns = row.arrived_ns;
  event.scheduled_ns = state.scheduled_ns;
  event.first_token_ns = state.first_token_ns;
}

Event event_of(const engine::RequestEvent& told) {
  const engine::RequestState& state = told.request;
  const engine::Choice& choice = state.choices[told.choice];
  const auto first = static_cast<std::ptrdiff_t>(told.first_new_token);
  Event event;
  event.choice = told.choice;
  event.token_ids.assign(choice.token_ids.begin() + first, choice.token_ids.end());
  event.text = choice.text.substr(told.first_new_text);
  if (choice.logprobs.size() > told.first_new_token)
    event.logprobs.assign(choice.logprobs.begin() + first, choice.logprobs.end());
  event.finish = choice.finish;
  event.stop_reason = choice.stop_reason;
  event.cumulative_logprob = choice.cumulative_logprob;
  event.ended = state.ended;
  event.error = state.error;
  return event;
}

template <typename OnNews, typename News>
void call(const OnNews& on_news, News news) {
  try {
    on_news(std::move(news));
  } catch (const std::exception& e) {  // against its contract; no other request pays for it
    log_error("an event was not taken: {}", e.what());
  }
}

}  // namespace

std::unique_ptr<LocalEngine> LocalEngine::start(LocalEngineOptions options, const Load& load) {
  std::unique_ptr<LocalEngine> client(new LocalEngine(std::move(options)));
  std::promise<void> ready;
  std::future<void> is_ready = ready.get_future();
  client->thread_ = std::thread(
      [&client = *client, &load, ready = std::move(ready)]() mutable { client.run(load, ready); });
  is_ready.get();
  return client;
}

LocalEngine::LocalEngine(LocalEngineOptions options) : options_(std::move(options)) {
  engine::EngineOptions& engine = options_.engine;
  if (engine.num_kept_events == 0) engine.num_kept_events = kKeptEvents;
  if (engine.num_kept_steps == 0) engine.num_kept_steps = kKeptSteps;
}

LocalEngine::~LocalEngine() {
  stopping_.store(true);
  mailbox_.nudge();
  if (thread_.joinable()) thread_.join();
}

// ---- any thread

void LocalEngine::post(Message message) {
  if (mailbox_.post(std::move(message))) return;
  const std::lock_guard lock(status_mutex_);
  throw Error(ErrorKind::kCommunication, "the engine is lost",
              status_.failure ? status_.failure->summary() : "it is being ended",
              "start the server again");
}

uint64_t LocalEngine::generate(Generate request, OnEvent on_event) {
  check_generate(request, card_.limits);
  const uint64_t number = draw_number();
  post(GenerateMessage{number, std::move(request), std::move(on_event), now_ns()});
  return number;
}

uint64_t LocalEngine::embed(Embed request, OnEmbedding on_embedding) {
  engine::check_prompt(request.prompt_ids, card_.limits);
  const uint64_t number = draw_number();
  post(EmbedMessage{number, std::move(request), std::move(on_embedding), now_ns()});
  return number;
}

// Where nobody takes messages any more, nothing is left to cancel, pause or forget either.
void LocalEngine::cancel(uint64_t request) { mailbox_.post(CancelMessage{request}); }
void LocalEngine::pause() { mailbox_.post(PauseMessage{true}); }
void LocalEngine::resume() { mailbox_.post(PauseMessage{false}); }
void LocalEngine::reset_prefix_cache() { mailbox_.post(ResetCacheMessage{}); }

void LocalEngine::when_done(std::function<void(const Status&)> done) {
  if (!mailbox_.post(DoneMessage{done})) done(status());
}

void LocalEngine::prefixes(OnPrefixes on_prefixes) {
  if (auto snapshot = prefix_watch_.young(now_ns())) return on_prefixes(std::move(snapshot));
  post(PrefixesMessage{std::move(on_prefixes)});
}

Status LocalEngine::status() const {
  Status status;
  {
    const std::lock_guard lock(status_mutex_);
    status = status_;
  }
  if (const std::optional<Error> lost = status.alive ? engine_->lost() : std::nullopt) {
    status.alive = false;
    status.failure = lost;
  }
  status.stats.num_waiting += mailbox_.count_if([](const Message& message) {
    return std::holds_alternative<GenerateMessage>(message) ||
           std::holds_alternative<EmbedMessage>(message);
  });
  status.last_step_ns = last_step_ns_.load();
  status.in_step_since_ns = in_step_since_ns_.load();
  return status;
}

engine::PipelineTrace LocalEngine::trace(int64_t window_ns) const {
  return engine_->trace_since(now_ns() - window_ns);
}

// ---- the stepping thread

void LocalEngine::run(const Load& load, std::promise<void>& ready) {
  try {
    engine_ = load(options_.engine);
    describe();
  } catch (...) {
    ready.set_exception(std::current_exception());
    return;
  }
  publish(now_ns());
  ready.set_value();
  try {
    serve();
  } catch (const Error& error) {
    lose(error);
  } catch (const std::exception& e) {
    lose(Error(ErrorKind::kInternal, e.what()));
  }
  while (!stopping_.load()) mailbox_.wait_until(now_ns() + kIdleNs);
  close(engine::FinishReason::kCancelled, {});
  compilations_.reset();  // which may look at the tokenizer
  engine_.reset();        // on the thread that it was loaded on
}

void LocalEngine::describe() {
  const engine::EngineOptions& options = options_.engine;
  card_.name = options_.name;
  card_.fingerprint = options_.fingerprint.empty() ? fingerprint(options) : options_.fingerprint;
  card_.report = engine_->model();
  card_.split = engine_->split();
  const int64_t context = card_.report.context_length, longest = engine_->max_model_len();
  card_.limits = {card_.report.vocab_size, longest, context,
                  options.max_model_len == 0 && longest < context};
  card_.max_num_seqs = options.max_num_seqs;
  card_.max_num_batched_tokens = options.max_num_batched_tokens;
  card_.block_size = options.block_size;
  card_.num_blocks = engine_->kv_cache_blocks();
  card_.kv_cache_dtype = kernels::name(options.kv_type);
  card_.isa = engine_->isa();
  status_.started_ns = now_ns();
  status_.probe_ns = options_.probe_ns;
  compilations_ = std::make_unique<GrammarCompilations>(
      [this] {
        return text::GrammarCompiler::make(engine_->tokenizer(), card_.report.vocab_size,
                                           card_.report.end_ids);
      },
      [this](uint64_t number, std::shared_ptr<const text::Grammar> grammar,
             std::optional<Error> error) {
        mailbox_.post(GrammarMessage{number, std::move(grammar), std::move(error)});
      });
}

void LocalEngine::serve() {
  while (!stopping_.load()) turn();
}

void LocalEngine::turn() {
  mailbox_.take(messages_);
  for (Message& message : messages_) std::visit([this](auto& asked) { handle(asked); }, message);
  messages_.clear();
  const int64_t probe_ns = probe_at();
  if (now_ns() >= probe_ns) probe();
  if (has_work_ && !is_paused_) {
    step();
    const int64_t now = now_ns();
    if (now - published_ns_ >= kPublishNs || !has_work_) publish(now);
  } else {
    publish(now_ns());
    mailbox_.wait_until(std::min(now_ns() + kIdleNs, probe_ns));
  }
}

// When an engine that is left alone is to show that it could; never while it has work.
int64_t LocalEngine::probe_at() const {
  const bool can_answer = card_.limits.max_model_len >= 2;
  if (options_.probe_ns <= 0 || has_work_ || is_paused_ || !can_answer) return INT64_MAX;
  return std::max(last_step_ns_.load(), status_.started_ns) + options_.probe_ns;
}

void LocalEngine::probe() {
  engine::Request request;
  request.prompt_ids = {0};
  request.sampling.max_tokens = 1;
  request.sampling.seed = 0;
  probe_id_ = engine_->submit(std::move(request));
  ++num_probes_;
  has_work_ = true;
}

// What users asked for. A probe under way may not be counted yet, and counters never step back.
engine::EngineStats LocalEngine::stats_without_probes() const {
  engine::EngineStats stats = engine_->stats();
  if (num_probes_ == 0) return stats;
  const engine::EngineStats& told = status_.stats;
  stats.prompt_tokens = std::max(told.prompt_tokens, stats.prompt_tokens - num_probes_);
  stats.looked_up_prompt_tokens =
      std::max(told.looked_up_prompt_tokens, stats.looked_up_prompt_tokens - num_probes_);
  stats.generated_tokens = std::max(told.generated_tokens, stats.generated_tokens - num_probes_);
  if (const engine::RequestState* state = engine_->state(probe_id_)) {
    int64_t& held = state->scheduled_ns != 0 ? stats.num_running : stats.num_waiting;
    held = std::max<int64_t>(0, held - 1);
  }
  return stats;
}

void LocalEngine::handle(GenerateMessage& message) {
  Generate& asked = message.request;
  owners_.note(asked.cache_salt, asked.principal);
  Held held;
  held.row.number = message.number;
  held.row.principal = std::move(asked.principal);
  held.row.priority = asked.priority;
  held.row.num_choices = static_cast<size_t>(asked.sampling.n);
  held.row.num_prompt_tokens = static_cast<int64_t>(asked.prompt_ids.size());
  held.row.arrived_ns = message.arrived_ns;
  held.on_event = std::move(message.on_event);
  const HeldList::iterator place = hold(std::move(held));
  if (is_closed_) return;
  if (!asked.grammar) return submit(place, request_of(asked));
  place->request = request_of(asked);
  try {
    compilations_->submit(message.number, std::move(*asked.grammar), place->row.principal);
  } catch (const Error& error) {
    end(place, engine::FinishReason::kError, error);
  }
}

void LocalEngine::handle(EmbedMessage& message) {
  Embed& asked = message.request;
  owners_.note(asked.cache_salt, asked.principal);
  Held held;
  held.row.number = message.number;
  held.row.principal = std::move(asked.principal);
  held.row.priority = asked.priority;
  held.row.num_prompt_tokens = static_cast<int64_t>(asked.prompt_ids.size());
  held.row.arrived_ns = message.arrived_ns;
  held.on_embedding = std::move(message.on_embedding);
  held.normalizes = asked.normalize;
  const HeldList::iterator place = hold(std::move(held));
  if (!is_closed_) submit(place, request_of(asked));
}

LocalEngine::HeldList::iterator LocalEngine::hold(Held held) {
  held.has_finished.resize(held.row.num_choices);
  const auto place = held_.insert(held_.end(), std::move(held));
  by_number_.emplace(place->row.number, place);
  return place;
}

void LocalEngine::handle(GrammarMessage& message) {
  const auto found = by_number_.find(message.number);
  if (found == by_number_.end()) return;  // cancelled meanwhile
  const HeldList::iterator held = found->second;
  if (message.error) return end(held, engine::FinishReason::kError, message.error);
  held->request.grammar = std::move(message.grammar);
  submit(held, std::exchange(held->request, {}));
}

void LocalEngine::submit(HeldList::iterator held, engine::Request request) {
  try {
    held->engine_id = engine_->submit(std::move(request));
  } catch (const Error& error) {
    return end(held, engine::FinishReason::kError, error);
  } catch (const std::exception& e) {
    return end(held, engine::FinishReason::kError, Error(ErrorKind::kInternal, e.what()));
  }
  by_engine_id_.emplace(held->engine_id, held);
  has_work_ = true;
}

void LocalEngine::handle(DoneMessage& message) {
  if (!is_closed_) publish(now_ns());
  call(message.done, status());
}

void LocalEngine::handle(PrefixesMessage& message) {
  const int64_t begin_ns = now_ns();
  std::shared_ptr<const PrefixSnapshot> snapshot =
      prefix_watch_.young(begin_ns);  // another asked just now
  if (!snapshot && !is_closed_) {
    try {
      cache::PrefixOutline outline = engine_->prefix_outline({});
      snapshot = prefix_watch_.keep(std::move(outline), owners_, begin_ns, now_ns());
    } catch (const std::exception& e) {  // no memory: no picture, and no request pays for it
      log_error("the prefix cache could not be looked at: {}", e.what());
    }
  }
  call(message.on_prefixes, std::move(snapshot));
}

void LocalEngine::handle(CancelMessage& message) {
  const auto found = by_number_.find(message.number);
  if (found == by_number_.end()) return;
  const HeldList::iterator held = found->second;
  if (held->engine_id != 0)
    engine_->cancel(held->engine_id);
  else
    compilations_->cancel(message.number);
  end(held, engine::FinishReason::kCancelled, {});
  has_work_ = true;  // the engine forgets it in a step
}

void LocalEngine::step() {
  in_step_since_ns_.store(now_ns());
  has_work_ = engine_->step([this](const engine::RequestEvent& event) { take(event); });
  last_step_ns_.store(now_ns());
  in_step_since_ns_.store(0);
}

void LocalEngine::take(const engine::RequestEvent& told) {
  const auto found = by_engine_id_.find(told.request.id);
  if (found == by_engine_id_.end()) return;  // it was cancelled, and its end is told
  Held& held = *found->second;
  if (held.on_embedding) return take_embedding(found->second, told.request);
  Event event = event_of(told);
  fill_numbers(told.request, held.row, event);
  if (!held.is_told) event.prompt_logprobs = told.request.prompt_logprobs;
  held.is_told = true;
  held.row.num_generated_tokens += static_cast<int64_t>(event.token_ids.size());
  if (event.finish) held.has_finished[event.choice] = true;
  if (!event.ended) return call(held.on_event, std::move(event));
  const OnEvent on_event = std::move(held.on_event);
  forget(found->second);
  call(on_event, std::move(event));
}

void LocalEngine::take_embedding(HeldList::iterator place, const engine::RequestState& state) {
  const Held held = std::move(*place);
  forget(place);
  Embedding embedding{state.embedding, state.num_prompt_tokens, state.error};
  if (held.normalizes) normalize(embedding.values);
  call(held.on_embedding, std::move(embedding));
}

void LocalEngine::end(HeldList::iterator place, engine::FinishReason reason,
                      const std::optional<Error>& error) {
  const Held held = std::move(*place);
  const engine::RequestState* state =
      held.engine_id == 0 ? nullptr : engine_->state(held.engine_id);
  forget(place);
  if (held.on_embedding) {
    const Error cancelled(ErrorKind::kUsage, "the request was cancelled");
    return call(held.on_embedding,
                Embedding{{}, held.row.num_prompt_tokens, error.value_or(cancelled)});
  }
  size_t num_left =
      static_cast<size_t>(std::count(held.has_finished.begin(), held.has_finished.end(), false));
  for (size_t choice = 0; choice < held.has_finished.size(); ++choice) {
    if (held.has_finished[choice]) continue;
    Event event;
    event.choice = choice;
    event.finish = reason;
    event.num_prompt_tokens = held.row.num_prompt_tokens;
    event.arrived_ns = held.row.arrived_ns;
    if (state != nullptr) fill_numbers(*state, held.row, event);
    event.ended = --num_left == 0;
    event.error = error;
    call(held.on_event, std::move(event));
  }
}

// Nothing is taken any more, and what was is ended.
void LocalEngine::close(engine::FinishReason reason, const std::optional<Error>& error) {
  is_closed_ = true;
  has_work_ = false;
  mailbox_.close();
  mailbox_.take(messages_);
  for (Message& message : messages_) {
    if (auto* asked = std::get_if<GenerateMessage>(&message)) handle(*asked);
    if (auto* asked = std::get_if<EmbedMessage>(&message)) handle(*asked);
    if (auto* asked = std::get_if<PrefixesMessage>(&message)) handle(*asked);
    if (auto* asked = std::get_if<DoneMessage>(&message)) handle(*asked);
  }
  messages_.clear();
  while (!held_.empty()) end(held_.begin(), reason, error);
}

void LocalEngine::forget(HeldList::iterator held) {
  by_number_.erase(held->row.number);
  by_engine_id_.erase(held->engine_id);
  held_.erase(held);
}

// Whoever asks from here on is refused; who asked before is told.
void LocalEngine::lose(const Error& error) {
  log_error("the engine is lost: {}", error.summary());
  {
    const std::lock_guard lock(status_mutex_);
    status_.alive = false;
    status_.failure = error;
  }
  in_step_since_ns_.store(0);
  close(engine::FinishReason::kError, error);
}

void LocalEngine::publish(int64_t now) {
  published_ns_ = now;
  const bool lists = now - listed_ns_ >= kListNs || !has_work_ || is_paused_;
  engine::EngineStats stats = stats_without_probes();
  stats.num_waiting += std::ssize(held_) - std::ssize(by_engine_id_);  // for their grammars
  {
    const std::lock_guard lock(status_mutex_);
    status_.stats = stats;
    status_.paused = is_paused_;
  }
  if (lists) {
    listed_ns_ = now;
    publish_requests();
  }
  if (now - reported_ns_ >= kReportNs) {
    reported_ns_ = now;
    publish_pipeline();
  }
}

void LocalEngine::publish_requests() {
  std::vector<HeldRequest> rows;
  rows.reserve(std::min(held_.size(), Status::kMostListed));
  for (const Held& held : held_) {
    if (rows.size() == Status::kMostListed) break;
    HeldRequest& row = rows.emplace_back(held.row);
    const engine::RequestState* state =
        held.engine_id == 0 ? nullptr : engine_->state(held.engine_id);
    if (state == nullptr) continue;
    row.running = state->scheduled_ns != 0;
    row.num_cached_tokens = state->num_cached_tokens;
    row.num_preemptions = state->num_preemptions;
    row.scheduled_ns = state->scheduled_ns;
    row.first_token_ns = state->first_token_ns;
  }
  const std::lock_guard lock(status_mutex_);
  status_.requests.swap(rows);
}

void LocalEngine::publish_pipeline() {
  engine::PipelineReport report = engine_->report_window();
  const double window_s = report.window_s;
  {
    const std::lock_guard lock(status_mutex_);
    const bool is_longer = window_s >= status_.pipeline.window_s;
    if (is_longer || window_s >= kShortestWindowS) std::swap(status_.pipeline, report);
  }
  if (window_s >= kLongestWindowS) engine_->begin_window();
}

}  // namespace weft::fleet
