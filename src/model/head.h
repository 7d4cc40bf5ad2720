// The end of the last stage: final norm, logits of the rows that are wanted, and what is made of
// them: the choice (model/choice.h), logprobs, the hash. Exact for any cut of the vocabulary
// (DESIGN.md 1.6): the maximum first, then integer sums of round(2^40 exp((logit - max) / T)); a
// sample is one counter-based uniform number located in the integer cumulative sum in order of ids;
// every tie goes to the smaller id.
//
// Every member of the stage calls `run` with the same batch and gets the same results.
#pragma once

#include <span>
#include <vector>

#include "model/batch.h"
#include "model/choice.h"
#include "model/logit_shards.h"
#include "model/stage.h"

namespace weft::model {

class Head {
 public:
  // The stage must be the last one and outlive the head.
  explicit Head(Stage& stage);
  // results: one a row of the batch, in order; their vectors keep their memory between calls.
  void run(const Batch& batch, std::vector<RowResult>& results);

  // The final-normed hidden states of batch.states, each computed from its token alone; any member
  // may ask by itself. states: [batch.states, hidden_size]; it keeps its memory between calls.
  void read_states(const Batch& batch, std::vector<float>& states) const;

  // Rows whose logits are in memory at once: its weights are read once for a batch of that many.
  static constexpr int64_t kRowsAtOnce = 64;
  static constexpr int kMaxLogprobs = 128;

  // Memory of the logits that a shard's rows of the vocabulary need: planned, and held.
  static int64_t logits_bytes(const ShardWeights& shard);
  int64_t logits_bytes(int64_t shard_index) const;

 private:
  // What a shard says of one row; gathered from all members.
  struct Partial {
    kernels::Candidate best;
    float target_logit = 0.0f;
    int32_t has_target = 0;
    int64_t num_nan = 0;
    uint64_t hash = 0;
  };
  // The raw logit of a row's choice, from the shard that holds it.
  struct ChosenLogit {
    float logit = 0.0f;
    int32_t held = 0;
  };

  void run_rows(const Batch& batch, Range rows, std::span<RowResult> results);
  void compute_logits(const Batch& batch, Range rows);
  void summarise(const Batch& batch, Range rows);
  void merge_summaries(const Batch& batch, Range rows, std::span<RowResult> results);
  void sum_logprobs(const Batch& batch, Range rows, std::span<RowResult> results);
  void list_logprobs(const LogitRow& row, int64_t local, RowResult& result);
  void gather_logits(int64_t local, std::vector<float>& out);
  void choose(const Batch& batch, Range rows, std::span<RowResult> results);
  void find_chosen_logits(const Batch& batch, Range rows, std::span<RowResult> results);
  kernels::Candidate* top(size_t shard, int64_t local);

  Stage& stage_;
  tensor::InputMap map_;
  parallel::MatmulPhase matmul_;
  tensor::Buffer logits_memory_;  // [num_shards][kRowsAtOnce, padded rows]
  LogitShards logits_;
  Chooser chooser_;
  tensor::Buffer input_;  // activations of the rows
  kernels::Activations activations_;
  tensor::Buffer normed_;                // [num_threads, stride]
  std::vector<kernels::Candidate> top_;  // [num_shards, kRowsAtOnce, kMaxLogprobs]
  std::vector<Partial> partials_;        // [num_shards, rows]
  std::vector<int64_t> sums_;            // [num_shards, 2, rows with logprobs]: exp_sum, ranks
  std::vector<size_t> with_logprobs_;    // those rows
  std::vector<ChosenLogit> chosen_;      // [num_shards, rows]
  float row_max_[kRowsAtOnce] = {};
  float target_logit_[kRowsAtOnce] = {};  // of the choice or target, raw
  int64_t exp_sum_[kRowsAtOnce] = {};     // of rows with logprobs
  std::vector<kernels::Candidate> merged_;
  std::vector<float> row_copies_, whole_row_;  // of gather_logits
};

}  // namespace weft::model
