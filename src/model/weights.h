// The weights of one stage on one worker: planned from metadata (sizes only), then loaded.
#pragma once

#include <memory>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/panel_table.h"
#include "model/config.h"
#include "model/family.h"
#include "model/split.h"
#include "parallel/linear.h"
#include "tensor/buffer.h"

namespace weft::model {

// One shard's part of one layer.
struct LayerShard {
  LayerShare share;
  parallel::ColumnLinear query, key, value;  // rows of the share's heads
  parallel::RowLinear output;                // units: query heads
  parallel::ColumnLinear gate, up;           // rows of the share's FFN columns
  parallel::RowLinear down;                  // units: FFN slices
};

// What every shard of a layer needs whole: small vectors, FP32, padded to 16.
struct LayerVectors {
  std::vector<float> attention_norm, query_norm, key_norm, output_bias, post_attention_norm;
  std::vector<float> ffn_norm, down_bias, post_ffn_norm;
};

struct ShardWeights {
  std::vector<LayerShard> layers;
  Range vocab;
  // Rows of the vocabulary; tied models on one stage share one copy.
  std::shared_ptr<parallel::ColumnLinear> embedding, head;

  int64_t num_bytes() const;  // of panels
  // Those that have rows and units, in the order in which they are loaded and packed files hold
  // them.
  std::vector<const parallel::PackedLinear*> linears() const;
};

// What a packed file says of a linear; its place is left open.
checkpoint::PanelEntry panel_entry(const parallel::PackedLinear& linear);

class StageWeights {
 public:
  // Plans the shards [shards.begin, shards.end) of the stage. Checks that every tensor is there
  // with its shape; throws Error(kModel) naming the tensor and both shapes. Of a packed model,
  // finds the ranks' panels, which must be those of this very split. Touches no weight.
  StageWeights(const checkpoint::Checkpoint& checkpoint, const ModelConfig& config,
               const StageSplit& split, Range shards);

  // Makes the panels ready: repacks into memory of each shard's own, or enters mapped pages;
  // on_bytes as in WeightLoader.
  void load(ThreadTeam& team, const std::function<void(int64_t)>& on_bytes);
  int64_t file_bytes() const { return file_bytes_; }  // that load() will read
  // Memory that a shard's weights and vectors take after load().
  int64_t loaded_bytes(int64_t shard) const;

  const std::vector<ShardWeights>& shards() const { return shards_; }
  const std::vector<LayerVectors>& vectors() const { return vectors_; }
  const std::vector<float>& output_norm() const { return output_norm_; }

 private:
  const tensor::RawTensor& require(Role role, int64_t layer, int64_t rows, int64_t cols) const;
  LayerShard plan_layer(const LayerShare& share, int64_t layer) const;
  void plan_vocabulary(ShardWeights& shard, const StageSplit& split) const;
  void allocate();
  std::vector<float> bias(Role role, int64_t layer, int64_t size, Range range) const;
  std::vector<float> norm(Role role, int64_t layer, int64_t size) const;
  LayerVectors load_vectors(int64_t layer) const;

  const checkpoint::Checkpoint& checkpoint_;
  const ModelConfig& config_;
  const Family& family_;
  bool gguf_;
  StageSplit split_;
  std::vector<ShardWeights> shards_;
  std::vector<tensor::Buffer> memory_;  // of each shard's panels, where they are not mapped
  std::vector<LayerVectors> vectors_;
  std::vector<float> output_norm_;
  int64_t file_bytes_ = 0;
};

}  // namespace weft::model
