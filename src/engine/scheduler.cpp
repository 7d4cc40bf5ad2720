#include "engine/scheduler.h"

#include <algorithm>

#include "base/error.h"

namespace weft::engine {
namespace {

// Of max_slowdown, while others wait for a place that is not free: the sooner a prompt is through,
// the sooner one is. (Sixteen places, a mix of lengths: 3 in place of 2 gave 16 and 7 % more
// tokens/s, 6 no more than 3.)
constexpr double kFullHouse = 1.5;
// Prompts cut for a pipeline are no shorter than what fills the matrix kernels, and come in about
// this many chunks a stage: bubbles of (P - 1) of 4 P + P - 1 chunks, a fifth.
constexpr int64_t kLeastPipelineChunk = 64;
constexpr int64_t kChunksPerStage = 4;
// Waiting sequences that one plan looks at: bounds its time where many wait for one prefix.
constexpr size_t kMostLooks = 64;
// A step's time is an estimate: a batch is cut for more than its error.
constexpr double kGainOfSplit = 0.98;

bool comes_before(const Sequence& a, const Sequence& b) {
  return a.priority != b.priority ? a.priority < b.priority : a.number < b.number;
}

void insert_in_order(std::vector<Sequence*>& list, Sequence& sequence) {
  const auto at =
      std::upper_bound(list.begin(), list.end(), &sequence,
                       [](const Sequence* a, const Sequence* b) { return comes_before(*a, *b); });
  list.insert(at, &sequence);
}

void erase_from(std::vector<Sequence*>& list, const Sequence& sequence) {
  const auto at = std::find(list.begin(), list.end(), &sequence);
  WEFT_CHECK(at != list.end(), "sequence {} is not where its state says", sequence.number);
  list.erase(at);
}

// Tokens that may be taken over from the cache: one at least is computed, for its logits.
int64_t reusable(const Sequence& s) {
  return std::min(s.reuse_limit, static_cast<int64_t>(s.tokens.size()) - 1);
}

// One token of so many sequences.
StepLoad decodes_of(int64_t count, int64_t pairs) {
  return {.num_tokens = count, .attention_pairs = pairs, .num_rows = count};
}

// The step before has filled the caches with weights, and sequences lie all over the heap: what a
// plan reads of them is asked for at once, not line after line. (Inlined, since gcc 12 takes a call
// that only fetches for one without effect.)
[[gnu::always_inline]] inline void fetch(std::span<Sequence* const> sequences) {
  constexpr size_t kLine = 64;
  for (const Sequence* s : sequences) {
    const char* bytes = reinterpret_cast<const char*>(s);
    for (size_t at = 0; at < sizeof(Sequence); at += kLine) __builtin_prefetch(bytes + at, 1);
  }
  for (const Sequence* s : sequences) __builtin_prefetch(&s->blocks.full());
  for (const Sequence* s : sequences) __builtin_prefetch(s->blocks.full().ids().data());
}

int64_t common_prefix(const Sequence& a, const Sequence& b) {
  const auto [at, other] =
      std::mismatch(a.tokens.begin(), a.tokens.end(), b.tokens.begin(), b.tokens.end());
  return at - a.tokens.begin();
}

}  // namespace

Scheduler::Scheduler(const SchedulerOptions& options, cache::BlockPools& pools,
                     cache::PrefixCache& cache, const StepTimes& times, DraftPolicy* draft)
    : options_(options), pools_(pools), cache_(cache), times_(times), draft_(draft) {
  waiting_.reserve(1024);
  running_.reserve(static_cast<size_t>(options.max_num_seqs));
}

bool Scheduler::can_ever_fit(int64_t num_tokens) const {
  for (int group = 0; group < pools_.num_groups(); ++group) {
    if (cache::most_blocks(pools_.window(group), 1, num_tokens, pools_.block_size()) >
        pools_.pool(group).num_blocks())
      return false;
  }
  return true;
}

void Scheduler::add(Sequence& sequence) {
  WEFT_CHECK(sequence.state == Sequence::State::kNone);
  sequence.state = Sequence::State::kWaiting;
  insert_in_order(waiting_, sequence);
}

void Scheduler::add_fork(Sequence& s, const Sequence& parent) {
  WEFT_CHECK(s.state == Sequence::State::kNone);
  const bool has_room = parent.state == Sequence::State::kRunning &&
                        parent.num_planned == s.num_prompt &&
                        num_running() < options_.max_num_seqs && find_blocks({2, 2, 2, 2});
  if (!has_room || !s.blocks.fork(parent.blocks, s.num_prompt, fork_copies_)) return add(s);
  s.num_planned = s.num_prompt;
  s.num_published = parent.num_published;
  start(s);
}

void Scheduler::start(Sequence& s) {
  s.state = Sequence::State::kRunning;
  insert_in_order(running_, s);
}

void Scheduler::remove(Sequence& s) {
  if (s.state == Sequence::State::kWaiting) erase_from(waiting_, s);
  if (s.state == Sequence::State::kRunning) {
    erase_from(running_, s);
    cache_.publish_end(s.salt, std::span(s.tokens).first(static_cast<size_t>(s.num_planned)),
                       s.blocks, s.num_published);
  }
  s.blocks.release();
  s.state = Sequence::State::kNone;
}

void Scheduler::distrust(const Sequence& s, int64_t first_token) {
  withdrawn_.clear();
  cache_.withdraw(s.salt, s.tokens, first_token, withdrawn_);
  const auto is_spoilt = [&](const Sequence& other) {
    return other.salt == s.salt && common_prefix(other, s) > first_token;
  };
  const auto ignore = [this](Sequence& other) {
    other.sampling = false;
    other.guesses.clear();
    other.first_valid = next_number_;
  };
  for (Sequence* other : waiting_) {
    if (is_spoilt(*other)) ignore(*other);
  }
  for (size_t i = running_.size(); i-- > 0;) {
    Sequence& other = *running_[i];
    if (!is_spoilt(other)) continue;
    send_back(other);
    ignore(other);
  }
}

void Scheduler::schedule(Schedule& out) {
  out.chunks.clear();
  out.block_ids.clear();
  out.guesses.clear();
  out.preempted.clear();
  out.copies.swap(fork_copies_);
  fork_copies_.clear();
  out.load = {};
  out.number = next_number_++;
  out.cache_plan = cache_.next_plan();
  fetch(running_);
  // From this plan on nobody sees what lies behind the windows.
  if (pools_.num_groups() > 1)
    for (Sequence* s : running_) s->blocks.slide(s->num_planned);
  const bool begun = std::any_of(running_.begin(), running_.end(),
                                 [](const Sequence* s) { return s->num_unplanned() > 1; });
  const bool answers_wait = begun && !options_.chunked_prefill;
  if (!answers_wait) plan_decodes(out);
  PromptRoom room = prompt_room(out);
  plan_begun_prompts(out, room);
  let_in(out, room);
  // The prompt that they wait for may lack window blocks that they hold.
  if (answers_wait && out.empty()) plan_decodes(out);
  if (out.empty()) fork_copies_.swap(out.copies);  // for the plan that will be made
}

// ---- decodes

void Scheduler::plan_decodes(Schedule& out) {
  // Where the few whose turn it is all gave their blocks up, it is the others' turn.
  size_t num_preempted = 0;
  do {
    num_preempted = out.preempted.size();
    plan_some_decodes(out);
  } while (out.chunks.empty() && out.preempted.size() > num_preempted);
}

void Scheduler::plan_some_decodes(Schedule& out) {
  std::vector<Sequence*>& ready = ready_;
  ready.clear();
  for (Sequence* s : running_) {
    if (s->num_unplanned() == 1) ready.push_back(s);
  }
  const auto most =
      static_cast<size_t>(std::min(decodes_at_once(out.number), options_.max_num_batched_tokens));
  if (ready.size() > most) {
    // Those whose last step lies furthest back, so that the ones left over take turns.
    std::nth_element(ready.begin(), ready.begin() + static_cast<std::ptrdiff_t>(most), ready.end(),
                     [](const Sequence* a, const Sequence* b) {
                       return a->last_plan != b->last_plan ? a->last_plan < b->last_plan
                                                           : comes_before(*a, *b);
                     });
    ready.resize(most);
    std::sort(ready.begin(), ready.end(),
              [](const Sequence* a, const Sequence* b) { return comes_before(*a, *b); });
  }
  StepLoad load;
  for (const Sequence* s : ready) load.add(s->num_planned, 1, 1);
  wish_for_guesses(load);
  for (Sequence* s : ready) {
    // An earlier one may have pre-empted it.
    if (s->state != Sequence::State::kRunning || !make_room(*s, out)) continue;
    const int64_t count = num_guesses(*s, load, options_.max_num_batched_tokens - load.num_tokens);
    load.add(s->num_planned + 1, count, count);
    plan(out, *s, 1, count);
  }
}

void Scheduler::wish_for_guesses(const StepLoad& load) {
  if (draft_ == nullptr || ready_.empty()) return;
  const auto at_once = static_cast<double>(std::max<int64_t>(1, wanted_in_flight()));
  draft_->choose(ready_, load, std::max(1.0, times_.depth().value_or(1.0) / at_once));
}

int64_t Scheduler::wanted_guesses(const Sequence& s, const StepLoad& load) const {
  if (draft_ != nullptr) return s.draft_wish.num_guesses;
  const auto most = static_cast<int64_t>(s.guesses.size());
  if (s.record.wants_probe()) return std::min<int64_t>(most, 2);
  return most == 0 ? 0 : best_num_guesses(times_, load, s.record.chance(), most);
}

// Guesses never take a block that another may need soon.
int64_t Scheduler::num_guesses(Sequence& s, const StepLoad& load, int64_t room) {
  const auto length = static_cast<int64_t>(s.tokens.size());
  const int64_t most = std::min(wanted_guesses(s, load), room);
  if (most <= 0) return 0;
  const auto leaves_some = [this] {
    for (int group = 0; group < pools_.num_groups(); ++group)
      if (pools_.pool(group).num_free() <= num_running()) return false;
    return true;
  };
  const bool has_room =
      length + most <= s.blocks.capacity() || (leaves_some() && s.blocks.grow(length + most));
  return has_room ? most : std::max<int64_t>(0, std::min(most, s.blocks.capacity() - length));
}

void Scheduler::verified(Sequence& s, int64_t guessed, int64_t accepted) {
  s.record.learn(guessed, accepted);
  if (draft_ != nullptr) draft_->learn(guessed, accepted);
  // Their keys and values are in its blocks, unless it has lost those meanwhile.
  if (s.state == Sequence::State::kRunning) s.num_planned += accepted;
}

int64_t Scheduler::num_decoding() const {
  return std::count_if(running_.begin(), running_.end(),
                       [](const Sequence* s) { return s->decodes(); });
}

// In steady decoding a stage is busy all the time with as many micro-batches as there are stages;
// one more hides the way of the sampled tokens back. They pay only where a smaller batch is faster:
// cycle(m) = max(m * t(n / m), sum of all stages) = max(m, depth) * t(n / m), t: the slowest
int64_t Scheduler::wanted_in_flight() const {
  const int64_t most = options_.max_in_flight;
  const int64_t n = num_decoding();
  // Prompts pipeline by their chunks, those that wait to be let in too.
  const bool lets_in = !waiting_.empty() && num_running() < options_.max_num_seqs;
  if (most <= 1 || n == 0 || n < num_running() || lets_in) return most;
  if (options_.micro_batch_size > 0) return std::min(most, ceil_div(n, options_.micro_batch_size));
  const double depth = times_.depth().value_or(static_cast<double>(options_.num_stages));
  int64_t best = 1;
  double best_cycle = 0;
  for (int64_t m = 1; m <= std::min(most, n); ++m) {
    StepLoad load;
    load.num_tokens = load.num_rows = ceil_div(n, m);
    const std::optional<double> seconds = times_.predict(load);
    if (!seconds) return std::min(most, n);
    const double cycle = std::max(static_cast<double>(m), depth) * *seconds;
    if (m == 1 || cycle < kGainOfSplit * best_cycle) {
      best = m;
      best_cycle = cycle;
    }
  }
  return best;
}

// Shares that differ by one at most, whose sum over a turn of the ring is all of them: what is left
// over goes to another micro-batch with each plan (the rotation of gLLM's token throttling, arXiv
// 2504.14775).
int64_t Scheduler::decodes_at_once(uint64_t turn) const {
  if (options_.micro_batch_size > 0) return options_.micro_batch_size;
  const int64_t parts = wanted_in_flight();
  const auto rotation = static_cast<int64_t>(turn % static_cast<uint64_t>(parts));
  return std::max<int64_t>(1, (num_decoding() + rotation) / parts);
}

// What a micro-batch of decodes holds on average.
StepLoad Scheduler::typical_decodes() const {
  StepLoad all;
  for (const Sequence* s : running_) {
    if (s->decodes()) all.add(static_cast<int64_t>(s->tokens.size()) - 1, 1, 1);
  }
  if (all.num_tokens == 0) return all;
  const int64_t count = std::min(decodes_at_once(next_number_), all.num_tokens);
  return decodes_of(count, all.attention_pairs / all.num_tokens * count);
}

// The same where all who wait, as far as they will be let in, decode too: the step that running
// answers are about to wait for anyway. Measured against it, the first answers of a full queue do
// not keep the others out; beside one long prompt it is hardly more.
StepLoad Scheduler::with_those_who_wait(const StepLoad& decodes) const {
  const int64_t running = num_decoding();
  const int64_t all = std::min(num_running() + num_waiting(), options_.max_num_seqs);
  if (running == 0 || all <= running) return decodes;
  return decodes_of(decodes.num_tokens * all / running, decodes.attention_pairs * all / running);
}

// ---- prompts

Scheduler::PromptRoom Scheduler::prompt_room(const Schedule& out) const {
  PromptRoom room{options_.max_num_batched_tokens - out.load.num_tokens, out.load};
  if (room.decodes.num_tokens == 0) room.decodes = typical_decodes();
  room.decodes = with_those_who_wait(room.decodes);
  if (options_.num_stages == 1 || options_.max_in_flight == 1) return room;
  // Short enough that the chunks of what waits keep every stage busy.
  int64_t unplanned = 0;
  for (const Sequence* s : running_) unplanned += s->num_unplanned() > 1 ? s->num_unplanned() : 0;
  for (size_t i = 0; i < std::min(waiting_.size(), kMostLooks); ++i)
    unplanned += waiting_[i]->num_unplanned();
  const int64_t chunk = round_up(ceil_div(unplanned, kChunksPerStage * options_.num_stages), 16);
  room.tokens = std::min(room.tokens, std::max(chunk, kLeastPipelineChunk));
  return room;
}

// The longest chunk that keeps the step within max_slowdown of what decodes alone will take
// (prompt_room), but one short chunk a step whatever it costs. 0: none that would be worth it.
int64_t Scheduler::chunk_of(const Schedule& out, const Sequence& sequence,
                            const PromptRoom& room) const {
  const int64_t most = std::min(sequence.num_unplanned(), room.tokens);
  if (!options_.chunked_prefill || options_.max_slowdown <= 0 || room.decodes.num_tokens == 0)
    return most;
  const std::optional<double> alone = times_.predict(room.decodes);
  if (!alone) return most;
  const bool is_full = !waiting_.empty() && num_running() >= options_.max_num_seqs;
  const double limit = options_.max_slowdown * (is_full ? kFullHouse : 1.0) * *alone;
  const auto affordable = [&](int64_t count) {
    StepLoad load = out.load;
    load.add(sequence.num_planned, count, count == sequence.num_unplanned() ? 1 : 0);
    load.has_prompt = true;
    return *times_.predict(load) <= limit;
  };
  int64_t low = room.is_empty ? std::min(most, kLeastChunk) : 0, high = most;
  while (low < high) {
    const int64_t middle = low + (high - low + 1) / 2;
    if (affordable(middle)) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low < std::min(most, kLeastChunk) ? 0 : low;
}

bool Scheduler::plan_chunk(Schedule& out, Sequence& s, PromptRoom& room) {
  const int64_t count = make_room_in_windows(s, chunk_of(out, s, room), out);
  if (count == 0) return false;
  plan(out, s, count);
  room.tokens -= count;
  room.is_empty = false;
  return room.tokens > 0;
}

void Scheduler::plan_begun_prompts(Schedule& out, PromptRoom& room) {
  if (room.tokens <= 0) return;
  // Those behind may be sent back meanwhile.
  for (size_t i = 0; i < running_.size(); ++i) {
    if (running_[i]->num_unplanned() > 1 && !plan_chunk(out, *running_[i], room)) return;
  }
}

// ---- who is let in

void Scheduler::let_in(Schedule& out, PromptRoom& room) {
  if (num_running() >= options_.max_num_seqs || room.tokens <= 0) return;
  list_candidates();
  for (const Candidate& candidate : candidates_) {
    if (num_running() >= options_.max_num_seqs || room.tokens <= 0) return;
    Sequence& s = *candidate.sequence;
    // A step in flight chooses its next token, or another computes the prefix that they share.
    if (s.sampling || is_being_computed(s)) continue;
    // None overtakes one that waits for blocks.
    if (!begin(s, out) || !plan_chunk(out, s, room)) return;
  }
}

// The first that wait, in the order in which they are to be let in.
void Scheduler::list_candidates() {
  candidates_.clear();
  for (size_t i = 0; i < std::min(waiting_.size(), kMostLooks); ++i) {
    const Sequence& s = *waiting_[i];
    int64_t cost = 0;
    if (s.num_overtaken >= kMostOvertakings) {
      cost = std::numeric_limits<int64_t>::min();
    } else if (options_.policy == SchedulePolicy::kShortest) {
      cost = s.num_unplanned();
    } else if (options_.policy == SchedulePolicy::kPrefix) {
      cost = -cache_.peek(s.salt, s.tokens, reusable(s));
    }
    candidates_.push_back({waiting_[i], cost});
  }
  if (options_.policy == SchedulePolicy::kFcfs) return;
  std::sort(candidates_.begin(), candidates_.end(), [](const Candidate& a, const Candidate& b) {
    if (a.sequence->priority != b.sequence->priority)
      return a.sequence->priority < b.sequence->priority;
    return a.cost != b.cost ? a.cost < b.cost : a.sequence->number < b.sequence->number;
  });
}

// Whether a running sequence is about to compute, and so to publish, more of the beginning than
// the cache knows. One of a lower priority is not waited for: others that go before it may keep it
// from its turn for as long as they come.
bool Scheduler::is_being_computed(const Sequence& waiting) const {
  if (!options_.shares_prefixes) return false;
  const int64_t size = pools_.block_size();
  for (const Sequence* s : running_) {
    if (s->num_unplanned() <= 1 || s->salt != waiting.salt || s->priority > waiting.priority)
      continue;
    const int64_t shared = std::min(common_prefix(*s, waiting), reusable(waiting)) / size * size;
    if (shared > s->num_planned) return true;
  }
  return false;
}

// What the cache knows of a waiting sequence, and room for the rest.
bool Scheduler::match_and_find_blocks(const Sequence& s, int64_t limit) {
  cache_.match(s.salt, s.tokens, limit, match_);
  BlockCounts wanted = wanted_to_begin(static_cast<int64_t>(s.tokens.size()));
  for (int group = 0; group < pools_.num_groups(); ++group)
    wanted[static_cast<size_t>(group)] -= std::ssize(match_.of(group).blocks);
  if (find_blocks(wanted)) return true;
  const int64_t without_copy = match_.copied_tokens > 0 ? match_.num_blocks() : -1;
  cache_.give_back(match_);
  // The block that would be copied from may be the one that is missing, for ever.
  return without_copy >= 0 && match_and_find_blocks(s, without_copy * pools_.block_size());
}

// Lets a waiting sequence in, with what the cache knows of it and blocks for all its tokens. False
// where the blocks are short; nothing has changed then.
bool Scheduler::begin(Sequence& s, Schedule& out) {
  const auto length = static_cast<int64_t>(s.tokens.size());
  if (!match_and_find_blocks(s, reusable(s))) return false;
  const int64_t num_known_blocks = match_.num_blocks();
  const int64_t known = match_.num_tokens;
  WEFT_CHECK(s.blocks.begin(match_, out.copies) && s.blocks.grow_full(length), "blocks were found");
  for (Sequence* earlier : waiting_) {
    if (earlier == &s) break;
    ++earlier->num_overtaken;
  }
  erase_from(waiting_, s);
  s.num_planned = s.num_reused = known;
  s.num_published = num_known_blocks;
  s.num_overtaken = 0;
  start(s);
  return true;
}

void Scheduler::plan(Schedule& out, Sequence& s, int64_t count, int64_t num_guesses) {
  const Range positions{s.num_planned, s.num_planned + count};
  const bool samples = positions.end == static_cast<int64_t>(s.tokens.size());
  // Before blocks are published: the table may take over an equal one, which another sequence of
  // this plan writes.
  Schedule::Chunk& chunk = out.chunks.emplace_back();
  for (int group = 0; group < pools_.num_groups(); ++group) {
    const cache::BlockTable& table = s.blocks.table(group);
    const auto begin = static_cast<int64_t>(out.block_ids.size());
    out.block_ids.insert(out.block_ids.end(), table.ids().begin(), table.ids().end());
    chunk.tables[static_cast<size_t>(group)] = {{begin, begin + table.num_blocks()},
                                                table.first_block()};
  }
  const auto first_guess = static_cast<int64_t>(out.guesses.size());
  if (draft_ != nullptr) {
    out.guesses.insert(out.guesses.end(), static_cast<size_t>(num_guesses), -1);
  } else {
    out.guesses.insert(out.guesses.end(), s.guesses.begin(), s.guesses.begin() + num_guesses);
  }
  if (num_guesses == 0) s.record.skip();
  s.guesses.clear();
  chunk.sequence = &s;
  chunk.positions = positions;
  chunk.samples = samples;
  chunk.guesses = {first_guess, static_cast<int64_t>(out.guesses.size())};
  chunk.num_to_draft = s.draft_wish.num_tokens;
  s.draft_wish = {};
  out.load.add(positions.begin, count + num_guesses, samples ? 1 + num_guesses : 0);
  if (count > 1) out.load.has_prompt = true;
  s.num_planned = positions.end;
  s.sampling = samples;
  s.last_plan = out.number;
  // Where no block has become full, the tree need not be looked at.
  if (s.num_planned / pools_.block_size() > s.num_published)
    s.num_published =
        cache_.publish(s.salt, std::span(s.tokens).first(static_cast<size_t>(s.num_planned)),
                       s.blocks, s.num_published);
}

// ---- pre-emption

// Plans in flight still write to its blocks; whoever gets them writes in later plans.
void Scheduler::preempt(Sequence& s, Schedule& out) {
  cache_.publish_end(s.salt, std::span(s.tokens).first(static_cast<size_t>(s.num_planned)),
                     s.blocks, s.num_published);
  send_back(s);
  ++s.num_preemptions;
  ++num_preemptions_;
  out.preempted.push_back(&s);
}

void Scheduler::send_back(Sequence& s) {
  erase_from(running_, s);
  s.blocks.release();
  s.num_planned = s.num_reused = s.num_published = 0;
  s.draft_wish = {};
  s.state = Sequence::State::kWaiting;
  insert_in_order(waiting_, s);
}

}  // namespace weft::engine
