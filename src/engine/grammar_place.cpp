#include "engine/grammar_place.h"

#include <algorithm>
#include <new>

#include "engine/sampling.h"

namespace weft::engine {

GrammarPlace::GrammarPlace(std::shared_ptr<const SamplingRules> rules,
                           std::shared_ptr<const text::Grammar> grammar)
    : rules_(std::move(rules)), grammar_(std::move(grammar)) {}

int64_t GrammarPlace::num_mask_words() const { return rules_->num_mask_words(); }

template <typename Body>
void GrammarPlace::guarded(const Body& body) {
  if (failure_) return;
  try {
    body();
  } catch (const Error& error) {
    failure_ = error;
  } catch (const std::bad_alloc&) {
    failure_ = Error(ErrorKind::kMemory, "the system has no more memory");
  }
}

void GrammarPlace::follow() {
  if (matcher_ == nullptr) guarded([&] { matcher_.reset(grammar_->matcher().release()); });
  for (const int32_t id : noted_) {
    // Nothing comes after an end of the answer; a stop token is an end that no grammar knows.
    if (num_beyond_ > 0 || rules_->ends_answer(id) || !advance(id)) ++num_beyond_;
  }
  noted_.clear();
}

bool GrammarPlace::advance(int32_t id) {
  bool is_allowed = false;
  guarded([&] { is_allowed = matcher_->advance(id); });
  return is_allowed;
}

void GrammarPlace::take_back(int64_t count) {
  const int64_t of_noted = std::min(count, static_cast<int64_t>(noted_.size()));
  noted_.resize(noted_.size() - static_cast<size_t>(of_noted));
  count -= of_noted;
  const int64_t of_matcher = std::max<int64_t>(0, count - num_beyond_);
  num_beyond_ = std::max<int64_t>(0, num_beyond_ - count);
  if (matcher_ == nullptr || of_matcher == 0) return;
  guarded([&] { matcher_->take_back(of_matcher); });
}

size_t GrammarPlace::num_allowed(std::span<const int32_t> guesses) {
  follow();
  size_t count = 0, num_tried = 0;
  while (num_tried < guesses.size() && num_beyond_ == 0) {
    const int32_t id = guesses[num_tried++];
    add(id);
    follow();
    if (num_beyond_ == 0 || rules_->ends_answer(id)) ++count;
  }
  take_back(static_cast<int64_t>(num_tried));
  return count;
}

void GrammarPlace::fill(std::span<uint32_t> masks, std::span<const int32_t> guesses) {
  const auto num_words = static_cast<size_t>(num_mask_words());
  WEFT_CHECK_EQ(masks.size(), (1 + guesses.size()) * num_words);
  follow();
  fill_row(masks.first(num_words));
  for (const int32_t guess : guesses) {
    masks = masks.subspan(num_words);
    add(guess);
    follow();
    fill_row(masks.first(num_words));
  }
  take_back(static_cast<int64_t>(guesses.size()));
}

void GrammarPlace::fill_row(std::span<uint32_t> mask) {
  const bool means_nothing = num_beyond_ > 0 && !failure_;
  if (means_nothing) {
    std::fill(mask.begin(), mask.end(), ~0u);
  } else {
    guarded([&] {
      matcher_->fill(mask);
      if (matcher_->may_end()) allow_ends(mask);
    });
  }
  if (failure_) std::fill(mask.begin(), mask.end(), 0u);
  const std::span<const uint32_t> allowed = rules_->allowed();
  for (size_t i = 0; i < allowed.size(); ++i) mask[i] &= allowed[i];
}

// Where the grammar may end, stop tokens may come too; with ignore_eos it ends where it has to.
void GrammarPlace::allow_ends(std::span<uint32_t> mask) {
  const bool goes_on = rules_->params().ignore_eos && !matcher_->must_end();
  for (const int32_t id : rules_->ending_ids()) {
    uint32_t& word = mask[static_cast<size_t>(id) / 32];
    const uint32_t bit = uint32_t{1} << (id % 32);
    word = goes_on ? word & ~bit : word | bit;
  }
}

}  // namespace weft::engine
