// What a step costs: a table over the number of tokens, and a price for each pair of a token and a
// position that it attends to. Learned from the steps that ran, or set by whoever simulates a
// machine; the scheduler only reads it, so that the same table replays the same decisions. No bit
// of an answer depends on it.
//
//   time(step) = linear(num_tokens) + price(num_tokens) * attention_pairs
//
// Both are interpolated between the measured buckets of 1, 2, 4, ... 8192 tokens, which is fine
// enough: a step grows with its tokens first by a fixed read of the weights, then by products. A
// bucket has a price of its own as far as its steps tell: attention of few tokens reads the cache
// once for each few, so a pair costs them several times what it costs a chunk of hundreds.
//
// Steps that hold a part of a prompt are told apart from those that only decode: the two share
// buckets, and what running answers would take alone must stay known while a long prompt is
// computed beside them. Each kind answers for the other where that has seen no step so large: what
// 64 decodes would take is known from chunks before any 64 have decoded.
//
// Thread rule: the planner's thread.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

namespace weft::engine {

// What a step holds, as far as its time depends on it.
struct StepLoad {
  int64_t num_tokens = 0;
  int64_t attention_pairs = 0;  // sum over its tokens of the positions each attends to
  bool has_prompt = false;      // a part of a prompt among them

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
  // A finished step, from the nanoseconds that each stage worked on it: the slowest one decides how
  // fast steps follow each other.
  void learn(const StepLoad& load, std::span<const int64_t> stages_ns);
  // How many stages as slow as the slowest one a step takes to pass: num_stages where they are
  // equal, less otherwise. None before stages were learned.
  std::optional<double> depth() const { return depth_; }
  // None before any step was learned.
  std::optional<double> predict(const StepLoad& load) const;
  // Seconds of a pair in steps of so many tokens.
  double pair_price(const StepLoad& load) const;

 private:
  static constexpr int kNumBuckets = 14;  // 2^0 .. 2^13: --max-num-batched-tokens ends there
  // Least squares of seconds over pairs, around running means.
  struct PairSums {
    double squared = 0, products = 0;
    void add(double more_pairs, double more_seconds);
    double price() const { return squared > 0 ? products / squared : 0.0; }
  };
  struct Bucket {
    bool is_known = false;
    double tokens = 0, pairs = 0, seconds = 0;  // running means
    PairSums sums;
  };
  // Of one kind of step.
  struct Table {
    std::array<Bucket, kNumBuckets> buckets;
    PairSums sums;  // of all of them
    bool is_empty = true;

    bool reaches(size_t bucket) const;  // knows steps of as many tokens, or more
    void learn(double tokens, double pairs, double seconds, Bucket& bucket);
    double price_in(const Bucket& bucket) const;
    double linear_part(const Bucket& bucket) const;
    double predict(double tokens, double pairs) const;
  };

  static size_t bucket_of(int64_t num_tokens);
  const Table& table_of(const StepLoad& load) const;

  Table decoding_, with_prompt_;
  std::optional<double> depth_;
};

}  // namespace weft::engine
