// What a step costs, learned from the steps that ran, or set by whoever simulates a machine. The
// scheduler only reads it, so that the same times replay the same decisions. No bit of an answer
// depends on it.
//
//   time(step) = fixed + slopes over its tokens + rows + pairs
//     fixed     reading the weights, and all that a step costs whatever it holds
//     slopes    what one more token costs: a price for each stretch of 1, 2, 4, ... 8192 tokens,
//               since few tokens hide behind the weights and many do not
//     rows      the head: its weights where any logits are wanted, and a price a row
//     pairs     a token and a position that it attends to: one price where a sequence has a single
//               token in the step, which reads the cache for itself, another where it has several
//
// The prices are estimated together, by recursive least squares over relative errors (a Kalman
// filter whose state drifts by kDrift a step): a step says how much its terms cost in sum, and
// their uncertainty decides which of them it tells about. So a chunk of a long prompt that runs
// alone teaches what its attention will cost beside answers, and steps that mix both do not blur
// what answers take alone. Rejected: a table of mean times by number of tokens. Steps of one size
// differ by their depth, and a controller that holds a step's time (Scheduler::chunk_of) moves size
// and depth against each other: such a table was a fifth too low for deep chunks among answers.
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
  int64_t chunk_pairs = 0;      // of attention_pairs: of sequences with several tokens in the step
  int64_t num_rows = 0;         // tokens whose logits are computed

  // Adds tokens [first, first + count) of one sequence; the logits of `rows` of them are wanted.
  void add(int64_t first_position, int64_t count, int64_t rows = 0) {
    const int64_t pairs = count * first_position + count * (count + 1) / 2;
    num_tokens += count;
    attention_pairs += pairs;
    if (count > 1) chunk_pairs += pairs;
    num_rows += rows;
  }
  // The same step with tokens that are guessed: `pairs` of them together, a row each.
  StepLoad with_guesses(int64_t count, int64_t pairs) const {
    return {num_tokens + count, attention_pairs + pairs, has_prompt, chunk_pairs + pairs,
            num_rows + count};
  }
};

class StepTimes {
 public:
  // Every step takes so long.
  static StepTimes constant(double seconds);

  // A finished step. One that took far too long counts only where the next ones do too: a step that
  // the machine held up teaches nothing.
  void learn(const StepLoad& load, double seconds);
  // A finished step, from the nanoseconds that each stage worked on it: the slowest one decides how
  // fast steps follow each other.
  void learn(const StepLoad& load, std::span<const int64_t> stages_ns);
  // How many stages as slow as the slowest one a step takes to pass: num_stages where they are
  // equal, less otherwise. None before stages were learned.
  std::optional<double> depth() const { return depth_; }
  // None before any step was learned. Never falls as any part of the load grows.
  std::optional<double> predict(const StepLoad& load) const;

 private:
  static constexpr int kNumSlopes = 13;  // the last stretch ends at 2^13 and goes on beyond
  enum Term { kFixed, kSlopes, kAnyRow = kSlopes + kNumSlopes, kRows, kSinglePairs, kChunkPairs };
  static constexpr int kNumTerms = kChunkPairs + 1;
  using Terms = std::array<double, kNumTerms>;

  static Terms terms_of(const StepLoad& load);
  void begin(const StepLoad& load, double seconds);
  void drift();
  bool is_held_up(double seconds, double expected, double deviation);
  void correct(const Terms& terms, double error, double variance);
  void keep_positive();

  bool knows_any_ = false;
  Terms prices_{};
  Terms most_variance_{};                      // of a price of which nothing is known
  std::array<Terms, kNumTerms> covariance_{};  // of the prices
  int num_surprises_ = 0;                      // steps in a row that took far too long
  std::optional<double> depth_;
};

}  // namespace weft::engine
