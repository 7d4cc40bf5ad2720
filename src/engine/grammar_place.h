// One choice's place in the grammar of its request: it follows the tokens of the answer and says
// which may come next.
//
// Tokens are noted when they are known, and followed when a mask is wanted: both, tens to hundreds
// of microseconds a token, are then the work of whoever makes the masks of a step
// (engine/mask_work.h) and not the planner's, whom every rank waits for.
//
// Thread rule: one thread at a time, any. The planner calls all verbs but `fill`, and only while no
// step is under way that makes a mask of this place.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/error.h"
#include "text/grammar.h"

namespace weft::engine {

class SamplingRules;

class GrammarPlace {
 public:
  // At the beginning of an answer. The matcher, which takes about the memory of its grammar, is
  // made with the first mask: a choice that waits has none.
  GrammarPlace(std::shared_ptr<const SamplingRules> rules,
               std::shared_ptr<const text::Grammar> grammar);

  // The next token, or a guess of it.
  void add(int32_t id) { noted_.push_back(id); }
  // Forgets the last `count` tokens.
  void take_back(int64_t count);
  // How many of these may come next, one after another.
  size_t num_allowed(std::span<const int32_t> guesses);

  int64_t num_mask_words() const;
  // The ids that the grammar and allowed_token_ids both leave, after the tokens noted and after
  // each of the guesses besides, which are forgotten again. masks: [1 + guesses, num_mask_words()],
  // all of it is written. A mask after a guess that the grammar forbids means nothing. Where the
  // grammar fails, `failure` says why, and masks forbid every id. Throws nothing.
  void fill(std::span<uint32_t> masks, std::span<const int32_t> guesses = {});
  const std::optional<Error>& failure() const { return failure_; }

 private:
  // A copy stands at the same place.
  struct Matcher : std::unique_ptr<text::GrammarMatcher> {
    using unique_ptr::unique_ptr, unique_ptr::operator=;
    Matcher(Matcher&&) = default;
    Matcher& operator=(Matcher&&) = default;
    Matcher(const Matcher& other) : unique_ptr(other ? other->clone() : nullptr) {}
    Matcher& operator=(const Matcher& other) { return *this = Matcher(other); }
  };

  void follow();
  bool advance(int32_t id);
  void fill_row(std::span<uint32_t> mask);
  void allow_ends(std::span<uint32_t> mask);
  // What goes wrong in a grammar ends the answer at its next row.
  template <typename Body>
  void guarded(const Body& body);

  std::shared_ptr<const SamplingRules> rules_;
  std::shared_ptr<const text::Grammar> grammar_;
  Matcher matcher_;             // at the tokens followed, without the last num_beyond_ of them
  int64_t num_beyond_ = 0;      // guesses that the grammar forbids, and what was added after one
  std::vector<int32_t> noted_;  // tokens not followed yet
  std::optional<Error> failure_;
};

}  // namespace weft::engine
