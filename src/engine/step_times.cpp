#include "engine/step_times.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace weft::engine {
namespace {

// Relative: what a step's time varies by, and what a price drifts by from step to step. Their ratio
// makes the newest step count about a sixth.
constexpr double kNoise = 0.05, kDrift = 0.01;
// A step was held up, or the machine has changed, past so many deviations and such a share of what
// was expected; the latter where so many such steps follow each other.
constexpr double kSurprise = 4.0, kHoldUp = 0.5;
constexpr int kFewSurprises = 3;
constexpr double kNewestDepth = 0.125;  // share of the newest step

// What is thought of prices after the first step, in units of what a token of it took. Steps of
// fewer tokens take about as long: the weights are read all the same. (Two cores are at 6 tokens as
// slow by products as by reading, 64 of them at 30.)
constexpr double kFlatTokens = 16;
// Slopes have a part in common (a machine's rate) and one of their own.
constexpr double kCommonSlope = 1.0, kOwnSlope = 0.5;
constexpr double kHead = 8.0, kRow = 0.5;
// Attention over products of a layer, in operations: 4e-5 for 8 billion parameters, 3e-4 for 135
// million; a single token's reads may cost several times that.
constexpr double kChunkPair = 1e-3, kSinglePair = 4e-3;

double squared(double x) { return x * x; }

}  // namespace

StepTimes StepTimes::constant(double seconds) {
  StepTimes times;
  times.knows_any_ = true;
  times.prices_[kFixed] = seconds;
  return times;
}

StepTimes::Terms StepTimes::terms_of(const StepLoad& load) {
  Terms terms{};
  terms[kFixed] = 1;
  for (int k = 0; k < kNumSlopes; ++k) {
    const int64_t begin = int64_t{1} << k;
    if (load.num_tokens <= begin) break;
    const bool is_last = k + 1 == kNumSlopes;
    const int64_t end = is_last ? load.num_tokens : std::min(load.num_tokens, 2 * begin);
    terms[static_cast<size_t>(kSlopes + k)] = static_cast<double>(end - begin);
  }
  terms[kAnyRow] = load.num_rows > 0 ? 1 : 0;
  terms[kRows] = static_cast<double>(load.num_rows);
  terms[kSinglePairs] = static_cast<double>(load.attention_pairs - load.chunk_pairs);
  terms[kChunkPairs] = static_cast<double>(load.chunk_pairs);
  return terms;
}

std::optional<double> StepTimes::predict(const StepLoad& load) const {
  if (!knows_any_) return std::nullopt;
  const Terms terms = terms_of(load);
  return std::inner_product(terms.begin(), terms.end(), prices_.begin(), 0.0);
}

// The first step settles the unit; as far as is known, products take all of it.
void StepTimes::begin(const StepLoad& load, double seconds) {
  knows_any_ = true;
  const double token = seconds / std::max(kFlatTokens, static_cast<double>(load.num_tokens));
  prices_.fill(0.0);
  prices_[kFixed] = kFlatTokens * token;
  Terms deviation{};
  deviation[kFixed] = kFlatTokens * token;
  deviation[kAnyRow] = kHead * token;
  deviation[kRows] = kRow * token;
  deviation[kSinglePairs] = kSinglePair * token;
  deviation[kChunkPairs] = kChunkPair * token;
  for (int k = 0; k < kNumSlopes; ++k) {
    const auto slope = static_cast<size_t>(kSlopes + k);
    const bool is_flat = (int64_t{2} << k) <= static_cast<int64_t>(kFlatTokens);
    prices_[slope] = is_flat ? 0.0 : token;
    deviation[slope] = std::hypot(kCommonSlope, kOwnSlope) * token;
    for (int other = 0; other < kNumSlopes; ++other)
      covariance_[slope][static_cast<size_t>(kSlopes + other)] = squared(kCommonSlope * token);
  }
  for (size_t i = 0; i < kNumTerms; ++i)
    covariance_[i][i] = most_variance_[i] = squared(deviation[i]);
}

void StepTimes::learn(const StepLoad& load, double seconds) {
  if (seconds <= 0) return;
  if (!knows_any_) begin(load, seconds);
  drift();
  const Terms terms = terms_of(load);
  const double expected = std::inner_product(terms.begin(), terms.end(), prices_.begin(), 0.0);
  const double noise = squared(kNoise * std::max(expected, 1e-9));
  double variance = noise;
  for (size_t i = 0; i < kNumTerms; ++i) {
    if (terms[i] == 0) continue;
    variance +=
        terms[i] * std::inner_product(terms.begin(), terms.end(), covariance_[i].begin(), 0.0);
  }
  variance = std::max(variance, noise);  // whatever rounding has done to the covariance
  if (is_held_up(seconds, expected, std::sqrt(variance))) return;
  correct(terms, seconds - expected, variance);
}

// What nobody has seen for long is as uncertain as in the beginning, and not more.
void StepTimes::drift() {
  for (size_t i = 0; i < kNumTerms; ++i) {
    const double step = kDrift * std::max(prices_[i], 0.1 * std::sqrt(most_variance_[i]));
    if (covariance_[i][i] < most_variance_[i]) covariance_[i][i] += squared(step);
  }
}

// Only a step that took too long may be an accident: none is too fast by one.
bool StepTimes::is_held_up(double seconds, double expected, double deviation) {
  const bool surprises = seconds > expected + std::max(kSurprise * deviation, kHoldUp * expected);
  num_surprises_ = surprises ? num_surprises_ + 1 : 0;
  return surprises && num_surprises_ < kFewSurprises;
}

void StepTimes::correct(const Terms& terms, double error, double variance) {
  Terms gain{};
  for (size_t i = 0; i < kNumTerms; ++i)
    gain[i] = std::inner_product(terms.begin(), terms.end(), covariance_[i].begin(), 0.0);
  for (size_t i = 0; i < kNumTerms; ++i) {
    prices_[i] += gain[i] * error / variance;
    for (size_t j = 0; j < kNumTerms; ++j) covariance_[i][j] -= gain[i] * gain[j] / variance;
  }
  keep_positive();
}

// Nothing makes a step shorter. A price that fell below 0 is set to it as if that had been seen:
// what is known of sums of prices stays known, and others take the difference.
void StepTimes::keep_positive() {
  for (int pass = 0; pass < 3; ++pass) {
    for (size_t i = 0; i < kNumTerms; ++i) {
      if (prices_[i] >= 0 || covariance_[i][i] <= 0) continue;
      const double share = -prices_[i] / covariance_[i][i];
      for (size_t j = 0; j < kNumTerms; ++j) prices_[j] += covariance_[j][i] * share;
    }
  }
  for (double& price : prices_) price = std::max(0.0, price);
}

void StepTimes::learn(const StepLoad& load, std::span<const int64_t> stages_ns) {
  const int64_t slowest = *std::max_element(stages_ns.begin(), stages_ns.end());
  if (slowest <= 0) return;
  learn(load, static_cast<double>(slowest) * 1e-9);
  const double all =
      static_cast<double>(std::accumulate(stages_ns.begin(), stages_ns.end(), int64_t{0}));
  const double depth = all / static_cast<double>(slowest);
  depth_ = depth_ ? *depth_ + kNewestDepth * (depth - *depth_) : depth;
}

}  // namespace weft::engine
