#include "engine/step_times.h"

#include <algorithm>
#include <bit>

namespace weft::engine {
namespace {

constexpr double kNewest = 0.125;          // share of the newest step in its bucket
constexpr double kForget = 1 - 1.0 / 256;  // of the sums that give the price of a pair
// Steps of fewer tokens take about as long: the weights are read all the same. Only for guessing
// where none so short was seen.
constexpr double kFlatTokens = 32;

}  // namespace

int StepTimes::bucket_of(int64_t num_tokens) {
  const int width = std::bit_width(static_cast<uint64_t>(std::max<int64_t>(1, num_tokens)));
  return std::min(width - 1, kNumBuckets - 1);
}

void StepTimes::learn(const StepLoad& load, double seconds) {
  Bucket& bucket = buckets_[static_cast<size_t>(bucket_of(load.num_tokens))];
  const double tokens = static_cast<double>(load.num_tokens);
  const double pairs = static_cast<double>(load.attention_pairs);
  if (bucket.weight == 0) {
    bucket = {1, tokens, pairs, seconds};
    return;
  }
  // A step of more tokens of the same bucket is slower for them too: as far as the bucket's own
  // rate tells, that part is none of the pairs'.
  const double by_tokens = bucket.seconds * (tokens / bucket.tokens - 1);
  const double more_pairs = pairs - bucket.pairs;
  pairs_squared_ = kForget * pairs_squared_ + more_pairs * more_pairs;
  pairs_seconds_ = kForget * pairs_seconds_ + more_pairs * (seconds - bucket.seconds - by_tokens);
  bucket.tokens += kNewest * (tokens - bucket.tokens);
  bucket.pairs += kNewest * more_pairs;
  bucket.seconds += kNewest * (seconds - bucket.seconds);
}

double StepTimes::pair_price() const {
  return pairs_squared_ > 0 ? std::max(0.0, pairs_seconds_ / pairs_squared_) : 0.0;
}

double StepTimes::linear_part(const Bucket& bucket) const {
  // Never less than half of what was measured: the price of a pair is an estimate.
  return std::max(bucket.seconds - pair_price() * bucket.pairs, bucket.seconds / 2);
}

std::optional<double> StepTimes::predict(const StepLoad& load) const {
  const double tokens = static_cast<double>(load.num_tokens);
  const Bucket *below = nullptr, *above = nullptr;
  for (const Bucket& bucket : buckets_) {
    if (bucket.weight == 0) continue;
    if (bucket.tokens <= tokens) {
      below = &bucket;
    } else if (above == nullptr) {
      above = &bucket;
    }
  }
  if (below == nullptr && above == nullptr) return std::nullopt;
  double linear = 0;
  if (below != nullptr && above != nullptr) {
    const double share = (tokens - below->tokens) / (above->tokens - below->tokens);
    linear = linear_part(*below) + share * (linear_part(*above) - linear_part(*below));
  } else if (below != nullptr) {
    linear = linear_part(*below) *
             (std::max(tokens, kFlatTokens) / std::max(below->tokens, kFlatTokens));
  } else {
    linear = linear_part(*above) * std::min(1.0, std::max(tokens, kFlatTokens) / above->tokens);
  }
  return linear + pair_price() * static_cast<double>(load.attention_pairs);
}

}  // namespace weft::engine
