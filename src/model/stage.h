// One pipeline stage on one worker: the layers of one or more shards, executed phase by phase by
// one team of threads.
//
// A worker that has a rank for itself holds one shard and exchanges partial sums with its peers
// through the stage's communicator; where ranks outnumber cores, one worker holds all shards of
// the stage and runs their tiles side by side in each phase. Both are the same code: a list of
// shards, a team, a communicator (perhaps of size one).
//
// A layer is eight phases (parallel_for, one barrier each): QKV | rotate, store | attend, lay out |
// output | reduce, norm | gate, up, activate, lay out | down | reduce, norm. A ninth merges
// contexts that threads shared out. Workers meet twice a layer, in its reductions. Where they share
// many tokens out (parallel/sequence.h) they meet four times, and each reduction is followed by a
// phase that takes the peers' rows; between processes that send messages, the products before it
// run in pieces, which travel one by one.
//
// Thread rule: the team's leader calls; nothing is allocated after the first step of a size.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "base/activity.h"
#include "base/thread_team.h"
#include "cache/kv_storage.h"
#include "cache/prefix_match.h"
#include "comm/comm.h"
#include "kernels/kernels.h"
#include "model/batch.h"
#include "model/config.h"
#include "model/rope.h"
#include "model/step_memory.h"
#include "model/weights.h"
#include "parallel/linear.h"
#include "parallel/sequence.h"
#include "tensor/buffer.h"

namespace weft::model {

// The hidden state of a step: one row a token, the same on every worker of a stage once it was
// gathered. Within the layers a worker keeps its own tokens' rows alone (parallel::TokenShares).
struct HiddenState {
  float* residual = nullptr;     // [num_tokens, stride]
  int32_t* bad_layer = nullptr;  // [num_tokens]; -1: every sum was in range
  int64_t stride = 0;            // hidden_size rounded up to 16
};

class Stage {
 public:
  // `storage` holds one KvStorage a local shard. All references outlive the stage. The clock is in
  // kCompute when a verb is called, and when it returns.
  Stage(const ModelConfig& config, const StageSplit& split, const StageWeights& weights,
        std::vector<cache::KvStorage> storage, const kernels::KernelTable& table, ThreadTeam& team,
        comm::Communicator& communicator, ActivityClock& clock, const std::vector<RopeCache>& ropes,
        int64_t max_tokens);

  // Copies cache blocks, in order.
  void copy_blocks(std::span<const cache::BlockCopy> copies);
  // Begins a step: places its hidden state and scratch in the arena.
  void begin(const Batch& batch);
  // First stage: looks the tokens up.
  void embed(const Batch& batch);
  // Runs this stage's layers over the hidden state, of which it reads the rows of own_tokens(), and
  // writes those; with `gathers` every worker then holds all rows.
  void forward(const Batch& batch, bool gathers);
  HiddenState hidden() { return hidden_; }
  // All of them where tokens are not shared out.
  Range own_tokens() const { return shares_.own(); }
  bool shares_tokens_out() const { return shares_.shared_out(); }

  const kernels::KernelTable& table() const { return table_; }
  ThreadTeam& team() { return team_; }
  comm::Communicator& communicator() { return communicator_; }
  ActivityClock& clock() { return clock_; }
  const StageWeights& weights() const { return weights_; }
  const ModelConfig& config() const { return config_; }
  tensor::Arena& arena() { return arena_; }
  int64_t cache_bytes(int shard_index) const {
    return storage_[static_cast<size_t>(shard_index)].bytes();
  }
  // Memory of its steps, of all its shards together.
  const StepMemory& step_memory() const { return memory_; }
  // Payload that one shard has added to reductions since the last call.
  int64_t take_reduce_bytes();

 private:
  // What the next column-parallel linears take: which norm of the residual, in which forms. Types
  // are a bit each (GatheredInputs): `wanted` on any worker of the stage, `read` on this one.
  struct NextInput {
    const std::vector<float>* norm = nullptr;  // null: there are no next ones
    uint8_t wanted = 0, read = 0;
    const char* phase = "";
  };
  // One shard's buffers in a step.
  struct ShardStep {
    float *query = nullptr, *key = nullptr, *value = nullptr, *mixed = nullptr;
    float *gate = nullptr, *up = nullptr;
    std::byte* row_memory = nullptr;  // of row_input
    kernels::Activations row_input;   // of the output or down projection, whichever is next
  };
  struct AttentionTile {
    int shard = 0;
    size_t chunk = 0;
    Range tokens, heads;
    int64_t kv_head = 0;
    Range spans;                // those that the tile computes
    float* partials = nullptr;  // of its rows; null where it takes every span that it sees
  };

