// The choice of a token among logits that no member holds whole, as batch.h (LogitRow) defines it,
// with the same result for any cut of the vocabulary: an exact maximum, integer weights (DESIGN.md
// 1.6), and kept ids that are a prefix of an order without ties.
//
// Most rows are settled by candidates: every shard names its best, and where what is kept surely
// ends among the best of all of them, the token is drawn from these, in every member alike. Where
// it does not (a flat distribution, a large top_k), CutSearch finds the boundary.
#pragma once

#include <span>
#include <vector>

#include "model/batch.h"
#include "model/cut_search.h"
#include "model/logit_shards.h"

namespace weft::model {

// floor(uniform * total / 2^64): a point of [0, total), the same for any cut of the vocabulary.
int64_t locate_point(uint64_t uniform, int64_t total);

class Chooser {
 public:
  // Candidates of a row: enough that the usual filters end among them, few enough to be found in
  // one pass. A top_k up to the second number is settled by candidates too.
  static constexpr int kCandidates = 64, kMostCandidates = 128;

  Chooser(LogitShards& logits, int64_t vocab_size);

  // Whether more than the largest raw logit is asked for.
  static bool has_work(const LogitRow& row);
  // How many of each shard's best raw logits `run` wants to be given for the row; 0 where it looks
  // for them itself, behind adjustments and masks that it has to apply, or needs none.
  static int num_raw_best(const LogitRow& row);
  // Of rows and shards: those of a row's shard at data + shard * per_shard + row * per_row.
  struct RawBest {
    const kernels::Candidate* data = nullptr;
    size_t per_shard = 0, per_row = 0;
  };

  // Collective. raw_max: the largest logit of each row. Sets id and no_choice of rows that have
  // work and no bad logits, and leaves their logits adjusted, or, of greedy ones, as they were.
  void run(const Batch& batch, Range rows, std::span<const float> raw_max, const RawBest& raw_best,
           std::span<RowResult> results);

  // What the row had for an id of the shard before `run` adjusted it.
  float raw_logit(const Batch& batch, const LogitRow& row, int64_t local, size_t shard,
                  int32_t id) const;

 private:
  struct Draw {
    const LogitRow* row = nullptr;
    RowResult* result = nullptr;
    size_t index = 0;   // among the draws
    int64_t local = 0;  // row of the logits
    kernels::KeptIds kept;
    int64_t mass = 0;  // of the kept ids
    int num_candidates = 0;
    size_t first_candidate = 0;  // among those of a shard
  };
  using Draws = std::vector<Draw*>;

  void list_draws(const Batch& batch, Range rows, std::span<const float> raw_max,
                  std::span<RowResult> results);
  void adjust(const Batch& batch, const RawBest& raw_best);
  void gather_candidates();
  // Leaves the draw's best over all shards in best_, best first.
  void merge_candidates(const Draw& draw);
  void settle_greedy_draws();
  void sum_masses(const Draws& draws);
  int64_t sum_chunks(const Draw& draw, size_t shard);
  std::span<int64_t> chunks_of(const Draw& draw, size_t shard);
  // Each takes a draw's candidates in best_ and says how many first ones are kept; 0: unsure.
  bool draw_from_candidates(Draw& draw);
  size_t count_kept(const Draw& draw);
  size_t count_typical(const Draw& draw, size_t count);
  void search_cuts(const Draws& draws);
  void find_centres(const Draws& draws);
  void locate(const Draws& draws);

  LogitShards& logits_;
  int64_t vocab_size_;
  size_t most_chunks_ = 0;  // of a shard
  CutSearch search_;
  std::vector<Draw> draws_;
  Draws sampled_, summed_, located_, searched_, narrowed_;
  std::vector<CutSearch::Cut> cuts_;
  size_t num_candidates_ = 0;                       // of a shard, for all draws
  std::vector<kernels::Candidate> candidates_;      // [shards, num_candidates_]
  std::vector<kernels::Candidate> all_candidates_;  // [parts, num_candidates_]
  std::vector<kernels::Candidate> best_;            // of one draw
  std::vector<float> numbers_;                      // of best_: logits
  std::vector<int64_t> weights_;                    // of best_
  std::vector<float> before_;                       // [batch.adjustments], as they found it
  std::vector<int64_t> sums_;                       // [shards, draws of a list]
  std::vector<int64_t> part_masses_;                // [draws, parts] of the kept ids
  std::vector<int64_t> chunk_masses_;               // [draws, shards, most_chunks_] the same
  std::vector<kernels::Candidate> found_;           // [shards, draws of a list]
};

}  // namespace weft::model
