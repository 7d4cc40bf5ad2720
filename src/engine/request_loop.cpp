#include "engine/request_loop.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/clock.h"

namespace weft::engine {
namespace {

constexpr double kCheckEverySeconds = 60;

SchedulerOptions scheduler_options(const EngineOptions& options, const Replica& replica) {
  SchedulerOptions o;
  o.max_num_batched_tokens = replica.shape().max_batch_tokens;
  o.max_num_seqs = options.max_num_seqs;
  o.micro_batch_size = options.micro_batch_size;
  o.policy = options.schedule_policy;
  o.chunked_prefill = options.chunked_prefill;
  o.max_slowdown = options.max_slowdown;
  o.shares_prefixes = options.prefix_caching;
  // One pool runs its stages one after another: a second step in flight would only wait.
  if (!replica.shape().placement.pooled && replica.shape().topology.num_stages() > 1) {
    o.num_stages = replica.shape().topology.num_stages();
    o.max_in_flight = static_cast<int64_t>(replica.max_in_flight());
  }
  return o;
}

DraftLimits draft_limits(const EngineOptions& options, const DraftModel& draft) {
  return {options.num_speculative_tokens, draft.max_step_tokens(), draft.max_positions(),
          options.always_speculate};
}

}  // namespace

RequestLoop::RequestLoop(Replica& replica, const ModelSource& source, cache::BlockPools& pools,
                         const EngineOptions& options, int64_t max_model_len, DraftModel* draft)
    : replica_(replica),
      source_(source),
      pools_(pools),
      cache_(pools, {.enabled = options.prefix_caching}),
      draft_(draft),
      draft_policy_(draft == nullptr
                        ? std::optional<DraftPolicy>()
                        : std::optional<DraftPolicy>(std::in_place, draft_limits(options, *draft),
                                                     times_, draft->times(), draft->cache())),
      scheduler_(scheduler_options(options, replica), pools, cache_, times_,
                 draft_policy_ ? &*draft_policy_ : nullptr),
      max_model_len_(max_model_len),
      num_speculative_tokens_(options.num_speculative_tokens),
      ring_(static_cast<size_t>(scheduler_.options().max_in_flight)) {
  // Otherwise a request of that length would wait for ever.
  WEFT_CHECK(scheduler_.can_ever_fit(max_model_len), "{} tokens", max_model_len);
  int64_t num_blocks = 0;
  for (int group = 0; group < pools.num_groups(); ++group)
    num_blocks += pools.pool(group).num_blocks();
  const auto num_tokens = static_cast<size_t>(replica.shape().max_batch_tokens);
  for (Flight& flight : ring_) {
    flight.schedule.block_ids.reserve(static_cast<size_t>(num_blocks));  // all, at most once
    flight.schedule.chunks.reserve(num_tokens);
    flight.schedule.guesses.reserve(num_tokens);
    flight.rows.reserve(num_tokens);
  }
}

uint64_t RequestLoop::submit(Request request) {
  const uint64_t id = next_request_++;
  auto answering =
      std::make_unique<Answering>(id, std::move(request), source_.end_ids, *source_.tokenizer,
                                  pools_, source_.config.vocab_size, max_model_len_);
  for (const auto& branch : answering->branches()) {
    Sequence& s = branch->sequence;
    s.number = next_sequence_++;
    if (num_speculative_tokens_ == 0 || draft_ != nullptr) continue;
    s.guesses.reserve(static_cast<size_t>(num_speculative_tokens_));
  }
  Answering::Branch& first = *answering->branches().front();
  first.begun = true;
  scheduler_.add(first.sequence);
  requests_.emplace(id, std::move(answering));
  return id;
}

void RequestLoop::cancel(uint64_t request) {
  const auto found = requests_.find(request);
  if (found != requests_.end()) end_all(*found->second, FinishReason::kCancelled);
}

void RequestLoop::end_all(Answering& answering, FinishReason reason) {
  for (const auto& branch : answering.branches()) {
    if (branch->ended) continue;
    if (branch->begun) scheduler_.remove(branch->sequence);
    answering.end(*branch, reason);
  }
  touch(answering);
}

bool RequestLoop::step(const OnEvent& on_event) {
  replica_.plan();
  while (static_cast<int64_t>(replica_.in_flight()) < scheduler_.wanted_in_flight()) {
    if (!submit_next() || replica_.has_answer()) break;
  }
  if (replica_.in_flight() > 0) {
    take_answer();
  } else {
    WEFT_CHECK(scheduler_.num_waiting() + scheduler_.num_running() == 0,
               "{} sequences wait and {} run, and nothing can be planned", scheduler_.num_waiting(),
               scheduler_.num_running());
  }
  report(on_event);
  if (!requests_.empty()) return true;
  check_books();
  replica_.rest();
  return false;
}

// Every block is accounted for whenever nothing is left to do; that it is where it should be is
// looked at now and then, since that takes milliseconds for a large cache.
void RequestLoop::check_books() {
  cache_.next_plan();  // none is under way: what was exchanged in the last one is free
  for (int group = 0; group < pools_.num_groups(); ++group) {
    const int64_t num_blocks = pools_.pool(group).num_blocks();
    WEFT_CHECK_EQ(cache_.num_available(group), num_blocks);
  }
  const int64_t now = now_ns();
  if (checked_ns_ != 0 && seconds_between(checked_ns_, now) < kCheckEverySeconds) return;
  checked_ns_ = now;
  WEFT_CHECK(cache_.is_consistent(), "the blocks of the cache are not where they should be");
}

bool RequestLoop::submit_next() {
  Flight& flight = ring_[num_submitted_ % ring_.size()];
  const int64_t begin_ns = now_ns();
  scheduler_.schedule(flight.schedule);
  totals_.schedule_s += seconds_between(begin_ns, now_ns());
  note_scheduled(flight.schedule);
  if (flight.schedule.empty()) return false;
  const int64_t scheduled_ns = now_ns();
  if (draft_ != nullptr) draft_->propose(flight.schedule, last_taken_);
  const int64_t guessed_ns = now_ns();
  StepPlan& plan = replica_.next_plan();
  fill_plan(flight, plan);
  // With those of prompts whose logprobs are asked for, which the scheduler knows nothing of.
  flight.schedule.load.num_rows = static_cast<int64_t>(plan.rows.size());
  totals_.scheduler_s +=
      seconds_between(begin_ns, scheduled_ns) + seconds_between(guessed_ns, now_ns());
  flight.draft_s = seconds_between(scheduled_ns, guessed_ns);
  note_size(static_cast<int64_t>(plan.token_ids.size()));
  ++num_submitted_;
  replica_.submit(context_of(flight.schedule));
  return true;
}

void RequestLoop::note_size(int64_t num_tokens) {
  ++totals_.num_steps;
  totals_.step_tokens += num_tokens;
  const auto size = static_cast<size_t>(std::bit_width(static_cast<uint64_t>(num_tokens - 1)));
  ++totals_.steps_by_tokens[std::min(size, totals_.steps_by_tokens.size() - 1)];
}

StepContext RequestLoop::context_of(const Schedule& schedule) const {
  const uint64_t number = replica_.num_awaited() + replica_.in_flight();
  const auto most = static_cast<uint64_t>(scheduler_.wanted_in_flight());
  uint64_t needed = number >= most ? number + 1 - most : 0;
  for (const Schedule::Chunk& chunk : schedule.chunks)
    needed = std::max(needed, chunk.sequence->num_answers_needed);
  return {scheduler_.num_running(),
          scheduler_.num_waiting(),
          pools_.full().num_blocks() - pools_.full().num_free(),
          schedule.load,
          std::min(needed, replica_.num_awaited()),
          times_.predict(schedule.load).value_or(0.0)};
}

void RequestLoop::note_scheduled(const Schedule& schedule) {
  for (const Sequence* s : schedule.preempted) ++s->answering->state().num_preemptions;
  for (const Schedule::Chunk& chunk : schedule.chunks) {
    RequestState& state = chunk.sequence->answering->state();
    if (state.scheduled_ns != 0) continue;
    state.scheduled_ns = now_ns();
    chunk.sequence->num_answers_needed = num_answers_at_room_;
    state.num_cached_tokens = chunk.sequence->num_reused;
    totals_.prompt_tokens += state.num_prompt_tokens;
    if (scheduler_.looks_up(*chunk.sequence))
      totals_.looked_up_prompt_tokens += state.num_prompt_tokens;
    totals_.cached_prompt_tokens += state.num_cached_tokens;
  }
}

void RequestLoop::fill_plan(Flight& flight, StepPlan& plan) {
  plan.clear();
  plan.copies = flight.schedule.copies;
  flight.rows.clear();
  flight.states.clear();
  const auto ids_of = [&](Range blocks) {
    return std::span<const int32_t>(flight.schedule.block_ids)
        .subspan(static_cast<size_t>(blocks.begin), static_cast<size_t>(blocks.size()));
  };
  for (const Schedule::Chunk& chunk : flight.schedule.chunks) {
    Sequence& s = *chunk.sequence;
    Answering& answering = *s.answering;
    const int64_t token =
        plan.add(std::span(s.tokens).subspan(static_cast<size_t>(chunk.positions.begin),
                                             static_cast<size_t>(chunk.positions.size())),
                 chunk.positions.begin, ids_of(chunk.tables[0].blocks));
    for (int group = 1; group < pools_.num_groups(); ++group) {
      const auto& [blocks, first_block] = chunk.tables[static_cast<size_t>(group)];
      plan.add_table(group, first_block, ids_of(blocks));
    }
    ++answering.num_in_flight;
    if (answering.request().pooling) {
      answering.add_states(chunk, token, plan, flight.states);
      continue;
    }
    const std::span<const int32_t> guesses =
        std::span(flight.schedule.guesses)
            .subspan(static_cast<size_t>(chunk.guesses.begin),
                     static_cast<size_t>(chunk.guesses.size()));
    plan.extend(guesses);
    answering.add_rows(answering.branch_of(s), chunk, guesses, token, plan, replica_.next_masks(),
                       flight.rows);
  }
}

void RequestLoop::take_answer() {
  const StepAnswer& answer = replica_.await();
  const Flight& flight = ring_[num_answered_++ % ring_.size()];
  last_taken_ = flight.schedule.number;
  last_taken_plan_ = flight.schedule.cache_plan;
  cache_.set_time(now_ns());
  times_.learn(flight.schedule.load, replica_.work_ns());
  take_failures(flight, answer);
  take_rows(flight, answer);
  take_states(flight, answer);
  int64_t num_accepted = 0;
  for (const Schedule::Chunk& chunk : flight.schedule.chunks) {
    Answering& answering = *chunk.sequence->answering;
    --answering.num_in_flight;
    begin_others(answering);
    num_accepted += take_guesses(flight.schedule, chunk);
    guess(flight.schedule, chunk);
    touch(answering);
  }
  note_gain(flight, num_accepted);
  for (Sequence* s : leaving_) scheduler_.remove(*s);
  if (!leaving_.empty()) num_answers_at_room_ = replica_.num_awaited();
  leaving_.clear();
}

// A bad sum added nothing to its token's state, and later tokens attend to it: the answer is lost,
// and so is what others have read of its blocks, also where it was cancelled or sent back
// meanwhile.
void RequestLoop::take_failures(const Flight& flight, const StepAnswer& answer) {
  for (size_t i = 0; i < flight.schedule.chunks.size(); ++i) {
    if (answer.bad_layer[i] < 0) continue;
    const Schedule::Chunk& chunk = flight.schedule.chunks[i];
    Sequence& s = *chunk.sequence;
    const bool counts = flight.schedule.number >= s.first_valid && !s.answering->branch_of(s).ended;
    scheduler_.distrust(s, chunk.positions.begin);
    // After a guess nothing is certain: computed again without one, it fails if it has to.
    if (!counts || !chunk.guesses.empty()) continue;
    fail(*s.answering, Error(ErrorKind::kModel,
                             fmt::format("a sum in layer {} left the range of exact reduction",
                                         answer.bad_layer[i]),
                             "weights or activations of this prompt are not finite, or extreme"));
  }
}

void RequestLoop::fail(Answering& answering, const Error& error) {
  if (!answering.state().error) answering.state().error = error;
  end_all(answering, FinishReason::kError);
}

void RequestLoop::take_rows(const Flight& flight, const StepAnswer& answer) {
  for (size_t i = 0; i < flight.rows.size(); ++i) {
    const RowOwner& owner = flight.rows[i];
    Sequence& s = *owner.sequence;
    Answering::Branch& branch = s.answering->branch_of(s);
    const bool is_ignored = flight.schedule.number < owner.computed->first_valid;
    if (branch.ended || is_ignored || !Answering::follows(owner)) continue;
    if (owner.is_prompt) {
      s.answering->take_prompt_row(answer.rows[i]);
    } else {
      take_token(branch, answer.rows[i]);
    }
  }
}

void RequestLoop::take_states(const Flight& flight, const StepAnswer& answer) {
  const auto size = static_cast<size_t>(source_.config.hidden_size);
  for (size_t i = 0; i < flight.states.size(); ++i) {
    Sequence& s = *flight.states[i].sequence;
    Answering& answering = *s.answering;
    Answering::Branch& branch = answering.branch_of(s);
    if (branch.ended || flight.schedule.number < s.first_valid) continue;
    const auto state = std::span(answer.states).subspan(i * size, size);
    if (!std::ranges::all_of(state, [](float x) { return std::isfinite(x); })) {
      fail(answering, Error(ErrorKind::kModel, "the hidden states are not finite",
                            "weights or activations of this prompt are not finite, or extreme"));
      continue;
    }
    answering.take_state(state, flight.states[i].position);
    if (!branch.ended) continue;
    scheduler_.sampled(s);
    leaving_.push_back(&s);
  }
}

void RequestLoop::take_token(Answering::Branch& branch, const model::RowResult& row) {
  Sequence& s = branch.sequence;
  if (row.no_choice)
    return fail(*s.answering, branch.tokens.failure().value_or(
                                  Error(ErrorKind::kUsage, "no token is allowed to come next",
                                        "logit_bias, bad_words, allowed_token_ids, min_tokens and "
                                        "the grammar together forbid all of them")));
  if (row.bad_logits)
    return fail(*s.answering,
                Error(ErrorKind::kModel, "the logits are not finite",
                      "weights or activations of this prompt are not finite, or extreme"));
  scheduler_.sampled(s);
  s.num_answers_needed = replica_.num_awaited();
  s.answering->take_token(branch, row);
  ++totals_.generated_tokens;
  if (branch.ended && branch.begun) leaving_.push_back(&s);
}

// What came of a chunk's guesses: how many were right.
int64_t RequestLoop::take_guesses(const Schedule& schedule, const Schedule::Chunk& chunk) {
  Sequence& s = *chunk.sequence;
  const auto length = static_cast<int64_t>(s.tokens.size());
  if (chunk.guesses.empty() || schedule.number < s.first_valid || length <= chunk.positions.end)
    return 0;
  const int64_t accepted = length - chunk.positions.end - 1;
  scheduler_.verified(s, chunk.guesses.size(), accepted);
  ++totals_.speculation.num_verifications;
  totals_.speculation.guessed_tokens += chunk.guesses.size();
  totals_.speculation.accepted_tokens += accepted;
  return accepted;
}

// New guesses for the next plan, or what the draft model has to know for them.
void RequestLoop::guess(const Schedule& schedule, const Schedule::Chunk& chunk) {
  Sequence& s = *chunk.sequence;
  Answering::Branch& branch = s.answering->branch_of(s);
  // After a step that is planned again nothing is guessed: the same guess would spoil it again.
  const bool is_ignored = schedule.number < s.first_valid;
  if (num_speculative_tokens_ == 0 || !chunk.samples || branch.ended || is_ignored) return;
  if (draft_ == nullptr) return s.answering->guess(branch, num_speculative_tokens_);
  s.num_left = draft_->is_lost() ? 0 : s.answering->num_left(branch);
}

void RequestLoop::note_gain(const Flight& flight, int64_t num_accepted) {
  StepLoad plain, decodes;
  bool has_guesses = false;
  for (const Schedule::Chunk& chunk : flight.schedule.chunks) {
    plain.add(chunk.positions.begin, chunk.positions.size(), chunk.samples ? 1 : 0);
    plain.has_prompt = plain.has_prompt || chunk.positions.size() > 1;
    if (chunk.samples && chunk.positions.size() == 1) decodes.add(chunk.positions.begin, 1, 1);
    has_guesses = has_guesses || !chunk.guesses.empty() || chunk.num_to_draft > 0;
  }
  if (!has_guesses || decodes.num_tokens == 0) return;
  SpeculationStats& stats = totals_.speculation;
  const std::span<const int64_t> work_ns = replica_.work_ns();
  stats.with_s +=
      flight.draft_s + seconds_between(0, *std::max_element(work_ns.begin(), work_ns.end()));
  // Tokens that were given besides take as many more steps of the decodes, all of them together.
  stats.without_s += *times_.predict(plain) + static_cast<double>(num_accepted) /
                                                  static_cast<double>(decodes.num_tokens) *
                                                  *times_.predict(decodes);
}

// The further choices, whose first tokens the prompt's end has chosen.
void RequestLoop::begin_others(Answering& answering) {
  const Sequence& first = answering.branches().front()->sequence;
  for (const auto& branch : answering.branches()) {
    if (branch->begun || branch->ended || branch->sequence.num_generated() == 0) continue;
    branch->begun = true;
    scheduler_.add_fork(branch->sequence, first);
  }
}

// ---- events

void RequestLoop::touch(Answering& answering) {
  if (answering.is_touched) return;
  answering.is_touched = true;
  touched_.push_back(&answering);
}

// on_event may submit and cancel: touched_ may grow meanwhile, also by requests that it holds
// already, and what on_event throws leaves the list for the next time.
void RequestLoop::report(const OnEvent& on_event) {
  for (size_t i = 0; i < touched_.size(); ++i) {
    Answering& answering = *touched_[i];
    answering.is_touched = false;
    if (!answering.state().ended) report(answering, on_event);
  }
  std::sort(touched_.begin(), touched_.end());
  touched_.erase(std::unique(touched_.begin(), touched_.end()), touched_.end());
  for (Answering* answering : touched_) {
    const bool is_over = answering->state().ended && answering->num_in_flight == 0;
    if (is_over) requests_.erase(answering->state().id);
  }
  touched_.clear();
}

// on_event may cancel this very request, so what is left to tell is asked anew for each event.
void RequestLoop::report(Answering& answering, const OnEvent& on_event) {
  RequestState& state = answering.state();
  if (answering.all_ended()) {
    answering.keep_the_best();
  } else if (answering.reports_only_the_end()) {
    return;
  }
  for (size_t c = 0; c < state.choices.size(); ++c) {
    if (!answering.has_news(c)) continue;
    const RequestEvent event = answering.tell(c);
    state.ended = answering.all_ended() && !answering.has_news();
    if (state.ended) state.ended_ns = now_ns();
    if (on_event) on_event(event);
  }
}

void RequestLoop::clear_cache() {
  WEFT_CHECK(is_idle());
  cache_.clear();
}

void RequestLoop::forget_idle_prefixes() {
  for (int group = pools_.num_groups() - 1; group >= 0; --group)
    cache_.evict(pools_.pool(group).num_blocks(), group);
}

const RequestState* RequestLoop::state(uint64_t request) const {
  const auto found = requests_.find(request);
  const bool runs = found != requests_.end() && !found->second->state().ended;
  return runs ? &found->second->state() : nullptr;
}

EngineStats RequestLoop::stats() const {
  EngineStats stats = totals_;
  stats.num_waiting = scheduler_.num_waiting();
  stats.num_running = scheduler_.num_running();
  stats.num_preemptions = scheduler_.num_preemptions();
  stats.num_blocks = pools_.full().num_blocks();
  stats.num_free_blocks = pools_.full().num_free();
  stats.num_idle_blocks = cache_.num_available() - pools_.full().num_free();
  for (int group = 1; group < pools_.num_groups(); ++group) {
    const cache::BlockPool& pool = pools_.pool(group);
    stats.num_window_blocks += pool.num_blocks();
    stats.num_free_window_blocks += pool.num_free();
    stats.num_idle_window_blocks += cache_.num_available(group) - pool.num_free();
  }
  stats.mask_s = replica_.mask_s();
  if (draft_ == nullptr) return stats;
  draft_->add_to(stats.speculation);
  stats.mask_s += draft_->replica().mask_s();
  return stats;
}

}  // namespace weft::engine
