#include "engine/draft_policy.h"

#include <algorithm>

#include "engine/scheduler.h"

namespace weft::engine {
namespace {

// As good as seven of ten, until guesses were verified.
constexpr double kPriorLooked = 4, kPriorRight = 2.8;
constexpr double kMemory = 256;  // guesses after which older ones count half
constexpr double kGain = 1.03;   // guesses must promise so much, since the promise is an estimate
// Sequences that lag no further catch up on the way: their first step is about as long as for one.
constexpr int64_t kCurrentLag = 16;
constexpr int64_t kLeastCatchUp = 64;
// Most answers end before their limit; what is far off pays for nothing.
constexpr int64_t kFarthestToken = 256;
constexpr int64_t kProbeGuesses = 2;
constexpr double kMostCreditSeconds = 0.25;

}  // namespace

DraftPolicy::DraftPolicy(const DraftLimits& limits, const StepTimes& target_times,
                         const StepTimes& draft_times, const DraftCache& cache)
    : limits_(limits),
      target_(target_times),
      draft_(draft_times),
      cache_(cache),
      num_looked_(kPriorLooked),
      num_right_(kPriorRight) {}

void DraftPolicy::learn(int64_t guessed, int64_t accepted) {
  num_looked_ += static_cast<double>(std::min(guessed, accepted + 1));
  num_right_ += static_cast<double>(accepted);
  if (num_looked_ < kMemory) return;
  num_looked_ /= 2;
  num_right_ /= 2;
}

void DraftPolicy::choose(std::span<Sequence* const> ready, const StepLoad& load, double turns) {
  list_candidates(ready);
  if (limits_.always) {
    for (const Candidate& c : candidates_) c.sequence->draft_wish = {c.most, c.lag};
    return;
  }
  const std::optional<double> seconds = target_.predict(load);
  if (!seconds || candidates_.empty()) return;
  const Step step{load, turns, turns * *seconds};
  credit_s_ = std::min(kMostCreditSeconds, credit_s_ + kProbeShare * step.seconds);
  catch_up(step);
  const Choice choice = best_choice(step);
  for (size_t i = 0; i < choice.num_sequences; ++i) {
    const Candidate& c = current_[i];
    c.sequence->draft_wish = {std::min(choice.depth, c.most), c.lag};
  }
  probe(step);
}

void DraftPolicy::list_candidates(std::span<Sequence* const> ready) {
  candidates_.clear();
  for (Sequence* s : ready) {
    s->draft_wish = {};
    const auto length = static_cast<int64_t>(s->tokens.size());
    const int64_t most =
        std::min({limits_.most_guesses, s->num_left - 1, limits_.max_positions - length});
    if (!s->may_draft || most <= 0) continue;
    s->record.assume(overall_chance());
    const int64_t known = cache_.num_known(s->blocks.full().ids(), s->num_planned);
    candidates_.push_back({s, length - known, most, s->record.chance()});
  }
}

// Sequences that can guess now become current_; the draft model goes on with some of the others.
void DraftPolicy::catch_up(const Step& step) {
  current_.clear();
  int64_t left = affordable_tokens(step);
  for (const Candidate& c : candidates_) {
    if (c.lag <= kCurrentLag) {
      current_.push_back(c);
      continue;
    }
    if (left <= 0 || !pays_to_catch_up(c, step)) continue;
    const int64_t count = std::min(c.lag, left);
    left -= count;
    c.sequence->draft_wish.num_tokens = count;
    if (count == c.lag) current_.push_back(c);
  }
}

// Alone, a sequence stalls nobody but itself.
int64_t DraftPolicy::affordable_tokens(const Step& step) const {
  int64_t count = limits_.max_step_tokens;
  if (step.load.num_tokens == 1) return count;
  while (count > kLeastCatchUp && draft_seconds(count, step) > step.seconds) count /= 2;
  return count;
}

bool DraftPolicy::pays_to_catch_up(const Candidate& c, const Step& step) const {
  const double gain =
      std::max(gain_of(c.chance, 1, step), gain_of(c.chance, candidates_.size(), step));
  if (gain <= kGain) return false;
  const auto left = static_cast<double>(std::min(c.sequence->num_left, kFarthestToken));
  const double share = step.seconds / static_cast<double>(step.load.num_tokens);
  return left * share * (1 - 1 / gain) > draft_seconds(c.lag, step);
}

double DraftPolicy::draft_seconds(int64_t num_tokens, const Step& step) const {
  const int64_t context = step.load.attention_pairs / step.load.num_tokens;
  return draft_.predict({num_tokens, num_tokens * context}).value_or(0);
}

// num_lagging: tokens that the draft model computes in its first step.
double DraftPolicy::seconds_with(int64_t num_guessed, int64_t num_lagging, int64_t num_sequences,
                                 int64_t depth, const Step& step) const {
  const int64_t context = step.load.attention_pairs / step.load.num_tokens;
  const StepLoad load = step.load.with_guesses(num_guessed, num_guessed * context);
  return step.turns * *target_.predict(load) + draft_seconds(num_lagging, step) +
         static_cast<double>(depth - 1) * draft_seconds(num_sequences, step);
}

// Tokens a second with the best number of guesses, over those without, where so many sequences of
// the step guess with this chance.
double DraftPolicy::gain_of(double chance, size_t num_sequences, const Step& step) const {
  const auto count = static_cast<int64_t>(num_sequences);
  double best = 0, power = 1, expected = 0;
  for (int64_t depth = 1; depth <= limits_.most_guesses; ++depth) {
    power *= chance;
    expected += power;
    const double tokens =
        static_cast<double>(step.load.num_tokens) + expected * static_cast<double>(count);
    best = std::max(best, tokens / seconds_with(depth * count, count, count, depth, step));
  }
  return best / step.base_rate();
}

DraftPolicy::Choice DraftPolicy::best_choice(const Step& step) {
  std::stable_sort(current_.begin(), current_.end(),
                   [](const Candidate& a, const Candidate& b) { return a.chance > b.chance; });
  Choice best;
  double best_rate = kGain * step.base_rate();
  for (int64_t depth = 1; depth <= limits_.most_guesses; ++depth) {
    double tokens = static_cast<double>(step.load.num_tokens);
    int64_t num_guessed = 0, num_lagging = 0;
    for (size_t i = 0; i < current_.size(); ++i) {
      Candidate& c = current_[i];
      if (depth <= c.most) {
        c.power *= c.chance;
        c.expected += c.power;
      }
      tokens += c.expected;
      num_guessed += std::min(depth, c.most);
      // What it takes to catch up from afar was decided on before.
      num_lagging += c.lag <= kCurrentLag ? c.lag : 1;
      const size_t count = i + 1;
      const bool is_asked = (count & (count - 1)) == 0 || count == current_.size();
      if (!is_asked) continue;
      const double rate =
          tokens / seconds_with(num_guessed, num_lagging, static_cast<int64_t>(count), depth, step);
      if (rate <= best_rate) continue;
      best = {count, depth};
      best_rate = rate;
    }
  }
  return best;
}

void DraftPolicy::probe(const Step& step) {
  for (const Candidate& c : candidates_) {
    Sequence& s = *c.sequence;
    const bool wants = s.record.wants_probe() || !s.record.has_learned();
    if (!wants || s.draft_wish.num_guesses > 0 || s.draft_wish.num_tokens > 0) continue;
    const int64_t count = std::min(c.lag, affordable_tokens(step));
    const int64_t guesses = count == c.lag ? std::min(c.most, kProbeGuesses) : 0;
    const double cost = guesses > 0 ? seconds_with(guesses, count, 1, guesses, step) - step.seconds
                                    : draft_seconds(count, step);
    if (cost > credit_s_) return;
    credit_s_ -= cost;
    s.draft_wish = {guesses, count};
    return;
  }
}

}  // namespace weft::engine