  void run_layer(size_t layer, const Batch& batch);
  const LayerShard& shard(int shard_index, size_t layer) const;
  int num_shards() const { return static_cast<int>(weights_.shards().size()); }
  // Of all ranks: one has nothing to add up with others.
  bool has_collectives() const { return split_.shards.size() > 1; }
  // The verb waits for other workers, where there are any.
  void meet() {
    if (communicator_.size() > 1) clock_.enter(Activity::kWaitPeers);
  }
  void project_qkv(size_t layer);
  void rotate_and_store(size_t layer, const Batch& batch);
  void rotate_heads(size_t layer, float* x, int64_t num_heads, const std::vector<float>& norm,
                    int64_t position);
  void attend(size_t layer, const Batch& batch);
  // Tiles that find work for every thread, and those that are to be merged after them.
  void list_attention_tiles(size_t layer, const Batch& batch);
  // Shares the whole tiles' contexts out, as far as the scratch for partial states goes.
  void split_over_spans(size_t layer, const Batch& batch);
  // Deals the query heads of tiles that take every span out singly.
  void split_over_heads();
  Range visible_spans(size_t layer, const Batch& batch, const AttentionTile& tile) const;
  int64_t spans_of_context() const;
  kernels::Attention attention_of(size_t layer, const Batch& batch,
                                  const AttentionTile& tile) const;
  void project_gate_up(size_t layer);
  // The row-parallel linears, added up: the parts of ExactReduce::reduce.
  std::span<const int64_t* const> project_output(size_t layer);
  std::span<const int64_t* const> project_down(size_t layer);
  // Such a linear may have no tile here. Runs in pieces where sums leave in pieces.
  std::span<const int64_t* const> run_exact(const kernels::PartialSums& sums, const char* phase);
  void place_row_inputs(size_t layer, bool down);
  // Lays what a tile's heads have mixed out as inputs of the output projection.
  void lay_out_heads(size_t layer, const Batch& batch, const AttentionTile& tile);
  // residual += norm(sum of parts + bias); then the next norm, laid out for the next linears.
  void add_reduced(std::span<const int64_t* const> parts, const std::vector<float>& bias,
                   const std::vector<float>& post_norm, const NextInput& next, size_t layer);
  void lay_out(const NextInput& next, int64_t token, int thread);
  // All workers' rows of the next input on each of them.
  void gather(const NextInput& next);
  // The residual, and what is known of bad sums, on every worker.
  void gather_hidden();
  void part_from_peers();
  NextInput attention_input(size_t layer) const;
  NextInput ffn_input(size_t layer) const;
  void add_types(const parallel::ColumnLinear& linear, NextInput& next) const;
  const kernels::Activations& input_of(const parallel::ColumnLinear& linear) const {
    return inputs_.of(linear.weight.activation_type());
  }

  const ModelConfig& config_;
  StageSplit split_;
  const StageWeights& weights_;
  std::vector<cache::KvStorage> storage_;
  const kernels::KernelTable& table_;
  ThreadTeam& team_;
  comm::Communicator& communicator_;
  ActivityClock& clock_;
  const std::vector<RopeCache>& ropes_;  // of config.ropes, shared by all workers
  int64_t max_tokens_;                   // of one batch
  StepMemory memory_;
  parallel::TokenShares shares_;
  parallel::GatheredInputs inputs_;
  parallel::ExactReduce exact_;
  parallel::MatmulPhase matmul_;
  tensor::Arena arena_;
  tensor::Buffer embedding_exchange_;  // FP32 rows as int64 pairs; lent to peers
  std::vector<ShardStep> steps_;
  std::vector<AttentionTile> tiles_, whole_tiles_, merges_;
  float* partials_ = nullptr;  // [memory_.partials_floats()]
  std::vector<size_t> chunk_of_token_;
  HiddenState hidden_;
  float* scratch_ = nullptr;  // [num_threads, StepMemory::kScratchRows, stride]
  int64_t num_tokens_ = 0;
  int64_t reduce_bytes_ = 0;
};

}  // namespace weft::model
