#include "engine/draft_model.h"

#include <algorithm>

#include "base/clock.h"
#include "base/log.h"
#include "engine/answering.h"

namespace weft::engine {
namespace {

// Where the step's first token pays for the weights; measured beside a step of one.
constexpr int64_t kFewTokens = 16;

ChoiceTokens& tokens_of(const Schedule::Chunk& chunk) {
  Sequence& s = *chunk.sequence;
  return s.answering->branch_of(s).tokens;
}

// Full attention's, which has all blocks of the sequence.
std::span<const int32_t> table_of(const Schedule& schedule, const Schedule::Chunk& chunk) {
  const Range blocks = chunk.tables.front().blocks;
  return std::span(schedule.block_ids)
      .subspan(static_cast<size_t>(blocks.begin), static_cast<size_t>(blocks.size()));
}

}  // namespace

DraftModel::DraftModel(std::shared_ptr<Replica> replica, int64_t vocab_size)
    : replica_(std::move(replica)),
      vocab_size_(vocab_size),
      own_vocab_size_(replica_->shape().source->config.vocab_size),
      max_positions_(replica_->shape().ropes->front().num_positions()),
      cache_(replica_->shape().num_blocks, replica_->shape().kv.block_tokens) {
  measure_steps();
}

// On slots that no sequence has written yet. The first step of a kind touches fresh memory.
void DraftModel::measure_steps() {
  const int32_t block = 0;
  const std::vector<int32_t> ids(kFewTokens, 0);
  for (const int64_t most : {int64_t{1}, kFewTokens}) {
    const int64_t count = std::min({most, max_step_tokens(), max_positions_});
    StepLoad load;
    load.add(0, count);
    for (int i = 0; i < 3; ++i) {
      StepPlan& plan = replica_->next_plan();
      plan.clear();
      plan.add(std::span(ids).first(static_cast<size_t>(count)), 0, {&block, 1});
      plan.rows.push_back({.token = count - 1, .position = count - 1});
      const int64_t begin_ns = now_ns();
      replica_->submit();
      replica_->await();
      if (i > 0) times_.learn(load, seconds_between(begin_ns, now_ns()));
    }
  }
}

void DraftModel::propose(Schedule& schedule, uint64_t last_taken) {
  const int64_t begin_ns = now_ns();
  last_taken_ = last_taken;
  list_drafts(schedule);
  try {
    see_tokens(schedule);
    while (guess_next(schedule)) {
    }
  } catch (const Error& e) {
    is_lost_ = true;
    log_warn("the draft model is lost, and answers go on without guesses: {}", e.summary());
  }
  trim(schedule);
  if (!drafts_.empty()) totals_.draft_s += seconds_between(begin_ns, now_ns());
}

// What this plan changes in the cache, whether or not the draft model has a part in it.
void DraftModel::list_drafts(Schedule& schedule) {
  const auto is_asked = [](const Schedule::Chunk& c) {
    return c.num_to_draft > 0 || !c.guesses.empty();
  };
  const bool runs =
      !is_lost_ && std::any_of(schedule.chunks.begin(), schedule.chunks.end(), is_asked);
  cache_.copy(schedule.copies, runs);
  for (const Schedule::Chunk& chunk : schedule.chunks) {
    const Range written{chunk.positions.begin, chunk.positions.end + chunk.guesses.size()};
    cache_.overwrite(table_of(schedule, chunk), written);
  }
  drafts_.clear();
  copies_ = {};
  if (!runs) return;
  for (Schedule::Chunk& chunk : schedule.chunks) {
    if (!is_asked(chunk)) continue;
    Draft draft = draft_of(schedule, chunk);
    if (!knows_tokens(draft)) {
      chunk.sequence->may_draft = false;
      continue;
    }
    // Who shares these blocks finds them computed: a step writes before it reads.
    cache_.fill(table_of(schedule, *draft.chunk), draft.unseen);
    drafts_.push_back(draft);
  }
  if (drafts_.empty()) {
    cache_.copy(schedule.copies, false);
  } else {
    copies_ = schedule.copies;
  }
}

DraftModel::Draft DraftModel::draft_of(Schedule& schedule, Schedule::Chunk& chunk) const {
  Draft draft{.chunk = &chunk, .most = chunk.guesses.size()};
  const int64_t known = cache_.num_known(table_of(schedule, *draft.chunk), chunk.positions.end);
  // A copy that was left out may have taken from what the scheduler knew.
  const int64_t most = std::max(chunk.num_to_draft, kFewTokens);
  draft.unseen = {known, std::min(chunk.positions.end, known + most)};
  // A step whose answer will be ignored may still be making a mask of its place in a grammar.
  const bool is_at_rest = chunk.sequence->first_valid <= last_taken_ + 1;
  draft.is_open = draft.most > 0 && draft.unseen.end == chunk.positions.end && is_at_rest;
  return draft;
}

bool DraftModel::knows_tokens(const Draft& draft) const {
  const std::vector<int32_t>& tokens = draft.chunk->sequence->tokens;
  return std::all_of(tokens.begin() + draft.unseen.begin, tokens.begin() + draft.unseen.end,
                     [&](int32_t id) { return id < own_vocab_size_; });
}

StepPlan& DraftModel::begin_step() {
  StepPlan& plan = replica_->next_plan();
  plan.clear();
  for (const cache::BlockCopy& copy : copies_) {
    if (copy.group == 0) plan.copies.push_back(copy);
  }
  copies_ = {};
  load_ = {};
  parts_.clear();
  choosers_.clear();
  return plan;
}

// Adds `ids` at a position of a draft, and the row that chooses what follows them.
void DraftModel::add_part(size_t index, std::span<const int32_t> ids, int64_t position,
                          bool chooses, const Schedule& schedule, StepPlan& plan) {
  const Draft& draft = drafts_[index];
  const int64_t token = plan.add(ids, position, table_of(schedule, *draft.chunk));
  const auto count = static_cast<int64_t>(ids.size());
  load_.add(position, count);
  parts_.push_back(index);
  if (!chooses) return;
  model::LogitRow row;
  const ChoiceTokens& tokens = tokens_of(*draft.chunk);
  tokens.fill(row, plan);
  if (tokens.place() != nullptr) row.mask = replica_->next_masks().add(tokens.place(), {}, plan);
  row.token = token + count - 1;
  row.position = position + count - 1;
  row.num_logprobs = -1;
  if (!row.mask.empty()) {  // the ids that only this model has are forbidden too
    const int64_t num_words = ceil_div(own_vocab_size_, 32);
    row.mask.end = std::max(row.mask.end, row.mask.begin + num_words);
    plan.masks.resize(static_cast<size_t>(row.mask.end), 0);
  }
  plan.rows.push_back(row);
  choosers_.push_back(index);
}

// All tokens that it has not seen, in as many steps as they take; the first guess of each sequence
// whose newest token is among them.
void DraftModel::see_tokens(Schedule& schedule) {
  StepPlan* plan = nullptr;
  for (size_t i = 0; i < drafts_.size(); ++i) {
    const Draft& draft = drafts_[i];
    const std::span<const int32_t> ids(draft.chunk->sequence->tokens);
    for (int64_t begin = draft.unseen.begin; begin < draft.unseen.end;) {
      if (plan == nullptr) plan = &begin_step();
      const int64_t count =
          std::min(draft.unseen.end - begin, max_step_tokens() - load_.num_tokens);
      const bool chooses = draft.is_open && begin + count == draft.unseen.end;
      add_part(i, ids.subspan(static_cast<size_t>(begin), static_cast<size_t>(count)), begin,
               chooses, schedule, *plan);
      begin += count;
      if (load_.num_tokens < max_step_tokens()) continue;
      run_step(schedule);
      plan = nullptr;
    }
  }
  if (plan != nullptr) run_step(schedule);
}

// One guess more for each sequence that wants one. False where none does.
bool DraftModel::guess_next(Schedule& schedule) {
  StepPlan* plan = nullptr;
  for (size_t i = 0; i < drafts_.size(); ++i) {
    const Draft& draft = drafts_[i];
    if (!draft.is_open) continue;
    if (plan == nullptr) plan = &begin_step();
    const int64_t position = draft.chunk->positions.end + draft.count - 1;
    const int32_t& newest = guess_of(schedule, draft, draft.count - 1);
    cache_.fill(table_of(schedule, *draft.chunk), {position, position + 1});
    add_part(i, {&newest, 1}, position, true, schedule, *plan);
  }
  if (plan != nullptr) run_step(schedule);
  return plan != nullptr;
}

int32_t& DraftModel::guess_of(Schedule& schedule, const Draft& draft, int64_t index) {
  return schedule.guesses[static_cast<size_t>(draft.chunk->guesses.begin + index)];
}

void DraftModel::run_step(Schedule& schedule) {
  const int64_t begin_ns = now_ns();
  replica_->submit();
  const StepAnswer& answer = replica_->await();
  times_.learn(load_, seconds_between(begin_ns, now_ns()));
  ++totals_.num_draft_steps;
  totals_.draft_tokens += load_.num_tokens;
  for (size_t i = 0; i < parts_.size(); ++i) {
    if (answer.bad_layer[i] >= 0) give_up(schedule, drafts_[parts_[i]], "a sum left its range");
  }
  for (size_t i = 0; i < choosers_.size(); ++i)
    take_row(schedule, drafts_[choosers_[i]], answer.rows[i]);
}

void DraftModel::take_row(Schedule& schedule, Draft& draft, const model::RowResult& row) {
  if (!draft.is_open) return;  // a sum of this step was bad
  if (row.bad_logits) return give_up(schedule, draft, "its logits are not finite");
  // Its vocabulary may be padded further than the other model's.
  if (row.no_choice || row.id >= vocab_size_) {
    draft.is_open = false;
    return;
  }
  guess_of(schedule, draft, draft.count++) = row.id;
  tokens_of(*draft.chunk).add(row.id);
  draft.is_open = draft.count < draft.most;
}

// What it has computed of this sequence in this schedule is worth nothing.
void DraftModel::give_up(const Schedule& schedule, Draft& draft, const char* why) {
  const Range positions{draft.unseen.begin, draft.chunk->positions.end + draft.most};
  cache_.overwrite(table_of(schedule, *draft.chunk), positions);
  draft.is_open = false;
  draft.chunk->sequence->may_draft = false;
  ++totals_.num_draft_failures;
  if (has_warned_) return;
  has_warned_ = true;
  log_warn("the draft model fails for a sequence, which goes on without guesses: {}", why);
}

// The plan holds what was guessed, and its load says so.
void DraftModel::trim(Schedule& schedule) {
  for (const Draft& draft : drafts_) {
    tokens_of(*draft.chunk).take_back(draft.count);
    if (draft.most > draft.count) drop_guesses(schedule, *draft.chunk, draft.count);
  }
  for (Schedule::Chunk& chunk : schedule.chunks) {
    const bool is_unfilled =
        !chunk.guesses.empty() && schedule.guesses[static_cast<size_t>(chunk.guesses.begin)] < 0;
    if (is_unfilled) drop_guesses(schedule, chunk, 0);
  }
}

void DraftModel::drop_guesses(Schedule& schedule, Schedule::Chunk& chunk, int64_t kept) {
  StepLoad& load = schedule.load;
  const Range dropped{kept, chunk.guesses.size()};
  int64_t pairs = 0;
  for (int64_t g = dropped.begin; g < dropped.end; ++g) pairs += chunk.positions.end + g + 1;
  load.num_tokens -= dropped.size();
  load.num_rows -= dropped.size();
  load.attention_pairs -= pairs;
  load.chunk_pairs -= pairs;
  // A single token is no chunk any more.
  const bool is_single = chunk.positions.size() + kept == 1;
  if (is_single && !dropped.empty()) load.chunk_pairs -= chunk.positions.end;
  chunk.guesses.end = chunk.guesses.begin + kept;
}

void DraftModel::add_to(SpeculationStats& stats) const {
  stats.draft_s += totals_.draft_s;
  stats.num_draft_steps += totals_.num_draft_steps;
  stats.draft_tokens += totals_.draft_tokens;
  stats.num_draft_failures += totals_.num_draft_failures;
}

}  // namespace weft::engine
