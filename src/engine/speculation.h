// How many guessed tokens a step should verify: as many as pay, by what was accepted lately and by
// what steps take (StepTimes). Verifying costs the time of more tokens in a step and gives the
// tokens that are accepted, one after another until the first wrong one:
//
//   tokens per second with k guesses = (1 + p + p^2 + ... + p^k) / time(n (1 + k) tokens)
//
// for n sequences in a step, each of whose guesses is right with probability p. Where k = 0 is best
// nothing is guessed, but for a probe every kProbeEvery tokens that finds out whether the text has
// changed. No guess changes a bit of the answer: a guess is kept only where it is the token that
// would have been chosen (DESIGN.md 1.6).
#pragma once

#include <cstdint>

#include "engine/step_times.h"

namespace weft::engine {

// What one sequence has learned of its guesses.
class GuessRecord {
 public:
  // A step verified `guessed` tokens and kept `accepted` of them.
  void learn(int64_t guessed, int64_t accepted);
  // A step without guesses.
  void skip() { ++since_guess_; }
  double chance() const { return chance_; }
  // Before it has learned anything: what others know.
  void assume(double chance) {
    if (!has_learned_) chance_ = chance;
  }
  bool has_learned() const { return has_learned_; }
  bool wants_probe() const { return since_guess_ >= kProbeEvery; }

  static constexpr int64_t kProbeEvery = 64;

 private:
  double chance_ = 0.7;  // tried at once where the text repeats itself, given up after a few misses
  int64_t since_guess_ = 0;
  bool has_learned_ = false;
};

// The number of guesses, 0 to most, that gives the most tokens a second where `num_sequences`
// decode in a step of `load` and one of them has guesses that are right with this chance.
int64_t best_num_guesses(const StepTimes& times, const StepLoad& load, double chance, int64_t most);

}  // namespace weft::engine
