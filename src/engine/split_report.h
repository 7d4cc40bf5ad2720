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

// Bytes of one shard's cache for one token, over its layers.
int64_t kv_bytes_per_token(const model::ShardSplit& shard, const kernels::KvLayout& layout);

SplitReport report_split(const ModelSource& source, const parallel::Topology& topology,
                         const std::vector<model::StageSplit>& splits,
                         const kernels::KvLayout& layout);

parallel::Topology resolve_topology(const ModelSource& source, const EngineOptions& options);

}  // namespace weft::engine
