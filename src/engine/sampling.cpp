#include "engine/sampling.h"

#include <algorithm>
#include <limits>

#include "base/error.h"

namespace weft::engine {
namespace {

size_t slot_of(int32_t id, size_t num_slots) {
  // Fibonacci hashing: the high bits of a product with 2^32 over the golden ratio.
  return static_cast<size_t>(static_cast<uint32_t>(id) * 2654435769u >> 8) & (num_slots - 1);
}

}  // namespace

int32_t row_logprobs(const std::optional<int32_t>& logprobs) {
  if (!logprobs) return -1;
  return *logprobs == kWholeVocabulary ? model::kAllLogprobs : *logprobs;
}

SamplingRules::SamplingRules(SamplingParams params, std::span<const int32_t> end_ids,
                             int64_t vocab_size, bool has_grammar)
    : params_(std::move(params)),
      ending_ids_(params_.stop_token_ids),
      num_mask_words_(ceil_div(vocab_size, 32)) {
  if (params_.greedy()) {
    params_.temperature = 0.0f;
  } else {
    params_.temperature = std::max(params_.temperature, kLowestTemperature);
  }
  if (!params_.ignore_eos || has_grammar)
    ending_ids_.insert(ending_ids_.end(), end_ids.begin(), end_ids.end());
  std::sort(ending_ids_.begin(), ending_ids_.end());
  ending_ids_.erase(std::unique(ending_ids_.begin(), ending_ids_.end()), ending_ids_.end());

  biases_ = params_.logit_bias;  // of several for one id the last one holds, as in a JSON object
  std::stable_sort(biases_.begin(), biases_.end(),
                   [](const LogitBias& a, const LogitBias& b) { return a.id < b.id; });
  size_t kept = 0;
  for (size_t i = 0; i < biases_.size(); ++i)
    if (i + 1 == biases_.size() || biases_[i + 1].id != biases_[i].id) biases_[kept++] = biases_[i];
  biases_.resize(kept);

  if (!params_.allowed_token_ids) return;
  allowed_.resize(static_cast<size_t>(num_mask_words_));
  for (const int32_t id : *params_.allowed_token_ids)
    allowed_[static_cast<size_t>(id) / 32] |= uint32_t{1} << (id % 32);
}

bool SamplingRules::ends_answer(int32_t id) const {
  return std::binary_search(ending_ids_.begin(), ending_ids_.end(), id);
}

bool SamplingRules::penalises() const {
  return params_.repetition_penalty != 1.0f || params_.presence_penalty != 0.0f ||
         params_.frequency_penalty != 0.0f;
}

ChoiceTokens::ChoiceTokens(std::shared_ptr<const SamplingRules> rules,
                           std::span<const int32_t> prompt_ids, uint64_t seed, uint32_t choice,
                           std::shared_ptr<const text::Grammar> grammar)
    : rules_(std::move(rules)), seed_(seed), choice_(choice) {
  if (grammar != nullptr) place_ = std::make_shared<GrammarPlace>(rules_, std::move(grammar));
  for (const LogitBias& bias : rules_->biases())
    entries_.push_back({.id = bias.id, .bias = bias.bias});
  if (!rules_->penalises()) return;
  rehash(64);
  if (rules_->params().repetition_penalty == 1.0f) return;
  for (const int32_t id : prompt_ids) entry_of(id).in_prompt = 1;
}

void ChoiceTokens::rehash(size_t num_slots) {
  while (num_slots < 2 * (entries_.size() + 1)) num_slots *= 2;
  slots_.assign(num_slots, -1);
  for (size_t i = 0; i < entries_.size(); ++i) {
    size_t at = slot_of(entries_[i].id, num_slots);
    while (slots_[at] >= 0) at = (at + 1) & (num_slots - 1);
    slots_[at] = static_cast<int32_t>(i);
  }
}

ChoiceTokens::Entry& ChoiceTokens::entry_of(int32_t id) {
  size_t at = slot_of(id, slots_.size());
  for (; slots_[at] >= 0; at = (at + 1) & (slots_.size() - 1)) {
    Entry& entry = entries_[static_cast<size_t>(slots_[at])];
    if (entry.id == id) return entry;
  }
  slots_[at] = static_cast<int32_t>(entries_.size());
  entries_.push_back({.id = id});
  if (2 * entries_.size() > slots_.size()) rehash(2 * slots_.size());
  return entries_.back();
}

void ChoiceTokens::add(int32_t id) {
  assume(id);
  if (place_) place_->add(id);
}

void ChoiceTokens::assume(int32_t guess) {
  generated_.push_back(guess);
  if (rules_->penalises()) ++entry_of(guess).num_generated;
}

size_t ChoiceTokens::num_allowed(std::span<const int32_t> guesses) {
  return place_ ? place_->num_allowed(guesses) : guesses.size();
}

void ChoiceTokens::take_back(int64_t count) {
  drop_assumed(count);
  if (place_) place_->take_back(count);
}

void ChoiceTokens::drop_assumed(int64_t count) {
  WEFT_CHECK_LE(count, static_cast<int64_t>(generated_.size()));
  for (; count > 0; --count) {
    if (rules_->penalises()) --entry_of(generated_.back()).num_generated;
    generated_.pop_back();
  }
}

void ChoiceTokens::fill(model::LogitRow& row, StepPlan& plan) const {
  const SamplingParams& p = rules_->params();
  row.num_logprobs = row_logprobs(p.logprobs);
  // Which answers are best is told by the logprobs of their tokens.
  if (row.num_logprobs < 0 && p.best_of > p.n) row.num_logprobs = 0;
  row.temperature = p.temperature;
  row.seed = seed_;
  row.choice = choice_;
  row.top_k = p.top_k;
  row.top_p = p.top_p;
  row.min_p = p.min_p;
  row.typical_p = p.typical_p;
  row.repetition_penalty = p.repetition_penalty;

  row.adjustments.begin = static_cast<int64_t>(plan.adjustments.size());
  for (const Entry& entry : entries_) {
    model::TokenAdjustment adjustment{.id = entry.id, .bias = entry.bias};
    if (entry.num_generated > 0)
      adjustment.penalty =
          p.presence_penalty + p.frequency_penalty * static_cast<float>(entry.num_generated);
    adjustment.repeated =
        p.repetition_penalty != 1.0f && (entry.in_prompt != 0 || entry.num_generated > 0) ? 1 : 0;
    if (adjustment.bias == 0.0f && adjustment.penalty == 0.0f && adjustment.repeated == 0) continue;
    plan.adjustments.push_back(adjustment);
  }
  forbid(plan);
  row.adjustments.end = static_cast<int64_t>(plan.adjustments.size());

  if (place_) return;
  const std::span<const uint32_t> allowed = rules_->allowed();
  row.mask.begin = static_cast<int64_t>(plan.masks.size());
  plan.masks.insert(plan.masks.end(), allowed.begin(), allowed.end());
  row.mask.end = static_cast<int64_t>(plan.masks.size());
}

// The last ids of bad words whose other ids were just generated, and the ends of an answer that is
// too short. Adjustments come in any order and number: -inf stays -inf.
void ChoiceTokens::forbid(StepPlan& plan) const {
  constexpr float kForbidden = -std::numeric_limits<float>::infinity();
  for (const std::vector<int32_t>& word : rules_->params().bad_words) {
    const size_t before = word.size() - 1;
    if (generated_.size() < before ||
        !std::equal(word.begin(), word.end() - 1, generated_.end() - static_cast<int64_t>(before)))
      continue;
    plan.adjustments.push_back({.id = word.back(), .bias = kForbidden});
  }
  if (static_cast<int64_t>(generated_.size()) >= rules_->params().min_tokens) return;
  for (const int32_t id : rules_->ending_ids())
    plan.adjustments.push_back({.id = id, .bias = kForbidden});
}

}  // namespace weft::engine
