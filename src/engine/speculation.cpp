#include "engine/speculation.h"

#include <algorithm>

#include "engine/request.h"

namespace weft::engine {
namespace {

constexpr double kNewest = 0.2;  // share of the newest step in the chance
constexpr double kGain = 1.03;   // guesses must promise so much, since the promise is an estimate

}  // namespace

void GuessRecord::learn(int64_t guessed, int64_t accepted) {
  since_guess_ = 0;
  if (guessed == 0) return;
  has_learned_ = true;
  // Of the guesses that were looked at, up to the first wrong one, the share that was right.
  const auto looked = static_cast<double>(std::min(guessed, accepted + 1));
  chance_ += kNewest * (static_cast<double>(accepted) / looked - chance_);
}

SpeculationStats SpeculationStats::since(const SpeculationStats& before) const {
  SpeculationStats s = *this;
  s.num_verifications -= before.num_verifications;
  s.guessed_tokens -= before.guessed_tokens;
  s.accepted_tokens -= before.accepted_tokens;
  s.with_s -= before.with_s;
  s.without_s -= before.without_s;
  s.draft_s -= before.draft_s;
  s.num_draft_steps -= before.num_draft_steps;
  s.draft_tokens -= before.draft_tokens;
  s.num_draft_failures -= before.num_draft_failures;
  return s;
}

int64_t best_num_guesses(const StepTimes& times, const StepLoad& load, double chance,
                         int64_t most) {
  const std::optional<double> without = times.predict(load);
  if (!without) return 0;
  // The step answers load.num_tokens sequences; guesses of one cost all of them the longer step.
  const auto others = static_cast<double>(load.num_tokens - 1);
  int64_t best = 0;
  double best_rate = kGain * (others + 1) / *without;
  double expected = 1, power = 1;
  const int64_t pairs = load.attention_pairs / std::max<int64_t>(1, load.num_tokens);
  for (int64_t k = 1; k <= most; ++k) {
    power *= chance;
    expected += power;
    const double rate = (others + expected) / *times.predict(load.with_guesses(k, k * pairs));
    if (rate <= best_rate) continue;
    best = k;
    best_rate = rate;
  }
  return best;
}

}  // namespace weft::engine
