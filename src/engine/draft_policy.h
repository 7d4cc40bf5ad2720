// When a draft model is worth its time. Before each plan the policy says which of the sequences
// that decode have tokens guessed, and how many:
//
//   tokens per second = (n + sum of p_i + p_i^2 + ... + p_i^k over the m that guess)
//                       / (time(step of n + m k tokens) + time of k steps of the draft model)
//
// for n sequences in the step, with the chances p_i that a guess is right. The k and the m most
// promising that give the most are taken; none, where no choice beats the plain step.
//
// The draft model runs only where it is asked to, so it lags behind: a sequence's prompt, or what
// was generated while nothing was guessed, is computed first, in pieces that stall the answers
// beside it no longer than a step of theirs, and only where what is left of the answer pays for it.
//
// What a sequence does not know of itself it takes from all others (`overall_`). Where guesses do
// not pay, a probe now and then finds out whether the text has changed; all probes together may
// take kProbeShare of the time.
//
// Thread rule: the planner's thread. No bit of an answer depends on it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/draft_cache.h"
#include "engine/step_times.h"

namespace weft::engine {

struct Sequence;

struct DraftLimits {
  int64_t most_guesses = 5;       // of a sequence in one step
  int64_t max_step_tokens = 512;  // of one step of the draft model
  int64_t max_positions = 0;      // of its context
  bool always = false;            // guess whatever it costs: for tests and comparisons
};

class DraftPolicy {
 public:
  // times: of steps of the model that is guessed for, and of the draft model.
  DraftPolicy(const DraftLimits& limits, const StepTimes& target_times,
              const StepTimes& draft_times, const DraftCache& cache);

  // Sets `wish` of each of `ready`, which are to decode in a step of `load`. turns: steps of the
  // pipeline that one token takes, one after another.
  void choose(std::span<Sequence* const> ready, const StepLoad& load, double turns);
  // Of the guesses of a plan, the first `accepted` were right.
  void learn(int64_t guessed, int64_t accepted);

  // The chance of a guess over all sequences, lately.
  double overall_chance() const { return num_right_ / num_looked_; }

  static constexpr double kProbeShare = 0.015;

 private:
  struct Candidate {
    Sequence* sequence = nullptr;
    int64_t lag = 0;   // tokens that the draft model has to compute before its first guess
    int64_t most = 0;  // guesses
    double chance = 0;
    double power = 1, expected = 0;  // chance^k, and its sum to k, as best_choice goes on
  };
  struct Step {
    StepLoad load;
    double turns = 1;
    double seconds = 0;  // without guesses
    double base_rate() const { return static_cast<double>(load.num_tokens) / seconds; }
  };
  // The first so many of the candidates, and how many guesses each has at most.
  struct Choice {
    size_t num_sequences = 0;
    int64_t depth = 0;
  };

  void list_candidates(std::span<Sequence* const> ready);
  void catch_up(const Step& step);
  int64_t affordable_tokens(const Step& step) const;
  bool pays_to_catch_up(const Candidate& candidate, const Step& step) const;
  double gain_of(double chance, size_t num_sequences, const Step& step) const;
  Choice best_choice(const Step& step);
  double seconds_with(int64_t num_guessed, int64_t num_lagging, int64_t num_sequences,
                      int64_t depth, const Step& step) const;
  double draft_seconds(int64_t num_tokens, const Step& step) const;
  void probe(const Step& step);

  DraftLimits limits_;
  const StepTimes &target_, &draft_;
  const DraftCache& cache_;
  std::vector<Candidate> candidates_;  // in the order of the step
  std::vector<Candidate> current_;     // that can guess now, the most promising first
  double num_looked_, num_right_;      // of guesses, older ones faded; begins with a prior
  double credit_s_ = 0;                // that probes may take
};

}  // namespace weft::engine
