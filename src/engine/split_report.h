// What each rank of a split holds, for `inspect` and the banner; computed from the same plans that
// the loader follows.
#pragma once

#include <vector>

#include "engine/engine.h"
#include "engine/model_source.h"
#include "model/split.h"
#include "model/weights.h"

namespace weft::engine {

// The kernels' view of the cache that the options ask for.
kernels::KvLayout kv_layout(const model::ModelConfig& config, const EngineOptions& options);

// Local KV heads of each of a shard's layers: the shape of its cache.
std::vector<int64_t> kv_heads_per_layer(const model::ShardSplit& shard);

SplitReport report_split(const ModelSource& source, const parallel::Topology& topology,
                         const std::vector<model::StageSplit>& splits,
                         const kernels::KvLayout& layout);

// The split that the options ask for; of a packed model its own (engine/packing.h).
parallel::Topology resolve_topology(const ModelSource& source, const EngineOptions& options);

}  // namespace weft::engine
