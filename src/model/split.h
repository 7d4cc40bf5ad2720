// Which rank holds what of a model: the one answer that the loader, `inspect` and the planner
// share. Pure: no file and no memory is touched.
#pragma once

#include <vector>

#include "base/range.h"
#include "model/config.h"
#include "parallel/partition.h"
#include "parallel/topology.h"

namespace weft::model {

// One rank's share of one layer.
struct LayerShare {
  parallel::AttentionShare attention;
  std::vector<Range> ffn_units;  // contiguous slices of the intermediate size
  Range ffn;                     // the columns that they cover
};

struct ShardSplit {
  std::vector<LayerShare> layers;  // of the stage, in order
  Range vocab;                     // rows of embedding (first stage) and head (last stage)
};

struct StageSplit {
  Range layers;
  bool first = false, last = false;  // holds the embedding, the head
  int first_rank = 0;                // global rank of shard 0
  std::vector<ShardSplit> shards;
};

std::vector<StageSplit> split_model(const ModelConfig& config, const parallel::Topology& topology);

// Cost of embedding and head in layers, for balancing stages (facts: the head's rows against a
// layer's weights; the embedding is a look-up).
parallel::StageCosts stage_costs(const ModelConfig& config);

}  // namespace weft::model
