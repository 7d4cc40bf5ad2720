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

// Cost of embedding and head in layers, for balancing stages. The embedding is a look-up and costs
// nothing. The head costs its parameters over those of a layer, times the share of the tokens that
// a stage computes whose logits are wanted:
//
//   decode   1          every generated token; the default: most of a request's time goes there
//   prefill  1 / 220    of a prompt only the last token
//   mixed    180 / 400  prompts of 220 tokens with answers of 180, the means of public chat traces
//                       (`weft bench throughput --workload mix`)
//
// Parameters and not bytes: a step of many tokens is bound by operations, and a model is cut alike
// whatever types its file has (bytes differ by at most the head's 6 or 8 bits against 4).
parallel::StageCosts stage_costs(const ModelConfig& config, parallel::PipelineBalance balance);

// The topology that is asked for, with the costs of this model.
parallel::Topology resolve_topology(const ModelConfig& config,
                                    const parallel::TopologyRequest& request);

}  // namespace weft::model
