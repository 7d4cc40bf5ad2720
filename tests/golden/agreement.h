// How well our answers agree with the reference's, over teacher-forced positions.
//
//   top-1       share of positions where both prefer the same id
//   KL          sum p ln(p / q) over the reference's k ids and one bucket for all others, p the
//               reference's probabilities
//   perplexity  exp(-mean ln p(next id)) over the cases that count towards it
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "golden/golden_file.h"

namespace weft::golden {

struct Agreement {
  int64_t num_positions = 0;
  int64_t num_agreed = 0;
  double kl_sum = 0;
  int64_t num_absent = 0;  // reference ids that our own lists do not hold

  double top1() const {
    return static_cast<double>(num_agreed) / static_cast<double>(num_positions);
  }
  double mean_kl() const { return kl_sum / static_cast<double>(num_positions); }
  void add(const Agreement& other);
};

struct Perplexity {
  int64_t num_tokens = 0;
  double logprob_sum = 0;
  double reference_sum = 0;

  double ours() const;
  double reference() const;
  // Ours over the reference's, less one.
  double excess() const;
};

// One distribution of ours: the most likely ids (best first) and perhaps the next id behind them.
using LogprobList = std::vector<engine::TokenLogprob>;

// KL of one position from logprobs. An id of the reference that `ours` does not hold counts as if
// we gave it e^-20, less than any real model's 128th: the figure can only be too large.
double kl_of(const int32_t* ids, const float* logprobs, int64_t k, const LogprobList& ours,
             int64_t* num_absent);

// Our distributions at every position of `ids` but the last, `depth` ids each.
std::vector<LogprobList> score(engine::Engine& engine, const std::vector<int32_t>& ids, int depth);

Agreement compare_lists(const TopCase& c, const std::vector<LogprobList>& ours);
void add_perplexity(const TopCase& c, const std::vector<LogprobList>& ours, Perplexity& sum);

// What GoogleTest takes as a test's name: all but letters and digits become '_'.
std::string as_test_name(std::string name);

}  // namespace weft::golden
