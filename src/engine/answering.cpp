#include "engine/answering.h"

#include <algorithm>
#include <numeric>

#include "base/clock.h"

namespace weft::engine {
namespace {

// What is set aside for an answer's text, so that it seldom moves as it grows.
constexpr int64_t kTextBytesPerToken = 6;

std::vector<TokenLogprob> logprob_list(const model::RowResult& row) {
  std::vector<TokenLogprob> list;
  list.reserve(row.top.size() + 1);
  bool chosen = false;
  for (const kernels::Candidate& c : row.top) {
    list.push_back({c.id, c.logit, static_cast<int32_t>(list.size()) + 1});
    chosen = chosen || c.id == row.id;
  }
  if (!chosen) list.push_back({row.id, row.logprob, static_cast<int32_t>(row.rank)});
  return list;
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
    case FinishReason::kError:
      return "error";
  }
  return "";
}

Answering::Answering(uint64_t id, Request request, std::span<const int32_t> end_ids,
                     const text::Tokenizer& tokenizer, cache::BlockPools& pools, int64_t vocab_size,
                     int64_t longest)
    : request_(std::move(request)),
      rules_(std::make_shared<const SamplingRules>(request_.sampling, end_ids, vocab_size,
                                                   request_.grammar != nullptr)),
      longest_(longest) {
  const SamplingParams& p = params();
  const auto num_choices = static_cast<size_t>(p.num_choices());
  state_.id = id;
  state_.arrived_ns = now_ns();
  state_.num_prompt_tokens = static_cast<int64_t>(request_.prompt_ids.size());
  state_.choices.resize(num_choices);
  told_.resize(num_choices);
  if (p.prompt_logprobs) state_.prompt_logprobs.emplace_back();
  // Tokens and blocks grow by one at a time; one allocation for all of them.
  const int64_t max_tokens = std::min(longest, state_.num_prompt_tokens + p.max_tokens) + 1;
  for (size_t c = 0; c < num_choices; ++c) {
    text::TextStreamOptions text{p.stop, p.include_stop_str_in_output, p.skip_special_tokens};
    // The text is that of the grammar, to its first blank.
    text.strip_leading_space = request_.grammar == nullptr;
    branches_.push_back(
        std::make_unique<Branch>(pools, max_tokens,
                                 ChoiceTokens(rules_, request_.prompt_ids, p.seed.value(),
                                              static_cast<uint32_t>(c), request_.grammar),
                                 text::TextStream(tokenizer, std::move(text))));
    Branch& branch = *branches_.back();
    Sequence& s = branch.sequence;
    s.answering = this;
    s.choice = c;
    s.priority = request_.priority;
    s.salt = request_.cache_salt;
    s.num_prompt = state_.num_prompt_tokens;
    s.tokens.reserve(static_cast<size_t>(max_tokens));
    s.tokens = request_.prompt_ids;
    const int64_t most = std::min(p.max_tokens, longest) + 1;
    state_.choices[c].token_ids.reserve(static_cast<size_t>(most));
    state_.choices[c].text.reserve(static_cast<size_t>(kTextBytesPerToken * most));
    if (wants_prompt_rows() || request_.pooling == Pooling::kMean) s.reuse_limit = 0;
  }
}

void Answering::forget_ignored_rows(const Sequence& s) {
  if (s.first_valid == prompt_rows_valid_from_) return;
  prompt_rows_valid_from_ = s.first_valid;
  num_prompt_rows_planned_ = num_prompt_rows_taken_;
}

void Answering::add_prompt_rows(Sequence& s, Range positions, int64_t token, StepPlan& plan,
                                std::vector<RowOwner>& owners) {
  forget_ignored_rows(s);
  const int64_t end = std::min(positions.end, state_.num_prompt_tokens - 1);
  for (int64_t t = std::max(positions.begin, num_prompt_rows_planned_); t < end; ++t) {
    model::LogitRow row;
    row.token = token + t - positions.begin;
    row.position = t;
    row.num_logprobs = row_logprobs(params().prompt_logprobs);
    row.target = request_.prompt_ids[static_cast<size_t>(t + 1)];
    row.hash = request_.hash_logits && params().prompt_logprobs.has_value();
    row.full_logits = request_.full_prompt_logits;
    plan.rows.push_back(row);
    owners.push_back({&s, &s, true, t});
    num_prompt_rows_planned_ = t + 1;
  }
}

// mask: of a choice under a grammar.
void Answering::add_row(const Branch& branch, RowOwner owner, int64_t token, Range mask,
                        StepPlan& plan, std::vector<RowOwner>& owners) {
  model::LogitRow row;
  branch.tokens.fill(row, plan);
  if (branch.tokens.place() != nullptr) row.mask = mask;
  row.position = owner.position;
  row.token = token;
  row.hash = request_.hash_logits;
  row.full_logits = request_.full_prompt_logits && row.position == state_.num_prompt_tokens - 1;
  plan.rows.push_back(row);
  owners.push_back(owner);
}

void Answering::add_rows(Branch& branch, const Schedule::Chunk& chunk,
                         std::span<const int32_t> guesses, int64_t token, StepPlan& plan,
                         MaskWork& masks, std::vector<RowOwner>& owners) {
  Sequence& s = branch.sequence;
  const bool is_first = s.choice == 0;
  if (wants_prompt_rows() && is_first) add_prompt_rows(s, chunk.positions, token, plan, owners);
  if (!chunk.samples) return;
  const int64_t last = token + chunk.positions.size() - 1, position = chunk.positions.end - 1;
  const auto num_guesses = static_cast<int64_t>(guesses.size());
  const auto masks_of = [&](const Branch& each, Range guessed) {
    return each.tokens.place() ? masks.add(each.tokens.place(), guessed, plan) : Range{};
  };
  Range mask = masks_of(branch, {last + 1, last + 1 + num_guesses});
  add_row(branch, {&s, &s, false, position}, last, mask, plan, owners);
  // The prompt's end chooses the first token of every choice that has none.
  for (const auto& each : branches_) {
    if (!is_first || each.get() == &branch || each->begun || each->ended) continue;
    add_row(*each, {&each->sequence, &s, false, position}, last, masks_of(*each, {}), plan, owners);
  }
  // What would be chosen after each guess, were it and those before it right.
  for (int64_t g = 0; g < num_guesses; ++g) {
    const int32_t guess = guesses[static_cast<size_t>(g)];
    branch.tokens.assume(guess);
    mask = {mask.end, mask.end + mask.size()};
    add_row(branch, {&s, &s, false, position + 1 + g, guess}, last + 1 + g, mask, plan, owners);
  }
  branch.tokens.drop_assumed(num_guesses);
}

void Answering::add_states(const Schedule::Chunk& chunk, int64_t token, StepPlan& plan,
                           std::vector<StateOwner>& owners) {
  Sequence& s = *chunk.sequence;
  forget_ignored_rows(s);
  const Range positions = chunk.positions;
  int64_t first = std::max(positions.begin, num_prompt_rows_planned_);
  if (request_.pooling == Pooling::kLast) first = std::max(first, s.num_prompt - 1);
  for (int64_t t = first; t < positions.end; ++t) {
    plan.states.push_back(token + t - positions.begin);
    owners.push_back({&s, t});
    num_prompt_rows_planned_ = t + 1;
  }
}

int64_t Answering::num_left(const Branch& branch) const {
  const Sequence& s = branch.sequence;
  return std::min(params().max_tokens - s.num_generated(),
                  longest_ - static_cast<int64_t>(s.tokens.size()));
}

void Answering::guess(Branch& branch, int64_t most) {
  Sequence& s = branch.sequence;
  if (!branch.draft) branch.draft.emplace(static_cast<int64_t>(s.tokens.capacity()));
  branch.draft->propose(s.tokens, std::clamp<int64_t>(num_left(branch) - 1, 0, most), s.guesses);
  s.guesses.resize(branch.tokens.num_allowed(s.guesses));
}

void Answering::take_prompt_row(const model::RowResult& row) {
  ++num_prompt_rows_taken_;
  state_.prompt_hash += row.hash;
  if (params().prompt_logprobs) state_.prompt_logprobs.push_back(logprob_list(row));
  if (!row.logits.empty()) state_.prompt_logits.push_back(row.logits);
}

void Answering::take_state(std::span<const float> state, int64_t position) {
  num_prompt_rows_taken_ = position + 1;
  if (request_.pooling == Pooling::kMean) {
    state_sum_.resize(state.size());
    for (size_t i = 0; i < state.size(); ++i) state_sum_[i] += static_cast<double>(state[i]);
  }
  if (position + 1 < state_.num_prompt_tokens) return;
  state_.first_token_ns = now_ns();
  state_.embedding.assign(state.begin(), state.end());
  const auto count = static_cast<double>(state_.num_prompt_tokens);
  for (size_t i = 0; i < state_sum_.size(); ++i)
    state_.embedding[i] = static_cast<float>(state_sum_[i] / count);
  end(*branches_.front(), FinishReason::kStop);
}

void Answering::take_token(Branch& branch, const model::RowResult& row) {
  const SamplingParams& p = params();
  Choice& choice = choice_of(branch);
  if (state_.first_token_ns == 0) state_.first_token_ns = now_ns();
  if (!row.logits.empty() && branch.sequence.choice == 0)
    state_.prompt_logits.push_back(row.logits);
  choice.logits_hash += row.hash;
  choice.token_ids.push_back(row.id);
  if (p.logprobs) choice.logprobs.push_back(logprob_list(row));
  if (p.logprobs || reports_only_the_end()) choice.cumulative_logprob += row.logprob;
  branch.tokens.add(row.id);
  branch.sequence.tokens.push_back(row.id);
  if (rules_->ends_answer(row.id)) {
    const bool is_stop_token = std::find(p.stop_token_ids.begin(), p.stop_token_ids.end(),
                                         row.id) != p.stop_token_ids.end();
    if (is_stop_token) choice.stop_reason = std::to_string(row.id);
    return end(branch, FinishReason::kStop);
  }
  const auto num_generated = static_cast<int64_t>(choice.token_ids.size());
  choice.text += branch.stream.push(row.id, num_generated > p.min_tokens);
  if (branch.stream.stopped()) {
    choice.stop_reason = branch.stream.stopped_by();
    return end(branch, FinishReason::kStop);
  }
  if (num_generated >= p.max_tokens || state_.num_prompt_tokens + num_generated > longest_)
    end(branch, FinishReason::kLength);
}

void Answering::end(Branch& branch, FinishReason reason) {
  if (branch.ended) return;
  branch.ended = true;
  Choice& choice = choice_of(branch);
  choice.text += branch.stream.finish();
  choice.finish = reason;
}

bool Answering::all_ended() const {
  return std::all_of(branches_.begin(), branches_.end(),
                     [](const auto& branch) { return branch->ended; });
}

bool Answering::has_news(size_t c) const {
  const Choice& choice = state_.choices[c];
  return choice.token_ids.size() > told_[c].tokens || choice.text.size() > told_[c].text ||
         (choice.finish && !told_[c].end);
}

bool Answering::has_news() const {
  for (size_t c = 0; c < state_.choices.size(); ++c) {
    if (has_news(c)) return true;
  }
  return false;
}

RequestEvent Answering::tell(size_t c) {
  const Choice& choice = state_.choices[c];
  const RequestEvent event{state_, c, told_[c].tokens, told_[c].text};
  told_[c] = {choice.token_ids.size(), choice.text.size(), choice.finish.has_value()};
  return event;
}

void Answering::keep_the_best() {
  const auto n = static_cast<size_t>(params().n);
  if (state_.choices.size() == n) return;
  std::stable_sort(
      state_.choices.begin(), state_.choices.end(),
      [](const Choice& a, const Choice& b) { return a.cumulative_logprob > b.cumulative_logprob; });
  state_.choices.resize(n);
}

}  // namespace weft::engine
