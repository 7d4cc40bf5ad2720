#include "engine/step_times.h"

#include <algorithm>
#include <bit>
#include <numeric>

namespace weft::engine {
namespace {

constexpr double kNewest = 0.125;          // share of the newest step in its bucket
constexpr double kForget = 1 - 1.0 / 256;  // of the sums that give the price of a pair
// Steps of fewer tokens take about as long: the weights are read all the same. Only for guessing
// where none so short was seen.
constexpr double kFlatTokens = 32;

}  // namespace

size_t StepTimes::bucket_of(int64_t num_tokens) {
  const int width = std::bit_width(static_cast<uint64_t>(std::max<int64_t>(1, num_tokens)));
  return static_cast<size_t>(std::min(width - 1, kNumBuckets - 1));
}

const StepTimes::Table& StepTimes::table_of(const StepLoad& load) const {
  const Table& own = load.has_prompt ? with_prompt_ : decoding_;
  const Table& other = load.has_prompt ? decoding_ : with_prompt_;
  const size_t bucket = bucket_of(load.num_tokens);
  return own.is_empty || (!own.reaches(bucket) && other.reaches(bucket)) ? other : own;
}

bool StepTimes::Table::reaches(size_t bucket) const {
  return std::any_of(buckets.begin() + static_cast<std::ptrdiff_t>(bucket), buckets.end(),
                     [](const Bucket& b) { return b.is_known; });
}

void StepTimes::PairSums::add(double more_pairs, double more_seconds) {
  squared = kForget * squared + more_pairs * more_pairs;
  products = kForget * products + more_pairs * more_seconds;
}

void StepTimes::learn(const StepLoad& load, double seconds) {
  Table& table = load.has_prompt ? with_prompt_ : decoding_;
  table.learn(static_cast<double>(load.num_tokens), static_cast<double>(load.attention_pairs),
              seconds, table.buckets[bucket_of(load.num_tokens)]);
}

void StepTimes::Table::learn(double tokens, double pairs, double seconds, Bucket& bucket) {
  is_empty = false;
  if (!bucket.is_known) {
    bucket = {true, tokens, pairs, seconds, {}};
    return;
  }
  // A step of more tokens of the same bucket is slower for them too: as far as the bucket's own
  // rate tells, that part is none of the pairs'.
  const double by_tokens = bucket.seconds * (tokens / bucket.tokens - 1);
  const double more_pairs = pairs - bucket.pairs;
  const double more_seconds = seconds - bucket.seconds - by_tokens;
  sums.add(more_pairs, more_seconds);
  bucket.sums.add(more_pairs, more_seconds);
  bucket.tokens += kNewest * (tokens - bucket.tokens);
  bucket.pairs += kNewest * more_pairs;
  bucket.seconds += kNewest * (seconds - bucket.seconds);
}

void StepTimes::learn(const StepLoad& load, std::span<const int64_t> stages_ns) {
  const int64_t slowest = *std::max_element(stages_ns.begin(), stages_ns.end());
  learn(load, static_cast<double>(slowest) * 1e-9);
  if (slowest <= 0) return;
  const double all =
      static_cast<double>(std::accumulate(stages_ns.begin(), stages_ns.end(), int64_t{0}));
  const double depth = all / static_cast<double>(slowest);
  depth_ = depth_ ? *depth_ + kNewest * (depth - *depth_) : depth;
}

// The price in all buckets counts like one step that differs from the bucket's mean by the mean.
double StepTimes::Table::price_in(const Bucket& bucket) const {
  const double weight = bucket.pairs * bucket.pairs;
  const double squared = bucket.sums.squared + weight;
  if (squared <= 0) return std::max(0.0, sums.price());
  return std::max(0.0, (bucket.sums.products + sums.price() * weight) / squared);
}

double StepTimes::Table::linear_part(const Bucket& bucket) const {
  // Never less than half of what was measured: the price of a pair is an estimate.
  return std::max(bucket.seconds - price_in(bucket) * bucket.pairs, bucket.seconds / 2);
}

double StepTimes::Table::predict(double tokens, double pairs) const {
  const Bucket *below = nullptr, *above = nullptr;
  for (const Bucket& bucket : buckets) {
    if (!bucket.is_known) continue;
    if (bucket.tokens <= tokens) {
      below = &bucket;
    } else if (above == nullptr) {
      above = &bucket;
    }
  }
  const auto seconds_at = [&](const Bucket& bucket, double scale) {
    return linear_part(bucket) * scale + price_in(bucket) * pairs;
  };
  if (below == nullptr)
    return seconds_at(*above, std::min(1.0, std::max(tokens, kFlatTokens) / above->tokens));
  if (above == nullptr)
    return seconds_at(*below, std::max(tokens, kFlatTokens) / std::max(below->tokens, kFlatTokens));
  const double share = (tokens - below->tokens) / (above->tokens - below->tokens);
  return seconds_at(*below, 1) + share * (seconds_at(*above, 1) - seconds_at(*below, 1));
}

std::optional<double> StepTimes::predict(const StepLoad& load) const {
  const Table& table = table_of(load);
  if (table.is_empty) return std::nullopt;
  return table.predict(static_cast<double>(load.num_tokens),
                       static_cast<double>(load.attention_pairs));
}

double StepTimes::pair_price(const StepLoad& load) const {
  const Table& table = table_of(load);
  return table.price_in(table.buckets[bucket_of(load.num_tokens)]);
}

}  // namespace weft::engine
