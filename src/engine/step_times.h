// What a step costs: a table over the number of tokens, and a price for each pair of a token and a
// position that it attends to. Learned from the steps that ran, or set by whoever simulates a
// machine; the scheduler only reads it, so that the same table replays the same decisions. No bit
// of an answer depends on it.
//
//   time(step) = linear(num_tokens) + pair_price * attention_pairs
//
// `linear` is interpolated between the measured buckets 1, 2, 4, ... 8192, which is fine enough: a
// step grows with its tokens first by a fixed read of the weights, then by products.
//
// Thread rule: the planner's thread.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

namespace weft::engine {

// What a step holds, as far as its time depends on it.
struct StepLoad {
  int64_t num_tokens = 0;
  int64_t attention_pairs = 0;  // sum over its tokens of the positions each attends to

  // Adds tokens [first, first + count) of one sequence.
  void add(int64_t first_position, int64_t count) {
    num_tokens += count;
    attention_pairs += count * first_position + count * (count + 1) / 2;
  }
};

class StepTimes {
 public:
  // A finished step. Recent ones count most: each moves its bucket by an eighth.
  void learn(const StepLoad& load, double seconds);
  // None before any step was learned.
  std::optional<double> predict(const StepLoad& load) const;
  double pair_price() const;

 private:
  static constexpr int kNumBuckets = 14;  // 2^0 .. 2^13: --max-num-batched-tokens ends there
  struct Bucket {
    double weight = 0;                          // 0: nothing learned
    double tokens = 0, pairs = 0, seconds = 0;  // running means
  };

  static int bucket_of(int64_t num_tokens);
  double linear_part(const Bucket& bucket) const;

  std::array<Bucket, kNumBuckets> buckets_;
  // Least squares of seconds over pairs, within buckets.
  double pairs_squared_ = 0, pairs_seconds_ = 0;
};

}  // namespace weft::engine
